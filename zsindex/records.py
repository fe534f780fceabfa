"""The nouns that travel between modules: frozen records, enumerations and array aliases; no behaviour."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "AS_REFERENCE",
    "AS_SEEN",
    "NONE",
    "Activation",
    "Candidate",
    "DecodeLimits",
    "DecodeMode",
    "Decoded",
    "Facts",
    "FileContent",
    "FloatArray",
    "FolderListing",
    "IccMode",
    "IdArray",
    "IncompletePhoto",
    "LabelSet",
    "ModelInfo",
    "ModelSpec",
    "Place",
    "Progress",
    "Rendering",
    "Settings",
    "SkipReason",
    "SkippedEntry",
    "SkippedFile",
    "SyncReport",
    "Taken",
    "TakenFrom",
    "TransparencyMode",
]

FloatArray: TypeAlias = npt.NDArray[np.float32]
IdArray: TypeAlias = npt.NDArray[np.int64]


# --- choices ----------------------------------------------------------------------------------------------------------


class DecodeMode(StrEnum):
    """How photos become pixels.

    EXACT is open_clip's own preprocessing of the oriented image, bit for bit. FAST lets libjpeg scale JPEGs in the DCT
    domain, to no less than twice the model's input size; docs/decoding.md has the measured deviation.
    """

    FAST = "fast"
    EXACT = "exact"


class IccMode(StrEnum):
    """What colour profiles do. CONVERT brings photos that are not in sRGB into it; IGNORE takes their numbers as they
    are, as open_clip and transformers do.
    """

    CONVERT = "convert"
    IGNORE = "ignore"


class TransparencyMode(StrEnum):
    """What becomes of what shines through. SHOW puts a picture on a background that it can be seen on; REFERENCE drops
    its transparency, as open_clip and transformers do.
    """

    SHOW = "show"
    REFERENCE = "reference"


class Activation(StrEnum):
    """How logits become scores: over all labels together (softmax) or per label (sigmoid)."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"


class SkipReason(StrEnum):
    """Why a file has no vector. `status` counts by these."""

    EMPTY = "empty"
    NOT_AN_IMAGE = "not-an-image"
    TRUNCATED = "truncated"
    UNSUPPORTED = "unsupported-format"
    MISSING_DECODER = "missing-decoder"
    TOO_MANY_PIXELS = "too-many-pixels"
    TOO_LARGE = "too-large"
    OUT_OF_MEMORY = "out-of-memory"
    TOO_SLOW = "too-slow"
    DECODE_FAILED = "decode-failed"
    ENCODE_FAILED = "encode-failed"
    PERMISSION = "permission-denied"
    IO_ERROR = "io-error"
    VANISHED = "vanished"
    CHANGED = "changed-while-read"
    BROKEN_LINK = "broken-link"
    NOT_A_FILE = "not-a-file"
    UNDECODABLE_NAME = "undecodable-name"


# --- scanning ---------------------------------------------------------------------------------------------------------


class Candidate(NamedTuple):
    """A file that may be a photo, as `os.stat` saw it; the time as `zsindex.photos.formats.storable` leaves it.

    One is made per file on every sync, and a frozen dataclass takes more than twice as long to make.
    """

    folder: str
    name: str
    size: int
    mtime_ns: int

    @property
    def path(self) -> str:
        """Folder and name, joined."""
        return os.path.join(self.folder, self.name)


@dataclass(frozen=True, slots=True)
class SkippedEntry:
    """A directory entry that was passed over although its name promised a photo."""

    folder: str
    name: str
    reason: SkipReason
    detail: str
    size: int = 0
    mtime_ns: int = 0

    @property
    def path(self) -> str:
        """Folder and name, joined."""
        return os.path.join(self.folder, self.name)


@dataclass(frozen=True, slots=True)
class FolderListing:
    """What one folder holds.

    Attributes:
        folder: absolute path.
        candidates: photos, sorted by name.
        skipped: entries that looked like photos but cannot be read, sorted by name.
        sidecars: of the candidates, sorted by name.
        complete: True when every photo of the folder is in here, so that a known name which is absent has vanished.
            False for single files that were named one by one.
        error: why the folder could not be listed; nothing may be concluded about what was known under it.
    """

    folder: str
    candidates: tuple[Candidate, ...] = ()
    skipped: tuple[SkippedEntry, ...] = ()
    sidecars: tuple[Candidate, ...] = ()
    complete: bool = True
    error: str | None = None


# --- decoding ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file's bytes with their SHA-256 digest, and the stat that they were read under, the time as in `Candidate`."""

    data: bytes
    digest: bytes
    size: int
    mtime_ns: int


class TakenFrom(StrEnum):
    """Where the time at which a photo was taken is from; the first that there is counts."""

    EXIF = "exif"
    XMP = "xmp"
    NAME = "name"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Taken:
    """When a photo was taken.

    Attributes:
        at: the local time as it was written, without a time zone.
        offset_s: of that from UTC in seconds; None where nothing says so.
        source: where it is from.
    """

    at: datetime
    offset_s: int | None
    source: TakenFrom


@dataclass(frozen=True, slots=True)
class Place:
    """Where a photo was taken.

    Attributes:
        latitude: in degrees, north of the equator above zero.
        longitude: in degrees, east of Greenwich above zero.
        altitude_m: above the sea.
    """

    latitude: float
    longitude: float
    altitude_m: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a photo says of itself besides its pixels. Whatever is missing, or cannot be true, is None, or empty.

    Attributes:
        make, camera: of the camera: who made it, and its model.
        focal_length_mm: as it is, not as it would be with film.
        aperture: the f-number.
        width, height: in pixels, upright.
        orientation: EXIF's, from 1 to 8: how the stored picture is to be turned.
        format: of the container, as `Decoded.format` names it.
        rating: stars, up to 5; -1 for rejected.
        keywords: in the order in which they stand; those of a hierarchy as ``Animals|Birds``.
    """

    taken: Taken | None = None
    make: str | None = None
    camera: str | None = None
    lens: str | None = None
    focal_length_mm: float | None = None
    aperture: float | None = None
    exposure_s: float | None = None
    iso: int | None = None
    place: Place | None = None
    width: int | None = None
    height: int | None = None
    orientation: int | None = None
    format: str | None = None
    animated: bool | None = None
    rating: float | None = None
    keywords: tuple[str, ...] = ()
    caption: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: times as ISO 8601 texts."""
        plain = asdict(self)
        if self.taken is not None:
            plain["taken"] |= {"at": self.taken.at.isoformat(), "source": str(self.taken.source)}
        return plain | {"keywords": list(self.keywords)}


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright image and what is known of its original.

    Attributes:
        image: PIL image with its EXIF orientation applied, in the mode the reference preprocessing expects to see.
        width, height: of the upright original in pixels, before any DCT scaling.
        format: Pillow's name of the container, such as "JPEG".
        incomplete: what is missing of a file that is cut short, in words.
        facts: what its metadata says; None where nobody has looked.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    incomplete: str | None = None
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class Rendering:
    """How a decoded picture becomes the colours that are looked at; the defaults are what the references do.

    Attributes:
        icc: what its colour profile does.
        transparency: what becomes of its transparency.
    """

    icc: IccMode = IccMode.IGNORE
    transparency: TransparencyMode = TransparencyMode.REFERENCE


AS_REFERENCE = Rendering()
# As a person sees it; also how a new library sees photos unless told otherwise.
AS_SEEN = Rendering(IccMode.CONVERT, TransparencyMode.SHOW)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """How much decoding one photo may take.

    Attributes:
        seconds: of time.
        memory_bytes: of memory, beyond what the decoder itself and the file take.
        from_environment: whether variables of the environment can raise both, which is then said.
    """

    seconds: float
    memory_bytes: int
    from_environment: bool = False

    @property
    def too_slow(self) -> str:
        """What is said of a photo that takes too long."""
        raised = "; ZSINDEX_DECODE_SECONDS raises the limit, and --retry-skipped tries again"
        return f"decoding it takes more than {self.seconds:g} s{raised if self.from_environment else ''}"

    @property
    def too_much(self) -> str:
        """What is said of a photo that takes too much memory."""
        raised = "; ZSINDEX_DECODE_MB raises the limit"
        megabytes = f"{self.memory_bytes >> 20:,} MB"
        return f"decoding it takes more than {megabytes} of memory{raised if self.from_environment else ''}"


@dataclass(frozen=True, slots=True)
class Settings:
    """How photos are prepared and encoded.

    Attributes:
        batch_size: images per call of the model.
        is_chosen: whether somebody has said how many; otherwise a model gets more if it wants more.
        workers: threads that read, and processes that decode.
        max_pixels: photos with more are skipped.
        limits: of decoding one photo; None: photos are decoded in this process, without any.
    """

    batch_size: int
    workers: int
    max_pixels: int
    limits: DecodeLimits | None = None
    is_chosen: bool = True


# --- models -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a user asks for: enough to load a model, not enough to know which weights come.

    Attributes:
        name: ``nano``, ``ViT-B-32``, ``ViT-B-32/laion2b_s34b_b79k``, ``ORG/NAME``, ``ORG/NAME@REVISION``, either
            behind ``hf-hub:``, or ``local-dir:FOLDER``.
        pretrained: a pretrained tag or a checkpoint file, for names that do not include one.
        precision: ``fp32``, ``bf16`` or ``fp16``: what the image and text towers compute in.
        decode: how photos become pixels.
        icc: what colour profiles of photos do.
        transparency: what becomes of transparent photos.
    """

    name: str
    pretrained: str | None = None
    precision: str = "fp32"
    decode: DecodeMode = DecodeMode.EXACT
    icc: IccMode = IccMode.IGNORE
    transparency: TransparencyMode = TransparencyMode.REFERENCE

    @property
    def rendering(self) -> Rendering:
        """How decoded photos become what the model sees."""
        return Rendering(self.icc, self.transparency)

    @property
    def seen_as(self) -> str:
        """How photos become what the model sees, as the options that ask for it."""
        return f"--decode {self.decode} --icc {self.icc} --transparency {self.transparency}"

    def __str__(self) -> str:
        return f"{self.name}/{self.pretrained}" if self.pretrained else self.name

    @property
    def arguments(self) -> str:
        """The options of the command line that name it, whatever a library's own model is; quoted for a shell."""
        named = ["--model", self.name, *([] if self.pretrained is None else ["--pretrained", self.pretrained])]
        return f"{shlex.join(named)} --precision {self.precision} {self.seen_as}"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a loaded model is: everything that later questions need without loading it again.

    Attributes:
        spec: what was asked for.
        fingerprint: hex SHA-256 over architecture, weights, preprocessing, tokenizer, decode mode, precision,
            normalisation, and what colour profiles and transparency do. Equal fingerprints mean interchangeable
            vectors; two fingerprints never mix.
        dim: length of a vector.
        logit_scale: s = exp(the learned log scale); logits are ``s · cos + b``.
        logit_bias: b; None where the model has none.
        context_length: tokens that the text tower reads, start and end tokens included.
        image_size: height and width of the model's input in pixels.
        weights_sha256: hex digest of the weights alone.
    """

    spec: ModelSpec
    fingerprint: str
    dim: int
    logit_scale: float
    logit_bias: float | None
    context_length: int
    image_size: tuple[int, int]
    weights_sha256: str

    @property
    def activation(self) -> Activation:
        """Sigmoid for models trained with a per-pair sigmoid loss (they have a bias), softmax for all others."""
        return Activation.SOFTMAX if self.logit_bias is None else Activation.SIGMOID


# --- labels -----------------------------------------------------------------------------------------------------------


# The answer for a photo that shows none of the labels. No label may be called so.
NONE = "(none of these)"


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Named, ordered labels, each with one or more final prompts.

    Attributes:
        labels: in the user's order.
        prompts: per label, the texts that the tokenizer will see; NFC-normalised.
        templates: those that made the prompts; empty where all were written out.
        name: where it is a saved set.
        groups: (name, its labels): labels that are counted as one answer. A label is in one group at most.
        negatives: what photos may show that is none of the answers. They take part in the softmax, and what they win
            goes to the answer `NONE`.
        negative_prompts: as `prompts`, of the negatives.
        version: of a saved set, counted from 1.
    """

    labels: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...] = ()
    name: str | None = None
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    negatives: tuple[str, ...] = ()
    negative_prompts: tuple[tuple[str, ...], ...] = ()
    version: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def concepts(self) -> tuple[str, ...]:
        """Everything that photos are compared with: the labels, then the negatives."""
        return self.labels + self.negatives

    @property
    def concept_prompts(self) -> tuple[tuple[str, ...], ...]:
        """The prompts of the concepts."""
        return self.prompts + self.negative_prompts

    @property
    def answers(self) -> tuple[str, ...]:
        """What a photo can be answered with: labels, with groups in place of theirs where the first of these stands;
        last `NONE`, if there are negatives.
        """
        group_of = {label: group for group, labels in self.groups for label in labels}
        answers = dict.fromkeys(group_of.get(label, label) for label in self.labels)
        return (*answers, NONE) if self.negatives else tuple(answers)

    @property
    def answer_of(self) -> tuple[int, ...]:
        """For each concept, the number of its answer."""
        group_of = {label: group for group, labels in self.groups for label in labels}
        number = {answer: n for n, answer in enumerate(self.answers)}
        of_labels = [number[group_of.get(label, label)] for label in self.labels]
        return (*of_labels, *(number[NONE] for _ in self.negatives))

    @property
    def is_plain(self) -> bool:
        """Whether every concept is an answer of its own."""
        return not self.groups and not self.negatives


# --- reports ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A photo that cannot be used: where it is, why, and the same in words for a person."""

    path: str
    reason: SkipReason
    detail: str


@dataclass(frozen=True, slots=True)
class IncompletePhoto:
    """A photo that was read although it is cut short: where it is, and what is missing, in words."""

    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync found and did.

    By what happened to the files: ``scanned = unchanged + added + changed + moved + skipped`` of those that are there,
    and `missing` have vanished since the last sync. By what it cost: `encoded` images went through the model, `reused`
    files were read and hashed but their content was known already. In a dry run nothing is read, so `encoded` and
    `reused` are 0 and `to_read` says how many files a real run would read.

    Attributes:
        scanned: photos found.
        unchanged: same bytes as before, by stat or, after a `touch`, by hash.
        added: new paths, or paths that have come back.
        changed: known paths with other bytes.
        moved: new paths whose content was known under a path that has vanished.
        skipped: photos that have no vector because they cannot be read; `skips` names them.
        missing: known paths that have vanished in this sync. Their vectors stay until `prune`.
        to_read: files that had to be read (or, in a dry run, would have to be).
        sidecars: sidecars that have come, changed or gone, whose facts were stored.
        facts_read: photos that were stored before facts were kept, and whose facts were read now; those of new photos
            are read along with them.
        facts_elsewhere: another sync is reading those.
        left: those of them that an interrupted run did not come to.
        vanished_roots: folders synced before that are gone or empty as a whole, and photos named one by one that lay in
            such folders; nothing under them was touched.
        unlisted: folders that could not be listed, each with the reason; likewise untouched.
        forgotten_prompts: cached prompts that nobody asked for in a long time, and that went.
        forgotten_images: images that no file shows, such as uploads, whose vectors took too much room, and went.
        interrupted: the run was stopped; the next one goes on from here.
    """

    scanned: int = 0
    added: int = 0
    encoded: int = 0
    reused: int = 0
    unchanged: int = 0
    changed: int = 0
    moved: int = 0
    skipped: int = 0
    missing: int = 0
    to_read: int = 0
    left: int = 0
    seconds: float = 0.0
    dry_run: bool = False
    interrupted: bool = False
    skips: tuple[SkippedFile, ...] = ()
    vanished_roots: tuple[str, ...] = ()
    unlisted: Mapping[str, str] = field(default_factory=dict)
    forgotten_prompts: int = 0
    forgotten_images: int = 0
    sidecars: int = 0
    facts_read: int = 0
    facts_elsewhere: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "scanned": self.scanned,
            "added": self.added,
            "encoded": self.encoded,
            "reused": self.reused,
            "unchanged": self.unchanged,
            "changed": self.changed,
            "moved": self.moved,
            "skipped": self.skipped,
            "missing": self.missing,
            "to_read": self.to_read,
            "sidecars": self.sidecars,
            "facts_read": self.facts_read,
            "left": self.left,
            "seconds": round(self.seconds, 3),
            "dry_run": self.dry_run,
            "interrupted": self.interrupted,
            "skips": [{"path": s.path, "reason": str(s.reason), "detail": s.detail} for s in self.skips],
            "vanished_roots": list(self.vanished_roots),
            "unlisted": dict(self.unlisted),
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of long work, as handed to progress callbacks.

    Attributes:
        stage: ``scan``, ``sidecars``, ``encode`` or ``facts``; ``export``; ``check`` or ``import``; ``tag``; ``copy``,
            ``compare``; ``graph``, ``measure``, of a search index; ``vocabulary``, which counts words; ``neighbours``,
            ``layout``, which counts iterations, and ``place``, of a map.
        done: photos so far.
        total: photos in all, None while that is unknown.
    """

    stage: str
    done: int = 0
    total: int | None = None

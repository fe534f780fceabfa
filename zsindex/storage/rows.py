"""What goes into a storage and comes out of it, as plain records: whoever passes them on needs no SQL."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from zsindex.photos.formats import is_encodable, printable
from zsindex.records import Candidate, Facts, FloatArray, IdArray, ModelInfo, SkippedFile, SkipReason

# Size and time stamp of a file that was imported and that nobody has looked at; see
# `zsindex.storage.protocol.BulkStorage`.
NEVER_SEEN = -1


def now() -> str:
    """The present moment in UTC as ISO 8601 text, which sorts by time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def listing_text(files_of_folder: Iterable[Candidate]) -> str:
    """The files of one folder as one text, which is another one if any of them has changed."""
    # No name has a slash in it, so this can be read in one way only.
    return "/".join([f"{name}/{size}/{mtime_ns}" for _, name, size, mtime_ns in files_of_folder])


def selected(folders: Iterable[str], prefixes: Sequence[str] | None) -> dict[str, set[str] | None]:
    """Which folders, of these, a selection of files and folders touches, in their order; with the names of files, None
    for all of them.

    Args:
        prefixes: files and folders (their whole subtrees); None for everything.
    """
    if prefixes is None:
        return dict.fromkeys(folders)
    prefixes = [prefix if is_encodable(prefix) else printable(prefix) for prefix in prefixes]  # as skips are stored
    wanted = set(prefixes)
    named: defaultdict[str, set[str]] = defaultdict(set)
    for prefix in prefixes:
        folder, name = os.path.split(prefix)
        named[folder].add(name)
    touched: dict[str, set[str] | None] = {}
    for folder in folders:
        if not wanted.isdisjoint(_upwards(folder)):
            touched[folder] = None
        elif folder in named:
            touched[folder] = named[folder]
    return touched


def _upwards(path: str) -> Iterator[str]:
    """A path, and all folders that it lies in."""
    yield path
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


# --- photos and models ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model that the library knows, with its row id."""

    id: int
    info: ModelInfo
    created_at: str


class KnownFile(NamedTuple):
    """What the library knows of a path; `has_vector` is under the model that was asked about."""

    id: int
    size: int
    mtime_ns: int
    skip_reason: str | None
    skip_detail: str | None
    missing: bool
    has_vector: bool

    @property
    def can_vanish(self) -> bool:
        """Whether it counts as there, and would be missed: an imported photo was never seen, so it cannot vanish."""
        return not self.missing and self.size != NEVER_SEEN


@dataclass(frozen=True, slots=True)
class FileTable:
    """Files that are there, folder by folder, each by name: `paths[i]` shows the image `image_ids[i]`.

    Attributes:
        revision: of the library's files when they were listed, see
            `zsindex.storage.protocol.Reads.files_revision`; 0 where it was not asked for.
    """

    paths: list[str]
    image_ids: IdArray
    revision: int = 0

    def __len__(self) -> int:
        return len(self.paths)


class FileDetails(NamedTuple):
    """What is known of a file and of the image that it shows.

    Attributes:
        size, mtime_ns: of the file when it was last read; -1 bytes where nobody has seen it on this disk.
        digest: of the image.
        width, height: of the image in pixels, upright; 0 where it was never decoded.
    """

    path: str
    image_id: int
    size: int
    mtime_ns: int
    digest: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """What is recorded of a model's index file; see `zsindex.index.snapshots`."""

    file: str
    watermark: int
    n_vectors: int
    generation: int
    sha256: str
    n_cells: int = 0
    verified: str | None = None


@dataclass(frozen=True, slots=True)
class NearestRow:
    """What is recorded of a model's search index on the server; see `zsindex.index.on_server`.

    Attributes:
        table: where its vectors lie.
        watermark: sequence number of the last embedding that was put into it.
        n_vectors: how many were.
        m, ef_construction: what its graph was, or is to be, built with.
        ef_search: what a search for up to so many results, `zsindex.index.cells.DEPTHS`, is to ask with.
        recall: of the true results so many were found with that, as a share, by depth.
        target: of that, when it was measured.
        n_questions: by which it was measured; 0 before that.
        n_measured: vectors that there were then.
        created_at: when it was begun.
    """

    table: str
    watermark: int = 0
    n_vectors: int = 0
    m: int = 16
    ef_construction: int = 64
    ef_search: tuple[int, ...] = ()
    recall: tuple[float, ...] = ()
    target: float = 0
    n_questions: int = 0
    n_measured: int = 0
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a search index found for a query.

    Attributes:
        ids: int64 (n,), of images that are still there.
        vectors: float32 (n, dim), as they were stored.
        lowest: the least similarity of what was found, as the index calculates it; -inf where it has no more.
    """

    ids: IdArray
    vectors: FloatArray
    lowest: float


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image to store. `vector` is None where the library already holds one under the model.

    Attributes:
        facts: what its metadata says; None where nobody has looked.
    """

    digest: bytes
    width: int = 0
    height: int = 0
    format: str = ""
    vector: FloatArray | None = None
    incomplete: str | None = None
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What came of reading one file: an image, or a reason why there is none."""

    file: Candidate
    image: ImageRecord | None = None
    skip_reason: SkipReason | None = None
    skip_detail: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of a batch of files, once it is stored.

    Attributes:
        paths: of the files.
        counts: as `zsindex.storage.protocol.PhotoStorage.save` gives them; how many images were ``encoded``, how many
            of the files show one that was not (``reused``), and how many were ``read``.
        skips: the files that cannot be used.
    """

    paths: Sequence[str]
    counts: Counter[str]
    skips: Sequence[SkippedFile]

    @classmethod
    def of(cls, outcomes: Sequence[FileOutcome], counts: Counter[str]) -> Receipt:
        """That of outcomes, for which `save` has given the counts."""
        shown = [outcome.image for outcome in outcomes if outcome.image is not None]
        encoded = sum(image.vector is not None for image in shown)
        skips = [
            SkippedFile(outcome.file.path, outcome.skip_reason, outcome.skip_detail or "")
            for outcome in outcomes
            if outcome.skip_reason is not None
        ]
        more = {"encoded": encoded, "reused": len(shown) - encoded, "read": len(outcomes)}
        return cls([outcome.file.path for outcome in outcomes], counts + Counter(more), skips)


# --- photos with vectors of others ----------------------------------------------------------------------------------


class KnownPhoto(NamedTuple):
    """A path that the library knows, with the image that it shows; `digest` is None for one that could not be used."""

    id: int
    size: int
    mtime_ns: int
    missing: bool
    image_id: int | None
    digest: bytes | None


class SeenFile(NamedTuple):
    """A file on this disk: the digest of its content, and the stat that it was read under."""

    digest: bytes
    size: int
    mtime_ns: int


class ImportedPhoto(NamedTuple):
    """A photo to store.

    Attributes:
        path, folder, name: the path, and its two parts.
        digest: of its content, as whoever exported it knew it; None where nothing is said of it.
        width, height, format: 0 and empty where they are not known.
        seen: its file; None where it is not on this disk or nobody has looked.
    """

    path: str
    folder: str
    name: str
    digest: bytes | None = None
    width: int = 0
    height: int = 0
    format: str = ""
    seen: SeenFile | None = None

    def shown(self, known: KnownPhoto | None) -> bytes | None:
        """The digest of the image that its vector is of; None where that is not what the path shows here.

        Args:
            known: what the library knows of the path.
        """
        here = None if self.seen is None else self.seen.digest
        if here is None and known is not None and not known.missing and known.size != NEVER_SEEN:
            here = known.digest  # as the last sync saw it
        if here is not None:
            return here if self.digest in (None, here) else None
        return self.digest or (known.digest if known is not None else None) or path_digest(self.path)


@dataclass(frozen=True, slots=True)
class ExportedPhotos:
    """Some photos with their vectors, float32 (n, dim). Unknown values are None."""

    paths: list[str]
    widths: list[int | None]
    heights: list[int | None]
    formats: list[str | None]
    digests: list[bytes | None]
    vectors: FloatArray


def path_digest(path: str) -> bytes:
    """Identify a photo of unknown content by its path. Never equals the digest of a file: no image begins like this."""
    return hashlib.sha256(b"zsindex path\0" + path.encode()).digest()


# --- the label lab, and a service -------------------------------------------------------------------------------------


class SavedLabelSet(NamedTuple):
    """A version of a label set as it was stored."""

    name: str
    version: int
    body: dict[str, Any]
    saved_at: str


# Of what took time to compute so many are kept, of each kind and under each model; each is a few hundred words at most.
MOST_DERIVED = 200
# Characters of all recorded questions together: each has a few thousand, or all prompts of its labels.
MOST_QUESTIONS = 2**26


class Forgettable(NamedTuple):
    """Which cached prompts may go; never those of saved label sets.

    Attributes:
        every: all others.
        unused_days: those that nobody asked for in so many days.
        most: those that were not asked for for the longest, as long as there are more prompts in all.
    """

    every: bool = False
    unused_days: int | None = None
    most: int | None = None


NO_PROMPTS = Forgettable()


def prompts_in(bodies: Iterable[Mapping[str, Any]]) -> set[str]:
    """All prompts of the bodies of label sets."""
    return {
        text
        for body in bodies
        for part in ("labels", "negatives")
        for texts in body.get(part, {}).values()
        for text in texts
    }


class CorrectionEntry(NamedTuple):
    """One line of the log of corrections.

    Attributes:
        digest: of the image's bytes, 32 bytes.
        label: None withdraws all that was said before about this image.
        is_not: the label does not fit.
    """

    digest: bytes
    label: str | None
    is_not: bool = False


class DecisionEntry(NamedTuple):
    """One line of the log of decisions about duplicates.

    Attributes:
        kind: ``different``: the two images are not the same picture; ``keep``: the image is to be kept; ``forget``: all
            that was said before about the image is withdrawn.
        digest: of the image's bytes, 32 bytes.
        path: of a file that showed it then.
        other, other_path: the same of the other image; None unless they are different.
        decided_at: when, as an ISO date and time; put in where it is stored.
    """

    kind: str
    digest: bytes
    path: str
    other: bytes | None = None
    other_path: str | None = None
    decided_at: str = ""


class AlbumRow(NamedTuple):
    """A saved question.

    Attributes:
        body: the question with its filters, plain data for JSON.
        saved_at: as an ISO date and time.
        seen: paths of the photos that it held when somebody looked last, by digest; None if nobody has.
        seen_at: when that was.
    """

    name: str
    body: dict[str, Any]
    saved_at: str = ""
    seen: dict[bytes, str] | None = None
    seen_at: str | None = None


class SurveyRow(NamedTuple):
    """A series of looks for one purpose.

    Attributes:
        kind: what for: ``count``, ``review``, ``choose``, …
        question: plain data for JSON; a survey is found again by it.
        image_ids: int64, ascending: what it is about; None where that is not fixed.
        begun_at, ended_at: as ISO dates and times; `ended_at` is None while it goes on.
        result: what came out of it, plain data for JSON; None if nothing was said.
    """

    id: int
    kind: str
    question: dict[str, Any]
    image_ids: IdArray | None
    begun_at: str
    ended_at: str | None = None
    result: dict[str, Any] | None = None


class LookRow(NamedTuple):
    """A photo that a person is shown, and the answer.

    Attributes:
        number: counted from 1 for each survey.
        digest: of the image's bytes, 32 bytes.
        path: of a file that showed it then.
        drawn: how it was drawn, plain data for JSON.
        answer: None while it waits for one.
        answered_at: as an ISO date and time.
    """

    number: int
    digest: bytes
    path: str
    drawn: dict[str, Any]
    answer: str | None = None
    answered_at: str | None = None


class ThresholdRow(NamedTuple):
    """A label's threshold: the share of photos at or above it, and how it was chosen."""

    label: str
    rate: float
    chosen: dict[str, Any]
    created_at: str


class SidecarRow(NamedTuple):
    """A sidecar that zsindex wrote into.

    Attributes:
        original: its bytes before; None where there was no such file.
        written_sha256: hex, of the bytes that zsindex wrote.
        tags: what of it is zsindex's; see `zsindex.lab.tags`.
    """

    path: str
    original: bytes | None
    written_sha256: str
    tags: dict[str, Any]
    written_at: str = ""


# How many jobs of a service are kept.
MOST_JOBS = 200


class JobRow(NamedTuple):
    """A job as it was stored last."""

    id: str
    kind: str
    state: str
    document: dict[str, Any]
    created_at: str

"""A model's towers without torch: an `Encoder` over what `zsindex.models.openvino.export` wrote, run by OpenVINO.

Importing torch and open_clip takes several seconds, which is what a new label set costs in a fresh process; and on a
CPU torch is not the fastest way through every image tower. So the towers of a model are exported once on each machine,
and compared with the originals, into a folder of the user's cache:

    model.json        what the model is, which files it was made from, what was measured
    tokenizer.json    the tokenizer
    text.xml, .bin    the text tower
    image.xml, .bin   the image tower
    verified.json     which of these files were found to be what they should be, as they lie on the disk

An export stands for the very files that it was made from: where these have changed, it does not exist.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from zsindex import atomic, config
from zsindex.errors import PromptTooLong
from zsindex.models import nano
from zsindex.models.encoder import Encoder, fitting_of, images_at_once, unfamiliar_words
from zsindex.models.fingerprint import fingerprint
from zsindex.models.openvino import checksums
from zsindex.models.preprocess import Preprocessing
from zsindex.records import FloatArray, IdArray, ModelInfo, ModelSpec

if TYPE_CHECKING:
    from PIL import Image

    from zsindex.models.tokenizer import ClipTokenizer, FastTokenizer
    from zsindex.photos.scaling import Fitting

logger = logging.getLogger(__name__)

FORMAT = 2
MANIFEST, TOKENIZER, TEXT, IMAGE = "model.json", "tokenizer.json", "text.xml", "image.xml"
COMPILED = "compiled"
COMPILED_RECORD = "compiled.json"
# Whose new versions may compute something else from the same files.
_MADE_WITH = ("open_clip_torch", "timm", "openvino")
MADE_WITH_TRANSFORMERS = ("transformers", "tokenizers", "openvino")
# In fp16 a CPU has nothing to offer; who asks for it gets torch's own.
PRECISIONS = ("fp32", "bf16")
# What is made beside an export's place and is older was left by a kill: it takes about half a minute.
_ABANDONED_S = 3600
_HINTS = {"fp32": "f32", "bf16": "bf16"}
# So many times as fast as OpenVINO must torch be: importing it takes the time of a hundred photos and more, and what
# a probe of a few batches says of two runtimes that are equally fast is chance.
WORTH_TORCH = 1.1
BATCH_SIZE = 8
_PROMPTS_AT_ONCE = 64
_importing = threading.Lock()
_REPORTS = "openvino_telemetry"
# Every shape costs some milliseconds when it is first met, so rows of tokens are cut to a multiple of four; but in a
# large tower three columns of nothing cost more than that.
_LENGTH_STEP = 4
_LARGE_TOWER = 50_000_000  # bytes
# Names of exports, and of what becomes one or was one: nothing else in their folder is touched.
_NAME_LETTERS = 16
_OF_EXPORT = re.compile(rf"[0-9a-f]{{{_NAME_LETTERS}}}(-\w+(\.old)?)?")
_DAY_S = 86_400


@dataclass(frozen=True)
class TowerManifest:
    """What is known of an exported model.

    Attributes:
        versions: of the packages that it was made with.
        sources: path, size and mtime_ns of each file that the model consists of.
        sizes: of the export's own files, in bytes, by name.
        sha256: of the same, hex.
        auto_device: where torch would compute on this machine if nobody says.
        identity: see `zsindex.models.fingerprint`.
        preprocessing: the fields of open_clip's PreprocessCfg; of a checkpoint of transformers, none.
        image: whether the image tower was exported, and gives the same vectors.
        text: the same of the text tower.
        cut_text: whether tokens after the end token may be left out.
        end_token: whose first place is where the text's vector is read off; None where it is the highest token.
        speeds: images per second by precision and runtime, ``torch`` and ``openvino``, as probed on this machine.
        deviations: largest difference of a vector's component from torch in fp32, by tower and precision.
        cosines: least cosine to torch in fp32, by precision.
        fast_tokenizer: the fields of `zsindex.models.tokenizer.Layout`; None where the tokenizer is CLIP's own.
        left_out: why a tower was not exported, by its name.
    """

    format: int
    versions: dict[str, str]
    sources: list[tuple[str, int, int]]
    auto_device: str
    identity: dict[str, Any]
    dim: int
    logit_scale: float
    logit_bias: float | None
    context_length: int
    image_size: tuple[int, int]
    weights_sha256: str
    preprocessing: dict[str, Any]
    sizes: dict[str, int] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    image: bool = False
    text: bool = False
    cut_text: bool = False
    end_token: int | None = None
    speeds: dict[str, dict[str, float]] = field(default_factory=dict)
    deviations: dict[str, float] = field(default_factory=dict)
    cosines: dict[str, float] = field(default_factory=dict)
    fast_tokenizer: dict[str, Any] | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def precisions(self) -> Sequence[str]:
        """Precisions that it stands for: transformers computes texts in that of images, an export always in fp32."""
        return PRECISIONS[:1] if self.versions.keys() == set(MADE_WITH_TRANSFORMERS) else PRECISIONS

    def info(self, spec: ModelSpec) -> ModelInfo:
        """The model as `ModelInfo`, for any precision and any way to see photos."""
        return ModelInfo(
            spec=spec,
            fingerprint=fingerprint(self.identity, spec),
            dim=self.dim,
            logit_scale=self.logit_scale,
            logit_bias=self.logit_bias,
            context_length=self.context_length,
            image_size=self.image_size,
            weights_sha256=self.weights_sha256,
        )

    def image_runtime(self, precision: str) -> str:
        """``torch`` where that is known to be so much faster that importing it pays, else ``openvino``."""
        if not self.image or precision not in PRECISIONS:
            return "torch"
        speeds = self.speeds.get(precision, {})
        pays = speeds.get("torch", 0.0) > WORTH_TORCH * speeds.get("openvino", math.inf)
        return "torch" if pays else "openvino"

    def write(self, folder: Path) -> None:
        """Write it to an export's folder."""
        atomic.write_bytes(folder / MANIFEST, checksums.sealed(json.loads(json.dumps(asdict(self)))))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it.

        Raises:
            OSError: there is none.
            ValueError: it is damaged.
            TypeError, KeyError: it is of another format.
        """
        return cls.from_fields(checksums.unsealed((folder / MANIFEST).read_bytes()))

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """Make one of plain data."""
        fields["sources"] = [(str(path), int(size), int(mtime_ns)) for path, size, mtime_ns in fields["sources"]]
        height, width = fields["image_size"]
        fields["image_size"] = (int(height), int(width))
        return cls(**fields)


@dataclass(frozen=True)
class Export:
    """A model's export: its folder and what is known of it.

    Attributes:
        verified: what its files were when they were found right, as `zsindex.models.openvino.checksums` has it.
    """

    folder: Path
    manifest: TowerManifest
    verified: dict[str, str]

    def damaged(self, *names: str) -> list[str]:
        """Those of its files that are not any more what they were when it was found, and not what they should be."""
        return checksums.damaged(
            self.folder, {name: self.manifest.sha256[name] for name in names}, verified=self.verified
        )


def folder_of(spec: ModelSpec) -> Path | None:
    """Where a model's export belongs, whether it is there or not; None where exports are switched off."""
    models = config.models_folder()
    if models is None:
        return None
    # Of two installations each has its own copy of the embedded model.
    name = f"nano:{nano.FOLDER}" if spec.name == "nano" else spec.name
    return models / hashlib.sha256(f"{name}\0{spec.pretrained or ''}".encode()).hexdigest()[:_NAME_LETTERS]


def make(folder: Path, write: Callable[[Path], TowerManifest]) -> Export | None:
    """Make an export, and give it its place.

    Args:
        folder: its place; replaced as a whole.
        write: writes its files into a folder, and says what they are.

    Returns:
        None if there is nothing in it, neither a tower nor a reason why there is none.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder.parent)
    # Beside the final place, so that it can be renamed.
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        manifest = write(temporary)
        if not (manifest.text or manifest.image or manifest.left_out):
            return None
        return finish(manifest, temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_abandoned(exports: Path) -> None:
    """Remove what processes that were killed have left: each may be as large as an export."""
    for left in exports.iterdir():
        with suppress(OSError):
            if _OF_EXPORT.fullmatch(left.name) and left.name[_NAME_LETTERS:]:
                newest = max(place.stat().st_mtime for place in (left, *left.rglob("*")))
                if time.time() - newest > _ABANDONED_S:
                    shutil.rmtree(left)


def finish(manifest: TowerManifest, made: Path, folder: Path) -> Export:
    """Complete an export that was made beside `folder`, and give it that name.

    Processes that have an old one open keep its files.

    Raises:
        OSError: the folder cannot be written.
    """
    files = sorted(made.iterdir())
    manifest = replace(
        manifest,
        sizes={file.name: file.stat().st_size for file in files},
        sha256={file.name: checksums.sha256_of(file) for file in files},
    )
    manifest.write(made)
    checksums.sync(made)  # or after a power cut there would be names without what belongs under them
    old = made.with_suffix(".old")
    with suppress(FileNotFoundError):
        folder.replace(old)
    made.replace(folder)
    checksums.sync_names(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    make_room(folder.parent, keep=folder)
    return Export(folder, manifest, checksums.identities(folder, manifest.sha256))


def make_room(exports: Path, *, keep: Path) -> None:
    """Remove exports beyond `config.EXPORTS_MB`, those first that were found for a question the longest ago. A process
    that has one open keeps its files.

    Args:
        keep: the one that was just made.
    """
    found: list[tuple[float, int, Path]] = []
    with suppress(OSError):
        for folder in exports.iterdir():
            if _OF_EXPORT.fullmatch(folder.name) and not folder.name[_NAME_LETTERS:]:
                stats = {file.name: file.stat() for file in folder.rglob("*")}
                used = stats[MANIFEST].st_mtime if MANIFEST in stats else 0.0
                found.append((used, sum(stat.st_size for stat in stats.values()), folder))
    taken = sum(size for _, size, _ in found)
    for _, size, folder in sorted(found):
        if taken > config.EXPORTS_MB.bytes and folder != keep:
            taken -= size
            old = folder.with_name(f"{folder.name}-{secrets.token_hex(4)}.old")
            with suppress(OSError):
                folder.replace(old)
                shutil.rmtree(old, ignore_errors=True)
                logger.warning("removed the export in %s: exports may take %d MB", folder, config.EXPORTS_MB.value)


def _note_use(export: Path) -> None:
    """Note that an export was used, in the time of its manifest; once a day."""
    with suppress(OSError):
        if abs(time.time() - (export / MANIFEST).stat().st_mtime) > _DAY_S:
            os.utime(export / MANIFEST)


def find(spec: ModelSpec) -> Export | None:
    """The export of a model; None where there is none, or its files have changed since, or packages were upgraded.

    One that is damaged is none either, and the log says so.
    """
    folder = folder_of(spec)
    if folder is None or spec.precision not in PRECISIONS:
        return None
    try:
        manifest = TowerManifest.read(folder)
    except (OSError, TypeError, KeyError):
        return None
    except ValueError:
        if not _is_earlier(folder):
            _tell_of_damage(spec, folder, [MANIFEST])
        return None
    try:
        if manifest.format != FORMAT or [identity_of(path) for path, *_ in manifest.sources] != manifest.sources:
            return None
    except OSError:
        return None
    if manifest.versions != versions(manifest.versions) or spec.precision not in manifest.precisions:
        return None
    if damaged := checksums.damaged(folder, manifest.sha256):
        _tell_of_damage(spec, folder, damaged)
        return None
    _note_use(folder)
    return Export(folder, manifest, checksums.identities(folder, manifest.sha256))


def _is_earlier(folder: Path) -> bool:
    """Whether an export is one of an earlier version, which had no checksums."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == 1


def _tell_of_damage(spec: ModelSpec, folder: Path, names: Sequence[str]) -> None:
    logger.warning(
        "the export of %s in %s is damaged (%s), and is not used; it is made again", spec, folder, ", ".join(names)
    )


def identity_of(path: str) -> tuple[str, int, int]:
    """Path, size and mtime_ns of a file."""
    status = os.stat(path)
    return path, status.st_size, status.st_mtime_ns


def versions(packages: Iterable[str] = _MADE_WITH) -> dict[str, str]:
    """The installed versions of what an export is made with; empty where OpenVINO, or another, is not installed."""
    try:
        return {name: version(name) for name in packages}
    except PackageNotFoundError:
        return {}


class TowerEncoder:
    """An exported model as an `Encoder`.

    What is not exported, or is faster otherwise, is done by the original model, which is loaded when it comes to that.

    Attributes:
        info: what the model is.
        batch_size: images that go through the model at once.
        runtime: what encodes images: ``openvino`` or ``torch``.
        device: where: ``cpu``, or what torch would choose.
    """

    def __init__(
        self,
        export: Export,
        spec: ModelSpec,
        *,
        device: str,
        batch_size: int | None,
        load_original: Callable[[], Encoder],
    ) -> None:
        """Args:
        device: ``auto`` or ``cpu``.
        load_original: loads the model that was exported.
        """
        manifest = export.manifest
        self.info = manifest.info(spec)
        self.batch_size = batch_size or BATCH_SIZE
        on_cpu = device == "cpu" or manifest.auto_device == "cpu"
        self.runtime = manifest.image_runtime(spec.precision) if on_cpu else "torch"
        self.device = "cpu" if on_cpu else manifest.auto_device
        self._export = export
        self._load_original = load_original
        self._loaded: Encoder | None = None
        self._preprocessing = Preprocessing.from_config(manifest.preprocessing) if manifest.image else None
        self._towers: dict[str, Tower | None] = {}
        self._tokenizer: ClipTokenizer | FastTokenizer | None = None
        self._lock = threading.Lock()

    @property
    def fitting(self) -> Fitting | None:
        """See `zsindex.models.encoder.FitsPictures`."""
        return fitting_of(self._original) if self._preprocessing is None else self._preprocessing.fitting

    @property
    def images_at_once(self) -> int:
        """See `zsindex.models.encoder.WantsMany`."""
        return 1 if self.device == "cpu" else images_at_once(self._original)

    def preprocess(self, image: Image.Image) -> FloatArray:
        """Apply the original's evaluation transform, bit for bit.

        Returns:
            float32, shape (3, height, width), contiguous. Safe to call from several threads.
        """
        if self._preprocessing is None:
            return self._original.preprocess(image)
        return self._preprocessing(image)

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        """Encode preprocessed images.

        Args:
            pixels: results of `preprocess`, float32, shape (3, height, width) each.

        Returns:
            float32, shape (len(pixels), dim), L2-normalised rows in the order given.
        """
        tower = self._tower(IMAGE) if self.runtime == "openvino" else None
        if tower is None:
            return self._original.encode_images(pixels)
        vectors = np.empty((len(pixels), self.info.dim), dtype=np.float32)
        for start in range(0, len(pixels), self.batch_size):
            batch = np.stack(pixels[start : start + self.batch_size])
            vectors[start : start + len(batch)] = tower(batch)
        return vectors

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        """Encode prompts, short ones together; in fp32, whatever images are encoded in.

        Args:
            texts: final prompts in any script; the model's tokenizer cleans them as it was trained to.
            truncate: cut a prompt that does not fit, as open_clip does, instead of raising.

        Returns:
            float32, shape (len(texts), dim), L2-normalised rows in the order given.

        Raises:
            PromptTooLong: a text has more tokens than the model reads and `truncate` is False.
        """
        if not self._has_text:
            return self._original.encode_texts(texts, truncate=truncate)
        if TEXT not in self._towers:
            # Compiling the tower takes as long as everything else that a new process does; the tokenizer a third of it.
            # No daemon: a process that ends meanwhile waits for it, rather than pulling its memory away.
            threading.Thread(target=self._tower, args=(TEXT,)).start()
        tokens, counts = self._tokens(texts)
        too_long = np.flatnonzero(counts > self.info.context_length)
        if len(too_long) and not truncate:
            first = int(too_long[0])
            raise PromptTooLong(
                texts[first],
                tokens=int(counts[first]),
                context_length=self.info.context_length,
                model=str(self.info.spec),
            )
        tower = self._tower(TEXT)
        if tower is None:
            return self._original.encode_texts(texts, truncate=truncate)
        return encode_tokens(tower, tokens, self._export.manifest)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, start and end tokens included, before any truncation."""
        if not self._has_text:
            return self._original.count_tokens(text)
        return int(self._tokens([text])[1][0])

    def unfamiliar(self, texts: Sequence[str]) -> list[str]:
        """See `zsindex.models.encoder.JudgeOfWords`."""
        if not self._has_text:
            return unfamiliar_words(self._original, texts)
        from zsindex.models.familiarity import Familiarity
        from zsindex.models.tokenizer import FastTokenizer

        tokenizer = self._own_tokenizer()
        if isinstance(tokenizer, FastTokenizer):
            return Familiarity.of_fast(tokenizer).unfamiliar(texts)
        return Familiarity.of_clip(tokenizer).unfamiliar(texts)

    @cached_property
    def _has_text(self) -> bool:
        """Whether texts are encoded here: there is a tower for them, and it is whole, with its tokenizer."""
        return self._export.manifest.text and self._is_whole(TOKENIZER, TEXT, _weights_of(TEXT))

    def _is_whole(self, *names: str) -> bool:
        """Whether files are what they were when the export was found, which may be long ago in a service."""
        damaged = self._export.damaged(*names)
        if damaged:
            logger.warning("%s runs without its export: %s is damaged", self.info.spec, ", ".join(damaged))
        return not damaged

    @property
    def _original(self) -> Encoder:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load_original()
            return self._loaded

    def _tower(self, name: str) -> Tower | None:
        """A tower, ready to run; None where OpenVINO cannot run it, and the original has to."""
        with self._lock:
            if name not in self._towers:
                hint = _HINTS[self.info.spec.precision] if name == IMAGE else "f32"
                if not self._is_whole(name, _weights_of(name)):
                    self._towers[name] = None
                    return None
                try:
                    folder = self._export.folder
                    self._towers[name] = Tower(folder / name, hint, cache=folder / COMPILED)
                except (RuntimeError, ImportError) as error:  # OpenVINO's own errors are no more than that
                    reason = str(error).strip().splitlines()[-1]
                    logger.warning("%s runs without its export: %s", self.info.spec, reason)
                    self._towers[name] = None
            return self._towers[name]

    def _tokens(self, texts: Sequence[str]) -> tuple[IdArray, IdArray]:
        return self._own_tokenizer()(texts)

    def _own_tokenizer(self) -> ClipTokenizer | FastTokenizer:
        from zsindex.models.tokenizer import ClipTokenizer, FastTokenizer, Layout

        if self._tokenizer is None:
            file, length = self._export.folder / TOKENIZER, self.info.context_length
            fields = self._export.manifest.fast_tokenizer
            if fields is None:
                self._tokenizer = ClipTokenizer.open(file, context_length=length)
            else:
                self._tokenizer = FastTokenizer.open(file, Layout(**fields), context_length=length)
        return self._tokenizer


class Tower:
    """An exported tower, compiled for this machine's CPU."""

    def __init__(self, file: Path, hint: str, *, cache: Path | None = None) -> None:
        """Args:
        hint: ``f32`` or ``bf16``; a CPU without bf16 computes in float32 all the same.
        cache: a folder for what OpenVINO makes of the graph, without weights, which halves the next time of this.
        """
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": hint,
            # Decoding runs on the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdecimal() and int(threads):  # as torch reads it
            options["INFERENCE_NUM_THREADS"] = int(threads)
        core = _core()
        record = file.with_name(COMPILED_RECORD)
        if cache is not None and checksums.keep_only_recorded(cache, record):
            try:
                cached = {**options, "CACHE_DIR": str(cache), "CACHE_MODE": "OPTIMIZE_SIZE"}
                self._compiled = core.compile_model(file, "CPU", cached)
                checksums.record_all(cache, record)
                return
            except RuntimeError as error:  # a folder that cannot be written, or an OpenVINO that cannot do this
                logger.info("%s is compiled without a cache: %s", file, error)
        self._compiled = core.compile_model(file, "CPU", options)

    def __call__(self, batch: FloatArray | IdArray) -> FloatArray:
        """Run it; returns float32 (len(batch), dim), L2-normalised rows."""
        features: FloatArray = self._compiled(batch)[0]
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        vectors: FloatArray = features / np.maximum(norms, np.float32(1e-12))  # as torch's normalize does
        return vectors


def import_openvino() -> Any:
    """The module openvino, without the package through which importing it tells its makers that it was imported.

    OpenVINO goes on without that package where it is missing, and is all there otherwise. A program that has imported
    either for itself keeps what it has.
    """
    with _importing:
        is_ours = "openvino" not in sys.modules and _REPORTS not in sys.modules
        if is_ours:
            sys.modules[_REPORTS] = None  # type: ignore[assignment]  # importing that is an ImportError
        try:
            import openvino
        finally:
            if is_ours:
                del sys.modules[_REPORTS]
    return openvino


_made_core: Any = None


def _core() -> Any:
    """One for all towers of the process, and for as long as that lasts.

    Each has its thread take signals on a stack of its own, and gives back the former one when it goes: of two that go
    in the order in which they came the second gives back the first one's, which is gone, and the next Ctrl-C ends the
    process in a segmentation fault.
    """
    global _made_core
    openvino = import_openvino()
    with _importing:
        if _made_core is None:
            _made_core = openvino.Core()
        return _made_core


def _weights_of(tower: str) -> str:
    return Path(tower).with_suffix(".bin").name


def encode_tokens(tower: Tower, tokens: IdArray, manifest: TowerManifest) -> FloatArray:
    """Encode rows of tokens, short ones together and each cut to what its vector depends on.

    open_clip pads every prompt to the context length. Where attention is causal and the vector is read off at the end
    token, no later position reaches it; transformers masks what is padded.
    """
    vectors = np.empty((len(tokens), manifest.dim), dtype=np.float32)
    lengths = needed_lengths(tokens, manifest)
    order = np.argsort(lengths, kind="stable")
    step = 1 if manifest.sizes.get(_weights_of(TEXT), 0) > _LARGE_TOWER else _LENGTH_STEP
    for start in range(0, len(order), _PROMPTS_AT_ONCE):
        rows = order[start : start + _PROMPTS_AT_ONCE]
        longest = int(lengths[rows[-1]])
        cut = min(-(-longest // step) * step, tokens.shape[1])
        vectors[rows] = tower(np.ascontiguousarray(tokens[rows, :cut]))
    return vectors


def needed_lengths(tokens: IdArray, manifest: TowerManifest) -> IdArray:
    """Leading columns that each row's vector depends on, int64 (rows,)."""
    if not manifest.cut_text:
        return np.full(len(tokens), tokens.shape[1], dtype=np.int64)
    if manifest.fast_tokenizer is not None:
        unmasked: IdArray = (tokens >= 0).sum(axis=1)
        return unmasked
    marks = tokens if manifest.end_token is None else (tokens == manifest.end_token).astype(np.int64)
    lengths: IdArray = marks.argmax(axis=1) + 1
    return lengths

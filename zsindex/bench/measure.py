"""How fast this machine is with a model and with photos of a kind; and what holds it up.

Measured are the program's own functions: decoding, the model, a sync into a library that is thrown away, and questions
to that library. The user's own is only read.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from zsindex import config
from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike
from zsindex.arguments.several import several
from zsindex.bench.bottleneck import Bottleneck, Rates, advice, expected_sync, find_bottleneck
from zsindex.errors import ImageError, LibraryNotFound, PathNotFound, ZsindexError
from zsindex.library import Library
from zsindex.models.encoder import Encoder, preprocessed
from zsindex.photos import decode, samples
from zsindex.photos.scan import scan
from zsindex.records import Candidate, DecodeMode, FloatArray
from zsindex.session import model as asked_model
from zsindex.storage.rows import FileOutcome, ImageRecord

DEFAULT_SECONDS = 20.0
# Random vectors that questions are asked about: as many as the library has photos, within bounds.
LEAST_VECTORS, MOST_VECTORS = 10_000, 20_000

_MOST_PHOTOS = 1_000
_MOST_BYTES = 512 << 20  # of photos that are looked at, and of copies that are made
_PIXELS_KEPT = 64
_PROMPTS_AT_ONCE = 32
_LABELS = [f"kind number {i}" for i in range(20)]
_QUESTIONS = 5
_NONE_READABLE = "none of these photos can be read; name others"


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What a library of such photos costs on this machine.

    Attributes:
        model: as `ModelSpec` spells it.
        runtime: what computes it: ``openvino``, ``torch``, or another encoder's class.
        device: where: ``cpu``, ``cuda``, …
        precision, decode: as in `ModelSpec`.
        cores: of the processor.
        workers: threads that read and decode.
        photos: how many different ones were decoded.
        megapixels: their mean size.
        rates: of a sync and its parts.
        expected_sync: photos per second that decoding and the model allow together.
        prompts: new prompts per second.
        vectors: images that the questions were asked about.
        scores: images × labels per second of a classification by cached labels.
        search_ms: a search by a cached text.
        bottleneck: what a sync waits for.
        advice: the same in words, and what can be done about it.
        seconds_for_10000: a first sync of 10,000 such photos.
        seconds: that measuring took, without loading the model.
    """

    model: str
    runtime: str
    device: str
    precision: str
    decode: str
    cores: int
    workers: int
    photos: int
    megapixels: float
    rates: Rates
    expected_sync: float
    prompts: float
    vectors: int
    scores: float
    search_ms: float
    bottleneck: Bottleneck
    advice: str
    seconds_for_10000: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def measure(
    photos: PathsLike | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    seconds: float = DEFAULT_SECONDS,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    **model: Any,
) -> BenchReport:
    """Measure for some seconds.

    Args:
        photos: files and folders. Default: the library's photos, else the samples that come along.
        path: of the library, as for `Library.open`; it gives the default model, and need not exist.
        seconds: how long to measure for, about. Loading the model comes on top of it.
        device, batch_size, workers: as for `Library.open`.
        progress: called with a few words before each step.
        should_stop: asked between photos; once it says yes, `KeyboardInterrupt` is raised.
        model: what else `Library.open` takes about the model.

    Raises:
        ValueError: `seconds` is not positive.
        PathNotFound: something in `photos` is not there.
        ZsindexError: there are no photos, or none can be read.
        ModelError
    """
    seconds = bounds.real("seconds", seconds, above=0)
    say = progress or (lambda _: None)
    workers = workers or os.cpu_count() or 1
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="zsindex-bench-", dir=config.temporary_folder())
        scratch = Path(stack.enter_context(temporary))
        spec, known = _spec_and_photos(path, scratch, model)
        chosen = _choose(photos, known)
        say(f"loading {spec} …")
        encoder = asked_model.load_encoder(spec, device=device, batch_size=batch_size)
        computed_on = getattr(encoder, "device", "cpu")
        on_cpu = computed_on == "cpu"
        bench = _Bench(encoder, chosen, should_stop or (lambda: False))

        say("decoding …")
        started = time.perf_counter()
        decode_core = bench.decode(spec.decode, 1, 0.15 * seconds)
        decode_all = bench.decode(spec.decode, workers, 0.15 * seconds)
        is_fast = spec.decode is DecodeMode.FAST
        decode_fast = None if is_fast else bench.decode(DecodeMode.FAST, 1, 0.1 * seconds)
        say("the model …")
        encode = bench.encode(batch_size or config.DEFAULT_BATCH_SIZE, 0.2 * seconds)
        prompts = bench.prompts(0.05 * seconds)
        expected = expected_sync(decode_all, encode, on_cpu=on_cpu)
        say("a sync …")
        with Library.open(scratch / "library", encoder=encoder, batch_size=batch_size, workers=workers) as own:
            sync = bench.sync(own, round(expected * 0.25 * seconds), scratch / "copies")
            say("questions …")
            _fill(own, max(LEAST_VECTORS, min(len(known), MOST_VECTORS)))
            vectors, scores, search_ms = bench.ask(own)
        took = time.perf_counter() - started

    rates = Rates(decode_core, decode_all, decode_fast, encode, sync)
    return BenchReport(
        model=str(spec),
        runtime=getattr(encoder, "runtime", type(encoder).__name__),
        device=computed_on,
        precision=spec.precision,
        decode=str(spec.decode),
        cores=os.cpu_count() or 1,
        workers=workers,
        photos=len(bench.megapixels),
        megapixels=sum(bench.megapixels.values()) / len(bench.megapixels),
        rates=rates,
        expected_sync=expected,
        prompts=prompts,
        vectors=vectors,
        scores=scores,
        search_ms=search_ms,
        bottleneck=find_bottleneck(rates, on_cpu=on_cpu),
        advice=advice(rates, model=spec.name, precision=spec.precision, on_cpu=on_cpu),
        seconds_for_10000=10_000 / sync,
        seconds=took,
    )


class _Bench:
    """Measures one thing after the other.

    Attributes:
        megapixels: of each photo that was decoded, by path.
    """

    def __init__(self, encoder: Encoder, paths: Sequence[str], should_stop: Callable[[], bool]) -> None:
        self.megapixels: dict[str, float] = {}
        self._encoder = encoder
        self._paths = paths
        self._should_stop = should_stop
        self._max_pixels = config.max_pixels(config.DEFAULT_MAX_PIXELS)
        self._pixels: list[FloatArray] = []

    def decode(self, mode: DecodeMode, threads: int, seconds: float) -> float:
        """Photos per second that are read, decoded and preprocessed.

        Raises:
            ZsindexError: none can be.
        """
        source, lock, stop = cycle(self._paths), threading.Lock(), threading.Event()
        ends = time.perf_counter() + seconds

        def work() -> int:
            done = tried = 0
            # Each photo is tried once before it is said that none can be read.
            while not stop.is_set() and (time.perf_counter() < ends or (not done and tried < len(self._paths))):
                with lock:
                    path = next(source)
                tried += 1
                done += self._prepare(path, mode)
            return done

        with ThreadPoolExecutor(threads) as pool:
            try:
                started = time.perf_counter()
                workers = [pool.submit(work) for _ in range(threads)]
                while not all(worker.done() for worker in workers):
                    self._go_on()
                    time.sleep(0.005)
                took = time.perf_counter() - started
            finally:
                stop.set()
        done = sum(worker.result() for worker in workers)
        if not done:
            raise ZsindexError(_NONE_READABLE)
        return done / took

    def _prepare(self, path: str, mode: DecodeMode) -> bool:
        info = self._encoder.info
        try:
            content = decode.read_file(path)
            decoded = decode.decode(
                content.data,
                mode=mode,
                input_size=info.image_size,
                max_pixels=self._max_pixels,
                name_hint=path,
                rendering=info.spec.rendering,
            )
            pixels = preprocessed(self._encoder, decoded.image)
        except ImageError:
            return False
        self.megapixels[path] = decoded.width * decoded.height / 1e6
        if len(self._pixels) < _PIXELS_KEPT:
            self._pixels.append(pixels)
        return True

    def encode(self, batch_size: int, seconds: float) -> float:
        """Images per second of the model alone."""
        # The first call prepares the model; the second one tells how many fit into the time.
        self._encoder.encode_images(self._pixels[:1])
        one = _seconds_of(lambda: self._encoder.encode_images(self._pixels[:1]))
        batch = list(islice(cycle(self._pixels), max(1, min(batch_size, int(seconds / max(one, 1e-6))))))
        return self._rate(lambda: self._encoder.encode_images(batch), len(batch), seconds)

    def prompts(self, seconds: float) -> float:
        """Texts per second, none of them twice."""
        numbers = count()
        self._encoder.encode_texts(["warm up"])

        def encode() -> None:
            texts = [f"This is a photo of thing number {next(numbers)}." for _ in range(_PROMPTS_AT_ONCE)]
            self._encoder.encode_texts(texts)

        return self._rate(encode, _PROMPTS_AT_ONCE, seconds)

    def _rate(self, action: Callable[[], Any], each: int, seconds: float) -> float:
        started, done = time.perf_counter(), 0
        while not done or time.perf_counter() - started < seconds:
            self._go_on()
            action()
            done += each
        return done / (time.perf_counter() - started)

    def sync(self, own: Library, n_photos: int, copies: Path) -> float:
        """Photos per second of a whole sync of photos that the library has never seen."""
        readable = list(self.megapixels)
        paths = readable[: max(n_photos, 1)]
        paths += _copies(readable, min(n_photos, _MOST_PHOTOS) - len(paths), copies)
        report = own.sync(paths, should_stop=self._should_stop)
        self._go_on()
        if not report.encoded:
            raise ZsindexError(_NONE_READABLE)
        return report.encoded / report.seconds

    def ask(self, own: Library) -> tuple[int, float, float]:
        """Vectors in the library; images × labels per second of a classification; milliseconds of a search."""
        n_images = len(own.classify(_LABELS, top=1, sync=False))  # from here on its prompts are cached
        own.search(_LABELS[0])
        classifying, searching = [], []
        for _ in range(_QUESTIONS):
            self._go_on()
            classifying.append(_seconds_of(lambda: own.classify(_LABELS, top=1, sync=False)))
            searching.append(_seconds_of(lambda: own.search(_LABELS[0])))
        return n_images, n_images * len(_LABELS) / min(classifying), 1000 * min(searching)

    def _go_on(self) -> None:
        if self._should_stop():
            raise KeyboardInterrupt


def _spec_and_photos(
    path: str | os.PathLike[str] | None, scratch: Path, model: dict[str, Any]
) -> tuple[Any, list[str]]:
    """The model that is asked for, and the library's photos."""
    try:
        opened = Library.open(path, create=False, read_only=True, **model)
    except LibraryNotFound:
        opened = Library.open(scratch / "none", **model)
    with opened:
        return opened.spec, opened.photos.paths()


def _choose(photos: PathsLike | None, known: list[str]) -> list[str]:
    """Some of the photos, in random order: neighbours in a folder often come from one camera.

    Raises:
        PathNotFound: something that was named is not there.
        ZsindexError: there are no photos.
    """
    if photos is None:
        found = known or [str(photo) for photo in samples.photos()]
    else:
        named = several(photos)
        absolute = [config.absolute(one) for one in named]
        missing = [one for one in absolute if not os.path.lexists(one)]
        if missing:
            raise PathNotFound(missing)
        found = [candidate.path for listing in scan(absolute) for candidate in listing.candidates]
        if not found:
            raise ZsindexError("there are no photos there; name others")
    chosen = random.Random(0).sample(found, min(len(found), _MOST_PHOTOS))
    return list(_within(chosen, _MOST_BYTES))


def _within(paths: Sequence[str], most_bytes: int) -> Iterator[str]:
    """Those at the front that are not too large together, at least the first; reads them, so that a disk's speed does
    not count for the first look alone.
    """
    total = 0
    for path in paths:
        try:
            total += len(Path(path).read_bytes())
        except OSError:
            continue
        yield path
        if total > most_bytes:
            return


def _copies(paths: Sequence[str], n: int, folder: Path) -> list[str]:
    """Copies that are new content and the same picture: some bytes follow the end of the image."""
    if n <= 0:
        return []
    folder.mkdir()
    mean = sum(Path(path).stat().st_size for path in paths) / len(paths)
    made = []
    for number, path in enumerate(islice(cycle(paths), min(n, int(_MOST_BYTES / mean)))):
        target = folder / f"{number}{Path(path).suffix}"
        shutil.copyfile(path, target)
        with target.open("ab") as opened:
            opened.write(f"\n{number}".encode())
        made.append(str(target))
    return made


def _fill(own: Library, n_vectors: int) -> None:
    """Add photos that exist only in the database, each with a random vector."""
    photos = own.session.storage.photos
    model = photos.add_model(own.model, make_default=False)
    random_numbers = np.random.default_rng(0)
    for start in range(0, n_vectors, 1_000):
        vectors = random_numbers.standard_normal((1_000, own.model.dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        photos.save([_made_up(start + i, vector) for i, vector in enumerate(vectors)], model.id)


def _made_up(number: int, vector: FloatArray) -> FileOutcome:
    digest = hashlib.sha256(f"bench {number}".encode()).digest()
    return FileOutcome(Candidate("/bench", f"{number}.jpg", 1, 1), ImageRecord(digest, 1, 1, "JPEG", vector))


def _seconds_of(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started

"""Reads, decodes and encodes photos: threads prepare ahead while the model works, within a bound.

The amount prepared ahead is limited, so that memory stays flat however many photos there are. Results come in batches,
which the caller stores before asking for the next one. Batches follow the order of the input; within one, files that
needed no model come first, and copies follow their originals.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from zsindex.errors import ImageError
from zsindex.models.encoder import Encoder, fitting_of, images_at_once, is_out_of_memory, out_of_memory, preprocessed
from zsindex.photos import decode
from zsindex.photos.sandbox import Here, Sandbox
from zsindex.photos.sources import Source
from zsindex.records import Candidate, FloatArray, Settings, SkipReason
from zsindex.storage.claims import Claim, Claims
from zsindex.storage.protocol import PhotoStorage
from zsindex.storage.rows import FileOutcome, ImageRecord, Receipt

# Files that needed no encoding are stored when this many have accumulated.
STORE_EVERY = 512
# Between two looks at what other syncs are encoding, when nothing else is left to do.
SHORTEST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A file that was read, and decoded if necessary.

    Attributes:
        digest: of its bytes; empty if they could not be read.
        result: None while another file with the same bytes is being processed.
        elsewhere: by another sync.
        pixels: to encode.
    """

    file: Candidate
    digest: bytes = b""
    result: ImageRecord | ImageError | None = None
    pixels: FloatArray | None = None
    elsewhere: bool = False


class _Turns:
    """Which file encodes what: of several files with the same bytes, the first claims them, the others wait for it."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._in_flight: set[bytes] = set()
        self._lock = threading.Lock()

    def claim(self, digest: bytes) -> Claim | None:
        """Claim it against other syncs, too; None while another file of this one is being processed."""
        with self._lock:
            if digest in self._in_flight:
                return None
            self._in_flight.add(digest)
        claim = None
        try:
            claim = self._claims.take(digest)
        finally:
            if claim is not Claim.MINE:
                with self._lock:
                    self._in_flight.discard(digest)
        return claim

    def is_pending(self, digest: bytes) -> bool:
        with self._lock:
            return digest in self._in_flight

    def release(self, digests: Sequence[bytes]) -> None:
        self._claims.release(digests)
        with self._lock:
            self._in_flight.difference_update(digests)


def encode_files(
    files: Iterable[Candidate],
    *,
    encoder: Callable[[], Encoder],
    claims: Claims,
    settings: Settings,
    should_stop: Callable[[], bool],
    decoder: Sandbox | Here,
) -> Iterator[list[FileOutcome]]:
    """Read files, and encode those whose content has no vector yet.

    Args:
        files: in the order in which to process them.
        encoder: gives the model; called only if something must be encoded, from any thread.
        claims: which content has a vector already, and which one another sync encodes. The latter is looked at again
            with every batch.
        decoder: decodes photos; its processes are ended when this is left early.
        should_stop: called between photos. Once it returns True, the current batch is finished and the rest is left.

    Yields:
        Batches of outcomes. The caller stores each before asking for the next, so that later files with the same bytes
        find them known.
    """
    turns = _Turns(claims)
    batch_size = settings.batch_size

    def model() -> Encoder:
        nonlocal batch_size
        loaded = encoder()
        if not settings.is_chosen:
            batch_size = max(settings.batch_size, images_at_once(loaded))
        return loaded

    def prepare(file: Candidate) -> _Prepared:
        digest = b""
        try:
            content = decode.read_file(file.path)
            file = file._replace(size=content.size, mtime_ns=content.mtime_ns)
            digest = content.digest
            claim = turns.claim(digest)
            if claim is not Claim.MINE:
                known = ImageRecord(digest) if claim is Claim.KNOWN else None
                return _Prepared(file, digest, known, elsewhere=claim is Claim.ELSEWHERE)
            image, pixels = _pixels(Source(digest, content.data, file.name, decoder), model(), settings)
        except ImageError as error:
            return _Prepared(file, digest, error)
        return _Prepared(file, digest, image, pixels)

    source = iter(files)
    ahead: deque[Future[_Prepared]] = deque()
    waiting: defaultdict[bytes, list[Candidate]] = defaultdict(list)
    n_waiting = 0
    elsewhere: list[Candidate] = []
    pause_s = 0.0
    to_encode: list[_Prepared] = []
    done: list[FileOutcome] = []

    def settle(prepared: _Prepared, result: ImageRecord | ImageError) -> None:
        """Record the outcome of a file, and of those that waited for the same bytes."""
        nonlocal n_waiting
        done.append(_outcome(prepared.file, result))
        if prepared.digest:
            same = result if isinstance(result, ImageError) else ImageRecord(prepared.digest)
            copies = waiting.pop(prepared.digest, [])
            n_waiting -= len(copies)
            done.extend(_outcome(file, same) for file in copies)

    def finish_batch() -> list[FileOutcome]:
        nonlocal done
        if to_encode:
            ready = [
                (p.result, p.pixels) for p in to_encode if isinstance(p.result, ImageRecord) and p.pixels is not None
            ]
            for prepared, result in zip(to_encode, _encode(model(), ready), strict=True):
                settle(prepared, result)
        to_encode.clear()
        finished, done = done, []
        return finished

    with ThreadPoolExecutor(settings.workers, thread_name_prefix="zsindex-decode") as pool:
        try:
            while not should_stop():
                while len(ahead) < 2 * batch_size + settings.workers:
                    if (file := next(source, None)) is None:
                        break
                    ahead.append(pool.submit(prepare, file))
                if not ahead:
                    if not elsewhere:
                        break
                    if to_encode or done:
                        digests = [p.digest for p in to_encode]
                        yield finish_batch()
                        turns.release(digests)
                        pause_s = 0.0
                    else:
                        pause_s = min(2 * pause_s + SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
                        time.sleep(pause_s)
                    source, elsewhere = iter(elsewhere), []
                    continue
                prepared = ahead.popleft().result()
                if prepared.pixels is not None:
                    to_encode.append(prepared)
                elif prepared.result is not None:
                    settle(prepared, prepared.result)
                    if isinstance(prepared.result, ImageError):
                        turns.release([prepared.digest])
                elif prepared.elsewhere:
                    elsewhere.append(prepared.file)
                elif turns.is_pending(prepared.digest):
                    waiting[prepared.digest].append(prepared.file)
                    n_waiting += 1
                else:
                    # What it waited for has been settled meanwhile.
                    ahead.appendleft(pool.submit(prepare, prepared.file))
                # Waiting files count as well: a thousand copies of one photo must not pile up until its batch is full.
                if len(to_encode) >= batch_size or ((to_encode or done) and len(done) + n_waiting >= STORE_EVERY):
                    digests = [p.digest for p in to_encode]
                    yield finish_batch()
                    turns.release(digests)
            if to_encode or done:
                yield finish_batch()
        finally:
            for future in ahead:
                future.cancel()
            if ahead:
                decoder.stop()  # nobody waits for what they are at


def store_files(
    photos: PhotoStorage,
    files: Iterable[Candidate],
    model_id: int,
    *,
    encoder: Callable[[], Encoder],
    settings: Settings,
    decoder: Sandbox | Here,
    since: str,
    should_stop: Callable[[], bool],
    shared: bool = False,
    receipt: str = "",
) -> Generator[Receipt, None, None]:
    """Read and encode files, and store what comes of them, batch by batch.

    Args:
        files, encoder, settings, decoder, should_stop: as for `encode_files`.
        since: when the sync began.
        shared: other processes encode for the same sync.
        receipt: the name under which receipts are kept, too.

    Yields:
        A receipt of each batch that is stored.
    """
    with photos.claims(model_id, shared=shared) as claims:
        for batch in encode_files(
            files, encoder=encoder, claims=claims, settings=settings, should_stop=should_stop, decoder=decoder
        ):
            yield Receipt.of(batch, photos.save(batch, model_id, since=since, receipt=receipt))


def encode_sources(sources: Sequence[Source], model: Encoder, settings: Settings) -> list[ImageRecord]:
    """Decode and encode images that were read, all at once.

    Raises:
        ImageError: an image cannot be decoded or encoded; names it.
    """
    with ThreadPoolExecutor(settings.workers, thread_name_prefix="zsindex-decode") as pool:
        ready = list(pool.map(lambda source: _pixels(source, model, settings), sources))
    records = []
    for source, result in zip(sources, _encode(model, ready), strict=True):
        if isinstance(result, ImageError):
            raise ImageError(result.reason, result.detail, path=source.name)
        records.append(result)
    return records


def _pixels(source: Source, model: Encoder, settings: Settings) -> tuple[ImageRecord, FloatArray]:
    """The model's input for an image, and what to store of it besides its vector.

    Raises:
        ImageError: names the image.
    """
    decoded = source.decode(
        mode=model.info.spec.decode,
        input_size=model.info.image_size,
        max_pixels=settings.max_pixels,
        rendering=model.info.spec.rendering,
        fitting=fitting_of(model),
    )
    record = ImageRecord(
        source.digest,
        decoded.width,
        decoded.height,
        decoded.format,
        incomplete=decoded.incomplete,
        facts=decoded.facts,
    )
    try:
        return record, preprocessed(model, decoded.image)
    except ImageError as error:
        raise ImageError(error.reason, error.detail, path=source.name) from error


def _encode(model: Encoder, ready: Sequence[tuple[ImageRecord, FloatArray]]) -> list[ImageRecord | ImageError]:
    """Encode a batch, in parts if memory is short; an image without a finite vector becomes an error."""
    try:
        vectors = model.encode_images([pixels for _, pixels in ready])
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(ready) == 1:
            return [out_of_memory()]
        middle = len(ready) // 2
        return [*_encode(model, ready[:middle]), *_encode(model, ready[middle:])]
    return [_with_vector(image, vector) for (image, _), vector in zip(ready, vectors, strict=True)]


def _with_vector(image: ImageRecord, vector: FloatArray) -> ImageRecord | ImageError:
    if not np.isfinite(vector).all():
        return ImageError(SkipReason.ENCODE_FAILED, "the model's answer for this image is not a number")
    return replace(image, vector=vector)


def _outcome(file: Candidate, result: ImageRecord | ImageError) -> FileOutcome:
    if isinstance(result, ImageError):
        return FileOutcome(file, skip_reason=result.reason, skip_detail=result.detail)
    return FileOutcome(file, result)

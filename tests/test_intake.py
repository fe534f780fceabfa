"""`encode_files`: order, batches, bounds, and that equal bytes go through the model once."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from tests import photos
from tests.fakes import FakeEncoder, vector_of
from tests.scenes import candidate, damaged, photo
from zsindex.ingest.encoding import STORE_EVERY, Settings, encode_files
from zsindex.models.encoder import Encoder
from zsindex.photos import decode
from zsindex.photos.sandbox import Here
from zsindex.records import Candidate, FloatArray, SkipReason
from zsindex.storage.claims import LoneClaims
from zsindex.storage.rows import FileOutcome


def never() -> bool:
    return False


def run(
    files: Iterable[Candidate],
    encoder: Callable[[], Encoder],
    *,
    batch_size: int = 4,
    workers: int = 3,
    known: set[bytes] | None = None,
    should_stop: Callable[[], bool] = never,
) -> Iterator[list[FileOutcome]]:
    """`encode_files` for a caller that stores every batch before it asks for the next one."""
    stored = set() if known is None else known
    for batch in encode_files(
        files,
        encoder=encoder,
        claims=LoneClaims(stored.__contains__),
        settings=Settings(batch_size=batch_size, workers=workers, max_pixels=1_000_000),
        should_stop=should_stop,
        decoder=Here(1_000_000),
    ):
        stored.update(o.image.digest for o in batch if o.image is not None and o.image.vector is not None)
        yield batch


def names(outcomes: Iterable[FileOutcome]) -> list[str]:
    return [outcome.file.name for outcome in outcomes]


def flat(batches: Iterable[Sequence[FileOutcome]]) -> list[FileOutcome]:
    return [outcome for batch in batches for outcome in batch]


def distinct(folder: Path, n: int, *, start: int = 0) -> list[Candidate]:
    return [candidate(photo(folder / f"{i:04}.png", mark=i)) for i in range(start, start + n)]


def copies(original: Path, folder: Path, n: int) -> list[Candidate]:
    folder.mkdir()
    return [candidate(Path(shutil.copy(original, folder / f"{i:04}{original.suffix}"))) for i in range(n)]


def decoding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("zsindex-decode")]


# --- batches and order ------------------------------------------------------------------------------------------------


def test_photos_come_back_in_order_in_full_batches(tmp_path: Path) -> None:
    encoder, files = FakeEncoder(), distinct(tmp_path, 10)
    batches = list(run(files, lambda: encoder))
    assert [len(batch) for batch in batches] == [4, 4, 2] == encoder.batches
    assert names(flat(batches)) == [file.name for file in files]


def test_an_image_record_says_what_was_read(tmp_path: Path) -> None:
    path, encoder = photo(tmp_path / "a.png", "blue"), FakeEncoder()
    [outcome] = flat(run([candidate(path)], lambda: encoder))
    assert outcome.file == candidate(path)
    assert outcome.skip_reason is outcome.skip_detail is None
    image = outcome.image
    assert image is not None
    assert (image.digest, image.width, image.height) == (decode.digest(path.read_bytes()), 16, 12)
    assert image.format == "PNG"
    assert image.vector is not None
    assert image.vector @ vector_of((0, 0, 255)) > 0.999


def test_the_stat_is_that_of_the_bytes_that_were_read(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    stale = Candidate(str(tmp_path), "a.png", size=1, mtime_ns=2)
    [outcome] = flat(run([stale], FakeEncoder))
    assert outcome.file == candidate(path)


def test_bad_photos_are_outcomes_among_the_good_ones(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    (tmp_path / "empty.jpg").touch()
    files = [
        candidate(photo(tmp_path / "a.png", mark=1)),
        candidate(tmp_path / "empty.jpg"),
        candidate(damaged(tmp_path / "text.jpg")),
        candidate(tmp_path / "gone.jpg"),
        candidate(photo(tmp_path / "b.png", mark=2)),
    ]
    outcomes = {o.file.name: o for o in flat(run(files, lambda: encoder))}
    assert {name: o.skip_reason for name, o in outcomes.items()} == {
        "a.png": None,
        "b.png": None,
        "empty.jpg": SkipReason.EMPTY,
        "text.jpg": SkipReason.NOT_AN_IMAGE,
        "gone.jpg": SkipReason.VANISHED,
    }
    assert all((o.image is None) == bool(o.skip_detail) for o in outcomes.values())
    assert encoder.image_count == 2


def test_nothing_in_nothing_out() -> None:
    assert list(run([], FakeEncoder)) == []


def test_what_needs_no_model_is_stored_in_batches_too(tmp_path: Path) -> None:
    n = STORE_EVERY + 30
    files = [candidate(damaged(tmp_path / f"{i:04}.jpg", mark=i)) for i in range(n)]
    batches = list(run(files, FakeEncoder))
    assert [len(batch) for batch in batches] == [STORE_EVERY, 30]
    assert names(flat(batches)) == [file.name for file in files]


# --- the bound --------------------------------------------------------------------------------------------------------


@dataclass
class Counting:
    """Hands files out one by one and counts them."""

    files: Sequence[Candidate]
    given: int = 0

    def __iter__(self) -> Iterator[Candidate]:
        for file in self.files:
            self.given += 1
            yield file


def test_it_reads_ahead_but_only_so_far(tmp_path: Path) -> None:
    batch_size, workers = 4, 3
    source = Counting(distinct(tmp_path, 60))
    encoder = FakeEncoder()
    stored = 0
    lead = []
    for batch in run(source, lambda: encoder, batch_size=batch_size, workers=workers):
        stored += len(batch)
        lead.append(source.given - stored)
    assert stored == 60
    assert max(lead) == lead[0] == 2 * batch_size + workers - 1  # busy while the model works, and flat
    assert lead[-1] == 0


def test_many_copies_of_one_photo_are_stored_as_they_come(tmp_path: Path) -> None:
    """Copies wait for the photo that is to be encoded; were they only stored with it, memory would grow with them."""
    original = photo(tmp_path / "a.png")
    n = 2 * STORE_EVERY
    source = Counting([candidate(original)] * n)
    encoder = FakeEncoder()
    batches, lead, stored = [], [], 0
    for batch in run(source, lambda: encoder, batch_size=32):
        batches.append(len(batch))
        stored += len(batch)
        lead.append(source.given - stored)
    assert stored == n
    assert encoder.image_count == 1
    assert len(batches) > 1
    assert max(batches) < STORE_EVERY + 100
    assert max(lead) < 100


# --- equal bytes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 8])
def test_copies_in_a_batch_are_encoded_once(tmp_path: Path, workers: int) -> None:
    encoder = FakeEncoder()
    files = copies(photo(tmp_path / "a.png"), tmp_path / "copies", 50)
    outcomes = flat(run(files, lambda: encoder, workers=workers))
    assert encoder.image_count == 1
    assert sorted(names(outcomes)) == [file.name for file in files]
    assert len({o.image.digest for o in outcomes if o.image is not None}) == 1
    assert [o.image is not None and o.image.vector is not None for o in outcomes].count(True) == 1


def test_copies_in_later_batches_are_found_known(tmp_path: Path) -> None:
    encoder, files = FakeEncoder(), distinct(tmp_path, 9)
    outcomes = flat(run([*files, *files, *files[::-1]], lambda: encoder, batch_size=3))
    assert encoder.image_count == 9
    assert len(outcomes) == 27


@pytest.mark.parametrize("workers", [1, 8])
def test_damaged_copies_each_get_their_reason(tmp_path: Path, workers: int) -> None:
    encoder = FakeEncoder()
    files = copies(damaged(tmp_path / "a.jpg"), tmp_path / "copies", 50)
    good = distinct(tmp_path / "good", 5)
    outcomes = flat(run([*files[:25], *good, *files[25:]], lambda: encoder, workers=workers))
    assert encoder.image_count == 5
    assert len(outcomes) == 55
    bad = [o for o in outcomes if o.image is None]
    assert sorted(names(bad)) == sorted(file.name for file in files)
    assert {o.skip_reason for o in bad} == {SkipReason.NOT_AN_IMAGE}


def test_what_is_known_is_read_but_not_encoded(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")

    def no_model() -> Encoder:
        raise AssertionError("the model was asked for")

    digest = decode.digest(path.read_bytes())
    (tmp_path / "empty.jpg").touch()
    files = [candidate(path), candidate(tmp_path / "empty.jpg"), candidate(tmp_path / "gone.jpg")]
    outcomes = flat(run(files, no_model, known={digest}))
    assert names(outcomes) == ["a.png", "empty.jpg", "gone.jpg"]
    image = outcomes[0].image
    assert image is not None
    assert (image.digest, image.vector) == (digest, None)


class NoNumbers(FakeEncoder):
    """A model that answers dark photos with NaN, as half-precision ones can."""

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        vectors = super().encode_images(pixels)
        vectors[[p.mean() < 50 for p in pixels]] = np.nan
        return vectors


def test_a_vector_that_is_no_number_is_the_photo_s_own_failure(tmp_path: Path) -> None:
    encoder = NoNumbers()
    dark = photo(tmp_path / "dark.png", "black", mark=1)
    files = [candidate(dark), *copies(dark, tmp_path / "copies", 3), candidate(photo(tmp_path / "white.png", "white"))]
    outcomes = {o.file.path: o for o in flat(run(files, lambda: encoder))}
    assert len(outcomes) == 5
    for path, outcome in outcomes.items():
        expected = None if path.endswith("white.png") else SkipReason.ENCODE_FAILED
        assert outcome.skip_reason is expected
    assert encoder.image_count == 2


# --- stopping and failing ---------------------------------------------------------------------------------------------


def test_stopping_finishes_what_is_in_the_batch_and_leaves_the_rest(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    asked = iter(range(100))
    files = distinct(tmp_path, 30)
    outcomes = flat(run(files, lambda: encoder, should_stop=lambda: next(asked) >= 6))
    assert names(outcomes) == [file.name for file in files[:6]]
    assert encoder.batches == [4, 2]
    assert not decoding_threads()


def test_stopping_at_once_reads_nothing(tmp_path: Path) -> None:
    source = Counting(distinct(tmp_path, 3))
    assert list(run(source, FakeEncoder, should_stop=lambda: True)) == []
    assert source.given == 0


def test_stopping_leaves_out_copies_of_what_is_left_out(tmp_path: Path) -> None:
    """Whatever the threads' order: everything that comes out has been encoded or stored before."""
    asked = iter(range(100))
    files = copies(photo(tmp_path / "a.png"), tmp_path / "copies", 20)
    encoder = FakeEncoder()
    outcomes = flat(run(files, lambda: encoder, workers=8, should_stop=lambda: next(asked) >= 5))
    with_vector = [o for o in outcomes if o.image is not None and o.image.vector is not None]
    assert len(with_vector) == encoder.image_count <= 1
    assert len(outcomes) in (0, 5)


class Failing(FakeEncoder):
    """A model that breaks at its second batch."""

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        if self.batches:
            raise RuntimeError("out of memory")
        return super().encode_images(pixels)


def test_a_failing_model_stops_everything_after_what_is_stored(tmp_path: Path) -> None:
    encoder = Failing()
    batches = []
    with pytest.raises(RuntimeError, match="out of memory"):
        batches.extend(run(distinct(tmp_path, 40), lambda: encoder))
    assert encoder.batches == [4]
    assert not decoding_threads()


class Short(FakeEncoder):
    """A model for which memory is short: for single pictures, and for batches."""

    def __init__(self, *, most: int = 99, bad: str = "") -> None:
        super().__init__()
        self.most, self.bad = most, bad

    def preprocess(self, image: Image.Image) -> FloatArray:
        if self.bad and image.getpixel((0, 0)) == ImageColor.getrgb(self.bad):
            raise MemoryError
        return super().preprocess(image)

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        if len(pixels) > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return super().encode_images(pixels)


def test_a_photo_that_memory_is_too_short_for_is_passed_over(tmp_path: Path) -> None:
    colours = ("red", "lime", "blue")
    files = [photos.save(tmp_path / f"{colour}.png", photos.solid(colour)) for colour in colours]
    encoder = Short(bad="lime")
    outcomes = flat(run([candidate(file) for file in files], lambda: encoder))
    assert {one.file.name: one.skip_reason for one in outcomes} == {
        "red.png": None,
        "lime.png": SkipReason.OUT_OF_MEMORY,
        "blue.png": None,
    }


@pytest.mark.parametrize(("most", "batches"), [(3, [2, 2]), (1, [1, 1, 1, 1]), (0, [])])
def test_a_batch_that_memory_is_too_short_for_is_encoded_in_parts(
    tmp_path: Path, most: int, batches: list[int]
) -> None:
    encoder = Short(most=most)
    outcomes = flat(run(distinct(tmp_path, 4), lambda: encoder))
    assert encoder.batches == batches
    assert {one.skip_reason for one in outcomes} == {None if most else SkipReason.OUT_OF_MEMORY}


class Unprepared(FakeEncoder):
    def preprocess(self, image: Image.Image) -> FloatArray:
        raise ZeroDivisionError("a bug in a thread")


def test_a_bug_in_a_thread_is_not_taken_for_a_bad_photo(tmp_path: Path) -> None:
    encoder = Unprepared()
    with pytest.raises(ZeroDivisionError, match="a bug in a thread"):
        list(run(distinct(tmp_path, 10), lambda: encoder))
    assert not decoding_threads()


def test_a_model_that_cannot_be_loaded_is_reported_as_such(tmp_path: Path) -> None:
    def unavailable() -> Encoder:
        raise LookupError("no such model")

    with pytest.raises(LookupError, match="no such model"):
        list(run(distinct(tmp_path, 10), unavailable))
    assert not decoding_threads()


def test_a_caller_that_fails_leaves_no_threads(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    source = Counting(distinct(tmp_path, 40))

    def store() -> None:
        for _ in run(source, lambda: encoder):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store()
    assert encoder.batches == [4]
    assert source.given < 20
    assert not decoding_threads()


def test_a_caller_that_stops_asking_leaves_no_threads(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    batches = run(distinct(tmp_path, 40), lambda: encoder)
    assert len(next(batches)) == 4
    assert decoding_threads()
    del batches
    assert not decoding_threads()
    assert encoder.batches == [4]

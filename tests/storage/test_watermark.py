"""Every storage: whoever has read all embeddings up to a watermark and goes on from there never misses one.

Indexes and their snapshots, kept views and cursors are built on it: a row that comes in below a watermark that somebody
has seen is never found by them. So these tests look while writers are in the midst of their work, end in another order
than they began in, or fail; and one shows that they would notice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.libraries import add_images, add_model, add_photos, unit_vectors
from tests.libraries import photo as seen
from tests.storage.implementations import Implementation, InMemory
from tests.storage.memory import MemoryStorage, State
from tests.waiting import WAIT_S, until
from zsindex.records import FloatArray
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import FileOutcome, ModelRow


class Follower:
    """Reads what is new, again and again, from where it left off."""

    def __init__(self, storage: Storage, model: ModelRow) -> None:
        self.storage, self.model = storage, model
        self.watermark = 0
        self.found: dict[int, bytes] = {}

    def look(self) -> None:
        count = self.storage.reads.count_after(self.model.id, self.watermark)
        last, ids, vectors = self.storage.reads.embeddings_after(self.model, self.watermark)
        assert len(ids) >= count, "what was counted is there"
        assert last >= self.watermark
        assert not set(ids.tolist()) & set(self.found), "nothing comes twice"
        self.watermark = last
        self.found.update((int(ident), vector.tobytes()) for ident, vector in zip(ids, vectors, strict=True))


class Halting:
    """A vector that waits before it is read, and then can be had or not: its writer is in the midst of a batch."""

    def __init__(self, vector: FloatArray, *, fails: bool) -> None:
        self.vector, self.fails = vector, fails
        self.reached, self.may_go_on = threading.Event(), threading.Event()

    def __array__(self, *_: Any, **__: Any) -> FloatArray:
        self.reached.set()
        assert self.may_go_on.wait(WAIT_S)
        if self.fails:
            raise ZeroDivisionError
        return self.vector


def batch(name: str, last: Any) -> list[FileOutcome]:
    """Some photos, and one with the vector `last`."""
    return [
        *(seen(f"/{name}/{i}", vector=v) for i, v in enumerate(unit_vectors(3))),
        seen(f"/{name}/last", vector=last),
    ]


@contextmanager
def held(storage: Storage, model: ModelRow, *, fails: bool) -> Iterator[Halting]:
    """A writer in the midst of a batch; at the end it goes on."""
    vector: Any = Halting(unit_vectors(1)[0], fails=fails)

    def store() -> None:
        try:
            storage.photos.save(batch("held", vector), model.id)
        except ZeroDivisionError:
            assert fails

    thread = threading.Thread(target=store)
    thread.start()
    try:
        assert vector.reached.wait(WAIT_S)
        yield vector
    finally:
        vector.may_go_on.set()
        thread.join(WAIT_S)


def interleave(library: Implementation, model: ModelRow, *, fails: bool) -> tuple[Follower, set[str]]:
    """Let one writer begin, and another one do its work as soon as it can; look all the time.

    Returns:
        Who has looked, and the digests of what there is, as hex.
    """
    writer, other = library.open(), library.open()
    follower = Follower(library.open(read_only=True), model)
    follower.look()
    second = threading.Thread(target=lambda: add_photos(other, model, unit_vectors(4, seed=1), folder="/other"))
    with held(writer, model, fails=fails):
        second.start()
        for _ in range(10):
            follower.look()
            second.join(0.01)
    until(lambda: follower.look() or not second.is_alive())
    follower.look()
    table = follower.storage.reads.files()
    there = [writer.photos.image(ident) for ident in table.image_ids.tolist()]
    return follower, {image.digest.hex() for image in there if image is not None}


@pytest.mark.parametrize("fails", [False, True], ids=["both commit", "the first rolls back"])
def test_writers_side_by_side_cost_a_reader_nothing(library: Implementation, model: ModelRow, fails: bool) -> None:
    follower, there = interleave(library, model, fails=fails)
    assert len(there) == len(follower.found) == (4 if fails else 8)
    everything = follower.storage.reads.embeddings_after(model, 0)
    assert sorted(follower.found) == sorted(everything[1].tolist())
    assert follower.watermark == everything[0]


class EarlyNumbers(MemoryStorage):
    """A storage that goes wrong in the way that databases do when they are left to themselves: a sequence number is
    given out when a row is written, writers do not wait for one another, and commits come in any order.
    """

    @contextmanager
    def write(self, action: str) -> Iterator[State]:
        with self.library.writing:
            state, before = self.library.state.copied(), self.library.state
            for kind in ("images", "files", "embeddings"):  # nobody else gets these
                self.library.state.last[kind] = state.last.get(kind, 0) + 10
        yield state
        with self.library.writing:
            for f in fields(State):
                old, mine, now = (getattr(of, f.name) for of in (before, state, self.library.state))
                if isinstance(mine, dict) and f.name != "last":
                    now.update({key: value for key, value in mine.items() if key not in old})


def test_a_storage_that_numbers_before_it_commits_would_be_found_out(tmp_path: Path) -> None:
    library = InMemory(tmp_path, EarlyNumbers)
    model = add_model(library.open())
    follower, there = interleave(library, model, fails=False)
    assert len(there) == 8
    assert len(follower.found) < 8


def test_many_writers_at_once(library: Implementation, storage: Storage, model: ModelRow) -> None:
    """Through all that store vectors, each through a handle of its own, some of them failing."""
    bad: Any = Halting(unit_vectors(1)[0], fails=True)
    bad.may_go_on.set()

    def write(n: int) -> None:
        handle = library.open()
        for step in range(6):
            vectors = unit_vectors(5, seed=100 * n + step)
            if step % 3 == 0:
                add_photos(handle, model, vectors, folder=f"/{n}/{step}")
            elif step % 3 == 1:
                add_images(handle, model, vectors, of=f"{n}/{step}/")
            else:
                with pytest.raises(ZeroDivisionError):
                    handle.photos.save(batch(f"{n}/{step}", bad), model.id)

    follower = Follower(library.open(read_only=True), model)
    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        follower.look()
    follower.look()
    _, ids, vectors = storage.reads.embeddings_after(model, 0)
    assert len(ids) == 4 * 4 * 5
    assert follower.found == {int(ident): vector.tobytes() for ident, vector in zip(ids, vectors, strict=True)}


# --- what numbers and order promise -----------------------------------------------------------------------------------


def test_each_model_has_a_watermark_of_its_own(storage: Storage, model: ModelRow) -> None:
    other = add_model(storage, "other")
    add_images(storage, model, unit_vectors(2), of="a")
    mark = storage.reads.embeddings_after(model, 0)[0]
    add_images(storage, other, unit_vectors(3), of="a")
    assert storage.reads.count_after(model.id, mark) == 0
    assert storage.reads.embeddings_after(model, mark)[0] == mark
    assert storage.reads.count_after(other.id, 0) == 3
    assert storage.reads.has_vectors(other.id)
    assert not storage.reads.has_vectors(add_model(storage, "third").id)


def test_rows_come_in_the_order_of_their_numbers_also_in_parts(storage: Storage, model: ModelRow) -> None:
    add_images(storage, model, unit_vectors(3), of="a")
    other = add_model(storage, "other")
    add_images(storage, other, unit_vectors(2), of="b")
    add_images(storage, model, unit_vectors(2), of="b")
    for after in (0, 1, 2):
        last, ids, vectors = storage.reads.embeddings_after(model, after)
        with storage.reads.embeddings(model, after=after) as (count, parts):
            in_parts = list(parts)
        assert count == len(ids)
        assert np.array_equal(np.concatenate([part for _, part, _ in in_parts]), ids)
        assert np.concatenate([part for _, _, part in in_parts]).tobytes() == vectors.tobytes()
        assert in_parts[-1][0] == last
    assert storage.reads.embeddings_after(model, 0)[1].tolist() == [1, 2, 3, 4, 5]


def test_numbers_are_never_given_again(storage: Storage, model: ModelRow) -> None:
    """Or what comes after pruning would lie below a watermark."""
    add_photos(storage, model, unit_vectors(3))
    mark = storage.reads.embeddings_after(model, 0)[0]
    storage.photos.prune(under=["/photos"])
    assert storage.reads.count_after(model.id, 0) == 0
    add_photos(storage, model, unit_vectors(1))
    assert storage.reads.count_after(model.id, mark) == 1
    assert storage.reads.image_ids_of(model.id, through=mark).tolist() == []


def deleted_by_pruning(storage: Storage, model: ModelRow) -> None:
    storage.photos.prune(under=["/photos"])


def deleted_as_damaged(storage: Storage, model: ModelRow) -> None:
    storage.photos.remove_vectors(model.id, {"images": [1], "prompts": []})


@pytest.mark.parametrize("delete", [deleted_by_pruning, deleted_as_damaged])
def test_a_generation_tells_that_vectors_were_deleted(
    storage: Storage, other: Storage, model: ModelRow, delete: Callable[[Storage, ModelRow], None]
) -> None:
    """As long as it is the same, all that was ever read is still there."""
    second = add_model(storage, "second")
    add_photos(storage, model, unit_vectors(2))
    add_images(storage, second, unit_vectors(1), of="kept")
    storage.photos.save([seen("/kept", "kept0")], None)
    storage.photos.mark_missing("/", ["unknown"])
    assert (other.reads.generation(model.id), other.reads.generation(second.id)) == (0, 0)
    delete(storage, model)
    assert (other.reads.generation(model.id), other.reads.generation(second.id)) == (1, 0)
    add_photos(storage, model, unit_vectors(2), folder="/more")
    storage.photos.mark_missing("/more")
    assert other.reads.generation(model.id) == 1
    delete_again = storage.photos.prune()
    assert delete_again["vectors"] >= 2
    assert other.reads.generation(model.id) == 2


def test_whether_anything_was_stored_or_deleted_since(storage: Storage, other: Storage, model: ModelRow) -> None:
    second = add_model(storage, "second")
    assert other.reads.is_unchanged(model.id, 0, 0)
    add_photos(storage, model, unit_vectors(2))
    assert not other.reads.is_unchanged(model.id, 0, 0)
    through = other.reads.embeddings_after(model, 0)[0]
    assert other.reads.is_unchanged(model.id, 0, through)
    assert not other.reads.is_unchanged(model.id, 0, through - 1)
    add_images(storage, second, unit_vectors(1), of="kept")  # of another model
    assert other.reads.is_unchanged(model.id, 0, through)
    add_photos(storage, model, unit_vectors(1), folder="/more")
    assert not other.reads.is_unchanged(model.id, 0, through)
    through = other.reads.embeddings_after(model, 0)[0]
    deleted_as_damaged(storage, model)
    assert not other.reads.is_unchanged(model.id, 0, through)
    assert other.reads.is_unchanged(model.id, 1, through)
    assert not other.reads.is_unchanged(second.id + 1, 0, through)
    assert not other.reads.is_unchanged(second.id + 1, -1, through)


def test_a_model_that_is_pruned_has_no_generation_and_never_comes_back_under_its_id(
    storage: Storage, model: ModelRow
) -> None:
    other = add_model(storage, "other")
    storage.photos.prune([other.id])
    assert storage.reads.generation(other.id) == -1
    assert add_model(storage, "other").id > other.id
    assert storage.reads.generation(model.id) == 0


def test_the_files_revision_grows_with_every_change_of_files_and_with_nothing_else(
    storage: Storage, model: ModelRow
) -> None:
    def revised_by(change: Callable[[], object]) -> bool:
        before = storage.reads.files_revision()
        change()
        assert storage.reads.files_revision() >= before
        assert storage.reads.files().revision == storage.reads.files_revision()
        return storage.reads.files_revision() > before

    assert revised_by(lambda: add_photos(storage, model, unit_vectors(2)))
    assert revised_by(lambda: storage.photos.save([seen("/photos/00000.png", "other bytes")], None))
    assert revised_by(lambda: storage.photos.mark_missing("/photos", ["00000.png"]))
    assert revised_by(lambda: storage.photos.prune())
    assert not revised_by(lambda: storage.photos.mark_missing("/photos", ["unknown"]))
    assert not revised_by(lambda: storage.photos.save([], None))
    assert not revised_by(lambda: add_images(storage, model, unit_vectors(1)))
    assert not revised_by(lambda: storage.reads.save_prompts(["x"], unit_vectors(1), model.id, truncated=[False]))
    assert not revised_by(lambda: storage.labels.save_label_set("a", {"labels": {}}))

"""Every storage: handles on one library, in one process: what they see of one another, and what closing, refusing and
failing leave behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.libraries import add_images, add_model, add_photos, digest_of, fake_info, unit_vectors
from tests.libraries import photo as seen
from tests.storage.implementations import Implementation
from tests.waiting import WAIT_S
from zsindex.errors import LibraryBusy, LibraryClosed, LibraryReadOnly, ModelPruned
from zsindex.records import FloatArray, Progress
from zsindex.storage.protocol import Lock, Storage
from zsindex.storage.rows import (
    CorrectionEntry,
    DecisionEntry,
    ImageRecord,
    ImportedPhoto,
    LookRow,
    ModelRow,
    SidecarRow,
    SnapshotRow,
)

SNAPSHOT = SnapshotRow("file", 1, 1, 0, "0" * 64)
# Everything that stores, with how its refusal reads.
WRITES: dict[str, tuple[Callable[[Storage, int], object], str]] = {
    "add_model": (lambda s, _: s.photos.add_model(fake_info("new"), make_default=True), "record a model"),
    "add_roots": (lambda s, _: s.photos.add_roots(["/a"]), "record the synced folders"),
    "save": (lambda s, m: s.photos.save([seen("/1", vector=unit_vectors(1)[0])], m), "store photos"),
    "mark_missing": (lambda s, _: s.photos.mark_missing("/photos"), "record vanished files"),
    "save_images": (lambda s, m: add_vector(s, m), "store image vectors"),
    "save_prompts": (lambda s, m: s.reads.save_prompts(["x"], unit_vectors(1), m, truncated=[False]), "store prompt"),
    "save_snapshot": (lambda s, m: s.photos.save_snapshot(m, replace(SNAPSHOT, file="new")), "record the index"),
    "mark_verified": (lambda s, _: s.photos.mark_verified("file", "verified"), "record that the index was verified"),
    "remove_vectors": (lambda s, m: s.photos.remove_vectors(m, {"images": [1], "prompts": []}), "remove damaged"),
    "prune": (lambda s, _: s.photos.prune(under=["/photos"]), "prune"),
    "save_label_set": (lambda s, _: s.labels.save_label_set("a", {"labels": {}}), "save a label set"),
    "remove_label_set": (lambda s, _: s.labels.remove_label_set("kept"), "remove a label set"),
    "save_template_set": (lambda s, _: s.labels.save_template_set("a", ["{}"]), "save a template set"),
    "remove_template_set": (lambda s, _: s.labels.remove_template_set("kept"), "remove a template set"),
    "add_corrections": (lambda s, _: s.labels.add_corrections("a", [CorrectionEntry(b"x", "a")]), "keep corrections"),
    "undo_corrections": (lambda s, _: s.labels.undo_corrections("kept"), "undo corrections"),
    "add_decisions": (lambda s, _: s.labels.add_decisions([DecisionEntry("keep", b"x", "/x")]), "keep decisions"),
    "undo_decisions": (lambda s, _: s.labels.undo_decisions(), "undo decisions"),
    "save_album": (lambda s, _: s.labels.save_album("a", {"query": "x"}), "save an album"),
    "change_album": (lambda s, _: s.labels.change_album("kept", lambda _: {"query": "x"}), "change an album"),
    "see_album": (lambda s, _: s.labels.see_album("kept", {b"x": "/x"}), "record what was seen of an album"),
    "remove_album": (lambda s, _: s.labels.remove_album("kept"), "remove an album"),
    "begin_survey": (lambda s, _: s.labels.begin_survey("count", {"label": "x"}), "begin a survey"),
    "end_survey": (lambda s, _: s.labels.end_survey(1, {"n": 1}), "end a survey"),
    "forget_survey": (lambda s, _: s.labels.forget_survey(1), "forget a survey"),
    "add_looks": (lambda s, _: s.labels.add_looks(1, [LookRow(2, b"x", "/x", {})]), "keep looks"),
    "answer_look": (lambda s, _: s.labels.answer_look(1, 1, "yes"), "keep an answer"),
    "save_thresholds": (lambda s, _: s.labels.save_thresholds("a", [("x", 0.5, {})]), "keep thresholds"),
    "remove_thresholds": (lambda s, _: s.labels.remove_thresholds("kept"), "remove thresholds"),
    "save_temperature": (lambda s, m: s.labels.save_temperature(m, 2.0, {}), "keep a temperature"),
    "remove_temperature": (lambda s, m: s.labels.remove_temperature(m), "remove a temperature"),
    "save_derived": (lambda s, m: s.labels.save_derived(m, "kind", "key", 1), "remember what was computed"),
    "save_run": (lambda s, _: s.labels.save_run("a", {}, keep=9), "record a run"),
    "save_sidecars": (lambda s, _: s.labels.save_sidecars([SidecarRow("/a", None, "", {})]), "record what was written"),
    "save_job": (lambda s, _: s.jobs.save_job("a", "sync", "queued", {}, keep=9), "keep a job"),
    "change_job": (lambda s, _: s.jobs.change_job("kept", lambda _: ("failed", {})), "keep a job"),
    "import": (lambda s, m: s.bulk.save([ImportedPhoto("/9", "/", "9")], unit_vectors(1), m), "import vectors"),
}
UNDER_A_MODEL = ["save", "save_images", "save_prompts", "save_snapshot", "save_temperature", "save_derived", "import"]


def add_vector(storage: Storage, model_id: int) -> None:
    storage.photos.save_images([ImageRecord(digest_of("new"), vector=unit_vectors(1)[0])], model_id)


def contents(storage: Storage, model: ModelRow) -> object:
    """Everything that there is, as far as it can be asked for."""
    last, ids, vectors = storage.reads.embeddings_after(model, 0)
    return (
        storage.reads.models(),
        storage.reads.default_model(),
        storage.reads.files_revision(),
        storage.reads.files().paths,
        storage.reads.files().image_ids.tolist(),
        storage.photos.counts(),
        storage.photos.roots(),
        storage.photos.model_sizes(model),
        (last, ids.tolist(), vectors.tobytes()),
        storage.photos.all_prompt_vectors(model).tobytes(),
        storage.reads.generation(model.id),
        storage.reads.snapshot(model.id),
        [storage.reads.label_set_versions(saved.name) for saved in storage.reads.label_sets()],
        storage.reads.template_sets(),
        [(storage.labels.corrections(name), storage.labels.thresholds(name)) for name in ("a", "kept")],
        storage.labels.decisions(),
        storage.labels.albums(),
        [row._replace(image_ids=None) for row in storage.labels.surveys()],
        storage.labels.looks(1),
        storage.labels.temperature(model.id),
        [storage.reads.derived(model.id, "kind", key) for key in ("key", "kept")],
        storage.labels.runs(),
        storage.labels.sidecars(storage.labels.sidecar_paths()),
        storage.jobs.jobs(99),
    )


@pytest.fixture
def full(storage: Storage, model: ModelRow) -> Storage:
    """A handle on a library with a little of everything."""
    add_photos(storage, model, unit_vectors(2))
    add_images(storage, model, unit_vectors(1))
    storage.photos.add_roots(["/photos"])
    storage.reads.save_prompts(["kept"], unit_vectors(1), model.id, truncated=[False])
    storage.photos.save_snapshot(model.id, SNAPSHOT)
    storage.labels.save_label_set("kept", {"labels": {"x": ["x"]}})
    storage.labels.save_template_set("kept", ["a {}"])
    storage.labels.add_corrections("kept", [CorrectionEntry(b"y", "x")])
    storage.labels.add_decisions([DecisionEntry("keep", b"y", "/y")])
    storage.labels.save_album("kept", {"query": "y"})
    assert storage.labels.begin_survey("count", {"label": "kept"}) == 1
    storage.labels.add_looks(1, [LookRow(1, b"y", "/y", {"chance": 0.5})])
    storage.labels.save_thresholds("kept", [("x", 0.25, {})])
    storage.labels.save_temperature(model.id, 1.5, {})
    storage.labels.save_derived(model.id, "kind", "kept", 1)
    storage.labels.save_run("kept", {"stored": {"file": "f"}}, keep=9)
    storage.labels.save_sidecars([SidecarRow("/kept", b"", "", {})])
    storage.jobs.save_job("kept", "sync", "done", {}, keep=9)
    return storage


# --- what handles see of one another ----------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITES)
def test_what_one_handle_stores_the_others_see(
    library: Implementation, full: Storage, reader: Storage, model: ModelRow, write: str
) -> None:
    before = contents(reader, model)
    WRITES[write][0](full, model.id)
    after = contents(full, model)
    assert after != before, f"{write} does nothing"
    assert contents(reader, model) == after
    assert contents(library.open(), model) == after


def test_a_handle_can_be_had_again_and_is_closed_by_itself(full: Storage, model: ModelRow) -> None:
    before = contents(full, model)
    again = full.again()
    again.labels.save_label_set("more", {"labels": {}})
    assert contents(full, model) == contents(again, model) != before
    again.close()
    assert len(full.reads.label_sets()) == 2
    assert full.again(read_only=True).writable is False


def test_what_was_stored_outlives_its_handle(library: Implementation, full: Storage, model: ModelRow) -> None:
    before = contents(full, model)
    full.close()
    assert contents(library.open(), model) == before


def test_a_read_in_parts_is_one_moments_view(storage: Storage, other: Storage, model: ModelRow) -> None:
    add_photos(storage, model, unit_vectors(5000))
    with storage.reads.embeddings(model, after=3) as (count, parts):
        first = next(parts)
        add_photos(other, model, unit_vectors(3, seed=1), folder="/later")
        other.photos.prune(under=["/photos"])
        rest = list(parts)
    assert count == 4997
    assert len(rest) >= 1, "it comes in parts, or this shows nothing"
    assert [ids.tolist() for _, ids, _ in (first, *rest)] != []
    ids = np.concatenate([ids for _, ids, _ in (first, *rest)])
    assert ids.tolist() == list(range(4, 5001))
    vectors = np.concatenate([vectors for _, _, vectors in (first, *rest)])
    assert vectors.tobytes() == unit_vectors(5000)[3:].tobytes()
    assert [through for through, _, _ in (first, *rest)][-1] == 5000


# --- writes happen whole, or not at all -------------------------------------------------------------------------------


class Unreadable:
    """Stands for a vector that cannot be had."""

    def __array__(self, *_: Any, **__: Any) -> FloatArray:
        raise ZeroDivisionError


def failing(stored: list[Any]) -> Any:
    """All of it, and then an error."""
    yield from stored
    raise ZeroDivisionError


def test_a_batch_that_fails_leaves_nothing(full: Storage, model: ModelRow) -> None:
    before = contents(full, model)
    bad: Any = Unreadable()
    batch = [seen("/new/1", vector=unit_vectors(1)[0]), seen("/new/2", vector=bad)]
    for attempt in (
        lambda: full.photos.save(batch, model.id),
        lambda: full.photos.save_images([o.image for o in batch if o.image is not None], model.id),
        lambda: full.reads.save_prompts(["a", "b"], failing([unit_vectors(1)[0]]), model.id, truncated=[False, False]),
        lambda: full.labels.save_thresholds("kept", failing([("x", 0.75, {}), ("y", 0.5, {})])),
        lambda: full.photos.add_roots(failing(["/", "/b"])),
    ):
        with pytest.raises(ZeroDivisionError):
            attempt()
        assert contents(full, model) == before
    assert full.photos.save([seen("/new/1", vector=unit_vectors(1)[0])], model.id) == {"added": 1}


@pytest.mark.parametrize("write", UNDER_A_MODEL)
def test_nothing_is_stored_under_a_model_that_others_have_pruned(
    full: Storage, other: Storage, model: ModelRow, write: str
) -> None:
    kept = add_model(full, "kept")
    other.photos.prune([model.id])
    before = contents(full, kept)
    with pytest.raises(ModelPruned):
        WRITES[write][0](full, model.id)
    assert contents(full, kept) == before
    assert full.reads.generation(model.id) == -1


# --- saving again -----------------------------------------------------------------------------------------------------


def test_saving_the_same_again_stores_nothing_more(full: Storage, model: ModelRow) -> None:
    """A batch whose answer got lost can be sent again."""
    batch = [seen(f"/again/{i}", vector=vector) for i, vector in enumerate(unit_vectors(3))]
    full.photos.save(batch, model.id)
    before = full.photos.model_sizes(model), full.reads.files().paths, full.reads.embeddings_after(model, 0)[0]
    assert full.photos.save(batch, model.id) == {"unchanged": 3}
    full.reads.save_prompts(["kept"], unit_vectors(1, seed=1), model.id, truncated=[False])
    full.photos.add_roots(["/photos"])
    assert add_model(full) == model
    after = full.photos.model_sizes(model), full.reads.files().paths, full.reads.embeddings_after(model, 0)[0]
    assert after == before
    assert full.photos.roots() == ["/photos"]


# --- refusing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITES)
def test_a_handle_that_cannot_write_refuses_and_says_what(
    full: Storage, reader: Storage, model: ModelRow, write: str
) -> None:
    before = contents(full, model)
    attempt, action = WRITES[write]
    if write in ("save_snapshot", "mark_verified") and reader.keeps_snapshots:
        attempt(reader, model.id)  # on this machine alone
    else:
        with pytest.raises(LibraryReadOnly, match=f"cannot {action}"):
            attempt(reader, model.id)
    assert contents(full, model) == before
    assert (full.writable, reader.writable) == (True, False)
    full.require_writable("try")
    with pytest.raises(LibraryReadOnly, match="cannot try"):
        reader.require_writable("try")
    with pytest.raises(LibraryReadOnly, match="cannot vacuum"):
        reader.vacuum()


def test_a_closed_handle_refuses_everything(full: Storage, other: Storage, model: ModelRow) -> None:
    full.close()
    full.close()  # does no harm
    for part, names in (
        (full.reads, ("models", "default_model", "files_revision", "files", "skipped", "label_sets", "template_sets")),
        (full.photos, ("roots", "counts", "incomplete", "skip_counts", "prunable")),
        (full.labels, ("runs", "run_files", "sidecar_paths")),
        (full, ("require_open", "vacuum")),
    ):
        for name in names:
            with pytest.raises(LibraryClosed):
                getattr(part, name)()
    for attempt, _ in WRITES.values():
        with pytest.raises(LibraryClosed):
            attempt(full, model.id)
    with pytest.raises(LibraryClosed):
        full.require_writable("try")
    with pytest.raises(LibraryClosed), full.reads.embeddings(model, after=0):
        pass
    with pytest.raises(LibraryClosed), full.bulk.exporting(model, None):
        pass
    assert len(other.reads.files()) == 2


def test_closing_lets_what_is_being_stored_come_to_its_end(storage: Storage, other: Storage, model: ModelRow) -> None:
    begun, closed = threading.Event(), threading.Event()

    def slowly() -> Iterator[str]:
        yield "/a"
        begun.set()
        closed.wait(WAIT_S)
        yield "/b"

    storing = threading.Thread(target=storage.photos.add_roots, args=(slowly(),))
    storing.start()
    assert begun.wait(WAIT_S)
    storage.close()
    closed.set()
    storing.join(WAIT_S)
    assert other.photos.roots() == ["/a", "/b"]
    with pytest.raises(LibraryClosed):
        storage.photos.roots()


# --- locks ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sync_lock", "facts_lock", "jobs_lock", "index_lock"])
def lock_of(request: pytest.FixtureRequest) -> Callable[[Storage], Lock]:
    return lambda storage: getattr(storage, request.param)


def test_a_lock_excludes_other_handles_and_tells_them_who_holds_it(
    storage: Storage, other: Storage, lock_of: Callable[[Storage], Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_of(other), "timeout_s", 0.05)
    with lock_of(storage).hold("tidy up"), pytest.raises(LibraryBusy, match="tidy up"), lock_of(other).hold("try"):
        pass
    with lock_of(storage).hold("tidy up"):
        assert (lock_of(storage).is_held(), lock_of(other).is_held()) == (True, False)
    assert not lock_of(storage).is_held()
    with lock_of(other).hold("try"):
        pass


def test_a_lock_can_be_held_twice_by_one_thread_of_a_handle_and_by_no_other(
    storage: Storage, other: Storage, lock_of: Callable[[Storage], Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    for handle in (storage, other):
        monkeypatch.setattr(lock_of(handle), "timeout_s", 0.05)
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            with lock_of(storage).hold("try"):
                pass
        except LibraryBusy as error:
            failures.append(error)

    with lock_of(storage).hold("outer"):
        with lock_of(storage).hold("inner"):
            pass
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        assert len(failures) == 1
        with pytest.raises(LibraryBusy), lock_of(other).hold("try"):
            pass
    with lock_of(other).hold("try"):
        pass


def test_who_holds_a_lock_tells_others_how_far_the_work_is(
    storage: Storage, other: Storage, lock_of: Callable[[Storage], Lock]
) -> None:
    lock, theirs = lock_of(storage), lock_of(other)
    lock.tell(Progress("encode", 1, 9))  # it is not held
    assert theirs.told() == []
    with lock.hold("sync it all"):
        assert theirs.told() == []
        lock.tell(Progress("scan", 5000))
        lock.tell(Progress("encode", 1, 9))
        theirs.tell(Progress("encode", 8, 9))  # who does not hold it
        for asked in (lock, theirs):
            [(who, progress)] = asked.told()
            assert "sync it all" in who
            assert progress == Progress("encode", 1, 9)
    assert theirs.told() == []
    with theirs.hold("again"):
        assert lock.told() == []


def test_nothing_lags_where_it_is_stored(storage: Storage, other: Storage) -> None:
    before = storage.position()
    add_model(other)
    assert not storage.lags()
    assert storage.has_reached(other.position())
    assert other.has_reached(before)


def test_the_locks_are_three(storage: Storage, other: Storage) -> None:
    with (
        storage.sync_lock.hold("sync"),
        other.jobs_lock.hold("run jobs"),
        storage.index_lock.hold("write the index"),
    ):
        add_model(other)
        add_model(storage)


def test_a_lock_keeps_nobody_from_writing(storage: Storage, other: Storage, model: ModelRow) -> None:
    """Prompts are stored beside a sync."""
    with storage.sync_lock.hold("sync"):
        other.reads.save_prompts(["x"], unit_vectors(1), model.id, truncated=[False])
    assert set(storage.reads.prompt_vectors(["x"], model, truncated=False)) == {"x"}


# --- the storage itself -----------------------------------------------------------------------------------------------


def test_the_room_that_it_takes_grows(full: Storage, model: ModelRow) -> None:
    before = full.size_bytes()
    add_images(full, model, unit_vectors(5000), of="more")
    assert full.size_bytes() >= before + 5000 * 4 * 8
    full.vacuum()
    assert full.problems() == []
    assert full.schema()
    assert all(full.versions().values())

"""What others do at the worst instant: prune a model in use, remove files in the making, fill the disk."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import FakeEncoder
from tests.libraries import add_model, add_photos, new_library, open_storage, unit_vectors
from tests.photos import save, solid
from tests.processes import Process
from zsindex.errors import LibraryReadOnly, ModelPruned, NoVectors, StorageFailed, StorageFull
from zsindex.exchange import run_files
from zsindex.index import files, snapshots
from zsindex.index.snapshots import FOLDER_NAME, VectorIndex
from zsindex.index.vectors import Snapshot
from zsindex.lab import neighbours
from zsindex.library import Library
from zsindex.services.run_store import RunNotRecorded
from zsindex.upkeep import maintenance

LABELS = ["red", "blue"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for colour in LABELS:
        save(tmp_path / "photos" / f"{colour}.png", solid(colour))
    return tmp_path / "photos"


# --- files in the making ----------------------------------------------------------------------------------------------


def upkeep(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What another process finds wrong, and what it still finds after it has fixed and pruned all it can."""
    with open_storage(folder, create=False) as storage:
        before = maintenance.check(storage, fix=False).problems
        maintenance.check(storage, fix=True)
        maintenance.prune(storage, models=(), under=(), dry_run=False)
        return before, maintenance.check(storage, fix=False).problems


class Watched:
    """Lets others do their upkeep at each step of a writer."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.seen, self.steps = folder, 0, []

        def around(owner: Any, name: str, *, after: bool) -> None:
            real = getattr(owner, name)

            def watched(*arguments: Any, **options: Any) -> Any:
                if not after:
                    self.look(f"before {name}")
                found = real(*arguments, **options)
                if after:
                    self.look(f"after {name}")
                return found

            monkeypatch.setattr(owner, name, watched)

        around(Path, "replace", after=False)
        around(Path, "replace", after=True)
        around(os, "fsync", after=True)
        self._busy = False

    def look(self, step: str) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            self.steps.append((step, upkeep(self.folder)))
        finally:
            self._busy = False


def test_a_snapshot_in_the_making_is_no_stray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = new_library(tmp_path / "library")
    with open_storage(folder, create=False) as storage:
        model = add_model(storage)
        add_photos(storage, model, unit_vectors(30))
        monkeypatch.setattr(maintenance.VectorIndex, "open", lambda *_: None)  # of prune: here only one writes
        watched = Watched(folder, monkeypatch)
        found = VectorIndex.rebuild(storage, model)
        assert found.vectors.base is not None
        steps = dict(watched.steps)
        assert {"before replace", "after replace", "after fsync"} <= set(steps)
        assert set(steps.values()) == {((), ())}
        assert [f.name for f in (folder / FOLDER_NAME).iterdir()] == [storage.reads.snapshot(model.id).file]  # type: ignore[union-attr]
        assert snapshots.compare(storage, model, damaged=[]).problems == []


def test_a_snapshot_that_is_just_replaced_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its record and its removal, or however long its replacer is stopped there."""
    folder = new_library(tmp_path / "library")
    with open_storage(folder, create=False) as storage:
        model = add_model(storage)
        add_photos(storage, model, unit_vectors(30))
        VectorIndex.rebuild(storage, model)
        save, found = storage.photos.save_snapshot, []

        def saving(*arguments: Any) -> Any:
            replaced = save(*arguments)
            with open_storage(folder, create=False) as other:
                found.append(maintenance.check(other, fix=False).problems)
                found.append(maintenance.check(other, fix=True).problems)
            assert replaced is not None
            assert (folder / FOLDER_NAME / replaced.file).exists()
            return replaced

        monkeypatch.setattr(storage.photos, "save_snapshot", saving)
        VectorIndex.rebuild(storage, model)
        assert found == [(), ()]
        assert len(list((folder / FOLDER_NAME).iterdir())) == 1


def test_a_snapshot_that_goes_while_it_is_opened_is_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checksum was right, and then its name is gone."""
    folder = new_library(tmp_path / "library")
    with open_storage(folder, create=False) as storage:
        model = add_model(storage)
        add_photos(storage, model, unit_vectors(30))
        VectorIndex.rebuild(storage, model)
        real, calls = Snapshot.map, []

        def mapping(file: Path, **options: Any) -> Snapshot:
            calls.append(file)
            if len(calls) == 1:
                with open_storage(folder, create=False) as other, monkeypatch.context() as patched:
                    patched.setattr(Snapshot, "map", real)
                    VectorIndex.rebuild(other, model)
            return real(file, **options)

        monkeypatch.setattr(Snapshot, "map", mapping)
        assert snapshots.compare(storage, model, damaged=()).problems == []
        assert len(calls) == 2


def test_a_large_snapshot_and_its_scratch_file_are_no_strays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "CELLS_FROM", 20)
    monkeypatch.setattr(snapshots, "IN_MEMORY", 0)
    test_a_snapshot_in_the_making_is_no_stray(tmp_path, monkeypatch)


def test_a_run_in_the_making_is_no_stray(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(pictures)
        result = library.classify(LABELS)
        watched = Watched(library.path, monkeypatch)
        for _ in range(2):  # in place of an earlier one, too
            library.runs.record(result)
        assert {step for step, _ in watched.steps} >= {"before replace", "after replace"}
        assert {found for _, found in watched.steps} == {((), ())}
        assert library.runs.get(result.run.key).stored
        assert len(list((library.path / FOLDER_NAME).glob("run-*"))) == 1


def test_a_graph_in_the_making_is_no_stray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = new_library(tmp_path / "library")
    with open_storage(folder, create=False) as storage:
        model = add_model(storage)
        file = snapshots.neighbours_file(folder, model.info.fingerprint)
        watched = Watched(folder, monkeypatch)
        graph = neighbours.Graph(np.arange(2), np.array([[1], [0]], dtype=np.int32), np.ones((2, 1), dtype=np.float32))
        assert neighbours.save(graph, file, generation=0, record=partial(snapshots.record_graph, storage, model.id))
        assert {found for _, found in watched.steps} == {((), ())}
        assert file.exists()


def test_what_another_process_makes_is_kept_until_it_dies(tmp_path: Path) -> None:
    folder = new_library(tmp_path / "library")
    (folder / FOLDER_NAME).mkdir(exist_ok=True)
    program = """
import sys
from pathlib import Path
from zsindex.index.files import Making
with Making() as making:
    making.create(Path(sys.argv[1]) / "x.tmp").close()
    step()
    (Path(sys.argv[1]) / "x.tmp").rename(Path(sys.argv[1]) / "x")
    step()
    step()
"""
    with Process(program, folder / FOLDER_NAME) as other:
        for name in ("x.tmp", "x"):
            other.wait_for_step()
            assert upkeep(folder) == ((), ())
            assert [f.name for f in (folder / FOLDER_NAME).iterdir()] == [name]
            other.go()
        other.wait_for_step()
        other.kill()
    assert upkeep(folder) == (("1 files in index/ belong to no index",), ())
    assert list((folder / FOLDER_NAME).iterdir()) == []


def test_what_is_recorded_while_strays_are_looked_for_is_none(tmp_path: Path) -> None:
    """Its maker lets go between the look at what is recorded and the look at the lock."""
    for name in ("one", "two"):
        (tmp_path / name).touch()
    recorded = iter([set(), {"one"}, {"one"}, {"one", "two"}])
    assert [f.name for f in files.strays(tmp_path, lambda: next(recorded))] == ["two"]
    assert not files.remove(tmp_path / "one", lambda: next(recorded))
    assert not files.remove(tmp_path / "two", lambda: next(recorded))
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]
    assert files.remove(tmp_path / "two", list)
    assert not files.remove(tmp_path / "two", list)


def test_nobody_takes_a_file_for_a_stray_before_its_maker_has_locked_it(tmp_path: Path) -> None:
    found: list[bool] = []
    file = tmp_path / "new"
    real = Path.open

    def slow(self: Path, mode: str = "r", *arguments: Any) -> Any:
        opened = real(self, mode, *arguments)
        if mode == "xb":
            looker.start()
            looker.join(0.05)  # it waits for the maker
        return opened

    looker = threading.Thread(target=lambda: found.append(files.remove(file, list)))
    with pytest.MonkeyPatch.context() as patch, files.Making() as making:
        patch.setattr(Path, "open", slow)
        making.create(file).close()
        looker.join()
    assert found == [False]
    assert file.exists()


def test_a_snapshot_that_is_replaced_while_it_is_checked_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_library(tmp_path / "library")
    with open_storage(folder, create=False) as storage:
        model = add_model(storage)
        add_photos(storage, model, unit_vectors(30))
        VectorIndex.open(storage, model)
        real, once = snapshots._open_snapshot, []

        def replaced_before(*arguments: Any, **options: Any) -> Any:
            if not once:
                once.append(1)
                VectorIndex.rebuild(storage, model)
            return real(*arguments, **options)

        monkeypatch.setattr(snapshots, "_open_snapshot", replaced_before)
        assert snapshots.compare(storage, model, damaged=[]).problems == []
        assert once


# --- a model that others have pruned ----------------------------------------------------------------------------------


@pytest.fixture
def pruned(tmp_path: Path, pictures: Path) -> Any:
    """A library whose model another object has pruned while it was open."""
    with Library.open(tmp_path / "library", encoder=FakeEncoder("kept")) as default:
        default.sync(pictures)
        with Library.open(tmp_path / "library", encoder=FakeEncoder("other")) as library:
            library.sync(pictures)
            library.labels.save("colours", LABELS)
            library.classify(LABELS)
            assert len(library.view().paths) == 2
            default.prune(models=["other"])
            yield library


STORING: dict[str, Callable[[Library, Path], Any]] = {
    "prompts": lambda library, _: library.embed_texts(["something new"]),
    "an image": lambda library, _: library.embed_images([solid("green")]),
    "an upload": lambda library, photos: library.session.embed.encoded([(photos / "red.png").read_bytes()], store=True),
    "a sync": lambda library, photos: library.sync(photos),
    "a classification": lambda library, _: library.classify(["a", "b"]),
    "a recorded run": lambda library, _: library.classify(LABELS, record=True),
    "a search": lambda library, _: library.search("something new"),
    "a label set": lambda library, _: library.labels.save("colours", ["x"]),
    "a correction": lambda library, photos: library.corrections.add("colours", photos / "red.png", "red"),
    "neighbours": lambda library, _: library.neighbours.graph(),
    "status": lambda library, _: library.status(),
    "check": lambda library, _: library.check(),
    "words": lambda library, _: library.unknown.knownness(LABELS),
}


@pytest.mark.parametrize("store", STORING.values(), ids=STORING)
def test_what_is_stored_under_a_pruned_model_records_it_anew(
    pruned: Library, pictures: Path, store: Callable[[Library, Path], Any]
) -> None:
    with suppress(NoVectors):  # of a question, which names the way out
        store(pruned, pictures)
    assert pruned.check().ok
    pruned.sync(pictures)  # all is encoded again, and found
    assert len(pruned.view().paths) == 2
    assert pruned.check().ok
    assert [hit.path for hit in pruned.search("red", top=1)] == [str(pictures / "red.png")]


def test_a_model_that_others_have_encoded_with_anew_is_found(pruned: Library, pictures: Path) -> None:
    with Library.open(pruned.path, encoder=FakeEncoder("other")) as other:
        other.sync(pictures)
    assert len(pruned.view().paths) == 2
    assert len(pruned.search("red")) == 2


def test_a_temperature_and_what_is_derived_are_stored_under_the_model_recorded_anew(pruned: Library) -> None:
    pruned.session.model.store(lambda model_id: pruned.session.storage.labels.save_temperature(model_id, 0.5, {}))
    pruned.session.model.store(
        lambda model_id: pruned.session.storage.labels.save_derived(model_id, "far words", "key", ["x"])
    )
    assert pruned.session.storage.labels.temperature(pruned.session.model.row().id) == (0.5, {})


def test_a_row_that_refers_to_a_pruned_model_is_an_expected_failure(tmp_path: Path) -> None:
    with open_storage(tmp_path / "library") as storage:
        model = add_model(storage)
        add_photos(storage, model, unit_vectors(3))
        VectorIndex.open(storage, model)
        recorded = storage.reads.snapshot(model.id)
        assert recorded is not None
        storage.photos.prune([model.id])
        for write in (
            lambda: storage.labels.save_temperature(model.id, 1.0, {}),
            lambda: storage.labels.save_derived(model.id, "far words", "key", []),
            lambda: storage.reads.save_prompts(["x"], unit_vectors(1), model.id, truncated=[False]),
            lambda: storage.photos.save_snapshot(model.id, recorded),
            lambda: add_photos(storage, model, unit_vectors(2), folder="/new"),
        ):
            with pytest.raises(ModelPruned, match=r"was pruned .* nothing was stored"):
                write()


# --- what the system refuses ------------------------------------------------------------------------------------------


@pytest.mark.folder("its locks are files")
@pytest.mark.parametrize(
    ("number", "expected", "said"),
    [
        (errno.ENOSPC, StorageFull, "no space left"),
        (errno.EDQUOT, StorageFull, "no space left"),
        (errno.EACCES, LibraryReadOnly, r"cannot record a run \(Permission denied\)"),
        (errno.EROFS, LibraryReadOnly, "Read-only file system"),
        (errno.EIO, StorageFailed, "cannot record a run: .*Input/output error"),
        (errno.EMFILE, StorageFailed, "Too many open files"),
        (errno.ENAMETOOLONG, StorageFailed, "File name too long"),
    ],
)
def test_what_the_system_says_is_passed_on(
    tmp_path: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: type[Exception],
    said: str,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(pictures)
        result = library.classify(LABELS)
        monkeypatch.setattr(run_files.Making, "create", refuse)
        with pytest.raises(expected, match=said):
            library.runs.record(result)
        with pytest.warns(RunNotRecorded, match=said):
            assert len(library.classify(LABELS, record=True)) == 2
        monkeypatch.undo()
        assert library.check().ok
        monkeypatch.setattr("zsindex.storage.sqlite.lock.io.FileIO", refuse)
        with pytest.raises(expected):
            library.labels.save("x", LABELS)

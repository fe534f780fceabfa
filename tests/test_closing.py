"""A closed library says so, whatever is asked of it, and lets go of everything it held."""

from __future__ import annotations

import inspect
import json
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import on_server
from tests.fakes import FakeEncoder
from tests.libraries import new_library, open_storage
from tests.photos import save, solid
from tests.processes import Process
from zsindex.classification.options import Question
from zsindex.errors import LibraryBusy, LibraryClosed
from zsindex.lab import Album, AlbumPhotos
from zsindex.library import Library
from zsindex.storage.sqlite import connections, open_files
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.storage.sqlite.file import FILE_NAME, identity

LABELS = ["red", "blue"]
# Some are about another one. The folder's name is no question to the library.
FREE = {"open", "create", "copy", "upgrade", "close", "path", "place"}
NAMES = [name for name in dir(Library) if not name.startswith("_") and name not in FREE]
PARTS = (
    "labels",
    "templates",
    "corrections",
    "decisions",
    "albums",
    "surveys",
    "counts",
    "thresholds",
    "temperature",
    "unknown",
    "lab",
    "runs",
    "tags",
    "map",
    "neighbours",
    "vectors",
    "photos",
    "migration",
)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    (tmp_path / "photos").mkdir()
    for colour in LABELS:
        save(tmp_path / "photos" / f"{colour}.png", solid(colour))
    library = Library.open(tmp_path / "library", encoder=FakeEncoder())
    library.sync(tmp_path / "photos")
    return library


def claims(folder: Path) -> int:
    """How many open libraries of this process hold the database in a folder."""
    if on_server.asked():
        return on_server.sessions(folder)
    return open_files._claimed[identity(folder / FILE_NAME)]


def test_there_is_something_to_ask() -> None:
    assert {"search", "classify", "usage", "spec", "read_only", "prune", "sync"} <= set(NAMES)


def test_everything_that_is_public_says_that_the_library_is_closed(library: Library) -> None:
    parts = {name: getattr(library, name) for name in PARTS}  # while it was open
    taken = {name: getattr(library, name) for name in ARGUMENTS if "." not in name}
    taken |= {name: getattr(parts[name.partition(".")[0]], name.partition(".")[2]) for name in ARGUMENTS if "." in name}
    storage = library.session.storage
    library.close()
    for name in NAMES:
        value = inspect.getattr_static(library, name)
        if isinstance(value, property):
            with pytest.raises(LibraryClosed, match=r"was closed. Open it again: Library.open"):
                getattr(library, name)
    for name, method in taken.items():
        assert inspect.ismethod(method)
        with pytest.raises(LibraryClosed):
            method(*ARGUMENTS[name])
    assert claims(library.path) == 0
    assert on_server.asked() or storage.database._write_connection is None
    assert library.path.name == "library"


# What every method is given, to get as far as the library.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "search": ("red",),
    "similar": ("red.png",),
    "classify": (LABELS,),
    "events": (),
    "plan": (Question(LABELS),),
    "embed_texts": (["something new"],),
    "embed_images": (["red.png"],),
    "sync": (),
    "status": (),
    "check": (),
    "prune": (),
    "view": (),
    "models": (),
    "use_model": ("nano",),
    "with_model": ("nano",),
    "__enter__": (),
    "labels.list": (),
    "labels.get": ("name",),
    "labels.from_keywords": (),
    "labels.history": ("name",),
    "labels.save": ("name", LABELS),
    "labels.remove": ("name",),
    "labels.restore": ("name", 1),
    "templates.list": (),
    "templates.get": ("name",),
    "templates.save": ("name", "a {}"),
    "templates.remove": ("name",),
    "templates.resolve": ("name",),
    "corrections.list": ("name",),
    "corrections.add": ("name", "red.png", "red"),
    "corrections.add_all": ("name", [("red.png", "red", False)]),
    "corrections.add_step": ("name", [("red.png", "red", False)]),
    "corrections.forget": ("name", "red.png"),
    "corrections.forget_digests": ("name", "0" * 64),
    "corrections.undo": ("name",),
    "corrections.next": ("name",),
    "thresholds.curves": ("name",),
    "thresholds.remove": ("name",),
    "temperature.fit": (LABELS,),
    "temperature.get": (),
    "temperature.remove": (),
    "unknown.knownness": (LABELS,),
    "unknown.evaluate": (LABELS, {"red.png": "red"}),
    "lab.lint": (LABELS,),
    "lab.diff": (LABELS, LABELS),
    "lab.suggest": (LABELS, ["a word"]),
    "lab.evaluate": (LABELS,),
    "lab.explain": (1, LABELS),
    "runs.list": (),
    "runs.get": ("key",),
    "runs.repeat": ("key",),
    "tags.put": ("name", "word", []),
    "tags.add": ("word", []),
    "tags.retract": (),
    "albums.list": (),
    "albums.get": ("name",),
    "albums.save": ("name", "query"),
    "albums.remove": ("name",),
    "albums.add": ("name", "red.png"),
    "albums.take_out": ("name", "red.png"),
    "albums.photos": ("name",),
    "albums.seen": (AlbumPhotos(Album("a", None, {}, None, "", None, 0), (), ()),),
    "albums.link": ("name", "folder"),
    "albums.tag": ("name",),
    "counts.begin": ("red",),
    "counts.open": (1,),
    "counts.run": ("red", lambda look: True),
    "surveys.list": (),
    "surveys.get": (1,),
    "surveys.looks": (1,),
    "surveys.image_ids": (1,),
    "surveys.begin": ("count", {}),
    "surveys.draw": (1, []),
    "surveys.answer": (1, 1, "yes"),
    "surveys.undo": (1,),
    "surveys.end": (1,),
    "surveys.forget": (1,),
    "decisions.list": (),
    "decisions.add": (),
    "decisions.forget": ("red.png",),
    "decisions.undo": (),
    "decisions.in_effect": (),
    "map.build": (),
    "map.layout": (),
    "map.plot": (),
    "map.seconds": (),
    "map.require_possible": (),
    "neighbours.graph": (),
    "neighbours.duplicates": (),
    "neighbours.duplicate_examples": (),
    "neighbours.copies": (),
    "vectors.of": ([1],),
    "vectors.export_to": ("folder",),
    "vectors.import_from": ("folder",),
    "photos.paths": (),
    "photos.paths_of": ([1],),
    "photos.page": (),
    "photos.sections": ("year",),
    "photos.counts": ("year",),
    "photos.grouped": ("year",),
    "photos.digests": (["red.png"],),
    "photos.skipped": (),
    "photos.incomplete": (),
    "photos.roots": (),
    "photos.facts_columns": ([],),
    "photos.in_order": ([], "date"),
    "photos.facts_of": (1,),
    "photos.get": (1,),
    "photos.read": (1,),
    "photos.knows": ("red.png",),
    "photos.is_image": ("red.png",),
    "migration.run": ("nano",),
}


def test_every_method_of_every_part_is_tried(library: Library) -> None:
    left_out = {
        # What it does with these alone must not need the library; with others it has been refused before.
        "lab.attribute",
        "runs.record",
        "tags.write",
        "thresholds.choose",
        "neighbours.smooth",
        "corrections.of",
        "corrections.taught",
        "corrections.shows_none",
        "labels.of",
        "labels.resolve",
        "thresholds.rates",
        "thresholds.with_cuts",
        "temperature.resolve",
        "unknown.with_none",
    }
    there = {f"{part}.{name}" for part in PARTS for name in dir(getattr(library, part)) if not name.startswith("_")}
    assert there - left_out == {name for name in ARGUMENTS if "." in name}


def test_what_was_returned_stays_valid(library: Library) -> None:
    view, vectors, answers = library.view(), library.embed_texts(["red"]), library.classify(LABELS)
    library.close()
    rows = view.vectors.take(view.rows)
    assert rows.shape == (2, 8)
    assert np.isfinite(vectors).all()
    assert [result.label for result in answers] == ["blue", "red"]
    assert repr(library) == f"<Library {library.place}, closed>"


@pytest.mark.folder("files and connections of SQLite")
def test_closing_twice_and_by_several_threads_does_no_harm(library: Library) -> None:
    with Library.open(library.path) as other:
        assert claims(library.path) == 2
        threads = [threading.Thread(target=library.close) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        library.close()
        assert claims(library.path) == 1
        assert len(other.photos.paths()) == 2
    with pytest.raises(LibraryClosed), library:
        pass
    with pytest.raises(LibraryClosed), other:
        pass


@pytest.mark.folder("files and connections of SQLite")
@pytest.mark.parametrize("kind", ["read", "reading", "write", "writing"])
def test_a_transaction_in_work_ends_and_the_next_is_refused(tmp_path: Path, kind: str) -> None:
    folder = new_library(tmp_path / "library")
    opened = SqliteDatabase.open(folder, create=False)
    begin: Callable[[], Any] = {
        "read": opened.read,
        "reading": opened.reading,
        "write": lambda: opened.write("test"),
        "writing": lambda: opened.writing("test"),
    }[kind]
    with begin() as connection:
        closer = threading.Thread(target=opened.close)
        closer.start()
        closer.join()
        run = connection.exec_driver_sql if kind in ("read", "write") else connection.execute
        if kind in ("write", "writing"):
            run("INSERT INTO settings (key, value) VALUES ('kept', 'yes')")
        run("SELECT count(*) FROM settings")
        assert claims(folder) == 1
    assert claims(folder) == 0
    assert (opened._write_connection, opened._write_engine, opened._read_engine) == (None, None, None)
    for again in (opened.read, opened.reading, lambda: opened.write("x"), lambda: opened.writing("x")):
        with pytest.raises(LibraryClosed), again():
            pass
    with pytest.raises(LibraryClosed):
        opened.vacuum()
    assert (opened._write_connection, opened._write_engine, opened._read_engine) == (None, None, None)
    with open_storage(folder) as storage:
        assert storage.reads.setting("kept") == ("yes" if kind in ("write", "writing") else None)


@pytest.mark.folder("files and connections of SQLite")
def test_who_waits_for_the_lock_while_it_is_closed_does_not_open_it_again(tmp_path: Path) -> None:
    folder = new_library(tmp_path / "library")
    opened = SqliteDatabase.open(folder, create=False)
    failed: list[BaseException] = []

    def write() -> None:
        try:
            with opened.write("wait"):
                pass
        except LibraryClosed as error:
            failed.append(error)

    with opened._write_lock.hold("test"):
        waiting = threading.Thread(target=write)
        waiting.start()
        while not opened._in_work:
            pass
        opened.close()
    waiting.join()
    assert len(failed) == 1
    assert (claims(folder), opened._write_connection) == (0, None)


@pytest.mark.folder("files and connections of SQLite")
def test_a_close_that_does_not_get_the_lock_lets_go_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_S", 0.05)
    folder = new_library(tmp_path / "library")
    opened = SqliteDatabase.open(folder, create=False)
    with opened.write("test") as connection:
        connection.exec_driver_sql("INSERT INTO settings (key, value) VALUES ('kept', 'yes')")
    program = (
        "import sys\nfrom pathlib import Path\nfrom zsindex.storage.sqlite.database import SqliteDatabase\n"
        "with SqliteDatabase.open(Path(sys.argv[1]), create=False).write('hold') as c: step()"
    )
    with Process(program, folder) as other:
        other.wait_for_step()
        opened.close()
        assert (claims(folder), opened._write_connection) == (0, None)
        other.finish()
    with open_storage(folder) as storage:
        assert storage.reads.setting("kept") == "yes"


@pytest.mark.folder("files and connections of SQLite")
def test_a_busy_library_names_who_holds_it_only_if_that_is_sure(tmp_path: Path) -> None:
    folder = new_library(tmp_path / "library")
    one, two = (SqliteDatabase.open(folder, create=False) for _ in range(2))
    two._write_lock.timeout_s = 0.05
    started, done = threading.Event(), threading.Event()

    def hold() -> None:
        with one._write_lock.hold("store photos"):
            started.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    started.wait()
    with pytest.raises(LibraryBusy) as caught, two.write("x"):
        pass
    assert "another thread or library object of this process: store photos" in str(caught.value)
    gone = {"pid": 2**22 + 1, "host": platform.node(), "purpose": "x", "since": "y"}  # no pid is as high
    (folder / "write.holder").write_text(json.dumps(gone), encoding="utf-8")
    with pytest.raises(LibraryBusy) as caught, two.write("x"):
        pass
    assert caught.value.holder == "another process"
    done.set()
    thread.join()
    one.close()
    two.close()

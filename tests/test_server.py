"""Libraries on a server: opened by a URL, they answer what a folder answers."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient
from zsindex.cli import cli

from tests import photos
from tests.fakes import COLOURS, FakeEncoder
from tests.storage import postgres_server
from tests.storage.postgres_server import Server
from tests.waiting import WAIT_S, until
from zsindex.errors import CopyRefused, LibraryClosed, LibraryNotFound, NotALibrary
from zsindex.index.snapshots import IndexRebuilt, VectorIndex
from zsindex.library import Library
from zsindex.records import FloatArray, Progress, SyncReport
from zsindex.session import storages
from zsindex.storage import copying
from zsindex.web import create_app

pytestmark = pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))

LABELS = [*COLOURS, "red green", "white black"]


@pytest.fixture
def server() -> Server:
    return postgres_server.running()


@pytest.fixture
def empty(server: Server) -> Iterator[str]:
    """The URL of a database in which nothing is."""
    made = server.url(server.new_database())
    yield made
    server.drop(made)


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    """The URL of an empty library."""
    made = server.new_library()
    yield made
    server.drop(made)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Photos of several colours, in folders, with copies, ties, and one that cannot be used."""
    folder = tmp_path / "album"
    for place in (folder / "a", folder / "B"):
        place.mkdir(parents=True)
    for n, colour in enumerate(COLOURS):
        photos.save(folder / f"{colour}.png", photos.solid(colour))
        photos.save(folder / "B" / f"{n}.png", photos.solid(colour, 64, 64))
        photos.save(folder / "a" / f"ü{n}.png", photos.noise(n, 40, 30))
    photos.save(folder / "copy of red.png", photos.solid("red"))
    photos.empty(folder / "bad.png")
    return folder


# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_url_is_a_library_wherever_a_folder_is(empty: str, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Library.exists(empty)
    with pytest.raises(LibraryNotFound, match="zsindex library create postgresql://"):
        Library.open(empty, encoder=FakeEncoder())
    assert not Library.exists(empty), "only `create` makes one"
    assert Library.create(empty)
    assert not Library.create(empty)
    assert Library.exists(empty)
    monkeypatch.setenv("ZSINDEX_LIBRARY", empty)
    with Library.open(encoder=FakeEncoder()) as library:
        assert library.sync(album).added == 19
        assert library.path.name == library.session.storage.database.identity  # type: ignore[attr-defined]
        shown = f"{library.place} {library!r} {library.status().path}"
    assert "postgres:" not in shown
    assert shown.count("postgresql://postgres@127.0.0.1") == 3
    with pytest.raises(LibraryClosed, match="postgresql://postgres@127"):
        library.sync(album)
    with Library.open(empty, encoder=FakeEncoder(), read_only=True) as reader:
        assert len(reader.classify(LABELS)) == 19
        assert reader.usage["images_encoded"] == 0


def test_a_folder_is_made_and_upgraded_by_the_same_names(tmp_path: Path) -> None:
    assert Library.create(tmp_path / "library")
    assert not Library.create(tmp_path / "library")
    before, after = Library.upgrade(tmp_path / "library")
    assert before == after
    with Library.open(tmp_path / "library", create=False, encoder=FakeEncoder()) as library:
        assert library.place == library.path == tmp_path / "library"


def test_commands_take_a_url(
    empty: str, server: Server, album: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("zsindex.session.model.load_encoder", lambda spec, **_: FakeEncoder(spec.name))
    said: list[str] = []

    def run(*arguments: str | Path, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, [*map(str, arguments), "--library", empty], env={"COLUMNS": "200"})
        said.append(result.output)
        assert result.exit_code == code, result.output
        return result

    run("status", code=1)
    assert run("library", "create").stdout.startswith("made postgresql://postgres@127.0.0.1:")
    assert run("library", "create").stdout.startswith("there already: postgresql://")
    assert run("library", "upgrade").stdout.endswith("up to date\n")
    assert "new library in postgresql://postgres@127.0.0.1:" in run("sync", album).stderr
    info = json.loads(run("library", "info", "--json").stdout)
    assert info["path"].endswith(empty.rpartition("/")[2])
    assert info["versions"]["postgresql"].startswith(server.version)
    assert "storage  postgresql" in run("library", "info").stdout
    classified = json.loads(run("classify", "-l", "red", "-l", "blue", "--format", "json").stdout)
    assert classified
    run("search", "red")
    run("labels", "save", "colours", "-l", "red", "-l", "blue")
    run("classify", "--label-set", "colours", "--record")
    run("runs", "list")
    run("models", "list", "--held")
    run("check")
    run("prune", "--yes")
    run("vectors", "export", tmp_path / "out")
    run("status", "--json")
    copied = CliRunner().invoke(cli, ["library", "copy", empty, str(tmp_path / "copied"), "--quiet"])
    assert copied.stdout == f"copied 18 vectors to {tmp_path / 'copied'}, and compared all\n", copied.output
    said.append(copied.output)
    assert not any(server.password in text for text in said)


# --- equal answers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def two(folder: Path, url: str) -> Iterator[tuple[Library, Library]]:
    """The same library twice: in a folder, and on a server."""
    with Library.open(folder, encoder=FakeEncoder()) as one, Library.open(url, encoder=FakeEncoder()) as other:
        yield one, other


def test_a_server_answers_what_a_folder_answers(two: tuple[Library, Library], album: Path, tmp_path: Path) -> None:
    reports = [library.sync(album) for library in two]
    assert [r.to_dict() | {"seconds": 0} for r in reports[:1]] == [r.to_dict() | {"seconds": 0} for r in reports[1:]]
    (album / "copy of red.png").rename(album / "moved.png")
    (album / "green.png").unlink()
    photos.save(album / "blue.png", photos.noise(99))
    reports = [library.sync(album) for library in two]
    assert reports[0].to_dict() | {"seconds": 0} == reports[1].to_dict() | {"seconds": 0}
    assert (reports[1].moved, reports[1].missing, reports[1].changed) == (1, 1, 1)

    for options in ({}, {"smooth": True}, {"unknown": "margin:0.1"}, {"paths": [album / "a"]}):
        found = [library.classify(LABELS, **options) for library in two]  # type: ignore[arg-type]
        assert found[0].run.key == found[1].run.key, options
        assert [p.path for p in found[0]] == [p.path for p in found[1]]
        assert [p.label for p in found[0]] == [p.label for p in found[1]]
        assert found[0].scores.tobytes() == found[1].scores.tobytes()
    hits = [library.search("red", top=99) for library in two]
    assert [(hit.path, hit.score) for hit in hits[0]] == [(hit.path, hit.score) for hit in hits[1]]
    near = [library.similar(album / "red.png", top=99) for library in two]
    assert [(hit.path, hit.score) for hit in near[0]] == [(hit.path, hit.score) for hit in near[1]]

    for library, name in zip(two, ("one", "other"), strict=True):
        library.labels.save("colours", LABELS)
        library.corrections.add("colours", album / "red.png", "red")
        library.corrections.add("colours", album / "white.png", "white")
        library.corrections.add("colours", album / "black.png", "black")
        library.thresholds.choose("colours", "red", rate=0.25)
        library.vectors.export_to(tmp_path / name)
    assert [s.files for s in (two[0].status(), two[1].status())] == [18, 18]
    taught = [library.classify(label_set="colours", with_corrections="gda", record=True) for library in two]
    assert taught[0].run.key == taught[1].run.key
    assert taught[0].scores.tobytes() == taught[1].scores.tobytes()
    exported = [
        {f.relative_to(tmp_path / name): f.read_bytes() for f in (tmp_path / name).rglob("*") if f.is_file()}
        for name in ("one", "other")
    ]
    assert len(exported[0]) >= 2
    assert exported[0].keys() == exported[1].keys()
    said = [json.loads(found.pop(Path("zsindex.json"))) | {"created_at": ""} for found in exported]
    assert said[0] == said[1]
    assert exported[0] == exported[1]
    assert [library.check().problems for library in two] == [(), ()]
    assert [library.prune().to_dict() for library in two[:1]] == [library.prune().to_dict() for library in two[1:]]


def test_a_machine_that_has_never_seen_it_answers_the_same(
    url: str, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is derived is derived anew, beside that of others."""
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(album)
        first = library.classify(LABELS, record=True)
        where = library.path
    monkeypatch.setenv("ZSINDEX_CACHE", str(tmp_path / "other machine"))
    with Library.open(url, encoder=FakeEncoder()) as other:
        assert other.path != where
        second = other.classify(LABELS)
        assert second.run.key == first.run.key
        assert np.array_equal(second.scores, first.scores)
        assert other.runs.repeat(first.run.key).result.run.key == first.run.key
        assert other.check().problems == ()
    assert os.listdir(where)


def test_a_backup_that_is_put_back_is_not_answered_from_what_came_after_it(
    server: Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ids and numbers are given to other photos from there on, which nothing derived here knows of."""
    name = url.rpartition("/")[2]
    first, second, third = (many(tmp_path / name, 40, seed=n * 100) for n, name in enumerate(("1", "2", "3")))
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(first)
    server.execute(f"CREATE DATABASE backup_of_{name} TEMPLATE {name}")
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(second)
        storage = library.session.storage
        VectorIndex.rebuild(storage, storage.reads.models()[0])
        snapshot = storage.reads.snapshot(1)
        assert snapshot is not None
        assert (snapshot.watermark, len(list((library.path / "index").iterdir()))) == (80, 1)
    server.drop(url)
    server.execute(f"ALTER DATABASE backup_of_{name} RENAME TO {name}")
    with Library.open(url, encoder=FakeEncoder()) as library:
        with pytest.warns(IndexRebuilt, match="cannot be read"):
            library.sync(third)
        here = library.classify(LABELS)
        assert library.check().problems in ((), ("1 files in index/ belong to no index",))
    monkeypatch.setenv("ZSINDEX_CACHE", str(tmp_path / "other machine"))
    with Library.open(url, encoder=FakeEncoder()) as library:
        elsewhere = library.classify(LABELS)
    assert [photo.path for photo in here] == [photo.path for photo in elsewhere]
    assert here.scores.tobytes() == elsewhere.scores.tobytes()


# --- several at once --------------------------------------------------------------------------------------------------


class Slow(FakeEncoder):
    """A model that takes its time, so that others come in between."""

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        time.sleep(0.05)
        return super().encode_images(pixels)


class Beside(Slow):
    """One that begins when all others do, too."""

    def __init__(self, all_at_it: threading.Barrier) -> None:
        super().__init__()
        self._all_at_it = all_at_it

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        if not self.batches:
            self._all_at_it.wait(WAIT_S)
        return super().encode_images(pixels)


def many(folder: Path, n: int, *, seed: int = 0) -> Path:
    """Photos of which no two are the same."""
    folder.mkdir(parents=True)
    for i in range(n):
        photos.save(folder / f"{i:03}.png", photos.noise(seed + i, 16, 12))
    return folder


def sync_at_once(libraries: Sequence[Library], *folders: Path) -> list[SyncReport]:
    with ThreadPoolExecutor(len(libraries)) as pool:
        return list(pool.map(lambda library: library.sync(folders), libraries))


@pytest.mark.parametrize("n_syncs", [2, 4])
def test_several_syncs_of_the_same_photos_encode_each_once(url: str, tmp_path: Path, n_syncs: int) -> None:
    album = many(tmp_path / "album", 120)
    for i in range(0, 120, 7):  # copies
        photos.save(album / f"copy of {i:03}.png", photos.noise(i, 16, 12))
    all_at_it = threading.Barrier(n_syncs)
    encoders = [Beside(all_at_it) for _ in range(n_syncs)]
    libraries = [Library.open(url, encoder=encoder, batch_size=8) for encoder in encoders]
    reports = sync_at_once(libraries, album)
    assert sum(encoder.image_count for encoder in encoders) == 120
    assert sum(report.encoded for report in reports) == 120
    assert all(encoder.image_count for encoder in encoders), "each had something to do"
    assert {report.left for report in reports} == {0}
    status = libraries[0].status()
    assert (status.files, status.images) == (138, 120)
    assert libraries[0].check().problems == ()
    assert [library.sync(album).unchanged for library in libraries] == [138] * n_syncs
    for library in libraries:
        library.close()


def test_a_sync_goes_on_when_the_server_is_started_anew(tmp_path: Path) -> None:
    own = Server()
    try:
        album = many(tmp_path / "album", 60)
        encoder = Slow()
        with Library.open(own.new_library(), encoder=encoder, batch_size=4) as library:
            with ThreadPoolExecutor(1) as pool:
                syncing = pool.submit(library.sync, album)
                until(lambda: encoder.image_count >= 12)
                own.stop(signal.SIGQUIT)
                time.sleep(0.3)
                own.start()
                report = syncing.result(WAIT_S)
            assert (report.added + report.unchanged, report.left, report.skipped) == (60, 0, 0)
            assert encoder.image_count == 60
            assert library.status().images == 60
            assert library.check().problems == ()
            assert library.sync(album).unchanged == 60
    finally:
        own.remove()


# --- copying ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(folder: Path, album: Path) -> Path:
    """A library in a folder with a little of everything."""
    with Library.open(folder, encoder=FakeEncoder()) as library:
        library.sync(album)
        (album / "green.png").unlink()
        library.sync(album)
        library.labels.save("colours", LABELS)
        library.corrections.add("colours", album / "red.png", "red")
        library.corrections.add("colours", album / "white.png", "white")
        library.thresholds.choose("colours", "red", rate=0.25)
        library.templates.save("mine", ["a {}"])
        library.classify(label_set="colours", record=True)
        library.classify(label_set="colours", with_corrections="gda", record=True)
        library.embed_texts(["猫", "x" * 3000], truncate=True)
    return folder


def rows_of(place: Path | str) -> dict[str, list[tuple[object, ...]]]:
    """All that a library holds but for what is derived and its own identity."""
    with closing(storages.open_storage(place)) as storage, storage.database.read() as connection:
        found = {
            table.name: [tuple(row) for row in connection.execute(copying._in_order(storage.database, table))]
            for table in copying.TABLES
        }
    assert sum(map(len, found.values())) > 60
    return found


def test_a_library_is_copied_onto_a_server_and_back(
    filled: Path, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Library.copy(filled, empty)
    assert (report.vectors, report.resumed) == (18, False)
    assert "postgres:" not in str(report)
    Library.copy(empty, tmp_path / "back")
    assert rows_of(filled) == rows_of(empty) == rows_of(tmp_path / "back")
    answers = []
    for place in (filled, empty, tmp_path / "back"):
        with Library.open(place, encoder=FakeEncoder(), create=False) as library:
            assert library.check().problems == ()
            assert [run.stored for run in library.runs.list()] == [True, True]
            found = library.classify(label_set="colours", with_corrections="gda")
            answers.append((found.run.key, found.scores.tobytes(), [photo.path for photo in found]))
            assert library.usage["images_encoded"] == library.usage["prompts_encoded"] == 0
    assert answers[0] == answers[1] == answers[2]
    assert sorted(os.listdir(tmp_path)) == sorted({"album", "back", "library"})


def test_a_copy_replaces_nothing(filled: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Library.copy(filled, other)
    assert rows_of(other) == rows_of(filled)
    before = {file: file.read_bytes() for file in other.rglob("*") if file.is_file()}
    for target in (other, tmp_path / "album", tmp_path / "album" / "red.png"):
        with pytest.raises(CopyRefused, match=r"a library already|something else is there"):
            Library.copy(filled, target)
    assert len(list((tmp_path / "album").iterdir())) > 5
    assert {file: file.read_bytes() for file in before} == before


def test_numbers_are_not_given_again_after_a_copy(filled: Path, empty: str, album: Path, tmp_path: Path) -> None:
    with Library.open(filled, encoder=FakeEncoder()) as library:
        (album / "B" / "5.png").unlink()
        library.sync(album)
        library.prune()
        storage = library.session.storage
        last = storage.reads.embeddings_after(storage.reads.models()[0], 0)[0]
        photos.save(album / "new.png", photos.noise(77))
        library.sync(album)
        (album / "new.png").unlink()
        library.sync(album)
        library.prune()
    Library.copy(filled, empty)
    Library.copy(empty, tmp_path / "back")
    photos.save(album / "newer.png", photos.noise(78))
    for place in (filled, empty, tmp_path / "back"):
        with Library.open(place, encoder=FakeEncoder()) as library:
            library.sync(album)
            storage = library.session.storage
            newest, ids, _ = storage.reads.embeddings_after(storage.reads.models()[0], last)
            assert newest >= last + 2
            assert ids.tolist() == [newest], "images and vectors were numbered alike until then"


class Stopped(Exception):
    """As if the process had been."""


@pytest.mark.parametrize("onto", ["a server", "a folder"])
def test_a_copy_that_was_stopped_goes_on(
    onto: str, filled: Path, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, album: Path
) -> None:
    monkeypatch.setattr(copying, "_BATCH_ROWS", 5)
    target: Path | str = empty if onto == "a server" else tmp_path / "copy"

    def stop(progress: Progress) -> None:
        if progress.done >= 5:
            raise Stopped

    with pytest.raises(Stopped):
        Library.copy(filled, target, progress=stop)
    if onto == "a server":
        with pytest.raises(NotALibrary, match="it is being copied to"):
            Library.open(target, encoder=FakeEncoder())
    else:
        assert not Library.exists(target)
    seen: list[int] = []
    report = Library.copy(filled, target, progress=lambda p: seen.append(p.done) if p.stage == "copy" else None)
    assert report.resumed
    assert seen[0] > 5, "it does not begin anew"
    assert rows_of(target) == rows_of(filled)
    with pytest.raises(CopyRefused, match="there is a library already"):
        Library.copy(filled, target)
    assert rows_of(target) == rows_of(filled)


def test_a_copy_of_what_has_changed_begins_anew(
    filled: Path, empty: str, monkeypatch: pytest.MonkeyPatch, album: Path
) -> None:
    monkeypatch.setattr(copying, "_BATCH_ROWS", 5)

    def stop(progress: Progress) -> None:
        if progress.done >= 5:
            raise Stopped

    with pytest.raises(Stopped):
        Library.copy(filled, empty, progress=stop)
    with Library.open(filled, encoder=FakeEncoder()) as library:
        (album / "white.png").unlink()
        library.sync(album)
        library.prune()
    Library.copy(filled, empty)
    assert rows_of(empty) == rows_of(filled)


def test_a_copy_that_differs_is_told(filled: Path, empty: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def damage(progress: Progress) -> None:
        if progress.stage == "compare":
            server.execute("UPDATE zsindex.embeddings SET checksum = 1 WHERE seq = 3", empty.rpartition("/")[2])

    with pytest.raises(CopyRefused, match="embeddings differ"):
        Library.copy(filled, empty, progress=damage)
    with pytest.raises(NotALibrary):
        Library.open(empty, encoder=FakeEncoder())


# --- a service --------------------------------------------------------------------------------------------------------


def test_a_service_over_a_server_answers_and_says_when_it_cannot(album: Path, tmp_path: Path) -> None:
    own = Server()
    try:
        with Library.open(own.new_library(), encoder=FakeEncoder()) as library:
            library.sync(album)
            with TestClient(create_app(library, thumbnails=tmp_path), base_url="http://127.0.0.1") as client:
                body = {"labels": ["red", "blue"]}
                answer = client.post("/v1/classify", json=body)
                assert answer.status_code == 200
                own.stop(signal.SIGQUIT)
                gone = client.post("/v1/classify", json={"labels": ["green", "blue"]})
                assert (gone.status_code, gone.json()["type"]) == (503, "urn:zsindex:problem:library-unreachable")
                assert int(gone.headers["Retry-After"]) > 0
                assert own.password not in gone.text
                own.start()
                again = client.post("/v1/classify", json=body)
                assert again.json() == answer.json()
    finally:
        own.remove()

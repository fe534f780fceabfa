"""What goes wrong with libraries on a server, with real servers: nothing is lost or doubled, and messages say what to
do.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import FakeEncoder
from tests.libraries import add_model, add_photos, digest_of, paint, unit_vectors
from tests.scenes import photo
from tests.storage import postgres_server
from tests.storage.postgres_server import Server
from tests.waiting import WAIT_S, until
from zsindex.errors import (
    LibraryBusy,
    LibraryUnreachable,
    NotALibrary,
    StorageFailed,
    StorageFull,
)
from zsindex.library import Library
from zsindex.records import FloatArray, Progress, SkipReason, SyncReport
from zsindex.session import storages
from zsindex.storage import copying, patience, uses
from zsindex.storage.claims import Claim

pytestmark = pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))

if postgres_server.missing() is None:
    import psycopg

    from zsindex.storage.postgres.storage import PostgresStorage

LABELS = ["red", "green", "blue"]


@pytest.fixture
def server() -> Server:
    return postgres_server.running()


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that may be stopped."""
    made = Server()
    yield made
    made.remove()


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    """The URL of an empty library."""
    made = server.new_library()
    yield made
    server.drop(made)


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


def many(folder: Path, n: int, *, seed: int = 0) -> Path:
    """Photos of which no two are the same."""
    for i in range(n):
        paint(folder / f"{i:03}.png", (seed + i, i * 3 % 256, (7 * i + seed) % 256))
    return folder


class Paused(FakeEncoder):
    """A model that waits before a batch until it is told to go on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at
        self.reached, self.go = threading.Event(), threading.Event()

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        if len(self.batches) == self._at:
            self.reached.set()
            assert self.go.wait(WAIT_S)
        return super().encode_images(pixels)


# --- started anew in the middle of something --------------------------------------------------------------------------


def start_anew(server: Server, how: int = signal.SIGQUIT) -> None:
    server.stop(how)
    time.sleep(0.2)
    server.start()


def test_a_sync_takes_its_lock_again(own: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    album, url = many(tmp_path / "album", 40), own.new_library()
    encoder = Paused(at=3)
    with (
        Library.open(url, encoder=encoder, batch_size=4) as library,
        Library.open(url, encoder=FakeEncoder()) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        monkeypatch.setattr(other.session.storage.sync_lock, "timeout_s", 0.1)
        syncing = pool.submit(library.sync, album)
        assert encoder.reached.wait(WAIT_S)
        start_anew(own)
        encoder._at, gone_on = 6, encoder.go
        encoder.reached, encoder.go = threading.Event(), threading.Event()
        gone_on.set()
        assert encoder.reached.wait(WAIT_S), "it goes on"
        with pytest.raises(LibraryBusy, match=": sync, since"):
            other.prune()
        encoder.go.set()
        report = syncing.result(WAIT_S)
        assert (report.encoded, report.left, encoder.image_count) == (40, 0, 40)
        other.prune()
        assert library.check().problems == ()


def test_a_sync_that_finds_its_lock_taken_is_told(own: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsindex.storage.postgres.lock.BUSY_TIMEOUT_S", 0.2)
    album, url = many(tmp_path / "album", 20), own.new_library()
    encoder = Paused(at=2)
    with (
        Library.open(url, encoder=encoder, batch_size=4) as library,
        closing(PostgresStorage.open(url, folder=tmp_path / "other")) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        syncing = pool.submit(library.sync, album)
        assert encoder.reached.wait(WAIT_S)
        start_anew(own)
        with other.sync_lock.hold("prune"):
            encoder.go.set()
            with pytest.raises(LibraryBusy, match=": prune, since"):
                syncing.result(WAIT_S)
        assert library.status().files == 8
        assert library.sync(album).left == 0
        assert library.status().images == 20
        assert library.check().problems == ()


def test_what_was_claimed_is_claimed_again(own: Server, tmp_path: Path) -> None:
    url = own.new_library()
    with (
        closing(PostgresStorage.open(url, folder=tmp_path)) as one,
        closing(PostgresStorage.open(url, folder=tmp_path)) as other,
    ):
        model = add_model(one)
        with one.photos.claims(model.id) as mine, other.photos.claims(model.id) as theirs:
            assert mine.take(digest_of("a")) is Claim.MINE
            assert mine.take(digest_of("b")) is Claim.MINE
            mine.release([digest_of("b")])
            start_anew(own)
            assert mine.take(digest_of("c")) is Claim.MINE
            assert theirs.take(digest_of("a")) is Claim.ELSEWHERE
            assert theirs.take(digest_of("b")) is Claim.MINE
            own.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name_of(url)}'")
            add_photos(one, model, unit_vectors(1))  # before anything else is claimed
            assert theirs.take(digest_of("c")) is Claim.ELSEWHERE
            mine.release([digest_of("a"), digest_of("c")])
            assert theirs.take(digest_of("c")) is Claim.MINE


# A server ends with the thread that has started it.
_starter = ThreadPoolExecutor(1)


@contextmanager
def stopped_when(server: Server, reached: Callable[[Progress], bool]) -> Iterator[Callable[[Progress], None]]:
    """A callback for progress that stops a server once, and starts it half a second later."""
    stopped: list[Future[None]] = []

    def start() -> None:
        time.sleep(0.5)
        server.start()

    def note(progress: Progress) -> None:
        if not stopped and reached(progress):
            server.stop(signal.SIGQUIT)
            stopped.append(_starter.submit(start))

    yield note
    for done in stopped:
        done.result()
    assert stopped


def test_the_scan_waits_for_a_server_that_is_started_anew(
    own: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsindex.ingest.sync.COMPARE_EVERY", 10)
    monkeypatch.setattr("zsindex.ingest.sync.REPORT_EVERY", 5)
    for n in range(8):
        many(tmp_path / "album" / str(n), 6, seed=n * 20)
    with Library.open(own.new_library(), encoder=FakeEncoder()) as library:
        n_photos = library.sync(tmp_path / "album").scanned
        (tmp_path / "album" / "7" / "000.png").unlink()
        with stopped_when(own, lambda p: p.stage == "scan" and p.done >= 10) as progress:
            report = library.sync(tmp_path / "album", progress=progress)
        assert (report.unchanged, report.missing) == (n_photos - 1, 1)
        own.stop()
        with pytest.raises(LibraryUnreachable):  # who asks a question is told at once
            library.sync(tmp_path / "album", dry_run=True)


def test_import_and_export_wait_for_a_server_that_is_started_anew(
    own: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsindex.exchange.vectors.BATCH_ROWS", 8)
    with Library.open(tmp_path / "folder", encoder=FakeEncoder()) as folder:
        folder.sync(many(tmp_path / "album", 40))
        folder.vectors.export_to(tmp_path / "vectors")
        expected = folder.classify(LABELS)
    with Library.open(own.new_library(), encoder=FakeEncoder()) as library:
        with stopped_when(own, lambda p: p.stage == "import" and 16 <= p.done < 40) as progress:
            report = library.vectors.import_from(tmp_path / "vectors", progress=progress)
        assert (report.rows, report.left, report.interrupted) == (40, 0, False)
        assert library.status().images == 40
        answer = library.classify(LABELS)
        assert [photo.path for photo in answer] == [photo.path for photo in expected]
        assert answer.scores.tobytes() == expected.scores.tobytes()
        with stopped_when(own, lambda p: p.stage == "export" and 16 <= p.done < 40) as progress:
            library.vectors.export_to(tmp_path / "again", part_size=8, progress=progress)
        library.vectors.export_to(tmp_path / "undisturbed", part_size=8)
        assert not list(tmp_path.glob(".again*"))
        parts = list((tmp_path / "undisturbed").rglob("*.npy"))
        assert len(parts) == 5
        for file in parts:
            there = tmp_path / "again" / file.relative_to(tmp_path / "undisturbed")
            assert there.read_bytes() == file.read_bytes()


def test_a_copy_waits_for_a_server_that_is_started_anew(
    own: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_BATCH_ROWS", 5)
    with Library.open(tmp_path / "folder", encoder=FakeEncoder()) as folder:
        folder.sync(many(tmp_path / "album", 30))
    url = own.url(own.new_database())
    with stopped_when(own, lambda p: p.stage == "copy" and p.done >= 10) as progress:
        report = Library.copy(tmp_path / "folder", url, progress=progress)
    assert (report.vectors, report.resumed) == (30, False)
    with stopped_when(own, lambda p: p.stage == "compare") as progress:
        report = Library.copy(url, tmp_path / "back", progress=progress)
    assert (report.vectors, report.resumed) == (30, False)
    assert rows_of(tmp_path / "folder") == rows_of(url) == rows_of(tmp_path / "back")
    own.stop()
    asked_again = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: pytest.fail("it is waited for"))
    monkeypatch.setattr(patience, "time", asked_again)
    with pytest.raises(LibraryUnreachable):  # of a server that has not answered yet one is told
        Library.copy(url, tmp_path / "third")


@pytest.mark.parametrize("words", ["starting up", "in recovery mode", "not yet accepting connections"])
def test_opening_waits_for_a_server_that_says_it_is_starting(
    url: str, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    refusals = 2

    def connect(*args: Any, **options: Any) -> Any:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise psycopg.OperationalError(f"connection failed: FATAL:  the database system is {words}")
        return genuine(*args, **options)

    genuine = psycopg.connect
    monkeypatch.setattr(psycopg, "connect", connect)
    with closing(storages.open_storage(url)) as storage:
        assert storage.photos.roots() == []
    assert not refusals


def test_opening_does_not_wait_for_a_server_that_is_not_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: Any, **options: Any) -> Any:
        attempts.append(args)
        raise psycopg.OperationalError("connection failed: Connection refused")

    attempts: list[Any] = []
    monkeypatch.setattr(psycopg, "connect", connect)
    with pytest.raises(LibraryUnreachable, match="Connection refused"):
        storages.open_storage(url)
    assert len(attempts) == 1


def test_who_does_not_get_an_answer_for_too_long_is_told_and_goes_on_later(
    own: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Paused(at=2)
    album = many(tmp_path / "album", 20)
    with Library.open(own.new_library(), encoder=encoder, batch_size=4) as library, ThreadPoolExecutor(1) as pool:
        syncing = pool.submit(library.sync, album)
        assert encoder.reached.wait(WAIT_S)
        own.stop(signal.SIGQUIT)
        with monkeypatch.context() as patch:
            patch.setattr(patience, "PATIENCE_S", 0.5)
            encoder.go.set()
            with pytest.raises(LibraryUnreachable, match="run the same command again when the server answers"):
                syncing.result(WAIT_S)
        own.start()
        assert library.status().images == 8
        report = library.sync(album)
        assert (report.encoded, report.left) == (12, 0)
        assert encoder.image_count <= 24


def rows_of(place: Path | str) -> dict[str, list[tuple[object, ...]]]:
    """All that a library holds but for what is derived and its own identity."""
    with closing(storages.open_storage(place)) as storage, storage.database.read() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(copying._in_order(storage.database, table))]
            for table in copying.TABLES
        }


# --- a disk without room ----------------------------------------------------------------------------------------------

needs_a_disk = pytest.mark.skipif(not postgres_server.may_mount(), reason="no right to mount a small disk")


def fill(folder: Path, *, leave: int = 0) -> Path:
    """Write a file until the disk has only so many bytes left."""
    file = folder / "ballast"
    with file.open("ab") as out:
        while (free := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - leave) > 0:
            out.write(bytes(min(free, 1 << 20)))
            out.flush()
    return file


@needs_a_disk
def test_a_full_disk_of_the_server_costs_the_batch_in_work(own: Server, tmp_path: Path) -> None:
    folder = own.folder / "small"
    folder.mkdir()
    with ExitStack() as stack:
        postgres_server.mount(folder, 32)
        stack.callback(postgres_server.unmount, folder)
        shutil.chown(folder, own.folder.stat().st_uid, own.folder.stat().st_gid)
        own.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        own.new_library()  # which makes the template
        own.execute("CREATE DATABASE here TEMPLATE empty_library TABLESPACE small")
        stack.callback(own.stop)
        album, encoder = many(tmp_path / "album", 250), FakeEncoder()
        with Library.open(own.url("here"), encoder=encoder, batch_size=10) as library:
            library.sync(many(tmp_path / "first", 10, seed=5))
            before = library.classify(LABELS)
            ballast = fill(folder)
            with pytest.raises(StorageFull) as caught:
                library.sync(album)
            assert re.search(
                r"no space left on the server of the library at postgresql://postgres@127\.0\.0\.1:\d+/here"
                r" \(could not extend file .*: No space left on device\)\. Everything up to the last batch is kept:"
                r" free some space there and run the same command again",
                str(caught.value),
            )
            stored = library.status().images
            assert 10 <= stored < 260
            assert len(library.classify(LABELS)) == stored >= len(before), "reading goes on"
            with pytest.raises(StorageFull):
                library.sync(album)
            ballast.unlink()
            report = library.sync(album)
            assert report.left == 0
            assert library.status().images == len({file.read_bytes() for file in tmp_path.glob("*/*.png")})
            assert encoder.image_count <= library.status().images + 2 * 10
            assert library.check().problems == ()


@needs_a_disk
def test_a_server_that_a_full_disk_has_brought_down_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room for its log the server stops."""
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)
    full = Server(disk_mb=160, max_wal_size="4MB", min_wal_size="2MB")
    try:
        album, encoder = many(tmp_path / "album", 250), FakeEncoder()
        with Library.open(full.new_library(), encoder=encoder, batch_size=10) as library:
            library.sync(many(tmp_path / "first", 10, seed=5))
            ballast = fill(full.folder)

            def sync_until_it_fails() -> None:
                for n in range(50):
                    library.sync(many(tmp_path / "album", 250, seed=n))

            with pytest.raises((StorageFull, LibraryUnreachable), match="run the same command again"):
                sync_until_it_fails()
            ballast.unlink()
            if full.process is not None and full.process.poll() is not None:
                full.start()

            def synced() -> SyncReport | None:
                try:
                    return library.sync(album)
                except LibraryUnreachable:  # it recovers
                    return None

            report = until(synced)
            assert report is not None
            assert report.left == 0
            assert library.check().problems == ()
            assert library.sync(album).unchanged == 250
    finally:
        full.remove()


# --- limits of the server ---------------------------------------------------------------------------------------------


def take_all_locks(link: psycopg.Connection[Any]) -> None:
    """Until the server's table of locks is full."""
    take = "SELECT pg_advisory_lock(key) FROM generate_series(0, 100000) AS key"
    with pytest.raises(psycopg.errors.OutOfMemory):
        link.execute(take)


def test_a_server_without_room_for_locks_says_what_to_do(tmp_path: Path) -> None:
    own = Server(max_locks_per_transaction="10", max_connections="8", autovacuum="off")
    try:
        url = own.new_library()
        with (
            psycopg.connect(url, autocommit=True) as greedy,
            closing(PostgresStorage.open(url, folder=tmp_path)) as storage,
        ):
            model = add_model(storage)
            add_photos(storage, model, unit_vectors(3))
            take_all_locks(greedy)
            with pytest.raises(StorageFailed, match=r"out of shared memory; raise max_locks_per_transaction"):
                add_photos(storage, model, unit_vectors(3, seed=1), folder="/more")
            with pytest.raises(LibraryUnreachable, match=r"out of shared memory; raise max_locks_per_transaction"):
                PostgresStorage.open(url, folder=tmp_path)
            greedy.execute("SELECT pg_advisory_unlock_all()")
            add_photos(storage, model, unit_vectors(3, seed=1), folder="/more")
            assert len(storage.reads.files()) == 6
    finally:
        own.remove()


def test_syncs_go_on_without_room_for_claims(tmp_path: Path) -> None:
    own = Server(max_locks_per_transaction="10", max_connections="12", autovacuum="off")
    try:
        url, album = own.new_library(), many(tmp_path / "album", 60)
        with psycopg.connect(url, autocommit=True) as greedy:
            take_all_locks(greedy)
            greedy.execute("SELECT pg_advisory_unlock(key) FROM generate_series(0, 199) AS key")
            with (
                Library.open(url, encoder=FakeEncoder(), batch_size=8) as one,
                Library.open(url, encoder=FakeEncoder(), batch_size=8) as two,
                ThreadPoolExecutor(2) as pool,
            ):
                reports = list(pool.map(lambda library: library.sync(album), (one, two)))
                assert {report.left for report in reports} == {0}
                assert one.status().images == one.status().files == 60
                assert one.check().problems == ()
    finally:
        own.remove()


def test_who_gets_no_connection_is_told_what_to_do(tmp_path: Path) -> None:
    own = Server(max_connections="6", superuser_reserved_connections="0")
    try:
        url = own.new_library()
        album = many(tmp_path / "album", 12)
        with ExitStack() as stack, Library.open(url, encoder=FakeEncoder(), batch_size=4) as library:
            with suppress(psycopg.OperationalError):
                while True:
                    stack.enter_context(psycopg.connect(url))
            with pytest.raises(LibraryUnreachable, match=r"too many clients already; close programs .* max_connect"):
                Library.open(url, encoder=FakeEncoder())
            stack.close()
            assert library.sync(album).added == 12
            role = limited_role(own, url)
            with (
                psycopg.connect(role),
                pytest.raises(LibraryUnreachable, match=r"too many connections for role .*; close programs"),
            ):
                Library.open(role, encoder=FakeEncoder())
    finally:
        own.remove()


def limited_role(server: Server, url: str) -> str:
    """The URL for a role that may read, on one connection at a time."""
    server.execute("CREATE ROLE one LOGIN PASSWORD 'word' CONNECTION LIMIT 1")
    server.execute("GRANT USAGE ON SCHEMA zsindex TO one", name_of(url))
    server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA zsindex TO one", name_of(url))
    return url.replace(f"postgres:{server.password}@", "one:word@")


# --- TLS --------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str, *, of: str) -> tuple[Path, Path]:
    """A key, and a certificate of its own for a host."""
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    asked = ["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-text", "-subj", f"/CN={of}"]
    asked += ["-addext", f"subjectAltName=DNS:{of}", "-out", cert, "-keyout", key]
    subprocess.run(asked, check=True, capture_output=True)
    return key, cert


@pytest.mark.skipif(postgres_server.with_tls() is None, reason="no PostgreSQL that was built with OpenSSL")
def test_a_server_that_cannot_prove_who_it_is_is_refused(tmp_path: Path) -> None:
    own = Server(programs=postgres_server.with_tls())
    try:
        url = own.new_library()
        key, cert = certificate(tmp_path, "server", of="localhost")
        for file, name in ((key, "server.key"), (cert, "server.crt")):
            there = own.folder / "data" / name
            shutil.copy(file, there)
            shutil.chown(there, own.folder.stat().st_uid, own.folder.stat().st_gid)
            there.chmod(0o600)
        own.stop()
        own.settings["ssl"] = "on"
        own.start()
        _, another = certificate(tmp_path, "another", of="localhost")
        for query, says in (
            (f"sslmode=verify-full&sslrootcert={tmp_path}/nothing.crt", r"root certificate file .*; sslrootcert names"),
            (f"sslmode=verify-full&sslrootcert={another}", r"certificate verify failed; sslrootcert names"),
            (f"sslmode=verify-full&sslrootcert={cert}", r"does not match host name .*; use the name that"),
        ):
            with pytest.raises(LibraryUnreachable, match=says):
                Library.open(f"{url}?{query}", encoder=FakeEncoder())
        by_name = url.replace("127.0.0.1", "localhost")
        with Library.open(f"{by_name}?sslmode=verify-full&sslrootcert={cert}", encoder=FakeEncoder()) as library:
            assert library.sync(many(tmp_path / "album", 3)).added == 3
    finally:
        own.remove()


# --- clocks -----------------------------------------------------------------------------------------------------------


def test_hosts_whose_clocks_are_years_apart_agree(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes by what a clock says: neither what is newest, nor what has vanished, nor what is old."""
    album = many(tmp_path / "album", 20)

    @contextmanager
    def at(year: int) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(uses, "today", lambda: (year - 1970) * 365)
            for module in ("zsindex.storage.rows", "zsindex.storage.photos", "zsindex.storage.labels",
                           "zsindex.storage.jobs", "zsindex.ingest.sync"):  # fmt: skip
                patch.setattr(f"{module}.now", lambda: f"{year}-01-01T00:00:00+00:00", raising=False)
            yield

    with (
        Library.open(url, encoder=FakeEncoder()) as ahead,
        Library.open(url, encoder=FakeEncoder()) as behind,
    ):
        with at(2041):
            assert ahead.sync(album).added == 20
            assert ahead.sync(album).unchanged == 20
            ahead.classify(["red", "blue"], record=True)
        with at(1999):
            (album / "000.png").unlink()
            (album / "001.png").rename(album / "moved.png")
            report = behind.sync(album)
            assert (report.missing, report.moved, report.unchanged) == (1, 1, 18)
            newest = behind.classify(["red", "green"], record=True).run.key
            assert behind.runs.list()[0].key == newest
            behind.labels.save("colours", ["red"])
        with at(2041):
            (album / "moved.png").rename(album / "moved again.png")
            report = ahead.sync(album)
            assert (report.missing, report.moved, report.unchanged) == (0, 1, 18)
            assert ahead.runs.list()[0].key == newest
            ahead.labels.save("colours", ["red", "blue"])
            assert [version.version for version in ahead.session.storage.reads.label_set_versions("colours")] == [1, 2]
            assert ahead.sync(album).forgotten_prompts == 0
            before = ahead.usage["prompts_encoded"]
            ahead.classify(["red", "blue", "green"])
            assert ahead.usage["prompts_encoded"] == before, "years have passed, but nobody has forgotten the prompts"
        assert (ahead.status().files, ahead.status().missing) == (19, 1)
        assert ahead.check().problems == ()


# --- machines that may only read, and backups that are put back -----------------------------------------------------


def reader_of(server: Server, url: str) -> str:
    """The URL for a role that may read, and nothing else."""
    role = f"reader_{time.monotonic_ns()}"
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'word'", name_of(url))
    server.execute(f"GRANT USAGE ON SCHEMA zsindex TO {role}", name_of(url))
    server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA zsindex TO {role}", name_of(url))
    return url.replace(f"postgres:{server.password}@", f"{role}:word@")


def index_files(library: Library) -> list[str]:
    return sorted(file.name for file in (library.path / "index").glob("*.faiss"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Be on another machine: with a cache of its own."""
    return lambda name: monkeypatch.setenv("ZSINDEX_CACHE", str(tmp_path / f"cache of {name}"))


def vectors_read(library: Library, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After which numbers vectors are read from the server, from now on."""
    asked: list[int] = []
    reads = type(library.session.storage.reads)
    embeddings = reads.embeddings

    def counted(self: object, model: object, *, after: int) -> object:
        asked.append(after)
        return embeddings(self, model, after=after)  # type: ignore[arg-type]

    monkeypatch.setattr(reads, "embeddings", counted)
    return asked


def test_who_may_only_read_keeps_an_index_file_of_their_own(
    server: Server, url: str, tmp_path: Path, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("the writer")
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(many(tmp_path / "album", 30))
        expected = library.classify(LABELS)
        (writers,) = index_files(library)
    before = server.execute("SELECT file, cache FROM zsindex.snapshots", name_of(url))
    machine("the reader")
    role = reader_of(server, url)
    with Library.open(role, encoder=FakeEncoder()) as reader:
        assert reader.session.read_only
        asked = vectors_read(reader, monkeypatch)
        first = reader.classify(LABELS)
        assert asked == [0]
        (file,) = index_files(reader)
        assert file != writers
        assert reader.check().problems == ()
        asked.clear()
    with Library.open(role, encoder=FakeEncoder()) as reader:
        again = reader.classify(LABELS)
        assert 0 not in asked, "it is mapped, and not read again"
        assert index_files(reader) == [file]
    for answer in (first, again):
        assert [photo.path for photo in answer] == [photo.path for photo in expected]
        assert answer.scores.tobytes() == expected.scores.tobytes()
    assert server.execute("SELECT file, cache FROM zsindex.snapshots", name_of(url)) == before
    with Library.open(url, encoder=FakeEncoder()) as writer:  # on the reader's machine
        assert writer.check().problems == ()
        assert file in index_files(writer)
        writer.sync(many(tmp_path / "more", 10, seed=60))
    with Library.open(role, encoder=FakeEncoder()) as reader:
        assert len(reader.classify(LABELS)) == 40
        assert reader.check().problems == ()


def test_a_readers_index_file_goes_on_after_photos_were_pruned(
    server: Server, url: str, tmp_path: Path, machine: Callable[[str], None]
) -> None:
    album, role = many(tmp_path / "album", 30), reader_of(server, url)
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(album)
        machine("the reader")
        with Library.open(role, encoder=FakeEncoder()) as reader:
            assert len(reader.classify(LABELS)) == 30
        for n in range(5):
            (album / f"{n:03}.png").unlink()
        library.sync(album)
        library.prune()
        expected = library.classify(LABELS)
    with Library.open(role, encoder=FakeEncoder()) as reader:
        answer = reader.classify(LABELS)
        assert [photo.path for photo in answer] == [photo.path for photo in expected]
        assert answer.scores.tobytes() == expected.scores.tobytes()
        assert len(index_files(reader)) == 1


def test_a_reader_does_not_believe_a_file_from_after_a_backup_that_was_put_back(
    server: Server, url: str, tmp_path: Path, machine: Callable[[str], None]
) -> None:
    """Ids and numbers mean other photos from there on, in another order even where they are the same photos."""
    name, role = name_of(url), reader_of(server, url)
    one, two = (many(tmp_path / folder, 20, seed=seed) for folder, seed in (("1", 0), ("2", 100)))
    later = [photo(tmp_path / "later" / f"{n}.png", (n * 40, 255 - n * 40, 7)) for n in range(4)]
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(one)
        server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    server.execute(f"CREATE DATABASE backup_of_{name} TEMPLATE {name}")
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(two)
        for file in later:
            library.sync(file)
    machine("the reader")
    with Library.open(role, encoder=FakeEncoder()) as reader:
        assert len(reader.classify(LABELS)) == 44
        stale = index_files(reader)
        assert len(stale) == 1
    server.drop(url)
    server.execute(f"ALTER DATABASE backup_of_{name} RENAME TO {name}")
    machine("the writer")
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(two)
        for file in (later[1], later[0], later[2], later[3]):  # the last ones have the same numbers as before
            library.sync(file)
        expected = library.classify(LABELS)
        near = [(hit.path, hit.score) for hit in library.similar(later[0], top=9)]
    machine("the reader")
    with Library.open(role, encoder=FakeEncoder()) as reader:
        answer = reader.classify(LABELS)
        assert [photo.path for photo in answer] == [photo.path for photo in expected]
        assert answer.scores.tobytes() == expected.scores.tobytes()
        assert index_files(reader) != stale
        assert [(hit.path, hit.score) for hit in reader.similar(later[0], top=9)] == near


def test_machines_do_not_overwrite_each_others_graphs_nor_use_those_of_another_history(
    server: Server, url: str, tmp_path: Path, machine: Callable[[str], None]
) -> None:
    name = name_of(url)
    first, second, third = (many(tmp_path / str(n), 12, seed=n * 50) for n in range(3))

    def graph_on(where: str) -> tuple[bytes, list[tuple[object, ...]]]:
        """The file of the graph there, and what is found by it."""
        machine(where)
        with Library.open(url, encoder=FakeEncoder()) as library:
            found = library.neighbours.graph()
            (file,) = (library.path / "index").glob("*.neighbours")
            return file.read_bytes(), list(zip(found.neighbours.tolist(), found.cosines.tolist(), strict=True))

    def from_scratch() -> list[tuple[object, ...]]:
        machine(f"nobody {time.monotonic_ns()}")
        with Library.open(url, encoder=FakeEncoder(), read_only=True) as library:
            found = library.neighbours.graph()
            assert not list((library.path / "index").glob("*.neighbours"))
            return list(zip(found.neighbours.tolist(), found.cosines.tolist(), strict=True))

    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(first)
    one, answer = graph_on("one")
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(second)
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    server.execute(f"CREATE DATABASE backup_of_{name} TEMPLATE {name}")
    other, answer = graph_on("other")
    assert other != one
    again, answer_again = graph_on("one")
    assert answer_again == answer == from_scratch()
    assert graph_on("other") == (other, answer), "it stays what it was"
    for n, file in enumerate(sorted(third.iterdir())):
        (machine("one") if n % 2 else machine("other"))
        with Library.open(url, encoder=FakeEncoder()) as library:
            library.sync(file)
    after, _ = graph_on("one")
    assert after != again
    # The backup is put back, and photos come in another order.
    server.drop(url)
    server.execute(f"ALTER DATABASE backup_of_{name} RENAME TO {name}")
    machine("other")
    with Library.open(url, encoder=FakeEncoder()) as library:
        for file in sorted(third.iterdir(), reverse=True):
            library.sync(file)
    machine("one")
    with Library.open(url, encoder=FakeEncoder()) as library:
        assert any("of another state of this library" in problem for problem in library.check().problems)
    assert graph_on("one")[1] == graph_on("other")[1] == from_scratch()


# --- copies that are killed -------------------------------------------------------------------------------------------

COPY = """
import sys
from zsindex.library import Library
from zsindex.storage import copying
copying._BATCH_ROWS = 3
def tell(progress):
    print(progress.stage, flush=True)
    if sys.argv[3] == "in steps":
        sys.stdin.readline()
Library.copy(sys.argv[1], sys.argv[2], progress=tell)
print("done", flush=True)
"""


def is_whole(place: Path | str) -> bool:
    """Whether there is a library, and not a part of one."""
    try:
        return Library.exists(place)
    except NotALibrary:
        return False


@pytest.mark.parametrize("way", ["onto a server", "into a folder"])
def test_a_copy_that_is_killed_again_and_again_comes_to_its_end(way: str, server: Server, tmp_path: Path) -> None:
    album = many(tmp_path / "album", 40)
    with Library.open(tmp_path / "folder", encoder=FakeEncoder()) as library:
        library.sync(album)
        library.labels.save("colours", LABELS)
        for n, label in enumerate(LABELS):
            library.corrections.add("colours", album / f"{n:03}.png", label)
        library.thresholds.choose("colours", "red", rate=0.25)
        library.templates.save("mine", ["a {}"])
        library.tags.write(library.classify(label_set="colours", record=True), apply=True)
        library.session.storage.jobs.save_job("job", "sync", "done", {"paths": []}, keep=9)
    source: Path | str = tmp_path / "folder"
    target: Path | str = server.url(server.new_database())
    if way == "into a folder":
        Library.copy(source, target)
        source, target = target, tmp_path / "copied"
    lots, kills, copying_at = random.Random(way), 0, 0
    while kills < 15 and not is_whole(target):
        # At any instant, or in the midst of the copy, after some more of its steps.
        blindly = kills % 3 == 2
        program = [sys.executable, "-c", COPY, str(source), str(target), "at once" if blindly else "in steps"]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if blindly:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(lots.uniform(0, 1.5))
            elif process.stdout.readline():
                copying_at += 1
                for _ in range(lots.randrange(8)):
                    with suppress(BrokenPipeError):  # it may have come to its end
                        process.stdin.write(b"\n")
                    if process.stdout.readline() in (b"done\n", b""):
                        break
                with suppress(subprocess.TimeoutExpired):
                    process.wait(lots.uniform(0, 0.05))
            process.kill()
        kills += 1
    assert copying_at >= 2
    if not is_whole(target):
        assert Library.copy(source, target).vectors == 40
    assert rows_of(tmp_path / "folder") == rows_of(target)
    with Library.open(target, encoder=FakeEncoder(), create=False) as library:
        assert library.check().problems == ()
        (run,) = library.runs.list()
        assert run.stored
        assert len(library.session.storage.labels.sidecar_paths()) == 40
        assert len(library.session.storage.reads.label_sets()) == 1
        assert len(library.session.storage.labels.corrections("colours")) == 3
        assert library.usage["images_encoded"] == 0


# --- names ------------------------------------------------------------------------------------------------------------


def test_the_longest_names_and_paths_are_kept(url: str, tmp_path: Path) -> None:
    album, deep = tmp_path / "album", tmp_path / "deep"
    names = [
        "x" * 251,
        "ü" * 125 + "x",
        "写" * 83 + "xx",
        "'; DROP TABLE files; --",
        "a\\b%c_d",
        "tab\tnew\nline",
        " ",
        "\u202etxt",
        "a\u0301",
        "\u00e1",
    ]
    while len(os.fsencode(deep)) < 3800:
        deep /= "d" * min(255, 4000 - len(os.fsencode(deep)))
    for n, name in enumerate(names):
        photo(album / f"{name}.png", mark=n)
    deep.mkdir(parents=True)
    long = photo(deep / f"{'y' * (4095 - len(os.fsencode(deep)) - 5)}.png", mark=99)
    assert len(os.fsencode(long)) == 4095
    unusual = Path(os.fsdecode(os.fsencode(album) + b"/\xff\xfe.png"))
    shutil.copy(long, unusual)
    with Library.open(url, encoder=FakeEncoder()) as library:
        report = library.sync([album, tmp_path / "deep"])
        assert (report.added, report.skipped) == (len(names) + 1, 1)
        assert [skip.reason for skip in report.skips] == [SkipReason.UNDECODABLE_NAME]
        again = library.sync([album, tmp_path / "deep"])
        assert (again.unchanged, again.missing, again.to_read) == (len(names) + 1, 0, 0)
        paths = {photo.path for photo in library.classify(LABELS)}
        assert paths == {str(long), *(str(album / f"{name}.png") for name in names)}
        assert len(library.classify(LABELS, paths=[long, album / f"{names[0]}.png"])) == 2
        assert library.similar(long, top=1)
        assert library.check().problems == ()
    report_of_copy = Library.copy(url, tmp_path / "copy")
    assert report_of_copy.vectors == len(names) + 1
    assert rows_of(url) == rows_of(tmp_path / "copy")

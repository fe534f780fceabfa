"""What the system refuses, kills and forks: what is told fits the cause, and nothing is lost or stuck."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.libraries import add_model, add_photos, new_library, open_storage, unit_vectors
from tests.processes import Process
from tests.unprivileged import reachable_folder, run_unprivileged, unprivileged
from zsindex.errors import (
    LibraryBusy,
    LibraryDamaged,
    LibraryError,
    LibraryForked,
    LibraryNotFound,
    LibraryReadOnly,
    NotALibrary,
    StorageFailed,
    StorageFull,
)
from zsindex.storage.sqlite import connections, file, open_files, system_errors
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.storage.sqlite.file import APPLICATION_ID, FILE_NAME, PAGE_SIZE
from zsindex.upkeep import maintenance


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_library(tmp_path / "library")


# --- a kill while a library is made -----------------------------------------------------------------------------------

KILLED_IN_ITS_FIRST_TRANSACTION = f"""
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA application_id = {APPLICATION_ID}")
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.execute("CREATE TABLE half (x)")
connection.executemany("INSERT INTO half VALUES (zeroblob(9000))", [()] * 20)  # more than is kept in memory
os._exit(0)
"""


@pytest.fixture
def half_made(tmp_path: Path) -> Path:
    """A library with a hot rollback journal, which only who may write can roll back."""
    nowhere = tmp_path / "half"
    nowhere.mkdir()
    with Process(KILLED_IN_ITS_FIRST_TRANSACTION, nowhere / FILE_NAME) as process:
        process.finish()
    journal = nowhere / f"{FILE_NAME}-journal"
    assert journal.stat().st_size > 512
    with (
        closing(sqlite3.connect(f"{(nowhere / FILE_NAME).as_uri()}?mode=ro", uri=True)) as reader,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return nowhere


@pytest.mark.parametrize("create", [False, True])
def test_a_library_whose_making_was_killed_is_made_at_the_next_opening(half_made: Path, create: bool) -> None:
    with open_storage(half_made, create=create) as storage:
        add_model(storage)
        assert storage.problems() == []
        with storage.database.reading() as connection:
            assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchone()


def test_who_may_only_read_finds_no_library_where_making_it_was_killed(half_made: Path) -> None:
    before = (half_made / FILE_NAME).read_bytes()
    with pytest.raises(LibraryNotFound):
        open_storage(half_made, read_only=True).__enter__()
    assert (half_made / FILE_NAME).read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files")
def test_the_folder_of_a_new_library_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    SqliteDatabase.open(tmp_path / "new" / "library", create=True).close()
    assert {tmp_path, tmp_path / "new"} <= set(synced)


# --- what the system says ---------------------------------------------------------------------------------------------

TOLD: dict[int, tuple[type[LibraryError], str]] = {
    errno.ENOSPC: (StorageFull, "free some space"),
    errno.EDQUOT: (StorageFull, "Disk quota exceeded.*free some space"),
    errno.EFBIG: (StorageFull, "File too large.*free some space"),
    errno.EMFILE: (StorageFailed, "Too many open files"),
    errno.ENFILE: (StorageFailed, "Too many open files in system"),
    errno.EIO: (StorageFailed, "the disk reports an error: Input/output error.*run the same command again"),
    errno.EACCES: (LibraryReadOnly, "read-only"),
    errno.EROFS: (LibraryReadOnly, "read-only"),
    errno.ENOLCK: (StorageFailed, "No locks available"),
}


def refusing(number: int) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refuse


def lock_file(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr("zsindex.storage.sqlite.lock.io.FileIO", refusing(number))


def locking(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    if number == errno.EACCES:
        pytest.skip("says that somebody else holds it")
    monkeypatch.setattr("zsindex.storage.sqlite.lock.fcntl.flock", refusing(number))


@pytest.mark.parametrize("number", TOLD, ids=errno.errorcode.get)
@pytest.mark.parametrize("what", [lock_file, locking])
def test_a_lock_that_the_system_refuses_says_why_and_works_the_next_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, what: Callable[[pytest.MonkeyPatch, int], None], number: int
) -> None:
    expected, said = TOLD[number]
    with open_storage(folder) as storage:
        with monkeypatch.context() as patched:
            what(patched, number)
            for _ in range(2):
                with pytest.raises(expected, match=said):
                    add_model(storage)
        add_model(storage)
        with storage.sync_lock.hold("sync"):
            pass


def error_of_sqlite(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_NAME"
    return error


@pytest.mark.parametrize("number", [n for n in TOLD if n != errno.ENOLCK], ids=errno.errorcode.get)
@pytest.mark.parametrize(
    "code",
    [
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMMAP,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
    ],
)
def test_what_sqlite_does_not_tell_is_found_by_trying(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, number: int
) -> None:
    expected, said = TOLD[number]
    monkeypatch.setattr(tempfile, "TemporaryFile", refusing(number))
    with open_storage(folder) as storage, pytest.raises(expected, match=said), storage.database.reading():
        raise error_of_sqlite(code)


@pytest.mark.parametrize(
    ("code", "expected", "said"),
    [
        (sqlite3.SQLITE_FULL, StorageFull, "free some space"),
        (sqlite3.SQLITE_IOERR_READ, StorageFailed, "the disk reports an error"),
        (sqlite3.SQLITE_IOERR_WRITE, StorageFailed, "refused, though it does not now"),
        (sqlite3.SQLITE_CANTOPEN, StorageFailed, "open its database"),
        (sqlite3.SQLITE_PROTOCOL, LibraryBusy, "another program"),
    ],
)
def test_where_trying_finds_nothing_the_error_is_no_other_one(
    folder: Path, code: int, expected: type[LibraryError], said: str
) -> None:
    with open_storage(folder) as storage, pytest.raises(expected, match=said), storage.database.reading():
        raise error_of_sqlite(code)
    assert not list(folder.glob("tmp*"))


@pytest.mark.parametrize("number", [n for n in TOLD if n != errno.ENOLCK], ids=errno.errorcode.get)
def test_a_journal_that_cannot_be_removed_is_told_with_its_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    expected, said = TOLD[number]
    monkeypatch.setattr(Path, "unlink", refusing(number))
    with open_storage(folder) as storage, pytest.raises(expected, match=said), storage.database.reading():
        raise error_of_sqlite(sqlite3.SQLITE_IOERR_DELETE)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes two users")
def test_a_journal_of_somebody_else_is_told_as_missing_rights() -> None:
    """In such a folder, as in /tmp, everybody may make files, and remove only their own."""
    with reachable_folder() as parent:
        folder = parent / "half"
        folder.mkdir()
        with Process(KILLED_IN_ITS_FIRST_TRANSACTION, folder / FILE_NAME) as process:
            process.finish()
        folder.chmod(0o1777)
        for file in folder.iterdir():
            file.chmod(0o666)
        open_it = "from pathlib import Path\nfrom tests.libraries import open_storage\n"
        open_it += (
            "try:\n    open_storage(Path(sys.argv[1])).__enter__()\nexcept Exception as error:\n    print(repr(error))"
        )
        said = run_unprivileged(open_it, str(folder), modules=["tests.libraries"])
        assert said.startswith("LibraryReadOnly")
        assert f"there is no permission to remove {folder / FILE_NAME}-journal" in said


def test_a_disk_that_fails_to_read_is_no_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite says of an EIO that the database is malformed."""
    with open_storage(folder) as storage:
        with monkeypatch.context() as patched:
            patched.setattr(open_files.os, "read", refusing(errno.EIO))
            with pytest.raises(StorageFailed, match="the disk reports an error"), storage.database.reading():
                raise error_of_sqlite(sqlite3.SQLITE_CORRUPT)
        # Nor is one that failed once, and does not when it is asked again.
        with (
            pytest.raises(StorageFailed, match="could not be read, though it can now"),
            storage.database.reading(),
        ):
            raise error_of_sqlite(sqlite3.SQLITE_CORRUPT)
    content = bytearray((folder / FILE_NAME).read_bytes())
    content[PAGE_SIZE : 2 * PAGE_SIZE] = bytes(PAGE_SIZE)
    (folder / FILE_NAME).write_bytes(content)
    with pytest.raises(LibraryDamaged), open_storage(folder) as storage:
        storage.reads.models()


needs_numbers = pytest.mark.skipif(system_errors._asking() is None, reason="SQLite cannot be asked for them here")


@needs_numbers
@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_what_the_system_said_at_a_commit_is_known_afterwards(tmp_path: Path, journal: str) -> None:
    with closing(sqlite3.connect(tmp_path / "any.db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE any (x)")
        with largest_file(40_000), pytest.raises(sqlite3.OperationalError) as caught:
            connection.executescript("BEGIN; INSERT INTO any VALUES (zeroblob(90000)); COMMIT")
        system_errors.note(caught.value, connection)
        assert system_errors.noted(caught.value) == errno.EFBIG


@needs_numbers
def test_what_the_system_said_is_asked_of_the_connection_that_failed(tmp_path: Path) -> None:
    """The one that was noted first counts: what others do around it, as when a database is copied, has not failed."""
    with (
        closing(sqlite3.connect(tmp_path / "one.db", isolation_level=None)) as one,
        closing(sqlite3.connect(tmp_path / "other.db", isolation_level=None)) as other,
    ):
        one.execute("CREATE TABLE any (x)")
        one.execute("INSERT INTO any VALUES (zeroblob(90000))")
        with largest_file(40_000), pytest.raises(sqlite3.OperationalError) as caught:
            one.backup(other)
        system_errors.note(caught.value, other)
        system_errors.note(caught.value, one)
        assert system_errors.noted(caught.value) == errno.EFBIG


def test_an_error_that_python_finds_by_itself_comes_out_as_it_is(folder: Path) -> None:
    with open_storage(folder) as storage:
        model = add_model(storage)
        with storage.database.writing("damage") as connection:
            connection.execute("UPDATE settings SET value = CAST(x'80' AS TEXT) WHERE key = 'files_revision'")
            connection.execute("INSERT OR IGNORE INTO settings VALUES ('files_revision', CAST(x'80' AS TEXT))")
        with pytest.raises(LibraryDamaged, match="decode"):
            storage.reads.files()
        assert storage.reads.models() == [model]


def test_who_reads_without_locks_can_ask_everything_more_than_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_storage(folder) as storage:
        add_model(storage)
    monkeypatch.setattr(connections, "_has_locks", lambda *_, **__: False)
    with open_storage(folder, read_only=True) as storage:
        for _ in range(3):
            assert storage.damaged_rows() == []
            assert len(storage.reads.models()) == 1
            assert storage.photos.roots() == []


@pytest.mark.parametrize("create", [False, True])
def test_a_journal_that_cannot_be_removed_once_is_removed_by_another_attempt(
    half_made: Path, monkeypatch: pytest.MonkeyPatch, create: bool
) -> None:
    asked = f"PRAGMA application_id = {APPLICATION_ID}" if create else "SELECT count(*) FROM sqlite_master"
    connect, refused = sqlite3.connect, []

    class RefusingOnce(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            if arguments[0] == asked and not refused:
                refused.append(asked)
                raise error_of_sqlite(sqlite3.SQLITE_IOERR_DELETE)
            return super().execute(*arguments)

    def connect_so(*arguments: Any, factory: type[sqlite3.Connection], **options: Any) -> sqlite3.Connection:
        return connect(*arguments, factory=RefusingOnce if factory is sqlite3.Connection else factory, **options)

    if create:
        shutil.rmtree(half_made)
    monkeypatch.setattr(sqlite3, "connect", connect_so)
    with open_storage(half_made) as storage:
        add_model(storage)
    assert refused


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY])
def test_a_connection_that_is_refused_once_is_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """SQLite takes a log that it may not open to write for one that is read-only, whatever the reason."""
    connect, refused = sqlite3.connect, []
    reading, writing = "SELECT count(*) FROM sqlite_master", f"PRAGMA application_id = {APPLICATION_ID}"

    def refusing_once(*arguments: Any, factory: type[sqlite3.Connection], **options: Any) -> sqlite3.Connection:
        class RefusingOnce(factory):  # type: ignore[misc, valid-type]
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                if arguments[0] in (reading, writing) and arguments[0] not in refused:
                    refused.append(arguments[0])
                    raise error_of_sqlite(code)
                return super().execute(*arguments)

        return connect(*arguments, factory=RefusingOnce, **options)

    monkeypatch.setattr(sqlite3, "connect", refusing_once)
    with open_storage(folder) as storage:
        add_model(storage)
        assert len(storage.reads.models()) == 1
    assert sorted(refused) == [writing, reading]


def test_a_database_that_was_opened_to_read_alone_is_opened_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SQLite opens it by itself, without a word, where the system refuses once to open it to write."""
    connect, opened = sqlite3.connect, []

    def connect_to_read_once(file: Any, *, uri: bool = False, **options: Any) -> sqlite3.Connection:
        if uri or opened:
            return connect(file, uri=uri, **options)
        opened.append(file)
        return connect(f"{Path(file).as_uri()}?mode=ro", uri=True, **options)

    with open_storage(folder) as storage:
        monkeypatch.setattr(sqlite3, "connect", connect_to_read_once)
        add_model(storage)
        assert len(storage.reads.models()) == 1
    assert len(opened) == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM, errno.EACCES])
@pytest.mark.parametrize("name", [FILE_NAME, f"{FILE_NAME}-journal"])
def test_files_that_cannot_be_examined_give_no_raw_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    stat = Path.stat

    def refuse(self: Path, **options: Any) -> os.stat_result:
        if self.name == name:
            raise OSError(number, os.strerror(number))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(LibraryError, match=os.strerror(number)):
        SqliteDatabase.open(folder, create=False)


def test_a_database_whose_size_is_unknown_does_not_hide_what_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_storage(folder) as storage:
        monkeypatch.setattr(file, "size_of", refusing(errno.EIO))
        with pytest.raises(StorageFailed, match="SQLITE_NAME"), storage.database.reading():
            raise error_of_sqlite(sqlite3.SQLITE_IOERR_WRITE)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO])
def test_a_library_that_cannot_be_looked_at_is_not_called_something_else(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    expected, said = TOLD[number]
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refusing(number))
        with pytest.raises(expected, match=said):
            SqliteDatabase.open(folder, create=False)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", refusing(number))
        with pytest.raises(expected, match=said):
            SqliteDatabase.open(tmp_path / "new", create=True)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refusing(errno.EACCES))
        with pytest.raises(NotALibrary):
            SqliteDatabase.open(folder, create=False)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Within it no file may become larger: what `ulimit -f` does, and a quota much the same."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:  # before pytest writes anything, perhaps into a file
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_may_not_grow_is_a_full_disk(folder: Path) -> None:
    with open_storage(folder) as storage:
        model = add_model(storage)
        kept = add_photos(storage, model, unit_vectors(10))
    with largest_file(40_000), open_storage(folder) as storage:  # the log holds two pages
        with pytest.raises(StorageFull):
            add_photos(storage, model, unit_vectors(500, seed=1), folder="/more")
        assert storage.reads.files().paths == kept
    # Not even the index of the log may be made, which readers need, too, unless there is nothing in the log.
    with largest_file(1024):
        for read_only in (True, False):
            with open_storage(folder, read_only=read_only) as storage:
                assert storage.reads.files().paths == kept
        with open_storage(folder) as storage, pytest.raises(StorageFull):
            add_model(storage, "another")


def test_a_log_that_was_cut_back_hides_how_far_it_could_not_grow(folder: Path) -> None:
    expected = pytest.raises(StorageFull)
    with largest_file(1 << 24), open_storage(folder) as storage, expected, storage.database.reading():
        raise error_of_sqlite(sqlite3.SQLITE_IOERR_WRITE)


def test_memory_that_cannot_be_mapped_is_no_fault_of_the_disk(folder: Path) -> None:
    expected = pytest.raises(StorageFailed, match="no memory could be mapped")
    with open_storage(folder) as storage, expected, storage.database.reading():
        raise error_of_sqlite(sqlite3.SQLITE_IOERR_SHMMAP)


@pytest.mark.parametrize("left", range(3))
def test_too_many_open_files_are_not_a_missing_permission(folder: Path, left: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        with pytest.raises(OSError, match="Too many"):
            taken.extend(os.open(os.devnull, os.O_RDONLY) for _ in iter(int, 1))
        for _ in range(left):
            os.close(taken.pop())
        for read_only in (True, False):
            with pytest.raises(StorageFailed, match="Too many open files"):
                SqliteDatabase.open(folder, create=False, read_only=read_only)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in taken:
            os.close(descriptor)


@pytest.mark.parametrize("error", [StorageFull(Path("/x")), LibraryBusy(Path("/x"), holder="a", waited_s=1)])
def test_prune_says_what_is_done_where_the_room_is_not_given_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: LibraryError
) -> None:
    def refuse() -> NoReturn:
        raise error

    with open_storage(folder) as storage:
        model = add_model(storage)
        add_photos(storage, model, unit_vectors(10))
        monkeypatch.setattr(storage, "vacuum", refuse)
        with pytest.warns(maintenance.RoomNotGivenBack, match="what was to be pruned is gone"):
            report = maintenance.prune(storage, models=[], under=["/photos"], dry_run=False)
        assert report.files == 10
        assert storage.reads.files().paths == []


# --- readers beside a writer ------------------------------------------------------------------------------------------


def test_a_lone_writer_that_closes_copies_its_log_and_keeps_no_reader_out(folder: Path) -> None:
    """The last connection would keep them out while it copies the log and removes it, or is stopped in that."""
    steps: list[str] = []
    opened = SqliteDatabase.open(folder, create=False)
    with opened.writing("test") as connection:
        connection.execute("INSERT INTO settings (key, value) VALUES ('a', 'x')")

        def trace(statement: str) -> None:
            steps.append(statement)

        connection.set_trace_callback(trace)
    log = folder / f"{FILE_NAME}-wal"
    assert log.stat().st_size > 0
    opened.close()
    assert steps[-2:] == ["PRAGMA busy_timeout = 0", "PRAGMA wal_checkpoint(TRUNCATE)"]
    assert log.stat().st_size == 0


def test_what_gives_room_back_keeps_no_reader_out_as_it_closes(folder: Path) -> None:
    with open_storage(folder) as storage:
        add_model(storage)
    with open_storage(folder) as storage:
        for idle in storage.database._idle or []:
            idle.close()
        storage.database._idle = []
        storage.vacuum()
        assert (folder / f"{FILE_NAME}-wal").exists()


READ_IN_TWO_STEPS = """
from pathlib import Path
from zsindex.errors import StorageFailed
from zsindex.storage.sqlite.database import SqliteDatabase
database = SqliteDatabase.open(Path(sys.argv[1]), create=False)
while True:
    try:
        with database.reading() as connection:
            connection.execute("SELECT * FROM alembic_version").fetchall()
            step("begun")
            step(connection.execute("SELECT key, value FROM settings").fetchall())
    except StorageFailed as error:
        step(error)
"""


def stored(folder: Path, value: str) -> str:
    """Store something, copy the log and close; returns what a reader says of it."""
    with closing(SqliteDatabase.open(folder, create=False)) as database, database.writing("test") as connection:
        connection.execute("INSERT OR REPLACE INTO settings (key, value) VALUES ('a', ?)", (value,))
    return str([("a", value)])


@pytest.mark.skipif(os.geteuid() != 0, reason="takes two users")
def test_who_may_not_write_reads_one_state_beside_a_writer() -> None:
    with reachable_folder() as parent:
        folder = new_library(parent / "library")
        before = stored(folder, "before")
        modules = ["zsindex.storage.sqlite.database"]
        with Process(unprivileged(READ_IN_TWO_STEPS, modules=modules), folder) as reader:
            assert reader.wait_for_step() == "begun"
            after = stored(folder, "after")
            reader.go()
            assert reader.wait_for_step() == before
            reader.go()
            reader.wait_for_step()
            reader.go()
            assert reader.wait_for_step() == after


@pytest.mark.skipif(os.geteuid() != 0, reason="takes two users")
def test_who_may_not_write_is_told_of_a_writer_that_comes_while_there_is_no_log() -> None:
    """Nowhere could a reader have noted that it reads."""
    with reachable_folder() as parent:
        folder = new_library(parent / "library")
        modules = ["zsindex.storage.sqlite.database"]
        with Process(unprivileged(READ_IN_TWO_STEPS, modules=modules), folder) as reader:
            assert reader.wait_for_step() == "begun"
            after = stored(folder, "after")
            reader.go()
            reader.wait_for_step()
            reader.go()
            assert "another process has begun to change it meanwhile" in reader.wait_for_step()
            reader.go()
            assert reader.wait_for_step() == "begun"
            reader.go()
            assert reader.wait_for_step() == after


@pytest.mark.parametrize("left", [32, 32 + 24, 32 + 24 + PAGE_SIZE])
def test_who_may_not_write_reads_past_a_log_in_which_a_kill_left_no_commit(left: int) -> None:
    """SQLite does not read it, which took ten seconds and was told as a library that is being written to."""
    with reachable_folder() as parent:
        folder, copy = new_library(parent / "library"), parent / "copy"
        before = stored(folder, "before")
        with closing(SqliteDatabase.open(folder, create=False)) as database:
            with database.writing("test") as connection:
                connection.execute("CREATE TABLE more (x)")  # on two pages or more, of which the last one commits
            shutil.copytree(folder, copy)
        assert (copy / f"{FILE_NAME}-wal").stat().st_size >= 32 + 2 * (24 + PAGE_SIZE)
        os.truncate(copy / f"{FILE_NAME}-wal", left)
        copy.chmod(0o555)
        modules = ["zsindex.storage.sqlite.database"]
        with Process(unprivileged(READ_IN_TWO_STEPS, modules=modules), copy) as reader:
            reader.wait_for_step()
            reader.go()
            assert reader.wait_for_step() == before


@pytest.mark.parametrize("how", ["write", "writing", "read", "reading"])
def test_what_an_exception_keeps_holds_up_nobody(folder: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its traceback may hold a cursor that is not at its end, and with that what SQLite saw then."""
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_S", 0.0)
    ask = "SELECT name FROM sqlite_master"
    stored(folder, "before")
    with closing(SqliteDatabase.open(folder, create=False)) as opened:
        with pytest.raises(ZeroDivisionError) as kept:  # noqa: PT012
            if how in ("write", "read"):
                with opened.write("test") if how == "write" else opened.read() as engine:
                    result = engine.exec_driver_sql(ask)
                    result.fetchone()
                    raise ZeroDivisionError
            with opened.writing("test") if how == "writing" else opened.reading() as plain:
                cursor = plain.execute(ask)
                cursor.fetchone()
                raise ZeroDivisionError
        after = stored(folder, "after")
        with opened.reading() as plain:
            assert str(plain.execute("SELECT key, value FROM settings").fetchall()) == after
        with opened.read() as engine:
            assert engine.exec_driver_sql("SELECT value FROM settings").scalar() == "after"
        with opened.writing("test") as plain:
            plain.execute("UPDATE settings SET value = 'later'")
        with opened.write("test") as engine:
            assert engine.exec_driver_sql("SELECT value FROM settings").scalar() == "later"
    assert kept.value


STOPPED_IN_OPENING = """
import fcntl, os, struct
opened = os.open(sys.argv[1] + "/library.db-shm", os.O_RDWR | os.O_CREAT)
# As SQLite does, so that nobody uses an index that a crash has left: all is locked, and then the one who writes it.
fcntl.lockf(opened, fcntl.LOCK_EX, 1, 128)
os.ftruncate(opened, 3)
if sys.argv[2] != "locked":
    fcntl.lockf(opened, fcntl.LOCK_SH, 1, 128)
    fcntl.lockf(opened, fcntl.LOCK_EX, 1, 120)
if sys.argv[2] == "read":
    os.ftruncate(opened, 32_768)
    fcntl.lockf(opened, fcntl.LOCK_EX, 7, 121)
step()
"""


@pytest.mark.parametrize("how", ["locked", "made", "read"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_writer_that_is_stopped_as_it_opens_the_library_keeps_no_reader_out(
    folder: Path, how: str, read_only: bool
) -> None:
    before = stored(folder, "before")
    with Process(f"import sys\n{STOPPED_IN_OPENING}", folder, how) as writer:
        writer.wait_for_step()
        begun = time.monotonic()
        with closing(SqliteDatabase.open(folder, create=False, read_only=read_only)) as database:
            for _ in range(2):  # nothing is kept that has no locks
                with database.reading() as connection:
                    assert str(connection.execute("SELECT key, value FROM settings").fetchall()) == before
                with database.read() as engine:
                    assert engine.exec_driver_sql("SELECT value FROM settings").scalar() == "before"
            assert time.monotonic() - begun < 9  # as long as SQLite would try
            writer.kill()
            after = stored(folder, "after")
            with database.reading() as connection:
                assert str(connection.execute("SELECT key, value FROM settings").fetchall()) == after


def test_who_may_not_write_tries_again_where_a_log_comes_and_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_storage(folder) as storage:
        add_model(storage)
    monkeypatch.setattr(connections, "is_read_only_folder", lambda *_, **__: True)
    connect, failed = sqlite3.connect, []

    class Refusing(sqlite3.Connection):
        """As one that finds the log when it looks, and no more when it opens it."""

        def execute(self, *arguments: object) -> NoReturn:
            failed.append(arguments)
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error

    def sometimes(*arguments: object, **options: object) -> sqlite3.Connection:
        if len(failed) < 3:
            options["factory"] = Refusing
        return connect(*arguments, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(sqlite3, "connect", sometimes)
    with open_storage(folder, read_only=True) as storage:
        assert len(storage.reads.models()) == 1
    assert len(failed) == 3


# --- a fork -----------------------------------------------------------------------------------------------------------


def in_child(act: Callable[[], object]) -> str:
    """What it returns, or the error that it raises, in a child of this process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            said = repr(act())
        except BaseException as error:  # noqa: BLE001
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_a_child_is_told_that_the_library_is_its_parents(folder: Path) -> None:
    with open_storage(folder) as storage:
        model = add_model(storage)
        for act in (
            lambda: storage.reads.models(),
            lambda: add_photos(storage, model, unit_vectors(1)),
            lambda: storage.require_open(),
        ):
            assert in_child(act).startswith(f"{LibraryForked.__name__}: the library at {folder}")
        assert in_child(storage.close) == "None"
        assert len(storage.reads.models()) == 1
        add_photos(storage, model, unit_vectors(1))


def test_what_a_child_opens_anew_has_locks_of_its_own(folder: Path) -> None:
    """SQLite took those of the parent for the child's: another process removed the log that the child was writing."""

    def act() -> str:
        with open_storage(folder, create=False) as own:
            add_model(own, "child")
            with Process(ADD_AND_CLOSE, folder) as other:
                other.finish()
            add_model(own, "child again")
            inode = (folder / FILE_NAME).stat().st_ino
            return " ".join(
                line for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines() if f":{inode} " in line
            )

    with open_storage(folder) as storage:
        add_model(storage, "parent")
        locks = in_child(act)
        assert " POSIX " in locks, locks
    with open_storage(folder, create=False) as storage:
        assert {row.info.spec.name for row in storage.reads.models()} == {"parent", "child", "other", "child again"}
        assert storage.problems() == []


ADD_AND_CLOSE = """
import sys
from pathlib import Path
from tests.libraries import add_model, open_storage
with open_storage(Path(sys.argv[1])) as storage:
    add_model(storage, "other")
"""


def test_a_child_forked_off_while_a_thread_was_at_work_may_not_open_it(folder: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    with open_storage(folder) as storage:

        def work() -> None:
            with storage.database.writing("test") as connection:
                connection.execute("INSERT INTO settings (key, value) VALUES ('a', 'x')")
                begun.set()
                go_on.wait()

        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        try:
            said = in_child(lambda: SqliteDatabase.open(folder, create=False))
        finally:
            go_on.set()
            thread.join()
        assert said.startswith("LibraryForked")
        assert "spawn" in said
        assert storage.reads.setting("a") == "x"


def test_a_lock_is_its_parents_alone(folder: Path) -> None:
    """A child that lived on kept the lock, whose file it had inherited."""
    with open_storage(folder) as storage:
        reading, writing = os.pipe()
        with storage.sync_lock.hold("sync"):
            pid = os.fork()
            if not pid:
                os.close(writing)
                os.read(reading, 1)  # until the parent is done
                os._exit(0)
        try:
            with open_storage(folder) as other, other.sync_lock.hold("sync"):
                pass
        finally:
            os.close(writing)
            os.close(reading)
            os.waitpid(pid, 0)

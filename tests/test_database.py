"""Opening a library's database and guarding it: how that can go wrong, and what readers and writers see."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.libraries import (
    add_images,
    add_model,
    add_photos,
    new_library,
    open_storage,
    photo,
    unit_vectors,
)
from tests.processes import Process
from tests.unprivileged import reachable_folder, run_unprivileged, unprivileged
from zsindex.errors import (
    LibraryBusy,
    LibraryDamaged,
    LibraryNotFound,
    LibraryReadOnly,
    NotALibrary,
    StorageFailed,
    StorageFull,
)
from zsindex.storage.sqlite import connections, database, failures
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.storage.sqlite.file import APPLICATION_ID, FILE_NAME, PAGE_SIZE
from zsindex.storage.sqlite.storage import SqliteStorage
from zsindex.storage.tables import files, folders, models, settings
from zsindex.upkeep import maintenance

MODULES = ("zsindex.storage.sqlite.database", "zsindex.storage.photos", "alembic.command", "tests.libraries", "faiss")


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """Where there is no library yet."""
    return tmp_path / "library"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty library."""
    return new_library(tmp_path / "library")


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_S", 0.1)
    monkeypatch.setattr(database, "SYNC_TIMEOUT_S", 0.1)


def pragma(folder: Path, name: str) -> object:
    with closing(sqlite3.connect(f"{(folder / FILE_NAME).as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, and the folder itself, byte by byte."""
    found = {str(p): p.read_bytes() if p.is_file() else None for p in (folder, *folder.rglob("*"))}
    return {path: content for path, content in found.items() if not path.endswith(("-shm", "write.lock"))}


def log_of(folder: Path) -> Path:
    return folder / f"{FILE_NAME}-wal"


# --- making one -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["library", "deep/er/library", "a b%20c?mode=ro#d&é", "-x"])
def test_a_library_is_made_where_there_is_none(tmp_path: Path, name: str) -> None:
    nowhere = tmp_path / name
    with open_storage(nowhere) as storage:
        model = add_model(storage)
    assert pragma(nowhere, "journal_mode") == "wal"
    assert pragma(nowhere, "page_size") == PAGE_SIZE
    assert pragma(nowhere, "application_id") == APPLICATION_ID
    with open_storage(nowhere, create=False) as storage:
        assert storage.reads.models() == [model]


def test_an_empty_folder_becomes_a_library(nowhere: Path) -> None:
    nowhere.mkdir()
    with open_storage(nowhere) as storage:
        assert storage.reads.models() == []


@pytest.mark.parametrize(("create", "read_only"), [(False, False), (True, True), (False, True)])
def test_nothing_is_made_unless_asked_for(nowhere: Path, create: bool, read_only: bool) -> None:
    with pytest.raises(LibraryNotFound, match="Make one with: zsindex sync"):
        SqliteDatabase.open(nowhere, create=create, read_only=read_only)
    assert not nowhere.exists()


OPEN_AND_ADD = """
import sys
from pathlib import Path
from tests.libraries import add_model, open_storage
import alembic.command
step()
with open_storage(Path(sys.argv[1])) as storage:
    add_model(storage, sys.argv[2])
"""


def test_several_processes_may_make_the_same_library(nowhere: Path) -> None:
    with Process(OPEN_AND_ADD, nowhere, "a") as a, Process(OPEN_AND_ADD, nowhere, "b") as b:
        for process in (a, b):
            process.wait_for_step()
        for process in (a, b):
            process.go()
        for process in (a, b):
            process.finish()
    with open_storage(nowhere, create=False) as storage:
        assert {row.info.spec.name for row in storage.reads.models()} == {"a", "b"}
        assert storage.problems() == []


def test_several_threads_may_make_the_same_library(nowhere: Path) -> None:
    """Threads start closer together than processes do: between looking for the file and listing the folder."""
    n = 6
    start = threading.Barrier(n)
    caught: list[BaseException] = []

    def work() -> None:
        start.wait()
        try:
            SqliteDatabase.open(nowhere, create=True).close()
        except BaseException as error:  # noqa: BLE001
            caught.append(error)

    threads = [threading.Thread(target=work) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert caught == []
    assert pragma(nowhere, "journal_mode") == "wal"


# --- a creation that was interrupted ----------------------------------------------------------------------------------


def only_a_lock(folder: Path) -> None:
    (folder / "write.lock").touch()
    (folder / "write.holder").write_text("{}", encoding="utf-8")


def an_empty_file(folder: Path) -> None:
    (folder / FILE_NAME).touch()


def no_schema(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


@pytest.mark.parametrize("leave", [only_a_lock, an_empty_file, no_schema])
def test_an_interrupted_creation_is_finished(nowhere: Path, leave: Callable[[Path], None]) -> None:
    nowhere.mkdir()
    leave(nowhere)
    with pytest.raises(LibraryNotFound):
        SqliteDatabase.open(nowhere, create=True, read_only=True)
    with open_storage(nowhere) as storage:
        add_model(storage)
    assert pragma(nowhere, "journal_mode") == "wal"
    assert pragma(nowhere, "page_size") == PAGE_SIZE


def test_a_hot_journal_of_an_interrupted_creation_is_rolled_back(nowhere: Path) -> None:
    """A kill inside of SQLite's own first transaction leaves a rollback journal beside an empty file."""
    nowhere.mkdir()
    an_empty_file(nowhere)
    (nowhere / f"{FILE_NAME}-journal").write_bytes(bytes(512))
    with open_storage(nowhere) as storage:
        assert storage.reads.models() == []


# --- what is no library -----------------------------------------------------------------------------------------------


def a_file(folder: Path) -> None:
    folder.write_text("shopping list", encoding="utf-8")


def a_folder_with_photos(folder: Path) -> None:
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"photo")


def a_text_file(folder: Path) -> None:
    folder.mkdir()
    (folder / FILE_NAME).write_text("not a database " * 100, encoding="utf-8")


def a_short_text_file(folder: Path) -> None:
    folder.mkdir()
    (folder / FILE_NAME).write_text("x", encoding="utf-8")


def a_cut_header(folder: Path) -> None:
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(b"SQLite format 3\0" + bytes(40))


def a_folder_of_that_name(folder: Path) -> None:
    (folder / FILE_NAME).mkdir(parents=True)


def another_programs_database(folder: Path) -> None:
    folder.mkdir()
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        connection.execute("CREATE TABLE precious (x)")


def a_library_without_its_database(folder: Path) -> None:
    (folder / "index").mkdir(parents=True)
    (folder / f"{FILE_NAME}-wal").write_bytes(b"committed, but not yet checkpointed")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (a_file, "it is a file"),
        (a_folder_with_photos, "other things .holiday.jpg."),
        (a_text_file, "not an SQLite database"),
        (a_short_text_file, "not an SQLite database"),
        (a_cut_header, "not an SQLite database"),
        (a_folder_of_that_name, "cannot be read"),
        (another_programs_database, "belongs to another program"),
        (a_library_without_its_database, "other things"),
    ],
)
@pytest.mark.parametrize("create", [True, False])
def test_what_is_no_library_is_refused_and_left_alone(
    nowhere: Path, make: Callable[[Path], None], why: str, create: bool
) -> None:
    make(nowhere)
    before = contents(nowhere)
    with pytest.raises(NotALibrary, match=f"{why}.*Name a library, or a new or empty folder") as caught:
        SqliteDatabase.open(nowhere, create=create)
    assert caught.value.path == nowhere
    assert contents(nowhere) == before


def test_a_library_cannot_be_made_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotALibrary, match="cannot be made"):
        SqliteDatabase.open(tmp_path / "file" / "library", create=True)


def test_a_link_that_leads_nowhere_is_refused(nowhere: Path) -> None:
    nowhere.symlink_to(nowhere.parent / "unmounted")
    with pytest.raises(NotALibrary, match="cannot be made"):
        SqliteDatabase.open(nowhere, create=True)
    assert not nowhere.exists()


@pytest.mark.parametrize("mode", [0o555, 0o311, 0o000], ids=["not writable", "not readable", "closed"])
def test_a_folder_without_permission_is_refused(mode: int) -> None:
    program = """
from pathlib import Path
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.errors import NotALibrary
try:
    SqliteDatabase.open(Path(sys.argv[1]), create=True)
except NotALibrary as error:
    print(error)
"""
    with reachable_folder() as parent:
        (parent / "library").mkdir(mode=mode)
        message = run_unprivileged(program, str(parent / "library"), modules=MODULES)
    assert "ermission denied" in message
    assert "Name a library" in message


# --- reading what cannot be written -----------------------------------------------------------------------------------

READ = """
import json
from pathlib import Path
from tests.libraries import add_model, open_storage
from zsindex.errors import LibraryReadOnly
with open_storage(Path(sys.argv[1]), create=False) as storage:
    try:
        add_model(storage, "new")
    except LibraryReadOnly as error:
        refused = str(error)
    print(json.dumps([storage.writable, storage.reads.files().paths, refused]))
"""


@contextmanager
def read_only_copy(library: Path) -> Iterator[Path]:
    """A copy in a folder where nobody may write, taken as it lies there."""
    with reachable_folder() as parent:
        copy = parent / "library"
        shutil.copytree(library, copy)
        for path in copy.iterdir():
            path.chmod(0o444)
        copy.chmod(0o555)
        yield copy


@pytest.mark.parametrize("with_log", [True, False])
def test_a_read_only_library_can_be_read(folder: Path, *, with_log: bool) -> None:
    with open_storage(folder) as storage:
        paths = add_photos(storage, add_model(storage), unit_vectors(3))
    assert log_of(folder).stat().st_size == 0
    if not with_log:
        log_of(folder).unlink()
        (folder / f"{FILE_NAME}-shm").unlink()
    with read_only_copy(folder) as copy:
        before = contents(copy)
        writable, found, refused = json.loads(run_unprivileged(READ, str(copy), modules=MODULES))
        assert contents(copy) == before
    assert (writable, found) == (False, paths)
    assert "read-only" in refused
    assert "work on a copy of it" in refused


def test_who_may_only_read_does_not_wait_for_who_is_stopped_as_it_opens_the_library(folder: Path) -> None:
    """Between the two system calls with which it takes the right to make the log's index, and to keep others out."""
    to_write, is_open = 120, 128  # bytes of the index that SQLite locks
    with open_storage(folder) as storage:
        paths = add_photos(storage, add_model(storage), unit_vectors(3))
    with read_only_copy(folder) as copy:
        index = copy / f"{FILE_NAME}-shm"
        index.chmod(0o644)
        index.write_bytes(bytes(index.stat().st_size))
        with index.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_SH, 1, is_open)
            fcntl.lockf(file, fcntl.LOCK_EX, 1, to_write)
            timed = f"import time\nbegan = time.monotonic()\n{READ}\nprint(time.monotonic() - began)"
            said, took_s = run_unprivileged(timed, str(copy), modules=MODULES).splitlines()
    assert json.loads(said)[1] == paths
    assert float(took_s) < 9.5, "SQLite waits for 10 s"


def test_a_read_only_library_can_be_read_when_its_writer_was_killed(folder: Path) -> None:
    """What was committed lies in the write-ahead log, which nobody is left to copy into the database."""
    with open_storage(folder) as storage:
        paths = add_photos(storage, add_model(storage), unit_vectors(3))
        assert log_of(folder).stat().st_size > 0
        with read_only_copy(folder) as copy:
            _, found, _ = json.loads(run_unprivileged(READ, str(copy), modules=MODULES))
    assert found == paths


def test_a_log_without_its_index_on_a_read_only_disk_is_an_error_with_a_way_out(folder: Path) -> None:
    """SQLite cannot read the log then. To leave it out would silently lose what was committed last."""
    program = """
from pathlib import Path
from tests.libraries import open_storage
from zsindex.errors import LibraryReadOnly
try:
    with open_storage(Path(sys.argv[1]), create=False) as storage:
        print(storage.reads.files().paths)
except LibraryReadOnly as error:
    print(error)
"""
    with open_storage(folder) as storage:
        add_photos(storage, add_model(storage), unit_vectors(3))
        with read_only_copy(folder) as copy:
            (copy / f"{FILE_NAME}-shm").unlink()
            message = run_unprivileged(program, str(copy), modules=MODULES)
    assert "Make the folder writable, or work on a copy of it" in message


def test_who_may_only_read_sees_what_others_write_meanwhile() -> None:
    program = """
from pathlib import Path
from tests.libraries import open_storage
with open_storage(Path(sys.argv[1]), create=False) as storage:
    for _ in range(3):
        step(len(storage.reads.files()))
    print(len(storage.reads.files()))
"""
    with reachable_folder() as parent:
        folder = parent / "library"
        with open_storage(folder) as storage:
            model = add_model(storage)
            add_photos(storage, model, unit_vectors(2), folder="/a")
        folder.chmod(0o555)
        with Process(unprivileged(program, modules=MODULES), folder) as reader:
            assert reader.wait_for_step() == "2"
            folder.chmod(0o755)  # for us, who need it where the tests do not run as root
            with open_storage(folder) as storage:
                add_photos(storage, model, unit_vectors(3), folder="/b")
                reader.go()
                assert reader.wait_for_step() == "5"
                add_photos(storage, model, unit_vectors(400, seed=1), folder="/c")
                reader.go()
                assert reader.wait_for_step() == "405"
            assert log_of(folder).stat().st_size == 0
            reader.go()
            assert reader.finish() == "405\n"


def test_a_library_can_be_opened_for_reading_only(folder: Path) -> None:
    with open_storage(folder) as storage:
        paths = add_photos(storage, add_model(storage), unit_vectors(3))
    with open_storage(folder, read_only=True) as storage:
        assert storage.reads.files().paths == paths
        with pytest.raises(LibraryReadOnly, match="cannot record a model"):
            add_model(storage, "new")


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    try:
        subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting needs root: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def test_a_library_on_a_disk_mounted_for_reading_only_can_be_read(folder: Path, tmp_path: Path) -> None:
    with open_storage(folder) as storage:
        paths = add_photos(storage, add_model(storage), unit_vectors(3))
    with mounted(tmp_path / "disk", "--bind", "-o", "ro", str(folder)) as disk, open_storage(disk) as storage:
        assert not storage.writable
        assert storage.reads.files().paths == paths
        with pytest.raises(LibraryReadOnly):
            add_model(storage, "new")


# --- transactions -----------------------------------------------------------------------------------------------------


def test_an_open_write_does_not_block_readers_who_see_what_was_before(folder: Path) -> None:
    with open_storage(folder) as writer, open_storage(folder) as other:
        model = add_model(writer)
        before = add_photos(writer, model, unit_vectors(2))
        with writer.database.write("write") as connection:
            connection.execute(sa.delete(files))
            for reader in (writer, other):
                assert reader.reads.files().paths == before
        assert len(other.reads.files()) == 0


def test_a_read_is_one_consistent_view(folder: Path) -> None:
    count = sa.select(sa.func.count()).select_from(files)
    with open_storage(folder) as storage, open_storage(folder) as other:
        model = add_model(storage)
        add_photos(storage, model, unit_vectors(2))
        with other.database.read() as connection:
            assert connection.execute(count).scalar_one() == 2
            add_photos(storage, model, unit_vectors(3), folder="/more")
            assert connection.execute(count).scalar_one() == 2
        assert len(other.reads.files()) == 5


def test_an_exception_takes_the_whole_transaction_back(folder: Path) -> None:
    with open_storage(folder) as storage:
        twice = [{"key": "a", "value": "b"}] * 2
        with pytest.raises(sa.exc.IntegrityError), storage.database.write("write") as connection:
            connection.execute(sa.insert(settings), twice)
        assert storage.reads.setting("a") is None
        with storage.database.write("write again") as connection:
            connection.execute(sa.insert(settings).values(key="a", value="c"))
        assert storage.reads.setting("a") == "c"


def test_foreign_keys_are_enforced(folder: Path) -> None:
    with open_storage(folder) as storage:
        with pytest.raises(sa.exc.IntegrityError), storage.database.write("write") as connection:
            connection.execute(sa.insert(files).values(folder_id=77, name="a", size=1, mtime_ns=1))
        add_photos(storage, add_model(storage), unit_vectors(1))
        with pytest.raises(sa.exc.IntegrityError), storage.database.write("write") as connection:
            connection.execute(sa.delete(folders))


def test_readers_can_neither_write_nor_checkpoint(folder: Path) -> None:
    with open_storage(folder) as storage, open_storage(folder) as other:
        add_model(storage)
        size = log_of(folder).stat().st_size
        assert size > 0
        with pytest.raises(LibraryReadOnly), other.database.read() as connection:
            connection.execute(sa.delete(models))
        raw = sqlite3.connect(f"{(folder / FILE_NAME).as_uri()}?mode=ro", uri=True)
        with closing(raw), pytest.raises(sqlite3.OperationalError):
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert log_of(folder).stat().st_size == size


def test_what_the_system_refused_once_is_not_told_as_a_missing_permission(folder: Path) -> None:
    """SQLite opens a log for reading alone where it may not open one more file at that moment. Written to, it says that
    the database is read-only, though it is not.
    """
    cause = sqlite3.OperationalError("attempt to write a readonly database")
    cause.sqlite_errorcode = sqlite3.SQLITE_READONLY
    with open_storage(folder) as storage:
        add_model(storage)
        with (
            pytest.raises(StorageFailed, match="could not be opened for writing, though it can be now"),
            failures.translated(folder),
        ):
            raise cause
        with pytest.raises(LibraryReadOnly), failures.translated(folder, reads=True):
            raise cause


def test_a_folder_that_may_not_be_looked_into_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(LibraryReadOnly, match="Permission denied"):
        SqliteStorage.is_at(folder)


def test_the_last_reader_leaves_the_log_of_a_killed_writer_to_the_next_writer(folder: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from tests.libraries import add_model, open_storage
with open_storage(Path(sys.argv[1])) as storage:
    add_model(storage)
    os._exit(0)
"""
    with Process(program, folder) as process:
        process.finish()
    assert log_of(folder).stat().st_size > 0
    before = (folder / FILE_NAME).read_bytes()
    with open_storage(folder) as storage:
        assert len(storage.reads.models()) == 1
    assert (folder / FILE_NAME).read_bytes() == before
    assert log_of(folder).stat().st_size > 0
    with open_storage(folder) as storage:
        add_model(storage, "another")
    assert log_of(folder).stat().st_size == 0
    with open_storage(folder, create=False) as storage:
        assert len(storage.reads.models()) == 2


def test_looks_share_connections_and_leave_none_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def counted(*arguments: object, **options: object) -> sqlite3.Connection:
        made.append(connect(*arguments, **options))  # type: ignore[call-overload]
        return made[-1]

    def is_open(connection: sqlite3.Connection) -> bool:
        try:
            connection.execute("SELECT 1")
        except sqlite3.ProgrammingError:
            return False
        return True

    with closing(SqliteDatabase.open(folder, create=False)) as opened:
        monkeypatch.setattr(sqlite3, "connect", counted)
        with opened.reading() as one, opened.reading() as other:
            assert one is not other
        for _ in range(3):
            with opened.reading() as again:
                assert again in (one, other)
                assert again.in_transaction
            assert not again.in_transaction
        assert len(made) == 1  # opening the library had made the other
        with pytest.raises(ZeroDivisionError), opened.reading() as failed:
            raise ZeroDivisionError
        assert not is_open(failed)
        lent = opened.reading()
        late = lent.__enter__()
    assert is_open(late)
    lent.__exit__(None, None, None)
    assert not any(map(is_open, [one, other, late]))


def test_closing_twice_does_no_harm(folder: Path) -> None:
    opened = SqliteDatabase.open(folder, create=True)
    opened.close()
    opened.close()


def test_vacuum_gives_the_room_of_deleted_rows_back(folder: Path) -> None:
    opened = SqliteDatabase.open(folder, create=True)
    with closing(opened):
        storage = SqliteStorage(opened)
        add_images(storage, add_model(storage), unit_vectors(12_000))
        full = opened.size_bytes()
        storage.photos.prune()
        opened.vacuum()
    assert opened.size_bytes() < full / 3
    assert pragma(folder, "application_id") == APPLICATION_ID
    assert pragma(folder, "journal_mode") == "wal"


def test_the_size_on_disk_counts_the_log_but_no_backups(folder: Path) -> None:
    opened = SqliteDatabase.open(folder, create=True)
    with closing(opened):
        add_model(SqliteStorage(opened))
        (folder / f"{FILE_NAME}.backup-0001-20250101T000000").write_bytes(bytes(10_000_000))
        assert log_of(folder).stat().st_size < opened.size_bytes() < 10_000_000


# --- a full disk ------------------------------------------------------------------------------------------------------


def test_a_write_that_does_not_fit_is_taken_back_and_says_so(folder: Path) -> None:
    with open_storage(folder) as storage:
        model = add_model(storage)
        kept = add_photos(storage, model, unit_vectors(10))
        with storage.database.write("limit") as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StorageFull, match="Everything up to the last batch is kept: free some space"):
            add_photos(storage, model, unit_vectors(500, seed=1), folder="/more")
        assert storage.reads.files().paths == kept
        assert storage.problems() == []
    with open_storage(folder) as storage:
        add_photos(storage, model, unit_vectors(500, seed=1), folder="/more")
        assert len(storage.reads.files()) == 510


def test_a_disk_that_fills_up_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    kept: list[str] = []
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as disk:
        folder = disk / "library"
        with open_storage(folder) as storage:
            model = add_model(storage)
            try:
                for batch in range(1000):
                    kept += add_photos(storage, model, unit_vectors(100, seed=batch), folder=f"/{batch:03d}")
                pytest.fail("the disk did not fill up")
            except StorageFull:
                pass
            assert len(kept) >= 100
            assert storage.reads.files().paths == kept
            with pytest.raises(StorageFull):
                storage.reads.save_prompts(["x" * 2_000_000], unit_vectors(1), model.id, truncated=[False])
            assert storage.reads.files().paths == kept
        with open_storage(folder, create=False) as storage:
            assert storage.reads.files().paths == kept
            assert storage.problems() == []


def test_a_library_cannot_be_made_on_a_full_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=64k", "tmpfs") as disk:
        with pytest.raises(OSError, match="No space"):
            (disk / "filler").write_bytes(bytes(1 << 20))
        with pytest.raises(StorageFull):
            SqliteDatabase.open(disk / "library", create=True)
        (disk / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        with open_storage(disk / "library") as storage:
            assert storage.reads.models() == []


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(folder: Path) -> Path:
    """A library of many pages, all but the first few of which are noise."""
    with open_storage(folder) as storage:
        model = add_model(storage)
        add_photos(storage, model, unit_vectors(100))
        add_images(storage, model, unit_vectors(12_000))
    with (folder / FILE_NAME).open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 2)
        file.write(b"\xa5" * (size // 4))
    return folder


def test_a_damaged_database_says_what_to_do(damaged: Path) -> None:
    with open_storage(damaged) as storage:
        model = storage.reads.models()[0]
        with pytest.raises(LibraryDamaged, match="Run zsindex check"):
            storage.reads.embeddings_after(model, 0)


def test_check_reports_damage_and_does_not_write(damaged: Path) -> None:
    before = (damaged / FILE_NAME).read_bytes()
    opened = SqliteDatabase.open(damaged, create=False)
    with closing(opened):
        for fix in (False, True):
            report = maintenance.check(SqliteStorage(opened), fix=fix)
            assert not report.ok
            assert report.problems
            assert report.fixed == ()
    assert (damaged / FILE_NAME).read_bytes() == before


def test_a_cut_database_is_damaged(folder: Path) -> None:
    with open_storage(folder) as storage:
        model = add_model(storage)
        add_photos(storage, model, unit_vectors(100))
        add_images(storage, model, unit_vectors(5000))
    os.truncate(folder / FILE_NAME, PAGE_SIZE * 3)
    with pytest.raises(LibraryDamaged), open_storage(folder) as storage:
        storage.reads.files()


def test_a_destroyed_first_page_is_damaged(folder: Path) -> None:
    SqliteDatabase.open(folder, create=True).close()
    with (folder / FILE_NAME).open("rb+") as file:
        file.seek(100)
        file.write(b"\xa5" * (PAGE_SIZE - 100))
    with pytest.raises(LibraryDamaged):
        SqliteDatabase.open(folder, create=True)


# --- two writers ------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
import zsindex.storage.sqlite.database
zsindex.storage.sqlite.database.SYNC_TIMEOUT_S = 0.1
database = zsindex.storage.sqlite.database.SqliteDatabase.open(Path(sys.argv[1]), create=False)
with database.write("store photos") if sys.argv[2] == "write" else database.sync_lock.hold("sync"):
    step()
"""


@pytest.mark.usefixtures("short_timeouts")
def test_a_second_writer_is_told_who_the_first_one_is(folder: Path) -> None:
    with open_storage(folder) as storage:
        add_model(storage)
        with Process(HOLD, folder, "write") as holder:
            holder.wait_for_step()
            with pytest.raises(LibraryBusy, match=f"process {holder.pid} on .*: store photos, since .*try again"):
                add_model(storage, "new")
            assert len(storage.reads.models()) == 1
            holder.kill()
            add_model(storage, "new")
        assert len(storage.reads.models()) == 2


@pytest.mark.usefixtures("short_timeouts")
def test_a_second_sync_is_told_who_the_first_one_is_and_other_writes_go_on(folder: Path) -> None:
    opened = SqliteDatabase.open(folder, create=True)
    with closing(opened), Process(HOLD, folder, "sync") as holder:
        holder.wait_for_step()
        with (
            pytest.raises(LibraryBusy, match=f"process {holder.pid} on .*: sync, since"),
            opened.sync_lock.hold("sync"),
        ):
            pytest.fail("two held it")
        add_model(SqliteStorage(opened))
        holder.kill()
        with opened.sync_lock.hold("sync"):
            pass


@pytest.mark.usefixtures("short_timeouts")
def test_a_second_thread_is_told_so(folder: Path) -> None:
    held, done = threading.Event(), threading.Event()
    opened = SqliteDatabase.open(folder, create=True)

    def hold() -> None:
        with opened.write("hold"):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    with closing(opened):
        thread.start()
        try:
            held.wait()
            with pytest.raises(LibraryBusy, match="another thread of this process"):
                add_model(SqliteStorage(opened))
        finally:
            done.set()
            thread.join()
        add_model(SqliteStorage(opened))


@pytest.mark.usefixtures("short_timeouts")
def test_another_program_that_writes_to_the_database_is_waited_for_in_vain(folder: Path) -> None:
    with open_storage(folder) as storage:
        with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(LibraryBusy, match="another program has the database open"):
                add_model(storage)
        add_model(storage)


def test_a_lock_may_be_held_several_times_over_by_one_thread(folder: Path) -> None:
    opened = SqliteDatabase.open(folder, create=True)
    with closing(opened):
        with opened.sync_lock.hold("outer"):
            with opened.sync_lock.hold("inner"):
                pass
            with pytest.raises(ZeroDivisionError), opened.sync_lock.hold("failing"):
                1 / 0  # noqa: B018
            with (
                Process(HOLD, folder, "sync") as other,
                pytest.raises(AssertionError, match="the process ended with 1"),
            ):
                other.wait_for_step()
        with Process(HOLD, folder, "sync") as other:
            assert other.wait_for_step() == "ready"
            other.finish()


def test_a_note_that_cannot_be_read_does_not_hide_that_the_library_is_busy(folder: Path, short_timeouts: None) -> None:
    opened = SqliteDatabase.open(folder, create=True)
    with closing(opened), Process(HOLD, folder, "sync") as holder:
        holder.wait_for_step()
        for note in ("", "{", "[]", '{"pid": 1}', "null"):
            (folder / "sync.holder").write_text(note, encoding="utf-8")
            with pytest.raises(LibraryBusy, match=r"\(another process; waited"), opened.sync_lock.hold("sync"):
                pytest.fail("two held it")


def test_photos_of_one_batch_are_stored_together_or_not_at_all(folder: Path) -> None:
    with open_storage(folder) as storage:
        model = add_model(storage)
        batch = [photo(f"/{i}.png", vector=unit_vectors(1, seed=i)[0]) for i in range(3)]
        with pytest.raises(sa.exc.IntegrityError):
            storage.photos.save([*batch, batch[0]], model.id)  # the same path twice violates the unique constraint
        assert len(storage.reads.files()) == 0
        assert storage.photos.model_sizes(model)["images"] == 0


def test_opening_twice_in_a_process_keeps_the_locks(nowhere: Path) -> None:
    """Where they were lost, another process took itself for the last one and deleted the log that this one writes."""
    log = nowhere / f"{FILE_NAME}-wal"
    with closing(SqliteDatabase.open(nowhere, create=True)) as first:
        with first.write("test") as connection:
            connection.execute(sa.insert(settings).values(key="before", value="1"))
        SqliteDatabase.open(nowhere, create=False).close()
        inode = log.stat().st_ino
        elsewhere = (
            "import sys; from pathlib import Path; from zsindex.storage.sqlite.database import SqliteDatabase\n"
            "opened = SqliteDatabase.open(Path(sys.argv[1]), create=False)\n"
            "with opened.write('test') as c: c.exec_driver_sql(\"DELETE FROM settings WHERE key = 'none'\")\n"
            "opened.close()"
        )
        subprocess.run([sys.executable, "-c", elsewhere, str(nowhere)], check=True)
        assert log.exists()
        assert log.stat().st_ino == inode
        with first.write("test") as connection:
            connection.execute(sa.insert(settings).values(key="after", value="2"))
    with closing(SqliteDatabase.open(nowhere, create=False)) as again, again.read() as connection:
        found = connection.execute(sa.select(settings.c.key).where(settings.c.key.in_(["before", "after"]))).scalars()
        assert sorted(found) == ["after", "before"]


class Interrupting:
    """A value at which SQLite's driver is interrupted, as by Ctrl-C."""

    def __conform__(self, protocol: object) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize("first", ["writing", "write"])
@pytest.mark.parametrize("then", ["writing", "write"])
def test_writing_goes_on_after_a_ctrl_c_in_a_statement(folder: Path, first: str, then: str) -> None:
    statement = "INSERT INTO settings (key, value) VALUES ('a', ?)"

    def insert(opened: SqliteDatabase, how: str, value: object) -> None:
        if how == "writing":
            with opened.writing("try it") as plain:
                plain.execute(statement, (value,))
        else:
            with opened.write("try it") as connection:
                connection.exec_driver_sql(statement, (value,))

    with closing(SqliteDatabase.open(folder, create=False)) as opened:
        with pytest.raises(KeyboardInterrupt):
            insert(opened, first, Interrupting())
        assert SqliteStorage(opened).reads.setting("a") is None
        insert(opened, then, "1")
        assert SqliteStorage(opened).reads.setting("a") == "1"
    with closing(SqliteDatabase.open(folder, create=False)) as again:
        assert SqliteStorage(again).reads.setting("a") == "1"


@pytest.mark.parametrize("first", ["writing", "write"])
def test_what_is_jotted_down_is_a_write_like_any_other(folder: Path, first: str) -> None:
    with closing(SqliteDatabase.open(folder, create=False)) as opened:

        def set_value(how: str, value: str) -> None:
            statement = f"INSERT OR REPLACE INTO settings (key, value) VALUES ('a', '{value}')"
            if how == "writing":
                with opened.writing("try it") as plain:
                    plain.execute(statement)
            else:
                with opened.write("try it") as connection:
                    connection.exec_driver_sql(statement)

        second = {"writing": "write", "write": "writing"}[first]
        for number, how in enumerate([first, second, first]):
            set_value(how, str(number))
            assert SqliteStorage(opened).reads.setting("a") == str(number)
        with pytest.raises(ZeroDivisionError), opened.writing("try it") as plain:
            assert plain.execute("DELETE FROM settings").rowcount / 0
        assert SqliteStorage(opened).reads.setting("a") == "2"
        with pytest.raises(sqlite3.OperationalError), opened.writing("try it") as plain:
            plain.execute("INSERT INTO nothing VALUES (1)")
        set_value(second, "3")
        assert SqliteStorage(opened).reads.setting("a") == "3"
    assert log_of(folder).stat().st_size == 0  # closed under the lock, with a last checkpoint
    with closing(SqliteDatabase.open(folder, create=False, read_only=True)) as opened:  # noqa: SIM117
        with pytest.raises(LibraryReadOnly, match="try it"), opened.writing("try it"):
            pass

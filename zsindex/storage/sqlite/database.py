"""Opens `library.db`, guards it, and turns what SQLite says into errors a person can act on.

Reading and writing use separate connections. Readers open the file with ``mode=ro``, so that they cannot checkpoint:
all writing and checkpointing happens on one connection, under `write.lock` (see `zsindex.storage.sqlite.lock`). In WAL
mode writers never block readers. Every write is one `BEGIN IMMEDIATE` transaction: kept whole, or not at all.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from zsindex import atomic
from zsindex.errors import (
    LibraryBusy,
    LibraryClosed,
    LibraryDamaged,
    LibraryError,
    LibraryForked,
    LibraryNotFound,
    LibraryReadOnly,
    LibraryTooNew,
    ModelPruned,
    NotALibrary,
    StorageFailed,
    StorageFull,
)
from zsindex.storage import processes
from zsindex.storage.failures import NO_PERMISSION, OF_THE_MACHINE, failure, found_by_trying
from zsindex.storage.interrupts import PutOff
from zsindex.storage.sqlite import schema, system_errors
from zsindex.storage.sqlite.legible import legible
from zsindex.storage.sqlite.lock import FolderLock
from zsindex.storage.stored import Unreadable

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from zsindex.storage.sqlite.dialect import SqliteDialect

FILE_NAME = "library.db"
APPLICATION_ID = 0x7A736978  # "zsix"; SQLite keeps it in the file's header
PAGE_SIZE = 16_384  # a 512-d vector is 2 KB: at SQLite's usual 4 KB almost half of every page would stay empty
# Digests are scattered over their index. With SQLite's usual 2 MB a large import writes each of its pages many times in
# one transaction.
WRITE_CACHE_KIB = 65_536
# What is left of the log when nobody needs it any more, though one large transaction, or a long question, made it grow.
MOST_LOG_BYTES = 1 << 26
SYNCHRONOUS = "FULL"  # a committed batch survives a power cut, too
BUSY_TIMEOUT_S = 60.0
SYNC_TIMEOUT_S = 3.0
# How long who may not write tries to read beside a log that others make and remove.
OTHERS_LOG_S = 0.5
# How long a reader waits for one who opens the database: nobody takes so long who is not stopped.
OPENING_S = 0.5
# How long it is remembered that somebody does: SQLite notices only after ten seconds at some instants.
KEPT_OUT_S = 10.0
_LOG_HEADER, _FRAME_HEADER, _INDEX_PAGE = 32, 24, 32_768  # bytes
_SAME_TIME_NS = 20_000_000  # file systems are behind by some milliseconds


class SqliteDatabase:
    """An open `library.db`. Make one with `SqliteDatabase.open`; close it when done."""

    def __init__(self, folder: Path, *, writable: bool) -> None:
        self.folder = self.place = folder
        self.writable = writable
        self.sync_lock = FolderLock(folder, "sync", timeout_s=SYNC_TIMEOUT_S)
        self._write_lock = FolderLock(folder, "write", timeout_s=BUSY_TIMEOUT_S, put_off=True)
        self._write_lock_at_once = FolderLock(folder, "write", timeout_s=0, put_off=True)
        # In a read-only folder somebody else may be allowed to write, which an "immutable" connection would never
        # notice: so each transaction opens its own and looks for the log again.
        self._keeps_connections = not _is_read_only_folder(folder, writable=writable)
        self._kept_out_until = 0.0  # of time.monotonic()
        self._idle: list[sqlite3.Connection] | None = []  # None once it is closed
        self._guard = threading.Lock()
        self._in_work: set[object] = set()  # transactions, of any thread
        self._pid = processes.current()
        self._read_engine: Engine | None = None
        self._write_engine: Engine | None = None
        self._write_connection: sqlite3.Connection | None = (
            None  # used under the lock alone, by `write` and by `writing`
        )
        self._claimed: tuple[int, int] | None = None
        _databases.add(self)

    @classmethod
    def open(cls, folder: Path, *, create: bool, read_only: bool = False) -> SqliteDatabase:
        """Open the library in `folder`, making it if `create`, and bring its schema up to date.

        Raises:
            LibraryNotFound, NotALibrary, LibraryTooNew, LibraryReadOnly, LibraryDamaged, LibraryBusy, StorageFull,
            StorageFailed, LibraryForked
        """
        file = folder / FILE_NAME
        claim = _claim(folder)
        if claim is not None and _is_half_made(folder):
            _release(claim)
            if read_only or not os.access(folder, os.W_OK):
                raise LibraryNotFound(folder)  # it is being made, or that was interrupted; nothing is in it
            _roll_back(folder)
            claim = _claim(folder)
        if claim is None:
            if not create or read_only:
                raise LibraryNotFound(folder)
            _create(folder)
            if (claim := _claim(folder)) is None:
                raise LibraryNotFound(folder)
        writable = not read_only and os.access(folder, os.W_OK) and os.access(file, os.W_OK)
        database = cls(folder, writable=writable)
        database._claimed = claim
        try:
            database._bring_up_to_date()
        except BaseException:
            database.close()
            raise
        return database

    @cached_property
    def dialect(self) -> SqliteDialect:
        """What SQL for any database asks of this one; imported with SQLAlchemy."""
        from zsindex.storage.sqlite.dialect import SqliteDialect

        return SqliteDialect()

    def close(self) -> None:
        """Close all connections; what is asked for from now on is refused. Transactions that are in work in other
        threads go on to their end, and the last of them closes what it used. The last writer's checkpoint happens
        under the lock, like every other.
        """
        if self._pid != processes.current():
            return
        with self._guard:
            idle, self._idle = self._idle or [], None
            in_work = bool(self._in_work)
        for connection in idle:
            connection.close()
        if not in_work:
            self._let_go()

    def require_open(self) -> None:
        """Raise `LibraryClosed` after `close`, and `LibraryForked` in a child of the process that opened it."""
        if self._pid != processes.current():
            raise LibraryForked(self.folder)
        if self._idle is None:
            raise LibraryClosed(self.folder)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Around everything that uses a connection.

        Raises:
            LibraryClosed, LibraryForked
        """
        if self._pid != processes.current():  # before the guard, which nobody in a child may ever release
            raise LibraryForked(self.folder)
        work = object()
        try:
            with self._guard:
                if self._idle is None:
                    raise LibraryClosed(self.folder)
                self._in_work.add(work)
            yield
        finally:
            with self._guard:
                self._in_work.discard(work)
                is_last = self._idle is None and not self._in_work
            if is_last:
                self._let_go()

    def _let_go(self) -> None:
        with self._guard:  # once, also where two threads close it
            reader, self._read_engine = self._read_engine, None
            writer, self._write_engine = self._write_engine, None
            writing, self._write_connection = self._write_connection, None
            claimed, self._claimed = self._claimed, None
        try:
            if reader is not None:
                reader.dispose()
            if writing is not None:
                self._close_writer(writing, writer)
        finally:
            if claimed is not None:
                _release(claimed)

    def _close_writing(self) -> None:
        """After an exception, which may hold a cursor that is not at its end: SQLite then goes on to see what was there
        when that began, and refuses to write as soon as another process has.
        """
        writer, self._write_engine = self._write_engine, None
        writing, self._write_connection = self._write_connection, None
        if writing is not None:
            self._close_writer(writing, writer)

    def _close_writer(self, writing: sqlite3.Connection, writer: Engine | None) -> None:
        with ExitStack() as stack:
            # Who does not let go of the lock has the database open, so that this is not its last connection, and
            # nothing is checkpointed.
            with suppress(LibraryBusy, LibraryReadOnly, StorageFailed, StorageFull):
                stack.enter_context(self._write_lock.hold("close the library"))
                # This keeps out nobody and waits for nobody.
                with suppress(sqlite3.Error):
                    writing.execute("PRAGMA busy_timeout = 0")
                    writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with suppress(sqlite3.Error, OSError):
                stack.enter_context(closing(_beside(self.folder)))
            if writer is not None:
                writer.dispose()
            writing.close()

    # --- around a fork ------------------------------------------------------------------------------------------------

    def part(self) -> None:
        """Before a fork: keep others from connections, and close those that nobody uses. SQLite thinks of a process's
        locks as its own, also in a child, which has none: even what the child opens anew would have none.
        """
        self._guard.acquire()
        if self._in_work:
            return
        idle, writing = self._idle or [], self._write_connection
        for connection in idle:
            connection.close()
        idle.clear()
        if self._read_engine is not None:
            self._read_engine.dispose()
        if writing is not None:
            writer, self._write_engine, self._write_connection = self._write_engine, None, None
            self._close_writer(writing, writer)

    def go_on(self) -> None:
        """After a fork, in both processes."""
        self._guard.release()

    def leave(self) -> list[object]:
        """In the child: what it must never close. It may not open the same file anew then."""
        if not self._in_work:
            return []
        if self._claimed is not None:
            _inherited.add(self._claimed)
        return [self._write_connection, self._read_engine, self._write_engine, *(self._idle or [])]

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one consistent view, never blocked by a writer."""
        with self._working(), _translated(self.folder):
            with self._guard:
                if self._read_engine is None:
                    from zsindex.storage.sqlite import engine as engines

                    self._read_engine = engines.reading(
                        self._connect, pooled=self._keeps_connections, take=_Reading.take
                    )
                reader = self._read_engine
            with reader.begin() as connection:
                used = connection.connection.driver_connection
                with _unchanged(used):
                    yield connection
            if isinstance(used, _Reading) and not isinstance(used, _Unlocked):
                used.is_used_up = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The same as `read`, without SQLAlchemy, which takes longer to import than a cached question to answer."""
        with self._working(), _translated(self.folder):
            with self._guard:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self._connect()
            try:
                connection.execute("BEGIN")
                with _unchanged(connection):
                    yield connection
                connection.rollback()
            except BaseException as error:
                system_errors.note(error, connection)
                connection.close()
                raise
            with self._guard:
                if self._idle is not None and self._keeps_connections and not isinstance(connection, _Unlocked):
                    self._idle.append(connection)
                    return
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        kept_out = time.monotonic() < self._kept_out_until
        connection = _connect_to_read(self.folder, writable=self.writable, kept_out=kept_out)
        if isinstance(connection, _Unlocked) and connection.kept_out and not kept_out:
            self._kept_out_until = time.monotonic() + KEPT_OUT_S
        return connection

    @contextmanager
    def write(self, action: str) -> Iterator[Connection]:
        """A write transaction under the writer lock; rolled back as a whole if anything goes wrong.

        Args:
            action: completes "cannot …" in the error of a read-only library.
        """
        self.require_writable(action)
        with self._working(), self._write_lock.hold(action), _translated(self.folder):
            self.require_open()  # it may have been closed while this waited for the lock
            if self._write_engine is None:
                from zsindex.storage.sqlite import engine as engines

                self._write_engine = engines.writing(self._connect_to_write)
            try:
                with self._write_engine.begin() as connection:
                    yield connection
            except BaseException:
                self._close_writing()
                raise

    @contextmanager
    def writing(self, action: str) -> Iterator[sqlite3.Connection]:
        """The same as `write`, without SQLAlchemy; see `reading`."""
        self.require_writable(action)
        with self._working(), self._write_lock.hold(action), _translated(self.folder):
            self.require_open()
            connection = self._connect_to_write()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.commit()
            except BaseException as error:
                system_errors.note(error, connection)
                connection.rollback()
                self._close_writing()
                raise

    @contextmanager
    def writing_at_once(self, action: str) -> Iterator[sqlite3.Connection]:
        """The same as `writing`, of what may be lost in a power cut: without waiting, neither for others nor for the
        disk.

        Raises:
            LibraryBusy: somebody else writes.
        """
        self.require_writable(action)
        with self._working(), self._write_lock_at_once.hold(action), _translated(self.folder):
            self.require_open()
            connection = self._connect_to_write()
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA synchronous = NORMAL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            finally:
                connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
                connection.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")

    def _connect_to_write(self) -> sqlite3.Connection:
        """The one connection that writes; a new one where SQLAlchemy has closed it, as it does after a Ctrl-C."""
        if self._write_connection is None or _is_closed(self._write_connection):
            self._write_connection = _connect_to_write(self.folder)
        return self._write_connection

    def require_writable(self, action: str) -> None:
        """Raise `LibraryReadOnly` unless writing is possible; `action` completes "cannot …"."""
        self.require_open()
        if not self.writable:
            raise LibraryReadOnly(self.folder, action)

    def size_bytes(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        return sum(size_of(f) for f in self.folder.glob(f"{FILE_NAME}*") if "backup" not in f.name)

    def backups(self) -> list[Path]:
        """Copies from before upgrades of the schema, oldest first; see `_back_up`."""
        self.require_open()
        return sorted(self.folder.glob(f"{FILE_NAME}.backup-*"))

    def vacuum(self) -> None:
        """Give the pages of deleted rows back to the disk."""
        self.require_writable("vacuum")
        # Outside of a transaction, so past SQLAlchemy, which would begin one.
        with (
            self._working(),
            self._write_lock.hold("vacuum"),
            _translated(self.folder),
            closing(_beside(self.folder)),
            _opened(self.folder / FILE_NAME, timeout=BUSY_TIMEOUT_S) as file,
        ):
            file.execute("VACUUM")

    def _bring_up_to_date(self) -> None:
        revision = self._revision()
        if revision == schema.HEAD:
            return
        if revision is not None and not schema.is_one(revision):
            raise LibraryDamaged(self.folder, f"{revision!r} is no version of its schema")
        if revision is not None and schema.is_newer(revision):
            raise LibraryTooNew(self.folder, found=revision, newest_known=schema.HEAD)
        if revision is None and not self.writable:
            raise LibraryNotFound(self.folder)  # a process was stopped while it made the library; nothing is in it
        self.require_writable(f"upgrade it from schema {revision} to {schema.HEAD}")
        with self._write_lock.hold("upgrade the schema"), _translated(self.folder):
            revision = self._revision()
            if revision == schema.HEAD:
                return  # another process was faster
            if revision is not None:
                self._backup(f"{FILE_NAME}.backup-{revision}")
            from zsindex.storage.sqlite import engine as engines

            engine = engines.writing(partial(_connect_to_write, self.folder, foreign_keys=False))
            try:
                with engine.begin() as connection:
                    schema.upgrade(connection)
            finally:
                engine.dispose()
                self._forget_tables()

    def _forget_tables(self) -> None:
        """Close connections that know the tables of an earlier schema. One of them whose next read fails would say that
        there is no such table, and not why.
        """
        with self._guard:
            idle, self._idle = self._idle or [], [] if self._idle is not None else None
        for connection in idle:
            connection.close()

    def _revision(self) -> str | None:
        with self.reading() as connection:
            return schema.current_revision(connection)

    def _backup(self, name: str) -> None:
        """Copy the database through SQLite's backup API, which sees the write-ahead log too."""
        # One name for all attempts: each takes what a kill has left of those before it away.
        temporary = self.folder / f"{name}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            with (
                _opened(_uri(self.folder, "mode=ro"), uri=True) as source,
                _opened(temporary) as target,
            ):
                target.execute("PRAGMA synchronous = FULL")
                target.execute("PRAGMA journal_mode = MEMORY")  # a file of it would be left by a kill
                source.backup(target)
            temporary.replace(self.folder / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
            atomic.sync_folder(self.folder)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


# Database files that this process has open, by device and inode. POSIX takes a process's locks on a file away when it
# closes any descriptor of it: another process would think itself the last one, and delete the log that this one writes.
_open_files: Counter[tuple[int, int]] = Counter()
_claims = threading.RLock()

# Those of them that a parent's thread was using when this process was forked off.
_inherited: set[tuple[int, int]] = set()
_databases: WeakSet[SqliteDatabase] = WeakSet()
_parted: list[SqliteDatabase] = []


def _before_fork() -> None:
    with PutOff():
        _claims.acquire()
        for database in list(_databases):
            database.part()
            _parted.append(database)


def _after_fork_in_parent() -> None:
    with PutOff():
        while _parted:
            _parted.pop().go_on()
        _claims.release()


def _after_fork_in_child() -> None:
    left = [thing for database in _parted for thing in database.leave() if thing is not None]
    if left:
        import ctypes

        # Closing a connection in work would undo what the parent is doing in the memory that both share. Nothing that
        # refers to it here can be relied on to the end of the process but a count that is never paid back.
        for thing in left:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    _after_fork_in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _claim(folder: Path) -> tuple[int, int] | None:
    """Note that the database in `folder` is going to be open, so that its file is read through SQLite alone from then
    on. None where there is no library.
    """
    with _claims:
        if not _is_library(folder):
            return None
        try:
            claim = _identity(folder / FILE_NAME)
        except OSError as error:
            raise _unreachable(folder, error) from error
        if claim in _inherited:
            raise LibraryForked(folder, can_open=False)
        _open_files[claim] += 1
        return claim


def _release(claim: tuple[int, int]) -> None:
    with _claims:
        _open_files[claim] -= 1


def size_of(file: Path) -> int:
    """Bytes of a file; 0 if it is gone: logs come and go while others work."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _identity(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino


def _is_library(folder: Path) -> bool:
    """Whether `folder` holds a library; False where one could be made.

    Raises:
        NotALibrary: something else is there.
    """
    file = folder / FILE_NAME
    try:
        if not folder.exists():
            return False
        if not folder.is_dir():
            raise NotALibrary(folder, "it is a file; a library is a folder")
        if not file.exists():
            strangers = sorted(p.name for p in folder.iterdir() if not p.name.startswith("write."))
            # Looked for once more: another process may have made it since.
            if strangers and not file.exists():
                raise NotALibrary(folder, f"it holds other things ({', '.join(strangers[:3])})")
            return False
        with _claims:
            if _open_files[_identity(file)]:
                return True
            with file.open("rb") as opened:
                header = opened.read(100)
    except OSError as error:
        raise _unreachable(folder, error) from error
    if not header:
        return False  # a process was stopped while it made the library; nothing is in it
    if not header.startswith(b"SQLite format 3\0") or len(header) < 100:
        raise NotALibrary(folder, f"its {FILE_NAME} is not an SQLite database")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise NotALibrary(folder, f"its {FILE_NAME} belongs to another program")
    return True


def _unreachable(folder: Path, error: OSError) -> LibraryError:
    if error.errno in OF_THE_MACHINE:
        return failure(folder, "open it", error)
    return NotALibrary(folder, f"it cannot be read ({error.strerror})")


def _create(folder: Path) -> None:
    """Make an empty database with its schema. Others who want the same folder wait, and find it made."""
    lock = FolderLock(folder, "write", timeout_s=BUSY_TIMEOUT_S, put_off=True)
    try:
        new = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for place in new:  # or a power cut could take all that is stored from now on
            atomic.sync_folder(place.parent)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with lock.hold("make the library"), _translated(folder):
            if _is_library(folder):
                return
            with _opened(folder / FILE_NAME) as connection:
                connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # cannot be changed later
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    except OSError as error:
        if error.errno in OF_THE_MACHINE:
            raise failure(folder, "make it", error) from error
        raise NotALibrary(folder, f"it cannot be made ({error.strerror})") from error


def _is_half_made(folder: Path) -> bool:
    """Whether a process is making the library, or was stopped in that: later there is a log instead of a journal."""
    try:
        (folder / f"{FILE_NAME}-journal").stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unreachable(folder, error) from error
    return True


def _roll_back(folder: Path) -> None:
    """Take back what a process began that was stopped while it made the library, which readers may not do."""
    with FolderLock(folder, "write", timeout_s=BUSY_TIMEOUT_S, put_off=True).hold("make the library"):
        if _is_half_made(folder):
            with (
                _translated(folder),
                _opened(folder / FILE_NAME, timeout=BUSY_TIMEOUT_S) as file,
            ):
                file.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _uri(folder: Path, parameters: str) -> str:
    return f"{(folder / FILE_NAME).absolute().as_uri()}?{parameters}"


def _connect(
    file: Path | str, *, timeout: float = 0.0, uri: bool = False, kind: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            file, uri=uri, timeout=timeout, isolation_level=None, check_same_thread=False, factory=kind
        )

    try:
        return connect()
    except sqlite3.OperationalError:
        # There is no connection that could be asked what the system said. If that lasts, trying finds it.
        return connect()


@contextmanager
def _opened(file: Path | str, *, timeout: float = 0.0, uri: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection for a ``with`` block."""
    with closing(_connect(file, timeout=timeout, uri=uri)) as connection:
        try:
            yield connection
        except sqlite3.Error as error:
            system_errors.note(error, connection)
            raise


def _is_read_only_folder(folder: Path, *, writable: bool) -> bool:
    return not writable and not os.access(folder, os.W_OK)


def _connect_to_read(folder: Path, *, writable: bool, kept_out: bool = False) -> sqlite3.Connection:
    """Args:
    kept_out: as for `_has_locks`.
    """
    may_write = not _is_read_only_folder(folder, writable=writable)
    give_up_at = time.monotonic() + (BUSY_TIMEOUT_S if may_write else OTHERS_LOG_S)
    was_refused = False
    while True:
        locked = _has_locks(folder, may_write=may_write, kept_out=kept_out)
        if locked:
            connection = _connect(_uri(folder, "mode=ro"), uri=True, timeout=OPENING_S, kind=_Reading)
        else:
            connection = _Unlocked.connect(folder, kept_out=kept_out)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on it keeps its files
        except sqlite3.Error as error:
            system_errors.note(error, connection)
            connection.close()
            extended = _code_of(error)
            code = extended & 0xFF
            kept_out = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL) or extended in _OF_THE_INDEX
            # Somebody reads through what a killed writer has left; or there is nothing in the log, and no need of it.
            again = code == sqlite3.SQLITE_BUSY or (kept_out and not size_of(folder / f"{FILE_NAME}-wal"))
            # A writer has just made its log, or removed it.
            of_the_log = not may_write and code in _OF_OPENING
            once_more = may_write and not was_refused and code in _OF_OPENING  # as in `_proven`
            was_refused = was_refused or once_more
            if not (again or of_the_log or once_more) or time.monotonic() >= give_up_at:
                raise
            if of_the_log:
                time.sleep(OTHERS_LOG_S / 50)
        except BaseException:
            connection.close()
            raise
        else:
            if not isinstance(connection, _Unlocked):
                connection.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_TIMEOUT_S)}")
                return connection
            # What was committed meanwhile stands in a log, or in the file, which has changed then.
            if connection.is_unchanged and not _has_locks(folder, may_write=may_write, kept_out=kept_out):
                return connection
            connection.close()


def _has_locks(folder: Path, *, may_write: bool, kept_out: bool) -> bool:
    """Whether to read by SQLite's locks, which are in the log's index; otherwise there is nothing in the log.

    The first connection of all makes the index anew, and keeps everybody out meanwhile: for long if it is stopped in
    that. Who may not write cannot make it. And a log that nobody has open and in which nothing is committed, as a kill
    leaves it, SQLite does not read for them ("locking protocol", after ten seconds).

    Args:
        kept_out: whether this one could not read by them: somebody has them, or there is no room for the index.
    """
    log, index = folder / f"{FILE_NAME}-wal", folder / f"{FILE_NAME}-shm"
    if not size_of(log):
        if kept_out:
            return False
        return size_of(index) >= _INDEX_PAGE if index.exists() else may_write
    return may_write or _holds_commits(log)


def _holds_commits(log: Path) -> bool:
    try:
        with log.open("rb", buffering=0) as opened:
            page_size, salts = struct.unpack(">8xI4x8s8x", opened.read(_LOG_HEADER))
            while True:
                pages_after_commit, frame_salts = struct.unpack(">4xI8s8x", opened.read(_FRAME_HEADER))
                if frame_salts != salts:
                    return False  # left from before the log was begun anew
                if pages_after_commit:
                    return True
                opened.seek(page_size, os.SEEK_CUR)
    except (struct.error, FileNotFoundError):  # its end
        return False


class _Reading(sqlite3.Connection):
    """A connection that is not used again after an exception, which may hold a cursor that is not at its end: SQLite
    then goes on to see what was there when that began, also in later transactions.
    """

    is_used_up = False

    @staticmethod
    def take(connection: sqlite3.Connection) -> bool:
        """Use it, until `is_used_up` is put back; False if somebody has not put it back."""
        if not isinstance(connection, _Reading):
            return True
        taken, connection.is_used_up = not connection.is_used_up, True
        return taken


class _Unlocked(_Reading):
    """Reads a database without a log as if nobody could change it: there is nowhere to note that somebody reads.

    That is so until a writer comes: who was reading then, and would have read on in what that one changes, is told.
    """

    kept_out: bool
    _folder: Path
    _state: tuple[int, int, int]

    @classmethod
    def connect(cls, folder: Path, *, kept_out: bool) -> _Unlocked:
        state = cls._state_of(folder)
        if 0 <= time.time_ns() - state[2] < _SAME_TIME_NS:  # a change could get the same time
            time.sleep(_SAME_TIME_NS / 1e9)
            state = cls._state_of(folder)
        opened = _connect(_uri(folder, "mode=ro&immutable=1"), uri=True, kind=cls)
        assert isinstance(opened, cls)
        opened.kept_out, opened._folder, opened._state = kept_out, folder, state
        return opened

    @property
    def is_unchanged(self) -> bool:
        """Whether the file is as it was."""
        return self._state_of(self._folder) == self._state

    def require_unchanged(self) -> None:
        """Raises:
        StorageFailed
        """
        if not self.is_unchanged:
            why = "another process has begun to change it meanwhile, which will not happen again; ask again"
            raise StorageFailed(self._folder, "read it", why)

    @staticmethod
    def _state_of(folder: Path) -> tuple[int, int, int]:
        try:
            found = (folder / FILE_NAME).stat()
        except OSError:  # SQLite says what is wrong with it
            return 0, 0, 0
        return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def _unchanged(connection: object) -> Iterator[None]:
    """Around what reads, perhaps without locks."""
    try:
        yield
    finally:  # also where what was read made no sense
        if isinstance(connection, _Unlocked):
            connection.require_unchanged()


def _beside(folder: Path) -> sqlite3.Connection:
    """A connection that has the database open, so that one that writes is not the last to close. The last one keeps all
    readers out while it removes the log, for as long as it is stopped there. And where the log and its index stay, who
    may not write has locks, too.
    """
    return _connect_to_read(folder, writable=True)


def _connect_to_write(folder: Path, *, foreign_keys: bool = True) -> sqlite3.Connection:
    return _proven(
        partial(_connect, folder / FILE_NAME, timeout=BUSY_TIMEOUT_S),
        # Here rather than where the library is made: stopped in between, it would stay without a log forever.
        "PRAGMA journal_mode = WAL",
        f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}",
        f"PRAGMA cache_size = -{WRITE_CACHE_KIB}",
        f"PRAGMA synchronous = {SYNCHRONOUS}",
        f"PRAGMA journal_size_limit = {MOST_LOG_BYTES}",
        "BEGIN IMMEDIATE",
        f"PRAGMA application_id = {APPLICATION_ID}",  # as it is: a BEGIN is not refused where the file is read-only
        "ROLLBACK",
    )


def _proven(connect: Callable[[], sqlite3.Connection], *statements: str) -> sqlite3.Connection:
    """A connection on which statements were executed that open all its files.

    A file that it may not open to write SQLite opens to read, and what was said of that, or of the first attempt, is
    lost. So what was refused is asked for once more, in a connection of its own; what is refused again lasts, so that
    `found_by_trying` finds why.
    """
    try:
        return _executed(connect(), statements)
    except sqlite3.OperationalError as error:
        if _code_of(error) & 0xFF not in _OF_OPENING:
            raise
    return _executed(connect(), statements)


def _executed(connection: sqlite3.Connection, statements: Sequence[str]) -> sqlite3.Connection:
    try:
        for statement in statements:
            connection.execute(statement)
    except BaseException as error:
        system_errors.note(error, connection)
        connection.close()
        raise
    return connection


def _is_closed(connection: sqlite3.Connection) -> bool:
    try:
        return connection.total_changes < 0
    except sqlite3.ProgrammingError:
        return True


_OF_OPENING = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
# What goes wrong as SQLite writes, or makes the file beside the log that readers need, too.
_OF_THE_INDEX = frozenset({
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
})  # fmt: skip
_WRITING = _OF_THE_INDEX | {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
}


# What comes of rows in which other values stand than belong there; or of a mistake in this program.
_OF_WRONG_VALUES = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
)


_THERE_ALREADY = (
    sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    sqlite3.SQLITE_CONSTRAINT_ROWID,
)


def _code_of(error: BaseException) -> int:
    """SQLite's code of an error; 0 of those that Python finds by itself, as of a text that is none."""
    return getattr(error, "sqlite_errorcode", 0)


def _malformed(folder: Path) -> str | None:
    """What SQLite finds wrong with the database, if anything is."""
    try:
        with closing(_connect_to_read(folder, writable=False)) as connection, legible(connection):
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter for an error whose message is damaged
        return str(error)
    return None if found == "ok" else str(found)


# Descriptors of databases that were read past SQLite, by device and inode. Never closed, which would take the locks of
# this process away; so one of each file.
_read_past: dict[tuple[int, int], int] = {}


def _unread(folder: Path) -> OSError | None:
    """What keeps the system from reading the database through; None if nothing does. SQLite calls a disk that fails to
    read damage to the file.
    """
    try:
        with _claims:
            of_file = _identity(folder / FILE_NAME)
            if of_file not in _read_past:
                _read_past[of_file] = os.open(folder / FILE_NAME, os.O_RDONLY)
            os.lseek(_read_past[of_file], 0, os.SEEK_SET)
            while os.read(_read_past[of_file], 1 << 20):
                pass
    except OSError as error:
        return error
    return None


def _largest(folder: Path) -> int:
    sizes = [0]
    for ending in ("", "-wal", "-shm"):
        with suppress(OSError):  # it is asked for where something has failed already
            sizes.append(size_of(folder / f"{FILE_NAME}{ending}"))
    return max(sizes)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Turn the database errors that a user can do something about into the project's own."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE | NO_PERMISSION:
            raise failure(folder, "read or write it", error) from error
        cause = getattr(error, "orig", error)  # of SQLAlchemy's errors: the driver's
        # Where an index leads elsewhere, rows are added that are there already.
        is_there = _code_of(cause) in _THERE_ALREADY
        if (isinstance(cause, _OF_WRONG_VALUES) or is_there) and (found := _malformed(folder)) is not None:
            raise LibraryDamaged(folder, found) from error
        if isinstance(cause, Unreadable):
            raise LibraryDamaged(folder, str(cause)) from error
        if not isinstance(cause, sqlite3.Error):
            raise
        # But for the first, it is the schema that says something else than its version promises.
        if re.match(r"Could not decode to UTF-8|no such (column|table): |table \w+ already exists", str(cause)):
            raise LibraryDamaged(folder, str(cause)) from error
        extended = _code_of(cause)
        # Images, folders and files are looked up in the transaction that refers to them; a model's id is kept. Past
        # SQLAlchemy, which knows the statement, only prompts are stored.
        is_of_model = "model_id" in (getattr(error, "statement", None) or "model_id")
        if extended == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY and is_of_model:
            raise ModelPruned(folder) from error
        code = extended & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull(folder) from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            unread = _unread(folder)
            if unread is not None:
                raise failure(folder, "read its database", unread) from error
            if _malformed(folder) is None:
                again = OSError(errno.EIO, "it could not be read, though it can now")
                raise failure(folder, "read its database", again) from error
            raise LibraryDamaged(folder, str(cause)) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL):
            raise LibraryBusy(
                folder, holder="another program has the database open", waited_s=BUSY_TIMEOUT_S
            ) from error
        said = system_errors.noted(cause)
        # Of a file that could not be opened the last attempt to open it otherwise is known, which may not be there.
        if said in OF_THE_MACHINE | NO_PERMISSION or (said and code == sqlite3.SQLITE_IOERR):
            raise failure(folder, "read or write its database", OSError(said, os.strerror(said))) from error
        # SQLite does not tell what the system said: that is found by asking for the same again.
        file = folder / FILE_NAME
        may_write = os.access(folder, os.W_OK) and (os.access(file, os.W_OK) or not os.path.exists(file))
        is_of_opening = code in _OF_OPENING
        is_of_writing = is_of_opening or extended in _WRITING
        told = None
        if may_write and is_of_writing:
            told = found_by_trying(folder, beyond=_largest(folder), grew=extended == sqlite3.SQLITE_IOERR_WRITE)
        if told is not None:
            raise failure(folder, "read or write its database", told) from error
        if is_of_opening and may_write and extended != sqlite3.SQLITE_READONLY:
            # No permission is missing: too many open files, say, or the file has gone.
            raise StorageFailed(folder, "open its database", str(cause)) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise LibraryReadOnly(folder, f"open its database ({cause})") from error
        if code == sqlite3.SQLITE_IOERR:
            name = getattr(cause, "sqlite_errorname", "")
            what = "the system refused, though it does not now" if is_of_writing else "the disk reports an error"
            if extended == sqlite3.SQLITE_IOERR_SHMMAP:
                what = "no memory could be mapped"
            raise StorageFailed(folder, "read or write its database", f"{what}: {cause}, {name}") from error
        raise

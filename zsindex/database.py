"""Opens `library.db`, guards it, and turns what SQLite says into errors a person can act on.

Reading and writing use separate connections. Readers open the file with ``mode=ro``, so that they cannot checkpoint:
all writing and checkpointing happens on one connection, under `write.lock` (see `zsindex.lock`). In WAL mode writers
never block readers. Every write is one `BEGIN IMMEDIATE` transaction: kept whole, or not at all.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool

from zsindex import schema
from zsindex.errors import (
    LibraryBusy,
    LibraryDamaged,
    LibraryNotFound,
    LibraryReadOnly,
    LibraryTooNew,
    NotALibrary,
    StorageFull,
)
from zsindex.lock import FolderLock

FILE_NAME = "library.db"
APPLICATION_ID = 0x7A736978  # "zsix"; SQLite keeps it in the file's header
PAGE_SIZE = 16_384  # a 512-d vector is 2 KB: at SQLite's usual 4 KB almost half of every page would stay empty
BUSY_TIMEOUT_S = 60.0
SYNC_TIMEOUT_S = 3.0


class Database:
    """An open `library.db`. Make one with `Database.open`; close it when done."""

    def __init__(self, folder: Path, *, writable: bool) -> None:
        self.folder = folder
        self.writable = writable
        self.sync_lock = FolderLock(folder, "sync", timeout_s=SYNC_TIMEOUT_S, signed=True)
        self._write_lock = FolderLock(folder, "write", timeout_s=BUSY_TIMEOUT_S)
        self._reader = _reading_engine(folder, writable=writable)
        self._writer: Engine | None = None

    @classmethod
    def open(cls, folder: Path, *, create: bool, read_only: bool = False) -> Database:
        """Open the library in `folder`, making it if `create`, and bring its schema up to date.

        Raises:
            LibraryNotFound, NotALibrary, LibraryTooNew, LibraryReadOnly, LibraryDamaged, LibraryBusy, StorageFull
        """
        file = folder / FILE_NAME
        if not _is_library(folder):
            if not create or read_only:
                raise LibraryNotFound(folder)
            _create(folder)
        writable = not read_only and os.access(folder, os.W_OK) and os.access(file, os.W_OK)
        database = cls(folder, writable=writable)
        try:
            database._bring_up_to_date()
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Close all connections. The last writer's checkpoint happens under the lock, like every other."""
        self._reader.dispose()
        if self._writer is not None:
            with self._write_lock.hold("closing"):
                self._writer.dispose()
            self._writer = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one consistent view, never blocked by a writer."""
        with _translated(self.folder), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self, action: str) -> Iterator[Connection]:
        """A write transaction under the writer lock; rolled back as a whole if anything goes wrong.

        Args:
            action: completes "cannot …" in the error of a read-only library.
        """
        self.require_writable(action)
        with self._write_lock.hold(action), _translated(self.folder):
            if self._writer is None:
                self._writer = _writing_engine(self.folder)
            with self._writer.begin() as connection:
                yield connection

    def require_writable(self, action: str) -> None:
        """Raise `LibraryReadOnly` unless writing is possible; `action` completes "cannot …"."""
        if not self.writable:
            raise LibraryReadOnly(self.folder, action)

    def size_bytes(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        return sum(f.stat().st_size for f in self.folder.glob(f"{FILE_NAME}*") if "backup" not in f.name)

    def vacuum(self) -> None:
        """Give the pages of deleted rows back to the disk."""
        self.require_writable("vacuum")
        # Outside of a transaction, so past SQLAlchemy, which would begin one.
        with (
            self._write_lock.hold("vacuum"),
            _translated(self.folder),
            closing(sqlite3.connect(self.folder / FILE_NAME, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as file,
        ):
            file.execute("VACUUM")

    def _bring_up_to_date(self) -> None:
        revision = self._revision()
        if revision == schema.HEAD:
            return
        if revision is not None and schema.is_newer(revision):
            raise LibraryTooNew(self.folder, found=revision, newest_known=schema.HEAD)
        self.require_writable(f"upgrade it from schema {revision} to {schema.HEAD}")
        with self._write_lock.hold("upgrading"):
            revision = self._revision()
            if revision == schema.HEAD:
                return  # another process was faster
            if revision is not None:
                self._backup(f"{FILE_NAME}.backup-{revision}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
            with self.write("upgrade the schema") as connection:
                schema.upgrade(connection)

    def _revision(self) -> str | None:
        with self.read() as connection:
            return schema.current_revision(connection)

    def _backup(self, name: str) -> None:
        """Copy the database through SQLite's backup API, which sees the write-ahead log too."""
        with (
            _translated(self.folder),
            closing(sqlite3.connect(_uri(self.folder, "mode=ro"), uri=True)) as source,
            closing(sqlite3.connect(self.folder / name)) as target,
        ):
            source.backup(target)


def _is_library(folder: Path) -> bool:
    """Whether `folder` holds a library; False where one could be made.

    Raises:
        NotALibrary: something else is there.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise NotALibrary(folder, "it is a file; a library is a folder")
    file = folder / FILE_NAME
    try:
        header = file.read_bytes()[:100] if file.stat().st_size < 100 else _head(file, 100)
    except FileNotFoundError:
        strangers = sorted(p.name for p in folder.iterdir() if not p.name.startswith("write."))
        if strangers:
            raise NotALibrary(
                folder, f"it holds other things ({', '.join(strangers[:3])}); name a new or an empty folder"
            ) from None
        return False
    if not header:
        return False  # a process was stopped while it made the library; nothing is in it
    if not header.startswith(b"SQLite format 3\0") or len(header) < 100:
        raise NotALibrary(folder, f"its {FILE_NAME} is not an SQLite database")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise NotALibrary(folder, f"its {FILE_NAME} belongs to another program")
    return True


def _head(file: Path, size: int) -> bytes:
    with file.open("rb") as f:
        return f.read(size)


def _create(folder: Path) -> None:
    """Make an empty database with its schema. Others who want the same folder wait, and find it made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotALibrary(folder, f"it cannot be made ({error.strerror})") from error
    lock = FolderLock(folder, "write", timeout_s=BUSY_TIMEOUT_S)
    with lock.hold("making the library"), _translated(folder):
        if _is_library(folder):
            return
        with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
            # Neither can be changed later (the page size) or inside a transaction (the journal mode).
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("PRAGMA journal_mode = WAL")


def _uri(folder: Path, parameters: str) -> str:
    return f"{(folder / FILE_NAME).absolute().as_uri()}?{parameters}"


def _reading_engine(folder: Path, *, writable: bool) -> Engine:
    parameters = "mode=ro"
    if not writable and not os.access(folder, os.W_OK):
        # WAL needs a shared-memory file beside the database, which SQLite cannot make in a read-only folder. Without a
        # log to read nothing can change either: that is what "immutable" tells it.
        log = folder / f"{FILE_NAME}-wal"
        if not log.exists() or not log.stat().st_size:
            parameters += "&immutable=1"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            _uri(folder, parameters), uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=8, max_overflow=32)
    _begin_with(engine, "BEGIN")
    return engine


def _writing_engine(folder: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            folder / FILE_NAME, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")  # a committed batch survives a power cut, too
        return connection

    # One connection: it checkpoints under the lock, and is only used by the thread that holds it.
    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    _begin_with(engine, "BEGIN IMMEDIATE")
    return engine


def _begin_with(engine: Engine, statement: str) -> None:
    """Make SQLAlchemy open transactions itself: Python's sqlite3 would not begin one for a SELECT, nor before DDL."""

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> Any:
        connection.exec_driver_sql(statement)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Turn the database errors that a user can do something about into the project's own."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull(folder) from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise LibraryDamaged(folder, str(cause)) from error
        if code == sqlite3.SQLITE_BUSY:
            raise LibraryBusy(
                folder, holder="another program has the database open", waited_s=BUSY_TIMEOUT_S
            ) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise LibraryReadOnly(folder, f"open its database ({cause})") from error
        if code == sqlite3.SQLITE_IOERR:
            raise LibraryDamaged(folder, f"the disk reports an error: {cause}") from error
        raise
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise StorageFull(folder) from error
        raise

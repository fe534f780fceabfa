"""The handle on an open `library.db`: its transactions, and its end.

Reading and writing use separate connections. All writing and checkpointing happens on one connection, under
`write.lock` (see `zsindex.storage.sqlite.lock`). In WAL mode writers never block readers. Every write is one
`BEGIN IMMEDIATE` transaction: kept whole, or not at all.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from zsindex import atomic
from zsindex.errors import (
    LibraryBusy,
    LibraryClosed,
    LibraryDamaged,
    LibraryForked,
    LibraryNotFound,
    LibraryReadOnly,
    LibraryTooNew,
    StorageFailed,
    StorageFull,
)
from zsindex.storage import processes
from zsindex.storage.sqlite import connections, making, open_files, schema, system_errors
from zsindex.storage.sqlite.connections import Reading, Unlocked, unchanged
from zsindex.storage.sqlite.failures import translated
from zsindex.storage.sqlite.file import FILE_NAME, Identity, size_of
from zsindex.storage.sqlite.lock import FolderLock

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from zsindex.storage.sqlite.dialect import SqliteDialect

SYNC_TIMEOUT_S = 3.0
# How long it is remembered that somebody keeps readers out: SQLite notices only after ten seconds at some instants.
KEPT_OUT_S = 10.0


class SqliteDatabase:
    """An open `library.db`. Make one with `SqliteDatabase.open`; close it when done."""

    def __init__(self, folder: Path, *, writable: bool) -> None:
        self.folder = self.place = folder
        self.writable = writable
        self.sync_lock = FolderLock(folder, "sync", timeout_s=SYNC_TIMEOUT_S)
        self._write_lock = FolderLock(folder, "write", timeout_s=connections.BUSY_TIMEOUT_S, put_off=True)
        self._write_lock_at_once = FolderLock(folder, "write", timeout_s=0, put_off=True)
        # In a read-only folder somebody else may be allowed to write, which an "immutable" connection would never
        # notice: so each transaction opens its own and looks for the log again.
        self._keeps_connections = not connections.is_read_only_folder(folder, writable=writable)
        self._kept_out_until = 0.0  # of time.monotonic()
        self._idle: list[sqlite3.Connection] | None = []  # None once it is closed
        self._guard = threading.Lock()
        self._in_work: set[object] = set()  # transactions, of any thread
        self._pid = processes.current()
        self._read_engine: Engine | None = None
        self._write_engine: Engine | None = None
        # Used under the lock alone, by `write` and by `writing`.
        self._write_connection: sqlite3.Connection | None = None
        self._claimed: Identity | None = None
        open_files.register(self)

    @classmethod
    def open(cls, folder: Path, *, create: bool, read_only: bool = False) -> SqliteDatabase:
        """Open the library in `folder`, making it if `create`, and bring its schema up to date.

        Raises:
            LibraryNotFound, NotALibrary, LibraryTooNew, LibraryReadOnly, LibraryDamaged, LibraryBusy, StorageFull,
            StorageFailed, LibraryForked
        """
        file = folder / FILE_NAME
        claim = _claim(folder)
        if claim is not None and making.is_half_made(folder):
            open_files.release(claim)
            if read_only or not os.access(folder, os.W_OK):
                raise LibraryNotFound(folder)  # it is being made, or that was interrupted; nothing is in it
            making.roll_back(folder)
            claim = _claim(folder)
        if claim is None:
            if not create or read_only:
                raise LibraryNotFound(folder)
            making.make(folder)
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
        self.require_open()  # before the guard, which nobody in a child may ever release
        work = object()
        try:
            with self._guard:
                self.require_open()
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
                open_files.release(claimed)

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
                stack.enter_context(closing(connections.beside(self.folder)))
            if writer is not None:
                writer.dispose()
            writing.close()

    # --- around a fork ------------------------------------------------------------------------------------------------

    def part(self) -> None:
        """See `open_files.Handle`, as for the others."""
        self._guard.acquire()
        if self._in_work:
            return
        idle = self._idle or []
        for connection in idle:
            connection.close()
        idle.clear()
        if self._read_engine is not None:
            self._read_engine.dispose()
        self._close_writing()

    def go_on(self) -> None:
        """Let others get at connections again."""
        self._guard.release()

    def leave(self) -> tuple[Identity | None, list[object]]:
        """In the child: the file that it may not open anew, and what it must never close."""
        if not self._in_work:
            return None, []
        things = (self._write_connection, self._read_engine, self._write_engine, *(self._idle or []))
        return self._claimed, [thing for thing in things if thing is not None]

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one consistent view, never blocked by a writer."""
        with self._working(), translated(self.folder, reads=True):
            with self._guard:
                if self._read_engine is None:
                    from zsindex.storage.sqlite import engine as engines

                    self._read_engine = engines.reading(
                        self._connect, pooled=self._keeps_connections, take=Reading.take
                    )
                reader = self._read_engine
            with reader.begin() as connection:
                used = connection.connection.driver_connection
                with unchanged(used):
                    yield connection
            if isinstance(used, Reading) and not isinstance(used, Unlocked):
                used.is_used_up = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The same as `read`, without SQLAlchemy, which takes longer to import than a cached question to answer."""
        with self._working(), translated(self.folder, reads=True):
            with self._guard:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self._connect()
            try:
                connection.execute("BEGIN")
                with unchanged(connection):
                    yield connection
                connection.rollback()
            except BaseException as error:
                system_errors.note(error, connection)
                connection.close()
                raise
            with self._guard:
                if self._idle is not None and self._keeps_connections and not isinstance(connection, Unlocked):
                    self._idle.append(connection)
                    return
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        kept_out = time.monotonic() < self._kept_out_until
        connection = connections.to_read(self.folder, writable=self.writable, kept_out=kept_out)
        if isinstance(connection, Unlocked) and connection.kept_out and not kept_out:
            self._kept_out_until = time.monotonic() + KEPT_OUT_S
        return connection

    @contextmanager
    def _alone(self, action: str, lock: FolderLock) -> Iterator[None]:
        """Around everything that writes."""
        self.require_writable(action)
        with self._working(), lock.hold(action), translated(self.folder):
            self.require_open()  # it may have been closed while this waited for the lock
            yield

    @contextmanager
    def write(self, action: str) -> Iterator[Connection]:
        """A write transaction under the writer lock; rolled back as a whole if anything goes wrong.

        Args:
            action: completes "cannot …" in the error of a read-only library.
        """
        with self._alone(action, self._write_lock):
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
        with self._alone(action, self._write_lock):
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
        with self._alone(action, self._write_lock_at_once):
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
                connection.execute(f"PRAGMA synchronous = {connections.SYNCHRONOUS}")
                connection.execute(f"PRAGMA busy_timeout = {round(connections.BUSY_TIMEOUT_S * 1000)}")

    def _connect_to_write(self) -> sqlite3.Connection:
        """The one connection that writes; a new one where SQLAlchemy has closed it, as it does after a Ctrl-C."""
        if self._write_connection is None or connections.is_closed(self._write_connection):
            self._write_connection = connections.to_write(self.folder)
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
        """Copies from before upgrades of the schema, oldest first; see `_backup`."""
        self.require_open()
        return sorted(self.folder.glob(f"{FILE_NAME}.backup-*"))

    def vacuum(self) -> None:
        """Give the pages of deleted rows back to the disk."""
        # Outside of a transaction, so past SQLAlchemy, which would begin one.
        with (
            self._alone("vacuum", self._write_lock),
            closing(connections.beside(self.folder)),
            connections.opened(self.folder / FILE_NAME, timeout=connections.BUSY_TIMEOUT_S) as file,
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
        with self._write_lock.hold("upgrade the schema"), translated(self.folder):
            revision = self._revision()
            if revision == schema.HEAD:
                return  # another process was faster
            if revision is not None:
                self._backup(f"{FILE_NAME}.backup-{revision}")
            from zsindex.storage.sqlite import engine as engines

            engine = engines.writing(partial(connections.to_write, self.folder, foreign_keys=False))
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
            idle = self._idle or []
            closed, idle[:] = idle[:], []
        for connection in closed:
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
                connections.opened(connections.uri_of(self.folder, "mode=ro"), uri=True) as source,
                connections.opened(temporary) as target,
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


def _claim(folder: Path) -> Identity | None:
    """Claim the database in `folder`; None where there is no library."""
    if not making.is_library(folder):
        return None
    try:
        return open_files.claim(folder)
    except OSError as error:
        raise making.unreachable(folder, error) from error

"""Opens a library on a server, guards it, and turns what the server says into errors a person can act on.

Readers have connections of their own: each transaction of theirs is READ ONLY and REPEATABLE READ, one moment's view
that waits for nobody. Every transaction that writes begins with one advisory lock, so that no two of them overlap: what
one has read still holds when it commits, and `embeddings.seq`, which a sequence gives out before the commit, grows in
the order of the commits. PostgreSQL lets go of the lock after others can see what was committed, and when the
connection is lost.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import select
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus

from zsindex import config
from zsindex.errors import (
    LibraryBusy,
    LibraryClosed,
    LibraryDamaged,
    LibraryForked,
    LibraryNotFound,
    LibraryReadOnly,
    LibraryTooNew,
    LibraryTooOld,
    LibraryUnreachable,
    NotALibrary,
    StorageFailed,
)
from zsindex.records import Progress
from zsindex.storage import processes
from zsindex.storage.interrupts import PutOff
from zsindex.storage.patience import patiently
from zsindex.storage.postgres import derived, schema
from zsindex.storage.postgres.address import Address
from zsindex.storage.postgres.failures import BUSY_TIMEOUT_S, is_starting, translated, words
from zsindex.storage.postgres.tables import SCHEMA

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from zsindex.storage.postgres.dialect import PostgresDialect

T = TypeVar("T")
Link: TypeAlias = psycopg.Connection[Any]
Rows: TypeAlias = psycopg.Cursor[Any] | psycopg.ServerCursor[Any]

# Connections that nobody uses at the moment are kept, so many of each kind; servers have a hundred in all.
MOST_IDLE = 4
# A server notices in a minute, too, that who held a lock is gone. JIT would take longer than any of these statements.
_SETTINGS = (
    f"SET search_path = {SCHEMA}; SET jit = off;"
    " SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;"
)
# The turn to write. What is committed shall be kept, whatever the server's setting is; one that asks for more stays.
_TURN = (
    "SELECT set_config('application_name', %s, true),"
    " set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), true),"
    " pg_advisory_xact_lock(%s)"
)
_BEGIN_TO_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# Of a connection that is lost while messages are collected psycopg raises the first error, and logs the next one.
logging.getLogger("psycopg").addFilter(lambda record: not str(record.msg).startswith("error ignored terminating"))


class _ServerCursor(psycopg.ServerCursor[Any]):
    """One that is closed for good when the server is gone."""

    def close(self) -> None:
        try:
            super().close()
        except psycopg.OperationalError:
            if not self.connection.closed:
                raise
            super().close()  # which asks nobody now


class Renewable(Protocol):
    """What is lost with a connection."""

    def renew(self) -> None:
        """Take it again if it was lost.

        Raises:
            LibraryBusy: somebody else has it.
            LibraryUnreachable
        """
        ...


class PostgresDatabase:
    """An open library. Make one with `PostgresDatabase.open`; close it when done.

    Attributes:
        place: stands for it in messages.
        folder: where this machine keeps what is derived from it.
        identity: tells it from all others.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.place = address.place
        self.folder = Path()
        self.identity = ""
        self.writable = False
        self._is_unfinished = False
        self._version = 0
        self._pid = processes.current()
        self._guard = threading.Lock()
        self._idle: dict[str, list[Link]] = {"read": [], "write": [], "hold": []}
        self._closed = False
        # Locks that are held, by thread.
        self._holdings: dict[int, list[Renewable]] = {}
        # Whoever forgets to close it leaves no session on the server.
        weakref.finalize(self, _close, self._idle, self._pid)

    @classmethod
    def open(
        cls, address: Address, *, read_only: bool = False, folder: Path | None = None, unfinished: bool = False
    ) -> PostgresDatabase:
        """Open a library. Its schema stays as it is: others may be using it with another version.

        A server that says that it is being started is waited for.

        Args:
            folder: for what is derived from it. Default: one in the platform's cache folder, by the library's identity.
            unfinished: also one that is being copied to.

        Raises:
            LibraryUnreachable, LibraryNotFound, NotALibrary, LibraryTooNew, LibraryTooOld, LibraryDamaged,
            StorageFailed
        """
        database = cls(address)
        try:
            revision = patiently(lambda: database._look(read_only=read_only), where=is_starting)
            if database._is_unfinished and not unfinished:
                raise NotALibrary(
                    database.place, "it is being copied to; if that was stopped, run the same command again"
                )
            if revision > schema.HEAD:
                raise LibraryTooNew(database.place, found=revision, newest_known=schema.HEAD)
            if revision < schema.HEAD:
                raise LibraryTooOld(database.place, found=revision, needed=schema.HEAD)
            database.folder = folder or config.derived_folder(database.identity)
            with suppress(OSError):  # whoever wants to write there will be told
                database.folder.mkdir(parents=True, exist_ok=True)
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def create(cls, address: Address) -> bool:
        """Make the tables of a library; False if they were there.

        Raises:
            LibraryUnreachable, NotALibrary, LibraryReadOnly, StorageFull, StorageFailed
        """
        database = cls(address)
        try:
            with database._changing("create the library") as (link, connection):
                if _has_tables(link):
                    return False
                (encoding,) = link.execute("SELECT pg_catalog.getdatabaseencoding()").fetchone() or ("",)
                if encoding != "UTF8":
                    raise NotALibrary(database.place, f"its encoding is {encoding}; paths and prompts need UTF8")
                strangers = link.execute(
                    "SELECT count(*) FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace"
                    " WHERE n.nspname = %s",
                    (SCHEMA,),
                ).fetchone()
                if strangers and strangers[0]:
                    raise NotALibrary(database.place, f"its schema {SCHEMA} holds other things")
                link.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
                schema.create(connection)
                return True
        finally:
            database.close()

    @classmethod
    def upgrade(cls, address: Address) -> tuple[str, str]:
        """Bring the schema up to date; returns the revisions before and after.

        Raises:
            LibraryUnreachable, LibraryNotFound, LibraryTooNew, LibraryReadOnly, StorageFull, StorageFailed
        """
        database = cls(address)
        try:
            before = database._look(read_only=False)
            if before > schema.HEAD:
                raise LibraryTooNew(database.place, found=before, newest_known=schema.HEAD)
            if before < schema.HEAD:
                with database._changing("upgrade the schema") as (_, connection):
                    schema.upgrade(connection)
            return before, schema.HEAD
        finally:
            database.close()

    @property
    def server_version(self) -> str:
        """That of the server, as people know it."""
        return ".".join(map(str, divmod(self._version, 10000)))

    @cached_property
    def cache(self) -> str | None:
        """The name of `folder`, under which this machine's index files are recorded."""
        return derived.name_of(self.folder)

    @cached_property
    def dialect(self) -> PostgresDialect:
        """What SQL for any database asks of this one; imported with SQLAlchemy."""
        from zsindex.storage.postgres.dialect import PostgresDialect

        return PostgresDialect(self._version)

    def key(self, name: str) -> int:
        """The number of an advisory lock of this library."""
        digest = hashlib.sha256(f"zsindex {self.identity} {name}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    # --- opening and closing ------------------------------------------------------------------------------------------

    def _look(self, *, read_only: bool) -> str:
        """Find out what is there and what may be done with it; returns the revision of its schema."""
        with translated(self.place, "open it"), self.link("hold") as link:
            self._version = link.info.server_version
            try:
                if not _has_tables(link):
                    raise LibraryNotFound(self.place)
                found = link.execute(
                    "SELECT (SELECT version_num FROM alembic_version),"
                    " (SELECT value FROM settings WHERE key = %s),"
                    " EXISTS (SELECT 1 FROM settings WHERE key = %s),"
                    " pg_catalog.has_table_privilege('embeddings', 'INSERT')"
                    " AND NOT pg_catalog.pg_is_in_recovery()"
                    " AND pg_catalog.current_setting('transaction_read_only') = 'off'",
                    (schema.IDENTITY, schema.COPYING),
                ).fetchone()
            except psycopg.errors.InsufficientPrivilege as error:
                raise StorageFailed(self.place, "read it", words(error)) from error
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
                found = None
        if found is None or found[1] is None:
            raise NotALibrary(self.place, f"its schema {SCHEMA} belongs to another program")
        if not re.fullmatch(r"\d{4}", str(found[0])):
            raise LibraryDamaged(self.place, f"{found[0]!r} is no version of its schema")
        self.identity = str(found[1])
        self._is_unfinished = bool(found[2])
        self.writable = bool(found[3]) and not read_only
        return str(found[0])

    def close(self) -> None:
        """Close all connections; what is asked for from now on is refused. Transactions that are in work in other
        threads go on to their end.
        """
        if self._pid != processes.current():
            return
        with self._guard:
            self._closed = True
        _close(self._idle, self._pid)

    def require_open(self) -> None:
        """Raise `LibraryClosed` after `close`, and `LibraryForked` in a child of the process that opened it."""
        if self._pid != processes.current():
            raise LibraryForked(self.place)
        if self._closed:
            raise LibraryClosed(self.place)

    def require_writable(self, action: str) -> None:
        """Raise `LibraryReadOnly` unless writing is possible; `action` completes "cannot …"."""
        self.require_open()
        if not self.writable:
            raise LibraryReadOnly(self.place, action)

    # --- connections --------------------------------------------------------------------------------------------------

    @contextmanager
    def link(self, kind: str, first: str = "") -> Iterator[Link]:
        """A connection: to ``read``, to ``write``, or to ``hold`` locks on. None begins transactions by itself.

        Args:
            first: a statement to begin with. Where the server has hung up on a connection that was kept, another one is
                taken.
        """
        link = self.take_link(kind, first)
        try:
            yield link
        finally:
            self.give_back(kind, link)

    def take_link(self, kind: str, first: str = "") -> Link:
        """The same as `link`, until it is given back."""
        self.require_open()
        while True:
            with self._guard:
                if self._closed:
                    raise LibraryClosed(self.place)
                kept = self._idle[kind].pop() if self._idle[kind] else None
            link = kept or self.connect(kind)
            try:
                if first:
                    link.execute(first.encode())
                    return link
                if kept is None or is_there(link):
                    return link
            except BaseException as error:
                if kept is None or not (isinstance(error, psycopg.OperationalError) and _is_gone(link)):
                    link.close()
                    raise
            link.close()  # the server has hung up on it while it was kept

    def give_back(self, kind: str, link: Link) -> None:
        """Keep a connection for the next one, unless something is wrong with it."""
        if link.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            with suppress(psycopg.Error):
                link.rollback()
        if link.info.transaction_status == TransactionStatus.IDLE:
            with self._guard:
                if not self._closed and len(self._idle[kind]) < MOST_IDLE:
                    self._idle[kind].append(link)
                    return
        link.close()

    def connect(self, kind: str) -> Link:
        """A new connection, which the caller closes."""
        refused = ""
        try:
            link = psycopg.connect(**self.address.arguments(), autocommit=True)
        except psycopg.OperationalError as error:
            refused = words(error)
        if refused:  # outside of the handler: the frames of its error hold what it was to connect with
            raise LibraryUnreachable(self.place, refused)
        link.server_cursor_factory = _ServerCursor
        try:
            lock_timeout = f" SET lock_timeout = {round(BUSY_TIMEOUT_S * 1000)};" if kind == "write" else ""
            link.execute((_SETTINGS + lock_timeout).encode())
        except BaseException:
            link.close()
            raise
        return link

    @contextmanager
    def _with_sqlalchemy(self, link: Link) -> Iterator[Connection]:
        """SQLAlchemy over a connection whose transaction has begun."""
        from zsindex.storage.postgres import engine

        with engine.of_version(link.info.server_version).lent(link) as connection:
            yield connection

    # --- transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one consistent view, never blocked by a writer."""
        with self.reading() as link, self._with_sqlalchemy(link) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Link]:
        """The same as `read`, without SQLAlchemy."""
        with translated(self.place, "read it"), self.link("read", _BEGIN_TO_READ) as link:
            yield link

    @contextmanager
    def write(self, action: str) -> Iterator[Connection]:
        """A write transaction under the lock of all writers; rolled back as a whole if anything goes wrong.

        Args:
            action: completes "cannot …" in the error of a read-only library.
        """
        with self.writing(action) as link, self._with_sqlalchemy(link) as connection:
            yield connection

    @contextmanager
    def writing(self, action: str) -> Iterator[Link]:
        """The same as `write`, without SQLAlchemy."""
        self.require_writable(action)
        with translated(self.place, action), self._turn(action) as link, PutOff():
            yield link
            link.commit()

    @contextmanager
    def writing_at_once(self, action: str) -> Iterator[Link]:
        """The same as `writing`, of what may be lost in a crash of the server: without waiting, neither for others nor
        for the disk.

        Raises:
            LibraryBusy: somebody else writes.
        """
        self.require_writable(action)
        key = self.key("write")
        with translated(self.place, action), self.link("write", "BEGIN") as link:
            lock = "SELECT set_config('synchronous_commit', 'off', true), pg_try_advisory_xact_lock(%s)"
            row = link.execute(lock, (key,)).fetchone()
            if row is None or not row[1]:
                raise LibraryBusy(self.place, holder=self.holder(key), waited_s=0)
            with PutOff():
                yield link
                link.commit()

    @contextmanager
    def _turn(self, action: str) -> Iterator[Link]:
        """The turn to write, in a transaction that has begun."""
        self._renew()
        begin = f"BEGIN; {_TURN}" % (literal(signature(action)), self.key("write"))
        try:
            taken = self.link("write", begin)
            link = taken.__enter__()
        except psycopg.errors.LockNotAvailable:
            raise self._busy() from None
        try:
            yield link
        finally:
            taken.__exit__(None, None, None)

    @contextmanager
    def write_after(self, action: str, ask: Callable[[Link], Callable[[], T]]) -> Iterator[tuple[Connection, T]]:
        """The same as `write` in two messages: one takes the lock of all writers and asks, the other stores and
        commits. While the lock is held nobody waits but once for this process, which may have to wait for a core, and
        for the network, where each statement by itself would wait for both.

        In the block, statements that only change rows are sent with the commit: what they raise is raised there, and
        nobody learns how many rows they have changed.

        Args:
            ask: executes statements, and returns a function that reads what they have found.

        Yields:
            Also what that function has returned.
        """
        self.require_writable(action)
        self._renew()
        with (
            translated(self.place, action),
            self.link("write") as link,
            ExitStack() as once_it_is_held,
            link.pipeline() as messages,
        ):
            link.execute("BEGIN")
            link.execute(_TURN, (signature(action), self.key("write")))
            answers = ask(link)
            try:
                messages.sync()
            except psycopg.errors.LockNotAvailable:
                raise self._busy() from None
            once_it_is_held.enter_context(PutOff())
            with self._with_sqlalchemy(link) as connection:
                yield connection, answers()
            link.execute("COMMIT")

    def _renew(self) -> None:
        for held in self._holdings.get(threading.get_ident(), ()):
            held.renew()

    def _busy(self) -> LibraryBusy:
        return LibraryBusy(self.place, holder=self.holder(self.key("write")), waited_s=BUSY_TIMEOUT_S)

    @contextmanager
    def _changing(self, action: str) -> Iterator[tuple[Link, Connection]]:
        """A transaction that changes the schema, one at a time; beside those that write it waits, and they for it."""
        with translated(self.place, action), self._turn(action) as link, self._with_sqlalchemy(link) as connection:
            yield link, connection
            link.commit()

    # --- locks --------------------------------------------------------------------------------------------------------

    @contextmanager
    def holding(self, lock: Renewable) -> Iterator[None]:
        """Each transaction of this thread that writes meanwhile begins with a look whether a lock is still held."""
        held = self._holdings.setdefault(threading.get_ident(), [])
        held.append(lock)
        try:
            yield
        finally:
            held.remove(lock)
            if not held:
                del self._holdings[threading.get_ident()]

    def patiently(self, attempt: Callable[[], T]) -> T:
        """Wait for a server that is being started anew while this thread holds a lock: then it is at long work that may
        be gone on with. Others are told at once. See `zsindex.storage.patience`.
        """
        return patiently(attempt) if threading.get_ident() in self._holdings else attempt()

    def holder(self, key: int) -> str:
        """Who holds an advisory lock, in words."""
        with suppress(psycopg.Error, LibraryUnreachable), self.link("hold") as link:
            for text in _holders(link, key):
                return _read_signature(text)[0]
        return "another process"

    def told(self, key: int) -> list[tuple[str, Progress]]:
        """All who hold an advisory lock and have told how far they are: who, in words, and that."""
        with self.reading() as link:
            found = [_read_signature(text) for text in _holders(link, key)]
        return [(who, progress) for who, progress in found if progress is not None]


def _close(idle: dict[str, list[Link]], pid: int) -> None:
    """Close connections, but for those that belong to the parent of this process, whose sessions would end."""
    if pid == processes.current():
        for links in idle.values():
            while links:
                links.pop().close()


def literal(text: str) -> str:
    """A text as it stands in a statement that has no parameters, as several statements at once must not."""
    return "'{}'".format(text.replace("'", "''"))


def signature(purpose: str, since: str | None = None, progress: Progress | None = None) -> str:
    """What others are shown of who holds a lock: PostgreSQL shows 63 characters of ASCII."""
    said = "" if progress is None else f"|{progress.stage} {progress.done}/{progress.total or ''}"
    name = f"{purpose}|{since or time.strftime('%H:%M:%S')}|{os.getpid()}|{platform.node()}"
    return name[: 63 - len(said)] + said


def _read_signature(text: str) -> tuple[str, Progress | None]:
    """Who, in words, and how far."""
    purpose, *rest = text.split("|")
    if len(rest) < 3:
        return text or "another process", None
    since, pid, host, *said = rest
    found = re.fullmatch(r"(\w+) (\d+)/(\d*)", "".join(said))
    progress = Progress(found[1], int(found[2]), int(found[3]) if found[3] else None) if found else None
    return f"process {pid} on {host}: {purpose}, since {since}", progress


def _holders(link: Link, key: int) -> list[str]:
    """The names of all sessions that hold an advisory lock."""
    rows = link.execute(
        "SELECT application_name FROM pg_catalog.pg_locks JOIN pg_catalog.pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND granted AND classid = %s::oid AND objid = %s::oid AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) ORDER BY pid",
        (key >> 32 & 0xFFFFFFFF, key & 0xFFFFFFFF),
    )
    return [str(name) for (name,) in rows.fetchall()]


def _has_tables(link: Link) -> bool:
    found = link.execute("SELECT pg_catalog.to_regclass(%s)", (f"{SCHEMA}.alembic_version",)).fetchone()
    return found is not None and found[0] is not None


def _is_gone(link: Link) -> bool:
    """Whether the server has hung up, or somebody in between."""
    return link.info.status != ConnStatus.OK


def is_there(link: Link) -> bool:
    """Whether the server has said nothing since, as it does when it shuts down, or hangs up. Asks nobody."""
    if link.closed:
        return False
    poll = getattr(select, "poll", None)
    if poll is None:
        return not select.select([link.fileno()], [], [], 0)[0]
    asked = poll()
    asked.register(link.fileno(), select.POLLIN)
    return not asked.poll(0)

"""Connections to `library.db`: one that writes, and those that read, by SQLite's locks or where there are none.

Readers open the file with ``mode=ro``, so that they cannot checkpoint.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from zsindex.errors import StorageFailed
from zsindex.storage.sqlite import system_errors
from zsindex.storage.sqlite.file import APPLICATION_ID, FILE_NAME, size_of
from zsindex.storage.sqlite.system_errors import code_of

# Digests are scattered over their index. With SQLite's usual 2 MB a large import writes each of its pages many times in
# one transaction.
WRITE_CACHE_KIB = 65_536
# What is left of the log when nobody needs it any more, though one large transaction, or a long question, made it grow.
MOST_LOG_BYTES = 1 << 26
SYNCHRONOUS = "FULL"  # a committed batch survives a power cut, too
BUSY_TIMEOUT_S = 60.0
# How long who may not write tries to read beside a log that others make and remove.
OTHERS_LOG_S = 0.5
# How long a reader waits for one who opens the database: nobody takes so long who is not stopped.
OPENING_S = 0.5

# What SQLite says where it cannot open a file, or not to write.
OF_OPENING = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
# What goes wrong as SQLite makes the file beside the log that readers need, too.
OF_THE_INDEX = frozenset({
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
})  # fmt: skip

_LOG_HEADER, _FRAME_HEADER, _INDEX_HEADER = 32, 24, 48  # bytes
_IS_INITIALISED = 12  # where that stands in the last one
_SAME_TIME_NS = 20_000_000  # file systems are behind by some milliseconds


def connect(
    file: Path | str, *, timeout: float = 0.0, uri: bool = False, kind: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """A connection of any thread's, which begins no transactions by itself."""

    def attempt() -> sqlite3.Connection:
        return sqlite3.connect(
            file, uri=uri, timeout=timeout, isolation_level=None, check_same_thread=False, factory=kind
        )

    try:
        return attempt()
    except sqlite3.OperationalError:
        # There is no connection that could be asked what the system said. If that lasts, trying finds it.
        return attempt()


@contextmanager
def opened(file: Path | str, *, timeout: float = 0.0, uri: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection for a ``with`` block."""
    with closing(connect(file, timeout=timeout, uri=uri)) as connection:
        try:
            yield connection
        except sqlite3.Error as error:
            system_errors.note(error, connection)
            raise


def proven(open_: Callable[[], sqlite3.Connection], *statements: str) -> sqlite3.Connection:
    """A connection on which statements were executed that open all its files, or remove its journal.

    A file that it may not open to write SQLite opens to read, and what was said of that, or of the first attempt, is
    lost, as is what was said of a file that could not be removed. So what was refused is asked for once more, in a
    connection of its own; what is refused again lasts, so that trying finds why.
    """
    try:
        return _executed(open_(), statements)
    except sqlite3.OperationalError as error:
        if code_of(error) & 0xFF not in OF_OPENING and code_of(error) != sqlite3.SQLITE_IOERR_DELETE:
            raise
    return _executed(open_(), statements)


def _executed(connection: sqlite3.Connection, statements: Sequence[str]) -> sqlite3.Connection:
    try:
        for statement in statements:
            connection.execute(statement)
    except BaseException as error:
        system_errors.note(error, connection)
        connection.close()
        raise
    return connection


def uri_of(folder: Path, parameters: str) -> str:
    """The name of the database with parameters of SQLite's."""
    return f"{(folder / FILE_NAME).absolute().as_uri()}?{parameters}"


def is_closed(connection: sqlite3.Connection) -> bool:
    """Whether somebody has closed it."""
    try:
        return connection.total_changes < 0
    except sqlite3.ProgrammingError:
        return True


# --- writing ----------------------------------------------------------------------------------------------------------


def to_write(folder: Path, *, foreign_keys: bool = True) -> sqlite3.Connection:
    """A connection that writes; for who has the lock."""
    return proven(
        partial(connect, folder / FILE_NAME, timeout=BUSY_TIMEOUT_S),
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


def beside(folder: Path) -> sqlite3.Connection:
    """A connection that has the database open, so that one that writes is not the last to close. The last one keeps all
    readers out while it removes the log, for as long as it is stopped there. And where the log and its index stay, who
    may not write has locks, too.
    """
    return to_read(folder, writable=True)


# --- reading ----------------------------------------------------------------------------------------------------------


def is_read_only_folder(folder: Path, *, writable: bool) -> bool:
    """Whether no log's index can be made there."""
    return not writable and not os.access(folder, os.W_OK)


def to_read(folder: Path, *, writable: bool, kept_out: bool = False) -> sqlite3.Connection:
    """A connection that reads, whatever others are doing.

    Args:
        writable: whether this one may write, too.
        kept_out: whether one before it could not read by SQLite's locks: somebody has them, or there is no room for the
            log's index.
    """
    may_write = not is_read_only_folder(folder, writable=writable)
    give_up_at = time.monotonic() + (BUSY_TIMEOUT_S if may_write else OTHERS_LOG_S)
    was_refused = False
    while True:
        if _has_locks(folder, may_write=may_write, kept_out=kept_out):
            connection = connect(uri_of(folder, "mode=ro"), uri=True, timeout=OPENING_S, kind=Reading)
        else:
            connection = Unlocked.connect(folder, kept_out=kept_out)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on it keeps its files
        except sqlite3.Error as error:
            system_errors.note(error, connection)
            connection.close()
            extended = code_of(error)
            code = extended & 0xFF
            kept_out = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL) or extended in OF_THE_INDEX
            # Somebody reads through what a killed writer has left; or there is nothing in the log, and no need of it.
            again = code == sqlite3.SQLITE_BUSY or (kept_out and not size_of(folder / f"{FILE_NAME}-wal"))
            # A writer has just made its log, or removed it.
            of_the_log = not may_write and code in OF_OPENING
            once_more = may_write and not was_refused and code in OF_OPENING  # as in `proven`
            was_refused = was_refused or once_more
            if not (again or of_the_log or once_more) or time.monotonic() >= give_up_at:
                raise
            if of_the_log:
                time.sleep(OTHERS_LOG_S / 50)
        except BaseException:
            connection.close()
            raise
        else:
            if not isinstance(connection, Unlocked):
                connection.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_TIMEOUT_S)}")
                return connection
            # What was committed meanwhile stands in a log, or in the file, which has changed then.
            if connection.is_unchanged and not _has_locks(folder, may_write=may_write, kept_out=kept_out):
                return connection
            connection.close()


def _has_locks(folder: Path, *, may_write: bool, kept_out: bool) -> bool:
    """Whether to read by SQLite's locks, which are in the log's index; otherwise there is nothing in the log.

    The first connection of all makes the index anew, and keeps everybody out meanwhile: for long if it is stopped in
    that. Who may not write cannot make it, and waits ten seconds for one that nobody goes on making. And a log that
    nobody has open and in which nothing is committed, as a kill leaves it, SQLite does not read for them ("locking
    protocol", after ten seconds).
    """
    log, index = folder / f"{FILE_NAME}-wal", folder / f"{FILE_NAME}-shm"
    if not size_of(log):
        if kept_out:
            return False
        return _is_made(index) if index.exists() else may_write
    return may_write or _holds_commits(log)


def _is_made(index: Path) -> bool:
    """Whether the log's index has its header, of which there are two copies (https://www.sqlite.org/walformat.html)."""
    try:
        with index.open("rb", buffering=0) as file:
            header, copy = file.read(_INDEX_HEADER), file.read(_INDEX_HEADER)
    except FileNotFoundError:  # just removed
        return False
    return len(copy) == _INDEX_HEADER and header == copy and header[_IS_INITIALISED] == 1


def _holds_commits(log: Path) -> bool:
    try:
        with log.open("rb", buffering=0) as file:
            page_size, salts = struct.unpack(">8xI4x8s8x", file.read(_LOG_HEADER))
            while True:
                pages_after_commit, frame_salts = struct.unpack(">4xI8s8x", file.read(_FRAME_HEADER))
                if frame_salts != salts:
                    return False  # left from before the log was begun anew
                if pages_after_commit:
                    return True
                file.seek(page_size, os.SEEK_CUR)
    except (struct.error, FileNotFoundError):  # its end
        return False


class Reading(sqlite3.Connection):
    """A connection that is not used again after an exception, which may hold a cursor that is not at its end: SQLite
    then goes on to see what was there when that began, also in later transactions.
    """

    is_used_up = False

    @staticmethod
    def take(connection: sqlite3.Connection) -> bool:
        """Use it, until `is_used_up` is put back; False if somebody has not put it back."""
        if not isinstance(connection, Reading):
            return True
        taken, connection.is_used_up = not connection.is_used_up, True
        return taken


class Unlocked(Reading):
    """Reads a database without a log as if nobody could change it: there is nowhere to note that somebody reads.

    That is so until a writer comes: who was reading then, and would have read on in what that one changes, is told.
    """

    kept_out: bool
    _folder: Path
    _state: tuple[int, int, int]

    @classmethod
    def connect(cls, folder: Path, *, kept_out: bool) -> Unlocked:
        """Args:
        kept_out: see `to_read`.
        """
        state = cls._state_of(folder)
        if 0 <= time.time_ns() - state[2] < _SAME_TIME_NS:  # a change could get the same time
            time.sleep(_SAME_TIME_NS / 1e9)
            state = cls._state_of(folder)
        made = connect(uri_of(folder, "mode=ro&immutable=1"), uri=True, kind=cls)
        assert isinstance(made, cls)
        made.kept_out, made._folder, made._state = kept_out, folder, state
        return made

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
def unchanged(connection: object) -> Iterator[None]:
    """Around what reads, perhaps without locks.

    Raises:
        StorageFailed
    """
    try:
        yield
    finally:  # also where what was read made no sense
        if isinstance(connection, Unlocked):
            connection.require_unchanged()

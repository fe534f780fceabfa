"""What SQLite's errors mean for a library, in words that a person can act on."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from zsindex.errors import (
    LibraryBusy,
    LibraryDamaged,
    LibraryError,
    LibraryReadOnly,
    ModelPruned,
    StorageFailed,
    StorageFull,
)
from zsindex.storage.failures import NO_PERMISSION, OF_THE_MACHINE, failure, found_by_trying
from zsindex.storage.sqlite import connections, file, open_files, system_errors
from zsindex.storage.sqlite.connections import OF_OPENING, OF_THE_INDEX
from zsindex.storage.sqlite.file import FILE_NAME
from zsindex.storage.sqlite.legible import legible
from zsindex.storage.sqlite.system_errors import code_of
from zsindex.storage.stored import Unreadable

# What goes wrong as SQLite writes.
_WRITING = OF_THE_INDEX | {
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
# Where an index leads elsewhere, rows are added that are there already.
_THERE_ALREADY = (
    sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    sqlite3.SQLITE_CONSTRAINT_ROWID,
)
# But for the first, it is the schema that says something else than its version promises.
_OF_DAMAGE = re.compile(r"Could not decode to UTF-8|no such (column|table): |table \w+ already exists")


@contextmanager
def translated(folder: Path, *, reads: bool = False) -> Iterator[None]:
    """Turn the errors that a user can do something about into the project's own.

    Args:
        reads: on a connection that cannot write.

    Raises:
        LibraryReadOnly, LibraryBusy, LibraryDamaged, StorageFull, StorageFailed, ModelPruned
    """
    try:
        yield
    except Exception as error:
        told = _told(folder, error, reads)
        if told is None:
            raise
        raise told from error


def _told(folder: Path, error: Exception, reads: bool) -> LibraryError | None:
    """What an error means for the library in `folder`; None if it is none of its own."""
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE | NO_PERMISSION:
        return failure(folder, "read or write it", error)
    cause = getattr(error, "orig", error)  # of SQLAlchemy's errors: the driver's
    is_odd = isinstance(cause, _OF_WRONG_VALUES) or code_of(cause) in _THERE_ALREADY
    if is_odd and (found := _malformed(folder)) is not None:
        return LibraryDamaged(folder, found)
    if isinstance(cause, Unreadable):
        return LibraryDamaged(folder, str(cause))
    if not isinstance(cause, sqlite3.Error):
        return None
    if _OF_DAMAGE.match(str(cause)):
        return LibraryDamaged(folder, str(cause))
    # Images, folders and files are looked up in the transaction that refers to them; a model's id is kept. Past
    # SQLAlchemy, which knows the statement, only prompts are stored.
    is_of_model = "model_id" in (getattr(error, "statement", None) or "model_id")
    if code_of(cause) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY and is_of_model:
        return ModelPruned(folder)
    match code_of(cause) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return StorageFull(folder)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _of_damage(folder, cause)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_PROTOCOL:
            holder = "another program has the database open"
            return LibraryBusy(folder, holder=holder, waited_s=connections.BUSY_TIMEOUT_S)
    return _of_the_system(folder, cause, reads)


def _of_damage(folder: Path, cause: sqlite3.Error) -> LibraryError:
    if (unread := open_files.unread(folder)) is not None:
        return failure(folder, "read its database", unread)
    if _malformed(folder) is None:
        again = OSError(errno.EIO, "it could not be read, though it can now")
        return failure(folder, "read its database", again)
    return LibraryDamaged(folder, str(cause))


def _malformed(folder: Path) -> str | None:
    """What SQLite finds wrong with the database, if anything is."""
    try:
        with closing(connections.to_read(folder, writable=False)) as connection, legible(connection):
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter for an error whose message is damaged
        return str(error)
    return None if found == "ok" else str(found)


def _of_the_system(folder: Path, cause: sqlite3.Error, reads: bool) -> LibraryError | None:
    """What it means that the system refused something to SQLite; None if it did not."""
    extended = code_of(cause)
    if extended == sqlite3.SQLITE_IOERR_DELETE:
        return _of_removing(folder)
    code = extended & 0xFF
    said = system_errors.noted(cause)
    # Of a file that could not be opened the last attempt to open it otherwise is known, which may not be there.
    if said in OF_THE_MACHINE | NO_PERMISSION or (said and code == sqlite3.SQLITE_IOERR):
        return failure(folder, "read or write its database", OSError(said, os.strerror(said)))
    # SQLite does not tell what the system said: that is found by asking for the same again.
    its_files = (folder / f"{FILE_NAME}{ending}" for ending in ("", "-wal", "-shm"))
    may_write = all(os.access(one, os.W_OK) or not os.path.exists(one) for one in (folder, *its_files))
    is_of_opening = code in OF_OPENING
    is_of_writing = is_of_opening or extended in _WRITING
    if may_write and is_of_writing:
        grew = extended == sqlite3.SQLITE_IOERR_WRITE
        if (found := found_by_trying(folder, beyond=file.largest(folder), grew=grew)) is not None:
            return failure(folder, "read or write its database", found)
    if is_of_opening and may_write and not (reads and extended == sqlite3.SQLITE_READONLY):
        # No permission is missing: too many open files, say, or the file has gone. A log that it might not open to
        # write SQLite has opened to read, and what was said of that is lost.
        passed = "a file of it could not be opened for writing, though it can be now"
        return StorageFailed(folder, "open its database", passed if extended == sqlite3.SQLITE_READONLY else str(cause))
    if is_of_opening or code == sqlite3.SQLITE_PERM:
        return LibraryReadOnly(folder, f"open its database ({cause})")
    if code != sqlite3.SQLITE_IOERR:
        return None
    what = "the system refused, though it does not now" if is_of_writing else "the disk reports an error"
    if extended == sqlite3.SQLITE_IOERR_SHMMAP:
        what = "no memory could be mapped"
    name = getattr(cause, "sqlite_errorname", "")
    return StorageFailed(folder, "read or write its database", f"{what}: {cause}, {name}")


def _of_removing(folder: Path) -> LibraryError:
    """What it means that SQLite cannot remove its journal, the only file of whose removal it tells."""
    journal = folder / f"{FILE_NAME}-journal"
    try:
        # The same of a file that is not there: removing the journal itself would take away what it is for.
        journal.with_name(f"{journal.name}.none").unlink()
    except FileNotFoundError:  # what a journal's owner, or a mark on it, may forbid is not found so
        pass
    except OSError as error:
        if error.errno not in NO_PERMISSION:
            return failure(folder, f"remove {journal}", error)
    return LibraryReadOnly(folder, f"open its database, as there is no permission to remove {journal}")

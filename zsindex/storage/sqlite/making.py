"""Whether there is a library in a folder; and making one."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

from zsindex import atomic
from zsindex.errors import LibraryError, NotALibrary
from zsindex.storage.failures import OF_THE_MACHINE, failure
from zsindex.storage.sqlite import connections, open_files
from zsindex.storage.sqlite.failures import translated
from zsindex.storage.sqlite.file import APPLICATION_ID, FILE_NAME, PAGE_SIZE
from zsindex.storage.sqlite.lock import FolderLock

_HEADER_BYTES = 100


def is_library(folder: Path) -> bool:
    """Whether `folder` holds a library; False where one could be made.

    Raises:
        NotALibrary: something else is there.
        StorageFailed, StorageFull
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
        header = open_files.header(folder, _HEADER_BYTES)
    except OSError as error:
        raise unreachable(folder, error) from error
    if header is None:
        return True
    if not header:
        return False  # a process was stopped while it made the library; nothing is in it
    if not header.startswith(b"SQLite format 3\0") or len(header) < _HEADER_BYTES:
        raise NotALibrary(folder, f"its {FILE_NAME} is not an SQLite database")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise NotALibrary(folder, f"its {FILE_NAME} belongs to another program")
    return True


def unreachable(folder: Path, error: OSError) -> LibraryError:
    """What it means that the system does not let one look whether there is a library."""
    if error.errno in OF_THE_MACHINE:
        return failure(folder, "open it", error)
    return NotALibrary(folder, f"it cannot be read ({error.strerror})")


def make(folder: Path) -> None:
    """Make an empty database with its schema. Others who want the same folder wait, and find it made.

    Raises:
        NotALibrary, LibraryBusy, LibraryReadOnly, StorageFailed, StorageFull
    """
    try:
        new = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for place in new:  # or a power cut could take all that is stored from now on
            atomic.sync_folder(place.parent)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with _lock(folder).hold("make the library"), translated(folder):
            if is_library(folder):
                return
            connections.proven(
                partial(connections.connect, folder / FILE_NAME),
                f"PRAGMA page_size = {PAGE_SIZE}",  # cannot be changed later
                f"PRAGMA application_id = {APPLICATION_ID}",
            ).close()
    except OSError as error:
        if error.errno in OF_THE_MACHINE:
            raise failure(folder, "make it", error) from error
        raise NotALibrary(folder, f"it cannot be made ({error.strerror})") from error


def is_half_made(folder: Path) -> bool:
    """Whether a process is making the library, or was stopped in that: later there is a log instead of a journal.

    Raises:
        NotALibrary, StorageFailed, StorageFull
    """
    try:
        (folder / f"{FILE_NAME}-journal").stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreachable(folder, error) from error
    return True


def roll_back(folder: Path) -> None:
    """Take back what a process began that was stopped while it made the library, which readers may not do.

    Raises:
        LibraryBusy, LibraryReadOnly, StorageFailed, StorageFull
    """
    with _lock(folder).hold("make the library"):
        if is_half_made(folder):
            with translated(folder):
                connections.proven(
                    partial(connections.connect, folder / FILE_NAME, timeout=connections.BUSY_TIMEOUT_S),
                    "SELECT count(*) FROM sqlite_master",
                ).close()


def _lock(folder: Path) -> FolderLock:
    return FolderLock(folder, "write", timeout_s=connections.BUSY_TIMEOUT_S, put_off=True)

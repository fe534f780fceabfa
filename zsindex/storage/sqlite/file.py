"""The file `library.db`: what it is called, what tells it from others, and how large it is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

FILE_NAME = "library.db"
APPLICATION_ID = 0x7A736978  # "zsix"; SQLite keeps it in the file's header
PAGE_SIZE = 16_384  # a 512-d vector is 2 KB: at SQLite's usual 4 KB almost half of every page would stay empty

# Device and inode.
Identity: TypeAlias = tuple[int, int]


def identity(file: Path) -> Identity:
    """What stays as long as the file does, whatever its name.

    Raises:
        OSError
    """
    found = file.stat()
    return found.st_dev, found.st_ino


def size_of(file: Path) -> int:
    """Bytes of a file; 0 if it is gone: logs come and go while others work.

    Raises:
        OSError
    """
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def largest(folder: Path) -> int:
    """Bytes of the largest of the database's files, as far as they can be examined."""
    sizes = [0]
    for ending in ("", "-wal", "-shm"):
        with suppress(OSError):  # it is asked for where something has failed already
            sizes.append(size_of(folder / f"{FILE_NAME}{ending}"))
    return max(sizes)

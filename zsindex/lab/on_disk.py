"""Which files exist now, and which names belong to the same file: checked before anything is suggested for removal."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

from zsindex.photos.formats import storable
from zsindex.storage.rows import FileDetails


class Seen(NamedTuple):
    """A regular file as it is on disk: what distinguishes it from all others, and from its earlier state."""

    device: int
    inode: int
    size: int
    mtime_ns: int


def seen(path: str) -> Seen | None:
    """The file that a path leads to; None if it is not a regular file, cannot be reached, or is on a file system that
    does not distinguish its files.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # the latter for names that no file can have
        return None
    if not stat.S_ISREG(found.st_mode) or not found.st_ino:
        return None
    return Seen(found.st_dev, found.st_ino, found.st_size, storable(found.st_mtime_ns))


def distinct(files: Iterable[FileDetails]) -> dict[str, Seen]:
    """The files that exist unchanged since they were read, each under one name.

    Hard and symbolic links, folders with two names and case-insensitive file systems give a file several names. Names
    without a symbolic link are preferred; among those, the first.

    Returns:
        What each path leads to, in the order of `files`.
    """
    there: dict[str, Seen] = {}
    best: dict[tuple[int, int], tuple[tuple[bool, bool], str]] = {}
    for file in files:
        found = seen(file.path)
        if found is None or (found.size, found.mtime_ns) != (file.size, file.mtime_ns):
            continue
        there[file.path] = found
        rank = (os.path.islink(file.path), os.path.realpath(file.path) != file.path)
        known = best.get((found.device, found.inode))
        if known is None or rank < known[0]:
            best[found.device, found.inode] = (rank, file.path)
    chosen = {path for _, path in best.values()}
    return {path: found for path, found in there.items() if path in chosen}

"""Which files are there now, and which names are those of one file: asked before anything is suggested for removal."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

from zsindex.photos.formats import storable
from zsindex.storage.rows import FileDetails


class Seen(NamedTuple):
    """A plain file as it lies on the disk: what tells it from all others, and from what it was before."""

    device: int
    inode: int
    size: int
    mtime_ns: int


def seen(path: str) -> Seen | None:
    """What a path leads to; None where that is no plain file, or cannot be reached, or where the file system does not
    tell its files apart.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # the latter of names that no file can have
        return None
    if not stat.S_ISREG(found.st_mode) or not found.st_ino:
        return None
    return Seen(found.st_dev, found.st_ino, found.st_size, storable(found.st_mtime_ns))


def distinct(files: Iterable[FileDetails]) -> dict[str, Seen]:
    """The files that are there and as they were when they were read, each under one name.

    Hard and symbolic links, folders that are reached under two names and file systems that take "A" for "a" give a file
    several names. Its own one is preferred to those that lead through a symbolic link; after that the first.

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

"""Files in a library's ``index/`` folder: who makes one keeps it until the database knows of it, and only what nobody
keeps is taken for a stray.

A file is written, renamed, and then recorded: in between, and while it is written, it looks like what a crash has left.
So its maker holds an advisory lock on it (`flock`, which goes with the file through a rename, and with its process)
from before the first byte until after the record. Names are never used twice. So a file that is not locked and, looked
up after that, not recorded either, will never be recorded.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from zsindex import atomic

if sys.platform != "win32":  # there a file that is open cannot be removed
    import fcntl


class Making:
    """Files in the making. At the end of the ``with`` block they are recorded, or strays."""

    def __init__(self) -> None:
        self._locked: list[int] = []

    def create(self, file: Path) -> BinaryIO:
        """Open a new file for writing; it may be renamed later, on the same disk.

        Raises:
            OSError
        """
        with _opening(file.parent, exclusive=False):
            out = file.open("xb")
            if _lock(out.fileno(), wait=True):
                self._locked.append(os.dup(out.fileno()))
        return out

    def keep(self, file: Path) -> None:
        """Hold a finished file that is about to lose its record, until it is removed: in between it would look like a
        stray to others.
        """
        with suppress(OSError):
            descriptor = os.open(file, os.O_RDONLY)
            if _lock(descriptor, wait=True):
                self._locked.append(descriptor)
            else:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        while self._locked:
            os.close(self._locked.pop())


def make_folder(folder: Path) -> None:
    """Make the folder, whose name is on the disk before that of any file in it is recorded.

    Raises:
        OSError
    """
    if (taken := name_taken(folder)) is not None:
        raise OSError(taken)
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        atomic.sync_folder(folder.parent)


def name_taken(folder: Path) -> str | None:
    """That something else has the folder's name, in words; None if nothing has."""
    try:
        is_taken = not stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError:
        is_taken = folder.is_symlink()
    except OSError:  # whoever needs the folder is told
        is_taken = False
    return f"{folder} is no folder: remove it, or give it another name, and it is made anew" if is_taken else None


def size_of(file: Path) -> int:
    """Bytes of a file; 0 if it is gone: snapshots come and go while others work."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def strays(folder: Path, recorded: Callable[[], Collection[str]]) -> list[Path]:
    """Files that nobody makes and the database does not know: left by a crash.

    Args:
        recorded: asks the database for the names of files.
    """
    listed = sorted(folder.glob("*"))
    unknown = set(listed)
    for _ in range(2):  # once more for those whose maker recorded them between the list and the look at their locks
        known = recorded()
        unknown = {file for file in unknown if file.name not in known and is_left(file)}
        if not unknown:
            break
    return [file for file in listed if file in unknown]


def remove(file: Path, recorded: Callable[[], Collection[str]]) -> bool:
    """Remove a stray; False where it is none any more."""
    with _alone(file) as alone:
        if not alone or file.name in recorded():
            return False
        with suppress(FileNotFoundError):
            file.unlink()
        return True


def is_left(file: Path) -> bool:
    """Whether nobody makes a file at the moment."""
    with _alone(file) as alone:
        return alone


@contextmanager
def _alone(file: Path) -> Iterator[bool]:
    """Whether nobody makes the file; then nobody does as long as the block lasts."""
    with ExitStack() as stack:
        try:
            with _opening(file.parent, exclusive=True):
                opened = stack.enter_context(file.open("rb"))
                alone = sys.platform == "win32" or _lock(opened.fileno(), wait=False)
        except OSError:
            alone = False
        yield alone


@contextmanager
def _opening(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Makers open and lock a file as one step, as far as those are concerned who look for strays."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, wait=True, exclusive=exclusive)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool, exclusive: bool = True) -> bool:
    """False where somebody else holds it, or the file system cannot lock: there all strays are left alone."""
    if sys.platform == "win32":
        return False
    try:
        how = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        fcntl.flock(descriptor, how if wait else how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

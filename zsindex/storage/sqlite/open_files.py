"""Which databases this process has open, and what becomes of them in a fork.

POSIX takes a process's locks on a file away when it closes any descriptor of it: another process would think itself the
last one, and delete the log that this one writes. So who opens a database claims it, and while it is claimed it is read
through SQLite alone. And SQLite thinks of a process's locks as its own, also in a child, which has none. So what nobody
uses is closed before a fork, and what somebody does is never opened in the child.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from zsindex.errors import LibraryForked
from zsindex.storage.interrupts import PutOff
from zsindex.storage.sqlite import lock  # noqa: F401  what it does before a fork has to come after what is done here
from zsindex.storage.sqlite.file import FILE_NAME, Identity, identity

_lock = threading.RLock()
_claimed: Counter[Identity] = Counter()
# Those that a parent's thread was using when this process was forked off.
_inherited: set[Identity] = set()
# Descriptors of those that were read past SQLite. Never closed, which would take the locks of this process away; so one
# of each file.
_read_past: dict[Identity, int] = {}


def claim(folder: Path) -> Identity:
    """Note that the database in `folder` is going to be open.

    Raises:
        OSError
        LibraryForked: a parent of this process has it open, and cannot close it.
    """
    with _lock:
        claimed = identity(folder / FILE_NAME)
        if claimed in _inherited:
            raise LibraryForked(folder, can_open=False)
        _claimed[claimed] += 1
        return claimed


def release(claimed: Identity) -> None:
    """Take a claim back."""
    with _lock:
        _claimed[claimed] -= 1


def header(folder: Path, n_bytes: int) -> bytes | None:
    """The first bytes of the database; None if it is claimed.

    Raises:
        OSError
    """
    file = folder / FILE_NAME
    with _lock:
        if _claimed[identity(file)]:
            return None
        with file.open("rb") as opened:
            return opened.read(n_bytes)


def unread(folder: Path) -> OSError | None:
    """What keeps the system from reading the database through; None if nothing does. SQLite calls a disk that fails to
    read damage to the file.
    """
    file = folder / FILE_NAME
    try:
        with _lock:
            of_file = identity(file)
            if of_file not in _read_past:
                _read_past[of_file] = os.open(file, os.O_RDONLY)
            os.lseek(_read_past[of_file], 0, os.SEEK_SET)
            while os.read(_read_past[of_file], 1 << 20):
                pass
    except OSError as error:
        return error
    return None


# --- around a fork ----------------------------------------------------------------------------------------------------


class Handle(Protocol):
    """Whatever has a database open."""

    def part(self) -> None:
        """Before a fork: close what nobody uses, and keep others from opening anything."""
        ...

    def go_on(self) -> None:
        """After it, in both processes."""
        ...

    def leave(self) -> tuple[Identity | None, list[object]]:
        """In the child: what was claimed and is in use by the parent, if anything is, and what must never be closed."""
        ...


_handles: WeakSet[Handle] = WeakSet()
_parted: list[Handle] = []


def register(handle: Handle) -> None:
    """Let it know of forks, as long as it lives."""
    _handles.add(handle)


def _before_fork() -> None:
    with PutOff():
        _lock.acquire()
        for handle in list(_handles):
            handle.part()
            _parted.append(handle)


def _after_fork_in_parent() -> None:
    with PutOff():
        while _parted:
            _parted.pop().go_on()
        _lock.release()


def _after_fork_in_child() -> None:
    left: list[object] = []
    for handle in _parted:
        claimed, things = handle.leave()
        left += things
        if claimed is not None:
            _inherited.add(claimed)
    if left:
        import ctypes

        # Closing a connection in work would undo what the parent is doing in the memory that both share. Nothing that
        # refers to it here can be relied on to the end of the process but a count that is never paid back.
        for thing in left:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    _after_fork_in_parent()


# What is registered last comes first before a fork: who has a database open takes its lock to close it.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)

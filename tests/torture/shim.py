"""Faults of file operations, through a library in C that is preloaded: see `shim.c`.

It stands between a program and its C library. So it sees what Python, SQLite, FAISS (which writes through Python here)
and Arrow ask of the C library by name, below one folder, from all threads of a process.

What it does not reach:

-   writes to memory that is mapped from a file. Of the program's files that is SQLite's ``-shm``, which is worth
    nothing after a crash and is made anew;
-   calls that the C library makes inside itself (``fopen``, ``posix_fallocate``, ``copy_file_range`` under another
    name), or a program past it: ``statx``, io_uring, static binaries. `os.scandir` is refused as a whole, and not
    between two entries;
-   errors that come later than the call that caused them, as from ``close`` over a network;
-   what the kernel and the disk do with what was written: `tests.torture.power` models that.
"""

from __future__ import annotations

import ctypes
import errno
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


class Operation(IntFlag):
    """What can be counted, in the order of `shim.c`. One that makes a file is `CREATE`, and not `OPEN` as well."""

    OPEN = 1 << 0
    CREATE = 1 << 1
    WRITE = 1 << 2
    SYNC = 1 << 3
    RENAME = 1 << 4
    UNLINK = 1 << 5
    TRUNCATE = 1 << 6
    MKDIR = 1 << 7
    RMDIR = 1 << 8
    READ = 1 << 9
    MMAP = 1 << 10
    STAT = 1 << 11
    FSTAT = 1 << 12
    LOCK = 1 << 13
    LIST = 1 << 14


CHANGES = (
    Operation.CREATE
    | Operation.WRITE
    | Operation.SYNC
    | Operation.RENAME
    | Operation.UNLINK
    | Operation.TRUNCATE
    | Operation.MKDIR
    | Operation.RMDIR
)
EVERYTHING = Operation((1 << len(Operation)) - 1)

# What systems say at each of them. Python and SQLite ask again after EINTR. That somebody else has a lock is no fault.
REASONS: dict[Operation, tuple[int, ...]] = {
    Operation.OPEN: (errno.EMFILE, errno.EACCES, errno.EIO, errno.EINTR),
    Operation.CREATE: (errno.ENOSPC, errno.EMFILE, errno.EACCES, errno.EIO, errno.EINTR),
    Operation.WRITE: (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR),
    Operation.SYNC: (errno.EIO, errno.ENOSPC),
    Operation.RENAME: (errno.EIO, errno.ENOSPC, errno.EACCES),
    Operation.UNLINK: (errno.EIO, errno.EACCES),
    Operation.TRUNCATE: (errno.EIO, errno.ENOSPC, errno.EINTR),
    Operation.MKDIR: (errno.ENOSPC, errno.EIO, errno.EACCES),
    Operation.RMDIR: (errno.EIO, errno.EACCES),
    Operation.READ: (errno.EIO, errno.EINTR),
    Operation.MMAP: (errno.ENOMEM,),
    Operation.STAT: (errno.EIO, errno.EACCES),
    Operation.FSTAT: (errno.EIO,),
    Operation.LOCK: (errno.ENOLCK,),
    Operation.LIST: (errno.EMFILE, errno.EACCES, errno.EIO),
}


class Mode(IntEnum):
    """What happens at the operation that was chosen."""

    COUNT = 0
    FAIL = 1
    STICKY = 2  # that one fails, and all after it that can fail for the same reason
    KILL = 3
    SHORT = 4  # half of it is written


@dataclass(frozen=True, slots=True)
class Point:
    """An operation that was counted."""

    operation: Operation
    path: str

    def __str__(self) -> str:
        return f"{(self.operation.name or '').lower()} {Path(self.path).name}"


@dataclass(frozen=True, slots=True)
class Logged:
    """An operation that was done, as the log has it.

    Attributes:
        what: an operation's name in small letters; ``point`` for one that is only counted; ``mark`` for a call of
            `Shim.mark`.
        inode: of the file; 0 where a path says it.
        other: where a file was renamed to; at a point, its path.
        number: an offset, a length, or which point or mark it is.
    """

    what: str
    inode: int
    path: str
    other: str
    number: int
    data: bytes


def missing() -> str | None:
    """Why faults cannot be made on this machine, if they cannot."""
    if sys.platform != "linux":
        return "faults are made through what only Linux has"
    return None if shutil.which("cc") else "there is no C compiler (cc)"


def build(folder: Path) -> Path:
    """Compile the library into a folder."""
    library = folder / "shim.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE, "-ldl"],
        check=True,
        capture_output=True,
    )
    return library


class Shim:
    """The library, in a process that it was preloaded into."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.shim_hit.restype = ctypes.c_char_p
        self._library.shim_count.restype = self._library.shim_marks.restype = ctypes.c_long

    def arm(
        self, mode: Mode, below: Path, *, target: int = 0, error: int = 0, operations: Operation = EVERYTHING
    ) -> None:
        """Count operations below a folder from now on; something happens at the one of number `target`, from 1 on."""
        alike = sum(one for one, reasons in REASONS.items() if error in reasons)
        if mode == Mode.SHORT:
            alike = Operation.WRITE
        self._library.shim_arm(mode, ctypes.c_long(target), error, operations, alike, str(below).encode())

    def disarm(self) -> None:
        """Let all go on as if there was no shim."""
        self._library.shim_disarm()

    def log(self, file: Path | None) -> None:
        """Log what is done and counted; None ends that."""
        if not self._library.shim_log(None if file is None else str(file).encode()):
            raise OSError(f"cannot log to {file}")

    def mark(self) -> None:
        """Note that something is done, and was said to be."""
        self._library.shim_mark()

    @property
    def count(self) -> int:
        """Operations since it was armed, in this process or a child of it."""
        return int(self._library.shim_count())

    @property
    def marks(self) -> int:
        """Calls of `mark` since then."""
        return int(self._library.shim_marks())

    @property
    def hit(self) -> str:
        """The operation of number `target` and its file; empty if it was not reached."""
        return bytes(self._library.shim_hit()).decode(errors="replace")


def read_log(file: Path) -> list[Logged]:
    """What was logged, in order."""
    content, at, found = file.read_bytes(), 0, []
    while at < len(content):
        end = content.index(b"\n", at)
        what, inode, path, other, number, length = content[at:end].decode(errors="surrogateescape").split("\t")
        at = end + 1 + int(length)
        found.append(Logged(what, int(inode), path, other, int(number), content[end + 1 : at]))
    return found


def points(log: list[Logged]) -> list[Point]:
    """The operations that were counted, in order."""
    return [Point(Operation[entry.path.upper()], entry.other) for entry in log if entry.what == "point"]

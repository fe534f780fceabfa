"""What errors of the operating system mean for a library whose files lie in a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from zsindex.errors import LibraryError, LibraryReadOnly, StorageFailed, StorageFull

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Of no path in particular: whatever was to be opened, it would have been refused.
OF_THE_MACHINE = NO_SPACE | {errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM}
_FILES_OF_SQLITE = 5  # the database, its log, its index, their folder; and a journal
_ENOUGH = 1 << 16  # more than the index of SQLite's log begins with
NO_PERMISSION = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def failure(folder: Path, action: str, error: OSError) -> LibraryError:
    """What an error of the operating system means for the library in `folder`, in which `action` was to be done."""
    if error.errno in NO_SPACE:
        return StorageFull(folder, "" if error.errno == errno.ENOSPC else os.strerror(error.errno))
    if error.errno in NO_PERMISSION:
        return LibraryReadOnly(folder, f"{action} ({error.strerror})")
    detail = error.strerror or str(error) or type(error).__name__
    return StorageFailed(folder, action, f"the disk reports an error: {detail}" if error.errno == errno.EIO else detail)


@contextmanager
def told(folder: Path, action: str) -> Iterator[None]:
    """Around what reads and writes files of the library in `folder` itself: an error of the system is told as `failure`
    tells it.

    Raises:
        StorageFull, LibraryReadOnly, StorageFailed
    """
    try:
        yield
    except OSError as error:
        raise failure(folder, action, error) from error


def found_by_trying(folder: Path, *, beyond: int, grew: bool) -> OSError | None:
    """What the system says when something is written in `folder`, in a file without a name; None if it says nothing.

    For those who were refused and not told why, as SQLite's users are.

    Args:
        beyond: bytes that the file appears to have before, as files may only become so large.
        grew: whether a file was becoming larger. It may have been cut back since, and nobody knows from what.
    """
    try:
        import tempfile  # takes milliseconds, of which a cached question has few

        with ExitStack() as stack:
            # What SQLite opens was given back before it said that it had failed.
            for _ in range(_FILES_OF_SQLITE):
                stack.enter_context(open(os.devnull, "rb"))
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            file.seek(beyond)
            file.write(bytes(_ENOUGH))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return OSError(errno.EFBIG, os.strerror(errno.EFBIG)) if grew and _sizes_are_limited() else None


def _sizes_are_limited() -> bool:
    """Whether this process may not make files as large as the disk allows."""
    try:
        import resource
    except ImportError:  # on Windows
        return False
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY

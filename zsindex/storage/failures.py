"""What errors of the operating system mean for a library whose files lie in a folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from zsindex.errors import LibraryError, LibraryReadOnly, StorageFailed, StorageFull

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Of no path in particular: whatever was to be opened, it would have been refused.
OF_THE_MACHINE = NO_SPACE | {errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM}
_ENOUGH = 1 << 16  # more than the index of SQLite's log begins with
NO_PERMISSION = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def failure(folder: Path, action: str, error: OSError) -> LibraryError:
    """What an error of the operating system means for the library in `folder`, in which `action` was to be done."""
    if error.errno in NO_SPACE:
        return StorageFull(folder)
    if error.errno in NO_PERMISSION:
        return LibraryReadOnly(folder, f"{action} ({error.strerror})")
    detail = error.strerror or str(error) or type(error).__name__
    return StorageFailed(folder, action, f"the disk reports an error: {detail}" if error.errno == errno.EIO else detail)


def found_by_trying(folder: Path, *, beyond: int) -> OSError | None:
    """What the system says when something is written in `folder`, in a file without a name; None if it says nothing.

    For those who were refused and not told why, as SQLite's users are.

    Args:
        beyond: bytes that the file appears to have before, as files may only become so large.
    """
    import tempfile  # takes milliseconds, of which a cached question has few

    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.seek(beyond)
            file.write(bytes(_ENOUGH))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None

"""What errors of the operating system mean for a library whose files lie in a folder."""

from __future__ import annotations

import errno
from pathlib import Path

from zsindex.errors import LibraryError, LibraryReadOnly, StorageFailed, StorageFull

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
NO_PERMISSION = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def failure(folder: Path, action: str, error: OSError) -> LibraryError:
    """What an error of the operating system means for the library in `folder`, in which `action` was to be done."""
    if error.errno in NO_SPACE:
        return StorageFull(folder)
    if error.errno in NO_PERMISSION:
        return LibraryReadOnly(folder, f"{action} ({error.strerror})")
    return StorageFailed(folder, action, error.strerror or str(error) or type(error).__name__)

"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_bytes(file: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write a file: temporary name in the same folder, synced, renamed. At no instant there is anything but old or new.

    Args:
        mode: permissions of the new file. Default: those that new files get.

    Raises:
        OSError
    """
    temporary = file.with_name(f".{file.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as out:
            out.write(data)
            out.flush()
            if mode is not None:
                temporary.chmod(mode)
            os.fsync(out.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)

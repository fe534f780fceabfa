"""Files with a checksum that the library knows: derived from it, and used only where they are of its present history.

A line that says what they are, the SHA-256 of what follows, and that. A file with a checksum that is not recorded may
come from the library's future: where a database was restored, the same ids mean other images.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from zsindex.errors import LibraryBusy, LibraryReadOnly, ModelPruned, StorageFailed, StorageFull, ZsindexError
from zsindex.index.files import Making

# What keeps a file from being written, or the library from knowing it, where nobody has made a mistake.
IMPOSSIBLE = (OSError, LibraryBusy, LibraryReadOnly, StorageFailed, StorageFull, ModelPruned)


def read(file: Path, kind: bytes, *, is_recorded: Callable[[str], bool]) -> memoryview | None:
    """What a file holds; None if there is none, it is damaged, or the library does not know it.

    Args:
        kind: the line that it begins with.
        is_recorded: whether the library knows a checksum, in hex.
    """
    try:
        content = file.read_bytes()
    except OSError:
        return None
    head = len(kind) + 32
    body = memoryview(content)[head:]
    found = hashlib.sha256(body)
    whole = content[: len(kind)] == kind and found.digest() == content[len(kind) : head]
    return body if whole and is_recorded(found.hexdigest()) else None


def checksum(file: Path, kind: bytes) -> str | None:
    """The checksum that a file says it has, in hex; None if there is none of this kind. Reads no more than that."""
    try:
        with file.open("rb") as content:
            head = content.read(len(kind) + 32)
    except OSError:
        return None
    return head[len(kind) :].hex() if head[: len(kind)] == kind else None


def write(file: Path, kind: bytes, body: bytes, *, record: Callable[[str], None]) -> None:
    """Write a file, replacing an earlier one: temporary name, sync, rename.

    Args:
        kind: the line that it begins with.
        record: tells the library its checksum, before the file gets its name: whoever is killed in between, or makes
            another one at the same time, leaves a file that is known.

    Raises:
        OSError, and whatever `record` raises: nothing is left of it then.
    """
    checksum = hashlib.sha256(body)
    temporary = file.with_name(f"{file.name}-{secrets.token_hex(4)}.tmp")
    try:
        file.parent.mkdir(exist_ok=True)
        with Making() as making:
            with making.create(temporary) as out:
                out.write(kind)
                out.write(checksum.digest())
                out.write(body)
                out.flush()
                os.fsync(out.fileno())
            record(checksum.hexdigest())
            temporary.replace(file)
    except (OSError, ZsindexError):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def could_write(file: Path, kind: bytes, body: bytes, *, record: Callable[[str], None]) -> bool:
    """The same, where it does not matter if that is impossible."""
    try:
        write(file, kind, body, record=record)
    except IMPOSSIBLE:
        return False
    return True

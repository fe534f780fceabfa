"""What an export's files must be: their SHA-256, compared once for each file as it lies on the disk.

Size alone tells nothing of a bit that has flipped, and vectors of a damaged tower are in a library for good. Reading a
large tower through at every start would take longer than what is asked of it, so a file that was found right is
remembered by what changes whenever somebody writes to it, as the index remembers its snapshots.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from zsindex import atomic

# The identities of files whose checksum was found right, beside them.
VERIFIED = "verified.json"
_SEAL = "seal"


def sealed(document: Mapping[str, Any]) -> bytes:
    """A JSON document that tells when it is damaged itself."""
    return json.dumps({**document, _SEAL: _seal(document)}, indent=1).encode()


def unsealed(content: bytes) -> dict[str, Any]:
    """The document of `sealed`.

    Raises:
        ValueError: it is damaged, or none.
    """
    found = json.loads(content)
    if not isinstance(found, dict) or found.pop(_SEAL, None) != _seal(found):
        raise ValueError("its checksum is not that of its content")
    return found


def _seal(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def sha256_of(file: Path) -> str:
    """Hex SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def damaged(folder: Path, checksums: Mapping[str, str], *, verified: Mapping[str, str] | None = None) -> list[str]:
    """Names of files that are not what they should be, or not there.

    Args:
        checksums: hex SHA-256 by name.
        verified: identities of files that need not be read through again. None: those remembered in the folder, to
            which others are added.
    """
    known = _remembered(folder) if verified is None else verified
    right: dict[str, str] = {}
    wrong: list[str] = []
    for name, expected in checksums.items():
        file = folder / name
        try:
            before, now_ns = file.stat(), time.time_ns()
            if known.get(name) == _identity(before):
                right[name] = known[name]
            elif sha256_of(file) != expected:
                wrong.append(name)
            elif _identity(file.stat()) == _identity(before) and _is_settled(before, now_ns):
                right[name] = _identity(before)
        except OSError:
            wrong.append(name)
    if verified is None and right != known:
        with suppress(OSError):  # where nothing can be written each start reads the files through
            atomic.write_bytes(folder / VERIFIED, json.dumps(right).encode())
    return wrong


def identities(folder: Path, names: Mapping[str, str]) -> dict[str, str]:
    """What files are now, as `damaged` takes them; those that cannot be reached are left out."""
    found = {}
    for name in names:
        with suppress(OSError):
            found[name] = _identity((folder / name).stat())
    return found


def sync(folder: Path) -> None:
    """Let a folder's files reach the disk, and then their names.

    Raises:
        OSError
    """
    for file in folder.iterdir():
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
    sync_names(folder)


def sync_names(folder: Path) -> None:
    """Let the names in a folder reach the disk."""
    with suppress(OSError):  # folders cannot be opened on Windows
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def keep_only_recorded(folder: Path, record: Path) -> bool:
    """Remove files that `record_all` has not recorded as they are; False where that is impossible, and they may be
    anything.
    """
    try:
        recorded = _recorded(record)
        for file in folder.iterdir():
            expected, identity = recorded.get(file.name, ("", ""))
            if _identity(file.stat()) != identity and sha256_of(file) != expected:
                file.unlink()
    except FileNotFoundError:  # the folder, before the first one; or another process was faster
        return True
    except OSError:
        return False
    return True


def record_all(folder: Path, record: Path) -> None:
    """Record the checksums of the files in a folder beside those that others have recorded meanwhile, if possible."""
    with suppress(OSError):
        recorded, now_ns = _recorded(record), time.time_ns()
        found = dict(recorded)
        for file in folder.iterdir():
            before = file.stat()
            if recorded.get(file.name, ("", ""))[1] != _identity(before):
                identity = _identity(before) if _is_settled(before, now_ns) else ""
                found[file.name] = sha256_of(file), identity
        if found != recorded:
            atomic.write_bytes(record, sealed(found))


def _recorded(record: Path) -> dict[str, tuple[str, str]]:
    """Checksum and identity by name, empty where the file may have been written in the same moment."""
    try:
        found = unsealed(record.read_bytes())
        return {name: (str(checksum), str(identity)) for name, (checksum, identity) in found.items()}
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def _remembered(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / VERIFIED).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _identity(stat: os.stat_result) -> str:
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def _is_settled(stat: os.stat_result, now_ns: int) -> bool:
    """Whether the time stamps would show a change from now on; see `zsindex.index.vectors.is_settled`."""
    step_ns = 50_000_000 if stat.st_mtime_ns % 1_000_000_000 else 2_000_000_000
    return now_ns - stat.st_mtime_ns > step_ns

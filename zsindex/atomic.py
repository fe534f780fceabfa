"""Files that are there as a whole or not at all; and what is no plain file, which is only written to."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_MOST_LINKS = 40  # as Linux has it


def write_bytes(file: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write a file: temporary name in the same folder, synced, renamed. At no instant there is anything but old or new.

    A symbolic link of that name is replaced; `writing` follows it.

    Args:
        mode: permissions of the new file. Default: those that new files get.

    Raises:
        OSError
    """
    with _replacing(file) as out:
        out.write(data)
        if mode is not None:
            _change_mode(out, mode)


@contextmanager
def writing(file: str | os.PathLike[str], *, encoding: str | None = None) -> Iterator[IO[Any]]:
    """Open whatever a user names for output: for bytes, or for text in an encoding, whose line ends stay as they are.

    A plain file is replaced when the block ends, and stays as it was if the block fails; it keeps its permissions, and
    a symbolic link to it stays one. Nobody can replace a device, a named pipe or a descriptor of this process
    (``/dev/stdout``, ``/dev/fd/3``, a shell's ``>(…)``) and still reach what is behind it: those are written to.

    Raises:
        OSError
    """
    place = _followed(os.fspath(file))
    if isinstance(place, int):
        # Not opened anew by its name: that would begin a file that the shell has redirected to from the start again.
        with os.fdopen(os.dup(place), **_how("w", encoding)) as out:
            yield out
        return
    found = _status(file)
    # A descriptor of another process leads to a file that may have another name by now, or none.
    if found is not None and not (stat.S_ISREG(found.st_mode) and _is_same(found, _status(place))):
        with open(file, **_how("w", encoding)) as out:
            yield out
        return
    if found is not None and not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)  # its folder may allow to replace it
    with _replacing(Path(place), encoding) as out:
        yield out
        if found is not None:
            _keep_owner(out, found)
            _change_mode(out, stat.S_IMODE(found.st_mode))


@contextmanager
def _replacing(file: Path, encoding: str | None = None) -> Iterator[IO[Any]]:
    temporary = file.with_name(f".{file.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, **_how("x", encoding)) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _how(mode: str, encoding: str | None) -> dict[str, Any]:
    return {"mode": f"{mode}b"} if encoding is None else {"mode": mode, "encoding": encoding, "newline": ""}


def _followed(name: str) -> str | int:
    """What a name leads to, symbolic links followed: the name of a file that may not be there yet; or the number of a
    descriptor of this process.
    """
    for _ in range(_MOST_LINKS):
        folder, base = os.path.split(name)
        folder = os.path.realpath(folder)
        if base.isdecimal() and folder in (f"/proc/{os.getpid()}/fd", "/dev/fd"):
            return int(base)
        name = os.path.join(folder, base)
        try:
            link = Path(name).readlink()
        except OSError:  # it is no link, or not there
            return name
        name = os.path.join(folder, link)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)


def _status(file: str | os.PathLike[str]) -> os.stat_result | None:
    try:
        return os.stat(file)
    except FileNotFoundError:
        return None


def _is_same(one: os.stat_result, other: os.stat_result | None) -> bool:
    return other is not None and os.path.samestat(one, other)


def _keep_owner(out: IO[Any], found: os.stat_result) -> None:
    if hasattr(os, "fchown") and (found.st_uid, found.st_gid) != (os.getuid(), os.getgid()):
        with suppress(OSError):  # only root may give files away; a file of one's own is as good
            os.fchown(out.fileno(), found.st_uid, found.st_gid)


def _change_mode(out: IO[Any], mode: int) -> None:
    Path(out.name).chmod(mode & 0o777)

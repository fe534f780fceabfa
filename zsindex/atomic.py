"""Files that are there as a whole or not at all; and what is no plain file, which is only written to."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

if sys.platform != "win32":
    import fcntl

_MOST_LINKS = 40  # as Linux has it
# What file systems say that cannot sync a folder; there it need not, or cannot, be done.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


def write_bytes(
    file: Path,
    data: bytes,
    *,
    mode: int | None = None,
    mark: str | None = None,
    before_rename: Callable[[], None] = lambda: None,
) -> None:
    """Write a file: temporary name in the same folder, synced, renamed. At every instant there is the old or the new.

    A symbolic link of that name is replaced; `writing` follows it. The new name is on the disk after `sync_folder`.

    Args:
        mode: permissions of the new file. Default: those that new files get.
        mark: goes into the temporary name, by which `leftover` finds what a kill has left. Default: one that nobody
            knows.
        before_rename: called when all is ready; what it raises keeps the old file.

    Raises:
        OSError
    """
    with _replacing(file, mark=mark, before_rename=before_rename) as out:
        out.write(data)
        if mode is not None:
            _change_mode(out, mode)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Let the names in a folder survive a power cut: those of files that were renamed into it, or removed.

    Raises:
        OSError: the disk refuses. Systems and file systems that cannot do it do nothing.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def leftover(file: Path, mark: str) -> Path | None:
    """What a `write_bytes` of `file` with this mark has left that was killed; None if there is nothing, or it is
    being written.
    """
    temporary = _temporary(file, mark)
    try:
        if not temporary.is_file() or temporary.is_symlink():
            return None
    except OSError:
        return None  # it will be found when the disk can be read again
    with held(temporary) as is_held:
        return temporary if is_held else None


@contextmanager
def held(place: Path) -> Iterator[bool]:
    """Holds an advisory lock on a file or folder, which goes with it through a rename, and with this process.

    Yields:
        False if somebody else holds it, or the system cannot tell.
    """
    with ExitStack() as stack:
        try:
            descriptor = os.open(place, os.O_RDONLY)
        except OSError:
            yield False
            return
        stack.callback(os.close, descriptor)
        yield _lock(descriptor)


def remove_leftover(file: Path, mark: str) -> bool:
    """Remove what `leftover` finds; False if there is nothing, or it cannot be removed."""
    temporary = leftover(file, mark)
    if temporary is None:
        return False
    try:
        temporary.unlink()
    except OSError:
        return False
    return True


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
def _replacing(
    file: Path,
    encoding: str | None = None,
    *,
    mark: str | None = None,
    before_rename: Callable[[], None] = lambda: None,
) -> Iterator[IO[Any]]:
    if mark is not None:
        remove_leftover(file, mark)
    temporary = _temporary(file, mark or secrets.token_hex(4))
    with ExitStack() as stack:
        out = stack.enter_context(open(temporary, **_how("x", encoding)))
        try:
            # Belongs to what was opened, not to the number: it is held until after the rename.
            stack.callback(os.close, held := os.dup(out.fileno()))
            _lock(held)
            yield out
            out.flush()
            os.fsync(out.fileno())
            out.close()
            before_rename()
            temporary.replace(file)
        except BaseException:
            # Not after the rename: there is nothing to remove, and a disk that fails at that has written the file.
            with suppress(OSError):
                out.close()
            with suppress(OSError):
                temporary.unlink()
            raise


def _temporary(file: Path, mark: str) -> Path:
    # Names have at most 255 bytes.
    return file.with_name(f".{os.fsencode(file.name)[:200].decode(errors='ignore')}.{mark}.tmp")


def _lock(descriptor: int) -> bool:
    """Whether nobody else holds it, and the system can tell."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


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

"""The locks of a library folder, released by the operating system when their process dies.

`write.lock` is held for each transaction and checkpoint, for milliseconds: SQLite before 3.51.3 can corrupt a database
in WAL mode when two connections write or checkpoint at the same instant, so no two ever do. `sync.lock` is held for a
whole sync, so that two syncs never encode the same photo, while label experiments in other processes can still store
their prompts between two batches.

A lock is held by an open file (`flock`), and by nothing else: what is recorded of it beside that refers to the file.
So a Ctrl-C, which Python lets happen between any two steps, finds it either not taken or taken by something that gives
it back. Closing the file does that, in one step, and so does forgetting it.
"""

from __future__ import annotations

import errno
import io
import json
import os
import platform
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from weakref import ref

from zsindex.errors import LibraryBusy, ZsindexError
from zsindex.records import Progress
from zsindex.storage.failures import failure
from zsindex.storage.interrupts import PutOff

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Between two attempts, as nobody tells those who wait.
SHORTEST_PAUSE_S = 0.0005
LONGEST_PAUSE_S = 0.02


class FolderLock:
    """An exclusive lock over threads and processes that knows who holds it. Reentrant within a thread."""

    def __init__(self, folder: Path, name: str, *, timeout_s: float, put_off: bool = False) -> None:
        """Args:
        timeout_s: how long `hold` waits for somebody else.
        put_off: a Ctrl-C waits until the lock is given back. For what is done soon.
        """
        self.timeout_s = timeout_s
        self._folder = folder
        self._puts_off = put_off
        # Beside the lock file, not in it: where locks are mandatory (Windows) others could not read it. Writing it
        # costs some ten microseconds, next to the milliseconds of a commit that waits for the disk.
        self._holder_file = folder / f"{name}.holder"
        self._lock_file = folder / f"{name}.lock"
        # The file that holds it as long as it is open, whose thread it is, and what for; of this object alone. Weak: a
        # file that a Ctrl-C lost on its way to the ``with`` block is closed with that.
        self._last: tuple[ref[io.FileIO], threading.Thread, str] | None = None
        self._since = ""

    def hold(self, purpose: str, *, wait: bool = True, shared: bool = False) -> AbstractContextManager[object]:
        """Hold the lock for a ``with`` block. It is taken here, or where `put_off`, as the block begins. It is never
        `shared`: one process at a time encodes into a folder.

        Args:
            wait: for somebody else who holds it.

        Raises:
            LibraryBusy: somebody else kept it for longer than `timeout_s`; the message says who, and since when.
            StorageFull, LibraryReadOnly, StorageFailed: the lock file cannot be made, opened or locked.
        """
        held = self._held()
        if held is not None and held[0] is threading.current_thread():
            return nullcontext()
        # A file leaves a ``with`` block without a step of Python's, which could be interrupted.
        timeout_s = self.timeout_s if wait else 0
        return _PutOffHold(self, purpose, timeout_s) if self._puts_off else self.acquire(purpose, timeout_s)

    def is_held(self) -> bool:
        """Whether some thread holds it through this object."""
        return self._held() is not None

    def tell(self, progress: Progress) -> None:
        """Let others know how far the work is that it is held for."""
        held = self._held()
        if held is not None:
            self._sign(held[1], progress)

    def told(self) -> list[tuple[str, Progress]]:
        """Who holds it now and has told how far they are."""
        try:
            note = json.loads(self._holder_file.read_text(encoding="utf-8"))
            progress, may_run = Progress(**note["progress"]), _may_run(note["pid"], note["host"])
        except (OSError, ValueError, KeyError, TypeError):
            return []
        # The note stays where its process was killed.
        return [(self._holder(), progress)] if may_run and self._is_taken() else []

    def _is_taken(self) -> bool:
        """Whether anybody holds it. Takes it for an instant if nobody does."""
        if self.is_held():
            return True
        try:
            with _opening:
                file = io.FileIO(self._lock_file)
                _files[file.fileno()] = ref(file)
            with file:
                return not self._try(file)
        except (OSError, ZsindexError):
            return False

    def acquire(self, purpose: str, timeout_s: float) -> io.FileIO:
        """Take the lock; closing the file that is returned gives it back."""
        give_up_at = time.monotonic() + timeout_s
        pause = SHORTEST_PAUSE_S
        while True:
            file = self._open()
            try:
                while not self._try(file):
                    left = give_up_at - time.monotonic()
                    if left <= 0:
                        raise LibraryBusy(self._folder, holder=self._holder(), waited_s=timeout_s)
                    time.sleep(min(pause, left))
                    pause = min(2 * pause, LONGEST_PAUSE_S)
                if self._is_there(file):
                    self._last = ref(file), threading.current_thread(), purpose
                    self._sign(purpose)
                    return file
                file.close()  # somebody has removed it, and others may lock another one
            except BaseException:
                file.close()
                raise

    def _open(self) -> io.FileIO:
        try:
            with _opening:
                file = io.FileIO(self._lock_file, "a+")
                _files[file.fileno()] = ref(file)
        except OSError as error:
            raise failure(self._folder, "lock it", error) from error
        return file

    def _try(self, file: io.FileIO) -> bool:
        try:
            if sys.platform == "win32":
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise failure(self._folder, "lock it", error) from error
        return True

    def _is_there(self, file: io.FileIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._lock_file.stat())
        except FileNotFoundError:
            return False
        except OSError as error:
            raise failure(self._folder, "lock it", error) from error

    def _held(self) -> tuple[threading.Thread, str] | None:
        """The thread that holds it through this object, and what for."""
        if self._last is None:
            return None
        file, thread, purpose = self._last
        held_by = file()
        return None if held_by is None or held_by.closed else (thread, purpose)

    def _sign(self, purpose: str, progress: Progress | None = None) -> None:
        if progress is None:
            self._since = time.strftime("%H:%M:%S")
        note = {
            "pid": os.getpid(),
            "host": platform.node(),
            "purpose": purpose,
            "since": self._since,
            **({} if progress is None else {"progress": asdict(progress)}),
        }
        content = json.dumps(note).encode("utf-8")
        # Written over what is there: ext4 waits for the disk where a file is emptied first. A full disk must not keep
        # anybody from the lock: the note is only a courtesy.
        flags = os.O_WRONLY | os.O_CREAT
        with suppress(OSError), io.FileIO(os.open(self._holder_file, flags, 0o666), "w") as file:
            file.write(content)
            file.truncate(len(content))

    def _holder(self) -> str:
        held = self._held()
        if held is not None:
            return f"another thread of this process: {held[1]}"
        try:
            note = json.loads(self._holder_file.read_text(encoding="utf-8"))
            if (note["pid"], note["host"]) == (os.getpid(), platform.node()):
                # Another lock object of ours: two libraries that are open on one folder.
                return f"another thread or library object of this process: {note['purpose']}, since {note['since']}"
            process = f"process {note['pid']} on {note['host']}: {note['purpose']}, since {note['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
        # The note is that of the last one who could write one, which need not be the one who holds the lock now.
        return process if _may_run(note["pid"], note["host"]) else "another process"


class _PutOffHold:
    """A ``with`` block that holds a lock and that no Ctrl-C interrupts once it does; waiting for the lock it does."""

    def __init__(self, lock: FolderLock, purpose: str, timeout_s: float) -> None:
        self._lock = lock
        self._purpose = purpose
        self._timeout_s = timeout_s
        self._put_off = PutOff()

    def __enter__(self) -> None:
        file = self._lock.acquire(self._purpose, self._timeout_s)
        try:
            self._put_off.__enter__()
        except BaseException:
            file.close()
            raise
        self._file = file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._put_off.__exit__(kind, error, traceback)


# A lock is given back when its file is closed by all that have it open, and a child of `fork` has. So the child closes
# what it got; nothing is opened just while a process forks.
_files: dict[int, ref[io.FileIO]] = {}  # by descriptor, which the system gives out again
_opening = threading.Lock()


def _close_in_child() -> None:
    for reference in _files.values():
        file = reference()
        if file is not None:
            file.close()
    _files.clear()
    _opening.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_close_in_child)


def _may_run(pid: object, host: object) -> bool:
    """Whether there may be such a process. Of other machines, and of ours, nothing is known."""
    if host != platform.node() or os.name == "nt":
        return True
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True

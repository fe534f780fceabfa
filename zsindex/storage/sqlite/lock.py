"""The two locks of a library folder, both released by the operating system when their process dies.

`write.lock` is held for each transaction and checkpoint, for milliseconds: SQLite before 3.51.3 can corrupt a database
in WAL mode when two connections write or checkpoint at the same instant, so no two ever do. `sync.lock` is held for a
whole sync, so that two syncs never encode the same photo, while label experiments in other processes can still store
their prompts between two batches.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from zsindex.errors import LibraryBusy
from zsindex.storage.failures import failure

if TYPE_CHECKING:
    import filelock


class FolderLock:
    """An exclusive lock over threads and processes that knows who holds it. Reentrant within a thread."""

    def __init__(self, folder: Path, name: str, *, timeout_s: float) -> None:
        """Args:
        timeout_s: how long `hold` waits for somebody else.
        """
        self.timeout_s = timeout_s
        self._folder = folder
        # Beside the lock file, not in it: where locks are mandatory (Windows) others could not read it. Writing it
        # costs some ten microseconds, next to the milliseconds of a commit that waits for the disk.
        self._holder_file = folder / f"{name}.holder"
        self._lock_file = folder / f"{name}.lock"
        self._between_threads = threading.RLock()
        self._depth = 0
        self._purpose: str | None = None  # of the thread of this process that holds it

    @cached_property
    def _between_processes(self) -> filelock.BaseFileLock:
        import filelock

        # It counts re-entries per object, whichever the thread; exclusion between threads is RLock's.
        return filelock.FileLock(self._lock_file, thread_local=False)

    @contextmanager
    def hold(self, purpose: str) -> Iterator[None]:
        """Hold the lock.

        Raises:
            LibraryBusy: somebody else kept it for longer than `timeout_s`; the message says who, and since when.
            StorageFull, LibraryReadOnly: the lock file cannot be made or opened.
        """
        import filelock  # not at the top: who only reads locks nothing, and need not wait for the import

        if not self._between_threads.acquire(timeout=self.timeout_s):
            doing = "" if self._purpose is None else f": {self._purpose}"
            raise LibraryBusy(self._folder, holder=f"another thread of this process{doing}", waited_s=self.timeout_s)
        try:
            try:
                self._between_processes.acquire(timeout=self.timeout_s)
            except filelock.Timeout:
                raise LibraryBusy(self._folder, holder=self._holder(), waited_s=self.timeout_s) from None
            except OSError as error:
                raise failure(self._folder, "lock it", error) from error
            try:
                if not self._depth:
                    self._sign(purpose)
                    self._purpose = purpose
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                    if not self._depth:
                        self._purpose = None
            finally:
                self._between_processes.release()
        finally:
            self._between_threads.release()

    def _sign(self, purpose: str) -> None:
        note = {
            "pid": os.getpid(),
            "host": platform.node(),
            "purpose": purpose,
            "since": time.strftime("%H:%M:%S"),
        }
        with suppress(OSError):  # a full disk must not keep anybody from the lock: the note is only a courtesy
            self._holder_file.write_text(json.dumps(note))

    def _holder(self) -> str:
        try:
            note = json.loads(self._holder_file.read_text())
            if (note["pid"], note["host"]) == (os.getpid(), platform.node()):
                # Another lock object of ours: two libraries that are open on one folder.
                return f"another thread or library object of this process: {note['purpose']}, since {note['since']}"
            process = f"process {note['pid']} on {note['host']}: {note['purpose']}, since {note['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
        # The note is that of the last one who could write one, which need not be the one who holds the lock now.
        return process if _may_run(note["pid"], note["host"]) else "another process"


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

"""The two locks of a library folder, both released by the operating system when their process dies.

`write.lock` is held for each transaction and checkpoint, for milliseconds: SQLite before 3.51.3 can corrupt a database
in WAL mode when two connections write or checkpoint at the same instant, so no two ever do. `sync.lock` is held for a
whole sync, so that two syncs never encode the same photo, while label experiments in other processes can still store
their prompts between two batches.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from zsindex.errors import LibraryBusy


class FolderLock:
    """An exclusive lock over threads and processes that knows who holds it. Reentrant within a thread."""

    def __init__(self, folder: Path, name: str, *, timeout_s: float, signed: bool = False) -> None:
        """Args:
        timeout_s: how long `hold` waits for somebody else.
        signed: leave a note about the holder, for the message that others get. For locks held for long.
        """
        self.timeout_s = timeout_s
        self._folder = folder
        self._holder_file = folder / f"{name}.holder" if signed else None
        # The file lock counts re-entries per object, whichever the thread; exclusion between threads is RLock's.
        self._between_processes = filelock.FileLock(folder / f"{name}.lock", thread_local=False)
        self._between_threads = threading.RLock()
        self._depth = 0

    @contextmanager
    def hold(self, purpose: str) -> Iterator[None]:
        """Hold the lock.

        Raises:
            LibraryBusy: somebody else kept it for longer than `timeout_s`; the message says who, and since when.
        """
        if not self._between_threads.acquire(timeout=self.timeout_s):
            raise LibraryBusy(self._folder, holder="another thread of this process", waited_s=self.timeout_s)
        try:
            try:
                self._between_processes.acquire(timeout=self.timeout_s)
            except filelock.Timeout:
                raise LibraryBusy(self._folder, holder=self._holder(), waited_s=self.timeout_s) from None
            try:
                if not self._depth:
                    self._sign(purpose)
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
            finally:
                self._between_processes.release()
        finally:
            self._between_threads.release()

    def _sign(self, purpose: str) -> None:
        # Beside the lock file, not in it: where locks are mandatory (Windows) others could not read it.
        if self._holder_file is None:
            return
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "purpose": purpose,
            "since": time.strftime("%H:%M:%S"),
        }
        with suppress(OSError):  # a full disk must not keep anybody from the lock: the note is only a courtesy
            self._holder_file.write_text(json.dumps(note))

    def _holder(self) -> str:
        if self._holder_file is None:
            return "a short write that does not end"
        try:
            note = json.loads(self._holder_file.read_text())
            return f"process {note['pid']} on {note['host']}: {note['purpose']}, since {note['since']}"
        except (OSError, ValueError, KeyError):
            return "unknown process"

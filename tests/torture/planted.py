"""Campaigns that have to find something: `python -m tests.torture.planted` breaks zsindex first, in several ways.

A harness that has never found anything may be one that cannot.
"""

from __future__ import annotations

import fcntl
import io
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tests.torture import crowd, interrupts, readers
from tests.torture.apart import apart
from tests.torture.campaign import Campaign
from zsindex.storage import processes
from zsindex.storage.labels import SqlLabels
from zsindex.storage.rows import FileTable
from zsindex.storage.sqlite import connections
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.storage.sqlite.fast_reads import FastReads
from zsindex.storage.sqlite.file import FILE_NAME
from zsindex.storage.sqlite.lock import FolderLock


def a_small_crowd() -> None:
    crowd.PROCESSES, crowd.THREADS, crowd.LASTS_S = 2, 3, 2.0


def an_answer_of_another_state() -> type[Campaign]:
    """Files are listed as they were when somebody last asked for them."""
    a_small_crowd()
    really, listed = FastReads.files, {}

    def files(self: FastReads, prefixes: Any = None) -> FileTable:
        key = None if prefixes is None else tuple(prefixes)
        if key not in listed:
            listed[key] = really(self, prefixes)
        return listed[key]

    FastReads.files = files  # type: ignore[method-assign]
    return crowd.Crowd


def something_is_lost() -> type[Campaign]:
    """Label sets are said to be saved, and are not."""
    a_small_crowd()

    def save(self: SqlLabels, name: str, body: Mapping[str, Any]) -> int:
        return 1

    SqlLabels.save_label_set = save  # type: ignore[method-assign]
    return crowd.Crowd


def a_reader_waits() -> type[Campaign]:
    """A writer that closes takes its time, and keeps all others out of the log's index."""
    readers.BLOCKED_S = 1.0

    def close(self: SqliteDatabase, writing: sqlite3.Connection, writer: object) -> None:
        opened = os.open(self.folder / f"{FILE_NAME}-shm", os.O_RDWR)
        with suppress(OSError):  # somebody reads just now
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
        time.sleep(0.2)
        os.close(opened)
        writing.close()

    SqliteDatabase._close_writer = close  # type: ignore[method-assign]
    return readers.Readers


def a_reader_sees_an_old_state() -> type[Campaign]:
    """Readers do not look into the log."""
    connections._has_locks = lambda folder, **options: False
    connections.Unlocked.is_unchanged = True  # type: ignore[assignment, method-assign]
    return readers.Readers


def a_lock_stays() -> type[Campaign]:
    """A lock is given back where nothing went wrong, and nowhere else."""
    interrupts.HUNG_S = 2.0
    really, kept = FolderLock.acquire, list[io.FileIO]()

    @contextmanager
    def hold(self: FolderLock, purpose: str) -> Iterator[None]:
        kept.append(file := really(self, purpose))
        yield
        file.close()

    FolderLock.hold = hold  # type: ignore[method-assign, assignment]
    return interrupts.Interrupts


def a_fork_is_not_noticed() -> type[Campaign]:
    """A child goes on with what its parent has open."""
    pid = os.getpid()
    processes.current = lambda: pid
    interrupts.INTERRUPTS_EACH, interrupts.FORKS_EACH, interrupts.HUNG_S = 1, 3, 3.0
    return interrupts.Interrupts


# With the most cases until it is found, far more than it takes: a busy machine does less in one.
PLANTED: dict[Callable[[], type[Campaign]], int] = {
    an_answer_of_another_state: 60,
    something_is_lost: 60,
    a_reader_waits: 400,
    a_reader_sees_an_old_state: 400,
    a_lock_stays: 5,
    a_fork_is_not_noticed: 10,
}


def found(plant: Callable[[], type[Campaign]], cases: int) -> Sequence[str]:
    """What a campaign finds in its first cases, until it finds something."""
    with tempfile.TemporaryDirectory(prefix="zsindex-torture-") as work:
        campaign = plant()(Path(work), 14)
        if (missing := campaign.missing()) is not None:
            return [f"not tried: {missing}"]
        for case in islice(campaign.cases(), cases):
            if wrong := case.run():
                return wrong
    return ()


def main() -> None:
    missed = 0
    for plant, cases in PLANTED.items():
        begun = time.monotonic()
        ending = apart(partial(found, plant, cases), timeout_s=300)
        missed += not ending.value
        what = ending.value[0].splitlines()[0][:150] if ending.value else ending.trace or "NOT FOUND"
        print(f"{plant.__name__.replace('_', ' ')}: {what} ({time.monotonic() - begun:.1f} s)", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()

"""Readers beside a lone writer that opens, writes and closes, is stopped at a random instant, or killed there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.libraries import new_library
from tests.torture.apart import apart
from tests.torture.campaign import Campaign, Case
from zsindex.errors import LibraryBusy
from zsindex.storage.sqlite.database import SqliteDatabase

# Every commit changes all of these together: some 50 pages, so that a log of several is copied in more than one step.
KEYS = [f"row {number:03}" for number in range(100)]
FILLING = "x" * 8_000
NOBODY = 65_534
# A reader that waits for a writer waits a minute, or ten seconds until SQLite gives up; one on a machine that has much
# to do not nearly as long as this.
BLOCKED_S = 8.0
HUNG_S = 30.0
# Bytes of the log's index whose locks are those of what readers read through.
READ_MARKS = range(123, 128)


def store(database: SqliteDatabase, number: int) -> None:
    """One commit."""
    with database.writing("test") as connection:
        rows = [(key, f"{number} {FILLING}") for key in KEYS]
        connection.executemany("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", rows)


def stored(database: SqliteDatabase, *, pause_s: float) -> set[int]:
    """The numbers that one transaction sees, with a pause in the middle: of one commit there is one."""
    with database.reading() as connection:
        ask = "SELECT value FROM settings WHERE key = ?"
        first = connection.execute(ask, KEYS[:1]).fetchone()
        time.sleep(pause_s)
        others = connection.execute("SELECT value FROM settings WHERE key LIKE 'row %'").fetchall()
    return {int(text.partition(" ")[0]) for (text,) in [first, *others]}


def become_nobody() -> None:
    """Somebody who may read the library and not write it."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


class Writer:
    """A process that opens the library, commits once or a few times, and closes it, over and over."""

    def __init__(self, folder: Path, begin: int) -> None:
        self.committed = begin
        self._folder = folder
        self._pipe, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._pipe)
                self._work(told, begin)
            finally:
                os._exit(1)
        os.close(told)
        os.set_blocking(self._pipe, False)

    def _work(self, told: int, number: int) -> None:
        chance = random.Random(number)
        while True:
            with closing(SqliteDatabase.open(self._folder, create=False)) as database:
                for _ in range(chance.choice([1, 1, 3, 12])):
                    number += 1
                    store(database, number)
                    os.write(told, struct.pack("<q", number))

    def look(self) -> int:
        """The last commit that it told of."""
        with suppress(BlockingIOError):
            while told := os.read(self._pipe, 1 << 12):
                self.committed = struct.unpack("<q", told[-8:])[0]
        return self.committed

    def stop(self) -> None:
        """Returns once it has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def is_at_a_read_mark(self) -> bool:
        """Whether it was stopped between two system calls that lock and unlock what others read through. Who may not
        write cannot lock anything else, and there is no way around that in SQLite.
        """
        with suppress(FileNotFoundError), open("/proc/locks", encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if fields[-5:-3] == ["WRITE", str(self.pid)] and int(fields[-2]) in READ_MARKS:
                    return True
        return False

    def close(self) -> None:
        os.close(self._pipe)


@dataclass(frozen=True, slots=True)
class Reader:
    """What a reader does; it runs in a process of its own."""

    folder: Path
    privileged: bool
    read_only: bool
    pause_s: float

    def __call__(self) -> tuple[set[int], float]:
        """The numbers that it saw, and how long that took."""
        if not self.privileged:
            become_nobody()
        begun = time.monotonic()
        with closing(SqliteDatabase.open(self.folder, create=False, read_only=self.read_only)) as database:
            found = stored(database, pause_s=self.pause_s)
        return found, time.monotonic() - begun - self.pause_s


class Readers(Campaign):
    """See the module."""

    name = "readers"
    about = "readers, with and without the right to write, beside a lone writer that is stopped, killed or runs"
    in_ci = 50

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        work.chmod(0o755)
        self.slowest: Counter[str] = Counter()
        self.logs: Counter[str] = Counter()
        self._has_rights = os.geteuid() == 0 and all(parent.stat().st_mode & 1 for parent in work.parents)
        self._model = work / "made"
        new_library(self._model)
        with closing(SqliteDatabase.open(self._model, create=False)) as database:
            store(database, 0)

    def missing(self) -> str | None:
        return None if hasattr(os, "fork") else "it forks"

    def cases(self) -> Iterator[Case]:
        # Half of them while the writer is stopped: nobody may have to wait for somebody who does not move.
        whats: dict[str, Callable[[Writer], None]] = {
            "stopped": Writer.stop,
            "killed": Writer.end,
            "at work": Writer.look,
        }
        for number in range(1 << 62):
            what = self.random.choice(["stopped", "stopped", "killed", "at work"])
            privileged = not self._has_rights or self.random.random() < 0.5
            reader = Reader(
                self.work / f"{number}" / "library",
                privileged,
                read_only=privileged and self.random.random() < 0.5,
                pause_s=self.random.choice([0.0, 0.0, 0.002, 0.02]) if what == "at work" else 0.0,
            )
            # As it opens the library for the first time, or at any instant of later rounds.
            after_s = self.random.uniform(0.0, self.random.choice([0.01, 0.05, 0.25]))
            who = "may write" if privileged else "may not write"
            kind = f"{what}, {who}"
            name = f"after {1000 * after_s:.2f} ms, pause {1000 * reader.pause_s:.0f} ms"
            yield Case(kind, name, partial(self._judge, kind, reader, whats[what], after_s))

    def _judge(self, kind: str, reader: Reader, act: Callable[[Writer], None], after_s: float) -> Sequence[str]:
        # As a copy of a library, which has no log; or as one that was in use, which has one, and its index.
        shutil.copytree(self._model, reader.folder)
        writer = Writer(reader.folder, 0)
        try:
            time.sleep(after_s)
            act(writer)
            return self._read(kind, reader, writer)
        finally:
            with suppress(ProcessLookupError, ChildProcessError):
                writer.end()
            writer.close()
            shutil.rmtree(reader.folder.parent)

    def _read(self, kind: str, reader: Reader, writer: Writer) -> Sequence[str]:
        before = writer.look()
        ending = apart(reader, timeout_s=HUNG_S)
        after = writer.look()
        log = reader.folder / "library.db-wal"
        self.logs["no log" if not log.exists() else "an empty log" if not log.stat().st_size else "a log"] += 1
        if ending.hung:
            return [f"the reader waited for more than {HUNG_S:.0f} s"]
        if isinstance(ending.error, LibraryBusy) and not reader.privileged and writer.is_at_a_read_mark():
            self.logs["a lock that SQLite holds for two system calls"] += 1
            return []
        if ending.value is None:
            return [f"the reader failed: {ending.error!r}\n{ending.trace}"]
        found, took_s = ending.value
        if took_s > BLOCKED_S:
            return [f"the reader waited for {took_s:.1f} s"]
        self.slowest[kind] = max(self.slowest[kind], round(1000 * took_s))
        if len(found) != 1:
            return [f"one transaction saw the states {sorted(found)}"]
        (number,) = found
        # What was told is committed; one more may be, which was not told yet.
        return [] if before <= number <= after + 1 else [f"it saw {number}, and {before} to {after} were committed"]

    def notes(self) -> Sequence[str]:
        lines = [f"SQLite {sqlite3.sqlite_version}"]
        lines += [f"slowest reader while the writer is {kind}: {ms} ms" for kind, ms in sorted(self.slowest.items())]
        lines.append("found beside the database: " + ", ".join(f"{what} {n}" for what, n in sorted(self.logs.items())))
        if not self._has_rights:
            lines.append("none without the right to write: that takes root to give up, and a folder that all can enter")
        return lines

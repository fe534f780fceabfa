"""Ctrl-C between any two steps of Python, in a process that goes on, as a notebook does: no lock stays behind."""

from __future__ import annotations

import dis
import gc
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import click
import pytest
from zsindex.cli.progress import stop_on_interrupt

from tests.fakes import FakeEncoder
from tests.libraries import new_library
from tests.photos import save, solid
from tests.waiting import WAIT_S
from zsindex.library import Library
from zsindex.storage import interrupts
from zsindex.storage.interrupts import PutOff
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.storage.sqlite.lock import FolderLock

# A file that is dropped before it was locked is closed by Python, which warns of it.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

# After these Python looks whether a signal came, and nowhere else.
LOOKS_AFTER = {"CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME", "JUMP_BACKWARD"}

# A call that raised comes here, without a look. An exception from a trace function at this step would leave the one
# that is handled in place for good, as the context of every later one.
HANDLES = "PUSH_EXC_INFO"


@cache
def steps(code: CodeType) -> dict[int, str]:
    return {step.offset: step.opname for step in dis.get_instructions(code)}


class Interrupt:
    """Ctrl-C at one of the instants at which Python would notice it, in the code that is looked at."""

    def __init__(self, at: int, *, where: tuple[str, ...]) -> None:
        """Args:
        at: the instant's number; beyond the last one, nothing happens.
        where: ends of the names of files whose code is looked at.
        """
        self._left = at
        self._where = where
        self._last: dict[FrameType, str] = {}
        self.came = False

    def during(self, act: Callable[[], object]) -> KeyboardInterrupt | None:
        """The exception that came out of it, with its traceback, which a notebook keeps, too."""
        before = sys.gettrace()
        sys.settrace(self._look)
        try:
            act()
        except KeyboardInterrupt as error:
            return error
        finally:
            sys.settrace(before)
            self._last.clear()
        return None

    def _look(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.endswith(self._where):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            last, now = self._last.get(frame), steps(frame.f_code)[frame.f_lasti]
            self._last[frame] = now
            if last in LOOKS_AFTER and now != HANDLES and not self.came:
                self._left -= 1
                if self._left < 0:
                    self.came = True
                    signal.raise_signal(signal.SIGINT)
        return self._look


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """What tracebacks held goes while the warning is expected; no exception is still being handled."""
    yield
    gc.collect()
    assert sys.exc_info() == (None, None, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_library(tmp_path / "library")


def elsewhere(act: Callable[[], None]) -> None:
    """Do it in another thread."""
    caught: list[BaseException] = []

    def work() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught == []


@pytest.mark.parametrize("put_off", [False, True])
def test_a_lock_is_given_back_wherever_ctrl_c_comes(folder: Path, put_off: bool) -> None:
    lock = FolderLock(folder, "test", timeout_s=0, put_off=put_off)
    another = FolderLock(folder, "test", timeout_s=0)

    def act() -> None:
        with lock.hold("work"):
            pass
        with lock.hold("outer"), lock.hold("inner"):
            pass

    def take(which: FolderLock) -> None:
        with which.hold("look"):
            pass

    handler = signal.getsignal(signal.SIGINT)
    came, instants = [], 0
    while True:
        interrupt = Interrupt(instants, where=("lock.py", "interrupts.py", "contextlib.py", "test_interrupts.py"))
        came.append(interrupt.during(act))
        if not interrupt.came:
            break
        instants += 1
        assert isinstance(came[-1], KeyboardInterrupt)  # it is not swallowed
        assert signal.getsignal(signal.SIGINT) is handler
        for which in (another, lock):
            take(which)
            elsewhere(partial(take, which))
    assert instants > 40


@pytest.mark.folder("SQLite's transactions and connections")
@pytest.mark.parametrize("how", ["writing", "write"])
def test_a_transaction_is_ended_wherever_ctrl_c_comes(folder: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsindex.storage.sqlite.connections.BUSY_TIMEOUT_S", 0.0)

    def store(database: SqliteDatabase, value: int) -> None:
        statement = f"INSERT OR REPLACE INTO settings (key, value) VALUES ('a', '{value}')"
        if how == "writing":
            with database.writing("test") as plain:
                plain.execute(statement)
        else:
            with database.write("test") as connection:
                connection.exec_driver_sql(statement)

    came, instants = [], 0
    with closing(SqliteDatabase.open(folder, create=False)) as database:
        store(database, -1)
        while True:
            interrupt = Interrupt(instants, where=("lock.py", "interrupts.py", "database.py", "contextlib.py"))
            came.append(interrupt.during(partial(store, database, instants)))
            if not interrupt.came:
                break
            instants += 1
            assert isinstance(came[-1], KeyboardInterrupt)
            elsewhere(partial(store, database, instants))
            with closing(SqliteDatabase.open(folder, create=False)) as other:
                store(other, instants)
                with other.reading() as connection:
                    stored = connection.execute("SELECT value FROM settings WHERE key = 'a'").fetchone()
            assert stored == (str(instants),)
    assert instants > 40


@pytest.mark.parametrize("how", ["reading", "read"])
@pytest.mark.parametrize(
    "where",
    [("database.py", "contextlib.py"), ("pool/base.py", "engine/base.py", "engine/util.py", "engine/default.py")],
)
# SQLAlchemy's own ends are interrupted, too, and then its transaction ends twice, or after its connection.
@pytest.mark.folder("SQLite's transactions and connections")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::sqlalchemy.exc.SAWarning")
def test_what_is_asked_next_is_answered_by_what_is_there_now(folder: Path, how: str, where: tuple[str, ...]) -> None:
    """Whatever the traceback of the interrupt keeps."""
    ask = "SELECT value FROM settings WHERE key = 'a'"

    def stored(database: SqliteDatabase) -> object:
        if how == "reading":
            with database.reading() as plain:
                return plain.execute(ask).fetchone()[0]
        with database.read() as connection:
            return connection.exec_driver_sql(ask).scalar()

    def store(database: SqliteDatabase, value: int) -> None:
        with database.writing("test") as connection:
            connection.execute(f"INSERT OR REPLACE INTO settings (key, value) VALUES ('a', '{value}')")

    came, instants = [], 0
    with closing(SqliteDatabase.open(folder, create=False)) as database:
        store(database, -1)
        while True:
            interrupt = Interrupt(instants, where=where)
            came.append(interrupt.during(partial(stored, database)))
            if not interrupt.came:
                break
            instants += 1
            store(database, instants)
            assert stored(database) == str(instants)
        came.clear()
        gc.collect()
    assert instants > 20 or (how == "reading" and "pool/base.py" in where)


def test_reading_the_index_is_given_up_wherever_ctrl_c_comes(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    save(tmp_path / "photos" / "red.png", solid("red"))
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(tmp_path / "photos")
        index = library.session.index

        def ask() -> None:
            index.forget()
            index.open()

        came, instants = [], 0
        while True:
            interrupt = Interrupt(instants, where=("session/index.py", "interrupts.py"))
            came.append(interrupt.during(ask))
            if not interrupt.came:
                break
            instants += 1
            assert isinstance(came[-1], KeyboardInterrupt)
            assert not index._opening.locked()
            assert not index._saving.locked()
            elsewhere(ask)
    assert instants > 20


@pytest.mark.folder("SQLite's transactions and connections")
def test_ctrl_c_at_random_instants_stops_nobody_else(folder: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    here = threading.main_thread().ident
    stop, n_elsewhere = threading.Event(), 0
    lock = FolderLock(folder, "test", timeout_s=20)
    came, handled = [], 0
    may_come = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal may_come, handled
        handled += 1
        if may_come:
            may_come = False
            raise KeyboardInterrupt

    def work_elsewhere() -> None:
        nonlocal n_elsewhere
        with closing(SqliteDatabase.open(folder, create=False)) as other:
            while not stop.is_set():
                with lock.hold("elsewhere"):
                    n_elsewhere += 1
                with other.writing("test") as connection:
                    connection.execute(f"INSERT OR REPLACE INTO settings (key, value) VALUES ('b', '{n_elsewhere}')")

    def interrupt() -> None:
        for n in range(100):
            while not may_come or handled < n:  # of several that wait the system makes one
                if stop.wait(0.0005):
                    return
            if stop.wait(chance.uniform(0.0005, 0.006)):
                return
            assert here is not None
            signal.pthread_kill(here, signal.SIGINT)

    database = SqliteDatabase.open(folder, create=False)
    elsewhere_too = threading.Thread(target=work_elsewhere)
    elsewhere_too.start()
    interrupting = threading.Thread(target=interrupt)
    n = 0
    handler = signal.signal(signal.SIGINT, handle)
    try:
        interrupting.start()
        while interrupting.is_alive():
            try:
                while interrupting.is_alive():
                    may_come = True
                    with lock.hold("here"):
                        n += 1
                    with database.writing("test") as connection:
                        connection.execute(f"INSERT OR REPLACE INTO settings (key, value) VALUES ('a', '{n}')")
            except KeyboardInterrupt as error:
                came.append(error)  # and with it what its traceback holds
        may_come = False
        interrupting.join()
        before = n_elsewhere
        with lock.hold("here"), database.writing("test"):
            pass
        while n_elsewhere <= before:
            assert elsewhere_too.is_alive()
    finally:
        signal.signal(signal.SIGINT, handler)
        stop.set()
        elsewhere_too.join(WAIT_S)
        database.close()
    assert not elsewhere_too.is_alive()
    assert len(came) > 20


def test_what_is_put_off_comes_at_the_end() -> None:
    done = []
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  where it comes is what is looked at
        with PutOff():
            with PutOff():
                signal.raise_signal(signal.SIGINT)
                done.append("inner")
            done.append("outer")
        done.append("after")
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_who_presses_again_means_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), PutOff():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("at once")
        monkeypatch.setattr(interrupts, "PATIENCE_S", -1.0)
        signal.raise_signal(signal.SIGINT)
        done.append("later")
    assert done == ["at once"]


def test_other_threads_and_ignored_signals_are_left_alone() -> None:
    handler = signal.getsignal(signal.SIGINT)

    def look() -> None:
        with PutOff():
            assert signal.getsignal(signal.SIGINT) is handler

    elsewhere(look)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with PutOff():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, handler)


def test_a_ctrl_c_while_something_is_being_written(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stream refuses to be written to by what has interrupted a write to it."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name=2>")

    monkeypatch.setattr(click, "echo", refuse)
    with stop_on_interrupt() as should_stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert should_stop()
    assert "stopping after this batch" in capfd.readouterr().err

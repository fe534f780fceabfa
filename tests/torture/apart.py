"""A function in a process of its own, which may die or hang without taking the harness with it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ending(Generic[T]):
    """How a function in a process of its own ended.

    Attributes:
        value: what it returned; None if it did not.
        error: the exception that came out of it.
        trace: that exception's traceback, as text.
        signal: the number of the signal that ended the process.
        hung: whether it had not ended in time, and was killed.
    """

    value: T | None = None
    error: BaseException | None = None
    trace: str = ""
    signal: int | None = None
    hung: bool = False


def apart(act: Callable[[], T], *, timeout_s: float) -> Ending[T]:
    """Fork, do it there, and say how that ended.

    The parent has to have a single thread, and must have computed nothing with OpenMP: a fork has no copies of
    threads, and waits for them for ever.

    Args:
        act: what to do. What it returns or raises has to survive pickling; an exception that does not is told as
            RuntimeError with its traceback.
        timeout_s: after so long the process is killed.
    """
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(readable)
            _send(writable, act)
            status = 0
        finally:
            os._exit(status)
    os.close(writable)
    try:
        sent, hung = _receive(readable, time.monotonic() + timeout_s)
    finally:
        os.close(readable)
    if hung:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if hung:
        return Ending(hung=True)
    if os.WIFSIGNALED(status):
        return Ending(signal=os.WTERMSIG(status))
    value, error, trace = pickle.loads(sent)
    return Ending(value=value, error=error, trace=trace)


Question = TypeVar("Question")


class Beside(Generic[Question, T]):
    """A process of its own that answers one question after the other. One that dies or hangs is replaced.

    As for `apart`, the parent has to have a single thread.
    """

    def __init__(self, answer: Callable[[Question], T], *, timeout_s: float) -> None:
        """Args:
        answer: what is done there. Questions and answers have to survive pickling.
        timeout_s: for one of them.
        """
        self._answer = answer
        self._timeout_s = timeout_s
        self._process: tuple[int, Connection] | None = None

    def ask(self, question: Question) -> Ending[T]:
        """The answer, or how else it ended."""
        child, pipe = self._process = self._process or self._start()
        try:
            pipe.send(question)
            if not pipe.poll(self._timeout_s):
                self.end()
                return Ending(hung=True)
            value, error, trace = pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            pipe.close()
            self._process = None
            _, status = os.waitpid(child, 0)
            return Ending(signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)
        return Ending(value=value, error=error, trace=trace)

    def end(self) -> None:
        """End the process; the next question gets another one."""
        if self._process is not None:
            child, pipe = self._process
            self._process = None
            pipe.close()
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def _start(self) -> tuple[int, Connection]:
        mine, its = Pipe()
        child = os.fork()
        if child == 0:
            try:
                mine.close()
                while True:
                    question = its.recv()
                    its.send_bytes(_done(partial(self._answer, question)))
            except (EOFError, OSError):
                pass
            finally:
                os._exit(0)
        its.close()
        return child, mine


def _send(pipe: int, act: Callable[[], object]) -> None:
    with os.fdopen(pipe, "wb") as file:
        file.write(_done(act))


def _done(act: Callable[[], object]) -> bytes:
    """Do it, and pack what came of it."""
    value: object = None
    error: BaseException | None = None
    trace = ""
    try:
        value = act()
    except BaseException as caught:  # noqa: BLE001
        error, trace = caught, traceback.format_exc()
    try:
        packed = pickle.dumps((value, error, trace))
        pickle.loads(packed)
    except Exception:  # noqa: BLE001
        packed = pickle.dumps((None, RuntimeError(trace or f"{value!r} cannot be pickled"), trace))
    return packed


def _receive(pipe: int, deadline: float) -> tuple[bytes, bool]:
    """Returns: what came, and whether it had not ended by then."""
    parts: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return b"", True
        part = os.read(pipe, 1 << 20)
        if not part:
            return b"".join(parts), False
        parts.append(part)

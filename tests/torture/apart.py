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


def _send(pipe: int, act: Callable[[], object]) -> None:
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
    with os.fdopen(pipe, "wb") as file:
        file.write(packed)


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

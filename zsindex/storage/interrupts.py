"""A Ctrl-C that waits until what must not be torn apart is done.

Python raises `KeyboardInterrupt` between any two steps of the main thread, also between a lock that was just taken and
the `try` that would give it back, or at the first step of an `__exit__`. In a notebook the process goes on after that.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], object]

# Who presses again after so long means it, whatever it tears apart.
PATIENCE_S = 2.0


class PutOff:
    """A ``with`` block that no Ctrl-C interrupts; one that came meanwhile is passed on where it ends.

    Only the main thread is ever interrupted: in others, and inside of another such block, it does nothing.
    """

    def __init__(self) -> None:
        self._note: _Note | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            # Neither a function nor one of ours: the signal is ignored, ends the process, or is none of Python's.
            if callable(before) and not isinstance(before, _Note):
                self._note = _Note(before)
                # What comes before this has changed anything raises here, and what comes after it waits.
                signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._note is not None:
            note, self._note = self._note, None
            signal.signal(signal.SIGINT, note.before)
            if note.came is not None:
                note.before(signal.SIGINT, note.frame)


class _Note:
    """A handler that notes that a signal came."""

    def __init__(self, before: Handler) -> None:
        self.before = before
        self.came: float | None = None
        self.frame: FrameType | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.came is None:
            self.came, self.frame = time.monotonic(), frame
        elif time.monotonic() - self.came > PATIENCE_S:
            self.before(number, frame)

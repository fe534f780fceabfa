"""Patience with a server that is being started anew: what does no harm when it is done again is done again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from zsindex.errors import LibraryUnreachable
from zsindex.records import Progress

# A server that is started anew answers within seconds; one that is replaced by its standby in less than a minute.
PATIENCE_S = 60.0
_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0

T = TypeVar("T")


def patiently(attempt: Callable[[], T], *, answered: Callable[[], float | None] | None = None) -> T:
    """Do what does no harm when it is done again, and again while the server does not answer.

    Args:
        answered: when the server has last answered, by `time.monotonic`; None if it never has, and so may not be there
            at all. Default: it did when this was called.

    Raises:
        LibraryUnreachable: it has not answered for `PATIENCE_S`.
    """
    began, pause = time.monotonic(), _SHORTEST_PAUSE_S
    while True:
        try:
            return attempt()
        except LibraryUnreachable:
            last = began if answered is None else answered()
            if last is None or time.monotonic() + pause > last + PATIENCE_S:
                raise
        time.sleep(pause * random.uniform(0.5, 1))  # not all of them at the same instant
        pause = min(2 * pause, _LONGEST_PAUSE_S)


class Told:
    """A callback for progress that knows when it was called last: so long ago a server has answered."""

    def __init__(self, progress: Callable[[Progress], None]) -> None:
        self._progress = progress
        self._last: float | None = None

    def __call__(self, progress: Progress) -> None:
        self._last = time.monotonic()
        self._progress(progress)

    def last(self) -> float | None:
        """When, by `time.monotonic`; None before the first time."""
        return self._last

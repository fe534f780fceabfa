"""A sync that a service runs gives way to questions: people wait for these."""

from __future__ import annotations

import time
from collections.abc import Callable

# What a sync has of the time while questions are being asked.
SHARE = 0.2
# A client that asks one question after another leaves gaps of this length.
QUIET_S = 0.2
# It is not worth resting after less work.
LEAST_WORK_S = 0.01
LOOKS_S = 0.02


class GivesWay:
    """Has long work rest while questions are being asked, so that it takes no more than its share of the time.

    A batch is never cut short, and a rest is as long as the work before it calls for: whatever the batches take, the
    work goes on, and takes `1 / SHARE` times as long at most.
    """

    def __init__(
        self,
        quiet_for_s: Callable[[], float],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Args:
        quiet_for_s: for how long no question has been at work; 0 while one is.
        """
        self._quiet_for_s, self._clock, self._sleep = quiet_for_s, clock, sleep
        self._since = clock()

    def begin(self) -> None:
        """Work begins: what was before it counts for nothing."""
        self._since = self._clock()

    def rest(self, should_stop: Callable[[], bool]) -> None:
        """Called between two pieces of work: returns at once, unless questions are being asked."""
        now = self._clock()
        worked = now - self._since
        if worked < LEAST_WORK_S:
            return
        until = now + worked * (1 / SHARE - 1)
        while self._clock() < until and self._quiet_for_s() < QUIET_S and not should_stop():
            self._sleep(LOOKS_S)
        self._since = self._clock()

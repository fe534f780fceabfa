"""Classifications that are kept in memory: for their next pages, and for whoever asks the same again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from zsindex.classification.results import Classification
from zsindex.services.questions import Plan
from zsindex.web.memory import Present, RecentlyUsed, reachable

# `Classification.by_answer`, which is made when it is asked for: three orders and a label of 8 bytes, a score of 4.
LATER_BYTES = 28


class _Turn:
    """Of those who ask the same: how many they are, and when the last of their plans was begun."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.threads = 0
        self.began = 0.0
        self.plan: Plan | None = None


class Answers:
    """The last classifications by their keys, as many as fit into so many bytes.

    The photos of the library as it is now do not count: it holds them itself. Those of former moments do.
    """

    def __init__(self, max_bytes: int, now: Callable[[], object] = lambda: None) -> None:
        """Args:
        now: what the library itself holds.
        """
        self._lock = threading.Lock()
        self._kept: RecentlyUsed[str, Classification] = RecentlyUsed(max_bytes)
        self._present = Present(now)
        self._turns: dict[str, _Turn] = {}

    @property
    def bytes(self) -> int:
        """How much they take."""
        return self._kept.bytes

    def get(self, key: str) -> Classification | None:
        """The answer of a run, if it is still there."""
        with self._lock:
            return self._kept.get(key)

    @contextmanager
    def turn(self, question: str) -> Iterator[Callable[[Callable[[], Plan]], Plan]]:
        """Wait while another thread asks the same: its answer may do for both.

        What it gives makes the plan, or takes that of another thread which began to plan after this one came: while
        others store, each plan would be another one, and all those who wait would be answered one by one.
        """
        came = time.monotonic()
        with self._lock:
            turn = self._turns.setdefault(question, _Turn())
            turn.threads += 1
        try:
            with turn.lock:

                def planned(make: Callable[[], Plan]) -> Plan:
                    if turn.plan is None or turn.began <= came:
                        turn.began = time.monotonic()
                        turn.plan = make()
                    return turn.plan

                yield planned
        finally:
            with self._lock:
                turn.threads -= 1
                if not turn.threads:
                    del self._turns[question]

    def keep(self, answer: Classification, key: str | None = None) -> None:
        """Remember an answer, in place of those that were used least recently.

        Args:
            key: in place of its run's, where that holds only if a client's word does.
        """
        anyway = self._present.reached()
        reached = reachable(answer, known=anyway)
        with self._lock:
            self._kept.keep(key or answer.run.key, answer, reached, later=LATER_BYTES * len(answer), anyway=anyway)

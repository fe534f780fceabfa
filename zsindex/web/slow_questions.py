"""Questions that take seconds: a few at a time, and their last answers are kept for their next pages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from zsindex.web import cursors
from zsindex.web.cursors import OffsetCursor
from zsindex.web.memory import Present, RecentlyUsed, reachable
from zsindex.web.problems import busy

T = TypeVar("T")


class SlowQuestions:
    """Turns for slow questions, such as those of the label lab, and the answers to those that come in pages."""

    def __init__(
        self,
        *,
        at_once: int,
        wait_s: float,
        stop_s: float,
        kept: int,
        max_bytes: int,
        now: Callable[[], object] = lambda: None,
    ) -> None:
        """Args:
        at_once: questions at work at a time; others wait for up to `wait_s`.
        stop_s: after which those stop that can.
        kept, max_bytes: answers to remember, at most; and what they may take.
        now: what is in memory anyway.
        """
        self._places = threading.BoundedSemaphore(at_once)
        self._wait_s, self._stop_s = wait_s, stop_s
        self._lock = threading.Lock()
        self._kept: RecentlyUsed[tuple[str, str], object] = RecentlyUsed(max_bytes, most=kept)
        self._present = Present(now)

    @property
    def bytes(self) -> int:
        """How much the answers that are kept take."""
        return self._kept.bytes

    @contextmanager
    def turn(self) -> Iterator[Callable[[], bool]]:
        """Work; what it gives says whether it is time to stop.

        Raises:
            Problem: too many are at work.
        """
        if not self._places.acquire(timeout=self._wait_s):
            raise busy("too many slow questions are at work")
        end = time.monotonic() + self._stop_s
        try:
            yield lambda: time.monotonic() > end
        finally:
            self._places.release()

    def page_of(
        self,
        kind: type[T],
        asked: str,
        cursor: str | None,
        make: Callable[[Callable[[], bool]], tuple[str, T]],
        *,
        now: str | None = None,
    ) -> tuple[str, T, int]:
        """The whole answer that a page is of: a kept one, or a new one.

        Args:
            kind: of the answer.
            asked: stands for the question, and for what kind of answer it has.
            cursor: of the page before.
            make: given what says whether to stop, makes the answer and a key: equal ones mean equal answers.
            now: the key that it would have, where that is known.

        Returns:
            The key, the answer, and how much of it came before the page.

        Raises:
            Problem: too many are at work; or the answer of the first page is gone, and it would be another one now.
        """
        at = None if cursor is None else OffsetCursor.from_text(cursor, asked=asked)
        wanted, offset = (None, 0) if at is None else (at.key, at.offset)
        known = wanted or now
        if known is not None:
            with self._lock:
                there = self._kept.get((asked, known))
            if isinstance(there, kind):
                return known, there, offset
        with self.turn() as should_stop:
            key, answer = make(should_stop)
        if wanted not in (None, key):
            raise cursors.expired()
        anyway = self._present.reached()
        reached = reachable(answer, known=anyway)
        with self._lock:
            self._kept.keep((asked, key), answer, reached, anyway=anyway)
        return key, answer, offset

"""Threads that ask for the same at once are answered by one pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")

# Says that nobody waits for the answer of this thread any more, as where a client is gone.
nobody_waits: ContextVar[Callable[[], bool]] = ContextVar("nobody_waits", default=lambda: False)
# How often a thread that waits looks whether somebody waits for it.
_LOOKS_S = 0.25
# Whoever was answered, and whoever waited meanwhile, is likely to be there for the next pass, which costs little more
# with all of them than with half. So it waits for as many, but no longer than the last one took, and than this.
_LONGEST_PATIENCE_S = 0.05


class NobodyWaits(Exception):
    """The question was left out, since nobody waits for its answer any more."""


@dataclass(eq=False)
class _Asked(Generic[Question, Answer]):
    """What a thread waits for.

    Attributes:
        answer: once it is there.
        woken: set when it is, or when it is this thread's turn to calculate.
        is_left: says that nobody waits for it any more.
        gone: the thread has left.
    """

    question: Question
    is_left: Callable[[], bool]
    answer: Answer | None = None
    woken: threading.Event = field(default_factory=threading.Event)
    gone: bool = False


class Together(Generic[Question, Answer]):
    """One pass at a time, however many threads ask.

    A pass takes all cores, and most of its time is that of reading rows from memory. So those who ask for the same rows
    meanwhile wait, and are then answered by one pass together, in the thread of the first of them. Whoever is
    interrupted, or waited for by nobody any more, leaves.

    Attributes:
        passes, questions: how many there were.
    """

    def __init__(
        self,
        make: Callable[[Sequence[Question]], Sequence[Answer]],
        fits: Callable[[Sequence[Question], Question], bool],
    ) -> None:
        """Args:
        make: the answers to some questions.
        fits: whether a question can be answered together with others.
        """
        self._make, self._fits = make, fits
        self._lock = threading.Lock()  # of these, and held no longer than to look at them
        self._waiting: list[_Asked[Question, Answer]] = []
        self._at_work: _Asked[Question, Answer] | None = None
        self._enough, self._wanted = threading.Event(), 0
        self._likely, self._patient_until = 0, 0.0
        self.passes = self.questions = 0

    def ask(self, question: Question) -> Answer:
        """The answer to one question, as by a pass of its own.

        Raises:
            NobodyWaits
        """
        mine: _Asked[Question, Answer] = _Asked(question, nobody_waits.get())
        try:
            with self._lock:
                self._waiting.append(mine)
                if self._wanted and len(self._waiting) >= self._wanted:
                    self._enough.set()
                if self._at_work is None:
                    self._next()
            while not mine.woken.wait(_LOOKS_S):
                if mine.is_left():
                    raise NobodyWaits
            if mine.answer is None:
                self._answer(mine)
        finally:
            # Also after Ctrl-C: nobody waits for a turn that will never end.
            with self._lock:
                mine.gone = True
                if mine in self._waiting:
                    self._waiting.remove(mine)
                if self._at_work is mine:
                    self._next()
        assert mine.answer is not None
        return mine.answer

    def _next(self) -> None:
        """Give the turn to whoever has waited longest."""
        self._at_work = self._waiting[0] if self._waiting else None
        if self._at_work is not None:
            self._at_work.woken.set()

    def _wait_for_others(self) -> None:
        with self._lock:
            if len(self._waiting) >= self._likely:
                return
            self._wanted = self._likely
            self._enough.clear()
        self._enough.wait(max(0.0, self._patient_until - time.monotonic()))
        self._wanted = 0

    def _answer(self, mine: _Asked[Question, Answer]) -> None:
        """Calculate what this thread waits for, and for others whose questions fit, as many as there is room for."""
        self._wait_for_others()
        if mine.is_left():
            raise NobodyWaits
        with self._lock:
            asked, questions = [mine], [mine.question]
            for other in self._waiting:
                if other is not mine and self._fits(questions, other.question) and not other.is_left():
                    asked.append(other)
                    questions.append(other.question)
            self._waiting = [one for one in self._waiting if one not in asked]
            self.passes += 1
            self.questions += len(asked)
        began = time.monotonic()
        try:
            answers = self._make(questions)
        except BaseException:
            with self._lock:
                self._likely = 0
                self._waiting[:0] = [one for one in asked[1:] if not one.gone]
            raise
        ended = time.monotonic()
        with self._lock:
            self._likely = len(asked) + len(self._waiting)
        self._patient_until = ended + min(_LONGEST_PATIENCE_S, ended - began)
        for one, answer in zip(asked, answers, strict=True):
            one.answer = answer
            one.woken.set()

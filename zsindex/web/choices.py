"""Choices that go on: kept between requests, since to begin one again takes the answers of all candidates."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from zsindex.errors import UnknownSurvey
from zsindex.library import Library
from zsindex.services.choices import KIND, Choice
from zsindex.web.problems import Problem

# Each holds some numbers for every photo and candidate.
_MOST = 8


class KeptChoices:
    """The choices that were asked for last."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._kept: OrderedDict[int, tuple[threading.Lock, Choice]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def of(self, survey_id: int) -> Iterator[Choice]:
        """A choice, for one request at a time.

        Raises:
            UnknownSurvey
            Problem: it is no longer kept. A survey does not say where its candidates' names came from.
        """
        with self._lock:
            kept = self._kept.get(survey_id)
            if kept is not None:
                self._kept.move_to_end(survey_id)
        known = [one.id for one in self._library.surveys.list(KIND)]
        if survey_id not in known:
            raise UnknownSurvey(survey_id, known=known)
        if kept is None:
            raise Problem("answer-gone", 410, "this choice is no longer kept; begin it again, and it goes on")
        lock, choice = kept
        with lock:
            choice.refresh()
            yield choice

    def keep(self, choice: Choice) -> None:
        """Remember a choice, and forget the one that was not asked for the longest."""
        with self._lock:
            self._kept[choice.survey_id] = threading.Lock(), choice
            self._kept.move_to_end(choice.survey_id)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)

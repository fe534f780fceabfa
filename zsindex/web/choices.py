"""Choices that go on: kept between requests, since to begin one again takes the answers of all candidates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zsindex.errors import UnknownSurvey
from zsindex.library import Library
from zsindex.services.choices import KIND, Choice
from zsindex.web.looking import Kept
from zsindex.web.problems import Problem


class KeptChoices(Kept[Choice]):
    """The choices that were asked for last."""

    def __init__(self, library: Library) -> None:
        super().__init__()
        self._library = library

    @contextmanager
    def of(self, survey_id: int) -> Iterator[Choice]:
        """A choice, for one request at a time.

        Raises:
            UnknownSurvey
            Problem: it is no longer kept. A survey does not say where its candidates' names came from.
        """
        kept = self.get(survey_id)
        known = [one.id for one in self._library.surveys.list(KIND)]
        if survey_id not in known:
            raise UnknownSurvey(survey_id, known=known)
        if kept is None:
            raise Problem("answer-gone", 410, "this choice is no longer kept; begin it again, and it goes on")
        lock, choice = kept
        with lock:
            choice.refresh()
            yield choice

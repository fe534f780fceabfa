"""What choices, counts and reviews have in common: a person answers photo after photo, in requests of their own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

from starlette.responses import JSONResponse, Response

from zsindex.lab.surveys import Look
from zsindex.web.problems import Problem

# Each holds some numbers for every photo.
_MOST = 8


class Looking(Protocol):
    """Something that photos are looked at for."""

    def look(self) -> Look | None:
        """The photo that waits for an answer; another one is drawn if none does. None at the end."""

    def waiting(self) -> Look | None:
        """The photo that waits, if one does."""

    def answer_first(self, number: int, answer: str, /) -> bool:
        """Answer the photo that waits; false, and nothing is kept, if it has another number."""


class Numbered(Looking, Protocol):
    """The same, by the number of the survey that keeps the looks."""

    survey_id: int


L = TypeVar("L", bound=Numbered)


class Kept(Generic[L]):
    """Those that were asked for last, each with its lock: to begin one again takes time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[threading.Lock, L]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, survey_id: int) -> tuple[threading.Lock, L] | None:
        """One that is remembered, with its lock."""
        with self._lock:
            kept = self._kept.get(survey_id)
            if kept is not None:
                self._kept.move_to_end(survey_id)
        return kept

    def keep(self, looking: L) -> tuple[threading.Lock, L]:
        """Remember one, and forget the one that was not asked for the longest."""
        with self._lock:
            kept = self._kept[looking.survey_id] = threading.Lock(), looking
            self._kept.move_to_end(looking.survey_id)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return kept


def shown(looking: Looking, known: Mapping[str, Any], *, ask: bool) -> Response:
    """What is known, and the photo that waits; with `ask`, another one is drawn if none does."""
    waiting = looking.look() if ask else looking.waiting()
    return JSONResponse({**known, "next": None if waiting is None else waiting.to_dict()})


def answer(looking: Looking, number: int, said: str, *, what: str) -> None:
    """Answer the photo that waits.

    Raises:
        Problem: that is another one.
    """
    if not looking.answer_first(number, said):
        raise Problem("look", 409, f"another photo waits for an answer by now, or none: ask for the {what}")

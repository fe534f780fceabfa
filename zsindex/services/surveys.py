"""`library.surveys`: what was asked of people about photos, and what they answered."""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zsindex.errors import UnknownSurvey, ZsindexWarning
from zsindex.lab.surveys import NO, UNSURE, Look, Survey
from zsindex.records import IdArray
from zsindex.session.session import Session
from zsindex.storage.rows import CorrectionEntry, LookRow, SurveyRow

if TYPE_CHECKING:
    import os

_WHY = "only photos that it holds can be looked at"
# Of a question: whose corrections answers are kept as.
CORRECTIONS = "corrections"


class AnsweredElsewhere(ZsindexWarning):
    """Somebody else has answered the photo meanwhile; what they said stays."""


def say_answered_elsewhere(look: Look) -> None:
    """Tell who asks that an answer was not kept."""
    text = f"somebody else has answered photo {look.number} meanwhile, and that stays: {look.path}"
    warnings.warn(text, AnsweredElsewhere, stacklevel=3)


class Surveys:
    """Surveys: series of looks at photos, each with its answer. Counts, reviews and choices ask by them.

    Answers belong to the content of photos, not to their paths or vectors. Every one is stored when it is given.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    # --- for everybody ------------------------------------------------------------------------------------------------

    def list(self, kind: str | None = None) -> builtins.list[Survey]:
        """All surveys, or those of a kind, oldest first."""
        rows = [row for row in self._session.storage.labels.surveys() if kind in (None, row.kind)]
        return [self._survey(row) for row in rows]

    def get(self, survey_id: int) -> Survey:
        """A survey.

        Raises:
            UnknownSurvey
        """
        return self._survey(self._row(survey_id))

    def looks(self, survey_id: int) -> builtins.list[Look]:
        """The looks of a survey, in the order in which photos were drawn.

        Raises:
            UnknownSurvey
        """
        self._row(survey_id)
        return self._looks(survey_id)

    def end(self, survey_id: int, result: Mapping[str, Any] | None = None) -> None:
        """End a survey. Its looks and answers stay; the same question begins a new one.

        Args:
            result: what came out of it, plain data for JSON.

        Raises:
            UnknownSurvey, LibraryReadOnly
        """
        self._session.storage.require_writable("end a survey")
        if not self._session.storage.labels.end_survey(survey_id, result):
            raise self._unknown(survey_id)

    def forget(self, survey_id: int) -> None:
        """Forget a survey with its looks. Answers that were kept as corrections stay.

        Raises:
            UnknownSurvey, LibraryReadOnly
        """
        self._session.storage.require_writable("forget a survey")
        if not self._session.storage.labels.forget_survey(survey_id):
            raise self._unknown(survey_id)

    # --- for what asks ------------------------------------------------------------------------------------------------

    def begin(
        self,
        kind: str,
        question: Mapping[str, Any],
        *,
        image_ids: IdArray | None = None,
        corrections: tuple[str, str | None] | None = None,
    ) -> Survey:
        """Begin a survey, or go on with the one of that question that has not ended.

        Args:
            kind: at most 16 characters.
            question: plain data for JSON, with everything that decides which photos are drawn.
            image_ids: int64, ascending: what it is about, where that is fixed.
            corrections: answers are also kept as corrections of this label set, by its name: yes and no as ones of the
                label given with it; with None answers are labels themselves.

        Raises:
            LibraryReadOnly
        """
        self._session.storage.require_writable("begin a survey")
        asked = dict(question)
        if corrections is not None:
            asked[CORRECTIONS] = {"label_set": corrections[0], "label": corrections[1]}
        return self.get(self._session.storage.labels.begin_survey(kind, asked, image_ids))

    def image_ids(self, survey_id: int) -> IdArray | None:
        """What a survey is about, as `begin` was told: int64, ascending.

        Raises:
            UnknownSurvey
        """
        return self._row(survey_id).image_ids

    def draw(
        self, survey_id: int, photos: Sequence[tuple[str | os.PathLike[str], Mapping[str, Any]]]
    ) -> builtins.list[Look]:
        """Add photos to look at, behind those there are; returns all looks. Where another process has added some
        meanwhile, those stand, and these are not added.

        Args:
            photos: each a path, and how it was drawn: plain data for JSON.

        Raises:
            NotInLibrary, LibraryReadOnly
        """
        self._session.storage.require_writable("keep looks")
        paths = [str(path) for path, _ in photos]
        digests = self._session.digests_of(paths, _WHY)
        last = max((row.number for row in self._session.storage.labels.looks(survey_id)), default=0)
        self._session.storage.labels.add_looks(
            survey_id,
            [
                LookRow(last + n, digests[path], path, dict(drawn))
                for n, (path, (_, drawn)) in enumerate(zip(paths, photos, strict=True), 1)
            ],
        )
        return self._looks(survey_id)

    def answer(self, survey_id: int, number: int, answer: str, *, waiting: bool = False) -> bool:
        """Store an answer, in place of an earlier one, and as a correction if the survey's answers are kept as such.

        Args:
            waiting: not in place of an earlier one.

        Returns:
            Whether it was stored: False if `waiting`, and somebody has answered it.

        Raises:
            UnknownSurvey: there is none with such a look that goes on.
            LibraryReadOnly
        """
        self._session.storage.require_writable("keep an answer")
        row = self._row(survey_id)
        if not self._session.storage.labels.answer_look(survey_id, number, answer, waiting=waiting):
            looks = self._session.storage.labels.looks(survey_id)
            if waiting and self._row(survey_id).ended_at is None and any(one.number == number for one in looks):
                return False
            raise self._unknown(survey_id)
        if (said := self._correction(row, number, answer)) is not None:
            self._session.storage.labels.add_corrections(said[0], [said[1]])
        return True

    def undo(self, survey_id: int) -> bool:
        """Take the last answer back, and its correction if no other one came after it; False if there is none. Photos
        that were drawn after it and have no answer are forgotten.

        Raises:
            UnknownSurvey, LibraryReadOnly
        """
        self._session.storage.require_writable("undo an answer")
        row = self._row(survey_id)
        answered = [look for look in self._session.storage.labels.looks(survey_id) if look.answer is not None]
        if not answered:
            return False
        last = max(answered, key=lambda look: (look.answered_at or "", look.number))
        said = self._correction(row, last.number, last.answer or "")
        if not self._session.storage.labels.answer_look(survey_id, last.number, None):
            raise self._unknown(survey_id)
        if said is not None and self._session.storage.labels.corrections(said[0])[-1:] == [said[1]]:
            self._session.storage.labels.undo_corrections(said[0])
        return True

    def _correction(self, row: SurveyRow, number: int, answer: str) -> tuple[str, CorrectionEntry] | None:
        """The label set that an answer is kept as a correction of, and what it says; None if it is kept as none."""
        kept = row.question.get(CORRECTIONS)
        if kept is None or answer == UNSURE:
            return None
        digest = next(one.digest for one in self._session.storage.labels.looks(row.id) if one.number == number)
        entry = (
            CorrectionEntry(digest, answer)
            if kept["label"] is None
            else CorrectionEntry(digest, kept["label"], answer == NO)
        )
        return kept["label_set"], entry

    # --- reading ------------------------------------------------------------------------------------------------------

    def _row(self, survey_id: int) -> SurveyRow:
        for row in self._session.storage.labels.surveys():
            if row.id == survey_id:
                return row
        raise self._unknown(survey_id)

    def _unknown(self, survey_id: int) -> UnknownSurvey:
        rows = self._session.storage.labels.surveys()
        return UnknownSurvey(survey_id, known=[row.id for row in rows if row.ended_at is None])

    def _survey(self, row: SurveyRow) -> Survey:
        looks = self._session.storage.labels.looks(row.id)
        return Survey.of(row, n_looks=len(looks), n_answered=sum(look.answer is not None for look in looks))

    def _looks(self, survey_id: int) -> builtins.list[Look]:
        rows = self._session.storage.labels.looks(survey_id)
        ids = self._session.storage.photos.images_of([row.digest for row in rows])
        files = self._session.storage.reads.files_of(builtins.list(ids.values()))
        paths: dict[int, builtins.list[str]] = {}
        for path, image_id in zip(files.paths, files.image_ids.tolist(), strict=True):
            paths.setdefault(image_id, []).append(path)
        return [_look(row, ids.get(row.digest), paths) for row in rows]


def _look(row: LookRow, image_id: int | None, paths: Mapping[int, builtins.list[str]]) -> Look:
    there = [] if image_id is None else paths.get(image_id, [])
    path = row.path if row.path in there or not there else there[0]
    copies = tuple(one for one in there if one != path)
    return Look(row.number, path, copies, row.digest.hex(), image_id, row.drawn, row.answer, row.answered_at)

"""Which photos of a library fit a filter; see `zsindex.where`."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from zsindex.arguments.filters import KINDS, answer_of
from zsindex.arguments.paths import PathsLike, is_under
from zsindex.classification.fitting import Fits, fits
from zsindex.classification.ranking import Plain, Ranking
from zsindex.classification.scorers import Head
from zsindex.classification.view import View
from zsindex.errors import NoFacts, UnknownLabel, ZsindexWarning
from zsindex.records import FloatArray, IdArray
from zsindex.services.labels import Labels
from zsindex.session.session import Session
from zsindex.storage.rows import FileTable
from zsindex.where import Filter, Where

if TYPE_CHECKING:
    from zsindex.storage.facts_table import FactsTable


class FactsMissing(ZsindexWarning):
    """The metadata of some photos was not read yet, so that they fit no filter on it."""


@dataclass(frozen=True)
class FittingFiles:
    """Files that fit.

    Attributes:
        image_ids: int64 (n,), what they show.
    """

    image_ids: IdArray
    _table: FactsTable
    _numbers: IdArray

    def of(self, image_ids: Sequence[int] | IdArray) -> FileTable:
        """Those that show some images."""
        chosen = np.isin(self.image_ids, image_ids)
        return FileTable(
            [self._table.paths[number] for number in self._numbers[chosen].tolist()], self.image_ids[chosen]
        )

    def all(self) -> list[str]:
        """Their paths."""
        return [self._table.paths[number] for number in self._numbers.tolist()]


class Filters:
    """Finds the photos that fit filters, for one question."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._answered_by: dict[str, tuple[tuple[str, ...], IdArray, IdArray, FloatArray]] = {}

    def view_of(
        self,
        paths: PathsLike | None,
        where: Where | None,
        *,
        truncate: bool = False,
        may_be_empty: bool = False,
    ) -> View:
        """`Session.view_of` the photos that fit. That none does is an answer, and no error.

        Raises:
            NotInLibrary, NoVectors, NoFacts, UnknownLabelSet, UnknownLabel
        """
        view = self._session.view_of(paths, truncate=truncate, may_be_empty=may_be_empty)
        return view if where is None else self.those(view, where)[0]

    def those(self, view: View, where: Where) -> tuple[View, str]:
        """The photos of a view that fit; and what stands for which of them these are.

        Raises:
            NoFacts, UnknownLabelSet
        """
        table, found, fitting = self._found(view, where)
        unanswered = view.unanswered
        if unanswered:
            there = set(compress(table.paths, found.tolist()))
            unanswered = tuple(path for path in unanswered if path in there)
        digest = hashlib.blake2b(np.packbits(fitting).tobytes(), digest_size=8).hexdigest()
        return view.those(fitting, unanswered), digest

    def fitting(self, view: View, where: Where) -> Fits:
        """Which photos of a view fit: bool (n,).

        Raises:
            NoFacts, UnknownLabelSet, UnknownLabel
        """
        return self._found(view, where)[2]

    def _found(self, view: View, where: Where) -> tuple[FactsTable, Fits, Fits]:
        """The facts of all files, which of them fit, and which photos of a view do."""
        table = self._table(where)
        found = fits(where, table, partial(self._answers, table, view))
        rows = _rows_of(view, table)
        return table, found, found if rows is None else np.append(found, False)[rows]  # -1: what came since

    def files(self, where: Where, paths: Sequence[str] | None) -> FittingFiles:
        """The files that fit, at or below absolute paths, or of all.

        Raises:
            NoFacts, UnknownLabelSet, UnknownLabel
        """
        table, rows = self.rows(where, paths)
        return FittingFiles(table.image_ids[rows], table, rows)

    def rows(self, where: Where | None, paths: Sequence[str] | None) -> tuple[FactsTable, IdArray]:
        """The facts of all files, and which of these fit, at or below absolute paths, or of all: int64, ascending.

        Raises:
            NoFacts, UnknownLabelSet, UnknownLabel
        """
        if where is None:
            table = self._session.facts.table()
            rows = np.arange(len(table), dtype=np.int64)
        else:
            table = self._table(where)
            rows = np.flatnonzero(fits(where, table, partial(self._answers, table, None)))
        if paths is not None:
            inside = [any(is_under(table.paths[row], place) for place in paths) for row in rows.tolist()]
            rows = rows[np.array(inside, dtype=bool)]
        return table, rows

    def require_sets(self, where: Where) -> None:
        """Refuse filters on label sets, and labels of them, that are not there.

        Raises:
            UnknownLabelSet, UnknownLabel
        """
        labels = Labels(self._session)
        for one in where:
            if one.name == "answer":
                name, label, _ = answer_of(one.value)
                found = labels.get(name)
                if label not in found.answers:
                    raise UnknownLabel(label, known=found.answers)
            elif one.name == "corrected":
                labels.get(one.value)

    def _table(self, where: Where) -> FactsTable:
        table = self._session.facts.table()
        asked = tuple(dict.fromkeys(one.name for one in where if KINDS[one.name].needs))
        if asked and len(table):
            missing = len(table) - int(table.was_read.sum())
            if missing == len(table):
                raise NoFacts(asked, photos=missing)
            if missing:
                warnings.warn(
                    f"the metadata of {missing:,} of {len(table):,} photos was not read yet, so they fit no filter on "
                    "it: zsindex sync reads it",
                    FactsMissing,
                    stacklevel=5,
                )
        return table

    # --- filters on what was answered ---------------------------------------------------------------------------------

    def _answers(self, table: FactsTable, view: View | None, asked: Filter) -> Fits:
        ids = self._answered(asked.value, view) if asked.name == "answer" else self._corrected(asked.value)
        return np.isin(table.image_ids, ids)

    def _answered(self, value: str, view: View | None) -> IdArray:
        """Images whose best answer is a label, with at least a score."""
        name, label, least = answer_of(value)
        answers, ids, best, scores = self._best_of(name, self._session.view() if view is None else view)
        if label not in answers:
            raise UnknownLabel(label, known=answers)
        found: IdArray = ids[(best == answers.index(label)) & (scores >= np.float32(least))]
        return found

    def _best_of(self, name: str, view: View) -> tuple[tuple[str, ...], IdArray, IdArray, FloatArray]:
        """The answers of a label set; and for each image of a view its id, the number of its best answer, and the
        score. Several filters on one label set are answered once.
        """
        if name not in self._answered_by:
            labels = Labels(self._session).get(name)
            texts = self._session.embed.concepts(labels, truncate=False)
            head, info = Head.of(labels, texts, view.info, None), view.info
            by = Plain(texts, info.logit_scale, info.logit_bias, head.activation) if labels.is_plain else head
            rows = view.unique[0]
            best, scores = Ranking(by, 1).of(view.vectors, rows)
            self._answered_by[name] = labels.answers, view.vectors.ids[rows], best[:, 0], scores[:, 0]
        return self._answered_by[name]

    def _corrected(self, name: str) -> IdArray:
        """Images that somebody has corrected."""
        from zsindex.lab.corrections import fold

        Labels(self._session).get(name)  # raises if there is none, and names the existing ones
        base = name if self._session.storage.reads.label_set_versions(name) else name.rpartition("@")[0]
        said = fold(self._session.storage.labels.corrections(base))
        ids = self._session.storage.photos.images_of(said.by_digest)
        return np.fromiter(ids.values(), np.int64, len(ids))


def _rows_of(view: View, table: FactsTable) -> IdArray | None:
    """Where a view's photos stand in a table; None where they are all that it has, in its order."""
    if view.snapshot[2] == table.state[0]:
        # The files are the same, so that counting tells.
        if len(view) == len(table):
            return None
        answered = view.vectors.rows_of(table.image_ids) >= 0
        if int(answered.sum()) == len(view):
            return np.flatnonzero(answered)
    return table.rows_of(view.paths, view.image_ids)

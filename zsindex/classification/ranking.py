"""How the answers of images are ranked, by one pass over their vectors: in this process, or in pieces by several.

A product of matrices comes out the same to the bit only for the same blocks of rows. So whoever ranks some of the rows
takes the blocks that ranking all of them would take.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from zsindex.classification import scorers, scores
from zsindex.classification.scorers import Scorer
from zsindex.index.vectors import VectorTable, span
from zsindex.records import Activation, FloatArray, IdArray

# Where so many of the rows are wanted, all are scored: gathering them takes longer (`benchmarks/filters.py`).
_DENSE = 0.45

# Numbers of answers and their scores, (n, top) or narrower, best first; see `zsindex.classification.scorers`.
Ranked: TypeAlias = tuple[IdArray, FloatArray]


@dataclass(frozen=True)
class Plain:
    """One answer per label, by the model's own formula; see `zsindex.classification.scores.classify`."""

    text_vectors: FloatArray
    logit_scale: float
    logit_bias: float | None
    activation: Activation


@dataclass(frozen=True)
class Ranking:
    """How answers are ranked.

    Attributes:
        by: what scores them.
        top: answers per image at most.
        given: only answers with a score above 0.
    """

    by: Plain | Scorer
    top: int
    given: bool = False

    def block(self, vectors: VectorTable, n_rows: int) -> int:
        """How many rows are ranked at a time, where there are so many in all."""
        if isinstance(self.by, Plain):
            return scores.block_rows(n_rows, len(self.by.text_vectors), vectors.dim)
        return scorers.BLOCK_ROWS

    def of(self, vectors: VectorTable, rows: IdArray, *, block: int | None = None) -> Ranked:
        """The best answers of each image.

        Args:
            vectors, rows: which images.
            block: of all images, where `rows` are some of them and begin with a block.
        """
        if isinstance(self.by, Plain):
            return scores.classify(
                vectors,
                rows,
                self.by.text_vectors,
                logit_scale=self.by.logit_scale,
                logit_bias=self.by.logit_bias,
                activation=self.by.activation,
                top=self.top,
                size=block,
            )
        if self.given:
            return scorers.rank_given(vectors, rows, self.by, top=self.top)
        return scorers.rank(vectors, rows, self.by, top=self.top)

    def over(self, rows: IdArray) -> IdArray:
        """The rows to rank for some, which are ascending: these, or with them those that lie between; see `among`."""
        found = None if self.given else span(rows, _DENSE)
        return rows if found is None else found

    @staticmethod
    def among(ranked: Ranked, over: IdArray, rows: IdArray) -> Ranked:
        """Of what was ranked `over` some rows only theirs."""
        if over is rows:
            return ranked
        best, shown = ranked
        return best[rows - over[0]], shown[rows - over[0]]

    def joined(self, parts: Iterable[tuple[int, Ranked]], n_rows: int) -> Ranked:
        """What was ranked in pieces, each with the number of its first row, as one."""
        best = np.full((n_rows, self.top), -1, dtype=np.int64)
        shown = np.zeros((n_rows, self.top), dtype=np.float32)
        width = 0
        for start, (their_best, their_scores) in parts:
            where = (slice(start, start + len(their_best)), slice(0, their_best.shape[1]))
            best[where], shown[where] = their_best, their_scores
            width = max(width, their_best.shape[1])
        return best[:, :width], shown[:, :width]

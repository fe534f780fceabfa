"""What to label next: photos that the classifier is unsure of and that stand for many others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from zsindex.classification.scorers import Scorer, largest
from zsindex.index.vectors import VectorTable, blocks
from zsindex.lab.corrections import Bools
from zsindex.records import FloatArray, IdArray

# For each photo requested, this many of the least certain ones are considered.
POOL_PER_PHOTO = 20
# More would make choosing slow, since it takes a product of all pairs for each photo.
LARGEST_POOL = 2048
BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A photo whose label would teach most.

    Attributes:
        path: the first, if several files have the same bytes.
        label, score: the best answer.
        second, second_score: the next best.
        copies: other paths with the same bytes.
    """

    path: str
    label: str
    score: float
    second: str
    second_score: float
    copies: tuple[str, ...] = ()

    @property
    def margin(self) -> float:
        """How far the best answer is ahead."""
        return self.score - self.second_score

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "path": self.path,
            "label": self.label,
            "score": self.score,
            "second": self.second,
            "second_score": self.second_score,
            "margin": self.margin,
            "copies": list(self.copies),
        }


def margins(vectors: VectorTable, rows: IdArray, scorer: Scorer) -> FloatArray:
    """How far the best answer of each image is ahead of the second: float32 (len(rows),). At least two answers."""
    found = np.empty(len(rows), dtype=np.float32)
    for where, block in blocks(vectors, rows, BLOCK_ROWS):
        two = largest(scorer(block), 2)[1]
        found[where] = two[:, 0] - two[:, 1]
    return found


def most_telling(vectors: VectorTable, rows: IdArray, margins: FloatArray, labelled: IdArray, n: int) -> IdArray:
    """Choose photos that are unsure and stand for other unsure ones: Wei, Iyer and Bilmes 2015.

    From the photos with the smallest margins, it picks one after another the photo that adds most to how well all of
    them are covered: to the sum over the photos of the cosine to the nearest one picked or labelled. This avoids n
    photos of one scene and, unlike picking those farthest apart, also the n oddest of the library.

    Args:
        rows: of the images to choose from.
        margins: float32 (len(rows),).
        labelled: rows of images that were corrected.
        n: how many to choose, at most.

    Returns:
        Numbers into `rows`, int64, in the order chosen.
    """
    n = max(0, min(n, len(rows)))
    size = max(n, min(n * POOL_PER_PHOTO, LARGEST_POOL))
    pool = np.argsort(margins, kind="stable")[:size]
    chosen = np.empty(n, dtype=np.int64)
    if not n:
        return chosen
    candidates = vectors.take(rows[pool])
    covered = np.full(len(pool), -1, dtype=np.float32)
    for _, block in blocks(vectors, labelled, BLOCK_ROWS):
        np.maximum(covered, (candidates @ block.T).max(axis=1), out=covered)
    free = np.ones(len(pool), dtype=np.bool_)
    for number in range(n):
        at = _covering_most(candidates, covered, free)
        chosen[number] = pool[at]
        free[at] = False
        np.maximum(covered, candidates @ candidates[at], out=covered)
    return chosen


def _covering_most(candidates: FloatArray, covered: FloatArray, free: Bools) -> int:
    """The free candidate that adds most to `covered`; the first in case of a tie."""
    gains = np.empty(len(candidates), dtype=np.float64)
    for start in range(0, len(candidates), BLOCK_ROWS):
        cosines = candidates[start : start + BLOCK_ROWS] @ candidates.T
        gains[start : start + BLOCK_ROWS] = np.maximum(cosines - covered, 0).sum(axis=1, dtype=np.float64)
    return int(np.where(free, gains, -1).argmax())

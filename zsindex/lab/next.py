"""What to label next: photos that the classifier is unsure of, and that are unlike each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from zsindex.records import FloatArray, IdArray
from zsindex.scoring import Scorer, largest
from zsindex.vectors import Vectors, blocks

# Of so many of the least sure photos for each one that is wanted, those are taken that are unlike each other.
POOL_PER_PHOTO = 20
# More would make the greedy choice slow, and hardly better.
LARGEST_POOL = 4096
BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A photo whose label would teach most.

    Attributes:
        path: the first where several files have the same bytes.
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


def margins(vectors: Vectors, rows: IdArray, scorer: Scorer) -> FloatArray:
    """How far the best answer of each image is ahead of the second: float32 (len(rows),). At least two answers."""
    found = np.empty(len(rows), dtype=np.float32)
    for where, block in blocks(vectors, rows, BLOCK_ROWS):
        two = largest(scorer(block), 2)[1]
        found[where] = two[:, 0] - two[:, 1]
    return found


def most_telling(vectors: Vectors, rows: IdArray, margins: FloatArray, labelled: IdArray, n: int) -> IdArray:
    """Choose photos that are both unsure and unlike each other and what was labelled before.

    From the photos with the smallest margins (Scheffer et al. 2001) the first is taken, and then, again and again, the
    one that is furthest from all that were taken or labelled: the greedy k-centre of Gonzalez 1985, as in the core sets
    of Sener and Savarese 2018. Without it the first n would often be n photos of one scene.

    Args:
        rows: of the images to choose from.
        margins: float32 (len(rows),).
        labelled: rows of images that were corrected.
        n: how many to choose, at most.

    Returns:
        Numbers into `rows`, int64, in the order of being chosen.
    """
    n = max(0, min(n, len(rows)))
    size = max(n, min(n * POOL_PER_PHOTO, LARGEST_POOL))
    pool = np.argsort(margins, kind="stable")[:size]
    chosen = np.empty(n, dtype=np.int64)
    if not n:
        return chosen
    candidates = vectors.take(rows[pool])
    # Unit vectors: the nearest is the one with the largest cosine.
    nearest = np.full(len(pool), -np.inf, dtype=np.float32)
    for _, block in blocks(vectors, labelled, BLOCK_ROWS):
        np.maximum(nearest, (candidates @ block.T).max(axis=1), out=nearest)
    at = 0
    for number in range(n):
        chosen[number] = pool[at]
        np.maximum(nearest, candidates @ candidates[at], out=nearest)
        nearest[at] = np.inf
        at = int(nearest.argmin())
    return chosen

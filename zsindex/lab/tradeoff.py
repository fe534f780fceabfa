"""What a minimum score of one answer costs: precision and recall at every score. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from zsindex.lab.metrics import Flags
from zsindex.records import FloatArray

# Points of a curve, at most.
POINTS = 400


@dataclass(frozen=True, slots=True)
class TradeoffPoint:
    """Photos with at least a score.

    Attributes:
        score: of the answer.
        photos: with that score or more.
        right: of them, those that show it.
        answered: of the photos, those whose best answer it is: what is left of its answers with this minimum score.
        answered_right: of these, those that show it.
    """

    score: float
    photos: int
    right: int
    answered: int
    answered_right: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """The precision-recall curve of an answer, as counts.

    Attributes:
        label: the answer.
        photos: number of photos with known content.
        shown: of them, those that show it.
        points: from the highest score to the lowest, which all photos have.
    """

    label: str
    photos: int
    shown: int
    points: tuple[TradeoffPoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "label": self.label,
            "photos": self.photos,
            "shown": self.shown,
            "points": [point.to_dict() for point in self.points],
        }


def tradeoff(label: str, scores: FloatArray, shows: Flags, is_best: Flags, most: int = POINTS) -> Tradeoff:
    """The curve of an answer.

    Args:
        scores: float32 (m,), of the answer.
        shows: bool (m,), whether a photo shows it.
        is_best: bool (m,), whether it is the photo's best answer.
        most: points at most, spread evenly over the photos.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    # Photos with equal scores come together: the last of them has the counts of all.
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], len(falling) > 0))
    if len(ends) > most:
        ends = ends[np.unique(np.round(np.linspace(0, len(ends) - 1, most)).astype(np.int64))]
    columns = (shows, is_best, shows & is_best)
    right, answered, answered_right = (np.cumsum(column[order])[ends] for column in columns)
    return Tradeoff(
        label,
        len(scores),
        int(shows.sum()),
        tuple(
            TradeoffPoint(float(falling[end]), int(end) + 1, int(right[n]), int(answered[n]), int(answered_right[n]))
            for n, end in enumerate(ends.tolist())
        ),
    )

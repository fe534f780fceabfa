"""From which score on an answer is given: score curves over a library, thresholds as ranks, and what they change. Pure
numpy.

A threshold is kept as a rate, the share of the library's photos that score at or above it. Scores of two models have
little in common, and those of one move when a label is added; "the best two percent" stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from zsindex.classification.scorers import Scorer
from zsindex.lab.unknown import cut_below
from zsindex.records import FloatArray, IdArray

# A pass over all images: where they are, and their scores, float32 (b, n_answers).
Pass: TypeAlias = Callable[[], Iterator[tuple[slice, FloatArray]]]
# What makes photos of images, as in `zsindex.classification.view.View.unique`.
Back: TypeAlias = "IdArray | slice"

# Scores to hold at a time, 128 MB: the answers of 100,000 photos by some 300 labels.
HELD = 2**25
# Points of a curve.
POINTS = 32
# At these shares of the photos the table of a curve gives the score.
RATES = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
# The least score of "none of these" where it is given.
_LEAST = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class Curve:
    """How an answer's scores fall over a library.

    Attributes:
        label: the answer.
        at_rates: for each of `RATES`, the score that this share of the photos has or exceeds.
        points: (photos, score): so many photos have that score or more; from the best photo to the last, evenly on a
            logarithmic scale.
        rate, score, photos: its threshold: the share of photos asked for, the score that it comes to, and how many
            photos have that or more; None where it has none. A `score` of None is one that no photo reaches.
    """

    label: str
    at_rates: tuple[float, ...]
    points: tuple[tuple[int, float], ...]
    rate: float | None = None
    score: float | None = None
    photos: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "label": self.label,
            "threshold": None if self.rate is None else {"rate": self.rate, "score": self.score, "photos": self.photos},
            "scores": [{"rate": rate, "score": score} for rate, score in zip(RATES, self.at_rates, strict=False)],
            "curve": [{"photos": photos, "score": score} for photos, score in self.points],
        }


@dataclass(frozen=True, slots=True)
class Curves:
    """The score curves of a label set.

    Attributes:
        label_set: its name.
        photos: how many there are.
        multi_label: the scores are those of `classify(multi_label=True)`.
        curves: one per answer.
        unused: labels with a threshold that are no answers here: of another version, or of the other way of scoring.
    """

    label_set: str
    photos: int
    multi_label: bool
    curves: tuple[Curve, ...]
    unused: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "label_set": self.label_set,
            "photos": self.photos,
            "multi_label": self.multi_label,
            "labels": [curve.to_dict() for curve in self.curves],
            "unused": list(self.unused),
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What a threshold does to the photos that are answered with its label.

    Attributes:
        label_set, label: whose threshold.
        rate: the share of photos at or above it.
        score: what that comes to under this model; None where no photo reaches it.
        photos: how many photos score at or above it.
        before, after: photos answered with the label: it is their best answer, or among them with `multi_label`.
        arrive, leave: paths that come and go.
        kept: it was stored.
    """

    label_set: str
    label: str
    rate: float
    score: float | None
    photos: int
    before: int
    after: int
    arrive: tuple[str, ...]
    leave: tuple[str, ...]
    kept: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "arrive": list(self.arrive), "leave": list(self.leave)}


def columns(scored: Pass, back: Back, n: int, answers: Sequence[int]) -> Iterator[tuple[int, FloatArray]]:
    """The scores of single answers over all photos, in as many passes as memory asks for.

    Args:
        scored: a pass over the n images.
        back: makes photos of images.
        answers: which ones.

    Yields:
        (answer, float32 (n_photos,)).
    """
    step = max(1, HELD // max(1, n))
    for start in range(0, len(answers), step):
        some = list(answers[start : start + step])
        values = np.empty((len(some), n), dtype=np.float32)
        for where, scores in scored():
            values[:, where] = scores[:, some].T
        for answer, column in zip(some, values, strict=True):
            yield answer, column[back]


def cut_at(scores: FloatArray, rate: float) -> float:
    """The score that a rate comes to: ``round(rate · n)`` photos have it or more; more where several tie.

    Half way between two photos, see `zsindex.lab.unknown.cut_below`. ``inf`` and ``-inf`` where none, or all, have it.
    """
    return cut_below(np.sort(scores).astype(np.float64), len(scores) - round(rate * len(scores)))


def cuts_at(scored: Pass, back: Back, n: int, rates: Sequence[float | None], default: float) -> npt.NDArray[np.float64]:
    """The score from which on each answer is given: float64 (n_answers,).

    Args:
        rates: per answer; None gives it the `default`.
    """
    cuts = np.array([default if rate is None else np.nan for rate in rates], dtype=np.float64)
    for answer, scores in columns(scored, back, n, [i for i, rate in enumerate(rates) if rate is not None]):
        rate = rates[answer]
        assert rate is not None
        cuts[answer] = cut_at(scores, rate)
    return cuts


def with_cuts(scorer: Scorer, cuts: npt.NDArray[np.float64], *, has_none: bool) -> Scorer:
    """A scorer that applies `given` to what another one says."""
    return lambda images: given(scorer(images), cuts, has_none=has_none)


def given(scores: FloatArray, cuts: npt.NDArray[np.float64], *, has_none: bool) -> FloatArray:
    """Scores in which answers below their cut have 0, and which have the answer "none of these", as the last one.

    Where every label is below its cut, "none of these" gets what the best of them is short of 1, unless it had more.

    Args:
        scores: float32 (b, n_answers).
        cuts: float64 (n_answers,).
        has_none: the last answer is "none of these" already; it has a cut like the others.

    Returns:
        float32 (b, n_answers), or one more.
    """
    n_labels = len(cuts) - has_none
    after = np.zeros((len(scores), n_labels + 1), dtype=np.float32)
    np.copyto(after[:, : len(cuts)], scores, where=scores >= cuts)
    bare = ~after[:, :n_labels].any(axis=1)
    short = np.maximum(1 - scores[bare, :n_labels].max(axis=1, initial=0), _LEAST)
    after[bare, -1] = np.maximum(after[bare, -1], short)
    return after


def curve(label: str, scores: FloatArray, rate: float | None) -> Curve:
    """An answer's curve over a library.

    Args:
        scores: float32 (n,), of all photos.
        rate: of its threshold, if it has one.
    """
    falling = np.sort(scores)[::-1]
    n = len(falling)
    if not n:
        return Curve(label, (), (), rate, None, None if rate is None else 0)
    ranks = np.unique(np.round(np.geomspace(1, n, min(n, POINTS))).astype(int))
    at_rates = tuple(float(falling[max(1, round(r * n)) - 1]) for r in RATES)
    points = tuple((int(k), float(falling[k - 1])) for k in ranks)
    if rate is None:
        return Curve(label, at_rates, points)
    cut = cut_at(scores, rate)
    return Curve(label, at_rates, points, rate, shown_cut(cut), n_having(scores, cut))


def n_having(scores: FloatArray, cut: float) -> int:
    """How many scores are at or above a cut, which may lie between two neighbouring float32."""
    return int((scores >= np.float64(cut)).sum())


def shown_cut(cut: float) -> float | None:
    """A cut as a score: 0 where all have it, None where none has."""
    return None if cut == np.inf else max(cut, 0.0)


def rate_of(scores: FloatArray, *, score: float | None, count: int | None, rate: float | None) -> float:
    """The rate that exactly one of a score, a number of photos and a rate stands for."""
    n = max(1, len(scores))
    if score is not None:
        return float((scores >= score).sum()) / n
    if count is not None:
        return min(1.0, count / n)
    assert rate is not None
    return rate


def is_answered(scores: FloatArray, answer: int, *, every: bool) -> npt.NDArray[np.bool_]:
    """Which photos are answered with something: bool (b,) from the scores that `given` returned.

    Args:
        answer: the number of the answer.
        every: it is among the answers given, rather than the best one.
    """
    if every:
        return scores[:, answer] > 0
    return np.asarray(scores.argmax(axis=1) == answer)

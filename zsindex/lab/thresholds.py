"""Minimum scores of answers: score curves over a library, thresholds as rates, and what they change. Pure numpy.

A threshold is stored as a rate, the share of the library's photos that score at or above it. Scores of two models have
little in common, and those of one model move when a label is added; "the best two percent" keeps its meaning.
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
# Expands images to photos, as in `zsindex.classification.view.View.unique`.
Back: TypeAlias = "IdArray | slice"

# Scores to hold at a time, 128 MB: 100,000 photos by some 300 labels.
HELD = 2**25
# Points of a curve.
POINTS = 32
# The table of a curve gives the score at these shares of the photos.
RATES = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
# The lowest score of "none of these" when it is given.
_LEAST = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class Curve:
    """How an answer's scores are spread over a library.

    Attributes:
        label: the answer.
        at_rates: for each of `RATES`, the score that this share of the photos reaches.
        points: (photos, score): this many photos have that score or more; from the best photo to the last, evenly
            spaced on a logarithmic scale.
        rate, score, photos: its threshold: the requested share of photos, the resulting score, and the number of
            photos that reach it; None if it has none. A `score` of None means that no photo reaches it.
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
        photos: number of photos.
        multi_label: the scores are those of `classify(multi_label=True)`.
        curves: one per answer.
        unused: labels with a threshold that are not answers here, but in another version or the other way of scoring.
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
    """The effect of a threshold on the photos answered with its label.

    Attributes:
        label_set, label: whose threshold.
        rate: the share of photos at or above it.
        score: the resulting score with this model; None if no photo reaches it.
        photos: number of photos at or above it.
        before, after: numbers of photos answered with the label: it is their best answer, or one of them with
            `multi_label`.
        arrive, leave: paths that are added and removed.
        kept: whether it was stored.
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
    """The scores of single answers over all photos, in as many passes as memory requires.

    Args:
        scored: a pass over the n images.
        back: expands images to photos.
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
    """The score that corresponds to a rate: ``round(rate · n)`` photos reach it; more if several tie.

    It lies halfway between two photos, see `zsindex.lab.unknown.cut_below`; ``inf`` if none, ``-inf`` if all reach it.
    """
    return cut_below(np.sort(scores).astype(np.float64), len(scores) - round(rate * len(scores)))


def cuts_at(scored: Pass, back: Back, n: int, rates: Sequence[float | None], default: float) -> npt.NDArray[np.float64]:
    """The minimum score of each answer: float64 (n_answers,).

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
    """A scorer that applies `given` to the scores of another one."""
    return lambda images: given(scorer(images), cuts, has_none=has_none)


def given(scores: FloatArray, cuts: npt.NDArray[np.float64], *, has_none: bool) -> FloatArray:
    """Set answers below their cut to 0, and add the answer "none of these" as the last one.

    If every label is below its cut, "none of these" gets 1 minus the best of them, unless it had more.

    Args:
        scores: float32 (b, n_answers).
        cuts: float64 (n_answers,).
        has_none: the last answer already is "none of these"; it has a cut like the others.

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


def curve(label: str, scores: FloatArray, rate: float | None, shown: npt.NDArray[np.bool_] | None = None) -> Curve:
    """An answer's curve over a library.

    Args:
        scores: float32 (n,), of all photos.
        rate: of its threshold, if it has one: of all photos.
        shown: bool (n,), over which the curve goes; None for all.
    """
    of_shown = scores if shown is None else scores[shown]
    falling = np.sort(of_shown)[::-1]
    n = len(falling)
    if not n:
        return Curve(label, (), (), rate, None, None if rate is None else 0)
    ranks = np.unique(np.round(np.geomspace(1, n, min(n, POINTS))).astype(int))
    at_rates = tuple(float(falling[max(1, round(r * n)) - 1]) for r in RATES)
    points = tuple((int(k), float(falling[k - 1])) for k in ranks)
    if rate is None:
        return Curve(label, at_rates, points)
    cut = cut_at(scores, rate)
    return Curve(label, at_rates, points, rate, shown_cut(cut), n_having(of_shown, cut))


def n_having(scores: FloatArray, cut: float) -> int:
    """The number of scores at or above a cut, which may lie between two adjacent float32."""
    return int((scores >= np.float64(cut)).sum())


def shown_cut(cut: float) -> float | None:
    """A cut as a score: 0 if all reach it, None if none do."""
    return None if cut == np.inf else max(cut, 0.0)


def rate_of(scores: FloatArray, *, score: float | None, count: int | None, rate: float | None) -> float:
    """The rate that corresponds to a score, a number of photos or a rate, exactly one of which is given."""
    n = max(1, len(scores))
    if score is not None:
        return float((scores >= score).sum()) / n
    if count is not None:
        return min(1.0, count / n)
    assert rate is not None
    return rate


def is_answered(scores: FloatArray, answer: int, *, every: bool) -> npt.NDArray[np.bool_]:
    """Which photos get an answer: bool (b,) from the scores that `given` returned.

    Args:
        answer: the number of the answer.
        every: whether any given answer counts, rather than only the best one.
    """
    if every:
        return scores[:, answer] > 0
    return np.asarray(scores.argmax(axis=1) == answer)

"""Sets of answers that hold the truth with a stated probability: split conformal prediction. Pure numpy.

Vovk, Gammerman and Shafer 2005, "Algorithmic learning in a random world"; with the scores of Sadinle, Lei and Wasserman
2019, Romano, Sesia and Candès 2020, and Angelopoulos, Bates, Jordan and Malik 2021. docs/methods.md has the formulas,
what differs here, and when the promise fails.

A nonconformity says how unlike others a photo would be if it showed an answer. The set of a photo is all answers whose
nonconformity is at most a limit, which is the nonconformity of the truth that a known share of the calibration photos
does not exceed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from zsindex.classification.coverage import Coverage as Coverage
from zsindex.classification.coverage import Promise, Score
from zsindex.errors import TooManyScores
from zsindex.records import FloatArray, IdArray

Doubles: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

# RAPS: what each answer beyond the first so many adds: λ and k_reg of its authors' example.
PENALTY, FREE = 0.01, 5
CONFIDENCE = 0.95
# Calibration photos that are so unlikely to be like those asked about are doubted.
UNLIKELY = 0.01
ITERATIONS = 3
# Scores that sets take together, as rows: 1.5 GB.
MAX_SCORES = 2**27
_TINY = 1e-300
# Beside the largest weight; so that single precision holds all products of weights and scores.
_LEAST_WEIGHT = 1e-20
_TIE_BREAK = 1e-6


# --- how many photos say how much -------------------------------------------------------------------------------------


def rank(n: int, coverage: float) -> int:
    """Which of n nonconformities, from the smallest, is the limit: ⌈(n + 1) coverage⌉; n + 1 if there are too few."""
    # As it was written: 0.9 as a binary fraction is a little more, which matters where (n + 1) · 0.9 is a whole number.
    return math.ceil((n + 1) * Fraction(repr(coverage)))


def needed(coverage: float) -> int:
    """The fewest calibration photos for a coverage: ⌈1 / (1 - coverage)⌉ - 1."""
    return math.ceil(1 / (1 - Fraction(repr(coverage)))) - 1


def covers(n: int, coverage: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Between what shares of photos to come sets hold the truth, over draws of n calibration photos.

    For continuous nonconformities that share has a Beta(k, n + 1 - k) distribution, k being `rank` (Vovk 2012,
    "Conditional validity of inductive conformal predictors"); these are its central quantiles.
    """
    k = rank(n, coverage)
    tail = (1 - confidence) / 2
    return _beta_quantile(tail, k, n), _beta_quantile(1 - tail, k, n)


def _beta_quantile(at: float, k: int, n: int) -> float:
    """Of Beta(k, n + 1 - k), whose distribution function is the probability that a Binomial(n, x) is at least k."""
    if k > n:
        return 1.0
    which = np.arange(k, n + 1)
    of = [math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) for j in which.tolist()]
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        terms = np.array(of) + which * math.log(middle) + (n - which) * math.log1p(-middle)
        low, high = (middle, high) if np.exp(terms).sum() < at else (low, middle)
    return (low + high) / 2


# --- nonconformity ----------------------------------------------------------------------------------------------------


def nonconformity(scores: FloatArray, score: Score) -> Doubles:
    """How unlike others each photo would be with each answer: float64 (b, c), from scores float32 (b, c).

    Up to a constant: 1 is left out, so that small differences of what is nearly 1 are kept.
    """
    if score is Score.LAC:
        return -scores.astype(np.float64)
    order = np.argsort(-scores, axis=1, kind="stable")
    falling = np.take_along_axis(scores, order, axis=1).astype(np.float64)
    # What all likelier ones add up to, less 1. All best answers would tie, and be in all sets: the surer come first.
    values = -np.cumsum(falling[:, ::-1], axis=1)[:, ::-1] - _TIE_BREAK * falling
    if score is Score.RAPS:
        values += PENALTY * np.maximum(0, np.arange(1, scores.shape[1] + 1) - FREE)
    found = np.empty(scores.shape)
    np.put_along_axis(found, order, values, axis=1)
    return found


# --- limits -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """Categories of which each has a limit of its own, or shares one: labels, groups of photos, or a single one.

    Attributes:
        of: int64 (g,), the part of each of g categories.
        promises: of the parts.
    """

    of: IdArray
    promises: tuple[Promise, ...]

    @classmethod
    def single(cls, n: int, coverage: float) -> Parts:
        """One category."""
        return cls(np.zeros(1, dtype=np.int64), (Promise((), n, *covers(n, coverage)),))

    @classmethod
    def by(cls, counts: IdArray, names: Sequence[str], coverage: float) -> Parts:
        """Categories with enough calibration photos are parts. All others make one, joined by the smallest of these as
        long as it has too few (as the rare classes of Ding, Angelopoulos, Bates, Jordan and Tibshirani 2023).

        Args:
            counts: int64 (g,), calibration photos of each category; `needed` or more in all.
        """
        least = needed(coverage)
        smallest_first = np.argsort(counts, kind="stable")
        n_rest = int((counts < least).sum())
        while n_rest and counts[smallest_first[:n_rest]].sum() < least:
            n_rest += 1
        rest, own = np.sort(smallest_first[:n_rest]), np.sort(smallest_first[n_rest:])
        of = np.full(len(counts), len(own), dtype=np.int64)
        of[own] = np.arange(len(own))
        members = [own[[at]] for at in range(len(own))] + ([rest] if n_rest else [])
        photos = [int(counts[some].sum()) for some in members]
        promises = tuple(
            Promise(tuple(names[c] for c in some.tolist()), n, *covers(n, coverage))
            for some, n in zip(members, photos, strict=True)
        )
        return cls(of, promises)


def limits(values: Doubles, part: IdArray, n_parts: int, coverage: float) -> Doubles:
    """The largest nonconformity in a set, of each part: float64 (n_parts, c); infinite where there are too few photos.

    Args:
        values: float64 (n, c), of what calibration photos show, each column on its own.
        part: int64 (n,), of each photo.
    """
    found = np.full((n_parts, values.shape[1]), np.inf)
    for number in range(n_parts):
        of_part = np.sort(values[part == number], axis=0)
        k = rank(len(of_part), coverage)
        if k <= len(of_part):
            found[number] = of_part[k - 1]
    return found


# --- adapting to all photos together ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adapted:
    """Scores that are adapted to the photos together: optimal transport from photos to answers, whose marginal follows
    the calibration photos, as in Conf-OT (Silva-Rodríguez, Ben Ayed and Dolz 2025, arXiv 2505.24693).

    There the marginal is that of the calibration photos, which their own scores profit from: with few of them sets hold
    the truth less often than promised (docs/lab.md). Here a photo is scored with an answer as if it were one more
    calibration photo that shows it, and so are the calibration photos. All of them are then treated alike, as the
    promise demands (full conformal prediction: Vovk, Gammerman and Shafer 2005).

    Attributes:
        weights: float32 (c, c), the factor of each answer's probability (column), supposed that a photo shows some
            answer (row).
    """

    weights: FloatArray

    @classmethod
    def to(cls, scores: FloatArray, counts: IdArray) -> Adapted:
        """By `ITERATIONS` of Sinkhorn's algorithm (Cuturi 2013), for all suppositions at once.

        Args:
            scores: float32 (n, c), probabilities of photos, calibration photos among them.
            counts: int64 (c,), of calibration photos that show each answer.
        """
        marginals = counts + np.eye(len(counts)) + 1.0
        marginals /= marginals.sum(axis=1, keepdims=True)
        found = cls(np.ones(marginals.shape, dtype=np.float32))
        for _ in range(ITERATIONS):
            shares = found.weights.astype(np.float64) * ((1 / found._totals(scores)).T @ scores) / len(scores)
            weights = found.weights * (marginals / np.maximum(shares, _TINY))
            weights /= weights.max(axis=1, keepdims=True)
            found = cls(np.maximum(weights, _LEAST_WEIGHT).astype(np.float32))
        return found

    def __call__(self, scores: FloatArray) -> FloatArray:
        """Of each answer the probability that it has where it is supposed to be the truth: float32 (b, c)."""
        found: FloatArray = scores * np.diagonal(self.weights)
        found /= self._totals(scores)
        return found

    def of_truth(self, scores: FloatArray, answers: IdArray) -> FloatArray:
        """Probabilities of what photos show, under each supposition: float32 (n, c).

        Args:
            scores: float32 (n, c).
            answers: int64 (n,).
        """
        own = scores[np.arange(len(scores)), answers]
        found: FloatArray = own[:, None] * self.weights.T[answers] / self._totals(scores)
        return found

    def _totals(self, scores: FloatArray) -> FloatArray:
        totals: FloatArray = np.maximum(scores @ self.weights.T, np.finfo(np.float32).tiny)
        return totals


# --- sets -------------------------------------------------------------------------------------------------------------


def inside(scores: FloatArray, score: Score, limit: Doubles) -> Bools:
    """Which answers are in the sets of some photos: bool (b, c).

    Args:
        scores: float32 (b, c).
        limit: float64, that can be broadcast to (b, c): one for each photo or each answer, or a single one.
    """
    return nonconformity(scores, score) <= limit


@dataclass(frozen=True)
class Listed:
    """Sets of answers, one after another.

    Attributes:
        counts: int64 (b,), the size of each.
        answers, scores: int64 and float32 (sum of counts,): their answers, best first, and the scores of these.
    """

    counts: IdArray
    answers: IdArray
    scores: FloatArray

    @classmethod
    def of(cls, scores: FloatArray, inside: Bools) -> Listed:
        """From scores float32 (b, c), not negative, and membership (b, c), which is changed: the best answer is always
        in, so that no set is empty.
        """
        inside[np.arange(len(scores)), scores.argmax(axis=1)] = True
        rows, answers = np.nonzero(inside)
        shown = scores[rows, answers]
        # By row, then by falling score: no score is negative, and such floats are in the order of their bits.
        order = np.argsort((rows << 32) - shown.view(np.int32), kind="stable")
        return cls(np.count_nonzero(inside, axis=1), answers[order], shown[order])


def as_rows(parts: Sequence[Listed]) -> tuple[IdArray, FloatArray]:
    """Sets of one part of the photos after another as rows: answers int64 and scores float32, both (n, size of the
    largest set), best first, then -1 with a score of 0.

    Raises:
        TooManyScores: there would be more than `MAX_SCORES`.
    """
    n, width = sum(len(one.counts) for one in parts), max((int(one.counts.max()) for one in parts), default=1)
    if n * width > MAX_SCORES:
        raise TooManyScores(photos=n, answers=width, limit=MAX_SCORES, doing="making sets for")
    best, shown = np.full((n, width), -1, dtype=np.int64), np.zeros((n, width), dtype=np.float32)
    at = 0
    for one in parts:
        there = np.arange(width) < one.counts[:, None]
        part = slice(at, at + len(one.counts))
        best[part][there], shown[part][there] = one.answers, one.scores
        at += len(one.counts)
    return best, shown


# --- doubts -----------------------------------------------------------------------------------------------------------


def doubts(right: float, calibration: FloatArray, asked: FloatArray) -> Iterator[str]:
    """What speaks against a promise, in words.

    Args:
        right: share of the calibration photos whose best answer is true.
        calibration, asked: float32, the best scores of the calibration photos, and of the photos that are asked about.
    """
    if not right:
        yield "every calibration photo was answered wrong: take photos by chance, and confirm right answers as well"
    elif len(asked) and unlike(calibration.astype(np.float64), asked.astype(np.float64)) < UNLIKELY:
        yield (
            "the calibration photos are unlike those asked about, as their best scores show: the promise holds for "
            "photos like the former"
        )


def unlike(some: Doubles, others: Doubles) -> float:
    """How likely two samples of the same distribution differ at least as much as these: the two-sample test of
    Kolmogorov and Smirnov (Smirnov 1948), by its asymptotic distribution.
    """
    every = np.sort(np.concatenate([some, others]))
    shares = [np.searchsorted(np.sort(one), every, side="right") / len(one) for one in (some, others)]
    distance = float(np.abs(shares[0] - shares[1]).max())
    root = math.sqrt(len(some) * len(others) / (len(some) + len(others)))
    # The series converges slowly only where the answer is 1.
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:
        return 1.0
    terms = [(-1.0) ** (j - 1) * math.exp(-2 * j * j * x * x) for j in range(1, 101)]
    return min(1.0, max(0.0, 2 * math.fsum(terms)))

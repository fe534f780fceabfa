"""How good scores are: measures that need scores and truth, and nothing else. Pure numpy.

Everything takes weights, one per photo: the bootstrap uses them to say how often a photo is in a resample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from zsindex.records import IdArray

Values: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

N_BINS = 15


def weighted_counts(numbers: IdArray, weights: Values, n: int) -> Values:
    """The total weight of each number from 0 to n - 1: float64 (n,)."""
    return np.asarray(np.bincount(numbers, weights, minlength=n), dtype=np.float64)


# --- two kinds --------------------------------------------------------------------------------------------------------


def auroc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Area under the ROC curve: how often a positive scores higher than a negative; a tie counts as one half.

    It is the Mann-Whitney U statistic divided by the number of pairs (Hanley and McNeil 1982, "The meaning and use of
    the area under a receiver operating characteristic (ROC) curve", Radiology 143).

    Args:
        scores: (n,), higher means more likely positive.
        positive: bool (n,).

    Returns:
        In [0, 1]; 0.5 is chance.

    Raises:
        ValueError: there are no positives, no negatives, or a score is not a number.
    """
    return Roc.of(scores, positive).area()


def fpr_at_tpr(scores: npt.ArrayLike, positive: npt.ArrayLike, tpr: float = 0.95) -> float:
    """The share of negatives that pass the highest threshold that at least a share `tpr` of the positives passes.

    A photo passes if its score is at or above the threshold, so that equal scores pass together. With 0.95 it is the
    usual measure of how well known and unknown are told apart (Liang, Li and Srikant 2018, "Enhancing the reliability
    of out-of-distribution image detection in neural networks", ICLR).

    Args:
        scores, positive: as for `auroc`.
        tpr: in (0, 1].

    Returns:
        A share of the negatives, in [0, 1]; lower is better.

    Raises:
        ValueError: as for `auroc`; or `tpr` is out of range.
    """
    return Roc.of(scores, positive).false_positives(tpr)


@dataclass(frozen=True)
class Roc:
    """Positives and negatives in the order of their scores: sorted once, evaluated with many weights.

    Attributes:
        cell: int64 (n,), twice the rank of each photo, lowest first, plus one for a positive. Equal scores share a
            rank; so do neighbouring scores that only photos of one kind have, because their order makes no difference
            to any measure.
    """

    cell: IdArray

    @classmethod
    def of(cls, scores: npt.ArrayLike, positive: npt.ArrayLike) -> Roc:
        """Sort.

        Raises:
            ValueError: as for `auroc`.
        """
        values, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
        if values.ndim != 1 or values.shape != truth.shape:
            raise ValueError(
                f"scores and truth must be one-dimensional and equally long, not {values.shape} and {truth.shape}"
            )
        if np.isnan(values).any():
            raise ValueError("a score is not a number")
        if truth.all() or not truth.any():
            raise ValueError("there must be both positives and negatives")
        place = np.unique(values, return_inverse=True)[1]
        has = np.bincount(2 * place + truth, minlength=2 * int(place.max()) + 2).reshape(-1, 2) > 0
        is_new = has[:, 0] & has[:, 1]
        is_new[1:] |= (has[1:] != has[:-1]).any(axis=1)
        return cls(2 * np.cumsum(is_new)[place] + truth)

    def area(self, weights: Values | None = None) -> float:
        """Like `auroc`; NaN if all weight is on one kind."""
        positives, negatives = self._counts(weights)
        pairs = positives.sum() * negatives.sum()
        below = np.cumsum(negatives) - negatives / 2
        # Not a matrix product, whose threads would take longer to synchronise than to add.
        return float((positives * below).sum() / pairs) if pairs else float("nan")

    def false_positives(self, tpr: float = 0.95, weights: Values | None = None) -> float:
        """Like `fpr_at_tpr`; NaN if all weight is on one kind."""
        if not 0 < tpr <= 1:
            raise ValueError(f"tpr must be above 0 and at most 1, not {tpr}")
        positives, negatives = (np.cumsum(counts[::-1]) for counts in self._counts(weights))
        if not positives[-1] or not negatives[-1]:
            return float("nan")
        # 0.95 · 20 can come out as 19.000000000000004: a product that close to an integer is meant to be one.
        at = int(np.searchsorted(positives, tpr * positives[-1] - 1e-9))
        return float(negatives[at] / negatives[-1])

    def _counts(self, weights: Values | None) -> tuple[Values, Values]:
        """Positives and negatives at each rank."""
        counts = np.bincount(self.cell, weights, minlength=2 * int(self.cell.max() // 2) + 2).reshape(-1, 2)
        return counts[:, 1].astype(np.float64), counts[:, 0].astype(np.float64)


def average_precision(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """The average of the precisions at each positive, in descending order of scores; equal scores count together.

    ``Σ (R_i − R_{i−1}) · P_i`` over the distinct scores, without interpolation (Manning, Raghavan and Schütze 2008,
    "Introduction to information retrieval", section 8.4).

    Raises:
        ValueError: as for `auroc`, except that all may be positive.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if values.ndim != 1 or values.shape != truth.shape or not truth.any() or np.isnan(values).any():
        raise ValueError("average precision needs a score for each photo, and at least one positive")
    return ranked_precision(np.unique(-values, return_inverse=True)[1], truth, np.ones(len(values)))


def ranked_precision(place: IdArray, positive: Flags | IdArray, weights: Values) -> float:
    """Like `average_precision`, with weights.

    Args:
        place: int64 (n,), the rank of each photo's score among the distinct ones, highest first.
        positive: bool (n,), or the numbers of the positives.

    Returns:
        NaN if no positive has any weight.
    """
    n = int(place.max()) + 1
    positives = weighted_counts(place[positive], weights[positive], n)
    total = positives.sum()
    if not total:
        return float("nan")
    there = np.flatnonzero(positives)
    above = np.cumsum(weighted_counts(place, weights, n))[there]
    return float(positives[there] @ (np.cumsum(positives)[there] / above) / total)


# --- calibration ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Photos whose confidence lies in (low, high]: how many, their mean confidence, and how often they are right."""

    low: float
    high: float
    photos: int
    confidence: float
    accuracy: float

    def to_dict(self) -> dict[str, float | int]:
        """Plain data for JSON."""
        return {
            "low": self.low,
            "high": self.high,
            "photos": self.photos,
            "confidence": self.confidence,
            "accuracy": self.accuracy,
        }


def bins_of(confidence: npt.ArrayLike, n_bins: int = N_BINS) -> IdArray:
    """The bin of each confidence, int64 from 0; bins are equally wide and include their upper end."""
    # float32 holds the ends of bins only roughly: its 0.2 is slightly above 0.2.
    scaled = np.ceil(np.round(np.asarray(confidence, dtype=np.float64) * n_bins, 6))
    return np.clip(scaled.astype(np.int64) - 1, 0, n_bins - 1)


def calibration_error(
    confidence: npt.ArrayLike, right: npt.ArrayLike, *, n_bins: int = N_BINS, weights: Values | None = None
) -> float:
    """Expected calibration error: how far confidence is from accuracy, bin by bin, averaged over photos.

    ``Σ_b (n_b / n) · |accuracy_b − confidence_b|`` over equally wide bins (Guo, Pleiss, Sun and Weinberger 2017, "On
    calibration of modern neural networks", ICML, equation 3, after Naeini et al. 2015).

    Args:
        confidence: (n,), score of the best answer, in [0, 1].
        right: bool (n,), whether that answer is true.

    Returns:
        In [0, 1]; NaN without photos.
    """
    confidence = np.asarray(confidence, dtype=np.float64)
    weights = np.ones(len(confidence)) if weights is None else weights
    total = weights.sum()
    gaps = np.bincount(bins_of(confidence, n_bins), weights * (np.asarray(right) - confidence), minlength=n_bins)
    return float(np.abs(gaps).sum() / total) if total else float("nan")


def reliability(confidence: npt.ArrayLike, right: npt.ArrayLike, n_bins: int = N_BINS) -> tuple[ReliabilityBin, ...]:
    """The parts of the expected calibration error: the bins that hold any photos (DeGroot and Fienberg 1983)."""
    confidence = np.asarray(confidence, dtype=np.float64)
    number = bins_of(confidence, n_bins)
    counts, sums, hits = (
        np.bincount(number, values, minlength=n_bins)
        for values in (np.ones(len(number)), confidence, np.asarray(right, dtype=np.float64))
    )
    return tuple(
        ReliabilityBin(
            b / n_bins, (b + 1) / n_bins, int(counts[b]), float(sums[b] / counts[b]), float(hits[b] / counts[b])
        )
        for b in np.flatnonzero(counts).tolist()
    )

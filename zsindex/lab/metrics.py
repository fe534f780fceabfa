"""How good scores are: numbers that need scores and truth, and nothing else. Pure numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def auroc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Area under the ROC curve: how often a positive scores higher than a negative; a tie counts one half.

    It is the Mann-Whitney U statistic divided by the number of pairs (Hanley and McNeil 1982, "The meaning and use of
    the area under a receiver operating characteristic (ROC) curve", Radiology 143).

    Args:
        scores: (n,), higher means more likely positive.
        positive: bool (n,).

    Returns:
        In [0, 1]; 0.5 is chance.

    Raises:
        ValueError: there is no positive, no negative, or a score that is not a number.
    """
    values, truth = _scores_and_truth(scores, positive)
    n_positive = int(truth.sum())
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    # The middle of the ranks, counted from 1, that equal scores share.
    ranks = np.cumsum(counts) - (counts - 1) / 2
    u = ranks[number][truth].sum() - n_positive * (n_positive + 1) / 2
    return float(u / (n_positive * (len(values) - n_positive)))


def fpr_at_tpr(scores: npt.ArrayLike, positive: npt.ArrayLike, tpr: float = 0.95) -> float:
    """How many negatives pass the highest threshold that at least a share `tpr` of the positives passes.

    A photo passes where its score is at or above the threshold, so that equal scores pass together. With 0.95 it is
    the measure of Hendrycks and Gimpel 2017, "A baseline for detecting misclassified and out-of-distribution examples"
    (ICLR), as later work uses it.

    Args:
        scores, positive: as for `auroc`.
        tpr: in (0, 1].

    Returns:
        A share of the negatives, in [0, 1]; lower is better.

    Raises:
        ValueError: as for `auroc`; or `tpr` is out of range.
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr must be above 0 and at most 1, not {tpr}")
    values, truth = _scores_and_truth(scores, positive)
    positives = np.sort(values[truth])[::-1]
    # 0.95 · 20 is 19.000000000000004 in some products: what is that close to a whole number is meant to be one.
    needed = max(1, int(np.ceil(tpr * len(positives) - 1e-9)))
    return float((values[~truth] >= positives[needed - 1]).mean())


def _scores_and_truth(
    scores: npt.ArrayLike, positive: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"scores and truth must be two equally long rows, not {values.shape} and {truth.shape}")
    if np.isnan(values).any():
        raise ValueError("a score is not a number")
    if truth.all() or not truth.any():
        raise ValueError("there must be both positives and negatives")
    return values, truth

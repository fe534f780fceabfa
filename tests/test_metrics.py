"""Metrics, against loops that follow their definitions word by word and values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsindex.lab.metrics import auroc, fpr_at_tpr

# Few distinct values, so that there are ties; both kinds are always there.
SCORED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({positive for _, positive in pairs}) == 2
)


@given(SCORED)
def test_auroc_counts_pairs(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = zip(*pairs, strict=True)
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, is_positive in pairs
        if is_positive
        for b, other_positive in pairs
        if not other_positive
    ]
    assert auroc(scores, positive) == pytest.approx(sum(wins) / len(wins), abs=1e-12)
    assert auroc(scores, positive) + auroc([-s for s in scores], positive) == pytest.approx(1)


@given(SCORED, st.floats(0.01, 1))
def test_fpr_tries_every_threshold(pairs: list[tuple[int, bool]], tpr: float) -> None:
    positives = [s for s, positive in pairs if positive]
    negatives = [s for s, positive in pairs if not positive]
    good_enough = [t for t in range(-3, 4) if sum(s >= t for s in positives) >= tpr * len(positives) - 1e-9]
    expected = sum(s >= max(good_enough) for s in negatives) / len(negatives)
    scores, positive = zip(*pairs, strict=True)
    assert fpr_at_tpr(scores, positive, tpr) == pytest.approx(expected)


def test_known_values() -> None:
    assert auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75  # the example of scikit-learn's roc_auc_score
    assert auroc([1, 2, 3, 4], [False, False, True, True]) == 1
    assert auroc([1, 1, 1], [True, False, False]) == 0.5
    twenty = np.arange(20)
    # 19 of 20 positives are at 1 or above; of the negatives 0.5, 1 and 7 two are.
    scores, positive = [*twenty, 0.5, 1, 7], [True] * 20 + [False] * 3
    assert fpr_at_tpr(scores, positive) == pytest.approx(2 / 3)
    assert fpr_at_tpr(scores, positive, tpr=1) == 1


@pytest.mark.parametrize("metric", [auroc, fpr_at_tpr])
def test_what_cannot_be_measured_is_refused(metric: object) -> None:
    assert callable(metric)
    for scores, positive in [([1, 2], [True, True]), ([1, 2], [False, False]), ([], []), ([1], [True, False])]:
        with pytest.raises(ValueError):
            metric(scores, positive)
    with pytest.raises(ValueError, match="not a number"):
        metric([np.nan, 1], [True, False])
    with pytest.raises(ValueError, match="tpr"):
        fpr_at_tpr([1, 2], [True, False], tpr=0)

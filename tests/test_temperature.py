"""Fitting a temperature, against a search by hand and photos whose temperature is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from zsindex.errors import BadTruth
from zsindex.lab import temperature
from zsindex.lab.metrics import calibration_error
from zsindex.records import Activation

SOFTMAX, SIGMOID = Activation.SOFTMAX, Activation.SIGMOID


def drawn(n: int, c: int, *, hotter: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and truth drawn from their softmax at a temperature so many times the model's own."""
    random = np.random.default_rng(seed)
    logits = 4 * random.standard_normal((n, c))
    chances = np.exp(logits / hotter)
    chances /= chances.sum(axis=1, keepdims=True)
    shown = (random.random((n, 1)) > np.cumsum(chances, axis=1)).sum(axis=1)
    return logits, np.eye(c, dtype=bool)[np.minimum(shown, c - 1)]


def mean_nll(logits: np.ndarray, right: np.ndarray, ratio: float, answer_of: list[int] | None = None) -> float:
    """Word by word."""
    total = 0.0
    for row, true in zip(logits, right, strict=True):
        answers = range(len(row)) if answer_of is None else answer_of
        chances = [math.exp(z / ratio) for z in row]
        total -= math.log(sum(p for p, a in zip(chances, answers, strict=True) if true[a]) / sum(chances))
    return total / len(logits)


def fit(logits: np.ndarray, right: np.ndarray, activation: Activation = SOFTMAX, **options: object):
    answer_of = options.pop("answer_of", range(logits.shape[1]))
    return temperature.fit(logits, right, activation=activation, answer_of=np.array(answer_of), own=0.01, **options)


@pytest.mark.parametrize("hotter", [0.3, 1.0, 2.5])
def test_the_temperature_that_photos_were_drawn_at_is_found(hotter: float) -> None:
    logits, right = drawn(8000, 6, hotter=hotter)
    fitted = fit(logits, right)
    assert fitted.temperature == pytest.approx(0.01 * hotter, rel=0.08)
    assert fitted.own == 0.01
    assert fitted.photos == 8000
    assert len(fitted.fold_temperatures) == 5
    assert fitted.after.nll <= fitted.before.nll + 1e-3
    # Of perfectly calibrated scores it is below sqrt(2 · 15 / (4 π · 8000)), 0.017, on average.
    assert fitted.after.ece < 0.03
    if hotter > 1:
        assert fitted.before.ece > 0.1


def test_it_is_the_minimum_to_a_millionth() -> None:
    logits, right = drawn(60, 4, hotter=1.7)
    ratio = fit(logits, right).temperature / 0.01
    # Where the slope of the mean negative log-likelihood changes its sign, by bisection of central differences.
    low, high = 0.5, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        slope = mean_nll(logits, right, middle * 1.0001) - mean_nll(logits, right, middle / 1.0001)
        low, high = (middle, high) if slope < 0 else (low, middle)
    assert ratio == pytest.approx(low, rel=1e-5)
    assert mean_nll(logits, right, ratio) <= mean_nll(logits, right, ratio * 1.01)
    assert mean_nll(logits, right, ratio) <= mean_nll(logits, right, ratio / 1.01)


def test_before_and_after_are_of_photos_that_were_left_out() -> None:
    logits, right = drawn(50, 3, hotter=2.0)
    fitted = fit(logits, right, folds=2, seed=4)
    assert fitted.before.nll == pytest.approx(mean_nll(logits, right, 1.0))
    part = np.random.default_rng(4).permutation(50) % 2
    nll, confidence = 0.0, np.empty(50)
    for fold in (0, 1):
        out = part == fold
        ratio = fitted.fold_temperatures[fold] / 0.01
        alone = fit(logits[~out], right[~out])
        assert alone.temperature == pytest.approx(fitted.fold_temperatures[fold])
        nll += mean_nll(logits[out], right[out], ratio) * out.sum() / 50
        chances = np.exp(logits[out] / ratio)
        confidence[out] = (chances / chances.sum(axis=1, keepdims=True)).max(axis=1)
    assert fitted.after.nll == pytest.approx(nll)
    hits = right[np.arange(50), logits.argmax(axis=1)]
    assert fitted.after.ece == pytest.approx(calibration_error(confidence, hits))


def test_groups_are_true_if_one_of_their_labels_is() -> None:
    logits, shown = drawn(200, 4, hotter=1.5)
    right = np.stack([shown[:, 0] | shown[:, 1], shown[:, 2], shown[:, 3]], axis=1)
    fitted = fit(logits, right, answer_of=[0, 0, 1, 2])
    assert fitted.before.nll == pytest.approx(mean_nll(logits, right, 1.0, [0, 0, 1, 2]))
    ratio = fitted.temperature / 0.01
    for other in (ratio * 1.02, ratio / 1.02):
        assert mean_nll(logits, right, ratio, [0, 0, 1, 2]) < mean_nll(logits, right, other, [0, 0, 1, 2])


def test_sigmoid_scores_are_fitted_label_by_label() -> None:
    random = np.random.default_rng(0)
    logits = 3 * random.standard_normal((2000, 3))
    right = random.random((2000, 3)) < 1 / (1 + np.exp(-logits / 2))
    fitted = fit(logits, right, SIGMOID)
    assert fitted.temperature == pytest.approx(0.02, rel=0.1)
    chances = 1 / (1 + np.exp(-logits))
    by_hand = -np.where(right, np.log(chances), np.log(1 - chances)).sum(axis=1).mean()
    assert fitted.before.nll == pytest.approx(by_hand)
    grouped = fit(np.repeat(logits, 2, axis=1) - [0, 9] * 3, right, SIGMOID, answer_of=[0, 0, 1, 1, 2, 2])
    assert grouped.temperature == pytest.approx(fitted.temperature)


def test_what_says_nothing_about_confidence_is_refused() -> None:
    logits, right = drawn(40, 3, hotter=1.0)
    with pytest.raises(BadTruth, match="at least 10"):
        fit(logits[:9], right[:9])
    all_right = np.eye(3, dtype=bool)[logits.argmax(axis=1)]
    with pytest.raises(BadTruth, match="all answers were right"):
        fit(logits, all_right)
    all_wrong = np.eye(3, dtype=bool)[logits.argmin(axis=1)]
    with pytest.raises(BadTruth, match="guessed"):
        fit(logits, all_wrong)


def test_extreme_logits_stay_finite() -> None:
    logits, right = drawn(40, 3, hotter=1.0)
    fitted = fit(logits * 40, right)
    assert math.isfinite(fitted.before.nll)
    assert fitted.temperature == pytest.approx(40 * fit(logits, right).temperature, rel=1e-4)
    assert all(0 <= b.confidence <= 1 for b in fitted.after.reliability)

"""Conformal sets of answers: that they keep what they promise, on scores that are drawn; and how it is computed."""

from __future__ import annotations

import numpy as np
import pytest

from zsindex.classification.coverage import Score
from zsindex.errors import TooManyScores
from zsindex.lab import conformal
from zsindex.lab.conformal import Adapted, Listed, Parts

# Calibration photos and photos to come in a split, and splits. The mean coverage of so many splits then varies by 0.2
# points (one standard deviation), so that one point is five of them; the draws are seeded.
KNOWN, COMING, SPLITS, LABELS = 99, 101, 1000, 6


def drawn(kind: str, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 (n, c) of a model of a kind, and what the photos show: uneven, as libraries are."""
    random = np.random.default_rng(seed)
    truth = random.choice(LABELS, n, p=np.array([0.4, 0.25, 0.15, 0.1, 0.07, 0.03]))
    logits = random.standard_normal((n, LABELS))
    logits[np.arange(n), truth] += {"good": 4.0, "fair": 1.5, "useless": 0.0, "overconfident": 1.5}[kind]
    logits *= 6 if kind == "overconfident" else 1
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32), truth


def in_splits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Calibration photos and photos to come of each split."""
    by_split = values.reshape(SPLITS, KNOWN + COMING, *values.shape[1:])
    return by_split[:, :KNOWN], by_split[:, KNOWN:]


@pytest.mark.parametrize("kind", ["good", "fair", "useless", "overconfident"])
@pytest.mark.parametrize("score", list(Score))
def test_sets_hold_the_truth_as_often_as_promised(kind: str, score: Score) -> None:
    scores, truth = drawn(kind, SPLITS * (KNOWN + COMING))
    every = conformal.nonconformity(scores, score)
    known, coming = in_splits(every[np.arange(len(truth)), truth])
    for coverage in (0.8, 0.9, 0.95):
        limits = np.array([conformal.limits(one[:, None], np.zeros(KNOWN, int), 1, coverage)[0, 0] for one in known])
        held = (coming <= limits[:, None]).mean(axis=1)
        assert held.mean() == pytest.approx(coverage, abs=0.01)
        # Between these bounds in 95 of 100 draws of the calibration photos; that share varies by 0.7 points. What is
        # looked at here are 101 photos rather than all that may come, which spreads it: the widths add up in squares.
        low, high = conformal.covers(KNOWN, coverage)
        wide = np.hypot(high - low, 2 * 1.96 * np.sqrt(coverage * (1 - coverage) / COMING)) / (high - low)
        middle = (low + high) / 2
        within = np.abs(held - middle) <= wide * (high - low) / 2
        assert within.mean() == pytest.approx(0.95, abs=0.025)


def test_each_label_has_a_promise_of_its_own() -> None:
    n = 4000
    scores, truth = drawn("fair", 40 * n, seed=1)
    marginal, own = np.zeros(LABELS), np.zeros(LABELS)
    for split in range(40):
        part = slice(split * n, (split + 1) * n)
        values, shown = conformal.nonconformity(scores[part], Score.LAC), truth[part]
        known = np.arange(n // 2)
        of_truth = values[known, shown[known]][:, None]
        parts = Parts.by(np.bincount(shown[known], minlength=LABELS), list("abcdef"), 0.9)
        assert [promise.names for promise in parts.promises] == [(name,) for name in "abcdef"]
        by_label = conformal.limits(of_truth, parts.of[shown[known]], LABELS, 0.9)[parts.of, 0]
        for_all = conformal.limits(of_truth, np.zeros(n // 2, int), 1, 0.9)[0]
        coming, their = values[n // 2 :], shown[n // 2 :]
        for held, limit in ((marginal, for_all), (own, by_label)):
            inside = (coming <= limit)[np.arange(n // 2), their]
            held += [inside[their == label].mean() / 40 for label in range(LABELS)]
    # The rarest label has some 60 photos on each side: one standard deviation of the mean is 0.9 points at most.
    assert own == pytest.approx(np.full(LABELS, 0.9), abs=0.025)
    assert marginal.max() - marginal.min() < 0.03  # these scores treat all labels alike


def test_labels_with_few_photos_have_one_promise_together() -> None:
    parts = Parts.by(np.array([40, 3, 0, 9, 5, 12]), list("abcdef"), 0.9)
    # b, c and e have 8 photos together, one too few, so that d joins them.
    assert [(p.names, p.photos) for p in parts.promises] == [(("a",), 40), (("f",), 12), (("b", "c", "d", "e"), 17)]
    assert parts.of.tolist() == [0, 2, 2, 2, 2, 1]
    enough = Parts.by(np.array([40, 3, 0, 9, 6, 12]), list("abcdef"), 0.9)
    assert [p.names for p in enough.promises] == [("a",), ("d",), ("f",), ("b", "c", "e")]


@pytest.mark.parametrize("uneven", [False, True])
def test_adapted_scores_keep_the_promise_and_make_smaller_sets(uneven: bool) -> None:
    random = np.random.default_rng(2)
    n, known, held, plain_held, sizes, plain_sizes = 260, 39, [], [], [], []
    # A model that prefers some labels, whatever photos show.
    bias = np.linspace(-2, 2, LABELS)
    for _ in range(300):
        shares = random.dirichlet(np.full(LABELS, 0.5)) if uneven else np.full(LABELS, 1 / LABELS)
        truth = random.choice(LABELS, n, p=shares)
        logits = random.standard_normal((n, LABELS)) + bias
        logits[np.arange(n), truth] += 2
        scores = np.exp(logits).astype(np.float32)
        scores /= scores.sum(axis=1, keepdims=True)
        adapted = Adapted.to(scores, np.bincount(truth[:known], minlength=LABELS))
        limits = conformal.limits(
            -adapted.of_truth(scores[:known], truth[:known]).astype(float), np.zeros(known, int), 1, 0.9
        )
        inside = conformal.inside(adapted(scores[known:]), Score.LAC, limits[0])
        own = conformal.nonconformity(scores, Score.LAC)
        limit = conformal.limits(own[np.arange(known), truth[:known]][:, None], np.zeros(known, int), 1, 0.9)
        plain = conformal.inside(scores[known:], Score.LAC, limit[0])
        rows = np.arange(n - known)
        held.append(inside[rows, truth[known:]].mean())
        plain_held.append(plain[rows, truth[known:]].mean())
        sizes.append(inside.sum(axis=1).mean())
        plain_sizes.append(plain.sum(axis=1).mean())
    # One standard deviation of the mean of 300 splits with 39 calibration photos is 0.3 points.
    assert np.mean(held) == pytest.approx(0.9, abs=0.01)
    assert np.mean(plain_held) == pytest.approx(0.9, abs=0.01)
    assert np.mean(sizes) < 0.95 * np.mean(plain_sizes)


def test_adapted_scores_are_sinkhorns_of_one_more_calibration_photo() -> None:
    scores, truth = drawn("fair", 50, seed=3)
    counts = np.bincount(truth[:20], minlength=LABELS)
    adapted = Adapted.to(scores, counts)
    for answer in range(LABELS):
        marginal = counts + 1.0 + (np.arange(LABELS) == answer)
        plan = scores.astype(np.float64)
        for _ in range(conformal.ITERATIONS):
            plan /= plan.sum(axis=1, keepdims=True)
            plan *= marginal / marginal.sum() / plan.mean(axis=0)
        plan /= plan.sum(axis=1, keepdims=True)
        assert adapted(scores)[:, answer] == pytest.approx(plan[:, answer], rel=1e-4)
        own = adapted.of_truth(scores[:20], truth[:20])[:, answer]
        assert own == pytest.approx(plan[np.arange(20), truth[:20]], rel=1e-4)


def test_labels_that_no_photo_is_like_are_adapted_to_without_overflow() -> None:
    scores = np.full((50, 4), 1e-38, dtype=np.float32)
    scores[:, 0] = 1
    scores[:5, 3] = 0
    adapted = Adapted.to(scores, np.array([20, 0, 0, 5]))
    for values in (adapted(scores), adapted.of_truth(scores[:25], np.repeat([0, 3], [20, 5]))):
        assert np.isfinite(values).all()
        assert ((values >= 0) & (values <= 1)).all()


def test_nonconformity_is_what_the_papers_say() -> None:
    scores = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]], dtype=np.float32)
    assert 1 + conformal.nonconformity(scores, Score.LAC) == pytest.approx(1 - scores)
    # Of equal scores the first counts as likelier.
    aps = np.array([[0.8, 0.0, 0.5], [0.0, 0.8, 0.4]])
    # Less a millionth of the score, by which the best answers, all 0, are told apart.
    assert 1 + conformal.nonconformity(scores, Score.APS) + 1e-6 * scores == pytest.approx(aps, abs=1e-7)
    scores = np.linspace(0.01, 0.19, 10, dtype=np.float32)[None]
    penalty = conformal.PENALTY * np.array([[5, 4, 3, 2, 1, 0, 0, 0, 0, 0]])
    raps = conformal.nonconformity(scores, Score.APS) + penalty
    assert conformal.nonconformity(scores, Score.RAPS) == pytest.approx(raps)


def test_small_differences_of_unlikely_answers_are_kept() -> None:
    scores = np.array([[1.0, 1e-20, 3e-20]], dtype=np.float32)
    for score in (Score.LAC, Score.APS):
        [values] = conformal.nonconformity(scores, score)
        assert values[0] < values[2] < values[1]


def test_how_many_photos_are_needed() -> None:
    assert [conformal.needed(coverage) for coverage in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    for coverage in (0.8, 0.9, 0.95, 0.99):
        least = conformal.needed(coverage)
        assert conformal.rank(least, coverage) == least
        assert conformal.rank(least - 1, coverage) == least  # one more than there are
    # As it is written, not as a binary fraction: 0.9 is a little more than nine tenths.
    assert conformal.rank(99, 0.9) == 90
    few = conformal.limits(np.zeros((8, 1)), np.zeros(8, int), 1, 0.9)
    assert np.isinf(few).all()


def test_bounds_of_coverage_are_quantiles_of_beta() -> None:
    # Where the limit is the largest value: Beta(n, 1), whose distribution function is x ** n.
    low, high = conformal.covers(9, 0.9)
    assert low == pytest.approx(0.025 ** (1 / 9), abs=1e-6)
    assert high == pytest.approx(0.975 ** (1 / 9), abs=1e-6)
    draws = np.random.default_rng(0).beta(conformal.rank(60, 0.9), 61 - conformal.rank(60, 0.9), 400_000)
    assert conformal.covers(60, 0.9) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1e-3)
    assert conformal.covers(20_000, 0.95) == pytest.approx((0.947, 0.953), abs=1e-3)


def test_no_set_is_empty_and_the_best_comes_first() -> None:
    scores = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]], dtype=np.float32)
    listed = Listed.of(scores, np.array([[True, False, True], [False, False, False]]))
    assert listed.counts.tolist() == [3, 1]
    assert listed.answers.tolist() == [1, 2, 0, 0]
    best, shown = conformal.as_rows([listed, Listed.of(scores[:1], np.ones((1, 3), dtype=bool))])
    assert best.tolist() == [[1, 2, 0], [0, -1, -1], [1, 2, 0]]
    assert shown[1].tolist() == pytest.approx([0.4, 0, 0])
    assert [part.shape for part in conformal.as_rows([])] == [(0, 1), (0, 1)]


def test_sets_that_take_too_much_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformal, "MAX_SCORES", 5)
    with pytest.raises(TooManyScores, match="making sets for 2 photos by 3 labels"):
        conformal.as_rows([Listed.of(np.ones((2, 3), dtype=np.float32), np.ones((2, 3), dtype=bool))])


def test_photos_of_another_kind_are_noticed() -> None:
    random = np.random.default_rng(4)
    # Of samples that are alike, a share as large as the level is called unlike: 200 of them, 2.8 at one in a hundred.
    alike = [conformal.unlike(random.random(60), random.random(500)) for _ in range(400)]
    assert np.mean(np.array(alike) < 0.01) == pytest.approx(0.01, abs=0.015)
    assert np.mean(np.array(alike) < 0.5) == pytest.approx(0.5, abs=0.08)
    assert conformal.unlike(random.random(60) ** 3, random.random(500)) < 1e-3
    assert conformal.unlike(np.ones(5), np.ones(7)) == 1.0

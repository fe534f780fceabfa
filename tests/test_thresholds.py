"""Thresholds and several labels at once, against counting and loops; and which photos a threshold moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.libraries import add_model, add_photos, new_library, open_storage, unit_vectors
from zsindex.classification import scorers
from zsindex.classification.prompts import label_set
from zsindex.index.snapshots import VectorIndex
from zsindex.lab import multi_label, thresholds
from zsindex.records import Activation, FloatArray

SCORES = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=30)
TABLE = np.random.default_rng(0).random((11, 5)).astype(np.float32)
BACK = np.array([0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10], dtype=np.int64)


def scored() -> Iterator[tuple[slice, FloatArray]]:
    for start in range(0, 11, 4):
        yield slice(start, start + 4), TABLE[start : start + 4]


def by_row(table: FloatArray) -> scorers.Scorer:
    """A scorer whose image vectors are row numbers."""
    return lambda images: table[images[:, 0].astype(int)].copy()


def rows(n: int) -> FloatArray:
    return np.arange(n, dtype=np.float32)[:, None]


# --- cuts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [1, 23, 2**25])
def test_columns_are_those_of_the_table_however_little_is_held(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(thresholds, "HELD", held)
    found = list(thresholds.columns(scored, BACK, 11, [4, 0, 3]))
    assert [answer for answer, _ in found] == [4, 0, 3]
    for answer, column in found:
        np.testing.assert_array_equal(column, TABLE[BACK, answer])


@given(SCORES, st.floats(0, 1))
def test_a_rate_becomes_a_score_that_so_many_have(values: list[float], rate: float) -> None:
    scores = np.array(values, dtype=np.float32)
    cut = thresholds.cut_at(scores, rate)
    wanted, falling = round(rate * len(values)), sorted(values, reverse=True)
    n_having = sum(value >= cut for value in values)
    assert n_having >= wanted
    if 0 < wanted < len(values):
        # Those that tie with the last one have it, too, and nobody else.
        assert n_having == sum(value >= falling[wanted - 1] for value in values)
    else:
        assert n_having == wanted


@given(SCORES, st.floats(0, 1))
def test_a_score_as_a_rate_keeps_the_same_photos(values: list[float], score: float) -> None:
    scores = np.array(values, dtype=np.float32)
    rate = thresholds.rate_of(scores, score=score, count=None, rate=None)
    np.testing.assert_array_equal(scores >= thresholds.cut_at(scores, rate), scores >= score)


def test_a_cut_between_neighbouring_numbers_keeps_them_apart() -> None:
    low = np.float32(0.5)
    while low < 0.5001:
        high = np.nextafter(low, np.float32(1))
        scores = np.array([low, high], dtype=np.float32)
        cut = thresholds.cut_at(scores, 0.5)
        assert float(low) < cut < float(high)
        curve = thresholds.curve("owl", scores, 0.5)
        assert curve.photos == 1
        given_ = thresholds.with_cuts(by_row(scores[:, None]), np.array([cut]), has_none=False)(rows(2))
        assert (given_[:, 0] > 0).tolist() == [False, True]
        low += np.float32(1e-5)


def test_a_count_as_a_rate() -> None:
    scores = TABLE[:, 0]
    for count in (0, 3, 11, 50):
        rate = thresholds.rate_of(scores, score=None, count=count, rate=None)
        assert int((scores >= thresholds.cut_at(scores, rate)).sum()) == min(count, 11)
    assert thresholds.rate_of(scores, score=None, count=None, rate=0.3) == 0.3


def test_each_answer_has_its_cut() -> None:
    cuts = thresholds.cuts_at(scored, BACK, 11, [None, 0.3, None, 1.0, 0.0], 0.25)
    expected = thresholds.cut_at(TABLE[BACK, 1], 0.3)
    assert cuts.tolist() == [0.25, expected, 0.25, -np.inf, np.inf]
    assert int((TABLE[BACK, 1] >= expected).sum()) == round(0.3 * 13)


# --- what a cut does --------------------------------------------------------------------------------------------------


def test_answers_below_their_cut_are_not_given() -> None:
    table = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.5, 0.1, 0.4], [1.0, 0.0, 0.0]], dtype=np.float32)
    cuts = np.array([0.5, 0.25, 2.0])
    after = thresholds.with_cuts(by_row(table), cuts, has_none=False)(rows(4))
    np.testing.assert_allclose(after, [[0.7, 0, 0, 0], [0, 0.3, 0, 0], [0.5, 0, 0, 0], [1, 0, 0, 0]])
    bare = thresholds.with_cuts(by_row(table), np.full(3, np.inf), has_none=False)(rows(4))
    np.testing.assert_allclose(bare[:, 3], [0.3, 0.6, 0.5, 0], atol=1e-6)
    assert bare[3, 3] > 0  # or it would be given nothing
    assert not bare[:, :3].any()


def test_none_of_these_keeps_what_it_had() -> None:
    table = np.array([[0.5, 0.1, 0.4], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]], dtype=np.float32)
    after = thresholds.with_cuts(by_row(table), np.array([0.6, 0.6, 0.0]), has_none=True)(rows(3))
    np.testing.assert_allclose(after, [[0, 0, 0.5], [0, 0, 0.9], [0, 0.7, 0.1]], atol=1e-6)
    after = thresholds.with_cuts(by_row(table), np.array([0.1, 0.1, 0.5]), has_none=True)(rows(3))
    np.testing.assert_allclose(after, [[0.5, 0.1, 0], [0.1, 0.1, 0.8], [0.2, 0.7, 0]], atol=1e-6)


def test_who_is_answered() -> None:
    table = np.array([[0.6, 0.4], [0.4, 0.6], [0.9, 0.1]], dtype=np.float32)
    for cuts, best, among in (
        ([0.0, 0.0], [True, False, True], [True, True, True]),
        ([0.7, 0.0], [False, False, True], [False, False, True]),
    ):
        scores = thresholds.given(table, np.array(cuts), has_none=False)
        assert thresholds.is_answered(scores, 0, every=False).tolist() == best
        assert thresholds.is_answered(scores, 0, every=True).tolist() == among


def test_what_is_given_is_ranked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorers, "BLOCK_ROWS", 3)
    vectors = unit_vectors(8)
    with open_storage(new_library(tmp_path / "library")) as storage:
        model = add_model(storage)
        add_photos(storage, model, vectors)
        found = VectorIndex.open(storage, model).vectors

    def scorer(images: FloatArray) -> FloatArray:
        return np.maximum(images, 0)

    order = np.array([5, 0, 1, 2, 3, 7], dtype=np.int64)
    for top in (None, 2):
        best, scores = scorers.rank_given(found, order, scorer, top=top)
        for row, numbers, shown in zip(order.tolist(), best.tolist(), scores.tolist(), strict=True):
            ranked = sorted((i for i in range(8) if vectors[row, i] > 0), key=lambda i: -vectors[row, i])[:top]
            assert [n for n in numbers if n >= 0] == ranked
            assert numbers[len(ranked) :] == [-1] * (best.shape[1] - len(ranked))
            np.testing.assert_allclose(shown, [*vectors[row, ranked], *[0.0] * (best.shape[1] - len(ranked))])
    best, scores = scorers.rank_given(found, order[:0], scorer)
    assert best.shape == scores.shape == (0, 0)


# --- curves -----------------------------------------------------------------------------------------------------------


def test_a_curve_says_what_so_many_photos_have() -> None:
    scores = np.random.default_rng(1).random(2000).astype(np.float32)
    falling = sorted(scores.tolist(), reverse=True)
    curve = thresholds.curve("owl", scores, 0.01)
    assert curve.at_rates == tuple(falling[round(rate * 2000) - 1] for rate in thresholds.RATES)
    assert (curve.points[0], curve.points[-1]) == ((1, falling[0]), (2000, falling[-1]))
    assert all(score == falling[photos - 1] for photos, score in curve.points)
    assert (curve.rate, curve.photos) == (0.01, 20)
    assert curve.score is not None
    assert falling[20] < curve.score < falling[19]
    plain = curve.to_dict()
    assert plain["threshold"] == {"rate": 0.01, "score": curve.score, "photos": 20}
    assert len(plain["curve"]) == len(curve.points)


def test_curves_of_no_photos_and_of_no_threshold() -> None:
    assert thresholds.curve("owl", np.empty(0, dtype=np.float32), 0.1).photos == 0
    curve = thresholds.curve("owl", np.array([0.5], dtype=np.float32), None)
    assert (curve.points, curve.to_dict()["threshold"]) == (((1, 0.5),), None)
    never = thresholds.curve("owl", np.array([0.5], dtype=np.float32), 0.0)
    assert (never.score, never.photos) == (None, 0)


# --- several labels ---------------------------------------------------------------------------------------------------

IMAGES = unit_vectors(6)


def test_each_group_is_a_softmax_of_its_own() -> None:
    labels = label_set(["a", "b", "c", "d", "e"], groups={"x": ["d", "a"]}, negatives=["n"])
    texts = unit_vectors(6, seed=1)
    scorer = multi_label.multi_label(texts, labels, logit_scale=9.0, logit_bias=None, activation=Activation.SOFTMAX)
    found = scorer(IMAGES)
    weights = np.exp(9.0 * IMAGES.astype(np.float64) @ texts.T.astype(np.float64))
    for members in ([0, 3], [1, 2, 4]):
        total = weights[:, members].sum(axis=1) + weights[:, 5]
        for label in members:
            np.testing.assert_allclose(found[:, label], weights[:, label] / total, rtol=1e-5)
    assert multi_label.competing(labels) == [[3, 0], [1, 2, 4]]
    assert multi_label.competing(label_set(["a", "b"], groups={"x": ["a", "b"]})) == [[0, 1]]


def test_independent_labels_have_their_own_probability() -> None:
    labels = label_set(["a", "b"], groups={"x": ["a", "b"]}, negatives=["n"])
    texts = unit_vectors(3, seed=1)
    scorer = multi_label.multi_label(texts, labels, logit_scale=9.0, logit_bias=-3.0, activation=Activation.SIGMOID)
    logits = 9.0 * IMAGES.astype(np.float64) @ texts[:2].T.astype(np.float64) - 3.0
    np.testing.assert_allclose(scorer(IMAGES), 1 / (1 + np.exp(-logits)), rtol=1e-5)

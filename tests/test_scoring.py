"""Scores of answers: heads against formulas by hand, and ranking against sorting everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.libraries import add_model, add_photos, new_library, open_storage, unit_vectors
from zsindex.classification import scorers
from zsindex.classification import scores as classify_module
from zsindex.classification.prompts import label_set
from zsindex.classification.scorers import Head
from zsindex.index.snapshots import VectorIndex
from zsindex.records import Activation

ANSWER_OF = (0, 1, 1, 2, 1)


def head(activation: Activation, answer_of: tuple[int, ...] | None = ANSWER_OF) -> Head:
    return Head.zero_shot(
        unit_vectors(5, seed=1), logit_scale=10.0, logit_bias=-2.0, activation=activation, answer_of=answer_of
    )


@pytest.mark.parametrize("activation", list(Activation))
def test_a_head_is_the_formula(activation: Activation) -> None:
    images, texts = unit_vectors(7), unit_vectors(5, seed=1)
    made = head(activation, None)
    logits = 10.0 * images.astype(np.float64) @ texts.T.astype(np.float64) - 2.0
    np.testing.assert_allclose(made.logits(images), logits, atol=1e-5)
    if activation is Activation.SOFTMAX:
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    else:
        expected = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(made(images), expected, atol=1e-6)
    assert made.n_answers == 5


def test_probabilities_of_a_group_add_up() -> None:
    images = unit_vectors(7)
    scores, single = head(Activation.SOFTMAX)(images), head(Activation.SOFTMAX, None)(images)
    np.testing.assert_allclose(
        scores, np.stack([single[:, 0], single[:, [1, 2, 4]].sum(1), single[:, 3]], 1), atol=1e-6
    )
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_of_independent_probabilities_a_group_has_the_largest() -> None:
    images = unit_vectors(7)
    scores, single = head(Activation.SIGMOID)(images), head(Activation.SIGMOID, None)(images)
    np.testing.assert_array_equal(scores, np.stack([single[:, 0], single[:, [1, 2, 4]].max(1), single[:, 3]], 1))


def test_answers_of_a_label_set_are_those_of_its_head() -> None:
    labels = label_set(["a", "b", "c", "d"], groups={"x": ["b", "c"]}, negatives=["n"])
    made = Head.zero_shot(
        unit_vectors(5), logit_scale=1.0, logit_bias=None, activation=Activation.SOFTMAX, answer_of=labels.answer_of
    )
    assert made.n_answers == len(labels.answers) == 4


def test_ranking_is_sorting_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorers, "BLOCK_ROWS", 3)
    vectors = unit_vectors(11)
    with open_storage(new_library(tmp_path / "library")) as storage:
        model = add_model(storage)
        add_photos(storage, model, vectors)
        found = VectorIndex.open(storage, model).vectors
    rows = np.array([10, 2, 3, 4, 0, 7, 7], dtype=np.int64)
    made = head(Activation.SOFTMAX)
    best, scores = scorers.rank(found, rows, made, top=2)
    everything = made(vectors[rows])
    order = np.argsort(-everything, axis=1, kind="stable")[:, :2]
    np.testing.assert_array_equal(best, order)
    np.testing.assert_allclose(scores, np.take_along_axis(everything, order, 1), atol=1e-6)


def test_plain_ranking_agrees_with_the_fast_path(tmp_path: Path) -> None:
    with open_storage(new_library(tmp_path / "library")) as storage:
        model = add_model(storage)
        add_photos(storage, model, unit_vectors(50))
        found = VectorIndex.open(storage, model).vectors
    texts = unit_vectors(6, seed=3)
    options = {"logit_scale": 20.0, "logit_bias": None, "activation": Activation.SOFTMAX}
    fast = classify_module.classify(found, found.rows, texts, **options, top=3)  # type: ignore[arg-type]
    slow = scorers.rank(found, found.rows, Head.zero_shot(texts, **options), top=3)  # type: ignore[arg-type]
    np.testing.assert_array_equal(fast[0], slow[0])
    np.testing.assert_allclose(fast[1], slow[1], atol=1e-6)


def test_ties_keep_the_order_of_the_answers() -> None:
    best, _ = scorers.largest(np.array([[0.2, 0.4, 0.4, 0.0]], dtype=np.float32), 3)
    assert best.tolist() == [[1, 2, 0]]

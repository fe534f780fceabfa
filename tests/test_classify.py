"""Scores against plain float64 numpy, and the block-wise classification against the whole matrix."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_info

from zsindex.classification import scores as classify_module
from zsindex.classification.scores import (
    _FEW_LABELS,
    _MANY_ROWS,
    BLOCK_ROWS,
    label_vectors,
    logits,
    probabilities,
    sigmoid,
    softmax,
)
from zsindex.errors import DimensionMismatch
from zsindex.index.vectors import Snapshot, VectorTable, cut
from zsindex.records import Activation, FloatArray, IdArray

DIM = 16
Reference = npt.NDArray[np.float64]


def unit_rows(n: int, dim: int = DIM, *, seed: int = 0) -> FloatArray:
    rows = np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def reference_softmax(values: npt.NDArray[np.floating]) -> Reference:
    exponentials = np.exp(values.astype(np.float64) - values.max(axis=-1, keepdims=True))
    result: Reference = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def reference_scores(
    images: FloatArray, texts: FloatArray, *, scale: float, bias: float | None, activation: Activation
) -> Reference:
    """Scores as the formula says them, in float64."""
    values = scale * images.astype(np.float64) @ texts.astype(np.float64).T + (bias or 0.0)
    return reference_softmax(values) if activation is Activation.SOFTMAX else 1 / (1 + np.exp(-values))


# --- logits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [None, -10.0, 3.5])
@pytest.mark.parametrize("scale", [1.0, 14.285, 100.0])
def test_logits(scale: float, bias: float | None) -> None:
    images, texts = unit_rows(50), unit_rows(7, seed=1)
    found = logits(images, texts, logit_scale=scale, logit_bias=bias)
    expected = scale * images.astype(np.float64) @ texts.astype(np.float64).T + (bias or 0.0)
    assert found.dtype == np.float32
    assert found.shape == (50, 7)
    np.testing.assert_allclose(found, expected, atol=2e-6 * scale)


def test_logits_leave_their_arguments_alone() -> None:
    images, texts = unit_rows(3), unit_rows(2)
    before = images.copy(), texts.copy()
    logits(images, texts, logit_scale=100.0, logit_bias=-10.0)
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(texts, before[1])


def test_vectors_of_two_models_do_not_mix() -> None:
    with pytest.raises(DimensionMismatch, match="12 dimensions where 16") as caught:
        logits(unit_rows(2), unit_rows(3, dim=12), logit_scale=1.0)
    assert (caught.value.expected, caught.value.got) == (16, 12)
    with pytest.raises(DimensionMismatch):
        run(in_memory(unit_rows(2)), np.arange(2), unit_rows(3, dim=12))


# --- activations ------------------------------------------------------------------------------------------------------

EXTREMES = np.array([[-1e30, -200.0, -88.8, -1e-20, 0.0, 1e-20, 1.0, 88.8, 200.0, 1e30]], dtype=np.float32)


def test_softmax_adds_up_to_one() -> None:
    values = 100 * unit_rows(40, dim=9)
    found = softmax(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference_softmax(values), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_softmax_of_extremes_neither_overflows_nor_warns() -> None:
    assert softmax(EXTREMES).tolist() == [[0.0] * 9 + [1.0]]
    assert softmax(np.full((1, 4), -1e30, dtype=np.float32)).tolist() == [[0.25] * 4]


@pytest.mark.parametrize("logit", [-1e30, -5.0, 0.0, 100.0])
def test_softmax_over_one_label_is_one(logit: float) -> None:
    assert softmax(np.array([[logit]], dtype=np.float32)).tolist() == [[1.0]]


def test_sigmoid() -> None:
    values = 12 * unit_rows(40, dim=9)
    found = sigmoid(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-values.astype(np.float64))), rtol=1e-6)


def test_sigmoid_of_extremes_neither_overflows_nor_warns() -> None:
    found = sigmoid(EXTREMES)
    assert np.isfinite(found).all()
    assert found[0, [0, 4, -1]].tolist() == [0.0, 0.5, 1.0]
    assert (np.diff(found[0]) >= 0).all()
    assert 0 < found[0, 2] < 1e-38 * 10  # far below what 1 / (1 + exp(x)) can still tell from 0 in float32


def test_activations_keep_their_argument() -> None:
    values = unit_rows(2)
    before = values.copy()
    softmax(values)
    sigmoid(values)
    np.testing.assert_array_equal(values, before)


def test_probabilities_choose_by_name() -> None:
    values = unit_rows(3)
    np.testing.assert_array_equal(probabilities(values, Activation.SOFTMAX), softmax(values))
    np.testing.assert_array_equal(probabilities(values, Activation.SIGMOID), sigmoid(values))


# --- several prompts per label ----------------------------------------------------------------------------------------


def test_label_vectors_are_normalised_means() -> None:
    prompts, counts = unit_rows(9), [1, 5, 1, 2]
    found = label_vectors(prompts, counts)
    assert found.dtype == np.float32
    start = 0
    for row, count in zip(found, counts, strict=True):
        mean = prompts[start : start + count].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-7)
        start += count
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_a_single_prompt_is_taken_bit_for_bit() -> None:
    prompts = unit_rows(4)
    np.testing.assert_array_equal(label_vectors(prompts, [1, 1, 1, 1]), prompts)


def test_prompts_that_cancel_out_score_like_nothing_and_do_not_warn() -> None:
    one = unit_rows(1)
    found = label_vectors(np.concatenate([one, -one]), [2])
    assert found.tolist() == [[0.0] * DIM]


# --- block by block ---------------------------------------------------------------------------------------------------


def in_memory(vectors: FloatArray) -> VectorTable:
    return VectorTable(None, np.arange(len(vectors)), vectors, np.empty(0, dtype=np.int64))


def split(vectors: FloatArray, n_base: int) -> VectorTable:
    """The same vectors, the first of them in a snapshot."""
    base = Snapshot(Path("unused"), np.arange(n_base), vectors[:n_base])
    return VectorTable(base, np.arange(n_base, len(vectors)), vectors[n_base:], np.empty(0, dtype=np.int64))


def run(
    vectors: VectorTable,
    rows: IdArray,
    texts: FloatArray,
    *,
    top: int = 1,
    scale: float = 20.0,
    bias: float | None = None,
    activation: Activation = Activation.SOFTMAX,
) -> tuple[IdArray, FloatArray]:
    return classify_module.classify(
        vectors, rows, texts, logit_scale=scale, logit_bias=bias, activation=activation, top=top
    )


N = 2 * BLOCK_ROWS + 345
SELECTIONS = {
    "all": np.arange(N),
    "none": np.empty(0, dtype=np.int64),
    "one": np.array([N - 1]),
    "a run": np.arange(17, 17 + BLOCK_ROWS),
    "a run over a block's edge": np.arange(100, 101 + BLOCK_ROWS),
    "scattered": np.arange(3, N, 7),
    "descending": np.arange(N)[::-1].copy(),
    "ends like a run but is none": np.concatenate([[0, 2, 1, 3], np.arange(4, 900)]),
    "over the seam": np.arange(1400, 1600),
    "the same row again": np.array([5, 5, 6, 5]),
}


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("n_base", [0, 1500, N])
@pytest.mark.parametrize(
    ("activation", "bias"), [(Activation.SOFTMAX, None), (Activation.SOFTMAX, -4.0), (Activation.SIGMOID, -4.0)]
)
def test_blocks_give_what_the_whole_matrix_gives(
    name: str, n_base: int, activation: Activation, bias: float | None
) -> None:
    vectors, texts, rows = unit_rows(N), unit_rows(23, seed=1), SELECTIONS[name]
    source = split(vectors, n_base) if n_base else in_memory(vectors)
    best, scores = run(source, rows, texts, top=4, bias=bias, activation=activation)
    expected = reference_scores(vectors[rows], texts, scale=20.0, bias=bias, activation=activation)
    assert best.shape == scores.shape == (len(rows), 4)
    assert (best.dtype, scores.dtype) == (np.int64, np.float32)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, best, 1), atol=1e-6)
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :4], atol=1e-6)


@pytest.mark.parametrize("top", [1, 2, 15, 16, 17, 40])
def test_any_number_of_labels_comes_best_first(top: int) -> None:
    vectors, texts = unit_rows(300), unit_rows(40, seed=1)
    best, scores = run(in_memory(vectors), np.arange(300), texts, top=top)
    expected = reference_scores(vectors, texts, scale=20.0, bias=None, activation=Activation.SOFTMAX)
    np.testing.assert_array_equal(best, np.argsort(-expected, axis=1, kind="stable")[:, :top])
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("top", [1, 5, 12, 24])
def test_ties_keep_the_order_of_the_labels(top: int) -> None:
    # Every vector stands three times, apart: its three columns tie to the last bit, whatever the kernel.
    one = np.eye(8, dtype=np.float32)
    images = (one + 0.5 * np.roll(one, 1, axis=1)).astype(np.float32)
    texts = np.concatenate([one, one, one])
    best, scores = run(in_memory(images), np.arange(8), texts, top=top)
    for image, (labels, row) in enumerate(zip(best.tolist(), scores.tolist(), strict=True)):
        expected = sorted(range(24), key=lambda label: (-float(images[image] @ texts[label]), label))
        assert labels == expected[:top]
        assert row == sorted(row, reverse=True)


def test_one_label_scores_one_under_softmax() -> None:
    best, scores = run(in_memory(unit_rows(5)), np.arange(5), unit_rows(1), top=1)
    assert best.tolist() == [[0]] * 5
    assert scores.tolist() == [[1.0]] * 5


def test_runs_of_rows_are_views_and_nothing_else_is() -> None:
    vectors = split(unit_rows(N), 1500)
    assert vectors.base is not None

    def shared(rows: Sequence[int], *, by: Callable[..., Any] = classify_module.blocks) -> list[bool]:
        assert vectors.base is not None
        numbers, found = np.asarray(rows, dtype=np.int64), []
        for where, block in by(vectors, numbers):
            np.testing.assert_array_equal(block, vectors.take(numbers[where]))
            found.append(any(np.shares_memory(block, of) for of in (vectors.base.vectors, vectors.tail)))
        return found

    assert shared(range(10, 1200)) == [True, True]
    assert shared(range(1600, 1800)) == [True]
    assert shared(range(1000, 1501)) == [False]  # other blocks would give other last bits
    assert shared([1, 3, 2, 4]) == [False]
    # A search beside a sync must not copy half of all vectors for the sake of the few that are new.
    assert shared(range(1000, 1501), by=cut) == [True, True]
    assert shared(range(len(vectors)), by=partial(cut, size=2000)) == [True, True]
    assert shared([1, 3, 1600, 1602], by=cut) == [False, False]


def test_the_whole_matrix_never_exists() -> None:
    n, c = 100_000, 1000
    vectors, texts = in_memory(unit_rows(n, dim=4)), unit_rows(c, dim=4, seed=1)
    rows = np.arange(n)
    tracemalloc.start()
    try:
        best, scores = run(vectors, rows, texts, top=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    results = best.nbytes + scores.nbytes
    # A block of logits, and what the passes over one need beside it; the whole would be 400 MB.
    assert peak - results < 6 * 4 * BLOCK_ROWS * c


# --- few labels and many, one core and all ----------------------------------------------------------------------------


def exact_rows(n: int, *, seed: int) -> FloatArray:
    """Rows of eighths: sums of their products are exact in float32, in any order, and many tie."""
    return (np.random.default_rng(seed).integers(-8, 9, (n, DIM)) / 8).astype(np.float32)


@pytest.mark.parametrize("scale", [0.0, 1.0, 16.0, 1024.0], ids=lambda s: f"scale {s:g}")
@pytest.mark.parametrize("n_labels", [1, 5, _FEW_LABELS - 1, _FEW_LABELS, _FEW_LABELS + 1, 400])
@pytest.mark.parametrize("bias", [None, -64.0, 64.0])
def test_any_number_of_labels_and_any_logits(
    n_labels: int, scale: float, bias: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to logits that are all 0 and up to those that float32 cannot take the exponential of."""
    images, texts = exact_rows(700, seed=0), exact_rows(n_labels, seed=1)
    exact = scale * images.astype(np.float64) @ texts.astype(np.float64).T + (bias or 0.0)
    expected = reference_softmax(exact)
    for pays in (2**60, 0):  # on one core, and on all
        monkeypatch.setattr(classify_module, "_THREADING_PAYS", pays)
        for top in sorted({1, min(3, n_labels), min(20, n_labels)}):
            best, scores = run(in_memory(images), np.arange(700), texts, top=top, scale=scale, bias=bias)
            np.testing.assert_array_equal(best, np.argsort(-exact, axis=1, kind="stable")[:, :top])
            np.testing.assert_allclose(scores, np.take_along_axis(expected, best, 1), atol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_labels", [2, _FEW_LABELS, 1000])
@pytest.mark.parametrize("logit", [-50.0, -39.0, 79.0, 81.2, 87.0, 87.9, 89.0, 200.0])
def test_labels_that_all_fit_alike_share_the_score(n_labels: int, logit: float) -> None:
    """Where the sum of exponentials comes near the largest float32, and beyond."""
    image = unit_rows(1)
    _, scores = run(in_memory(image), np.arange(1), np.repeat(image, n_labels, axis=0), scale=logit, top=2)
    np.testing.assert_allclose(scores, 1 / n_labels, rtol=1e-5)


def test_all_cores_do_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = exact_rows(3 * _MANY_ROWS + 17, seed=0), exact_rows(3, seed=1)
    rows = np.random.default_rng(2).permutation(len(images))
    alone = run(in_memory(images), rows, texts)
    monkeypatch.setattr(classify_module, "_THREADING_PAYS", 0)
    together = run(in_memory(images), rows, texts)
    np.testing.assert_array_equal(alone[0], together[0])
    np.testing.assert_array_equal(alone[1], together[1])


def test_an_error_on_one_core_ends_the_others_and_gives_numpy_its_threads_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before, scored = threads(), []

    def fail(values: FloatArray, *_: object) -> None:
        scored.append(len(values))
        raise MemoryError

    monkeypatch.setattr(classify_module, "_THREADING_PAYS", 0)
    monkeypatch.setattr(classify_module, "_best", fail)
    with pytest.raises(MemoryError):
        run(in_memory(exact_rows(50 * _MANY_ROWS, seed=0)), np.arange(50 * _MANY_ROWS), exact_rows(3, seed=1))
    assert len(scored) <= max(before, default=1)
    assert threads() == before

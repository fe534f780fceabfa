"""From vectors to scores, in plain numpy. Pure functions; nothing here knows of files, models or databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from zsindex.errors import DimensionMismatch
from zsindex.records import Activation, FloatArray, IdArray
from zsindex.vectors import Vectors

# Rows per block: at 1,000 labels a block of logits is 4 MB, which stays in the processor's cache between its passes.
BLOCK_ROWS = 1024


def label_vectors(prompt_vectors: FloatArray, prompts_per_label: Sequence[int]) -> FloatArray:
    """One vector per label from the vectors of its prompts.

    A label with one prompt has that prompt's vector. Several are averaged and normalised again, the ensemble of the
    CLIP paper (Radford et al. 2021, section 3.1.4).

    Args:
        prompt_vectors: float32, shape (sum of `prompts_per_label`, dim), L2-normalised rows, label by label.
        prompts_per_label: how many rows each label has; at least one.

    Returns:
        float32, shape (n_labels, dim), L2-normalised rows.
    """
    counts = np.asarray(prompts_per_label)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means = np.add.reduceat(prompt_vectors.astype(np.float64), starts, axis=0) / counts[:, None]
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    vectors: FloatArray = np.where((counts == 1)[:, None], prompt_vectors[starts], means).astype(np.float32)
    return vectors


def logits(
    image_vectors: FloatArray, text_vectors: FloatArray, *, logit_scale: float, logit_bias: float | None = None
) -> FloatArray:
    """Logits of every image against every text: ``s · I Tᵀ + b``.

    Args:
        image_vectors: float32, shape (n, dim), L2-normalised rows.
        text_vectors: float32, shape (c, dim), L2-normalised rows.
        logit_scale: s, the exponential of the model's learned parameter.
        logit_bias: b; None for models that have none.

    Returns:
        float32, shape (n, c).

    Raises:
        DimensionMismatch: the two kinds of vectors differ in length.
    """
    if image_vectors.shape[-1] != text_vectors.shape[-1]:
        raise DimensionMismatch(expected=image_vectors.shape[-1], got=text_vectors.shape[-1], what="text vectors")
    products = image_vectors @ (np.float32(logit_scale) * text_vectors).T
    if logit_bias is not None:
        products += np.float32(logit_bias)
    return products


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities over the last axis that add up to 1; float32, the shape of `logits`."""
    exponentials: FloatArray = np.exp(logits - logits.max(axis=-1, keepdims=True))
    exponentials /= exponentials.sum(axis=-1, keepdims=True)
    return exponentials


def sigmoid(logits: FloatArray) -> FloatArray:
    """Probabilities of every entry by itself, ``1 / (1 + exp(-x))``; float32, the shape of `logits`."""
    # Written with exp(-|x|), which cannot overflow.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def probabilities(logits: FloatArray, activation: Activation) -> FloatArray:
    """Softmax or sigmoid; float32, the shape of `logits`."""
    return softmax(logits) if activation is Activation.SOFTMAX else sigmoid(logits)


def blocks(vectors: Vectors, rows: IdArray) -> Iterator[tuple[slice, FloatArray]]:
    """Yield (where in `rows`, float32 (b, dim)) a block at a time; runs of neighbouring rows are views, not copies."""
    for start in range(0, len(rows), BLOCK_ROWS):
        where = slice(start, min(start + BLOCK_ROWS, len(rows)))
        part = rows[where]
        if part[-1] < vectors.n_base and part[-1] - part[0] == len(part) - 1 and (np.diff(part) == 1).all():
            assert vectors.base is not None
            yield where, vectors.base.vectors[part[0] : part[-1] + 1]
        else:
            yield where, vectors.take(part)


def classify(
    vectors: Vectors,
    rows: IdArray,
    text_vectors: FloatArray,
    *,
    logit_scale: float,
    logit_bias: float | None,
    activation: Activation,
    top: int,
) -> tuple[IdArray, FloatArray]:
    """The best labels of each image, a block at a time: an (n, c) matrix never exists.

    Args:
        vectors, rows: which images.
        text_vectors: float32, shape (c, dim).
        top: labels per image, at most c.

    Returns:
        Label numbers int64 and scores float32, both of shape (len(rows), top), best first; ties keep the labels' order.
    """
    if vectors.dim != text_vectors.shape[1]:
        raise DimensionMismatch(expected=vectors.dim, got=text_vectors.shape[1], what="text vectors")
    scaled = np.ascontiguousarray((np.float32(logit_scale) * text_vectors).T)
    best = np.empty((len(rows), top), dtype=np.int64)
    scores = np.empty((len(rows), top), dtype=np.float32)
    buffer = np.empty((BLOCK_ROWS, text_vectors.shape[0]), dtype=np.float32)
    for where, block in blocks(vectors, rows):
        block_logits = np.matmul(block, scaled, out=buffer[: len(block)])
        if logit_bias is not None:
            block_logits += np.float32(logit_bias)
        chosen = _top(block_logits, top)
        best[where] = chosen
        if activation is Activation.SIGMOID:
            scores[where] = sigmoid(np.take_along_axis(block_logits, chosen, 1))
        else:
            highest = np.take_along_axis(block_logits, chosen[:, :1], 1)
            shown = np.exp(np.take_along_axis(block_logits, chosen, 1) - highest)
            np.subtract(block_logits, highest, out=block_logits)
            np.exp(block_logits, out=block_logits)
            scores[where] = shown / block_logits.sum(axis=1, keepdims=True)
    return best, scores


def _top(values: FloatArray, k: int) -> IdArray:
    """Columns of the k largest values of each row, largest first, ties in column order."""
    if k > 16:
        return np.argsort(-values, axis=1, kind="stable")[:, :k]
    # For a few columns, k passes of the vectorised argmax beat any partial sort that numpy has.
    rest = values.copy() if k > 1 else values
    best = np.empty((len(values), k), dtype=np.int64)
    for rank in range(k):
        best[:, rank] = rest.argmax(axis=1)
        if rank + 1 < k:
            np.put_along_axis(rest, best[:, rank, None], -np.inf, axis=1)
    return best

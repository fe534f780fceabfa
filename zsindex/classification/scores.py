"""From vectors to scores, in plain numpy. Pure functions; nothing here knows about files, models or databases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from zsindex.errors import DimensionMismatch
from zsindex.index import cores
from zsindex.index.together import Together
from zsindex.index.vectors import BLOCK_ROWS, VectorTable, blocks
from zsindex.records import Activation, FloatArray, IdArray, LabelSet

__all__ = [
    "Block",
    "block_rows",
    "classify",
    "concept_vectors",
    "label_vectors",
    "largest",
    "logits",
    "probabilities",
    "sigmoid",
    "softmax",
]

# Up to this many labels the logits are transposed, labels by photos: numpy reduces many short rows one row at a time,
# but twenty long ones at the speed of memory. Label numbers must fit into a byte with one to spare.
_FEW_LABELS = 128
# With few labels a block has more rows; otherwise calling numpy would cost as much as its work.
_MANY_ROWS = 4096
# Logits to process at a time: 1 MB stays in a core's own cache from the first pass to the last.
_PASS_SIZE = 2**18
# If every row's largest logit lies in this range, even a sum of that many exp() can neither overflow nor lose a whole
# row, and nothing has to be subtracted first. CLIP's usual logits, 20 to 35, do.
_LEAST_SAFE_LOGIT = -40.0
_LARGEST_SAFE_SUM = 88.0  # the logarithm of a little less than the largest float32
# Below this many multiplications (a few milliseconds) threads cost more than they gain.
_THREADING_PAYS = 2**29
# Questions that are asked at once are multiplied as one matrix, of so many columns at most: their products are to stay
# in a core's own cache.
_MOST_COLUMNS = 256
# BLAS has other ways for small products and for single columns, by which last bits differ. From so many multiplications
# on a column comes out the same whatever stands beside it.
_MULTIPLIED_ALIKE = 2**22

Block: TypeAlias = tuple[slice, FloatArray]


def label_vectors(prompt_vectors: FloatArray, prompts_per_label: Sequence[int]) -> FloatArray:
    """One vector per label from the vectors of its prompts.

    A label with one prompt has that prompt's vector. Several are averaged and normalised again, the ensemble of the
    CLIP paper (Radford et al. 2021, section 3.1.4).

    Args:
        prompt_vectors: float32, shape (sum of `prompts_per_label`, dim), L2-normalised rows, label by label.
        prompts_per_label: number of rows of each label; at least one.

    Returns:
        float32, shape (n_labels, dim), L2-normalised rows.
    """
    counts = np.asarray(prompts_per_label)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means = np.add.reduceat(prompt_vectors.astype(np.float64), starts, axis=0) / counts[:, None]
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    vectors: FloatArray = np.where((counts == 1)[:, None], prompt_vectors[starts], means).astype(np.float32)
    return vectors


def concept_vectors(labels: LabelSet, embed: Callable[[Sequence[str]], FloatArray]) -> FloatArray:
    """One vector per concept of a label set, the labels and then the negatives: float32 (c, dim).

    Args:
        embed: float32 (m, dim), L2-normalised, from m texts.
    """
    vectors = embed([text for texts in labels.concept_prompts for text in texts])
    return label_vectors(vectors, [len(texts) for texts in labels.concept_prompts])


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
    """Probabilities of each entry on its own, ``1 / (1 + exp(-x))``; float32, the shape of `logits`."""
    # Written with exp(-|x|), which cannot overflow.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def probabilities(logits: FloatArray, activation: Activation) -> FloatArray:
    """Softmax or sigmoid; float32, the shape of `logits`."""
    return softmax(logits) if activation is Activation.SOFTMAX else sigmoid(logits)


def classify(
    vectors: VectorTable,
    rows: IdArray,
    text_vectors: FloatArray,
    *,
    logit_scale: float,
    logit_bias: float | None,
    activation: Activation,
    top: int,
    size: int | None = None,
) -> tuple[IdArray, FloatArray]:
    """The best labels of each image, a block at a time: an (n, c) matrix never exists.

    Args:
        vectors, rows: which images.
        text_vectors: float32, shape (c, dim).
        top: labels per image, at most c.
        size: of a block, in rows; scores depend on it in their last bits. Default: `block_rows`.

    Returns:
        Label numbers int64 and scores float32, both of shape (len(rows), top), best first; ties keep the labels' order.
    """
    if vectors.dim != text_vectors.shape[1]:
        raise DimensionMismatch(expected=vectors.dim, got=text_vectors.shape[1], what="text vectors")
    asked = _Scores(
        vectors,
        rows,
        np.ascontiguousarray((np.float32(logit_scale) * text_vectors).T),
        None if logit_bias is None else np.float32(logit_bias),
        activation,
        top,
        block_rows(len(rows), len(text_vectors), vectors.dim) if size is None else size,
    )
    if len(rows) * len(text_vectors) * vectors.dim >= _THREADING_PAYS:
        return _together.ask(asked)
    found = _Found(asked)
    for where, block in blocks(vectors, rows, asked.size):
        found.add(where, np.matmul(block, asked.scaled))
    return found.best, found.scores


@dataclass(frozen=True, eq=False)
class _Scores:
    """What `classify` is asked for. Rows and vectors are told apart by what they are, not by what is in them.

    Attributes:
        scaled: float32 (dim, c).
        size: of a block.
    """

    vectors: VectorTable
    rows: IdArray
    scaled: FloatArray
    bias: np.float32 | None
    activation: Activation
    top: int
    size: int


class _Found:
    """The best labels of each image, as far as they are known: int64 and float32, (len(rows), top)."""

    def __init__(self, asked: _Scores) -> None:
        self._asked = asked
        self._step = max(1, _PASS_SIZE // asked.scaled.shape[1])
        self.best = np.empty((len(asked.rows), asked.top), dtype=np.int64)
        self.scores = np.empty((len(asked.rows), asked.top), dtype=np.float32)

    def add(self, where: slice, products: FloatArray) -> None:
        """Rank a block by its products with the labels, float32 (b, c), which are overwritten."""
        if self._asked.bias is not None:
            products += self._asked.bias
        for at in range(0, len(products), self._step):
            part = slice(where.start + at, min(where.start + at + self._step, where.stop))
            values = products[at : at + self._step]
            self.best[part], self.scores[part] = _best(values, self._asked.top, self._asked.activation)


def _fits(asked: Sequence[_Scores], other: _Scores) -> bool:
    first, count = asked[0], sum(one.scaled.shape[1] for one in asked) + other.scaled.shape[1]
    alike = other.vectors is first.vectors and other.rows is first.rows and other.size == first.size
    return alike and count <= _MOST_COLUMNS


def _comes_out_alike(n_rows: int, scaled: FloatArray) -> bool:
    return scaled.shape[1] > 1 and n_rows * scaled.size >= _MULTIPLIED_ALIKE


def _one_pass(asked: Sequence[_Scores]) -> list[tuple[IdArray, FloatArray]]:
    """The answers to several questions about the same rows, each to the same bit as by itself."""
    first, found = asked[0], [_Found(one) for one in asked]
    ends = np.cumsum([one.scaled.shape[1] for one in asked]).tolist()
    joined = np.concatenate([one.scaled for one in asked], axis=1) if asked[1:] else first.scaled
    buffers: dict[int, FloatArray] = {}

    def score(item: Block) -> None:
        where, block = item
        if asked[1:] and not all(_comes_out_alike(len(block), one.scaled) for one in asked):
            for one, its in zip(asked, found, strict=True):
                its.add(where, np.matmul(block, one.scaled))
            return
        buffer = buffers.get(threading.get_ident())
        if buffer is None:
            shape = min(first.size, len(first.rows)), joined.shape[1]
            buffer = buffers[threading.get_ident()] = np.empty(shape, dtype=np.float32)
        values = np.matmul(block, joined, out=buffer[: len(block)])
        for start, stop, its in zip([0, *ends], ends, found, strict=False):
            its.add(where, values[:, start:stop])

    cores.on_all(score, blocks(first.vectors, first.rows, first.size))
    return [(its.best, its.scores) for its in found]


_together = Together(_one_pass, _fits)


def block_rows(n_rows: int, n_labels: int, dim: int) -> int:
    """How many of some rows `classify` scores at a time on this machine."""
    size = BLOCK_ROWS if n_labels > _FEW_LABELS else _MANY_ROWS
    if n_rows * n_labels * dim < _THREADING_PAYS:
        return size
    # The blocks of all cores together stay within a few MB.
    return max(64, min(size, 4 * size // cores.count()))


def _best(values: FloatArray, top: int, activation: Activation) -> tuple[IdArray, FloatArray]:
    """The best labels of a block of logits (b, c), which is overwritten, and their scores; see `classify`."""
    n_labels = values.shape[1]
    if n_labels <= _FEW_LABELS:
        by_label = np.ascontiguousarray(values.T)
        best, shown = _top_by_label(by_label, top)
    else:
        best, shown = largest(values, top)
    if activation is Activation.SIGMOID:
        return best, sigmoid(shown)
    highest = shown[:, 0].copy()
    if not (highest.min() > _LEAST_SAFE_LOGIT and highest.max() < _LARGEST_SAFE_SUM - np.log(n_labels)):
        shown -= highest[:, None]
        if n_labels <= _FEW_LABELS:
            by_label -= highest
        else:
            values -= highest[:, None]
    if n_labels <= _FEW_LABELS:
        totals = np.exp(by_label, out=by_label).sum(axis=0)
    else:
        # A product with ones is a sum, three times as fast as numpy's over rows.
        totals = np.exp(values, out=values) @ np.ones(n_labels, dtype=np.float32)
    return best, np.exp(shown) / totals[:, None]


def largest(values: FloatArray, k: int) -> tuple[IdArray, FloatArray]:
    """Columns of the k largest values of each row, and these values, largest first, ties in column order.

    `values` is overwritten temporarily and restored.
    """
    if k > 16:
        best = np.argsort(-values, axis=1, kind="stable")[:, :k]
        return best, np.take_along_axis(values, best, 1)
    # For a few columns, k passes of the vectorised argmax beat any partial sort that numpy has.
    best = np.empty((len(values), k), dtype=np.int64)
    shown = np.empty((len(values), k), dtype=np.float32)
    rows = np.arange(len(values))
    for rank in range(k):
        best[:, rank] = column = values.argmax(axis=1)
        shown[:, rank] = values[rows, column]
        values[rows, column] = -np.inf
    values[rows[:, None], best] = shown
    return best, shown


def _top_by_label(by_label: FloatArray, k: int) -> tuple[IdArray, FloatArray]:
    """`largest` of the transposed matrix (c, b), for c up to `_FEW_LABELS`; the results are (b, k) as well."""
    n_labels, n = by_label.shape
    if k > 16:
        return largest(np.ascontiguousarray(by_label.T), k)
    best = np.empty((n, k), dtype=np.int64)
    shown = np.empty((n, k), dtype=np.float32)
    columns = np.arange(n)
    # The first label that has the largest value is the one with the greatest of these numbers. As bytes, comparing them
    # all takes a fraction of the time of finding the position directly.
    backwards = np.arange(n_labels, 0, -1, dtype=np.uint8)[:, None]
    for rank in range(k):
        highest = by_label.max(axis=0)
        is_largest = (by_label == highest).view(np.uint8)
        label = n_labels - np.multiply(is_largest, backwards, out=is_largest).max(axis=0).astype(np.int64)
        best[:, rank], shown[:, rank] = label, highest
        by_label[label, columns] = -np.inf
    by_label[best.T, columns] = shown.T
    return best, shown

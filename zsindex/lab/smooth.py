"""Transductive smoothing: the photos of a library are answered together rather than one by one.

StatA: Zanella, Fuchs, De Vleeschouwer, Ben Ayed, "Realistic Test-Time Adaptation of Vision-Language Models", CVPR 2025;
it builds on TransCLIP: Zanella, Gérin, Ben Ayed, "Boosting Vision-Language Models with Transduction", NeurIPS 2024.
Written from the two papers alone: the authors' program, which is under the AGPL, was not read, and nothing was taken
from it. The equations, and what the papers leave open, are in docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from zsindex.classification.results import Flip, Smoothing
from zsindex.classification.scorers import Scorer
from zsindex.classification.view import View
from zsindex.errors import TooManyScores
from zsindex.index.vectors import VectorTable, blocks
from zsindex.lab.neighbours import Graph
from zsindex.records import FloatArray, IdArray

DoubleArray: TypeAlias = npt.NDArray[np.float64]

# Images times answers. Three matrices with this many float32 are held: 1.6 GB.
MAX_SCORES = 2**27
# Number of neighbours that pull on an image's answer.
NEIGHBOURS = 3
# Weight of the anchor, in images.
ALPHA = 1.0
MAX_ITERATIONS = 10
# Updates of the assignments between two of the means and variances.
INNER_ITERATIONS = 5
# Converged once no mean moves further than this in any dimension.
_STILL = 1e-4
# Smallest variance in any dimension, as a share of the anchor's mean variance.
_FLOOR = 1e-4
# A score that underflowed is still possible.
_TINY = np.float32(1e-30)
_BLOCK_ROWS = 2048
_BLOCK_SCORES = 2**20


@dataclass(frozen=True)
class Smoothed:
    """Answers of all images together.

    Attributes:
        scores: float32 (u, a): shares of the answers in each image; rows add up to 1.
        before: int64 (u,), the best answer of each image on its own; `before_scores` float32 (u,), its score.
        iterations: rounds made; `converged` says whether the last one left all means in place.
    """

    scores: FloatArray
    before: IdArray
    before_scores: FloatArray
    iterations: int
    converged: bool


def anchors(text_vectors: FloatArray, answer_of: Sequence[int], n_answers: int) -> FloatArray:
    """The text vector of each answer: for a group, the normalised mean of its labels'; zeros for an answer without
    text.

    Args:
        text_vectors: float32 (c, dim), of the concepts.
        answer_of: the number of each concept's answer.

    Returns:
        float32 (n_answers, dim).
    """
    if list(answer_of) == list(range(n_answers)):
        return text_vectors
    sums = np.zeros((n_answers, text_vectors.shape[1]))
    np.add.at(sums, np.asarray(answer_of, dtype=np.int64), text_vectors)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    means: FloatArray = (sums / np.where(norms > 0, norms, 1)).astype(np.float32)
    return means


def report(smoothed: Smoothed, view: View, answers: Sequence[str]) -> Smoothing:
    """Which photos have a different answer than on their own."""
    number = np.arange(len(smoothed.scores))[view.unique[1]]
    after = smoothed.scores.argmax(axis=1) if len(answers) else smoothed.before
    photos = np.flatnonzero((after != smoothed.before)[number]).tolist()
    flips = (
        Flip(
            view.paths[photo],
            answers[int(smoothed.before[image])],
            float(smoothed.before_scores[image]),
            answers[int(after[image])],
            float(smoothed.scores[image, after[image]]),
        )
        for photo, image in ((photo, int(number[photo])) for photo in photos)
    )
    return Smoothing(len(view), tuple(flips), smoothed.iterations, smoothed.converged)


def smooth(
    vectors: VectorTable,
    rows: IdArray,
    scorer: Scorer,
    anchors: FloatArray,
    graph: Graph,
    *,
    none: int | None = None,
) -> Smoothed:
    """Answer images together, starting from the scores of each on its own.

    Args:
        vectors, rows: which images, u of them.
        scorer: gives the scores of each image on its own.
        anchors: float32 (a, dim), L2-normalised: the text vector of each answer.
        graph: of the same images, in the same order.
        none: the number of the answer for photos that show none of the labels. It has no position in vector space, so
            it keeps its share of an image, and the rest is divided among the other answers.

    Raises:
        TooManyScores: there are more than `MAX_SCORES` in all.
    """
    n_answers = len(anchors)
    if len(rows) * n_answers > MAX_SCORES:
        raise TooManyScores(photos=len(rows), answers=n_answers, limit=MAX_SCORES)
    scores = np.empty((len(rows), n_answers), dtype=np.float32)
    for where, block in blocks(vectors, rows, _BLOCK_ROWS):
        scores[where] = scorer(block)
    before = scores.argmax(axis=1) if n_answers else np.empty(0, dtype=np.int64)
    before_scores = np.take_along_axis(scores, before[:, None], 1)[:, 0]
    if none is None:
        shares, iterations, converged = stata(vectors, rows, scores, anchors, graph)
        return Smoothed(shares, before, before_scores, iterations, converged)
    others = np.delete(np.arange(n_answers), none)
    shares, iterations, converged = stata(vectors, rows, scores[:, others], anchors[others], graph)
    shares *= (1 - scores[:, none])[:, None]
    scores[:, others] = shares
    return Smoothed(scores, before, before_scores, iterations, converged)


def stata(
    vectors: VectorTable,
    rows: IdArray,
    scores: FloatArray,
    anchors: FloatArray,
    graph: Graph,
    *,
    alpha: float = ALPHA,
    neighbours: int = NEIGHBOURS,
    max_iterations: int = MAX_ITERATIONS,
    inner_iterations: int = INNER_ITERATIONS,
) -> tuple[FloatArray, int, bool]:
    """Assign images to classes: a Gaussian mixture held in place by the text vectors and by the neighbours.

    Args:
        vectors, rows: images f, u of them.
        scores: float32 (u, a), not negative: the scores of each image on its own, ŷ up to a factor per row.
        anchors: float32 (a, dim), the prior means μ' of the classes.
        graph: of the same images, in the same order.
        alpha: weight of the anchor.
        neighbours: number of the graph's neighbours to use; 0 for none.

    Returns:
        Assignments z float32 (u, a), whose rows add up to 1; the number of rounds; and whether it converged.
    """
    n, n_classes = scores.shape
    assigned = np.maximum(scores, _TINY)
    assigned /= assigned.sum(axis=1, keepdims=True)
    prior = np.log(assigned)
    texts = anchors.astype(np.float64)
    near = graph.nearest(neighbours)
    weights = np.maximum(near.cosines, 0)
    moments = _moments(vectors, rows, assigned)
    means = texts
    spread = _spread(moments, texts).sum(axis=0) / max(1, n)
    # A dimension without variance would decide everything.
    floor = max(float(np.finfo(np.float32).eps), _FLOOR * float(spread.mean()))
    anchor_variances = np.maximum(spread, floor)
    variances = np.repeat(anchor_variances[None], n_classes, axis=0)
    logits = np.empty_like(prior)
    converged = n_classes < 2 or n == 0
    iterations = 0
    while not converged and iterations < max_iterations:
        iterations += 1
        # log N(f; μ, Σ) without the terms that all classes share: two products.
        linear = (means / variances).astype(np.float32).T
        quadratic = (-0.5 / variances).astype(np.float32).T
        constant = (-0.5 * (means**2 / variances + np.log(variances)).sum(axis=1)).astype(np.float32)
        for where, block in blocks(vectors, rows, _BLOCK_ROWS):
            np.matmul(block, linear, out=logits[where])
            logits[where] += np.square(block) @ quadratic
            logits[where] += constant
            logits[where] += prior[where]
        for _ in range(inner_iterations if near.k else 1):
            _assign(assigned, logits, near, weights)
        moved, variances = _fit(_moments(vectors, rows, assigned), texts, anchor_variances, alpha)
        variances = np.maximum(variances, floor)
        converged = bool(np.abs(moved - means).max() < _STILL)
        means = moved
    return assigned, iterations, converged


class _Moments(NamedTuple):
    """The moments of the images f assigned to each class: ``Σ_i z_ik``, float64 (a,); ``Σ_i z_ik f_i`` and ``Σ_i z_ik
    f_i²``, float64 (a, dim).
    """

    counts: DoubleArray
    sums: DoubleArray
    squares: DoubleArray


def _moments(vectors: VectorTable, rows: IdArray, assigned: FloatArray) -> _Moments:
    sums, squares = np.zeros((2, assigned.shape[1], vectors.dim))
    for where, block in blocks(vectors, rows, _BLOCK_ROWS):
        sums += assigned[where].T @ block
        squares += assigned[where].T @ np.square(block)
    return _Moments(assigned.sum(axis=0, dtype=np.float64), sums, squares)


def _spread(moments: _Moments, means: DoubleArray) -> DoubleArray:
    """``Σ_i z_ik (f_i - μ_k)²`` in every dimension, float64 (a, dim), without going through the images again."""
    spread: DoubleArray = moments.squares + moments.counts[:, None] * means**2 - 2 * means * moments.sums
    return np.maximum(spread, 0)


def _fit(
    moments: _Moments, anchors: DoubleArray, anchor_variances: DoubleArray, alpha: float
) -> tuple[DoubleArray, DoubleArray]:
    """The means and variances (a, dim) that fit the assignments best while staying near the anchor.

    They minimise ``-Σ_ik z_ik log N(f_i; μ_k, Σ_k) + α Σ_k KL(N(μ'_k, Σ') ‖ N(μ_k, Σ_k))``.
    """
    weights = (moments.counts + alpha)[:, None]
    means: DoubleArray = (moments.sums + alpha * anchors) / weights
    variances: DoubleArray = (_spread(moments, means) + alpha * (anchor_variances + (anchors - means) ** 2)) / weights
    return means, variances


def _assign(assigned: FloatArray, logits: FloatArray, near: Graph, weights: FloatArray) -> None:
    """One update of all z, block by block: softmax of the logits plus the neighbours' assignments."""
    step = max(1, _BLOCK_SCORES // assigned.shape[1])
    for start in range(0, len(assigned), step):
        part = slice(start, start + step)
        values = logits[part].copy()
        for place in range(near.k):
            values += weights[part, place, None] * assigned[near.neighbours[part, place]]
        values -= values.max(axis=1, keepdims=True)
        np.exp(values, out=values)
        values /= values.sum(axis=1, keepdims=True)
        assigned[part] = values

"""From image vectors to scores of answers, for everything beyond one answer per label. Pure NumPy.

A `Scorer` is a function from a block of image vectors to the scores of every answer. Scorers wrap one another, and
`rank` applies the outermost to all photos.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from zsindex.classification import scores as classify_module
from zsindex.classification.scores import probabilities
from zsindex.index.vectors import VectorTable, blocks
from zsindex.records import Activation, FloatArray, IdArray, LabelSet, ModelInfo

# Image vectors float32 (b, dim) to scores float32 (b, n_answers).
Scorer: TypeAlias = Callable[[FloatArray], FloatArray]

BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Head:
    """A linear classifier over image vectors, as zero-shot classification is: logits are ``x Wᵀ + b``.

    Attributes:
        weights: float32 (c, dim): for zero-shot the scaled text vectors, ``s · T``.
        bias: float32 (c,).
        activation: how logits become probabilities of the concepts.
        answer_of: int64 (c,), the number of each concept's answer.
        n_answers: number of answers.
    """

    weights: FloatArray
    bias: FloatArray
    activation: Activation
    answer_of: IdArray
    n_answers: int

    @classmethod
    def zero_shot(
        cls,
        text_vectors: FloatArray,
        *,
        logit_scale: float,
        logit_bias: float | None,
        activation: Activation,
        answer_of: Sequence[int] | None = None,
    ) -> Head:
        """The model's own classifier.

        Args:
            text_vectors: float32 (c, dim), L2-normalised rows.
            logit_scale, logit_bias: of the model, or of a temperature: ``logit_scale = 1 / temperature``.
            answer_of: the answer of each concept. Default: each is its own.
        """
        numbers = np.arange(len(text_vectors)) if answer_of is None else np.asarray(answer_of, dtype=np.int64)
        return cls(
            np.float32(logit_scale) * text_vectors,
            np.full(len(text_vectors), logit_bias or 0.0, dtype=np.float32),
            activation,
            numbers,
            int(numbers.max(initial=-1)) + 1,
        )

    @classmethod
    def of(
        cls, labels: LabelSet, text_vectors: FloatArray, info: ModelInfo, activation: Activation | None = None
    ) -> Head:
        """The model's own classifier of a label set.

        Args:
            text_vectors: float32 (c, dim), of its concepts; see `zsindex.classification.scores.concept_vectors`.
            info: supplies scale and bias, and the activation unless one is given.
        """
        return cls.zero_shot(
            text_vectors,
            logit_scale=info.logit_scale,
            logit_bias=info.logit_bias,
            activation=info.activation if activation is None else activation,
            answer_of=labels.answer_of,
        )

    def logits(self, images: FloatArray) -> FloatArray:
        """Logits of every concept: float32 (b, c)."""
        values: FloatArray = images @ self.weights.T
        values += self.bias
        return values

    def __call__(self, images: FloatArray) -> FloatArray:
        """Scores of every answer: float32 (b, n_answers)."""
        return self.answers(probabilities(self.logits(images), self.activation))

    def answers(self, concepts: FloatArray) -> FloatArray:
        """Scores of answers from those of concepts, (b, c) to (b, n_answers).

        Probabilities that add up (softmax) are added: a group is true if one of its labels is. Independent ones
        (sigmoid) give the largest.
        """
        if self.n_answers == len(self.answer_of):
            return concepts
        scores = np.zeros((len(concepts), self.n_answers), dtype=np.float32)
        combine = np.add if self.activation is Activation.SOFTMAX else np.maximum
        for concept, answer in enumerate(self.answer_of.tolist()):
            combine(scores[:, answer], concepts[:, concept], out=scores[:, answer])
        return scores


def rank(vectors: VectorTable, rows: IdArray, scorer: Scorer, *, top: int) -> tuple[IdArray, FloatArray]:
    """The best answers of each image, a block at a time.

    Args:
        vectors, rows: which images.
        top: answers per image.

    Returns:
        Numbers of answers int64 and scores float32, both of shape (len(rows), top), best first; ties keep the order of
        the answers.
    """
    best = np.empty((len(rows), top), dtype=np.int64)
    scores = np.empty((len(rows), top), dtype=np.float32)
    for where, block in blocks(vectors, rows, BLOCK_ROWS):
        best[where], scores[where] = largest(scorer(block), top)
    return best, scores


def rank_given(
    vectors: VectorTable, rows: IdArray, scorer: Scorer, *, top: int | None = None
) -> tuple[IdArray, FloatArray]:
    """The answers given to each image, those with a score above 0; their number differs from image to image.

    Args:
        vectors, rows: which images.
        top: answers per image at most; None for all.

    Returns:
        Numbers of answers int64 and scores float32, both of shape (len(rows), the most that any image is given), best
        first, then -1 with a score of 0; ties keep the order of the answers.
    """
    parts = []
    for _, block in blocks(vectors, rows, BLOCK_ROWS):
        scores = scorer(block)
        most = int(np.count_nonzero(scores > 0, axis=1).max())
        best, shown = largest(scores, most if top is None else min(most, top))
        given = shown > 0
        parts.append((np.where(given, best, -1), np.where(given, shown, 0)))
    width = max((best.shape[1] for best, _ in parts), default=0)
    best, shown = np.full((len(rows), width), -1, dtype=np.int64), np.zeros((len(rows), width), dtype=np.float32)
    at = 0
    for some, their in parts:
        where = (slice(at, at + len(some)), slice(0, some.shape[1]))
        best[where], shown[where] = some, their
        at += len(some)
    return best, shown


def rank_scores(scores: FloatArray, *, top: int) -> tuple[IdArray, FloatArray]:
    """`rank` for scores that are already computed, float32 (n, n_answers)."""
    best = np.empty((len(scores), top), dtype=np.int64)
    shown = np.empty((len(scores), top), dtype=np.float32)
    for start in range(0, len(scores), BLOCK_ROWS):
        where = slice(start, start + BLOCK_ROWS)
        best[where], shown[where] = largest(scores[where], top)
    return best, shown


def largest(scores: FloatArray, top: int) -> tuple[IdArray, FloatArray]:
    """Columns of the largest values of each row, and the values, largest first; ties keep the order of the columns."""
    return classify_module.largest(scores, min(top, scores.shape[1]))

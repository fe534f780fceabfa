"""Answers that do not exclude each other: every label that fits, not only the best one. Pure numpy."""

from __future__ import annotations

import numpy as np

from zsindex.classification.scorers import Scorer
from zsindex.classification.scores import logits, sigmoid, softmax
from zsindex.records import Activation, FloatArray, LabelSet

# What a label without its own threshold must reach: it is then likelier than everything it competes with.
DEFAULT_CUT = 0.5


def multi_label(
    texts: FloatArray,
    labels: LabelSet,
    *,
    logit_scale: float,
    logit_bias: float | None,
    activation: Activation,
) -> Scorer:
    """Scores of every label on its own.

    For models trained that way (sigmoid), a label's score is its own probability. For all others, each group of the
    label set is a softmax of its own: its labels compete with each other and with the negatives, not with labels of
    other groups. Labels in no group form one together.

    Args:
        texts: float32 (c, dim), of all concepts of `labels`.
        logit_scale, logit_bias: of the model.

    Returns:
        A scorer of `labels.labels`: (b, dim) to float32 (b, len(labels)).
    """
    n = len(labels)
    if activation is Activation.SIGMOID:
        return lambda images: sigmoid(logits(images, texts[:n], logit_scale=logit_scale, logit_bias=logit_bias))
    groups = competing(labels)
    negatives = np.arange(n, len(texts))

    def scores(images: FloatArray) -> FloatArray:
        values = logits(images, texts, logit_scale=logit_scale)
        out = np.empty((len(images), n), dtype=np.float32)
        for members in groups:
            out[:, members] = softmax(values[:, [*members, *negatives]])[:, : len(members)]
        return out

    return scores


def competing(labels: LabelSet) -> list[list[int]]:
    """Numbers of the labels that compete with each other: those of each group; last, those in no group."""
    number = {label: n for n, label in enumerate(labels.labels)}
    groups = [[number[label] for label in members] for _, members in labels.groups if members]
    rest = sorted(set(range(len(labels))).difference(*groups))
    return [*groups, rest] if rest else groups

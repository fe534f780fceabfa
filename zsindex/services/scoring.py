"""The model's own scores of a label set, and passes over all photos: what thresholds and "none" are derived from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zsindex.classification.scorers import Head, Scorer
from zsindex.classification.view import View
from zsindex.records import Activation, FloatArray, LabelSet

if TYPE_CHECKING:
    from zsindex.lab.thresholds import Pass
    from zsindex.lab.unknown import KnownnessOf

# Rows per call of a scorer: with 1,000 labels and 1,000 negatives a block of logits takes 8 MB.
BLOCK = 1024


def scorer_of(
    view: View, labels: LabelSet, texts: FloatArray, *, multi_label: bool, activation: Activation | None = None
) -> tuple[Scorer, tuple[str, ...]]:
    """The model's own scores of a label set; and its answers.

    Args:
        texts: float32 (c, dim), of its concepts.
        multi_label: score every label on its own; then the labels are the answers.
        activation: None: as the model was trained.
    """
    if not multi_label:
        return Head.of(labels, texts, view.info, activation), labels.answers
    from zsindex.lab.multi_label import multi_label as by_itself

    scorer = by_itself(
        texts,
        labels,
        logit_scale=view.info.logit_scale,
        logit_bias=view.info.logit_bias,
        activation=view.info.activation if activation is None else activation,
    )
    return scorer, labels.labels


def one_pass(view: View, scorer: Scorer) -> Pass:
    """A function that yields the scores of all images, a block at a time; it can be called repeatedly."""
    return lambda: ((where, scorer(block)) for where, block in view.blocks(BLOCK))


def over_photos(view: View, knownness_of: KnownnessOf) -> FloatArray:
    """Knownness of all photos: float32 (n,)."""
    rows, back = view.unique
    values = np.empty(len(rows), dtype=np.float32)
    for where, block in view.blocks(BLOCK):
        values[where] = knownness_of(block)
    return values[back]

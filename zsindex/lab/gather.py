"""Photos with known content from a library, for fitting temperatures and comparing templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zsindex.classification.scorers import Head
from zsindex.classification.view import View
from zsindex.errors import BadTruth
from zsindex.lab import truth as truths
from zsindex.lab.bootstrap import Values
from zsindex.lab.metrics import Flags
from zsindex.lab.truth import Truth
from zsindex.records import Activation, IdArray, LabelSet

BLOCK_PHOTOS = 4096


@dataclass(frozen=True)
class Sample:
    """Photos of a view whose truth a label set can express, each content once.

    Attributes:
        photos: int64 (m,), their numbers in the view, ascending.
        right: bool (m, n_answers), what they show; all False without truth.
        source: where the truth comes from.
    """

    view: View
    labels: LabelSet
    photos: IdArray
    right: Flags
    source: str

    @property
    def answer_of(self) -> IdArray:
        """The answer of each concept, int64 (c,)."""
        return np.array(self.labels.answer_of, dtype=np.int64)

    def activation(self, asked: Activation | str | None) -> Activation:
        """The requested activation, or the model's own."""
        return self.view.info.activation if asked is None else Activation(asked)

    def logits(self, activation: Activation | str | None = None) -> Values:
        """The model's own logits of every concept: float64 (m, c)."""
        info = self.view.info
        head = Head.zero_shot(
            self.view.text_vectors(self.labels),
            logit_scale=info.logit_scale,
            logit_bias=info.logit_bias,
            activation=self.activation(activation),
            answer_of=self.labels.answer_of,
        )
        logits = np.empty((len(self.photos), len(self.labels.concepts)))
        for start in range(0, len(self.photos), BLOCK_PHOTOS):
            part = self.photos[start : start + BLOCK_PHOTOS]
            logits[start : start + len(part)] = head.logits(self.view.take(part))
        return logits


def sample(
    view: View,
    labels: LabelSet,
    truth: Truth | None,
    *,
    names: Mapping[str, str | Sequence[str]],
    others_are_none: bool,
    at_most: int,
    seed: int,
) -> Sample:
    """The photos whose truth the label set can express; without truth, all.

    Args:
        names, others_are_none: as `truth.stands_for` takes them.
        at_most: of more photos, a random sample is drawn.

    Raises:
        BadTruth: there are none.
    """
    photos = np.arange(len(view), dtype=np.int64)
    known_names = truths.Names({}, ())
    if truth is not None:
        known_names = truths.stands_for(truth, labels, labels.answers, truths.lists(names), others=others_are_none)
        sayable = {name for name, answer in known_names.number.items() if answer >= 0}
        fits = [bool(sayable.intersection(truth.labels.get(path, ()))) for path in view.paths]
        photos = photos[np.array(fits, dtype=bool)]
    source = "the library" if truth is None else truth.source
    if not len(photos):
        why = "no photo has a vector from the model"
        if known_names.unknown:
            said = ", ".join(known_names.unknown[:5])
            why = f"its labels ({said}) are not among the answers; map them with names (--map NAME=LABEL)"
        raise BadTruth(source, why)
    photos = np.sort(photos[np.unique(view.image_ids[photos], return_index=True)[1]])
    if len(photos) > at_most:
        photos = np.sort(np.random.default_rng(seed).choice(photos, at_most, replace=False))
    right = np.zeros((len(photos), len(labels.answers)), dtype=bool)
    if truth is not None:
        known = truths.known(truth, known_names, [view.paths[n] for n in photos.tolist()])
        right = known.matrix(len(labels.answers))
    return Sample(view, labels, photos, right, source)

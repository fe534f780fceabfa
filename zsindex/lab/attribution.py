"""Which template helps or hurts which label, by leaving each out of the average in turn. Pure numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zsindex.lab.bootstrap import Estimate, Values, estimates, resamples
from zsindex.lab.metrics import Flags
from zsindex.records import Activation, FloatArray, IdArray

# Logits of all templates to hold at a time.
CELLS = 2**22
# Multiplications to spend, a few seconds; photos are sampled if more would be needed.
MAX_WORK = 5 * 10**10


@dataclass(frozen=True, slots=True)
class TemplateEffect:
    """The effect of a template: with it minus without it, all others kept.

    Attributes:
        top1: change of how often the best answer is right; None without truth.
        alone: how often it is right with this template alone; None without truth.
        agreement: share of photos that have the same answer without it.
        margin: change of the mean margin: the logarithm of how many times more probable the best answer is than the
            second.
    """

    template: str
    top1: Estimate | None
    alone: float | None
    agreement: float
    margin: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "template": self.template,
            "top1": None if self.top1 is None else self.top1.to_dict(),
            "alone": self.alone,
            "agreement": self.agreement,
            "margin": self.margin,
        }


@dataclass(frozen=True, slots=True)
class LabelEffect:
    """The effect of a template on one answer.

    Attributes:
        photos: number that show it; without truth, that are answered with it.
        recall, f1: changes; None without truth.
        agreement, margin: as in `TemplateEffect`, for these photos.
    """

    template: str
    label: str
    photos: int
    recall: float | None
    f1: float | None
    agreement: float
    margin: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "template": self.template,
            "label": self.label,
            "photos": self.photos,
            "recall": self.recall,
            "f1": self.f1,
            "agreement": self.agreement,
            "margin": self.margin,
        }


@dataclass(frozen=True)
class Attribution:
    """The effects of all templates.

    Attributes:
        photos: number of photos.
        truth: where the truth comes from; None if only answers were compared with each other.
        top1: how often the best answer of all templates together is right.
        templates: in the order of the templates.
        labels: for every answer that any photo shows (without truth: has), template by template.
    """

    photos: int
    truth: str | None
    top1: Estimate | None
    templates: tuple[TemplateEffect, ...]
    labels: tuple[LabelEffect, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "photos": self.photos,
            "truth": self.truth,
            "top1": None if self.top1 is None else self.top1.to_dict(),
            "templates": [effect.to_dict() for effect in self.templates],
            "labels": [effect.to_dict() for effect in self.labels],
        }


def attribute(
    n_photos: int,
    images: Callable[[IdArray], FloatArray],
    prompt_vectors: FloatArray,
    *,
    templates: Sequence[str],
    answers: Sequence[str],
    answer_of: IdArray,
    activation: Activation,
    logit_scale: float,
    right: Flags | None = None,
    truth: str | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Attribution:
    """Leave each template out of the average of prompts (Radford et al. 2021, section 3.1.4) and see what changes.

    Args:
        images: float32 (b, dim), unit vectors of some photos by their numbers in 0 … n_photos - 1.
        prompt_vectors: float32 (t, c, dim), unit vectors of every concept in every template; t at least 2.
        answers, answer_of, activation: as `scoring.Head` has them.
        right: bool (n_photos, n_answers), what photos show, if known.
        truth: where the truth comes from.
        n_resamples, seed: of the bootstrap.
    """
    n_templates, n_concepts, dim = prompt_vectors.shape
    best = np.empty((n_photos, 2 * n_templates + 1), dtype=np.int64)
    margin = np.empty(best.shape, dtype=np.float32)
    sums = prompt_vectors.sum(axis=0, dtype=np.float64)
    norms = np.linalg.norm(np.concatenate([sums - prompt_vectors, sums[None]]), axis=2).astype(np.float32)
    flat = prompt_vectors.reshape(n_templates * n_concepts, dim)
    step = max(1, CELLS // max(1, len(flat)))
    for start in range(0, n_photos, step):
        where = np.arange(start, min(start + step, n_photos))
        # The cosine with an average needs no average: it is the sum of cosines, divided by the length of the sum.
        alone = (images(where) @ flat.T).reshape(len(where), n_templates, n_concepts)
        together = alone.sum(axis=1, keepdims=True)
        ways = np.concatenate([together - alone, together], axis=1) / norms
        for part, cosines in ((slice(0, n_templates + 1), ways), (slice(n_templates + 1, None), alone)):
            best[where, part], margin[where, part] = _decide(
                np.float32(logit_scale) * cosines, activation, answer_of, len(answers)
            )
    # Columns of `best` and `margin`: without each template; with all; with each template alone.
    rest, every, only = slice(0, n_templates), n_templates, slice(n_templates + 1, None)
    same = best[:, rest] == best[:, [every]]
    gain = margin[:, [every]] - margin[:, rest]
    top1s: Sequence[Estimate | None] = [None] * n_templates
    alones: list[float | None] = [None] * n_templates
    whole = None
    shown: Flags = np.zeros((n_photos, len(answers)), dtype=bool)
    if right is None:
        shown[np.arange(n_photos), best[:, every]] = True
    else:
        shown = right
        hit = np.take_along_axis(right, best, axis=1).astype(np.float64)
        changes = np.concatenate([hit[:, [every]] - hit[:, rest], hit[:, [every]]], axis=1)
        samples = np.array([w @ changes / n_photos for w in resamples(n_photos, n_resamples, seed)])
        measured = estimates(changes.mean(axis=0), samples.reshape(-1, n_templates + 1))
        top1s, whole = measured[:-1], measured[-1]
        alones = [float(value) for value in hit[:, only].mean(axis=0)]
    return Attribution(
        photos=n_photos,
        truth=truth,
        top1=whole,
        templates=tuple(
            TemplateEffect(template, top1s[t], alones[t], float(same[:, t].mean()), float(gain[:, t].mean()))
            for t, template in enumerate(templates)
        ),
        labels=tuple(_of_labels(templates, answers, best[:, : n_templates + 1], same, gain, shown, right is not None)),
    )


def _of_labels(
    templates: Sequence[str],
    answers: Sequence[str],
    best: IdArray,
    same: Flags,
    gain: FloatArray,
    shown: Flags,
    has_truth: bool,
) -> list[LabelEffect]:
    numbers = np.flatnonzero(shown.any(axis=0)).tolist()
    photos = {n: np.flatnonzero(shown[:, n]) for n in numbers}
    recall, f1 = _recall_and_f1(best, shown)
    effects = []
    for t, template in enumerate(templates):
        changes = (recall[-1] - recall[t], f1[-1] - f1[t])
        for n in numbers:
            found = photos[n]
            effects.append(
                LabelEffect(
                    template,
                    answers[n],
                    photos=len(found),
                    recall=float(changes[0][n]) if has_truth else None,
                    f1=float(changes[1][n]) if has_truth else None,
                    agreement=float(same[found, t].mean()),
                    margin=float(gain[found, t].mean()),
                )
            )
    return effects


def _recall_and_f1(best: IdArray, right: Flags) -> tuple[Values, Values]:
    """For every way of answering (columns of `best`) and every answer that a photo shows: (ways, n_answers) each."""
    n = right.shape[1]
    there = right.sum(axis=0)
    recall, f1 = np.full((best.shape[1], n), np.nan), np.full((best.shape[1], n), np.nan)
    for way in range(best.shape[1]):
        answered = best[:, way]
        hits = np.bincount(answered[right[np.arange(len(best)), answered]], minlength=n)
        np.divide(hits, there, out=recall[way], where=there > 0)
        np.divide(2 * hits, there + np.bincount(answered, minlength=n), out=f1[way], where=there > 0)
    return recall, f1


def _decide(
    logits: FloatArray, activation: Activation, answer_of: IdArray, n_answers: int
) -> tuple[IdArray, FloatArray]:
    """The best answer, and its margin to the second, from logits (b, ways, c): both (b, ways)."""
    if n_answers < logits.shape[2]:
        # Probabilities of a group's labels add up with softmax; of independent ones, the largest counts.
        combine = np.logaddexp if activation is Activation.SOFTMAX else np.maximum
        concepts, logits = logits, np.full((*logits.shape[:2], n_answers), -np.inf, dtype=np.float32)
        for concept, answer in enumerate(answer_of.tolist()):
            combine(logits[..., answer], concepts[..., concept], out=logits[..., answer])
    best = logits.argmax(axis=2)
    if n_answers == 1:
        return best, np.zeros(best.shape, dtype=np.float32)
    two = np.partition(logits, n_answers - 2, axis=2)[..., -2:]
    return best, two[..., 1] - two[..., 0]

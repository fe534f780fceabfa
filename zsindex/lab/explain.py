"""Why a photo got its answer: its scores, the prompts nearest to it, and what each template alone would answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from zsindex.classification.scorers import Head
from zsindex.classification.scores import label_vectors
from zsindex.records import Activation, FloatArray, LabelSet


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """An answer and its score, in [0, 1]."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class PromptCosine:
    """A prompt, what it stands for, and its cosine to the photo."""

    label: str
    prompt: str
    cosine: float


@dataclass(frozen=True, slots=True)
class TemplateScores:
    """What one template alone would answer.

    Attributes:
        template: with its placeholder.
        label: its best answer.
        scores: of the answers in `Why.answers`, in their order; None for an answer that words alone cannot give.
    """

    template: str
    label: str
    scores: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """Why a photo got its answer.

    Attributes:
        answers: the best ones, best first.
        margin: score of the best minus that of the second; None if there is only one.
        prompts: those nearest to the photo, nearest first. The first is of the winner, or shows what speaks against it.
        templates: in their order, from their words alone, whatever else made the answer; empty if prompts were written
            out by hand, and for a single template.
    """

    answers: tuple[AnswerScore, ...]
    margin: float | None
    prompts: tuple[PromptCosine, ...]
    templates: tuple[TemplateScores, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def why(
    image: FloatArray,
    labels: LabelSet,
    prompt_vectors: FloatArray,
    *,
    logit_scale: float,
    logit_bias: float | None,
    activation: Activation,
    found: tuple[Sequence[str], FloatArray] | None = None,
    most: int,
    most_prompts: int,
) -> Why:
    """Explain the answer of one photo.

    Args:
        image: float32 (dim,), L2-normalised.
        labels: the label set.
        prompt_vectors: float32 (m, dim), L2-normalised, of all prompts of all concepts, in their order.
        logit_scale, logit_bias, activation: those of the answer to explain.
        found: names and scores float32 (n,) of the answers, if more than words made them.
        most, most_prompts: numbers of answers and of prompts to return.
    """
    counts = [len(texts) for texts in labels.concept_prompts]

    def scores_of(text_vectors: FloatArray) -> FloatArray:
        head = Head.zero_shot(
            text_vectors,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
            activation=activation,
            answer_of=labels.answer_of,
        )
        scores: FloatArray = head(image[None])[0]
        return scores

    answers, scores = found or (labels.answers, scores_of(label_vectors(prompt_vectors, counts)))
    best = np.argsort(-scores, kind="stable")[:most]
    cosines = prompt_vectors @ image
    texts = [(label, text) for label, own in zip(labels.concepts, labels.concept_prompts, strict=True) for text in own]
    nearest = np.argsort(-cosines, kind="stable")[:most_prompts]
    return Why(
        answers=tuple(AnswerScore(answers[n], float(scores[n])) for n in best.tolist()),
        margin=float(scores[best[0]] - scores[best[1]]) if len(best) > 1 else None,
        prompts=tuple(PromptCosine(texts[n][0], texts[n][1], float(cosines[n])) for n in nearest.tolist()),
        templates=_by_template(labels, prompt_vectors, counts, scores_of, [answers[n] for n in best.tolist()]),
    )


def _by_template(
    labels: LabelSet, prompt_vectors: FloatArray, counts: Sequence[int], scores_of: Any, best: Sequence[str]
) -> tuple[TemplateScores, ...]:
    n = len(labels.templates)
    if n < 2 or set(counts) != {n}:
        return ()
    by_template = prompt_vectors.reshape(len(counts), n, -1)
    number_of = {label: number for number, label in enumerate(labels.answers)}
    numbers = [number_of.get(label) for label in best]
    found = []
    for number, template in enumerate(labels.templates):
        scores = scores_of(np.ascontiguousarray(by_template[:, number]))
        winner = labels.answers[int(scores.argmax())]
        shown = tuple(None if answer is None else float(scores[answer]) for answer in numbers)
        found.append(TemplateScores(template, winner, shown))
    return tuple(found)

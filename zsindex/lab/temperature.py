"""How confident scores should be: one temperature per model, fitted to what photos really show. Pure numpy.

Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks" (ICML), section 4.2. Dividing all
logits by a temperature changes how confident scores are, not which answer is the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from zsindex.errors import BadTruth
from zsindex.lab.bootstrap import Values
from zsindex.lab.metrics import Flags, ReliabilityBin, calibration_error, reliability
from zsindex.records import Activation, IdArray

# The search range: the model's own divided and multiplied by e⁵, about 150; first in steps, then between three of them.
WIDEST, STEP = 5.0, 0.5
# Of the logarithm.
TOLERANCE = 1e-6
MIN_PHOTOS = 10
# Logits to fit to. A single number needs no more photos.
MAX_CELLS = 5 * 10**5
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Calibration:
    """How well scores fit: mean negative log-likelihood, expected calibration error, and its parts."""

    nll: float
    ece: float
    reliability: tuple[ReliabilityBin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"nll": self.nll, "ece": self.ece, "reliability": [b.to_dict() for b in self.reliability]}


@dataclass(frozen=True)
class TemperatureFit:
    """A temperature, and its effect on photos that it was not fitted to.

    Attributes:
        temperature: cosines are divided by it: ``logit_scale = 1 / temperature``.
        own: the model's own.
        photos: number of photos that it was fitted to, each content once.
        fold_temperatures: each fitted to all photos except those of one fold.
        before, after: with the model's own temperature, and with the folds' temperatures on the photos left out.
    """

    temperature: float
    own: float
    photos: int
    fold_temperatures: tuple[float, ...]
    before: Calibration
    after: Calibration

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "temperature": self.temperature,
            "own": self.own,
            "photos": self.photos,
            "fold_temperatures": list(self.fold_temperatures),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }


def fit(
    logits: Values,
    right: Flags,
    *,
    activation: Activation,
    answer_of: IdArray,
    own: float,
    folds: int = 5,
    seed: int = 0,
    source: str = "the truth",
) -> TemperatureFit:
    """Fit a temperature by maximum likelihood.

    Args:
        logits: float64 (m, c), the model's own, of every concept.
        right: bool (m, n_answers), the true answers; at least one per photo.
        answer_of: int64 (c,), as `scoring.Head` has it.
        own: the model's own temperature, ``1 / logit_scale``.
        folds: number of folds of the cross-validation that measures the gain.
        seed: of the folds.
        source: of the truth, for messages.

    Raises:
        BadTruth: there are too few photos, or no temperature is best, for example because all answers are right.
    """
    m = len(logits)
    if m < MIN_PHOTOS:
        raise BadTruth(source, f"{m} photos are too few to learn about confidence; it takes at least {MIN_PHOTOS}")
    problem = _Problem.of(logits, right, activation, answer_of)
    ratio = _minimum(lambda x: problem.nll(x).mean())
    if abs(math.log(ratio)) > WIDEST - STEP / 2:
        raise BadTruth(
            source,
            f"no temperature fits its {m:,} photos: the likelihood grows until scores are "
            f"{'certain, as if all answers were right' if ratio < 1 else 'all alike, as if answers were guessed'}",
        )
    part = np.random.default_rng(seed).permutation(m) % max(2, min(folds, m))
    ratios = np.empty(m)
    fold_ratios = []
    for fold in range(int(part.max()) + 1):
        rest = problem.take(np.flatnonzero(part != fold))
        fold_ratios.append(_minimum(lambda x, rest=rest: rest.nll(x).mean()))  # type: ignore[misc]
        ratios[part == fold] = fold_ratios[-1]
    return TemperatureFit(
        temperature=own * ratio,
        own=own,
        photos=m,
        fold_temperatures=tuple(own * r for r in fold_ratios),
        before=problem.calibration(np.ones(m)),
        after=problem.calibration(ratios),
    )


@dataclass(frozen=True)
class _Problem:
    """Logits and truth, evaluated at many ratios of a temperature to the model's own; see `fit`."""

    logits: Values
    right: Flags
    activation: Activation
    answer_of: IdArray

    @classmethod
    def of(cls, logits: Values, right: Flags, activation: Activation, answer_of: IdArray) -> _Problem:
        if activation is Activation.SIGMOID and right.shape[1] < len(answer_of):
            # The largest of independent scores counts, whatever the temperature.
            largest = np.full(right.shape, -np.inf)
            for concept, answer in enumerate(answer_of.tolist()):
                np.maximum(largest[:, answer], logits[:, concept], out=largest[:, answer])
            logits = largest
        return cls(logits, right, activation, answer_of)

    @cached_property
    def only(self) -> IdArray | None:
        """The one true concept of each photo; None if some photos have several."""
        true = self.right[:, self.answer_of]
        return true.argmax(axis=1) if (true.sum(axis=1) == 1).all() else None

    def take(self, photos: IdArray) -> _Problem:
        return replace(self, logits=self.logits[photos], right=self.right[photos])

    def nll(self, ratio: float | Values) -> Values:
        """Negative log-likelihood of the truth of each photo: (m,).

        Softmax: of the true answers, together. Sigmoid: of all answers, added up.
        """
        z = self.logits / np.reshape(ratio, (-1, 1))
        if self.activation is Activation.SIGMOID:
            # log(1 + exp(-z)) where it is true, log(1 + exp(z)) where it is not.
            return np.asarray(np.logaddexp(0, np.where(self.right, -z, z)).sum(axis=1))
        z -= z.max(axis=1, keepdims=True)
        if self.only is not None:
            return np.asarray(_log_sum_exp(z) - z[np.arange(len(z)), self.only])
        return np.asarray(_log_sum_exp(z) - _log_sum_exp(np.where(self.right[:, self.answer_of], z, -np.inf)))

    def calibration(self, ratios: Values) -> Calibration:
        z = self.logits / ratios[:, None]
        if self.activation is Activation.SIGMOID:
            scores = 0.5 * (1 + np.tanh(z / 2))
        else:
            concepts = np.exp(z - z.max(axis=1, keepdims=True))
            concepts /= concepts.sum(axis=1, keepdims=True)
            scores = np.zeros(self.right.shape)
            for concept, answer in enumerate(self.answer_of.tolist()):
                scores[:, answer] += concepts[:, concept]
        best = scores.argmax(axis=1)
        confidence = np.minimum(scores.max(axis=1), 1.0)
        is_right = self.right[np.arange(len(best)), best]
        return Calibration(
            float(self.nll(ratios).mean()), calibration_error(confidence, is_right), reliability(confidence, is_right)
        )


def _log_sum_exp(z: Values) -> Values:
    top = z.max(axis=1)
    return np.asarray(top + np.log(np.exp(z - top[:, None]).sum(axis=1)))


def _minimum(f: Callable[[float], float]) -> float:
    """The ratio that minimises f: the best of a series of steps, then golden-section search (Kiefer 1953) around it.

    For a plain softmax f is convex in 1 / ratio, so that there is only one minimum; groups of labels may create more.
    """
    grid = np.arange(-WIDEST, WIDEST + STEP / 2, STEP)
    middle = grid[int(np.argmin([f(math.exp(x)) for x in grid]))]
    low, high = middle - STEP, middle + STEP
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    f_a, f_b = f(math.exp(a)), f(math.exp(b))
    while high - low > TOLERANCE:
        if f_a <= f_b:
            high, b, f_b = b, a, f_a
            a = high - _GOLDEN * (high - low)
            f_a = f(math.exp(a))
        else:
            low, a, f_a = a, b, f_b
            b = low + _GOLDEN * (high - low)
            f_b = f(math.exp(b))
    return math.exp((low + high) / 2)

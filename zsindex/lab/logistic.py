"""Logistic regression that starts from words: corrections change what the words get wrong, and hardly anything else.

The posterior mode of a multinomial logistic regression whose prior mean is the zero-shot classifier. docs/methods.md
has the formula, and what it owes to ProKeR (Bendou et al. 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from zsindex.records import IdArray

Bools: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
Doubles: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

# By how much the words' logit of a label may be off at a photo of usual distance from the average, squared. docs/lab.md
# has what it was chosen by; from 10 to 80 it makes little difference.
PRIOR_VARIANCE = 32.0
# The mode is found when a step changes no logit by more than this; and where photos are only left out to try what the
# others teach.
TOLERANCE, TRIAL_TOLERANCE = 1e-4, 1e-2
MOST_STEPS = 1000
# Photos are left out in as many parts as fit into this many products of a photo, a dimension and a label; one by one if
# they are few.
TRIAL_PRODUCTS = 5_000_000
LEAST_PARTS = 5


@dataclass(frozen=True)
class Logistic:
    """What is added to the zero-shot logits: a linear function of a photo, relative to the library's average.

    Attributes:
        features: float64 (n, r), the examples in the r dimensions that they span, such that their products are the
            prior covariance of a label's logits.
        axes: float64 (dim, r), turns a vector relative to the average into features.
        zero_shot: float64 (n, c), logits of the examples.
        may_be: bool (n, c), what each example may show.
        coefficients: float64 (r, c), the mode.
    """

    features: Doubles
    axes: Doubles
    zero_shot: Doubles
    may_be: Bools
    coefficients: Doubles

    @classmethod
    def fit(cls, x: Doubles, zero_shot: Doubles, may_be: Bools, spread: float) -> Logistic:
        """Find the mode.

        Args:
            x: float64 (n, dim), the examples, relative to the average.
            zero_shot, may_be: see the attributes.
            spread: of the library, the mean squared distance of photos from the average.
        """
        n, dim = x.shape
        basis = np.linalg.qr(x.T)[0] if n < dim else np.eye(dim)
        axes = basis * np.sqrt(PRIOR_VARIANCE / max(spread, 1e-9))
        features = x @ axes
        start = np.zeros((features.shape[1], zero_shot.shape[1]))
        return cls(features, axes, zero_shot, may_be, _mode(features, zero_shot, may_be, start, TOLERANCE))

    def evidence(self, x: Doubles) -> Doubles:
        """What is added to the logits of images (b, dim), relative to the average: (b, c)."""
        found: Doubles = x @ self.axes @ self.coefficients
        return found

    def left_out(self, concepts: IdArray) -> Doubles:
        """Evidence for all examples, each from a fit without it: (n, c).

        Args:
            concepts: int64 (n,); examples of one concept are left out in different parts.
        """
        n = len(self.features)
        products = n * self.features.shape[1] * self.zero_shot.shape[1]
        parts = min(n, max(LEAST_PARTS, TRIAL_PRODUCTS // max(1, products)))
        part_of = np.empty(n, dtype=np.int64)
        part_of[np.argsort(concepts, kind="stable")] = np.arange(n) % max(1, parts)
        evidence = np.empty_like(self.zero_shot)
        for part in range(parts):
            out = part_of == part
            coefficients = _mode(
                self.features[~out], self.zero_shot[~out], self.may_be[~out], self.coefficients, TRIAL_TOLERANCE
            )
            evidence[out] = self.features[out] @ coefficients
        return evidence

    def linear(self) -> tuple[Doubles, Doubles]:
        """Evidence as a linear function of an image's vector minus the average: weights (c, dim) and bias (c,)."""
        weights = (self.axes @ self.coefficients).T
        return weights, np.zeros(len(weights))


def _mode(features: Doubles, zero_shot: Doubles, may_be: Bools, start: Doubles, tolerance: float) -> Doubles:
    """Coefficients W (r, c) that maximise ``Σ log Σ_may p - ½ |W|²``, p the softmax of ``zero_shot + features W``.

    The second derivative of the log likelihood is never below ``-½ featuresᵀ features`` (Böhning 1992), so that steps
    by its inverse never overshoot; momentum with restarts (O'Donoghue and Candès 2015) makes them few.
    """
    step_by = np.linalg.inv(np.eye(features.shape[1]) + features.T @ features / 2)
    found = ahead = start
    momentum = 1.0
    for _ in range(MOST_STEPS):
        logits = zero_shot + features @ ahead
        logits -= logits.max(axis=1, keepdims=True)
        likely = np.exp(logits)
        shown = likely * may_be
        # What it shows may be something that the logits all but exclude.
        total = shown.sum(axis=1, keepdims=True)
        shown = np.where(total > 1e-300, shown, may_be)
        surprise = shown / shown.sum(axis=1, keepdims=True) - likely / likely.sum(axis=1, keepdims=True)
        step = step_by @ (features.T @ surprise - ahead)
        new: Doubles = ahead + step
        if np.abs(features @ step).max(initial=0.0) < tolerance:
            return new
        if np.vdot(step, new - found) < 0:
            momentum, ahead = 1.0, new
        else:
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + (momentum - 1) / following * (new - found)
            momentum = following
        found = new
    return found

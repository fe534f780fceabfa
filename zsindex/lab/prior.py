"""How the photos are divided among the answers, where the model was not made for it: label shift. Pure numpy.

The shares are estimated from the scores of all photos and, where there are any, from photos with known content:

- ``em``: maximum likelihood by expectation maximisation. Saerens, Latinne, Decaestecker 2002, "Adjusting the outputs of
  a classifier to new a priori probabilities: a simple procedure", Neural Computation 14.
- ``bbse``: Lipton, Wang, Smola 2018, "Detecting and correcting for label shift with black box predictors", ICML.
- ``rlls``: the same from scores instead of answers, regularised. Azizzadenesheli, Liu, Yang, Anandkumar 2019,
  "Regularized learning for domain adaptation under label shifts", ICLR.

Scores are calibrated with photos of known content as in Alexandari, Kundaje, Shrikumar 2020, "Maximum likelihood with
bias-corrected calibration is hard-to-beat at label shift adaptation", ICML. docs/methods.md says what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from zsindex.classification.scorers import Scorer
from zsindex.errors import BadPrior
from zsindex.lab.bootstrap import Estimate, estimates
from zsindex.records import FloatArray, IdArray

Doubles: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

METHODS = ("rlls", "em", "bbse")
# What `estimated` stands for: docs/lab.md has the experiments.
DEFAULT = "rlls"
# Weight of the distance from even shares.
RHO = 0.1
# Photos with known content that `estimated` takes, at least, for each answer on average.
LEAST_KNOWN = 5
# Variance of the labels' biases, in natural logarithms of odds, and of the power, as they are expected to be.
BIAS_VARIANCE = POWER_VARIANCE = 1.0
RESAMPLES = 200
# EM goes through all photos again in every round, and in every resample: these are of as many photos at most.
EM_SAMPLE = 2000
EM_ROUNDS, EM_STILL = 1000, 1e-7
_SOLVER_ROUNDS = 400
_SOLVED_AT_ONCE = 2**20
# A probability that underflowed is still possible.
_TINY = np.float32(1e-30)


@dataclass(frozen=True)
class Calibration:
    """What photos with known content say about the scores: ``q ∝ p^power · exp(bias)``.

    Attributes:
        power: one over a temperature.
        bias: float64 (a,), of each answer; 0 for answers of which no photo is known.
    """

    power: float
    bias: Doubles


@dataclass(frozen=True)
class Reweighted:
    """Scores times weights, divided by their sum.

    Attributes:
        scorer: before; gives probabilities that add up.
        power: of the scores.
        shift: float32 (a,), logarithms of the weights; -inf for what no photo shows.
    """

    scorer: Scorer
    power: float
    shift: FloatArray

    def __call__(self, images: FloatArray) -> FloatArray:
        """Scores of every answer: float32 (b, a)."""
        return reweighted(self.scorer(images), self.power, self.shift)


def reweighted(scores: FloatArray, power: float, shift: FloatArray) -> FloatArray:
    """``p^power · exp(shift)``, divided by its sum over the answers: float32, the shape of `scores`."""
    values: FloatArray = np.log(np.maximum(scores, _TINY))
    values *= np.float32(power)
    values += shift
    values -= values.max(axis=-1, keepdims=True, initial=-np.inf)
    with np.errstate(under="ignore"):
        np.exp(values, out=values)
        values /= values.sum(axis=-1, keepdims=True)
    return values


def shift_to(shares: Doubles, neutral: Doubles) -> FloatArray:
    """Logarithms of the weights that turn a posterior under one prior into that under another one: float32 (a,)."""
    with np.errstate(divide="ignore"):
        found: FloatArray = (np.log(shares) - np.log(neutral)).astype(np.float32)
    return found


def calibrate(scores: FloatArray, shown: IdArray, neutral: Doubles) -> Calibration:
    """Fit a power and a bias of each answer to photos with known content, by penalised maximum likelihood.

    How many photos of each answer are known says nothing about how many there are: it is taken out.

    Args:
        scores: float32 (m, a), of photos with known content.
        shown: int64 (m,), what they show.
        neutral: float64 (a,), the shares under which the scores hold by themselves.
    """
    m, n_answers = scores.shape
    counts = np.bincount(shown, minlength=n_answers)
    logs = np.log(np.maximum(scores, _TINY)).astype(np.float64)
    there = counts > 0
    # Among the answers of which any photo is known, the odds are those among these photos.
    offset = np.where(there, np.log(np.maximum(counts, 1)) - np.log(neutral), -np.inf)
    truth = np.zeros((m, n_answers))
    truth[np.arange(m), shown] = 1
    inverse = np.full(n_answers + 1, 1 / BIAS_VARIANCE)
    inverse[0] = 1 / POWER_VARIANCE
    centre = np.zeros(n_answers + 1)
    centre[0] = 1.0

    def loss(at: Doubles) -> tuple[float, Doubles]:
        z = at[0] * logs + at[1:] + offset
        z -= z.max(axis=1, keepdims=True)
        q = np.exp(z)
        total = q.sum(axis=1, keepdims=True)
        fit = float((np.log(total[:, 0]) - z[np.arange(m), shown]).sum())
        return fit + 0.5 * float(inverse @ (at - centre) ** 2), q / total

    at = centre.copy()
    value, q = loss(at)
    for _ in range(100):  # Newton's method: the loss is convex
        off = q - truth
        gradient = np.concatenate([[np.einsum("ij,ij->", off, logs)], off.sum(axis=0)]) + inverse * (at - centre)
        mean = np.einsum("ij,ij->i", q, logs)
        hessian = np.diag(inverse)
        hessian[0, 0] += np.einsum("ij,ij,ij->", q, logs, logs) - mean @ mean
        hessian[0, 1:] = hessian[1:, 0] = (q * (logs - mean[:, None])).sum(axis=0)
        hessian[1:, 1:] += np.diag(q.sum(axis=0)) - q.T @ q
        step, length = np.linalg.solve(hessian, gradient), 1.0
        trial, trial_q = loss(at - step)
        while trial > value and length > 1e-6:
            length /= 2
            trial, trial_q = loss(at - length * step)
        if not trial < value - 1e-9 * max(1.0, abs(value)):
            break
        at, value, q = at - length * step, trial, trial_q
    return Calibration(float(max(at[0], 1e-3)), np.where(there, at[1:], 0.0))


def em(scores: FloatArray, neutral: Doubles, start: Doubles | None = None) -> Doubles:
    """The shares under which the scores of all photos are likeliest: float64 (a,).

    Args:
        scores: float32 (n, a), posteriors under the shares `neutral`, float64 (a,).
        start: where to begin.
    """
    ratios = scores / neutral.astype(np.float32)
    shares = neutral if start is None else np.maximum(start, 1e-9) / np.maximum(start, 1e-9).sum()
    for _ in range(EM_ROUNDS):
        mixed = np.maximum(ratios @ shares.astype(np.float32), _TINY)
        following = shares * ((1 / mixed) @ ratios).astype(np.float64) / len(scores)
        following /= following.sum()
        moved = float(np.abs(following - shares).max())
        shares = following
        if moved < EM_STILL:
            break
    found: Doubles = np.where(shares < EM_STILL, 0.0, shares) / shares[shares >= EM_STILL].sum()
    return found


def least_squares(columns: Doubles, target: Doubles, centre: Doubles, rho: float) -> Doubles:
    """The shares that minimise ``|columns · shares - target|² + rho · |shares - centre|²``: float64 (..., a).

    By projected gradients with momentum (Beck and Teboulle 2009, FISTA).

    Args:
        columns: float64 (..., a, a), the mean scores of photos of each answer, as columns.
        target: float64 (..., a), the mean scores of all photos.
        centre: float64 (a,).
    """
    n_answers = len(centre)
    back = np.swapaxes(columns, -1, -2)
    square = back @ columns + rho * np.eye(n_answers)
    linear = (back @ target[..., None])[..., 0] + rho * centre
    steepest = np.maximum(np.abs(square).sum(axis=-1).max(axis=-1), 1e-12)[..., None]  # at least the largest eigenvalue
    shares = ahead = np.broadcast_to(centre, target.shape)
    momentum = 1.0
    for _ in range(_SOLVER_ROUNDS):
        following = on_simplex(ahead - ((square @ ahead[..., None])[..., 0] - linear) / steepest)
        later = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / later * (following - shares)
        moved = float(np.abs(following - shares).max(initial=0))
        shares, momentum = following, later
        if moved < 1e-9:
            break
    return shares


def on_simplex(values: Doubles) -> Doubles:
    """The nearest shares, not negative and with a sum of 1: float64, the shape of `values` (..., a).

    Duchi, Shalev-Shwartz, Singer, Chandra 2008, "Efficient projections onto the l1-ball", ICML.
    """
    falling = -np.sort(-values, axis=-1)
    excess = (np.cumsum(falling, axis=-1) - 1) / np.arange(1, values.shape[-1] + 1)
    last = (falling > excess).sum(axis=-1, keepdims=True) - 1
    found: Doubles = np.maximum(values - np.take_along_axis(excess, last, -1), 0)
    return found


@dataclass(frozen=True)
class KnownPhotos:
    """Photos with known content.

    Attributes:
        scores: float32 (m, a), of the model.
        shown: int64 (m,), what they show.
        source: where that comes from.
    """

    scores: FloatArray
    shown: IdArray
    source: str


@dataclass(frozen=True)
class PriorEstimate:
    """How the photos are divided among the answers.

    Attributes:
        method: ``rlls``, ``em`` or ``bbse``.
        shares: of each answer, with intervals of 95 %; they add up to 1.
        photos: number of photos that this is about, each content once.
        known: number of photos with known content that it was learnt from, by answer; empty without any.
        source: where that comes from.
        doubts: what speaks against trusting it, in words.
    """

    method: str
    shares: Mapping[str, Estimate]
    photos: int
    known: Mapping[str, int]
    source: str | None
    doubts: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, float]:
        """The shares as a question's `prior` takes them."""
        return {answer: share.value for answer, share in self.shares.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        shares = []
        for answer, share in self.shares.items():
            numbers = share.to_dict()
            one = {"label": answer, "share": numbers["value"], "low": numbers["low"], "high": numbers["high"]}
            shares.append({**one, "known": self.known.get(answer, 0)})
        return {
            "method": self.method,
            "photos": self.photos,
            "source": self.source,
            "shares": shares,
            "doubts": list(self.doubts),
        }


def enough(known: KnownPhotos | None, n_answers: int) -> bool:
    """Whether there are as many photos with known content as `estimated` takes."""
    return known is not None and len(known.shown) >= LEAST_KNOWN * n_answers


def estimate(
    blocks: Callable[[], Iterable[FloatArray]],
    answers: Sequence[str],
    neutral: Doubles,
    known: KnownPhotos | None,
    *,
    method: str = DEFAULT,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[PriorEstimate, Calibration]:
    """Estimate the shares of the answers.

    Intervals are percentiles over resamples of all photos and, within each answer, of those with known content (Efron
    1979); they say nothing about scores that mislead.

    Args:
        blocks: yields the model's scores of all photos, float32 (b, a) at a time, each time that it is called.
        answers: a of them.
        neutral: float64 (a,), the shares under which the scores hold by themselves.
        known: None is for ``em`` alone.
        resamples: 0 for no intervals.

    Raises:
        BadPrior: there is no such method, or it takes photos with known content.
    """
    if method not in METHODS:
        raise BadPrior(f"the methods are {', '.join(METHODS)}, not {method!r}")
    if known is None and method != "em":
        raise BadPrior(
            f"{method} takes photos with known content: correct some (zsindex correct), or name a truth; em does "
            "without"
        )
    n_answers = len(answers)
    calibration = Calibration(1.0, np.zeros(n_answers))
    if known is not None:
        calibration = calibrate(known.scores, known.shown, neutral)
    shift = (calibration.bias - np.log(neutral)).astype(np.float32)

    def calibrated(scores: FloatArray) -> FloatArray:
        return reweighted(scores, calibration.power, shift)

    even = np.full(n_answers, 1 / n_answers)
    random = np.random.default_rng(seed)
    if method == "em":
        scores = np.concatenate([*(calibrated(block) for block in blocks()), np.empty((0, n_answers), np.float32)])
        photos = len(scores)
        values = em(scores, even) if photos else even
        drawn = _em_again(scores, even, values, resamples if photos else 0, random)
    else:
        assert known is not None
        hard = method == "bbse"

        def features(scores: FloatArray) -> Doubles:
            found = calibrated(scores).astype(np.float64)
            return np.eye(n_answers)[found.argmax(axis=1)] if hard else found

        photos, sums, own = 0, np.zeros((1 + resamples, n_answers)), np.zeros((n_answers, n_answers))
        weights_of = np.zeros(1 + resamples)
        for block in blocks():
            found = features(block)
            # Poisson numbers of each photo: a bootstrap that needs no photo but the one at hand (Chamandy et al. 2012).
            weights = np.concatenate([np.ones((1, len(found))), random.poisson(1.0, (resamples, len(found)))])
            sums += weights @ found
            weights_of += weights.sum(axis=1)
            own += found.T @ calibrated(block)
            photos += len(found)
        targets = sums / np.maximum(weights_of, 1)[:, None] if photos else np.tile(even, (1 + resamples, 1))
        # Of answers of which no photo is known, what the scores themselves say.
        own = np.where(own.sum(axis=0) > 0, own / np.maximum(own.sum(axis=0), 1e-30), np.eye(n_answers))
        rho = 0.0 if hard else RHO
        known_features = features(known.scores)
        first = _columns(known_features, known.shown, own)
        values = least_squares(first, targets[0], even, rho)
        drawn = np.empty((resamples, n_answers))
        step = max(1, _SOLVED_AT_ONCE // n_answers**2)
        for start in range(0, resamples, step):
            part = targets[1 + start : 1 + start + step]
            columns = np.stack([_columns(known_features, known.shown, own, random) for _ in part])
            drawn[start : start + step] = least_squares(columns, part, even, rho)
    counts = np.zeros(n_answers, np.int64) if known is None else np.bincount(known.shown, minlength=n_answers)
    estimated = PriorEstimate(
        method,
        dict(zip(answers, estimates(values, drawn), strict=True)),
        photos,
        {} if known is None else dict(zip(answers, counts.tolist(), strict=True)),
        None if known is None else known.source,
        _doubts(method, answers, known, counts),
    )
    return estimated, calibration


def _columns(features: Doubles, shown: IdArray, own: Doubles, random: np.random.Generator | None = None) -> Doubles:
    """The mean scores of the photos of each answer, or of as many of them drawn with replacement: float64 (a, a)."""
    columns = own.copy()
    for answer in np.unique(shown).tolist():
        rows = np.flatnonzero(shown == answer)
        columns[:, answer] = features[rows if random is None else random.choice(rows, len(rows))].mean(axis=0)
    return columns


def _em_again(
    scores: FloatArray, even: Doubles, values: Doubles, resamples: int, random: np.random.Generator
) -> Doubles:
    """Estimates from resamples of at most `EM_SAMPLE` photos, drawn in towards the estimate as far as fewer photos
    spread further: float64 (resamples, a).
    """
    n = len(scores)
    size = min(n, EM_SAMPLE)
    narrower = np.sqrt(size / max(1, n))
    drawn = np.array([em(scores[random.integers(0, n, size)], even, values) for _ in range(resamples)])
    found: Doubles = np.clip(values + narrower * (drawn.reshape(resamples, len(values)) - values), 0, 1)
    return found


def _doubts(method: str, answers: Sequence[str], known: KnownPhotos | None, counts: IdArray) -> tuple[str, ...]:
    if known is None:
        return (
            "no photo's content is known: the scores are taken at their word, and where the model prefers a label, so "
            "does the estimate",
        )
    found = []
    if not enough(known, len(answers)):
        found.append(f"fewer than {LEAST_KNOWN} photos with known content for each label, on average")
    without = [answer for answer, n in zip(answers, counts.tolist(), strict=True) if not n]
    if without:
        shown = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
        found.append(f"none is known of {shown}: the scores are taken at their word")
    if method == "bbse":
        found.append("bbse is not regularised: with few known photos it varies widely")
    return tuple(found)

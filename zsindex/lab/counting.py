"""How many photos show something, from a few that a person looks at: importance sampling without replacement, and an
interval that holds after every answer, whenever one stops.

Photo i is drawn with the probability q_i. Its answer y_i, less what was predicted of it, over q_i, added to all that is
predicted, is right on average whatever the predictions are worth:

    Z_t = known + Σ_{i open} p_i + (y_{I_t} - p_{I_t}) / q_{I_t},    E[Z_t | all before] = M

The interval is made of all counts m that no bets have become rich against (Waudby-Smith and Ramdas 2024), with draws by
weight and without replacement (Waudby-Smith, Shekhar and others 2023). See docs/methods.md.

All functions take arrays with any dimensions before the last one, so that many counts can be simulated at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]

# Of what is drawn evenly, whatever the scores say: so far can no score mislead, and so small is every 1/q.
DEFENSIVE = 0.8
# Of what is believed of intercept and slope before anything is known, as normal distributions: means, and precisions.
_PRIOR_MEAN = np.array([-1.5, 1.0])
_PRIOR_PRECISION = np.array([0.25, 0.25])
# Scores further from their mean, in standard deviations, count as this far.
_FURTHEST = 4.0
# As many answers the variance that the model expects is worth, beside the one that is seen.
_PRIOR_ANSWERS = 10.0
# The bet that is right for the width that is wanted, and others in case it is not: shares of the most that can be
# bet, each with its share of the stake.
_TUNED = 0.8
_FRACTIONS = np.array([0.01, 0.03, 0.1, 0.25, 0.5, 0.8, 0.97])
# So little more than nothing is left of a bet that is lost.
_MOST_BET = 0.97
_STEPS = 40


def scale_of(scores: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of scores, each (…, 1); the latter is 1 where all are the same."""
    spread = scores.std(axis=-1, keepdims=True)
    return scores.mean(axis=-1, keepdims=True), np.where(spread > 0, spread, 1.0)


def standardised(scores: Floats, mean: Floats | float, spread: Floats | float) -> Floats:
    """Scores in standard deviations from the mean, those far away moved nearer: float64 (…, n)."""
    return np.clip((scores - mean) / spread, -_FURTHEST, _FURTHEST)


def fit(z: Floats, y: Floats) -> Floats:
    """Intercept and slope of the logistic regression of answers on standardised scores: the most probable ones.

    Args:
        z, y: (…, t); answers are 0 and 1.

    Returns:
        (…, 2).
    """
    beta = np.broadcast_to(_PRIOR_MEAN, (*z.shape[:-1], 2)).copy()
    if not z.shape[-1]:
        return beta
    for _ in range(12):
        p = predicted(beta, z)
        w = p * (1 - p)
        g0 = (y - p).sum(-1) - _PRIOR_PRECISION[0] * (beta[..., 0] - _PRIOR_MEAN[0])
        g1 = ((y - p) * z).sum(-1) - _PRIOR_PRECISION[1] * (beta[..., 1] - _PRIOR_MEAN[1])
        a, b, c = w.sum(-1) + _PRIOR_PRECISION[0], (w * z).sum(-1), (w * z * z).sum(-1) + _PRIOR_PRECISION[1]
        det = a * c - b * b
        step = np.stack([(c * g0 - b * g1) / det, (a * g1 - b * g0) / det], axis=-1)
        beta += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-6:
            break
    return beta


def predicted(beta: Floats, z: Floats) -> Floats:
    """The probabilities that photos show it: (…, n).

    Args:
        beta: (…, 2), of `fit`.
        z: (…, n), standardised scores.
    """
    p: Floats = 1 / (1 + np.exp(-np.clip(beta[..., :1] + beta[..., 1:] * z, -30, 30)))
    return p


@dataclass(frozen=True)
class Draw:
    """A photo that is drawn, with all that its answer is worth by. Of many counts at once, arrays (…,).

    Attributes:
        chance: q, the probability of this photo.
        predicted: p, that it shows it.
        rest: Σ p of the photos that were open, this one among them.
        low, high: the most by which Z can be below `known` + `rest`, and above it, whichever photo is drawn.
        variance: what is expected of Z, as far as model and earlier answers tell.
    """

    chance: Floats
    predicted: Floats
    rest: Floats
    low: Floats
    high: Floats
    variance: Floats

    def to_dict(self) -> dict[str, float]:
        """Plain data for JSON."""
        return {one.name: float(getattr(self, one.name)) for one in fields(self)}


def proposal(p: Floats, is_open: Bools, *, defensive: float = DEFENSIVE) -> Floats:
    """q, with which each photo is drawn: a mixture of the even distribution over the open ones and of one in proportion
    to the standard deviation √(p(1-p)): (…, n), with the sum 1.

    Args:
        p: (…, n), of `predicted`.
        is_open: bool (…, n), whether photos may be drawn; at least one may.
    """
    spread = np.sqrt(p * (1 - p)) * is_open
    q: Floats = is_open * (defensive / is_open.sum(-1, keepdims=True))
    q += spread * ((1 - defensive) / spread.sum(-1, keepdims=True))
    return q


def draw(p: Floats, is_open: Bools, u: Floats, *, defensive: float = DEFENSIVE) -> tuple[Ints, Draw]:
    """Draw one of the open photos by `proposal`.

    Args:
        p, is_open: as for `proposal`.
        u: (…,), even random numbers in [0, 1).

    Returns:
        The numbers of the photos, int64 (…,), and how they were drawn; `variance` is what the model alone expects.
    """
    q = proposal(p, is_open, defensive=defensive)
    cumulated = np.cumsum(q, axis=-1)
    # The last open one has all that rounding leaves over.
    target = (u * cumulated[..., -1])[..., None]
    chosen = np.minimum((cumulated <= target).sum(-1), p.shape[-1] - 1 - np.argmax(is_open[..., ::-1], axis=-1))
    over = np.divide(1.0, q, out=np.zeros_like(q), where=is_open)

    def at(values: Floats) -> Floats:
        found: Floats = np.take_along_axis(values, chosen[..., None], axis=-1)[..., 0]
        return found

    return chosen, Draw(
        chance=at(q),
        predicted=at(p),
        rest=(p * is_open).sum(-1),
        low=(p * over).max(-1),
        high=((1 - p) * over).max(-1),
        variance=(p * (1 - p) * over).sum(-1),
    )


@dataclass(frozen=True)
class Evidence:
    """All answers of a count so far, in the order of the draws. Where nobody could tell, a photo may show it or not:
    it counts as no for the lower bound, and as yes for the upper one.

    Attributes:
        least, most: (…, t), Z with such photos as no, and as yes.
        floor: (…, t), the least that `least` could be.
        ceiling: (…, t), the most that `most` could be.
        variance: (…, t), of Z, as it was expected before the answer.
        bet: (…, t), λ: for each count that Z is off by, the share of the capital that is won or lost.
    """

    least: Floats
    most: Floats
    floor: Floats
    ceiling: Floats
    variance: Floats
    bet: Floats


def expected_variance(of_model: Floats, variance: Floats, z: Floats) -> Floats:
    """The variance of the next Z, from what the model expects and from earlier ones: (…,), at least 1.

    Args:
        of_model: (…,), of `draw`.
        variance: (…, t), of earlier ones, as expected then.
        z: (…, t), earlier ones.
    """
    t = z.shape[-1]
    if not t:
        return np.maximum(of_model, 1.0)
    seen = ((z - mean_of(variance, z)[..., None]) ** 2).sum(-1)
    variance_of_next: Floats = np.maximum((_PRIOR_ANSWERS * of_model + seen) / (_PRIOR_ANSWERS + t), 1.0)
    return variance_of_next


def mean_of(variance: Floats, z: Floats) -> Floats:
    """The mean of several Z, (…, t), by what each is worth: (…,)."""
    worth = 1 / variance
    mean: Floats = (worth * z).sum(-1) / worth.sum(-1)
    return mean


def bet(variance: Floats, width: Floats | float, n: float | None, alpha: float) -> Floats:
    """λ for the next answer: the one that is best for telling a count from one that is `width` away, or from as near a
    one as `n` answers can tell it from.

    Args:
        variance: (…,), of the next Z.
        width: (…,), in photos; 0 if only `n` counts.
        n: answers in all, None if only `width` counts.
    """
    reachable = np.sqrt(2 * np.log(2 / alpha) * variance / n) if n else np.zeros_like(variance)
    chosen: Floats = np.maximum(width, reachable) / variance
    return chosen


def interval(evidence: Evidence, least: Ints | int, most: Ints | int, alpha: float) -> tuple[Ints, Ints]:
    """The smallest and the largest count that the answers leave, each int64 (…,): at any time, also one that depends
    on the answers, both are right with a probability of at least 1 - `alpha`.

    Args:
        least, most: (…,), what is sure: the photos that are known to show it, and all but those known not to.
    """
    low = np.broadcast_to(np.asarray(least, np.float64), evidence.least.shape[:-1])
    high = np.broadcast_to(np.asarray(most, np.float64), evidence.least.shape[:-1])
    if not evidence.least.shape[-1]:
        return low.astype(np.int64), high.astype(np.int64)
    threshold = np.log(2 / alpha)
    # Capital against m falls with m where it bets on more than m, and rises where it bets on less.
    lower = _root(lambda m: _capital(evidence.least - m, m - evidence.floor, evidence.bet) < threshold, low, high)
    upper = _root(lambda m: _capital(m - evidence.most, evidence.ceiling - m, evidence.bet) < threshold, high, low)
    return np.ceil(lower - 1e-6).astype(np.int64), np.floor(upper + 1e-6).astype(np.int64)


def _capital(gain: Floats, room: Floats, bets: Floats) -> Floats:
    """The logarithm of what bets have become, that began with 1: (…,).

    Args:
        gain: (…, t), what each answer was above what was bet against.
        room: (…, t), how far below it could have been.
    """
    # Where there is none, m is no count that could be.
    room = np.maximum(room, 1e-9)
    ratio = np.maximum(gain / room, -1.0)
    tuned = np.log1p(np.minimum(bets * room, _MOST_BET) * ratio).sum(-1) + np.log(_TUNED)
    others = [np.log1p(f * ratio).sum(-1) + np.log((1 - _TUNED) / len(_FRACTIONS)) for f in _FRACTIONS.tolist()]
    together: Floats = np.logaddexp.reduce(np.stack([tuned, *others]), axis=0)
    return together


def _root(is_left: Callable[[Floats], Bools], start: Floats, end: Floats) -> Floats:
    """The m nearest to `start` that is left, where all between it and `end` are left as well: (…,)."""
    found = is_left(start[..., None])
    out, within = start.copy(), end.copy()
    for _ in range(_STEPS):
        middle = (out + within) / 2
        inside = is_left(middle[..., None])
        within, out = np.where(inside, middle, within), np.where(inside, out, middle)
    return np.where(found, start, within)


@dataclass(frozen=True)
class PhotoCount:
    """How many photos show it, as far as the answers tell.

    Photos are images here: files with the same bytes are one.

    Attributes:
        survey: the number of the survey that keeps the looks.
        label: what is counted.
        estimate: the number that is most likely.
        low, high: with the probability `confidence` the number is between these, at whatever answer one stops.
        confidence: of the interval.
        reached: whether the interval is as narrow as was wanted; False if nothing was wanted.
        looks: answers so far; `yes` and `no` of them, and the others nobody could tell.
        known: photos that had an answer before the count began; `known_yes` of them show it.
        photos, files: that are counted.
        gone: photos that went since the count began, and were not looked at: they may or may not have shown it.
        came: photos that came since then, and are not counted.
    """

    survey: int
    label: str
    estimate: float
    low: int
    high: int
    confidence: float
    reached: bool
    looks: int
    yes: int
    no: int
    known: int
    known_yes: int
    photos: int
    files: int
    gone: int
    came: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True)
class Looks:
    """The answers of a count, in the order of the draws: arrays (t,), with `beta` (t, 2).

    Attributes:
        place: which photo it was, -1 for one that has gone.
        yes, unsure: whether it shows it, and whether nobody could tell.
        beta, mean, spread: what p was made of then: of `fit`, and of `scale_of`.
        chance, predicted, rest, low, high, variance, bet: as in `Draw` and `Evidence`.
        gone: photos that had gone by then without a look.
    """

    place: Ints
    yes: Bools
    unsure: Bools
    beta: Floats
    mean: Floats
    spread: Floats
    chance: Floats
    predicted: Floats
    rest: Floats
    low: Floats
    high: Floats
    variance: Floats
    bet: Floats
    gone: Floats

    def __len__(self) -> int:
        return len(self.place)

    def evidence(self) -> Evidence:
        """Of all photos that are counted."""
        least, floor, _ = self._z(self.yes, self.rest, self.low)
        most, _, ceiling = self._z(self.yes | self.unsure, self.rest, self.high)
        return Evidence(least, most + self.gone, floor, ceiling + self.gone, self.variance, self.bet)

    def _z(self, said: Bools, rest: Floats, room: Floats) -> tuple[Floats, Floats, Floats]:
        y = said.astype(np.float64)
        base = np.cumsum(y) - y + rest
        return base + (y - self.predicted) / self.chance, base - room, base + room

    def of_groups(
        self, scores: Floats, is_open: Bools, photo: Ints, group: Ints, n_groups: int, n: float, alpha: float
    ) -> Evidence:
        """Of the photos of each group: (g, t). The same draws count; for a group, Z is what is known and expected of
        its own photos, with the answer only if it is about one of them.

        Args:
            scores: (u,), of the photos that there are.
            is_open: bool (u,), those of them that could be drawn when the count began.
            photo, group: (m,), which photos are in which groups.
            n: how many answers bets are made for.
        """
        is_open = is_open.copy()
        belongs = np.zeros((n_groups, len(self)), dtype=np.bool_)
        rest, variance = np.zeros((n_groups, len(self))), np.zeros((n_groups, len(self)))
        for t in range(len(self)):
            p = predicted(self.beta[t], standardised(scores, self.mean[t], self.spread[t]))
            if is_open.any():
                q = np.where(is_open, proposal(p, is_open), 1.0)
                rest[:, t] = np.bincount(group, (p * is_open)[photo], n_groups)
                variance[:, t] = np.bincount(group, (p * (1 - p) * is_open / q)[photo], n_groups)
            if self.place[t] >= 0:
                belongs[group[photo == self.place[t]], t] = True
                is_open[self.place[t]] = False
        yes, maybe = belongs * self.yes, belongs * (self.yes | self.unsure)
        residual = belongs * -self.predicted / self.chance
        least, most = (
            np.cumsum(one, axis=1) - one + rest + one / self.chance + residual
            for one in (yes.astype(np.float64), maybe.astype(np.float64))
        )
        base = np.cumsum(yes, axis=1) - yes + rest
        base_most = np.cumsum(maybe, axis=1) - maybe + rest
        middle = (least + most) / 2
        for t in range(len(self)):
            variance[:, t] = expected_variance(variance[:, t], variance[:, :t], middle[:, :t])
        bets = bet(variance, 0.0, n, alpha)
        return Evidence(least, most, base - self.low, base_most + self.high, variance, bets)


@dataclass(frozen=True)
class GroupCount:
    """How many photos of a group show it.

    Attributes:
        key: of the group; empty for photos of which it is not known.
        photos: in the group; `known` of them are known to show it or not.
        estimate: what the scores expect after all answers, moved towards what the group's own answers say, as far as
            the groups differ from what the scores expect.
        low, high: an interval that holds with the stated confidence for this group (not for all at once).
    """

    key: str
    photos: int
    known: int
    estimate: float
    low: int
    high: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def shrunk(direct: Floats, variance: Floats) -> Floats:
    """What groups differ by from what was expected, shrunk towards nothing as far as chance explains it: (g,).

    The variance between groups is estimated by moments (DerSimonian and Laird 1986, with the mean 0 given).

    Args:
        direct: (g,), by how much each differs, as estimated from its own answers.
        variance: (g,), of these.
    """
    used = variance > 0
    if not used.any():
        return np.zeros_like(direct)
    worth = 1 / variance[used]
    between = max(0.0, float(((worth * direct[used] ** 2).sum() - used.sum()) / worth.sum()))
    return np.where(used, direct * between / (between + np.where(used, variance, 1.0)), 0.0)

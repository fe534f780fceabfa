"""Answers in given numbers: every photo gets one label, every label its quota of photos, by optimal transport.

OTTER: Shin, Zhao, Cromp, Vishwakarma, Sala, "OTTER: Effortless Label Distribution Adaptation of Zero-shot Models",
NeurIPS 2024 (arXiv 2404.08461). Costs are -log p, the marginals are uniform over the photos and the given shares over
the labels. Quotas are whole numbers of photos, so that the best plan is an assignment: approximate potentials are found
by Sinkhorn's iteration (Cuturi 2013), in the logarithmic domain, and the best plan from there by shortest augmenting
paths over the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from zsindex.errors import TooManyScores
from zsindex.records import FloatArray, IdArray

Doubles: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

# Photos times labels: one matrix of this many float32 is held, and another while it is made.
MAX_SCORES = 2**27
# A probability that underflowed is still possible.
_TINY = np.float32(1e-30)
# The potentials are first sought with this many photos, and with ever less entropy; then with all of them, in as many
# rounds as take a second or so.
_SAMPLE = 4096
_ENTROPIES = (1.0, 0.5, 0.25, 0.1, 0.05)
_ROUNDS, _LAST_ROUNDS = 8, 20
_FULL_WORK, _LEAST_FULL, _MOST_FULL = 6 * 10**7, 3, 30
# Steps of exchanging photos one by one, until which that is done: a second or so.
_EXCHANGE_WORK = 10**8
_BLOCK = 2**18


@dataclass(frozen=True)
class Transported:
    """An assignment of photos to labels that has the largest product of probabilities among those that keep the quotas.

    Attributes:
        answers: int64 (n,), the label of each photo.
        potentials: float64 (a,), added to log p: each photo's label is then its best; -inf for a label without photos.
    """

    answers: IdArray
    potentials: Doubles


def quotas(shares: Doubles, n: int) -> IdArray:
    """How many of n photos each label gets: ``n · share`` in whole numbers that add up, by largest remainders."""
    exact = shares * n
    whole = np.floor(exact).astype(np.int64)
    left = n - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return whole


def transport(scores: FloatArray, wanted: IdArray) -> Transported:
    """Assign photos to labels.

    Args:
        scores: float32 (n, a), probabilities.
        wanted: int64 (a,), photos of each label; they add up to n.

    Raises:
        TooManyScores: n · a is more than `MAX_SCORES`.
    """
    n, n_answers = scores.shape
    if n * n_answers > MAX_SCORES:
        raise TooManyScores(photos=n, answers=n_answers, limit=MAX_SCORES)
    potentials = np.full(n_answers, -np.inf)
    there = np.flatnonzero(wanted)
    if not len(there):
        return Transported(np.empty(0, dtype=np.int64), potentials)
    # Labels by photos: numpy reduces a few long rows much faster than many short ones.
    likely = np.ascontiguousarray(scores.T[there])
    np.log(np.maximum(likely, _TINY, out=likely), out=likely)
    wanted = wanted[there]
    found = _start(likely, wanted / n)
    answers = _best(likely, found)
    excess = int(np.maximum(np.bincount(answers, minlength=len(there)) - wanted, 0).sum())
    if excess * (n + 8 * len(there) ** 2) <= _EXCHANGE_WORK:
        exchange = _Exchange(likely, found, wanted, answers)
        exchange.settle()
        answers, found = exchange.answers, exchange.central()
    else:
        _hand_over(likely, found, wanted, answers)
    potentials[there] = found
    return Transported(there[answers], potentials)


def reweighted(scores: FloatArray, found: Transported) -> FloatArray:
    """Scores under the potentials, which add up to 1 and of which the assigned one is the largest: float32 (n, a)."""
    with np.errstate(under="ignore"):
        values = np.log(np.maximum(scores, _TINY)) + found.potentials.astype(np.float32)
        values -= values.max(axis=1, keepdims=True, initial=-np.inf)
        np.exp(values, out=values)
        values /= values.sum(axis=1, keepdims=True)
    # Of photos that are just as likely, only some may get a label.
    rows = np.arange(len(values))
    best = values.max(axis=1, initial=0)
    tied = np.flatnonzero(values.argmax(axis=1) != found.answers) if len(values) else rows
    values[tied, found.answers[tied]] = np.nextafter(best[tied], np.float32(2))
    return values


def _start(likely: FloatArray, shares: Doubles) -> Doubles:
    """Potentials under which the labels' shares are nearly right, by Sinkhorn's iteration with ever less entropy."""
    n_answers, n = likely.shape
    few = np.ascontiguousarray(likely[:, :: max(1, n // _SAMPLE)])
    potentials = np.zeros(n_answers)
    wanted = np.log(shares)
    for entropy in _ENTROPIES:
        for _ in range(_LAST_ROUNDS if entropy == _ENTROPIES[-1] else _ROUNDS):
            potentials += entropy * (wanted - np.log(_soft_shares(few, potentials, entropy)))
    rounds = 0 if few.shape == likely.shape else min(_MOST_FULL, max(_LEAST_FULL, _FULL_WORK // likely.size))
    for _ in range(rounds):
        potentials += entropy * (wanted - np.log(_soft_shares(likely, potentials, entropy)))
    centred: Doubles = potentials - potentials.mean()
    return centred


def _soft_shares(likely: FloatArray, potentials: Doubles, entropy: float) -> Doubles:
    """The mean over photos of the softmax of (log p + potentials) / entropy: float64 (a,)."""
    n_answers, n = likely.shape
    total = np.zeros(n_answers)
    step = max(1, _BLOCK // n_answers)
    scale, shift = np.float32(1 / entropy), (potentials / entropy).astype(np.float32)[:, None]
    with np.errstate(under="ignore"):
        for start in range(0, n, step):
            values = likely[:, start : start + step] * scale
            values += shift
            values -= values.max(axis=0)
            np.exp(values, out=values)
            total += values @ (1 / values.sum(axis=0))
    found: Doubles = np.maximum(total / n, 1e-30)
    return found


def _best(likely: FloatArray, potentials: Doubles) -> IdArray:
    """The best label of each photo under the potentials: int64 (n,)."""
    n_answers, n = likely.shape
    answers = np.empty(n, dtype=np.int64)
    step = max(1, _BLOCK // n_answers)
    shift = potentials.astype(np.float32)[:, None]
    for start in range(0, n, step):
        (likely[:, start : start + step] + shift).argmax(axis=0, out=answers[start : start + step])
    return answers


def _hand_over(likely: FloatArray, potentials: Doubles, wanted: IdArray, answers: IdArray) -> None:
    """Give photos of labels that have too many to labels that have too few, what costs least first; changes `answers`.

    Each costs next to nothing under potentials that are nearly right, so the plan is nearly the best.
    """
    excess = np.bincount(answers, minlength=len(wanted)) - wanted
    too_few = np.flatnonzero(excess < 0)
    photos = np.flatnonzero(excess[answers] > 0)
    shift = potentials.astype(np.float32)
    here = likely[answers[photos], photos] + shift[answers[photos]]
    costs = np.stack([here - likely[label, photos] - shift[label] for label in too_few.tolist()])
    # More than that are never needed of a label, however many others want its cheapest ones.
    most = min(costs.size, 8 * int(-excess[too_few].sum()) + 10_000)
    while (excess < 0).any():
        cheapest = np.argpartition(costs, most - 1, axis=None)[:most]
        cheapest = cheapest[np.argsort(costs.ravel()[cheapest], kind="stable")]
        for to, which in zip(*(one.tolist() for one in np.unravel_index(cheapest, costs.shape)), strict=True):
            photo, label = photos[which], too_few[to]
            former = answers[photo]
            if excess[label] < 0 < excess[former] and former not in too_few:
                answers[photo] = label
                excess[former] -= 1
                excess[label] += 1
        most = costs.size


class _Exchange:
    """Photos that change their labels, one path at a time, until every label has its quota.

    `loss[j, k]` is what it costs to give one photo of label j to label k: the smallest log p_j - log p_k of its photos.
    With the potentials w added, ``loss[j, k] + w[j] - w[k]`` is never negative: then no exchange makes the assignment
    better (complementary slackness).
    """

    def __init__(self, likely: FloatArray, potentials: Doubles, wanted: IdArray, answers: IdArray) -> None:
        self._likely, self._potentials, self._wanted, self.answers = likely, potentials, wanted, answers
        self._n_answers = len(wanted)
        self._loss = np.full((self._n_answers, self._n_answers), np.inf)
        self._by = np.zeros((self._n_answers, self._n_answers), dtype=np.int64)
        every = np.arange(self._n_answers)
        for label in range(self._n_answers):
            self._look(label, every)

    def settle(self) -> None:
        """Exchange photos until the quotas are kept."""
        excess = np.bincount(self.answers, minlength=self._n_answers) - self._wanted
        while (excess > 0).any():
            path = self._path(excess)
            moving = [int(self._by[one, other]) for one, other in pairwise(path)]
            excess[path[0]] -= 1
            excess[path[-1]] += 1
            for photo, label in zip(moving, path[1:], strict=True):
                self._move(photo, label)

    def central(self) -> Doubles:
        """Potentials in the midst of those under which the assignment is the best, with a mean of 0: float64 (a,).

        At the edge, photos would be just as likely under two labels.
        """
        distance = self._loss.copy()
        np.fill_diagonal(distance, 0)
        for middle in range(self._n_answers):
            np.minimum(distance, distance[:, middle, None] + distance[middle], out=distance)
        # Each row, and each column turned round, is a solution; so is their mean.
        found = (distance.mean(axis=0) - distance.mean(axis=1)) / 2
        centred: Doubles = found - found.mean()
        return centred

    def _path(self, excess: IdArray) -> list[int]:
        """Labels from one with too many photos to one with too few, along which an exchange costs least."""
        reduced = np.maximum(self._loss + self._potentials[:, None] - self._potentials, 0)
        distance = np.where(excess > 0, 0.0, np.inf)
        before = np.full(self._n_answers, -1, dtype=np.int64)
        reached = np.flatnonzero(excess > 0)
        while len(reached):
            through = distance[reached, None] + reduced[reached]
            nearest = through.argmin(axis=0)
            length = through[nearest, np.arange(self._n_answers)]
            better = length < distance
            distance[better], before[better] = length[better], reached[nearest[better]]
            reached = np.flatnonzero(better)
        end = int(np.where(excess < 0, distance, np.inf).argmin())
        self._potentials = self._potentials + np.minimum(distance, distance[end])
        path = [end]
        while before[path[-1]] >= 0:
            path.append(int(before[path[-1]]))
        return path[::-1]

    def _move(self, photo: int, label: int) -> None:
        former = int(self.answers[photo])
        self.answers[photo] = label
        self._look(former, np.flatnonzero(self._by[former] == photo))
        row = self._likely[:, photo].astype(np.float64)
        loss = row[label] - row
        better = loss < self._loss[label]
        better[label] = False
        self._loss[label, better], self._by[label, better] = loss[better], photo

    def _look(self, label: int, others: IdArray) -> None:
        """Find the photos of a label that would be given to others."""
        photos = np.flatnonzero(self.answers == label)
        others = others[others != label]
        if not len(photos):
            self._loss[label, others] = np.inf
            return
        here = self._likely[label, photos].astype(np.float64)
        losses = here - self._likely[np.ix_(others, photos)]
        best = losses.argmin(axis=1)
        self._loss[label, others], self._by[label, others] = losses[np.arange(len(others)), best], photos[best]

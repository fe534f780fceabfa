"""Which of several ways of asking is right most often, from the photos that tell most. Arrays in, arrays out.

Where two candidates give a photo the same answer, nobody needs to look: it cannot make one of them better. So what is
to be known is, for each two candidates, the sum of +1 (only the first is right), -1 (only the second) and 0 over the
photos on which they differ. That is an audit of an election: photos are drawn at random among those that still matter,
and a wager against "the second is better by more than `within`" grows by what is seen. Its expected value never exceeds
its stake while that is true, whatever was drawn before, so that it reaches 1 / alpha with a probability of at most
alpha (Ville 1939), however often one looks. docs/methods.md has formulas and sources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from zsindex.records import IdArray

Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]

# What shares of the largest safe stake are wagered, in equal parts: nobody has to know beforehand which one is best.
_STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.65, 0.9])
# Differences that an interval is sought among.
_GRID = 201


@dataclass(frozen=True, slots=True)
class Duel:
    """The leader of a choice and another candidate.

    Attributes:
        candidate, other: their names.
        differ: photos on which their answers differ; on all others they are equally right.
        looked_at: number of these that a person looked at.
        won, lost: those of them on which only the candidate is right, or only the other.
        difference: estimated difference in accuracy over all photos, candidate minus other.
        low, high: between these it lies, with the stated confidence for every two candidates together, at any time.
            That is more than naming the best takes: `low` may be a little below minus `within` when it is known.
    """

    candidate: str
    other: str
    differ: int
    looked_at: int
    won: int
    lost: int
    difference: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Standing:
    """What is known of a choice.

    Attributes:
        candidates: their names.
        named: the candidate of which it is known, with `confidence`, that none is better by more than `within`; None if
            there is none yet.
        leader: that one; before it is known, the one that seems best.
        contenders: those that may still be the best, the leader among them.
        photos: number of different photos that the choice is about; `differ` of those on which not all candidates give
            the same answer.
        looked_at: photos that a person looked at, `unsure` of them without being able to tell.
        exhausted: whether no photo is left that could tell more.
        duels: the leader with each other candidate.
    """

    candidates: tuple[str, ...]
    named: str | None
    leader: str
    contenders: tuple[str, ...]
    confidence: float
    within: float
    photos: int
    differ: int
    looked_at: int
    unsure: int
    exhausted: bool
    duels: tuple[Duel, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        document = asdict(self)
        lists = {name: list(document[name]) for name in ("candidates", "contenders")}
        return {**document, **lists, "duels": [duel.to_dict() for duel in self.duels]}


class Race:
    """Candidates, the photos on which they differ, and what was said about them.

    Attributes:
        photos: number of all photos, also those on which all candidates agree.
        differ: number of photos on which some differ.
        looked_at: number of answers.
        confidence, within: as given.
    """

    def __init__(self, answers: IdArray, *, confidence: float = 0.95, within: float = 0.0, seed: int = 0) -> None:
        """A race without any look yet.

        Args:
            answers: int64 (n, h), of n photos by h ≥ 2 candidates; equal numbers in a row mean the same answer.
            confidence: with which the best is to be known, in (0, 1).
            within: candidates that are no more than this apart count as equally good, in [0, 1).
            seed: of the draws.
        """
        self.photos, self._h = answers.shape
        self.confidence, self.within = confidence, within
        self._seed = seed
        self._bar = math.log((self._h - 1) / (1 - confidence))
        # Intervals hold for each two candidates from both sides at once, whoever leads.
        self._interval_bar = math.log(self._h * (self._h - 1) / (1 - confidence))
        # The largest number of photos by which "the other is better by more than `within`" can be true, as a sum.
        self._null = -(math.floor(within * self.photos + 1e-9) + 1)
        # Photos are the same for this if the same candidates agree on them: (n,) numbers of kinds.
        first = (answers[:, :, None] == answers[:, None, :]).argmax(axis=2)
        kinds, kind = np.unique(first, axis=0, return_inverse=True)
        self._kind: IdArray = kind.reshape(-1).astype(np.int64)
        self._apart: Bools = kinds[:, :, None] != kinds[:, None, :]  # (kinds, h, h)
        self._left = np.bincount(self._kind, minlength=len(kinds)).astype(np.int64)
        self._open = np.ones(self.photos, dtype=bool)
        self.differ = int(self._left[self._apart.any(axis=(1, 2))].sum())
        self._n_apart = self._pairs(self._left)
        self._left_apart = self._n_apart.copy()
        self.looked_at = self._unsure = 0
        shape = (self._h, self._h)
        # The sums, from below: what nobody could tell counts against the first of each two.
        self._sum = np.zeros(shape, dtype=np.int64)
        self._won = np.zeros(shape, dtype=np.int64)
        self._seen = np.zeros(shape, dtype=np.int64)
        self._wealth = np.zeros((*shape, len(_STAKES)))
        # Of each look: what it counted, for which pairs, how many photos of these were left, and the sums before it.
        self._looks: list[tuple[IdArray, Bools, IdArray, IdArray]] = []
        self._shown = np.zeros(shape, dtype=bool)
        self._judge()

    # --- what is known ------------------------------------------------------------------------------------------------

    @property
    def named(self) -> int | None:
        """The candidate of which it is known that none is better by more than `within`; None if there is none yet."""
        [known] = np.nonzero(self._shown.all(axis=1))
        return int(known[np.argmax(self._standing()[known])]) if len(known) else None

    @property
    def leader(self) -> int:
        """The named candidate; before there is one, the best as far as was seen."""
        named = self.named
        return int(np.argmax(self._standing())) if named is None else named

    @property
    def contenders(self) -> tuple[int, ...]:
        """Candidates that may still be better than the leader by more than `within`, and the leader."""
        leader = self.leader
        return tuple(h for h in range(self._h) if h == leader or not self._shown[leader, h])

    def standing(self, names: Sequence[str]) -> Standing:
        """All of that, with the names of the candidates."""
        leader, named = self.leader, self.named
        return Standing(
            candidates=tuple(names),
            named=None if named is None else names[named],
            leader=names[leader],
            contenders=tuple(names[one] for one in self.contenders),
            confidence=self.confidence,
            within=self.within,
            photos=self.photos,
            differ=self.differ,
            looked_at=self.looked_at,
            unsure=self._unsure,
            exhausted=self.next() is None,
            duels=tuple(self._duel(leader, other, names) for other in range(self._h) if other != leader),
        )

    def _duel(self, one: int, other: int, names: Sequence[str]) -> Duel:
        low, high = self._interval(one, other)
        left = self._left_apart[one, other]
        return Duel(
            names[one],
            names[other],
            differ=int(self._n_apart[one, other]),
            looked_at=int(self._seen[one, other]),
            won=int(self._won[one, other]),
            lost=int(self._won[other, one]),
            difference=float(self._known()[one, other] + self._means()[one, other] * left) / max(1, self.photos),
            low=low / max(1, self.photos),
            high=high / max(1, self.photos),
        )

    def _interval(self, one: int, other: int) -> tuple[float, float]:
        """Between what the sum of a duel lies: the differences that no wager from either side has refuted."""
        return self._at_least(one, other), -self._at_least(other, one)

    def _at_least(self, one: int, other: int) -> float:
        """How much better `one` is than `other` at least, as a sum: by what is counted, or by what is refuted."""
        return max(float(self._sum[one, other] - self._left_apart[one, other]), self._refuted(one, other))

    def _refuted(self, one: int, other: int) -> float:
        """The largest difference of which it is refuted that `one` is no better than that, on a grid."""
        looks = [look for look in self._looks if look[1][one, other]]
        if not looks:
            return -math.inf
        gain, left, known = (
            np.array([look[part][one, other] for look in looks], dtype=np.int64)[:, None] for part in (0, 2, 3)
        )
        tried = np.linspace(-1, 1, _GRID) * self._n_apart[one, other]
        wealth = _steps(gain, left, known, tried).sum(axis=0)
        # What is refuted for a difference is refuted for a smaller one; the grid is rising.
        [at] = np.nonzero(_mean_log(wealth) >= self._interval_bar)
        return float(tried[at.max()]) if len(at) else -math.inf

    def _standing(self) -> Floats:
        """How much better each candidate seems than the others together: (h,)."""
        standing: Floats = (self._known() + self._means() * self._left_apart).sum(axis=1)
        return standing

    def _known(self) -> IdArray:
        """By how many photos each candidate is ahead of each other one, of those that were told: int64 (h, h)."""
        return self._won - self._won.T

    def _means(self) -> Floats:
        """What a photo of each two that was not seen counts, as estimated from those that were: (h, h)."""
        means: Floats = self._known() / (self._seen + 1)
        return means

    def _pairs(self, counts: IdArray) -> IdArray:
        """Photos by kind, as photos on which each two differ: int64 (h, h)."""
        return np.tensordot(counts, self._apart.astype(np.int64), axes=1)

    # --- the next photo -----------------------------------------------------------------------------------------------

    def next(self) -> int | None:
        """The photo to look at: drawn among those that can still tell something about the leader; None if it is named,
        or none is left. The same until it is answered.
        """
        if self.named is not None:
            return None
        [rows] = np.nonzero(self._matters[self._kind] & self._open)
        if not len(rows):
            return None
        random = np.random.default_rng([self._seed, self.looked_at])
        return int(rows[random.integers(len(rows))])

    def _useful(self) -> Bools:
        """The kinds of photos that can tell whether the leader is the best: (kinds,)."""
        leader = self.leader
        useful: Bools = (self._apart[:, leader] & ~self._shown[leader]).any(axis=1)
        return useful

    def take(self, photo: int, right: Sequence[bool] | Bools | None) -> None:
        """Take what a person says about a photo that `next` gave.

        Args:
            right: (h,), which candidates' answers are right; equal answers are equally right. None if the person cannot
                tell: then the photo counts against every candidate, so that nothing is promised that hangs on it.

        Raises:
            ValueError: the photo was answered before, or two equal answers are said to be unequal.
        """
        if not self._open[photo]:
            raise ValueError(f"photo {photo} was answered before")
        kind = int(self._kind[photo])
        apart = self._apart[kind]
        if right is None:
            gain = -apart.astype(np.int64)
            self._unsure += 1
        else:
            said = np.asarray(right, dtype=np.int64)
            gain = said[:, None] - said[None, :]
            if (gain[~apart] != 0).any():
                raise ValueError("the same answer cannot be right and wrong")
            self._won += gain > 0
        self._wager(kind, gain)
        self._open[photo] = False
        self._left[kind] -= 1
        self._left_apart -= apart
        self._sum += gain
        self._seen += apart
        self.looked_at += 1
        self._judge()

    def _wager(self, kind: int, gain: IdArray) -> None:
        """Win or lose what was wagered on each two candidates, before the sums know of the photo."""
        # A wager is fair only for pairs whose photos were all among those that the draw was from.
        outside = self._pairs(np.where(self._matters, 0, self._left))
        plays = self._apart[kind] & (outside == 0)
        self._looks.append((gain, plays, self._left_apart.copy(), self._sum.copy()))
        self._wealth += np.where(
            plays[..., None], _steps(gain, self._left_apart, self._sum, np.float64(self._null)), 0.0
        )

    def _judge(self) -> None:
        """Which candidates are known not to be worse than which."""
        least = self._sum - self._left_apart
        self._shown |= (_mean_log(self._wealth) >= self._bar) | (least > self._null)
        np.fill_diagonal(self._shown, True)
        self._matters = self._useful()


def _steps(gain: IdArray, left: IdArray, known: IdArray, tried: Floats | np.float64) -> Floats:
    """By what the logarithm of the wealth of each stake grows with a look: (..., stakes), shapes broadcast.

    Args:
        gain: what it counted, -1, 0 or 1.
        left: photos that it was drawn from, before it.
        known: the sum of what those before it counted.
        tried: the sum over all photos that is wagered against.
    """
    # What a photo that is left would count on average, and what this one counted; in [0, 1] rather than [-1, 1].
    usual = ((tried - known) / np.maximum(left, 1) + 1) / 2
    seen = (gain + 1) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        # Less than nothing cannot be, and is refuted; nothing is by the first photo that counts anything.
        ratio = np.where(usual > 0, seen / usual, np.where((usual == 0) & (seen == 0), 1.0, np.inf))
        # More than all cannot be refuted.
        grown: Floats = np.where((usual >= 1)[..., None], 0.0, np.log(1 + _STAKES * (ratio[..., None] - 1)))
    return grown


def _mean_log(logs: Floats) -> Floats:
    """The logarithm of the mean over the last axis."""
    top = logs.max(axis=-1)
    with np.errstate(invalid="ignore"):
        spread = np.exp(np.where(np.isinf(top)[..., None], 0.0, logs - top[..., None]))
    found: Floats = top + np.log(spread.mean(axis=-1))
    return found

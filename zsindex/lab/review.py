"""Finding all photos that show something, with a promise: which photo to look at next, and when enough were seen.

A person looks at photos in the order of a ranking that learns from the answers, and at others drawn by chance. The
photos drawn by chance are the target set of Cormack and Grossman (2016): the ranking must come upon those of them that
show it by itself, and so tells how much of the rest it has come upon. docs/methods.md has the rule, its proof, and how
it differs from the papers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from zsindex.index.vectors import VectorTable, blocks
from zsindex.records import FloatArray, IdArray

Bools: TypeAlias = npt.NDArray[np.bool_]
Doubles: TypeAlias = npt.NDArray[np.float64]

# Of the probability of a false promise, what is kept for promises of less than was asked: for who stops before the end.
FOR_LESS = 0.1
LESS = (0.5, 0.6, 0.7, 0.8, 0.9)
# At most so many of the photos drawn by chance that show it may lie where the ranking has not come to.
MOST_AHEAD = 20
# As many may, as keep the photos drawn by chance below this share of those that the ranking led to.
CHANCE_PER_RANKED = 0.4
# The ranking learns anew after so many photos, or this share of those it was followed through.
BATCH, GROWTH = 10, 0.1
# How much it finds is judged by its last photos: so many, or this share of all.
WINDOW, WINDOW_SHARE = 20, 0.1
# While more than every second photo shows it, the ranking is followed.
RICH = 0.5


# --- the promise ------------------------------------------------------------------------------------------------------


def may_be_missing(found: int, recall: float) -> int:
    """The largest number of photos not found with which those found are at least a share `recall` of all."""
    return math.floor(found / recall - found + 1e-9)


@lru_cache(maxsize=2**14)
def needed(photos: int, found: int, ahead: int, recall: float, alpha: float) -> int:
    """How many photos must be drawn by chance to promise a recall.

    The smallest n for which ``P(X ≤ k) ≤ α``, where X is hypergeometric: how many of ``k + M + 1`` given photos are
    among n drawn from N, and M is what may be missing.

    Args:
        photos: N, all of them.
        found: those found that show it, wherever they were found.
        ahead: k, of those drawn by chance that show it, how many the ranking may not have come to.
        recall, alpha: in (0, 1).

    Returns:
        In [0, N]; N where nothing less does, also if fewer than `ahead` were found.
    """
    last = ahead + may_be_missing(found, recall) + 1
    if found < ahead or last > photos:
        return photos
    low, high = 0, photos
    while low < high:
        middle = (low + high) // 2
        if _at_most(ahead, photos, last, middle) <= alpha:
            high = middle
        else:
            low = middle + 1
    return low


def _at_most(k: int, photos: int, marked: int, drawn: int) -> float:
    """Of photos of which some are marked and some are drawn by chance, that at most k are both: the probability."""
    all_ways = _ways(photos, marked)
    least = max(0, marked + drawn - photos)
    return math.fsum(
        math.exp(_ways(drawn, both) + _ways(photos - drawn, marked - both) - all_ways)
        for both in range(least, min(k, marked, drawn) + 1)
    )


def _ways(n: int, k: int) -> float:
    """The logarithm of ``n`` over ``k``."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


# --- the ranking ------------------------------------------------------------------------------------------------------


class Ranking(Protocol):
    """Which photos most likely show it, in the light of some answers."""

    def __len__(self) -> int: ...

    def scores(self, seen: IdArray, shows: Bools) -> FloatArray:
        """Higher is likelier.

        Args:
            seen: numbers of photos with an answer, int64 (m,); none to begin with.
            shows: bool (m,), the answers.

        Returns:
            float32 (n,), of all photos.
        """
        ...


# The mean of what shows it, and of what does not, is estimated as if so many more photos had been average ones.
AVERAGE_SHOWING, AVERAGE_OTHERS = 1.0, 5.0
# What is added to the covariance of the photos, in units of its mean eigenvalue.
RIDGE = 3.0
# What answers weigh against words in the end; half of it once this many photos were found.
ANSWERS, HALF_AT = 2.0, 3.0
# Number of photos that the covariance is estimated from.
SAMPLE = 16_384


@dataclass(frozen=True)
class DiscriminantRanking:
    """Words, and a linear discriminant of the answers: ``z(words) + a · z((μ₊ - μ₋)ᵀ (Σ + r I)⁻¹ x)``.

    z standardises over the photos, Σ is the covariance of all photos, μ₊ and μ₋ are the means of those that show it and
    of those that do not, drawn towards the average, and a grows with the number that were found.

    Attributes:
        vectors: of the library.
        rows: int64 (n,), of the photos, in it.
        words: float32 (n,), z(words).
        mean: float64 (dim,), of the photos.
        precision: float64 (dim, dim), ``(Σ + r I)⁻¹``.
    """

    vectors: VectorTable
    rows: IdArray
    words: FloatArray
    mean: Doubles
    precision: Doubles

    @classmethod
    def of(cls, vectors: VectorTable, rows: IdArray, words: FloatArray) -> DiscriminantRanking:
        """From a score of the words, float32 (n,): higher is likelier."""
        some = rows[:: max(1, -(-len(rows) // SAMPLE))]
        dim = vectors.dim
        total, products = np.zeros(dim), np.zeros((dim, dim))
        for _, block in blocks(vectors, some):
            total += block.sum(axis=0, dtype=np.float64)
            products += block.T @ block
        mean = total / max(1, len(some))
        covariance = products / max(1, len(some)) - np.outer(mean, mean)
        ridge = max(RIDGE * float(np.trace(covariance)) / dim, 1e-9)
        precision = np.asarray(np.linalg.inv(covariance + ridge * np.eye(dim)), dtype=np.float64)
        return cls(vectors, rows, _standard(words), mean, precision)

    def __len__(self) -> int:
        return len(self.rows)

    def scores(self, seen: IdArray, shows: Bools) -> FloatArray:
        """See `Ranking`."""
        found = int(shows.sum())
        if not found:
            return self.words
        x = self.vectors.take(self.rows[seen]).astype(np.float64) - self.mean
        showing = x[shows].sum(axis=0) / (found + AVERAGE_SHOWING)
        others = x[~shows].sum(axis=0) / (len(seen) - found + AVERAGE_OTHERS)
        direction = (self.precision @ (showing - others)).astype(np.float32)
        by_answers = np.empty(len(self), dtype=np.float32)
        for where, block in blocks(self.vectors, self.rows):
            by_answers[where] = block @ direction
        weight = np.float32(ANSWERS * found / (found + HALF_AT))
        scores: FloatArray = self.words + weight * _standard(by_answers)
        return scores


def _standard(values: FloatArray) -> FloatArray:
    """With mean 0 and standard deviation 1."""
    if not len(values):
        return values
    spread = float(values.std(dtype=np.float64))
    return np.asarray((values - values.mean(dtype=np.float64)) / (spread or 1.0), dtype=np.float32)


def by_chance(digests: Sequence[bytes], seed: str) -> IdArray:
    """Photos in an order by chance, which is the same in every library that holds them: numbers, int64 (n,).

    Args:
        digests: of the images.
        seed: another one gives another order.
    """
    key = blake2b(seed.encode(), digest_size=32).digest()
    keys = np.array(
        [int.from_bytes(blake2b(one, digest_size=8, key=key).digest(), "little") for one in digests], dtype=np.uint64
    )
    return np.argsort(keys, kind="stable").astype(np.int64)


# --- looking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReviewState:
    """How far a review is.

    Attributes:
        photos: all that it is about; copies of a photo count once.
        looks: of them, those with an answer.
        found: of those, the ones that show it.
        unsure: looks at which the person could not tell; they count as not showing it.
        recall, confidence: what was asked for.
        reached: whether that may be promised.
        promise: the recall that may be promised now, with this confidence; None: none yet. 1: all were looked at.
        at_most_missing: how many at most were not found, by that promise.
        by_chance: photos drawn by chance that have an answer, those that the ranking found first included.
        by_chance_needed: how many that takes, if no more are found; None: it is too early to say.
        ahead, ahead_allowed: photos drawn by chance that show it and that the ranking did not come to by itself; and
            with how many a promise can be made, None: it is too early to say.
        looks_left: a guess, from below: looks until the recall asked for can be promised.
    """

    photos: int
    looks: int
    found: int
    unsure: int
    recall: float
    confidence: float
    reached: bool
    promise: float | None
    at_most_missing: int | None
    by_chance: int
    by_chance_needed: int | None
    ahead: int
    ahead_allowed: int | None
    looks_left: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Certificate:
    """What may be said of a review, and what it rests on.

    Attributes:
        statement: the promise in a sentence; or that there is none yet.
        survey: the number of the survey that keeps the looks.
        question: the label and what decides which photos are shown, as the survey has it.
        model: the model's name.
        standing: looks, found, bounds.
        begun_at, at: ISO dates and times: of the first look, and of this certificate.
    """

    statement: str
    survey: int
    question: Mapping[str, Any]
    model: str
    standing: ReviewState
    begun_at: str
    at: str

    @property
    def reached(self) -> bool:
        """Whether it promises what was asked for."""
        return self.standing.reached

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "statement": self.statement,
            "survey": self.survey,
            "question": dict(self.question),
            "model": self.model,
            **self.standing.to_dict(),
            "begun_at": self.begun_at,
            "at": self.at,
        }


def statement(label: str, now: ReviewState) -> str:
    """What may be said now, in words."""
    seen = f"{now.looks:,} of {now.photos:,} photos looked at, {now.found:,} found"
    if now.unsure:
        seen += f"; of {now.unsure:,} nobody could tell, and they count as not showing it"
    if now.promise == 1:
        return f"All photos were looked at for {label!r}: {seen}."
    if now.promise is None:
        return f"Nothing can be promised yet for {label!r}: {seen}."
    sure = f"with {_percent(now.confidence)} confidence"
    if not now.found:
        return f"No photo shows {label!r}, {sure}: {seen}."
    return f"At least {_percent(now.promise)} of the photos that show {label!r} have been seen, {sure}: {seen}."


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


class Review:
    """Which photo to look at next, and what may be promised. All that it says follows from the ranking, the order by
    chance and the answers: it does not matter in which order they were given, or why.

    The ranking never learns from a photo that chance drew before it comes to that photo itself.
    """

    def __init__(self, ranking: Ranking, chance: IdArray, *, recall: float = 0.95, confidence: float = 0.95) -> None:
        """A review without answers.

        Args:
            ranking: of n photos.
            chance: int64 (n,), their numbers in an order by chance, of which the ranking knows nothing.
            recall, confidence: in (0, 1).
        """
        self._ranking = ranking
        self._chance = chance
        self._recall = recall
        self._confidence = confidence
        n = len(ranking)
        self._place = np.argsort(chance)
        self._answered = np.zeros(n, dtype=np.bool_)
        self._shows = np.zeros(n, dtype=np.bool_)
        self._unsure: set[int] = set()
        self._looks = self._found = 0
        # The ranking so far: batches of photos, each with how many there were before it; and how far it was followed.
        self._batches: list[tuple[int, IdArray]] = []
        self._followed: list[int] = []
        self._was_followed = np.zeros(n, dtype=np.bool_)
        # Of the photos followed, how many show it up to each.
        self._so_far: list[int] = []
        # How many were followed when the ranking was thought to be nearly exhausted, and k.
        self._turned_at: int | None = None
        self._ahead_allowed = 0
        # How many of the order by chance have an answer, without a gap; and of them, those ahead of the ranking.
        self._drawn = self._ahead = 0

    def __len__(self) -> int:
        return len(self._answered)

    # --- answers ------------------------------------------------------------------------------------------------------

    def answer(self, photo: int, shows: bool | None) -> None:
        """An answer about a photo, by number; None: the person could not tell. In place of an earlier one."""
        if self._answered[photo]:
            self.take_back(photo)
        self._answered[photo] = True
        self._shows[photo] = bool(shows)
        if shows is None:
            self._unsure.add(photo)
        self._looks += 1
        self._found += bool(shows)

    def take_back(self, photo: int) -> None:
        """Take an answer back. The ranking is as it was before it came to this photo."""
        if not self._answered[photo]:
            return
        self._looks -= 1
        self._found -= int(self._shows[photo])
        self._unsure.discard(photo)
        self._answered[photo] = self._shows[photo] = False
        if self._was_followed[photo]:
            at = self._followed.index(photo)
            self._was_followed[self._followed[at:]] = False
            del self._followed[at:], self._so_far[at:]
            while self._batches and self._batches[-1][0] > at:
                self._batches.pop()
            if self._turned_at is not None and self._turned_at > at:
                self._turned_at = None
        self._drawn = self._ahead = 0

    def _catch_up(self) -> int | None:
        """Follow the ranking, and the order by chance, through all that has an answer; the ranking's next, if any."""
        while (upcoming := self._upcoming()) is not None and self._answered[upcoming]:
            self._followed.append(upcoming)
            self._was_followed[upcoming] = True
            shows = int(self._shows[upcoming])
            self._so_far.append((self._so_far[-1] if self._so_far else 0) + shows)
            self._ahead -= shows * int(self._place[upcoming] < self._drawn)
            if self._turned_at is None:
                self._turn()
        while self._drawn < len(self) and self._answered[drawn := self._chance[self._drawn]]:
            self._drawn += 1
            self._ahead += int(self._shows[drawn] and not self._was_followed[drawn])
        return upcoming

    def _upcoming(self) -> int | None:
        n = len(self._followed)
        if n == len(self):
            return None
        if not self._batches or n == self._batches[-1][0] + len(self._batches[-1][1]):
            self._batches.append((n, self._batch(max(BATCH, math.ceil(n * GROWTH)))))
        start, batch = self._batches[-1]
        return int(batch[n - start])

    def _batch(self, size: int) -> IdArray:
        seen = np.array(self._followed, dtype=np.int64)
        scores = self._ranking.scores(seen, self._shows[seen])
        left = np.flatnonzero(~self._was_followed)
        values = -scores[left]
        if size < len(left):
            nearest = np.argpartition(values, size - 1)[:size]
            # Those as good as the last are all looked at, so that the order does not depend on the partition.
            tied = np.flatnonzero(values <= values[nearest].max())
            left, values = left[tied], values[tied]
        return left[np.argsort(values, kind="stable")][:size].astype(np.int64)

    # --- what next ----------------------------------------------------------------------------------------------------

    @property
    def _alpha(self) -> float:
        return (1 - self._confidence) * (1 - FOR_LESS)

    def _needed(self, found: int, ahead: int) -> int:
        return needed(len(self), found, ahead, self._recall, self._alpha)

    def _is_worth_following(self, found: int, ahead: int) -> bool:
        """Whether a look at the ranking's next saves more looks at photos drawn by chance than it costs."""
        n = len(self._followed)
        window = min(n, max(WINDOW, math.ceil(n * WINDOW_SHARE)))
        before = self._so_far[n - window - 1] if n > window else 0
        hits = (self._so_far[-1] if n else 0) - before
        share = (hits + 0.5) / (window + 1)
        step = math.ceil(self._recall / (1 - self._recall))
        saved = (self._needed(found, ahead) - self._needed(found + step, ahead)) / step
        return share * saved > 1

    def _turn(self) -> None:
        """Whether the ranking is nearly exhausted; if it is, how many targets may be ahead of it.

        Of what is known, only what the ranking came to may decide this: chance must have no part in k.
        """
        n, found = len(self._followed), self._so_far[-1]
        if n < min(WINDOW, len(self)):
            return
        window = max(WINDOW, math.ceil(n * WINDOW_SHARE))
        rich = found - (self._so_far[n - window - 1] if n > window else 0) > RICH * min(window, n)
        if rich or self._is_worth_following(found, 0):
            return
        self._turned_at = n
        self._ahead_allowed = 0
        for ahead in range(1, min(MOST_AHEAD, found) + 1):
            if self._needed(found, ahead) > CHANCE_PER_RANKED * n:
                break
            self._ahead_allowed = ahead

    def _may_promise(self) -> bool:
        return self._turned_at is not None and self._ahead <= self._ahead_allowed and self._ahead_allowed <= self._found

    def upcoming(self) -> tuple[int, str] | None:
        """The photo to look at next, and why: ``ranking`` or ``chance``. None: all were looked at, or what was asked
        for can be promised.
        """
        ranked = self._catch_up()
        if self._looks == len(self):
            return None
        if self._turned_at is not None:
            short = self._drawn < self._needed(self._found, self._ahead_allowed)
            if self._may_promise():
                if not short:
                    return None
                if not self._is_worth_following(self._found, self._ahead_allowed):
                    return int(self._chance[self._drawn]), "chance"
        if ranked is None:
            return int(self._chance[self._drawn]), "chance"
        return ranked, "ranking"

    def standing(self) -> ReviewState:
        """How far it is."""
        self._catch_up()
        promise = self._promise()
        reached = promise is not None and promise >= self._recall
        turned = self._turned_at is not None
        wanted = self._needed(self._found, self._ahead_allowed) if turned else None
        chance_left = 0
        if not reached:
            lacking = wanted if wanted is not None else self._needed(max(self._found, 1), 0)
            chance_left = int(np.count_nonzero(~self._answered[self._chance[:lacking]]))
        return ReviewState(
            photos=len(self),
            looks=self._looks,
            found=self._found,
            unsure=len(self._unsure),
            recall=self._recall,
            confidence=self._confidence,
            reached=reached,
            promise=promise,
            at_most_missing=None if promise is None else may_be_missing(self._found, promise),
            by_chance=self._drawn,
            by_chance_needed=wanted,
            ahead=self._ahead,
            ahead_allowed=self._ahead_allowed if turned else None,
            looks_left=chance_left if chance_left or reached else 1,
        )

    def _promise(self) -> float | None:
        if self._looks == len(self):
            return 1.0
        if not self._may_promise():
            return None
        if self._drawn >= self._needed(self._found, self._ahead_allowed):
            return self._recall
        if not self._found:
            return None
        less = [one for one in LESS if one < self._recall]
        for recall in reversed(less):
            alpha = (1 - self._confidence) * FOR_LESS / len(less)
            if self._drawn >= needed(len(self), self._found, self._ahead_allowed, recall, alpha):
                return recall
        return None

    def upcoming_ones(self, most: int) -> tuple[str, list[int]] | None:
        """`upcoming`, with those behind it in the ranking until it learns anew, or in the order by chance until enough
        were drawn: photos without an answer, `most` at most, which the answers in between may make unnecessary.
        """
        first = self.upcoming()
        if first is None:
            return None
        if first[1] == "ranking":
            _, batch = self._batches[-1]
            some = batch[~self._answered[batch]]
        else:
            enough = max(self._needed(self._found, self._ahead_allowed), self._drawn + 1)
            rest = self._chance[self._drawn : enough]
            some = rest[~self._answered[rest]]
        return first[1], some[:most].tolist()

    def answered(self, photo: int) -> bool:
        """Whether a photo, by number, has an answer."""
        return bool(self._answered[photo])

    def found(self) -> Iterator[int]:
        """The photos that show it, by number."""
        return iter(np.flatnonzero(self._shows).tolist())

"""Which photos show none of the labels: how well known each photo is, and where to draw the line. Pure numpy.

Knownness is a number per photo, larger where the photo looks more like one of the labels. docs/methods.md has the
formulas and their sources. `texts` always are the vectors of a label set's concepts: those of its labels, then those of
its own negatives, which count against a photo in every method.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from zsindex.classification.rules import NATURAL_CUT, UnknownRule
from zsindex.classification.scorers import Scorer
from zsindex.classification.scores import logits
from zsindex.lab.metrics import auroc
from zsindex.records import FloatArray, IdArray

# Image vectors float32 (b, dim) to knownness float32 (b,).
KnownnessOf: TypeAlias = Callable[[FloatArray], FloatArray]

# Parameters of NegLabel, as set by its authors: the share of the vocabulary to choose, the maximum to choose, the
# percentile of similarity by which words are compared, and the size of a group (10,000 negatives in 100 groups).
SHARE, MOST, PERCENTILE, GROUP = 0.15, 10_000, 95.0, 100

# Parameters of NegRefine, as set by its authors: the nearest labels and words that a photo may match at once, and the
# weight of that. And the cosine from which a word is taken for a label where no WordNet is installed, which is ours.
MATCHES, ALPHA, SAME = 5, 2.0, 0.9

# How much photos that people called "none of these" say about others, if they tell each other surely. The sharpness is
# that of Tip-Adapter; the weight, in standard deviations of knownness, was chosen with photos (docs/lab.md).
SHARPNESS, WEIGHT = 5.5, 4.0


# --- knownness --------------------------------------------------------------------------------------------------------


def greatest_probability(texts: FloatArray, n_labels: int, *, scale: float) -> KnownnessOf:
    """The greatest softmax probability of a label: SOFTMAX at the model's own scale, MCM at 1.

    Args:
        texts: float32 (c, dim), of all concepts; the first `n_labels` are labels.
    """

    def knownness(images: FloatArray) -> FloatArray:
        values = logits(images, texts, logit_scale=scale)
        best, greatest = values[:, :n_labels].max(axis=1), values.max(axis=1)
        values -= greatest[:, None]
        totals = np.exp(values, out=values).sum(axis=1)
        probability: FloatArray = np.exp(best - greatest) / totals
        return probability

    return knownness


def far_words(texts: FloatArray, words: FloatArray, *, n: int, percentile: float = PERCENTILE) -> IdArray:
    """The words that are least like the labels: NegLabel's choice of negatives.

    A word's similarity to the labels is a percentile of its cosines with each of them. The maximum would let a single
    ambiguous label decide.

    Args:
        texts: float32 (c, dim), of the labels.
        words: float32 (v, dim), of the vocabulary.
        n: how many to choose.

    Returns:
        int64 (min(n, v),), numbers of words, farthest first; ties keep the order of the vocabulary.
    """
    similarity = np.empty(len(words))
    for start in range(0, len(words), 4096):
        part = slice(start, start + 4096)
        similarity[part] = np.percentile(words[part] @ texts.T, percentile, axis=1)
    return np.argsort(similarity, kind="stable")[:n]


def n_negatives(n_words: int) -> int:
    """How many words of a vocabulary to choose: the authors' share of it, but enough for a group."""
    return min(MOST, max(GROUP, round(SHARE * n_words)), n_words)


def labels_share(texts: FloatArray, n_labels: int, negatives: FloatArray, *, scale: float) -> KnownnessOf:
    """NEGLABEL: the labels' share of the softmax over labels and negatives, averaged over groups of the negatives.

    With groups, a few negatives that happen to fit matter less. Negatives are dealt out to the groups in turn, so that
    all groups are about equally far; leftovers are not used. A label set's own negatives are in every group.

    Args:
        texts: float32 (c, dim), of all concepts.
        negatives: float32 (m, dim), farthest first.
    """
    n_groups = max(1, len(negatives) // GROUP)
    negatives = negatives[: len(negatives) // n_groups * n_groups]

    def knownness(images: FloatArray) -> FloatArray:
        own = logits(images, texts, logit_scale=scale)
        return _mean_share(own, logits(images, negatives, logit_scale=scale), n_labels, n_groups)

    return knownness


def _mean_share(own: FloatArray, others: FloatArray, n_labels: int, n_groups: int) -> FloatArray:
    """From logits of all concepts (b, c), and of negatives (b, m), m a multiple of `n_groups`."""
    greatest = np.maximum(own.max(axis=1), others.max(axis=1, initial=-np.inf))[:, None]
    own = np.exp(own - greatest)
    labels, against = own[:, :n_labels].sum(axis=1), own[:, n_labels:].sum(axis=1)
    per_group = np.exp(others - greatest).reshape(len(own), -1, n_groups).sum(axis=1)
    total = (labels + against)[:, None] + per_group
    # A total of 0 has underflowed: the labels are that far below a negative in another group.
    shares = np.divide(labels[:, None], total, out=np.zeros_like(total), where=total > 0)
    mean: FloatArray = shares.mean(axis=1)
    return mean


def refined_words(
    labels: Sequence[str], words: Sequence[str], related: Collection[str] | None, cosines: FloatArray
) -> list[int]:
    """The words that NegRefine leaves as negatives: those that name no individual, no label, and no kind of a label.

    Args:
        labels, words: as people write them.
        related: words that are to go, by `zsindex.lab.vocabulary.names_or_kinds`. None: judge by `cosines`.
        cosines: float32 (n_words, n_labels), between their texts.

    Returns:
        Numbers of words, in their order.
    """
    endings = tuple(f" {label.lower()}" for label in labels)
    gone = cosines.max(axis=1) >= SAME if related is None else [word in related for word in words]
    # A rain coat is a coat, whether WordNet knows it or not.
    return [n for n, word in enumerate(words) if not gone[n] and not word.lower().endswith(endings)]


def multi_matching(texts: FloatArray, n_labels: int, negatives: FloatArray, *, scale: float) -> KnownnessOf:
    """NEGREFINE: NEGLABEL's share, averaged with how well a photo matches a label and a word at once.

    Of the photo's `MATCHES` nearest labels p and negatives n, that is the greatest sigmoid(s (x·t_pn - x·t_n)), where
    t_pn stands for both together: the unit vector of t_p + t_n. It has the weight `ALPHA` beside 1 of the share. A
    label set's own negatives are among the negatives.

    Args:
        texts: float32 (c, dim), of all concepts.
        negatives: float32 (m, dim), farthest first.
    """
    concepts = np.concatenate([texts, negatives])
    labels, words = concepts[:n_labels], concepts[n_labels:]
    n_groups = max(1, len(negatives) // GROUP)
    grouped = len(negatives) // n_groups * n_groups
    # x·(t_p + t_n) / |t_p + t_n| takes no more than the cosines.
    lengths = np.sqrt(np.maximum(2 + 2 * (labels @ words.T), 1e-6))
    n_best, n_worst = min(MATCHES, n_labels), min(MATCHES, len(words))

    def knownness(images: FloatArray) -> FloatArray:
        every = logits(images, concepts, logit_scale=scale)
        share = _mean_share(every[:, : len(texts)], every[:, len(texts) :][:, :grouped], n_labels, n_groups)
        if not n_worst:
            return share
        own, others = every[:, :n_labels], every[:, n_labels:]
        best = np.argpartition(-own, n_best - 1, axis=1)[:, :n_best, None]
        worst = np.argpartition(-others, n_worst - 1, axis=1)[:, None, :n_worst]
        row = np.arange(len(images))[:, None, None]
        of_word = others[row, worst]
        gain = ((own[row, best] + of_word) / lengths[best, worst] - of_word).max(axis=(1, 2))
        matches = np.exp(-np.logaddexp(0, -gain))  # the logistic function, without overflow
        mean: FloatArray = ((share + ALPHA * matches) / (1 + ALPHA)).astype(np.float32)
        return mean

    return knownness


@dataclass(frozen=True)
class Usual:
    """The distribution of each concept's cosine over a library: mean and standard deviation, float32 (c,)."""

    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def of(cls, blocks: Iterable[tuple[slice, FloatArray]], texts: FloatArray) -> Usual:
        """Measure it, in one pass over blocks of image vectors."""
        n, total, squares = 0, np.zeros(len(texts)), np.zeros(len(texts))
        origin = np.zeros(len(texts), dtype=np.float32)
        for _, images in blocks:
            cosines = images @ texts.T
            # Cosines lie close together and away from 0: without an offset, their squares would differ only in the last
            # digits.
            if not n:
                origin = cosines.mean(axis=0)
            cosines -= origin
            n += len(images)
            total += cosines.sum(axis=0)
            squares += np.einsum("ij,ij->j", cosines, cosines)
        offset = total / max(n, 1)
        mean = origin + offset
        deviation = np.sqrt(np.maximum(squares / max(n, 1) - offset**2, 0))
        # A label that all photos are equally near to says nothing about any of them.
        return cls(mean.astype(np.float32), np.where(deviation > 1e-6, deviation, np.inf).astype(np.float32))


def above_usual(texts: FloatArray, n_labels: int, usual: Usual) -> KnownnessOf:
    """ZSCORE: how many standard deviations the best label's cosine lies above that label's mean over the library."""

    def knownness(images: FloatArray) -> FloatArray:
        cosines = images @ texts[:n_labels].T
        best = cosines.argmax(axis=1)
        highest = np.take_along_axis(cosines, best[:, None], axis=1)[:, 0]
        above: FloatArray = (highest - usual.mean[best]) / usual.deviation[best]
        return above

    return knownness


def above_next(texts: FloatArray, n_labels: int, usual: Usual, answer_of: Sequence[int]) -> KnownnessOf:
    """MARGIN: the greatest standard score of a label minus the greatest of a concept with another answer.

    It is negative if one of the label set's own negatives scores highest.

    Args:
        answer_of: the answer of each concept: labels of one group do not compete. There must be two answers.
    """
    answers = np.asarray(answer_of)
    all_differ = len(set(answer_of)) == len(answers)
    weights, bias = (texts / usual.deviation[:, None]).T, usual.mean / usual.deviation

    def knownness(images: FloatArray) -> FloatArray:
        scores = images @ weights - bias
        best = scores[:, :n_labels].argmax(axis=1)
        highest = np.take_along_axis(scores, best[:, None], axis=1)[:, 0]
        if all_differ:
            scores[np.arange(len(scores)), best] = -np.inf
        else:
            np.copyto(scores, -np.inf, where=answers[None, :] == answers[best][:, None])
        margin: FloatArray = highest - scores.max(axis=1)
        return margin

    return knownness


# --- what people called none of these ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strangers:
    """Photos that show none of the labels, as people said, to compare others with.

    Attributes:
        average: float32 (dim,), of the library's photos. Photos are compared by where they lie from there: seen from
            the origin, all photos of a model lie in the same direction.
        directions: float32 (m, dim), unit vectors from the average to these photos.
    """

    average: FloatArray
    directions: FloatArray

    @classmethod
    def of(cls, photos: FloatArray, average: npt.ArrayLike) -> Strangers:
        """From their vectors, float32 (m, dim)."""
        origin = np.asarray(average, dtype=np.float32)
        return cls(origin, _unit(photos - origin))

    def likeness(self, images: FloatArray) -> FloatArray:
        """How like these photos others are: the sum over these of exp(-SHARPNESS · (1 - cosine)), Tip-Adapter's
        affinity (Zhang et al. 2022). float32 (b,): 1 or more for one of these, next to 0 for what is like none.
        """
        cosines = _unit(images - self.average) @ self.directions.T
        near: FloatArray = np.exp(SHARPNESS * (cosines - 1)).sum(axis=1)
        return near

    def trust(self, others: FloatArray) -> float:
        """How far one of these photos tells another: 2 A - 1, where A is how often one of them is more like the rest of
        them than another photo is (AUROC). From 0, where it is no more often than not or there is but one, to 1.

        Args:
            others: likeness of the library's other photos, float32 (n,).
        """
        if len(self.directions) < 2 or not len(others):
            return 0.0
        rest = np.exp(SHARPNESS * (self.directions @ self.directions.T - 1)).sum(axis=1) - 1
        is_one = np.arange(len(rest) + len(others)) < len(rest)
        return max(0.0, 2 * auroc(np.concatenate([rest, others]), is_one) - 1)


def less_known(knownness_of: KnownnessOf, strangers: Strangers, weight: float) -> KnownnessOf:
    """Knownness less a weight times the likeness to `strangers`."""

    def knownness(images: FloatArray) -> FloatArray:
        less: FloatArray = knownness_of(images) - np.float32(weight) * strangers.likeness(images)
        return less

    return knownness


def _unit(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # A photo that is the average has no direction, and is like no other.
    directions: FloatArray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return directions


# --- the cut ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """Where the unknown begins.

    Attributes:
        at: photos less known than this are called unknown.
        values, shares: float64 (k,): knownness of the library's photos below `at`, ascending, each value once; and the
            share of these photos that are known even less.
    """

    at: float
    values: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]

    @classmethod
    def of(cls, knownness: FloatArray, rule: UnknownRule) -> Cut:
        """The cut that a rule makes in a library.

        Args:
            knownness: float32 (n,), of all photos of the library. If several tie with the last one that would be called
                unknown, none of them is.
        """
        ordered = np.sort(knownness).astype(np.float64)
        if rule.rate is None:
            at = NATURAL_CUT[rule.method] if rule.score is None else rule.score
        else:
            at = cut_below(ordered, round(rule.rate * len(ordered)))
        values, first = np.unique(ordered[ordered < at], return_index=True)
        return cls(at, values, first / max(1, int((ordered < at).sum())))

    def score(self, knownness: FloatArray) -> FloatArray:
        """The score of the answer "none of these": above 0.5 for photos called unknown, and higher the fewer unknown
        photos of the library are known even less; 0 for all others. float32, the shape of `knownness`.
        """
        # Interpolated, so that the last bit of a value does not move a photo by a whole rank.
        share = np.interp(knownness, self.values, self.shares) if len(self.values) else np.zeros(len(knownness))
        return np.where(knownness < np.float64(self.at), 1 - share / 2, 0).astype(np.float32)


def cut_below(ordered: npt.NDArray[np.float64], n: int) -> float:
    """A value that n of some ascending values lie below; fewer if the next one is equal.

    It is halfway between two of them, so that rounding moves no value across.
    """
    if n <= 0 or not len(ordered):
        return -np.inf
    if n >= len(ordered):
        return np.inf
    middle = (ordered[n - 1] + ordered[n]) / 2
    return float(middle)


def with_none(scorer: Scorer, knownness_of: KnownnessOf, cut: Cut, *, has_none: bool) -> Scorer:
    """A scorer that also gives the answer "none of these", as its last one.

    For a photo called unknown, that answer gets the score u of `Cut.score`, and the others are multiplied by 1 - u: it
    comes first, and a sum of 1 stays 1. Scores of known photos are unchanged.

    Args:
        scorer: of the answers before.
        has_none: its last answer already is "none of these", from the label set's negatives, and gains.
    """

    def scores(images: FloatArray) -> FloatArray:
        before = scorer(images)
        if not has_none:
            before = np.concatenate([before, np.zeros((len(images), 1), dtype=np.float32)], axis=1)
        none = cut.score(knownness_of(images))
        after: FloatArray = before * (1 - none)[:, None]
        after[:, -1] += none
        return after

    return scores


# --- how well it works ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Separation:
    """How well a method separates photos that show one of the labels from those that do not.

    Attributes:
        method: as in a `UnknownRule`, with its vocabulary.
        auroc: the chance that a known photo is better known than an unknown one; 0.5 is guessing.
        fpr_at_95: the share of unknown photos that pass when 95 % of the known ones do.
        cut: where the rule draws the line; None if it draws none.
        found: the share of unknown photos called unknown.
        lost: the share of known photos called unknown.
    """

    method: str
    auroc: float
    fpr_at_95: float
    cut: float | None = None
    found: float | None = None
    lost: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class UnknownReport:
    """How well methods find the photos that show none of the labels.

    Attributes:
        known, unknown: numbers of photos whose true label is, and is not, in the label set.
        not_held: paths with a true label but without a vector in the library.
        methods: the results.
    """

    known: int
    unknown: int
    not_held: tuple[str, ...]
    methods: tuple[Separation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "known": self.known,
            "unknown": self.unknown,
            "not_held": list(self.not_held),
            "methods": [method.to_dict() for method in self.methods],
        }


@dataclass(frozen=True)
class Knownness:
    """How well known each photo is.

    Attributes:
        paths: of the photos, n of them, in the order of `Library.photos.paths`.
        values: float32 (n,); larger is better known.
        cut: photos below it are called unknown; None if the rule draws no line.
    """

    paths: list[str]
    values: FloatArray
    cut: float | None

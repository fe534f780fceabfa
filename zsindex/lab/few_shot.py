"""Few-shot classification: what corrections add to words, on cached vectors.

Three methods, each a term that is added to the zero-shot logits: logistic regression that starts from words
(`zsindex.lab.logistic`), Gaussian discriminant analysis (Wang et al. 2024) and Tip-Adapter (Zhang et al. 2022). How
much the terms of the latter two count is chosen by leaving out corrections in turn; the gain of all is measured so.
docs/methods.md has the formulas, and says where they differ from the papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from zsindex.classification.learned import DEFAULT_METHOD, LEAST, METHODS, Learned
from zsindex.classification.scorers import Head, Scorer
from zsindex.classification.scores import probabilities
from zsindex.index.vectors import VectorTable, blocks
from zsindex.lab.corrections import Bools, Lessons
from zsindex.lab.logistic import Logistic
from zsindex.records import FloatArray, IdArray

Doubles: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

# α, the weight of the term. 0, words alone, is among them and wins a tie.
# Logistic regression has no weight: it changes no more than the words get wrong. Asking whether leaving out speaks for
# it gave up most of what it brings with one correction of a label, which leaves none.
LOGISTIC_WEIGHTS = (0.0, 1.0)
GDA_WEIGHTS = (0.0, *np.geomspace(1e-3, 10, 25).tolist())
TIP_WEIGHTS = (0.0, *np.geomspace(0.1, 100, 13).tolist())
# β, how quickly the weight of a photo falls with its distance.
TIP_SHARPNESS = tuple(np.geomspace(1, 32, 6).tolist())
# The sum is divided by one of these.
TEMPERATURES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# Weights count as equally good as the best if their losses differ from its loss by no more than this fraction of a
# standard error. With little data this favours what people said, since leaving out one of few underrates the rest.
TOLERANCE = 0.5
# The mean of a class is estimated as if it had this many more photos at the average of the library.
PRIOR_PHOTOS = 1.0
# To choose α and to measure the gain, as many corrections are left out, one at a time, as fill a matrix of this many
# scores with one column per label; all others are only learnt from.
LEFT_OUT_SCORES = 2**18
LEFT_OUT = (250, 2000)
# Number of photos that the average and the spread of a library are estimated from.
SAMPLE = 65_536
RESAMPLES = 10_000
SEED = 0


@dataclass(frozen=True)
class Background:
    """The average photo, with which every class is compared.

    Attributes:
        mean: float64 (dim,), of the photos' vectors.
        spread: their mean squared distance from it.
    """

    mean: Doubles
    spread: float


def background(vectors: VectorTable) -> Background:
    """Average and spread of a library, from at most `SAMPLE` evenly spaced photos."""
    rows = _spread_out(vectors.rows, SAMPLE)
    total, squares = np.zeros(vectors.dim), 0.0
    for _, block in blocks(vectors, rows):
        total += block.sum(axis=0, dtype=np.float64)
        squares += float(np.einsum("ij,ij->", block, block, dtype=np.float64))
    mean = total / max(1, len(rows))
    return Background(mean, max(0.0, squares / max(1, len(rows)) - float(mean @ mean)))


def learn(
    head: Head,
    lessons: Lessons,
    vectors: FloatArray,
    around: Background,
    *,
    method: str = DEFAULT_METHOD,
) -> tuple[Scorer, Learned]:
    """A classifier from words and corrections.

    Args:
        head: zero-shot; of the concepts of the lessons' label set.
        vectors: float32 (m, dim), of the corrected images.
        around: of the library.
        method: one of `zsindex.classification.learned.METHODS`.

    Raises:
        ValueError: there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"with_corrections must be {' or '.join(METHODS)}, not {method!r}")
    said = lessons.is_said
    learned = Learned(
        method,
        used=int(said.sum()),
        ruled_out=int((~said).sum()),
        per_answer=dict(zip(lessons.labels.answers, lessons.answers[said].sum(axis=0).tolist(), strict=True)),
        unknown_labels=dict(lessons.unknown_labels),
        without_vector=lessons.without_vector,
    )
    if not said.any():
        return head, learned

    zero_shot = head.logits(vectors)
    # Naming a group, or none of these, means one of several concepts: the one that fits best by words.
    shown = np.where(lessons.may_be[said], zero_shot[said], -np.inf).argmax(axis=1)
    # Images that are left out in turn, and images of which it is only known what they do not show: only logistic
    # regression learns from the latter, but what is learnt is tested on them.
    n_said = int(said.sum())
    most = int(np.clip(LEFT_OUT_SCORES // len(head.bias), *LEFT_OUT))
    tried = _spread_out(np.arange(n_said), most)
    others = _spread_out(np.flatnonzero(~said), most)
    order = np.concatenate([np.flatnonzero(said)[tried], others])
    possible = lessons.answers[order][:, head.answer_of] & (said[order][:, None] | lessons.may_be[order])

    tolerance = TOLERANCE
    terms: list[tuple[float | None, Logistic | Gda | Tip, FloatArray]] = []
    if method == "logistic":
        # The most likely concepts of those that are ruled in stand for all, where photos are left out in parts.
        concepts = np.where(lessons.may_be, zero_shot, -np.inf).argmax(axis=1)
        x = vectors.astype(np.float64) - around.mean
        logistic = Logistic.fit(x, zero_shot.astype(np.float64), lessons.may_be, around.spread)
        terms.append((None, logistic, logistic.left_out(concepts)[order].astype(np.float32)))
        weights: Sequence[float] = LOGISTIC_WEIGHTS
        tolerance = np.inf
    elif method == "gda":
        gda = Gda.fit(vectors[said].astype(np.float64) - around.mean, shown, len(head.bias), around.spread)
        left_out = np.concatenate([gda.left_out(tried), gda.evidence(vectors[others] - around.mean)])
        terms.append((None, gda, left_out.astype(np.float32)))
        weights = GDA_WEIGHTS
    else:
        cache = vectors[said]
        for sharpness in TIP_SHARPNESS:
            tip = Tip(cache, shown, len(head.bias), sharpness)
            terms.append((sharpness, tip, np.concatenate([tip.left_out(tried), tip.evidence(vectors[others])])))
        weights = TIP_WEIGHTS
    if n_said < LEAST:
        weights = (0.0,)
    left_out_of = [left_out for *_, left_out in terms]
    trial = _try(zero_shot[order], left_out_of, weights, possible, head.answer_of, len(tried), tolerance)
    sharpness, term, _ = terms[trial.term]
    learned = replace(
        learned,
        weight=trial.weight,
        sharpness=sharpness,
        temperature=trial.temperature,
        without=float(trial.without.mean()),
        accuracy=float(trial.right.mean()),
        gain=float(trial.right.mean() - trial.without.mean()),
        interval=_interval(trial.right.astype(np.int64) - trial.without),
        n_left_out=len(tried),
    )
    if not trial.weight:
        return head, learned
    if isinstance(term, Tip):
        return term.added_to(head, learned.weight, learned.temperature), learned
    return _with_linear(head, term, around, learned.weight, learned.temperature), learned


@dataclass(frozen=True)
class Gda:
    """Gaussian discriminant analysis: classes are normal distributions with one covariance.

    The evidence for a class is how much likelier an image is under it than at the average of the library, and 0 for a
    class without photos: ``(μ_c - μ_0)ᵀ P (x - (μ_c + μ_0) / 2)``. The precision is ``P = (d + ν) (S + t I)⁻¹`` for
    scatter S with ν degrees of freedom; t is the mean squared distance within classes.

    Attributes:
        x: float64 (n, dim), the examples, relative to the average.
        concepts: int64 (n,), their classes.
        means, sums: float64 (c, dim), shrunk towards the average; and of the classes' examples.
        counts: int64 (c,), examples of each class.
        axes, scatter: float64 (dim, k) and (k,), the eigenvectors and eigenvalues of the scatter within classes, in the
            space that the examples span.
        spread: of the library, which counts as one more degree of freedom.
    """

    x: Doubles
    concepts: IdArray
    means: Doubles
    sums: Doubles
    counts: IdArray
    axes: Doubles
    scatter: Doubles
    spread: float

    @classmethod
    def fit(cls, x: Doubles, concepts: IdArray, n_concepts: int, spread: float) -> Gda:
        """Estimate means and scatter; see the attributes."""
        n, dim = x.shape
        counts = np.bincount(concepts, minlength=n_concepts)
        sums = np.zeros((n_concepts, dim))
        np.add.at(sums, concepts, x)
        deviations = x - (sums / np.maximum(counts, 1)[:, None])[concepts]
        # Everything multiplied by the precision lies in the span of the examples.
        basis = np.linalg.qr(x.T)[0] if n < dim else np.eye(dim)
        inside = deviations @ basis
        scatter, turn = np.linalg.eigh(inside.T @ inside)
        means = sums / (counts + PRIOR_PHOTOS)[:, None]
        return cls(x, concepts, means, sums, counts, basis @ turn, np.maximum(scatter, 0.0), spread)

    @property
    def _freedom(self) -> int:
        return len(self.x) - int(np.count_nonzero(self.counts))

    def linear(self) -> tuple[Doubles, Doubles]:
        """Evidence as a linear function of an image's vector minus the average: weights (c, dim) and bias (c,)."""
        scale = self.x.shape[1] + self._freedom
        ridge = _ridge(self.scatter.sum(), self._freedom, self.spread)
        weights = scale * (self.means @ self.axes / (self.scatter + ridge)) @ self.axes.T
        return weights, -0.5 * np.einsum("cd,cd->c", weights, self.means)

    def evidence(self, x: Doubles) -> Doubles:
        """For images (b, dim), relative to the average: (b, c)."""
        weights, bias = self.linear()
        found: Doubles = x @ weights.T + bias
        return found

    def left_out(self, which: IdArray) -> Doubles:
        """Evidence for some of the examples, each from all others but itself: (len(which), c).

        Leaving an example out subtracts a rank-one matrix from the scatter, which the Sherman-Morrison formula turns
        into an update of its inverse, and a little from the ridge.
        """
        x, own = self.x[which], self.concepts[which]
        n_own = self.counts[own]
        several = n_own > 1
        deviations = x - self.sums[own] / n_own[:, None]
        factor = np.where(several, n_own / np.maximum(n_own - 1, 1), 0.0)
        freedom = self._freedom - several
        trace = self.scatter.sum() - factor * np.einsum("nd,nd->n", deviations, deviations)
        ridge = _ridge(trace, freedom, self.spread)
        precision = 1 / (self.scatter + ridge[:, None])
        means = self.means @ self.axes
        x_in, z_in = x @ self.axes, deviations @ self.axes
        own_in = ((self.sums[own] - x) / (n_own - 1 + PRIOR_PHOTOS)[:, None]) @ self.axes

        z_z, x_z = _products(precision, z_in, z_in), _products(precision, x_in, z_in)
        update = factor / (1 - factor * z_z)
        z_means = (precision * z_in) @ means.T
        cross = (precision * x_in) @ means.T + (update * x_z)[:, None] * z_means
        square = precision @ (means**2).T + update[:, None] * z_means**2
        number, z_own = np.arange(len(which)), _products(precision, z_in, own_in)
        cross[number, own] = _products(precision, x_in, own_in) + update * x_z * z_own
        square[number, own] = _products(precision, own_in, own_in) + update * z_own**2
        evidence: Doubles = (self.x.shape[1] + freedom)[:, None] * (cross - 0.5 * square)
        return evidence


def _with_linear(head: Head, term: Gda | Logistic, around: Background, weight: float, temperature: float) -> Head:
    """The zero-shot head with evidence that is linear, too: a head again."""
    weights, bias = term.linear()
    return replace(
        head,
        weights=((head.weights + weight * weights) / temperature).astype(np.float32),
        bias=((head.bias + weight * (bias - weights @ around.mean)) / temperature).astype(np.float32),
    )


def _ridge(trace: Any, freedom: Any, spread: float) -> Any:
    """The mean squared distance of images from the mean of their class, which is added to the scatter's diagonal."""
    return np.maximum((trace + spread) / (freedom + 1), 1e-9)


def _products(precision: Doubles, a: Doubles, b: Doubles) -> Doubles:
    """Row by row, ``aᵀ P b``."""
    found: Doubles = np.einsum("nk,nk,nk->n", precision, a, b)
    return found


@dataclass(frozen=True)
class Tip:
    """Tip-Adapter's cache model: every corrected image votes for its class, the more the nearer it is.

    Attributes:
        keys: float32 (n, dim), unit vectors of the examples.
        concepts: int64 (n,), their classes.
        n_concepts: c.
        sharpness: β.
    """

    keys: FloatArray
    concepts: IdArray
    n_concepts: int
    sharpness: float

    def evidence(self, images: FloatArray, without: IdArray | None = None) -> FloatArray:
        """For images (b, dim): the sum over the examples of each class of ``exp(-β (1 - cos))``, (b, c).

        Args:
            without: for each image, the number of an example that does not vote.
        """
        values = np.zeros((len(self.keys), self.n_concepts), dtype=np.float32)
        values[np.arange(len(self.keys)), self.concepts] = 1
        evidence = np.empty((len(images), self.n_concepts), dtype=np.float32)
        for start in range(0, len(images), 1024):
            part = slice(start, start + 1024)
            votes = np.exp(self.sharpness * (images[part] @ self.keys.T - 1))
            if without is not None:
                votes[np.arange(len(votes)), without[part]] = 0
            evidence[part] = votes @ values
        return evidence

    def left_out(self, which: IdArray) -> FloatArray:
        """Evidence for some of the examples, each from all others but itself: (len(which), c)."""
        return self.evidence(self.keys[which], without=which)

    def added_to(self, head: Head, weight: float, temperature: float) -> Scorer:
        """The zero-shot head with this evidence."""

        def score(images: FloatArray) -> FloatArray:
            logits: FloatArray = head.logits(images) + np.float32(weight) * self.evidence(images)
            logits /= np.float32(temperature)
            return head.answers(probabilities(logits, head.activation))

        return score


class _Trial(NamedTuple):
    """The choice, and whether the left-out examples were answered right: bool (n,), with it and from words alone."""

    term: int
    weight: float
    temperature: float
    right: Bools
    without: Bools


def _try(
    zero_shot: FloatArray,
    terms: Sequence[FloatArray],
    weights: Sequence[float],
    possible: Bools,
    answer_of: IdArray,
    n_said: int,
    tolerance: float = TOLERANCE,
) -> _Trial:
    """Choose a term and its weight by the likelihood of what was said, each example left out.

    A weight is judged at the temperature that suits it: otherwise it would win by making logits smaller or larger. Of
    those within `tolerance` of the best, the largest is taken. Each example's own answer comes from the choice that the
    others make, so that it has no part in what it is tested with.

    Args:
        zero_shot: float32 (n, c), logits.
        terms: float32 (n, c) each, evidence computed without the example itself.
        weights: ascending, from 0.
        possible: bool (n, c), the concepts that each example may show. The first `n_said` show one answer.
        tolerance: in standard errors of the difference.
    """
    number_of = np.arange(n_said)
    choices: list[tuple[int, float, float]] = []
    losses: list[FloatArray] = []
    right: list[Bools] = []
    for number, term in enumerate(terms):
        for weight in weights:
            if not weight and number:
                continue  # without the term all terms are alike
            logits = zero_shot + np.float32(weight) * term
            logits -= logits.max(axis=1, keepdims=True)
            by_temperature = []
            for temperature in TEMPERATURES:
                scores = np.exp(logits / np.float32(temperature))
                mass = np.einsum("nc,nc->n", scores, possible) / scores.sum(axis=1)
                by_temperature.append(-np.log(np.maximum(mass, 1e-30)))
            best = int(np.argmin([loss.sum() for loss in by_temperature]))
            temperature = TEMPERATURES[best] if weight else 1.0
            scores = np.exp(logits[:n_said] / np.float32(temperature))
            choices.append((number, weight, temperature))
            losses.append(by_temperature[best])
            right.append(possible[number_of, _answered(scores, answer_of)])
    loss = np.stack(losses).astype(np.float64)
    total = loss.sum(axis=1)
    worse = loss - loss[total.argmin()]
    error = np.sqrt(((worse - worse.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))
    margin = np.multiply(tolerance, error, where=error > 0, out=np.zeros_like(error))
    term_of = np.array([number for number, _, _ in choices])

    def chosen(totals: Doubles) -> IdArray:
        """For each column of losses (choices, k), the number of the choice."""
        best = totals.argmin(axis=0)
        # Less, not equal: if leaving out tells nothing, as with a single correction, words alone win.
        good = totals - totals.min(axis=0) < margin[:, None]
        good &= term_of[:, None] == term_of[best]  # weights of different terms cannot be compared
        good[best, np.arange(len(best))] = True
        # The last of those: within a term they are in the order of their weights.
        last: IdArray = len(totals) - 1 - good[::-1].argmax(axis=0)
        return last

    answered = np.stack(right)[chosen(total[:, None] - loss[:, :n_said]), number_of]
    return _Trial(*choices[int(chosen(total[:, None])[0])], answered, right[0])


def _answered(scores: FloatArray, answer_of: IdArray) -> IdArray:
    """A concept of the winning answer, for each row (n, c) of scores that add up."""
    if len(np.unique(answer_of)) == len(answer_of):
        best: IdArray = scores.argmax(axis=1)
        return best
    answers = np.stack([scores[:, answer_of == n].sum(axis=1) for n in range(int(answer_of.max()) + 1)], axis=1)
    first = np.array([int((answer_of == n).argmax()) for n in range(answers.shape[1])])
    found: IdArray = first[answers.argmax(axis=1)]
    return found


def _spread_out(numbers: IdArray, most: int) -> IdArray:
    """At most `most` of some numbers, evenly spaced."""
    return numbers[:: max(1, -(-len(numbers) // most))]


def _interval(differences: IdArray) -> tuple[float, float]:
    """Percentile bootstrap of the mean of differences that are -1, 0 or 1 (Efron 1979), 95 %.

    Drawing n of them with replacement amounts to drawing how many there are of each kind.
    """
    n = len(differences)
    shares = np.array([np.mean(differences == value) for value in (-1, 0, 1)])
    drawn = np.random.default_rng(SEED).multinomial(n, shares / shares.sum(), size=RESAMPLES)
    low, high = np.quantile((drawn[:, 2] - drawn[:, 0]) / n, [0.025, 0.975]).tolist()
    return low, high

"""Logistic regression that starts from words, against its formula, against leaving out, and against its promise."""

from __future__ import annotations

import numpy as np
import pytest

from zsindex.classification.prompts import label_set
from zsindex.classification.scorers import Head
from zsindex.classification.scores import softmax
from zsindex.lab import logistic
from zsindex.lab.corrections import Lessons
from zsindex.lab.few_shot import Background, learn
from zsindex.lab.logistic import PRIOR_VARIANCE, Logistic
from zsindex.records import Activation, IdArray

DIM = 24


def some(n: int, n_labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Examples, logits from words, and what they show: one label each, but three of them one of several."""
    random = np.random.default_rng(seed)
    may_be = np.eye(n_labels, dtype=bool)[random.integers(0, n_labels, n)]
    may_be[:3] |= random.random((3, n_labels)) < 0.5
    return random.normal(size=(n, DIM)), 3 * random.normal(size=(n, n_labels)), may_be


def objective(
    coefficients: np.ndarray, x: np.ndarray, zero_shot: np.ndarray, may_be: np.ndarray, spread: float
) -> float:
    """Straight from docs/methods.md, one example after the other."""
    found = 0.0
    for i, own in enumerate(x):
        logits = zero_shot[i] + coefficients.T @ own
        likely = np.exp(logits) / np.exp(logits).sum()
        found += np.log(likely[may_be[i]].sum())
    return float(found - spread / (2 * PRIOR_VARIANCE) * (coefficients**2).sum())


@pytest.mark.parametrize("n", [6, 60])  # fewer examples than dimensions, and more
def test_the_mode_is_where_the_posterior_is_highest(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-9)
    x, zero_shot, may_be = some(n, 4)
    spread = 7.0
    weights, bias = Logistic.fit(x, zero_shot, may_be, spread).linear()
    assert (bias == 0).all()
    best = objective(weights.T, x, zero_shot, may_be, spread)
    random = np.random.default_rng(1)
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(20):
            elsewhere = weights.T + size * random.normal(size=(DIM, 4))
            assert objective(elsewhere, x, zero_shot, may_be, spread) < best
    # Where it is flat: what is added is the kernel times what the logits lack of what was said.
    logits = zero_shot + x @ weights.T
    lacking = softmax(np.where(may_be, logits, -np.inf)) - softmax(logits)
    at = random.normal(size=(5, DIM))
    assert at @ weights.T == pytest.approx(PRIOR_VARIANCE / spread * (at @ x.T) @ lacking, abs=1e-5)


def test_leaving_out_is_learning_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-9)
    monkeypatch.setattr(logistic, "TRIAL_TOLERANCE", 1e-9)
    x, zero_shot, may_be = some(14, 3)
    fitted = Logistic.fit(x, zero_shot, may_be, 5.0)
    concepts = may_be.argmax(axis=1)
    for i, row in enumerate(fitted.left_out(concepts)):
        rest = np.arange(14) != i
        alone = Logistic.fit(x[rest], zero_shot[rest], may_be[rest], 5.0)
        assert row == pytest.approx(alone.evidence(x[i : i + 1])[0], abs=1e-5)
    # Where they are many, some at a time.
    monkeypatch.setattr(logistic, "TRIAL_PRODUCTS", 1)
    order = np.argsort(concepts, kind="stable")
    in_parts = fitted.left_out(concepts)
    for part in range(logistic.LEAST_PARTS):
        out = order[part :: logistic.LEAST_PARTS]
        rest = np.setdiff1d(np.arange(14), out)
        alone = Logistic.fit(x[rest], zero_shot[rest], may_be[rest], 5.0)
        assert in_parts[out] == pytest.approx(alone.evidence(x[out]), abs=1e-5)


def test_the_order_of_examples_does_not_matter() -> None:
    x, zero_shot, may_be = some(30, 4)
    at = np.random.default_rng(3).normal(size=(10, DIM))
    forwards = Logistic.fit(x, zero_shot, may_be, 5.0).evidence(at)
    backwards = Logistic.fit(x[::-1], zero_shot[::-1], may_be[::-1], 5.0).evidence(at)
    assert forwards == pytest.approx(backwards, abs=5e-3)


def test_what_words_say_rightly_and_surely_is_left_alone() -> None:
    x, _, may_be = some(20, 3)
    may_be = np.eye(3, dtype=bool)[may_be.argmax(axis=1)]
    assert np.abs(Logistic.fit(x, 30.0 * may_be, may_be, 5.0).evidence(x)).max() < 1e-6
    assert np.abs(Logistic.fit(x, 1.0 * may_be, may_be, 5.0).evidence(x)).max() > 1


def test_logits_that_exclude_what_is_said_are_no_reason_to_fail() -> None:
    x, _, may_be = some(5, 3)
    assert np.isfinite(Logistic.fit(x, np.where(may_be, -2000.0, 0.0), may_be, 5.0).evidence(x)).all()
    assert np.isfinite(Logistic.fit(x, np.zeros((5, 3)), may_be, 0.0).evidence(x)).all()


# --- what is promised -------------------------------------------------------------------------------------------------


class World:
    """Photos of eight labels, much scattered around directions of their own; and words that say where, or do not."""

    def __init__(self, words: float) -> None:
        """`words`: 1 for words that point to the middle of their photos, 0 for words that point anywhere."""
        random = np.random.default_rng(0)
        where = random.normal(size=(8, 48))
        self.truth = np.repeat(np.arange(8), 120)
        # What all photos have in common: those of a model lie in a cone.
        x = where[self.truth] + random.normal(size=48) + 2.5 * random.normal(size=(len(self.truth), 48))
        self.x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
        texts = words * where + (1 - words) * random.normal(size=where.shape)
        texts /= np.linalg.norm(texts, axis=1, keepdims=True)
        self.labels = label_set([f"label {n}" for n in range(8)])
        self.head = Head.zero_shot(
            texts.astype(np.float32), logit_scale=25.0, logit_bias=None, activation=Activation.SOFTMAX
        )
        mean = self.x.mean(axis=0, dtype=np.float64)
        self.around = Background(mean, float(((self.x - mean) ** 2).sum(axis=1).mean()))

    def gain(self, which: IdArray, method: str) -> float:
        """How much more of the other photos are answered right after correcting some than by words alone."""
        may_be = np.eye(len(self.labels), dtype=bool)[self.truth[which]]
        nothing = np.empty(0, dtype=np.int64)
        lessons = Lessons(self.labels, which, may_be, np.ones(len(which), dtype=bool), nothing)
        scorer, _ = learn(self.head, lessons, self.x[which], self.around, method=method)
        others = np.setdiff1d(np.arange(len(self.truth)), which)
        taught, plain = (one(self.x[others]).argmax(axis=1) == self.truth[others] for one in (scorer, self.head))
        return float(taught.mean() - plain.mean())

    def corrected(self, way: str, shots: int, seed: int) -> IdArray:
        random = np.random.default_rng(seed)
        photos, n = random.permutation(len(self.truth)), len(self.labels)
        if way == "mistakes":
            return photos[self.head(self.x[photos]).argmax(axis=1) != self.truth[photos]][: shots * n]
        of_label = {
            "even": [shots] * n,
            "uneven": [4 * shots, 2 * shots, *[shots] * 2, *[0] * (n - 4)],
            "missing": [shots] * (n // 2) + [0] * (n - n // 2),
        }[way]
        return np.concatenate([photos[self.truth[photos] == c][:most] for c, most in enumerate(of_label)])


def gains(world: World, way: str, shots: int, method: str = "logistic") -> np.ndarray:
    return np.array([world.gain(world.corrected(way, shots, seed), method) for seed in range(5)])


@pytest.mark.parametrize("words", [1.0, 0.6, 0.4])  # right for 82, 69 and 44 % of the photos
def test_corrections_do_not_fall_below_words_alone(words: float) -> None:
    """One of each label, four, uneven, or for half of the labels: the mean of five draws.

    Where words are as good as any classifier of these photos can be, whatever is learnt is a loss: it must stay within
    a point, which is nine photos.
    """
    world = World(words)
    for way in ("even", "uneven", "missing"):
        for shots in (1, 4):
            found = gains(world, way, shots)
            assert found.mean() > (-0.01 if words == 1 else 0) - 1e-9, (way, shots, found)
            assert found.min() > -0.02, (way, shots, found)


@pytest.mark.parametrize("words", [0.6, 0.4])
def test_nor_do_corrections_of_mistakes_only(words: float) -> None:
    for shots in (1, 4):
        assert gains(World(words), "mistakes", shots).min() > -1e-9


def test_one_correction_of_each_label_is_no_gamble() -> None:
    """As it is by Gaussian discriminant analysis, which here knows no better than the corrections how few they are."""
    world = World(0.6)
    assert gains(world, "even", 1).min() > -0.01
    assert gains(world, "even", 1, "gda").min() < -0.2


def test_corrections_bring_what_words_lack() -> None:
    assert gains(World(0.4), "even", 1).mean() > 0.02
    assert gains(World(0.4), "even", 4).mean() > 0.05
    assert gains(World(0.0), "even", 4).mean() > 0.15


def test_what_photos_do_not_show_is_learnt_from_too() -> None:
    """Mistakes are only ruled out; one photo of each label is named."""
    world = World(0.4)
    named = world.corrected("even", 1, 0)
    mistaken = np.setdiff1d(world.corrected("mistakes", 4, 0), named)
    which = np.concatenate([named, mistaken])
    may_be = np.eye(len(world.labels), dtype=bool)[world.truth[which]]
    answers = world.head(world.x).argmax(axis=1)
    may_be[len(named) :] = ~np.eye(len(world.labels), dtype=bool)[answers[mistaken]]
    said = np.arange(len(which)) < len(named)
    others = np.setdiff1d(np.arange(len(world.truth)), which)

    def right(n: int) -> float:
        lessons = Lessons(world.labels, which[:n], may_be[:n], said[:n], np.empty(0, dtype=np.int64))
        scorer, learned = learn(world.head, lessons, world.x[which[:n]], world.around)
        assert learned.ruled_out == n - len(named)
        return float((scorer(world.x[others]).argmax(axis=1) == world.truth[others]).mean())

    assert right(len(which)) > right(len(named)) + 0.005

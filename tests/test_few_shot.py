"""Few-shot classifiers, against the formulas written out and against really leaving examples out."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zsindex.cli import cli

from tests.libraries import unit_vectors
from zsindex.classification.prompts import label_set
from zsindex.classification.scorers import Head
from zsindex.classification.scores import softmax
from zsindex.index.vectors import VectorTable
from zsindex.lab import few_shot
from zsindex.lab.corrections import Lessons, Settled
from zsindex.lab.few_shot import Background, Gda, Learned, Tip, background, learn
from zsindex.records import NONE, Activation, LabelSet
from zsindex.web.schemas.fields import CorrectionMethod

DIM = 6


def naive_evidence(x: np.ndarray, y: np.ndarray, n_classes: int, spread: float, at: np.ndarray) -> np.ndarray:
    """Straight from docs/methods.md: dense matrices, one class after the other, one image after the other."""
    dim = x.shape[1]
    scatter = np.zeros((dim, dim))
    seen = 0
    means = np.zeros((n_classes, dim))
    for c in range(n_classes):
        own = x[y == c]
        if len(own):
            seen += 1
            scatter += (own - own.mean(axis=0)).T @ (own - own.mean(axis=0))
            means[c] = own.sum(axis=0) / (len(own) + 1)
    ridge = (np.trace(scatter) + spread) / (len(x) - seen + 1)
    precision = (dim + len(x) - seen) * np.linalg.inv(scatter + ridge * np.eye(dim))
    return np.array([[m @ precision @ a - m @ precision @ m / 2 for m in means] for a in at])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 12), dim=st.sampled_from([2, 6, 20]), classes=st.integers(1, 5))
def test_gda_is_the_formula_and_leaves_out_exactly(seed: int, n: int, dim: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(n, dim)) + 1, random.integers(0, classes, n)
    spread = float(random.uniform(0.1, 3))
    gda = Gda.fit(x, y, classes, spread)

    elsewhere = random.normal(size=(3, dim))
    assert gda.evidence(elsewhere) == pytest.approx(
        naive_evidence(x, y, classes, spread, elsewhere), rel=1e-6, abs=1e-8
    )
    which = np.arange(n)[::2]
    for row, i in zip(gda.left_out(which), which, strict=True):
        rest = np.arange(n) != i
        expected = naive_evidence(x[rest], y[rest], classes, spread, x[i : i + 1])[0]
        assert row == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_a_class_without_examples_is_neither_favoured_nor_ruled_out() -> None:
    x, y = unit_vectors(8, dim=DIM).astype(np.float64), np.array([0, 0, 0, 1, 1, 1, 3, 3])
    assert (Gda.fit(x, y, 5, 1.0).evidence(x)[:, [2, 4]] == 0).all()


def test_with_one_covariance_and_many_photos_evidence_is_the_log_likelihood_ratio() -> None:
    random = np.random.default_rng(0)
    root = np.array([[1.0, 0.5], [0.0, 0.7]])
    means = np.array([[1.0, 0.0], [-1.0, 0.5]])
    y = np.repeat([0, 1], 50_000)
    x = means[y] + random.normal(size=(len(y), 2)) @ root
    at = np.array([[0.3, 0.2], [-0.5, 1.0]])
    precision = np.linalg.inv(root.T @ root)
    density = np.array([[-(a - m) @ precision @ (a - m) / 2 for m in (*means, np.zeros(2))] for a in at])
    found = Gda.fit(x, y, 2, 1.0).evidence(at)
    assert found == pytest.approx(density[:, :2] - density[:, 2:], rel=0.03, abs=0.02)


def test_tip_adapter_is_its_formula_and_leaves_out_exactly() -> None:
    keys, images = unit_vectors(7, dim=DIM), unit_vectors(5, dim=DIM, seed=1)
    classes = np.array([0, 2, 2, 0, 1, 1, 1])
    expected = np.zeros((5, 4))
    for i, image in enumerate(images):
        for key, c in zip(keys, classes, strict=True):
            expected[i, c] += np.exp(-3.0 * (1 - float(image @ key)))
    assert Tip(keys, classes, 4, 3.0).evidence(images) == pytest.approx(expected, rel=1e-5)
    for i, row in enumerate(Tip(keys, classes, 4, 3.0).left_out(np.arange(7))):
        rest = np.arange(7) != i
        alone = Tip(keys[rest], classes[rest], 4, 3.0).evidence(keys[i : i + 1])[0]
        assert row == pytest.approx(alone, rel=1e-5)


# --- learning ---------------------------------------------------------------------------------------------------------

LABELS = label_set(["a", "b", "c"])


def head_of(texts: np.ndarray, labels: LabelSet = LABELS, activation: Activation = Activation.SOFTMAX) -> Head:
    return Head.zero_shot(
        texts.astype(np.float32), logit_scale=10.0, logit_bias=None, activation=activation, answer_of=labels.answer_of
    )


def lessons_of(may_be: np.ndarray, is_said: np.ndarray, labels: LabelSet = LABELS) -> Lessons:
    return Lessons(labels, np.arange(len(may_be)), may_be, is_said, np.empty(0, dtype=np.int64))


def clusters(n: int, *, seed: int = 0, noise: float = 0.35) -> tuple[np.ndarray, np.ndarray]:
    """Photos of three classes around three directions."""
    random = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = np.eye(3, DIM)[y] + noise * random.normal(size=(n, DIM)) + 0.5
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y


WRONG_WORDS = np.roll(np.eye(3, DIM), 1, axis=0)  # "a" is written like what photos of b look like
AROUND = Background(np.full(DIM, 0.3), 0.7)


@pytest.mark.parametrize("method", few_shot.METHODS)
def test_corrections_teach_what_words_get_wrong(method: str) -> None:
    x, y = clusters(60)
    unseen, truth = clusters(300, seed=1)
    scorer, learned = learn(
        head_of(WRONG_WORDS), lessons_of(np.eye(3, dtype=bool)[y], np.ones(60, dtype=bool)), x, AROUND, method=method
    )
    accuracy = float((scorer(unseen).argmax(axis=1) == truth).mean())
    assert learned.without is not None
    assert learned.interval is not None
    assert learned.without == pytest.approx(float((head_of(WRONG_WORDS)(x).argmax(axis=1) == y).mean()))
    assert accuracy > 0.8 > 0.4 > learned.without
    # What is said of it, from the corrections alone, is what it does to photos it has never seen.
    assert learned.accuracy == pytest.approx(accuracy, abs=0.12)
    assert learned.interval[0] > 0.2
    assert learned.doubts == ()
    assert (learned.used, learned.n_left_out, learned.per_answer) == (60, 60, {"a": 20, "b": 20, "c": 20})
    assert scorer(unseen).sum(axis=1) == pytest.approx(np.ones(300), abs=1e-5)


def test_gda_stays_a_linear_head_and_adds_its_evidence_to_the_logits() -> None:
    x, y = clusters(45)
    head = head_of(WRONG_WORDS)
    scorer, learned = learn(
        head, lessons_of(np.eye(3, dtype=bool)[y], np.ones(45, dtype=bool)), x, AROUND, method="gda"
    )
    assert isinstance(scorer, Head)
    evidence = naive_evidence(x.astype(np.float64) - AROUND.mean, y, 3, AROUND.spread, x[:5] - AROUND.mean)
    expected = softmax((head.logits(x[:5]) + learned.weight * evidence) / learned.temperature)
    assert scorer(x[:5]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("method", few_shot.METHODS)
def test_corrections_that_say_nothing_are_not_said_to_help(method: str) -> None:
    """Labels thrown like dice: whatever is chosen, what is reported must not look like a gain."""
    gains = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        y = random.integers(0, 3, 60)
        x = unit_vectors(60, seed=seed, dim=DIM)
        said = lessons_of(np.eye(3, dtype=bool)[y], np.ones(60, dtype=bool))
        _, learned = learn(head_of(unit_vectors(3, seed=99, dim=DIM)), said, x, AROUND, method=method)
        assert learned.gain is not None
        assert learned.interval is not None
        assert learned.interval[0] <= learned.gain <= learned.interval[1]
        gains.append(learned.gain)
        if learned.interval[0] <= 0:
            assert "includes 0" in learned.doubts[0]
    assert abs(np.mean(gains)) < 0.05


def test_few_corrections_are_doubted_by_name() -> None:
    x, y = clusters(8)
    _, learned = learn(head_of(WRONG_WORDS), lessons_of(np.eye(3, dtype=bool)[y], np.ones(8, dtype=bool)), x, AROUND)
    assert learned.per_answer == {"a": 3, "b": 3, "c": 2}
    assert "fewer than 4 corrections: a, b, c" in learned.doubts


@pytest.mark.parametrize("method", few_shot.METHODS)
def test_without_a_label_nothing_is_learnt(method: str) -> None:
    head = head_of(WRONG_WORDS)
    not_a = np.array([[False, True, True]])
    scorer, learned = learn(head, lessons_of(not_a, np.array([False])), unit_vectors(1, dim=DIM), AROUND, method=method)
    assert scorer is head
    assert (learned.used, learned.ruled_out, learned.interval) == (0, 1, None)
    assert learned.doubts == ("there are no corrections to learn from",)


@pytest.mark.parametrize("method", few_shot.METHODS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_correction_of_a_label_is_no_reason_to_fail(method: str, n: int) -> None:
    x, y = clusters(n)
    said = lessons_of(np.eye(3, dtype=bool)[y], np.ones(n, dtype=bool))
    scorer, learned = learn(head_of(WRONG_WORDS), said, x, replace(AROUND, spread=0.0), method=method)
    assert np.isfinite(scorer(x)).all()
    assert learned.doubts
    if n == 1:  # left out, it leaves nothing to judge by
        assert learned.weight == 0


def test_what_is_ruled_out_weighs_in() -> None:
    """One correction each says that the term helps; what many photos do not show says that it does harm."""
    x, y = clusters(12, noise=0.1)
    others, truth = clusters(60, seed=3, noise=0.1)
    right_words = np.eye(3, DIM)
    wrong = (y + 1) % 3  # whoever corrected these was mistaken
    said, not_ = np.eye(3, dtype=bool)[wrong], ~np.eye(3, dtype=bool)[(truth + 1) % 3]
    alone, both = lessons_of(said, np.ones(12, dtype=bool)), lessons_of(np.vstack([said, not_]), np.arange(72) < 12)
    _, misled = learn(head_of(right_words), alone, x, AROUND, method="gda")
    _, warned = learn(head_of(right_words), both, np.vstack([x, others]), AROUND, method="gda")
    assert misled.weight > warned.weight
    # Logistic regression has no weight, but learns from both.
    _, misled = learn(head_of(right_words), alone, x, AROUND)
    _, warned = learn(head_of(right_words), both, np.vstack([x, others]), AROUND)
    assert (misled.accuracy, warned.accuracy) == (1.0, 0.0)
    assert (warned.used, warned.ruled_out) == (12, 60)


def test_a_group_is_learnt_as_the_label_that_fits_best_and_judged_as_an_answer() -> None:
    grouped = label_set(["a", "b", "c"], groups={"ab": ["a", "b"]})
    x, y = clusters(30, noise=0.05)
    may_be = np.eye(3, dtype=bool)[y]
    may_be[y < 2] = [True, True, False]
    _, learned = learn(
        head_of(np.eye(3, DIM), grouped), lessons_of(may_be, np.ones(30, dtype=bool), grouped), x, AROUND
    )
    assert learned.per_answer == {"ab": 20, "c": 10}
    assert (learned.without, learned.accuracy) == (1.0, 1.0)
    # Words that mix up the two labels of a group do no harm to its answer.
    swapped = np.eye(3, DIM)[[1, 0, 2]]
    _, learned = learn(head_of(swapped, grouped), lessons_of(may_be, np.ones(30, dtype=bool), grouped), x, AROUND)
    assert learned.without == 1.0


def test_no_more_than_some_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_shot, "LEFT_OUT", (1, 20))
    x, y = clusters(90)
    said = lessons_of(np.eye(3, dtype=bool)[y], np.ones(90, dtype=bool))
    _, learned = learn(head_of(WRONG_WORDS), said, x, AROUND)
    assert (learned.used, learned.n_left_out) == (90, 18)


def test_of_weights_that_are_as_good_the_largest_is_taken() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 40)
    possible = np.eye(2, dtype=bool)[truth]
    words = random.normal(size=(40, 2)).astype(np.float32)
    weights = (0.0, 0.5, 1.0, 2.0)

    def tried(*terms: np.ndarray) -> few_shot._Trial:
        return few_shot._try(words, [t.astype(np.float32) for t in terms], weights, possible, np.arange(2), 40)

    helps, harms = 5 * possible, -5 * possible
    assert tried(helps).weight == 2
    assert tried(harms).weight == 0
    assert tried(np.zeros((40, 2))).weight == 0  # nothing speaks for any of them
    assert tried(harms, helps)[:2] == (1, 2)
    assert tried(helps, harms)[:2] == (0, 2)
    assert tried(helps).right.all()
    assert (tried(harms).right == (words.argmax(axis=1) == truth)).all()
    assert (tried(harms).right == tried(helps).without).all()


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="logistic or gda or tip-adapter, not 'svm'"):
        learn(
            head_of(WRONG_WORDS),
            lessons_of(np.ones((0, 3), dtype=bool), np.ones(0, dtype=bool)),
            clusters(0)[0],
            AROUND,
            method="svm",
        )


def test_every_way_in_names_the_same_methods() -> None:
    [option] = [option for option in cli.commands["classify"].params if option.name == "with_corrections"]
    assert tuple(option.type.choices) == few_shot.METHODS == get_args(CorrectionMethod)
    assert option.flag_value == few_shot.DEFAULT_METHOD


def test_the_interval_is_that_of_drawing_again() -> None:
    random = np.random.default_rng(5)
    differences = random.choice([-1, 0, 1], p=[0.1, 0.5, 0.4], size=40)
    drawn = differences[random.integers(0, 40, size=(20_000, 40))].mean(axis=1)
    assert few_shot._interval(differences) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)
    assert few_shot._interval(np.zeros(5, dtype=np.int64)) == (0.0, 0.0)


def test_to_dict_says_all() -> None:
    found = Learned("gda", 0.5, used=30, interval=(0.1, 0.2), per_answer={"a": 3}).to_dict()
    assert found["interval"] == [0.1, 0.2]
    assert found["doubts"] == ["fewer than 4 corrections: a"]
    assert set(found) == {*Learned.__dataclass_fields__, "doubts"}


def vectors_of(rows: np.ndarray, deleted: list[int] | None = None) -> VectorTable:
    ids = np.arange(100, 100 + len(rows))
    return VectorTable(None, ids, rows.astype(np.float32), np.array(deleted or [], dtype=np.int64))


def test_the_background_is_mean_and_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit_vectors(50, dim=DIM) * 1.0
    found = background(vectors_of(rows, deleted=[3, 4]))
    kept = np.delete(rows.astype(np.float64), [3, 4], axis=0)
    assert found.mean == pytest.approx(kept.mean(axis=0), abs=1e-6)
    assert found.spread == pytest.approx(kept.var(axis=0).sum(), abs=1e-5)
    monkeypatch.setattr(few_shot, "SAMPLE", 10)
    assert background(vectors_of(rows)).mean == pytest.approx(rows[::5].mean(axis=0), abs=1e-6)
    empty = background(vectors_of(np.empty((0, DIM))))
    assert (empty.mean == 0).all()
    assert empty.spread == 0


# --- what people said -------------------------------------------------------------------------------------------------


def test_settled_photos_score_what_was_said() -> None:
    possible = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=bool)
    settled = Settled(np.array([4, 7, 9]), possible, np.array([True, False, False]))
    which, said = settled.find(np.array([9, 5, 4, 7, 10, 4]))
    assert which.tolist() == [0, 2, 3, 5]
    assert said.tolist() == [2, 0, 1, 0]
    scores = np.array([[0.5, 0.2, 0.3], [0.5, 0.2, 0.3], [1, 0, 0]], dtype=np.float32)
    softmax_scores = settled.scores(np.array([0, 1, 2]), scores, Activation.SOFTMAX)
    assert softmax_scores == pytest.approx(np.array([[0, 1, 0], [0.625, 0, 0.375], [0, 0.5, 0.5]]), abs=1e-6)
    sigmoid_scores = settled.scores(np.array([0, 1, 2]), scores, Activation.SIGMOID)
    assert sigmoid_scores == pytest.approx(np.array([[0.5, 1, 0.3], [0.5, 0, 0.3], [0, 0, 0]]), abs=1e-6)
    nothing = Settled(np.empty(0, dtype=np.int64), np.empty((0, 3), dtype=bool), np.empty(0, dtype=bool))
    assert len(nothing.find(np.array([1, 2]))[0]) == 0


def test_none_of_these_is_settled_where_it_is_an_answer() -> None:
    said = Lessons(
        LABELS, np.array([2, 8]), np.array([[1, 0, 0], [0, 1, 1]], dtype=bool), np.array([True, False]), np.array([5])
    )
    plain = said.among(LABELS.answers)
    assert plain.image_ids.tolist() == [2, 8]
    more = said.among((*LABELS.answers, NONE))
    assert more.image_ids.tolist() == [2, 5, 8]
    assert more.possible.astype(int).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1]]
    assert more.is_said.tolist() == [True, True, False]

"""Evaluation over made-up answers, against loops that follow the definitions; and where truth comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsindex.classification.prompts import label_set
from zsindex.errors import BadTruth
from zsindex.lab import bootstrap, evaluate, metrics, truth
from zsindex.lab.bootstrap import Estimate, of_share
from zsindex.lab.evaluate import Outcome, compare
from zsindex.lab.tradeoff import tradeoff
from zsindex.records import NONE

ANSWERS = ("a", "b", "c", "d", "e", "f", "g")


def outcome(
    scores: Sequence[Sequence[float]],
    shown: Sequence[Sequence[int]],
    *,
    answers: tuple[str, ...] = ANSWERS,
    name: str = "one",
) -> Outcome:
    """Answers by plain sorting of a score matrix."""
    matrix = np.asarray(scores, dtype=np.float32)
    best = np.argsort(-matrix, axis=1, kind="stable")[:, : evaluate.BEST]
    pairs = [(photo, answer) for photo, said in enumerate(shown) for answer in said]
    known = truth.Known(np.array([p for p, _ in pairs]), np.array([a for _, a in pairs]), len(matrix))
    top = np.take_along_axis(matrix, best, axis=1)
    return Outcome(name, answers, known, best, top, matrix.max(axis=1), lambda photos: matrix[photos])


def made_up(n: int, *, n_answers: int = 7, seed: int = 0, skill: float = 1.0) -> tuple[np.ndarray, list[list[int]]]:
    random = np.random.default_rng(seed)
    shown = random.integers(0, n_answers, n)
    logits = random.standard_normal((n, n_answers))
    logits[np.arange(n), shown] += skill
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True), [[int(s)] for s in shown]


# --- what is measured -------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(2, 7), st.integers(0, 1000))
def test_the_summary_follows_its_definitions(n: int, n_answers: int, seed: int) -> None:
    scores, shown = made_up(n, n_answers=n_answers, seed=seed)
    [report] = compare([outcome(scores, shown, answers=ANSWERS[:n_answers])], n_resamples=0)
    right = [s[0] for s in shown]
    best = [max(range(n_answers), key=lambda a: row[a]) for row in scores]
    hits = [b == r for b, r in zip(best, right, strict=True)]
    assert report.photos == n
    assert report.summary["top1"].value == pytest.approx(sum(hits) / n)
    if n_answers > 5:
        ranked = [sorted(range(n_answers), key=lambda a: -row[a]) for row in scores]
        assert report.summary["top5"].value == pytest.approx(
            sum(r in order[:5] for r, order in zip(right, ranked, strict=True)) / n
        )
    else:
        assert "top5" not in report.summary  # of five answers, or fewer, the right one is always among the best five
    precisions, recalls, f1s = [], [], []
    for answer in sorted(set(right)):
        tp = sum(b == r == answer for b, r in zip(best, right, strict=True))
        precisions.append(tp / best.count(answer) if answer in best else 0)
        recalls.append(tp / right.count(answer))
        f1s.append(2 * tp / (right.count(answer) + best.count(answer)))
    for name, expected in (("precision", precisions), ("recall", recalls), ("f1", f1s)):
        assert report.summary[name].value == pytest.approx(sum(expected) / len(expected))
    assert [label.label for label in report.labels] == [ANSWERS[a] for a in sorted({*right, *best})]
    for label in report.labels:
        number = ANSWERS.index(label.label)
        assert (label.photos, label.answered) == (right.count(number), best.count(number))
    assert sum(cell.photos for cell in report.confusions) == n
    matrix = report.matrix(ANSWERS)
    for i, j in np.ndindex(matrix.shape):
        assert matrix[i, j] == sum((r, b) == (i, j) for r, b in zip(right, best, strict=True))
    assert [c.photos for c in report.mistakes] == sorted((c.photos for c in report.mistakes), reverse=True)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=50))
def test_calibration_follows_its_definition(photos: list[tuple[int, bool]]) -> None:
    confidence, right = [c / 100 for c, _ in photos], [r for _, r in photos]
    expected = 0.0
    for b in range(15):
        inside = [i for i, (c, _) in enumerate(photos) if b * 100 < 15 * c <= (b + 1) * 100 or (b == 0 and c == 0)]
        if inside:
            gap = sum(right[i] for i in inside) / len(inside) - sum(confidence[i] for i in inside) / len(inside)
            expected += len(inside) / len(photos) * abs(gap)
    assert metrics.calibration_error(confidence, right) == pytest.approx(expected)
    bins = metrics.reliability(confidence, right)
    assert sum(b.photos for b in bins) == len(photos)
    assert sum(b.photos * abs(b.accuracy - b.confidence) for b in bins) / len(photos) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=30))
def test_average_precision_goes_down_the_thresholds(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = zip(*pairs, strict=True)
    if not any(positive):
        with pytest.raises(ValueError):
            metrics.average_precision(scores, positive)
        return
    expected, before = 0.0, 0.0
    for threshold in range(3, -4, -1):
        passed = [p for s, p in pairs if s >= threshold]
        recall = sum(passed) / sum(positive)
        if passed:
            expected += (recall - before) * sum(passed) / len(passed)
        before = recall
    assert metrics.average_precision(scores, positive) == pytest.approx(expected)


def test_known_average_precision() -> None:
    assert metrics.average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == pytest.approx(5 / 6)


def test_a_weight_is_that_many_photos() -> None:
    """Every metric with weights is the same metric of photos that come so often: which is what a resample is."""
    scores, shown = made_up(30, seed=5)
    random = np.random.default_rng(1)
    for weights in bootstrap.resamples(30, 5, seed=3):
        assert weights.sum() == 30
        repeated = np.repeat(np.arange(30), weights.astype(int))
        tally = evaluate._Tally(outcome(scores, shown))
        again = evaluate._Tally(outcome(scores[repeated], [shown[i] for i in repeated]))
        k = len(evaluate.SUMMARY)
        np.testing.assert_allclose(tally.values(weights)[:k], again.values(np.ones(30))[:k])
        values, positive = random.integers(0, 5, 30), np.arange(30) % 3 == 0
        roc, roc_again = metrics.Roc.of(values, positive), metrics.Roc.of(values[repeated], positive[repeated])
        assert roc.area(weights) == pytest.approx(roc_again.area())
        assert roc.false_positives(0.9, weights) == pytest.approx(roc_again.false_positives(0.9))
        place = np.unique(-values, return_inverse=True)[1]
        assert metrics.ranked_precision(place, positive, weights) == pytest.approx(
            metrics.average_precision(values[repeated], positive[repeated])
        )


# --- intervals --------------------------------------------------------------------------------------------------------


def test_an_interval_is_about_as_wide_as_theory_says() -> None:
    """Of a share p of n the standard error is sqrt(p (1 - p) / n); an interval of 95 % is 1.96 to either side."""
    scores, shown = made_up(400, skill=2.0)
    [report] = compare([outcome(scores, shown)], n_resamples=2000, seed=1)
    top1 = report.summary["top1"]
    half = 1.96 * math.sqrt(top1.value * (1 - top1.value) / 400)
    assert top1.low == pytest.approx(top1.value - half, abs=0.01)
    assert top1.high == pytest.approx(top1.value + half, abs=0.01)
    assert compare([outcome(scores, shown)], n_resamples=2000, seed=1)[0].summary == report.summary
    assert compare([outcome(scores, shown)], n_resamples=2000, seed=2)[0].summary["top1"].value == top1.value


@pytest.mark.parametrize("n", [1, 3, 30, 134])
def test_an_interval_of_none_or_all_is_the_exact_one(n: int) -> None:
    """All resamples of photos that are all right are all right, which says nothing of other photos."""
    none, every = of_share(Estimate(0.0, 0.0, 0.0), n), of_share(Estimate(1.0, 1.0, 1.0), n)
    # The largest share with which n wrong ones in a row are still not too rare.
    assert (none.value, none.low) == (0.0, 0.0)
    assert (1 - none.high) ** n == pytest.approx(0.025)
    assert (every.value, every.low, every.high) == (1.0, 1 - none.high, 1.0)
    assert of_share(Estimate(0.5, 0.4, 0.6), n) == Estimate(0.5, 0.4, 0.6)
    assert np.isnan(of_share(Estimate(1.0), n).low)  # without resamples there is none
    scores = np.tile(np.float32([0.9, 0.1]), (n, 1))
    [report] = compare([outcome(scores, [[1]] * n)], n_resamples=200)
    assert report.summary["top1"] == none
    [first, second] = report.labels
    assert (first.precision, second.recall) == (none, none)


def test_a_difference_is_paired() -> None:
    scores, shown = made_up(300, skill=1.0)
    better = scores.copy()
    wrong = np.flatnonzero(scores.argmax(axis=1) != np.ravel(shown))[:30]
    better[wrong, [shown[i][0] for i in wrong]] = 1.0
    first, same, second = compare(
        [outcome(scores, shown), outcome(scores, shown, name="same"), outcome(better, shown, name="better")]
    )
    assert first.differences == {}
    assert {(e.value, e.low, e.high) for e in same.differences.values()} == {(0.0, 0.0, 0.0)}
    gain = second.differences["top1"]
    assert gain.value == pytest.approx(0.1)
    assert gain.excludes_zero
    # Of 30 photos that differ among 300: much narrower than either by itself.
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * math.sqrt(0.1 * 0.9 / 300), abs=0.01)
    assert not same.differences["top1"].excludes_zero
    # Whose they are, and label by label.
    assert (first.gained, first.lost, first.f1_differences) == (0, 0, {})
    assert (same.gained, same.lost, second.gained, second.lost) == (0, 0, 30, 0)
    assert sorted(second.right_unlike(first).tolist()) == wrong.tolist()
    assert first.right_unlike(second).tolist() == same.right_unlike(first).tolist() == []
    [worse] = compare([outcome(better, shown), outcome(scores, shown)])[1:]
    assert (worse.gained, worse.lost) == (0, 30)
    f1 = {one.label: one.f1.value for one in first.labels}
    for one in second.labels:
        found = second.f1_differences[one.label]
        assert found.value == pytest.approx(one.f1.value - f1[one.label])
        assert found.low <= found.value <= found.high
        assert worse.f1_differences[one.label].value == pytest.approx(-found.value)


def test_labels_of_both_are_compared_wherever_they_stand() -> None:
    scores, shown = made_up(60, n_answers=3)
    turned = [[2 - answer for answer in said] for said in shown]
    one = outcome(scores, shown, answers=("a", "b", "c"))
    other = outcome(scores[:, ::-1], turned, answers=("c", "x", "a"))
    found = compare([one, other], n_resamples=20)[1]
    assert list(found.f1_differences) == ["c", "a"]
    assert {(e.value, e.low, e.high) for e in found.f1_differences.values()} == {(0.0, 0.0, 0.0)}


def test_photos_that_differ_come_with_those_first_where_both_were_sure() -> None:
    first = outcome([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [[0], [0], [0]], answers=("a", "b"))
    other = outcome([[0.4, 0.6], [0.1, 0.9], [0.7, 0.3]], [[0], [0], [0]], answers=("a", "b"))
    one, two = compare([first, other], n_resamples=0)
    assert one.right_unlike(two).tolist() == [0, 1]  # 0.6 and 0.6: in their order
    assert two.right_unlike(one).tolist() == [2]
    assert (two.gained, two.lost) == (1, 2)


def test_without_resamples_there_is_no_interval() -> None:
    [report] = compare([outcome(*made_up(10))], n_resamples=0)
    assert report.to_dict()["summary"]["top1"]["low"] is None
    assert not math.isnan(report.summary["top1"].value)


# --- several things in a photo, none of these, no answer --------------------------------------------------------------


def test_photos_with_several_labels_have_average_precision() -> None:
    scores, shown = made_up(60, n_answers=7, seed=2)
    several = [sorted({s[0], (s[0] + i) % 7}) for i, s in enumerate(shown)]
    [report] = compare([outcome(scores, several)], n_resamples=200)
    expected = {
        a: metrics.average_precision(np.float32(scores[:, a]), [a in said for said in several]) for a in range(7)
    }
    assert report.summary["map"].value == pytest.approx(np.mean(list(expected.values())))
    assert report.summary["map"].low < report.summary["map"].value < report.summary["map"].high
    for label in report.labels:
        assert label.average_precision is not None
        assert label.average_precision.value == pytest.approx(expected[ANSWERS.index(label.label)])
    assert report.confusions == ()
    best = scores.argmax(axis=1)
    assert report.summary["top1"].value == pytest.approx(np.mean([b in s for b, s in zip(best, several, strict=True)]))


def test_average_precision_takes_labels_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, shown = made_up(60, seed=2)
    several = [sorted({s[0], (s[0] + i) % 7}) for i, s in enumerate(shown)]
    [whole] = compare([outcome(scores, several)], n_resamples=150)
    monkeypatch.setattr(evaluate, "CELLS", 130)
    [parts] = compare([outcome(scores, several)], n_resamples=150)
    assert parts.summary == whole.summary
    monkeypatch.setattr(evaluate, "MAX_STEPS", 60 * 7 * 120)
    [fewer] = compare([outcome(scores, several)], n_resamples=150)
    assert fewer.summary["map"].value == whole.summary["map"].value
    assert fewer.summary["map"].low == pytest.approx(whole.summary["map"].low, abs=0.03)
    monkeypatch.setattr(evaluate, "MAX_STEPS", 60 * 7 * 99)
    [none] = compare([outcome(scores, several)], n_resamples=150)
    assert math.isnan(none.summary["map"].low)


def test_none_of_these_is_measured_by_knownness_even_if_it_is_no_answer() -> None:
    scores, shown = made_up(40, seed=3)
    shown = [[-1] if i % 4 == 0 else said for i, said in enumerate(shown)]
    [report] = compare([outcome(scores, shown)], n_resamples=100)
    known = np.array([said != [-1] for said in shown])
    assert report.photos == 30
    assert report.summary["auroc"].value == pytest.approx(metrics.auroc(np.float32(scores).max(axis=1), known))
    assert report.summary["fpr95"].value == pytest.approx(metrics.fpr_at_tpr(np.float32(scores).max(axis=1), known))
    right = [s == [int(b)] for s, b in zip(shown, scores.argmax(axis=1), strict=True)]
    assert report.summary["top1"].value == pytest.approx(sum(right) / 30)
    assert NONE not in {label.label for label in report.labels}


def test_none_of_these_can_be_an_answer() -> None:
    scores = [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]]
    given = outcome(scores, [[0], [1], [0], [1]], answers=("a", NONE))
    [report] = compare([replace(given, knownness=np.array([0.9, 0.2, 0.4, 0.7]))], n_resamples=0)
    assert report.photos == 4
    assert report.summary["top1"].value == 0.5
    assert report.summary["auroc"].value == 0.75


def test_a_photo_without_an_answer_is_wrong() -> None:
    given = outcome([[0.9, 0.1], [0.2, 0.8]], [[0], [1]], answers=("a", "b"))
    given = replace(given, best=np.array([[0, 1], [-1, -1]]), scores=np.array([[0.9, 0.1], [np.nan, np.nan]]))
    [report] = compare([given], n_resamples=0)
    assert report.summary["top1"].value == 0.5
    assert report.confusions[1].to_dict() == {"truth": "b", "answer": evaluate.NO_ANSWER, "photos": 1}
    assert report.to_dict()["labels"][1]["precision"]["value"] is None


# --- where truth comes from -------------------------------------------------------------------------------------------


def test_folders_say_what_photos_show() -> None:
    found = truth.from_folders(["/p/dog/1.jpg", "/p/cafe\u0301/2.jpg"])
    assert found.labels == {"/p/dog/1.jpg": ("dog",), "/p/cafe\u0301/2.jpg": ("café",)}


def test_tables_say_several_things() -> None:
    text = "\ufeffpath,label,note\nb.jpg,dog,x\n/abs/a.jpg,dog|cat,\nb.jpg,cat,\nc.jpg,,\nb.jpg,dog,\n"
    found = truth.from_csv(text, source="t.csv", folder="/p")
    assert found.labels == {"/p/b.jpg": ("dog", "cat"), "/abs/a.jpg": ("dog", "cat")}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "path is missing"),
        ("file,label\n", "path is missing"),
        ("path,label\na.jpg\n", "line 2: there is no label"),
        ("path,label\n,dog\n", "line 2: there is no path"),
        ('path,label\n"a.jpg,dog\n', "unexpected end"),
    ],
)
def test_a_bad_table_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadTruth, match=why):
        truth.from_csv(text, source="t.csv", folder="/p")


def test_names_stand_for_answers() -> None:
    labels = label_set(["cat", "dog", "T-shirt", "shirt"], groups={"pet": ["cat", "dog"]}, negatives=["wall"])
    said = truth.from_mapping({"1": "cat", "2": "pet", "3": "wall", "4": NONE, "5": "t-shirt", "6": ["sky", "dog"]})
    names = truth.stands_for(
        said, labels, labels.answers, {"t-shirt": ["none", "T-shirt", "shirt"], "dog": ["shirt"]}, others=False
    )
    answer = {name: labels.answers[number] for name, number in names.number.items()}
    assert answer == {"cat": "pet", "pet": "pet", "wall": NONE, NONE: NONE, "t-shirt": "T-shirt", "dog": "shirt"}
    assert names.unknown == ("sky",)
    assert truth.unknown_counts(said, [names]) == {"sky": 1}
    known = truth.known(said, names, ["6", "1"])
    assert [(p, labels.answers[a]) for p, a in zip(known.photo, known.answer, strict=True)] == [
        (0, "shirt"),
        (1, "pet"),
    ]
    others = truth.stands_for(said, label_set(["cat"]), ["cat"], {}, others=True)
    assert others.unknown == ()
    assert set(others.number.values()) == {0, -1}


def test_right_answers_are_found_among_the_best() -> None:
    known = truth.Known(np.array([0, 0, 1, 2]), np.array([3, 1, 2, -1]), 3)
    assert known.is_multi
    best = np.array([[1, 3, 0], [0, -1, 2], [-1, 0, 3]])
    assert known.is_right(best).tolist() == [[True, True, False], [False, False, True], [False, False, False]]
    assert known.matrix(4).tolist() == [[False, True, False, True], [False, False, True, False], [False] * 4]


# --- what a minimum score costs ---------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), min_size=1, max_size=60), st.integers(1, 9))
def test_a_tradeoff_counts_photos_with_at_least_each_score(rows: list[tuple[int, bool, bool]], most: int) -> None:
    scores, shows, best = (np.array(column) for column in zip(*rows, strict=True))
    scores = (scores / 8).astype(np.float32)
    whole = tradeoff("owl", scores, shows, best)
    assert [point.score for point in whole.points] == sorted({float(score) for score in scores}, reverse=True)
    for point in whole.points:
        has = scores >= point.score
        assert (point.photos, point.right) == (has.sum(), (has & shows).sum())
        assert (point.answered, point.answered_right) == ((has & best).sum(), (has & best & shows).sum())
    few = tradeoff("owl", scores, shows, best, most).points
    assert len(few) <= most
    assert set(few) <= set(whole.points)
    if most > 1:
        assert (few[0], few[-1]) == (whole.points[0], whole.points[-1])

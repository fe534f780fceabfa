"""Label shift and transport: formulas against brute force, shares of synthetic data, and priors of a library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.optimize import linear_sum_assignment
from zsindex.cli import cli

from tests.fakes import FakeEncoder
from tests.libraries import paint
from zsindex import label_set
from zsindex.classification import priors
from zsindex.classification.options import Question
from zsindex.errors import BadPrior, BadQuestion, BadTruth, TooManyScores
from zsindex.lab import prior, transport
from zsindex.lab.prior import KnownPhotos
from zsindex.library import Library
from zsindex.records import NONE, FloatArray
from zsindex.services.prior import neutral


def softmax(z: np.ndarray) -> FloatArray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)


def some_scores(n: int, a: int, seed: int) -> FloatArray:
    random = np.random.default_rng(seed)
    return softmax(2 * random.normal(size=(n, a)) + random.normal(size=a))


# --- transport --------------------------------------------------------------------------------------------------------


def test_quotas_are_whole_and_add_up() -> None:
    assert transport.quotas(np.array([0.5, 0.3, 0.2]), 7).tolist() == [4, 2, 1]  # 3.5, 2.1, 1.4
    for seed in range(20):
        shares = np.random.default_rng(seed).dirichlet(np.full(9, 0.3))
        found = transport.quotas(shares, 1000)
        assert found.sum() == 1000
        assert np.abs(found - 1000 * shares).max() < 1


@pytest.mark.parametrize(("n", "a", "seed"), [(40, 2, 0), (90, 5, 1), (150, 8, 2), (60, 30, 3)])
@pytest.mark.parametrize("absent", [False, True])
def test_the_plan_is_the_best_that_keeps_the_quotas(n: int, a: int, seed: int, absent: bool) -> None:
    scores = some_scores(n, a, seed)
    shares = np.random.default_rng(seed).dirichlet(np.ones(a))
    if absent:
        shares[0] = 0
        shares /= shares.sum()
    wanted = transport.quotas(shares, n)
    found = transport.transport(scores, wanted)
    np.testing.assert_array_equal(np.bincount(found.answers, minlength=a), wanted)
    costs = -np.log(scores.astype(np.float64))
    columns = np.repeat(np.arange(a), wanted)
    rows, best = linear_sum_assignment(costs[:, columns])
    # float32 logarithms: 1e-6 for each photo.
    assert costs[np.arange(n), found.answers].sum() == pytest.approx(costs[rows, columns[best]].sum(), abs=1e-6 * n)
    np.testing.assert_array_equal((np.log(scores) + found.potentials).argmax(axis=1), found.answers)


def test_many_photos_are_handed_over_at_next_to_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_EXCHANGE_WORK", 0)
    scores = some_scores(20_000, 6, 4)
    wanted = transport.quotas(np.array([0.4, 0.3, 0.2, 0.1, 0, 0]), 20_000)
    found = transport.transport(scores, wanted)
    np.testing.assert_array_equal(np.bincount(found.answers, minlength=6), wanted)
    likely = np.log(scores[:, :4]).astype(np.float64) + found.potentials[:4]
    # The dual bound: no plan that keeps the quotas is better than each photo's best under the potentials.
    gap = likely.max(axis=1) - likely[np.arange(20_000), found.answers]
    assert 0 <= gap.mean() < 1e-3
    np.testing.assert_array_equal(transport.reweighted(scores, found).argmax(axis=1), found.answers)


def test_scores_under_a_plan_add_up_and_name_its_labels_first_even_where_photos_are_alike() -> None:
    scores = np.tile(softmax(np.array([[3.0, 2.0, 0.0]])), (10, 1))
    found = transport.transport(scores, np.array([2, 3, 5]))
    after = transport.reweighted(scores, found)
    np.testing.assert_array_equal(after.argmax(axis=1), found.answers)
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-6)


def test_a_plan_does_not_depend_on_order_or_on_what_all_photos_share() -> None:
    scores, wanted = some_scores(80, 4, 5), np.array([10, 20, 20, 30])
    found = transport.transport(scores, wanted).answers
    photos, labels = np.random.default_rng(0).permutation(80), np.array([2, 0, 3, 1])
    moved = transport.transport(scores[photos][:, labels], wanted[labels]).answers
    np.testing.assert_array_equal(labels[moved], found[photos])
    # Weights of labels change no plan: each keeps its quota whatever it costs.
    weighted = scores * np.array([1, 0.1, 3, 0.5], dtype=np.float32)
    np.testing.assert_array_equal(transport.transport(weighted, wanted).answers, found)


def test_no_photos_one_label_and_too_much() -> None:
    assert not len(transport.transport(np.empty((0, 3), np.float32), np.zeros(3, np.int64)).answers)
    assert transport.transport(some_scores(5, 3, 0), np.array([0, 5, 0])).answers.tolist() == [1] * 5
    with pytest.raises(TooManyScores):
        transport.transport(np.broadcast_to(np.float32(0), (2**14, 2**14)), np.zeros(2**14, np.int64))


# --- estimates --------------------------------------------------------------------------------------------------------


def synthetic(n: int, shares: np.ndarray, seed: int, *, noise: float = 1.2) -> tuple[FloatArray, np.ndarray]:
    """Posteriors under even shares, which are right, of photos that are divided by other ones; and what they show."""
    random = np.random.default_rng(seed)
    a = len(shares)
    shown = random.choice(a, n, p=shares)
    centres = 2 * np.eye(a)
    x = centres[shown] + noise * random.normal(size=(n, a))
    return softmax(-((x[:, None] - centres) ** 2).sum(axis=2) / (2 * noise**2)), shown


SHARES = np.array([0.55, 0.25, 0.15, 0.05, 0.0])
EVEN = np.full(5, 0.2)


def test_em_recovers_the_shares_of_calibrated_scores_and_invents_none() -> None:
    scores, shown = synthetic(4000, SHARES, 0)
    found = prior.em(scores, EVEN)
    assert found.sum() == pytest.approx(1)
    # Of 4,000 photos that are told apart with 75 % the standard error of a share is about 0.012: four of them.
    np.testing.assert_allclose(found, np.bincount(shown, minlength=5) / 4000, atol=0.05)
    assert found[4] < 0.01
    # Counting answers is biased: it sees photos of what is not there.
    assert (scores.argmax(axis=1) == 4).mean() > 0.03


def test_em_is_the_maximum_of_the_likelihood() -> None:
    scores, _ = synthetic(300, np.array([0.8, 0.2]), 1)
    grid = np.linspace(0.001, 0.999, 999)
    likelihood = [np.log(scores @ np.array([p, 1 - p])).sum() for p in grid]
    assert prior.em(scores, np.full(2, 0.5))[0] == pytest.approx(grid[int(np.argmax(likelihood))], abs=1.5e-3)


def test_shares_nearest_to_some_numbers() -> None:
    values = np.array([[0.5, 0.9, -0.3], [0.2, 0.3, 0.5], [-1, -2, -3]])
    found = prior.on_simplex(values)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    steps = np.linspace(0, 1, 101)
    grid = np.array([(p, q, 1 - p - q) for p, q in product(steps, steps) if p + q <= 1 + 1e-9])
    for given, near in zip(values, found, strict=True):
        best = ((grid - given) ** 2).sum(axis=1).min()
        assert ((near - given) ** 2).sum() <= best + 1e-9
        assert ((near - given) ** 2).sum() == pytest.approx(best, abs=0.02)


def test_least_squares_over_shares_are_the_least() -> None:
    random = np.random.default_rng(0)
    columns, target = random.dirichlet(np.ones(3), 3).T, random.dirichlet(np.ones(3))
    even = np.full(3, 1 / 3)
    found = prior.least_squares(columns, target, even, 0.05)
    steps = np.linspace(0, 1, 201)
    grid = np.array([(p, q, 1 - p - q) for p, q in product(steps, steps) if p + q <= 1 + 1e-9])

    def loss(shares: np.ndarray) -> np.ndarray:
        return ((shares @ columns.T - target) ** 2).sum(axis=-1) + 0.05 * ((shares - even) ** 2).sum(axis=-1)

    assert loss(found) <= loss(grid).min() + 1e-9
    np.testing.assert_allclose(found, grid[loss(grid).argmin()], atol=0.01)


def test_calibration_finds_power_and_biases_whatever_the_numbers_of_known_photos() -> None:
    scores, shown = synthetic(6000, np.array([0.6, 0.2, 0.1, 0.1]), 2)
    bias = np.array([1.0, -1.0, 0.5, -0.5])
    # A model that is twice as sure as it should be, and prefers some labels.
    wrong = softmax(2 * (np.log(scores) - bias))
    found = prior.calibrate(wrong, shown, np.full(4, 0.25))
    assert found.power == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(found.bias - found.bias.mean(), bias - bias.mean(), atol=0.2)


@pytest.mark.parametrize(("method", "within"), [("rlls", 0.1), ("bbse", 0.06), ("em", 0.06)])
def test_methods_recover_shares_with_known_photos_of_another_division(method: str, within: float) -> None:
    known_scores, known_shown = synthetic(600, EVEN, 3)
    scores, shown = synthetic(4000, SHARES, 4)
    bias = np.array([1.0, -1.0, 0.5, -0.5, 0.0])
    known = KnownPhotos(softmax(np.log(known_scores) - bias), known_shown, "a table")
    wrong = softmax(np.log(scores) - bias)
    found, _ = prior.estimate(
        lambda: iter(np.array_split(wrong, 3)), list("abcde"), EVEN, known, method=method, resamples=40
    )
    true = np.bincount(shown, minlength=5) / 4000
    # rlls is drawn towards even shares, by its ridge.
    np.testing.assert_allclose(list(found.values.values()), true, atol=within)
    assert sum(found.values.values()) == pytest.approx(1)
    for one in found.shares.values():
        assert 0 <= one.low <= one.high <= 1
    assert found.known == dict(zip("abcde", np.bincount(known_shown).tolist(), strict=True))
    # Taken at their word, the scores are further off.
    assert np.abs(prior.em(wrong, EVEN) - true).max() > within


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = []
    for seed in range(20):
        known = KnownPhotos(*synthetic(300, np.full(3, 1 / 3), 100 + seed), "a table")
        scores, _ = synthetic(500, np.array([0.6, 0.3, 0.1]), 200 + seed)
        found, _ = prior.estimate(
            lambda s=scores: [s], list("abc"), np.full(3, 1 / 3), known, method="bbse", resamples=60
        )
        held += [
            one.low <= share <= one.high for one, share in zip(found.shares.values(), (0.6, 0.3, 0.1), strict=True)
        ]
    # 60 intervals of 95 %, by threes of the same photos, from 60 resamples each: 85 % is three standard errors off.
    assert np.mean(held) >= 0.85


def test_what_is_not_known() -> None:
    scores, _ = synthetic(50, EVEN, 5)
    with pytest.raises(BadPrior, match="known content"):
        prior.estimate(lambda: [scores], list("abcde"), EVEN, None)
    with pytest.raises(BadPrior, match="methods are rlls, em, bbse"):
        prior.estimate(lambda: [scores], list("abcde"), EVEN, None, method="x")
    found, _ = prior.estimate(lambda: [scores], list("abcde"), EVEN, None, method="em", resamples=0)
    assert "at their word" in found.doubts[0]
    assert np.isnan(found.shares["a"].low)
    few = KnownPhotos(scores[:3], np.array([0, 0, 1]), "a table")
    found, _ = prior.estimate(lambda: [scores], list("abcde"), EVEN, few, resamples=5)
    assert [doubt[:5] for doubt in found.doubts] == ["fewer", "none "]


def test_weights_are_bayes_rule() -> None:
    scores = some_scores(6, 3, 6)
    shares, even = np.array([0.7, 0.3, 0.0]), np.full(3, 1 / 3)
    found = prior.reweighted(scores, 1.0, prior.shift_to(shares, even))
    wanted = scores * shares
    np.testing.assert_allclose(found, wanted / wanted.sum(axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(prior.reweighted(scores, 1.0, prior.shift_to(even, even)), scores, atol=1e-6)


def test_a_group_is_by_itself_as_likely_as_all_of_its_labels() -> None:
    labels = label_set(["cat", "dog", "car"], groups={"animal": ["cat", "dog"]}, negatives=["noise"])
    assert labels.answers == ("animal", "car", NONE)
    np.testing.assert_allclose(neutral(labels), [0.5, 0.25, 0.25])


# --- as people write them ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "cat=0.2,dog, big=0.8",
        "cat=0.2\ndog, big=0.8\n",
        'label,share\ncat,0.2\n"dog, big",0.8\n',
        'label,photos,low\ncat,0.2,1\n"dog, big",0.8,1\n',
        '{"cat": 0.2, "dog, big": 0.8}',
        '{"shares": [{"label": "cat", "share": 0.2}, {"label": "dog, big", "share": 0.8, "low": 0.1}]}',
    ],
)
def test_shares_are_read(text: str) -> None:
    assert priors.parse(text) == {"cat": 0.2, "dog, big": 0.8}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cat", "not of the form"),
        ("cat=x", "no number"),
        ("cat=1,cat=2", "twice"),
        ("", "not of the form"),
        ("label,other\ncat,1\n", "share is missing"),
        ("[1, 2]", "not JSON"),
        ('{"cat": "x"}', "not JSON"),
    ],
)
def test_what_is_no_prior_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadPrior, match=why):
        priors.parse(text)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"cat": -1}, "from 0 on"),
        ({"cat": float("nan")}, "from 0 on"),
        ({"cat": True}, "from 0 on"),
        ({"cat": 0}, "above 0"),
        ({}, "above 0"),
        ({"cat": 0.2, "dog": 0.3}, "add up to 0.5, not 1"),
        ("guessed", "'estimated'"),
    ],
)
def test_numbers_that_cannot_be_shares_are_refused(given: dict[str, float] | str, why: str) -> None:
    with pytest.raises(BadPrior, match=why):
        Question(["cat", "dog"], prior=given)


def test_numbers_of_photos_become_shares_of_all_answers() -> None:
    assert priors.shares_of({"cat": 30, "dog": 10, "owl": 0}, ["dog", "cat", "owl"]) == [0.25, 0.75, 0]
    with pytest.raises(BadPrior, match="no share is given for owl"):
        priors.shares_of({"cat": 1}, ["cat", "owl"])
    with pytest.raises(BadPrior, match="cow: not among the answers"):
        priors.shares_of({"cat": 1, "cow": 1}, ["cat"])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"transport": True}, "takes a prior"),
        ({"prior": {"a": 1, "b": 1}, "activation": "sigmoid"}, "softmax"),
        ({"prior": {"a": 1, "b": 1}, "multi_label": True}, "divides"),
        ({"prior": {"a": 1, "b": 1}, "thresholds": True}, "thresholds"),
        ({"prior": {"a": 1, "b": 1}, "smooth": True}, "smoothing"),
        ({"prior": {"a": 1, "b": 1}, "transport": True, "unknown": "mcm:0.1"}, "all photos"),
        ({"prior": "estimated"}, "saved label set"),
        ({"prior": "estimated", "label_set": "x", "labels": None, "unknown": "mcm:0.1"}, "one of the labels"),
        ({"prior": "estimated", "label_set": "x", "labels": None, "with_corrections": "gda"}, "learns"),
    ],
)
def test_what_a_prior_does_not_go_with(options: dict[str, object], why: str) -> None:
    with pytest.raises(BadQuestion, match=why):
        Question(**({"labels": ["a", "b"]} | options))  # type: ignore[arg-type]


# --- of a library -----------------------------------------------------------------------------------------------------

RGB = ["red", "green", "blue"]
COLOURS = [(250, 10, 10), (240, 20, 30), (230, 0, 60), (120, 130, 40), (10, 10, 250), (30, 20, 240), (10, 250, 10)]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    folder = tmp_path / "photos"
    for number in range(21):
        red, green, blue = COLOURS[number % 7]
        paint(folder / f"{number:02}.png", (red, green, (blue + number) % 256))
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(folder)
        opened.labels.save("colours", RGB)
        yield opened


def correct_all(library: Library) -> None:
    """Say of every photo what it shows by its best answer."""
    found = library.classify(label_set="colours", top=1)
    library.corrections.add_all("colours", [(result.path, result.label, False) for result in found])


def test_a_given_prior_weights_the_scores(library: Library) -> None:
    plain = library.classify(label_set="colours").scores
    shares = np.array([0.1, 0.7, 0.2])
    found = library.classify(label_set="colours", prior={"blue": 2, "red": 1, "green": 7}, top=3)
    wanted = plain * shares
    np.testing.assert_allclose(found.scores, wanted / wanted.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(found.ranked[1], -np.sort(-found.scores, axis=1), atol=1e-6)
    assert found.prior is not None
    assert found.prior.to_dict() == {
        "shares": {"red": 0.1, "green": 0.7, "blue": 0.2},
        "method": None,
        "known": 0,
        "transport": False,
    }
    none_green = library.classify(label_set="colours", prior={"blue": 0.5, "red": 0.5, "green": 0}, top=1)
    assert "green" not in {result.label for result in none_green}
    even = library.classify(label_set="colours", prior=dict.fromkeys(RGB, 1.0))
    np.testing.assert_allclose(even.scores, plain, atol=1e-5)


def test_exact_shares_are_kept_and_an_answer_is_recorded_with_its_numbers(library: Library) -> None:
    given = {"red": 5, "green": 9, "blue": 7}
    found = library.classify(label_set="colours", prior=given, transport=True, record=True)
    assert found.tally() == given
    np.testing.assert_array_equal(found.scores.argmax(axis=1), found.ranked[0][:, 0])
    run = library.runs.get(found.run.key)
    assert run.prior is not None
    assert run.prior["shares"] == pytest.approx({"red": 5 / 21, "green": 9 / 21, "blue": 7 / 21})
    again = library.runs.repeat(found.run.key)
    assert again.same
    assert again.result.tally() == given
    other = library.classify(label_set="colours", prior=given | {"red": 6}, transport=True)
    assert other.run.key != found.run.key
    assert library.classify(label_set="colours", prior={"red": 5.0, "green": 9, "blue": 7}).run.key != found.run.key


def test_an_estimate_takes_corrections_and_is_of_the_photos_asked(library: Library, tmp_path: Path) -> None:
    with pytest.raises(BadPrior, match=r"at least 15 photos.*there are 0"):
        library.classify(label_set="colours", prior="estimated")
    with pytest.raises(BadPrior, match="known content"):
        library.prior.estimate("colours")
    correct_all(library)
    before = library.classify(label_set="colours", prior="estimated", record=True)
    assert before.prior is not None
    assert (before.prior.method, before.prior.known) == ("rlls", 21)
    assert sum(before.prior.shares.values()) == pytest.approx(1)
    estimated = library.prior.estimate("colours", resamples=0)
    assert estimated.values == pytest.approx(before.prior.shares, abs=1e-6)
    assert estimated.source == "corrections of colours"
    # The same numbers, given, weight what corrections calibrated; the key says what the estimate came from.
    repeated = library.runs.repeat(before.run.key)
    assert repeated.same
    assert repeated.result.prior == before.prior
    reds = [result.path for result in library.classify(label_set="colours", top=1) if result.label == "red"]
    some = library.prior.estimate("colours", paths=reds, resamples=0)
    assert some.photos == len(reds)
    assert some.values["red"] > before.prior.shares["red"]
    library.corrections.add("colours", reds[0], "blue")
    assert library.classify(label_set="colours", prior="estimated").run.key != before.run.key
    with pytest.raises(BadTruth):
        library.prior.estimate("colours", tmp_path / "none.csv")


def test_exact_shares_count_what_was_corrected(library: Library) -> None:
    [first, *_] = library.photos.paths()
    library.corrections.add("colours", first, "blue")
    given = {"red": 10, "green": 10, "blue": 1}
    found = library.classify(label_set="colours", prior=given, transport=True, with_corrections="gda")
    assert [result.path for result in found if result.label == "blue"] == [first]
    assert found.tally() == given


def test_a_prior_goes_with_unknown_photos_where_it_is_given(library: Library) -> None:
    found = library.classify(label_set="colours", prior={"red": 1, "green": 1, "blue": 2}, unknown="mcm:0.2")
    assert found.labels[-1] == NONE
    assert found.tally()[NONE] >= 3


def run(library: Library, *args: str) -> Result:
    return CliRunner().invoke(cli, [*args, "--library", str(library.path)])


@pytest.fixture
def outside(library: Library, monkeypatch: pytest.MonkeyPatch) -> Library:
    """The library, which the command line opens with the same encoder."""
    correct_all(library)
    opened = Library.open
    monkeypatch.setattr(Library, "open", lambda *args, **options: opened(library.path, encoder=FakeEncoder()))
    return library


def test_the_command_line_estimates_and_uses_what_it_printed(outside: Library, tmp_path: Path) -> None:
    file = tmp_path / "prior.json"
    estimated = run(outside, "prior", "estimate", "--label-set", "colours", "--format", "json", "--output", str(file))
    assert estimated.exit_code == 0, estimated.output
    printed = json.loads(file.read_text(encoding="utf-8"))
    assert [one["label"] for one in printed["shares"]] == RGB
    assert all(one["low"] <= one["share"] <= one["high"] for one in printed["shares"])
    used = run(outside, "classify", "--label-set", "colours", "--prior", str(file), "--format", "json")
    assert used.exit_code == 0, used.output
    given = json.loads(used.stdout)["prior"]
    assert given["shares"] == pytest.approx({one["label"]: one["share"] for one in printed["shares"]})
    table = run(outside, "prior", "estimate", "--label-set", "colours", "--method", "bbse")
    assert "share %" in table.stdout
    assert "bbse on 21 photos and 21 known by corrections of colours" in table.stderr
    csv = run(outside, "prior", "estimate", "--label-set", "colours", "--format", "csv")
    assert csv.stdout.splitlines()[0] == "label,share,low,high,known"
    exact = run(outside, "classify", "--label-set", "colours", "--prior", "red=5,green=9,blue=7", "--transport")
    assert "prior: green 42.9%, blue 33.3%, red 23.8%" in exact.stderr
    assert run(outside, "eval", "corrections", "--label-set", "colours", "--prior", "estimated").exit_code == 0
    for wrong in ("red=1", "red", "red=0.2,green=0.2,blue=0.2"):
        refused = run(outside, "classify", "--label-set", "colours", "--prior", wrong)
        assert refused.exit_code in (1, 2), refused.output
        assert "Traceback" not in refused.output

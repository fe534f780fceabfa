"""Choices between models, label sets and templates: by simulation, and `zsindex choose` with the fake model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result
from zsindex.cli import asking, cli

from tests.fakes import COLOURS, FakeEncoder
from tests.libraries import new_library
from tests.scenes import photo
from zsindex.errors import BadAnswer, BadQuestion
from zsindex.lab.choose import Race
from zsindex.lab.surveys import UNDO, Look
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.records import NONE, FloatArray, IdArray, ModelSpec
from zsindex.services.surveys import AnsweredElsewhere

Bools: TypeAlias = npt.NDArray[np.bool_]
FOUR = ["red", "green", "blue", "yellow"]


# --- the race ---------------------------------------------------------------------------------------------------------


def world(seed: int, n: int, accuracies: tuple[float, ...], classes: int = 6) -> tuple[IdArray, Bools]:
    """Answers (n, h) of candidates whose errors depend on each other, as some photos are hard for all; and which are
    right. The accuracies are exact.
    """
    random = np.random.default_rng(seed)
    truth, hard = random.integers(0, classes, n), random.normal(size=n)
    answers = np.empty((n, len(accuracies)), dtype=np.int64)
    for one, accuracy in enumerate(accuracies):
        trouble = 0.7 * hard + math.sqrt(1 - 0.49) * random.normal(size=n)
        wrong = np.argsort(trouble)[round(accuracy * n) :]
        answers[:, one] = truth
        answers[wrong, one] = (truth[wrong] + random.integers(1, 3, len(wrong))) % classes
    return answers, answers == truth[:, None]


def run_race(answers: IdArray, right: Bools, *, within: float, seed: int) -> Race:
    race = Race(answers, within=within, seed=seed)
    while (at := race.next()) is not None:
        race.take(at, right[at])
    return race


@pytest.mark.parametrize(
    ("accuracies", "within"),
    [((0.7, 0.66, 0.6), 0.01), ((0.7, 0.7), 0.02), ((0.6, 0.63, 0.5, 0.62), 0.02), ((0.8, 0.6), 0.0)],
)
def test_the_best_is_named_as_often_as_is_promised(accuracies: tuple[float, ...], within: float) -> None:
    """By 40 seeds of 300 photos: at most 5 % may be wrong, 2 of 40, and the bound of Ville is far from tight."""
    best, wrong, looks = max(accuracies), 0, []
    for seed in range(40):
        answers, right = world(seed, 300, accuracies)
        race = run_race(answers, right, within=within, seed=seed)
        assert race.named is not None
        wrong += accuracies[race.named] < best - within - 1e-9
        looks.append(race.looked_at)
        assert race.looked_at <= race.differ <= 300
    assert wrong <= 2
    # Photos on which all agree need no look: of 300, fewer are looked at than differ.
    assert np.mean(looks) < 0.6 * 300


def test_a_candidate_that_is_worse_is_hardly_ever_named() -> None:
    """At the edge of what is wagered against: one is better by just more than `within`. The other one must be named in
    at most 5 %: of 200 races at most 10, and 20 or more would be 3 standard deviations above.
    """
    wrong = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        # 40 photos of 100 differ; the second is right on 21, the first on 19: better by 2, where 1 is allowed.
        answers = np.zeros((100, 2), dtype=np.int64)
        answers[:40, 1] = 1
        right = np.ones((100, 2), dtype=bool)
        right[:40] = [False, True]
        right[random.permutation(40)[:19]] = [True, False]
        race = run_race(answers, right, within=0.01, seed=seed)
        wrong += race.named == 0
    assert wrong < 20


def test_intervals_hold_at_every_look() -> None:
    """Of 60 races the interval of the difference may leave the truth in 3, at any time: more than 8 would be 3 standard
    deviations above.
    """
    left = 0
    for seed in range(60):
        answers, right = world(seed, 120, (0.7, 0.6))
        race = Race(answers, seed=seed)
        true = {"a": 0.1, "b": -0.1}
        outside = False
        while (at := race.next()) is not None:
            race.take(at, right[at])
            if race.looked_at % 8 == 0:
                [duel] = race.standing(["a", "b"]).duels
                outside |= not duel.low <= true[duel.candidate] <= duel.high
        left += outside
    assert left <= 8


def test_when_all_was_seen_the_difference_is_exact() -> None:
    answers, right = world(3, 100, (0.7, 0.7))
    race = run_race(answers, right, within=0.0, seed=1)
    [duel] = race.standing(["a", "b"]).duels
    assert (duel.low <= 0 <= duel.high, race.next()) == (True, None)
    # Nobody is better, and that both are equal is only known for sure in the end.
    assert race.looked_at > 0.8 * race.differ
    same = Race(np.zeros((5, 3), dtype=np.int64))
    assert (same.named, same.differ, same.next(), same.contenders) == (0, 0, None, (0,))


def test_draws_are_by_the_seed_and_go_only_where_candidates_differ() -> None:
    answers, right = world(5, 200, (0.7, 0.65, 0.6))
    drawn: list[list[int]] = []
    for seed in (1, 1, 2):
        race, photos = Race(answers, seed=seed), []
        for _ in range(20):
            at = race.next()
            assert at is not None
            assert at == race.next()
            assert len(set(answers[at])) > 1
            race.take(at, right[at])
            photos.append(at)
        assert len(set(photos)) == 20
        drawn.append(photos)
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_nobody_can_tell_promises_nothing() -> None:
    answers = np.array([[0, 1]] * 20 + [[0, 0]] * 80, dtype=np.int64)
    race = Race(answers, within=0.05)
    while (at := race.next()) is not None:
        race.take(at, None)
    standing = race.standing(["a", "b"])
    assert (standing.named, standing.exhausted, standing.unsure) == (None, True, 20)
    assert (standing.duels[0].low, standing.duels[0].high) == (-0.2, 0.2)


def test_what_cannot_be_is_refused() -> None:
    race = Race(np.array([[0, 0, 1]], dtype=np.int64))
    with pytest.raises(ValueError, match="the same answer cannot be right and wrong"):
        race.take(0, [True, False, False])
    race.take(0, [True, True, False])
    with pytest.raises(ValueError, match="photo 0 was answered before"):
        race.take(0, None)


# --- choices ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """Six photos each of four colours, and three label sets that know three, two and four of them."""
    for colour in FOUR:
        for mark in range(6):
            photo(tmp_path / "photos" / colour / f"{mark}.png", COLOURS[colour], mark=mark)
    with Library.open(new_library(tmp_path / "library"), encoder=FakeEncoder()) as opened:
        opened.sync(tmp_path / "photos")
        opened.labels.save("three", {**{name: name for name in FOUR[:3]}, "yellow": "black"})
        opened.labels.save("two", {"red": "red", "green": "green", "blue": "yellow", "yellow": "blue"})
        opened.labels.save("four", FOUR)
        yield opened


def by_folder(look: Look) -> str:
    return Path(look.path).parent.name


def test_the_best_label_set_is_found_and_looks_are_kept(library: Library) -> None:
    choice = library.choices.begin("three", against=["two", "four"], within=0.1, seed=4)
    assert choice.candidates == ("three@1", "two@1", "four@1")
    assert choice.standing().named is None
    asked: list[Look] = []

    def some(look: Look) -> str | None:
        assert set(look.drawn["answers"]) > {by_folder(look)} or by_folder(look) not in look.drawn["answers"]
        asked.append(look)
        return by_folder(look) if len(asked) <= 3 else None

    assert choice.ask(some).looked_at == 3
    # The same question goes on, and asks for the photo that waits.
    again = library.choices.begin("three", against=["two", "four"], within=0.1, seed=4)
    assert again.survey_id == choice.survey_id
    waiting = again.look()
    assert waiting is not None
    assert waiting.path == asked[-1].path
    found = again.ask(by_folder)
    assert found.named == "four@1"
    assert found.contenders == ("four@1",)
    assert {duel.other for duel in found.duels} == {"three@1", "two@1"}
    assert all(duel.lost == 0 and duel.low >= -0.1 for duel in found.duels)
    assert found.looked_at < found.differ <= 18
    assert again.look() is None
    assert json.loads(json.dumps(found.to_dict()))["named"] == "four@1"
    other = library.choices.begin("three", against=["two", "four"], within=0.1, seed=5)
    assert other.standing().looked_at == 0


def test_answers_are_taken_back(library: Library) -> None:
    choice = library.choices.begin("two", against="four", within=0.1)
    before = choice.standing()
    said = iter([NONE, UNDO, "red|blue", None])
    choice.ask(lambda look: next(said))
    after = choice.standing()
    assert after.looked_at == 1
    assert choice.undo()
    assert choice.standing() == before
    assert not choice.undo()
    with pytest.raises(BadAnswer):
        choice.answer(" | ")


def test_several_answers_may_be_right_and_nobody_may_be_able_to_tell(library: Library) -> None:
    choice = library.choices.begin("two", against="four", within=0.1)
    found = choice.ask(lambda look: "|".join(look.drawn["answers"]))
    assert (found.named, found.duels[0].won, found.duels[0].lost) == (found.leader, 0, 0)
    choice = library.choices.begin("two", against="four", within=0.05)
    found = choice.ask(lambda look: "unsure")
    assert (found.named, found.exhausted, found.unsure) == (None, True, found.differ)


class Inverted(FakeEncoder):
    """Sees the opposite colours."""

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        return super().encode_images([255 - p for p in pixels])


@pytest.fixture
def two_models(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        return Inverted(name=spec.name) if spec.name == "inverted" else FakeEncoder(name=spec.name, decode=spec.decode)

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    with Library.open(tmp_path / "library", model="inverted", decode="exact") as other:
        other.sync(tmp_path / "photos")
    return library


def test_of_one_label_set_answers_are_corrections_too(two_models: Library) -> None:
    library = two_models
    choice = library.choices.begin("four", models=["fake", "inverted"], within=0.2)
    assert choice.candidates == ("fake", "inverted")
    look = choice.look()
    assert look is not None
    choice.answer(by_folder(look))
    [corrected] = library.corrections.list("four")
    assert (corrected.paths, corrected.label) == ((look.path,), by_folder(look))
    choice.undo()
    assert library.corrections.list("four") == []
    choice.answer("a photo of something else")
    [corrected] = library.corrections.list("four")
    assert (corrected.label, set(corrected.not_labels)) == (None, set(look.drawn["answers"]))


def test_photos_that_come_later_change_nothing(library: Library, tmp_path: Path) -> None:
    choice = library.choices.begin("two", against="four", within=0.1)
    before = choice.standing()
    photo(tmp_path / "photos" / "blue" / "new.png", COLOURS["blue"], mark=9)
    library.sync(tmp_path / "photos")
    assert library.choices.begin("two", against="four", within=0.1).standing() == before
    assert library.choices.begin("two", against="four", within=0.1, seed=1).standing().photos == before.photos + 1


def test_names_make_answers_the_same(library: Library) -> None:
    library.labels.save("rot", {"rot": "red", **{name: name for name in FOUR[1:]}})
    assert library.choices.begin("rot", against="four").standing().differ == 6
    assert library.choices.begin("rot", against="four", names={"rot": "red"}).standing().differ == 0


def test_what_cannot_be_chosen_between(library: Library) -> None:
    with pytest.raises(BadQuestion, match="nothing to choose between"):
        library.choices.begin("four")
    with pytest.raises(BadQuestion, match="the best answer to each photo"):
        library.choices.begin("four", against="two", multi_label=True)
    with pytest.raises(BadQuestion, match="would change the candidates"):
        library.choices.begin("four", against="two", with_corrections="gda")
    for wrong in ({"confidence": 1.0}, {"within": 1.0}, {"seed": -1}):
        with pytest.raises(ValueError):
            library.choices.begin("four", against="two", **wrong)  # type: ignore[arg-type]


# --- the command ------------------------------------------------------------------------------------------------------

Run: TypeAlias = Callable[..., Result]


@pytest.fixture
def run(two_models: Library, tmp_path: Path) -> Run:
    def invoke(*arguments: str, input: str | None = None, code: int = 0) -> Result:
        environment = {"ZSINDEX_LIBRARY": str(tmp_path / "library"), "COLUMNS": "200"}
        result = CliRunner().invoke(cli, ["choose", *arguments], env=environment, input=input)
        assert result.exit_code == code, result.output
        return result

    return invoke


def test_a_table_of_what_photos_show_answers(run: Run, tmp_path: Path) -> None:
    rows = [f"photos/{colour}/{mark}.png,{colour}" for colour in FOUR for mark in range(6)]
    truth = tmp_path / "truth.csv"
    truth.write_text("\n".join(["path,label", *(f"{tmp_path}/{row}" for row in rows)]), encoding="utf-8")
    which = ("--label-sets", "three", "two", "four", "--within", "10%")
    result = run(*which, "--answers", str(truth))
    assert "four@1: none is better by more than 10 points, with 95 % confidence; " in result.stderr
    assert result.stdout.splitlines()[0].startswith("best")
    found = json.loads(run(*which, "--format", "json", "-q").stdout)
    assert (found["named"], found["within"]) == ("four@1", 0.1)

    truth.write_text("path,answer\n", encoding="utf-8")
    result = run(*which, "--seed", "9", "--answers", str(truth), code=3)
    assert "has no answer for" in result.stderr
    assert "not known yet; the same command goes on" in result.stderr


def test_a_person_answers_through_a_pipe(run: Run) -> None:
    result = run("--label-sets", "two", "four", input="1\nn\n?\n1 2\nu\nnonsense\nq\n", code=3)
    assert "24 photos; two@1 and four@1 differ on 12" in result.stderr
    assert "which is right? [1] " in result.stderr
    assert "several: 1 2, [n]one, [s]kip" in result.stderr
    assert "points (" in result.stderr
    assert "3 answers kept; the same command goes on from here" in result.stderr
    assert "3 looks at 12 photos on which they differ: not known yet" in result.stderr


def test_keys_stand_for_the_answers_to_a_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    person = asking._Person("?", lambda: "", None, choices=lambda look: ["owl", "fox"], open_photos=False)
    person._offer(["owl", "fox"])
    assert [person._meaning(said) for said in ("1", "2 1", "1,2", "n", "s", "u", "fox", "x", "3")] == [
        *("owl", "fox|owl", "owl|fox", NONE, "unsure", "undo", "fox"),
        *(None, None),
    ]
    monkeypatch.setattr(person, "_line", lambda: "1 2")
    assert person._meaning("m") == "owl|fox"


def test_models_and_template_sets_by_name(run: Run) -> None:
    result = run("--template-sets", "a {} thing", "some {}", "--label-set", "four")
    assert "24 photos; a {} thing and some {} differ on 0" in result.stderr
    assert "a {} thing: none is better by more than 1 points, with 95 % confidence; 0 looks" in result.stderr
    result = run("--models", "fake", "inverted", "--label-set", "four", input="q\n", code=3)
    assert "24 photos; fake and inverted differ on 24" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["two", "four"], "say what the names are"),
        (["--label-sets", "two"], "name two or more"),
        (["--label-sets", "two", "four", "-l", "x"], "leave out -l"),
        (["--models", "a", "b", "--model", "c", "-l", "x"], "with --models the names are the models"),
        (["--label-sets", "two", "four", "--confidence", "2"], "not between"),
    ],
)
def test_a_command_line_that_is_wrong(run: Run, arguments: list[str], said: str) -> None:
    assert said in run(*arguments, code=2).stderr


def test_of_two_answers_at_once_the_first_stays_and_the_second_is_told(library: Library) -> None:
    here, there = (library.choices.begin("two", against="four", within=0.1) for _ in range(2))
    look, same = here.look(), there.look()
    assert look is not None
    assert same is not None
    assert look.digest == same.digest
    here.answer("red")
    with pytest.warns(AnsweredElsewhere):
        there.answer("green")  # of the photo that was seen, not of the next one
    kept = {one.digest: one.answer for one in library.surveys.looks(here.survey_id)}
    assert kept == {look.digest: "red"}
    following = there.look()
    assert following is not None
    assert following.digest != look.digest
    there.answer("red")
    here.look()  # takes up what was answered there
    assert here.standing() == there.standing()

"""`Library.plan`: what a question will read and its run's key, before anything is encoded or scored."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeEncoder
from tests.photos import save, solid
from zsindex.classification.options import Question
from zsindex.errors import NotInLibrary, NoVectors, PromptTooLong, UnknownLabelSet
from zsindex.library import Library

LABELS = ["red", "green", "blue"]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    (tmp_path / "album").mkdir()
    (tmp_path / "more").mkdir()
    for colour in LABELS:
        save(tmp_path / "album" / f"{colour}.png", solid(colour))
    return tmp_path / "album"


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Library:
    opened = Library.open(tmp_path / "library", encoder=FakeEncoder())
    opened.sync(album)
    return opened


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top": 2, "activation": "sigmoid"},
        {"template": "a photo of {}", "temperature": 0.5},
        {"unknown": "mcm:0.4"},
        {"multi_label": True},
        {"smooth": True},
        {"unknown": "zscore:0.4", "multi_label": True},
    ],
)
def test_a_plan_knows_the_key_of_the_answer_and_encodes_nothing(library: Library, options: dict[str, object]) -> None:
    before = library.usage
    plan = library.plan(Question(LABELS, **options))  # type: ignore[arg-type]
    assert library.usage == before
    assert len(plan.new_prompts) == 3
    answer = plan.answer()
    assert answer.run == plan.run
    assert answer.run.key == plan.run.key
    assert repr(plan) == f"<Plan for 3 photos by {len(answer.labels)} answers, run {answer.run.key}>"
    again = library.plan(Question(LABELS, **options))  # type: ignore[arg-type]
    assert (again.run.key, again.new_prompts, again.new_photos) == (plan.run.key, (), 0)
    assert library.classify(again.question).to_dicts() == answer.to_dicts()


def test_saved_label_sets_corrections_and_thresholds_enter_the_key(library: Library, album: Path) -> None:
    library.labels.save("colours", LABELS)
    plain = Question(label_set="colours")
    keys = [library.plan(plain).run.key]
    library.corrections.add("colours", album / "red.png", "blue")
    taught = Question(label_set="colours", with_corrections="gda")
    keys.append(library.plan(taught).run.key)
    library.corrections.add("colours", album / "blue.png", "red")
    keys.append(library.plan(taught).run.key)
    library.thresholds.choose("colours", "red", count=1)
    keys.append(library.plan(Question(label_set="colours", thresholds=True)).run.key)
    assert len(set(keys)) == 4
    assert library.plan(plain).run.key == keys[0]
    assert library.plan(taught).answer().run.key == keys[2]


def test_an_answer_is_that_of_the_planned_moment(library: Library, album: Path) -> None:
    plan = library.plan(Question(LABELS))
    save(album / "white.png", solid("white"))
    library.sync(album)
    assert len(plan.answer()) == 3
    now = library.plan(Question(LABELS))
    assert now.run.key != plan.run.key
    assert len(now.answer()) == 4


def test_photos_that_are_not_there_yet_are_counted_and_come_with_the_answer(library: Library, tmp_path: Path) -> None:
    save(tmp_path / "more" / "white.png", solid("white"))
    plan = library.plan(Question(LABELS, paths=tmp_path / "more"))
    assert plan.new_photos == 1
    assert len(library.photos.paths()) == 3  # nothing has come into the library by asking
    answer = plan.answer()
    assert [Path(path).name for path in answer.paths] == ["white.png"]
    assert (answer.encoded, answer.run.key != plan.run.key) == (1, True)
    with pytest.raises(NotInLibrary, match="adding was refused"):
        library.plan(Question(LABELS, paths=tmp_path / "none", sync=False)).answer()


def test_what_cannot_be_answered_says_so_when_it_is_asked(library: Library, tmp_path: Path) -> None:
    with pytest.raises(UnknownLabelSet):
        library.plan(Question(label_set="colours"))
    with pytest.raises(PromptTooLong):
        library.plan(Question(["word " * 100])).answer()
    with Library.open(tmp_path / "empty", encoder=FakeEncoder()) as empty:
        plan = empty.plan(Question(LABELS))
        with pytest.raises(NoVectors):
            plan.answer()
        assert len(plan.answer(may_be_empty=True)) == 0


def test_a_question_has_its_own_options(library: Library) -> None:
    question = Question(LABELS, top=1)
    assert library.classify(question).to_dicts() == library.classify(LABELS, top=1).to_dicts()
    with pytest.raises(TypeError, match="has its own options"):
        library.classify(question, top=2)

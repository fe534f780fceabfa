"""Reviews of a library: in Python and on the command line, kept and gone on with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from zsindex.cli.group import cli

from tests.fakes import FakeEncoder
from tests.libraries import paint
from zsindex.errors import BadAnswer, LibraryReadOnly, UnknownLabel, UnknownSurvey
from zsindex.lab.surveys import Look
from zsindex.library import Library
from zsindex.services.reviews import ReviewInProgress
from zsindex.services.surveys import AnsweredElsewhere

PHOTOS = 60


def shows(path: str) -> bool:
    return "red" in Path(path).name


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A third of the photos is reddish, each in a colour of its own."""
    for n in range(PHOTOS):
        red = n % 3 == 0
        paint(tmp_path / "album" / f"{n:02} {'red' if red else 'other'}.png", (255 if red else n, n, 2 * n))
    return tmp_path / "album"


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        yield opened


def answer_all(review: ReviewInProgress, most: int = PHOTOS) -> list[str]:
    asked: list[str] = []
    while len(asked) < most and (look := review.look()) is not None:
        asked.append(look.path)
        review.answer("yes" if shows(look.path) else "no")
    return asked


def test_a_review_goes_on_where_it_stopped(library: Library) -> None:
    whole = answer_all(library.reviews.begin("red", seed=1))
    for survey in library.surveys.list():
        library.surveys.forget(survey.id)
    first = library.reviews.begin("red", seed=1)
    in_parts = answer_all(first, 17)
    second = library.reviews.begin("red", seed=1)
    assert second.survey_id == first.survey_id
    assert second.standing() == first.standing()
    in_parts += answer_all(second)
    assert in_parts == whole
    assert len(set(whole)) == len(whole)
    now = second.standing()
    assert now.reached
    assert now.looks == len(whole)
    assert len(second.found()) == now.found
    assert all(map(shows, second.found()))


def test_other_questions_are_other_reviews(library: Library, album: Path) -> None:
    ids = {
        library.reviews.begin("red").survey_id,
        library.reviews.begin("red", recall=0.8).survey_id,
        library.reviews.begin("red", seed=2).survey_id,
        library.reviews.begin("red", paths=album / "00 red.png").survey_id,
        library.reviews.begin("red", where={"path": str(album / "00 red.png")}).survey_id,
    }
    assert len(ids) == 5
    assert library.reviews.begin("red", paths=album / "00 red.png").standing().photos == 1


def test_undo(library: Library) -> None:
    review = library.reviews.begin("red")
    assert not review.undo()
    answer_all(review, 30)
    before, waiting = review.standing(), review.look()
    assert waiting is not None
    review.answer("yes")
    assert review.standing() != before
    assert review.undo()
    again = review.look()
    assert again is not None
    assert again.path == waiting.path
    assert review.standing() == before
    with pytest.raises(BadAnswer):
        review.answer("perhaps")


def test_answers_are_kept_as_corrections(library: Library) -> None:
    library.labels.save("colours", ["red", "blue"])
    review = library.reviews.begin("red", label_set="colours")
    answer_all(review, 6)
    review.answer("unsure")
    said = library.corrections.list("colours")
    assert len(said) == 6
    assert {one.label for one in said if shows(one.paths[0])} == {"red"}
    assert {one.label for one in said if not shows(one.paths[0])} <= {None}
    with pytest.raises(UnknownLabel, match="blue"):
        library.reviews.begin("green", label_set="colours")


def test_what_somebody_else_answers_meanwhile_counts(library: Library) -> None:
    mine = library.reviews.begin("red")
    yours = library.reviews.begin("red")
    answer_all(mine, 20)
    look = yours.look()  # finds the others' looks as it draws, and goes on behind them
    assert look is not None
    assert yours.standing().looks == 20


def test_of_two_that_answer_the_same_photo_one_is_first(library: Library) -> None:
    first = library.reviews.begin("red")
    second = library.reviews.begin("red")
    look = first.look()
    assert look is not None
    assert second.look() == look
    assert first.answer_first(look.number, "yes")
    assert not second.answer_first(look.number, "no")
    assert (second.standing().found, second.standing().looks) == (1, 1)


def test_photos_that_come_and_go(library: Library, album: Path) -> None:
    """A review is about the photos that there are when it is gone on with."""
    answer_all(library.reviews.begin("red"), 30)
    for path in sorted(album.iterdir())[:20]:
        path.unlink()
    for n in range(5):
        paint(album / f"new {n} red.png", (200, 201, n))
    library.sync(album)
    review = library.reviews.begin("red")
    assert review.standing().photos == PHOTOS - 20 + 5
    assert review.standing().looks < 30
    answer_all(review)
    assert review.standing().reached


def test_a_review_of_no_photos_asks_nothing(library: Library) -> None:
    """Nor does it warn of a mean of nothing: warnings are errors here."""
    review = library.reviews.begin("red", where={"rating": "5"})
    assert review.look() is None
    assert review.standing().photos == 0


def test_asking_by_a_callback(library: Library) -> None:
    seen: list[str] = []

    def first_ten(look: Look) -> bool | None:
        if len(seen) == 10:
            return None
        seen.append(look.path)
        return shows(look.path)

    early = library.reviews.ask("red", first_ten)
    assert not early.reached
    assert early.standing.looks == 10
    assert early.statement.startswith(f"Nothing can be promised yet for 'red': 10 of {PHOTOS} photos looked at, ")
    late = library.reviews.ask("red", lambda look: shows(look.path))
    assert late.reached
    assert late.survey == early.survey


def test_a_certificate(library: Library) -> None:
    review = library.reviews.begin("red", recall=0.7, confidence=0.9)
    answer_all(review)
    now = review.standing()
    assert now.looks < PHOTOS
    said = review.end()
    assert said.statement == (
        f"At least 70 % of the photos that show 'red' have been seen, with 90 % confidence: {now.looks} of {PHOTOS} "
        f"photos looked at, {now.found} found."
    )
    document = json.loads(json.dumps(said.to_dict()))
    assert document["question"]["label"] == "red"
    assert document["question"]["model"] == library.model.fingerprint
    assert document["looks"] == now.looks
    assert re.match(r"\d{4}-\d\d-\d\dT", document["at"])
    assert library.surveys.get(review.survey_id).result == document
    assert library.reviews.begin("red", recall=0.7, confidence=0.9).standing().looks == 0


def test_a_review_that_somebody_ended(library: Library) -> None:
    review = library.reviews.begin("red")
    look = review.look()
    assert look is not None
    library.surveys.end(review.survey_id)
    with pytest.raises(UnknownSurvey):
        review.answer("yes")
    other = library.reviews.begin("red")
    library.surveys.end(other.survey_id)
    with pytest.raises(UnknownSurvey):
        other.look()


@pytest.mark.parametrize("given", [{"recall": 1.0}, {"recall": 0.4}, {"confidence": 1}, {"seed": 0.5}])
def test_numbers_out_of_range(library: Library, given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        library.reviews.begin("red", **given)  # type: ignore[arg-type]


def test_a_library_that_cannot_be_written(tmp_path: Path, library: Library) -> None:
    with (
        Library.open(tmp_path / "library", encoder=FakeEncoder(), read_only=True) as read_only,
        pytest.raises(LibraryReadOnly),
    ):
        read_only.reviews.begin("red")


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def nano(tmp_path: Path, album: Path) -> Path:
    place = tmp_path / "nano"
    with Library.open(place, model="nano") as opened:
        opened.sync(sorted(album.iterdir())[:24])
    return place


def run(*args: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], input=stdin)


def answers(tmp_path: Path, album: Path) -> Path:
    lines = [f"{path},{'yes' if shows(path.name) else 'no'}" for path in sorted(album.iterdir())]
    (tmp_path / "answers.csv").write_text("\n".join(["path,answer", *lines]), encoding="utf-8")
    return tmp_path / "answers.csv"


def test_shares_are_written_either_way(nano: Path) -> None:
    for recall in ("80%", "0.8"):
        assert "for 80 % at least" in run("review", "red", "--library", nano, "--recall", recall, stdin="y\nq\n").stderr
    wrong = run("review", "red", "--library", nano, "--confidence", "5%")
    assert wrong.exit_code == 2
    assert "not between 50% and 99.9%" in wrong.stderr


def test_on_the_command_line(tmp_path: Path, album: Path, nano: Path) -> None:
    place = ["--library", nano, "--recall", "0.8"]
    stopped = run("review", "red", *place, stdin="y\nn\nq\n")
    assert stopped.exit_code == 3
    assert stopped.stdout == "Nothing can be promised yet for 'red': 2 of 24 photos looked at, 1 found.\n"
    assert "2 answers kept" in stopped.stderr
    assert "for 80 % at least" in stopped.stderr

    said = tmp_path / "said.json"
    file = answers(tmp_path, album)
    ended = run("review", "red", *place, "--seed", 1, "--answers", file, "--certificate", said, "--format", "paths")
    assert ended.exit_code == 0, ended.stderr
    found = ended.stdout.splitlines()
    document = json.loads(said.read_text(encoding="utf-8"))
    assert document["reached"]
    assert document["found"] == len(found)
    assert len(found) >= 0.8 * 8
    assert all(map(shows, found))
    assert document["statement"] in ended.stderr
    again = run("review", "red", *place, "--seed", 1, "--answers", file, "--format", "json", "--end", "--quiet")
    assert again.stderr == ""
    whole = json.loads(again.stdout)
    assert whole.pop("found_photos") == found
    assert {**whole, "at": None} == {**document, "at": None}
    rows = run("review", "red", *place, "--seed", 1, "--answers", file, "--format", "csv").stdout.splitlines()
    assert rows == ["path", *found]  # a new one, with the same answers


def test_of_two_answers_at_once_the_first_stays_and_the_second_is_told(library: Library) -> None:
    here, there = library.reviews.begin("red", seed=1), library.reviews.begin("red", seed=1)
    look, same = here.look(), there.look()
    assert look is not None
    assert same is not None
    assert look.digest == same.digest
    here.answer("no")
    with pytest.warns(AnsweredElsewhere):
        there.answer("yes")
    kept = {one.digest: one.answer for one in library.surveys.looks(here.survey_id)}
    assert kept[look.digest] == "no"
    following = there.look()
    assert following is not None
    assert following.digest != look.digest
    assert there.standing().looks == 1

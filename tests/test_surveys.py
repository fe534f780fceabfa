"""Surveys: looks with their answers, kept, taken back and gone on with; and the loop that asks for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from zsindex.cli import asking
from zsindex.cli.group import cli

from tests.fakes import FakeEncoder
from tests.scenes import photo
from zsindex.errors import BadAnswer, BadLabelFile, LibraryReadOnly, NotInLibrary, UnknownSurvey
from zsindex.lab.surveys import Look, answers_from, ask, parse_answers, read_answer
from zsindex.library import Library

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        photo(tmp_path / "album" / f"{name}.png", colour)
    shutil.copy(tmp_path / "album" / "red.png", tmp_path / "album" / "z copy.png")
    return tmp_path / "album"


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        yield opened


class Colours:
    """Asks about all photos in their order."""

    def __init__(self, library: Library, album: Path, *, corrections: tuple[str, str | None] | None = None) -> None:
        self.surveys = library.surveys
        self.paths = [album / f"{name}.png" for name in COLOURS]
        self.id = self.surveys.begin("review", {"label": "red"}, corrections=corrections).id

    def look(self) -> Look | None:
        looks = self.surveys.looks(self.id)
        if len(looks) < len(self.paths) and all(look.answer for look in looks):
            looks = self.surveys.draw(self.id, [(self.paths[len(looks)], {"rank": len(looks)})])
        return next((look for look in looks if look.answer is None), None)

    def answer(self, answer: str) -> None:
        look = self.look()
        assert look is not None
        self.surveys.answer(self.id, look.number, read_answer(answer))

    def undo(self) -> bool:
        return self.surveys.undo(self.id)


def answers(library: Library, survey: int) -> list[str | None]:
    return [look.answer for look in library.surveys.looks(survey)]


def test_looks_wait_for_answers_and_say_what_they_show(library: Library, album: Path) -> None:
    survey = library.surveys.begin("count", {"label": "red"}, image_ids=np.array([1, 3], dtype=np.int64))
    assert (survey.kind, survey.question, survey.n_looks, survey.ended_at) == ("count", {"label": "red"}, 0, None)
    found = library.surveys.image_ids(survey.id)
    assert found is not None
    assert found.tolist() == [1, 3]
    [look] = library.surveys.draw(survey.id, [(album / "red.png", {"chance": 0.25})])
    assert (look.number, look.path, look.copies) == (1, str(album / "red.png"), (str(album / "z copy.png"),))
    assert (look.drawn, look.answer, len(look.digest)) == ({"chance": 0.25}, None, 64)
    library.surveys.answer(survey.id, 1, "yes")
    assert library.surveys.begin("count", {"label": "red"}).to_dict() == {
        **survey.to_dict(), "n_looks": 1, "n_answered": 1
    }  # fmt: skip
    with pytest.raises(NotInLibrary):
        library.surveys.draw(survey.id, [(album / "none.png", {})])
    (album / "red.png").rename(album / "moved.png")
    library.sync(album)
    [look] = library.surveys.looks(survey.id)
    assert (look.path, look.copies) == (str(album / "moved.png"), (str(album / "z copy.png"),))


def test_surveys_end_and_are_forgotten(library: Library, album: Path) -> None:
    survey = library.surveys.begin("count", {"label": "red"})
    library.surveys.draw(survey.id, [(album / "red.png", {})])
    library.surveys.end(survey.id, {"estimate": 1.5})
    assert library.surveys.get(survey.id).result == {"estimate": 1.5}
    with pytest.raises(UnknownSurvey):
        library.surveys.answer(survey.id, 1, "yes")
    again = library.surveys.begin("count", {"label": "red"})
    assert [one.id for one in library.surveys.list("count")] == [survey.id, again.id]
    assert library.surveys.list("review") == []
    library.surveys.forget(survey.id)
    for gone in (library.surveys.get, library.surveys.looks, library.surveys.forget, library.surveys.end):
        with pytest.raises(UnknownSurvey, match=str(again.id)):
            gone(survey.id)


def test_two_that_draw_at_once_get_the_same_looks(library: Library, album: Path) -> None:
    survey = library.surveys.begin("count", {"label": "red"})
    first = library.surveys.draw(survey.id, [(album / "red.png", {})])
    labels = library.session.storage.labels
    behind = [row._replace(digest=b"x" * 32) for row in labels.looks(survey.id)]
    assert not labels.add_looks(survey.id, behind)
    assert library.surveys.looks(survey.id) == first


def test_answers_are_corrections_where_the_label_is_of_a_saved_set(library: Library, album: Path) -> None:
    library.labels.save("colours", ["red", "blue"])
    asked = Colours(library, album, corrections=("colours", "red"))
    for said in ("yes", "no", "unsure"):
        asked.answer(said)
    assert [(one.paths[0], one.label, one.not_labels) for one in library.corrections.list("colours")] == [
        (str(album / "green.png"), None, ("red",)),
        (str(album / "red.png"), "red", ()),
    ]
    assert asked.undo()  # of the photo that nobody was sure of
    assert asked.undo()
    assert [one.label for one in library.corrections.list("colours")] == ["red"]
    library.corrections.add("colours", album / "blue.png", "blue")
    assert asked.undo()
    assert len(library.corrections.list("colours")) == 2  # something else was corrected since: that stays
    assert [asked.undo(), answers(library, asked.id)] == [False, [None]]


def test_answers_that_are_labels_are_corrections_as_well(library: Library, album: Path) -> None:
    library.labels.save("colours", ["red", "blue"])
    survey = library.surveys.begin("choose", {}, corrections=("colours", None))
    library.surveys.draw(survey.id, [(album / "blue.png", {})])
    library.surveys.answer(survey.id, 1, "blue")
    assert [one.label for one in library.corrections.list("colours")] == ["blue"]


def test_nothing_is_written_read_only(library: Library, album: Path, tmp_path: Path) -> None:
    asked = Colours(library, album)
    asked.answer("yes")
    with Library.open(tmp_path / "library", encoder=FakeEncoder(), read_only=True) as opened:
        assert answers(opened, asked.id) == ["yes"]
        for refused in (
            lambda: opened.surveys.begin("count", {}),
            lambda: opened.surveys.answer(asked.id, 2, "no"),
            lambda: opened.surveys.undo(asked.id),
            lambda: opened.surveys.end(asked.id),
        ):
            with pytest.raises(LibraryReadOnly):
                refused()


def test_a_callback_is_asked_until_nothing_waits_or_it_stops(library: Library, album: Path) -> None:
    asked = Colours(library, album)
    said = iter(["yes", "undo", "undo", "no", None])
    assert not ask(asked, lambda look: next(said))
    assert answers(library, asked.id) == ["no", None]
    asked = Colours(library, album)
    assert ask(asked, lambda look: "unsure")
    with pytest.raises(BadAnswer):
        read_answer("maybe")


@pytest.mark.parametrize(
    ("text", "expected"), [(" Y", "yes"), ("TRUE", "yes"), ("0", "no"), ("No", "no"), ("?", "unsure"), ("s", "unsure")]
)
def test_answers_are_read_as_people_write_them(text: str, expected: str) -> None:
    assert read_answer(text) == expected


def test_labels_are_answers_where_they_are_asked_for() -> None:
    assert [read_answer(one, ["owl", "no"]) for one in ("owl", "no", "?")] == ["owl", "no", "unsure"]
    with pytest.raises(BadAnswer, match="owl, no, unsure"):
        read_answer("yes", ["owl", "no"])


def test_tables_of_answers(tmp_path: Path) -> None:
    found = parse_answers(f"path;answer;x\n{tmp_path}/a;Y;\n{tmp_path}/b;?;\n", source="f")
    assert found == {f"{tmp_path}/a": "yes", f"{tmp_path}/b": "unsure"}
    assert parse_answers("label,path\nowl,/a\n", source="f", labels=["owl"]) == {"/a": "owl"}
    look = Look(1, "/c", ("/a",), "", None, {})
    assert answers_from({"/a": "no"})(look) == "no"
    assert answers_from({})(look) is None
    for text, line in (("path,answer\n,yes\n", "line 2"), ("path,answer\n/a,maybe\n", "line 2"), ("path\n", "answer")):
        with pytest.raises(BadLabelFile, match=line):
            parse_answers(text, source="f")


def asked_by(library: Library, album: Path, typed: str, **options: object) -> tuple[Result, int]:
    """What a person who types this brings about."""
    colours = Colours(library, album)

    @click.command()
    def command() -> None:
        ended = asking.ask(colours, question="red?", state=lambda: "so far", **options)  # type: ignore[arg-type]
        click.echo(str(ended))

    return CliRunner().invoke(command, input=typed, catch_exceptions=False), colours.id


def test_a_pipe_answers_line_by_line(library: Library, album: Path) -> None:
    result, survey = asked_by(library, album, "y\nwhat\nu\nn\n")
    assert (result.stdout, answers(library, survey)) == ("False\n", ["no", None])
    assert f"1. {album}/red.png\n" in result.stderr
    assert result.stderr.count("so far") == 2
    assert "1 answer kept; the same command goes on" in result.stderr
    result, survey = asked_by(library, album, "s\nq\nyes\n")  # goes on with the second
    assert (result.stdout, answers(library, survey)) == ("False\n", ["no", "unsure", None])


def test_a_file_answers(library: Library, album: Path, tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    file.write_text(f"path,answer\n{album}/z copy.png,yes\n{album}/green.png,0\n", encoding="utf-8")
    result, survey = asked_by(library, album, "", answers_file=str(file))
    assert (result.stdout, answers(library, survey)) == ("False\n", ["yes", "no", None])
    assert f"has no answer for {album}/blue.png" in result.stderr
    file.write_text(f"path,answer\n{album}/blue.png,?\n", encoding="utf-8")
    result, survey = asked_by(library, album, "", answers_file=str(file))
    assert (result.stdout, answers(library, survey)) == ("True\n", ["yes", "no", "unsure"])


def test_ctrl_c_keeps_every_answer(library: Library, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter(["y", "n"])

    def key() -> str:
        pressed = next(keys, None)
        if pressed is None:
            raise KeyboardInterrupt
        return pressed

    monkeypatch.setattr(click, "getchar", key)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    colours = Colours(library, album)
    assert not asking.ask(colours, question="red?", state=lambda: "so far")
    assert answers(library, colours.id) == ["yes", "no", None]


def test_keys_stand_for_labels(library: Library, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = asking._Person("what?", lambda: "", ["owl", "fox"], open_photos=False)
    assert [person._meaning(said) for said in ("1", "2", "s", "u", "fo", "x", "3")] == [
        *("owl", "fox", "unsure", "undo", "fox"),
        *(None, None),
    ]


def test_the_command_lists_shows_and_forgets(library: Library, album: Path, tmp_path: Path) -> None:
    asked = Colours(library, album)
    asked.answer("yes")
    asked.look()

    def run(*arguments: str, code: int = 0) -> str:
        command = ["surveys", *arguments, "--library", str(tmp_path / "library")]
        result = CliRunner().invoke(cli, command, env={"COLUMNS": "200"})
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    [listed] = json.loads(run("list", "--json"))
    assert (listed["n_answered"], listed["question"]) == (1, {"label": "red"})
    assert "1 of 2" in run("list")
    assert run("list").splitlines()[-1].rstrip().endswith("red")  # in words, not as JSON
    assert "yes" in run("show", "1")
    assert run("show", "1", "--format", "csv").splitlines()[1].startswith(f"{album}/red.png,yes,")
    assert json.loads(run("show", "1", "--format", "json"))[1]["answer"] is None
    run("end", "1")
    assert "ended" in run("list")
    run("forget", "1")
    assert "there is no survey 1" in run("show", "1", code=1)

"""Counts from looks at a few photos: what they promise, by simulation; and asking, going on, taking back."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from zsindex.cli.group import cli

from benchmarks.lab_count import QUALITY, needed, simulated
from tests.fakes import FakeEncoder
from tests.scenes import photo
from zsindex.errors import BadAnswer, BadQuery, LibraryReadOnly, UnknownLabel, UnknownSurvey
from zsindex.lab import counting
from zsindex.lab.surveys import Look
from zsindex.library import Library
from zsindex.services.surveys import AnsweredElsewhere

# --- what it promises -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", QUALITY)
def test_intervals_hold_after_every_answer_at_once(quality: str) -> None:
    # 500 libraries; the seed is fixed. The truth must be within at every other look, so also where one stops because
    # of what one sees. Two standard errors of a share of 95 % are 2 %.
    truth, low, high, _ = simulated(quality, runs=500, photos=120, share=0.3, looks=40, within=0.2, every=2)
    within = (low <= truth[:, None]) & (truth[:, None] <= high)
    assert within.all(axis=1).mean() >= 0.93
    assert (high - low)[:, -1].mean() < 0.8 * (high - low)[:, 0].mean()  # and they are no empty promise


def test_scores_save_looks_and_useless_ones_cost_few() -> None:
    # Twelve libraries of each kind, to the same width. The larger runs are in docs/lab.md.
    def mean(quality: str, *, even: bool = False) -> float:
        _, low, high, estimate = simulated(
            quality, runs=12, photos=600, share=0.3, looks=240, within=0.25, even=even, every=6
        )
        looks = needed(low, high, estimate, 0.25, every=6)
        assert np.isfinite(looks).all()
        return float(looks.mean())

    at_random = mean("useless", even=True)
    assert mean("nearly perfect") <= 0.5 * at_random
    assert mean("useless") <= 1.1 * at_random


def test_photos_are_drawn_with_the_probabilities_that_are_said() -> None:
    p = np.array([0.1, 0.5, 0.9, 0.5])
    is_open = np.array([True, True, True, False])
    q = counting.proposal(p, is_open)
    assert q.sum() == pytest.approx(1)
    assert q[3] == 0
    assert (q[:3] >= counting.DEFENSIVE / 3).all()
    u = (np.arange(10_000) + 0.5) / 10_000
    chosen, drawn = counting.draw(np.tile(p, (10_000, 1)), np.tile(is_open, (10_000, 1)), u)
    assert np.bincount(chosen, minlength=4) / 10_000 == pytest.approx(q, abs=2e-4)
    assert drawn.chance == pytest.approx(q[chosen])
    # What is drawn is right on average: exactly so, over all photos with their probabilities.
    y = np.array([1.0, 0.0, 1.0, 1.0])
    z = drawn.rest[0] + (y - p) / np.where(q > 0, q, 1)
    assert (q * z).sum() == pytest.approx(y[:3].sum())
    assert (z[:3] >= drawn.rest[0] - drawn.low[0] - 1e-9).all()
    assert (z[:3] <= drawn.rest[0] + drawn.high[0] + 1e-9).all()


def test_without_answers_anything_is_left() -> None:
    nothing = np.empty(0)
    none = counting.Evidence(nothing, nothing, nothing, nothing, nothing, nothing)
    assert [int(one) for one in counting.interval(none, 2, 9, 0.05)] == [2, 9]


def test_what_chance_explains_is_shrunk_to_nothing() -> None:
    variance = np.full(20, 4.0)
    noise = np.random.default_rng(0).normal(0, 1.5, 20)
    assert counting.shrunk(noise, variance).tolist() == [0.0] * 20
    apart = np.where(np.arange(20) % 2, 30.0, -30.0)
    moved = counting.shrunk(apart, variance)
    assert (np.abs(moved) > 0.98 * 30).all()
    assert (np.abs(moved) < 30).all()


# --- asking -----------------------------------------------------------------------------------------------------------

REDS, BLUES = 12, 28


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for n in range(REDS + BLUES):
        name, colour = ("red", (220, n, 0)) if n < REDS else ("blue", (0, n, 220))
        photo(tmp_path / "album" / str(n % 2) / f"{n:02}-{name}.png", colour, mark=n)
    shutil.copy(tmp_path / "album" / "0" / "00-red.png", tmp_path / "album" / "0" / "copy-red.png")
    return tmp_path / "album"


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        opened.labels.save("colours", ["red", "blue"])
        yield opened


def is_red(look: Look) -> bool:
    return "red" in Path(look.path).name


def test_a_function_counts(library: Library, album: Path) -> None:
    found = library.counts.run("red", is_red, label_set="colours", looks=25)
    assert (found.looks, found.yes + found.no, found.photos, found.files) == (25, 25, REDS + BLUES, REDS + BLUES + 1)
    assert found.low <= REDS <= found.high
    assert found.low <= found.estimate <= found.high
    assert found.high - found.low < 30
    # Answers are corrections as well; and each photo was asked about once.
    said = library.corrections.list("colours")
    assert len(said) == 25
    assert all((one.label == "red") == ("red" in Path(one.paths[0]).name) for one in said)
    everything = library.counts.run("red", is_red, label_set="colours", looks=99)
    assert (everything.low, everything.high, everything.estimate) == (REDS, REDS, REDS)
    assert everything.looks == REDS + BLUES


def test_it_stops_as_soon_as_it_is_near_enough(library: Library) -> None:
    found = library.counts.run("red", is_red, within=5)
    assert found.reached
    assert 5 < found.looks < REDS + BLUES
    assert (found.high - found.low) / 2 <= 5
    assert not library.counts.run("red", is_red, within=1, looks=found.looks).reached
    near = library.counts.run("blue", lambda look: not is_red(look), within=0.2)
    assert near.reached
    assert (near.high - near.low) / 2 <= 0.2 * near.estimate


def test_it_goes_on_where_it_stopped(library: Library, tmp_path: Path) -> None:
    count = library.counts.begin("red", looks=6)
    asked = []
    for _ in range(3):
        look = count.look()
        assert look is not None
        asked.append(look.path)
        count.answer("yes" if is_red(look) else "no")
    waiting = count.look()
    assert waiting is not None
    before = count.estimate()
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as other:
        again = other.counts.begin("red", looks=6)
        assert again.estimate() == before
        assert again.look() == waiting
        assert again.undo()
        repeated = again.look()
        assert repeated is not None
        assert (repeated.path, again.estimate().looks) == (asked[-1], 2)
        again.answer("y")
    for _ in range(3):
        count = library.counts.open(count.survey.id, looks=6)
        count.answer("?")
    assert count.look() is None
    with pytest.raises(BadAnswer, match="has ended"):
        count.answer("yes")
    found = count.estimate()
    assert (found.looks, found.yes + found.no) == (6, 3)


def test_of_two_that_answer_the_same_photo_one_is_first(library: Library) -> None:
    first = library.counts.begin("red")
    look = first.look()
    assert look is not None
    second = library.counts.open(first.survey.id)
    assert second.look() == look
    assert first.answer_first(look.number, "yes")
    assert not second.answer_first(look.number, "no")
    assert (first.estimate().yes, second.estimate().yes, second.estimate().no) == (1, 1, 0)


def test_who_cannot_tell_widens_the_interval(library: Library) -> None:
    unsure = library.counts.run("red", lambda look: "unsure", looks=8)
    assert (unsure.low, unsure.high, unsure.yes, unsure.no) == (0, REDS + BLUES, 0, 0)  # they may show either
    some = library.counts.run("red", lambda look: is_red(look) if look.number > 8 else "unsure", looks=99)
    assert some.high - some.low == 8
    assert some.low <= REDS <= some.high


def test_a_count_of_no_photos_has_no_groups(library: Library) -> None:
    count = library.counts.begin("red", where={"year": "1999"})
    assert count.by("day") == []
    assert count.estimate().high == 0


def test_a_count_is_gone_on_with_only_by_the_words_that_it_began_with(library: Library) -> None:
    count = library.counts.begin("red", label_set="colours")
    library.labels.save("colours", ["red", "blue", "green"], template="only {}")
    with pytest.raises(BadQuery, match="other words"):
        library.counts.open(count.survey.id)


def test_what_was_answered_is_known(library: Library, album: Path) -> None:
    library.corrections.add_all(
        "colours", [(album / "0" / "00-red.png", "red", False), (album / "1" / "13-blue.png", "red", True)]
    )
    count = library.counts.begin("red", label_set="colours", looks=99)
    found = count.estimate()
    assert (found.known, found.known_yes, found.photos) == (2, 1, REDS + BLUES)
    assert (found.low, found.high) == (1, REDS + BLUES - 1)
    look = count.look()
    assert look is not None
    count.answer("yes" if is_red(look) else "no")
    anew = library.counts.begin("red", label_set="colours", again=True)
    assert (anew.survey.id == count.survey.id, anew.estimate().known, anew.estimate().looks) == (False, 3, 0)
    done = library.counts.run("red", is_red, label_set="colours", looks=99)
    assert (done.looks, done.low, done.high) == (REDS + BLUES - 3, REDS, REDS)


def test_photos_that_come_and_go_meanwhile(library: Library, album: Path) -> None:
    count = library.counts.begin("red", looks=99)
    for _ in range(5):
        look = count.look()
        assert look is not None
        count.answer("yes" if is_red(look) else "no")
    looked = {look.path for look in library.surveys.looks(count.survey.id)}
    gone = next(path for path in library.photos.paths() if path not in looked and "00" not in path)
    Path(gone).unlink()
    photo(album / "new.png", (222, 200, 0), mark=99)
    library.sync(album)
    found = library.counts.run("red", is_red, looks=99)
    assert (found.gone, found.came, found.photos) == (1, 1, REDS + BLUES)
    assert found.high - found.low == 1  # the one that nobody saw
    assert found.low <= REDS <= found.high


def test_groups_have_intervals_of_their_own(library: Library, album: Path) -> None:
    count = library.counts.begin("red", label_set="colours", looks=25)
    while (look := count.look()) is not None:
        count.answer("yes" if is_red(look) else "no")
    groups = {one.key: one for one in count.by("folder")}
    assert set(groups) == {str(album / "0"), str(album / "1")}
    for one in groups.values():
        assert one.photos == (REDS + BLUES) / 2
        assert one.low <= REDS / 2 <= one.high
        assert one.low <= one.estimate <= one.high
        assert one.estimate == pytest.approx(REDS / 2, abs=2)
    assert sum(one.known for one in groups.values()) == 25
    library.counts.run("red", is_red, label_set="colours", looks=99)
    assert [(one.low, one.high) for one in library.counts.open(count.survey.id).by("folder")] == [(6, 6), (6, 6)]


def test_refusals(library: Library, album: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownLabel):
        library.counts.begin("green", label_set="colours")
    other = library.surveys.begin("review", {"label": "red"})
    for survey in (other.id, 99):
        with pytest.raises(UnknownSurvey):
            library.counts.open(survey)
    for bad in ({"looks": 0}, {"within": -1}, {"confidence": 1.0}, {"confidence": 0.2}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            library.counts.begin("red", **bad)  # type: ignore[arg-type]
    count = library.counts.begin("red", looks=9)
    count.look()
    with Library.open(tmp_path / "library", encoder=FakeEncoder(), read_only=True) as opened:
        assert opened.counts.open(count.survey.id).estimate().photos == REDS + BLUES
        with pytest.raises(LibraryReadOnly):
            opened.counts.open(count.survey.id).answer("yes")
        with pytest.raises(LibraryReadOnly):
            opened.counts.begin("blue")


# --- the command ------------------------------------------------------------------------------------------------------


def run(folder: Path, *arguments: str, code: int = 0, typed: str = "") -> Result:
    command = ["count", *arguments, "--library", str(folder)]
    result = CliRunner().invoke(cli, command, input=typed, env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def folder(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    library.counts.begin("red").estimate()  # whose prompt is cached now: the command loads no model
    library.close()
    return tmp_path / "library"


def test_the_command_asks_and_goes_on(folder: Path) -> None:
    result = run(folder, "red", typed="y\nn\nq\n")
    assert "2 looks: 1 yes, 1 no" in result.stdout
    assert "40 photos in 41 files" in result.stdout
    assert "about" in result.stderr
    document = json.loads(run(folder, "red", "--format", "json", typed="n\n").stdout)
    assert (document["looks"], document["yes"], document["no"]) == (3, 1, 2)
    assert "3 looks" not in run(folder, "red", "--again").stdout
    assert "3 of them known before" in run(folder, "red").stdout


def test_a_file_answers_for_the_command(folder: Path, album: Path, tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    lines = [f"{path},{'yes' if 'red' in path.name else 'no'}\n" for path in sorted(album.rglob("*.png"))]
    file.write_text("path,answer\n" + "".join(lines), encoding="utf-8")
    result = run(folder, "red", "--answers", str(file), "--within", "40%", "--by", "folder", "--format", "csv")
    total, *groups = csv.DictReader(io.StringIO(result.stdout))
    assert float(total["low"]) <= REDS <= float(total["high"])
    assert {row["folder"] for row in groups} == {str(album / "0"), str(album / "1")}
    rows = [json.loads(line) for line in run(folder, "red", "--by", "folder", "--format", "ndjson").stdout.splitlines()]
    assert [row["folder"] for row in rows] == [None, str(album / "0"), str(album / "1")]
    assert "(3" not in run(folder, "red", "--by", "folder", "--confidence", "0.9").stdout
    run(folder, "red", "--within", "1", "--looks", "20", "--answers", str(file), code=3)


@pytest.mark.parametrize(
    "bad",
    [("--within", "0%"), ("--within", "0.5"), ("--within", "x"), ("--within", "inf"), ("--confidence", "5")],
)
def test_the_command_refuses(folder: Path, bad: tuple[str, str]) -> None:
    assert bad[1] in run(folder, "red", *bad, code=2).stderr


def test_of_two_answers_at_once_the_first_stays_and_the_second_is_told(library: Library) -> None:
    here = library.counts.begin("red", label_set="colours", looks=99)
    there = library.counts.open(here.survey.id, looks=99)
    look, same = here.look(), there.look()
    assert look is not None
    assert same is not None
    assert look.number == same.number
    here.answer("no")
    with pytest.warns(AnsweredElsewhere, match=f"photo {look.number} "):
        there.answer("yes")
    assert library.surveys.looks(here.survey.id)[0].answer == "no"
    following = there.look()
    assert following is not None
    assert following.number != look.number
    there.answer("yes")
    assert library.surveys.get(here.survey.id).n_answered == 2

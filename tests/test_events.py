"""Events and bursts: how photos are grouped by time, place and likeness, and one photo of each."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from tests import photos
from tests.fakes import FakeEncoder
from tests.test_cli import Run, encoders, run  # noqa: F401
from zsindex.lab import events
from zsindex.lab.events import Rule
from zsindex.library import Library
from zsindex.records import IdArray

RULE = Rule(factor=17, around=10, shortest_s=60, longest_s=8 * 3600, near_km=5, burst_s=10, burst_cosine=0.8)
NOWHERE = np.full(1000, np.nan)
T0 = datetime(2019, 7, 14, 9, 0, 0)


def times(gaps_s: list[float]) -> IdArray:
    return np.concatenate(([0], np.cumsum(np.array(gaps_s) * 1e6))).astype(np.int64)


def starts(gaps_s: list[float], rule: Rule = RULE) -> list[int]:
    """The numbers of the photos that begin an event."""
    taken = times(gaps_s)
    n = len(taken)
    return np.flatnonzero(events.event_starts(taken, NOWHERE[:n], NOWHERE[:n], rule)).tolist()


# --- events -----------------------------------------------------------------------------------------------------------


def test_a_pause_is_long_for_what_is_around_it() -> None:
    pause = 3 * 3600
    often, seldom = [60.0] * 12, [1800.0] * 12
    assert starts([*often, pause, *often]) == [0, 13]
    assert starts([*seldom, pause, *seldom]) == [0]
    # As it is computed: the logarithm, against the mean of 10 on each side and its own.
    gaps = [*often, pause, *often]
    mean = (20 * math.log(60) + math.log(pause)) / 21
    for factor, is_start in ((pause / math.exp(mean) * 1.001, False), (pause / math.exp(mean) * 0.999, True)):
        rule = Rule(factor=factor, around=10, shortest_s=60, longest_s=1e9)
        assert starts(gaps, rule) == ([0, 13] if is_start else [0])


def test_seconds_between_photos_do_not_make_minutes_a_pause() -> None:
    assert starts([0, 0.5, 0, 1, 0, 300, 0, 0, 0.2, 300, 0, 0]) == [0]


def test_after_a_night_it_is_another_event_whatever_is_around_it() -> None:
    assert starts([8 * 3600]) == [0, 1]
    assert starts([8 * 3600 - 1]) == [0]
    assert starts([86400.0] * 5) == [0, 1, 2, 3, 4, 5]


def test_going_elsewhere_ends_an_event_sooner_but_a_journey_is_one() -> None:
    gaps = [60.0] * 8 + [700.0] + [60.0] * 8
    taken = times(gaps)
    latitude = np.zeros(len(taken))
    stayed = events.event_starts(taken, latitude, latitude, RULE)
    assert np.flatnonzero(stayed).tolist() == [0]
    went = np.where(np.arange(len(taken)) < 9, 0.0, 0.5)  # 55 km
    assert np.flatnonzero(events.event_starts(taken, went, latitude, RULE)).tolist() == [0, 9]
    journey = np.arange(len(taken)) * 0.5
    assert np.flatnonzero(events.event_starts(taken, journey, latitude, RULE)).tolist() == [0]
    unknown = np.where(np.arange(len(taken)) == 9, np.nan, went)
    assert np.flatnonzero(events.event_starts(taken, unknown, latitude, RULE)).tolist() == [0]


def test_distances_are_along_the_surface() -> None:
    latitude, longitude = np.array([0, 0, 0, 90.0, math.nan]), np.array([0, 90, -180, 7, 0.0])
    found = events.distances(latitude, longitude)
    quarter = 6371 * math.pi / 2
    assert found[:3] == pytest.approx([quarter] * 3)
    assert math.isnan(found[3])
    across = events.distances(np.array([0.0, 0.0]), np.array([179.9, -179.9]))
    assert across[0] == pytest.approx(6371 * math.radians(0.2))


@given(st.lists(st.floats(0, 40_000), max_size=60), st.integers(1, 12), st.floats(1.5, 40))
def test_events_are_as_the_formula_says(gaps: list[float], around: int, factor: float) -> None:
    rule = Rule(factor=factor, around=around, shortest_s=30, longest_s=20_000)
    taken = times(gaps)
    exact = (np.diff(taken) / 1e6).tolist()
    logs = [math.log(max(gap, 30)) for gap in exact]
    expected = [0]
    for i, gap in enumerate(exact):
        near = logs[max(0, i - around) : i + around + 1]
        over = logs[i] - sum(near) / len(near) - math.log(factor)
        if abs(over) < 1e-6:
            return  # either way
        if over > 0 or gap >= 20_000:
            expected.append(i + 1)
    assert starts(gaps, rule) == expected


def test_no_photo_and_one() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert events.event_starts(none, NOWHERE[:0], NOWHERE[:0], RULE).tolist() == []
    assert starts([]) == [0]
    assert events.bursts(none, none, none, lambda a, b: np.ones(len(a)), RULE).tolist() == []
    assert events.members(none) == []


# --- bursts -----------------------------------------------------------------------------------------------------------


def bursts_of(gaps: list[float], cosines: dict[tuple[int, int], float], cameras: list[int] | None = None,
              of_event: list[int] | None = None) -> list[int]:  # fmt: skip
    taken = times(gaps)
    n = len(taken)

    def cosine(before: IdArray, after: IdArray) -> Any:
        pairs = zip(before.tolist(), after.tolist(), strict=True)
        return np.array([cosines.get(pair, 0.9) for pair in pairs])

    of = np.array(of_event or [0] * n)
    return events.bursts(taken, of, np.array(cameras or [0] * n), cosine, RULE).tolist()


def test_a_burst_is_soon_and_alike() -> None:
    assert bursts_of([1, 10, 10.5, 2], {}) == [0, 0, 0, 1, 1]
    assert bursts_of([1, 1, 1], {(1, 2): 0.79}) == [0, 0, 1, 1]
    assert bursts_of([1, 1, 1], {(1, 2): 0.8}) == [0, 0, 0, 0]
    assert bursts_of([1, 1], {}, of_event=[0, 1, 1]) == [0, 1, 1]


def test_two_cameras_at_the_same_time_have_bursts_of_their_own() -> None:
    alternating = {(n, n + 1): 0.1 for n in range(5)}
    assert bursts_of([1] * 5, alternating, [0, 1, 0, 1, 0, 1]) == [0, 1, 0, 1, 0, 1]
    assert bursts_of([1] * 5, alternating) == [0, 1, 2, 3, 4, 5]


# --- the library ------------------------------------------------------------------------------------------------------


def shot(path: Path, image: Image.Image, at: datetime, *, camera: str = "One", place: float | None = None) -> Path:
    """A photo that says when it was taken, by what, and how far east on the equator."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Us", camera
    exif.get_ifd(0x8769).update({0x9003: f"{at:%Y:%m:%d %H:%M:%S}", 0x9291: f"{at.microsecond // 1000:03}"})
    if place is not None:
        exif.get_ifd(0x8825).update({1: "N", 2: (0.0, 0.0, 1.0), 3: "E", 4: (place, 0.0, 0.0)})
    path.parent.mkdir(exist_ok=True)
    image.save(path, exif=exif, quality=95)
    return path


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A morning: red, three shots of one picture of which the second is the sharpest, and green; an evening with one
    photo; a file without a time of its own.
    """
    folder = tmp_path / "album"
    shot(folder / "a red.jpg", photos.solid("red", 64, 48), T0, place=7)
    picture = photos.noise(7, 24, 18).resize((320, 240), Image.Resampling.BICUBIC)
    for n, blur in enumerate((4, 0, 2)):
        at = T0 + timedelta(minutes=2, seconds=n)
        shot(folder / f"b {n}.jpg", picture.filter(ImageFilter.GaussianBlur(blur)) if blur else picture, at, place=7)
    shot(folder / "c green.jpg", photos.solid("green", 64, 48), T0 + timedelta(minutes=3), place=7.001)
    shot(folder / "d blue.jpg", photos.solid("blue", 64, 48), T0 + timedelta(hours=12))
    photos.solid("yellow", 64, 48).save(folder / "no time.png")
    os.utime(folder / "no time.png", (1_563_100_000, 1_563_100_000))
    return folder


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        yield opened


def names(paths: Any) -> list[str]:
    return [Path(path).stem for path in paths]


def test_events_bursts_and_the_best_of_each(library: Library) -> None:
    found = library.events(vocabulary=None)
    assert [[names(burst.photos) for burst in event.bursts] for event in found.events] == [
        [["a red"], ["b 0", "b 1", "b 2"], ["c green"]],
        [["d blue"]],
    ]
    morning, evening = found.events
    assert names(burst.best for burst in morning.bursts) == ["a red", "b 1", "c green"]
    assert morning.bursts[1].taken == tuple(T0 + timedelta(minutes=2, seconds=n) for n in range(3))
    assert (morning.start, morning.end) == (T0, T0 + timedelta(minutes=3))
    assert names(morning.photos) == ["a red", "b 0", "b 1", "b 2", "c green"]
    assert morning.place == pytest.approx((1 / 3600, 7.0002), abs=1e-5)
    assert (evening.place, evening.name) == (None, None)
    assert (found.photos, found.from_files, found.untimed, found.unread) == (6, 1, 0, 0)


def test_the_time_of_a_file_counts_only_if_asked_for(library: Library) -> None:
    found = library.events(vocabulary=None, file_times=True)
    assert (found.photos, found.from_files) == (7, 0)
    assert "no time" in names(path for event in found.events for path in event.photos)


def test_the_best_without_looking_is_the_larger_file(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    from zsindex.lab import duplicates

    monkeypatch.setattr(duplicates, "_appearance_in", None)
    found = library.events(vocabulary=None, look=False)
    sizes = {name: (Path(library.photos.roots()[0]) / f"{name}.jpg").stat().st_size for name in ("b 0", "b 1", "b 2")}
    assert names([found.events[0].bursts[1].best]) == [max(sizes, key=lambda name: sizes[name])]


def test_events_are_named_by_what_sets_them_apart(library: Library) -> None:
    found = library.events(vocabulary=["blue", "red", "black"], template="{}")
    assert found.events[1].name == "blue"
    assert found.events[0].name != "blue"
    with pytest.raises(ValueError, match="no place for the word"):
        library.events(template="a photo")


def test_only_the_named_part_is_grouped(library: Library, album: Path) -> None:
    found = library.events(paths=[album / "d blue.jpg", album / "no time.png"], vocabulary=None)
    assert [names(event.photos) for event in found.events] == [["d blue"]]
    assert library.events(paths=album / "no time.png").events == ()


def test_a_place_is_in_the_document_only_if_asked_for(library: Library) -> None:
    found = library.events(vocabulary=None)
    assert not any("place" in event for event in found.to_dict()["events"])
    assert found.to_dict(with_place=True)["events"][0]["place"]["longitude"] == pytest.approx(7.0002, abs=1e-4)
    assert found.to_dict(with_place=True)["events"][1]["place"] is None


def test_the_middle_of_places_across_the_date_line(tmp_path: Path) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        for n, east in enumerate((179.0, -179.0)):
            image = photos.solid(("red", "blue")[n], 64, 48)
            path = shot(tmp_path / "album" / f"{n}.jpg", image, T0 + timedelta(seconds=30 * n), place=abs(east))
            if east < 0:
                with Image.open(path) as opened:
                    exif = opened.getexif()
                    exif.get_ifd(0x8825)[3] = "W"
                    opened.load()
                    opened.save(path, exif=exif)
        library.sync(tmp_path / "album")
        (event,) = library.events(vocabulary=None).events
        assert event.place is not None
        assert abs(event.place[1]) == pytest.approx(180, abs=1e-3)


# --- one per burst or event -------------------------------------------------------------------------------------------


def test_a_search_shows_the_best_hit_of_each(library: Library) -> None:
    everything = library.search("red", top=20)
    bursts = {"b 0": "b", "b 1": "b", "b 2": "b"}
    for per, group in (("burst", bursts), ("event", dict.fromkeys([*bursts, "a red", "c green"], "morning"))):
        expected: dict[str, str] = {}
        for hit in everything:
            expected.setdefault(group.get(Path(hit.path).stem, Path(hit.path).stem), hit.path)
        for top in (20, 3, 2, 1):
            found = library.search("red", top=top, one_per=per)  # type: ignore[arg-type]
            assert [hit.path for hit in found] == list(expected.values())[:top]


def test_a_classification_answers_one_of_each(library: Library) -> None:
    labels = ["red", "green", "blue"]
    plain = library.classify(labels)
    by_burst = library.classify(labels, one_per="burst")
    assert len(by_burst) == 5
    assert {Path(photo.path).stem for photo in by_burst} == {"a red", "b 1", "c green", "d blue", "no time"}
    by_event = library.classify(labels, one_per="event")
    assert len(by_event) == 3
    assert {"d blue", "no time"} < {Path(photo.path).stem for photo in by_event}
    scores = {photo.path: photo.score for photo in plain}
    assert all(photo.score == scores[photo.path] for photo in by_burst)
    assert len({plain.run.key, by_burst.run.key, by_event.run.key}) == 3
    assert library.classify(labels, one_per="burst").run.key == by_burst.run.key


def test_a_run_of_one_per_burst_is_asked_again(library: Library, album: Path) -> None:
    first = library.classify(["red", "blue"], one_per="burst", record=True)
    again = library.runs.repeat(first.run.key)
    assert not again.flips
    shot(album / "e new.jpg", photos.solid("red", 64, 48), T0 + timedelta(hours=30))
    library.sync(album)
    assert library.classify(["red", "blue"], one_per="burst").run.key != first.run.key


def test_one_per_what(library: Library) -> None:
    for ask in (library.classify, library.search):
        with pytest.raises(ValueError, match="one_per is burst or event, not 'day'"):
            ask("red", one_per="day")  # type: ignore[operator]


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(run: Run, album: Path) -> Run:  # noqa: F811
    run("sync", album)
    return run


def test_the_command(synced: Run) -> None:
    result = synced("events", "--vocabulary", "none")
    lines = result.stdout.splitlines()[2:]
    assert lines[0].startswith("2019-07-14 09:00–09:03")
    assert lines[0].split()[2:4] == ["5", "3"]
    assert lines[1].startswith("2019-07-14 21:00 ")
    assert "1 photo left out: only the file's time is known" in result.stderr
    assert "2 events and 1 burst among 6 photos" in result.stderr
    assert synced("events", "--vocabulary", "none", "--quiet").stderr == ""
    assert "21:00  " in synced("events").stdout  # with names


def test_the_formats_of_the_command(synced: Run) -> None:
    document = json.loads(synced("events", "--vocabulary", "none", "--format", "json").stdout)
    assert [event["photos"] for event in document["events"]] == [5, 1]
    lines = synced("events", "--vocabulary", "none", "--format", "ndjson").stdout.splitlines()
    assert list(map(json.loads, lines)) == document["events"]
    best = synced("events", "--vocabulary", "none", "--format", "paths").stdout.splitlines()
    assert names(best) == ["a red", "b 1", "c green", "d blue"]
    text = synced("events", "--vocabulary", "none", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["event"], row["burst"], row["best"]) for row in rows] == [
        ("1", "1", "yes"), ("1", "2", ""), ("1", "2", "yes"), ("1", "2", ""), ("1", "3", "yes"), ("2", "4", "yes"),
    ]  # fmt: skip
    assert "latitude" not in rows[0]
    text = synced("events", "--vocabulary", "none", "--format", "csv", "--with-place").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["longitude"][:4] for row in rows] == ["7.00"] * 5 + [""]
    assert "--with-place is for" in synced("events", "--with-place", code=2).stderr


def test_one_per_on_the_command_line(synced: Run) -> None:
    hits = synced("search", "red", "--one-per", "burst", "--format", "paths").stdout.splitlines()
    assert len(hits) == 5
    answers = synced("classify", "-l", "red", "-l", "blue", "--one-per", "event", "--format", "paths").stdout
    assert len(answers.splitlines()) == 3
    assert "day" in synced("search", "red", "--one-per", "day", code=2).stderr

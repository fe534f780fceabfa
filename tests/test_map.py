"""The map: laid out once, kept, and followed by what comes and goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from zsindex.cli import cli

from tests import on_server
from tests.fakes import FakeEncoder
from tests.scenes import photo
from zsindex.errors import ExtraMissing, LibraryReadOnly, NoVectors, Stopped
from zsindex.index.snapshots import map_file
from zsindex.index.vectors import VectorTable
from zsindex.lab import layout, neighbours, plots
from zsindex.lab.layout import Layout, Points
from zsindex.library import Library
from zsindex.records import FloatArray, IdArray, Progress

pytest.importorskip("openTSNE", reason="needs openTSNE")

NONE = np.empty(0, dtype=np.int64)
WATCH = layout.Watch(None, None)


def clusters(n: int, *, dim: int = 16, seed: int = 0) -> tuple[VectorTable, IdArray]:
    """Vectors around five directions, and which of these each is near."""
    rng = np.random.default_rng(seed)
    of = rng.integers(0, 5, n)
    rows = np.eye(5, dim, dtype=np.float32)[of] + 0.1 * rng.standard_normal((n, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return VectorTable(None, np.arange(1, n + 1), rows, NONE), of


def laid_out(vectors: VectorTable, rows: IdArray, **options: Any) -> Points:
    return layout.lay_out(vectors, rows, neighbours.build(vectors, rows, 10), seed=0, watch=WATCH, **options)


def near_their_own(points: FloatArray | Points, of: IdArray, among: slice, which: slice) -> float:
    """The share of some points whose nearest other one is of the same cluster."""
    distances = np.linalg.norm(points[which, None] - points[None, among], axis=2)
    distances[distances == 0] = np.inf
    return float(np.mean(of[among][distances.argmin(axis=1)] == of[which]))


# --- the method -------------------------------------------------------------------------------------------------------


def test_what_is_alike_lies_together_each_time_in_the_same_place() -> None:
    vectors, of = clusters(150)
    points = laid_out(vectors, np.arange(150))
    assert points.shape == (150, 2)
    assert near_their_own(points, of, slice(None), slice(None)) > 0.98
    np.testing.assert_array_equal(points, laid_out(vectors, np.arange(150)))


@pytest.mark.parametrize("grid_from", [layout.GRID_FROM, 1])
def test_others_are_placed_among_them_which_stay(monkeypatch: pytest.MonkeyPatch, grid_from: int) -> None:
    vectors, of = clusters(150)
    known, new = np.arange(110), np.arange(110, 150)
    points = laid_out(vectors, known)
    monkeypatch.setattr(layout, "GRID_FROM", grid_from)
    monkeypatch.setattr(layout, "_PLACED_TOGETHER", 20)
    before = points.copy()
    placed = layout.place(vectors, new, known, points, watch=WATCH)
    np.testing.assert_array_equal(points, before)
    every = np.concatenate([points, placed])
    assert near_their_own(every, of, slice(0, 110), slice(110, 150)) > 0.95


@pytest.mark.parametrize("n", [1, 2, 5, 19, 20, 40])
def test_few_images_have_places_of_their_own(n: int) -> None:
    vectors, _ = clusters(n)
    points = laid_out(vectors, np.arange(n))
    assert np.isfinite(points).all()
    assert len(np.unique(points.round(6), axis=0)) == n
    placed = layout.place(vectors, np.arange(n), np.arange(n), points, watch=WATCH)
    assert np.isfinite(placed).all()


def test_images_with_the_same_vector_can_be_laid_out() -> None:
    rows = np.tile(np.eye(1, 8, dtype=np.float32), (30, 1))
    vectors = VectorTable(None, np.arange(1, 31), rows, NONE)
    assert np.isfinite(laid_out(vectors, np.arange(30))).all()


def test_of_a_library_that_is_too_large_a_part_is_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MOST_LAID_OUT", 100)
    drawn = layout.chosen(150, 0)
    assert len(np.unique(drawn)) == 100
    np.testing.assert_array_equal(drawn, layout.chosen(150, 0))
    np.testing.assert_array_equal(layout.chosen(100, 0), np.arange(100))


def test_the_rest_of_it_is_placed(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MOST_LAID_OUT", 15)
    told: list[Progress] = []
    made = library.map.build(progress=told.append)
    assert told[-1] == Progress("place", 5, 5)
    assert (len(made), made.laid_out, made.added, made.new) == (20, 15, 0, 0)
    assert sorted(made.ids.tolist()) == sorted(library.view().image_ids.tolist())
    assert where(library.map.layout()) == where(made)


# --- the library ------------------------------------------------------------------------------------------------------


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    for mark in range(1, 21):
        photo(folder / f"{mark:02}.png", "red" if mark % 2 else "blue", mark=mark)
    return folder


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        yield opened


def where(found: Layout | None) -> dict[int, tuple[float, ...]]:
    assert found is not None
    return {image: tuple(point) for image, point in zip(found.ids.tolist(), found.points.tolist(), strict=True)}


def test_a_map_is_kept(library: Library, album: Path) -> None:
    assert library.map.layout() is None
    assert library.map.seconds() > 0
    told: list[Progress] = []
    made = library.map.build(progress=told.append)
    assert told[-1] == Progress("layout", 750, 750)
    assert (len(made), made.laid_out, made.added, made.new, made.gone, made.is_outdated) == (20, 20, 0, 0, 0, False)
    file = map_file(library.path, library.model.fingerprint)
    assert file.is_file()
    with Library.open(library.path, encoder=FakeEncoder(), read_only=True) as other:
        assert where(other.map.layout()) == where(made)
        with pytest.raises(LibraryReadOnly):
            other.map.build()
    library.prune()
    assert library.check().ok
    assert where(library.map.build()) == where(made)  # the same seed


def test_new_photos_are_placed_and_those_that_went_vanish(library: Library, album: Path) -> None:
    before = where(library.map.build())
    photo(album / "new.png", "blue", mark=99)
    (album / "02.png").unlink()
    library.sync(album)
    with Library.open(library.path, encoder=FakeEncoder(), read_only=True) as other:
        told = other.map.layout()
        assert told is not None
        assert (len(told), told.added, told.gone) == (20, 1, 1)
    found = library.map.layout()
    assert found is not None
    assert (len(found), found.laid_out, found.added, found.new, found.gone) == (20, 19, 1, 0, 1)
    after = where(found)
    [new] = after.keys() - before.keys()
    assert all(after[image] == before[image] for image in after.keys() & before.keys())
    # Blue photos have the same vector but for their marks: it lies among them.
    of = {image: path for path, image in zip(library.view().paths, library.view().image_ids.tolist(), strict=True)}
    blue = [image for image, path in of.items() if image != new and int(Path(path).stem) % 2 == 0]
    red = [image for image in after if image != new and image not in blue]
    distance = lambda those: min(np.hypot(*np.subtract(after[new], after[one])) for one in those)  # noqa: E731
    assert distance(blue) < distance(red)
    assert where(library.map.layout()) == after  # it was kept
    library.prune()
    assert where(library.map.layout()) == after
    rebuilt = library.map.build()
    assert (len(rebuilt), rebuilt.added, rebuilt.gone) == (20, 0, 0)


def test_too_many_new_ones_make_it_due_anew(library: Library, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library.map.build()
    monkeypatch.setattr(layout, "FEW_CHANGED", 2)
    for mark in range(50, 56):
        photo(album / f"{mark}.png", "green", mark=mark)
    library.sync(album)
    found = library.map.layout()
    assert found is not None
    assert (len(found), found.new, found.is_outdated) == (20, 6, True)
    monkeypatch.setattr(layout, "FEW_CHANGED", 50)
    monkeypatch.setattr(layout, "MOST_PLACED", 3)
    for left in (3, 0):
        found = library.map.layout()
        assert found is not None
        assert (found.new, found.added) == (left, 6 - left)


def test_each_model_has_its_own(library: Library, album: Path) -> None:
    library.map.build()
    with Library.open(library.path, encoder=FakeEncoder("other")) as other:
        other.sync(album)
        assert other.map.layout() is None
        other.map.build()
        files = {map_file(library.path, one.model.fingerprint).name for one in (library, other)}
        assert {file.name for file in (library.path / "index").glob("*.map")} == files
    library.prune(models="other")
    [left] = (library.path / "index").glob("*.map")
    assert left == map_file(library.path, library.model.fingerprint)


@pytest.mark.parametrize("how", ["flipped", "cut", "foreign"])
def test_a_damaged_file_is_as_none_and_is_thrown_away(library: Library, how: str) -> None:
    made = where(library.map.build())
    file = map_file(library.path, library.model.fingerprint)
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes({"flipped": content, "cut": content[:50], "foreign": b""}[how])
    [problem] = library.check().problems
    assert problem == f"map of fake: {file.name} is damaged, or of another state of this library"
    if on_server.is_of(library.path):  # which has the map: the file is a copy
        assert where(library.map.layout()) == made
        assert library.check().ok
        return
    assert library.map.layout() is None
    assert library.check(fix=True).remaining == ()
    assert not file.exists()
    assert where(library.map.build()) == made


def test_one_that_is_stopped_leaves_what_was_there(library: Library, album: Path) -> None:
    before = where(library.map.build())
    photo(album / "new.png", "blue", mark=99)
    library.sync(album)
    seen: list[Progress] = []
    with pytest.raises(Stopped):
        library.map.build(
            progress=seen.append, should_stop=lambda: bool(seen) and seen[-1].stage == "layout" and seen[-1].done > 100
        )
    assert seen[-1].done < 750
    after = where(library.map.layout())
    assert before.items() <= after.items()
    assert [file.suffix for file in sorted((library.path / "index").iterdir()) if file.suffix in (".map", ".tmp")] == [
        ".map"
    ]


def test_what_is_placed_on_an_old_map_does_not_replace_a_new_one(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.map.build()
    photo(album / "new.png", "blue", mark=99)
    library.sync(album)
    really, made = layout.place, list[Layout]()

    def place(*args: Any, **options: Any) -> Points:
        with Library.open(library.path, encoder=FakeEncoder()) as other:
            made.append(other.map.build(seed=1))
        return really(*args, **options)

    monkeypatch.setattr(layout, "place", place)
    placed = library.map.layout()
    assert placed is not None
    assert placed.added == 1
    assert where(library.map.layout()) == where(made[0])


def test_without_the_extra_it_says_what_to_install(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.map.build()
    photo(album / "new.png", "blue", mark=99)
    library.sync(album)
    monkeypatch.setattr(layout, "is_installed", lambda: False)
    found = library.map.layout()
    assert found is not None
    assert (len(found), found.new) == (20, 1)
    with pytest.raises(ExtraMissing, match=r"pip install 'zsindex\[map\]'"):
        library.map.build()


def test_a_library_without_photos_has_no_map(tmp_path: Path) -> None:
    with Library.open(tmp_path / "empty", encoder=FakeEncoder()) as library:
        for ask in (library.map.layout, library.map.build, library.map.seconds):
            with pytest.raises(NoVectors):
                ask()


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_line_makes_it_and_writes_where_photos_are(library: Library) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        found = CliRunner().invoke(cli, ["map", *arguments, "--library", str(library.path)])
        assert found.exit_code == code, found.output
        return found.stdout

    assert run("show").startswith("there is no map yet: zsindex map build (about ")
    run("export", code=1)
    assert run("build", "--quiet").startswith("20 photos on the map, 20 laid out together, in ")
    assert json.loads(run("show", "--json"))["map"] == {
        "photos": 20,
        "laid_out": 20,
        "added": 0,
        "new": 0,
        "gone": 0,
        "outdated": False,
    }
    rows = [json.loads(line) for line in run("export", "--format", "ndjson").splitlines()]
    points = {row["image_id"]: (row["x"], row["y"]) for row in rows}
    assert points == where(library.map.layout())
    assert {row["path"] for row in rows} == set(library.view().paths)
    assert run("export", "--format", "csv").splitlines()[0] == "path,image_id,x,y"
    assert len(run("export").splitlines()) == 20


def test_the_command_line_draws_it(library: Library, album: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    def run(*arguments: object, code: int = 0) -> str:
        asked = ["map", "plot", *map(str, arguments), "--library", str(library.path)]
        found = CliRunner().invoke(cli, asked, env={"COLUMNS": "200"})
        assert found.exit_code == code, found.output
        return found.output

    assert "there is no map yet" in run(tmp_path / "a.png", code=1)
    library.map.build()
    run(tmp_path / "a.png", "--by", "folder")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    run(tmp_path / "a.svg")
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    assert "must end in .png, .svg or .pdf" in run(tmp_path / "a.txt", code=2)
    assert "leave one out" in run(tmp_path / "a.png", "--by", "year", "-l", "red", code=2)
    with pytest.raises(ValueError, match="one thing"):
        library.map.plot(by="year", answer=library.classify(["red"], sync=False))


def test_a_picture_of_it_has_the_colours_of_what_photos_belong_to(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    photo(album / "below" / "one.png", "red", mark=50)
    library.sync(album)
    made = library.map.build()
    drawn: list[tuple[Any, ...]] = []
    monkeypatch.setattr(plots, "scatter", lambda *given: drawn.append(given) or b"")
    answer = library.classify(["red", "blue"], sync=False)
    library.map.plot("svg", answer=answer)
    library.map.plot(by="folder")
    library.map.plot()
    best = {image: row.predictions[0].label for image, row in zip(answer.image_ids.tolist(), answer, strict=True)}
    (points, names, of, title, kind), (_, folders, in_folder, _, _), (_, _, alone, _, _) = drawn
    np.testing.assert_array_equal(points, made.points)
    assert [names[n] for n in of.tolist()] == [best[image] for image in made.ids.tolist()]
    assert (title, kind) == ("21 photos by answer", "svg")
    assert sorted(folders) == [".", "below"]
    paths = library.photos.paths_of(made.ids.tolist())
    assert [folders[n] for n in in_folder.tolist()] == [
        "below" if "below" in paths[image][0] else "." for image in made.ids.tolist()
    ]
    assert alone.tolist() == [-1] * 21


@pytest.mark.parametrize("n", [300, 30_000])
def test_a_picture_says_what_its_colours_mean(n: int) -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    points = rng.normal(0, 1, (n, 2)).astype(np.float32)
    names = ["_$5 & $6", *(f"folder {k} {'x' * 60}" for k in range(1, 30)), "nobody's"]
    of = np.minimum(rng.integers(-1, 40, n), 29)  # the last but one has the most, the last one none
    of[: n // 10] = 0
    figure = plots._scattered(points, names, of, "$ by folder")
    [legend] = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    most = 24 if n == 300 else 8
    assert len(told) == most + 2
    assert told[0].startswith("…")
    assert told[0].endswith(f"x  {np.count_nonzero(of == 29):,}")
    assert told[1] == f"_$5 & $6  {np.count_nonzero(of == 0):,}"
    assert told[-2].startswith(f"{30 - most} others")
    assert told[-1] == f"none  {np.count_nonzero(of < 0):,}"
    assert sum(len(drawn.get_offsets()) for drawn in figure.axes[0].collections) == n
    assert plots.scatter(points, names[:1], np.zeros(n, dtype=np.int64), "", "svg").count(b"<use") < 1000

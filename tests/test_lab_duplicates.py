"""Near-duplicates: groups, what is kept, and what is only alike to the model."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from tests import photos
from tests.fakes import FakeEncoder
from tests.libraries import add_photos, unit_vectors
from tests.test_cli import Run, encoders, run  # noqa: F401
from zsindex.errors import NotInLibrary, SamePhoto, TooManyPairs
from zsindex.lab import duplicates, neighbours
from zsindex.lab.duplicates import Appearance, appearance_of, correlation
from zsindex.lab.neighbours import Pairs
from zsindex.library import Library
from zsindex.services.neighbours import Neighbours


def pairs_of(*pairs: tuple[int, int, float]) -> Pairs:
    ordered = sorted(pairs, key=lambda pair: -pair[2])
    one, other, cosines = (np.array(column) for column in zip(*ordered, strict=True))
    return Pairs(one, other, cosines.astype(np.float32))


# --- groups -----------------------------------------------------------------------------------------------------------


def test_a_chain_is_not_one_group() -> None:
    chain = pairs_of((0, 1, 0.99), (1, 2, 0.98), (2, 3, 0.99), (3, 4, 0.97))
    assert [(m, [o for o, _ in others]) for m, others in duplicates.stars(chain, [0, 1, 2, 3, 4])] == [
        (0, [1]),
        (2, [3]),
        (4, []),
    ]
    assert next(iter(duplicates.stars(chain, [3, 2, 1, 0, 4]))) == (
        3,
        [(2, pytest.approx(0.99)), (4, pytest.approx(0.97))],
    )


@given(st.integers(1, 25), st.integers(0, 20), st.floats(-0.2, 0.9), st.randoms())
def test_every_image_is_in_one_group_with_a_pair_to_its_middle(
    n: int, seed: int, threshold: float, random: Any
) -> None:
    rows = unit_vectors(n, seed=seed)
    products = rows @ rows.T
    alike = {(i, j): float(products[i, j]) for i in range(n) for j in range(i + 1, n) if products[i, j] >= threshold}
    pairs = pairs_of(*((i, j, cosine) for (i, j), cosine in alike.items())) if alike else pairs_of((0, 0, 0.0))
    order = list(range(n))
    random.shuffle(order)
    groups = list(duplicates.stars(pairs, order))
    assert sorted(i for middle, others in groups for i in (middle, *(o for o, _ in others))) == list(range(n))
    for middle, others in groups:
        for other, cosine in others:
            assert alike[min(middle, other), max(middle, other)] == pytest.approx(cosine)
            assert order.index(middle) < order.index(other)  # a better one is kept
        assert [c for _, c in others] == sorted((c for _, c in others), reverse=True)
    middles = [middle for middle, _ in groups]
    assert not any((min(a, b), max(a, b)) in alike for a in middles for b in middles if a != b)


# --- looking ----------------------------------------------------------------------------------------------------------


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    image = photos.noise(0, 40, 30)
    grey = np.asarray(image.convert("L"), dtype=np.float64)
    values = [
        grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1] - 4 * grey[y, x]
        for y in range(1, 29)
        for x in range(1, 39)
    ]
    assert appearance_of(image).sharpness == pytest.approx(np.var(values), rel=1e-6)
    assert appearance_of(photos.solid("red")).sharpness == 0
    assert appearance_of(photos.solid("red", 2, 9)).sharpness == 0


def test_blurred_is_less_sharp_at_any_size() -> None:
    for size in ((150, 100), (2000, 1400)):
        image = photos.noise(1, 60, 40).resize(size, Image.Resampling.BICUBIC)
        blurred = image.filter(ImageFilter.GaussianBlur(size[0] / 100))
        assert appearance_of(blurred).sharpness < appearance_of(image).sharpness / 2


def test_correlation_tells_pictures_apart() -> None:
    picture = appearance_of(photos.gradient())
    for same in (photos.gradient(200, 150), photos.gradient().convert("L"), photos.gradient().point(lambda v: v // 2)):
        assert correlation(picture, appearance_of(same)) > 0.97
    mirrored = photos.gradient().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for other in (mirrored, photos.noise(0)):
        assert correlation(picture, appearance_of(other)) < 0.9
    assert correlation(picture, picture) == pytest.approx(1)
    a, b = (np.arange(1024, dtype=np.uint8).reshape(32, 32) % k for k in (7, 31))
    expected = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert correlation(Appearance(0, a), Appearance(0, b)) == pytest.approx(expected)


def test_pictures_of_nothing_are_the_same_if_equally_bright() -> None:
    black, grey, dark = (appearance_of(photos.solid(colour)) for colour in ("black", "grey", (1, 1, 1)))
    assert (correlation(black, dark), correlation(black, grey)) == (1, 0)
    assert correlation(black, appearance_of(photos.gradient())) == 0


# --- the library ------------------------------------------------------------------------------------------------------


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A picture with a smaller, a blurred and an equal copy; two that are alike to the encoder only; one by itself."""
    folder = tmp_path / "album"
    folder.mkdir()
    picture = photos.noise(7, 24, 18).resize((320, 240), Image.Resampling.BICUBIC)
    picture.save(folder / "picture.png")
    picture.resize((160, 120)).save(folder / "half.png")
    picture.filter(ImageFilter.GaussianBlur(4)).save(folder / "a blurred one.png")
    shutil.copy(folder / "picture.png", folder / "same.png")
    red = Image.new("RGB", (320, 240), (200, 0, 0))
    for name, box in (("left.png", (0, 0, 160, 240)), ("right.png", (160, 0, 320, 240))):
        half = red.copy()
        half.paste((250, 0, 0), box)
        half.save(folder / name)
    photos.solid("blue").save(folder / "blue.png")
    return folder


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        yield opened


def names(paths: list[str]) -> list[str]:
    return [Path(path).name for path in paths]


def test_the_best_one_is_kept(library: Library) -> None:
    found = library.neighbours.duplicates()
    (group,) = found.groups
    assert Path(group.keep.path).name == "picture.png"
    assert names(found.removable)[0] == "same.png"
    assert set(names(found.removable)) == {"same.png", "a blurred one.png", "half.png"}
    assert [other.exact for other in group.others] == [True, False, False]
    assert (group.keep.width, group.keep.height) == (320, 240)
    assert all(o.correlation is not None and o.correlation >= duplicates.SAME_PICTURE for o in group.others)
    assert group.keep.size == Path(group.keep.path).stat().st_size
    assert found.removable_bytes == sum(Path(path).stat().st_size for path in found.removable)
    assert (found.photos, found.unread, found.threshold) == (7, 0, 0.95)
    blurred = next(o for o in group.others if "blurred" in o.path)
    assert blurred.sharpness is not None
    assert group.keep.sharpness is not None
    assert blurred.sharpness < group.keep.sharpness
    assert json.loads(json.dumps(found.to_dict()))["groups"][0]["keep"]["path"] == group.keep.path


def test_without_looking_the_vectors_decide(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_appearance_in", None)
    found = library.neighbours.duplicates(look=False)
    assert found.unread is None
    assert [sorted(names([g.keep.path, *(o.path for o in g.others)])) for g in found.groups] == [
        ["a blurred one.png", "half.png", "picture.png", "same.png"],
        ["left.png", "right.png"],
    ]
    assert {o.sharpness for g in found.groups for o in g.others} == {None}


def test_each_photo_is_read_once(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    first = library.neighbours.duplicates(progress=lambda event: seen.append(event.done))
    assert seen == [1, 2, 3, 4, 5]
    monkeypatch.setattr(duplicates, "_appearance_in", None)
    assert library.neighbours.duplicates() == first


def test_photos_that_are_not_here_or_have_changed_are_in_no_group(library: Library, album: Path) -> None:
    (album / "left.png").unlink()
    (album / "half.png").write_bytes(b"something else")
    for found in (library.neighbours.duplicates(), library.neighbours.duplicates(look=False)):
        by_name = {Path(p.path).name: p for g in found.groups for p in (g.keep, *g.others)}
        assert set(by_name) == {"picture.png", "same.png", "a blurred one.png"}
        assert found.left_out == 2


def test_exact_copies_need_no_neighbours(tmp_path: Path) -> None:
    photos.solid("red").save(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync([tmp_path / "a.png", tmp_path / "b.png"])
        assert [level.pairs for level in library.neighbours.duplicate_examples()] == [0] * len(duplicates.LEVELS)
        (group,) = library.neighbours.duplicates().groups
    assert (Path(group.keep.path).name, names([o.path for o in group.others])) == ("a.png", ["b.png"])


def test_only_the_named_part_is_looked_at(library: Library, album: Path) -> None:
    found = library.neighbours.duplicates(paths=[album / "half.png", album / "picture.png", album / "blue.png"])
    assert found.photos == 3
    assert names(found.removable) == ["half.png"]


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01])
def test_a_threshold_is_a_cosine(library: Library, threshold: float) -> None:
    with pytest.raises(ValueError, match="above 0 up to 1"):
        library.neighbours.duplicates(threshold=threshold)


def test_a_threshold_that_is_far_too_low(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MAX_PAIRS", 2)
    with pytest.raises(TooManyPairs):
        library.neighbours.duplicates(threshold=0.9)


def test_examples_lie_at_their_levels(library: Library) -> None:
    levels = library.neighbours.duplicate_examples(each=1)
    assert [level.cosine for level in levels] == sorted((level.cosine for level in levels), reverse=True)
    view = library.view()
    upper = 1.1
    for level in levels:
        assert len(level.examples) <= 1
        for one, other, cosine in level.examples:
            own, others = library.embed_images([one, other])
            assert cosine == pytest.approx(float(own @ others), abs=1e-6)
            assert level.cosine <= cosine + 1e-6 < upper + 1e-6
        vectors = view.vectors.take(view.unique[0])
        pairs = np.triu(vectors @ vectors.T >= level.cosine, 1).sum()
        assert level.pairs == pairs
        upper = level.cosine
    assert sum(len(level.examples) for level in levels) > 0


# --- decisions --------------------------------------------------------------------------------------------------------


def test_what_is_different_does_not_come_together_by_way_of_a_third() -> None:
    pairs = pairs_of((0, 1, 0.99), (0, 2, 0.98), (1, 2, 0.97), (0, 3, 0.96), (2, 3, 0.97))
    assert [(m, [o for o, _ in others]) for m, others in duplicates.stars(pairs, [0, 1, 2, 3])] == [(0, [1, 2, 3])]
    # The one that is more like the middle stays with it; the other one keeps those that are left.
    apart = duplicates.stars(pairs, [0, 1, 2, 3], apart={(1, 2), (1, 3)})
    assert [(m, [o for o, _ in others]) for m, others in apart] == [(0, [1]), (2, [3])]


def test_what_is_kept_is_only_in_the_middle() -> None:
    pairs = pairs_of((0, 1, 0.99), (0, 2, 0.98), (1, 2, 0.97))
    kept = duplicates.stars(pairs, [1, 2, 0], kept={1, 2})
    assert [(m, [o for o, _ in others]) for m, others in kept] == [(1, [0]), (2, [])]


@given(st.integers(2, 15), st.integers(0, 20), st.sets(st.tuples(st.integers(0, 14), st.integers(0, 14))), st.data())
def test_decisions_hold_in_all_groups(n: int, seed: int, said: set[tuple[int, int]], data: Any) -> None:
    rows = unit_vectors(n, seed=seed)
    products = rows @ rows.T
    alike = [(i, j, float(products[i, j])) for i in range(n) for j in range(i + 1, n) if products[i, j] >= 0]
    apart = {(a, b) for a, b in said if a < b < n}
    kept = data.draw(st.sets(st.integers(0, n - 1), max_size=3))
    pairs = [pair for pair in alike if pair[:2] not in apart] or [(0, 0, 0.0)]
    order = sorted(range(n), key=lambda image: (image not in kept, image))
    groups = [{m, *(o for o, _ in others)} for m, others in
              duplicates.stars(pairs_of(*pairs), order, apart=apart, kept=kept)]  # fmt: skip
    assert sorted(image for group in groups for image in group) == list(range(n))
    assert not any({a, b} <= group for a, b in apart for group in groups)
    assert not any(len(group & kept) > 1 for group in groups)


def test_a_pair_called_different_is_in_no_group_again(library: Library, album: Path) -> None:
    assert library.decisions.add(different=(album / "picture.png", album / "a blurred one.png")) == 1  # one group
    found = library.neighbours.duplicates()
    assert [sorted(names([g.keep.path, *(o.path for o in g.others)])) for g in found.groups] == [
        ["half.png", "picture.png", "same.png"]
    ]
    assert (found.apart, found.to_dict()["apart"]) == (1, 1)
    # It is the content that is different: also from a copy, under another name, and with another model.
    (album / "a blurred one.png").rename(album / "moved.png")
    library.sync(album)
    assert "moved.png" not in str(library.neighbours.duplicates().to_dict())
    (one,) = library.decisions.list()
    assert (one.kind, one.gone) == ("different", False)
    assert names([one.path, one.other_path or ""]) == ["picture.png", "moved.png"]
    assert library.decisions.undo() == 1
    assert library.decisions.list() == []
    assert len(library.neighbours.duplicates().removable) == 3


def test_three_that_are_different(library: Library, album: Path) -> None:
    three = [album / name for name in ("picture.png", "half.png", "a blurred one.png")]
    assert library.decisions.add(different=[three]) == 3
    (group,) = library.neighbours.duplicates().groups
    assert names([group.keep.path, *(o.path for o in group.others)]) == ["picture.png", "same.png"]


def test_what_is_to_be_kept_is_not_suggested_for_removal(library: Library, album: Path) -> None:
    assert library.decisions.add(keep=[album / "half.png", album / "a blurred one.png"]) == 2
    found = library.neighbours.duplicates()
    kept = {Path(group.keep.path).name: group.keep.kept for group in found.groups}
    assert not {"half.png", "a blurred one.png"} & set(names(found.removable))
    assert kept == {"a blurred one.png": True}  # the larger one of the two; nothing is left for the other
    assert names(found.removable) == ["picture.png", "same.png"]
    assert library.decisions.forget(album / "a blurred one.png") == 1
    assert [names([g.keep.path]) for g in library.neighbours.duplicates().groups] == [["half.png"]]
    assert library.decisions.undo() == 1  # what was withdrawn is there again
    assert library.neighbours.duplicates() == found


def test_of_files_with_the_same_bytes_the_named_one_is_kept(library: Library, album: Path) -> None:
    library.decisions.add(keep=album / "same.png")
    (group,) = library.neighbours.duplicates().groups
    assert (Path(group.keep.path).name, group.keep.kept) == ("same.png", True)
    other = group.others[0]
    assert (Path(other.path).name, other.exact, other.kept) == ("picture.png", True, False)


def test_decisions_outlive_a_photo_that_goes_and_comes_back(library: Library, album: Path) -> None:
    library.decisions.add(different=[(album / "picture.png", album / "half.png")], keep=album / "half.png")
    content = (album / "half.png").read_bytes()
    (album / "half.png").unlink()
    library.sync(album)
    library.prune()
    assert {(one.kind, one.gone) for one in library.decisions.list()} == {("keep", True), ("different", True)}
    assert all(str(album / "half.png") in (one.path, one.other_path) for one in library.decisions.list())
    (album / "back.png").write_bytes(content)
    library.sync(album)
    found = library.neighbours.duplicates()
    assert [sorted(names([g.keep.path, *(o.path for o in g.others)])) for g in found.groups] == [
        ["a blurred one.png", "back.png"],
        ["picture.png", "same.png"],
    ]
    assert "back.png" not in names(found.removable)
    assert {one.gone for one in library.decisions.list()} == {False}
    assert {one.path for one in library.decisions.list() if one.kind == "keep"} == {str(album / "back.png")}


def test_decisions_that_cannot_be(library: Library, album: Path) -> None:
    for same in (["picture.png", "same.png"], ["picture.png"], ["picture.png", "picture.png"]):
        with pytest.raises(SamePhoto, match="not different photos"):
            library.decisions.add(different=[[album / name for name in same]], keep=album / "half.png")
    with pytest.raises(NotInLibrary, match="can be decided about"):
        library.decisions.add(keep=album / "unknown.png")
    assert library.decisions.list() == []  # if one is refused, none is kept
    assert library.decisions.forget(album / "half.png") == 0
    assert library.decisions.undo() == 0


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(run: Run, album: Path) -> Run:  # noqa: F811
    run("sync", album)
    return run


def test_the_command_shows_groups_and_deletes_nothing(synced: Run, album: Path) -> None:
    result = synced("duplicates")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["keep", "copy", "near", "near"]
    assert lines[0].endswith("picture.png")
    assert "320×240" in lines[0]
    assert "1 group among 7 photos: 1 exact and 2 near copies" in result.stderr
    assert len(list(album.iterdir())) == 7
    assert synced("duplicates", "--quiet").stderr == ""


def test_the_other_formats(synced: Run) -> None:
    removable = synced("duplicates", "--format", "paths").stdout.splitlines()
    assert len(removable) == 3
    document = json.loads(synced("duplicates", "--format", "json").stdout)
    assert [o["path"] for g in document["groups"] for o in g["others"]] == removable
    (group,) = map(json.loads, synced("duplicates", "--format", "ndjson").stdout.splitlines())
    assert group == document["groups"][0]
    rows = list(csv.DictReader(io.StringIO(synced("duplicates", "--format", "csv").stdout)))
    assert [row["role"] for row in rows] == ["keep", "copy", "near", "near"]
    assert [row["path"] for row in rows[1:]] == removable
    vectors_only = synced("duplicates", "--no-look", "--threshold", "0.9", "--format", "paths").stdout
    assert len(vectors_only.splitlines()) == 4


def test_the_command_remembers_decisions(synced: Run, album: Path) -> None:
    said = synced(
        "duplicates", "--different", album / "picture.png", album / "half.png", "--keep", album / "a blurred one.png"
    )
    assert "kept 2 decisions; nothing was deleted" in said.stderr
    result = synced("duplicates")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["keep", "near", "near"]
    assert lines[0].endswith("a blurred one.png")
    assert "half.png" not in result.stdout
    assert "as you decided: 1 pair of near-duplicates kept apart, 1 photo kept" in result.stderr
    rows = list(csv.DictReader(io.StringIO(synced("duplicates", "--decisions", "--format", "csv").stdout)))
    assert [(row["decision"], Path(row["path"]).name, Path(row["other_path"]).name) for row in rows] == [
        ("different", "picture.png", "half.png"),
        ("keep", "a blurred one.png", ""),
    ]
    document = json.loads(synced("duplicates", "--decisions", "--format", "json").stdout)
    assert [one["digest"] for one in document] == [row["digest"] for row in rows]
    assert "picture.png and " in synced("duplicates", "--decisions").stdout
    assert "withdrew 1 decision" in synced("duplicates", "--forget", album / "half.png").stderr
    assert "undid 1 decision" in synced("duplicates", "--undo").stderr
    assert "undid 2 decisions" in synced("duplicates", "--undo").stderr
    assert "nothing to undo" in synced("duplicates", "--undo").stderr
    assert synced("duplicates", "--decisions").stdout == ""


def test_decisions_on_a_wrong_command_line(synced: Run, album: Path) -> None:
    assert "use only one of" in synced("duplicates", "--undo", "--decisions", code=2).stderr
    assert "not for decisions" in synced("duplicates", "--undo", "--threshold", "0.9", code=2).stderr
    same = synced("duplicates", "--different", album / "picture.png", album / "same.png", code=1)
    assert "two of them have the same bytes" in same.stderr


def test_the_command_says_what_it_could_not_read(synced: Run, album: Path) -> None:
    (album / "half.png").unlink()
    assert "1 photo left out: missing, changed since the last sync" in synced("duplicates").stderr


# --- what is named for removal is there, and so is what is kept ---------------------------------------------------


def groups(found: duplicates.Duplicates, folder: Path) -> list[list[str]]:
    """Paths of each group, the one to keep first."""
    return [[str(Path(p.path).relative_to(folder)) for p in (g.keep, *g.others)] for g in found.groups]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place" / "a").mkdir(parents=True)
    (tmp_path / "place" / "b").mkdir()
    return tmp_path / "place"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        yield library


def red(path: Path) -> Path:
    photos.solid("red").save(path)
    return path


@pytest.mark.parametrize("look", [True, False])
@pytest.mark.parametrize("links", ["symbolic before", "symbolic behind", "hard", "folder before", "folder behind"])
def test_another_name_of_the_same_file_is_no_duplicate(empty: Library, place: Path, links: str, look: bool) -> None:
    real = red(place / "a" / "m.png")
    if links == "hard":
        os.link(real, place / "b" / "x.png")
    elif links.startswith("symbolic"):
        (place / ("a" if links.endswith("behind") else "b") / "n.png").symlink_to(real)
        (place / ("a" if links.endswith("before") else "b") / "l.png").symlink_to(real)
    else:
        (place / ("0" if links.endswith("before") else "c")).symlink_to("a")
    empty.sync(place)
    for name in ("0", "c"):  # of its own: a sync does not follow links to folders
        if (place / name).exists():
            empty.sync(place / name)
    others = len(empty.photos.paths()) - 1
    assert others >= 1
    found = empty.neighbours.duplicates(look=look)
    assert (found.groups, found.removable, found.left_out) == ((), [], others)

    shutil.copy(real, place / "z.png")
    empty.sync(place)
    [[keep, other]] = groups(empty.neighbours.duplicates(look=look), place)
    assert keep == "z.png"  # another file
    assert other in ("a/m.png", "b/x.png")  # the file under a name of its own


def test_what_was_moved_to_a_folder_that_alone_is_synced_is_no_duplicate(empty: Library, place: Path) -> None:
    red(place / "a" / "x.png")
    empty.sync(place)
    shutil.move(place / "a" / "x.png", place / "b" / "x.png")
    empty.sync(place / "b")
    assert len(empty.photos.paths()) == 2
    found = empty.neighbours.duplicates()
    assert (found.groups, found.left_out) == ((), 1)


@pytest.mark.parametrize("gone", ["a.png", "b.png"])
def test_of_two_copies_one_of_which_has_gone_none_is_named(empty: Library, place: Path, gone: str) -> None:
    red(place / "a.png")
    shutil.copy(place / "a.png", place / "b.png")
    empty.sync(place)
    assert groups(empty.neighbours.duplicates(), place) == [["a.png", "b.png"]]
    before = empty.neighbours.duplicates()
    (place / gone).unlink()
    assert empty.neighbours.duplicates().groups == before.still_there().groups == ()


def test_a_copy_that_has_changed_is_none(empty: Library, place: Path) -> None:
    red(place / "a.png")
    shutil.copy(place / "a.png", place / "b.png")
    empty.sync(place)
    before = empty.neighbours.duplicates()
    status = (place / "b.png").stat()
    os.utime(place / "b.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert empty.neighbours.duplicates(look=False).groups == before.still_there().groups == ()
    photos.solid("blue").save(place / "b.png")
    assert empty.neighbours.duplicates().groups == ()


def test_a_link_is_not_kept_in_place_of_a_file(empty: Library, place: Path) -> None:
    """Whoever has the disk with its target unplugged would be left without any."""
    outside = place.parent / "outside"
    outside.mkdir()
    big = photos.noise(7, 24, 18).resize((320, 240), Image.Resampling.BICUBIC)
    big.save(outside / "big.png")
    (place / "a.png").symlink_to(outside / "big.png")
    big.resize((160, 120)).save(place / "small.png")
    shutil.copy(outside / "big.png", place / "z.png")
    empty.sync(place)
    assert groups(empty.neighbours.duplicates(look=False), place) == [["z.png", "a.png", "small.png"]]
    (place / "z.png").unlink()
    assert groups(empty.neighbours.duplicates(look=False), place) == [["small.png", "a.png"]]


def test_what_cannot_be_reached_or_is_no_file_is_not_named(empty: Library, place: Path) -> None:
    for name in ("a.png", "b/b.png", "c.png"):
        red(place / name)
    empty.sync(place)
    shutil.rmtree(place / "b")
    (place / "b").write_text("no folder", encoding="utf-8")
    (place / "c.png").unlink()
    os.mkfifo(place / "c.png")
    assert empty.neighbours.duplicates(look=False).groups == ()


def test_of_imported_vectors_nothing_is_named(empty: Library) -> None:
    add_photos(
        empty.session.storage,
        empty.session.model.row(),
        np.repeat(unit_vectors(1), 3, axis=0),
        folder="/nowhere",
    )
    found = empty.neighbours.duplicates(look=False)
    assert (found.groups, found.left_out, found.photos) == ((), 3, 3)


@pytest.mark.parametrize("fmt", ["paths", "csv", "json", "ndjson", "table"])
def test_the_disk_is_asked_right_before_anything_is_printed(
    synced: Run, album: Path, monkeypatch: pytest.MonkeyPatch, fmt: str
) -> None:
    """Others remove files while the photos are looked at."""
    find = Neighbours.duplicates

    def slow(self: Neighbours, **options: Any) -> duplicates.Duplicates:
        found = find(self, **options)
        (album / "same.png").unlink()
        return found

    monkeypatch.setattr(Neighbours, "duplicates", slow)
    shown = synced("duplicates", "--format", fmt).stdout
    assert "same.png" not in shown
    assert "half.png" in shown


def test_search_shows_the_name_that_is_there(empty: Library, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    red(place / "a" / "x.png")
    photos.solid("blue").save(place / "a" / "y.png")
    empty.sync(place / "a")
    shutil.move(place / "a" / "x.png", place / "b" / "x.png")
    empty.sync(place / "b")
    asked: list[str] = []
    lexists = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: (asked.append(str(path)), lexists(path))[1])
    by_words, by_example = empty.search("red"), empty.similar(place / "b" / "x.png")
    there, gone = str(place / "b" / "x.png"), str(place / "a" / "x.png")
    assert (by_words[0].path, by_words[0].copies) == (there, (gone,))
    assert by_example[0].path == gone  # all that is left of the image, without itself
    # Only where there is a choice.
    assert [path for path in asked if path.startswith(str(place))] == [gone, there]


def test_a_threshold_can_be_chosen_by_looking(synced: Run, tmp_path: Path) -> None:
    shown = synced("duplicates", "--show-threshold")
    assert "0.999: " in shown.stdout
    assert "--threshold COSINE" in shown.stderr
    levels = json.loads(synced("duplicates", "--show-threshold", "--each", "1", "--format", "json").stdout)
    examples = [example for level in levels for example in level["examples"]]
    assert max(len(level["examples"]) for level in levels) == 1
    for fmt, n in (("ndjson", len(levels)), ("csv", 1 + len(examples)), ("paths", 2 * len(examples))):
        out = synced("duplicates", "--show-threshold", "--each", "1", "--format", fmt).stdout
        assert len(out.splitlines()) == n
    synced("duplicates", "--show-threshold", "--threshold", "0.9", code=2)
    synced("duplicates", "--threshold", "0", code=2)

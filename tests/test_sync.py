"""What a sync finds and what it costs, for everything that people do to folders of photos."""

from __future__ import annotations

import errno
import io
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import photos
from tests.fakes import FakeEncoder
from tests.libraries import stored
from tests.scenes import damaged, photo
from tests.statements import counting_statements
from zsindex.errors import ImageError, PathNotFound
from zsindex.ingest.sync import ALWAYS_RETRIED
from zsindex.library import Library
from zsindex.photos import decode
from zsindex.photos.formats import storable
from zsindex.records import FileContent, FloatArray, Progress, SkipReason, SyncReport

COUNTS = (
    "scanned",
    "unchanged",
    "added",
    "changed",
    "moved",
    "skipped",
    "missing",
    "to_read",
    "sidecars",
    "facts_read",
    "encoded",
    "reused",
    "left",
)


@dataclass
class World:
    """Two synced roots with five photos, a library, and a model that counts."""

    base: Path
    library: Library
    encoder: FakeEncoder

    @property
    def photos(self) -> Path:
        return self.base / "photos"

    @property
    def other(self) -> Path:
        return self.base / "other"

    def sync(self, *paths: Path, **options: Any) -> SyncReport:
        """Sync, the two roots by default, and check what holds of every report."""
        before = self.encoder.image_count
        report = self.library.sync(paths or [self.photos, self.other], **options)
        assert report.encoded == self.encoder.image_count - before
        assert report.scanned == sum(getattr(report, n) for n in ("unchanged", "added", "changed", "moved", "skipped"))
        assert report.skipped == len(report.skips)
        assert min(getattr(report, name) for name in COUNTS) >= 0
        if not report.dry_run:
            assert report.encoded + report.reused <= report.to_read
        return report

    def dump(self) -> list[str]:
        """Everything that the database holds, a line for each row."""
        return stored(self.library.path)


@pytest.fixture
def empty_world(tmp_path: Path, new_library: Path) -> Iterator[World]:
    shutil.copytree(new_library, tmp_path / "library")
    encoder = FakeEncoder()
    with Library.open(tmp_path / "library", encoder=encoder, batch_size=4, workers=2) as library:
        yield World(tmp_path, library, encoder)


@pytest.fixture
def world(empty_world: World) -> World:
    for mark, name in enumerate(
        ["photos/one.png", "photos/trip/two.png", "photos/trip/three.png", "photos/trip/far/four.png", "other/five.png"]
    ):
        path = photo(empty_world.base / name, mark=mark)
        os.utime(path, ns=(0, 1_000_000_000 * (mark + 1)))  # apart, however coarse the file system's clock
    empty_world.sync()
    return empty_world


def cost(report: SyncReport) -> dict[str, int]:
    """All counts that are not 0."""
    return {name: getattr(report, name) for name in COUNTS if getattr(report, name)}


# --- the cost of everything -------------------------------------------------------------------------------------------


def swap(one: Path, two: Path) -> None:
    aside = one.with_suffix(".aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


# What is done to the five photos, and what the next sync of both roots reports.
CHANGES: dict[str, tuple[Callable[[World], object], dict[str, int]]] = {
    "nothing": (lambda w: None, {"scanned": 5, "unchanged": 5}),
    "a file renamed": (
        lambda w: (w.photos / "one.png").rename(w.photos / "1.png"),
        {"scanned": 5, "unchanged": 4, "moved": 1, "to_read": 1, "reused": 1},
    ),
    "a file renamed in case only": (
        lambda w: (w.photos / "one.png").rename(w.photos / "ONE.PNG"),
        {"scanned": 5, "unchanged": 4, "moved": 1, "to_read": 1, "reused": 1},
    ),
    "a folder renamed": (
        lambda w: (w.photos / "trip").rename(w.photos / "holiday"),
        {"scanned": 5, "unchanged": 2, "moved": 3, "to_read": 3, "reused": 3},
    ),
    "a file moved to the other root": (
        lambda w: (w.photos / "one.png").rename(w.other / "one.png"),
        {"scanned": 5, "unchanged": 4, "moved": 1, "to_read": 1, "reused": 1},
    ),
    "a folder moved to the other root": (
        lambda w: (w.photos / "trip").rename(w.other / "trip"),
        {"scanned": 5, "unchanged": 2, "moved": 3, "to_read": 3, "reused": 3},
    ),
    "a file copied": (
        lambda w: shutil.copy(w.photos / "one.png", w.other / "copy.png"),
        {"scanned": 6, "unchanged": 5, "added": 1, "to_read": 1, "reused": 1},
    ),
    "a folder copied": (
        lambda w: shutil.copytree(w.photos / "trip", w.other / "trip"),
        {"scanned": 8, "unchanged": 5, "added": 3, "to_read": 3, "reused": 3},
    ),
    "a file moved and copied": (
        lambda w: (
            shutil.copy(w.photos / "one.png", w.other / "copy.png"),
            (w.photos / "one.png").rename(w.other / "one.png"),
        ),
        {"scanned": 6, "unchanged": 4, "moved": 1, "added": 1, "to_read": 2, "reused": 2},
    ),
    "a file touched": (
        lambda w: (w.photos / "one.png").touch(),
        {"scanned": 5, "unchanged": 5, "to_read": 1, "reused": 1},
    ),
    "a file edited": (
        lambda w: photo(w.photos / "one.png", mark=100),
        {"scanned": 5, "unchanged": 4, "changed": 1, "to_read": 1, "encoded": 1},
    ),
    "a file deleted": (lambda w: (w.photos / "one.png").unlink(), {"scanned": 4, "unchanged": 4, "missing": 1}),
    "a folder deleted": (lambda w: shutil.rmtree(w.photos / "trip"), {"scanned": 2, "unchanged": 2, "missing": 3}),
    "a file replaced by another's content": (
        lambda w: shutil.copy(w.other / "five.png", w.photos / "one.png"),
        {"scanned": 5, "unchanged": 4, "changed": 1, "to_read": 1, "reused": 1},
    ),
    "a file renamed over another": (
        lambda w: (w.photos / "one.png").replace(w.other / "five.png"),
        {"scanned": 4, "unchanged": 3, "changed": 1, "missing": 1, "to_read": 1, "reused": 1},
    ),
    "two files swapped": (
        lambda w: swap(w.photos / "one.png", w.other / "five.png"),
        {"scanned": 5, "unchanged": 3, "changed": 2, "to_read": 2, "reused": 2},
    ),
    "a new photo": (
        lambda w: photo(w.photos / "new.png", mark=100),
        {"scanned": 6, "unchanged": 5, "added": 1, "to_read": 1, "encoded": 1},
    ),
    "a new photo twice": (
        lambda w: (photo(w.photos / "new.png", mark=100), photo(w.other / "new.png", mark=100)),
        {"scanned": 7, "unchanged": 5, "added": 2, "to_read": 2, "encoded": 1, "reused": 1},
    ),
    "a new bad photo": (
        lambda w: damaged(w.photos / "bad.jpg"),
        {"scanned": 6, "unchanged": 5, "skipped": 1, "to_read": 1},
    ),
    "a photo damaged": (
        lambda w: damaged(w.photos / "one.png"),
        {"scanned": 5, "unchanged": 4, "skipped": 1, "to_read": 1},
    ),
    "a photo emptied": (
        lambda w: (w.photos / "one.png").write_bytes(b""),
        {"scanned": 5, "unchanged": 4, "skipped": 1, "to_read": 1},
    ),
    "a photo replaced by a folder": (
        lambda w: replace_by_folder(w.photos / "one.png"),
        {"scanned": 5, "unchanged": 4, "skipped": 1},
    ),
    "a photo replaced by a broken link": (
        lambda w: replace_by_broken_link(w.photos / "one.png"),
        {"scanned": 5, "unchanged": 4, "skipped": 1},
    ),
    "a photo hidden": (
        lambda w: (w.photos / "one.png").rename(w.photos / ".one.png"),
        {"scanned": 4, "unchanged": 4, "missing": 1},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_change_costs(world: World, change: str) -> None:
    act, expected = CHANGES[change]
    act(world)
    before = world.dump()
    dry = world.sync(dry_run=True)
    assert dry.dry_run
    assert world.dump() == before
    report = world.sync()
    assert cost(report) == expected
    # What a dry run can tell without reading. Where a path is new and another gone, it cannot know of a move.
    assert (dry.scanned, dry.to_read) == (report.scanned, report.to_read)
    assert (dry.encoded, dry.reused, dry.moved) == (0, 0, 0)
    assert dry.missing == report.missing + report.moved
    assert (report.vanished_roots, dict(report.unlisted), report.interrupted) == ((), {}, False)
    # Whatever it was: it is known now, and costs nothing again.
    scanned, skipped = report.scanned, report.skipped
    steady = {"scanned": scanned, "unchanged": scanned - skipped, "skipped": skipped}
    assert cost(world.sync()) == {name: n for name, n in steady.items() if n}
    status = world.library.status()
    assert status.files == scanned - skipped
    assert sum(status.skipped.values()) == skipped
    assert world.library.photos.paths() == sorted(map(str, good_photos(world)), key=os.path.split)
    assert world.library.check().ok


def good_photos(world: World) -> list[Path]:
    skipped = {file.path for file in world.library.photos.skipped()}
    found = [p for root in (world.photos, world.other) for p in root.rglob("*") if p.suffix.lower() == ".png"]
    return [p for p in found if str(p) not in skipped and not p.name.startswith(".")]


def test_a_first_sync_encodes_everything_once(empty_world: World) -> None:
    world = empty_world
    photo(world.photos / "a.png", mark=1)
    photo(world.photos / "b.png", mark=1)
    photo(world.other / "c.png", mark=2)
    assert cost(world.sync(dry_run=True)) == {"scanned": 3, "added": 3, "to_read": 3}
    assert cost(world.sync()) == {"scanned": 3, "added": 3, "to_read": 3, "encoded": 2, "reused": 1}


def test_the_report_as_plain_data(world: World) -> None:
    damaged(world.photos / "bad.jpg")
    report = world.sync().to_dict()
    assert {name: report[name] for name in COUNTS} == dict.fromkeys(COUNTS, 0) | {
        "scanned": 6,
        "unchanged": 5,
        "skipped": 1,
        "to_read": 1,
    }
    [skip] = report["skips"]
    assert (skip["path"], skip["reason"]) == (str(world.photos / "bad.jpg"), "not-an-image")
    assert skip["detail"]
    assert {**report, "seconds": 0, "skips": []} == {
        **dict.fromkeys(COUNTS, 0),
        "scanned": 6,
        "unchanged": 5,
        "skipped": 1,
        "to_read": 1,
        "seconds": 0,
        "dry_run": False,
        "interrupted": False,
        "skips": [],
        "vanished_roots": [],
        "unlisted": {},
    }
    assert report["seconds"] >= 0


# --- gone, and back ---------------------------------------------------------------------------------------------------


def test_deleted_and_restored(world: World) -> None:
    path, aside = world.photos / "one.png", world.base / "aside.png"
    path.rename(aside)
    assert cost(world.sync()) == {"scanned": 4, "unchanged": 4, "missing": 1}
    assert str(path) not in world.library.photos.paths()
    assert world.library.status().missing == 1
    assert cost(world.sync()) == {"scanned": 4, "unchanged": 4}  # reported once
    aside.rename(path)
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 4, "added": 1, "to_read": 1, "reused": 1}
    assert world.library.status().missing == 0


def test_deleted_and_back_under_another_name_and_in_another_sync(world: World) -> None:
    path, aside = world.photos / "one.png", world.base / "aside.png"
    path.rename(aside)
    world.sync()
    aside.rename(world.photos / "new name.png")
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 4, "moved": 1, "to_read": 1, "reused": 1}
    assert world.library.status().missing == 0


def test_deleted_and_replaced_by_another_photo_of_the_same_name(world: World) -> None:
    (world.photos / "one.png").unlink()
    world.sync()
    photo(world.photos / "one.png", mark=100)
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 4, "added": 1, "to_read": 1, "encoded": 1}


def test_moved_where_only_the_new_place_is_synced(world: World) -> None:
    (world.photos / "one.png").rename(world.other / "one.png")
    assert cost(world.sync(world.other)) == {"scanned": 2, "unchanged": 1, "added": 1, "to_read": 1, "reused": 1}
    assert cost(world.sync(world.photos)) == {"scanned": 3, "unchanged": 3, "missing": 1}
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 5}


def test_of_several_vanished_copies_each_new_one_takes_one_over(world: World) -> None:
    for name in ("a", "b", "c"):
        shutil.copy(world.photos / "one.png", world.other / f"{name}.png")
    world.sync()
    for name in ("a", "b", "c"):
        (world.other / f"{name}.png").unlink()
    shutil.copy(world.photos / "one.png", world.other / "z.png")
    assert cost(world.sync()) == {
        "scanned": 6, "unchanged": 5, "moved": 1, "missing": 2, "to_read": 1, "reused": 1
    }  # fmt: skip
    assert world.library.status().missing == 2


@pytest.mark.parametrize("mount_point_stays", [False, True])
def test_a_root_that_vanished_as_a_whole_is_reported_and_kept(world: World, mount_point_stays: bool) -> None:
    world.photos.rename(world.base / "unplugged")
    if mount_point_stays:
        world.photos.mkdir()
    before = world.dump()
    for report in (world.sync(), world.library.sync(), world.sync(dry_run=True)):
        assert report.vanished_roots == (str(world.photos),)
        assert cost(report) == {"scanned": 1, "unchanged": 1}
    assert [line for line in world.dump() if '"roots"' not in line] == [li for li in before if '"roots"' not in li]
    world.library.prune()
    assert len(world.library.photos.paths()) == 5
    assert len(world.library.classify(["red", "blue"])) == 5
    shutil.rmtree(world.photos, ignore_errors=True)
    (world.base / "unplugged").rename(world.photos)
    assert cost(world.library.sync()) == {"scanned": 5, "unchanged": 5}


def test_a_named_part_of_a_vanished_root_is_kept_too(world: World) -> None:
    world.photos.rename(world.base / "unplugged")
    paths = [world.photos / "trip", world.photos / "one.png"]
    report = world.sync(*paths)
    assert sorted(report.vanished_roots) == sorted(map(str, paths))
    assert cost(report) == {}
    world.photos.mkdir()
    assert cost(world.sync(*paths)) == {}
    assert len(world.library.photos.paths()) == 5


def test_a_root_that_was_emptied_and_gets_a_photo_has_lost_the_others(world: World) -> None:
    shutil.rmtree(world.photos)
    photo(world.photos / "new.png", mark=100)
    report = world.sync()
    assert report.vanished_roots == ()
    assert cost(report) == {"scanned": 2, "unchanged": 1, "added": 1, "missing": 4, "to_read": 1, "encoded": 1}


def test_an_unknown_path_is_refused_before_anything_is_done(world: World) -> None:
    photo(world.photos / "new.png", mark=100)
    before = world.dump()
    with pytest.raises(PathNotFound, match="nowhere") as caught:
        world.sync(world.photos, world.base / "nowhere", world.base / "nowhere else")
    assert caught.value.paths == (str(world.base / "nowhere"), str(world.base / "nowhere else"))
    assert world.dump() == before


@contextmanager
def closed_to_listing(folder: Path) -> Iterator[None]:
    """A folder that cannot be listed; a change of its mode would not bind an administrator."""
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path == str(folder):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zsindex.photos.scan.os.scandir", refuse)
        yield


def test_a_folder_that_cannot_be_listed_is_reported_and_kept_with_all_below(world: World) -> None:
    with closed_to_listing(world.photos / "trip"):
        report = world.sync()
    assert dict(report.unlisted) == {str(world.photos / "trip"): "Permission denied"}
    assert cost(report) == {"scanned": 2, "unchanged": 2}
    assert world.library.status().missing == 0
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 5}


def test_a_root_that_cannot_be_listed_is_kept(world: World) -> None:
    with closed_to_listing(world.photos):
        report = world.sync()
    assert dict(report.unlisted) == {str(world.photos): "Permission denied"}
    assert cost(report) == {"scanned": 1, "unchanged": 1}


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_root_that_cannot_be_examined_is_kept(world: World, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    """Once, as network drives do it: it is no file then, and its photos are not gone."""
    examine, asked = os.stat, []

    def refuse_once(path: Any, **options: Any) -> os.stat_result:
        if path == str(world.photos):
            asked.append(path)
            if len(asked) == 2:  # the first one decides whether it is a folder at all
                raise error
        return examine(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", refuse_once)
        report = world.sync()
    assert dict(report.unlisted) == {str(world.photos): error.strerror}
    assert cost(report) == {"scanned": 1, "unchanged": 1}
    assert world.library.status().missing == 0
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 5}


def test_a_linked_folder_that_cannot_be_examined_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    album = world.base / "album"
    photo(album / "six.png", mark=6)
    (world.photos / "linked").symlink_to(album, target_is_directory=True)
    assert cost(world.sync()) == {"scanned": 6, "unchanged": 5, "added": 1, "to_read": 1, "encoded": 1}
    examine = os.stat

    def refuse(path: Any, **options: Any) -> os.stat_result:
        if os.fspath(path) == str(world.photos / "linked"):
            raise PermissionError(13, "Permission denied")
        return examine(path, **options)

    class Entry:
        """A DirEntry that has to ask the system whether a link leads to a folder."""

        def __init__(self, entry: os.DirEntry[str]) -> None:
            self._entry = entry

        def is_dir(self) -> bool:
            if self._entry.is_symlink():
                raise PermissionError(13, "Permission denied")
            return self._entry.is_dir()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._entry, name)

    def entries(iterator: Iterator[os.DirEntry[str]], **options: Any) -> list[Any]:
        return [Entry(entry) for entry in sorted(iterator, **options)]

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", refuse)
        patched.setattr("zsindex.photos.scan.sorted", entries, raising=False)
        report = world.sync(world.photos)
    assert dict(report.unlisted) == {str(world.photos / "linked"): "Permission denied"}
    assert world.library.status().missing == 0


# --- which paths ------------------------------------------------------------------------------------------------------


def test_nested_roots_count_once(world: World) -> None:
    trip = world.photos / "trip"
    assert cost(world.sync(world.photos, trip, world.photos)) == {"scanned": 4, "unchanged": 4}
    assert world.library.status().roots == [str(world.other), str(world.photos)]
    shutil.rmtree(trip / "far")
    (trip / "two.png").unlink()
    for options in ({"dry_run": True}, {}):
        report = world.sync(trip, world.photos, trip / "two.png", trip, **options)
        assert cost(report) == {"scanned": 2, "unchanged": 2, "missing": 2}


def test_an_outer_root_takes_over_inner_ones(empty_world: World) -> None:
    world = empty_world
    photo(world.photos / "trip" / "a.png")
    world.sync(world.photos / "trip")
    assert world.library.status().roots == [str(world.photos / "trip")]
    world.sync(world.photos)
    assert world.library.status().roots == [str(world.photos)]


def test_part_of_a_root(world: World) -> None:
    (world.photos / "one.png").unlink()
    photo(world.photos / "trip" / "new.png", mark=100)
    assert cost(world.sync(world.photos / "trip")) == {
        "scanned": 4, "unchanged": 3, "added": 1, "to_read": 1, "encoded": 1
    }  # fmt: skip
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 5, "missing": 1}


def test_a_file_named_by_itself(empty_world: World) -> None:
    world = empty_world
    path = photo(world.photos / "one.png", mark=1)
    photo(world.photos / "two.png", mark=2)
    odd = Path(shutil.copy(path, world.photos / "whatever it is called"))
    assert cost(world.sync(path)) == {"scanned": 1, "added": 1, "to_read": 1, "encoded": 1}
    assert cost(world.sync(odd)) == {"scanned": 1, "added": 1, "to_read": 1, "reused": 1}
    assert world.library.status().roots == []
    assert world.library.photos.paths() == [str(path), str(odd)]
    path.unlink()
    assert cost(world.sync(path, dry_run=True)) == {"missing": 1}
    assert cost(world.sync(path, path)) == {"missing": 1}
    assert cost(world.sync(path)) == {}


def test_a_single_path_need_not_be_a_list(world: World) -> None:
    assert cost(world.library.sync(str(world.photos))) == {"scanned": 4, "unchanged": 4}
    assert cost(world.library.sync(world.other)) == {"scanned": 1, "unchanged": 1}
    assert world.library.photos.paths(str(world.other)) == [str(world.other / "five.png")]
    # One pattern; taken letter by letter the star would leave out everything.
    assert cost(world.library.sync(world.photos, exclude="*.tif")) == {"scanned": 4, "unchanged": 4}


def test_relative_paths_and_the_home_folder(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.photos)
    assert cost(world.library.sync(["trip", "one.png", "../other/."])) == {"scanned": 5, "unchanged": 5}
    monkeypatch.setenv("HOME", str(world.base))
    assert cost(world.library.sync(["~/photos"])) == {"scanned": 4, "unchanged": 4}
    photo(world.photos / "~tilde.png", mark=50)  # no user has that name: a file
    assert cost(world.library.sync(["~tilde.png"])) == {"scanned": 1, "added": 1, "to_read": 1, "encoded": 1}


def test_an_excluded_folder_counts_as_vanished_until_it_is_back(world: World) -> None:
    assert cost(world.sync(exclude=["trip"])) == {"scanned": 2, "unchanged": 2, "missing": 3}
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 2, "added": 3, "to_read": 3, "reused": 3}
    assert world.library.status().missing == 0


def test_the_library_s_own_folder_is_never_photos(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    photo(tmp_path / "a.png")
    with Library.open(tmp_path / "library", encoder=encoder) as library:
        photo(tmp_path / "library" / "thumbnail.png", mark=5)
        report = library.sync([tmp_path])
        assert cost(report) == {"scanned": 1, "added": 1, "to_read": 1, "encoded": 1}
        assert library.photos.paths() == [str(tmp_path / "a.png")]


def test_hidden_names_are_taken_on_request(empty_world: World) -> None:
    world = empty_world
    photo(world.photos / ".hidden.png", mark=1)
    photo(world.photos / ".folder" / "b.png", mark=2)
    photo(world.photos / ".git" / "c.png", mark=3)
    assert cost(world.sync(world.photos)) == {}
    assert cost(world.sync(world.photos, include_hidden=True)) == {
        "scanned": 2, "added": 2, "to_read": 2, "encoded": 2
    }  # fmt: skip


def test_linked_folders_are_followed_once(world: World) -> None:
    photo(world.base / "outside" / "six.png", mark=100)
    (world.photos / "a link out").symlink_to(world.base / "outside")
    (world.photos / "a link in").symlink_to(world.photos / "trip")
    (world.photos / "trip" / "a loop").symlink_to(world.photos)
    assert cost(world.sync()) == {"scanned": 6, "unchanged": 5, "added": 1, "to_read": 1, "encoded": 1}
    assert str(world.photos / "a link out" / "six.png") in world.library.photos.paths()
    assert cost(world.sync()) == {"scanned": 6, "unchanged": 6}


def test_names_in_any_script_stay_as_they_are(empty_world: World) -> None:
    world = empty_world
    names = {"テンチ.png", "👩‍👩‍👧.png", "a b%c'd\"e;--.png", " .png", "x" * 251 + ".png"}
    names |= {unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD")}
    for mark, name in enumerate(sorted(names)):
        photo(world.photos / unicodedata.normalize("NFC", "é") / name, mark=mark)
    if len(list((world.photos / "é").iterdir())) < len(names):
        pytest.skip("this file system takes both spellings of é for one name")
    report = world.sync(world.photos)
    assert report.encoded == len(names)
    assert {Path(path).name for path in world.library.photos.paths()} == names
    assert cost(world.sync(world.photos)) == {"scanned": len(names), "unchanged": len(names)}


@pytest.fixture
def undecodable() -> bytes:
    """A file name that is no UTF-8, as old disks have them."""
    return b"caf\xe9"


def test_names_that_cannot_be_decoded(world: World, undecodable: bytes) -> None:
    folder = os.fsencode(world.other)
    data = (world.photos / "one.png").read_bytes()
    try:
        with open(folder + b"/" + undecodable + b".png", "wb") as file:
            file.write(data)
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    Path(os.fsdecode(folder + b"/" + undecodable)).mkdir()
    with open(folder + b"/" + undecodable + b"/inside.png", "wb") as file:
        file.write(data)
    report = world.sync()
    assert {skip.reason for skip in report.skips} == {SkipReason.UNDECODABLE_NAME}
    for _ in range(2):
        report = world.sync()
        assert report.skipped == 2


def test_a_root_whose_name_cannot_be_decoded_is_reported(world: World, undecodable: bytes) -> None:
    folder = os.fsencode(world.base) + b"/" + undecodable
    try:
        Path(os.fsdecode(folder)).mkdir()
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    with open(folder + b"/a.png", "wb") as file:
        file.write((world.photos / "one.png").read_bytes())
    for path in (os.fsdecode(folder), os.fsdecode(folder + b"/a.png")):
        report = world.sync(Path(path), world.photos)
        [(shown, why)] = report.unlisted.items()
        assert shown.startswith(str(world.base / "caf\\xe9"))
        assert "UTF-8" in why
        assert cost(report) == {"scanned": 4, "unchanged": 4}
    with pytest.raises(PathNotFound):
        world.sync(Path(os.fsdecode(folder + b"/nothing")))


# --- photos that cannot be used ---------------------------------------------------------------------------------------


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def link_to_nothing(path: Path) -> Path:
    path.symlink_to("nothing")
    return path


def link_to_itself(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


BAD: dict[SkipReason, list[tuple[str, Callable[[Path], Path]]]] = {
    SkipReason.EMPTY: [("empty.jpg", photos.empty)],
    SkipReason.NOT_AN_IMAGE: [("text.jpg", photos.text)],
    SkipReason.TRUNCATED: [("cut.jpg", photos.truncated), ("cut.png", photos.truncated)],
    SkipReason.UNSUPPORTED: [("layers.png", photos.photoshop)],
    SkipReason.TOO_MANY_PIXELS: [("bomb.png", photos.bomb)],
    SkipReason.BROKEN_LINK: [("link.jpg", link_to_nothing), ("loop.jpg", link_to_itself)],
    SkipReason.NOT_A_FILE: [("pipe.jpg", fifo), ("folder.jpg", folder)],
}
BAD_FILES = [(reason, name, make) for reason, files in BAD.items() for name, make in files]


def test_bad_photos_are_rows_with_a_reason(world: World) -> None:
    made = {str(make(world.photos / name)): reason for reason, name, make in BAD_FILES}
    report = world.sync()
    assert {skip.path: skip.reason for skip in report.skips} == made
    assert all(skip.detail for skip in report.skips)
    assert (report.unchanged, report.encoded) == (5, 0)
    assert {skip.path: skip.reason for skip in world.library.photos.skipped()} == made
    assert world.library.photos.skipped(world.other) == []
    assert [skip.reason for skip in world.library.photos.skipped([world.photos / "text.jpg"])] == [
        SkipReason.NOT_AN_IMAGE
    ]
    assert world.library.status().skipped == {str(reason): len(files) for reason, files in BAD.items()}


def test_bad_photos_are_left_alone_until_they_change(world: World) -> None:
    made = [make(world.photos / name) for _, name, make in BAD_FILES]
    n = len(made)
    world.sync()
    with reading() as read:
        assert cost(world.sync()) == {"scanned": 5 + n, "unchanged": 5, "skipped": n}
        assert read.paths == []
    for mark, path in enumerate(made, start=100):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
        photo(path.with_suffix(".tmp.png"), mark=mark).rename(path)
    assert cost(world.sync()) == {
        "scanned": 5 + n, "unchanged": 5, "changed": n, "to_read": n, "encoded": n
    }  # fmt: skip
    assert world.library.photos.skipped() == []


def test_a_bad_photo_that_moves_stays_one(world: World) -> None:
    path = damaged(world.photos / "bad.jpg")
    world.sync()
    path.rename(world.other / "bad.jpg")
    assert cost(world.sync()) == {"scanned": 6, "unchanged": 5, "skipped": 1, "missing": 1, "to_read": 1}
    assert [skip.path for skip in world.library.photos.skipped()] == [str(world.other / "bad.jpg")]


@dataclass
class Reading:
    """What was read; and what is to fail with which reason, by file name."""

    paths: list[str] = field(default_factory=list)
    failing: dict[str, SkipReason] = field(default_factory=dict)


@contextmanager
def reading() -> Iterator[Reading]:
    """Watch every file being opened, and let some fail in ways that no test can bring about for every user."""
    seen, read_file = Reading(), decode.read_file

    def read(path: str, **options: Any) -> FileContent:
        seen.paths.append(path)
        reason = seen.failing.get(os.path.basename(path))
        if reason is not None:
            raise ImageError(reason, "as the test wants it", path=path)
        return read_file(path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "read_file", read)
        yield seen


def test_what_has_its_cause_outside_the_file_is_tried_again(world: World) -> None:
    reasons = {f"{reason}.png": reason for reason in SkipReason if reason is not SkipReason.UNDECODABLE_NAME}
    for mark, name in enumerate(reasons, start=100):
        photo(world.photos / name, mark=mark)
    with reading() as read:
        read.failing = reasons
        report = world.sync()
    assert {Path(skip.path).name: skip.reason for skip in report.skips} == reasons
    assert {skip.detail for skip in report.skips} == {"as the test wants it"}
    assert world.library.status().skipped == dict.fromkeys(map(str, reasons.values()), 1)
    retried = {name for name, reason in reasons.items() if reason in ALWAYS_RETRIED}
    dry = world.sync(dry_run=True)
    with reading() as read:
        report = world.sync()
    assert {Path(path).name for path in read.paths} == retried
    n, left = len(retried), len(reasons) - len(retried)
    assert cost(report) == {
        "scanned": 5 + n + left, "unchanged": 5, "skipped": left, "changed": n, "to_read": n, "encoded": n
    }  # fmt: skip
    assert (dry.to_read, dry.skipped) == (n, n + left)


def test_what_is_tried_again_is_what_time_can_heal() -> None:
    assert {
        SkipReason.PERMISSION,
        SkipReason.IO_ERROR,
        SkipReason.VANISHED,
        SkipReason.CHANGED,
        SkipReason.MISSING_DECODER,
        SkipReason.OUT_OF_MEMORY,
    } == ALWAYS_RETRIED


def test_a_failure_to_read_does_not_look_like_a_deletion(world: World) -> None:
    (world.photos / "one.png").touch()
    with reading() as read:
        read.failing["one.png"] = SkipReason.IO_ERROR
        assert cost(world.sync()) == {"scanned": 5, "unchanged": 4, "skipped": 1, "to_read": 1}
    assert world.library.status().missing == 0
    # Its content is still known: nothing is encoded when it can be read again.
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 4, "changed": 1, "to_read": 1, "reused": 1}


def test_skipped_photos_are_retried_on_request(world: World) -> None:
    damaged(world.photos / "bad.jpg")
    (world.photos / "folder.jpg").mkdir()
    world.sync()
    with reading() as read:
        dry = world.sync(retry_skipped=True, dry_run=True)
        report = world.sync(retry_skipped=True)
        assert read.paths == [str(world.photos / "bad.jpg")]
    assert cost(report) == {"scanned": 7, "unchanged": 5, "skipped": 2, "to_read": 1}
    assert cost(dry) == cost(report)


def test_a_file_that_vanishes_between_scan_and_reading(world: World) -> None:
    path = photo(world.photos / "new.png", mark=100)

    def delete_after_the_scan(step: Progress) -> None:
        if step.stage == "encode":
            path.unlink(missing_ok=True)

    report = world.sync(progress=delete_after_the_scan)
    assert [skip.reason for skip in report.skips] == [SkipReason.VANISHED]
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 5, "missing": 1}


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_second_model_encodes_again_and_the_first_one_stays(world: World) -> None:
    other = FakeEncoder(name="other")
    with Library.open(world.library.path, encoder=other) as library:
        assert cost(library.sync()) == {"scanned": 5, "unchanged": 5, "to_read": 5, "encoded": 5}
        assert cost(library.sync()) == {"scanned": 5, "unchanged": 5}
        assert {model.name: model.images for model in library.models()} == {"fake": 5, "other": 5}
    photo(world.photos / "new.png", mark=100)
    assert cost(world.sync()) == {"scanned": 6, "unchanged": 5, "added": 1, "to_read": 1, "encoded": 1}
    with Library.open(world.library.path, encoder=other) as library:
        assert cost(library.sync()) == {"scanned": 6, "unchanged": 6, "to_read": 1, "encoded": 1}
        assert library.check().ok
    assert other.image_count == 6


def test_another_way_of_decoding_is_another_model(world: World) -> None:
    from zsindex.records import DecodeMode

    with Library.open(world.library.path, encoder=FakeEncoder(decode=DecodeMode.FAST)) as library:
        assert cost(library.sync()) == {"scanned": 5, "unchanged": 5, "to_read": 5, "encoded": 5}


# --- interrupted ------------------------------------------------------------------------------------------------------


def test_a_stopped_sync_keeps_its_batches_and_goes_on(empty_world: World) -> None:
    world = empty_world
    for mark in range(20):
        photo(world.photos / f"{mark:02}.png", mark=mark)
    done: list[int] = []

    def note(step: Progress) -> None:
        if step.stage == "encode":
            done.append(step.done)

    report = world.library.sync([world.photos], progress=note, should_stop=lambda: bool(done) and done[-1] >= 8)
    assert report.interrupted
    assert cost(report) == {"scanned": 20, "added": 8, "to_read": 20, "encoded": 8, "left": 12}
    assert len(world.library.photos.paths()) == 8
    report = world.library.sync()
    assert not report.interrupted
    assert cost(report) == {"scanned": 20, "unchanged": 8, "added": 12, "to_read": 12, "encoded": 12}
    assert world.encoder.image_count == 20


def test_stopped_before_it_began(world: World) -> None:
    (world.photos / "one.png").unlink()
    photo(world.photos / "new.png", mark=100)
    before = world.dump()
    report = world.library.sync(should_stop=lambda: True)
    assert report.interrupted
    assert cost(report) == {}
    assert world.dump() == before


class Breaking(FakeEncoder):
    """A model that breaks at its third batch, until it is mended."""

    broken = True

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        if self.broken and len(self.batches) == 2:
            raise RuntimeError("out of memory")
        return super().encode_images(pixels)


def test_a_crash_loses_only_the_batch_in_work(tmp_path: Path) -> None:
    for mark in range(20):
        photo(tmp_path / "photos" / f"{mark:02}.png", mark=mark)
    encoder = Breaking()
    with Library.open(tmp_path / "library", encoder=encoder, batch_size=4, workers=2) as library:
        with pytest.raises(RuntimeError, match="out of memory"):
            library.sync([tmp_path / "photos"])
        assert len(library.photos.paths()) == 8
        encoder.broken = False
        report = library.sync()
        assert cost(report) == {"scanned": 20, "unchanged": 8, "added": 12, "to_read": 12, "encoded": 12}
        assert encoder.image_count == 20
        assert library.check().ok


# --- progress and cost ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [None, 0, 100, 300])
def test_a_sync_needs_no_temporary_folder(
    empty_world: World, monkeypatch: pytest.MonkeyPatch, room: int | None
) -> None:
    """None: there is no such folder. Otherwise it has room for so many bytes."""

    class Small(io.BytesIO):
        def write(self, data: Any) -> int:
            written = super().write(bytes(data)[: (room or 0) - self.tell()])
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return written

    def make(**options: Any) -> Small:
        if room is None:
            raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")
        return Small()

    monkeypatch.setattr("zsindex.ingest.spool.tempfile.TemporaryFile", make)
    expected = [str(photo(empty_world.photos / f"{n}" / f"{n}.png", "red", mark=n)) for n in range(9)]
    report = empty_world.sync(empty_world.photos)
    assert (report.encoded, report.left) == (9, 0)
    assert empty_world.library.photos.paths() == expected


def test_progress_only_grows_and_ends_at_the_total(empty_world: World) -> None:
    world = empty_world
    for mark in range(10):
        photo(world.photos / f"{mark}.png", mark=mark)
    damaged(world.photos / "bad.jpg")
    steps: list[Progress] = []
    world.sync(world.photos, progress=steps.append)
    stages = [step.stage for step in steps]
    assert stages == sorted(stages, key=["scan", "encode"].index)
    for stage, total in (("scan", 11), ("encode", 11)):
        own = [step for step in steps if step.stage == stage]
        done = [step.done for step in own]
        assert done == sorted(done)
        assert (own[-1].done, own[-1].total) == (total, total)
    encode = [step for step in steps if step.stage == "encode"]
    assert encode[0].done == 0
    assert {step.total for step in encode} == {11}
    assert len(encode) >= 4
    steps.clear()
    world.sync(world.photos, progress=steps.append)
    assert steps == [Progress("scan", 11, 11)]


def test_an_unchanged_tree_is_neither_read_nor_written_and_costs_a_few_statements_a_folder(empty_world: World) -> None:
    world = empty_world

    def statements() -> int:
        with counting_statements() as seen, reading() as read:
            report = world.sync(world.photos)
            assert report.unchanged == report.scanned
            assert read.paths == []
        assert not [s for s in seen if s.startswith(("UPDATE files", "INSERT INTO files", "INSERT INTO images"))]
        return len(seen)

    def fill(n_folders: int, n_files: int) -> int:
        for folder in range(n_folders):
            for file in range(n_files):
                photo(world.photos / f"{folder:02}" / f"{file}.png", mark=100 * folder + file)
        world.sync(world.photos)
        return statements()

    one, wide, deep = fill(1, 2), fill(1, 40), fill(11, 2)
    assert wide == one  # files cost none
    assert (deep - one) / 10 <= 3  # a transaction and its question for each further folder


def test_re_syncing_does_not_touch_the_files_revision(world: World) -> None:
    first = world.library.classify(["red"]).run.key
    world.sync()
    world.library.sync()
    assert world.library.classify(["red"]).run.key == first


def test_a_named_file_stays_although_it_does_not_look_like_a_photo(world: World) -> None:
    photo(world.photos / "odd.png", mark=50).rename(world.photos / "odd.dat")
    assert cost(world.sync(world.photos / "odd.dat")) == {"scanned": 1, "added": 1, "to_read": 1, "encoded": 1}
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 5}
    assert str(world.photos / "odd.dat") in world.library.photos.paths()
    (world.photos / "odd.dat").unlink()
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 5, "missing": 1}


def test_an_unreadable_photo_that_vanishes_is_noticed_where_all_else_is_unchanged(world: World) -> None:
    bad = damaged(world.photos / "bad.png")
    world.sync()
    bad.unlink()
    assert cost(world.sync()) == {"scanned": 5, "unchanged": 5, "missing": 1}
    assert world.library.status().skipped == {}


def test_an_edit_that_keeps_folder_and_size_as_they_were_is_noticed(world: World) -> None:
    file = world.photos / "one.png"
    folder, before = world.photos.stat(), file.stat()
    with file.open("r+b") as opened:
        opened.write(photo(world.base / "elsewhere.png", "blue").read_bytes()[: before.st_size])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert world.photos.stat().st_mtime_ns == folder.st_mtime_ns
    assert world.sync().to_read == 1


# --- time stamps that no database holds -------------------------------------------------------------------------------

YEARS = {"1600": -11_676_096_000, "1901": -2_177_452_800, "2300": 10_413_792_000, "10000": 253_402_300_800}


@pytest.mark.parametrize("year", YEARS)
def test_a_time_stamp_of_any_year_is_one_like_any_other(world: World, year: str) -> None:
    path = photo(world.photos / "odd.png", mark=77)
    os.utime(path, ns=(YEARS[year] * 10**9, YEARS[year] * 10**9))
    damaged(world.photos / "odd-and-bad.png")
    os.utime(world.photos / "odd-and-bad.png", ns=(YEARS[year] * 10**9, YEARS[year] * 10**9))
    first = world.sync()
    assert (first.added, first.encoded, first.skipped) == (1, 1, 1)
    again = world.sync()
    assert (again.to_read, again.unchanged, again.skipped) == (0, first.unchanged + 1, 1)
    assert world.library.check().problems == ()
    os.utime(path)  # the same bytes, of today
    assert world.sync().reused == 1


def test_numbers_of_a_file_are_stored_as_far_as_a_database_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a file system that keeps no such time."""
    path = photo(tmp_path / "a.png")
    real = os.fstat

    def fstat(descriptor: int) -> Any:
        status = real(descriptor)
        return SimpleNamespace(st_mode=status.st_mode, st_size=status.st_size, st_mtime_ns=1 << 80)

    monkeypatch.setattr("zsindex.photos.decode.os.fstat", fstat)
    assert decode.read_file(str(path)).mtime_ns == (1 << 63) - 1
    assert [storable(n) for n in (-(1 << 80), -5, 0, 1 << 62, 1 << 63)] == [
        1 - (1 << 63),
        -5,
        0,
        1 << 62,
        (1 << 63) - 1,
    ]


# --- photos that are cut short ----------------------------------------------------------------------------------------


def test_photos_that_were_read_although_they_are_cut_short_are_named(world: World) -> None:
    data = photos.encoded(photos.noise(5), "JPEG")
    (world.photos / "cut.jpg").write_bytes(data[:-2])
    (world.photos / "half.jpg").write_bytes(data[: len(data) // 2])
    report = world.sync()
    assert (report.encoded, [skip.reason for skip in report.skips]) == (1, [SkipReason.TRUNCATED])
    shutil.copy(world.photos / "cut.jpg", world.other / "copy.jpg")
    (world.photos / "cut.jpg").rename(world.photos / "moved.jpg")
    world.sync()
    named = world.library.photos.incomplete()
    assert [one.path for one in named] == [str(world.other / "copy.jpg"), str(world.photos / "moved.jpg")]
    assert {one.detail for one in named} == {"the JPEG is cut short: its end mark is missing"}
    assert world.library.status().incomplete == 2
    for path in (world.other / "copy.jpg", world.photos / "moved.jpg"):
        path.unlink()
    world.sync()
    assert world.library.photos.incomplete() == []
    assert world.library.prune().images == 1
    assert world.library.check().problems == ()

"""Tags in sidecars: what is written, what is taken back, and that nothing of others is ever lost."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from zsindex.cli import cli

from tests import libraries
from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.test_xmp import OTHERS, canonical
from tests.unprivileged import reachable_folder, run_unprivileged
from zsindex import atomic
from zsindex.errors import LibraryReadOnly
from zsindex.exchange import xmp
from zsindex.lab import tags
from zsindex.library import Library
from zsindex.storage.rows import SidecarRow

LABELS = ["red", "green", "blue"]
PHOTOS = ("red", "green", "blue")
# A sidecar of another program that has a list of keywords, and none in it.
WITHOUT_TAGS = xmp.remove(
    xmp.add(None, {xmp.SUBJECT: ["x"]}).data.replace(b'rdf:about=""', b'rdf:about="" xmlns:a="b" a:c="d"'),
    {xmp.SUBJECT: ["x"]},
)[0]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in PHOTOS:
        photo(tmp_path / "album" / f"{name}.png", name)
    return tmp_path / "album"


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Iterator[Library]:
    libraries.new_library(tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=FakeEncoder(logit_scale=2.0)) as opened:
        opened.sync(album)
        yield opened


def write(library: Library, labels: Any = LABELS, *, top: int = 1, **options: Any) -> tags.TagReport:
    asked = {"label_set": labels} if isinstance(labels, str) else {"labels": labels}
    return library.tags.write(library.classify(top=top, **asked), **{"apply": True, **options})


def subjects(file: Path) -> list[str]:
    return xmp.texts_in(file.read_bytes())[xmp.SUBJECT]


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder with a checksum of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- names ------------------------------------------------------------------------------------------------------------


def test_the_names_of_tags() -> None:
    assert tags.tags_of("red fox", group="mammals") == {
        "dc:subject": ["red fox"],
        "lr:hierarchicalSubject": ["zsindex|mammals|red fox"],
        "digiKam:TagsList": ["zsindex/mammals/red fox"],
    }
    assert tags.tags_of("a|b/c", root="")["lr:hierarchicalSubject"] == ["a-b/c"]
    assert tags.tags_of("a|b/c", root="")["digiKam:TagsList"] == ["a|b-c"]
    assert tags.tags_of("x", root="My tags| found by |zsindex")["digiKam:TagsList"] == ["My tags/found by/zsindex/x"]
    assert tags.tags_of(" a\x00\n b\ufffe ")["dc:subject"] == ["a b"]
    assert tags.tags_of("\x01") == {}


@pytest.mark.parametrize(
    ("photo_name", "style", "sidecar"),
    [("/a/b.jpg", "photo.jpg.xmp", "/a/b.jpg.xmp"), ("/a.d/b.c.jpg", "photo.xmp", "/a.d/b.c.xmp")],
)
def test_where_sidecars_are(photo_name: str, style: str, sidecar: str) -> None:
    assert tags.sidecar_of(photo_name, style) == sidecar


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_all_and_writes_nothing(library: Library, album: Path) -> None:
    (album / "red.png.xmp").write_bytes(OTHERS)
    before = content(album)
    report = write(library, apply=False)
    assert content(album) == before
    assert library.session.storage.labels.sidecar_paths() == []
    assert not report.applied
    assert {change.path: (change.action, change.added["dc:subject"]) for change in report.changes} == {
        str(album / "blue.png.xmp"): ("create", ["blue"]),
        str(album / "green.png.xmp"): ("create", ["green"]),
        str(album / "red.png.xmp"): ("change", ["red"]),
    }
    applied = write(library)
    assert (applied.changes, applied.skipped) == (report.changes, ())


@pytest.mark.parametrize("style", tags.STYLES)
def test_best_answers_are_written_beside_the_photos(library: Library, album: Path, style: str) -> None:
    photos_before = content(album)
    write(library, style=style)
    now = content(album)
    assert {name: now[name] for name in photos_before} == photos_before
    assert len(now) == 2 * len(photos_before)
    for name in PHOTOS:
        assert xmp.texts_in(Path(tags.sidecar_of(str(album / f"{name}.png"), style)).read_bytes()) == {
            "dc:subject": [name],
            "lr:hierarchicalSubject": [f"zsindex|{name}"],
            "digiKam:TagsList": [f"zsindex/{name}"],
        }


def test_all_labels_above_a_score_with_groups_and_a_root(library: Library, album: Path) -> None:
    result = library.classify(LABELS, top=3)
    report = library.tags.write(result, min_score=0.05, groups={"warm": ["red"]}, root="AI|seen", apply=True)
    for answer in result:
        good = [p.label for p in answer.predictions if p.score >= 0.05]
        assert subjects(Path(f"{answer.path}.xmp")) == good
    text = xmp.texts_in((album / "red.png.xmp").read_bytes())
    assert text[xmp.HIERARCHY][0] == "AI|seen|warm|red"
    assert any(len(change.added[xmp.SUBJECT]) > 1 for change in report.changes)


def test_none_of_these_is_no_tag(library: Library, album: Path) -> None:
    from zsindex.classification.prompts import label_set

    write(library, label_set(["red"], negatives=["green", "blue"]))
    assert sorted(file.name for file in album.glob("*.xmp")) == ["red.png.xmp"]


def test_writing_twice_changes_nothing(library: Library, album: Path) -> None:
    (album / "red.png.xmp").write_bytes(OTHERS)
    write(library)
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in album.glob("*.xmp")}
    report = write(library)
    assert (report.changes, report.unchanged, report.skipped) == ((), 3, ())
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in album.glob("*.xmp")} == before


def test_stricter_thresholds_take_former_tags_out(library: Library, album: Path) -> None:
    (album / "red.png.xmp").write_bytes(OTHERS)
    for _ in range(2):
        write(library, top=3, min_score=0.0)
        assert subjects(album / "red.png.xmp")[:3] == ["holiday", "cat", "red"]
        assert len(subjects(album / "red.png.xmp")) == 5
        write(library, top=1)
        assert subjects(album / "red.png.xmp") == ["holiday", "cat", "red"]
        write(library, min_score=1.0)  # none reaches it
        assert (album / "red.png.xmp").read_bytes() == OTHERS
        assert not (album / "blue.png.xmp").exists()
        assert library.session.storage.labels.sidecar_paths() == []


def test_label_sets_do_not_disturb_each_other(library: Library, album: Path) -> None:
    library.labels.save("colours", LABELS)
    library.labels.save("more", ["white", "black", "blue"])
    write(library, "colours")
    write(library, "more")
    file = album / "blue.png.xmp"
    assert subjects(file) == ["blue"]
    assert set(subjects(album / "red.png.xmp")) > {"red"}
    library.tags.retract(label_set="colours", apply=True)
    assert subjects(file) == ["blue"]  # of the other set
    assert "red" not in subjects(album / "red.png.xmp")
    library.tags.retract(label_set="more", apply=True)
    assert not file.exists()


def test_tags_that_were_there_are_never_removed(library: Library, album: Path) -> None:
    own = OTHERS.replace(b"holiday", b"red")
    (album / "red.png.xmp").write_bytes(own)
    write(library)
    assert subjects(album / "red.png.xmp") == ["red", "cat"]
    write(library, min_score=1.0)
    assert (album / "red.png.xmp").read_bytes() == own


def test_what_is_all_there_is_left_alone(library: Library, album: Path) -> None:
    full = xmp.add(OTHERS, tags.tags_of("red")).data
    (album / "red.png.xmp").write_bytes(full)
    report = write(library)
    assert str(album / "red.png.xmp") not in {change.path for change in report.changes}
    library.tags.retract(apply=True)
    assert (album / "red.png.xmp").read_bytes() == full


def test_more_photos_than_fit_into_a_batch(tmp_path: Path) -> None:
    n = 2 * tags.BATCH + 3
    for i in range(n):
        photo(tmp_path / "album" / f"{i:03}.png", "red", mark=i)
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(tmp_path / "album")
        told: list[tuple[int, int | None]] = []
        write(library, progress=lambda event: told.append((event.done, event.total)))
        assert len(list((tmp_path / "album").glob("*.xmp"))) == n
        assert told == [(tags.BATCH, n), (2 * tags.BATCH, n), (n, n)]
        library.tags.retract(apply=True)
        assert list((tmp_path / "album").glob("*.xmp")) == []


# --- taking back ------------------------------------------------------------------------------------------------------


def test_taking_back_restores_every_byte(library: Library, album: Path) -> None:
    (album / "red.png.xmp").write_bytes(OTHERS)
    (album / "red.png.xmp").chmod(0o640)
    before = content(album)
    write(library, top=2)
    assert content(album) != before
    dry = library.tags.retract()
    assert {change.action for change in dry.changes} == {"change", "delete"}
    assert len(library.session.storage.labels.sidecar_paths()) == 3
    report = library.tags.retract(apply=True)
    assert report.changes == dry.changes
    assert content(album) == before
    assert (album / "red.png.xmp").stat().st_mode & 0o777 == 0o640
    assert library.session.storage.labels.sidecar_paths() == []
    assert library.tags.retract(apply=True).changes == ()


def test_taking_back_only_below_a_folder(library: Library, album: Path) -> None:
    photo(album / "sub" / "red too.png", "red", mark=4)
    library.sync()
    write(library)
    library.tags.retract(album / "sub", apply=True)
    assert sorted(path.name for path in album.rglob("*.xmp")) == ["blue.png.xmp", "green.png.xmp", "red.png.xmp"]
    library.tags.retract([album / "red.png.xmp", album / "blue.png.xmp"], apply=True)
    assert [path.name for path in album.rglob("*.xmp")] == ["green.png.xmp"]


def rewritten_by_others(data: bytes) -> bytes:
    """What another program makes of a sidecar: another form, another property, another tag."""
    changed = xmp.add(data, {xmp.SUBJECT: ["by another"]}).data
    return changed.replace(b"</x:xmpmeta>", b"<!-- seen by another --></x:xmpmeta>").replace(b"<rdf:li>", b"<rdf:li >")


def test_what_others_changed_since_is_kept(library: Library, album: Path) -> None:
    for name, there in (("red", OTHERS), ("blue", None)):
        file = album / f"{name}.png.xmp"
        if there is not None:
            file.write_bytes(there)
    write(library, top=2)
    for name in ("red", "blue"):
        file = album / f"{name}.png.xmp"
        file.write_bytes(rewritten_by_others(file.read_bytes()))
    report = library.tags.retract(apply=True)
    assert report.skipped == ()
    red, blue = (album / f"{name}.png.xmp" for name in ("red", "blue"))
    assert canonical(red.read_bytes()) == canonical(rewritten_by_others(OTHERS))
    assert subjects(blue) == ["by another"]  # ours, but no longer ours alone
    assert xmp.texts_in(blue.read_bytes())[xmp.HIERARCHY] == []
    assert b"seen by another" in blue.read_bytes()


def test_what_others_changed_is_what_later_writing_starts_from(library: Library, album: Path) -> None:
    file = album / "red.png.xmp"
    file.write_bytes(OTHERS)
    write(library, top=2)
    file.write_bytes(rewritten_by_others(file.read_bytes()))
    write(library, top=1)
    assert set(subjects(file)) == {"holiday", "cat", "by another", "red"}
    library.tags.retract(apply=True)
    assert canonical(file.read_bytes()) == canonical(rewritten_by_others(OTHERS))


def test_others_who_only_rewrite_do_not_make_zsindex_write(library: Library, album: Path) -> None:
    write(library)
    file = album / "red.png.xmp"
    file.write_bytes(rewritten_by_others(file.read_bytes()))
    before = file.read_bytes()
    assert write(library).changes == ()
    assert file.read_bytes() == before


def test_tags_that_others_took_out_come_again(library: Library, album: Path) -> None:
    (album / "red.png.xmp").write_bytes(OTHERS)
    write(library)
    (album / "red.png.xmp").write_bytes(OTHERS)  # back to before, by somebody else
    (album / "blue.png.xmp").unlink()
    report = write(library)
    assert {change.path for change in report.changes} == {str(album / f"{n}.png.xmp") for n in ("red", "blue")}
    library.tags.retract(apply=True)
    assert (album / "red.png.xmp").read_bytes() == OTHERS
    assert not (album / "blue.png.xmp").exists()


def test_a_sidecar_that_others_deleted_stays_deleted(library: Library, album: Path) -> None:
    (album / "red.png.xmp").write_bytes(OTHERS)
    write(library)
    (album / "red.png.xmp").unlink()
    report = library.tags.retract(apply=True)
    assert report.skipped == ()
    assert list(album.glob("*.xmp")) == []
    assert library.session.storage.labels.sidecar_paths() == []


def test_an_empty_sidecar_that_was_there_stays(library: Library, album: Path) -> None:
    empty = xmp.remove(xmp.add(None, {xmp.SUBJECT: ["x"]}).data, {xmp.SUBJECT: ["x"]}, [xmp.SUBJECT])[0]
    (album / "red.png.xmp").write_bytes(empty)
    write(library)
    (album / "red.png.xmp").write_bytes((album / "red.png.xmp").read_bytes() + b"\n")
    library.tags.retract(apply=True)
    assert canonical((album / "red.png.xmp").read_bytes()) == canonical(empty)


# --- what is not touched ----------------------------------------------------------------------------------------------


def spoil(kind: str, file: Path) -> None:
    if kind == "malformed":
        file.write_bytes(OTHERS[:-90])
    elif kind == "document type":
        file.write_bytes(b'<!DOCTYPE x [<!ENTITY a "b">]>' + OTHERS)
    elif kind == "huge":
        file.write_bytes(OTHERS)
        os.truncate(file, xmp.MAX_BYTES + 1)
    elif kind == "link":
        (file.parent / "elsewhere").write_bytes(OTHERS)
        file.symlink_to(file.parent / "elsewhere")
    elif kind == "folder":
        file.mkdir()


SPOILT = {
    "malformed": "not well-formed",
    "document type": "document type",
    "huge": "larger than 16 MB",
    "link": "symbolic link",
    "folder": "not a file",
}


@pytest.mark.parametrize("kind", SPOILT)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_cannot_be_read_is_skipped_and_never_overwritten(
    library: Library, album: Path, kind: str, when: str
) -> None:
    file = album / "red.png.xmp"
    if when == "after":
        write(library)
        file.unlink()
    spoil(kind, file)
    before = content(album)
    for report in (
        write(library, ["red", "green", "yellow"], apply=False),
        write(library, ["red", "green", "yellow"]),
        *([library.tags.retract(), library.tags.retract(apply=True)] if when == "after" else []),
    ):
        [skipped] = report.skipped
        assert skipped.path == str(file)
        assert SPOILT[kind] in skipped.why
    assert {name: sha for name, sha in content(album).items() if "red" in name or name == "elsewhere"} == {
        name: sha for name, sha in before.items() if "red" in name or name == "elsewhere"
    }
    assert (album / "green.png.xmp").exists() == (when == "before")  # the others are done all the same


def test_vanished_photos_get_no_sidecar_and_lose_theirs(library: Library, album: Path) -> None:
    write(library, ["red", "green"])
    (album / "red.png").unlink()
    (album / "red.png.xmp").unlink()
    report = write(library, LABELS)
    assert [(Path(s.path).name, s.why) for s in report.skipped] == [("red.png.xmp", "the photo does not exist")]
    assert not (album / "red.png.xmp").exists()
    library.tags.retract(apply=True)
    assert list(album.glob("*.xmp")) == []


@pytest.mark.parametrize("empty", [False, True])
def test_a_disk_that_is_not_plugged_in_forgets_nothing(library: Library, album: Path, empty: bool) -> None:
    (album / "red.png.xmp").write_bytes(OTHERS)
    write(library)
    album.rename(album.with_name("unplugged"))
    if empty:
        album.mkdir()
    report = library.tags.retract(apply=True)
    assert len(report.skipped) == 3
    assert all(("plugged in" if empty else "No such file") in skipped.why for skipped in report.skipped)
    if empty:
        album.rmdir()
    album.with_name("unplugged").rename(album)
    library.tags.retract(apply=True)
    assert [file.read_bytes() for file in album.glob("*.xmp")] == [OTHERS]


def test_photos_that_would_share_a_sidecar(library: Library, album: Path) -> None:
    photo(album / "red.jpg", "red")
    library.sync()
    asked = library.classify(LABELS, top=1, paths=album / "red.png")
    [skipped] = library.tags.write(asked, style="photo.xmp", apply=True).skipped
    assert "1 other photo has" in skipped.why
    assert list(album.glob("*.xmp")) == []
    assert library.tags.write(asked, apply=True).skipped == ()


READ_ONLY = """
from zsindex.lab import tags
from zsindex.exchange import xmp
steps = []
for path in sys.argv[1:]:
    target = tags._Target(path, None, lambda sets: {"": {"dc:subject": ["x"]}})
    try:
        tags._plan(target, None)
        steps.append("ok")
    except tags._Unusable as error:
        steps.append(str(error))
print(json.dumps(steps))
"""


def test_what_permissions_forbid_is_a_reason() -> None:
    with reachable_folder() as folder:
        for name, mode in (("open", 0o777), ("closed", 0o555), ("hidden", 0o000)):
            (folder / name).mkdir()
            photo(folder / name / "a.png")
            (folder / name / "b.png.xmp").write_bytes(OTHERS)
            (folder / name / "b.png.xmp").chmod(0o444)
            (folder / name).chmod(mode)
        paths = [folder / "open" / "a.png.xmp", folder / "closed" / "a.png.xmp", folder / "open" / "b.png.xmp"]
        paths.append(folder / "hidden" / "a.png.xmp")
        said = run_unprivileged(READ_ONLY, *map(str, paths), modules=["zsindex.lab.tags"])
        assert json.loads(said)[:3] == ["ok", "its folder is read-only", "it is read-only"]
        assert "Permission denied" in json.loads(said)[3]


def test_a_read_only_library_writes_no_tags(library: Library, album: Path) -> None:
    with Library.open(library.path, encoder=FakeEncoder(), read_only=True) as reader:
        result = reader.classify(LABELS, top=1)
        assert len(reader.tags.write(result).changes) == 3
        with pytest.raises(LibraryReadOnly):
            reader.tags.write(result, apply=True)
        with pytest.raises(LibraryReadOnly):
            reader.tags.retract(apply=True)
    assert list(album.glob("*.xmp")) == []


def test_an_unknown_style(library: Library) -> None:
    with pytest.raises(ValueError, match=r"photo\.jpg\.xmp"):
        write(library, style="xmp")


# --- being stopped ----------------------------------------------------------------------------------------------------


def test_stopping_goes_on_from_there(tmp_path: Path) -> None:
    for i in range(tags.BATCH + 5):
        photo(tmp_path / "album" / f"{i:03}.png", "red", mark=i)
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(tmp_path / "album")
        asked: list[int] = []
        report = write(library, should_stop=lambda: asked.append(1) or len(asked) > 1)
        assert report.interrupted
        assert len(report.changes) == len(list((tmp_path / "album").glob("*.xmp"))) == tags.BATCH
        rest = write(library)
        assert (len(rest.changes), rest.unchanged, rest.interrupted) == (5, tags.BATCH, False)


class Killed(BaseException):
    """Stands for the end of the process."""


def killer(at: int, function: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    calls = []

    def work(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == at and not after:
            raise Killed
        result = function(*arguments, **options)
        if len(calls) == at:
            raise Killed
        return result

    return work


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("settles", [True, False], ids=["settles", "killed"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "again"])
def test_a_kill_while_writing_loses_nothing(
    library: Library,
    album: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: bool,
    at: int,
    settles: bool,
    first: bool,
) -> None:
    (album / "red.png.xmp").write_bytes(OTHERS)
    before = content(album)
    if not first:
        write(library, top=3)
    # Killed at a file; and, if it does not settle, before anything could be recorded about that.
    monkeypatch.setattr(atomic, "write_bytes", killer(at, atomic.write_bytes, after=after))
    if not settles:
        monkeypatch.setattr(
            library.session.storage.labels,
            "save_sidecars",
            killer(2, library.session.storage.labels.save_sidecars, after=False),
        )
    with pytest.raises(Killed):
        write(library, top=2)
    monkeypatch.undo()
    # Others may come first, with what they find. Whatever that is, only zsindex's tags go.
    file = album / "red.png.xmp"
    file.write_bytes(rewritten_by_others(file.read_bytes()))
    library.tags.retract(apply=True)
    assert canonical(file.read_bytes()) == canonical(rewritten_by_others(OTHERS))
    assert {name: sha for name, sha in content(album).items() if not name.startswith("red.png.x")} == {
        name: sha for name, sha in before.items() if not name.startswith("red.png.x")
    }


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("again", [False, True])
def test_a_kill_while_writing_can_be_undone_to_the_byte(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch, after: bool, at: int, again: bool
) -> None:
    for name in PHOTOS:
        (album / f"{name}.png.xmp").write_bytes(OTHERS)
    before = content(album)
    write(library, top=3)
    monkeypatch.setattr(atomic, "write_bytes", killer(at, atomic.write_bytes, after=after))
    monkeypatch.setattr(
        library.session.storage.labels,
        "save_sidecars",
        killer(2, library.session.storage.labels.save_sidecars, after=False),
    )
    with pytest.raises(Killed):
        write(library, top=1)
    monkeypatch.undo()
    assert len(list(album.iterdir())) == 6  # no temporary files
    if again:
        assert write(library, top=1).skipped == ()
        assert [subjects(album / f"{name}.png.xmp") for name in PHOTOS] == [["holiday", "cat", name] for name in PHOTOS]
    library.tags.retract(apply=True)
    assert content(album) == before


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_kill_while_taking_back(library: Library, album: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    for name in PHOTOS:
        (album / f"{name}.png.xmp").write_bytes(OTHERS)
    before = content(album)
    write(library)
    monkeypatch.setattr(atomic, "write_bytes", killer(at, atomic.write_bytes, after=True))
    monkeypatch.setattr(
        library.session.storage.labels,
        "save_sidecars",
        killer(2, library.session.storage.labels.save_sidecars, after=False),
    )
    with pytest.raises(Killed):
        library.tags.retract(apply=True)
    monkeypatch.undo()
    library.tags.retract(apply=True)
    assert content(album) == before
    assert library.session.storage.labels.sidecar_paths() == []


def test_a_full_disk_is_a_reason_and_the_record_is_right(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(library, top=2)
    before = content(album)

    def full(file: Path, *arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    rows = library.session.storage.labels.sidecars([str(album / f"{name}.png.xmp") for name in PHOTOS])
    monkeypatch.setattr(atomic, "write_bytes", full)
    report = write(library, top=1)
    assert [skipped.why for skipped in report.skipped] == ["No space left on device"] * 3
    assert report.changes == ()
    assert content(album) == before
    now = library.session.storage.labels.sidecars(list(rows))
    assert {path: row._replace(written_at="") for path, row in now.items()} == {
        path: row._replace(written_at="") for path, row in rows.items()
    }


def test_a_sidecar_that_changes_in_between_is_left_alone(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = album / "red.png.xmp"
    save = library.session.storage.labels.save_sidecars

    def others_are_faster(*arguments: Any, **options: Any) -> None:
        save(*arguments, **options)
        file.write_bytes(OTHERS)

    monkeypatch.setattr(library.session.storage.labels, "save_sidecars", others_are_faster)
    report = write(library)
    monkeypatch.undo()
    assert [(Path(s.path).name, "another program" in s.why) for s in report.skipped] == [("red.png.xmp", True)]
    assert file.read_bytes() == OTHERS
    assert str(file) not in library.session.storage.labels.sidecar_paths()
    write(library)
    library.tags.retract(apply=True)
    assert file.read_bytes() == OTHERS


# --- between a file and its record ------------------------------------------------------------------------------------


def killed_before_the_record(library: Library, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Let something work on sidecars, and end it when they are written and nothing of that is recorded."""
    labels = library.session.storage.labels
    monkeypatch.setattr(labels, "save_sidecars", killer(2, labels.save_sidecars, after=False))
    with pytest.raises(Killed):
        act()
    monkeypatch.undo()


def record(library: Library, file: Path) -> SidecarRow:
    return library.session.storage.labels.sidecars([str(file)])[str(file)]._replace(written_at="")


def test_the_same_call_after_a_kill_settles_the_record(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = album / "red.png.xmp"
    write(library, top=3)
    write(library, top=1)
    expected = record(library, file)
    write(library, top=3)
    killed_before_the_record(library, monkeypatch, lambda: write(library, top=1))
    assert subjects(file) == ["red"]
    assert record(library, file) != expected
    report = write(library, top=1)
    assert (report.changes, report.skipped, report.unchanged) == ((), (), 3)
    assert record(library, file) == expected
    add_own(file, "green")
    library.tags.retract(apply=True)
    assert subjects(file) == ["green"]


def add_own(file: Path, *texts: str) -> None:
    """What people do with another program: they add keywords."""
    file.write_bytes(xmp.add(file.read_bytes(), {xmp.SUBJECT: texts}).data)


@pytest.mark.parametrize("reached", [False, True], ids=["not written", "written"])
@pytest.mark.parametrize(
    ("before", "then", "own"),
    [(None, 1, "red"), (None, 1, "holiday"), (1, 3, "green"), (3, 1, "green"), (2, None, "red"), (2, 2, "blue")],
)
def test_own_keywords_that_come_after_a_kill_stay(
    library: Library,
    album: Path,
    monkeypatch: pytest.MonkeyPatch,
    reached: bool,
    before: int | None,
    then: int | None,
    own: str,
) -> None:
    """Whether the file was written or not before the kill: what was not in it then is nobody's but the user's."""
    file = album / "red.png.xmp"
    file.write_bytes(WITHOUT_TAGS)
    if before is not None:
        write(library, top=before)
    if not reached:
        monkeypatch.setattr(atomic, "write_bytes", killer(1, atomic.write_bytes, after=False))
        labels = library.session.storage.labels
        monkeypatch.setattr(labels, "save_sidecars", killer(2, labels.save_sidecars, after=False))
        with suppress(Killed):  # not where there is nothing to write
            write_or_retract(library, then)
        monkeypatch.undo()
    elif then == before:
        write_or_retract(library, then)
    else:
        killed_before_the_record(library, monkeypatch, lambda: write_or_retract(library, then))
    was_there = own in subjects(file)
    add_own(file, own)
    library.tags.retract(apply=True)
    assert subjects(file) == ([] if was_there else [own])
    assert library.session.storage.labels.sidecar_paths() == []


def write_or_retract(library: Library, top: int | None) -> None:
    if top is None:
        library.tags.retract(apply=True)
    else:
        write(library, top=top)


def test_an_error_after_the_rename_does_not_lose_the_record(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the system says: if the new bytes are there, the record of them stays."""
    replace = Path.replace

    def written_and_failed(file: Path, target: Path) -> None:
        replace(file, target)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = content(album)
    monkeypatch.setattr(Path, "unlink", refused)  # there is nothing left to remove, so nobody need try
    assert write(library, top=2).skipped == ()
    monkeypatch.setattr(Path, "replace", written_and_failed)
    assert len(write(library, top=1).skipped) == 3
    monkeypatch.undo()
    assert len(content(album)) == 6
    library.tags.retract(apply=True)
    assert content(album) == before


def test_folders_are_synced_before_the_record_says_that_all_is_done(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is only in memory is gone after a power cut, and then nobody may believe it to be on the disk."""
    happened: list[str] = []
    save, replace, sync = library.session.storage.labels.save_sidecars, Path.replace, atomic.sync_folder

    def saving(rows: Any, *, forget: Any = ()) -> None:
        happened.append("record")
        save(rows, forget=forget)

    def replacing(file: Path, target: Path) -> Path:
        happened.append("rename")
        return replace(file, target)

    def syncing(folder: str) -> None:
        happened.append(f"sync {Path(folder).name}")
        sync(folder)

    monkeypatch.setattr(library.session.storage.labels, "save_sidecars", saving)
    monkeypatch.setattr(Path, "replace", replacing)
    monkeypatch.setattr(atomic, "sync_folder", syncing)
    write(library)
    assert happened == ["record", *["rename"] * 3, "sync album", "record"]
    happened.clear()
    library.tags.retract(apply=True)
    assert happened == ["record", "sync album", "record"]


def test_what_a_disk_does_not_confirm_is_not_recorded_as_done(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = content(album)
    monkeypatch.setattr(atomic, "sync_folder", refused)
    report = write(library)
    assert [skipped.why for skipped in report.skipped] == [
        "written, but it may not survive a power cut (Input/output error); try again"
    ] * 3
    monkeypatch.undo()
    assert write(library).skipped == ()
    library.tags.retract(apply=True)
    assert content(album) == before


def test_an_edit_while_a_sidecar_is_written_is_not_lost(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program saves its file after zsindex has read it, in the longest part of the writing."""
    file, sync = album / "red.png.xmp", os.fsync
    file.write_bytes(OTHERS)
    edited = rewritten_by_others(OTHERS)

    def others_save(descriptor: int) -> None:
        sync(descriptor)
        if list(album.glob(".red.*.tmp")):
            file.write_bytes(edited)

    monkeypatch.setattr(os, "fsync", others_save)
    report = write(library)
    monkeypatch.undo()
    assert [(Path(s.path).name, "another program" in s.why) for s in report.skipped] == [("red.png.xmp", True)]
    assert file.read_bytes() == edited
    assert sorted(os.listdir(album)) == sorted(f"{name}.png{x}" for name in PHOTOS for x in ("", ".xmp"))


# --- what kills leave -------------------------------------------------------------------------------------------------


def killed_while_writing(library: Library, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Ends the process with a temporary file, as a kill does: nothing is cleaned up."""
    labels = library.session.storage.labels
    with monkeypatch.context() as patched:
        patched.setattr(labels, "save_sidecars", killer(2, labels.save_sidecars, after=False))
        patched.setattr(Path, "replace", killer(1, Path.replace, after=False))
        patched.setattr(Path, "unlink", killer(1, Path.unlink, after=False))
        with pytest.raises(Killed):
            write(library, **options)


def temporary_files(album: Path) -> list[Path]:
    return sorted(album.glob(".*.tmp"))


@pytest.mark.parametrize("top", [1, 2], ids=["the same tags", "others"])
def test_what_a_kill_has_left_goes_with_the_next_writing(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch, top: int
) -> None:
    killed_while_writing(library, monkeypatch)
    assert len(temporary_files(album)) == 1
    write(library, top=top)
    assert temporary_files(album) == []
    library.tags.retract(apply=True)
    assert sorted(os.listdir(album)) == sorted(f"{name}.png" for name in PHOTOS)


@pytest.mark.parametrize("by", ["check", "prune"])
def test_upkeep_names_and_removes_what_a_kill_has_left(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    killed_while_writing(library, monkeypatch)
    (left,) = temporary_files(album)
    strangers = [album / ".red.png.xmp.0123456789abcdef.tmp", album / ".other.tmp"]
    for file in strangers:
        file.write_bytes(b"another's")
    report = library.check()
    assert report.problems == (f"temporary files that a killed zsindex tags write has left beside photos (1): {left}",)
    with left.open("rb") as held:  # as its writer does
        fcntl.flock(held, fcntl.LOCK_EX)
        assert library.check().ok
        library.prune()
        assert left.exists()
    if by == "check":
        assert library.check(fix=True).ok
    else:
        assert library.prune(dry_run=True).temporary_files == 1
        assert left.exists()
        assert library.prune().temporary_files == 1
    assert temporary_files(album) == sorted(strangers)
    assert library.check().ok


# --- command line -----------------------------------------------------------------------------------------------------


def test_tags_on_the_command_line(library: Library, album: Path) -> None:
    library.embed_texts([f"This is a photo of {label}." for label in LABELS])

    def run(*words: str | Path, code: int = 0) -> Any:
        result = CliRunner().invoke(cli, [*map(str, words), "--library", str(library.path)])
        assert result.exit_code == code, result.output
        return result

    labels = [word for label in LABELS for word in ("-l", label)]
    dry = run("tags", "write", *labels)
    assert "nothing was written" in dry.stderr
    assert "+red" in dry.stdout
    assert list(album.glob("*.xmp")) == []
    written = run("tags", "write", *labels, "--apply", "--root", "mine", album / "red.png")
    assert "1 created" in written.stderr
    assert xmp.texts_in((album / "red.png.xmp").read_bytes())[xmp.TAGS_LIST] == ["mine/red"]
    report = json.loads(run("tags", "write", *labels, "--all", "--min-score", "0.01", "--apply", "--json").stdout)
    assert len(report["changes"]) == 3
    assert len(subjects(album / "blue.png.xmp")) == 3
    assert "-green" in run("tags", "write", *labels, "--min-score", "0.5").stdout
    (album / "red.png.xmp").write_bytes(b"?")
    skipped = run("tags", "retract", "--apply", "--strict", code=3)
    assert "not well-formed" in skipped.stderr
    assert [file.name for file in album.glob("*.xmp")] == ["red.png.xmp"]
    assert "--min-score" in run("tags", "write", *labels, "--all", code=2).stderr
    assert "--run" in run("tags", "write", *labels, "--run", "x", code=2).stderr
    assert "name labels" in run("tags", "write", code=2).stderr


def test_groups_are_levels_and_runs_can_be_written(library: Library, album: Path, tmp_path: Path) -> None:
    library.embed_texts([f"This is a photo of {label}." for label in LABELS])
    sets = tmp_path / "set.json"
    sets.write_text(json.dumps({"labels": LABELS, "groups": {"cold": ["blue", "green"]}}), encoding="utf-8")

    def run(*words: str | Path) -> Any:
        result = CliRunner().invoke(cli, [*map(str, words), "--library", str(library.path)])
        assert result.exit_code == 0, result.output
        return result

    run("tags", "write", "--labels", sets, "--apply")
    texts = xmp.texts_in((album / "blue.png.xmp").read_bytes())
    assert (texts[xmp.SUBJECT], texts[xmp.HIERARCHY]) == (["blue"], ["zsindex|cold|blue"])
    # The answers of a run are its answers: here the groups.
    asked = json.loads(run("classify", "--labels", sets, "--top", "1", "--record", "--format", "json").stdout)
    run("tags", "write", "--run", asked["run"]["key"], "--apply")
    texts = xmp.texts_in((album / "blue.png.xmp").read_bytes())
    assert (texts[xmp.SUBJECT], texts[xmp.HIERARCHY]) == (["cold"], ["zsindex|cold"])


# --- other programs ---------------------------------------------------------------------------------------------------


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def read_with(program: str, file: Path) -> dict[str, list[str]]:
    """The tags of a sidecar as another program reads them."""
    if program == "exiftool":
        names = {"Subject": xmp.SUBJECT, "HierarchicalSubject": xmp.HIERARCHY, "TagsList": xmp.TAGS_LIST}
        said = subprocess.run(
            ["exiftool", "-json", *(f"-XMP:{name}" for name in names), str(file)], capture_output=True, check=True
        )
        [document] = json.loads(said.stdout)
        lists = {key: value if isinstance(value, list) else [value] for key, value in document.items()}
        return {names[key]: [str(text).strip() for text in value] for key, value in lists.items() if key in names}
    names = {"Xmp.dc.subject": xmp.SUBJECT, "Xmp.lr.hierarchicalSubject": xmp.HIERARCHY}
    names["Xmp.digiKam.TagsList"] = xmp.TAGS_LIST
    said = subprocess.run(["exiv2", "-PXkv", "print", str(file)], capture_output=True, check=True)
    lines = (line.split(maxsplit=1) for line in said.stdout.decode().splitlines())
    return {names[key]: [text.strip() for text in value.split(", ")] for key, value in lines if key in names}


@pytest.mark.parametrize("program", [pytest.param(name, marks=needs(name)) for name in ("exiftool", "exiv2")])
def test_other_programs_read_what_is_written(library: Library, album: Path, program: str) -> None:
    (album / "red.png.xmp").write_bytes(OTHERS)
    write(library, ["red & <green>", "blau/grün", "猫 cat"], top=2, groups={"a|b": ["猫 cat"]})
    for name in PHOTOS:
        file = album / f"{name}.png.xmp"
        assert read_with(program, file) == xmp.texts_in(file.read_bytes())


@needs("exiftool")
def test_what_exiftool_makes_of_it_can_be_taken_back(library: Library, album: Path) -> None:
    write(library)
    for name in ("red", "green"):
        change = ["exiftool", "-q", "-overwrite_original", "-XMP:Rating=4"]
        change += ["-XMP-dc:Subject+=mine"] if name == "red" else []
        subprocess.run([*change, str(album / f"{name}.png.xmp")], check=True, capture_output=True)
    assert b"Image::ExifTool" in (album / "red.png.xmp").read_bytes()
    assert library.tags.retract(apply=True).skipped == ()
    assert read_with("exiftool", album / "red.png.xmp") == {xmp.SUBJECT: ["mine"]}
    assert read_with("exiftool", album / "green.png.xmp") == {}
    rating = subprocess.run(
        ["exiftool", "-s3", "-XMP:Rating", str(album / "green.png.xmp")], capture_output=True, check=True
    )
    assert rating.stdout.strip() == b"4"
    assert not (album / "blue.png.xmp").exists()

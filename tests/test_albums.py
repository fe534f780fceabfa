"""Albums follow the library, say what came and went, and are written for other programs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient
from zsindex.cli import cli

from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.web.conftest import HOST, URL
from zsindex.errors import AlbumFolderTaken, BadAlbum, LibraryReadOnly, UnknownAlbum, UnknownLabel, UnknownLabelSet
from zsindex.exchange import xmp
from zsindex.lab.albums import MANIFEST
from zsindex.library import Library
from zsindex.session import model as session_model
from zsindex.web import Limits, Security, create_app
from zsindex.where import answered, file_format, year

COLOURS = ("red", "red", "green", "blue")


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Photos of the years 2017 to 2020, as their names say."""
    for n, colour in enumerate(COLOURS):
        photo(tmp_path / "shots" / f"IMG_{2017 + n}0714_120000.png", colour, mark=n)
    return tmp_path / "shots"


@pytest.fixture
def library(shots: Path, tmp_path: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(shots)
        yield opened


def names(paths: list[str]) -> list[str]:
    return [os.path.basename(path)[4:8] for path in paths]


def test_filters_alone_hold_photos_newest_first(library: Library) -> None:
    saved = library.albums.save("late", where=year >= 2018)
    assert (saved.query, saved.where, saved.seen_at, saved.n_seen) == (None, year >= 2018, None, 0)
    contents = library.albums.photos("late")
    assert names(contents.paths) == ["2020", "2019", "2018"]
    assert contents.photos[0].taken_at == "2020-07-14T12:00:00"
    assert {photo.score for photo in contents.photos} == {None}
    assert (contents.came, contents.went) == ([], ())  # nobody has looked before


def test_a_search_holds_photos_best_first(library: Library) -> None:
    library.albums.save("red", "red", top=3, where=year <= 2019)
    contents = library.albums.photos("red")
    expected = library.search("red", top=3, where=year <= 2019)
    assert contents.paths == [hit.path for hit in expected]
    assert [photo.score for photo in contents.photos] == [hit.score for hit in expected]
    library.albums.save("red", "red", cut=0.9)
    assert sorted(names(library.albums.photos("red").paths)) == ["2017", "2018"]  # all that fit, without a number
    library.albums.save("red", "red", cut=0.9, top=1)
    assert len(library.albums.photos("red").photos) == 1
    library.albums.save("none", "red", cut=1.0, where=year == 2020)
    assert library.albums.photos("none").photos == ()  # those that do not fit are not in it


def test_an_album_says_what_came_and_went(library: Library, shots: Path) -> None:
    library.albums.save("all", where=file_format == "PNG")
    assert len(library.albums.photos("all", look=True).photos) == 4
    assert (library.albums.get("all").n_seen, library.albums.get("all").seen_at is not None) == (4, True)
    gone = shots / "IMG_20170714_120000.png"
    gone.unlink()
    (shots / "IMG_20180714_120000.png").rename(shots / "IMG_20180714_130000.png")
    photo(shots / "IMG_20210714_120000.png", "white")
    library.sync(shots)
    for _ in range(2):  # who does not look changes nothing
        contents = library.albums.photos("all")
        assert [os.path.basename(one.path) for one in contents.came] == ["IMG_20210714_120000.png"]
        assert contents.went == (str(gone),)  # what was moved is still there
    assert len(library.albums.photos("all", look=True).came) == 1
    contents = library.albums.photos("all")
    assert (contents.came, contents.went) == ([], ())
    library.albums.save("all", where=file_format == "PNG")  # the same question
    assert library.albums.get("all").n_seen == 4
    library.albums.save("all", where=year >= 1970)
    assert library.albums.get("all").seen_at is None


def test_copies_are_one_photo(library: Library, shots: Path) -> None:
    first = shots / "IMG_20200714_120000.png"
    (shots / "copy.png").write_bytes(first.read_bytes())
    library.sync(shots)
    library.albums.save("all", where=file_format == "PNG")
    contents = library.albums.photos("all")
    assert len(contents.photos) == 4
    [both] = [one for one in contents.photos if one.copies]
    assert {both.path, *both.copies} == {str(first), str(shots / "copy.png")}


def test_albums_are_listed_replaced_and_removed(library: Library) -> None:
    library.albums.save("b", "red")
    library.albums.save("a", "a 'red' one", minus="blue", where=~(year == 2019))
    assert [one.name for one in library.albums.list()] == ["a", "b"]
    assert library.albums.get("a").question == f"\"a 'red' one\", minus ['blue'], {~(year == 2019)!r}"
    library.albums.remove("a")
    for action in (library.albums.remove, library.albums.get, library.albums.photos):
        with pytest.raises(UnknownAlbum, match="'a'; the library has b"):
            action("a")


def test_what_cannot_be_an_album_is_refused(library: Library) -> None:
    for name in ("", "  ", "a\nb"):
        with pytest.raises(BadAlbum, match="printable"):
            library.albums.save(name, "red")
    with pytest.raises(BadAlbum, match="something to search for, or a filter"):
        library.albums.save("a")
    with pytest.raises(BadAlbum, match="top: of a search, and there is none"):
        library.albums.save("a", where=year == 2019, top=3)
    with pytest.raises(BadAlbum, match="only words and the paths"):
        library.albums.save("a", "red", plus=b"an image")
    with pytest.raises(ValueError, match="cut"):
        library.albums.save("a", "red", cut=2)
    for name in ("a/b", "..", "x" * 201):
        with pytest.raises(BadAlbum, match="no slash"):
            library.albums.save(name, "red")
    for query in ("", "  ", "text: "):
        with pytest.raises(BadAlbum, match="the query is empty"):
            library.albums.save("a", query)
    with pytest.raises(BadAlbum, match="hold nothing"):
        library.albums.save("a", "red", top=0)
    with pytest.raises(UnknownLabelSet):
        library.albums.save("a", where=answered("nope", "owl"))
    library.labels.save("colours", ["red", "blue"])
    with pytest.raises(UnknownLabel, match="owl"):
        library.albums.save("a", where=answered("colours", "owl"))
    assert library.albums.list() == []


def test_an_example_is_found_from_any_folder(
    library: Library, shots: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(shots)
    library.albums.save("like", "IMG_20190714_120000.png", plus="red", minus="IMG_20200714_120000.png")
    expected = library.albums.photos("like").paths
    monkeypatch.chdir(tmp_path)
    assert library.albums.photos("like").paths == expected
    assert library.albums.get("like").query == str(shots / "IMG_20190714_120000.png")
    library.albums.save("all", "red", cut=-1)
    library.albums.save("none", "red", cut=0)
    assert library.albums.get("none").options == {"cut": 0}


def test_a_name_has_one_spelling(library: Library) -> None:
    library.albums.save(" Ba\u0308ume ", "red")
    assert library.albums.get("B\u00e4ume").name == library.albums.photos("Ba\u0308ume").album.name == "B\u00e4ume"
    library.albums.remove("Ba\u0308ume")


def test_a_library_that_may_only_be_read_has_its_albums(library: Library, tmp_path: Path) -> None:
    library.albums.save("a", "red", top=2)
    with Library.open(tmp_path / "library", read_only=True, encoder=FakeEncoder()) as opened:
        assert len(opened.albums.photos("a").photos) == 2
        for action in (
            lambda: opened.albums.photos("a", look=True),
            lambda: opened.albums.save("b", "red"),
            lambda: opened.albums.remove("a"),
        ):
            with pytest.raises(LibraryReadOnly):
                action()


# --- for other programs -----------------------------------------------------------------------------------------------


def test_a_folder_of_links_follows_the_album(library: Library, shots: Path, tmp_path: Path) -> None:
    photo(shots / "other" / "IMG_20200714_120000.png", "yellow", mark=9)
    library.sync(shots)
    library.albums.save("late", where=year >= 2019)
    folder = tmp_path / "links"
    assert library.albums.link("late", folder) == (3, 0)
    assert {link.name for link in folder.iterdir()} - {MANIFEST} == {
        "IMG_20190714_120000.png",
        "IMG_20200714_120000.png",
        "IMG_20200714_120000-2.png",
    }
    assert {os.path.realpath(link) for link in folder.glob("*.png")} == set(library.albums.photos("late").paths)
    assert library.albums.link("late", folder) == (0, 0)
    (folder / "mine.txt").write_text("x", encoding="utf-8")
    (folder / "IMG_20190714_120000.png").unlink()  # by somebody: made again
    (shots / "IMG_20200714_120000.png").unlink()
    library.sync(shots)
    assert library.albums.link("late", folder) == (1, 1)
    assert len(list(folder.glob("*.png"))) == 2
    assert (folder / "mine.txt").read_text(encoding="utf-8") == "x"
    photo(shots / "IMG_20210714_120000.png")
    library.sync(shots)
    (folder / "IMG_20210714_120000.png").write_text("somebody's own", encoding="utf-8")
    assert library.albums.link("late", folder) == (1, 0)
    assert (folder / "IMG_20210714_120000.png").read_text(encoding="utf-8") == "somebody's own"
    assert (folder / "IMG_20210714_120000-2.png").is_symlink()


def test_links_are_not_put_among_other_things(library: Library, shots: Path, tmp_path: Path) -> None:
    library.albums.save("a", "red")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.txt").touch()
    with pytest.raises(AlbumFolderTaken, match="mine holds other things"):
        library.albums.link("a", folder)
    with pytest.raises(AlbumFolderTaken, match="in a folder that is synced"):
        library.albums.link("a", shots / "links")
    library.albums.save("b", "blue", top=1)
    library.albums.link("a", tmp_path / "links")
    with pytest.raises(AlbumFolderTaken, match="the links of the album a"):
        library.albums.link("b", tmp_path / "links")
    outside = tmp_path / "outside"
    outside.symlink_to("target")
    manifest = tmp_path / "links" / MANIFEST
    found = json.loads(manifest.read_text(encoding="utf-8"))
    found["links"]["../outside"] = "target"
    manifest.write_text(json.dumps(found), encoding="utf-8")
    library.albums.link("a", tmp_path / "links")
    assert outside.is_symlink()
    for text in ("no JSON", "{}", '{"links": 3}', "[]"):
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        with pytest.raises(AlbumFolderTaken):
            library.albums.link("a", folder)
    assert {one.name for one in folder.iterdir()} == {"a.txt", MANIFEST}


def subjects(photo: Path) -> list[str]:
    sidecar = photo.with_name(photo.name + ".xmp")
    return xmp.texts_in(sidecar.read_bytes())[xmp.SUBJECT] if sidecar.exists() else []


def test_keywords_follow_the_album(library: Library, shots: Path) -> None:
    library.albums.save("late", where=year >= 2019)
    old, new = shots / "IMG_20180714_120000.png", shots / "IMG_20200714_120000.png"
    report = library.albums.tag("late")
    assert (len(report.changes), report.applied, subjects(new)) == (2, False, [])
    library.albums.tag("late", apply=True)
    assert (subjects(old), subjects(new)) == ([], ["late"])
    assert library.albums.tag("late", apply=True).changes == ()
    library.albums.save("late", where=year <= 2018)
    library.albums.tag("late", keyword="Ferien", apply=True)
    assert (subjects(old), subjects(new)) == (["Ferien"], [])
    assert not new.with_name(new.name + ".xmp").exists()
    library.tags.retract(label_set="album:late", apply=True)
    assert list(shots.glob("*.xmp")) == []


# --- on the command line and over HTTP --------------------------------------------------------------------------------


@pytest.fixture
def folder(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    library.close()
    monkeypatch.setattr(session_model, "load_encoder", lambda spec, **_: FakeEncoder(spec.name))
    return tmp_path / "library"


def run(folder: Path, *arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["albums", *map(str, arguments), "--library", str(folder)], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result


def test_commands(folder: Path, shots: Path, tmp_path: Path) -> None:
    assert run(folder, "list").output == ""
    assert "zsindex albums save NAME" in run(folder, "show", "x", code=1).output
    saved = run(folder, "save", "late ones", "--since", "2019", "--not", "--camera", "iPhone")
    assert "Look at it: zsindex albums show 'late ones'" in saved.stderr
    run(folder, "save", "reds", "red", "--cut", "0.9", "--not", "green", "--not", "--year", "2017")
    listed = json.loads(run(folder, "list", "--json").stdout)
    assert [one["name"] for one in listed] == ["late ones", "reds"]
    assert listed[1]["options"] == {"without": ["green"], "cut": 0.9}
    assert "reds" in run(folder, "list").stdout

    shown = run(folder, "show", "late ones", "--peek", "--format", "paths")
    assert shown.stdout.splitlines() == [str(shots / f"IMG_{y}0714_120000.png") for y in (2020, 2019)]
    assert "2 photos; nobody has looked at this album before" in shown.stderr
    run(folder, "show", "late ones")
    assert "the same as since" not in run(folder, "show", "late ones").stderr
    photo(shots / "IMG_20210714_120000.png")
    (shots / "IMG_20200714_120000.png").unlink()
    with Library.open(folder, encoder=FakeEncoder()) as library:
        library.sync(shots)
    shown = run(folder, "show", "late ones", "--peek")
    assert "2 photos: 1 came, 1 went since 2" in shown.stderr
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["new", "2019-07-14"]
    new = run(folder, "show", "late ones", "--peek", "--new", "--format", "csv").stdout.splitlines()
    assert new == ["path,score,taken_at,is_new", f"{shots / 'IMG_20210714_120000.png'},,2021-07-14T12:00:00,True"]
    gone = run(folder, "show", "late ones", "--gone", "--format", "ndjson").stdout
    assert json.loads(gone) == {"path": str(shots / "IMG_20200714_120000.png")}
    run(folder, "show", "late ones", "-o", tmp_path / "nowhere" / "x", code=1)  # nobody has seen it
    assert run(folder, "show", "late ones", "--gone").stdout.count("\n") == 1
    run(folder, "show", "late ones")
    assert run(folder, "show", "late ones", "--gone").stdout == ""
    run(folder, "show", "late ones", "--gone", "--new", code=2)
    document = json.loads(run(folder, "show", "reds", "--format", "json").stdout)
    assert sorted(names([one["path"] for one in document["photos"]])) == ["2018", "2021"]

    assert run(folder, "export", "late ones").stdout.splitlines()[:3] == [
        "#EXTM3U",
        "#PLAYLIST:late ones",
        "#EXTINF:-1,IMG_20210714_120000.png",
    ]
    assert run(folder, "export", "late ones", "--as", "paths0").stdout.count("\0") == 2
    assert len(json.loads(run(folder, "export", "late ones", "--as", "json").stdout)["photos"]) == 2
    assert (
        "2 links made, 0 removed"
        in run(folder, "export", "late ones", "--as", "links", "-o", tmp_path / "links").stderr
    )
    taken = tmp_path / "a file"
    taken.touch()
    assert "cannot put links into" in run(folder, "export", "late ones", "--as", "links", "-o", taken, code=1).stderr
    assert "is a folder" in run(folder, "export", "late ones", "-o", tmp_path, code=2).stderr
    assert "-o FOLDER" in run(folder, "export", "late ones", "--as", "links", code=2).output
    assert "2 sidecars: 2 to create" in run(folder, "tag", "late ones").stderr
    assert "2 created" in run(folder, "tag", "late ones", "--apply").stderr
    run(folder, "remove", "reds")
    assert "late ones" in run(folder, "remove", "reds", code=1).output
    assert "there is nothing" not in run(folder, "save", "x", code=1).output


def test_over_http(folder: Path, shots: Path) -> None:
    with (
        Library.open(folder, encoder=FakeEncoder()) as library,
        TestClient(create_app(library, security=Security(frozenset({HOST})), limits=Limits()), base_url=URL) as client,
    ):
        assert client.get("/v1/albums").json() == []
        body = {"query": "red", "cut": 0.9, "without": "green", "where": {"not": {"year": "2017"}}}
        saved = client.put("/v1/albums/reds", json=body)
        assert saved.status_code == 200
        assert saved.json() == client.get("/v1/albums").json()[0] == library.albums.get("reds").to_dict()
        outside = photo(shots.parent / "outside.png", "red")
        client.put("/v1/albums/text", json={"query": str(outside), "plus": [str(shots)], "top": 1})
        assert library.albums.get("text").query == str(outside)  # as words
        assert client.get("/v1/albums/text/photos").json()["total"] == 1
        assert client.delete("/v1/albums/text").status_code == 204
        page = client.get("/v1/albums/reds/photos").json()
        assert (page["total"], page["came"], page["went"]) == (1, 0, [])
        assert page["photos"] == [one.to_dict() for one in library.albums.photos("reds").photos]
        assert client.get("/v1/albums/reds/photos", params={"start": 1}).json()["photos"] == []
        assert client.post("/v1/albums/reds/seen").json()["total"] == 1
        photo(shots / "IMG_20210714_120000.png")
        library.sync(shots)
        assert client.get("/v1/albums/reds/photos").json()["came"] == 1
        assert client.delete("/v1/albums/reds").status_code == 204
        missing = client.get("/v1/albums/reds/photos")
        assert (missing.status_code, missing.json()["type"]) == (404, "urn:zsindex:problem:unknown-album")
        empty = client.put("/v1/albums/empty", json={})
        assert (empty.status_code, empty.json()["type"]) == (422, "urn:zsindex:problem:album")
        wrong = client.put("/v1/albums/wrong", json={"where": {"year": "soon"}})
        assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:zsindex:problem:filter")


def test_chosen_photos_are_added_taken_out_and_looked_at(library: Library, shots: Path) -> None:
    first, second, third, _ = sorted(map(str, shots.iterdir()))
    place = ["--library", str(library.path)]
    made = CliRunner().invoke(cli, ["albums", "add", "best", first, second, *place])
    assert (made.exit_code, made.stderr) == (0, "best has 2 photos\n")
    library.albums.photos("best", look=True)
    library.albums.add("best", [third, first])
    contents = library.albums.photos("best")
    assert contents.paths == [third, second, first]
    assert [photo.path for photo in contents.came] == [third]  # what was seen before is remembered
    taken = CliRunner().invoke(cli, ["albums", "take-out", "best", first, *place])
    assert (taken.exit_code, taken.stderr) == (0, "best has 2 photos\n")
    assert library.albums.photos("best").went == (first,)
    assert "2 chosen" in CliRunner().invoke(cli, ["albums", "list", *place]).stdout
    library.albums.save("late", where=year >= 2018)
    assert library.albums.take_out("best", [first, second]).taken_out == (second,)  # the other one was out already
    assert library.albums.add("best", second).taken_out == ()
    for action in (library.albums.add, library.albums.take_out):
        with pytest.raises(BadAlbum, match="is a question"):
            action("late", first)
    with pytest.raises(UnknownAlbum):
        library.albums.take_out("none", first)
    library.albums.save("best", where=year >= 2018)  # in place of it, as of any other
    assert library.albums.get("best").chosen is None

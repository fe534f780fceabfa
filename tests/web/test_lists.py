"""Photos in lists, page by page, counted, and as vectors."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.web.conftest import Serve
from zsindex.library import Library
from zsindex.photos import dates

# By name: two of one day, one without a time in its name, folders whose names sort otherwise than paths do.
NAMES = (
    "a/IMG_20200101_120000.png",
    "a/IMG_20190714_120000.png",
    "a-b/IMG_20190714_120000.png",
    "a/b/IMG_20180101_000000.png",
    "a/b/IMG_20210101_000000.png",
)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for mark, name in enumerate(NAMES):
        photo(tmp_path / "album" / name, "red", mark=mark)
    shutil.copy(tmp_path / "album" / NAMES[0], tmp_path / "album" / "a/b/IMG_20200101_120000 copy.png")
    return tmp_path / "album"


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        yield opened


def pages(client: TestClient, **asked: Any) -> Iterator[dict[str, Any]]:
    page = client.get("/v1/images", params=asked).json()
    while True:
        yield page
        if page["next"] is None:
            return
        page = client.get("/v1/images", params={"cursor": page["next"]}).json()


def listed(client: TestClient, album: Path, **asked: Any) -> list[str]:
    return [os.path.relpath(one["path"], album) for page in pages(client, **asked) for one in page["images"]]


NEWEST = [NAMES[4], NAMES[0], NAMES[1], NAMES[2], NAMES[3]]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
def test_pages_make_up_the_list(client: TestClient, album: Path, limit: int) -> None:
    by_date = listed(client, album, limit=limit)
    assert sorted(by_date) == sorted(NAMES)
    dates = [path[-19:-4] for path in by_date]
    assert dates == sorted(dates, reverse=True)
    oldest = [path[-19:-4] for path in listed(client, album, limit=limit, oldest_first=True)]
    assert oldest == sorted(dates)
    by_path = listed(client, album, limit=limit, by="path")
    assert by_path == sorted(NAMES, key=os.path.split)
    assert {page["total"] for page in pages(client, limit=limit)} == {5}


def test_a_photo_says_what_is_known_of_it(client: TestClient, album: Path) -> None:
    first = client.get("/v1/images", params={"limit": 2}).json()["images"][1]
    assert first["path"] == str(album / NAMES[0])
    assert first["copies"] == [str(album / "a/b/IMG_20200101_120000 copy.png")]
    assert (first["taken"], first["taken_from"]) == ("2020-01-01T12:00:00", "name")
    assert (first["width"], first["height"]) == (16, 12)
    assert client.get(f"/v1/images/{first['image_id']}").json()["paths"] == [first["path"], *first["copies"]]


def test_folders_and_filters_restrict_the_list(client: TestClient, album: Path) -> None:
    inside = listed(client, album, path=str(album / "a/b"), by="path")
    assert inside == ["a/b/IMG_20180101_000000.png", "a/b/IMG_20200101_120000 copy.png", "a/b/IMG_20210101_000000.png"]
    assert set(listed(client, album, since="2019", until="2019", limit=1)) == {NAMES[1], NAMES[2]}
    assert client.get("/v1/images", params={"path": "/nowhere"}).status_code == 404
    assert client.get("/v1/images", params={"since": "soon"}).status_code == 422


@pytest.mark.parametrize("by", ["date", "path"])
def test_what_comes_and_goes_moves_no_page(client: TestClient, library: Library, album: Path, by: str) -> None:
    first = client.get("/v1/images", params={"limit": 3, "by": by}).json()
    seen = [one["path"] for one in first["images"]]
    rest = [str(album / name) for name in listed(client, album, by=by)[3:]]
    Path(seen[-1]).unlink()  # where the next page begins
    photo(album / "a" / "IMG_20220101_000000.png", "green")  # newest of all
    library.sync(album)
    following = client.get("/v1/images", params={"cursor": first["next"]}).json()
    new = str(album / "a" / "IMG_20220101_000000.png")
    assert [one["path"] for one in following["images"] if one["path"] != new] == rest
    assert new not in [one["path"] for one in following["images"]] or by == "path"


def test_photos_without_a_time_are_last_both_ways(
    client: TestClient, library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeless = photo(album / "z.png", "blue")
    monkeypatch.setattr(dates, "of_file", lambda mtime_ns: None)  # as of one beyond all calendars
    library.sync(album)
    for oldest_first in (False, True):
        images = [one for page in pages(client, limit=2, oldest_first=oldest_first) for one in page["images"]]
        assert len(images) == 6
        assert (images[-1]["path"], images[-1]["taken"]) == (str(timeless), None)


def test_photos_are_counted_without_any_labels(client: TestClient, album: Path) -> None:
    years = client.get("/v1/images/counts", params={"by": "year"}).json()
    assert [(one["key"], one["photos"]) for one in years["counts"]] == [
        ("2018", 1),
        ("2019", 2),
        ("2020", 2),
        ("2021", 1),
    ]
    inside = client.get("/v1/images/counts", params={"by": "folder", "path": str(album / "a/b")}).json()
    assert [(one["key"], one["photos"]) for one in inside["counts"]] == [(str(album / "a/b"), 3)]
    assert client.get("/v1/images/counts", params={"by": "mood"}).status_code == 422


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("per", ["day", "month", "year", "folder"])
def test_sections_say_where_they_begin(client: TestClient, album: Path, per: str, oldest_first: bool) -> None:
    by = "path" if per == "folder" else "date"
    asked = {"oldest_first": oldest_first}
    paths = [str(album / name) for name in listed(client, album, by=by, **asked)]
    found = client.get("/v1/images/sections", params={"per": per, **asked}).json()["sections"]
    assert [one["start"] for one in found] == [sum(one["photos"] for one in found[:n]) for n in range(len(found))]
    assert sum(one["photos"] for one in found) == len(paths)
    length = {"day": 10, "month": 7, "year": 4}.get(per)
    for one in found:
        for path in paths[one["start"] : one["start"] + one["photos"]]:
            day = f"{path[-19:-15]}-{path[-15:-13]}-{path[-13:-11]}"
            assert one["name"] == (os.path.dirname(path) if length is None else day[:length])


def test_a_list_can_be_entered_anywhere(client: TestClient, album: Path) -> None:
    whole = listed(client, album)
    for start in range(7):
        page = client.get("/v1/images", params={"start": start, "limit": 2}).json()
        assert [os.path.relpath(one["path"], album) for one in page["images"]] == whole[start : start + 2]
        assert (page["next"] is None) == (start + 2 >= len(whole))


def test_bad_cursors_are_refused(client: TestClient) -> None:
    cursor = client.get("/v1/images", params={"limit": 1}).json()["next"]
    search = client.get("/v1/search", params={"q": "red", "top": 1}).json()["next"]
    for wrong in ("x", cursor[8:], search):
        assert client.get("/v1/images", params={"cursor": wrong}).status_code == 422


def test_vectors_of_texts_and_photos(client: TestClient, library: Library, album: Path) -> None:
    path = album / NAMES[0]
    [hit] = library.similar(album / NAMES[1], top=1)
    body = {
        "texts": ["a red square", "owl"],
        "images": [base64.b64encode(path.read_bytes()).decode()],
        "image_ids": [hit.image_id],
    }
    found = client.post("/v1/embed", json=body).json()
    assert (found["model"], found["dim"]) == (str(library.spec), library.model.dim)
    assert np.array_equal(np.array(found["texts"], np.float32), library.embed_texts(body["texts"]))
    assert np.array_equal(np.array(found["images"], np.float32), library.embed_images(path))
    assert np.array_equal(np.array(found["image_ids"], np.float32), library.vectors.of([hit.image_id]))
    assert client.post("/v1/embed", json={"image_ids": hit.image_id}).json()["image_ids"] == found["image_ids"]
    packed = client.post("/v1/embed", json={**body, "encoding": "base64"}).json()
    for name in ("texts", "images", "image_ids"):
        vectors = [np.frombuffer(base64.b64decode(text), "<f4") for text in packed[name]]
        assert np.array_equal(np.array(vectors), np.array(found[name], np.float32))


def test_vectors_of_nothing_are_refused(client: TestClient, serve: Serve, library: Library) -> None:
    assert client.post("/v1/embed", json={}).status_code == 422
    assert client.post("/v1/embed", json={"image_ids": [99]}).status_code == 404
    assert client.post("/v1/embed", json={"images": ["bm8gcGljdHVyZQ=="]}).status_code == 422
    few = serve(library, limits={"upload_images": 1})
    assert few.post("/v1/embed", json={"images": ["eA==", "eA=="]}).status_code == 413

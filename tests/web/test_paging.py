"""Lists of all kinds have pages of one kind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.fakes import FakeEncoder
from tests.scenes import damaged, photo
from zsindex.library import Library

COLOURS = ["red", "green", "blue", "white", "black"]


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Iterator[Library]:
    """Several of everything: photos, copies, near-duplicates, and photos that cannot be used."""
    for colour in COLOURS:
        first = photo(album / f"{colour} one.png", colour)
        shutil.copy(first, album / f"{colour} again.png")
        photo(album / f"{colour} nearly.png", colour, mark=1)
        damaged(album / f"{colour} damaged.jpg")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        opened.albums.save("all", where={"year": "1970.."})
        yield opened


@pytest.fixture
def lists(client: TestClient) -> dict[str, str]:
    """Paths of lists, and what their entries are called."""
    groups = [client.post("/v1/groups", json={"labels": labels}).json() for labels in (COLOURS, ["sea", "sun"])]
    flips = f"/v1/groups/{groups[0]['key']}/flips/{groups[1]['key']}/photos?was=0&becomes=1"
    return {
        "/v1/images": "images",
        "/v1/copies": "copies",
        "/v1/skipped": "skipped",
        "/v1/duplicates?look=false&threshold=0.5": "groups",
        "/v1/events?look=false&vocabulary=none&file_times=true": "events",
        "/v1/albums/all/photos": "photos",
        f"/v1/groups/{groups[0]['key']}/photos": "photos",
        flips: "photos",
    }


def get(client: TestClient, path: str, **asked: Any) -> Any:
    answer = client.get(
        path + ("&" if "?" in path else "?") + "&".join(f"{key}={value}" for key, value in asked.items())
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_pages_make_up_every_list(client: TestClient, lists: dict[str, str]) -> None:
    lengths = {}
    for path, name in lists.items():
        whole = get(client, path, limit=1000)
        assert whole["next"] is None
        lengths[path.partition("?")[0]] = whole["total"]
        assert len(whole[name]) == whole["total"]
        page, found = get(client, path, limit=2), []
        while True:
            found += page[name]
            if page["next"] is None:
                break
            page = get(client, path, limit=2, cursor=page["next"])
        assert found == whole[name], path
        assert get(client, path, limit=2, start=1)[name] == whole[name][1:3], path
        assert get(client, path, limit=2, start=whole["total"])[name] == [], path
    assert sum(length > 2 for length in lengths.values()) >= 6, lengths


def test_a_cursor_belongs_to_its_list_as_it_was(
    client: TestClient, library: Library, album: Path, lists: dict[str, str]
) -> None:
    cursors = {
        path: get(client, path, limit=1)["next"] for path in ("/v1/copies", "/v1/skipped", "/v1/albums/all/photos")
    }
    answer = client.get("/v1/copies", params={"cursor": cursors["/v1/skipped"]})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:zsindex:problem:cursor")
    photo(album / "a.png", "red", mark=2)
    shutil.copy(album / "a.png", album / "b.png")
    damaged(album / "c.jpg")
    library.sync(album)
    for path, cursor in cursors.items():
        answer = client.get(path, params={"cursor": cursor})
        assert (answer.status_code, answer.json()["type"]) == (410, "urn:zsindex:problem:cursor-expired"), path

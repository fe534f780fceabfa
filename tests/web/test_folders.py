"""Folders of the service's machine: only those that can be synced are listed, and only to whoever may sync."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from tests.scenes import photo
from tests.web.conftest import READ, TOKENS, Serve
from zsindex.library import Library


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Folders as people have them, some of which nobody may see."""
    folder = tmp_path / "disk"
    for name in ("2019/summer", "2019/winter", "2020", ".hidden", "2019/@eaDir"):
        (folder / name).mkdir(parents=True)
    photo(folder / "2019" / "one.png", "red")
    (folder / "2019" / "notes.txt").write_text("no photo", encoding="utf-8")
    (tmp_path / "secret").mkdir()
    (folder / "2019" / "out").symlink_to(tmp_path / "secret")
    (folder / "2019" / "in").symlink_to(folder / "2020")
    (folder / "2019" / "round").symlink_to("round")
    (folder / "2019" / os.fsdecode(b"caf\xe9")).mkdir()
    return folder


def test_folders_that_can_be_synced_are_listed(serve: Serve, library: Library, album: Path, disk: Path) -> None:
    client = serve(library, security={"photo_folders": (str(disk), str(disk / "gone"))})
    start = client.get("/v1/folders").json()
    assert start == {
        "path": None,
        "parent": None,
        "photos": 0,
        "total": 2,
        "folders": [{"path": str(one), "name": one.name} for one in sorted([album, disk])],
        "next": None,
    }
    found = client.get("/v1/folders", params={"path": str(disk / "2019")}).json()
    assert [one["name"] for one in found["folders"]] == ["in", "summer", "winter"]
    assert (found["parent"], found["photos"], found["total"]) == (str(disk), 1, 3)
    assert client.get("/v1/folders", params={"path": str(disk)}).json()["parent"] is None
    second = client.get("/v1/folders", params={"path": str(disk / "2019"), "start": 1, "limit": 1}).json()
    assert ([one["name"] for one in second["folders"]], second["total"]) == (["summer"], 3)
    for name, names in (
        ("SUM", ["summer"]),
        ("r", ["summer", "winter"]),
        ("2019", []),
        ("", ["in", "summer", "winter"]),
    ):
        found = client.get("/v1/folders", params={"path": str(disk / "2019"), "name": name}).json()
        assert ([one["name"] for one in found["folders"]], found["total"]) == (names, len(names))
    one = client.get("/v1/folders", params={"path": str(disk / "2019"), "name": "r", "limit": 1}).json()
    other = client.get("/v1/folders", params={"path": str(disk / "2019"), "name": "r", "cursor": one["next"]}).json()
    assert ([one["name"] for one in other["folders"]], other["next"]) == (["winter"], None)
    decomposed = unicodedata.normalize("NFD", "Wälder")
    (disk / "2019" / decomposed).mkdir()
    found = client.get("/v1/folders", params={"path": str(disk / "2019"), "name": "wä"}).json()
    assert [one["name"] for one in found["folders"]] == [decomposed]


def test_no_other_folder_is_listed_or_said_to_be_there(serve: Serve, library: Library, disk: Path) -> None:
    client = serve(library, security={"photo_folders": (str(disk),)})
    there = disk.parent / "secret"
    for path in (there, disk.parent / "nothing", disk / "2019" / "out", disk / ".." / "secret", "/", f"{disk}x"):
        response = client.get("/v1/folders", params={"path": str(path)})
        assert response.status_code == 403, path
        assert str(there) not in response.text
    for path in (disk / "gone", disk / "2019" / "one.png"):
        assert client.get("/v1/folders", params={"path": str(path)}).status_code == 404
    reader = serve(library, security={"tokens": TOKENS, "photo_folders": (str(disk),)}, token=READ)
    assert reader.get("/v1/folders").status_code == 403

"""Agents ask a library over MCP: what they get, what they are refused, and what of it is told."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import CallToolResult, ImageContent, TextContent
from PIL import Image

from tests.fakes import FakeEncoder
from tests.scenes import damaged, photo
from zsindex.agents.server import server
from zsindex.library import Library

READING = {
    "library",
    "search_photos",
    "similar_photos",
    "classify_photos",
    "score_photos",
    "count_photos",
    "show_photo",
    "label_sets",
}
WRITING = {"save_label_set", "correct_photos", "save_album", "sync_library"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n, colour in enumerate(("red", "red", "green", "blue")):
        photo(tmp_path / "shots" / f"IMG_{2017 + n}0714_120000.png", colour, mark=n)
    return tmp_path / "shots"


@pytest.fixture
def library(folder: Path, tmp_path: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(folder)
        yield opened


def asked(library: Library, *calls: tuple[str, dict[str, Any]], places: bool = False) -> list[CallToolResult]:
    """What a client gets for its calls."""

    async def ask() -> list[CallToolResult]:
        async with Client(server(library, places=places)) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return anyio.run(ask)


def answer(library: Library, name: str, /, **arguments: Any) -> dict[str, Any]:
    [result] = asked(library, (name, arguments))
    said = result.structured_content
    assert not result.is_error, result.content
    assert said is not None
    first = result.content[0]
    assert isinstance(first, TextContent)
    assert json.loads(first.text) == said  # clients that read no data read the same as text
    return said


def refused(library: Library, name: str, /, **arguments: Any) -> str:
    [result] = asked(library, (name, arguments))
    assert result.is_error
    [told] = result.content
    assert isinstance(told, TextContent)
    return told.text


def names(photos: list[dict[str, Any]]) -> list[str]:
    return [os.path.basename(photo["path"])[4:8] for photo in photos]


def ids(library: Library) -> dict[str, int]:
    found = answer(library, "search_photos", query="red", all_photos=True, top=200)["photos"]
    return dict(zip(names(found), [photo["image_id"] for photo in found], strict=True))


@asynccontextmanager
async def connected(library: Library) -> AsyncIterator[Client]:
    async with Client(server(library)) as client:
        yield client


def test_tools_say_whether_they_write(library: Library) -> None:
    async def listed(opened: Library) -> dict[str, bool | None]:
        async with connected(opened) as client:
            tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools if not tool.description or not tool.output_schema] == []
        return {tool.name: tool.annotations.read_only_hint if tool.annotations else None for tool in tools}

    assert anyio.run(listed, library) == dict.fromkeys(READING, True) | dict.fromkeys(WRITING, False)
    with Library.open(library.path, encoder=FakeEncoder(), read_only=True) as reading:
        assert anyio.run(listed, reading) == dict.fromkeys(READING, True)
        assert "save_label_set" in refused(reading, "save_label_set", name="x", labels=["red"])


def test_what_there_is(library: Library, folder: Path) -> None:
    library.labels.save("colours", ["red", "green"], template="{}")
    library.albums.save("late", where={"since": "2019"})
    said = answer(library, "library")
    assert (said["photos"], said["folders"], said["label_sets"]) == (4, [str(folder)], ["colours"])
    assert said["albums"] == [{"name": "late", "query": None, "where": {"since": "2019"}}]
    [colours] = answer(library, "label_sets")["label_sets"]
    assert (colours["name"], colours["version"], colours["labels"]) == ("colours", 1, ["red", "green"])


def test_searches_bring_pictures(library: Library) -> None:
    [result] = asked(library, ("search_photos", {"query": "red", "all_photos": True, "top": 3, "pictures": 2}))
    said = result.structured_content
    assert said is not None
    assert sorted(names(said["photos"][:2])) == ["2017", "2018"]
    assert [photo["score"] for photo in said["photos"]] == [hit.score for hit in library.search("red", top=3)]
    pictures = [content for content in result.content if isinstance(content, ImageContent)]
    assert said["pictures"] == [photo["image_id"] for photo in said["photos"][:2]]
    for picture in pictures:
        shown = Image.open(io.BytesIO(base64.b64decode(picture.data)))
        red, green, blue = shown.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
        assert (picture.mime_type, shown.format) == ("image/jpeg", "JPEG")
        assert red > 200 > 60 > max(green, blue)
    assert len(pictures) == 2


def test_filters_and_folders_restrict(library: Library, folder: Path, tmp_path: Path) -> None:
    late = answer(library, "search_photos", query="red", all_photos=True, where={"since": "2019"})
    assert sorted(names(late["photos"])) == ["2019", "2020"]
    assert answer(library, "search_photos", query="red", all_photos=True, folder=str(folder))["photos"]
    assert "not in the library" in refused(library, "search_photos", query="red", folder=str(tmp_path / "else"))
    assert "since" in refused(library, "search_photos", query="red", where={"since": "soon"})
    assert "colour" in refused(library, "search_photos", query="red", where={"colour": "red"})


def test_similar_photos_leave_the_photo_out(library: Library) -> None:
    known = ids(library)
    found = answer(library, "similar_photos", image_id=known["2017"], top=1, pictures=0)
    assert (names(found["photos"]), found["pictures"]) == (["2018"], [])
    assert "99" in refused(library, "similar_photos", image_id=99)


def test_classifications_are_counted_with_the_best_of_each(library: Library) -> None:
    said = answer(library, "classify_photos", labels=["red", "green", "blue"], template="{}", pictures=3)
    assert [(one["label"], one["photos"]) for one in said["answers"]] == [("red", 2), ("green", 1), ("blue", 1)]
    whole = library.classify(["red", "green", "blue"], template="{}", top=1)
    assert said["run"] == whole.run.key
    best = {one["label"]: one["best"][0] for one in said["answers"]}
    assert said["pictures"] == [best[label]["image_id"] for label in ("red", "green", "blue")]
    scores = {result.path: result.score for result in whole}
    assert all(one["score"] == scores[one["path"]] for one in best.values())
    [only] = answer(library, "score_photos", image_ids=[best["blue"]["image_id"]], labels=["blue", "red"])[
        "photos"
    ].values()
    assert [label for label, _ in only] == ["blue", "red"]
    assert sum(score for _, score in only) == pytest.approx(1)


def test_photos_are_counted_by_facts(library: Library) -> None:
    everything = answer(library, "count_photos", by="year")["rows"]
    assert [(row["year"], row["photos"]) for row in everything] == [(str(year), 1) for year in range(2017, 2021)]
    some = answer(library, "count_photos", by="folder", labels=["red", "blue"], where={"year": "2017..2018"})["rows"]
    assert [(row["label"], row["photos"]) for row in some] == [("red", 2)]


def test_places_are_told_where_that_is_allowed(library: Library) -> None:
    one = ids(library)["2019"]
    [facts] = answer(library, "show_photo", image_id=one)["facts"].values()
    assert facts["taken"]["at"] == "2019-07-14T12:00:00"
    assert "place" not in facts
    [result] = asked(library, ("show_photo", {"image_id": one}), places=True)
    assert result.structured_content is not None
    [facts] = result.structured_content["facts"].values()
    assert facts["place"] is None


def test_photos_that_are_gone_are_named(library: Library) -> None:
    one = ids(library)["2020"]
    Path(library.photos.get(one).paths[0]).unlink()
    said = answer(library, "show_photo", image_id=one, size=1024)  # not the size that a search has kept
    assert (said["pictures"], list(said["unseen"])) == ([], [str(one)])
    assert "no file" in said["unseen"][str(one)]


def test_agents_write_where_they_may(library: Library, folder: Path) -> None:
    assert answer(library, "save_label_set", name="colours", labels=["red", "green"])["version"] == 1
    known = ids(library)
    blue = [known["2020"]]
    assert answer(library, "correct_photos", label_set="colours", image_ids=blue, label="red", shows_it=False) == {
        "label_set": "colours",
        "photos": 1,
    }
    [corrected] = library.corrections.list("colours")
    assert corrected.not_labels == ("red",)
    assert "purple" in refused(library, "correct_photos", label_set="colours", image_ids=blue, label="purple")
    saved = answer(library, "save_album", name="reds", query="red", where={"until": "2018"}, top=5)
    assert saved["where"] == {"until": "2018"}
    assert {os.path.basename(path)[4:8] for path in library.albums.photos("reds").paths} == {"2017", "2018"}
    photo(folder / "IMG_20210714_120000.png", "white", mark=9)
    damaged(folder / "broken.jpg")
    said = answer(library, "sync_library")
    assert (said["added"], said["encoded"], said["skipped"]) == (1, 1, 1)


def test_words_are_never_read_as_files(library: Library, folder: Path) -> None:
    """An agent that is told to search for a path must not make the library read it."""
    secret = str(next(folder.iterdir()))
    found = answer(library, "search_photos", query=secret, all_photos=True, pictures=0)["photos"]
    as_words = library.search(f"text:{secret}", top=10)
    assert [photo["score"] for photo in found] == [hit.score for hit in as_words]
    answer(library, "save_album", name="words", query=secret, top=2)
    assert library.albums.photos("words").paths == [hit.path for hit in as_words[:2]]
    assert "empty" in refused(library, "search_photos", query="  ")


def test_what_is_wrong_is_said(library: Library) -> None:
    assert "label" in refused(library, "classify_photos")
    assert "colours" in refused(library, "classify_photos", label_set="colours")
    assert "less than or equal to 200" in refused(library, "search_photos", query="red", top=10_000)


def test_a_program_starts_it_and_asks(tmp_path: Path) -> None:
    photo(tmp_path / "shots" / "one.png", "red")
    place = tmp_path / "library"
    environment = os.environ | {"ZSINDEX_LIBRARY": str(place)}
    command = [sys.executable, "-m", "zsindex"]
    subprocess.run([*command, "sync", str(tmp_path / "shots"), "-q"], check=True, env=environment)

    async def ask() -> dict[str, Any] | None:
        started = StdioServerParameters(command=command[0], args=[*command[1:], "mcp"], env=environment)
        async with Client(started) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == READING
            result = await client.call_tool("search_photos", {"query": "something red", "all_photos": True})
            return result.structured_content

    said = anyio.run(ask)
    assert said is not None
    assert [os.path.basename(photo["path"]) for photo in said["photos"]] == ["one.png"]
    assert len(said["pictures"]) == 1

    nowhere = subprocess.run(
        [*command, "mcp", "--library", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        encoding="utf-8",
        input="",
        check=False,
    )
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert "no library" in nowhere.stderr

"""The map of a library on a PostgreSQL server, whose machines have nothing else in common."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.storage import postgres_server
from tests.web.serving import Serving
from zsindex.library import Library

pytest.importorskip("openTSNE", reason="needs openTSNE")
pytestmark = pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))


@pytest.fixture
def url() -> Iterator[str]:
    server = postgres_server.running()
    made = server.clean_library()
    yield made
    server.drop(made)


@pytest.fixture
def on_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """What is opened next is on a machine of a name; returns the folder of what it derives."""

    def choose(name: str) -> Path:
        monkeypatch.setenv("ZSINDEX_CACHE", str(tmp_path / name))
        return tmp_path / name

    return choose


def points(found: dict[str, Any]) -> dict[int, tuple[float, ...]]:
    ids, flat = (
        np.frombuffer(base64.b64decode(found[name]), kind) for name, kind in (("ids", "<u4"), ("points", "<f4"))
    )
    return {image: tuple(point) for image, point in zip(ids.tolist(), flat.reshape(-1, 2).tolist(), strict=True)}


def test_all_machines_show_the_map_that_was_made_last(
    url: str, tmp_path: Path, on_machine: Callable[[str], Path]
) -> None:
    album = tmp_path / "album"
    for mark in range(1, 31):
        photo(album / f"{mark:02}.png", "red" if mark % 2 else "blue", mark=mark)
    on_machine("one")
    with Library.open(url, encoder=FakeEncoder()) as one:
        one.sync(album)
        here = on_machine("here")
        with Serving("--library", url, "--photos", album) as first:
            there = on_machine("there")
            with Serving("--library", url, "--photos", album) as second:
                # One of them makes it, whichever was asked.
                assert (first.get("/v1/map")["layout"], second.get("/v1/map")["layout"]) == (None, None)
                job = second.ended(second.post("/v1/map")["id"])
                assert (job["state"], job["report"]["photos"]) == ("done", 30)
                made = first.get("/v1/map")["layout"]
                assert second.get("/v1/map")["layout"] == made
                assert (made["laid_out"], made["outdated"]) == (30, False)
                files = [next(machine.glob("libraries/*/index/*.map")) for machine in (here, there)]
                assert files[0].read_bytes() == files[1].read_bytes()

                # A photo that comes is placed by who looks first; the others show it there.
                photo(album / "new.png", "red", mark=99)
                one.sync(album)
                after = first.get("/v1/map")["layout"]
                assert (after["added"], after["new"]) == (1, 0)
                assert points(made).items() <= points(after).items()
                assert second.get("/v1/map")["layout"] == after
                files[1].unlink()
                assert second.get("/v1/map")["layout"] == after

                # A machine that may only read, and one that makes a new one.
                on_machine("reader")
                with Library.open(url, encoder=FakeEncoder(), read_only=True) as reader:
                    assert reader.map.layout() is not None
                    mine = one.map.build(seed=1)
                    found = reader.map.layout()
                    assert found is not None
                    np.testing.assert_array_equal(found.points, mine.points)
                again = first.get("/v1/map")["layout"]
                assert (len(points(again)), again["added"]) == (31, 0)
                assert second.get("/v1/map")["layout"] == again
                assert one.check().ok
                assert not any("Traceback" in line for line in first.lines + second.lines)

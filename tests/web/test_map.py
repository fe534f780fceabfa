"""The map over HTTP: made as a job, given out in short form."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.scenes import photo
from tests.web.conftest import READ, TOKENS, Serve
from tests.web.test_jobs import end_of
from zsindex.errors import Stopped
from zsindex.lab import layout
from zsindex.library import Library
from zsindex.records import Progress
from zsindex.services.map import Map

pytest.importorskip("openTSNE", reason="needs openTSNE")


@pytest.fixture
def album(album: Path) -> Path:
    for mark in range(1, 21):
        photo(album / "many" / f"{mark}.png", "red" if mark % 2 else "blue", mark=mark)
    return album


def numbers(text: str, kind: str) -> Any:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def made(client: TestClient) -> dict[str, Any]:
    response = client.post("/v1/map", json={})
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/jobs/{response.json()['id']}"
    return end_of(client, response.json()["id"])


def test_a_map_is_a_job_and_then_is_there(client: TestClient, library: Library, album: Path) -> None:
    before = client.get("/v1/map").json()
    assert (before["images"], before["layout"], before["installed"]) == (24, None, True)
    assert before["seconds"] > 0
    job = made(client)
    assert (job["kind"], job["state"], job["report"]["photos"]) == ("map", "done", 24)
    assert job["progress"] == {"stage": "layout", "done": 750, "total": 750}
    response = client.get("/v1/map")
    found, kept = response.json()["layout"], library.map.layout()
    assert kept is not None
    np.testing.assert_array_equal(numbers(found["ids"], "<u4"), kept.ids)
    np.testing.assert_array_equal(numbers(found["points"], "<f4").reshape(-1, 2), kept.points)
    assert tuple(found["bounds"]) == kept.bounds
    assert (found["laid_out"], found["added"], found["new"], found["gone"], found["outdated"]) == (24, 0, 0, 0, False)
    again = {"If-None-Match": response.headers["etag"]}
    assert client.get("/v1/map", headers=again).status_code == 304
    photo(album / "new.png", "green", mark=99)
    library.sync(album)
    after = client.get("/v1/map", headers=again)
    assert (after.status_code, after.json()["layout"]["added"]) == (200, 1)


def test_what_photos_belong_to_goes_with_their_ids(client: TestClient, library: Library, album: Path) -> None:
    view = library.view()
    path_of = dict(zip(view.image_ids.tolist()[::-1], view.paths[::-1], strict=True))
    found = client.get("/v1/map/groups", params={"by": "folder"}).json()
    names = [found["names"][n] for n in numbers(found["of"], "<u2")]
    assert dict(zip(numbers(found["ids"], "<u4").tolist(), names, strict=True)) == {
        image: str(Path(path).parent) for image, path in path_of.items()
    }
    years = client.get("/v1/map/groups", params={"by": "year"}).json()
    assert len(numbers(years["of"], "<u2")) == len(path_of)
    answer = client.post("/v1/groups", json={"labels": ["red", "blue"]}).json()
    response = client.get(f"/v1/groups/{answer['key']}/answers")
    counts = np.bincount(numbers(response.json()["of"], "<u2"), minlength=2)
    copies = [1, 0]  # of what a copy shows each image counts once
    assert (counts + copies).tolist() == [group["count"] for group in answer["groups"]]
    assert response.json()["names"] == ["red", "blue"]
    same = client.get(f"/v1/groups/{answer['key']}/answers", headers={"If-None-Match": response.headers["etag"]})
    assert same.status_code == 304
    [one, other] = list(path_of)[:2]
    named = client.post("/v1/images/paths", json={"image_ids": [other, 10**6, one, other]}).json()["images"]
    assert named == [{"image_id": other, "path": path_of[other]}, {"image_id": one, "path": path_of[one]}]


def test_who_may_only_read_sees_it_and_makes_none(serve: Serve, library: Library) -> None:
    client = serve(library, security={"tokens": TOKENS}, token=READ)
    assert client.get("/v1/map").status_code == 200
    assert client.post("/v1/map", json={}).status_code == 403


def test_one_that_is_cancelled_leaves_what_was_there(
    client: TestClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(client)
    before = client.get("/v1/map").json()
    ids: list[str] = []

    def build(
        self: Map, *, progress: Callable[[Progress], None], should_stop: Callable[[], bool], seed: int = 0
    ) -> None:
        progress(Progress("layout", 1, 750))
        client.post(f"/v1/jobs/{ids[0]}/cancel")
        while not should_stop():
            pass
        raise Stopped

    monkeypatch.setattr(Map, "build", build)
    saved = library.session.storage.jobs.save_job

    def save(job_id: str, *args: Any, **options: Any) -> None:
        ids.append(job_id)
        saved(job_id, *args, **options)

    monkeypatch.setattr(library.session.storage.jobs, "save_job", save)
    job = made(client)
    assert (job["state"], job["report"], job["problem"]) == ("cancelled", None, None)
    assert client.get("/v1/map").json() == before


def test_without_the_extra_it_says_what_to_install(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "is_installed", lambda: False)
    assert client.get("/v1/map").json()["installed"] is False
    response = client.post("/v1/map", json={})
    assert (response.status_code, response.json()["type"]) == (501, "urn:zsindex:problem:extra-missing")
    assert response.json()["detail"] == "this service lacks openTSNE: pip install 'zsindex[map]'"

"""Services over one library on a PostgreSQL server: real processes, a client that goes from one to the other, a server
that goes away, a standby that lags.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.storage import postgres_server
from tests.storage.postgres_server import Server
from tests.waiting import until
from tests.web.serving import Serving, answered
from zsindex.library import Library

pytestmark = pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))

LABELS = ["red", "green", "blue", "white"]
QUESTION = {"labels": LABELS, "limit": 25}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that the tests stop and start."""
    own = Server()
    yield own
    own.remove()


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    for mark in range(120):
        photo(folder / f"{mark:03}.png", (mark, 255 - mark, 9 * mark % 256), mark=mark)
    return folder


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    made = server.new_library()
    with Library.open(made, encoder=FakeEncoder()) as library:
        assert library.model.dim
    yield made
    server.drop(made)


def jobs_log(serving: Serving, job_id: str) -> list[str]:
    """What a service has said of a job: only the one that is at it does."""
    said = [json.loads(line) for line in serving.lines if line.startswith("{")]
    return [line["state"] for line in said if line["event"] == "job" and line["job"] == job_id]


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """While it is there photos are encoded slowly."""
    file = tmp_path / "slow"
    file.write_text("0.25", encoding="ascii")
    return file


def test_two_services_are_one(server: Server, url: str, album: Path, slow: Path) -> None:
    """A job is asked for, watched and cancelled at either, goes on when the one that runs it is killed, and when the
    library's server is started anew; pages and tags are those of both.
    """
    options = ("--library", url, "--photos", album, "--batch-size", 4)
    with Serving(*options, slow_while=slow) as first, Serving(*options, slow_while=slow) as second:
        # Asked for at one, run by the other, cancelled where it is not run.
        job = second.post("/v1/sync", paths=[str(album)])["id"]
        until(lambda: (progress := second.get(f"/v1/jobs/{job}")["progress"]) and progress["stage"] == "encode")
        runner, other = until(
            lambda: next(((a, b) for a, b in ((first, second), (second, first)) if "running" in jobs_log(a, job)), None)
        )
        with other.client.stream("GET", f"/v1/jobs/{job}/events") as events:
            told = (json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: "))
            assert next(told)["state"] == "running"
            assert other.post(f"/v1/jobs/{job}/cancel")["id"] == job
            *_, last = told
        assert last["state"] == "cancelled"
        assert 0 < last["report"]["encoded"] < 120

        # Its runner is killed.
        job = other.post("/v1/sync", paths=[str(album)])["id"]
        before = runner.get("/v1/library")["images"]
        until(lambda: other.get("/v1/library")["images"] > before)
        runner.kill()
        slow.unlink()
        done = other.ended(job)
        assert (done["state"], done["report"]["left"]) == ("done", 0)
        assert [step["state"] for step in done["history"]] == ["queued", "running", "interrupted", "running", "done"]
        assert other.get("/v1/library")["images"] == 120

        with Serving(*options) as third:
            # The pages of one answer, while photos come.
            whole = answered(other.client.post("/v1/classify", json={**QUESTION, "limit": 500}))
            found, page, n = [], other.post("/v1/classify", **QUESTION), 0
            for serving in cycle((third, other)):
                found += page["results"]
                if page["next"] is None:
                    break
                n += 1
                photo(album / f"new {n}.png", "red", mark=1000 + n)
                assert serving.ended(serving.post("/v1/sync", paths=[str(album)])["id"])["state"] == "done"
                page = serving.post("/v1/classify", **QUESTION, cursor=page["next"])
            assert n == 4
            assert found == whole["results"]
            tags = [s.client.post("/v1/classify", json=QUESTION).headers["etag"] for s in (third, other)]
            assert tags[0] == tags[1]
            key = third.post("/v1/groups", labels=LABELS)["key"]
            assert third.get(f"/v1/groups/{key}/photos") == other.get(f"/v1/groups/{key}/photos")

            # The server goes away, and comes back.
            server.stop(signal.SIGQUIT)
            for serving in (third, other):
                assert serving.client.get("/healthz").status_code == 200
                for answer in (
                    serving.client.get("/readyz"),
                    serving.client.post("/v1/classify", json=QUESTION),
                    serving.client.get("/v1/jobs"),
                    serving.client.post("/v1/sync", json={}),
                ):
                    assert answer.status_code == 503, answer.url
                    assert int(answer.headers["retry-after"]) > 0
                    assert answer.json()["type"] in (
                        "urn:zsindex:problem:not-ready",
                        "urn:zsindex:problem:library-unreachable",
                    )
                assert "zsindex_library_readable 0.0" in serving.client.get("/metrics").text
            server.start()
            for serving in (third, other):
                until(lambda serving=serving: serving.client.get("/readyz").status_code == 200)
                assert serving.post("/v1/classify", **QUESTION)["total"] == 124
            job = third.ended(third.post("/v1/sync", paths=[str(album)])["id"])
            assert (job["state"], job["report"]["unchanged"]) == ("done", 124)
            said = "".join(third.lines + other.lines + runner.lines)
            assert server.password not in said
            assert "Traceback" not in said
            assert {third.end(), other.end()} == {-signal.SIGTERM}


def test_a_job_goes_on_when_the_connection_is_cut_that_held_it(
    server: Server, url: str, album: Path, slow: Path
) -> None:
    name = url.rpartition("/")[2]
    options = ("--library", url, "--photos", album, "--batch-size", 4)
    with Serving(*options, slow_while=slow) as one, Serving(*options, slow_while=slow) as two:
        job = one.post("/v1/sync", paths=[str(album)])["id"]
        until(lambda: one.get("/v1/library")["images"] > 8)
        cut = server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{name}' AND application_name LIKE 'run jobs|%'"
        )
        assert (True,) in cut
        slow.unlink()
        done = two.ended(job)
        assert (done["state"], done["report"]["left"]) == ("done", 0)
        # Who held it takes it again, unless the other one was quicker.
        went = [step["state"] for step in done["history"]]
        assert went in (["queued", "running", "done"], ["queued", "running", "interrupted", "running", "done"])
        assert one.get("/v1/library")["images"] == 120
        assert not any("Traceback" in line for line in one.lines + two.lines)


def test_workers_over_a_server_have_one_index_file(
    server: Server, url: str, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(album)
    monkeypatch.setenv("ZSINDEX_CACHE", str(tmp_path / "cache"))  # as on a machine that has never seen it
    with Serving("--library", url, "--photos", album, "--workers", 2) as serving:
        until(lambda: len(serving.workers()) == 2)
        found = [serving.client.post("/v1/classify", json=QUESTION) for _ in range(12)]
        assert {answer.json()["total"] for answer in found} == {120}
        assert len({answer.headers["etag"] for answer in found}) == 1
        [file] = (tmp_path / "cache").glob("libraries/*/index/*.faiss")

        def mapping() -> list[int]:
            # A connection is one worker's; which, the system decides.
            serving.client.post("/v1/classify", json=QUESTION, headers={"Connection": "close"})
            return [
                pid for pid in serving.workers() if file.name in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
            ]

        # One has written it, and both map it.
        mapped = until(lambda: len(found := mapping()) == 2 and found)
        os.kill(mapped[0], signal.SIGKILL)
        until(lambda: len(left := serving.workers()) == 2 and mapped[0] not in left)
        assert serving.post("/v1/classify", **QUESTION)["total"] == 120
        assert serving.end(signal.SIGINT) == 0
        assert not any("Traceback" in line for line in serving.lines)


def test_a_standby_never_shows_less_than_what_was_seen(server: Server, url: str, album: Path, tmp_path: Path) -> None:
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(album)
        library.labels.save("colours", LABELS)
    standby = Server(standby_of=server)
    try:
        name = url.rpartition("/")[2]
        reading = standby.url(name)
        with Serving("--library", url, "--photos", album) as primary, Serving("--library", reading) as replica:
            ask = {"labels": LABELS, "limit": 25}
            tag = primary.client.get("/v1/classify", params={"label": LABELS}).headers["etag"]
            assert replica.client.get("/v1/classify", params={"label": LABELS}).headers["etag"] == tag
            assert replica.get("/v1/session") == {"right": "read"}
            for method, path, body in (
                ("POST", "/v1/sync", {}),
                ("PUT", "/v1/label-sets/mine", {"labels": LABELS}),
                ("POST", "/v1/corrections", {"label_set": "colours", "image_id": 1, "label": "red"}),
            ):
                refused = replica.client.request(method, path, json=body)
                assert (refused.status_code, refused.json()["type"]) == (403, "urn:zsindex:problem:read-only"), path
                assert "standby" in refused.json()["detail"]

            standby.execute("SELECT pg_wal_replay_pause()")
            photo(album / "new.png", "red", mark=2000)
            assert primary.ended(primary.post("/v1/sync", paths=[str(album)])["id"])["state"] == "done"
            saved = primary.client.put("/v1/label-sets/colours", json={"labels": ["red", "black"]})
            position = {"Zsindex-Position": saved.headers["zsindex-position"]}
            page = primary.post("/v1/classify", **ask)
            seen = primary.client.get("/v1/classify", params={"label": LABELS}).headers["etag"]
            search = primary.get("/v1/search", q="red", top=5)["next"]
            key = primary.post("/v1/groups", labels=LABELS)["key"]
            assert page["total"] == 121

            def asked() -> list[httpx.Response]:
                client = replica.client
                return [
                    client.post("/v1/classify", json={**ask, "cursor": page["next"]}),
                    client.get("/v1/classify", params={"label": LABELS}, headers={"If-None-Match": seen}),
                    client.get("/v1/search", params={"cursor": search}),
                    client.get(f"/v1/groups/{key}/photos"),
                    client.get("/v1/label-sets/colours", headers=position),
                ]

            for refused in asked():
                assert (refused.status_code, refused.json()["type"]) == (503, "urn:zsindex:problem:behind"), refused.url
                assert int(refused.headers["retry-after"]) > 0
            assert replica.post("/v1/classify", **ask)["total"] == 120, "who has seen nothing is answered"
            assert replica.client.get("/v1/label-sets", headers={"Zsindex-Position": "x"}).status_code == 422

            standby.execute("SELECT pg_wal_replay_resume()")
            answers = until(lambda: [a for a in asked() if a.status_code != 503][4:] and asked())
            assert [a.status_code for a in answers] == [200, 304, 200, 200, 200]
            following = primary.post("/v1/classify", **ask, cursor=page["next"])
            assert answers[0].json() == following
            assert answers[4].json() == primary.get("/v1/label-sets/colours")
            assert "zsindex-position" in answers[4].headers
            jobs: Any = replica.get("/v1/jobs")
            assert jobs == primary.get("/v1/jobs")
            assert not any("Traceback" in line for line in primary.lines + replica.lines)
    finally:
        standby.remove()

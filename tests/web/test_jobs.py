"""Syncs as jobs: progress as events, cancelling, and going on after the service has ended."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.fakes import FakeEncoder
from tests.processes import Process
from tests.scenes import damaged, photo
from tests.waiting import WAIT_S, until
from tests.web.conftest import Serve
from zsindex.classification.prompts import prompts_for
from zsindex.errors import LibraryBusy, StorageFull
from zsindex.library import Library
from zsindex.records import Progress
from zsindex.services.jobs import Jobs
from zsindex.storage.protocol import Lock
from zsindex.storage.sqlite import database
from zsindex.web import job_runner
from zsindex.web.job_runner import JobRunner


def events(client: TestClient, job_id: str) -> Iterator[dict[str, Any]]:
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def end_of(client: TestClient, job_id: str) -> dict[str, Any]:
    return list(events(client, job_id))[-1]


def fill(folder: Path, n: int, *, start: int = 1) -> None:
    for mark in range(start, start + n):
        photo(folder / f"{mark:04d}.png", "red", mark=mark)


class Held(FakeEncoder):
    """Encodes a batch only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = threading.Semaphore(0)
        self.reached = threading.Event()

    def encode_images(self, pixels: Any) -> Any:
        self.reached.set()
        assert self.permits.acquire(timeout=WAIT_S)
        return super().encode_images(pixels)


@pytest.fixture
def held(tmp_path: Path, new_library: Path) -> Iterator[tuple[Library, Held, Path]]:
    """A library whose encoder waits, and a folder of 40 photos that it does not know."""
    encoder, folder = Held(), tmp_path / "photos"
    fill(folder, 40)
    shutil.copytree(new_library, tmp_path / "held")
    with Library.open(tmp_path / "held", encoder=encoder, batch_size=4, workers=1) as library:
        # Cached: a new text would wait until the model is done with its batch of photos.
        library.embed_texts(["red", *prompts_for(["red", "blue"])])
        yield library, encoder, folder
        encoder.permits.release(1000)


def test_a_sync_is_a_job_whose_events_tell_how_far_it_is(client: TestClient, library: Library, album: Path) -> None:
    fill(album / "more", 12)
    damaged(album / "more" / "no.png")
    response = client.post("/v1/sync", json={"paths": [str(album / "more")]})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    told = list(events(client, job["id"]))
    assert told[-1]["state"] == "done"
    assert told[-1]["progress"] == {"stage": "encode", "done": 13, "total": 13}
    assert told[-1]["report"]["encoded"] == 12
    assert [skip["reason"] for skip in told[-1]["report"]["skips"]] == ["not-an-image"]
    assert [step["state"] for step in told[-1]["history"]] == ["queued", "running", "done"]
    assert client.get(f"/v1/jobs/{job['id']}").json() == told[-1]
    assert client.get("/v1/jobs").json() == [told[-1]]
    assert len(library.photos.paths()) == 5 + 12
    again = client.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": "9"})
    assert again.status_code == 204  # or a browser would connect again for ever
    assert client.get("/v1/skipped").json()["total"] == 1


def test_progress_comes_while_it_runs_and_reads_go_on(serve: Serve, held: tuple[Library, Held, Path]) -> None:
    library, encoder, folder = held
    client = serve(library, security={"photo_folders": (str(folder),)})
    job_id = client.post("/v1/sync", json={}).json()["id"]
    assert encoder.reached.wait(WAIT_S)
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "running"
    encoder.permits.release(2)
    until(lambda: len(client.post("/v1/classify", json={"labels": ["red", "blue"]}).json()["results"]) == 8)
    until(lambda: client.get(f"/v1/jobs/{job_id}").json()["progress"]["done"] == 8)  # told once it is stored
    assert client.get("/v1/search", params={"q": "red"}).json()["hits"]
    encoder.permits.release(100)
    assert end_of(client, job_id)["report"]["encoded"] == 40


def test_a_job_can_be_cancelled_and_keeps_what_is_done(serve: Serve, held: tuple[Library, Held, Path]) -> None:
    library, encoder, folder = held
    client = serve(library, security={"photo_folders": (str(folder),)})
    running, waiting = (client.post("/v1/sync", json={"paths": [str(folder)]}).json()["id"] for _ in range(2))
    assert encoder.reached.wait(WAIT_S)
    assert client.post(f"/v1/jobs/{waiting}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/v1/jobs/{running}/cancel").status_code == 200
    encoder.permits.release(100)
    end = end_of(client, running)
    assert end["state"] == "cancelled"
    assert 0 < end["report"]["encoded"] < 40
    assert len(library.photos.paths()) == end["report"]["encoded"]
    assert client.post(f"/v1/jobs/{running}/cancel").json()["state"] == "cancelled"
    assert client.get("/v1/jobs/00ff").status_code == 404


def test_too_many_jobs_are_refused(serve: Serve, held: tuple[Library, Held, Path]) -> None:
    library, encoder, folder = held
    client = serve(library, security={"photo_folders": (str(folder),)}, limits={"queued_jobs": 1})
    assert client.post("/v1/sync", json={}).status_code == 202
    assert encoder.reached.wait(WAIT_S)
    assert client.post("/v1/sync", json={}).status_code == 202
    refused = client.post("/v1/sync", json={})
    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)
    encoder.permits.release(100)


def test_a_service_that_ends_interrupts_and_the_next_one_goes_on(held: tuple[Library, Held, Path]) -> None:
    library, encoder, folder = held
    first = JobRunner(library, most_queued=9)
    job = first.submit([str(folder)], retry_skipped=False)
    waiting = first.submit([str(folder)], retry_skipped=False)
    assert encoder.reached.wait(WAIT_S)
    first.stop_soon()
    encoder.permits.release(1)
    first.stop()
    assert {row.id: row.state for row in Jobs(library.session).list()} == {
        job["id"]: "interrupted",
        waiting["id"]: "interrupted",
    }
    n = len(library.photos.paths())
    assert 0 < n < 40
    encoder.permits.release(1000)
    second = JobRunner(library, most_queued=9)
    second.start()
    until(lambda: all(row.state == "done" for row in Jobs(library.session).list()))
    second.stop()
    document = second.document(job["id"])
    assert document["report"]["encoded"] == 40 - n
    states = [step["state"] for step in document["history"]]
    assert states == ["queued", "running", "interrupted", "running", "done"]


PROGRAM = """
import sys, threading
from zsindex.storage.sqlite import database
from zsindex.library import Library
from zsindex.services.jobs import Jobs
from zsindex.web.job_runner import JobRunner
from tests.fakes import FakeEncoder
class Slow(FakeEncoder):
    def encode_images(self, pixels):
        if self.image_count >= 8:
            step(job["id"])
        return super().encode_images(pixels)
library = Library.open(sys.argv[1], encoder=Slow(), batch_size=4, workers=1)
runner = JobRunner(library, most_queued=9)
ready = threading.Event()
job = runner.submit([sys.argv[2]], retry_skipped=False)
threading.Event().wait()
"""


def test_a_killed_service_leaves_an_interrupted_job_that_goes_on(
    serve: Serve, tmp_path: Path, new_library: Path
) -> None:
    folder = tmp_path / "photos"
    fill(folder, 40)
    shutil.copytree(new_library, tmp_path / "killed")
    with Process(PROGRAM, tmp_path / "killed", folder) as process:
        job_id = process.wait_for_step()
        process.kill()
    encoder = FakeEncoder()
    with Library.open(tmp_path / "killed", encoder=encoder, batch_size=4) as library:
        assert [row.state for row in Jobs(library.session).list()] == ["running"]  # nobody was left to say otherwise
        done = len(library.photos.paths())
        assert done >= 4
        end = end_of(serve(library), job_id)
        assert end["state"] == "done"
        assert [step["state"] for step in end["history"]] == ["queued", "running", "interrupted", "running", "done"]
        assert encoder.image_count == 40 - done
        assert len(library.photos.paths()) == 40


def test_a_job_that_brings_the_process_down_is_given_up(library: Library) -> None:
    document = job_runner.Job("00aa", "sync", paths=None, attempts=job_runner.MOST_ATTEMPTS).document()
    Jobs(library.session).save("00aa", "sync", "running", document)
    runner = JobRunner(library, most_queued=9)
    runner.start()
    job = runner.submit(None, retry_skipped=False)
    until(lambda: runner.document(job["id"])["state"] == "done")
    runner.stop()
    given_up = runner.document("00aa")
    assert given_up["state"] == "failed"
    assert "3 times" in given_up["problem"]["detail"]


def test_one_service_runs_the_jobs_and_others_tell_of_them(
    impatient: None, serve: Serve, held: tuple[Library, Held, Path]
) -> None:
    """They have a library in common, and nothing else: what one is asked for the other does."""
    library, encoder, folder = held
    runner = JobRunner(library, most_queued=9)
    runner.start()
    until(lambda: runner._is_ours)
    with Library.open(library.path, encoder=FakeEncoder()) as again:
        client = serve(again, security={"photo_folders": (str(folder),)})
        running, cancelled, last = (
            client.post("/v1/sync", json={"paths": [str(folder)]}).json()["id"] for _ in range(3)
        )
        assert encoder.reached.wait(WAIT_S)
        assert client.get(f"/v1/jobs/{running}").json()["state"] == "running"
        assert client.post(f"/v1/jobs/{cancelled}/cancel").json()["state"] == "cancelled"
        told = events(client, running)
        assert next(told)["state"] == "running"
        encoder.permits.release(2)
        steps = iter(step["progress"] for step in told)
        assert {"stage": "encode", "done": 8, "total": 40} in steps
        assert client.post(f"/v1/jobs/{running}/cancel").json()["state"] == "running"
        until(runner._stop_current.is_set)
        encoder.permits.release(100)
        assert list(told)[-1]["state"] == "cancelled"
        assert 8 <= client.get(f"/v1/jobs/{running}").json()["report"]["encoded"] < 40
        assert end_of(client, last)["state"] == "done"
        assert [job["state"] for job in client.get("/v1/jobs").json()] == ["done", "cancelled", "cancelled"]
        assert {job["id"]: job for job in runner.documents()} == {
            job["id"]: job for job in client.get("/v1/jobs").json()
        }
    runner.stop()


def test_another_service_takes_over(impatient: None, held: tuple[Library, Held, Path]) -> None:
    library, encoder, folder = held
    first = JobRunner(library, most_queued=9)
    job = first.submit([str(folder)], retry_skipped=False)
    assert encoder.reached.wait(WAIT_S)
    other = FakeEncoder()
    with Library.open(library.path, encoder=other) as again:
        second = JobRunner(again, most_queued=9)
        second.start()
        queued = second.submit([str(folder)], retry_skipped=False)
        first.stop_soon()
        encoder.permits.release(1)
        first.stop()
        until(lambda: second.document(queued["id"])["state"] == "done")
        document = second.document(job["id"])
        assert document["report"]["encoded"] == other.image_count == 40 - encoder.image_count > 0
        assert [step["state"] for step in document["history"]] == [
            "queued",
            "running",
            "interrupted",
            "running",
            "done",
        ]
        second.stop()


def test_whoever_loses_the_lock_lets_go_of_the_job(
    impatient: None, held: tuple[Library, Held, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does when the connection is cut that holds it. Another service may be at the job by then."""
    library, encoder, folder = held
    runner = JobRunner(library, most_queued=9)
    job = runner.submit([str(folder)], retry_skipped=False)
    assert encoder.reached.wait(WAIT_S)
    lock = library.session.storage.jobs_lock

    def hold(*_: object) -> Any:
        raise LibraryBusy(library.path, holder="another", waited_s=0)

    with monkeypatch.context() as lost:
        lost.setattr(lock, "is_held", lambda: False)
        lost.setattr(lock, "hold", hold)
        until(runner._stop_current.is_set)
        row = Jobs(library.session).change(job["id"], lambda row: (row.state, {**row.document, "runner": "another"}))
        encoder.permits.release(1)
        until(lambda: not runner._is_ours)
        assert runner._current is None
        assert Jobs(library.session).get(job["id"]) == row, "what others store stays"
    encoder.permits.release(1000)
    until(lambda: runner.document(job["id"])["state"] == "done")
    assert [step["state"] for step in runner.document(job["id"])["history"]][-3:] == ["interrupted", "running", "done"]
    runner.stop()


def test_a_service_can_leave_the_jobs_to_others(impatient: None, library: Library) -> None:
    idle = JobRunner(library, most_queued=1, runs_jobs=False)
    job = idle.submit(None, retry_skipped=False)
    assert idle.document(job["id"])["state"] == "queued"
    runner = JobRunner(library, most_queued=9)
    runner.start()
    until(lambda: idle.document(job["id"])["state"] == "done")
    runner.stop()
    idle.stop()


def test_a_sync_that_fails_says_why(serve: Serve, library: Library, album: Path) -> None:
    gone = album / "never"
    client = serve(library)
    job_id = client.post("/v1/sync", json={"paths": [str(gone)]}).json()["id"]
    end = end_of(client, job_id)
    assert (end["state"], end["problem"]["type"]) == ("failed", "urn:zsindex:problem:not-in-library")


def test_only_folders_that_are_allowed_can_be_synced(
    serve: Serve, library: Library, album: Path, tmp_path: Path
) -> None:
    other, given = tmp_path / "other", tmp_path / "given"
    fill(other, 1)
    fill(given, 1)
    (album / "link").symlink_to(other)
    client = serve(library, security={"photo_folders": (str(given),)})
    for path in ("/etc", str(other), f"{album}/../other", f"{album}/link", "relative", "/nowhere", f"{album}x"):
        response = client.post("/v1/sync", json={"paths": [path]})
        assert (response.status_code, response.json()["type"]) == (403, "urn:zsindex:problem:path"), path
        assert "nowhere" not in response.text
    for folder in (given, album / "sea"):
        assert end_of(client, client.post("/v1/sync", json={"paths": [str(folder)]}).json()["id"])["state"] == "done"
    assert not any("other" in path for path in library.photos.paths())


def test_no_folder_yet(serve: Serve, tmp_path: Path, new_library: Path) -> None:
    shutil.copytree(new_library, tmp_path / "empty")
    with Library.open(tmp_path / "empty", encoder=FakeEncoder()) as library:
        response = serve(library).post("/v1/sync", json={})
        assert (response.status_code, response.json()["type"]) == (422, "urn:zsindex:problem:no-folders")


# --- waiting for other processes --------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_runner, "LOOK_AGAIN_S", 0.05)
    monkeypatch.setattr(job_runner, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(job_runner, "STORE_EVERY_S", 0.0)
    monkeypatch.setattr(database, "SYNC_TIMEOUT_S", 0.05)


@pytest.fixture
def shared(impatient: None, tmp_path: Path, new_library: Path) -> Iterator[tuple[Library, Path, Lock]]:
    """A library, a folder that it does not know, and the lock of its syncs, as another process would take it."""
    fill(tmp_path / "photos", 6)
    shutil.copytree(new_library, tmp_path / "shared")
    with (
        Library.open(tmp_path / "shared", encoder=FakeEncoder()) as library,
        closing(library.session.storage.again()) as another,
    ):
        yield library, tmp_path / "photos", another.sync_lock


def reached(client: TestClient, job_id: str, state: str) -> dict[str, Any]:
    for job in events(client, job_id):
        if job["state"] == state:
            return job
    raise AssertionError(f"it never was {state}")


def test_a_job_waits_while_another_process_syncs(serve: Serve, shared: tuple[Library, Path, Lock]) -> None:
    library, folder, lock = shared
    client = serve(library, security={"photo_folders": (str(folder),)})
    with lock.hold("sync by hand"):
        job_id = client.post("/v1/sync", json={}).json()["id"]
        job = reached(client, job_id, "waiting")
        assert "sync by hand" in job["waiting_for"]
        assert client.get("/v1/jobs").json()[0]["state"] == "waiting"
        assert "zsindex_jobs_waiting 1.0" in client.get("/metrics").text
    end = end_of(client, job_id)
    assert (end["state"], end["report"]["encoded"], end["waiting_for"], end["problem"]) == ("done", 6, None, None)
    assert [step["state"] for step in end["history"]] == ["queued", "running", "waiting", "running", "done"]
    assert end["attempts"] == 1


def test_a_job_that_waits_can_be_cancelled(serve: Serve, shared: tuple[Library, Path, Lock]) -> None:
    library, folder, lock = shared
    client = serve(library, security={"photo_folders": (str(folder),)})
    with lock.hold("sync"):
        job_id = client.post("/v1/sync", json={}).json()["id"]
        reached(client, job_id, "waiting")
        assert client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
        assert end_of(client, job_id)["state"] == "cancelled"
        other = client.post("/v1/sync", json={}).json()["id"]
        reached(client, other, "waiting")
    assert end_of(client, other)["report"]["encoded"] == 6
    assert end_of(client, job_id)["state"] == "cancelled"
    until(lambda: {row.state for row in Jobs(library.session).list()} == {"cancelled", "done"})


def test_a_service_that_ends_while_a_job_waits_goes_on_with_it(shared: tuple[Library, Path, Lock]) -> None:
    library, folder, lock = shared
    for _ in range(job_runner.MOST_ATTEMPTS + 1):  # waiting is no attempt
        runner = JobRunner(library, most_queued=9)
        runner.start()
        with lock.hold("sync"):
            if not Jobs(library.session).list():
                runner.submit([str(folder)], retry_skipped=False)
            until(lambda runner=runner: runner.counts["waiting"] == 1)
            runner.stop()
        assert [row.state for row in Jobs(library.session).list()] == ["interrupted"]
    last = JobRunner(library, most_queued=9)
    last.start()
    until(lambda: Jobs(library.session).list()[0].state == "done")
    last.stop()


@pytest.mark.parametrize("where", ["_next", "_try", "_take_over"])
def test_after_an_error_nothing_is_held(
    shared: tuple[Library, Path, Lock], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    library, folder, _ = shared
    runner = JobRunner(library, most_queued=9)
    really, failed = getattr(runner, where), threading.Event()
    seen: list[bool] = []
    event = job_runner.logs.event

    def once(*args: Any) -> Any:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a bug")
        return really(*args)

    def told(name: str, **about: Any) -> None:
        if name == "jobs stopped":
            seen.append(runner._is_ours)
        event(name, **about)

    monkeypatch.setattr(runner, where, once)
    monkeypatch.setattr(job_runner.logs, "event", told)
    runner.start()
    until(lambda: failed.is_set() or runner._is_ours)
    job = runner.submit([str(folder)], retry_skipped=False)
    until(lambda: runner.document(job["id"])["state"] == "done")
    assert seen == [False]
    assert len(library.photos.paths()) == 6
    runner.stop()
    assert not runner._is_ours


def test_a_job_whose_progress_cannot_be_stored_is_run_all_the_same(
    shared: tuple[Library, Path, Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    library, folder, _ = shared
    runner = JobRunner(library, most_queued=9)
    really, refused = Jobs.change, 0

    def change(jobs: Jobs, job_id: str, how: Any) -> Any:
        nonlocal refused
        if runner._current is not None and refused < 5:
            refused += 1
            raise RuntimeError("a bug")
        return really(jobs, job_id, how)

    monkeypatch.setattr(Jobs, "change", change)
    job = runner.submit([str(folder)], retry_skipped=False)
    until(lambda: Jobs(library.session).list()[0].state == "done")
    assert refused == 5
    assert runner.document(job["id"])["report"]["encoded"] == 6
    runner.stop()


def test_a_job_that_cannot_be_stored_at_all_is_refused(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other service would know of it."""
    runner = JobRunner(library, most_queued=9)

    def save(*_: object) -> None:
        raise StorageFull(library.path)

    monkeypatch.setattr(Jobs, "save", save)
    with pytest.raises(StorageFull):
        runner.submit(None, retry_skipped=False)
    assert runner.documents() == []
    runner.stop()


def test_what_has_changed_and_what_is_at_work(serve: Serve, held: tuple[Library, Held, Path], album: Path) -> None:
    library, encoder, folder = held
    client = serve(library, security={"photo_folders": (str(folder), str(album))})
    before = client.get("/v1/library/now").json()
    assert before["job"] is None
    assert client.get("/v1/library/now").json() == before
    lock = library.session.storage.sync_lock
    with lock.hold("sync"):
        lock.tell(Progress("encode", 3, 9))
        elsewhere = client.get("/v1/library/now").json()["elsewhere"]
        assert elsewhere.pop("who").partition(", since")[0].endswith(": sync")
        assert elsewhere == {"stage": "encode", "done": 3, "total": 9}
    assert client.get("/v1/library/now").json() == before
    first = client.post("/v1/sync", json={"paths": [str(folder)]}).json()["id"]
    assert encoder.reached.wait(WAIT_S)
    second = client.post("/v1/sync", json={"paths": [str(album)]}).json()["id"]
    job = client.get("/v1/library/now").json()["job"]
    assert (job["id"], job["state"]) == (first, "running")  # not the one that waits
    assert client.get("/v1/library/now").json()["elsewhere"] is None
    encoder.permits.release(1000)
    assert end_of(client, second)["state"] == "done"
    after = client.get("/v1/library/now").json()
    assert after["job"] is None
    assert after["revision"] != before["revision"]
    assert (after["library"], after["version"]) == (before["library"], before["version"])

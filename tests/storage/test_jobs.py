"""Every storage: what is kept of a service's jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from zsindex.storage.protocol import Storage
from zsindex.storage.rows import JobRow


def test_jobs_come_newest_first_and_the_oldest_go(storage: Storage) -> None:
    for n in range(4):
        storage.jobs.save_job(f"job{n}", "sync", "queued", {"n": n}, keep=3)
    assert [(job.id, job.document) for job in storage.jobs.jobs(9)] == [
        ("job3", {"n": 3}), ("job2", {"n": 2}), ("job1", {"n": 1})
    ]  # fmt: skip
    assert [job.id for job in storage.jobs.jobs(1)] == ["job3"]
    assert storage.jobs.job("job0") is None


def test_a_job_that_goes_on_keeps_its_place_and_its_beginning(storage: Storage) -> None:
    for name in ("a", "b"):
        storage.jobs.save_job(name, "sync", "queued", {}, keep=2)
    before = storage.jobs.job("a")
    storage.jobs.save_job("a", "sync", "running", {"done": 1}, keep=2)
    after = storage.jobs.job("a")
    assert before is not None
    assert after == before._replace(state="running", document={"done": 1})
    assert [job.id for job in storage.jobs.jobs(2)] == ["b", "a"]


def test_jobs_of_some_states(storage: Storage) -> None:
    for n, state in enumerate(("queued", "done", "running", "done")):
        storage.jobs.save_job(f"job{n}", "sync", state, {"n": n}, keep=9)
    assert [job.id for job in storage.jobs.jobs(9, states=("done", "running"))] == ["job3", "job2", "job1"]
    assert [job.id for job in storage.jobs.jobs(1, states=("queued",))] == ["job0"]
    assert storage.jobs.jobs(9, states=()) == []


def test_a_job_is_changed_by_what_is_stored(storage: Storage, other: Storage) -> None:
    storage.jobs.save_job("a", "sync", "queued", {"n": 0}, keep=9)

    def count(row: JobRow) -> tuple[str, dict[str, int]]:
        return "running", {"n": row.document["n"] + 1}

    def often(handle: Storage) -> None:
        for _ in range(20):
            handle.jobs.change_job("a", count)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(often, (storage, other)))
    found = storage.jobs.job("a")
    assert found is not None
    assert (found.state, found.document) == ("running", {"n": 40})
    assert storage.jobs.change_job("a", lambda _: None) == found == storage.jobs.job("a")
    assert storage.jobs.change_job("b", count) is None

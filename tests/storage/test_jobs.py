"""Every storage: what is kept of a service's jobs."""

from __future__ import annotations

from zsindex.storage.protocol import Storage


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

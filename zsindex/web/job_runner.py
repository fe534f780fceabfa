"""Work that outlasts a request: syncs, one after another in a thread, remembered by the library.

A job that was at work or waiting when its process ended is "interrupted", and goes on when a service runs over the
library again: a sync begins where the last one was. Of several services over one library one runs the jobs.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from zsindex.errors import LibraryBusy, LibraryClosed, LibraryReadOnly, ZsindexError
from zsindex.library import Library
from zsindex.records import Progress
from zsindex.services.jobs import Jobs
from zsindex.storage.rows import now
from zsindex.web import logs
from zsindex.web.problems import Problem, busy, of_error

ENDED = frozenset({"done", "failed", "cancelled"})
# A job that brings the process down each time must not do so for ever.
MOST_ATTEMPTS = 3
MOST_SKIPS_KEPT = 1000
# How often progress is told to those who watch, and stored.
TELL_EVERY_S = 0.1
STORE_EVERY_S = 2.0
LOOK_AGAIN_S = 5.0


@dataclass(eq=False)
class SyncJob:
    """A sync that was asked for.

    Attributes:
        id: random.
        state: queued, running, waiting (another process syncs), done, failed, cancelled or interrupted.
        paths: what is synced; None for all folders that were synced before.
        history: (state, time) of each change.
        progress: stage, done and total.
        report: of a sync that ended; `problem` of one that failed.
        waiting_for: who syncs, where it waits for that.
        attempts: how often it was begun.
        version: grows with every change.
    """

    id: str
    state: str = "queued"
    paths: list[str] | None = None
    retry_skipped: bool = False
    history: list[dict[str, str]] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    waiting_for: str | None = None
    attempts: int = 0
    version: int = 0
    cancel: threading.Event = field(default_factory=threading.Event)

    def document(self) -> dict[str, Any]:
        """What clients see."""
        return {
            "id": self.id,
            "kind": "sync",
            "state": self.state,
            "paths": self.paths,
            "retry_skipped": self.retry_skipped,
            "history": list(self.history),
            "progress": self.progress,
            "report": self.report,
            "problem": self.problem,
            "waiting_for": self.waiting_for,
            "attempts": self.attempts,
        }


class JobRunner:
    """Runs jobs."""

    def __init__(self, library: Library, *, most_queued: int) -> None:
        self._library = library
        self._kept = Jobs(library.session)
        self._most_queued = most_queued
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[SyncJob] = deque()
        self._jobs: dict[str, SyncJob] = {}
        self._watchers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._is_ours = False

    def start(self) -> None:
        """Begin to run jobs, and go on with those that were interrupted. Nothing to do for a read-only library."""
        with self._lock:
            alive = self._thread is not None and self._thread.is_alive()
            if not alive and not self._stopping.is_set() and not self._library.read_only:
                self._thread = threading.Thread(target=self._run, name="zsindex jobs", daemon=True)
                self._thread.start()

    def stop(self, timeout_s: float = 60.0) -> None:
        """Stop after the batch in work; what is not done is interrupted, and goes on another time."""
        self.stop_soon()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def stop_soon(self) -> None:
        """Begin to stop, and end what watches."""
        self._stopping.set()
        self._tell()

    @property
    def counts(self) -> dict[str, int]:
        """How many jobs wait and run."""
        with self._lock:
            states = [job.state for job in self._jobs.values()]
            return {state: states.count(state) for state in ("queued", "running", "waiting")}

    # --- asking -------------------------------------------------------------------------------------------------------

    def submit(self, paths: list[str] | None, *, retry_skipped: bool) -> SyncJob:
        """Have a sync done.

        Raises:
            LibraryReadOnly
            Problem: too many wait; or another service runs the jobs of this library.
        """
        if self._library.read_only:
            raise LibraryReadOnly(self._library.path, "sync")
        self.start()
        with self._lock:
            # A thread that has just begun may not have found out whether the jobs are its own.
            self._changed.wait_for(lambda: self._is_ours, timeout=2.0)
            if not self._is_ours:
                retry = {"Retry-After": str(round(LOOK_AGAIN_S))}
                raise Problem("jobs-elsewhere", 503, "another service runs the jobs of this library", headers=retry)
            if len(self._queue) >= self._most_queued:
                raise busy("too many jobs are waiting")
            job = SyncJob(secrets.token_hex(8), paths=paths, retry_skipped=retry_skipped)
            self._jobs[job.id] = job
            self._set(job, "queued")
        self._store(job)
        with self._lock:
            if not job.cancel.is_set():
                self._queue.append(job)
            self._changed.notify_all()
        return job

    def documents(self) -> list[dict[str, Any]]:
        """All jobs that are remembered, newest first."""
        with self._lock:
            live = {job.id: job.document() for job in self._jobs.values()}
        return [live.get(row.id, row.document) for row in self._kept.list()]

    def document(self, job_id: str) -> dict[str, Any]:
        """A job.

        Raises:
            Problem: there is none of that id.
        """
        with self._lock:
            if job_id in self._jobs:
                return self._jobs[job_id].document()
        row = self._kept.get(job_id)
        if row is None:
            raise Problem("unknown-job", 404, "there is no such job")
        return row.document

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Stop a job after the batch in work; what it stored is kept. One that has ended stays as it is."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return self.document(job_id)
            job.cancel.set()
            if job.state in ("queued", "interrupted", "waiting"):
                with suppress(ValueError):
                    self._queue.remove(job)
                self._set(job, "cancelled")
            self._changed.notify_all()
        self._store(job)
        return self.document(job_id)

    async def watch(
        self, job_id: str, *, heartbeat_s: float = 15.0
    ) -> AsyncIterator[tuple[int, dict[str, Any]] | None]:
        """A job's version and document now and whenever it changes, until it has ended; None to show life."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._watchers.add(entry)
        try:
            seen = -1
            while True:
                entry[1].clear()
                with self._lock:
                    job = self._jobs.get(job_id)
                    version = 0 if job is None else job.version
                    document = {} if job is None else job.document()
                if job is None:
                    document = await asyncio.to_thread(self.document, job_id)
                if version != seen:
                    seen = version
                    yield version, document
                if job is None or document["state"] in ENDED or self._stopping.is_set():
                    return
                try:
                    async with asyncio.timeout(heartbeat_s):
                        await entry[1].wait()
                except TimeoutError:
                    yield None
        finally:
            with self._lock:
                self._watchers.discard(entry)

    # --- doing --------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        lock = self._library.session.storage.jobs_lock
        while not self._stopping.is_set():
            try:
                with lock.hold("run jobs"):
                    try:
                        self._go_on()
                        while (job := self._next()) is not None:
                            self._do(job)
                    finally:
                        # Also after an error: nothing that is submitted now would be run, until it is looked again.
                        self._interrupt()
            except LibraryBusy:
                self._stopping.wait(LOOK_AGAIN_S)
            except LibraryClosed:
                return  # nobody can give it any more to do
            except Exception as error:  # noqa: BLE001  whatever it is, it must be seen, and reading goes on
                logs.event("jobs stopped", level=40, error=error)
                self._stopping.wait(LOOK_AGAIN_S)

    def _go_on(self) -> None:
        """Take over what was not done when the last process ended, or this one had to let go of it."""
        with self._lock:
            # Their records may be lacking, where these could not be stored.
            self._queue.extend(job for job in self._jobs.values() if job.state not in ENDED and job not in self._queue)
        rows = [row for row in self._kept.list() if row.state not in ENDED]
        for row in reversed(rows):
            known = row.document
            job = SyncJob(
                row.id,
                row.state,
                known["paths"],
                known["retry_skipped"],
                known["history"],
                known["progress"],
                attempts=known["attempts"],
            )
            with self._lock:
                job = self._jobs.setdefault(row.id, job)
                if job.state not in (*ENDED, "interrupted"):
                    self._set(job, "interrupted")
                if job.state in ENDED:
                    pass  # only its record lacked that
                elif job.attempts >= MOST_ATTEMPTS:
                    with suppress(ValueError):
                        self._queue.remove(job)
                    detail = f"it was interrupted {job.attempts} times; start another one to continue"
                    job.problem = Problem("interrupted", 500, detail).document()
                    self._set(job, "failed")
                elif job not in self._queue:
                    self._queue.append(job)
            self._store(job)
        with self._lock:
            self._is_ours = True
            self._changed.notify_all()

    def _next(self) -> SyncJob | None:
        with self._lock:
            self._changed.wait_for(lambda: self._queue or self._stopping.is_set())
            return None if self._stopping.is_set() else self._queue.popleft()

    def _interrupt(self) -> None:
        with self._lock:
            self._is_ours = False
            self._queue.clear()
            left = [job for job in self._jobs.values() if job.state not in (*ENDED, "interrupted")]
            for job in left:
                self._set(job, "interrupted")
        for job in left:
            self._store(job)

    def _do(self, job: SyncJob) -> None:
        while self._try(job):
            with self._lock:
                self._changed.wait_for(lambda: job.cancel.is_set() or self._stopping.is_set(), timeout=LOOK_AGAIN_S)
                if self._stopping.is_set():
                    return  # it goes on another time

    def _try(self, job: SyncJob) -> bool:
        """Run a job, unless it was cancelled; whether it has to be tried again, because another process syncs."""
        with self._lock:
            if job.cancel.is_set():
                return False
            job.attempts += 1
            if job.state != "waiting":
                self._set(job, "running")
        self._store(job)
        told = stored = 0.0

        def progress(step: Progress) -> None:
            nonlocal told, stored
            job.progress = {"stage": step.stage, "done": step.done, "total": step.total}
            with self._lock:
                if job.state == "waiting":
                    self._set(job, "running")
            moment = time.monotonic()
            if moment - stored >= STORE_EVERY_S:
                stored = moment
                self._store(job)
            if moment - told >= TELL_EVERY_S or step.done == step.total:
                told = moment
                self._tell(job)

        try:
            report = self._library.sync(
                job.paths,
                retry_skipped=job.retry_skipped,
                progress=progress,
                should_stop=lambda: job.cancel.is_set() or self._stopping.is_set(),
            )
        except LibraryBusy as busy_with:
            with self._lock:
                job.attempts -= 1  # it was not begun
                again = not job.cancel.is_set()
                job.waiting_for = busy_with.holder if again else None
                if job.state == "waiting":
                    self._tell(job)
                else:
                    self._end(job, "waiting" if again else "cancelled")
            self._store(job)
            return again
        except ZsindexError as error:
            job.problem = of_error(error).document()
            self._end(job, "failed")
        except Exception as error:  # noqa: BLE001  one job's bug must not end all others
            logs.event("job failed", level=40, error=error, job=job.id)
            job.problem = Problem("failure", 500, "something went wrong; the log says what").document()
            self._end(job, "failed")
        else:
            job.report = report.to_dict()
            skips = job.report["skips"]
            job.report["skips"] = skips[:MOST_SKIPS_KEPT]
            # One that had come to its end when it was told to stop is done.
            stopped = "cancelled" if job.cancel.is_set() else "interrupted"
            self._end(job, stopped if report.interrupted else "done")
        self._store(job)
        return False

    def _end(self, job: SyncJob, state: str) -> None:
        """Set the state that an attempt leads to, unless the job was cancelled as it waited."""
        if job.state not in ENDED:
            self._set(job, state)

    def _set(self, job: SyncJob, state: str) -> None:
        with self._lock:
            job.state = state
            if state != "waiting":
                job.waiting_for = None
            job.history.append({"state": state, "at": now()})
            # An attempt that stored something was not in vain.
            step = job.progress or {}
            if state == "interrupted" and step.get("stage") == "encode" and step.get("done"):
                job.attempts = 0
            self._tell(job)
            if state in ENDED:
                self._forget_old()
        logs.event("job", job=job.id, state=state)

    def _store(self, job: SyncJob) -> None:
        try:
            self._kept.save(job.id, "sync", job.state, job.document())
        except ZsindexError as error:  # a full disk, or another writer: the job itself matters more
            logs.event("job not stored", level=30, job=job.id, problem=of_error(error).slug)
        except Exception as error:  # noqa: BLE001  for the same reason
            logs.event("job not stored", level=40, error=error, job=job.id)

    def _forget_old(self) -> None:
        ended = [job_id for job_id, job in self._jobs.items() if job.state in ENDED]
        for job_id in ended[:-20]:
            del self._jobs[job_id]

    def _tell(self, job: SyncJob | None = None) -> None:
        with self._lock:
            if job is not None:
                job.version += 1
            self._changed.notify_all()
            for loop, event in list(self._watchers):
                with suppress(RuntimeError):  # its loop is closed
                    loop.call_soon_threadsafe(event.set)

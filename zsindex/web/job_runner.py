"""Work that outlasts a request: syncs and maps, one after another in a thread, remembered by the library.

What is stored of a job is what all services over a library know of it. One of them runs the jobs, whichever of them
was asked for: it holds a lock that goes with its process, or with its connection to the library's server. A job that
was at work then is "interrupted", and another service, or the same one when it is started again, goes on with it: a
sync begins where the last one was, a map anew. Services look at what is stored once a second, which costs a server
less than telling them, and needs no connection that is always there.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from zsindex.errors import LibraryBusy, LibraryClosed, LibraryReadOnly, LibraryUnreachable, Stopped, ZsindexError
from zsindex.library import Library
from zsindex.records import Progress
from zsindex.services.jobs import Jobs
from zsindex.storage.rows import JobRow, now
from zsindex.web import logs
from zsindex.web.giving_way import GivesWay
from zsindex.web.problems import Problem, busy, of_error

ENDED = frozenset({"done", "failed", "cancelled"})
# Those that somebody is at work on.
BEGUN = frozenset({"running", "waiting"})
# Those that wait for their turn.
DUE = frozenset({"queued", "interrupted"})
# A job that brings the process down each time must not do so for ever.
MOST_ATTEMPTS = 3
MOST_SKIPS_KEPT = 1000
# How often progress is told to those who watch here, and stored for those who watch elsewhere.
TELL_EVERY_S = 0.1
STORE_EVERY_S = 1.0
# How often it is looked at what other services have stored.
LOOK_EVERY_S = 1.0
# After which one that cannot run jobs, or a job, tries again.
LOOK_AGAIN_S = 5.0
HEARTBEAT_S = 15.0


@dataclass(eq=False)
class Job:
    """Work that was asked for.

    Attributes:
        id: random.
        kind: ``sync``, or ``map``: the map is laid out anew.
        state: queued, running, waiting (another process syncs), done, failed, cancelled or interrupted.
        paths: what is synced; None for all folders that were synced before, and of a map.
        history: (state, time) of each change.
        progress: stage, done and total.
        report: of one that ended; `problem` of one that failed.
        waiting_for: who syncs, where it waits for that.
        attempts: how often it was begun.
        cancelling: somebody wants it to stop.
        runner: who is at work on it, or was.
    """

    id: str
    kind: str
    state: str = "queued"
    paths: list[str] | None = None
    retry_skipped: bool = False
    history: list[dict[str, str]] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    waiting_for: str | None = None
    attempts: int = 0
    cancelling: bool = False
    runner: str | None = None

    @classmethod
    def of(cls, row: JobRow) -> Job:
        """As it was stored."""
        known = row.document
        return cls(
            row.id,
            known["kind"],
            row.state,
            known["paths"],
            known["retry_skipped"],
            known["history"],
            known["progress"],
            known["report"],
            known["problem"],
            known["waiting_for"],
            known["attempts"],
            known.get("cancelling", False),
            known.get("runner"),
        )

    def document(self) -> dict[str, Any]:
        """What is stored, and clients see."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "paths": self.paths,
            "retry_skipped": self.retry_skipped,
            "history": list(self.history),
            "progress": self.progress,
            "report": self.report,
            "problem": self.problem,
            "waiting_for": self.waiting_for,
            "attempts": self.attempts,
            "cancelling": self.cancelling,
            "runner": self.runner,
        }

    def enter(self, state: str) -> tuple[str, dict[str, Any]]:
        """Change its state; returns what is to be stored."""
        self.state = state
        if state != "waiting":
            self.waiting_for = None
        self.history.append({"state": state, "at": now()})
        # An attempt that stored something was not in vain.
        step = self.progress or {}
        if state == "interrupted" and step.get("stage") == "encode" and step.get("done"):
            self.attempts = 0
        logs.event("job", job=self.id, state=state)
        return state, self.document()


class _Lost(Exception):
    """The jobs are another service's by now, or may be."""


class JobRunner:
    """Runs jobs, and tells of those that others run."""

    def __init__(
        self,
        library: Library,
        *,
        most_queued: int,
        runs_jobs: bool = True,
        quiet_for_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """Args:
        runs_jobs: False leaves that to other services.
        quiet_for_s: for how long no question has been at work, to which jobs give way.
        """
        self._library = library
        self._kept = Jobs(library.session)
        self._most_queued = most_queued
        self._runs_jobs = runs_jobs and not library.read_only
        self._changed = threading.Condition(threading.RLock())
        self._current: Job | None = None
        self._watchers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._stop_current = threading.Event()
        self._gives_way = GivesWay(quiet_for_s)
        self._is_new = False
        self._is_ours = False
        # Its name, another one each time that the jobs become its own.
        self._name = ""

    def start(self) -> None:
        """Begin to run jobs, and go on with those that were interrupted, unless another service does."""
        with self._changed:
            alive = self._thread is not None and self._thread.is_alive()
            if self._runs_jobs and not alive and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="zsindex jobs", daemon=True)
                self._thread.start()

    def stop(self, timeout_s: float = 60.0) -> None:
        """Stop after the batch in work; what is not done is interrupted, and goes on another time, or elsewhere."""
        self.stop_soon()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def stop_soon(self) -> None:
        """Begin to stop, and end what watches."""
        self._stopping.set()
        self._stop_current.set()
        self._tell()

    @property
    def counts(self) -> dict[str, int]:
        """How many jobs of the library wait and run, whichever service runs them."""
        counted = ("queued", "running", "waiting")
        states = [row.state for row in self._kept.list(states=counted)]
        return {state: states.count(state) for state in counted}

    # --- asking -------------------------------------------------------------------------------------------------------

    def submit(self, paths: list[str] | None, *, retry_skipped: bool) -> dict[str, Any]:
        """Have a sync done, by whichever service runs the jobs; returns what is stored of it.

        Raises:
            LibraryReadOnly, LibraryBusy, LibraryUnreachable, StorageFull
            Problem: too many wait.
        """
        return self._queue(Job(secrets.token_hex(8), "sync", paths=paths, retry_skipped=retry_skipped))

    def lay_out(self) -> dict[str, Any]:
        """Have the map laid out anew; see `submit`."""
        return self._queue(Job(secrets.token_hex(8), "map"))

    def _queue(self, job: Job) -> dict[str, Any]:
        if self._library.read_only:
            raise LibraryReadOnly(self._library.place, job.kind)
        if len(self._kept.list(states=DUE)) >= self._most_queued:
            raise busy("too many jobs are waiting")
        self._kept.save(job.id, job.kind, *job.enter("queued"))
        self.start()
        self._look_now()
        return self.document(job.id)

    def documents(self) -> list[dict[str, Any]]:
        """All jobs that are remembered, newest first."""
        return [self._live(row.id) or _shown(row.document) for row in self._kept.list()]

    def current(self) -> dict[str, Any] | None:
        """The job that is at work, whichever service is at it, or the next one; None where there is nothing to do."""
        rows = self._kept.list(states=BEGUN | DUE)
        row = next((row for row in rows if row.state in BEGUN), rows[-1] if rows else None)
        found = None if row is None else self._live(row.id) or _shown(row.document)
        return None if found is None or found["state"] in ENDED else found  # it has just ended, and is being stored

    def document(self, job_id: str) -> dict[str, Any]:
        """A job.

        Raises:
            Problem: there is none of that id.
        """
        live = self._live(job_id)
        if live is not None:
            return live
        row = self._kept.get(job_id)
        if row is None:
            raise Problem("unknown-job", 404, "there is no such job")
        return _shown(row.document)

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Stop a job after the batch in work, whichever service is at it; what it stored is kept. One that has ended
        stays as it is.
        """

        def change(row: JobRow) -> tuple[str, dict[str, Any]] | None:
            job = Job.of(row)
            if job.state in ENDED:
                return None
            job.cancelling = True
            return (job.state, job.document()) if job.state == "running" else job.enter("cancelled")

        row = self._kept.change(job_id, change)
        with self._changed:
            if row is not None and self._current is not None and self._current.id == job_id:
                self._heed(self._current, row)
        self._look_now()
        return self.document(job_id)

    async def watch(self, job_id: str) -> AsyncIterator[dict[str, Any] | None]:
        """What is known of a job now and whenever it changes, until it has ended; None to show life."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._changed:
            self._watchers.add(entry)
        try:
            seen, told_at = None, time.monotonic()
            while True:
                entry[1].clear()
                document = self._live(job_id)
                is_here = document is not None
                if document is None:
                    try:
                        document = await asyncio.to_thread(self.document, job_id)
                    except Problem:
                        return  # it is forgotten
                    except ZsindexError:
                        pass  # while the library cannot be read nothing is new
                if document not in (None, seen):
                    seen, told_at = document, time.monotonic()
                    yield document
                if self._stopping.is_set() or (document is not None and document["state"] in ENDED):
                    return
                if time.monotonic() - told_at >= HEARTBEAT_S:
                    told_at = time.monotonic()
                    yield None
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_S if is_here else LOOK_EVERY_S):
                        await entry[1].wait()
        finally:
            with self._changed:
                self._watchers.discard(entry)

    def _live(self, job_id: str) -> dict[str, Any] | None:
        """What is known of the job that is at work here, which may be more than what is stored."""
        with self._changed:
            current = self._current
            return _shown(current.document()) if current is not None and current.id == job_id else None

    # --- doing --------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        lock = self._library.session.storage.jobs_lock
        while not self._stopping.is_set():
            try:
                with lock.hold("run jobs"):
                    try:
                        self._take_over()
                        while (job := self._next()) is not None:
                            self._do(job)
                    finally:
                        # Also after an error: another service, or this one, goes on with them when it looks again.
                        self._let_go()
            except LibraryBusy:
                self._stopping.wait(LOOK_AGAIN_S)
            except LibraryClosed:
                return  # nobody can give it any more to do
            except (LibraryUnreachable, _Lost) as error:
                logs.event("jobs let go of", level=30, why=type(error).__name__)
                self._stopping.wait(LOOK_EVERY_S)
            except Exception as error:  # noqa: BLE001  whatever it is, it must be seen, and reading goes on
                logs.event("jobs stopped", level=40, error=error)
                self._stopping.wait(LOOK_AGAIN_S)

    def _take_over(self) -> None:
        """Begin to run jobs. Those that were at work are interrupted: whoever was at them has ended, or let go."""
        self._name = secrets.token_hex(4)
        for row in self._kept.list(states=BEGUN | DUE):
            self._kept.change(row.id, self._taken_over)
        with self._changed:
            self._is_ours = True

    def _taken_over(self, row: JobRow) -> tuple[str, dict[str, Any]] | None:
        job = Job.of(row)
        if job.state in BEGUN:
            stored = job.enter("interrupted")
        elif job.state in DUE:
            stored = None
        else:
            return None
        if job.attempts < MOST_ATTEMPTS:
            return stored
        detail = f"it was interrupted {job.attempts} times; start another one to continue"
        job.problem = Problem("interrupted", 500, detail).document()
        return job.enter("failed")

    def _let_go(self) -> None:
        """End running jobs. What is not done is interrupted, unless that is another service's to say by now."""
        with self._changed:
            was_ours, self._is_ours = self._is_ours, False
            self._current = None
        if not was_ours or not self._holds():
            return
        due = BEGUN | DUE if self._stopping.is_set() else BEGUN

        def change(row: JobRow) -> tuple[str, dict[str, Any]] | None:
            job = Job.of(row)
            return job.enter("interrupted") if job.state in due and job.state != "interrupted" else None

        with suppress(ZsindexError):  # whoever takes over says so, too
            for row in self._kept.list(states=due):
                self._kept.change(row.id, change)
        self._tell()

    def _holds(self) -> bool:
        return self._library.session.storage.jobs_lock.is_held()

    def _look_now(self) -> None:
        with self._changed:
            self._is_new = True
            self._changed.notify_all()
        self._tell()

    def _next(self) -> Job | None:
        """The job that waits longest; None when it is time to stop."""
        while not self._stopping.is_set():
            self._is_new = False
            if not self._holds():
                raise _Lost
            if due := self._kept.list(states=DUE):
                return Job.of(due[-1])
            with self._changed:
                self._changed.wait_for(lambda: self._is_new or self._stopping.is_set(), timeout=LOOK_EVERY_S)
        return None

    def _do(self, job: Job) -> None:
        job.runner = self._name
        self._stop_current.clear()
        ended = threading.Event()
        looking = threading.Thread(target=self._look_after, args=(job, ended), name="zsindex job", daemon=True)
        if not self._begin(job):
            return
        with self._changed:
            self._current = job
        looking.start()
        try:
            while self._try(job):
                with self._changed:
                    self._changed.wait_for(self._stop_current.is_set, timeout=LOOK_AGAIN_S)
                if self._stopping.is_set():
                    return  # it goes on another time
                if job.state in ENDED:
                    break
            self._keep(job)
        finally:
            ended.set()
            looking.join()
            with self._changed:
                self._current = None
            self._tell()

    def _begin(self, job: Job) -> bool:
        """Say that a job is at work, unless it was cancelled meanwhile."""

        def change(row: JobRow) -> tuple[str, dict[str, Any]] | None:
            if row.state not in DUE:
                return None
            job.attempts += 1
            return job.enter("running")

        row = self._kept.change(job.id, change)
        return row is not None and row.state == "running" and row.document["runner"] == self._name

    def _look_after(self, job: Job, ended: threading.Event) -> None:
        """While a job is at work: see whether it is still this service's, and whether somebody cancels it."""
        while not ended.wait(LOOK_EVERY_S):
            try:
                row = self._kept.get(job.id)
                if not self._holds():
                    self._stop_current.set()
                elif row is not None:
                    self._heed(job, row)
            except ZsindexError:  # the library cannot be read: the sync finds that out
                continue

    def _heed(self, job: Job, row: JobRow) -> None:
        """Do what others have stored of the job that is at work here."""
        known = row.document
        with self._changed:
            if known.get("runner") != self._name:
                self._stop_current.set()
                return
            if known.get("cancelling"):
                job.cancelling = True
            if row.state in ENDED and job.state not in ENDED:  # cancelled as it waited
                job.state, job.history, job.waiting_for = row.state, known["history"], None
                self._tell()
            if job.cancelling:
                self._stop_current.set()
                self._changed.notify_all()

    def _try(self, job: Job) -> bool:
        """Run a job; whether it has to be tried again, because another process syncs."""
        told = stored = 0.0

        def progress(step: Progress) -> None:
            nonlocal told, stored
            job.progress = {"stage": step.stage, "done": step.done, "total": step.total}
            if job.state == "waiting":
                self._set(job, "running")
            moment = time.monotonic()
            if moment - stored >= STORE_EVERY_S:
                stored = moment
                self._store(job)
            if moment - told >= TELL_EVERY_S or step.done == step.total:
                told = moment
                self._tell()

        self._gives_way.begin()
        try:
            report, is_whole = self._work(job, progress)
        except LibraryBusy as busy_with:
            again = not job.cancelling
            job.waiting_for = busy_with.holder if again else None
            if job.state == "running":
                job.attempts -= 1  # it was not begun
            if job.state != "waiting" or not again:
                self._set(job, "waiting" if again else "cancelled")
            self._store(job)
            self._tell()
            return again
        except LibraryUnreachable:
            raise  # it goes on when the library can be reached
        except ZsindexError as error:
            job.problem = of_error(error).document()
            self._set(job, "failed")
        except Exception as error:  # noqa: BLE001  one job's bug must not end all others
            logs.event("job failed", level=40, error=error, job=job.id)
            job.problem = Problem("failure", 500, "something went wrong; the log says what").document()
            self._set(job, "failed")
        else:
            if not is_whole and not job.cancelling and not self._stopping.is_set():
                raise _Lost
            job.report = report
            # One that had come to its end when it was told to stop is done.
            stopped = "cancelled" if job.cancelling else "interrupted"
            self._set(job, "done" if is_whole else stopped)
        return False

    def _rests(self) -> bool:
        """Between two pieces of work: give way to questions. Whether the job is to stop."""
        self._gives_way.rest(self._is_to_stop)
        return self._is_to_stop()

    def _is_to_stop(self) -> bool:
        return self._stop_current.is_set() or self._stopping.is_set()

    def _work(self, job: Job, progress: Callable[[Progress], None]) -> tuple[dict[str, Any] | None, bool]:
        """Do what a job is about; what came of it, and whether it came to its end."""
        if job.kind == "map":
            begun = time.monotonic()
            try:
                made = self._library.map.build(progress=progress, should_stop=self._rests)
            except Stopped:
                return None, False
            return {"photos": len(made), "laid_out": made.laid_out, "seconds": time.monotonic() - begun}, True
        report = self._library.sync(
            job.paths, retry_skipped=job.retry_skipped, progress=progress, should_stop=self._rests
        )
        told = report.to_dict()
        told["skips"] = told["skips"][:MOST_SKIPS_KEPT]
        return told, not report.interrupted

    def _set(self, job: Job, state: str) -> None:
        """Change the state of the job that is at work here, unless it was cancelled as it waited."""
        with self._changed:
            if job.state not in ENDED:
                if state == "running" and job.state == "waiting":
                    job.attempts += 1
                job.enter(state)
        self._tell()

    def _keep(self, job: Job) -> None:
        """Store a job that is at its end, for as long as it takes: until then it is still at work to all others."""
        while not self._store(job) and not self._stopping.wait(LOOK_AGAIN_S) and self._holds():
            pass

    def _store(self, job: Job) -> bool:
        """Store how far the job is that is at work here; whether that was possible."""

        def change(row: JobRow) -> tuple[str, dict[str, Any]] | None:
            self._heed(job, row)
            return (job.state, job.document()) if row.document.get("runner") == self._name else None

        try:
            self._kept.change(job.id, change)
        except ZsindexError as error:  # a full disk, or another writer: the job itself matters more
            logs.event("job not stored", level=30, job=job.id, problem=of_error(error).slug)
        except Exception as error:  # noqa: BLE001  for the same reason
            logs.event("job not stored", level=40, error=error, job=job.id)
        else:
            return True
        return False

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
            for loop, event in list(self._watchers):
                with suppress(RuntimeError):  # its loop is closed
                    loop.call_soon_threadsafe(event.set)


def _shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """What clients see of a job."""
    return {name: value for name, value in document.items() if name not in ("cancelling", "runner")}

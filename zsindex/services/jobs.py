"""The jobs of a service, as the library stores them. Not part of the public API."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Mapping
from typing import Any

from zsindex.session.session import Session
from zsindex.storage.rows import MOST_JOBS, JobRow


class Jobs:
    """Jobs that outlive the process that runs them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self, limit: int = MOST_JOBS, *, states: Collection[str] | None = None) -> builtins.list[JobRow]:
        """The newest jobs of services over this library, newest first; only those in some states, or all."""
        return self._session.storage.jobs.jobs(limit, states=states)

    def get(self, job_id: str) -> JobRow | None:
        """A job by its id; None if there is none."""
        return self._session.storage.jobs.job(job_id)

    def save(self, job_id: str, kind: str, state: str, document: Mapping[str, Any]) -> None:
        """Save a job, replacing what was saved of it before.

        Raises:
            LibraryReadOnly
        """
        self._session.storage.jobs.save_job(job_id, kind, state, document, keep=MOST_JOBS)

    def change(self, job_id: str, change: Callable[[JobRow], tuple[str, Mapping[str, Any]] | None]) -> JobRow | None:
        """Change a job by what is stored of it; see `zsindex.storage.protocol.JobStorage.change_job`.

        Raises:
            LibraryReadOnly
        """
        return self._session.storage.jobs.change_job(job_id, change)

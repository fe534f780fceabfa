"""Jobs of a service, as the library keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zsindex.facade.core import Core

if TYPE_CHECKING:
    from zsindex.storage.rows import JobRow

# How many are remembered.
MOST_JOBS = 200


class Jobs(Core):
    """Keeping jobs."""

    def jobs(self, limit: int = MOST_JOBS) -> list[JobRow]:
        """The newest jobs of services that ran over this library, newest first."""
        return self._jobs.jobs(limit)

    def job(self, job_id: str) -> JobRow | None:
        """A job by its id; None if there is none."""
        return self._jobs.job(job_id)

    def save_job(self, job_id: str, kind: str, state: str, document: Mapping[str, Any]) -> None:
        """Remember a job, in place of what was remembered of it before.

        Raises:
            LibraryReadOnly
        """
        self._jobs.save_job(job_id, kind, state, document, keep=MOST_JOBS)

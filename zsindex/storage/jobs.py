"""What a library keeps of the jobs of a service. `zsindex.storage.protocol.JobStorage` in SQL that is no database's
own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import delete, insert, select, update

from zsindex.storage.database import Database
from zsindex.storage.rows import JobRow, now
from zsindex.storage.tables import jobs


class SqlJobs:
    """`zsindex.storage.protocol.JobStorage` over an open database."""

    def __init__(self, database: Database) -> None:
        self._newest_first = database.dialect.arrival(jobs).desc()
        self._read = database.read
        self._write = database.write

    def jobs(self, limit: int, *, states: Collection[str] | None = None) -> list[JobRow]:
        """The newest jobs, newest first; only those in some states, or all."""
        query = select(jobs).order_by(self._newest_first).limit(limit)
        if states is not None:
            query = query.where(jobs.c.state.in_(states))
        with self._read() as connection:
            return [_job(row) for row in connection.execute(query)]

    def job(self, job_id: str) -> JobRow | None:
        """A job by its id; None if there is none."""
        with self._read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
        return None if row is None else _job(row)

    def save_job(self, job_id: str, kind: str, state: str, document: Mapping[str, Any], *, keep: int) -> None:
        """Store a job, in place of what was stored of it before. Of more than `keep` the oldest go."""
        body = json.dumps(document, ensure_ascii=False)
        with self._write("keep a job") as connection:
            known = connection.execute(update(jobs).where(jobs.c.id == job_id).values(state=state, document=body))
            if not known.rowcount:
                connection.execute(
                    insert(jobs).values(id=job_id, kind=kind, state=state, document=body, created_at=now())
                )
                newest = select(jobs.c.id).order_by(self._newest_first).limit(keep)
                connection.execute(delete(jobs).where(jobs.c.id.not_in(newest)))

    def change_job(
        self, job_id: str, change: Callable[[JobRow], tuple[str, Mapping[str, Any]] | None]
    ) -> JobRow | None:
        """Change a job by what is stored of it, which nobody else changes meanwhile."""
        with self._write("keep a job") as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
            if row is None:
                return None
            found = _job(row)
            changed = change(found)
            if changed is None:
                return found
            state, document = changed
            body = json.dumps(document, ensure_ascii=False)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(state=state, document=body))
        return found._replace(state=state, document=json.loads(body))


def _job(row: sa.Row[Any]) -> JobRow:
    return JobRow(row.id, row.kind, row.state, json.loads(row.document), row.created_at)

"""Photos, models and the index on a server: `zsindex.storage.photos`, but for what each machine records of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from zsindex.errors import StorageFailed
from zsindex.storage.claims import Claims
from zsindex.storage.photos import SqlPhotos
from zsindex.storage.postgres.claims import ServerClaims
from zsindex.storage.postgres.database import PostgresDatabase
from zsindex.storage.postgres.failures import patiently
from zsindex.storage.postgres.reads import snapshot_of
from zsindex.storage.rows import FileOutcome, SnapshotRow, now


class PostgresPhotos(SqlPhotos):
    """`zsindex.storage.protocol.PhotoStorage` over an open database."""

    def __init__(self, database: PostgresDatabase) -> None:
        super().__init__(database)
        self._database = database
        self._folder = database.folder

    @contextmanager
    def claims(self, model_id: int, *, shared: bool = False) -> Iterator[Claims]:
        """Claims of images to be encoded under a model, against all who sync into the library, from wherever."""
        claims = ServerClaims(self._database, model_id)
        try:
            yield claims
        finally:
            claims.close()

    def save(
        self, outcomes: Sequence[FileOutcome], model_id: int | None, *, since: str = "", receipt: str = ""
    ) -> Counter[str]:
        """See `SqlPhotos.save`. A server that is being started anew is waited for: what was encoded took longer."""
        return patiently(lambda: super(PostgresPhotos, self).save(outcomes, model_id, since=since, receipt=receipt))

    def mark_missing(self, folder: str, names: Collection[str] | None = None) -> int:
        """See `SqlPhotos.mark_missing` and `save`."""
        return patiently(lambda: super(PostgresPhotos, self).mark_missing(folder, names))

    def save_snapshot(self, model_id: int, snapshot: SnapshotRow) -> SnapshotRow | None:
        """Record a model's snapshot on this machine; returns the one that it replaces."""
        cache = self._database.cache
        if cache is None:
            raise StorageFailed(self._database.place, "record the index", f"{self._folder} cannot be written")
        values = {"model_id": model_id, "cache": cache, "created_at": now(), **asdict(snapshot)}
        with self._database.writing("record the index") as link:
            replaced = snapshot_of(link, model_id, cache)
            link.execute("DELETE FROM snapshots WHERE model_id = %s AND cache = %s", (model_id, cache))
            link.execute(
                f"INSERT INTO snapshots ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
                list(values.values()),
            )
        return replaced

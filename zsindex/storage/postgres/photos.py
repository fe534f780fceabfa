"""Photos, models and the index on a server: `zsindex.storage.photos`, but for what each machine records of its own."""

from __future__ import annotations

from zsindex.errors import ModelPruned
from zsindex.storage.photos import SqlPhotos
from zsindex.storage.postgres.database import PostgresDatabase
from zsindex.storage.postgres.derived import LocalSnapshots
from zsindex.storage.postgres.reads import has_model
from zsindex.storage.rows import SnapshotRow


class PostgresPhotos(SqlPhotos):
    """`zsindex.storage.protocol.PhotoStorage` over an open database."""

    def __init__(self, database: PostgresDatabase) -> None:
        super().__init__(database)
        self._database = database
        self._snapshots = LocalSnapshots(database.folder)

    def save_snapshot(self, model_id: int, snapshot: SnapshotRow) -> SnapshotRow | None:
        """Record a model's snapshot; returns the one that it replaces."""
        self._database.require_writable("record the index")
        with self._database.reading() as link:
            if not has_model(link, model_id):
                raise ModelPruned(self._database.place)
        return self._snapshots.put(model_id, snapshot)

    def mark_verified(self, file: str, verified: str) -> None:
        """Remember what an index file looked like when its checksum was found to be right."""
        self._database.require_writable("record that the index was verified")
        self._snapshots.mark_verified(file, verified)

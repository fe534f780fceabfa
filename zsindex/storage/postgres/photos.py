"""Photos, models and the index on a server: `zsindex.storage.photos`, but for what each machine records of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

from zsindex.errors import StorageFailed
from zsindex.records import ModelInfo
from zsindex.storage.claims import Claims
from zsindex.storage.failures import told
from zsindex.storage.patience import patiently
from zsindex.storage.photos import SqlPhotos
from zsindex.storage.postgres import derived
from zsindex.storage.postgres.claims import ServerClaims
from zsindex.storage.postgres.database import PostgresDatabase
from zsindex.storage.postgres.derived import Kept
from zsindex.storage.postgres.reads import history_of, snapshot_of
from zsindex.storage.rows import FileOutcome, KnownFile, ModelRow, SnapshotRow, now


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
            with self._database.holding(claims):
                yield claims
        finally:
            claims.close()

    # A sync waits for a server that is being started anew: what it has read and encoded took longer. What it asks and
    # stores may be asked and stored again.

    def save(
        self, outcomes: Sequence[FileOutcome], model_id: int | None, *, since: str = "", receipt: str = ""
    ) -> Counter[str]:
        """See `SqlPhotos.save`."""
        return patiently(lambda: super(PostgresPhotos, self).save(outcomes, model_id, since=since, receipt=receipt))

    def mark_missing(self, folder: str, names: Collection[str] | None = None) -> int:
        """See `SqlPhotos.mark_missing`."""
        return patiently(lambda: super(PostgresPhotos, self).mark_missing(folder, names))

    def add_model(self, info: ModelInfo, *, make_default: bool) -> ModelRow:
        """See `SqlPhotos.add_model`."""
        return self._database.patiently(lambda: super(PostgresPhotos, self).add_model(info, make_default=make_default))

    def add_roots(self, paths: Iterable[str]) -> None:
        """See `SqlPhotos.add_roots`. What can be gone through but once is stored but once."""
        if isinstance(paths, Collection):
            self._database.patiently(lambda: super(PostgresPhotos, self).add_roots(paths))
        else:
            super().add_roots(paths)

    def known_files(self, folder: str, model_id: int | None) -> dict[str, KnownFile]:
        """See `SqlPhotos.known_files`."""
        return self._database.patiently(lambda: super(PostgresPhotos, self).known_files(folder, model_id))

    def every_image_has_vector(self, model_id: int) -> bool:
        """See `SqlPhotos.every_image_has_vector`."""
        return self._database.patiently(lambda: super(PostgresPhotos, self).every_image_has_vector(model_id))

    def last_seen(
        self, folder_paths: Sequence[str], model_id: int | None, *, all_have_vectors: bool = False
    ) -> dict[str, str]:
        """See `SqlPhotos.last_seen`."""
        return self._database.patiently(
            lambda: super(PostgresPhotos, self).last_seen(folder_paths, model_id, all_have_vectors=all_have_vectors)
        )

    def folders_under(self, path: str) -> list[str]:
        """See `SqlPhotos.folders_under`."""
        return self._database.patiently(lambda: super(PostgresPhotos, self).folders_under(path))

    def seal_folders(self) -> None:
        """See `SqlPhotos.seal_folders`. Its callers hold no lock any more, and have stored what took long."""
        patiently(super().seal_folders)

    def make_room(self, *, prompt_days: int | None = None, upload_bytes: int) -> dict[str, int]:
        """See `SqlPhotos.make_room`."""
        return self._database.patiently(
            lambda: super(PostgresPhotos, self).make_room(prompt_days=prompt_days, upload_bytes=upload_bytes)
        )

    def save_snapshot(self, model_id: int, snapshot: SnapshotRow) -> SnapshotRow | None:
        """Record a model's snapshot on this machine; returns the one that it replaces."""
        if not self._database.writable:
            return self._keep(model_id, snapshot)
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

    def _keep(self, model_id: int, snapshot: SnapshotRow) -> SnapshotRow | None:
        """Record it beside the file, as who may only read."""
        replaced = derived.kept(self._folder, model_id)
        with self._database.reading() as link:
            history = history_of(link, model_id, snapshot.watermark)
        with told(self._folder, "record the index"):
            derived.keep(self._folder, model_id, Kept(snapshot, history))
        return None if replaced is None else replaced.snapshot

    def mark_verified(self, file: str, verified: str) -> None:
        """See `SqlPhotos.mark_verified`."""
        if self._database.writable:
            super().mark_verified(file, verified)
            return
        for model_id, (snapshot, history) in derived.all_kept(self._folder):
            if snapshot.file == file:
                with told(self._folder, "record that the index was verified"):
                    derived.keep(self._folder, model_id, Kept(replace(snapshot, verified=verified), history))

"""What is recorded of the index files on this machine: beside them, not in the database, where each machine would
overwrite what another one has recorded of its own.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from zsindex import atomic
from zsindex.storage.failures import failure
from zsindex.storage.rows import SnapshotRow

FILE_NAME = "snapshots.json"

# Of one process; of two that record at once the last one wins, and the file of the other is one that nobody knows.
_guard = threading.Lock()


class LocalSnapshots:
    """The records, by model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, model_id: int) -> SnapshotRow | None:
        """What is recorded of a model's index file. What cannot be read counts as not there: it is written anew."""
        found = self._read().get(str(model_id))
        try:
            return None if found is None else SnapshotRow(**found)
        except TypeError:
            return None

    def put(self, model_id: int, snapshot: SnapshotRow) -> SnapshotRow | None:
        """Record one; returns the one that it replaces."""
        with _guard:
            replaced = self.get(model_id)
            self._write({**self._read(), str(model_id): asdict(snapshot)})
        return replaced

    def mark_verified(self, file: str, verified: str) -> None:
        """See `zsindex.storage.protocol.PhotoStorage.mark_verified`."""
        with _guard:
            records = self._read()
            for key in records:
                found = self.get(int(key))
                if found is not None and found.file == file:
                    records[key] = asdict(replace(found, verified=verified))
            self._write(records)

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads((self._folder / FILE_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, records: dict[str, Any]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(self._folder / FILE_NAME, json.dumps(records).encode())
        except OSError as error:
            raise failure(self._folder, "record the index", error) from error

"""The facts of a library's photos as they are now."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from zsindex import atomic
from zsindex.index import files as index_files
from zsindex.index.snapshots import FACTS_NAME, FOLDER_NAME
from zsindex.storage.facts_table import FactsTable
from zsindex.storage.protocol import Storage


class CurrentFacts:
    """Keeps them in memory, and in a file beside the index for whoever comes next. Thread-safe."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._file = Path(storage.folder, FOLDER_NAME, FACTS_NAME)
        self._last: FactsTable | None = None
        self._making = threading.Lock()

    def table(self) -> FactsTable:
        """Of all files that are there. What has not changed since the last time is not looked at again."""
        state = self._storage.reads.facts_state()
        last = self._last
        if last is not None and last.state == state:
            return last
        with self._making:
            last = self._last
            if last is None:
                last = self._from_file()
            if last is None or last.state != state:
                known, last = last, self._storage.photos.facts_table(last)
                if last is not known:
                    self._to_file(last)
            self._last = last
        return last

    def forget(self) -> None:
        """Let go of them."""
        self._last = None

    def _from_file(self) -> FactsTable | None:
        try:
            with self._file.open("rb") as file:
                return FactsTable.read(file)
        except OSError:
            return None

    def _to_file(self, table: FactsTable) -> None:
        if self._storage.keeps_snapshots:
            with suppress(OSError):  # without the file they are made anew
                index_files.make_folder(self._file.parent)
                with atomic.writing(self._file) as file:
                    table.write(file)

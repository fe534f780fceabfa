"""Where a model's map is kept: in a file of the library's folder.

Over a server each machine has a folder of its own. There the map lies in the database, so that all machines show the
one that was made last, whichever made it, and the file is a copy that spares asking for it again.
"""

from __future__ import annotations

import base64
import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from zsindex.index import sealed, snapshots
from zsindex.lab.layout import Layout
from zsindex.storage.protocol import Storage

_MAGIC = b"zsindex map 1\n"

# What the database holds of maps on a server: under their checksums the last ones, of which somebody may just be asking
# for the last but one; and which is the last.
_SHARED, _CURRENT, _KEPT = "shared map", "current", 3


class KeptMap:
    """The map of a model."""

    def __init__(self, storage: Storage, model_id: int, fingerprint: str) -> None:
        self._storage = storage
        self._model_id = model_id
        self._file = snapshots.map_file(storage.folder, fingerprint)
        self._is_shared = not isinstance(storage.place, Path)

    def current(self) -> str | None:
        """Which map there is, by its checksum; None if there is none."""
        if not self._is_shared:
            return sealed.checksum(self._file, _MAGIC)
        found: str | None = self._storage.reads.derived(self._model_id, _SHARED, _CURRENT)
        return found

    def load(self) -> Layout | None:
        """The map as it was saved; None if there is none, it is damaged, or of another history of the library."""
        if not self._is_shared:
            is_recorded = partial(snapshots.is_recorded_map, self._storage, self._model_id)
            return _layout(sealed.read(self._file, _MAGIC, is_recorded=is_recorded))
        current = self.current()
        if current is None:
            return None
        body = sealed.read(self._file, _MAGIC, is_recorded=lambda checksum: checksum == current)
        return _layout(body or self._fetched(current))

    def save(self, layout: Layout) -> None:
        """Keep a map, in place of an earlier one.

        Raises:
            what `zsindex.index.sealed.write` does.
        """
        body = _body(layout)
        record = partial(snapshots.record_map, self._storage, self._model_id)
        if not self._is_shared:
            sealed.write(self._file, _MAGIC, body, record=record)
            return
        checksum = hashlib.sha256(body).hexdigest()
        record(checksum)
        text = base64.b64encode(body).decode("ascii")
        for key, what in ((checksum, text), (_CURRENT, checksum)):
            self._storage.labels.save_derived(self._model_id, _SHARED, key, what, keep=_KEPT)
        self._copy(body)

    def could_replace(self, before: str | None, layout: Layout) -> bool:
        """Keep a map that was made from another one, unless there is a third one by now, or that is impossible."""
        try:
            if self.current() != before:
                return False
            self.save(layout)
        except sealed.IMPOSSIBLE:
            return False
        return True

    def _fetched(self, checksum: str) -> memoryview | None:
        text = self._storage.reads.derived(self._model_id, _SHARED, checksum)
        if text is None:
            return None
        body = base64.b64decode(text)
        self._copy(body)
        return memoryview(body)

    def _copy(self, body: bytes) -> None:
        """Write the file, whose checksum is recorded already."""
        sealed.could_write(self._file, _MAGIC, body, record=lambda _: None)


def _layout(body: memoryview | None) -> Layout | None:
    if body is None:
        return None
    n, laid_out, then, gone = np.frombuffer(body, dtype="<i8", count=4).tolist()
    ids = np.frombuffer(body, dtype="<i8", count=n, offset=32).astype(np.int64)
    points = np.frombuffer(body, dtype="<f4", count=2 * n, offset=32 + 8 * n).astype(np.float32)
    return Layout(ids, points.reshape(n, 2), laid_out, then, gone=gone)


def _body(layout: Layout) -> bytes:
    return b"".join(
        (
            np.array([len(layout), layout.laid_out, layout.then, layout.gone], dtype="<i8").tobytes(),
            layout.ids.astype("<i8").tobytes(),
            layout.points.astype("<f4").tobytes(),
        )
    )

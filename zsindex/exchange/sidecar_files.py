"""Files beside photos that a kill has left while a sidecar was written: whose they are, their names say.

The temporary file of a sidecar has the beginning of the new bytes' SHA-256 in its name, and the library records that
checksum before the file is made. So a file of that name is zsindex's, and nobody else's; its writer holds a lock on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from zsindex import atomic
from zsindex.storage.protocol import LabelStorage

_BATCH = 64


def mark(sha256: str) -> str:
    """What stands in the name of a sidecar's temporary file; of the bytes' SHA-256 in hex."""
    return sha256[:16]


def leftovers(labels: LabelStorage) -> list[Path]:
    """Temporary files that nobody is writing."""
    return [file for sidecar, name in _marks(labels) if (file := atomic.leftover(sidecar, name)) is not None]


def remove_leftovers(labels: LabelStorage) -> int:
    """Remove them; says how many."""
    return sum(atomic.remove_leftover(sidecar, name) for sidecar, name in _marks(labels))


def _marks(labels: LabelStorage) -> Iterator[tuple[Path, str]]:
    paths = iter(labels.sidecar_paths())
    while batch := list(islice(paths, _BATCH)):
        for row in labels.sidecars(batch).values():
            if row.written_sha256:  # a sidecar that is to be deleted is not written
                yield Path(row.path), mark(row.written_sha256)

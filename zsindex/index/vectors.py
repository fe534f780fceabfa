"""The vectors of a library under one model, as arrays: the memory-mapped snapshot plus what was stored after it.

A snapshot is a FAISS file that `zsindex.index.snapshots` wrote. This module maps its vectors and ids with numpy alone,
so that neither classifying nor searching imports faiss. The arrays are the last things in the file:

    … header … | int64 n·dim | float32 (n, dim), row-major | int64 n | int64 (n,) | cells, in a large one

which is verified by its SHA-256 when it is written, and when it is opened unless that was done with this very file.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from zsindex.index import cores
from zsindex.index.cells import Cells
from zsindex.records import FloatArray, IdArray

# Below so many bytes a snapshot is compared with its SHA-256 whenever it is opened, which takes less than 20 ms.
ALWAYS_HASHED = 2**24
# Rows per block: at 1,000 labels a block of logits is 4 MB, which stays in the processor's cache between its passes.
BLOCK_ROWS = 1024

_COUNT = _ID = np.dtype("<i8")
_VALUE = np.dtype("<f4")


class SnapshotError(Exception):
    """A snapshot does not fit what is recorded of it. Never reaches users: the index is rebuilt."""


def identity(stat: os.stat_result) -> str:
    """What a file keeps as long as nobody writes to it: a copy, a restored backup and an edited file have another.

    Without the number of the device, which a removable disk does not keep.
    """
    return f"{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def is_settled(stat: os.stat_result, now_ns: int) -> bool:
    """Whether a file's time stamps would show a change from now on, rather than be the same after it.

    They advance in steps, of some milliseconds, or of two seconds on file systems that keep whole seconds only.
    """
    step_ns = 50_000_000 if stat.st_mtime_ns % 1_000_000_000 else 2_000_000_000
    return now_ns - stat.st_mtime_ns > step_ns


@dataclass(frozen=True)
class Snapshot:
    """A mapped index file: `vectors[i]`, float32 (n, dim), belongs to the image `ids[i]`.

    Attributes:
        cells: how the rows are grouped; None for a small snapshot, whose rows are in the order of being stored.
        verified: `identity` of the file whose SHA-256 was right; None where that must be calculated at each opening.
    """

    file: Path
    ids: IdArray
    vectors: FloatArray
    cells: Cells | None = None
    verified: str | None = None

    @classmethod
    def open(
        cls, file: Path, *, n_vectors: int, dim: int, sha256: str, n_cells: int = 0, verified: str | None = None
    ) -> Snapshot:
        """Map a snapshot after comparing its size and SHA-256 with what is recorded.

        Args:
            verified: `identity` of the file when its SHA-256 was compared before, and found right. A large file that
                is still the same is not read through again.

        Raises:
            SnapshotError: says what does not fit.
        """
        try:
            with file.open("rb") as opened:
                stat, now_ns = os.fstat(opened.fileno()), time.time_ns()
                is_large = stat.st_size >= ALWAYS_HASHED
                if not (is_large and verified == identity(stat)):
                    if hashlib.file_digest(opened, "sha256").hexdigest() != sha256:
                        raise SnapshotError(f"the checksum of {file.name} is not the recorded one")
                    unchanged = identity(os.fstat(opened.fileno())) == identity(stat)
                    verified = identity(stat) if is_large and unchanged and is_settled(stat, now_ns) else None
            # By its name, which it may have lost meanwhile: another process has replaced it.
            return replace(cls.map(file, n_vectors=n_vectors, dim=dim, n_cells=n_cells), verified=verified)
        except OSError as error:
            raise SnapshotError(f"{file.name} cannot be read: {error.strerror}") from error

    @classmethod
    def map(cls, file: Path, *, n_vectors: int, dim: int, n_cells: int = 0) -> Snapshot:
        """Map the arrays at the end of an index file.

        Raises:
            SnapshotError: it is no index of so many vectors.
        """
        cells_at = file.stat().st_size - Cells.size(n_cells, dim)
        ids_at = cells_at - _ID.itemsize * n_vectors
        vectors_at = ids_at - _COUNT.itemsize - _VALUE.itemsize * n_vectors * dim
        if n_vectors < 0 or n_cells < 0 or vectors_at < _COUNT.itemsize:
            raise SnapshotError(f"{file.name} is too short for {n_vectors} vectors of {dim} dimensions")
        content = np.memmap(file, dtype=np.uint8, mode="r")
        for at, expected in ((vectors_at, n_vectors * dim), (ids_at, n_vectors)):
            if content[at - _COUNT.itemsize : at].view(_COUNT)[0] != expected:
                raise SnapshotError(f"{file.name} does not hold {n_vectors} vectors of {dim} dimensions")
        vectors = content[vectors_at : ids_at - _COUNT.itemsize].view(_VALUE).reshape(n_vectors, dim)
        cells = Cells.from_bytes(content[cells_at:].tobytes(), n_cells, dim) if n_cells else None
        if cells is not None and cells.starts[-1] != n_vectors:
            raise SnapshotError(f"the cells of {file.name} do not hold {n_vectors} vectors")
        return cls(file, np.array(content[ids_at:cells_at].view(_ID)), vectors, cells)


@dataclass(frozen=True)
class VectorTable:
    """All vectors under a model. Rows of `base` come first, then those of `tail`.

    Attributes:
        base: the snapshot; None before the first one.
        tail_ids, tail: int64 (m,) and float32 (m, dim): stored after the snapshot.
        deleted: row numbers of `base` whose image is gone.
    """

    base: Snapshot | None
    tail_ids: IdArray
    tail: FloatArray
    deleted: IdArray

    def __len__(self) -> int:
        """Rows, deleted ones included."""
        return self.n_base + len(self.tail)

    @property
    def n_base(self) -> int:
        """Rows that lie in the snapshot."""
        return 0 if self.base is None else len(self.base.ids)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.tail.shape[1])

    @cached_property
    def ids(self) -> IdArray:
        """Image id per row, int64 (len(self),); -1 for deleted rows."""
        base = np.empty(0, dtype=np.int64) if self.base is None else self.base.ids
        ids = np.concatenate([base, self.tail_ids])
        ids[self.deleted] = -1
        return ids

    @cached_property
    def rows(self) -> IdArray:
        """Row numbers that are not deleted, ascending."""
        return np.flatnonzero(self.ids >= 0)

    @cached_property
    def _row_by_id(self) -> IdArray:
        # Ids are given one after another, so that this is as long as there ever were images. Sorting a million ids
        # takes ten times as long.
        table = np.full(int(self.ids.max(initial=0)) + 1, -1, dtype=np.int64)
        table[self.ids[self.rows]] = self.rows
        return table

    def rows_of(self, image_ids: IdArray) -> IdArray:
        """Row number of each image, int64 (len(image_ids),); -1 where there is no vector."""
        table = self._row_by_id
        known = (image_ids >= 0) & (image_ids < len(table))
        return np.where(known, table[np.where(known, image_ids, 0)], -1)

    def take(self, rows: IdArray) -> FloatArray:
        """Copy rows: float32 (len(rows), dim)."""
        if self.base is not None and len(rows) and rows.max() < self.n_base:
            taken: FloatArray = np.take(self.base.vectors, rows, axis=0)  # once: by two steps it takes twice as long
            return taken
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        in_base = rows < self.n_base
        if self.base is not None:
            out[in_base] = self.base.vectors[rows[in_base]]
        out[~in_base] = self.tail[rows[~in_base] - self.n_base]
        return out


def span(rows: IdArray, share: float) -> IdArray | None:
    """The rows from the first to the last of some, ascending, where these are so large a share of them: reading over
    gaps is then faster than gathering what lies between them. None where there are more gaps, or none.
    """
    if not len(rows):
        return None
    length = int(rows[-1]) - int(rows[0]) + 1
    return np.arange(rows[0], rows[-1] + 1) if share * length <= len(rows) < length else None


def ascending(rows: IdArray) -> IdArray:
    """Row numbers in order, each once."""
    steps = np.diff(rows)
    if bool((steps > 0).all()):
        return rows
    rows = np.sort(rows)
    once: IdArray = rows[np.concatenate([[True], np.diff(rows) > 0])]
    return once


def blocks(
    vectors: VectorTable, rows: IdArray, size: int = BLOCK_ROWS
) -> Generator[tuple[slice, FloatArray], None, None]:
    """Yield (where in `rows`, float32 (b, dim)) a block at a time; runs of neighbouring rows are views, not copies.

    What is multiplied with the blocks meanwhile shares the cores with other such passes: see
        `zsindex.index.cores.a_pass`.
    """
    with cores.a_pass():
        yield from _cut(vectors, rows, size)


def cut(vectors: VectorTable, rows: IdArray, size: int = BLOCK_ROWS) -> Generator[tuple[slice, FloatArray], None, None]:
    """Smaller blocks where the snapshot ends, so that few rows that came since have no large block copied. For what has
    cores of its own or needs none, and products whose last bits decide nothing: these depend on the blocks.
    """
    n_before = int(np.searchsorted(rows, vectors.n_base))
    yield from _cut(vectors, rows[:n_before], size)
    for where, block in _cut(vectors, rows[n_before:], size):
        yield slice(n_before + where.start, n_before + where.stop), block


def _cut(vectors: VectorTable, rows: IdArray, size: int) -> Generator[tuple[slice, FloatArray], None, None]:
    for start in range(0, len(rows), size):
        where = slice(start, min(start + size, len(rows)))
        part = rows[where]
        first, n_base = int(part[0]), vectors.n_base
        is_run = part[-1] - first == len(part) - 1 and (np.diff(part) == 1).all()
        if is_run and vectors.base is not None and part[-1] < n_base:
            yield where, vectors.base.vectors[first : first + len(part)]
        elif is_run and first >= n_base:
            yield where, vectors.tail[first - n_base : first - n_base + len(part)]
        else:
            yield where, vectors.take(part)

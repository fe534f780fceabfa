"""The vectors of a library under one model, as arrays: the memory-mapped snapshot plus what was stored after it.

A snapshot is a FAISS file that `zsindex.index` wrote. This module maps its vectors and ids with numpy alone, so that
classifying never imports faiss. The two arrays are the last things in the file:

    … header … | int64 n·dim | float32 (n, dim), row-major | int64 n | int64 (n,)

which is verified against the source when the snapshot is written and by its SHA-256 whenever it is opened.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from zsindex.records import FloatArray, IdArray

_COUNT = _ID = np.dtype("<i8")
_VALUE = np.dtype("<f4")


class SnapshotError(Exception):
    """A snapshot does not fit what is recorded of it. Never reaches users: the index is rebuilt."""


@dataclass(frozen=True)
class Snapshot:
    """A mapped index file: `vectors[i]`, float32 (n, dim), belongs to the image `ids[i]`."""

    file: Path
    ids: IdArray
    vectors: FloatArray

    @classmethod
    def open(cls, file: Path, *, n_vectors: int, dim: int, sha256: str) -> Snapshot:
        """Map a snapshot after comparing its size and SHA-256 with what is recorded.

        Raises:
            SnapshotError: says what does not fit.
        """
        try:
            with file.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise SnapshotError(f"{file.name} cannot be read: {error.strerror}") from error
        if found != sha256:
            raise SnapshotError(f"the checksum of {file.name} is not the recorded one")
        return cls.map(file, n_vectors=n_vectors, dim=dim)

    @classmethod
    def map(cls, file: Path, *, n_vectors: int, dim: int) -> Snapshot:
        """Map the two arrays at the end of an index file.

        Raises:
            SnapshotError: it is no index of so many vectors.
        """
        ids_at = file.stat().st_size - _ID.itemsize * n_vectors
        vectors_at = ids_at - _COUNT.itemsize - _VALUE.itemsize * n_vectors * dim
        if n_vectors < 0 or vectors_at < _COUNT.itemsize:
            raise SnapshotError(f"{file.name} is too short for {n_vectors} vectors of {dim} dimensions")
        content = np.memmap(file, dtype=np.uint8, mode="r")
        for at, expected in ((vectors_at, n_vectors * dim), (ids_at, n_vectors)):
            if content[at - _COUNT.itemsize : at].view(_COUNT)[0] != expected:
                raise SnapshotError(f"{file.name} does not hold {n_vectors} vectors of {dim} dimensions")
        vectors = content[vectors_at : ids_at - _COUNT.itemsize].view(_VALUE).reshape(n_vectors, dim)
        return cls(file, np.array(content[ids_at:].view(_ID)), vectors)


@dataclass(frozen=True)
class Vectors:
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
    def _by_id(self) -> tuple[IdArray, IdArray]:
        order = np.argsort(self.ids, kind="stable")
        return order, self.ids[order]

    def rows_of(self, image_ids: IdArray) -> IdArray:
        """Row number of each image, int64 (len(image_ids),); -1 where there is no vector."""
        if not len(self):
            return np.full(len(image_ids), -1, dtype=np.int64)
        order, sorted_ids = self._by_id
        at = np.searchsorted(sorted_ids, image_ids).clip(max=len(self) - 1)
        return np.where(sorted_ids[at] == image_ids, order[at], -1)

    def take(self, rows: IdArray) -> FloatArray:
        """Copy rows: float32 (len(rows), dim)."""
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        in_base = rows < self.n_base
        if self.base is not None:
            out[in_base] = self.base.vectors[rows[in_base]]
        out[~in_base] = self.tail[rows[~in_base] - self.n_base]
        return out

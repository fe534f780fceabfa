"""The FAISS index of one model: writing snapshots, opening them, searching. The only importer of faiss.

The index is exact inner product over unit vectors, that is cosine similarity. Approximate structures would lose results
to a filter, and a scan of 100,000 vectors takes milliseconds.

SQLite holds the truth; everything here is derived. A snapshot is written beside the old one, read back, compared,
synced and renamed before the database is told about it: at every instant the recorded snapshot is a whole one.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import warnings
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsindex.errors import DimensionMismatch, LibraryBusy, LibraryReadOnly, StorageFull, ZsindexWarning
from zsindex.records import FloatArray, IdArray
from zsindex.store import ModelRow, SnapshotRow, Store
from zsindex.vectors import Snapshot, SnapshotError, Vectors

if TYPE_CHECKING:
    import numpy.typing as npt

FOLDER_NAME = "index"
# What came after the snapshot is read from SQLite at every start, at a few microseconds a vector. A new snapshot is due
# when that has grown beyond a fixed number and a share of the whole: so the cost of rewriting stays proportional to
# what is added.
MAX_TAIL = 4096
MAX_TAIL_SHARE = 0.1


class IndexRebuilt(ZsindexWarning):
    """A snapshot did not fit the database and was made anew from it. Nothing is lost."""


class VectorIndex:
    """Search over the vectors of one model, as of one moment.

    Attributes:
        vectors: the rows.
        watermark: sequence number of the last embedding in it.
        generation: of the model's embeddings; another number in the database means that some were deleted since.
    """

    def __init__(self, vectors: Vectors, *, watermark: int, generation: int) -> None:
        self.vectors = vectors
        self.watermark = watermark
        self.generation = generation

    @classmethod
    def open(cls, store: Store, folder: Path, model: ModelRow) -> VectorIndex:
        """Map the recorded snapshot and replay what came after; rebuild from the database where that fails.

        Warns:
            IndexRebuilt: the snapshot was missing or damaged.
        """
        generation = store.generation(model.id)
        recorded = store.snapshot(model.id)
        base, after, deleted = None, 0, np.empty(0, dtype=np.int64)
        if recorded is not None:
            try:
                base, after = _open_snapshot(folder, recorded, model), recorded.watermark
                if recorded.generation != generation:
                    # Not simply those without any vector: one that was deleted and made anew is in the tail.
                    there = store.image_ids_of(model.id, through=recorded.watermark)
                    deleted = np.flatnonzero(~np.isin(base.ids, there))
            except SnapshotError as error:
                if store.snapshot(model.id) != recorded:
                    return cls.open(store, folder, model)  # another process has just replaced it
                # A damaged snapshot is worth nothing: everything is replayed, and the result is written as a new one.
                warnings.warn(f"the index of {model.info.spec} was rebuilt: {error}", IndexRebuilt, stacklevel=3)
        watermark, tail_ids, tail = store.embeddings_after(model, after)
        index = cls(Vectors(base, tail_ids, tail, deleted), watermark=watermark, generation=generation)
        return index.save(store, folder, model) if store.writable and index._wants_saving() else index

    @classmethod
    def rebuild(cls, store: Store, folder: Path, model: ModelRow) -> VectorIndex:
        """Write a new snapshot of everything that the database holds, whatever is recorded or there."""
        generation = store.generation(model.id)
        watermark, ids, vectors = store.embeddings_after(model, 0)
        everything = Vectors(None, ids, vectors, np.empty(0, dtype=np.int64))
        return cls(everything, watermark=watermark, generation=generation).save(store, folder, model)

    def refreshed(self, store: Store, folder: Path, model: ModelRow) -> VectorIndex:
        """This index, or one that knows what was stored and deleted meanwhile, also by other processes."""
        if store.generation(model.id) != self.generation:
            return self.open(store, folder, model)
        watermark, ids, vectors = store.embeddings_after(model, self.watermark)
        if not len(ids):
            return self
        old = self.vectors
        if len(old.tail) + len(ids) > MAX_TAIL:
            return self.open(store, folder, model)
        tail_ids, tail = np.concatenate([old.tail_ids, ids]), np.concatenate([old.tail, vectors])
        return VectorIndex(
            Vectors(old.base, tail_ids, tail, old.deleted), watermark=watermark, generation=self.generation
        )

    def _wants_saving(self) -> bool:
        vectors = self.vectors
        unsaved = len(vectors.tail) + len(vectors.deleted)
        return unsaved > (0 if vectors.base is None else max(MAX_TAIL, int(MAX_TAIL_SHARE * vectors.n_base)))

    def save(self, store: Store, folder: Path, model: ModelRow) -> VectorIndex:
        """Write a snapshot of all vectors and record it.

        A disk without room, or a writer that does not let go, costs only the snapshot: searching goes on without it.

        Returns:
            The same vectors, mapped from the new snapshot; this index where it could not be written.
        """
        rows = np.flatnonzero(self.vectors.ids >= 0)
        ids, vectors = self.vectors.ids[rows], self.vectors.take(rows)
        file = None
        try:
            file = _write(folder / FOLDER_NAME, model, ids, vectors)
            record = SnapshotRow(
                file=file.name,
                watermark=self.watermark,
                n_vectors=len(ids),
                generation=self.generation,
                sha256=_sha256(file),
            )
            saved = Snapshot.map(file, n_vectors=len(ids), dim=model.info.dim)
            replaced = store.save_snapshot(model.id, record)
        except (StorageFull, LibraryBusy, LibraryReadOnly, OSError) as error:
            if file is not None:
                file.unlink(missing_ok=True)  # or each attempt would leave one more on a disk that is full
            warnings.warn(f"the index was not written to disk: {error}", IndexRebuilt, stacklevel=2)
            return self
        if replaced is not None:
            with suppress(OSError):  # another process on Windows may have it mapped; `check --fix` removes strays
                (folder / FOLDER_NAME / replaced.file).unlink()
        none = np.empty(0, dtype=np.int64)
        return VectorIndex(
            Vectors(saved, none, np.empty((0, model.info.dim), dtype=np.float32), none),
            watermark=self.watermark,
            generation=self.generation,
        )

    def search(self, queries: FloatArray, k: int, *, image_ids: IdArray | None = None) -> tuple[IdArray, FloatArray]:
        """Find the k most similar images for each query, exactly.

        Args:
            queries: float32, shape (n_queries, dim), L2-normalised rows.
            k: neighbours per query; fewer come back where the selection is smaller.
            image_ids: restrict to these images; None for all.

        Returns:
            Image ids int64 and cosine similarities float32, both of shape (n_queries, min(k, selected)), best first.
            Ties are in the order in which the images came into the library.

        Raises:
            DimensionMismatch: names the expected and the given dimension.
        """
        import faiss

        vectors = self.vectors
        if queries.shape[1] != vectors.dim:
            raise DimensionMismatch(expected=vectors.dim, got=queries.shape[1], what="queries")
        selected = vectors.ids >= 0
        if image_ids is not None:
            rows = vectors.rows_of(image_ids)
            chosen = np.zeros(len(vectors), dtype=bool)
            chosen[rows[rows >= 0]] = True
            selected &= chosen
        k = min(k, int(selected.sum()))
        if k == 0:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        found: list[tuple[IdArray, FloatArray]] = []
        if vectors.base is not None:
            found.append(_search_rows(self._flat, queries, k, selected[: vectors.n_base]))
        if len(vectors.tail):
            tail = faiss.IndexFlatIP(vectors.dim)
            tail.add(vectors.tail)
            rows, scores = _search_rows(tail, queries, k, selected[vectors.n_base :])
            found.append((np.where(rows >= 0, rows + vectors.n_base, -1), scores))
        rows = np.concatenate([part[0] for part in found], axis=1)
        scores = np.concatenate([part[1] for part in found], axis=1)
        scores[rows < 0] = -np.inf
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        return vectors.ids[np.take_along_axis(rows, order, 1)], np.take_along_axis(scores, order, 1)

    @cached_property
    def _flat(self) -> Any:
        """The snapshot's inner index over row numbers, mapped rather than read."""
        import faiss

        base = self.vectors.base
        assert base is not None
        try:
            return _inner(faiss.read_index(str(base.file), faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError:
            # Another process has replaced the snapshot since. Its vectors are still mapped here, if under no name.
            flat = faiss.IndexFlatIP(self.vectors.dim)
            flat.add(base.vectors)
            return flat


def _search_rows(flat: Any, queries: FloatArray, k: int, selected: npt.NDArray[np.bool_]) -> tuple[IdArray, FloatArray]:
    """The k best rows of each query; -1 where there are fewer. Of rows that tie for the last place the first get it."""
    import faiss

    parameters = None
    if not selected.all():
        bitmap = np.packbits(selected, bitorder="little")
        parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
    queries = np.ascontiguousarray(queries)
    scores, rows = flat.search(queries, k + 1, params=parameters)
    # faiss keeps any of those that tie, and copies of a photo do: they differ in their metadata, not in their vector.
    # A result beyond the last one shows whether they do; then all of them are asked for.
    for tied in np.flatnonzero((rows[:, k] >= 0) & (scores[:, k] == scores[:, k - 1])):
        # A little more than they, because faiss rounds differently for one query and for many.
        below = float(scores[tied, k]) - 1e-5
        _, all_scores, all_rows = flat.range_search(queries[tied : tied + 1], below, params=parameters)
        best = np.lexsort((all_rows, -all_scores))[:k]
        scores[tied, :k], rows[tied, :k] = all_scores[best], all_rows[best]
    return rows[:, :k], scores[:, :k]


def _inner(index: Any) -> Any:
    """The flat index inside "IDMap2,L2norm,Flat". The outer one owns it and must not go first."""
    import faiss

    flat = faiss.downcast_index(faiss.downcast_index(index.index).index)
    flat.referenced_objects = [index]  # the one attribute that faiss lets its wrappers keep things alive with
    return flat


def _open_snapshot(folder: Path, recorded: SnapshotRow, model: ModelRow) -> Snapshot:
    return Snapshot.open(
        folder / FOLDER_NAME / recorded.file,
        n_vectors=recorded.n_vectors,
        dim=model.info.dim,
        sha256=recorded.sha256,
    )


def _write(folder: Path, model: ModelRow, ids: IdArray, vectors: FloatArray) -> Path:
    """Write an index file: temporary name, read back and compare, sync, rename."""
    import faiss

    # "L2norm" makes any query's score a cosine; its header also puts the vectors on a 4-byte boundary of the
    # file, which numpy wants before it multiplies a mapped matrix without copying it ("IDMap2,Flat" is 2 bytes off).
    index = faiss.index_factory(model.info.dim, "IDMap2,L2norm,Flat", faiss.METRIC_INNER_PRODUCT)
    normalise = faiss.downcast_index(index.index)
    # Added past the wrapper, which would normalise once more and change the last bits.
    faiss.downcast_index(normalise.index).add(vectors)
    normalise.ntotal = index.ntotal = len(ids)
    faiss.copy_array_to_vector(ids, index.id_map)
    index.construct_rev_map()

    folder.mkdir(exist_ok=True)
    name = f"{model.info.fingerprint[:16]}-{secrets.token_hex(4)}.faiss"
    temporary, final = folder / f"{name}.tmp", folder / name
    try:
        faiss.write_index(index, str(temporary))
        written = Snapshot.map(temporary, n_vectors=len(ids), dim=model.info.dim)
        if not (np.array_equal(written.ids, ids) and np.array_equal(written.vectors, vectors)):
            raise OSError(f"{temporary.name} does not read back as it was written")
        with temporary.open("rb+") as opened:
            os.fsync(opened.fileno())
        temporary.replace(final)
        _sync_folder(folder)
    except RuntimeError as error:  # faiss reports a failed write so
        raise OSError(str(error).splitlines()[0]) from error
    finally:
        temporary.unlink(missing_ok=True)
    return final


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # folders cannot be opened on Windows
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def snapshot_problems(store: Store, folder: Path, model: ModelRow) -> list[str]:
    """What is wrong with a model's snapshot, compared row by row with the database."""
    recorded = store.snapshot(model.id)
    if recorded is None:
        return []
    try:
        snapshot = _open_snapshot(folder, recorded, model)
    except SnapshotError as error:
        return [f"index of {model.info.spec}: {error}"]
    _, ids, vectors = store.embeddings_after(model, 0)
    truth = Vectors(None, ids, vectors, np.empty(0, dtype=np.int64))
    due = store.image_ids_of(model.id, through=recorded.watermark)
    missing = np.setdiff1d(due, snapshot.ids)
    if len(missing):
        return [f"index of {model.info.spec}: {len(missing)} vectors of the database are missing"]
    rows = truth.rows_of(snapshot.ids)
    known = np.isin(snapshot.ids, due)
    if recorded.generation == store.generation(model.id) and not known.all():
        return [f"index of {model.info.spec}: {int((~known).sum())} vectors that the database does not have"]
    differing = (snapshot.vectors[known] != truth.take(rows[known])).any(axis=1)
    if differing.any():
        return [f"index of {model.info.spec}: {int(differing.sum())} vectors differ from the database"]
    return []


def stray_files(store: Store, folder: Path) -> list[Path]:
    """Files in the index folder that no model refers to: left by a crash, or kept open by another process."""
    recorded = {s.file for m in store.models() if (s := store.snapshot(m.id)) is not None}
    return sorted(p for p in (folder / FOLDER_NAME).glob("*") if p.name not in recorded)

"""The index of one model: writing snapshots, opening them, and searching as of one moment.

SQLite holds the truth; everything here is derived. A snapshot is written beside the old one, read back, compared,
synced and renamed before the database is told about it: at every instant the recorded snapshot is a whole one. FAISS
writes it, and reads it once; after that it is mapped without faiss.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from zsindex.errors import (
    DimensionMismatch,
    LibraryBusy,
    LibraryReadOnly,
    ModelPruned,
    StorageFailed,
    StorageFull,
    ZsindexWarning,
)
from zsindex.index import cells, nearest
from zsindex.index.cells import Cells
from zsindex.index.files import Making, make_folder
from zsindex.index.vectors import Snapshot, SnapshotError, VectorTable, ascending, blocks, identity, is_settled
from zsindex.records import FloatArray, IdArray
from zsindex.storage.rows import ModelRow, SnapshotRow

if TYPE_CHECKING:
    from zsindex.storage.protocol import Storage

FOLDER_NAME = "index"
# The file of the facts of all photos, see zsindex.session.facts.
FACTS_NAME = "facts.npz"
# What came after the snapshot is read from SQLite at every start, at a few microseconds a vector. A new snapshot is due
# when that has grown beyond a fixed number and a share of the whole: so the cost of rewriting stays proportional to
# what is added. Beyond a tenth of a second, though, every start would cost more than is saved. Deleted rows cost next
# to nothing: only their share counts.
MAX_TAIL = 4096
MAX_TAIL_SHARE = 0.1
MAX_REPLAY = 32_768
# From so many vectors on the rows are grouped into cells, and a search looks at the nearest only. Below, an exact
# search takes some 50 ms at 512 dimensions.
CELLS_FROM = 200_000
# An approximate search among fewer than this share of all rows would look at most cells, and find little in each.
MIN_SHARE = 0.5
# Rows of at most so many bytes are held in memory while they are written; more wait in a file.
IN_MEMORY = 2**24
_BLOCK_ROWS = 8192


def _discard(file: Path | None) -> None:
    if file is not None:
        with suppress(OSError):  # a disk that refuses that, too; `check --fix` removes strays
            file.unlink()


class _VectorsMissing(Exception):
    """The database gives fewer vectors than it holds: some are damaged. Never reaches users."""


class IndexRebuilt(ZsindexWarning):
    """A snapshot did not fit the database and was made anew from it. Nothing is lost."""


class VectorIndex:
    """Search over the vectors of one model, as of one moment.

    Attributes:
        vectors: the rows.
        watermark: sequence number of the last embedding in it.
        generation: of the model's embeddings; another number in the database means that some were deleted since.
    """

    def __init__(self, vectors: VectorTable, *, watermark: int, generation: int) -> None:
        self.vectors = vectors
        self.watermark = watermark
        self.generation = generation

    @classmethod
    def open(cls, storage: Storage, model: ModelRow, *, may_save: Callable[[], bool] = lambda: True) -> VectorIndex:
        """Map the recorded snapshot and replay what came after; rebuild from the database where that fails.

        Args:
            may_save: asked once, when a new snapshot is due, whether to write it, which may take long. It may wait for
                another process that does. Without it all that came after the last one is read into memory.

        Warns:
            IndexRebuilt: the snapshot was missing or damaged.
        """
        generation = storage.reads.generation(model.id)
        recorded = storage.reads.snapshot(model.id)
        base, after, deleted = None, 0, np.empty(0, dtype=np.int64)
        if recorded is not None:
            try:
                base, after = _open_snapshot(storage.folder, recorded, model), recorded.watermark
                _remember(storage, recorded, base)
                if recorded.generation != generation:
                    # Not simply those without any vector: one that was deleted and made anew is in the tail.
                    there = storage.reads.image_ids_of(model.id, through=recorded.watermark)
                    deleted = np.flatnonzero(~np.isin(base.ids, there))
            except SnapshotError as error:
                if storage.reads.snapshot(model.id) != recorded:
                    return cls.open(storage, model, may_save=may_save)  # another process has just replaced it
                # A damaged snapshot is worth nothing: everything is replayed, and the result is written as a new one.
                warnings.warn(f"the index of {model.info.spec} was rebuilt: {error}", IndexRebuilt, stacklevel=3)
        if (
            storage.keeps_snapshots
            and _is_due(base, storage.reads.count_after(model.id, after), len(deleted))
            and may_save()
        ):
            if storage.reads.snapshot(model.id) != recorded:  # another process has written it meanwhile
                return cls.open(storage, model)
            if recorded is not None and base is not None:
                # Its rows go into the new one, under a new checksum: what has rotted since it was last read through
                # would be right from then on.
                try:
                    _open_snapshot(storage.folder, recorded, model, read_all=True)
                except SnapshotError as error:
                    base, after, deleted = None, 0, np.empty(0, dtype=np.int64)
                    warnings.warn(f"the index of {model.info.spec} was rebuilt: {error}", IndexRebuilt, stacklevel=3)
            saved = cls._save(storage, model, base, deleted, after=after, generation=generation)
            if saved is not None:
                return saved
        watermark, tail_ids, tail = storage.reads.embeddings_after(model, after)
        return cls(VectorTable(base, tail_ids, tail, deleted), watermark=watermark, generation=generation)

    @classmethod
    def rebuild(cls, storage: Storage, model: ModelRow) -> VectorIndex:
        """Write a new snapshot of everything that the database holds, whatever is recorded or there."""
        generation, none = storage.reads.generation(model.id), np.empty(0, dtype=np.int64)
        saved = cls._save(storage, model, None, none, after=0, generation=generation)
        if saved is not None:
            return saved
        watermark, ids, vectors = storage.reads.embeddings_after(model, 0)
        return cls(VectorTable(None, ids, vectors, none), watermark=watermark, generation=generation)

    def is_current(self, storage: Storage, model: ModelRow) -> bool:
        """Whether nothing was stored or deleted since, also by other processes."""
        return storage.reads.is_unchanged(model.id, self.generation, self.watermark)

    def refreshed(
        self, storage: Storage, model: ModelRow, *, may_save: Callable[[], bool] = lambda: True
    ) -> VectorIndex:
        """This index, or one that knows what was stored and deleted meanwhile, also by other processes; see `open`."""
        if storage.reads.generation(model.id) != self.generation:
            return self.open(storage, model, may_save=may_save)
        old = self.vectors
        n_new = storage.reads.count_after(model.id, self.watermark)
        if not n_new:
            return self
        if storage.keeps_snapshots and _is_due(old.base, len(old.tail) + n_new, len(old.deleted)):
            may = may_save()
            recorded = None if may else storage.reads.snapshot(model.id)
            written = old.base is not None and old.base.file.name
            if may or (recorded is not None and recorded.file != written):  # by another process
                return self.open(storage, model, may_save=lambda: may)
        watermark, ids, vectors = storage.reads.embeddings_after(model, self.watermark)
        tail_ids, tail = np.concatenate([old.tail_ids, ids]), np.concatenate([old.tail, vectors])
        return VectorIndex(
            VectorTable(old.base, tail_ids, tail, old.deleted), watermark=watermark, generation=self.generation
        )

    @classmethod
    def _save(
        cls,
        storage: Storage,
        model: ModelRow,
        base: Snapshot | None,
        deleted: IdArray,
        *,
        after: int,
        generation: int,
    ) -> VectorIndex | None:
        """Write a snapshot of what is left of `base` and of all that was stored after it, and record it.

        A disk without room, or a writer that does not let go, costs only the snapshot: searching goes on without it.

        Nor is one written without vectors that are damaged in the database: each opening shall warn of them.

        Returns:
            The vectors, mapped from the new snapshot; None where it could not be written.
        """
        folder = storage.folder / FOLDER_NAME
        none, dim, file = np.empty(0, dtype=np.int64), model.info.dim, None
        kept = VectorTable(base, none, np.empty((0, dim), dtype=np.float32), deleted)
        making = Making()
        try:
            with storage.reads.embeddings(model, after=after) as (n_new, parts), ExitStack() as stack:
                rows = np.flatnonzero(kept.ids >= 0)
                stream = _Stream(kept, rows, parts, watermark=after)
                n = len(rows) + n_new
                as_they_came = stack.enter_context(ExitStack())
                ids, vectors = as_they_came.enter_context(_side_by_side(folder, making, n, dim, stream))
                grouping = None
                if n >= CELLS_FROM:
                    known = None
                    if base is not None and base.cells is not None:
                        known = base.cells.centroids, base.cells.of_rows()[rows]
                    prompts = storage.photos.all_prompt_vectors(model)
                    grouping, order = cells.arrange(ids, vectors, prompts, known=known)
                    blocks_in_order = _in_order(ids, vectors, order)
                    ids, vectors = stack.enter_context(_side_by_side(folder, making, n, dim, blocks_in_order))
                    as_they_came.close()
                file, sha256, verified = _write(folder, making, model, ids, vectors, grouping)
            record = SnapshotRow(
                file=file.name,
                watermark=stream.watermark,
                n_vectors=n,
                generation=generation,
                sha256=sha256,
                n_cells=0 if grouping is None else len(grouping.centroids),
                verified=verified,
            )
            saved = Snapshot.map(file, n_vectors=n, dim=dim, n_cells=record.n_cells)
            if (old := storage.reads.snapshot(model.id)) is not None:
                making.keep(folder / old.file)
            replaced = storage.photos.save_snapshot(model.id, record)
            if replaced is not None:
                with suppress(OSError):  # another process on Windows may have it mapped; `check --fix` removes strays
                    (folder / replaced.file).unlink()
        except _VectorsMissing:
            return None
        except ModelPruned:
            _discard(file)
            return None
        except (StorageFull, StorageFailed, LibraryBusy, LibraryReadOnly, OSError) as error:
            _discard(file)  # or each attempt would leave one more on a disk that is full
            warnings.warn(f"the index was not written to disk: {error}", IndexRebuilt, stacklevel=3)
            return None
        finally:
            making.close()
        mapped = VectorTable(saved, none, np.empty((0, dim), dtype=np.float32), none)
        return cls(mapped, watermark=stream.watermark, generation=generation)

    def search(
        self,
        queries: FloatArray,
        k: int,
        *,
        terms: FloatArray | None = None,
        image_ids: IdArray | None = None,
        exact: bool = False,
    ) -> tuple[IdArray, FloatArray]:
        """Find the k most similar images for each query.

        A snapshot of `CELLS_FROM` vectors and more is searched in the nearest cells only: scores are exact, but of the
        true k nearest one in a hundred may be missing. More than 100 results, and those from among less than
        half of the images, or so many as make a small library, are found exactly.

        Args:
            queries: float32, shape (n_queries, dim), L2-normalised rows.
            k: neighbours per query; fewer come back where the selection is smaller.
            terms: float32, shape (n_terms, dim): what each of the queries is the sum of, so that photos among them are
                found however far they lie from it.
            image_ids: restrict to these images; None for all.
            exact: look at every vector, however many there are.

        Returns:
            Image ids int64 and cosine similarities float32, both of shape (n_queries, min(k, selected)), best first.
            Ties are in the order in which the images came into the library.

        Raises:
            DimensionMismatch: names the expected and the given dimension.
        """
        vectors = self.vectors
        if queries.shape[1] != vectors.dim:
            raise DimensionMismatch(expected=vectors.dim, got=queries.shape[1], what="queries")
        rows = vectors.rows if image_ids is None else ascending(vectors.rows_of(image_ids))
        if without_vector := int(np.searchsorted(rows, 0)):  # these come first, as -1
            rows = rows[without_vector:]  # else the very array, by which simultaneous searches know each other
        k = min(k, len(rows))
        if k == 0:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        grouping = None if vectors.base is None else vectors.base.cells
        least = max(CELLS_FROM, MIN_SHARE * len(vectors))
        if grouping is None or exact or k > cells.DEPTHS[-1] or len(rows) < least:
            found, scores = nearest.exact(vectors, rows, queries, k)
            return vectors.ids[found], scores
        selected = None if len(rows) == len(vectors) else rows
        if terms is None:
            terms = np.empty((0, vectors.dim), dtype=np.float32)
        each = []
        for query in queries:
            probed = nearest.probe(vectors, grouping, query, k, terms=terms, selected=selected)
            if probed is None:
                found, scores = nearest.exact(vectors, rows, query[None, :], k)
                probed = found[0], scores[0]
            each.append(probed)
        if not each:
            return np.empty((0, k), np.int64), np.empty((0, k), np.float32)
        return vectors.ids[np.stack([found for found, _ in each])], np.stack([scores for _, scores in each])


def _is_due(base: Snapshot | None, n_new: int, n_deleted: int) -> bool:
    """Whether a new snapshot is worth its cost."""
    if base is None:
        return n_new > 0
    share = int(MAX_TAIL_SHARE * len(base.ids))
    return n_new > max(MAX_TAIL, min(share, MAX_REPLAY)) or n_deleted > max(MAX_TAIL, share)


def _open_snapshot(folder: Path, recorded: SnapshotRow, model: ModelRow, *, read_all: bool = False) -> Snapshot:
    return Snapshot.open(
        folder / FOLDER_NAME / recorded.file,
        n_vectors=recorded.n_vectors,
        dim=model.info.dim,
        sha256=recorded.sha256,
        n_cells=recorded.n_cells,
        verified=None if read_all else recorded.verified,
    )


def _remember(storage: Storage, recorded: SnapshotRow, found: Snapshot) -> None:
    """Save the next opening the reading of a large file that has just been read, if that is possible."""
    if found.verified is not None and found.verified != recorded.verified and storage.keeps_snapshots:
        with suppress(StorageFull, StorageFailed, LibraryBusy, LibraryReadOnly):
            storage.photos.mark_verified(recorded.file, found.verified)


# --- writing ----------------------------------------------------------------------------------------------------------


class _Stream:
    """Rows of an old snapshot that are kept, and then what the database has stored since, a block at a time.

    Attributes:
        watermark: sequence number of the last embedding that has come so far.
    """

    def __init__(
        self, kept: VectorTable, rows: IdArray, parts: Iterator[tuple[int, IdArray, FloatArray]], *, watermark: int
    ) -> None:
        self.kept, self.rows, self.parts, self.watermark = kept, rows, parts, watermark

    def __iter__(self) -> Iterator[tuple[IdArray, FloatArray]]:
        for where, block in blocks(self.kept, self.rows, _BLOCK_ROWS):
            yield self.kept.ids[self.rows[where]], block
        for last, ids, part in self.parts:
            self.watermark = last
            yield ids, part


def _in_order(ids: IdArray, vectors: FloatArray, order: IdArray) -> Iterator[tuple[IdArray, FloatArray]]:
    for start in range(0, len(order), _BLOCK_ROWS):
        part = order[start : start + _BLOCK_ROWS]
        yield ids[part], vectors[part]


@contextmanager
def _side_by_side(
    folder: Path, making: Making, n: int, dim: int, blocks: Iterable[tuple[IdArray, FloatArray]]
) -> Iterator[tuple[IdArray, FloatArray]]:
    """All ids, int64 (n,), and rows, float32 (n, dim), of blocks: in memory, or in a file that goes at the end where
    they may be more than it holds.

    Raises:
        _VectorsMissing: there are fewer.
    """
    ids = np.empty(n, dtype=np.int64)
    if 4 * n * dim <= IN_MEMORY:
        rows, at = np.empty((n, dim), dtype=np.float32), 0
        for part_ids, part in blocks:
            ids[at : at + len(part)], rows[at : at + len(part)] = part_ids, part
            at += len(part)
        if at < n:
            raise _VectorsMissing
        yield ids, rows
        return
    make_folder(folder)
    file, at = folder / f"{secrets.token_hex(4)}.rows.tmp", 0
    try:
        with making.create(file) as out:
            for part_ids, part in blocks:
                ids[at : at + len(part)] = part_ids
                out.write(np.ascontiguousarray(part, dtype="<f4").data)
                at += len(part)
        if at < n:
            raise _VectorsMissing
        yield ids, np.memmap(file, dtype="<f4", mode="r").reshape(n, dim)
    finally:
        file.unlink(missing_ok=True)


def _write(
    folder: Path,
    making: Making,
    model: ModelRow,
    ids: IdArray,
    vectors: FloatArray,
    grouping: Cells | None,
) -> tuple[Path, str, str | None]:
    """Let FAISS write an index file: temporary name, sync, read back and compare, rename.

    Returns:
        The file, its SHA-256, and what `Snapshot.open` takes as `verified`.
    """
    import faiss

    make_folder(folder)
    name = f"{model.info.fingerprint[:16]}-{secrets.token_hex(4)}.faiss"
    temporary, final = folder / f"{name}.tmp", folder / name
    checksum = hashlib.sha256()
    try:
        with making.create(temporary) as out:

            def put(data: bytes) -> None:
                checksum.update(data)
                out.write(data)

            faiss.write_index(_faiss_index(ids, vectors), faiss.PyCallbackIOWriter(put))
            if grouping is not None:
                put(grouping.to_bytes())  # behind its end: FAISS does not read it
            out.flush()
            os.fsync(out.fileno())
        stat, now_ns = temporary.stat(), time.time_ns()
        if _sha256(temporary) != checksum.hexdigest():
            raise OSError(f"{temporary.name} does not read back as it was written")
        _compare_with_faiss(
            Snapshot.map(
                temporary,
                n_vectors=len(ids),
                dim=vectors.shape[1],
                n_cells=0 if grouping is None else len(grouping.centroids),
            )
        )
        temporary.replace(final)
        _sync_folder(folder)
    finally:
        temporary.unlink(missing_ok=True)
    renamed = final.stat()  # which has changed nothing but the time of the last change
    same = (stat.st_ino, stat.st_size, stat.st_mtime_ns) == (renamed.st_ino, renamed.st_size, renamed.st_mtime_ns)
    verified = identity(renamed) if same and is_settled(stat, now_ns) else None
    return final, checksum.hexdigest(), verified


def _faiss_index(ids: IdArray, vectors: FloatArray) -> Any:
    """A FAISS index over rows that stay where they are: adding them would copy them, and normalise them once more,
    which changes their last bits.
    """
    import faiss

    n, dim = vectors.shape
    flat = faiss.IndexFlatIP(dim)
    by_id = faiss.IndexIDMap2(flat)
    if n:
        content = vectors.view(np.uint8).reshape(-1)
        flat.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(content), content.size, flat.codes.owner)
        faiss.copy_array_to_vector(ids, by_id.id_map)
    flat.ntotal = by_id.ntotal = n
    # Makes any query's score a cosine; what it writes also puts the vectors on a 4-byte boundary of the file, which
    # numpy wants before it multiplies a mapped matrix without copying it (they would be 2 bytes off).
    return faiss.IndexPreTransform(faiss.NormalizationTransform(dim), by_id)


def _compare_with_faiss(written: Snapshot) -> None:
    """Let FAISS map a file that was just written: it must find ids and rows where this program does.

    Raises:
        OSError
    """
    import faiss

    try:
        index = faiss.read_index(str(written.file), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise OSError(f"FAISS does not read {written.file.name}: {error}") from error
    by_id = faiss.downcast_index(faiss.downcast_index(index).index)
    n, dim = written.vectors.shape
    ends = [0, n - 1] if n else []
    found = [faiss.downcast_index(by_id.index).reconstruct(row) for row in ends]
    if not (
        (index.ntotal, index.d) == (n, dim)
        and np.array_equal(faiss.vector_to_array(by_id.id_map), written.ids)
        and np.array_equal(np.reshape(found, (-1, dim)), written.vectors[ends])
    ):
        raise OSError(f"FAISS does not read {written.file.name} as it was written")


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


class Comparison(NamedTuple):
    """What a model's snapshot and the database say of one another.

    Attributes:
        problems: of the snapshot, in words.
        doubtful: ids of images whose vectors differ although both checksums hold. Which is right nobody can tell.
        intact: of images whose vector is damaged in the database, the one in the snapshot, float32 (dim,), by id.
    """

    problems: list[str]
    doubtful: list[int]
    intact: dict[int, FloatArray]


def compare(storage: Storage, model: ModelRow, *, damaged: Collection[int]) -> Comparison:
    """Compare a model's snapshot with the database, row by row.

    Args:
        damaged: ids of images whose vector in the database is damaged.
    """
    recorded = storage.reads.snapshot(model.id)
    if recorded is None:
        return Comparison([], [], {})
    try:
        snapshot = _open_snapshot(storage.folder, recorded, model, read_all=True)
    except SnapshotError as error:
        if storage.reads.snapshot(model.id) != recorded:
            return compare(storage, model, damaged=damaged)  # another process has just replaced it
        return Comparison([f"index of {model.info.spec}: {error}"], [], {})
    none = np.empty(0, dtype=np.int64)
    written = VectorTable(snapshot, none, np.empty((0, model.info.dim), dtype=np.float32), none)
    due = storage.reads.image_ids_of(model.id, through=recorded.watermark)
    bad = np.array(sorted(damaged), dtype=np.int64)
    rows = written.rows_of(np.where(np.isin(bad, due), bad, -1))
    kept = dict(zip(bad[rows >= 0].tolist(), written.take(rows[rows >= 0]), strict=True))
    intact = {image_id: row for image_id, row in kept.items() if abs(float(np.linalg.norm(row)) - 1) < 1e-3}
    missing = np.setdiff1d(due, snapshot.ids)
    if len(missing):
        problem = f"index of {model.info.spec}: {len(missing)} vectors of the database are missing"
        return Comparison([problem], [], intact)
    unknown = np.setdiff1d(snapshot.ids, due)
    if recorded.generation == storage.reads.generation(model.id) and len(unknown):
        problem = f"index of {model.info.spec}: {len(unknown)} vectors that the database does not have"
        return Comparison([problem], [], intact)
    doubtful: list[int] = []
    with storage.reads.embeddings(model, after=0) as (_, parts):
        for _, ids, vectors in parts:
            rows = written.rows_of(np.where(np.isin(ids, due), ids, -1))  # others came, or were made anew, since
            differ = (written.take(rows[rows >= 0]) != vectors[rows >= 0]).any(axis=1)
            doubtful += ids[rows >= 0][differ].tolist()
    return Comparison([], doubtful, intact)


def recorded_files(storage: Storage) -> set[str]:
    """Names of the files in the index folder that models refer to."""
    models, kept = storage.reads.models(), storage.kept_snapshots()
    recorded = {s.file for m in models if (s := storage.reads.snapshot(m.id)) is not None}
    recorded |= {kept[m.id] for m in models if m.id in kept}
    recorded |= {map_file(storage.folder, m.info.fingerprint).name for m in models}
    return recorded | {FACTS_NAME} | {neighbours_file(storage.folder, m.info.fingerprint).name for m in models}


def neighbours_file(folder: Path, fingerprint: str) -> Path:
    """Where a model's graph of neighbours is kept, which `zsindex.lab.neighbours` writes and reads."""
    return folder / FOLDER_NAME / f"{fingerprint[:16]}.neighbours"


def map_file(folder: Path, fingerprint: str) -> Path:
    """Where a model's map is kept, which `zsindex.lab.layout` writes and reads."""
    return folder / FOLDER_NAME / f"{fingerprint[:16]}.map"


# Checksums of a model's graphs and maps are kept in the database: a file that it does not know is of another history
# than its own, in which the same ids were given to other images.
_NEIGHBOURS, _MAP = "neighbours", "map"


def is_recorded_graph(storage: Storage, model_id: int, sha256: str) -> bool:
    """Whether `zsindex.lab.neighbours` wrote this, or was about to.

    Args:
        sha256: hex, of what follows the file's header.
    """
    if storage.reads.derived(model_id, _NEIGHBOURS, sha256) is not None:
        return True
    return bool(storage.reads.derived(model_id, _NEIGHBOURS, _NEIGHBOURS) == sha256)  # where the last one only was kept


def record_graph(storage: Storage, model_id: int, sha256: str) -> None:
    """Let the database know of a graph that is about to be written.

    Raises:
        LibraryBusy, LibraryReadOnly, StorageFull, StorageFailed, ModelPruned
    """
    storage.labels.save_derived(model_id, _NEIGHBOURS, sha256, True)


def is_recorded_map(storage: Storage, model_id: int, sha256: str) -> bool:
    """Whether `zsindex.lab.layout` wrote this, or was about to."""
    return storage.reads.derived(model_id, _MAP, sha256) is not None


def record_map(storage: Storage, model_id: int, sha256: str) -> None:
    """Let the database know of a map that is about to be written; raises what `record_graph` does."""
    storage.labels.save_derived(model_id, _MAP, sha256, True)


def problems_beside(storage: Storage, model: ModelRow) -> dict[Path, str]:
    """What is wrong with the files of a model's graph and map, in words, by file."""
    graph = neighbours_file(storage.folder, model.info.fingerprint)
    layout = map_file(storage.folder, model.info.fingerprint)
    checked = {graph: ("neighbours", is_recorded_graph), layout: ("map", is_recorded_map)}
    found = {}
    for file, (what, is_recorded) in checked.items():
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            found[file] = f"{what} of {model.info.spec}: {file.name} cannot be read: {error.strerror}"
            continue
        body = content.find(b"\n") + 1 + hashlib.sha256().digest_size
        if not is_recorded(storage, model.id, hashlib.sha256(content[body:]).hexdigest()):
            found[file] = f"{what} of {model.info.spec}: {file.name} is damaged, or of another state of this library"
    return found

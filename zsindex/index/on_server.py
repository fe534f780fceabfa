"""Searches in the storage's own index, for machines that cannot hold the vectors: building it, and asking it.

The index has vectors of half precision. So of what it finds more is taken than was asked for, and the scores are
calculated anew from the vectors as they were stored: they are true to the bit. What may be missing is a photo that the
index did not find, and how many that are is measured when it is built. What was stored after it is compared beside it,
all of it, and what has gone is passed over.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from zsindex.errors import DimensionMismatch, ZsindexWarning
from zsindex.index import nearest
from zsindex.index.cells import DEPTHS
from zsindex.index.snapshots import MAX_REPLAY
from zsindex.index.vectors import VectorTable
from zsindex.records import FloatArray, IdArray
from zsindex.storage.protocol import NearestStorage, Storage
from zsindex.storage.rows import ModelRow, NearestRow

# So many candidates for each result: what half precision puts in another order is still among them.
CANDIDATES = 4
# From among fewer than this share of what is indexed, all are compared.
MIN_SHARE = 0.02
# A scan through the graph is given up after so many times what it would have to look at, if what is selected were
# spread evenly: then all are compared.
PATIENCE = 10
LEAST_SCANNED, MOST_SCANNED = 20_000, 200_000
# When all are compared, in half precision, so many are calculated anew at first, and at most.
FIRST_CLOSE, MOST_CLOSE = 64, 50_000

TARGET_RECALL = 0.99
# Photos, sums of two, and prompts each, by which is measured; and fewer prompts than the least say too little.
N_MEASURED = 300
MIN_MEASURED = 32
# How thoroughly the graph may be searched; pgvector allows no more than the last.
EF_SEARCH = (40, 60, 100, 160, 250, 400, 640, 1000)
# Adding to a graph goes row by row, and making one is done in memory: when this share is new, one is made.
MAX_ADDED = 0.25
# How well it finds is measured again when so much was added.
MEASURE_AFTER = 0.1
_PART_ADDED = 256


class NotIndexed(ZsindexWarning):
    """Searches read more vectors from the server than they need to."""


class ServerIndex:
    """Search over the vectors of one model, as of one moment, that stay on the server.

    Attributes:
        watermark: sequence number of the last embedding in it.
        generation: of the model's embeddings; another number in the database means that some were deleted since.
    """

    def __init__(
        self,
        storage: Storage,
        model: ModelRow,
        row: NearestRow | None,
        tail: VectorTable | None,
        *,
        watermark: int,
        generation: int,
    ) -> None:
        """Args:
        row: the index; None where there is none.
        tail: what came after it; None where that is too much to be held.
        """
        assert storage.nearest is not None
        self._nearest: NearestStorage = storage.nearest
        self._model = model
        self._row = row
        self._tail = tail
        self.watermark = watermark
        self.generation = generation

    @classmethod
    def open(cls, storage: Storage, model: ModelRow, last: ServerIndex | None = None) -> ServerIndex:
        """The index as it is now, with what came after it.

        Args:
            last: an earlier one of the same storage and model, of which is kept what is still true.

        Warns:
            NotIndexed: there is none, or much came after it.
        """
        assert storage.nearest is not None
        reads, none = storage.reads, np.empty(0, dtype=np.int64)
        generation, row = reads.generation(model.id), storage.nearest.row(model.id)
        after = 0 if row is None else row.watermark
        kept = last is not None and (last._row, last.generation) == (row, generation)
        if last is not None and kept and last._tail is not None:
            n_new = reads.count_after(model.id, last.watermark)
            if not n_new:
                return last
            if len(last._tail) + n_new <= MAX_REPLAY:
                watermark, ids, vectors = reads.embeddings_after(model, last.watermark)
                tail = VectorTable(
                    None, np.concatenate([last._tail.ids, ids]), np.concatenate([last._tail.tail, vectors]), none
                )
                return cls(storage, model, row, tail, watermark=watermark, generation=generation)
        n_tail = reads.count_after(model.id, after)
        if n_tail <= MAX_REPLAY:
            watermark, ids, vectors = reads.embeddings_after(model, after)
            return cls(
                storage, model, row, VectorTable(None, ids, vectors, none), watermark=watermark, generation=generation
            )
        if not kept:
            what = "there is no search index on the server" if row is None else "much came after the search index"
            warnings.warn(
                f"{what}, so each search reads {n_tail:,} vectors from it: zsindex index build --search",
                NotIndexed,
                stacklevel=2,
            )
        watermark = storage.nearest.last(model.id)
        return cls(storage, model, row, None, watermark=watermark, generation=generation)

    def search(
        self,
        queries: FloatArray,
        k: int,
        *,
        terms: FloatArray | None = None,
        image_ids: IdArray | None = None,
        exact: bool = False,
    ) -> tuple[IdArray, FloatArray]:
        """Find the k most similar images for each query; as `zsindex.index.snapshots.VectorIndex.search`.

        Scores are exact, but of the true k nearest some may be missing, as many as was measured when the index was
        built. More than 100 results, and those from among less than a fiftieth of the images, are found exactly.
        """
        each = [self._search(query, k, image_ids, exact, after=None, through=self.watermark) for query in queries]
        if not each:
            return np.empty((0, 0), np.int64), np.empty((0, 0), np.float32)
        return np.stack([best.ids for best in each]), np.stack([best.scores for best in each])

    def after(
        self, query: FloatArray, k: int, place: tuple[float, int], *, through: int, image_ids: IdArray | None = None
    ) -> tuple[IdArray, FloatArray]:
        """The k images that come after a place in the order of similarity to a query, exactly.

        Args:
            place: score and image id of the last one before them.
            through: sequence number of the last embedding that may be among them.

        Returns:
            Image ids int64 and cosine similarities float32, both (m,); fewer where there are no more.
        """
        best = self._search(query, k, image_ids, exact=True, after=place, through=through)
        return best.ids, best.scores

    def vectors_of(self, image_ids: IdArray) -> dict[int, FloatArray]:
        """Vectors of images, float32 (dim,), by id; those that have none are left out."""
        found: dict[int, FloatArray] = {}
        with self._nearest.rows(self._model, image_ids=image_ids) as parts:
            for _, ids, vectors in parts:
                found |= dict(zip(ids.tolist(), vectors, strict=True))
        return found

    def _search(
        self,
        query: FloatArray,
        k: int,
        image_ids: IdArray | None,
        exact: bool,
        *,
        after: tuple[float, int] | None,
        through: int,
    ) -> _Best:
        if len(query) != self._model.info.dim:
            raise DimensionMismatch(expected=self._model.info.dim, got=len(query), what="queries")
        best = _Best(query, k, after)
        if not k or (image_ids is not None and not len(image_ids)):
            return best
        indexed = 0 if self._row is None else min(self._row.watermark, through)
        if self._tail is not None and through == self.watermark:
            of_tail = np.arange(len(self._tail))
            if image_ids is not None:
                of_tail = of_tail[np.isin(self._tail.ids, image_ids)]
            best.add(self._tail.ids[of_tail], self._tail.take(of_tail))
        else:
            self._compare(best, image_ids, after=indexed, through=through)
        if self._row is not None and indexed:
            few = image_ids is not None and len(image_ids) < MIN_SHARE * self._row.n_vectors
            found = not few and (
                (not exact and k <= DEPTHS[-1] and self._look_up(best, self._row, image_ids, indexed))
                or self._compare_halves(best, self._row, image_ids, indexed)
            )
            if not found:
                self._compare(best, image_ids, after=0, through=indexed)
        return best

    def _look_up(self, best: _Best, row: NearestRow, image_ids: IdArray | None, through: int) -> bool:
        """Search in the graph; False where it does not find enough."""
        depth = next(i for i, up_to in enumerate(DEPTHS) if best.k <= up_to)
        if depth >= len(row.ef_search):
            return False
        n = CANDIDATES * best.k
        share = 1.0 if image_ids is None else min(1.0, len(image_ids) / max(1, row.n_vectors))
        found = self._nearest.candidates(
            row,
            self._model,
            best.query,
            n,
            ef_search=row.ef_search[depth],
            through=through,
            image_ids=image_ids,
            most_scanned=_most_scanned(n, share),
        )
        if found is None or len(found.ids) < n:
            return False
        best.add(found.ids, found.vectors)
        return True

    def _compare_halves(self, best: _Best, row: NearestRow, image_ids: IdArray | None, through: int) -> bool:
        """Compare all vectors of the index, and calculate those anew that half precision cannot tell from the last one
        of the result; False where these are too many, or the index is gone.
        """
        slack = _slack(best.query)
        below = None if best.after is None else best.after[0] + slack
        n = CANDIDATES * best.k + FIRST_CLOSE
        while n <= MOST_CLOSE:
            found = self._nearest.candidates(
                row, self._model, best.query, n, ef_search=None, through=through, image_ids=image_ids, below=below
            )
            if found is None:
                return False
            best.add(found.ids, found.vectors)
            # Whatever was not found has at most this similarity: less than the last of the result.
            if found.lowest == -np.inf or found.lowest + slack < best.last:
                return True
            n *= 8
        return False

    def _compare(self, best: _Best, image_ids: IdArray | None, *, after: int, through: int) -> None:
        """Read vectors from the library itself, some thousand at a time, and compare them."""
        if after < through:
            with self._nearest.rows(self._model, after=after, through=through, image_ids=image_ids) as parts:
                for _, ids, vectors in parts:
                    best.add(ids, vectors)


class _Best:
    """The best of what was found so far, as an exact search returns it.

    Attributes:
        ids, scores: int64 and float32 (n,), best first; ties in the order of ids.
    """

    def __init__(self, query: FloatArray, k: int, after: tuple[float, int] | None) -> None:
        self.query, self.k, self.after = query, k, after
        self.ids: IdArray = np.empty(0, dtype=np.int64)
        self.scores: FloatArray = np.empty(0, dtype=np.float32)

    @property
    def last(self) -> float:
        """Score of the last one of the result; -inf while there are fewer than were asked for."""
        return float(self.scores[-1]) if len(self.scores) == self.k else -np.inf

    def add(self, ids: IdArray, vectors: FloatArray) -> None:
        """Consider more images, int64 (n,), with their vectors, float32 (n, dim)."""
        if not len(ids):
            return
        table = VectorTable(None, ids, vectors, np.empty(0, dtype=np.int64))
        found, scores = nearest.exact_after(table, np.arange(len(ids)), self.query, self.k, after=self.after)
        # One that was deleted and made anew meanwhile comes twice.
        all_ids, first = np.unique(np.concatenate([self.ids, ids[found]]), return_index=True)
        all_scores = np.concatenate([self.scores, scores])[first]
        order = np.lexsort((all_ids, -all_scores))[: self.k]
        self.ids, self.scores = all_ids[order], all_scores[order]


def _most_scanned(n: int, share: float) -> int:
    return int(min(MOST_SCANNED, max(LEAST_SCANNED, PATIENCE * n / share)))


def _slack(query: FloatArray) -> float:
    """How far a similarity that is calculated from halves may be from the true one, at most: a half has 11 binary
    digits, below 2⁻¹⁴ fewer, and their products are added up in float32.
    """
    dim, norm = len(query), float(np.linalg.norm(query))
    of_query = float(np.linalg.norm(query.astype(np.float16).astype(np.float64) - query))
    of_vector = 1.001 * 2.0**-11 + 2.0**-25 * math.sqrt(dim)
    return of_query * (1.001 + of_vector) + of_vector * norm + 1.01 * dim * 2.0**-23 * norm


# --- building ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Build:
    """How a search index is to be built.

    Attributes:
        m, ef_construction: of HNSW: edges of a photo, and how thoroughly they are looked for.
        recall: of the true results so many are to be found, as a share.
        memory_mb: what the server may take for it; None: what it takes of its own accord.
        anew: even if there is one that can be added to.
    """

    m: int = 16
    ef_construction: int = 64
    recall: float = TARGET_RECALL
    memory_mb: int | None = None
    anew: bool = False


def build(
    storage: Storage,
    model: ModelRow,
    how: Build,
    *,
    progress: Callable[[str, int, int], None],
    should_stop: Callable[[], bool],
) -> NearestRow | None:
    """Build a model's index, go on with one that was begun, or add to it what is new.

    Args:
        progress: called with a stage, photos so far, and in all.

    Returns:
        What is recorded of it; None where it was stopped. What was copied is kept.

    Raises:
        NoSearchIndex, LibraryReadOnly, LibraryBusy, StorageFull, StorageFailed
    """
    there = storage.nearest
    assert there is not None
    there.prepare()
    with there.lock.hold("build the search index", wait=False):
        there.remove_strays()
        row, half = (_of_table(there, model, being_made=being_made) for being_made in (False, True))
        wanted = (how.m, how.ef_construction)
        if row is not None and not how.anew and (row.m, row.ef_construction) == wanted:
            n_new = storage.reads.count_after(model.id, row.watermark)
            if n_new <= MAX_ADDED * row.n_vectors:
                return _add_to(storage, there, model, row, how, n_new, progress, should_stop)
        if half is None or (half.m, half.ef_construction) != wanted:
            half = there.begin(model, m=how.m, ef_construction=how.ef_construction)
        half = replace(half, n_vectors=there.cut_back(half))
        copied = _copy(storage, there, model, half, progress, should_stop, being_made=True)
        if copied is None:
            return None
        n = copied.n_vectors
        progress("graph", 0, n)
        made = there.make_graph(
            copied,
            memory_mb=how.memory_mb,
            report=lambda share: progress("graph", int(share * n), n),
            should_stop=should_stop,
        )
        if not made:
            return None
        progress("graph", n, n)
        measured = _measure(there, model, copied, how.recall, progress, should_stop)
        if measured is None:
            return None
        there.save(model.id, measured)
        there.save(model.id, None, being_made=True)
        there.remove_strays()
        return measured


def _of_table(there: NearestStorage, model: ModelRow, *, being_made: bool) -> NearestRow | None:
    """What is recorded, if its table is there: a copy of a library knows of that of another one."""
    row = there.row(model.id, being_made=being_made)
    return None if row is None or there.size_bytes(row) is None else row


def _add_to(
    storage: Storage,
    there: NearestStorage,
    model: ModelRow,
    row: NearestRow,
    how: Build,
    n_new: int,
    progress: Callable[[str, int, int], None],
    should_stop: Callable[[], bool],
) -> NearestRow | None:
    row = replace(row, n_vectors=there.cut_back(row))
    added = _copy(storage, there, model, row, progress, should_stop, being_made=False) if n_new else row
    if added is None:
        return None
    if added.target == how.recall and added.n_vectors <= (1 + MEASURE_AFTER) * added.n_measured:
        return added
    measured = _measure(there, model, added, how.recall, progress, should_stop)
    if measured is not None:
        there.save(model.id, measured)
    return measured


def _copy(
    storage: Storage,
    there: NearestStorage,
    model: ModelRow,
    row: NearestRow,
    progress: Callable[[str, int, int], None],
    should_stop: Callable[[], bool],
    *,
    being_made: bool,
) -> NearestRow | None:
    """Copy what came after an index into it, part by part, each of which is recorded; None where it was stopped."""
    total = row.n_vectors + storage.reads.count_after(model.id, row.watermark)
    progress("copy", row.n_vectors, total)
    with there.rows(model, after=row.watermark) as parts:
        for seqs, ids, vectors in parts:
            # Into a graph row by row: not so many between two looks at `should_stop`.
            size = len(seqs) if being_made else _PART_ADDED
            for start in range(0, len(seqs), size):
                if should_stop():
                    return None
                part = slice(start, start + size)
                there.add(row, seqs[part], ids[part], vectors[part])
                n = row.n_vectors + len(seqs[part])
                row = replace(row, watermark=int(seqs[part][-1]), n_vectors=n)
                there.save(model.id, row, being_made=being_made)
                progress("copy", n, max(n, total))
    return row


def _measure(
    there: NearestStorage,
    model: ModelRow,
    row: NearestRow,
    target: float,
    progress: Callable[[str, int, int], None],
    should_stop: Callable[[], bool],
) -> NearestRow | None:
    """Find out how thoroughly the graph must be searched to find so much, by depth: for photos, for sums of two, and
    for prompts, each of which shall find it. None where it was stopped.
    """
    own, photos = there.sample(row, model, N_MEASURED)
    partner = np.random.default_rng(0).permutation(len(photos))
    sums = photos + photos[partner]
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    prompts = there.sample_prompts(model, N_MEASURED)
    queries = np.concatenate([photos, sums, prompts]).astype(np.float32)
    group = np.repeat([0, 1, 2], [len(photos), len(sums), len(prompts)])
    true = _true(there, model, row, queries, progress, should_stop)
    if true is None:
        return None
    # That a photo finds itself says nothing.
    itself = np.concatenate([own, np.full(len(queries) - len(own), -1)])
    groups = [group == g for g in range(3) if (group == g).sum() >= MIN_MEASURED] or [group >= 0]
    chosen, recall = [0] * len(DEPTHS), [0.0] * len(DEPTHS)
    n_most = CANDIDATES * DEPTHS[-1]
    aim = (1 + target) / 2  # it is a sample: misses are all those of a few queries
    for ef_search in EF_SEARCH:
        if should_stop():
            return None
        found = there.found(row, queries, n_most, ef_search=ef_search, most_scanned=_most_scanned(n_most, 1))
        if found is None:
            return None  # somebody has dropped it meanwhile
        for i, depth in enumerate(DEPTHS):
            if chosen[i] and recall[i] >= aim:
                continue
            # As many candidates as a search takes, and none more: what a scan finds when it goes on is much of what it
            # has missed.
            shares = np.array(
                [
                    _share_of(of_query[:depth], ids[: CANDIDATES * depth], without)
                    for of_query, ids, without in zip(true, found, itself.tolist(), strict=True)
                ]
            )
            chosen[i], recall[i] = ef_search, float(min((shares[some].mean() for some in groups), default=1.0))
        if all(share >= aim for share in recall):
            break
    return replace(
        row,
        ef_search=tuple(chosen),
        recall=tuple(round(share, 4) for share in recall),
        target=target,
        n_questions=len(queries),
        n_measured=row.n_vectors,
    )


def _share_of(true: Sequence[int], found: IdArray, without: int) -> float:
    """How many of the true ones were found."""
    wanted = [image_id for image_id in true if image_id != without]
    return float(np.isin(wanted, found).mean()) if wanted else 1.0


def _true(
    there: NearestStorage,
    model: ModelRow,
    row: NearestRow,
    queries: FloatArray,
    progress: Callable[[str, int, int], None],
    should_stop: Callable[[], bool],
) -> list[list[int]] | None:
    """Ids of the true nearest of all that is indexed, best first, for each query; None where it was stopped."""
    ids = np.full((len(queries), 0), -1, dtype=np.int64)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    done, most = 0, DEPTHS[-1]
    progress("measure", 0, row.n_vectors)
    with there.rows(model, through=row.watermark) as parts:
        for _, part_ids, vectors in parts:
            if should_stop():
                return None
            # Many queries at once, whose last bits do not matter.
            scores = np.concatenate([scores, queries @ vectors.T], axis=1)
            ids = np.concatenate([ids, np.broadcast_to(part_ids, (len(queries), len(part_ids)))], axis=1)
            if scores.shape[1] > most:
                best = np.argpartition(-scores, most - 1, axis=1)[:, :most]
                scores, ids = np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)
            done += len(part_ids)
            progress("measure", done, max(done, row.n_vectors))
    order = np.argsort(-scores, axis=1, kind="stable")
    found: list[list[int]] = np.take_along_axis(ids, order, 1).tolist()
    return found

"""Cells: the rows of a large snapshot grouped by k-means, so that a search looks at a few groups only.

The rows of a cell lie side by side in the snapshot. A search compares the query with the centroids, and then with
every row of the nearest cells, in the same float32 rows that an exact search reads: what it finds has its true score,
but what lies in a cell that was not looked at is missed. How many cells must be looked at is measured on the library
itself whenever a snapshot is written, and kept with the cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zsindex.records import FloatArray, IdArray

# A search for up to so many results looks at as many cells as were measured for that; one for more is exact.
DEPTHS = (10, 20, 50, 100)
# Of the true neighbours in the measurement so many are found. A little more than 0.99, which is what is promised: it is
# a sample.
TARGET_RECALL = 0.995
# Photos, sums of two, and prompts that are searched for to measure that. The neighbours of a few lie in hundreds of
# cells; among so many no single one decides.
N_MEASURED = 512
# Kinds of queries by their nearness to a cell, and so by how widely their neighbours are spread: nearly all photos; the
# oddest of them, and sums of two photos; and what is further away than these, such as texts.
N_KINDS = 3
# Fewer queries of a kind say too little, and fewer of one group in a kind do not count for themselves.
MIN_MEASURED = 32
MIN_GROUP = 128
TRAINING_ROWS_PER_CELL = 40
_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Cells:
    """How the rows of a snapshot are grouped.

    Attributes:
        centroids: float32 (m, dim), unit vectors.
        starts: int64 (m + 1,): the rows ``starts[i]:starts[i + 1]`` belong to cell i.
        nearness: float64 (`N_KINDS` - 1,), descending: cosine similarities of a query to its nearest centroid that
            divide the kinds. Further away, neighbours lie in more cells.
        n_probe: int64 (`N_KINDS`, len(`DEPTHS`)): cells to look at, by kind and depth; m for all.
    """

    centroids: FloatArray
    starts: IdArray
    nearness: npt.NDArray[np.float64]
    n_probe: IdArray

    def of_rows(self) -> IdArray:
        """The cell of each row, int64 (n,)."""
        return np.repeat(np.arange(len(self.centroids)), np.diff(self.starts))

    def to_probe(self, query: FloatArray, k: int, terms: FloatArray) -> tuple[IdArray, int]:
        """All cells in the order of looking at them, and how many of them a search for `k` results must look at.

        Args:
            query: float32 (dim,).
            terms: float32 (t, dim): what the query is the sum of. Photos among them would belong into the result, and
                need not lie anywhere near the sum: their own cells come first, and then the nearest to the query.
        """
        similarities = self.centroids @ query
        order = np.argsort(-similarities)
        kind = int((self.nearness > similarities[order[0]]).sum())
        depth = next((i for i, up_to in enumerate(DEPTHS) if k <= up_to), None)
        n = len(order) if depth is None else int(self.n_probe[kind, depth])
        own = np.unique((terms @ self.centroids.T).argmax(axis=1))
        return np.concatenate([own, order[~np.isin(order, own)]]), min(len(order), n + len(own))

    def to_bytes(self) -> bytes:
        """The end of an index file; docs/storage.md describes it."""
        return b"".join(
            [
                self.centroids.astype("<f4").tobytes(),
                self.starts.astype("<i8").tobytes(),
                self.nearness.astype("<f8").tobytes(),
                self.n_probe.astype("<i8").tobytes(),
            ]
        )

    @staticmethod
    def size(n_cells: int, dim: int) -> int:
        """Bytes that `to_bytes` of so many cells returns; 0 for none."""
        return n_cells * dim * 4 + (n_cells + 1 + N_KINDS - 1 + N_KINDS * len(DEPTHS)) * 8 if n_cells else 0

    @classmethod
    def from_bytes(cls, data: bytes, n_cells: int, dim: int) -> Cells:
        """What `to_bytes` returned."""
        centroids = np.frombuffer(data, dtype="<f4", count=n_cells * dim).reshape(n_cells, dim)
        at = centroids.nbytes
        starts = np.frombuffer(data, dtype="<i8", count=n_cells + 1, offset=at)
        at += starts.nbytes
        nearness = np.frombuffer(data, dtype="<f8", count=N_KINDS - 1, offset=at)
        n_probe = np.frombuffer(data, dtype="<i8", offset=at + nearness.nbytes).reshape(N_KINDS, len(DEPTHS))
        return cls(
            centroids.astype(np.float32), starts.astype(np.int64), nearness.astype(np.float64), n_probe.astype(np.int64)
        )


def cell_count(n: int) -> int:
    """Cells for `n` rows: the power of two nearest to twice the square root, changing with every fourfold growth."""
    return int(2 ** round(np.log2(2 * np.sqrt(n))))


def train(vectors: FloatArray, n_cells: int) -> FloatArray:
    """Centroids float32 (n_cells, dim) by spherical k-means over a random sample of the rows, always the same one."""
    import faiss

    size = min(len(vectors), n_cells * TRAINING_ROWS_PER_CELL)
    sample = vectors[np.sort(np.random.default_rng(0).choice(len(vectors), size, replace=False))]
    means = faiss.Kmeans(
        vectors.shape[1],
        n_cells,
        niter=8,
        spherical=True,
        seed=1,
        min_points_per_centroid=1,
        max_points_per_centroid=TRAINING_ROWS_PER_CELL,
    )
    means.train(sample)
    centroids: FloatArray = means.centroids
    return centroids


def assign(vectors: FloatArray, centroids: FloatArray) -> IdArray:
    """The cell of each row, int64 (n,): that of the most similar centroid."""
    cells = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[start : start + _BLOCK_ROWS]
        cells[start : start + _BLOCK_ROWS] = (block @ centroids.T).argmax(axis=1)
    return cells


def arrange(
    ids: IdArray,
    vectors: FloatArray,
    prompts: FloatArray,
    *,
    known: tuple[FloatArray, IdArray] | None,
) -> tuple[Cells, IdArray]:
    """Group rows into cells.

    Args:
        ids: int64 (n,), image ids.
        vectors: float32 (n, dim).
        prompts: float32 (p, dim): what may be asked for in words.
        known: centroids of a former grouping and the cells of the first rows under it, which are kept as long as their
            number suits.

    Returns:
        The cells, and the row numbers in their order: by cell, and by id in each.
    """
    n_cells = cell_count(len(vectors))
    if known is not None and len(known[0]) == n_cells:
        centroids, first = known
    else:
        centroids, first = train(vectors, n_cells), np.empty(0, dtype=np.int64)
    cell_of = np.concatenate([first, assign(vectors[len(first) :], centroids)])
    starts = np.concatenate([[0], np.cumsum(np.bincount(cell_of, minlength=n_cells))])
    nearness, n_probe = _measure(vectors, prompts, centroids, cell_of)
    return Cells(centroids, starts, nearness, n_probe), np.lexsort((ids, cell_of))


def _measure(
    vectors: FloatArray, prompts: FloatArray, centroids: FloatArray, cell_of: IdArray
) -> tuple[npt.NDArray[np.float64], IdArray]:
    """What divides the kinds of queries, and how many cells hold the true neighbours of each."""
    import faiss

    random = np.random.default_rng(0)
    n_rows = min(N_MEASURED, len(vectors))
    rows = np.sort(random.choice(len(vectors), n_rows, replace=False))
    photos = vectors[rows]
    partner = random.permutation(n_rows)
    sums = photos + photos[partner]
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    texts = prompts[np.sort(random.choice(len(prompts), min(N_MEASURED, len(prompts)), replace=False))]
    queries = np.concatenate([photos, sums, texts])
    group = np.repeat([0, 1, 2], [n_rows, n_rows, len(texts)])

    similarities = queries @ centroids.T
    nearest = similarities.max(axis=1).astype(np.float64)
    nearness = np.array([np.quantile(nearest[:n_rows], 0.05), nearest[: 2 * n_rows].min()])
    kind = (nearness > nearest[:, None]).sum(axis=1)

    # Whose turn a cell is for a query: 0 for the nearest.
    turn = np.argsort(np.argsort(-similarities, axis=1), axis=1)
    # Many queries at once, whose last bits do not matter: four times as fast as `zsindex.index.nearest.exact`.
    _, found = faiss.knn(queries, vectors, min(DEPTHS[-1] + 1, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
    turns = np.take_along_axis(turn, cell_of[found], 1)
    # That a photo finds itself says nothing, and what was added up is found in its own cell.
    others = np.ones_like(found, dtype=bool)
    others[: 2 * n_rows] = found[: 2 * n_rows] != np.tile(rows, 2)[:, None]
    others[n_rows : 2 * n_rows] &= found[n_rows : 2 * n_rows] != rows[partner][:, None]

    n_probe = np.full((N_KINDS, len(DEPTHS)), len(centroids))
    for of_kind in range(N_KINDS):
        whole = kind == of_kind
        if whole.sum() < MIN_MEASURED:
            continue  # what such queries need is not known: all cells, which is an exact search
        groups = (whole & (group == g) for g in range(3))
        judged = [whole, *(one for one in groups if one.sum() >= MIN_GROUP)]
        for i, depth in enumerate(DEPTHS):
            first = np.s_[:, : depth + 1]
            needed = max(np.quantile(turns[some][first][others[some][first]], TARGET_RECALL) for some in judged)
            n_probe[of_kind, i] = min(len(centroids), int(np.ceil(needed)) + 1)
    return nearness, n_probe

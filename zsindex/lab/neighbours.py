"""The k nearest neighbours of every image, exact and a block at a time; and all pairs above a cosine.

Blocks of rows are multiplied with each other, each pair of blocks once: a product serves the rows of one block and,
transposed, those of the other. Only entries nearer than a row's present neighbours are considered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsindex.errors import TooManyPairs
from zsindex.index import sealed
from zsindex.index.vectors import VectorTable
from zsindex.records import FloatArray, IdArray

# Rows of a block: a product of two blocks is 16 MB.
BLOCK_ROWS = 2048
# More pairs than this would not be near-duplicates, and would fill memory: they take about 100 MB.
MAX_PAIRS = 5_000_000
# Two products of the same rows differ in their last bits, depending on where the rows lie. What is kept is computed
# again, in a reproducible way.
_SLACK = np.float32(1e-5)

_MAGIC = b"zsindex neighbours 1\n"


@dataclass(frozen=True)
class Graph:
    """The nearest neighbours of each of u images, without the image itself.

    Attributes:
        ids: int64 (u,), of the images.
        neighbours: int64 (u, k): numbers of images, 0 to u - 1, nearest first; ties in the order of the numbers.
        cosines: float32 (u, k).
    """

    ids: IdArray
    neighbours: IdArray
    cosines: FloatArray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def k(self) -> int:
        """Neighbours per image; fewer than requested if there are not enough images."""
        return int(self.neighbours.shape[1])

    def nearest(self, k: int) -> Graph:
        """The same graph with the first k neighbours."""
        return self if k >= self.k else Graph(self.ids, self.neighbours[:, :k], self.cosines[:, :k])


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, each once, most similar first.

    Attributes:
        first, second: int64 (p,), numbers of images; first < second.
        cosines: float32 (p,).
    """

    first: IdArray
    second: IdArray
    cosines: FloatArray

    def __len__(self) -> int:
        return len(self.first)


# --- building ---------------------------------------------------------------------------------------------------------


def build(
    vectors: VectorTable,
    rows: IdArray,
    k: int,
    *,
    known: Graph | None = None,
    step: Callable[[float], None] = lambda _: None,
) -> Graph:
    """The k nearest neighbours of each image among all of them, exactly.

    If several images tie for the last place (to within 1e-5), it is undefined which one is included.

    Args:
        vectors, rows: which images; none of the rows deleted.
        k: neighbours per image.
        known: the graph of some of these images, with at least as many neighbours each. Only products with the others
            are then computed.
        step: called now and then with the share that is done; may raise to end it.
    """
    n = len(rows)
    k = min(k, max(0, n - 1))
    ids = vectors.ids[rows]
    if k == 0:
        return Graph(ids, np.empty((n, 0), dtype=np.int64), np.empty((n, 0), dtype=np.float32))
    # Known images come first, in blocks of their own.
    at = _places(known.ids, ids) if known is not None and known.k >= k and len(known) < n else None
    if known is not None and at is not None and (at >= 0).all():
        is_known = np.zeros(n, dtype=bool)
        is_known[at] = True
        order = np.concatenate([at, np.flatnonzero(~is_known)])
        n_known = len(at)
    else:
        order, n_known = np.arange(n), 0
    found = np.full((n, k), -1, dtype=np.int64)
    cosines = np.full((n, k), -np.inf, dtype=np.float32)
    if known is not None and n_known:
        found[:n_known], cosines[:n_known] = known.neighbours[:, :k], known.cosines[:, :k]
    best = _Best(found, cosines)
    ordered = rows[order]
    old, new = len(_cut(0, n_known)), len(_cut(n_known, n))
    total = new * old + new * (new + 1) // 2
    for done, (a, b, products) in enumerate(_products(vectors, ordered, n_known)):
        step(done / total)
        if a == b:
            np.fill_diagonal(products, -np.inf)
        best.offer(a, b, products)
        if a != b:
            best.offer(b, a, products.T)
    _settle(vectors, ordered, found, cosines)
    # Back to the order and numbering of `rows`.
    back = np.empty(n, dtype=np.int64)
    back[order] = np.arange(n)
    numbers = order[found][back]
    cosines = cosines[back]
    by_number = np.lexsort((numbers, -cosines), axis=1)
    return Graph(ids, np.take_along_axis(numbers, by_number, 1), np.take_along_axis(cosines, by_number, 1))


def _places(of: IdArray, among: IdArray) -> IdArray:
    """The position of each id in `among`, -1 if it is not there."""
    order = np.argsort(among, kind="stable")
    at = order[np.minimum(np.searchsorted(among, of, sorter=order), len(among) - 1)]
    return np.where(among[at] == of, at, -1)


def _cut(start: int, stop: int) -> list[slice]:
    return [slice(i, min(i + BLOCK_ROWS, stop)) for i in range(start, stop, BLOCK_ROWS)]


def _products(vectors: VectorTable, rows: IdArray, n_known: int) -> Iterator[tuple[slice, slice, FloatArray]]:
    """Products of every two blocks of rows, once; but not of two blocks among the first `n_known` rows.

    Each block is first multiplied with itself, so that every row has neighbours early and little of the rest is nearer.
    """
    old, new = _cut(0, n_known), _cut(n_known, len(rows))
    for a in new:
        block = vectors.take(rows[a])
        yield a, a, block @ block.T
    every = old + new
    for at, b in enumerate(new, start=len(old)):
        block = vectors.take(rows[b])
        for a in every[:at]:
            yield a, b, vectors.take(rows[a]) @ block.T


class _Best:
    """The k best neighbours of every row so far. The first block that meets a row fills its places."""

    def __init__(self, found: IdArray, cosines: FloatArray) -> None:
        self.found, self.cosines = found, cosines
        self.k = found.shape[1]

    def offer(self, a: slice, b: slice, products: FloatArray) -> None:
        """Offer the rows of `b` as neighbours to those of `a`, given their products (len a, len b)."""
        last = self.cosines[a, -1]
        if np.isneginf(last).any():
            # As long as places are empty, everything is near enough: look at all.
            kept = min(self.k, products.shape[1])
            columns = np.argpartition(-products, kept - 1, axis=1)[:, :kept]
            values = np.take_along_axis(products, columns, 1)
            self._merge(np.arange(a.start, a.stop), columns + b.start, values)
            return
        # In memory order, whether the products are transposed or not.
        if products.flags.c_contiguous:
            at, columns = np.divmod(np.flatnonzero(products > last[:, None]), products.shape[1])
        else:
            columns, at = np.divmod(np.flatnonzero(last < products.T), products.shape[0])
            order = np.argsort(at, kind="stable")
            at, columns = at[order], columns[order]
        if not len(at):
            return
        values = products[at, columns]
        # From a list of candidates to a table, with each row's candidates side by side.
        rows, starts, counts = np.unique(at, return_index=True, return_counts=True)
        table = np.full((len(rows), int(counts.max())), -1, dtype=np.int64)
        scores = np.full(table.shape, -np.inf, dtype=np.float32)
        row = np.repeat(np.arange(len(rows)), counts)
        place = np.arange(len(at)) - np.repeat(starts, counts)
        table[row, place], scores[row, place] = columns + b.start, values
        self._merge(rows + a.start, table, scores)

    def _merge(self, rows: IdArray, numbers: IdArray, values: FloatArray) -> None:
        """Merge candidates (len(rows), m) into the neighbours of some rows."""
        numbers = np.concatenate([self.found[rows], numbers], axis=1)
        values = np.concatenate([self.cosines[rows], values], axis=1)
        order = np.argsort(-values, axis=1, kind="stable")[:, : self.k]
        self.found[rows] = np.take_along_axis(numbers, order, 1)
        self.cosines[rows] = np.take_along_axis(values, order, 1)


def _settle(vectors: VectorTable, rows: IdArray, found: IdArray, cosines: FloatArray) -> None:
    """Compute the cosines again, one by one, so that the same two vectors always have the same cosine."""
    for part in _cut(0, len(rows)):
        own = vectors.take(rows[part])
        for place in range(found.shape[1]):
            cosines[part, place] = _cosines(own, vectors.take(rows[found[part, place]]))


def _cosines(one: FloatArray, other: FloatArray) -> FloatArray:
    """Cosines of the rows of two arrays (m, dim), float32 (m,). Not a matrix product, whose last bits depend on its
    shape.
    """
    cosines: FloatArray = np.multiply(one, other, dtype=np.float64).sum(axis=1).astype(np.float32)
    return cosines


# --- pairs ------------------------------------------------------------------------------------------------------------


def pairs_above(vectors: VectorTable, rows: IdArray, graph: Graph, threshold: float) -> Pairs:
    """All pairs of images with a cosine of at least a threshold, exactly.

    Images whose last neighbour in the graph is below it have all their pairs in the graph. The others, such as those in
    the middle of a long series, are compared with all images.

    Args:
        vectors, rows: which images.
        graph: of the same images, in the same order.

    Raises:
        TooManyPairs: there are more than `MAX_PAIRS`.
    """
    limit = np.float32(threshold)
    near = graph.cosines >= limit
    _refuse(int(near.sum()) // 2, threshold)
    one, place = np.nonzero(near)
    other = graph.neighbours[one, place]
    parts = [(one, other, graph.cosines[one, place])]
    if graph.k:
        n_pairs = len(one)
        crowded = np.flatnonzero(near[:, -1]) if graph.k < len(graph) - 1 else np.empty(0, dtype=np.int64)
        for a in _cut(0, len(crowded)):
            own = vectors.take(rows[crowded[a]])
            for b in _cut(0, len(rows)):
                others = vectors.take(rows[b])
                at, column = np.nonzero(own @ others.T >= limit - _SLACK)
                exact = np.concatenate(
                    [_cosines(own[at[i]], others[column[i]]) for i in _cut(0, len(at))]
                    or [np.empty(0, dtype=np.float32)]
                )
                keep = (exact >= limit) & (crowded[a][at] != column + b.start)
                parts.append((crowded[a][at[keep]], column[keep] + b.start, exact[keep]))
                n_pairs += int(keep.sum())
                _refuse(n_pairs // 4, threshold)  # each may have been found up to four times
    first = np.concatenate([np.minimum(one, other) for one, other, _ in parts])
    second = np.concatenate([np.maximum(one, other) for one, other, _ in parts])
    cosines = np.concatenate([values for _, _, values in parts])
    _, unique = np.unique(first * len(rows) + second, return_index=True)
    _refuse(len(unique), threshold)
    first, second, cosines = first[unique], second[unique], cosines[unique]
    order = np.lexsort((second, first, -cosines))
    return Pairs(first[order], second[order], cosines[order])


def _refuse(n_pairs: int, threshold: float) -> None:
    if n_pairs > MAX_PAIRS:
        raise TooManyPairs(threshold, limit=MAX_PAIRS)


# --- keeping ----------------------------------------------------------------------------------------------------------


def load(file: Path, *, is_recorded: Callable[[str], bool], generation: int) -> Graph | None:
    """A graph as `save` wrote it; None if there is none, it is damaged, or vectors have been deleted since.

    Args:
        is_recorded: whether the library knows a checksum.
    """
    body = sealed.read(file, _MAGIC, is_recorded=is_recorded)
    if body is None:
        return None
    stored, n, k = np.frombuffer(body, dtype="<i8", count=3).tolist()
    if stored != generation:
        return None
    ids = np.frombuffer(body, dtype="<i8", count=n, offset=24).astype(np.int64)
    neighbours = np.frombuffer(body, dtype="<i4", count=n * k, offset=24 + 8 * n).astype(np.int64)
    cosines = np.frombuffer(body, dtype="<f4", count=n * k, offset=24 + 8 * n + 4 * n * k).astype(np.float32)
    return Graph(ids, neighbours.reshape(n, k), cosines.reshape(n, k))


def save(graph: Graph, file: Path, *, generation: int, record: Callable[[str], None]) -> bool:
    """Write a graph, replacing an earlier one; see `zsindex.index.sealed`. False if that is impossible: on a full disk,
    only the next question takes longer.
    """
    body = b"".join(
        (
            np.array([generation, len(graph), graph.k], dtype="<i8").tobytes(),
            graph.ids.astype("<i8").tobytes(),
            graph.neighbours.astype("<i4").tobytes(),
            graph.cosines.astype("<f4").tobytes(),
        )
    )
    return sealed.could_write(file, _MAGIC, body, record=record)


def graph(
    vectors: VectorTable,
    rows: IdArray,
    k: int,
    *,
    file: Path | None,
    is_recorded: Callable[[str], bool],
    generation: int,
    record: Callable[[str], None] | None,
    step: Callable[[float], None] = lambda _: None,
) -> Graph:
    """The graph of some images: read from a file if possible, else built or extended and written there.

    Args:
        vectors, rows: which images.
        k: neighbours per image.
        file: where it may be kept; None for nowhere.
        generation: of the model's embeddings; a graph built before some were deleted is not used.
        is_recorded: whether the library knows a file by its checksum.
        record: tells the library that of a new one. None: none is written.
        step: as for `build`.
    """
    known = None if file is None else load(file, is_recorded=is_recorded, generation=generation)
    ids = vectors.ids[rows]
    enough = known is not None and known.k >= min(k, max(0, len(ids) - 1))
    if known is not None and enough and np.array_equal(known.ids, ids):
        return known.nearest(k)
    made = build(vectors, rows, k, known=known, step=step)
    if file is not None and record is not None:
        save(made, file, generation=generation, record=record)
    return made

"""The rows most similar to a query, in plain numpy: over all rows, or over the nearest cells of a large snapshot."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from zsindex.index import cores
from zsindex.index.cells import DEPTHS, Cells
from zsindex.index.vectors import VectorTable, cut, span
from zsindex.records import FloatArray, IdArray

# How many scores are kept at a time: 64 MB.
_MAX_SCORES = 2**24
_BLOCK_ROWS = 8192
# Rows that a core takes at a time, at most: where others want it, too, each return to Python costs a turn. Blocks that
# stay in its own cache were faster on a machine with nothing else to do, and several times slower on a busy one.
_MAX_ROWS = 32_768
# Below so many multiplications (a millisecond) threads cost more than they bring.
_THREADING_PAYS = 2**21
# Two products of the same rows differ in their last bits, depending on where the rows lie and on how many are
# multiplied at once. Whatever comes so close to the last place takes part in the decision, which is made in float64.
_SLACK = 1e-5
# Where so many of the rows are wanted, all are multiplied: gathering the others takes several times as long as reading
# over them (`benchmarks/filters.py`).
_DENSE = 0.3


@dataclass(eq=False)
class _Asked:
    """What a thread waits for. Rows and vectors are told apart by what they are, not by what is in them.

    Attributes:
        products: float32 (q, len(rows)), once they are there.
        woken: set when they are, or when it is this thread's turn to calculate.
        gone: nobody waits for it any more.
    """

    vectors: VectorTable
    rows: IdArray
    queries: FloatArray
    products: FloatArray | None = None
    woken: threading.Event = field(default_factory=threading.Event)
    gone: bool = False


class _Together:
    """Products of queries and rows, one pass over the rows at a time, however many threads ask.

    A pass takes all cores, and most of its time is that of reading the rows from memory. So those who ask for the same
    rows meanwhile wait, and are then answered by one pass together, in the thread of the first of them. That changes
    the last bits of products, which decide nothing: see `_SLACK`.

    Attributes:
        passes: how many there were.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of these, and held no longer than to look at them
        self._waiting: list[_Asked] = []
        self._at_work: _Asked | None = None
        self.passes = 0

    def products(self, vectors: VectorTable, rows: IdArray, queries: FloatArray) -> FloatArray:
        """float32 (q, len(rows)), of queries float32 (q, dim)."""
        if len(rows) * vectors.dim * len(queries) < _THREADING_PAYS:
            products = np.empty((len(queries), len(rows)), dtype=np.float32)
            for where, block in cut(vectors, rows, _BLOCK_ROWS):
                # Not a matrix product, whose threads would have to be told that one is enough: that takes longer.
                products[:, where] = np.einsum("rd,qd->qr", block, queries)
            return products
        mine = _Asked(vectors, rows, queries)
        try:
            with self._lock:
                self._waiting.append(mine)
                if self._at_work is None:
                    self._next()
            mine.woken.wait()
            if mine.products is None:
                self._answer(mine)
        finally:
            # Also after Ctrl-C: nobody waits for a turn that will never end.
            with self._lock:
                mine.gone = True
                if mine in self._waiting:
                    self._waiting.remove(mine)
                if self._at_work is mine:
                    self._next()
        assert mine.products is not None
        return mine.products

    def _next(self) -> None:
        """Give the turn to whoever has waited longest."""
        self._at_work = self._waiting[0] if self._waiting else None
        if self._at_work is not None:
            self._at_work.woken.set()

    def _answer(self, mine: _Asked) -> None:
        """Calculate what this thread waits for, and for others that wait for the same rows, as many as there is room
        for.
        """
        with self._lock:
            asked, room = [mine], _MAX_SCORES // len(mine.rows) - len(mine.queries)
            for other in self._waiting:
                alike = other.vectors is mine.vectors and other.rows is mine.rows
                if other is not mine and alike and len(other.queries) <= room:
                    asked.append(other)
                    room -= len(other.queries)
            self._waiting = [one for one in self._waiting if one not in asked]
            alone = not asked[1:] and not self._waiting
            self.passes += 1
        try:
            queries = mine.queries if alone else np.concatenate([one.queries for one in asked])
            products = _one_pass(mine.vectors, mine.rows, queries, alone=alone)
        except BaseException:
            with self._lock:
                self._waiting[:0] = [one for one in asked[1:] if not one.gone]
            raise
        done = 0
        for one in asked:
            one.products = products[done : done + len(one.queries)]
            done += len(one.queries)
            one.woken.set()


def _one_pass(vectors: VectorTable, rows: IdArray, queries: FloatArray, *, alone: bool) -> FloatArray:
    """Products of queries and rows; `alone`: nobody else asks for any at the moment."""
    products = np.empty((len(queries), len(rows)), dtype=np.float32)
    if alone:
        # The product's own threads, which nothing holds up then, take half the time of ours.
        with cores.a_pass():
            for where, block in cut(vectors, rows, _BLOCK_ROWS):
                _multiply(block, queries, products[:, where])
        return products

    def multiply(pending: Iterator[tuple[slice, FloatArray]]) -> None:
        for where, block in pending:
            _multiply(block, queries, products[:, where])

    # Rows with gaps are copied, block by block.
    most = _MAX_ROWS if rows[-1] - rows[0] == len(rows) - 1 else _BLOCK_ROWS
    cores.on_all(multiply, cut(vectors, rows, min(most, -(-len(rows) // cores.count()))))
    return products


_together = _Together()


def _products(vectors: VectorTable, rows: IdArray, queries: FloatArray) -> FloatArray:
    """float32 (q, len(rows)); rows ascending."""
    over = span(rows, _DENSE)
    if over is None:
        return _together.products(vectors, rows, queries)
    whole = vectors.rows
    if len(whole) == len(vectors) and _DENSE * len(whole) <= len(rows):
        over = whole  # the very array that those search who have no filter
    return _together.products(vectors, over, queries)[:, rows - over[0]]


def _multiply(block: FloatArray, queries: FloatArray, out: FloatArray) -> None:
    if len(queries) == 1:
        np.matmul(block, queries[0], out=out[0])
    else:
        out[:] = (block @ queries.T).T


def exact(vectors: VectorTable, rows: IdArray, queries: FloatArray, k: int) -> tuple[IdArray, FloatArray]:
    """The `k` most similar of some rows.

    Args:
        vectors, rows: what to search; none of the rows deleted.
        queries: float32 (q, dim).
        k: at most len(rows).

    Returns:
        Row numbers int64 and inner products float32, both (q, k), best first; ties in the order of image ids.
    """
    found = np.empty((len(queries), k), dtype=np.int64)
    scores = np.empty((len(queries), k), dtype=np.float32)
    step = max(1, _MAX_SCORES // max(1, len(rows)))
    for start in range(0, len(queries), step):
        some = queries[start : start + step]
        products = _products(vectors, rows, some)
        for i, query in enumerate(some):
            found[start + i], scores[start + i] = _best(vectors, rows, products[i], query, k)
    return found, scores


@cores.a_pass()
def probe(
    vectors: VectorTable,
    cells: Cells,
    query: FloatArray,
    k: int,
    *,
    terms: FloatArray,
    selected: IdArray | None,
) -> tuple[IdArray, FloatArray] | None:
    """The `k` most similar rows in the cells nearest to a query, and among those that are in no cell yet.

    Of a selection these are among the k' most similar of all rows, of which the cells hold as many as was measured for
    so many. What is selected may be all that is not like the query: then k' is large, and nothing was measured.

    Args:
        vectors: their snapshot has these cells.
        query: float32 (dim,).
        k: at most as many as there are to choose from.
        terms: float32 (t, dim): what the query is the sum of; their own cells are looked at, too.
        selected: ascending row numbers to choose from; None for all.

    Returns:
        Row numbers int64 (k,) and inner products float32 (k,), as `exact` returns them; None where only that can tell.
    """
    assert vectors.base is not None
    order, n = cells.to_probe(query, k, terms)
    tail = np.arange(vectors.n_base, len(vectors))
    of_all = [vectors.tail @ query]
    parts = [_within(tail, selected)]
    products = [of_all[0][parts[0] - vectors.n_base]]
    count, done = len(parts[0]), 0
    while done < n:
        # Cells that happen to lie side by side are read in the order of the file.
        for cell in np.sort(order[done:n]):
            start, stop = cells.starts[cell], cells.starts[cell + 1]
            product = vectors.base.vectors[start:stop] @ query
            rows = np.arange(start, stop)
            of_all.append(product)
            if selected is not None:
                rows = _within(rows, selected)
                product = product[rows - start]
            parts.append(rows)
            products.append(product)
            count += len(rows)
        done = n
        if count < k:
            n = min(len(order), 2 * n)
        elif selected is not None:
            found = np.concatenate(products)
            last = np.partition(found, len(found) - k)[len(found) - k]
            depth = sum(int(np.count_nonzero(some >= last)) for some in of_all)
            if depth > DEPTHS[-1] and n < len(order):
                return None
            n = max(n, cells.to_probe(query, depth, terms)[1])
    return _best(vectors, np.concatenate(parts), np.concatenate(products), query, k)


def _within(rows: IdArray, selected: IdArray | None) -> IdArray:
    """Those of a run of neighbouring rows that are selected."""
    if selected is None or not len(rows):
        return rows
    return selected[np.searchsorted(selected, rows[0]) : np.searchsorted(selected, rows[-1], side="right")]


def exact_after(
    vectors: VectorTable, rows: IdArray, query: FloatArray, k: int, *, after: tuple[float, int] | None = None
) -> tuple[IdArray, FloatArray]:
    """The `k` most similar of the rows that come after a place in the order of `exact`; fewer where there are no more.

    Args:
        vectors, rows: what to search; none of the rows deleted.
        query: float32 (dim,).
        after: score and image id of the last one that is not wanted any more; None begins with the best.

    Returns:
        Row numbers int64 (m,) and inner products float32 (m,), in that order.
    """
    [products] = _products(vectors, rows, query[None, :])
    if after is not None:
        score, image_id = np.float32(after[0]), after[1]
        later = products < score - np.float32(_SLACK)
        close = np.flatnonzero(np.abs(products - score) <= np.float32(_SLACK))
        scores = _scores(vectors, rows[close], query)
        later[close] = (scores < score) | ((scores == score) & (vectors.ids[rows[close]] > image_id))
        rows, products = rows[later], products[later]
    k = min(k, len(rows))
    if k == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    return _best(vectors, rows, products, query, k)


def _best(
    vectors: VectorTable, rows: IdArray, products: FloatArray, query: FloatArray, k: int
) -> tuple[IdArray, FloatArray]:
    """The best `k` rows by their inner products with the query, which are calculated again for the best of them."""
    last = np.partition(products, len(products) - k)[len(products) - k]
    close = rows[products >= last - np.float32(_SLACK)]
    scores = _scores(vectors, close, query)
    best = np.lexsort((vectors.ids[close], -scores))[:k]
    return close[best], scores[best]


def _scores(vectors: VectorTable, rows: IdArray, query: FloatArray) -> FloatArray:
    """Inner products float32 (len(rows),) that come out the same for the same vector, wherever it lies: no matrix
    product, and summed in float64.
    """
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        scores[part] = np.multiply(vectors.take(rows[part]), query, dtype=np.float64).sum(axis=1)
    return scores

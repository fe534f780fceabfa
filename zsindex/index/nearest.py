"""The rows most similar to a query, in plain numpy: over all rows, or over the nearest cells of a large snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zsindex.index import cores
from zsindex.index.cells import DEPTHS, Cells
from zsindex.index.together import Together
from zsindex.index.vectors import VectorTable, cut, span
from zsindex.records import FloatArray, IdArray

# How many scores are kept at a time: 64 MB.
_MAX_SCORES = 2**24
_BLOCK_ROWS = 8192
# Rows that a core takes at a time, at most: where others want it, too, each return to Python costs a turn. Blocks that
# stay in its own cache were faster on a machine with nothing else to do, and several times slower on a busy one.
_MAX_ROWS = 32_768
# For a few queries BLAS would copy all rows into an order of its own, which takes longer than multiplying them. Slices
# of so few rows it multiplies where they are, in a third of the time.
_FEW_QUERIES, _SLICE_ROWS = 24, 32
# Below so many multiplications (a millisecond) threads cost more than they bring.
_THREADING_PAYS = 2**21
# Two products of the same rows differ in their last bits, depending on where the rows lie and on how many are
# multiplied at once. Whatever comes so close to the last place takes part in the decision, which is made in float64.
_SLACK = 1e-5
# Where so many of the rows are wanted, all are multiplied: gathering the others takes several times as long as reading
# over them (`benchmarks/filters.py`).
_DENSE = 0.3


@dataclass(frozen=True, eq=False)
class _Products:
    """What a search asks for. Rows and vectors are told apart by what they are, not by what is in them.

    Attributes:
        queries: float32 (q, dim).
    """

    vectors: VectorTable
    rows: IdArray
    queries: FloatArray


def _fits(asked: Sequence[_Products], other: _Products) -> bool:
    first = asked[0]
    count = sum(len(one.queries) for one in asked) + len(other.queries)
    alike = other.vectors is first.vectors and other.rows is first.rows
    return alike and count * len(first.rows) <= _MAX_SCORES


def _made(asked: Sequence[_Products]) -> list[FloatArray]:
    """float32 (q, len(rows)) for each: one pass. Who asks beside it changes the last bits of products, which decide
    nothing: see `_SLACK`.
    """
    first = asked[0]
    queries = np.concatenate([one.queries for one in asked]) if asked[1:] else first.queries
    products = _one_pass(first.vectors, first.rows, queries)
    ends = np.cumsum([len(one.queries) for one in asked])
    return np.split(products, ends[:-1])


def _one_pass(vectors: VectorTable, rows: IdArray, queries: FloatArray) -> FloatArray:
    """Products of queries and rows, float32 (q, len(rows)).

    By a thread for each core, also where nobody else asks: the product's own threads wait for each other at the end of
    each block, which takes several times as long where another program wants the cores, too.
    """
    products = np.empty((len(queries), len(rows)), dtype=np.float32)

    def multiply(item: tuple[slice, FloatArray]) -> None:
        where, block = item
        _multiply(block, queries, products[:, where])

    # Rows with gaps are copied, block by block.
    most = _MAX_ROWS if rows[-1] - rows[0] == len(rows) - 1 else _BLOCK_ROWS
    cores.on_all(multiply, cut(vectors, rows, min(most, -(-len(rows) // (2 * cores.count())))))
    return products


_together = Together(_made, _fits)


def _products(vectors: VectorTable, rows: IdArray, queries: FloatArray) -> FloatArray:
    """float32 (q, len(rows)); rows ascending."""
    over = span(rows, _DENSE)
    if over is None:
        return _of_all(vectors, rows, queries)
    whole = vectors.rows
    if len(whole) == len(vectors) and _DENSE * len(whole) <= len(rows):
        over = whole  # the very array that those search who have no filter
    return _of_all(vectors, over, queries)[:, rows - over[0]]


def _of_all(vectors: VectorTable, rows: IdArray, queries: FloatArray) -> FloatArray:
    if len(rows) * vectors.dim * len(queries) >= _THREADING_PAYS:
        return _together.ask(_Products(vectors, rows, queries))
    products = np.empty((len(queries), len(rows)), dtype=np.float32)
    for where, block in cut(vectors, rows, _BLOCK_ROWS):
        # Not a matrix product, whose threads would have to be told that one is enough: that takes longer.
        products[:, where] = np.einsum("rd,qd->qr", block, queries)
    return products


def _multiply(block: FloatArray, queries: FloatArray, out: FloatArray) -> None:
    """Products of a block float32 (b, dim) and queries float32 (q, dim) into `out`, float32 (q, b)."""
    if len(queries) == 1:
        np.matmul(block, queries[0], out=out[0])
        return
    whole = len(block) // _SLICE_ROWS * _SLICE_ROWS if len(queries) <= _FEW_QUERIES else 0
    if whole:
        slices = block[:whole].reshape(-1, _SLICE_ROWS, block.shape[1])
        out[:, :whole] = np.matmul(slices, queries.T).reshape(whole, -1).T
    if whole < len(block):
        out[:, whole:] = (block[whole:] @ queries.T).T


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

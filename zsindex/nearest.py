"""The rows most similar to a query, in plain numpy: over all rows, or over the nearest cells of a large snapshot."""

from __future__ import annotations

import numpy as np

from zsindex.cells import Cells
from zsindex.records import FloatArray, IdArray
from zsindex.vectors import Vectors, blocks

# How many scores are kept at a time: 64 MB.
_MAX_SCORES = 2**24
_BLOCK_ROWS = 8192
# Two products of the same rows differ in their last bits, depending on where the rows lie and on how many are
# multiplied at once. Whatever comes so close to the last place takes part in the decision, which is made in float64.
_SLACK = 1e-5


def exact(vectors: Vectors, rows: IdArray, queries: FloatArray, k: int) -> tuple[IdArray, FloatArray]:
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
        products = np.empty((len(some), len(rows)), dtype=np.float32)
        for where, block in blocks(vectors, rows, _BLOCK_ROWS):
            products[:, where] = (block @ some.T).T
        for i, query in enumerate(some):
            found[start + i], scores[start + i] = _best(vectors, rows, products[i], query, k)
    return found, scores


def probe(
    vectors: Vectors,
    cells: Cells,
    query: FloatArray,
    k: int,
    *,
    terms: FloatArray,
    selected: IdArray | None,
    n_selected: int,
) -> tuple[IdArray, FloatArray]:
    """The `k` most similar rows in the cells nearest to a query, and among those that are in no cell yet.

    Args:
        vectors: their snapshot has these cells.
        query: float32 (dim,).
        k: at most `n_selected`.
        terms: float32 (t, dim): what the query is the sum of; their own cells are looked at, too.
        selected: ascending row numbers to choose from; None for all.
        n_selected: how many these are.

    Returns:
        Row numbers int64 (k,) and inner products float32 (k,), as `exact` returns them.
    """
    assert vectors.base is not None
    order, n = cells.to_look_at(query, k, terms)
    # The best k of a selection are spread over as many cells as the best k / share of all.
    n = min(len(order), -(-n * len(vectors) // n_selected))
    tail = np.arange(vectors.n_base, len(vectors))
    parts, products = [_within(tail, selected)], []
    products.append(vectors.tail[parts[0] - vectors.n_base] @ query if len(parts[0]) else np.empty(0, np.float32))
    count, done = len(parts[0]), 0
    while done < n:
        # Cells that happen to lie side by side are read in the order of the file.
        for cell in np.sort(order[done:n]):
            start, stop = cells.starts[cell], cells.starts[cell + 1]
            product = vectors.base.vectors[start:stop] @ query
            rows = np.arange(start, stop)
            if selected is not None:
                rows = _within(rows, selected)
                product = product[rows - start]
            parts.append(rows)
            products.append(product)
            count += len(rows)
        done = n
        if count < k:  # a selection has too few rows in these
            n = min(len(order), 2 * n)
    return _best(vectors, np.concatenate(parts), np.concatenate(products), query, k)


def _within(rows: IdArray, selected: IdArray | None) -> IdArray:
    """Those of a run of neighbouring rows that are selected."""
    if selected is None or not len(rows):
        return rows
    return selected[np.searchsorted(selected, rows[0]) : np.searchsorted(selected, rows[-1], side="right")]


def exact_after(
    vectors: Vectors, rows: IdArray, query: FloatArray, k: int, *, after: tuple[float, int] | None = None
) -> tuple[IdArray, FloatArray]:
    """The `k` most similar of the rows that come after a place in the order of `exact`; fewer where there are no more.

    Args:
        vectors, rows: what to search; none of the rows deleted.
        query: float32 (dim,).
        after: score and image id of the last one that is not wanted any more; None begins with the best.

    Returns:
        Row numbers int64 (m,) and inner products float32 (m,), in that order.
    """
    products = np.empty(len(rows), dtype=np.float32)
    for where, block in blocks(vectors, rows, _BLOCK_ROWS):
        products[where] = block @ query
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
    vectors: Vectors, rows: IdArray, products: FloatArray, query: FloatArray, k: int
) -> tuple[IdArray, FloatArray]:
    """The best `k` rows by their inner products with the query, which are calculated again for the best of them."""
    last = np.partition(products, len(products) - k)[len(products) - k]
    close = rows[products >= last - np.float32(_SLACK)]
    scores = _scores(vectors, close, query)
    best = np.lexsort((vectors.ids[close], -scores))[:k]
    return close[best], scores[best]


def _scores(vectors: Vectors, rows: IdArray, query: FloatArray) -> FloatArray:
    """Inner products float32 (len(rows),) that come out the same for the same vector, wherever it lies: no matrix
    product, and summed in float64.
    """
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        scores[part] = np.multiply(vectors.take(rows[part]), query, dtype=np.float64).sum(axis=1)
    return scores

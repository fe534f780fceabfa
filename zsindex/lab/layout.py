"""A map: all images as points of a plane, so that those lie together that are alike.

t-SNE (van der Maaten and Hinton 2008) over the graph of neighbours, in the implementation of openTSNE (Poličar et al.
2024). Neighbours attract each other alike, however near they are; everything repels everything. It begins with the two
directions in which the vectors differ most. The only module that imports openTSNE.

Images that come later are placed among those that are there, by the same forces, without moving these; so are, in a
library that is too large to lay out at once, all that are not in the part that is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from zsindex.errors import ExtraMissing, Stopped
from zsindex.index.vectors import VectorTable, blocks
from zsindex.lab.neighbours import BLOCK_ROWS, Graph
from zsindex.records import FloatArray, IdArray, Progress

Points = npt.NDArray[np.float64]

# Images that are laid out together; of a larger library the others are placed among them.
MOST_LAID_OUT = 100_000
# New images that are placed at a time.
MOST_PLACED = 5_000
# From how many images on that came or went since, or which share of them, a new layout is worth its time.
FEW_CHANGED, SHARE_CHANGED = 50, 0.25

# Iterations with forces that draw groups together, and without.
EARLY, LATE = 250, 500
EXAGGERATION = 12.0
# From so many images on forces are calculated over a grid rather than a tree: openTSNE's own rule.
GRID_FROM = 10_000
THREADS_FROM = 2_000
# Fewer are shown along the two directions in which they differ most.
FEW = 20
# Of one image that is placed.
_PLACING = 100
_PLACED_TOGETHER = 20_000
_NEAREST = 10
_BETWEEN = 5


@dataclass(frozen=True, eq=False)
class Layout:
    """Where images are on the map.

    Attributes:
        ids: int64 (n,), of images that are in the library.
        points: float32 (n, 2). What they are measured in means nothing; the middle is about 0, 0.
        laid_out: the first so many were laid out together, the others placed among them.
        then: the first so many were in the library when that was done.
        new: images of the library that are not on the map.
        gone: images that were on the map and are not in the library any more.
    """

    ids: IdArray
    points: FloatArray
    laid_out: int
    then: int
    new: int = 0
    gone: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def added(self) -> int:
        """Images that were placed after it was laid out."""
        return len(self) - self.then

    @property
    def is_outdated(self) -> bool:
        """Whether so many images came or went that it should be made anew."""
        changed = self.new + self.added + self.gone
        return changed > max(FEW_CHANGED, SHARE_CHANGED * (self.then + self.gone))

    def among(self, ids: IdArray) -> Layout:
        """What of it is about images that are there now.

        Args:
            ids: int64 (m,), of all that are, each once.
        """
        here = np.isin(self.ids, ids)
        kept = int(np.count_nonzero(here))
        return replace(
            self,
            ids=self.ids[here],
            points=self.points[here],
            laid_out=int(np.count_nonzero(here[: self.laid_out])),
            then=int(np.count_nonzero(here[: self.then])),
            new=len(ids) - kept,
            gone=self.gone + len(here) - kept,
        )

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """The least and the largest of each coordinate: x, y, x, y."""
        if not len(self):
            return (0.0, 0.0, 0.0, 0.0)
        (x, y), (x_most, y_most) = self.points.min(axis=0).tolist(), self.points.max(axis=0).tolist()
        return (x, y, x_most, y_most)


def is_installed() -> bool:
    """Whether maps can be made here. Does not import what makes them."""
    return find_spec("openTSNE") is not None


def _open_tsne() -> Any:
    try:
        from openTSNE import affinity, tsne
    except ImportError as error:
        raise ExtraMissing("openTSNE", extra="map", why="a map is laid out by t-SNE") from error
    return affinity, tsne


def seconds(n: int, dim: int) -> float:
    """About how long a map of so many images takes on two cores, as measured: see benchmarks/lab_map.py."""
    together = min(n, MOST_LAID_OUT)
    products = together * together / 2 + (n - together) * together
    return 5 + products * dim / 2.5e10 + (EARLY + LATE) * (5e-3 + 2.2e-6 * together)


# --- making -----------------------------------------------------------------------------------------------------------


class Watch:
    """Tells how far it is, and ends the work where somebody wants that."""

    def __init__(self, progress: Callable[[Progress], None] | None, should_stop: Callable[[], bool] | None) -> None:
        self._progress = progress or (lambda _: None)
        self._should_stop = should_stop or (lambda: False)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """
        Raises:
            Stopped
        """
        if self._should_stop():
            raise Stopped
        self._progress(Progress(stage, done, total))

    def counted(self, stage: str, total: int, before: int, done: int) -> None:
        """The same, of a part of the work that begins after another."""
        self(stage, before + done, total)

    def share_of(self, stage: str, total: int) -> Callable[[float], None]:
        """The same, of a share that is done."""
        return lambda share: self(stage, int(share * total), total)


def chosen(n: int, seed: int) -> IdArray:
    """Numbers of the images that are laid out together, ascending: all, or drawn from n."""
    if n <= MOST_LAID_OUT:
        return np.arange(n)
    drawn: IdArray = np.sort(np.random.default_rng(seed).choice(n, MOST_LAID_OUT, replace=False))
    return drawn


def lay_out(vectors: VectorTable, rows: IdArray, graph: Graph, *, seed: int, watch: Watch) -> Points:
    """Points of images that are laid out together: float64 (n, 2). The same for the same seed and number of images.

    Args:
        vectors, rows: which images.
        graph: their neighbours.

    Raises:
        ExtraMissing, Stopped
    """
    affinity, tsne = _open_tsne()
    n = len(rows)
    start = _start(vectors, rows, seed)
    if n < FEW:  # where everybody is everybody's neighbour, nothing draws groups together
        return start * 1e4
    total = EARLY + LATE
    watch("layout", 0, total)
    embedding = tsne.TSNEEmbedding(
        start,
        affinity.PrecomputedAffinities(_attraction(graph.nearest(n // 3))),
        random_state=seed,
        **_method(n),
    )
    for before, iterations, forces in (
        (0, EARLY, {"exaggeration": EXAGGERATION, "momentum": 0.5}),
        (EARLY, LATE, {"momentum": 0.8}),
    ):
        embedding.optimize(
            iterations,
            inplace=True,
            use_callbacks=True,
            callbacks=[lambda done, *_, before=before: watch.counted("layout", total, before, done)],
            callbacks_every_iters=10,
            **forces,
        )
    return np.array(embedding, dtype=np.float64)


def _method(n: int) -> dict[str, Any]:
    """How forces are calculated, for so many images. Threads wait for each other in each iteration: few do not pay."""
    jobs = (os.cpu_count() or 1) if n >= THREADS_FROM else 1
    return {"negative_gradient_method": "bh" if n < GRID_FROM else "fft", "n_jobs": jobs}


def _attraction(graph: Graph) -> Any:
    """Who attracts whom: float64 (n, n), sparse, symmetrical."""
    from scipy.sparse import csr_matrix

    n, k = graph.neighbours.shape
    at = (np.repeat(np.arange(n), k), graph.neighbours.ravel())
    one_way = csr_matrix((np.ones(n * k), at), shape=(n, n))
    return (one_way + one_way.T).tocsr()


def _start(vectors: VectorTable, rows: IdArray, seed: int) -> Points:
    """Small, along the two directions in which the vectors differ most: float64 (n, 2)."""
    n = len(rows)
    dim = vectors.take(rows[:1]).shape[1]
    total, squares = np.zeros(dim), np.zeros((dim, dim))
    for _, block in blocks(vectors, rows, 4096):
        total += block.sum(axis=0, dtype=np.float64)
        squares += block.T @ block
    mean = total / n
    _, directions = np.linalg.eigh(squares / n - np.outer(mean, mean))
    two = directions[:, [-1, -2]] if dim > 1 else np.repeat(directions, 2, axis=1)
    # An eigenvector may point either way.
    two = two * np.where(two[np.abs(two).argmax(axis=0), np.arange(2)] < 0, -1.0, 1.0)
    start = np.empty((n, 2))
    for at, block in blocks(vectors, rows, 4096):
        start[at] = (block - mean) @ two
    start *= 1e-4 / max(float(start[:, 0].std()), 1e-12)
    # Images with the same vector have to part somewhere.
    start += np.random.default_rng(seed).normal(0, 1e-6, start.shape)
    return start


def place(vectors: VectorTable, new: IdArray, known: IdArray, points: Points, *, watch: Watch, seed: int = 0) -> Points:
    """Points of images among others that stay where they are: float64 (m, 2).

    Args:
        vectors: of all of them.
        new, known: rows of those to place, and of those that are on the map.
        points: of the latter.

    Raises:
        ExtraMissing, Stopped
    """
    affinity, tsne = _open_tsne()
    from scipy.sparse import csr_matrix

    n = len(known)
    unused = affinity.PrecomputedAffinities(csr_matrix((n, n)), normalize=False)
    settled = tsne.TSNEEmbedding(points, unused, random_state=seed, **_method(n))
    placed = np.empty((len(new), 2))
    for start in range(0, len(new), _PLACED_TOGETHER):
        part = slice(start, start + _PLACED_TOGETHER)
        near = _nearest(vectors, new[part], known, partial(watch.counted, "place", len(new), start))
        m, k = near.shape
        pull = csr_matrix((np.full(m * k, 1 / k), (np.repeat(np.arange(m), k), near.ravel())), shape=(m, n))
        moving = tsne.PartialTSNEEmbedding(
            np.median(points[near[:, :_BETWEEN]], axis=1),
            settled,
            pull,
            **_method(n),
        )
        moving.optimize(
            _PLACING,
            learning_rate=0.1,
            exaggeration=1.5,
            momentum=0.8,
            max_grad_norm=0.25,
            inplace=True,
            use_callbacks=True,
            callbacks=[lambda *_, start=start: watch("place", start, len(new))],
            callbacks_every_iters=10,
        )
        placed[part] = moving
    watch("place", len(new), len(new))
    return placed


def _nearest(vectors: VectorTable, new: IdArray, known: IdArray, step: Callable[[int], None]) -> IdArray:
    """Numbers of the known images nearest to each new one, nearest first: int64 (m, k)."""
    k = min(_NEAREST, max(1, len(known) // 3))
    found = np.empty((len(new), k), dtype=np.int64)
    for start in range(0, len(new), BLOCK_ROWS):
        step(start)
        own = vectors.take(new[start : start + BLOCK_ROWS])
        best = np.empty((len(own), 0), dtype=np.int64)
        cosines = np.empty((len(own), 0), dtype=np.float32)
        for at, block in blocks(vectors, known, 4 * BLOCK_ROWS):
            products = own @ block.T
            top = np.argpartition(-products, min(k, products.shape[1]) - 1, axis=1)[:, :k]
            best = np.concatenate([best, top + at.start], axis=1)
            cosines = np.concatenate([cosines, np.take_along_axis(products, top, 1)], axis=1)
            order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
            best, cosines = np.take_along_axis(best, order, 1), np.take_along_axis(cosines, order, 1)
        found[start : start + len(own)] = best
    return found


def joined(layout: Layout, ids: Sequence[int] | IdArray, points: Points) -> Layout:
    """A map with more images, that were placed on it."""
    return replace(
        layout,
        ids=np.concatenate([layout.ids, np.asarray(ids, dtype=np.int64)]),
        points=np.concatenate([layout.points, points.astype(np.float32)]),
        new=layout.new - len(ids),
    )

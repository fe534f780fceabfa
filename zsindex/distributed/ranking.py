"""Ranking the answers of many photos on a cluster: actors map the index file of the library, and each ranks pieces of
it that are whole blocks. On one kind of processor the scores are those of one process to the bit.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsindex.classification.ranking import Ranked, Ranking
from zsindex.classification.view import View
from zsindex.distributed.cluster import connected
from zsindex.errors import ClusterFailed, Stopped
from zsindex.index.vectors import Snapshot, SnapshotError, VectorTable
from zsindex.records import FloatArray, IdArray, Progress

# Rows that an actor is given at a time, at most: at 1,000 labels they take about a second of a core.
ROWS_PER_TASK = 32_768
TASKS_PER_ACTOR = 4


@dataclass(frozen=True)
class SharedVectors:
    """All vectors under a model, as another process comes by them.

    Attributes:
        file: the snapshot, with how many vectors and cells it holds; None if there is none.
        tail_ids, tail: stored after the snapshot.
    """

    file: Path | None
    n_vectors: int
    n_cells: int
    tail_ids: IdArray
    tail: FloatArray

    @classmethod
    def of(cls, vectors: VectorTable) -> SharedVectors:
        """Those of this process."""
        base = vectors.base
        if base is None:
            return cls(None, 0, 0, vectors.tail_ids, vectors.tail)
        n_cells = 0 if base.cells is None else len(base.cells.starts) - 1
        return cls(base.file, len(base.ids), n_cells, vectors.tail_ids, vectors.tail)

    def opened(self) -> VectorTable:
        """The same in this process.

        Raises:
            ClusterFailed: the file is not there.
        """
        base = None
        if self.file is not None:
            try:
                base = Snapshot.map(self.file, n_vectors=self.n_vectors, dim=self.tail.shape[1], n_cells=self.n_cells)
            except (OSError, SnapshotError) as error:
                raise ClusterFailed(
                    f"{socket.gethostname()} does not see the vectors in {self.file}: the library's folder, or for one"
                    f" on a server that which ZSINDEX_CACHE names, must be on storage that all nodes share"
                ) from error
        # What is deleted is in none of the rows that are asked for.
        return VectorTable(base, self.tail_ids, self.tail, np.empty(0, dtype=np.int64))


class RankingActor:
    """Ranks pieces."""

    def __init__(self, vectors: SharedVectors, ranking: Ranking, block: int) -> None:
        """Raises:
        ClusterFailed
        """
        self._vectors = vectors.opened()
        self._ranking = ranking
        self._block = block

    def __call__(self, piece: tuple[int, IdArray]) -> tuple[int, Ranked]:
        """The best answers of some rows; with the number of the first."""
        start, rows = piece
        best, scores = self._ranking.of(self._vectors, rows, block=self._block)
        return start, (best.astype(np.int32), scores)


def ranked_on(
    on: str,
    ranking: Ranking,
    view: View,
    *,
    cores: int | None,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> Ranked:
    """The best answers of each image of a view, in the order of `View.unique`.

    Args:
        on: see `zsindex.distributed.cluster.connected`.
        cores: of an actor; see `Share.of`.

    Raises:
        Stopped, ClusterUnreachable, ClusterFailed, ExtraMissing
    """
    wanted, _ = view.unique
    rows = ranking.over(wanted)
    block = ranking.block(view.vectors, len(rows))
    with connected(on) as cluster:
        share = cluster.share(cores=cores, gpus=False)
        blocks = -(-len(rows) // (TASKS_PER_ACTOR * share.actors * block))
        size = block * max(1, min(blocks, ROWS_PER_TASK // block))
        pieces = ((start, rows[start : start + size]) for start in range(0, len(rows), size))
        done = cluster.mapped(
            pieces,
            RankingActor,
            [SharedVectors.of(view.vectors), ranking, block],
            share=share,
            should_stop=should_stop,
        )

        def counted() -> Iterator[tuple[int, Ranked]]:
            n_done = 0
            progress(Progress("classify", 0, len(rows)))
            for start, part in done:
                yield start, part
                n_done += len(part[0])
                progress(Progress("classify", n_done, len(rows)))
            if n_done < len(rows):
                raise Stopped

        with closing(done):
            return ranking.among(ranking.joined(counted(), len(rows)), rows, wanted)

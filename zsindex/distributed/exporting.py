"""Exporting vectors on a cluster: actors read the library, and each writes whole parts: the bytes of one process."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from zsindex.distributed.cluster import connected
from zsindex.distributed.reach import Reach, opened, reached
from zsindex.errors import ClusterFailed, ExportRefused
from zsindex.exchange.vectors import Layout, write_part
from zsindex.storage.protocol import Reads, Storage
from zsindex.storage.rows import ModelRow


@dataclass(frozen=True)
class Source:
    """What actors export.

    Attributes:
        model: whose vectors.
        paths: at or below which; None for all.
        state: of the library, see `_state_of`: what one actor reads must be what all read.
    """

    reach: Reach
    model: ModelRow
    paths: Sequence[str] | None
    state: tuple[int, int, int]


class ExportingActor:
    """Writes parts."""

    def __init__(self, source: Source, layout: Layout) -> None:
        """Raises:
        ClusterFailed: this node sees the library or the folder not.
        """
        self._source = source
        self._layout = layout
        self._storage = opened(source.reach, read_only=True)
        if not layout.folder.is_dir():
            raise ClusterFailed(
                f"{socket.gethostname()} does not see {layout.folder.parent}: vectors must be exported to storage that"
                f" all nodes share"
            )

    def __call__(self, number: int) -> tuple[int, dict[str, str]]:
        """Write a part. Returns its number, and the digests of its files.

        Raises:
            ExportRefused: the library was changed since the driver looked at it.
        """
        source, layout, digests = self._source, self._layout, dict[str, str]()
        with self._storage.bulk.exporting(source.model, source.paths) as export:
            batches = export.batches(layout.sizes(number), rows=layout.rows(number))
            if _state_of(self._storage.reads, source.model) != source.state:  # then what it sees is that state
                raise ExportRefused(
                    layout.folder,
                    "photos were stored or removed meanwhile, and the parts would not fit together: export again when"
                    " nobody syncs, or without --on",
                )
            with closing(batches):
                for _ in write_part(batches, layout, number, digests):
                    pass
        return number, digests


class RayExport:
    """`zsindex.exchange.vectors.Elsewhere` on a cluster."""

    def __init__(
        self,
        on: str,
        storage: Storage,
        model: ModelRow,
        paths: Sequence[str] | None,
        *,
        should_stop: Callable[[], bool],
    ) -> None:
        """Args:
        on: see `zsindex.distributed.cluster.connected`.
        """
        self._on = on
        self._storage = storage
        self._model = model
        self._paths = paths
        self._should_stop = should_stop
        # Before the driver has its own look.
        self._state = _state_of(storage.reads, model)

    def __call__(self, layout: Layout, digests: dict[str, str]) -> Generator[int, None, None]:
        """Rows of parts that actors have written; see `zsindex.exchange.vectors.Elsewhere`."""
        written: dict[int, dict[str, str]] = {}
        with connected(self._on) as cluster, reached(self._storage, cluster) as reach:
            source = Source(reach, self._model, self._paths, self._state)
            done = cluster.mapped(
                range(layout.n_parts),
                ExportingActor,
                [source, layout],
                share=cluster.share(cores=1, gpus=False),
                should_stop=self._should_stop,
            )
            with closing(done):
                for number, files in done:
                    written[number] = files
                    if len(written) == layout.n_parts:
                        for _, of_part in sorted(written.items()):
                            digests.update(of_part)
                    yield len(layout.rows(number))


def _state_of(reads: Reads, model: ModelRow) -> tuple[int, int, int]:
    return reads.files_revision(), reads.generation(model.id), reads.count_after(model.id, 0)

"""`library.vectors`: vectors of photos by their ids, and export and import of whole folders of vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.arguments.several import several
from zsindex.config import absolute
from zsindex.errors import ExportRefused, UnknownImage, UnknownModel
from zsindex.records import FloatArray, IdArray, Progress
from zsindex.services.filters import Filters
from zsindex.session.session import Session
from zsindex.storage.patience import Told, patiently
from zsindex.where import Where, WhereLike

if TYPE_CHECKING:
    from zsindex.exchange.vectors import ExportReport, ImportReport


class Vectors:
    """Vectors of one library from its current model."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of(self, image_ids: int | Sequence[int] | IdArray) -> FloatArray:
        """Vectors of images from the current model: float32 (len(image_ids), dim).

        Raises:
            UnknownImage: an image is unknown, or has no vector yet.
        """
        image_ids = several(image_ids)
        if self._session.index.on_server:
            found = self._session.index.server().vectors_of(np.asarray(image_ids, dtype=np.int64))
            for image_id in image_ids:
                if image_id not in found:
                    raise UnknownImage(image_id)
            dim = self._session.info.dim
            return np.array([found[image_id] for image_id in image_ids], dtype=np.float32).reshape(-1, dim)
        vectors = self._session.index.open().vectors
        rows = vectors.rows_of(np.asarray(image_ids, dtype=np.int64))
        for image_id, row in zip(image_ids, rows.tolist(), strict=True):
            if row < 0:
                raise UnknownImage(image_id)
        return vectors.take(rows)

    def export_to(
        self,
        folder: str | os.PathLike[str],
        *,
        dtype: str = "float32",
        part_size: int = 1_000_000,
        paths: PathsLike | None = None,
        where: WhereLike | None = None,
        overwrite: bool = False,
        facts: bool = False,
        place: bool = False,
        on: str | None = None,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> ExportReport:
        """Write the vectors of photos in clip-retrieval's layout; docs/exchange.md describes it. Loads no model.

        Args:
            folder: a new or empty one. It appears once it is complete.
            dtype: ``float32``, which loses nothing, or ``float16``.
            part_size: rows per file.
            paths: files and folders to restrict to. Default: all.
            where: only photos that fit, see `zsindex.where`, when it begins.
            overwrite: replace what an earlier export wrote there.
            facts: put when and with what photos were taken, ratings and keywords beside their paths; not with `on`.
            place: also where they were taken.
            on: a cluster whose actors write the files, as for `Library.sync`; `folder` is on storage that all nodes
                share, and nothing may be stored meanwhile.
            progress, should_stop: as for `Library.sync`; an export that is stopped leaves nothing behind.

        Raises:
            ExportRefused: the folder holds something else, cannot be written, or there is nothing to write.
            UnknownModel: the library holds no vectors of the model.
            BadFilter, NoFacts, UnknownLabelSet, UnknownLabel: of `where`.
            ExtraMissing: pyarrow is not installed, or with `on` Ray.
            ClusterUnreachable, ClusterFailed: with `on`.
            ValueError: facts are to be written on a cluster.
        """
        from zsindex.exchange import parts
        from zsindex.exchange.vectors import export_vectors

        if dtype not in parts.DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(parts.DTYPES)}, not {dtype!r}")
        part_size = bounds.whole("part_size", part_size, least=1)
        if on is not None and (facts or place):
            raise ValueError("facts are written by this machine alone: leave out facts and place, or on")
        model, storage = self._session.model, self._session.storage
        if model.known is None:
            held = [str(row.info.spec) for row in storage.reads.models()]
            raise UnknownModel(str(model.spec), near=held, why="the library holds no vectors of such a model")
        places: Sequence[str] | None = None if paths is None else absolute_all(paths)
        where = Where.of(where)
        if where is not None:
            places = Filters(self._session).files(where, places).all()
            if not places:
                raise ExportRefused(Path(folder), "no photo fits the filters")
        elsewhere = None
        if on is not None:
            from zsindex.distributed.exporting import RayExport

            elsewhere = RayExport(on, storage, model.known, places, should_stop=should_stop or (lambda: False))
        export = partial(
            export_vectors,
            storage,
            model.known,
            Path(absolute(folder)),
            dtype=dtype,
            part_size=part_size,
            paths=places,
            overwrite=overwrite,
            should_stop=should_stop or (lambda: False),
            elsewhere=elsewhere,
            facts=self._told(place) if facts or place else None,
        )
        # It is all of one moment, so one that has lost its server begins anew.
        told = Told(progress or (lambda _: None))
        return patiently(lambda: export(progress=told), answered=told.last)

    def _told(self, place: bool) -> Callable[[Sequence[str]], dict[str, list[Any]]]:
        """Columns of facts, without those that an export has in any case."""
        from zsindex.exchange.facts_columns import columns

        table = self._session.facts.table()

        def told(paths: Sequence[str]) -> dict[str, list[Any]]:
            found = columns(table, table.rows_of_paths(paths), place=place)
            return {name: values for name, values in found.items() if name not in ("width", "height")}

        return told

    def import_from(
        self,
        folder: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        path_column: str = "image_path",
        read: bool = True,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> ImportReport:
        """Import vectors that the library's model computed elsewhere, in clip-retrieval's layout; encodes nothing.

        Everything is read and checked before the first vector is stored. What is already there is kept, so an import
        that was stopped or killed continues when called again.

        Args:
            folder: what clip-retrieval's inference or `export_to` wrote.
            root: base folder of relative paths. Default: relative paths are refused.
            path_column: the column of the tables with the paths of the photos.
            read: hash photos that are on this disk, so that a sync recognises them. False identifies them by path only.
            progress, should_stop: as for `Library.sync`.

        Raises:
            ImportRefused: something in the folder cannot be imported; file and row are named, and nothing was stored.
            DimensionMismatch: the vectors are of another model.
            ExtraMissing: pyarrow is not installed.
            LibraryReadOnly, LibraryBusy, StorageFull, ModelError
        """
        from zsindex.exchange.vectors import import_vectors

        model = self._session.model
        self._session.storage.require_writable("import vectors")
        model.notice_pruned()
        # The model is not recorded until the folder has been found valid.
        info = model.encoder().info if model.known is None else model.known.info
        with self._session.index.while_storing():
            report = import_vectors(
                self._session.storage,
                Path(absolute(folder)),
                info,
                model=model.row,
                root=None if root is None else absolute(root),
                path_column=path_column,
                workers=self._session.settings.workers if read else 0,
                progress=progress or (lambda _: None),
                should_stop=should_stop or (lambda: False),
            )
        self._session.storage.photos.seal_folders()
        if report.stored and not self._session.index.on_server:
            self._session.index.open()  # writes the snapshot if one is due
        return report

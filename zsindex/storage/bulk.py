"""Photos with their vectors in bulk, into the tables and out of them: what exchanging vectors needs.
`zsindex.storage.protocol.BulkStorage` in SQL that is no database's own.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection, func, select

from zsindex.errors import LibraryDamaged
from zsindex.records import FloatArray
from zsindex.storage import room
from zsindex.storage.adding import (
    FileState,
    NewFile,
    add_images,
    add_vectors,
    folder_ids,
    known,
    put_files,
    revisions_of,
    with_vector,
)
from zsindex.storage.database import Database
from zsindex.storage.rows import NEVER_SEEN, ExportedPhotos, ImportedPhoto, KnownPhoto, ModelRow, path_digest, selected
from zsindex.storage.seals import file_checksum
from zsindex.storage.stored import VECTOR_DTYPE, is_of_image
from zsindex.storage.tables import embeddings, files, folders, images

_NOT_SEEN = (None, NEVER_SEEN, NEVER_SEEN)


class SqlBulk:
    """`zsindex.storage.protocol.BulkStorage` over an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known_photos(self, photos: Iterable[ImportedPhoto]) -> dict[str, KnownPhoto]:
        """What the library knows of photos, by path."""
        with self._database.read() as connection:
            return known(connection, self._database.dialect, photos)

    def save(self, photos: Sequence[ImportedPhoto], vectors: FloatArray, model_id: int) -> Counter[str]:
        """Store photos and their vectors, float32 (len(photos), dim), in one transaction.

        A vector that an image has already stays.

        Returns:
            How many vectors were ``stored`` and ``kept``, how many paths were ``added``, and how many photos were
            ``found``, ``unread`` and ``changed``, all as `zsindex.exchange.vectors.ImportReport` counts them.
        """
        dialect = self._database.dialect
        content = memoryview(np.ascontiguousarray(vectors, dtype=VECTOR_DTYPE).data).cast("B")
        length = vectors.shape[1] * VECTOR_DTYPE.itemsize

        def blob(row: int) -> memoryview:
            return content[row * length : (row + 1) * length]

        counts: Counter[str] = Counter()
        with self._database.write("import vectors") as connection:
            before = known(connection, dialect, photos)
            chosen = [
                (i, p, digest) for i, p in enumerate(photos) if (digest := p.shown(before.get(p.path))) is not None
            ]
            ids = {k.digest: k.image_id for k in before.values() if k.digest is not None and k.image_id is not None}
            added, new = add_images(connection, dialect, {digest: p for _, p, digest in chosen if digest not in ids})
            ids.update(added)
            first: dict[int, int] = {}  # row by image
            for i, _, digest in chosen:
                first.setdefault(ids[digest], i)
            there = with_vector(connection, dialect, first.keys() - new, model_id)
            counts["stored"] = add_vectors(connection, dialect, first, blob, model_id, but=there)
            in_folder = folder_ids(connection, dialect, {photo.folder for _, photo, _ in chosen})
            touched: set[int] = set()
            new_files: dict[str, NewFile] = {}
            again: dict[int, FileState] = {}
            for _, photo, digest in chosen:
                _, size, mtime_ns = photo.seen or _NOT_SEEN
                image_id = ids[digest]
                file = before.get(photo.path)
                if file is None:
                    # A path that stands there twice has the same vector both times.
                    checksum = file_checksum(photo.folder, photo.name, size, mtime_ns, image_id)
                    new_files[photo.path] = (
                        in_folder[photo.folder], photo.name, size, mtime_ns, image_id, None, None, checksum
                    )  # fmt: skip
                    touched.add(in_folder[photo.folder])
                elif (
                    file.missing
                    or file.image_id != image_id
                    or (photo.seen is not None and (file.size, file.mtime_ns) != (size, mtime_ns))
                ):
                    checksum = file_checksum(photo.folder, photo.name, size, mtime_ns, image_id)
                    again[file.id] = size, mtime_ns, image_id, None, None, checksum
                    touched.add(in_folder[photo.folder])
            revision, _ = revisions_of(connection)
            put_files(connection, dialect, list(new_files.values()), again, touched=touched, revision=revision)
            showed = {k.id: k.image_id for k in before.values() if k.image_id is not None}
            room.count_uploads(connection, sum(showed.get(n, state[2]) != state[2] for n, state in again.items()))
        counts["added"] = len(new_files)
        counts["changed"] = len(photos) - len(chosen)
        counts["kept"] = len(chosen) - counts["stored"]
        counts["found"] = sum(photo.seen is not None for _, photo, _ in chosen)
        counts["unread"] = len(chosen) - counts["found"]
        return counts

    @contextmanager
    def exporting(self, model: ModelRow, paths: Sequence[str] | None) -> Iterator[SqlExport]:
        """A consistent view of the photos at or below `paths`, for as long as it lasts."""
        with self._database.read() as connection:
            yield SqlExport(connection, self._database, model, paths)


# --- out --------------------------------------------------------------------------------------------------------------


class SqlExport:
    """`zsindex.storage.protocol.ExportView`. Made by `exporting`."""

    def __init__(
        self, connection: Connection, database: Database, model: ModelRow, paths: Sequence[str] | None
    ) -> None:
        self._connection = connection
        self._dialect = database.dialect
        self._library = database.place
        self._model = model
        # With names, None for the whole folder.
        ids = {path: ident for ident, path in connection.execute(select(folders.c.id, folders.c.path))}
        chosen = selected(sorted(ids), paths)
        self._bases = {ids[folder]: os.path.join(folder, "") for folder in chosen}
        self._selections: list[tuple[int, Collection[str] | None]] = [
            (ids[folder], names) for folder, names in chosen.items()
        ]
        shown = self._count(self._select(func.count()))
        self.n_photos = self._count(self._with_vector(self._select(func.count())))
        self.n_without = shown - self.n_photos

    def batches(self, sizes: Iterator[int], *, rows: range | None = None) -> Generator[ExportedPhotos, None, None]:
        """All that have a vector, folder by folder, each by name, in batches of `sizes`, which add up to `n_photos`; or
        some of them.
        """
        columns = (
            files.c.folder_id,
            files.c.name,
            files.c.size,
            images.c.width,
            images.c.height,
            images.c.format,
            images.c.digest,
            embeddings.c.vector,
            embeddings.c.image_id,
            embeddings.c.checksum,
        )
        query = self._with_vector(self._select(*columns)).execution_options(yield_per=4096)
        pending: list[Any] = []
        size = next(sizes, 0)
        bases = self._bases
        selections, before = (self._selections, 0) if rows is None else self._from(rows.start)
        for part, parameters in self._dialect.in_folders(query, selections, ordered=True):
            if rows is not None:
                part, before = part.offset(before).limit(len(rows)), 0
            with self._connection.execute(part, parameters) as found:  # not all may be asked for
                for row in found:
                    pending.append((bases[row[0]] + row[1], *row[2:]))
                    if len(pending) == size:
                        yield self._batch(pending)
                        pending, size = [], next(sizes, 0)

    def _from(self, row: int) -> tuple[list[tuple[int, Collection[str] | None]], int]:
        """What is selected from a row on, by folder; and how many of the first folder's rows come before it."""
        query = self._with_vector(self._select(files.c.folder_id, func.count())).group_by(files.c.folder_id)
        counts = {
            folder_id: n
            for part, parameters in self._dialect.in_folders(query, self._selections, ordered=False)
            for folder_id, n in self._connection.execute(part, parameters)
        }
        for number, (folder_id, _) in enumerate(self._selections):
            if row < counts.get(folder_id, 0):
                return self._selections[number:], row
            row -= counts.get(folder_id, 0)
        return [], 0

    @staticmethod
    def _select(*columns: Any) -> sa.Select[Any]:
        return select(*columns).select_from(files.join(images)).where(files.c.missing_since.is_(None))

    def _with_vector(self, query: sa.Select[Any]) -> sa.Select[Any]:
        on = sa.and_(embeddings.c.image_id == images.c.id, embeddings.c.model_id == self._model.id)
        return query.join(embeddings, on)

    def _count(self, query: sa.Select[Any]) -> int:
        parts = self._dialect.in_folders(query, self._selections, ordered=False)
        return sum(self._connection.execute(part, parameters).scalar_one() for part, parameters in parts)

    def _batch(self, rows: Sequence[Any]) -> ExportedPhotos:
        paths, sizes, widths, heights, formats, digests, blobs, image_ids, checksums = zip(*rows, strict=True)
        dim = self._model.info.dim
        for path, blob, image_id, checksum in zip(paths, blobs, image_ids, checksums, strict=True):
            # Not left out: whoever exports wants all, and would notice too late.
            if not is_of_image(blob, self._model.id, image_id, checksum):
                raise LibraryDamaged(self._library, f"the vector of {path} under {self._model.info.spec} is damaged")
        if {len(blob) for blob in blobs} != {dim * VECTOR_DTYPE.itemsize}:
            raise LibraryDamaged(self._library, f"not all vectors of {self._model.info.spec} have {dim} numbers")
        return ExportedPhotos(
            paths=list(paths),
            widths=[width or None for width in widths],
            heights=[height or None for height in heights],
            formats=[name or None for name in formats],
            digests=[
                None if size == NEVER_SEEN and digest == path_digest(path) else digest
                for path, size, digest in zip(paths, sizes, digests, strict=True)
            ],
            vectors=np.frombuffer(b"".join(blobs), dtype=VECTOR_DTYPE).reshape(len(rows), dim),
        )

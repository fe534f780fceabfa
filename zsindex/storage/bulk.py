"""Photos with their vectors in bulk, into `library.db` and out of it: the SQL that exchanging vectors needs.

A sync stores what it learned of files that it read. Here photos come with a vector that somebody else computed, by the
thousand, and often without a file on this disk. Such a photo has no content that could identify it, so its path does:
its image has `path_digest` of the path, and its file row the size and time stamp `NEVER_SEEN`, which no file has.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection, func, insert, select, update

from zsindex.errors import LibraryDamaged
from zsindex.photos.formats import is_encodable
from zsindex.records import FloatArray
from zsindex.storage.photos import folder_ids_of, touch_files
from zsindex.storage.rows import NEVER_SEEN, ExportedPhotos, ImportedPhoto, KnownPhoto, ModelRow, path_digest
from zsindex.storage.sqlite.database import Database
from zsindex.storage.sqlite.fast_reads import VECTOR_DTYPE, chunks
from zsindex.storage.tables import embeddings, files, folders, images

_NOT_SEEN = (None, NEVER_SEEN, NEVER_SEEN)


class BulkStore:
    """Photos with their vectors by the thousand, in and out of an open database."""

    def __init__(self, database: Database) -> None:
        self.read = database.read
        self.write = database.write
        self._folder = database.folder

    def known_photos(self, photos: Iterable[ImportedPhoto]) -> dict[str, KnownPhoto]:
        """What the library knows of photos, by path."""
        with self.read() as connection:
            return _known(connection, photos)

    def save(self, photos: Sequence[ImportedPhoto], vectors: FloatArray, model_id: int) -> Counter[str]:
        """Store photos and their vectors, float32 (len(photos), dim), in one transaction.

        A vector that an image has already stays.

        Returns:
            How many vectors were ``stored`` and ``kept``, how many paths were ``added``, and how many photos were
            ``found``, ``unread`` and ``changed``, all as `zsindex.exchange.vectors.ImportReport` counts them.
        """
        counts: Counter[str] = Counter()
        with self.write("import vectors") as connection:
            known = _known(connection, photos)
            chosen = [
                (i, p, digest) for i, p in enumerate(photos) if (digest := _content(p, known.get(p.path))) is not None
            ]
            ids = {k.digest: k.image_id for k in known.values() if k.digest is not None and k.image_id is not None}
            added, new = _add_images(connection, {digest: photo for _, photo, digest in chosen if digest not in ids})
            ids.update(added)
            image_ids = {i: ids[digest] for i, _, digest in chosen}
            counts["stored"] = _add_vectors(connection, image_ids, vectors, model_id, new=new)
            counts["added"] = _save_files(
                connection, [photo for _, photo, _ in chosen], list(image_ids.values()), known
            )
        counts["changed"] = len(photos) - len(chosen)
        counts["kept"] = len(chosen) - counts["stored"]
        counts["found"] = sum(photo.seen is not None for _, photo, _ in chosen)
        counts["unread"] = len(chosen) - counts["found"]
        return counts

    @contextmanager
    def exporting(self, model: ModelRow, paths: Sequence[str] | None) -> Iterator[Export]:
        """A consistent view of the photos at or below `paths`, for as long as it lasts."""
        with self.read() as connection:
            yield Export(connection, self._folder, model, paths)


# --- in ---------------------------------------------------------------------------------------------------------------


def _known(connection: Connection, photos: Iterable[ImportedPhoto]) -> dict[str, KnownPhoto]:
    by_folder: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for photo in photos:
        by_folder[photo.folder][photo.name] = photo.path
    query = (
        select(
            files.c.name,
            files.c.id,
            files.c.size,
            files.c.mtime_ns,
            files.c.missing_since.is_not(None),
            files.c.image_id,
            images.c.digest,
        )
        .select_from(files.join(folders).outerjoin(images))
        .where(folders.c.path == sa.bindparam("folder"), files.c.name.in_(_listed("names")))
    )
    return {
        paths[row[0]]: KnownPhoto(*row[1:])
        for folder, paths in by_folder.items()
        for row in connection.execute(query, {"folder": folder, "names": json.dumps(list(paths))}).all()
    }


def _listed(name: str) -> sa.Select[Any]:
    """The values of a parameter that holds a JSON array.

    Made for lists of thousands: as an "IN (…)" of as many parameters they take ten times as long.
    """
    return select(func.json_each(sa.bindparam(name)).table_valued("value").c.value)


def _content(photo: ImportedPhoto, known: KnownPhoto | None) -> bytes | None:
    """The digest of the image that a vector is of; None where that is not what the path shows here."""
    here = None if photo.seen is None else photo.seen.digest
    if here is None and known is not None and not known.missing and known.size != NEVER_SEEN:
        here = known.digest  # as the last sync saw it
    if here is not None:
        return here if photo.digest in (None, here) else None
    return photo.digest or (known.digest if known is not None else None) or path_digest(photo.path)


def _add_images(connection: Connection, photos: Mapping[bytes, ImportedPhoto]) -> tuple[dict[bytes, int], set[int]]:
    """Make images, by digest, in the order given. Returns the ids of all of them, and which of these are new."""
    last = connection.execute(select(func.max(images.c.id))).scalar() or 0
    rows = [(digest, photo.width, photo.height, photo.format) for digest, photo in photos.items()]
    _insert(connection, images, ("digest", "width", "height", "format"), rows, prefix="OR IGNORE")
    query = select(images.c.digest, images.c.id)
    ids = {row[0]: row[1] for row in connection.execute(query.where(images.c.id > last)).all()}
    new = set(ids.values())
    for part in chunks([digest for digest in photos if digest not in ids]):
        ids.update((row[0], row[1]) for row in connection.execute(query.where(images.c.digest.in_(part))).all())
    return ids, new


def _add_vectors(
    connection: Connection, image_ids: Mapping[int, int], vectors: FloatArray, model_id: int, *, new: Collection[int]
) -> int:
    """Store the first vector of each image that has none. Returns how many.

    Args:
        image_ids: by row of `vectors`.
        new: images that were made just now, of which nobody needs to ask.
    """
    asked = json.dumps([image_id for image_id in set(image_ids.values()) if image_id not in new])
    query = select(embeddings.c.image_id).where(
        embeddings.c.model_id == model_id, embeddings.c.image_id.in_(_listed("ids"))
    )
    there = set(connection.execute(query, {"ids": asked}).scalars())
    content = memoryview(np.ascontiguousarray(vectors, dtype=VECTOR_DTYPE).data).cast("B")
    length = vectors.shape[1] * VECTOR_DTYPE.itemsize
    rows = []
    for row, image_id in image_ids.items():
        if image_id not in there:
            there.add(image_id)
            rows.append((model_id, image_id, content[row * length : (row + 1) * length]))
    _insert(connection, embeddings, ("model_id", "image_id", "vector"), rows)
    return len(rows)


def _save_files(
    connection: Connection,
    photos: Sequence[ImportedPhoto],
    image_ids: Sequence[int],
    known: Mapping[str, KnownPhoto],
) -> int:
    """Let paths show their images. Returns how many were not known."""
    folder_ids = folder_ids_of(connection, {photo.folder for photo in photos if photo.path not in known})
    new: dict[str, tuple[int, str, int, int, int]] = {}
    again: list[dict[str, Any]] = []
    for photo, image_id in zip(photos, image_ids, strict=True):
        _, size, mtime_ns = photo.seen or _NOT_SEEN
        before = known.get(photo.path)
        if before is None:
            # A path that stands there twice has the same vector both times.
            new[photo.path] = (folder_ids[photo.folder], photo.name, size, mtime_ns, image_id)
        elif (
            before.missing
            or before.image_id != image_id
            or (photo.seen is not None and (before.size, before.mtime_ns) != (size, mtime_ns))
        ):
            again.append({"known_id": before.id, "size": size, "mtime_ns": mtime_ns, "image_id": image_id})
    _insert(connection, files, ("folder_id", "name", "size", "mtime_ns", "image_id"), list(new.values()))
    if again:
        nothing = {"skip_reason": None, "skip_detail": None, "missing_since": None}
        connection.execute(update(files).where(files.c.id == sa.bindparam("known_id")).values(nothing), again)
    if new or again:
        touch_files(connection)
    return len(new)


def _insert(
    connection: Connection,
    table: sa.Table,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    *,
    prefix: str = "",
) -> None:
    """Insert rows whose values are in the order of `columns`, past SQLAlchemy, which looks at each value of each row:
    that takes longer than storing them.
    """
    if not rows:
        return
    statement = insert(table).prefix_with(prefix) if prefix else insert(table)
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(columns))
    assert compiled.positiontup == list(columns)
    connection.exec_driver_sql(str(compiled), list(rows))


# --- out --------------------------------------------------------------------------------------------------------------


class Export:
    """Photos of a library with their vectors under one model, as of one moment. Made by `exporting`.

    Attributes:
        n_photos: those that have a vector.
        n_without: those that have none.
    """

    def __init__(self, connection: Connection, folder: Path, model: ModelRow, paths: Sequence[str] | None) -> None:
        self._connection = connection
        self._library = folder
        self._model = model
        # Names as parts of a statement; None for the whole folder.
        self._selections = [
            (folder_id, path, part)
            for folder_id, path, names in _selected(connection, paths)
            for part in ([None] if names is None else chunks(sorted(names)))
        ]
        shown = self._count(self._select(func.count()))
        self.n_photos = self._count(self._with_vector(self._select(func.count())))
        self.n_without = shown - self.n_photos

    def batches(self, sizes: Iterator[int]) -> Iterator[ExportedPhotos]:
        """All that have a vector, folder by folder, each by name, in batches of `sizes`, which add up to `n_photos`."""
        columns = (
            files.c.name,
            files.c.size,
            images.c.width,
            images.c.height,
            images.c.format,
            images.c.digest,
            embeddings.c.vector,
        )
        query = self._with_vector(self._select(*columns)).order_by(files.c.name).execution_options(yield_per=4096)
        pending: list[Any] = []
        size = next(sizes, 0)
        for folder_id, folder, names in self._selections:
            base = os.path.join(folder, "")
            for row in self._connection.execute(_of(query, names), {"folder_id": folder_id}):
                pending.append((base + row[0], *row[1:]))
                if len(pending) == size:
                    yield self._batch(pending)
                    pending, size = [], next(sizes, 0)

    @staticmethod
    def _select(*columns: Any) -> sa.Select[Any]:
        return (
            select(*columns)
            .select_from(files.join(images))
            .where(files.c.folder_id == sa.bindparam("folder_id"), files.c.missing_since.is_(None))
        )

    def _with_vector(self, query: sa.Select[Any]) -> sa.Select[Any]:
        on = sa.and_(embeddings.c.image_id == images.c.id, embeddings.c.model_id == self._model.id)
        return query.join(embeddings, on)

    def _count(self, query: sa.Select[Any]) -> int:
        return sum(
            self._connection.execute(_of(query, names), {"folder_id": folder_id}).scalar_one()
            for folder_id, _, names in self._selections
        )

    def _batch(self, rows: Sequence[Any]) -> ExportedPhotos:
        paths, sizes, widths, heights, formats, digests, blobs = zip(*rows, strict=True)
        dim = self._model.info.dim
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


def _selected(connection: Connection, paths: Sequence[str] | None) -> list[tuple[int, str, set[str] | None]]:
    """(id, path, names or None for all) of the folders that hold what lies at or below paths, in their order."""
    known = connection.execute(select(folders.c.id, folders.c.path).order_by(folders.c.path)).all()
    if paths is None:
        return [(folder_id, folder, None) for folder_id, folder in known]
    named: defaultdict[str, set[str]] = defaultdict(set)
    for path in filter(is_encodable, paths):  # others are never stored
        folder, name = os.path.split(path)
        named[folder].add(name)
    whole = set(paths)
    selected: list[tuple[int, str, set[str] | None]] = []
    for folder_id, folder in known:
        if not whole.isdisjoint((folder, *map(str, PurePath(folder).parents))):
            selected.append((folder_id, folder, None))
        elif folder in named:
            selected.append((folder_id, folder, named[folder]))
    return selected


def _of(query: sa.Select[Any], names: Sequence[str] | None) -> sa.Select[Any]:
    return query if names is None else query.where(files.c.name.in_(names))

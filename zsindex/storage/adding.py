"""How images, vectors and files get into the tables: the one way, for what a sync has read, some dozen at a time, and
for what an import brings by the thousand. All of it within a write transaction, in which nobody else writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, delete, insert, select, update

from zsindex.storage.database import Dialect
from zsindex.storage.rows import KnownPhoto
from zsindex.storage.tables import embeddings, files, folders, images, settings


class ImageFacts(NamedTuple):
    """What is stored of an image beside its digest."""

    width: int
    height: int
    format: str


class FileValues(NamedTuple):
    """What is stored of a file that is there."""

    folder: str
    name: str
    size: int
    mtime_ns: int
    image_id: int | None
    skip_reason: str | None = None
    skip_detail: str | None = None


def known(connection: Connection, dialect: Dialect, places: Iterable[tuple[str, str, str]]) -> dict[str, KnownPhoto]:
    """What the library knows of files, given as (path, folder, name), by path."""
    by_folder: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for path, folder, name in places:
        by_folder[folder][name] = path
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
        .where(folders.c.path == sa.bindparam("folder"), files.c.name.in_(dialect.any_of("names")))
    )
    return {
        paths[row[0]]: KnownPhoto(*row[1:])
        for folder, paths in by_folder.items()
        for row in connection.execute(query, {"folder": folder, "names": dialect.many(paths)}).all()
    }


def add_images(
    connection: Connection, dialect: Dialect, by_digest: Mapping[bytes, ImageFacts]
) -> tuple[dict[bytes, int], set[int]]:
    """Make the images that are not there yet, in the order given. Returns the ids of all, and which are new."""
    ids = dialect.image_ids(connection, by_digest)
    rows = [(digest, *facts) for digest, facts in by_digest.items() if digest not in ids]
    if not rows:
        return ids, set()
    dialect.add_rows(connection, images, ("digest", "width", "height", "format"), rows)
    # Ids grow: these are the last ones.
    made = connection.execute(select(images.c.digest, images.c.id).order_by(images.c.id.desc()).limit(len(rows))).all()
    new = {row[0]: row[1] for row in made}
    return ids | new, set(new.values())


def add_vectors(
    connection: Connection,
    dialect: Dialect,
    by_image: Mapping[int, bytes | memoryview],
    model_id: int | None,
    *,
    new: Collection[int],
) -> int:
    """Store the vectors of images that have none under the model; what is there stays. Returns how many.

    Args:
        by_image: the bytes of each vector.
        new: images that were made just now, of which nobody needs to ask.
    """
    if old := [image_id for image_id in by_image if image_id not in new]:
        query = select(embeddings.c.image_id).where(
            embeddings.c.model_id == model_id, embeddings.c.image_id.in_(dialect.any_of("ids"))
        )
        there = set(connection.execute(query, {"ids": dialect.many(old)}).scalars())
        by_image = {image_id: vector for image_id, vector in by_image.items() if image_id not in there}
    rows = [(model_id, image_id, vector) for image_id, vector in by_image.items()]
    dialect.add_rows(connection, embeddings, ("model_id", "image_id", "vector"), rows)
    return len(rows)


def put_files(
    connection: Connection, dialect: Dialect, new: Collection[FileValues], again: Mapping[int, FileValues]
) -> None:
    """Store what files are now.

    Args:
        new: those that are not known.
        again: others, by id; they are not missing any more.
    """
    if not new and not again:
        return
    folder_ids = _folder_ids(connection, dialect, {file.folder for file in new})
    rows = [(folder_ids[file.folder], *file[1:]) for file in new]
    dialect.add_rows(connection, files, ("folder_id", *FileValues._fields[1:]), rows)
    if again:
        values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in FileValues._fields[2:]}
        connection.execute(
            update(files).where(files.c.id == sa.bindparam("known_id")).values(missing_since=None, **values),
            [
                {"known_id": known_id, **{f"new_{name}": value for name, value in file._asdict().items()}}
                for known_id, file in again.items()
            ],
        )
    touch_files(connection)


def _folder_ids(connection: Connection, dialect: Dialect, paths: Collection[str]) -> dict[str, int]:
    """Ids of folders by path; those that are not known are made."""
    query = select(folders.c.path, folders.c.id).where(folders.c.path.in_(dialect.any_of("paths")))

    def look_up(wanted: Collection[str]) -> dict[str, int]:
        return {row[0]: row[1] for row in connection.execute(query, {"paths": dialect.many(wanted)})}

    ids = look_up(paths) if paths else {}
    if new := [path for path in paths if path not in ids]:
        dialect.add_rows(connection, folders, ("path",), [(path,) for path in new])
        ids |= look_up(new)
    return ids


def set_setting(connection: Connection, key: str, value: str) -> None:
    """Store a value under a key, in place of the one before."""
    connection.execute(delete(settings).where(settings.c.key == key))
    connection.execute(insert(settings).values(key=key, value=value))


def touch_files(connection: Connection) -> None:
    """Count a change of the files, in the transaction that makes it."""
    revision = connection.execute(select(settings.c.value).where(settings.c.key == "files_revision")).scalar()
    set_setting(connection, "files_revision", str(int(revision or 0) + 1))

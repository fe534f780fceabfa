"""How images, vectors and files get into the tables: the one way, for what a sync has read, some dozen at a time, and
for what an import brings by the thousand. All of it within a write transaction, in which nobody else writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from sqlalchemy import Connection, func, select, text

from zsindex.records import Candidate
from zsindex.storage.database import Dialect
from zsindex.storage.rows import ImageRecord, ImportedPhoto, KnownPhoto
from zsindex.storage.sealing import unseal
from zsindex.storage.seals import Kind, image_row_checksum
from zsindex.storage.stored import image_checksum, number
from zsindex.storage.tables import embeddings, files, folders, images, settings

Vector = TypeVar("Vector")

# What a file is: size, mtime_ns, image id, or skip reason and skip detail, and the checksum of that; and a new one with
# its folder's id and its name before that. Plain tuples, as one of each is made for every photo of an import.
FileState: TypeAlias = tuple[int, int, int | None, str | None, str | None, int]
NewFile: TypeAlias = tuple[int, str, int, int, int | None, str | None, str | None, int]


class Vanished(NamedTuple):
    """A file that is not there any more."""

    id: int
    missing_since: str


class There(NamedTuple):
    """What the library knows of what is about to be stored.

    Attributes:
        image_ids: by digest, of all images. Those that were not there have been made.
        new: ids of these.
        with_vector: ids of images that have a vector under the model.
        files: those that are known, by path.
        vanished: vanished files that showed one of the images, by its id; the last to vanish last.
        folder_ids: of all folders, by path. Those that were not there have been made.
        revision, facts_revision: see `revisions_of`.
    """

    image_ids: Mapping[bytes, int]
    new: Collection[int]
    with_vector: Collection[int]
    files: Mapping[str, KnownPhoto]
    vanished: Mapping[int, list[Vanished]]
    folder_ids: Mapping[str, int]
    revision: int
    facts_revision: int


# So many images are looked up before they are added, as a sync may know them. An import knows few, and looking for
# thousands in the index of digests takes as long as adding them.
LOOK_FIRST = 1000
# The settings that count changes of the files, and of facts.
REVISION = "files_revision"
FACTS_REVISION = "facts_revision"

# Changed in its place: a row that is deleted and made anew with every batch leaves as many behind on a server.
_PUT_SETTING = text(
    "INSERT INTO settings (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)

IMAGE_COLUMNS = ("digest", "width", "height", "format", "checksum")


def known(
    connection: Connection, dialect: Dialect, photos: Iterable[Candidate | ImportedPhoto]
) -> dict[str, KnownPhoto]:
    """What the library knows of photos, by path."""
    by_folder: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for photo in photos:
        by_folder[photo.folder][photo.name] = photo.path
    query = select(
        files.c.name,
        files.c.id,
        files.c.size,
        files.c.mtime_ns,
        files.c.missing_since.is_not(None),
        files.c.image_id,
        images.c.digest,
    ).select_from(files.join(folders).outerjoin(images))
    return {
        by_folder[folder][row[0]]: KnownPhoto(*row[1:])
        for folder, row in dialect.files_named(connection, by_folder, query)
    }


def add_images(
    connection: Connection, dialect: Dialect, by_digest: Mapping[bytes, ImageRecord | ImportedPhoto]
) -> tuple[dict[bytes, int], set[int]]:
    """Make the images that are not there yet, in the order given. Returns the ids of all, and which are new."""
    ids = dialect.image_ids(connection, by_digest) if len(by_digest) <= LOOK_FIRST else {}
    rows = [
        (digest, i.width, i.height, i.format, image_row_checksum(digest, i.width, i.height, i.format))
        for digest, i in by_digest.items()
        if digest not in ids
    ]
    if not rows:
        return ids, set()
    last = connection.execute(select(func.max(images.c.id))).scalar() or 0
    dialect.add_rows(connection, images, IMAGE_COLUMNS, rows, unless_there=True)
    made = connection.execute(select(images.c.digest, images.c.id).where(images.c.id > last)).all()
    ids.update((row[0], row[1]) for row in made)
    if len(ids) < len(by_digest):
        ids |= dialect.image_ids(connection, by_digest.keys() - ids.keys())
    return ids, {row[1] for row in made}


def with_vector(connection: Connection, dialect: Dialect, image_ids: Iterable[int], model_id: int | None) -> set[int]:
    """Which images have a vector under a model."""
    ids = list(image_ids)
    if not ids:
        return set()
    query = select(embeddings.c.image_id).where(
        embeddings.c.model_id == model_id, embeddings.c.image_id.in_(dialect.any_of("ids", int))
    )
    return set(connection.execute(query, {"ids": dialect.many(ids)}).scalars())


def add_vectors(
    connection: Connection,
    dialect: Dialect,
    by_image: Mapping[int, Vector],
    blob: Callable[[Vector], bytes | memoryview],
    model_id: int | None,
    *,
    but: Collection[int] = (),
) -> int:
    """Store the vectors of images under a model. Returns how many.

    Args:
        by_image: a vector of each image, as `blob` takes it.
        blob: the bytes of one.
        but: images that have one, which stays.
    """
    rows = [
        (model_id, image_id, stored := blob(vector), image_checksum(stored, model_id or 0, image_id))
        for image_id, vector in by_image.items()
        if image_id not in but
    ]
    dialect.add_rows(connection, embeddings, ("model_id", "image_id", "vector", "checksum"), rows)
    return len(rows)


def folder_ids(connection: Connection, dialect: Dialect, paths: Collection[str]) -> dict[str, int]:
    """Ids of folders by path; those that are not known are made."""
    query = select(folders.c.path, folders.c.id).where(folders.c.path.in_(dialect.any_of("paths", str)))

    def look_up(wanted: Collection[str]) -> dict[str, int]:
        return {row[0]: row[1] for row in connection.execute(query, {"paths": dialect.many(wanted)})}

    ids = look_up(paths) if paths else {}
    if new := [path for path in paths if path not in ids]:
        dialect.add_rows(connection, folders, ("path",), [(path,) for path in new])
        ids |= look_up(new)
    return ids


def put_files(
    connection: Connection,
    dialect: Dialect,
    new: Sequence[NewFile],
    again: Mapping[int, FileState],
    *,
    touched: Iterable[int],
    revision: int,
) -> None:
    """Store what files are now.

    Args:
        new: those that are not known.
        again: others, by id; they are not missing any more.
        touched: ids of the folders of all these.
        revision: of the files, see `revisions_of`.
    """
    columns = ("folder_id", "name", "size", "mtime_ns", "image_id", "skip_reason", "skip_detail", "checksum")
    dialect.add_rows(connection, files, columns, new)
    rows = [(ident, *state, None) for ident, state in again.items()]
    dialect.change_rows(connection, files, ("id", *columns[2:], "missing_since"), rows)
    if new or again:
        unseal(connection, dialect, Kind.FOLDER, map(str, touched))
        _set_revision_after(connection, revision)


def set_setting(connection: Connection, key: str, value: str) -> None:
    """Store a value under a key, in place of the one before."""
    connection.execute(_PUT_SETTING, {"key": key, "value": value})


def revisions_of(connection: Connection) -> tuple[int, int]:
    """Changes of the files, and of facts."""
    query = select(settings.c.key, settings.c.value).where(settings.c.key.in_((REVISION, FACTS_REVISION)))
    found = {row[0]: number(row[1]) for row in connection.execute(query)}
    return found.get(REVISION, 0), found.get(FACTS_REVISION, 0)


def touch_files(connection: Connection) -> None:
    """Count a change of the files, in the transaction that makes it."""
    _set_revision_after(connection, revisions_of(connection)[0])


def _set_revision_after(connection: Connection, revision: int) -> None:
    set_setting(connection, REVISION, str(revision + 1))

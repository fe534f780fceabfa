"""Checksums of what is not a vector: of the rows that decide answers, and of what each folder holds.

A seal is the CRC-32 of a row's values. Seals lie in a table of their own, by kind of row, so that what is lost is
noticed as well as what has changed: a row without its seal is damaged, and a seal without its row tells of one that is
gone. Seals are written in the transaction that writes what they are of.

Rows of photos and of files are too many for that: these have their checksum beside them, as vectors have. What a folder
holds is sealed as one, by `zsindex.storage.photos.SqlPhotos.seal_folders`.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from zsindex.errors import ZsindexWarning
from zsindex.storage.stored import MODEL_COLUMNS, SNAPSHOT_COLUMNS


class Kind(StrEnum):
    """What is sealed. The part of a seal is given in brackets, then its key."""

    MODEL = "model"  # id
    DEFAULT_MODEL = "default_model"  # nothing
    FOLDER = "folder"  # id
    ROOT = "root"  # path
    SNAPSHOT = "snapshot"  # id of its model
    LABEL_SET = "label_set"  # [name] version
    TEMPLATE_SET = "template_set"  # name
    CORRECTION = "correction"  # [name of the label set] id
    DECISION = "decision"  # id
    ALBUM = "album"  # name
    SURVEY = "survey"  # id
    LOOK = "look"  # [id of its survey] number
    THRESHOLD = "threshold"  # [name of the label set] label
    TEMPERATURE = "temperature"  # id of its model
    DERIVED = "derived"  # [id of its model, a slash, and what it is] key
    RUN = "run"  # key
    SIDECAR = "sidecar"  # path

    # These have none: it can be seen of them.
    COUNTER = "counter"  # key of the setting

    # These have their checksum beside them.
    FILE = "file"  # id
    IMAGE = "image"  # id
    FACTS = "facts"  # id of the image
    SIDECAR_FACTS = "sidecar_facts"  # id


class Rule(NamedTuple):
    """Where the rows of a kind lie, which columns tell them apart, and which are sealed: these among them, so that it
    can be told whether a row has another name, or its seal.
    """

    table: str
    part: tuple[str, ...]
    key: str
    columns: tuple[str, ...]


# Without what changes by itself, or decides nothing.
RULES = {
    Kind.MODEL: Rule("models", (), "id", MODEL_COLUMNS[:-1]),
    Kind.ROOT: Rule("roots", (), "path", ("path",)),
    Kind.SNAPSHOT: Rule("snapshots", (), "model_id", ("model_id", *SNAPSHOT_COLUMNS[:-1])),
    Kind.LABEL_SET: Rule("label_sets", ("name",), "version", ("name", "version", "body", "saved_at")),
    Kind.TEMPLATE_SET: Rule("template_sets", (), "name", ("name", "body")),
    Kind.CORRECTION: Rule(
        "corrections", ("label_set",), "id", ("label_set", "id", "batch", "digest", "label", "is_not")
    ),
    Kind.DECISION: Rule(
        "decisions",
        (),
        "id",
        ("id", "batch", "kind", "digest", "other", "path", "other_path", "created_at"),
    ),
    Kind.ALBUM: Rule("albums", (), "name", ("name", "body", "saved_at", "seen", "seen_at")),
    Kind.SURVEY: Rule("surveys", (), "id", ("id", "kind", "question", "image_ids", "begun_at", "ended_at", "result")),
    Kind.LOOK: Rule(
        "looks",
        ("survey_id",),
        "number",
        ("survey_id", "number", "digest", "path", "drawn", "answer", "answered_at"),
    ),
    Kind.THRESHOLD: Rule("thresholds", ("label_set",), "label", ("label_set", "label", "rate", "chosen", "created_at")),
    Kind.DERIVED: Rule("derived", ("model_id", "kind"), "key", ("model_id", "kind", "key", "body")),
    Kind.TEMPERATURE: Rule("temperatures", (), "model_id", ("model_id", "temperature", "fit")),
    Kind.RUN: Rule("runs", (), "key", ("key", "document", "created_at")),
    Kind.SIDECAR: Rule("sidecars", (), "path", ("path", "original", "written_sha256", "tags", "written_at")),
}


# Ids of images are small, and would hide in the bits of a size.
_ODD = 0x9E3779B1

# Damaged rows that a warning names.
_MOST_NAMED = 5


class Damaged(NamedTuple):
    """A row that is not as it was stored.

    Attributes:
        kind, part, key: of its seal; of a file and of an image its id is the key. Of a file that was imported, and that
            nobody has seen on this disk, the part is ``unseen``.
        what: it is, in words, as far as it can be read; of a file its path.
        gone: it is not there at all.
        whole: it is as it was stored; what is damaged is its seal.
    """

    kind: Kind
    part: str
    key: str
    what: str
    gone: bool = False
    whole: bool = False


class RowsDamaged(ZsindexWarning):
    """Something other than vectors is not what was stored. It is left out of answers, rather than believed."""


def seal(values: Iterable[object]) -> int:
    """The CRC-32 of a row: of None, whole numbers, floating-point numbers, texts and bytes."""
    checksum = 0
    for value in values:
        if value is None:
            mark, content = b"n", b""
        elif isinstance(value, str):
            mark, content = b"t", value.encode("utf-8", "surrogatepass")
        elif isinstance(value, float):
            mark, content = b"f", struct.pack("<d", value)
        elif isinstance(value, int):
            mark, content = b"i", b"%d" % value
        else:
            assert isinstance(value, bytes)
            mark, content = b"b", value
        checksum = zlib.crc32(content, zlib.crc32(b"%b%d:" % (mark, len(content)), checksum))
    return checksum


def file_checksum(folder: str, name: str, size: int, mtime_ns: int, image_id: int | None) -> int:
    """The CRC-32 of a row of `files`, with the path of its folder: of its texts, begun with its numbers, which are
    folded so that none of their bits is lost.
    """
    numbers = size ^ size >> 32 ^ mtime_ns ^ mtime_ns >> 32 ^ (image_id or 0) * _ODD
    return zlib.crc32(f"{name}/{folder}".encode(), numbers & 0xFFFFFFFF)


def image_row_checksum(digest: bytes, width: int, height: int, container: str) -> int:
    """The CRC-32 of a row of `images`."""
    return zlib.crc32(digest, zlib.crc32(container.encode(), (width << 16 ^ height) & 0xFFFFFFFF))


def is_of_file(folder: str, name: str, size: int, mtime_ns: int, image_id: int | None, checksum: int) -> bool:
    """Whether a row of `files` is as it was stored. What lies on the disk may also be of another type by now."""
    try:
        return file_checksum(folder, name, size, mtime_ns, image_id) == checksum
    except (TypeError, ValueError, AttributeError):
        return False


def is_of_content(digest: bytes, width: int, height: int, container: str, checksum: int) -> bool:
    """The same of a row of `images`."""
    try:
        return image_row_checksum(digest, width, height, container) == checksum
    except (TypeError, AttributeError):
        return False


def listing_checksum(folder: str, names: str, image_ids: str) -> int:
    """The CRC-32 of what a folder holds.

    Args:
        folder: its path.
        names: of its files that are there and show an image, in order, with zero bytes between them.
        image_ids: of their images, with commas between them.
    """
    return seal((folder, names, image_ids))


def warn_of_rows(what: Sequence[str]) -> None:
    """Say that something was left out."""
    more = f" and {len(what) - _MOST_NAMED} more" * (len(what) > _MOST_NAMED)
    verb = "are" if len(what) > 1 else "is"
    named = ", ".join(what[:_MOST_NAMED])
    warnings.warn(
        f"{named}{more} {verb} damaged, and {verb} left out of answers. Run zsindex check --fix",
        RowsDamaged,
        stacklevel=4,
    )

"""How records lie in tables, for SQL with SQLAlchemy and without: the columns of models and snapshots, and the bytes of
vectors, which are little-endian float32, one after another, nothing else, with their checksums beside them.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from zsindex.errors import LibraryDamaged, ZsindexWarning
from zsindex.records import DecodeMode, FloatArray, IccMode, IdArray, ModelInfo, ModelSpec, TransparencyMode
from zsindex.storage.rows import ModelRow, SnapshotRow

VECTOR_DTYPE = np.dtype("<f4")

# In the order in which `model_row` and `SnapshotRow` take them.
MODEL_COLUMNS = (
    "id",
    "fingerprint",
    "name",
    "pretrained",
    "precision",
    "decode",
    "icc",
    "transparency",
    "dim",
    "logit_scale",
    "logit_bias",
    "context_length",
    "image_height",
    "image_width",
    "weights_sha256",
    "created_at",
)
SNAPSHOT_COLUMNS = tuple(field.name for field in fields(SnapshotRow))


class Unreadable(ValueError):
    """A value that nobody has stored so: damage."""


def number(text: str) -> int:
    """A whole number that was stored as a text.

    Raises:
        Unreadable
    """
    try:
        return int(text)
    except ValueError as error:
        raise Unreadable(f"{text[:40]!r} stands where a number belongs") from error


class VectorsDamaged(ZsindexWarning):
    """Stored vectors are not what was stored. Their photos have none for now, rather than wrong ones."""


def warn_of_damage(n: int, model: ModelRow) -> None:
    """Say that `n` vectors of images were passed over."""
    warnings.warn(
        f"{n} stored {'vectors' if n > 1 else 'vector'} of {model.info.spec} {'are' if n > 1 else 'is'} damaged, and"
        f" {'these photos are' if n > 1 else 'that photo is'} in no answer. Run zsindex check --fix, then zsindex sync",
        VectorsDamaged,
        stacklevel=4,
    )


def gathered(
    count: int, parts: Iterable[tuple[int, IdArray, FloatArray]], model: ModelRow, seq: int
) -> tuple[int, IdArray, FloatArray]:
    """What `Reads.embeddings` gives after `seq`, as one: the last sequence number, ids (n,), vectors (n, dim).

    Warns:
        VectorsDamaged: some are left out.
    """
    ids = np.empty(count, dtype=np.int64)
    vectors = np.empty((count, model.info.dim), dtype=np.float32)
    last, n = seq, 0
    for through, part_ids, part in parts:
        last = through
        ids[n : n + len(part)], vectors[n : n + len(part)] = part_ids, part
        n += len(part)
    if n < count:
        warn_of_damage(count - n, model)
    return last, ids[:n], vectors[:n]


def model_row(row: Sequence[Any]) -> ModelRow:
    """The record of `MODEL_COLUMNS`."""
    ident, fingerprint, name, pretrained, precision, decode, icc, transparency, *rest = row
    dim, scale, bias, context_length, height, width, weights_sha256, created_at = rest
    info = ModelInfo(
        spec=ModelSpec(name, pretrained, precision, DecodeMode(decode), IccMode(icc), TransparencyMode(transparency)),
        fingerprint=fingerprint,
        dim=dim,
        logit_scale=scale,
        logit_bias=bias,
        context_length=context_length,
        image_size=(height, width),
        weights_sha256=weights_sha256,
    )
    return ModelRow(ident, info, created_at)


def to_blob(vector: FloatArray) -> bytes:
    """The bytes of a vector."""
    return np.ascontiguousarray(vector, dtype=VECTOR_DTYPE).tobytes()


def image_checksum(blob: bytes | memoryview, model_id: int, image_id: int) -> int:
    """What is stored beside the vector of an image: CRC-32, begun with whose it is, so that a vector that has come to
    stand under another image does not pass for that one's.
    """
    return zlib.crc32(blob, (image_id ^ model_id << 24) & 0xFFFFFFFF)


def prompt_checksum(blob: bytes, model_id: int, text: str, truncated: bool) -> int:
    """The same of a prompt; of its text, too, and of whether it was cut."""
    return zlib.crc32(blob, zlib.crc32(text.encode(), (model_id << 1 | truncated) & 0xFFFFFFFF))


def is_of_image(blob: bytes, model_id: int, image_id: int, checksum: int) -> bool:
    """Whether a row of `embeddings` is as it was stored. What lies on the disk may also be of another type by now."""
    try:
        return image_checksum(blob, model_id, image_id) == checksum
    except TypeError:
        return False


def whole_rows(rows: Sequence[tuple[int, int, bytes, int]], model_id: int) -> Sequence[tuple[int, int, bytes, int]]:
    """Those rows, of (seq, image id, vector, checksum), that are as they were stored. Some thousand are read at a time
    before the first answer: here a call for each would take longer than its checksum.
    """
    crc32, first = zlib.crc32, model_id << 24
    try:
        return [row for row in rows if crc32(row[2], row[1] ^ first) == row[3]]
    except TypeError:
        return [row for row in rows if is_of_image(row[2], model_id, row[1], row[3])]


def is_of_prompt(blob: bytes, model_id: int, text: str, truncated: int, checksum: int) -> bool:
    """The same of a row of `prompts`."""
    try:
        return prompt_checksum(blob, model_id, text, bool(truncated)) == checksum
    except (TypeError, AttributeError):
        return False


def from_blob(blob: bytes, model: ModelRow, place: Path | str) -> FloatArray:
    """A vector of a model, float32 (dim,); `place` stands for the library in messages.

    Raises:
        LibraryDamaged: these are not the bytes of one.
    """
    if len(blob) != model.info.dim * VECTOR_DTYPE.itemsize:
        expected = f"a vector of {model.info.dim} numbers"
        raise LibraryDamaged(place, f"{len(blob)} bytes are stored where {expected} is expected")
    return np.frombuffer(blob, dtype=VECTOR_DTYPE).astype(np.float32, copy=False)


def from_blobs(blobs: Sequence[bytes], model: ModelRow, place: Path | str) -> FloatArray:
    """Vectors of a model, float32 (n, dim).

    Raises:
        LibraryDamaged: one of these is none.
    """
    size = model.info.dim * VECTOR_DTYPE.itemsize
    if any(len(blob) != size for blob in blobs):
        from_blob(next(blob for blob in blobs if len(blob) != size), model, place)
    joined = np.frombuffer(b"".join(blobs), dtype=VECTOR_DTYPE).reshape(len(blobs), model.info.dim)
    return joined.astype(np.float32, copy=False)

"""Libraries to test with: stores with made-up vectors, for which no photo is needed, and very small photos."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tests import on_server
from tests.fakes import DIM, FakeEncoder
from zsindex.records import Candidate, FloatArray, ModelInfo
from zsindex.session import storages
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import FileOutcome, ImageRecord, ModelRow
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.storage.sqlite.file import FILE_NAME

if TYPE_CHECKING:
    from zsindex.session.storages import SqlStorage


@contextmanager
def open_storage(folder: Path, *, create: bool = True, read_only: bool = False) -> Iterator[SqlStorage]:
    storage = storages.open_storage(folder, create=create, read_only=read_only)
    try:
        yield storage
    finally:
        storage.close()


@cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        SqliteDatabase.open(Path(folder), create=True).close()
        return Path(folder, FILE_NAME).read_bytes()


def new_library(folder: Path) -> Path:
    """Make an empty library without running the migrations every time."""
    if on_server.asked():
        storages.create(folder)
        return folder
    folder.mkdir(parents=True)
    (folder / FILE_NAME).write_bytes(_empty_database())
    return folder


def stored(folder: Path, *, to_the_byte: bool = False) -> list[str]:
    """All that a library holds, as text, a line for each row; in a folder also how it lies in the file."""
    if on_server.is_of(folder):
        return on_server.rows(folder)
    if to_the_byte:
        return [(folder / FILE_NAME).read_bytes().hex()]
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        return list(connection.iterdump())


def execute(folder: Path, *statements: str) -> None:
    """Change rows of a library past zsindex, by statements each of which changes some."""
    if on_server.is_of(folder):
        on_server.execute(folder, *statements)
        return
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement


def fake_info(name: str = "fake") -> ModelInfo:
    return FakeEncoder(name).info


def add_model(storage: Storage, name: str = "fake") -> ModelRow:
    return storage.photos.add_model(fake_info(name), make_default=False)


def unit_vectors(n: int, *, seed: int = 0, dim: int = DIM) -> FloatArray:
    """Random unit vectors, float32 (n, dim)."""
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def digest_of(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def photo(
    path: str, content: str | None = None, vector: FloatArray | None = None, *, size: int = 1, mtime_ns: int = 1
) -> FileOutcome:
    """What a sync stores of a photo; `content` stands for its bytes, by default one of its own."""
    folder, _, name = path.rpartition("/")
    image = ImageRecord(digest_of(content or path), 4, 3, "PNG", vector)
    return FileOutcome(Candidate(folder or "/", name, size, mtime_ns), image)


def add_photos(storage: Storage, model: ModelRow, vectors: FloatArray, *, folder: str = "/photos") -> list[str]:
    """Store one photo per vector; returns their paths."""
    paths = [f"{folder}/{i:05d}.png" for i in range(len(vectors))]
    storage.photos.save([photo(path, vector=vector) for path, vector in zip(paths, vectors, strict=True)], model.id)
    return paths


def add_images(storage: Storage, model: ModelRow, vectors: FloatArray, *, of: str = "") -> None:
    """Store vectors of images that are no files: a quick way to many."""
    storage.photos.save_images([ImageRecord(digest_of(f"{of}{i}"), vector=v) for i, v in enumerate(vectors)], model.id)


def paint(path: Path, rgb: Sequence[int]) -> Path:
    """Write a tiny photo of one colour; same colour, same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (rgb[0], rgb[1], rgb[2])).save(path, "PNG")
    return path

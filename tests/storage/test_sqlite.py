"""What holds of SQLite's storage alone: bytes on the disk, damage, and what its fast path may not rely on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tests.libraries import add_model, add_photos, digest_of, new_library, open_storage, photo, unit_vectors
from zsindex.storage import adding
from zsindex.storage.rows import ModelRow
from zsindex.storage.seals import RowsDamaged
from zsindex.storage.sqlite import fast_reads, parameters
from zsindex.storage.sqlite.file import FILE_NAME
from zsindex.storage.sqlite.storage import SqliteStorage
from zsindex.storage.tables import embeddings, metadata


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_library(tmp_path / "library")


@pytest.fixture
def storage(folder: Path) -> Iterator[SqliteStorage]:
    with open_storage(folder) as opened:
        yield opened


@pytest.fixture
def model(storage: SqliteStorage) -> ModelRow:
    return add_model(storage)


def rows(storage: SqliteStorage) -> dict[str, int]:
    """Every table with its number of rows, but for the settings."""
    with storage.database.read() as connection:
        return {
            name: int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            for name, table in metadata.tables.items()
            if name != "settings"
        }


def test_vectors_are_stored_as_little_endian_floats(storage: SqliteStorage, model: ModelRow) -> None:
    vectors = unit_vectors(2)
    add_photos(storage, model, vectors)
    with storage.database.read() as connection:
        blobs = connection.execute(sa.select(embeddings.c.vector).order_by(embeddings.c.seq)).scalars().all()
    assert blobs == [vector.astype("<f4").tobytes() for vector in vectors]


def test_batches_larger_than_a_query_takes(
    storage: SqliteStorage, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "IN_LIMIT", 7)
    paths = add_photos(storage, model, unit_vectors(20))
    assert storage.photos.save([photo(path) for path in paths], model.id) == {"unchanged": 20}
    assert len(storage.reads.image_vectors([digest_of(path) for path in paths], model)) == 20
    assert len(storage.reads.files_of(range(100))) == 20
    assert len(storage.photos.images_of([digest_of(path) for path in paths])) == 20
    texts = [str(i) for i in range(20)]
    storage.reads.save_prompts(texts, unit_vectors(20), model.id, truncated=[False] * 20)
    assert set(storage.reads.prompt_vectors(texts, model, truncated=False)) == set(texts)


def test_pruning_leaves_no_row_behind(storage: SqliteStorage, model: ModelRow) -> None:
    paths = add_photos(storage, model, unit_vectors(3), folder="/gone")
    add_photos(storage, model, unit_vectors(1), folder="/kept")
    storage.photos.seal_folders()
    kept = rows(storage)
    storage.photos.prune(under=["/gone"])
    assert {name: n - rows(storage)[name] for name, n in kept.items() if n != rows(storage)[name]} == {
        "files": len(paths), "images": 3, "embeddings": 3, "folders": 1, "seals": 1
    }  # fmt: skip
    assert storage.problems() == []


def test_dangling_references_are_found(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    add_photos(storage, model, unit_vectors(1))
    assert storage.problems() == []
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:  # does not enforce foreign keys
        connection.execute("DELETE FROM images")
    assert "row 1 of files refers to nothing in images" in storage.problems()


@pytest.mark.parametrize(
    "damage",
    [
        "size = 'large'",
        "size = 9",
        "mtime_ns = 0.5",
        "name = char(0) || name",
        "name = name || char(0)",
        "name = x'00ff00'",
        "name = ''",
        "checksum = x''",
        "checksum = 7",
    ],
)
def test_a_file_that_is_not_what_was_stored_takes_no_others_with_it(
    storage: SqliteStorage, folder: Path, model: ModelRow, damage: str
) -> None:
    paths = add_photos(storage, model, unit_vectors(4))
    assert storage.reads.files_of([1, 2, 3]).paths == paths[:3]
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = on")
        connection.execute(f"UPDATE files SET {damage} WHERE image_id = 2")
    with pytest.warns(RowsDamaged, match="some photos"):
        found = storage.reads.files_of([1, 2, 3])
    assert found.paths == [paths[0], paths[2]]
    assert found.image_ids.tolist() == [1, 3]
    assert storage.reads.files_of([]).paths == []


def test_files_come_by_name_whatever_the_order_of_the_database(
    storage: SqliteStorage, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.photos.save([photo(path) for path in ("/a/2", "/a/10", "/a/1", "/b/1")], model.id)
    expected = storage.reads.files()
    assert expected.paths == ["/a/1", "/a/10", "/a/2", "/b/1"]
    ordered = fast_reads._by_folder

    def backwards(*arguments: Any) -> Any:
        folders, rows = ordered(*arguments)

        def turned(text: Any, separator: str) -> Any:
            return separator.join(text.split(separator)[::-1])

        return folders, [(folder, turned(names, "\0"), turned(ids, ",")) for folder, names, ids in rows[::-1]]

    monkeypatch.setattr(fast_reads, "_by_folder", backwards)
    found = storage.reads.files()
    assert found.paths == expected.paths
    np.testing.assert_array_equal(found.image_ids, expected.image_ids)


@pytest.mark.parametrize("look_first", [0, 1000], ids=["added at once", "looked up first"])
def test_images_that_are_known_are_not_made_again(
    storage: SqliteStorage, model: ModelRow, monkeypatch: pytest.MonkeyPatch, look_first: int
) -> None:
    monkeypatch.setattr(adding, "LOOK_FIRST", look_first)
    vectors = unit_vectors(4)
    storage.photos.save([photo("/1", "x", vectors[0]), photo("/2", "y", vectors[1])], model.id)
    again = [photo(path, content, vectors[3]) for path, content in (("/3", "y"), ("/4", "z"), ("/5", "x"), ("/6", "z"))]
    assert storage.photos.save(again, model.id) == {"added": 4}
    of = dict(zip(storage.reads.files().paths, storage.reads.files().image_ids.tolist(), strict=True))
    assert (of["/3"], of["/5"], of["/4"]) == (of["/2"], of["/1"], of["/6"])
    assert len(set(of.values())) == 3
    assert storage.reads.embeddings_after(model, 0)[2].tobytes() == vectors[[0, 1, 3]].tobytes()
    assert rows(storage)["images"] == 3

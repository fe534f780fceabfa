"""Vectors out of a library and into another, and everything that can be wrong with what others wrote."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import text

from tests.fakes import DIM, FakeEncoder
from tests.libraries import paint, unit_vectors
from zsindex import atomic
from zsindex.errors import (
    BadQuery,
    DimensionMismatch,
    ExportRefused,
    ImageError,
    ImportRefused,
    LibraryDamaged,
    LibraryReadOnly,
    UnknownModel,
    ZsindexError,
)
from zsindex.exchange import parts
from zsindex.exchange import vectors as exchange
from zsindex.library import Library
from zsindex.records import FloatArray, Progress
from zsindex.storage.rows import path_digest

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def library(tmp_path: Path, new_library: Path, encoder: FakeEncoder) -> Iterator[Library]:
    shutil.copytree(new_library, tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=encoder) as opened:
        yield opened


@pytest.fixture
def open_other(tmp_path: Path, new_library: Path) -> Iterator[Callable[..., Library]]:
    """Open an empty library beside the first one, by default with the same model."""
    opened: list[Library] = []

    def open_one(encoder: FakeEncoder | None = None) -> Library:
        folder = tmp_path / f"other {len(opened)}"
        if encoder is None:
            shutil.copytree(new_library, folder)
        opened.append(Library.open(folder, encoder=encoder or FakeEncoder()))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, rgb in COLOURS.items():
        paint(folder / "里" / f"{name}.png" if name == "red" else folder / f"{name}.png", rgb)
    paint(folder / "copy of blue.png", COLOURS["blue"])
    return folder


def write(
    folder: Path, *parts: tuple[Sequence[str | None], Any], numbers: Sequence[str] = "0123456789", **columns: Any
) -> Path:
    """Write what clip-retrieval writes: a part per (paths, vectors); `columns` go into every table."""
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, (paths, vectors) in zip(numbers, parts, strict=False):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors)
        table = pa.table({"image_path": pa.array(paths, pa.string()), **columns})
        parquet.write_table(table, folder / "metadata" / f"metadata_{number}.parquet")
    return folder


def away(n: int, start: int = 0) -> list[str]:
    """Paths of photos on no disk."""
    return [f"/away/{i // 3}/{i}.jpg" for i in range(start, start + n)]


def vectors_of(library: Library, paths: Sequence[str]) -> FloatArray:
    return library.embed_images(list(paths))


def everything(library: Library) -> list[tuple[Any, ...]]:
    """All rows that an import may touch."""
    with library.session.storage.database.read() as connection:
        return [
            tuple(row)
            for table in ("files", "images", "embeddings", "folders", "models")
            for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY 1"))
        ]


# --- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part_size", [1, 2, 5, 1_000_000])
def test_a_round_trip_in_float32_changes_no_bit(
    library: Library, photos: Path, tmp_path: Path, open_other: Callable[..., Library], part_size: int
) -> None:
    library.sync(photos)
    exported = library.vectors.export_to(tmp_path / "out", part_size=part_size)
    other = open_other()
    imported = other.vectors.import_from(tmp_path / "out")

    assert (exported.rows, exported.without, exported.parts) == (5, 0, -(-5 // part_size))
    assert (imported.rows, imported.stored, imported.kept, imported.added) == (5, 4, 1, 5)  # one is a copy
    assert (imported.found, imported.unread, imported.changed, imported.left) == (5, 0, 0, 0)
    assert other.photos.paths() == library.photos.paths()
    first, second = (one.classify(["red", "green", "blue"]) for one in (library, other))
    assert first.to_dicts() == second.to_dicts()
    assert np.array_equal(first.scores, second.scores)
    assert other.check().ok


def test_float16_keeps_three_digits_and_unit_length(
    library: Library, tmp_path: Path, open_other: Callable[..., Library]
) -> None:
    library.vectors.import_from(write(tmp_path / "in", (away(50), unit_vectors(50))))
    library.vectors.export_to(tmp_path / "out", dtype="float16")
    other = open_other()
    other.vectors.import_from(tmp_path / "out")

    ours, theirs = vectors_of(library, away(50)), vectors_of(other, away(50))
    assert 0 < np.abs(ours - theirs).max() < 1e-3
    assert np.abs(np.linalg.norm(theirs, axis=1) - 1).max() < 1e-6
    first, second = (one.classify(["red", "blue"]).scores for one in (library, other))
    assert 0 < np.abs(first - second).max() < 0.01


def test_the_layout_is_that_of_clip_retrieval(library: Library, photos: Path, tmp_path: Path) -> None:
    library.sync(photos)
    report = library.vectors.export_to(tmp_path / "out", dtype="float16", part_size=2)

    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")) == [
        *(f"img_emb/img_emb_{i}.npy" for i in range(3)),
        *(f"metadata/metadata_{i}.parquet" for i in range(3)),
        "zsindex.json",
    ]
    vectors = np.concatenate([np.load(tmp_path / "out" / "img_emb" / f"img_emb_{i}.npy") for i in range(3)])
    assert vectors.dtype == np.float16
    assert np.array_equal(vectors, vectors_of(library, library.photos.paths()).astype(np.float16))
    table = parquet.read_table(tmp_path / "out" / "metadata")
    assert table.column("image_path").to_pylist() == library.photos.paths()
    assert table.column("width").to_pylist() == [4] * 5
    assert table.column("height").to_pylist() == [3] * 5
    assert table.column("format").to_pylist() == ["PNG"] * 5
    manifest = json.loads((tmp_path / "out" / "zsindex.json").read_text(encoding="utf-8"))
    assert manifest["fingerprint"] == library.model.fingerprint
    assert (manifest["rows"], manifest["parts"], manifest["dtype"]) == (5, 3, "float16")
    assert report.bytes == sum(p.stat().st_size for p in (tmp_path / "out").rglob("*.*"))


def test_numbers_of_ten_parts_are_padded_so_that_names_sort_as_rows_do(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "in", (away(23), unit_vectors(23)))
    library.vectors.import_from(tmp_path / "in")
    library.vectors.export_to(tmp_path / "out", part_size=2)

    files = sorted(p.name for p in (tmp_path / "out" / "img_emb").iterdir())
    assert (files[0], files[-1], len(files)) == ("img_emb_00.npy", "img_emb_11.npy", 12)
    assert parquet.read_table(tmp_path / "out" / "metadata").column("image_path").to_pylist() == library.photos.paths()


def test_a_batch_is_less_than_a_part(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BATCH_ROWS", 4)
    vectors = unit_vectors(23)
    write(tmp_path / "in", (away(10), vectors[:10]), (away(13, 10), vectors[10:]))
    steps: list[Progress] = []
    report = library.vectors.import_from(tmp_path / "in", progress=steps.append)
    library.vectors.export_to(tmp_path / "out", part_size=7, progress=steps.append)

    assert (report.rows, report.stored, report.parts) == (23, 23, 2)
    assert np.array_equal(vectors_of(library, away(23)), vectors)
    shapes = [np.load(p, mmap_mode="r").shape for p in sorted((tmp_path / "out" / "img_emb").iterdir())]
    assert shapes == [(7, DIM), (7, DIM), (7, DIM), (2, DIM)]
    assert [s.stage for s in steps if s.done == 23] == ["check", "import", "export"]
    assert {s.total for s in steps} == {23}


def test_only_what_was_asked_for_is_exported(library: Library, photos: Path, tmp_path: Path) -> None:
    library.sync(photos)
    one, folder = str(photos / "green.png"), str(photos / "里")
    report = library.vectors.export_to(tmp_path / "out", paths=[one, folder, str(photos / "\udce9.png")])
    names = parquet.read_table(tmp_path / "out" / "metadata").column("image_path").to_pylist()

    assert (report.rows, names) == (2, [one, str(photos / "里" / "red.png")])


def test_photos_without_a_vector_are_left_out_and_counted(
    library: Library, photos: Path, tmp_path: Path, open_other: Callable[..., Library]
) -> None:
    library.sync(photos)
    with Library.open(library.path, encoder=FakeEncoder("second")) as second:
        with pytest.raises(UnknownModel, match="holds no vectors"):
            second.vectors.export_to(tmp_path / "out")
        second.sync(photos / "green.png")
        report = second.vectors.export_to(tmp_path / "out")
    assert (report.rows, report.without) == (1, 4)


def test_exports_load_no_model(library: Library, photos: Path, tmp_path: Path) -> None:
    library.sync(photos)
    with Library.open(library.path, model="fake") as opened:  # which no loader knows
        assert opened.vectors.export_to(tmp_path / "out").rows == 5
        assert opened.vectors.import_from(tmp_path / "out").kept == 5


# --- where an export goes ---------------------------------------------------------------------------------------------


def test_an_export_replaces_only_an_export_and_only_if_told_to(library: Library, tmp_path: Path) -> None:
    library.vectors.import_from(write(tmp_path / "in", (away(3), unit_vectors(3))))
    out = tmp_path / "out"
    out.mkdir()
    library.vectors.export_to(out)
    with pytest.raises(ExportRefused, match="--overwrite"):
        library.vectors.export_to(out)
    assert library.vectors.export_to(out, paths="/away/0/1.jpg", overwrite=True).rows == 1
    assert len(np.load(out / "img_emb" / "img_emb_0.npy")) == 1

    (out / "diary.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ExportRefused, match=r"other files \(diary.txt\)"):
        library.vectors.export_to(out, overwrite=True)
    with pytest.raises(ExportRefused, match="not a folder"):
        library.vectors.export_to(out / "diary.txt", overwrite=True)
    with pytest.raises(ExportRefused, match="zsindex did not write"):
        library.vectors.export_to(tmp_path / "in", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "library", "out"]


def test_an_export_never_removes_what_is_not_its_own(library: Library, tmp_path: Path) -> None:
    library.vectors.import_from(write(tmp_path / "in", (away(3), unit_vectors(3))))
    out = tmp_path / "out"
    library.vectors.export_to(out)
    (out / "metadata" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ExportRefused, match=r"other files \(metadata/notes.txt\)"):
        library.vectors.export_to(out, overwrite=True)
    (out / "metadata" / "notes.txt").unlink()

    # Others put something there while the export runs, after it has looked.
    new = tmp_path / "new"
    new.mkdir()
    for folder in (out, new):
        with pytest.raises(ExportRefused, match=r"other files \(diary.txt\)"):
            library.vectors.export_to(
                folder,
                overwrite=True,
                progress=lambda _, folder=folder: (folder / "diary.txt").write_text("mine", encoding="utf-8"),
            )
        assert (folder / "diary.txt").read_text(encoding="utf-8") == "mine"
    assert sorted(p.name for p in new.iterdir()) == ["diary.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "library", "new", "out"]


def test_nothing_to_export_is_said(library: Library, tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match="no vectors of fake to export"):
        library.vectors.export_to(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_that_is_stopped_or_fails_leaves_nothing(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BATCH_ROWS", 2)
    library.vectors.import_from(write(tmp_path / "in", (away(6), unit_vectors(6))))
    stopped = library.vectors.export_to(tmp_path / "out", should_stop=lambda: True)
    assert (stopped.interrupted, stopped.rows) == (True, 0)

    def full(event: Progress) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ExportRefused, match=r"No space left on device; nothing was written\. When the cause is gone"):
        library.vectors.export_to(tmp_path / "out", progress=full)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "library"]


def test_an_export_that_fails_leaves_no_cursor_behind(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be closed after its connection, with a traceback on stderr."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    library.vectors.import_from(write(tmp_path / "in", (away(6), unit_vectors(6))))
    monkeypatch.setattr(exchange.PartWriter, "write", full)
    with pytest.raises(ExportRefused, match="No space left on device") as refused:
        library.vectors.export_to(tmp_path / "out")
    library.close()
    del refused
    gc.collect()
    assert not caplog.records


def test_a_damaged_vector_is_not_exported(library: Library, photos: Path, tmp_path: Path) -> None:
    library.sync(photos)
    with library.session.storage.database.write("damage") as connection:
        connection.execute(text("UPDATE embeddings SET vector = :zero WHERE seq = 2"), {"zero": b"\0"})
    with pytest.raises(LibraryDamaged, match=r"the vector of .* under fake is damaged"):
        library.vectors.export_to(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_looked_at_is_not_told_as_missing(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "in", (away(6), unit_vectors(6)))
    really = os.stat

    def broken(path: Any, **how: Any) -> os.stat_result:
        if str(path) == str(source):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return really(path, **how)

    monkeypatch.setattr(os, "stat", broken)
    with pytest.raises(ImportRefused, match=r"in: it cannot be read \(Input/output error\)"):
        library.vectors.import_from(source)
    library.sync(paint(tmp_path / "album" / "red.png", (200, 0, 0)))
    with pytest.raises(ExportRefused, match=r"in: it cannot be read \(Input/output error\)"):
        library.vectors.export_to(source)


# --- photos that are not here -----------------------------------------------------------------------------------------


@pytest.fixture
def imported(library: Library, tmp_path: Path) -> Library:
    """Six photos in three folders that exist nowhere."""
    library.vectors.import_from(write(tmp_path / "in", (away(6), unit_vectors(6))))
    return library


def test_photos_that_are_not_here_are_asked_about_like_all_others(imported: Library) -> None:
    vectors = unit_vectors(6)
    assert imported.photos.paths() == away(6)
    assert imported.photos.paths("/away/1") == away(3, 3)
    assert np.array_equal(vectors_of(imported, away(6)), vectors)

    cosines = vectors @ vectors[2]
    best = [away(6)[i] for i in np.argsort(-cosines) if i != 2]
    assert [hit.path for hit in imported.similar(away(6)[2])] == best
    assert imported.search(away(6)[2], top=1)[0].path == away(6)[2]
    assert imported.search("red", plus=Path(away(6)[0]), paths="/away/0")[0].path.startswith("/away/0/")
    result = imported.classify(["red", "blue"], paths=["/away/1", away(6)[0]])
    assert [r.path for r in result] == [away(6)[0], *away(3, 3)]
    assert imported.classify(["red", "blue"], paths=away(6)[5]).paths == [away(6)[5]]


def test_text_stays_text_and_unknown_photos_are_an_error(imported: Library, tmp_path: Path) -> None:
    with pytest.raises(BadQuery, match=r"text:/away/0/nothing\.jpg"):
        imported.photos.is_image("/away/0/nothing.jpg")
    assert not imported.photos.is_image("text:/away/0/1.jpg")
    assert imported.photos.is_image("/away/0/1.jpg")
    with pytest.raises(ImageError, match=r"nothing\.jpg"):
        imported.similar("/away/0/nothing.jpg")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(ImageError, match="empty"):
        imported.similar(empty)


def test_upkeep_leaves_imported_photos_alone(imported: Library) -> None:
    before = everything(imported)
    status = imported.status()
    assert (status.files, status.images, status.missing) == (6, 6, 0)
    assert imported.check().ok
    assert imported.prune().files == 0
    assert imported.sync().scanned == 0
    assert everything(imported) == before
    assert imported.prune("/away/1").files == 3
    assert imported.photos.paths() == away(3)


def test_no_sync_misses_what_was_never_seen(library: Library, tmp_path: Path, photos: Path) -> None:
    """Neither of a folder above, nor of the folder itself, nor of the photo by name; and their own folders vanish."""
    names = [str(photos / "far" / "1.jpg"), str(photos / "2.jpg"), str(tmp_path / "gone" / "3.jpg")]
    library.vectors.import_from(write(tmp_path / "in", (names, unit_vectors(3))))
    first = library.sync([photos, photos / "2.jpg"])
    again = library.sync()
    (photos / "far").mkdir()
    (photos / "far" / "4.txt").touch()
    listed = library.sync([photos, photos / "far" / "1.jpg"])
    gone = library.sync(tmp_path / "gone")

    assert (first.added, first.missing, first.vanished_roots) == (5, 0, ())
    assert (again.unchanged, again.missing, listed.missing) == (5, 0, 0)
    assert (gone.missing, gone.vanished_roots) == (0, (str(tmp_path / "gone"),))
    assert set(names) < set(library.photos.paths())
    assert library.prune().files == 0
    assert library.classify(["red"], paths=names).paths == sorted(names)


def test_a_sync_that_meets_an_imported_photo_reads_it(
    library: Library, photos: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    path = str(photos / "green.png")
    library.vectors.import_from(write(tmp_path / "in", ([path], unit_vectors(1))), read=False)
    assert np.array_equal(library.classify(["red"]).paths, [path])
    report = library.sync(path)

    assert (report.changed, report.encoded, encoder.image_count) == (1, 1, 1)
    assert library.search("green")[0].path == path
    assert library.prune().images == 1  # what stood for it
    assert library.check().ok


# --- photos that are here ---------------------------------------------------------------------------------------------


def test_a_photo_that_is_here_is_never_encoded(
    library: Library, photos: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    paths = sorted(str(p) for p in photos.rglob("*.png"))
    vectors = unit_vectors(len(paths))
    vectors[paths.index(str(photos / "copy of blue.png"))] = vectors[paths.index(str(photos / "blue.png"))]
    report = library.vectors.import_from(write(tmp_path / "in", (paths, vectors)))
    synced = library.sync(photos)

    assert (report.found, report.unread, report.stored, report.kept) == (5, 0, 4, 1)
    assert (synced.unchanged, synced.to_read, encoder.image_count) == (5, 0, 0)
    assert np.array_equal(vectors_of(library, paths), vectors)
    (photos / "green.png").rename(photos / "vert.png")
    assert (library.sync().moved, encoder.image_count) == (1, 0)


def test_importing_again_reads_only_what_has_come_since(
    library: Library, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, later = str(photos / "green.png"), tmp_path / "later" / "red.png"
    folder = write(tmp_path / "in", ([here, str(later)], unit_vectors(2)))
    library.vectors.import_from(folder)
    paint(later, COLOURS["yellow"])
    read: list[str] = []
    real = exchange._hash
    monkeypatch.setattr(exchange, "_hash", lambda path: (read.append(path), real(path))[1])
    again = library.vectors.import_from(folder)

    assert read == [str(later)]
    assert (again.stored, again.kept, again.found, again.added) == (1, 1, 2, 0)
    assert library.sync([here, later]).to_read == 0
    assert library.vectors.import_from(folder).found == 2
    assert read == [str(later)]


def test_unreadable_photos_are_known_by_their_paths(library: Library, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    names = [str(tmp_path / "empty.jpg"), str(tmp_path / "folder.jpg"), str(tmp_path / "empty.jpg" / "below.jpg")]
    report = library.vectors.import_from(write(tmp_path / "in", (names, unit_vectors(3))))
    assert (report.found, report.unread, report.stored) == (0, 3, 3)


def test_other_content_here_is_not_given_the_vector(
    library: Library, photos: Path, tmp_path: Path, open_other: Callable[..., Library]
) -> None:
    library.sync(photos)
    library.vectors.export_to(tmp_path / "out")
    paint(photos / "green.png", (1, 2, 3))
    other, careless = open_other(), open_other()
    report = other.vectors.import_from(tmp_path / "out")
    careless.sync(photos)
    before = careless.search("green", top=1)
    unread = careless.vectors.import_from(tmp_path / "out", read=False)

    assert (report.rows, report.changed, report.found, report.stored) == (5, 1, 4, 3)
    assert str(photos / "green.png") not in other.photos.paths()
    assert (unread.changed, unread.stored) == (1, 0)
    assert careless.search("green", top=1) == before


def test_content_that_an_export_names_is_recognised_later(
    library: Library, photos: Path, tmp_path: Path, open_other: Callable[..., Library]
) -> None:
    library.sync(photos)
    library.vectors.export_to(tmp_path / "out")
    encoder = FakeEncoder()
    other = open_other(encoder)
    other.vectors.import_from(tmp_path / "out", read=False)
    moved = shutil.copytree(photos, tmp_path / "another disk")
    report = other.sync(moved)

    assert (report.reused, report.encoded, encoder.image_count) == (5, 0, 0)
    other.vectors.export_to(tmp_path / "again", paths=photos)
    first, second = (parquet.read_table(tmp_path / name / "metadata") for name in ("out", "again"))
    assert first.equals(second)


def test_names_of_columns_mean_nothing_where_zsindex_did_not_write_them(library: Library, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", (away(1), unit_vectors(1)), sha256=["ab" * 32], width=[9])
    library.vectors.import_from(folder)
    with library.session.storage.database.read() as connection:
        digest, width = connection.execute(text("SELECT digest, width FROM images")).one()
    assert (digest, width) == (path_digest(away(1)[0]), 0)


# --- what stays -------------------------------------------------------------------------------------------------------


def test_a_vector_that_is_there_stays(imported: Library, tmp_path: Path) -> None:
    before = everything(imported)
    report = imported.vectors.import_from(write(tmp_path / "new", (away(6), unit_vectors(6, seed=1))))
    assert (report.stored, report.kept, report.added) == (0, 6, 0)
    assert everything(imported) == before


def test_photos_that_were_missing_or_could_not_be_decoded_are_there_again(
    library: Library, photos: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    broken = photos / "broken.png"
    broken.write_bytes(b"no image")
    library.sync(photos)
    (photos / "green.png").unlink()
    assert (library.sync().missing, len(library.photos.skipped())) == (1, 1)
    names = [str(photos / "green.png"), str(broken)]
    report = library.vectors.import_from(write(tmp_path / "in", (names, unit_vectors(2))))

    assert (report.kept, report.stored, report.added, report.found) == (1, 1, 0, 1)
    assert set(names) < set(library.photos.paths())
    assert library.photos.skipped() == []
    synced = library.sync()
    assert (synced.unchanged, synced.missing, synced.skipped, encoder.image_count) == (5, 0, 0, 4)


def test_two_models_show_the_same_photos(imported: Library, tmp_path: Path) -> None:
    with Library.open(imported.path, encoder=FakeEncoder("second")) as second:
        report = second.vectors.import_from(write(tmp_path / "new", (away(6), unit_vectors(6, seed=1))))
        assert (report.stored, report.added) == (6, 0)
        assert np.array_equal(vectors_of(second, away(6)), unit_vectors(6, seed=1))
    assert np.array_equal(vectors_of(imported, away(6)), unit_vectors(6))
    assert imported.status().images == 6


@pytest.mark.parametrize("stop_after", [0, 2, 3, 5])
def test_an_import_that_was_stopped_goes_on(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    monkeypatch.setattr(exchange, "BATCH_ROWS", 4)
    vectors = unit_vectors(10)
    folder = write(tmp_path / "in", (away(5), vectors[:5]), (away(5, 5), vectors[5:]))
    asked = iter([False] * stop_after + [True] * 10)
    first = library.vectors.import_from(folder, should_stop=lambda: next(asked))
    second = library.vectors.import_from(folder)

    assert first.interrupted
    assert first.stored == {0: 0, 2: 0, 3: 0, 5: 5}[stop_after]
    assert first.left == 10 - first.rows
    assert (second.stored, second.kept) == (10 - first.stored, first.stored)
    assert library.photos.paths() == away(10)
    assert np.array_equal(vectors_of(library, away(10)), vectors)


def test_a_failure_in_the_middle_keeps_whole_batches(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BATCH_ROWS", 4)
    folder = write(tmp_path / "in", (away(10), unit_vectors(10)))

    def fail(event: Progress) -> None:
        if event.stage == "import" and event.done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.vectors.import_from(folder, progress=fail)
    assert len(library.photos.paths()) == 8
    assert library.check().ok
    assert library.vectors.import_from(folder).stored == 2


# --- paths ------------------------------------------------------------------------------------------------------------


def test_relative_paths_need_a_root(library: Library, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", (["a/1.jpg", "a/../b/2.jpg", "/abs/3.jpg", "./4.jpg"], unit_vectors(4)))
    with pytest.raises(
        ImportRefused, match=r"metadata_0.parquet: the image_path of row 0, 'a/1.jpg', is relative.*--root"
    ):
        library.vectors.import_from(folder)
    library.vectors.import_from(folder, root="/root")
    assert library.photos.paths() == ["/abs/3.jpg", "/root/4.jpg", "/root/a/1.jpg", "/root/b/2.jpg"]


def test_another_column_can_name_the_photos(library: Library, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", ([None, ""], unit_vectors(2)), key=["00000/1", "00000/2"])
    library.vectors.import_from(folder, path_column="key", root="/laion")
    assert library.photos.paths() == ["/laion/00000/1", "/laion/00000/2"]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_all_kinds_of_texts_are_read(library: Library, tmp_path: Path, kind: pa.DataType) -> None:
    folder = write(tmp_path / "in", (away(2), unit_vectors(2)), key=pa.array(["/ü/1.jpg", "/ü/2.jpg"], kind))
    library.vectors.import_from(folder, path_column="key")
    assert library.photos.paths() == ["/ü/1.jpg", "/ü/2.jpg"]


def test_the_same_path_twice_is_fine_with_the_same_vector(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BATCH_ROWS", 2)
    vectors = unit_vectors(3)[[0, 0, 1, 2, 0]]
    folder = write(
        tmp_path / "in", (["/1.jpg", "/x/../1.jpg", "/2.jpg"], vectors[:3]), (["/3.jpg", "/1.jpg"], vectors[3:])
    )
    report = library.vectors.import_from(folder)
    assert (report.rows, report.stored, report.kept, report.added) == (5, 3, 2, 3)


def test_small_row_groups_and_odd_parts(library: Library, tmp_path: Path) -> None:
    """Numbers may have gaps, as clip-retrieval leaves them, and any width; a part may be empty."""
    vectors = unit_vectors(9).astype(np.float16)
    folder = write(
        tmp_path / "in",
        (away(4), vectors[:4]),
        ([], vectors[:0]),
        (away(5, 4), vectors[4:]),
        numbers=["002", "10", "011"],
    )
    table = pa.table({"image_path": away(4)})
    parquet.write_table(table, folder / "metadata" / "metadata_002.parquet", row_group_size=1)
    assert library.vectors.import_from(folder).stored == 9
    assert np.abs(vectors_of(library, away(9)) - unit_vectors(9)).max() < 1e-3


def test_rows_are_made_unit_vectors(library: Library, tmp_path: Path) -> None:
    library.vectors.import_from(
        write(tmp_path / "in", (away(4), unit_vectors(4) * np.float32([[3], [1], [1e-6], [1e9]])))
    )
    assert np.allclose(vectors_of(library, away(4)), unit_vectors(4), atol=1e-7)
    assert np.array_equal(vectors_of(library, away(2)[1:]), unit_vectors(4)[1:2])


# --- what is refused --------------------------------------------------------------------------------------------------


def npy(folder: Path, number: int = 0) -> Path:
    return folder / "img_emb" / f"img_emb_{number}.npy"


def table(folder: Path, number: int = 0) -> Path:
    return folder / "metadata" / f"metadata_{number}.parquet"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def with_row(value: Any, dtype: type = np.float32) -> Any:
    vectors = unit_vectors(6).astype(dtype)
    vectors[4] = value
    return vectors


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (shutil.rmtree, "in: no such folder"),
    "no vectors": (lambda f: shutil.rmtree(f / "img_emb"), "img_emb: No such file.*img_emb_0.npy"),
    "no tables": (lambda f: shutil.rmtree(f / "metadata"), "metadata: No such file.*metadata_0.parquet"),
    "nothing in it": (lambda f: [p.unlink() for p in (f / "img_emb").iterdir()], r"img_emb: it holds no \.npy files"),
    "vectors of a part": (lambda f: npy(f, 1).unlink(), r"metadata_1.parquet: .*number in img_emb/ is missing"),
    "table of a part": (lambda f: table(f, 0).unlink(), r"img_emb_0.npy: .*number in metadata/ is missing"),
    "two of a number": (lambda f: shutil.copy(npy(f), f / "img_emb" / "img_emb_00.npy"), "has the same number"),
    "stranger": (lambda f: shutil.copy(npy(f), f / "img_emb" / "more.npy"), "more.npy: its name is not"),
    "dimension": (lambda f: np.save(npy(f, 1), unit_vectors(6, dim=7)), r"img_emb_1.npy have 7 dimensions where 8"),
    "rows": (lambda f: np.save(npy(f, 1), unit_vectors(5)), "1.parquet: it has 6 rows and img_emb_1.npy has 5"),
    "cut npy": (lambda f: cut(npy(f, 1)), "img_emb_1.npy: it is cut short"),
    "cut header": (lambda f: npy(f).write_bytes(npy(f).read_bytes()[:20]), "img_emb_0.npy: it cannot be read"),
    "not npy": (lambda f: npy(f).write_bytes(b"hello"), "img_emb_0.npy: it cannot be read as a NumPy array"),
    "empty npy": (lambda f: npy(f).write_bytes(b""), "img_emb_0.npy: it cannot be read as a NumPy array"),
    "objects": (lambda f: np.save(npy(f), np.full((6, DIM), None)), "img_emb_0.npy: it holds object, not float16"),
    "float64": (lambda f: np.save(npy(f), np.ones((6, DIM))), "img_emb_0.npy: it holds float64"),
    "integers": (lambda f: np.save(npy(f), np.ones((6, DIM), int)), "img_emb_0.npy: it holds int64"),
    "axes": (lambda f: np.save(npy(f), unit_vectors(6)[None]), "img_emb_0.npy: it has 3 axes"),
    "columns": (lambda f: np.save(npy(f), np.asfortranarray(unit_vectors(6))), "img_emb_0.npy: .*column by column"),
    "NaN": (lambda f: np.save(npy(f, 1), with_row(np.nan)), "img_emb_1.npy: row 4 is not finite"),
    "infinite": (lambda f: np.save(npy(f, 1), with_row(-np.inf, np.float16)), "img_emb_1.npy: row 4 is not finite"),
    "huge": (lambda f: np.save(npy(f, 1), with_row(1e30)), "img_emb_1.npy: row 4 is not finite"),
    "zeros": (lambda f: np.save(npy(f, 1), with_row(0)), "img_emb_1.npy: row 4 is all zeros"),
    "cut parquet": (lambda f: cut(table(f, 1)), "metadata_1.parquet: it cannot be read as Parquet"),
    "not parquet": (lambda f: table(f).write_bytes(b"a,b"), "metadata_0.parquet: it cannot be read as Parquet"),
    "no column": (
        lambda f: parquet.write_table(pa.table({"url": away(6)}), table(f)),
        "metadata_0.parquet: it has no column 'image_path'.*--path-column.*url",
    ),
    "numbers": (
        lambda f: parquet.write_table(pa.table({"image_path": range(6)}), table(f)),
        "metadata_0.parquet: its column 'image_path' holds int64, not text",
    ),
    "bytes": (
        lambda f: parquet.write_table(pa.table({"image_path": [b"/a"] * 6}), table(f)),
        "metadata_0.parquet: its column 'image_path' holds binary, not text",
    ),
    "null path": (
        lambda f: write(f, ([*away(5), None], unit_vectors(6)), numbers="1"),
        "metadata_1.parquet: row 5 has no image_path",
    ),
    "empty path": (
        lambda f: write(f, (["/1", "", *away(4)], unit_vectors(6)), numbers="1"),
        "metadata_1.parquet: row 1 has no image_path",
    ),
    "URL": (
        lambda f: write(f, ([*away(5), "https://a.b/c.jpg"], unit_vectors(6)), numbers="1"),
        "metadata_1.parquet: the image_path of row 5, 'https://a.b/c.jpg', is a URL",
    ),
    "NUL": (
        lambda f: write(f, ([*away(5), "/a\0b.jpg"], unit_vectors(6)), numbers="1"),
        "metadata_1.parquet: the image_path of row 5, .*cannot be the name of a file",
    ),
    "root": (
        lambda f: write(f, ([*away(5), "/.."], unit_vectors(6)), numbers="1"),
        "metadata_1.parquet: the image_path of row 5, .*cannot be the name of a file",
    ),
    "same path": (
        lambda f: write(f, ([*away(5, 6), "/away//0/2.jpg"], unit_vectors(6, seed=2)), numbers="1"),
        "metadata_1.parquet: row 5 has the path of row 2 of metadata_0.parquet, but a different vector",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "says"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_refused_before_anything_is_stored(
    library: Library, tmp_path: Path, spoil: Callable[[Path], Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BATCH_ROWS", 4)
    folder = write(tmp_path / "in", (away(6), unit_vectors(6)), (away(6, 6), unit_vectors(6, seed=1)))
    spoil(folder)
    before = everything(library)
    with pytest.raises((ImportRefused, DimensionMismatch), match=says):
        library.vectors.import_from(folder)
    assert everything(library) == before


def test_pickles_are_never_loaded(library: Library, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "boom",)

    folder = write(tmp_path / "in", (away(1), unit_vectors(1)))
    np.save(npy(folder), np.array([[Bomb()] * DIM], dtype=object), allow_pickle=True)
    with pytest.raises(ImportRefused, match="object"):
        library.vectors.import_from(folder)
    assert not (tmp_path / "boom").exists()


def test_text_that_is_not_utf8_is_refused(library: Library, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", (away(1), unit_vectors(1)))
    bad = pa.array([b"/caf\xe9.jpg"]).view(pa.string())
    parquet.write_table(pa.table({"image_path": bad}), table(folder))
    with pytest.raises(ImportRefused, match=r"metadata_0.parquet: .*not UTF-8"):
        library.vectors.import_from(folder)


def test_a_root_that_is_not_utf8_is_refused(library: Library, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", (["1.jpg"], unit_vectors(1)))
    with pytest.raises(ImportRefused, match=r"/caf\\xe9 is not valid UTF-8"):
        library.vectors.import_from(folder, root="/caf\udce9")


@pytest.fixture
def exported(library: Library, photos: Path, tmp_path: Path) -> Path:
    library.sync(photos)
    library.vectors.export_to(tmp_path / "out", part_size=2)
    return tmp_path / "out"


def test_vectors_of_another_model_are_refused(exported: Path, open_other: Callable[..., Library]) -> None:
    other = open_other(FakeEncoder("second"))
    with pytest.raises(
        ImportRefused, match=r"from fake \(--precision fp32 --decode exact --icc.*not from second \(--pre"
    ):
        other.vectors.import_from(exported)
    assert other.models() == []  # not even the model was recorded


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": 6}, "lists 6 rows in 3 parts, but there are 5 in 3"),
        ({"version": 2}, "its version is 2, but this zsindex knows only 1"),
        ({"fingerprint": 7}, "its 'fingerprint' is 7"),
        ({"format": "recipe"}, "not written by zsindex vectors export"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    exported: Path, open_other: Callable[..., Library], change: dict[str, Any], says: str
) -> None:
    file = exported / "zsindex.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    with pytest.raises(ImportRefused, match=says):
        open_other().vectors.import_from(exported)


def test_a_manifest_that_lacks_something_says_what(exported: Path, open_other: Callable[..., Library]) -> None:
    file = exported / "zsindex.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    del document["decode"]
    file.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ImportRefused, match="its 'decode' is missing; export"):
        open_other().vectors.import_from(exported)


def test_the_last_part_is_missed(exported: Path, open_other: Callable[..., Library]) -> None:
    npy(exported, 2).unlink()
    table(exported, 2).unlink()
    with pytest.raises(ImportRefused, match="lists 5 rows in 3 parts, but there are 4 in 2"):
        open_other().vectors.import_from(exported)
    (exported / "zsindex.json").write_text("{", encoding="utf-8")
    with pytest.raises(ImportRefused, match=r"zsindex.json: it cannot be read"):
        open_other().vectors.import_from(exported)


def without_checksums(exported: Path) -> None:
    """Make of an export what zsindex wrote before it had checksums of files."""
    document = json.loads((exported / "zsindex.json").read_text(encoding="utf-8"))
    assert len(document.pop("files")) == 6
    (exported / "zsindex.json").write_text(json.dumps(document), encoding="utf-8")


def test_a_digest_that_is_none_is_refused(exported: Path, open_other: Callable[..., Library]) -> None:
    without_checksums(exported)
    rows = parquet.read_table(table(exported, 1)).to_pydict()
    parquet.write_table(pa.table({**rows, "sha256": [rows["sha256"][0], "abc"]}), table(exported, 1))
    with pytest.raises(ImportRefused, match=r"metadata_1.parquet: the sha256 of row 1, 'abc', is not a SHA-256"):
        open_other().vectors.import_from(exported)


def test_a_read_only_library_takes_nothing_in(library: Library, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", (away(1), unit_vectors(1)))
    with Library.open(library.path, read_only=True) as opened, pytest.raises(LibraryReadOnly, match="import vectors"):
        opened.vectors.import_from(folder)


def test_without_pyarrow_the_extra_is_named(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Path
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for attempt in (lambda: library.vectors.import_from(exported), lambda: library.vectors.export_to(tmp_path / "new")):
        with pytest.raises(ZsindexError, match=r"pip install 'zsindex\[parquet\]'"):
            attempt()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("options", [{"dtype": "float64"}, {"part_size": 0}])
def test_options_that_make_no_sense(library: Library, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        library.vectors.export_to(tmp_path / "out", **options)


# --- what was changed or cut off on the way ---------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["vector", "path"])
def test_a_flipped_bit_is_not_imported(exported: Path, open_other: Callable[..., Library], what: str) -> None:
    """Numbers are numbers, whichever: only a checksum tells that they were others."""
    file = npy(exported, 1) if what == "vector" else table(exported, 1)
    data = bytearray(file.read_bytes())
    data[-1 if what == "vector" else data.index(b".png")] ^= 0x80 if what == "vector" else 1
    file.write_bytes(data)
    other = open_other()
    with pytest.raises(ImportRefused, match=f"{file.name}: it is not as it was exported, by its checksum"):
        other.vectors.import_from(exported)
    assert other.status().files == 0


def test_exports_without_checksums_are_still_read(exported: Path, open_other: Callable[..., Library]) -> None:
    without_checksums(exported)
    assert open_other().vectors.import_from(exported).rows == 5
    document = json.loads((exported / "zsindex.json").read_text(encoding="utf-8"))
    (exported / "zsindex.json").write_text(json.dumps({**document, "files": {"a": 1}}), encoding="utf-8")
    with pytest.raises(ImportRefused, match="its 'files' are no checksums"):
        open_other().vectors.import_from(exported)


class Killed(BaseException):
    """Stands for the end of the process."""


def killed_export(library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch, *, rename: int) -> None:
    """Ends an export right before one of its renames: nothing is cleaned up."""
    renames, rename_to = [], Path.rename

    def end(*_: Any, **__: Any) -> None:
        raise Killed

    def renaming(file: Path, target: Path) -> Path:
        renames.append(target)
        if len(renames) == rename:
            raise Killed
        return rename_to(file, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", renaming)
        patched.setattr(shutil, "rmtree", end)
        with pytest.raises(Killed):
            library.vectors.export_to(folder, overwrite=True)


@pytest.mark.parametrize("then", ["import", "export", "refused"])
def test_an_export_that_was_killed_between_its_renames_has_its_name_again(
    library: Library,
    exported: Path,
    open_other: Callable[..., Library],
    monkeypatch: pytest.MonkeyPatch,
    then: str,
) -> None:
    killed_export(library, exported, monkeypatch, rename=2)
    assert not exported.exists()
    if then == "import":
        assert open_other().vectors.import_from(exported).rows == 5
    elif then == "export":
        library.vectors.export_to(exported, overwrite=True)
        assert [file.name for file in exported.parent.iterdir() if file.name.endswith((".tmp", ".old"))] == []
    else:
        with pytest.raises(ExportRefused, match="--overwrite"):
            library.vectors.export_to(exported)
    assert exported.is_dir()


def test_what_a_killed_export_has_left_goes_with_the_next_one(
    library: Library, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.sync(photos)
    folder = tmp_path / "place" / "out"
    killed_export(library, folder, monkeypatch, rename=1)
    (left,) = folder.parent.iterdir()
    strange = left.with_name(".out.01234567.tmp")
    shutil.copytree(left, strange)
    (strange / "mine").touch()
    with atomic.held(left) as held:  # as by an export that is going on
        assert held
        library.vectors.export_to(folder)
        assert left.is_dir()
    library.vectors.export_to(folder, overwrite=True)
    assert sorted(place.name for place in folder.parent.iterdir()) == [strange.name, "out"]


HEADERS = {
    "tokens": b"{'descr': '<f4', 'fortran_order': False, 'shape': (6, 8",
    "syntax": b"{'descr': '<f4', 'fortran_order': False, 'shape': (6, 8), 1 2}",
    "null": b"{'descr': '<f4', \0'fortran_order': False, 'shape': (6, 8), }",
    "nested": b"(" * 5000,
    "digits": b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 5000 + b", 8), }",
    "no dtype": b"{'descr': 'xyz', 'fortran_order': False, 'shape': (6, 8), }",
    "fields": b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6, 8), }",
    "a set": b"{1, 2}",
    "negative": b"{'descr': '<f4', 'fortran_order': False, 'shape': (-6, 8), }",
    "escape": b"{'descr': '\\d', 'fortran_order': False, 'shape': (6, 8), }",
    "missing": b"{'descr': '<f4', 'fortran_order': False}",
    "width": b"{'descr': '<f4294967296', 'fortran_order': False, 'shape': (6, 8), }",
    "long": b" " * 20_000,
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_header_that_numpy_does_not_write_is_refused(library: Library, tmp_path: Path, header: bytes) -> None:
    folder = write(tmp_path / "in", (away(6), unit_vectors(6)))
    content = b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header + unit_vectors(6).tobytes()
    npy(folder).write_bytes(content)
    with pytest.raises(ImportRefused, match=r"img_emb_0.npy: it cannot be read as a NumPy array"):
        library.vectors.import_from(folder)


@pytest.mark.parametrize("has_checksums", [True, False])
def test_what_the_system_says_of_a_part_is_no_fault_of_its_content(
    exported: Path, open_other: Callable[..., Library], has_checksums: bool
) -> None:
    if not has_checksums:
        without_checksums(exported)
    npy(exported, 0).unlink()
    npy(exported, 0).mkdir()
    with pytest.raises(ImportRefused, match=r"cannot be read \(Is a directory\); see to that, and import again"):
        open_other().vectors.import_from(exported)


def test_too_little_memory_is_no_fault_of_a_table(
    exported: Path, open_other: Callable[..., Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise pa.lib.ArrowMemoryError("malloc of size 2048 failed")

    monkeypatch.setattr(parquet, "ParquetFile", fail)
    with pytest.raises(ImportRefused, match=r"metadata_0.parquet: there is too little memory to read it"):
        open_other().vectors.import_from(exported)


def test_a_folder_of_parts_that_may_not_be_listed_is_told_as_that(
    exported: Path, open_other: Callable[..., Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Path.iterdir

    def refuse(folder: Path) -> Iterator[Path]:
        if folder == npy(exported, 0).parent:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return really(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ImportRefused, match=r"cannot be read \(Permission denied\); see to that, and import again"):
        open_other().vectors.import_from(exported)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_headers_of_all_versions_are_read(library: Library, tmp_path: Path, version: tuple[int, int]) -> None:
    folder = write(tmp_path / "in", (away(6), unit_vectors(6)))
    with npy(folder).open("wb") as file:
        np.lib.format.write_array(file, unit_vectors(6), version=version)
    assert library.vectors.import_from(folder).stored == 6


def test_columns_of_other_kinds_say_nothing(exported: Path, open_other: Callable[..., Library]) -> None:
    """A table that somebody has rewritten may hold anything under the names of zsindex's columns."""
    without_checksums(exported)
    rows = parquet.read_table(table(exported, 0)).to_pydict()
    odd = {
        "width": ["a", "b"],
        "height": pa.array([2**64 - 1, 1], pa.uint64()),
        "format": [1, 2],
        "sha256": [b"x", b"y"],
    }
    parquet.write_table(pa.table({**rows, **odd}), table(exported, 0))
    assert open_other().vectors.import_from(exported, read=False).rows == 5


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_part_that_cannot_be_written_is_given_up(tmp_path: Path) -> None:
    """Or Arrow's writer says what failed once more when it is forgotten, where nobody can catch it."""
    import resource

    columns = {parts.PATH_COLUMN: ["/a.jpg"], "width": [1], "height": [1], "format": ["JPEG"], "sha256": [None]}
    writer = parts.PartWriter(tmp_path, "0", n_rows=1, dim=8, dtype="float32")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        with pytest.raises(OSError, match="File too large"), writer:
            writer.write(np.zeros((1, 8), dtype=np.float32), columns)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not writer._table.is_open

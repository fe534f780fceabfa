"""Rows other than vectors that are not what was stored: nobody believes them, `check` names them, and what can be had
again comes back.
"""

from __future__ import annotations

import shutil
import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import FakeEncoder
from tests.libraries import add_model, digest_of, execute, open_storage, photo, unit_vectors
from tests.torture.rot import OTHER_SET, SET, Sound, alike, ask, make, value_of
from zsindex.errors import LibraryDamaged, NoVectors, ZsindexWarning
from zsindex.library import Library
from zsindex.records import Candidate, Facts, Taken, TakenFrom
from zsindex.storage.rows import ImageRecord
from zsindex.storage.seals import Kind, RowsDamaged, seal
from zsindex.storage.sqlite.file import FILE_NAME
from zsindex.web.problems import of_error


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    work = tmp_path_factory.mktemp("sound")
    library, album = work / "library", work / "album"
    make(library, album)
    with Library.open(library, encoder=FakeEncoder(), read_only=True) as opened:
        answers = ask(opened, album)
    return Sound(library, library, album, answers, (), {}, ())


def damaged(sound: Sound, folder: Path, *statements: str) -> Path:
    """A copy of the library that was changed past zsindex."""
    shutil.copytree(sound.library, folder)
    execute(folder, *statements)
    return folder


def asked(sound: Sound, folder: Path) -> tuple[list[str], str]:
    """The questions to which the answer is not the right one, and all that is said."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with Library.open(folder, encoder=FakeEncoder(), read_only=True) as library:
            answers = ask(library, sound.album)
    words = [str(one.message) for one in said if issubclass(one.category, ZsindexWarning)]
    other = []
    for name, (kind, value) in answers.items():
        assert kind != "raw", (name, value)
        if kind == "error" or not alike(value_of((kind, value)), value_of(sound.answers[name])):
            other.append(name)
        words += [value] if kind == "error" else value[1] if kind == "told" else []
    return other, " ".join(words)


def mended(sound: Sound, folder: Path) -> tuple[Sequence[str], Sequence[str], list[str], str]:
    """What check finds and does; and after two syncs, which questions have another answer, and what is said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZsindexWarning)
        with Library.open(folder, encoder=FakeEncoder()) as library:
            found = library.check()
            assert found.problems == found.remaining != ()
            fixed = library.check(fix=True)
        with Library.open(folder, encoder=FakeEncoder()) as library:
            library.sync(sound.album)  # which records a damaged model again
    with Library.open(folder, encoder=FakeEncoder()) as library:
        assert library.check().ok
    with Library.open(folder, encoder=FakeEncoder("other"), model="other") as library:
        library.sync(sound.album / "0")
    return found.problems, fixed.fixed, *asked(sound, folder)


# What can be had again: the damage, what check says of it, and what it does about it.
PHOTOS = "forgot what was known of"
WITHOUT_LOSS = {
    "a file shows another image": ("UPDATE files SET image_id = 5 WHERE image_id = 3", "photos is damaged: ", PHOTOS),
    "a file has another name": ("UPDATE files SET name = '99.png' WHERE name = '12.png'", "99.png", PHOTOS),
    "a file is gone": ("DELETE FROM files WHERE name = '12.png'", "what is known of the photos in ", PHOTOS),
    "a file is counted as missing": (
        "UPDATE files SET missing_since = '2020-01-01' WHERE name = '12.png'", "what is known of the photos in ", PHOTOS
    ),
    "a folder has another path": ("UPDATE folders SET path = path || 'x' WHERE id = 2", "photos is damaged: ", PHOTOS),
    "an image has another digest": (
        "UPDATE images SET digest = (SELECT vector FROM embeddings WHERE seq = 1) WHERE id = 4",
        "photos is damaged: ", PHOTOS,
    ),
    "an image is wider": ("UPDATE images SET width = 9999 WHERE id = 4", "photos is damaged: ", PHOTOS),
    "two images change places": (
        "UPDATE files SET image_id = CASE image_id WHEN 3 THEN 4 ELSE 3 END WHERE image_id IN (3, 4)",
        "what is known of 2 photos is damaged: ", PHOTOS,
    ),
    "a result that was kept": ("UPDATE derived SET body = '[\"9\"]'", "other rows of the database", "stored results"),
    "the record of an index": (
        "UPDATE snapshots SET watermark = watermark - 1", "what is known of the index of model ",
        "forgot what is known of the index of model "
    ),
    "a synced folder": ("UPDATE roots SET path = path || 'x'", "the synced folder ", "the list of synced folders"),
    "a synced folder is gone": ("DELETE FROM roots", "is gone", "the list of synced folders"),
    "the default model": (
        "UPDATE settings SET value = '2' WHERE key = 'default_model'", "which model is the default",
        "restored which model is the default",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.folder("on a server there is one for each machine, without a seal"))
        if name == "the record of an index"
        else name
        for name in WITHOUT_LOSS
    ],
)
def test_what_can_be_had_again_comes_back(sound: Sound, tmp_path: Path, name: str) -> None:
    statement, problem, done = WITHOUT_LOSS[name]
    folder = damaged(sound, tmp_path / "library", statement)
    _, said = asked(sound, folder)
    assert said or name in ("a result that was kept", "the record of an index")  # calculated again, and right
    problems, fixed, other, said = mended(sound, folder)
    assert problem in " ".join(problems)
    assert done in " ".join(fixed)
    assert (other, said) == ([], "")


# What cannot: the damage, and how it is named.
WITH_LOSS = {
    "a label set": ("UPDATE label_sets SET body = replace(body, 'red', 'rad')", f"label set {SET}, version 1"),
    "a label set's newest version is gone": (
        f"DELETE FROM label_sets WHERE name = '{SET}' AND version = 2", f"label set {SET}, version 2"
    ),
    "a label set has another name": (
        f"UPDATE label_sets SET name = 'shapes' WHERE name = '{OTHER_SET}'", f"label set {OTHER_SET}, version 1"
    ),
    "a template set": ("UPDATE template_sets SET body = '[\"not {}\"]'", "template set mine"),
    "a correction": ("UPDATE corrections SET label = 'red' WHERE id = 2", f"correction 2 of label set {SET} ("),
    "a correction is gone": ("DELETE FROM corrections WHERE id = 3", f"correction 3 of label set {SET}"),
    "a decision": ("UPDATE decisions SET other = x'00' WHERE id = 1", "decision 1 about duplicates (different: "),
    "a decision is gone": ("DELETE FROM decisions WHERE id = 2", "decision 2 about duplicates"),
    "an album": ("UPDATE albums SET body = replace(body, 'red', 'rad')", "the album reds"),
    "what was seen of an album": ("UPDATE albums SET seen = NULL", "the album reds"),
    "a survey": ("UPDATE surveys SET question = '{}'", "survey 1"),
    "a look": ("UPDATE looks SET answer = 'no'", "look 1 of survey 1"),
    "a threshold": (
        "UPDATE thresholds SET rate = 0.9 WHERE label = 'blue'", f"the threshold of blue in label set {SET}"
    ),
    "a temperature": ("UPDATE temperatures SET temperature = 9.0", "the temperature of model 1"),
    "a run": ("UPDATE runs SET document = replace(document, 'red', 'rad')", "run "),
    "a run whose document cannot be read": ("UPDATE runs SET document = substr(document, 2)", "run "),
    "a sidecar": (
        "UPDATE sidecars SET tags = replace(tags, 'red', 'rad'), written_sha256 = 'x'", "what zsindex wrote into "
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WITH_LOSS)
def test_what_cannot_be_had_again_is_named(sound: Sound, tmp_path: Path, name: str) -> None:
    statement, what = WITH_LOSS[name]
    folder = damaged(sound, tmp_path / "library", statement)
    other, said = asked(sound, folder)
    assert other
    assert said
    problems, fixed, _, said = mended(sound, folder)
    assert what in " ".join(problems)
    assert any(line.startswith(f"forgot {what}") and line.endswith("it cannot be had again") for line in fixed)
    assert "damaged" not in said


# What PostgreSQL refuses to store.
NOT_TEXT = pytest.mark.folder("a server stores no text that is none")

OF_SEALS = {
    "a flipped bit": ("checksum = checksum - 65536 * (2 * (checksum / 65536 % 2) - 1)", "label_set", SET),
    "another name": ("key = '7'", "template_set", "mine"),
    "another name, of a part": ("part = 'colors'", "correction", SET),
    "a name that is no text": ("key = CAST(x'ff00' AS TEXT)", "run", ""),
    "of a model": ("checksum = checksum - 2 * (checksum % 2) + 1", "model", ""),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=NOT_TEXT) if "no text" in name else name for name in OF_SEALS]
)
def test_where_only_the_seal_is_damaged_nothing_is_lost(sound: Sound, tmp_path: Path, name: str) -> None:
    change, kind, part = OF_SEALS[name]
    one = f"SELECT kind, part, key FROM seals WHERE kind = '{kind}' AND '{part}' IN (part, key, '') LIMIT 1"
    folder = damaged(sound, tmp_path / "library", f"UPDATE seals SET {change} WHERE (kind, part, key) IN ({one})")
    _, said = asked(sound, folder)
    assert said
    problems, fixed, other, said = mended(sound, folder)
    assert problems[0].startswith("the checksum of ")
    assert problems[0].endswith(" is damaged")
    assert fixed[0].startswith("made the checksum of ")
    assert (other, said) == ([], "")


NO_TEXT = {
    "a label set": "UPDATE label_sets SET body = CAST(x'7bff' || body AS TEXT) WHERE version = 2",
    "the name of one": "UPDATE label_sets SET name = CAST(x'ff' AS TEXT) WHERE version = 2",
    "a run": "UPDATE runs SET document = CAST(x'80' AS TEXT)",
    "a stored result": "UPDATE derived SET body = CAST(x'80' AS TEXT)",
    "a model": "UPDATE models SET name = CAST(x'80' || name AS TEXT) WHERE id = 1",
    "an index": "UPDATE snapshots SET file = CAST(x'80' AS TEXT)",
    "a path": "UPDATE files SET name = CAST(x'80' || name AS TEXT) WHERE image_id = 4",
    "a seal": "UPDATE seals SET part = CAST(x'80' AS TEXT) WHERE kind = 'correction' AND key = '2'",
}


@NOT_TEXT
@pytest.mark.parametrize("name", NO_TEXT)
def test_what_is_no_text_any_more_is_mended_like_all_else(sound: Sound, tmp_path: Path, name: str) -> None:
    folder = damaged(sound, tmp_path / "library", NO_TEXT[name])
    mended(sound, folder)


@pytest.mark.folder("the text of SQLite's schema is changed")
@pytest.mark.parametrize(
    ("name", "other"), [("n_vectors INTEGER", "n_vecuors INTEGER"), ("TABLE settings", "TABLE sdttings")]
)
def test_a_schema_that_says_something_else_is_told_as_damage(
    sound: Sound, tmp_path: Path, name: str, other: str
) -> None:
    folder = damaged(sound, tmp_path / "library", "UPDATE settings SET value = value")
    file = folder / FILE_NAME
    file.write_bytes(file.read_bytes().replace(name.encode(), other.encode(), 1))
    with (
        pytest.raises(LibraryDamaged, match=r"no such|malformed"),
        Library.open(folder, encoder=FakeEncoder()) as library,
    ):
        library.classify(["red", "green"])
    with pytest.raises(LibraryDamaged, match="a zsindex sync of the photos into a new library"):  # noqa: SIM117
        with Library.open(folder, encoder=FakeEncoder()) as library:
            library.check(fix=True)


@pytest.mark.parametrize("change", ["UPDATE alembic_version SET version_num = '00 9'", "DELETE FROM alembic_version"])
def test_a_version_that_is_none_is_told_as_damage(sound: Sound, tmp_path: Path, change: str) -> None:
    folder = damaged(sound, tmp_path / "library", change)
    with pytest.raises(LibraryDamaged, match=r"no version of its schema|already exists"):
        Library.open(folder, encoder=FakeEncoder())


@NOT_TEXT
def test_a_sidecar_whose_path_is_no_text_is_told_of(sound: Sound, tmp_path: Path) -> None:
    change = "UPDATE sidecars SET path = CAST(7 AS BLOB) WHERE id = (SELECT min(id) FROM sidecars)"
    folder = damaged(sound, tmp_path / "library", change)
    with Library.open(folder, encoder=FakeEncoder()) as library, pytest.warns(RowsDamaged):
        assert all(isinstance(path, str) for path in library.session.storage.labels.sidecar_paths())


@NOT_TEXT
def test_a_prompt_that_is_no_text_any_more_is_forgotten(sound: Sound, tmp_path: Path) -> None:
    change = "UPDATE prompts SET text = CAST(x'ca' || text AS TEXT) WHERE id = (SELECT min(id) FROM prompts)"
    folder = damaged(sound, tmp_path / "library", change)
    with Library.open(folder, encoder=FakeEncoder()) as library:
        assert "prompts" in " ".join(library.check().problems)
        library.check(fix=True)
        assert library.check().ok
    assert asked(sound, folder) == (["status"], "")  # which counts prompts


@pytest.mark.parametrize("key", ["files_revision", "use_day", "uploads"])
@pytest.mark.parametrize("value", [pytest.param("CAST(x'31f8' AS TEXT)", marks=NOT_TEXT), "'1x'", "'7 8 9'"])
def test_what_counts_and_is_no_number_is_counted_anew(sound: Sound, tmp_path: Path, key: str, value: str) -> None:
    change = (
        f"INSERT INTO settings (key, value) VALUES ('{key}', {value})"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    )
    folder = damaged(sound, tmp_path / "library", change)
    with Library.open(folder, encoder=FakeEncoder()) as library:
        if key == "files_revision":
            with pytest.raises(LibraryDamaged):
                library.classify(["red", "green"])
        assert key in " ".join(library.check().problems)
        report = library.check(fix=True)
        assert any(done.startswith("began to count anew") for done in report.fixed)
        library.sync(sound.album)
        assert library.check().ok
    assert asked(sound, folder) == ([], "")


@pytest.mark.parametrize(
    "change",
    [
        "iso = 100",
        "taken_us = taken_us + 1",
        "camera = NULL",
        "latitude = 'north'",
        "keywords = x'ff'",
        "checksum = 'no'",
    ],
)
def test_facts_that_are_damaged_are_left_out_and_forgotten(tmp_path: Path, change: str) -> None:
    told = Facts(camera="One", iso=50, taken=Taken(datetime(2019, 7, 14), None, TakenFrom.EXIF))
    with open_storage(tmp_path) as storage:
        model = add_model(storage)
        records = [ImageRecord(digest_of(name), vector=unit_vectors(1)[0], facts=told) for name in ("one", "two")]
        storage.photos.save_images(records, model.id)
        one, two = storage.photos.images_of([record.digest for record in records]).values()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        connection.execute(f"UPDATE image_facts SET {change} WHERE image_id = ?", (one,))
    with open_storage(tmp_path) as storage:
        with pytest.warns(RowsDamaged, match=f"metadata of image {one} says is damaged"):
            assert storage.photos.facts_of([one, two]) == {two: told}
        damaged = storage.damaged_rows()
        assert [(row.kind, row.key) for row in damaged] == [(Kind.FACTS, str(one))]
        (said,) = storage.mend(damaged)
        assert said == "forgot what the metadata of images says (1); the next zsindex sync reads it again"
        assert storage.damaged_rows() == []
        assert storage.photos.facts_of([one, two]) == {two: told}


@pytest.mark.parametrize("change", ["rating = 1", "name = 'two.xmp'", "mtime_ns = 8", "keywords = x'ff'"])
def test_what_a_sidecar_says_is_left_out_where_it_is_damaged_and_forgotten(tmp_path: Path, change: str) -> None:
    with open_storage(tmp_path) as storage:
        model = add_model(storage)
        storage.photos.save([photo(f"/a/{name}.jpg", vector=unit_vectors(1)[0]) for name in ("one", "two")], model.id)
        storage.photos.save_sidecar_facts([(Candidate("/a", "one.xmp", 9, 9), Facts(rating=5.0))])
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        connection.execute(f"UPDATE sidecar_facts SET {change}")
    with open_storage(tmp_path) as storage:
        with pytest.warns(RowsDamaged, match=r"what /a/...\.xmp says is damaged"):
            assert np.isnan(storage.photos.facts_table().rating).all()
        damaged = storage.damaged_rows()
        assert [(row.kind, row.key) for row in damaged] == [(Kind.SIDECAR_FACTS, "1")]
        (said,) = storage.mend(damaged)
        assert said == "forgot what sidecars say (1); the next zsindex sync reads it again"
        assert storage.damaged_rows() == []
        assert storage.photos.last_sidecars(["/a"]) == {}


def test_a_model_whose_record_is_damaged_is_recorded_again(sound: Sound, tmp_path: Path) -> None:
    folder = damaged(sound, tmp_path / "library", "UPDATE models SET logit_scale = logit_scale * 2 WHERE id = 1")
    other, said = asked(sound, folder)
    assert "classify" in other
    assert "the record of model fake is damaged, and is left out of answers" in said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZsindexWarning)
        with Library.open(folder, encoder=FakeEncoder()) as library:
            found = library.check().problems[0]
            assert found == "the record of model fake is damaged; a zsindex sync with it records it again"
            assert library.sync(sound.album).encoded == 0
            assert library.check().ok
    assert asked(sound, folder) == ([], "")


def test_corrections_that_are_damaged_are_not_undone(sound: Sound, tmp_path: Path) -> None:
    folder = damaged(sound, tmp_path / "library", "UPDATE corrections SET label = 'red' WHERE id = 9")
    with (
        Library.open(folder, encoder=FakeEncoder()) as library,
        pytest.raises(LibraryDamaged, match=f"the corrections of label set {SET} are not what was stored"),
    ):
        library.corrections.undo(SET)


@pytest.mark.folder("pages of SQLite are changed")
def test_an_index_of_the_database_that_is_damaged_is_made_again(sound: Sound, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    shutil.copytree(sound.library, folder)
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        # The rows that come and go now do not reach the index.
        (index,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'ix_files_image_id'").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_files_image_id'").fetchone()
        connection.execute("DELETE FROM sqlite_master WHERE name = 'ix_files_image_id'")
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        connection.execute("UPDATE files SET image_id = image_id WHERE 0")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM files WHERE name = 'broken.png'")
        connection.execute(
            "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES ('index', 'ix_files_image_id',"
            " 'files', ?, ?)",
            (page, index),
        )
    with Library.open(folder, encoder=FakeEncoder()) as library:
        assert "ix_files_image_id" in " ".join(library.check().problems)
        report = library.check(fix=True)
        assert report.fixed[0] == "rebuilt the indexes of the database"
        library.sync(sound.album)
        assert library.check().ok
    assert asked(sound, folder) == ([], "")


def test_where_all_that_is_known_of_photos_is_damaged_nobody_says_that_there_are_none(
    sound: Sound, tmp_path: Path
) -> None:
    folder = damaged(sound, tmp_path / "library", "UPDATE folders SET path = path || 'x'")
    with (
        Library.open(folder, encoder=FakeEncoder(), read_only=True) as library,
        pytest.warns(RowsDamaged),
        pytest.raises(
            NoVectors, match="what the library knows of its photos is damaged: zsindex check --fix"
        ) as caught,
    ):
        library.search("red")
    assert caught.value.damaged
    assert str(caught.value) == of_error(caught.value).detail


def test_no_flipped_bit_of_a_text_looks_like_one_of_its_seal() -> None:
    text = bytearray(b'{"labels": {"red": ["a red thing"], "blue": ["a blue thing"]}}' * 30)
    right = seal(("colours", text.decode(), "2026-01-01"))
    for place in range(len(text)):
        for bit in range(7):  # those of which the text stays one
            text[place] ^= 1 << bit
            assert (seal(("colours", text.decode(), "2026-01-01")) ^ right).bit_count() > 1
            text[place] ^= 1 << bit


def test_a_seal_tells_values_and_their_types_apart() -> None:
    different = [("a", "b"), ("ab",), ("ab", None), (None, "ab"), (b"ab",), (1,), ("1",), (1.0,), (1.5,), ()]
    assert len({seal(values) for values in different}) == len(different)
    assert seal(("a", 1, None, 0.5, b"x")) == seal(["a", 1, None, 0.5, b"x"])

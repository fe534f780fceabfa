"""Bits that flip and pages that are zeroed in a library: what has rotted gives the right answer, or none and a word
about it, and never another one.
"""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.fakes import FakeEncoder
from tests.libraries import add_model, add_photos, digest_of, open_storage, unit_vectors
from tests.scenes import photo
from zsindex.errors import ZsindexError
from zsindex.index.snapshots import FOLDER_NAME, VectorIndex
from zsindex.library import Library
from zsindex.storage.rows import ModelRow
from zsindex.storage.sqlite.file import FILE_NAME, PAGE_SIZE
from zsindex.storage.sqlite.storage import SqliteStorage
from zsindex.storage.stored import VectorsDamaged
from zsindex.upkeep import maintenance

N_PHOTOS, N_PROMPTS = 400, 300
VECTORS, PROMPTS = unit_vectors(N_PHOTOS), unit_vectors(N_PROMPTS, seed=1)
TEXTS = [f"a photo of number {n}" for n in range(N_PROMPTS)]
FLIPS = 400
COLOURS = ["red", "green", "blue"]


class Sound(NamedTuple):
    """A library as it was written.

    Attributes:
        content: of its database.
        pages: where those begin that hold vectors, of photos and of prompts.
    """

    content: bytes
    paths: list[str]
    pages: list[int]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    folder = tmp_path_factory.mktemp("sound") / "library"
    with open_storage(folder) as storage:
        model = add_model(storage)
        paths = add_photos(storage, model, VECTORS)
        storage.reads.save_prompts(TEXTS, PROMPTS, model.id, truncated=[False] * N_PROMPTS)
    content = (folder / FILE_NAME).read_bytes()
    places = [content.index(row.tobytes()) for row in [*VECTORS, *PROMPTS]]
    return Sound(content, paths, sorted({place - place % PAGE_SIZE for place in places}))


def written(folder: Path, content: bytes | bytearray) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / FILE_NAME).write_bytes(content)
    return folder


def outcome(folder: Path, paths: list[str]) -> str:
    """What questions find in a library: ``all``, ``less`` with a word about it, or an ``error``. All else fails."""
    try:
        with (
            open_storage(folder, read_only=True, create=False) as storage,
            warnings.catch_warnings(record=True) as said,
        ):
            warnings.simplefilter("always")
            (model,) = storage.reads.models()
            return "all" if asked(storage, model, paths) else told(storage, [w.category for w in said])
    except ZsindexError:
        return "error"


def asked(storage: SqliteStorage, model: ModelRow, paths: list[str]) -> bool:
    """Ask for every vector in each way there is; whether all were found. Each must be the one that was stored."""
    index = VectorIndex.open(storage, model)
    rows = index.vectors.rows
    found = dict(zip(index.vectors.ids[rows].tolist(), index.vectors.take(rows), strict=True))
    for image_id, vector in found.items():
        assert vector.tobytes() == VECTORS[image_id - 1].tobytes(), image_id
    images = storage.reads.image_vectors([digest_of(path) for path in paths], model)
    prompts = storage.reads.prompt_vectors(TEXTS, model, truncated=True)
    of_path = dict(zip(map(digest_of, paths), VECTORS, strict=True))
    of_text = dict(zip(TEXTS, PROMPTS, strict=True))
    assert all(vector.tobytes() == of_path[digest].tobytes() for digest, vector in images.items())
    assert all(vector.tobytes() == of_text[text].tobytes() for text, vector in prompts.items())
    # What is not found of these two is encoded again, and needs no word.
    return len(found) == N_PHOTOS


def told(storage: SqliteStorage, said: list[type[Warning]]) -> str:
    assert VectorsDamaged in said or not maintenance.check(storage, fix=False).ok
    return "less"


def test_a_sound_one_gives_all(sound: Sound, tmp_path: Path) -> None:
    assert outcome(written(tmp_path / "library", sound.content), sound.paths) == "all"


def test_no_flipped_bit_gives_another_vector(sound: Sound, tmp_path: Path) -> None:
    rng = random.Random(14)
    outcomes = []
    for _ in range(FLIPS):
        content = bytearray(sound.content)
        place = rng.choice(sound.pages) + rng.randrange(PAGE_SIZE)
        content[place] ^= 1 << rng.randrange(8)
        outcomes.append(outcome(written(tmp_path / "library", content), sound.paths))
    # Of photos' vectors most flips hit one; those of prompts are missed by nobody.
    assert {"all", "less"} <= set(outcomes)


def test_no_zeroed_page_gives_another_vector(sound: Sound, tmp_path: Path) -> None:
    for page in sound.pages:
        for start, length in ((0, PAGE_SIZE), (512, 512), (PAGE_SIZE // 2, PAGE_SIZE // 2)):
            content = bytearray(sound.content)
            content[page + start : page + start + length] = bytes(length)
            if content != sound.content:
                outcome(written(tmp_path / "library", content), sound.paths)


def test_no_truncated_database_gives_another_vector(sound: Sound, tmp_path: Path) -> None:
    for page in sound.pages:
        for keep in (page, page + 100):
            outcome(written(tmp_path / "library", sound.content[:keep]), sound.paths)


# --- from a bit to what people are told -------------------------------------------------------------------------------


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for n, colour in enumerate(["red", "green", "blue", "white"]):
        photo(tmp_path / "album" / f"{n} {colour}.png", colour)
    return tmp_path / "album"


@pytest.fixture
def library(tmp_path: Path, new_library: Path, album: Path, encoder: FakeEncoder) -> Iterator[Library]:
    shutil.copytree(new_library, tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=encoder) as opened:
        opened.sync(album)
        yield opened


def flip_sign(library: Library, table: str, *, ident: int) -> None:
    """Turn the sign of one component of a stored vector: it still has the length one."""
    key = "seq" if table == "embeddings" else "id"
    with library.session.storage.database.write("damage") as connection:  # type: ignore[attr-defined]
        (stored,) = connection.exec_driver_sql(f"SELECT vector FROM {table} WHERE {key} = {ident}").one()
        turned = -np.frombuffer(stored, dtype="<f4")
        connection.exec_driver_sql(f"UPDATE {table} SET vector = ? WHERE {key} = {ident}", (turned.tobytes(),))


def scores(library: Library) -> dict[str, list[float]]:
    found = library.classify(COLOURS, top=None, sync=False)
    return {photo.path: [p.score for p in photo.predictions] for photo in found}


def forget_index(library: Library) -> None:
    """As it is before the first snapshot is written."""
    library.session.index.forget()
    with library.session.storage.database.write("forget the index") as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("DELETE FROM snapshots")
        connection.exec_driver_sql("DELETE FROM seals WHERE kind = 'snapshot'")
    for file in (library.path / FOLDER_NAME).glob("*"):
        file.unlink()


def test_a_damaged_prompt_is_encoded_again(library: Library, encoder: FakeEncoder) -> None:
    before = scores(library)
    encoder.texts.clear()
    flip_sign(library, "prompts", ident=2)
    assert library.check().problems == ("1 stored vectors of prompts of fake are damaged",)
    assert scores(library) == before
    assert encoder.texts == ["This is a photo of green."]
    assert library.check().ok
    assert scores(library) == before
    assert encoder.texts == ["This is a photo of green."]


def test_check_forgets_a_damaged_prompt(library: Library) -> None:
    before = scores(library)
    flip_sign(library, "prompts", ident=2)
    report = library.check(fix=True)
    assert (report.fixed, report.ok) == (("forgot 1 prompts; they are encoded again when they are needed",), True)
    assert scores(library) == before


def test_a_vector_that_is_in_no_snapshot_is_missed_aloud_and_made_anew(library: Library, album: Path) -> None:
    before = scores(library)
    forget_index(library)
    flip_sign(library, "embeddings", ident=1)
    damaged = str(album / "0 red.png")
    rest = {path: values for path, values in before.items() if path != damaged}
    for _ in range(2):  # no snapshot is written that would keep it quiet
        with pytest.warns(
            VectorsDamaged, match=r"that photo is in no answer\. Run zsindex check --fix, then zsindex sync"
        ):
            assert scores(library) == rest
        library.session.index.forget()
    report = library.check()
    assert report.damaged == (damaged,)
    assert report.problems == (f"1 stored vectors of fake are damaged: {damaged}",)
    fixed = library.check(fix=True)
    assert fixed.ok
    assert fixed.fixed[0] == "forgot them; the next zsindex sync encodes 1 photos again"
    assert library.sync().encoded == 1
    assert scores(library) == before


def test_where_the_index_is_whole_it_is_right(library: Library, album: Path, encoder: FakeEncoder) -> None:
    before = scores(library)
    flip_sign(library, "embeddings", ident=1)
    library.session.index.forget()
    assert scores(library) == before
    report = library.check(fix=True)
    assert report.damaged == (str(album / "0 red.png"),)
    assert report.fixed == ("took 1 of them from the index, which is whole", "rebuilt the index of fake")
    assert report.ok
    assert library.sync().encoded == 0
    assert scores(library) == before


def test_a_photo_that_is_asked_about_is_encoded_where_its_vector_is_damaged(library: Library, album: Path) -> None:
    before = library.embed_images(album / "0 red.png")
    flip_sign(library, "embeddings", ident=1)
    assert np.array_equal(library.embed_images(album / "0 red.png"), before)


def test_a_long_list_of_damaged_photos_is_cut_in_words_only(tmp_path: Path) -> None:
    with open_storage(tmp_path / "library") as storage:
        model = add_model(storage)
        paths = add_photos(storage, model, unit_vectors(13))
        with storage.database.write("damage") as connection:
            connection.exec_driver_sql("UPDATE embeddings SET checksum = checksum + 1")
        report = maintenance.check(storage, fix=False)
    assert report.damaged == tuple(paths)
    assert report.problems == (f"13 stored vectors of fake are damaged: {', '.join(paths[:10])} and 3 more",)


# --- a database that was restored -------------------------------------------------------------------------------------


def restored(library: Library, album: Path, tmp_path: Path, encoder: FakeEncoder, colours: list[str]) -> Library:
    """The same library after its database was taken back to where it was before the last photos, beside what was
    derived since; and then other photos came, which have the ids of those.
    """
    shutil.copytree(library.path, tmp_path / "backup")
    for n, colour in enumerate(colours):
        photo(album / f"future {n}.png", colour, mark=100 + n)
    library.sync(album)
    library.neighbours.graph()
    library.classify(COLOURS, record=True)
    library.close()
    shutil.copy(tmp_path / "backup" / FILE_NAME, library.path / FILE_NAME)
    for n in range(len(colours)):
        (album / f"future {n}.png").unlink()
    for n, colour in enumerate(reversed(colours)):
        photo(album / f"other {n}.png", colour, mark=n + 1)
    opened = Library.open(library.path, encoder=encoder)
    opened.sync(album)
    return opened


def test_a_graph_from_another_history_is_not_used(
    library: Library, album: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    with restored(library, album, tmp_path, encoder, ["red", "green", "white", "blue"]) as opened:
        report = opened.check()
        assert len(report.problems) == 2, report
        assert "is damaged, or of another state of this library" in report.problems[0]
        assert "belong to no index" in report.problems[1]  # the answer of the run
        view = opened.view()
        rows = view.vectors.take(view.unique[0])
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, -1)
        graph = opened.neighbours.graph()
        nearest = np.take_along_axis(cosines, graph.neighbours[:, :1], 1)[:, 0]
        np.testing.assert_allclose(nearest, cosines.max(axis=1), atol=1e-6)
        near = opened.neighbours.duplicates(look=False).groups
        assert len(near) == 4
        assert opened.check(fix=True).ok
        np.testing.assert_array_equal(opened.neighbours.graph().neighbours, graph.neighbours)


def test_a_snapshot_from_another_history_is_not_used(
    library: Library, album: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    scores(library)
    library.check()
    with restored(library, album, tmp_path, encoder, ["red", "green", "white", "blue"]) as opened:
        index = VectorIndex.open(opened.session.storage, opened.session.model.row())
        truth = opened.session.storage.reads.embeddings_after(opened.session.model.row(), 0)
        found = dict(zip(index.vectors.ids.tolist(), index.vectors.take(index.vectors.rows), strict=True))
        assert {i: v.tobytes() for i, v in found.items()} == {
            i: v.tobytes() for i, v in zip(truth[1].tolist(), truth[2], strict=True)
        }

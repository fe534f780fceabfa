"""The index: snapshots that are whole or made anew, and searches that agree with brute force in every state."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import on_server
from tests.fakes import DIM
from tests.libraries import (
    add_images,
    add_model,
    add_photos,
    digest_of,
    new_library,
    open_storage,
    photo,
    unit_vectors,
)
from zsindex.errors import DimensionMismatch, LibraryBusy, LibraryDamaged, LibraryReadOnly, StorageFull
from zsindex.index import files
from zsindex.index import snapshots as index
from zsindex.index.snapshots import FOLDER_NAME, IndexRebuilt, VectorIndex
from zsindex.index.vectors import Snapshot, SnapshotError
from zsindex.records import FloatArray, IdArray
from zsindex.storage.photos import SqlPhotos
from zsindex.storage.rows import ModelRow
from zsindex.storage.sealing import reseal
from zsindex.storage.seals import Kind
from zsindex.storage.sqlite.storage import SqliteStorage
from zsindex.storage.stored import image_checksum, prompt_checksum
from zsindex.storage.tables import embeddings, prompts, snapshots
from zsindex.upkeep import maintenance

# What is recorded is the storage's own matter.
Photos: type[SqlPhotos] = SqlPhotos
if on_server.asked():
    from zsindex.storage.postgres.photos import PostgresPhotos as Photos

QUERIES = unit_vectors(4, seed=99)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """For a few vectors, threads cost more than they bring where cores are shared."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


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


def brute_force(
    truth: tuple[int, IdArray, FloatArray], queries: FloatArray, k: int, image_ids: IdArray | None = None
) -> tuple[IdArray, FloatArray]:
    """What a search must find, from what the database holds: best first, ties in the order in which images came."""
    _, ids, vectors = truth
    if image_ids is not None:
        chosen = np.isin(ids, image_ids)
        ids, vectors = ids[chosen], vectors[chosen]
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    order = np.argsort(-scores.round(6), axis=1, kind="stable")[:, :k]
    return ids[order], np.take_along_axis(scores, order, 1).astype(np.float32)


def assert_searches_like_brute_force(
    searched: VectorIndex, storage: SqliteStorage, model: ModelRow, queries: FloatArray = QUERIES
) -> None:
    truth = storage.reads.embeddings_after(model, 0)
    ids = truth[1]
    some = ids[::3]
    for k in (1, 3, len(ids), len(ids) + 10):
        for selection in (None, some, ids[:1], np.append(some, 10**9), np.empty(0, np.int64)):
            found_ids, found_scores = searched.search(queries, k, image_ids=selection)
            expected_ids, expected_scores = brute_force(truth, queries, k, selection)
            assert np.array_equal(found_ids, expected_ids)
            assert np.allclose(found_scores, expected_scores, atol=1e-6)


def only_snapshot(folder: Path) -> Path:
    (file,) = (folder / FOLDER_NAME).iterdir()
    return file


# --- every state an index can be in -----------------------------------------------------------------------------------


def base_only(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    add_photos(storage, model, unit_vectors(30))
    VectorIndex.open(storage, model)


def base_and_tail(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    base_only(storage, folder, model)
    add_photos(storage, model, unit_vectors(20, seed=1), folder="/later")


def pruned(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    base_and_tail(storage, folder, model)
    storage.photos.mark_missing("/photos", [f"{i:05d}.png" for i in (0, 7, 29)])
    storage.photos.mark_missing("/later", ["00003.png"])
    storage.photos.prune()


def pruned_and_more(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    """The newest images are pruned, and others come: none may be taken for one of those."""
    base_only(storage, folder, model)
    storage.photos.mark_missing("/photos", [f"{i:05d}.png" for i in range(25, 30)])
    storage.photos.prune()
    add_photos(storage, model, unit_vectors(8, seed=2), folder="/more")


def encoded_anew(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    """A vector was found damaged, forgotten and made anew: the snapshot still holds the old one of the same image."""
    base_and_tail(storage, folder, model)
    seqs = [3, 17, 44]
    storage.photos.remove_vectors(model.id, {"images": seqs, "prompts": []})
    paths = ["/photos/00002.png", "/photos/00016.png", "/later/00013.png"]
    vectors = unit_vectors(3, seed=3)
    storage.photos.save([photo(path, vector=v) for path, v in zip(paths, vectors, strict=True)], model.id)


def two_models(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    base_and_tail(storage, folder, model)
    other = add_model(storage, "other")
    add_photos(storage, other, unit_vectors(30, seed=4))
    VectorIndex.open(storage, other)
    add_photos(storage, model, unit_vectors(5, seed=5), folder="/last")


def copies(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    """Photos that differ in their bytes, not in their vectors."""
    few = unit_vectors(3, seed=6)
    add_photos(storage, model, few[np.arange(30) % 3])
    VectorIndex.open(storage, model)
    add_photos(storage, model, few[np.arange(20) % 3], folder="/later")


def everything_pruned(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    base_and_tail(storage, folder, model)
    storage.photos.mark_missing("/photos")
    storage.photos.mark_missing("/later")
    storage.photos.prune()


def nothing(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    pass


State = Callable[[SqliteStorage, Path, ModelRow], None]
STATES: list[State] = [
    nothing, base_only, base_and_tail, pruned, pruned_and_more, encoded_anew, two_models, copies, everything_pruned
]  # fmt: skip


@pytest.fixture(params=STATES, ids=lambda state: state.__name__)
def any_state(request: pytest.FixtureRequest, storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    request.param(storage, folder, model)


@pytest.mark.usefixtures("any_state")
def test_a_search_agrees_with_brute_force(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    assert_searches_like_brute_force(VectorIndex.open(storage, model), storage, model)


@pytest.mark.usefixtures("any_state")
def test_many_queries_at_once_agree_with_brute_force(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    """Beyond some twenty queries faiss multiplies matrices instead."""
    queries = unit_vectors(50, seed=98)
    assert_searches_like_brute_force(VectorIndex.open(storage, model), storage, model, queries)


@pytest.mark.usefixtures("any_state")
def test_without_its_files_the_index_answers_the_same(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    before = VectorIndex.open(storage, model).search(QUERIES, 20)
    recorded = storage.reads.snapshot(model.id)
    shutil.rmtree(folder / FOLDER_NAME, ignore_errors=True)
    with pytest.warns(IndexRebuilt, match="cannot be read") if recorded else nullcontext():
        after = VectorIndex.open(storage, model).search(QUERIES, 20)
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])


@pytest.mark.usefixtures("any_state")
def test_without_a_snapshot_a_read_only_library_answers_the_same(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = VectorIndex.open(storage, model).search(QUERIES, 20)
    with storage.database.write("forget the snapshots") as connection:
        connection.execute(sa.delete(snapshots))
    with open_storage(folder, read_only=True) as reader:
        found = VectorIndex.open(reader, model)
        assert found.vectors.base is None or reader.keeps_snapshots
        after = found.search(QUERIES, 20)
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])


@pytest.mark.usefixtures("any_state")
def test_a_snapshot_that_is_due_is_searched_at_once(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MAX_TAIL", 0)
    monkeypatch.setattr(index, "MAX_TAIL_SHARE", 0.0)
    found = VectorIndex.open(storage, model)
    assert len(found.vectors.tail) == len(found.vectors.deleted) == 0
    assert_searches_like_brute_force(found, storage, model)
    assert_searches_like_brute_force(VectorIndex.open(storage, model), storage, model)


@pytest.mark.usefixtures("any_state")
def test_check_finds_nothing_wrong(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    VectorIndex.open(storage, model)
    assert index.compare(storage, model, damaged=[]).problems == []
    assert files.strays(folder / FOLDER_NAME, lambda: index.recorded_files(storage)) == []


@pytest.mark.usefixtures("any_state")
def test_rows_of_images(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    vectors = VectorIndex.open(storage, model).vectors
    _, ids, truth = storage.reads.embeddings_after(model, 0)
    asked = np.append(ids[::-1], [10**9, 0])
    rows = vectors.rows_of(asked)
    assert rows[-2:].tolist() == [-1, -1]
    assert np.array_equal(vectors.take(rows[:-2]), truth[::-1])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(data=st.data())
def test_filters_never_lose_results(storage: SqliteStorage, folder: Path, model: ModelRow, data: st.DataObject) -> None:
    if not storage.photos.model_sizes(model)["images"]:
        pruned(storage, folder, model)
    searched = VectorIndex.open(storage, model)
    ids = storage.reads.image_ids_of(model.id, through=10**9).tolist()
    chosen = np.array(data.draw(st.lists(st.sampled_from(ids), unique=True)), dtype=np.int64)
    k = data.draw(st.integers(1, 60))
    found, _ = searched.search(QUERIES, k, image_ids=chosen)
    assert np.array_equal(found, brute_force(storage.reads.embeddings_after(model, 0), QUERIES, k, chosen)[0])


# --- ties -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_queries", [1, 30], ids=["one query", "many queries"])
def test_of_photos_that_tie_for_the_last_place_the_oldest_gets_it(
    storage: SqliteStorage, folder: Path, model: ModelRow, n_queries: int
) -> None:
    same, better, query = unit_vectors(3, seed=7)
    better = query
    add_photos(storage, model, np.stack([same, same, same, better, same]))
    searched = VectorIndex.open(storage, model)
    queries = np.tile(query, (n_queries, 1))
    for k, expected in ((1, [4]), (2, [4, 1]), (3, [4, 1, 2]), (4, [4, 1, 2, 3]), (5, [4, 1, 2, 3, 5])):
        assert searched.search(queries, k)[0].tolist() == [expected] * n_queries


def test_a_few_of_very_many_copies(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    add_images(storage, model, np.tile(unit_vectors(1), (1000, 1)))
    searched = VectorIndex.open(storage, model)
    for k in (1, 99, 150, 999):
        assert searched.search(QUERIES, k)[0].tolist() == [list(range(1, k + 1))] * len(QUERIES)


# --- bad questions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 3, DIM - 1, DIM + 1])
def test_queries_of_another_dimension_are_refused(
    storage: SqliteStorage, folder: Path, model: ModelRow, dim: int
) -> None:
    base_only(storage, folder, model)
    searched = VectorIndex.open(storage, model)
    with pytest.raises(DimensionMismatch, match=f"{dim} dimensions where {DIM}") as caught:
        searched.search(np.zeros((1, dim), np.float32), 1)
    assert (caught.value.expected, caught.value.got) == (DIM, dim)


def test_no_queries_have_no_results(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    base_and_tail(storage, folder, model)
    ids, scores = VectorIndex.open(storage, model).search(np.empty((0, DIM), np.float32), 3)
    assert ids.shape == scores.shape == (0, 3)


# --- what a snapshot is -----------------------------------------------------------------------------------------------


def test_a_snapshot_is_recorded_with_what_identifies_it(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    base_only(storage, folder, model)
    recorded = storage.reads.snapshot(model.id)
    assert recorded is not None
    assert recorded.file == only_snapshot(folder).name
    assert (recorded.watermark, recorded.n_vectors, recorded.generation) == (30, 30, 0)
    Snapshot.open(only_snapshot(folder), n_vectors=30, dim=DIM, sha256=recorded.sha256)


def test_the_vectors_in_a_snapshot_are_those_of_the_database_bit_by_bit_and_aligned(
    storage: SqliteStorage, folder: Path, model: ModelRow
) -> None:
    # Faiss would normalise on the way in and change the last bits: so take some that are not quite of length 1.
    vectors = unit_vectors(30) * np.float32(1.0003)
    add_photos(storage, model, vectors)
    base = VectorIndex.open(storage, model).vectors.base
    assert base is not None
    assert isinstance(base.vectors, np.memmap)
    assert base.vectors.flags.aligned
    assert base.vectors.flags.c_contiguous
    assert base.vectors.tobytes() == vectors.tobytes()
    with storage.database.read() as connection:
        blobs = connection.execute(sa.select(embeddings.c.vector).order_by(embeddings.c.seq)).scalars()
        assert base.vectors.tobytes() == b"".join(blobs)


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 512, 513])
def test_snapshots_of_any_dimension_are_aligned(
    storage: SqliteStorage, folder: Path, model: ModelRow, dim: int
) -> None:
    info = replace(model.info, dim=dim, fingerprint=f"{dim:064d}")
    other = storage.photos.add_model(info, make_default=False)
    vectors = unit_vectors(5, dim=dim)
    add_images(storage, other, vectors)
    base = VectorIndex.open(storage, other).vectors.base
    assert base is not None
    assert base.vectors.flags.aligned
    assert np.array_equal(base.vectors, vectors)


def test_a_snapshot_is_a_faiss_index_by_image_id(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    """Anybody with faiss can use the file: image ids come back, and scores are cosines whatever the query's length."""
    base_only(storage, folder, model)
    found = faiss.read_index(str(only_snapshot(folder)))
    scores, ids = found.search(QUERIES * 3, 5)
    expected_ids, expected_scores = brute_force(storage.reads.embeddings_after(model, 0), QUERIES, 5)
    assert np.array_equal(ids, expected_ids)
    assert np.allclose(scores, expected_scores, atol=1e-6)


@pytest.mark.parametrize("in_memory", [0, 2**24], ids=["by way of a file", "in memory"])
def test_what_faiss_would_read_otherwise_is_not_recorded(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    """A version of faiss that lays its files out in another way costs the snapshot, and no answer."""
    monkeypatch.setattr(index, "IN_MEMORY", in_memory)
    made = index._faiss_index
    monkeypatch.setattr(index, "_faiss_index", lambda ids, vectors: made(ids[::-1].copy(), vectors))
    add_photos(storage, model, unit_vectors(30))
    real = index.Snapshot.map
    monkeypatch.setattr(index.Snapshot, "map", lambda *a, **o: replace(real(*a, **o), ids=np.arange(1, 31)))
    with pytest.warns(IndexRebuilt, match="FAISS does not read .* as it was written"):
        found = VectorIndex.open(storage, model)
    assert storage.reads.snapshot(model.id) is None
    assert list((folder / FOLDER_NAME).iterdir()) == []
    assert_searches_like_brute_force(found, storage, model)


def test_a_snapshot_of_an_earlier_version_still_opens(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    """They had the parts around the arrays in another order: "IDMap2,L2norm,Flat"."""
    base_only(storage, folder, model)
    recorded = storage.reads.snapshot(model.id)
    assert recorded is not None
    vectors = VectorIndex.open(storage, model).vectors.base
    assert vectors is not None
    older = faiss.index_factory(DIM, "IDMap2,L2norm,Flat", faiss.METRIC_INNER_PRODUCT)
    older.add_with_ids(np.asarray(vectors.vectors), vectors.ids)
    flat = faiss.downcast_index(faiss.downcast_index(older.index).index)
    faiss.copy_array_to_vector(vectors.vectors.view(np.uint8).reshape(-1), flat.codes)
    file = only_snapshot(folder)
    faiss.write_index(older, str(file))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    storage.photos.save_snapshot(model.id, replace(recorded, sha256=sha256))
    found = VectorIndex.open(storage, model)
    assert found.vectors.base is not None
    assert found.vectors.base.file == file
    assert_searches_like_brute_force(found, storage, model)


def test_a_snapshot_is_replaced_when_enough_has_come(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    base_only(storage, folder, model)
    first = only_snapshot(folder)
    monkeypatch.setattr(index, "MAX_TAIL", 10)
    add_photos(storage, model, unit_vectors(10, seed=1), folder="/a")
    VectorIndex.open(storage, model)
    assert only_snapshot(folder) == first
    add_photos(storage, model, unit_vectors(1, seed=2), folder="/b")
    VectorIndex.open(storage, model)
    assert only_snapshot(folder) != first
    recorded = storage.reads.snapshot(model.id)
    assert recorded is not None
    assert recorded.n_vectors == 41


def test_a_library_that_was_copied_elsewhere_answers_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_storage(folder) as storage:
        model = add_model(storage)
        pruned(storage, folder, model)
        before = VectorIndex.open(storage, model).search(QUERIES, 20)
    shutil.move(folder, tmp_path / "moved")
    with open_storage(tmp_path / "moved", create=False) as storage:
        after = VectorIndex.open(storage, model).search(QUERIES, 20)
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])


# --- snapshots that do not fit ----------------------------------------------------------------------------------------


def flip(at: float) -> Callable[[Path], None]:
    """Flip one bit, at a position counted from the end where it is negative."""

    def damage(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[int(at)] ^= 0x10
        file.write_bytes(content)

    return damage


def cut(length: int) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(file.read_bytes()[:length])


def append(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


IDS, VECTORS = 8 * 30, 4 * 30 * DIM
DAMAGES = {
    "no file": Path.unlink,
    "a folder": make_folder,
    "the file type": flip(0),
    "the dimension in the header": flip(4),
    "the inner header": flip(60),
    "the number of values": flip(-IDS - 8 - VECTORS - 8),
    "the first vector": flip(-IDS - 8 - VECTORS),
    "the last vector": flip(-IDS - 8 - 1),
    "the number of ids": flip(-IDS - 8),
    "the first id": flip(-IDS),
    "the last byte": flip(-1),
    "cut to nothing": cut(0),
    "cut to a header": cut(100),
    "cut by one byte": cut(-1),
    "cut by one vector and its id": cut(-8 - 4 * DIM),
    "a byte too many": append,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_snapshot_is_rebuilt_with_a_warning(
    storage: SqliteStorage, folder: Path, model: ModelRow, damage: Callable[[Path], None]
) -> None:
    base_only(storage, folder, model)
    before = VectorIndex.open(storage, model).search(QUERIES, 20)
    damage(only_snapshot(folder))
    assert index.compare(storage, model, damaged=[]).problems != []

    # Who may not write still gets the answer, and leaves everything as it is.
    with open_storage(folder, read_only=True) as reader, pytest.warns(IndexRebuilt):
        found = VectorIndex.open(reader, model)
    assert np.array_equal(found.search(QUERIES, 20)[0], before[0])
    assert index.compare(storage, model, damaged=[]).problems != []

    with pytest.warns(IndexRebuilt, match="the index of fake was rebuilt"):
        found = VectorIndex.open(storage, model)
    assert np.array_equal(found.search(QUERIES, 20)[0], before[0])
    assert np.array_equal(found.search(QUERIES, 20)[1], before[1])

    assert index.compare(storage, model, damaged=[]).problems == []
    assert_searches_like_brute_force(VectorIndex.open(storage, model), storage, model)


@pytest.mark.parametrize(
    "wrong",
    [{"n_vectors": 29}, {"n_vectors": 31}, {"n_vectors": 0}, {"n_vectors": -1}, {"sha256": "0" * 64}, {"file": "x"}],
    ids=str,
)
def test_a_snapshot_that_is_recorded_wrongly_is_rebuilt(
    storage: SqliteStorage, folder: Path, model: ModelRow, wrong: dict[str, object]
) -> None:
    base_only(storage, folder, model)
    with storage.database.write("damage") as connection:
        connection.execute(sa.update(snapshots).values(wrong))
        reseal(connection, storage.database.dialect, Kind.SNAPSHOT, [model.id])
    with pytest.warns(IndexRebuilt):
        found = VectorIndex.open(storage, model)
    assert_searches_like_brute_force(found, storage, model)
    assert_searches_like_brute_force(VectorIndex.open(storage, model), storage, model)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(content=st.binary(max_size=3000), trusted=st.booleans())
def test_loading_invalid_data_cannot_crash(
    storage: SqliteStorage, folder: Path, model: ModelRow, content: bytes, trusted: bool
) -> None:
    if not storage.photos.model_sizes(model)["images"]:
        base_only(storage, folder, model)
    file = only_snapshot(folder)
    file.write_bytes(content)
    if trusted:  # even a record that vouches for it
        with storage.database.write("vouch") as connection:
            connection.execute(sa.update(snapshots).values(sha256=index._sha256(file)))
            reseal(connection, storage.database.dialect, Kind.SNAPSHOT, [model.id])
    with pytest.warns(IndexRebuilt):
        found = VectorIndex.open(storage, model)
    assert len(found.vectors) == 30
    expected, _ = brute_force(storage.reads.embeddings_after(model, 0), QUERIES, 5)
    assert np.array_equal(found.search(QUERIES, 5)[0], expected)


def test_a_file_that_only_faiss_cannot_read_is_searched_all_the_same(
    storage: SqliteStorage, folder: Path, model: ModelRow
) -> None:
    base_only(storage, folder, model)
    file = only_snapshot(folder)
    flip(0)(file)
    with storage.database.write("vouch") as connection:
        connection.execute(sa.update(snapshots).values(sha256=index._sha256(file)))
    assert_searches_like_brute_force(VectorIndex.open(storage, model), storage, model)


@pytest.mark.parametrize("n_vectors", [-1, 0, 29, 31, 10**9])
def test_a_snapshot_of_another_number_of_vectors_is_not_mapped(
    storage: SqliteStorage, folder: Path, model: ModelRow, n_vectors: int
) -> None:
    base_only(storage, folder, model)
    with pytest.raises(SnapshotError):
        Snapshot.map(only_snapshot(folder), n_vectors=n_vectors, dim=DIM)


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_compares_a_snapshot_row_by_row(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    base_only(storage, folder, model)
    with storage.database.write("damage") as connection:
        changed = unit_vectors(1, seed=8)[0].tobytes()
        fitting = {"vector": changed, "checksum": image_checksum(changed, model.id, 5)}
        connection.execute(sa.update(embeddings).where(embeddings.c.seq == 5).values(fitting))
    found = index.compare(storage, model, damaged=[9])
    assert (found.problems, found.doubtful, list(found.intact)) == ([], [5], [9])
    assert np.array_equal(found.intact[9], unit_vectors(30)[8])
    # Which of two is right that both have their checksum, nobody can tell: neither is kept.
    report = maintenance.check(storage, fix=True)
    assert report.damaged == ("/photos/00004.png",)
    assert report.problems == ("index of fake: 1 vectors differ from the database: /photos/00004.png",)
    assert report.fixed == (
        "forgot them; the next zsindex sync encodes 1 photos again",
        "rebuilt the index of fake",
    )
    assert report.ok
    assert 5 not in VectorIndex.open(storage, model).vectors.ids


def test_check_finds_vectors_that_only_one_side_has(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    base_only(storage, folder, model)
    with storage.database.write("damage") as connection:
        connection.execute(sa.delete(embeddings).where(embeddings.c.seq == 5))
    assert index.compare(storage, model, damaged=[]).problems == [
        "index of fake: 1 vectors that the database does not have"
    ]
    add_photos(storage, model, unit_vectors(3, seed=1), folder="/later")
    VectorIndex.rebuild(storage, model)
    with storage.database.write("damage") as connection:
        # As if an embedding had been stored behind the snapshot's back: it lies before the watermark.
        row = {"seq": 5, "model_id": model.id, "image_id": 5, "vector": unit_vectors(1).tobytes()}
        connection.execute(sa.insert(embeddings).values(row))
    assert index.compare(storage, model, damaged=[]).problems == [
        "index of fake: 1 vectors of the database are missing"
    ]


@pytest.mark.parametrize(
    "blob", [b"", b"abc", b"\0" * 4, b"\0" * 4 * DIM, np.full(DIM, np.nan, "<f4").tobytes(), b"\0" * 4 * (DIM + 1)]
)
def test_check_finds_and_forgets_what_is_no_vector(folder: Path, blob: bytes) -> None:
    with open_storage(folder) as storage:
        model = add_model(storage)
        base_only(storage, folder, model)
        with storage.database.write("damage") as connection:
            connection.execute(sa.update(embeddings).where(embeddings.c.seq == 5).values(vector=blob))
        report = maintenance.check(storage, fix=False)
        assert not report.ok
        assert report.problems == ("1 stored vectors of fake are damaged: /photos/00004.png",)
        recorded = storage.reads.snapshot(model.id)
        assert recorded is not None
        storage.photos.save_snapshot(model.id, replace(recorded, sha256="0" * 64))
        report = maintenance.check(storage, fix=True)
        assert report.ok, report
        assert "encodes 1 photos again" in report.fixed[0]
        assert maintenance.check(storage, fix=False).problems == ()
        assert_searches_like_brute_force(VectorIndex.open(storage, model), storage, model)
        assert storage.photos.model_sizes(model)["images"] == 29


def test_a_stored_vector_of_the_wrong_length_says_what_to_do(
    storage: SqliteStorage, folder: Path, model: ModelRow
) -> None:
    """Also where its checksum is right: then another model stored it."""
    add_photos(storage, model, unit_vectors(2))
    storage.reads.save_prompts(["owl"], unit_vectors(1), model.id, truncated=[False])
    short = b"\0\0\x80\x3f"
    with storage.database.write("damage") as connection:
        for image_id in (1, 2):
            fitting = {"vector": short, "checksum": image_checksum(short, model.id, image_id)}
            connection.execute(sa.update(embeddings).where(embeddings.c.image_id == image_id).values(fitting))
        fitting = {"vector": short, "checksum": prompt_checksum(short, model.id, "owl", truncated=False)}
        connection.execute(sa.update(prompts).values(fitting))
    ask: list[Callable[[], object]] = [
        lambda: VectorIndex.open(storage, model),
        lambda: storage.reads.image_vectors([digest_of("/photos/00000.png")], model),
        lambda: storage.reads.prompt_vectors(["owl"], model, truncated=False),
    ]
    for question in ask:
        with pytest.raises(LibraryDamaged, match=r"4 bytes are stored .* Run zsindex check"):
            question()


@pytest.mark.parametrize("what", ["a file", "a link that leads nowhere"])
def test_something_else_in_the_place_of_the_folder_is_told_and_left_alone(
    storage: SqliteStorage, folder: Path, model: ModelRow, what: str
) -> None:
    add_photos(storage, model, unit_vectors(10))
    index = folder / "index"
    assert not index.exists()
    if what == "a file":
        index.write_text("mine", encoding="utf-8")
    else:
        index.symlink_to(folder / "nowhere")
    with pytest.warns(IndexRebuilt, match="not written to disk: .*/index is no folder: remove it, or give it another"):
        assert len(VectorIndex.open(storage, model).vectors) == 10
    for fix in (False, True):
        (problem,) = maintenance.check(storage, fix=fix).remaining
        assert problem.startswith(f"{index} is no folder: remove it")
    index.unlink()
    VectorIndex.open(storage, model)
    assert maintenance.check(storage, fix=False).ok


def test_check_removes_stray_files(folder: Path) -> None:
    with open_storage(folder) as storage:
        base_only(storage, folder, add_model(storage))
        snapshot = only_snapshot(folder)
        for name in ("left.faiss", "left.faiss.tmp"):
            (folder / FOLDER_NAME / name).touch()
        assert maintenance.check(storage, fix=False).problems == ("2 files in index/ belong to no index",)
        assert maintenance.check(storage, fix=True).ok
        assert only_snapshot(folder) == snapshot


def test_check_fixes_a_damaged_snapshot_and_leaves_nothing_behind(folder: Path) -> None:
    with open_storage(folder) as storage:
        base_only(storage, folder, add_model(storage))
        flip(-1)(only_snapshot(folder))
        report = maintenance.check(storage, fix=True)
        assert (len(report.problems), report.fixed, report.remaining) == (1, ("rebuilt the index of fake",), ())
        assert only_snapshot(folder).stat().st_size > 0


# --- others write meanwhile -------------------------------------------------------------------------------------------


def test_what_others_store_is_replayed(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    base_only(storage, folder, model)
    mine = VectorIndex.open(storage, model)
    assert mine.refreshed(storage, model) is mine
    with open_storage(folder) as other:
        add_photos(other, model, unit_vectors(20, seed=1), folder="/later")
    refreshed = mine.refreshed(storage, model)
    assert len(refreshed.vectors.tail) == 20
    assert_searches_like_brute_force(refreshed, storage, model)
    assert len(mine.search(QUERIES, 100)[0][0]) == 30  # who still holds the old one sees what it knew


def test_what_others_prune_is_forgotten(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    base_and_tail(storage, folder, model)
    mine = VectorIndex.open(storage, model)
    with open_storage(folder) as other:
        other.photos.mark_missing("/photos", ["00003.png"])
        other.photos.mark_missing("/later")
        other.photos.prune()
    assert_searches_like_brute_force(mine.refreshed(storage, model), storage, model)


def test_a_long_tail_becomes_a_snapshot(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    base_only(storage, folder, model)
    mine = VectorIndex.open(storage, model)
    monkeypatch.setattr(index, "MAX_TAIL", 10)
    add_photos(storage, model, unit_vectors(20, seed=1), folder="/later")
    refreshed = mine.refreshed(storage, model)
    assert len(refreshed.vectors.tail) == 0
    assert_searches_like_brute_force(refreshed, storage, model)


@pytest.mark.parametrize("searched_before", [False, True])
def test_a_snapshot_that_others_replaced_still_answers(
    storage: SqliteStorage, folder: Path, model: ModelRow, searched_before: bool
) -> None:
    base_and_tail(storage, folder, model)
    mine = VectorIndex.open(storage, model)
    if searched_before:
        mine.search(QUERIES, 1)
    assert mine.vectors.base is not None
    with open_storage(folder) as other:
        VectorIndex.rebuild(other, model)
    assert not mine.vectors.base.file.exists()
    assert_searches_like_brute_force(mine, storage, model)
    assert_searches_like_brute_force(mine.refreshed(storage, model), storage, model)


def test_a_snapshot_that_is_replaced_while_it_is_opened_is_no_reason_to_warn(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    base_only(storage, folder, model)
    open_snapshot = index._open_snapshot

    def too_late(*arguments: object) -> Snapshot:
        monkeypatch.setattr(index, "_open_snapshot", open_snapshot)
        with open_storage(folder) as other:
            VectorIndex.rebuild(other, model)
        return open_snapshot(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(index, "_open_snapshot", too_late)
    assert_searches_like_brute_force(VectorIndex.open(storage, model), storage, model)


def test_two_that_write_a_snapshot_at_once_leave_one(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    base_and_tail(storage, folder, model)
    write = index._write

    def at_once(*arguments: object) -> Path:
        monkeypatch.setattr(index, "_write", write)
        with open_storage(folder) as other:
            VectorIndex.rebuild(other, model)
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(index, "_write", at_once)
    VectorIndex.rebuild(storage, model)
    recorded = storage.reads.snapshot(model.id)
    assert recorded is not None
    assert only_snapshot(folder).name == recorded.file


# --- crashes and full disks -------------------------------------------------------------------------------------------


class Crash(BaseException):
    """Ends everything on the spot, as far as one process can do that to itself."""


def crash(*_: object, **__: object) -> None:
    raise Crash


CRASHES = {
    "before writing": (index, "_write"),
    "before the snapshot has its name": (Path, "replace"),
    "before it is recorded": (Photos, "save_snapshot"),
    "before the old one is removed": (Path, "unlink"),
}


@pytest.mark.parametrize(("owner", "name"), CRASHES.values(), ids=CRASHES.keys())
def test_a_crash_at_any_point_of_saving_leaves_a_library_that_works(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    base_and_tail(storage, folder, model)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, crash)
        with pytest.raises(Crash):
            VectorIndex.rebuild(storage, model)
    assert_searches_like_brute_force(VectorIndex.open(storage, model), storage, model)
    assert index.compare(storage, model, damaged=[]).problems == []


def refuse_with(error: Exception) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise error

    return refuse


@pytest.mark.parametrize(
    "error",
    [
        StorageFull(Path("library")),
        LibraryBusy(Path("library"), holder="somebody", waited_s=1),
        LibraryReadOnly(Path("library"), "record the index"),
        OSError(28, "No space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_index_that_cannot_be_written_costs_only_the_snapshot(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    add_photos(storage, model, unit_vectors(30))
    monkeypatch.setattr(Photos, "save_snapshot", refuse_with(error))
    with pytest.warns(IndexRebuilt, match="not written to disk"):
        found = VectorIndex.open(storage, model)
    assert_searches_like_brute_force(found, storage, model)
    assert files.strays(folder / FOLDER_NAME, lambda: index.recorded_files(storage)) == []


def test_a_disk_that_refuses_even_to_remove_it_costs_only_the_snapshot(
    storage: SqliteStorage, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_photos(storage, model, unit_vectors(30))
    monkeypatch.setattr(Photos, "save_snapshot", refuse_with(OSError(5, "Input/output error")))
    unlink = Path.unlink

    def refuse(self: Path, *, missing_ok: bool = False) -> None:
        if self.suffix == ".faiss":
            raise OSError(5, "Input/output error")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(IndexRebuilt, match="not written to disk"):
        found = VectorIndex.open(storage, model)
    assert_searches_like_brute_force(found, storage, model)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files")
def test_the_folder_of_a_first_snapshot_is_on_the_disk_before_the_record(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_photos(storage, model, unit_vectors(30))
    synced: list[Path] = []
    before: list[Path] = []
    fsync, save = os.fsync, Photos.save_snapshot

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    def record(self: Photos, *arguments: Any) -> Any:
        before.extend(synced)
        return save(self, *arguments)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Photos, "save_snapshot", record)
    VectorIndex.open(storage, model)
    assert {folder, folder / FOLDER_NAME} <= set(before)


def test_a_full_disk_costs_only_the_snapshot(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    add_photos(storage, model, unit_vectors(30))
    (folder / FOLDER_NAME).symlink_to("/dev/full")
    with pytest.warns(IndexRebuilt, match="not written to disk"):
        found = VectorIndex.open(storage, model)
    assert_searches_like_brute_force(found, storage, model)


def test_a_snapshot_that_does_not_read_back_is_not_used(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_photos(storage, model, unit_vectors(30))
    sha256 = index._sha256

    def read_badly(file: Path) -> str:
        flip(-IDS - 8 - 1)(file)
        return sha256(file)

    monkeypatch.setattr(index, "_sha256", read_badly)
    with pytest.warns(IndexRebuilt, match="does not read back"):
        found = VectorIndex.open(storage, model)
    assert_searches_like_brute_force(found, storage, model)
    assert storage.reads.snapshot(model.id) is None
    assert list((folder / FOLDER_NAME).iterdir()) == []

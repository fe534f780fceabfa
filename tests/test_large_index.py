"""Large snapshots: approximate search against exact, cells through adding and removing, files that are not reread."""

from __future__ import annotations

import hashlib
import os
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tests.fakes import DIM
from tests.libraries import add_images, add_model, add_photos, new_library, open_storage, unit_vectors
from tests.test_index import QUERIES, STATES, State, assert_searches_like_brute_force, brute_force, flip, only_snapshot
from zsindex.index import cells, nearest, vectors
from zsindex.index import snapshots as index
from zsindex.index.snapshots import FOLDER_NAME, IndexRebuilt, VectorIndex
from zsindex.records import FloatArray, IdArray
from zsindex.storage.rows import ModelRow
from zsindex.storage.sealing import reseal
from zsindex.storage.seals import Kind
from zsindex.storage.sqlite.storage import SqliteStorage
from zsindex.storage.tables import metadata, snapshots

N = 4000


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


@pytest.fixture
def cells_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few rows, as of those that are too many for the memory."""
    monkeypatch.setattr(index, "CELLS_FROM", 1)
    monkeypatch.setattr(index, "IN_MEMORY", 0)


def clustered(n: int, *, seed: int = 0, n_clusters: int = 60, noise: float = 0.25) -> FloatArray:
    """Unit vectors around centres that do not depend on the seed."""
    random = np.random.default_rng(seed)
    rows = unit_vectors(n_clusters, seed=1000)[random.integers(0, n_clusters, n)]
    rows = rows + noise * random.standard_normal((n, DIM)) / np.sqrt(DIM)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def grouping(opened: VectorIndex) -> cells.Cells:
    assert opened.vectors.base is not None
    assert opened.vectors.base.cells is not None
    return opened.vectors.base.cells


class Exactly:
    """An index that is always asked to be exact."""

    def __init__(self, opened: VectorIndex) -> None:
        self.opened = opened

    def search(self, queries: FloatArray, k: int, *, image_ids: IdArray | None = None) -> tuple[IdArray, FloatArray]:
        return self.opened.search(queries, k, image_ids=image_ids, exact=True)


def assert_sound(opened: VectorIndex, storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    """Exact where that is asked for, true scores where it is not, rows in their cells, nothing for check to find."""
    assert_searches_like_brute_force(Exactly(opened), storage, model)  # type: ignore[arg-type]
    _, ids, truth = storage.reads.embeddings_after(model, 0)
    for k in (1, 5, len(ids)):
        found, scores = opened.search(QUERIES, k)
        assert found.shape == scores.shape == (len(QUERIES), min(k, len(ids)))
        for query, row, row_scores in zip(QUERIES, found, scores, strict=True):
            assert len(set(row.tolist())) == len(row)
            assert (np.diff(row_scores) <= 0).all()
            at = np.searchsorted(np.sort(ids), row)
            np.testing.assert_allclose(row_scores, truth[np.argsort(ids)][at] @ query, atol=1e-6)
    base = opened.vectors.base
    if base is not None and base.cells is not None:
        nearest = cells.assign(base.vectors, base.cells.centroids)
        assert (nearest == base.cells.of_rows()).mean() > 0.99  # but for what lies on a border to the last bit
    assert index.compare(storage, model, damaged=[]).problems == []


# --- approximate search -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 10, 20, 50])
def test_an_approximate_search_finds_99_of_100(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    monkeypatch.setattr(index, "CELLS_FROM", N)
    add_images(storage, model, clustered(N))
    opened = VectorIndex.open(storage, model)
    n_cells = len(grouping(opened).centroids)
    assert n_cells == 128
    assert (grouping(opened).n_probe[:2] < n_cells / 2).all()  # or it would prove nothing
    queries = clustered(300, seed=1)
    found, _ = opened.search(queries, k)
    true, _ = opened.search(queries, k, exact=True)
    hits = sum(len(set(a) & set(b)) for a, b in zip(found.tolist(), true.tolist(), strict=True))
    assert hits >= 0.99 * true.size


def test_few_rows_are_looked_at(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "CELLS_FROM", N)
    add_images(storage, model, clustered(N))
    opened = VectorIndex.open(storage, model)
    best, looked_at = index.nearest._best, []

    def count(vectors: object, rows: IdArray, *arguments: object) -> object:
        looked_at.append(len(rows))
        return best(vectors, rows, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(index.nearest, "_best", count)
    opened.search(clustered(20, seed=1), 10)
    assert len(looked_at) == 20
    assert max(looked_at) < N / 3
    looked_at.clear()
    opened.search(clustered(1, seed=1), 101)  # more than recall was measured for
    assert looked_at == [N]


def test_photos_that_are_added_up_are_found_far_from_their_sum(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "CELLS_FROM", N)
    wide = storage.photos.add_model(replace(model.info, dim=64, fingerprint="f" * 64), make_default=False)
    images = unit_vectors(N, dim=64)
    add_images(storage, wide, images)
    opened = VectorIndex.open(storage, wide)
    grouping(opened).n_probe[:] = 1
    missed = 0
    for pair in np.random.default_rng(0).choice(N, (50, 2), replace=False):
        terms = images[pair]
        query = terms.sum(axis=0, keepdims=True) / np.linalg.norm(terms.sum(axis=0))
        best = opened.search(query, 2, exact=True)[0]
        assert np.array_equal(opened.search(query, 2, terms=terms)[0], best)
        missed += not np.array_equal(opened.search(query, 2)[0], best)
    assert missed > 25  # or it would prove nothing


@pytest.mark.parametrize("spread", ["uniform", "clustered"])
def test_not_many_more_cells_are_looked_at_than_needed(spread: str) -> None:
    make = clustered if spread == "clustered" else lambda n, seed=0: unit_vectors(n, seed=seed)
    images, queries, depth = make(N), make(1000, seed=1), cells.DEPTHS[1]
    ids, none = np.arange(N), np.empty((0, DIM), dtype=np.float32)
    found, order = cells.arrange(ids, images, none, known=None)
    cell_of = np.empty(N, dtype=np.int64)
    cell_of[order] = found.of_rows()
    true = np.argsort(-queries @ images.T, axis=1)[:, :depth]
    turns = [
        found.to_probe(query, depth, none)[0].argsort()[cell_of[t]] for query, t in zip(queries, true, strict=True)
    ]
    needed = np.quantile(turns, 0.99) + 1
    assert needed <= found.n_probe[0, 1] <= 2 * needed + 1


def test_below_the_threshold_a_search_is_exact(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    add_images(storage, model, clustered(500))
    opened = VectorIndex.open(storage, model)
    assert opened.vectors.base is not None
    assert opened.vectors.base.cells is None
    assert_searches_like_brute_force(opened, storage, model)


@pytest.mark.usefixtures("cells_from_the_start")
def test_texts_are_searched_exactly_until_enough_are_known(
    storage: SqliteStorage, folder: Path, model: ModelRow
) -> None:
    """They lie far from all photos; without any, what they need cannot be measured."""
    images = clustered(N)
    images[:, 0] = np.abs(images[:, 0]) + 2  # to one side, like the images of a CLIP model
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    texts = clustered(200, seed=5)
    texts[:, 0] = -np.abs(texts[:, 0]) - 0.5
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    add_images(storage, model, images)
    opened = VectorIndex.open(storage, model)
    assert (grouping(opened).n_probe[-1] == len(grouping(opened).centroids)).all()
    expected = opened.search(texts[150:], 10, exact=True)
    assert np.array_equal(opened.search(texts[150:], 10)[0], expected[0])

    storage.reads.save_prompts([f"{i}" for i in range(150)], texts[:150], model.id, truncated=[False] * 150)
    opened = VectorIndex.rebuild(storage, model)
    found, _ = opened.search(texts[150:], 10)
    hits = sum(len(set(a) & set(b)) for a, b in zip(found.tolist(), expected[0].tolist(), strict=True))
    assert hits >= 0.98 * found.size


@pytest.mark.parametrize("share", [0.9, 0.6, 0.3, 0.01])
def test_a_selection_gets_as_many_as_it_has(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(index, "CELLS_FROM", N)
    add_images(storage, model, clustered(N))
    opened = VectorIndex.open(storage, model)
    random = np.random.default_rng(0)
    # Nothing that is near the query: the nearest cells hold none of the selected.
    query = clustered(1, seed=1)
    _, ids, truth = storage.reads.embeddings_after(model, 0)
    far = ids[np.argsort(truth @ query[0])[: int(share * N)]]
    for chosen in (far, random.permutation(ids)[: int(share * N)]):
        for k in (10, 100):
            k = min(k, len(chosen))
            found, scores = opened.search(query, k, image_ids=chosen)
            assert found.shape == (1, k)
            assert np.isin(found, chosen).all()
            expected, expected_scores = brute_force((0, ids, truth), query, k, chosen)
            if share < index.MIN_SHARE:
                assert np.array_equal(found, expected)
            assert scores[0, 0] <= expected_scores[0, 0] + 1e-6


@pytest.mark.parametrize("share", [0.95, 0.6])
def test_of_a_selection_as_much_is_found_as_of_all_also_where_it_is_unlike_the_query(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(index, "CELLS_FROM", 1)
    add_images(storage, model, clustered(N))
    opened = VectorIndex.open(storage, model)
    random = np.random.default_rng(0)
    _, ids, truth = storage.reads.embeddings_after(model, 0)
    hits: Counter[str] = Counter()
    exactly: Counter[str] = Counter()
    exact = nearest.exact

    def counted(*arguments: Any) -> tuple[IdArray, FloatArray]:
        exactly[kind] += 1
        return exact(*arguments)

    queries = clustered(60, seed=1)
    for query in queries:
        chosen = {"far": ids[np.argsort(truth @ query)[: int(share * N)]]}
        chosen["by chance"] = random.permutation(ids)[: int(share * N)]
        for kind, some in chosen.items():
            true, _ = opened.search(query[None, :], 10, image_ids=some, exact=True)
            with monkeypatch.context() as patch:
                patch.setattr(nearest, "exact", counted)
                found, _ = opened.search(query[None, :], 10, image_ids=some)
            hits[kind] += len(set(found[0].tolist()) & set(true[0].tolist()))
    assert min(hits.values()) >= 0.99 * 10 * len(queries)
    assert exactly["by chance"] < len(queries) / 4  # or cells would be of no use


# --- through adding and removing --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("cells_from_the_start")
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
@pytest.mark.parametrize("max_tail", [0, 4096])
def test_every_state_is_sound_with_cells(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch, state: State, max_tail: int
) -> None:
    state(storage, folder, model)
    monkeypatch.setattr(index, "MAX_TAIL", max_tail)
    assert_sound(VectorIndex.open(storage, model), storage, folder, model)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_and_goes_the_index_is_sound(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(index, "CELLS_FROM", 150)
    monkeypatch.setattr(index, "MAX_TAIL", 40)
    random = np.random.default_rng(seed)
    opened = VectorIndex.open(storage, model)
    there: list[tuple[str, str]] = []
    files, grouped = set(), 0
    for step in range(14):
        if step < 4 or random.random() < 0.6:
            paths = add_photos(storage, model, clustered(int(random.integers(1, 90)), seed=step), folder=f"/{step}")
            there += [(f"/{step}", path.rpartition("/")[2]) for path in paths]
        else:
            gone = [there.pop(int(random.integers(len(there)))) for _ in range(min(len(there) - 5, 60))]
            for home, name in gone:
                storage.photos.mark_missing(home, [name])
            storage.photos.prune()
        opened = opened.refreshed(storage, model) if random.random() < 0.5 else VectorIndex.open(
            storage, model
        )  # fmt: skip
        assert len(opened.vectors.rows) == len(there)
        assert len(opened.vectors.tail) <= 40
        assert_sound(opened, storage, folder, model)
        files.add(only_snapshot(folder).name)
        grouped += opened.vectors.base is not None and opened.vectors.base.cells is not None
    assert len(files) > 2
    assert grouped > 1


def test_what_has_a_cell_keeps_it(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the number of cells changes: neither trained again nor compared with the centroids again."""
    monkeypatch.setattr(index, "CELLS_FROM", 1)
    monkeypatch.setattr(index, "MAX_TAIL", 10)
    trained, assigned = [], []
    train, assign = cells.train, cells.assign
    monkeypatch.setattr(cells, "train", lambda v, n: trained.append(n) or train(v, n))
    monkeypatch.setattr(cells, "assign", lambda v, c: assigned.append(len(v)) or assign(v, c))
    add_images(storage, model, clustered(300))
    VectorIndex.open(storage, model)
    add_images(storage, model, clustered(50, seed=1), of="more")
    VectorIndex.open(storage, model)
    add_images(storage, model, clustered(1000, seed=2), of="most")
    VectorIndex.open(storage, model)
    assert trained == [32, 64]
    assert assigned == [300, 50, 1350]


@pytest.mark.usefixtures("cells_from_the_start")
def test_a_removed_photo_does_not_rewrite_the_snapshot(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    add_photos(storage, model, clustered(300))
    VectorIndex.open(storage, model)
    before = only_snapshot(folder)
    storage.photos.mark_missing("/photos", [f"{i:05d}.png" for i in range(100)])
    storage.photos.prune()
    opened = VectorIndex.open(storage, model)
    assert only_snapshot(folder) == before
    assert len(opened.vectors.deleted) == 100
    assert_sound(opened, storage, folder, model)


@pytest.mark.usefixtures("cells_from_the_start")
def test_a_grouped_snapshot_that_others_replaced_still_answers(
    storage: SqliteStorage, folder: Path, model: ModelRow
) -> None:
    add_images(storage, model, clustered(300))
    mine = VectorIndex.open(storage, model)
    before = mine.search(QUERIES, 10)
    add_images(storage, model, clustered(50, seed=1), of="more")
    with open_storage(folder) as other:
        VectorIndex.rebuild(other, model)
    assert mine.vectors.base is not None
    assert not mine.vectors.base.file.exists()
    assert np.array_equal(mine.search(QUERIES, 10)[0], before[0])
    assert_sound(mine.refreshed(storage, model), storage, folder, model)


@pytest.mark.usefixtures("cells_from_the_start")
@pytest.mark.parametrize("at", [-1, -8, -8 * 6, -8 * 20, -8 * 23 - 5, -8 * 23 - 16 * DIM * 4 - 3], ids=str)
def test_damaged_cells_are_made_anew(storage: SqliteStorage, folder: Path, model: ModelRow, at: int) -> None:
    add_images(storage, model, clustered(300))
    VectorIndex.open(storage, model)
    flip(at)(only_snapshot(folder))
    with pytest.warns(IndexRebuilt, match="checksum"):
        opened = VectorIndex.open(storage, model)
    assert_sound(opened, storage, folder, model)


@pytest.mark.usefixtures("cells_from_the_start")
@pytest.mark.parametrize("wrong", [0, 1, 15, 17, -1, 10**9])
def test_another_number_of_cells_than_there_are_is_noticed(
    storage: SqliteStorage, folder: Path, model: ModelRow, wrong: int
) -> None:
    add_images(storage, model, clustered(300))
    VectorIndex.open(storage, model)
    with storage.database.write("damage") as connection:
        connection.execute(sa.update(snapshots).values(n_cells=wrong))
        reseal(connection, storage.database.dialect, Kind.SNAPSHOT, [model.id])
    with pytest.warns(IndexRebuilt):
        opened = VectorIndex.open(storage, model)
    assert_sound(opened, storage, folder, model)


@pytest.mark.usefixtures("cells_from_the_start")
def test_a_failure_while_cells_are_made_leaves_nothing_behind(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    add_images(storage, model, clustered(300))
    monkeypatch.setattr(cells, "arrange", full)
    with pytest.warns(IndexRebuilt, match="[Nn]o space left"):
        opened = VectorIndex.open(storage, model)
    assert list((folder / FOLDER_NAME).iterdir()) == []
    assert_sound(opened, storage, folder, model)


@pytest.mark.parametrize("cells_from", [1, 10**9], ids=["with cells", "without"])
def test_writing_holds_a_few_blocks_not_the_vectors(
    storage: SqliteStorage, folder: Path, model: ModelRow, monkeypatch: pytest.MonkeyPatch, cells_from: int
) -> None:
    monkeypatch.setattr(index, "CELLS_FROM", cells_from)
    monkeypatch.setattr(index, "_BLOCK_ROWS", 1024)
    monkeypatch.setattr(index.nearest, "_MAX_SCORES", 2**18)  # 64 MB, however many vectors there are
    dim, n = 512, 24_000
    wide = storage.photos.add_model(replace(model.info, dim=dim, fingerprint="f" * 64), make_default=False)
    for part in range(4):
        add_images(storage, wide, unit_vectors(n // 4, seed=part, dim=dim), of=f"{part}-")
    tracemalloc.start()
    try:
        opened = VectorIndex.rebuild(storage, wide)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(opened.vectors.rows) == n
    assert peak < 0.75 * 4 * n * dim  # the rows of a database query twice, samples, and no more


# --- files that were verified before ----------------------------------------------------------------------------------


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every file whose SHA-256 is calculated at an opening; large ones are those of a byte and more."""
    monkeypatch.setattr(vectors, "ALWAYS_HASHED", 1)
    read: list[str] = []
    file_digest = hashlib.file_digest

    def count(file: object, name: str) -> object:
        read.append(Path(file.name).name)  # type: ignore[attr-defined]
        return file_digest(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(vectors.hashlib, "file_digest", count)
    return read


def age(file: Path) -> None:
    """As if it had been written an hour ago."""
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns - 3600 * 10**9 - 1))


def settle(storage: SqliteStorage, folder: Path, model: ModelRow, readings: list[str]) -> Path:
    """A library with a snapshot that was verified and remembered; returns the file."""
    add_photos(storage, model, unit_vectors(30))
    VectorIndex.open(storage, model)
    file = only_snapshot(folder)
    age(file)
    VectorIndex.open(storage, model)
    readings.clear()
    return file


def test_a_large_file_is_read_through_once(
    storage: SqliteStorage, folder: Path, model: ModelRow, readings: list[str]
) -> None:
    settle(storage, folder, model, readings)
    for _ in range(3):
        opened = VectorIndex.open(storage, model)
    assert readings == []
    assert_searches_like_brute_force(opened, storage, model)


def test_a_small_file_is_read_through_every_time(
    storage: SqliteStorage, folder: Path, model: ModelRow, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "ALWAYS_HASHED", 10**6)
    file = settle(storage, folder, model, readings)
    for _ in range(3):
        VectorIndex.open(storage, model)
    assert readings == [file.name] * 3


def test_a_file_just_written_is_not_trusted_for_its_time_stamps(
    storage: SqliteStorage, folder: Path, model: ModelRow, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a change right after could be the same."""
    add_photos(storage, model, unit_vectors(30))
    monkeypatch.setattr(vectors.time, "time_ns", lambda: 0)  # which is before any time stamp
    for _ in range(3):
        VectorIndex.open(storage, model)
    assert len(readings) == 3  # the first of them when it was written
    recorded = storage.reads.snapshot(model.id)
    assert recorded is not None
    assert recorded.verified is None


def test_a_copied_library_is_verified_once(
    storage: SqliteStorage, folder: Path, model: ModelRow, readings: list[str], tmp_path: Path
) -> None:
    settle(storage, folder, model, readings)
    shutil.copytree(folder, tmp_path / "copy")
    age(only_snapshot(tmp_path / "copy"))
    with open_storage(tmp_path / "copy") as copy:
        for _ in range(3):
            VectorIndex.open(copy, model)
    assert len(readings) == 1


@pytest.mark.parametrize("keep_mtime", [False, True])
def test_a_changed_byte_in_a_verified_file_is_noticed(
    storage: SqliteStorage, folder: Path, model: ModelRow, readings: list[str], keep_mtime: bool
) -> None:
    file = settle(storage, folder, model, readings)
    stat = file.stat()
    flip(-IDS_SIZE - 100)(file)
    if keep_mtime:  # the time of the last change of the file itself cannot be set back
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.warns(IndexRebuilt, match="checksum"):
        opened = VectorIndex.open(storage, model)
    assert_searches_like_brute_force(opened, storage, model)


IDS_SIZE = 8 * 30


def test_a_touched_file_is_verified_once(
    storage: SqliteStorage, folder: Path, model: ModelRow, readings: list[str]
) -> None:
    file = settle(storage, folder, model, readings)
    os.utime(file, ns=(1, 1))
    for _ in range(3):
        VectorIndex.open(storage, model)
    assert len(readings) == 1


def test_who_may_not_write_verifies_every_time(
    storage: SqliteStorage, folder: Path, model: ModelRow, readings: list[str]
) -> None:
    file = settle(storage, folder, model, readings)
    os.utime(file, ns=(1, 1))
    recorded = storage.reads.snapshot(model.id)
    with open_storage(folder, read_only=True) as reader:
        for _ in range(3):
            assert_searches_like_brute_force(VectorIndex.open(reader, model), reader, model)
    assert len(readings) == 3
    assert storage.reads.snapshot(model.id) == recorded


def test_check_reads_what_was_verified_all_the_same(
    storage: SqliteStorage, folder: Path, model: ModelRow, readings: list[str]
) -> None:
    """A disk that decays changes no time stamps."""
    file = settle(storage, folder, model, readings)
    flip(-IDS_SIZE - 100)(file)
    age(file)
    with storage.database.write("pretend") as connection:
        connection.execute(sa.update(snapshots).values(verified=vectors.identity(file.stat())))
    VectorIndex.open(storage, model)  # nothing shows
    (problem,) = index.compare(storage, model, damaged=[]).problems
    assert "checksum" in problem


def test_what_has_rotted_since_goes_into_no_new_snapshot(
    storage: SqliteStorage, folder: Path, model: ModelRow, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checksum would be right from then on."""
    file = settle(storage, folder, model, readings)
    flip(-IDS_SIZE - 100)(file)
    age(file)
    with storage.database.write("pretend") as connection:
        connection.execute(sa.update(snapshots).values(verified=vectors.identity(file.stat())))
    monkeypatch.setattr(index, "MAX_TAIL", 5)
    add_photos(storage, model, unit_vectors(10, seed=1), folder="/later")
    with pytest.warns(IndexRebuilt, match="checksum"):
        opened = VectorIndex.open(storage, model)
    assert only_snapshot(folder) != file
    assert_searches_like_brute_force(opened, storage, model)
    assert index.compare(storage, model, damaged=[]) == ([], [], {})


# --- libraries of older versions --------------------------------------------------------------------------------------


# Of the first schema; those that came later are made by the migrations.
FIRST_TABLES = {
    "settings", "models", "roots", "folders", "images", "files", "embeddings", "prompts", "label_sets", "snapshots"
}  # fmt: skip


@pytest.mark.folder("a schema from before there were libraries on servers")
def test_an_upgraded_library_keeps_its_snapshot(storage: SqliteStorage, folder: Path, model: ModelRow) -> None:
    add_images(storage, model, unit_vectors(30))
    VectorIndex.open(storage, model)
    before = storage.reads.snapshot(model.id)
    with storage.database.write("go back") as connection:
        for column in ("n_cells", "verified"):
            connection.exec_driver_sql(f"ALTER TABLE snapshots DROP COLUMN {column}")
        for table in ("embeddings", "prompts", "files", "images"):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN checksum")
        for table in set(metadata.tables) - FIRST_TABLES | {"label_sets"}:
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql(
            "CREATE TABLE label_sets (id INTEGER PRIMARY KEY, name TEXT NOT NULL, body TEXT NOT NULL, saved_at TEXT)"
        )
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    with open_storage(folder, create=False) as upgraded:
        assert upgraded.reads.snapshot(model.id) == before
        assert_searches_like_brute_force(VectorIndex.open(upgraded, model), upgraded, model)
        assert upgraded.reads.snapshot(model.id) == before

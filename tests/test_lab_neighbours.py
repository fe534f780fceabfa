"""The graph of neighbours and the pairs, against every cosine calculated one by one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeEncoder
from tests.libraries import unit_vectors
from tests.scenes import photo
from zsindex.errors import NoVectors, TooManyPairs
from zsindex.index import snapshots
from zsindex.index.snapshots import neighbours_file
from zsindex.index.vectors import VectorTable
from zsindex.lab import neighbours
from zsindex.lab.neighbours import Graph
from zsindex.library import Library
from zsindex.records import FloatArray
from zsindex.storage.protocol import Storage

NONE = np.empty(0, dtype=np.int64)


def in_memory(rows: FloatArray, *, first_id: int = 1) -> VectorTable:
    return VectorTable(None, np.arange(first_id, first_id + len(rows)), rows, NONE)


def by_hand(rows: FloatArray) -> FloatArray:
    """All cosines, each image with itself left out: float64 (n, n)."""
    products = rows.astype(np.float64) @ rows.astype(np.float64).T
    np.fill_diagonal(products, -np.inf)
    return products


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", 16)


def check(graph: Graph, rows: FloatArray, k: int) -> None:
    products = by_hand(rows)
    k = min(k, len(rows) - 1)
    assert graph.neighbours.shape == graph.cosines.shape == (len(rows), k)
    np.testing.assert_allclose(graph.cosines, -np.sort(-products, axis=1)[:, :k], atol=2e-7)
    # The numbers belong to the cosines, and none comes twice.
    np.testing.assert_allclose(np.take_along_axis(products, graph.neighbours, 1), graph.cosines, atol=2e-7)
    assert all(len(set(row)) == k for row in graph.neighbours.tolist())


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 90), st.integers(1, 12), st.integers(0, 10), st.integers(0, 60))
def test_the_graph_is_exact(n: int, k: int, seed: int, n_known: int) -> None:
    rows = unit_vectors(n, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK_ROWS", 16)
        check(neighbours.build(in_memory(rows), np.arange(n), k), rows, k)
        # Extended from some of the images, in another order, with another k.
        some = np.random.default_rng(seed).permutation(n)[:n_known]
        known = neighbours.build(in_memory(rows), some, k + seed % 3)
        check(neighbours.build(in_memory(rows), np.arange(n), k, known=known), rows, k)


@pytest.mark.usefixtures("small_blocks")
def test_copies_are_each_others_neighbours_in_order() -> None:
    rows = unit_vectors(40)
    rows[[3, 17, 33]] = rows[8]
    graph = neighbours.build(in_memory(rows), np.arange(40), 4)
    assert graph.neighbours[8, :3].tolist() == [3, 17, 33]
    assert graph.neighbours[33, :3].tolist() == [3, 8, 17]


def test_extending_calculates_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", 16)
    rows = unit_vectors(100)
    known = neighbours.build(in_memory(rows), np.arange(96), 5)
    products = neighbours._products
    met: list[tuple[int, int]] = []

    def watched(vectors: VectorTable, order: object, n_known: int) -> object:
        for a, b, values in products(vectors, order, n_known):  # type: ignore[arg-type]
            met.append((a.start, b.start))
            yield a, b, values

    monkeypatch.setattr(neighbours, "_products", watched)
    check(neighbours.build(in_memory(rows), np.arange(100), 5, known=known), rows, 5)
    assert sorted(met) == [(start, 96) for start in range(0, 112, 16)]


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 80), st.integers(1, 6), st.integers(0, 10), st.floats(-0.5, 1))
def test_pairs_are_complete_although_the_graph_is_not(n: int, k: int, seed: int, threshold: float) -> None:
    rows = unit_vectors(n, seed=seed)
    rows[n // 2] = rows[0]
    limit = np.float32(threshold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK_ROWS", 16)
        vectors = in_memory(rows)
        graph = neighbours.build(vectors, np.arange(n), k)
        pairs = neighbours.pairs_above(vectors, np.arange(n), graph, threshold)
    expected = {
        (i, j)
        for i in range(n)
        for j in range(i + 1, n)
        if np.multiply(rows[i], rows[j], dtype=np.float64).sum().astype(np.float32) >= limit
    }
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == expected
    assert len(pairs) == len(expected)
    assert (np.diff(pairs.cosines) <= 0).all()


def test_too_many_pairs_are_refused_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MAX_PAIRS", 100)
    vectors = in_memory(np.repeat(unit_vectors(1), 50, axis=0))
    graph = neighbours.build(vectors, np.arange(50), 3)
    with pytest.raises(TooManyPairs, match="more than 100 pairs"):
        neighbours.pairs_above(vectors, np.arange(50), graph, 0.9)


# --- keeping ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def graph() -> Graph:
    return neighbours.build(in_memory(unit_vectors(30), first_id=7), np.arange(30), 4)


def test_a_graph_is_read_back_as_it_was_written(tmp_path: Path, graph: Graph) -> None:
    file = tmp_path / "index" / "x.neighbours"
    recorded: list[str] = []
    assert neighbours.save(graph, file, generation=3, record=recorded.append)
    read = neighbours.load(file, is_recorded=recorded.__contains__, generation=3)
    assert read is not None
    for name in ("ids", "neighbours", "cosines"):
        np.testing.assert_array_equal(getattr(read, name), getattr(graph, name))
    assert [f.name for f in file.parent.iterdir()] == ["x.neighbours"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "missing", "generation", "history"])
def test_a_graph_that_does_not_fit_is_not_used(tmp_path: Path, graph: Graph, damage: str) -> None:
    file = tmp_path / "x.neighbours"
    recorded: list[str] = []
    assert neighbours.save(graph, file, generation=3, record=recorded.append)
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[:60])
    elif damage == "flipped":
        content[-5] ^= 1
        file.write_bytes(content)
    elif damage == "foreign":
        file.write_bytes(b"")
    elif damage == "missing":
        file.unlink()
    if damage == "history":
        recorded.clear()
    generation = 4 if damage == "generation" else 3
    assert neighbours.load(file, is_recorded=recorded.__contains__, generation=generation) is None


def test_what_cannot_be_written_costs_only_time(tmp_path: Path, graph: Graph) -> None:
    (tmp_path / "index").write_bytes(b"a file in the way")
    assert not neighbours.save(graph, tmp_path / "index" / "x.neighbours", generation=0, record=pytest.fail)
    assert [f.name for f in tmp_path.iterdir()] == ["index"]


# --- the library ------------------------------------------------------------------------------------------------------


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    for n, colour in enumerate(["red", "blue", "white", "orange", "purple", "green"]):
        photo(folder / f"{n}.png", colour)
    return folder


def test_the_second_time_it_is_read(tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        first = library.neighbours.graph()
        file = neighbours_file(library.path, library.model.fingerprint)
        assert file.is_file()
        assert library.check().ok
        library.prune()
        assert file.is_file()
        monkeypatch.setattr(neighbours, "build", None)
        again = library.neighbours.graph()
        np.testing.assert_array_equal(again.neighbours, first.neighbours)
        np.testing.assert_array_equal(again.cosines, first.cosines)
        np.testing.assert_array_equal(again.ids, library.view().image_ids[np.argsort(library.view().rows)])


def test_added_and_removed_photos_are_followed(tmp_path: Path, album: Path) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        library.neighbours.graph()
        photo(album / "new.png", "brown")
        (album / "2.png").unlink()
        library.sync(album)
        for step in (lambda: None, library.prune):
            step()
            view = library.view()
            check(library.neighbours.graph(), view.vectors.take(view.unique[0]), 10)


def test_a_part_of_the_library_does_not_replace_what_is_kept(tmp_path: Path, album: Path) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        library.neighbours.graph()
        kept = neighbours_file(library.path, library.model.fingerprint).read_bytes()
        some = [album / "1.png", album / "3.png", album / "4.png"]
        graph = library.neighbours.graph(paths=some)
        check(graph, library.embed_images(some)[np.argsort(library.view(some).rows)], 10)
        assert neighbours_file(library.path, library.model.fingerprint).read_bytes() == kept
    with Library.open(tmp_path / "library", encoder=FakeEncoder(), read_only=True) as library:
        assert len(library.neighbours.graph()) == 6


@pytest.mark.parametrize("how", ["killed", "overtaken"])
def test_a_graph_whose_maker_is_killed_or_overtaken_is_no_damage(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    class Killed(BaseException):
        pass

    really = snapshots.record_graph

    def record(storage: Storage, model_id: int, sha256: str) -> None:
        monkeypatch.setattr(snapshots, "record_graph", really)
        really(storage, model_id, sha256)
        if how == "killed":
            raise Killed
        with Library.open(library.path, encoder=FakeEncoder()) as other:
            (album / "0.png").unlink()
            other.sync(album)
            other.neighbours.graph()

    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        library.neighbours.graph()
        photo(album / "new.png", "brown")
        library.sync(album)
        monkeypatch.setattr(snapshots, "record_graph", record)
        with suppress(Killed):
            library.neighbours.graph()
        assert not any("damaged" in one for one in library.check().problems)
        view = library.view()
        check(library.neighbours.graph(), view.vectors.take(view.unique[0]), 10)


def test_the_graph_of_a_model_that_goes_is_a_stray(tmp_path: Path, album: Path) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
    with Library.open(tmp_path / "library", encoder=FakeEncoder("other")) as library:
        library.sync(album)
        library.neighbours.graph()
        file = neighbours_file(library.path, library.model.fingerprint)
        assert file.is_file()
        library.prune(models=["other"])
        assert not file.exists()
        assert library.check().ok


def test_an_empty_library_has_no_graph(tmp_path: Path) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library, pytest.raises(NoVectors):
        library.neighbours.graph()

"""Searches that the server of a library does, with and without an index of nearest neighbours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient
from zsindex.cli import cli

from tests.fakes import FakeEncoder
from tests.libraries import add_photos, fake_info, new_library, open_storage, photo, unit_vectors
from tests.storage import postgres_server
from tests.storage.postgres_server import Server
from tests.waiting import WAIT_S
from zsindex.errors import LibraryBusy, LibraryReadOnly, NoSearchIndex, NoVectors, ZsindexError
from zsindex.index import on_server
from zsindex.index.on_server import Build, NotIndexed, ServerIndex
from zsindex.index.snapshots import VectorIndex
from zsindex.library import Library
from zsindex.records import FloatArray
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import ModelRow, NearestRow
from zsindex.upkeep.search_index import status_of
from zsindex.web import create_app

pytestmark = pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))

if postgres_server.missing() is None:
    from zsindex.storage.postgres import database as databases
    from zsindex.storage.postgres import nearest as nearest_storage
    from zsindex.storage.postgres.storage import PostgresStorage

DIM = 32
N = 2500


def has_pgvector(server: Server) -> bool:
    return bool(server.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"))


@pytest.fixture(scope="module")
def server() -> Server:
    return postgres_server.running()


@pytest.fixture(scope="module")
def pgvector(server: Server) -> Server:
    if not has_pgvector(server):
        pytest.skip("this server has no pgvector")
    return server


def clustered(n: int, *, seed: int = 0, dim: int = DIM) -> FloatArray:
    """Unit vectors around some centres, as photos of a few kinds have them; a few are twice there."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, dim))
    rows = centres[random.integers(0, len(centres), n)] + 0.7 * random.standard_normal((n, dim))
    rows[n // 2 : n // 2 + 5] = rows[:5]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def add_wide_model(storage: Storage) -> ModelRow:
    return storage.photos.add_model(replace(fake_info(), dim=DIM), make_default=False)


def build(storage: Storage, model: ModelRow, **how: object) -> NearestRow:
    made = on_server.build(
        storage,
        model,
        Build(**how),  # type: ignore[arg-type]
        progress=lambda stage, done, total: None,
        should_stop=lambda: False,
    )
    assert made is not None
    return made


def found_by(index: ServerIndex | VectorIndex, queries: FloatArray, **how: object) -> list[list[tuple[int, bytes]]]:
    """Ids with the very bits of their scores."""
    ids, scores = index.search(queries, 10, **how)  # type: ignore[arg-type]
    return [
        [(image_id, score.tobytes()) for image_id, score in zip(of_query, row, strict=True)]
        for of_query, row in zip(ids.tolist(), scores, strict=True)
    ]


def shared(one: Sequence[Sequence[object]], other: Sequence[Sequence[object]]) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(one, other, strict=True)]))


class Twins:
    """The same vectors in a folder and, with an index, on the server."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.url = server.new_library()
        self.storage = PostgresStorage.open(self.url, folder=folder / "derived")
        self.vectors = clustered(N)
        self.model = add_wide_model(self.storage)
        add_photos(self.storage, self.model, self.vectors)
        self.row = build(self.storage, self.model)
        self.server_index = ServerIndex.open(self.storage, self.model)
        new_library(folder / "library")
        with open_storage(folder / "library") as there:
            model = add_wide_model(there)
            add_photos(there, model, self.vectors)
            self.folder_index = VectorIndex.open(there, model)


@pytest.fixture(scope="module")
def twins(pgvector: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    made = Twins(pgvector, tmp_path_factory.mktemp("twins"))
    yield made
    made.storage.close()
    pgvector.drop(made.url)


@pytest.fixture(autouse=True)
def quickly_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the index of the twins."""
    monkeypatch.setattr(on_server, "N_MEASURED", 40)


@pytest.fixture
def queries() -> FloatArray:
    return clustered(60, seed=1)


# --- what is found ----------------------------------------------------------------------------------------------------


def test_what_the_index_finds_has_the_scores_of_the_folder(twins: Twins, queries: FloatArray) -> None:
    true, found = found_by(twins.folder_index, queries), found_by(twins.server_index, queries)
    assert shared(true, found) >= 0.98
    ids, scores = twins.folder_index.search(queries, N)
    for n, of_query in enumerate(found):
        all_scores = dict(zip(ids[n].tolist(), scores[n], strict=True))
        assert [all_scores[image_id].tobytes() for image_id, _ in of_query] == [score for _, score in of_query]
        assert of_query == sorted(of_query, key=lambda hit: (-all_scores[hit[0]], hit[0]))


def test_how_well_it_finds_is_measured(twins: Twins) -> None:
    row = twins.row
    assert (row.n_vectors, row.n_measured, row.m, row.ef_construction) == (N, N, 16, 64)
    assert row.n_questions >= 2 * 250, "photos, and sums of two; there are no prompts"
    assert min(row.recall) >= row.target == 0.99
    # Against exact answers to other questions than those that it was measured with.
    others = twins.vectors[1::10] + twins.vectors[7 : 7 + len(twins.vectors[1::10])]
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    assert shared(found_by(twins.folder_index, others), found_by(twins.server_index, others)) >= 0.98


def test_a_search_that_is_less_thorough_finds_less_and_more_is_asked_for(twins: Twins, queries: FloatArray) -> None:
    """So that a measurement which says 0.99 of anything would be noticed."""
    there = twins.storage.nearest
    loose = there.begin(twins.model, m=2, ef_construction=4)
    with there.rows(twins.model) as parts:
        for seqs, ids, vectors in parts:
            there.add(loose, seqs, ids, vectors)
            loose = replace(loose, watermark=int(seqs[-1]), n_vectors=loose.n_vectors + len(seqs))
    assert there.make_graph(loose, memory_mb=64, report=lambda share: None, should_stop=lambda: False)
    measured = on_server._measure(there, twins.model, loose, 0.999, lambda *_: None, lambda: False)
    assert measured is not None
    assert measured.ef_search > twins.row.ef_search
    there.save(twins.model.id, None, being_made=True)
    there.remove_strays()


@pytest.mark.parametrize("step", [1000, 100, 20])
def test_among_few_photos_nothing_is_lost(twins: Twins, queries: FloatArray, step: int) -> None:
    """0.1 %, 1 % and 5 % of all, which lie anywhere."""
    selected = np.arange(1, N + 1, step)
    true, found = (found_by(index, queries, image_ids=selected) for index in (twins.folder_index, twins.server_index))
    assert shared(true, found) >= (1 if step > 50 else 0.98)
    if step > 50:
        assert true == found


def test_among_photos_that_lie_far_from_the_query_nothing_is_lost(twins: Twins) -> None:
    """The scan gives up before it comes to any of them."""
    query = twins.vectors[:1]
    far = np.argsort(twins.vectors @ query[0])[: N // 4] + 1
    true, found = (found_by(index, query, image_ids=far) for index in (twins.folder_index, twins.server_index))
    assert true == found


def test_exact_searches_are_the_folders_to_the_bit(twins: Twins, queries: FloatArray) -> None:
    own = np.concatenate([queries, twins.vectors[:8]])  # of which some are there twice
    for how in ({}, {"image_ids": np.arange(1, N, 2)}):
        true = found_by(twins.folder_index, own, exact=True, **how)
        assert found_by(twins.server_index, own, exact=True, **how) == true
    for k in (100, 101, 1500, N, N + 1):
        ids, scores = twins.server_index.search(own[-2:], k, exact=True)
        expected, exact = twins.folder_index.search(own[-2:], k, exact=True)
        assert ids.tolist() == expected.tolist()
        assert scores.tobytes() == exact.tobytes()


def test_half_precision_never_hides_a_photo() -> None:
    """The bound on what halves may do to a similarity, against what they do."""
    for dim in (8, 512, 4000):
        vectors, queries = unit_vectors(400, seed=1, dim=dim), unit_vectors(40, seed=2, dim=dim)
        vectors[:40] = queries  # where the differences add up
        halves = (queries.astype(np.float16).astype(np.float32)) @ vectors.astype(np.float16).astype(np.float32).T
        differ = np.abs(halves - queries.astype(np.float64) @ vectors.astype(np.float64).T).max(axis=1)
        slack = np.array([on_server._slack(query) for query in queries])
        assert (differ < slack).all()
        assert (slack < 0.005).all()


def test_pages_come_one_after_the_other(twins: Twins, queries: FloatArray) -> None:
    ids, scores = twins.folder_index.search(queries[:3], N)
    for n, query in enumerate(queries[:3]):
        for at in (0, 7, 500, N - 5):
            place = (float(scores[n, at]), int(ids[n, at]))
            found, found_scores = twins.server_index.after(query, 10, place, through=twins.server_index.watermark)
            assert found.tolist() == ids[n, at + 1 : at + 11].tolist()
            assert found_scores.tobytes() == scores[n, at + 1 : at + 11].tobytes()


# --- what comes and goes ----------------------------------------------------------------------------------------------


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    made = server.new_library()
    yield made
    server.drop(made)


@pytest.fixture
def storage(url: str, tmp_path: Path) -> Iterator[PostgresStorage]:
    opened = PostgresStorage.open(url, folder=tmp_path / "derived")
    yield opened
    opened.close()


@pytest.fixture
def model(storage: PostgresStorage) -> ModelRow:
    return add_wide_model(storage)


def as_all_compared(storage: PostgresStorage, model: ModelRow, queries: FloatArray) -> None:
    """What the index finds, by default and exactly, is what comparing all finds."""
    index = ServerIndex.open(storage, model)
    true = found_by(VectorIndex.open(storage, model, may_save=lambda: False), queries)
    assert found_by(index, queries, exact=True) == true
    assert shared(true, found_by(index, queries)) >= 0.98


def test_new_photos_are_found_and_photos_that_have_gone_are_not(
    pgvector: Server, storage: PostgresStorage, model: ModelRow, queries: FloatArray
) -> None:
    add_photos(storage, model, clustered(600), folder="/old")
    row = build(storage, model)
    add_photos(storage, model, queries[:1], folder="/new")
    index = ServerIndex.open(storage, model)
    assert index.search(queries[:1], 1)[0].tolist() == [[601]], "what came after the index is compared beside it"
    assert ServerIndex.open(storage, model, index) is index
    add_photos(storage, model, queries[1:2], folder="/newer")
    assert ServerIndex.open(storage, model, index).search(queries[1:2], 1)[0].tolist() == [[602]]

    near = index.search(queries[:1], 300)[0][0].tolist()
    gone = [f"/old/{image_id - 1:05d}.png" for image_id in near if image_id <= 600]
    storage.photos.mark_missing("/old", [os.path.basename(path) for path in gone[:250]])
    storage.photos.prune()
    as_all_compared(storage, model, queries)
    left = {f"/old/{i - 1:05d}.png" for i in ServerIndex.open(storage, model).search(queries[:1], 99)[0][0]}
    assert not left & {*gone[:250]}

    added = build(storage, model)
    assert (added.table, added.n_vectors, added.watermark) == (row.table, 352, 602)
    as_all_compared(storage, model, queries)
    add_photos(storage, model, clustered(300, seed=5), folder="/many")
    anew = build(storage, model)
    assert anew.table != row.table, "so many are not added one by one"
    assert storage.nearest.size_bytes(row) is None
    assert (anew.n_vectors, anew.watermark) == (652, 902)
    as_all_compared(storage, model, queries)


def test_a_library_without_an_index_is_searched_all_the_same(
    storage: PostgresStorage, model: ModelRow, queries: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_photos(storage, model, clustered(300))
    as_all_compared(storage, model, queries)
    monkeypatch.setattr(on_server, "MAX_REPLAY", 100)
    with pytest.warns(NotIndexed, match=r"each search reads 300 vectors.*zsindex index build --search"):
        index = ServerIndex.open(storage, model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ServerIndex.open(storage, model, index)._tail is None, "told once"
    true = found_by(VectorIndex.open(storage, model, may_save=lambda: False), queries)
    assert found_by(index, queries) == true
    few = np.arange(1, 300, 7)
    assert found_by(index, queries, image_ids=few) == found_by(
        VectorIndex.open(storage, model, may_save=lambda: False), queries, image_ids=few
    )


def test_an_index_that_is_gone_costs_only_time(
    pgvector: Server, storage: PostgresStorage, url: str, model: ModelRow, queries: FloatArray
) -> None:
    add_photos(storage, model, clustered(300))
    row = build(storage, model)
    index = ServerIndex.open(storage, model)
    pgvector.execute(f"DROP INDEX zsindex_search.{row.table}_hnsw", url.rpartition("/")[2])
    as_all_compared(storage, model, queries)
    pgvector.execute("DROP SCHEMA zsindex_search CASCADE", url.rpartition("/")[2])
    true = found_by(VectorIndex.open(storage, model, may_save=lambda: False), queries)
    assert found_by(index, queries) == true
    assert build(storage, model).table != row.table
    as_all_compared(storage, model, queries)
    pgvector.execute("DROP EXTENSION vector CASCADE", url.rpartition("/")[2])
    as_all_compared(storage, model, queries)
    assert build(storage, model).n_vectors == 300
    as_all_compared(storage, model, queries)


def test_a_backup_that_is_put_back_knows_nothing_of_what_came_after_it(
    pgvector: Server, storage: PostgresStorage, url: str, model: ModelRow, queries: FloatArray
) -> None:
    """The numbers that were given out since then are given to other photos."""
    add_photos(storage, model, clustered(300))
    row = build(storage, model)
    # Rows of the time after the backup, which the library that was put back has never had.
    storage.nearest.add(row, np.arange(301, 321), np.arange(301, 321), clustered(20, seed=7))
    add_photos(storage, model, clustered(20, seed=8), folder="/since")
    as_all_compared(storage, model, queries)
    assert build(storage, model).n_vectors == 320
    as_all_compared(storage, model, queries)


# --- building ---------------------------------------------------------------------------------------------------------


def test_a_build_that_is_stopped_goes_on(
    pgvector: Server,
    storage: PostgresStorage,
    url: str,
    model: ModelRow,
    queries: FloatArray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import psycopg

    monkeypatch.setattr(nearest_storage, "_PART_ROWS", 100)
    monkeypatch.setattr(nearest_storage, "_POLL_S", 0.001)
    add_photos(storage, model, clustered(1500))
    told: list[tuple[str, int]] = []

    def run(until: str, at: int) -> NearestRow | None:
        told.clear()
        return on_server.build(
            storage,
            model,
            Build(ef_construction=1000),
            progress=lambda stage, done, total: told.append((stage, done)),
            should_stop=lambda: bool(told) and told[-1][0] == until and told[-1][1] >= at,
        )

    assert run("copy", 300) is None
    assert storage.nearest.row(model.id) is None
    assert told[-1] == ("copy", 300)
    as_all_compared(storage, model, queries)

    def held(nearest: object, row: NearestRow, **options: Any) -> bool:
        """As the server makes a large graph: it is not at its end before somebody stops it."""
        with psycopg.connect(url) as other:
            other.execute(f"LOCK TABLE {nearest_storage.SEARCH_SCHEMA}.{row.table} IN ROW EXCLUSIVE MODE".encode())
            return make_graph(nearest, row, **options)

    make_graph: Callable[..., bool] = nearest_storage.PostgresNearest.make_graph
    with monkeypatch.context() as patch:
        patch.setattr(nearest_storage.PostgresNearest, "make_graph", held)
        assert run("graph", 0) is None
    assert told[:2] == [("copy", 300), ("copy", 400)], "it went on"
    assert told[-1][0] == "graph"
    assert run("measure", 0) is None
    assert told[0] == ("copy", 1500)
    made = run("never", 0)
    assert made is not None
    assert (made.n_vectors, made.watermark) == (1500, 1500)
    assert storage.nearest.row(model.id, being_made=True) is None
    as_all_compared(storage, model, queries)
    assert run("never", 0) == made, "there is nothing to do"
    assert told == []


def test_two_do_not_build_at_once(pgvector: Server, storage: PostgresStorage, url: str, model: ModelRow) -> None:
    add_photos(storage, model, clustered(10))
    other = PostgresStorage.open(url, folder=storage.folder)
    with other.nearest.lock.hold("build the search index"), pytest.raises(LibraryBusy, match="build the search index"):
        build(storage, model)
    other.close()


def test_what_the_server_lacks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(postgres_server.VARIABLE, "15")
    if postgres_server.missing() is not None:
        pytest.skip("there is no PostgreSQL 15")
    own = Server()
    try:
        if has_pgvector(own):
            pytest.skip("this one has pgvector")
        with Library.open(own.new_library(), encoder=FakeEncoder(), search="server") as library:
            storage = library.session.storage
            with pytest.raises(NoVectors):
                library.search("red")
            model = storage.photos.add_model(fake_info(), make_default=True)
            add_photos(storage, model, unit_vectors(30))
            with pytest.raises(
                NoSearchIndex, match=r"PostgreSQL 15, has no pgvector\. Install it.*postgresql-15-pgvec"
            ):
                library.search_index.build()
            assert [status.there for status in library.search_index.status()] == [False]
            assert not library.search_index.drop()
            assert len(library.search("red", top=5)) == 5
            assert library.search("red") == library.search("red", exact=True)
    finally:
        own.remove()


def as_role(server: Server, url: str, *grants: str) -> str:
    """The URL for a new role with some rights."""
    role, name = f"role_{time.monotonic_ns()}", url.rpartition("/")[2]
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'word'")
    for grant in ("USAGE ON SCHEMA zsindex", "SELECT ON ALL TABLES IN SCHEMA zsindex", *grants):
        server.execute(f"GRANT {grant} TO {role}", name)
    return url.replace(f"postgres:{server.password}@", f"{role}:word@")


WRITE = ("INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA zsindex",)


def test_rights_that_are_missing_are_told(
    pgvector: Server, storage: PostgresStorage, url: str, model: ModelRow, queries: FloatArray, tmp_path: Path
) -> None:
    name = url.rpartition("/")[2]
    add_photos(storage, model, clustered(300))
    with closing(PostgresStorage.open(as_role(pgvector, url), folder=tmp_path)) as reader:
        with pytest.raises(LibraryReadOnly, match="cannot build a search index"):
            build(reader, model)
        with closing(PostgresStorage.open(as_role(pgvector, url, *WRITE), folder=tmp_path)) as writer:
            with pytest.raises(NoSearchIndex, match="As a superuser, in this database: CREATE EXTENSION vector"):
                build(writer, model)
            pgvector.execute("CREATE EXTENSION vector", name)
            with pytest.raises(NoSearchIndex, match=r"As a superuser.*CREATE SCHEMA zsindex_search AUTHORIZATION"):
                build(writer, model)
            build(storage, model)
            with pytest.raises(NoSearchIndex, match="GRANT USAGE, CREATE ON SCHEMA zsindex_search TO"):
                build(writer, model)
            as_all_compared(writer, model, queries)
        true = found_by(VectorIndex.open(storage, model, may_save=lambda: False), queries)
        assert shared(true, found_by(ServerIndex.open(reader, model), queries)) >= 0.98, "who may read, may search"
    with closing(PostgresStorage.open(as_role(pgvector, url), folder=tmp_path)) as later:
        with pytest.raises(NoSearchIndex, match=r"permission denied.*run zsindex index build --search again"):
            found_by(ServerIndex.open(later, model), queries)
        assert status_of(later, model).vectors == 300, "that can be asked"
        build(storage, model)
        assert shared(true, found_by(ServerIndex.open(later, model), queries)) >= 0.98


def test_an_old_pgvector_is_told(pgvector: Server, storage: PostgresStorage, url: str, model: ModelRow) -> None:
    name = url.rpartition("/")[2]
    pgvector.execute("CREATE SCHEMA elsewhere; CREATE EXTENSION vector SCHEMA elsewhere", name)
    add_photos(storage, model, clustered(200))
    build(storage, model)
    as_all_compared(storage, model, clustered(20, seed=2))
    pgvector.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'", name)
    with pytest.raises(
        NoSearchIndex, match=r"pgvector 0\.7\.4 is too old, 0\.8 is needed.*ALTER EXTENSION vector UPDATE"
    ):
        build(storage, model)


# --- how much is asked ------------------------------------------------------------------------------------------------


def searches(storage: PostgresStorage, model: ModelRow) -> dict[str, Callable[[], object]]:
    """Searches of several kinds."""
    query, last = clustered(1, seed=4), ServerIndex.open(storage, model)
    return {
        "search": lambda: ServerIndex.open(storage, model).search(query, 20),
        "again": lambda: ServerIndex.open(storage, model, last).search(query, 20),
        "exact": lambda: ServerIndex.open(storage, model).search(query, 20, exact=True),
        "few": lambda: ServerIndex.open(storage, model).search(query, 5, image_ids=np.arange(1, 7)),
    }


def test_what_a_search_sends_does_not_grow_with_the_library(pgvector: Server, tmp_path: Path) -> None:
    counted: dict[str, list[int]] = {"search": [], "again": [], "exact": [], "few": []}
    for n in (400, 1200):
        url = pgvector.new_library()
        with closing(PostgresStorage.open(url, folder=tmp_path / str(n))) as storage:
            model = add_wide_model(storage)
            add_photos(storage, model, clustered(n))
            build(storage, model)
            add_photos(storage, model, clustered(20, seed=3), folder="/new")
            for name, search in searches(storage, model).items():
                with pgvector.counting(url) as sent:
                    databases._close(storage.database._idle, os.getpid())
                    search()
                counted[name].append(len([line for line in sent if not line.startswith("SET ")]))
        pgvector.drop(url)
    assert {name for name, found in counted.items() if len(set(found)) > 1} == set(), counted
    assert counted["again"][0] < counted["search"][0] <= 40, counted


# --- as people use it -------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(pgvector: Server, url: str) -> str:
    """The URL of a library of 250 photos in two folders, with copies, and an index."""
    with Library.open(url, encoder=FakeEncoder()) as library:
        storage = library.session.storage
        model = storage.photos.add_model(fake_info(), make_default=True)
        add_photos(storage, model, unit_vectors(240), folder="/a")
        copies = [photo(f"/b/{i}.png", content=f"/a/{i:05d}.png") for i in range(10)]
        storage.photos.save(copies, model.id)
        add_photos(storage, model, unit_vectors(10, seed=9), folder="/c")
    return url


def test_commands_search_on_the_server_and_keep_nothing(
    filled: str, pgvector: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("zsindex.session.model.load_encoder", lambda spec, **_: FakeEncoder(spec.name))
    said: list[str] = []

    def run(*arguments: str, place: str = "server", code: int = 0) -> Result:
        result = CliRunner().invoke(
            cli,
            [*arguments, "--library", filled],
            env={"COLUMNS": "250", "ZSINDEX_SEARCH": place, "ZSINDEX_CACHE": str(tmp_path / place)},
        )
        said.append(result.output)
        assert result.exit_code == code, result.output
        return result

    assert "search index  none: zsindex index build --search" in run("index", "status").stdout
    run("index", "build", code=2)
    run("index", "build", "--search", "--m", "101", code=2)
    built = run("index", "build", "--search").stdout
    assert built.startswith("250 vectors, ")
    assert "recall @10 1.000 (ef_search 40)" in built
    status = json.loads(run("index", "status", "--json").stdout)
    assert [(one["vectors"], one["after"], one["there"], one["m"]) for one in status] == [(250, 0, True, 16)]
    assert status[0]["recall"] == {"10": 1.0, "20": 1.0, "50": 1.0, "100": 1.0}
    chosen = json.loads(run("index", "build", "--search", "--m", "40", "--recall", "0.9", "--json").stdout)
    assert [chosen[name] for name in ("m", "ef_construction", "target")] == [40, 80, 0.9]
    status = json.loads(run("index", "status", "--json").stdout)
    again = json.loads(run("index", "build", "--search", "--json").stdout)
    assert [again] == [chosen] == status, "what was chosen once stays"
    assert "250 vectors" in run("library", "info").stdout
    assert json.loads(run("library", "info", "--json").stdout)["search_indexes"] == status
    wanted = [
        ("search", "red", "--format", "json"),
        ("search", "red", "--plus", "blue", "--minus", "text:green", "--top", "7", "--format", "json"),
        ("search", "red", "--exact", "--top", "300", "--format", "json"),
        ("search", "red", "--path", "/b", "--format", "json"),
        ("search", "red", "--path", "/a", "--path", "/c", "--format", "json"),
        ("similar", "/b/3.png", "--format", "json"),
    ]
    for arguments in wanted:
        assert run(*arguments).stdout == run(*arguments, place="here").stdout, arguments
    assert json.loads(run(*wanted[5]).stdout)[0] == {"path": "/a/00003.png", "score": 1.0, "copies": []}
    assert list((tmp_path / "here").rglob("*.faiss")), "this machine keeps all vectors, and finds the same"
    assert list((tmp_path / "server").rglob("index/*")) == [], "this one keeps none"
    run("check")
    run("prune", "--yes")
    assert list((tmp_path / "server").rglob("index/*")) == []
    assert run("search", "red", place="nowhere", code=1).stderr.startswith("Error: ZSINDEX_SEARCH must be here or")
    assert run("index", "drop", "--search").stdout == "dropped\n"
    assert run("index", "drop", "--search").stdout == "there is none\n"
    assert run("status", "--json")
    assert not any(pgvector.password in text for text in said)


def test_a_folder_is_searched_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZsindexError, match="search must be here or server, not 'nowhere'"):
        Library.open(tmp_path / "library", encoder=FakeEncoder(), search="nowhere")
    with Library.open(tmp_path / "library", encoder=FakeEncoder(), search="server") as library:
        storage = library.session.storage
        add_photos(storage, storage.photos.add_model(fake_info(), make_default=True), unit_vectors(30))
        assert len(library.search("red", top=5)) == 5
        with pytest.raises(NoSearchIndex, match="one in a folder is searched on this machine"):
            library.search_index.build()
        assert library.search_index.status() == []


def test_a_service_pages_through_what_the_server_finds(filled: str, tmp_path: Path) -> None:
    with (
        Library.open(filled, encoder=FakeEncoder(), search="server") as library,
        Library.open(filled, encoder=FakeEncoder(), search="here") as other,
    ):
        library.search_index.build()
        with (
            TestClient(create_app(library), base_url="http://127.0.0.1") as client,
            TestClient(create_app(other), base_url="http://127.0.0.1") as here,
        ):
            for path in ("/v1/search?q=red&top=60", "/v1/search?q=red&top=60&exact=true", "/v1/images/4/similar?top=90",
                         "/v1/search?q=blue&top=9&path=/b", "/v1/search?q=red&top=60&not=path:/c"):  # fmt: skip
                pages = [[one.get(path).json()] for one in (client, here)]
                for found, one in zip(pages, (client, here), strict=True):
                    assert "next" in found[-1], found[-1]
                    while found[-1]["next"]:
                        found.append(one.get(path.partition("?")[0], params={"cursor": found[-1]["next"]}).json())
                hits = [[page["hits"] for page in found] for found in pages]
                assert hits[0] == hits[1], path
                n = 240 if "not=" in path else 10 if "/b" in path else 249 if "similar" in path else 250
                assert sum(map(len, hits[0])) == n
            assert client.get("/v1/images/9999/similar").status_code == 404
        assert library.session.index.last_view is None


def test_ctrl_c_while_it_is_built_keeps_what_was_copied(filled: str, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom tests.fakes import FakeEncoder\nfrom zsindex.session import model\n"
        "from zsindex.storage.postgres import nearest\nfrom zsindex.cli import cli\n"
        "model.load_encoder = lambda spec, **_: FakeEncoder(spec.name)\n"
        "add = nearest.PostgresNearest.add\nnearest._PART_ROWS = 50\n"
        "def slow(*a):\n    add(*a)\n    print('added', flush=True)\n    sys.stdin.readline()\n"
        "nearest.PostgresNearest.add = slow\ncli()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "index", "build", "--search", "--library", filled],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "ZSINDEX_CACHE": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "added\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate("\n", timeout=WAIT_S)
    assert process.returncode == 130, said
    assert "what was copied is kept. Run the same command again" in said
    with Library.open(filled, encoder=FakeEncoder(), search="server") as library:
        [status] = library.search_index.status()
        assert (status.there, status.building) == (False, 50)
        first: list[int] = []
        built = library.search_index.build(progress=lambda event: first.append(event.done))
        assert built is not None
        assert (first[0], built.vectors) == (50, 250)

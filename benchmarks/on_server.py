"""What a library on a PostgreSQL server costs: its bookkeeping as it grows, several that store at once, and searches.

    python benchmarks/on_server.py bookkeeping [--sizes 100000,1000000] [--dim 16]
    python benchmarks/on_server.py encoders [--photos 100000] [--dim 512]
    python benchmarks/on_server.py search [--vectors 100000] [--dim 512] [--memory-mb 1000]

Each starts a throw-away server, as the tests do, with its usual precautions switched on (fsync, full pages), and
removes it in the end. Photos and vectors are made up. `encoders` compares with a folder on the same disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthetic import model_info, unit_vectors

from tests.storage.postgres_server import Server
from zsindex.index.on_server import Build, ServerIndex, build
from zsindex.index.snapshots import VectorIndex
from zsindex.records import Candidate, FloatArray
from zsindex.session import storages
from zsindex.storage.claims import Claim
from zsindex.storage.postgres import database as databases
from zsindex.storage.postgres.storage import PostgresStorage
from zsindex.storage.rows import FileOutcome, ImageRecord, ModelRow, listing_text

PER_FOLDER = 1_000
FOLDERS_AT_ONCE = 5  # as a sync compares them
BATCH = 32
STORED_AT_ONCE = 4_000
ROUNDS = 3


@contextmanager
def server() -> Iterator[Server]:
    made = Server(fsync="on", full_page_writes="on", shared_buffers="1GB", max_wal_size="8GB")
    try:
        yield made
    finally:
        made.remove()


def candidates(folder: int) -> list[Candidate]:
    """The files of a folder, as a walk over the disk finds them."""
    return [Candidate(f"/photos/{folder:05d}", f"{i:04d}.jpg", 1_000 + i, 10**18 + i) for i in range(PER_FOLDER)]


def outcomes(folder: int, dim: int) -> list[FileOutcome]:
    """What a sync would store of these files."""
    vectors = unit_vectors(PER_FOLDER, dim, seed=folder)
    return [
        FileOutcome(file, ImageRecord(hashlib.sha256(f"{folder} {i}".encode()).digest(), 64, 64, "JPEG", vectors[i]))
        for i, file in enumerate(candidates(folder))
    ]


def seconds(ask: Callable[[], object]) -> float:
    """The median of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


# --- bookkeeping ------------------------------------------------------------------------------------------------------


def sync_of_no_change(storage: PostgresStorage, model: ModelRow, n_folders: int) -> float:
    """Seconds of what a sync asks the database when nothing has changed; the walk over the disk is made up, and does
    not count.
    """
    taken = -time.perf_counter()
    all_have_vectors = storage.photos.every_image_has_vector(model.id)
    taken += time.perf_counter()
    for start in range(0, n_folders, FOLDERS_AT_ONCE):
        numbers = range(start, min(start + FOLDERS_AT_ONCE, n_folders))
        walked = {f"/photos/{number:05d}": listing_text(candidates(number)) for number in numbers}
        taken -= time.perf_counter()
        seen = storage.photos.last_seen(list(walked), model.id, all_have_vectors=all_have_vectors)
        taken += time.perf_counter()
        assert seen == walked
    return taken


def bookkeeping(sizes: Sequence[int], dim: int) -> None:
    """Times at each size of one library that grows."""
    with server() as own, tempfile.TemporaryDirectory() as folder:
        rows: dict[int, dict[str, float]] = {}
        url = own.new_library()
        with closing(PostgresStorage.open(url, folder=Path(folder))) as storage:
            model = storage.photos.add_model(model_info(dim), make_default=True)
            stored = 0
            for size in sizes:
                began = time.perf_counter()
                for number in range(stored // PER_FOLDER, size // PER_FOLDER):
                    storage.photos.save(outcomes(number, dim), model.id)
                storage.photos.seal_folders()
                rate = (size - stored) / (time.perf_counter() - began)
                own.execute("VACUUM ANALYZE", url.rpartition("/")[2])
                rows[size] = {"stored, per s": rate, **asked(storage, model, own, url, size, dim)}
                stored = size
                print(json.dumps({"photos": size, **{k: round(v, 4) for k, v in rows[size].items()}}), flush=True)
        table(rows)


def asked(storage: PostgresStorage, model: ModelRow, own: Server, url: str, size: int, dim: int) -> dict[str, float]:
    """How long it takes to ask what syncs, searches and replicas ask."""
    last = storage.nearest.last(model.id)
    again = outcomes(3, dim)[:BATCH]
    storage.photos.save(again, model.id)  # SQLAlchemy has asked what it asks once
    with own.counting(url) as sent:
        databases._close(storage.database._idle, os.getpid())
        storage.photos.save(again, model.id)
    return {
        "sync of no change, s": statistics.median(
            sync_of_no_change(storage, model, size // PER_FOLDER) for _ in range(ROUNDS)
        ),
        "list all, s": seconds(storage.reads.files),
        "list one folder of 1,000, ms": 1e3 * seconds(lambda: storage.reads.files(["/photos/00007"])),
        "files of 20 hits, ms": 1e3 * seconds(lambda: storage.reads.files_of(range(1, 21))),
        "anything new?, ms": 1e3 * seconds(lambda: storage.reads.count_after(model.id, last)),
        "the last 1,000, ms": 1e3 * seconds(lambda: storage.reads.embeddings_after(model, last - 1_000)),
        "all ids, s": seconds(lambda: storage.reads.image_ids_of(model.id, through=last)),
        "status, s": seconds(storage.photos.counts),
        "size, MB": storage.size_bytes() / 1e6,
        "a batch of 32 known ones, ms": 1e3 * seconds(lambda: storage.photos.save(again, model.id)),
        "its statements": len([line for line in sent if not line.startswith("SET ")]),
    }


def table(rows: dict[int, dict[str, float]]) -> None:
    """As Markdown; what grows, with how much for each photo that is there."""
    sizes = list(rows)
    print(f"\n| | {' | '.join(f'{size:,}' for size in sizes)} | growth |\n|---|{'---|' * (len(sizes) + 1)}")
    for name in rows[sizes[0]]:
        values = [rows[size][name] for size in sizes]
        growth = values[-1] / values[0] if values[0] else float("nan")
        print(f"| {name} | {' | '.join(f'{value:,.3g}' for value in values)} | {growth:.1f} |")


# --- several that store ---------------------------------------------------------------------------------------------


def store(place: str, own: range, dim: int, folder: str, barrier: object) -> None:
    """One encoder: claims each image, and stores them by 32."""
    made = unit_vectors(1_000, dim, seed=1)
    storage = (
        PostgresStorage.open(place, folder=Path(folder) / "derived")
        if place.startswith("postgresql")
        else storages.open_storage(Path(place))
    )
    with closing(storage):
        [model] = storage.reads.models()
        barrier.wait()  # type: ignore[attr-defined]
        with storage.photos.claims(model.id) as claims:
            for start in range(own.start, own.stop, BATCH):
                batch = []
                for i in range(start, min(start + BATCH, own.stop)):
                    digest = hashlib.sha256(f"photo {i}".encode()).digest()
                    assert claims.take(digest) is Claim.MINE
                    image = ImageRecord(digest, 64, 64, "JPEG", made[i % 1_000])
                    batch.append(FileOutcome(Candidate(f"/photos/{i // PER_FOLDER:05d}", f"{i}.jpg", i, i), image))
                storage.photos.save(batch, model.id)
                claims.release([one.image.digest for one in batch if one.image is not None])


def encoders(photos: int, dim: int) -> None:
    """Photos stored a second, by one process and by four."""
    context = multiprocessing.get_context("spawn")
    rates: dict[tuple[str, int], float] = {}
    with server() as own, tempfile.TemporaryDirectory() as folder:
        for where in ("folder", "server"):
            for n in (1, 4):
                if where == "server":
                    place = own.new_library()
                    storage = PostgresStorage.open(place, folder=Path(folder) / "derived")
                else:
                    place = f"{folder}/library-{n}"
                    storages.create(Path(place))
                    storage = storages.open_storage(Path(place))
                with closing(storage):
                    model = storage.photos.add_model(model_info(dim), make_default=True)
                    barrier = context.Barrier(n + 1)
                    shares = [range(photos * i // n, photos * (i + 1) // n) for i in range(n)]
                    running = [
                        context.Process(target=store, args=(place, share, dim, folder, barrier)) for share in shares
                    ]
                    for process in running:
                        process.start()
                    barrier.wait()
                    began = time.perf_counter()
                    for process in running:
                        process.join()
                    rates[where, n] = photos / (time.perf_counter() - began)
                    assert [process.exitcode for process in running] == [0] * n
                    watermark, ids, _ = storage.reads.embeddings_after(model, 0)
                    assert (len(ids), len(set(ids.tolist()))) == (photos, photos), "nothing lost, nothing twice"
                    print(
                        f"{where}, {n} processes: {rates[where, n]:,.0f} photos/s (last number {watermark})", flush=True
                    )
    base = rates["folder", 1]
    print("\n| | processes | photos/s | × folder, one |\n|---|---|---|---|")
    for (where, n), rate in rates.items():
        print(f"| {where} | {n} | {rate:,.0f} | {rate / base:.2f} |")


# --- searches ---------------------------------------------------------------------------------------------------------


def clustered(n: int, dim: int) -> FloatArray:
    """Vectors around some centres, 200 of each, as photos of a few kinds have them."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((max(20, n // 200), dim)).astype(np.float32)
    rows = centres[random.integers(0, len(centres), n)] + random.standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def search(n: int, dim: int, memory_mb: int) -> None:
    """Making an index, and asking it."""
    with server() as own, tempfile.TemporaryDirectory() as folder:
        url = own.new_library()
        with closing(PostgresStorage.open(url, folder=Path(folder))) as storage:
            model = storage.photos.add_model(model_info(dim), make_default=True)
            vectors = clustered(n, dim)
            for start in range(0, n, STORED_AT_ONCE):
                part = range(start, min(start + STORED_AT_ONCE, n))
                records = [ImageRecord(hashlib.sha256(f"{i}".encode()).digest(), vector=vectors[i]) for i in part]
                storage.photos.save_images(records, model.id)
            began: dict[str, float] = {}
            ended: dict[str, float] = {}

            def tell(stage: str, done: int, total: int) -> None:
                began.setdefault(stage, time.perf_counter())
                ended[stage] = time.perf_counter()

            row = build(storage, model, Build(memory_mb=memory_mb), progress=tell, should_stop=lambda: False)
            assert row is not None
            for stage, since in began.items():
                print(f"{stage}: {ended[stage] - since:.1f} s", flush=True)
            print(f"recall {row.recall}, ef_search {row.ef_search}, of {row.n_questions} questions")
            print(f"{(storage.nearest.size_bytes(row) or 0) / 1e6:.0f} MB beside {storage.size_bytes() / 1e6:.0f} MB")
            here, there = VectorIndex.open(storage, model), ServerIndex.open(storage, model)
            queries = clustered(n, dim)[::-1][:40] + 0.3 * unit_vectors(40, dim, seed=5)
            queries /= np.linalg.norm(queries, axis=1, keepdims=True)
            some: dict[str, dict[str, Any]] = {
                "all": {},
                "0.1 %": {"image_ids": np.arange(1, n, 1000)},
                "1 %": {"image_ids": np.arange(1, n, 100)},
                "10 %": {"image_ids": np.arange(1, n, 10)},
                "all, exactly": {"exact": True},
            }
            print("\n| among | the server, ms | this machine's matrix, ms | recall@10 |\n|---|---|---|---|")
            for name, how in some.items():
                asked = [one_search(there, here, query[None, :], how) for query in queries]
                own_ms, ms = (1e3 * statistics.median(one[i] for one in asked) for i in (1, 0))
                recall = statistics.fmean(one[2] for one in asked)
                print(f"| {name} | {ms:.1f} | {own_ms:.1f} | {recall:.3f} |", flush=True)


def one_search(
    there: ServerIndex, here: VectorIndex, query: FloatArray, how: dict[str, Any]
) -> tuple[float, float, float]:
    """Seconds of the server and of this machine, and what share of the true results the server found."""
    began = time.perf_counter()
    found, _ = there.search(query, 10, **how)
    between = time.perf_counter()
    true, _ = here.search(query, 10, **{**how, "exact": True})
    ended = time.perf_counter()
    return between - began, ended - between, float(np.isin(true, found).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("bookkeeping")
    one.add_argument("--sizes", type=lambda text: [int(part) for part in text.split(",")], default=[100_000, 1_000_000])
    one.add_argument("--dim", type=int, default=16)
    one = commands.add_parser("encoders")
    one.add_argument("--photos", type=int, default=100_000)
    one.add_argument("--dim", type=int, default=512)
    one = commands.add_parser("search")
    one.add_argument("--vectors", type=int, default=100_000)
    one.add_argument("--dim", type=int, default=512)
    one.add_argument("--memory-mb", type=int, default=1_000)
    given = parser.parse_args()
    if given.command == "bookkeeping":
        bookkeeping(given.sizes, given.dim)
    elif given.command == "encoders":
        encoders(given.photos, given.dim)
    else:
        search(given.vectors, given.dim, given.memory_mb)


if __name__ == "__main__":
    main()

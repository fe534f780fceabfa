"""What a library of a million vectors costs: opening, searching, classifying, adding, removing, memory and disk.

    python benchmarks/million.py --vectors 1000000

The vectors are made, without photos, and stored under a model that does not exist: clusters with noise, or, with
`--made continuous`, no clusters at all but a normal distribution whose variances fall off like 1/i. Everything is
measured in processes of its own. Needs some 9 GB of disk for a million vectors of 512 numbers; `--keep FOLDER` leaves
the library there, and uses it again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from zsindex.classification import scores
from zsindex.index.snapshots import FOLDER_NAME, VectorIndex
from zsindex.records import Activation, Candidate, FloatArray, ModelInfo, ModelSpec
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import FileOutcome, ImageRecord, ModelRow
from zsindex.storage.sqlite.storage import SqliteStorage

BATCH = 5000
N_CLUSTERS = 5000
N_QUERIES = 100
K = 10


def clusters(n: int, dim: int, *, seed: int, noise: float = 0.8) -> FloatArray:
    """Unit vectors around a few thousand centres: float32 (n, dim)."""
    centres = np.random.default_rng(0).standard_normal((N_CLUSTERS, dim), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    random = np.random.default_rng(seed)
    vectors: FloatArray = centres[random.integers(0, N_CLUSTERS, n)]
    vectors += random.standard_normal((n, dim), dtype=np.float32) * np.float32(noise / np.sqrt(dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def continuous(n: int, dim: int, *, seed: int) -> FloatArray:
    """Unit vectors without clusters, of which few directions hold most of the variance: float32 (n, dim)."""
    vectors: FloatArray = np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)
    vectors /= np.sqrt(np.arange(1, dim + 1, dtype=np.float32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


MADE = {"clusters": clusters, "continuous": continuous}


def made_up_model(dim: int) -> ModelInfo:
    """A model that nobody can load."""
    return ModelInfo(ModelSpec("made-up"), f"{dim:064x}", dim, 100.0, None, 77, (224, 224), "0" * 64)


def add(storage: Storage, model: ModelRow, made: str, n: int, *, start: int) -> None:
    """Store photos with vectors, in folders of as many as are stored at a time."""
    for at in range(start, start + n, BATCH):
        vectors = MADE[made](min(BATCH, start + n - at), model.info.dim, seed=at + 1)
        storage.photos.save(
            [
                FileOutcome(
                    Candidate(f"/made-up/{at:09}", f"{at + i:09}.jpg", 1, 1),
                    ImageRecord((at + i).to_bytes(32, "big"), 4, 3, "JPEG", vector),
                )
                for i, vector in enumerate(vectors)
            ],
            model.id,
        )


def memory_mb() -> dict[str, float]:
    """Peak memory of this process; and what of it is its own now, and what is pages of mapped files."""
    found = {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssFile"):
            found[name] = int(value.split()[0]) / 1024
    return found


def best_of(times: int, *calls: Callable[[], object]) -> list[float]:
    """The least seconds of each of some calls, which take turns."""
    least = [float("inf")] * len(calls)
    for _ in range(times):
        for i, call in enumerate(calls):
            started = time.perf_counter()
            call()
            least[i] = min(least[i], time.perf_counter() - started)
    return least


# --- the steps, each in a process of its own --------------------------------------------------------------------------


def step_fill(storage: Storage, folder: Path, made: str, n: int, dim: int) -> dict[str, Any]:
    model = storage.photos.add_model(made_up_model(dim), make_default=True)
    started = time.perf_counter()
    add(storage, model, made, n, start=0)
    return {"s": time.perf_counter() - started}


def step_write(storage: Storage, folder: Path, made: str, n: int, dim: int) -> dict[str, Any]:
    (model,) = storage.reads.models()
    started = time.perf_counter()
    VectorIndex.rebuild(storage, model)
    return {"s": time.perf_counter() - started}


def step_open(storage: Storage, folder: Path, made: str, n: int, dim: int) -> dict[str, Any]:
    started = time.perf_counter()
    (model,) = storage.reads.models()
    index = VectorIndex.open(storage, model)
    seconds = time.perf_counter() - started
    return {"s": seconds, "vectors": len(index.vectors.rows), "tail": len(index.vectors.tail)}


def step_search(storage: Storage, folder: Path, made: str, n: int, dim: int) -> dict[str, Any]:
    (model,) = storage.reads.models()
    index = VectorIndex.open(storage, model)
    assert index.vectors.base is not None
    index.vectors.base.vectors.sum()  # into memory, as after a few searches
    grouping = index.vectors.base.cells
    found: dict[str, Any] = {}
    if grouping is not None:
        found["cells"] = {"all": len(grouping.centroids), "for most photos": int(grouping.n_probe[0, 0])}
    single = MADE[made](N_QUERIES, dim, seed=2**31)
    mapped = np.asarray(index.vectors.base.vectors)
    (flat,) = best_of(5, lambda: faiss.knn(single[:1], mapped, K, metric=faiss.METRIC_INNER_PRODUCT))
    found["FAISS flat"] = {"ms": 1000 * flat}
    between = single + single[::-1]
    for name, queries in (("photos", single), ("sums of two", between / np.linalg.norm(between, axis=1)[:, None])):
        times: dict[bool, list[float]] = {True: [], False: []}
        hits = 0
        for query in queries:
            answers = {}
            for exact in (True, False):
                started = time.perf_counter()
                answers[exact] = set(index.search(query[None], K, exact=exact)[0][0].tolist())
                times[exact].append(time.perf_counter() - started)
            hits += len(answers[True] & answers[False])
        found[name] = {
            "recall": hits / (K * len(queries)),
            "ms": 1000 * float(np.median(times[False])),
            "exact ms": 1000 * float(np.median(times[True])),
        }
    return found


def step_classify(storage: Storage, folder: Path, made: str, n: int, dim: int) -> dict[str, Any]:
    (model,) = storage.reads.models()
    vectors = VectorIndex.open(storage, model).vectors
    assert vectors.base is not None
    found: dict[str, Any] = {}
    for rows, n_labels in ((n, 20), (min(n, 100_000), 1000)):
        labels = MADE[made](n_labels, dim, seed=3)
        product = partial(np.matmul, vectors.base.vectors[:rows], labels.T)
        answer = partial(
            scores.classify,
            vectors,
            np.arange(rows),
            labels,
            logit_scale=100.0,
            logit_bias=None,
            activation=Activation.SOFTMAX,
            top=3,
        )
        seconds, baseline = best_of(5, answer, product)
        found[f"{rows:,} × {n_labels}"] = {"s": seconds, "product s": baseline, "ratio": seconds / baseline}
    return found


def step_add(storage: Storage, folder: Path, made: str, n: int, dim: int) -> dict[str, Any]:
    (model,) = storage.reads.models()
    index = VectorIndex.open(storage, model)
    add(storage, model, made, n // 100, start=index.watermark)  # what was never there
    started = time.perf_counter()
    index = index.refreshed(storage, model)
    seconds = time.perf_counter() - started
    return {"s": seconds, "vectors": len(index.vectors.rows), "tail": len(index.vectors.tail)}


def step_remove(storage: Storage, folder: Path, made: str, n: int, dim: int) -> dict[str, Any]:
    (model,) = storage.reads.models()
    index = VectorIndex.open(storage, model)
    for home in sorted(storage.photos.folders_under("/made-up"))[: max(1, n // 100 // BATCH)]:
        storage.photos.mark_missing(home)
    storage.photos.prune()
    started = time.perf_counter()
    index = index.refreshed(storage, model)
    seconds = time.perf_counter() - started
    return {"s": seconds, "vectors": len(index.vectors.rows), "deleted": len(index.vectors.deleted)}


STEPS = {name.removeprefix("step_"): call for name, call in dict(globals()).items() if name.startswith("step_")}


def run_step(name: str, folder: Path, made: str, n: int, dim: int) -> dict[str, Any]:
    """Run a step in a fresh process."""
    command = [sys.executable, __file__, "--step", name, "--keep", str(folder), "--made", made]
    command += ["--vectors", str(n), "--dim", str(dim)]
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def print_row(name: str, found: dict[str, Any], *, memory: bool = True) -> None:
    """One line of the table."""
    used = found.pop("memory", None) if memory else None
    values = ", ".join(f"{key} {value:,.3g}" if isinstance(value, float) else f"{key} {value:,}"
                       for key, value in found.items())  # fmt: skip
    if used is not None:
        values += (
            f"   [{used['peak']:,.0f} MB at most; at the end {used['RssAnon']:,.0f} own, {used['RssFile']:,.0f} mapped]"
        )
    print(f"{name:<34}{values}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--made", choices=MADE, default="clusters")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    made, n, dim = arguments.made, arguments.vectors, arguments.dim
    if arguments.step is not None:
        with closing(SqliteStorage.open(arguments.keep, create=True)) as storage:
            found = STEPS[arguments.step](storage, arguments.keep, made, n, dim)
        print(json.dumps({**found, "memory": memory_mb()}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary, "library")
        if not folder.exists():
            print_row("store the vectors", run_step("fill", folder, made, n, dim))
        print_row("write the index", run_step("write", folder, made, n, dim))
        print_row("open", run_step("open", folder, made, n, dim))
        print_row("open again", run_step("open", folder, made, n, dim))
        for file in (folder / FOLDER_NAME).glob("*.faiss"):
            file.touch()
        print_row("open, the file touched", run_step("open", folder, made, n, dim))
        for step in ("search", "classify"):
            found = run_step(step, folder, made, n, dim)
            memory = found.pop("memory")
            for name, values in found.items():
                print_row(f"{step}, {name}", values)
            print_row("", {"memory": memory})
        print_row("add a hundredth", run_step("add", folder, made, n, dim))
        print_row("open", run_step("open", folder, made, n, dim))
        print_row("remove a hundredth", run_step("remove", folder, made, n, dim))
        print_row("open", run_step("open", folder, made, n, dim))
        sizes = {
            p.name: p.stat().st_size / 2**20 for p in (*folder.glob("library.db*"), *(folder / FOLDER_NAME).glob("*"))
        }
        print_row("disk, MB", sizes)


if __name__ == "__main__":
    main()

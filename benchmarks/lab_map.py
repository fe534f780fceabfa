"""What a map costs, and how many of the ten nearest neighbours are among the ten nearest on it. Prints Markdown.

    python benchmarks/lab_map.py [--images 1000 10000 100000] [--dim 512] [--library FOLDER] [--umap]

The vectors are made up: two hundred clusters that overlap, each spread over eight directions of its own; or those of a
library. Each number of images has a process of its own. “kept” is that share, of a thousand images; “placed” the time
of one image more in a hundred, and “kept, placed” the share of their neighbours. `--umap` does the same by umap-learn,
where that is installed, with its own neighbours and a seed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from zsindex.index.vectors import VectorTable
from zsindex.lab import layout, neighbours
from zsindex.library import Library
from zsindex.records import FloatArray, IdArray

HEAD = ["images", "by", "import s", "neighbours s", "layout s", "peak MB", "kept", "placed s", "kept, placed"]
LOOKED_AT = 1000
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000], help="default: %(default)s")
    parser.add_argument("--dim", type=int, default=512, help="default: %(default)s")
    parser.add_argument("--library", type=Path, help="measure with the vectors of this one")
    parser.add_argument("--umap", action="store_true", help="also umap-learn")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measured(rows_of(args), args.one)))
        return
    table = []
    for n in [0] if args.library else args.images:
        for by in ["t-SNE", *(["UMAP"] if args.umap else [])]:
            command = [sys.executable, __file__, "--one", by, "--images", str(n), "--dim", str(args.dim)]
            command += ["--library", str(args.library)] if args.library else []
            table.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    print(tabulate(table, HEAD, tablefmt="github", intfmt=",", floatfmt=".2f"))


def rows_of(args: argparse.Namespace) -> FloatArray:
    if args.library:
        with Library.open(args.library, read_only=True) as library:
            view = library.view()
            rows: FloatArray = view.vectors.take(view.unique[0])
            return rows
    [n] = args.images
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, args.dim), dtype=np.float32)
    directions = rng.standard_normal((200, 8, args.dim), dtype=np.float32)
    of = rng.integers(0, 200, n)
    rows = centres[of]
    for start in range(0, n, 4096):
        part = of[start : start + 4096]
        along = rng.standard_normal((len(part), 8), dtype=np.float32)
        rows[start : start + 4096] += np.einsum("ne,ned->nd", along, 0.35 * directions[part])
        rows[start : start + 4096] += 0.1 * rng.standard_normal((len(part), args.dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def measured(rows: FloatArray, by: str) -> list[Any]:
    n = len(rows)
    vectors = VectorTable(None, np.arange(1, n + 1), rows, np.empty(0, dtype=np.int64))
    order = np.random.default_rng(1).permutation(n)
    new, known = np.sort(order[: n // 100]), np.sort(order[n // 100 :])
    before = peak_mb()
    _, imported = timed(lambda: __import__("umap" if by == "UMAP" else "openTSNE"))
    if by == "UMAP":
        import umap

        reducer = umap.UMAP(random_state=0, metric="cosine", n_jobs=1)
        points, laid_out = timed(lambda: np.asarray(reducer.fit_transform(rows[known]), dtype=np.float64))
        found = float("nan")
        placed, placing = timed(lambda: np.asarray(reducer.transform(rows[new]), dtype=np.float64))
    else:
        graph, found = timed(lambda: neighbours.build(vectors, known, K))
        watch = layout.Watch(None, None)
        points, laid_out = timed(lambda: layout.lay_out(vectors, known, graph, seed=0, watch=watch))
        placed, placing = timed(lambda: layout.place(vectors, new, known, points, watch=watch))
    peak = peak_mb() - before
    every = np.empty((n, 2))
    every[known], every[new] = points, placed
    some = np.random.default_rng(2).permutation(known)[:LOOKED_AT]
    return [
        n,
        by,
        imported,
        found,
        laid_out,
        peak,
        kept(rows, every, some),
        placing,
        kept(rows, every, new[:LOOKED_AT]),
    ]


def kept(rows: FloatArray, points: Any, which: IdArray) -> float:
    """The share of the nearest neighbours of some images that are among the nearest on the map."""
    shares = []
    for image in which.tolist():
        cosines, distances = rows @ rows[image], np.linalg.norm(points - points[image], axis=1)
        cosines[image], distances[image] = -2, np.inf
        shares.append(len({*np.argpartition(-cosines, K)[:K]} & {*np.argpartition(distances, K)[:K]}) / K)
    return float(np.mean(shares))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def peak_mb() -> int:
    """Of this process, since it began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()

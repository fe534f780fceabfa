"""What a map costs, and how many of the ten nearest neighbours are among the ten nearest on it. Prints Markdown.

    python benchmarks/lab_map.py [--images 1000 10000 100000] [--dim 512] [--photos FOLDER …] [--by WAY …]

The vectors are made up: two hundred clusters that overlap, each spread over eight directions of its own; or those of
photos, by nano. Each line has a process of its own. “CPU s” is the time of all cores together, but for the import: what
else runs on the machine makes little difference to it. “kept” is that share, of a thousand images; “placed” the time of
one image more in a hundred, and “kept, placed” the share of their neighbours.

Ways: `used` is what the program does. `equal-15` and `equal-30` attract so many neighbours, `perplexity-15` those 45
that t-SNE has as a rule, by how near they are; over the library's exact neighbours, too. `components` shows the two
directions in which the vectors differ most. `umap` is umap-learn, where that is installed, with its own neighbours, its
defaults, and a seed; its time includes what numba compiles.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from zsindex.index.vectors import VectorTable
from zsindex.lab import layout, neighbours
from zsindex.lab.layout import Points
from zsindex.lab.neighbours import Graph
from zsindex.library import Library
from zsindex.records import FloatArray, IdArray

HEAD = ["images", "by", "import s", "neighbours s", "layout s", "CPU s", "peak MB", "kept", "placed s", "kept, placed"]
FORMATS = ("", "", ".1f", ".1f", ".1f", ".1f", "", ".3f", ".1f", ".3f")
WAYS = ("used", "equal-15", "equal-30", "perplexity-15", "components", "umap")
NEIGHBOURS = {"used": 10, "equal-15": 15, "equal-30": 30, "perplexity-15": 45, "components": 0}
LOOKED_AT = 1000
K = 10
NONE = np.empty(0, dtype=np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000], help="default: %(default)s")
    parser.add_argument("--dim", type=int, default=512, help="default: %(default)s")
    parser.add_argument("--photos", type=Path, nargs="+", help="measure with those in these folders")
    parser.add_argument("--by", choices=WAYS, nargs="+", default=["used"], help="default: %(default)s")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rows:
        print(json.dumps(measured(np.load(args.rows), args.by[0])))
        return
    table = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.npy")
        for n in [0] if args.photos else args.images:
            np.save(file, of_photos(args.photos, Path(folder, "library")) if args.photos else made_up(n, args.dim))
            for by in args.by:
                command = [sys.executable, __file__, "--rows", str(file), "--by", by]
                found = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                table.append(json.loads(found.splitlines()[-1]))
                print(*table[-1], file=sys.stderr)
    print(tabulate(table, HEAD, tablefmt="github", intfmt=",", floatfmt=FORMATS))


def of_photos(folders: list[Path], place: Path) -> FloatArray:
    with Library.open(place, model="nano") as library:
        library.sync(folders)
        view = library.view()
        rows: FloatArray = view.vectors.take(view.unique[0])
        return rows


def made_up(n: int, dim: int) -> FloatArray:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, dim), dtype=np.float32)
    directions = rng.standard_normal((200, 8, dim), dtype=np.float32)
    of = rng.integers(0, 200, n)
    rows = centres[of]
    for start in range(0, n, 4096):
        part = of[start : start + 4096]
        along = rng.standard_normal((len(part), 8), dtype=np.float32)
        rows[start : start + 4096] += np.einsum("ne,ned->nd", along, 0.35 * directions[part])
        rows[start : start + 4096] += 0.1 * rng.standard_normal((len(part), dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def measured(rows: FloatArray, by: str) -> list[Any]:
    n = len(rows)
    order = np.random.default_rng(1).permutation(n)
    new, known = np.sort(order[: n // 100]), np.sort(order[n // 100 :])
    before = peak_mb()
    _, imported = timed(lambda: __import__("umap" if by == "umap" else "openTSNE"))
    used = time.process_time()
    times, points, placed = (by_umap if by == "umap" else by_zsindex)(rows, known, new, by)
    used = time.process_time() - used
    peak = peak_mb() - before
    every = np.empty((n, 2))
    every[known], every[new] = points, placed
    some = np.random.default_rng(2).permutation(known)[:LOOKED_AT]
    found, laid_out, placing = times
    shares = kept(rows, every, some), kept(rows, every, new[:LOOKED_AT])
    return [n, by, imported, found, laid_out, used, peak, shares[0], placing, shares[1]]


Measured = tuple[tuple[float, float, float], Points, Points]


def by_zsindex(rows: FloatArray, known: IdArray, new: IdArray, by: str) -> Measured:
    vectors = VectorTable(None, np.arange(1, len(rows) + 1), rows, NONE)
    watch = layout.Watch(None, None)
    graph, found = timed(lambda: neighbours.build(vectors, known, NEIGHBOURS[by]))
    if by == "perplexity-15":
        layout._attraction = by_nearness  # type: ignore[assignment]
    if by == "components":
        points, laid_out = timed(lambda: layout._start(vectors, known, 0))
    else:
        points, laid_out = timed(lambda: layout.lay_out(vectors, known, graph, seed=0, watch=watch))
    placed, placing = timed(lambda: layout.place(vectors, new, known, points, watch=watch))
    return (found, laid_out, placing), points, placed


def by_nearness(graph: Graph) -> Any:
    """Who attracts whom as in t-SNE: by the distance, among so many as the perplexity asks for."""
    from openTSNE.affinity import joint_probabilities_nn

    distances = np.sqrt(np.maximum(0, 2 - 2 * graph.cosines.astype(np.float64)))
    return joint_probabilities_nn(graph.neighbours, distances, [15], n_jobs=os.cpu_count() or 1)


def by_umap(rows: FloatArray, known: IdArray, new: IdArray, _: str) -> Measured:
    import umap

    reducer = umap.UMAP(random_state=0, metric="cosine", n_jobs=1)
    points, laid_out = timed(lambda: np.asarray(reducer.fit_transform(rows[known]), dtype=np.float64))
    placed, placing = timed(lambda: np.asarray(reducer.transform(rows[new]), dtype=np.float64))
    return (float("nan"), laid_out, placing), points, placed


def kept(rows: FloatArray, points: Points, which: IdArray) -> float:
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
    """Of this process, without what made it: the most memory that it has had (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


if __name__ == "__main__":
    main()

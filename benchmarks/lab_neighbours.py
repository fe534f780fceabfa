"""What the graph of neighbours costs, beside the matrix products that it cannot do without. Prints a Markdown table.

    python benchmarks/lab_neighbours.py [--images 20000] [--dim 512] [-k 10]

The vectors are made up: two hundred clusters that overlap. “products” is the time of as many products of blocks as
the graph needs, measured on some of them; “read” is the graph from its file; “1 % new” extends it by so many images.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from zsindex.index.vectors import VectorTable
from zsindex.lab import neighbours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000, help="default: %(default)s")
    parser.add_argument("--dim", type=int, default=512, help="default: %(default)s")
    parser.add_argument("-k", type=int, default=10, help="neighbours (default: %(default)s)")
    args = parser.parse_args()
    n, none = args.images, np.empty(0, dtype=np.int64)
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, args.dim), dtype=np.float32)
    rows = centres[rng.integers(0, 200, n)] + 1.5 * rng.standard_normal((n, args.dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors, every = VectorTable(None, np.arange(1, n + 1), rows, none), np.arange(n)

    size = neighbours.BLOCK_ROWS
    a, b = rows[:size], rows[-size:]
    _, ten = timed(lambda: [a @ b.T for _ in range(10)])
    blocks = n / size
    graph, built = timed(lambda: neighbours.build(vectors, every, args.k))
    known = neighbours.build(vectors, every[: 99 * n // 100], args.k) if n <= 30_000 else None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph"
        recorded: list[str] = []
        neighbours.save(graph, file, generation=0, record=recorded.append)
        _, read = timed(lambda: neighbours.load(file, recorded=recorded[0], generation=0))
    rows_ = [
        ("products", ten / 10 * blocks * (blocks + 1) / 2),
        ("graph", built),
        ("read", read),
    ]
    if known is not None:
        rows_.append(("1 % new", timed(lambda: neighbours.build(vectors, every, args.k, known=known))[1]))
    _, found = timed(lambda: neighbours.pairs_above(vectors, every, graph, 0.95))
    rows_.append(("pairs above 0.95", found))
    print(f"{n:,} × {args.dim}, k = {args.k}\n")
    print(tabulate(rows_, ["what", "seconds"], tablefmt="github", floatfmt=".2f"))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


if __name__ == "__main__":
    main()

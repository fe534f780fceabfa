"""Why the vectors of an index file begin at a multiple of four bytes: multiplying a mapped matrix, aligned and not.

python benchmarks/mapped_vectors.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

N, DIM, ROWS = 100_000, 512, 2048


def seconds(vectors: np.ndarray, labels: np.ndarray) -> float:
    """The least of five passes over all blocks."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for start in range(0, N, ROWS):
            vectors[start : start + ROWS] @ labels
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "vectors")
        data = random.standard_normal((N, DIM), dtype=np.float32).tobytes()
        print(f"{N:,} × {DIM} vectors in a mapped file, multiplied by")
        for n_labels in (20, 1000):
            labels = random.standard_normal((DIM, n_labels), dtype=np.float32)
            times = {}
            for offset in (140, 82):
                file.write_bytes(bytes(offset) + data)
                mapped = np.memmap(file, dtype="<f4", mode="r", offset=offset, shape=(N, DIM))
                times[offset] = seconds(mapped, labels)
            aligned, not_aligned = times[140] * 1000, times[82] * 1000
            print(f"  {n_labels:>4} labels: from byte 140 {aligned:.0f} ms, from byte 82 {not_aligned:.0f} ms")


if __name__ == "__main__":
    main()

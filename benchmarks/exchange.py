"""Export and import: rows a second and the peak of the memory, on made-up vectors.

python benchmarks/exchange.py [--rows 200000] [--dim 512]

Each step is a process of its own, so that its peak is its own. The model is one that only has a size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from zsindex import Library, ModelInfo, ModelSpec, Progress

ROWS_PER_FOLDER = 10_000


class Nothing:
    """An encoder that is never asked for anything but what it is."""

    def __init__(self, dim: int) -> None:
        self.info = ModelInfo(ModelSpec("made-up"), "0" * 64, dim, 100.0, None, 77, (224, 224), "0" * 64)


def write_clip_retrieval(folder: Path, rows: int, dim: int) -> None:
    """What `clip-retrieval inference` would write: float16, a part per million rows, only the column image_path."""
    import pyarrow as pa
    from pyarrow import parquet

    random = np.random.default_rng(0)
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for number, start in enumerate(range(0, rows, 1_000_000)):
        n = min(1_000_000, rows - start)
        file = folder / "img_emb" / f"img_emb_{number}.npy"
        vectors = np.lib.format.open_memmap(file, "w+", np.float16, (n, dim))
        for at in range(0, n, 10_000):
            block = random.standard_normal((min(10_000, n - at), dim), dtype=np.float32)
            vectors[at : at + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
        vectors.flush()
        paths = [f"/photos/{i // ROWS_PER_FOLDER:05d}/{i:09d}.jpg" for i in range(start, start + n)]
        parquet.write_table(pa.table({"image_path": paths}), folder / "metadata" / f"metadata_{number}.parquet")


def peak_mb() -> float:
    """The most memory that this process has had, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def step(what: str, library: Path, folder: Path, dim: int) -> None:
    """Import or export in this process, and print what it took: at the end of each stage, and after the index."""
    with Library.open(library, encoder=Nothing(dim)) as opened:
        started, started_cpu, at_start = time.perf_counter(), time.process_time(), peak_mb()
        ends = {}

        def note(event: Progress) -> None:
            ends[event.stage] = (
                time.perf_counter() - started,
                time.process_time() - started_cpu,
                peak_mb() - at_start,
            )

        if what == "import":
            rows = opened.vectors.import_from(folder, progress=note).rows
        else:
            rows = opened.vectors.export_to(folder, dtype=what, progress=note).rows
        note(Progress("index"))
    json.dump({"rows": rows, "ends": ends}, sys.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        step(given.step[0], Path(given.step[1]), Path(given.step[2]), given.dim)
        return
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        write_clip_retrieval(folder / "given", given.rows, given.dim)
        print(f"{given.rows:,} rows of {given.dim} numbers")
        print("| step | rows/s | rows per CPU second | seconds | memory grew by |\n|---|---|---|---|---|")
        for title, what, library, exchanged in (
            ("import, float16", "import", "library", "given"),
            ("the same import again", "import", "library", "given"),
            ("export, float32", "float32", "library", "float32"),
            ("export, float16", "float16", "library", "float16"),
            ("import of that float32 elsewhere", "import", "copy", "float32"),
        ):
            command = [sys.executable, __file__, "--dim", str(given.dim), "--step"]
            command += [what, str(folder / library), str(folder / exchanged)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            index = found["ends"].pop("index")
            seconds, cpu, grown = list(found["ends"].values())[-1]
            took = ", ".join(f"{stage} until {end[0]:.1f}" for stage, end in found["ends"].items())
            rates = f"{found['rows'] / seconds:,.0f} | {found['rows'] / cpu:,.0f}"
            memory = f"{grown:,.0f} MB, index {index[2]:,.0f} MB"
            print(f"| {title} | {rates} | {took}, index until {index[0]:.1f} | {memory} |")


if __name__ == "__main__":
    main()

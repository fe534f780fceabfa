"""What a library of many small photos costs: first sync, re-sync, cached questions, and what a cached question imports.

    python benchmarks/library_size.py --photos 10000

The photos are made: JPEGs of 160 × 120 pixels with differing content. Everything is done by the command line, in
processes of their own, as a user would.
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
from PIL import Image
from processes import as_installed

HEAVY = ("torch", "open_clip", "faiss", "alembic", "sqlalchemy", "numpy", "PIL")


def make_photos(folder: Path, count: int) -> None:
    """Photos in folders of 500; each a few blurred random blobs, so that no two have the same bytes."""
    random = np.random.default_rng(0)
    for i in range(count):
        home = folder / f"{i // 500:04}"
        home.mkdir(parents=True, exist_ok=True)
        blobs = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        blobs.resize((160, 120), Image.Resampling.BICUBIC).save(home / f"{i:06}.jpg", quality=85)


def zsindex(library: Path, *arguments: str, importtime: bool = False) -> tuple[float, str, str]:
    """Run a command; returns seconds, stdout and stderr."""
    command = [sys.executable, *(["-X", "importtime"] if importtime else []), "-m", "zsindex", *arguments]
    started = time.perf_counter()
    done = subprocess.run(
        command,
        env={**as_installed(), "ZSINDEX_LIBRARY": str(library)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return time.perf_counter() - started, done.stdout, done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        photos, library = Path(temporary, "photos"), Path(temporary, "library")
        make_photos(photos, arguments.photos)
        labels = [word for name in ("cat", "dog", "car", "beach", "food") for word in ("-l", name)]

        def row(name: str, seconds: float, more: str = "") -> None:
            print(f"{name:<48}{seconds:9.2f} s   {more}", flush=True)

        seconds, out, _ = zsindex(library, "sync", str(photos), "--model", arguments.model, "--json")
        report = json.loads(out)
        row("first sync", seconds, f"{report['encoded']} encoded, {report['encoded'] / report['seconds']:.1f}/s")
        seconds, out, _ = zsindex(library, "sync", str(photos), "--json")
        report = json.loads(out)
        rate = report["unchanged"] / report["seconds"]
        row("sync again, nothing changed", seconds, f"{report['encoded']} encoded; {rate:,.0f} files/s inside")
        seconds, _, _ = zsindex(library, "classify", *labels, "--format", "csv")
        row("classify by 5 new labels", seconds, "loads the model for the prompts")
        seconds, out, _ = zsindex(library, "classify", *labels, "--format", "csv")
        row("classify by the same labels", seconds, f"{len(out.splitlines()) - 1} rows of CSV")
        seconds, _, _ = zsindex(library, "status")
        row("status", seconds)
        seconds, _, _ = zsindex(library, "check")
        row("check", seconds)
        bare = min(_bare_python() for _ in range(5))
        row("python -c pass", bare)
        _, _, err = zsindex(library, "classify", *labels, "--format", "csv", importtime=True)
        imported = {line.rsplit("|", 1)[1].strip() for line in err.splitlines() if line.startswith("import time:")}
        print("a cached classify imports:", ", ".join(name for name in HEAVY if name in imported))
        print("and not:", ", ".join(name for name in HEAVY if name not in imported))


def _bare_python() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

"""Does a sync's time grow with the photos alone, and does its memory not grow at all?

    python benchmarks/growth.py [--sizes 1000,10000,100000] [--fake] [--json FILE]

Photos are made: JPEGs of 64 × 64 pixels with random content. For each size a new library is synced, synced again with
nothing changed, and classified by 20 labels, each in a process of its own, whose greatest resident memory is given. Of
a first sync that is also given for its photos alone, before the index file is written, which holds all vectors. With
--fake the model is a few lines of numpy, so that what remains is what the program itself costs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zsindex.library import Library
from zsindex.records import FloatArray, ModelInfo, ModelSpec, Progress

SIDE = 64
DIM = 512
PER_FOLDER = 1_000
LABELS = [f"thing number {i}" for i in range(20)]
STAGES = ("first sync", "sync again", "classify, new labels", "classify, same labels")
PHOTOS_ALONE = "first sync, without the index"


class FakeEncoder:
    """Implements `zsindex.models.encoder.Encoder`: a random projection of each picture, shrunk to 8 × 8."""

    def __init__(self) -> None:
        self._projection = np.random.default_rng(0).standard_normal((3 * 8 * 8, DIM)).astype(np.float32)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            spec=ModelSpec("fake"),
            fingerprint=hashlib.sha256(b"growth").hexdigest(),
            dim=DIM,
            logit_scale=100.0,
            logit_bias=None,
            context_length=77,
            image_size=(8, 8),
            weights_sha256="0" * 64,
        )

    def preprocess(self, image: Image.Image) -> FloatArray:
        small = image.convert("RGB").resize((8, 8), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.float32).transpose(2, 0, 1) - 127.5

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        return self._unit(np.stack([p.reshape(-1) for p in pixels]) @ self._projection)

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts]
        return self._unit(np.stack([np.random.default_rng(seed).standard_normal(DIM) for seed in seeds]))

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    @staticmethod
    def _unit(rows: Any) -> FloatArray:
        unit: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit


@dataclass(frozen=True)
class Row:
    """One stage at one size; `peak_mb` is the process's greatest resident memory in MB (10^6 bytes)."""

    size: int
    stage: str
    seconds: float
    peak_mb: float

    def cells(self) -> list[str]:
        return [
            f"{self.size:,}",
            self.stage,
            f"{self.seconds:,.2f}",
            f"{self.size / self.seconds:,.0f}",
            f"{self.peak_mb:,.0f}",
        ]


def make_photos(folder: Path, count: int) -> None:
    starts = range(0, count, PER_FOLDER)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make_folder, repeat(folder), starts, [min(count, start + PER_FOLDER) for start in starts]))


def make_folder(folder: Path, start: int, stop: int) -> None:
    home = folder / f"{start // PER_FOLDER:04}"
    home.mkdir(parents=True)
    random = np.random.default_rng(start)
    for i in range(start, stop):
        blobs = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        blobs.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(home / f"{i:06}.jpg", quality=85)


def run_stage(stage: str, photos: str, library: str, fake: bool) -> None:
    """One stage, in this process: prints rows of its name, seconds without importing, and the peak of memory."""
    encoder = FakeEncoder() if fake else None
    with Library.open(library, encoder=encoder) as opened:
        started = time.perf_counter()
        rows: list[tuple[str, float, float]] = []

        def note(name: str) -> None:
            rows.append((name, time.perf_counter() - started, peak_mb()))

        def progress(event: Progress) -> None:
            if event.stage == "encode" and event.done == event.total:
                note(PHOTOS_ALONE)

        if "sync" in stage:
            report = opened.sync(photos, progress=progress)
            assert report.encoded == (report.scanned if stage == STAGES[0] else 0)
        else:
            assert len(opened.classify(LABELS, top=1)) > 0
        note(stage)
    print(json.dumps(rows))


def peak_mb() -> float:
    """The greatest resident memory that this process has had, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure(size: int, *, fake: bool) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory(prefix="zsindex-growth-") as temporary:
        photos, library = Path(temporary, "photos"), Path(temporary, "library")
        make_photos(photos, size)
        for stage in STAGES:
            command = [sys.executable, __file__, "--stage", stage, str(photos), str(library)]
            done = subprocess.run(
                [*command, *(["--fake"] if fake else [])], capture_output=True, encoding="utf-8", check=True
            )
            for name, seconds, peak in json.loads(done.stdout):
                rows.append(Row(size, name, seconds, peak))
                print(f"| {' | '.join(rows[-1].cells())} |", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--fake", action="store_true", help="a few lines of numpy instead of nano")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there, for plots.py")
    parser.add_argument("--stage", nargs=3, metavar=("STAGE", "PHOTOS", "LIBRARY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        run_stage(*arguments.stage, fake=arguments.fake)
        return
    print("| photos | stage | seconds | photos/s | peak memory, MB |\n|---|---|---|---|---|", flush=True)
    rows = [row for size in arguments.sizes.split(",") for row in measure(int(size), fake=arguments.fake)]
    if arguments.json is not None:
        model = "a fake model" if arguments.fake else "nano"
        document = {"benchmark": "growth", "model": model, "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

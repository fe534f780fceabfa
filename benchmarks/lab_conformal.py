"""How often sets of labels hold what photos show, how large they are, and how long they take. Prints Markdown tables.

    python benchmarks/lab_conformal.py [PHOTOS] [--clothing CLOTHING] [--library LIBRARY] [--splits 400]
    python benchmarks/lab_conformal.py --time

PHOTOS is the folder that ZSINDEX_TEST_PHOTOS names, one photo of each of 400 classes; CLOTHING is
clothing-dataset-small, 641 photos in ten kinds, looked for beside it. LIBRARY keeps the vectors for the next time. The
photos are split at random, again and again, into calibration photos and photos to come; uneven draws take 250 of the
clothes by shares from a Dirichlet distribution. Nothing is chosen by looking at the photos to come.

`--time` makes up a library of 100,000 photos, and compares each way of making sets with a plain classification of the
same photos in the same process, turn by turn.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import synthetic
from clothing import CLOTHING
from lab_speed import photo_vectors, unit
from tabulate import tabulate

from zsindex import Library, label_set
from zsindex.classification import prompts
from zsindex.classification.coverage import Score
from zsindex.classification.scorers import Head
from zsindex.classification.templates import DEFAULT_TEMPLATE
from zsindex.index.snapshots import VectorIndex
from zsindex.lab import conformal
from zsindex.lab.conformal import Adapted, Parts
from zsindex.records import Candidate, FloatArray, IdArray
from zsindex.storage.rows import FileOutcome, ImageRecord
from zsindex.storage.sqlite.storage import SqliteStorage

BESIDE_PROJECT = Path(__file__).resolve().parents[2] / "shared/photos/imagenet-sample"
COVERAGES = (0.8, 0.9, 0.95)


class Photos(NamedTuple):
    """Scores of photos float32 (n, c), and what they show int64 (n,)."""

    name: str
    scores: FloatArray
    truth: IdArray


class Split(NamedTuple):
    """Scores and truth of some photos, of which the first `known` calibrate."""

    scores: FloatArray
    truth: IdArray
    known: int


# From a split and a coverage to the sets of the photos to come, bool (m, c), and the scores that they are of.
Way = Callable[[Split, float], tuple[np.ndarray, FloatArray]]


def plain(score: Score) -> Way:
    """Split conformal prediction."""

    def sets(split: Split, coverage: float) -> tuple[np.ndarray, FloatArray]:
        values, known = conformal.nonconformity(split.scores, score), np.arange(split.known)
        limit = conformal.limits(values[known, split.truth[known]][:, None], np.zeros(split.known, int), 1, coverage)
        return values[split.known :] <= limit[0], split.scores[split.known :]

    return sets


def per_label(split: Split, coverage: float) -> tuple[np.ndarray, FloatArray]:
    """A limit for each label that has enough photos."""
    values, known = conformal.nonconformity(split.scores, Score.LAC), np.arange(split.known)
    truth = split.truth[known]
    parts = Parts.by(np.bincount(truth, minlength=values.shape[1]), [str(n) for n in range(values.shape[1])], coverage)
    limit = conformal.limits(values[known, truth][:, None], parts.of[truth], len(parts.promises), coverage)
    return values[split.known :] <= limit[parts.of, 0], split.scores[split.known :]


def adapted(split: Split, coverage: float) -> tuple[np.ndarray, FloatArray]:
    """Scores adapted to all photos of the split."""
    known, truth = split.known, split.truth[: split.known]
    fit = Adapted.to(split.scores, np.bincount(truth, minlength=split.scores.shape[1]))
    values = -fit.of_truth(split.scores[:known], truth).astype(np.float64)
    limit = conformal.limits(values, np.zeros(known, int), 1, coverage)
    scores = fit(split.scores[known:])
    return -scores <= limit[0], scores


def as_published(split: Split, coverage: float) -> tuple[np.ndarray, FloatArray]:
    """Conf-OT with the marginal of the calibration photos alone."""
    truth = split.truth[: split.known]
    marginal = np.bincount(truth, minlength=split.scores.shape[1]) / split.known
    return plain(Score.LAC)(split._replace(scores=_transported(split.scores, marginal)), coverage)


def halves(split: Split, coverage: float) -> tuple[np.ndarray, FloatArray]:
    """Half of the calibration photos say the marginal, the other half the limit."""
    half = split.known // 2
    counts = 1.0 + np.bincount(split.truth[:half], minlength=split.scores.shape[1])
    scores = _transported(split.scores, counts / counts.sum())
    return plain(Score.LAC)(Split(scores[half:], split.truth[half:], split.known - half), coverage)


def _transported(scores: FloatArray, marginal: np.ndarray) -> FloatArray:
    plan = scores.astype(np.float64)
    for _ in range(conformal.ITERATIONS):
        plan /= np.maximum(plan.sum(axis=1, keepdims=True), 1e-300)
        plan *= marginal / np.maximum(plan.mean(axis=0), 1e-300)
    return (plan / np.maximum(plan.sum(axis=1, keepdims=True), 1e-300)).astype(np.float32)


def splits(photos: Photos, known: int, n: int, *, uneven: bool) -> Iterator[Split]:
    """Random splits; the same for every way."""
    for seed in range(n):
        random = np.random.default_rng(seed)
        chosen = random.permutation(len(photos.truth))
        if uneven:
            counts = np.bincount(photos.truth)
            chance = (random.dirichlet(np.full(len(counts), 0.5)) / counts)[photos.truth]
            # Shuffled, as rarer kinds are drawn later: photos to come would be unlike those that calibrate.
            chosen = random.permutation(random.choice(len(chosen), 250, replace=False, p=chance / chance.sum()))
        yield Split(photos.scores[chosen], photos.truth[chosen], known)


def measured(photos: Photos, way: Way, known: int, coverage: float, n: int, *, uneven: bool) -> list[Any]:
    """How often sets hold the truth, mean with its standard error, in percent; how often as they are given, with the
    best label in each; how often of the label that is held least; and their mean size as they are given.
    """
    c = photos.scores.shape[1]
    held, given, sizes = list[float](), list[float](), list[float]()
    of_label = np.zeros((2, c))
    for split in splits(photos, known, n, uneven=uneven):
        inside, scores = way(split, coverage)
        truth, best = split.truth[known:], scores.argmax(axis=1)
        right = inside[np.arange(len(truth)), truth]
        held.append(right.mean())
        given.append((right | (best == truth)).mean())
        sizes.append((inside.sum(axis=1) + ~inside[np.arange(len(best)), best]).mean())
        of_label += [np.bincount(truth, weights=right, minlength=c), np.bincount(truth, minlength=c)]
    error = np.std(held) / np.sqrt(n)
    least = (of_label[0] / np.maximum(of_label[1], 1))[of_label[1] > 0].min()
    return [
        f"{100 * np.mean(held):.1f} ± {100 * error:.1f}",
        f"{100 * np.mean(given):.1f}",
        f"{100 * least:.0f}" if c < 100 else "",  # where each class has one photo it tells nothing
        f"{np.mean(sizes):.2f}",
    ]


def scored(library: Library, photos: Path, clothing: Path) -> tuple[Photos, Photos]:
    """Clothes by ten kinds, and the sample of ImageNet by its 400 classes."""
    library.sync([photos, clothing])
    found = []
    kinds = {kind: [prompts.fill(DEFAULT_TEMPLATE, word) for word in words] for kind, words in CLOTHING.items()}
    names = [path.stem.partition("_")[2].replace("_", " ") for path in sorted(photos.iterdir())]
    for name, folder, labels, of in (
        ("clothes", clothing, label_set(kinds), lambda path: path.parent.name),
        ("ImageNet", photos, label_set(sorted(names)), lambda path: path.stem.partition("_")[2].replace("_", " ")),
    ):
        view = library.view([folder])
        first = np.sort(np.unique(view.image_ids, return_index=True)[1])
        scores = Head.of(labels, view.text_vectors(labels), view.info)(view.take(first))
        truth = np.array([labels.labels.index(of(Path(view.paths[n]))) for n in first.tolist()])
        found.append(Photos(name, scores, truth))
    return found[0], found[1]


# --- time -------------------------------------------------------------------------------------------------------------


def made_up(home: Path, n: int, n_labels: int, dim: int = 512) -> dict[str, str]:
    """A library whose photos are a label each with noise; and what 400 of them show."""
    concepts, names = synthetic.unit_vectors(n_labels, dim, seed=0), synthetic.label_names(n_labels)
    shows = np.random.default_rng(1).integers(0, n_labels, n)
    paths = [f"{home}/{i // 100:05}/{i:06}.jpg" for i in range(n)]
    with closing(SqliteStorage.open(home / "library", create=True)) as storage:
        model = storage.photos.add_model(synthetic.model_info(dim), make_default=True)
        for start in range(0, n, 1000):
            part = range(start, min(start + 1000, n))
            vectors = photo_vectors(shows[part.start : part.stop], concepts, seed=start + 1)
            storage.photos.save(
                [
                    FileOutcome(
                        Candidate(os.path.dirname(paths[i]), os.path.basename(paths[i]), 4_000_000, i),
                        ImageRecord(hashlib.sha256(paths[i].encode()).digest(), 4000, 3000, "JPEG", vector),
                    )
                    for i, vector in zip(part, vectors, strict=True)
                ],
                model.id,
            )
        texts = [prompts.fill(DEFAULT_TEMPLATE, name) for name in names]
        around = unit(concepts + 0.6 * synthetic.unit_vectors(n_labels, dim, seed=10**6))
        storage.reads.save_prompts(texts, around, model.id, truncated=[False] * n_labels)
        VectorIndex.rebuild(storage, model)
    known = np.random.default_rng(2).permutation(n)[:400].tolist()
    return {paths[i]: names[shows[i]] for i in known}


def timed(n: int, n_labels: int, rounds: int = 5) -> Iterator[list[Any]]:
    ways: dict[str, dict[str, Any]] = {
        "plain classify": {},
        "lac": {},
        "aps": {"coverage_score": "aps"},
        "raps": {"coverage_score": "raps"},
        "lac, per label": {"coverage_per": "label", "coverage": 0.8},
        "lac, per folder": {"coverage_per": "folder", "coverage": 0.5},
        "lac, adapted": {"coverage_adapt": True},
    }
    with tempfile.TemporaryDirectory() as home:
        truth, names = made_up(Path(home), n, n_labels), synthetic.label_names(n_labels)
        with Library.open(Path(home) / "library") as library:
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            sizes: dict[str, float] = {}
            for _ in range(rounds):
                for name, options in ways.items():
                    asked = {} if name == "plain classify" else {"coverage": 0.9, "calibrate": truth, **options}
                    if name == "lac, per label" and n_labels > 100:
                        asked["coverage"] = 0.5
                    start = time.perf_counter()
                    answer = library.classify(names, **asked)
                    seconds[name].append(time.perf_counter() - start)
                    sizes[name] = float(answer.counts.mean())
    least = min(seconds["plain classify"])
    for name, took in seconds.items():
        yield [f"{n_labels}", name, f"{min(took):.2f}", f"{min(took) / least:.1f}", f"{sizes[name]:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT))
    parser.add_argument("photos", nargs="?", default=default, type=Path, help="default: %(default)s")
    parser.add_argument("--clothing", type=Path, help="default: clothing, beside PHOTOS")
    parser.add_argument("--library", type=Path, help="where to keep the vectors")
    parser.add_argument("--model", default="nano", help="default: %(default)s")
    parser.add_argument("--splits", type=int, default=400, help="default: %(default)s")
    parser.add_argument("--time", action="store_true", help="how long it takes with 100,000 photos, instead")
    args = parser.parse_args()
    if args.time:
        table = [row for n_labels in (20, 300) for row in timed(100_000, n_labels)]
        print(tabulate(table, ["labels", "way", "seconds", "times plain", "mean size"], tablefmt="github"))
        return
    with tempfile.TemporaryDirectory() as temporary:
        home = args.library or Path(temporary) / "library"
        with Library.open(home, model=args.model) as library:
            clothes, imagenet = scored(library, args.photos, args.clothing or args.photos.parent / "clothing")
    ways: dict[str, Way] = {"lac": plain(Score.LAC), "aps": plain(Score.APS), "raps": plain(Score.RAPS)}
    ways |= {"lac, per label": per_label, "lac, adapted": adapted}
    ways |= {"Conf-OT as published": as_published, "Conf-OT by halves": halves}
    for photos, known, uneven in (
        (clothes, 60, False),
        (clothes, 300, False),
        (clothes, 60, True),
        (clothes, 125, True),
        (imagenet, 60, False),
        (imagenet, 200, False),
    ):
        n = args.splits if photos is clothes else max(1, args.splits // 10)
        right = (photos.scores.argmax(axis=1) == photos.truth).mean()
        drawn = f"{photos.name}{', uneven draws' if uneven else ''}"
        print(f"\n{drawn}: {known} calibration photos, {n} splits; best label right: {right:.1%}\n")
        rows = []
        for name, way in ways.items():
            if way is per_label and (photos is imagenet or known < 300):
                continue
            cells = [measured(photos, way, known, coverage, n, uneven=uneven) for coverage in COVERAGES]
            rows.append([name, *(cell for four in cells for cell in four)])
        head = [f"{what} {coverage}" for coverage in COVERAGES for what in ("held at", "given", "least", "size")]
        print(tabulate(rows, ["way", *head], tablefmt="github"), flush=True)


if __name__ == "__main__":
    main()

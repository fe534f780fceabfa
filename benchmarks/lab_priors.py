"""What knowing or estimating how photos are divided among labels brings, and what it costs. Prints Markdown tables.

    python benchmarks/lab_priors.py [PHOTOS] [--clothing FOLDER] [--library LIBRARY] [--resamples 20] [--known 50 300]
    python benchmarks/lab_priors.py --speed 20 100 300

PHOTOS holds ImageNet photos by the name `<wordnet id>_<class name>.JPEG`; without it, ZSINDEX_TEST_PHOTOS says where
they are. Clothes are learnt from `train/` and drawn from `validation/`; ImageNet's photos, by the everyday labels of
which there are seven or more, are cut in half by chance. LIBRARY keeps the vectors for the next time.

Each draw takes 300 photos with given shares, from a resample of each label's photos, so that its spread is that of
photos and of draws: all labels alike; falling by 0.6 from label to label in random order; half of the labels; four
labels, falling by half. Gains are in points over the scores as they are: averages over the draws of a resample, and
over the resamples, with 1.96 standard deviations of these. "off" is half the sum of the absolute errors of the shares.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from clothing import CLOTHING
from tabulate import tabulate

from zsindex import Library, label_set
from zsindex.classification.scorers import Head
from zsindex.lab import prior, transport
from zsindex.lab.prior import KnownPhotos

BESIDE_PROJECT = Path(__file__).resolve().parents[2] / "shared/photos/imagenet-sample"
TEMPLATE = "This is a photo of {}."
PHOTOS, LEAST = 300, 7
KINDS = ("even", "uneven", "half absent", "uneven, most absent")
Numbers = np.ndarray[Any, np.dtype[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT)
    parser.add_argument("photos", nargs="?", default=default, type=Path, help="ImageNet photos (default: %(default)s)")
    parser.add_argument("--clothing", type=Path, help="clothing photos (default: clothing beside PHOTOS)")
    parser.add_argument("--library", type=Path, help="keeps the vectors")
    parser.add_argument("--resamples", type=int, default=20, help="of the photos (default: %(default)s)")
    parser.add_argument("--known", type=int, nargs="+", default=[50, 300], help="corrected clothes (default: 50 300)")
    parser.add_argument("--draws", type=int, default=5, help="of each resample (default: %(default)s)")
    parser.add_argument("--only", choices=["clothes", "imagenet"], help="one of the two")
    parser.add_argument("--speed", type=int, nargs="+", metavar="LABELS", help="seconds at 100,000 photos, instead")
    args = parser.parse_args()
    if args.speed:
        speed(args.speed)
        return
    clothing = args.clothing or args.photos.parent / "clothing"
    with tempfile.TemporaryDirectory() as temporary, Library.open(args.library or temporary) as library:
        library.sync([args.photos, clothing])
        for n in args.known if args.only != "imagenet" else []:
            run(f"clothes, {n} of train/ known", *clothes(library, clothing), n, args.resamples, args.draws)
        if args.only != "clothes":
            run(
                "ImageNet by everyday labels, half known",
                *everyday(library, args.photos),
                1000,
                args.resamples,
                args.draws,
            )


def scores_of(library: Library, folder: Path, labels: Mapping[str, list[str]]) -> tuple[list[str], Numbers]:
    chosen = label_set(labels)
    view = library.view([folder])
    return view.paths, Head.of(chosen, view.text_vectors(chosen), view.info)(view.take(range(len(view))))


def clothes(library: Library, folder: Path) -> tuple[Numbers, Numbers, Numbers]:
    labels = {kind: [TEMPLATE.format(word) for word in words] for kind, words in CLOTHING.items()}
    paths, scores = scores_of(library, folder, labels)
    shown = np.array([list(labels).index(Path(path).parent.name) for path in paths])
    return scores, shown, np.array([Path(path).parts[-3] == "train" for path in paths])


def everyday(library: Library, folder: Path) -> tuple[Numbers, Numbers, Numbers]:
    classes = json.loads(Path(__file__).with_name("everyday_labels.json").read_text(encoding="utf-8"))
    of = {
        path: [name for name, one in classes.items() if Path(path).name.split("_")[0] in one["classes"]]
        for path in library.view([folder]).paths
    }
    names = [name for name in classes if sum(said == [name] for said in of.values()) >= LEAST]
    paths, scores = scores_of(library, folder, {name: [TEMPLATE.format(name)] for name in names})
    rows = [row for row, path in enumerate(paths) if len(of[path]) == 1 and of[path][0] in names]
    shown = np.array([names.index(of[paths[row]][0]) for row in rows])
    return scores[rows], shown, np.random.default_rng(1).permutation(len(rows)) % 2 == 0


def shares_for(kind: str, n: int, random: np.random.Generator) -> Numbers:
    if kind == "even":
        return np.full(n, 1 / n)
    if kind == "uneven":
        values = 0.6 ** np.arange(n)
    elif kind == "half absent":
        values = np.r_[np.ones(n // 2), np.zeros(n - n // 2)]
    else:
        values = np.r_[0.5 ** np.arange(4), np.zeros(n - 4)]
    return random.permutation(values / values.sum())


def matched(scores: Numbers, shares: Numbers) -> Numbers:
    """Prior matching (Liusie et al. 2023): weights under which the mean scores are the shares. For comparison."""
    weights = np.ones(scores.shape[1])
    for _ in range(100):
        after = scores * weights
        after /= np.maximum(after.sum(axis=1, keepdims=True), 1e-30)
        weights = weights * np.where(shares > 0, shares / np.maximum(after.mean(axis=0), 1e-30), 0)
        weights /= weights.max()
    return (scores * weights).argmax(axis=1)


def answers(scores: Numbers, shares: Numbers, n: int, *, exact: bool = True) -> dict[str, Numbers]:
    """By the weights of a prior, and by exact shares."""
    shift = prior.shift_to(shares, np.full(n, 1 / n))
    if not exact:
        return {"weights": prior.reweighted(scores, 1.0, shift).argmax(axis=1)}
    moved = transport.transport(scores, transport.quotas(shares, len(scores)))
    return {"weights": prior.reweighted(scores, 1.0, shift).argmax(axis=1), "transport": moved.answers}


def run(
    title: str, scores: Numbers, shown: Numbers, is_known: Numbers, n_known: int, resamples: int, draws: int
) -> None:
    n = scores.shape[1]
    names, even = [str(one) for one in range(n)], np.full(n, 1 / n)
    train, train_shown, test, test_shown = scores[is_known], shown[is_known], scores[~is_known], shown[~is_known]
    gains: dict[str, dict[str, list[float]]] = {}
    off: dict[str, dict[str, list[float]]] = {}
    plain: dict[str, list[float]] = {}
    for kind in KINDS:
        random = np.random.default_rng(0)
        for _ in range(resamples):
            pool = [random.choice(rows := np.flatnonzero(test_shown == one), len(rows)) for one in range(n)]
            some = random.choice(len(train), min(n_known, len(train)), replace=False)
            known = KnownPhotos(train[some], train_shown[some], "train")
            for _ in range(draws):
                shares = shares_for(kind, n, random)
                wanted = transport.quotas(shares, PHOTOS)
                drawn = np.concatenate([random.choice(pool[one], wanted[one]) for one in range(n)])
                here, truth = test[drawn], test_shown[drawn]
                before = (here.argmax(axis=1) == truth).mean()
                plain.setdefault(kind, []).append(float(before))

                def put(
                    name: str, found: Numbers, kind: str = kind, truth: Numbers = truth, at: float = before
                ) -> None:
                    gains.setdefault(name, {}).setdefault(kind, []).append(100 * float((found == truth).mean() - at))

                for how, found in answers(here, shares, n).items():
                    put(f"true shares, {how}", found)
                put("true shares, prior matching", matched(here, shares))
                rough = random.dirichlet(30 * shares + 1e-3)
                for how, found in answers(here, rough, n).items():
                    put(f"rough shares, {how}", found)
                put("even shares, transport", answers(here, even, n)["transport"])
                for method, knowing in (("em", None), ("em", known), ("bbse", known), ("rlls", known)):
                    found, calibration = prior.estimate(
                        lambda here=here: [here], names, even, knowing, method=method, resamples=0
                    )
                    values = np.array(list(found.values.values()))
                    name = f"{method}{'' if knowing is None else ', calibrated'}"
                    off.setdefault(name, {}).setdefault(kind, []).append(float(np.abs(values - shares).sum() / 2))
                    calibrated = prior.reweighted(here, calibration.power, calibration.bias.astype(np.float32))
                    for how, answer in answers(calibrated, values, n, exact=method == "rlls").items():
                        put(f"{name}, {how}", answer)
                put("calibrated, no prior", calibrated.argmax(axis=1))
                counted = np.bincount(here.argmax(axis=1), minlength=n) / PHOTOS
                off.setdefault("counting answers", {}).setdefault(kind, []).append(
                    float(np.abs(counted - shares).sum() / 2)
                )
                off.setdefault("rough shares", {}).setdefault(kind, []).append(float(np.abs(rough - shares).sum() / 2))

    def gain(values: list[float]) -> str:
        means = np.array(values).reshape(resamples, draws).mean(axis=1)
        low, high = means.mean() + np.array([-1.96, 1.96]) * means.std(ddof=1)
        return f"{means.mean():+.1f} ({low:+.1f} … {high:+.1f})"

    print(f"\n**{title}: {n} labels, {len(train)} and {len(test)} photos**\n")
    rows = [["top-1 %, as they are", *(f"{100 * np.mean(plain[kind]):.1f}" for kind in KINDS)]]
    rows += [[name, *(gain(by[kind]) for kind in KINDS)] for name, by in gains.items()]
    print(tabulate(rows, ["", *KINDS], tablefmt="github", disable_numparse=True))
    print()
    rows = [[name, *(f"{np.mean(by[kind]):.2f}" for kind in KINDS)] for name, by in off.items()]
    print(tabulate(rows, ["off", *KINDS], tablefmt="github", disable_numparse=True))


def speed(numbers: Sequence[int]) -> None:
    """Seconds of estimates and transports of random scores."""
    rows = []
    for n_answers in numbers:
        random = np.random.default_rng(0)
        z = (1.5 * random.normal(size=(100_000, n_answers)) + random.normal(size=n_answers)).astype(np.float32)
        z[np.arange(100_000), random.integers(0, n_answers, 100_000)] += 3
        scores = prior.reweighted(np.exp(z), 1.0, np.zeros(n_answers, np.float32))
        shares = random.dirichlet(np.full(n_answers, 0.7))
        known = KnownPhotos(scores[: 10 * n_answers], scores[: 10 * n_answers].argmax(axis=1), "")
        names, even = [str(one) for one in range(n_answers)], np.full(n_answers, 1 / n_answers)
        began = time.process_time()
        prior.estimate(lambda s=scores: np.array_split(s, 100), names, even, known, resamples=0)
        estimated = time.process_time()
        found = transport.transport(scores, transport.quotas(shares, 100_000))
        done = time.process_time()
        likely = np.log(np.maximum(scores, 1e-30)) + found.potentials
        gap = likely.max(axis=1) - likely[np.arange(100_000), found.answers]
        rows.append([n_answers, f"{estimated - began:.2f}", f"{done - estimated:.2f}", f"{gap.mean():.4f}"])
    header = ["labels", "estimate, s of CPU", "transport, s of CPU", "from the best plan, nats a photo at most"]
    print(tabulate(rows, header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()

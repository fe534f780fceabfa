"""What corrections bring, on photos whose answers are known. Prints Markdown tables.

    python benchmarks/lab_few_shot.py [CLOTHING] [--library LIBRARY] [--seeds 5] [--tables all|kinds|next|everywhere]

CLOTHING is clothing-dataset-small: `train/` and `validation/`, one folder per kind. Without it, it is looked for
beside the folder that ZSINDEX_TEST_PHOTOS names, whose photos are those of the last tables. LIBRARY keeps the vectors
for the next time; without it they are computed in a temporary folder, which takes a minute.

The first table draws as many photos of every kind from `train/`, by chance, and learns from them by each method. All
that is chosen, is chosen from these photos; `validation/` is looked at once, at the end. The second lets `zsindex next`
choose what to label, ten photos at a time, out of a random half of `train/`, beside choosing by chance from that half.

The last tables ask all of `questions.py`, with corrections as people make them: as many of each label, by chance, for
some labels much oftener than for others, for half of the labels only, or of mistakes only. Beside the methods of
zsindex stand two as they are published: SS-Text (Silva-Rodríguez et al. 2025) and ProKeR (Bendou et al. 2025).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from clothing import CLOTHING
from questions import Asked, questions
from tabulate import tabulate

from zsindex import Library, label_set
from zsindex.classification.learned import DEFAULT_METHOD, METHODS
from zsindex.classification.scorers import Head, Scorer
from zsindex.classification.view import View
from zsindex.lab.corrections import Lessons
from zsindex.lab.few_shot import Background, Learned, background, learn
from zsindex.lab.next import margins, most_telling
from zsindex.records import FloatArray, IdArray, LabelSet

BESIDE_PROJECT = Path(__file__).resolve().parents[2] / "shared/photos/imagenet-sample"
SHOTS = (1, 2, 4, 8, 16)
BUDGETS = (10, 20, 40, 80)
RESAMPLES = 10_000
WAYS = ("even", "by chance", "uneven", "half of the labels", "mistakes")
# Of ProKeR: chosen on the photos that may be corrected, one part of them against the other.
SHARPNESS, RIDGE = 4.0, 1.0
# What a kernel and a ridge are chosen from by leaving out each correction, as people without a validation set must.
SHARPNESSES, RIDGES = (1.0, 2.0, 4.0, 8.0, 16.0), (0.1, 1.0, 10.0)


class Photos:
    """The vectors of one folder with their kinds, and how well a classifier knows them."""

    def __init__(self, library: Library, folder: Path, labels: LabelSet) -> None:
        self.view: View = library.view([folder])
        self.truth = np.array([labels.labels.index(Path(path).parent.name) for path in self.view.paths])
        self.vectors = self.view.take(range(len(self.view)))

    def right(self, scorer: Scorer) -> np.ndarray:
        """Whether each photo is answered right: float64 (n,)."""
        return (scorer(self.vectors).argmax(axis=1) == self.truth).astype(np.float64)


def taught(
    head: Head, labels: LabelSet, train: Photos, which: IdArray, around: Background, method: str
) -> tuple[Scorer, Learned]:
    """The classifier after saying what some photos of `train` show."""
    return learnt(head, labels, train.vectors[which], train.truth[which], around, method)


def learnt(
    head: Head, labels: LabelSet, vectors: FloatArray, truth: IdArray, around: Background, method: str
) -> tuple[Scorer, Learned]:
    """The classifier after saying what photos show."""
    may_be = np.eye(len(labels), dtype=bool)[truth]
    nothing = np.empty(0, dtype=np.int64)
    lessons = Lessons(labels, np.arange(len(truth)), may_be, np.ones(len(truth), dtype=bool), nothing)
    return learn(head, lessons, vectors, around, method=method)


@cache
def times_drawn(n: int) -> np.ndarray:
    """How often each of n photos is drawn in each bootstrap resample: float64 (resamples, n)."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)


def bounds(values: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap of a mean over photos, 95 %."""
    drawn = times_drawn(len(values)) @ values / len(values)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return low, high


def interval(values: np.ndarray) -> str:
    """A mean with its bounds, in percent."""
    low, high = bounds(values)
    return f"{100 * values.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def by_shots(
    head: Head, labels: LabelSet, train: Photos, test: Photos, around: Background, seeds: int
) -> Iterator[list[str]]:
    """A row for each number of corrections per kind and each method."""
    words = test.right(head)
    yield ["0", "words alone", interval(words), "", "", ""]
    for shots in SHOTS:
        draws = []
        for seed in range(seeds):
            random = np.random.default_rng(seed)
            kinds = [np.flatnonzero(train.truth == kind) for kind in range(len(labels))]
            draws.append(np.sort(np.concatenate([random.permutation(kind)[:shots] for kind in kinds])))
        for method in METHODS:
            found = [taught(head, labels, train, which, around, method) for which in draws]
            right = np.array([test.right(scorer) for scorer, _ in found])
            promised = [100 * learned.gain for _, learned in found if learned.gain is not None]
            each = ", ".join(f"{100 * accuracy:.1f}" for accuracy in right.mean(axis=1))
            trusted = sum(not learned.doubts for _, learned in found)
            yield [
                str(shots),
                method,
                interval(right.mean(axis=0)),
                interval(right.mean(axis=0) - words),
                each,
                f"{np.mean(promised):+.1f}, trusted {trusted} of {seeds}",
            ]


def by_choice(
    head: Head, labels: LabelSet, train: Photos, test: Photos, around: Background, seeds: int
) -> Iterator[list[str]]:
    """A row for each number of corrections: chosen by chance and by `zsindex next`, of the same photos."""
    right: dict[tuple[int, str], list[np.ndarray]] = {}
    for seed in range(seeds):
        pool = np.sort(np.random.default_rng(seed).permutation(len(train.truth))[: len(train.truth) // 2])
        by_chance = np.random.default_rng(seed + 1000).permutation(pool)
        chosen = np.empty(0, dtype=np.int64)
        scorer: Scorer = head
        for budget in range(10, BUDGETS[-1] + 1, 10):
            free = np.setdiff1d(pool, chosen)
            vectors, rows = train.view.vectors, train.view.rows
            unsure = margins(vectors, rows[free], scorer)
            chosen = np.concatenate([chosen, free[most_telling(vectors, rows[free], unsure, rows[chosen], 10)]])
            scorer, _ = taught(head, labels, train, np.sort(chosen), around, DEFAULT_METHOD)
            if budget in BUDGETS:
                other, _ = taught(head, labels, train, np.sort(by_chance[:budget]), around, DEFAULT_METHOD)
                right.setdefault((budget, "chance"), []).append(test.right(other))
                right.setdefault((budget, "next"), []).append(test.right(scorer))
    for budget in BUDGETS:
        chance, told = (np.mean(right[budget, how], axis=0) for how in ("chance", "next"))
        yield [str(budget), interval(chance), interval(told), interval(told - chance)]


# --- as published -----------------------------------------------------------------------------------------------------


def ss_text(asked: Asked, vectors: FloatArray, truth: IdArray) -> Scorer:
    """SS-Text: the support of each label is added to its text vector, the more the more there is of it."""
    told = np.eye(len(asked.labels), dtype=np.float32)[truth]
    scale = np.linalg.norm(asked.head.weights, axis=1, keepdims=True)  # 1 / τ, since text vectors have length 1
    prototypes = asked.head.weights / scale + scale * told.mean(axis=0)[:, None] * (told.T @ vectors)
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    return lambda images: images @ prototypes.T


def proker(asked: Asked, vectors: FloatArray, truth: IdArray) -> Scorer:
    """ProKeR with one kernel and one ridge for all."""
    cosines, residual = _residual(asked, vectors, truth)
    kernel = np.exp(SHARPNESS * (vectors @ vectors.T - 1))
    alpha = np.linalg.solve(np.eye(len(truth)) + kernel / RIDGE, residual)
    return lambda images: cosines(images) + np.exp(SHARPNESS * (images @ vectors.T - 1)) @ alpha


def proker_left_out(asked: Asked, vectors: FloatArray, truth: IdArray) -> Scorer:
    """ProKeR with the kernel and the ridge by which most corrections are answered right, each left out in turn.

    Exactly: what is predicted for an example without it is ``residual - alpha / diagonal of the inverse``.
    """
    cosines, residual = _residual(asked, vectors, truth)
    known = cosines(vectors)
    best: tuple[float, float, np.ndarray] = (-1.0, 0.0, np.zeros_like(residual))
    for sharpness in SHARPNESSES:
        kernel = np.exp(sharpness * (vectors @ vectors.T - 1))
        for ridge in RIDGES:
            inverse = np.linalg.inv(kernel + ridge * np.eye(len(truth)))
            alpha = inverse @ residual
            left_out = known + ridge * (residual - alpha / inverse.diagonal()[:, None])
            right = float((left_out.argmax(axis=1) == truth).mean())
            best = max(best, (right, sharpness, ridge * alpha), key=lambda one: one[0])
    _, sharpness, alpha = best
    return lambda images: cosines(images) + np.exp(sharpness * (images @ vectors.T - 1)) @ alpha


def _residual(
    asked: Asked, vectors: FloatArray, truth: IdArray
) -> tuple[Callable[[FloatArray], FloatArray], np.ndarray]:
    """Cosines with the labels' texts, as a function of images; and what the examples' cosines lack of what was said."""
    texts = asked.head.weights / np.linalg.norm(asked.head.weights, axis=1, keepdims=True)
    return lambda images: images @ texts.T, np.eye(len(texts))[truth] - vectors @ texts.T


def _ours(method: str) -> Callable[[Asked, FloatArray, IdArray], Scorer]:
    return lambda asked, vectors, truth: learnt(asked.head, asked.labels, vectors, truth, asked.around, method)[0]


LEARNERS: dict[str, Callable[[Asked, FloatArray, IdArray], Scorer]] = {
    **{method: _ours(method) for method in METHODS},
    "SS-Text": ss_text,
    "ProKeR": proker,
    "ProKeR, left out": proker_left_out,
}


# --- everywhere -------------------------------------------------------------------------------------------------------


def drawn(asked: Asked, way: str, shots: int, seed: int) -> IdArray:
    """Numbers of the photos that are corrected: at most `shots` per label on average, ascending."""
    random = np.random.default_rng(seed)
    photos, n = random.permutation(len(asked.truth)), len(asked.labels)
    labels = random.permutation(n)
    of_label = np.full(n, shots)
    if way == "uneven":  # as often as words are in a language
        of_label = np.round(shots * n / np.arange(1, n + 1) / (1 / np.arange(1, n + 1)).sum()).astype(np.int64)
    elif way == "half of the labels":
        labels, of_label = labels[: n // 2], of_label[: n // 2]
    elif way == "mistakes":
        wrong = asked.head(asked.vectors).argmax(axis=1) != asked.truth
        return np.sort(photos[wrong[photos]][: shots * n])
    elif way == "by chance":
        return np.sort(photos[: shots * n])
    told = [photos[asked.truth[photos] == label][:most] for label, most in zip(labels, of_label, strict=True)]
    return np.sort(np.concatenate(told))


class Cell(NamedTuple):
    """What one learner brings to one question, one way and one number of corrections.

    Attributes:
        gains: float64 (photos,), of each test photo, the mean of all draws.
        draws: of each draw, the mean of all test photos.
    """

    question: str
    way: str
    shots: int
    gains: np.ndarray
    draws: np.ndarray


def everywhere(asked_all: list[Asked], learner: str, seeds: int) -> list[Cell]:
    """All cells of a learner."""
    cells = []
    for asked in asked_all:
        words = asked.head(asked.test_vectors).argmax(axis=1) == asked.test_truth
        for way in WAYS:
            for shots in SHOTS:
                gains = []
                for seed in range(seeds):
                    which = drawn(asked, way, shots, seed)
                    scorer = LEARNERS[learner](asked, asked.vectors[which], asked.truth[which])
                    right = scorer(asked.test_vectors).argmax(axis=1) == asked.test_truth
                    gains.append(right.astype(np.float64) - words)
                found = np.array(gains)
                cells.append(Cell(asked.name, way, shots, found.mean(axis=0), found.mean(axis=1)))
    return cells


def in_short(cells: dict[str, list[Cell]]) -> Iterator[list[str]]:
    """A row for each learner."""
    for learner, found in cells.items():
        means = defaultdict(list)
        for cell in found:
            means[cell.shots].append(100 * cell.gains.mean())
        below = sum(bounds(cell.gains)[1] < 0 for cell in found)
        worst = min(found, key=lambda cell: cell.gains.mean())
        yield [
            learner,
            *(f"{np.mean(means[shots]):+.1f}" for shots in SHOTS),
            f"{below} of {len(found)}",
            f"{100 * worst.gains.mean():+.1f} ({worst.question}; {worst.way}, {worst.shots})",
            f"{100 * min(cell.draws.min() for cell in found):+.1f}",
        ]


def in_detail(found: list[Cell]) -> Iterator[list[str]]:
    """A row for each question and way."""
    by_row = defaultdict(list)
    for cell in found:
        by_row[cell.question, cell.way].append(interval(cell.gains))
    for (question, way), gains in by_row.items():
        yield [question, way, *gains]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    photos = Path(os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT))
    parser.add_argument("clothing", nargs="?", default=photos.parent / "clothing", type=Path, help="(%(default)s)")
    parser.add_argument("--library", type=Path, help="where to keep the vectors")
    parser.add_argument("--model", default="nano", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=5, help="draws of photos to label (default: %(default)s)")
    parser.add_argument("--tables", choices=["all", "kinds", "next", "everywhere"], default="all")
    args = parser.parse_args()
    for folder in (args.clothing, photos):
        if not folder.is_dir():
            parser.error(f"there is no folder {folder}; name one, or set ZSINDEX_TEST_PHOTOS")
    with (
        tempfile.TemporaryDirectory() as temporary,
        Library.open(args.library or Path(temporary, "library"), model=args.model) as library,
    ):
        library.sync([args.clothing, photos])
        if args.tables != "everywhere":
            of_clothes(library, args)
        if args.tables in ("all", "everywhere"):
            of_everything(library, photos, args)


def of_clothes(library: Library, args: argparse.Namespace) -> None:
    """The tables about one question."""
    prompts = {kind: [f"This is a photo of {word}." for word in words] for kind, words in CLOTHING.items()}
    labels = label_set(prompts)
    train, test = (Photos(library, args.clothing / name, labels) for name in ("train", "validation"))
    head = Head.of(labels, train.view.text_vectors(labels), train.view.info)
    # As in a library that holds what is to be answered, too: without labels.
    around = background(library.view([args.clothing]).vectors)
    print(f"{len(train.truth)} photos to label, {len(test.truth)} to test on, {args.model}, {args.seeds} draws\n")
    if args.tables != "next":
        header = ["per kind", "method", "right, %", "gain", "each draw", "gain that was promised"]
        show(by_shots(head, labels, train, test, around, args.seeds), header)
    if args.tables != "kinds":
        header = ["corrections", "by chance, %", "by `zsindex next`, %", "difference"]
        show(by_choice(head, labels, train, test, around, args.seeds), header)


def of_everything(library: Library, photos: Path, args: argparse.Namespace) -> None:
    """The tables about all questions."""
    asked_all = list(questions(library, photos, args.clothing))
    known = [
        [asked.name, str(len(asked.labels)), str(len(asked.truth)), str(len(asked.test_truth)), interval(words)]
        for asked in asked_all
        for words in [(asked.head(asked.test_vectors).argmax(axis=1) == asked.test_truth).astype(np.float64)]
    ]
    show(known, ["question", "labels", "photos to correct", "to test on", "words alone, %"])
    cells = {learner: everywhere(asked_all, learner, args.seeds) for learner in LEARNERS}
    per_label = [f"{shots} each" for shots in SHOTS]
    show(in_short(cells), ["method", *per_label, "below words", "worst mean", "worst draw"])
    show(in_detail(cells[DEFAULT_METHOD]), ["question", "corrections", *per_label])


def show(rows: Iterable[list[str]], header: list[str]) -> None:
    """A Markdown table."""
    print(tabulate(rows, header, tablefmt="github", disable_numparse=True), end="\n\n", flush=True)


if __name__ == "__main__":
    main()

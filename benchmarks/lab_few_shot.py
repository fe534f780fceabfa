"""What corrections bring, on photos of clothes: learnt from `train/`, tested on `validation/`. Prints Markdown tables.

    python benchmarks/lab_few_shot.py [CLOTHING] [--library LIBRARY] [--seeds 5]

CLOTHING is clothing-dataset-small: `train/` and `validation/`, one folder per kind. Without it, it is looked for
beside the folder that ZSINDEX_TEST_PHOTOS names. LIBRARY keeps the vectors for the next time; without it they are
computed in a temporary folder, which takes a minute.

The first table draws as many photos of every kind from `train/`, by chance, and learns from them by both methods. All
that is chosen, is chosen from these photos; `validation/` is looked at once, at the end. The second lets `zsindex next`
choose what to label, ten photos at a time, out of a random half of `train/`, beside choosing by chance from that half.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from clothing import CLOTHING
from tabulate import tabulate

from zsindex import Library, label_set
from zsindex.classification.scorers import Head, Scorer
from zsindex.classification.view import View
from zsindex.lab.corrections import Lessons
from zsindex.lab.few_shot import METHODS, Background, Learned, background, learn
from zsindex.lab.next import margins, most_telling
from zsindex.records import IdArray, LabelSet

BESIDE_PROJECT = Path(__file__).resolve().parents[2] / "shared/photos/imagenet-sample"
SHOTS = (1, 2, 4, 8, 16)
BUDGETS = (10, 20, 40, 80)
RESAMPLES = 10_000


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
    may_be = np.eye(len(labels), dtype=bool)[train.truth[which]]
    nothing = np.empty(0, dtype=np.int64)
    lessons = Lessons(labels, np.arange(len(which)), may_be, np.ones(len(which), dtype=bool), nothing)
    return learn(head, lessons, train.vectors[which], around, method=method)


def interval(values: np.ndarray) -> str:
    """A mean with its percentile bootstrap over photos, 95 %, in percent."""
    shares = np.full(len(values), 1 / len(values))
    drawn = np.random.default_rng(0).multinomial(len(values), shares, size=RESAMPLES) @ values / len(values)
    low, high = np.quantile(drawn, [0.025, 0.975])
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
            scorer, _ = taught(head, labels, train, np.sort(chosen), around, "gda")
            if budget in BUDGETS:
                other, _ = taught(head, labels, train, np.sort(by_chance[:budget]), around, "gda")
                right.setdefault((budget, "chance"), []).append(test.right(other))
                right.setdefault((budget, "next"), []).append(test.right(scorer))
    for budget in BUDGETS:
        chance, told = (np.mean(right[budget, how], axis=0) for how in ("chance", "next"))
        yield [str(budget), interval(chance), interval(told), interval(told - chance)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT)).parent / "clothing"
    parser.add_argument("clothing", nargs="?", default=default, type=Path, help="default: %(default)s")
    parser.add_argument("--library", type=Path, help="where to keep the vectors")
    parser.add_argument("--model", default="nano", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=5, help="draws of photos to label (default: %(default)s)")
    args = parser.parse_args()
    if not args.clothing.is_dir():
        parser.error(f"there is no folder {args.clothing}; name one, or set ZSINDEX_TEST_PHOTOS")
    with (
        tempfile.TemporaryDirectory() as temporary,
        Library.open(args.library or Path(temporary, "library"), model=args.model) as library,
    ):
        library.sync([args.clothing])
        prompts = {kind: [f"This is a photo of {word}." for word in words] for kind, words in CLOTHING.items()}
        labels = label_set(prompts)
        train, test = (Photos(library, args.clothing / name, labels) for name in ("train", "validation"))
        head = Head.zero_shot(
            train.view.text_vectors(labels),
            logit_scale=train.view.info.logit_scale,
            logit_bias=train.view.info.logit_bias,
            activation=train.view.info.activation,
        )
        # As in a library that holds what is to be answered, too: without labels.
        around = background(library.view([args.clothing]).vectors)
        print(f"{len(train.truth)} photos to label, {len(test.truth)} to test on, {args.model}, {args.seeds} draws\n")
        header = ["per kind", "method", "right, %", "gain", "each draw", "gain that was promised"]
        print(
            tabulate(
                by_shots(head, labels, train, test, around, args.seeds),
                header,
                tablefmt="github",
                disable_numparse=True,
            )
        )
        header = ["corrections", "by chance, %", "by `zsindex next`, %", "difference"]
        print()
        print(
            tabulate(
                by_choice(head, labels, train, test, around, args.seeds),
                header,
                tablefmt="github",
                disable_numparse=True,
            )
        )


if __name__ == "__main__":
    main()

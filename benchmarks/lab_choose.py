"""How many looks it takes to know the best of several candidates, and how often it is the best, as Markdown.

    python benchmarks/lab_choose.py simulate [--seeds N] [--from SEED] [--coda]
    python benchmarks/lab_choose.py photos [CLOTHING] [--library FOLDER] [--seeds N]
    python benchmarks/lab_choose.py time [--photos N]

`simulate` makes candidates with exact accuracies, whose errors depend on each other, on photos of ten classes.
`photos` lets nano answer the clothing photos (train/ and validation/ of clothing-dataset-small, a folder for each kind)
by several words and templates, beside a model with random weights, and asks what their folders say.

Beside the race of `zsindex choose` stand: the same wagers on photos drawn from all, whether candidates differ on them
or not; and, with --coda, consensus-driven active model selection (Kay et al., ICCV 2025), written from its formulas:
Dirichlet priors for each candidate's confusions from the mean of all candidates, the photo with the largest expected
information about which is best, and the probability of being best as what is said to be known.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tabulate import tabulate

from zsindex import Library, label_set
from zsindex.lab.choose import Race

CLASSES = 10
CONFIDENCE = 0.95
BUDGETS = (10, 25, 50, 100)
# (accuracies, within); written down before anything was measured.
WORLDS = [
    ((0.80, 0.60), 0.01),
    ((0.70, 0.66, 0.60), 0.01),
    ((0.70, 0.69, 0.50), 0.02),
    ((0.70, 0.68, 0.66, 0.64, 0.60), 0.02),
    ((0.70, 0.70), 0.03),
]
PHOTOS = 1000

Answers = npt.NDArray[np.int64]
Right = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    simulated = parts.add_parser("simulate")
    simulated.add_argument("--from", dest="first", type=int, default=0, help="the first seed (default: %(default)s)")
    simulated.add_argument("--seeds", type=int, default=100, help="(default: %(default)s)")
    simulated.add_argument("--coda", action="store_true", help="also CODA, which takes a hundred times as long")
    on_photos = parts.add_parser("photos")
    on_photos.add_argument("clothing", type=Path, nargs="?", default=Path("../shared/photos/clothing"))
    on_photos.add_argument("--library", type=Path, help="where vectors are kept (default: a temporary folder)")
    on_photos.add_argument("--seeds", type=int, default=50, help="(default: %(default)s)")
    timed = parts.add_parser("time")
    timed.add_argument("--photos", type=int, default=100_000, help="(default: %(default)s)")
    args = parser.parse_args()
    if args.part == "simulate":
        simulate(range(args.first, args.first + args.seeds), coda=args.coda)
    elif args.part == "photos":
        photos(args.clothing, args.library, args.seeds)
    else:
        speed(args.photos)


# --- worlds -----------------------------------------------------------------------------------------------------------


def world(seed: int, accuracies: Sequence[float], n: int = PHOTOS) -> tuple[Answers, npt.NDArray[np.int64]]:
    """Answers (n, h), and what photos show (n,). Accuracies are exact; some photos are hard for all candidates, and
    seven in ten wrong answers are one of two that are easily taken for the truth.
    """
    random = np.random.default_rng(seed)
    truth, hard = random.integers(0, CLASSES, n), random.normal(size=n)
    alike = (truth + 1 + random.integers(0, 2, n)) % CLASSES
    answers = np.empty((n, len(accuracies)), dtype=np.int64)
    for one, accuracy in enumerate(accuracies):
        trouble = 0.7 * hard + np.sqrt(1 - 0.7**2) * random.normal(size=n)
        wrong = np.argsort(trouble)[round(accuracy * n) :]
        other = np.where(random.random(n) < 0.7, alike, random.integers(0, CLASSES, n))
        answers[:, one] = truth
        answers[wrong, one] = np.where(other == truth, alike, other)[wrong]
    return answers, truth


# --- ways to choose ---------------------------------------------------------------------------------------------------


@dataclass
class Outcomes:
    """What came of one way to choose: looks, whether what it named was good, and how much worse its leader was than the
    best after so many looks.
    """

    looks: list[int] = field(default_factory=list)
    good: list[bool] = field(default_factory=list)
    unfinished: int = 0
    regret: dict[int, list[float]] = field(default_factory=lambda: {budget: [] for budget in BUDGETS})

    def row(self, name: str) -> list[object]:
        looks = f"{np.mean(self.looks):.0f}" if self.looks else "–"
        middle = f"{np.median(self.looks):.0f}" if self.looks else "–"
        good = f"{sum(self.good)} of {len(self.good)}" if self.good else "–"
        regret = [f"{100 * np.mean(found):.2f}" for found in self.regret.values()]
        return [name, looks, middle, good, self.unfinished or "", *regret]


HEADER = ["", "looks", "median", "named is good", "not named", *(f"regret at {budget}" for budget in BUDGETS)]


class FromAll(Race):
    """Draws from all photos, as if nobody knew on which the candidates differ."""

    def _useful(self) -> Right:
        return np.ones(len(self._left), dtype=bool)


def race(kind: type[Race], answers: Answers, right: Right, within: float, seed: int, outcomes: Outcomes) -> None:
    accuracy = right.mean(axis=0)
    running = kind(answers, confidence=CONFIDENCE, within=within, seed=seed)
    regret = [accuracy.max() - accuracy[running.leader]]
    while (at := running.next()) is not None:
        running.take(at, right[at])
        regret.append(accuracy.max() - accuracy[running.leader])
    named = running.named
    assert named is not None
    outcomes.looks.append(running.looked_at)
    outcomes.good.append(bool(accuracy[named] >= accuracy.max() - within - 1e-9))
    for budget, found in outcomes.regret.items():
        found.append(regret[min(budget, len(regret) - 1)])


class Coda:
    """Consensus-driven active model selection; names as in the paper."""

    GRID = np.linspace(1e-4, 1 - 1e-4, 128)

    def __init__(self, answers: Answers, scores: Floats, *, alpha: float = 0.9, learning_rate: float) -> None:
        """Args:
        answers: (n, h).
        scores: (h, n, c).
        """
        self.answers, self.scores, self.learning_rate = answers, scores, learning_rate
        h, _, c = scores.shape
        consensus = np.eye(c)[scores.mean(axis=0).argmax(axis=1)]
        confusion = np.einsum("nc,hnj->hcj", consensus, scores)
        confusion /= np.clip(confusion.sum(axis=-1, keepdims=True), 1e-6, None)
        base = np.full((c, c), 1 / (c - 1))
        np.fill_diagonal(base, 1)
        self.theta = base + (1 - alpha) * confusion
        self.open = (answers != answers[:, :1]).any(axis=1)
        self.hits = ((np.arange(2**h)[:, None] >> np.arange(h)) & 1).astype(np.float64)
        agree = answers[:, :, None] == np.arange(c)
        self.mask = (agree * (1 << np.arange(h))[None, :, None]).sum(axis=1)  # (n, c)
        self.refresh()

    def refresh(self) -> None:
        adjusted = np.einsum("hcs,hns->nc", self.theta, self.scores)
        self.pi_of = adjusted / adjusted.sum(axis=1, keepdims=True)
        self.pi = self.pi_of.mean(axis=0)
        self.a = np.diagonal(self.theta, axis1=1, axis2=2).T  # (c, h)
        self.b = self.theta.sum(axis=-1).T - self.a
        self.by_class = self.p_best(self.a, self.b)
        self.p = self.pi @ self.by_class

    def p_best(self, a: Floats, b: Floats) -> Floats:
        """The probability that each beta-distributed accuracy is the largest: (…, h)."""
        log = (a[..., None] - 1) * np.log(self.GRID) + (b[..., None] - 1) * np.log1p(-self.GRID)
        density = np.exp(log - log.max(axis=-1, keepdims=True))
        density /= density.sum(axis=-1, keepdims=True)
        below = np.log(np.clip(np.cumsum(density, axis=-1) - density / 2, 1e-30, None))
        p = (density * np.exp(below.sum(axis=-2, keepdims=True) - below)).sum(axis=-1)
        return np.asarray(p / p.sum(axis=-1, keepdims=True))

    def next(self) -> int | None:
        [rows] = np.nonzero(self.open)
        if not len(rows):
            return None
        after = self.p_best(self.a[:, None] + self.hits, self.b[:, None] + 1 - self.hits)  # (c, masks, h)
        entropies = entropy(self.p + self.pi[:, None, None] * (after - self.by_class[:, None]))
        expected = (self.pi_of[rows] * entropies[np.arange(len(self.pi)), self.mask[rows]]).sum(axis=1)
        return int(rows[expected.argmin()])

    def take(self, photo: int, truth: int) -> None:
        for one, answer in enumerate(self.answers[photo].tolist()):
            self.theta[one, truth, answer] += self.learning_rate
        self.open[photo] = False
        self.refresh()


def entropy(p: Floats) -> Floats:
    p = np.clip(p, 1e-12, 1)
    return np.asarray(-(p * np.log2(p)).sum(axis=-1))


def by_coda(answers: Answers, truth: Answers, within: float, learning_rate: float, outcomes: Outcomes) -> None:
    """At most as many looks as the largest budget, or until one candidate is the best with the stated probability."""
    n, h = answers.shape
    scores = np.full((h, n, CLASSES), 0.3 / CLASSES)
    for one in range(h):
        scores[one, np.arange(n), answers[:, one]] += 0.7
    accuracy = (answers == truth[:, None]).mean(axis=0)
    chooser = Coda(answers, scores, learning_rate=learning_rate)
    regret, stopped = [accuracy.max() - accuracy[chooser.p.argmax()]], False
    while len(regret) <= max(BUDGETS) and (at := chooser.next()) is not None:
        chooser.take(at, int(truth[at]))
        regret.append(accuracy.max() - accuracy[chooser.p.argmax()])
        if not stopped and chooser.p.max() >= CONFIDENCE:
            stopped = True
            outcomes.looks.append(len(regret) - 1)
            outcomes.good.append(bool(accuracy[chooser.p.argmax()] >= accuracy.max() - within - 1e-9))
    outcomes.unfinished += not stopped
    for budget, found in outcomes.regret.items():
        found.append(regret[min(budget, len(regret) - 1)])


# --- experiments ------------------------------------------------------------------------------------------------------


def simulate(seeds: range, *, coda: bool) -> None:
    for accuracies, within in WORLDS:
        found = {name: Outcomes() for name in ("zsindex choose", "from all photos")}
        if coda:
            found |= {"CODA, learning rate 0.01": Outcomes(), "CODA, learning rate 1": Outcomes()}
        differ = []
        for seed in seeds:
            answers, truth = world(seed, accuracies)
            right = answers == truth[:, None]
            differ.append((answers != answers[:, :1]).any(axis=1).mean())
            race(Race, answers, right, within, seed, found["zsindex choose"])
            race(FromAll, answers, right, within, seed, found["from all photos"])
            if coda:
                for rate in (0.01, 1.0):
                    by_coda(answers, truth, within, rate, found[f"CODA, learning rate {rate:g}"])
        said, share = ", ".join(f"{one:.2f}" for one in accuracies), np.mean(differ)
        print(f"\n**{said}, within {within:g}**: {len(seeds)} seeds of {PHOTOS:,} photos; they differ on {share:.0%}\n")
        print(tabulate([one.row(name) for name, one in found.items()], HEADER, tablefmt="github"), flush=True)


KINDS = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
# As in lab_eval.py.
EVERYDAY = {"longsleeve": ["sweatshirt", "sweater"], "outwear": ["coat", "jacket"], "pants": ["trousers", "jeans"],
            "shoes": ["shoes", "sneakers"], "t-shirt": ["T-shirt"]}  # fmt: skip


def photos(folder: Path, place: Path | None, seeds: int) -> None:
    with tempfile.TemporaryDirectory() as temporary, Library.open(place or Path(temporary) / "library") as library:
        library.sync(folder)
        candidates = dict(ways(library, folder))
        truth = np.array([KINDS.index(Path(path).parent.name) for path in library.photos.paths(folder)])
    for names, within in (
        (("folder names", "everyday words"), 0.01),
        (("folder names", "everyday words", "openai-7", "everyday, openai-7"), 0.02),
        (("folder names", "plain", "openai-7"), 0.02),
        (("folder names", "everyday words", "random weights"), 0.01),
    ):
        answers = np.stack([candidates[name] for name in names], axis=1)
        right = answers == truth[:, None]
        found = {name: Outcomes() for name in ("zsindex choose", "from all photos")}
        for seed in range(seeds):
            race(Race, answers, right, within, seed, found["zsindex choose"])
            race(FromAll, answers, right, within, seed, found["from all photos"])
        differ = (answers != answers[:, :1]).any(axis=1).sum()
        said = ", ".join(f"{name} {share:.1%}" for name, share in zip(names, right.mean(axis=0), strict=True))
        print(f"\n**{said}; within {within:g}**: they differ on {differ} of {len(truth)} photos, {seeds} seeds\n")
        print(tabulate([one.row(name) for name, one in found.items()], HEADER, tablefmt="github"), flush=True)


def ways(library: Library, folder: Path) -> Iterator[tuple[str, Answers]]:
    """The answers of each candidate, in the order of the photos."""
    plain = label_set({kind: [] for kind in KINDS})
    words = {kind: [f"This is a photo of {one}." for one in EVERYDAY.get(kind, [kind])] for kind in KINDS}
    for name, labels, template in (
        ("folder names", plain, None),
        ("plain", plain, "plain"),
        ("openai-7", plain, "openai-7"),
        ("everyday words", label_set(words), None),
        ("everyday, openai-7", {kind: EVERYDAY.get(kind, [kind])[0] for kind in KINDS}, None),
    ):
        if name == "everyday, openai-7":
            assert isinstance(labels, dict)
            answer = library.classify(list(labels.values()), template="openai-7", paths=[folder], top=1)
        else:
            answer = library.classify(labels, template=template, paths=[folder], top=1)
        yield name, answer.ranked[0][:, 0]
    # A model that knows nothing: its answers are as those of any random projection of what it sees.
    vectors = library.view(folder)
    rows = vectors.take(np.arange(len(vectors)))
    random = np.random.default_rng(0).normal(size=(rows.shape[1], len(KINDS)))
    yield "random weights", (rows @ random).argmax(axis=1)


def speed(n: int) -> None:
    """The time from an answer to the next photo."""
    for accuracies in ((0.70, 0.66, 0.60), tuple(0.70 - 0.01 * k for k in range(10))):
        answers, truth = world(0, accuracies, n)
        right = answers == truth[:, None]
        began = time.perf_counter()
        running = Race(answers, within=0.01)
        made, steps, states = time.perf_counter() - began, [], []
        for _ in range(300):
            began = time.perf_counter()
            at = running.next()
            if at is None:
                break
            running.take(at, right[at])
            steps.append(time.perf_counter() - began)
            began = time.perf_counter()
            running.standing([str(k) for k in range(len(accuracies))])
            states.append(time.perf_counter() - began)
        print(
            f"{len(accuracies)} candidates, {n:,} photos: made in {made:.2f} s; an answer and the next photo "
            f"{1e3 * np.median(steps):.1f} ms (most {1e3 * max(steps):.1f}), intervals {1e3 * np.median(states):.1f} "
            f"ms (most {1e3 * max(states):.1f}) over {len(steps)} looks"
        )


if __name__ == "__main__":
    main()

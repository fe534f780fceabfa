"""Questions about the photos at hand whose answers are known: ten kinds of clothes, and things on ImageNet photos.

The words were written down before anything was measured with them, some of them badly on purpose: what a model has
never read is where corrections should help most, and what it knows well is where they can only harm. Keep it so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from clothing import CLOTHING, DESCRIBED

from zsindex import LabelSet, Library, label_set, prompts_for
from zsindex.classification.scorers import Head
from zsindex.classification.view import View
from zsindex.lab.few_shot import Background, background
from zsindex.records import FloatArray, IdArray

HERE = Path(__file__).resolve().parent

WORN = {
    "top": ["longsleeve", "outwear", "shirt", "t-shirt"],
    "bottoms": ["pants", "shorts", "skirt"],
    "dress": ["dress"],
    "hat": ["hat"],
    "shoes": ["shoes"],
}
# Made of the labels of everyday_labels.json.
COARSE = {
    "animal": ["dog", "cat", "bird", "fish", "insect", "snake", "lizard", "monkey", "spider", "turtle", "frog", "bear",
               "rabbit", "ape"],
    "vehicle": ["car", "boat", "aircraft", "train", "truck"],
    "musical instrument": ["musical instrument"],
    "furniture": ["furniture"],
    "building": ["building"],
    "food": ["food", "mushroom"],
    "clothing": ["clothing", "shoe"],
    "household object": ["tool", "bottle", "computer", "ball", "home appliance", "clock", "tent"],
    "landscape": ["mountain"],
}  # fmt: skip
FINER = {
    "mammal": ["dog", "cat", "monkey", "bear", "rabbit", "ape"],
    "bird": ["bird"],
    "reptile or amphibian": ["snake", "lizard", "turtle", "frog"],
    "fish": ["fish"],
    "insect or spider": ["insect", "spider"],
    "vehicle": ["car", "boat", "aircraft", "train", "truck"],
    "device": ["musical instrument", "tool", "computer", "home appliance", "clock", "bottle", "ball"],
    "furniture": ["furniture"],
    "building": ["building", "tent"],
    "food": ["food", "mushroom"],
    "clothing": ["clothing", "shoe"],
}
LATIN = {
    "dog": "canis", "cat": "felis", "bird": "aves", "fish": "pisces", "insect": "insecta", "snake": "serpentes",
    "lizard": "lacertilia", "monkey": "simiae", "spider": "araneae", "turtle": "testudines", "frog": "anura",
    "bear": "ursidae", "rabbit": "leporidae", "ape": "hominoidea",
}  # fmt: skip
GERMAN = {
    "dog": "Hund", "cat": "Katze", "bird": "Vogel", "fish": "Fisch", "insect": "Insekt", "snake": "Schlange",
    "lizard": "Echse", "monkey": "Affe", "car": "Auto", "boat": "Boot", "aircraft": "Flugzeug", "train": "Zug",
    "musical instrument": "Musikinstrument", "furniture": "Möbel", "building": "Gebäude", "food": "Essen",
    "clothing": "Kleidung", "spider": "Spinne", "turtle": "Schildkröte", "frog": "Frosch", "bear": "Bär",
    "rabbit": "Hase", "ape": "Menschenaffe", "truck": "Lastwagen", "tool": "Werkzeug", "bottle": "Flasche",
    "computer": "Computer", "ball": "Ball", "mushroom": "Pilz", "mountain": "Berg", "shoe": "Schuh",
    "home appliance": "Haushaltsgerät", "clock": "Uhr", "tent": "Zelt",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A question, and photos whose answers are known: some to learn from, others to test on.

    Attributes:
        words: the names of each label.
        labels: the same in the default template.
        vectors, truth: float32 (n, dim) and int64 (n,), of the photos to learn from.
        test_vectors, test_truth: of the others.
        around: of all of them.
    """

    name: str
    words: tuple[tuple[str, ...], ...]
    labels: LabelSet
    head: Head
    vectors: FloatArray
    truth: IdArray
    test_vectors: FloatArray
    test_truth: IdArray
    around: Background


def questions(library: Library, photos: Path, clothing: Path) -> Iterator[Asked]:
    """All of them, on the photos of two folders that the library holds.

    Of clothes, `train/` is there to learn from; of the ImageNet photos a half, by chance.
    """
    clothes = library.view([clothing])
    kinds = [Path(path).parent.name for path in clothes.paths]
    is_first = np.array([Path(path).parent.parent.name == "train" for path in clothes.paths])
    each = {kind: kind for kind in CLOTHING}
    yield _asked("clothes, in other words", library, clothes, kinds, is_first, each, CLOTHING)
    yield _asked("clothes, folders’ names", library, clothes, kinds, is_first, each, {kind: [kind] for kind in each})
    yield _asked("clothes, described", library, clothes, kinds, is_first, each, DESCRIBED)
    worn = {kind: label for label, members in WORN.items() for kind in members}
    yield _asked("clothes, where worn", library, clothes, kinds, is_first, worn, {label: [label] for label in WORN})

    everyday = json.loads((HERE / "everyday_labels.json").read_text(encoding="utf-8"))
    label_of = {wordnet: label for label, known in reversed(everyday.items()) for wordnet in known["classes"]}
    things = library.view([photos])
    shown = [label_of.get(Path(path).name.split("_")[0], "") for path in things.paths]
    is_first = np.zeros(len(shown), dtype=bool)
    is_first[np.random.default_rng(123).permutation(len(shown))[: len(shown) // 2]] = True
    same = {label: label for label in everyday}
    yield _asked("things", library, things, shown, is_first, same, {label: [label] for label in same})
    for name, groups in (("things, coarse", COARSE), ("things, finer", FINER)):
        grouped = {member: label for label, members in groups.items() for member in members}
        yield _asked(name, library, things, shown, is_first, grouped, {label: [label] for label in groups})
    for name, translated in (("animals, in Latin", LATIN), ("things, in German", GERMAN)):
        foreign = {label: [word] for label, word in translated.items()}
        yield _asked(name, library, things, shown, is_first, {label: label for label in translated}, foreign)


def _asked(
    name: str,
    library: Library,
    view: View,
    shown: Sequence[str],
    is_first: np.ndarray,
    label_of: Mapping[str, str],
    words: Mapping[str, Sequence[str]],
) -> Asked:
    labels = label_set({label: prompts_for(found) for label, found in words.items()})
    truth = np.array([labels.labels.index(label_of[one]) if one in label_of else -1 for one in shown])
    first, rest = np.flatnonzero(is_first & (truth >= 0)), np.flatnonzero(~is_first & (truth >= 0))
    return Asked(
        name,
        tuple(tuple(found) for found in words.values()),
        labels,
        Head.of(labels, view.text_vectors(labels), view.info),
        view.take(first),
        truth[first],
        view.take(rest),
        truth[rest],
        background(view.vectors),
    )

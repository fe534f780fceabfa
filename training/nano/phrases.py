"""The training data of the text tower: phrases with target vectors, made from words and class vectors alone."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from training.nano.lexicon import Lexicon
from training.nano.space import Array, unit
from training.nano.wordnet import ANIMAL_FILE, CONCRETE_FILES, LOCATION_FILE, PERSON, PLANT_FILE, WordNet

WITH_PLURAL = frozenset({"name", "above", "lexicon", "noun"})
"""Groups whose phrases come in the plural too, as the group "name+s" and so on."""

TEMPERATURE, TEMPERATURE_GLOSS = 0.04, 0.05
"""How sharply the teacher prefers the nearest anchors; cosines of longer texts differ less."""

MAX_CLASSES_NEAR, MAX_STEPS_NEAR = 150, 3
"""A noun takes after an ancestor that is at most so many steps up and has at most so many classes below. What lies
higher ("artifact", "whole") says nothing about it."""

MAX_CLASSES_GLOSS = 400

Teacher = Callable[[Sequence[str]], Array]

log = logging.getLogger(__name__)


class Phrases(NamedTuple):
    """The finished table.

    Attributes:
        texts: lower case, each once.
        groups: str, shape (n,): where a text comes from; the share of each group in training is set elsewhere.
        weights: float64, shape (n,): how often a text is drawn, relative to others of its group.
        targets: float32, shape (n, dim), unit rows.
    """

    texts: list[str]
    groups: np.ndarray
    weights: Array
    targets: Array


class PhraseTable:
    """A growing table. The first to add a phrase wins, so sources are added from the surest to the vaguest."""

    def __init__(self, plural: Callable[[str], str]) -> None:
        self._plural = plural
        self._seen: set[str] = set()
        self.texts: list[str] = []
        self.groups: list[str] = []
        self.weights: list[float] = []
        self.targets: list[Array] = []

    def __contains__(self, text: str) -> bool:
        return text in self._seen

    def add(self, text: str, target: Array, group: str, weight: float = 1.0) -> None:
        """Add a phrase, and its plural where the group has plurals, unless it is known already."""
        text = text.lower().strip()
        if not text or text in self._seen:
            return
        self._seen.add(text)
        self.texts.append(text)
        self.groups.append(group)
        self.weights.append(weight)
        self.targets.append(unit(target))
        if group in WITH_PLURAL and len(text) > 2:
            self.add(self._plural(text), target, group + "+s", weight)

    def finish(self) -> Phrases:
        return Phrases(
            self.texts, np.array(self.groups), np.array(self.weights), np.stack(self.targets).astype(np.float32)
        )


@dataclass(frozen=True)
class Sources:
    """What phrases are made from.

    Attributes:
        vectors: class vectors, shape (n_classes, dim).
        classes: the classes' synsets.
        clean_names: the classes' names in plain English; a few classes share one.
        below: synset to the classes at or below it.
        wordnet: the nouns.
        lexicon: the hand-made table.
        vocabulary: whole words of the tokenizer: what people who caption pictures write often.
        teacher: texts to unit vectors of its own space.
    """

    vectors: Array
    classes: Sequence[str]
    clean_names: Sequence[str]
    below: Mapping[str, list[int]]
    wordnet: WordNet
    lexicon: Lexicon
    vocabulary: Sequence[str]
    teacher: Teacher


def make_phrases(sources: Sources) -> Phrases:
    """Collect all phrases with their targets."""
    table = PhraseTable(sources.wordnet.plural)
    lexicon = add_lexicon(table, sources)
    add_names(table, sources)
    synset_vectors = {**hypernym_vectors(sources), PERSON: lexicon["person"]}
    minor = add_hypernyms(table, sources, synset_vectors)
    anchors = Anchors(table, sources.teacher)
    add_other_nouns(table, sources, synset_vectors, minor, anchors)
    add_other_words(table, sources, anchors)
    add_glosses(table, sources, synset_vectors)
    return table.finish()


def add_lexicon(table: PhraseTable, sources: Sources) -> dict[str, Array]:
    """Add the hand-made table; return its vectors."""
    vector_of: dict[str, Array] = {}
    for name, vector in zip(sources.clean_names, sources.vectors, strict=True):
        vector_of.setdefault(name, vector)
    vectors = sources.lexicon.vectors(vector_of)
    for word, vector in vectors.items():
        table.add(word, vector, "lexicon")
    return vectors


def add_names(table: PhraseTable, sources: Sources) -> None:
    """Add the classes' clean names, whole, without brackets and split at slashes, then WordNet's synonyms."""
    names: dict[str, list[int]] = {}
    for index, name in enumerate(sources.clean_names):
        for form in name_forms(name):
            names.setdefault(form.lower(), []).append(index)
    synonyms: dict[str, list[int]] = {}
    for index, synset in enumerate(sources.classes):
        for lemma in sources.wordnet.lemmas[synset]:
            if lemma.lower() not in names:
                synonyms.setdefault(lemma.lower(), []).append(index)
    for forms in (names, synonyms):
        for form, indices in forms.items():
            table.add(form, sources.vectors[indices].mean(0), "name")


def name_forms(name: str) -> list[str]:
    """Return the ways to write a clean name: "ram (adult male sheep)" is a "ram", "swim trunks / shorts" are both."""
    bare = re.sub(r"\s*\(.*?\)", "", name)
    return list(dict.fromkeys([name, bare, *bare.split(" / ")]))


def hypernym_vectors(sources: Sources) -> dict[str, Array]:
    """Return a vector for every synset that has classes: half the plain mean of these, half balanced over its branches.

    The plain mean of "animal" is mostly dogs, because ImageNet has 118 kinds of them; the balanced one gives a worm as
    much as all mammals. What people mean lies between.
    """
    class_at = {synset: index for index, synset in enumerate(sources.classes)}
    children: dict[str, list[str]] = {}
    for synset in sources.below:
        for parent in sources.wordnet.parents[synset]:
            children.setdefault(parent, []).append(synset)
    balanced: dict[str, Array] = {}

    def balance(synset: str) -> Array:
        if synset not in balanced:
            parts = [balance(child) for child in children.get(synset, [])]
            if synset in class_at:
                parts.append(sources.vectors[class_at[synset]])
            balanced[synset] = np.mean(parts, 0)
        return balanced[synset]

    return {
        synset: unit(unit(sources.vectors[indices].mean(0)) + unit(balance(synset)))
        for synset, indices in sources.below.items()
    }


def add_hypernyms(table: PhraseTable, sources: Sources, synset_vectors: Mapping[str, Array]) -> dict[str, Array]:
    """Add the words for what has classes below it, each sense weighted by 1 / rank².

    Returns:
        The words left out, with a vector that is the shorter the rarer the sense: those which first of all mean some
        other concrete thing. A "jacket" is a garment; only its second sense, the dust jacket, has a class.
    """
    wordnet = sources.wordnet
    senses_of: dict[str, list[tuple[float, str]]] = {}
    for synset in sources.below:
        for lemma in wordnet.lemmas[synset]:
            senses = wordnet.senses.get(lemma.lower(), [synset])
            rank = 1 + senses.index(synset) if synset in senses else 10
            senses_of.setdefault(lemma.lower(), []).append((1 / rank**2, synset))
    minor: dict[str, Array] = {}
    for lemma, weighted in senses_of.items():
        vector = unit(np.sum([weight * synset_vectors[synset] for weight, synset in weighted], axis=0))
        heaviest = max(weighted)[0]
        main_sense = wordnet.senses.get(lemma, [weighted[0][1]])[0]
        if heaviest == 1 or wordnet.lexicographer_file[main_sense] not in CONCRETE_FILES:
            table.add(lemma, vector, "above")
        else:
            minor[lemma] = math.sqrt(heaviest) * vector
    return minor


class Anchors:
    """The phrases whose target is known by rule, as the teacher sees them, to carry targets over to other texts."""

    def __init__(self, table: PhraseTable, teacher: Teacher) -> None:
        singular = [i for i, group in enumerate(table.groups) if not group.endswith("+s")]
        self._teacher = teacher
        self._embeddings = teacher([table.texts[i] for i in singular])
        self._targets = np.stack([table.targets[i] for i in singular])

    def targets(self, texts: Sequence[str], temperature: float = TEMPERATURE) -> Array:
        """Return for each text the mean of the anchors' targets, weighted by a softmax over the teacher's cosines.

        Returns:
            float64, shape (len(texts), dim), unit rows.
        """
        embeddings = self._teacher(texts)
        blocks = []
        for start in range(0, len(embeddings), 2048):
            cosines = embeddings[start : start + 2048] @ self._embeddings.T
            weights = np.exp((cosines - cosines.max(1, keepdims=True)) / temperature)
            blocks.append(unit((weights / weights.sum(1, keepdims=True)) @ self._targets))
        return np.concatenate(blocks)


def add_other_nouns(
    table: PhraseTable,
    sources: Sources,
    synset_vectors: Mapping[str, Array],
    minor: Mapping[str, Array],
    anchors: Anchors,
) -> None:
    """Add nouns that ImageNet has nothing of, by the teacher, by a near ancestor and by a minor sense."""
    wordnet, vocabulary = sources.wordnet, set(sources.vocabulary)
    wanted = vocabulary | minor.keys()
    nouns = [
        (lemma, senses[0])
        for lemma, senses in wordnet.senses.items()
        if lemma not in table and is_worth_learning(lemma, wordnet, wanted)
    ]
    log.info("%d other nouns", len(nouns))
    # The bare word is what users type; the gloss tells the teacher which sense is meant.
    by_word = anchors.targets([lemma for lemma, _ in nouns])
    by_gloss = anchors.targets([f"{lemma}: {wordnet.gloss[synset]}" for lemma, synset in nouns], TEMPERATURE_GLOSS)
    for (lemma, synset), word_target, gloss_target in zip(nouns, by_word, by_gloss, strict=True):
        target = unit(word_target + gloss_target)
        near = nearest_ancestor(synset, sources)
        if near:
            steps, ancestor = near
            target = 1.2 / (1 + steps / 2) * synset_vectors[ancestor] + 0.6 * target
        elif PERSON in wordnet.ancestors(synset):
            target = 0.8 * synset_vectors[PERSON] + 0.6 * target
        weight = 1 + 3 * min(wordnet.tagged[lemma], 3) + 4 * (lemma in vocabulary)
        table.add(lemma, unit(target) + minor.get(lemma, 0), "noun", weight)


def is_worth_learning(lemma: str, wordnet: WordNet, wanted: set[str]) -> bool:
    """Tell whether a noun of at most three words is wanted, common, or the name of a thing.

    There are very many names of animals and plants, so only short ones count, and places are no things to see.
    """
    words = len(lemma.split())
    if words > 3 or re.search(r"[\d.]", lemma):
        return False
    if lemma in wanted or wordnet.tagged[lemma]:
        return True
    topic = wordnet.lexicographer_file[wordnet.senses[lemma][0]]
    if topic in (ANIMAL_FILE, PLANT_FILE):
        return words < 3 and len(lemma) < 14
    return topic in CONCRETE_FILES - {LOCATION_FILE}


def nearest_ancestor(synset: str, sources: Sources) -> tuple[int, str] | None:
    """Return the nearest ancestor that says something about a noun, with the steps to it; of several the narrowest."""
    below = sources.below
    candidates = [
        (steps, len(below[ancestor]), ancestor)
        for ancestor, steps in sources.wordnet.distances_up(synset).items()
        if ancestor in below and len(below[ancestor]) <= MAX_CLASSES_NEAR and steps <= MAX_STEPS_NEAR
    ]
    if not candidates:
        return None
    steps, _, ancestor = min(candidates)
    return steps, ancestor


def add_other_words(table: PhraseTable, sources: Sources, anchors: Anchors) -> None:
    """Add the tokenizer's words that are not in the table yet: adjectives, verbs, names."""
    words = [word for word in sources.vocabulary if word not in table]
    for word, target in zip(words, anchors.targets(words), strict=True):
        table.add(word, target, "word")


def add_glosses(table: PhraseTable, sources: Sources, synset_vectors: Mapping[str, Array]) -> None:
    """Add WordNet's definitions of what has classes: the only longer texts that the tower sees."""
    class_at = {synset: index for index, synset in enumerate(sources.classes)}
    for synset, indices in sources.below.items():
        if len(indices) < MAX_CLASSES_GLOSS:
            vector = sources.vectors[class_at[synset]] if synset in class_at else synset_vectors[synset]
            table.add(sources.wordnet.gloss[synset], vector, "gloss")

"""The nouns of WordNet 3.0, read from its database files (format: wndb(5WN) and noun.exc in morphy(7WN))."""

from __future__ import annotations

import re
from pathlib import Path

PERSON = "n00007846"

ANIMAL_FILE, LOCATION_FILE, PLANT_FILE = 5, 15, 20
CONCRETE_FILES = frozenset({ANIMAL_FILE, 6, 8, 13, 14, LOCATION_FILE, 17, 19, PLANT_FILE, 27})
"""Lexicographer files (lexnames(5WN)) of things that a camera can see: animals, artifacts, body parts, food, groups,
places, natural objects, natural phenomena, plants, substances."""


class WordNet:
    """Noun synsets by their id, "n" and eight digits, as ImageNet names its classes.

    Attributes:
        lemmas: synset to its words, most frequent first, spaces for underscores.
        gloss: synset to its definition without the example sentences.
        parents: synset to its direct hypernyms, instance hypernyms included.
        lexicographer_file: synset to the number of its broad topic; see `CONCRETE_FILES`.
        senses: lower-case lemma to its synsets, most frequent sense first.
        tagged: lower-case lemma to the number of its senses that occur in WordNet's tagged texts; a hint of how common
            the word is.
    """

    def __init__(self, folder: Path) -> None:
        """Read `data.noun`, `index.noun` and `noun.exc` of a folder."""
        self.lemmas: dict[str, list[str]] = {}
        self.gloss: dict[str, str] = {}
        self.parents: dict[str, list[str]] = {}
        self.lexicographer_file: dict[str, int] = {}
        self.senses: dict[str, list[str]] = {}
        self.tagged: dict[str, int] = {}
        self._irregular_plurals: dict[str, str] = {}
        self._ancestors: dict[str, frozenset[str]] = {}
        # The licence at the head of the data and index files is indented by two spaces.
        for line in _lines(folder / "data.noun"):
            if not line.startswith("  "):
                self._read_synset(line)
        for line in _lines(folder / "index.noun"):
            if not line.startswith("  "):
                self._read_lemma(line)
        for line in _lines(folder / "noun.exc"):
            plural, singular = line.split()[:2]
            self._irregular_plurals[singular.replace("_", " ")] = plural.replace("_", " ")

    def _read_synset(self, line: str) -> None:
        # offset lex_filenum type word_count word lex_id ... pointer_count symbol offset pos source_target ... | gloss
        fields, _, gloss = line.partition(" | ")
        offset, lexicographer_file, _, word_count, *rest = fields.split()
        synset, words = "n" + offset, int(word_count, 16)
        pointers = rest[2 * words + 1 :]
        self.lemmas[synset] = [word.replace("_", " ") for word in rest[0 : 2 * words : 2]]
        self.lexicographer_file[synset] = int(lexicographer_file)
        self.gloss[synset] = re.sub(r'\s*;?\s*".*', "", gloss.strip())
        self.parents[synset] = [
            "n" + target
            for symbol, target, part_of_speech in zip(pointers[0::4], pointers[1::4], pointers[2::4], strict=True)
            if symbol in ("@", "@i") and part_of_speech == "n"
        ]

    def _read_lemma(self, line: str) -> None:
        # lemma pos synset_count pointer_count symbol ... sense_count tagged_sense_count offset ...
        fields = line.split()
        lemma, count = fields[0].replace("_", " "), int(fields[2])
        self.senses[lemma] = ["n" + offset for offset in fields[-count:]]
        self.tagged[lemma] = int(fields[-count - 1])

    def ancestors(self, synset: str) -> frozenset[str]:
        """Return the synset and everything above it."""
        if synset not in self._ancestors:
            self._ancestors[synset] = frozenset({synset}).union(*(self.ancestors(p) for p in self.parents[synset]))
        return self._ancestors[synset]

    def distances_up(self, synset: str) -> dict[str, int]:
        """Return the synset and everything above it with the smallest number of steps to each."""
        distance: dict[str, int] = {}
        front, steps = [synset], 0
        while front:
            distance.update((a, steps) for a in front if a not in distance)
            front, steps = [parent for a in front for parent in self.parents[a] if parent not in distance], steps + 1
        return distance

    def plural(self, noun: str) -> str:
        """Return the plural of a noun or of a phrase that ends in one, in lower case."""
        if noun in self._irregular_plurals:
            return self._irregular_plurals[noun]
        if re.search(r"(s|x|z|ch|sh)$", noun):
            return noun + "es"
        return noun[:-1] + "ies" if re.search(r"[^aeiou]y$", noun) else noun + "s"


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()

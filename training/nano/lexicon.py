"""The hand-made table, `lexicon.yaml`: photo-library words as mixtures of ImageNet classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from training.nano.space import Array, unit

FILE = Path(__file__).with_name("lexicon.yaml")

PERSON_SHARE = 6
"""What PERSON counts in a mixture, beside classes that count 1 or 2."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The table as read.

    Attributes:
        person: what PERSON stands for.
        mixtures: word to its ingredients: PERSON, or a class's clean name, with a trailing * where it counts double.
    """

    person: tuple[str, ...]
    mixtures: Mapping[str, tuple[str, ...]]

    def class_names(self) -> set[str]:
        """Return every class that the table mentions."""
        ingredients = {*self.person, *(name for mixture in self.mixtures.values() for name in mixture)}
        return {name.removesuffix("*") for name in ingredients - {"PERSON"}}

    def vectors(self, vector_of: Mapping[str, Array]) -> dict[str, Array]:
        """Mix the vectors of the table's classes into one unit vector per word."""
        person = _mix(self.person, vector_of, person=None)
        return {word: _mix(mixture, vector_of, person) for word, mixture in self.mixtures.items()}


def _mix(mixture: Sequence[str], vector_of: Mapping[str, Array], person: Array | None) -> Array:
    parts = []
    for name in mixture:
        if name == "PERSON":
            assert person is not None, "PERSON cannot be an ingredient of itself"
            parts.append(PERSON_SHARE * person)
        else:
            parts.append((2 if name.endswith("*") else 1) * vector_of[name.removesuffix("*")])
    return unit(np.sum(parts, axis=0))


def load_lexicon(path: Path = FILE) -> Lexicon:
    """Read and check the table.

    Raises:
        ValueError: a word stands there twice, or something is not text (YAML reads an unquoted `no` as False).
    """
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    mixtures: dict[str, tuple[str, ...]] = {}
    for entry in table["entries"]:
        for word in entry["words"]:
            if not all(isinstance(text, str) for text in (word, *entry["classes"])):
                raise ValueError(f"{path}: the entry of {word!r} holds something that is not text; quote it")
            if word in mixtures:
                raise ValueError(f"{path}: {word!r} stands there twice")
            mixtures[word] = tuple(entry["classes"])
    return Lexicon(tuple(table["PERSON"]), mixtures)

"""What photos really show, to compare answers with: from folders, a table, corrections or a mapping. No I/O."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zsindex.arguments import text_files
from zsindex.arguments.several import several
from zsindex.arguments.text_files import UnreadableText
from zsindex.classification.prompts import normalise
from zsindex.errors import BadTruth
from zsindex.records import NONE, IdArray, LabelSet

COLUMNS = ("path", "label")
SEPARATOR = "|"


@dataclass(frozen=True)
class Truth:
    """What photos show.

    Attributes:
        labels: by path: one or more names, in the truth's own words.
        source: where it comes from, in words.
    """

    labels: Mapping[str, tuple[str, ...]]
    source: str

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Known:
    """The truth of m photos as numbers, in terms of the answers of one label set.

    Attributes:
        photo: int64 (k,), ascending numbers of photos in 0 … m - 1, one for each thing that a photo shows.
        answer: int64 (k,), the number of that answer; -1 for `NONE` if it is not an answer.
        n_photos: m.
    """

    photo: IdArray
    answer: IdArray
    n_photos: int

    @property
    def is_multi(self) -> bool:
        """Whether a photo shows several things."""
        return len(self.photo) > self.n_photos

    def matrix(self, n_answers: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """Which answers are right: bool (m, n_answers)."""
        right = np.zeros((self.n_photos, n_answers), dtype=bool)
        listed = self.answer >= 0
        right[self.photo[listed], self.answer[listed]] = True
        return right

    def is_right(self, answers: IdArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Which of the answers int64 (m, top) are true of their photo: bool (m, top). A -1 never is."""
        pairs = np.sort(self.photo * _MANY + self.answer)
        wanted = np.arange(self.n_photos)[:, None] * _MANY + answers
        at = np.minimum(np.searchsorted(pairs, wanted), max(len(pairs) - 1, 0))
        return (pairs[at] == wanted) & (answers >= 0) if len(pairs) else np.zeros(answers.shape, dtype=bool)


# Larger than any number of answers, to encode a photo and an answer in one number.
_MANY = 2**31


@dataclass(frozen=True)
class Names:
    """What the names in a truth stand for in a label set.

    Attributes:
        number: the answer of each name.
        unknown: names that mean nothing in it.
    """

    number: Mapping[str, int]
    unknown: tuple[str, ...]


def from_folders(paths: Iterable[str]) -> Truth:
    """Every photo shows what its folder is called."""
    return Truth({path: (normalise(os.path.basename(os.path.dirname(path))),) for path in paths}, "folders")


def from_mapping(labels: Mapping[str, str | Sequence[str]], source: str = "a mapping") -> Truth:
    """From a mapping from paths to one or more names."""
    names = {path: tuple(dict.fromkeys(normalise(name) for name in several(said))) for path, said in labels.items()}
    return Truth({path: said for path, said in names.items() if any(said)}, source)


def from_csv(text: str, *, source: str, folder: str) -> Truth:
    """From a table with the columns ``path`` and ``label``, see `zsindex.arguments.text_files.table`.

    A photo with several labels has several rows, or one row with ``|`` between them. A row without a label is ignored.

    Args:
        source: the file's name, for messages.
        folder: base folder of relative paths.

    Raises:
        BadTruth: names the line.
    """
    try:
        found: dict[str, dict[str, None]] = {}
        for line, row in text_files.table(text, required=COLUMNS):
            if not row["path"]:
                raise BadTruth(source, f"line {line}: there is no path")
            path = os.path.normpath(os.path.join(folder, os.path.expanduser(row["path"])))
            said = (normalise(name) for name in row["label"].split(SEPARATOR))
            found.setdefault(path, {}).update(dict.fromkeys(name for name in said if name))
    except UnreadableText as error:
        raise BadTruth(source, str(error)) from error
    return Truth({path: tuple(names) for path, names in found.items() if names}, source)


def lists(names: Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    """Other names by name, each as a list."""
    return {name: several(others) for name, others in names.items()}


def stands_for(
    truth: Truth, labels: LabelSet, answers: Sequence[str], names: Mapping[str, Sequence[str]], *, others: bool
) -> Names:
    """Map the names in a truth to answers of a label set.

    A name is an answer (a label or a group), a label of a group, a negative, or `NONE`. The first of its other `names`
    that is one of these is used; if there is none, the name itself.

    Args:
        answers: the possible answers: those of the label set, and perhaps `NONE`.
        names: other names, by name: ``{"t-shirt": ["T-shirt"]}``.
        others: whether a name that the label set does not have is `NONE` rather than unknown.
    """
    number_of = {answer: n for n, answer in enumerate(answers)}
    of_concepts = {
        concept: number_of[labels.answers[answer]]
        for concept, answer in zip(labels.concepts, labels.answer_of, strict=True)
    }
    known = {NONE: -1, **of_concepts, **number_of}
    number: dict[str, int] = {}
    unknown = []
    for name in dict.fromkeys(name for said in truth.labels.values() for name in said):
        fitting = [other for other in (*map(normalise, names.get(name, ())), name) if other in known]
        if fitting:
            number[name] = known[fitting[0]]
        elif others:
            number[name] = known[NONE]
        else:
            unknown.append(name)
    return Names(number, tuple(unknown))


def known(truth: Truth, names: Names, paths: Sequence[str]) -> Known:
    """The truth of photos, each of which has a name that the label set has."""
    pairs = [
        (photo, answer)
        for photo, path in enumerate(paths)
        for answer in dict.fromkeys(names.number[name] for name in truth.labels[path] if name in names.number)
    ]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Known(table[:, 0], table[:, 1], len(paths))


def unknown_counts(truth: Truth, names: Sequence[Names]) -> dict[str, int]:
    """The number of photos of each name that one of the label sets does not have, most frequent first."""
    unknown = {name for known in names for name in known.unknown}
    counts = Counter(name for said in truth.labels.values() for name in said if name in unknown)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

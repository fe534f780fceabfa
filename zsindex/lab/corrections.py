"""Corrections: what a person said that photos show, or do not show, in the words of a label set."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from zsindex.errors import BadLabelFile
from zsindex.lab_store import CorrectionEntry
from zsindex.prompts import normalise
from zsindex.records import NONE, IdArray, LabelSet

COLUMNS = ("path", "label", "not")
_YES = ("1", "x", "y", "yes", "true", "not")
_NO = ("", "0", "n", "no", "false")


class Statement(NamedTuple):
    """One thing that a person says about a photo: it shows `label`, or it does not."""

    path: str
    label: str
    not_: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What holds of one image.

    Attributes:
        label: what it shows; None where nobody said.
        not_labels: what it does not show, in the order in which it was said.
    """

    label: str | None = None
    not_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corrections:
    """What holds of every corrected image.

    Attributes:
        by_digest: by the digest of the image, in the order of its first correction.
    """

    by_digest: Mapping[bytes, Said]

    def __len__(self) -> int:
        return len(self.by_digest)

    @property
    def labels(self) -> dict[bytes, str]:
        """What images show, where that was said: the truth to compare answers with."""
        return {digest: said.label for digest, said in self.by_digest.items() if said.label is not None}


def fold(entries: Iterable[CorrectionEntry]) -> Corrections:
    """What holds after all entries of a log.

    A photo shows one label: a later one takes the place of an earlier one. Saying a label takes back that it does not
    fit, and the other way round. An entry without a label takes back all that was said about its image.

    Args:
        entries: oldest first.
    """
    state: dict[bytes, Said] = {}
    for digest, label, is_not in entries:
        said = state.get(digest, Said())
        others = tuple(other for other in said.not_labels if other != label)
        if label is None:
            state.pop(digest, None)
        elif is_not:
            state[digest] = Said(None if said.label == label else said.label, (*others, label))
        else:
            state[digest] = Said(label, others)
    return Corrections(state)


def concepts_named(labels: LabelSet) -> dict[str, tuple[int, ...]]:
    """What corrections may say: each name with the numbers of the concepts that it stands for.

    The names are those of labels and negatives, which stand for themselves; of groups, for any of their labels, also
    where a label has the same name, since that is the answer that people see; and `NONE`, for any of the negatives.
    """
    number = {concept: n for n, concept in enumerate(labels.concepts)}
    named: dict[str, tuple[int, ...]] = {concept: (n,) for concept, n in number.items()}
    named |= {group: tuple(number[label] for label in members) for group, members in labels.groups}
    named[NONE] = tuple(number[label] for label in labels.negatives)
    return named


@dataclass(frozen=True)
class Lessons:
    """Corrections as numbers: what a classifier over a label set can learn from, and what it must answer.

    Only images that have a vector, and only names that the label set knows.

    Attributes:
        labels: the label set.
        image_ids: int64 (m,), of images of which anything usable was said, ascending.
        may_be: bool (m, c): the concepts that each may show. Where a label was said, those that it stands for; else all
            that were not ruled out.
        is_said: bool (m,): a label was said, or all answers but one were ruled out.
        unknown_labels: names that the label set does not have, each with how many images they were said of. They are
            kept, in case a later version has them again.
        without_vector: images that were corrected and have no vector under the model, or are pruned.
    """

    labels: LabelSet
    image_ids: IdArray
    may_be: np.ndarray[Any, np.dtype[np.bool_]]
    is_said: np.ndarray[Any, np.dtype[np.bool_]]
    unknown_labels: Mapping[str, int] = field(default_factory=dict)
    without_vector: int = 0

    def __len__(self) -> int:
        return len(self.image_ids)

    @cached_property
    def answers(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The answers that are possible for each image: bool (m, n_answers)."""
        possible = np.zeros((len(self), len(self.labels.answers)), dtype=np.bool_)
        for concept, answer in enumerate(self.labels.answer_of):
            possible[:, answer] |= self.may_be[:, concept]
        return possible


def lessons(corrections: Corrections, image_id_of: Mapping[bytes, int], labels: LabelSet) -> Lessons:
    """What can be learnt from corrections for one label set.

    Args:
        image_id_of: ids of the images that have a vector, by digest.
    """
    named = concepts_named(labels)
    answer_of = np.asarray(labels.answer_of)
    unknown: dict[str, int] = {}
    rows: list[tuple[int, Any, bool]] = []
    without_vector = 0
    for digest, said in corrections.by_digest.items():
        names = [*([] if said.label is None else [said.label]), *said.not_labels]
        for name in names:
            if not named.get(name):
                unknown[name] = unknown.get(name, 0) + 1
        if digest not in image_id_of:
            without_vector += 1
            continue
        may_be = np.ones(len(labels.concepts), dtype=np.bool_)
        if said.label is not None and named.get(said.label):
            may_be[:] = False
            may_be[list(named[said.label])] = True
        else:
            for name in said.not_labels:
                may_be[list(named.get(name, ()))] = False
        # Where everything was ruled out, the label set has no word for what it shows.
        if may_be.any() and not may_be.all():
            rows.append((image_id_of[digest], may_be, len(np.unique(answer_of[may_be])) == 1))
    rows.sort(key=lambda row: row[0])
    return Lessons(
        labels,
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.bool_).reshape(len(rows), len(labels.concepts)),
        np.array([row[2] for row in rows], dtype=np.bool_),
        unknown,
        without_vector,
    )


def parse_csv(text: str, *, source: str) -> list[Statement]:
    """Read statements from a table with the columns ``path``, ``label`` and, if wanted, ``not``, in any order.

    Raises:
        BadLabelFile: names the line.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    found: list[Statement] = []
    try:
        header = [name.strip().lower() for name in reader.fieldnames or ()]
        missing = [name for name in COLUMNS[:2] if name not in header]
        if missing:
            raise BadLabelFile(
                source, f"its first line must name the columns path and label; {missing[0]} is not there"
            )
        reader.fieldnames = header
        for row in reader:
            path, label, is_not = (row.get(name) or "" for name in COLUMNS)
            label, mark = normalise(label), is_not.strip().lower()
            if not path or not label:
                raise BadLabelFile(source, f"line {reader.line_num}: {'label' if path else 'path'} is empty")
            if mark not in (*_YES, *_NO):
                raise BadLabelFile(source, f'line {reader.line_num}: "not" must be yes or no, not {is_not!r}')
            found.append(Statement(path, label, mark in _YES))
    except csv.Error as error:
        raise BadLabelFile(source, f"line {reader.reader.line_num}: {error}") from error
    return found

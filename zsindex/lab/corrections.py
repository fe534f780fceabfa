"""Corrections: what people say that photos show, or do not show, in the words of a label set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from zsindex.arguments import text_files
from zsindex.arguments.text_files import UnreadableText
from zsindex.classification.prompts import normalise
from zsindex.errors import BadLabelFile
from zsindex.records import NONE, Activation, FloatArray, IdArray, LabelSet
from zsindex.storage.rows import CorrectionEntry

Bools: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

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
    """The corrections in effect for one image.

    Attributes:
        label: what it shows; None if not said.
        not_labels: what it does not show, in the order in which it was said.
    """

    label: str | None = None
    not_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoldedCorrections:
    """The corrections in effect for every corrected image.

    Attributes:
        by_digest: by the digest of the image, in the order of its first correction.
    """

    by_digest: Mapping[bytes, Said]

    def __len__(self) -> int:
        return len(self.by_digest)

    @property
    def labels(self) -> dict[bytes, str]:
        """What images show, if it was said: the truth to compare answers with."""
        return {digest: said.label for digest, said in self.by_digest.items() if said.label is not None}

    @property
    def key(self) -> str:
        """Identifies the corrections: equal keys mean equal corrections."""
        meaning = sorted((d.hex(), said.label, sorted(said.not_labels)) for d, said in self.by_digest.items())
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class CorrectedPhoto:
    """The corrections in effect for a photo.

    Attributes:
        paths: files with its bytes; empty if they are no longer in the library.
        digest: hex SHA-256 of its bytes.
        label, not_labels: as in `Said`.
        unknown: those of these names that the label set does not have now; they are kept but not used.
        image_id: None if the library does not hold it.
        said_at: when something was said of it last, as an ISO date and time; None where nobody asked storage.
    """

    paths: tuple[str, ...]
    digest: str
    label: str | None
    not_labels: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    image_id: int | None = None
    said_at: str | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "paths": list(self.paths),
            "digest": self.digest,
            "label": self.label,
            "not": list(self.not_labels),
            "unknown": list(self.unknown),
            "image_id": self.image_id,
            "said_at": self.said_at,
        }


def fold(entries: Iterable[CorrectionEntry]) -> FoldedCorrections:
    """The corrections in effect after all entries of a log.

    A photo shows one label: a later one replaces an earlier one. Saying a label revokes that it does not fit, and vice
    versa. An entry without a label withdraws all corrections of its image.

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
    return FoldedCorrections(state)


def concepts_named(labels: LabelSet) -> dict[str, tuple[int, ...]]:
    """What corrections may say: each name with the numbers of the concepts that it stands for.

    The names are those of labels and negatives, which stand for themselves; of groups, for any of their labels, even if
    a label has the same name, since the group is the answer that people see; and `NONE`, for any of the negatives.
    """
    number = {concept: n for n, concept in enumerate(labels.concepts)}
    named: dict[str, tuple[int, ...]] = {concept: (n,) for concept, n in number.items()}
    named |= {group: tuple(number[label] for label in members) for group, members in labels.groups}
    named[NONE] = tuple(number[label] for label in labels.negatives)
    return named


@dataclass(frozen=True)
class Lessons:
    """Corrections as numbers: what a classifier over a label set can learn from, and what it must answer.

    Covers only images that have a vector, and only names that the label set has.

    Attributes:
        labels: the label set.
        image_ids: int64 (m,), of images with any usable correction, ascending.
        may_be: bool (m, c): the concepts that each may show. If a label was said, those that it stands for; else all
            that were not ruled out.
        is_said: bool (m,): a label was said.
        shows_none: int64, images said to show none of the labels, or with all labels ruled out. Even if the label set
            has no such answer, a classification may have it.
        unknown_labels: names that the label set does not have, each with its number of images. They are kept, in case a
            later version has them again.
        without_vector: corrected images that have no vector from the model, or were pruned.
    """

    labels: LabelSet
    image_ids: IdArray
    may_be: Bools
    is_said: Bools
    shows_none: IdArray
    unknown_labels: Mapping[str, int] = field(default_factory=dict)
    without_vector: int = 0

    def __len__(self) -> int:
        return len(self.image_ids)

    @cached_property
    def answers(self) -> Bools:
        """The answers that are possible for each image: bool (m, n_answers)."""
        possible = np.zeros((len(self), len(self.labels.answers)), dtype=np.bool_)
        for concept, answer in enumerate(self.labels.answer_of):
            possible[:, answer] |= self.may_be[:, concept]
        return possible

    def among(self, answers: Sequence[str]) -> Settled:
        """What a classification must answer for the corrected images.

        Args:
            answers: those of the label set, and perhaps `NONE` behind them.
        """
        extra = len(answers) - len(self.labels.answers)
        # Saying what a photo does not show does not mean that it shows anything.
        possible = np.hstack([self.answers, np.repeat(~self.is_said[:, None], extra, axis=1)])
        if not extra:
            return Settled(self.image_ids, possible, self.is_said)
        none = np.zeros((len(self.shows_none), len(answers)), dtype=np.bool_)
        none[:, -1] = True
        ids = np.concatenate([self.image_ids, self.shows_none])
        order = np.argsort(ids)
        is_said = np.concatenate([self.is_said, np.ones(len(none), dtype=np.bool_)])
        return Settled(ids[order], np.vstack([possible, none])[order], is_said[order])


@dataclass(frozen=True)
class Settled:
    """The answers that corrections give.

    Attributes:
        image_ids: int64 (m,), ascending.
        possible: bool (m, n_answers): what each image may be answered with.
        is_said: bool (m,): a label was said.
    """

    image_ids: IdArray
    possible: Bools
    is_said: Bools

    def find(self, image_ids: IdArray) -> tuple[IdArray, IdArray]:
        """Which of some images are settled: numbers into `image_ids`, and into the attributes, both int64 (k,)."""
        place = np.searchsorted(self.image_ids, image_ids)
        place = np.minimum(place, max(0, len(self.image_ids) - 1))
        there = np.flatnonzero(self.image_ids[place] == image_ids) if len(self.image_ids) else place[:0]
        return there, place[there]

    def scores(self, which: IdArray, scores: FloatArray, activation: Activation) -> FloatArray:
        """Scores of settled images: 1 for what was said, 0 for what was ruled out.

        Probabilities that add up (softmax) are shared among what is left. With sigmoid, where a photo may show several
        things, the others keep their scores.

        Args:
            which: int64 (k,), the images, as from `find`.
            scores: float32 (k, n_answers), of the classifier.

        Returns:
            float32 (k, n_answers).
        """
        possible, said = self.possible[which], self.is_said[which][:, None]
        if activation is Activation.SIGMOID:
            confirmed = np.where(possible, np.float32(1), scores)
            return np.where(said, confirmed, np.where(possible, scores, np.float32(0)))
        left = np.where(possible, np.where(said, np.float32(1), np.maximum(scores, np.float32(0))), np.float32(0))
        total = left.sum(axis=1, keepdims=True)
        # If the classifier gives nothing to what is left, all of it is equally likely.
        shared: FloatArray = np.where(total > 0, left, possible) / np.where(
            total > 0, total, possible.sum(axis=1)[:, None]
        )
        return shared.astype(np.float32)


def lessons(corrections: FoldedCorrections, image_id_of: Mapping[bytes, int], labels: LabelSet) -> Lessons:
    """What can be learnt from corrections for one label set.

    Args:
        image_id_of: ids of the images that have a vector, by digest.
    """
    named = concepts_named(labels)
    unknown: dict[str, int] = {}
    rows: list[tuple[int, Bools, bool]] = []
    none: list[int] = []
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
        is_said = said.label is not None and bool(named.get(said.label))
        if said.label is not None and is_said:
            may_be[:] = False
            may_be[list(named[said.label])] = True
        else:
            for name in said.not_labels:
                may_be[list(named.get(name, ()))] = False
        if not is_said and (said.label == NONE or not may_be.any()):
            none.append(image_id_of[digest])
        elif is_said or not may_be.all():
            rows.append((image_id_of[digest], may_be, is_said))
    rows.sort(key=lambda row: row[0])
    return Lessons(
        labels,
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.bool_).reshape(len(rows), len(labels.concepts)),
        np.array([row[2] for row in rows], dtype=np.bool_),
        np.array(sorted(none), dtype=np.int64),
        unknown,
        without_vector,
    )


def corrected_photos(
    corrections: FoldedCorrections,
    image_id_of: Mapping[bytes, int],
    paths: Mapping[int, Sequence[str]],
    labels: LabelSet,
    said_at: Mapping[bytes, str] | None = None,
) -> list[CorrectedPhoto]:
    """Corrections for display: by path, those without one last.

    Args:
        image_id_of: ids of the images that the library holds, by digest.
        paths: of existing files, by image id.
        said_at: when something was said last, by digest.
    """
    named = concepts_named(labels)
    found = []
    for digest, said in corrections.by_digest.items():
        names = [*([] if said.label is None else [said.label]), *said.not_labels]
        image_id = image_id_of.get(digest)
        where = () if image_id is None else tuple(paths.get(image_id, ()))
        unknown = tuple(name for name in names if name not in named)
        at = (said_at or {}).get(digest)
        found.append(CorrectedPhoto(where, digest.hex(), said.label, said.not_labels, unknown, image_id, at))
    return sorted(found, key=lambda photo: (not photo.paths, photo.paths, photo.digest))


def parse_csv(text: str, *, source: str) -> list[Statement]:
    """Read statements from a table with the columns ``path``, ``label`` and, optionally, ``not``.

    See `zsindex.arguments.text_files.table`.

    Raises:
        BadLabelFile: names the line.
    """
    found: list[Statement] = []
    try:
        for line, row in text_files.table(text, required=COLUMNS[:2], optional=COLUMNS[2:]):
            path, label, is_not = (row[name] for name in COLUMNS)
            label, mark = normalise(label), is_not.strip().lower()
            if not path or not label:
                raise BadLabelFile(source, f"line {line}: {'label' if path else 'path'} is empty")
            if mark not in (*_YES, *_NO):
                raise BadLabelFile(source, f'line {line}: "not" must be yes or no, not {is_not!r}')
            found.append(Statement(path, label, mark in _YES))
    except UnreadableText as error:
        raise BadLabelFile(source, str(error)) from error
    return found

"""How many photos of each answer there are by time, place in the library, camera or keyword."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zsindex.arguments.filters import folded
from zsindex.records import FloatArray, IdArray
from zsindex.storage.facts_table import NO_TIME, FactsTable

if TYPE_CHECKING:
    import pandas as pd

Expected = npt.NDArray[np.float64]
# What stands in place of a key where nothing is known.
UNKNOWN = ""


class By(StrEnum):
    """What photos are counted by. Times are the photos' local ones; HOUR is that of the day, of all days together."""

    YEAR = "year"
    MONTH = "month"
    DAY = "day"
    HOUR = "hour"
    CAMERA = "camera"
    FOLDER = "folder"
    KEYWORD = "keyword"

    @property
    def is_time(self) -> bool:
        """Whether rows follow one another in time."""
        return self in (By.YEAR, By.MONTH, By.DAY, By.HOUR)


@dataclass(frozen=True, eq=False)
class Counts:
    """Photos of each answer by something.

    Attributes:
        by: what they are counted by.
        keys: k of them, in order: ``2019-07``, ``17``, ``EOS R5``, a folder, a keyword; `UNKNOWN`, at the end, for
            photos of which it is not known.
        labels: c answers.
        photos: int64 (k,), of each key, whatever their answer. A photo with several keywords counts for each.
        counts: int64 (k, c), of each key and answer: that is their best, or with `multi_label` one that fits.
        expected: float64 (k, c), what the counts are expected to be by the scores: the sum of the probabilities that
            the photos are so. None where scores were not calibrated, see `Library.temperature`.
        from_file: photos whose time is only that of their file, which copying may have changed.
        unread: photos whose metadata was never read; the next sync does so.
    """

    by: By
    keys: tuple[str, ...]
    labels: tuple[str, ...]
    photos: IdArray
    counts: IdArray
    expected: Expected | None
    from_file: int = 0
    unread: int = 0

    def to_rows(self) -> Iterator[tuple[str, str, int, float | None]]:
        """Key, answer, photos, and the number that is expected, of each key and answer: the long form."""
        for k, key in enumerate(self.keys):
            for c, label in enumerate(self.labels):
                expected = None if self.expected is None else float(self.expected[k, c])
                yield key, label, int(self.counts[k, c]), expected

    def to_pandas(self) -> pd.DataFrame:
        """The long form as a data frame with the columns of `to_dicts`. Needs pandas."""
        import pandas as pd

        return pd.DataFrame(self.to_dicts(), columns=self.columns)

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the long form."""
        return [str(self.by), "label", "photos", *([] if self.expected is None else ["expected"])]

    def to_dicts(self) -> list[dict[str, Any]]:
        """The long form as plain data for JSON, null for what is not known."""
        return [
            dict(zip(self.columns, (key or None, label, count, expected), strict=False))
            for key, label, count, expected in self.to_rows()
        ]


def count(
    paths: list[str],
    labels: tuple[str, ...],
    answers: IdArray,
    scores: Iterable[tuple[list[str], FloatArray]] | None,
    by: By,
    table: FactsTable,
) -> Counts:
    """Count photos.

    Args:
        paths: of the photos, n of them.
        answers: int64 (n, top), numbers of labels that count for each; -1 for none.
        scores: probabilities of all labels, some photos at a time, in their order; None where they are none.
        table: the facts of the library's photos.
    """
    rows = table.rows_of_paths(paths)
    facts = table.take(rows[rows >= 0])
    photo, number, keys = _pairs(paths, by, facts, rows)
    k, c = len(keys), len(labels)
    counts = np.zeros((k, c), np.int64)
    for column in answers.T:
        has_one = column[photo] >= 0
        np.add.at(counts, (number[has_one], column[photo][has_one]), 1)
    expected = None
    if scores is not None:
        expected = np.zeros((k, c))
        start = 0
        for block, part in scores:
            within = (photo >= start) & (photo < start + len(block))
            np.add.at(expected, number[within], part[photo[within] - start].astype(np.float64))
            start += len(block)
    photos = np.bincount(number, minlength=k).astype(np.int64)
    there = photos > 0
    return Counts(
        by,
        tuple(np.array(keys, dtype=object)[there].tolist()),
        labels,
        photos[there],
        counts[there],
        None if expected is None else expected[there],
        from_file=int((facts.taken_from == 4).sum()) if by.is_time else 0,
        unread=int((~facts.was_read).sum()) + int((rows < 0).sum()),
    )


def grouped(paths: list[str], by: By, table: FactsTable) -> tuple[IdArray, IdArray, list[str]]:
    """Which photos are in which group: numbers of photos and of their groups, both int64 (m,), and the groups' keys. A
    photo with several keywords is in several.
    """
    rows = table.rows_of_paths(paths)
    return _pairs(paths, by, table.take(rows[rows >= 0]), rows)


def _pairs(paths: list[str], by: By, facts: FactsTable, rows: IdArray) -> tuple[IdArray, IdArray, list[str]]:
    number, keys = _keys(paths, by, facts, rows)
    if by is By.KEYWORD:
        return *_of_keywords(rows, facts, keys), keys
    return np.arange(len(paths)), number, keys


def _keys(paths: list[str], by: By, facts: FactsTable, rows: IdArray) -> tuple[IdArray, list[str]]:
    """The number of each photo's key, int64 (n,), and the keys in their order; of keywords only those."""
    if by is By.FOLDER:
        texts = [os.path.dirname(path) for path in paths]
    elif by is By.KEYWORD:
        used = sorted(facts.keywords.texts[code] for code in np.unique(facts.keywords.codes))
        one_spelling = {folded(text): text for text in reversed(used)}  # as filters do not tell them apart
        return np.empty(0, np.int64), [*sorted(one_spelling.values()), UNKNOWN]
    else:
        of_facts = iter(_cameras(facts) if by is By.CAMERA else _times(facts, by))
        texts = [next(of_facts) if row >= 0 else UNKNOWN for row in rows.tolist()]
    keys = sorted(set(texts), key=lambda key: (key == UNKNOWN, key))
    place = {key: at for at, key in enumerate(keys)}
    return np.fromiter((place[text] for text in texts), np.int64, len(texts)), keys


def _cameras(facts: FactsTable) -> list[str]:
    return [UNKNOWN if code < 0 else facts.camera.texts[code] for code in facts.camera.codes.tolist()]


# Letters of an ISO time that tell one from another.
_LETTERS = {By.YEAR: (0, 4), By.MONTH: (0, 7), By.DAY: (0, 10), By.HOUR: (11, 13)}


def _times(facts: FactsTable, by: By) -> list[str]:
    start, end = _LETTERS[by]
    known = facts.taken_us != NO_TIME
    texts = np.datetime_as_string(np.where(known, facts.taken_us, 0).astype("datetime64[us]"))
    return [text[start:end] if there else UNKNOWN for text, there in zip(texts.tolist(), known.tolist(), strict=True)]


def _of_keywords(rows: IdArray, facts: FactsTable, keys: list[str]) -> tuple[IdArray, IdArray]:
    """Photos and the numbers of their keywords, one pair for each: int64 (m,)."""
    place = {folded(key): at for at, key in enumerate(keys)}
    number_of = np.array([place.get(folded(text), -1) for text in facts.keywords.texts], np.int64)
    counts = np.zeros(len(rows), np.int64)
    counts[rows >= 0] = np.diff(facts.keywords.offsets)
    without = np.flatnonzero(counts == 0)
    photo = np.concatenate((np.repeat(np.arange(len(rows)), counts), without))
    of_keywords = number_of[facts.keywords.codes] if len(number_of) else np.empty(0, np.int64)
    numbers = np.concatenate((of_keywords, np.full(len(without), place[UNKNOWN], np.int64)))
    pairs: IdArray = np.unique(np.stack((photo, numbers)), axis=1)  # who has one in two spellings has it once
    return pairs[0], pairs[1]

"""Which photos get a different answer when labels, templates or the model change, and how much every photo moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from zsindex.classification.scorers import Scorer
from zsindex.classification.view import View
from zsindex.records import Activation, FloatArray, IdArray

_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Side:
    """One of two ways to classify.

    Attributes:
        name: for people: the label set, and whatever else is special about it.
        view: the photos, with the side's model.
        answers: the possible answers.
        scorer: gives their scores.
        activation: whether scores add up to 1 (softmax) or are independent (sigmoid).
        run: the key of the classification; see `zsindex.classification.results.Run`.
    """

    name: str
    view: View
    answers: tuple[str, ...]
    scorer: Scorer
    activation: Activation
    run: str


class MovedPhoto(NamedTuple):
    """A photo that gets a different answer."""

    path: str
    before: str
    after: str
    score_before: float
    score_after: float
    moved: float


class Flow(NamedTuple):
    """How many photos went from one answer to another, and the one of them that moved most."""

    before: str
    after: str
    photos: int
    example: str


@dataclass(frozen=True)
class Diff:
    """Two classifications of the same photos.

    Attributes:
        before, after: names of the sides; `run_before` and `run_after` are the keys of their runs.
        paths: of the n photos that have vectors on both sides.
        answers: of both sides, those of `before` first.
        only_before, only_after: answers that only one side has.
        best_before, best_after: int64 (n,), numbers of the best answers.
        scores_before, scores_after: float32 (n,), the best answers' scores.
        moved: float32 (n,), how far apart a photo's scores are, from 0 to 1: with softmax on both sides, total
            variation, half the sum of the differences over all answers; else the largest difference. An answer that a
            side does not have scores 0 there.
        uncompared: photos that have a vector on one side only.
    """

    before: str
    after: str
    run_before: str
    run_after: str
    paths: list[str]
    answers: tuple[str, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    best_before: IdArray
    best_after: IdArray
    scores_before: FloatArray
    scores_after: FloatArray
    moved: FloatArray
    uncompared: int

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def flipped(self) -> IdArray:
        """Numbers of the photos that get a different answer, those that moved most first."""
        flipped = np.flatnonzero(self.best_before != self.best_after)
        return flipped[np.argsort(-self.moved[flipped], kind="stable")]

    @property
    def share(self) -> float:
        """The share of the photos that flip; 0 without photos."""
        return len(self.flipped) / max(1, len(self))

    @cached_property
    def flips(self) -> list[MovedPhoto]:
        """The photos that get a different answer, those that moved most first."""
        n = self.flipped
        return [
            MovedPhoto(self.paths[photo], self.answers[before], self.answers[after], *numbers)
            for photo, before, after, *numbers in zip(
                n.tolist(),
                self.best_before[n].tolist(),
                self.best_after[n].tolist(),
                self.scores_before[n].tolist(),
                self.scores_after[n].tolist(),
                self.moved[n].tolist(),
                strict=True,
            )
        ]

    @cached_property
    def flows(self) -> list[Flow]:
        """How many photos went from which answer to which, largest flow first; ties in the order of the answers."""
        n, c = self.flipped, len(self.answers)
        kinds, first, counts = np.unique(
            self.best_before[n] * c + self.best_after[n], return_index=True, return_counts=True
        )
        order = np.argsort(-counts, kind="stable")
        return [
            Flow(self.answers[kind // c], self.answers[kind % c], count, self.paths[n[example]])
            for kind, example, count in zip(
                kinds[order].tolist(), first[order].tolist(), counts[order].tolist(), strict=True
            )
        ]

    @cached_property
    def matrix(self) -> npt.NDArray[np.int64]:
        """Photos by answer before (row) and after (column), in the order of `answers`: int64 (c, c)."""
        c = len(self.answers)
        return np.bincount(self.best_before * c + self.best_after, minlength=c * c).reshape(c, c)

    def counts(self) -> list[tuple[str, int, int]]:
        """(answer, photos before, photos after) for each answer."""
        c = len(self.answers)
        before, after = (np.bincount(best, minlength=c).tolist() for best in (self.best_before, self.best_after))
        return list(zip(self.answers, before, after, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "before": self.before,
            "after": self.after,
            "run_before": self.run_before,
            "run_after": self.run_after,
            "photos": len(self),
            "flipped": len(self.flipped),
            "share": self.share,
            "mean_moved": float(self.moved.mean()) if len(self) else 0.0,
            "uncompared": self.uncompared,
            "only_before": list(self.only_before),
            "only_after": list(self.only_after),
            "counts": [{"answer": a, "before": before, "after": after} for a, before, after in self.counts()],
            "flows": [flow._asdict() for flow in self.flows],
            "flips": [flip._asdict() for flip in self.flips],
        }


def compare(before: Side, after: Side, *, renamed: Mapping[str, str] | None = None) -> Diff:
    """Classify the photos that have vectors on both sides, in both ways.

    Args:
        renamed: names of answers in `before`, mapped to their names in `after`. Answers with equal names are the same.

    Raises:
        ValueError: `renamed` names something that is not an answer, or gives two answers the same name.
    """
    old, names = renamed or {}, before.answers
    if strangers := [answer for answer in old if answer not in names]:
        raise ValueError(f"renamed: {', '.join(strangers)} is not an answer of the side before")
    names = tuple(old.get(answer, answer) for answer in names)
    if len(set(names)) < len(names):
        raise ValueError("renamed: two answers would get the same name")
    answers = tuple(dict.fromkeys((*names, *after.answers)))
    number = {answer: n for n, answer in enumerate(answers)}
    at_before, at_after = (np.array([number[a] for a in side], dtype=np.int64) for side in (names, after.answers))

    pairs: Iterator[tuple[slice, FloatArray, FloatArray]]
    if before.view is after.view:
        # Each image once, without copies, in place.
        n, back = len(before.view.unique[0]), before.view.unique[1]
        paths = before.view.paths
        pairs = ((where, block, block) for where, block in before.view.blocks(_BLOCK_ROWS))
    else:
        paths = [path for path in before.view.paths if path in after.view.index_of]
        n, back = len(paths), slice(None)
        pairs = _pairs(before.view, after.view, paths)
    best_before, best_after = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    scores_before, scores_after, moved = (np.empty(n, dtype=np.float32) for _ in range(3))
    add_up = before.activation is after.activation is Activation.SOFTMAX
    for where, block, other_block in pairs:
        one, other = before.scorer(block), after.scorer(other_block)
        for scores, at, best, shown in (
            (one, at_before, best_before, scores_before),
            (other, at_after, best_after, scores_after),
        ):
            column = scores.argmax(axis=1)
            best[where] = at[column]
            shown[where] = np.take_along_axis(scores, column[:, None], axis=1)[:, 0]
        difference = np.zeros((len(one), len(answers)), dtype=np.float32)
        difference[:, _as_slice(at_before)] = one
        difference[:, _as_slice(at_after)] -= other
        np.abs(difference, out=difference)
        moved[where] = difference.sum(axis=1) / 2 if add_up else difference.max(axis=1)
    here, there = set(names), set(after.answers)
    return Diff(
        before=before.name,
        after=after.name,
        run_before=before.run,
        run_after=after.run,
        paths=paths,
        answers=answers,
        only_before=tuple(a for a in names if a not in there),
        only_after=tuple(a for a in after.answers if a not in here),
        best_before=best_before[back],
        best_after=best_after[back],
        scores_before=scores_before[back],
        scores_after=scores_after[back],
        moved=moved[back],
        uncompared=len(before.view) + len(after.view) - 2 * len(paths),
    )


def _pairs(before: View, after: View, paths: list[str]) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Where in `paths`, and the photos' vectors on both sides, a block at a time."""
    in_before, in_after = (
        np.fromiter((view.index_of[path] for path in paths), dtype=np.int64, count=len(paths))
        for view in (before, after)
    )
    for start in range(0, len(paths), _BLOCK_ROWS):
        where = slice(start, min(start + _BLOCK_ROWS, len(paths)))
        yield where, before.take(in_before[where]), after.take(in_after[where])


def _as_slice(numbers: IdArray) -> IdArray | slice:
    """The same columns, as a slice if they are consecutive, so that numpy copies nothing."""
    follow = bool((np.diff(numbers) == 1).all())
    return slice(int(numbers[0]), int(numbers[-1]) + 1) if follow else numbers

"""Recorded runs: what was asked, and what changes when it is repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zsindex.classification.results import Answer, Classification


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A recorded run.

    Attributes:
        key: identifies it.
        recorded_at: ISO 8601, UTC.
        run: `zsindex.classification.results.Run.to_dict` of it.
        label_set: the whole label set, in a form that `zsindex.parse_labels` reads; prompts are left out if the
            templates make them.
        answers: the possible answers.
        photos: number of photos answered.
        stored: whether the answer itself is still stored, not only the question.
        prior: the shares of the answers that it was given with; None without a prior.
    """

    key: str
    recorded_at: str
    run: dict[str, Any]
    label_set: dict[str, Any]
    answers: tuple[str, ...]
    photos: int
    stored: bool
    prior: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "key": self.key,
            "recorded_at": self.recorded_at,
            "photos": self.photos,
            "stored": self.stored,
            "prior": self.prior,
            "answers": list(self.answers),
            "run": self.run,
            "label_set": self.label_set,
        }


@dataclass(frozen=True, slots=True)
class ChangedAnswer:
    """A photo whose best answer differs from before; None if it had, or has, none."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Repeat:
    """A repeated run.

    Attributes:
        before: the run as it was recorded.
        result: the new answer.
        compared: number of photos in both answers; None if the earlier one is no longer stored.
        flips: those of them whose best answer has changed, in path order.
        largest_change: of the score of a best answer, among photos that have not flipped.
        added, gone: numbers of photos that only the new answer has, and only the earlier one.
    """

    before: RunRecord
    result: Classification
    compared: int | None
    flips: tuple[ChangedAnswer, ...] = ()
    largest_change: float = 0.0
    added: int = 0
    gone: int = 0

    @property
    def same(self) -> bool:
        """Whether it is the same run; the answer is then the same by definition."""
        return self.before.key == self.result.run.key

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; without the new answer itself."""
        return {
            "before": self.before.key,
            "now": self.result.run.key,
            "same": self.same,
            "compared": self.compared,
            "flipped": None if self.compared is None else len(self.flips),
            "largest_change": self.largest_change,
            "added": self.added,
            "gone": self.gone,
            "flips": [{"path": f.path, "before": f.before, "after": f.after} for f in self.flips],
        }


def compare(before: RunRecord, stored: Answer | None, result: Classification) -> Repeat:
    """Compare a stored answer with a new one."""
    if stored is None:
        return Repeat(before, result, None)
    former = {path: number for number, path in enumerate(stored.paths)}
    in_both = [(former[path], number) for number, path in enumerate(result.paths) if path in former]
    old_rows, new_rows = (
        np.array(rows, dtype=np.int64) for rows in (zip(*in_both, strict=True) if in_both else ((), ()))
    )
    now = result.answer
    old_best, new_best = _first(stored.best, stored.scores, old_rows), _first(now.best, now.scores, new_rows)
    old_names, new_names = _names(before.answers, old_best[0]), _names(result.labels, new_best[0])
    flips = tuple(
        ChangedAnswer(result.paths[row], old, new)
        for row, old, new in zip(new_rows.tolist(), old_names, new_names, strict=True)
        if old != new
    )
    kept = np.array([old == new for old, new in zip(old_names, new_names, strict=True)], dtype=bool)
    return Repeat(
        before,
        result,
        len(in_both),
        flips,
        float(np.abs(old_best[1] - new_best[1])[kept].max(initial=0.0)),
        len(result) - len(in_both),
        len(former) - len(in_both),
    )


def _first(best: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """The first valid prediction of some photos: its number, -1 for none, and its score."""
    there = best[rows] >= 0
    column = there.argmax(axis=1) if best.shape[1] else np.zeros(len(rows), dtype=np.int64)
    numbers, values = best[rows, column], scores[rows, column]
    return numbers, np.where(numbers >= 0, values, np.float32(0))


def _names(answers: Sequence[str], numbers: np.ndarray[Any, Any]) -> list[str | None]:
    return [None if number < 0 else answers[number] for number in numbers.tolist()]

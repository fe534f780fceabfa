"""What sets of labels promise, as reported with a classification; the method is in `zsindex.lab.conformal`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from zsindex.classification.by import By
from zsindex.errors import BadQuestion

# What `coverage_per` may be, beside what photos are counted by: a promise for each label.
LABEL = "label"
PER = (LABEL, *(str(by) for by in By if by is not By.KEYWORD))


class Score(StrEnum):
    """How unlike others a photo is with a label.

    LAC is 1 minus the label's score (Sadinle, Lei and Wasserman 2019); APS the probabilities of all labels that are
    likelier, added up (Romano, Sesia and Candès 2020); RAPS the same with a penalty for each label beyond the
    first few (Angelopoulos, Bates, Jordan and Malik 2021).
    """

    LAC = "lac"
    APS = "aps"
    RAPS = "raps"


def checked_per(per: str | None) -> str | None:
    """What promises are made for each of; None for one promise.

    Raises:
        BadQuestion: there is no such thing, or a photo may be in several.
    """
    if per is None or per in PER:
        return per
    if per == By.KEYWORD:
        raise BadQuestion(["coverage_per"], "a photo has several keywords, and would be in several groups")
    raise BadQuestion(["coverage_per"], f"it is one of {', '.join(PER)}, not {per!r}")


def checked_score(score: str | None) -> Score:
    """How sets are made; None for the usual way.

    Raises:
        BadQuestion: there is no such way.
    """
    if score is None:
        return Score.LAC
    if score not in list(Score):
        raise BadQuestion(["coverage_score"], f"it is one of {', '.join(Score)}, not {score!r}")
    return Score(score)


@dataclass(frozen=True, slots=True)
class Promise:
    """That sets hold the truth as often as was asked for.

    Attributes:
        names: the labels or groups that it is made for together; empty for all photos.
        photos: number of calibration photos behind it.
        low, high: the share of photos to come whose sets hold the truth lies between them with a probability of 95 %,
            over draws of the calibration photos.
    """

    names: tuple[str, ...]
    photos: int
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"names": list(self.names), "photos": self.photos, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Coverage:
    """How sets of labels were made, and what speaks against trusting them.

    Attributes:
        coverage: the least share of photos whose set is to hold the truth.
        score, per: as asked for.
        adapted: whether scores were adapted to the photos together.
        source: where the truth comes from.
        photos: number of calibration photos, each content once.
        right: share of them whose best label is true.
        promises: one for all photos; or one for each label or group, those with too few photos together.
        left_out: photos with truth that no answer stands for: nothing is promised of their like.
        learnt_from: photos with truth that were left out since the answers learnt from them.
        without_vector: photos with truth that the library has no vector of.
        doubts: reasons not to trust the promise, in words; empty if there are none.
    """

    coverage: float
    score: str
    per: str | None
    adapted: bool
    source: str
    photos: int
    right: float
    promises: tuple[Promise, ...]
    left_out: int = 0
    learnt_from: int = 0
    without_vector: int = 0
    doubts: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "coverage": self.coverage,
            "score": self.score,
            "per": self.per,
            "adapted": self.adapted,
            "source": self.source,
            "photos": self.photos,
            "right": self.right,
            "promises": [promise.to_dict() for promise in self.promises],
            "left_out": self.left_out,
            "learnt_from": self.learnt_from,
            "without_vector": self.without_vector,
            "doubts": list(self.doubts),
        }

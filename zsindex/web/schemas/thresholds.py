"""Of ``/v1/thresholds``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import ListLimit, Name, RequestBody, Score, Text, examples
from zsindex.web.schemas.filters import WhereField


class ThresholdRequest(RequestBody):
    """The score from which an answer is given, by exactly one of `score`, `count` and `rate`."""

    label_set: Name
    label: Text
    score: Score | None = Field(default=None, description="The lowest score.")
    count: Annotated[int, Field(ge=0, le=2**53)] | None = Field(default=None, description="How many photos reach it.")
    rate: Score | None = Field(default=None, description="The share of photos that reach it.")
    multi_label: bool = False
    where: WhereField = None
    apply: bool = Field(
        default=False, description="Save it, which needs the right to write; otherwise this is a preview."
    )
    limit: ListLimit = 100

    model_config = examples({"label_set": "animals", "label": "owl", "rate": 0.02})


class ThresholdChange(BaseModel):
    """What a threshold does: how many photos have its label before and after, and which gain and lose it."""

    label_set: str
    label: str
    rate: float
    score: float | None
    photos: int
    before: int
    after: int
    n_arrive: int
    n_leave: int
    arrive: list[str]
    leave: list[str]
    kept: bool


class Quantile(BaseModel):
    """The score that this share of the photos has or exceeds."""

    rate: float
    score: float


class CurvePoint(BaseModel):
    """How many photos have this score or more."""

    photos: int
    score: float


class ChosenThreshold(BaseModel):
    """A threshold: the share of photos asked for, the score that it comes to, and how many photos have that."""

    rate: float
    score: float | None
    photos: int | None


class ScoreCurve(BaseModel):
    """How an answer's scores fall over the library."""

    label: str
    threshold: ChosenThreshold | None
    scores: list[Quantile]
    curve: list[CurvePoint]


class ScoreCurves(BaseModel):
    """The score curves of a label set; `unused` are labels with a threshold that are not among the answers."""

    label_set: str
    photos: int
    multi_label: bool
    labels: list[ScoreCurve]
    unused: list[str]


class RemovedCount(BaseModel):
    """How many thresholds were deleted."""

    removed: int

"""Of ``/v1/thresholds``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import Body, ListLimit, Name, Score, Text, examples


class ThresholdRequest(Body):
    """From which score on an answer is given. Exactly one of `score`, `count` and `rate`."""

    label_set: Name
    label: Text
    score: Score | None = Field(default=None, description="The least score.")
    count: Annotated[int, Field(ge=0, le=2**53)] | None = Field(default=None, description="How many photos have it.")
    rate: Score | None = Field(default=None, description="Their share.")
    multi_label: bool = False
    apply: bool = Field(default=False, description="Keep it, which needs the right to write; else it is a preview.")
    limit: ListLimit = 100

    model_config = examples({"label_set": "animals", "label": "owl", "rate": 0.02})


class ThresholdChange(BaseModel):
    """What a threshold does: how many photos have its label before and after, and which come and go."""

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
    """So many photos have this score or more."""

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
    """The score curves of a label set; `unused` are labels with a threshold that are no answers here."""

    label_set: str
    photos: int
    multi_label: bool
    labels: list[ScoreCurve]
    unused: list[str]


class RemovedCount(BaseModel):
    """How many there were."""

    removed: int

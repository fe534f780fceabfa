"""Of ``/v1/eval``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from zsindex.lab.evaluate import Confusion
from zsindex.lab.metrics import ReliabilityBin
from zsindex.lab.tradeoff import TradeoffPoint
from zsindex.web.schemas.fields import ListLimit, Name, OnlyPaths, Seed, Several, Text, examples
from zsindex.web.schemas.filters import WhereField
from zsindex.web.schemas.questions import DecidingOptions, LabelChoice, PriorOptions
from zsindex.web.schemas.truth import KnownContent, RenamedLabels


class EvaluatedQuestion(LabelChoice, DecidingOptions, PriorOptions):
    """One way of asking, and the truth that its answers are compared with."""

    truth: KnownContent
    names: RenamedLabels = None
    others_are_none: bool = Field(default=False, description="Photos with other labels count as showing none of these.")
    smooth: bool = False
    paths: OnlyPaths = None
    where: WhereField = None


class ComparedQuestion(EvaluatedQuestion):
    """One way of asking or several: all label sets with all template sets and all models."""

    against: Several[LabelChoice] = Field(default_factory=list, description="Further label sets, on the same photos.")
    template_sets: Several[Text | list[Text]] = Field(default_factory=list, description="Template sets to compare.")
    models: Several[Name] = Field(default_factory=list, description="Further models that the library has vectors of.")


class EvaluationRequest(ComparedQuestion):
    """Compare answers with the truth."""

    coverage: Annotated[float, Field(gt=0, le=0.999999, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Also measure sets of labels that hold what this share of photos shows; each half of the photos "
        "calibrates the other.",
    )
    resamples: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=200, description="Resamples for the intervals; 0 for no intervals."
    )
    seed: Seed = 0
    limit: ListLimit = 100

    model_config = examples(
        {"labels": ["owl", "fox"], "truth": {"7": "owl", "12": "fox"}},
        {"label_set": "animals", "truth": "corrections", "template_sets": ["default", "openai-7"]},
    )


class EvaluatedPhotosRequest(EvaluatedQuestion):
    """Which photos to show: those of a cell of the confusion matrix, or of its rows or columns."""

    shows: Text | None = Field(default=None, description="Only photos that show this answer.")
    answered: Text | None = Field(
        default=None, description="Only photos whose best answer is this one; `(no answer)` for those without any."
    )
    wrong: bool = Field(
        default=False, description="Only photos whose best answer is wrong; or, with `shows`, another one."
    )
    start: Annotated[int, Field(ge=0, le=2**31)] = 0
    limit: ListLimit = 100

    model_config = examples({"label_set": "animals", "truth": "corrections", "shows": "owl", "answered": "fox"})


class DifferingPhotosRequest(ComparedQuestion):
    """Which of the compared ways, and who is right."""

    report: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="Number of the report in the answer of `/v1/eval`, which is compared with the first one."
    )
    right: Literal["first", "other"] = Field(
        default="other", description="Photos that only the first way gets right, or only the other."
    )
    start: Annotated[int, Field(ge=0, le=2**31)] = 0
    limit: ListLimit = 100

    model_config = examples(
        {"label_set": "animals", "truth": "corrections", "against": [{"label_set": "animals", "templates": "openai-7"}]}
    )


class TradeoffRequest(EvaluatedQuestion):
    """The answer whose precision and recall are asked for."""

    label: Text

    model_config = examples({"label_set": "animals", "truth": "corrections", "label": "owl"})


class Measured(BaseModel):
    """A number, and the interval in which 95 % of the resamples lie; null where there is none."""

    value: float | None
    low: float | None
    high: float | None


class LabelNumbers(BaseModel):
    """How well one answer is recognised."""

    label: str
    photos: int
    answered: int
    right: int
    precision: Measured
    recall: Measured
    f1: Measured
    average_precision: Measured | None = None


class SetsMeasured(BaseModel):
    """How often sets of labels hold what photos show: `coverage`, where `asked` was promised; and their mean size."""

    asked: float
    photos: int
    coverage: Measured
    size: float


class EvaluationReport(BaseModel):
    """How accurate one way of asking is; `differences` are relative to the first one, and so are those of the
    labels' F1, and how many photos were `gained` and `lost`. Lists are cut at `limit`.
    """

    name: str
    model: str
    label_set: str | None
    label_set_version: int | None
    templates: list[str]
    run: str
    photos: int
    summary: dict[str, Measured]
    differences: dict[str, Measured]
    f1_differences: dict[str, Measured]
    gained: int
    lost: int
    sets: SetsMeasured | None
    labels: list[LabelNumbers]
    n_confusions: int
    confusions: list[Confusion]
    reliability: list[ReliabilityBin]
    n_wrong: int
    wrong: list[str]


class PhotoList(BaseModel):
    """How many photos, and the paths of the first ones."""

    total: int
    paths: list[str]


class EvaluationResult(BaseModel):
    """What was measured, and what had to be left out."""

    truth: str
    photos: int
    resamples: int
    seed: int
    unknown_labels: dict[str, int]
    left_out: PhotoList
    not_held: PhotoList
    unanswered: PhotoList
    without_truth: PhotoList
    learnt_from: PhotoList
    reports: list[EvaluationReport]


class EvaluatedPhoto(BaseModel):
    """A photo with its best answer, null for none, and what it shows; `learnt`: its correction shaped the answers."""

    image_id: int
    path: str
    label: str | None
    score: float
    truth: list[str]
    learnt: bool


class EvaluatedPhotos(BaseModel):
    """A part of the photos, highest scores first."""

    total: int
    photos: list[EvaluatedPhoto]


class DifferingPhoto(EvaluatedPhoto):
    """A photo as the first way answers it, and as the other does."""

    other: str | None
    other_score: float


class DifferingPhotos(BaseModel):
    """A part of the photos that one way gets right and the other wrong; first those where both were sure."""

    total: int
    photos: list[DifferingPhoto]


class TradeoffCurve(BaseModel):
    """Precision and recall of an answer at every minimum score, as counts: at most 400 points, highest scores first.

    `photos` have at least that score and `right` of them show it. `answered` of them have it as their best answer, and
    `answered_right` of those show it.
    """

    label: str
    photos: int
    shown: int
    points: list[TradeoffPoint]

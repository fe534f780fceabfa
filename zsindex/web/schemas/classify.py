"""Of ``/v1/classify``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from zsindex.classification.by import By
from zsindex.classification.options import Per
from zsindex.classification.priors import ESTIMATED, parse
from zsindex.classification.results import Prediction
from zsindex.web.schemas.fields import (
    Base64,
    Cursor,
    Name,
    OnlyPaths,
    Order,
    PhotoPath,
    Score,
    Several,
    Text,
    Top,
    examples,
)
from zsindex.web.schemas.filters import FilterQuery, WhereField
from zsindex.web.schemas.questions import AllOptions, LabelChoice, PriorOptions
from zsindex.web.schemas.truth import KnownContent, Source

OnePer: TypeAlias = Annotated[
    Per | None,
    Field(description="Only one photo of each `burst` or `event`, see /v1/events, and those without a time."),
]


_CALIBRATE = "Photos with known content for `coverage`. Default: corrections of the label set."


class ClassifyOptions(AllOptions):
    """All but the labels and the paths, which have other names in a URL."""

    top: Top | None = Field(
        default=None, description="Labels per photo. Default: 3; with `multi_label` or `coverage` all that fit."
    )
    one_per: OnePer = None
    coverage: Annotated[float, Field(gt=0, le=0.999999, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Give each photo the set of all labels that it may show, so that at least this share of photos is "
        "given what it does show.",
    )
    coverage_score: Literal["lac", "aps", "raps"] | None = Field(
        default=None, description="How sets are made; see docs/methods.md. Default: `lac`."
    )
    coverage_per: Literal["label", "year", "month", "day", "hour", "camera", "folder"] | None = Field(
        default=None, description="Keep `coverage` for each label, or for the photos of each of these."
    )
    coverage_adapt: bool = Field(
        default=False, description="Smaller sets, from scores that are adapted to all photos together."
    )
    record: bool = Field(default=False, description="Record the run, see /v1/runs; needs the right to write.")
    only: Several[Text] | None = Field(default=None, description="Only photos whose best label is one of these.")
    min_score: Score = Field(default=0.0, description="Leave out predictions below it.")
    order: Order = Field(
        default="path",
        description="`label` sorts by best label, highest scores first; `score` by them alone; `date` newest first.",
    )
    limit: Annotated[int, Field(ge=0)] = Field(default=100, description="Photos per page.")
    cursor: Cursor | None = Field(
        default=None, description="`next` of the previous page; everything else must be the same."
    )


class ClassifyRequest(LabelChoice, ClassifyOptions, PriorOptions):
    """Score photos of the library against labels."""

    calibrate: KnownContent | None = Field(default=None, description=_CALIBRATE)
    paths: OnlyPaths = None
    where: WhereField = None

    model_config = examples(
        {"labels": ["owl", "fox", "bear"], "templates": ["a photo of a {}."], "top": 3, "limit": 100},
        {"label_set": "animals", "only": ["owl"], "min_score": 0.5, "order": "label"},
        {"label_set": "animals", "coverage": 0.9},
    )


class CountsRequest(LabelChoice, AllOptions, PriorOptions):
    """Count photos instead of listing them."""

    by: By = Field(description="What they are counted by: their local time, camera, folder or keywords.")
    one_per: OnePer = None
    paths: OnlyPaths = None
    where: WhereField = None

    model_config = examples({"label_set": "animals", "by": "month", "temperature": "fitted"})


class CountsOfAnswer(BaseModel):
    """How many photos of each answer there are by something: a row for each key, a column for each label."""

    run: str = Field(description="Key of the answer's run.")
    by: By
    keys: list[str | None] = Field(description="In order; null, at the end, where it is not known.")
    labels: list[str]
    photos: list[int] = Field(description="Of each key, whatever their answer.")
    counts: list[list[int]]
    expected: list[list[float]] | None = Field(description="By the scores; null where these are not calibrated.")
    from_file: int = Field(description="Photos whose time is only that of their file.")
    unread: int = Field(description="Photos whose metadata was never read.")


class ClassifyQuery(ClassifyOptions, FilterQuery):
    """The same in a URL, where parameters that can be repeated are named in the singular."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    label: Several[Text] | None = Field(default=None, examples=[["owl", "fox"]])
    label_set: Name | None = None
    template: Several[Text] | None = None
    negative: Several[Text] | None = None
    path: Several[PhotoPath] | None = None
    calibrate: Source | None = Field(default=None, description=_CALIBRATE)
    prior: Text | None = Field(default=None, description="`owl=0.2,fox=0.8`, or `estimated`.")
    transport: bool = False

    def request(self) -> ClassifyRequest:
        """The body that asks the same.

        Raises:
            BadFilter, BadPrior
        """
        renamed = {"label": "labels", "template": "templates", "negative": "negatives", "path": "paths"}
        others = {renamed.get(name, name): value for name, value in self if name not in FilterQuery.model_fields}
        if self.prior is not None and self.prior != ESTIMATED:
            others["prior"] = parse(self.prior, source="prior")
        return ClassifyRequest(**others, where=self.wanted())


class HubParameters(BaseModel):
    """Parameters as model hubs know them; others are ignored, as there."""

    candidate_labels: list[Text] | Text
    hypothesis_template: Text | None = None


class HubRequest(BaseModel):
    """What clients of model hubs send for zero-shot image classification."""

    inputs: Base64 = Field(description="An image in base64; a URL only where the service was told to fetch them.")
    parameters: HubParameters

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"inputs": "iVBORw0KGgo…", "parameters": {"candidate_labels": ["owl", "fox"]}}]
        },
    )


def _shape_of(body: Any) -> str:
    return "hub" if isinstance(body, Mapping) and "inputs" in body else "classify"


# Which shape a body has is plain before anything in it is looked at, so that only what is wrong in that is told.
AnyClassifyRequest: TypeAlias = Annotated[
    Annotated[ClassifyRequest, Tag("classify")] | Annotated[HubRequest, Tag("hub")], Discriminator(_shape_of)
]


class PhotoResult(BaseModel):
    """A photo with its predictions, best first."""

    image_id: int
    path: str
    predictions: list[Prediction]


class SmoothingCounts(BaseModel):
    """What smoothing did: how many photos it looked at, and how many got another best answer."""

    photos: int
    changed: int
    iterations: int
    converged: bool


class PromiseOfSets(BaseModel):
    """That sets hold what photos show as often as was asked for: for all photos, or for some labels or groups together.
    By the number of calibration photos the share of photos to come lies from `low` to `high`, with 95 % probability.
    """

    names: list[str]
    photos: int
    low: float
    high: float


class CoverageOfSets(BaseModel):
    """How sets of labels were made, and what speaks against trusting them."""

    coverage: float
    score: str
    per: str | None
    adapted: bool
    source: str
    photos: int
    right: float
    promises: list[PromiseOfSets]
    left_out: int
    learnt_from: int
    without_vector: int
    doubts: list[str]


class PriorOfAnswer(BaseModel):
    """How the photos are divided among the answers; `method` is null where that was given."""

    shares: dict[str, float]
    method: str | None
    known: int
    transport: bool


class ClassifyPage(BaseModel):
    """A page of answers.

    `run` is what they are a function of; equal keys mean equal answers. `counts` says how many photos
    have each answer as their best one, over all pages. With `coverage`, predictions are sets.
    """

    run: dict[str, Any]
    total: int
    counts: dict[str, int]
    unanswered: int
    smoothing: SmoothingCounts | None
    coverage: CoverageOfSets | None
    prior: PriorOfAnswer | None
    results: list[PhotoResult]
    next: str | None


class UploadResult(BaseModel):
    """An upload with its predictions, best first."""

    name: str
    predictions: list[Prediction]


class UploadResults(BaseModel):
    """Answers for uploads, in their order."""

    stored: bool
    results: list[UploadResult]

"""Of ``/v1/diff``."""

from __future__ import annotations

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import ActivationName, Cursor, ListLimit, Name, OnlyPaths, RequestBody, Text, examples
from zsindex.web.schemas.questions import LabelChoice


class DiffSide(LabelChoice):
    """One of two ways to classify."""

    model: Name | None = Field(
        default=None, description="A model that the library has vectors of. Default: the library's own."
    )


class DiffRequest(RequestBody):
    """Compare two label sets, two template sets or two models on all photos."""

    before: DiffSide
    after: DiffSide = Field(description="Without labels, it has those of `before`.")
    renamed: dict[Text, Text] | None = Field(default=None, description="Answers of `before`, as `after` calls them.")
    activation: ActivationName | None = None
    truncate: bool = False
    paths: OnlyPaths = None
    limit: ListLimit = Field(default=100, description="Photos per page.")
    cursor: Cursor | None = Field(
        default=None, description="`next` of the previous page; everything else must be the same."
    )

    model_config = examples(
        {"before": {"label_set": "animals@1"}, "after": {"label_set": "animals@2"}},
        {"before": {"labels": ["owl", "fox"]}, "after": {"templates": ["openai-80"]}},
    )


class AnswerCount(BaseModel):
    """How many photos have an answer as their best one, before and after."""

    answer: str
    before: int
    after: int


class AnswerFlow(BaseModel):
    """How many photos went from one answer to another, and the photo that moved most."""

    before: str
    after: str
    photos: int
    example: str


class MovedPhoto(BaseModel):
    """A photo with another best answer; `moved` is how far apart its scores are, from 0 to 1."""

    path: str
    before: str
    after: str
    score_before: float
    score_after: float
    moved: float


class DiffPage(BaseModel):
    """Where two ways to classify differ; the photos that moved most come first."""

    before: str
    after: str
    run_before: str
    run_after: str
    photos: int
    flipped: int
    share: float
    mean_moved: float
    uncompared: int
    only_before: list[str]
    only_after: list[str]
    counts: list[AnswerCount]
    n_flows: int
    flows: list[AnswerFlow]
    flips: list[MovedPhoto]
    next: str | None

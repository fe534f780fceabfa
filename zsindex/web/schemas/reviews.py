"""Of ``/v1/reviews``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import Id, Name, OnlyPaths, RequestBody, Several, Text, examples
from zsindex.web.schemas.filters import WhereField

Share: TypeAlias = Annotated[float, Field(ge=0.5, le=0.999, allow_inf_nan=False)]


class ReviewRequest(RequestBody):
    """What photos are to show, and what is to be promised in the end."""

    label: Text
    label_set: Name | None = Field(
        default=None, description="A saved label set that has the label; answers are kept as its corrections."
    )
    templates: Several[Text] | None = Field(default=None, description="In place of the label set's own.")
    recall: Share = Field(default=0.95, description="The share of the photos that show it that must have been seen.")
    confidence: Share = Field(default=0.95, description="How sure that must be.")
    paths: OnlyPaths = None
    where: WhereField = None
    truncate: bool = Field(default=False, description="Cut prompts that are too long for the model.")
    seed: int = Field(default=0, ge=0, le=2**31, description="Another one draws other photos by chance.")

    model_config = examples({"label": "owl", "recall": 0.9}, {"label": "owl", "label_set": "animals"})


class ReviewAnswer(RequestBody):
    """What the photo shows that waits."""

    number: Id = Field(description="`number` of the photo that `next` was.")
    answer: Literal["yes", "no", "unsure"]

    model_config = examples({"number": 1, "answer": "yes"})


class ReviewShown(BaseModel):
    """How far a review is, what may be said, and the photo that waits for an answer."""

    statement: str
    survey: int
    question: dict[str, Any]
    model: str
    photos: int
    looks: int
    found: int
    unsure: int
    recall: float
    confidence: float
    reached: bool
    promise: float | None
    at_most_missing: int | None
    by_chance: int
    by_chance_needed: int | None
    ahead: int
    ahead_allowed: int | None
    looks_left: int
    begun_at: str
    at: str
    next: dict[str, Any] | None = Field(description="A look of the survey, with `number`, `image_id` and `path`.")


class FoundPage(BaseModel):
    """A page of the photos that were found, by path."""

    total: int
    photos: list[str]
    next: str | None

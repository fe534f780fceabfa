"""Of ``/v1/counts``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import Name, RequestBody, Several, Text, examples
from zsindex.web.schemas.filters import WhereField

Looks = Annotated[
    int | None, Field(ge=1, le=1_000_000, description="Answers at most. Default: 80, or no bound with `within`.")
]
Within = Annotated[
    float | None,
    Field(
        gt=0,
        le=1e12,
        allow_inf_nan=False,
        description="End as soon as the interval is at most this far from the estimate: below 1 a share of it, else "
        "photos.",
    ),
]
Confidence = Annotated[float, Field(ge=0.5, le=0.9999, description="Of the interval.")]


class WhenField(RequestBody):
    """When a count ends, and how sure it is."""

    looks: Looks = None
    within: Within = None
    confidence: Confidence = 0.95


class CountRequest(WhenField):
    """What to count."""

    label: Text = Field(description="What photos are to show.")
    label_set: Name | None = Field(default=None, description="A saved one that has it; answers become its corrections.")
    templates: Several[Text] | None = Field(default=None, description="Used instead of its own, or of the default.")
    where: WhereField = None
    again: bool = Field(default=False, description="Count anew; what was answered is known.")

    model_config = examples({"label": "an owl", "within": 0.1})


class AnswerRequest(WhenField):
    """Whether the photo that waits shows it."""

    number: int = Field(ge=1, le=2**53, description="Of the look: an answer to another one is refused.")
    answer: Literal["yes", "no", "unsure"]

    model_config = examples({"number": 1, "answer": "yes", "within": 0.1})


class UndoRequest(WhenField):
    """When the count ends, as before."""

    model_config = examples({"within": 0.1})


class LookShown(BaseModel):
    """A photo that is looked at."""

    number: int
    path: str
    copies: list[str]
    digest: str
    image_id: int | None
    drawn: dict[str, Any]
    answer: str | None
    answered_at: str | None


class CountShown(BaseModel):
    """How many photos show it, as far as the answers tell; `next` waits for an answer, null if the count has ended."""

    survey: int
    label: str
    estimate: float
    low: int
    high: int
    confidence: float
    reached: bool
    looks: int
    yes: int
    no: int
    known: int
    known_yes: int
    photos: int
    files: int
    gone: int
    came: int
    next: LookShown | None


class GroupCountShown(BaseModel):
    """The same for a year, a folder and so on; an empty key is for photos of which it is not known."""

    key: str
    photos: int
    known: int
    estimate: float
    low: int
    high: int

"""Of ``/v1/prior``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import OnlyPaths, Seed, Temperature, examples
from zsindex.web.schemas.filters import WhereField
from zsindex.web.schemas.questions import LabelChoice
from zsindex.web.schemas.truth import KnownContent, RenamedLabels


class PriorRequest(LabelChoice):
    """Estimate how the photos are divided among the answers."""

    truth: KnownContent | None = Field(
        default=None, description="What some photos show. Default: the corrections of the saved label set."
    )
    names: RenamedLabels = None
    method: Literal["rlls", "em", "bbse"] = Field(default="rlls", description="Only `em` works without a truth.")
    temperature: Temperature | None = None
    paths: OnlyPaths = None
    where: WhereField = None
    resamples: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=200, description="Resamples for the intervals; 0 for no intervals."
    )
    seed: Seed = 0

    model_config = examples({"label_set": "animals"}, {"labels": ["owl", "fox"], "method": "em"})


class EstimatedShare(BaseModel):
    """The share of an answer with its interval of 95 %, and how many photos of it are known."""

    label: str
    share: float
    low: float | None
    high: float | None
    known: int


class EstimatedPrior(BaseModel):
    """The shares of all answers, and what speaks against trusting them."""

    method: str
    photos: int
    source: str | None
    shares: list[EstimatedShare]
    doubts: list[str]

"""Of ``/v1/suggest``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from zsindex.lab.suggest import UnfittedGroup
from zsindex.web.schemas.fields import OnlyPaths, Text
from zsindex.web.schemas.questions import LabelChoice


class SuggestRequest(LabelChoice):
    """Find names for what labels miss."""

    vocabulary: Literal["basic", "wordnet"] | list[Text] = Field(
        default="basic",
        description="`basic`, which has 200 words; `wordnet`, where it is installed; or a list of words.",
    )
    word_template: Text | None = Field(default=None, description="Template for the words, with {} where the word goes.")
    share: Annotated[float, Field(gt=0, le=0.5)] = Field(
        default=0.1, description="Share of the photos that count as not fitted."
    )
    by: Literal["cosine", "margin"] = "cosine"
    n_groups: Annotated[int, Field(ge=1, le=50)] | None = Field(default=None, description="How many groups to make.")
    names: Annotated[int, Field(ge=0, le=20)] = 5
    examples: Annotated[int, Field(ge=0, le=20)] = 5
    paths: OnlyPaths = None


class SuggestedGroups(BaseModel):
    """What was found. `interrupted`: time ran out before all words were compared; the same request continues."""

    images: int
    unfit: int
    bound: float
    vocabulary: int
    left: int
    interrupted: bool
    groups: list[UnfittedGroup]

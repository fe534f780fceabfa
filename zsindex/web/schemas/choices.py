"""Of ``/v1/choices``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from zsindex.lab.choose import Duel
from zsindex.web.schemas.counts import LookShown
from zsindex.web.schemas.fields import (
    ActivationName,
    Id,
    Name,
    OnlyPaths,
    RequestBody,
    Seed,
    Several,
    Temperature,
    Text,
    examples,
)
from zsindex.web.schemas.filters import WhereField
from zsindex.web.schemas.questions import LabelChoice


class ChoiceRequest(LabelChoice):
    """The candidates: all label sets with all template sets and all models given, two or more."""

    against: Several[LabelChoice] = Field(default_factory=list, description="Further label sets.")
    template_sets: Several[Text | list[Text]] = Field(
        default_factory=list, description="Template sets, each in place of the label sets' own prompts."
    )
    models: Several[Name] = Field(
        default_factory=list, description="Models that the library has vectors of. Default: its own."
    )
    names: dict[Text, Text] | None = Field(
        default=None, description="Names of answers by which they are asked about: with the same one they are the same."
    )
    confidence: Annotated[float, Field(ge=0.5, lt=1, allow_inf_nan=False)] = 0.95
    within: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(
        default=0.01, description="Candidates whose accuracies are no further apart are equally good."
    )
    seed: Seed = 0
    activation: ActivationName | None = None
    temperature: Temperature | None = None
    truncate: bool = Field(default=False, description="Cut prompts that are too long for the model.")
    paths: OnlyPaths = None
    where: WhereField = None

    model_config = examples(
        {"label_set": "animals", "template_sets": ["default", "openai-7"], "within": 0.05},
        {"labels": ["owl", "fox"], "against": [{"labels": ["an owl", "a fox"]}], "names": {"an owl": "owl"}},
    )


class ChoiceAnswer(RequestBody):
    """What the photo shows that waits."""

    number: Id = Field(description="`number` of the photo that `next` was.")
    answer: Text = Field(
        description="The right ones of `answers`, with `|` between several; anything else, such as `(none of these)`, "
        "if none is; `unsure` if that cannot be told."
    )

    model_config = examples({"number": 1, "answer": "owl"})


class ChoiceShown(BaseModel):
    """What is known of a choice: `named` is the best as far as was asked for; and the photo that waits for an answer,
    with the candidates' `answers` in `drawn`.
    """

    survey: int
    candidates: list[str]
    named: str | None
    leader: str
    contenders: list[str]
    confidence: float
    within: float
    photos: int
    differ: int
    looked_at: int
    unsure: int
    exhausted: bool
    duels: list[Duel]
    next: LookShown | None

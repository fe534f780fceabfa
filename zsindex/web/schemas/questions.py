"""What questions have in common: the labels, and how photos are scored by them."""

from __future__ import annotations

from pydantic import Field

from zsindex.web.schemas.fields import (
    ActivationName,
    CorrectionMethod,
    Name,
    Prior,
    RequestBody,
    Several,
    Temperature,
    Text,
    Unknown,
    examples,
)


class LabelChoice(RequestBody):
    """Labels, or the name of a saved label set."""

    labels: Several[Text] | dict[Text, Several[Text]] | None = Field(
        default=None, description="Names in order, or names with their prompts. Give these or `label_set`."
    )
    label_set: Name | None = Field(default=None, description="Name of a saved label set; NAME@2 is its second version.")
    templates: Several[Text] | None = Field(default=None, description="In place of the label set's own.")
    groups: dict[Text, Several[Text]] | None = Field(default=None, description="Labels that count as one answer.")
    negatives: Several[Text] | None = Field(
        default=None, description="What photos may show that is none of the answers."
    )

    model_config = examples({"labels": ["owl", "fox"], "templates": ["openai-7"]}, {"label_set": "animals"})


class BasicOptions(RequestBody):
    """Options of every question."""

    activation: ActivationName | None = Field(default=None, description="Default: as the model was trained.")
    unknown: Unknown | None = Field(
        default=None,
        description="How to recognise photos that show none of the labels: METHOD:RATE or METHOD:score=X.",
        examples=["softmax:0.05"],
    )
    with_corrections: CorrectionMethod | None = Field(
        default=None, description="Also learn from the corrections of the saved label set; if in doubt, `logistic`."
    )
    truncate: bool = Field(default=False, description="Cut prompts that are too long for the model.")


class DecidingOptions(BasicOptions):
    """These, and what decides which scores make an answer."""

    temperature: Temperature | None = Field(
        default=None, description="Cosines are divided by it; or `fitted`, see /v1/temperature. Default: the model's."
    )
    thresholds: bool = Field(default=False, description="Only answers at or above the label set's thresholds.")


class AllOptions(DecidingOptions):
    """All options that an answer depends on."""

    multi_label: bool = Field(default=False, description="Answer with every label that fits, not only the best.")
    smooth: bool = Field(
        default=False, description="Score the photos together, so that similar ones get similar answers."
    )


class PriorOptions(RequestBody):
    """How the photos are divided among the answers, in a body."""

    prior: Prior | None = Field(
        default=None,
        description="How the photos are divided among the answers: a share or a number for each, 0 for what none "
        "shows; or `estimated`, see /v1/prior.",
        examples=[{"owl": 0.2, "fox": 0.8}],
    )
    transport: bool = Field(default=False, description="Give each answer exactly its share of the photos.")

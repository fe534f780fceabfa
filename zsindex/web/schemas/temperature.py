"""Of ``/v1/temperature``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import ActivationName, OnlyPaths, Seed, examples
from zsindex.web.schemas.questions import LabelChoice
from zsindex.web.schemas.truth import KnownContent, RenamedLabels


class TemperatureRequest(LabelChoice):
    """Fit a temperature, which decides how confident the model's scores are."""

    truth: KnownContent
    names: RenamedLabels = None
    others_are_none: bool = False
    activation: ActivationName | None = None
    paths: OnlyPaths = None
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    seed: Seed = 0
    apply: bool = Field(default=False, description="Save it with the model, which needs the right to write.")

    model_config = examples({"label_set": "animals", "truth": "corrections", "apply": True})


class KeptTemperature(BaseModel):
    """The temperature that was fitted for the model, and what it was fitted to; null where there is none."""

    temperature: float | None
    about: dict[str, Any] | None

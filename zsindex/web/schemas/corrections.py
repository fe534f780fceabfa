"""Of ``/v1/corrections``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from zsindex.web.schemas.fields import Id, Name, RequestBody, Several, Text, examples

Digest: TypeAlias = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class CorrectionStatement(RequestBody):
    """What a photo shows, or with `not` does not show."""

    image_id: Id
    label: Text = Field(description="A label, a group or a negative of the set; or `(none of these)`.")
    not_: bool = Field(default=False, alias="not")


class CorrectionRequest(CorrectionStatement):
    """What a photo shows, or with `not` does not show."""

    label_set: Name

    model_config = examples({"label_set": "animals", "image_id": 7, "label": "owl"})


class CorrectionsRequest(RequestBody):
    """What many photos show."""

    label_set: Name
    corrections: Several[CorrectionStatement] = Field(min_length=1)

    model_config = examples({"label_set": "animals", "corrections": [{"image_id": 7, "label": "owl"}]})


class Correction(BaseModel):
    """What is known of a photo: its label, or labels it does not show. Those in `unknown` are no longer in the set;
    `image_id` is null where the photo is no longer in the library.
    """

    model_config = ConfigDict(populate_by_name=True)
    paths: list[str]
    digest: str
    label: str | None
    not_: list[str] = Field(alias="not")
    unknown: list[str]
    image_id: int | None
    said_at: str | None


class ForgetRequest(RequestBody):
    """Photos whose corrections are withdrawn, by the digests of their bytes: also of photos that are gone."""

    label_set: Name
    digests: Several[Digest] = Field(min_length=1)

    model_config = examples({"label_set": "animals", "digests": ["0" * 64]})


class CorrectionCount(BaseModel):
    """How many photos have corrections now."""

    corrections: int


class StatementCount(CorrectionCount):
    """How many statements were saved, and how many photos have corrections now."""

    statements: int


class CorrectionStep(CorrectionCount):
    """How many photos have corrections now, and the number of the step, for undoing this one only."""

    step: int


class StatementStep(StatementCount):
    """The same of many statements."""

    step: int


class NextPhoto(BaseModel):
    """A photo that is worth correcting next, with its two best answers."""

    image_id: int
    path: str
    label: str
    score: float
    second: str
    second_score: float
    margin: float
    copies: list[str]

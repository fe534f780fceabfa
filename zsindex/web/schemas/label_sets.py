"""Of ``/v1/label-sets`` and ``/v1/template-sets``."""

from __future__ import annotations

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import RequestBody, Several, Text, examples


class LabelsRequest(RequestBody):
    """Labels with their templates, groups and negatives."""

    labels: Several[Text] | dict[Text, Several[Text]] = Field(
        description="Names in order; or names with written-out prompts, where an empty list means the templates."
    )
    templates: Several[Text] | None = Field(
        default=None, description="With {} where the label goes, or names of template sets. Several are averaged."
    )
    groups: dict[Text, Several[Text]] | None = Field(default=None, description="Labels that count as one answer.")
    negatives: Several[Text] | None = Field(
        default=None, description="What photos may show that is none of the answers."
    )
    literal: bool = Field(default=False, description="Written-out prompts are final: {} in them is text.")

    model_config = examples({"labels": ["owl", "fox", "bear"], "templates": ["a photo of a {}."]})


class RestoreRequest(RequestBody):
    """Which version is to be the newest one."""

    version: int = Field(ge=1, le=2**31)

    model_config = examples({"version": 1})


class SavedLabels(BaseModel):
    """A saved label set."""

    name: str
    version: int | None
    labels: list[str]
    templates: list[str]
    prompts: dict[str, list[str]]
    groups: dict[str, list[str]]
    negatives: list[str]


class LabelSetVersion(BaseModel):
    """When a version of a label set was saved."""

    version: int
    saved_at: str


class SavedLabelsWithVersions(SavedLabels):
    """A saved label set and its versions."""

    versions: list[LabelSetVersion]


class TemplatesRequest(RequestBody):
    """Templates to save under a name."""

    templates: Several[Text] = Field(min_length=1, examples=[["a photo of a {}.", "a blurry photo of a {}."]])


class TemplateSet(BaseModel):
    """Templates with a name."""

    name: str
    templates: list[str]
    built_in: bool

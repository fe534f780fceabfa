"""Of ``/v1/tags``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from zsindex.lab.tags import SidecarChange, SkippedSidecar
from zsindex.web.schemas.fields import ListLimit, Name, OnlyPaths, RequestBody, Score, examples
from zsindex.web.schemas.filters import WhereField
from zsindex.web.schemas.questions import DecidingOptions, LabelChoice


class TagsRequest(LabelChoice, DecidingOptions):
    """Answers as tags in XMP sidecars beside the photos. Groups become levels of the hierarchy."""

    every: bool = Field(
        default=False, description="Tag each of up to 50 labels that reach `min_score`, not only the best."
    )
    min_score: Score = 0.0
    paths: OnlyPaths = None
    where: WhereField = None
    root: Name | Literal[""] = Field(default="zsindex", description="The top of the tags' hierarchy.")
    style: Literal["photo.jpg.xmp", "photo.xmp"] = "photo.jpg.xmp"
    apply: bool = Field(
        default=False, description="Write the tags, which needs the right to write; otherwise this is a dry run."
    )
    limit: ListLimit = 100

    model_config = examples({"label_set": "animals", "min_score": 0.5, "apply": False})


class RetractRequest(RequestBody):
    """Remove tags that zsindex wrote, and nothing else."""

    label_set: Name | Literal[""] | None = Field(
        default=None, description="Only tags of this label set; empty for tags of labels without a name."
    )
    paths: OnlyPaths = None
    apply: bool = Field(
        default=False, description="Remove them, which needs the right to write; otherwise this is a dry run."
    )
    limit: ListLimit = 100

    model_config = examples({"label_set": "animals"})


class TagChanges(BaseModel):
    """What was written or, without `applied`, would be. `interrupted`: time ran out; the same request continues."""

    applied: bool
    interrupted: bool
    create: int
    change: int
    delete: int
    unchanged: int
    n_skipped: int
    changes: list[SidecarChange]
    skipped: list[SkippedSidecar]

"""Of ``/v1/duplicates`` and ``/v1/copies``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from zsindex.services.neighbours import Copies
from zsindex.web.schemas.fields import PhotoPath, RequestBody, Several, examples


class CopiesPage(BaseModel):
    """A page of photos that several files show."""

    total: int
    copies: list[Copies]
    next: str | None


class AlikePhoto(BaseModel):
    """A photo of a group; `cosine` and `correlation` compare it with the one to keep."""

    image_id: int | None
    path: str
    cosine: float
    correlation: float | None
    exact: bool
    width: int
    height: int
    size: int | None
    sharpness: float | None
    kept: bool


class AlikeGroup(BaseModel):
    """The photo to keep, and those like it."""

    keep: AlikePhoto
    others: list[AlikePhoto]


class DuplicatesPage(BaseModel):
    """A page of groups of near-duplicates."""

    threshold: float
    photos: int
    removable: int
    removable_bytes: int
    unread: int | None
    left_out: int
    apart: int
    total: int
    groups: list[AlikeGroup]
    next: str | None


class DecisionsRequest(RequestBody):
    """Decisions about photos, by their paths; what is decided belongs to their content."""

    different: Several[Several[PhotoPath]] = Field(
        default=[], description="Groups of two or more photos of which no two show the same picture."
    )
    keep: Several[PhotoPath] = Field(default=[], description="Photos that are not to be suggested for removal.")

    model_config = examples({"different": [["/photos/before.jpg", "/photos/after.jpg"]], "keep": ["/photos/scan.tif"]})


class DecisionShown(BaseModel):
    """A decision in effect. Photos that are `gone` are named as they were then."""

    kind: Literal["different", "keep"]
    path: str
    digest: str
    gone: bool
    other_path: str | None
    other_digest: str | None
    decided_at: str


class DecisionCount(BaseModel):
    """How many decisions are in effect now."""

    decisions: int

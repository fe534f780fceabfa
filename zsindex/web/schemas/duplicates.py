"""Of ``/v1/duplicates`` and ``/v1/copies``."""

from __future__ import annotations

from pydantic import BaseModel

from zsindex.services.neighbours import Copies


class CopiesPage(BaseModel):
    """A page of photos that several files show."""

    total: int
    copies: list[Copies]


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
    total: int
    groups: list[AlikeGroup]
    next: str | None

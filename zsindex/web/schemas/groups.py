"""Of ``/v1/groups``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from zsindex.lab.tags import SidecarChange
from zsindex.web.schemas.fields import OnlyPaths, examples
from zsindex.web.schemas.filters import WhereField
from zsindex.web.schemas.questions import BasicOptions, LabelChoice


class GroupsRequest(LabelChoice, BasicOptions):
    """Group the library by labels."""

    paths: OnlyPaths = None
    where: WhereField = None

    model_config = examples({"labels": ["owl", "fox", "bear"], "templates": ["openai-7"]})


class AnswerGroup(BaseModel):
    """An answer, how many photos have it, and how many of them reach each of the levels."""

    label: str
    count: int
    at_least: list[int]


class Groups(BaseModel):
    """The library, grouped. `key` names the answer from now on; `none` is the index of "(none of these)", if any."""

    key: str
    run: dict[str, Any]
    total: int
    unanswered: int
    levels: list[float]
    none: int | None
    groups: list[AnswerGroup]


class GroupPhoto(BaseModel):
    """A photo with its best label and its second best."""

    image_id: int
    path: str
    label: str
    score: float
    second: str | None
    second_score: float | None


class GroupPhotos(BaseModel):
    """Some photos of a group."""

    total: int
    photos: list[GroupPhoto]
    next: str | None


class PhotoPlace(BaseModel):
    """Where a photo stands: its answer, and its place among the photos of that answer and among all that have a label,
    both counted from 0, highest scores first.
    """

    image_id: int
    answer: int
    place: int
    place_of_all: int | None


class PhotoPlaces(BaseModel):
    """Places in the order that they were asked for."""

    places: list[PhotoPlace]


class TagPreview(BaseModel):
    """How many sidecars would be created, changed and deleted, and some of these changes."""

    create: int
    change: int
    delete: int
    unchanged: int
    skipped: int
    changes: list[SidecarChange]


class FlipCount(BaseModel):
    """How many photos went from one answer to another; answers by index and by name."""

    model_config = ConfigDict(populate_by_name=True)
    was: int
    becomes: int
    from_: str = Field(alias="from")
    to: str
    count: int


class Flips(BaseModel):
    """Where two answers differ. Labels of the same name are the same."""

    total: int
    same: int
    kinds: int
    flips: list[FlipCount]


class FlippedPhoto(GroupPhoto):
    """A photo with its label after and before."""

    old: str
    old_score: float


class FlippedPhotos(BaseModel):
    """Some photos whose label changed."""

    total: int
    photos: list[FlippedPhoto]
    next: str | None

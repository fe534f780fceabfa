"""Of ``/v1/images``."""

from __future__ import annotations

from pydantic import BaseModel, Field

from zsindex.classification.by import By
from zsindex.records import TakenFrom
from zsindex.web.schemas.fields import OnlyPaths, RequestBody, SeveralIds, examples
from zsindex.web.schemas.filters import WhereField
from zsindex.web.schemas.questions import AllOptions, LabelChoice


class ListedPhoto(BaseModel):
    """A photo in a list: when it was taken, by the clock there, what says so; its size, 0 where it was never read."""

    image_id: int
    path: str
    copies: list[str]
    taken: str | None
    taken_from: TakenFrom | None
    width: int
    height: int


class ImagesPage(BaseModel):
    """A page of a list of photos, and how many the list has. `next` leads to the next page."""

    images: list[ListedPhoto]
    total: int
    next: str | None


class ListSection(BaseModel):
    """A day, a month, a year, a folder, or null for photos of no known time; its first photo in the list; how many."""

    name: str | None
    start: int
    photos: int


class Sections(BaseModel):
    """The parts of a list, in its order."""

    sections: list[ListSection]


class KeyCount(BaseModel):
    """Photos with a key: a month, a camera, a folder; null where it is not known."""

    key: str | None
    photos: int


class ImageCounts(BaseModel):
    """Photos by key, in order. Of `from_file` only the time of the file is known; the metadata of `unread` was not
    read yet.
    """

    by: By
    counts: list[KeyCount]
    from_file: int
    unread: int


class TakenAt(BaseModel):
    """When a photo was taken."""

    at: str = Field(description="The local time, ISO 8601.")
    offset_s: int | None = Field(description="Of that from UTC, in seconds.")
    source: TakenFrom = Field(description="What says so.")


class PlaceAt(BaseModel):
    """Where it was taken."""

    latitude: float
    longitude: float
    altitude_m: float | None


class FactsOfFile(BaseModel):
    """What a file says of itself besides its pixels; null, or empty, where it does not, or cannot be right."""

    path: str
    taken: TakenAt | None
    make: str | None
    camera: str | None
    lens: str | None
    focal_length_mm: float | None
    aperture: float | None
    exposure_s: float | None
    iso: int | None
    place: PlaceAt | None = Field(default=None, description="Absent unless it is asked for, and allowed.")
    width: int | None
    height: int | None
    orientation: int | None
    format: str | None
    animated: bool | None
    rating: float | None
    keywords: list[str]
    caption: str | None


class FactsOfImage(BaseModel):
    """Of each existing file that shows an image: their sidecars, names and times may differ."""

    image_id: int
    files: list[FactsOfFile]


class ExplainRequest(LabelChoice, AllOptions):
    """What was asked, with all that the answer depends on."""

    paths: OnlyPaths = None
    where: WhereField = None


class PathsRequest(RequestBody):
    """Photos whose files are asked for."""

    image_ids: SeveralIds = Field(max_length=1000)

    model_config = examples({"image_ids": [1, 2]})


class NamedImage(BaseModel):
    """A photo and a file of it."""

    image_id: int
    path: str


class ImagePaths(BaseModel):
    """Photos with files, in the order that they were asked for."""

    images: list[NamedImage]

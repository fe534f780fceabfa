"""What tools give back: plain data with a schema, and pictures beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent
from typing_extensions import TypedDict  # of typing's own Pydantic makes no schema before Python 3.12

from zsindex.photos.thumbnails import MEDIA_TYPE


class FoundPhoto(TypedDict):
    """A photo that was found. `score` is the cosine similarity; `fits` is null where that cannot be told."""

    image_id: int
    path: str
    score: float
    fits: bool | None
    copies: list[str]


class Found(TypedDict):
    """Photos, best first. `pictures` are the `image_id` of those of which pictures follow, in their order; `unseen`
    says why others have none.
    """

    photos: list[FoundPhoto]
    note: str
    pictures: list[int]
    unseen: dict[str, str]


class Example(TypedDict):
    """A photo with its score for the answer, a probability."""

    image_id: int
    path: str
    score: float


class AnswerCount(TypedDict):
    """How many photos get an answer, and those of the highest scores."""

    label: str
    photos: int
    best: list[Example]


class Classified(TypedDict):
    """Photos counted by their best answers. `run` identifies the question, the model and the photos."""

    photos: int
    answers: list[AnswerCount]
    run: str
    pictures: list[int]
    unseen: dict[str, str]


class Scored(TypedDict):
    """The answers of single photos, best first: label and probability."""

    photos: dict[str, list[tuple[str, float]]]


class Counted(TypedDict):
    """Photos by something and by their best answers. A key is null where it is not known of a photo."""

    by: str
    rows: list[dict[str, str | int | float | None]]


class PhotoTold(TypedDict):
    """What is known of a photo. `facts` are by the path of each file that shows it."""

    image_id: int
    width: int
    height: int
    format: str
    paths: list[str]
    facts: dict[str, dict[str, Any]]
    pictures: list[int]
    unseen: dict[str, str]


class LabelSetTold(TypedDict):
    """A saved label set, its newest version."""

    name: str
    version: int
    labels: list[str]
    groups: dict[str, list[str]]
    negatives: list[str]
    templates: list[str]


class LabelSets(TypedDict):
    """All saved label sets."""

    label_sets: list[LabelSetTold]


class AlbumTold(TypedDict):
    """An album: a search, filters, or both, saved under a name."""

    name: str
    query: str | None
    where: dict[str, Any] | None


class LibraryTold(TypedDict):
    """What there is to ask about."""

    place: str
    photos: int
    images: int
    folders: list[str]
    model: str
    may_write: bool
    label_sets: list[str]
    albums: list[AlbumTold]


class Corrected(TypedDict):
    """What was recorded."""

    label_set: str
    photos: int


class Synced(TypedDict):
    """What a sync did; see `zsindex.records.SyncReport`."""

    scanned: int
    added: int
    changed: int
    moved: int
    missing: int
    skipped: int
    encoded: int


def told(said: Mapping[str, Any], pictures: Sequence[bytes] = ()) -> CallToolResult:
    """An answer as both kinds of clients read it: data, the same as text, and pictures."""
    text = json.dumps(said, ensure_ascii=False)
    content: list[ContentBlock] = [TextContent(type="text", text=text)]
    content += [
        ImageContent(type="image", data=base64.b64encode(picture).decode("ascii"), mime_type=MEDIA_TYPE)
        for picture in pictures
    ]
    return CallToolResult(content=content, structured_content=dict(said))

"""Of ``/v1/albums``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import RequestBody, Several, Text, Top, examples
from zsindex.web.schemas.filters import WhereField
from zsindex.web.schemas.search import MOST_WITHOUT, Cut


class AlbumRequest(RequestBody):
    """A search, filters, or both."""

    query: Text | None = Field(default=None, description="What to search for, in words. null: no search, only filters.")
    plus: Several[Text] = Field(default=[], description="More words to search for.")
    minus: Several[Text] = Field(default=[], description="Words to steer away from.")
    without: Several[Text] = Field(default=[], max_length=MOST_WITHOUT, description="Leave out photos that fit these.")
    cut: Cut = None
    top: Top | None = Field(default=None, description="Photos at most. Default: 100, or with a cut all that fit.")
    where: WhereField = None

    model_config = examples({"query": "a beach", "cut": "auto", "where": {"year": "2019"}})


class AlbumShown(BaseModel):
    """An album, and how many photos it held when somebody looked last. `chosen`: how many were put in one by one; null
    if it is a question.
    """

    name: str
    query: str | None
    options: dict[str, Any]
    where: dict[str, Any] | None
    saved_at: str
    seen_at: str | None
    n_seen: int
    chosen: int | None


class PhotoOfAlbum(BaseModel):
    """A photo; `is_new` says that it came since somebody looked last."""

    path: str
    score: float | None
    taken_at: str | None
    copies: list[str]
    is_new: bool
    image_id: int


class AlbumWithout(AlbumShown):
    """An album out of which photos were taken: those of them that were in it until then."""

    taken_out: list[int]


class AlbumPage(BaseModel):
    """A page of what an album holds now; and the paths of photos that went since somebody looked last."""

    album: AlbumShown
    total: int
    came: int
    went: list[str]
    photos: list[PhotoOfAlbum]
    next: str | None

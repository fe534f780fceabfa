"""Of ``/v1/search``, and of the photos like one."""

from __future__ import annotations

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import Base64, Cursor, Exact, Id, PhotoPath, RequestBody, Several, Text, Top, examples
from zsindex.web.schemas.filters import WhereField


class Term(RequestBody):
    """One of: a text, an image of the library, an image in base64."""

    text: Text | None = None
    image_id: Id | None = None
    image: Base64 | None = None

    model_config = examples({"text": "a red car"}, {"image_id": 7})


class SearchRequest(RequestBody):
    """Find photos by a sum of texts and images."""

    plus: Several[Term] = Field(default_factory=list, max_length=32)
    minus: Several[Term] = Field(default_factory=list, max_length=32)
    paths: Several[PhotoPath] | None = None
    where: WhereField = None
    top: Top = 20
    exact: Exact = False
    cursor: Cursor | None = Field(default=None, description="`next` of the previous page, instead of terms and paths.")

    model_config = examples({"plus": [{"text": "a beach"}], "minus": [{"text": "people"}], "top": 20})


class SearchHit(BaseModel):
    """A photo that was found, its cosine similarity, and other files with the same bytes."""

    image_id: int
    path: str
    score: float
    copies: list[str]


class HitPage(BaseModel):
    """A page of hits, best first. All show the library as it was at the first: no photo is lost, none comes twice."""

    hits: list[SearchHit]
    next: str | None

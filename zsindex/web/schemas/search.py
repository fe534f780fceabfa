"""Of ``/v1/search``, and of the photos like one."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field

from zsindex.web.schemas.fields import Base64, Cursor, Exact, Id, PhotoPath, RequestBody, Several, Text, Top, examples
from zsindex.web.schemas.filters import WhereField

MOST_WITHOUT = 8

Cut: TypeAlias = Annotated[
    Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | Literal["auto"] | None,
    Field(
        description="Only photos that fit: from this cosine similarity on; or `auto`, for words only, as judged from "
        "what is usual in the library. If nothing fits, the nearest photos come on one page, marked as not fitting."
    ),
]


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
    cut: Cut = None
    without: Several[Text] = Field(
        default_factory=list, max_length=MOST_WITHOUT, description="Leave out photos that fit one of these, by the cut."
    )
    cursor: Cursor | None = Field(default=None, description="`next` of the previous page, instead of terms and paths.")

    model_config = examples({"plus": [{"text": "a beach"}], "minus": [{"text": "people"}], "top": 20})


class SearchHit(BaseModel):
    """A photo that was found, its cosine similarity, other files with its bytes, and with a cut whether it fits."""

    image_id: int
    path: str
    score: float
    copies: list[str]
    fits: bool | None = None


class Fit(BaseModel):
    """Where a search stops: how many photos fit, as far as was looked, and whether more may. `fitting` is null without
    a cut, or where there are too few photos to tell, and `tells` is false. `note` says it in words.
    """

    fitting: int | None
    more: bool
    tells: bool
    note: str


class HitPage(BaseModel):
    """A page of hits, best first. All show the library as it was at the first: no photo is lost, none comes twice. With
    a cut, or with something left out, a page may have fewer hits than were asked for, and the first one has `fit`.
    """

    hits: list[SearchHit]
    next: str | None
    fit: Fit | None = None

"""``/v1/search``: photos by texts, by images, and by sums of both, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from starlette.responses import Response

from zsindex.classification.prompts import normalise
from zsindex.errors import BadQuery
from zsindex.records import FloatArray
from zsindex.services.stopping import require_words
from zsindex.web import uploads
from zsindex.web.filters import WhereHere
from zsindex.web.hit_pages import first_page, next_page
from zsindex.web.problems import Problem
from zsindex.web.schemas.fields import Cursor, Exact, PhotoPath, Text, Top
from zsindex.web.schemas.search import MOST_WITHOUT, Cut, HitPage, SearchRequest, Term
from zsindex.web.service import Service, ServiceHere
from zsindex.where import Where

router = APIRouter(tags=["search"])


def _texts(service: Service, texts: Sequence[str]) -> list[FloatArray]:
    # Never anything but a text: Library.search would read an image from a path.
    normalised = [normalise(text) for text in texts]
    if not all(normalised):
        raise BadQuery("the query is empty")
    return list(service.library.embed_texts(normalised)) if texts else []


def _terms(service: Service, terms: Sequence[Term]) -> list[FloatArray]:
    found: list[FloatArray] = []
    for term in terms:
        if sum(value is not None for value in (term.text, term.image_id, term.image)) != 1:
            raise Problem("query", 422, "a term is one of: text, image_id, image")
        if term.text is not None:
            found += _texts(service, [term.text])
        elif term.image_id is not None:
            found += list(service.library.vectors.of([term.image_id]))
        elif term.image is not None:
            found += list(uploads.vectors_of(service, [uploads.from_text(service, term.image)]))
    return found


@router.get("/v1/search", response_model=HitPage, summary="Find photos by words")
def search(
    service: ServiceHere,
    request: Request,
    q: Annotated[Text | None, Query(examples=["a red car"])] = None,
    plus: Annotated[list[Text] | None, Query(max_length=32)] = None,
    minus: Annotated[list[Text] | None, Query(max_length=32)] = None,
    path: Annotated[list[PhotoPath] | None, Query()] = None,
    top: Annotated[Top, Query()] = 20,
    exact: Annotated[Exact, Query()] = False,
    where: WhereHere = None,
    cut: Annotated[Cut, Query()] = None,
    without: Annotated[
        list[Text] | None, Query(max_length=MOST_WITHOUT, description="Leave out photos that fit one of these.")
    ] = None,
    cursor: Annotated[Cursor | None, Query(description="`next` of the previous page, and nothing else.")] = None,
) -> Response:
    """All terms are texts; POST also takes images."""
    if cursor is not None:
        return next_page(service, request, cursor)
    wanted = [*([] if q is None else [q]), *(plus or ())]
    vector = service.search.sum_of(_texts(service, wanted), _texts(service, minus or ()))
    left_out = _texts(service, without or ())
    return first_page(service, vector, top=top, paths=path, where=where, exact=exact, cut=cut, without=left_out)


@router.post("/v1/search", response_model=HitPage, summary="Find photos by words and images together")
def search_by_terms(service: ServiceHere, request: Request, body: SearchRequest) -> Response:
    """The query is the sum of the unit vectors of all terms, those of `minus` subtracted."""
    if body.cursor is not None:
        return next_page(service, request, body.cursor)
    if any(term.text is None for term in (*body.plus, *body.minus)):
        require_words(body.cut)
    vector = service.search.sum_of(_terms(service, body.plus), _terms(service, body.minus))
    where = Where.of(body.where)
    left_out = _texts(service, body.without)
    return first_page(
        service, vector, top=body.top, paths=body.paths, where=where, exact=body.exact, cut=body.cut, without=left_out
    )


@router.post("/v1/search/upload", response_model=HitPage, summary="Find photos like one that is uploaded")
def search_by_upload(
    service: ServiceHere,
    image: Annotated[UploadFile, File(description="An image file. It is not stored.")],
    plus: Annotated[list[Text] | None, Form()] = None,
    minus: Annotated[list[Text] | None, Form()] = None,
    top: Annotated[Top, Form()] = 20,
    exact: Annotated[Exact, Form()] = False,
) -> Response:
    """Texts can be added and subtracted. Further pages come from GET, with the cursor."""
    image_vectors = list(uploads.vectors_of(service, uploads.read(service, [image])))
    vector = service.search.sum_of([*image_vectors, *_texts(service, plus or ())], _texts(service, minus or ()))
    return first_page(service, vector, top=top, exact=exact)

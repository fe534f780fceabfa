"""``/v1/search``: photos by texts, by images, and by sums of both, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, UploadFile
from starlette.responses import JSONResponse, Response

from zsindex.classification.prompts import normalise
from zsindex.errors import BadQuery
from zsindex.records import FloatArray
from zsindex.web import schemas, uploads
from zsindex.web.cursors import SearchCursor
from zsindex.web.problems import Problem
from zsindex.web.service import Service, ServiceHere

router = APIRouter(tags=["search"])


def first_page(
    service: Service, vector: FloatArray, *, top: int, paths: Sequence[str] | None = None, leave_out: int | None = None
) -> Response:
    """The photos nearest to a vector."""
    start = SearchCursor(
        service.library.model.fingerprint,
        vector,
        place=None,  # type: ignore[arg-type]  # the page itself says where the next one begins
        paths=None if paths is None else tuple(paths),
        leave_out=leave_out,
        top=top,
    )
    return _page(service, start, after=False)


def next_page(service: Service, cursor: str) -> Response:
    """The page where a cursor points."""
    model = service.library.model
    return _page(service, SearchCursor.from_text(cursor, fingerprint=model.fingerprint, dim=model.dim), after=True)


def _page(service: Service, at: SearchCursor, *, after: bool) -> Response:
    page = service.search.page(
        at.vector, top=at.top, after=at.place if after else None, paths=at.paths, leave_out=at.leave_out
    )
    following = None
    if page.next is not None:
        following = SearchCursor(at.fingerprint, at.vector, page.next, at.paths, at.leave_out, at.top).to_text()
    hits: list[dict[str, Any]] = [{"image_id": hit.image_id, **hit.to_dict()} for hit in page.hits]
    return JSONResponse({"hits": hits, "next": following})


def _texts(service: Service, texts: Sequence[str]) -> list[FloatArray]:
    # Never anything but a text: Library.search would read an image from a path.
    normalised = [normalise(text) for text in texts]
    if not all(normalised):
        raise BadQuery("the query is empty")
    return list(service.library.embed_texts(normalised)) if texts else []


def _terms(service: Service, terms: Sequence[schemas.Term]) -> list[FloatArray]:
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


@router.get("/v1/search", response_model=schemas.Hits, summary="Find photos by words")
def search(
    service: ServiceHere,
    q: Annotated[schemas.Text | None, Query(examples=["a red car"])] = None,
    plus: Annotated[list[schemas.Text] | None, Query(max_length=32)] = None,
    minus: Annotated[list[schemas.Text] | None, Query(max_length=32)] = None,
    path: Annotated[list[schemas.Path] | None, Query()] = None,
    top: Annotated[schemas.Top, Query()] = 20,
    cursor: Annotated[schemas.Cursor | None, Query(description="`next` of the page before, and nothing else.")] = None,
) -> Response:
    """All terms are texts; POST takes images, too."""
    if cursor is not None:
        return next_page(service, cursor)
    wanted = [*([] if q is None else [q]), *(plus or ())]
    vector = service.search.sum_of(_texts(service, wanted), _texts(service, minus or ()))
    return first_page(service, vector, top=top, paths=path)


@router.post("/v1/search", response_model=schemas.Hits, summary="Find photos by words and images together")
def search_by_terms(service: ServiceHere, question: schemas.SearchQuestion) -> Response:
    """The query is the sum of the unit vectors of all terms, those of `minus` subtracted."""
    if question.cursor is not None:
        return next_page(service, question.cursor)
    vector = service.search.sum_of(_terms(service, question.plus), _terms(service, question.minus))
    return first_page(service, vector, top=question.top, paths=question.paths)


@router.post("/v1/search/upload", response_model=schemas.Hits, summary="Find photos like one that is uploaded")
def search_by_upload(
    service: ServiceHere,
    image: Annotated[UploadFile, File(description="A photo, encoded. It is not stored.")],
    plus: Annotated[list[schemas.Text] | None, Form()] = None,
    minus: Annotated[list[schemas.Text] | None, Form()] = None,
    top: Annotated[schemas.Top, Form()] = 20,
) -> Response:
    """Texts can be added and subtracted. Further pages come from GET, with the cursor."""
    image_vectors = list(uploads.vectors_of(service, uploads.read(service, [image])))
    vector = service.search.sum_of([*image_vectors, *_texts(service, plus or ())], _texts(service, minus or ()))
    return first_page(service, vector, top=top)

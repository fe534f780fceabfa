"""``/v1/albums``: questions with their filters under a name, which follow the library."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.lab.albums import AlbumPhotos
from zsindex.services.albums import Albums
from zsindex.web import questions
from zsindex.web.lists import NextPage, Start, page_of
from zsindex.web.parameters import SetName
from zsindex.web.problems import Problem
from zsindex.web.schemas.albums import AlbumPage, AlbumRequest, AlbumShown, AlbumWithout
from zsindex.web.schemas.chosen import ChosenPhotos
from zsindex.web.service import WRITES, Service, ServiceHere

router = APIRouter(tags=["albums"])

Limit: TypeAlias = Annotated[int, Query(ge=0, le=10_000, description="Photos per page.")]


def _albums(service: Service) -> Albums:
    return service.library.albums


@router.get("/v1/albums", response_model=list[AlbumShown], summary="Albums")
def albums(service: ServiceHere) -> Response:
    """All of them, by name."""
    return JSONResponse([one.to_dict() for one in _albums(service).list()])


@router.put("/v1/albums/{name}", response_model=AlbumShown, dependencies=[WRITES], summary="Save an album")
def save(service: ServiceHere, name: SetName, body: AlbumRequest) -> Response:
    """In place of one of that name."""
    given: dict[str, Any] = body.model_dump(exclude={"query", "plus", "minus"})
    # Texts are never read as paths of the host.
    plus, minus = ([f"text:{text}" for text in texts] for texts in (body.plus, body.minus))
    query = None if body.query is None else f"text:{body.query}"
    given = {key: value for key, value in {**given, "plus": plus, "minus": minus}.items() if value not in (None, [])}
    return JSONResponse(_albums(service).save(name, query, **given).to_dict())


@router.post(
    "/v1/albums/{name}/photos",
    response_model=AlbumShown,
    dependencies=[WRITES],
    summary="Put photos into an album of chosen ones",
)
def put_in(service: ServiceHere, name: SetName, body: ChosenPhotos) -> Response:
    """It is made where there is none of that name. An album that is a question cannot be added to."""
    return JSONResponse(_albums(service).add(name, _paths(service, body).values()).to_dict())


@router.post(
    "/v1/albums/{name}/photos/remove",
    response_model=AlbumWithout,
    dependencies=[WRITES],
    summary="Take photos out of an album of chosen ones",
)
def take_out(service: ServiceHere, name: SetName, body: ChosenPhotos) -> Response:
    """They stay in the library."""
    paths = _paths(service, body)
    made = _albums(service).take_out(name, paths.values())
    taken_out = set(made.taken_out)
    return JSONResponse({**made.to_dict(), "taken_out": [one for one, path in paths.items() if path in taken_out]})


def _paths(service: Service, body: ChosenPhotos) -> dict[int, str]:
    if len(body.image_ids) > service.limits.chosen:
        raise Problem("too-much", 422, f"more than {service.limits.chosen:,} photos")
    return questions.paths_of(service, body.image_ids)


@router.delete("/v1/albums/{name}", status_code=204, dependencies=[WRITES], summary="Remove an album")
def remove(service: ServiceHere, name: SetName) -> Response:
    """Its photos stay where they are."""
    _albums(service).remove(name)
    return Response(status_code=204)


@router.get("/v1/albums/{name}/photos", response_model=AlbumPage, summary="What an album holds now")
def photos(
    service: ServiceHere, name: SetName, start: Start = 0, limit: Limit = 100, cursor: NextPage = None
) -> Response:
    """This is no look: what is new stays new until somebody POSTs that it was seen."""
    return _page(_albums(service).photos(name), start, limit, cursor)


@router.post(
    "/v1/albums/{name}/seen", response_model=AlbumPage, dependencies=[WRITES], summary="Say that an album was looked at"
)
def seen(
    service: ServiceHere, name: SetName, start: Start = 0, limit: Limit = 100, cursor: NextPage = None
) -> Response:
    """Answers as before this; from now on what came and went since now is told."""
    return _page(_albums(service).photos(name, look=True), start, limit, cursor)


def _page(contents: AlbumPhotos, start: int, limit: int, cursor: str | None) -> Response:
    asked, state = ["album", contents.album.name], [photo.path for photo in contents.photos]
    part, following = page_of(contents.photos, asked=asked, state=state, start=start, limit=limit, cursor=cursor)
    document = {
        "album": contents.album.to_dict(),
        "total": len(contents.photos),
        "came": len(contents.came),
        "went": list(contents.went),
        "photos": [photo.to_dict() for photo in part],
        "next": following,
    }
    return JSONResponse(document)

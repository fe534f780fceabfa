"""``/v1/images``: photos in lists, and single ones by the id of their content, never by a path."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path as FilePath
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from zsindex.classification.by import By
from zsindex.lab.explain import Why
from zsindex.photos import thumbnails
from zsindex.services.photos import Photo
from zsindex.web import hit_pages, questions
from zsindex.web.conditional import unchanged
from zsindex.web.cursors import MOST_LISTED, ListCursor
from zsindex.web.filters import WhereHere
from zsindex.web.parameters import ImageId
from zsindex.web.problems import Problem, busy
from zsindex.web.schemas.fields import Cursor, Exact, PhotoPath, Top
from zsindex.web.schemas.images import (
    ExplainRequest,
    FactsOfImage,
    ImageCounts,
    ImagePaths,
    ImagesPage,
    PathsRequest,
    Sections,
)
from zsindex.web.schemas.questions import AllOptions
from zsindex.web.schemas.search import HitPage
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["images"])

# What an id stands for never changes. It is somebody's photo, so only the browser itself keeps it.
FOREVER = "private, max-age=31536000, immutable"
# What makes an answer of more than the words of its labels.
_MORE = AllOptions.model_fields.keys() - {"activation", "truncate"}
# Of a photo's bytes; anything else is downloaded rather than shown.
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
}
MOST_FILE_BYTES = 512 << 20


@router.get("/v1/images", response_model=ImagesPage, summary="The photos of the library")
def listed(
    service: ServiceHere,
    path: Annotated[list[PhotoPath] | None, Query(description="Only photos at or below these.")] = None,
    where: WhereHere = None,
    by: Annotated[Literal["date", "path"], Query(description="`date`: newest first; without one last.")] = "date",
    oldest_first: Annotated[bool, Query(description="Of dates.")] = False,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
    start: Annotated[int, Query(ge=0, le=2**31, description="Begin there, without a cursor: scroll bars jump.")] = 0,
    cursor: Annotated[Cursor | None, Query(description="`next` of the previous page, and nothing else.")] = None,
) -> Response:
    """Each once, whatever files show it. No model is asked. A photo that comes between two pages is on neither, or on
    the one where it belongs; no other is lost, and none comes twice.
    """
    if cursor is not None:
        at = ListCursor.from_text(cursor)
    else:
        places = None if path is None else tuple(path)
        at = ListCursor(by, oldest_first, places, where, limit, after=None)
    page = service.library.photos.page(
        by=at.by,
        oldest_first=at.oldest_first,
        paths=at.paths,
        where=at.where,
        limit=at.limit,
        after=at.after,
        start=start,
    )
    following = None if page.next is None else replace(at, after=page.next).to_text()
    images = [asdict(one) for one in page.photos]
    return JSONResponse({"images": images, "total": page.total, "next": following})


@router.post("/v1/images/paths", response_model=ImagePaths, summary="Files of photos")
def paths(service: ServiceHere, body: PathsRequest) -> Response:
    """One of each, by its id, in the order that they were asked for. Photos that have none are left out."""
    found = service.library.photos.paths_of(body.image_ids)
    named = [{"image_id": one, "path": found[one][0]} for one in dict.fromkeys(body.image_ids) if one in found]
    return JSONResponse({"images": named})


@router.get("/v1/images/sections", response_model=Sections, summary="Where days, months or folders begin in the list")
def sections(
    service: ServiceHere,
    per: Annotated[Literal["day", "month", "year", "folder"], Query(description="`folder`: of the list by path.")],
    path: Annotated[list[PhotoPath] | None, Query(description="Only photos at or below these.")] = None,
    where: WhereHere = None,
    oldest_first: Annotated[bool, Query(description="Of dates.")] = False,
) -> Response:
    """In the order of `/v1/images`, each with the number of its first photo there."""
    found = service.library.photos.sections(per, oldest_first=oldest_first, paths=path, where=where)
    return JSONResponse({"sections": [asdict(one) for one in found]})


@router.get("/v1/images/counts", response_model=ImageCounts, summary="Photos by month, camera, folder, …")
def counts(
    service: ServiceHere,
    by: Annotated[By, Query(description="Times are the photos' local ones.")],
    path: Annotated[list[PhotoPath] | None, Query(description="Only photos at or below these.")] = None,
    where: WhereHere = None,
) -> Response:
    """Files, whatever they show; one with several keywords counts for each."""
    found = service.library.photos.counts(by, paths=path, where=where)
    numbers = zip(found.keys, found.photos.tolist(), strict=True)
    return JSONResponse(
        {
            "by": by,
            "counts": [{"key": key or None, "photos": photos} for key, photos in numbers],
            "from_file": found.from_file,
            "unread": found.unread,
        }
    )


@router.get("/v1/images/{image_id}", response_model=Photo, summary="What is known of a photo")
def photo(service: ServiceHere, image_id: ImageId) -> Response:
    """Including all files that show it."""
    return JSONResponse(asdict(service.library.photos.get(image_id)))


@router.get("/v1/images/{image_id}/facts", response_model=FactsOfImage, summary="When and with what it was taken")
def facts(
    service: ServiceHere,
    image_id: ImageId,
    place: Annotated[bool, Query(description="Also where: only if the service was started with --places.")] = False,
) -> Response:
    """Of each existing file that shows it, with what its sidecar, its name and its time say."""
    if place and not service.security.places:
        raise Problem("places-off", 403, "this service does not tell where photos were taken, unless it is started so")
    files = []
    for path, found in service.library.photos.facts_of(image_id).items():
        said = found.to_dict()
        files.append({"path": path, **(said if place else {name: said[name] for name in said if name != "place"})})
    return JSONResponse({"image_id": image_id, "files": files})


@router.get("/v1/images/{image_id}/similar", response_model=HitPage, summary="Photos most similar to one")
def similar(
    service: ServiceHere,
    request: Request,
    image_id: ImageId,
    top: Annotated[Top, Query()] = 20,
    path: Annotated[list[PhotoPath] | None, Query()] = None,
    exact: Annotated[Exact, Query()] = False,
    where: WhereHere = None,
    cursor: Annotated[Cursor | None, Query()] = None,
) -> Response:
    """Without the photo itself and its copies."""
    if cursor is not None:
        return hit_pages.next_page(service, request, cursor)
    [vector] = service.library.vectors.of([image_id])
    return hit_pages.first_page(service, vector, top=top, paths=path, where=where, leave_out=image_id, exact=exact)


@router.get(
    "/v1/images/{image_id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {thumbnails.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}},
    summary="A small picture of a photo",
)
def thumbnail(
    service: ServiceHere,
    request: Request,
    image_id: ImageId,
    size: Annotated[
        Literal["64", "128", "256", "512", "1024"], Query(description="Pixels of the longer side.")
    ] = "256",
) -> Response:
    """A JPEG without the photo's metadata. It is cached on disk, and by browsers for good."""
    found = service.library.photos.get(image_id)
    etag = f'"{found.digest[:32]}-{size}"'
    same = unchanged(request, etag, **{"Cache-Control": FOREVER})
    if same is not None:
        return same
    name = f"{found.digest}-{size}.jpg"
    data = service.thumbnails.get(name)
    if data is None:
        if not service.thumbnails.making.acquire(timeout=service.limits.wait_s):
            raise busy("too many thumbnails are being made")
        try:
            data = service.thumbnails.get(name)
            if data is None:
                path, content = service.library.photos.read(image_id, max_bytes=MOST_FILE_BYTES)
                data = thumbnails.render(content.data, int(size), name=path, decoder=service.serving.decoder)
                service.thumbnails.add(name, data)
        finally:
            service.thumbnails.making.release()
    headers = {"ETag": etag, "Cache-Control": FOREVER}
    return Response(data, media_type=thumbnails.MEDIA_TYPE, headers=headers)


@router.get(
    "/v1/images/{image_id}/file",
    response_class=Response,
    responses={200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}},
    summary="The file of a photo",
)
def file(service: ServiceHere, request: Request, image_id: ImageId) -> Response:
    """The bytes that were encoded: a file that has been changed or replaced since is not served."""
    found = service.library.photos.get(image_id)
    etag = f'"{found.digest[:32]}"'
    same = unchanged(request, etag, **{"Cache-Control": FOREVER})
    if same is not None:
        return same
    path, content = service.library.photos.read(image_id, max_bytes=MOST_FILE_BYTES)
    media_type = MEDIA_TYPES.get(found.format, "application/octet-stream")
    shown = "attachment" if media_type == "application/octet-stream" else "inline"
    headers = {
        "ETag": etag,
        "Cache-Control": FOREVER,
        "Content-Disposition": f"{shown}; filename*=UTF-8''{quote(FilePath(path).name, errors='replace')}",
        # Whatever it is, it must not act as a page.
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return Response(content.data, media_type=media_type, headers=headers)


@router.post(
    "/v1/images/{image_id}/explain", response_model=Why, summary="Why a photo gets its answer", tags=["groups"]
)
def explain(service: ServiceHere, image_id: ImageId, body: ExplainRequest) -> Response:
    """Scores per label, what each template alone would answer, and the prompts nearest to the photo.

    The scores are those of the same question to `/v1/groups` or `/v1/classify`, with all its options.
    """
    if any(getattr(body, name) for name in _MORE):
        found = service.library.lab.explain(image_id, questions.grouped(service, body)[1])
    else:  # one photo will do
        labels = questions.labels_of(service, body)
        found = service.library.lab.explain(image_id, labels, activation=body.activation, truncate=body.truncate)
    return JSONResponse(found.to_dict())

"""``/v1/map``: all images as points of a plane, so that those lie together that are alike; and what they belong to."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from zsindex.lab import layout
from zsindex.lab.layout import Layout
from zsindex.records import IdArray
from zsindex.web.conditional import etag_of, unchanged
from zsindex.web.routes.jobs import accepted
from zsindex.web.schemas.jobs import Job
from zsindex.web.schemas.map import MapGroups, MapPage, MapRequest
from zsindex.web.service import WRITES, Service, ServiceHere

router = APIRouter(tags=["map"])

NO_GROUP = 65535


def packed(values: npt.NDArray[Any], kind: str) -> str:
    """Numbers as the bytes of a type, in base64."""
    return base64.b64encode(values.astype(kind).tobytes()).decode("ascii")


@router.get("/v1/map", response_model=MapPage, summary="Where photos are on the map")
def shown(service: ServiceHere, request: Request) -> Response:
    """Photos that came since it was laid out are placed on it, those that went are left out."""
    view = service.library.session.view_of(None)
    found = _layout(service)
    known = None if found is None else (found.ids.tobytes(), found.points.tobytes(), found.new, found.gone)
    etag = etag_of("map", view.snapshot[0], view.info.fingerprint, layout.is_installed(), known)
    same = unchanged(request, etag)
    if same is not None:
        return same
    document = {
        "images": len(view.unique[0]),
        "seconds": round(service.library.map.seconds(), 1),
        "installed": layout.is_installed(),
        "layout": None if found is None else _shown(found),
    }
    return JSONResponse(document, headers={"ETag": etag})


def _layout(service: Service) -> Layout | None:
    with service.slow.turn():
        return service.library.map.layout()


def _shown(found: Layout) -> dict[str, Any]:
    return {
        "ids": packed(found.ids, "<u4"),
        "points": packed(found.points, "<f4"),
        "bounds": found.bounds,
        "laid_out": found.laid_out,
        "added": found.added,
        "new": found.new,
        "gone": found.gone,
        "outdated": found.is_outdated,
    }


@router.post(
    "/v1/map", response_model=Job, status_code=202, dependencies=[WRITES], summary="Start to lay out the map anew"
)
def make(service: ServiceHere, request: Request, body: MapRequest) -> Response:
    """Answers with a job, as a sync does. Until it is done, and where it is stopped, the map stays as it was."""
    service.library.map.require_possible()
    return accepted(request, service.jobs.lay_out())


@router.get("/v1/map/groups", response_model=MapGroups, summary="What photos belong to, of all of them")
def groups(
    service: ServiceHere,
    request: Request,
    by: Annotated[Literal["folder", "year"], Query(description="`year`: in which they were taken.")],
) -> Response:
    """In short form, to colour the map by. The answers of a question are at `/v1/groups/{key}/answers`."""
    names, ids, of = service.library.photos.grouped(by)
    etag = etag_of("map groups", names, ids.tobytes(), of.tobytes())
    same = unchanged(request, etag)
    if same is not None:
        return same
    return JSONResponse(in_groups(names, ids, of), headers={"ETag": etag})


def in_groups(names: list[str], ids: IdArray, of: IdArray) -> dict[str, Any]:
    """Groups of images in short form.

    Args:
        ids: int64 (n,).
        of: int64 (n,): the group of each, -1 for none.
    """
    numbers = np.where((of < 0) | (of >= NO_GROUP), NO_GROUP, of)
    return {"names": names, "ids": packed(ids, "<u4"), "of": packed(numbers, "<u2")}

"""``/v1/copies`` and ``/v1/duplicates``: photos that are there more than once, and those that nearly are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.errors import TooManyPairs
from zsindex.lab.duplicates import Duplicate
from zsindex.web import schemas
from zsindex.web.problems import Problem
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["duplicates"])

Offset = Annotated[int, Query(ge=0, le=2**31)]
Limit = Annotated[int, Query(ge=0, le=1000)]


@router.get("/v1/copies", response_model=schemas.CopiesPage, summary="Files with the same bytes")
def copies(service: ServiceHere, offset: Offset = 0, limit: Limit = 100) -> Response:
    """Photos that several files show, in the order of their first files."""
    found = service.library.copies()
    shown = [{"image_id": one.image_id, "paths": list(one.paths)} for one in found[offset : offset + limit]]
    return JSONResponse({"total": len(found), "copies": shown})


@router.get("/v1/duplicates", response_model=schemas.DuplicatesPage, summary="Photos that are the same or nearly so")
def duplicates(
    service: ServiceHere,
    threshold: Annotated[float, Query(gt=0, le=1, description="Smallest cosine.")] = 0.95,
    look: Annotated[bool, Query(description="Compare the pictures, too, which are read for it once.")] = True,
    offset: Offset = 0,
    limit: Limit = 100,
) -> Response:
    """With the one of each group that is best kept. The first time neighbours of all photos have to be found."""
    library = service.library
    try:
        found = library.duplicates(threshold=threshold, look=look)
    except TooManyPairs as error:
        raise Problem("threshold", 422, str(error)) from error
    view = library.view()

    def shown(one: Duplicate) -> dict[str, Any]:
        number = view.index_of.get(one.path)
        return {**one.to_dict(), "image_id": None if number is None else int(view.image_ids[number])}

    body = {
        "total": len(found.groups),
        "removable": len(found.removable),
        "removable_bytes": found.removable_bytes,
        "unread": found.unread,
        "groups": [
            {"keep": shown(group.keep), "others": [shown(other) for other in group.others]}
            for group in found.groups[offset : offset + limit]
        ],
    }
    return JSONResponse(body)

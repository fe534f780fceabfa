"""``/v1/copies``: photos that are there more than once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.web import schemas
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["duplicates"])

Offset = Annotated[int, Query(ge=0, le=2**31)]
Limit = Annotated[int, Query(ge=0, le=1000)]


@router.get("/v1/copies", response_model=schemas.CopiesPage, summary="Files with the same bytes")
def copies(service: ServiceHere, offset: Offset = 0, limit: Limit = 100) -> Response:
    """Photos that several files show, in the order of their first files."""
    found = service.library.neighbours.copies()
    shown = [{"image_id": one.image_id, "paths": list(one.paths)} for one in found[offset : offset + limit]]
    return JSONResponse({"total": len(found), "copies": shown})

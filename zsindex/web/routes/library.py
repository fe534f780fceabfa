"""``/v1/library``, ``/v1/models`` and ``/v1/skipped``: what the library holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.web.parameters import Offset
from zsindex.web.schemas.library import SkippedPage
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["system"])


@router.get("/v1/library", response_model=dict[str, Any], summary="What the library holds")
def library(service: ServiceHere) -> Response:
    """Counts, folders, models, label sets, versions."""
    return JSONResponse(service.library.status().to_dict())


@router.get("/v1/models", response_model=list[dict[str, Any]], summary="Models with vectors in the library")
def models(service: ServiceHere) -> Response:
    """The default one is marked."""
    return JSONResponse([asdict(model) for model in service.library.models()])


@router.get("/v1/skipped", response_model=SkippedPage, summary="Photos that cannot be used, with reasons")
def skipped(
    service: ServiceHere,
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=0, le=1000)] = 100,
) -> Response:
    """In the order of folders and names."""
    found = service.library.photos.skipped()
    shown = [
        {"path": one.path, "reason": str(one.reason), "detail": one.detail} for one in found[offset : offset + limit]
    ]
    return JSONResponse({"total": len(found), "skipped": shown})

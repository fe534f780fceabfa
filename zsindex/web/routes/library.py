"""``/v1/library``, ``/v1/models`` and ``/v1/skipped``: what the library holds."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

import zsindex
from zsindex.web.lists import NextPage, Start, page_of
from zsindex.web.schemas.library import Now, SkippedPage
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["system"])


@router.get("/v1/library", response_model=dict[str, Any], summary="What the library holds")
def library(service: ServiceHere) -> Response:
    """Counts, folders, models, label sets, versions."""
    return JSONResponse(service.library.status().to_dict())


@router.get("/v1/library/now", response_model=Now, summary="Whether anything has changed, and what is at work")
def now(service: ServiceHere) -> Response:
    """For those who ask every few seconds: it counts nothing."""
    storage = service.library.session.storage
    job = service.jobs.current()
    syncs_here = job is not None and job["state"] == "running" and job["kind"] == "sync"
    told = [] if syncs_here else storage.sync_lock.told()
    known = {
        "version": zsindex.__version__,
        "library": hashlib.sha256(str(storage.place).encode("utf-8", "surrogateescape")).hexdigest()[:16],
        "revision": "{}.{}".format(*storage.reads.facts_state()),
        "job": job,
        "elsewhere": {"who": told[0][0], **asdict(told[0][1])} if told else None,
    }
    return JSONResponse(known, headers={"Cache-Control": "no-store"})


@router.get("/v1/models", response_model=list[dict[str, Any]], summary="Models with vectors in the library")
def models(service: ServiceHere) -> Response:
    """The default one is marked."""
    return JSONResponse([asdict(model) for model in service.library.models()])


@router.get("/v1/skipped", response_model=SkippedPage, summary="Photos that cannot be used, with reasons")
def skipped(
    service: ServiceHere,
    start: Start = 0,
    limit: Annotated[int, Query(ge=0, le=1000)] = 100,
    cursor: NextPage = None,
) -> Response:
    """In the order of folders and names."""
    found = service.library.photos.skipped()
    state = [one.path for one in found]
    part, following = page_of(found, asked=["skipped"], state=state, start=start, limit=limit, cursor=cursor)
    shown = [{"path": one.path, "reason": str(one.reason), "detail": one.detail} for one in part]
    return JSONResponse({"total": len(found), "skipped": shown, "next": following})

"""What is about the service itself: health, metrics, sessions, and what the library holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from zsindex.errors import ZsindexError
from zsindex.web import schemas
from zsindex.web.problems import Problem
from zsindex.web.security import COOKIE, SESSION_S, session_of
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["system"])


@router.get("/healthz", response_model=schemas.Health, summary="Whether the service runs")
async def healthz() -> Response:
    """Asks nothing of the library."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", response_model=schemas.Health, summary="Whether the service can answer")
def readyz(service: ServiceHere) -> Response:
    """Reads from the library."""
    try:
        if service.closing.is_set():
            raise Problem("closing", 503, "the service is about to end")
        service.library.photos.roots()
    except ZsindexError as error:
        raise Problem("not-ready", 503, "the library cannot be read") from error
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Metrics for Prometheus",
)
def metrics(service: ServiceHere) -> Response:
    """Requests, latency, queue, cache hits, encodes, index."""
    return Response(service.metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get("/v1/library", response_model=dict[str, Any], summary="What the library holds")
def library(service: ServiceHere) -> Response:
    """Counts, folders, models, label sets, versions."""
    return JSONResponse(service.library.status().to_dict())


@router.get("/v1/models", response_model=list[dict[str, Any]], summary="Models with vectors in the library")
def models(service: ServiceHere) -> Response:
    """The default one is marked."""
    return JSONResponse([asdict(model) for model in service.library.models()])


@router.get("/v1/skipped", response_model=schemas.SkippedPage, summary="Photos that cannot be used, with reasons")
def skipped(
    service: ServiceHere,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    limit: Annotated[int, Query(ge=0, le=1000)] = 100,
) -> Response:
    """In the order of folders and names."""
    found = service.library.photos.skipped()
    shown = [
        {"path": one.path, "reason": str(one.reason), "detail": one.detail} for one in found[offset : offset + limit]
    ]
    return JSONResponse({"total": len(found), "skipped": shown})


@router.get("/v1/session", response_model=schemas.Session, summary="What this client may do")
def session(service: ServiceHere, request: Request) -> Response:
    """401 where a token is needed and none was given."""
    security, headers = service.security, request.headers
    if not security.tokens:
        return JSONResponse({"right": "read" if security.read_only else "write"})
    secret, known = _bearer(headers), session_of(headers)
    right = security.right_of(secret) if secret else security.right_of_session(known) if known else None
    if right is None:
        raise Problem("token", 401, "a valid token is needed", headers={"WWW-Authenticate": "Bearer"})
    return JSONResponse({"right": "read" if security.read_only else right})


@router.post("/v1/session", response_model=schemas.Session, summary="Begin a session of a browser")
def begin_session(service: ServiceHere, request: Request, question: schemas.SessionQuestion) -> Response:
    """Takes a token and sets a cookie, since a browser sends no token with an image."""
    security = service.security
    if not security.tokens:
        return JSONResponse({"right": "read" if security.read_only else "write"})
    value = security.begin_session(question.token)
    if value is None:
        raise Problem("token", 401, "this is no token of this service", headers={"WWW-Authenticate": "Bearer"})
    right = security.right_of_session(value)
    response = JSONResponse({"right": "read" if security.read_only else right})
    response.set_cookie(
        COOKIE, value, max_age=SESSION_S, httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return response


@router.delete("/v1/session", status_code=204, summary="End a session of a browser")
def end_session(service: ServiceHere, request: Request) -> Response:
    """Forgets it, and its cookie."""
    known = session_of(request.headers)
    if known is not None:
        service.security.end_session(known)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE)
    return response


def _bearer(headers: Headers) -> str | None:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None

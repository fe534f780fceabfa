"""``/healthz``, ``/readyz`` and ``/metrics``: for those who watch over the service."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from zsindex.errors import ZsindexError
from zsindex.web.problems import RETRY_AFTER_S, Problem
from zsindex.web.schemas.health import Health
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["system"])


@router.get("/healthz", response_model=Health, summary="Whether the service is running")
async def healthz() -> Response:
    """Asks nothing of the library."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", response_model=Health, summary="Whether the service can answer")
def readyz(service: ServiceHere) -> Response:
    """Reads from the library."""
    try:
        if service.closing.is_set():
            raise Problem("closing", 503, "the service is shutting down")
        service.library.photos.roots()
    except ZsindexError as error:
        retry = {"Retry-After": str(RETRY_AFTER_S)}
        raise Problem("not-ready", 503, "the library cannot be read", headers=retry) from error
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

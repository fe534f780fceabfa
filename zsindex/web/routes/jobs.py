"""``/v1/sync`` and ``/v1/jobs``: work that outlasts a request, and watching it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from zsindex.web.job_runner import ENDED
from zsindex.web.problems import Problem
from zsindex.web.routes.folders import permitted
from zsindex.web.schemas.jobs import Job, SyncRequest
from zsindex.web.service import WRITES, Service, ServiceHere

router = APIRouter(tags=["jobs"])

JobId = Annotated[str, Path(min_length=1, max_length=32, pattern="^[0-9a-f]+$", examples=["5f2c8a1e0b7d4c39"])]
_EVENTS = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    204: {"description": "The job has ended"},
}


def _places(service: Service, paths: list[str] | None) -> list[str] | None:
    """Paths that may be synced, absolute; None for all that were synced before.

    Raises:
        Problem: one lies elsewhere, or there is none.
    """
    roots = service.library.photos.roots()
    if paths is None:
        if not roots and service.security.photo_folders:
            return list(service.security.photo_folders)
        if not roots:
            raise Problem("no-folders", 422, "no folder has been synced yet; zsindex serve --photos FOLDER names some")
        return None
    return [permitted(service, path) for path in paths]


@router.post(
    "/v1/sync",
    response_model=Job,
    status_code=202,
    dependencies=[WRITES],
    summary="Start to bring the library up to date",
)
def sync(service: ServiceHere, request: Request, body: SyncRequest) -> Response:
    """Answers with a job, whose state is at the `Location` and whose events can be watched."""
    return accepted(request, service.jobs.submit(_places(service, body.paths), retry_skipped=body.retry_skipped))


def accepted(request: Request, job: dict[str, Any]) -> Response:
    """The answer to whoever asked for a job."""
    below = request.scope.get("root_path", "")
    return JSONResponse(job, status_code=202, headers={"Location": f"{below}/v1/jobs/{job['id']}"})


@router.get("/v1/jobs", response_model=list[Job], summary="Jobs, newest first")
def jobs(service: ServiceHere) -> Response:
    """The most recent ones, also those of earlier services over this library."""
    return JSONResponse(service.jobs.documents())


@router.get("/v1/jobs/{job_id}", response_model=Job, summary="A job")
def job(service: ServiceHere, job_id: JobId) -> Response:
    """How far it has come, or its result."""
    return JSONResponse(service.jobs.document(job_id))


@router.post("/v1/jobs/{job_id}/cancel", response_model=Job, dependencies=[WRITES], summary="Stop a job")
def cancel(service: ServiceHere, job_id: JobId) -> Response:
    """It stops after the current batch. What is stored is kept, and the next sync continues from there."""
    return JSONResponse(service.jobs.cancel(job_id))


@router.get(
    "/v1/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses=_EVENTS,  # type: ignore[arg-type]
    summary="Watch a job",
)
async def events(service: ServiceHere, request: Request, job_id: JobId) -> Response:
    """Server-sent events: `job`, with the job as its data, now and at every change; the stream ends with the job.

    A browser that reconnects after the end gets 204, which tells it to stop.
    """
    from starlette.concurrency import run_in_threadpool

    known = await run_in_threadpool(service.jobs.document, job_id)
    if known["state"] in ENDED and request.headers.get("last-event-id"):
        return Response(status_code=204)

    async def stream() -> AsyncIterator[str]:
        n = 0
        async for news in service.jobs.watch(job_id):
            n += 1
            yield ": still here\n\n" if news is None else f"id: {n}\nevent: job\ndata: {json.dumps(news)}\n\n"

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)

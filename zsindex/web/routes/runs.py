"""``/v1/runs``: questions that were recorded, to be asked again. A classification with `record` records."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, Response

from zsindex.errors import UnknownModel
from zsindex.lab.runs import RunRecord
from zsindex.web import questions
from zsindex.web.problems import Problem
from zsindex.web.schemas.runs import RepeatedRun, RepeatRequest, RunLine
from zsindex.web.service import ServiceHere, require_write

router = APIRouter(tags=["runs"])

RunKey = Annotated[
    str,
    Path(pattern="^[0-9a-f]{4,64}$", description="The key, or its beginning.", examples=["0f1e2d3c4b5a6978"]),
]


@router.get("/v1/runs", response_model=list[RunLine], summary="Recorded runs, newest first")
def runs(service: ServiceHere) -> Response:
    """In brief; `/v1/runs/{key}` has all of a run."""
    return JSONResponse(
        [
            {
                "key": one.key,
                "recorded_at": one.recorded_at,
                "model": one.run["model"],
                "label_set": one.run["label_set"],
                "label_set_version": one.run["label_set_version"],
                "labels": len(one.label_set["labels"]),
                "photos": one.photos,
                "stored": one.stored,
            }
            for one in service.library.runs.list()
        ]
    )


@router.get("/v1/runs/{key}", response_model=RunRecord, summary="A recorded run")
def run(service: ServiceHere, key: RunKey) -> Response:
    """With all labels and options of its question."""
    return JSONResponse(service.library.runs.get(key).to_dict())


@router.post("/v1/runs/{key}/repeat", response_model=RepeatedRun, summary="Repeat a recorded run")
def repeat(service: ServiceHere, request: Request, key: RunKey, body: RepeatRequest) -> Response:
    """Asks the same question of the photos as they are now, and says what has changed."""
    if body.record:
        require_write(request)
    questions.require_shown(service, body.limit)
    with service.slow.turn():
        try:
            found = service.library.runs.repeat(key, record=body.record)
        except UnknownModel as error:
            raise Problem("model-gone", 409, "the library no longer has vectors of the run's model") from error
    document = found.to_dict()
    return JSONResponse({**document, "flips": document["flips"][: body.limit]})

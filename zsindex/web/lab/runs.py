"""``/v1/runs``: questions that were recorded, to be asked again. A classification with `record` records."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, Response

from zsindex.errors import UnknownModel
from zsindex.web.lab import asking, schemas
from zsindex.web.problems import Problem
from zsindex.web.service import ServiceHere, require_write

router = APIRouter(tags=["runs"])

RunKey = Annotated[
    str,
    Path(pattern="^[0-9a-f]{4,64}$", description="Or its beginning.", examples=["0f1e2d3c4b5a6978"]),
]


@router.get("/v1/runs", response_model=list[schemas.RunLine], summary="Recorded runs, newest first")
def runs(service: ServiceHere) -> Response:
    """In short."""
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


@router.get("/v1/runs/{key}", response_model=schemas.RecordedRun, summary="A recorded run")
def run(service: ServiceHere, key: RunKey) -> Response:
    """With all labels and options of its question."""
    return JSONResponse(service.library.runs.get(key).to_dict())


@router.post("/v1/runs/{key}/repeat", response_model=schemas.Repeated, summary="Ask a recorded run again")
def repeat(service: ServiceHere, request: Request, key: RunKey, question: schemas.RepeatQuestion) -> Response:
    """The same question on the photos of today, and what has changed."""
    if question.record:
        require_write(request)
    asking.require_shown(service, question.limit)
    with service.heavy.turn():
        try:
            found = service.library.runs.repeat(key, record=question.record)
        except UnknownModel as error:
            raise Problem("model-gone", 409, "the library holds nothing of the run's model any more") from error
    document = found.to_dict()
    return JSONResponse({**document, "flips": document["flips"][: question.limit]})

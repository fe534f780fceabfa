"""``/v1/prior``: how the photos are divided among the answers."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from zsindex.web import questions
from zsindex.web.schemas.prior import EstimatedPrior, PriorRequest
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["truth"])


@router.post("/v1/prior", response_model=EstimatedPrior, summary="How the photos are divided among the answers")
def estimate(service: ServiceHere, body: PriorRequest) -> Response:
    """From their scores and from photos with known content. Nothing is kept: give it to a question as its `prior`."""
    labels = questions.labels_of(service, body)
    questions.require_few(service, questions.photos(service, body.paths), len(labels.concepts))
    truth = None if body.truth is None else questions.truth_of(service, body.truth)
    with service.slow.turn():
        found = service.library.prior.estimate(
            labels,
            truth,
            method=body.method,
            names=body.names,
            paths=body.paths,
            where=body.where,
            temperature=body.temperature,
            resamples=body.resamples,
            seed=body.seed,
        )
    return JSONResponse(found.to_dict())

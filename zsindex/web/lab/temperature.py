"""``/v1/temperature``: how confident scores are."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from zsindex.web.lab import asking, schemas
from zsindex.web.service import WRITES, ServiceHere, require_write

router = APIRouter(tags=["truth"])


@router.get("/v1/temperature", response_model=schemas.KeptTemperature, summary="The model's fitted temperature")
def kept(service: ServiceHere) -> Response:
    """What `fitted` stands for in a classification."""
    found = service.library.temperature.get()
    temperature, about = (None, None) if found is None else found
    return JSONResponse({"temperature": temperature, "about": about})


@router.post("/v1/temperature", response_model=schemas.TemperatureFound, summary="Fit the model's temperature")
def fit(service: ServiceHere, request: Request, question: schemas.TemperatureQuestion) -> Response:
    """To photos with known content. No answer changes, only how confident it is."""
    if question.apply:
        require_write(request)
    labels = asking.labels_of(service, question)
    asking.require_few(service, asking.photos(service, question.paths), len(labels.concepts))
    truth = asking.truth_of(service, question.truth)
    with service.heavy.turn():
        found = service.library.temperature.fit(
            labels,
            truth,
            names=question.names,
            others_are_none=question.others_are_none,
            paths=question.paths,
            activation=question.activation,
            folds=question.folds,
            seed=question.seed,
            save=question.apply,
        )
    return JSONResponse(found.to_dict())


@router.delete(
    "/v1/temperature", status_code=204, dependencies=[WRITES], summary="Forget the model's fitted temperature"
)
def remove(service: ServiceHere) -> Response:
    """Scores are the model's own again."""
    service.library.temperature.remove()
    return Response(status_code=204)

"""``/v1/temperature``: how confident scores are."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from zsindex.lab.temperature import TemperatureFit
from zsindex.web import questions
from zsindex.web.schemas.temperature import KeptTemperature, TemperatureRequest
from zsindex.web.service import WRITES, ServiceHere, require_write

router = APIRouter(tags=["truth"])


@router.get("/v1/temperature", response_model=KeptTemperature, summary="The model's fitted temperature")
def kept(service: ServiceHere) -> Response:
    """What `fitted` stands for in a classification."""
    found = service.library.temperature.get()
    temperature, about = (None, None) if found is None else found
    return JSONResponse({"temperature": temperature, "about": about})


@router.post("/v1/temperature", response_model=TemperatureFit, summary="Fit the model's temperature")
def fit(service: ServiceHere, request: Request, body: TemperatureRequest) -> Response:
    """To photos with known content. No answer changes, only how confident it is."""
    if body.apply:
        require_write(request)
    labels = questions.labels_of(service, body)
    questions.require_few(service, questions.photos(service, body.paths), len(labels.concepts))
    truth = questions.truth_of(service, body.truth)
    with service.slow.turn():
        found = service.library.temperature.fit(
            labels,
            truth,
            names=body.names,
            others_are_none=body.others_are_none,
            paths=body.paths,
            activation=body.activation,
            folds=body.folds,
            seed=body.seed,
            save=body.apply,
        )
    return JSONResponse(found.to_dict())


@router.delete(
    "/v1/temperature", status_code=204, dependencies=[WRITES], summary="Delete the model's fitted temperature"
)
def remove(service: ServiceHere) -> Response:
    """Scores are the model's own again."""
    service.library.temperature.remove()
    return Response(status_code=204)

"""``/v1/thresholds``: from which score on answers are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from zsindex.web import questions
from zsindex.web.filters import WhereHere
from zsindex.web.parameters import LabelSetName
from zsindex.web.problems import Problem
from zsindex.web.schemas.fields import Text
from zsindex.web.schemas.thresholds import RemovedCount, ScoreCurves, ThresholdChange, ThresholdRequest
from zsindex.web.service import WRITES, Service, ServiceHere, require_write

router = APIRouter(tags=["thresholds"])


def _require_few(service: Service, label_set: str) -> None:
    # Each few hundred labels take a pass of their own.
    questions.require_few(service, service.library.view(), len(service.library.labels.get(label_set).concepts))


@router.get("/v1/thresholds", response_model=ScoreCurves, summary="Score curves and thresholds of a label set")
def curves(
    service: ServiceHere,
    label_set: LabelSetName,
    multi_label: Annotated[bool, Query()] = False,
    where: WhereHere = None,
) -> Response:
    """For each answer, which scores given shares of the photos reach, and how many photos reach a score."""
    _require_few(service, label_set)
    with service.slow.turn():
        found = service.library.thresholds.curves(label_set, multi_label=multi_label, where=where)
    return JSONResponse(found.to_dict())


@router.post("/v1/thresholds", response_model=ThresholdChange, summary="Preview a threshold, or set it")
def choose(service: ServiceHere, request: Request, body: ThresholdRequest) -> Response:
    """Says which photos gain and lose the label. What is saved is the share, which means the same for any model."""
    if body.apply:
        require_write(request)
    questions.require_shown(service, body.limit)
    given = {name: getattr(body, name) for name in ("score", "count", "rate")}
    if sum(value is not None for value in given.values()) != 1:
        raise Problem("fields", 422, "give exactly one of score, count and rate")
    _require_few(service, body.label_set)
    with service.slow.turn():
        change = service.library.thresholds.choose(
            body.label_set,
            body.label,
            **given,
            multi_label=body.multi_label,
            dry_run=not body.apply,
            where=body.where,
        )
    document = change.to_dict()
    for name in ("arrive", "leave"):
        document[f"n_{name}"] = len(document[name])
        document[name] = document[name][: body.limit]
    return JSONResponse(document)


@router.delete("/v1/thresholds", response_model=RemovedCount, dependencies=[WRITES], summary="Delete thresholds")
def remove(
    service: ServiceHere,
    label_set: LabelSetName,
    label: Annotated[list[Text] | None, Query(description="Labels whose thresholds are deleted. Default: all.")] = None,
) -> Response:
    """All of a label set, or of some of its labels."""
    return JSONResponse({"removed": service.library.thresholds.remove(label_set, label)})

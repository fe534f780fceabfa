"""``/v1/thresholds``: from which score on answers are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from zsindex.web import schemas as web_schemas
from zsindex.web.lab import asking, schemas
from zsindex.web.problems import Problem
from zsindex.web.service import WRITES, Service, ServiceHere, require_write

router = APIRouter(tags=["thresholds"])

LabelSetName = Annotated[web_schemas.Name, Query(description="Of a saved label set.", examples=["animals"])]


def _require_few(service: Service, label_set: str) -> None:
    # Each column of a few hundred takes a pass of its own.
    asking.require_few(service, service.library.view(), len(service.library.labels.get(label_set).concepts))


@router.get("/v1/thresholds", response_model=schemas.ScoreCurves, summary="Score curves and thresholds of a label set")
def curves(service: ServiceHere, label_set: LabelSetName, multi_label: Annotated[bool, Query()] = False) -> Response:
    """Of each answer the scores that shares of the photos reach, and how many photos a score leaves."""
    _require_few(service, label_set)
    with service.heavy.turn():
        return JSONResponse(service.library.thresholds.curves(label_set, multi_label=multi_label).to_dict())


@router.post("/v1/thresholds", response_model=schemas.ThresholdChange, summary="Preview a threshold, or set it")
def choose(service: ServiceHere, request: Request, question: schemas.ThresholdQuestion) -> Response:
    """Says which photos come and go. Kept is the share of photos, so that another model does not change its meaning."""
    if question.apply:
        require_write(request)
    asking.require_shown(service, question.limit)
    given = {name: getattr(question, name) for name in ("score", "count", "rate")}
    if sum(value is not None for value in given.values()) != 1:
        raise Problem("fields", 422, "give exactly one of score, count and rate")
    _require_few(service, question.label_set)
    with service.heavy.turn():
        change = service.library.thresholds.choose(
            question.label_set,
            question.label,
            **given,
            multi_label=question.multi_label,
            dry_run=not question.apply,
        )
    document = change.to_dict()
    for name in ("arrive", "leave"):
        document[f"n_{name}"] = len(document[name])
        document[name] = document[name][: question.limit]
    return JSONResponse(document)


@router.delete("/v1/thresholds", response_model=schemas.Removed, dependencies=[WRITES], summary="Forget thresholds")
def remove(
    service: ServiceHere,
    label_set: LabelSetName,
    label: Annotated[list[web_schemas.Text] | None, Query(description="Whose. Default: all.")] = None,
) -> Response:
    """All of a label set, or of some of its labels."""
    return JSONResponse({"removed": service.library.thresholds.remove(label_set, label)})

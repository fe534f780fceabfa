"""``/v1/counts``: how many photos show something, with an interval, from a few that a person looks at."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.classification.by import By
from zsindex.services.counts import Count, When
from zsindex.web import looking
from zsindex.web.schemas.counts import (
    AnswerRequest,
    Confidence,
    CountRequest,
    CountShown,
    GroupCountShown,
    Looks,
    UndoRequest,
    WhenField,
    Within,
)
from zsindex.web.schemas.fields import Id
from zsindex.web.service import WRITES, Service, ServiceHere
from zsindex.where import Where

router = APIRouter(tags=["counts"])


def _when(body: WhenField) -> When:
    return {"looks": body.looks, "within": body.within, "confidence": body.confidence}


def _shown(count: Count, *, ask: bool) -> Response:
    return looking.shown(count, count.estimate().to_dict(), ask=ask)


def _open(service: Service, survey: int, when: When) -> Count:
    return service.library.counts.open(survey, **when)


@router.post("/v1/counts", response_model=CountShown, dependencies=[WRITES], summary="Count photos by looks at a few")
def begin(service: ServiceHere, body: CountRequest) -> Response:
    """Begins to count, or goes on with the count of the same question: answers with the photo to look at next."""
    where = None if body.where is None else Where.from_json(body.where)
    count = service.library.counts.begin(
        body.label, label_set=body.label_set, template=body.templates, where=where, again=body.again, **_when(body)
    )
    return _shown(count, ask=True)


@router.get("/v1/counts/{survey}", response_model=CountShown, summary="How far a count is")
def state(
    service: ServiceHere,
    survey: Id,
    looks: Annotated[Looks, Query()] = None,
    within: Annotated[Within, Query()] = None,
    confidence: Annotated[Confidence, Query()] = 0.95,
) -> Response:
    """Draws no photo: `next` is one that waits already."""
    return _shown(_open(service, survey, {"looks": looks, "within": within, "confidence": confidence}), ask=False)


@router.get("/v1/counts/{survey}/groups", response_model=list[GroupCountShown], summary="The same by time or place")
def groups(service: ServiceHere, survey: Id, by: By, confidence: Annotated[Confidence, Query()] = 0.95) -> Response:
    """Each group's interval holds by itself."""
    return JSONResponse([one.to_dict() for one in _open(service, survey, {"confidence": confidence}).by(by)])


@router.post(
    "/v1/counts/{survey}/answers",
    response_model=CountShown,
    dependencies=[WRITES],
    summary="Answer the photo that waits",
)
def answer(service: ServiceHere, survey: Id, body: AnswerRequest) -> Response:
    """Answers with the next one."""
    count = _open(service, survey, _when(body))
    looking.answer(count, body.number, body.answer, what="count")
    return _shown(count, ask=True)


@router.post(
    "/v1/counts/{survey}/undo", response_model=CountShown, dependencies=[WRITES], summary="Take the last answer back"
)
def undo(service: ServiceHere, survey: Id, body: UndoRequest) -> Response:
    """Its photo waits again. Nothing happens where there is none."""
    count = _open(service, survey, _when(body))
    count.undo()
    return _shown(count, ask=True)

"""``/v1/corrections``: what people say that photos show, one by one or many at once, and which would teach most."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.errors import UnknownImage
from zsindex.library import Library
from zsindex.web import questions
from zsindex.web.parameters import LabelSetName
from zsindex.web.problems import Problem
from zsindex.web.schemas.corrections import (
    Correction,
    CorrectionCount,
    CorrectionRequest,
    CorrectionsRequest,
    CorrectionStep,
    ForgetRequest,
    NextPhoto,
    StatementCount,
    StatementStep,
)
from zsindex.web.schemas.fields import Id, PhotoPath, Text
from zsindex.web.schemas.questions import LabelChoice
from zsindex.web.service import WRITES, Service, ServiceHere

router = APIRouter(tags=["corrections"])


def _path(library: Library, image_id: int) -> str:
    """A file that shows an image. What is said of it is kept for its bytes, wherever else they are."""
    paths = library.photos.get(image_id).paths
    if not paths:
        raise UnknownImage(image_id)
    return paths[0]


@router.get("/v1/corrections", response_model=list[Correction], summary="Corrections of a label set")
def corrections(service: ServiceHere, label_set: LabelSetName) -> Response:
    """By path; photos that are gone come last."""
    return JSONResponse([one.to_dict() for one in service.library.corrections.list(label_set)])


@router.post("/v1/corrections", response_model=CorrectionStep, dependencies=[WRITES], summary="Correct a photo")
def correct(service: ServiceHere, body: CorrectionRequest) -> Response:
    """It holds for all files with the same bytes, and for all versions of the label set."""
    library = service.library
    step = library.corrections.add_step(body.label_set, (_path(library, body.image_id), body.label, body.not_))
    return JSONResponse({"corrections": len(library.corrections.list(body.label_set)), "step": step})


@router.delete(
    "/v1/corrections",
    response_model=CorrectionCount,
    dependencies=[WRITES],
    summary="Remove the corrections of a photo",
)
def forget(service: ServiceHere, label_set: LabelSetName, image_id: Annotated[Id, Query()]) -> Response:
    """All of them, for one label set."""
    service.library.corrections.forget(label_set, _path(service.library, image_id))
    return JSONResponse({"corrections": len(service.library.corrections.list(label_set))})


@router.post(
    "/v1/corrections/undo",
    response_model=CorrectionCount,
    dependencies=[WRITES],
    summary="Undo the last step",
)
def undo(service: ServiceHere, label_set: LabelSetName, step: Annotated[Id | None, Query()] = None) -> Response:
    """Be it corrections or their removal. Nothing happens where no step is left. With a `step`, as the answers to
    corrections say it, only that one is undone; if it is not the last one by now, the answer is 409.
    """
    undone = service.library.corrections.undo(label_set, step=step)
    if step is not None and not undone:
        raise Problem("not-last-step", 409, "this is not the last step by now: somebody has corrected or undone since")
    return JSONResponse({"corrections": len(service.library.corrections.list(label_set))})


@router.post("/v1/corrections/bulk", response_model=StatementStep, dependencies=[WRITES], summary="Correct many photos")
def correct_all(service: ServiceHere, body: CorrectionsRequest) -> Response:
    """In one step, which is undone as one. Where a statement is refused, none is saved."""
    _require_few(service, len(body.corrections))
    paths = questions.paths_of(service, [one.image_id for one in body.corrections])
    library = service.library
    step = library.corrections.add_step(
        body.label_set, [(paths[one.image_id], one.label, one.not_) for one in body.corrections]
    )
    n = len(library.corrections.list(body.label_set))
    return JSONResponse({"statements": len(body.corrections), "corrections": n, "step": step})


@router.post(
    "/v1/corrections/forget",
    response_model=StatementCount,
    dependencies=[WRITES],
    summary="Remove the corrections of many photos",
)
def forget_all(service: ServiceHere, body: ForgetRequest) -> Response:
    """In one step, which is undone as one. What has no corrections is passed over."""
    _require_few(service, len(body.digests))
    library = service.library
    n = library.corrections.forget_digests(body.label_set, body.digests)
    return JSONResponse({"statements": n, "corrections": len(library.corrections.list(body.label_set))})


def _require_few(service: Service, n: int) -> None:
    if n > service.limits.statements:
        raise Problem("too-much", 422, f"more than {service.limits.statements:,} corrections")


@router.get("/v1/corrections/next", response_model=list[NextPhoto], summary="What to correct next")
def next_to_label(
    service: ServiceHere,
    label_set: LabelSetName,
    n: Annotated[int, Query(ge=1, le=200)] = 10,
    template: Annotated[list[Text] | None, Query()] = None,
    path: Annotated[list[PhotoPath] | None, Query()] = None,
) -> Response:
    """Photos whose answer is unsure and that resemble other unsure ones, the most useful first."""
    labels = questions.labels_of(service, LabelChoice(label_set=label_set, templates=template))
    view = questions.photos(service, path)
    questions.require_few(service, view, len(labels.concepts))
    with service.slow.turn():
        found = service.library.corrections.next(label_set, n, template=template, paths=path)
    ids = {one.path: view.index_of.get(one.path) for one in found}
    return JSONResponse(
        [
            {"image_id": int(view.image_ids[number]), **one.to_dict()}
            for one in found
            if (number := ids[one.path]) is not None  # else it came into the library meanwhile
        ]
    )

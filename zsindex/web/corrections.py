"""``/v1/corrections``: what people say that photos show."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.errors import UnknownImage
from zsindex.library import Library
from zsindex.web import schemas
from zsindex.web.service import WRITES, ServiceHere

router = APIRouter(tags=["corrections"])

LabelSetName = Annotated[schemas.Name, Query(description="Of a saved label set.", examples=["animals"])]


def _path(library: Library, image_id: int) -> str:
    """A file that shows an image. What is said of it is kept for its bytes, wherever else they are."""
    paths = library.photos.get(image_id).paths
    if not paths:
        raise UnknownImage(image_id)
    return paths[0]


@router.get("/v1/corrections", response_model=list[schemas.Correction], summary="What was said about photos")
def corrections(service: ServiceHere, label_set: LabelSetName) -> Response:
    """By path; photos that are not there any more come last."""
    return JSONResponse([one.to_dict() for one in service.library.corrections.list(label_set)])


@router.post(
    "/v1/corrections", response_model=schemas.Corrected, dependencies=[WRITES], summary="Say what a photo shows"
)
def correct(service: ServiceHere, said: schemas.CorrectionQuestion) -> Response:
    """Of all files with its bytes, for all versions of the label set."""
    library = service.library
    library.corrections.add(said.label_set, _path(library, said.image_id), said.label, not_=said.not_)
    return JSONResponse({"corrections": len(library.corrections.list(said.label_set))})


@router.delete(
    "/v1/corrections",
    response_model=schemas.Corrected,
    dependencies=[WRITES],
    summary="Withdraw what was said of a photo",
)
def forget(service: ServiceHere, label_set: LabelSetName, image_id: Annotated[schemas.Id, Query()]) -> Response:
    """All of it."""
    service.library.corrections.forget(label_set, _path(service.library, image_id))
    return JSONResponse({"corrections": len(service.library.corrections.list(label_set))})


@router.post(
    "/v1/corrections/undo",
    response_model=schemas.Corrected,
    dependencies=[WRITES],
    summary="Take back the last correction",
)
def undo(service: ServiceHere, label_set: LabelSetName) -> Response:
    """Or the last withdrawal. Nothing happens where there is none left."""
    service.library.corrections.undo(label_set)
    return JSONResponse({"corrections": len(service.library.corrections.list(label_set))})

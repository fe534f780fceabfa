"""``/v1/label-sets``: labels that the library keeps under names, in versions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from zsindex.records import LabelSet
from zsindex.web import questions
from zsindex.web.parameters import SetName
from zsindex.web.problems import Problem
from zsindex.web.schemas.label_sets import LabelsRequest, RestoreRequest, SavedLabels, SavedLabelsWithVersions
from zsindex.web.service import WRITES, ServiceHere

router = APIRouter(tags=["label sets"])


def _document(found: LabelSet) -> dict[str, Any]:
    """A label set as the service shows it."""
    return {
        "name": found.name or "",
        "version": found.version,
        "labels": list(found.labels),
        "templates": list(found.templates),
        "prompts": {label: list(texts) for label, texts in zip(found.labels, found.prompts, strict=True)},
        "groups": {group: list(labels) for group, labels in found.groups},
        "negatives": list(found.negatives),
    }


@router.get("/v1/label-sets", response_model=list[SavedLabels], summary="Saved label sets")
def label_sets(service: ServiceHere) -> Response:
    """The newest version of each."""
    return JSONResponse([_document(found) for found in service.library.labels.list()])


@router.get("/v1/label-sets/{name:path}", response_model=SavedLabelsWithVersions, summary="A saved label set")
def label_set(service: ServiceHere, name: SetName) -> Response:
    """With its versions."""
    found = service.library.labels.get(name)
    versions = service.library.labels.history(found.name or name)
    times = [{"version": one.version, "saved_at": one.saved_at} for one in versions]
    return JSONResponse({**_document(found), "versions": times})


@router.put("/v1/label-sets/{name:path}", response_model=SavedLabels, dependencies=[WRITES], summary="Save a label set")
def save_label_set(service: ServiceHere, name: SetName, body: LabelsRequest) -> Response:
    """As a new version, unless it equals the newest one."""
    chosen = questions.labels_of(service, body)
    try:
        return JSONResponse(_document(service.library.labels.save(name, chosen)))
    except ValueError as error:
        raise Problem("name", 422, str(error)) from error


@router.post(
    "/v1/label-sets/{name:path}",
    response_model=SavedLabels,
    dependencies=[WRITES],
    summary="Restore a version of a label set",
)
def restore_label_set(service: ServiceHere, name: SetName, body: RestoreRequest) -> Response:
    """It is saved once more, as the newest one. No version is lost."""
    return JSONResponse(_document(service.library.labels.restore(name, body.version)))


@router.delete("/v1/label-sets/{name:path}", status_code=204, dependencies=[WRITES], summary="Delete a label set")
def remove_label_set(service: ServiceHere, name: SetName) -> Response:
    """With all its versions."""
    service.library.labels.remove(name)
    return Response(status_code=204)

"""``/v1/label-sets`` and ``/v1/template-sets``: labels and templates that the library keeps."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.responses import JSONResponse, Response

from zsindex.classification.templates import BUILT_IN
from zsindex.records import LabelSet
from zsindex.web import schemas
from zsindex.web.classify import label_set_of
from zsindex.web.problems import Problem
from zsindex.web.service import WRITES, ServiceHere

router = APIRouter(tags=["label sets"])

SetName = Annotated[schemas.Name, Path(description="Its name; NAME@2 reads the second version.", examples=["animals"])]


def document(found: LabelSet) -> dict[str, Any]:
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


@router.get("/v1/label-sets", response_model=list[schemas.SavedLabels], summary="Saved label sets")
def label_sets(service: ServiceHere) -> Response:
    """The newest version of each."""
    return JSONResponse([document(found) for found in service.library.labels.list()])


@router.get("/v1/label-sets/{name:path}", response_model=schemas.SavedLabelsWithVersions, summary="A saved label set")
def label_set(service: ServiceHere, name: SetName) -> Response:
    """With the versions that there are."""
    found = service.library.labels.get(name)
    versions = service.library.labels.history(found.name or name)
    times = [{"version": one.version, "saved_at": one.saved_at} for one in versions]
    return JSONResponse({**document(found), "versions": times})


@router.put(
    "/v1/label-sets/{name:path}", response_model=schemas.SavedLabels, dependencies=[WRITES], summary="Save a label set"
)
def save_label_set(service: ServiceHere, name: SetName, labels: schemas.Labels) -> Response:
    """As a new version, unless it says the same as the newest."""
    chosen = label_set_of(service, labels)
    try:
        return JSONResponse(document(service.library.labels.save(name, chosen)))
    except ValueError as error:
        raise Problem("name", 422, str(error)) from error


@router.delete("/v1/label-sets/{name:path}", status_code=204, dependencies=[WRITES], summary="Forget a label set")
def remove_label_set(service: ServiceHere, name: SetName) -> Response:
    """With all its versions."""
    service.library.labels.remove(name)
    return Response(status_code=204)


def _template_set(name: str, templates: tuple[str, ...]) -> dict[str, Any]:
    return {"name": name, "templates": list(templates), "built_in": name in BUILT_IN}


@router.get("/v1/template-sets", response_model=list[schemas.TemplateSet], summary="Template sets by name")
def template_sets(service: ServiceHere) -> Response:
    """The built-in ones first."""
    return JSONResponse([_template_set(name, texts) for name, texts in service.library.templates.list().items()])


@router.put(
    "/v1/template-sets/{name:path}",
    response_model=schemas.TemplateSet,
    dependencies=[WRITES],
    summary="Save a template set",
)
def save_template_set(service: ServiceHere, name: SetName, given: schemas.Templates) -> Response:
    """In place of the one of that name."""
    if len(given.templates) > service.limits.labels:
        raise Problem("fields", 422, f"more than {service.limits.labels:,} templates")
    try:
        return JSONResponse(_template_set(name, service.library.templates.save(name, given.templates)))
    except ValueError as error:
        raise Problem("name", 422, str(error)) from error


@router.delete("/v1/template-sets/{name:path}", status_code=204, dependencies=[WRITES], summary="Forget a template set")
def remove_template_set(service: ServiceHere, name: SetName) -> Response:
    """Label sets that were made with it keep their prompts."""
    service.library.templates.remove(name)
    return Response(status_code=204)

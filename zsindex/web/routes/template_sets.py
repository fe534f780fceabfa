"""``/v1/template-sets``: templates that the library keeps under names, and those that are built in."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from zsindex.classification.templates import BUILT_IN
from zsindex.web.parameters import TemplateSetName
from zsindex.web.problems import Problem
from zsindex.web.schemas.label_sets import TemplateSet, TemplatesRequest
from zsindex.web.service import WRITES, ServiceHere

router = APIRouter(tags=["label sets"])


def _template_set(name: str, templates: tuple[str, ...]) -> dict[str, Any]:
    return {"name": name, "templates": list(templates), "built_in": name in BUILT_IN}


@router.get("/v1/template-sets", response_model=list[TemplateSet], summary="Template sets by name")
def template_sets(service: ServiceHere) -> Response:
    """The built-in ones first."""
    return JSONResponse([_template_set(name, texts) for name, texts in service.library.templates.list().items()])


@router.get("/v1/template-sets/{name:path}", response_model=TemplateSet, summary="A template set")
def template_set(service: ServiceHere, name: TemplateSetName) -> Response:
    """Built in, or saved."""
    return JSONResponse(_template_set(name, service.library.templates.get(name)))


@router.put(
    "/v1/template-sets/{name:path}",
    response_model=TemplateSet,
    dependencies=[WRITES],
    summary="Save a template set",
)
def save_template_set(service: ServiceHere, name: TemplateSetName, body: TemplatesRequest) -> Response:
    """In place of the set of that name."""
    if len(body.templates) > service.limits.labels:
        raise Problem("fields", 422, f"more than {service.limits.labels:,} templates")
    try:
        return JSONResponse(_template_set(name, service.library.templates.save(name, body.templates)))
    except ValueError as error:
        raise Problem("name", 422, str(error)) from error


@router.delete("/v1/template-sets/{name:path}", status_code=204, dependencies=[WRITES], summary="Delete a template set")
def remove_template_set(service: ServiceHere, name: TemplateSetName) -> Response:
    """Label sets that were made with it keep their prompts."""
    service.library.templates.remove(name)
    return Response(status_code=204)

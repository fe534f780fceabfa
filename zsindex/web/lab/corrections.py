"""``/v1/corrections``: many at once, and which would teach most."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.web import schemas as web_schemas
from zsindex.web.lab import asking, schemas
from zsindex.web.problems import Problem
from zsindex.web.service import WRITES, ServiceHere

router = APIRouter(tags=["corrections"])


@router.post(
    "/v1/corrections/bulk", response_model=schemas.Stated, dependencies=[WRITES], summary="Say what many photos show"
)
def correct_all(service: ServiceHere, said: schemas.Statements) -> Response:
    """In one step, which is undone in one. All of it is kept or, where something is refused, nothing."""
    if len(said.corrections) > service.limits.statements:
        raise Problem("too-much", 422, f"more than {service.limits.statements:,} corrections")
    paths = asking.paths_of(service, [one.image_id for one in said.corrections])
    library = service.library
    n = library.corrections.add_all(
        said.label_set, [(paths[one.image_id], one.label, one.not_) for one in said.corrections]
    )
    return JSONResponse({"statements": n, "corrections": len(library.corrections.list(said.label_set))})


@router.get("/v1/corrections/next", response_model=list[schemas.NextPhoto], summary="What to correct next")
def next_to_label(
    service: ServiceHere,
    label_set: Annotated[web_schemas.Name, Query(examples=["animals"])],
    n: Annotated[int, Query(ge=1, le=200)] = 10,
    template: Annotated[list[web_schemas.Text] | None, Query()] = None,
    path: Annotated[list[web_schemas.Path] | None, Query()] = None,
) -> Response:
    """Photos whose answer is unsure and that speak for other unsure ones, best first."""
    labels = asking.labels_of(service, schemas.Asked(label_set=label_set, templates=template))
    view = asking.photos(service, path)
    asking.require_few(service, view, len(labels.concepts))
    with service.heavy.turn():
        found = service.library.corrections.next(label_set, n, template=template, paths=path)
    ids = {one.path: view.index_of.get(one.path) for one in found}
    return JSONResponse(
        [
            {"image_id": int(view.image_ids[number]), **one.to_dict()}
            for one in found
            if (number := ids[one.path]) is not None  # else it came into the library meanwhile
        ]
    )

"""``/v1/duplicates`` and ``/v1/copies``: photos that are nearly the same, what people decide about them, and files with
the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.lab.duplicates import Duplicate, Duplicates
from zsindex.records import Progress
from zsindex.services.neighbours import NEAR
from zsindex.web import questions
from zsindex.web.conditional import etag_of
from zsindex.web.cursors import OffsetCursor
from zsindex.web.filters import WhereHere
from zsindex.web.lists import NextPage, Start, page_of
from zsindex.web.problems import Problem, busy
from zsindex.web.schemas.duplicates import CopiesPage, DecisionCount, DecisionShown, DecisionsRequest, DuplicatesPage
from zsindex.web.schemas.fields import PhotoPath
from zsindex.web.service import WRITES, Service, ServiceHere

router = APIRouter(tags=["duplicates"])


@router.get("/v1/duplicates", response_model=DuplicatesPage, summary="Near-duplicates, and which to keep")
def duplicates(
    service: ServiceHere,
    threshold: Annotated[
        float, Query(ge=0.5, le=1, allow_inf_nan=False, description="Lowest cosine similarity.")
    ] = NEAR,
    look: Annotated[bool, Query(description="Also compare the pictures, not only their vectors.")] = True,
    path: Annotated[list[PhotoPath] | None, Query()] = None,
    where: WhereHere = None,
    limit: Annotated[int, Query(ge=0, le=10_000, description="Groups per page.")] = 100,
    start: Start = 0,
    cursor: NextPage = None,
) -> Response:
    """Nothing is deleted. Looking at many photos for the first time may take several requests: 429 until it is done."""
    questions.require_shown(service, limit)
    view = questions.photos(service, path)
    decided = service.library.decisions.in_effect()
    now = etag_of(view.snapshot, view.model_id, sorted(decided.different), sorted(decided.keep.items()))
    asked = etag_of("duplicates", threshold, look, path, None if where is None else where.key)

    def make(should_stop: Callable[[], bool]) -> tuple[str, Duplicates]:
        def stop_in_time(step: Progress) -> None:
            # What was looked at is remembered.
            if should_stop() and step.done != step.total:
                raise busy(
                    f"{step.done:,} of {step.total:,} photos were looked at; ask again to continue", slug="unfinished"
                )

        found = service.library.neighbours.duplicates(
            threshold=threshold, look=look, paths=path, where=where, progress=stop_in_time
        )
        return now, found

    key, found, before = service.slow.page_of(Duplicates, asked, cursor, make, now=now)
    part, following = OffsetCursor(key, asked, max(before, start)).page(limit=limit, total=len(found.groups))

    def shown(one: Duplicate) -> dict[str, Any]:
        number = view.index_of.get(one.path)
        return {"image_id": None if number is None else int(view.image_ids[number]), **one.to_dict()}

    document = {
        "threshold": found.threshold,
        "photos": found.photos,
        "removable": len(found.removable),
        "removable_bytes": found.removable_bytes,
        "unread": found.unread,
        "total": len(found.groups),
        "left_out": found.left_out,
        "apart": found.apart,
        # Those of a kept answer that went since stay counted, so that the pages fit together, but are not shown.
        "groups": [
            {"keep": shown(group.keep), "others": [shown(other) for other in group.others]}
            for old in found.groups[part]
            if (group := old.still_there()) is not None
        ],
        "next": None if following is None else following.to_text(),
    }
    return JSONResponse(document)


def _count(service: Service) -> Response:
    return JSONResponse({"decisions": len(service.library.decisions.list())})


@router.get("/v1/duplicates/decisions", response_model=list[DecisionShown], summary="Decisions about duplicates")
def decisions(service: ServiceHere) -> Response:
    """All that are in effect, oldest first."""
    return JSONResponse([one.to_dict() for one in service.library.decisions.list()])


@router.post(
    "/v1/duplicates/decisions", response_model=DecisionCount, dependencies=[WRITES], summary="Decide about duplicates"
)
def decide(service: ServiceHere, body: DecisionsRequest) -> Response:
    """In one step, which is undone as one. Near-duplicates are grouped accordingly from then on. Nothing is deleted."""
    said = len(body.keep) + sum(len(paths) * (len(paths) - 1) // 2 for paths in body.different)
    if said > service.limits.statements:
        raise Problem("too-much", 422, f"more than {service.limits.statements:,} decisions")
    service.library.decisions.add(different=body.different, keep=body.keep)
    return _count(service)


@router.delete(
    "/v1/duplicates/decisions",
    response_model=DecisionCount,
    dependencies=[WRITES],
    summary="Withdraw the decisions about a photo",
)
def forget(service: ServiceHere, path: Annotated[PhotoPath, Query()]) -> Response:
    """All of them."""
    service.library.decisions.forget(path)
    return _count(service)


@router.post(
    "/v1/duplicates/decisions/undo", response_model=DecisionCount, dependencies=[WRITES], summary="Undo the last step"
)
def undo(service: ServiceHere) -> Response:
    """Be it decisions or their withdrawal. Nothing happens where no step is left."""
    service.library.decisions.undo()
    return _count(service)


@router.get("/v1/copies", response_model=CopiesPage, summary="Files with the same bytes")
def copies(
    service: ServiceHere,
    start: Start = 0,
    limit: Annotated[int, Query(ge=0, le=1000)] = 100,
    cursor: NextPage = None,
) -> Response:
    """Photos that several files show, in the order of their first files."""
    found = service.library.neighbours.copies()
    state = [one.image_id for one in found]
    part, following = page_of(found, asked=["copies"], state=state, start=start, limit=limit, cursor=cursor)
    shown = [{"image_id": one.image_id, "paths": list(one.paths)} for one in part]
    return JSONResponse({"total": len(found), "copies": shown, "next": following})

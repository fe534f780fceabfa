"""``/v1/duplicates``: photos that are the same or nearly so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.lab.duplicates import Duplicate, Duplicates
from zsindex.records import Progress
from zsindex.services.neighbours import NEAR
from zsindex.web import cursors
from zsindex.web import schemas as web_schemas
from zsindex.web.lab import asking, schemas
from zsindex.web.problems import busy
from zsindex.web.service import ServiceHere, etag_of

router = APIRouter(tags=["duplicates"])


@router.get("/v1/duplicates", response_model=schemas.Duplicates, summary="Near-duplicates, and which to keep")
def duplicates(
    service: ServiceHere,
    threshold: Annotated[float, Query(ge=0.5, le=1, allow_inf_nan=False, description="Smallest cosine.")] = NEAR,
    look: Annotated[bool, Query(description="Compare pictures, too, rather than vectors alone.")] = True,
    path: Annotated[list[web_schemas.Path] | None, Query()] = None,
    limit: Annotated[int, Query(ge=0, le=10_000, description="Groups of a page.")] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31, description="Begin there, without a cursor.")] = 0,
    cursor: Annotated[web_schemas.Cursor | None, Query()] = None,
) -> Response:
    """Nothing is deleted. Looking at many photos for the first time may take several requests: 429 until it is done."""
    asking.require_shown(service, limit)
    view = asking.photos(service, path)
    now = etag_of(view.snapshot, view.model_id)
    asked = etag_of("duplicates", threshold, look, path)

    def make(should_stop: Callable[[], bool]) -> tuple[str, Duplicates]:
        def told(step: Progress) -> None:
            # What was looked at is remembered.
            if should_stop() and step.done != step.total:
                raise busy(
                    f"{step.done:,} of {step.total:,} photos were looked at; ask again to go on", slug="unfinished"
                )

        found = service.library.neighbours.duplicates(threshold=threshold, look=look, paths=path, progress=told)
        return now, found

    key, found, before = service.heavy.page_of(asked, cursor, make, now=now)
    start = max(before, offset)
    through = min(len(found.groups), start + limit)

    def shown(one: Duplicate) -> dict[str, Any]:
        number = view.index_of.get(one.path)
        return {"image_id": None if number is None else int(view.image_ids[number]), **one.to_dict()}

    body = {
        "threshold": found.threshold,
        "photos": found.photos,
        "removable": len(found.removable),
        "removable_bytes": found.removable_bytes,
        "unread": found.unread,
        "total": len(found.groups),
        "left_out": found.left_out,
        # Those of a kept answer that went since stay counted, so that the pages fit together, but are not shown.
        "groups": [
            {"keep": shown(group.keep), "others": [shown(other) for other in group.others]}
            for old in found.groups[start:through]
            if (group := old.still_there()) is not None
        ],
        "next": cursors.offset_to_text(key, asked, through) if limit and through < len(found.groups) else None,
    }
    return JSONResponse(body)

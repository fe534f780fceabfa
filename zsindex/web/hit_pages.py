"""Pages of the photos nearest to a vector, from the best one on: of a search, and of the photos like one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from zsindex.records import FloatArray
from zsindex.web import replicas
from zsindex.web.cursors import SearchCursor
from zsindex.web.service import Service
from zsindex.where import Where


def first_page(
    service: Service,
    vector: FloatArray,
    *,
    top: int,
    paths: Sequence[str] | None = None,
    where: Where | None = None,
    leave_out: int | None = None,
    exact: bool = False,
) -> Response:
    """The photos nearest to a vector."""
    start = SearchCursor(
        service.library.model.fingerprint,
        vector,
        place=None,  # type: ignore[arg-type]  # the page itself says where the next one begins
        paths=None if paths is None else tuple(paths),
        leave_out=leave_out,
        top=top,
        where=where,
    )
    return _page(service, start, after=False, exact=exact)


def next_page(service: Service, request: Request, cursor: str) -> Response:
    """The page where a cursor points."""
    model = service.library.model
    at = SearchCursor.from_text(cursor, fingerprint=model.fingerprint, dim=model.dim)
    replicas.require_seen(service, request, (at.place.watermark, at.place.generation, 0))
    return _page(service, at, after=True)


def _page(service: Service, at: SearchCursor, *, after: bool, exact: bool = False) -> Response:
    page = service.search.page(
        at.vector,
        top=at.top,
        after=at.place if after else None,
        paths=at.paths,
        where=at.where,
        leave_out=at.leave_out,
        exact=exact,
    )
    following = None
    if page.next is not None:
        following = replace(at, place=page.next).to_text()
    hits: list[dict[str, Any]] = [{"image_id": hit.image_id, **hit.to_dict()} for hit in page.hits]
    return JSONResponse({"hits": hits, "next": following})

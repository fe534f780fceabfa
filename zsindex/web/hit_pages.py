"""Pages of the photos nearest to a vector, from the best one on: of a search, and of the photos like one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from zsindex.classification.results import Hit
from zsindex.records import FloatArray
from zsindex.services.search import Place
from zsindex.web import replicas
from zsindex.web.cursors import KeptStop, SearchCursor
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
    cut: float | str | None = None,
    without: Sequence[FloatArray] = (),
) -> Response:
    """The photos nearest to a vector; with a cut or vectors of what to leave out, those of them that remain."""
    if cut is not None or without:
        return _first_that_fit(
            service, vector, top=top, paths=paths, where=where, exact=exact, cut=cut, without=without
        )
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
    return _page(service, at, after=True) if at.kept is None else _next_that_fit(service, at, at.kept)


def _first_that_fit(
    service: Service,
    vector: FloatArray,
    *,
    top: int,
    paths: Sequence[str] | None,
    where: Where | None,
    exact: bool,
    cut: float | str | None,
    without: Sequence[FloatArray],
) -> Response:
    snapshot = (0, 0)

    def nearest(one: FloatArray, k: int) -> Sequence[Hit]:
        nonlocal snapshot
        page = service.search.page(one, top=k, paths=paths, where=where, exact=exact)
        snapshot = page.snapshot
        return page.hits

    # The last one that it asks for is the query itself.
    found, stop = service.stopping.first(vector, nearest, cut=cut, without=without, top=top)
    following = None
    if found.more or len(found) < (found.fitting or 0):
        last = found[-1]
        place = Place(*snapshot, last.score, last.image_id)
        places = None if paths is None else tuple(paths)
        fingerprint = service.library.model.fingerprint
        following = SearchCursor(
            fingerprint, vector, place, places, None, top, where=where, kept=KeptStop.of(stop)
        ).to_text()
    fit = {"fitting": found.fitting, "more": found.more, "tells": found.tells, "note": found.note}
    return JSONResponse({"hits": _plain(found), "next": following, "fit": fit})


def _next_that_fit(service: Service, at: SearchCursor, kept: KeptStop) -> Response:
    stop, place = kept.stop(at.vector, service.stopping.bound_again), at.place
    while True:
        page = service.search.page(
            at.vector, top=at.top, after=place, paths=at.paths, where=at.where, leave_out=at.leave_out
        )
        hits = service.stopping.left(page.hits, stop)
        ended = stop.bound is not None and bool(page.hits) and page.hits[-1].score < stop.bound.lowest
        if hits or ended or page.next is None:
            break
        place = page.next
    following = None if ended or page.next is None else replace(at, place=page.next).to_text()
    return JSONResponse({"hits": _plain(hits), "next": following})


def _plain(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    return [{"image_id": hit.image_id, **hit.to_dict()} for hit in hits]


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
    return JSONResponse({"hits": _plain(page.hits), "next": following})

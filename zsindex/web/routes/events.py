"""``/v1/events``: photos grouped by when they were taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.lab.events import Event, Events
from zsindex.records import Progress
from zsindex.web import questions
from zsindex.web.conditional import etag_of
from zsindex.web.cursors import OffsetCursor
from zsindex.web.filters import WhereHere
from zsindex.web.lists import NextPage, Start
from zsindex.web.problems import busy
from zsindex.web.schemas.events import EventsPage
from zsindex.web.schemas.fields import PhotoPath
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["events"])


@router.get("/v1/events", response_model=EventsPage, summary="Events and bursts")
def events(
    service: ServiceHere,
    vocabulary: Annotated[
        Literal["basic", "wordnet", "none"], Query(description="Words that events are named by.")
    ] = "basic",
    look: Annotated[bool, Query(description="Choose the sharpest photo of each burst, which is read for it.")] = True,
    file_times: Annotated[bool, Query(description="Use photos of which only the file's time is known.")] = False,
    path: Annotated[list[PhotoPath] | None, Query()] = None,
    where: WhereHere = None,
    limit: Annotated[int, Query(ge=0, le=10_000, description="Events per page.")] = 100,
    start: Start = 0,
    cursor: NextPage = None,
) -> Response:
    """By their start. Where photos were taken is not said. Looking at many photos for the first time may take several
    requests: 429 until it is done.
    """
    questions.require_shown(service, limit)
    library = service.library
    view = questions.photos(service, path)
    now = etag_of(view.snapshot, view.model_id, library.session.storage.reads.facts_state())
    asked = etag_of("events", vocabulary, look, file_times, path, None if where is None else where.key)

    def make(should_stop: Callable[[], bool]) -> tuple[str, Events]:
        def stop_in_time(step: Progress) -> None:
            # What was looked at is remembered, and so are words.
            if should_stop() and step.done != step.total:
                raise busy(f"{step.done:,} of {step.total:,} are done; ask again to continue", slug="unfinished")

        words = None if vocabulary == "none" else vocabulary
        found = library.events(
            paths=path, where=where, vocabulary=words, look=look, file_times=file_times, progress=stop_in_time
        )
        return now, found

    key, found, before = service.slow.page_of(Events, asked, cursor, make, now=now)
    part, following = OffsetCursor(key, asked, max(before, start)).page(limit=limit, total=len(found.events))

    def shown(event: Event) -> dict[str, Any]:
        document = event.to_dict()
        for burst in document["bursts"]:
            for photo in burst["photos"]:
                number = view.index_of.get(photo["path"])
                photo["image_id"] = None if number is None else int(view.image_ids[number])
        return document

    document = {
        "photos": found.photos,
        "from_files": found.from_files,
        "untimed": found.untimed,
        "unread": found.unread,
        "total": len(found.events),
        "events": [shown(event) for event in found.events[part]],
        "next": None if following is None else following.to_text(),
    }
    return JSONResponse(document)

"""``/v1/images/export``, ``/v1/images/tags``: what is done with photos that were chosen one by one."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from zsindex.classification.results import BLOCK_PHOTOS, Classification
from zsindex.errors import ImageError
from zsindex.exchange import archives
from zsindex.exchange.archives import Entry
from zsindex.web.problems import Problem, busy
from zsindex.web.routes.groups import kept
from zsindex.web.routes.images import MOST_FILE_BYTES
from zsindex.web.routes.tags import require_within, shown
from zsindex.web.schemas.chosen import ChosenExport, ChosenTags
from zsindex.web.schemas.tags import TagChanges
from zsindex.web.service import Service, ServiceHere, require_write

router = APIRouter(tags=["images"])

_FACTS = (
    *("taken", "taken_from", "make", "camera", "lens", "focal_length_mm", "aperture", "exposure_s", "iso"),
    *("width", "height", "rating", "keywords"),
)
_MEDIA_TYPES = {"zip": "application/zip", "csv": "text/csv; charset=utf-8", "paths": "text/plain; charset=utf-8"}
_SCHEMAS = {"zip": {"type": "string", "format": "binary"}, "csv": {"type": "string"}, "paths": {"type": "string"}}


@router.post(
    "/v1/images/export",
    response_class=StreamingResponse,
    responses={200: {"content": {media_type: {"schema": _SCHEMAS[name]} for name, media_type in _MEDIA_TYPES.items()}}},
    summary="Chosen photos as a file",
)
def export(service: ServiceHere, request: Request, body: ChosenExport) -> Response:
    """An archive has the bytes that were encoded, as `/v1/images/{id}/file` gives them; photos that cannot be had are
    listed in a text in it. A list of paths leaves out those with line breaks, and photos that are on no disk here.
    """
    files = _files(service, body.image_ids)
    if body.key is not None and body.format != "csv":
        raise Problem("options", 422, f"a key is of use to a csv, and not to {body.format}")
    name = f"zsindex-photos.{'txt' if body.format == 'paths' else body.format}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    media_type = _MEDIA_TYPES[body.format]
    if body.format == "zip":
        _require_room(service, files)
        return _Archive(service, _entries(service, files), media_type=media_type, headers=headers)
    if body.format == "paths":
        return StreamingResponse(_lines(files), media_type=media_type, headers=headers)
    answer = None if body.key is None else kept(service, request, body.key)
    return StreamingResponse(_csv(service, files, answer), media_type=media_type, headers=headers)


@router.post("/v1/images/tags", response_model=TagChanges, summary="A keyword for the sidecars of chosen photos")
def tag(service: ServiceHere, request: Request, body: ChosenTags) -> Response:
    """All files that show them get it. `/v1/tags/retract` with the label set `keyword:KEYWORD` takes it away again."""
    if body.apply:
        require_write(request)
    files = _files(service, body.image_ids)
    paths = [path for of_photo in files.values() for path in of_photo]
    require_within(service, paths)
    with service.slow.turn() as should_stop:
        report = service.library.tags.add(
            body.keyword, paths, style=body.style, apply=body.apply, should_stop=should_stop
        )
    return shown(report, body.limit)


def _files(service: Service, image_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Files that show photos, in the order asked for; none of those that are on no disk here."""
    if len(image_ids) > service.limits.chosen:
        raise Problem("too-much", 422, f"more than {service.limits.chosen:,} photos")
    found = service.library.photos.paths_of(image_ids)
    return {image_id: found.get(image_id, ()) for image_id in image_ids}


# --- the files themselves ---------------------------------------------------------------------------------------------


def _require_room(service: Service, files: dict[int, tuple[str, ...]]) -> None:
    limits = service.limits
    if len(files) > limits.archive_photos:
        raise Problem("too-much", 413, f"an archive holds at most {limits.archive_photos:,} photos, not {len(files):,}")
    size = 0
    for paths in files.values():
        for path in paths[:1]:
            with suppress(OSError):  # it is listed as missing
                size += os.stat(path).st_size
    if size > limits.archive_bytes:
        detail = f"these photos have {size / 1e9:.1f} GB, and an archive at most {limits.archive_bytes / 1e9:.1f} GB"
        raise Problem("too-much", 413, detail)


def _entries(service: Service, files: dict[int, tuple[str, ...]]) -> Iterator[Entry]:
    for image_id, paths in files.items():
        if not paths:
            yield Entry(f"photo {image_id}", None, why="it is on no disk here")
            continue
        try:
            path, content = service.library.photos.read(image_id, max_bytes=MOST_FILE_BYTES)
        except ImageError as error:
            yield Entry(paths[0], None, why=error.detail)
        else:
            yield Entry(path, content.data, content.mtime_ns)


class _Archive(StreamingResponse):
    """An archive that is made while it is sent, of which there are few at a time: each reads photos all the while."""

    def __init__(self, service: Service, entries: Iterator[Entry], **options: Any) -> None:
        if not service.archives.acquire(blocking=False):
            raise busy("other archives are being made")
        self._place: threading.Semaphore = service.archives
        super().__init__(archives.zipped(entries), **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._place.release()


# --- lists ------------------------------------------------------------------------------------------------------------


def _lines(files: dict[int, tuple[str, ...]]) -> Iterator[bytes]:
    paths = [of_photo[0] for of_photo in files.values() if of_photo and len(of_photo[0].splitlines()) == 1]
    for start in range(0, len(paths), BLOCK_PHOTOS):
        yield "".join(f"{path}\n" for path in paths[start : start + BLOCK_PHOTOS]).encode("utf-8", "surrogateescape")


def _csv(service: Service, files: dict[int, tuple[str, ...]], answer: Classification | None) -> Iterator[bytes]:
    photos = service.library.photos
    scored = () if answer is None else ("label", "score", "margin", *answer.wide_columns())
    yield _line(("path", "image_id", "digest", *_FACTS, *scored))
    every = list(files.items())
    for start in range(0, len(every), BLOCK_PHOTOS):
        some = every[start : start + BLOCK_PHOTOS]
        paths = [of_photo[0] if of_photo else "" for _, of_photo in some]
        digests = photos.digests([path for path in paths if path])
        facts = photos.facts_columns(paths)
        facts["keywords"] = [None if words is None else ";".join(words) for words in facts["keywords"]]
        answers = [()] * len(some) if answer is None else _scored(answer, [image_id for image_id, _ in some])
        yield _line(
            *(
                (paths[n], image_id, digests.get(paths[n]), *(facts[name][n] for name in _FACTS), *answers[n])
                for n, (image_id, _) in enumerate(some)
            )
        )


def _scored(answer: Classification, image_ids: Sequence[int]) -> list[tuple[Any, ...]]:
    """The label, its score, how far that is ahead, and all scores; of photos that were not answered none."""
    order = np.argsort(answer.image_ids, kind="stable")
    wanted = np.array(image_ids, dtype=np.int64)
    at = np.minimum(np.searchsorted(answer.image_ids, wanted, sorter=order), max(0, len(order) - 1))
    numbers = order[at] if len(order) else at
    there = [bool(len(order)) and answer.image_ids[number] == one for number, one in zip(numbers, wanted, strict=True)]
    every = iter(answer.scores_of(numbers[np.array(there, dtype=bool)]).tolist())
    found: list[tuple[Any, ...]] = []
    for number, is_there in zip(numbers.tolist(), there, strict=True):
        if not is_there:
            found.append((None,) * (3 + len(answer.labels)))
            continue
        best, *second = answer[number].predictions
        margin = best.score - second[0].score if second else None
        found.append((best.label, best.score, margin, *next(every)))
    return found


def _line(*rows: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")

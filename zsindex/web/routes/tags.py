"""``/v1/tags``: answers as tags in XMP sidecars. A dry run, unless it is told to write by whoever may."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from zsindex.arguments.paths import is_under
from zsindex.lab.tags import TagReport
from zsindex.web import questions
from zsindex.web.problems import Problem
from zsindex.web.schemas.tags import RetractRequest, TagChanges, TagsRequest
from zsindex.web.service import Service, ServiceHere, require_write

router = APIRouter(tags=["tags"])

# A photo with more tags is described by none of them; and each of all photos takes memory.
MOST_PER_PHOTO = 50


def require_within(service: Service, files: Sequence[str]) -> None:
    """Refuse files that are not, or not really, below a folder that was synced: a link may lead anywhere.

    Raises:
        Problem
    """
    roots = [(root, os.path.realpath(root)) for root in service.library.photos.roots()]
    for folder in {os.path.dirname(file) for file in files}:
        real = os.path.realpath(folder)
        if not any(is_under(folder, root) and is_under(real, really) for root, really in roots):
            raise Problem("path", 403, "some of the photos lie outside the folders that were synced; choose others")


@router.post("/v1/tags", response_model=TagChanges, summary="Answers as tags in XMP sidecars")
def write(service: ServiceHere, request: Request, body: TagsRequest) -> Response:
    """Photos and other programs' tags stay untouched; what was written for the same label set before is replaced."""
    if body.apply:
        require_write(request)
    questions.require_shown(service, body.limit)
    if body.every and not body.min_score:
        raise Problem("fields", 422, "every, without min_score, would give every photo every label")
    labels = questions.labels_of(service, body)
    # A label decides, and its group is the level above it.
    top = MOST_PER_PHOTO if body.every else 1
    question = questions.question_of(replace(labels, groups=()), body, top=top)
    view = questions.photos(service, body.paths)
    questions.require_few(service, view, len(labels.concepts))
    require_within(service, view.paths)
    with service.slow.turn() as should_stop:
        answers = service.library.plan(question).answer()
        require_within(service, answers.paths)
        report = service.library.tags.write(
            answers,
            min_score=body.min_score,
            groups=dict(labels.groups),
            root=body.root,
            style=body.style,
            apply=body.apply,
            should_stop=should_stop,
        )
    return shown(report, body.limit)


@router.post("/v1/tags/retract", response_model=TagChanges, summary="Remove tags from XMP sidecars")
def retract(service: ServiceHere, request: Request, body: RetractRequest) -> Response:
    """Those that zsindex wrote, and no others."""
    if body.apply:
        require_write(request)
    questions.require_shown(service, body.limit)
    if body.paths is not None and len(body.paths) > service.limits.places:
        raise Problem("fields", 422, f"more than {service.limits.places:,} paths")
    with service.slow.turn() as should_stop:
        report = service.library.tags.retract(
            body.paths, label_set=body.label_set, apply=body.apply, should_stop=should_stop
        )
    return shown(report, body.limit)


def shown(report: TagReport, limit: int) -> Response:
    """What was written or would be, with so many changes at most."""
    actions = Counter(change.action for change in report.changes)
    document = {
        "applied": report.applied,
        "interrupted": report.interrupted,
        "create": actions["create"],
        "change": actions["change"],
        "delete": actions["delete"],
        "unchanged": report.unchanged,
        "n_skipped": len(report.skipped),
        "changes": [change.to_dict() for change in report.changes[:limit]],
        "skipped": [{"path": one.path, "why": one.why} for one in report.skipped[:limit]],
    }
    return JSONResponse(document)

"""``/v1/tags``: answers as tags in XMP sidecars. A dry run, unless it is told to write by whoever may."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from zsindex.lab.tags import TagReport
from zsindex.storage.rows import is_under
from zsindex.web.classify import require_compatible
from zsindex.web.lab import asking, schemas
from zsindex.web.problems import Problem
from zsindex.web.service import Service, ServiceHere, require_write

router = APIRouter(tags=["tags"])

OPTIONS = ("unknown", "thresholds", "with_corrections", "temperature", "activation", "truncate")
# A photo with more tags is described by none of them; and each of all photos takes memory.
MOST_PER_PHOTO = 50


def _require_within(service: Service, files: Sequence[str]) -> None:
    """Refuse files that are not, or not really, below a folder that was synced: a link may lead anywhere.

    Raises:
        Problem
    """
    roots = [(root, os.path.realpath(root)) for root in service.library.photos.roots()]
    for folder in {os.path.dirname(file) for file in files}:
        real = os.path.realpath(folder)
        if not any(is_under(folder, root) and is_under(real, really) for root, really in roots):
            raise Problem("path", 403, "some of the photos are outside of the folders that were synced; name others")


@router.post("/v1/tags", response_model=schemas.Tagged, summary="Answers as tags in XMP sidecars")
def write(service: ServiceHere, request: Request, question: schemas.TagQuestion) -> Response:
    """Photos stay untouched, and so are tags of others; what was written before for the same label set is replaced."""
    if question.apply:
        require_write(request)
    asking.require_shown(service, question.limit)
    if question.every and not question.min_score:
        raise Problem("fields", 422, "every, without min_score, would give every photo every label")
    options = asking.option_values(question, *OPTIONS)
    require_compatible(options)
    labels = asking.labels_of(service, question)
    if question.with_corrections is not None and labels.name is None:
        raise Problem("labels", 422, "corrections belong to a saved label set; name one")
    view = asking.photos(service, question.paths)
    asking.require_few(service, view, len(labels.concepts))
    _require_within(service, view.paths)
    with service.heavy.turn() as should_stop:
        # A label decides, and its group is the level above it.
        answers = service.library.classify(
            replace(labels, groups=()),
            top=MOST_PER_PHOTO if question.every else 1,
            paths=question.paths,
            sync=False,
            **options,
        )
        _require_within(service, answers.paths)
        report = service.library.tags.write(
            answers,
            min_score=question.min_score,
            groups=dict(labels.groups),
            root=question.root,
            style=question.style,
            apply=question.apply,
            should_stop=should_stop,
        )
    return _told(report, question.limit)


@router.post("/v1/tags/retract", response_model=schemas.Tagged, summary="Take tags out of XMP sidecars again")
def retract(service: ServiceHere, request: Request, question: schemas.RetractQuestion) -> Response:
    """Those that zsindex wrote, and no others."""
    if question.apply:
        require_write(request)
    asking.require_shown(service, question.limit)
    if question.paths is not None and len(question.paths) > service.limits.places:
        raise Problem("fields", 422, f"more than {service.limits.places:,} paths")
    with service.heavy.turn() as should_stop:
        report = service.library.tags.retract(
            question.paths, label_set=question.label_set, apply=question.apply, should_stop=should_stop
        )
    return _told(report, question.limit)


def _told(report: TagReport, limit: int) -> Response:
    actions = Counter(change.action for change in report.changes)
    body = {
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
    return JSONResponse(body)

"""``/v1/diff``: which photos get a different answer by other words, or by another model."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from zsindex.classification import prompts
from zsindex.lab.diff import Diff, MovedPhoto
from zsindex.records import LabelSet
from zsindex.web import questions
from zsindex.web.conditional import etag_of
from zsindex.web.cursors import OffsetCursor
from zsindex.web.problems import Problem
from zsindex.web.schemas.diff import DiffPage, DiffRequest
from zsindex.web.service import Service, ServiceHere

router = APIRouter(tags=["words"])


def _sides(service: Service, body: DiffRequest) -> tuple[LabelSet, LabelSet]:
    before = questions.labels_of(service, body.before)
    after = body.after
    if after.labels is not None or after.label_set is not None:
        return before, questions.labels_of(service, after)
    if after.groups is not None or after.negatives is not None:
        raise Problem("labels", 422, "groups and negatives need labels: give those of `after`, too")
    if after.templates is None:
        return before, before
    templates = service.library.templates.resolve(after.templates)
    chosen = prompts.label_set(before, templates=templates)
    questions.require_few_prompts(service, chosen)
    return before, chosen


@router.post("/v1/diff", response_model=DiffPage, summary="Which photos get a different answer")
def diff(service: ServiceHere, body: DiffRequest) -> Response:
    """Compares two label sets, two template sets or two models. Photos that move most come first."""
    questions.require_shown(service, body.limit)
    models = [model for model in (body.before.model, body.after.model) if model is not None]
    questions.require_models(service, models)
    before, after = _sides(service, body)
    questions.require_few(service, questions.photos(service, body.paths), len(before.concepts) + len(after.concepts))
    asked = etag_of("diff", body.model_dump(exclude={"limit", "cursor"}), *map(prompts.digest, (before, after)))

    def make(_: Any) -> tuple[str, Diff]:
        try:
            found = service.library.lab.diff(
                before,
                after,
                model_before=body.before.model,
                model_after=body.after.model,
                renamed=body.renamed,
                activation=body.activation,
                truncate=body.truncate,
                paths=body.paths,
            )
        except ValueError as error:
            raise Problem("labels", 422, str(error)) from error
        return f"{found.run_before} {found.run_after}", found

    key, found, offset = service.slow.page_of(Diff, asked, body.cursor, make)
    part, following = OffsetCursor(key, asked, offset).page(limit=body.limit, total=len(found.flipped))
    flows = found.flows
    document = {
        "before": found.before,
        "after": found.after,
        "run_before": found.run_before,
        "run_after": found.run_after,
        "photos": len(found),
        "flipped": len(found.flipped),
        "share": found.share,
        "mean_moved": float(found.moved.mean()) if len(found) else 0.0,
        "uncompared": found.uncompared,
        "only_before": list(found.only_before),
        "only_after": list(found.only_after),
        "counts": [{"answer": a, "before": n, "after": m} for a, n, m in found.counts()],
        "n_flows": len(flows),
        "flows": [flow._asdict() for flow in flows[: service.limits.page]],
        "flips": [flip._asdict() for flip in _flips(found, part)],
        "next": None if following is None else following.to_text(),
    }
    return JSONResponse(document)


def _flips(found: Diff, part: slice) -> list[MovedPhoto]:
    """Those of a page: of 100,000 photos, naming them all would take longer than comparing them."""
    n = found.flipped[part]
    columns = (found.best_before, found.best_after, found.scores_before, found.scores_after, found.moved)
    return [
        MovedPhoto(found.paths[photo], found.answers[before], found.answers[after], *numbers)
        for photo, before, after, *numbers in zip(n.tolist(), *(column[n].tolist() for column in columns), strict=True)
    ]

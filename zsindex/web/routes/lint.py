"""``/v1/lint``: problems with labels."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from zsindex.classification import prompts
from zsindex.lab.findings import LintReport
from zsindex.web import questions
from zsindex.web.conditional import etag_of
from zsindex.web.cursors import OffsetCursor
from zsindex.web.schemas.lint import LintPage, LintRequest
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["words"])


@router.post("/v1/lint", response_model=LintPage, summary="Problems with labels")
def lint(service: ServiceHere, body: LintRequest) -> Response:
    """Labels that coincide, that win nothing or nearly everything, prompts that are cut, templates that do nothing."""
    questions.require_shown(service, body.limit)
    labels = questions.labels_of(service, body)
    view = questions.photos(service, body.paths)
    questions.require_few(service, view, len(labels.concepts))
    asked = etag_of("lint", body.model_dump(exclude={"limit", "cursor"}), prompts.digest(labels))
    now = etag_of(view.snapshot, view.model_id)

    def make(_: Any) -> tuple[str, LintReport]:
        return now, service.library.lab.lint(labels, paths=body.paths)

    key, report, offset = service.slow.page_of(LintReport, asked, body.cursor, make, now=now)
    part, following = OffsetCursor(key, asked, offset).page(limit=body.limit, total=len(report.findings))
    document = {
        **report.to_dict(),
        "total": len(report.findings),
        "findings": [finding.to_dict() for finding in report.findings[part]],
        "next": None if following is None else following.to_text(),
    }
    return JSONResponse(document)

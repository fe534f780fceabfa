"""``/v1/suggest``: names for what labels miss."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from zsindex.classification.templates import DEFAULT_TEMPLATE, has_place
from zsindex.web import questions
from zsindex.web.problems import Problem
from zsindex.web.schemas.suggest import SuggestedGroups, SuggestRequest
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["words"])


@router.post("/v1/suggest", response_model=SuggestedGroups, summary="Names for what labels miss")
def suggest(service: ServiceHere, body: SuggestRequest) -> Response:
    """Photos that no label fits, in groups, with words that fit these. Words are encoded once."""
    labels = questions.labels_of(service, body)
    if isinstance(body.vocabulary, list) and len(body.vocabulary) > service.limits.labels:
        raise Problem("fields", 422, f"more than {service.limits.labels:,} words")
    template = DEFAULT_TEMPLATE if body.word_template is None else body.word_template
    if not has_place(template):
        raise Problem("labels", 422, "word_template has no place for the word: write {} where it goes")
    view = questions.photos(service, body.paths)
    questions.require_few(service, view, len(labels.concepts))
    with service.slow.turn() as should_stop:
        found = service.library.lab.suggest(
            labels,
            body.vocabulary,
            word_template=template,
            share=body.share,
            by=body.by,
            groups=body.n_groups,
            names=body.names,
            examples=body.examples,
            paths=body.paths,
            should_stop=should_stop,
        )
    return JSONResponse(found.to_dict())

"""``/v1/reviews``: finding all photos that show something, with a promise of how many of them were seen."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.services.reviews import ReviewInProgress
from zsindex.web import looking, questions
from zsindex.web.lists import NextPage, Start, page_of
from zsindex.web.problems import Problem
from zsindex.web.schemas.fields import Id
from zsindex.web.schemas.reviews import FoundPage, ReviewAnswer, ReviewRequest, ReviewShown
from zsindex.web.service import WRITES, ServiceHere

router = APIRouter(tags=["reviews"])


def _shown(review: ReviewInProgress, *, ask: bool) -> Response:
    return looking.shown(review, review.certificate().to_dict(), ask=ask)


@router.post("/v1/reviews", response_model=ReviewShown, dependencies=[WRITES], summary="Begin a review")
def begin(service: ServiceHere, body: ReviewRequest) -> Response:
    """Or go on with the one of the same question: answers with the photo to look at next."""
    concepts = 1 if body.label_set is None else len(service.library.labels.get(body.label_set).concepts)
    if len(body.templates or ()) * concepts > service.limits.prompts:
        raise Problem("labels", 422, f"labels times templates are more than {service.limits.prompts:,} prompts")
    questions.require_few(service, questions.photos(service, body.paths), concepts)
    with service.slow.turn():
        review = service.library.reviews.begin(
            body.label,
            recall=body.recall,
            confidence=body.confidence,
            label_set=body.label_set,
            template=body.templates,
            paths=body.paths,
            where=body.where,
            truncate=body.truncate,
            seed=body.seed,
        )
    service.reviews.keep(review)
    with service.reviews.of(review.survey_id) as kept:
        return _shown(kept, ask=True)


@router.get("/v1/reviews/{survey}", response_model=ReviewShown, summary="How far a review is")
def state(service: ServiceHere, survey: Id) -> Response:
    """The certificate. Draws no photo: `next` is one that waits already."""
    with service.reviews.of(survey) as review:
        return _shown(review, ask=False)


@router.get("/v1/reviews/{survey}/found", response_model=FoundPage, summary="The photos that a review has found")
def found(
    service: ServiceHere,
    survey: Id,
    start: Start = 0,
    limit: Annotated[int, Query(ge=0, le=10_000)] = 100,
    cursor: NextPage = None,
) -> Response:
    """One path of each, by path."""
    with service.reviews.of(survey) as review:
        paths = review.found()
    part, following = page_of(paths, asked=["found", survey], state=paths, start=start, limit=limit, cursor=cursor)
    return JSONResponse({"total": len(paths), "photos": list(part), "next": following})


@router.post(
    "/v1/reviews/{survey}/answers",
    response_model=ReviewShown,
    dependencies=[WRITES],
    summary="Answer a photo of a review",
)
def answer(service: ServiceHere, survey: Id, body: ReviewAnswer) -> Response:
    """Answers with the next one."""
    with service.reviews.of(survey) as review:
        looking.answer(review, body.number, body.answer, what="review")
        return _shown(review, ask=True)


@router.post(
    "/v1/reviews/{survey}/undo",
    response_model=ReviewShown,
    dependencies=[WRITES],
    summary="Undo a review's last answer",
)
def undo(service: ServiceHere, survey: Id) -> Response:
    """Its photo waits again. Nothing happens where there is none."""
    with service.reviews.of(survey) as review:
        review.undo()
        return _shown(review, ask=True)

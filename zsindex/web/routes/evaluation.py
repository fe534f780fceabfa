"""``/v1/eval``: how often answers are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from zsindex.classification import prompts
from zsindex.lab.evaluate import Evaluation, Report
from zsindex.web import questions
from zsindex.web.problems import Problem
from zsindex.web.schemas import evaluation as schemas
from zsindex.web.service import Service, ServiceHere

router = APIRouter(tags=["truth"])


@router.post("/v1/eval", response_model=schemas.EvaluationResult, summary="How often answers are right")
def evaluate(service: ServiceHere, body: schemas.EvaluationRequest) -> Response:
    """With intervals; with several label sets, templates or models, also with differences on the same photos."""
    questions.require_shown(service, body.limit)
    plain = body.model_copy(update={"coverage": None})  # what sets are calibrated with is not said by the question
    found = _compared(service, plain, resamples=body.resamples, seed=body.seed, coverage=body.coverage)
    return JSONResponse(_document(found, body.limit, most=service.limits.page))


def _compared(
    service: Service,
    body: schemas.ComparedQuestion,
    *,
    resamples: int = 0,
    seed: int = 0,
    coverage: float | None = None,
) -> Evaluation:
    """All ways of asking, compared with the truth and the first one."""
    questions.require_models(service, body.models)
    n_ways = (1 + len(body.against)) * max(1, len(body.template_sets)) * (1 + len(body.models))
    if n_ways > service.limits.ways:
        raise Problem("too-much", 422, f"more than {service.limits.ways} ways to ask")
    sets = [questions.labels_of(service, one) for one in (body, *body.against)]
    [question, *_] = [questions.question_of(one, body) for one in sets]  # each must go with the options
    ways = [service.library.templates.resolve(given) for given in body.template_sets]
    questions.require_few_prompts(service, *(prompts.label_set(one, templates=way) for one in sets for way in ways))
    n_labels = sum(len(one.concepts) for one in sets) * max(1, len(ways)) * (1 + len(body.models))
    questions.require_few(service, questions.photos(service, body.paths), n_labels)
    truth = questions.truth_of(service, body.truth)
    with service.slow.turn():
        return service.library.lab.evaluate(
            sets[0],
            truth,
            against=sets[1:],
            templates=body.template_sets,
            models=body.models,
            names=body.names,
            others_are_none=body.others_are_none,
            resamples=resamples,
            seed=seed,
            **(question.arguments | {"coverage": coverage}),
        )


@router.post(
    "/v1/eval/photos", response_model=schemas.EvaluatedPhotos, summary="Photos that were answered right or wrong"
)
def photos(service: ServiceHere, body: schemas.EvaluatedPhotosRequest) -> Response:
    """Those behind a cell of the confusion matrix: what they show, and how they are answered now."""
    questions.require_shown(service, body.limit)
    found = _measured(service, body)
    [report] = found.reports
    chosen = report.photos_of(shows=body.shows, answered=body.answered, wrong=body.wrong)
    part = chosen[body.start : body.start + body.limit].tolist()
    return JSONResponse({"total": len(chosen), "photos": _shown(found, report, part)})


@router.post(
    "/v1/eval/differing", response_model=schemas.DifferingPhotos, summary="Photos that one way gets right, another not"
)
def differing(service: ServiceHere, body: schemas.DifferingPhotosRequest) -> Response:
    """Of several ways of asking, the first and another one: the photos behind `gained` and `lost`."""
    questions.require_shown(service, body.limit)
    found = _compared(service, body)
    if body.report >= len(found.reports):
        raise Problem("fields", 422, f"there are only {len(found.reports)} reports, the first of which is number 0")
    first, other = found.reports[0], found.reports[body.report]
    chosen = first.right_unlike(other) if body.right == "first" else other.right_unlike(first)
    part = chosen[body.start : body.start + body.limit].tolist()
    shown = [
        {**one, "other": there["label"], "other_score": there["score"]}
        for one, there in zip(_shown(found, first, part), _shown(found, other, part), strict=True)
    ]
    return JSONResponse({"total": len(chosen), "photos": shown})


def _shown(found: Evaluation, report: Report, photos: Sequence[int]) -> list[dict[str, Any]]:
    best, scores, learnt = report.outcome.best[:, 0], report.outcome.scores[:, 0], set(found.learnt_from)
    return [
        {
            "image_id": int(found.image_ids[photo]),
            "path": found.paths[photo],
            "label": None if best[photo] < 0 else report.answers[best[photo]],
            "score": 0.0 if best[photo] < 0 else float(scores[photo]),
            "truth": list(report.shown(photo)),
            "learnt": found.paths[photo] in learnt,
        }
        for photo in photos
    ]


@router.post("/v1/eval/curve", response_model=schemas.TradeoffCurve, summary="What a minimum score costs")
def curve(service: ServiceHere, body: schemas.TradeoffRequest) -> Response:
    """The precision-recall curve of an answer, by its scores."""
    [report] = _measured(service, body).reports
    return JSONResponse(report.tradeoff(body.label).to_dict())


def _measured(service: Service, body: schemas.EvaluatedQuestion) -> Evaluation:
    """One way of asking, compared with the truth; without intervals."""
    labels = questions.labels_of(service, body)
    question = questions.question_of(labels, body)
    questions.require_few(service, questions.photos(service, body.paths), len(labels.concepts))
    truth = questions.truth_of(service, body.truth)
    with service.slow.turn():
        return service.library.lab.evaluate(
            labels, truth, names=body.names, others_are_none=body.others_are_none, resamples=0, **question.arguments
        )


def _document(found: Evaluation, limit: int, *, most: int) -> dict[str, Any]:
    """The evaluation, with its lists cut: of a library without truth, each would name all of its photos."""

    def some(paths: Sequence[str]) -> dict[str, Any]:
        return {"total": len(paths), "paths": list(paths[:limit])}

    def shown(report: Report) -> dict[str, Any]:
        document = report.to_dict()
        return {
            **document,
            "n_confusions": len(document["confusions"]),
            "confusions": document["confusions"][:most],
            "n_wrong": len(report.wrong),
            "wrong": [found.paths[photo] for photo in report.wrong[:limit].tolist()],
        }

    return {
        "truth": found.truth,
        "photos": len(found.paths),
        "resamples": found.resamples,
        "seed": found.seed,
        "unknown_labels": dict(list(found.unknown_labels.items())[:most]),
        "left_out": some(found.left_out),
        "not_held": some(found.not_held),
        "unanswered": some(found.unanswered),
        "without_truth": some(found.without_truth),
        "learnt_from": some(found.learnt_from),
        "reports": [shown(report) for report in found.reports],
    }

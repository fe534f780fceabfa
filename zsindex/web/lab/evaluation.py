"""``/v1/eval``: how often answers are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from zsindex.classification import prompts
from zsindex.lab.evaluate import Evaluation
from zsindex.web.classify import require_compatible
from zsindex.web.lab import asking, schemas
from zsindex.web.lab.words import require_models
from zsindex.web.problems import Problem
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["truth"])

OPTIONS = ("activation", "temperature", "unknown", "thresholds", "with_corrections", "smooth", "truncate")


@router.post("/v1/eval", response_model=schemas.Evaluated, summary="How often answers are right")
def evaluate(service: ServiceHere, question: schemas.EvalQuestion) -> Response:
    """With intervals; and, of several label sets, templates and models, the differences on the same photos."""
    asking.require_shown(service, question.limit)
    options = asking.option_values(question, *OPTIONS)
    require_compatible(options)
    require_models(service, question.models)
    n_ways = (1 + len(question.against)) * max(1, len(question.template_sets)) * (1 + len(question.models))
    if n_ways > service.limits.ways:
        raise Problem("too-much", 422, f"more than {service.limits.ways} ways to ask")
    sets = [asking.labels_of(service, one) for one in (question, *question.against)]
    if question.with_corrections is not None and any(one.name is None for one in sets):
        raise Problem("labels", 422, "corrections belong to a saved label set; name one")
    ways = [service.library.templates.resolve(given) for given in question.template_sets]
    if sum(sum(map(len, prompts.label_set(one, templates=way).concept_prompts)) for one in sets for way in ways) > (
        service.limits.prompts
    ):
        raise Problem("labels", 422, f"more than {service.limits.prompts:,} prompts")
    n_labels = sum(len(one.concepts) for one in sets) * max(1, len(ways)) * (1 + len(question.models))
    asking.require_few(service, asking.photos(service, question.paths), n_labels)
    truth = asking.truth_of(service, question.truth)
    with service.heavy.turn():
        found = service.library.lab.evaluate(
            sets[0],
            truth,
            against=sets[1:],
            templates=question.template_sets,
            models=question.models,
            names=question.names,
            others_are_none=question.others_are_none,
            paths=question.paths,
            resamples=question.resamples,
            seed=question.seed,
            **options,
        )
    return JSONResponse(_document(found, question.limit, most=service.limits.page))


def _document(found: Evaluation, limit: int, *, most: int) -> dict[str, Any]:
    """The evaluation, with its lists cut: of a library without truth, each would name all of its photos."""

    def some(paths: Sequence[str]) -> dict[str, Any]:
        return {"total": len(paths), "paths": list(paths[:limit])}

    def told(report: Any) -> dict[str, Any]:
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
        "reports": [told(report) for report in found.reports],
    }

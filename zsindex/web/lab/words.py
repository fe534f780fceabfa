"""``/v1/diff``, ``/v1/lint`` and ``/v1/suggest``: which words work."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from zsindex.classification import prompts
from zsindex.classification.templates import DEFAULT_TEMPLATE, has_place
from zsindex.lab.diff import Diff, Flip
from zsindex.lab.findings import LintReport
from zsindex.records import LabelSet
from zsindex.web import cursors
from zsindex.web.lab import asking, schemas
from zsindex.web.problems import Problem
from zsindex.web.service import Service, ServiceHere, etag_of

router = APIRouter(tags=["words"])


def require_models(service: Service, models: list[str]) -> None:
    """Refuse models that the library holds nothing of. Other names could be folders of the host.

    Raises:
        Problem
    """
    held = {model.name for model in service.library.models()}
    if not held.issuperset(models):
        raise Problem("unknown-model", 404, "the library holds no vectors of a model of that name; see /v1/models")


def _sides(service: Service, question: schemas.DiffQuestion) -> tuple[LabelSet, LabelSet]:
    before = asking.labels_of(service, question.before)
    after = question.after
    if after.labels is not None or after.label_set is not None:
        return before, asking.labels_of(service, after)
    if after.groups is not None or after.negatives is not None:
        raise Problem("labels", 422, "groups and negatives come with labels; name those of the side after, too")
    if after.templates is None:
        return before, before
    templates = service.library.templates.resolve(after.templates)
    chosen = prompts.label_set(before, templates=templates)
    if sum(map(len, chosen.concept_prompts)) > service.limits.prompts:
        raise Problem("labels", 422, f"more than {service.limits.prompts:,} prompts")
    return before, chosen


@router.post("/v1/diff", response_model=schemas.Compared, summary="Which photos get another answer")
def diff(service: ServiceHere, question: schemas.DiffQuestion) -> Response:
    """Of two label sets, two template sets or two models. The photos that move most come first."""
    asking.require_shown(service, question.limit)
    models = [model for model in (question.before.model, question.after.model) if model is not None]
    require_models(service, models)
    before, after = _sides(service, question)
    asking.require_few(service, asking.photos(service, question.paths), len(before.concepts) + len(after.concepts))
    asked = etag_of("diff", question.model_dump(exclude={"limit", "cursor"}), *map(prompts.digest, (before, after)))

    def make(_: Any) -> tuple[str, Diff]:
        try:
            found = service.library.lab.diff(
                before,
                after,
                model_before=question.before.model,
                model_after=question.after.model,
                renamed=question.renamed,
                activation=question.activation,
                truncate=question.truncate,
                paths=question.paths,
            )
        except ValueError as error:
            raise Problem("labels", 422, str(error)) from error
        return f"{found.run_before} {found.run_after}", found

    key, found, offset = service.heavy.page_of(asked, question.cursor, make)
    through = min(len(found.flipped), offset + question.limit)
    more = through < len(found.flipped) and question.limit
    flows = found.flows
    body = {
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
        "flips": [flip._asdict() for flip in _flips(found, offset, through)],
        "next": cursors.offset_to_text(key, asked, through) if more else None,
    }
    return JSONResponse(body)


def _flips(found: Diff, start: int, end: int) -> list[Flip]:
    """Those of a page: of 100,000 photos, naming them all would take longer than comparing them."""
    n = found.flipped[start:end]
    columns = (found.best_before, found.best_after, found.scores_before, found.scores_after, found.moved)
    return [
        Flip(found.paths[photo], found.answers[before], found.answers[after], *numbers)
        for photo, before, after, *numbers in zip(n.tolist(), *(column[n].tolist() for column in columns), strict=True)
    ]


@router.post("/v1/lint", response_model=schemas.Linted, summary="What is wrong with labels")
def lint(service: ServiceHere, question: schemas.LintQuestion) -> Response:
    """Labels that coincide, that win nothing or nearly everything, prompts that are cut, templates that do nothing."""
    asking.require_shown(service, question.limit)
    labels = asking.labels_of(service, question)
    view = asking.photos(service, question.paths)
    asking.require_few(service, view, len(labels.concepts))
    asked = etag_of("lint", question.model_dump(exclude={"limit", "cursor"}), prompts.digest(labels))

    now = etag_of(view.snapshot, view.model_id)

    def make(_: Any) -> tuple[str, LintReport]:
        return now, service.library.lab.lint(labels, paths=question.paths)

    key, report, offset = service.heavy.page_of(asked, question.cursor, make, now=now)
    through = min(len(report.findings), offset + question.limit)
    more = through < len(report.findings) and question.limit
    document = report.to_dict()
    body = {
        **document,
        "total": len(report.findings),
        "findings": document["findings"][offset:through],
        "next": cursors.offset_to_text(key, asked, through) if more else None,
    }
    return JSONResponse(body)


@router.post("/v1/suggest", response_model=schemas.Suggested, summary="Names for what labels miss")
def suggest(service: ServiceHere, question: schemas.SuggestQuestion) -> Response:
    """Photos that no label fits, in groups, with words that fit these. Words are encoded once."""
    labels = asking.labels_of(service, question)
    if isinstance(question.vocabulary, list) and len(question.vocabulary) > service.limits.labels:
        raise Problem("fields", 422, f"more than {service.limits.labels:,} words")
    template = DEFAULT_TEMPLATE if question.word_template is None else question.word_template
    if not has_place(template):
        raise Problem("labels", 422, "word_template has no place for the word: write {} where it goes")
    view = asking.photos(service, question.paths)
    asking.require_few(service, view, len(labels.concepts))
    with service.heavy.turn() as should_stop:
        found = service.library.lab.suggest(
            labels,
            question.vocabulary,
            word_template=template,
            share=question.share,
            by=question.by,
            groups=question.n_groups,
            names=question.names,
            examples=question.examples,
            paths=question.paths,
            should_stop=should_stop,
        )
    return JSONResponse(found.to_dict())

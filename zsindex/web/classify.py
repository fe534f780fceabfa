"""``/v1/classify``: photos of the library, uploads, and what clients of model hubs send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any

from fastapi import APIRouter, Body, File, Form, Query, Request, UploadFile
from starlette.responses import JSONResponse, Response

from zsindex.classification import prompts
from zsindex.classification.options import Question
from zsindex.classification.prompts import LabelsLike
from zsindex.classification.results import Classification, Prediction
from zsindex.errors import NoLabels, UnknownRun
from zsindex.library import Library
from zsindex.records import LabelSet
from zsindex.web import cursors, schemas, uploads
from zsindex.web.problems import Problem
from zsindex.web.service import Service, ServiceHere, etag_of, require_write, unchanged

router = APIRouter(tags=["classify"])


def label_set_of(
    service: Service, question: schemas.Labels | schemas.ClassifyQuestion | schemas.GroupsQuestion
) -> LabelSet:
    """The label set that a body spells out or names.

    Raises:
        Problem: neither or both; or it is too large.
        LabelError
    """
    limits, saved = service.limits, getattr(question, "label_set", None)
    if (question.labels is None) == (saved is None):
        raise Problem("labels", 422, "give either labels or the name of a label set")
    if len(question.labels or ()) + len(question.negatives or ()) > limits.labels:
        raise Problem("labels", 422, f"more than {limits.labels:,} labels")
    templates = None if question.templates is None else service.library.templates.resolve(question.templates)
    labels: LabelsLike = service.library.labels.get(saved) if saved is not None else question.labels or ()
    if len(labels) * len(templates or ()) > limits.prompts:
        raise Problem("labels", 422, f"labels by templates are more than {limits.prompts:,} prompts")
    chosen = prompts.label_set(
        labels,
        templates=templates,
        groups=question.groups,
        negatives=question.negatives or (),
        literal=getattr(question, "literal", False),
    )
    if sum(map(len, chosen.concept_prompts)) > limits.prompts:
        raise Problem("labels", 422, f"more than {limits.prompts:,} prompts")
    return chosen


# What has another meaning of an answer's score.
_EXCLUSIVE = (("smooth", "thresholds"), ("smooth", "multi_label"), ("multi_label", "with_corrections"))


def require_compatible(asked: Mapping[str, Any]) -> None:
    """Refuse options of a classification that exclude each other.

    Raises:
        Problem
    """
    for one, other in _EXCLUSIVE:
        if asked.get(one) and asked.get(other):
            raise Problem("options", 422, f"{one} and {other} exclude each other")


def _answer(service: Service, request: Request, question: schemas.ClassifyQuestion) -> Response:
    library, limits = service.library, service.limits
    if question.limit > limits.page:
        raise Problem("fields", 422, f"a page has at most {limits.page:,} photos")
    if question.with_corrections is not None and question.label_set is None:
        raise Problem("labels", 422, "corrections belong to a saved label set; name one")
    if question.record:
        require_write(request)
    labels = label_set_of(service, question)
    asked: dict[str, Any] = {
        "top": question.top,
        "paths": question.paths,
        "activation": question.activation,
        "unknown": question.unknown,
        "thresholds": question.thresholds,
        "multi_label": question.multi_label,
        "with_corrections": question.with_corrections,
        "temperature": question.temperature,
        "smooth": question.smooth,
        "truncate": question.truncate,
    }
    require_compatible(asked)
    # Who has the answer already need not have had it recorded.
    shown = (question.only, question.min_score, question.order, question.record)
    asking = etag_of(prompts.digest(labels), labels.name, asked, shown)
    wanted, offset = None, 0
    if question.cursor is not None:
        wanted, offset = cursors.offset_from_text(question.cursor, asked=asking)

    with service.answers.turn(asking), service.heavy.turn() if question.smooth else nullcontext():
        plan = library.plan(Question(labels, sync=False, **asked))
        key = wanted or plan.run.key
        kept = service.answers.get(key)
        if key != plan.run.key and kept is None:
            raise Problem("cursor-expired", 410, "the library has changed since the first page; ask from the beginning")
        same = unchanged(request, etag_of(key, shown, offset, question.limit))
        if same is not None:
            return same
        answer = plan.answer(may_be_empty=True) if kept is None else kept
        service.answers.keep(answer)
        if question.record:
            _record(library, answer)
    key, smoothed = answer.run.key, answer.smoothing
    smoothing = None if smoothed is None else {k: v for k, v in smoothed.to_dict().items() if k != "flips"}
    unknown = [label for label in question.only or () if label not in answer.labels]
    if unknown:
        raise Problem("labels", 422, f"not among the answers: {', '.join(unknown)}")
    if question.only is not None or question.min_score:
        answer = answer.filtered(min_score=question.min_score, only=question.only)
    if question.order == "label":
        answer = answer.grouped()
    through = min(len(answer), offset + question.limit)
    more = through < len(answer) and question.limit
    body = {
        "run": answer.run.to_dict(),
        "total": len(answer),
        "counts": answer.tally(),
        "unanswered": len(answer.unanswered),
        "smoothing": smoothing,
        "results": [
            {"image_id": image_id, **result.to_dict()}
            for image_id, result in zip(answer.image_ids[offset:through].tolist(), answer[offset:through], strict=True)
        ],
        "next": cursors.offset_to_text(key, asking, through) if more else None,
    }
    return JSONResponse(body, headers={"ETag": etag_of(key, shown, offset, question.limit)})


def _record(library: Library, answer: Classification) -> None:
    """Keep a run, unless it is kept already.

    Raises:
        LibraryReadOnly, LibraryBusy, StorageFull
    """
    try:
        library.runs.get(answer.run.key)
    except UnknownRun:
        library.runs.record(answer)


@router.get("/v1/classify", response_model=schemas.Classified, summary="Score photos of the library against labels")
def ask(
    service: ServiceHere,
    request: Request,
    label: Annotated[list[schemas.Text] | None, Query(examples=[["owl", "fox"]])] = None,
    label_set: Annotated[schemas.Name | None, Query()] = None,
    template: Annotated[list[schemas.Text] | None, Query()] = None,
    negative: Annotated[list[schemas.Text] | None, Query()] = None,
    top: Annotated[schemas.Top | None, Query()] = None,
    activation: Annotated[schemas.ActivationName | None, Query()] = None,
    unknown: Annotated[schemas.Unknown | None, Query()] = None,
    thresholds: Annotated[bool, Query()] = False,
    multi_label: Annotated[bool, Query()] = False,
    with_corrections: Annotated[schemas.Teaching | None, Query()] = None,
    temperature: Annotated[schemas.Temperature | None, Query()] = None,
    smooth: Annotated[bool, Query()] = False,
    record: Annotated[bool, Query()] = False,
    truncate: Annotated[bool, Query()] = False,
    path: Annotated[list[schemas.Path] | None, Query()] = None,
    only: Annotated[list[schemas.Text] | None, Query()] = None,
    min_score: Annotated[schemas.Score, Query()] = 0.0,
    order: Annotated[schemas.Order, Query()] = "path",
    limit: Annotated[int, Query(ge=0)] = 100,
    cursor: Annotated[schemas.Cursor | None, Query()] = None,
) -> Response:
    """Its ETag comes from the run's key: with If-None-Match, an unchanged question is answered with 304 and scores
    nothing.
    """
    question = schemas.ClassifyQuestion(
        labels=label,
        label_set=label_set,
        templates=template,
        negatives=negative,
        top=top,
        activation=activation,
        unknown=unknown,
        thresholds=thresholds,
        multi_label=multi_label,
        with_corrections=with_corrections,
        temperature=temperature,
        smooth=smooth,
        record=record,
        truncate=truncate,
        paths=path,
        only=only,
        min_score=min_score,
        order=order,
        limit=limit,
        cursor=cursor,
    )
    return _answer(service, request, question)


@router.post(
    "/v1/classify",
    response_model=schemas.Classified | list[schemas.HubAnswer],
    summary="Score photos of the library against labels, or one image as model hubs do",
)
def classify(
    service: ServiceHere,
    request: Request,
    question: Annotated[schemas.ClassifyQuestion | schemas.HubQuestion, Body()],
) -> Response:
    """A body with `inputs` is that of a model hub, and is answered as one."""
    if isinstance(question, schemas.ClassifyQuestion):
        return _answer(service, request, question)
    candidates = question.parameters.candidate_labels
    if isinstance(candidates, str):
        candidates = [label.strip() for label in candidates.split(",") if label.strip()]
    if not candidates:
        raise NoLabels()
    template = question.parameters.hypothesis_template
    given = schemas.ClassifyQuestion(labels=candidates, templates=None if template is None else [template])
    labels = label_set_of(service, given)
    vectors = uploads.vectors_of(service, [uploads.from_text(service, question.inputs)])
    [predictions] = service.serving.classify_vectors(vectors, Question(labels, top=len(labels)))
    return JSONResponse([{"score": one.score, "label": one.label} for one in predictions])


@router.post(
    "/v1/classify/upload",
    response_model=schemas.UploadsClassified,
    summary="Score photos that are not in the library",
)
def upload(
    service: ServiceHere,
    request: Request,
    images: Annotated[list[UploadFile], File(description="Photos, encoded.")],
    label: Annotated[list[schemas.Text] | None, Form(description="Or `label_set`.")] = None,
    label_set: Annotated[schemas.Name | None, Form()] = None,
    template: Annotated[list[schemas.Text] | None, Form()] = None,
    top: Annotated[schemas.Top, Form()] = 3,
    activation: Annotated[schemas.ActivationName | None, Form()] = None,
    store: Annotated[bool, Form(description="Keep their vectors, which needs the right to write.")] = False,
) -> Response:
    """Nothing of them is stored unless `store` asks for it; then only their vectors are."""
    if store:
        require_write(request)
    question = schemas.ClassifyQuestion(labels=label, label_set=label_set, templates=template)
    labels = label_set_of(service, question)
    vectors = uploads.vectors_of(service, uploads.read(service, images), store=store)
    found = service.serving.classify_vectors(vectors, Question(labels, top=top, activation=activation))
    return JSONResponse({"stored": store, "results": _named(images, found)})


def _named(images: Sequence[UploadFile], found: Sequence[Sequence[Prediction]]) -> list[dict[str, Any]]:
    return [
        {
            "name": image.filename or "",
            "predictions": [{"label": one.label, "score": one.score} for one in predictions],
        }
        for image, predictions in zip(images, found, strict=True)
    ]

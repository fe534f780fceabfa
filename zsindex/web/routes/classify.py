"""``/v1/classify``: photos of the library, uploads, and what clients of model hubs send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, File, Form, Query, Request, UploadFile
from starlette.responses import JSONResponse, Response

from zsindex.classification.options import Question
from zsindex.classification.results import Classification, Prediction, Run
from zsindex.errors import NoLabels, UnknownRun
from zsindex.library import Library
from zsindex.web import known, questions, replicas, uploads
from zsindex.web.conditional import etag_of, unchanged
from zsindex.web.cursors import OffsetCursor
from zsindex.web.problems import Problem
from zsindex.web.schemas.classify import (
    AnyClassifyRequest,
    ClassifyPage,
    ClassifyQuery,
    ClassifyRequest,
    CountsOfAnswer,
    CountsRequest,
    UploadResults,
)
from zsindex.web.schemas.fields import ActivationName, Name, Text, Top
from zsindex.web.schemas.questions import LabelChoice
from zsindex.web.service import Service, ServiceHere, require_write

router = APIRouter(tags=["classify"])


@dataclass(frozen=True)
class _Asked:
    """What a body asks, and shows of the answer.

    Attributes:
        asking: stands for both.
    """

    question: Question
    shown: tuple[object, ...]
    asking: str

    @classmethod
    def of(cls, service: Service, body: ClassifyRequest) -> _Asked:
        labels = questions.labels_of(service, body)
        truth = None if body.calibrate is None else questions.truth_of(service, body.calibrate)
        question = questions.question_of(labels, body, calibrate=truth)
        # Who has the answer already need not have had it recorded.
        shown = (body.only, body.min_score, body.order, body.record)
        return cls(question, shown, questions.asking_of(labels, question, shown))

    def etag(self, service: Service, body: ClassifyRequest, run: Run, key: str, offset: int) -> str:
        """The tag of a page of the answer."""
        snapshot = (run.watermark, run.generation, run.files_revision)
        dated = service.library.session.facts.table().state if body.order == "date" else None
        return etag_of(key, self.shown, dated, offset, body.limit, snapshot=snapshot)


def etag_now(service: Service, body: ClassifyRequest) -> str:
    """The tag that the first page of the answer to a body has now."""
    asked = _Asked.of(service, body)
    with service.answers.turn(asked.asking) as planned:
        run = planned(lambda: service.library.plan(asked.question)).run
    return asked.etag(service, body, run, run.key, 0)


def _answer(service: Service, request: Request, body: ClassifyRequest) -> Response:
    library, limits = service.library, service.limits
    if body.limit > limits.page:
        raise Problem("fields", 422, f"a page has at most {limits.page:,} photos")
    if body.record:
        require_write(request)
    asked = _Asked.of(service, body)
    question, asking = asked.question, asked.asking
    cursor = None if body.cursor is None else OffsetCursor.from_text(body.cursor, asked=asking)
    offset = 0 if cursor is None else cursor.offset
    seen = () if cursor is None or cursor.moment is None else (cursor.moment.snapshot,)
    replicas.require_seen(service, request, *seen)
    with service.answers.turn(asking) as planned:
        plan = planned(lambda: library.plan(question))
        key = plan.run.key if cursor is None else cursor.key
        is_now = key == plan.run.key
        answer = None if is_now or cursor is None else questions.earlier_answer(service, question, key, cursor.moment)
        etag = asked.etag(service, body, plan.run if answer is None else answer.run, key, offset)
        same = unchanged(request, etag)
        if same is not None:
            return same
        if answer is None:
            answer = questions.answer_of(service, plan)
        unknown = [label for label in body.only or () if label not in answer.labels]
        if unknown:
            raise Problem("labels", 422, f"not among the answers: {', '.join(unknown)}")
        if body.record:
            _record(library, answer)
    key, smoothed = answer.run.key, answer.smoothing
    smoothing = None if smoothed is None else {k: v for k, v in smoothed.to_dict().items() if k != "flips"}
    if body.only is not None or body.min_score:
        answer = answer.filtered(min_score=body.min_score, only=body.only)
    if body.order == "label":
        answer = answer.grouped()
    elif body.order != "path":
        answer = library.photos.in_order(answer, body.order)
    part, following = OffsetCursor(key, asking, offset).page(limit=body.limit, total=len(answer))
    if following is not None:
        moment = questions.moment_of(plan) if is_now or cursor is None else cursor.moment
        following = replace(following, moment=moment)
    document = {
        "run": answer.run.to_dict(),
        "total": len(answer),
        "counts": answer.tally(),
        "unanswered": len(answer.unanswered),
        "smoothing": smoothing,
        "coverage": None if answer.coverage is None else answer.coverage.to_dict(),
        "prior": None if answer.prior is None else answer.prior.to_dict(),
        "results": [
            {"image_id": image_id, **result.to_dict()}
            for image_id, result in zip(answer.image_ids[part].tolist(), answer[part], strict=True)
        ],
        "next": None if following is None else following.to_text(),
    }
    return JSONResponse(document, headers={"ETag": etag})


def _record(library: Library, answer: Classification) -> None:
    """Keep a run, unless it is kept already.

    Raises:
        LibraryReadOnly, LibraryBusy, StorageFull
    """
    try:
        library.runs.get(answer.run.key)
    except UnknownRun:
        library.runs.record(answer)


@router.get("/v1/classify", response_model=ClassifyPage, summary="Score photos of the library against labels")
def ask(service: ServiceHere, request: Request, query: Annotated[ClassifyQuery, Query()]) -> Response:
    """The ETag comes from the run's key: with If-None-Match, an unchanged question is answered with 304, and nothing is
    scored.
    """
    body = query.request()
    if body.cursor is None and not body.record:
        known.note(request, body)
    return _answer(service, request, body)


@router.post(
    "/v1/classify/counts",
    response_model=CountsOfAnswer,
    summary="How many photos of each label there are by time, camera, folder or keyword",
)
def counts(service: ServiceHere, request: Request, body: Annotated[CountsRequest, Body()]) -> Response:
    """A photo counts for its best label, or with `multi_label` for each that fits; with several keywords for each."""
    labels = questions.labels_of(service, body)
    question = questions.question_of(labels, body)
    replicas.require_seen(service, request)
    with service.answers.turn(questions.asking_of(labels, question)) as planned:
        answer = questions.answer_of(service, planned(lambda: service.library.plan(question)))
    found = answer.by(body.by)
    document = {
        "run": answer.run.key,
        "by": str(found.by),
        "keys": [key or None for key in found.keys],
        "labels": list(found.labels),
        "photos": found.photos.tolist(),
        "counts": found.counts.tolist(),
        "expected": None if found.expected is None else found.expected.tolist(),
        "from_file": found.from_file,
        "unread": found.unread,
    }
    return JSONResponse(document)


@router.post(
    "/v1/classify",
    response_model=ClassifyPage | list[Prediction],
    summary="Score photos of the library against labels, or one image as model hubs do",
)
def classify(service: ServiceHere, request: Request, body: Annotated[AnyClassifyRequest, Body()]) -> Response:
    """A body with `inputs` is that of a model hub, and is answered as one."""
    if isinstance(body, ClassifyRequest):
        return _answer(service, request, body)
    candidates = body.parameters.candidate_labels
    if isinstance(candidates, str):
        candidates = [label.strip() for label in candidates.split(",") if label.strip()]
    if not candidates:
        raise NoLabels()
    template = body.parameters.hypothesis_template
    given = LabelChoice(labels=candidates, templates=None if template is None else [template])
    labels = questions.labels_of(service, given)
    vectors = uploads.vectors_of(service, [uploads.from_text(service, body.inputs)])
    [predictions] = service.serving.classify_vectors(vectors, Question(labels, top=len(labels)))
    return JSONResponse([{"score": one.score, "label": one.label} for one in predictions])


@router.post(
    "/v1/classify/upload",
    response_model=UploadResults,
    summary="Score photos that are not in the library",
)
def upload(
    service: ServiceHere,
    request: Request,
    images: Annotated[list[UploadFile], File(description="Image files.")],
    label: Annotated[list[Text] | None, Form(description="Give these or `label_set`.")] = None,
    label_set: Annotated[Name | None, Form()] = None,
    template: Annotated[list[Text] | None, Form()] = None,
    top: Annotated[Top, Form()] = 3,
    activation: Annotated[ActivationName | None, Form()] = None,
    store: Annotated[bool, Form(description="Keep their vectors, which needs the right to write.")] = False,
) -> Response:
    """Nothing of them is stored unless `store` asks for it; then only their vectors are."""
    if store:
        require_write(request)
    labels = questions.labels_of(service, LabelChoice(labels=label, label_set=label_set, templates=template))
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

"""``/v1/choices``: which model, which words are best, found out in few looks of a person."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from zsindex.classification import prompts
from zsindex.services.choices import Choice
from zsindex.web import looking, questions
from zsindex.web.problems import Problem
from zsindex.web.schemas.choices import ChoiceAnswer, ChoiceRequest, ChoiceShown
from zsindex.web.schemas.fields import Id
from zsindex.web.service import WRITES, ServiceHere

router = APIRouter(tags=["choices"])


def _shown(choice: Choice, *, ask: bool) -> Response:
    return looking.shown(choice, {**choice.standing().to_dict(), "survey": choice.survey_id}, ask=ask)


@router.post("/v1/choices", response_model=ChoiceShown, dependencies=[WRITES], summary="Begin to choose the best")
def begin(service: ServiceHere, body: ChoiceRequest) -> Response:
    """Or go on with the choice of the same question: answers with the photo to look at next."""
    questions.require_models(service, body.models)
    n_ways = (1 + len(body.against)) * max(1, len(body.template_sets)) * max(1, len(body.models))
    if n_ways > service.limits.ways:
        raise Problem("too-much", 422, f"more than {service.limits.ways} candidates")
    sets = [questions.labels_of(service, one) for one in (body, *body.against)]
    ways = [service.library.templates.resolve(given) for given in body.template_sets]
    questions.require_few_prompts(service, *(prompts.label_set(one, templates=way) for one in sets for way in ways))
    n_labels = sum(len(one.concepts) for one in sets) * max(1, len(ways)) * max(1, len(body.models))
    questions.require_few(service, questions.photos(service, body.paths), n_labels)
    with service.slow.turn():
        choice = service.library.choices.begin(
            sets[0],
            against=sets[1:],
            models=body.models,
            templates=body.template_sets,
            names=body.names,
            confidence=body.confidence,
            within=body.within,
            seed=body.seed,
            activation=body.activation,
            temperature=body.temperature,
            truncate=body.truncate,
            paths=body.paths,
            where=body.where,
        )
    service.choices.keep(choice)
    with service.choices.of(choice.survey_id) as kept:
        return _shown(kept, ask=True)


@router.get("/v1/choices/{survey}", response_model=ChoiceShown, summary="How far a choice is")
def state(service: ServiceHere, survey: Id) -> Response:
    """Draws no photo: `next` is one that waits already. A choice that was not asked for lately has to be begun again,
    and then goes on: 410.
    """
    with service.choices.of(survey) as choice:
        return _shown(choice, ask=False)


@router.post(
    "/v1/choices/{survey}/answers",
    response_model=ChoiceShown,
    dependencies=[WRITES],
    summary="Answer a photo of a choice",
)
def answer(service: ServiceHere, survey: Id, body: ChoiceAnswer) -> Response:
    """Answers with the next one."""
    with service.choices.of(survey) as choice:
        looking.answer(choice, body.number, body.answer, what="choice")
        return _shown(choice, ask=True)


@router.post(
    "/v1/choices/{survey}/undo",
    response_model=ChoiceShown,
    dependencies=[WRITES],
    summary="Undo a choice's last answer",
)
def undo(service: ServiceHere, survey: Id) -> Response:
    """Its photo waits again. Nothing happens where there is none."""
    with service.choices.of(survey) as choice:
        choice.undo()
        return _shown(choice, ask=True)

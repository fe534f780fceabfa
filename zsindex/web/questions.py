"""What questions have in common: labels, photos, limits, and the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from zsindex.classification import prompts
from zsindex.classification.options import Question, QuestionOptions
from zsindex.classification.prompts import LabelsLike
from zsindex.classification.results import Classification
from zsindex.classification.view import View
from zsindex.errors import NotInLibrary, UnknownImage
from zsindex.records import LabelSet
from zsindex.services.questions import Plan, Questions
from zsindex.web import cursors
from zsindex.web.conditional import etag_of
from zsindex.web.cursors import AnswerName, Moment
from zsindex.web.problems import Problem
from zsindex.web.schemas.groups import GroupsRequest
from zsindex.web.schemas.images import ExplainRequest
from zsindex.web.schemas.label_sets import LabelsRequest
from zsindex.web.schemas.questions import BasicOptions, LabelChoice
from zsindex.web.service import Service


def labels_of(service: Service, choice: LabelChoice | LabelsRequest) -> LabelSet:
    """The label set that a body spells out or names.

    Raises:
        Problem: neither or both; or it is too large.
        LabelError
    """
    limits, saved = service.limits, getattr(choice, "label_set", None)
    if (choice.labels is None) == (saved is None):
        raise Problem("labels", 422, "give either labels or the name of a label set")
    if len(choice.labels or ()) + len(choice.negatives or ()) > limits.labels:
        raise Problem("labels", 422, f"more than {limits.labels:,} labels")
    templates = None if choice.templates is None else service.library.templates.resolve(choice.templates)
    labels: LabelsLike = service.library.labels.get(saved) if saved is not None else choice.labels or ()
    if len(labels) * len(templates or ()) > limits.prompts:
        raise Problem("labels", 422, f"labels times templates are more than {limits.prompts:,} prompts")
    chosen = prompts.label_set(
        labels,
        templates=templates,
        groups=choice.groups,
        negatives=choice.negatives or (),
        literal=getattr(choice, "literal", False),
    )
    require_few_prompts(service, chosen)
    return chosen


def require_few_prompts(service: Service, *label_sets: LabelSet) -> None:
    """Refuse more prompts than one question may have.

    Raises:
        Problem
    """
    if sum(len(texts) for one in label_sets for texts in one.concept_prompts) > service.limits.prompts:
        raise Problem("labels", 422, f"more than {service.limits.prompts:,} prompts")


def require_models(service: Service, models: Sequence[str]) -> None:
    """Refuse models that the library holds nothing of. Other names could be folders of the host.

    Raises:
        Problem
    """
    held = {model.name for model in service.library.models()}
    if not held.issuperset(models):
        raise Problem("unknown-model", 404, "the library has no vectors of a model of that name; see /v1/models")


# What a body says of a question beside its labels.
_OPTIONS = QuestionOptions.__annotations__.keys() - {"label_set", "template", "record", "sync"}


def question_of(labels: LabelSet, body: BasicOptions, **fixed: Any) -> Question:
    """What a body asks of some labels.

    Args:
        fixed: options of the question that are not the body's to say.

    Raises:
        BadQuestion: options exclude each other, or corrections are asked for without a saved label set.
        BadUnknown
    """
    asked = {name: value for name, value in body if name in _OPTIONS}
    return Question(labels, sync=False, **(asked | fixed))


def asking_of(labels: LabelSet, question: Question, *shown: object) -> str:
    """What stands for a question, whatever the library holds, and for what is shown of its answer."""
    return etag_of(prompts.digest(labels), labels.name, question.arguments, shown)


def answer_of(service: Service, plan: Plan, *, kept_as: str | None = None) -> Classification:
    """The answer to a question that was planned: a kept one, or a new one, which is kept.

    Args:
        kept_as: in place of the key of the plan's run.

    Raises:
        Problem: too many slow questions are at work.
    """
    answer = service.answers.get(kept_as or plan.run.key)
    if answer is None:
        asked = plan.question
        is_slow = asked.smooth or asked.coverage_adapt or asked.transport
        with service.slow.turn() if is_slow else nullcontext():
            answer = plan.answer(may_be_empty=True)
        service.answers.keep(answer, kept_as)
    return answer


def earlier_answer(service: Service, question: Question, key: str, moment: Moment | None) -> Classification:
    """An answer that a client saw a part of, here or at another service: a kept one, or the same again.

    Args:
        key: of its run.
        moment: of which it is; None if that is not known.

    Raises:
        Problem: it cannot be had again.
    """
    kept = service.answers.get(key)
    if kept is not None:
        return kept
    if moment is None:
        raise cursors.expired()
    # What a client says its photos were may be wrong. So what follows from it is kept under that, too, and given only
    # to those who say the same.
    kept_as = f"{key} {moment.photos}"
    kept = service.answers.get(kept_as)
    if kept is not None:
        return kept
    plan = Questions(service.library.session.as_of(moment.snapshot)).plan(question)
    if plan.run.key != key or plan.photos != moment.photos:
        raise cursors.expired()
    return answer_of(service, plan, kept_as=kept_as)


def moment_of(plan: Plan) -> Moment:
    """What a client needs to have the same answer again."""
    return Moment(plan.view.snapshot, plan.photos)


def grouped(service: Service, body: GroupsRequest | ExplainRequest) -> tuple[Plan, Classification]:
    """The answer that groups the library: the best label of each photo, and the second best; and its plan.

    Raises:
        Problem: the labels are too many.
        LabelError, BadQuestion
    """
    labels = labels_of(service, body)
    question = question_of(labels, body, top=2)
    with service.answers.turn(asking_of(labels, question)) as planned:
        plan = planned(lambda: service.library.plan(question))
        return plan, answer_of(service, plan)


def name_of(plan: Plan, body: GroupsRequest) -> AnswerName:
    """What names the answer that groups the library."""
    question = body.model_dump(mode="json", exclude_defaults=True)
    if body.label_set is not None:  # in the version that is asked with, whatever is saved later
        question["label_set"] = f"{plan.labels.name}@{plan.labels.version}"
    return AnswerName(plan.run.key, question, moment_of(plan))


def grouped_again(service: Service, body: GroupsRequest, name: AnswerName) -> Classification:
    """The answer of a name that another service gave, or this one before it was started again.

    Raises:
        Problem: it cannot be had again.
        LabelError, BadQuestion
    """
    labels = labels_of(service, body)
    question = question_of(labels, body, top=2)
    with service.answers.turn(asking_of(labels, question)) as planned:
        plan = planned(lambda: service.library.plan(question))
        if plan.run.key == name.key:
            return answer_of(service, plan)
        return earlier_answer(service, question, name.key, name.moment)


def photos(service: Service, paths: Sequence[str] | None) -> View:
    """The photos that a question is about.

    Raises:
        Problem: too many paths.
        NotInLibrary: there are none at these.
    """
    if paths is None:
        return service.library.view()
    if len(paths) > service.limits.places:
        raise Problem("fields", 422, f"more than {service.limits.places:,} paths")
    view = service.library.view(paths)
    if not view.paths and not view.unanswered:
        raise NotInLibrary(paths, "adding was refused")
    return view


def require_few(service: Service, view: View, labels: int) -> None:
    """Refuse what would take too long.

    Args:
        labels: that all photos are compared with, over all ways of asking.

    Raises:
        Problem
    """
    products = len(view.unique[0]) * labels
    if products > service.limits.products:
        detail = f"{len(view):,} photos by {labels:,} labels are too many for one question; use fewer, or some paths"
        raise Problem("too-much", 422, detail)


def require_shown(service: Service, limit: int) -> None:
    """Refuse longer lists than the service gives out.

    Raises:
        Problem
    """
    if limit > service.limits.page:
        raise Problem("fields", 422, f"a page has at most {service.limits.page:,} entries")


def truth_of(service: Service, truth: Mapping[str, Any] | str) -> Mapping[str, Any] | str:
    """A truth as the library takes it: ids of images become the paths of their files.

    Raises:
        Problem: it says too much, or is about something that is neither an id nor a path.
        UnknownImage: the library holds no photo of an id.
    """
    if isinstance(truth, str):
        return truth
    if len(truth) > service.limits.statements:
        raise Problem("truth", 422, f"more than {service.limits.statements:,} photos")
    by_path = {key: said for key, said in truth.items() if not key.isascii() or not key.isdigit()}
    for path in by_path:
        if not is_absolute(path):
            raise Problem("truth", 422, "name photos by their ids, or by their paths as answers show them")
    numbers = {int(key): said for key, said in truth.items() if key not in by_path}
    if not numbers:
        return by_path
    view = service.library.view()
    found: dict[str, Any] = {}
    known = set()
    for path, image_id in zip(view.paths, view.image_ids.tolist(), strict=True):
        if image_id in numbers:
            found[path] = numbers[image_id]
            known.add(image_id)
    unknown = numbers.keys() - known
    if unknown:
        raise UnknownImage(min(unknown))
    return found | by_path


def is_absolute(path: str) -> bool:
    """Whether a path is one, as `schemas.fields.PhotoPath` says. Whatever else would be the host's business."""
    return path.startswith("/") or (path[:1].isalpha() and path[1:3] in (":/", ":\\"))


def paths_of(service: Service, image_ids: Sequence[int]) -> dict[int, str]:
    """A file of each of some images.

    Raises:
        UnknownImage
    """
    view = service.library.view()
    wanted = set(image_ids)
    found = {
        image_id: path for path, image_id in zip(view.paths, view.image_ids.tolist(), strict=True) if image_id in wanted
    }
    for image_id in wanted - found.keys():  # those without a vector
        paths = service.library.photos.get(image_id).paths
        if not paths:
            raise UnknownImage(image_id)
        found[image_id] = paths[0]
    return found

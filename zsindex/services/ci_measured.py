"""What is measured of a label set that a CI file asks about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from zsindex.classification.options import Question, QuestionOptions
from zsindex.errors import BadQuestion, BadTruth, LabelError
from zsindex.lab.ci_file import CheckedSet, CiFile
from zsindex.records import LabelSet
from zsindex.services import ci_files, comparing
from zsindex.services.ci_plan import Planned
from zsindex.services.comparing import Asking
from zsindex.services.halves import sets_held
from zsindex.services.lab import Lab
from zsindex.services.questions import Questions
from zsindex.services.truths import Truths
from zsindex.session.session import Session

if TYPE_CHECKING:
    from zsindex.classification.results import Classification
    from zsindex.lab.ci import Judge
    from zsindex.lab.ci_report import CiCheck, Flips, SetsOfLabels
    from zsindex.lab.evaluate import Evaluation
    from zsindex.lab.truth import Truth


def measure(
    asked: CiFile,
    planned: Planned,
    sessions: Mapping[str | None, Session],
    photos: Sequence[str],
    folder: str,
) -> tuple[CiCheck, Classification]:
    """A label set with a model, measured and held to its bounds; with the answers.

    Raises:
        BadCiFile: the truth, or what coverage is calibrated with, cannot be used.
    """
    from zsindex.lab import ci
    from zsindex.lab.ci_report import CiCheck

    checked, session = planned.checked, sessions[planned.model]
    question = Question(
        planned.labels,
        paths=photos,
        activation=checked.activation,
        temperature=checked.temperature,
        sync=False,
    )
    answer = Questions(session).classify(question)
    truth, evaluation = None, None
    if planned.truth is not None:
        try:
            truth = Truths(session).of(planned.truth, planned.labels, photos)
            evaluation = Lab(session).evaluate(
                planned.labels,
                truth,
                names={name: list(others) for name, others in checked.names.items()},
                others_are_none=checked.others_are_none,
                resamples=0,
                paths=photos,
                activation=checked.activation,
                temperature=checked.temperature,
            )
        except (BadTruth, LabelError) as error:
            raise asked.problem((*checked.place, "truth"), str(error)) from error
    lint = Lab(session).lint(planned.labels, paths=photos)
    flips = _flips(planned, answer, sessions, question, truth, folder)
    compared = 0 if evaluation is None else evaluation.reports[0].photos
    summary = {} if evaluation is None else evaluation.reports[0].summary
    top1, top5 = (
        ci.proportion(round(summary[key].value * compared), compared) if key in summary else None
        for key in ("top1", "top5")
    )
    ece = summary["ece"].value if "ece" in summary else None
    recalls = ci.recalls_of(evaluation)
    sets = None
    if checked.coverage is not None and truth is not None:
        sets = _sets(asked, planned, session, question, truth)
    bounds = ci.bounds_kept(
        checked.bounds,
        compared=compared,
        top1=top1,
        top5=top5,
        ece=ece,
        sets=sets,
        recalls=recalls,
        flips=flips,
        lint=lint,
    )
    mistakes = () if evaluation is None else evaluation.reports[0].mistakes
    check = CiCheck(
        name=planned.name,
        model=answer.run.model,
        run=answer.run.key,
        labels=len(planned.labels),
        photos=len(answer.paths),
        compared=compared,
        top1=top1,
        top5=top5,
        ece=ece,
        sets=sets,
        recalls=recalls,
        mistakes=tuple((cell.truth, cell.answer, cell.photos) for cell in mistakes),
        baseline=_baseline_name(planned),
        flips=flips,
        lint=lint,
        bounds=tuple(bounds),
        notes=tuple(_notes(evaluation, answer, flips, folder)),
    )
    return check, answer


def _sets(asked: CiFile, planned: Planned, session: Session, question: Question, truth: Truth) -> SetsOfLabels:
    checked = planned.checked
    try:
        return sets_held(
            session,
            planned.labels,
            truth,
            checked.coverage or 0.0,
            names={name: list(others) for name, others in checked.names.items()},
            options=QuestionOptions(
                paths=question.paths, activation=question.activation, temperature=question.temperature
            ),
        )
    except (BadTruth, BadQuestion) as error:
        raise asked.problem((*checked.place, "coverage"), str(error)) from error


def _flips(
    planned: Planned,
    answer: Classification,
    sessions: Mapping[str | None, Session],
    question: Question,
    truth: Truth | None,
    folder: str,
) -> Flips | None:
    from zsindex.classification.results import Answer
    from zsindex.lab import ci

    before, checked = planned.before, planned.checked
    if before is None:
        return None
    rename = {} if checked.baseline is None else checked.baseline.rename

    def shown(path: str) -> str:
        return ci_files.shown(path, folder)

    judge = _judge(truth, planned.labels, checked, {})
    if before.answers is not None:
        numbers = {label: n for n, label in enumerate(answer.labels)}

        def score_of(photo: int, label: str) -> float:
            return float(answer.scores_of([photo])[0, numbers[label]]) if label in numbers else 0.0

        now = Answer(answer.paths, *answer.ranked)
        return ci.flips_against(before.answers, now, answer.labels, score_of, judge, shown, rename)
    assert before.labels is not None
    found = comparing.diff(
        Asking(sessions[before.model], _about(question, before.labels)),
        Asking(sessions[planned.model], question),
        renamed=rename,
    )
    return ci.flips_of(found, judge, _judge(truth, before.labels, checked, rename), shown)


def _about(question: Question, labels: LabelSet) -> Question:
    """The same question about other labels."""
    return Question(
        labels, paths=question.paths, activation=question.activation, temperature=question.temperature, sync=False
    )


def _judge(truth: Truth | None, labels: LabelSet, checked: CheckedSet, rename: Mapping[str, str]) -> Judge:
    """Whether an answer of a label set is right; `rename` has the names that answers are given by, by their own."""
    from zsindex.lab import truth as truths

    if truth is None:
        return lambda path, answer: None
    names = {name: list(others) for name, others in checked.names.items()}
    known = truths.stands_for(truth, labels, labels.answers, names, others=checked.others_are_none)
    number = {rename.get(label, label): n for n, label in enumerate(labels.answers)}

    def judge(path: str, answer: str) -> bool | None:
        shows = {known.number[name] for name in truth.labels.get(path, ()) if name in known.number}
        # What a label set has no word for, it can be neither right nor wrong about.
        return None if not shows else number.get(answer) in shows

    return judge


def _notes(evaluation: Evaluation | None, answer: Classification, flips: Flips | None, folder: str) -> Iterator[str]:
    """What was left out of the numbers."""

    def some(paths: Sequence[str]) -> str:
        return ", ".join(ci_files.shown(path, folder) for path in paths[:5]) + (" …" if len(paths) > 5 else "")

    if answer.unanswered:
        yield f"{len(answer.unanswered):,} photos have no vector: {some(answer.unanswered)}"
    if evaluation is not None:
        if evaluation.unknown_labels:
            names = [f"{name} ({n:,})" for name, n in list(evaluation.unknown_labels.items())[:5]]
            yield f"names in the truth that are no labels: {', '.join(names)}; map gives them one"
        for paths, what in (
            (evaluation.left_out, "show nothing that a label stands for, and were left out"),
            (evaluation.not_held, "of the truth are not among the photos"),
            (evaluation.without_truth, "have no truth"),
        ):
            if paths:
                yield f"{len(paths):,} photos {what}: {some(paths)}"
    if flips is not None and (flips.only_before or flips.only_after):
        yield f"{flips.only_before:,} photos of the baseline are gone, {flips.only_after:,} are new"


def _baseline_name(planned: Planned) -> str | None:
    if planned.before is not None:
        return planned.before.name
    return None if planned.checked.baseline is None else planned.checked.baseline.value

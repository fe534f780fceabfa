"""Comparing two ways of asking: what `Lab.diff` and a migration between models show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from zsindex.classification.options import Question
from zsindex.classification.scorers import Head
from zsindex.classification.view import View
from zsindex.lab.diff import Diff, Side, compare
from zsindex.records import LabelSet
from zsindex.services.labels import Labels
from zsindex.services.questions import run_of
from zsindex.session.session import Session


class Asking(NamedTuple):
    """One way of asking: a library with a model, and a question, of which only labels and activation matter."""

    session: Session
    question: Question


def diff(before: Asking, after: Asking, *, renamed: Mapping[str, str] | None = None) -> Diff:
    """See `zsindex.services.lab.Lab.diff`; both questions are about the same photos."""
    view = before.session.view_of(before.question.paths)
    other_view = view if after.session is before.session else after.session.view_of(after.question.paths)
    return compare(_side(before, view), _side(after, other_view), renamed=renamed)


def _side(asking: Asking, view: View) -> Side:
    session, question = asking
    labels = Labels(session).of(question)
    head = Head.of(labels, session.embed.concepts(labels, truncate=question.truncate), view.info, question.activation)
    places = None if question.paths is None else list(question.paths)
    return Side(
        name=_name(labels, question.template, str(view.info.spec)),
        view=view,
        answers=labels.answers,
        scorer=head,
        activation=head.activation,
        run=run_of(labels, head.activation, view, {"top": 1, "paths": places, "truncate": question.truncate}).key,
    )


def _name(labels: LabelSet, template: Sequence[str] | None, model: str) -> str:
    """The name of one side of a comparison, for people."""
    if labels.name is None:
        parts = [f"{len(labels)} labels"]
    else:
        parts = [labels.name if labels.version is None else f"{labels.name}@{labels.version}"]
    if template is not None:
        parts.append(template[0] if len(template) == 1 else f"{len(template)} templates")
    return ", ".join([*parts, model])

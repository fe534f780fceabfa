"""Comparing two ways of asking: what `Lab.diff` and a migration between models show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.classification.scorers import Head
from zsindex.classification.view import View
from zsindex.lab.diff import Diff, Side, compare
from zsindex.records import Activation, LabelSet
from zsindex.services.labels import Labels, WhichLabels
from zsindex.services.questions import run_of
from zsindex.session.session import Session


class Asking(NamedTuple):
    """One way of asking: a library with a model, labels, and templates in place of the set's own."""

    session: Session
    labels: WhichLabels
    template: str | Sequence[str] | None = None


def diff(
    before: Asking,
    after: Asking,
    *,
    renamed: Mapping[str, str] | None = None,
    activation: Activation | str | None = None,
    truncate: bool = False,
    paths: PathsLike | None = None,
) -> Diff:
    """See `zsindex.services.lab.Lab.diff`."""
    places = None if paths is None else absolute_all(paths)
    view = before.session.view_of(places)
    other_view = view if after.session is before.session else after.session.view_of(places)
    chosen = None if activation is None else Activation(activation)
    return compare(
        _side(before, view, chosen, truncate=truncate, places=places),
        _side(after, other_view, chosen, truncate=truncate, places=places),
        renamed=renamed,
    )


def _side(
    asking: Asking, view: View, activation: Activation | None, *, truncate: bool, places: Sequence[str] | None
) -> Side:
    labels = Labels(asking.session).resolve(asking.labels, asking.template)
    embed = partial(asking.session.embed.texts, truncate=truncate)
    head = Head.of(labels, replace(view, embed=embed).text_vectors(labels), view.info, activation)
    return Side(
        name=_name(labels, asking.template, str(view.info.spec)),
        view=view,
        answers=labels.answers,
        scorer=head,
        activation=head.activation,
        run=run_of(labels, head.activation, view, top=1, paths=places, truncate=truncate).key,
    )


def _name(labels: LabelSet, template: str | Sequence[str] | None, model: str) -> str:
    """One side of a comparison, for people."""
    if labels.name is None:
        parts = [f"{len(labels)} labels"]
    else:
        parts = [labels.name if labels.version is None else f"{labels.name}@{labels.version}"]
    if template is not None:
        given = [template] if isinstance(template, str) else list(template)
        parts.append(given[0] if len(given) == 1 else f"{len(given)} templates")
    return ", ".join([*parts, model])

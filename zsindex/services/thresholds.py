"""`library.thresholds`: minimum scores of answers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from zsindex.arguments import bounds
from zsindex.arguments.several import several
from zsindex.classification.scorers import Scorer
from zsindex.classification.view import View
from zsindex.errors import NoThreshold
from zsindex.records import NONE, LabelSet
from zsindex.services.filters import Filters
from zsindex.services.labels import Labels, saved_name
from zsindex.services.scoring import one_pass, scorer_of
from zsindex.session.session import Session
from zsindex.where import Where, WhereLike

if TYPE_CHECKING:
    from zsindex.classification.fitting import Fits
    from zsindex.lab.thresholds import Change, Curves


class Thresholds:
    """Thresholds of saved label sets. Each is stored as a rate: the share of photos at or above it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = Labels(session)

    def curves(
        self,
        label_set: str,
        *,
        multi_label: bool = False,
        truncate: bool = False,
        where: WhereLike | None = None,
    ) -> Curves:
        """How the scores of each answer of a saved label set are spread over the library, and its threshold.

        Args:
            label_set: its name.
            multi_label: scores as in `classify(multi_label=True)`.
            truncate: truncate prompts that are too long for the model, instead of refusing them.
            where: show only photos that fit, see `zsindex.where`. A threshold remains a share of the whole library.

        Raises:
            UnknownLabelSet, PromptTooLong
            BadFilter, NoFacts, UnknownLabel: of `where`.
        """
        from zsindex.lab import thresholds

        labels = self._labels.get(label_set)
        rows = self._session.storage.labels.thresholds(saved_name(labels))
        view = self._session.view_of(None, truncate=truncate, may_be_empty=True)
        fitting = self._fitting(view, where)
        scorer, answers = scorer_of(view, labels, view.text_vectors(labels), multi_label=multi_label)
        scored, back = one_pass(view, scorer), view.unique[1]
        n, labelled = len(view.unique[0]), [i for i, answer in enumerate(answers) if answer != NONE]
        rates = {label: row.rate for label, row in rows.items()}
        return thresholds.Curves(
            label_set,
            len(view) if fitting is None else int(fitting.sum()),
            multi_label,
            tuple(
                thresholds.curve(answers[i], scores, rates.get(answers[i]), fitting)
                for i, scores in thresholds.columns(scored, back, n, labelled)
            ),
            unused=tuple(label for label in rates if label not in answers),
        )

    def choose(
        self,
        label_set: str,
        label: str,
        *,
        score: float | None = None,
        count: int | None = None,
        rate: float | None = None,
        multi_label: bool = False,
        truncate: bool = False,
        dry_run: bool = False,
        where: WhereLike | None = None,
    ) -> Change:
        """Set the minimum score of an answer. It is stored as a rate: the share of photos at or above it.

        Args:
            label_set: the name of a saved label set.
            label: one of its labels; or a group, if its labels form one answer.
            score, count, rate: exactly one of: the minimum score; the number of photos, of the library as it is now,
                that reach it; their share.
            multi_label: scores and answers as in `classify(multi_label=True)`.
            truncate: truncate prompts that are too long for the model, instead of refusing them.
            dry_run: only report what it would change.
            where: report only about photos that fit, see `zsindex.where`. What is chosen concerns the whole library.

        Returns:
            Which photos are added and removed, compared with the classification under the thresholds stored so far,
            including this label's.

        Raises:
            NoThreshold: the label set has no such answer; or there are no photos to choose by score.
            UnknownLabelSet, PromptTooLong, LibraryReadOnly
            BadFilter, NoFacts, UnknownLabel: of `where`.
            ValueError: not exactly one of score, count and rate; or it is out of range.
        """
        from zsindex.lab import thresholds
        from zsindex.lab.multi_label import DEFAULT_CUT

        _check_choice(score=score, count=count, rate=rate)
        labels = self._labels.get(label_set)
        name = saved_name(labels)
        view = self._session.view_of(None, truncate=truncate, may_be_empty=True)
        fitting = self._fitting(view, where)
        scorer, answers = scorer_of(view, labels, view.text_vectors(labels), multi_label=multi_label)
        if label not in answers or label == NONE:
            known = ", ".join(answer for answer in answers if answer != NONE)
            raise NoThreshold(name, f"{label!r} is not one of its answers, which are {known}")
        if score is not None and not len(view):
            raise NoThreshold(
                name, "it is stored as a share of the library's photos, and there are none yet: zsindex sync"
            )
        number, scored = answers.index(label), one_pass(view, scorer)
        rows, back = view.unique
        [(_, scores)] = thresholds.columns(scored, back, len(rows), [number])
        rate = thresholds.rate_of(scores, score=score, count=count, rate=rate)
        cut = thresholds.cut_at(scores, rate)
        default = DEFAULT_CUT if multi_label else 0.0
        kept = self._session.storage.labels.thresholds(name)
        rates = [kept[answer].rate if answer in kept else None for answer in answers]
        cuts = thresholds.cuts_at(scored, back, len(rows), rates, default)
        new_cuts = cuts.copy()
        new_cuts[number] = cut
        has_none = NONE in answers
        per_image = np.empty((2, len(rows)), dtype=bool)
        for part, scores_of_block in scored():
            for kind, these in enumerate((cuts, new_cuts)):
                shown = thresholds.given(scores_of_block, these, has_none=has_none)
                per_image[kind, part] = thresholds.is_answered(shown, number, every=multi_label)
        before, after = per_image[:, back]
        at_or_above = thresholds.n_having(scores, cut)
        if fitting is not None:
            before, after = before & fitting, after & fitting
        if not dry_run:
            how = "score" if score is not None else "count" if count is not None else "rate"
            chosen = {
                "by": how,
                "value": {"score": score, "count": count, "rate": rate}[how],
                "score": thresholds.shown_cut(cut),
                "photos": at_or_above,
                "of": len(view),
                "model": view.info.fingerprint,
                "multi_label": multi_label,
            }
            self._session.storage.labels.save_thresholds(name, [(label, rate, chosen)])
        return thresholds.Change(
            name,
            label,
            rate,
            thresholds.shown_cut(cut),
            at_or_above if fitting is None else thresholds.n_having(scores[fitting], cut),
            int(before.sum()),
            int(after.sum()),
            tuple(view.paths[i] for i in np.flatnonzero(after & ~before).tolist()),
            tuple(view.paths[i] for i in np.flatnonzero(before & ~after).tolist()),
            kept=not dry_run,
        )

    def _fitting(self, view: View, where: WhereLike | None) -> Fits | None:
        """Which photos of a view fit: bool (n,); None for all."""
        asked = Where.of(where)
        return None if asked is None else Filters(self._session).fitting(view, asked)

    def remove(self, label_set: str, labels: str | Sequence[str] | None = None) -> int:
        """Remove thresholds of a label set.

        Args:
            label_set: its name.
            labels: whose. Default: all.

        Returns:
            How many there were.

        Raises:
            UnknownLabelSet, LibraryReadOnly
            NoThreshold: one of `labels` has none; then none are removed.
        """
        name = saved_name(self._labels.get(label_set))
        kept = self._session.storage.labels.thresholds(name)
        labels = None if labels is None else several(labels)
        bare = [label for label in labels or () if label not in kept]
        if bare:
            raise NoThreshold(name, f"there is no threshold for {', '.join(bare)}")
        return self._session.storage.labels.remove_thresholds(name, labels)

    def with_cuts(
        self,
        scorer: Scorer,
        answers: tuple[str, ...],
        view: View,
        rates: Mapping[str, float],
        *,
        multi_label: bool,
    ) -> tuple[Scorer, tuple[str, ...]]:
        """A scorer in which answers below their thresholds score 0, for `zsindex.classification.scorers.rank_given`;
        and its answers.

        Args:
            scorer, answers: before.
            view: all photos of the library.
            rates: of the answers that have a threshold.
            multi_label: answers without a threshold have to reach the default; otherwise they are given whatever their
                score.
        """
        from zsindex.lab import thresholds
        from zsindex.lab.multi_label import DEFAULT_CUT

        has_none = NONE in answers
        rows, back = view.unique
        rated = [rates.get(answer) for answer in answers]
        cuts = thresholds.cuts_at(
            one_pass(view, scorer), back, len(rows), rated, default=DEFAULT_CUT if multi_label else 0.0
        )
        return thresholds.with_cuts(scorer, cuts, has_none=has_none), answers if has_none else (*answers, NONE)

    def rates(self, labels: LabelSet, answers: Sequence[str]) -> dict[str, float]:
        """Thresholds of a label set's answers.

        Raises:
            NoThreshold: the label set is not saved, or has none.
        """
        if labels.name is None:
            raise NoThreshold(None, "only a saved label set has thresholds: zsindex labels save NAME")
        rates = {
            label: row.rate
            for label, row in self._session.storage.labels.thresholds(labels.name).items()
            if label in answers
        }
        if not rates:
            raise NoThreshold(
                labels.name,
                f"none of its answers has a threshold yet: zsindex thresholds set {shlex.quote(labels.name)} LABEL",
            )
        return rates


def _check_choice(*, score: float | None, count: int | None, rate: float | None) -> None:
    if sum(value is not None for value in (score, count, rate)) != 1:
        raise ValueError("give exactly one of score, count and rate")
    if score is not None:
        bounds.real("a score", score, least=0, most=1)
    if rate is not None:
        bounds.real("a rate", rate, least=0, most=1)
    if count is not None:
        bounds.whole("a number of photos", count, least=0)

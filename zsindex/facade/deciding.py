"""When to give an answer and when not: "none of these", thresholds, several labels at once."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zsindex.arguments import bounds
from zsindex.arguments.several import several
from zsindex.errors import BadUnknown, NoThreshold
from zsindex.facade.core import Core, WhichLabels, absolute
from zsindex.models.encoder import may_keep
from zsindex.records import NONE, Activation, FloatArray, LabelSet

if TYPE_CHECKING:
    from zsindex.classification.scorers import Scorer
    from zsindex.classification.view import View
    from zsindex.lab.thresholds import Change, Curves, Pass
    from zsindex.lab.unknown import Cut, Knowing, Knownness, Rule, UnknownReport
    from zsindex.photos.sources import PathsLike

# Rows per pass of a scorer: beside 1,000 labels and 1,000 negatives a block of logits is 8 MB.
BLOCK = 1024


class Deciding(Core):
    """The part of `Library` that decides which answers are given."""

    # --- none of these ------------------------------------------------------------------------------------------------

    def knownness(
        self,
        labels: WhichLabels,
        method: str = "neglabel",
        *,
        template: str | Sequence[str] | None = None,
        paths: PathsLike | None = None,
        temperature: float | str | None = None,
    ) -> Knownness:
        """How much each photo looks like one of the labels, rather than like none of them.

        docs/methods.md has the formulas: ``softmax`` (Hendrycks and Gimpel 2017), ``mcm`` (Ming et al. 2022),
        ``neglabel`` (Jiang et al. 2024), ``zscore`` and ``margin``.

        Args:
            labels: a label set, or the name of a saved one.
            method: one of these; with a cut as in `classify(unknown=...)` the result has that cut.
            template: in place of the label set's own.
            paths: files and folders to restrict to. What is compared with the library is compared with all of it.
            temperature: as for `classify`.

        Raises:
            BadUnknown: there is no such method, or it says nothing about these labels.
            NoLabels, UnknownLabelSet, BadTemplate, BadLabelFile, PromptTooLong
        """
        from zsindex.lab.unknown import NATURAL_CUT, Knownness, Rule

        chosen, rule = self._labels(labels, template), Rule.parse(method, needs_cut=False)
        whole = self._view_of(None)
        view = whole if paths is None else self._view_of(paths)
        if temperature is not None:
            whole = self._tempered(whole, self._temperature(temperature))
        knowing = self._knowing(whole, chosen, whole.text_vectors(chosen), rule)
        draws = rule.rate is not None or rule.score is not None or rule.method in NATURAL_CUT
        cut = self._cut(whole, knowing, rule) if draws else None
        return Knownness(view.paths, _over_photos(view, knowing), None if cut is None else cut.at)

    def evaluate_unknown(
        self,
        labels: WhichLabels,
        truth: Mapping[str, str | Sequence[str]],
        *,
        methods: str | Sequence[str] = ("softmax", "mcm", "neglabel", "zscore", "margin"),
        template: str | Sequence[str] | None = None,
    ) -> UnknownReport:
        """How well methods find the photos that show none of the labels, where the truth is known.

        Args:
            labels: a label set, or the name of a saved one.
            truth: paths with their true label, or labels. A photo is known if one of them is a label or an answer of
                the label set, and unknown otherwise.
            methods: as for `classify(unknown=...)`; where one draws a line, in the library as there, the report says
                what it does.
            template: in place of the label set's own.

        Returns:
            AUROC and the false-positive rate at 95 % true positives, see `zsindex.lab.metrics`; known photos are the
            positives.

        Raises:
            BadUnknown: as for `knownness`; or the truth has no known photo, or no unknown one.
            NoLabels, UnknownLabelSet, BadTemplate, BadLabelFile, PromptTooLong
        """
        from zsindex.lab.metrics import auroc, fpr_at_tpr
        from zsindex.lab.unknown import Separation, UnknownReport

        methods = several(methods)
        chosen = self._labels(labels, template)
        names = {*chosen.labels, *(answer for answer in chosen.answers if answer != NONE)}
        first = self.knownness(chosen, methods[0]) if methods else None
        place = {path: i for i, path in enumerate([] if first is None else first.paths)}
        given = {absolute(path): several(said) for path, said in truth.items()}
        photos = [place[path] for path in given if path in place]
        known = np.array([not names.isdisjoint(said) for path, said in given.items() if path in place], dtype=bool)
        if known.all() or not known.any():
            shown = "every photo shows" if known.all() and len(known) else "none of the photos shows"
            raise BadUnknown(", ".join(methods), f"by the truth {shown} one of the labels; telling takes both kinds")
        results = []
        for number, method in enumerate(methods):
            found = first if first is not None and not number else self.knownness(chosen, method)
            values = found.values[photos]
            below = None if found.cut is None else values < np.float64(found.cut)
            results.append(
                Separation(
                    method,
                    auroc(values, known),
                    fpr_at_tpr(values, known),
                    found.cut,
                    None if below is None else float(below[~known].mean()),
                    None if below is None else float(below[known].mean()),
                )
            )
        not_held = tuple(path for path in given if path not in place)
        return UnknownReport(int(known.sum()), int((~known).sum()), not_held, tuple(results))

    def _with_unknown(
        self, scorer: Scorer, answers: tuple[str, ...], view: View, labels: LabelSet, texts: FloatArray, rule: Rule
    ) -> tuple[Scorer, tuple[str, ...]]:
        """A scorer that also answers `NONE`, and its answers.

        Args:
            scorer, answers: before.
            view: all photos of the library.
            texts: of all concepts of `labels`.
        """
        from zsindex.lab.unknown import with_none

        knowing = self._knowing(view, labels, texts, rule)
        has_none = NONE in answers
        scorer = with_none(scorer, knowing, self._cut(view, knowing, rule), has_none=has_none)
        return scorer, answers if has_none else (*answers, NONE)

    def _cut(self, view: View, knowing: Knowing, rule: Rule) -> Cut:
        from zsindex.lab.unknown import Cut

        return Cut.of(_over_photos(view, knowing), rule)

    def _knowing(self, view: View, labels: LabelSet, texts: FloatArray, rule: Rule) -> Knowing:
        from zsindex.lab import unknown
        from zsindex.lab.unknown import Method

        n = len(labels)
        if rule.method is Method.NEGLABEL:
            negatives = self._far_words(view, labels, texts[:n], rule.vocabulary)
            return unknown.labels_share(texts, n, negatives, scale=view.info.logit_scale)
        if rule.method is Method.ZSCORE:
            return unknown.above_usual(texts, n, unknown.Usual.of(view.blocks(BLOCK), texts))
        if len(set(labels.answer_of)) < 2:
            raise BadUnknown(
                str(rule.method), "it compares answers, and there is only one. Use neglabel, or zscore:RATE"
            )
        if rule.method is Method.MARGIN:
            usual = unknown.Usual.of(view.blocks(BLOCK), texts)
            return unknown.above_next(texts, n, usual, labels.answer_of)
        scale = 1.0 if rule.method is Method.MCM else view.info.logit_scale
        return unknown.greatest_probability(texts, n, scale=scale)

    def _far_words(self, view: View, labels: LabelSet, texts: FloatArray, vocabulary: str) -> FloatArray:
        """Vectors of the words that are farthest from the labels, which are remembered per model."""
        from zsindex.classification import prompts
        from zsindex.classification.templates import DEFAULT_TEMPLATE
        from zsindex.lab import unknown
        from zsindex.lab.vocabulary import words

        own = {label.lower() for label in labels.labels}
        candidates = [word for word in words(vocabulary) if word.lower() not in own]
        template = labels.templates[0] if labels.templates else DEFAULT_TEMPLATE
        settings = [prompts.digest(labels), template, candidates, unknown.SHARE, unknown.MOST, unknown.PERCENTILE]
        key = hashlib.sha256(json.dumps([*settings, unknown.GROUP]).encode()).hexdigest()
        far = self._lab.derived(view.model_id, "far words", key)
        if far is None:
            vectors = view.embed([prompts.fill(template, word) for word in candidates])
            chosen = unknown.far_words(texts, vectors, n=unknown.n_negatives(len(candidates)))
            far = [candidates[i] for i in chosen.tolist()]
            if not self.read_only and may_keep.get()(sum(map(len, far))):
                self._store_under_model(lambda model_id: self._lab.save_derived(model_id, "far words", key, far))
        return view.embed([prompts.fill(template, word) for word in far])

    # --- thresholds ---------------------------------------------------------------------------------------------------

    def thresholds(self, label_set: str, *, multi_label: bool = False, truncate: bool = False) -> Curves:
        """How the scores of each answer of a saved label set fall over the library, and its threshold.

        Args:
            label_set: its name.
            multi_label: scores as in `classify(multi_label=True)`.
            truncate: cut prompts that the model cannot read in full, rather than refuse them.

        Raises:
            UnknownLabelSet, PromptTooLong
        """
        from zsindex.lab import thresholds

        labels = self.label_set(label_set)
        rows = self._lab.thresholds(str(labels.name))
        view = self._view_of(None, truncate=truncate, may_be_empty=True)
        scorer, answers = self._scorer(view, labels, multi_label=multi_label)
        scored, back = _pass(view, scorer), view.unique[1]
        n, labelled = len(view.unique[0]), [i for i, answer in enumerate(answers) if answer != NONE]
        rates = {label: row.rate for label, row in rows.items()}
        return thresholds.Curves(
            label_set,
            len(view),
            multi_label,
            tuple(
                thresholds.curve(answers[i], scores, rates.get(answers[i]))
                for i, scores in thresholds.columns(scored, back, n, labelled)
            ),
            unused=tuple(label for label in rates if label not in answers),
        )

    def choose_threshold(
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
    ) -> Change:
        """Choose from which score on an answer is given. It is kept as a rate: the share of photos at or above it.

        Args:
            label_set: the name of a saved one.
            label: one of its labels; or a group, where its labels are one answer.
            score, count, rate: exactly one of: the least score; how many photos of the library as it is now shall have
                that score; their share.
            multi_label: scores, and answers, as in `classify(multi_label=True)`.
            truncate: cut prompts that the model cannot read in full, rather than refuse them.
            dry_run: only say what it would change.

        Returns:
            Which photos come and go. They are compared with the classification as it is under the thresholds kept
            until now, this label's included.

        Raises:
            NoThreshold: the label set has no such answer; or there are no photos to choose by score.
            UnknownLabelSet, PromptTooLong, LibraryReadOnly
            ValueError: not exactly one of score, count and rate; or it is out of range.
        """
        from zsindex.lab import thresholds
        from zsindex.lab.multi_label import DEFAULT_CUT

        _check_choice(score=score, count=count, rate=rate)
        labels = self.label_set(label_set)
        name = str(labels.name)
        view = self._view_of(None, truncate=truncate, may_be_empty=True)
        scorer, answers = self._scorer(view, labels, multi_label=multi_label)
        if label not in answers or label == NONE:
            known = ", ".join(answer for answer in answers if answer != NONE)
            raise NoThreshold(name, f"{label!r} is not one of its answers, which are {known}")
        if score is not None and not len(view):
            raise NoThreshold(
                name, "it is kept as a share of the library's photos, and there are none yet: zsindex sync"
            )
        number, scored = answers.index(label), _pass(view, scorer)
        rows, back = view.unique
        [(_, scores)] = thresholds.columns(scored, back, len(rows), [number])
        rate = thresholds.rate_of(scores, score=score, count=count, rate=rate)
        cut = thresholds.cut_at(scores, rate)
        default = DEFAULT_CUT if multi_label else 0.0
        kept = self._lab.thresholds(name)
        rates = [kept[answer].rate if answer in kept else None for answer in answers]
        cuts = thresholds.cuts_at(scored, back, len(rows), rates, default)
        new_cuts = cuts.copy()
        new_cuts[number] = cut
        has_none = NONE in answers
        per_image = np.empty((2, len(rows)), dtype=bool)
        for where, scores_of_block in scored():
            for kind, these in enumerate((cuts, new_cuts)):
                shown = thresholds.given(scores_of_block, these, has_none=has_none)
                per_image[kind, where] = thresholds.is_answered(shown, number, every=multi_label)
        before, after = per_image[:, back]
        at_or_above = thresholds.n_having(scores, cut)
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
            self._lab.save_thresholds(name, [(label, rate, chosen)])
        return thresholds.Change(
            name,
            label,
            rate,
            thresholds.shown_cut(cut),
            at_or_above,
            int(before.sum()),
            int(after.sum()),
            tuple(view.paths[i] for i in np.flatnonzero(after & ~before).tolist()),
            tuple(view.paths[i] for i in np.flatnonzero(before & ~after).tolist()),
            kept=not dry_run,
        )

    def remove_thresholds(self, label_set: str, labels: str | Sequence[str] | None = None) -> int:
        """Forget thresholds of a label set.

        Args:
            label_set: its name.
            labels: whose. Default: all.

        Returns:
            How many there were.

        Raises:
            UnknownLabelSet, LibraryReadOnly
            NoThreshold: one of `labels` has none; then all stay.
        """
        name = str(self.label_set(label_set).name)
        kept = self._lab.thresholds(name)
        labels = None if labels is None else several(labels)
        bare = [label for label in labels or () if label not in kept]
        if bare:
            raise NoThreshold(name, f"there is no threshold of {', '.join(bare)}")
        return self._lab.remove_thresholds(name, labels)

    def _with_thresholds(
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
            multi_label: the others have to reach the default; otherwise they are given whatever their score.
        """
        from zsindex.lab import thresholds
        from zsindex.lab.multi_label import DEFAULT_CUT

        has_none = NONE in answers
        rows, back = view.unique
        rated = [rates.get(answer) for answer in answers]
        cuts = thresholds.cuts_at(
            _pass(view, scorer), back, len(rows), rated, default=DEFAULT_CUT if multi_label else 0.0
        )
        return thresholds.with_cuts(scorer, cuts, has_none=has_none), answers if has_none else (*answers, NONE)

    def _rates(self, labels: LabelSet, answers: Sequence[str]) -> dict[str, float]:
        """Thresholds of a label set's answers.

        Raises:
            NoThreshold: the label set is not saved, or has none.
        """
        if labels.name is None:
            raise NoThreshold(None, "only a saved label set has thresholds: zsindex labels save NAME")
        rates = {label: row.rate for label, row in self._lab.thresholds(labels.name).items() if label in answers}
        if not rates:
            raise NoThreshold(
                labels.name,
                f"none of its answers has a threshold yet: zsindex thresholds set {shlex.quote(labels.name)} LABEL",
            )
        return rates

    def _scorer(self, view: View, labels: LabelSet, *, multi_label: bool) -> tuple[Scorer, tuple[str, ...]]:
        """The model's own scores of a label set, as the model was trained; and its answers."""
        from zsindex.classification import scorers

        texts = view.text_vectors(labels)
        if multi_label:
            return self._multi_label(view, labels, texts, view.info.activation)
        head = scorers.Head.zero_shot(
            texts,
            logit_scale=view.info.logit_scale,
            logit_bias=view.info.logit_bias,
            activation=view.info.activation,
            answer_of=labels.answer_of,
        )
        return head, labels.answers

    # --- several labels -----------------------------------------------------------------------------------------------

    def _multi_label(
        self, view: View, labels: LabelSet, texts: FloatArray, activation: Activation
    ) -> tuple[Scorer, tuple[str, ...]]:
        """Scores of every label by itself; and the labels, which are the answers."""
        from zsindex.lab.multi_label import multi_label

        scorer = multi_label(
            texts,
            labels,
            logit_scale=view.info.logit_scale,
            logit_bias=view.info.logit_bias,
            activation=activation,
        )
        return scorer, labels.labels


def _over_photos(view: View, knowing: Knowing) -> FloatArray:
    """Knownness of all photos: float32 (n,)."""
    rows, back = view.unique
    values = np.empty(len(rows), dtype=np.float32)
    for where, block in view.blocks(BLOCK):
        values[where] = knowing(block)
    return values[back]


def _pass(view: View, scorer: Scorer) -> Pass:
    return lambda: ((where, scorer(block)) for where, block in view.blocks(BLOCK))


def _check_choice(*, score: float | None, count: int | None, rate: float | None) -> None:
    if sum(value is not None for value in (score, count, rate)) != 1:
        raise ValueError("give exactly one of score, count and rate")
    if score is not None:
        bounds.real("a score", score, least=0, most=1)
    if rate is not None:
        bounds.real("a rate", rate, least=0, most=1)
    if count is not None:
        bounds.whole("a number of photos", count, least=0)


def describe(rule: Rule) -> dict[str, Any]:
    """What a rule asks for, in full: equal descriptions mean the same rule, whatever becomes of a file of words."""
    from zsindex.lab.unknown import Method
    from zsindex.lab.vocabulary import words

    parts: dict[str, Any] = {"method": str(rule.method), "rate": rule.rate, "score": rule.score}
    if rule.method is Method.NEGLABEL:
        digest = hashlib.sha256("\n".join(words(rule.vocabulary)).encode()).hexdigest()
        name = rule.vocabulary if rule.vocabulary in ("basic", "wordnet") else os.path.basename(rule.vocabulary)
        parts.update(vocabulary=name, words_sha256=digest)
    return parts

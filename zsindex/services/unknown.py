"""`library.unknown`: which photos show none of the labels."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zsindex.arguments.paths import PathsLike
from zsindex.arguments.several import several
from zsindex.classification import prompts
from zsindex.classification.options import WhichLabels
from zsindex.classification.rules import NATURAL_CUT, WITH_WORDS, Method, UnknownRule
from zsindex.classification.scorers import Scorer
from zsindex.classification.templates import DEFAULT_TEMPLATE
from zsindex.classification.view import View
from zsindex.config import absolute
from zsindex.errors import BadQuestion, BadUnknown
from zsindex.models.encoder import may_keep
from zsindex.records import NONE, FloatArray, IdArray, LabelSet
from zsindex.services.labels import Labels
from zsindex.services.scoring import BLOCK, over_photos
from zsindex.services.temperature import Temperature
from zsindex.session.session import Session

if TYPE_CHECKING:
    from zsindex.lab.unknown import Knownness, KnownnessOf, UnknownReport

NOBODY: IdArray = np.empty(0, dtype=np.int64)


class Unknown:
    """Tells photos that show one of the labels from those that show none."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = Labels(session)
        self._temperature = Temperature(session)

    def knownness(
        self,
        labels: WhichLabels,
        method: str = "zscore",
        *,
        template: str | Sequence[str] | None = None,
        paths: PathsLike | None = None,
        temperature: float | str | None = None,
        with_corrections: bool = False,
    ) -> Knownness:
        """How much each photo looks like one of the labels, rather than like none of them.

        docs/methods.md has the formulas: ``softmax`` (Hendrycks and Gimpel 2017), ``mcm`` (Ming et al. 2022),
        ``neglabel`` (Jiang et al. 2024), ``negrefine`` (Ansari et al. 2025), ``zscore`` and ``margin``.

        Args:
            labels: a label set, or the name of a saved one.
            method: one of these; with a cut, as in `classify(unknown=...)`, the result has that cut. The default orders
                photos best (docs/lab.md); neglabel and negrefine have cuts of their own.
            template: used instead of the label set's own.
            paths: files and folders to restrict to. Comparisons are with the whole library.
            temperature: as for `classify`.
            with_corrections: photos like those that were corrected to `zsindex.records.NONE` are less known, as in
                `classify(with_corrections=...)`. Only for saved label sets.

        Raises:
            BadUnknown: there is no such method, or it does not apply to these labels.
            BadQuestion: `with_corrections` of a label set that is not saved.
            NoLabels, UnknownLabelSet, BadTemplate, BadLabelFile, PromptTooLong
        """
        from zsindex.lab.unknown import Cut, Knownness

        chosen, rule = self._labels.resolve(labels, template), UnknownRule.parse(method, needs_cut=False)
        whole = self._session.view_of(None)
        view = whole if paths is None else self._session.view_of(paths)
        if temperature is not None:
            whole = whole.tempered(self._temperature.resolve(temperature))
        strangers = self._called_none(whole, chosen) if with_corrections else NOBODY
        knownness_of, values = self._over_library(whole, chosen, whole.text_vectors(chosen), rule, strangers)
        draws = rule.rate is not None or rule.score is not None or rule.method in NATURAL_CUT
        cut = Cut.of(values, rule).at if draws else None
        return Knownness(view.paths, values if paths is None else over_photos(view, knownness_of), cut)

    def evaluate(
        self,
        labels: WhichLabels,
        truth: Mapping[str, str | Sequence[str]],
        *,
        methods: str | Sequence[str] = ("softmax", "mcm", "neglabel", "negrefine", "zscore", "margin"),
        template: str | Sequence[str] | None = None,
    ) -> UnknownReport:
        """Measure how well methods find the photos that show none of the labels, given the truth.

        Args:
            labels: a label set, or the name of a saved one.
            truth: paths with their true label or labels. A photo is known if one of these is a label or an answer of
                the label set, and unknown otherwise.
            methods: as for `classify(unknown=...)`; for a method with a cut, which is found in the whole library, the
                report says what the cut does.
            template: used instead of the label set's own.

        Returns:
            AUROC and the false-positive rate at 95 % true positives, see `zsindex.lab.metrics`; known photos are the
            positives.

        Raises:
            BadUnknown: as for `knownness`; or the truth has no known photos, or no unknown ones.
            NoLabels, UnknownLabelSet, BadTemplate, BadLabelFile, PromptTooLong
        """
        from zsindex.lab.metrics import auroc, fpr_at_tpr
        from zsindex.lab.unknown import Separation, UnknownReport

        methods = several(methods)
        chosen = self._labels.resolve(labels, template)
        names = {*chosen.labels, *(answer for answer in chosen.answers if answer != NONE)}
        first = self.knownness(chosen, methods[0]) if methods else None
        place = {path: i for i, path in enumerate([] if first is None else first.paths)}
        given = {absolute(path): several(said) for path, said in truth.items()}
        photos = [place[path] for path in given if path in place]
        known = np.array([not names.isdisjoint(said) for path, said in given.items() if path in place], dtype=bool)
        if known.all() or not known.any():
            shown = "every photo shows" if known.all() and len(known) else "none of the photos shows"
            raise BadUnknown(", ".join(methods), f"by the truth {shown} one of the labels; both kinds are needed")
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

    def with_none(
        self,
        scorer: Scorer,
        answers: tuple[str, ...],
        view: View,
        labels: LabelSet,
        texts: FloatArray,
        rule: UnknownRule,
        strangers: IdArray = NOBODY,
    ) -> tuple[Scorer, tuple[str, ...]]:
        """A scorer that also answers `NONE`, and its answers.

        Args:
            scorer, answers: before.
            view: all photos of the library.
            texts: of all concepts of `labels`.
            strangers: int64, images that people called none of these.
        """
        from zsindex.lab import unknown

        knownness_of, values = self._over_library(view, labels, texts, rule, strangers)
        has_none = NONE in answers
        scorer = unknown.with_none(scorer, knownness_of, unknown.Cut.of(values, rule), has_none=has_none)
        return scorer, answers if has_none else (*answers, NONE)

    def _over_library(
        self, view: View, labels: LabelSet, texts: FloatArray, rule: UnknownRule, strangers: IdArray
    ) -> tuple[KnownnessOf, FloatArray]:
        """Knownness, and that of all photos of the library."""
        knownness_of = self._knownness_of(view, labels, texts, rule)
        values = over_photos(view, knownness_of)
        vectors = view.vectors
        rows = vectors.rows_of(strangers)
        rows = rows[rows >= 0]
        if not len(rows):
            return knownness_of, values
        from zsindex.lab import few_shot, unknown

        alike = unknown.Strangers.of(vectors.take(rows), few_shot.background(vectors).mean)
        likeness = over_photos(view, alike.likeness)
        trust = alike.trust(likeness[~np.isin(view.image_ids, strangers)])
        weight = unknown.WEIGHT * trust * float(values.std())
        return unknown.less_known(knownness_of, alike, weight), values - np.float32(weight) * likeness

    def _called_none(self, view: View, labels: LabelSet) -> IdArray:
        if labels.name is None:
            raise BadQuestion(["with_corrections"], "only a saved label set has corrections")
        from zsindex.services.corrections import Corrections

        return Corrections(self._session).shows_none(view, labels)

    def _knownness_of(self, view: View, labels: LabelSet, texts: FloatArray, rule: UnknownRule) -> KnownnessOf:
        from zsindex.lab import unknown

        n = len(labels)
        if rule.method in WITH_WORDS:
            refined = rule.method is Method.NEGREFINE
            negatives = self._far_words(view, labels, texts[:n], rule.vocabulary, refined=refined)
            score = unknown.multi_matching if refined else unknown.labels_share
            return score(texts, n, negatives, scale=view.info.logit_scale)
        if rule.method is Method.ZSCORE:
            return unknown.above_usual(texts, n, unknown.Usual.of(view.blocks(BLOCK), texts))
        if len(set(labels.answer_of)) < 2:
            raise BadUnknown(
                str(rule.method), "it compares answers, and there is only one; use neglabel, negrefine or zscore:RATE"
            )
        if rule.method is Method.MARGIN:
            usual = unknown.Usual.of(view.blocks(BLOCK), texts)
            return unknown.above_next(texts, n, usual, labels.answer_of)
        scale = 1.0 if rule.method is Method.MCM else view.info.logit_scale
        return unknown.greatest_probability(texts, n, scale=scale)

    def _far_words(
        self, view: View, labels: LabelSet, texts: FloatArray, vocabulary: str, *, refined: bool
    ) -> FloatArray:
        """Vectors of the words farthest from the labels; the words are stored per model.

        Args:
            refined: leave out what names a label, a kind of it, or an individual.
        """
        from zsindex.lab import unknown
        from zsindex.lab.vocabulary import has_wordnet, words

        own = {label.lower() for label in labels.labels}
        candidates = [word for word in words(vocabulary) if word.lower() not in own]
        template = labels.templates[0] if labels.templates else DEFAULT_TEMPLATE
        settings = [prompts.digest(labels), template, candidates, unknown.SHARE, unknown.MOST, unknown.PERCENTILE]
        settings.append(unknown.GROUP)
        if refined:
            settings += ["refined", unknown.SAME, has_wordnet()]
        key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
        far = self._session.storage.reads.derived(view.model_id, "far words", key)
        if far is None:
            vectors = view.embed([prompts.fill(template, word) for word in candidates])
            chosen = unknown.far_words(texts, vectors, n=unknown.n_negatives(len(candidates)))
            far = [candidates[i] for i in chosen.tolist()]
            if refined:
                far = _refined(labels.labels, far, vectors[chosen] @ texts.T)
                if not far:
                    raise BadUnknown(
                        f"negrefine@{vocabulary}", "each of its words names one of the labels or a kind of it"
                    )
            if not self._session.read_only and may_keep.get()(sum(map(len, far))):
                self._session.model.store(
                    lambda model_id: self._session.storage.labels.save_derived(model_id, "far words", key, far)
                )
        return view.embed([prompts.fill(template, word) for word in far])


def _refined(labels: Sequence[str], words: list[str], cosines: FloatArray) -> list[str]:
    from zsindex.lab.unknown import refined_words
    from zsindex.lab.vocabulary import has_wordnet, names_or_kinds

    related = names_or_kinds(labels, words) if has_wordnet() else None
    return [words[number] for number in refined_words(labels, words, related, cosines)]


def describe(rule: UnknownRule) -> dict[str, Any]:
    """A rule in full: equal descriptions mean the same rule, even if a vocabulary file changes."""
    from zsindex.lab.vocabulary import has_wordnet, words

    parts: dict[str, Any] = {"method": str(rule.method), "rate": rule.rate, "score": rule.score}
    if rule.method in WITH_WORDS:
        digest = hashlib.sha256("\n".join(words(rule.vocabulary)).encode()).hexdigest()
        name = rule.vocabulary if rule.vocabulary in ("basic", "wordnet") else os.path.basename(rule.vocabulary)
        parts.update(vocabulary=name, words_sha256=digest)
    if rule.method is Method.NEGREFINE:
        parts["refined_by"] = "wordnet" if has_wordnet() else "cosine"
    return parts

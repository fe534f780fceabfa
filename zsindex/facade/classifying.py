"""`Library.classify`: one question, and every way to ask it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import zsindex
from zsindex.arguments import bounds
from zsindex.classification import prompts, scorers
from zsindex.classification import scores as classify_module
from zsindex.classification.prompts import LabelsLike
from zsindex.classification.results import Classification, Question, Run
from zsindex.classification.view import View
from zsindex.errors import ZsindexWarning
from zsindex.facade.core import absolute_all
from zsindex.facade.deciding import Deciding, describe
from zsindex.facade.giving import Giving
from zsindex.facade.graph import Graphs
from zsindex.facade.learning import Learning
from zsindex.facade.tempering import Tempering
from zsindex.records import Activation, FloatArray, IdArray, LabelSet, Progress

if TYPE_CHECKING:
    from zsindex.photos.sources import PathsLike

DEFAULT_TOP = 3


class Classifying(Deciding, Giving, Graphs, Learning, Tempering):
    """The part of `Library` that scores photos against labels. The parts it inherits are the options of that."""

    def classify(
        self,
        labels: LabelsLike | None = None,
        *,
        label_set: str | None = None,
        template: str | Sequence[str] | None = None,
        top: int | None = None,
        paths: PathsLike | None = None,
        activation: Activation | str | None = None,
        unknown: str | None = None,
        thresholds: bool = False,
        multi_label: bool = False,
        with_corrections: str | None = None,
        temperature: float | str | None = None,
        smooth: bool = False,
        truncate: bool = False,
        sync: bool = True,
        record: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        known: Callable[[Run], Classification | None] | None = None,
    ) -> Classification:
        """Score photos against labels.

        Args:
            labels: names; or a mapping from names to written-out prompts; or a `LabelSet`.
            label_set: the name of a saved one, instead.
            template: one or several, each with ``{}`` where the label goes; several are averaged as vectors.
            top: labels per photo in the result, at most. Default: 3; with `multi_label` all that fit.
            paths: files and folders to restrict to; what is not in the library is synced first. Default: all.
            activation: ``softmax`` or ``sigmoid``. Default: as the model was trained.
            unknown: answer photos that show none of the labels with `zsindex.records.NONE`. ``METHOD:RATE`` calls a
                share of the library so, ``METHOD:score=X`` what is less known than X; ``neglabel`` needs neither. The
                methods are those of `knownness`, and ``neglabel@VOCABULARY`` takes its words from ``basic``,
                ``wordnet`` or a file.
            thresholds: give only answers at or above their thresholds, see `choose_threshold`; a photo that is left
                without any is answered with `zsindex.records.NONE`. Labels without a threshold are given as before.
            multi_label: give every label that fits, not only the best. Under sigmoid each has its own probability;
                under softmax each group of the label set is a softmax of its own, with the negatives in it, and so are
                the labels in no group. A label fits from 0.5 on, or with `thresholds` from its threshold on.
            with_corrections: also learn from the corrections of the saved label set: ``gda``, Gaussian discriminant
                analysis (Wang et al. 2024), or ``tip-adapter`` (Zhang et al. 2022). Corrected photos are answered with
                what was said. What corrections bring is in `Classification.learned`.
            temperature: logits are cosines divided by it: the higher, the less confident are the scores. ``fitted`` is
                what `fit_temperature` found for the model. Default: the model's own, ``1 / logit_scale``.
            smooth: answer the photos together rather than each by itself: photos that look alike draw one another to
                the same label (StatA: Zanella et al. 2025, docs/methods.md). The result's `smoothing` lists what that
                changed. Scores are then shares of an assignment, mostly near 0 or 1, also under a sigmoid: so it goes
                neither with `thresholds` nor with `multi_label`.
            truncate: cut prompts that the model cannot read in full, rather than refuse them.
            sync: False refuses what is not in the library instead of adding it.
            record: keep the run, see `runs`; and where it was recorded before, take its stored answer. A read-only
                library records nothing.
            progress, should_stop: for the sync, as there.
            known: asked with the run before any photo is scored; an answer that it returns is taken instead.

        Raises:
            NoLabels, EmptyLabel, DuplicateLabels, BadTemplate, UnknownLabelSet, PromptTooLong
            BadUnknown, NoThreshold, BadLabelFile, NoTemperature
            NoVectors: the library holds no photos, or none with a vector of the model.
            NotInLibrary: `sync` is False, or the library read-only, and something in `paths` is unknown.
            TooManyScores: `smooth` with more photos and labels than fit into memory.
            ValueError: the temperature is not within 0.0001 to 10,000; `with_corrections` of labels that are no saved
                label set, or by no such method; or two options that exclude each other: `smooth` and `thresholds`, or
                `multi_label` and either of `smooth` and `with_corrections`.
        """
        if smooth and (thresholds or multi_label):
            raise ValueError("smoothing gives each photo one label: it goes with neither thresholds nor multi_label")
        if with_corrections is not None and multi_label:
            raise ValueError(
                "a correction says one label of a photo: with_corrections and multi_label exclude each other"
            )
        if top is not None:
            top = bounds.whole("top", top, least=1)
        chosen = self._label_set(labels, label_set, template)
        rule = None
        if unknown is not None:
            from zsindex.lab.unknown import Rule

            rule = Rule.parse(unknown)
        temperature = None if temperature is None else self._temperature(temperature)
        places = None if paths is None else absolute_all(paths)
        # A service shows a library without photos as one; and photos that were just added may all be damaged.
        must_answer = known is None
        if places is None and must_answer:
            self._require_model(None)
        text_vectors = self._text_vectors(chosen, truncate=truncate)
        encoded = 0 if places is None else self._ensure(places, sync, progress, should_stop)
        view = self.view(places)
        if must_answer and (places is None or view.unanswered):
            self._require_vectors(view, places)
        if temperature is not None:
            view = self._tempered(view, temperature)
        activation = view.info.activation if activation is None else Activation(activation)

        # Each step puts the scorer of the one before into its own. What is asked for enters the run's key.
        options: dict[str, Any] = {}
        head = scorers.Head.zero_shot(
            text_vectors,
            logit_scale=view.info.logit_scale,
            logit_bias=view.info.logit_bias,
            activation=activation,
            answer_of=chosen.answer_of,
        )
        scorer: scorers.Scorer = head
        answers = chosen.answers
        taught = None
        if temperature is not None:
            options["temperature"] = temperature
        if with_corrections is not None:
            scorer, taught = self._with_corrections(view, chosen, head, with_corrections)
            options["with_corrections"] = [with_corrections, taught.key]
        if multi_label:
            options["multi_label"] = True
            scorer, answers = self._multi_label(view, chosen, text_vectors, activation)
        rates = self._rates(chosen, answers) if thresholds else {}
        # What a photo is compared with does not depend on which photos were asked for.
        whole = view if places is None or not (rule or rates) else replace(self.view(), info=view.info)
        if rule is not None:
            options["unknown"] = describe(rule)
            scorer, answers = self._with_unknown(scorer, answers, whole, chosen, text_vectors, rule)
        if smooth:
            options["smooth"] = True
        if thresholds or multi_label:
            if rates:
                options["thresholds"] = sorted(rates.items())
            scorer, answers = self._with_thresholds(scorer, answers, whole, rates, multi_label=multi_label)

        default_top = len(answers) if multi_label else DEFAULT_TOP
        at_most = max(1, min(default_top if top is None else top, len(answers)))
        run = self._run(chosen, activation, view, top=at_most, paths=places, truncate=truncate, **options)
        asked = {
            "top": top,
            "paths": places,
            "activation": str(activation),
            "unknown": unknown,
            "thresholds": thresholds,
            "multi_label": multi_label,
            "with_corrections": with_corrections,
            "temperature": temperature,
            "smooth": smooth,
            "truncate": truncate,
        }
        run = replace(run, asked=Question(chosen, asked))
        # A stored answer does not tell what smoothing has changed.
        answer = None if known is None else known(run)
        if answer is not None:
            return answer
        recorded = self._recorded_answer(run, len(view)) if record and not smooth else None

        rows, back = view.unique
        smoothing = None
        score: Callable[[Sequence[int]], FloatArray] = partial(_scores_of, view, scorer)
        if recorded is not None:
            best, scores, back = recorded.best, recorded.scores, slice(None)
        elif smooth:
            smoothed, smoothing = self._smooth(
                view, scorer, answers, text_vectors, chosen.answer_of, whole=places is None
            )
            best, scores = scorers.rank_scores(smoothed, top=at_most)
            score = partial(_rows_of, smoothed, np.arange(len(rows))[back])
        elif chosen.is_plain and scorer is head:
            best, scores = classify_module.classify(
                view.vectors,
                rows,
                text_vectors,
                logit_scale=view.info.logit_scale,
                logit_bias=view.info.logit_bias,
                activation=activation,
                top=at_most,
            )
        elif thresholds or multi_label:
            best, scores = scorers.rank_given(view.vectors, rows, scorer, top=at_most)
        else:
            best, scores = scorers.rank(view.vectors, rows, scorer, top=at_most)
        if taught is not None:
            if recorded is None:
                best, scores = taught.settle(view, answers, scorer, best, scores, top=at_most)
            score = taught.all_scores(view, answers, score)
        result = Classification(
            paths=view.paths,
            labels=answers,
            best=best[back],
            best_scores=scores[back],
            all_scores=score,
            run=run,
            encoded=encoded,
            unanswered=view.unanswered,
            image_ids=view.image_ids,
            learned=None if taught is None else taught.learned,
            smoothing=smoothing,
        )
        if record and recorded is None:
            self._record_if_possible(result)
        return result

    def _text_vectors(self, labels: LabelSet, *, truncate: bool) -> FloatArray:
        """One vector per concept."""
        vectors = self.embed_texts([text for texts in labels.concept_prompts for text in texts], truncate=truncate)
        return classify_module.label_vectors(vectors, [len(texts) for texts in labels.concept_prompts])

    def _ensure(
        self,
        paths: Sequence[str],
        sync: bool,
        progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> int:
        """Sync paths, or refuse those that the library does not hold. Returns how many photos were encoded."""
        if sync and not self.read_only:
            report = self._sync_if_needed(paths, progress, should_stop)
            for folder, why in report.unlisted.items():
                warnings.warn(f"cannot look into {folder}: {why}", ZsindexWarning, stacklevel=4)
            return report.encoded
        self._require_known(paths, "it is read-only" if sync else "adding was refused")
        return 0

    def _label_set(
        self, labels: LabelsLike | None, saved: str | None, template: str | Sequence[str] | None
    ) -> LabelSet:
        templates = None if template is None else self.templates(template)
        if saved is None:
            made = prompts.label_set(() if labels is None else labels, templates=templates)
            if not isinstance(labels, LabelSet):
                prompts.warn_of_alike(made)
            return made
        if labels:
            raise ValueError("give either labels or the name of a label set, not both")
        found = self.label_set(saved)
        return found if templates is None else prompts.label_set(found, templates=templates, name=found.name)

    def _run(self, labels: LabelSet, activation: Activation, view: View, **options: Any) -> Run:
        info = view.info
        watermark, generation, files_revision = view.snapshot
        return Run(
            model=str(info.spec),
            fingerprint=info.fingerprint,
            decode=str(info.spec.decode),
            precision=info.spec.precision,
            labels=labels.labels,
            label_set=labels.name,
            labels_sha256=prompts.digest(labels),
            templates=labels.templates,
            activation=activation,
            logit_scale=info.logit_scale,
            logit_bias=info.logit_bias,
            watermark=watermark,
            generation=generation,
            files_revision=files_revision,
            options=tuple(sorted(options.items())),
            version=zsindex.__version__,
            label_set_version=labels.version,
            groups=labels.groups,
            negatives=labels.negatives,
            icc=str(info.spec.icc),
            transparency=str(info.spec.transparency),
        )


def _scores_of(view: View, scorer: scorers.Scorer, photos: Sequence[int]) -> FloatArray:
    return scorer(view.take(photos))


def _rows_of(scores: FloatArray, row_of_photo: IdArray, photos: Sequence[int]) -> FloatArray:
    rows: FloatArray = scores[row_of_photo[np.asarray(photos, dtype=np.int64)]]
    return rows

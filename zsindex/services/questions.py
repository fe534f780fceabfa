"""Planning and answering a question: first what it will read and its run key, then the scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from zsindex._version import __version__
from zsindex.classification import prompts, scorers
from zsindex.classification.options import DEFAULT_TOP, Question
from zsindex.classification.priors import ESTIMATED, NOT_SIGMOID, UsedPrior, shares_of
from zsindex.classification.ranking import Plain, Ranked, Ranking
from zsindex.classification.results import Asked, Classification, Run
from zsindex.classification.scorers import Head, Scorer
from zsindex.classification.view import View
from zsindex.errors import BadQuestion, ZsindexWarning
from zsindex.records import NONE, Activation, FloatArray, IdArray, LabelSet, Progress, SyncReport
from zsindex.services.labels import Labels
from zsindex.session.session import Session

# What only some options need is imported where it is used, so that a plain question does not wait for it.
if TYPE_CHECKING:
    from zsindex.classification.coverage import Coverage
    from zsindex.lab.corrections import FoldedCorrections as Said
    from zsindex.services.corrections import Taught
    from zsindex.services.coverage import Calibration


def _rank_here(ranking: Ranking, view: View) -> Ranked:
    rows = view.unique[0]
    over = ranking.over(rows)
    return ranking.among(ranking.of(view.vectors, over), over, rows)


@dataclass(frozen=True, repr=False)
class Plan:
    """What a question will read, known before anything is scored; made by `Library.plan`.

    Attributes:
        question: the question.
        labels: its labels, with their final prompts.
        view: the photos with vectors, as they were when the plan was made.
        run: everything that the answer depends on; `Run.key` identifies it.
    """

    question: Question
    labels: LabelSet
    view: View
    run: Run
    _top: int
    _answers: tuple[str, ...]
    _rates: Mapping[str, float]
    _said: Said | None
    _calibration: Calibration | None
    _asking: Questions

    def __repr__(self) -> str:
        return f"<Plan for {len(self.view)} photos by {len(self._answers)} answers, run {self.run.key}>"

    @cached_property
    def new_prompts(self) -> tuple[str, ...]:
        """Prompts that are not cached and must be encoded."""
        return self._asking.new_prompts(self)

    @cached_property
    def new_photos(self) -> int:
        """Number of files at or below the question's paths that must be read first, and encoded if their content is
        new.
        """
        return self._asking.new_photos(self)

    @property
    def photos(self) -> str:
        """Stands for all photos that the answer depends on, as `run.key` stands for all else."""
        return self._asking.photos(self)

    def answer(
        self,
        *,
        may_be_empty: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Classification:
        """Score the photos. Paths that are not in the library are synced first, and the plan is made again.

        Args:
            may_be_empty: answer with no photos if the library has none, instead of raising NoVectors.
            progress, should_stop: for the sync, as for `Library.sync`.

        Raises:
            PromptTooLong, NoVectors, NotInLibrary, TooManyScores, ModelError
        """
        return self._asking.answer(self, may_be_empty=may_be_empty, progress=progress, should_stop=should_stop)


class Questions:
    """Plans and answers questions about the photos of a library."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = Labels(session)

    def classify(
        self,
        question: Question,
        *,
        on: str | None = None,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Classification:
        """See `Library.classify`."""
        if on is not None and question.smooth:
            raise BadQuestion(("on", "smooth"), "smoothing looks at all photos at once, in one process")
        if on is not None and question.coverage is not None:
            raise BadQuestion(("on", "coverage"), "sets of labels are made in one process")
        if on is not None and question.transport:
            raise BadQuestion(("on", "transport"), "exact shares take all photos at once, in one process")
        labels, question = self._labels.of(question), self._resolved(question)
        if question.paths is None:
            self._session.require_model(None)
        texts = self._texts(labels, question)
        encoded = self._ensure(question, progress, should_stop)
        view = self._session.view(question.paths)
        if question.paths is None or view.unanswered:
            self._session.require_vectors(view, question.paths)
        view, fitting = self._fitting(view, question)
        rank = _rank_here if on is None else self._rank_on(on, progress, should_stop)
        return self._score(self._planned(question, labels, view, fitting), texts, encoded, rank)

    def plan(self, question: Question) -> Plan:
        """See `Library.plan`."""
        labels, question = self._labels.of(question), self._resolved(question)
        return self._planned(question, labels, *self._fitting(self._session.view(question.paths), question))

    def answer(
        self,
        plan: Plan,
        *,
        may_be_empty: bool,
        progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> Classification:
        """See `Plan.answer`."""
        texts = self._texts(plan.labels, plan.question)
        encoded = self._ensure(plan.question, progress, should_stop)
        if plan.question.paths is not None:
            view = self._session.view(plan.question.paths)
            if view.snapshot != plan.view.snapshot:
                plan = self._planned(plan.question, plan.labels, *self._fitting(view, plan.question))
        if not may_be_empty and plan.question.where is None:
            self._session.require_vectors(plan.view, plan.question.paths)
        with self._session.index.while_answering(plan.view):
            return self._score(plan, texts, encoded)

    def new_prompts(self, plan: Plan) -> tuple[str, ...]:
        """See `Plan.new_prompts`."""
        texts = [text for texts in plan.labels.concept_prompts for text in texts]
        return self._session.embed.new_texts(texts, truncate=plan.question.truncate)

    def new_photos(self, plan: Plan) -> int:
        """See `Plan.new_photos`."""
        if plan.question.paths is None or not plan.question.sync or self._session.read_only:
            return 0
        from zsindex.services.ingest import Ingest

        return Ingest(self._session).sync(plan.question.paths, dry_run=True).to_read

    def photos(self, plan: Plan) -> str:
        """See `Plan.photos`."""
        question = plan.question
        compared = question.unknown_rule is not None or bool(plan._rates) or question.prior == ESTIMATED
        whole = not question.is_about_all and compared
        return plan.view.digest + (self._session.view().digest if whole else "")

    # --- what is asked ------------------------------------------------------------------------------------------------

    def _resolved(self, question: Question) -> Question:
        if question.temperature is None:
            return question
        from zsindex.services.temperature import Temperature

        return replace(question, temperature=Temperature(self._session).resolve(question.temperature))

    def _texts(self, labels: LabelSet, question: Question) -> FloatArray:
        return self._session.embed.concepts(labels, truncate=question.truncate)

    def _ensure(
        self,
        question: Question,
        progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> int:
        """Sync paths, or refuse those that the library does not hold. Returns how many photos were encoded."""
        if question.paths is None:
            return 0
        if question.sync and not self._session.read_only:
            from zsindex.services.ingest import Ingest

            report: SyncReport = Ingest(self._session).sync_if_needed(question.paths, progress, should_stop)
            for folder, why in report.unlisted.items():
                warnings.warn(f"cannot list {folder}: {why}", ZsindexWarning, stacklevel=4)
            return report.encoded
        self._session.require_known(question.paths, "it is read-only" if question.sync else "adding was refused")
        return 0

    def _fitting(self, view: View, question: Question) -> tuple[View, str | None]:
        """The photos of a view that a question is about; and what stands for which of them fit its filters."""
        fitting = None
        if question.where is not None:
            from zsindex.services.filters import Filters

            view, fitting = Filters(self._session).those(view, question.where)
        if question.one_per is not None:
            from zsindex.services.timeline import Timeline

            view = Timeline(self._session).one_per(view, question.one_per)
        return view, fitting

    def _planned(self, question: Question, labels: LabelSet, view: View, fitting: str | None) -> Plan:
        """Everything that the answer depends on. The options in use enter the run key."""
        if isinstance(question.temperature, float):
            view = view.tempered(question.temperature)
        activation = view.info.activation if question.activation is None else question.activation
        options: dict[str, Any] = {}
        said: Said | None = None
        rates: Mapping[str, float] = {}
        answers = labels.labels if question.multi_label else labels.answers
        if question.temperature is not None:
            options["temperature"] = question.temperature
        if question.with_corrections is not None:
            from zsindex.services.corrections import Corrections

            said = Corrections(self._session).of(labels)
            options["with_corrections"] = [question.with_corrections, said.key]
        if question.multi_label:
            options["multi_label"] = True
        if question.thresholds:
            from zsindex.services.thresholds import Thresholds

            rates = Thresholds(self._session).rates(labels, answers)
        if question.unknown_rule is not None:
            from zsindex.services.unknown import describe

            options["unknown"] = describe(question.unknown_rule)
            answers = _with_none(answers)
        if question.prior is not None:
            options["prior"] = self._prior_key(question.prior, labels, activation)
            if question.transport:
                options["transport"] = True
        if question.smooth:
            options["smooth"] = True
        calibration: Calibration | None = None
        arguments = {**question.arguments, "activation": str(activation)}
        if question.coverage is not None:
            from zsindex.services.coverage import Coverages

            calibration = Coverages(self._session).calibration(question, labels, view, activation)
            arguments["calibrate"] = calibration.asked
            options["coverage"] = calibration.describe(question)
        if rates:
            options["thresholds"] = sorted(rates.items())
        if question.thresholds or question.multi_label:
            answers = _with_none(answers)
        default = DEFAULT_TOP if calibration is None and not question.multi_label else len(answers)
        top = max(1, min(default if question.top is None else question.top, len(answers)))
        if question.where is not None:
            # What was answered and corrected, and what photos say, may be other things later.
            options["where"] = [question.where.to_json(), fitting]
        if question.one_per is not None:
            options["one_per"] = [question.one_per, view.digest]  # what photos say may be something else later
        paths = None if question.paths is None else list(question.paths)
        options.update(top=top, paths=paths, truncate=question.truncate)
        run = run_of(labels, activation, view, options, Asked(labels, arguments))
        return Plan(question, labels, view, run, top, answers, rates, said, calibration, self)

    def _prior_key(self, given: Mapping[str, float] | str, labels: LabelSet, activation: Activation) -> list[Any]:
        """What stands for a prior in a run's key; an estimate is a function of this and of what else is in it."""
        if activation is Activation.SIGMOID:
            raise BadQuestion(["prior"], NOT_SIGMOID)
        if isinstance(given, str):
            from zsindex.services.corrections import Corrections

            return [given, Corrections(self._session).of(labels).key]
        return [list(pair) for pair in zip(labels.answers, shares_of(given, labels.answers), strict=True)]

    # --- scores -------------------------------------------------------------------------------------------------------

    def _score(
        self, plan: Plan, texts: FloatArray, encoded: int, rank: Callable[[Ranking, View], Ranked] = _rank_here
    ) -> Classification:
        question, view = plan.question, plan.view
        head = Head.of(plan.labels, texts, view.info, plan.run.activation)
        scorer, taught = self._scorer(plan, head, texts)
        prior, before = None, scorer
        if question.prior is not None:
            scorer, before, prior = self._with_prior(plan, texts, scorer)
        scorer = self._with_rules(plan, texts, scorer, taught)
        recorded = None
        # A stored answer does not say what smoothing changed, nor what sets promise, nor, beyond the best, what exact
        # shares did.
        if question.record and not (question.smooth or question.transport) and plan._calibration is None:
            from zsindex.services.run_store import RunStore

            recorded = RunStore(self._session).answer_of(plan.run, len(view))
        rows, back = view.unique
        smoothing = None
        coverage: Coverage | None = None
        score: Callable[[Sequence[int]], FloatArray] = partial(_scores_of, view, scorer)
        if recorded is not None:
            best, best_scores, back = recorded.best, recorded.scores, slice(None)
        elif question.smooth:
            from zsindex.services.neighbours import Neighbours

            smoothed, smoothing = Neighbours(self._session).smooth(
                view, scorer, plan._answers, texts, plan.labels.answer_of, whole=question.is_about_all
            )
            best, best_scores = scorers.rank_scores(smoothed, top=plan._top)
            score = partial(_rows_of, smoothed, np.arange(len(rows))[back])
        elif plan._calibration is not None:
            from zsindex.services.coverage import Coverages

            sets = Coverages(self._session).answered(question, plan._calibration, view, scorer, taught)
            best, best_scores, coverage = sets.best, sets.scores, sets.coverage
            score = partial(_scores_of, view, sets.scorer)
        elif prior is not None and question.transport:
            from zsindex.services.prior import Prior

            settle = None if taught is None else partial(taught.settle_scores, view, plan._answers)
            moved = Prior(self._session).transported(view, before, prior, settle)
            best, best_scores = scorers.rank_scores(moved, top=plan._top)
            score = partial(_rows_of, moved, np.arange(len(rows))[back])
        else:
            plain = plan.labels.is_plain and scorer is head
            by = Plain(texts, view.info.logit_scale, view.info.logit_bias, plan.run.activation) if plain else scorer
            ranking = Ranking(by, plan._top, given=question.thresholds or question.multi_label)
            best, best_scores = rank(ranking, view)
        if taught is not None:
            if recorded is None and coverage is None:
                best, best_scores = taught.settle(view, plan._answers, scorer, best, best_scores, top=plan._top)
            score = taught.all_scores(view, plan._answers, score)
        result = Classification(
            paths=view.paths,
            labels=plan._answers,
            best=best[back],
            best_scores=best_scores[back],
            all_scores=score,
            run=plan.run,
            encoded=encoded,
            unanswered=view.unanswered,
            image_ids=view.image_ids,
            learned=None if taught is None else taught.learned,
            smoothing=smoothing,
            coverage=coverage,
            prior=prior,
            facts=self._session.facts.table,
        )
        if question.record and recorded is None:
            from zsindex.services.run_store import RunStore

            RunStore(self._session).record_if_possible(result)
        return result

    def _rank_on(
        self, on: str, progress: Callable[[Progress], None] | None, should_stop: Callable[[], bool] | None
    ) -> Callable[[Ranking, View], Ranked]:
        from zsindex.distributed.ranking import ranked_on

        return lambda ranking, view: ranked_on(
            on,
            ranking,
            view,
            cores=self._session.workers,
            progress=progress or (lambda _: None),
            should_stop=should_stop or (lambda: False),
        )

    def _scorer(self, plan: Plan, head: Head, texts: FloatArray) -> tuple[Scorer, Taught | None]:
        """The scorer of the label set's own answers, from words and from what was learnt from corrections."""
        question, labels, view = plan.question, plan.labels, plan.view
        if question.with_corrections is not None and plan._said is not None:
            from zsindex.services.corrections import Corrections

            return Corrections(self._session).taught(view, labels, head, question.with_corrections, plan._said)
        if question.multi_label:
            from zsindex.services.scoring import scorer_of

            return scorer_of(view, labels, texts, multi_label=True, activation=plan.run.activation)[0], None
        return head, None

    def _with_prior(self, plan: Plan, texts: FloatArray, scorer: Scorer) -> tuple[Scorer, Scorer, UsedPrior]:
        """See `Prior.reweighted`."""
        from zsindex.services.prior import Prior

        assert plan.question.prior is not None
        after, before, prior = Prior(self._session).reweighted(
            plan.view, plan.labels, texts, scorer, plan.question.prior
        )
        return after, before, replace(prior, transport=plan.question.transport)

    def _with_rules(self, plan: Plan, texts: FloatArray, scorer: Scorer, taught: Taught | None) -> Scorer:
        """The scorer of the plan's answers: what is unknown or too little wraps the scorer of the labels."""
        question, labels, view = plan.question, plan.labels, plan.view
        answers = labels.labels if question.multi_label else labels.answers
        rule = question.unknown_rule
        # What a photo is compared with does not depend on which photos were asked for.
        whole = view
        if not question.is_about_all and (rule or plan._rates):
            whole = replace(self._session.view(), info=view.info)
        if rule is not None:
            from zsindex.services.unknown import NOBODY, Unknown

            strangers = NOBODY if taught is None else taught.lessons.shows_none
            scorer, answers = Unknown(self._session).with_none(scorer, answers, whole, labels, texts, rule, strangers)
        if question.thresholds or question.multi_label:
            from zsindex.services.thresholds import Thresholds

            scorer, answers = Thresholds(self._session).with_cuts(
                scorer, answers, whole, plan._rates, multi_label=question.multi_label
            )
        assert answers == plan._answers
        return scorer


def run_of(
    labels: LabelSet, activation: Activation, view: View, options: Mapping[str, Any], asked: Asked | None = None
) -> Run:
    """The run of some labels over the photos of a view; `options` is what else the answer depends on."""
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
        version=__version__,
        label_set_version=labels.version,
        groups=labels.groups,
        negatives=labels.negatives,
        icc=str(info.spec.icc),
        transparency=str(info.spec.transparency),
        asked=asked,
    )


def _with_none(answers: tuple[str, ...]) -> tuple[str, ...]:
    return answers if NONE in answers else (*answers, NONE)


def _scores_of(view: View, scorer: Scorer, photos: Sequence[int]) -> FloatArray:
    return scorer(view.take(photos))


def _rows_of(scores: FloatArray, row_of_photo: IdArray, photos: Sequence[int]) -> FloatArray:
    rows: FloatArray = scores[row_of_photo[np.asarray(photos, dtype=np.int64)]]
    return rows

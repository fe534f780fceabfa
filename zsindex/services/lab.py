"""`library.lab`: which words work. Each method reads what it needs and calls `zsindex.lab`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

import numpy as np

from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.arguments.several import several
from zsindex.classification.options import Question, QuestionOptions, WhichLabels
from zsindex.classification.prompts import prompts_for
from zsindex.classification.results import Classification
from zsindex.classification.templates import DEFAULT_TEMPLATE, has_place
from zsindex.errors import BadQuestion, UnknownImage
from zsindex.records import Activation, FloatArray, LabelSet, Progress
from zsindex.services import comparing
from zsindex.services.comparing import Asking
from zsindex.services.labels import Labels
from zsindex.services.questions import Questions
from zsindex.services.truths import FOLDERS, TruthLike, Truths
from zsindex.services.unknown import Unknown
from zsindex.services.vectors import Vectors
from zsindex.session.session import Session
from zsindex.where import Where

if TYPE_CHECKING:
    from zsindex.lab.attribution import Attribution
    from zsindex.lab.diff import Diff
    from zsindex.lab.evaluate import Evaluation
    from zsindex.lab.explain import Why
    from zsindex.lab.findings import LintReport
    from zsindex.lab.suggest import Suggestions


class Lab:
    """Examines label sets."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = Labels(session)
        self._truths = Truths(session)

    def lint(
        self,
        labels: WhichLabels,
        *,
        template: str | Sequence[str] | None = None,
        paths: PathsLike | None = None,
    ) -> LintReport:
        """Find problems in a label set, without truth: labels that coincide or that win nothing or nearly everything,
        prompts that the model truncates, templates that do not earn their place.

        Hubs are found by k-occurrence: Radovanović, Nanopoulos and Ivanović, Hubs in Space: Popular Nearest Neighbors
        in High-Dimensional Data, JMLR 11, 2010. The other measures are described in docs/methods.md.

        Args:
            labels: the name of a saved set, ``NAME`` or ``NAME@VERSION``; or labels.
            template: one or several, or names of template sets; they replace the set's own prompts.
            paths: files and folders to restrict to. Default: all photos.

        Raises:
            NoLabels, EmptyLabel, DuplicateLabels, BadGroups, BadTemplate, UnknownLabelSet, ModelError
        """
        from zsindex.lab.lint import lint

        chosen = self._labels.resolve(labels, template)
        view = self._session.view_of(paths, truncate=True, may_be_empty=True)
        texts = [text for prompts in chosen.concept_prompts for text in prompts]
        view.embed(texts)
        return lint(view, chosen, too_long=self._too_long(texts))

    def _too_long(self, texts: Sequence[str]) -> dict[str, int | None]:
        """Which encoded texts the model truncates, with their token counts; None if only torch could count."""
        from zsindex.models.openvino import runtime

        model = self._session.model.row()
        fit = self._session.storage.reads.prompt_vectors(set(texts), model, truncated=False)
        rest = [text for text in dict.fromkeys(texts) if text not in fit]
        if not rest:
            return {}
        # What is cached as truncated is known to be too long, but only a tokenizer knows by how much.
        if self._session.model.loaded is None and (
            (found := runtime.find(model.info.spec)) is None or not found.manifest.text
        ):
            return dict.fromkeys(rest)
        encoder = self._session.model.encoder()
        counts = {text: encoder.count_tokens(text) for text in rest}
        return {text: tokens for text, tokens in counts.items() if tokens > model.info.context_length}

    def diff(
        self,
        before: WhichLabels,
        after: WhichLabels | None = None,
        *,
        template_before: str | Sequence[str] | None = None,
        template_after: str | Sequence[str] | None = None,
        model_before: str | None = None,
        model_after: str | None = None,
        renamed: Mapping[str, str] | None = None,
        activation: Activation | str | None = None,
        truncate: bool = False,
        paths: PathsLike | None = None,
    ) -> Diff:
        """Classify all photos in two ways, and report which get a different answer.

        How much a photo moves is the total variation distance of its two sets of scores (Levin, Peres and Wilmer,
        Markov Chains and Mixing Times, 2009, section 4.1); for sigmoid scores, which do not add up to 1, the largest
        difference.

        Args:
            before: the name of a saved set, ``NAME`` or ``NAME@VERSION``; or labels.
            after: the same. Default: the labels of `before`, to compare templates or models.
            template_before, template_after: templates, or names of template sets, that replace the set's own prompts.
            model_before, model_after: models that the library holds vectors of. Default: the current one.
            renamed: names of answers in `before`, mapped to their names in `after`. Answers with equal names are the
                same; an answer that only one side has scores 0 on the other.
            activation: ``softmax`` or ``sigmoid``. Default: as the models were trained.
            truncate: truncate prompts that are too long for a model, instead of refusing them.
            paths: files and folders to restrict to. Default: all photos. Photos without a vector on one of the sides
                are counted and left out.

        Raises:
            NoLabels, EmptyLabel, DuplicateLabels, BadGroups, BadTemplate, UnknownLabelSet, PromptTooLong
            UnknownModel: the library holds no vectors of it.
            ValueError: `renamed` names something that is not an answer, or gives two answers the same name.
        """
        with ExitStack() as opened:
            one, other = (
                self._session if model is None else opened.enter_context(self._session.with_model(model))
                for model in (model_before, model_after)
            )
            places = None if paths is None else absolute_all(paths)
            same = QuestionOptions(activation=activation, truncate=truncate, paths=places, sync=False)
            return comparing.diff(
                Asking(one, Question.about(before, **(same | {"template": template_before}))),
                Asking(
                    other, Question.about(before if after is None else after, **(same | {"template": template_after}))
                ),
                renamed=renamed,
            )

    def suggest(
        self,
        labels: WhichLabels,
        vocabulary: str | os.PathLike[str] | Sequence[str],
        *,
        template: str | Sequence[str] | None = None,
        word_template: str = DEFAULT_TEMPLATE,
        share: float = 0.1,
        by: str = "cosine",
        groups: int | None = None,
        names: int = 5,
        examples: int = 5,
        truncate: bool = False,
        paths: PathsLike | None = None,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Suggestions:
        """Find names for what the labels miss: groups of photos that no label fits, with words that fit them.

        Groups are made by spherical k-means: Dhillon and Modha, Concept Decompositions for Large Sparse Text Data Using
        Clustering, Machine Learning 42, 2001.

        Args:
            labels: the name of a saved set, ``NAME`` or ``NAME@VERSION``; or labels.
            vocabulary: words; a file with one per line; or ``basic``, ``wordnet``, ``wordnet:`` or ``wordnet:all``, see
                `zsindex.lab.vocabulary.words`. Their vectors are cached like other prompts.
            template: one or several, or names of template sets; they replace the set's own prompts.
            word_template: the template that words are put into.
            share: share of the images that count as not fitted.
            by: how fit is measured: the ``cosine`` with the nearest label, or the ``margin`` between the logits of the
                two nearest.
            groups: how many. Default: the square root of half the images that are not fitted, at most 30.
            names, examples: words and photos to show for each group.
            truncate: truncate prompts of labels that are too long for the model, instead of refusing them. Words always
                are.
            paths: files and folders to restrict to. Default: all photos.
            progress: called after every batch of words.
            should_stop: called before every batch. What has been encoded by then stays cached.

        Raises:
            BadLabelFile: the vocabulary cannot be read.
            NoLabels, EmptyLabel, DuplicateLabels, BadGroups, BadTemplate, UnknownLabelSet, PromptTooLong, ModelError
            ValueError: `share` is not above 0 and at most 1, `by` is unknown, or `word_template` is not a template.
        """
        from zsindex.lab.lint import first_photos
        from zsindex.lab.suggest import suggest
        from zsindex.lab.vocabulary import chosen as chosen_words

        share = bounds.real("share", share, above=0, most=1)
        if by not in ("cosine", "margin"):
            raise ValueError(f"by must be cosine or margin, not {by!r}")
        if not has_place(word_template):
            raise ValueError(f"{word_template!r} has no place for the word: write {{}} where it goes")
        words = chosen_words(vocabulary)
        chosen = self._labels.resolve(labels, template)
        view = self._session.view_of(paths, truncate=True)
        self._session.embed.texts([text for prompts in chosen.concept_prompts for text in prompts], truncate=truncate)
        return suggest(
            view,
            chosen,
            words,
            first_photos(view),
            template=word_template,
            share=share,
            by=by,
            n_groups=groups,
            names=names,
            examples=examples,
            progress=progress or (lambda _: None),
            should_stop=should_stop or (lambda: False),
        )

    def evaluate(
        self,
        labels: WhichLabels,
        truth: TruthLike = FOLDERS,
        *,
        against: WhichLabels | Sequence[WhichLabels] = (),
        templates: str | Sequence[str | Sequence[str]] = (),
        models: str | Sequence[str] = (),
        names: Mapping[str, str | Sequence[str]] | None = None,
        others_are_none: bool = False,
        resamples: int = 1000,
        seed: int = 0,
        **options: Unpack[QuestionOptions],
    ) -> Evaluation:
        """Measure how often answers are right: top-1, top-5, precision, recall, F1, calibration, confusions; with
        intervals.

        Several ways of asking are compared on the same photos: every label set with every template set and every model
        given. Differences are to the first of each. docs/methods.md has the sources.

        Args:
            labels: the labels to answer with; a string is the name of a saved label set.
            truth: ``folders``: a photo shows what its folder is called; a folder: the same, for photos below it;
                ``corrections`` of the label set, or ``corrections:NAME``; a CSV file with the columns ``path`` and
                ``label``, where relative paths are relative to the file; or a mapping from paths to one or more labels.
            against: more label sets. They may call labels by other names, if `names` maps them.
            templates: template sets to compare, each used instead of the option `template`; if that is given as well,
                it comes first.
            models: more models that the library holds vectors of.
            names: names in the truth, mapped to the names that the label sets use instead; of several, the first that a
                label set has is used.
            others_are_none: photos whose labels a label set does not have count as none of these, instead of being left
                out.
            resamples: number of bootstrap resamples; 0 for no intervals.
            seed: of the bootstrap.
            options: as for `Library.classify`, such as `template`, `paths`, `where`, `activation`, `temperature`,
                `unknown` and `thresholds`; `top` and `sync` are evaluation's own. With `coverage`, sets of labels are
                measured as well: each half of the photos calibrates the other, so that nothing else is needed.

        Raises:
            BadTruth: it cannot be read, no photo of it can be compared, or too few for the coverage.
            BadQuestion: options that exclude each other; `calibrate`.
            UnknownModel: the library holds no vectors of a model.
            UnknownLabelSet, BadTemplate, PromptTooLong
            BadFilter, NoFacts, UnknownLabel: of `where`.
        """
        from zsindex.lab import evaluate as lab
        from zsindex.lab.truth import lists
        from zsindex.services.halves import sets_held

        if options.get("calibrate") is not None:
            raise BadQuestion(["calibrate"], "the photos with truth calibrate each other")

        against = [against] if isinstance(against, Mapping) else several(against)
        templates, models = several(templates), several(models)
        template, paths = options.pop("template", None), options.get("paths")
        options["paths"] = paths = None if paths is None else absolute_all(paths)
        of_sets = options.copy()
        coverage = options.pop("coverage", None)
        if coverage is not None:
            options.pop("coverage_score", None)
            options.pop("coverage_per", None)
            options.pop("coverage_adapt", None)
        sets = [self._labels.resolve(which) for which in (labels, *against)]
        ways = [*([template] if template is not None or not templates else []), *templates]
        said = self._truths.of(truth, sets[0], paths, Where.of(options.get("where")))
        asked, sessions, corrected = [], [], set[str]()
        with ExitStack() as opened:
            for model in (None, *models):
                session = self._session if model is None else opened.enter_context(self._session.with_model(model))
                for number, which in enumerate((labels, *against)):
                    for way in ways:
                        chosen = Labels(session).resolve(which, way)
                        parts = [
                            str(session.info.spec) if models else "",
                            set_name(sets[number].name, sets[number].version, number) if against else "",
                            template_name(way) if len(ways) > 1 else "",
                        ]
                        question = Question(chosen, **(options | {"top": lab.BEST, "sync": False}))
                        answer, knownness = _answers(session, chosen, question)
                        name = ", ".join(filter(None, parts)) or set_name(chosen.name, chosen.version, number)
                        asked.append(lab.Contestant(name, chosen, answer, knownness))
                        sessions.append(session)
                        if question.with_corrections is not None:
                            corrected |= _corrected(session, chosen, answer)
            found = lab.evaluate(
                asked,
                said,
                names=lists(names or {}),
                others_are_none=others_are_none,
                n_resamples=resamples,
                seed=seed,
                corrected=corrected,
            )
            if coverage is None:
                return found
            compared = replace(said, labels={path: said.labels[path] for path in found.paths})
            held = [
                sets_held(one_session, one.labels, compared, coverage, names=lists(names or {}), options=of_sets)
                for one_session, one in zip(sessions, asked, strict=True)
            ]
        reports = (replace(report, sets=one) for report, one in zip(found.reports, held, strict=True))
        return replace(found, reports=tuple(reports))

    def attribute(
        self,
        labels: WhichLabels,
        truth: TruthLike | None = None,
        *,
        template: str | Sequence[str] | None = None,
        names: Mapping[str, str | Sequence[str]] | None = None,
        others_are_none: bool = False,
        paths: PathsLike | None = None,
        activation: Activation | str | None = None,
        truncate: bool = False,
        resamples: int = 1000,
        seed: int = 0,
    ) -> Attribution:
        """Measure which template helps or hurts which label, by leaving each out of the average in turn.

        Args:
            labels, names, others_are_none, paths: as for `evaluate`.
            truth: as for `evaluate`. Without it, only effects on answers and their margins are measured.
            template: templates, or names of template sets. Default: those that the label set was made with.
            activation: ``softmax`` or ``sigmoid``. Default: as the model was trained.
            truncate: truncate prompts that are too long for the model, instead of refusing them.
            resamples: number of bootstrap resamples.
            seed: of the bootstrap, and of the choice of photos if all would take too long.

        Raises:
            BadTruth: it cannot be read, or no photo of it can be compared.
            ValueError: there are fewer than two templates; or none are given, and some prompts were written out.
        """
        from zsindex.lab import attribution, gather

        chosen = self._labels.resolve(labels, template)
        templates = chosen.templates
        if len(templates) < 2:
            raise ValueError("at least two templates are needed to measure what each of them does")
        if any(
            set(p) != set(prompts_for([c], templates))
            for c, p in zip(chosen.concepts, chosen.concept_prompts, strict=True)
        ):
            raise ValueError("some prompts are written out: name the templates to use instead")
        paths = None if paths is None else absolute_all(paths)
        view = self._session.view_of(paths, truncate=truncate)
        n_concepts = len(chosen.concepts)
        at_most = max(500, attribution.MAX_WORK // (n_concepts * len(templates) * view.info.dim))
        said = None if truth is None else self._truths.of(truth, chosen, paths)
        sample = gather.sample(
            view,
            chosen,
            said,
            names=names or {},
            others_are_none=others_are_none,
            at_most=at_most,
            seed=seed,
        )
        prompts = [text for t in templates for text in prompts_for(chosen.concepts, t)]
        return attribution.attribute(
            len(sample.photos),
            lambda photos: view.take(sample.photos[photos]),
            view.embed(prompts).reshape(len(templates), n_concepts, view.info.dim),
            templates=templates,
            answers=chosen.answers,
            answer_of=sample.answer_of,
            activation=sample.activation(activation),
            logit_scale=view.info.logit_scale,
            right=None if truth is None else sample.right,
            truth=None if said is None else said.source,
            n_resamples=resamples,
            seed=seed,
        )

    def explain(
        self,
        image_id: int,
        labels: WhichLabels | Classification,
        *,
        template: str | Sequence[str] | None = None,
        activation: Activation | str | None = None,
        truncate: bool = False,
        most: int = 8,
        most_prompts: int = 8,
    ) -> Why:
        """Explain why a photo gets the answer that `classify` gives it.

        Its scores come from the mean of each label's prompts. The cosines of single prompts are given as well, and what
        each template alone would answer: if these disagree, the answer depends on the wording.

        Args:
            image_id: of the photo's content.
            labels: labels, or the name of a saved set; or an answer of `classify`, whose own scores are then explained,
                with all its options, such as corrections, a temperature or `unknown`.
            template: used instead of the label set's own.
            activation, truncate: as for `classify`. An answer has its own.
            most: number of answers to list, best first.
            most_prompts: number of prompts to list, nearest first.

        Raises:
            UnknownImage: it is unknown, has no vector yet, or is not in the answer.
            NoLabels, EmptyLabel, DuplicateLabels, BadTemplate, UnknownLabelSet, PromptTooLong
            ValueError: the answer is of another model, or was given together with options.
        """
        from zsindex.lab.explain import why

        found = None
        if isinstance(labels, Classification):
            if template is not None or activation is not None or truncate:
                raise ValueError("an answer already has its own template and options")
            asked = labels.run.asked
            if asked is None or labels.run.fingerprint != self._session.info.fingerprint:
                raise ValueError("only an answer that this library gave, by its model, can be explained")
            [numbers] = np.nonzero(labels.image_ids == image_id)
            if not len(numbers):
                raise UnknownImage(image_id)
            chosen, truncate = asked.labels, bool(asked.arguments["truncate"])
            found = labels.labels, labels.scores_of(numbers[:1])[0]
            how = labels.run.logit_scale, labels.run.logit_bias, labels.run.activation
        else:
            chosen, info = self._labels.resolve(labels, template), self._session.info
            how = (
                info.logit_scale,
                info.logit_bias,
                info.activation if activation is None else Activation(activation),
            )
        [image] = Vectors(self._session).of([image_id])
        scale, bias, activation = how
        return why(
            image,
            chosen,
            self._session.embed.texts([text for texts in chosen.concept_prompts for text in texts], truncate=truncate),
            logit_scale=scale,
            logit_bias=bias,
            activation=activation,
            found=found,
            most=most,
            most_prompts=most_prompts,
        )


def _answers(session: Session, chosen: LabelSet, question: Question) -> tuple[Classification, FloatArray | None]:
    """Answers, and the knownness of their photos if the question says what is unknown: float64 (n,)."""
    while True:
        answer = Questions(session).classify(question)
        if question.unknown is None:
            return answer, None
        # Not the score of "none of these": that is 0 for all photos that are not called so.
        found = Unknown(session).knownness(
            chosen,
            question.unknown,
            paths=question.paths,
            temperature=question.temperature,
            with_corrections=question.with_corrections is not None,
        )
        place = {path: number for number, path in enumerate(found.paths)}
        if place.keys() >= set(answer.paths):
            return answer, found.values[[place[path] for path in answer.paths]]
        # Another process removed photos in between: ask again.


def _corrected(session: Session, chosen: LabelSet, answer: Classification) -> set[str]:
    """Paths of the photos of an answer that were corrected under a label set."""
    from zsindex.services.corrections import Corrections

    images = session.storage.photos.images_of(Corrections(session).of(chosen).by_digest)
    ids = np.array(list(images.values()), dtype=np.int64)
    return {answer.paths[photo] for photo in np.flatnonzero(np.isin(answer.image_ids, ids)).tolist()}


def set_name(name: str | None, version: int | None, number: int) -> str:
    """What a label set is called among several; `number` counts them from 0."""
    if name is None:
        return "labels" if not number else f"labels {number + 1}"
    return name if version is None else f"{name}@{version}"


def template_name(template: str | Sequence[str] | None) -> str:
    """What a way of asking by templates is called."""
    if template is None:
        return "own prompts"
    if isinstance(template, str):
        return template
    return template[0] if len(template) == 1 else f"{len(template)} templates"

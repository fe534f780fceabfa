"""`Library` asks how right its answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from zsindex.arguments.several import several
from zsindex.facade.core import Core, WhichLabels, absolute_all
from zsindex.facade.truths import FOLDERS, TruthLike, Truths

if TYPE_CHECKING:
    from zsindex.classification.results import Classification
    from zsindex.lab.attribution import Attribution
    from zsindex.lab.evaluate import Evaluation
    from zsindex.photos.sources import PathsLike
    from zsindex.records import Activation, FloatArray, LabelSet


class Evaluating(Truths):
    """Methods that compare answers with the truth."""

    def evaluate(
        self,
        labels: WhichLabels,
        truth: TruthLike = FOLDERS,
        *,
        template: str | Sequence[str] | None = None,
        against: WhichLabels | Sequence[WhichLabels] = (),
        templates: str | Sequence[str | Sequence[str]] = (),
        models: str | Sequence[str] = (),
        names: Mapping[str, str | Sequence[str]] | None = None,
        others_are_none: bool = False,
        paths: PathsLike | None = None,
        resamples: int = 1000,
        seed: int = 0,
        **options: Any,
    ) -> Evaluation:
        """How often answers are right: top-1, top-5, precision, recall, F1, calibration, confusions; with intervals.

        Several ways of asking are compared on the same photos: every label set with every template set and every model
        that is named. Differences are to the first of each. docs/methods.md has the sources.

        Args:
            labels: what to answer with; a text is the name of a saved label set.
            truth: ``folders``: a photo shows what its folder is called; a folder: so do those below it;
                ``corrections`` of the label set, or ``corrections:NAME``; a CSV file with the columns ``path`` and
                ``label``, where relative paths are relative to it; or a mapping of paths to a label or several.
            template: for the labels; a text or a name, or several that are averaged.
            against: further label sets. They may name labels otherwise if `names` says so.
            templates: template sets to compare, each in the place of `template`; after it, if that is given too.
            models: further models, of which the library holds vectors.
            names: what labels of the truth are called in the label sets, where that differs: a name or several, of
                which the first counts that the label set knows.
            others_are_none: photos of labels that a label set does not know show none of these, rather than being left
                out.
            paths: files and folders to restrict to.
            resamples: of the bootstrap; 0 for no intervals.
            seed: of the bootstrap.
            options: further ones of `classify`, such as `activation`, `temperature`, `unknown` and `thresholds`.

        Raises:
            BadTruth: it cannot be read, or no photo of it can be compared.
            UnknownModel: the library holds nothing of a model.
            UnknownLabelSet, BadTemplate, PromptTooLong
        """
        from zsindex.lab import evaluate as lab
        from zsindex.lab.truth import lists

        against = [against] if isinstance(against, Mapping) else several(against)
        templates, models = several(templates), several(models)
        paths = None if paths is None else absolute_all(paths)
        sets = [self._labels(which) for which in (labels, *against)]
        ways = [*([template] if template is not None or not templates else []), *templates]
        said = self._truth(truth, sets[0], paths)
        asked = []
        with ExitStack() as opened:
            for model in (None, *models):
                library = self if model is None else opened.enter_context(self.with_model(model))
                for number, which in enumerate((labels, *against)):
                    for way in ways:
                        chosen = library._labels(which, way)
                        parts = [
                            str(library.model.spec) if models else "",
                            _set_name(sets[number].name, sets[number].version, number) if against else "",
                            _template_name(way) if len(ways) > 1 else "",
                        ]
                        answer, knownness = _answers(library, chosen, lab.BEST, paths, options)
                        name = ", ".join(filter(None, parts)) or _set_name(chosen.name, chosen.version, number)
                        asked.append(lab.Asked(name, chosen, answer, knownness))
            return lab.evaluate(
                asked, said, names=lists(names or {}), others_are_none=others_are_none, n_resamples=resamples, seed=seed
            )

    def attribute_templates(
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
        """Which template helps or hurts which label: each is left out of the average in turn.

        Args:
            labels, names, others_are_none, paths: as for `evaluate`.
            truth: as for `evaluate`. Without it, effects are those on answers and their margins only.
            template: the templates, or names of template sets. Default: those that the label set was made with.
            activation: ``softmax`` or ``sigmoid``. Default: as the model was trained.
            truncate: cut prompts that the model cannot read in full, rather than refuse them.
            resamples: of the bootstrap.
            seed: of the bootstrap; and of the choice of photos, where all would take too long.

        Raises:
            BadTruth: it cannot be read, or no photo of it can be compared.
            ValueError: there are fewer than two templates; or none is given, and some prompts were written out.
        """
        from zsindex.classification.prompts import prompts_for
        from zsindex.lab import attribution, gather

        chosen = self._labels(labels, template)
        templates = chosen.templates
        if len(templates) < 2:
            raise ValueError("it takes at least two templates to say what each of them does")
        if any(
            set(p) != set(prompts_for([c], templates))
            for c, p in zip(chosen.concepts, chosen.concept_prompts, strict=True)
        ):
            raise ValueError("some prompts are written out: name the templates to use instead")
        paths = None if paths is None else absolute_all(paths)
        view = self._view_of(paths, truncate=truncate)
        n_concepts = len(chosen.concepts)
        at_most = max(500, attribution.MAX_WORK // (n_concepts * len(templates) * view.info.dim))
        said = None if truth is None else self._truth(truth, chosen, paths)
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


def _answers(
    library: Core, labels: LabelSet, top: int, paths: PathsLike | None, options: Mapping[str, Any]
) -> tuple[Classification, FloatArray | None]:
    """Answers, and how well known their photos are where `options` say what is unknown: float64 (n,)."""
    while True:
        answer = library.classify(labels, top=top, paths=paths, sync=False, **options)
        if options.get("unknown") is None:
            return answer, None
        # Not the score of "none of these": that is 0 for all photos that are not called so.
        found = library.knownness(labels, options["unknown"], paths=paths, temperature=options.get("temperature"))
        place = {path: number for number, path in enumerate(found.paths)}
        if place.keys() >= set(answer.paths):
            return answer, found.values[[place[path] for path in answer.paths]]
        # In between, another process took photos away: ask again.


def _set_name(name: str | None, version: int | None, number: int) -> str:
    if name is None:
        return "labels" if not number else f"labels {number + 1}"
    return name if version is None else f"{name}@{version}"


def _template_name(template: str | Sequence[str] | None) -> str:
    if template is None:
        return "own prompts"
    if isinstance(template, str):
        return template
    return template[0] if len(template) == 1 else f"{len(template)} templates"

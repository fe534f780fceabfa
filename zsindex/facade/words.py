"""Which words work: checking a label set, comparing two, finding names for what the labels miss."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from zsindex.arguments import bounds
from zsindex.classification.templates import DEFAULT_TEMPLATE, has_place
from zsindex.facade.core import Core, WhichLabels, absolute_all

if TYPE_CHECKING:
    from zsindex.classification.view import View
    from zsindex.lab.diff import Diff, Side
    from zsindex.lab.findings import LintReport
    from zsindex.lab.suggest import Suggestions
    from zsindex.photos.sources import PathsLike
    from zsindex.records import Activation, LabelSet, Progress


class Words(Core):
    """Labels under examination."""

    def lint(
        self,
        labels: WhichLabels,
        *,
        template: str | Sequence[str] | None = None,
        paths: PathsLike | None = None,
    ) -> LintReport:
        """Look for what is wrong with a label set, without truth: labels that coincide, that win nothing or nearly
        everything, prompts that the model cuts, templates that do not earn their place.

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

        chosen = self._labels(labels, template)
        view = self._view_of(paths, truncate=True, may_be_empty=True)
        texts = [text for prompts in chosen.concept_prompts for text in prompts]
        view.embed(texts)
        return lint(view, chosen, too_long=self._too_long(texts))

    def _too_long(self, texts: Sequence[str]) -> dict[str, int | None]:
        """Those of some encoded texts that the model cuts, with their tokens; None where only torch could count."""
        from zsindex.models.openvino import runtime

        model = self._model()
        fit = self._reader.prompt_vectors(set(texts), model, truncated=False)
        rest = [text for text in dict.fromkeys(texts) if text not in fit]
        if not rest:
            return {}
        # What is cached as cut is known to be too long; but only a tokenizer says by how much.
        if self._loaded is None and ((found := runtime.find(model.info.spec)) is None or not found.manifest.text):
            return dict.fromkeys(rest)
        encoder = self._encoder()
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
        """Classify all photos in two ways, and say which of them get another answer.

        How much a photo moves is the total variation distance of its two sets of scores (Levin, Peres and Wilmer,
        Markov Chains and Mixing Times, 2009, section 4.1); for sigmoid scores, which do not add up to 1, the largest
        difference.

        Args:
            before: the name of a saved set, ``NAME`` or ``NAME@VERSION``; or labels.
            after: likewise. Default: the same labels, for comparing templates or models.
            template_before, template_after: templates, or names of template sets, in place of a set's own prompts.
            model_before, model_after: models that the library holds vectors of. Default: the one it is asked with.
            renamed: answers of `before`, by the names that they have in `after`. Those that are called alike are the
                same; those that only one side has score 0 on the other.
            activation: ``softmax`` or ``sigmoid``. Default: as the models were trained.
            truncate: cut prompts that a model cannot read in full, rather than refuse them.
            paths: files and folders to restrict to. Default: all photos. Those without a vector on one of the sides
                are counted, and left out.

        Raises:
            NoLabels, EmptyLabel, DuplicateLabels, BadGroups, BadTemplate, UnknownLabelSet, PromptTooLong
            UnknownModel: the library holds no vectors of it.
            ValueError: `renamed` names what is no answer, or gives two answers the same name.
        """
        with ExitStack() as stack:
            one, other = (
                self if model is None else stack.enter_context(self.with_model(model))
                for model in (model_before, model_after)
            )
            return one._diff_with(
                other,
                (before, template_before),
                (before if after is None else after, template_after),
                renamed=renamed,
                activation=activation,
                truncate=truncate,
                paths=paths,
            )

    def _diff_with(
        self,
        other: Words,
        before: tuple[WhichLabels, str | Sequence[str] | None],
        after: tuple[WhichLabels, str | Sequence[str] | None],
        *,
        renamed: Mapping[str, str] | None = None,
        activation: Activation | str | None = None,
        truncate: bool = False,
        paths: PathsLike | None = None,
    ) -> Diff:
        """See `diff`; labels and templates of `before` are asked of this library, those of `after` of the other."""
        from zsindex.lab.diff import compare

        paths = None if paths is None else absolute_all(paths)
        view = self._view_of(paths)
        other_view = view if other is self else other._view_of(paths)
        return compare(
            self._side(view, *before, activation, truncate=truncate, paths=paths),
            other._side(other_view, *after, activation, truncate=truncate, paths=paths),
            renamed=renamed,
        )

    def _side(
        self,
        view: View,
        which: WhichLabels,
        template: str | Sequence[str] | None,
        activation: Activation | str | None,
        *,
        truncate: bool,
        paths: PathsLike | None,
    ) -> Side:
        from zsindex.classification.scorers import Head
        from zsindex.lab.diff import Side
        from zsindex.records import Activation

        labels = self._labels(which, template)
        info = view.info
        chosen = info.activation if activation is None else Activation(activation)
        head = Head.zero_shot(
            replace(view, embed=partial(self.embed_texts, truncate=truncate)).text_vectors(labels),
            logit_scale=info.logit_scale,
            logit_bias=info.logit_bias,
            activation=chosen,
            answer_of=labels.answer_of,
        )
        places = None if paths is None else absolute_all(paths)
        return Side(
            name=_name(labels, template, str(info.spec)),
            view=view,
            answers=labels.answers,
            scorer=head,
            activation=chosen,
            run=self._run(labels, chosen, view, top=1, paths=places, truncate=truncate).key,
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
        """Find names for what the labels miss: photos that no label fits, in groups, with words that fit these.

        Groups are made by spherical k-means: Dhillon and Modha, Concept Decompositions for Large Sparse Text Data Using
        Clustering, Machine Learning 42, 2001.

        Args:
            labels: the name of a saved set, ``NAME`` or ``NAME@VERSION``; or labels.
            vocabulary: words; or a file with one per line; or ``basic``, ``wordnet``, ``wordnet:`` or ``wordnet:all``,
                see `zsindex.lab.vocabulary.words`. Their vectors are cached like other prompts.
            template: one or several, or names of template sets; they replace the set's own prompts.
            word_template: what words are put into.
            share: of the images that count as not fitted.
            by: what an image is fitted by: the ``cosine`` with its nearest label, or the ``margin`` between the logits
                of its two nearest.
            groups: how many. Default: the square root of half the images that are not fitted, at most 30.
            names, examples: words and photos to show for each group.
            truncate: cut prompts of labels that the model cannot read in full, rather than refuse them. Words
                always are.
            paths: files and folders to restrict to. Default: all photos.
            progress: called after every batch of words.
            should_stop: asked before every batch. What has been encoded by then stays cached.

        Raises:
            BadLabelFile: the vocabulary cannot be read.
            NoLabels, EmptyLabel, DuplicateLabels, BadGroups, BadTemplate, UnknownLabelSet, PromptTooLong, ModelError
            ValueError: `share` is not above 0 and at most 1, `by` is unknown, or `word_template` is no template.
        """
        from zsindex.classification.prompts import normalise
        from zsindex.lab.lint import first_photos
        from zsindex.lab.suggest import suggest
        from zsindex.lab.vocabulary import words as words_of

        share = bounds.real("share", share, above=0, most=1)
        if by not in ("cosine", "margin"):
            raise ValueError(f"by must be cosine or margin, not {by!r}")
        if not has_place(word_template):
            raise ValueError(f"{word_template!r} has no place for the word: write {{}} where it goes")
        if isinstance(vocabulary, (str, os.PathLike)):
            words = list(words_of(os.fspath(vocabulary)))
        else:
            words = list(dict.fromkeys(word for word in map(normalise, vocabulary) if word))
        chosen = self._labels(labels, template)
        view = self._view_of(paths, truncate=True)
        self.embed_texts([text for prompts in chosen.concept_prompts for text in prompts], truncate=truncate)
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

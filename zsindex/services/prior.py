"""`library.prior`: how the photos are divided among the answers, and answers that take it into account."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.classification.options import WhichLabels
from zsindex.classification.priors import ESTIMATED, UsedPrior, shares_of
from zsindex.classification.scorers import Head, Scorer
from zsindex.classification.view import View
from zsindex.errors import BadPrior, BadTruth
from zsindex.records import Activation, FloatArray, LabelSet
from zsindex.services.filters import Filters
from zsindex.services.labels import Labels
from zsindex.services.scoring import one_pass
from zsindex.services.truths import CORRECTIONS, TruthLike, Truths
from zsindex.session.session import Session
from zsindex.where import Where, WhereLike

if TYPE_CHECKING:
    from zsindex.lab.prior import Doubles, KnownPhotos, PriorEstimate


class Prior:
    """Shares of the answers: estimated, and used."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = Labels(session)

    def estimate(
        self,
        labels: WhichLabels,
        truth: TruthLike | None = None,
        *,
        method: str = "rlls",
        template: str | Sequence[str] | None = None,
        names: Mapping[str, str | Sequence[str]] | None = None,
        paths: PathsLike | None = None,
        where: WhereLike | None = None,
        temperature: float | str | None = None,
        truncate: bool = False,
        resamples: int = 200,
        seed: int = 0,
    ) -> PriorEstimate:
        """Estimate how the photos are divided among the answers: label shift (docs/methods.md has the formulas).

        Args:
            labels: a label set, or the name of a saved one.
            truth: what some photos show, as for `Library.lab.evaluate`; those with several labels are passed over. They
                need not be divided as the others are. Default: the corrections of a saved label set; without any,
                only ``em`` works.
            method: ``rlls`` (Azizzadenesheli et al. 2019), ``em`` (Saerens et al. 2002), ``bbse`` (Lipton et al. 2018).
            template, names: as for `Library.lab.evaluate`.
            paths, where: the photos that the estimate is about. Default: all.
            temperature: as for `Library.classify`.
            truncate: truncate prompts that are too long for the model, instead of refusing them.
            resamples: number of bootstrap resamples; 0 for no intervals.
            seed: of the bootstrap.

        Raises:
            BadPrior: there is no such method; it takes photos with known content; or there is only one answer.
            BadTruth: the truth cannot be read, or fits no photo.
            UnknownLabelSet, BadTemplate, PromptTooLong, NoVectors, NotInLibrary
            BadFilter, NoFacts, UnknownLabel: of `where`.
        """
        from zsindex.lab import prior

        resamples = bounds.whole("resamples", resamples, least=0)
        chosen = self._labels.resolve(labels, template)
        view = self._session.view_of(None if paths is None else absolute_all(paths), truncate=truncate)
        asked = Where.of(where)
        if asked is not None:
            view, _ = Filters(self._session).those(view, asked)
        if temperature is not None:
            from zsindex.services.temperature import Temperature

            view = view.tempered(Temperature(self._session).resolve(temperature))
        texts = view.text_vectors(chosen)
        known = self._known(view, chosen, texts, truth, names or {})
        _require_several(chosen)
        head = Head.of(chosen, texts, view.info, Activation.SOFTMAX)
        found, _ = prior.estimate(
            lambda: (scores for _, scores in one_pass(view, head)()),
            chosen.answers,
            neutral(chosen),
            known,
            method=method,
            resamples=resamples,
            seed=seed,
        )
        return found

    def reweighted(
        self, view: View, labels: LabelSet, texts: FloatArray, scorer: Scorer, given: Mapping[str, float] | str
    ) -> tuple[Scorer, Scorer, UsedPrior]:
        """A scorer under a prior; the same before the prior, for `transport`; and the prior.

        Args:
            view: the photos that are asked about.
            texts: of the concepts of `labels`.
            scorer: of the answers of `labels`.
            given: as in `Question.prior`.

        Raises:
            BadPrior: it does not fit the labels, or too little is known to estimate it.
        """
        from zsindex.lab import prior

        _require_several(labels)
        by_itself = neutral(labels)
        if given == ESTIMATED:
            known = self._known(view, labels, texts, CORRECTIONS, {})
            if not prior.enough(known, len(labels.answers)):
                n, least = 0 if known is None else len(known.shown), prior.LEAST_KNOWN * len(labels.answers)
                raise BadPrior(
                    f"estimating it takes corrections of at least {least} photos ({prior.LEAST_KNOWN} for each label "
                    f"on average), and there are {n}: zsindex correct; or give the shares yourself"
                )
            found, calibration = prior.estimate(
                lambda: (scores for _, scores in one_pass(view, scorer)()),
                labels.answers,
                by_itself,
                known,
                resamples=0,
            )
            shares, method, n_known = found.values, found.method, sum(found.known.values())
            power, bias = calibration.power, calibration.bias
        else:
            assert not isinstance(given, str)
            shares = dict(zip(labels.answers, shares_of(given, labels.answers), strict=True))
            method, n_known, power, bias = None, 0, 1.0, np.zeros(len(labels.answers))
        values = np.array(list(shares.values()))
        shift = (prior.shift_to(values, by_itself) + bias).astype(np.float32)
        calibrated = scorer if method is None else prior.Reweighted(scorer, power, bias.astype(np.float32))
        return prior.Reweighted(scorer, power, shift), calibrated, UsedPrior(shares, method, n_known)

    def transported(
        self, view: View, scorer: Scorer, used: UsedPrior, settle: Callable[[FloatArray], None] | None = None
    ) -> FloatArray:
        """Scores of all images of a view, each answer the best one of its share of them: float32 (u, a).

        Args:
            scorer: before the prior.
            used: the prior.
            settle: changes scores of images of which is known what they show.

        Raises:
            TooManyScores
        """
        from zsindex.errors import TooManyScores
        from zsindex.lab import transport

        n, n_answers = len(view.unique[0]), len(used.shares)
        if n * n_answers > transport.MAX_SCORES:
            raise TooManyScores(photos=n, answers=n_answers, limit=transport.MAX_SCORES)
        scores = np.empty((n, n_answers), dtype=np.float32)
        for where, block in one_pass(view, scorer)():
            scores[where] = block
        if settle is not None:
            settle(scores)
        wanted = transport.quotas(np.array(list(used.shares.values())), n)
        return transport.reweighted(scores, transport.transport(scores, wanted))

    def _known(
        self,
        view: View,
        labels: LabelSet,
        texts: FloatArray,
        truth: TruthLike | None,
        names: Mapping[str, str | Sequence[str]],
    ) -> KnownPhotos | None:
        """The photos of the library whose content is known, whatever is asked about; None without any."""
        from zsindex.lab import gather
        from zsindex.lab.prior import KnownPhotos

        by_default = truth is None
        if truth is None:
            if labels.name is None:
                return None
            truth = CORRECTIONS
        said = Truths(self._session).of(truth, labels, None)
        if not len(said) and (by_default or truth == CORRECTIONS):
            return None
        whole = replace(self._session.view(), info=view.info)
        try:
            found = gather.sample(
                whole, labels, said, names=names, others_are_none=False, at_most=len(whole) or 1, seed=0
            )
        except BadTruth:
            if by_default or truth == CORRECTIONS:
                return None
            raise
        one = found.right.sum(axis=1) == 1
        photos, shown = found.photos[one], found.right[one].argmax(axis=1)
        if not len(photos):
            return None
        head = Head.of(labels, texts, view.info, Activation.SOFTMAX)
        scores = np.concatenate(
            [
                head(whole.take(photos[start : start + gather.BLOCK_PHOTOS]))
                for start in range(0, len(photos), gather.BLOCK_PHOTOS)
            ]
        )
        return KnownPhotos(scores, shown, found.source)


def neutral(labels: LabelSet) -> Doubles:
    """The shares of the answers under which a softmax over the concepts holds by itself: each concept as likely as any
    other. float64 (a,).
    """
    counts = np.bincount(np.array(labels.answer_of, dtype=np.int64), minlength=len(labels.answers))
    found: Doubles = counts / counts.sum()
    return found


def _require_several(labels: LabelSet) -> None:
    if len(labels.answers) < 2:
        raise BadPrior("there is only one answer; photos are divided among several")

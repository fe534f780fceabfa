"""Sets of labels that hold the truth with a stated probability, calibrated with photos whose content is known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from zsindex.classification.by import By, grouped
from zsindex.classification.coverage import LABEL, Score, checked_score
from zsindex.classification.options import KnownContent, Question
from zsindex.classification.scorers import Scorer
from zsindex.classification.view import View
from zsindex.errors import BadQuestion, BadTruth
from zsindex.index.vectors import blocks
from zsindex.lab import conformal, gather
from zsindex.lab import truth as truths
from zsindex.lab.conformal import Adapted, Coverage, Doubles, Parts
from zsindex.records import Activation, FloatArray, IdArray, LabelSet
from zsindex.services.scoring import BLOCK
from zsindex.services.truths import CORRECTIONS, FOLDERS, KEYWORDS, Truths
from zsindex.session.session import Session

if TYPE_CHECKING:
    from zsindex.lab.truth import Truth
    from zsindex.services.corrections import Taught

# Of more photos with known content a random sample is taken: by then the promise is as good as exact.
MOST_PHOTOS = 100_000
# Photos that scores are adapted to, at most: a random sample of more says the same.
ADAPTED_TO = 10_000


@dataclass(frozen=True)
class Calibration:
    """What sets are calibrated with, known before anything is scored.

    Attributes:
        sample: the calibration photos, each content once, with what they show.
        asked: for `Question.calibrate`: asks for the same again.
        parts: what promises are made for.
        part_of: int64 (n,), the part of each calibration photo; empty where parts are of labels.
        part_of_photo: int64 (m,), of each photo that is asked about; empty where they are not of groups of photos.
        left_out, learnt_from, without_vector: as in `Coverage`.
    """

    sample: gather.Sample
    asked: KnownContent
    parts: Parts
    part_of: IdArray
    part_of_photo: IdArray
    left_out: int
    learnt_from: int
    without_vector: int

    @property
    def key(self) -> str:
        """Stands for all of it."""
        found = hashlib.sha256(repr(self.sample.right.shape).encode())
        ids = self.sample.view.image_ids[self.sample.photos]
        for part in (ids, self.sample.right, self.parts.of, self.part_of, self.part_of_photo):
            found.update(np.ascontiguousarray(part).tobytes())
        return found.hexdigest()[:16]

    def describe(self, question: Question) -> dict[str, str | float | bool | None]:
        """How a question makes sets: equal descriptions mean equal sets, of equal scores."""
        return {
            "share": question.coverage,
            "score": str(checked_score(question.coverage_score)),
            "per": question.coverage_per,
            "adapted": question.coverage_adapt,
            "calibration": self.key,
        }


@dataclass(frozen=True)
class Answered:
    """The sets of the images of a view, in the order of `View.unique`.

    Attributes:
        best, scores: int64 and float32 (u, size of the largest set), best first, then -1 with a score of 0.
        scorer: what the scores come from.
        coverage: what the sets promise.
    """

    best: IdArray
    scores: FloatArray
    scorer: Scorer
    coverage: Coverage


class Coverages:
    """Calibrates sets of labels, and finds those of photos."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def calibration(self, question: Question, labels: LabelSet, view: View, activation: Activation) -> Calibration:
        """Read what a question is calibrated with. Nothing is scored.

        Args:
            view: the photos that are asked about.

        Raises:
            BadTruth: it cannot be read, or is too little for the coverage.
            BadQuestion: sets cannot be made so from such scores.
            UnknownLabelSet
        """
        assert question.coverage is not None
        if activation is Activation.SIGMOID:
            why = "the scores of a sigmoid do not add up to 1, as it needs"
            if checked_score(question.coverage_score) is not Score.LAC:
                raise BadQuestion(["coverage_score"], f"{why}; use lac")
            if question.coverage_adapt:
                raise BadQuestion(["coverage_adapt"], why)
        given = CORRECTIONS if question.calibrate is None else question.calibrate
        truth = Truths(self._session).of(given, labels, None)
        if question.calibrate is None and not len(truth):
            raise BadTruth(
                truth.source,
                "there are none yet: correct some photos (zsindex correct), or say which others have known content "
                "(calibrate=, --calibrate)",
            )
        whole = self._session.view()
        known = whole.those(np.array([path in truth.labels for path in whole.paths], dtype=np.bool_))
        there = [truth.labels[path] for path in known.paths]
        sayable = _sayable(truth, labels)
        left_out = sum(sayable.isdisjoint(said) for said in there)
        if left_out == len(there):
            raise BadTruth(
                truth.source,
                f"of its {len(truth):,} photos the library has vectors of {len(there):,}, and none of these shows one "
                f"of the labels by its name, such as {labels.answers[0]}",
            )
        known = replace(known, info=view.info)
        found = gather.sample(known, labels, truth, names={}, others_are_none=False, at_most=MOST_PHOTOS, seed=0)
        found, learnt_from = self._not_learnt_from(found, question, labels)
        n, least = len(found.photos), conformal.needed(question.coverage)
        if n < least:
            but = f" that the answers did not learn from, of {n + learnt_from:,}" if learnt_from else ""
            raise BadTruth(truth.source, f"a coverage of {question.coverage:g} takes at least {least:,} photos with "
                           f"known content to calibrate with, and it has {n:,}{but}")  # fmt: skip
        if question.coverage_adapt and (found.right.sum(axis=1) > 1).any():
            raise BadTruth(truth.source, "some photos show several labels, and scores are adapted to one of each photo")
        parts, part_of, part_of_photo = self._parts(question, truth, found, view)
        is_live = isinstance(given, str) and given.partition(":")[0] in (FOLDERS, KEYWORDS, CORRECTIONS)
        return Calibration(
            found,
            given if is_live else {path: list(said) for path, said in truth.labels.items()},
            parts,
            part_of,
            part_of_photo,
            left_out=left_out,
            learnt_from=learnt_from,
            without_vector=len(truth) - len(there),
        )

    def _not_learnt_from(self, found: gather.Sample, question: Question, labels: LabelSet) -> tuple[gather.Sample, int]:
        """Photos that the answers did not learn from, and how many they did: they answer these better than others."""
        if question.with_corrections is None:
            return found, 0
        from zsindex.services.corrections import Corrections

        corrected = self._session.storage.photos.images_of(Corrections(self._session).of(labels).by_digest)
        taught = np.isin(found.view.image_ids[found.photos], np.array(list(corrected.values()), dtype=np.int64))
        return replace(found, photos=found.photos[~taught], right=found.right[~taught]), int(taught.sum())

    def _parts(
        self, question: Question, truth: Truth, found: gather.Sample, view: View
    ) -> tuple[Parts, IdArray, IdArray]:
        """What promises are made for, and to which of it photos belong."""
        assert question.coverage is not None
        nobody, n, per = np.zeros(0, dtype=np.int64), len(found.photos), question.coverage_per
        if per is None:
            return Parts.single(n, question.coverage), np.zeros(n, dtype=np.int64), nobody
        if per == LABEL:
            number, names = nobody, list(found.labels.answers)
            counts = found.right.sum(axis=0)
        else:
            paths = [found.view.paths[photo] for photo in found.photos.tolist()]
            _, number, names = grouped([*paths, *view.paths], By(per), self._session.facts.table())
            counts = np.bincount(number[:n], minlength=len(names))
        least = conformal.needed(question.coverage)
        if counts.max() < least:
            most = int(counts.argmax())
            raise BadTruth(truth.source, f"a coverage of {question.coverage:g} of its own takes at least {least:,} "
                           f"photos with known content, and no {per} has as many: {names[most] or 'unknown'} has "
                           f"{counts[most]:,}")  # fmt: skip
        parts = Parts.by(counts, names, question.coverage)
        part_of = parts.of[number]
        return parts, part_of[:n], part_of[n:]

    def answered(
        self, question: Question, calibration: Calibration, view: View, scorer: Scorer, taught: Taught | None
    ) -> Answered:
        """The sets of all images of a view.

        Args:
            view: the photos that are asked about.
            scorer: of the answers of the label set.
            taught: what corrections say themselves.
        """
        assert question.coverage is not None
        score, sample = checked_score(question.coverage_score), calibration.sample
        scores = _scored(sample.view, sample.view.rows[sample.photos], scorer)
        photo, answer = np.nonzero(sample.right)
        if question.coverage_adapt:
            adapted = self._adapted(view, sample, scorer)
            scorer = _then(scorer, adapted)
            values = -adapted.of_truth(scores, answer).astype(np.float64)
            scores = adapted(scores)
        else:
            values = conformal.nonconformity(scores, score)[photo, answer][:, None]
        part = calibration.part_of
        if question.coverage_per == LABEL:
            part = calibration.parts.of[answer]
        elif len(photo) > len(scores):  # of all that a photo shows, everything is to be in its set
            values = np.maximum.reduceat(values, np.searchsorted(photo, np.arange(len(scores))), axis=0)
        limits = conformal.limits(values, part, len(calibration.parts.promises), question.coverage)
        best, shown = _sets(view, scorer, score, calibration, limits, taught, by_label=question.coverage_per == LABEL)
        asked = shown[:, 0]
        if taught is not None:  # corrected photos are answered as corrected
            asked = asked[~np.isin(view.vectors.ids[view.unique[0]], taught.corrected)]
        right = float(sample.right[np.arange(len(scores)), scores.argmax(axis=1)].mean())
        coverage = Coverage(
            coverage=question.coverage,
            score=str(score),
            per=question.coverage_per,
            adapted=question.coverage_adapt,
            source=sample.source,
            photos=len(scores),
            right=right,
            promises=calibration.parts.promises,
            left_out=calibration.left_out,
            learnt_from=calibration.learnt_from,
            without_vector=calibration.without_vector,
            doubts=tuple(conformal.doubts(right, scores.max(axis=1), asked)),
        )
        return Answered(best, shown, scorer, coverage)

    @staticmethod
    def _adapted(view: View, sample: gather.Sample, scorer: Scorer) -> Adapted:
        """Adapt scores to photos that are asked about and calibration photos alike."""
        ids = np.union1d(view.image_ids, sample.view.image_ids[sample.photos])
        if len(ids) > ADAPTED_TO:
            ids = np.sort(np.random.default_rng(0).choice(ids, ADAPTED_TO, replace=False))
        rows = sample.view.vectors.rows_of(ids)
        return Adapted.to(_scored(sample.view, rows[rows >= 0], scorer), sample.right.sum(axis=0))


def _sets(
    view: View,
    scorer: Scorer,
    score: Score,
    calibration: Calibration,
    limits: Doubles,
    taught: Taught | None,
    *,
    by_label: bool,
) -> tuple[IdArray, FloatArray]:
    """Sets as rows, see `Answered`.

    Args:
        limits: float64 (number of parts, number of answers or 1).
    """
    rows, answers = view.unique[0], calibration.sample.labels.answers
    of_label = limits[calibration.parts.of, np.arange(len(answers)) % limits.shape[1]] if by_label else limits[0]
    part_of_row = _of_images(view, calibration.part_of_photo)
    settled = None if taught is None else taught.lessons.among(answers)
    found = []
    for where, block in blocks(view.vectors, rows, BLOCK):
        scores = scorer(block)
        inside = conformal.inside(scores, score, limits[part_of_row[where]] if len(part_of_row) else of_label)
        if settled is not None and taught is not None:
            which, said = settled.find(view.vectors.ids[rows[where]])
            scores[which] = settled.scores(said, scores[which], taught.activation)
            inside[which] = settled.possible[said] & (inside[which] | settled.is_said[said][:, None])
        found.append(conformal.Listed.of(scores, inside))
    return conformal.as_rows(found)


def _of_images(view: View, of_photos: IdArray) -> IdArray:
    """What is known of each photo, of each image of `View.unique`; of copies what is known of the first."""
    rows, back = view.unique
    if isinstance(back, slice) or not len(of_photos):
        return of_photos
    found = np.empty(len(rows), dtype=np.int64)
    found[back[::-1]] = of_photos[::-1]
    return found


def _sayable(truth: Truth, labels: LabelSet) -> set[str]:
    """The names in a truth that stand for an answer."""
    names = truths.stands_for(truth, labels, labels.answers, {}, others=False)
    return {name for name, answer in names.number.items() if answer >= 0}


def _scored(view: View, rows: IdArray, scorer: Scorer) -> FloatArray:
    """Scores of some rows: float32 (n, c)."""
    parts = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    return np.concatenate([scorer(view.vectors.take(part)) for part in parts])


def _then(scorer: Scorer, adapted: Adapted) -> Scorer:
    return lambda images: adapted(scorer(images))

"""How often answers are right, with intervals, and how two ways of asking differ on the same photos. Pure numpy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from zsindex.classification.results import Classification
from zsindex.errors import BadTruth, UnknownLabel
from zsindex.lab import metrics
from zsindex.lab import truth as truths
from zsindex.lab.bootstrap import Estimate, Values, estimates, of_share, resamples
from zsindex.lab.tradeoff import Tradeoff, tradeoff
from zsindex.lab.truth import Known, Truth
from zsindex.records import NONE, FloatArray, IdArray, LabelSet

if TYPE_CHECKING:
    from zsindex.lab.ci_report import SetsOfLabels

# The answer of a photo that is left without any, as thresholds can do.
NO_ANSWER = "(no answer)"
BEST = 5
SUMMARY = ("top1", "top5", "precision", "recall", "f1", "ece", "auroc", "fpr95", "map")
# Average precision looks at all photos for every label in every resample: this many steps take a few seconds.
MAX_STEPS = 10**9
# Fewer resamples give no interval worth its name.
MIN_RESAMPLES = 100
# Scores to hold at a time.
CELLS = 2**24


@dataclass(frozen=True)
class Contestant:
    """One way of asking, and the answers of all photos, with at least the best five of each.

    Attributes:
        knownness: (n,), of the answer's photos in its order, higher means less likely `NONE`; None if the answer's
            scores tell.
    """

    name: str
    labels: LabelSet
    answer: Classification
    knownness: FloatArray | None = None


@dataclass(frozen=True)
class Outcome:
    """The answers of one way of asking about m photos, with the truth in terms of its answers.

    Attributes:
        name: for people.
        answers: the possible answers.
        known: the truth.
        best: int64 (m, top), the best answers; -1 for none. `top` is 5, or less if there are fewer.
        scores: float32 (m, top), their scores.
        knownness: (m,), higher means less likely `NONE`.
        all_scores: float32 (b, n_answers) of some photos by their numbers.
        about: further facts: model, label set, templates, the run's key.
    """

    name: str
    answers: tuple[str, ...]
    known: Known
    best: IdArray
    scores: FloatArray
    knownness: FloatArray
    all_scores: Callable[[IdArray], FloatArray]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelReport:
    """How well one answer is found.

    Attributes:
        photos: number that show it.
        answered: number whose best answer it was.
        right: number of both.
        precision, recall, f1: NaN if it was never answered, or never shown.
        average_precision: if photos show several things; else None.
    """

    label: str
    photos: int
    answered: int
    right: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    average_precision: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        document: dict[str, Any] = {
            "label": self.label,
            "photos": self.photos,
            "answered": self.answered,
            "right": self.right,
            "precision": self.precision.to_dict(),
            "recall": self.recall.to_dict(),
            "f1": self.f1.to_dict(),
        }
        if self.average_precision is not None:
            document["average_precision"] = self.average_precision.to_dict()
        return document


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many photos show `truth` and were answered with `answer`."""

    truth: str
    answer: str
    photos: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"truth": self.truth, "answer": self.answer, "photos": self.photos}


@dataclass(frozen=True)
class Report:
    """How often one way of asking is right.

    Attributes:
        photos: number that can be right or wrong. Photos of `NONE` count only for `auroc` and `fpr95` if that is not an
            answer.
        summary: each of `SUMMARY` that can be measured: `top1` and `top5`, how often the best answer, or one of the
            best five, is true; `precision`, `recall` and `f1`, averaged over the labels that photos show; `ece`, the
            expected calibration error; `auroc` and `fpr95`, how well photos of a label are told from those of `NONE`;
            `map`, the mean average precision, if photos show several things.
        differences: the same minus the first report's, from the same resamples; empty in the first one.
        f1_differences: of each label of both, its F1 minus that in the first report, likewise.
        gained, lost: photos that are right here and wrong in the first report, and the other way around.
        sets: how often sets of labels hold what photos show, if a coverage was asked for.
        labels: for every answer that is shown or given, in order.
        confusions: all non-empty cells of the confusion matrix, including right answers, fullest first; none if photos
            show several things.
        reliability: what the calibration error is made of.
        wrong: photos whose best answer is wrong, by their numbers in `Evaluation.paths`.
        outcome: what all of this was measured on.
    """

    name: str
    answers: tuple[str, ...]
    photos: int
    summary: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    labels: tuple[LabelReport, ...]
    confusions: tuple[Confusion, ...]
    reliability: tuple[metrics.ReliabilityBin, ...]
    wrong: IdArray
    about: Mapping[str, Any]
    outcome: Outcome = field(repr=False, compare=False)
    f1_differences: Mapping[str, Estimate] = field(default_factory=dict)
    gained: int = 0
    lost: int = 0
    sets: SetsOfLabels | None = None

    def right_unlike(self, other: Report) -> IdArray:
        """The photos that are right here and wrong in another report of the same evaluation.

        Returns:
            Numbers in `Evaluation.paths`, int64; first those where both were sure.
        """
        photos = np.flatnonzero(self._graded & self._right & other._graded & ~other._right)
        sure = np.minimum(self._sure[photos], other._sure[photos])
        return photos[np.argsort(-sure, kind="stable")]

    def photos_of(self, *, shows: str | None = None, answered: str | None = None, wrong: bool = False) -> IdArray:
        """The photos of a cell of the confusion matrix, of its rows, or of its columns.

        Args:
            shows: only photos that show this answer.
            answered: only photos whose best answer is this one, or `NO_ANSWER`.
            wrong: only photos whose best answer is wrong; or, with `shows`, another one.

        Returns:
            Numbers in `Evaluation.paths`, int64; the highest scores first.

        Raises:
            UnknownLabel: it is not among the answers.
        """
        best = self.outcome.best[:, 0]
        chosen = self._graded
        if shows is not None:
            chosen &= self._shows(self._number(shows))
        if answered is not None:
            chosen &= best == (-1 if answered == NO_ANSWER else self._number(answered))
        if wrong:
            chosen &= ~self._right if shows is None else best != self._number(shows)
        photos = np.flatnonzero(chosen)
        return photos[np.argsort(-self._sure[photos], kind="stable")]

    def tradeoff(self, label: str) -> Tradeoff:
        """What a minimum score of an answer costs: its precision and recall at every score.

        Raises:
            UnknownLabel: it is not among the answers.
        """
        number = self._number(label)
        photos = np.flatnonzero(self._graded)
        parts = np.array_split(photos, -(-len(photos) // 4096) or 1)
        scores = np.concatenate([self.outcome.all_scores(part)[:, number] for part in parts])
        return tradeoff(label, scores, self._shows(number)[photos], self.outcome.best[photos, 0] == number)

    def shown(self, photo: int) -> tuple[str, ...]:
        """What a photo shows, by its number."""
        known = self.outcome.known
        start, end = np.searchsorted(known.photo, [photo, photo + 1])
        return tuple(NONE if one < 0 else self.answers[one] for one in known.answer[start:end].tolist())

    @property
    def _graded(self) -> metrics.Flags:
        known = self.outcome.known
        graded = np.zeros(known.n_photos, dtype=bool)
        graded[known.photo[known.answer >= 0]] = True
        return graded

    @property
    def _right(self) -> metrics.Flags:
        right: metrics.Flags = self.outcome.known.is_right(self.outcome.best[:, :1])[:, 0]
        return right

    @property
    def _sure(self) -> FloatArray:
        """Scores of the best answers; 0 where there is none."""
        sure: FloatArray = np.where(self.outcome.best[:, 0] < 0, 0, np.nan_to_num(self.outcome.scores[:, 0]))
        return sure

    def _shows(self, number: int) -> metrics.Flags:
        known = self.outcome.known
        shows = np.zeros(known.n_photos, dtype=bool)
        shows[known.photo[known.answer == number]] = True
        return shows

    def _number(self, label: str) -> int:
        if label not in self.answers:
            raise UnknownLabel(label, known=self.answers)
        return self.answers.index(label)

    @property
    def mistakes(self) -> tuple[Confusion, ...]:
        """The confusions that are wrong, most frequent first."""
        return tuple(cell for cell in self.confusions if cell.truth != cell.answer)

    def matrix(self, labels: Sequence[str]) -> IdArray:
        """The confusion matrix of some answers: int64, truth (row) by answer (column)."""
        number = {label: n for n, label in enumerate(labels)}
        counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
        for cell in self.confusions:
            if cell.truth in number and cell.answer in number:
                counts[number[cell.truth], number[cell.answer]] = cell.photos
        return counts

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            **self.about,
            "photos": self.photos,
            "summary": {name: estimate.to_dict() for name, estimate in self.summary.items()},
            "differences": {name: estimate.to_dict() for name, estimate in self.differences.items()},
            "f1_differences": {name: estimate.to_dict() for name, estimate in self.f1_differences.items()},
            "gained": self.gained,
            "lost": self.lost,
            "sets": None if self.sets is None else self.sets.to_dict(),
            "labels": [label.to_dict() for label in self.labels],
            "confusions": [cell.to_dict() for cell in self.confusions],
            "reliability": [b.to_dict() for b in self.reliability],
        }


@dataclass(frozen=True)
class Evaluation:
    """The result of `Library.lab.evaluate`, and what it had to leave out.

    Attributes:
        reports: one for each way of asking, all about the same photos.
        truth: where it came from.
        paths: of the photos whose answers were compared.
        resamples, seed: of the bootstrap.
        unknown_labels: what photos show but some label set does not have, with the number of photos.
        left_out: photos that show nothing else.
        not_held: paths with truth that the library does not hold.
        unanswered: paths with truth that lack a vector from some model.
        without_truth: paths of photos without truth.
        learnt_from: of the compared photos, those from whose corrections the answers learnt. They are answered as was
            said, so that they say nothing about how often other photos are answered right.
        image_ids: of `paths`, int64.
    """

    reports: tuple[Report, ...]
    truth: str
    paths: tuple[str, ...]
    resamples: int
    seed: int
    unknown_labels: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    not_held: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()
    without_truth: tuple[str, ...] = ()
    learnt_from: tuple[str, ...] = ()
    image_ids: IdArray = field(default_factory=lambda: np.empty(0, dtype=np.int64), repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "truth": self.truth,
            "photos": len(self.paths),
            "resamples": self.resamples,
            "seed": self.seed,
            "unknown_labels": dict(self.unknown_labels),
            "left_out": list(self.left_out),
            "not_held": list(self.not_held),
            "unanswered": list(self.unanswered),
            "without_truth": list(self.without_truth),
            "learnt_from": list(self.learnt_from),
            "reports": [
                {**report.to_dict(), "wrong": [self.paths[photo] for photo in report.wrong.tolist()]}
                for report in self.reports
            ],
        }


def evaluate(
    asked: Sequence[Contestant],
    truth: Truth,
    *,
    names: Mapping[str, Sequence[str]],
    others_are_none: bool,
    n_resamples: int,
    seed: int,
    corrected: Collection[str] = (),
) -> Evaluation:
    """Compare answers with the truth, on the photos that all ways of asking have an answer and a label for.

    Args:
        names, others_are_none: as `truth.stands_for` takes them.
        corrected: paths of photos that answers learnt from.

    Raises:
        BadTruth: there are no such photos; says why.
    """
    names_of = [truths.stands_for(truth, one.labels, one.answer.labels, names, others=others_are_none) for one in asked]
    numbers = [{path: n for n, path in enumerate(one.answer.paths)} for one in asked]
    unanswered = {path for one in asked for path in one.answer.unanswered}
    paths, left_out, without_truth = [], [], []
    for path in asked[0].answer.paths:
        if path not in truth.labels:
            without_truth.append(path)
        elif path in unanswered:
            continue
        elif all(any(name in known.number for name in truth.labels[path]) for known in names_of):
            paths.append(path)
        else:
            left_out.append(path)
    unknown = truths.unknown_counts(truth, names_of)
    not_held = [path for path in truth.labels if path not in numbers[0] and path not in unanswered]
    if not paths:
        raise BadTruth(truth.source, _why_nothing(asked[0], truth, list(unknown), n_not_held=len(not_held)))
    rows = [np.array([number[path] for path in paths]) for number in numbers]
    outcomes = [
        _outcome(one, row, truths.known(truth, known, paths))
        for one, row, known in zip(asked, rows, names_of, strict=True)
    ]
    return Evaluation(
        reports=compare(outcomes, n_resamples=n_resamples, seed=seed),
        truth=truth.source,
        paths=tuple(paths),
        resamples=n_resamples,
        seed=seed,
        unknown_labels=unknown,
        left_out=tuple(left_out),
        not_held=tuple(not_held),
        unanswered=tuple(path for path in truth.labels if path in unanswered),
        without_truth=tuple(without_truth),
        learnt_from=tuple(path for path in paths if path in corrected),
        image_ids=asked[0].answer.image_ids[rows[0]],
    )


def _why_nothing(asked: Contestant, truth: Truth, unknown: Sequence[str], *, n_not_held: int) -> str:
    if not len(truth):
        return "it is empty, or says nothing of the photos that are asked about"
    if n_not_held == len(truth):
        return "the library holds none of its photos"
    if not unknown:
        return f"none of its {len(truth):,} photos has a vector from the model"
    answers = list(asked.answer.labels)
    return (
        f"its labels ({_some(unknown)}) are not among the answers ({_some(answers)}); map them (names=, --map): "
        f"{unknown[0]!r}={answers[0]!r}"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _outcome(asked: Contestant, numbers: IdArray, known: Known) -> Outcome:
    """The outcome for the photos with these numbers."""
    answer = asked.answer
    ranked, ranked_scores = answer.ranked
    best, scores = ranked[numbers, :BEST], ranked_scores[numbers, :BEST]

    def all_scores(photos: IdArray) -> FloatArray:
        return answer.scores_of(numbers[photos])

    knownness = scores[:, 0]
    if asked.knownness is not None:
        knownness = asked.knownness[numbers]
    elif NONE in answer.labels:
        none = answer.labels.index(NONE)
        parts = np.array_split(np.arange(len(numbers)), -(-len(numbers) // 4096))
        knownness = np.concatenate([1 - all_scores(photos)[:, none] for photos in parts])
    run = answer.run
    about = {
        "model": run.model,
        "label_set": run.label_set,
        "label_set_version": run.label_set_version,
        "templates": list(run.templates),
        "run": run.key,
    }
    return Outcome(asked.name, answer.labels, known, best, scores, knownness, all_scores, about)


def compare(outcomes: Sequence[Outcome], *, n_resamples: int = 1000, seed: int = 0) -> tuple[Report, ...]:
    """Measure several ways of asking on the same photos; the others are compared with the first.

    Intervals are percentile intervals over resamples of the photos, the same for all, so that differences are paired: a
    hard photo is hard for both. Shares of 0 and 1, of which all resamples say the same, have exact binomial ones.

    Args:
        outcomes: all of the same m ≥ 1 photos, in the same order.
        n_resamples: 0 for no intervals.
    """
    tallies = [_Tally(outcome) for outcome in outcomes]
    m = outcomes[0].known.n_photos
    values = [tally.values(np.ones(m)) for tally in tallies]
    samples = [np.empty((n_resamples, len(row))) for row in values]
    for i, weights in enumerate(resamples(m, n_resamples, seed)):
        for tally, rows in zip(tallies, samples, strict=True):
            rows[i] = tally.values(weights)
    precisions: list[_Precisions | None] = [None] * len(outcomes)
    if any(outcome.known.is_multi for outcome in outcomes):
        for n, outcome in enumerate(outcomes):
            precisions[n] = found = _average_precisions(outcome, n_resamples, seed)
            values[n][_MAP] = found.values.mean() if len(found.values) else np.nan
            samples[n][: len(found.samples), _MAP] = [_mean(row) for row in found.samples]
    return tuple(
        _report(tally, values[n], samples[n], precisions[n], less=(tallies[0], values[0], samples[0]) if n else None)
        for n, tally in enumerate(tallies)
    )


_MAP = SUMMARY.index("map")


class _Tally:
    """All counts of an outcome, for any weights of the photos.

    Photos with the same truth, the same best answer and the same success among the next four form one cell, so that a
    resample takes one pass over the photos (two with the calibration) and a few over the cells, which are far fewer.
    """

    def __init__(self, outcome: Outcome) -> None:
        known, best = outcome.known, outcome.best
        self.outcome = outcome
        n_photos = known.n_photos
        listed = known.answer >= 0
        truth_photo, truth = known.photo[listed], known.answer[listed]
        self.graded = np.zeros(n_photos, dtype=bool)
        self.graded[truth_photo] = True
        is_right = known.is_right(best)
        self.right = is_right[:, 0]
        self.has_more = len(outcome.answers) > BEST
        # After thresholds a photo may have no answer, and then no score.
        confidence = np.where(best[:, 0] >= 0, np.nan_to_num(outcome.scores[:, 0]), 0.0).astype(np.float64)
        self.confidence = np.where(self.graded, confidence, 0.0)
        self.gap = np.where(self.graded, self.right - confidence, 0.0)
        self.bin = metrics.bins_of(self.confidence)
        answer = np.where(self.graded, best[:, 0], -1)
        # Nothing can be said about answers that are neither shown nor given.
        self.shown = np.union1d(truth, answer[answer >= 0])
        number = np.full(len(outcome.answers) + 1, len(self.shown))  # the last is that of -1, no answer
        number[self.shown] = np.arange(len(self.shown))
        # Photos that show several things are counted one by one; others by the number of what they show.
        said = np.arange(n_photos) if known.is_multi else np.full(n_photos, len(self.shown))
        if not known.is_multi:
            said[truth_photo] = number[truth]
        of_photo = np.stack([said, number[answer], self.right, is_right.any(axis=1), self.graded], axis=1)
        cells, first, self.cell = np.unique(of_photo, axis=0, return_index=True, return_inverse=True)
        self.cell = self.cell.reshape(-1)
        self.cell_answer, self.cell_right = np.ascontiguousarray(cells[:, 1:3].T)
        # Right, in the best five, graded: one bit each. Counting them takes one pass and no matrix product, whose
        # threads would only slow down so little work.
        self.cell_luck = cells[:, 2:] @ [1, 2, 4]
        # Which cells show what: each once for everything that its photos show.
        of = np.argsort(truth_photo, kind="stable")
        starts = np.searchsorted(truth_photo[of], [first, first + 1])
        in_order = number[truth[of]]
        self.truth = np.concatenate([in_order[i:j] for i, j in starts.T.tolist()]) if len(first) else number[:0]
        self.truth_cell = np.repeat(np.arange(len(first)), starts[1] - starts[0])
        none = outcome.answers.index(NONE) if NONE in outcome.answers else -1
        is_something = np.zeros(n_photos, dtype=bool)
        is_something[known.photo[known.answer != none]] = True
        mixed = is_something.any() and not is_something.all()
        self.roc = metrics.Roc.of(outcome.knownness, is_something) if mixed else None

    @property
    def labels(self) -> list[str]:
        """The names of the `shown` answers."""
        return [self.outcome.answers[answer] for answer in self.shown.tolist()]

    def counts(self, weights: Values) -> tuple[Values, Values, Values]:
        """Photos that show each of the `shown` answers, that were answered with it, and both."""
        return self._counts(metrics.weighted_counts(self.cell, weights, len(self.cell_answer)))

    def _counts(self, cells: Values) -> tuple[Values, Values, Values]:
        n = len(self.shown)
        return (
            metrics.weighted_counts(self.truth, cells[self.truth_cell], n + 1)[:n],
            metrics.weighted_counts(self.cell_answer, cells, n + 1)[:n],
            metrics.weighted_counts(self.cell_answer, cells * self.cell_right, n + 1)[:n],
        )

    def values(self, weights: Values) -> Values:
        """The `SUMMARY`, then precision, recall and F1 of each of the `shown` answers."""
        cells = metrics.weighted_counts(self.cell, weights, len(self.cell_answer))
        there, answered, right = self._counts(cells)
        precision, recall = _share(right, answered), _share(right, there)
        f1 = _share(2 * right, there + answered)
        luck = metrics.weighted_counts(self.cell_luck, cells, 8)
        total = luck[4:].sum()
        gaps = metrics.weighted_counts(self.bin, weights * self.gap, metrics.N_BINS)
        is_there = there > 0
        summary = [
            luck[1::2].sum() / total if total else np.nan,
            (luck[2:4].sum() + luck[6:].sum()) / total if total and self.has_more else np.nan,
            # Otherwise a label that is never answered would improve the mean.
            _mean(np.nan_to_num(precision[is_there])),
            _mean(recall[is_there]),
            _mean(f1[is_there]),
            np.abs(gaps).sum() / total if total else np.nan,
            np.nan if self.roc is None else self.roc.area(weights),
            np.nan if self.roc is None else self.roc.false_positives(weights=weights),
            np.nan,
        ]
        return np.concatenate([summary, precision, recall, f1])


@dataclass(frozen=True)
class _Precisions:
    """Average precision of p answers int64 (p,): float64 (p,), and in each of r resamples, (r, p)."""

    of: IdArray
    values: Values
    samples: Values


def _average_precisions(outcome: Outcome, n_resamples: int, seed: int) -> _Precisions:
    """Average precision of each answer that a photo shows, over all photos; a few answers at a time."""
    known = outcome.known
    m = known.n_photos
    shown = np.unique(known.answer[known.answer >= 0])
    r = min(n_resamples, MAX_STEPS // max(1, m * len(shown)))
    r = r if r >= MIN_RESAMPLES else 0
    values, samples = np.empty(len(shown)), np.empty((r, len(shown)))
    step = max(1, CELLS // m)
    for start in range(0, len(shown), step):
        part = shown[start : start + step]
        columns = np.empty((m, len(part)), dtype=np.float32)
        for at in range(0, m, 4096):
            photos = np.arange(at, min(at + 4096, m))
            columns[photos] = outcome.all_scores(photos)[:, part]
        ranked = []
        for column, answer in enumerate(part.tolist()):
            positive = np.zeros(m, dtype=bool)
            positive[known.photo[known.answer == answer]] = True
            place = np.unique(-columns[:, column], return_inverse=True)[1]
            # Only how many photos come before each positive matters.
            ranked.append((np.searchsorted(np.unique(place[positive]), place), np.flatnonzero(positive)))
        where = slice(start, start + len(part))
        values[where] = [metrics.ranked_precision(*one, np.ones(m)) for one in ranked]
        for i, weights in enumerate(resamples(m, r, seed)):
            samples[i, where] = [metrics.ranked_precision(*one, weights) for one in ranked]
    return _Precisions(shown, values, samples)


def _report(
    tally: _Tally,
    values: Values,
    samples: Values,
    precisions: _Precisions | None,
    less: tuple[_Tally, Values, Values] | None,
) -> Report:
    outcome, k = tally.outcome, len(SUMMARY)
    summary = dict(zip(SUMMARY, estimates(values[:k], samples[:, :k]), strict=True))
    differences: dict[str, Estimate] = {}
    f1_differences: dict[str, Estimate] = {}
    gained = lost = 0
    if less is not None:
        first, first_values, first_samples = less
        of = estimates(values[:k] - first_values[:k], samples[:, :k] - first_samples[:, :k])
        differences = dict(zip(SUMMARY, of, strict=True))
        number = {label: n for n, label in enumerate(first.labels)}
        both = [label for label in tally.labels if label in number]
        ours = [k + 2 * len(tally.labels) + n for n, label in enumerate(tally.labels) if label in number]
        theirs = [k + 2 * len(first.labels) + number[label] for label in both]
        of = estimates(values[ours] - first_values[theirs], samples[:, ours] - first_samples[:, theirs])
        f1_differences = {label: one for label, one in zip(both, of, strict=True) if not np.isnan(one.value)}
        graded = tally.graded & first.graded
        gained, lost = (int((graded & a.right & ~b.right).sum()) for a, b in ((tally, first), (first, tally)))
    of_labels = estimates(values[k:], samples[:, k:])
    n = len(tally.shown)
    of_average: dict[int, Estimate] = {}
    if precisions is not None:
        of_average = dict(zip(precisions.of.tolist(), estimates(precisions.values, precisions.samples), strict=True))
    there, answered, right = tally.counts(np.ones(len(tally.graded)))
    graded = tally.graded
    n_graded = int(graded.sum())
    summary.update({name: of_share(summary[name], n_graded) for name in ("top1", "top5")})
    return Report(
        name=outcome.name,
        answers=outcome.answers,
        photos=n_graded,
        summary={name: e for name, e in summary.items() if not np.isnan(e.value)},
        differences={name: e for name, e in differences.items() if not np.isnan(e.value)},
        labels=tuple(
            LabelReport(
                outcome.answers[answer],
                int(there[i]),
                int(answered[i]),
                int(right[i]),
                of_share(of_labels[i], answered[i]),
                of_share(of_labels[n + i], there[i]),
                of_labels[2 * n + i],
                of_average.get(answer),
            )
            for i, answer in enumerate(tally.shown.tolist())
        ),
        confusions=() if outcome.known.is_multi else _confusions(outcome),
        reliability=metrics.reliability(tally.confidence[graded], tally.right[graded]),
        wrong=np.flatnonzero(graded & ~tally.right),
        about=outcome.about,
        outcome=outcome,
        f1_differences=f1_differences,
        gained=gained,
        lost=lost,
    )


def _confusions(outcome: Outcome) -> tuple[Confusion, ...]:
    """All non-empty cells of the confusion matrix, fullest first; ties in the order of the answers."""
    names = (*outcome.answers, NO_ANSWER)  # which is number -1
    listed = outcome.known.answer >= 0
    truth = outcome.known.answer[listed]
    pairs = np.stack([truth, outcome.best[outcome.known.photo[listed], 0]], axis=1)
    cells, counts = np.unique(pairs, axis=0, return_counts=True)
    return tuple(
        Confusion(names[cells[i, 0]], names[cells[i, 1]], int(counts[i])) for i in np.argsort(-counts, kind="stable")
    )


def _share(part: Values, whole: Values) -> Values:
    """Part of whole; NaN if the whole is 0."""
    shares: Values = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return shares


def _mean(values: Values) -> float:
    """Mean of the defined values; NaN if there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")

"""What questions return: sequences of small records that can be printed, iterated over and turned into plain data."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from zsindex.arguments import bounds
from zsindex.errors import BadQuestion
from zsindex.records import Activation, FloatArray, IdArray, LabelSet

if TYPE_CHECKING:
    import pandas as pd

    from zsindex.classification.by import By, Counts
    from zsindex.classification.coverage import Coverage
    from zsindex.classification.learned import Learned
    from zsindex.classification.priors import UsedPrior
    from zsindex.storage.facts_table import FactsTable

__all__ = [
    "BLOCK_PHOTOS",
    "Answer",
    "Asked",
    "Block",
    "ByAnswer",
    "Classification",
    "Flip",
    "Hit",
    "Hits",
    "Prediction",
    "Result",
    "Run",
    "Smoothing",
]

BLOCK_PHOTOS = 4096
_PART_PHOTOS = 1_000_000
# Scores of all answers at a time: 16 MB.
_BLOCK_SCORES = 2**22


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label with its score: a probability in [0, 1]."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one photo: its predictions, best first."""

    path: str
    predictions: tuple[Prediction, ...]

    @property
    def label(self) -> str:
        """The best label."""
        return self.predictions[0].label

    @property
    def score(self) -> float:
        """The best label's score."""
        return self.predictions[0].score

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all predictions: with `coverage`, the photo's set."""
        return tuple(one.label for one in self.predictions)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"path": self.path, "predictions": [{"label": p.label, "score": p.score} for p in self.predictions]}


class Asked(NamedTuple):
    """What `Library.classify` was asked.

    Attributes:
        labels: with their final prompts.
        arguments: everything else that the answer depends on, see `zsindex.classification.options.Question.arguments`.
    """

    labels: LabelSet
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that a classification depends on.

    Attributes:
        model: its name; `fingerprint` identifies it.
        labels: in order; `label_set` is the name they are saved under, if any.
        labels_sha256: over labels and final prompts.
        templates: those that made the prompts; empty if all prompts were written out.
        activation, logit_scale, logit_bias: how cosines became scores.
        watermark, generation, files_revision: the state of the library.
        options: other options in use.
        version: of zsindex.
        label_set_version: of the saved set.
        groups, negatives: of the label set.
        icc, transparency: of the model, as `decode`.
        asked: how to ask again.
    """

    model: str
    fingerprint: str
    decode: str
    precision: str
    labels: tuple[str, ...]
    label_set: str | None
    labels_sha256: str
    templates: tuple[str, ...]
    activation: Activation
    logit_scale: float
    logit_bias: float | None
    watermark: int
    generation: int
    files_revision: int
    options: tuple[tuple[str, Any], ...]
    version: str
    label_set_version: int | None = None
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    negatives: tuple[str, ...] = ()
    icc: str = "ignore"
    transparency: str = "reference"
    asked: Asked | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> str:
        """Identifies this run: equal keys mean equal results, on the same library."""
        meaning = [
            self.fingerprint,
            self.labels_sha256,
            str(self.activation),
            [self.watermark, self.generation, self.files_revision],
            self.options,
        ]
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "key": self.key,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "decode": self.decode,
            "icc": self.icc,
            "transparency": self.transparency,
            "precision": self.precision,
            "label_set": self.label_set,
            "label_set_version": self.label_set_version,
            "labels": list(self.labels),
            "groups": {group: list(labels) for group, labels in self.groups},
            "negatives": list(self.negatives),
            "labels_sha256": self.labels_sha256,
            "templates": list(self.templates),
            "activation": str(self.activation),
            "logit_scale": self.logit_scale,
            "logit_bias": self.logit_bias,
            "snapshot": {
                "watermark": self.watermark,
                "generation": self.generation,
                "files_revision": self.files_revision,
            },
            "options": dict(self.options),
            "zsindex": self.version,
        }


class Answer(NamedTuple):
    """An answer as arrays.

    Attributes:
        paths: of the photos, n of them.
        best: numbers of answers, int64 (n, top), best first; -1 for none.
        scores: float32 (n, top).
    """

    paths: list[str]
    best: IdArray
    scores: FloatArray


@dataclass(frozen=True, slots=True)
class Flip:
    """A photo whose best answer was changed by smoothing, from one label to another, with their scores."""

    path: str
    before: str
    before_score: float
    after: str
    after_score: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Smoothing:
    """What smoothing did to a classification.

    Attributes:
        photos: number of photos.
        flips: photos whose best answer it changed, in the order of the photos.
        iterations: rounds made; `converged` says whether the last one changed nothing.
    """

    photos: int
    flips: tuple[Flip, ...]
    iterations: int
    converged: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "photos": self.photos,
            "changed": len(self.flips),
            "iterations": self.iterations,
            "converged": self.converged,
            "flips": [flip.to_dict() for flip in self.flips],
        }


class Block(NamedTuple):
    """The answers for some neighbouring photos, as columns.

    Attributes:
        paths: of the photos, m of them.
        counts: number of predictions of each.
        labels, scores: a list per rank, best first, each with m label numbers or scores. Entries beyond a photo's count
            are meaningless.
    """

    paths: list[str]
    counts: list[int]
    labels: list[list[int]]
    scores: list[list[float]]


@dataclass(frozen=True, slots=True)
class ByAnswer:
    """Photos by their best answers, highest score first.

    Attributes:
        order: photo numbers, int64: all with the first answer, then all with the second, and so on.
        starts: int64 (c + 1,), where each answer begins in `order`.
        by_score: photo numbers, int64, by score, whatever their answers.
        labels, scores: int64 and float32 (n,): the best answer of each photo and its score.
    """

    order: IdArray
    starts: IdArray
    by_score: IdArray
    labels: IdArray
    scores: FloatArray

    def of(self, answer: int) -> IdArray:
        """The photos with an answer."""
        return self.order[self.starts[answer] : self.starts[answer + 1]]

    def at_least(self, answer: int, levels: Sequence[float]) -> IdArray:
        """How many photos with an answer reach each score: int64 (len(levels),)."""
        falling = -self.scores[self.of(answer)].astype(np.float64)
        counts: IdArray = np.searchsorted(falling, [-level for level in levels], side="right")
        return counts


class Classification(Sequence[Result]):
    """The answers for many photos, in the order of `Library.photos.paths`. Index, slice or iterate it.

    Attributes:
        paths: of the photos, n of them.
        labels: the answers of the label set, c of them; these are its labels if it has no groups and negatives.
        run: what the answer depends on.
        encoded: photos that had to be encoded for this answer.
        unanswered: paths of photos without a vector from the model, because no sync has encoded them yet.
        learned: what was learnt from corrections; None if not requested.
        smoothing: what smoothing changed, over all photos of the question; None if not requested.
        coverage: what sets of labels promise; None if not requested. The predictions of a photo are then its set.
        prior: how the photos are divided among the answers, as given or estimated; None if not requested.
        image_ids: int64 (n,), of the photos' contents; -1 if not given.
    """

    def __init__(
        self,
        *,
        paths: list[str],
        labels: tuple[str, ...],
        best: IdArray,
        best_scores: FloatArray,
        all_scores: Callable[[Sequence[int]], FloatArray],
        run: Run,
        encoded: int = 0,
        unanswered: tuple[str, ...] = (),
        learned: Learned | None = None,
        smoothing: Smoothing | None = None,
        coverage: Coverage | None = None,
        prior: UsedPrior | None = None,
        image_ids: IdArray | None = None,
        facts: Callable[[], FactsTable] | None = None,
    ) -> None:
        """Args:
        best: label numbers, int64 (n, top), best first; -1 where `filtered` removed one.
        best_scores: float32 (n, top).
        all_scores: computes float32 (len(rows), c) for some of the photos.
        """
        self.paths = paths
        self.labels = labels
        self.run = run
        self.image_ids = np.full(len(paths), -1, dtype=np.int64) if image_ids is None else image_ids
        self.encoded = encoded
        self.unanswered = unanswered
        self.learned = learned
        self.smoothing = smoothing
        self.coverage = coverage
        self.prior = prior
        self._best = best
        self._best_scores = best_scores
        self._all_scores = all_scores
        self._rows: Sequence[int] = range(len(paths))
        self._facts = facts

    @property
    def scores(self) -> FloatArray:
        """Every label's score for every photo: float32, shape (n, c). Computed on access: it can be large."""
        return self._all_scores(self._rows)

    @property
    def ranked(self) -> tuple[IdArray, FloatArray]:
        """Numbers of the best labels, int64 (n, top), best first, -1 for none; and their scores, float32 (n, top)."""
        return self._best, self._best_scores

    def scores_of(self, photos: Sequence[int] | IdArray) -> FloatArray:
        """Every label's score for some photos, by their numbers: float32, shape (len(photos), c)."""
        return self._all_scores([self._rows[photo] for photo in photos])

    def filtered(self, *, min_score: float = 0.0, only: Collection[str] | None = None) -> Classification:
        """Keep predictions with at least a score, of photos whose best label is in `only`; drop photos left without
        any.

        Raises:
            ValueError: a label in `only` is not in the label set, or the score is not a number.
            BadQuestion: it would take labels out of sets.
        """
        min_score = bounds.real("min_score", min_score)
        if min_score > 0 and self.coverage is not None:
            raise BadQuestion(("min_score", "coverage"), "it would take labels out of sets")
        keep = (self._best_scores >= min_score) & (self._best >= 0)
        rows = keep.any(axis=1)
        if only is not None:
            unknown = [label for label in only if label not in self.labels]
            if unknown:
                raise ValueError(f"not in the label set: {', '.join(unknown)}")
            rows &= np.isin(self._best[:, 0], [self.labels.index(label) for label in only])
        run = replace(
            self.run,
            options=(*self.run.options, ("min_score", min_score), ("only", None if only is None else sorted(only))),
        )
        return self._taken(np.flatnonzero(rows), np.where(keep, self._best, -1), run)

    def grouped(self) -> Classification:
        """The same photos in another order: by their best label, in the order of labels; highest score first."""
        # Stable, so that equal scores keep the order of paths. What `filtered` removed comes last.
        first = np.where(self._best[:, 0] < 0, len(self.labels), self._best[:, 0])
        return self._taken(np.lexsort((-self._best_scores[:, 0], first)), self._best, self.run)

    def reordered(self, photos: Sequence[int] | IdArray) -> Classification:
        """Some photos, by their numbers, in that order."""
        return self._taken(np.asarray(photos, dtype=np.int64), self._best, self.run)

    @property
    def best_scores(self) -> FloatArray:
        """Of the best prediction of each photo: float32 (n,); 0 where there is none."""
        return self._best_scores[:, 0]

    def best_only(self) -> Classification:
        """The same photos with only their best predictions."""
        return self._taken(np.arange(len(self)), self._best[:, :1], self.run)

    def tally(self) -> dict[str, int]:
        """For each label, the number of photos it is the best label of."""
        first = self._best[:, 0]
        counts = np.bincount(first[first >= 0], minlength=len(self.labels)).tolist()
        return dict(zip(self.labels, counts, strict=True))

    def by(self, what: By | str) -> Counts:
        """How many photos of each answer there are by year, month, day, hour (of the day), camera, folder or keyword,
        and how many are expected by the scores where they are calibrated: ``answer.by("month").to_pandas()``.

        Raises:
            ValueError: there is no such thing to count by, or the answer does not come from a library.
        """
        from zsindex.classification.by import By, count

        try:
            by = By(what)
        except ValueError:
            raise ValueError(f"count by {', '.join(By)}, not by {what!r}") from None
        if self._facts is None:
            raise ValueError("this answer does not come from a library, which would know when photos were taken")
        options = dict(self.run.options)
        answers = self._best if options.get("multi_label") else self._best[:, :1]
        # Probabilities of a temperature that somebody has fitted, or given.
        together = self.smoothing is not None or options.get("transport") is True
        is_calibrated = options.get("temperature") is not None and not together
        scores = self.score_blocks() if is_calibrated else None
        return count(self.paths, self.labels, answers, scores, by, self._facts())

    def _taken(self, chosen: IdArray, best: IdArray, run: Run) -> Classification:
        result = Classification(
            paths=[self.paths[i] for i in chosen.tolist()],
            labels=self.labels,
            best=best[chosen],
            best_scores=self._best_scores[chosen, : best.shape[1]],
            all_scores=self._all_scores,
            run=run,
            image_ids=self.image_ids[chosen],
            encoded=self.encoded,
            unanswered=self.unanswered,
            learned=self.learned,
            smoothing=self.smoothing,
            coverage=self.coverage,
            prior=self.prior,
            facts=self._facts,
        )
        result._rows = [self._rows[i] for i in chosen.tolist()]
        return result

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> list[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | list[Result]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        predictions = tuple(
            Prediction(self.labels[label], score)
            for label, score in zip(self._best[index].tolist(), self._best_scores[index].tolist(), strict=True)
            if label >= 0
        )
        return Result(self.paths[index], predictions)

    def __iter__(self) -> Iterator[Result]:
        return (self[i] for i in range(len(self)))

    @cached_property
    def by_answer(self) -> ByAnswer:
        """The photos by their best answers. Computed once; photos that `filtered` left without predictions belong to
        none.
        """
        first, scores = self._best[:, 0], self._best_scores[:, 0]
        held = np.flatnonzero(first >= 0)
        # Stable, so that equal scores keep the order of paths.
        by_score = held[np.argsort(-scores[held], kind="stable")]
        order = by_score[np.argsort(first[by_score], kind="stable")]
        starts = np.searchsorted(first[order], np.arange(len(self.labels) + 1))
        return ByAnswer(order, starts, by_score, first, scores)

    @property
    def answer(self) -> Answer:
        """The predictions as arrays, which must not be modified."""
        return Answer(self.paths, self._best, self._best_scores)

    @property
    def counts(self) -> IdArray:
        """Number of predictions of each photo: int64 (n,). Fewer than requested only if `filtered` removed some."""
        counts: IdArray = np.count_nonzero(self._best >= 0, axis=1)
        return counts

    def blocks(self) -> Iterator[Block]:
        """All answers as columns, a few thousand photos at a time: for writing many of them."""
        counts = self.counts
        for start in range(0, len(self), BLOCK_PHOTOS):
            part = slice(start, start + BLOCK_PHOTOS)
            yield Block(
                self.paths[part],
                counts[part].tolist(),
                self._best[part].T.tolist(),
                self._best_scores[part].T.tolist(),
            )

    def score_blocks(self) -> Iterator[tuple[list[str], FloatArray]]:
        """Paths, and every answer's score for those photos, float32 (m, c): like `scores`, but never all at once."""
        size = max(1, min(BLOCK_PHOTOS, _BLOCK_SCORES // len(self.labels)))
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.paths[part], self._all_scores(self._rows[part])

    def wide_columns(self) -> list[str]:
        """Names of the columns of the wide form after `path`: the answers. An answer called ``path`` or ``run``, which
        are other columns, gets an underscore.
        """
        taken = {"path", "run", *self.labels}
        names = []
        for label in self.labels:
            name = label
            while name in ("path", "run") or (name != label and name in taken):
                name += "_"
            taken.add(name)
            names.append(name)
        return names

    def __repr__(self) -> str:
        return f"<Classification of {len(self)} photos by {len(self.labels)} labels, run {self.run.key}>"

    def to_dicts(self) -> list[dict[str, Any]]:
        """``[{"path": …, "predictions": [{"label": …, "score": …}, …]}, …]``"""
        return [result.to_dict() for result in self]

    def to_rows(self) -> Iterator[tuple[str, int, str, float]]:
        """(path, rank from 1, label, score) of every prediction: the long form, as in CSV."""
        for result in self:
            for rank, prediction in enumerate(result.predictions, start=1):
                yield result.path, rank, prediction.label, prediction.score

    def to_pandas(self) -> pd.DataFrame:
        """The long form as a data frame with the columns path, rank, label and score. Needs pandas."""
        import pandas as pd

        return pd.DataFrame(self.to_rows(), columns=["path", "rank", "label", "score"])

    def to_parquet(
        self,
        file: str | os.PathLike[str] | IO[bytes],
        *,
        wide: bool = False,
        facts: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Write all answers as a Parquet table, which also names their run; see docs/methods.md.

        Args:
            file: a path, or a file open for writing bytes.
            wide: one row per photo with a column per answer, instead of one row per prediction.
            facts: further columns, a value for each of `paths`, as ``library.photos.facts_columns(answer.paths)`` gives
                them.

        Raises:
            ExtraMissing: pyarrow is not installed.
        """
        from zsindex.classification import parquet

        facts, run = facts or {}, self.run.to_dict()
        if wide:
            parquet.write_scores(file, self.score_blocks(), self.wide_columns(), run=run, facts=facts)
        else:
            parquet.write_predictions(file, self.blocks(), self.labels, run=run, facts=facts)

    def to_parquet_parts(
        self,
        folder: str | os.PathLike[str],
        *,
        wide: bool = False,
        part_size: int = _PART_PHOTOS,
        facts: Mapping[str, Sequence[Any]] | None = None,
    ) -> list[str]:
        """Write all answers as Parquet tables of a bounded size, which programs read as one: ``part-0.parquet``, …,
        whose numbers have the same width. Their rows together are those of `to_parquet`.

        Args:
            folder: a new or empty one. It appears once it is complete.
            wide, facts: as for `to_parquet`.
            part_size: photos per file.

        Returns:
            The names of the files, in order.

        Raises:
            ExportRefused: the folder holds something, or cannot be written.
            ExtraMissing: pyarrow is not installed.
        """
        from zsindex.classification import parquet

        part_size = bounds.whole("part_size", part_size, least=1)
        n_parts = max(1, -(-len(self) // part_size))
        names = [f"part-{str(number).zfill(len(str(n_parts - 1)))}.parquet" for number in range(n_parts)]
        with parquet.new_folder(Path(folder)) as temporary:
            for number, name in enumerate(names):
                rows = np.arange(number * part_size, min((number + 1) * part_size, len(self)))
                of_part = {key: values[rows[0] : rows[-1] + 1] for key, values in (facts or {}).items() if len(rows)}
                self._taken(rows, self._best, self.run).to_parquet(temporary / name, wide=wide, facts=of_part)
        return names


@dataclass(frozen=True, slots=True)
class Hit:
    """A photo that a search found.

    Attributes:
        path: where it is; if several files have the same bytes, the first existing one.
        score: cosine similarity to the query, in [-1, 1].
        copies: other paths with the same bytes.
        image_id: of its content.
        fits: whether it fits the query; None where that was not asked, or cannot be told.
    """

    path: str
    score: float
    copies: tuple[str, ...] = ()
    image_id: int = field(default=-1, compare=False)
    fits: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = {"path": self.path, "score": self.score, "copies": list(self.copies)}
        return plain if self.fits is None else {**plain, "fits": self.fits}


class Hits(list[Hit]):
    """What a search found, best first.

    Attributes:
        cut: as it was asked for.
        fitting: how many photos fit, as far as was looked; where it is 0, these are the nearest ones that do not. None
            without a cut, or where `tells` is False.
        more: more photos than those may fit.
        tells: False: there are too few photos to tell which of them fit, so these are the nearest ones.
    """

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        *,
        cut: float | str | None = None,
        fitting: int | None = None,
        more: bool = False,
        tells: bool = True,
    ) -> None:
        super().__init__(hits)
        self.cut, self.fitting, self.more, self.tells = cut, fitting, more, tells

    @property
    def note(self) -> str:
        """What there is to say of where it stops; empty without a cut."""
        if not self.tells:
            return "there are too few photos to tell which of them fit; these are the nearest"
        if self.fitting is None:
            return ""
        if not self.fitting:
            return "nothing fits; these are the nearest" if self else "nothing fits"
        photos = f"{self.fitting:,} photo{'s' if self.fitting > 1 else ''}"
        fit = "fits" if self.fitting == 1 and not self.more else "fit"
        shown = f"; these are the nearest {len(self):,}" if len(self) < self.fitting or self.more else ""
        return f"{'at least ' if self.more else ''}{photos} {fit}{shown}"

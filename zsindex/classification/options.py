"""Questions and searches with their options, validated once. Command line, HTTP and Python build the same objects."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack

from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.arguments.several import several
from zsindex.classification import priors
from zsindex.classification.priors import ESTIMATED
from zsindex.classification.prompts import LabelsLike
from zsindex.errors import BadQuestion
from zsindex.records import Activation, LabelSet
from zsindex.where import Where, WhereLike

if TYPE_CHECKING:
    from zsindex.classification.rules import UnknownRule
    from zsindex.photos.sources import ImageLike

__all__ = [
    "AUTO",
    "DEFAULT_TOP",
    "FITTED",
    "KnownContent",
    "Per",
    "Query",
    "QueryOptions",
    "Question",
    "QuestionOptions",
    "WhichLabels",
]

# Predictions that `Classification` holds per photo by default.
DEFAULT_TOP = 3
# The temperature that was fitted for the model; see `Library.temperature`.
FITTED = "fitted"
# More would take a million calibration photos.
_MOST_COVERAGE = 0.999999
# The cut of a search that is found for each query.
AUTO = "auto"


# Groups of which one photo stands for all.
Per: TypeAlias = Literal["burst", "event"]
# The name of a saved label set, ``NAME`` or ``NAME@VERSION``; or labels themselves.
WhichLabels: TypeAlias = "str | LabelsLike"
# Photos with known content: ``folders``, ``keywords``, ``corrections`` or ``corrections:LABEL_SET``; a CSV file; or a
# mapping from paths to labels.
KnownContent: TypeAlias = "str | os.PathLike[str] | Mapping[str, str | Sequence[str]]"

_ONE_LABEL = "smoothing gives each photo one label"
_EXCLUSIVE = (
    ("labels", "label_set", "give one or the other"),
    ("smooth", "thresholds", _ONE_LABEL),
    ("smooth", "multi_label", _ONE_LABEL),
    ("multi_label", "with_corrections", "a correction gives a photo one label"),
    ("coverage", "top", "a set that is cut short would hold the truth less often"),
    ("coverage", "multi_label", "a set is of labels that a photo may show, not of all that it shows"),
    ("coverage", "thresholds", "they would take labels out of sets"),
    ("coverage", "smooth", _ONE_LABEL),
    ("coverage", "unknown", "a photo that is called unknown has no set; give the label set negatives instead"),
    ("coverage", "prior", "sets keep their promise for scores as they are"),
    ("prior", "multi_label", "a prior divides the photos among the labels"),
    ("prior", "thresholds", "thresholds say by themselves how many photos get a label"),
    ("prior", "smooth", "smoothing finds by itself how many photos get a label"),
    ("transport", "unknown", "the shares are of all photos"),
)
_FOR_COVERAGE = ("calibrate", "coverage_score", "coverage_per", "coverage_adapt")


class QuestionOptions(TypedDict, total=False):
    """The options of a question as callers give them; described in `Question`."""

    label_set: str | None
    template: str | Sequence[str] | None
    top: int | None
    paths: PathsLike | None
    where: WhereLike | None
    activation: Activation | str | None
    unknown: str | None
    thresholds: bool
    multi_label: bool
    with_corrections: str | None
    temperature: float | str | None
    prior: Mapping[str, float] | str | None
    transport: bool
    smooth: bool
    one_per: Per | None
    coverage: float | None
    calibrate: KnownContent | None
    coverage_score: str | None
    coverage_per: str | None
    coverage_adapt: bool
    truncate: bool
    sync: bool
    record: bool


@dataclass(frozen=True, init=False)
class Question:
    """Labels, and everything else, besides the library, that an answer depends on.

    Attributes:
        labels: names; a mapping from names to written-out prompts; or a `LabelSet`.
        label_set: the name of a saved label set, instead of `labels`.
        template: one or several, each with ``{}`` where the label goes, or names of template sets; the vectors of
            several are averaged. None: the label set's own.
        top: labels per photo in the result, at most. None: 3; with `multi_label`, all that fit.
        paths: absolute files and folders to restrict to; what is not in the library is synced first. None: all.
        where: only photos that fit, of those; filters of `zsindex.where`, or their JSON. None: all.
        activation: ``softmax`` or ``sigmoid``. None: as the model was trained.
        unknown: answer photos that show none of the labels with `zsindex.records.NONE`. ``METHOD:RATE`` does so for
            that share of the library, ``METHOD:score=X`` for photos less known than X; ``neglabel`` and
            ``negrefine`` need neither. The methods are those of `zsindex.classification.rules.Method`;
            ``neglabel@VOCABULARY`` takes its words from ``basic``, ``wordnet`` or a file.
        thresholds: give only answers at or above their thresholds, see `Library.thresholds`; a photo left without any
            is answered with `zsindex.records.NONE`. Labels without a threshold are given as usual.
        multi_label: give every label that fits, not only the best. With sigmoid, each label has its own probability;
            with softmax, each group of the label set is a softmax of its own, including the negatives, and so are the
            labels in no group. A label fits from 0.5 up, or with `thresholds` from its threshold up.
        with_corrections: also learn from the corrections of the saved label set: ``logistic``, logistic regression that
            starts from the words and is the one to take; ``gda``, Gaussian discriminant analysis (Wang et al. 2024); or
            ``tip-adapter`` (Zhang et al. 2022). Corrected photos are answered as corrected, and with `unknown`, photos
            like those corrected to `zsindex.records.NONE` are less known. `Classification.learned` reports the gain.
        temperature: cosines are divided by it to give logits: the higher, the less confident the scores. ``fitted`` is
            what `Library.temperature` fitted for the model. None: the model's own, ``1 / logit_scale``.
        prior: how the photos are divided among the answers: a share, or a number of photos, for each; 0 for what none
            shows. Scores are weighted by it. ``estimated`` finds it for the photos asked about, from their scores and
            the corrections of the saved label set; see `Library.prior` and docs/methods.md.
        transport: give each answer exactly its share of the photos, those that fit best together (OTTER: Shin et al.
            2024). Only as good as the prior.
        smooth: answer the photos together rather than one by one: similar photos pull each other towards the same label
            (StatA: Zanella et al. 2025, docs/methods.md). `Classification.smoothing` lists what that changed. Scores
            are then shares of an assignment, mostly near 0 or 1, even with sigmoid.
        one_per: answer only one photo of each ``burst`` or ``event``, see `Library.events`, and all photos of which
            nobody knows when they were taken. Of a burst it is the one with the most pixels, then the largest file; of
            an event the one of these that is most like the whole event.
        coverage: give each photo all labels that it may show, so that this share of photos, or more, is given what it
            does show: 0.9, say. `Classification.coverage` says how far that can be trusted; docs/methods.md has the
            method, split conformal prediction.
        calibrate: for `coverage`, photos with known content, like those that are asked about and not chosen for their
            answers: ``folders``, ``keywords``, ``corrections``, ``corrections:LABEL_SET``, a CSV file with the columns
            ``path`` and ``label``, or a mapping from paths to labels. None: the corrections of the saved label set.
        coverage_score: how sets are made, see `zsindex.classification.coverage.Score`: ``lac``, ``aps`` or ``raps``.
            None: ``lac``.
        coverage_per: keep the promise for each ``label``, or each ``year``, ``month``, ``day``, ``hour``, ``camera`` or
            ``folder``. Those with too few calibration photos have one promise together. None: only for all photos
            together.
        coverage_adapt: make smaller sets, from scores that are adapted to all photos of the question together (Conf-OT:
            Silva-Rodríguez et al. 2025).
        truncate: truncate prompts that are too long for the model, instead of refusing them.
        sync: False refuses paths that are not in the library instead of adding them.
        record: record the run, see `Library.runs`; if it was recorded before, use its stored answer. A read-only
            library records nothing.
    """

    labels: LabelsLike | None = None
    label_set: str | None = None
    template: tuple[str, ...] | None = None
    top: int | None = None
    paths: tuple[str, ...] | None = None
    where: Where | None = None
    activation: Activation | None = None
    unknown: str | None = None
    thresholds: bool = False
    multi_label: bool = False
    with_corrections: str | None = None
    temperature: float | str | None = None
    prior: Mapping[str, float] | str | None = None
    transport: bool = False
    smooth: bool = False
    one_per: Per | None = None
    coverage: float | None = None
    calibrate: KnownContent | None = None
    coverage_score: str | None = None
    coverage_per: str | None = None
    coverage_adapt: bool = False
    truncate: bool = False
    sync: bool = True
    record: bool = False

    def __init__(self, labels: LabelsLike | None = None, **options: Unpack[QuestionOptions]) -> None:
        """Validate the options, each and together.

        Raises:
            BadQuestion: two options exclude each other: `labels` and `label_set`, `smooth` and `thresholds`,
                `multi_label` and either of `smooth` and `with_corrections`, `coverage` and one of `top`, `multi_label`,
                `thresholds`, `smooth`, `unknown` and `prior`, or `prior` and any of `multi_label`, `thresholds`,
                `smooth` and a sigmoid; or one lacks another: `with_corrections` and an estimated prior the name of a
                saved label set, `coverage` photos to calibrate with, `transport` a prior.
            ValueError: a number is out of bounds.
            BadUnknown, BadPrior, BadPath, BadFilter
            TypeError: there is no such option, or `where` is no filter.
        """
        if strangers := options.keys() - QuestionOptions.__annotations__.keys():
            raise TypeError(f"a question has no option {', '.join(sorted(strangers))}")
        template, paths, top = options.get("template"), options.get("paths"), options.get("top")
        activation, temperature = options.get("activation"), options.get("temperature")
        coverage = options.get("coverage")
        prior = options.get("prior")
        checked: dict[str, Any] = {
            **options,
            "labels": labels if isinstance(labels, (str, Mapping, LabelSet, NoneType)) else tuple(several(labels)),
            "template": None if template is None else tuple(several(template)),
            "paths": None if paths is None else tuple(absolute_all(paths)),
            "where": Where.of(options.get("where")),
            "top": None if top is None else bounds.whole("top", top, least=1),
            "one_per": _per(options.get("one_per")),
            "activation": None if activation is None else Activation(activation),
            "temperature": temperature if temperature in (None, FITTED) else bounds.temperature(temperature),
            "coverage": None if coverage is None else bounds.real("coverage", coverage, above=0, most=_MOST_COVERAGE),
            "calibrate": _known(options.get("calibrate")),
            "prior": None if prior is None else priors.checked(prior),
        }
        self.__dict__.update(checked)  # a frozen object sets its attributes past itself
        for one, other, why in _EXCLUSIVE:
            if getattr(self, one) and getattr(self, other):
                raise BadQuestion((one, other), why)
        is_saved = self.label_set is not None or (isinstance(self.labels, LabelSet) and self.labels.name is not None)
        if self.with_corrections is not None and not is_saved:
            raise BadQuestion(["with_corrections"], "corrections belong to a saved label set; name one")
        if self.prior is None and self.transport:
            raise BadQuestion(["transport"], "it takes a prior: the share of each label")
        if self.prior is not None and self.activation is Activation.SIGMOID:
            raise BadQuestion(("prior", "activation"), priors.NOT_SIGMOID)
        if self.prior == ESTIMATED:
            if self.unknown is not None:
                raise BadQuestion(("prior", "unknown"), "an estimate takes every photo for one of the labels; give it")
            if self.with_corrections is not None:
                why = "an estimate learns from the corrections what scores are worth that do not know them"
                raise BadQuestion(("prior", "with_corrections"), why)
            if not is_saved:
                raise BadQuestion(["prior"], "it is estimated from corrections of a saved label set; name one")
        _ = self.unknown_rule  # or it says what is wrong with it
        if self.coverage is not None:
            self._require_calibration(is_saved=is_saved)
        elif alone := [name for name in _FOR_COVERAGE if getattr(self, name)]:
            raise BadQuestion(alone[:1], "it is for sets of labels; say which coverage they shall have")

    def _require_calibration(self, *, is_saved: bool) -> None:
        from zsindex.classification.coverage import Score, checked_per, checked_score

        checked_per(self.coverage_per)
        if checked_score(self.coverage_score) is not Score.LAC and self.coverage_adapt:
            raise BadQuestion(("coverage_adapt", "coverage_score"), "only lac has adapted scores")
        if self.calibrate is None and not is_saved:
            raise BadQuestion(["coverage"], "say which photos with known content it is calibrated with: calibrate")
        if self.with_corrections is not None and self.calibrate in (None, "corrections"):
            raise BadQuestion(
                ("with_corrections", "calibrate"),
                "photos that the answers learn from are answered better than others; calibrate with other photos",
            )

    @classmethod
    def about(cls, which: WhichLabels, **options: Unpack[QuestionOptions]) -> Question:
        """A question about labels, or about a saved label set given by name."""
        return cls(**(options | {"label_set": which})) if isinstance(which, str) else cls(which, **options)

    @property
    def is_about_all(self) -> bool:
        """Whether it is about all photos of the library."""
        return self.paths is None and self.where is None and self.one_per is None

    @property
    def unknown_rule(self) -> UnknownRule | None:
        """What `unknown` asks for."""
        if self.unknown is None:
            return None
        from zsindex.classification.rules import UnknownRule

        return UnknownRule.parse(self.unknown)

    @property
    def arguments(self) -> dict[str, Any]:
        """Plain data: what an answer depends on besides the labels, for storing and repeating a question."""
        return {
            "top": self.top,
            "paths": None if self.paths is None else list(self.paths),
            "where": None if self.where is None else self.where.to_json(),
            "activation": None if self.activation is None else str(self.activation),
            "unknown": self.unknown,
            "thresholds": self.thresholds,
            "multi_label": self.multi_label,
            "with_corrections": self.with_corrections,
            "temperature": self.temperature,
            "prior": self.prior,
            "transport": self.transport,
            "smooth": self.smooth,
            "one_per": self.one_per,
            "coverage": self.coverage,
            **{name: getattr(self, name) for name in _FOR_COVERAGE},
            "truncate": self.truncate,
        }


class QueryOptions(TypedDict, total=False):
    """The options of a search as callers give them; described in `Query`."""

    plus: ImageLike | Sequence[ImageLike]
    minus: ImageLike | Sequence[ImageLike]
    top: int
    paths: PathsLike | None
    where: WhereLike | None
    one_per: Per | None
    truncate: bool
    exact: bool
    cut: float | str | None
    without: str | Sequence[str]


@dataclass(frozen=True, init=False)
class Query:
    """A search for photos.

    Attributes:
        plus, minus: terms to add and subtract: plain text; or an image: a `Path`, the name of an existing file or of a
            photo in the library, bytes, or a PIL image. ``text:…`` is always text.
        top: photos to return.
        paths: absolute files and folders to restrict to. None: all.
        where: only photos that fit, of those; filters of `zsindex.where`, or their JSON. None: all.
        one_per: only the best photo of each ``burst`` or ``event``, see `Library.events`. None: all.
        truncate: truncate texts that are too long for the model, instead of refusing them.
        exact: compare with every photo. Otherwise, in a library of about 200,000 photos or more, one in a hundred of
            the photos that belong in the result may be missing, and where the server searches as many as
            `Library.search_index` says; see docs/storage.md.
        cut: return only photos that fit: from this cosine similarity on; or ``auto``, for a query in words, as judged
            from what is usual in the library, see docs/methods.md. If nothing fits, the nearest photos are returned,
            marked as not fitting. None: all photos, however far.
        without: texts. Photos that fit one of them, by the same cut (without one by ``auto``), are left out.
    """

    plus: tuple[ImageLike, ...]
    minus: tuple[ImageLike, ...] = ()
    top: int = 20
    paths: tuple[str, ...] | None = None
    where: Where | None = None
    one_per: Per | None = None
    truncate: bool = False
    exact: bool = False
    cut: float | str | None = None
    without: tuple[str, ...] = ()

    def __init__(self, query: ImageLike, **options: Unpack[QueryOptions]) -> None:
        """Validate the options.

        Args:
            query: the first term; `plus` adds more.

        Raises:
            ValueError: `top` or `cut` is out of bounds.
            BadPath, BadFilter
            TypeError: there is no such option, or `where` is no filter.
        """
        if strangers := options.keys() - QueryOptions.__annotations__.keys():
            raise TypeError(f"a query has no option {', '.join(sorted(strangers))}")
        paths, cut = options.get("paths"), options.get("cut")
        checked: dict[str, Any] = {
            **options,
            "plus": (query, *several(options.get("plus", ()))),
            "minus": tuple(several(options.get("minus", ()))),
            "top": bounds.whole("top", options.get("top", self.top), least=0),
            "paths": None if paths is None else tuple(absolute_all(paths)),
            "where": Where.of(options.get("where")),
            "cut": cut if cut in (None, AUTO) else bounds.real("cut", cut, least=-1, most=1),
            "without": tuple(several(options.get("without", ()))),
            "one_per": _per(options.get("one_per")),
        }
        self.__dict__.update(checked)  # a frozen object sets its attributes past itself


def _per(value: str | None) -> Per | None:
    match value:
        case None | "burst" | "event":
            return value
    raise ValueError(f"one_per is burst or event, not {value!r}")


def _known(given: KnownContent | None) -> str | dict[str, list[str]] | None:
    """Photos with known content as plain data."""
    if isinstance(given, Mapping):
        return {os.fspath(path): several(said) for path, said in given.items()}
    return None if given is None else os.fspath(given)

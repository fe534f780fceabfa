"""What goes in and out of the label lab's endpoints, as OpenAPI shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from zsindex.web.schemas import (
    ActivationName,
    Cursor,
    Given,
    Id,
    Name,
    Path,
    Score,
    Several,
    Teaching,
    Temperature,
    Text,
    Unknown,
)

Places: TypeAlias = Annotated[
    Several[Path] | None, Field(description="Only photos at or below these folders of the library.")
]
Shown: TypeAlias = Annotated[int, Field(ge=0, le=10_000, description="Entries of a list in the answer.")]
Seed: TypeAlias = Annotated[int, Field(ge=0, lt=2**32)]
# Of images by their ids or of files by their paths. Never the name of a file with a truth.
Said: TypeAlias = dict[Text, Text | list[Text]]
Source: TypeAlias = Annotated[Text, StringConstraints(pattern=r"^(folders|corrections(:.{1,200})?)$")]
Truth: TypeAlias = Annotated[
    Said | Source,
    Field(
        description="What photos show: labels by image id or path; or `folders`, what their folders are called; or "
        "`corrections` of the label set, or `corrections:NAME`.",
        examples=[{"7": "owl", "/photos/fox.jpg": ["fox"]}, "folders"],
    ),
]
Names: TypeAlias = Annotated[
    Said | None,
    Field(description="What labels of the truth are called in the label set, where that differs."),
]


class Asked(Given):
    """Labels, or the name of a saved label set."""

    labels: Several[Text] | dict[Text, Several[Text]] | None = Field(default=None, description="Or `label_set`.")
    label_set: Name | None = Field(default=None, description="A saved one; NAME@2 is its second version.")
    templates: Several[Text] | None = Field(default=None, description="In place of the label set's own.")
    groups: dict[Text, Several[Text]] | None = None
    negatives: Several[Text] | None = None

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"labels": ["owl", "fox"], "templates": ["openai-7"]}, {"label_set": "animals"}]
        },
    )


# --- corrections ------------------------------------------------------------------------------------------------------


class Statement(Given):
    """What a photo shows, or with `not` does not show."""

    image_id: Id
    label: Text = Field(description="A label, a group or a negative of the set; or `(none of these)`.")
    not_: bool = Field(default=False, alias="not")


class Statements(Given):
    """What many photos show."""

    label_set: Name
    corrections: Several[Statement] = Field(min_length=1)

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"label_set": "animals", "corrections": [{"image_id": 7, "label": "owl"}]}]},
    )


class Stated(BaseModel):
    """How many statements were kept, and of how many photos something is said now."""

    statements: int
    corrections: int


class NextPhoto(BaseModel):
    """A photo whose correction would teach much, with its two best answers."""

    image_id: int
    path: str
    label: str
    score: float
    second: str
    second_score: float
    margin: float
    copies: list[str]


# --- thresholds -------------------------------------------------------------------------------------------------------


class ThresholdQuestion(Given):
    """From which score on an answer is given. Exactly one of `score`, `count` and `rate`."""

    label_set: Name
    label: Text
    score: Score | None = Field(default=None, description="The least score.")
    count: Annotated[int, Field(ge=0, le=2**53)] | None = Field(default=None, description="How many photos have it.")
    rate: Score | None = Field(default=None, description="Their share.")
    multi_label: bool = False
    apply: bool = Field(default=False, description="Keep it, which needs the right to write; else it is a preview.")
    limit: Shown = 100

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"label_set": "animals", "label": "owl", "rate": 0.02}]}
    )


class ThresholdChange(BaseModel):
    """What a threshold does: how many photos have its label before and after, and which come and go."""

    label_set: str
    label: str
    rate: float
    score: float | None
    photos: int
    before: int
    after: int
    n_arrive: int
    n_leave: int
    arrive: list[str]
    leave: list[str]
    kept: bool


class Quantile(BaseModel):
    """The score that this share of the photos has or exceeds."""

    rate: float
    score: float


class CurvePoint(BaseModel):
    """So many photos have this score or more."""

    photos: int
    score: float


class ChosenThreshold(BaseModel):
    """A threshold: the share of photos asked for, the score that it comes to, and how many photos have that."""

    rate: float
    score: float | None
    photos: int | None


class ScoreCurve(BaseModel):
    """How an answer's scores fall over the library."""

    label: str
    threshold: ChosenThreshold | None
    scores: list[Quantile]
    curve: list[CurvePoint]


class ScoreCurves(BaseModel):
    """The score curves of a label set; `unused` are labels with a threshold that are no answers here."""

    label_set: str
    photos: int
    multi_label: bool
    labels: list[ScoreCurve]
    unused: list[str]


class Removed(BaseModel):
    """How many there were."""

    removed: int


# --- words ------------------------------------------------------------------------------------------------------------


class DiffSide(Asked):
    """One of two ways to classify."""

    model: Name | None = Field(default=None, description="One that the library holds vectors of. Default: its own.")


class DiffQuestion(Given):
    """Compare two label sets, two template sets or two models on all photos."""

    before: DiffSide
    after: DiffSide = Field(description="Without labels, those of `before`.")
    renamed: dict[Text, Text] | None = Field(default=None, description="Answers of `before`, as `after` calls them.")
    activation: ActivationName | None = None
    truncate: bool = False
    paths: Places = None
    limit: Shown = Field(default=100, description="Photos of a page.")
    cursor: Cursor | None = Field(default=None, description="`next` of the page before; all else must be the same.")

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"before": {"label_set": "animals@1"}, "after": {"label_set": "animals@2"}},
                {"before": {"labels": ["owl", "fox"]}, "after": {"templates": ["openai-80"]}},
            ]
        },
    )


class AnswerCount(BaseModel):
    """Of how many photos an answer is the best."""

    answer: str
    before: int
    after: int


class AnswerFlow(BaseModel):
    """How many photos went from one answer to another, and the one that moved most."""

    before: str
    after: str
    photos: int
    example: str


class MovedPhoto(BaseModel):
    """A photo with another best answer; `moved` says how far its scores are apart, from 0 to 1."""

    path: str
    before: str
    after: str
    score_before: float
    score_after: float
    moved: float


class Compared(BaseModel):
    """Where two ways to classify differ; the photos that moved most come first."""

    before: str
    after: str
    run_before: str
    run_after: str
    photos: int
    flipped: int
    share: float
    mean_moved: float
    uncompared: int
    only_before: list[str]
    only_after: list[str]
    counts: list[AnswerCount]
    n_flows: int
    flows: list[AnswerFlow]
    flips: list[MovedPhoto]
    next: str | None


class LintQuestion(Asked):
    """Look for what is wrong with labels."""

    paths: Places = None
    limit: Shown = Field(default=100, description="Findings of a page.")
    cursor: Cursor | None = Field(default=None, description="`next` of the page before; all else must be the same.")


class LintFinding(BaseModel):
    """One thing that somebody should look at."""

    kind: str
    severity: Literal["warning", "info"]
    words: list[str]
    message: str
    advice: str
    photos: list[str]
    measures: dict[str, float]


class TemplateNumbers(BaseModel):
    """What one of several templates does."""

    template: str
    agreement: float
    changed: float
    margin: float
    spread: float


class Linted(BaseModel):
    """What was found, warnings first."""

    label_set: str
    model: str
    labels: int
    images: int
    warnings: int
    skewness: float
    total: int
    findings: list[LintFinding]
    templates: list[TemplateNumbers]
    next: str | None


class SuggestQuestion(Asked):
    """Find names for what labels miss."""

    vocabulary: Literal["basic", "wordnet"] | list[Text] = Field(
        default="basic", description="`basic`, 200 words; `wordnet`, where it is installed; or words."
    )
    word_template: Text | None = Field(default=None, description="What words are put into, with {} for the word.")
    share: Annotated[float, Field(gt=0, le=0.5)] = Field(default=0.1, description="Of the photos that are not fitted.")
    by: Literal["cosine", "margin"] = "cosine"
    n_groups: Annotated[int, Field(ge=1, le=50)] | None = Field(default=None, description="How many to make.")
    names: Annotated[int, Field(ge=0, le=20)] = 5
    examples: Annotated[int, Field(ge=0, le=20)] = 5
    paths: Places = None


class SuggestedName(BaseModel):
    """A word for a group, how much nearer it is to that than to all photos, and how many it fits better than labels."""

    word: str
    lift: float
    fits_better: float


class Unfitted(BaseModel):
    """Photos that no label fits, and that are like each other."""

    images: int
    photos: list[str]
    cohesion: float
    label: str
    names: list[SuggestedName]


class Suggested(BaseModel):
    """What was found. `interrupted`: time was up before all words were compared; the same question goes on."""

    images: int
    unfit: int
    bound: float
    vocabulary: int
    left: int
    interrupted: bool
    groups: list[Unfitted]


# --- truth ------------------------------------------------------------------------------------------------------------


class EvalQuestion(Asked):
    """Compare answers with the truth."""

    truth: Truth
    against: Several[Asked] = Field(default_factory=list, description="Further label sets, on the same photos.")
    template_sets: Several[Text | list[Text]] = Field(default_factory=list, description="Template sets to compare.")
    models: Several[Name] = Field(default_factory=list, description="Further models that the library has vectors of.")
    names: Names = None
    others_are_none: bool = Field(default=False, description="Photos of other labels show none of these.")
    activation: ActivationName | None = None
    temperature: Temperature | None = None
    unknown: Unknown | None = None
    thresholds: bool = False
    with_corrections: Teaching | None = None
    smooth: bool = False
    truncate: bool = False
    paths: Places = None
    resamples: Annotated[int, Field(ge=0, le=1000)] = Field(default=200, description="For intervals; 0 for none.")
    seed: Seed = 0
    limit: Shown = 100

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"labels": ["owl", "fox"], "truth": {"7": "owl", "12": "fox"}},
                {"label_set": "animals", "truth": "corrections", "template_sets": ["default", "openai-7"]},
            ]
        },
    )


class Measured(BaseModel):
    """A number, and between what 95 % of the resamples lie; null where there is none."""

    value: float | None
    low: float | None
    high: float | None


class LabelNumbers(BaseModel):
    """How well an answer is found."""

    label: str
    photos: int
    answered: int
    right: int
    precision: Measured
    recall: Measured
    f1: Measured
    average_precision: Measured | None = None


class ConfusionCell(BaseModel):
    """How many photos show the one and were answered with the other."""

    truth: str
    answer: str
    photos: int


class Bin(BaseModel):
    """Photos by their confidence."""

    low: float
    high: float
    photos: int
    confidence: float
    accuracy: float


class EvalReport(BaseModel):
    """How right one way of asking is; `differences` are to the first one. Lists are cut at `limit`."""

    name: str
    model: str
    label_set: str | None
    label_set_version: int | None
    templates: list[str]
    run: str
    photos: int
    summary: dict[str, Measured]
    differences: dict[str, Measured]
    labels: list[LabelNumbers]
    n_confusions: int
    confusions: list[ConfusionCell]
    reliability: list[Bin]
    n_wrong: int
    wrong: list[str]


class PhotoList(BaseModel):
    """How many photos, and the paths of the first."""

    total: int
    paths: list[str]


class Evaluated(BaseModel):
    """What was measured, and what had to be left out."""

    truth: str
    photos: int
    resamples: int
    seed: int
    unknown_labels: dict[str, int]
    left_out: PhotoList
    not_held: PhotoList
    unanswered: PhotoList
    without_truth: PhotoList
    reports: list[EvalReport]


class TemperatureQuestion(Asked):
    """Fit how confident the model's scores are."""

    truth: Truth
    names: Names = None
    others_are_none: bool = False
    activation: ActivationName | None = None
    paths: Places = None
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    seed: Seed = 0
    apply: bool = Field(default=False, description="Keep it with the model, which needs the right to write.")

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"label_set": "animals", "truth": "corrections", "apply": True}]},
    )


class Calibrated(BaseModel):
    """How well scores fit."""

    nll: float
    ece: float
    reliability: list[Bin]


class TemperatureFound(BaseModel):
    """A temperature, and what it brings on photos that it was not fitted to."""

    temperature: float
    own: float
    photos: int
    fold_temperatures: list[float]
    before: Calibrated
    after: Calibrated


class KeptTemperature(BaseModel):
    """The temperature that was fitted for the model, and to what; null where there is none."""

    temperature: float | None
    about: dict[str, Any] | None


# --- near-duplicates --------------------------------------------------------------------------------------------------


class AlikePhoto(BaseModel):
    """A photo of a group; `cosine` and `correlation` are to the one to keep."""

    image_id: int | None
    path: str
    cosine: float
    correlation: float | None
    exact: bool
    width: int
    height: int
    size: int | None
    sharpness: float | None


class AlikeGroup(BaseModel):
    """The photo to keep, and those like it."""

    keep: AlikePhoto
    others: list[AlikePhoto]


class Duplicates(BaseModel):
    """Groups of near-duplicates, a page of them."""

    threshold: float
    photos: int
    removable: int
    removable_bytes: int
    unread: int | None
    left_out: int
    total: int
    groups: list[AlikeGroup]
    next: str | None


# --- runs and tags ----------------------------------------------------------------------------------------------------


class RunLine(BaseModel):
    """A recorded run in short."""

    key: str
    recorded_at: str
    model: str
    label_set: str | None
    label_set_version: int | None
    labels: int
    photos: int
    stored: bool


class RecordedRun(BaseModel):
    """A recorded run: the question, all of its labels, and what could be answered."""

    key: str
    recorded_at: str
    photos: int
    stored: bool
    answers: list[str]
    run: dict[str, Any]
    label_set: dict[str, Any]


class RepeatQuestion(Given):
    """Ask a recorded run again."""

    record: bool = Field(default=False, description="Record the new one, too; needs the right to write.")
    limit: Shown = 100

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"record": False}]})


class RunFlip(BaseModel):
    """A photo with another best answer; null for none."""

    path: str
    before: str | None
    after: str | None


class Repeated(BaseModel):
    """What has changed. `compared` is null where the former answer is not stored any more."""

    before: str
    now: str
    same: bool
    compared: int | None
    flipped: int | None
    largest_change: float
    added: int
    gone: int
    flips: list[RunFlip]


class TagQuestion(Asked):
    """Answers as tags in XMP sidecars beside the photos. Groups become levels of the hierarchy."""

    every: bool = Field(
        default=False, description="A tag for each of up to 50 labels from `min_score` on, not for the best only."
    )
    min_score: Score = 0.0
    unknown: Unknown | None = None
    thresholds: bool = False
    with_corrections: Teaching | None = None
    temperature: Temperature | None = None
    activation: ActivationName | None = None
    truncate: bool = False
    paths: Places = None
    root: Name | Literal[""] = Field(default="zsindex", description="What all tags stand below in the hierarchies.")
    style: Literal["photo.jpg.xmp", "photo.xmp"] = "photo.jpg.xmp"
    apply: bool = Field(default=False, description="Write, which needs the right to; else it is a dry run.")
    limit: Shown = 100

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"label_set": "animals", "min_score": 0.5, "apply": False}]}
    )


class RetractQuestion(Given):
    """Take tags out again that zsindex wrote, and nothing else."""

    label_set: Name | Literal[""] | None = Field(
        default=None, description="Only tags of this one; empty for those of labels without a name."
    )
    paths: Places = None
    apply: bool = Field(default=False, description="Do it, which needs the right to write; else it is a dry run.")
    limit: Shown = 100

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"label_set": "animals"}]})


class SidecarLine(BaseModel):
    """What happens to a sidecar, with tags by XMP property."""

    path: str
    action: Literal["create", "change", "delete"]
    added: dict[str, list[str]]
    removed: dict[str, list[str]]


class SkippedSidecar(BaseModel):
    """A sidecar that was left alone."""

    path: str
    why: str


class Tagged(BaseModel):
    """What was written or, without `applied`, would be. `interrupted`: time was up; the same request goes on."""

    applied: bool
    interrupted: bool
    create: int
    change: int
    delete: int
    unchanged: int
    n_skipped: int
    changes: list[SidecarLine]
    skipped: list[SkippedSidecar]

"""What goes in and out of the service, as OpenAPI shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from zsindex.arguments import bounds


def _sayable(text: str) -> str:
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("it holds characters that no text has")
    return text


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


# Half of a surrogate pair can be written in JSON, and nowhere else.
Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_sayable)]
Name: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_sayable)]
# Absolute, as answers show them: what another one is relative to, and what ~ stands for, is the host's business.
Path: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=4096, pattern=r"^(/|[A-Za-z]:[/\\])"), AfterValidator(_sayable)
]
# What may be synced is looked at by itself.
Folder: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_sayable)]
Cursor: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=65_536), AfterValidator(_sayable)]
Base64: TypeAlias = Annotated[str, StringConstraints(min_length=1)]
# SQLite's largest.
Id: TypeAlias = Annotated[int, Field(ge=1, le=2**63 - 1), BeforeValidator(_no_truth_value)]
Top: TypeAlias = Annotated[int, Field(ge=1, le=1000)]
Score: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# Not a vocabulary from a file, as on the command line: it would be read on the service's machine.
Unknown: TypeAlias = Annotated[
    str, StringConstraints(max_length=100, pattern=r"^[a-z]+(@(basic|wordnet))?(:(score=)?-?[0-9.]+)?$")
]
Teaching: TypeAlias = Literal["gda", "tip-adapter"]
Temperature: TypeAlias = (
    Annotated[float, Field(ge=bounds.LEAST_TEMPERATURE, le=bounds.MOST_TEMPERATURE, allow_inf_nan=False)]
    | Literal["fitted"]
)
ActivationName: TypeAlias = Literal["softmax", "sigmoid"]
Order: TypeAlias = Literal["path", "label"]
T = TypeVar("T")


def _listed(given: Any) -> Any:
    return [given] if isinstance(given, (str, dict)) else given


# One counts as a list of one, as in Python; see `zsindex.arguments.several`.
Several: TypeAlias = Annotated[list[T], BeforeValidator(_listed)]


class Given(BaseModel):
    """A body: fields that nobody knows are refused, or a typing error would change the question unseen."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_only(cls, value: Any, info: ValidationInfo) -> Any:
        taken = cls.model_fields[info.field_name or ""].annotation
        return value if taken is bool or bool in get_args(taken) else _no_truth_value(value)


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:zsindex:problem:labels",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "labels given more than once: owl",
                }
            ]
        },
    )
    type: str
    title: str
    status: int
    detail: str


# --- label sets -------------------------------------------------------------------------------------------------------


class Labels(Given):
    """Labels with what belongs to them."""

    labels: Several[Text] | dict[Text, Several[Text]] = Field(
        description="Names in order; or names with written-out prompts, where an empty list stands for the templates."
    )
    templates: Several[Text] | None = Field(
        default=None, description="With {} where the label goes, or names of template sets. Several are averaged."
    )
    groups: dict[Text, Several[Text]] | None = Field(default=None, description="Labels that count as one answer.")
    negatives: Several[Text] | None = Field(
        default=None, description="What photos may show that is none of the answers."
    )
    literal: bool = Field(default=False, description="Written-out prompts are final: {} in them is text.")

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"labels": ["owl", "fox", "bear"], "templates": ["a photo of a {}."]}]},
    )


class SavedLabels(BaseModel):
    """A saved label set."""

    name: str
    version: int | None
    labels: list[str]
    templates: list[str]
    prompts: dict[str, list[str]]
    groups: dict[str, list[str]]
    negatives: list[str]


class Version(BaseModel):
    """When a version of a label set was saved."""

    version: int
    saved_at: str


class SavedLabelsWithVersions(SavedLabels):
    """A saved label set, and the versions there are of it."""

    versions: list[Version]


class Templates(Given):
    """Templates to save under a name."""

    templates: Several[Text] = Field(min_length=1, examples=[["a photo of a {}.", "a blurry photo of a {}."]])


class TemplateSet(BaseModel):
    """Templates with a name."""

    name: str
    templates: list[str]
    built_in: bool


# --- classification ---------------------------------------------------------------------------------------------------


class ClassifyQuestion(Given):
    """Score photos of the library against labels."""

    labels: Several[Text] | dict[Text, Several[Text]] | None = Field(default=None, description="Or `label_set`.")
    label_set: Name | None = Field(default=None, description="A saved one; NAME@2 is its second version.")
    templates: Several[Text] | None = None
    groups: dict[Text, Several[Text]] | None = None
    negatives: Several[Text] | None = None
    top: Top | None = Field(default=None, description="Labels per photo. Default: 3; with `multi_label` all that fit.")
    activation: ActivationName | None = Field(default=None, description="Default: as the model was trained.")
    unknown: Unknown | None = Field(
        default=None,
        description="Answer photos of none of the labels so: METHOD:RATE or METHOD:score=X.",
        examples=["softmax:0.05"],
    )
    thresholds: bool = Field(default=False, description="Only answers at or above the label set's thresholds.")
    multi_label: bool = Field(default=False, description="Every label that fits.")
    with_corrections: Teaching | None = Field(
        default=None, description="Also learn from the corrections of the saved label set."
    )
    temperature: Temperature | None = Field(
        default=None, description="Cosines are divided by it; or `fitted`, see /v1/temperature. Default: the model's."
    )
    smooth: bool = Field(default=False, description="Answer the photos together: those that look alike, alike.")
    record: bool = Field(default=False, description="Keep the run, see /v1/runs; needs the right to write.")
    truncate: bool = Field(default=False, description="Cut prompts that are too long for the model.")
    paths: Several[Path] | None = Field(
        default=None, description="Only photos at or below these folders of the library."
    )
    only: Several[Text] | None = Field(default=None, description="Only photos whose best label is one of these.")
    min_score: Score = Field(default=0.0, description="Leave out predictions below it.")
    order: Order = Field(default="path", description="`label`: by best label, the surest first.")
    limit: Annotated[int, Field(ge=0)] = Field(default=100, description="Photos of a page.")
    cursor: Cursor | None = Field(default=None, description="`next` of the page before; all else must be the same.")

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"labels": ["owl", "fox", "bear"], "templates": ["a photo of a {}."], "top": 3, "limit": 100},
                {"label_set": "animals", "only": ["owl"], "min_score": 0.5, "order": "label"},
            ]
        },
    )


class HubParameters(BaseModel):
    """As model hubs have them; what is not known here is ignored, as there."""

    candidate_labels: list[Text] | Text
    hypothesis_template: Text | None = None


class HubQuestion(BaseModel):
    """What clients of model hubs send for zero-shot image classification."""

    inputs: Base64 = Field(description="An image in base64; a URL only where the service was told to fetch them.")
    parameters: HubParameters

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"inputs": "iVBORw0KGgo…", "parameters": {"candidate_labels": ["owl", "fox"]}}]
        },
    )


class Prediction(BaseModel):
    """A label with its score, in [0, 1]."""

    label: str
    score: float


class HubAnswer(BaseModel):
    """The same, as model hubs write it."""

    score: float
    label: str


class PhotoResult(BaseModel):
    """The answer for one photo, best first."""

    image_id: int
    path: str
    predictions: list[Prediction]


class Smoothed(BaseModel):
    """What smoothing did: how many photos it looked at, and of how many it changed the best answer."""

    photos: int
    changed: int
    iterations: int
    converged: bool


class Classified(BaseModel):
    """A page of answers.

    `run` is what they are a function of; equal keys mean equal answers. `counts` says of how many photos each answer is
    the best, over all pages.
    """

    run: dict[str, Any]
    total: int
    counts: dict[str, int]
    unanswered: int
    smoothing: Smoothed | None
    results: list[PhotoResult]
    next: str | None


class UploadResult(BaseModel):
    """The answer for one upload."""

    name: str
    predictions: list[Prediction]


class UploadsClassified(BaseModel):
    """Answers for uploads, in their order."""

    stored: bool
    results: list[UploadResult]


# --- corrections ------------------------------------------------------------------------------------------------------


class CorrectionQuestion(Given):
    """What a photo shows, or with `not` does not show."""

    label_set: Name
    image_id: Id
    label: Text = Field(description="A label, a group or a negative of the set; or `(none of these)`.")
    not_: bool = Field(False, alias="not")

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"label_set": "animals", "image_id": 7, "label": "owl"}]}
    )


class Correction(BaseModel):
    """What holds of a photo: a label, or labels that it does not show. `unknown` are not in the set any more."""

    model_config = ConfigDict(populate_by_name=True)
    paths: list[str]
    digest: str
    label: str | None
    not_: list[str] = Field(alias="not")
    unknown: list[str]


class Corrected(BaseModel):
    """Of how many photos something is said now."""

    corrections: int


# --- groups -----------------------------------------------------------------------------------------------------------


class GroupsQuestion(Given):
    """Group the library by labels."""

    labels: Several[Text] | dict[Text, Several[Text]] | None = Field(None, description="Or `label_set`.")
    label_set: Name | None = Field(None, description="A saved one; NAME@2 is its second version.")
    templates: Several[Text] | None = None
    groups: dict[Text, Several[Text]] | None = None
    negatives: Several[Text] | None = None
    activation: ActivationName | None = Field(None, description="Default: as the model was trained.")
    unknown: Unknown | None = None
    with_corrections: Teaching | None = Field(
        default=None, description="Also learn from the corrections of the saved label set."
    )
    truncate: bool = Field(False, description="Cut prompts that are too long for the model.")
    paths: Several[Path] | None = Field(None, description="Only photos at or below these folders of the library.")

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"labels": ["owl", "fox", "bear"], "templates": ["openai-7"]}]},
    )


class ExplainQuestion(GroupsQuestion):
    """What was asked, with all that the answer depends on."""

    temperature: Temperature | None = Field(default=None, description="As for /v1/classify, like all that follows.")
    thresholds: bool = False
    multi_label: bool = False
    smooth: bool = False


class Group(BaseModel):
    """An answer, its photos, and how many of them have at least each of the levels as their score."""

    label: str
    count: int
    at_least: list[int]


class Groups(BaseModel):
    """The library, grouped. `key` names the answer from now on; `none` is the number of "(none of these)"."""

    key: str
    run: dict[str, Any]
    total: int
    unanswered: int
    levels: list[float]
    none: int | None
    groups: list[Group]


class GroupPhoto(BaseModel):
    """A photo with its best label and its second best."""

    image_id: int
    path: str
    label: str
    score: float
    second: str | None
    second_score: float | None


class GroupPhotos(BaseModel):
    """Some photos of a group."""

    total: int
    photos: list[GroupPhoto]


class Place(BaseModel):
    """Where a photo stands: its answer, and its place among the photos of that answer and among all that have a label,
    both from 0 on, the surest first.
    """

    image_id: int
    answer: int
    place: int
    place_of_all: int | None


class Places(BaseModel):
    """In the order of the question."""

    places: list[Place]


class SidecarChange(BaseModel):
    """What would happen to a sidecar: create, change or delete; tags by XMP property."""

    path: str
    action: str
    added: dict[str, list[str]]
    removed: dict[str, list[str]]


class TagsTold(BaseModel):
    """How many sidecars would be made, changed and deleted, and some of these changes."""

    create: int
    change: int
    delete: int
    unchanged: int
    skipped: int
    changes: list[SidecarChange]


class Flip(BaseModel):
    """How many photos went from one answer to another, by their numbers and names."""

    model_config = ConfigDict(populate_by_name=True)
    was: int
    becomes: int
    from_: str = Field(alias="from")
    to: str
    count: int


class Flips(BaseModel):
    """Where two answers differ. Labels of the same name are the same."""

    total: int
    same: int
    kinds: int
    flips: list[Flip]


class FlippedPhoto(GroupPhoto):
    """A photo with its label after and before."""

    old: str
    old_score: float


class FlippedPhotos(BaseModel):
    """Some photos whose label changed."""

    total: int
    photos: list[FlippedPhoto]


class AnswerScore(BaseModel):
    """An answer with its score, in [0, 1]."""

    label: str
    score: float


class PromptCosine(BaseModel):
    """A prompt, the label it stands for, and its cosine similarity to the photo."""

    label: str
    prompt: str
    cosine: float


class TemplateScores(BaseModel):
    """What one template alone would answer; `scores` are in the order of `answers`.

    Null is the score of an answer that words alone cannot give, such as that of an `unknown`.
    """

    template: str
    label: str
    scores: list[float | None]


class Why(BaseModel):
    """Why a photo gets its answer. `margin` is what the best answer is ahead of the second."""

    answers: list[AnswerScore]
    margin: float | None
    prompts: list[PromptCosine]
    templates: list[TemplateScores]


class SameBytes(BaseModel):
    """Files with the same bytes."""

    image_id: int
    paths: list[str]


class CopiesPage(BaseModel):
    """Some of them."""

    total: int
    copies: list[SameBytes]


# --- search -----------------------------------------------------------------------------------------------------------


class Term(Given):
    """One of: a text, an image of the library, an image in base64."""

    text: Text | None = None
    image_id: Id | None = None
    image: Base64 | None = None

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": "a red car"}, {"image_id": 7}]})


class SearchQuestion(Given):
    """Find photos by a sum of texts and images."""

    plus: Several[Term] = Field(default_factory=list, max_length=32)
    minus: Several[Term] = Field(default_factory=list, max_length=32)
    paths: Several[Path] | None = None
    top: Top = 20
    cursor: Cursor | None = Field(default=None, description="`next` of the page before, instead of terms and paths.")

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"plus": [{"text": "a beach"}], "minus": [{"text": "people"}], "top": 20}]},
    )


class Hit(BaseModel):
    """A photo that was found, its cosine similarity, and other files with the same bytes."""

    image_id: int
    path: str
    score: float
    copies: list[str]


class Hits(BaseModel):
    """A page of hits, best first. All pages show the order of one moment: none is lost and none comes twice."""

    hits: list[Hit]
    next: str | None


class Photo(BaseModel):
    """An image of the library; width and height are 0 where it was never decoded."""

    image_id: int
    digest: str
    width: int
    height: int
    format: str
    paths: list[str]


# --- the rest ---------------------------------------------------------------------------------------------------------


class SyncQuestion(Given):
    """Bring the library up to date."""

    paths: Several[Folder] | None = Field(
        default=None,
        description="Folders that were synced before, or are below one, or that the service was given. Default: all.",
        examples=[["/home/me/Pictures"]],
    )
    retry_skipped: bool = Field(default=False, description="Read again what could not be read before.")


class Step(BaseModel):
    """How far a job is."""

    stage: str
    done: int
    total: int | None


class Change(BaseModel):
    """When a job came into a state."""

    state: str
    at: str


class Job(BaseModel):
    """Work that outlasts a request."""

    id: str
    kind: str
    state: Literal["queued", "running", "waiting", "done", "failed", "cancelled", "interrupted"]
    paths: list[str] | None
    retry_skipped: bool
    history: list[Change]
    progress: Step | None
    report: dict[str, Any] | None
    problem: Problem | None
    waiting_for: str | None
    attempts: int


class Skipped(BaseModel):
    """A photo that cannot be used."""

    path: str
    reason: str
    detail: str


class SkippedPage(BaseModel):
    """Some of them."""

    total: int
    skipped: list[Skipped]


class SessionQuestion(Given):
    """Begin a session of a browser."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Session(BaseModel):
    """What a session, or a request, may do."""

    right: Literal["read", "write"]


class Health(BaseModel):
    """Whether the service is there."""

    status: str

"""The exception tree: every failure that zsindex expects is a `ZsindexError` that says what to do next.

    ZsindexError
    ├── LibraryError
    │   ├── LibraryNotFound      nothing there yet
    │   ├── NotALibrary          the path is something else
    │   ├── LibraryTooNew        written by a newer zsindex
    │   ├── LibraryTooOld        on a server, and of an earlier schema: opening never changes it
    │   ├── LibraryUnreachable   the server does not answer, or has hung up
    │   ├── LibraryReadOnly      asked to write where writing is impossible
    │   ├── LibraryBusy          another process, or another thread of this one, is syncing or writing
    │   ├── LibraryDamaged       the database says that it is malformed
    │   ├── LibraryClosed        asked after it was closed
    │   ├── LibraryForked        opened by a process that this one is a fork of
    │   ├── NoSearchIndex        the server can hold none, or this role may not make or read it
    │   ├── ModelPruned          somebody else pruned the model while something was to be stored under it
    │   ├── StorageFailed        the system refuses to read or write, for a reason that is none of the others
    │   └── StorageFull          no space left; the last batch was rolled back
    ├── ModelError
    │   ├── UnknownModel         no such name; near matches are offered
    │   ├── ModelUnavailable     a hub could not be reached, or a download failed
    │   ├── CheckpointError      weights that cannot be loaded
    │   ├── PackageMissing       the model needs a package that is not installed
    │   ├── ModelChanged         the weights behind a name are no longer those of the library
    │   ├── DeviceError          the asked-for device is not there
    │   ├── DeviceFull           it is there, and has too little memory left
    │   ├── PromptTooLong        a prompt does not fit the text context
    │   └── NoTemperature        none was fitted for the model
    ├── LabelError
    │   ├── NoLabels, EmptyLabel, DuplicateLabels, BadGroups, BadTemplate, BadLabelFile, UnknownLabelSet,
    │   │   UnknownTemplateSet
    │   ├── BadPrior             photos cannot be divided among the labels in that way
    │   ├── BadUnknown           photos cannot be called unknown in that way
    │   ├── NoThreshold          there is no threshold, or can be none, where one was asked for
    │   └── UnknownLabel         a label that the label set does not have
    ├── AlbumError
    │   ├── BadAlbum             a question that cannot be saved as an album
    │   ├── UnknownAlbum         no album has that name
    │   └── AlbumFolderTaken     a folder for links that holds other things
    ├── BadCiFile                the file that zsindex ci reads cannot be used
    ├── SurveyError
    │   ├── UnknownSurvey        no survey that goes on has that number, or no look of it
    │   └── BadAnswer            not one of the answers that can be given
    ├── BadTruth                 what answers were to be compared with cannot be read, or fits no photo
    ├── ImageError               one photo cannot be used; carries a `SkipReason`
    ├── DecoderUnavailable       no process can be started to decode photos in
    ├── BadText                  not a text: half of a surrogate pair, or NUL, where one was expected
    ├── BadPath                  an empty path, or a relative one where the working folder is gone
    ├── PathNotFound             a path that was named does not exist
    ├── NotInLibrary             photos that the library does not hold, where adding them was refused
    ├── NoVectors                a question that no photo can answer: there are none, or none with a vector of the model
    ├── DimensionMismatch        vectors of two models were mixed
    ├── UnknownRun               no run was recorded under that key
    ├── UnknownImage             no image of the library has that id
    ├── PlaceExpired             the order that the next page belongs to is gone
    ├── BadFilter                a filter of photos that cannot be read
    ├── NoFacts                  a filter on what no photo's metadata was read for yet
    ├── BadQuery                 a search that asks for nothing
    ├── BadQuestion              options of a question that exclude each other, or need another one
    ├── SamePhoto                one photo, called two different ones
    ├── TooManyPairs             near-duplicates at a threshold that nearly all photos reach
    ├── TooManyScores            smoothing, or sets of labels, need more memory than they may take
    ├── ImportRefused            vectors from elsewhere that cannot be taken in; nothing of them was
    ├── ExportRefused            vectors cannot be written to that folder
    ├── CopyRefused          a library cannot be copied to that place
    ├── ClusterUnreachable   the head of a Ray cluster does not answer, or has other versions
    ├── ClusterFailed        what was to be done on a cluster cannot be done there, or went wrong
    ├── Stopped              what is all or nothing was stopped
    ├── ExtraMissing             a package of one of zsindex's extras is not installed
    ├── BadTokenFile             a file that says who may use a service cannot be used
    └── FetchError               a URL could not be read

Three places translate these and nothing else does: the intake turns an `ImageError` into a recorded skip, the CLI
turns a `ZsindexError` into ``Error: …`` and exit code 1, and a service maps it to a status. Anything else is a bug and
keeps its traceback.

Every error survives pickling and copying, so that one raised in another process arrives as what it is: with its type,
its message, its data, its notes and its cause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from zsindex.records import ModelSpec, SkipReason

# What stands for a library in messages: its folder; of one on a server its URL, without what only its users may know.
_Place: TypeAlias = Path | str

__all__ = [
    "AlbumError",
    "AlbumFolderTaken",
    "BadAlbum",
    "BadAnswer",
    "BadCiFile",
    "BadFilter",
    "BadGroups",
    "BadLabelFile",
    "BadPath",
    "BadPrior",
    "BadQuery",
    "BadQuestion",
    "BadTemplate",
    "BadText",
    "BadTokenFile",
    "BadTruth",
    "BadUnknown",
    "CheckpointError",
    "ClusterFailed",
    "ClusterUnreachable",
    "CopyRefused",
    "DecoderUnavailable",
    "DeviceError",
    "DeviceFull",
    "DimensionMismatch",
    "DuplicateLabels",
    "EmptyLabel",
    "ExportRefused",
    "ExtraMissing",
    "FetchError",
    "ImageError",
    "ImportRefused",
    "LabelError",
    "LibraryBusy",
    "LibraryClosed",
    "LibraryDamaged",
    "LibraryError",
    "LibraryForked",
    "LibraryNotFound",
    "LibraryReadOnly",
    "LibraryTooNew",
    "LibraryTooOld",
    "LibraryUnreachable",
    "ModelChanged",
    "ModelError",
    "ModelPruned",
    "ModelUnavailable",
    "NoFacts",
    "NoLabels",
    "NoSearchIndex",
    "NoTemperature",
    "NoThreshold",
    "NoVectors",
    "NotALibrary",
    "NotInLibrary",
    "PackageMissing",
    "PathNotFound",
    "PlaceExpired",
    "PromptTooLong",
    "SamePhoto",
    "Stopped",
    "StorageFailed",
    "StorageFull",
    "SurveyError",
    "TooManyPairs",
    "TooManyScores",
    "UnknownAlbum",
    "UnknownImage",
    "UnknownLabel",
    "UnknownLabelSet",
    "UnknownModel",
    "UnknownRun",
    "UnknownSurvey",
    "UnknownTemplateSet",
    "ZsindexError",
    "ZsindexWarning",
]


class _Travels(Exception):
    """An exception that can be pickled and copied, whatever its constructor asks for.

    Python's own way calls the class with `args`, which is the message alone here, and so fails where a constructor
    wants data. This one makes the object without calling its constructor, and then sets what it had: data and notes
    are attributes.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*map(_for_people, args))

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...], dict[str, object]]:
        state: dict[str, object] = dict(self.__dict__)
        if self.__cause__ is not None and _can_travel(self.__cause__):
            state["__cause__"] = self.__cause__
        # Set last: it is what setting a cause sets, too, and what `from None` says.
        state["__suppress_context__"] = self.__suppress_context__
        return _without_constructor, (type(self), *self.args), state


# Longer than any path, and its ends say what is wrong and what to do.
_MOST_SAID = 5_000


def _for_people(said: object) -> object:
    """A message, without its middle where that quotes whole files."""
    if not isinstance(said, str) or len(said) <= _MOST_SAID:
        return said
    return f"{said[: _MOST_SAID - 503]} … {said[-500:]}"


def _without_constructor(kind: type[_Travels], *args: object) -> _Travels:
    return kind.__new__(kind, *args)  # which sets `args`


def _can_travel(cause: BaseException) -> bool:
    """Whether a cause, which may be anybody's, can be pickled; the error must arrive without one that cannot."""
    import pickle

    try:
        pickle.loads(pickle.dumps(cause))
    except Exception:  # noqa: BLE001  of its constructor, or of whatever it carries
        return False
    return True


class ZsindexError(_Travels):
    """Base of every expected failure."""


class ZsindexWarning(_Travels, UserWarning):
    """Base of what is worth telling although it worked."""


# --- the library ------------------------------------------------------------------------------------------------------


class LibraryError(ZsindexError):
    """Something about the library as a whole; `path` is its folder, or its URL without a password."""

    def __init__(self, message: str, *, path: _Place) -> None:
        super().__init__(message)
        self.path = path


class LibraryNotFound(LibraryError):
    """There is no library at a path where one was expected."""

    def __init__(self, path: _Place) -> None:
        way = f"zsindex library create {path}" if isinstance(path, str) else "zsindex sync PHOTOS"
        super().__init__(f"there is no library at {path}. Make one with: {way}", path=path)


class NotALibrary(LibraryError):
    """The path holds something else, or no library can be made there."""

    def __init__(self, path: _Place, why: str) -> None:
        kind = "database" if isinstance(path, str) else "folder"
        super().__init__(
            f"{path} is not a zsindex library: {why}. Name a library, or a new or empty {kind}.",
            path=path,
        )


class LibraryTooNew(LibraryError):
    """The library was written by a newer zsindex; `found` and `newest_known` are schema revisions."""

    def __init__(self, path: _Place, *, found: str, newest_known: str) -> None:
        super().__init__(
            f"the library at {path} was written by a newer zsindex (schema {found}, this version knows up to "
            f"{newest_known}). Upgrade zsindex, or use another library.",
            path=path,
        )
        self.found = found
        self.newest_known = newest_known


class LibraryTooOld(LibraryError):
    """The library was written by an older zsindex, and others may still use it; `found` and `needed` are schema
    revisions.
    """

    def __init__(self, path: _Place, *, found: str, needed: str) -> None:
        super().__init__(
            f"the library at {path} has schema {found}, and this version needs {needed}. When all who use it have this "
            f"version: zsindex library upgrade {path}",
            path=path,
        )
        self.found = found
        self.needed = needed


class LibraryUnreachable(LibraryError):
    """The server of the library does not answer, refuses, or has hung up; `detail` is its word for it."""

    def __init__(self, path: _Place, detail: str) -> None:
        super().__init__(
            f"the library at {path} cannot be reached ({detail}). What was stored before is kept: run the same command "
            f"again when the server answers.",
            path=path,
        )
        self.detail = detail


class LibraryReadOnly(LibraryError):
    """Something was to be written where that is impossible; `action` says what."""

    def __init__(self, path: _Place, action: str) -> None:
        way = "connect to the primary as a role that may write" if isinstance(path, str) else "make the folder writable"
        if action.startswith(("open ", "upgrade ")):  # without which there is nothing to be asked
            rest = way[0].upper() + way[1:]
        else:
            rest = f"What is cached can still be queried; to add to it, {way}"
        super().__init__(
            f"cannot {action}: the library at {path} is read-only. {rest}, or work on a copy of it.",
            path=path,
        )
        self.action = action


class LibraryBusy(LibraryError):
    """Somebody else is writing; `holder` says who, `waited_s` how long they were given."""

    def __init__(self, path: _Place, *, holder: str, waited_s: float) -> None:
        super().__init__(
            f"the library at {path} is being written to ({holder}; waited {waited_s:g} s). Reading works meanwhile; "
            f"try again when it has finished.",
            path=path,
        )
        self.holder = holder
        self.waited_s = waited_s


class LibraryDamaged(LibraryError):
    """The database cannot be read; `detail` is its own word for it."""

    def __init__(self, path: _Place, detail: str) -> None:
        copy = "a copy (an upgrade made one as library.db.backup-*)"
        if isinstance(path, str):
            copy = "your backups of the server or its standby"
        super().__init__(
            f"the database of the library at {path} is damaged ({detail}). Run zsindex check --fix; what it leaves can "
            f"only be had again from {copy}, or by a zsindex sync of the photos into a new library.",
            path=path,
        )
        self.detail = detail


class ModelPruned(LibraryError):
    """The model that something was to be stored under was pruned meanwhile, by another process or object."""

    def __init__(self, path: _Place) -> None:
        super().__init__(
            f"the model in use was pruned from the library at {path} in the meantime; nothing was stored. Ask again: "
            f"it is recorded anew.",
            path=path,
        )


class NoSearchIndex(LibraryError):
    """There can be no search index on the server, or not for this role; `why` says so, and what to do."""

    def __init__(self, path: _Place, why: str) -> None:
        super().__init__(f"no search index at {path}: {why}", path=path)
        self.why = why


class StorageFailed(LibraryError):
    """The operating system refuses to read or write something of the library; `action` says what was to be done, and
    `detail` is the system's own word for why not.
    """

    def __init__(self, path: _Place, action: str, detail: str) -> None:
        super().__init__(
            f"cannot {action}: the system refuses to use the library at {path} ({detail}). What was stored before is "
            f"kept: when the cause is gone, run the same command again.",
            path=path,
        )
        self.action = action
        self.detail = detail


class LibraryClosed(LibraryError):
    """The library object was closed; open another one."""

    def __init__(self, path: _Place) -> None:
        super().__init__(f"the library at {path} was closed. Open it again: Library.open({str(path)!r})", path=path)


class LibraryForked(LibraryError):
    """The process that opened the library has forked, and this is its child: locks of SQLite, threads and models stay
    behind in a fork.
    """

    def __init__(self, path: _Place, *, can_open: bool = True) -> None:
        """Args:
        can_open: whether this process may open it anew.
        """
        way_out = f"Open it here anew: Library.open({str(path)!r})"
        if not can_open:
            way_out = "Threads of that process were reading or writing it just then: start this process with 'spawn'"
        super().__init__(
            f"the library at {path} was opened by another process, of which this one is a fork; what both wrote could "
            f"be lost. {way_out}.",
            path=path,
        )
        self.can_open = can_open


class StorageFull(LibraryError):
    """The disk has no room left; the batch in work was rolled back. `detail` is the system's own word where that is
    another one, as for a quota, and a server's; empty otherwise.
    """

    def __init__(self, path: _Place, detail: str = "") -> None:
        of, where = ("on the server of", " there") if isinstance(path, str) else ("for", "")
        super().__init__(
            f"no space left {of} the library at {path}{f' ({detail})' if detail else ''}. Everything up to the last "
            f"batch is kept: free some space{where} and run the same command again.",
            path=path,
        )
        self.detail = detail


# --- models -----------------------------------------------------------------------------------------------------------


class ModelError(ZsindexError):
    """Something about a model; `model` is the name as the user gave it."""

    def __init__(self, message: str, *, model: str) -> None:
        super().__init__(message)
        self.model = model


class UnknownModel(ModelError):
    """No model has that name; `near` holds names that look like it."""

    def __init__(self, model: str, *, near: Sequence[str] = (), why: str = "no model has that name") -> None:
        hint = (
            f" Did you mean {' or '.join(near[:5])}{' or one of the others' if len(near) > 5 else ''}?" if near else ""
        )
        super().__init__(f"unknown model {model!r}: {why}.{hint} zsindex models list shows what there is.", model=model)
        self.near = tuple(near)


class ModelUnavailable(ModelError):
    """The weights are not on this disk and could not be fetched; `detail` says why.

    `cache` is the folder where a copy of another machine's cache of the hub would be found.
    """

    def __init__(self, model: str, detail: str, *, cache: str | None = None) -> None:
        copied = f"; a copy of another machine's hub cache goes into {cache} (or wherever HF_HOME points)"
        super().__init__(
            f"the weights of {model!r} could not be downloaded ({detail}). Two ways out without a model hub: the "
            f"embedded model, --model nano; or a checkpoint on this disk, --model local-dir:FOLDER"
            f"{'' if cache is None else copied}.",
            model=model,
        )
        self.detail = detail
        self.cache = cache


class CheckpointError(ModelError):
    """The weights are there but cannot be loaded; `detail` says why."""

    def __init__(self, model: str, detail: str) -> None:
        super().__init__(
            f"the checkpoint of {model!r} cannot be loaded: {detail}. Download or copy it again, or choose another "
            f"model.",
            model=model,
        )
        self.detail = detail


class PackageMissing(ModelError):
    """The model needs a `package` that is not installed."""

    def __init__(self, model: str, package: str) -> None:
        quoted = f"'{package}'" if "[" in package else package  # shells take brackets for patterns
        super().__init__(f"{model!r} needs the package {package}: pip install {quoted}", model=model)
        self.package = package


class ModelChanged(ModelError):
    """A name now stands for other weights; `expected` and `got` are fingerprints."""

    def __init__(self, model: str, *, expected: str, got: str) -> None:
        super().__init__(
            f"{model!r} now has other weights or preprocessing (fingerprint {got[:12]}) than those this library was "
            f"encoded with ({expected[:12]}); vectors of the two never mix. To adopt the new one: zsindex models use "
            f"{model}, then zsindex sync. The old vectors stay until they are pruned.",
            model=model,
        )
        self.expected = expected
        self.got = got


class DeviceError(ModelError):
    """The `device` is not there; those in `available` are."""

    def __init__(self, device: str, *, available: Sequence[str], model: str) -> None:
        super().__init__(f"device {device!r} is not available here; available: {', '.join(available)}", model=model)
        self.device = device
        self.available = tuple(available)


class DeviceFull(ModelError):
    """The `device` has too little memory left for the model, or for a single image beside it."""

    def __init__(self, device: str, *, model: str) -> None:
        super().__init__(
            f"there is too little free memory on device {device!r} for {model}. Close what else uses it, or take "
            "another device (device='cpu', --device cpu), a smaller model or a lower precision.",
            model=model,
        )
        self.device = device


class PromptTooLong(ModelError):
    """A `prompt` has more `tokens` than the `context_length` of the model."""

    def __init__(self, prompt: str, *, tokens: int, context_length: int, model: str) -> None:
        super().__init__(
            f"the prompt {prompt!r} has {tokens} tokens, but {model!r} reads {context_length}. Shorten it, or have "
            f"it cut there (truncate=True, --truncate).",
            model=model,
        )
        self.prompt = prompt
        self.tokens = tokens
        self.context_length = context_length


class NoTemperature(ModelError):
    """No temperature was fitted for the model."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"no temperature has been fitted for {model!r}. Fit one: zsindex temperature fit TRUTH; or give a number.",
            model=model,
        )


# --- labels -----------------------------------------------------------------------------------------------------------


class LabelError(ZsindexError):
    """Something about labels, templates or a label file."""


class NoLabels(LabelError):
    """There is nothing to choose from."""

    def __init__(self) -> None:
        super().__init__("no labels given; at least one is needed")


class EmptyLabel(LabelError):
    """A label is blank; `position` counts from 1."""

    def __init__(self, position: int) -> None:
        super().__init__(f"label number {position} is empty")
        self.position = position


class DuplicateLabels(LabelError):
    """The same label stands twice; `labels` names each once."""

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__(f"labels given more than once: {', '.join(labels)}")
        self.labels = tuple(labels)


class BadTemplate(LabelError):
    """A `template` has no place for the label, and is not the name of a template set; those in `known` are there."""

    def __init__(self, template: str, *, known: Sequence[str] = ()) -> None:
        there = f". Template sets by name: {', '.join(known)}" if known else ""
        super().__init__(
            f"the template {template!r} has no place for the label; "
            f"write {{}} where it goes: 'a photo of a {{}}.'{there}"
        )
        self.template = template
        self.known = tuple(known)


class BadLabelFile(LabelError):
    """The file at `path` is not in a form that labels can be read from."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"cannot read labels from {path}: {why}")
        self.path = path


class BadGroups(LabelError):
    """Groups or negatives of a label set contradict its labels."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the label set contradicts itself: {why}")


class UnknownTemplateSet(LabelError):
    """No saved template set has that `name`; those in `known` are there."""

    def __init__(self, name: str, *, known: Sequence[str]) -> None:
        there = f"saved: {', '.join(known)}" if known else "none is saved yet: zsindex templates save NAME"
        super().__init__(f"no saved template set is named {name!r}; {there}")
        self.name = name
        self.known = tuple(known)


class UnknownLabelSet(LabelError):
    """No saved label set has that `name`, or none of its versions that number; those in `known` are there."""

    def __init__(self, name: str, *, known: Sequence[str]) -> None:
        there = f"the library has {', '.join(known)}" if known else "the library has none yet: zsindex labels save NAME"
        super().__init__(f"no label set is named {name!r}; {there}")
        self.name = name
        self.known = tuple(known)


class AlbumError(ZsindexError):
    """Something is wrong with an album."""


class BadAlbum(AlbumError):
    """A question cannot be saved as the album `name`."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name!r} cannot be saved as an album: {why}")
        self.name = name


class UnknownAlbum(AlbumError):
    """No album has that `name`; those in `known` are there."""

    def __init__(self, name: str, *, known: Sequence[str]) -> None:
        there = f"the library has {', '.join(known)}" if known else "the library has none yet: zsindex albums save NAME"
        super().__init__(f"no album is named {name!r}; {there}")
        self.name = name
        self.known = tuple(known)


class AlbumFolderTaken(AlbumError):
    """A folder that links were to be put into holds other things, or is no place for them."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} {why}; name a new or empty folder")
        self.path = path


class SurveyError(ZsindexError):
    """Something is wrong with a survey."""


class UnknownSurvey(SurveyError):
    """No survey has the number `survey_id`, or none that goes on; those in `known` do."""

    def __init__(self, survey_id: int, *, known: Sequence[int]) -> None:
        there = f"these go on: {', '.join(map(str, known))}" if known else "none goes on"
        super().__init__(f"there is no survey {survey_id}, or it has ended; {there}. List them: zsindex surveys list")
        self.survey_id = survey_id
        self.known = tuple(known)


class BadAnswer(SurveyError):
    """`answer` is none of the answers that can be given, which `choices` are."""

    def __init__(self, answer: str, choices: Sequence[str]) -> None:
        super().__init__(f"{answer!r} is no answer here: say {', '.join(choices)}")
        self.answer = answer
        self.choices = tuple(choices)


class BadPrior(LabelError):
    """Photos cannot be divided among the labels as a prior says, or it cannot be estimated: `why`."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the prior: {why}")
        self.why = why


class BadUnknown(LabelError):
    """Photos cannot be called unknown in the way that `rule` says."""

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(f"photos cannot be called unknown by {rule!r}: {why}")
        self.rule = rule


class NoThreshold(LabelError):
    """`label_set` has no threshold to apply, or a label can have none; None is a label set that is not saved."""

    def __init__(self, label_set: str | None, why: str) -> None:
        super().__init__(f"{'these labels' if label_set is None else f'label set {label_set!r}'}: {why}")
        self.label_set = label_set


class UnknownLabel(LabelError):
    """The label set has no `label` of that name; those in `known` are there."""

    def __init__(self, label: str, *, known: Sequence[str]) -> None:
        shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        super().__init__(f"the label set has no label {label!r}; it has {shown}")
        self.label = label
        self.known = tuple(known)


class BadTruth(ZsindexError):
    """What answers were to be compared with, from `source`, cannot be used; `why` says what is wrong with it."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"cannot compare with {source}: {why}")
        self.source = source
        self.why = why


class BadCiFile(ZsindexError):
    """The file that `zsindex ci` reads, or a file that it names, cannot be used.

    Attributes:
        source: the file's name.
        key: the key that is wrong, with the tables around it; empty if it is the file as a whole.
        line: the line of that key, from 1; None if it is unknown.
        why: what is wrong.
    """

    def __init__(self, source: str, key: str, line: int | None, why: str) -> None:
        place = "".join((f", line {line}" if line else "", f", {key}" if key else ""))
        super().__init__(f"{source}{place}: {why}")
        self.source = source
        self.key = key
        self.line = line
        self.why = why


# --- photos, paths, vectors -------------------------------------------------------------------------------------------


class ImageError(ZsindexError):
    """One photo cannot be used.

    Attributes:
        reason: why, as one of the fixed reasons that `status` counts by.
        detail: the same in words, for a person.
        path: the file, where there is one.
    """

    def __init__(self, reason: SkipReason, detail: str, *, path: str | None = None) -> None:
        super().__init__(f"{path}: {detail}" if path else detail)
        self.reason = reason
        self.detail = detail
        self.path = path


class DecoderUnavailable(ZsindexError):
    """No process can be started to decode photos in."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"photos are decoded in processes of their own, and none can be started: {why}. ZSINDEX_DECODE_LIMITS=off "
            "decodes them in this process, without limits of time and memory for each"
        )
        self.why = why


class BadText(ZsindexError):
    """A `text` holds half of a surrogate pair (bytes that are not UTF-8 come so from a command line), or NUL."""

    def __init__(self, text: str, what: str) -> None:
        super().__init__(f"{what} is not valid text: {text!a}")
        self.text = text
        self.what = what


class BadPath(ZsindexError):
    """A `path` that names nothing."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(why)
        self.path = path


class PathNotFound(ZsindexError):
    """The `paths` are neither on the disk nor known to the library."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(f"no such file or folder: {', '.join(paths)}")
        self.paths = tuple(paths)


class NotInLibrary(ZsindexError):
    """The library holds nothing of `paths`, and adding them was refused or impossible."""

    def __init__(self, paths: Sequence[str], why: str) -> None:
        shown = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        super().__init__(f"not in the library ({why}): {shown}. Add with: zsindex sync PATH")
        self.paths = tuple(paths)


class SamePhoto(ZsindexError, ValueError):
    """Photos were called different of which two are the same one."""

    def __init__(self, paths: Sequence[str]) -> None:
        why = "name two photos or more" if len(paths) < 2 else "two of them have the same bytes"
        super().__init__(f"not different photos ({why}): {', '.join(paths)}")
        self.paths = tuple(paths)


class NoVectors(ZsindexError):
    """A question that no photo can answer.

    Attributes:
        model: as the user knows it.
        photos: that the library holds, of those asked about; none of them has a vector of the model.
        skipped: files that it could not read, of the same.
        damaged: what the library knows of photos is damaged, so that nobody knows how many it holds.
    """

    def __init__(self, spec: ModelSpec, *, photos: int, skipped: int, damaged: bool = False) -> None:
        if photos:
            message = (
                f"none of the {photos:,} photos has a vector of {spec} with these options: "
                f"zsindex sync {spec.arguments}"
            )
        elif damaged:
            message = "what the library knows of its photos is damaged: zsindex check --fix, and then zsindex sync"
        elif skipped:
            message = f"none of the {skipped:,} files could be read; zsindex status --skipped says why"
        else:
            message = "the library holds no photos yet. Add some with: zsindex sync PHOTOS"
        super().__init__(message)
        self.model = str(spec)
        self.photos = photos
        self.skipped = skipped
        self.damaged = damaged


class DimensionMismatch(ZsindexError):
    """Vectors have `got` dimensions where `expected` are wanted: two models were mixed."""

    def __init__(self, *, expected: int, got: int, what: str = "vectors") -> None:
        super().__init__(
            f"{what} have {got} dimensions where {expected} are expected; were they made by another model?"
        )
        self.expected = expected
        self.got = got


class UnknownRun(ZsindexError):
    """No run, or more than one, was recorded under a `key` that begins so; `known` names them, or those there are."""

    def __init__(self, key: str, *, known: Sequence[str]) -> None:
        shown = ", ".join(known[:5]) + (f" and {len(known) - 5} more" if len(known) > 5 else "")
        there = f"recorded: {shown}" if known else "none is recorded yet: zsindex classify --record"
        super().__init__(f"no single run is recorded under the key {key!r}; {there}")
        self.key = key
        self.known = tuple(known)


class UnknownImage(ZsindexError):
    """The library holds no image, or no vector of it, under `image_id`."""

    def __init__(self, image_id: int) -> None:
        super().__init__(f"the library has no image number {image_id}, or no vector of it under this model")
        self.image_id = image_id


class PlaceExpired(ZsindexError):
    """A next page was asked for in an order that can no longer be told: vectors were removed since."""

    def __init__(self) -> None:
        super().__init__(
            "the library has changed so much that there is no next page any more; start from the beginning"
        )


class BadQuery(ZsindexError):
    """A search that asks for nothing."""


class BadQuestion(ZsindexError, ValueError):
    """The `options` of a question that exclude each other; or one that needs another one."""

    def __init__(self, options: Sequence[str], why: str) -> None:
        """Args:
        options: their names in Python; two that exclude each other, or one that lacks something.
        why: completes "… exclude each other:", or says what is lacking.
        """
        super().__init__(self.describe(options, why))
        self.options = tuple(options)
        self.why = why

    @staticmethod
    def describe(options: Sequence[str], why: str) -> str:
        """The message, for options that are spelt in some way."""
        return f"{' and '.join(options)} exclude each other: {why}" if len(options) > 1 else f"{options[0]}: {why}"


class BadFilter(ZsindexError, ValueError):
    """A filter of photos that cannot be read, at a place `at`; `example` is one that can."""

    def __init__(self, at: str, why: str, example: str) -> None:
        """Args:
        at: the filter's name; in JSON with the way to it, ``where.and[1].near``.
        why: what is wrong.
        """
        super().__init__(f"{at}: {why}; for example {example}")
        self.at = at
        self.why = why
        self.example = example


class NoFacts(ZsindexError):
    """A filter on what photos' metadata says, where none of the library's `photos` was read for it yet."""

    def __init__(self, filters: Sequence[str], *, photos: int) -> None:
        """Args:
        filters: their names.
        """
        super().__init__(
            f"{' and '.join(filters)} cannot be filtered by: the metadata of none of the {photos:,} photos was read "
            "yet; zsindex sync reads it, without encoding them again"
        )
        self.filters = tuple(filters)
        self.photos = photos


class TooManyPairs(ZsindexError):
    """At `threshold` more than `limit` pairs of photos are alike."""

    def __init__(self, threshold: float, *, limit: int) -> None:
        super().__init__(
            f"at a cosine of {threshold:g} more than {limit:,} pairs of photos are alike: raise the threshold; "
            "zsindex duplicates --show-threshold shows what pairs look like"
        )
        self.threshold = threshold
        self.limit = limit


class TooManyScores(ZsindexError):
    """Smoothing, or what else it is `doing` with `photos` by `answers`, would take more than `limit` scores."""

    def __init__(self, *, photos: int, answers: int, limit: int, doing: str = "smoothing") -> None:
        super().__init__(
            f"{doing} {photos:,} photos by {answers:,} labels takes {photos * answers:,} scores in memory, and "
            f"{limit:,} are the limit: use fewer labels, or fewer photos"
        )
        self.photos = photos
        self.answers = answers
        self.limit = limit
        self.doing = doing


class ImportRefused(ZsindexError):
    """The file or folder at `path` is not what vectors can be imported from; `why` says what is wrong with it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"cannot import {path}: {why}")
        self.path = path
        self.why = why


class ExportRefused(ZsindexError):
    """Vectors cannot be exported to the folder at `path`; `why` says what keeps them from it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"cannot export to {path}: {why}")
        self.path = path
        self.why = why


class CopyRefused(ZsindexError):
    """A library cannot be copied to the `target`; `why` says what is in the way."""

    def __init__(self, target: str, why: str) -> None:
        super().__init__(f"cannot copy to {target}: {why}")
        self.target = target
        self.why = why


class ClusterUnreachable(ZsindexError):
    """The Ray cluster at an `address` does not answer, or refuses; `detail` is Ray's word for it."""

    def __init__(self, address: str, detail: str) -> None:
        super().__init__(
            f"cannot connect to Ray at {address} ({detail}). Start its head (ray start --head), with the same versions "
            f"of Python, Ray and zsindex as here; or use the cores of this machine: --on ray, or without --on."
        )
        self.address = address
        self.detail = detail


class ClusterFailed(ZsindexError):
    """Something cannot be done on a cluster, or went wrong there; `detail` says what."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"the work on Ray did not come to its end: {detail}. What was stored is kept: when the cause is gone, run "
            f"the same command again, or without --on."
        )
        self.detail = detail


class Stopped(ZsindexError):
    """What gives a whole result or none was stopped before it was done."""

    def __init__(self) -> None:
        super().__init__("stopped; there is no result")


class ExtraMissing(ZsindexError):
    """The `package`, part of an `extra` of zsindex, is not installed."""

    def __init__(self, package: str, *, extra: str, why: str) -> None:
        super().__init__(f"{why}, which needs the package {package}: pip install 'zsindex[{extra}]'")
        self.package = package
        self.extra = extra


class BadTokenFile(ZsindexError):
    """The file at `path` does not say who may use a service."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"cannot use the token file {path}: {why}")
        self.path = path


class FetchError(ZsindexError):
    """A `url` could not be read."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"cannot read {url}: {why}")
        self.url = url

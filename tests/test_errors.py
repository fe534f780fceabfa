"""Exceptions: each stands in the tree, carries its data, says what to do next, and survives pickling and copying."""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import zsindex
from zsindex import errors
from zsindex.errors import ZsindexError, ZsindexWarning
from zsindex.records import ModelSpec, SkipReason

EXCEPTIONS = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__ and issubclass(value, ZsindexError)
}
FOLDER = Path("photos.zsindex")
SERVER = "postgresql://db/photos"

# Each exception with data, made as the program makes it; what it carries; what its message must say.
MADE: list[tuple[ZsindexError, dict[str, object], str]] = [
    (errors.LibraryNotFound(FOLDER), {"path": FOLDER}, "zsindex sync"),
    (errors.NotALibrary(FOLDER, "it is a file"), {"path": FOLDER}, "it is a file"),
    (
        errors.LibraryTooNew(FOLDER, found="0009", newest_known="0001"),
        {"path": FOLDER, "found": "0009", "newest_known": "0001"},
        "0009.*0001.*Upgrade",
    ),
    (
        errors.LibraryTooOld(SERVER, found="0007", needed="0008"),
        {"path": SERVER, "found": "0007", "needed": "0008"},
        "0007.*0008.*zsindex library upgrade postgresql://db/photos",
    ),
    (
        errors.LibraryUnreachable(SERVER, "connection refused"),
        {"path": SERVER, "detail": "connection refused"},
        "cannot be reached .connection refused.*run the same command again",
    ),
    (errors.NoSearchIndex(SERVER, "no pgvector"), {"path": SERVER, "why": "no pgvector"}, "no search index at .*no pg"),
    (errors.ClusterFailed("no node left"), {"detail": "no node left"}, "the work on Ray did not come to its end: no"),
    (
        errors.ClusterUnreachable("ray://head:10001", "refused"),
        {"address": "ray://head:10001", "detail": "refused"},
        r"cannot connect to Ray at ray://head:10001 \(refused\)",
    ),
    (errors.Stopped(), {}, "stopped"),
    (errors.CopyRefused("/b", "there is one"), {"target": "/b", "why": "there is one"}, "cannot copy to /b: there is"),
    (errors.LibraryNotFound(SERVER), {"path": SERVER}, "zsindex library create postgresql://db/photos"),
    (errors.LibraryReadOnly(SERVER, "sync"), {"path": SERVER}, "^cannot sync: .*a role that may write"),
    (errors.LibraryDamaged(SERVER, "malformed"), {"path": SERVER}, "backups of the server"),
    (errors.LibraryReadOnly(FOLDER, "sync"), {"path": FOLDER, "action": "sync"}, "^cannot sync: .*read-only"),
    (
        errors.LibraryBusy(FOLDER, holder="process 7", waited_s=3.0),
        {"path": FOLDER, "holder": "process 7", "waited_s": 3.0},
        r"process 7; waited 3 s\).*try again",
    ),
    (errors.LibraryDamaged(FOLDER, "malformed"), {"path": FOLDER, "detail": "malformed"}, "zsindex check"),
    (errors.LibraryClosed(FOLDER), {"path": FOLDER}, "was closed. Open it again"),
    (errors.LibraryForked(FOLDER), {"path": FOLDER, "can_open": True}, "Open it here anew"),
    (
        errors.LibraryForked(FOLDER, can_open=False),
        {"path": FOLDER, "can_open": False},
        "start this process with 'spawn'",
    ),
    (errors.ModelPruned(FOLDER), {"path": FOLDER}, "pruned .* Ask again"),
    (
        errors.StorageFailed(FOLDER, "record a run", "Too many open files"),
        {"path": FOLDER, "action": "record a run", "detail": "Too many open files"},
        r"^cannot record a run: .*\(Too many open files\)",
    ),
    (errors.StorageFull(FOLDER), {"path": FOLDER}, "free some space"),
    (
        errors.UnknownModel("ViT-B-23", near=["ViT-B-32", "ViT-B-16"]),
        {"model": "ViT-B-23", "near": ("ViT-B-32", "ViT-B-16")},
        "Did you mean ViT-B-32 or ViT-B-16.*zsindex models list",
    ),
    (errors.UnknownModel("x"), {"near": ()}, "unknown model 'x': no model has that name. zsindex models"),
    (errors.ModelUnavailable("m", "no route"), {"model": "m", "detail": "no route"}, "no route.*--model nano"),
    (errors.CheckpointError("m", "cut short"), {"model": "m", "detail": "cut short"}, "cut short.*again"),
    (errors.PackageMissing("m", "transformers"), {"model": "m", "package": "transformers"}, "pip install transformers"),
    (
        errors.ModelChanged("m", expected="a" * 64, got="b" * 64),
        {"model": "m", "expected": "a" * 64, "got": "b" * 64},
        "b{12}.*a{12}.*zsindex models use m",
    ),
    (
        errors.DeviceFull("cuda:1", model="m"),
        {"device": "cuda:1", "model": "m"},
        "cuda:1.*--device cpu",
    ),
    (
        errors.DeviceError("cuda:7", available=["cpu", "mps"], model="m"),
        {"device": "cuda:7", "available": ("cpu", "mps"), "model": "m"},
        "cuda:7.*cpu, mps",
    ),
    (
        errors.PromptTooLong("a b", tokens=99, context_length=77, model="m"),
        {"prompt": "a b", "tokens": 99, "context_length": 77, "model": "m"},
        "99 tokens.*77.*--truncate",
    ),
    (errors.NoTemperature("m"), {"model": "m"}, "'m'.*zsindex temperature fit"),
    (
        errors.BadCiFile("ci.toml", "bounds.x", 3, "it is unknown"),
        {"source": "ci.toml", "key": "bounds.x", "line": 3, "why": "it is unknown"},
        "^ci.toml, line 3, bounds.x: it is unknown$",
    ),
    (errors.BadTruth("a.csv", "line 3"), {"source": "a.csv", "why": "line 3"}, "^cannot compare with a.csv: line 3$"),
    (errors.BadGroups("why"), {}, "contradicts itself: why"),
    (errors.DecoderUnavailable("why"), {"why": "why"}, "can be started: why.*ZSINDEX_DECODE_LIMITS=off"),
    (errors.UnknownTemplateSet("x", known=["a"]), {"name": "x", "known": ("a",)}, "saved: a"),
    (errors.UnknownTemplateSet("x", known=[]), {"known": ()}, "zsindex templates save"),
    (errors.BadTemplate("x", known=["default", "mine"]), {"template": "x"}, "by name: default, mine"),
    (errors.NoLabels(), {}, "at least one"),
    (
        errors.NoVectors(ModelSpec("nano", precision="bf16"), photos=3, skipped=0),
        {"model": "nano", "photos": 3},
        "zsindex sync --model nano --precision bf16 --decode exact",
    ),
    (errors.NoVectors(ModelSpec("nano"), photos=0, skipped=2), {"skipped": 2}, "zsindex status --skipped"),
    (
        errors.BadText("a\0", "the query"),
        {"text": "a\0", "what": "the query"},
        r"the query is not valid text: 'a\\x00'",
    ),
    (errors.BadPath("", "a path is empty"), {"path": ""}, "a path is empty"),
    (errors.NoVectors(ModelSpec("nano"), photos=0, skipped=0), {"photos": 0}, "zsindex sync PHOTOS"),
    (errors.EmptyLabel(3), {"position": 3}, "number 3"),
    (errors.DuplicateLabels(["owl", "fox"]), {"labels": ("owl", "fox")}, "owl, fox"),
    (errors.BadTemplate("a photo"), {"template": "a photo"}, r"'a photo'.*write \{\}"),
    (errors.BadLabelFile("x.json", "line 3"), {"path": "x.json"}, "x.json: line 3"),
    (errors.UnknownLabelSet("a", known=["b", "c"]), {"name": "a", "known": ("b", "c")}, "'a'.*b, c"),
    (errors.UnknownLabelSet("a", known=[]), {"known": ()}, "zsindex labels save"),
    (errors.BadPrior("why"), {"why": "why"}, "the prior: why"),
    (errors.BadUnknown("mcn", "why"), {"rule": "mcn"}, "unknown by 'mcn': why"),
    (errors.NoThreshold("pets", "why"), {"label_set": "pets"}, "label set 'pets': why"),
    (errors.NoThreshold(None, "why"), {"label_set": None}, "these labels: why"),
    (
        errors.UnknownLabel("ow", known=["owl", "fox"]),
        {"label": "ow", "known": ("owl", "fox")},
        "'ow'; it has owl, fox",
    ),
    (
        errors.ImageError(SkipReason.TRUNCATED, "cut short", path="a.jpg"),
        {"reason": SkipReason.TRUNCATED, "detail": "cut short", "path": "a.jpg"},
        "^a.jpg: cut short$",
    ),
    (errors.ImageError(SkipReason.EMPTY, "empty"), {"path": None}, "^empty$"),
    (errors.PathNotFound(["a", "b"]), {"paths": ("a", "b")}, "a, b"),
    (
        errors.NotInLibrary([str(n) for n in range(7)], "adding was refused"),
        {"paths": tuple("0123456")},
        "adding was refused.*0, 1, 2, 3, 4 and 2 more.*zsindex sync",
    ),
    (errors.BadAlbum("a", "it is empty"), {"name": "a"}, "'a' cannot be saved as an album: it is empty"),
    (errors.UnknownAlbum("a", known=["b", "c"]), {"name": "a", "known": ("b", "c")}, "'a'.*b, c"),
    (errors.UnknownAlbum("a", known=[]), {"known": ()}, "zsindex albums save"),
    (
        errors.AlbumFolderTaken(Path("/a"), "holds other things"),
        {"path": Path("/a")},
        "/a holds other things.*empty folder",
    ),
    (errors.UnknownSurvey(3, known=[1, 2]), {"survey_id": 3, "known": (1, 2)}, "survey 3.*1, 2.*zsindex surveys list"),
    (errors.UnknownSurvey(3, known=[]), {"known": ()}, "none goes on"),
    (errors.BadAnswer("x", ["yes", "no"]), {"answer": "x", "choices": ("yes", "no")}, "'x' is no answer.*yes, no"),
    (errors.SamePhoto(["a", "b"]), {"paths": ("a", "b")}, "two of them have the same bytes.*: a, b"),
    (errors.DimensionMismatch(expected=512, got=768), {"expected": 512, "got": 768}, "768.*512.*another model"),
    (errors.BadTokenFile("t", "it is empty"), {"path": "t"}, "t: it is empty"),
    (errors.FetchError("http://x", "404"), {"url": "http://x"}, "http://x: 404"),
    (
        errors.UnknownRun("ab", known=list("123456")),
        {"key": "ab", "known": tuple("123456")},
        "1, 2, 3, 4, 5 and 1 more",
    ),
    (errors.UnknownRun("ab", known=[]), {"known": ()}, "zsindex classify --record"),
    (errors.UnknownImage(7), {"image_id": 7}, "number 7"),
    (errors.PlaceExpired(), {}, "from the beginning"),
    (errors.BadQuery("the query is empty"), {}, "empty"),
    (
        errors.BadFilter("where.near", "'x' is not a number", "48.1,11.6,20"),
        {"at": "where.near", "why": "'x' is not a number", "example": "48.1,11.6,20"},
        r"where\.near: 'x' is not a number; for example 48\.1,11\.6,20",
    ),
    (
        errors.NoFacts(("camera", "since"), photos=1200),
        {"filters": ("camera", "since"), "photos": 1200},
        "camera and since .* none of the 1,200 photos .* zsindex sync",
    ),
    (
        errors.BadQuestion(("smooth", "thresholds"), "why"),
        {"options": ("smooth", "thresholds"), "why": "why"},
        "^smooth and thresholds exclude each other: why$",
    ),
    (
        errors.BadQuestion(["with_corrections"], "name one"),
        {"options": ("with_corrections",)},
        "^with_corrections: name one$",
    ),
    (errors.TooManyPairs(0.5, limit=1000), {"threshold": 0.5, "limit": 1000}, "0.5 more than 1,000.*--show-threshold"),
    (
        errors.TooManyScores(photos=1000, answers=20, limit=9999),
        {"photos": 1000, "answers": 20, "limit": 9999},
        "20,000 scores.*9,999.*fewer labels",
    ),
    (errors.ImportRefused(FOLDER, "cut short"), {"path": FOLDER, "why": "cut short"}, "^cannot import .*: cut short$"),
    (
        errors.ExportRefused(FOLDER, "it is full"),
        {"path": FOLDER, "why": "it is full"},
        "^cannot export to .*: it is full$",
    ),
    (
        errors.ExtraMissing("pyarrow", extra="parquet", why="it is a Parquet file"),
        {"package": "pyarrow", "extra": "parquet"},
        r"pyarrow: pip install 'zsindex\[parquet\]'",
    ),
]


@pytest.mark.parametrize("error", EXCEPTIONS.values(), ids=EXCEPTIONS.keys())
def test_every_exception_is_an_expected_failure_and_stands_in_the_tree(error: type[ZsindexError]) -> None:
    assert issubclass(error, ZsindexError)
    tree = (errors.__doc__ or "").split("\n\n")[1]
    [line] = [line for line in tree.splitlines() if re.search(rf"\b{error.__name__}\b", line)]
    if error is not ZsindexError:
        # A branch stands one step to the left of its leaves, and above them.
        parent = error.__base__
        assert parent is not None
        above = tree[: tree.index(line)].splitlines()
        outer = [other for other in above if indent(other) < indent(line) and re.search(r"\w", other)]
        assert re.search(rf"\b{parent.__name__}\b", outer[-1])


def indent(line: str) -> int:
    found = re.search(r"[A-Z]", line)
    return found.start() if found else 0


def test_every_exception_is_made_here() -> None:
    bases = {"ZsindexError", "LibraryError", "ModelError", "LabelError", "AlbumError", "SurveyError"}
    assert {type(error).__name__ for error, _, _ in MADE} == set(EXCEPTIONS) - bases


@pytest.mark.parametrize(("error", "data", "says"), MADE, ids=lambda value: type(value).__name__)
def test_exceptions_carry_their_data_and_say_what_to_do(
    error: ZsindexError, data: dict[str, object], says: str
) -> None:
    assert {name: getattr(error, name) for name in data} == data
    assert re.search(says, str(error)), str(error)
    assert "\n" not in str(error)


# --- errors that travel -----------------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[Exception], Exception]] = {
    **{
        f"pickle {protocol}": lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def subclasses(error: type[Exception]) -> Iterator[type[Exception]]:
    """All classes of zsindex below one, itself included."""
    if error.__module__.startswith("zsindex."):
        yield error
    for below in error.__subclasses__():
        yield from subclasses(below)


def everything_that_can_be_raised() -> list[Exception]:
    """One of each error and warning at least, wherever in zsindex it is defined."""
    for module in pkgutil.walk_packages(zsindex.__path__, "zsindex."):
        if module.name != "zsindex.models.openclip":  # takes seconds, and defines none
            importlib.import_module(module.name)
    found: list[Exception] = [error for error, _, _ in MADE]
    made = set(map(type, found))
    for kind in dict.fromkeys([*subclasses(ZsindexError), *subclasses(ZsindexWarning)]):
        if kind not in made and kind not in (errors.LibraryError, errors.ModelError):
            assert "__init__" not in vars(kind), f"{kind.__name__} carries data, and is not in MADE"
            found.append(kind("the message"))
    return found


def is_the_same(error: Exception, other: BaseException | None) -> bool:
    """Whether two errors are of one type and say and carry the same."""
    return (
        type(other) is type(error)
        and (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))
        and other is not error
    )


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_error_and_warning_travels(way: Callable[[Exception], Exception]) -> None:
    for error in everything_that_can_be_raised():
        assert is_the_same(error, way(error)), repr(error)
        assert is_the_same(error, way(way(error))), repr(error)


def fail(number: int) -> None:
    """In a process of a pool: raise one of the errors."""
    raise MADE[number][0]


def test_errors_come_back_from_a_pool_of_processes() -> None:
    # "spawn", as on macOS and Windows, and as beside threads.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        raised = [pool.submit(fail, number) for number in range(len(MADE))]
        for future, (error, _, _) in zip(raised, MADE, strict=True):
            assert is_the_same(error, future.exception()), repr(error)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_causes_and_notes_travel_along(way: Callable[[Exception], Exception]) -> None:
    error = errors.LibraryDamaged(FOLDER, "malformed")
    error.__cause__ = errors.StorageFull(FOLDER)
    error.__cause__.__cause__ = sqlite3.OperationalError("disk is full")
    error.add_note("while a run was recorded")
    came = way(error)
    assert is_the_same(error, came)
    assert came.__notes__ == ["while a run was recorded"]
    assert isinstance(came.__cause__, errors.StorageFull)
    assert repr(came.__cause__.__cause__) == "OperationalError('disk is full')"
    assert came.__suppress_context__


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_cause_that_cannot_travel_stays_behind(way: Callable[[Exception], Exception]) -> None:
    class Foreign(Exception):
        def __init__(self, *, lock: object) -> None:
            self.lock = lock

    error = errors.CheckpointError("m", "cut short")
    error.__cause__ = Foreign(lock=threading.Lock())
    came = way(error)
    assert is_the_same(error, came)
    assert came.__cause__ is None
    assert came.__suppress_context__


def test_what_a_context_says_is_kept_as_it_was() -> None:
    shown, hidden = errors.NoLabels(), errors.NoLabels()
    hidden.__suppress_context__ = True  # raised from None
    assert not copy.copy(shown).__suppress_context__
    assert copy.copy(hidden).__suppress_context__


def test_a_message_does_not_quote_a_whole_file() -> None:
    said = str(errors.DuplicateLabels([f"label {n}" for n in range(100_000)]))
    assert len(said) == 5_000
    assert said.startswith("labels given more than once: label 0, label 1, ")
    assert said.endswith("label 99998, label 99999")
    assert str(errors.BadTemplate("x" * 10_000)).endswith("write {} where it goes: 'a photo of a {}.'")

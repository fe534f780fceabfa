"""What zsindex shows to the world: its names, its exceptions, its docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zsindex
from zsindex import errors
from zsindex.errors import ZsindexError
from zsindex.records import ModelSpec, SkipReason

PACKAGE = Path(zsindex.__file__).parent

EXPORTS = [
    "Activation",
    "AutoModelForZeroShotImageClassification",
    "AutoProcessor",
    "Classification",
    "DecodeMode",
    "Hit",
    "IccMode",
    "LabelSet",
    "Library",
    "ModelInfo",
    "ModelSpec",
    "Prediction",
    "Progress",
    "Result",
    "Run",
    "SkipReason",
    "SyncReport",
    "TransparencyMode",
    "ZeroShotImageClassifier",
    "ZsindexError",
    "__version__",
    "label_set",
    "label_vectors",
    "logits",
    "parse_labels",
    "pipeline",
    "probabilities",
    "prompts_for",
    "sigmoid",
    "softmax",
]


def run_python(program: str) -> str:
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


# --- names ------------------------------------------------------------------------------------------------------------


def test_the_exports_are_these() -> None:
    assert zsindex.__all__ == EXPORTS == sorted(EXPORTS)


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_is_there_and_has_a_docstring(name: str) -> None:
    value = getattr(zsindex, name)
    if name != "__version__":
        assert value.__name__ == name
        assert inspect.getdoc(value)


def test_dir_shows_exports_before_they_are_used() -> None:
    shown = run_python("import zsindex; print(*dir(zsindex))").split()
    assert set(EXPORTS) <= set(shown)
    assert shown == sorted(shown)


def test_star_import() -> None:
    assert run_python("from zsindex import *; print(Library.__name__, callable(pipeline))") == "Library True"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'zsindex' has no attribute 'Libary'"):
        _ = zsindex.Libary  # type: ignore[attr-defined]


def test_no_export_has_the_name_of_a_module() -> None:
    # Importing a submodule sets an attribute of the package, and would take the export's place.
    modules = {module.name for module in pkgutil.iter_modules([str(PACKAGE)])}
    assert {"library", "classification"} <= modules
    assert modules.isdisjoint(EXPORTS)


@pytest.mark.parametrize("order", [("Library", "pipeline"), ("pipeline", "Library")])
def test_exports_do_not_depend_on_the_order_of_imports(order: tuple[str, str]) -> None:
    program = "".join(f"from zsindex import {name}; " for name in order)
    assert run_python(program + "print(callable(pipeline), callable(Library))") == "True True"


def test_importing_zsindex_imports_next_to_nothing() -> None:
    heavy = {"numpy", "torch", "open_clip", "faiss", "sqlalchemy", "alembic", "PIL", "yaml"}
    loaded = run_python("import sys, zsindex; print(zsindex.__version__, *sys.modules)").split()
    assert loaded[0] == zsindex.__version__
    assert heavy.isdisjoint(loaded)


# --- exceptions -------------------------------------------------------------------------------------------------------

EXCEPTIONS = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__ and not issubclass(value, Warning)
}
FOLDER = Path("photos.zsindex")

# Each exception with data, made as the program makes it; what it carries; what its message must say.
MADE: list[tuple[ZsindexError, dict[str, object], str]] = [
    (errors.LibraryNotFound(FOLDER), {"path": FOLDER}, "zsindex sync"),
    (errors.NotALibrary(FOLDER, "it is a file"), {"path": FOLDER}, "it is a file"),
    (
        errors.LibraryTooNew(FOLDER, found="0009", newest_known="0001"),
        {"path": FOLDER, "found": "0009", "newest_known": "0001"},
        "0009.*0001.*Upgrade",
    ),
    (errors.LibraryReadOnly(FOLDER, "sync"), {"path": FOLDER, "action": "sync"}, "^cannot sync: .*read-only"),
    (
        errors.LibraryBusy(FOLDER, holder="process 7", waited_s=3.0),
        {"path": FOLDER, "holder": "process 7", "waited_s": 3.0},
        r"process 7; waited 3 s\).*try again",
    ),
    (errors.LibraryDamaged(FOLDER, "malformed"), {"path": FOLDER, "detail": "malformed"}, "zsindex check"),
    (errors.LibraryClosed(FOLDER), {"path": FOLDER}, "was closed. Open it again"),
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
    (errors.BadTruth("a.csv", "line 3"), {"source": "a.csv", "why": "line 3"}, "^cannot compare with a.csv: line 3$"),
    (errors.BadGroups("why"), {}, "contradicts itself: why"),
    (errors.UnknownTemplateSet("x", known=["a"]), {"name": "x", "known": ("a",)}, "saved are a"),
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
    bases = {"ZsindexError", "LibraryError", "ModelError", "LabelError"}
    assert {type(error).__name__ for error, _, _ in MADE} == set(EXCEPTIONS) - bases


@pytest.mark.parametrize(("error", "data", "says"), MADE, ids=lambda value: type(value).__name__)
def test_exceptions_carry_their_data_and_say_what_to_do(
    error: ZsindexError, data: dict[str, object], says: str
) -> None:
    assert {name: getattr(error, name) for name in data} == data
    assert re.search(says, str(error)), str(error)
    assert "\n" not in str(error)


# --- docstrings -------------------------------------------------------------------------------------------------------


def public(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    """Public classes, functions and methods with their dotted names; overloads only where they are implemented."""
    for child in node.body:
        if not isinstance(child, (ast.ClassDef, ast.FunctionDef)) or child.name.startswith("_"):
            continue
        if "overload" in (ast.unparse(decorator) for decorator in child.decorator_list):
            continue
        yield prefix + child.name, child
        if isinstance(child, ast.ClassDef):
            yield from public(child, f"{prefix}{child.name}.")


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_everything_public_has_a_docstring(file: Path) -> None:
    module = ast.parse(file.read_text(encoding="utf-8"))
    bare = [name for name, node in public(module, "") if not ast.get_docstring(node)]
    if not ast.get_docstring(module):
        bare.insert(0, "the module")
    assert bare == []


def test_every_module_can_be_imported_by_itself() -> None:
    names = [m.name for m in pkgutil.walk_packages([str(PACKAGE)], "zsindex.")]
    assert "zsindex.library" in names
    for name in names:
        if name != "zsindex.models.openclip":  # takes seconds; its own tests import it
            importlib.import_module(name)

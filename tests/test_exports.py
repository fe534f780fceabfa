"""What zsindex shows to the world: its names and its docstrings."""

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

# The public modules, and what each offers. What is not in here may change in any version.
PUBLIC = {
    "zsindex": EXPORTS,
    "zsindex.classification.options": [
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
    ],
    "zsindex.classification.prompts": [
        "LabelsAlike",
        "LabelsLike",
        "WordsUnfamiliar",
        "checked",
        "digest",
        "fill",
        "from_document",
        "label_set",
        "lines_of",
        "normalise",
        "parse_labels",
        "parse_templates",
        "prompts_for",
        "to_document",
        "warn_of_alike",
        "warn_of_unfamiliar",
    ],
    "zsindex.classification.results": [
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
    ],
    "zsindex.classification.scores": [
        "Block",
        "block_rows",
        "classify",
        "concept_vectors",
        "label_vectors",
        "largest",
        "logits",
        "probabilities",
        "sigmoid",
        "softmax",
    ],
    "zsindex.classification.templates": [
        "BUILT_IN",
        "DEFAULT_TEMPLATE",
        "has_place",
        "put",
        "resolve",
    ],
    "zsindex.errors": [
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
    ],
    "zsindex.lab": [
        "Album",
        "AlbumPhoto",
        "AlbumPhotos",
        "AnswerScore",
        "Attribution",
        "Burst",
        "Calibration",
        "Certificate",
        "CiBound",
        "CiCheck",
        "CiFlip",
        "CiReport",
        "Confusion",
        "CorrectedPhoto",
        "Coverage",
        "Curve",
        "Curves",
        "Decision",
        "Diff",
        "Duel",
        "Duplicate",
        "Duplicates",
        "Estimate",
        "Evaluation",
        "Event",
        "Events",
        "Finding",
        "Flips",
        "Graph",
        "GroupCount",
        "Knownness",
        "LabelEffect",
        "LabelRecall",
        "LabelReport",
        "Layout",
        "Learned",
        "LintReport",
        "Look",
        "Migration",
        "PhotoCount",
        "PriorEstimate",
        "Promise",
        "PromptCosine",
        "ReliabilityBin",
        "Repeat",
        "Report",
        "ReviewState",
        "RunRecord",
        "Separation",
        "SetsOfLabels",
        "SidecarChange",
        "SkippedSidecar",
        "Standing",
        "Statement",
        "Suggestion",
        "Suggestions",
        "Survey",
        "TagReport",
        "TemperatureFit",
        "TemplateEffect",
        "TemplateMeasures",
        "TemplateScores",
        "Tradeoff",
        "TradeoffPoint",
        "Truth",
        "UnknownReport",
        "Why",
    ],
    "zsindex.library": ["Library"],
    "zsindex.where": [
        "Filter",
        "Where",
        "WhereLike",
        "answered",
        "box",
        "camera",
        "corrected",
        "file_format",
        "hour",
        "keyword",
        "lens",
        "month",
        "near",
        "orientation",
        "path",
        "place",
        "rating",
        "size",
        "taken",
        "year",
    ],
    "zsindex.models.encoder": [
        "Encoder",
        "FitsPictures",
        "JudgeOfWords",
        "OneAtATime",
        "WantsMany",
        "around_model",
        "fitting_of",
        "images_at_once",
        "is_out_of_memory",
        "may_keep",
        "out_of_memory",
        "preprocessed",
        "unfamiliar_words",
    ],
    "zsindex.records": [
        "AS_REFERENCE",
        "AS_SEEN",
        "NONE",
        "Activation",
        "Candidate",
        "DecodeLimits",
        "DecodeMode",
        "Decoded",
        "Facts",
        "FileContent",
        "FloatArray",
        "FolderListing",
        "IccMode",
        "IdArray",
        "IncompletePhoto",
        "LabelSet",
        "ModelInfo",
        "ModelSpec",
        "Place",
        "Progress",
        "Rendering",
        "Settings",
        "SkipReason",
        "SkippedEntry",
        "SkippedFile",
        "SyncReport",
        "Taken",
        "TakenFrom",
        "TransparencyMode",
    ],
    "zsindex.web": [
        "Limits",
        "Security",
        "Token",
        "create_app",
    ],
}


def run_python(program: str) -> str:
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", PUBLIC)
def test_public_modules_offer_these(module: str) -> None:
    assert importlib.import_module(module).__all__ == PUBLIC[module]


@pytest.mark.parametrize("module", PUBLIC)
def test_what_a_public_module_defines_has_an_underscore_or_is_offered(module: str) -> None:
    found = importlib.import_module(module)
    defined: set[str] = set()
    for node in ast.parse(inspect.getsource(found)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined.update(n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))
    assert {name for name in defined if not name.startswith("_")} <= set(found.__all__)
    assert all(hasattr(found, name) for name in found.__all__)


def test_packages_say_what_of_them_is_public() -> None:
    for package in (m.name for m in pkgutil.iter_modules([str(PACKAGE)], "zsindex.") if m.ispkg):
        said = importlib.import_module(package).__doc__ or ""
        inside = [name.removeprefix(f"{package}.") for name in PUBLIC if name.startswith(f"{package}.")]
        assert re.search(r"\b[Pp]ublic\b", said), package
        assert ("Not public." not in said) or not (inside or package in PUBLIC), package
        assert all(f"`{name}`" in said for name in inside), package


def test_the_page_on_the_architecture_lists_the_public_modules() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = page.partition("## Public modules\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^- `([\w.]+)`", listed, re.MULTILINE)) == sorted(PUBLIC)


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

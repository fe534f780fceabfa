"""The shape of the code, read from its syntax trees: who may import whom, and what nobody may do.

`docs/architecture.md` has the table of rooms that this is held against.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"

# Costly or replaceable packages, each with the files that may know of it, at the top or inside a function.
ONLY_IMPORTERS = {
    "PIL": {
        "photos/*",
        "models/*",
        "records.py",
        "lab/duplicates.py",
        "zero_shot/inputs.py",
    },
    "alembic": {"storage/*schema.py", "migrations/*"},
    "anyio": {"web/app.py"},
    "click": {"cli/*"},
    "faiss": {"index/cells.py", "index/snapshots.py"},
    "fastapi": {"web/*"},
    "ftfy": {"models/tokenizer.py"},
    "huggingface_hub": {"models/hub.py", "models/openclip.py", "models/openclip_files.py"},
    "lxml": {"exchange/xmp.py"},
    "matplotlib": {"lab/plots.py"},
    "mcp": {"agents/*"},
    "openTSNE": {"lab/layout.py"},
    "open_clip": {
        "models/openclip.py",
        "models/openclip_files.py",
        "models/text_tower.py",
        "models/openvino/export.py",
    },
    "openvino": {"models/openvino/runtime.py", "models/openvino/export.py"},
    "pandas": {"classification/by.py", "classification/results.py"},
    "pillow_heif": {"photos/decode.py"},
    "platformdirs": {"config.py", "cli/cmd_demo.py"},
    "prometheus_client": {"web/*"},
    "psycopg": {"storage/postgres/*"},
    "pyarrow": {"exchange/parts.py", "classification/parquet.py"},
    "pydantic": {"agents/*", "web/*"},
    "rawpy": {"photos/decode.py"},
    "ray": {"distributed/cluster.py"},
    "regex": {"models/tokenizer.py"},
    "safetensors": {"models/openvino/assembly.py"},
    "scipy": {"lab/layout.py"},
    "sqlalchemy": {"storage/*", "migrations/*"},
    "sqlite3": {"storage/sqlite/*"},
    "starlette": {"web/*"},
    "tabulate": {"cli/output.py"},
    "threadpoolctl": {"index/cores.py"},
    "tifffile": {"photos/depth.py"},
    "timm": set[str](),
    "tokenizers": {"models/tokenizer.py"},
    "torch": {
        "models/torch_encoder.py",
        "models/openclip.py",
        "models/text_tower.py",
        "models/transformers.py",
        "models/openvino/export.py",
    },
    "torchvision": set[str](),
    "tqdm": {"cli/options.py", "cli/progress.py"},
    "transformers": {"models/transformers.py"},
    "h11": {"web/serve.py"},
    "typing_extensions": {"agents/answers.py"},
    "uvicorn": {"web/forwarded.py", "web/serve.py", "web/workers.py"},
    "wcwidth": {"cli/output.py"},
    "yaml": {"classification/prompts.py"},
}

# Modules whose own table says what they import on demand.
ON_DEMAND = {"zsindex": "_HOMES", "zsindex.lab": "_HOMES", "zsindex.cli.group": "HOMES"}
# Where imports go by names that only the running program knows: what reads those tables.
IMPORT_BY_NAME = {"zsindex", "zsindex.lab", "zsindex.cli.on_demand"}


# --- reading the code -------------------------------------------------------------------------------------------------


class Code:
    """Modules by their dotted names, and what each imports, wherever in it and however.

    Attributes:
        packages: those modules that are one.
        trees: syntax trees.
        imports: dotted names of everything that is imported, relative ones resolved. Of ``from a import b`` that is
            ``a.b``, whether it is a module or a name in one.
        own_imports: the modules of this code among them. That a module comes with the packages around it is not meant.
    """

    def __init__(self, sources: Mapping[str, str], packages: Set[str]) -> None:
        self.packages = packages
        self.trees = {module: ast.parse(source) for module, source in sources.items()}
        self.imports = {module: frozenset(self._imports(module)) for module in sources}
        self.own_imports = {
            module: {name if name in sources else name.rpartition(".")[0] for name in names} & sources.keys()
            for module, names in self.imports.items()
        }

    @classmethod
    def read(cls, **folders: Path) -> Code:
        """Read packages from their folders; the name of one within zsindex is its own."""
        sources, packages = {}, set()
        for name, folder in folders.items():
            for file in sorted(folder.rglob("*.py")):
                parts = [*([] if name == "zsindex" else [name]), *file.relative_to(folder).with_suffix("").parts]
                module = ".".join(["zsindex", *parts]).removesuffix(".__init__")
                sources[module] = file.read_text(encoding="utf-8")
                if file.name == "__init__.py":
                    packages.add(module)
        return cls(sources, packages)

    def _imports(self, module: str) -> Iterator[str]:
        package = module if module in self.packages else module.rpartition(".")[0]
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                yield from (f"{base}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                if isinstance(node.args[0], ast.Constant):
                    name = str(node.args[0].value)
                    yield package + name if name.startswith(".") else name
                else:
                    assert module in IMPORT_BY_NAME, f"{module} imports what nobody can read: {ast.unparse(node)}"
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == ON_DEMAND.get(module):
                texts = {f"{package}.{n.value}" for n in ast.walk(node.value) if isinstance(n, ast.Constant)}
                yield from texts & self.trees.keys()

    def circle(self) -> list[str]:
        """Modules each of which imports the next one, and the last the first; empty if there are none."""
        done: set[str] = set()

        def search(module: str, path: list[str]) -> list[str]:
            if module in path:
                return path[path.index(module) :]
            if module in done:
                return []
            found = (search(imported, [*path, module]) for imported in sorted(self.own_imports[module]))
            circle = next(filter(None, found), [])
            done.add(module)
            return circle

        return next(filter(None, (search(module, []) for module in self.trees)), [])


CODE = Code.read(zsindex=ROOT / "zsindex", cli=ROOT / "cli", migrations=ROOT / "migrations")


def path_of(module: str) -> str:
    """A module's file, below zsindex/."""
    path = module.removeprefix("zsindex").lstrip(".").replace(".", "/")
    return f"{path}/__init__.py".lstrip("/") if module in CODE.packages else f"{path}.py"


# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Room:
    """A row of the table."""

    name: str
    owns: str
    may_import: frozenset[str]
    start_at: str


def rooms_of(page: str) -> tuple[dict[str, Room], frozenset[str]]:
    """The rows of the two tables, in order, and the names of those on the ground floor."""
    found: dict[str, Room] = {}
    ground: set[str] = set()
    below = page.index("### The ground floor")
    for row in re.finditer(r"^\| `([\w/]+)` \| (.+?) \| (.*?) ?\| (.*?) ?\|$", page, re.MULTILINE):
        name, owns, may_import, start_at = row.groups()
        assert name not in found, f"{name} has two rows"
        found[name] = Room(name, owns, frozenset(re.findall(r"`([\w/]+)`", may_import)), start_at)
        if row.start() > below:
            ground.add(name)
    return found, frozenset(ground)


ROOMS, GROUND_FLOOR = rooms_of(PAGE.read_text(encoding="utf-8"))


def room_of(module: str) -> str:
    """The room that a module lies in: the innermost that has a row, or what a row would be named."""
    parts = module.split(".")[1:]
    if not parts:
        return "zsindex"
    names = ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((name for name in names if name in ROOMS), parts[0])


def test_every_room_has_a_row_and_every_row_a_room() -> None:
    assert {room_of(module) for module in CODE.trees} == set(ROOMS)


def test_rows_name_only_rooms_below_them() -> None:
    order = list(ROOMS)
    for position, room in enumerate(ROOMS.values()):
        assert room.may_import <= set(ROOMS), room.name
        if room.name not in GROUND_FLOOR:
            assert room.may_import <= set(order[position + 1 :]) - GROUND_FLOOR, room.name
        else:
            assert room.may_import <= GROUND_FLOOR, room.name


def test_rows_say_where_to_start_reading() -> None:
    files = {path_of(module) for module in CODE.trees}
    for room in ROOMS.values():
        starts = re.findall(r"`([\w/.]+)`", room.start_at)
        assert starts or not any(m.startswith(f"zsindex.{room.name}.") for m in CODE.trees), room.name
        for start in starts:
            assert start.removeprefix("zsindex/") in files, f"{room.name} starts at {start}"


@pytest.mark.parametrize("module", CODE.trees)
def test_a_room_imports_what_its_row_allows(module: str) -> None:
    room = room_of(module)
    allowed = ROOMS[room].may_import | {room}
    if room not in GROUND_FLOOR:
        allowed |= GROUND_FLOOR
    forbidden = {imported for imported in CODE.own_imports[module] if room_of(imported) not in allowed}
    assert not forbidden, f"{path_of(module)}: {room} may import {', '.join(sorted(ROOMS[room].may_import))}"


def test_no_imports_go_round_in_circles() -> None:
    circle = CODE.circle()
    assert not circle, " → ".join([*circle, *circle[:1]])


# Packages of public names lie beside the table: their docstrings say the same as it does.
@pytest.mark.parametrize("package", sorted(CODE.packages))
def test_packages_say_what_they_own_and_import(package: str) -> None:
    said = " ".join((ast.get_docstring(CODE.trees[package]) or "").split())
    assert said, "no docstring"
    room = room_of(package)
    if room == "zsindex" or package != "zsindex." + room.replace("/", "."):
        return
    expected = ROOMS[room].may_import
    found = re.search(r"\bMay import (.*?)\.(?: |$)", said)
    assert found, f"it does not say “May import …”, which is: {', '.join(sorted(expected))}"
    assert set(re.findall(r"`([\w/]+)`", found[1])) == expected
    assert ("ground floor" in found[1]) == (room not in GROUND_FLOOR)
    assert re.search(r"\bStart (?:reading )?(?:with|at) `", said), "it does not say where to start"


# --- what is known where ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ONLY_IMPORTERS)
def test_only_some_files_know_a_package(package: str) -> None:
    files = {
        path_of(module)
        for module in CODE.trees
        if any(name.partition(".")[0] == package for name in CODE.imports[module])
    }
    assert not {file for file in files if not any(fnmatch(file, allowed) for allowed in ONLY_IMPORTERS[package])}
    unused = {allowed for allowed in ONLY_IMPORTERS[package] if not any(fnmatch(file, allowed) for file in files)}
    assert not unused, "these may know of it and do not"


def test_every_package_that_is_imported_is_listed() -> None:
    known = {*sys.stdlib_module_names, "zsindex", "numpy", *ONLY_IMPORTERS}
    for module in CODE.trees:
        assert {name.partition(".")[0] for name in CODE.imports[module]} <= known, path_of(module)


@pytest.mark.parametrize("module", [m for m in CODE.trees if room_of(m) not in ("cli", "migrations")])
def test_the_core_neither_prints_nor_exits(module: str) -> None:
    nodes = list(ast.walk(CODE.trees[module]))
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    raised = {ast.unparse(node.exc) for node in nodes if isinstance(node, ast.Raise) and node.exc is not None}
    assert not called & {"print", "input", "exit", "quit", "sys.exit", "os._exit", "SystemExit"}
    assert not any(text.startswith("SystemExit") for text in raised)
    assert not any(text.startswith(("sys.stdout", "sys.stderr")) for text in called)


def left_to_the_locale(tree: ast.AST) -> list[str]:
    """Calls that read or write text in whatever encoding the process's locale has at that moment."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = ast.unparse(call.func)
        name = function.rpartition(".")[2]
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if {"encoding", None} & set(given) or (name == "read_text" and call.args):  # None: whatever ** brings
            continue
        modes = [given["mode"]] if "mode" in given else [a for a in call.args if isinstance(a, ast.Constant)]
        opens = function in ("open", "io.open") and not any("b" in str(ast.literal_eval(mode)) for mode in modes)
        runs = function.startswith("subprocess.") and {"text", "universal_newlines"} & set(given)
        if name in ("read_text", "write_text") or opens or runs:
            found.append(ast.unparse(call))
    return found


@pytest.mark.parametrize("folder", ["zsindex", "cli", "migrations", "tests", "benchmarks", "examples", ".ci"])
def test_text_is_read_and_written_in_an_encoding_that_is_said(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        assert not left_to_the_locale(ast.parse(file.read_bytes())), file


# --- the tests above prove nothing if imports go unseen ---------------------------------------------------------------


def made_up(**sources: str) -> Code:
    """Code of modules named ``a__b`` for ``zsindex.a.b``; ``a__`` is a package."""
    named = {"zsindex." + name.rstrip("_").replace("__", "."): text for name, text in sources.items()}
    packages = {"zsindex." + name.rstrip("_").replace("__", ".") for name in sources if name.endswith("__")}
    return Code({"zsindex": "", **named}, {"zsindex", *packages})


@pytest.mark.parametrize(
    "text",
    [
        "import zsindex.a.low",
        "from zsindex.a import low",
        "from zsindex.a.low import name",
        "from zsindex.a import (other as o, low as l)",
        "from .low import name",
        "from . import low",
        "from ..a import low",
        "from ..a.low import name",
        "def f():\n    def g():\n        from zsindex.a import low",
        "class C:\n    import zsindex.a.low",
        "if TYPE_CHECKING:\n    from zsindex.a.low import name",
        "try:\n    pass\nexcept E:\n    import zsindex.a.low",
        "import_module('zsindex.a.low')",
        "importlib.import_module('.low', __package__)",
        "__import__('zsindex.a.low')",
    ],
)
def test_an_import_is_seen_wherever_it_stands(text: str) -> None:
    code = made_up(a__="", a__low="", a__other="", a__high=text)
    assert "zsindex.a.low" in code.own_imports["zsindex.a.high"]
    assert code.own_imports["zsindex.a.low"] == set()


def test_what_is_imported_on_demand_is_seen() -> None:
    assert {"zsindex.records", "zsindex.zero_shot.pipeline"} <= CODE.own_imports["zsindex"]
    assert {"zsindex.cli.cmd_sync", "zsindex.cli.cmd_serve"} <= CODE.own_imports["zsindex.cli.group"]
    with pytest.raises(AssertionError, match="imports what nobody can read"):
        made_up(a="import_module(name)")


def test_a_circle_is_found_and_named() -> None:
    code = made_up(a="import zsindex.b", b="def f():\n    from zsindex import c", c="from zsindex.a import x", d="")
    assert sorted(code.circle()) == ["zsindex.a", "zsindex.b", "zsindex.c"]
    assert made_up(a="import zsindex.b", b="import zsindex.c", c="import sys").circle() == []


def test_a_package_of_others_is_seen_in_a_function() -> None:
    assert "faiss" in CODE.imports["zsindex.index.snapshots"]
    assert any(name.startswith("alembic.") for name in CODE.imports["zsindex.migrations.env"])


def test_rows_are_read() -> None:
    page = "| `a` | owns | `b`, `c/d` | `a/x.py` |\n### The ground floor\n| `b` | x | | |\n"
    rooms, ground = rooms_of(page)
    assert rooms == {"a": Room("a", "owns", frozenset({"b", "c/d"}), "`a/x.py`"), "b": Room("b", "x", frozenset(), "")}
    assert ground == {"b"}
    assert {"cli", "storage/sqlite", "records"} <= set(ROOMS)
    assert room_of("zsindex.storage.sqlite.lock") == "storage/sqlite"
    assert room_of("zsindex.storage.rows") == "storage"
    assert room_of("zsindex") == "zsindex"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("file.read_text()", True),
        ("file.read_text('utf-8')", False),
        ("file.write_text(text)", True),
        ("file.write_text(text, encoding='utf-8')", False),
        ("open(file)", True),
        ("open(file, 'rb')", False),
        ("open(file, mode='w')", True),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, encoding='utf-8')", False),
        ("Image.open(file)", False),
    ],
)
def test_what_is_left_to_the_locale_is_seen(text: str, seen: bool) -> None:
    assert bool(left_to_the_locale(ast.parse(text))) == seen

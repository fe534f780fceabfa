"""The shape of the code, read from its syntax trees: who may import whom, and what nobody may do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the outside in. A module imports from its own line and those below, never from above.
LAYERS = (
    {"__main__"},
    {"cli", "web"},
    {"bench"},
    {"by_hand"},
    {"zero_shot"},
    {"library"},
    {"facade"},
    {"lab"},
    {"view", "scoring"},
    {
        "maintenance",
        "sync",
        "exchange",
        "intake",
        "index",
        "run_files",
        "classify",
        "prompts",
        "results",
        "sources",
        "inputs",
        "loading",
    },
    {"lab_store", "job_store", "bulk", "template_sets"},
    {"store"},
    {"bottleneck"},
    {"export", "assembly"},
    {"towers", "openclip", "transformers_encoder"},
    {"torch_encoder", "checkpoints", "familiarity"},
    {"hub"},
    {
        "scan",
        "decode",
        "colour",
        "depth",
        "encode",
        "reader",
        "parts",
        "vectors",
        "cells",
        "nearest",
        "preprocess",
        "tokenizer",
    },
    {"columnar"},
    {
        "database",
        "schema",
        "lock",
        "formats",
        "scaling",
        "containers",
        "quiet",
        "config",
        "cores",
        "nano",
        "names",
        "migrations",
        "fingerprint",
        "samples",
    },
    {"engines", "tables", "rows"},
    {"records", "errors", "atomic", "index_files", "several", "xmp", "text_files", "bounds"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# Costly or replaceable packages, each with the modules that may know of it, at the top or inside a function.
ONLY_IMPORTERS = {
    "torch": {"openclip", "export", "transformers_encoder", "torch_encoder"},
    "torchvision": {"openclip"},
    "open_clip": {"openclip", "export"},
    "openvino": {"towers", "export"},
    "tokenizers": {"tokenizer"},
    "huggingface_hub": {"openclip", "hub"},
    "transformers": {"transformers_encoder"},
    "timm": set(),
    "faiss": {"index", "cells"},
    "pyarrow": {"parts", "columnar"},
    "matplotlib": {"lab"},
    "tifffile": {"depth"},
    "sqlalchemy": {"store", "lab_store", "job_store", "bulk", "engines", "tables", "migrations"},
    "lxml": {"xmp"},
    "threadpoolctl": {"cores"},
    "alembic": {"schema", "migrations"},
    "sqlite3": {"database", "engines", "reader", "schema", "maintenance"},  # the last asks for its version
    "filelock": {"lock"},
    "click": {"cli"},
    "tabulate": {"cli"},
    "tqdm": {"cli"},
    "fastapi": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "pydantic": {"web"},
    "prometheus_client": {"web"},
}


def sources() -> dict[str, list[Path]]:
    """The files of each module or subpackage of zsindex, by its name below the package."""
    found: dict[str, list[Path]] = {}
    for file in sorted((ROOT / "zsindex").rglob("*.py")):
        first = file.relative_to(ROOT / "zsindex").parts[0].removesuffix(".py")
        if first != "__init__":  # the package itself only names its exports; tests/test_exports.py reads it
            found.setdefault(first, []).append(file)
    for name in ("cli", "migrations"):
        found[name] = sorted((ROOT / name).rglob("*.py"))
    return found


SOURCES = sources()


def nodes(name: str, *, type_checking: bool = False) -> Iterator[ast.AST]:
    """All syntax nodes of a module, without those that only a type checker reads."""
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8")) for file in SOURCES[name]]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not type_checking:
            pending.extend(node.orelse)
        else:
            pending.extend(ast.iter_child_nodes(node))


@cache
def imports(name: str) -> tuple[str, ...]:
    """Dotted names of everything that a module imports, wherever it does so."""
    return tuple(_imports(name))


def _imports(name: str) -> Iterator[str]:
    for node in nodes(name):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:  # within cli/, which mypy cannot see under its installed name
                assert name in ("cli", "web", "migrations"), f"{name} imports relatively"
                yield f"zsindex.{name}"
            else:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(name: str) -> set[str]:
    """Other modules of zsindex that a module imports."""
    parts = (imported.split(".") for imported in imports(name))
    return {p[1] for p in parts if p[0] == "zsindex" and len(p) > 1 and p[1] in SOURCES} - {name}


def test_every_module_has_its_place() -> None:
    assert set(SOURCES) == set(LEVEL)


@pytest.mark.parametrize("name", SOURCES)
def test_imports_point_one_way(name: str) -> None:
    upwards = {other for other in own_imports(name) if LEVEL[other] < LEVEL[name]}
    assert not upwards


def test_no_imports_go_round_in_circles() -> None:
    # Also those inside functions: a late import that hides a circle would be found here.
    order = list(TopologicalSorter({name: own_imports(name) for name in SOURCES}).static_order())
    assert order.index("records") < order.index("library")


@pytest.mark.parametrize("package", ONLY_IMPORTERS)
def test_only_one_place_knows_a_package(package: str) -> None:
    importers = {name for name in SOURCES if any(i.partition(".")[0] == package for i in imports(name))}
    assert importers <= ONLY_IMPORTERS[package]


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in ("cli", "migrations")])
def test_the_core_neither_prints_nor_exits(name: str) -> None:
    called = {ast.unparse(node.func) for node in nodes(name) if isinstance(node, ast.Call)}
    raised = {ast.unparse(node.exc) for node in nodes(name) if isinstance(node, ast.Raise) and node.exc is not None}
    assert not called & {"print", "input", "exit", "quit", "sys.exit", "os._exit", "SystemExit"}
    assert not any(text.startswith("SystemExit") for text in raised)
    assert not any(text.startswith(("sys.stdout", "sys.stderr")) for text in called)


def test_the_walk_sees_what_it_should() -> None:
    """The tests above prove nothing if imports go unseen: these are there, at the top, in a function, and relative."""
    assert {"store", "index", "loading"} <= own_imports("library")
    assert "faiss" in set(imports("index"))
    assert any(i.startswith("alembic.command") for i in imports("schema"))
    assert own_imports("errors") == set()  # of `records` only for the type checker

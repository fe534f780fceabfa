"""The documentation is what the program does: references are generated, examples are run, links lead somewhere."""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
from pathlib import Path

import pytest
from zsindex.cli import cli

from tests import photos
from tests.fakes import FakeEncoder
from tests.test_exports import PUBLIC
from zsindex.classification import templates
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.records import ModelSpec
from zsindex.session import model
from zsindex.storage.tables import metadata

ROOT = Path(__file__).parent.parent
FOLDERS = ("docs", "examples", "training", "zsindex")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
# Paths of the repository; names of zsindex; and what a library is asked for, by its class or by the name it mostly has.
PATH = re.compile(
    r"(?<![\w./-])(?:(?:\.ci|benchmarks|cli|docs|examples|migrations|tests|training|zsindex)/[\w*./-]*\w/?)"
)
DOTTED = re.compile(r"(?<![\w./-])zsindex(?:\.\w+)+(?![\w/-])")
OF_LIBRARY = re.compile(r"(?<![\w./-])[Ll]ibrary(?!\.(?:db|md|py)\b)(?:\.[a-z]\w*)+")
# A file, a key of metadata and a tag, which look like names and paths of ours.
NO_NAMES = {"zsindex.json", "zsindex.run"}
NO_PATHS = {"zsindex/mammals/fox"}
REFERENCE = re.compile(r"^::: (\S+)$", re.MULTILINE)
TESTED = re.compile(r"<!-- tested: ([^>]+) -->\n```python\n(.*?)```", re.DOTALL)


def test_cli_reference_is_current() -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "make_cli_reference.py"))
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == generator["reference"](), "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    """What is written as a path of the repository is one."""
    for path in set(PATH.findall(page.read_text(encoding="utf-8"))) - NO_PATHS:
        assert any(ROOT.glob(path)) or (page.parent / path).exists(), f"{page.name} names {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_that_are_named_are_there(page: Path, new_library: Path) -> None:
    """`zsindex.x.y` can be imported, and `Library.x`, `library.x.y` asked for: a name that is changed is found here."""
    text = page.read_text(encoding="utf-8")
    for dotted in set(DOTTED.findall(text)) - NO_NAMES:
        assert found(dotted), f"{page.name} names {dotted}"
    with Library.open(new_library, read_only=True) as library:
        for names in set(OF_LIBRARY.findall(text)):
            thing: object = library
            for name in names.partition(".")[2].split("."):
                assert hasattr(thing, name), f"{page.name} names {names}"
                thing = getattr(thing, name)


def test_what_contributing_says_to_change_is_there() -> None:
    """Names without a module, private ones among them: each is a word of some source."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    prose = re.sub(r"^ *```.*?^ *```$", "", page, flags=re.DOTALL | re.MULTILINE)
    names = set(re.findall(r"`(?:[A-Z]\w*\.)?([A-Z_]\w{3,}|_\w+)`", prose)) | set(
        re.findall(r"`[A-Z]\w*\.(\w+)`", prose)
    )
    files = [file for folder in ("zsindex", "cli", "tests", "migrations") for file in (ROOT / folder).rglob("*.py")]
    files.remove(Path(__file__))
    words = {word for file in files for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))}
    assert len(names) > 15
    assert names <= words, names - words


def found(dotted: str) -> bool:
    """Whether there is a module, or something in one, of that name."""
    names = dotted.split(".")
    for n in range(len(names), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(names[:n]))
        except ModuleNotFoundError:
            continue
        for name in names[n:]:
            if name in getattr(thing, "__dataclass_fields__", ()):
                return True
            if not hasattr(thing, name):
                return False
            thing = getattr(thing, name)
        return True
    return False


def test_the_changelog_leads_to_names_that_there_are(new_library: Path) -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    table = text[text.index("| was, of `Library` | is |") : text.index("Modules lie in rooms")]
    names = re.findall(r"`(\w+)\.(\w+)\(", table)
    assert len(names) > 30
    with Library.open(new_library, read_only=True) as library:
        assert [(part, name) for part, name in names if not hasattr(getattr(library, part), name)] == []


def test_the_reference_has_whatever_is_public() -> None:
    """Every class and function of a public module, by itself or with the module that it comes from."""
    shown = {
        name
        for page in (ROOT / "docs" / "api").glob("*.md")
        for name in REFERENCE.findall(page.read_text(encoding="utf-8"))
    }
    for module, names in PUBLIC.items():
        for name in names:
            thing = getattr(importlib.import_module(module), name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                home = thing.__module__
                assert shown & {module, f"{module}.{name}", home, f"{home}.{name}"}, f"{module}.{name} is on no page"


def test_the_reference_shows_methods_that_there_are() -> None:
    page = (ROOT / "docs" / "api" / "parts.md").read_text(encoding="utf-8")
    parts = re.findall(r"^::: (\S+)\.(\w+)\n    options:\n.*\n      members: \[(.*)\]$", page, re.MULTILINE)
    assert len(parts) == len(REFERENCE.findall(page))
    for module, name, members in parts:
        part = getattr(importlib.import_module(module), name)
        assert [member for member in members.split(", ") if not hasattr(part, member)] == []


def test_the_storage_page_names_each_table_once() -> None:
    page = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE)
    assert sorted(name for name in named if name in metadata.tables) == sorted(metadata.tables)


def test_the_page_on_methods_lists_what_it_has() -> None:
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    contents = re.findall(r"^- \[(.+)\]\(#.+\)$", page, re.MULTILINE)
    assert contents == re.findall(r"^## (.+)$", page, re.MULTILINE)


@pytest.mark.parametrize("readme", ["README.md", "README.ja.md"])
def test_readme_examples_run(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        return FakeEncoder(name=spec.name, decode=spec.decode)

    monkeypatch.setattr(model, "load_encoder", load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    photos.save(tmp_path / "photos" / "owl.jpg", photos.gradient())
    examples = TESTED.findall((ROOT / readme).read_text(encoding="utf-8"))
    assert [name for name, _ in examples] == ["library", "pipeline", "by hand", "service"]
    for name, code in examples[:-1]:  # the last one asks a service: tests/web/test_serve.py runs it
        exec(compile(code, f"{readme}: {name}", "exec"), {})


@pytest.mark.parametrize("readme", ["README.md", "README.ja.md"])
def test_readme_commands_exist(readme: str) -> None:
    """Every `zsindex …` line of the README parses: commands and options are real."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    lines = re.findall(r"^\$ (?:.* && )?zsindex (.*?)(?:\s+#.*)?$", text, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        words = re.findall(r'"[^"]*"|\S+', line.split(" | ")[0])
        command = cli.commands[words[0]]
        nested = getattr(command, "commands", {})
        if nested:
            command = nested[words[1]]
        options = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
        for word in words[1:]:
            if word.startswith("-"):
                assert word in options, f"{line}: {word}"


@pytest.mark.parametrize(("page", "japanese"), [("README.md", "README.ja.md"), ("docs/guide.md", "docs/guide.ja.md")])
def test_the_japanese_page_has_the_same_code(page: str, japanese: str) -> None:
    """Comments are translated, code is not; what has a section, a table or a point on one page has one on the other."""
    one, other = ((ROOT / name).read_text(encoding="utf-8") for name in (page, japanese))
    assert codes(one) == codes(other)
    for kind in (r"^#+ ", r"^\| ", r"^- "):
        assert len(re.findall(kind, one, re.MULTILINE)) == len(re.findall(kind, other, re.MULTILINE)), kind


def codes(page: str) -> list[str]:
    """The blocks of code of a page, without their comments; drawings are not code."""
    blocks = re.findall(r"```(?:console|python)\n(.*?)```", page, re.DOTALL)
    return [re.sub(r" +# .*$", "", block, flags=re.MULTILINE) for block in blocks]


def test_the_default_template_is_the_documented_one() -> None:
    for page in ("README.md", "docs/cli.md"):
        assert templates.DEFAULT_TEMPLATE in (ROOT / page).read_text(encoding="utf-8")

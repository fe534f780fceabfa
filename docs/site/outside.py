"""Pages of the site that lie outside of `docs/`, and links to and from them.

A file has one place in the repository, where its links work for who reads it there. The site takes it in under another
name, and its links along.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Pages of the site by where they lie in the repository.
PAGES = {
    "README.md": "start.md",
    "README.ja.md": "start.ja.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "examples.md",
    "examples/first_look.ipynb": "first-look.md",
    "training/nano/README.md": "nano-recipe.md",
    "zsindex/models/nano/README.md": "nano.md",
}
REPOSITORY = {page: path for path, page in PAGES.items()}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
# A link to a script that stands alone shows the script.
SCRIPT = re.compile(r"^\[[^\]\n]+\]\(([^)\s]+\.py)\)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and whatever they link to that is no page."""
    for path, page in PAGES.items():
        text = _text(path)
        files.append(File.generated(config, page, content=text))
        for target in LINK.findall(text):
            linked = _resolve(path, target)
            if linked not in PAGES and not linked.startswith("docs/") and files.get_file_from_path(linked) is None:
                files.append(File.generated(config, linked, abs_src_path=str(ROOT / linked)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where the site has what they name."""
    here = page.file.src_uri
    path = REPOSITORY.get(here, f"docs/{here}")

    def shown(match: re.Match[str]) -> str:
        source = (ROOT / _resolve(path, match[1])).read_text(encoding="utf-8")
        return f"{match[0]}\n\n```python\n{source}```"

    def led(match: re.Match[str]) -> str:
        linked = _resolve(path, match[1])
        return os.path.relpath(PAGES.get(linked, linked.removeprefix("docs/")), PurePosixPath(here).parent)

    return LINK.sub(led, SCRIPT.sub(shown, markdown))


def _text(path: str) -> str:
    """A page as Markdown; of a notebook its cells, and what they show, in their order."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if not path.endswith(".ipynb"):
        return text
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            shown = output["text"] if "text" in output else output["data"]["text/plain"]
            parts.append(f"```text\n{''.join(shown).rstrip()}\n```")
    return "\n\n".join(parts)


def _resolve(path: str, target: str) -> str:
    """The path in the repository that a link in the file at `path` leads to."""
    return os.path.normpath(PurePosixPath(path).parent / target)

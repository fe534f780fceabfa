"""The examples run as they stand, and say what their page says they do."""

from __future__ import annotations

import copy
import re
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
MAKE = ROOT / "docs" / "make_notebook_outputs.py"
# What each prints when it has done its work: figures, in which a broken one would show.
SAYS = {
    "first_look.py": r"^ 1\.00  cat            chelsea\.png$",
    "label_set_experiment.py": r"^  things@2: (8|9)\d% ",
    "few_shot_from_corrections.py": r"^after 25 corrections: (9\d|100)%$",
    "vectors_and_pandas.py": r"^5 vectors taken in, and nothing encoded; something to drink: coffee\.png$",
}


def test_the_page_shows_every_example() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    there = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert set(re.findall(r"\]\(([\w.]+\.(?:py|ipynb))\)", page)) == there
    assert set(SAYS) == {name for name in there if name.endswith(".py")}


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    if name == "vectors_and_pandas.py":
        pytest.importorskip("pyarrow", reason="pyarrow is an extra")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=tmp_path,  # it leaves nothing behind, and needs nothing from where it is run
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not done.stderr
    assert re.search(SAYS[name], done.stdout, re.MULTILINE), done.stdout
    assert not list(tmp_path.iterdir())


def test_the_notebook_shows_what_it_computes(tmp_path: Path) -> None:
    """Its stored outputs are those of today: run it again with `make docs` if what zsindex answers has changed."""
    executed = runpy.run_path(str(MAKE))["executed"]
    stored = nbformat.read(EXAMPLES / "first_look.ipynb", as_version=4)
    assert sum(bool(cell.get("outputs")) for cell in stored.cells) > 5
    assert executed(copy.deepcopy(stored), tmp_path) == stored

"""Run the notebook in `examples/` and keep what it shows, as text: ``python docs/make_notebook_outputs.py``.

A test compares that with what it shows today. When it ran, how long it took and with which Python is not kept.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

FILE = Path(__file__).parents[1] / "examples" / "first_look.ipynb"


def executed(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """The notebook with what it shows when it is run in a folder; without what differs from run to run."""
    NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # what is printed arrives in pieces that differ from run to run
        resources={"metadata": {"path": folder}},
    ).execute()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "data" in output:
                output["data"] = {"text/plain": output["data"]["text/plain"]}
    return notebook


if __name__ == "__main__":
    nbformat.write(executed(nbformat.read(FILE, as_version=4), FILE.parent), FILE)

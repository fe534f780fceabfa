"""Run a few lines of Python as a user whom file permissions bind; tests may run as root, whom they do not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Root gives its rights up inside the new process, when everything is imported: the user nobody may not be allowed to
# reach this Python or this project.
_PROLOGUE = """
import json, os, sys
import {modules}
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""


def unprivileged(program: str, *, modules: Sequence[str] = ("zsindex.photos.decode", "zsindex.photos.scan")) -> str:
    """The program, to be run as somebody else; `modules` are those that it imports."""
    return _PROLOGUE.format(modules=", ".join(modules)) + program


def run_unprivileged(
    program: str, *arguments: str, modules: Sequence[str] = ("zsindex.photos.decode", "zsindex.photos.scan")
) -> str:
    """Return what the program prints; `arguments` are its ``sys.argv[1:]``."""
    result = subprocess.run(
        [sys.executable, "-c", unprivileged(program, modules=modules), *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A temporary folder that anybody can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)

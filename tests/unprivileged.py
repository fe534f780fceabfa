"""Run a few lines of Python as a user whom file permissions bind; tests may run as root, whom they do not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Root gives its rights up inside the new process, when everything is imported: the user nobody may not be allowed to
# reach this Python or this project.
_PROLOGUE = """
import json, os, sys
import zsindex.decode, zsindex.scan
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""


def run_unprivileged(program: str, *arguments: str) -> str:
    """Return what the program prints; `arguments` are its ``sys.argv[1:]``."""
    result = subprocess.run(
        [sys.executable, "-c", _PROLOGUE + program, *arguments],
        capture_output=True,
        text=True,
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

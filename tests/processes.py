"""Python programs that run beside a test, step by step: what happens between processes, without waiting for luck."""

from __future__ import annotations

import os
import subprocess
import sys
from types import TracebackType
from typing import Self

# In the program: tell the test how far it has come, and wait until the test says to go on.
_PROLOGUE = """
def step(message="ready"):
    print(message, flush=True)
    input()
"""


class Process:
    """A running program. Leaving the ``with`` block kills what has not ended.

    In the program ``step(message)`` prints a line and waits; `wait_for_step` returns the line, `go` lets it go on.
    """

    def __init__(self, program: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROLOGUE + program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def wait_for_step(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process ended with {self._process.wait()}"
        return line.rstrip("\n")

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def finish(self) -> str:
        """Let it run to its end; returns what else it printed."""
        output, _ = self._process.communicate("\n" * 100)
        assert self._process.returncode == 0, self._process.returncode
        return output

    def kill(self) -> None:
        """Kill it as a power cut would, if it still runs."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()

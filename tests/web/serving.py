"""``zsindex serve`` as people run it, with a model that needs no torch, also in the processes that it starts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

import zsindex.session.model
from tests.fakes import FakeEncoder
from tests.waiting import WAIT_S, until
from zsindex.records import FloatArray

# A file that says how many seconds each photo takes; none where there is no such file.
VARIABLE = "ZSINDEX_TEST_SLOW_WHILE"
ROOT = Path(__file__).parents[2]


class Slow(FakeEncoder):
    """Takes its time while the file is there that the environment names: as long as a test needs it to be at work."""

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        begun, slow_while = time.monotonic(), Path(os.environ[VARIABLE])
        with suppress(FileNotFoundError):
            while time.monotonic() < begun + float(slow_while.read_text(encoding="ascii")) * len(pixels):
                time.sleep(0.01)
        return super().encode_images(pixels)


class Serving:
    """A running ``zsindex serve``. Leaving the ``with`` block kills what has not ended.

    Attributes:
        url: where it answers.
        lines: what it has said.
    """

    def __init__(self, *arguments: object, slow_while: Path = Path("none")) -> None:
        """Args:
        slow_while: a file. While it is there, each photo takes as many seconds as it says.
        """
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve", "--port", "0", *map(str, arguments)],
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), VARIABLE: str(slow_while)},
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._told = threading.Event()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        if not self._told.wait(WAIT_S) or self.process.poll() is not None:
            self.kill()
            raise AssertionError(f"it did not start: {self.lines}")
        [said] = [found for line in self.lines if (found := re.search(r"serving .* at (http://\S*)/", line))]
        self.url = said[1]
        # With a connection for each request, as a balancer has them.
        self.client = httpx.Client(base_url=self.url, timeout=WAIT_S, limits=httpx.Limits(max_keepalive_connections=0))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("serving "):
                self._told.set()
        self._told.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.close()
        self.kill()

    def kill(self) -> None:
        """Kill it, and what it has started, as a power cut would."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reading.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def end(self, how: int = signal.SIGTERM) -> int:
        """Tell it to end; returns its exit status."""
        self.process.send_signal(how)
        status = self.process.wait(WAIT_S)
        self._reading.join(WAIT_S)
        return status

    def workers(self) -> list[int]:
        """The processes that it has started to serve, as their numbers."""
        command = ["ps", "-ww", "-o", "pid=", "-o", "args=", "--ppid", str(self.process.pid)]
        listed = subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout
        return [int(line.split()[0]) for line in listed.splitlines() if "spawn_main" in line]

    def get(self, path: str, **parameters: Any) -> Any:
        """What it answers, which is no failure."""
        return answered(self.client.get(path, params=parameters))

    def post(self, path: str, **body: Any) -> Any:
        """The same, of a request with a body."""
        return answered(self.client.post(path, json=body))

    def ended(self, job_id: str) -> dict[str, Any]:
        """A job, once it has."""
        return until(
            lambda: (job := self.get(f"/v1/jobs/{job_id}"))["state"] in ("done", "failed", "cancelled") and job
        )


def answered(response: httpx.Response) -> Any:
    """What an answer holds, which is no failure."""
    assert response.status_code in (200, 202), response.text
    return response.json()


# Also in processes that are started from this one: their interpreters run this file first.
if __name__ in ("__main__", "__mp_main__"):
    zsindex.session.model.load_encoder = lambda spec, **_: Slow(name=spec.name)  # type: ignore[attr-defined]
if __name__ == "__main__":
    from zsindex.cli import main

    main()

"""What all endpoints share: the library, and what the service keeps beside it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Request
from starlette.responses import Response

from zsindex import config
from zsindex.classification.results import Classification
from zsindex.library import Library
from zsindex.services.search import Search
from zsindex.services.serving import Serving
from zsindex.web.heavy import Heavy
from zsindex.web.limits import Limits
from zsindex.web.metrics import Metrics
from zsindex.web.problems import Problem
from zsindex.web.sandbox import Sandbox
from zsindex.web.security import Security
from zsindex.web.throttle import Gate
from zsindex.web.thumbnails import Thumbnails
from zsindex.web.weight import Kept, parts
from zsindex.web.work import Runner

# `Classification.by_answer`, which is made when it is asked for: three orders and a label of 8 bytes, a score of 4.
LATER_BYTES = 28


class Answers:
    """The last classifications by their keys, as many as fit into so many bytes.

    The photos of the library as it is now do not count: it holds them itself. Those of former moments do.
    """

    def __init__(self, max_bytes: int, now: Callable[[], object] = lambda: None) -> None:
        """Args:
        now: what the library itself holds.
        """
        self._lock = threading.Lock()
        self._kept: Kept[str, Classification] = Kept(max_bytes)
        self._now = now
        self._turns: dict[str, tuple[threading.Lock, int]] = {}

    @property
    def bytes(self) -> int:
        """How much they take."""
        return self._kept.bytes

    def get(self, key: str) -> Classification | None:
        """The answer of a run, if it is still there."""
        with self._lock:
            return self._kept.get(key)

    @contextmanager
    def turn(self, question: str) -> Iterator[None]:
        """Wait while another thread asks the same: its answer may do for both."""
        with self._lock:
            turn, others = self._turns.get(question, (threading.Lock(), 0))
            self._turns[question] = turn, others + 1
        try:
            with turn:
                yield
        finally:
            with self._lock:
                turn, others = self._turns.pop(question)
                if others > 1:
                    self._turns[question] = turn, others - 1

    def keep(self, answer: Classification) -> None:
        """Remember an answer, in place of those that were used least recently."""
        reached, anyway = parts(answer), parts(self._now())
        with self._lock:
            self._kept.keep(answer.run.key, answer, reached, later=LATER_BYTES * len(answer), anyway=anyway)


class Allowance:
    """Bytes that all readers together may have cached in an hour."""

    def __init__(self, bytes_per_hour: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = bytes_per_hour
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._since = float(bytes_per_hour), clock()

    def take(self, n_bytes: int) -> bool:
        """Whether so many more may be kept. It refills steadily."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._since) * self._most / 3600)
            self._since = now
            if n_bytes > self._left:
                return False
            self._left -= n_bytes
            return True


class Service:
    """A running service. Endpoints get it as `ServiceHere`."""

    def __init__(self, library: Library, *, security: Security, limits: Limits, thumbnails: Path | None) -> None:
        self.library = library
        self.serving = serving = Serving(library.session)
        self.search = Search(library.session)
        self.security = security
        self.limits = limits
        self.gate = Gate(running=limits.running, waiting=limits.waiting, wait_s=limits.wait_s, encoding=limits.encoding)
        self.answers = Answers(limits.results_bytes, now=lambda: serving.last_view)
        self.heavy = Heavy(
            at_once=limits.heavy,
            wait_s=limits.heavy_wait_s,
            longest_s=limits.heavy_s,
            kept=limits.heavy_kept,
            max_bytes=limits.results_bytes,
            now=lambda: serving.last_view,
        )
        self.readers = Allowance(limits.readers_bytes)
        self.thumbnails = Thumbnails(thumbnails or _thumbnails_folder(), max_bytes=limits.thumbnail_bytes)
        self.sandbox = Sandbox(
            workers=limits.decoders,
            max_pixels=limits.upload_pixels,
            memory_bytes=limits.decode_bytes,
            timeout_s=limits.decode_s,
        )
        self.jobs = Runner(library, most_queued=limits.queued_jobs)
        self.metrics = Metrics(lambda: library.usage, self._gauges)
        self.closing = threading.Event()

    def start(self) -> None:
        """Begin what goes on beside requests."""
        self.jobs.start()

    def stop(self) -> None:
        """End it. The library stays open: it belongs to whoever opened it."""
        self.closing.set()
        self.jobs.stop()
        self.sandbox.close()

    def _gauges(self) -> dict[str, float]:
        sizes = {str(model.name): model.images for model in self.library.models() if model.default}
        return {
            "requests_running": self.gate.running,
            "requests_waiting": self.gate.waiting,
            "jobs_queued": self.jobs.counts["queued"],
            "jobs_running": self.jobs.counts["running"],
            "jobs_waiting": self.jobs.counts["waiting"],
            "index_vectors": sum(sizes.values()),
            "model_loaded": float(self.serving.model_is_loaded),
            "thumbnail_bytes": self.thumbnails.bytes,
            "answer_bytes": self.answers.bytes + self.heavy.bytes,
        }


def _thumbnails_folder() -> Path:
    models = config.models_folder()
    if models is not None:
        return models.with_name("thumbnails")
    import tempfile

    return Path(tempfile.gettempdir()) / f"zsindex-thumbnails-{os.getuid() if hasattr(os, 'getuid') else 0}"


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def require_write(request: Request) -> None:
    """Refuse a request without the right to write.

    Raises:
        Problem
    """
    if request.scope["state"]["right"] != "write":
        raise Problem("right", 403, "this needs the right to write, which this token, or this service, does not give")


ServiceHere: TypeAlias = Annotated[Service, Depends(_service)]
# For endpoints that change the library.
WRITES = Depends(require_write)


def etag_of(*parts: Any) -> str:
    """An entity tag that stands for what an answer is a function of."""
    return f'"{hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]}"'


def unchanged(request: Request, etag: str, **headers: str) -> Response | None:
    """What to answer to somebody who has this answer already; None if it must be sent.

    For GET and HEAD that is 304; RFC 9110 wants 412 for other methods.
    """
    given = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag not in given and "*" not in given:
        return None
    if request.method in ("GET", "HEAD"):
        return Response(status_code=304, headers={"ETag": etag, **headers})
    raise Problem("unchanged", 412, "the answer is the one that If-None-Match names", headers={"ETag": etag})

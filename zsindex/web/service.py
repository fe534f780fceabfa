"""What all endpoints share: the library, and what the service keeps beside it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from zsindex import config
from zsindex.errors import ZsindexError
from zsindex.library import Library
from zsindex.photos.thumbnails import Thumbnails
from zsindex.services.search import Search
from zsindex.services.serving import Serving
from zsindex.services.stopping import Stopping
from zsindex.upkeep.room import Room
from zsindex.web.admission import CacheAllowance, Gate
from zsindex.web.answers import Answers
from zsindex.web.choices import KeptChoices
from zsindex.web.decoding import UploadDecoder
from zsindex.web.job_runner import JobRunner
from zsindex.web.limits import Limits
from zsindex.web.metrics import Metrics
from zsindex.web.problems import Problem
from zsindex.web.reviews import KeptReviews
from zsindex.web.security import Security
from zsindex.web.slow_questions import SlowQuestions

ROOMS_S = 300.0


class Service:
    """A running service. Endpoints get it as `ServiceHere`."""

    def __init__(
        self, library: Library, *, security: Security, limits: Limits, thumbnails: Path | None, runs_jobs: bool = True
    ) -> None:
        self.library = library
        self.reviews = KeptReviews(library)
        self.choices = KeptChoices(library)
        self.serving = serving = Serving(library.session)
        self.search = Search(library.session)
        self.stopping = Stopping(library.session)
        self.security = security
        self.limits = limits
        self.gate = Gate(running=limits.running, waiting=limits.waiting, wait_s=limits.wait_s, encoding=limits.encoding)
        self.answers = Answers(limits.results_bytes, now=lambda: serving.last_view)
        self.slow = SlowQuestions(
            at_once=limits.slow_running,
            wait_s=limits.slow_wait_s,
            stop_s=limits.slow_stop_s,
            kept=limits.slow_kept,
            max_bytes=limits.results_bytes,
            now=lambda: serving.last_view,
        )
        self.cache_allowance = CacheAllowance(limits.readers_bytes)
        self.thumbnails = Thumbnails(thumbnails or config.thumbnails_folder(), max_bytes=limits.thumbnail_bytes)
        self.decoder = UploadDecoder(limits)
        self.archives = threading.BoundedSemaphore(limits.archives)
        self.jobs = JobRunner(
            library, most_queued=limits.queued_jobs, runs_jobs=runs_jobs, quiet_for_s=lambda: self.gate.quiet_for_s
        )
        self.metrics = Metrics(lambda: library.usage, self._of_process, self._of_library, self._rooms)
        self.closing = threading.Event()
        self._found_rooms: tuple[list[Room], float] = ([], 0.0)

    def start(self) -> None:
        """Begin what goes on beside requests."""
        self.jobs.start()

    def stop(self) -> None:
        """End it. The library stays open: it belongs to whoever opened it."""
        self.closing.set()
        self.jobs.stop()
        self.decoder.close()

    def _rooms(self) -> list[Room]:
        """What grows, as it was a few minutes ago at most: to find that out takes a look at every photo."""
        found, until = self._found_rooms
        if time.monotonic() > until:
            with suppress(ZsindexError):  # then as they were
                found = self.library.room()
                self._found_rooms = found, time.monotonic() + ROOMS_S
        return found

    def _of_process(self) -> dict[str, float]:
        return {
            "requests_running": self.gate.running,
            "requests_waiting": self.gate.waiting,
            "model_loaded": float(self.serving.model_is_loaded),
            "answer_bytes": self.answers.bytes + self.slow.bytes,
        }

    def _of_library(self) -> dict[str, float]:
        found = {"thumbnail_bytes": float(self.thumbnails.bytes)}
        try:
            jobs = self.jobs.counts
            vectors = sum(model.images for model in self.library.models() if model.default)
        except ZsindexError:
            return {**found, "library_readable": 0.0}
        return {
            **found,
            **{f"jobs_{state}": count for state, count in jobs.items()},
            "index_vectors": vectors,
            "library_readable": 1.0,
        }


# A coroutine, since FastAPI sends a plain function to a thread, for which a busy interpreter has no turn at once.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def require_write(request: Request) -> None:
    """Refuse a request without the right to write.

    Raises:
        Problem
    """
    service: Service = request.app.state.service
    if service.library.read_only and service.library.session.storage.lags():
        detail = (
            "this service reads from a standby of the library's server, which stores nothing; send this to a service"
            " over the server itself"
        )
        raise Problem("read-only", 403, detail)
    if request.scope["state"]["right"] != "write":
        raise Problem("right", 403, "this needs the right to write, which this token, or this service, does not give")


ServiceHere: TypeAlias = Annotated[Service, Depends(_service)]
# For endpoints that change the library.
WRITES = Depends(require_write)

"""Several processes that serve one library at one socket, under a process that starts them and replaces those that die.

Each opens the library by itself, as services on several hosts do; what they share is what that library, and the user's
cache folder, hold.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.synchronize import Event
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from zsindex.errors import LibraryUnreachable, ZsindexError
from zsindex.library import Library
from zsindex.web import logs, metrics
from zsindex.web.app import create_app
from zsindex.web.limits import Limits
from zsindex.web.security import Security
from zsindex.web.serve import configured

# Connections that wait until a process takes them, as uvicorn has it.
BACKLOG = 2048
# How long a process may take to answer its parent, at its start, too; where many start at once that takes a while.
MOST_SILENT_S = 60
# Between attempts to open a library whose server does not answer.
PAUSE_S = 2.0


@dataclass(frozen=True)
class Worker:
    """What each process needs to serve; it is pickled on the way there. Called, it gives the app.

    Attributes:
        place: of the library.
        model: how it is opened, as for `Library.open`.
        leave: ends the process with a status.
    """

    place: Path | str = field(repr=False)  # it may hold a password
    read_only: bool
    model: dict[str, Any]
    security: Security
    limits: Limits
    leave: Callable[[int], NoReturn]
    drop_model_after_s: float | None = None
    runs_jobs: bool = True
    log_requests: bool = True
    started: Event | None = None

    def __call__(self) -> FastAPI:
        """The app, over a library that is closed with it."""
        logs.to_stderr(logging.INFO if self.log_requests else logging.WARNING)
        _end_with_parent()
        metrics.forget_dead()
        library = self._open()
        app = create_app(
            library,
            security=self.security,
            limits=self.limits,
            drop_model_after_s=self.drop_model_after_s,
            runs_jobs=self.runs_jobs,
        )
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
            with library:
                async with inner(app) as state:
                    if self.started is not None:
                        self.started.set()
                    yield state

        app.router.lifespan_context = lifespan
        return app

    def _open(self) -> Library:
        try:
            return Library.open(self.place, create=False, read_only=self.read_only, **self.model)
        except LibraryUnreachable as error:
            logs.event("library not opened", level=30, why=str(error))
            time.sleep(PAUSE_S)
            self.leave(1)  # and begin again
        except ZsindexError as error:
            logs.event("library not opened", level=40, why=str(error))
            self.leave(STARTUP_FAILURE)


def serve_with(worker: Worker, listening: socket.socket, n: int, *, ready: Callable[[], None] | None = None) -> bool:
    """Serve in `n` processes until SIGINT or SIGTERM, which end all of them as they end one.

    Args:
        listening: where all of them listen.
        ready: called once one of them does.

    Returns:
        False if one could not open the library.
    """
    logs.to_stderr(logging.WARNING)
    listening.listen(BACKLOG)  # who comes while none is there yet, or none any more, waits
    started = multiprocessing.get_context("spawn").Event()

    def tell() -> None:
        started.wait()
        if ready is not None:
            ready()

    threading.Thread(target=tell, name="zsindex ready", daemon=True).start()
    app = replace(worker, started=started)
    config = configured(app, factory=True, workers=n, timeout_worker_healthcheck=MOST_SILENT_S)
    with TemporaryDirectory(prefix="zsindex-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ[metrics.FOLDER_VARIABLE] = folder  # as each of them is started
        supervisor = _Supervisor(config, sockets=[listening])
        supervisor.run()
        del os.environ[metrics.FOLDER_VARIABLE]
    return all(process.process.exitcode != STARTUP_FAILURE for process in supervisor.processes)


class _Supervisor(Multiprocess):
    def keep_subprocess_alive(self) -> None:
        """Replace those that have ended.

        All are asked for a sign of life only then. One that dies as it is asked would be waited for, and one that holds
        the interpreter's lock for long, to import torch, be killed.
        """
        if not all(process.process.is_alive() for process in self.processes):
            super().keep_subprocess_alive()


def _end_with_parent() -> None:
    """End as SIGTERM ends it when the parent is gone, however that ended: nobody would tell it to any more."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        shutil.rmtree(os.environ[metrics.FOLDER_VARIABLE], ignore_errors=True)
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=wait, name="zsindex parent", daemon=True).start()

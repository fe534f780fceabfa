"""Progress on stderr: a bar on a terminal, a line now and then elsewhere; and what Ctrl-C does meanwhile."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from zsindex.records import Progress

SECONDS_BETWEEN_LINES = 10.0
# What a stage counts, unless it is photos.
COUNTED = {"vocabulary": "words", "sidecars": "sidecars", "layout": "iterations"}


class Reporter:
    """Shows `Progress` events. Use as a context manager, so that a bar is closed before anything else is printed."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._on_terminal = sys.stderr.isatty()
        self._bar: Any = None
        self._last_line = time.monotonic()
        self._started = time.monotonic()

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, event: Progress) -> None:
        if self._quiet:
            return
        if self._on_terminal:
            self._show_bar(event)
        else:
            self._show_line(event)

    def _show_bar(self, event: Progress) -> None:
        from tqdm import tqdm

        if self._bar is None or self._bar.desc != event.stage:
            self._close()
            self._bar = tqdm(
                total=event.total,
                desc=event.stage,
                unit=f" {COUNTED.get(event.stage, 'photos')}",
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
            )
        if event.total is not None:
            self._bar.total = event.total
        self._bar.update(event.done - self._bar.n)
        if event.done == event.total:
            self._close()

    def _show_line(self, event: Progress) -> None:
        now = time.monotonic()
        if event.done == 0:
            self._started = self._last_line = now
        if event.stage == "scan" or now - self._last_line < SECONDS_BETWEEN_LINES or not event.total:
            return
        self._last_line = now
        rate = event.done / max(now - self._started, 1e-9)
        left = (event.total - event.done) / max(rate, 1e-9)
        what = COUNTED.get(event.stage, "photos")
        click.echo(f"{event.done:,} of {event.total:,} {what}, {rate:.1f}/s, {duration(left)} left", err=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def duration(seconds: float) -> str:
    """``M:SS`` or ``H:MM:SS``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C (or SIGTERM) finish the current batch, and the second one abort at once.

    Yields:
        Whether to stop.
    """
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        said = "\nstopping after this batch; Ctrl-C again aborts at once"
        try:
            click.echo(said, err=True)
        except RuntimeError:  # it came while something else was being written, which cannot be interrupted by this
            with suppress(OSError):
                os.write(2, f"{said}\n".encode())

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

"""zsindex demo"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from zsindex.errors import ZsindexError
from zsindex.photos import samples

from . import options
from .cmd_sync import say_what_was_left, summary
from .output import width_of, write_columns
from .progress import Reporter, stop_on_interrupt

if TYPE_CHECKING:
    from zsindex import Classification, Hit, Library

T = TypeVar("T")

FIRST_LABELS = ("cat", "cup of coffee", "person", "rocket", "camera", "document", "grass", "stars")
SECOND_LABELS = ("animal", "food or drink", "vehicle", "plant", "text", "instrument")
QUERY = "something to drink"
MOST_SHOWN = 12


@click.command()
@click.argument("photos", nargs=-1, metavar="[PHOTOS]...")
@click.option(
    # Without the environment variable: the demo's photos must not end up in somebody's real library unasked.
    "--library",
    type=options.FilePath(path_type=Path),
    callback=options.nearest,
    help="Folder of the demo's library. Default: one in your user-cache folder; the demo prints its path.",
)
@click.pass_context
def demo(ctx: click.Context, /, photos: tuple[str, ...], library: options.Place | None) -> None:
    """See it work, on PHOTOS (files or folders) or on a few samples.

    Uses the built-in model: nothing to download, nothing to set up. Run it twice to see the cache at work.
    """
    if library is None:
        import platformdirs

        library = Path(platformdirs.user_cache_dir("zsindex", appauthor=False)) / "demo"
    with options.open_library(library, create=True, model="nano") as opened, stop_on_interrupt() as should_stop:
        click.echo(f"library: {opened.place}")
        _heading("1. Sync: encode every photo once")
        with Reporter(quiet=False) as progress:
            report = opened.sync(photos or samples.photos(), progress=progress, should_stop=should_stop)
        click.echo(summary(report))
        say_what_was_left(report, quiet=False)
        shown = list(photos) or [str(photo) for photo in samples.photos()]
        if should_stop():
            ctx.exit(130)
        if not opened.photos.paths(shown):
            raise ZsindexError("none of these photos can be read; try others")
        steps = _Steps(opened, shown)
        steps.classify("2. Classify them with a label set", FIRST_LABELS)
        steps.classify("3. Another label set, never seen before: only its prompts are encoded", SECOND_LABELS)
        steps.classify("4. The first label set again: nothing is encoded", FIRST_LABELS, brief=True)
        steps.search(f"5. Search: “{QUERY}”")
        steps.similar("6. More like this")
        _heading("What the library holds now")
        row = next(m for m in opened.models() if m.name == "nano")
        click.echo(f"{row.images} image vectors and {row.prompts} prompt vectors, {row.bytes / 1000:.0f} KB")
        click.echo(f"\nYour turn:\n  zsindex sync ~/Pictures\n  zsindex classify {' '.join(f'-l {w}' for w in _WORDS)}")


_WORDS = ("cat", "dog", "car")


class _Steps:
    """Asks, and says how long it took and what had to be encoded for it."""

    def __init__(self, library: Library, photos: list[str]) -> None:
        self._library = library
        self._photos = photos

    def classify(self, title: str, labels: tuple[str, ...], *, brief: bool = False) -> None:
        _heading(title)
        click.echo(f"labels: {', '.join(labels)}")
        result = self._timed(lambda: self._library.classify(labels, top=1, paths=self._photos, sync=False))
        if not brief:
            self._show(result)

    def search(self, title: str) -> None:
        _heading(title)
        self._show_hits(self._timed(lambda: self._library.search(QUERY, top=3, paths=self._photos)))

    def similar(self, title: str) -> None:
        photo = next((p for p in self._library.photos.paths(self._photos) if "chelsea" in p), None)
        photo = photo or self._library.photos.paths(self._photos)[0]
        _heading(f"{title}: {Path(photo).name}")
        self._show_hits(self._timed(lambda: self._library.similar(photo, top=3, paths=self._photos)))

    def _timed(self, ask: Callable[[], T]) -> T:
        def held() -> tuple[int, int]:
            row = next(m for m in self._library.models() if m.name == "nano")
            return row.images, row.prompts

        before = held()
        started = time.perf_counter()
        answer = ask()
        seconds = time.perf_counter() - started
        images, prompts = (now - then for now, then in zip(held(), before, strict=True))
        click.echo(f"{seconds * 1000:.0f} ms; encoded {images} images and {prompts} prompts, the rest from the cache")
        return answer

    @staticmethod
    def _show(result: Classification) -> None:
        rows = ([one.label, f"{one.score:.2f}", Path(one.path).name] for one in result[:MOST_SHOWN])
        write_columns(rows, [width_of(result.labels), 4], sys.stdout)
        if len(result) > MOST_SHOWN:
            click.echo(f"… and {len(result) - MOST_SHOWN} more")

    @staticmethod
    def _show_hits(hits: list[Hit]) -> None:
        write_columns(([f"{h.score:5.2f}", Path(h.path).name] for h in hits), [5], sys.stdout)


def _heading(text: str) -> None:
    click.echo(f"\n{click.style(text, bold=True)}")

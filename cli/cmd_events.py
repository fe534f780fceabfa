"""zsindex events"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from . import options
from .output import (
    CSV,
    PATHS,
    destination,
    format_option,
    note,
    plural,
    table,
    write_csv,
    write_json,
    write_names,
    write_ndjson,
)
from .progress import Reporter

if TYPE_CHECKING:
    from zsindex.lab.events import Event, Events
    from zsindex.where import Where

_NO_NAMES = "none"


@click.command(cls=options.Filtered)
@click.option(
    "--vocabulary",
    default="basic",
    show_default=True,
    metavar="basic|wordnet|FILE|none",
    help="Words that events are named by; a file has one per line. none: no names.",
)
@click.option("--no-look", is_flag=True, help="Do not read photos: the best of a burst goes by pixels and file sizes.")
@click.option("--file-times", is_flag=True, help="Use photos of which only the file's time is known.")
@click.option("--with-place", is_flag=True, help="json, ndjson, csv: also where the photos of an event were taken.")
@options.filters
@format_option
@options.output
@options.library
@options.which_model
@options.quiet
def events(
    vocabulary: str,
    no_look: bool,
    file_times: bool,
    with_place: bool,
    paths: tuple[str, ...],
    where: Where | None,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Group photos by when they were taken: into events, and bursts of nearly the same picture.

    An event ends with a pause that is long for the photos around it, sooner where the place changes. A burst is photos
    that are alike, taken one right after another; the best has the most pixels, among equals it is the sharpest.
    --format paths prints the best photo of each burst, --format csv a row for each photo.

    \b
    zsindex events
    zsindex events --path ~/Pictures/2019 --format json > events.json
    zsindex search "a beach" --one-per event
    """
    if with_place and fmt not in ("json", "ndjson", *CSV):
        raise click.UsageError("--with-place is for --format json, ndjson and csv")
    with options.open_library(library, quiet=quiet, **model) as opened:
        with Reporter(quiet=quiet) as progress:
            found = opened.events(
                paths=paths or None,
                where=where,
                vocabulary=None if vocabulary == _NO_NAMES else vocabulary,
                look=not no_look,
                file_times=file_times,
                progress=progress,
            )
        with destination(output) as out:
            _write(found, fmt, out, with_place=with_place)
    _explain(found, quiet=quiet)


def _write(found: Events, fmt: str, out: IO[str], *, with_place: bool) -> None:
    if fmt == "json":
        write_json(found.to_dict(with_place=with_place), out)
    elif fmt == "ndjson":
        write_ndjson((event.to_dict(with_place=with_place) for event in found.events), out)
    elif fmt in CSV:
        header = ["event", "name", "burst", "best", "cover", "taken", *(["latitude", "longitude"] * with_place), "path"]
        write_csv(header, _rows(found, with_place=with_place), out, fmt=fmt)
    elif fmt in PATHS:
        write_names((burst.best for event in found.events for burst in event.bursts), out, fmt=fmt)
    elif found.events:
        shown = [
            (_when(event), len(event.photos), len(event.bursts), event.name or "", event.cover)
            for event in found.events
        ]
        aligned = ["left", "right", "right", "left", "left"]
        out.write(table(["when", "photos", "bursts", "name", "cover"], shown, align=aligned) + "\n")


def _rows(found: Events, *, with_place: bool) -> Iterator[list[Any]]:
    """One for each photo."""
    counted = count(1)
    for number, event in enumerate(found.events, start=1):
        place = [None, None] if event.place is None else [*event.place]
        for burst in event.bursts:
            burst_number = next(counted)
            for path, taken in zip(burst.photos, burst.taken, strict=True):
                marks = ["yes" if path == burst.best else "", "yes" if path == event.cover else ""]
                yield [
                    number,
                    event.name,
                    burst_number,
                    *marks,
                    taken.isoformat(),
                    *(place if with_place else []),
                    path,
                ]


def _when(event: Event) -> str:
    start, end = event.start, event.end
    if start.date() == end.date():
        return f"{start:%Y-%m-%d %H:%M}" + (f"–{end:%H:%M}" if f"{start:%H:%M}" != f"{end:%H:%M}" else "")
    return f"{start:%Y-%m-%d %H:%M}–{end:%Y-%m-%d %H:%M}"


def _explain(found: Events, *, quiet: bool) -> None:
    if found.from_files:
        n = plural(found.from_files, "photo")
        note(
            f"{n} left out: only the file's time is known, which may be that of a copy; --file-times uses it",
            quiet=quiet,
        )
    if found.untimed:
        note(f"{plural(found.untimed, 'photo')} left out: nobody knows when they were taken", quiet=quiet)
    if found.unread:
        n = plural(found.unread, "photo")
        note(f"the metadata of {n} was not read yet: zsindex sync reads it", quiet=quiet)
    several = sum(len(burst.photos) > 1 for event in found.events for burst in event.bursts)
    note(
        f"{plural(len(found.events), 'event')} and {plural(several, 'burst')} among {plural(found.photos, 'photo')}",
        quiet=quiet,
    )

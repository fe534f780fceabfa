"""Writing how many photos of each answer there are by something: ``classify --by``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from .output import CSV, PATHS, destination, note, plural, table, write_csv, write_json, write_ndjson
from .streams import all_shown

if TYPE_CHECKING:
    from zsindex.classification.by import Counts

BY = ("year", "month", "day", "hour", "camera", "folder", "keyword")
UNKNOWN = "(unknown)"


def check(fmt: str, plot: Path | None, by: str | None, others: Mapping[str, object]) -> None:
    """Refuse what does not go together.

    Args:
        others: options that say how photos are listed, by name.

    Raises:
        click.UsageError
    """
    if by is None:
        if plot is not None:
            raise click.UsageError("--plot shows counts: say by what, as in --by month")
        return
    if fmt in ("parquet", *PATHS):
        raise click.UsageError("--by gives counts: --format table, csv, csv-excel, json or ndjson")
    if given := [name for name, value in others.items() if value]:
        raise click.UsageError(f"--by counts photos, and {given[0]} says how they are listed: leave one out")
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise click.BadParameter("its name must end in .png, .svg or .pdf", param_hint="--plot")


def write(counts: Counts, fmt: str, output: Path | None, plot: Path | None) -> None:
    """Write counts, and draw them."""
    with destination(output) as out:
        _write(counts, fmt, out)
    if plot is not None:
        from zsindex.lab import plots

        drawn = plots.counts(counts, plot.suffix.lower().removeprefix("."))
        with destination(plot, binary=True) as out:
            out.write(drawn)


def explain(counts: Counts, *, quiet: bool) -> None:
    """Say what the counts do not."""
    if counts.expected is None:
        note(
            "no expected counts: scores are not calibrated. Fit a temperature (zsindex temperature fit), and add "
            "--temperature fitted",
            quiet=quiet,
        )
    if counts.from_file:
        note(f"{plural(counts.from_file, 'photo')} by the time of the file, as nothing else says when", quiet=quiet)
    if counts.unread:
        note(f"the metadata of {plural(counts.unread, 'photo')} was never read: zsindex sync reads it", quiet=quiet)


def _write(counts: Counts, fmt: str, out: IO[Any]) -> None:
    if fmt == "json":
        photos = dict(zip((key or UNKNOWN for key in counts.keys), counts.photos.tolist(), strict=True))
        write_json({"by": str(counts.by), "photos": photos, "counts": counts.to_dicts()}, out)
    elif fmt == "ndjson":
        write_ndjson(counts.to_dicts(), out)
    elif fmt in CSV:
        write_csv(counts.columns, ([*row.values()] for row in counts.to_dicts()), out, fmt=fmt)
    else:
        rows = []
        for k, key in enumerate(counts.keys):
            cells = [f"{count:,}" for count in counts.counts[k].tolist()]
            if counts.expected is not None:
                cells = [f"{n} ({e:.1f})" for n, e in zip(cells, counts.expected[k].tolist(), strict=True)]
            rows.append([key or UNKNOWN, f"{counts.photos[k]:,}", *cells])
        align = ["left", *["right"] * (1 + len(counts.labels))]
        out.write(table([str(counts.by), "photos", *all_shown(counts.labels)], rows, align=align) + "\n")

"""zsindex prior estimate"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .cmd_eval import names, resampled, seed
from .output import CSV, destination, note, plural, table, write_csv, write_json, write_ndjson

if TYPE_CHECKING:
    from zsindex.lab.prior import PriorEstimate
    from zsindex.where import Where

COLUMNS = ["label", "share", "low", "high", "known"]


@click.group()
@options.library_before
def prior() -> None:
    """How the photos are divided among the labels: the prior of classify --prior."""


@prior.command(cls=options.Filtered)
@click.argument("truth", required=False)
@options.which_labels
@options.label_set
@options.template
@names
@click.option(
    "--method",
    type=click.Choice(["rlls", "em", "bbse"]),
    default="rlls",
    show_default=True,
    help="rlls and bbse correct by how photos with known content are answered; em asks which shares make the scores "
    "likeliest, and works without a TRUTH, but then believes what the model prefers.",
)
@options.filters
@options.temperature
@options.truncate
@resampled(200)
@seed
@click.option(
    "--format",
    "fmt",
    type=click.Choice(["table", "json", "ndjson", *CSV]),
    default="table",
    show_default=True,
    help="Format of the result; --prior reads json and csv.",
)
@options.output
@options.library
@options.which_model
@options.quiet
def estimate(
    truth: str | None,
    label: tuple[str, ...],
    label_file: str | None,
    label_set: str | None,
    template: tuple[str, ...],
    names: Mapping[str, list[str]],
    method: str,
    paths: tuple[str, ...],
    where: Where | None,
    temperature: float | str | None,
    truncate: bool,
    resamples: int,
    seed: int,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Estimate which share of the photos each label has, with 95 % intervals.

    TRUTH is what some photos show, as in zsindex eval; they need not be divided as the others are. Default: the
    corrections of the label set.

    \b
    zsindex prior estimate --label-set animals --format json --output prior.json
    zsindex classify --label-set animals --prior prior.json
    """
    with options.open_library(library, quiet=quiet, **model) as opened:
        found = opened.prior.estimate(
            options.label_set_from(opened, label, label_file, template, saved=label_set),
            truth,
            method=method,
            names=names,
            paths=paths or None,
            where=where,
            temperature=temperature,
            truncate=truncate,
            resamples=resamples,
            seed=seed,
        )
    with destination(output) as out:
        rows = found.to_dict()["shares"]
        if fmt == "json":
            write_json(found.to_dict(), out)
        elif fmt == "ndjson":
            write_ndjson(rows, out)
        elif fmt in CSV:
            write_csv(COLUMNS, ([row[name] for name in COLUMNS] for row in rows), out, fmt=fmt)
        else:
            shown = [[row["label"], *(_percent(row[name]) for name in COLUMNS[1:4]), row["known"]] for row in rows]
            header = ["label", "share %", "from", "to", "known"]
            out.write(table(header, shown, align=["left", *["right"] * 4]) + "\n")
    _explain(found, quiet=quiet)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _explain(found: PriorEstimate, *, quiet: bool) -> None:
    known = "" if found.source is None else f" and {sum(found.known.values()):,} known by {found.source}"
    note(f"{found.method} on {plural(found.photos, 'photo')}{known}", quiet=quiet)
    for doubt in found.doubts:
        note(f"too little to trust: {doubt}", quiet=quiet)

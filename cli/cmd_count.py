"""zsindex count"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from . import asking, counted, options
from .output import CSV, destination, formats, note, plural, table, write_csv, write_json, write_lines, write_ndjson

if TYPE_CHECKING:
    from zsindex.lab.counting import GroupCount, PhotoCount
    from zsindex.where import Where


class Within(click.ParamType[float]):
    """A share of the estimate, as ``10%``, or a number of photos."""

    name = "N|N%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share as a number below 1, or photos as one from 1 on."""
        if isinstance(value, float):
            return value
        number, share = (value[:-1], True) if value.endswith("%") else (value, False)
        try:
            found = float(number) / (100 if share else 1)
        except ValueError:
            found = -1.0
        if not ((share and 0 < found < 1) or (not share and 1 <= found < math.inf)):
            self.fail(f"{value!r} is neither a share such as 10% nor a number of photos such as 25", param, ctx)
        return found


@click.command(cls=options.Filtered)
@click.argument("label")
@click.option(
    "--label-set", metavar="NAME", help="A saved label set that has LABEL. Answers are kept as its corrections as well."
)
@options.template
@click.option(
    "--looks",
    type=options.Whole(min=1),
    help="Photos to look at, at most. Default: 80, or with --within as many as it takes.",
)
@click.option(
    "--within",
    type=Within(),
    help="Stop as soon as the interval reaches at most so far from the estimate: a share of it, or photos.",
)
@click.option(
    "--confidence", type=options.Share(0.5, 0.9999), default="95%", show_default=True, help="Of the interval."
)
@click.option("--by", type=click.Choice(counted.BY), help="Also for each year, folder and so on.")
@click.option("--again", is_flag=True, help="Count anew: what was answered is known, and new photos are counted.")
@click.option("--seed", type=options.Whole(min=0), default=0, show_default=True, help="Of which photos are drawn.")
@asking.ways_to_answer
@options.filters
@formats("table", "json", "ndjson", *CSV, help="table for people; csv-excel for spreadsheets; the others for programs.")
@options.output
@options.library
@options.which_model
@options.quiet
@click.pass_context
def count(
    ctx: click.Context,
    /,
    label: str,
    label_set: str | None,
    template: tuple[str, ...],
    looks: int | None,
    within: float | None,
    confidence: float,
    by: str | None,
    again: bool,
    seed: int,
    answers_file: str | None,
    open_photos: bool,
    paths: tuple[str, ...],
    where: Where | None,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Count the photos that show LABEL, with an interval that holds, from looks at a few.

    Photos are shown one after another, each to be answered with y or n. The interval is right with the stated
    confidence whatever the model's scores are worth, and after whichever answer one stops; good scores make it narrow
    soon. Every answer is kept: the same command goes on. Files with the same bytes count as one.

    \b
    zsindex count owl --within 10%
    zsindex count owl --label-set birds --looks 80 --by month

    The exit code is 3 if --within was asked for and was not reached.
    """
    with options.open_library(library, quiet=quiet, **model) as opened:
        going = opened.counts.begin(
            label,
            label_set=label_set,
            template=template or None,
            paths=paths or None,
            where=where,
            seed=seed,
            again=again,
            looks=looks,
            within=within,
            confidence=confidence,
        )
        asking.ask(
            going,
            question=f"{label}?",
            state=lambda: _line(going.estimate()),
            answers_file=answers_file,
            open_photos=open_photos,
            quiet=quiet,
        )
        found = going.estimate()
        groups = going.by(by) if by is not None else []
    with destination(output) as out:
        _write(found, by, groups, fmt, out)
    if found.came or found.gone:
        note(
            f"since the count began {plural(found.came, 'photo')} came, which are not counted, and {found.gone:,} went;"
            " --again counts what there is now",
            quiet=quiet,
        )
    if within is not None and not found.reached:
        ctx.exit(3)


def _line(found: PhotoCount) -> str:
    return (
        f"about {found.estimate:,.0f}, from {found.low:,} to {found.high:,} of {plural(found.photos, 'photo')} "
        f"({100 * found.confidence:.4g} %, {plural(found.looks, 'look')})"
    )


def _write(found: PhotoCount, by: str | None, groups: Sequence[GroupCount], fmt: str, out: IO[str]) -> None:
    rows: list[dict[str, Any]] = [{by: None, **_numbers(found)}] if by else [_numbers(found)]
    rows += [{by: one.key or None, **_numbers(one)} for one in groups if by]
    if fmt == "json":
        document = found.to_dict()
        write_json({**document, "by": by, "groups": [one.to_dict() for one in groups]} if by else document, out)
    elif fmt == "ndjson":
        write_ndjson(rows, out)
    elif fmt in CSV:
        write_csv(
            [*map(str, rows[0])], [["" if one is None else one for one in row.values()] for row in rows], out, fmt=fmt
        )
    else:
        files = "" if found.files == found.photos else f" in {plural(found.files, 'file')}"
        known = f", {found.known:,} of them known before" if found.known else ""
        sure = f"with {100 * found.confidence:.4g} % confidence"
        about = f"about {found.estimate:,.0f}, from {found.low:,} to {found.high:,} {sure}"
        looked = f"{plural(found.looks, 'look')}: {found.yes:,} yes, {found.no:,} no"
        write_lines([f"{found.label}: {about}", f"{plural(found.photos, 'photo')}{files}{known}; {looked}"], out)
        if groups:
            cells = [
                (one.key or counted.UNKNOWN, one.photos, one.known, f"{one.estimate:,.0f}", one.low, one.high)
                for one in groups
            ]
            header = [by or "", "photos", "known", "about", "from", "to"]
            out.write("\n" + table(header, cells, align=["left", *["right"] * 5]) + "\n")


def _numbers(found: PhotoCount | GroupCount) -> dict[str, Any]:
    return {
        "estimate": round(found.estimate, 3),
        "low": found.low,
        "high": found.high,
        "photos": found.photos,
        "known": found.known,
    }

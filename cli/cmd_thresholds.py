"""zsindex thresholds show|preview|set|remove"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from . import options
from .output import note, plural, table, write_json, write_lines

if TYPE_CHECKING:
    from zsindex.lab.thresholds import Change, Curve
    from zsindex.where import Where

BARS = " ▁▂▃▄▅▆▇█"

multi_label = click.option(
    "--multi-label", is_flag=True, help="Scores and answers as classify --multi-label gives them."
)
choice = options.together(
    click.option("--score", type=options.Real(0, 1), help="The lowest score that passes."),
    click.option("--count", type=options.Whole(min=0), help="The number of photos of the library that pass."),
    click.option("--rate", type=options.Real(0, 1), help="The share of the library that passes."),
)


@click.group()
@options.library_before
def thresholds() -> None:
    """Minimum scores for the answers of a saved label set.

    A threshold is kept as a rate, the share of the library's photos at or above it, so that it keeps its meaning with
    another model. classify --thresholds applies them.
    """


@thresholds.command(cls=options.Filtered)
@click.argument("label_set")
@multi_label
@options.filters_beside_paths
@options.truncate
@options.library
@options.json_flag
def show(
    label_set: str,
    multi_label: bool,
    where: Where | None,
    truncate: bool,
    library: options.Place | None,
    as_json: bool,
) -> None:
    """Show how the scores of each answer are spread over the library, and its threshold.

    A column headed by a share gives the score that this share of the photos reaches. The curve runs from the best photo
    on the left to the last one on the right, on a logarithmic scale of photos.
    """
    with options.open_library(library) as opened:
        found = opened.thresholds.curves(label_set, multi_label=multi_label, truncate=truncate, where=where)
    if as_json:
        write_json(found.to_dict(), sys.stdout)
        return
    from zsindex.lab.thresholds import RATES

    header = ["label", "threshold", "photos", "best", *(f"{rate:.1%}".replace(".0%", "%") for rate in RATES), "curve"]
    rows = [[c.label, *_threshold(c), *_scores(c), _plot(c)] for c in found.curves]
    align = ["left", "right", "right", *["right"] * (len(RATES) + 1), "left"]
    click.echo(table(header, rows, align=align))
    if found.unused:
        note(f"not among the answers here, so these thresholds have no effect: {', '.join(found.unused)}")


def _threshold(curve: Curve) -> list[str]:
    if curve.rate is None:
        return ["", ""]
    return ["none reaches it" if curve.score is None else f"{curve.score:.3f}", f"{curve.photos:,}"]


def _scores(curve: Curve) -> list[str]:
    from zsindex.lab.thresholds import RATES

    if not curve.points:
        return [""] * (len(RATES) + 1)
    return [f"{curve.points[0][1]:.3f}", *(f"{score:.3f}" for score in curve.at_rates)]


def _plot(curve: Curve) -> str:
    """A bar per point; scores above 0 never get a blank one."""
    last = len(BARS) - 1
    return "".join(BARS[max(round(score * last), int(score > 0))] for _, score in curve.points)


def _changing(function: Callable[..., Any]) -> Callable[..., Any]:
    decorate = options.together(
        click.argument("label_set"),
        click.argument("label"),
        choice,
        multi_label,
        options.filters_beside_paths,
        options.truncate,
        click.option("--list", "listed", is_flag=True, help="List the photos that are added (+) and removed (-)."),
        options.library,
        options.json_flag,
        options.quiet,
    )
    return decorate(function)


@thresholds.command(cls=options.Filtered)
@_changing
def preview(library: options.Place | None, **choice: Any) -> None:
    """Show which photos a threshold would add to those answered with LABEL, and which it would remove."""
    _change(library, dry_run=True, **choice)


@thresholds.command("set", cls=options.Filtered)
@_changing
def set_(library: options.Place | None, **choice: Any) -> None:
    """Set the threshold of LABEL, by score, count or rate, replacing any earlier one."""
    _change(library, dry_run=False, **choice)


def _change(
    library: options.Place | None,
    *,
    label_set: str,
    label: str,
    score: float | None,
    count: int | None,
    rate: float | None,
    multi_label: bool,
    where: Where | None,
    truncate: bool,
    listed: bool,
    as_json: bool,
    quiet: bool,
    dry_run: bool,
) -> None:
    if sum(value is not None for value in (score, count, rate)) != 1:
        raise click.UsageError("use one of --score, --count and --rate")
    with options.open_library(library, quiet=quiet) as opened:
        change = opened.thresholds.choose(
            label_set,
            label,
            score=score,
            count=count,
            rate=rate,
            multi_label=multi_label,
            truncate=truncate,
            dry_run=dry_run,
            where=where,
        )
    if as_json:
        write_json(change.to_dict(), sys.stdout)
        return
    click.echo(_said(change))
    if listed:
        _list("+", change.arrive)
        _list("-", change.leave)
    if change.kept:
        also = " --multi-label" if multi_label else ""
        note(f"kept. Apply it: zsindex classify --label-set {shlex.quote(label_set)} --thresholds{also}", quiet=quiet)


def _said(change: Change) -> str:
    cut = "above every score" if change.score is None else f"from {change.score:.3f} up"
    return (
        f"{change.label}: {cut}, {plural(change.photos, 'photo')} ({change.rate:.2%} of the library). Answered with "
        f"it: {change.before:,} before, {change.after:,} after; {len(change.arrive):,} added, {len(change.leave):,} "
        "removed."
    )


def _list(sign: str, paths: Iterable[str]) -> None:
    write_lines((f"{sign} {path}" for path in paths), sys.stdout)


@thresholds.command()
@click.argument("label_set")
@click.argument("label", nargs=-1)
@options.library
@options.quiet
def remove(label_set: str, label: tuple[str, ...], library: options.Place | None, quiet: bool) -> None:
    """Remove the thresholds of some labels, or all of the label set."""
    with options.open_library(library) as opened:
        n = opened.thresholds.remove(label_set, label or None)
    note(f"removed {plural(n, 'threshold')}", quiet=quiet)

"""zsindex thresholds show|preview|set|remove"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .output import note, plural, table, write_json, write_lines

if TYPE_CHECKING:
    from zsindex.lab.thresholds import Change, Curve

BARS = " ▁▂▃▄▅▆▇█"

multi_label = click.option(
    "--multi-label", is_flag=True, help="Scores, and answers, as classify --multi-label gives them."
)
choice = options.together(
    click.option("--score", type=options.Real(0, 1), help="The least score."),
    click.option("--count", type=options.Whole(min=0), help="How many photos of the library shall have it."),
    click.option("--rate", type=options.Real(0, 1), help="The share of the library that shall have it."),
)


@click.group()
@options.library_before
def thresholds() -> None:
    """From which score on an answer of a saved label set is given.

    A threshold is kept as a rate, the share of the library's photos at or above it, so that it keeps its meaning under
    another model. classify --thresholds applies them.
    """


@thresholds.command()
@click.argument("label_set")
@multi_label
@options.truncate
@options.library
@options.json_flag
def show(label_set: str, multi_label: bool, truncate: bool, library: Path | None, as_json: bool) -> None:
    """Draw how the scores of each answer fall over the library, and its threshold.

    Columns headed by a share give the score that so many of the photos have or exceed. The curve goes from the best
    photo on the left to the last one on the right, evenly on a logarithmic scale of photos.
    """
    with options.open_library(library) as opened:
        found = opened.thresholds.curves(label_set, multi_label=multi_label, truncate=truncate)
    if as_json:
        write_json(found.to_dict(), sys.stdout)
        return
    from zsindex.lab.thresholds import RATES

    header = ["label", "threshold", "photos", "best", *(f"{rate:.1%}".replace(".0%", "%") for rate in RATES), "curve"]
    rows = [[c.label, *_threshold(c), *_scores(c), _plot(c)] for c in found.curves]
    align = ["left", "right", "right", *["right"] * (len(RATES) + 1), "left"]
    click.echo(table(header, rows, align=align))
    if found.unused:
        note(f"no answers here, so their thresholds do nothing: {', '.join(found.unused)}")


def _threshold(curve: Curve) -> list[str]:
    if curve.rate is None:
        return ["", ""]
    return ["none has it" if curve.score is None else f"{curve.score:.3f}", f"{curve.photos:,}"]


def _scores(curve: Curve) -> list[str]:
    from zsindex.lab.thresholds import RATES

    if not curve.points:
        return [""] * (len(RATES) + 1)
    return [f"{curve.points[0][1]:.3f}", *(f"{score:.3f}" for score in curve.at_rates)]


def _plot(curve: Curve) -> str:
    """A bar per point; those of scores above 0 are never blank."""
    last = len(BARS) - 1
    return "".join(BARS[max(round(score * last), int(score > 0))] for _, score in curve.points)


def _changing(function: Callable[..., Any]) -> Callable[..., Any]:
    decorate = options.together(
        click.argument("label_set"),
        click.argument("label"),
        choice,
        multi_label,
        options.truncate,
        click.option("--list", "listed", is_flag=True, help="Name the photos that come (+) and go (-)."),
        options.library,
        options.json_flag,
        options.quiet,
    )
    return decorate(function)


@thresholds.command()
@_changing
def preview(library: Path | None, **choice: Any) -> None:
    """Say which photos a threshold would add to those answered with LABEL, and which it would take away."""
    _change(library, dry_run=True, **choice)


@thresholds.command("set")
@_changing
def set_(library: Path | None, **choice: Any) -> None:
    """Keep a threshold for LABEL, in place of an earlier one. Choose it by score, by count or by rate."""
    _change(library, dry_run=False, **choice)


def _change(
    library: Path | None,
    *,
    label_set: str,
    label: str,
    score: float | None,
    count: int | None,
    rate: float | None,
    multi_label: bool,
    truncate: bool,
    listed: bool,
    as_json: bool,
    quiet: bool,
    dry_run: bool,
) -> None:
    if sum(value is not None for value in (score, count, rate)) != 1:
        raise click.UsageError("choose by one of --score, --count and --rate")
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
    cut = "above every score" if change.score is None else f"from {change.score:.3f} on"
    return (
        f"{change.label}: {cut}, {plural(change.photos, 'photo')} ({change.rate:.2%} of the library). "
        f"Answered with it: {change.before:,} before, {change.after:,} then; "
        f"{len(change.arrive):,} come, {len(change.leave):,} go."
    )


def _list(sign: str, paths: Iterable[str]) -> None:
    write_lines((f"{sign} {path}" for path in paths), sys.stdout)


@thresholds.command()
@click.argument("label_set")
@click.argument("label", nargs=-1)
@options.library
@options.quiet
def remove(label_set: str, label: tuple[str, ...], library: Path | None, quiet: bool) -> None:
    """Forget the thresholds of some labels, or all of the label set."""
    with options.open_library(library) as opened:
        n = opened.thresholds.remove(label_set, label or None)
    note(f"removed {plural(n, 'threshold')}", quiet=quiet)

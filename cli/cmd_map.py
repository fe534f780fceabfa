"""zsindex map build|show|export|plot"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .output import (
    CSV,
    PATHS,
    destination,
    format_option,
    note,
    plural,
    print_pairs,
    write_csv,
    write_json,
    write_names,
    write_ndjson,
)
from .progress import Reporter, duration, stop_on_interrupt
from .streams import shown

if TYPE_CHECKING:
    from zsindex.lab.layout import Layout

NO_MAP = "there is no map yet: zsindex map build"


@click.group()
@options.library_before
def map() -> None:
    """All photos as points of a plane, on which those lie together that are alike.

    The page of zsindex serve shows it, coloured by answers, folders or years. It is made by t-SNE, which needs
    pip install 'zsindex[map]'.
    """


@map.command()
@click.option("--seed", type=options.Whole(min=0), default=0, show_default=True, help="Of what is drawn by chance.")
@options.library
@options.which_model
@options.json_flag
@options.quiet
def build(seed: int, library: options.Place | None, as_json: bool, quiet: bool, **model: Any) -> None:
    """Make the map, or make it anew.

    Photos that come later are placed on it, those that go vanish from it; when many did, it is worth making anew. Until
    that is done, or if it is stopped, the map that was there stays.
    """
    with options.open_library(library, **model) as opened:
        expected = opened.map.seconds()
        if expected > 60:
            note(f"this takes about {duration(expected)} on two cores", quiet=quiet)
        begun = time.monotonic()
        with Reporter(quiet=quiet) as progress, stop_on_interrupt() as should_stop:
            made = opened.map.build(seed=seed, progress=progress, should_stop=should_stop)
        took = time.monotonic() - begun
    if as_json:
        write_json({**_summary(made), "seconds": took}, sys.stdout)
    else:
        click.echo(f"{plural(len(made), 'photo')} on the map, {made.laid_out:,} laid out together, in {took:.1f} s")


@map.command()
@options.library
@options.which_model
@options.json_flag
def show(library: options.Place | None, as_json: bool, **model: Any) -> None:
    """Show whether there is a map, and what has come and gone since it was made."""
    with options.open_library(library, **model) as opened:
        found = opened.map.layout()
        expected = opened.map.seconds()
    if as_json:
        write_json({"seconds": expected, "map": None if found is None else _summary(found)}, sys.stdout)
    elif found is None:
        click.echo(f"{NO_MAP} (about {duration(expected)} on two cores)")
    else:
        print_pairs(
            {
                "on the map": plural(len(found), "photo"),
                "laid out": f"{found.laid_out:,}",
                "placed since": f"{found.added:,}",
                "not on it": f"{found.new:,}",
                "gone": f"{found.gone:,}",
                "outdated": "yes: zsindex map build makes it anew" if found.is_outdated else "no",
            }
        )


@map.command()
@format_option
@options.output
@options.library
@options.which_model
def export(fmt: str, output: Path | None, library: options.Place | None, **model: Any) -> None:
    """Write where each photo is on the map: its path, its id, x and y."""
    with options.open_library(library, **model) as opened:
        found = opened.map.layout()
        if found is None:
            raise click.ClickException(NO_MAP)
        paths = opened.photos.paths_of(found.ids.tolist())
    rows = [
        (paths[image][0], image, x, y)
        for image, (x, y) in zip(found.ids.tolist(), found.points.tolist(), strict=True)
        if image in paths
    ]
    header = ["path", "image_id", "x", "y"]
    with destination(output) as out:
        if fmt == "json":
            write_json([dict(zip(header, row, strict=True)) for row in rows], out)
        elif fmt == "ndjson":
            write_ndjson((dict(zip(header, row, strict=True)) for row in rows), out)
        elif fmt in CSV:
            write_csv(header, rows, out, fmt=fmt)
        elif fmt in PATHS:
            write_names((row[0] for row in rows), out, fmt=fmt)
        else:
            out.writelines(f"{x:9.3f} {y:9.3f}  {shown(path)}\n" for path, _, x, y in rows)


@map.command()
@click.argument("file", type=options.FilePath(dir_okay=False, path_type=Path))
@click.option(
    "--by", type=click.Choice(["folder", "year"]), help="Colour photos by their folder, or when they were taken."
)
@options.which_labels
@options.label_set
@options.template
@options.library
@options.which_model
@options.quiet
def plot(
    file: Path,
    by: str | None,
    label: tuple[str, ...],
    label_file: str | None,
    label_set: str | None,
    template: tuple[str, ...],
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Draw the map into FILE.png, .svg or .pdf: photos as points, in the colours of what they are coloured by.

    That is the best of some labels, the folder, or the year; without any of these all points are grey.
    """
    from zsindex.classification.options import Question

    kind = file.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise click.BadParameter("its name must end in .png, .svg or .pdf", param_hint="FILE")
    asked = bool(label or label_file or label_set)
    if asked and by is not None:
        raise click.UsageError("colour by labels, or --by something: leave one out")
    labels = options.labels_from(label, label_file, template, saved=label_set) if asked else None
    with options.open_library(library, quiet=quiet, **model) as opened:
        question = Question(
            labels, label_set=label_set, template=template if label_set and template else None, sync=False
        )
        answer = opened.classify(question) if asked else None
        drawn = opened.map.plot(kind, by=by, answer=answer)
    if drawn is None:
        raise click.ClickException(NO_MAP)
    with destination(file, binary=True) as out:
        out.write(drawn)


def _summary(found: Layout) -> dict[str, Any]:
    return {
        "photos": len(found),
        "laid_out": found.laid_out,
        "added": found.added,
        "new": found.new,
        "gone": found.gone,
        "outdated": found.is_outdated,
    }

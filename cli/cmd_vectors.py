"""zsindex vectors export|import"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .output import note, plural, size, write_json
from .progress import Reporter, stop_on_interrupt

if TYPE_CHECKING:
    from zsindex.exchange.vectors import ExportReport, ImportReport
    from zsindex.where import Where


@click.group()
@options.library_before
def vectors() -> None:
    """Exchange vectors with other programs and libraries. Needs pip install 'zsindex[parquet]'."""


@vectors.command(cls=options.Filtered)
@click.argument("folder", metavar="DIR", type=options.FilePath(path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="float16 takes half the space and loses some digits.",
)
@click.option("--part-size", type=options.Whole(min=1), default=1_000_000, show_default=True, help="Photos per file.")
@click.option("--overwrite", is_flag=True, help="Replace what an earlier export wrote to DIR.")
@click.option("--with-facts", is_flag=True, help="When and with what each photo was taken, its rating and keywords.")
@click.option("--with-place", is_flag=True, help="The same, and where it was taken.")
@options.filters
@options.on
@options.library
@options.which_model
@options.json_flag
@options.quiet
@click.pass_context
def export(
    ctx: click.Context,
    /,
    folder: Path,
    dtype: str,
    part_size: int,
    overwrite: bool,
    with_facts: bool,
    with_place: bool,
    paths: tuple[str, ...],
    where: Where | None,
    on: str | None,
    library: options.Place | None,
    as_json: bool,
    quiet: bool,
    **model: Any,
) -> None:
    """Write all vectors and the paths of their photos to DIR, a new or empty folder.

    \b DIR/img_emb/img_emb_0.npy          one row per photo DIR/metadata/metadata_0.parquet    its image_path, width,
    height, format, sha256 DIR/zsindex.json                   which model they come from
    """
    if on is not None and (with_facts or with_place):
        raise click.UsageError("facts are written by this machine alone: leave out --on")
    with (
        options.open_library(library, **model) as opened,
        Reporter(quiet=quiet) as progress,
        stop_on_interrupt() as should_stop,
        options.apart(on),
    ):
        report = opened.vectors.export_to(
            folder,
            dtype=dtype,
            part_size=part_size,
            paths=paths or None,
            where=where,
            overwrite=overwrite,
            facts=with_facts,
            place=with_place,
            on=on,
            progress=progress,
            should_stop=should_stop,
        )
    if as_json:
        write_json(report.to_dict(), sys.stdout)
    elif not report.interrupted:
        click.echo(_exported(report))
    if report.without:
        note(f"{plural(report.without, 'photo')} left out, not yet encoded by that model: zsindex sync", quiet=quiet)
    if report.interrupted:
        note("stopped; nothing was written", quiet=quiet)
        ctx.exit(130)


@vectors.command("import")
@click.argument("folder", metavar="DIR", type=options.FilePath(path_type=Path))
@click.option("--root", metavar="FOLDER", help="Folder that relative paths in DIR start from.")
@click.option(
    "--path-column",
    metavar="NAME",
    default="image_path",
    show_default=True,
    help="Column of the tables with the paths of the photos.",
)
@click.option("--no-read", is_flag=True, help="Do not read photos on this disk to identify their content.")
@options.library
@options.which_model
@options.json_flag
@options.quiet
@click.pass_context
def import_(
    ctx: click.Context,
    /,
    folder: Path,
    root: str | None,
    path_column: str,
    no_read: bool,
    library: options.Place | None,
    as_json: bool,
    quiet: bool,
    **model: Any,
) -> None:
    """Import the vectors in DIR, made elsewhere by the same --model. Encodes nothing and needs no photos.

    DIR is what clip-retrieval inference or zsindex vectors export wrote. All of it is checked before anything is
    stored. If stopped or killed, run the same command again to continue.
    """
    if model["model"] is None:
        raise click.UsageError("say which model made the vectors: --model")
    with (
        options.open_library(library, create=True, quiet=quiet, **model) as opened,
        Reporter(quiet=quiet) as progress,
        stop_on_interrupt() as should_stop,
    ):
        report = opened.vectors.import_from(
            folder,
            root=root,
            path_column=path_column,
            read=not no_read,
            progress=progress,
            should_stop=should_stop,
        )
    if as_json:
        write_json(report.to_dict(), sys.stdout)
    else:
        click.echo(_imported(report))
    if report.changed:
        note(
            f"{plural(report.changed, 'photo')} left out: content here differs from where the vectors were made; "
            "zsindex sync encodes what is here",
            quiet=quiet,
        )
    if report.interrupted:
        note(f"stopped with {plural(report.left, 'photo')} left; run the same command again to continue", quiet=quiet)
        ctx.exit(130)


def _exported(report: ExportReport) -> str:
    where = f"{plural(report.parts, 'part')}, {size(report.bytes)}, {report.dtype}"
    return f"{plural(report.rows, 'photo')} exported to {report.folder} ({where}) in {report.seconds:.1f} s"


def _imported(report: ImportReport) -> str:
    rate = f", {report.rows / report.seconds:,.0f}/s" if report.rows and report.seconds else ""
    counts = f"{report.stored:,} vectors stored, {report.kept:,} already there, {report.added:,} new paths"
    on_disk = f"{report.found:,} of them found on this disk"
    return f"{plural(report.rows, 'photo')}: {counts}; {on_disk}. {report.seconds:.1f} s{rate}"

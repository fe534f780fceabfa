"""zsindex ci"""

from __future__ import annotations

from pathlib import Path

import click

from zsindex.config import LIBRARY_VARIABLE

from . import options
from .output import destination, formats, note, plural, write_json
from .progress import Reporter, stop_on_interrupt

# Beside the file, unless --library names another place; the caches of CI services keep it between runs.
FOLDER = ".zsindex-ci"


@click.command()
@click.argument("file", default="zsindex-ci.toml", type=options.FilePath(path_type=Path))
@click.option(
    "--git",
    metavar="REVISION",
    help="Compare with this revision, such as origin/main, instead of the one that the file names.",
)
@click.option(
    "--accept", is_flag=True, help="Write the tables of answers that the file has as baselines, from the answers now."
)
@click.option(
    "--markdown",
    type=options.FilePath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the report to FILE as well.",
)
@click.option(
    "--junit",
    type=options.FilePath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write JUnit XML to FILE: a test case for each bound.",
)
@click.option(
    "--top", type=options.Whole(min=0), default=50, show_default=True, help="Flips to list of each label set."
)
@formats("markdown", "json", default="markdown", help="markdown for people; json for programs, with all flips.")
@options.output
@click.option(
    "--library",
    type=options.LibraryPlace(),
    envvar=LIBRARY_VARIABLE,
    show_envvar=True,
    callback=options.nearest,
    help=f"Folder of the library, or its URL. Default: {FOLDER} beside FILE, which is created.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@options.quiet
@click.pass_context
def ci(
    ctx: click.Context,
    /,
    file: Path,
    git: str | None,
    accept: bool,
    markdown: Path | None,
    junit: Path | None,
    top: int,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    device: str,
    quiet: bool,
) -> None:
    """Hold label sets to the bounds of a committed file: how often they are right, and which photos flip.

    FILE names photos, label sets, what photos show, and bounds, in TOML; see docs/ci.md. Its photos are encoded where
    they are new, so that it runs on a fresh clone, and faster where the library's folder is kept between runs.

    \b
    zsindex ci --junit report.xml >> "$GITHUB_STEP_SUMMARY"
    zsindex ci --git origin/main --format json
    zsindex ci --accept                           the answers now are the ones to keep

    Exit codes: 0 if every bound is kept; 3 if one is broken; 2 if FILE, or a file that it names, cannot be used.
    """
    if library is None:
        library = _own_library(file)
    with (
        options.open_library(library, create=True, quiet=quiet, device=device) as opened,
        Reporter(quiet=quiet) as progress,
        stop_on_interrupt() as should_stop,
    ):
        report = opened.ci.run(file, git=git, accept=accept, progress=progress, should_stop=should_stop)
    if report.interrupted:
        note("stopped; run the same command again to continue", quiet=quiet)
        ctx.exit(130)
    if markdown is not None:
        with destination(markdown) as out:
            out.write(report.to_markdown(most=top))
    if junit is not None:
        with destination(junit) as out:
            out.write(report.to_junit())
    with destination(output) as out:
        if fmt == "json":
            write_json(report.to_dict(), out)
        else:
            out.write(report.to_markdown(most=top))
    for name in report.accepted:
        note(f"wrote {name}", quiet=quiet)
    for name, bound in report.broken:
        note(f"{name}: {bound.key}: {bound.said}; asked for {bound.asked}", quiet=quiet)
    bounds = len(report.bounds) + sum(len(check.bounds) for check in report.checks)
    note(f"{plural(bounds, 'bound')}, {len(report.broken)} broken", quiet=quiet)
    if report.broken:
        ctx.exit(3)


def _own_library(file: Path) -> Path:
    """The library beside a file, which git is told to pass over."""
    from zsindex import Library
    from zsindex.errors import BadCiFile

    if not file.is_file():
        raise BadCiFile(str(file), "", None, "there is no such file; docs/ci.md shows how to write one")
    folder = file.absolute().parent / FOLDER
    if not Library.exists(folder):
        Library.create(folder)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    return folder

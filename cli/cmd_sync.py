"""zsindex sync"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from zsindex.config import DEFAULT_MODEL, PROMPTS_DAYS, STRONGER_MODEL, UPLOADS_MB, temporary_folder
from zsindex.errors import LibraryNotFound

from . import options
from .output import note, plural, write_json
from .progress import Reporter, stop_on_interrupt

if TYPE_CHECKING:
    from zsindex import SyncReport

MOST_SKIPS_SHOWN = 10


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@options.library
@options.which_model
@options.how_fast
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out names or paths that match, with patterns as in .gitignore. Repeatable.",
)
@click.option("--include-hidden", is_flag=True, help="Include names that begin with a dot.")
@click.option("--retry-skipped", is_flag=True, help="Retry files that could not be read before.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done: read, encode and store nothing.")
@options.on
@options.strict
@options.json_flag
@options.quiet
@click.pass_context
def sync(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    library: options.Place | None,
    exclude: tuple[str, ...],
    include_hidden: bool,
    retry_skipped: bool,
    dry_run: bool,
    on: str | None,
    strict: bool,
    as_json: bool,
    quiet: bool,
    **model: Any,
) -> None:
    """Encode new photos in folders and files; notice what moved, changed or vanished.

    Without PATH, the folders synced before are synced again. A library is created if there is none. If stopped or
    killed, the next sync continues where this one left off.
    """
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(options.open_library(library, create=not dry_run, quiet=quiet, **model))
        except LibraryNotFound:
            # A dry run must not create a library; what a first sync would do is found out in a temporary one.
            temporary = TemporaryDirectory(prefix="zsindex-", dir=temporary_folder())
            scratch = Path(stack.enter_context(temporary), "library")
            opened = stack.enter_context(options.open_library(scratch, create=True, quiet=quiet, **model))
        if not paths and not opened.photos.roots():
            raise click.UsageError("name the folders to sync; the library has none yet")
        if not quiet and not dry_run and not opened.models():
            _introduce(str(opened.spec), str(opened.place))
        with Reporter(quiet=quiet) as progress, stop_on_interrupt() as should_stop, options.apart(on):
            report = opened.sync(
                paths or None,
                exclude=exclude,
                include_hidden=include_hidden,
                retry_skipped=retry_skipped,
                dry_run=dry_run,
                on=on,
                progress=progress,
                should_stop=should_stop,
            )
    if as_json:
        write_json(report.to_dict(), sys.stdout)
    else:
        click.echo(summary(report))
    say_what_was_left(report, quiet=quiet or as_json)
    if report.interrupted:
        # Where nothing is stored there may be more than were seen.
        where = f"with {plural(report.left, 'photo')} left" if report.left < report.to_read else "before all was seen"
        note(f"stopped {where}; run the same command again to continue", quiet=quiet)
        ctx.exit(130)
    if strict and report.skipped:
        ctx.exit(3)


def _introduce(model: str, place: str) -> None:
    line = f"new library in {place}, model {model}"
    if model == DEFAULT_MODEL:
        line += f" (small, built in). Stronger: --model {STRONGER_MODEL}, downloaded on first use"
    note(line)


def summary(report: SyncReport) -> str:
    """One line about a sync."""
    states = ("added", "changed", "moved", "unchanged", "skipped", "missing")
    parts = [f"{getattr(report, state):,} {state}" for state in states if getattr(report, state)]
    nothing = "nothing done yet" if report.interrupted else "nothing new"
    line = f"{plural(report.scanned, 'photo')}: {', '.join(parts) or nothing}"
    if report.sidecars:
        line += f", {plural(report.sidecars, 'sidecar')} changed"
    if report.dry_run:
        facts = f", and the facts of {report.facts_read:,}" if report.facts_read else ""
        return f"{line}. Dry run: {report.to_read:,} would be read{facts}"
    rate = f", {report.encoded / report.seconds:.1f}/s" if report.encoded and report.seconds else ""
    facts = ""
    if report.facts_read:
        facts = f". Read when, where and with what {plural(report.facts_read, 'earlier photo')} were taken"
    return f"{line}. Encoded {report.encoded:,}, reused {report.reused:,} in {report.seconds:.1f} s{rate}{facts}"


def say_what_was_left(report: SyncReport, *, quiet: bool) -> None:
    """Name skipped photos, and folders that could not be listed."""
    for skipped in report.skips[:MOST_SKIPS_SHOWN]:
        note(f"skipped {skipped.path}: {skipped.detail or skipped.reason}", quiet=quiet)
    if len(report.skips) > MOST_SKIPS_SHOWN:
        note(f"… and {len(report.skips) - MOST_SKIPS_SHOWN:,} more: zsindex status --skipped", quiet=quiet)
    if report.facts_elsewhere:
        note("another sync is reading the facts of earlier photos", quiet=quiet)
    for root in report.vanished_roots:
        note(
            f"{root} is missing or empty (a disk that is not mounted?); what is known about it is kept. If it is gone "
            f"for good: zsindex prune --path {root}",
            quiet=quiet,
        )
    if report.forgotten_prompts:
        n = plural(report.forgotten_prompts, "cached prompt")
        note(f"forgot {n} that nobody asked for in {PROMPTS_DAYS.value:,} days ({PROMPTS_DAYS.variable})", quiet=quiet)
    if report.forgotten_images:
        n = plural(report.forgotten_images, "image")
        note(
            f"forgot {n} of no folder, such as uploads, those first that came first: their vectors may take"
            f" {UPLOADS_MB.value:,} MB ({UPLOADS_MB.variable})",
            quiet=quiet,
        )
    for folder, why in report.unlisted.items():
        note(f"cannot list {folder}: {why}; what is known about it is kept", quiet=quiet)

"""zsindex status, zsindex check, zsindex prune"""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import click

from . import options
from .output import PATHS0, note, plural, print_pairs, size, table, write_json, write_lines, write_names
from .streams import shown

if TYPE_CHECKING:
    from zsindex.upkeep.maintenance import PruneReport


@click.command()
@click.option("--skipped", is_flag=True, help="List every photo that cannot be used, with the reason.")
@click.option("-0", "--print0", is_flag=True, help="With --skipped: only the paths, each ending with NUL.")
@click.option("--incomplete", is_flag=True, help="List every photo that was read although its file is cut short.")
@click.option("--room", is_flag=True, help="List what grows, what it takes, and how far it may.")
@options.library
@options.json_flag
def status(
    skipped: bool, print0: bool, incomplete: bool, room: bool, library: options.Place | None, as_json: bool
) -> None:
    """Show what the library holds."""
    if print0 and (as_json or not skipped):
        raise click.UsageError("-0/--print0 needs --skipped, and cannot be combined with --json")
    with options.open_library(library) as opened:
        found = opened.status()
        skips = opened.photos.skipped() if skipped else []
        cut_short = opened.photos.incomplete() if incomplete else []
        rooms = opened.room() if room else []
    if as_json:
        document = found.to_dict()
        if skipped:
            document["skipped_files"] = [{"path": s.path, "reason": s.reason, "detail": s.detail} for s in skips]
        if incomplete:
            document["incomplete_files"] = [{"path": one.path, "detail": one.detail} for one in cut_short]
        if room:
            document["room"] = [asdict(one) for one in rooms]
        write_json(document, sys.stdout)
        return
    if print0:
        write_names((one.path for one in skips), sys.stdout, fmt=PATHS0)
        return
    if room:
        grown = [(one.kind, f"{one.count:,}", size(one.bytes), one.limit, one.forgets) for one in rooms]
        headings = ["", "number", "size", "at most", "goes with"]
        click.echo(table(headings, grown, align=["left", "right", "right", "left", "left"]))
    if skipped or incomplete:
        for one in skips:
            click.echo("\t".join(map(shown, (one.reason, one.path, one.detail or ""))))
        for photo in cut_short:
            click.echo("\t".join(map(shown, ("incomplete", photo.path, photo.detail))))
    if skipped or incomplete or room:
        return
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in found.skipped.items())
    print_pairs(
        {
            "library": found.path + (" (read-only)" if found.read_only else ""),
            "folders": ", ".join(found.roots) or "none yet",
            "photos": f"{found.files:,} ({found.images:,} different, {found.duplicates:,} duplicates)",
            "skipped": f"{sum(found.skipped.values()):,}" + (f" ({reasons})" if reasons else ""),
            "incomplete": f"{found.incomplete:,}" + (" (zsindex status --incomplete)" if found.incomplete else ""),
            "missing": f"{found.missing:,}, as of the last sync of each folder"
            + ("; zsindex prune forgets them" if found.missing else ""),
            "label sets": ", ".join(found.label_sets) or "none",
            "size": f"database {size(found.database_bytes)}, index {size(found.index_bytes)}",
            "versions": ", ".join(f"{name} {version}" for name, version in found.versions.items()),
        }
    )
    if found.models:
        lines = [
            (f"{m.name} (default)" if m.default else m.name, f"{m.images:,}", f"{m.prompts:,}", size(m.bytes))
            for m in found.models
        ]
        click.echo("\n" + table(["model", "images", "prompts", "vectors"], lines, align=["left", *["right"] * 3]))


@click.command()
@click.option("--fix", is_flag=True, help="Rebuild derived data, and forget damaged vectors.")
@options.library
@options.json_flag
@click.pass_context
def check(ctx: click.Context, /, fix: bool, library: options.Place | None, as_json: bool) -> None:
    """Check that database, vectors and index agree. Exits with 1 if something is wrong and was not fixed."""
    with options.open_library(library) as opened:
        report = opened.check(fix=fix)
    if as_json:
        write_json(report.to_dict(), sys.stdout)
    else:
        write_lines((f"problem: {problem}" for problem in report.problems), sys.stdout)
        write_lines((f"fixed: {action}" for action in report.fixed), sys.stdout)
        if report.ok:
            click.echo(f"ok: {plural(report.vectors, 'vector')} checked")
        elif not fix:
            note("zsindex check --fix repairs what can be repaired")
    if not report.ok:
        ctx.exit(1)


@click.command()
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="PATH",
    help="Also forget everything at or below this folder, such as a disk that is gone for good. Repeatable.",
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="Also forget this model's vectors. Repeatable.")
@click.option("--prompts", is_flag=True, help="Also forget cached prompts that belong to no saved label set.")
@click.option(
    "--prompts-unused",
    "unused_days",
    type=options.Whole(min=0),
    metavar="DAYS",
    help="Of these, forget those that nobody asked for in so many days.",
)
@click.option(
    "--prompts-keep",
    "most_prompts",
    type=options.Whole(min=0),
    metavar="N",
    help="Of these, forget those that nobody asked for for the longest, until N prompts are left.",
)
@click.option("--backups", is_flag=True, help="Also remove copies of the database from before upgrades.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", is_flag=True, help="Only show what would be forgotten.")
@options.library
@options.json_flag
def prune(
    paths: tuple[str, ...],
    models: tuple[str, ...],
    prompts: bool,
    unused_days: int | None,
    most_prompts: int | None,
    backups: bool,
    yes: bool,
    dry_run: bool,
    library: options.Place | None,
    as_json: bool,
) -> None:
    """Forget vanished files, and vectors that nothing refers to; asks first. Photos are not touched."""
    with options.open_library(library) as opened:
        prune = partial(
            opened.prune,
            paths,
            models=models,
            prompts=prompts,
            unused_days=unused_days,
            most_prompts=most_prompts,
            backups=backups,
        )
        plan = prune(dry_run=True)
        what = _to_forget(plan)
        if dry_run or not any({**plan.to_dict(), "dry_run": False}.values()):
            if as_json:
                write_json(plan.to_dict(), sys.stdout)
            else:
                click.echo(f"would forget {what}" if dry_run else "nothing to forget")
            return
        note(f"will forget {what}")
        if not yes:
            try:
                click.confirm("Continue?", abort=True, err=True)
            except (OSError, UnicodeError) as error:  # stdin is write-only, or holds no text
                raise click.ClickException(f"stdin cannot be read ({error}); add --yes to prune unasked") from error
        done = prune()
    if as_json:
        write_json(done.to_dict(), sys.stdout)
    else:
        click.echo("done")


def _to_forget(plan: PruneReport) -> str:
    """What is forgotten, and what is removed, with the bytes of each kind."""

    def counted(n: int, noun: str, n_bytes: int) -> str:
        return plural(n, noun) + (f" ({size(n_bytes)})" if n_bytes else "")

    what = (
        f"{plural(plan.files, 'file')}, {plural(plan.images, 'image')} without a file, "
        f"{counted(plan.vectors, 'vector', plan.vector_bytes)}, {counted(plan.prompts, 'prompt', plan.prompt_bytes)}, "
        f"{plural(plan.models, 'model')}"
    )
    removed = [
        counted(n, noun, n_bytes) + where
        for n, noun, n_bytes, where in (
            (plan.strays, "file", plan.stray_bytes, " that no index needs"),
            (plan.backups, "backup", plan.backup_bytes, " of the database"),
            (plan.temporary_files, "temporary file", 0, " left beside photos"),
        )
        if n
    ]
    return what + (f"; and remove {', '.join(removed)}" if removed else "")

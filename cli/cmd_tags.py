"""zsindex tags write|retract"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from . import options
from .output import note, plural, write_columns, write_json
from .progress import Reporter, stop_on_interrupt

if TYPE_CHECKING:
    from zsindex.lab.tags import SidecarChange, TagReport
    from zsindex.where import Where

SHOWN = 20
EVERY = sys.maxsize

style_option = click.option(
    "--style",
    type=click.Choice(["photo.jpg.xmp", "photo.xmp"]),
    default="photo.jpg.xmp",
    show_default=True,
    help="Name of the sidecar of photo.jpg. Lightroom reads photo.xmp; digiKam and darktable read photo.jpg.xmp.",
)
apply_option = click.option("--apply", is_flag=True, help="Write the changes. Without it, they are only shown.")


@click.group()
@options.library_before
def tags() -> None:
    """Answers as tags in XMP sidecars next to the photos, for other programs. Photos are not touched."""


@tags.command(cls=options.Filtered)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@options.which_labels
@options.label_set
@options.template
@click.option(
    "--run", metavar="KEY", help="Use the question of a recorded run, with all its options, instead of labels."
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Write a tag for every label that reaches --min-score, or that the --run gave, not just for the best one. "
    "Always so for a run with --multi-label or --coverage.",
)
@click.option("--min-score", type=options.Real(0, 1), default=0.0, help="No tags for labels below this score.")
@click.option("--root", default="zsindex", show_default=True, help="Top level of hierarchical tags: ROOT|GROUP|LABEL.")
@style_option
@options.filters_beside_paths
@apply_option
@options.truncate
@options.json_flag
@options.strict
@options.library
@options.which_model
@options.quiet
@click.pass_context
def write(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    label: tuple[str, ...],
    label_file: str | None,
    label_set: str | None,
    template: tuple[str, ...],
    run: str | None,
    every: bool,
    min_score: float,
    root: str,
    style: str,
    where: Where | None,
    apply: bool,
    truncate: bool,
    as_json: bool,
    strict: bool,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Write the best label of each photo, or all labels from --min-score up, as tags to XMP sidecars.

    Shows what it would write; --apply writes it. Tags that it wrote earlier for the same label set and that no longer
    apply are removed.
    """
    if every and not min_score and run is None:
        raise click.UsageError("--all without --min-score would give every photo every label")
    if run is not None and (
        label or label_file is not None or label_set is not None or template or paths or where is not None
    ):
        raise click.UsageError("--run brings its own labels, paths and filters")
    with options.open_library(library, quiet=quiet, **model) as opened:
        if run is not None:
            groups: dict[str, tuple[str, ...]] = {}
            answers = opened.runs.repeat(run).result
            several = every or not {"multi_label", "coverage"}.isdisjoint(dict(answers.run.options))
        else:
            chosen = options.label_set_from(opened, label, label_file, template, saved=label_set)
            groups, several = dict(chosen.groups), every
            # Labels are the answers; the group of a label becomes the level above it.
            answers = opened.classify(
                replace(chosen, groups=()),
                top=EVERY if every else 1,
                paths=paths or None,
                where=where,
                truncate=truncate,
                sync=False,
            )
        with Reporter(quiet=quiet) as progress, stop_on_interrupt() as should_stop:
            report = opened.tags.write(
                answers,
                min_score=min_score,
                top=None if several else 1,
                groups=groups,
                root=root,
                style=style,
                apply=apply,
                progress=progress,
                should_stop=should_stop,
            )
    finish(ctx, report, as_json=as_json, strict=strict, quiet=quiet)


@tags.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--label-set", metavar="NAME", help="Only the tags of this label set.")
@apply_option
@options.json_flag
@options.strict
@options.library
@options.quiet
@click.pass_context
def retract(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    label_set: str | None,
    apply: bool,
    as_json: bool,
    strict: bool,
    library: options.Place | None,
    quiet: bool,
) -> None:
    """Remove the tags that zsindex wrote from sidecars, and nothing else.

    Shows what it would do; --apply does it. A sidecar that no other program has changed since is restored byte for
    byte. With PATH, only sidecars at or below it.
    """
    with (
        options.open_library(library) as opened,
        Reporter(quiet=quiet) as progress,
        stop_on_interrupt() as should_stop,
    ):
        report = opened.tags.retract(
            paths or None, label_set=label_set, apply=apply, progress=progress, should_stop=should_stop
        )
    finish(ctx, report, as_json=as_json, strict=strict, quiet=quiet)


def finish(ctx: click.Context, report: TagReport, *, as_json: bool, strict: bool, quiet: bool) -> None:
    """Print what was done to sidecars, or would be."""
    if as_json:
        write_json(report.to_dict(), sys.stdout)
    else:
        write_columns(
            ([change.action, _shown(change), change.path] for change in report.changes[:SHOWN]), [6, 24], sys.stdout
        )
        if len(report.changes) > SHOWN:
            note(f"and {len(report.changes) - SHOWN:,} more; --json lists all", quiet=quiet)
    for skipped in report.skipped[: len(report.skipped) if as_json else SHOWN]:
        note(f"skipped {skipped.path}: {skipped.why}", quiet=quiet)
    counts = {
        action: sum(change.action == action for change in report.changes) for action in ("create", "change", "delete")
    }
    said = ", ".join(f"{n:,} to {action}" if not report.applied else f"{n:,} {action}d" for action, n in counts.items())
    note(
        f"{plural(len(report.changes), 'sidecar')}: {said}; {report.unchanged:,} unchanged, "
        f"{len(report.skipped):,} skipped",
        quiet=quiet,
    )
    if not report.applied and report.changes:
        note("nothing was written; add --apply to write", quiet=quiet)
    if report.interrupted:
        note("stopped; run the same command again to continue", quiet=quiet)
        ctx.exit(130)
    if strict and report.skipped:
        ctx.exit(3)


def _shown(change: SidecarChange) -> str:
    """Added and removed tags, by the last level of their names."""
    from zsindex.exchange.xmp import HIERARCHY, SUBJECT

    def names(tags: dict[str, list[str]]) -> list[str]:
        return tags.get(SUBJECT) or tags.get(HIERARCHY) or [text for texts in tags.values() for text in texts]

    return " ".join([*(f"+{name}" for name in names(change.added)), *(f"-{name}" for name in names(change.removed))])

"""zsindex runs list|show|repeat"""

from __future__ import annotations

import sys

import click

from . import options
from .output import note, plural, print_pairs, table, write_json

SHOWN_FLIPS = 20


@click.group()
@options.library_before
def runs() -> None:
    """Classifications recorded with classify --record, and what they would answer today."""


@runs.command("list")
@options.library
@options.json_flag
def list_(library: options.Place | None, as_json: bool) -> None:
    """List recorded runs, newest first."""
    with options.open_library(library) as opened:
        found = opened.runs.list()
    if as_json:
        write_json([record.to_dict() for record in found], sys.stdout)
    elif found:
        rows = [
            (
                record.key,
                record.recorded_at[:19].replace("T", " "),
                record.run["model"],
                _labels(record.run),
                f"{record.photos:,}",
                "yes" if record.stored else "no",
            )
            for record in found
        ]
        header = ["run", "recorded (UTC)", "model", "labels", "photos", "answer stored"]
        click.echo(table(header, rows, align=["left", "left", "left", "left", "right", "left"]))


@runs.command()
@click.argument("key")
@options.library
@options.json_flag
def show(key: str, library: options.Place | None, as_json: bool) -> None:
    """Show what the run KEY asked. The beginning of a key is enough."""
    with options.open_library(library) as opened:
        record = opened.runs.get(key)
    if as_json:
        write_json(record.to_dict(), sys.stdout)
        return
    run = record.run
    print_pairs(
        {
            "run": record.key,
            "recorded": record.recorded_at,
            "model": f"{run['model']}, {run['precision']}, {_seen_as(run)} ({run['fingerprint'][:12]})",
            "labels": _labels(run),
            "templates": " · ".join(run["templates"]) or "none: prompts were written out",
            "activation": run["activation"],
            "options": ", ".join(f"{name} {value}" for name, value in run["options"].items()),
            "photos": f"{record.photos:,}",
            "snapshot": ", ".join(f"{name} {value}" for name, value in run["snapshot"].items()),
            "zsindex": run["zsindex"],
            "answer": "stored" if record.stored else "no longer stored",
        }
    )


@runs.command()
@click.argument("key")
@click.option("--record", is_flag=True, help="Record the new run as well.")
@options.library
@options.json_flag
@options.quiet
def repeat(key: str, record: bool, library: options.Place | None, as_json: bool, quiet: bool) -> None:
    """Repeat the run KEY on the library of today, and show what changed.

    Model, labels, prompts and options are the recorded ones.
    """
    with options.open_library(library, quiet=quiet) as opened:
        again = opened.runs.repeat(key, record=record)
    if as_json:
        write_json(again.to_dict(), sys.stdout)
        return
    new = again.result.run.key
    if again.same:
        click.echo(f"run {new} again: nothing that it depends on has changed, so the answer is the same")
        return
    if again.compared is None:
        click.echo(f"run {new}: {plural(len(again.result), 'photo')}")
        note("the earlier answer is no longer stored, so there is nothing to compare with", quiet=quiet)
        return
    click.echo(
        f"run {new}: of {plural(again.compared, 'photo')} that both runs answered, {len(again.flips):,} flipped; "
        f"{again.added:,} new, {again.gone:,} gone"
    )
    if again.flips:
        rows = [(flip.before or "", flip.after or "", flip.path) for flip in again.flips[:SHOWN_FLIPS]]
        click.echo(table(["before", "now", "photo"], rows, align=["left", "left", "left"]))
    if len(again.flips) > SHOWN_FLIPS:
        note(f"and {len(again.flips) - SHOWN_FLIPS:,} more; --json lists all", quiet=quiet)


def _seen_as(run: dict[str, object]) -> str:
    # Runs recorded before these options existed do not name them.
    return f"{run['decode']}, icc {run.get('icc', 'ignore')}, transparency {run.get('transparency', 'reference')}"


def _labels(run: dict[str, object]) -> str:
    """The name of a label set, or the first of the labels."""
    if run["label_set"]:
        version = run["label_set_version"]
        return f"{run['label_set']}@{version}" if version else str(run["label_set"])
    labels = run["labels"]
    assert isinstance(labels, list)
    return ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")

"""zsindex labels save|list|show|remove"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import options
from .output import note, plural, table, write_json


@click.group()
def labels() -> None:
    """Label sets that the library keeps."""


@labels.command()
@click.argument("name")
@options.which_labels
@options.template
@options.library
@options.quiet
def save(
    name: str,
    label: tuple[str, ...],
    label_file: str | None,
    template: tuple[str, ...],
    library: Path | None,
    quiet: bool,
) -> None:
    """Keep labels as NAME, with their final prompts. Replaces a set of that name."""
    chosen = options.labels_from(label, label_file, template)
    assert chosen is not None
    with options.open_library(library, create=True) as opened:
        saved = opened.save_label_set(name, chosen)
    note(f"saved {name}: {plural(len(saved), 'label')}. Use it: zsindex classify --label-set {name}", quiet=quiet)


@labels.command("list")
@options.library
@options.json_flag
def list_(library: Path | None, as_json: bool) -> None:
    """Name the saved label sets."""
    with options.open_library(library) as opened:
        sets = opened.label_sets()
    rows = [(str(s.name), len(s), sum(len(prompts) for prompts in s.prompts)) for s in sets]
    if as_json:
        write_json([{"name": name, "labels": n, "prompts": prompts} for name, n, prompts in rows], sys.stdout)
    elif rows:
        click.echo(table(["name", "labels", "prompts"], rows, align=["left", "right", "right"]))


@labels.command()
@click.argument("name")
@options.library
@options.json_flag
def show(name: str, library: Path | None, as_json: bool) -> None:
    """Print a saved label set: its labels, one per line; with --json also its prompts, in the form --labels reads."""
    from zsindex.prompts import to_document

    with options.open_library(library) as opened:
        found = opened.label_set(name)
    if as_json:
        write_json(to_document(found), sys.stdout)
    else:
        for label in found.labels:
            click.echo(label)


@labels.command()
@click.argument("name")
@options.library
@options.quiet
def remove(name: str, library: Path | None, quiet: bool) -> None:
    """Forget a saved label set. Its prompts stay cached."""
    with options.open_library(library) as opened:
        opened.remove_label_set(name)
    note(f"removed {name}", quiet=quiet)

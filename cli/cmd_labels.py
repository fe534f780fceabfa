"""zsindex labels save|list|show|history|remove, zsindex templates save|list|show|remove"""

from __future__ import annotations

import shlex
import sys

import click

from . import options
from .on_demand import OnDemand
from .output import note, plural, table, write_json, write_names


@click.group()
@options.library_before
def labels() -> None:
    """Save label sets in the library, and find out which of their words work."""


labels.commands = OnDemand({"lint": "cmd_words", "diff": "cmd_words", "suggest": "cmd_words"})


@labels.command()
@click.argument("name")
@options.which_labels
@options.template
@click.option(
    "--from-keywords",
    is_flag=True,
    help="The keywords that people gave the photos, those of most photos first. Look with --dry-run before.",
)
@click.option(
    "--min-photos",
    type=options.Whole(min=1),
    default=3,
    show_default=True,
    help="With --from-keywords: leave out keywords of fewer photos.",
)
@click.option(
    "--most", type=options.Whole(min=1), default=200, show_default=True, help="With --from-keywords: labels at most."
)
@click.option(
    "--whole", is_flag=True, help="With --from-keywords: hierarchies with all levels (owl, Birds), not their leaves."
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="With --from-keywords: leave out keywords, or levels of them, that match: 'people', '20??'. Repeatable.",
)
@click.option("--dry-run", is_flag=True, help="With --from-keywords: show the labels and their photos, save nothing.")
@options.library
@options.quiet
def save(
    name: str,
    label: tuple[str, ...],
    label_file: str | None,
    template: tuple[str, ...],
    from_keywords: bool,
    min_photos: int,
    most: int,
    whole: bool,
    exclude: tuple[str, ...],
    dry_run: bool,
    library: options.Place | None,
    quiet: bool,
) -> None:
    """Save labels as NAME, with their final prompts. An earlier NAME is kept as an older version."""
    if from_keywords and (label or label_file):
        raise click.UsageError("--from-keywords makes the labels; leave out --label and --labels")
    if not from_keywords and (whole or exclude or dry_run):
        raise click.UsageError("--whole, --exclude and --dry-run are for --from-keywords")
    chosen = None if from_keywords else options.labels_from(label, label_file, template, by=None)
    with options.open_library(library, create=not from_keywords) as opened:
        if from_keywords:
            found = opened.labels.from_keywords(min_photos=min_photos, most=most, whole=whole, exclude=exclude)
            if dry_run:
                rows = [(one.label, one.photos, ", ".join(one.spellings)) for one in found]
                click.echo(table(["label", "photos", "keywords"], rows, align=["left", "right", "left"]))
            if not found:
                raise click.ClickException(
                    f"no keyword that people gave is on {plural(min_photos, 'photo')} or more; zsindex sync reads them"
                )
            if dry_run:
                return
            chosen = options.labels_from(tuple(one.label for one in found), None, template, by=None)
        assert chosen is not None
        try:
            saved = opened.labels.save(name, chosen)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    note(
        f"saved {name}, version {saved.version}: {plural(len(saved), 'label')}. "
        f"Use it: zsindex classify --label-set {shlex.quote(name)}",
        quiet=quiet,
    )


@labels.command("list")
@options.library
@options.json_flag
def list_(library: options.Place | None, as_json: bool) -> None:
    """List the saved label sets."""
    with options.open_library(library) as opened:
        sets = opened.labels.list()
    rows = [(str(s.name), s.version, len(s), sum(len(prompts) for prompts in s.prompts)) for s in sets]
    if as_json:
        keys = ("name", "version", "labels", "prompts")
        write_json([dict(zip(keys, row, strict=True)) for row in rows], sys.stdout)
    elif rows:
        click.echo(table(["name", "version", "labels", "prompts"], rows, align=["left", "right", "right", "right"]))


@labels.command()
@click.argument("name")
@options.library
@options.json_flag
def history(name: str, library: options.Place | None, as_json: bool) -> None:
    """List the versions of a saved label set. NAME@VERSION names one wherever a label set is named."""
    from zsindex.classification.prompts import from_document

    with options.open_library(library) as opened:
        versions = opened.labels.history(name)
    sets = [from_document(v.body, name=name, version=v.version) for v in versions]
    rows = [
        (v.version, v.saved_at, len(s), sum(len(prompts) for prompts in s.prompts))
        for v, s in zip(versions, sets, strict=True)
    ]
    if as_json:
        keys = ("version", "saved_at", "labels", "prompts")
        write_json([dict(zip(keys, row, strict=True)) for row in rows], sys.stdout)
    else:
        shown = [(version, saved_at[:19].replace("T", " "), *counts) for version, saved_at, *counts in rows]
        click.echo(
            table(["version", "saved (UTC)", "labels", "prompts"], shown, align=["right", "left", "right", "right"])
        )


@labels.command()
@click.argument("name")
@options.library
@options.json_flag
def show(name: str, library: options.Place | None, as_json: bool) -> None:
    """Print a saved label set: its labels, one per line; with --json, all of it, in the form that --labels reads."""
    from zsindex.classification.prompts import to_document

    with options.open_library(library) as opened:
        found = opened.labels.get(name)
    if as_json:
        write_json(to_document(found), sys.stdout)
    else:
        write_names(found.labels, sys.stdout)


@labels.command()
@click.argument("name")
@options.library
@options.quiet
def remove(name: str, library: options.Place | None, quiet: bool) -> None:
    """Remove a saved label set with all its versions. Its prompts stay cached."""
    with options.open_library(library) as opened:
        opened.labels.remove(name)
    note(f"removed {name}", quiet=quiet)


@click.group()
@options.library_before
def templates() -> None:
    """Template sets: the built-in ones, and those saved in the library. --template takes their names."""


templates.commands = OnDemand({"attribute": "cmd_eval"})


@templates.command("save")
@click.argument("name")
@options.template
@options.library
@options.quiet
def save_templates(name: str, template: tuple[str, ...], library: options.Place | None, quiet: bool) -> None:
    """Save templates as NAME, replacing any set of that name."""
    with options.open_library(library, create=True) as opened:
        try:
            saved = opened.templates.save(name, template)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    note(f"saved {name}: {plural(len(saved), 'template')}. Use it: --template {shlex.quote(name)}", quiet=quiet)


@templates.command("list")
@options.library
@options.json_flag
def list_templates(library: options.Place | None, as_json: bool) -> None:
    """List the template sets."""
    from zsindex.classification.templates import BUILT_IN
    from zsindex.errors import LibraryNotFound

    try:
        with options.open_library(library) as opened:
            sets = opened.templates.list()
    except LibraryNotFound:
        sets = dict(BUILT_IN)  # available without a library
    if as_json:
        write_json({name: list(texts) for name, texts in sets.items()}, sys.stdout)
    else:
        rows = [(name, "built in" if name in BUILT_IN else "saved", len(texts)) for name, texts in sets.items()]
        click.echo(table(["name", "", "templates"], rows, align=["left", "left", "right"]))


@templates.command("show")
@click.argument("name")
@options.library
@options.json_flag
def show_templates(name: str, library: options.Place | None, as_json: bool) -> None:
    """Print the templates of a set, one per line."""
    from zsindex.classification.templates import BUILT_IN

    if name in BUILT_IN:
        texts = BUILT_IN[name]
    else:
        with options.open_library(library) as opened:
            texts = opened.templates.get(name)
    if as_json:
        write_json(list(texts), sys.stdout)
    else:
        write_names(texts, sys.stdout)


@templates.command("remove")
@click.argument("name")
@options.library
@options.quiet
def remove_templates(name: str, library: options.Place | None, quiet: bool) -> None:
    """Remove a saved template set. Label sets made with it keep their prompts."""
    with options.open_library(library) as opened:
        opened.templates.remove(name)
    note(f"removed {name}", quiet=quiet)

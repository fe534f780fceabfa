"""zsindex correct, zsindex next"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from . import options
from .output import (
    CSV,
    PATHS,
    destination,
    format_option,
    note,
    plural,
    table,
    write_csv,
    write_json,
    write_names,
    write_ndjson,
)

if TYPE_CHECKING:
    from zsindex.lab.corrections import CorrectedPhoto
    from zsindex.lab.next import Suggestion


@click.command()
@click.argument("path", required=False)
@click.argument("label", required=False)
@click.option("--label-set", required=True, metavar="NAME", help="The saved label set that LABEL belongs to.")
@click.option("--not", "not_labels", multiple=True, metavar="LABEL", help="PATH does not show LABEL. Repeatable.")
@click.option(
    "--csv", "file", metavar="FILE|-", help="Read corrections from a CSV table with the columns path, label and not."
)
@click.option("--forget", multiple=True, metavar="PATH", help="Withdraw all corrections of PATH. Repeatable.")
@click.option("--undo", is_flag=True, help="Undo the last step.")
@click.option(
    "--list",
    "show",
    is_flag=True,
    help="List the corrections in effect; with --format csv, in the form that --csv reads.",
)
@format_option
@options.output
@options.library
@options.quiet
def correct(
    path: str | None,
    label: str | None,
    label_set: str,
    not_labels: tuple[str, ...],
    file: str | None,
    forget: tuple[str, ...],
    undo: bool,
    show: bool,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
) -> None:
    """Record what a photo shows: a label, group or negative of a label set.

    Corrections belong to the photo's content and the label set: they are kept when the photo is moved, when another
    model is used, and when the label set changes. zsindex classify --with-corrections uses them.

    \b
    zsindex correct beach.jpg "a beach" --label-set holidays
    zsindex correct beach.jpg --not "a desert" --label-set holidays
    """
    from zsindex.lab.corrections import parse_csv

    ways = {
        "PATH": path is not None,
        "--csv": file is not None,
        "--forget": bool(forget),
        "--undo": undo,
        "--list": show,
    }
    if sum(ways.values()) != 1:
        raise click.UsageError(f"use one of {', '.join(ways)}")
    if path is not None and (label is None) == (not not_labels):
        raise click.UsageError("say what PATH shows with LABEL, or what it does not show with --not LABEL")
    if path is None and not_labels:
        raise click.UsageError("--not needs a PATH")
    with options.open_library(library, quiet=quiet) as opened:
        if show:
            found = opened.corrections.list(label_set)
            with destination(output) as out:
                _write_corrections(found, fmt, out)
            _explain_unknown(found, label_set, quiet=quiet)
        elif undo:
            n = opened.corrections.undo(label_set)
            note(f"undid {plural(n, 'correction')}" if n else "nothing to undo", quiet=quiet)
        elif forget:
            n = opened.corrections.forget(label_set, forget)
            note(f"withdrew the corrections of {plural(n, 'photo')}", quiet=quiet)
        else:
            if file is not None:
                text, name, _ = options.read_text(file)
                said: Sequence[tuple[str, str, bool]] = parse_csv(text, source=name)
            else:
                assert path is not None
                said = [(path, label, False)] if label is not None else [(path, other, True) for other in not_labels]
            n = opened.corrections.add_all(label_set, said)
            quoted = shlex.quote(label_set)
            note(
                f"kept {plural(n, 'correction')}. To use them: zsindex classify --label-set {quoted} "
                "--with-corrections",
                quiet=quiet,
            )


def _explain_unknown(found: list[CorrectedPhoto], label_set: str, *, quiet: bool) -> None:
    unknown = sorted({name for photo in found for name in photo.unknown})
    if unknown:
        note(f"kept but not used, because {label_set} has no such label: {', '.join(unknown)}", quiet=quiet)
    gone = sum(not photo.paths for photo in found)
    if gone:
        note(f"{plural(gone, 'corrected photo')} no longer in the library: kept, in case of a return", quiet=quiet)


def _write_corrections(found: list[CorrectedPhoto], fmt: str, out: IO[str]) -> None:
    def rows() -> Iterator[tuple[str, str, str]]:
        for photo in found:
            if photo.paths:
                if photo.label is not None:
                    yield photo.paths[0], photo.label, ""
                for name in photo.not_labels:
                    yield photo.paths[0], name, "yes"

    if fmt == "json":
        write_json([photo.to_dict() for photo in found], out)
    elif fmt == "ndjson":
        write_ndjson((photo.to_dict() for photo in found), out)
    elif fmt in CSV:
        write_csv(["path", "label", "not"], rows(), out, fmt=fmt)
    elif fmt in PATHS:
        write_names((photo.paths[0] for photo in found if photo.paths), out, fmt=fmt)
    elif found:
        shown = [
            (photo.label or "", ", ".join(photo.not_labels), *(photo.paths[:1] or [f"(gone: {photo.digest[:12]})"]))
            for photo in found
        ]
        out.write(table(["label", "not", "photo"], shown) + "\n")


@click.command()
@click.option("--label-set", required=True, metavar="NAME", help="A saved label set.")
@click.option("-n", "n", type=options.Whole(min=1), default=10, show_default=True, help="Photos to suggest.")
@options.template
@options.within
@options.truncate
@format_option
@options.output
@options.library
@options.which_model
@options.quiet
def next(
    label_set: str,
    n: int,
    template: tuple[str, ...],
    paths: tuple[str, ...],
    truncate: bool,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Suggest photos to label next: unsure ones that stand for many others.

    Earlier corrections are learnt from, as in zsindex classify --with-corrections; their photos are not suggested
    again.
    """
    with options.open_library(library, quiet=quiet, **model) as opened:
        found = opened.corrections.next(label_set, n, template=template or None, paths=paths or None, truncate=truncate)
    with destination(output) as out:
        _write_suggestions(found, fmt, out)
    note(
        f"{plural(len(found), 'photo')}; for each: zsindex correct PATH LABEL --label-set {shlex.quote(label_set)}",
        quiet=quiet,
    )


def _write_suggestions(found: list[Suggestion], fmt: str, out: IO[str]) -> None:
    if fmt == "json":
        write_json([photo.to_dict() for photo in found], out)
    elif fmt == "ndjson":
        write_ndjson((photo.to_dict() for photo in found), out)
    elif fmt in CSV:
        header = ["path", "label", "score", "second", "second_score", "margin"]
        rows = ([p.path, p.label, p.score, p.second, p.second_score, p.margin] for p in found)
        write_csv(header, rows, out, fmt=fmt)
    elif fmt in PATHS:
        write_names((photo.path for photo in found), out, fmt=fmt)
    elif found:
        shown = [(p.label, f"{p.score:.3f}", p.second, f"{p.second_score:.3f}", p.path) for p in found]
        aligned = ["left", "right", "left", "right", "left"]
        out.write(table(["label", "score", "second", "score", "photo"], shown, align=aligned) + "\n")

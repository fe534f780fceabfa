"""zsindex duplicates"""

from __future__ import annotations

from collections.abc import Iterator
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
    size,
    table,
    width_of,
    write_columns,
    write_csv,
    write_json,
    write_lines,
    write_names,
    write_ndjson,
)
from .progress import Reporter

if TYPE_CHECKING:
    from zsindex.lab.decisions import Decision
    from zsindex.lab.duplicates import Duplicate, Duplicates, Level
    from zsindex.where import Where


@click.command(cls=options.Filtered)
@click.option(
    "--threshold",
    type=options.Real(0, 1, min_open=True),
    help="Minimum cosine of near-duplicates; 1 finds identical pictures only.  [default: 0.95, which suits nano]",
)
@click.option(
    "--show-threshold", is_flag=True, help="Show example pairs at several cosines instead, to help choose a threshold."
)
@click.option(
    "--each",
    type=options.Whole(min=1),
    default=2,
    show_default=True,
    help="Pairs that --show-threshold shows per cosine.",
)
@click.option("--no-look", is_flag=True, help="Do not read photos: go by vectors, pixel counts and file sizes alone.")
@click.option(
    "--different",
    nargs=2,
    multiple=True,
    metavar="PATH PATH",
    help="Remember that two photos are different: they will not be in one group again. Repeatable.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="PATH",
    help="Remember to keep PATH: it will not be suggested for removal. Repeatable.",
)
@click.option("--forget", multiple=True, metavar="PATH", help="Withdraw all decisions about PATH. Repeatable.")
@click.option("--undo", is_flag=True, help="Undo the last step of decisions.")
@click.option("--decisions", "show", is_flag=True, help="List the decisions in effect.")
@options.filters
@format_option
@options.output
@options.library
@options.which_model
@options.quiet
def duplicates(
    threshold: float | None,
    show_threshold: bool,
    each: int,
    no_look: bool,
    different: tuple[tuple[str, str], ...],
    keep: tuple[str, ...],
    forget: tuple[str, ...],
    undo: bool,
    show: bool,
    paths: tuple[str, ...],
    where: Where | None,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Find identical and near-identical photos, and suggest which ones to keep.

    Near-duplicates have similar vectors and, if both can be read, show the same picture. The one to keep has the most
    pixels; among equals it is the sharpest, then the largest file. Nothing is deleted: --format paths prints the
    others, for review or for a pipe.

    What you decide with --different and --keep belongs to the content of the photos, and is respected from then on.

    \b
    zsindex duplicates --show-threshold
    zsindex duplicates --threshold 0.98 --format paths > to-look-at.txt
    zsindex duplicates --different before.jpg after.jpg --keep scan.tif
    zsindex duplicates --decisions --format csv > decisions.csv
    """
    ways = {
        "--different and --keep": bool(different or keep),
        "--forget": bool(forget),
        "--undo": undo,
        "--decisions": show,
        "--show-threshold": show_threshold,
    }
    if sum(ways.values()) > 1:
        raise click.UsageError(f"use only one of {', '.join(ways)}")
    if any(ways.values()) and not show_threshold and (threshold is not None or no_look or paths):
        raise click.UsageError("--threshold, --no-look and --path are for finding duplicates, not for decisions")
    if show_threshold and (threshold is not None or no_look):
        raise click.UsageError("--show-threshold cannot be combined with --threshold or --no-look")
    with options.open_library(library, quiet=quiet, **model) as opened:
        if show:
            decided = opened.decisions.list()
            with destination(output) as out:
                _write_decisions(decided, fmt, out)
            return
        if different or keep:
            n = opened.decisions.add(different=different, keep=keep)
            note(f"kept {plural(n, 'decision')}; nothing was deleted. To undo: --undo", quiet=quiet)
            return
        if forget:
            n = opened.decisions.forget(forget)
            note(f"withdrew {plural(n, 'decision')}", quiet=quiet)
            return
        if undo:
            n = opened.decisions.undo()
            note(f"undid {plural(n, 'decision')}" if n else "nothing to undo", quiet=quiet)
            return
        if show_threshold:
            levels = opened.neighbours.duplicate_examples(each=each, paths=paths or None, where=where)
            with destination(output) as out:
                _write_levels(levels, fmt, out)
            note("choose the lowest cosine whose pairs you would call the same photo: --threshold COSINE", quiet=quiet)
            return
        with Reporter(quiet=quiet) as progress:
            chosen = {} if threshold is None else {"threshold": threshold}
            found = opened.neighbours.duplicates(
                paths=paths or None, where=where, look=not no_look, progress=progress, **chosen
            )
        with destination(output) as out:
            found = found.still_there()  # a pipe may have waited for its reader
            _write(found, fmt, out)
    _explain(found, quiet=quiet)


def _rows(found: Duplicates) -> Iterator[tuple[int, str, Duplicate]]:
    """(number of the group, what to do, photo)"""
    for number, group in enumerate(found.groups, start=1):
        yield number, "keep", group.keep
        for other in group.others:
            yield number, "copy" if other.exact else "near", other


def _write(found: Duplicates, fmt: str, out: IO[str]) -> None:
    if fmt == "json":
        write_json(found.to_dict(), out)
    elif fmt == "ndjson":
        write_ndjson((group.to_dict() for group in found.groups), out)
    elif fmt in CSV:
        header = ["group", "role", "cosine", "correlation", "width", "height", "size", "sharpness", "path"]
        write_csv(
            header,
            (
                [n, role, p.cosine, p.correlation, p.width, p.height, p.size, p.sharpness, p.path]
                for n, role, p in _rows(found)
            ),
            out,
            fmt=fmt,
        )
    elif fmt in PATHS:
        write_names(found.removable, out, fmt=fmt)
    else:
        rows = [_columns(role, photo) for _, role, photo in _rows(found)]
        widths = [width_of(column) for column in list(zip(*rows, strict=True))[:-1]]
        for at, (_, role, _) in enumerate(_rows(found)):
            if role == "keep" and at:
                out.write("\n")
            write_columns([rows[at]], widths, out)


def _columns(role: str, photo: Duplicate) -> list[str]:
    return [
        role,
        "" if role == "keep" else f"{photo.cosine:.4f}",
        f"{photo.width}×{photo.height}" if photo.width else "",
        size(photo.size),
        "" if photo.sharpness is None else f"sharpness {photo.sharpness:.0f}",
        photo.path,
    ]


def _write_levels(levels: list[Level], fmt: str, out: IO[str]) -> None:
    if fmt == "json":
        write_json([level.to_dict() for level in levels], out)
    elif fmt == "ndjson":
        write_ndjson((level.to_dict() for level in levels), out)
    elif fmt in CSV:
        rows = ([level.cosine, level.pairs, *example] for level in levels for example in level.examples)
        write_csv(["level", "pairs", "path", "other path", "cosine"], rows, out, fmt=fmt)
    elif fmt in PATHS:
        write_names((path for level in levels for *both, _ in level.examples for path in both), out, fmt=fmt)
    else:
        for level in levels:
            out.write(f"{level.cosine:g}: {plural(level.pairs, 'pair')} at or above\n")
            for one, other, cosine in level.examples:
                write_lines([f"    {cosine:.4f}  {one}", f"            {other}"], out)


def _write_decisions(found: list[Decision], fmt: str, out: IO[str]) -> None:
    if fmt == "json":
        write_json([one.to_dict() for one in found], out)
    elif fmt == "ndjson":
        write_ndjson((one.to_dict() for one in found), out)
    elif fmt in CSV:
        header = ["decision", "path", "other_path", "digest", "other_digest", "decided_at", "gone"]
        rows = (
            [d.kind, d.path, d.other_path, d.digest, d.other_digest, d.decided_at, "yes" if d.gone else ""]
            for d in found
        )
        write_csv(header, rows, out, fmt=fmt)
    elif fmt in PATHS:
        paths = (path for one in found for path in (one.path, one.other_path) if path is not None)
        write_names(dict.fromkeys(paths), out, fmt=fmt)
    elif found:
        shown = [
            (one.kind, one.decided_at[:10], " and ".join(filter(None, (one.path, one.other_path))), "(gone)" * one.gone)
            for one in found
        ]
        out.write(table(["decision", "when", "photo", ""], shown) + "\n")


def _explain(found: Duplicates, *, quiet: bool) -> None:
    if found.unread:
        n = plural(found.unread, "photo")
        note(f"{n} could not be read: compared by vectors alone", quiet=quiet)
    if found.left_out:
        note(
            f"{plural(found.left_out, 'photo')} left out: missing, changed since the last sync, or another name of a "
            "file that counts already",
            quiet=quiet,
        )
    kept = sum(group.keep.kept for group in found.groups)
    if found.apart or kept:
        note(
            f"as you decided: {plural(found.apart, 'pair')} of near-duplicates kept apart, {plural(kept, 'photo')} "
            "kept (zsindex duplicates --decisions)",
            quiet=quiet,
        )
    others = [other for group in found.groups for other in group.others]
    exact = sum(other.exact for other in others)
    counted = f"{exact:,} exact and {len(others) - exact:,} near copies besides the ones to keep"
    note(
        f"{plural(len(found.groups), 'group')} among {plural(found.photos, 'photo')}: {counted}, "
        f"{size(found.removable_bytes)}; nothing was deleted",
        quiet=quiet,
    )

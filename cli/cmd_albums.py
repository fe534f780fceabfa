"""zsindex albums save|list|show|export|tag|add|take-out|remove"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .cmd_search import Cut
from .cmd_tags import apply_option, finish, style_option
from .output import (
    CSV,
    PATHS,
    destination,
    format_option,
    note,
    plural,
    table,
    write_columns,
    write_csv,
    write_json,
    write_names,
    write_ndjson,
)
from .progress import Reporter, stop_on_interrupt

if TYPE_CHECKING:
    from zsindex.lab.albums import AlbumPhotos
    from zsindex.where import Where


@click.group()
@options.library_before
def albums() -> None:
    """Albums: a search, filters, or both, saved under a name, which follow the library; or photos that were chosen."""


@albums.command(cls=options.Filtered)
@click.argument("name")
@click.argument("query", required=False)
@click.option("--plus", multiple=True, metavar="TERM", help="Another term: text or image. Repeatable.")
@click.option("--minus", multiple=True, metavar="TERM", help="A term to steer away from. Repeatable.")
@click.option("--cut", type=Cut(), help="Only photos that fit, as for search; all of them, unless --top is given.")
@click.option("--top", type=options.Whole(min=1), help="Photos at most. Default: 100, or with --cut all that fit.")
@options.search_filters_without_paths
@options.exact
@options.truncate
@options.library
@options.quiet
def save(
    name: str,
    query: str | None,
    plus: tuple[str, ...],
    minus: tuple[str, ...],
    cut: float | str | None,
    without: tuple[str, ...],
    top: int | None,
    where: Where | None,
    exact: bool,
    truncate: bool,
    library: options.Place | None,
    quiet: bool,
) -> None:
    """Save what to search for, filters, or both as NAME, in place of an album of that name.

    \b
    zsindex albums save beaches "a beach" --cut auto --year 2019
    zsindex albums save owls --answer birds=owl:0.8 --not --camera iPhone
    """
    given: dict[str, Any] = {"plus": plus, "minus": minus, "without": without, "cut": cut, "top": top}
    given |= {"exact": exact, "truncate": truncate}
    with options.open_library(library) as opened:
        saved = opened.albums.save(
            name, query, where=where, **{key: one for key, one in given.items() if one not in (None, (), False)}
        )
    note(f"saved {saved.name}. Look at it: zsindex albums show {shlex.quote(saved.name)}", quiet=quiet)


@albums.command("list")
@options.library
@options.json_flag
def list_(library: options.Place | None, as_json: bool) -> None:
    """List the albums, with how many photos each held when somebody looked last."""
    with options.open_library(library) as opened:
        found = opened.albums.list()
    if as_json:
        write_json([one.to_dict() for one in found], sys.stdout)
    elif found:
        rows = [(one.name, one.n_seen if one.seen_at else "", _day(one.seen_at), one.question) for one in found]
        click.echo(table(["name", "photos", "seen (UTC)", "what"], rows, align=["left", "right", "left", "left"]))


@albums.command()
@click.argument("name")
@click.option("--new", is_flag=True, help="Only photos that came since somebody looked last. This is no look.")
@click.option("--gone", is_flag=True, help="Only the paths of photos that went since then. This is no look.")
@click.option("--peek", is_flag=True, help="This is no look: what is new stays new.")
@format_option
@options.output
@options.library
@options.which_model
@options.quiet
def show(
    name: str,
    new: bool,
    gone: bool,
    peek: bool,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Print the photos that an album holds now, and say what came and went since somebody looked last."""
    if new and gone:
        raise click.UsageError("--new and --gone are two lists: ask for one of them")
    with options.open_library(library, quiet=quiet, **model) as opened:
        contents = opened.albums.photos(name)
        with destination(output) as out:
            if gone:
                _write_gone(contents, fmt, out)
            else:
                _write(contents, fmt, out, only_new=new)
        if not (peek or new or gone or opened.read_only):
            opened.albums.seen(contents)  # once it could be seen
    note(_changes(contents), quiet=quiet)


@albums.command()
@click.argument("name")
@click.option(
    "--as",
    "form",
    type=click.Choice(["m3u", "links", "json", "paths", "paths0"]),
    default="m3u",
    show_default=True,
    help="A list for slideshow programs; a folder of links; all that is known; or names, one a line or with NULs.",
)
@options.output_or_links
@options.library
@options.which_model
@options.quiet
def export(
    name: str,
    form: str,
    output: options.Folder | Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Write an album's photos for other programs. A folder of links is brought up to date when it is exported again."""
    from zsindex.errors import ZsindexError
    from zsindex.lab.albums import playlist

    folder = output.path if isinstance(output, options.Folder) else output
    if form == "links" and (folder is None or str(folder) == "-"):
        raise click.UsageError("--as links needs a folder: -o FOLDER")
    if form != "links" and isinstance(output, options.Folder):
        raise click.UsageError(f"{output.path} is a folder, which --as links writes to")
    with options.open_library(library, quiet=quiet, **model) as opened:
        if form == "links":
            assert folder is not None
            try:
                made, removed = opened.albums.link(name, folder)
            except OSError as error:
                raise ZsindexError(f"cannot put links into {folder}: {error.strerror or error}") from error
            note(f"{folder}: {plural(made, 'link')} made, {removed:,} removed", quiet=quiet)
            return
        contents = opened.albums.photos(name)
    with destination(folder) as out:
        if form == "json":
            write_json(contents.to_dict(), out)
        elif form in PATHS:
            write_names(contents.paths, out, fmt=form)
        else:
            out.write(playlist(contents))


@albums.command()
@click.argument("name")
@click.option("--keyword", metavar="WORD", help="Default: the album's name.")
@style_option
@apply_option
@options.json_flag
@options.strict
@options.library
@options.which_model
@options.quiet
@click.pass_context
def tag(
    ctx: click.Context,
    /,
    name: str,
    keyword: str | None,
    style: str,
    apply: bool,
    as_json: bool,
    strict: bool,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Have an album's photos, and no others, carry its name as a keyword in their XMP sidecars.

    Shows what it would write; --apply writes it. Run it again when photos came or went. To take all of it back:
    zsindex tags retract --label-set album:NAME
    """
    with (
        options.open_library(library, quiet=quiet, **model) as opened,
        Reporter(quiet=quiet) as progress,
        stop_on_interrupt() as should_stop,
    ):
        report = opened.albums.tag(
            name, keyword=keyword, style=style, apply=apply, progress=progress, should_stop=should_stop
        )
    finish(ctx, report, as_json=as_json, strict=strict, quiet=quiet)


@albums.command()
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@options.library
@options.quiet
def add(name: str, paths: tuple[str, ...], library: options.Place | None, quiet: bool) -> None:
    """Put photos into NAME, an album of chosen ones, which begins with the first of them.

    \b
    zsindex albums add "best of 2019" IMG_4711.jpg IMG_4502.jpg
    """
    with options.open_library(library) as opened:
        made = opened.albums.add(name, paths)
    note(f"{made.name} has {plural(made.chosen or 0, 'photo')}", quiet=quiet)


@albums.command("take-out")
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@options.library
@options.quiet
def take_out(name: str, paths: tuple[str, ...], library: options.Place | None, quiet: bool) -> None:
    """Take photos out of NAME, an album of chosen ones. They stay where they are."""
    with options.open_library(library) as opened:
        made = opened.albums.take_out(name, paths)
    note(f"{made.name} has {plural(made.chosen or 0, 'photo')}", quiet=quiet)


@albums.command()
@click.argument("name")
@options.library
@options.quiet
def remove(name: str, library: options.Place | None, quiet: bool) -> None:
    """Remove an album. Its photos stay where they are."""
    with options.open_library(library) as opened:
        opened.albums.remove(name)
    note(f"removed {name}", quiet=quiet)


def _write(contents: AlbumPhotos, fmt: str, out: Any, *, only_new: bool) -> None:
    photos = contents.came if only_new else contents.photos
    if fmt == "json":
        write_json({**contents.to_dict(), "photos": [photo.to_dict() for photo in photos]}, out)
    elif fmt == "ndjson":
        write_ndjson((photo.to_dict() for photo in photos), out)
    elif fmt in CSV:
        rows = ([photo.path, photo.score, photo.taken_at, photo.is_new] for photo in photos)
        write_csv(["path", "score", "taken_at", "is_new"], rows, out, fmt=fmt)
    elif fmt in PATHS:
        write_names((photo.path for photo in photos), out, fmt=fmt)
    else:
        shown = (
            [
                "new" if photo.is_new else "",
                "" if photo.score is None else f"{photo.score:6.3f}",
                _day(photo.taken_at),
                photo.path + (f"  (+{len(photo.copies)} copies)" if photo.copies else ""),
            ]
            for photo in photos
        )
        has_scores = contents.album.query is not None
        write_columns(
            (row if has_scores else [row[0], *row[2:]] for row in shown), [3, *([6] if has_scores else []), 10], out
        )


def _write_gone(contents: AlbumPhotos, fmt: str, out: Any) -> None:
    if fmt == "json":
        write_json(list(contents.went), out)
    elif fmt == "ndjson":
        write_ndjson(({"path": path} for path in contents.went), out)
    elif fmt in CSV:
        write_csv(["path"], ([path] for path in contents.went), out, fmt=fmt)
    else:
        write_names(contents.went, out, fmt=fmt if fmt in PATHS else "paths")


def _changes(contents: AlbumPhotos) -> str:
    """What came and went, in words."""
    here = plural(len(contents.photos), "photo")
    if contents.album.seen_at is None:
        return f"{here}; nobody has looked at this album before"
    came, went = len(contents.came), len(contents.went)
    since = f"since {contents.album.seen_at[:16].replace('T', ' ')} UTC"
    return f"{here}: {came:,} came, {went:,} went {since}" if came or went else f"{here}: the same as {since[6:]}"


def _day(moment: str | None) -> str:
    return "" if moment is None else moment[:10]

"""zsindex search, zsindex similar"""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from zsindex.arguments import bounds

from . import options
from . import with_facts as facts
from .output import (
    CSV,
    PATHS,
    destination,
    export_option,
    note,
    require_file,
    write_columns,
    write_csv,
    write_json,
    write_names,
    write_ndjson,
)

if TYPE_CHECKING:
    from zsindex import Hit
    from zsindex.classification.options import Per
    from zsindex.where import Where


class Cut(click.ParamType[Any]):
    """``auto``, or a cosine similarity."""

    name = "auto|SIMILARITY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "auto":
            return value
        try:
            return bounds.real("a similarity", float(value), least=-1, most=1)
        except ValueError:
            self.fail(f"{value!r} is neither auto nor a number from -1 to 1, such as 0.25", param, ctx)


@click.command(cls=options.Filtered)
@click.argument("query")
@click.option("--plus", multiple=True, metavar="TERM", help="Another term: text or image. Repeatable.")
@click.option("--minus", multiple=True, metavar="TERM", help="A term to steer away from. Repeatable.")
@click.option(
    "--cut",
    type=Cut(),
    help="Only photos that fit: 'auto', for words, judges that by what is usual in the library; a number is the least"
    " similarity.",
)
@options.top
@options.search_filters
@options.sort
@options.one_per
@options.exact
@options.truncate
@facts.option
@export_option
@options.output
@options.library
@options.which_model
def search(
    query: str,
    plus: tuple[str, ...],
    minus: tuple[str, ...],
    cut: float | str | None,
    without: tuple[str, ...],
    top: int,
    paths: tuple[str, ...],
    where: Where | None,
    sort: str | None,
    one_per: Per | None,
    exact: bool,
    truncate: bool,
    with_facts: bool,
    with_place: bool,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    **model: Any,
) -> None:
    """Find photos by words, or by words and images together.

    A term that names an existing file or a photo of the library is taken as that image; text:TERM is always text.

    \b
    zsindex search "a beach" --plus "a dog" --minus person
    zsindex search "a beach" --cut auto --not "a dog"
    """
    require_file(fmt, output)
    asked = facts.Asked(fmt, with_facts, with_place)
    with options.open_library(library, **model) as opened:
        hits = opened.search(
            query,
            plus=plus,
            minus=minus,
            cut=cut,
            without=without,
            top=top,
            paths=paths or None,
            where=where,
            one_per=one_per,
            exact=exact,
            truncate=truncate,
        )
        shown = hits if sort is None else opened.photos.in_order(hits, sort)
        columns = asked.of(opened, [hit.path for hit in shown])
    if hits.note:
        click.echo(hits.note[0].upper() + hits.note[1:], err=True)
    with destination(output, binary=fmt == "parquet") as out:
        write(shown, fmt, out, columns, fits=hits.fitting is not None)
    if not hits and where is not None:
        note("no photo fits the filters")


@click.command(cls=options.Filtered)
@click.argument("image", type=options.FilePath())
@options.top
@options.filters
@options.sort
@options.exact
@facts.option
@export_option
@options.output
@options.library
@options.which_model
def similar(
    image: str,
    top: int,
    paths: tuple[str, ...],
    where: Where | None,
    sort: str | None,
    exact: bool,
    with_facts: bool,
    with_place: bool,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    **model: Any,
) -> None:
    """Find the photos most like IMAGE.

    IMAGE need not be in the library; if it is, the file itself need not be on this disk.
    """
    require_file(fmt, output)
    asked = facts.Asked(fmt, with_facts, with_place)
    with options.open_library(library, **model) as opened:
        hits = opened.similar(Path(image), top=top, paths=paths or None, where=where, exact=exact)
        hits = hits if sort is None else opened.photos.in_order(hits, sort)
        columns = asked.of(opened, [hit.path for hit in hits])
    with destination(output, binary=fmt == "parquet") as out:
        write(hits, fmt, out, columns)
    if not hits and where is not None:
        note("no photo fits the filters")


def write(hits: list[Hit], fmt: str, out: IO[Any], columns: facts.Columns | None, *, fits: bool = False) -> None:
    """Write hits in one of the formats; `out` is open for bytes if that is ``parquet``. Tables say what `fits`, if that
    is known, and lists of names leave out what does not.
    """
    if columns is not None:
        facts.write_hits(hits, columns, fmt, out, fits=fits)
    elif fmt == "parquet":
        from zsindex.classification import parquet

        parquet.write_hits(
            [(hit.path, hit.score, hit.copies) for hit in hits], out, fits=[hit.fits for hit in hits] if fits else None
        )
    elif fmt == "json":
        write_json([hit.to_dict() for hit in hits], out)
    elif fmt == "ndjson":
        write_ndjson((hit.to_dict() for hit in hits), out)
    elif fmt in CSV:
        rows = ([rank, hit.score, hit.path, *([hit.fits] if fits else [])] for rank, hit in enumerate(hits, 1))
        write_csv(["rank", "score", "path", *(["fits"] if fits else [])], rows, out, fmt=fmt)
    elif fmt in PATHS:
        write_names((hit.path for hit in hits if hit.fits is not False), out, fmt=fmt)
    else:
        write_columns(([f"{hit.score:6.3f}", _described(hit)] for hit in hits), [6], out)


def _described(hit: Hit) -> str:
    copies = f"  (+{len(hit.copies)} copies)" if hit.copies else ""
    return hit.path + copies + ("  (does not fit)" if hit.fits is False else "")

"""zsindex search, zsindex similar"""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from . import options
from . import with_facts as facts
from .output import (
    CSV,
    PATHS,
    destination,
    export_option,
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


@click.command()
@click.argument("query")
@click.option("--plus", multiple=True, metavar="TERM", help="Another term: text or image. Repeatable.")
@click.option("--minus", multiple=True, metavar="TERM", help="A term to steer away from. Repeatable.")
@options.top
@options.within
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
    top: int,
    paths: tuple[str, ...],
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
    """
    require_file(fmt, output)
    asked = facts.Asked(fmt, with_facts, with_place)
    with options.open_library(library, **model) as opened:
        hits = opened.search(
            query, plus=plus, minus=minus, top=top, paths=paths or None, one_per=one_per, exact=exact, truncate=truncate
        )
        columns = asked.of(opened, [hit.path for hit in hits])
    with destination(output, binary=fmt == "parquet") as out:
        write(hits, fmt, out, columns)


@click.command()
@click.argument("image", type=options.FilePath())
@options.top
@options.within
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
        hits = opened.similar(Path(image), top=top, paths=paths or None, exact=exact)
        columns = asked.of(opened, [hit.path for hit in hits])
    with destination(output, binary=fmt == "parquet") as out:
        write(hits, fmt, out, columns)


def write(hits: list[Hit], fmt: str, out: IO[Any], columns: facts.Columns | None) -> None:
    """Write hits in one of the formats; `out` is open for bytes if that is ``parquet``."""
    if columns is not None:
        facts.write_hits(hits, columns, fmt, out)
    elif fmt == "parquet":
        from zsindex.classification import parquet

        parquet.write_hits([(hit.path, hit.score, hit.copies) for hit in hits], out)
    elif fmt == "json":
        write_json([hit.to_dict() for hit in hits], out)
    elif fmt == "ndjson":
        write_ndjson((hit.to_dict() for hit in hits), out)
    elif fmt in CSV:
        rows = ([rank, hit.score, hit.path] for rank, hit in enumerate(hits, 1))
        write_csv(["rank", "score", "path"], rows, out, fmt=fmt)
    elif fmt in PATHS:
        write_names((hit.path for hit in hits), out, fmt=fmt)
    else:
        shown = ([f"{h.score:6.3f}", h.path + (f"  (+{len(h.copies)} copies)" if h.copies else "")] for h in hits)
        write_columns(shown, [6], out)

"""Answers with the facts of their photos in each row: ``--with-facts`` and ``--with-place``.

Apart from `answers`, whose rows without them are written several times as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from . import options
from .output import CSV, PATHS, write_csv, write_json, write_ndjson

if TYPE_CHECKING:
    from zsindex import Classification, Hit, Library

# By name a value of each photo.
Columns = Mapping[str, Sequence[Any]]

option: Callable[[Callable[..., Any]], Callable[..., Any]] = options.together(
    click.option(
        "--with-facts",
        is_flag=True,
        help="When and with what each photo was taken, its rating and keywords: in all formats but table and paths.",
    ),
    click.option("--with-place", is_flag=True, help="The same, and where it was taken."),
)


class Asked:
    """What is asked for of facts, in which format."""

    def __init__(self, fmt: str, with_facts: bool, with_place: bool) -> None:
        """Raises:
        click.UsageError: the format has no room for them.
        """
        self._place = with_place
        self.is_any = with_facts or with_place
        if self.is_any and fmt in ("table", *PATHS):
            flag = "--with-place" if with_place else "--with-facts"
            raise click.UsageError(f"{flag} is for --format csv, json, ndjson and parquet")

    def of(self, opened: Library, paths: Sequence[str]) -> Columns | None:
        """The columns that are asked for; None where none are."""
        return opened.photos.facts_columns(paths, place=self._place) if self.is_any else None


def row(facts: Columns, number: int) -> dict[str, Any]:
    """Those of one photo, without what is not known."""
    said = {name: values[number] for name, values in facts.items()}
    return {name: value for name, value in said.items() if value not in (None, [])}


def cells(facts: Columns, number: int) -> list[Any]:
    """Those of one photo, for a table of texts: keywords with ``;`` between them."""
    values = (values[number] for values in facts.values())
    return [";".join(value) if isinstance(value, list) else value for value in values]


def write_answers(
    result: Classification, facts: Columns, fmt: str, out: IO[Any], *, wide: bool = False, with_run: bool = False
) -> None:
    """Write a classification; see `zsindex.cli.answers.write`."""
    run = result.run.key if with_run else None
    last = [] if run is None else [run]
    if fmt == "parquet":
        result.to_parquet(out, wide=wide, facts=facts)
    elif fmt in CSV and wide:
        header = ["path", *result.wide_columns(), *facts, *(["run"] if run else [])]
        scores = (row for _, part in result.score_blocks() for row in part.tolist())
        rows = (
            [path, *values, *cells(facts, number), *last]
            for number, (path, values) in enumerate(zip(result.paths, scores, strict=True))
        )
        write_csv(header, rows, out, fmt=fmt)
    elif fmt in CSV:
        header = ["path", "rank", "label", "score", *facts, *(["run"] if run else [])]
        rows = (
            [one.path, rank, said.label, said.score, *cells(facts, number), *last]
            for number, one in enumerate(result)
            for rank, said in enumerate(one.predictions, start=1)
        )
        write_csv(header, rows, out, fmt=fmt)
    else:
        results = ({**one.to_dict(), "facts": row(facts, number)} for number, one in enumerate(result))
        if fmt == "ndjson":
            write_ndjson(({**one, "run": run} if run else one for one in results), out)
        else:
            document: dict[str, Any] = {"run": result.run.to_dict()}
            if result.smoothing is not None:
                document["smoothing"] = result.smoothing.to_dict()
            if result.coverage is not None:
                document["coverage"] = result.coverage.to_dict()
            write_json({**document, "results": list(results)}, out)


def write_hits(hits: Sequence[Hit], facts: Columns, fmt: str, out: IO[Any], *, fits: bool) -> None:
    """Write what was found; see `zsindex.cli.cmd_search.write`."""
    fitting = [hit.fits for hit in hits] if fits else None
    if fmt == "parquet":
        from zsindex.classification import parquet

        parquet.write_hits([(hit.path, hit.score, hit.copies) for hit in hits], out, fits=fitting, facts=facts)
    elif fmt in CSV:
        rows = (
            [rank, hit.score, hit.path, *([hit.fits] if fits else []), *cells(facts, rank - 1)]
            for rank, hit in enumerate(hits, 1)
        )
        write_csv(["rank", "score", "path", *(["fits"] if fits else []), *facts], rows, out, fmt=fmt)
    else:
        found = [{**hit.to_dict(), "facts": row(facts, number)} for number, hit in enumerate(hits)]
        (write_json if fmt == "json" else write_ndjson)(found, out)

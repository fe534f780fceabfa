"""Writing results: tables for people, JSON, NDJSON and CSV for programs. Results go to stdout, notes to stderr."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

FORMATS = ("table", "json", "ndjson", "csv", "paths")
# What answers can be written as, too.
EXPORTS = (*FORMATS, "parquet")
export_option = click.option(
    "--format",
    "fmt",
    type=click.Choice(EXPORTS),
    default="table",
    show_default=True,
    help="table for people; paths to pipe; the others for programs. parquet needs --output.",
)
format_option = click.option(
    "--format",
    "fmt",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="table for people; paths to pipe; the others for programs.",
)


def note(text: str, *, quiet: bool = False) -> None:
    """Say something about the work, on stderr."""
    if not quiet:
        click.echo(text, err=True)


def require_file(fmt: str, output: Path | None) -> None:
    """Refuse to write a table of bytes to a terminal or a pipe."""
    if fmt == "parquet" and output is None:
        raise click.UsageError("--format parquet is binary: name a file with --output FILE; - is stdout")


@contextmanager
def destination(file: Path | None, *, binary: bool = False) -> Iterator[IO[Any]]:
    """Stdout, for None and for ``-``; or what is named: a plain file appears only when it is whole, a pipe or a device is
    written to.
    """
    if file is None or str(file) == "-":
        yield sys.stdout.buffer if binary else sys.stdout
        return
    from zsindex import atomic
    from zsindex.errors import ZsindexError

    try:
        with atomic.writing(file, encoding=None if binary else "utf-8") as opened:
            yield opened
    except BrokenPipeError:
        raise  # whoever read it has seen enough, as with stdout
    except OSError as error:
        raise ZsindexError(f"cannot write {file}: {error.strerror or error}") from error


def write_json(document: Any, out: IO[str]) -> None:
    json.dump(document, out, ensure_ascii=False, indent=2)
    out.write("\n")


def write_ndjson(rows: Iterable[Any], out: IO[str]) -> None:
    for row in rows:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_csv(header: Sequence[str], rows: Iterable[Sequence[Any]], out: IO[str]) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, align: Sequence[str] | None = None) -> str:
    """A table for people; wide characters count as two columns."""
    from tabulate import tabulate

    return str(tabulate(list(rows), headers=list(header), tablefmt="simple", colalign=align, disable_numparse=True))


def write_columns(rows: Iterable[Sequence[str]], widths: Sequence[int], out: IO[str]) -> None:
    """Lines of padded columns, one at a time: for results that are too many to hold. The last one is not padded."""
    for row in rows:
        cells = [padded(cell, width) for cell, width in zip(row, widths, strict=False)]
        out.write("  ".join([*cells, *row[len(widths) :]]).rstrip() + "\n")


def padded(text: str, width: int) -> str:
    """A text and as many spaces as it is short of `width` columns of a terminal."""
    return text + " " * max(0, width - _columns(text))


def width_of(texts: Iterable[str]) -> int:
    """Columns that the widest text takes on a terminal."""
    return max((_columns(text) for text in texts), default=0)


def _columns(text: str) -> int:
    if text.isascii() and text.isprintable():
        return len(text)
    from wcwidth import wcswidth

    return max(0, wcswidth(text))


def size(n: int) -> str:
    """Bytes for people."""
    value = float(n)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def print_pairs(pairs: Mapping[str, Any]) -> None:
    """``name  value`` lines."""
    width = width_of(pairs)
    write_columns(([name, str(value)] for name, value in pairs.items()), [width], sys.stdout)

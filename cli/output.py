"""Writing results: tables for people, JSON, NDJSON and CSV for programs. Results go to stdout, notes to stderr."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from .streams import for_programs, shown

F = TypeVar("F", bound=Callable[..., Any])

EXCEL = "csv-excel"
CSV = ("csv", EXCEL)
# What --print0 turns `paths` into; not for users to name.
PATHS0 = "paths0"
PATHS = ("paths", PATHS0)
FORMATS = ("table", "json", "ndjson", *CSV, "paths")


def _chosen(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Replace the format by `PATHS0` if --print0 is given, which is parsed first."""
    if not ctx.params.pop("print0", False):
        return value
    if value != "paths" and ctx.get_parameter_source("fmt") is not click.core.ParameterSource.DEFAULT:
        raise click.UsageError(f"-0/--print0 is for --format paths, not {value}")
    return PATHS0


def formats(*names: str, default: str = "table", help: str) -> Callable[[F], F]:
    """--format with these choices, as `fmt`; and --print0 if `paths` is one of them."""
    chosen = click.option(
        "--format", "fmt", type=click.Choice(names), default=default, show_default=True, callback=_chosen, help=help
    )
    if "paths" not in names:
        return chosen
    print0 = click.option("-0", "--print0", is_flag=True, is_eager=True, help="End each path with NUL, for xargs -0.")
    return lambda function: chosen(print0(function))


export_option = formats(
    *FORMATS,
    "parquet",
    help="table for people; paths to pipe; csv-excel for spreadsheets; the others for programs. parquet needs "
    "--output.",
)
format_option = formats(
    *FORMATS, help="table for people; paths to pipe; csv-excel for spreadsheets; the others for programs."
)


def note(text: str, *, quiet: bool = False) -> None:
    """Print a note on stderr, on one line whatever names it contains."""
    if not quiet:
        click.echo(shown(text), err=True)


def require_file(fmt: str, output: object) -> None:
    """Refuse to write a binary table to a terminal or a pipe."""
    if fmt == "parquet" and output is None:
        raise click.UsageError("--format parquet is binary: name a file with --output FILE; - is stdout")


@contextmanager
def destination(file: Path | None, *, binary: bool = False) -> Iterator[IO[Any]]:
    """Stdout for None and ``-``; else what is named. A regular file appears only once it is complete; others are
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
        raise  # the reader has seen enough, as with stdout
    except OSError as error:
        raise ZsindexError(f"cannot write {file}: {error.strerror or error}") from error


def write_json(document: Any, out: IO[str]) -> None:
    for_programs(out)
    json.dump(document, out, ensure_ascii=False, indent=2)
    out.write("\n")


def write_ndjson(rows: Iterable[Any], out: IO[str]) -> None:
    for_programs(out)
    for row in rows:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_csv(header: Sequence[str], rows: Iterable[Sequence[Any]], out: IO[str], *, fmt: str = "csv") -> None:
    """Write a table as CSV; `fmt` is one of `CSV`."""
    start_csv(out, fmt)
    end = csv_end(fmt)
    if fmt == EXCEL:
        rows = ([harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    out.writelines(line + end for line in csv_lines(chain([header], rows)))


class _Rows(list[str]):
    """A file, as far as `csv.writer` is concerned, that keeps each row separate."""

    write = list.append


def csv_lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Rows as the module `csv` writes them, without the ends of their lines."""
    written = _Rows()
    # With these two it quotes cells that hold either, and readers take either for the end of a line.
    writer = csv.writer(written, lineterminator="\r\n")
    for row in rows:
        writer.writerow(row)
        yield written.pop()[:-2]


def csv_end(fmt: str) -> str:
    """How lines of a format of `CSV` end."""
    return "\r\n" if fmt == EXCEL else "\n"


def start_csv(out: IO[str], fmt: str) -> None:
    """Begin a file in a format of `CSV`."""
    for_programs(out)
    if fmt == EXCEL:
        out.write("\ufeff")  # or Excel assumes the local code page


# A spreadsheet takes a cell that begins with one of these for a formula, which can start programs and send away what
# other cells hold. The full-width ones come from Japanese keyboards.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def harmless(text: str) -> str:
    """Escape a text so that a spreadsheet shows it rather than computing it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_names(names: Iterable[str], out: IO[str], *, fmt: str = "paths") -> None:
    """Write paths, or labels, for programs that read one per line; `fmt` is one of `PATHS`."""
    for_programs(out, names=True)
    end = "\0" if fmt == PATHS0 else "\n"
    if out.isatty():
        names = map(shown, names)
    out.writelines(name + end for name in names)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, align: Sequence[str] | None = None) -> str:
    """A table for people; wide characters count as two columns."""
    from tabulate import tabulate

    cells = [[shown(cell) if isinstance(cell, str) else cell for cell in row] for row in (header, *rows)]
    return str(tabulate(cells[1:], headers=cells[0], tablefmt="simple", colalign=align, disable_numparse=True))


def write_lines(texts: Iterable[str], out: IO[str]) -> None:
    """Write lines for people."""
    out.writelines(f"{shown(text)}\n" for text in texts)


def write_columns(rows: Iterable[Sequence[str]], widths: Sequence[int], out: IO[str]) -> None:
    """Lines of padded columns, one at a time: for results that are too many to hold. The last one is not padded."""
    for texts in rows:
        row = [shown(text) for text in texts]
        cells = [padded(cell, width) for cell, width in zip(row, widths, strict=False)]
        out.write("  ".join([*cells, *row[len(widths) :]]).rstrip() + "\n")


def padded(text: str, width: int) -> str:
    """Pad a text with spaces to `width` columns of a terminal."""
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

"""Text files that people hand over: decoded whatever program wrote them, and tables with a line of column names."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

# A mark that another one begins with comes after it: UTF-32's starts like UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
DELIMITERS = (",", ";", "\t")
# A row per photo for ten million photos.
MAX_BYTES = 2**30


class UnreadableText(ValueError):
    """A text file cannot be read; the message says why, and what to do."""


def read(file: Path) -> str:
    """Read a text file.

    Raises:
        UnreadableText: there is none, it cannot be read, or it is in an encoding that `decode` does not know.
    """
    try:
        with file.open("rb") as opened:
            return decode(read_from(opened))
    except OSError as error:
        raise UnreadableText(error.strerror or str(error)) from error


def read_from(opened: IO[bytes]) -> bytes:
    """All that a file or pipe holds, of which nobody knows how much it is.

    Raises:
        UnreadableText: it is too large.
        OSError
    """
    data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UnreadableText(f"it is larger than {MAX_BYTES >> 30} GB; divide it into several files")
    return data


def decode(data: bytes) -> str:
    """Decode UTF-8, and UTF-16 and UTF-32 with a byte order mark, which is dropped; UTF-16 also without one.

    Raises:
        UnreadableText: it is none of these. Which of the many older encodings it is cannot be told from the bytes.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding)
    # UTF-16 of alphabets has a NUL in every other place, and none in the others; no text has any in UTF-8.
    nuls = data[::2].count(0), data[1::2].count(0)
    if min(nuls) == 0 and max(nuls) > len(data) / 5 and len(data) % 2 == 0:
        return _decoded(data, "utf-16-le" if nuls[1] else "utf-16-be")
    return _decoded(data, "utf-8")


def _decoded(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        if encoding != "utf-8":
            raise UnreadableText(f"line {line}: the {encoding.upper()} text is damaged") from error
        raise UnreadableText(
            f"line {line} is not UTF-8 text. If it is Windows-1252 or Latin-1, save it as UTF-8, or convert it: "
            "iconv -f WINDOWS-1252 -t UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UnreadableText(f"line {line} holds a NUL character, which no text has")
    return text


def table(
    text: str, *, required: Sequence[str], optional: Collection[str] = (), names: Mapping[str, str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a table whose first line names its columns, in any order and in upper or lower case.

    Between cells stands a comma, a semicolon or a tab: whichever it is with which the first line names what is needed.
    Excel's ``sep=;`` before that line is understood. Other columns, and blank lines, are passed over.

    Args:
        required, optional: columns, in lower case.
        names: further names of columns: ``{"filename": "path"}``.

    Yields:
        The number of the line, from 1, on which a row ends, and its cells by column; a missing one is empty.

    Raises:
        UnreadableText: a column is missing, or a line is no CSV; it is named.
    """
    lines, first_line = text.removeprefix("\ufeff"), 1
    delimiters: Sequence[str] = DELIMITERS
    opening, _, rest = lines.partition("\n")
    if (told := opening.rstrip("\r")).lower() in [f"sep={delimiter}" for delimiter in DELIMITERS]:
        delimiters, lines, first_line = told[-1], rest, 2
    wanted = (*required, *optional)

    def rows_by(delimiter: str) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter, strict=True)
        try:
            yield from ((reader.line_num + first_line - 1, row) for row in reader if any(cell.strip() for cell in row))
        except csv.Error as error:
            raise UnreadableText(f"line {reader.line_num + first_line - 1}: {error}") from error

    def columns_by(delimiter: str) -> list[str]:
        _, header = next(rows_by(delimiter), (0, list[str]()))
        found = [name.strip().casefold() for name in header]
        return [name if name in wanted else (names or {}).get(name, name) for name in found]

    delimiter = max(delimiters, key=lambda delimiter: len(set(wanted).intersection(columns_by(delimiter))))
    columns = columns_by(delimiter)
    if missing := [name for name in required if name not in columns]:
        there = ", ".join(name for name in columns if name)[:200] or "nothing"
        needed = f"{'columns' if required[1:] else 'column'} {' and '.join(required)}"
        raise UnreadableText(f"its first line must name the {needed}; {missing[0]} is missing from {there}")
    if twice := [name for name in wanted if columns.count(name) > 1]:
        raise UnreadableText(f"its first line names the column {twice[0]} twice")
    rows = rows_by(delimiter)
    next(rows)  # the names
    for line, row in rows:
        cells = dict(zip(columns, row, strict=False))
        if absent := [name for name in required if name not in cells]:
            raise UnreadableText(f"line {line}: there is no {absent[0]}")
        yield line, {name: cells.get(name, "") for name in wanted}

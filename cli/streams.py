"""The standard streams: what is written to stdout arrives, or the exit code says that it did not."""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

# What a shell reports for a program that SIGPIPE ended, as most programs end when their reader has seen enough.
READER_GONE = 128 + 13

# Control characters, which a terminal may obey; line ends that `str.splitlines` knows; marks that change the direction
# of text; and lone surrogates, which no encoding can represent.
_HIDDEN = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSHOWABLE = re.compile(f"[\t\n\r{_HIDDEN}]")
# Our own output has lines, tabs and bold headings; on stderr also a progress bar, which returns to the start of its
# line.
_UNSENDABLE = re.compile(f"[\r{_HIDDEN}](?:(?<=\x1b)\\[[01]m|(?<=\r)\n)?")
_UNSENDABLE_TO_STDERR = re.compile(f"[{_HIDDEN}]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def shown(text: str) -> str:
    """Make a name safe to show to people: on one line, and without anything that a terminal would obey."""
    return text if text.isprintable() else _UNSHOWABLE.sub(_escaped, text)


def visible(text: str) -> str:
    """Make several lines safe to show to people."""
    return _UNSENDABLE.sub(_escaped, text)


def all_shown(texts: Sequence[str]) -> Sequence[str]:
    """`shown` of many."""
    return texts if "".join(texts).isprintable() else [shown(text) for text in texts]


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    if len(letter) > 1:
        return letter
    # JSON reads the longer form as well.
    return _SHORT.get(letter) or (f"\\x{ord(letter):02x}" if letter < "\x7f" else f"\\u{ord(letter):04x}")


class OutputFailed(Exception):
    """Stdout takes no more. Not an `OSError`: those are reported as failures of whatever was being read or written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.reader_is_gone = error.errno == errno.EPIPE


class _Stdout(io.FileIO):
    """File descriptor 1. After its first failure it discards what comes, or Python's own exit would fail again."""

    failed = False

    def write(self, data: Any) -> int:
        if self.failed:
            return len(data)
        try:
            while (written := super().write(data)) is None:  # someone made the pipe non-blocking
                import select

                select.select([], [self], [])
        except OSError as error:
            self.failed = True
            raise OutputFailed(error) from error
        return written


class _Stderr(io.FileIO):
    """File descriptor 2. It ignores failures: a sync must not end because nobody can see its progress."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


class _Text(io.TextIOWrapper):
    """Text for people. File names, labels and server responses may hold what a terminal would obey."""

    unsendable: re.Pattern[str] | None = _UNSENDABLE

    def write(self, text: str) -> int:
        super().write(text if self.unsendable is None else self.unsendable.sub(_escaped, text))
        return len(text)


def for_programs(out: IO[str], *, names: bool = False) -> None:
    """Write what follows as it is, in UTF-8: the same bytes whatever the locale, and as in a file.

    On a terminal it stays escaped, since people look at it.

    Args:
        names: file names come as the bytes that they are, so that programs find the files. Otherwise what is not valid
            text is escaped as in JSON.
    """
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(encoding="utf-8", errors="surrogateescape" if names else "backslashreplace", newline="")
    if isinstance(out, _Text) and not out.isatty():
        out.unsendable = None


@contextmanager
def standard_streams() -> Iterator[None]:
    """Replace Python's streams, which report failures as tracebacks or not at all, by our own.

    Raises:
        SystemExit: 1 if stdout did not take everything, with a message on stderr; `READER_GONE`, silently, if its
            reader was satisfied with less.
    """
    # Otherwise the next file to be opened would get the number of a closed stream, and the text meant for that stream.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free; writing to it fails as before
    before = sys.stdin, sys.stdout, sys.stderr
    # A reader gets the end of the file rather than a traceback.
    nothing = open(os.devnull, encoding="utf-8") if sys.stdin is None else None  # noqa: SIM115
    sys.stdin = sys.stdin or nothing
    sys.stdout = _text(_Stdout(1, "wb", closefd=False), like=before[1])
    sys.stderr = _text(_Stderr(2, "wb", closefd=False), like=before[2], line_buffering=True)
    sys.stderr.unsendable = _UNSENDABLE_TO_STDERR
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OutputFailed as failure:
        if failure.reader_is_gone:
            raise SystemExit(READER_GONE) from None
        sys.stderr.write(f"Error: cannot write to stdout: {failure}\n")
        raise SystemExit(1) from None
    finally:
        sys.stderr.flush()
        sys.stdin, sys.stdout, sys.stderr = before
        if nothing is not None:
            nothing.close()


def _text(raw: io.FileIO, *, like: Any, line_buffering: bool = False) -> _Text:
    encoding = getattr(like, "encoding", None) or "utf-8"
    if codecs.lookup(encoding).name == "ascii":
        # click takes ascii for a mistake and writes UTF-8; with two encodings, lines would come out of order.
        encoding = "utf-8"
    errors = getattr(like, "errors", None)
    return _Text(
        io.BufferedWriter(raw),
        encoding=encoding,
        # What the locale cannot represent is escaped rather than refused.
        errors=errors if errors in ("replace", "ignore", "xmlcharrefreplace", "namereplace") else "backslashreplace",
        line_buffering=line_buffering or raw.isatty(),
    )

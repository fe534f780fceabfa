"""Photos in an archive, which is sent while it is made: neither a file of its own nor all of it in memory."""

from __future__ import annotations

import os
import re
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import IO, NamedTuple, cast

# Of what is handed out at a time.
PIECE_BYTES = 1 << 18
MISSING = "not in this archive.txt"
_FIRST_YEAR, _LAST_YEAR = 1980, 2107  # that an archive can say
# What some system takes for more than a letter of a name.
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f\\/:*?"<>|]')


class Entry(NamedTuple):
    """A photo.

    Attributes:
        path: of its file, which gives it its name.
        data: its bytes; None if it cannot be had.
        mtime_ns: of its file.
        why: there are no bytes.
    """

    path: str
    data: bytes | None
    mtime_ns: int = 0
    why: str = ""


class _Sink:
    """What an archive is written to: pieces that wait to be sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            for start in range(0, len(piece), PIECE_BYTES):
                yield piece[start : start + PIECE_BYTES]


def zipped(entries: Iterable[Entry]) -> Iterator[bytes]:
    """An archive with photos as they are, uncompressed: their formats are compressed already.

    Names are those of the files; of several with one name all but the first get a number, also where only upper and
    lower case tell them apart. What cannot be had is listed in the text `MISSING`, with the reason.
    """
    sink = _Sink()
    taken = {MISSING.casefold()}
    missing = []
    with zipfile.ZipFile(cast("IO[bytes]", sink), "w") as archive:
        for entry in entries:
            if entry.data is None:
                missing.append(f"{entry.path}: {entry.why}".encode("utf-8", "replace").decode())
                continue
            archive.writestr(zipfile.ZipInfo(_unique(entry.path, taken), _date(entry.mtime_ns)), entry.data)
            yield from sink.taken()
        if missing:
            text = "\r\n".join([*missing, ""])
            archive.writestr(zipfile.ZipInfo(MISSING, time.localtime()[:6]), text)
    yield from sink.taken()


def _unique(path: str, taken: set[str]) -> str:
    name = _NOT_IN_NAMES.sub("_", os.path.basename(path).encode("utf-8", "replace").decode()).strip(" .") or "photo"
    stem, suffix = PurePath(name).stem, PurePath(name).suffix
    n = 1
    while name.casefold() in taken:
        n += 1
        name = f"{stem}-{n}{suffix}"
    taken.add(name.casefold())
    return name


def _date(mtime_ns: int) -> tuple[int, int, int, int, int, int]:
    at = time.localtime(mtime_ns / 1e9)
    if not _FIRST_YEAR <= at.tm_year <= _LAST_YEAR:
        return _FIRST_YEAR, 1, 1, 0, 0, 0
    return at.tm_year, at.tm_mon, at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec

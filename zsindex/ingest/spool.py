"""The files that a sync is to read, between its two passes."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO, Self

from zsindex.records import Candidate


class Spool:
    """Lists of files, in the order in which they came.

    In a temporary file, so that millions of them take no memory; in memory where none can be made, or none has room.
    """

    def __init__(self) -> None:
        self._size = 0  # of what is in the file for certain
        self._rest: list[bytes] = []
        try:
            # Unbuffered, which tells at once what could not be written.
            self._file: IO[bytes] | None = tempfile.TemporaryFile(prefix="zsindex-", buffering=0)  # noqa: SIM115
        except OSError:
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, files: Sequence[Candidate]) -> None:
        """Put files behind those that are there."""
        packed = pickle.dumps(files)
        if self._rest or not self._write(packed):
            self._rest.append(packed)

    def __iter__(self) -> Iterator[Candidate]:
        """All files, once."""
        if self._file is not None:
            self._file.seek(0)
            while self._file.tell() < self._size:
                yield from pickle.load(self._file)  # our own, which has no name for others to open
        for packed in self._rest:
            yield from pickle.loads(packed)

    def _write(self, packed: bytes) -> bool:
        try:
            if self._file is None or self._file.write(packed) != len(packed):
                return False
        except OSError:
            return False
        self._size += len(packed)
        return True

"""Photos, models and the index in a folder: `zsindex.storage.photos`, and claims among processes of one machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zsindex.storage.claims import Claim, Claims
from zsindex.storage.photos import SqlPhotos
from zsindex.storage.sqlite.database import SqliteDatabase

if sys.platform != "win32":
    import fcntl


class SqlitePhotos(SqlPhotos):
    """`zsindex.storage.protocol.PhotoStorage` over an open database."""

    def __init__(self, database: SqliteDatabase) -> None:
        super().__init__(database)
        self._folder = database.folder

    @contextmanager
    def claims(self, model_id: int, *, shared: bool = False) -> Iterator[Claims]:
        """Claims of images to be encoded under a model; see the protocol."""
        if not shared or sys.platform == "win32":  # where at worst two encode the same
            with super().claims(model_id) as alone:
                yield alone
            return
        claims = _LockedBytes(self._folder / "claims.lock", lambda digest: self.has_vector(digest, model_id))
        try:
            yield claims
        finally:
            claims.close()


class _LockedBytes:
    """Claims as locks on single bytes of an empty file, each at the place that a digest names. The system takes them
    from a process that ends. `fcntl` holds them for a process, not for a file: of one process one object claims.
    """

    def __init__(self, file: Path, is_known: Callable[[bytes], bool]) -> None:
        self._is_known = is_known
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)

    def take(self, digest: bytes) -> Claim:
        """See `Claims.take`."""
        if self._is_known(digest):
            return Claim.KNOWN
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._place(digest))
        except OSError:
            return Claim.ELSEWHERE
        if self._is_known(digest):  # it was stored in between
            self.release([digest])
            return Claim.KNOWN
        return Claim.MINE

    def release(self, digests: Iterable[bytes]) -> None:
        """See `Claims.release`."""
        for digest in digests:
            with suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._place(digest))

    def close(self) -> None:
        """Let go of all of them."""
        os.close(self._descriptor)

    @staticmethod
    def _place(digest: bytes) -> int:
        return int.from_bytes(digest[:8], "big") >> 2  # within what a file can be addressed by

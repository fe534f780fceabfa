"""A library in a folder: `library.db`, opened by `SqliteStorage.open`."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from zsindex.errors import LibraryDamaged
from zsindex.storage.failures import told
from zsindex.storage.sqlite import schema
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.storage.sqlite.fast_reads import FastReads
from zsindex.storage.sqlite.file import FILE_NAME
from zsindex.storage.sqlite.legible import legible
from zsindex.storage.sqlite.lock import FolderLock

if TYPE_CHECKING:
    from zsindex.storage.bulk import SqlBulk
    from zsindex.storage.jobs import SqlJobs
    from zsindex.storage.labels import SqlLabels
    from zsindex.storage.seals import Damaged
    from zsindex.storage.sqlite.photos import SqlitePhotos


# A million vectors are written in some ten seconds.
INDEX_TIMEOUT_S = 60.0
# What ``PRAGMA integrity_check`` says of indexes.
_OF_AN_INDEX = re.compile(r"missing from index|entries in index|entry in index|of index ")


class SqliteStorage:
    """`zsindex.storage.protocol.Storage` over an open database."""

    nearest = None  # its vectors are on this machine

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database
        self.folder = self.place = database.folder
        self.writable = self.keeps_snapshots = database.writable
        self.reads = FastReads(database)
        self.sync_lock = database.sync_lock
        self.facts_lock = self.sync_lock  # one sync at a time
        self.jobs_lock = FolderLock(database.folder, "jobs", timeout_s=0)
        self.index_lock = FolderLock(database.folder, "index", timeout_s=INDEX_TIMEOUT_S)

    @classmethod
    def open(cls, folder: Path, *, create: bool, read_only: bool = False) -> SqliteStorage:
        """Open the library in `folder`, making it if `create`, and bring its schema up to date.

        Raises:
            LibraryNotFound, NotALibrary, LibraryTooNew, LibraryReadOnly, LibraryDamaged, LibraryBusy, StorageFull
        """
        return cls(SqliteDatabase.open(folder, create=create, read_only=read_only))

    @staticmethod
    def is_at(folder: Path) -> bool:
        """Whether there is a library in `folder`, as far as its files' names tell.

        Raises:
            LibraryReadOnly, StorageFailed: it cannot be looked at.
        """
        with told(folder, "look for it"):
            return (folder / FILE_NAME).exists()

    # Imported with SQLAlchemy when there is something to store, or to ask that not every question asks.

    @cached_property
    def photos(self) -> SqlitePhotos:
        """Photos, models and the index."""
        from zsindex.storage.sqlite.photos import SqlitePhotos

        return SqlitePhotos(self.database)

    @cached_property
    def labels(self) -> SqlLabels:
        """The label lab's."""
        from zsindex.storage.labels import SqlLabels

        return SqlLabels(self.database)

    @cached_property
    def jobs(self) -> SqlJobs:
        """A service's jobs."""
        from zsindex.storage.jobs import SqlJobs

        return SqlJobs(self.database)

    @cached_property
    def bulk(self) -> SqlBulk:
        """Photos with vectors by the thousand."""
        from zsindex.storage.bulk import SqlBulk

        return SqlBulk(self.database)

    def require_open(self) -> None:
        """Raise `LibraryClosed` after `close`."""
        self.database.require_open()

    def require_writable(self, action: str) -> None:
        """Raise `LibraryReadOnly` unless writing is possible; `action` completes "cannot …"."""
        self.database.require_writable(action)

    def again(self, *, read_only: bool = False) -> SqliteStorage:
        """Another handle on the same library, which is closed by itself."""
        return SqliteStorage.open(self.folder, create=False, read_only=read_only)

    def close(self) -> None:
        """Let go of it; see `Database.close`."""
        self.database.close()

    def lags(self) -> bool:
        """Never."""
        return False

    def position(self) -> str:
        """None: nothing lags."""
        return ""

    def has_reached(self, position: str) -> bool:
        """Always."""
        return True

    def kept_snapshots(self) -> dict[int, str]:
        """None: where nothing can be stored, no index file can be written."""
        return {}

    def schema(self) -> str:
        """The revision of the schema."""
        return schema.HEAD

    def versions(self) -> dict[str, str]:
        """That of SQLite."""
        return {"sqlite": sqlite3.sqlite_version}

    def size_bytes(self) -> int:
        """Bytes of the database, its log included."""
        return self.database.size_bytes()

    def backups(self) -> list[Path]:
        """Copies of the database from before upgrades."""
        return self.database.backups()

    def vacuum(self) -> None:
        """Give the pages of deleted rows back to the disk."""
        self.database.vacuum()

    def problems(self) -> list[str]:
        """What SQLite itself finds wrong with the file; nothing, one hopes."""
        try:
            with self.database.reading() as connection, legible(connection):
                found = [row[0] for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
                found += [
                    f"row {row[1]} of {row[0]} refers to nothing in {row[2]}"
                    for row in connection.execute("PRAGMA foreign_key_check")
                ]
        except LibraryDamaged as error:
            return [error.detail]
        return found

    def rebuild_indexes(self) -> bool:
        """``REINDEX``, where all that is wrong is of an index."""
        if not all(_OF_AN_INDEX.search(problem) for problem in self.problems()):
            return False
        try:
            with self.database.writing("rebuild its indexes") as connection:
                connection.execute("REINDEX")
        except (LibraryDamaged, sqlite3.IntegrityError):
            return False
        return True

    def damaged_rows(self) -> list[Damaged]:
        """Rows whose checksum is not the one beside them, or in ``seals``."""
        from zsindex.storage import mending

        with self.database.read() as connection, self.database.dialect.legible(connection):
            return list(mending.find(connection, self.database.dialect))

    def mend(self, damaged: Sequence[Damaged]) -> list[str]:
        """Put right, or forget, damaged rows."""
        from zsindex.storage import mending

        with self.database.write("mend damaged rows") as connection, self.database.dialect.legible(connection):
            return mending.mend(connection, self.database.dialect, damaged)

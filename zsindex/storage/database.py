"""What the SQL of this room needs of a database that SQLAlchemy speaks to, and what each kind of them does its own way.

`photos`, `labels`, `jobs` and `bulk` are written against this, not against SQLite: their statements hold for any
database that SQLAlchemy knows. `zsindex.storage.sqlite` and `zsindex.storage.postgres` provide it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection


class Database(Protocol):
    """An open database."""

    @property
    def place(self) -> Path | str:
        """Stands for the library in messages."""
        ...

    @property
    def dialect(self) -> Dialect:
        """What this kind of database says in words of its own."""
        ...

    def read(self) -> AbstractContextManager[Connection]:
        """A read transaction: one consistent view, never blocked by a writer.

        Raises:
            LibraryClosed, LibraryDamaged, StorageFailed
        """
        ...

    def write(self, action: str) -> AbstractContextManager[Connection]:
        """A write transaction, rolled back as a whole if anything goes wrong. No two of them run at a time, in whatever
        process: what is read in one still holds when it is committed, and `embeddings.seq` grows in the order of the
        commits.

        Args:
            action: completes "cannot …" in the error of a read-only library.

        Raises:
            LibraryClosed, LibraryReadOnly, LibraryBusy, ModelPruned, StorageFull, StorageFailed, LibraryDamaged
        """
        ...


class Dialect(Protocol):
    """What SQL has no common words for, or no fast ones."""

    def any_of(self, parameter: str, kind: type[int] | type[str]) -> sa.Select[Any]:
        """The values of a parameter that `many` has made, as a query: for ``column.in_(…)``."""
        ...

    def many(self, values: Iterable[int] | Iterable[str]) -> Any:
        """Any number of values as one parameter."""
        ...

    def legible(self, connection: Connection) -> AbstractContextManager[None]:
        """While it lasts, what is no text any more reads as one, with marks where it is damaged, and not as an error:
        for whoever looks at the checksums of what they read.
        """
        ...

    def image_ids(
        self, connection: Connection, digests: Collection[bytes], *, verify: bool = False
    ) -> dict[bytes, int]:
        """Ids of the images with these digests, of those that are known, however many there are.

        Args:
            verify: look at the rows themselves, not only at an index of them, and warn of damaged ones.
        """
        ...

    def add_rows(
        self,
        connection: Connection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
        *,
        unless_there: bool = False,
    ) -> None:
        """Insert rows whose values are in the order of `columns` and of the types of the driver; any number of rows.

        Past SQLAlchemy, which looks at each value of each row: that takes longer than storing them.

        Args:
            unless_there: leave out those that are there already, by a unique column.
        """
        ...

    def change_rows(
        self, connection: Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Set columns of rows, of which the first one is the id, in the order of `columns`; any number of rows."""
        ...

    def files_named(
        self, connection: Connection, wanted: Mapping[str, Collection[str]], query: sa.Select[Any]
    ) -> Iterator[tuple[str, Sequence[Any]]]:
        """What a query over files and folders finds of files with some names in some folders; with the folder of each.

        Args:
            wanted: names by folder.
        """
        ...

    def in_folders(
        self, query: sa.Select[Any], wanted: Sequence[tuple[int, Collection[str] | None]], *, ordered: bool
    ) -> Iterator[tuple[sa.Select[Any], dict[str, Any]]]:
        """Statements, with their parameters, that find together what a query over files finds in some folders.

        Args:
            wanted: ids of folders in the order of their paths, with the names that are meant, None for all.
            ordered: folder by folder, each by name.
        """
        ...

    def last_number(self, connection: Connection, table: sa.Table) -> int | None:
        """The last number that was given to a row of a table, whether or not that is there; None if none was, or
        numbers of this table may be given again.
        """
        ...

    def set_last_number(self, connection: Connection, table: sa.Table, number: int | None) -> None:
        """Let no number up to this one, nor of a row that is there, be given again."""
        ...

    def arrival(self, table: sa.Table) -> sa.ColumnElement[int]:
        """What grows with every row that is added to a table without a number of its own, and never changes: which row
        came last is not the clock's to say, which may be set back.
        """
        ...

    def joined(self, text: sa.ColumnElement[str], separator: str, by: sa.Column[str]) -> sa.ColumnElement[str]:
        """The texts of a group as one, in the order of `by`, by code point; where no database promises an order, in
        that of the rows.
        """
        ...

    def json_text(self, column: sa.Column[str], *path: str) -> sa.ColumnElement[str | None]:
        """What a JSON document says under some keys, one in the other: a text as it is, all else as JSON; null where it
        says nothing.
        """
        ...

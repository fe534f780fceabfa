"""What SQLite says in words of its own, for the SQL of `zsindex.storage`; imported with SQLAlchemy."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite

from zsindex.storage.seals import is_of_content, warn_of_rows
from zsindex.storage.sqlite.legible import legible
from zsindex.storage.sqlite.parameters import chunks, marks
from zsindex.storage.tables import files, folders


class SqliteDialect:
    """`zsindex.storage.database.Dialect`."""

    def any_of(self, parameter: str, kind: type[int] | type[str]) -> sa.Select[Any]:
        """See `Dialect.any_of`. As an "IN (…)" of as many parameters, thousands take ten times as long."""
        return sa.select(sa.func.json_each(sa.bindparam(parameter)).table_valued("value").c.value)

    def many(self, values: Iterable[int] | Iterable[str]) -> str:
        """See `Dialect.many`."""
        return json.dumps(list(values))

    @contextmanager
    def legible(self, connection: Connection) -> Iterator[None]:
        """See `Dialect.legible`."""
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        with legible(driver):
            yield

    def image_ids(
        self, connection: Connection, digests: Collection[bytes], *, verify: bool = False
    ) -> dict[bytes, int]:
        """See `Dialect.image_ids`. JSON has no bytes; past SQLAlchemy the many parameters cost little."""
        ids: dict[bytes, int] = {}
        columns = "digest, id, width, height, format, checksum" if verify else "digest, id"
        damaged = False
        # Those that the index does not lead to are looked for past it, as it may be the index that is damaged.
        for column in ("digest", "+digest") if verify else ("digest",):
            for part in chunks([digest for digest in digests if digest not in ids]):
                found = connection.exec_driver_sql(
                    f"SELECT {columns} FROM images WHERE {column} IN ({marks(part)})", tuple(part)
                ).cursor
                assert found is not None
                for digest, ident, *rest in found.fetchall():
                    if not rest or is_of_content(digest, *rest):
                        ids[digest] = ident
                    else:
                        damaged = True
        if damaged:
            warn_of_rows(["what is known of some photos"])
        return ids

    def add_rows(
        self,
        connection: Connection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
        *,
        unless_there: bool = False,
    ) -> None:
        """See `Dialect.add_rows`."""
        if rows:
            statement = _insert(table, tuple(columns)) + " ON CONFLICT DO NOTHING" * unless_there
            connection.exec_driver_sql(statement, list(rows))

    def change_rows(
        self, connection: Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """See `Dialect.change_rows`."""
        if rows:
            values = ", ".join(f"{name} = ?" for name in columns[1:])
            statement = f"UPDATE {table.name} SET {values} WHERE {columns[0]} = ?"
            connection.exec_driver_sql(statement, [(*row[1:], row[0]) for row in rows])

    def files_named(
        self, connection: Connection, wanted: Mapping[str, Collection[str]], query: sa.Select[Any]
    ) -> Iterator[tuple[str, Sequence[Any]]]:
        """See `Dialect.files_named`. A statement for each folder: one for all would look up each file's folder."""
        query = query.where(folders.c.path == sa.bindparam("folder"), files.c.name.in_(self.any_of("names", str)))
        for folder, names in wanted.items():
            for row in connection.execute(query, {"folder": folder, "names": self.many(names)}).all():
                yield folder, row

    def in_folders(
        self, query: sa.Select[Any], wanted: Sequence[tuple[int, Collection[str] | None]], *, ordered: bool
    ) -> Iterator[tuple[sa.Select[Any], dict[str, Any]]]:
        """See `Dialect.in_folders`. One for each folder: its files are in the index by name, and nothing is sorted."""
        query = query.where(files.c.folder_id == sa.bindparam("folder_id"))
        if ordered:
            query = query.order_by(files.c.name)
        some = query.where(files.c.name.in_(self.any_of("names", str)))
        for folder_id, names in wanted:
            if names is None:
                yield query, {"folder_id": folder_id}
            else:
                yield some, {"folder_id": folder_id, "names": self.many(names)}

    def last_number(self, connection: Connection, table: sa.Table) -> int | None:
        """See `Dialect.last_number`."""
        query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
        return connection.exec_driver_sql(query, (table.name,)).scalar()

    def set_last_number(self, connection: Connection, table: sa.Table, number: int | None) -> None:
        """See `Dialect.set_last_number`. SQLite sees to the rows that are there."""
        if number is not None and table.dialect_options["sqlite"]["autoincrement"]:
            last = max(number, self.last_number(connection, table) or 0)
            connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
            connection.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table.name, last))

    def arrival(self, table: sa.Table) -> sa.ColumnElement[int]:
        """See `Dialect.arrival`. A new row's rowid is one more than the largest; VACUUM may number them anew, but goes
        through them in that order.
        """
        return sa.literal_column(f"{table.name}.rowid", sa.Integer())

    def joined(self, text: sa.ColumnElement[str], separator: str, by: sa.Column[str]) -> sa.ColumnElement[str]:
        """See `Dialect.joined`. Only SQLite 3.44 knows of an order there; rows come from an index, in its order."""
        return sa.func.aggregate_strings(text, separator)

    def json_text(self, column: sa.Column[str], *path: str) -> sa.ColumnElement[str | None]:
        """See `Dialect.json_text`."""
        # Of a damaged text nothing, rather than an error for all.
        return sa.case((sa.func.json_valid(column), sa.func.json_extract(column, ".".join(("$", *path)))))


@cache
def _insert(table: sa.Table, columns: tuple[str, ...]) -> str:
    compiled = sa.insert(table).compile(dialect=sqlite.dialect(), column_keys=list(columns))
    assert compiled.positiontup == list(columns)
    return str(compiled)

"""What SQLite says in words of its own, for the SQL of `zsindex.storage`; imported with SQLAlchemy."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite

from zsindex.storage.seals import is_of_content, warn_of_rows
from zsindex.storage.sqlite.legible import legible
from zsindex.storage.sqlite.parameters import chunks, marks


class SqliteDialect:
    """`zsindex.storage.database.Dialect`."""

    def any_of(self, parameter: str) -> sa.Select[Any]:
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

    def arrival(self, table: sa.Table) -> sa.ColumnElement[int]:
        """See `Dialect.arrival`. A new row's rowid is one more than the largest; VACUUM may number them anew, but goes
        through them in that order.
        """
        return sa.literal_column(f"{table.name}.rowid", sa.Integer())

    def json_text(self, column: sa.Column[str], *path: str) -> sa.ColumnElement[str | None]:
        """See `Dialect.json_text`."""
        # Of a damaged text nothing, rather than an error for all.
        return sa.case((sa.func.json_valid(column), sa.func.json_extract(column, ".".join(("$", *path)))))


@cache
def _insert(table: sa.Table, columns: tuple[str, ...]) -> str:
    compiled = sa.insert(table).compile(dialect=sqlite.dialect(), column_keys=list(columns))
    assert compiled.positiontup == list(columns)
    return str(compiled)

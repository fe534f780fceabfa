"""What PostgreSQL says in words of its own, for the SQL of `zsindex.storage`; imported with SQLAlchemy."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by


class PostgresDialect:
    """`zsindex.storage.database.Dialect`."""

    def any_of(self, parameter: str, kind: type[int] | type[str]) -> sa.Select[Any]:
        """See `Dialect.any_of`."""
        array = ARRAY(sa.BigInteger) if kind is int else ARRAY(sa.Text)
        return sa.select(sa.func.unnest(sa.bindparam(parameter, type_=array)).column_valued("value"))

    def many(self, values: Iterable[int] | Iterable[str]) -> list[Any]:
        """See `Dialect.many`."""
        return list(values)

    def image_ids(self, connection: Connection, digests: Collection[bytes]) -> dict[bytes, int]:
        """See `Dialect.image_ids`."""
        query = "SELECT digest, id FROM images WHERE digest = ANY(%b::bytea[])"
        return dict(driver(connection).execute(query, (list(digests),), binary=True).fetchall())

    def add_rows(
        self,
        connection: Connection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
        *,
        unless_there: bool = False,
    ) -> None:
        """See `Dialect.add_rows`. By COPY, which has no way to leave out what is there."""
        if not rows:
            return
        kinds, names = [_kind(table.c[name].type) for name in columns], ", ".join(columns)
        if unless_there:
            arrays = ", ".join(f"%b::{kind}[]" for kind in kinds)
            insert = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"
            driver(connection).execute(insert, [list(values) for values in zip(*rows, strict=True)])
            return
        with (
            driver(connection).cursor() as cursor,
            cursor.copy(f"COPY {table.name} ({names}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(kinds)
            for row in rows:
                copy.write_row(row)

    def arrival(self, table: sa.Table) -> sa.ColumnElement[int]:
        """See `Dialect.arrival`."""
        return sa.literal_column(f"{table.name}.arrival", sa.BigInteger())

    def joined(self, text: sa.ColumnElement[str], separator: str, by: sa.Column[str]) -> sa.ColumnElement[str]:
        """See `Dialect.joined`."""
        return sa.func.string_agg(text, aggregate_order_by(sa.literal(separator), by), type_=sa.Text())

    def json_text(self, column: sa.Column[str], *path: str) -> sa.ColumnElement[str | None]:
        """See `Dialect.json_text`. Of JSON as a text: as JSONB all of it would be read and made anew."""
        within: sa.ColumnElement[str] = sa.literal_column(f"'{{{','.join(path)}}}'", sa.Text())
        found: sa.ColumnElement[Any] = sa.cast(column, sa.JSON).op("#>>", return_type=sa.Text())(within)
        return found


def driver(connection: Connection) -> psycopg.Connection[Any]:
    """The driver's own connection, in the same transaction."""
    found = connection.connection.driver_connection
    assert isinstance(found, psycopg.Connection)
    return found


def _kind(kind: sa.types.TypeEngine[Any]) -> str:
    """PostgreSQL's name of a type."""
    for ours, name in ((sa.Boolean, "bool"), (sa.Integer, "int8"), (sa.Float, "float8"), (sa.LargeBinary, "bytea")):
        if isinstance(kind, ours):
            return name
    assert isinstance(kind, sa.String)
    return "text"

"""What PostgreSQL says in words of its own, for the SQL of `zsindex.storage`; imported with SQLAlchemy."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from zsindex.storage.postgres.tables import is_numbered
from zsindex.storage.seals import is_of_content, warn_of_rows
from zsindex.storage.tables import files, folders


class PostgresDialect:
    """`zsindex.storage.database.Dialect`."""

    def __init__(self, version: int) -> None:
        """Args:
        version: of the server, as libpq has it: 160003.
        """
        self._version = version

    def any_of(self, parameter: str, kind: type[int] | type[str]) -> sa.Select[Any]:
        """See `Dialect.any_of`."""
        array = ARRAY(sa.BigInteger) if kind is int else ARRAY(sa.Text)
        return sa.select(sa.func.unnest(sa.bindparam(parameter, type_=array)).column_valued("value"))

    def many(self, values: Iterable[int] | Iterable[str]) -> list[Any]:
        """See `Dialect.many`."""
        return list(values)

    def legible(self, connection: Connection) -> AbstractContextManager[None]:
        """See `Dialect.legible`. The server gives no text that is none."""
        return nullcontext()

    def image_ids(
        self, connection: Connection, digests: Collection[bytes], *, verify: bool = False
    ) -> dict[bytes, int]:
        """See `Dialect.image_ids`."""
        query = "SELECT digest, id, width, height, format, checksum FROM images WHERE digest = ANY(%b::bytea[])"
        rows = driver(connection).execute(query, (list(digests),), binary=True).fetchall()
        ids = {row[0]: row[1] for row in rows if not verify or is_of_content(row[0], *row[2:])}
        if len(ids) < len(rows):
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
        """See `Dialect.add_rows`. By COPY, which has no way to leave out what is there."""
        if not rows:
            return
        if table.name == "prompts" and "hash" not in columns:
            text = list(columns).index("text")
            columns, rows = [*columns, "hash"], [(*row, text_hash(row[text])) for row in rows]
        kinds = ["bytea" if name == "hash" else _kind(table.c[name].type) for name in columns]
        names = ", ".join(columns)
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

    def change_rows(
        self, connection: Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """See `Dialect.change_rows`."""
        if rows:
            arrays = ", ".join(f"%b::{_kind(table.c[name].type)}[]" for name in columns)
            values = ", ".join(f"{name} = new.{name}" for name in columns[1:])
            driver(connection).execute(
                f"UPDATE {table.name} SET {values} FROM unnest({arrays}) AS new({', '.join(columns)})"
                f" WHERE {table.name}.{columns[0]} = new.{columns[0]}",
                [list(column) for column in zip(*rows, strict=True)],
            )

    def files_named(
        self, connection: Connection, wanted: Mapping[str, Collection[str]], query: sa.Select[Any]
    ) -> Iterator[tuple[str, Sequence[Any]]]:
        """See `Dialect.files_named`."""
        pairs = [(folder, name) for folder, names in wanted.items() for name in names]
        asked = _pairs(sa.Text)
        query = query.add_columns(folders.c.path).where(folders.c.path == asked.c.first, files.c.name == asked.c.second)
        for *row, folder in connection.execute(query, _as_parameters(pairs)):
            yield folder, row

    def in_folders(
        self, query: sa.Select[Any], wanted: Sequence[tuple[int, Collection[str] | None]], *, ordered: bool
    ) -> Iterator[tuple[sa.Select[Any], dict[str, Any]]]:
        """See `Dialect.in_folders`."""
        whole = [folder_id for folder_id, names in wanted if names is None]
        pairs = [(folder_id, name) for folder_id, names in wanted for name in names or ()]
        asked = _pairs(sa.BigInteger)
        query = query.where(
            sa.or_(
                files.c.folder_id.in_(self.any_of("whole", int)),
                sa.tuple_(files.c.folder_id, files.c.name).in_(sa.select(asked.c.first, asked.c.second)),
            )
        )
        if ordered:
            query = query.join(folders, folders.c.id == files.c.folder_id).order_by(folders.c.path, files.c.name)
        yield query, {"whole": whole, **_as_parameters(pairs)}

    def last_number(self, connection: Connection, table: sa.Table) -> int | None:
        """See `Dialect.last_number`."""
        query = "SELECT pg_catalog.pg_sequence_last_value(pg_catalog.pg_get_serial_sequence(%s, %s)::regclass)"
        column = _numbered(table)
        row = None if column is None else driver(connection).execute(query, (table.name, column)).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def set_last_number(self, connection: Connection, table: sa.Table, number: int | None) -> None:
        """See `Dialect.set_last_number`."""
        column = _numbered(table)
        if column is not None:
            last = f"SELECT greatest(%s::int8, max({column})) AS last FROM {table.name}"
            query = f"SELECT setval(pg_get_serial_sequence(%s, %s), last) FROM ({last}) AS found WHERE last IS NOT NULL"
            driver(connection).execute(query, (table.name, column, number))

    def arrival(self, table: sa.Table) -> sa.ColumnElement[int]:
        """See `Dialect.arrival`."""
        column = _numbered(table) or "arrival"
        return sa.literal_column(f"{table.name}.{column}", sa.BigInteger())

    def joined(self, text: sa.ColumnElement[str], separator: str, by: sa.Column[str]) -> sa.ColumnElement[str]:
        """See `Dialect.joined`."""
        return sa.func.string_agg(text, aggregate_order_by(sa.literal(separator), by), type_=sa.Text())

    def json_text(self, column: sa.Column[str], *path: str) -> sa.ColumnElement[str | None]:
        """See `Dialect.json_text`. Of JSON as a text: as JSONB all of it would be read and made anew."""
        within: sa.ColumnElement[str] = sa.literal_column(f"'{{{','.join(path)}}}'", sa.Text())
        found: sa.ColumnElement[Any] = sa.cast(column, sa.JSON).op("#>>", return_type=sa.Text())(within)
        # Of a damaged text nothing, rather than an error for all; before version 16 only of one that is cut short.
        whole = sa.func.pg_input_is_valid(column, "json") if self._version >= 160000 else column.like("{%}")
        return sa.case((whole, found))


def _pairs(first: type[sa.types.TypeEngine[Any]]) -> Any:
    """The pairs of `_as_parameters`, as a table."""
    arrays = sa.bindparam("firsts", type_=ARRAY(first)), sa.bindparam("seconds", type_=ARRAY(sa.Text))
    columns = sa.column("first", first), sa.column("second", sa.Text)
    return sa.func.unnest(*arrays).table_valued(*columns).render_derived(name="asked")


def _as_parameters(pairs: Sequence[tuple[Any, str]]) -> dict[str, Any]:
    return {"firsts": [first for first, _ in pairs], "seconds": [second for _, second in pairs]}


def text_hash(text: str) -> bytes:
    """By which a prompt is found: trees take no long texts."""
    return hashlib.sha256(text.encode()).digest()


def _numbered(table: sa.Table) -> str | None:
    """The column whose numbers a sequence gives."""
    return next(iter(table.primary_key.columns)).name if is_numbered(table) else None


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

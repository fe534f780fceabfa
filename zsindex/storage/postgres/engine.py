"""SQLAlchemy over the connections of `zsindex.storage.postgres.database`; imported when one is needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.pq import PipelineStatus
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.pool import NullPool

_CHANGES = ("INSERT ", "UPDATE ", "DELETE ")


def is_collecting(link: psycopg.Connection[Any]) -> bool:
    """Whether statements wait for others, to be sent with them."""
    return link.pgconn.pipeline_status != PipelineStatus.OFF


class LentDialect(PGDialect_psycopg):
    """Connections are lent: somebody else sets them up, begins their transactions, and keeps them.

    Whole numbers are parameters of whatever size they need. SQLAlchemy would call them INTEGER, which has 32 bits, as
    their type is in tables that are SQLite's, too, where it has 64.
    """

    colspecs = {**PGDialect_psycopg.colspecs, sa.Integer: sa.Integer}  # noqa: RUF012  SQLAlchemy's
    supports_statement_cache = True

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Where messages are collected, what only changes rows waits for no answer: see
        `zsindex.storage.postgres.database.PostgresDatabase.write_after`.
        """
        cursor.execute(statement, parameters)
        if is_collecting(cursor.connection) and not (statement.startswith(_CHANGES) and " RETURNING " not in statement):
            with suppress(IndexError):  # there are no rows
                cursor.scroll(0)

    def on_connect(self) -> None:
        """Nothing is to be done."""

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Who has lent it does that."""

    def do_commit(self, dbapi_connection: Any) -> None:
        """Who has lent it does that."""

    def do_close(self, dbapi_connection: Any) -> None:
        """It is given back."""

    def do_terminate(self, dbapi_connection: Any) -> None:
        """Something is wrong with it."""
        dbapi_connection.close()


registry.register("postgresql.zsindex", __name__, LentDialect.__name__)


@cache
def of_version(server_version: int) -> LentEngine:
    """One for all libraries on servers of a version: what SQLAlchemy has compiled is good for every one of them."""
    return LentEngine()


class LentEngine:
    """SQLAlchemy over the connections of others."""

    def __init__(self) -> None:
        self._lent = threading.local()
        self._engine = sa.create_engine(
            "postgresql+zsindex://",
            creator=lambda: self._lent.link,
            poolclass=NullPool,
            use_native_hstore=False,
            hide_parameters=True,
        )

    @contextmanager
    def lent(self, link: psycopg.Connection[Any]) -> Iterator[sa.Connection]:
        """SQLAlchemy's side of a connection. The first time it asks the server for its version and the like."""
        self._lent.link = link
        with self._engine.connect() as connection:
            yield connection

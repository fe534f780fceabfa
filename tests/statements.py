"""The SQL that a piece of work executes, to be counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from zsindex.storage.sqlite.database import SqliteDatabase

_reading = SqliteDatabase.reading


@contextmanager
def counting_statements() -> Iterator[list[str]]:
    """Every statement, SQLAlchemy's and those that go past it."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    @contextmanager
    def reading(database: SqliteDatabase) -> Iterator[sqlite3.Connection]:
        with _reading(database) as connection:
            connection.set_trace_callback(statements.append)
            try:
                yield connection
            finally:
                connection.set_trace_callback(None)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SqliteDatabase, "reading", reading)
            yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)

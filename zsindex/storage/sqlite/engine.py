"""SQLAlchemy's engines over the connections of `zsindex.storage.sqlite.connections`; imported when one is needed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from zsindex.storage.sqlite import system_errors


def reading(
    connect: Callable[[], sqlite3.Connection], *, pooled: bool, take: Callable[[sqlite3.Connection], bool]
) -> Engine:
    """For any number of threads; without `pooled` each transaction has a connection of its own.

    Args:
        take: is told of a connection that is about to be used; another one is used where it says False.
    """
    if pooled:
        engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=8, max_overflow=32)
    else:
        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "checkout")
    def check(connection: sqlite3.Connection, *_: Any) -> None:
        if not take(connection):
            raise DisconnectionError

    return _beginning_with(engine, "BEGIN")


def writing(connect: Callable[[], sqlite3.Connection]) -> Engine:
    """One connection: it checkpoints under the lock, and is only used by the thread that holds it."""
    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)

    @event.listens_for(engine, "invalidate")
    def release(connection: sqlite3.Connection, *_: Any) -> None:
        # After a Ctrl-C in a statement SQLAlchemy closes the connection; SQLite keeps its transaction, and with that
        # its lock, for as long as the statement's cursor lives.
        connection.rollback()

    return _beginning_with(engine, "BEGIN IMMEDIATE")


def _beginning_with(engine: Engine, statement: str) -> Engine:
    """Make SQLAlchemy open transactions itself: Python's sqlite3 would not begin one for a SELECT, nor before DDL."""

    @event.listens_for(engine, "handle_error")
    def note(context: ExceptionContext) -> None:
        connection = context.connection
        driver = None if connection is None or connection.closed else connection.connection.driver_connection
        if driver is not None:
            system_errors.note(context.original_exception, driver)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> Any:
        connection.exec_driver_sql(statement)

    return engine

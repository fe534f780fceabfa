"""Texts that may have been damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def legible(connection: sqlite3.Connection) -> Iterator[None]:
    """See `zsindex.storage.database.Dialect.legible`."""
    connection.text_factory = lambda content: content.decode("utf-8", "replace")
    try:
        yield
    finally:
        connection.text_factory = str

"""Brings a library's schema to the version that this zsindex knows, by driving Alembic.

Alembic takes most of a second to import, so it is imported only when there is something to migrate: whether there is
follows from comparing one row with `HEAD`. A test keeps `HEAD` equal to the newest script in `migrations/versions`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy import Connection

HEAD = "0013"
SCRIPTS = Path(import_module("zsindex.migrations").__path__[0])


def current_revision(connection: sqlite3.Connection) -> str | None:
    """The revision a database is at; None for one without a schema."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def is_one(revision: str) -> bool:
    """Whether a revision may be one, of whatever version of zsindex."""
    return len(revision) == len(HEAD) and revision.isdecimal()


def is_newer(revision: str) -> bool:
    """Whether a revision comes after `HEAD`. Revisions are numbered, so that older versions can tell."""
    return revision > HEAD


def upgrade(connection: Connection) -> None:
    """Run the missing migrations inside the caller's transaction: all of them are kept, or none.

    SQLite changes most things by copying a table and dropping the old one, which deletes its rows as far as foreign
    keys are concerned: the connection must not enforce them. They are checked once, at the end.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if dangling is not None:
        raise RuntimeError(f"a migration left a row of {dangling[0]} that refers to nothing in {dangling[2]}")

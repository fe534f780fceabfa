"""Brings a library's schema to the version that this zsindex knows, by driving Alembic.

Alembic takes most of a second to import, so it is imported only when there is something to migrate: whether there is
follows from comparing one row with `HEAD`. A test keeps `HEAD` equal to the newest script in `migrations/versions`.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

HEAD = "0001"


def current_revision(connection: Connection) -> str | None:
    """The revision a database is at; None for one without a schema."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)


def is_newer(revision: str) -> bool:
    """Whether a revision comes after `HEAD`. Revisions are numbered, so that older versions can tell."""
    return revision > HEAD


def upgrade(connection: Connection) -> None:
    """Run the missing migrations inside the caller's transaction: all of them are kept, or none."""
    from alembic import command
    from alembic.config import Config

    import zsindex.migrations

    config = Config()
    config.set_main_option("script_location", str(Path(zsindex.migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

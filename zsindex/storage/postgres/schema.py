"""Makes the tables of a library on a server, and brings them up to date: when told to, never on opening, as others may
be using them with another version.

The first server libraries had the schema of `BASELINE`; scripts up to that one are SQLite's alone. From there on each
script in `migrations/versions` runs on both.
"""

from __future__ import annotations

import uuid
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from zsindex.storage.postgres import tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

BASELINE, HEAD = "0009", "0013"
SCRIPTS = Path(import_module("zsindex.migrations").__path__[0])
# The key under which the settings hold what tells a library from all others, wherever it is copied or restored.
IDENTITY = "library"
# The one that a half-made copy has; see `zsindex.storage.copying`, which is imported with SQLAlchemy.
COPYING = "copying"


def create(connection: Connection) -> None:
    """Make the tables of a new library, within the caller's transaction."""
    metadata = tables.metadata()
    metadata.create_all(connection)
    for statement in tables.settings_of_storage():
        connection.exec_driver_sql(statement)
    settings = metadata.tables["settings"]
    connection.execute(settings.insert().values(key=IDENTITY, value=str(uuid.uuid4())))
    _alembic(connection, "stamp", HEAD)


def upgrade(connection: Connection) -> None:
    """Run the missing migrations, within the caller's transaction: all of them are kept, or none."""
    _alembic(connection, "upgrade", "head")


def _alembic(connection: Connection, command: str, revision: str) -> None:
    from alembic import command as commands
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = tables.metadata()
    getattr(commands, command)(config, revision)

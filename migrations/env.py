"""Alembic's entry point: migrate the connection that zsindex hands over, or the library named with `-x library=`."""

import sys
from pathlib import Path

from alembic import context
from sqlalchemy import Connection, create_engine

from zsindex.storage import tables


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=context.config.attributes.get("metadata", tables.metadata),
        render_as_batch=True,  # SQLite cannot alter most things in place
        transactional_ddl=True,  # one upgrade is one transaction: both storages make it so
    )
    with context.begin_transaction():
        context.run_migrations()


connection = context.config.attributes.get("connection")
if connection is not None:
    migrate(connection)
else:
    library = context.get_x_argument(as_dictionary=True).get("library")
    if library is None or not Path(library, "library.db").is_file():
        sys.exit("name a library that there is: alembic -x library=FOLDER ...")
    with create_engine(f"sqlite:///{library}/library.db").begin() as connection:
        migrate(connection)

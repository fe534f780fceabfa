"""The tables of a library on a server: those of `zsindex.storage.tables`, as PostgreSQL needs them.

What is different, for all tables that there are or will be:

- Whole numbers have 64 bits: sizes, times in nanoseconds and numbers of rows do not fit 32.
- Texts are compared and sorted by code point (COLLATE "C"), as SQLite and Python do, whatever the server's language.
- Rows that are numbered are numbered by a sequence, which never gives a number again.
- An index with a tree takes no text beyond 2,704 bytes, and paths, prompts and names may be longer. So texts are unique
  by an exclusion constraint over a hash index, which looks at the whole text when two hashes are equal.
- Tables whose rows have no number of their own get one: `arrival`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from zsindex.storage import tables

# Every library has a schema of its own in its database, so that it is beside nobody's tables.
SCHEMA = "zsindex"
# Vectors and prompts as long as they fit a page lie in it; longer ones elsewhere, and none is compressed. At
# PostgreSQL's own 2 KB each vector of 512 numbers would lie elsewhere, and reading it take several times as long.
_FIT_A_PAGE = 8160
STORED_PLAINLY = {"embeddings": ("vector",), "prompts": ("vector", "text")}


def metadata() -> sa.MetaData:
    """The tables."""
    made = sa.MetaData(naming_convention=tables.metadata.naming_convention)
    for table in tables.metadata.sorted_tables:
        _add(table, made)
    return made


def settings_of_storage() -> list[str]:
    """Statements that say how rows lie in pages."""
    found = []
    for table, columns in STORED_PLAINLY.items():
        found.append(f"ALTER TABLE {table} SET (toast_tuple_target = {_FIT_A_PAGE})")
        found += [f"ALTER TABLE {table} ALTER {column} SET STORAGE EXTERNAL" for column in columns]
    return found


def is_numbered(table: sa.Table) -> bool:
    """Whether a sequence numbers the rows of a table."""
    key = list(table.primary_key.columns)
    return len(key) == 1 and isinstance(key[0].type, sa.Integer) and not key[0].foreign_keys


def _add(table: sa.Table, made: sa.MetaData) -> None:
    columns = [_column(column, table) for column in table.columns]
    long_key = [column.name for column in table.primary_key if isinstance(column.type, sa.Text)]
    if not is_numbered(table):
        arrival = sa.Column("arrival", sa.BigInteger, sa.Identity(), nullable=False, primary_key=bool(long_key))
        columns.append(arrival)
    if table.name == "snapshots":
        # Each machine has its own; see `zsindex.storage.postgres.derived`.
        columns.append(sa.Column("cache", sa.String(36, collation="C"), primary_key=True))
    if table.name == "prompts":
        # SHA-256 of the text: two columns would make no exclusion constraint, and there may be a million.
        columns.append(sa.Column("hash", sa.LargeBinary(32), nullable=False))
    constraints: list[sa.UniqueConstraint | ExcludeConstraint | sa.Index] = []
    if long_key:  # as a constraint of its own, and with an index for what is asked
        names = [column.name for column in table.primary_key]
        constraints.append(_excluding(table, tuple(names)))
        constraints.append(sa.Index(f"ix_{table.name}_{names[0]}", names[0]))
        constraints.append(sa.Index(f"ix_{table.name}_{names[-1]}", names[-1], postgresql_using="hash"))
    for unique in sorted(_uniques(table), key=lambda names: names):
        if table.name == "prompts":
            constraints.append(sa.UniqueConstraint("model_id", "hash"))
        elif table.name in ("files", "sidecar_facts") or not any(
            isinstance(table.c[name].type, sa.Text) for name in unique
        ):
            constraints.append(sa.UniqueConstraint(*unique))  # names of files have 255 bytes
        else:
            constraints.append(_excluding(table, unique))
    for index in table.indexes:
        of_text = any(isinstance(column.type, sa.Text) for column in index.columns)
        names = [column.name for column in index.columns]
        constraints.append(sa.Index(index.name, *names, postgresql_using="hash" if of_text else "btree"))
    sa.Table(table.name, made, *columns, *constraints)


def _uniques(table: sa.Table) -> list[tuple[str, ...]]:
    return [
        tuple(column.name for column in constraint.columns)
        for constraint in table.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    ]


def _column(column: sa.Column[Any], table: sa.Table) -> sa.Column[Any]:
    kind: sa.types.TypeEngine[Any] = column.type
    if isinstance(kind, sa.Integer):
        kind = sa.BigInteger()
    elif isinstance(kind, sa.Text):
        kind = sa.Text(collation="C")
    elif isinstance(kind, sa.String):
        kind = sa.String(kind.length, collation="C")
    references = [sa.ForeignKey(key.target_fullname, ondelete=key.ondelete) for key in column.foreign_keys]
    numbered = column.primary_key and len(table.primary_key) == 1 and not references and isinstance(kind, sa.BigInteger)
    given = column.server_default
    default = given.arg if isinstance(given, sa.DefaultClause) and isinstance(given.arg, str) else None
    return sa.Column(
        column.name,
        kind,
        *references,
        *([sa.Identity()] if numbered else []),
        primary_key=column.primary_key and not any(isinstance(one.type, sa.Text) for one in table.primary_key),
        nullable=column.nullable,
        server_default=default,
    )


def _excluding(table: sa.Table, unique: tuple[str, ...]) -> ExcludeConstraint:
    name = f"ex_{table.name}_{'_'.join(unique)}"
    if len(unique) == 1:
        return ExcludeConstraint((sa.column(unique[0]), "="), using="hash", name=name)
    # A hash index has one column.
    texts = (column if isinstance(table.c[column].type, sa.Text) else f"{column}::text" for column in unique)
    return ExcludeConstraint((sa.text(f"(ARRAY[{', '.join(texts)}])"), "="), using="hash", name=name)

"""How seals get into their table and are compared with rows, in SQL that is no database's own; see
`zsindex.storage.seals`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, delete, select

from zsindex.storage.database import Dialect
from zsindex.storage.seals import RULES, Kind, Rule, seal
from zsindex.storage.tables import metadata, seals

_FEW = 500


def rows_of(
    connection: Connection, kind: Kind, part: str | None = None, keys: Sequence[object] | None = None
) -> dict[tuple[str, str], Sequence[Any]]:
    """Rows of a kind as the driver gives them, by part and key. SQLAlchemy would stumble over values of other types.

    Args:
        part: None for all.
        keys: a few hundred at most; None for all.
    """
    rule = RULES[kind]
    table = metadata.tables[rule.table]
    own = part_of(rule)
    query = select(own, table.c[rule.key], *(table.c[name] for name in rule.columns)).order_by(table.c[rule.key])
    if part is not None:
        query = query.where(own == part)
    if keys is not None:
        query = query.where(table.c[rule.key].in_(keys))
    cursor = connection.execute(query).cursor
    assert cursor is not None
    return {(str(row[0]), str(row[1])): row[2:] for row in cursor.fetchall()}


def part_of(rule: Rule) -> sa.ColumnElement[str]:
    """The part of a row's seal, as an expression over its table."""
    columns = [metadata.tables[rule.table].c[name] for name in rule.part]
    match columns:
        case []:
            return sa.literal("")
        case [only]:
            return only if isinstance(only.type, sa.Text) else sa.cast(only, sa.Text)
        case [first, second]:
            return sa.cast(first, sa.Text) + "/" + second
    raise NotImplementedError(rule)


def seals_of(connection: Connection, kind: Kind, part: str | None = None) -> dict[tuple[str, str], int]:
    """Seals of a kind by part and key."""
    query = select(seals.c.part, seals.c.key, seals.c.checksum).where(seals.c.kind == str(kind))
    if part is not None:
        query = query.where(seals.c.part == part)
    cursor = connection.execute(query).cursor
    assert cursor is not None
    return {(str(row[0]), str(row[1])): row[2] for row in cursor.fetchall()}


def put_seals(connection: Connection, dialect: Dialect, kind: Kind, checksums: Mapping[tuple[str, str], int]) -> None:
    """Write seals, in place of those of the same parts and keys."""
    for part in {part for part, _ in checksums}:
        unseal(connection, dialect, kind, [key for own, key in checksums if own == part], part=part)
    rows = [(str(kind), part, key, checksum) for (part, key), checksum in checksums.items()]
    dialect.add_rows(connection, seals, ("kind", "part", "key", "checksum"), rows)


def reseal(
    connection: Connection, dialect: Dialect, kind: Kind, keys: Sequence[object], *, part: str | None = None
) -> None:
    """Seal rows that were just written."""
    found = rows_of(connection, kind, part, keys)
    put_seals(connection, dialect, kind, {which: seal(values) for which, values in found.items()})


def unseal(
    connection: Connection, dialect: Dialect, kind: Kind, keys: Iterable[str] | None = None, *, part: str = ""
) -> None:
    """Forget the seals of rows that are no more; of a whole part without `keys`."""
    gone = delete(seals).where(seals.c.kind == str(kind), seals.c.part == part)
    if keys is None:
        connection.execute(gone)
    elif len(these := list(keys)) <= _FEW:
        connection.execute(gone.where(seals.c.key.in_(these)))
    else:
        connection.execute(gone.where(seals.c.key.in_(dialect.any_of("keys", str))), {"keys": dialect.many(these)})

"""A library from one database into another of any kind: all rows under their ids, so that whatever refers to them, and
every run's key, stays what it is.

What was begun is gone on with, as long as the source is as it was; otherwise it is begun anew. In the end both are read
through and compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, delete, func, insert, select

from zsindex.storage.adding import FACTS_REVISION, REVISION, set_setting
from zsindex.storage.database import Database
from zsindex.storage.seals import Kind
from zsindex.storage.tables import derived, embeddings, jobs, metadata, models, runs, seals, settings, snapshots

# What a half-made copy is known by: what it is made from, and as of when.
MARK = "copying"
# Of the database itself, not of what is in it.
_OWN = frozenset({MARK, "library"})
_BATCH_ROWS = 4096

# Index files are another folder's.
TABLES = [table for table in metadata.sorted_tables if table is not snapshots]


def state_of(connection: Connection) -> str:
    """What is another one when what was copied so far may have changed or gone. New vectors leave it as it is: they
    come after all others.
    """
    facts: list[Any] = [
        tuple(row) for row in connection.execute(select(models.c.id, models.c.generation).order_by("id"))
    ]
    of_settings = select(settings.c.key, settings.c.value).where(settings.c.key.in_((REVISION, FACTS_REVISION)))
    facts += sorted(tuple(row) for row in connection.execute(of_settings))
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def begun_from(target: Database) -> str | None:
    """The state that a half-made copy is of; None if there is none."""
    with target.read() as connection:
        return connection.execute(select(settings.c.value).where(settings.c.key == MARK)).scalar()


def is_empty(target: Database) -> bool:
    """Whether nothing is stored there."""
    with target.read() as connection:
        return not any(
            connection.execute(select(sa.literal(1)).select_from(table).limit(1)).first()
            for table in TABLES
            if table is not settings
        )


def copy(source: Database, target: Database, *, progress: Callable[[int, int], None]) -> int:
    """Copy all rows into a library that is empty, or holds what an earlier call has copied; returns how many vectors
    there are.

    Args:
        progress: called with vectors so far, and in all.
    """
    with source.read() as connection:
        state = state_of(connection)
        with target.write("copy a library") as into:
            if _mark(into) not in (None, state):
                for table in reversed(TABLES):
                    _clear(into, table)
            set_setting(into, MARK, state)
        total = connection.execute(select(func.count()).select_from(embeddings)).scalar_one()
        for table in TABLES:
            if _number(table) is None:
                _copy_whole(source, connection, target, table)
            else:
                _copy_numbered(
                    connection, target, table, (lambda n: progress(n, total)) if table is embeddings else None
                )
        with target.write("copy a library") as into:
            for table in TABLES:
                target.dialect.set_last_number(into, table, source.dialect.last_number(connection, table))
        return int(total)


def differing(source: Database, target: Database) -> list[str]:
    """Names of the tables that are not the same in both; both are read through."""
    with source.read() as one, target.read() as other:
        return [table.name for table in TABLES if _digest(source, one, table) != _digest(target, other, table)]


def finish(target: Database) -> None:
    """From now on it is a library."""
    with target.write("copy a library") as into:
        into.execute(delete(settings).where(settings.c.key == MARK))


def _tell(progress: Callable[[int, int], None], total: int, done: int) -> None:
    progress(done, total)


def _mark(connection: Connection) -> str | None:
    return connection.execute(select(settings.c.value).where(settings.c.key == MARK)).scalar()


def _number(table: sa.Table) -> sa.Column[int] | None:
    """The number by which the rows of a table come; None for those that have none of their own."""
    key = list(table.primary_key.columns)
    return key[0] if len(key) == 1 and isinstance(key[0].type, sa.Integer) else None


def _clear(connection: Connection, table: sa.Table) -> None:
    connection.execute(delete(table).where(table.c.key.not_in(_OWN)) if table is settings else delete(table))


def _in_order(database: Database, table: sa.Table) -> sa.Select[Any]:
    number = _number(table)
    query = select(table).execution_options(yield_per=_BATCH_ROWS)
    if number is not None:
        return query.order_by(number)
    if table is settings:
        return query.where(table.c.key.not_in(_OWN)).order_by(table.c.key)
    if table is seals:
        query = query.where(seals.c.kind != str(Kind.SNAPSHOT))  # which are not copied
    if table in (runs, jobs, derived):  # of which the newest are asked for
        return query.order_by(database.dialect.arrival(table))
    return query.order_by(*table.primary_key)


def _copy_whole(source: Database, connection: Connection, target: Database, table: sa.Table) -> None:
    """Of what is never more than a row for each folder."""
    rows = [tuple(row) for row in connection.execute(_in_order(source, table))]
    with target.write("copy a library") as into:
        _clear(into, table)
        if table is settings:
            into.execute(insert(table), [dict(row._mapping) for row in connection.execute(_in_order(source, table))])
        else:
            target.dialect.add_rows(into, table, table.columns.keys(), rows)


def _copy_numbered(
    connection: Connection, target: Database, table: sa.Table, progress: Callable[[int], None] | None
) -> None:
    number = _number(table)
    assert number is not None
    with target.read() as there:
        last = there.execute(select(func.max(number))).scalar()
        done = int(there.execute(select(func.count()).select_from(table)).scalar_one()) if progress else 0
    query = select(table).order_by(number).execution_options(yield_per=_BATCH_ROWS)
    if last is not None:
        query = query.where(number > last)
    with connection.execute(query) as found:
        for part in found.partitions():
            with target.write("copy a library") as into:
                target.dialect.add_rows(into, table, table.columns.keys(), [tuple(row) for row in part])
            done += len(part)
            if progress is not None:
                progress(done)


def _digest(database: Database, connection: Connection, table: sa.Table) -> str:
    digest = hashlib.sha256()
    for part in _parts(connection, _in_order(database, table)):
        for row in part:
            digest.update(repr(tuple(row)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _parts(connection: Connection, query: sa.Select[Any]) -> Iterator[Sequence[sa.Row[Any]]]:
    with connection.execute(query) as found:
        yield from found.partitions()

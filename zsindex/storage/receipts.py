"""Receipts of batches: kept in the transaction that stores one, among the settings, until their owner takes them."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection, delete, insert, select

from zsindex.records import SkippedFile, SkipReason
from zsindex.storage.rows import Receipt
from zsindex.storage.tables import settings

_ALL = "receipt/"  # with a name of 47 characters and nine more: as long as a key may be
# Longer than any sync; what is older was left by one that was killed.
_KEPT_DAYS = 7


def keep(connection: Connection, name: str, receipt: Receipt) -> None:
    """Keep a receipt under a name, beside others of that name."""
    said = {
        "paths": receipt.paths,
        "counts": receipt.counts,
        "skips": [(skip.path, skip.reason, skip.detail) for skip in receipt.skips],
    }
    key = f"{_ALL}{name}/{secrets.token_hex(4)}"
    connection.execute(insert(settings).values(key=key, value=json.dumps(said)))


def find(connection: Connection, name: str) -> Iterator[Receipt]:
    """Those under a name, or under one that begins with its parts."""
    for text in connection.execute(select(settings.c.value).where(_under(name))).scalars():
        said = json.loads(text)
        skips = [SkippedFile(path, SkipReason(reason), detail) for path, reason, detail in said["skips"]]
        yield Receipt(said["paths"], Counter(said["counts"]), skips)


def forget(connection: Connection, name: str) -> None:
    """Forget those under a name, and all that nobody will ask for any more."""
    week_ago = datetime.now(UTC) - timedelta(days=_KEPT_DAYS)
    old = sa.and_(settings.c.key > _ALL, settings.c.key < f"{_ALL}{week_ago.isoformat(timespec='microseconds')}")
    connection.execute(delete(settings).where(sa.or_(_under(name), old)))


def _under(name: str) -> sa.ColumnElement[bool]:
    key = settings.c.key
    return sa.and_(key > f"{_ALL}{name}/", key < f"{_ALL}{name}0")  # the character that follows the slash

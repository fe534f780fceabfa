"""Many values in one statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

# How many values go into one "IN (…)"; SQLite allows 32,766 variables.
IN_LIMIT = 10_000


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut a sequence into parts that fit into one "IN (…)"."""
    for start in range(0, len(values), IN_LIMIT):
        yield values[start : start + IN_LIMIT]


def marks(values: Sequence[Any]) -> str:
    """The places of values in an "IN (…)"."""
    return ",".join("?" * len(values))

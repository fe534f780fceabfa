"""What a server's refusals mean for a library, by SQLSTATE."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg

from zsindex.errors import (
    LibraryBusy,
    LibraryDamaged,
    LibraryError,
    LibraryNotFound,
    LibraryReadOnly,
    LibraryUnreachable,
    ModelPruned,
    StorageFailed,
    StorageFull,
)

BUSY_TIMEOUT_S = 60.0

LOCK_NOT_AVAILABLE = "55P03"
OUT_OF_MEMORY = "53200"
# The server shuts down, has crashed, or starts; it drops who idles; it has no connection left.
_GONE = ("57P01", "57P02", "57P03", "57P05", "53300")


# A server that is started anew answers within seconds; one that is replaced by its standby in less than a minute.
PATIENCE_S = 60.0
_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0

T = TypeVar("T")


def patiently(attempt: Callable[[], T]) -> T:
    """Do what does no harm when it is done again, and again while the server does not answer.

    Raises:
        LibraryUnreachable: it has not answered for `PATIENCE_S`.
    """
    give_up_at, pause = time.monotonic() + PATIENCE_S, _SHORTEST_PAUSE_S
    while True:
        try:
            return attempt()
        except LibraryUnreachable:
            if time.monotonic() + pause > give_up_at:
                raise
        time.sleep(pause * random.uniform(0.5, 1))  # not all of them at the same instant
        pause = min(2 * pause, _LONGEST_PAUSE_S)


@contextmanager
def translated(place: str, action: str) -> Iterator[None]:
    """Turn errors of the server that a user can do something about into the project's own.

    Args:
        action: completes "cannot …".
    """
    try:
        yield
    except Exception as error:
        cause = getattr(error, "orig", error)  # of SQLAlchemy's errors: the driver's
        if not isinstance(cause, psycopg.Error):
            raise
        meant = failure(place, action, cause)
        if meant is None:
            raise
        raise meant from error


def failure(place: str, action: str, error: psycopg.Error) -> LibraryError | None:
    """What an error of the server means; None for one that only a fault of this program can bring about."""
    state = error.sqlstate or ""
    said = words(error)
    if state[:2] == "08" or state in _GONE or (not state and isinstance(error, psycopg.OperationalError)):
        return LibraryUnreachable(place, said)
    if state == "23503" and "model_id" in (error.diag.constraint_name or ""):
        return ModelPruned(place)
    if state == "53100":
        return StorageFull(place)
    if state == LOCK_NOT_AVAILABLE or state[:2] == "40":
        return LibraryBusy(place, holder="another one", waited_s=BUSY_TIMEOUT_S)
    if state in ("XX001", "XX002"):
        return LibraryDamaged(place, said)
    if state in ("25006", "42501"):
        return LibraryReadOnly(place, f"{action} ({said})")
    if state in ("42P01", "3F000", "3D000"):
        return LibraryNotFound(place)
    if state[:2] in ("28", "53", "54", "57", "58", "XX") or not state:
        return StorageFailed(place, action, said)
    return None


def words(error: psycopg.Error) -> str:
    """What the server said, in one line. It never repeats a password."""
    said = error.diag.message_primary
    if said:
        return said
    # Of several attempts, by address, psycopg tells all; what comes last is of the last one.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    failed = [line for line in lines if " failed: " in line]
    return (failed[-1].rpartition(" failed: ")[2] if failed else lines[0] if lines else type(error).__name__).strip()

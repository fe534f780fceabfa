"""What a server's refusals mean for a library, by SQLSTATE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
from zsindex.storage.stored import Unreadable

BUSY_TIMEOUT_S = 60.0

LOCK_NOT_AVAILABLE = "55P03"
OUT_OF_MEMORY = "53200"
# The server shuts down, has crashed, or starts; it drops who idles; it has no connection left.
_GONE = ("57P01", "57P02", "57P03", "57P05", "53300")

# What an administrator can do, where the server's own words do not say it.
_NO_CONNECTION = (
    "close programs that are connected, or raise max_connections; a process of zsindex needs two to six connections"
)
_NO_LOCKS = "raise max_locks_per_transaction of the server, or let fewer syncs run at a time"
_WHAT_TO_DO = {
    "53200": _NO_LOCKS,
    "53300": _NO_CONNECTION,
}
# Before there is a connection errors have no code.
_WHEN_CONNECTING = (
    ("out of shared memory", _NO_LOCKS),
    ("too many clients already", _NO_CONNECTION),
    ("remaining connection slots are reserved", _NO_CONNECTION),
    ("too many connections for", _NO_CONNECTION),
    ("password authentication failed", "zsindex takes it from the URL, PGPASSWORD, or the file that PGPASSFILE names"),
    ("no password supplied", "zsindex takes it from the URL, PGPASSWORD, or the file that PGPASSFILE names"),
    ("no pg_hba.conf entry", "the server's pg_hba.conf has to let this user in from this host"),
    ("does not support SSL", "turn ssl on there, or connect with sslmode=prefer where the network is trusted"),
    ("certificate verify failed", "sslrootcert names the certificate of the authority that has signed the server's"),
    ("root certificate file", "sslrootcert names the certificate of the authority that has signed the server's"),
    ("does not match host name", "use the name that the server's certificate has"),
)


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
        if isinstance(cause, Unreadable):
            raise LibraryDamaged(place, str(cause)) from error
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
        return StorageFull(place, said)
    if state == LOCK_NOT_AVAILABLE or state[:2] == "40":
        return LibraryBusy(place, holder="another one", waited_s=BUSY_TIMEOUT_S)
    if state in ("XX001", "XX002", "22P02"):  # the last one of a text that should be JSON or a number
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
        advice = _WHAT_TO_DO.get(error.sqlstate or "")
        return f"{said}; {advice}" if advice else said
    # Of several attempts, by address, psycopg tells all; what comes last is of the last one.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    failed = [line for line in lines if " failed: " in line]
    said = failed[-1].rpartition(" failed: ")[2] if failed else lines[0] if lines else type(error).__name__
    advice = next((advice for words, advice in _WHEN_CONNECTING if words in said), None)
    return f"{said.strip()}; {advice}" if advice else said.strip()

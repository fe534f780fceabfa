"""Who encodes what, of all that sync into a library at once, from whatever machine: advisory locks of a session, one
for each image. They end with the connection, so no lease has to be renewed, and nobody cleans up after a kill.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from contextlib import suppress

import psycopg

from zsindex.storage.claims import Claim
from zsindex.storage.patience import patiently
from zsindex.storage.postgres.database import Link, PostgresDatabase, is_there
from zsindex.storage.postgres.failures import translated

# First whether it is known, and only then the lock; and again once it is held, in a statement that sees what was stored
# before.
_KNOWN = (
    "SELECT EXISTS (SELECT 1 FROM embeddings JOIN images ON images.id = image_id WHERE digest = %b AND model_id = %s)"
)
_TAKE = f"SELECT known, CASE WHEN NOT known THEN pg_try_advisory_lock(%s) END FROM ({_KNOWN} AS known) AS asked"


class ServerClaims:
    """`zsindex.storage.claims.Claims` on a server."""

    def __init__(self, database: PostgresDatabase, model_id: int) -> None:
        self._database = database
        self._model_id = model_id
        self._link: Link | None = None
        self._held: set[int] = set()
        self._guard = threading.Lock()

    def take(self, digest: bytes) -> Claim:
        """See `Claims.take`."""
        return patiently(lambda: self._take(digest))

    def _take(self, digest: bytes) -> Claim:
        key = self._key(digest)
        with self._guard, translated(self._database.place, "sync"):
            try:
                link = self._connected()
                known, taken = link.execute(_TAKE, (key, digest, self._model_id)).fetchone() or (False, True)
                if known:
                    return Claim.KNOWN
                if not taken:
                    return Claim.ELSEWHERE
                (known,) = link.execute(_KNOWN, (digest, self._model_id)).fetchone() or (False,)
                if known:
                    link.execute("SELECT pg_advisory_unlock(%s)", (key,))
                else:
                    self._held.add(key)
            except psycopg.errors.OutOfMemory:
                # The server's table of locks is full, with those of many: at worst two encode the same.
                return Claim.MINE
            except psycopg.OperationalError:
                self._hang_up()
                raise
            return Claim.KNOWN if known else Claim.MINE

    def release(self, digests: Iterable[bytes]) -> None:
        """See `Claims.release`."""
        keys = [self._key(digest) for digest in digests]
        with self._guard:
            self._held.difference_update(keys)
            if keys and self._link is not None:
                try:
                    self._link.execute("SELECT pg_advisory_unlock(key) FROM unnest(%b::int8[]) AS key", (keys,))
                except psycopg.OperationalError:
                    self._hang_up()

    def renew(self) -> None:
        """Claim again what was lost with the connection."""
        with self._guard, translated(self._database.place, "sync"):
            if self._link is not None and not is_there(self._link):
                self._hang_up()
            if self._held:
                self._connected()

    def close(self) -> None:
        """Let go of all of them."""
        with self._guard:
            self._held.clear()
            if self._link is not None:
                with suppress(psycopg.Error):
                    self._link.execute("SELECT pg_advisory_unlock_all()")
                self._hang_up()

    def _key(self, digest: bytes) -> int:
        name = f"{self._database.identity} {self._model_id} ".encode() + digest
        return int.from_bytes(hashlib.sha256(name).digest()[:8], "big", signed=True)

    def _connected(self) -> Link:
        """A connection of its own: a lock that its session holds already, it would be given a second time."""
        if self._link is None:
            self._link = self._database.connect("hold")
            if self._held:  # lost with the connection. What somebody else has claimed since, two encode at worst
                again = "SELECT pg_try_advisory_lock(key) FROM unnest(%b::int8[]) AS key"
                self._link.execute(again, (list(self._held),))
        return self._link

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

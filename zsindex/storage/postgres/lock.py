"""The locks of a library on a server: advisory locks of a session, which the server releases when the connection is
lost, with a process or a network.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import psycopg

from zsindex.errors import LibraryBusy
from zsindex.storage.postgres.database import Link, PostgresDatabase, signature
from zsindex.storage.postgres.failures import translated


class ServerLock:
    """A lock over threads, processes and machines that knows who holds it. Reentrant within a thread."""

    def __init__(self, database: PostgresDatabase, name: str, *, timeout_s: float) -> None:
        """Args:
        timeout_s: how long `hold` waits for somebody else.
        """
        self.timeout_s = timeout_s
        self._database = database
        self._key = database.key(name)
        self._of_thread = threading.local()
        self._last: Link | None = None  # that it was taken on

    def hold(self, purpose: str, *, wait: bool = True, shared: bool = False) -> AbstractContextManager[object]:
        """Hold the lock for a ``with`` block.

        Args:
            wait: for somebody else who holds it.
            shared: others who say so may hold it, too.

        Raises:
            LibraryBusy: somebody else kept it for longer than `timeout_s`; the message says who, and since when.
            LibraryReadOnly: on a standby, whose locks exclude nobody.
        """
        held = getattr(self._of_thread, "held", False)
        return nullcontext() if held else self._hold(purpose, wait, shared)

    def is_held(self) -> bool:
        """Whether some thread holds it through this object: asks the server."""
        link = self._last
        if link is None:
            return False
        try:
            link.execute("SELECT 1")
        except psycopg.Error:
            return False
        return link is self._last

    @contextmanager
    def _hold(self, purpose: str, wait: bool, shared: bool) -> Iterator[None]:
        self._database.require_writable(purpose)
        place = self._database.place
        kind = "_shared" if shared else ""
        with translated(place, purpose), self._database.link("hold") as link:
            self._take(link, purpose, kind, self.timeout_s if wait else 0)
            self._of_thread.held, self._last = True, link
            try:
                yield
            finally:
                self._of_thread.held, self._last = False, None
                with suppress(psycopg.Error):  # the connection is lost, and with it the lock
                    link.execute(f"SELECT pg_advisory_unlock{kind}(%s)", (self._key,))

    def _take(self, link: Link, purpose: str, kind: str, timeout_s: float) -> None:
        milliseconds = round(timeout_s * 1000)
        link.execute(
            "SELECT set_config('application_name', %s, false), set_config('lock_timeout', %s, false)",
            (signature(purpose), str(milliseconds)),
        )
        if milliseconds:
            with suppress(psycopg.errors.LockNotAvailable):
                link.execute(f"SELECT pg_advisory_lock{kind}(%s)", (self._key,))
                return
        else:
            taken = link.execute(f"SELECT pg_try_advisory_lock{kind}(%s)", (self._key,)).fetchone()
            if taken is not None and taken[0]:
                return
        raise LibraryBusy(self._database.place, holder=self._database.holder(self._key), waited_s=timeout_s)

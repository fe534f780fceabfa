"""The locks of a library on a server: advisory locks of a session, which the server releases when the connection is
lost, with a process or a network.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import psycopg

from zsindex.errors import LibraryBusy
from zsindex.records import Progress
from zsindex.storage.postgres.database import Link, PostgresDatabase, is_there, signature
from zsindex.storage.postgres.failures import BUSY_TIMEOUT_S, translated

_NAME = "SELECT set_config('application_name', %s, false)"


class ServerLock:
    """A lock over threads, processes and machines that knows who holds it. Reentrant within a thread.

    It is lost with its connection. Whoever holds it takes it again before the next transaction that writes, or is told
    that somebody else has it.
    """

    def __init__(self, database: PostgresDatabase, name: str, *, timeout_s: float) -> None:
        """Args:
        timeout_s: how long `hold` waits for somebody else.
        """
        self.timeout_s = timeout_s
        self._database = database
        self._key = database.key(name)
        self._of_thread = threading.local()
        self._last: _Holding | None = None

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
        holding = self._last
        return holding is not None and holding.is_there()

    def tell(self, progress: Progress) -> None:
        """Let others know how far the work is that it is held for: asks the server."""
        holding = self._last
        if holding is not None:
            holding.tell(progress)

    def told(self) -> list[tuple[str, Progress]]:
        """Who holds it now and has told how far they are: asks the server."""
        return self._database.told(self._key)

    @contextmanager
    def _hold(self, purpose: str, wait: bool, shared: bool) -> Iterator[None]:
        self._database.require_writable(purpose)
        holding = _Holding(self._database, self._key, purpose, shared=shared)
        try:
            holding.take(self.timeout_s if wait else 0)
            self._of_thread.held, self._last = True, holding
            with self._database.holding(holding):
                yield
        finally:
            self._of_thread.held, self._last = False, None
            holding.let_go()


class _Holding:
    """A lock that is held, on a connection of its own."""

    def __init__(self, database: PostgresDatabase, key: int, purpose: str, *, shared: bool) -> None:
        self._database, self._key, self._purpose = database, key, purpose
        self._kind = "_shared" if shared else ""
        self._since = time.strftime("%H:%M:%S")
        self._link: Link | None = None
        self._guard = threading.Lock()

    def take(self, timeout_s: float) -> None:
        """Wait for it."""
        with translated(self._database.place, self._purpose):
            link = self._database.take_link("hold")
            try:
                self._lock(link, timeout_s)
            except BaseException:
                self._database.give_back("hold", link)
                raise
        self._link = link

    def renew(self) -> None:
        """Take it again if it was lost with the connection; see `Renewable`."""
        with self._guard:
            if self._link is None or not is_there(self._link):
                if self._link is not None:
                    self._link.close()
                    self._link = None
                self.take(BUSY_TIMEOUT_S)

    def is_there(self) -> bool:
        """Whether the server still knows of it."""
        with self._guard:
            if self._link is None:
                return False
            try:
                self._link.execute("SELECT 1")
            except psycopg.Error:
                return False
            return True

    def tell(self, progress: Progress) -> None:
        """Show others how far the work is; if the connection is lost, so is that, until the next time."""
        with self._guard:
            if self._link is not None and is_there(self._link):
                with suppress(psycopg.Error):
                    self._link.execute(_NAME, (signature(self._purpose, self._since, progress),))

    def let_go(self) -> None:
        """Release it."""
        with self._guard:
            if self._link is not None:
                with suppress(psycopg.Error):  # the connection is lost, and with it the lock
                    self._link.execute(f"SELECT pg_advisory_unlock{self._kind}(%s)", (self._key,))
                self._database.give_back("hold", self._link)
                self._link = None

    def _lock(self, link: Link, timeout_s: float) -> None:
        milliseconds = round(timeout_s * 1000)
        link.execute(
            f"{_NAME}, set_config('lock_timeout', %s, false)",
            (signature(self._purpose, self._since), str(milliseconds)),
        )
        if milliseconds:
            with suppress(psycopg.errors.LockNotAvailable):
                link.execute(f"SELECT pg_advisory_lock{self._kind}(%s)", (self._key,))
                return
        else:
            taken = link.execute(f"SELECT pg_try_advisory_lock{self._kind}(%s)", (self._key,)).fetchone()
            if taken is not None and taken[0]:
                return
        raise LibraryBusy(self._database.place, holder=self._database.holder(self._key), waited_s=timeout_s)

"""Who is let in, and when: ASGI middleware that limits rates, bodies and requests at work, and what it counts with."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zsindex.index.together import NobodyWaits, nobody_waits
from zsindex.models.encoder import around_model, may_keep
from zsindex.web.limits import Limits
from zsindex.web.problems import Problem, busy
from zsindex.web.security import path_of

MOST_CLIENTS = 4096
# Their bodies may hold images.
WITH_IMAGES = ("/v1/classify", "/v1/search", "/v1/classify/upload", "/v1/search/upload", "/v1/embed", "/predict")
# Answered whatever else is going on, and streams, which last.
NOT_COUNTED = ("/healthz", "/readyz", "/metrics")
STREAM = "/events"


class RequestRates:
    """A bucket of requests for each client that refills steadily; holds twice what comes in a second."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one request out of a client's bucket; returns 0, or in how many seconds there will be one."""
        if not self._per_s:
            return 0.0
        most, now = max(1.0, 2 * self._per_s), self._clock()
        left, since = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - since) * self._per_s)
        allowed = left >= 1
        self._buckets[client] = (left - 1 if allowed else left, now)
        while len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._per_s


class CacheAllowance:
    """Bytes that all readers together may have cached in an hour."""

    def __init__(self, bytes_per_hour: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = bytes_per_hour
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._since = float(bytes_per_hour), clock()

    def take(self, n_bytes: int) -> bool:
        """Whether so many more may be kept. It refills steadily."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._since) * self._most / 3600)
            self._since = now
            if n_bytes > self._left:
                return False
            self._left -= n_bytes
            return True


class Gate:
    """Lets a few in at a time, has others wait in order, and sends the rest away.

    A request that waits for a model gives its place to another one meanwhile, or a few new words would hold up all
    those who ask for what is in the cache.
    """

    def __init__(self, *, running: int, waiting: int, wait_s: float, encoding: int) -> None:
        """Args:
        running, waiting: at most; those who wait do for up to `wait_s`.
        encoding: who wait for a model, at most.
        """
        self._most_running, self._most_waiting, self._wait_s = running, waiting, wait_s
        self._most_encoding = encoding
        self._queue: deque[asyncio.Future[None]] = deque()
        self._counting = threading.Lock()  # of `encoding`, which is counted in the threads that answer
        self.running = self.encoding = 0
        self._left_at = -math.inf

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    @property
    def quiet_for_s(self) -> float:
        """For how long nobody has been in, or waited for a model; 0 while somebody is."""
        return 0.0 if self.running or self.encoding else time.monotonic() - self._left_at

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Be in.

        Raises:
            Problem: too many wait already, or the wait was too long.
        """
        if self.running < self._most_running:
            self.running += 1
        else:
            await self._wait()
        token = around_model.set(partial(self._outside, asyncio.get_running_loop()))
        try:
            yield
        finally:
            around_model.reset(token)
            self._pass_on()

    @contextmanager
    def _outside(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Be in without counting, in the thread that answers.

        Raises:
            Problem: too many are.
        """
        with self._counting:
            if self.encoding >= self._most_encoding:
                raise busy("too many requests are waiting for the model")
            self.encoding += 1
        loop.call_soon_threadsafe(self._pass_on)
        try:
            yield
        finally:
            with self._counting:
                self.encoding -= 1
            loop.call_soon_threadsafe(self._come_back)

    def _come_back(self) -> None:
        # Whoever has its place by now keeps it: for a moment there is one more.
        self.running += 1

    async def _wait(self) -> None:
        if len(self._queue) >= self._most_waiting:
            raise busy("too many requests are waiting")
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.done() and not turn.cancelled():  # it came in the same instant: pass it on
                self._pass_on()
            elif turn in self._queue:
                self._queue.remove(turn)
            if isinstance(error, TimeoutError):
                raise busy("the service was too busy to take this in time") from error
            raise

    def _pass_on(self) -> None:
        """Give a place to whoever waits longest; nobody can slip in between."""
        while self._queue and self.running <= self._most_running:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1
        self._left_at = time.monotonic()


class Admission:
    """ASGI middleware: 429 for too many requests, 413 for too large bodies, 408 for too slow ones.

    A body is received as a whole before the request counts as being at work: slow clients keep nobody else waiting.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        gate: Gate,
        refused: Callable[[str], None],
        readers: Callable[[int], bool],
    ) -> None:
        """Args:
        refused: told the slug of each refusal.
        readers: whether those without the right to write may have so many more bytes cached.
        """
        self._app = app
        self._limits = limits
        self._gate = gate
        self._refused = refused
        self._readers = readers
        self._rates = RequestRates(limits.requests_per_s)
        self._buffered = self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or path_of(scope) in NOT_COUNTED:
            await self._app(scope, receive, send)
            return
        started = False

        async def send_in_time(message: Message) -> None:
            nonlocal started
            started = True
            # A client that does not take its answer would keep a place for ever.
            async with asyncio.timeout(self._limits.send_s):
                await send(message)

        try:
            await self._answer(scope, receive, send_in_time)
        except Problem as problem:
            self._refused(problem.slug)
            if started:
                raise
            await problem.response()(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        wait_s = self._rates.take((scope.get("client") or ("unknown",))[0])
        if wait_s:
            raise busy("too many requests from this address", slug="rate", retry_after_s=wait_s)
        if path_of(scope).endswith(STREAM):
            if self._streams >= self._limits.streams:
                raise busy("too many event streams are open")
            self._streams += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._streams -= 1
            return
        size = 0

        def count(n: int) -> None:
            nonlocal size
            if self._buffered + n > self._limits.buffered_bytes:
                raise busy("too much is being uploaded at once")
            size += n
            self._buffered += n

        try:
            body = await self._body(scope, receive, count)
            if body is None:
                return  # the client is gone
            if scope["state"]["right"] != "write":
                may_keep.set(self._readers)  # of this request's task alone
            gone = False

            async def watch() -> None:
                nonlocal gone
                gone = (await receive())["type"] == "http.disconnect"

            watching = asyncio.create_task(watch())
            nobody_waits.set(lambda: gone)
            try:
                async with self._gate.enter():
                    if not gone:
                        await self._app(scope, _replayed(body, receive), send)
            except NobodyWaits:
                return
            finally:
                watching.cancel()
        finally:
            self._buffered -= size

    async def _body(self, scope: Scope, receive: Receive, count: Callable[[int], None]) -> bytes | None:
        limits = self._limits
        most = limits.upload_bytes if path_of(scope) in WITH_IMAGES else limits.body_bytes
        too_large = Problem(
            "too-large", 413, f"the body is larger than {most:,} bytes", headers={"Connection": "close"}
        )
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared[:20]) > most:
            raise too_large
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(limits.body_s):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part = message.get("body", b"")
                    size += len(part)
                    if size > most:
                        raise too_large
                    count(len(part))
                    parts.append(part)
                    more = message.get("more_body", False)
        except TimeoutError as error:
            detail = f"the body did not arrive within {limits.body_s:g} s"
            raise Problem("too-slow", 408, detail, headers={"Connection": "close"}) from error
        return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give the app a body that was received already; then whatever else comes, which is the end of the connection."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay

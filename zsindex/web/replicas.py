"""Services on a standby of the library's server, which has everything a little later: none answers with less than what
a client has seen.

A cursor, an entity tag and the key of an answer say of which snapshot they are. For all else there is a header: what
stores answers with the position up to which that went, and who sends it along is answered from there on. A service that
is not as far waits a moment, and then says when to come again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zsindex.errors import ZsindexError
from zsindex.storage.protocol import Storage
from zsindex.web.problems import RETRY_AFTER_S, Problem
from zsindex.web.security import SAFE, path_of
from zsindex.web.service import Service

HEADER = "Zsindex-Position"
WAIT_S = 2.0
LOOK_AGAIN_S = 0.05
_POSITION = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")
# In the tags of `zsindex.web.conditional.etag_of`.
_SNAPSHOT = re.compile(r'-(\d{1,18})\.(\d{1,18})\.(\d{1,18})"')


def require_seen(service: Service, request: Request, *snapshots: tuple[int, int, int]) -> None:
    """Have what a client has seen: some snapshots, and those of the entity tags that it sends.

    Raises:
        Problem: a standby does not have it yet.
    """
    tags = _SNAPSHOT.findall(request.headers.get("if-none-match", ""))
    wanted = {*snapshots, *((int(w), int(g), int(r)) for w, g, r in tags)}
    # A server that does not lag has all that there is; what is ahead of it is another library's.
    if not wanted or not service.library.session.storage.lags():
        return
    least = tuple(map(max, zip(*wanted, strict=True)))

    def is_there() -> bool:
        return all(now >= seen for now, seen in zip(service.library.view().snapshot, least, strict=True))

    _wait_for(is_there)


def _wait_for(is_there: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not is_there():
        if time.monotonic() > give_up_at:
            detail = "this service reads from a standby, which has not received yet what you have seen; come again"
            raise Problem("behind", 503, detail, headers={"Retry-After": str(RETRY_AFTER_S)})
        time.sleep(LOOK_AGAIN_S)


class Positions:
    """ASGI middleware for the header, over a library on a server."""

    def __init__(self, app: ASGIApp, *, storage: Storage) -> None:
        self._app = app
        self._storage = storage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or not path_of(scope).startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER)
        if given is not None:
            try:
                if not _POSITION.fullmatch(given):
                    raise Problem("position", 422, f"this is not what {HEADER} was in an answer")
                await run_in_threadpool(_wait_for, lambda: self._storage.has_reached(given))
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
            except ZsindexError:
                pass  # the endpoint says what is wrong
        elif scope["method"] in SAFE:
            await self._app(scope, receive, send)
            return

        async def send_with_position(message: Message) -> None:
            if message["type"] == "http.response.start":
                with suppress(ZsindexError):
                    MutableHeaders(scope=message)[HEADER] = await run_in_threadpool(self._storage.position)
            await send(message)

        await self._app(scope, receive, send_with_position)

"""``HEAD`` for whatever there is ``GET`` for."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _Sent(Exception):
    """The head is sent; what would go on has no one to go to."""


class Head:
    """ASGI middleware: answers ``HEAD`` as ``GET``, without a body. A stream ends where it would begin."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        sent = False

        async def send_head(message: Message) -> None:
            nonlocal sent
            if message["type"] != "http.response.body":
                await send(message)
                return
            if not sent:
                sent = True
                await send({"type": "http.response.body", "body": b""})
            if message.get("more_body"):
                raise _Sent

        try:
            await self._app({**scope, "method": "GET"}, receive, send_head)
        except _Sent:
            return
        except BaseExceptionGroup as group:  # of a stream's tasks
            if group.split(_Sent)[1] is not None:
                raise

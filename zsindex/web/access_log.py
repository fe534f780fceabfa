"""The outermost ASGI middleware: every answer gets its headers, a line in the log and a count; a bug gets an answer."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zsindex.web import logs
from zsindex.web.metrics import Metrics
from zsindex.web.problems import Problem
from zsindex.web.security import HEADERS, path_of


class AccessLog:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, request_id = time.perf_counter(), secrets.token_hex(8)
        status, size = 0, 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                there = {name.lower() for name, _ in message.get("headers", ())}
                added = [header for header in HEADERS if header[0] not in there]
                # Answers are about somebody's photos: shared caches keep nothing, and browsers ask each time.
                if b"cache-control" not in there:
                    added.append((b"cache-control", b"private, no-cache"))
                added.append((b"x-request-id", request_id.encode()))
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001  the last place where it can be answered
            is_slow = isinstance(error, TimeoutError) and status
            logs.event(
                "too slow to take its answer" if is_slow else "failure",
                level=logging.WARNING if is_slow else logging.ERROR,
                error=None if is_slow else error,
                id=request_id,
            )
            if not status:
                problem = Problem(
                    "failure", 500, "something went wrong; the log says what, under this id", id=request_id
                )
                await problem.response()(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "none")
            # Not the query: it may be private, and a path says what was asked of.
            logs.event(
                "request",
                id=request_id,
                method=scope["method"],
                path=_LONG.sub(r"\1…", path_of(scope)),
                status=status,
                ms=round(1000 * seconds, 1),
                bytes=size,
                client=(scope.get("client") or ("unknown",))[0],
            )
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.answered(method, route, status, seconds)


# The question in the key of an answer, for one; see `zsindex.web.cursors.AnswerName`.
_LONG = re.compile(r"([^/]{32})[^/]{32,}")
# Others could be invented without end.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})

"""Questions in URLs that were understood before: who has the answer already is told so without reading them again.

A client that shows an answer asks for it again and again. Reading its URL then takes several times as long as finding
out that nothing has changed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from zsindex.errors import ZsindexError
from zsindex.web.conditional import given_tags
from zsindex.web.problems import Problem
from zsindex.web.schemas.classify import ClassifyRequest
from zsindex.web.security import path_of
from zsindex.web.service import Service

Tag: TypeAlias = Callable[[Service, ClassifyRequest], str]

# So many at most, and no longer ones.
MOST, LONGEST = 256, 8192
_PATH = "/v1/classify"
_NOTED = "understood"


def note(request: Request, body: ClassifyRequest) -> None:
    """Remember how the URL of a request was understood."""
    request.scope["state"][_NOTED] = body


class Known:
    """ASGI middleware: 304 for questions that were understood before, if their answer is what the client has.

    All else goes on as it came, also what fails here: it fails there again, and says why.
    """

    def __init__(self, app: ASGIApp, *, service: Service, tag: Tag) -> None:
        """Args:
        tag: that an answer has now.
        """
        self._app = app
        self._service = service
        self._tag = tag
        self._understood: OrderedDict[bytes, tuple[ClassifyRequest, Any]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or path_of(scope) != _PATH:
            await self._app(scope, receive, send)
            return
        query: bytes = scope["query_string"]
        there = self._understood.get(query)
        if there is not None:
            self._understood.move_to_end(query)
            body, route = there
            tags = given_tags(scope)
            if tags and (etag := await run_in_threadpool(self._etag, body)) in tags:
                scope["route"] = route  # as the log and the counts name it
                await Response(status_code=304, headers={"ETag": etag})(scope, receive, send)
                return
        await self._app(scope, receive, send)
        noted = scope["state"].get(_NOTED)
        if noted is not None and len(query) <= LONGEST:
            self._understood[query] = noted, scope.get("route")
            while len(self._understood) > MOST:
                self._understood.popitem(last=False)

    def _etag(self, body: ClassifyRequest) -> str | None:
        try:
            return self._tag(self._service, body)
        except (ZsindexError, Problem):
            return None

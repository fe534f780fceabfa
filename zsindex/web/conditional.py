"""Conditional requests: entity tags, and answers that a client has already."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from zsindex.web.problems import Problem


def etag_of(*parts: Any, snapshot: tuple[int, int, int] | None = None) -> str:
    """An entity tag that stands for what an answer is a function of.

    Args:
        snapshot: of the photos, where a service that is not as far shall know that; see `zsindex.web.replicas`.
    """
    of = "" if snapshot is None else "-{}.{}.{}".format(*snapshot)
    return f'"{hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]}{of}"'


def given_tags(scope: Scope) -> list[str]:
    """The entity tags of answers that a client has."""
    given = Headers(scope=scope).get("if-none-match", "")
    return [tag.strip().removeprefix("W/") for tag in given.split(",")] if given else []


def unchanged(request: Request, etag: str, **headers: str) -> Response | None:
    """What to answer to somebody who has this answer already; None if it must be sent.

    For GET and HEAD that is 304; RFC 9110 wants 412 for other methods.
    """
    given = given_tags(request.scope)
    if etag not in given and "*" not in given:
        return None
    if request.method in ("GET", "HEAD"):
        return Response(status_code=304, headers={"ETag": etag, **headers})
    raise Problem("unchanged", 412, "the answer is the one that If-None-Match names", headers={"ETag": etag})

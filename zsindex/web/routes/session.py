"""``/v1/session``: what a client may do, and the sessions of browsers."""

from __future__ import annotations

from typing import Literal, TypedDict

from fastapi import APIRouter, Request
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from zsindex.web.problems import Problem
from zsindex.web.schemas.session import SessionRequest, SessionRight
from zsindex.web.security import COOKIE, SESSION_S, session_of
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["system"])


class _OfCookie(TypedDict):
    path: str
    httponly: bool
    samesite: Literal["strict"]
    secure: bool


@router.get("/v1/session", response_model=SessionRight, summary="What this client may do")
def session(service: ServiceHere, request: Request) -> Response:
    """401 where a token is needed and none was given."""
    security, headers = service.security, request.headers
    if not security.tokens:
        return JSONResponse({"right": "read" if security.read_only else "write"})
    secret, known = _bearer(headers), session_of(headers)
    right = security.right_of(secret) if secret else security.right_of_session(known) if known else None
    if right is None:
        raise Problem("token", 401, "a valid token is needed", headers={"WWW-Authenticate": "Bearer"})
    return JSONResponse({"right": "read" if security.read_only else right})


@router.post("/v1/session", response_model=SessionRight, summary="Start a browser session")
def begin_session(service: ServiceHere, request: Request, body: SessionRequest) -> Response:
    """Takes a token and sets a cookie, since a browser sends no token with an image."""
    security = service.security
    if not security.tokens:
        return JSONResponse({"right": "read" if security.read_only else "write"})
    value = security.begin_session(body.token)
    if value is None:
        raise Problem("token", 401, "this is not a token of this service", headers={"WWW-Authenticate": "Bearer"})
    right = security.right_of_session(value)
    response = JSONResponse({"right": "read" if security.read_only else right})
    response.set_cookie(COOKIE, value, max_age=SESSION_S, **_of_cookie(request))
    return response


@router.delete("/v1/session", status_code=204, summary="End a browser session")
def end_session(service: ServiceHere, request: Request) -> Response:
    """Ends it here, and deletes its cookie."""
    known = session_of(request.headers)
    if known is not None:
        service.security.end_session(known)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, **_of_cookie(request))
    return response


def _of_cookie(request: Request) -> _OfCookie:
    """Below a prefix it is not sent to whatever else the host shows."""
    return {
        "path": request.scope.get("root_path") or "/",
        "httponly": True,
        "samesite": "strict",
        "secure": request.url.scheme == "https",
    }


def _bearer(headers: Headers) -> str | None:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None

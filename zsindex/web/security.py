"""Who may ask: Host, Origin and token, looked at before anything else of a request is."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from zsindex.web.problems import Problem

Right: TypeAlias = Literal["read", "write"]

COOKIE = "zsindex_session"
SESSION_S = 30 * 24 * 3600
# Sessions that are remembered as ended.
MOST_SESSIONS = 1000
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# What anybody who reaches the service may have: nothing of it is about the library.
PUBLIC = ("/healthz", "/readyz", "/v1/session")
PUBLIC_BELOW = "/static/"

# No inline script or style; nothing from elsewhere; nobody may put the page into a frame.
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


@dataclass(frozen=True, slots=True)
class Token:
    """A secret and what it allows. Only its hash is kept."""

    right: Right
    sha256: bytes

    @classmethod
    def of(cls, right: Right, secret: str) -> Token:
        """From the secret itself."""
        return cls(right, _hash(secret))


@dataclass(frozen=True)
class Security:
    """Who may ask for what.

    Attributes:
        hosts: what a Host header may say, exactly: ``127.0.0.1:8765``; without a port where it is the scheme's own.
        tokens: one of them must come with every request; none are needed where there are none.
        read_only: nobody may write, with whatever token.
        fetch_urls: whether images may be fetched from URLs that clients name.
        places: whether clients that ask for it are told where photos were taken. Their files say so in any case.
        photo_folders: what clients may have synced, beside folders that were synced before.
        immich: the name under which an immich server, without a token, asks for vectors of the library's model; None:
            none may.
        own_addresses: a Host header may also say the address of this machine that the connection came to. A page of
            another name that was made to resolve to this machine says that name, and no address.
    """

    hosts: frozenset[str]
    tokens: tuple[Token, ...] = ()
    read_only: bool = False
    fetch_urls: bool = False
    places: bool = False
    photo_folders: tuple[str, ...] = ()
    immich: str | None = None
    own_addresses: bool = False
    _ended: OrderedDict[str, None] = field(default_factory=OrderedDict, repr=False, compare=False)

    def right_of(self, secret: str) -> Right | None:
        """What a token allows; None if it is none. Takes as long for a wrong one as for a right one."""
        given, found = _hash(secret), None
        for token in self.tokens:
            if hmac.compare_digest(given, token.sha256):
                found = token.right
        return found

    def begin_session(self, secret: str) -> str | None:
        """A cookie's value for a browser, which cannot send a token with an image; None for a wrong token.

        Whoever has the same tokens knows it, without having been told: another process, another host, this service
        when it was started again. It ends after `SESSION_S`, or with its token.
        """
        given = _hash(secret)
        if self.right_of(secret) is None:
            return None
        head = f"{int(time.time()) + SESSION_S}.{secrets.token_urlsafe(16)}"
        return f"{head}.{_sign(given, head)}"

    def end_session(self, session: str) -> None:
        """Know it no more, here; its browser is told to forget it."""
        if self.right_of_session(session) is not None:
            self._ended[session] = None
            while len(self._ended) > MOST_SESSIONS:
                self._ended.popitem(last=False)

    def right_of_session(self, session: str) -> Right | None:
        """What a session allows; None if there is none, or no longer."""
        head, _, signature = session.rpartition(".")
        until, right = head.partition(".")[0], None
        for token in self.tokens:
            if hmac.compare_digest(signature.encode("utf-8", "replace"), _sign(token.sha256, head).encode()):
                right = token.right
        is_over = right is None or time.time() >= int(until) or session in self._ended
        return None if is_over else right


class Guard:
    """ASGI middleware: refuses requests by Host, Origin and token, and notes in the scope what the others may."""

    def __init__(self, app: ASGIApp, *, security: Security, public: frozenset[str] = frozenset()) -> None:
        """Args:
        public: further paths for which no token is needed.
        """
        self._app = app
        self._public = public | frozenset(PUBLIC)
        self._security = security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "websocket":
            raise RuntimeError("this service has no websockets")
        if scope["type"] == "http":
            try:
                scope.setdefault("state", {})["right"] = self._right(scope)
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _right(self, scope: Scope) -> Right:
        headers = Headers(scope=scope)
        path, method = path_of(scope), scope["method"]
        # Against DNS rebinding: a page of another name that was made to resolve to this machine says that name.
        hosts = headers.getlist("host")
        known = self._security.hosts
        if self._security.own_addresses:
            known = known | _came_to(scope)
        if len(hosts) != 1 or hosts[0].lower() not in known:
            raise Problem("host", 421, "this service does not answer to that Host; zsindex serve --allow-host adds one")
        self._check_origin(headers, method, is_page=not path.startswith("/v1/"))
        if path in self._public or path.startswith(PUBLIC_BELOW):
            return "read"
        if not self._security.tokens:
            return "read" if self._security.read_only else "write"
        right = self._right_from(headers)
        if right is None:
            raise Problem("token", 401, "a valid token is needed", headers={"WWW-Authenticate": "Bearer"})
        return "read" if self._security.read_only else right

    def _check_origin(self, headers: Headers, method: str, *, is_page: bool) -> None:
        origins = headers.getlist("origin")
        if origins:
            scheme, _, host = origins[0].lower().partition("://")
            if len(origins) > 1 or scheme not in ("http", "https") or host != headers["host"].lower():
                raise Problem("origin", 403, "other web sites may not use this service")
        # A browser says so, too, where it sends no Origin: images and links of other sites. "same-site" is another
        # port of this machine. People may follow a link to a page.
        site = headers.get("sec-fetch-site", "none")
        follows_link = is_page and method in SAFE and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("same-origin", "none") and not follows_link:
            raise Problem("origin", 403, "other web sites may not use this service")

    def _right_from(self, headers: Headers) -> Right | None:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme:
            return self._security.right_of(secret.strip()) if scheme.lower() == "bearer" else None
        session = session_of(headers)
        return None if session is None else self._security.right_of_session(session)


def session_of(headers: Headers) -> str | None:
    """The session that a request's cookies name."""
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return None


def plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address, as IPv4 where it is one that IPv6 has wrapped; without the zone of a link."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def with_port(host: str, port: int) -> str:
    """A name or an address as a Host header says it."""
    name = f"[{host}]" if ":" in host else host
    return name if port == 80 else f"{name}:{port}"


def _came_to(scope: Scope) -> frozenset[str]:
    """What a Host header says that names the address of this machine by which a request came."""
    address, port = scope.get("server") or ("", None)
    try:
        return frozenset({with_port(str(plain_address(address)), port or 80)})
    except ValueError:  # a socket of another kind
        return frozenset()


def path_of(scope: Scope) -> str:
    """The path below where the service is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _sign(token_sha256: bytes, head: str) -> str:
    return hmac.new(token_sha256, f"zsindex session {head}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()

"""Behind a proxy: what it says of the client, and the path below which it shows the service."""

from __future__ import annotations

import ipaddress
import re

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from zsindex.web.security import Security, plain_address

# Letters that need no escaping in a URL, a header or a page.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
# What the service itself has there.
_PAGES = frozenset({"docs", "compare", "search", "library"})
_OWN = frozenset({"v1", "static", "healthz", "readyz", "metrics", "ping", "predict"}) | _PAGES


def prefix_of(text: str) -> str:
    """A path below which a service is shown, such as ``/photos``; empty for none.

    Raises:
        ValueError: it is no such path, or begins as a path of the service itself does.
    """
    prefix = text.rstrip("/")
    if not prefix:
        return ""
    if not _PREFIX.fullmatch(prefix) or any(part.strip(".") == "" for part in prefix.split("/")[1:]):
        raise ValueError(f"{text} is not a path such as /photos")
    first = prefix.split("/")[1]
    if first in _OWN:
        raise ValueError(f"/{first} is a path of the service itself; take another one")
    return prefix


def proxies_of(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses and networks of proxies, as `Security.proxies` has them.

    Raises:
        ValueError: one of them is neither.
    """
    found = []
    for address in addresses:
        try:
            found.append(str(ipaddress.ip_network(address)))
        except ValueError as error:
            raise ValueError(f"{address} is neither an address nor a network such as 10.0.0.0/8") from error
    return tuple(found)


class Forwarded:
    """ASGI middleware: requests are looked at as the proxy's clients sent them.

    Proxies that are trusted say in ``X-Forwarded-For`` who the client is, and in ``X-Forwarded-Proto`` whether it came
    by TLS; from anybody else these headers mean nothing. Below a prefix, a proxy may take it off or leave it.
    """

    def __init__(self, app: ASGIApp, *, security: Security) -> None:
        self._prefix = security.root_path
        self._app = app
        self._told: ASGIApp = app
        if security.proxies:
            self._told = ProxyHeadersMiddleware(app, trusted_hosts=list(security.proxies))  # type: ignore[arg-type, assignment]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = dict(scope)
        if self._prefix:
            scope["root_path"] = self._prefix
            path: str = scope["path"]
            if path == self._prefix:
                scope["path"] = f"{path}/"
            elif not path.startswith(f"{self._prefix}/"):
                scope["path"] = self._prefix + path
        client = scope.get("client")
        if client is not None:
            scope["client"] = (_plain(client[0]), client[1])
        await self._told(scope, receive, send)


def _plain(address: str) -> str:
    """IPv4 as such, also where a socket of both kinds has wrapped it."""
    try:
        return str(plain_address(address))
    except ValueError:
        return address

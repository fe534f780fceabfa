"""Fetching an image from a URL that a client names: off unless switched on, and never from this network.

A name is resolved once, every address that it stands for must be a public one, and the connection goes to that very
address: what the name stands for a moment later does not matter. The same for each redirect. No proxies are used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from urllib.parse import SplitResult, urljoin, urlsplit

import zsindex
from zsindex.errors import FetchError

PORTS = {"http": 80, "https": 443}
MOST_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)
TIMEOUT_S = 10.0
_PIECE = 1 << 16


def fetch(url: str, *, max_bytes: int, timeout_s: float = TIMEOUT_S) -> bytes:
    """Read a URL.

    Raises:
        FetchError: it is not http(s) at its usual port, leads into a private network, or cannot be read.
    """
    deadline = time.monotonic() + timeout_s
    at = url
    for _ in range(1 + MOST_REDIRECTS):
        try:
            answer = _request(urlsplit(at), max_bytes=max_bytes, deadline=deadline)
        except FetchError:
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:
            # Not the system's own words, which tell apart what is open, closed and filtered behind this machine.
            raise FetchError(url, "it cannot be read") from error
        if isinstance(answer, bytes):
            return answer
        at = urljoin(at, answer)
    raise FetchError(url, f"it redirects more than {MOST_REDIRECTS} times")


def public_address(host: str, port: int) -> str:
    """The address that a host name stands for.

    Raises:
        FetchError: one of its addresses is not a public one.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        # An address of IPv4 in the clothes of IPv6 is what it stands for.
        inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
        if not address.is_global or address.is_multicast or (inner is not None and not inner.is_global):
            raise FetchError(host, "it leads into a private network")
    return addresses[0]


def _request(url: SplitResult, *, max_bytes: int, deadline: float) -> bytes | str:
    """The content, or where a redirect leads."""
    if url.scheme not in PORTS or not url.hostname or url.username is not None:
        raise FetchError(url.geturl(), "only plain http and https URLs are fetched")
    port = PORTS[url.scheme]
    if url.port not in (None, port):
        raise FetchError(url.geturl(), "only the usual ports are fetched from")
    address = public_address(url.hostname, port)
    connection = http.client.HTTPConnection(url.hostname, port, timeout=_left(deadline))
    raw = socket.create_connection((address, port), timeout=_left(deadline))
    try:
        connection.sock = (
            ssl.create_default_context().wrap_socket(raw, server_hostname=url.hostname)
            if url.scheme == "https"
            else raw
        )
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = {"User-Agent": f"zsindex/{zsindex.__version__}", "Accept": "image/*", "Connection": "close"}
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        if response.status in REDIRECTS:
            return response.getheader("Location") or ""
        if response.status != 200:
            raise FetchError(url.geturl(), f"the server answers {response.status}")
        data = bytearray()
        while piece := response.read1(_PIECE):
            data += piece
            if len(data) > max_bytes:
                raise FetchError(url.geturl(), f"it is larger than {max_bytes:,} bytes")
            connection.sock.settimeout(_left(deadline)) if connection.sock is not None else None
        return bytes(data)
    finally:
        connection.close()
        raw.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left

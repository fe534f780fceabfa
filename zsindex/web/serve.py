"""Listening: sockets, tokens from a file, and a server that does not wait for slow clients for ever."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import secrets
import socket
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from zsindex.errors import BadTokenFile
from zsindex.library import Library
from zsindex.web import logs
from zsindex.web.app import create_app, loopback_hosts
from zsindex.web.limits import Limits
from zsindex.web.problems import RETRY_AFTER_S, Problem
from zsindex.web.security import HEADERS, Security, Token, plain_address, with_port
from zsindex.web.service import Service

RIGHTS = ("read", "write")
SHORTEST_TOKEN = 16
# Until the answers in work are cut off.
GRACE_S = 10
# A request's head; uvicorn's own limit is four times as large.
MOST_HEAD_BYTES = 1 << 17


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        OSError: the port is taken, or the address is not one of this machine's.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    # asyncio sets TCP_NODELAY only on connections of sockets that name their protocol. Without it the body of an answer
    # waits until the client has acknowledged its head, which clients put off for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # on Windows this would let others listen at the same port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening


def is_any(host: str) -> bool:
    """Whether it stands for all addresses of this machine: ``0.0.0.0`` and ``::``, however they are written."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:  # a name
        return False
    return plain_address(str(found[0][4][0])).is_unspecified


def hosts_of(host: str, port: int, more: Iterable[str] = ()) -> frozenset[str]:
    """What a Host header may say: names of this machine, the address that is listened at, and `more`.

    Where all addresses are listened at, these are the machine's names; `Security.own_addresses` lets in the addresses,
    which may change meanwhile.
    """
    names = {one.lower() for one in more}
    if is_any(host):
        # No page of another site has these names: what they stand for is this machine's own network's business.
        name = socket.gethostname().lower()
        names |= {with_port(one, port) for one in (name, f"{name.partition('.')[0]}.local")} if name else set()
    else:
        names.add(with_port(host.lower(), port))
    return frozenset(names | loopback_hosts(port) if is_any(host) or is_loopback(host) else names)


def read_tokens(file: Path) -> tuple[Token, ...]:
    """Tokens from a file: a right and a secret on each line, such as ``read 5f2c…``. ``#`` begins a comment.

    A file that is not there is made, with a new token for each right, for its owner's eyes only.

    Raises:
        BadTokenFile: it cannot be read or made, others may read it, or a line is wrong.
    """
    if not file.exists():
        _new_tokens(file)
    try:
        text, mode = file.read_text(encoding="utf-8"), file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise BadTokenFile(str(file), "it cannot be read") from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadTokenFile(str(file), "others may read it; chmod 600 takes that from them")
    tokens = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in RIGHTS or len(words[1]) < SHORTEST_TOKEN:
            why = f"line {number} is not a right (read, write) and a token of {SHORTEST_TOKEN} characters or more"
            raise BadTokenFile(str(file), why)
        tokens.append(Token.of("write" if words[0] == "write" else "read", words[1]))
    if not tokens:
        raise BadTokenFile(str(file), "there is no token in it")
    return tuple(tokens)


def _new_tokens(file: Path) -> None:
    lines = "".join(f"{right} {secrets.token_urlsafe(32)}\n" for right in RIGHTS)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
            opened.write(lines)
    except OSError as error:
        raise BadTokenFile(str(file), f"it cannot be made ({error.strerror})") from error


def serve(
    library: Library,
    listening: socket.socket,
    *,
    security: Security,
    limits: Limits | None = None,
    thumbnails: Path | None = None,
    drop_model_after_s: float | None = None,
    runs_jobs: bool = True,
    log_requests: bool = True,
    ready: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM: answers in work are finished, jobs are interrupted and go on another time.

    Args:
        ready: called once the service listens.
    """
    logs.to_stderr(logging.INFO if log_requests else logging.WARNING)
    app = create_app(
        library,
        security=security,
        limits=limits,
        thumbnails=thumbnails,
        drop_model_after_s=drop_model_after_s,
        runs_jobs=runs_jobs,
    )
    _Server(configured(app), ready).run(sockets=[listening])


def configured(app: FastAPI | Callable[[], FastAPI], **more: Any) -> uvicorn.Config:
    """How uvicorn serves an app of `create_app`."""
    return uvicorn.Config(
        app,
        http=_Impatient,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # see `zsindex.web.forwarded`
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
        **more,
    )


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready is not None and not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            # After a second Ctrl-C it waits for no answers, and not for this either, which goes on all the same as the
            # event loop is closed, and is logged then as a failure.
            await self.lifespan.shutdown()


class _Impatient(H11Protocol):
    """Closes a connection whose next request's head does not arrive in time; uvicorn would wait for ever. What is no
    HTTP, and too many connections, are answered with problem documents as anything else is. It serves apps of
    `create_app`, and keeps their limits.
    """

    _waits: asyncio.TimerHandle | None = None

    @property
    def _service(self) -> Service:
        service: Service = self.config.loaded_app.state.service
        return service

    @property
    def app(self) -> ASGIApp:
        """What answers the next request."""
        most = self._service.limits.connections
        return _no_room if max(len(self.connections), len(self.tasks)) >= most else self._app

    @app.setter
    def app(self, app: ASGIApp) -> None:
        self._app = app

    def send_400_response(self, msg: str) -> None:
        """Refuse what h11 cannot read, unless an answer has begun already."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            if self.cycle is not None:  # whoever is at work on it may not answer any more
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            status, headers, body = _whole(Problem("bad-request", 400, "this is no request of HTTP/1.1"))
            head = h11.Response(status_code=status, headers=headers, reason=b"Bad Request")
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_at_work():
            self._stop_waiting()
        elif self._waits is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Begin to end, with the server."""
        # Event streams end with their jobs; without that they would be waited for.
        self._service.jobs.stop_soon()
        super().shutdown()

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._waits = self.loop.call_later(self._service.limits.head_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None

    def _give_up(self) -> None:
        self._waits = None
        if not self._is_at_work() and not self.transport.is_closing():
            logs.event("connection closed", why="no request came in time")
            self.transport.close()


def _whole(problem: Problem) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """A problem document with all the headers that answers have which end a connection: status, headers, body."""
    response = problem.response()
    return response.status_code, [*response.raw_headers, *HEADERS, (b"connection", b"close")], bytes(response.body)


async def _no_room(scope: Scope, receive: Receive, send: Send) -> None:
    status, headers, body = _whole(
        Problem("busy", 503, "too many connections are open", headers={"Retry-After": str(RETRY_AFTER_S)})
    )
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def urls_of(listening: socket.socket, host: str, root_path: str = "") -> list[str]:
    """Where people reach the service, from this machine first. `hosts_of` and `Security.own_addresses` let them in.

    Args:
        host: what it was told to listen at.
        root_path: below which it is shown.
    """
    bound: Any = listening.getsockname()
    address, port = str(bound[0]), int(bound[1])
    if not is_any(host):
        return [f"http://{with_port(host, port)}{root_path}/"]
    old = address == "0.0.0.0" or not listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    hosts = [
        "127.0.0.1" if old else "::1",
        _outward(socket.AF_INET, "192.0.2.1") if old else None,
        _outward(socket.AF_INET6, "2001:db8::1") if ":" in address else None,
    ]
    return [f"http://{with_port(one, port)}{root_path}/" for one in dict.fromkeys(hosts) if one is not None]


def _outward(family: int, target: str) -> str | None:
    """The address of this machine that others see: the one by which it would send to them. Nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            found = str(probe.getsockname()[0])
    except OSError:  # there is no way out
        return None
    return found if not plain_address(found).is_link_local else None  # that of a link is no address for browsers

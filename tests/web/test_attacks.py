"""The attack table: what each attempt gets. Those about connections ask a real server in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from tests import photos
from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.waiting import WAIT_S, until
from tests.web.conftest import HOST, READ, TOKENS, URL, WRITE, Serve
from zsindex.errors import BadTokenFile, FetchError
from zsindex.library import Library
from zsindex.photos import sandbox
from zsindex.records import DecodeMode
from zsindex.web import Security, fetching
from zsindex.web import serve as serving
from zsindex.web.admission import RequestRates
from zsindex.web.decoding import UploadDecoder
from zsindex.web.limits import Limits
from zsindex.web.problems import Problem
from zsindex.web.security import Guard

SAFE = ("GET", "/v1/library", None)
UNSAFE = ("POST", "/v1/sync", {})


# --- Host, Origin, token: (what, request, headers, tokens, expected status, expected problem) -------------------------

REQUESTS: list[tuple[str, tuple[str, str, Any], dict[str, str], bool, int, str]] = [
    ("its own name", SAFE, {}, False, 200, ""),
    ("another name (DNS rebinding)", SAFE, {"Host": "evil.example:8765"}, False, 421, "host"),
    ("another port", SAFE, {"Host": "127.0.0.1:80"}, False, 421, "host"),
    ("its name as a part", SAFE, {"Host": "127.0.0.1:8765.evil.example"}, False, 421, "host"),
    ("its name as a user", SAFE, {"Host": "127.0.0.1:8765@evil.example"}, False, 421, "host"),
    ("an empty name", SAFE, {"Host": ""}, False, 421, "host"),
    ("another name, even for health", ("GET", "/healthz", None), {"Host": "evil.example"}, False, 421, "host"),
    ("a forwarded name", SAFE, {"Host": "evil.example", "X-Forwarded-Host": HOST}, False, 421, "host"),
    ("its own origin", UNSAFE, {"Origin": URL}, False, 202, ""),
    ("another origin", UNSAFE, {"Origin": "http://evil.example"}, False, 403, "origin"),
    ("another origin, reading", SAFE, {"Origin": "http://evil.example"}, False, 403, "origin"),
    ("an origin without a name", UNSAFE, {"Origin": "null"}, False, 403, "origin"),
    ("another port of this machine", UNSAFE, {"Origin": "http://127.0.0.1:3000"}, False, 403, "origin"),
    ("a form of another site", UNSAFE, {"Sec-Fetch-Site": "cross-site"}, False, 403, "origin"),
    ("a form of another port", UNSAFE, {"Sec-Fetch-Site": "same-site"}, False, 403, "origin"),
    ("an image in another site", SAFE, {"Sec-Fetch-Site": "cross-site"}, False, 403, "origin"),
    (
        "a link to data",
        SAFE,
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        False,
        403,
        "origin",
    ),
    ("no token", SAFE, {}, True, 401, "token"),
    ("a wrong token", SAFE, {"Authorization": "Bearer wrong"}, True, 401, "token"),
    ("the beginning of a token", SAFE, {"Authorization": f"Bearer {READ[:-1]}"}, True, 401, "token"),
    ("an empty token", SAFE, {"Authorization": "Bearer "}, True, 401, "token"),
    ("a token of another kind", SAFE, {"Authorization": f"Basic {READ}"}, True, 401, "token"),
    ("a made-up session", SAFE, {"Cookie": "zsindex_session=x"}, True, 401, "token"),
    ("a token as a cookie", SAFE, {"Cookie": f"zsindex_session={READ}"}, True, 401, "token"),
    ("a right token for reading", SAFE, {"Authorization": f"Bearer {READ}"}, True, 200, ""),
    ("a reading token that writes", UNSAFE, {"Authorization": f"Bearer {READ}"}, True, 403, "right"),
    ("a right token for writing", UNSAFE, {"Authorization": f"Bearer {WRITE}"}, True, 202, ""),
    ("metrics without a token", ("GET", "/metrics", None), {}, True, 401, "token"),
    ("the API's description without a token", ("GET", "/v1/openapi.json", None), {}, True, 401, "token"),
    ("health without a token", ("GET", "/healthz", None), {}, True, 200, ""),
]


@pytest.mark.parametrize(
    ("what", "request_", "headers", "tokens", "status", "slug"), REQUESTS, ids=[row[0] for row in REQUESTS]
)
def test_who_may_ask(
    serve: Serve,
    library: Library,
    what: str,
    request_: tuple[str, str, Any],
    headers: dict[str, str],
    tokens: bool,
    status: int,
    slug: str,
) -> None:
    client = serve(library, security={"tokens": TOKENS} if tokens else {})
    method, path, body = request_
    response = client.request(method, path, json=body, headers=headers)
    assert response.status_code == status, response.text
    assert ("content-security-policy" in response.headers, response.headers["x-content-type-options"]) == (
        True,
        "nosniff",
    )
    if slug:
        assert response.json()["type"] == f"urn:zsindex:problem:{slug}"
        assert str(library.path) not in response.text


def test_a_person_may_follow_a_link_to_a_page(serve: Serve, library: Library, tmp_path: Path) -> None:
    (tmp_path / "page" / "templates").mkdir(parents=True)
    (tmp_path / "page" / "templates" / "index.html").write_text("hello", encoding="utf-8")
    client = serve(library, page=tmp_path / "page")
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).text == "hello"
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}).status_code == 403


WRITING = [
    ("POST", "/v1/sync", {}),
    ("POST", "/v1/map", {}),
    ("POST", "/v1/jobs/00ff/cancel", None),
    ("PUT", "/v1/label-sets/x", {"labels": ["a"]}),
    ("DELETE", "/v1/label-sets/x", None),
    ("PUT", "/v1/template-sets/x", {"templates": ["{}"]}),
    ("DELETE", "/v1/template-sets/x", None),
    ("POST", "/v1/corrections", {"label_set": "x", "image_id": 1, "label": "a"}),
    ("DELETE", "/v1/corrections?label_set=x&image_id=1", None),
    ("POST", "/v1/corrections/undo?label_set=x", None),
    ("POST", "/v1/corrections/forget", {"label_set": "x", "digests": ["0" * 64]}),
    ("POST", "/v1/label-sets/x", {"version": 1}),
    ("POST", "/v1/albums/x/photos", {"image_ids": [1]}),
    ("POST", "/v1/albums/x/photos/remove", {"image_ids": [1]}),
    ("POST", "/v1/duplicates/decisions", {"keep": ["/x.png"]}),
    ("DELETE", "/v1/duplicates/decisions?path=/x.png", None),
    ("POST", "/v1/duplicates/decisions/undo", None),
    ("POST", "/v1/reviews", {"label": "red"}),
    ("POST", "/v1/reviews/1/answers", {"number": 1, "answer": "yes"}),
    ("POST", "/v1/reviews/1/undo", None),
    ("POST", "/v1/choices", {"labels": ["red", "blue"], "template_sets": ["default", "plain"]}),
    ("POST", "/v1/choices/1/answers", {"number": 1, "answer": "red"}),
    ("POST", "/v1/choices/1/undo", None),
    ("POST", "/v1/counts", {"label": "red"}),
    ("POST", "/v1/counts/1/answers", {"number": 1, "answer": "yes"}),
    ("POST", "/v1/counts/1/undo", {}),
    ("PUT", "/v1/albums/x", {"query": "a"}),
    ("DELETE", "/v1/albums/x", None),
    ("POST", "/v1/albums/x/seen", None),
    ("POST", "/v1/corrections/bulk", {"label_set": "x", "corrections": [{"image_id": 1, "label": "a"}]}),
    ("DELETE", "/v1/thresholds?label_set=x", None),
    ("DELETE", "/v1/temperature", None),
]
# These only answer, unless they are told to keep or to write; see tests/web/test_lab.py.
LAB = {
    f"/v1/{name}" for name in ("diff", "lint", "suggest", "temperature", "prior", "thresholds", "tags", "tags/retract")
}
LAB |= {"/v1/eval", "/v1/eval/photos", "/v1/eval/differing", "/v1/eval/curve"}
LAB_WRITES = {("DELETE", "/v1/thresholds"), ("DELETE", "/v1/temperature")}


def test_whatever_writes_needs_the_right_to(serve: Serve, library: Library) -> None:
    reader = serve(library, security={"tokens": TOKENS}, token=READ)
    closed = serve(library, security={"tokens": TOKENS, "read_only": True}, token=WRITE)
    for client in (reader, closed):
        for method, path, body in WRITING:
            assert client.request(method, path, json=body).status_code == 403, path
        upload = {"images": ("x.png", photos.encoded(photos.solid("red", 8, 8), "PNG"))}
        stored = client.post("/v1/classify/upload", files=upload, data={"label": ["red"], "store": "true"})
        assert stored.status_code == 403
        assert client.post("/v1/classify", json={"labels": ["red", "blue"]}).status_code == 200
    paths = reader.app.openapi()["paths"]  # type: ignore[attr-defined]
    asking = {"/v1/classify", "/v1/classify/upload", "/v1/search", "/v1/search/upload", "/v1/session", "/v1/groups"}
    asking |= {"/v1/images/{image_id}/explain", "/v1/classify/counts", "/v1/embed"}
    asking |= {"/v1/images/export", "/v1/images/tags"}
    asking |= {"/v1/images/{image_id}/explain", "/v1/classify/counts", "/v1/embed", "/v1/images/paths"}
    asking |= LAB | {"/v1/runs/{key}/repeat"}
    changing = {(m.upper(), p) for p, item in paths.items() for m in item if m not in ("get",) and p not in asking}
    changing |= LAB_WRITES
    tried = {(m, re.sub("/(x|00ff|1)(?=/|$)", "/{}", p.partition("?")[0])) for m, p, _ in WRITING}
    assert {(m, re.sub(r"\{\w+\}", "{}", p)) for m, p in changing} == tried


@pytest.mark.parametrize(
    "path",
    [
        "/v1/images/../../../../etc/passwd/file",
        "/v1/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd/file",
        "/v1/images//etc/passwd/file",
        "/v1/images/1;.png/file",
        "/v1/images/-1/file",
        "/v1/images/0x1/file",
        "/v1/images/99999999999999999999/file",
        "/v1/images/1/file/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/library.db",
        "/static/..%5c..%5clibrary.db",
    ],
)
def test_no_path_leads_to_a_file(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code in (404, 422)
    assert "root:" not in response.text
    assert "SQLite" not in response.text


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_oversized_bodies(serve: Serve, library: Library) -> None:
    client = serve(library, limits={"body_bytes": 1000, "upload_bytes": 5000})
    for path, size in [("/v1/sync", 2000), ("/v1/classify", 6000), ("/v1/search/upload", 6000)]:
        response = client.post(path, content=b"x" * size)
        assert (response.status_code, response.json()["type"]) == (413, "urn:zsindex:problem:too-large"), path

        def parts(size: int = size) -> Iterator[bytes]:
            for _ in range(size // 100):
                yield b"x" * 100

        chunked = client.post(path, content=parts())  # no Content-Length says it beforehand
        assert chunked.status_code == 413, path
    assert client.post("/v1/classify", json={"labels": ["red", "blue"]}).status_code == 200


def test_too_much_of_everything(serve: Serve, library: Library) -> None:
    client = serve(library, limits={"labels": 5, "prompts": 8, "upload_images": 2, "page": 10})
    for body in (
        {"labels": [f"label {n}" for n in range(6)]},
        {"labels": ["a", "b", "c", "d"], "templates": ["{} a", "{} b", "{} c"]},
        {"labels": ["red"], "limit": 11},
        {"labels": ["red"], "top": 10**6},
        {"labels": ["x" * 100_000]},
        {"labels": {"a": [f"text {n}" for n in range(9)]}},
    ):
        assert client.post("/v1/classify", json=body).status_code == 422, str(body)[:60]
    image = photos.encoded(photos.solid("red", 8, 8), "PNG")
    several = [("images", ("x.png", image))] * 3
    assert client.post("/v1/classify/upload", files=several, data={"label": ["red"]}).status_code == 413
    nested = '{"labels":' + "[" * 100_000 + "]" * 100_000 + "}"
    response = client.post("/v1/classify", content=nested, headers={"Content-Type": "application/json"})
    assert response.status_code == 400


def test_too_many_requests(serve: Serve, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsindex.web.admission.RequestRates", partial(RequestRates, clock=lambda: 0.0))
    client = serve(library, limits={"requests_per_s": 3.0})
    *answers, refused = [client.get("/v1/session") for _ in range(9)]
    assert [answer.status_code for answer in answers] == [200] * 6 + [429] * 2
    assert refused.json()["type"] == "urn:zsindex:problem:rate"
    assert int(refused.headers["retry-after"]) >= 1
    assert client.get("/healthz").status_code == 200
    assert 'zsindex_refused_total{reason="rate"}' in client.get("/metrics").text


def test_rates_refill_steadily_and_clients_are_told_apart() -> None:
    now = 0.0
    rates = RequestRates(2.0, clock=lambda: now)
    assert [rates.take("a") for _ in range(4)] == [0.0] * 4
    assert rates.take("a") == 0.5
    assert rates.take("b") == 0.0
    now = 0.5
    assert (rates.take("a"), rates.take("a")) == (0.0, 0.5)
    now = 1000.0
    assert [rates.take("a") > 0 for _ in range(5)] == [False] * 4 + [True]
    assert [RequestRates(0.0).take("a") for _ in range(1000)] == [0.0] * 1000


# --- bombs ------------------------------------------------------------------------------------------------------------


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of one colour: a few KB that say they are gigabytes."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = b"\0" + bytes((width + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, content in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
        checksum = zlib.crc32(kind + content)
        parts.append(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum))
    return b"".join(parts)


def test_decompression_bombs(serve: Serve, library: Library) -> None:
    client = serve(library)
    for name, data, status, reason in [
        ("pixels", png_bomb(60_000, 20_000), 413, "too-many-pixels"),
        ("no image", b"MZ" + bytes(1000), 422, "not-an-image"),
        ("cut short", photos.encoded(photos.gradient(), "JPEG")[:500], 422, "truncated"),
        ("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 422, "unsupported-format"),
    ]:
        files = {"images": (name, data)}
        response = client.post("/v1/classify/upload", files=files, data={"label": ["red", "blue"]})
        assert (response.status_code, response.json()["reason"]) == (status, reason), name
        hub = {"inputs": base64.b64encode(data).decode(), "parameters": {"candidate_labels": ["red", "blue"]}}
        assert client.post("/v1/classify", json=hub).status_code == status, name
        assert client.post("/v1/search/upload", files={"image": (name, data)}).status_code == status, name
    assert client.get("/healthz").status_code == 200


def test_an_upload_that_nothing_can_be_started_for_is_to_come_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_forking", None)
    monkeypatch.setattr(sandbox, "_program", lambda *arguments: ["/secret/python"])
    response = client.post("/v1/search/upload", files={"image": ("a", photos.encoded(photos.noise(5), "PNG"))})
    assert (response.status_code, "Retry-After" in response.headers) == (503, True)
    assert response.json()["type"] == "urn:zsindex:problem:decoder"
    assert "secret" not in response.text


def test_uploads_that_wait_are_bounded() -> None:
    decoder = UploadDecoder(Limits(decoders=1))
    for _ in range(9):
        assert decoder._places.acquire(blocking=False)
    with pytest.raises(Problem) as refused:
        decoder.decode(b"x", DecodeMode.EXACT, (8, 8))
    assert (refused.value.status, "Retry-After" in refused.value.headers) == (429, True)
    decoder.close()


# --- URLs -------------------------------------------------------------------------------------------------------------


def hub(url: str) -> dict[str, Any]:
    return {"inputs": url, "parameters": {"candidate_labels": ["red", "blue"]}}


def test_no_url_is_fetched_unless_switched_on(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(fetching.socket, "getaddrinfo", resolve)
    for url in ("http://169.254.169.254/latest/meta-data", "HTTPS://example.org/x.png"):
        response = client.post("/v1/classify", json=hub(url))
        assert (response.status_code, response.json()["type"]) == (403, "urn:zsindex:problem:fetching-off")
        assert client.post("/v1/search", json={"plus": [{"image": url}]}).status_code == 403
    assert client.post("/v1/classify", json=hub("file:///etc/passwd")).status_code == 422


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "2002:7f00:0001::",
        "::",
    ],
)
def test_private_addresses_are_not_fetched_from(
    serve: Serve, library: Library, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    def resolve(host: str, port: int, **_: Any) -> Any:
        # Also where a public address comes first: the next look-up might give the other one.
        return [(0, 0, 0, "", ("93.184.215.14", port)), (0, 0, 0, "", (address, port))]

    def connect(*_: Any, **__: Any) -> Any:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(fetching.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(fetching.socket, "create_connection", connect)
    client = serve(library, security={"fetch_urls": True})
    response = client.post("/v1/classify", json=hub("http://rebound.example/x.png"))
    assert (response.status_code, response.json()["type"]) == (422, "urn:zsindex:problem:fetch")
    assert "private network" in response.json()["detail"]


@pytest.mark.parametrize(
    "url",
    ["http://example.org:22/", "http://user@example.org/", "http:///x", "https://example.org:8080/", "http://[::"],
)
def test_odd_urls_are_not_fetched(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *a, **o: pytest.fail("a name was looked up"))
    with pytest.raises(FetchError):
        fetching.fetch(url, max_bytes=100)


class Web:
    """Two public servers, as far as name and address are concerned; what they answer is written here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: dict[str, bytes]) -> None:
        self.asked: list[str] = []
        self.connected: list[tuple[str, int]] = []
        names = {"public.example": "93.184.215.14", "private.example": "10.0.0.1"}

        def resolve(host: str, port: int, **_: Any) -> Any:
            return [(0, 0, 0, "", (names[host], port))]

        def connect(address: tuple[str, int], timeout: float) -> socket.socket:
            self.connected.append(address)
            here, there = socket.socketpair()
            there.settimeout(10)
            request = b""

            def answer() -> None:
                nonlocal request
                with there:
                    while b"\r\n\r\n" not in request:
                        request += there.recv(4096)
                    target = request.split()[1].decode()
                    self.asked.append(target)
                    there.sendall(answers[target])

            threading.Thread(target=answer, daemon=True).start()
            here.settimeout(timeout)
            return here

        monkeypatch.setattr(fetching.socket, "getaddrinfo", resolve)
        monkeypatch.setattr(fetching.socket, "create_connection", connect)


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_what_is_public_is_fetched_and_redirects_are_looked_at_each_time(
    serve: Serve, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photos.encoded(photos.solid("blue", 8, 8), "PNG")
    web = Web(
        monkeypatch,
        {
            "/blue.png": answer("200 OK", image),
            "/moved": answer("302 Found", Location="/blue.png"),
            "/inside": answer("302 Found", Location="http://private.example/admin"),
            "/file": answer("302 Found", Location="file:///etc/passwd"),
            "/round": answer("302 Found", Location="/round"),
            "/large": answer("200 OK", b"x" * 5000),
            "/none": answer("404 Not Found"),
        },
    )
    client = serve(library, security={"fetch_urls": True}, limits={"upload_bytes": 4000})
    for path in ("/blue.png", "/moved"):
        found = client.post("/v1/classify", json=hub(f"http://public.example{path}")).json()
        assert found[0]["label"] == "blue"
    for path in ("/inside", "/file", "/round", "/large", "/none"):
        response = client.post("/v1/classify", json=hub(f"http://public.example{path}"))
        assert (response.status_code, response.json()["type"]) == (422, "urn:zsindex:problem:fetch"), path
    assert {address for address, _ in web.connected} == {"93.184.215.14"}
    assert "/admin" not in web.asked


# --- tokens in files, addresses ---------------------------------------------------------------------------------------


def test_a_token_file_is_made_for_its_owner_only_and_read(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    tokens = serving.read_tokens(file)
    assert file.stat().st_mode & 0o777 == 0o600
    secrets = dict(line.split() for line in file.read_text(encoding="utf-8").splitlines())
    security = Security(frozenset(), tokens)
    assert {security.right_of(secret) for secret in secrets.values()} == {"read", "write"}
    assert serving.read_tokens(file) == tokens
    assert secrets["read"] not in repr(security)
    for text, mode in [
        ("read short", 0o600),
        ("all 0123456789abcdef", 0o600),
        ("# none", 0o600),
        (f"read {READ}", 0o644),
    ]:
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
        with pytest.raises(BadTokenFile):
            serving.read_tokens(file)


def test_hosts_that_belong_to_an_address() -> None:
    assert serving.hosts_of("127.0.0.1", 8765) == {"127.0.0.1:8765", "localhost:8765", "[::1]:8765"}
    assert serving.hosts_of("192.168.1.5", 80, ["Photos.Example"]) == {"192.168.1.5", "photos.example"}
    for spelled in ("0.0.0.0", "0", "::", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0"):
        own = {f"{socket.gethostname().lower()}:1", f"{socket.gethostname().lower().partition('.')[0]}.local:1"}
        assert serving.hosts_of(spelled, 1) == serving.loopback_hosts(1) | own
    assert serving.hosts_of("fd00::2", 1) == {"[fd00::2]:1"}
    assert serving.hosts_of("Photos.Example", 1) == {"photos.example:1"}


def test_an_address_that_a_connection_came_to_may_be_said_where_all_are_listened_at() -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("here")(scope, receive, send)

    def status(host: str, server: Any, own_addresses: bool = True) -> int:
        security = Security(frozenset({"127.0.0.1:8765"}), own_addresses=own_addresses)
        guard = Guard(inner, security=security)
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request"}

        headers = [(b"host", host.encode())]
        scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": headers, "server": server}
        asyncio.run(guard(scope, receive, send))
        return int(sent[0]["status"])

    assert status("192.168.1.5:8765", ("192.168.1.5", 8765)) == 200
    assert status("192.168.1.5:8765", ("::ffff:192.168.1.5", 8765)) == 200
    assert status("192.168.1.5", ("192.168.1.5", 80)) == 200
    assert status("[fd00::2]:8765", ("fd00::2", 8765)) == 200
    assert status("[fe80::1]:8765", ("fe80::1%eth0", 8765)) == 200
    assert status("192.168.1.5:8765", ("192.168.1.5", 8765), own_addresses=False) == 421
    for host, server in [
        ("192.168.1.6:8765", ("192.168.1.5", 8765)),  # another machine
        ("192.168.1.5:8766", ("192.168.1.5", 8765)),
        ("192.168.1.5", ("192.168.1.5", 8765)),
        ("rebound.example:8765", ("192.168.1.5", 8765)),  # a name that was made to resolve to this address
        ("192.168.1.5.rebound.example:8765", ("192.168.1.5", 8765)),
        ("3232235781:8765", ("192.168.1.5", 8765)),  # the same address as a number
        ("0.0.0.0:8765", ("192.168.1.5", 8765)),
        ("/run/socket", ("/run/socket", None)),
        ("", None),
    ]:
        assert status(host, server) == 421, host


def test_loopback_and_other_addresses() -> None:
    assert [serving.is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert [serving.is_loopback(h) for h in ("0.0.0.0", "::", "192.168.1.5", "localhost.evil")] == [False] * 4


# --- a real server ----------------------------------------------------------------------------------------------------

SERVER = """
import sys
from zsindex.library import Library
from zsindex.web import Limits, Security
from zsindex.web import serve as web
from tests.fakes import FakeEncoder
listening = web.listen("127.0.0.1", 0)
port = listening.getsockname()[1]
head_s, body_s, send_s = map(float, sys.argv[2:])
limits = Limits(head_s=head_s, body_s=body_s, send_s=send_s, running=2, requests_per_s=0.0, connections=64)
with Library.open(sys.argv[1], encoder=FakeEncoder()) as library:
    web.serve(library, listening, security=Security(web.hosts_of("127.0.0.1", port)), limits=limits,
              ready=lambda: print(port, flush=True))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, new_library: Path) -> Iterator[int]:
    """The port of a server that waits for clients that a busy machine keeps from sending."""
    yield from serving_to(tmp_path_factory.mktemp("server"), new_library, WAIT_S, WAIT_S, WAIT_S)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, new_library: Path) -> Iterator[int]:
    """The port of one that does not wait for long, with a large photo in its library."""
    folder = tmp_path_factory.mktemp("impatient")
    (folder / "album").mkdir()
    Image.effect_noise((4000, 4000), 50).convert("RGB").save(folder / "album" / "large.bmp")
    yield from serving_to(folder, new_library, 1.0, 1.0, 2.0)


def serving_to(folder: Path, new_library: Path, *limits_s: float) -> Iterator[int]:
    """A server with limits for heads, bodies and answers, over the photos in a folder and another one."""
    shutil.copytree(new_library, folder / "library")
    photo(folder / "album" / "red.png", "red")
    with Library.open(folder / "library", encoder=FakeEncoder()) as library:
        library.sync(folder / "album")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder / "library"), *map(str, limits_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        yield int(line)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=WAIT_S)
        assert "Traceback" not in errors, errors
    finally:
        process.kill()
        process.communicate()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def is_well(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    with closing(connection), suppress(ConnectionError):  # of one that is impatient with us, too
        connection.request("GET", "/v1/search?q=red")
        return connection.getresponse().status == 200
    return False


def received(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_clients_that_never_finish_their_heads_are_let_go(impatient: int) -> None:
    slow = [connect(impatient) for _ in range(20)]
    for connection in slow[:10]:
        connection.sendall(b"GET /v1/library HTTP/1.1\r\nHost: 127.0.0.1")
    until(lambda: is_well(impatient))
    for connection in slow:
        with connection:
            assert received(connection) == b""  # closed without an answer


def test_a_client_that_drips_its_body_is_told_and_keeps_nobody_waiting(impatient: int) -> None:
    head = f"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1:{impatient}\r\nContent-Length: 1000\r\n\r\n".encode()
    slow = [connect(impatient) for _ in range(6)]  # more than may be at work at a time
    for connection in slow:
        connection.sendall(head + b"{")
    until(lambda: is_well(impatient))
    for connection in slow:
        with connection:
            assert received(connection).startswith(b"HTTP/1.1 408 ")


def test_clients_that_do_not_take_their_answers_are_let_go(impatient: int) -> None:
    slow = []
    for _ in range(4):  # twice as many as may be at work
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(WAIT_S)
        connection.connect(("127.0.0.1", impatient))
        for image_id in (1, 2):  # one of them is the large one
            connection.sendall(
                f"GET /v1/images/{image_id}/file HTTP/1.1\r\nHost: 127.0.0.1:{impatient}\r\n\r\n".encode()
            )
        slow.append(connection)
    until(lambda: is_well(impatient))  # once they have had their time
    for connection in slow:
        connection.close()


@pytest.mark.parametrize(
    ("request_", "answer_"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"HTTP/1.1 421 "),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"HTTP/1.1 421 "),
        (
            b"POST /v1/sync HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 4",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HTTP/1.1 400 "),
        (b"GET /healthz HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", b"HTTP/1.1 400 "),
    ],
    ids=["no Host", "two Hosts", "another Host", "another Host in full", "smuggling", "TLS", "another coding"],
)
def test_odd_requests(server: int, request_: bytes, answer_: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        got = received(connection)
    assert_is_problem(got)
    assert got.startswith(answer_)
    assert is_well(server)


def assert_is_problem(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"x-content-type-options: nosniff" in head.lower()
    document = json.loads(body)
    assert document["type"].startswith("urn:zsindex:problem:")
    assert document["status"] == int(head.split()[1])


@pytest.mark.parametrize("sent", ["at once", "later"])
def test_a_body_that_is_no_http_is_refused(server: int, sent: str) -> None:
    head = f"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1:{server}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with connect(server) as connection:
        if sent == "later":
            connection.sendall(head + b"1\r\n[\r\n")
            time.sleep(0.1)
            head = b""
        connection.sendall(head + b"no number\r\n")
        got = received(connection)
    assert got.startswith(b"HTTP/1.1 400 ")
    assert_is_problem(got)
    assert is_well(server)


def test_too_many_connections_are_told(server: int) -> None:
    with ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(connect(server))
        last = stack.enter_context(connect(server))
        last.sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server}\r\n\r\n".encode())
        got = received(last)
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in got.lower()
    assert_is_problem(got)
    until(lambda: is_well(server))  # once it has seen that they are gone


def test_a_head_without_end_is_cut_off(server: int) -> None:
    got = b""
    # It is refused before all of it was sent, so that the connection may be gone before the answer is read.
    with connect(server) as connection, suppress(ConnectionError):
        connection.sendall(b"GET /" + b"x" * 50_000_000)
        got = received(connection)
    assert got == b"" or got.startswith(b"HTTP/1.1 400 ")
    assert is_well(server)

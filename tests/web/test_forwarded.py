"""Behind a proxy: prefix, scheme and client. And how answers go out: compressed, without a body, or not at all."""

from __future__ import annotations

import logging
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from tests.web.conftest import HOST, READ, TOKENS, WRITE, Serve
from zsindex.library import Library
from zsindex.web import create_app, logs
from zsindex.web.forwarded import prefix_of, proxies_of
from zsindex.web.limits import Limits
from zsindex.web.security import Security
from zsindex.web.serve import listen, urls_of

BELOW = {"root_path": "/photos"}


@pytest.mark.parametrize(("given", "found"), [("", ""), ("/", ""), ("/photos", "/photos"), ("/a/b-c.d/", "/a/b-c.d")])
def test_a_prefix(given: str, found: str) -> None:
    assert prefix_of(given) == found


@pytest.mark.parametrize(
    "given", ["photos", "//evil.example", "/a b", "/a/../b", "/a/./b", '/"><script>', "/a?b", "/v1", "/search/x"]
)
def test_what_is_no_prefix(given: str) -> None:
    with pytest.raises(ValueError, match=r"is not a path such as|path of the service itself"):
        prefix_of(given)


def test_proxies_are_addresses_or_networks() -> None:
    assert proxies_of(("127.0.0.1", "10.0.0.0/8", "::1")) == ("127.0.0.1/32", "10.0.0.0/8", "::1/128")
    for wrong in ("proxy.example.org", "10.0.0.1/8", "*", ""):
        with pytest.raises(ValueError, match="neither an address nor a network"):
            proxies_of((wrong,))


@pytest.mark.parametrize("below", ["", "/photos"])
def test_a_proxy_takes_the_prefix_off_or_leaves_it(serve: Serve, library: Library, below: str) -> None:
    client = serve(library, security=BELOW)
    page = client.get(f"{below}/")
    [script] = re.findall(r'src="/photos(/static/\w+/photos.js)"', page.text)
    assert client.get(f"{below}{script}").status_code == 200
    assert 'data-root="/photos"' in page.text
    assert client.get(f"{below}/static/style.css").status_code == 200
    assert client.get(f"{below}/v1/search", params={"q": "red"}).json()["hits"]
    if below:
        assert client.get(f"{below}/v1/openapi.json").json()["servers"] == [{"url": "/photos"}]
    assert client.get(f"{below}/healthz").status_code == 200
    job = client.post(f"{below}/v1/sync", json={})
    assert client.get(job.headers["Location"]).json()["id"] == job.json()["id"]
    assert job.headers["Location"].startswith("/photos/v1/jobs/")


def test_the_prefix_alone_is_the_page(serve: Serve, library: Library) -> None:
    client = serve(library, security=BELOW)
    assert client.get("/photos").text == client.get("/photos/").text
    assert client.get("/photographs").status_code == 404


def test_a_cookie_stays_below_the_prefix(serve: Serve, library: Library) -> None:
    client = serve(library, security={**BELOW, "tokens": TOKENS})
    begun = client.post("/photos/v1/session", json={"token": READ})
    assert "Path=/photos;" in begun.headers["Set-Cookie"]
    assert client.get("/photos/v1/session").json() == {"right": "read"}
    ended = client.delete("/photos/v1/session")
    assert "Path=/photos;" in ended.headers["Set-Cookie"]
    assert client.get("/photos/v1/session").status_code == 401


@pytest.mark.parametrize(
    ("comes_from", "trusted", "secure", "client"),
    [
        ("10.1.2.3", ("10.0.0.0/8",), True, "203.0.113.7"),
        ("::ffff:10.1.2.3", ("10.0.0.0/8",), True, "203.0.113.7"),  # a socket of both kinds
        ("10.1.2.3", ("10.0.0.0/8", "203.0.113.7/32"), True, "198.51.100.9"),  # a proxy before the proxy
        ("192.0.2.1", ("10.0.0.0/8",), False, "192.0.2.1"),
        ("10.1.2.3", (), False, "10.1.2.3"),
    ],
)
def test_only_proxies_that_are_trusted_say_who_asks(
    library: Library,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    comes_from: str,
    trusted: tuple[str, ...],
    secure: bool,
    client: str,
) -> None:
    security = Security(hosts=frozenset({HOST}), tokens=TOKENS, proxies=trusted)
    app = create_app(library, security=security, thumbnails=tmp_path)
    says = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7", "X-Forwarded-Proto": "https"}
    with (
        TestClient(app, base_url=f"http://{HOST}", headers=says, client=(comes_from, 5)) as asking,
        caplog.at_level(logging.INFO, logger="zsindex.web"),
    ):
        begun = asking.post("/v1/session", json={"token": WRITE})
    assert ("Secure" in begun.headers["Set-Cookie"]) is secure
    assert vars(caplog.records[-1])[logs.FIELDS]["client"] == client


def test_each_client_of_a_proxy_has_a_rate_of_its_own(library: Library, tmp_path: Path) -> None:
    security = Security(hosts=frozenset({HOST}), proxies=("10.0.0.1/32",))
    app = create_app(library, security=security, thumbnails=tmp_path, limits=Limits(requests_per_s=0.5))
    with TestClient(app, base_url=f"http://{HOST}", client=("10.0.0.1", 5)) as asking:

        def status(client: str) -> int:
            return asking.get("/v1/library", headers={"X-Forwarded-For": client}).status_code

        assert [status("198.51.100.9"), status("198.51.100.9"), status("198.51.100.10")] == [200, 429, 200]


def test_the_address_that_is_printed_has_the_prefix() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert urls_of(listening, "127.0.0.1", "/photos") == [f"http://127.0.0.1:{port}/photos/"]
    with listen("0.0.0.0", 0) as listening:
        port = listening.getsockname()[1]
        assert urls_of(listening, "0.0.0.0", "/photos")[0] == f"http://127.0.0.1:{port}/photos/"


# --- compressed -------------------------------------------------------------------------------------------------------


def test_long_texts_are_compressed_and_photos_are_not(client: TestClient) -> None:
    document = client.get("/static/lab.js")
    assert document.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in document.headers["Vary"]
    assert int(document.headers["Content-Length"]) < len(document.content) / 2
    plain = client.get("/static/lab.js", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.content == document.content
    [hit, *_] = client.get("/v1/search", params={"q": "red"}).json()["hits"]
    for what in ("file", "thumbnail"):
        photo = client.get(f"/v1/images/{hit['image_id']}/{what}")
        assert photo.headers["Content-Type"].startswith("image/")
        assert "Content-Encoding" not in photo.headers
    assert "Content-Encoding" not in client.get("/healthz").headers


def test_what_comes_bit_by_bit_is_not_held_back(library: Library, tmp_path: Path) -> None:
    """Each part of a stream can be unpacked as soon as it is there."""
    app = create_app(library, security=Security(frozenset({HOST})), thumbnails=tmp_path)
    lines = [b'{"line": %d}\n' % n for n in range(5)]

    @app.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(iter(lines), media_type="application/x-ndjson")

    with TestClient(app, base_url=f"http://{HOST}") as asking, asking.stream("GET", "/stream") as response:
        assert response.headers["Content-Encoding"] == "gzip"
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
        got = [unpack.decompress(part) for part in response.iter_raw()]
    assert [part for part in got if part] == lines


# --- without a body ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/v1/library", "/v1/search?q=red", "/static/style.css", "/healthz", "/metrics"])
def test_head_is_get_without_a_body(client: TestClient, path: str) -> None:
    plain = {"Accept-Encoding": "identity"}
    head, whole = client.head(path, headers=plain), client.get(path, headers=plain)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]
    if path != "/metrics":  # which are others by now
        assert head.headers["Content-Length"] == str(len(whole.content))


def test_head_where_there_is_no_get(client: TestClient) -> None:
    assert client.head("/v1/lint").status_code == 405
    assert client.head("/v1/images/4711").status_code == 404


def test_head_of_a_stream_ends(client: TestClient) -> None:
    job = client.post("/v1/sync", json={}).json()
    head = client.head(f"/v1/jobs/{job['id']}/events")
    assert (head.status_code, head.content) == (200, b"")
    labels = client.post("/v1/groups", json={"labels": ["red", "blue"]}).json()
    head = client.head(f"/v1/groups/{labels['key']}/export")
    assert (head.status_code, head.content) == (200, b"")


# --- known ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def understood(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of requests that were read by the endpoint itself."""
    from zsindex.web.routes import classify

    seen: list[str] = []
    really = classify._answer

    def answer(service: Any, request: Request, body: Any) -> Any:
        seen.append(str(request.url.query))
        return really(service, request, body)

    monkeypatch.setattr(classify, "_answer", answer)
    return seen


def test_who_has_the_answer_is_told_without_reading_the_url_again(client: TestClient, understood: list[str]) -> None:
    url = "/v1/classify?label=red&label=blue"
    first = client.get(url)
    has = {"If-None-Match": first.headers["ETag"]}
    for method in ("GET", "HEAD", "GET"):
        again = client.request(method, url, headers=has)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert again.headers["Cache-Control"] == "private, no-cache"
    assert client.get(url, headers={"If-None-Match": f'"x", W/{has["If-None-Match"]}'}).status_code == 304
    assert len(understood) == 1
    assert client.get(url).json() == first.json()
    assert client.get(url, headers={"If-None-Match": '"another"'}).status_code == 200
    assert len(understood) == 3
    assert client.get(f"{url}&limit=2", headers=has).status_code == 200
    count = 'zsindex_requests_total{method="GET",route="/v1/classify",status="304"} 3.0'
    assert count in client.get("/metrics").text.splitlines()


def test_what_has_changed_is_answered_anew(client: TestClient, library: Library, album: Path) -> None:
    library.labels.save("two", ["red", "blue"])
    url = "/v1/classify?label_set=two"
    has = {"If-None-Match": client.get(url).headers["ETag"]}
    assert client.get(url, headers=has).status_code == 304
    (album / "red.png").unlink()
    library.sync(album)
    now = client.get(url, headers=has)
    assert now.status_code == 200
    has = {"If-None-Match": now.headers["ETag"]}
    assert client.get(url, headers=has).status_code == 304
    library.labels.save("two", ["red", "green"])
    now = client.get(url, headers=has)
    assert (now.status_code, now.json()["run"]["labels"]) == (200, ["red", "green"])
    library.labels.remove("two")
    has = {"If-None-Match": now.headers["ETag"]}
    assert client.get(url, headers=has).status_code == 404


def test_what_is_remembered_of_urls_is_bounded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from zsindex.web import known

    monkeypatch.setattr(known, "MOST", 2)
    tags = {n: client.get(f"/v1/classify?label=red&label=blue&limit={n}").headers["ETag"] for n in range(1, 6)}
    for n, tag in tags.items():
        got = client.get(f"/v1/classify?label=red&label=blue&limit={n}", headers={"If-None-Match": tag})
        assert got.status_code == 304
    layer = client.app.middleware_stack  # type: ignore[attr-defined]
    while not isinstance(layer, known.Known):
        layer = getattr(layer, "app", None) or layer._app
    assert len(layer._understood) == 2


def test_the_documentation_needs_nothing_from_elsewhere(client: TestClient) -> None:
    pytest.importorskip("fastapi_offline", reason="needs the extra swagger")
    page = client.get("/docs")
    assert "http" not in page.text
    for file in ("swagger-ui.css", "swagger-ui-bundle.js", "docs.js"):
        assert f'"/static/docs/{file}"' in page.text
        assert client.get(f"/static/docs/{file}").status_code == 200
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]


def test_without_its_package_the_documentation_says_what_to_install(
    serve: Serve, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zsindex.web import pages

    monkeypatch.setattr(pages, "_SWAGGER", "zsindex_no_such_package")
    answer = serve(library).get("/docs")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "this page needs a package: pip install 'zsindex[swagger]'",
    )

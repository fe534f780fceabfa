"""Health, metrics, sessions, label sets, template sets, pages, the model that is let go of, and embedding."""

from __future__ import annotations

import html
import json
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.fakes import FakeEncoder
from tests.waiting import WAIT_S, until
from tests.web.conftest import HOST, READ, TOKENS, URL, WRITE, Serve
from zsindex.errors import PromptTooLong
from zsindex.library import Library
from zsindex.models.encoder import OneAtATime
from zsindex.web import Security, create_app, logs


def test_health(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    client.app.state.service.closing.set()  # type: ignore[attr-defined]
    assert client.get("/readyz").status_code == 503


def test_what_the_library_holds(client: TestClient, library: Library, album: Path) -> None:
    body = client.get("/v1/library").json()
    assert (body["files"], body["duplicates"], body["roots"]) == (5, 1, [str(album)])
    assert [model["name"] for model in client.get("/v1/models").json()] == ["fake"]
    assert client.get("/v1/skipped", params={"limit": 0}).json() == {"total": 0, "skipped": [], "next": None}


def test_metrics_count_requests_cache_and_index(client: TestClient) -> None:
    for _ in range(2):
        client.get("/v1/search", params={"q": "red"})
    client.get("/v1/images/4711")
    lines = client.get("/metrics").text.splitlines()
    assert 'zsindex_requests_total{method="GET",route="/v1/search",status="200"} 2.0' in lines
    assert 'zsindex_requests_total{method="GET",route="/v1/images/{image_id}",status="404"} 1.0' in lines
    assert 'zsindex_cache_total{kind="prompts",result="miss"} 1.0' in lines
    assert 'zsindex_cache_total{kind="prompts",result="hit"} 1.0' in lines
    assert 'zsindex_cache_total{kind="images",result="miss"} 4.0' in lines
    assert "zsindex_index_vectors 4.0" in lines
    assert "zsindex_model_loaded 1.0" in lines
    assert 'zsindex_request_seconds_count{route="/v1/search"} 2.0' in lines
    assert 'zsindex_kept{kind="prompts"} 1.0' in lines
    assert any(line.startswith('zsindex_kept_bytes{kind="prompts"} ') for line in lines)


def test_every_request_is_a_line_of_json_without_its_query(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="zsindex.web"):
        response = client.get("/v1/search", params={"q": "a private question"})
    [record] = [record for record in caplog.records if record.getMessage() == "request"]
    line = json.loads(logs.JsonLines().format(record))
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/v1/search", 200)
    assert line["id"] == response.headers["x-request-id"]
    assert "private" not in json.dumps(line)


def test_a_bug_is_an_answer_and_a_traceback_in_the_log(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Library) -> None:
        raise KeyError("/secret/path")

    monkeypatch.setattr(Library, "models", broken)
    response = client.get("/v1/models")
    assert (response.status_code, response.json()["type"]) == (500, "urn:zsindex:problem:failure")
    assert "secret" not in response.text
    [record] = [record for record in caplog.records if record.getMessage() == "failure"]
    assert "/secret/path" in json.loads(logs.JsonLines().format(record))["traceback"]


def test_label_sets(client: TestClient, library: Library) -> None:
    given: dict[str, Any] = {"labels": ["owl", "fox"], "templates": ["a {}"], "groups": {"birds": ["owl"]}}
    saved = client.put("/v1/label-sets/my animals/at night", json=given)
    assert saved.status_code == 200, saved.text
    assert (saved.json()["name"], saved.json()["version"]) == ("my animals/at night", 1)
    client.put("/v1/label-sets/my animals/at night", json={**given, "labels": ["owl", "fox", "bear"]})
    newest = client.get("/v1/label-sets/my animals/at night").json()
    assert newest["labels"] == ["owl", "fox", "bear"]
    assert [version["version"] for version in newest["versions"]] == [1, 2]
    assert newest["prompts"]["bear"] == ["a bear"]
    assert client.get("/v1/label-sets/my animals/at night@1").json()["labels"] == ["owl", "fox"]
    assert [one["name"] for one in client.get("/v1/label-sets").json()] == ["my animals/at night"]
    assert library.labels.get("my animals/at night").groups == (("birds", ("owl",)),)
    assert client.delete("/v1/label-sets/my animals/at night").status_code == 204
    assert client.get("/v1/label-sets/my animals/at night").status_code == 404
    assert client.put("/v1/label-sets/a@2", json=given).status_code == 422
    assert client.put("/v1/label-sets/a", json={"labels": ["x"], "groups": {"g": ["y"]}}).status_code == 422


def test_template_sets(client: TestClient) -> None:
    assert client.put("/v1/template-sets/mine", json={"templates": ["a {}", "b {}"]}).json() == {
        "name": "mine",
        "templates": ["a {}", "b {}"],
        "built_in": False,
    }
    found = {one["name"]: one for one in client.get("/v1/template-sets").json()}
    assert found["mine"]["templates"] == ["a {}", "b {}"]
    assert any(one["built_in"] for one in found.values())
    assert client.get("/v1/template-sets/mine").json() == found["mine"]
    assert client.get("/v1/template-sets/plain").json() == {"name": "plain", "templates": ["{}"], "built_in": True}
    answer = client.post("/v1/classify", json={"labels": ["red", "blue"], "templates": ["mine"]}).json()
    assert answer["run"]["templates"] == ["a {}", "b {}"]
    assert client.put("/v1/template-sets/default", json={"templates": ["{}"]}).status_code == 422
    assert client.put("/v1/template-sets/x", json={"templates": ["no place"]}).status_code == 422
    assert client.delete("/v1/template-sets/mine").status_code == 204
    assert client.delete("/v1/template-sets/mine").status_code == 404
    assert client.get("/v1/template-sets/mine").status_code == 404


def test_a_browser_gets_a_session_for_a_token(serve: Serve, library: Library) -> None:
    client = serve(library, security={"tokens": TOKENS})
    assert client.get("/v1/session").status_code == 401
    assert client.post("/v1/session", json={"token": "wrong"}).status_code == 401
    begun = client.post("/v1/session", json={"token": READ})
    assert begun.json() == {"right": "read"}
    cookie = begun.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert READ not in cookie
    assert client.get("/v1/session").json() == {"right": "read"}
    assert client.get("/v1/library").status_code == 200
    assert client.put("/v1/template-sets/a", json={"templates": ["{}"]}).status_code == 403
    assert client.delete("/v1/session").status_code == 204
    assert client.get("/v1/library").status_code == 401
    assert client.post("/v1/session", json={"token": WRITE}).json() == {"right": "write"}


def test_pages_get_their_place(serve: Serve, library: Library, tmp_path: Path) -> None:
    page = tmp_path / "page"
    (page / "static").mkdir(parents=True)
    (page / "templates").mkdir()
    (page / "static" / "app.js").write_text("export {};", encoding="utf-8")
    (page / "templates" / "_base.html").write_text(
        "<title>zsindex {{ version }}</title>{% block body %}{% endblock %}", encoding="utf-8"
    )
    for name in ("index", "search"):
        (page / "templates" / f"{name}.html").write_text(
            "{% extends '_base.html' %}{% block body %}" + name + " {{ needs_token }}{% endblock %}", encoding="utf-8"
        )
    client = serve(library, page=page, security={"tokens": TOKENS})
    assert "index True" in client.get("/").text  # a page holds no data, so that it can ask for the token
    response = client.get("/search")
    assert "<title>zsindex 0.1.0</title>search True" in response.text
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert client.get("/static/app.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/_base").status_code == 401
    assert client.get("/static/../templates/index.html").status_code in (401, 404)
    assert client.get("/static/%2e%2e/templates/index.html").status_code == 404


def test_files_of_the_page_are_kept_until_one_is_another(serve: Serve, library: Library, tmp_path: Path) -> None:
    page = tmp_path / "page"
    (page / "static" / "below").mkdir(parents=True)
    (page / "templates").mkdir()
    app = page / "static" / "app.js"
    app.write_text('import { a } from "./a.js";\nimport {\n  b,\n} from "./b.js";\n// "./not.js"\n', encoding="utf-8")
    (page / "static" / "a.js").write_text('import { c } from "./c.js";\nexport * from "./b.js";', encoding="utf-8")
    (page / "static" / "below" / "one.css").write_text("a {}\n" * 1000, encoding="utf-8")
    (page / "templates" / "index.html").write_text("{{ files.name }} {{ files.modules('app.js') }}", encoding="utf-8")
    client = serve(library, page=page)
    name, _, modules = client.get("/").text.partition(" ")
    assert html.unescape(modules) == "['a.js', 'b.js', 'c.js']"
    kept = client.get(f"/static/{name}/app.js")
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    # By itself, or below another name, it may be another one the next time.
    for path in ("app.js", "0123456789abcdef/app.js"):
        response = client.get(f"/static/{path}")
        assert response.content == app.read_bytes()
        assert response.headers["cache-control"] == "private, no-cache"
        tag = {"If-None-Match": response.headers["etag"]}
        assert client.get(f"/static/{path}", headers=tag).status_code == 304
    for path in ("not.js", f"{name}/not.js", f"{name}/", "", f"{name}/{name}/app.js", "../templates/index.html"):
        assert client.get(f"/static/{quote(path, safe='/')}").status_code == 404, path
    packed = client.get(f"/static/{name}/below/one.css")
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < 100
    assert packed.content == (page / "static" / "below" / "one.css").read_bytes()
    assert packed.headers["vary"] == "Accept-Encoding"
    app.write_text("export {};", encoding="utf-8")
    os.utime(app, (0, 0))
    other, _, modules = client.get("/").text.partition(" ")
    assert other != name
    assert modules == "[]"
    assert client.get(f"/static/{other}/app.js").text == "export {};"
    assert client.get(f"/static/{name}/app.js").headers["cache-control"] == "private, no-cache"


def test_the_model_is_let_go_of_when_idle_and_comes_back(
    serve: Serve, library: Library, monkeypatch: pytest.MonkeyPatch, album: Path
) -> None:
    loaded: list[FakeEncoder] = []
    now = 0.0

    def load(spec: Any, **options: Any) -> FakeEncoder:
        loaded.append(FakeEncoder())
        return loaded[-1]

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    monkeypatch.setattr("zsindex.models.encoder.time", SimpleNamespace(monotonic=lambda: now))
    assert not library.session.model.release()  # its encoder was given to it, and could not be loaded again
    with Library.open(library.path) as other:
        client = serve(other, drop_model_after_s=0.2)
        assert client.get("/v1/search", params={"q": "green"}).status_code == 200
        assert len(loaded) == 1
        service = client.app.state.service  # type: ignore[attr-defined]
        now = 0.3
        until(lambda: service.library.session.model.loaded is None)
        assert client.get("/v1/search", params={"q": "green"}).status_code == 200  # cached: needs no model
        assert len(loaded) == 1
        assert client.get("/v1/search", params={"q": "yellow"}).status_code == 200
        assert len(loaded) == 2
        assert not other.session.model.release(idle_s=60)
        assert other.session.model.release()


def test_texts_of_simultaneous_requests_go_through_the_model_together() -> None:
    class Slow(FakeEncoder):
        calls: list[int] = []  # noqa: RUF012
        first, go_on = threading.Event(), threading.Event()

        def encode_texts(self, texts: Any, *, truncate: bool = False) -> Any:
            self.calls.append(len(texts))
            self.first.set()
            assert self.go_on.wait(WAIT_S)
            return super().encode_texts(texts, truncate=truncate)

    slow = Slow()
    shared = OneAtATime(slow)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(shared.encode_texts, ["red"])
        assert slow.first.wait(WAIT_S)
        others = [pool.submit(shared.encode_texts, [f"text {n}", "blue"]) for n in range(6)]
        long = pool.submit(shared.encode_texts, ["word " * 99])
        until(lambda: len(shared._waiting) == 7)
        slow.go_on.set()
        alone = FakeEncoder()
        assert np.array_equal(first.result(WAIT_S), alone.encode_texts(["red"]))
        for n, other in enumerate(others):
            assert np.array_equal(other.result(WAIT_S), alone.encode_texts([f"text {n}", "blue"]))
        with pytest.raises(PromptTooLong):
            long.result(WAIT_S)
    # One call for all six and the long one, which fails; then each by itself, so that only that one is refused.
    assert slow.calls[:2] == [1, 8]
    assert shared.text_requests == 8


def test_joined_texts_save_calls() -> None:
    class Slow(FakeEncoder):
        first, go_on = threading.Event(), threading.Event()

        def encode_texts(self, texts: Any, *, truncate: bool = False) -> Any:
            self.first.set()
            assert self.go_on.wait(WAIT_S)
            return super().encode_texts(texts, truncate=truncate)

    slow = Slow()
    shared = OneAtATime(slow)
    with ThreadPoolExecutor(9) as pool:
        futures = [pool.submit(shared.encode_texts, ["red"])]
        assert slow.first.wait(WAIT_S)
        futures += [pool.submit(shared.encode_texts, [f"text {n % 3}"]) for n in range(8)]
        until(lambda: len(shared._waiting) == 8)
        slow.go_on.set()
        for future in futures:
            future.result(WAIT_S)
    assert (shared.text_requests, shared.text_calls) == (9, 2)
    assert sorted(slow.texts) == ["red", "text 0", "text 1", "text 2"]


def test_it_can_be_part_of_another_program(library: Library) -> None:
    outer = FastAPI()
    inner = create_app(library, security=Security(hosts=frozenset({HOST})))
    outer.mount("/photos", inner)
    with TestClient(outer, base_url=URL) as client:
        assert client.get("/photos/healthz").status_code == 200
        assert client.get("/photos/v1/search", params={"q": "red"}).status_code == 200
        job = client.post("/photos/v1/sync", json={}).json()  # starts without the inner one's lifespan
        until(lambda: client.get(f"/photos/v1/jobs/{job['id']}").json()["state"] == "done")
    inner.state.service.stop()

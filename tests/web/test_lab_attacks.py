"""The attack table of the label lab: files of the host, models by folder, questions without end, forged cursors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.web.conftest import Serve
from zsindex.library import Library
from zsindex.web import cursors
from zsindex.web.cursors import OffsetCursor

LABELS = ["red", "green", "blue", "white"]
TWO: dict[str, Any] = {"before": {"labels": LABELS}, "after": {"templates": ["{}"]}}

# (what, path, body, status, problem)
ATTACKS: list[tuple[str, str, dict[str, Any], int, str]] = [
    *[
        (f"words of a file: {name}", "/v1/suggest", {"labels": LABELS, "vocabulary": name}, 422, "fields")
        for name in ("/etc/passwd", "~/.profile", "wordnet:", "wordnet:all", "wordnet:/etc/passwd", "../x", "")
    ],
    *[
        (
            f"negatives of a file in {path}",
            path,
            {**body, "labels": LABELS, "unknown": "neglabel@/etc/passwd"},
            422,
            "fields",
        )
        for path, body in [("/v1/eval", {"truth": "folders"}), ("/v1/tags", {}), ("/v1/classify", {})]
    ],
    *[
        (f"a truth in a file: {name!r}", path, {"labels": LABELS, "truth": name}, 422, "fields")
        for name in ("/etc/passwd", "truth.csv", "folders/../x", "corrections", "Folders", "")
        for path in ("/v1/eval", "/v1/temperature")
        if name != "corrections"
    ],
    *[
        (f"a truth about {key!r}", "/v1/eval", {"labels": LABELS, "truth": {key: "red"}}, 422, "truth")
        for key in ("~/x.png", "x.png", "../../etc/passwd", "-1", "C:x", "file:///etc/passwd")
    ],
    ("a truth about no photo", "/v1/eval", {"labels": LABELS, "truth": {"99999": "red"}}, 404, "unknown-image"),
    (
        "a truth about a large number",
        "/v1/eval",
        {"labels": LABELS, "truth": {"9" * 1999: "red"}},
        404,
        "unknown-image",
    ),
    ("a truth about a file of the host", "/v1/eval", {"labels": LABELS, "truth": {"/etc/passwd": "red"}}, 422, "truth"),
    ("a truth of nobody", "/v1/eval", {"labels": LABELS, "truth": "corrections"}, 422, "truth"),
    ("a truth of another set", "/v1/eval", {"labels": LABELS, "truth": "corrections:x"}, 404, "unknown-set"),
    *[
        (f"the model {name}", path, {**body, key: value}, 404, "unknown-model")
        for name in ("local-dir:/etc", "hf-hub:evil/model", "ViT-B-32/openai", "/etc/passwd")
        for path, body, key, value in [
            ("/v1/eval", {"labels": LABELS, "truth": "folders"}, "models", [name]),
            ("/v1/diff", TWO, "after", {"model": name}),
        ]
    ],
    *[
        (f"{path} at {place!r}", path, {**body, "paths": [place]}, status, slug)
        for place, status, slug in [
            ("~", 422, "fields"),
            ("relative", 422, "fields"),
            ("../..", 422, "fields"),
            ("/etc", 404, "not-in-library"),
        ]
        for path, body in [
            ("/v1/lint", {"labels": LABELS}),
            ("/v1/diff", TWO),
            ("/v1/suggest", {"labels": LABELS}),
            ("/v1/eval", {"labels": LABELS, "truth": "folders"}),
            ("/v1/temperature", {"labels": LABELS, "truth": "folders"}),
            ("/v1/tags", {"labels": LABELS, "apply": True}),
            ("/v1/classify", {"labels": LABELS}),
        ]
    ],
    ("tags taken back elsewhere", "/v1/tags/retract", {"paths": ["../.."], "apply": True}, 422, "fields"),
    ("a root with a zero byte", "/v1/tags", {"labels": LABELS, "root": "a\0b"}, 422, "fields"),
    ("another place for sidecars", "/v1/tags", {"labels": LABELS, "style": "../{}"}, 422, "fields"),
    ("resamples without end", "/v1/eval", {"labels": LABELS, "truth": "folders", "resamples": 10**9}, 422, "fields"),
    (
        "ways without end",
        "/v1/eval",
        {"labels": LABELS, "truth": "folders", "template_sets": ["{}"] * 17},
        422,
        "too-much",
    ),
    ("a list without end", "/v1/lint", {"labels": LABELS, "limit": 10**9}, 422, "fields"),
    ("a longer list than is given out", "/v1/lint", {"labels": LABELS, "limit": 9999}, 422, "fields"),
    ("100,000 labels", "/v1/lint", {"labels": [f"{n:x}" for n in range(100_000)]}, 422, "labels"),
    (
        "100,000 words",
        "/v1/suggest",
        {"labels": LABELS, "vocabulary": [f"{n:x}" for n in range(99_000)]},
        422,
        "fields",
    ),
    ("100,000 photos", "/v1/eval", {"labels": LABELS, "truth": {str(n): "a" for n in range(60_000)}}, 422, "truth"),
    (
        "a million photos",
        "/v1/eval",
        {"labels": LABELS, "truth": {str(n): "a" for n in range(10**6)}},
        413,
        "too-large",
    ),
    ("paths without end", "/v1/lint", {"labels": LABELS, "paths": ["/x"] * 1001}, 422, "fields"),
    ("a temperature of 0", "/v1/classify", {"labels": LABELS, "temperature": 0}, 422, "fields"),
    ("a temperature of nothing", "/v1/classify", {"labels": LABELS, "temperature": "nan"}, 422, "fields"),
]


@pytest.mark.parametrize(("what", "path", "body", "status", "slug"), ATTACKS, ids=[row[0] for row in ATTACKS])
def test_what_attacks_get(
    client: TestClient,
    library: Library,
    album: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    path: str,
    body: dict[str, Any],
    status: int,
    slug: str,
) -> None:
    def open_model(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model was looked for")

    monkeypatch.setattr(Library, "with_model", open_model)
    response = client.post(path, json=body)
    assert (response.status_code, response.json()["type"]) == (status, f"urn:zsindex:problem:{slug}"), response.text
    for secret in (str(library.path), str(Path.home()), str(Path.cwd()), "root:"):
        assert secret not in response.text
    assert not list(album.rglob("*.xmp"))


QUESTIONS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/v1/lint", {"labels": LABELS}),
    ("POST", "/v1/diff", TWO),
    ("POST", "/v1/suggest", {"labels": LABELS}),
    ("POST", "/v1/eval", {"labels": LABELS, "truth": "folders"}),
    ("POST", "/v1/temperature", {"labels": LABELS, "truth": "folders"}),
    ("POST", "/v1/tags", {"labels": LABELS}),
    ("GET", "/v1/thresholds?label_set=colours", None),
    ("POST", "/v1/thresholds", {"label_set": "colours", "label": "red", "rate": 0.5}),
    ("GET", "/v1/corrections/next?label_set=colours", None),
]


def test_photos_times_labels_are_limited(serve: Serve, library: Library) -> None:
    library.labels.save("colours", LABELS)
    few, more = (serve(library, limits={"products": products}) for products in (15, 32))
    for method, path, body in QUESTIONS:
        refused = few.request(method, path, json=body)
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:zsindex:problem:too-much"), path
        answered = more.request(method, path, json=body)
        assert answered.status_code == 200 or "problem:truth" in answered.text, path


def test_forged_cursors(client: TestClient) -> None:
    linted = client.post("/v1/lint", json={"labels": [*LABELS, "black", "a red one"], "limit": 1}).json()["next"]
    question = {"before": {"labels": ["red", "blue"]}, "after": {"labels": ["white"]}, "limit": 1}
    page = client.post("/v1/diff", json=question).json()
    found, other = cursors._unpack(page["next"]), cursors._unpack(linted)
    # The key of an answer of another kind, which is kept.
    forged = OffsetCursor(other["k"], found["q"], 0).to_text()
    assert client.post("/v1/diff", json={**question, "cursor": forged}).status_code == 410
    assert client.post("/v1/diff", json={**question, "cursor": linted}).status_code == 422
    for offset, flips in [(0, 1), (page["flipped"] - 1, 1), (page["flipped"], 0), (10**18, 0)]:
        cursor = OffsetCursor(found["k"], found["q"], offset).to_text()
        asked = client.post("/v1/diff", json={**question, "cursor": cursor})
        assert (asked.status_code, len(asked.json()["flips"])) == (200, flips), offset

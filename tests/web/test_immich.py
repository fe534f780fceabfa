"""An immich server asks for vectors, in the requests that its code sends, written down here from that code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.scenes import photo
from tests.web.conftest import READ, TOKENS, Serve
from zsindex.library import Library
from zsindex.web import Security

MODEL = "ViT-B-32__openai"
BOUNDARY = "formdata-undici-012345678901"
CRLF = "\r\n"


@pytest.fixture
def immich(serve: Serve, library: Library) -> TestClient:
    return serve(library, security={"tokens": TOKENS, "immich": MODEL})


def asked(kind: str, model: str = MODEL, **options: object) -> str:
    return json.dumps({"clip": {kind: {"modelName": model, **({"options": options} if options else {})}}})


def multipart(**fields: str | bytes) -> tuple[bytes, dict[str, str]]:
    """A form as the fetch of Node writes it: a Blob without a name is a file called blob, without a type of its own."""
    body = b""
    for name, value in fields.items():
        head = f'--{BOUNDARY}{CRLF}Content-Disposition: form-data; name="{name}"'
        if isinstance(value, bytes):
            body += f'{head}; filename="blob"{CRLF}Content-Type: application/octet-stream{CRLF}{CRLF}'.encode() + value
        else:
            body += f"{head}{CRLF}{CRLF}{value}".encode()
        body += CRLF.encode()
    return body + f"--{BOUNDARY}--{CRLF}".encode(), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def vector(text: str) -> np.ndarray:
    return np.array(json.loads(text), dtype=np.float32)


def test_it_asks_whether_the_service_is_there(immich: TestClient) -> None:
    answer = immich.get("/ping")
    assert (answer.status_code, answer.text) == (200, "pong")


def test_texts_come_as_the_text_of_an_array(immich: TestClient, library: Library) -> None:
    body, headers = multipart(entries=asked("textual", language="en"), text="a red square")
    answer = immich.post("/predict", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json().keys() == {"clip"}
    assert np.array_equal(vector(answer.json()["clip"]), library.embed_texts("a red square")[0])


def test_images_come_with_their_size_and_are_encoded_once(
    immich: TestClient, library: Library, album: Path, tmp_path: Path
) -> None:
    body, headers = multipart(entries=asked("visual"), image=(album / "red.png").read_bytes())
    encoded = library.usage["images_encoded"]
    answer = immich.post("/predict", content=body, headers=headers).json()
    assert (answer["imageWidth"], answer["imageHeight"]) == (16, 12)
    assert np.array_equal(vector(answer["clip"]), library.embed_images(album / "red.png")[0])
    assert library.usage["images_encoded"] == encoded  # the library had it

    new, headers = multipart(entries=asked("visual"), image=photo(tmp_path / "new.png", "yellow").read_bytes())
    twice = [immich.post("/predict", content=new, headers=headers).json() for _ in range(2)]
    assert twice[0] == twice[1]
    assert library.usage["images_encoded"] == encoded + 1
    assert library.status().files == 5  # its vector is kept; it is no photo of the library


def test_other_models_and_tasks_are_refused_with_the_reason(immich: TestClient) -> None:
    def refused(entries: str, **rest: str | bytes) -> str:
        body, headers = multipart(entries=entries, **rest)
        answer = immich.post("/predict", content=body, headers=headers)
        assert answer.status_code == 422
        detail: str = answer.json()["detail"]
        return detail

    assert "ViT-L-14__openai" in refused(asked("textual", "ViT-L-14__openai"), text="red")
    faces = {"facial-recognition": {"detection": {"modelName": "buffalo_l", "options": {"minScore": 0.7}}}}
    assert "faces" in refused(json.dumps(faces), image=b"x")
    assert "faces" in refused(json.dumps({**json.loads(asked("visual")), **faces}), image=b"x")
    for nonsense in ("", "{", "[]", "{}", '{"clip": {}}', '{"clip": {"visual": {}}}', '{"clip": 1}', asked("audible")):
        assert refused(nonsense, text="red")
    assert "needs an image" in refused(asked("visual"), text="red")
    assert "needs a text" in refused(asked("textual"), image=b"x")
    assert "image" in refused(asked("visual"), image=b"no picture")


def test_long_texts_are_cut_off_as_by_immich(immich: TestClient) -> None:
    body, headers = multipart(entries=asked("textual"), text="word " * 200)
    assert immich.post("/predict", content=body, headers=headers).status_code == 200


def test_nothing_else_is_open(immich: TestClient, serve: Serve, library: Library) -> None:
    assert immich.get("/v1/library").status_code == 401
    plain = serve(library, security={"tokens": TOKENS}, token=READ)
    assert {plain.get("/ping").status_code, plain.post("/predict").status_code} <= {404, 405}
    body, headers = multipart(entries=asked("textual"), text="red")
    other = immich.post("/predict", content=body, headers={**headers, "Origin": "https://example.org"})
    assert other.status_code == 403


def test_a_read_only_service_answers_and_keeps_nothing(serve: Serve, library: Library, tmp_path: Path) -> None:
    with Library.open(library.path, encoder=library.session.model.loaded, read_only=True) as reading:
        client = serve(reading, security={"immich": MODEL, "read_only": True})
        body, headers = multipart(entries=asked("visual"), image=photo(tmp_path / "new.png", "pink").read_bytes())
        assert client.post("/predict", content=body, headers=headers).status_code == 200
        assert reading.usage["images_encoded"] == 1
        client.post("/predict", content=body, headers=headers)
        assert reading.usage["images_encoded"] == 2


def test_the_document_names_it(immich: TestClient) -> None:
    paths = immich.app.openapi()["paths"]  # type: ignore[attr-defined]
    assert {"/ping", "/predict"} <= paths.keys()


def test_it_is_off_unless_asked_for() -> None:
    assert Security(hosts=frozenset()).immich is None

"""``/v1/search`` and ``similar``: the library's order over HTTP; pages that never lose or repeat a hit."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.fakes import COLOURS, DIM, FakeEncoder
from tests.libraries import add_model, add_photos, open_storage, unit_vectors
from tests.scenes import photo
from tests.web.conftest import HOST, URL, Serve
from zsindex.library import Library
from zsindex.services.search import Search
from zsindex.web import Limits, Security, create_app


@pytest.fixture
def many(tmp_path: Path, new_library: Path) -> Library:
    """A thousand photos, many of which have equal vectors."""
    folder = shutil.copytree(new_library, tmp_path / "many")
    with open_storage(folder) as storage:
        vectors = np.repeat(unit_vectors(250, seed=3), 4, axis=0)
        add_photos(storage, add_model(storage), vectors[np.random.default_rng(0).permutation(len(vectors))])
    return Library.open(folder)


def pages(client: TestClient, first: dict[str, Any], *, most: int = 1000) -> list[dict[str, Any]]:
    hits, cursor = list(first["hits"]), first["next"]
    for _ in range(most):
        if cursor is None:
            break
        page = client.get("/v1/search", params={"cursor": cursor}).json()
        hits += page["hits"]
        cursor = page["next"]
    return hits


def test_words_find_what_the_library_finds(client: TestClient, library: Library) -> None:
    body = client.get("/v1/search", params={"q": "red", "plus": ["blue"], "minus": ["green"], "top": 3}).json()
    expected = library.search("text:red", plus=["text:blue"], minus=["text:green"], top=3, exact=True)
    assert [(h["path"], h["score"], tuple(h["copies"])) for h in body["hits"]] == [
        (h.path, pytest.approx(h.score, abs=1e-6), h.copies) for h in expected
    ]


def test_a_text_is_never_read_as_a_path(client: TestClient, album: Path, encoder: Any) -> None:
    file = str(album / "red.png")
    before = encoder.image_count
    assert client.get("/v1/search", params={"q": file}).status_code == 200
    assert client.post("/v1/search", json={"plus": [{"text": file}]}).status_code == 200
    assert encoder.texts[-1] == file
    assert encoder.image_count == before


def test_images_and_words_together(client: TestClient, library: Library, album: Path) -> None:
    content = (album / "red.png").read_bytes()
    [image_id] = {hit.image_id for hit in library.similar(album / "sea" / "blue.png", top=10) if "red" in hit.path}
    terms = {"plus": [{"image": base64.b64encode(content).decode()}, {"text": "green"}]}
    by_bytes = client.post("/v1/search", json=terms).json()
    by_id = client.post("/v1/search", json={"plus": [{"image_id": image_id}, {"text": "green"}]}).json()
    uploaded = client.post("/v1/search/upload", files={"image": ("x", content)}, data={"plus": ["green"]}).json()
    assert by_bytes == by_id == uploaded
    assert len(by_id["hits"]) == 4


def test_similar_leaves_the_photo_out_on_all_pages(client: TestClient, library: Library) -> None:
    image_id = library.search("red", top=1)[0].image_id
    first = client.get(f"/v1/images/{image_id}/similar", params={"top": 1}).json()
    hits = pages(client, first)
    assert len(hits) == 3
    assert image_id not in {hit["image_id"] for hit in hits}
    assert client.get("/v1/images/999/similar").status_code == 404


def test_pages_are_the_whole_order(serve: Serve, many: Library) -> None:
    with many:
        client = serve(many)
        vector = unit_vectors(1, seed=9)[0]
        everything = Search(many.session).page(vector, top=1000)
        assert everything.next is None
        assert len(everything.hits) == 1000
        view = many.view()
        products = view.take(range(1000)).astype(np.float64) @ vector.astype(np.float64)
        # Equal vectors have equal products, in the order of their ids.
        naive = sorted(zip((-products.round(12)).tolist(), view.image_ids.tolist(), strict=True))
        assert [hit.image_id for hit in everything.hits] == [image_id for _, image_id in naive]
        ids: list[int] = []
        page = Search(many.session).page(vector, top=7)
        while True:
            ids += [hit.image_id for hit in page.hits]
            if page.next is None:
                break
            page = Search(many.session).page(vector, top=7, after=page.next)
        assert ids == [hit.image_id for hit in everything.hits]
        image_id = everything.hits[0].image_id
        first = client.get(f"/v1/images/{image_id}/similar", params={"top": 100}).json()
        assert len({hit["image_id"] for hit in pages(client, first)}) == 999


def test_photos_that_come_in_meanwhile_shift_nothing(serve: Serve, many: Library) -> None:
    with many:
        client = serve(many)
        image_id = Search(many.session).page(unit_vectors(1, seed=9)[0], top=1).hits[0].image_id
        whole = client.get(f"/v1/images/{image_id}/similar", params={"top": 1000}).json()["hits"]
        page = client.get(f"/v1/images/{image_id}/similar", params={"top": 100}).json()
        found, n = list(page["hits"]), 0
        while page["next"] is not None:
            with open_storage(many.path, create=False) as storage:
                # Equal to what was shown, and to what was not yet: before, at and after the cursor.
                model = storage.reads.models()[0]
                add_photos(storage, model, unit_vectors(250, seed=3)[n : n + 20], folder=f"/later/{n}")
            n += 20
            page = client.get("/v1/search", params={"cursor": page["next"]}).json()
            found += page["hits"]
        assert [hit["image_id"] for hit in found] == [hit["image_id"] for hit in whole]
        assert len(Search(many.session).page(unit_vectors(1, seed=9)[0], top=2000).hits) == 1000 + n


def test_a_cursor_outlives_the_service(serve: Serve, many: Library) -> None:
    with many:
        first = serve(many).get("/v1/images/1/similar", params={"top": 300}).json()
        whole = serve(many).get("/v1/images/1/similar", params={"top": 1000}).json()
        assert first["hits"] + pages(serve(many), {"hits": [], "next": first["next"]}) == whole["hits"]


def test_a_cursor_from_before_vectors_were_removed_is_refused(serve: Serve, many: Library) -> None:
    with many:
        client = serve(many)
        first = client.get("/v1/images/1/similar", params={"top": 10}).json()
        with open_storage(many.path, create=False) as storage:
            storage.photos.mark_missing("/photos", ["00500.png"])
        assert many.prune().vectors == 1
        response = client.get("/v1/search", params={"cursor": first["next"]})
        assert (response.status_code, response.json()["type"]) == (410, "urn:zsindex:problem:cursor-expired")


def test_photos_that_vanish_are_left_out_and_nothing_else(serve: Serve, many: Library) -> None:
    with many:
        client = serve(many)
        whole = client.get("/v1/images/1/similar", params={"top": 1000}).json()["hits"]
        page = client.get("/v1/images/1/similar", params={"top": 100}).json()
        gone = whole[150]
        with open_storage(many.path, create=False) as storage:
            storage.photos.mark_missing("/photos", [Path(gone["path"]).name])
        assert pages(client, page) == [hit for hit in whole if hit != gone]


def test_only_folders_on_all_pages(client: TestClient, album: Path) -> None:
    first = client.get("/v1/search", params={"q": "red", "path": [str(album / "sea")], "top": 1}).json()
    hits = pages(client, first)
    assert len(hits) == 3
    everything = client.get("/v1/search", params={"q": "red"}).json()["hits"]
    assert len(everything) == len(COLOURS) - 2


@pytest.mark.parametrize(
    ("question", "status", "slug"),
    [
        ({}, 422, "query"),
        ({"plus": [{}]}, 422, "query"),
        ({"plus": [{"text": "a", "image_id": 1}]}, 422, "query"),
        ({"plus": [{"text": "red"}], "minus": [{"text": "red"}]}, 422, "query"),
        ({"plus": [{"text": " "}]}, 422, "query"),
        ({"plus": [{"image_id": 10**30}]}, 422, "fields"),
        ({"plus": [{"image_id": 4711}]}, 404, "unknown-image"),
        ({"plus": [{"image": "aGVsbG8="}]}, 422, "image"),
        ({"cursor": "eJyrVkrKTFGyUlAqSS0uUaoFAB3qBHs"}, 422, "cursor"),
    ],
)
def test_bad_queries_say_what_is_wrong(client: TestClient, question: Any, status: int, slug: str) -> None:
    response = client.post("/v1/search", json=question)
    assert (response.status_code, response.json()["type"]) == (status, f"urn:zsindex:problem:{slug}")


def test_a_made_up_cursor_gets_no_further_than_a_question(client: TestClient, album: Path) -> None:
    from zsindex.services.search import Place
    from zsindex.web.cursors import SearchCursor

    photo(album / "one more.png", "red", mark=3)
    fingerprint = client.app.state.service.library.model.fingerprint  # type: ignore[attr-defined]
    vector = np.eye(1, DIM, dtype=np.float32)[0]

    def get(**changes: Any) -> int:
        given = {
            "fingerprint": fingerprint,
            "vector": vector,
            "place": Place(10**9, 0, 2.0 - 1e-9, 0),
            "paths": None,
            "leave_out": None,
            "top": 5,
        }
        text = SearchCursor(**{**given, **changes}).to_text()
        return client.get("/v1/search", params={"cursor": text}).status_code

    assert get() == 200
    assert get(fingerprint="other") == 410
    assert get(vector=vector * 2) == 422
    assert get(vector=vector[:3]) == 422
    assert get(vector=vector * np.nan) == 422
    assert get(place=Place(-1, 0, 0.5, 1)) == 422
    assert get(place=Place(2**80, 0, 0.5, 1)) == 422
    assert get(place=Place(1, 0, float("nan"), 1)) == 422
    assert get(paths=("\0",)) == 422
    assert get(paths=("\ud800",)) == 422
    assert get(top=10**6) == 422


def test_below_a_folder_the_file_there_is_shown(tmp_path: Path) -> None:
    first = photo(tmp_path / "photos" / "a" / "red.png")
    copy = tmp_path / "photos" / "b" / "red.png"
    copy.parent.mkdir()
    copy.write_bytes(first.read_bytes())
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(tmp_path / "photos")
        app = create_app(library, security=Security(frozenset({HOST})), limits=Limits())
        with TestClient(app, base_url=URL) as client:
            for path, name in ((copy.parent, copy), (first.parent, first)):
                [hit] = client.get("/v1/search", params={"q": "red", "path": str(path)}).json()["hits"]
                assert (hit["path"], hit["copies"]) == (str(name), [])
                assert hit["path"] == library.search("red", paths=path)[0].path
            [hit] = client.get("/v1/search", params={"q": "red"}).json()["hits"]
            assert {hit["path"], *hit["copies"]} == {str(first), str(copy)}

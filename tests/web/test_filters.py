"""Filters over HTTP: the same photos as in Python, however they are asked for, on every page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.fakes import FakeEncoder
from tests.filtered import album as make_album
from tests.filtered import xmp
from tests.libraries import execute
from tests.web.conftest import Serve
from zsindex.arguments.filters import KINDS
from zsindex.library import Library
from zsindex.web import create_app
from zsindex.web.schemas.filters import FilterQuery
from zsindex.where import (
    Where,
    answered,
    box,
    camera,
    corrected,
    file_format,
    keyword,
    near,
    orientation,
    rating,
    size,
    taken,
    year,
)

LABELS = ["red", "green", "blue"]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return make_album(tmp_path / "album")


@pytest.fixture
def library(tmp_path: Path, album: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        opened.labels.save("colours", LABELS)
        opened.corrections.add("colours", opened.photos.paths()[3], "red")
        yield opened


# As parameters of a URL, and as Python says it.
QUERIES: list[tuple[list[tuple[str, str]], Where]] = [
    ([("since", "2018-06"), ("until", "2019")], (taken >= "2018-06") & (taken <= "2019")),
    ([("not", "camera:iPhone")], ~camera.contains("iPhone")),
    ([("year", "2017,2019"), ("not", "rating:3..")], year.among("2017,2019") & ~(rating >= 3)),
    ([("near", "48,11,10")], near(48, 11, km=10)),
    ([("box", "-20,170,0,-170")], box(-20, 170, 0, -170)),
    ([("keyword", "Tiere"), ("keyword", "Vögel")], (keyword == "Tiere") & (keyword == "Vögel")),
    ([("min_size", "64x48")], size >= "64x48"),
    ([("month", "11..2"), ("hour", "6..18")], Where.from_json({"month": "11..2", "hour": "6..18"})),
    ([("lens", "50mm"), ("has", "place")], Where.from_json({"lens": "50mm", "has": "place"})),
    ([("file_format", "jpeg"), ("orientation", "portrait")], (file_format == "JPEG") & (orientation == "portrait")),
    ([("where", '{"or": [{"year": 2017}, {"not": {"rating": "3.."}}]}')], (year == 2017) | ~(rating >= 3)),
    ([("answer", "colours=red")], answered("colours", "red")),
    ([("not", "corrected:colours")], ~corrected("colours")),
]  # fmt: skip


def test_urls_know_every_filter() -> None:
    assert FilterQuery.model_fields.keys() - {"not_", "where"} == KINDS.keys() - {"path"}
    asked = {one.name for _, where in QUERIES for one in where}
    assert asked == KINDS.keys() - {"path"}


@pytest.mark.parametrize(("query", "where"), QUERIES, ids=lambda value: repr(value)[:60])
def test_the_same_photos_however_they_are_asked_for(
    client: TestClient, library: Library, query: list[tuple[str, str]], where: Where
) -> None:
    answer = library.classify(LABELS, where=where)
    labels = [("label", label) for label in LABELS]
    by_get = client.get("/v1/classify", params=[*labels, *query]).json()
    by_post = client.post("/v1/classify", json={"labels": LABELS, "where": where.to_json()}).json()
    for found in (by_get, by_post):
        assert found["run"]["key"] == answer.run.key, found
        assert [one["path"] for one in found["results"]] == answer.paths
        assert found["counts"] == answer.tally()
    hits = [hit.path for hit in library.search("red", top=50, where=where)]
    body = {"plus": {"text": "red"}, "top": 50, "where": where.to_json()}
    assert [
        h["path"] for h in client.get("/v1/search", params=[("q", "red"), ("top", 50), *query]).json()["hits"]
    ] == hits
    assert [h["path"] for h in client.post("/v1/search", json=body).json()["hits"]] == hits
    image_id = int(library.classify(LABELS).image_ids[0])
    like = client.get(f"/v1/images/{image_id}/similar", params=[("top", 50), *query]).json()["hits"]
    assert {one["image_id"] for one in like} == set(answer.image_ids.tolist()) - {image_id}
    assert client.get("/v1/duplicates", params=query).json()["photos"] == len(answer)
    curves = client.get("/v1/thresholds", params=[("label_set", "colours"), *query]).json()
    assert curves["photos"] == len(answer)


def test_pages_keep_their_filters(client: TestClient, library: Library) -> None:
    where = ~camera.contains("iPhone")
    hits = [hit.path for hit in library.search("red", top=50, where=where)]
    found: list[str] = []
    page = client.get("/v1/search", params={"q": "red", "top": 4, "not": "camera:iPhone"}).json()
    while True:
        found += [hit["path"] for hit in page["hits"]]
        if page["next"] is None:
            break
        page = client.post("/v1/search", json={"cursor": page["next"]}).json()
    assert found == hits
    assert len(hits) > 8

    answer = library.classify(LABELS, where=where)
    found, cursor = [], None
    while True:
        body = {"labels": LABELS, "where": where.to_json(), "limit": 4, **({"cursor": cursor} if cursor else {})}
        page = client.post("/v1/classify", json=body).json()
        assert page["total"] == len(answer)
        found += [one["path"] for one in page["results"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == answer.paths


def test_a_cursor_is_of_no_other_filter(client: TestClient) -> None:
    body: dict[str, Any] = {"labels": LABELS, "where": {"not": {"camera": "iPhone"}}, "limit": 4}
    cursor = client.post("/v1/classify", json=body).json()["next"]
    for other in ({"year": "2017.."}, None):
        found = client.post("/v1/classify", json=body | {"where": other, "cursor": cursor})
        assert (found.status_code, found.json()["type"]) == (422, "urn:zsindex:problem:cursor")


def test_another_service_goes_on_with_the_filters(serve: Serve, library: Library) -> None:
    one, other = serve(library), serve(library)
    body: dict[str, Any] = {"labels": LABELS, "where": {"not": {"camera": "iPhone"}}, "limit": 4}
    first = one.post("/v1/classify", json=body).json()
    second = other.post("/v1/classify", json=body | {"cursor": first["next"]}).json()
    paths = [result["path"] for page in (first, second) for result in page["results"]]
    assert paths == library.classify(LABELS, where=body["where"]).paths[:8]
    page = one.get("/v1/search", params={"q": "red", "top": 4, "not": "camera:iPhone"}).json()
    page = other.get("/v1/search", params={"cursor": page["next"]}).json()
    hits = library.search("red", top=8, where=body["where"])
    assert [hit["path"] for hit in page["hits"]] == [hit.path for hit in hits[4:]]
    key = one.post("/v1/groups", json={"labels": LABELS, "where": body["where"]}).json()["key"]
    assert other.get(f"/v1/groups/{key}/photos").json()["total"] == len(library.classify(LABELS, where=body["where"]))


def test_entity_tags_tell_filters_apart(client: TestClient, library: Library, album: Path) -> None:
    queries = [[], *([("label", "red"), ("label", "blue"), *query] for query, _ in QUERIES)]
    queries[0] = [("label", "red"), ("label", "blue")]
    tags = [client.get("/v1/classify", params=query).headers["etag"] for query in queries]
    assert len(set(tags)) == len(tags)
    query = [*queries[0], ("rating", "5")]
    tag = client.get("/v1/classify", params=query).headers["etag"]
    assert client.get("/v1/classify", params=query, headers={"If-None-Match": tag}).status_code == 304
    (album / "2018" / "photo 01.xmp").write_text(xmp(5), encoding="utf-8")
    library.sync(album)
    again = client.get("/v1/classify", params=query, headers={"If-None-Match": tag})
    assert again.status_code == 200
    assert str(album / "2018" / "photo 01.jpg") in {one["path"] for one in again.json()["results"]}


def test_groups_and_what_is_asked_of_them(client: TestClient, library: Library) -> None:
    where = {"not": {"camera": "iPhone"}}
    answer = library.classify(LABELS, where=where)
    found = client.post("/v1/groups", json={"labels": LABELS, "where": where}).json()
    assert found["total"] == len(answer)
    assert {one["label"]: one["count"] for one in found["groups"]} == answer.tally()
    photos = client.get(f"/v1/groups/{found['key']}/photos").json()["photos"]
    assert {one["path"] for one in photos} == set(answer.paths)
    counts = client.post("/v1/classify/counts", json={"labels": LABELS, "where": where, "by": "year"}).json()
    assert sum(counts["photos"]) == len(answer)
    body = {"labels": LABELS, "where": where, "unknown": "mcm:0.1"}
    why = client.post(f"/v1/images/{photos[0]['image_id']}/explain", json=body)
    assert why.status_code == 200, why.text


def test_evaluations_tags_and_thresholds(client: TestClient, library: Library) -> None:
    where = {"camera": "Canon"}
    n = len(library.classify(LABELS, where=where))
    truth = dict.fromkeys(library.photos.paths(), "red")
    body: dict[str, Any] = {"labels": LABELS, "truth": truth, "resamples": 0, "where": where}
    assert client.post("/v1/eval", json=body).json()["photos"] == n
    assert client.post("/v1/tags", json={"labels": LABELS, "where": where}).json()["create"] == n
    body = {"label_set": "colours", "label": "red", "rate": 0.2}
    every = client.post("/v1/thresholds", json=body).json()
    some = client.post("/v1/thresholds", json=body | {"where": where}).json()
    assert (some["score"], some["rate"]) == (every["score"], every["rate"])
    assert some["n_leave"] < every["n_leave"]


@pytest.mark.parametrize(
    ("query", "at", "says"),
    [
        ({"near": "48.1"}, "near", "expected LAT,LON,KM"),
        ({"since": "14.7.2019"}, "since", "is neither YYYY"),
        ({"not": "camera"}, "not", "has no colon"),
        ({"not": "near:1"}, "not.near", "expected LAT,LON,KM"),
        ({"not": "colour:red"}, "not.colour", "there is no filter 'colour'"),
        ({"where": "{"}, "where", "it is not JSON"),
        ({"where": '{"or": [{"year": "x"}]}'}, "where.or[0].year", "is not a whole number"),
        ({"where": '{"path": "photos"}'}, "where.path", "is not an absolute path"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place_and_an_example(
    client: TestClient, query: dict[str, str], at: str, says: str
) -> None:
    for found in (
        client.get("/v1/search", params={"q": "red", **query}),
        client.get("/v1/classify", params={"label": ["red", "blue"], **query}),
        client.get("/v1/duplicates", params=query),
    ):
        problem = found.json()
        assert (found.status_code, problem["type"]) == (422, "urn:zsindex:problem:filter"), problem
        assert problem["at"] == at
        assert says in problem["detail"]
        assert problem["detail"].endswith(f"for example {problem['example']}")
    if "where" in query and query["where"] != "{":
        for path in ("/v1/classify", "/v1/groups"):
            body = {"labels": ["red", "blue"], "where": json.loads(query["where"])}
            problem = client.post(path, json=body).json()
            assert (problem["type"], problem["at"]) == ("urn:zsindex:problem:filter", at)


def test_where_nothing_was_read_yet_it_is_said_how_to(client: TestClient, library: Library) -> None:
    execute(library.session.path, "DELETE FROM image_facts")
    library.session.facts.forget()
    (library.session.path / "index" / "facts.npz").unlink(missing_ok=True)
    for found in (
        client.get("/v1/search", params={"q": "red", "camera": "x"}),
        client.get("/v1/classify", params={"label": ["red", "blue"], "camera": "x"}),
    ):
        assert (found.status_code, found.json()["type"]) == (409, "urn:zsindex:problem:no-facts")
        assert "POST /v1/sync" in found.json()["detail"]
    assert client.get("/v1/search", params={"q": "red"}).status_code == 200


def test_filters_are_documented(library: Library) -> None:
    document = create_app(library).openapi()
    for path in ("/v1/classify", "/v1/search", "/v1/images/{image_id}/similar", "/v1/duplicates", "/v1/thresholds"):
        named = {one["name"]: one for one in document["paths"][path]["get"]["parameters"]}
        assert named.keys() >= {*KINDS.keys() - {"path"}, "not", "where"}, path
        assert KINDS["near"].help in named["near"]["description"]


def test_classifications_in_order(client: TestClient, library: Library, album: Path) -> None:
    where = {"not": {"camera": "iPhone"}}
    answer = library.classify(LABELS, where=where)
    tags = set()
    for order in ("path", "label", "score", "date"):
        body = {"labels": LABELS, "where": where, "order": order, "limit": 5}
        first = client.post("/v1/classify", json=body)
        tags.add(first.headers["etag"])
        second = client.post("/v1/classify", json=body | {"cursor": first.json()["next"]})
        paths = [one["path"] for page in (first, second) for one in page.json()["results"]]
        if order != "label":
            assert paths == library.photos.in_order(answer, order).paths[:10]
    assert len(tags) == 4
    # What photos say may change while their answers do not.
    body = {"labels": LABELS, "order": "date"}
    tag = client.post("/v1/classify", json=body).headers["etag"]
    assert client.post("/v1/classify", json=body, headers={"If-None-Match": tag}).status_code == 412
    (album / "2018" / "photo 01.xmp").write_text(xmp(5), encoding="utf-8")
    library.sync(album)
    assert client.post("/v1/classify", json=body, headers={"If-None-Match": tag}).status_code == 200

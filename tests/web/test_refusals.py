"""What is wrong with a request is told of the shape that was sent, and a body says what it is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

JSON = b'{"labels": ["red"]}'


def wrong(client: TestClient, path: str, body: Any) -> dict[str, str]:
    answer = client.post(path, json=body)
    assert answer.status_code == 422, answer.text
    return {one["at"]: one["message"] for one in answer.json()["errors"]}


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/v1/classify", {"labels": [1]}, {"body.labels.0": "a valid string"}),
        ("/v1/classify", {"labels": {"owl": 3}}, {"body.labels.owl": "a valid list"}),
        ("/v1/classify", {"labels": 5}, {"body.labels": "a valid list or a valid dictionary"}),
        ("/v1/classify", {"labels": ["a"], "temperature": "hot"}, {"body.temperature": "a valid number or 'fitted'"}),
        ("/v1/classify", {"inputs": 3}, {"body.inputs": "a valid string", "body.parameters": "Field required"}),
        ("/v1/search", {"plus": {"text": 3}}, {"body.plus.0.text": "a valid string"}),
        ("/v1/search", {"plus": {"text": "red"}, "cut": "far"}, {"body.cut": "a valid number or 'auto'"}),
        ("/v1/eval", {"labels": ["a"], "truth": 3}, {"body.truth": "a valid dictionary or a valid string"}),
    ],
)
def test_only_the_shape_that_was_sent_is_told_of(
    client: TestClient, path: str, body: dict[str, Any], told: dict[str, str]
) -> None:
    found = wrong(client, path, body)
    assert {at: message.removeprefix("Input should be ") for at, message in found.items()} == told


def test_a_misspelt_field_is_told_once(client: TestClient) -> None:
    assert wrong(client, "/v1/classify", {"labels": ["a"], "tempalte": "{}"}) == {
        "body.tempalte": "Extra inputs are not permitted"
    }


@pytest.mark.parametrize("given", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_said_to_be_json_is_refused_as_that(client: TestClient, given: str | None) -> None:
    answer = client.post("/v1/classify", content=JSON, headers={"Content-Type": given} if given else {})
    assert (answer.status_code, answer.headers["Accept"]) == (415, "application/json")
    assert (given or "nothing") in answer.json()["detail"]


@pytest.mark.parametrize("given", ["application/json", "application/json; charset=utf-8", "application/ld+json"])
def test_json_by_any_of_its_names_is_read(client: TestClient, given: str) -> None:
    assert client.post("/v1/classify", content=JSON, headers={"Content-Type": given}).status_code == 200


def test_a_form_is_asked_for_where_files_come(client: TestClient) -> None:
    answer = client.post("/v1/search/upload", json={"image": "x"})
    assert (answer.status_code, answer.headers["Accept"]) == (415, "multipart/form-data")


def test_no_body_at_all_is_a_field_that_is_missing(client: TestClient) -> None:
    assert client.post("/v1/classify").status_code == 422


@pytest.mark.parametrize(
    ("method", "url", "name", "nearest"),
    [
        ("GET", "/v1/search?q=red&tpo=3", "tpo", "top"),
        ("GET", "/v1/search?q=red&taken_form=2020", "taken_form", None),  # filters, which a dependency declares
        ("GET", "/v1/classify?label=red&tempalte=x", "tempalte", "template"),  # of a model
        ("GET", "/v1/images/1?siez=3", "siez", None),  # only of the path
        ("GET", "/v1/images?Limit=3", "Limit", "limit"),
        ("GET", "/v1/images/1/thumbnail?sise=128", "sise", "size"),
        ("POST", "/v1/classify?labels=red", "labels", None),  # a question in the body has none in the URL
        ("POST", "/v1/corrections/undo?labelset=x", "labelset", "label_set"),
        ("DELETE", "/v1/duplicates/decisions?pat=/x", "pat", "path"),
        ("HEAD", "/v1/images?limti=3", "limti", None),
    ],
)
def test_a_parameter_that_an_endpoint_does_not_have_is_refused(
    client: TestClient, method: str, url: str, name: str, nearest: str | None
) -> None:
    answer = client.request(method, url)
    assert answer.status_code == 422, answer.text
    if method == "HEAD":
        return
    document = answer.json()
    [wrong] = document["errors"]
    assert wrong["at"] == f"query.{name}"
    assert repr(name) in document["detail"]
    assert (f"did you mean {nearest!r}?" in document["detail"]) == (nearest is not None)
    assert document["type"] == "urn:zsindex:problem:fields"
    assert nearest is None or nearest in document["known"]


def test_a_name_that_is_endless_is_cut(client: TestClient) -> None:
    answer = client.get(f"/v1/images?{'x' * 4000}=1&y=2")
    assert answer.status_code == 422
    assert len(answer.text) < 2000


@pytest.mark.parametrize("url", ["/?utm_source=x", "/lab?label=red&unknown_to_it=1", "/healthz?now=1", "/metrics?x=1"])
def test_pages_and_what_looks_after_the_service_take_any_parameter(client: TestClient, url: str) -> None:
    assert client.get(url).status_code == 200


def test_each_endpoint_knows_the_parameters_that_are_documented(client: TestClient) -> None:
    paths = client.get("/v1/openapi.json").json()["paths"]
    asked = 0
    for path, operations in paths.items():
        for method, operation in operations.items():
            if not path.startswith("/v1/"):
                continue
            answer = client.request(method, re.sub(r"{\w+}", "1", path) + "?no_such_thing=1")
            assert answer.status_code == 422, (method, path)
            names = sorted(one["name"] for one in operation.get("parameters", []) if one["in"] == "query")
            assert answer.json()["known"] == names, (method, path)
            asked += 1
    assert asked > 60

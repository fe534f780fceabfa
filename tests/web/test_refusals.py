"""What is wrong with a request is told of the shape that was sent, and a body says what it is."""

from __future__ import annotations

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

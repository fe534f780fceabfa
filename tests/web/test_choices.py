"""``/v1/choices``: a choice by requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.scenes import photo
from tests.web.conftest import Serve
from tests.web.test_reviews import post
from zsindex.library import Library
from zsindex.records import NONE

FOUR = ["red", "green", "blue", "white"]
ASKED: dict[str, Any] = {"label_set": "wrong", "against": {"label_set": "right"}, "within": 0.1}


@pytest.fixture
def sets(library: Library, album: Path) -> Library:
    """Five photos of each colour, and two label sets, one of which confuses two of them."""
    for colour in FOUR:
        for mark in range(1, 5):
            photo(album / f"{colour} {mark}.png", colour, mark=mark)
    library.sync()
    library.labels.save("right", FOUR)
    library.labels.save("wrong", {"red": "red", "green": "blue", "blue": "green", "white": "white"})
    return library


def colour_of(look: dict[str, Any]) -> str:
    return next(colour for colour in FOUR if colour in Path(look["path"]).name)


def test_a_choice_by_requests(serve: Serve, sets: Library) -> None:
    client = serve(sets)
    now = post(client, "/v1/choices", **ASKED)
    survey = now["survey"]
    assert (now["candidates"], now["named"], now["looked_at"]) == (["wrong@1", "right@1"], None, 0)
    assert (now["photos"], now["differ"]) == (20, 10)
    first = now["next"]
    assert sorted(first["drawn"]["answers"]) == ["blue", "green"]
    assert client.get(f"/v1/choices/{survey}").json() == now
    assert post(client, "/v1/choices", **ASKED) == now  # the same question goes on

    answers, undo = f"/v1/choices/{survey}/answers", f"/v1/choices/{survey}/undo"
    now = post(client, answers, number=first["number"], answer=NONE)
    assert now["looked_at"] == 1
    assert post(client, answers, 409, number=first["number"], answer="green")["type"].endswith(":look")
    now = post(client, undo)
    assert (now["looked_at"], now["next"]["digest"]) == (0, first["digest"])
    while now["next"] is not None:
        now = post(client, answers, number=now["next"]["number"], answer=colour_of(now["next"]))
    choice = sets.choices.begin("wrong", against="right", within=0.1)
    assert choice.survey_id == survey
    expected = choice.standing().to_dict()
    assert {name: now[name] for name in expected} == expected
    assert (now["named"], now["contenders"]) == ("right@1", ["right@1"])


def test_of_two_answers_to_a_photo_the_first_stays(serve: Serve, sets: Library) -> None:
    client = serve(sets)
    look = post(client, "/v1/choices", **ASKED)["next"]
    there = sets.choices.begin("wrong", against="right", within=0.1)
    there.look()
    there.answer("blue")  # beside the service
    survey = there.survey_id
    refused = post(client, f"/v1/choices/{survey}/answers", 409, number=look["number"], answer="green")
    assert refused["type"].endswith(":look")
    assert sets.surveys.looks(survey)[0].answer == "blue"
    there.look()
    there.answer("blue")
    assert client.get(f"/v1/choices/{survey}").json()["looked_at"] == 2  # taken up without being asked for a photo


def test_a_choice_that_is_no_longer_kept_is_begun_again_and_goes_on(serve: Serve, sets: Library) -> None:
    client = serve(sets)
    now = post(client, "/v1/choices", **ASKED)
    now = post(client, f"/v1/choices/{now['survey']}/answers", number=now["next"]["number"], answer="green")
    other: TestClient = serve(sets)
    gone = other.get(f"/v1/choices/{now['survey']}")
    assert (gone.status_code, gone.json()["type"]) == (410, "urn:zsindex:problem:answer-gone")
    assert post(other, "/v1/choices", **ASKED) == now


def test_what_cannot_be_chosen(serve: Serve, sets: Library) -> None:
    client = serve(sets, limits={"ways": 3})
    assert client.get("/v1/choices/7").status_code == 404
    other = sets.surveys.begin("count", {"label": "red"}).id
    assert client.get(f"/v1/choices/{other}").status_code == 404
    post(client, "/v1/choices", 422, label_set="right")
    post(client, "/v1/choices", 422, **ASKED, confidence=1)
    post(client, "/v1/choices", 422, **ASKED, thresholds=True)
    assert post(client, "/v1/choices", 404, **ASKED, models=["none"])["type"].endswith(":unknown-model")
    many = post(client, "/v1/choices", 422, **ASKED, template_sets=["plain", "default"])
    assert many["type"].endswith(":too-much")
    survey = post(client, "/v1/choices", **ASKED)["survey"]
    post(client, f"/v1/choices/{survey}/answers", 422, number=1, answer="|")

"""``/v1/classify``: the library's answers over HTTP, page by page, and not made twice."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests import photos
from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.web.conftest import Serve
from zsindex.classification import scores as scoring
from zsindex.classification.options import Question
from zsindex.errors import BadQuestion
from zsindex.library import Library
from zsindex.services.serving import Serving

LABELS = ["red", "green", "blue", "white"]


def ask(client: TestClient, **question: Any) -> dict[str, Any]:
    response = client.post("/v1/classify", json=question)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def test_the_answer_is_that_of_the_library(client: TestClient, library: Library) -> None:
    expected = library.classify(LABELS, top=2)
    body = ask(client, labels=LABELS, top=2)
    assert [{"path": r["path"], "predictions": r["predictions"]} for r in body["results"]] == expected.to_dicts()
    assert body["run"]["key"] == expected.run.key
    assert body["counts"] == {"red": 2, "green": 1, "blue": 1, "white": 1}
    assert (body["total"], body["unanswered"], body["next"]) == (5, 0, None)
    for result in body["results"]:
        assert result["path"] in library.photos.get(result["image_id"]).paths


def test_groups_negatives_templates_and_saved_sets(client: TestClient, library: Library) -> None:
    body = ask(client, labels=["red", "green", "blue"], groups={"cold": ["green", "blue"]}, negatives=["white"])
    assert body["counts"] == {"red": 2, "cold": 2, "(none of these)": 1}
    library.labels.save("colours", LABELS)
    named = ask(client, label_set="colours", templates=["a {} thing", "{}"])
    expected = library.classify(label_set="colours", template=["a {} thing", "{}"])
    assert named["run"]["key"] == expected.run.key
    assert named["run"]["label_set"] == "colours"
    written = ask(client, labels={"warm": ["red", "yellow"], "blue": []})
    assert (
        written["run"]["labels_sha256"] == library.classify({"warm": ["red", "yellow"], "blue": None}).run.labels_sha256
    )


def test_photos_are_counted_by_something(client: TestClient, library: Library, album: Path) -> None:
    def counted(**question: Any) -> dict[str, Any]:
        response = client.post("/v1/classify/counts", json={"labels": LABELS, **question})
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    answer = library.classify(LABELS)
    body, expected = counted(by="folder"), answer.by("folder")
    assert body["keys"] == sorted({str(Path(path).parent) for path in answer.paths})
    assert (body["run"], body["counts"], body["expected"]) == (answer.run.key, expected.counts.tolist(), None)
    assert (sum(body["photos"]), body["labels"], body["unread"]) == (5, LABELS, 0)
    assert counted(by="camera")["keys"] == [None]
    assert counted(by="year")["from_file"] == 5
    calibrated = counted(by="camera", temperature=0.5)
    assert sum(calibrated["expected"][0]) == pytest.approx(5, abs=1e-4)
    assert counted(by="folder", paths=[str(album / "sea")])["keys"] == [str(album / "sea")]
    refused = client.post("/v1/classify/counts", json={"labels": LABELS, "by": "moon"})
    assert refused.status_code == 422
    assert "'hour'" in refused.text


def test_a_wrong_field_is_named_as_it_was_sent(client: TestClient) -> None:
    for question, place in (
        ({"labels": ["red", 5]}, "labels.1"),
        ({"labels": {"red": [5]}}, "labels.red.0"),
        ({"labels": LABELS, "temperature": "hot"}, "temperature"),
    ):
        wrong = client.post("/v1/classify", json=question).json()["errors"]
        assert [one["at"] for one in wrong] == [f"body.{place}"]
        assert not any("[" in one["at"] or "constrained" in one["at"] for one in wrong)


def test_what_the_label_lab_decides(client: TestClient, library: Library) -> None:
    for options in ({"unknown": "softmax:0.4"}, {"multi_label": True, "activation": "sigmoid"}):
        body = ask(client, labels=LABELS, **options)
        expected = library.classify(LABELS, **options)
        assert [{"path": r["path"], "predictions": r["predictions"]} for r in body["results"]] == expected.to_dicts()
        assert body["run"]["key"] == expected.run.key
    for unknown in ("neglabel@/etc/passwd", "neglabel@~/x", "softmax:0.1@/etc/passwd"):
        assert client.post("/v1/classify", json={"labels": LABELS, "unknown": unknown}).status_code == 422
    response = client.post("/v1/classify", json={"labels": LABELS, "thresholds": True})
    assert (response.status_code, response.json()["type"]) == (422, "urn:zsindex:problem:labels")


def test_corrections_change_the_tag_and_the_answer(client: TestClient, library: Library, album: Path) -> None:
    library.labels.save("colours", LABELS)
    library.corrections.add("colours", album / "red.png", "blue")
    parameters = {"label_set": "colours", "with_corrections": "tip-adapter"}
    first = client.get("/v1/classify", params=parameters)
    expected = library.classify(label_set="colours", with_corrections="tip-adapter")
    assert [
        {"path": r["path"], "predictions": r["predictions"]} for r in first.json()["results"]
    ] == expected.to_dicts()
    library.corrections.add("colours", album / "white.png", "green")
    etag = first.headers["etag"]
    again = client.get("/v1/classify", params=parameters, headers={"If-None-Match": etag})
    assert (again.status_code, again.headers["etag"] != etag) == (200, True)
    unsaved = client.get("/v1/classify", params={"label": LABELS, "with_corrections": "gda"})
    assert (unsaved.status_code, unsaved.json()["type"]) == (422, "urn:zsindex:problem:labels")


def test_pages_put_together_are_the_whole(client: TestClient, library: Library) -> None:
    question: dict[str, Any] = {"labels": LABELS, "order": "label", "limit": 2}
    page, found = ask(client, **question), []
    while True:
        found += [result["path"] for result in page["results"]]
        if page["next"] is None:
            break
        page = ask(client, **question, cursor=page["next"])
    assert found == library.classify(LABELS).grouped().paths
    assert len(set(found)) == 5


def test_pages_stay_with_the_answer_that_they_began_with(client: TestClient, library: Library, album: Path) -> None:
    question: dict[str, Any] = {"labels": LABELS, "limit": 3}
    first = ask(client, **question)
    photo(album / "a new one.png", "red", mark=7)
    library.sync()
    second = ask(client, **question, cursor=first["next"])
    assert second["run"]["key"] == first["run"]["key"]
    paths = [result["path"] for result in first["results"] + second["results"]]
    assert len(set(paths)) == len(paths) == 5
    assert ask(client, **question)["total"] == 6


def test_a_cursor_whose_answer_is_gone_is_made_again_or_refused(serve: Serve, library: Library, album: Path) -> None:
    client = serve(library, limits={"results_bytes": 0})
    first = ask(client, labels=LABELS, limit=3)
    assert len(ask(client, labels=LABELS, limit=3, cursor=first["next"])["results"]) == 2  # unchanged: made again
    photo(album / "a new one.png", "red", mark=7)
    library.sync()
    assert len(ask(client, labels=LABELS, limit=3, cursor=first["next"])["results"]) == 2  # without the new one
    (album / "sea" / "blue.png").unlink()
    library.sync()
    response = client.post("/v1/classify", json={"labels": LABELS, "limit": 3, "cursor": first["next"]})
    assert response.status_code == 410
    other = client.post("/v1/classify", json={"labels": ["red"], "cursor": first["next"]})
    assert (other.status_code, other.json()["detail"]) == (422, "the cursor belongs to another question")


@pytest.mark.parametrize("cursor", ["x", "eJw", "%00", "eJxLBAAAYgBi"])
def test_what_is_no_cursor_is_refused(client: TestClient, cursor: str) -> None:
    response = client.post("/v1/classify", json={"labels": LABELS, "cursor": cursor})
    assert (response.status_code, response.json()["type"]) == (422, "urn:zsindex:problem:cursor")


def test_filters(client: TestClient) -> None:
    body = ask(client, labels=LABELS, only=["red"])
    assert body["total"] == 2
    assert all(result["predictions"][0]["label"] == "red" for result in body["results"])
    sure = ask(client, labels=LABELS, min_score=0.9)
    assert all(one["score"] >= 0.9 for result in sure["results"] for one in result["predictions"])
    response = client.post("/v1/classify", json={"labels": LABELS, "only": ["pink"]})
    assert (response.status_code, response.json()["detail"]) == (422, "not among the answers: pink")


def test_only_folders_of_the_library(client: TestClient, album: Path, tmp_path: Path) -> None:
    assert ask(client, labels=LABELS, paths=[str(album / "sea")])["total"] == 3
    photo(tmp_path / "elsewhere" / "secret.png", "red")
    response = client.post("/v1/classify", json={"labels": LABELS, "paths": [str(tmp_path / "elsewhere")]})
    assert response.status_code == 404  # and it was not added


# --- an unchanged question --------------------------------------------------------------------------------------------


def test_an_unchanged_question_costs_nothing(
    client: TestClient, library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    classify = scoring.classify
    monkeypatch.setattr(
        "zsindex.classification.scores.classify", lambda *a, **o: (calls.append(1), classify(*a, **o))[1]
    )
    parameters = {"label": LABELS, "limit": 2}
    first = client.get("/v1/classify", params=parameters)
    etag = first.headers["etag"]
    again = client.get("/v1/classify", params=parameters, headers={"If-None-Match": f'W/"other", {etag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get("/v1/classify", params=parameters).json() == first.json()
    assert client.get("/v1/classify", params={**parameters, "limit": 3}).headers["etag"] != etag
    assert calls == [1]
    photo(album / "a new one.png", "red", mark=7)
    library.sync()
    changed = client.get("/v1/classify", params=parameters, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
    assert calls == [1, 1]


def test_who_has_the_answer_waits_for_no_turn(serve: Serve, library: Library) -> None:
    parameters = {"label": LABELS, "smooth": True}
    etag = serve(library).get("/v1/classify", params=parameters).headers["etag"]
    other = serve(library, limits={"slow_running": 1, "slow_wait_s": 0.01})  # it has not kept the answer
    with other.app.state.service.slow.turn():  # type: ignore[attr-defined]
        same = other.get("/v1/classify", params=parameters, headers={"If-None-Match": etag})
        assert (same.status_code, same.headers["etag"]) == (304, etag)
        assert other.get("/v1/classify", params=parameters).status_code == 429
    answered = other.get("/v1/classify", params=parameters)
    assert (answered.status_code, answered.headers["etag"]) == (200, etag)
    with other.app.state.service.slow.turn():  # type: ignore[attr-defined]
        assert other.get("/v1/classify", params=parameters).json() == answered.json()


@pytest.mark.parametrize(
    "options",
    [
        {"smooth": True, "thresholds": True},
        {"smooth": True, "multi_label": True},
        {"multi_label": True, "with_corrections": "gda"},
    ],
    ids=lambda options: "+".join(options),
)
def test_what_excludes_what_is_said_by_the_question(
    client: TestClient, library: Library, options: dict[str, Any]
) -> None:
    library.labels.save("colours", LABELS)
    with pytest.raises(BadQuestion) as said:
        Question(label_set="colours", **options)
    refused = client.post("/v1/classify", json={"label_set": "colours", **options})
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:zsindex:problem:options")
    assert refused.json()["detail"] == str(said.value)


def test_the_tag_of_a_post_is_a_precondition(client: TestClient) -> None:
    first = client.post("/v1/classify", json={"labels": LABELS})
    again = client.post("/v1/classify", json={"labels": LABELS}, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.json()["type"]) == (412, "urn:zsindex:problem:unchanged")


# --- uploads ----------------------------------------------------------------------------------------------------------


def upload_of(colour: str, size: int = 30) -> bytes:
    return photos.encoded(Image.new("RGB", (size, size), colour), "PNG")


def test_uploads_are_answered_and_not_stored(client: TestClient, library: Library, encoder: FakeEncoder) -> None:
    before = library.status().models
    files = [("images", ("a.png", upload_of("blue"))), ("images", ("b.png", upload_of("red")))]
    for _ in range(2):
        response = client.post("/v1/classify/upload", files=files, data={"label": LABELS, "top": "1"})
        assert response.status_code == 200, response.text
        found = response.json()
        assert [(one["name"], one["predictions"][0]["label"]) for one in found["results"]] == [
            ("a.png", "blue"),
            ("b.png", "red"),
        ]
    assert encoder.image_count == 4 + 4  # of the album, and both uploads twice
    assert [model.images for model in library.status().models] == [model.images for model in before]
    stored = client.post("/v1/classify/upload", files=files, data={"label": LABELS, "store": "true"})
    assert stored.json()["stored"] is True
    client.post("/v1/classify/upload", files=files, data={"label": LABELS})
    assert encoder.image_count == 4 + 4 + 2


def test_an_upload_that_the_library_knows_is_not_even_decoded(
    client: TestClient, album: Path, encoder: FakeEncoder
) -> None:
    content = (album / "red.png").read_bytes()
    response = client.post("/v1/classify/upload", files={"images": ("x", content)}, data={"label": LABELS})
    assert response.json()["results"][0]["predictions"][0]["label"] == "red"
    assert encoder.image_count == 4


def test_scores_of_an_upload_are_those_of_the_file(client: TestClient, library: Library, tmp_path: Path) -> None:
    for mode, options in [("RGB", {}), ("L", {}), ("P", {}), ("RGBA", {}), ("CMYK", {"format": "TIFF"})]:
        image = photos.gradient(64, 48).convert(mode)
        file = tmp_path / f"{mode}.{options.get('format', 'PNG').lower()}"
        image.save(file)
        response = client.post(
            "/v1/classify/upload", files={"images": ("x", file.read_bytes())}, data={"label": LABELS, "top": "4"}
        )
        scores = {one["label"]: one["score"] for one in response.json()["results"][0]["predictions"]}
        vector = library.embed_images([file])
        expected = Serving(library.session).classify_vectors(vector, Question(LABELS, top=4))[0]
        assert scores == {one.label: one.score for one in expected}


def test_as_model_hubs_ask(client: TestClient) -> None:
    body = {
        "inputs": base64.b64encode(upload_of("green")).decode(),
        "parameters": {"candidate_labels": LABELS, "hypothesis_template": "{} it is"},
    }
    answers = client.post("/v1/classify", json=body).json()
    assert [set(one) for one in answers] == [{"score", "label"}] * 4
    assert answers[0]["label"] == "green"
    assert sum(one["score"] for one in answers) == pytest.approx(1, abs=1e-5)
    assert [one["score"] for one in answers] == sorted((one["score"] for one in answers), reverse=True)
    body["parameters"]["candidate_labels"] = "green, red"  # type: ignore[index]
    assert len(client.post("/v1/classify", json=body).json()) == 2


def test_bad_questions_say_what_is_wrong(client: TestClient) -> None:
    for question, status, slug in [
        ({}, 422, "labels"),
        ({"labels": ["a"], "label_set": "x"}, 422, "labels"),
        ({"labels": []}, 422, "labels"),
        ({"labels": ["a", "a"]}, 422, "labels"),
        ({"labels": ["a"], "templates": ["none"]}, 422, "labels"),
        ({"label_set": "none"}, 404, "unknown-set"),
        ({"labels": ["a"], "lables": ["b"]}, 422, "fields"),
        ({"labels": ["\ud800"]}, 422, "fields"),
        ({"labels": ["a\0b"]}, 422, "fields"),
        ({"labels": ["word " * 30]}, 422, "prompt-too-long"),
        ({"labels": ["a"], "limit": 10**9}, 422, "fields"),
        ({"inputs": "?", "parameters": {"candidate_labels": ["a"]}}, 422, "image"),
        ({"inputs": "", "parameters": {"candidate_labels": ["a"]}}, 422, "fields"),
        ({"inputs": "aGVsbG8=", "parameters": {"candidate_labels": ["a"]}}, 422, "image"),
    ]:
        # As ASCII: half of a surrogate pair can be written only so.
        response = client.post(
            "/v1/classify", content=json.dumps(question), headers={"Content-Type": "application/json"}
        )
        assert (response.status_code, response.json()["type"]) == (status, f"urn:zsindex:problem:{slug}"), question
        assert response.headers["content-type"] == "application/problem+json"
        assert set(response.json()) >= {"type", "title", "status", "detail"}


def test_what_is_refused_is_not_recorded(client: TestClient, library: Library) -> None:
    body = {"labels": ["red", "blue"], "record": True}
    assert client.post("/v1/classify", json={**body, "only": ["green"]}).status_code == 422
    assert library.runs.list() == []
    assert client.post("/v1/classify", json={**body, "only": ["red"]}).status_code == 200
    assert len(library.runs.list()) == 1

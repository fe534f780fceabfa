"""``/v1/counts``: a count over HTTP, photo after photo."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from tests.web.conftest import Serve
from zsindex.library import Library


def answers(client: TestClient, shown: dict[str, Any], **when: Any) -> dict[str, Any]:
    """All that is asked, until nothing is."""
    while (look := shown["next"]) is not None:
        said = "yes" if "red" in look["path"].rsplit("/", 1)[-1] else "no"
        body = {"number": look["number"], "answer": said, **when}
        response = client.post(f"/v1/counts/{shown['survey']}/answers", json=body)
        assert response.status_code == 200, response.text
        shown = response.json()
    return shown


def test_photos_are_counted_one_after_another(serve: Serve, library: Library) -> None:
    library.labels.save("colours", ["red", "blue"])
    client = serve(library)
    shown = client.post("/v1/counts", json={"label": "red", "label_set": "colours", "looks": 3}).json()
    assert (shown["photos"], shown["files"], shown["looks"], shown["next"]["number"]) == (4, 5, 0, 1)
    first = shown["next"]
    assert client.get(f"/v1/images/{first['image_id']}/thumbnail").status_code == 200
    again = client.post("/v1/counts", json={"label": "red", "label_set": "colours", "looks": 3}).json()
    assert again == shown
    path = f"/v1/counts/{shown['survey']}"
    stale = client.post(f"{path}/answers", json={"number": 2, "answer": "yes"})
    assert (stale.status_code, stale.json()["type"]) == (409, "urn:zsindex:problem:look")
    done = answers(client, shown, looks=3)
    assert (done["looks"], done["yes"] + done["no"]) == (3, 3)
    assert done["low"] <= 1 <= done["high"]
    assert len(library.corrections.list("colours")) == 3
    undone = client.post(f"{path}/undo", json={"looks": 3}).json()
    assert (undone["looks"], undone["next"]["number"]) == (2, 3)
    everything = answers(client, client.get(path).json())
    assert (everything["low"], everything["high"], everything["estimate"]) == (1, 1, 1)
    groups = client.get(f"{path}/groups", params={"by": "folder"}).json()
    assert [(one["photos"], one["low"], one["high"]) for one in groups] == [(2, 1, 1), (2, 0, 0)]
    anew = client.post("/v1/counts", json={"label": "red", "label_set": "colours", "again": True}).json()
    assert (anew["known"], anew["low"], anew["high"], anew["next"]) == (4, 1, 1, None)


def test_refusals(serve: Serve, library: Library) -> None:
    client = serve(library)
    assert client.get("/v1/counts/7").status_code == 404
    assert client.post("/v1/counts", json={"label": "red", "where": {"colour": "red"}}).status_code == 422
    for bad in ({"label": ""}, {"label": "red", "within": 0}, {"label": "red", "confidence": 1}):
        assert client.post("/v1/counts", json=bad).status_code == 422
    survey = client.post("/v1/counts", json={"label": "red"}).json()["survey"]
    wrong = client.post(f"/v1/counts/{survey}/answers", json={"number": 1, "answer": "perhaps"})
    assert wrong.status_code == 422
    assert client.get(f"/v1/counts/{survey}/groups", params={"by": "mood"}).status_code == 422

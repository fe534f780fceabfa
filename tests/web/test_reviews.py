"""``/v1/reviews``: a review by requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from tests.scenes import photo
from tests.web.conftest import Serve
from zsindex.library import Library


def post(client: TestClient, url: str, expected: int = 200, **body: Any) -> Any:
    found = client.post(url, json=body)
    assert found.status_code == expected, found.text
    return found.json()


def test_a_review_by_requests(serve: Serve, library: Library, album: Path) -> None:
    client = serve(library)
    now = post(client, "/v1/reviews", label="red", recall=0.9)
    survey = now["survey"]
    assert (now["photos"], now["looks"], now["reached"], now["promise"]) == (4, 0, False, None)
    first = now["next"]
    assert client.get(f"/v1/reviews/{survey}").json()["next"] == first
    assert post(client, "/v1/reviews", label="red", recall=0.9)["survey"] == survey

    url = f"/v1/reviews/{survey}/answers"
    now = post(client, url, number=first["number"], answer="yes")
    assert (now["looks"], now["found"]) == (1, 1)
    assert post(client, url, 409, number=first["number"], answer="yes")["type"].endswith(":look")
    now = post(client, f"/v1/reviews/{survey}/undo")
    assert (now["looks"], now["next"]["path"]) == (0, first["path"])
    while now["next"] is not None:
        answer = "yes" if "red" in now["next"]["path"] else "no"
        now = post(client, url, number=now["next"]["number"], answer=answer)
    assert (now["reached"], now["promise"], now["found"], now["looks"]) == (True, 1, 1, 4)
    found = client.get(f"/v1/reviews/{survey}/found").json()
    assert found == {"total": 1, "photos": [first["path"]], "next": None}
    assert client.get(f"/v1/reviews/{survey}/found", params={"start": 1}).json()["photos"] == []

    # What somebody does beside the service shows at once: answers, and photos.
    library.surveys.undo(survey)
    assert client.get(f"/v1/reviews/{survey}").json()["looks"] == 3
    photo(album / "new.png", "black")
    library.sync(album)
    assert client.get(f"/v1/reviews/{survey}").json()["photos"] == 5


def test_what_cannot_be_reviewed(serve: Serve, library: Library) -> None:
    client = serve(library)
    assert client.get("/v1/reviews/7").status_code == 404
    other = library.surveys.begin("count", {"label": "red"}).id
    assert client.get(f"/v1/reviews/{other}").status_code == 404
    assert post(client, "/v1/reviews", 404, label="red", label_set="colours")["type"].endswith(":unknown-set")
    library.labels.save("colours", ["red", "blue"])
    post(client, "/v1/reviews", 422, label="green", label_set="colours")
    post(client, "/v1/reviews", 422, label="red", recall=1)
    post(client, "/v1/reviews", 422, label="red", templates=["no place"])
    survey = post(client, "/v1/reviews", label="red", label_set="colours")["survey"]
    post(client, f"/v1/reviews/{survey}/answers", 422, number=1, answer="perhaps")

"""``/v1/groups``: counts, any part of any group, flips and files; all against what the library itself answers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.scenes import photo
from tests.web.conftest import Serve
from zsindex.classification.results import Classification
from zsindex.errors import ExtraMissing, UnknownImage
from zsindex.library import Library
from zsindex.records import NONE

LABELS = ["red", "green", "blue", "white"]
OTHERS = ["white", "red", "yellow", "blue"]


@pytest.fixture
def shades(library: Library, album: Path) -> Library:
    """Some more photos, of colours between the colours."""
    for n in range(40):
        photo(album / "shades" / f"{n:02}.png", (6 * n, 255 - 5 * n, 3 * n * n % 256))
    library.sync()
    return library


def ask(client: TestClient, **question: Any) -> dict[str, Any]:
    response = client.post("/v1/groups", json=question)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def get(client: TestClient, path: str, **parameters: Any) -> Any:
    response = client.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def test_counts_are_those_of_the_library(client: TestClient, shades: Library) -> None:
    body = ask(client, labels=LABELS)
    expected = shades.classify(LABELS)
    assert {group["label"]: group["count"] for group in body["groups"]} == expected.tally()
    assert (body["total"], body["unanswered"], body["none"]) == (45, 0, None)
    for group in body["groups"]:
        scores = [one.score for one in expected if one.label == group["label"]]
        for level, count in zip(body["levels"], group["at_least"], strict=False):
            assert count == sum(score >= level for score in scores)


def test_parts_put_together_are_the_group(client: TestClient, shades: Library) -> None:
    body = ask(client, labels=LABELS)
    expected = shades.classify(LABELS)
    for number, group in enumerate(body["groups"]):
        path = f"/v1/groups/{body['key']}/photos"
        parts = [get(client, path, answer=number, start=start, limit=7) for start in range(0, group["count"], 7)]
        found = [one for part in parts for one in part["photos"]]
        assert {one["path"] for one in found} == {one.path for one in expected if one.label == group["label"]}
        assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
        for one in found:
            first, second = expected[expected.paths.index(one["path"])].predictions[:2]
            assert (one["label"], one["score"]) == (first.label, first.score)
            assert (one["second"], one["second_score"]) == (second.label, second.score)
            assert one["path"] in shades.photos.get(one["image_id"]).paths
    everything = get(client, f"/v1/groups/{body['key']}/photos", limit=1000)
    assert [one["score"] for one in everything["photos"]] == sorted((r.score for r in expected), reverse=True)


def test_none_of_these_is_a_group_of_its_own(client: TestClient, shades: Library) -> None:
    body = ask(client, labels=["red", "green"], negatives=["blue", "white"])
    assert body["groups"][body["none"]]["label"] == NONE
    labelled = get(client, f"/v1/groups/{body['key']}/photos", limit=1000)
    assert labelled["total"] == 45 - body["groups"][body["none"]]["count"]
    assert NONE not in {one["label"] for one in labelled["photos"]}
    unknown = ask(client, labels=LABELS, unknown="mcm:0.2")
    assert unknown["groups"][unknown["none"]]["count"] == shades.classify(LABELS, unknown="mcm:0.2").tally()[NONE]


def test_a_sigmoid_has_levels_for_small_scores(client: TestClient) -> None:
    body = ask(client, labels=LABELS, activation="sigmoid")
    assert body["levels"][1] == 1e-4
    assert body["levels"] == sorted(body["levels"])
    assert all(group["at_least"][0] == group["count"] for group in body["groups"] if group["count"])


def test_what_never_changes_is_not_sent_twice(client: TestClient, shades: Library) -> None:
    key = ask(client, labels=LABELS)["key"]
    first = client.get(f"/v1/groups/{key}/photos")
    again = client.get(f"/v1/groups/{key}/photos", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/v1/groups/{key}/photos?start=1").headers["etag"] != first.headers["etag"]


def test_an_answer_that_is_gone_says_so(serve: Serve, library: Library) -> None:
    client = serve(library, limits={"results_bytes": 0})
    key = ask(client, labels=LABELS)["key"][:16]  # without the question
    for path in ("photos", "export", f"flips/{key}"):
        response = client.get(f"/v1/groups/{key}/{path}")
        assert (response.status_code, response.json()["type"]) == (410, "urn:zsindex:problem:answer-gone")


def test_an_answer_stays_as_it_was_while_the_library_grows(client: TestClient, library: Library, album: Path) -> None:
    key = ask(client, labels=LABELS)["key"]
    photo(album / "new.png", "red", mark=9)
    library.sync()
    assert get(client, f"/v1/groups/{key}/photos")["total"] == 5
    newer = ask(client, labels=LABELS)
    assert newer["total"] == 6
    response = client.get(f"/v1/groups/{key}/flips/{newer['key']}")
    assert response.status_code == 410  # answers of different photos cannot be laid side by side


def test_no_such_answer(client: TestClient) -> None:
    key = ask(client, labels=LABELS)["key"]
    assert client.get(f"/v1/groups/{key}/photos?answer=4").status_code == 422
    assert client.get(f"/v1/groups/{key}/flips/{key}/photos?was=0&becomes=4").status_code == 422
    assert client.get("/v1/groups/../photos").status_code == 404
    assert client.post("/v1/groups", json={"labels": []}).json()["type"] == "urn:zsindex:problem:labels"


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_of_everything(client: TestClient, shades: Library) -> None:
    expected = {one.path: one for one in shades.classify(LABELS)}
    key = ask(client, labels=LABELS)["key"]
    response = client.get(f"/v1/groups/{key}/export?min_score=0.6")
    assert response.headers["content-disposition"] == f'attachment; filename="zsindex-{key[:16]}.csv"'
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert {row["path"] for row in rows} == set(expected)
    for row in rows:
        one = expected[row["path"]]
        assert (row["label"], float(row["score"])) == (one.label if one.score >= 0.6 else NONE, one.score)
    document = get(client, f"/v1/groups/{key}/export", format="json", min_score=0.6)
    assert document["run"]["key"] == key[:16]
    assert document["photos"] == [
        {**row, "score": float(row["score"]), "image_id": int(row["image_id"]), "margin": float(row["margin"])}
        for row in rows
    ]
    for row in rows:
        assert row["digest"] == hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest()
        best, second = expected[row["path"]].predictions[:2]
        assert float(row["margin"]) == best.score - second.score
    lines = client.get(f"/v1/groups/{key}/export?format=ndjson&min_score=0.6").text.splitlines()
    assert [json.loads(line) for line in lines] == document["photos"]


def test_a_file_with_the_scores_of_all_answers(client: TestClient, shades: Library) -> None:
    answer = shades.classify(LABELS)
    scores = dict(zip(answer.paths, answer.scores.tolist(), strict=True))
    key = ask(client, labels=LABELS)["key"]
    rows = list(csv.DictReader(io.StringIO(client.get(f"/v1/groups/{key}/export?scores=true").text)))
    assert {row["path"]: [float(row[label]) for label in LABELS] for row in rows} == scores
    document = get(client, f"/v1/groups/{key}/export", format="json", scores=True)
    assert {one["path"]: list(one["scores"].values()) for one in document["photos"]} == scores
    assert all(list(one["scores"]) == list(LABELS) for one in document["photos"])


def test_a_table_in_parquet(client: TestClient, shades: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    key = ask(client, labels=LABELS)["key"]
    rows = get(client, f"/v1/groups/{key}/export", format="json", scores=True)["photos"]
    response = client.get(f"/v1/groups/{key}/export?format=parquet&scores=true")
    assert response.headers["content-type"] == "application/vnd.apache.parquet"
    wide = parquet.read_table(io.BytesIO(response.content))
    assert wide.schema.metadata[b"zsindex.run"].decode() == key[:16]
    assert wide.column("path").to_pylist() == [row["path"] for row in rows]
    assert wide.column("digest").to_pylist() == [row["digest"] for row in rows]
    assert wide.column("image_id").to_pylist() == [row["image_id"] for row in rows]
    assert wide.column("margin").to_pylist() == pytest.approx([row["margin"] for row in rows], abs=1e-6)
    for label in LABELS:
        assert wide.column(label).to_pylist() == pytest.approx([row["scores"][label] for row in rows])
    long = parquet.read_table(io.BytesIO(client.get(f"/v1/groups/{key}/export?format=parquet&answer=1").content))
    assert set(long.column("label").to_pylist()) == {"green"}
    assert client.get(f"/v1/groups/{key}/export?format=parquet&min_score=0.5").status_code == 422

    def missing(*_: object, **__: object) -> None:
        raise ExtraMissing("pyarrow", extra="parquet", why="writing Parquet")

    monkeypatch.setattr(Classification, "to_parquet", missing)
    refused = client.get(f"/v1/groups/{key}/export?format=parquet")
    assert (refused.status_code, refused.json()["type"]) == (501, "urn:zsindex:problem:extra-missing")


def test_a_file_of_one_group(client: TestClient, shades: Library) -> None:
    body = ask(client, labels=LABELS)
    document = get(client, f"/v1/groups/{body['key']}/export", format="json", answer=1)
    assert len(document["photos"]) == body["groups"][1]["count"]
    assert {one["label"] for one in document["photos"]} == {"green"}
    empty = ask(client, labels=[*LABELS, "green and red and blue and white and black"])
    number = len(LABELS)
    count = empty["groups"][number]["count"]
    assert len(get(client, f"/v1/groups/{empty['key']}/export", format="json", answer=number)["photos"]) == count


def test_sidecars_are_told_and_not_written(client: TestClient, shades: Library, album: Path) -> None:
    key = ask(client, labels=LABELS)["key"]
    told = get(client, f"/v1/groups/{key}/tags", min_score=0.6, limit=3)
    expected = shades.tags.write(shades.classify(LABELS, top=1), min_score=0.6)
    assert told["create"] == len(expected.changes) > 3
    assert (told["change"], told["delete"], told["skipped"]) == (0, 0, 0)
    assert told["changes"] == [change.to_dict() for change in expected.changes[:3]]
    assert list(album.rglob("*.xmp")) == []


# --- two answers ------------------------------------------------------------------------------------------------------


def test_flips(client: TestClient, shades: Library) -> None:
    before, after = shades.classify(LABELS), shades.classify(OTHERS)
    moves = [(a.label, b.label) for a, b in zip(before, after, strict=True)]
    one, other = ask(client, labels=LABELS), ask(client, labels=OTHERS)
    path = f"/v1/groups/{one['key']}/flips/{other['key']}"
    body = get(client, path)
    expected = {move: moves.count(move) for move in moves if move[0] != move[1]}
    assert {(flip["from"], flip["to"]): flip["count"] for flip in body["flips"]} == expected
    assert (body["total"], body["same"]) == (45, sum(a == b for a, b in moves))
    assert body["kinds"] == len(expected) > 1
    counts = [flip["count"] for flip in body["flips"]]
    assert counts == sorted(counts, reverse=True)
    for flip in body["flips"]:
        photos = get(client, f"{path}/photos", was=flip["was"], becomes=flip["becomes"])
        assert photos["total"] == flip["count"]
        found = [(p["path"], p["old"], p["old_score"], p["label"], p["score"]) for p in photos["photos"]]
        assert sorted(found) == sorted(
            (a.path, a.label, a.score, b.label, b.score)
            for a, b in zip(before, after, strict=True)
            if (a.label, b.label) == (flip["from"], flip["to"])
        )
        sure = [min(p["old_score"], p["score"]) for p in photos["photos"]]
        assert sure == sorted(sure, reverse=True)
    assert get(client, f"/v1/groups/{one['key']}/flips/{one['key']}")["flips"] == []


# --- one photo, and copies --------------------------------------------------------------------------------------------


def test_why(client: TestClient, library: Library) -> None:
    image_id = int(library.view().image_ids[0])
    question = {"labels": LABELS, "templates": ["{}", "a {} photo"]}
    body = client.post(f"/v1/images/{image_id}/explain", json=question).json()
    assert body == library.lab.explain(image_id, LABELS, template=["{}", "a {} photo"]).to_dict() | {
        name: list(body[name]) for name in ("answers", "prompts", "templates")
    }
    assert body["answers"][0]["label"] == library.classify(LABELS, template=["{}", "a {} photo"])[0].label
    assert client.post("/v1/images/999/explain", json={"labels": LABELS}).status_code == 404


@pytest.mark.parametrize(
    "options",
    [
        {"with_corrections": "gda"},
        {"with_corrections": "tip-adapter", "unknown": "mcm:0.2"},
        {"unknown": "mcm:0.2"},
        {"unknown": "softmax:0.1", "templates": ["{}", "a {} photo"]},
        {"temperature": 0.5},
        {"thresholds": True},
        {"multi_label": True, "thresholds": True},
        {"smooth": True},
        {"activation": "sigmoid", "paths": True},
    ],
    ids=lambda options: " ".join(options),
)
def test_why_is_said_with_all_that_was_asked(
    client: TestClient, shades: Library, album: Path, options: dict[str, Any]
) -> None:
    shades.labels.save("colours", LABELS)
    shades.corrections.add_all("colours", [(album / "shades" / f"{n:02}.png", LABELS[n % 2], False) for n in range(6)])
    shades.thresholds.choose("colours", "red", score=0.6)
    if options.get("paths"):
        options = {**options, "paths": [str(album)]}
    question = {"label_set": "colours", **options}
    asked = {("template" if name == "templates" else name): value for name, value in options.items()}
    expected = shades.classify(label_set="colours", top=len(LABELS) + 1, sync=False, **asked)
    if "with_corrections" in options:
        assert expected.tally() != shades.classify(label_set="colours").tally()
    elif "unknown" in options:
        assert expected.tally()[NONE]
    for image_id, result in list(zip(expected.image_ids.tolist(), expected, strict=True))[:20]:
        why = client.post(f"/v1/images/{image_id}/explain", json=question).json()
        told = {one["label"]: one["score"] for one in why["answers"]}
        assert {one.label: one.score for one in result.predictions} == {
            label: pytest.approx(told[label], abs=1e-6) for label in (one.label for one in result.predictions)
        }
        assert max(told, key=told.__getitem__) == result.label
        for one in why["templates"]:
            unsaid = [why["answers"][n]["label"] for n, score in enumerate(one["scores"]) if score is None]
            assert unsaid == ([NONE] if NONE in told else [])


def test_why_of_an_answer_is_of_its_photos_and_of_this_library(library: Library) -> None:
    answer = library.classify(LABELS)
    image_id = int(answer.image_ids[0])
    assert library.lab.explain(image_id, answer).answers == library.lab.explain(image_id, LABELS).answers
    with pytest.raises(UnknownImage):
        library.lab.explain(image_id, answer.filtered(only=[next(one for one in LABELS if one != answer[0].label)]))
    with pytest.raises(ValueError, match="own template and options"):
        library.lab.explain(image_id, answer, template="{}")


def test_places(client: TestClient, shades: Library, album: Path) -> None:
    body = ask(client, labels=LABELS[:2], unknown="mcm:0.2")
    everything = get(client, f"/v1/groups/{body['key']}/photos", limit=1000)["photos"]
    seen = 0
    for number in range(len(body["groups"])):
        photos = get(client, f"/v1/groups/{body['key']}/photos", answer=number, limit=1000)["photos"]
        ids = [one["image_id"] for one in photos]
        asked = list(reversed(ids[:50]))
        places = get(client, f"/v1/groups/{body['key']}/places", image_id=[*asked, 4711])["places"]
        assert [one["image_id"] for one in places] == list(dict.fromkeys(asked))  # nothing of those it does not hold
        for place in places:
            assert (place["answer"], ids.index(place["image_id"])) == (number, place["place"])
            among = [n for n, one in enumerate(everything) if one["image_id"] == place["image_id"]]
            assert place["place_of_all"] == (None if number == body["none"] else among[0])
            seen += 1
    assert seen == 44  # one of the 45 files is a copy
    first = client.get(f"/v1/groups/{body['key']}/places?image_id=1")
    again = client.get(f"/v1/groups/{body['key']}/places?image_id=1", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert client.get(f"/v1/groups/{body['key']}/places").status_code == 422
    assert client.get(f"/v1/groups/{'0' * 16}/places?image_id=1").status_code == 410


def test_copies(client: TestClient, album: Path) -> None:
    body = get(client, "/v1/copies")
    assert body["total"] == 1
    assert set(body["copies"][0]["paths"]) == {str(album / "red.png"), str(album / "sea" / "red again.png")}
    assert get(client, "/v1/copies", start=1) == {"total": 1, "copies": [], "next": None}


def test_near_duplicates(client: TestClient, library: Library, album: Path) -> None:
    photo(album / "red nearly.png", (250, 4, 2))
    library.sync()
    body = get(client, "/v1/duplicates", look=False)
    expected = library.neighbours.duplicates(look=False)
    assert body["total"] == len(expected.groups) == 1
    [group] = body["groups"]
    assert [one["path"] for one in group["others"]] == [one.path for one in expected.groups[0].others]
    for one in (group["keep"], *group["others"]):
        assert one["path"] in library.photos.get(one["image_id"]).paths
    assert body["removable"] == 2
    assert get(client, "/v1/duplicates", look=False, start=1)["groups"] == []
    assert client.get("/v1/duplicates?threshold=0").status_code == 422


# --- corrections ------------------------------------------------------------------------------------------------------


def test_a_correction_is_kept_learned_from_and_taken_back(client: TestClient, shades: Library) -> None:
    shades.labels.save("colours", LABELS)
    before = ask(client, label_set="colours")
    [first, *_] = get(client, f"/v1/groups/{before['key']}/photos", answer=0)["photos"]
    said = {"label_set": "colours", "image_id": first["image_id"], "label": "blue"}
    made = client.post("/v1/corrections", json=said).json()
    assert made == {"corrections": 1, "step": made["step"]}
    [kept] = get(client, "/v1/corrections", label_set="colours")
    assert kept["label"] == "blue"
    assert kept == shades.corrections.list("colours")[0].to_dict()
    after = ask(client, label_set="colours", with_corrections="gda")
    flips = get(client, f"/v1/groups/{before['key']}/flips/{after['key']}")
    assert ("red", "blue") in {(flip["from"], flip["to"]) for flip in flips["flips"]}
    assert client.post("/v1/corrections/undo?label_set=colours").json() == {"corrections": 0}
    client.post("/v1/corrections", json={**said, "label": "red", "not": True})
    assert get(client, "/v1/corrections", label_set="colours")[0]["not"] == ["red"]
    forgotten = client.delete(f"/v1/corrections?label_set=colours&image_id={first['image_id']}")
    assert forgotten.json() == {"corrections": 0}


def test_corrections_that_make_no_sense(client: TestClient, library: Library, serve: Serve) -> None:
    library.labels.save("colours", LABELS)
    image_id = int(library.view().image_ids[0])
    wrong = client.post("/v1/corrections", json={"label_set": "colours", "image_id": image_id, "label": "pink"})
    assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:zsindex:problem:labels")
    nobody = client.post("/v1/corrections", json={"label_set": "nothing", "image_id": image_id, "label": "red"})
    assert nobody.status_code == 404
    nothing = client.post("/v1/corrections", json={"label_set": "colours", "image_id": 999, "label": "red"})
    assert nothing.status_code == 404
    unsaved = client.post("/v1/groups", json={"labels": LABELS, "with_corrections": "gda"})
    assert unsaved.status_code == 422
    reader = serve(library, security={"read_only": True})
    refused = reader.post("/v1/corrections", json={"label_set": "colours", "image_id": image_id, "label": "red"})
    assert refused.status_code == 403

"""The label lab over HTTP: each answer is that of the library's method, cut or in pages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.scenes import photo
from tests.web.conftest import READ, TOKENS, WRITE, Serve
from zsindex.library import Library

LABELS = ["red", "green", "blue", "white"]
TRUTH = {"red.png": "red", "white.png": "white", "sea/blue.png": "green", "sea/green.png": "green"}


def post(client: TestClient, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


def get(client: TestClient, path: str, **parameters: Any) -> Any:
    response = client.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def ids(library: Library) -> dict[str, int]:
    view = library.view()
    return dict(zip(view.paths, view.image_ids.tolist(), strict=True))


@pytest.fixture
def colours(library: Library) -> str:
    library.labels.save("colours", LABELS)
    return "colours"


# --- options of classify ----------------------------------------------------------------------------------------------


def test_a_temperature_is_asked_for_and_fitted_ones_are_kept(
    client: TestClient, library: Library, album: Path, colours: str
) -> None:
    expected = library.classify(LABELS, temperature=0.5)
    for body in (
        post(client, "/v1/classify", labels=LABELS, temperature=0.5),
        get(client, "/v1/classify", label=LABELS, temperature="0.5"),
    ):
        assert [{"path": r["path"], "predictions": r["predictions"]} for r in body["results"]] == expected.to_dicts()
        assert body["run"]["key"] == expected.run.key
    none = client.post("/v1/classify", json={"labels": LABELS, "temperature": "fitted"})
    assert (none.status_code, none.json()["type"]) == (422, "urn:zsindex:problem:no-temperature")
    assert get(client, "/v1/temperature") == {"temperature": None, "about": None}
    assert client.delete("/v1/temperature").status_code == 422
    for n in range(12):  # some of which are wrong, or any confidence would do
        photo(album / f"more {n}.png", LABELS[n % 4], mark=n + 3)
    library.sync()
    truth = {path: LABELS[n % 4] if n % 5 else "white" for n, path in enumerate(sorted(library.photos.paths([album])))}
    expected_fit = library.temperature.fit(colours, truth, save=False)
    assert post(client, "/v1/temperature", label_set=colours, truth=truth) == expected_fit.to_dict()
    assert get(client, "/v1/temperature")["temperature"] is None
    post(client, "/v1/temperature", label_set=colours, truth=truth, apply=True)
    kept = get(client, "/v1/temperature")
    assert (kept["temperature"], kept["about"]["label_set"]) == (expected_fit.temperature, colours)
    fitted = get(client, "/v1/classify", label=LABELS, temperature="fitted")
    assert fitted["run"]["key"] == library.classify(LABELS, temperature=expected_fit.temperature).run.key
    assert client.delete("/v1/temperature").status_code == 204
    assert library.temperature.get() is None


def test_sets_of_labels_are_asked_for_and_told(client: TestClient, library: Library, album: Path) -> None:
    truth = {
        str(album / name): said for name, said in [("red.png", "red"), ("white.png", "white"), ("sea/blue.png", "red")]
    }
    expected = library.classify(LABELS, coverage=0.75, calibrate=truth)
    assert expected.coverage is not None
    body = post(client, "/v1/classify", labels=LABELS, coverage=0.75, calibrate=truth)
    assert body["coverage"] == expected.coverage.to_dict()
    assert body["run"]["key"] == expected.run.key
    assert [[p["label"] for p in one["predictions"]] for one in body["results"]] == [list(r.labels) for r in expected]
    assert max(len(one["predictions"]) for one in body["results"]) > 1
    by_id = {str(one["image_id"]): truth[one["path"]] for one in body["results"] if one["path"] in truth}
    assert post(client, "/v1/classify", labels=LABELS, coverage=0.75, calibrate=by_id)["run"] == body["run"]
    library.labels.save("colours", LABELS)
    library.corrections.add_all("colours", [(path, said, False) for path, said in truth.items()])
    saved = get(client, "/v1/classify", label_set="colours", coverage=0.75, coverage_adapt=True)
    assert (saved["coverage"]["source"], saved["coverage"]["adapted"]) == ("corrections of colours", True)
    per_label = {"label_set": "colours", "coverage": 0.5, "coverage_per": "label", "coverage_score": "raps"}
    assert get(client, "/v1/classify", **per_label)["coverage"]["promises"][0]["names"] == ["red"]
    assert post(client, "/v1/classify", labels=LABELS)["coverage"] is None


def test_what_sets_of_labels_refuse(client: TestClient, album: Path) -> None:
    for more in (
        {"calibrate": "/etc/passwd"},
        {"calibrate": {"truth.csv": "red"}},
        {"calibrate": "folders", "top": 1},
        {"calibrate": "folders", "min_score": 0.5},
        {"calibrate": "folders"},
        {},
    ):
        response = client.post("/v1/classify", json={"labels": LABELS, "coverage": 0.95, **more})
        assert response.status_code == 422, response.text
    assert client.post("/v1/classify", json={"labels": LABELS, "coverage": 1.0}).status_code == 422
    strange = client.post("/v1/classify", json={"labels": LABELS, "coverage": 0.5, "calibrate": "folders"})
    assert "none of these shows one of the labels by its name, such as red" in strange.json()["detail"]
    few = {"labels": LABELS, "coverage": 0.95, "calibrate": {str(album / "red.png"): "red"}}
    assert "takes at least 19 photos" in client.post("/v1/classify", json=few).json()["detail"]


def test_smoothing_is_asked_for_and_told(client: TestClient, library: Library) -> None:
    expected = library.classify(LABELS, smooth=True)
    assert expected.smoothing is not None
    body = post(client, "/v1/classify", labels=LABELS, smooth=True)
    assert [{"path": r["path"], "predictions": r["predictions"]} for r in body["results"]] == expected.to_dicts()
    told = expected.smoothing.to_dict()
    assert body["smoothing"] == {name: told[name] for name in ("photos", "changed", "iterations", "converged")}
    assert get(client, "/v1/classify", label=LABELS, smooth=True)["smoothing"] == body["smoothing"]
    assert post(client, "/v1/classify", labels=LABELS)["smoothing"] is None


def test_a_prior_is_given_kept_exactly_and_estimated(client: TestClient, library: Library, colours: str) -> None:
    shares = {"red": 2, "green": 1, "blue": 1, "white": 1}
    body = post(client, "/v1/classify", label_set=colours, prior=shares, transport=True)
    assert body["counts"] == shares
    assert body["prior"] == {
        "shares": {label: n / 5 for label, n in shares.items()},
        "method": None,
        "known": 0,
        "transport": True,
    }
    written = ",".join(f"{label}={n}" for label, n in shares.items())
    same = get(client, "/v1/classify", label_set=colours, prior=written, transport=True)
    assert (same["run"]["key"], same["counts"]) == (body["run"]["key"], shares)
    assert post(client, "/v1/classify", label_set=colours)["prior"] is None
    counted = post(client, "/v1/classify/counts", label_set=colours, by="folder", prior=shares, transport=True)
    assert [sum(column) for column in zip(*counted["counts"], strict=True)] == list(shares.values())
    for wrong in ({"red": 1}, {**shares, "black": 1}, {"red": 0.1, "green": 0.1, "blue": 0.1, "white": 0.1}):
        assert post(client, "/v1/classify", 422, label_set=colours, prior=wrong)["type"].endswith(":labels")
    assert client.get("/v1/classify", params={"label_set": colours, "prior": "red"}).status_code == 422
    assert client.get("/v1/classify", params={"label_set": colours, "transport": True}).status_code == 422
    assert post(client, "/v1/classify", 422, label_set=colours, prior="estimated")["type"].endswith(":labels")
    truth = {path: LABELS[n % 4] for n, path in enumerate(sorted(library.photos.paths()))}
    found = post(client, "/v1/prior", label_set=colours, truth=truth, resamples=10)
    assert found == library.prior.estimate(colours, truth, resamples=10).to_dict()
    assert sum(one["share"] for one in found["shares"]) == pytest.approx(1)
    assert post(client, "/v1/prior", labels=LABELS, method="em", resamples=0)["shares"][0]["low"] is None
    assert post(client, "/v1/prior", 422, labels=LABELS)["type"].endswith(":labels")


@pytest.mark.parametrize(
    "options",
    [
        {"prior": {"red": 1}, "smooth": True},
        {"smooth": True, "multi_label": True},
        {"smooth": True, "thresholds": True},
        {"multi_label": True, "with_corrections": "gda"},
    ],
)
def test_options_that_exclude_each_other(client: TestClient, colours: str, options: dict[str, Any]) -> None:
    found = post(client, "/v1/classify", 422, label_set=colours, **options)
    assert found["type"] == "urn:zsindex:problem:options"


def test_a_run_is_recorded_also_when_its_answer_is_there(client: TestClient, library: Library, album: Path) -> None:
    etag = client.get("/v1/classify", params={"label": LABELS}).headers["etag"]
    assert get(client, "/v1/runs") == []
    response = client.get("/v1/classify", params={"label": LABELS, "record": True}, headers={"If-None-Match": etag})
    key = response.json()["run"]["key"]
    [line] = get(client, "/v1/runs")
    assert (line["key"], line["photos"], line["labels"], line["stored"]) == (key, 5, 4, True)
    assert get(client, f"/v1/runs/{key}") == library.runs.get(key).to_dict()
    post(client, "/v1/classify", labels=LABELS, record=True)
    assert len(library.runs.list()) == 1
    same = post(client, f"/v1/runs/{key[:6]}/repeat")
    assert (same["same"], same["compared"], same["flips"]) == (True, 5, [])
    photo(album / "red.png", "blue")
    library.sync()
    changed = post(client, f"/v1/runs/{key}/repeat", record=True)
    assert changed == library.runs.repeat(key).to_dict()
    assert (changed["same"], changed["flipped"]) == (False, 1)
    assert len(library.runs.list()) == 2
    assert client.get("/v1/runs/ffff").json()["type"] == "urn:zsindex:problem:unknown-run"


# --- corrections and thresholds ---------------------------------------------------------------------------------------


def test_many_corrections_are_one_step(client: TestClient, library: Library, album: Path, colours: str) -> None:
    known = ids(library)
    red, blue = known[str(album / "red.png")], known[str(album / "sea" / "blue.png")]
    said = [{"image_id": red, "label": "blue"}, {"image_id": blue, "label": "red", "not": True}]
    made = post(client, "/v1/corrections/bulk", label_set=colours, corrections=said)
    assert made == {"statements": 2, "corrections": 2, "step": made["step"]}
    held = {path: one.to_dict() for one in library.corrections.list(colours) for path in one.paths}
    assert held[str(album / "sea" / "red again.png")]["label"] == "blue"  # the same bytes
    assert held[str(album / "sea" / "blue.png")]["label"] is None
    assert held[str(album / "sea" / "blue.png")]["not"] == ["red"]
    wrong = [{"image_id": red, "label": "green"}, {"image_id": blue, "label": "pink"}]
    assert client.post("/v1/corrections/bulk", json={"label_set": colours, "corrections": wrong}).status_code == 422
    unknown = [{"image_id": red, "label": "green"}, {"image_id": 10**6, "label": "red"}]
    assert client.post("/v1/corrections/bulk", json={"label_set": colours, "corrections": unknown}).status_code == 404
    assert len(library.corrections.list(colours)) == 2
    assert library.corrections.undo(colours) == 2


def test_only_a_step_of_ones_own_is_undone(client: TestClient, library: Library, album: Path, colours: str) -> None:
    known = ids(library)
    red, white = known[str(album / "red.png")], known[str(album / "white.png")]
    undo = f"/v1/corrections/undo?label_set={colours}"
    mine = post(client, "/v1/corrections", label_set=colours, image_id=red, label="blue")["step"]
    theirs = post(client, "/v1/corrections/bulk", label_set=colours, corrections=[{"image_id": white, "label": "red"}])[
        "step"
    ]
    refused = client.post(f"{undo}&step={mine}")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:zsindex:problem:not-last-step")
    assert len(library.corrections.list(colours)) == 2
    assert client.post(f"{undo}&step={theirs}").json() == {"corrections": 1}
    assert client.post(f"{undo}&step={theirs}").status_code == 409  # it is gone
    other = post(client, "/v1/corrections", label_set=colours, image_id=white, label="red")["step"]
    assert other not in (mine, theirs)  # no number is given twice
    assert client.post(undo).json() == {"corrections": 1}  # whosever it was
    assert client.post(f"{undo}&step={mine}").json() == {"corrections": 0}
    assert client.post(f"{undo}&step={mine}").status_code == 409
    assert client.post(undo).json() == {"corrections": 0}


def test_what_to_correct_next(client: TestClient, library: Library, album: Path, colours: str) -> None:
    library.corrections.add(colours, album / "white.png", "white")
    found = get(client, "/v1/corrections/next", label_set=colours, n=2)
    known = ids(library)
    expected = library.corrections.next(colours, 2)
    assert found == [{"image_id": known[one.path], **one.to_dict()} for one in expected]
    assert len(found) == 2
    library.labels.save("one", ["red"])
    assert client.get("/v1/corrections/next", params={"label_set": "one"}).status_code == 422


def test_thresholds_are_shown_previewed_set_and_removed(client: TestClient, library: Library, colours: str) -> None:
    bare = get(client, "/v1/thresholds", label_set=colours)
    assert bare == library.thresholds.curves(colours).to_dict()
    question = {"label_set": colours, "label": "red", "score": 1.0}
    preview = post(client, "/v1/thresholds", **question, limit=1)
    assert (preview["before"], preview["after"], preview["n_leave"], len(preview["leave"])) == (2, 0, 2, 1)
    assert preview["kept"] is False
    assert get(client, "/v1/thresholds", label_set=colours) == bare
    kept = post(client, "/v1/thresholds", **question, apply=True)
    assert kept["kept"] is True
    curve = next(one for one in get(client, "/v1/thresholds", label_set=colours)["labels"] if one["label"] == "red")
    assert curve["threshold"]["rate"] == kept["rate"]
    masked = get(client, "/v1/classify", label_set=colours, thresholds=True, top=1)
    assert masked["counts"].get("red", 0) == 0
    assert client.delete("/v1/thresholds", params={"label_set": colours, "label": "blue"}).status_code == 422
    assert client.delete("/v1/thresholds", params={"label_set": colours}).json() == {"removed": 1}
    for wrong in ({}, {"score": 0.5, "rate": 0.5}, {"rate": 1.5}, {"count": -1}):
        response = client.post("/v1/thresholds", json={"label_set": colours, "label": "red", **wrong})
        assert response.status_code == 422, wrong
    assert client.get("/v1/thresholds", params={"label_set": "none"}).status_code == 404


# --- words ------------------------------------------------------------------------------------------------------------


def test_a_diff_in_pages_is_the_whole_diff(client: TestClient, library: Library, album: Path) -> None:
    question: dict[str, Any] = {
        "before": {"labels": ["red", "white"]},
        "after": {"labels": ["crimson", "blue", "green"]},
        "renamed": {"red": "crimson"},
        "limit": 1,
    }
    expected = library.lab.diff(["red", "white"], ["crimson", "blue", "green"], renamed={"red": "crimson"}).to_dict()
    page, flips = post(client, "/v1/diff", **question), []
    first = page
    while True:
        flips += page["flips"]
        if page["next"] is None:
            break
        page = post(client, "/v1/diff", **question, cursor=page["next"])
    assert flips == expected["flips"]
    assert len(flips) > 1
    rest = {name: value for name, value in first.items() if name not in ("flips", "next", "n_flows")}
    assert rest == {name: value for name, value in expected.items() if name != "flips"}
    photo(album / "new.png", "green", mark=9)
    library.sync()
    assert len(post(client, "/v1/diff", **question, cursor=first["next"])["flips"]) == 1  # of the answer it began with
    other = client.post("/v1/diff", json={**question, "renamed": None, "cursor": first["next"]})
    assert other.status_code == 422


def test_a_page_of_a_diff_that_is_gone_is_refused(serve: Serve, library: Library, album: Path) -> None:
    client = serve(library, limits={"slow_kept": 0})
    question: dict[str, Any] = {"before": {"labels": ["red", "white"]}, "after": {"labels": ["blue"]}, "limit": 1}
    first = post(client, "/v1/diff", **question)
    assert len(post(client, "/v1/diff", **question, cursor=first["next"])["flips"]) == 1
    photo(album / "new.png", "green", mark=9)
    library.sync()
    post(client, "/v1/diff", 410, **question, cursor=first["next"])


def test_diffs_of_templates_and_versions(client: TestClient, library: Library, colours: str) -> None:
    found = post(client, "/v1/diff", before={"label_set": colours}, after={"templates": ["plain", "red {}"]})
    expected = library.lab.diff(colours, template_after=["plain", "red {}"])
    assert (found["run_before"], found["run_after"]) == (expected.run_before, expected.run_after)
    assert [one["path"] for one in found["flips"]] == [one.path for one in expected.flips]
    library.labels.save(colours, ["red", "blue"])
    versions = post(client, "/v1/diff", before={"label_set": "colours@1"}, after={"label_set": "colours@2"})
    assert versions["only_before"] == ["green", "white"]
    for side in ({"groups": {"x": ["red"]}}, {"labels": ["red"], "label_set": colours}):
        assert client.post("/v1/diff", json={"before": {"label_set": colours}, "after": side}).status_code == 422
    bad = client.post(
        "/v1/diff", json={"before": {"label_set": colours}, "after": {"label_set": colours}, "renamed": {"pink": "red"}}
    )
    assert (bad.status_code, bad.json()["type"]) == (422, "urn:zsindex:problem:labels")


def test_lint_finds_what_the_library_finds(client: TestClient, library: Library) -> None:
    labels = ["red", "the red one", "green", "blue", "black"]
    expected = library.lab.lint(labels, template=["{}", "a {} thing"]).to_dict()
    question: dict[str, Any] = {"labels": labels, "templates": ["{}", "a {} thing"], "limit": 2}
    page, findings = post(client, "/v1/lint", **question), []
    first = page
    while True:
        findings += page["findings"]
        if page["next"] is None:
            break
        page = post(client, "/v1/lint", **question, cursor=page["next"])
    assert findings == expected["findings"]
    assert first["total"] == len(findings) > 2
    assert {"collision", "never-wins"} <= {one["kind"] for one in findings}
    assert {name: first[name] for name in ("warnings", "skewness", "templates")} == {
        name: expected[name] for name in ("warnings", "skewness", "templates")
    }


def test_names_for_what_labels_miss(client: TestClient, library: Library) -> None:
    words = ["green", "blue", "yellow", "black"]
    found = post(client, "/v1/suggest", labels=["red", "white"], vocabulary=words, share=0.5, n_groups=2, names=1)
    expected = library.lab.suggest(["red", "white"], words, share=0.5, groups=2, names=1).to_dict()
    assert found["groups"] == [
        {**group, "photos": list(group["photos"]), "names": list(group["names"])} for group in expected["groups"]
    ]
    assert {"green", "blue"} & {one["word"] for group in found["groups"] for one in group["names"]}
    assert post(client, "/v1/suggest", labels=["red"], n_groups=1)["vocabulary"] == 200


def test_time_that_is_up_stops_suggesting(serve: Serve, library: Library) -> None:
    client = serve(library, limits={"slow_stop_s": -1.0})
    found = post(client, "/v1/suggest", labels=["red"], vocabulary=["green", "blue"])
    assert (found["interrupted"], found["left"], found["groups"]) == (True, 2, [])


# --- truth ------------------------------------------------------------------------------------------------------------


def test_eval_by_ids_by_paths_and_by_both(client: TestClient, library: Library, album: Path) -> None:
    by_path = {str(album / name): label for name, label in TRUTH.items()}
    known = ids(library)
    by_id = {str(known[path]): label for path, label in by_path.items()}
    expected = library.lab.evaluate(LABELS, by_path, resamples=100).to_dict()
    found = post(client, "/v1/eval", labels=LABELS, truth=by_path, resamples=100)
    [report], [wanted] = found["reports"], expected["reports"]
    assert report["summary"] == wanted["summary"]
    assert report["summary"]["top1"]["value"] == 0.75
    assert report["labels"] == wanted["labels"]
    assert (report["wrong"], report["n_wrong"]) == ([str(album / "sea" / "blue.png")], 1)
    assert found["without_truth"] == {"total": 1, "paths": [str(album / "sea" / "red again.png")]}
    by_id_found = post(client, "/v1/eval", labels=LABELS, truth=by_id, resamples=0)
    assert by_id_found["photos"] == 5  # what is said of an image holds for all files with its bytes
    assert by_id_found["reports"][0]["summary"]["top1"]["value"] == 0.8
    both = {**by_id, str(album / "red.png"): "blue"}
    assert post(client, "/v1/eval", labels=LABELS, truth=both, resamples=0)["reports"][0]["n_wrong"] == 2


def test_eval_compares_ways_on_corrections_and_folders(
    client: TestClient, library: Library, album: Path, colours: str
) -> None:
    for name in ("red", "white"):
        library.corrections.add(colours, album / f"{name}.png", name)
    question = {"template_sets": ["plain", ["{}", "a {} thing"]], "against": [{"labels": ["red", "black"]}]}
    found = post(
        client, "/v1/eval", label_set=colours, truth="corrections", resamples=0, others_are_none=True, **question
    )
    expected = library.lab.evaluate(
        colours,
        "corrections",
        templates=["plain", ["{}", "a {} thing"]],
        against=[["red", "black"]],
        others_are_none=True,
        resamples=0,
    )
    assert [report["name"] for report in found["reports"]] == [report.name for report in expected.reports]
    assert len(found["reports"]) == 4
    assert found["truth"] == "corrections of colours"
    folders = post(client, "/v1/eval", labels=LABELS, truth="folders", names={"sea": ["blue"]}, resamples=0)
    assert folders["photos"] == 3
    other = post(client, "/v1/eval", labels=LABELS, truth=f"corrections:{colours}", resamples=0)
    assert other["photos"] == 3
    options: dict[str, Any] = {"unknown": "softmax:score=0.9", "temperature": 0.7, "with_corrections": "gda"}
    asked = post(client, "/v1/eval", label_set=colours, truth="corrections", resamples=0, **options)
    expected = library.lab.evaluate(colours, "corrections", resamples=0, **options)
    assert asked["reports"][0]["run"] == expected.reports[0].about["run"]
    assert asked["reports"][0]["summary"] == expected.to_dict()["reports"][0]["summary"]


def test_photos_on_which_two_ways_differ(client: TestClient, library: Library, album: Path, colours: str) -> None:
    truth = {str(album / name): label for name, label in TRUTH.items()}
    # Prompts of another label turn answers round.
    turned = {label: [other] for label, other in zip(LABELS, [*LABELS[1:], LABELS[0]], strict=True)}
    asked: dict[str, Any] = {"label_set": colours, "truth": truth, "against": [{"labels": turned}]}
    [first, other] = post(client, "/v1/eval", **asked, resamples=10)["reports"]
    assert (first["gained"], first["lost"]) == (0, 0)
    assert other["lost"] > 0
    assert set(other["f1_differences"]) <= set(LABELS)
    for right, n in (("first", other["lost"]), ("other", other["gained"])):
        found = post(client, "/v1/eval/differing", **asked, right=right)
        assert found["total"] == len(found["photos"]) == n
        for one in found["photos"]:
            assert (one["label"] in one["truth"], one["other"] in one["truth"]) == (right == "first", right == "other")
    assert other["sets"] is None
    measured = post(client, "/v1/eval", **asked, resamples=0, coverage=0.5)["reports"][1]["sets"]
    expected = library.lab.evaluate(colours, truth, against=[turned], resamples=0, coverage=0.5).to_dict()
    assert measured == expected["reports"][1]["sets"]
    part = post(client, "/v1/eval/differing", **asked, right="first", start=1, limit=1)
    assert part["photos"] == post(client, "/v1/eval/differing", **asked, right="first")["photos"][1:2]
    assert post(client, "/v1/eval/differing", 422, **asked, report=2)["type"].endswith(":fields")
    ways = post(client, "/v1/eval/differing", 422, **{**asked, "against": [{"labels": LABELS}] * 20})
    assert ways["type"].endswith(":too-much")


def test_photos_behind_the_numbers_of_an_eval(client: TestClient, library: Library, album: Path, colours: str) -> None:
    truth = {str(album / name): label for name, label in TRUTH.items()}
    asked = {"label_set": colours, "truth": truth}
    [report] = post(client, "/v1/eval", **asked, resamples=0)["reports"]
    named = ids(library)
    best = {one.path: (one.label, one.score) for one in library.classify(label_set=colours)}
    for cell in report["confusions"]:
        some = post(client, "/v1/eval/photos", **asked, shows=cell["truth"], answered=cell["answer"])
        assert some["total"] == len(some["photos"]) == cell["photos"]
        for one in some["photos"]:
            assert (one["label"], one["score"]) == best[one["path"]] == (cell["answer"], one["score"])
            assert (one["image_id"], one["truth"], one["learnt"]) == (named[one["path"]], [truth[one["path"]]], False)
    wrong = post(client, "/v1/eval/photos", **asked, wrong=True)
    assert [one["path"] for one in wrong["photos"]] == report["wrong"] == [str(album / "sea" / "blue.png")]
    every = post(client, "/v1/eval/photos", **asked)
    scores = [one["score"] for one in every["photos"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == every["total"] == len(truth)
    part = post(client, "/v1/eval/photos", **asked, start=1, limit=2)
    assert part == {"total": len(truth), "photos": every["photos"][1:3]}
    assert post(client, "/v1/eval/photos", 422, **asked, shows="black")["type"].endswith(":labels")
    several = {path: [label, "green"] for path, label in truth.items()}
    [report] = post(client, "/v1/eval", label_set=colours, truth=several, resamples=0)["reports"]
    for one in report["labels"]:
        missed = post(client, "/v1/eval/photos", label_set=colours, truth=several, shows=one["label"], wrong=True)
        wrongly = post(client, "/v1/eval/photos", label_set=colours, truth=several, answered=one["label"], wrong=True)
        assert (missed["total"], wrongly["total"]) == (one["photos"] - one["right"], one["answered"] - one["right"])
        assert all(set(photo["truth"]) == set(several[photo["path"]]) for photo in missed["photos"])
    assert any(one["photos"] - one["right"] > report["n_wrong"] for one in report["labels"])
    library.corrections.add(colours, album / "red.png", "red")
    learnt = post(client, "/v1/eval/photos", **asked, with_corrections="logistic")
    assert [one["path"] for one in learnt["photos"] if one["learnt"]] == [str(album / "red.png")]


def test_what_a_minimum_score_costs(client: TestClient, library: Library, album: Path, colours: str) -> None:
    for n in range(9):
        photo(album / f"more {n}.png", LABELS[n % 4], mark=n + 3)
    library.sync()
    truth = {path: LABELS[n % 4] if n % 5 else "white" for n, path in enumerate(sorted(library.photos.paths([album])))}
    [report] = library.lab.evaluate(colours, truth, resamples=0).reports
    found = library.classify(label_set=colours)
    every = found.scores_of(np.arange(len(found)))
    for label in LABELS:
        curve = post(client, "/v1/eval/curve", label_set=colours, truth=truth, label=label)
        assert (curve["label"], curve["photos"]) == (label, len(truth))
        assert curve["shown"] == sum(said == label for said in truth.values())
        column = every[:, found.labels.index(label)].tolist()
        scored = {one.path: (score, one.label == label) for one, score in zip(found, column, strict=True)}
        assert [point["score"] for point in curve["points"]] == sorted({s for s, _ in scored.values()}, reverse=True)
        for point in curve["points"]:
            those = [path for path, (score, _) in scored.items() if score >= point["score"]]
            best = [path for path in those if scored[path][1]]
            assert point["photos"] == len(those)
            assert point["answered"] == len(best)
            assert point["right"] == sum(truth[path] == label for path in those)
            assert point["answered_right"] == sum(truth[path] == label for path in best)
        [numbers] = [one for one in report.labels if one.label == label]
        whole = curve["points"][-1]  # with no minimum, what the table says
        assert (whole["answered"], whole["answered_right"]) == (numbers.answered, numbers.right)
        assert (whole["photos"], whole["right"]) == (len(truth), numbers.photos)
    refused = post(client, "/v1/eval/curve", 422, label_set=colours, truth=truth, label="black")
    assert refused["type"].endswith(":labels")


def test_lists_of_an_eval_are_cut(client: TestClient, album: Path) -> None:
    truth = {str(album / "red.png"): "blue", **{str(album / f"gone {n}.png"): "red" for n in range(5)}}
    found = post(client, "/v1/eval", labels=LABELS, truth=truth, resamples=0, limit=2)
    assert (found["not_held"]["total"], len(found["not_held"]["paths"])) == (5, 2)
    nothing = client.post("/v1/eval", json={"labels": LABELS, "truth": {str(album / "gone.png"): "red"}})
    assert (nothing.status_code, nothing.json()["type"]) == (422, "urn:zsindex:problem:truth")


# --- near-duplicates --------------------------------------------------------------------------------------------------


def test_near_duplicates_in_pages(client: TestClient, library: Library, album: Path) -> None:
    shutil.copy(album / "white.png", album / "sea" / "white again.png")
    library.sync()
    expected = library.neighbours.duplicates(threshold=0.99).to_dict()
    first = get(client, "/v1/duplicates", threshold=0.99, limit=1)
    second = get(client, "/v1/duplicates", threshold=0.99, limit=1, cursor=first["next"])
    known = ids(library)
    shown = [
        {
            "keep": {"image_id": known[group["keep"]["path"]], **group["keep"]},
            "others": [{"image_id": known[one["path"]], **one} for one in group["others"]],
        }
        for group in expected["groups"]
    ]
    assert first["groups"] + second["groups"] == shown
    assert (first["total"], second["next"], first["removable"]) == (2, None, 2)
    assert get(client, "/v1/duplicates", threshold=0.99, start=1)["groups"] == second["groups"]
    within = client.get("/v1/duplicates", params={"threshold": 0.99, "path": str(album / "sea")})
    assert within.json()["total"] == 0
    assert client.get("/v1/duplicates", params={"threshold": 0.1}).status_code == 422


def test_decisions_about_near_duplicates(client: TestClient, library: Library, album: Path) -> None:
    for n in range(2):
        photo(album / f"grey {n}.png", "#808080", mark=n)
    shutil.copy(album / "white.png", album / "sea" / "white again.png")
    library.sync()
    groups = get(client, "/v1/duplicates", threshold=0.99, look=False)["groups"]
    one, other = next([g["keep"], g["others"][0]] for g in groups if "grey" in g["keep"]["path"])
    copy = next(g["others"][0] for g in groups if "white" in g["keep"]["path"])
    said = client.post(
        "/v1/duplicates/decisions", json={"different": [[one["path"], other["path"]]], "keep": [copy["path"]]}
    )
    assert (said.status_code, said.json()) == (200, {"decisions": 2})
    # An answer that was kept is not given again.
    found = get(client, "/v1/duplicates", threshold=0.99, look=False)
    assert found["apart"] == 1
    assert not any("grey" in group["keep"]["path"] for group in found["groups"])
    assert [g["keep"]["path"] for g in found["groups"] if g["keep"]["kept"]] == [copy["path"]]
    listed = get(client, "/v1/duplicates/decisions")
    assert listed == [one.to_dict() for one in library.decisions.list()]
    assert [one["kind"] for one in listed] == ["different", "keep"]
    gone = client.delete("/v1/duplicates/decisions", params={"path": other["path"]})
    assert gone.json() == {"decisions": 1}
    assert client.post("/v1/duplicates/decisions/undo").json() == {"decisions": 2}
    assert client.post("/v1/duplicates/decisions/undo").json() == {"decisions": 0}
    assert get(client, "/v1/duplicates", threshold=0.99, look=False)["groups"] == groups
    same = client.post("/v1/duplicates/decisions", json={"different": [[one["path"]]]})
    assert (same.status_code, same.json()["type"]) == (422, "urn:zsindex:problem:same-photo")
    unknown = client.post("/v1/duplicates/decisions", json={"keep": "/not/there.jpg"})
    assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:zsindex:problem:not-in-library")


def test_looking_at_photos_goes_on_where_time_was_up(serve: Serve, library: Library, album: Path) -> None:
    for n in range(6):
        photo(album / f"grey {n}.png", "#808080", mark=n)
    library.sync()
    client = serve(library, limits={"slow_stop_s": -1.0})
    statuses = []
    while True:
        response = client.get("/v1/duplicates", params={"threshold": 0.999})
        statuses.append(response.status_code)
        if response.status_code == 200 or len(statuses) > 20:
            break
        assert response.json()["type"] == "urn:zsindex:problem:unfinished"
        assert "retry-after" in response.headers
    assert statuses[0] == 429
    assert statuses[-1] == 200
    assert response.json()["unread"] == 0


# --- events -----------------------------------------------------------------------------------------------------------


def test_events_in_pages(client: TestClient, library: Library, album: Path) -> None:
    for name, day in (("red", 14), ("white", 14), ("green", 15)):
        photo(album / f"IMG_201907{day}_090000 {name}.png", name)
    library.sync()
    expected = library.events(vocabulary=["red", "green"], look=False)
    assert [len(event.photos) for event in expected.events] == [2, 1]
    first = get(client, "/v1/events", vocabulary="none", look=False, limit=1)
    second = get(client, "/v1/events", vocabulary="none", look=False, limit=1, cursor=first["next"])
    assert (first["total"], second["next"]) == (2, None)
    assert (first["photos"], first["from_files"]) == (3, len(library.view()) - 3)
    known = ids(library)
    for shown, event in zip(first["events"] + second["events"], expected.events, strict=True):
        document = {**event.to_dict(), "name": None}
        for burst in document["bursts"]:
            for one in burst["photos"]:
                one["image_id"] = known[one["path"]]
        assert shown == document
    named = client.get("/v1/events", params={"path": str(album / "IMG_20190715_090000 green.png")}).json()
    assert [bool(event["name"]) for event in named["events"]] == [True]
    assert get(client, "/v1/events", vocabulary="none", file_times=True)["from_files"] == 0
    assert client.get("/v1/events", params={"vocabulary": "/etc/passwd"}).status_code == 422
    with_one = post(client, "/v1/classify", labels=LABELS, one_per="event")
    assert with_one["total"] == len(library.view()) - 1
    counted = post(client, "/v1/classify/counts", labels=LABELS, by="year", one_per="event")
    assert sum(counted["photos"]) == with_one["total"]
    assert client.post("/v1/classify", json={"labels": LABELS, "one_per": "day"}).status_code == 422


# --- tags -------------------------------------------------------------------------------------------------------------


def test_tags_are_told_written_and_taken_back(client: TestClient, library: Library, album: Path, colours: str) -> None:
    question = {"label_set": colours, "paths": [str(album / "sea")]}
    dry = post(client, "/v1/tags", **question, limit=1)
    assert (dry["applied"], dry["create"], len(dry["changes"])) == (False, 3, 1)
    assert not list(album.rglob("*.xmp"))
    assert post(client, "/v1/tags", **question, apply=True)["create"] == 3
    assert {file.name for file in album.rglob("*.xmp")} == {"blue.png.xmp", "green.png.xmp", "red again.png.xmp"}
    assert "zsindex|blue" in (album / "sea" / "blue.png.xmp").read_text(encoding="utf-8")
    assert post(client, "/v1/tags", **question, apply=True)["unchanged"] == 3
    assert post(client, "/v1/tags/retract", label_set=colours)["delete"] == 3
    assert post(client, "/v1/tags/retract", label_set="another")["delete"] == 0
    assert post(client, "/v1/tags/retract", label_set=colours, apply=True)["delete"] == 3
    assert not list(album.rglob("*.xmp"))


def test_groups_and_scores_of_tags(client: TestClient, album: Path) -> None:
    question = {"labels": LABELS, "groups": {"cold": ["blue", "green"]}, "root": "", "paths": [str(album / "sea")]}
    found = post(client, "/v1/tags", **question)
    added = {Path(one["path"]).name: str(one["added"]) for one in found["changes"]}
    assert "cold|blue" in added["blue.png.xmp"]
    assert "cold" not in added["red again.png.xmp"]
    assert client.post("/v1/tags", json={"labels": LABELS, "every": True}).status_code == 422
    every = post(client, "/v1/tags", labels=LABELS, every=True, min_score=0.01, temperature=10)
    assert max(str(one["added"]).count("zsindex|") for one in every["changes"]) > 1


def test_tags_stay_below_what_was_synced(client: TestClient, library: Library, album: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(album / "sea", elsewhere)
    (album / "sea").symlink_to(elsewhere)
    response = client.post("/v1/tags", json={"labels": LABELS, "apply": True})
    assert (response.status_code, response.json()["type"]) == (403, "urn:zsindex:problem:path")
    assert not list(tmp_path.rglob("*.xmp"))
    own = {"labels": LABELS, "apply": True, "paths": [str(album / "red.png")]}
    assert client.post("/v1/tags", json=own).json()["create"] == 1


# --- rights and limits ------------------------------------------------------------------------------------------------


def test_what_keeps_or_writes_needs_the_right_to(serve: Serve, library: Library, album: Path, colours: str) -> None:
    reader = serve(library, security={"tokens": TOKENS}, token=READ)
    writer = serve(library, security={"tokens": TOKENS}, token=WRITE)
    key = library.runs.record(library.classify(LABELS)).key
    truth = {str(album / name): label for name, label in TRUTH.items()}
    for path, body, switch in [
        ("/v1/classify", {"labels": LABELS}, "record"),
        (f"/v1/runs/{key}/repeat", {}, "record"),
        ("/v1/thresholds", {"label_set": colours, "label": "red", "rate": 0.5}, "apply"),
        ("/v1/tags", {"label_set": colours}, "apply"),
        ("/v1/tags/retract", {"label_set": colours}, "apply"),
        ("/v1/temperature", {"label_set": colours, "truth": truth}, "apply"),
    ]:
        refused = reader.post(path, json={**body, switch: True})
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:zsindex:problem:right"), path
        assert reader.post(path, json=body).status_code in (200, 422), path  # four photos fit no temperature
        assert writer.post(path, json={**body, switch: True}).status_code in (200, 422), path
    assert reader.get("/v1/classify", params={"label": LABELS, "record": True}).status_code == 403


def test_a_few_at_a_time(serve: Serve, library: Library) -> None:
    client = serve(library, limits={"slow_running": 1, "slow_wait_s": 0.01})
    with client.app.state.service.slow.turn():  # type: ignore[attr-defined]
        for path, body in [
            ("/v1/lint", {"labels": LABELS}),
            ("/v1/diff", {"before": {"labels": LABELS}, "after": {"templates": ["{}"]}}),
            ("/v1/eval", {"labels": LABELS, "truth": "folders"}),
            ("/v1/eval/photos", {"labels": LABELS, "truth": "folders"}),
            ("/v1/eval/differing", {"labels": LABELS, "truth": "folders", "against": [{"labels": LABELS}]}),
            ("/v1/eval/curve", {"labels": LABELS, "truth": "folders", "label": "red"}),
            ("/v1/suggest", {"labels": LABELS}),
            ("/v1/classify", {"labels": LABELS, "smooth": True}),
        ]:
            busy = client.post(path, json=body)
            assert (busy.status_code, "retry-after" in busy.headers) == (429, True), path
        assert client.post("/v1/classify", json={"labels": LABELS}).status_code == 200
    assert client.post("/v1/lint", json={"labels": LABELS}).status_code == 200

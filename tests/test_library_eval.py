"""`Library.lab.evaluate`, temperatures and template attribution over a library, and their commands."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from zsindex.cli import cli

from tests.fakes import FakeEncoder
from tests.libraries import paint
from zsindex import label_set
from zsindex.errors import (
    BadQuestion,
    BadTruth,
    ExtraMissing,
    LibraryReadOnly,
    NoTemperature,
    UnknownLabelSet,
    UnknownModel,
)
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.records import NONE, ModelSpec
from zsindex.services.unknown import Unknown
from zsindex.storage.rows import CorrectionEntry

# What the photos of each folder look like. The last of "warm" are nearer to green than to red.
FOLDERS = {
    "warm": [(250, 10, 10), (240, 20, 30), (230, 0, 60), (90, 200, 40)],
    "cold": [(10, 10, 250), (30, 20, 240), (0, 60, 230)],
    "grass": [(10, 250, 10), (30, 240, 20), (60, 230, 0), (200, 90, 40)],
}
NAMES = {"warm": "red", "cold": "blue", "grass": "green"}
MAP = [part for name, label in NAMES.items() for part in ("--map", f"{name}={label}")]
RGB = ["red", "green", "blue"]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for folder, colours in FOLDERS.items():
        for n, rgb in enumerate(colours):
            paint(tmp_path / "album" / folder / f"{n}.png", rgb)
    return tmp_path / "album"


@pytest.fixture
def library(tmp_path: Path, new_library: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        return FakeEncoder(name=spec.name, decode=spec.decode)

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    with Library.open(tmp_path / "library") as opened:
        opened.sync(album)
        yield opened


@pytest.fixture
def run(library: Library) -> Callable[..., Result]:
    def invoke(*arguments: str | Path, code: int = 0) -> Result:
        environment = {"ZSINDEX_LIBRARY": str(library.path), "COLUMNS": "200"}
        result = CliRunner().invoke(cli, [str(a) for a in arguments], env=environment)
        assert result.exit_code == code, result.output
        return result

    return invoke


# --- evaluate ---------------------------------------------------------------------------------------------------------


def test_folders_are_the_truth(library: Library, album: Path) -> None:
    result = library.lab.evaluate(RGB, names=NAMES, resamples=200)
    [report] = result.reports
    answers = {answer.path: answer.label for answer in library.classify(RGB, top=1)}
    right = [answers[path] == NAMES[Path(path).parent.name] for path in answers]
    assert result.paths == tuple(answers)
    assert report.summary["top1"].value == pytest.approx(sum(right) / 11) == pytest.approx(9 / 11)
    assert report.summary["top1"].low < 9 / 11 < report.summary["top1"].high
    assert [result.paths[n] for n in report.wrong] == [str(album / "grass/3.png"), str(album / "warm/3.png")]
    assert {(c.truth, c.answer): c.photos for c in report.mistakes} == {("red", "green"): 1, ("green", "red"): 1}
    assert report.about["run"] == library.classify(RGB, top=5).run.key
    assert library.lab.evaluate(RGB, names=NAMES, resamples=200).to_dict() == result.to_dict()


def test_a_folder_is_the_truth_of_the_photos_below_it(library: Library, album: Path) -> None:
    result = library.lab.evaluate(RGB, album / "warm", names=NAMES, resamples=0)
    expected = [path for path in library.photos.paths() if path.startswith(str(album / "warm"))]
    assert list(result.paths) == expected
    assert set(result.without_truth) == set(library.photos.paths()) - set(expected)


def test_corrections_and_smoothing_can_be_judged(library: Library, album: Path) -> None:
    library.labels.save("rgb", RGB)
    before = library.lab.evaluate("rgb", names=NAMES, resamples=0).reports[0]
    for number in before.wrong:
        path = library.photos.paths()[number]
        library.corrections.add("rgb", path, NAMES[Path(path).parent.name])
    learned = library.classify(label_set="rgb", with_corrections="gda").learned
    assert learned is not None
    assert (learned.weight, learned.without) == (0, 0)
    assert any("confirm some right answers" in doubt for doubt in learned.doubts)
    found = library.lab.evaluate("rgb", names=NAMES, resamples=0, with_corrections="gda")
    taught = found.reports[0]
    assert found.learnt_from == tuple(library.photos.paths()[number] for number in before.wrong)
    assert taught.summary["top1"].value == 1 > before.summary["top1"].value
    smooth = library.lab.evaluate("rgb", names=NAMES, resamples=0, smooth=True).reports[0]
    labels = [result.label for result in library.classify(label_set="rgb", smooth=True)]
    right = [NAMES[Path(p).parent.name] == label for p, label in zip(library.photos.paths(), labels, strict=True)]
    assert smooth.summary["top1"].value == pytest.approx(sum(right) / len(right))


def test_photos_that_were_learnt_from_are_told(library: Library, album: Path, run: Callable[..., Result]) -> None:
    library.labels.save("rgb", RGB)
    library.corrections.add("rgb", album / "warm" / "0.png", "red")
    asked = ("eval", "folders", "--label-set", "rgb", *MAP, "--resamples", 0)
    assert "learnt" not in run(*asked).stderr
    assert "the answers learnt from 1, which" in run(*asked, "--with-corrections").stderr
    document = json.loads(run(*asked, "--with-corrections", "--format", "json").stdout)
    assert document["learnt_from"] == [str(album / "warm" / "0.png")]
    without = run(*asked, "--with-corrections", "--path", album / "cold").stderr
    assert "learnt" not in without


def test_what_cannot_be_compared_is_named(library: Library, album: Path, tmp_path: Path) -> None:
    paint(album / "other" / "new.png", (1, 2, 3))
    table = tmp_path / "truth.csv"
    table.write_text(
        "path,label\nalbum/warm/0.png,red\nalbum/warm/1.png,red|sky\nalbum/cold/0.png,sky\nalbum/gone.png,red\n"
        "album/cold/1.png,\n",
        encoding="utf-8",
    )
    result = library.lab.evaluate(RGB, table, resamples=0)
    assert result.paths == (str(album / "warm/0.png"), str(album / "warm/1.png"))
    assert result.unknown_labels == {"sky": 2}
    assert result.left_out == (str(album / "cold/0.png"),)
    assert result.not_held == (str(album / "gone.png"),)
    assert len(result.without_truth) == 8
    assert result.to_dict()["not_held"] == [str(album / "gone.png")]
    only = library.lab.evaluate(RGB, table, paths=[album / "warm"], resamples=0)
    assert (only.paths, only.not_held, len(only.without_truth)) == (result.paths, (), 2)


def test_photos_without_a_vector_are_named(library: Library, album: Path) -> None:
    with Library.open(library.path, model="other") as other:
        other.sync(album / "warm")
        result = other.lab.evaluate(RGB, names=NAMES, resamples=0)
        assert len(result.paths) == 4
        assert len(result.unanswered) == 7
        both = library.lab.evaluate(RGB, names=NAMES, models=["other"], resamples=50)
    assert [r.name for r in both.reports] == ["nano", "other"]
    assert len(both.paths) == 4
    assert len(both.unanswered) == 7
    assert both.reports[1].differences["top1"].value == 0


def test_label_sets_and_templates_are_compared_each_with_each(library: Library) -> None:
    library.labels.save("plain", RGB)
    library.labels.save("odd", {"red": "something blue", "green": None, "blue": None})
    result = library.lab.evaluate("plain", names=NAMES, against=["odd"], templates=["plain", "a bad {}"], resamples=100)
    assert [r.name for r in result.reports] == [
        "plain@1, plain",
        "plain@1, a bad {}",
        "odd@1, plain",
        "odd@1, a bad {}",
    ]
    own = library.lab.evaluate("plain", names=NAMES, against=["odd"], resamples=100)
    assert [r.name for r in own.reports] == ["plain@1", "odd@1"]
    assert own.reports[1].differences["top1"].value < 0
    assert own.reports[1].differences["top1"].value == pytest.approx(
        own.reports[1].summary["top1"].value - own.reports[0].summary["top1"].value
    )
    with pytest.raises(UnknownLabelSet):
        library.lab.evaluate("nothing", names=NAMES)
    with pytest.raises(UnknownModel):
        library.lab.evaluate("plain", names=NAMES, models=["nothing"])


def test_sets_of_labels_are_measured_half_by_half(library: Library, run: Callable[..., Result]) -> None:
    shows = {path: NAMES[Path(path).parent.name] for path in library.photos.paths()}
    half = {path: int(digest[:2], 16) % 2 for path, digest in library.photos.digests(list(shows)).items()}
    assert set(half.values()) == {0, 1}
    found = library.lab.evaluate(RGB, names=NAMES, resamples=0, coverage=0.5, templates=["plain", "a {} thing"])
    for report, template in zip(found.reports, ("plain", "a {} thing"), strict=True):
        sets: dict[str, tuple[str, ...]] = {}
        for measured in (0, 1):
            known = {path: label for path, label in shows.items() if half[path] != measured}
            answers = library.classify(RGB, template=template, coverage=0.5, calibrate=known)
            sets |= {one.path: one.labels for one in answers if half[one.path] == measured}
        assert report.sets is not None
        assert report.sets.photos == len(sets) == len(shows)
        assert report.sets.coverage.value == pytest.approx(np.mean([shows[path] in sets[path] for path in sets]))
        assert report.sets.size == pytest.approx(np.mean([len(labels) for labels in sets.values()]))
    assert library.lab.evaluate(RGB, names=NAMES, resamples=0).reports[0].sets is None

    asked = ["eval", *(part for label in RGB for part in ("-l", label)), *MAP, "--resamples", "0", "--coverage", "0.5"]
    assert re.search(r"^sets for 50 % +photos +held % ", run(*asked).stdout, re.MULTILINE)
    rows = list(csv.DictReader(io.StringIO(run(*asked, "--format", "csv").stdout)))
    [size] = [row["value"] for row in rows if row["measure"] == "set size"]
    [of_labels] = library.lab.evaluate(RGB, names=NAMES, resamples=0, coverage=0.5).reports
    assert of_labels.sets is not None
    assert float(size) == pytest.approx(of_labels.sets.size)
    assert "takes at least 999 photos" in run(*asked[:-1], "0.999", code=1).stderr


def test_what_sets_of_labels_exclude_in_an_evaluation(library: Library) -> None:
    for options, why in (
        ({"coverage": 0.5, "calibrate": "folders"}, "calibrate each other"),
        ({"coverage_score": "aps"}, "say which coverage"),
        ({"coverage": 0.5, "unknown": "mcm:0.1"}, "coverage and unknown"),
    ):
        with pytest.raises(BadQuestion, match=why):
            library.lab.evaluate(RGB, names=NAMES, resamples=0, **options)  # type: ignore[arg-type]


def test_none_of_these(library: Library) -> None:
    names = {"warm": "red", "cold": "blue"}
    left = library.lab.evaluate(["red", "blue"], names=names, resamples=0)
    assert (len(left.paths), len(left.left_out)) == (7, 4)
    result = library.lab.evaluate(["red", "blue"], names=names, others_are_none=True, resamples=0)
    [report] = result.reports
    assert (len(result.paths), report.photos) == (11, 7)
    best = library.classify(["red", "blue"]).scores.max(axis=1)
    known = np.array(["grass" not in path for path in library.photos.paths()])
    wins = [(a > b) + (a == b) / 2 for a in best[known] for b in best[~known]]
    assert report.summary["auroc"].value == pytest.approx(np.mean(wins))
    with_negative = library.lab.evaluate(
        label_set(["red", "blue"], negatives=["green"]), names=names, others_are_none=True, resamples=0
    )
    [report] = with_negative.reports
    assert report.photos == 11
    assert NONE in {label.label for label in report.labels}


def test_photos_that_vanish_in_the_middle_are_not_judged(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    knownness, calls = Unknown.knownness, []

    def after_another_process(asked: Unknown, *arguments: Any, **options: Any) -> object:
        calls.append(len(library.photos.paths()))
        if len(calls) == 1:
            with Library.open(library.path, read_only=False) as other:
                Path(library.photos.paths()[0]).unlink()
                other.sync()
                other.prune()
        return knownness(asked, *arguments, **options)

    monkeypatch.setattr(Unknown, "knownness", after_another_process)
    names = {"warm": "red", "cold": "blue"}
    [report] = library.lab.evaluate(
        ["red", "blue"], names=names, others_are_none=True, resamples=0, unknown="mcm:0.3"
    ).reports
    assert calls == [11, 10]
    assert report.photos == 10


def test_unknown_photos_are_judged_by_how_well_known_they_are(library: Library, run: Callable[..., Result]) -> None:
    names = {"warm": "red", "cold": "blue"}
    options = {"names": names, "others_are_none": True, "resamples": 0}
    [report] = library.lab.evaluate(["red", "blue"], **options, unknown="mcm:0.3").reports
    answer = library.classify(["red", "blue"], unknown="mcm:0.3", top=1)
    right = [a.label == names.get(Path(a.path).parent.name, NONE) for a in answer]
    assert report.photos == 11
    assert report.summary["top1"].value == pytest.approx(np.mean(right))
    known = np.array(["grass" not in path for path in answer.paths])
    # Not by the score of the answer "none", which is the same 0 for all photos that are called known.
    score = library.unknown.knownness(["red", "blue"], "mcm").values
    wins = [(a > b) + (a == b) / 2 for a in score[known] for b in score[~known]]
    assert report.summary["auroc"].value == pytest.approx(np.mean(wins), abs=1e-6)
    truth = {path: names.get(Path(path).parent.name, "other") for path in answer.paths}
    [told] = library.unknown.evaluate(["red", "blue"], truth, methods=["mcm"]).methods
    assert report.summary["auroc"].value == pytest.approx(told.auroc, abs=1e-6)
    [cooled] = library.lab.evaluate(["red", "blue"], **options, unknown="softmax:0.3", temperature=3.0).reports
    score = library.unknown.knownness(["red", "blue"], "softmax", temperature=3.0).values
    wins = [(a > b) + (a == b) / 2 for a in score[known] for b in score[~known]]
    assert cooled.summary["auroc"].value == pytest.approx(np.mean(wins), abs=1e-6)
    rows = run("eval", "-l", "red", "-l", "blue", "--map", "warm=red", "--map", "cold=blue", "--others-are-none",
               "--unknown", "mcm:0.3", "--format", "csv").stdout  # fmt: skip
    assert f"labels,,top1,{report.summary['top1'].value!r}," in rows


def test_corrections_are_the_truth_of_their_label_set(library: Library, album: Path) -> None:
    library.labels.save("rgb", RGB)

    def said(path: str, label: str | None) -> CorrectionEntry:
        digest = library.session.storage.reads.digest_of(str(album / path))
        assert digest is not None
        return CorrectionEntry(digest, label)

    gone = CorrectionEntry(b"\7" * 32, "red")
    library.session.storage.labels.add_corrections(
        "rgb", [said("warm/0.png", "blue"), said("warm/1.png", "red"), said("cold/0.png", "red"), gone]
    )
    library.session.storage.labels.add_corrections("rgb", [said("warm/0.png", "red"), said("cold/0.png", None)])
    for truth, labels in (("corrections", "rgb"), ("corrections", "rgb@1"), ("corrections:rgb", RGB)):
        result = library.lab.evaluate(labels, truth, resamples=0)
        assert result.paths == (str(album / "warm/0.png"), str(album / "warm/1.png"))
        assert result.reports[0].summary["top1"].value == 1
        assert result.not_held == (f"sha256:{'07' * 32}",)
    with pytest.raises(BadTruth, match="corrections:NAME"):
        library.lab.evaluate(RGB, "corrections")
    with pytest.raises(UnknownLabelSet):
        library.lab.evaluate(RGB, "corrections:nothing")


def test_truth_that_fits_nothing_says_why(library: Library, tmp_path: Path) -> None:
    with pytest.raises(BadTruth, match=r"grass, warm, cold\) are not among .*--map\): 'grass'='red'"):
        library.lab.evaluate(RGB)
    with pytest.raises(BadTruth, match="holds none of its photos"):
        library.lab.evaluate(RGB, {"/nowhere.png": "red"})
    with pytest.raises(BadTruth, match="it is empty"):
        library.lab.evaluate(RGB, {})
    with pytest.raises(BadTruth, match="No such file"):
        library.lab.evaluate(RGB, tmp_path / "missing.csv")
    (tmp_path / "latin.csv").write_bytes(b"path,label\n\xe4,b\n")
    with pytest.raises(BadTruth, match="UTF-8"):
        library.lab.evaluate(RGB, tmp_path / "latin.csv")
    with pytest.raises(BadTruth, match="--map"):
        library.temperature.fit(RGB)


# --- temperature ------------------------------------------------------------------------------------------------------


def test_a_temperature_changes_confidence_and_the_run(library: Library) -> None:
    own, same, hot = (library.classify(RGB, temperature=t) for t in (None, 0.1, 1.0))
    np.testing.assert_allclose(own.scores, same.scores, atol=1e-6)  # the fake model's scale is 10
    cosines = np.log(own.scores) / 10
    expected = np.exp(cosines) / np.exp(cosines).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(hot.scores, expected, atol=1e-5)
    assert [r.label for r in own] == [r.label for r in hot]
    assert own.run.key != hot.run.key
    assert dict(hot.run.options)["temperature"] == 1.0
    assert "temperature" not in dict(own.run.options)
    assert hot.run.logit_scale == 1
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"must be a number from 0\.0001"):
            library.classify(RGB, temperature=wrong)


def test_of_a_sigmoid_model_the_bias_is_divided_too(tmp_path: Path, album: Path) -> None:
    with Library.open(tmp_path / "sigmoid", encoder=FakeEncoder("sigmoid", logit_bias=-4.0)) as library:
        library.sync(album)
        own, hot = library.classify(RGB).scores, library.classify(RGB, temperature=0.2).scores
    logits = np.log(own / (1 - own))
    np.testing.assert_allclose(hot, 1 / (1 + np.exp(-logits / 2)), atol=1e-5)


def test_a_fitted_temperature_is_kept_with_its_model(library: Library, album: Path) -> None:
    assert library.temperature.get() is None
    with pytest.raises(NoTemperature):
        library.classify(RGB, temperature="fitted")
    with pytest.raises(NoTemperature):
        library.temperature.remove()
    dry = library.temperature.fit(RGB, names=NAMES, save=False)
    assert library.temperature.get() is None
    fitted = library.temperature.fit(RGB, names=NAMES)
    assert fitted == dry
    assert (fitted.photos, fitted.own) == (11, pytest.approx(0.1))
    found = library.temperature.get()
    assert found is not None
    assert found[0] == fitted.temperature
    assert (found[1]["truth"], found[1]["labels"]) == ("folders", RGB)
    by_name = library.classify(RGB, temperature="fitted")
    np.testing.assert_array_equal(by_name.scores, library.classify(RGB, temperature=fitted.temperature).scores)

    def nll(temperature: float) -> float:
        answer = library.classify(RGB, temperature=temperature)
        shown = [RGB.index(NAMES[Path(path).parent.name]) for path in answer.paths]
        return -float(np.log(answer.scores[np.arange(11), shown].astype(np.float64)).mean())

    assert nll(fitted.temperature) < min(nll(fitted.temperature * 1.05), nll(fitted.temperature / 1.05))
    evaluated = library.lab.evaluate(RGB, names=NAMES, temperature="fitted", resamples=0).reports[0]
    assert evaluated.about["run"] == library.classify(RGB, temperature="fitted", top=5).run.key
    library.temperature.remove()
    assert library.temperature.get() is None
    with Library.open(library.path, read_only=True) as reading, pytest.raises(LibraryReadOnly):
        reading.temperature.fit(RGB, names=NAMES)


def test_copies_do_not_count_twice(library: Library, album: Path) -> None:
    fitted = library.temperature.fit(RGB, names=NAMES, save=False)
    (album / "warm" / "copy.png").write_bytes((album / "warm" / "0.png").read_bytes())
    library.sync(album)
    assert library.temperature.fit(RGB, names=NAMES, save=False).photos == fitted.photos


# --- templates --------------------------------------------------------------------------------------------------------


def test_a_template_that_hurts_is_found(library: Library) -> None:
    templates = ["a {}", "the {}", "blue sky behind {}"]
    found = library.lab.attribute(RGB, "folders", template=templates, names=NAMES, resamples=100)
    effect = {e.template: e for e in found.templates}
    assert min(found.templates, key=lambda e: e.margin).template == "blue sky behind {}"
    assert effect["a {}"].alone == pytest.approx(9 / 11)
    evaluated = library.lab.evaluate(RGB, names=NAMES, templates=[templates, templates[:2]], resamples=0)
    with_all, without = (r.summary["top1"].value for r in evaluated.reports)
    assert effect["blue sky behind {}"].top1 is not None
    assert effect["blue sky behind {}"].top1.value == pytest.approx(with_all - without)
    assert library.lab.attribute(RGB, template=templates).top1 is None
    with pytest.raises(ValueError, match="at least two"):
        library.lab.attribute(RGB)
    with pytest.raises(ValueError, match="written out"):
        library.lab.attribute(label_set({"red": ["my red", "a red"], "blue": None}, templates=["a {}", "the {}"]))


# --- the command line -------------------------------------------------------------------------------------------------


def test_eval_prints_tables_and_says_what_was_left_out(run: Callable[..., Result], album: Path) -> None:
    paint(album / "sky" / "1.png", (9, 9, 9))
    run("sync", album)
    result = run("eval", "folders", *[p for label in RGB for p in ("-l", label)], *MAP)
    assert re.search(r"^labels +81\.8 \(", result.stdout, re.MULTILINE)
    assert re.search(r"^red +green +1$", result.stdout, re.MULTILINE)
    assert "no label for: sky (1)" in result.stderr
    assert "11 photos compared with folders" in result.stderr
    assert run("eval", "--quiet", "-l", "red", "-l", "green", *MAP).stderr == ""


def test_eval_formats(run: Callable[..., Result], album: Path) -> None:
    labels = [p for label in RGB for p in ("-l", label)]
    document = json.loads(run("eval", *labels, *MAP, "--format", "json").stdout)
    assert document["reports"][0]["wrong"] == [str(album / "grass/3.png"), str(album / "warm/3.png")]
    assert document["seed"] == 0
    lines = run(
        "eval", *labels, *MAP, "--format", "ndjson", "--compare-templates", "plain", "--compare-templates", "a {}"
    )
    assert [json.loads(line)["name"] for line in lines.stdout.splitlines()] == ["plain", "a {}"]
    rows = list(csv.DictReader(io.StringIO(run("eval", *labels, *MAP, "--format", "csv").stdout)))
    [top1] = [row for row in rows if row["measure"] == "top1"]
    assert float(top1["value"]) == document["reports"][0]["summary"]["top1"]["value"]
    assert {row["label"] for row in rows} == {"", *RGB}
    paths = run("eval", *labels, *MAP, "--format", "paths").stdout.splitlines()
    assert paths == document["reports"][0]["wrong"]


def test_eval_compares(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("red\ngreen\nblue\n", encoding="utf-8")
    (tmp_path / "two.json").write_text('{"red": "blue", "green": "green", "blue": "red"}', encoding="utf-8")
    (tmp_path / "map.json").write_text(json.dumps(NAMES), encoding="utf-8")
    (tmp_path / "templates.txt").write_text("a {}\nthe {}\n", encoding="utf-8")
    run("labels", "save", "saved", "--labels", tmp_path / "one.txt")
    files = ["--labels", tmp_path / "one.txt", "--labels", tmp_path / "two.json", "--label-set", "saved"]
    result = run("eval", *files, "--map", f"@{tmp_path / 'map.json'}", "--resamples", "50")
    assert re.search(r"^minus one .*\n-+.*\ntwo +-\d", result.stdout, re.MULTILINE)
    assert re.search(r"^saved@1 +\+0\.0 \(\+0\.0 … \+0\.0\).* 0 +0$", result.stdout, re.MULTILINE)
    rows = list(csv.DictReader(io.StringIO(run("eval", *files, *MAP, "--resamples", "0", "--format", "csv").stdout)))
    f1 = {(row["report"], row["label"]): float(row["value"]) for row in rows if row["measure"] == "f1"}
    differences = {(row["report"], row["label"]): row for row in rows if row["measure"] == "difference in f1"}
    assert {report for report, _ in differences} == {"two", "saved@1"}
    for (report, label), row in differences.items():
        assert float(row["value"]) == pytest.approx(f1[report, label] - f1["one", label])
    document = json.loads(
        run("eval", "--label-set", "saved", *MAP, "--compare-templates", f"@{tmp_path / 'templates.txt'}",
            "--compare-templates", "plain", "--format", "json").stdout
    )  # fmt: skip
    assert [r["name"] for r in document["reports"]] == ["2 templates", "plain"]


def test_eval_takes_templates_as_classify_does(run: Callable[..., Result], tmp_path: Path) -> None:
    """They fill in what a file leaves open; in the place of all prompts come those that are compared."""
    (tmp_path / "swapped.json").write_text('{"red": "blue", "green": null, "blue": "red"}', encoding="utf-8")
    file = ["--labels", tmp_path / "swapped.json", *MAP, "--resamples", "0", "--format", "json"]
    swapped = json.loads(run("eval", *file, "--template", "some {}").stdout)["reports"]
    assert swapped[0]["summary"]["top1"]["value"] < 0.5
    assert swapped[0]["templates"] == ["some {}"]
    compared = json.loads(run("eval", *file, "--compare-templates", "some {}").stdout)["reports"]
    assert compared[0]["summary"]["top1"]["value"] == pytest.approx(9 / 11)


def test_eval_fails_under_a_bound(run: Callable[..., Result]) -> None:
    labels = [p for label in RGB for p in ("-l", label)]
    run("eval", *labels, *MAP, "--fail-under", "0.8")
    assert "below 0.9" in run("eval", *labels, *MAP, "--fail-under", "0.9", code=3).stderr


def test_eval_refuses_what_makes_no_sense(run: Callable[..., Result]) -> None:
    assert "name labels" in run("eval", code=2).stderr
    assert "NAME=LABEL" in run("eval", "-l", "red", "--map", "red", code=2).stderr
    assert ".html or .png" in run("eval", "-l", "red", "--report", "x.txt", code=2).stderr
    assert "neither a number" in run("eval", "-l", "red", "--temperature", "warm", code=2).stderr
    assert "--map" in run("eval", "-l", "red", "-l", "blue", code=1).stderr


def test_reports_stand_by_themselves(run: Callable[..., Result], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    labels = ["-l", "red", "-l", "<green>", "-l", "赤", "-l", "blue"]
    names = ["--map", "warm=red", "--map", "grass=<green>", "--map", "cold=blue"]
    run("eval", *labels, *names, "--report", tmp_path / "r.png", "--resamples", "20")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    run("eval", *labels, *names, "--report", tmp_path / "r.html", "--compare-templates", "{}", "--compare-templates",
        "a {}")  # fmt: skip
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<green>" not in page
    assert "&lt;green&gt;" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("<img") == 5


def test_a_report_needs_matplotlib(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    from zsindex.lab import plots

    result = library.lab.evaluate(RGB, names=NAMES, resamples=0)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ExtraMissing, match=r"zsindex\[plots\]"):
        plots.report(result, "png")


def test_temperature_commands(run: Callable[..., Result]) -> None:
    labels = [p for label in RGB for p in ("-l", label)]
    assert "zsindex temperature fit" in run("temperature", "show", code=1).stderr
    run("temperature", "fit", "folders", *labels, *MAP, "--dry-run")
    run("temperature", "show", code=1)
    shown = run("temperature", "fit", "folders", *labels, *MAP).stdout
    fitted = json.loads(run("temperature", "show", "--json").stdout)
    assert f"{fitted['temperature']:.6g}" in shown
    assert run("temperature", "show").stdout == shown
    scores = run("classify", *labels, "--temperature", "fitted", "--format", "csv").stdout
    assert scores == run("classify", *labels, "--temperature", fitted["temperature"], "--format", "csv").stdout
    assert scores != run("classify", *labels, "--format", "csv").stdout
    run("temperature", "remove")
    run("classify", *labels, "--temperature", "fitted", code=1)


def test_templates_attribute(run: Callable[..., Result]) -> None:
    labels = [p for label in RGB for p in ("-l", label)]
    templates = ["--template", "a {}", "--template", "the {}", "--template", "blue sky behind {}"]
    found = json.loads(run("templates", "attribute", "folders", *labels, *MAP, *templates, "--json").stdout)
    assert [e["template"] for e in found["templates"]] == ["a {}", "the {}", "blue sky behind {}"]
    assert "top-1 with all templates" in run("templates", "attribute", "folders", *labels, *MAP, *templates).stdout
    assert "margin with minus without it" in run("templates", "attribute", *labels, *templates).stdout
    assert "at least two" in run("templates", "attribute", *labels, code=2).stderr

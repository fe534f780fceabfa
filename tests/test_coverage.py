"""Sets of labels in a library: what calibrates them, what they are written as, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import shutil
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
from zsindex.classification.options import Question
from zsindex.errors import BadQuestion, BadTruth
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.records import NONE, ModelSpec

COLOURS = ("red", "green", "blue")
EACH = 20


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty colours, each a photo of its own, in folders that say what it is mostly made of."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number, colour in enumerate(COLOURS):
        for n in range(EACH):
            values = random.integers(0, 160, 3)
            values[number] += 60
            paint(folder / colour / f"{n:02d}.png", (int(values[0]), int(values[1]), int(values[2])))
    return folder


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, new_library: Path, photos: Path) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "library"
    shutil.copytree(new_library, folder)
    with Library.open(folder, encoder=FakeEncoder(), workers=2) as opened:
        opened.sync(photos)
        opened.labels.save("colours", COLOURS)
    return folder


@pytest.fixture
def library(tmp_path: Path, filled: Path) -> Iterator[Library]:
    shutil.copytree(filled, tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=FakeEncoder(), workers=2) as opened:
        yield opened


def truth_of(photos: Path, numbers: range) -> dict[str, str]:
    return {str(photos / colour / f"{n:02d}.png"): colour for colour in COLOURS for n in numbers}


def correct(library: Library, photos: Path, numbers: range) -> None:
    library.corrections.add_all("colours", [(path, said, False) for path, said in truth_of(photos, numbers).items()])


def test_a_photos_predictions_are_its_set(library: Library, photos: Path) -> None:
    truth = truth_of(photos, range(0, EACH, 2))
    answer = library.classify(COLOURS, coverage=0.9, calibrate=truth)
    assert len(answer) == 3 * EACH
    scores = answer.scores
    # The 28th of 30, from the likeliest truth: ⌈31 · 0.9⌉.
    known = [answer.paths.index(path) for path in truth]
    of_truth = np.sort([scores[n, COLOURS.index(said)] for n, said in zip(known, truth.values(), strict=True)])[::-1]
    for n, result in enumerate(answer):
        fitting = {COLOURS[c] for c in np.flatnonzero(scores[n] >= of_truth[27])} | {COLOURS[scores[n].argmax()]}
        assert set(result.labels) == fitting
        assert [p.score for p in result.predictions] == sorted((p.score for p in result.predictions), reverse=True)
    held = np.mean([said in answer[n].labels for n, said in zip(known, truth.values(), strict=True)])
    assert held >= 0.9
    assert answer.coverage is not None
    assert (answer.coverage.photos, answer.coverage.source) == (30, "a mapping")
    [promise] = answer.coverage.promises
    assert (promise.names, promise.photos) == ((), 30)
    assert promise.low < 0.9 < promise.high


def test_corrections_calibrate_a_saved_set(library: Library, photos: Path) -> None:
    with pytest.raises(BadTruth, match="there are none yet: correct some photos"):
        library.classify(label_set="colours", coverage=0.9)
    with pytest.raises(BadTruth, match="corrections of colours"):
        library.classify(label_set="colours", coverage=0.9)
    correct(library, photos, range(3))
    answer = library.classify(label_set="colours", coverage=0.9)
    assert answer.coverage is not None
    assert (answer.coverage.photos, answer.coverage.source) == (9, "corrections of colours")
    with pytest.raises(BadTruth, match=r"a coverage of 0\.95 takes at least 19 photos .* and it has 9"):
        library.classify(label_set="colours", coverage=0.95)


def test_copies_count_once(library: Library, photos: Path, tmp_path: Path) -> None:
    for n in range(9):
        shutil.copy(photos / "red" / f"{n:02d}.png", tmp_path / f"copy {n}.png")
    library.sync(tmp_path)
    truth = {str(photos / "red" / f"{n:02d}.png"): "red" for n in range(9)}
    twice = truth | {str(tmp_path / f"copy {n}.png"): "red" for n in range(9)}
    answer = library.classify(COLOURS, coverage=0.9, calibrate=twice)
    assert answer.coverage is not None
    assert answer.coverage.photos == 9
    of = {result.path: result.labels for result in answer}
    assert all(of[str(photos / "red" / f"{n:02d}.png")] == of[str(tmp_path / f"copy {n}.png")] for n in range(9))


def test_photos_that_were_learnt_from_do_not_calibrate(library: Library, photos: Path) -> None:
    correct(library, photos, range(5))
    with pytest.raises(BadQuestion, match="with_corrections and calibrate exclude each other"):
        library.classify(label_set="colours", coverage=0.9, with_corrections="gda")
    with pytest.raises(BadTruth, match="it has 0 that the answers did not learn from, of 15"):
        library.classify(label_set="colours", coverage=0.9, with_corrections="gda", calibrate="corrections:colours")
    path = str(photos / "red" / "09.png")
    library.corrections.add("colours", path, "red", not_=True)
    answer = library.classify(label_set="colours", coverage=0.9, with_corrections="gda", calibrate="folders")
    assert answer.coverage is not None
    assert (answer.coverage.photos, answer.coverage.learnt_from) == (3 * EACH - 16, 16)
    assert answer.coverage.doubts == ()
    of = {result.path: result.labels for result in answer}
    # What was said is the set; what was ruled out is in none.
    assert all(of[photo] == (said,) for photo, said in truth_of(photos, range(5)).items())
    assert "red" not in of[path]


def test_a_promise_for_each_label_and_for_each_folder(library: Library, photos: Path) -> None:
    truth = truth_of(photos, range(10))
    truth |= {str(photos / "green" / f"{n:02d}.png"): "green" for n in range(10, 15)}
    answer = library.classify(COLOURS, coverage=0.9, calibrate=truth, coverage_per="label")
    assert answer.coverage is not None
    assert [(p.names, p.photos) for p in answer.coverage.promises] == [
        (("red",), 10),
        (("green",), 15),
        (("blue",), 10),
    ]
    known = {path: answer.paths.index(path) for path in truth}
    scores = answer.scores
    for c, colour in enumerate(COLOURS):
        own = np.sort([scores[known[path], c] for path, said in truth.items() if said == colour])[::-1]
        limit = own[int(np.ceil((len(own) + 1) * 0.9)) - 1]
        best = scores.argmax(axis=1) == c
        assert [colour in result.labels for result in answer] == ((scores[:, c] >= limit) | best).tolist()

    answer = library.classify(COLOURS, coverage=0.9, calibrate=truth, coverage_per="folder")
    assert answer.coverage is not None
    assert [Path(p.names[0]).name for p in answer.coverage.promises] == ["blue", "green", "red"]
    with pytest.raises(BadTruth, match=r"no folder has as many: .*green has 15"):
        library.classify(COLOURS, coverage=0.95, calibrate=truth, coverage_per="folder")
    # Photos of a folder with too few have one promise with the smallest that has enough.
    few = {path: said for path, said in truth.items() if said != "red"}
    answer = library.classify(COLOURS, coverage=0.9, calibrate=few, coverage_per="folder")
    assert answer.coverage is not None
    assert [(tuple(Path(name).name for name in p.names), p.photos) for p in answer.coverage.promises] == [
        (("green",), 15),
        (("blue", "red"), 10),
    ]


def test_sets_from_adapted_scores(library: Library, photos: Path) -> None:
    truth = truth_of(photos, range(10))
    plain = library.classify(COLOURS, coverage=0.9, calibrate=truth)
    answer = library.classify(COLOURS, coverage=0.9, calibrate=truth, coverage_adapt=True)
    assert answer.coverage is not None
    assert answer.coverage.adapted
    assert answer.run.key != plain.run.key
    assert np.mean([said in answer[answer.paths.index(path)].labels for path, said in truth.items()]) >= 0.9
    best = {result.path: result.labels for result in answer}
    part = library.classify(COLOURS, coverage=0.9, calibrate=truth, coverage_adapt=True, paths=photos / "red")
    # Scores are adapted to the photos that are asked about, and other ones were.
    assert not np.allclose(part.scores, answer.scores[[answer.paths.index(path) for path in part.paths]])
    assert all(0 < len(labels) <= 3 for labels in best.values())
    several = {path: ["red", "blue"] for path in truth}
    with pytest.raises(BadTruth, match="several labels"):
        library.classify(COLOURS, coverage=0.9, calibrate=several, coverage_adapt=True)


def test_of_photos_that_show_several_things_all_are_to_be_in_their_sets(library: Library, photos: Path) -> None:
    truth = {path: ["red", "blue"] for path in truth_of(photos, range(10))}
    answer = library.classify(COLOURS, coverage=0.9, calibrate=truth)
    held = [{"red", "blue"} <= set(answer[answer.paths.index(path)].labels) for path in truth]
    assert np.mean(held) >= 0.9


def test_negatives_and_groups_are_answers_like_others(library: Library, photos: Path) -> None:
    asked = label_set(["red", "green", "blue"], groups={"warm": ["red", "green"]}, negatives=["white"])
    truth = {path: "warm" if said != "blue" else said for path, said in truth_of(photos, range(9)).items()}
    truth[str(photos / "blue" / "10.png")] = NONE
    truth[str(photos / "blue" / "11.png")] = "an elephant"
    answer = library.classify(asked, coverage=0.9, calibrate=truth)
    assert answer.labels == ("warm", "blue", NONE)
    assert answer.coverage is not None
    assert (answer.coverage.photos, answer.coverage.left_out) == (28, 1)


def test_scores_of_a_sigmoid_make_sets_by_their_size(library: Library, photos: Path) -> None:
    truth = truth_of(photos, range(10))
    options: dict[str, Any] = {"coverage": 0.9, "calibrate": truth, "activation": "sigmoid"}
    answer = library.classify(COLOURS, **options)
    assert np.mean([said in answer[answer.paths.index(path)].labels for path, said in truth.items()]) >= 0.9
    for more in ({"coverage_score": "aps"}, {"coverage_adapt": True}):
        with pytest.raises(BadQuestion, match="do not add up to 1"):
            library.classify(COLOURS, **options, **more)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"coverage": 0.9}, "calibrated with"),
        ({"coverage": 0.9, "calibrate": "folders", "top": 2}, "coverage and top exclude each other"),
        ({"coverage": 0.9, "calibrate": "folders", "multi_label": True}, "coverage and multi_label exclude"),
        ({"coverage": 0.9, "calibrate": "folders", "smooth": True}, "coverage and smooth exclude"),
        ({"coverage": 0.9, "calibrate": "folders", "thresholds": True}, "coverage and thresholds exclude"),
        ({"coverage": 0.9, "calibrate": "folders", "unknown": "mcm:0.1"}, "give the label set negatives"),
        ({"coverage": 0.9, "calibrate": "folders", "coverage_per": "keyword"}, "several keywords"),
        ({"coverage": 0.9, "calibrate": "folders", "coverage_per": "moon"}, "one of label, year"),
        ({"coverage": 0.9, "calibrate": "folders", "coverage_score": "best"}, "one of lac, aps, raps"),
        (
            {"coverage": 0.9, "calibrate": "folders", "coverage_score": "aps", "coverage_adapt": True},
            "coverage_adapt and coverage_score exclude",
        ),
        ({"calibrate": "folders"}, "say which coverage"),
        ({"coverage_adapt": True}, "say which coverage"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(BadQuestion, match=says):
        Question(COLOURS, **options)


@pytest.mark.parametrize("coverage", [0, 1, -0.1, float("nan"), "much"])
def test_a_coverage_is_a_share(coverage: Any) -> None:
    with pytest.raises(ValueError, match="coverage must be a number above 0"):
        Question(COLOURS, coverage=coverage, calibrate="folders")


def test_doubts_are_named(library: Library, photos: Path) -> None:
    every = library.classify(COLOURS, top=3)
    wrong = {result.path: result.predictions[1].label for result in every[:10]}
    mistakes = library.classify(COLOURS, coverage=0.8, calibrate=wrong)
    assert mistakes.coverage is not None
    [doubt] = mistakes.coverage.doubts
    assert "every calibration photo was answered wrong" in doubt
    # The least sure third: such as people would correct first.
    unsure = sorted(every, key=lambda result: result.score)[: len(every) // 3]
    chosen = library.classify(COLOURS, coverage=0.8, calibrate={r.path: Path(r.path).parent.name for r in unsure})
    assert chosen.coverage is not None
    [doubt] = chosen.coverage.doubts
    assert "unlike those asked about" in doubt
    fine = library.classify(COLOURS, coverage=0.8, calibrate=truth_of(photos, range(0, EACH, 3)))
    assert fine.coverage is not None
    assert fine.coverage.doubts == ()


def test_a_run_is_recorded_and_asked_again(library: Library, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "truth.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *truth_of(photos, range(10)).items()])
    answer = library.classify(COLOURS, coverage=0.9, calibrate=table, coverage_adapt=True, record=True)
    table.unlink()  # what it said is part of what was asked
    again = library.runs.repeat(answer.run.key)
    assert again.same
    assert again.result.to_dicts() == answer.to_dicts()
    assert again.result.run.key == answer.run.key
    fewer = library.classify(COLOURS, coverage=0.9, calibrate=truth_of(photos, range(9)), coverage_adapt=True)
    assert fewer.run.key != answer.run.key
    with pytest.raises(BadQuestion, match="min_score and coverage exclude each other"):
        answer.filtered(min_score=0.5)
    assert len(answer.filtered(only=["red"])) == answer.tally()["red"]


def test_without_coverage_runs_are_what_they_were(library: Library) -> None:
    answer = library.classify(COLOURS)
    assert answer.coverage is None
    assert "coverage" not in dict(answer.run.options)


def test_sets_as_tags_and_tables(library: Library, photos: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    answer = library.classify(COLOURS, coverage=0.9, calibrate=truth_of(photos, range(10)))
    report = library.tags.write(answer)
    assert {c.path.removesuffix(".xmp"): c.added["dc:subject"] for c in report.changes} == {
        result.path: list(result.labels) for result in answer
    }
    answer.to_parquet(tmp_path / "sets.parquet")
    rows = pyarrow.read_table(tmp_path / "sets.parquet").to_pylist()
    assert [(row["path"], row["label"]) for row in rows] == [(r.path, label) for r in answer for label in r.labels]


# --- the command line -------------------------------------------------------------------------------------------------

Run = Callable[..., Result]


@pytest.fixture
def run(library: Library, monkeypatch: pytest.MonkeyPatch) -> Run:
    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        return FakeEncoder(name=spec.name, decode=spec.decode)

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)

    def invoke(*arguments: str | Path, code: int = 0) -> Result:
        environment = {"ZSINDEX_LIBRARY": str(library.path), "COLUMNS": "200"}
        result = CliRunner().invoke(cli, [str(a) for a in arguments], env=environment)
        assert result.exit_code == code, result.output
        return result

    return invoke


LABELS = [argument for colour in COLOURS for argument in ("-l", colour)]


def test_classify_coverage(run: Run, library: Library, photos: Path) -> None:
    expected = library.classify(COLOURS, coverage=0.9, calibrate="folders")
    asked = ["classify", *LABELS, "--coverage", "0.9", "--calibrate", "folders"]
    shown = run(*asked)
    first, line = expected[0], shown.stdout.splitlines()[0]
    assert line.startswith(f"{len(first.labels)}  {first.label} {first.score:.3f}")
    assert line.endswith(f"  {first.path}")
    assert "coverage 90 %: calibrated with 60 photos from folders" in shown.stderr
    assert "of photos to come hold what they show, with 95 % probability" in shown.stderr
    assert f"sets of {expected.counts.mean():.2f} labels on average" in shown.stderr
    document = json.loads(run(*asked, "--format", "json").stdout)
    assert expected.coverage is not None
    assert document["coverage"] == expected.coverage.to_dict()
    assert [[p["label"] for p in one["predictions"]] for one in document["results"]] == [
        list(result.labels) for result in expected
    ]
    with_facts = json.loads(run(*asked, "--format", "json", "--with-facts").stdout)
    assert with_facts["coverage"] == document["coverage"]
    lines = [json.loads(line) for line in run(*asked, "--format", "ndjson").stdout.splitlines()]
    assert [len(one["predictions"]) for one in lines] == expected.counts.tolist()
    rows = list(csv.DictReader(io.StringIO(run(*asked, "--format", "csv").stdout)))
    assert [(row["path"], row["label"]) for row in rows] == [(r.path, label) for r in expected for label in r.labels]
    per = run(*asked, "--coverage-per", "label", "--coverage-adapt")
    assert "coverage 90 %, each label for itself" in per.stderr
    assert "  red, 20 photos: the sets of" in per.stderr


def test_a_set_as_tags_by_its_run(run: Run, library: Library) -> None:
    answer = library.classify(COLOURS, coverage=0.9, calibrate="folders", record=True)
    report = json.loads(run("tags", "write", "--run", answer.run.key, "--json").stdout)
    assert [change["added"]["dc:subject"] for change in report["changes"]] == [list(r.labels) for r in answer]


def test_what_the_command_line_refuses(run: Run) -> None:
    asked = ["classify", *LABELS, "--coverage", "0.9", "--calibrate", "folders"]
    assert "--wide and --coverage exclude" in run(*asked, "--wide", "--format", "csv", code=2).output
    assert "--coverage and --top exclude" in run(*asked, "--top", "2", code=2).output
    assert "--min-score and --coverage exclude" in run(*asked, "--min-score", "0.5", code=2).output
    assert "--coverage: say which photos" in run("classify", *LABELS, "--coverage", "0.9", code=2).output
    few = run("classify", *LABELS, "--coverage", "0.999", "--calibrate", "folders", code=1).output
    assert "a coverage of 0.999 takes at least 999 photos" in few

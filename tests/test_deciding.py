"""`Library` and the command line: which photos are none of these, which answers pass a threshold, all that fit."""

from __future__ import annotations

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
from tests.scenes import photo
from zsindex.classification import scores as classify_module
from zsindex.classification.prompts import label_set
from zsindex.errors import BadUnknown, NoThreshold, UnknownLabelSet
from zsindex.lab import vocabulary
from zsindex.library import Library
from zsindex.records import NONE, ModelInfo

# (red, green, blue) of the photos, in the order of their paths; none of them are equally far from two labels.
PHOTOS = {
    "a red.png": (240, 30, 10),
    "b dark red.png": (190, 25, 40),
    "c green.png": (15, 230, 40),
    "d blue.png": (30, 10, 235),
    "e dark blue.png": (25, 40, 180),
    "f white.png": (250, 240, 225),
    "g yellow.png": (235, 215, 20),
}
KNOWN = ["red", "green"]


@pytest.fixture
def library(tmp_path: Path, new_library: Path) -> Iterator[Library]:
    for name, colour in PHOTOS.items():
        photo(tmp_path / "album" / name, colour)
    shutil.copy(tmp_path / "album" / "d blue.png", tmp_path / "album" / "d blue too.png")
    shutil.copytree(new_library, tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=FakeEncoder(), workers=2) as opened:
        opened.sync(tmp_path / "album")
        yield opened


@pytest.fixture
def words(tmp_path: Path) -> str:
    file = tmp_path / "words.txt"
    file.write_text("blue\nwhite\nblack\nRed\n", encoding="utf-8")
    return str(file)


def named(paths: list[str] | tuple[str, ...]) -> list[str]:
    return [Path(path).stem[2:] for path in paths]


def nones(result: Any) -> list[str]:
    return named([r.path for r in result if r.label == NONE])


# --- none of these ----------------------------------------------------------------------------------------------------


def test_photos_of_none_of_the_labels_are_answered_so(library: Library, words: str) -> None:
    plain = library.classify(KNOWN, top=2)
    answer = library.classify(KNOWN, unknown=f"neglabel@{words}", top=5)
    assert answer.labels == (*KNOWN, NONE)
    assert nones(answer) == ["blue too", "blue", "dark blue", "white"]
    np.testing.assert_allclose(answer.scores.sum(axis=1), 1, atol=1e-6)
    for before, after in zip(plain, answer, strict=True):
        if after.label == NONE:
            assert 0.5 < after.score <= 1
            order = [p.label for p in after.predictions[1:]]
        else:
            np.testing.assert_allclose(
                [p.score for p in after.predictions[:2]], [p.score for p in before.predictions], rtol=1e-5
            )
            assert after.predictions[2].score == 0
            order = [p.label for p in after.predictions[:2]]
        assert order == [p.label for p in before.predictions]


@pytest.mark.parametrize("method", ["softmax", "mcm", "zscore", "margin", "neglabel", "negrefine"])
def test_a_rate_calls_that_share_of_the_library_unknown(library: Library, method: str) -> None:
    found = library.unknown.knownness(KNOWN, f"{method}:0.25")
    answer = library.classify(KNOWN, unknown=f"{method}:0.25")
    assert found.paths == answer.paths
    assert found.cut is not None
    assert nones(answer) == named([p for p, v in zip(found.paths, found.values, strict=True) if v < found.cut])
    assert len(nones(answer)) == 2
    by_score = library.classify(KNOWN, unknown=f"{method}:score={found.cut!r}")
    assert nones(by_score) == nones(answer)
    assert len(nones(library.classify(KNOWN, unknown=f"{method}:0"))) == 0
    assert len(nones(library.classify(KNOWN, unknown=f"{method}:1"))) == 8


@pytest.mark.parametrize("method", ["mcm:0.4", "zscore:0.4", "margin:0.4", "neglabel:0.4", "negrefine:0.4"])
def test_an_answer_does_not_depend_on_which_photos_were_asked_for(library: Library, method: str) -> None:
    everything = {r.path: r for r in library.classify(KNOWN, unknown=method)}
    for path, expected in everything.items():
        [alone] = library.classify(KNOWN, unknown=method, paths=[path])
        assert [p.label for p in alone.predictions] == [p.label for p in expected.predictions]
        np.testing.assert_allclose(
            [p.score for p in alone.predictions], [p.score for p in expected.predictions], atol=1e-5
        )
    some = list(everything)[2:5]
    found = library.unknown.knownness(KNOWN, method, paths=some)
    whole = library.unknown.knownness(KNOWN, method)
    assert (found.paths, found.cut) == (some, whole.cut)
    np.testing.assert_allclose(found.values, whole.values[2:5], atol=1e-6)


def test_knownness_is_the_formula(library: Library) -> None:
    images = library.embed_images(library.photos.paths())
    texts = library.embed_texts([f"This is a photo of {label}." for label in KNOWN])
    expected = classify_module.softmax(classify_module.logits(images, texts, logit_scale=1.0)).max(axis=1)
    found = library.unknown.knownness(KNOWN, "mcm")
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert found.cut is None
    unasked = library.unknown.knownness(KNOWN)
    assert unasked.values.tolist() == library.unknown.knownness(KNOWN, "zscore").values.tolist()
    assert unasked.cut is None


def test_groups_and_negatives_and_none_of_these_go_together(library: Library, words: str) -> None:
    labels = label_set(["red", "yellow", "green"], groups={"warm": ["red", "yellow"]}, negatives=["white"])
    answer = library.classify(labels, unknown=f"neglabel@{words}", top=3)
    assert answer.labels == ("warm", "green", NONE)
    assert [r.label for r in answer] == ["warm", "warm", "green", NONE, NONE, NONE, NONE, "warm"]
    np.testing.assert_allclose(answer.scores.sum(axis=1), 1, atol=1e-6)
    [white] = [r for r in library.classify(labels, top=3) if "white" in r.path]
    assert white.label == NONE  # by the negatives alone; both together say it more clearly
    assert next(r for r in answer if "white" in r.path).score > white.score


def test_far_words_are_chosen_once(library: Library, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = library.classify(KNOWN, unknown=f"neglabel@{words}")
    with monkeypatch.context() as patch:
        patch.setattr("zsindex.lab.unknown.far_words", lambda *arguments, **options: pytest.fail("chosen again"))
        again = library.classify(KNOWN, unknown=f"neglabel@{words}")
    assert again.to_dicts() == first.to_dicts()
    assert again.run.key == first.run.key
    other = library.classify(["red", "blue"], unknown=f"neglabel@{words}")
    assert "blue" not in nones(other)  # a label is no word against itself


def test_words_for_kinds_of_a_label_are_left_out(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "WORDNET_FOLDERS", ())
    file = tmp_path / "kinds.txt"
    file.write_text("dark red\nwhite\nblue\n", encoding="utf-8")
    refined = library.classify(KNOWN, unknown=f"negrefine@{file}")
    assert dict(refined.run.options)["unknown"]["refined_by"] == "cosine"
    # The text "dark red" has the vector of "red": with it, red photos would be half of a far word.
    assert set(nones(refined)) <= {"blue too", "blue", "dark blue", "white"}
    assert {"blue", "blue too"} <= set(nones(refined))
    by_hand = tmp_path / "words left.txt"
    by_hand.write_text("white\nblue\n", encoding="utf-8")
    left = library.unknown.knownness(KNOWN, f"negrefine@{by_hand}")
    np.testing.assert_allclose(library.unknown.knownness(KNOWN, f"negrefine@{file}").values, left.values, atol=1e-6)
    unrefined = library.unknown.knownness(KNOWN, f"neglabel@{file}")
    assert unrefined.values.tolist() != library.unknown.knownness(KNOWN, f"neglabel@{by_hand}").values.tolist()
    file.write_text("dark red\nlight green\n", encoding="utf-8")
    with pytest.raises(BadUnknown, match="each of its words names one of the labels"):
        library.classify(KNOWN, unknown=f"negrefine@{file}")


def test_a_read_only_library_answers_the_same(library: Library, words: str, tmp_path: Path) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder(), read_only=True) as read_only:
        answer = read_only.classify(KNOWN, unknown=f"neglabel@{words}")
    assert answer.to_dicts() == library.classify(KNOWN, unknown=f"neglabel@{words}").to_dicts()


def test_runs_differ_by_what_decides(library: Library, words: str) -> None:
    library.labels.save("colours", KNOWN)
    plain = library.classify(label_set="colours").run
    assert set(dict(plain.options)) == {"paths", "top", "truncate"}
    library.thresholds.choose("colours", "red", rate=0.5)
    keys = [plain.key, library.classify(label_set="colours").run.key]
    assert keys[0] == keys[1]
    keys.append(library.classify(label_set="colours", thresholds=True).run.key)
    library.thresholds.choose("colours", "red", rate=0.25)
    keys.append(library.classify(label_set="colours", thresholds=True).run.key)
    keys.append(library.classify(label_set="colours", multi_label=True).run.key)
    keys.extend(library.classify(KNOWN, unknown=rule).run.key for rule in ("mcm:0.1", "mcm:0.2", f"neglabel@{words}"))
    Path(words).write_text("blue\n", encoding="utf-8")
    keys.append(library.classify(KNOWN, unknown=f"neglabel@{words}").run.key)
    assert len(set(keys[1:])) == len(keys) - 1
    json.dumps(library.classify(label_set="colours", thresholds=True, unknown="mcm:0.1").run.to_dict())


@pytest.mark.parametrize("method", ["softmax:0.1", "mcm:0.1", "margin:0.1"])
def test_methods_that_compare_answers_need_two(library: Library, method: str) -> None:
    with pytest.raises(BadUnknown, match="only one"):
        library.classify(["red"], unknown=method)
    assert nones(library.classify(["red"], unknown="zscore:0.2")) != []


def test_thresholds_of_an_empty_library(tmp_path: Path) -> None:
    with Library.open(tmp_path / "empty", encoder=FakeEncoder()) as library:
        library.labels.save("colours", KNOWN)
        assert library.thresholds.choose("colours", "red", count=1).photos == 0
        assert library.thresholds.curves("colours").photos == 0


def test_how_well_the_unknown_are_found(library: Library, words: str, tmp_path: Path) -> None:
    truth = {
        path: name.removeprefix("dark ").removesuffix(" too")
        for path, name in zip(library.photos.paths(), named(library.photos.paths()), strict=True)
    }
    truth[str(tmp_path / "elsewhere.png")] = "red"
    yellow = next(path for path in truth if "yellow" in path)
    truth[yellow] = ["yellow", "green"]  # type: ignore[assignment]
    report = library.unknown.evaluate(KNOWN, truth, methods=["mcm", f"neglabel@{words}"])
    assert (report.known, report.unknown) == (4, 4)
    assert report.not_held == (str(tmp_path / "elsewhere.png"),)
    mcm, neglabel = report.methods
    found = library.unknown.knownness(KNOWN, "mcm")
    is_known = [not any(word in path for word in ("blue", "white")) for path in found.paths]
    pairs = [
        (a > b) + (a == b) / 2
        for a, known in zip(found.values, is_known, strict=True)
        for b, other in zip(found.values, is_known, strict=True)
        if known and not other
    ]
    assert mcm.auroc == pytest.approx(np.mean(pairs))
    assert (mcm.cut, mcm.found, mcm.lost) == (None, None, None)
    assert (neglabel.auroc, neglabel.fpr_at_95) == (1, 0)
    assert (neglabel.cut, neglabel.found, neglabel.lost) == (0.5, 1, 0)
    assert report.to_dict()["methods"][1]["method"] == f"neglabel@{words}"
    with pytest.raises(BadUnknown, match="every photo shows"):
        library.unknown.evaluate(["red", "green", "blue", "white"], truth)
    with pytest.raises(BadUnknown, match="none of the photos"):
        library.unknown.evaluate(["owl", "fox"], truth)


# --- thresholds -------------------------------------------------------------------------------------------------------


def test_a_threshold_is_chosen_previewed_and_applied(library: Library) -> None:
    library.labels.save("colours", ["red", "green", "blue"])
    plain = library.classify(label_set="colours", top=3)
    preview = library.thresholds.choose("colours", "blue", count=1, dry_run=True)
    assert library.thresholds.curves("colours").curves[2].rate is None
    assert (preview.photos, preview.kept) == (2, False)  # the copies tie
    assert (preview.before, preview.after) == (sum(r.label == "blue" for r in plain), 2)
    change = library.thresholds.choose("colours", "blue", count=3)
    assert (change.arrive, change.leave, change.rate) == ((), (), 3 / 8)
    answer = library.classify(label_set="colours", thresholds=True)
    assert answer.labels == ("red", "green", "blue", NONE)
    assert sorted(named([r.path for r in answer if r.label == "blue"])) == ["blue", "blue too", "dark blue"]
    for before, after in zip(plain, answer, strict=True):
        kept = [p for p in before.predictions if p.label != "blue" or "blue" in after.path]
        assert [p.label for p in after.predictions] == [p.label for p in kept]
        np.testing.assert_allclose([p.score for p in after.predictions], [p.score for p in kept], rtol=1e-4)
    assert change.to_dict()["leave"] == list(change.leave)


def test_who_comes_and_goes_is_what_classification_says(library: Library) -> None:
    library.labels.save("colours", ["red", "green", "blue"])
    library.thresholds.choose("colours", "green", rate=0.2)
    before = {r.path for r in library.classify(label_set="colours", thresholds=True) if r.label == "red"}
    change = library.thresholds.choose("colours", "red", score=0.9)
    after = {r.path for r in library.classify(label_set="colours", thresholds=True) if r.label == "red"}
    assert (change.before, change.after) == (len(before), len(after))
    assert (set(change.arrive), set(change.leave)) == (after - before, before - after)
    back = library.thresholds.choose("colours", "red", rate=1.0)
    assert set(back.arrive) == before - after
    assert change.leave


def test_a_photo_without_an_answer_says_so(library: Library) -> None:
    library.labels.save("colours", ["red", "green", "blue"])
    for label in ("red", "green", "blue"):
        library.thresholds.choose("colours", label, rate=0.0)
    answer = library.classify(label_set="colours", thresholds=True)
    best = library.classify(label_set="colours", top=1)
    assert [[p.label for p in r.predictions] for r in answer] == [[NONE]] * 8
    np.testing.assert_allclose([r.score for r in answer], [1 - r.score for r in best], atol=1e-6)
    with_unknown = library.classify(label_set="colours", thresholds=True, unknown="mcm:0.5")
    assert nones(with_unknown) == named(answer.paths)


def test_thresholds_keep_their_rate_under_another_model_and_another_version(library: Library, tmp_path: Path) -> None:
    library.labels.save("colours", ["red", "green", "blue"])
    library.thresholds.choose("colours", "blue", count=3)
    library.labels.save("colours", ["red", "blue"])
    [red, blue] = library.thresholds.curves("colours").curves
    assert (red.rate, blue.rate, blue.photos) == (None, 3 / 8, 3)
    assert [c.rate for c in library.thresholds.curves("colours@1").curves] == [None, None, 3 / 8]
    with Library.open(tmp_path / "library", encoder=FakeEncoder(name="sharper", logit_scale=40.0)) as other:
        other.sync()
        [_, sharper] = other.thresholds.curves("colours").curves
        assert (sharper.rate, sharper.photos) == (3 / 8, 3)
        assert sharper.score != blue.score
    library.labels.save("colours", ["red", "green"])
    assert library.thresholds.curves("colours").unused == ("blue",)
    with pytest.raises(NoThreshold, match="zsindex thresholds set colours LABEL"):
        library.classify(label_set="colours", thresholds=True)


def test_thresholds_do_not_depend_on_which_photos_were_asked_for(library: Library) -> None:
    library.labels.save("colours", ["red", "green", "blue"])
    library.thresholds.choose("colours", "blue", count=3)
    for result in library.classify(label_set="colours", thresholds=True):
        [alone] = library.classify(label_set="colours", thresholds=True, paths=[result.path])
        assert [p.label for p in alone.predictions] == [p.label for p in result.predictions]


def test_thresholds_are_forgotten(library: Library) -> None:
    library.labels.save("colours", ["red", "green"])
    library.thresholds.choose("colours", "red", rate=0.1)
    library.thresholds.choose("colours", "green", rate=0.1)
    with pytest.raises(NoThreshold, match="no threshold for blue"):
        library.thresholds.remove("colours", ["red", "blue"])
    assert library.thresholds.remove("colours", ["red"]) == 1
    assert library.thresholds.remove("colours") == 1
    assert library.thresholds.remove("colours") == 0


def test_what_cannot_have_a_threshold(library: Library) -> None:
    library.labels.save("colours", label_set(["red", "green"], groups={"some": ["red"]}, negatives=["blue"]))
    for label in ("red", NONE, "blue"):
        with pytest.raises(NoThreshold, match="which are some, green"):
            library.thresholds.choose("colours", label, rate=0.1)
    assert library.thresholds.choose("colours", "some", rate=0.5).photos == 4
    assert library.thresholds.choose("colours", "red", rate=0.5, multi_label=True).photos == 4
    with pytest.raises(UnknownLabelSet):
        library.thresholds.choose("none", "red", rate=0.1)
    with pytest.raises(NoThreshold, match="only a saved label set"):
        library.classify(KNOWN, thresholds=True)
    options: list[dict[str, Any]] = [{}, {"rate": 0.1, "count": 1}, {"rate": 1.5}, {"score": -1.0}, {"count": -1}]
    for choice in options:
        with pytest.raises(
            ValueError, match=r"exactly one|between|cannot be|must be a (whole )?number (from|of at least) 0"
        ):
            library.thresholds.choose("colours", "some", **choice)


# --- several labels ---------------------------------------------------------------------------------------------------


class Sigmoid(FakeEncoder):
    """As trained with a sigmoid: it has a bias."""

    @property
    def info(self) -> ModelInfo:
        return FakeEncoder(name="sigmoid", logit_scale=10.0, logit_bias=-4.0).info


@pytest.fixture
def sigmoid(library: Library, tmp_path: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library", encoder=Sigmoid(), workers=2) as opened:
        opened.sync()
        yield opened


def test_every_label_that_fits_is_given(sigmoid: Library) -> None:
    labels = ["red", "yellow", "white", "blue"]
    scores = sigmoid.classify(labels, top=4).scores
    assert sigmoid.classify(labels).run.activation == "sigmoid"
    answer = sigmoid.classify(labels, multi_label=True)
    several = False
    for row, result in zip(scores, answer, strict=True):
        fitting = sorted((i for i in range(4) if row[i] >= 0.5), key=lambda i: -row[i])
        assert [p.label for p in result.predictions] == ([labels[i] for i in fitting] or [NONE])
        several |= len(fitting) > 1
    assert several
    assert max(len(r.predictions) for r in sigmoid.classify(labels, multi_label=True, top=1)) == 1
    [green] = [r for r in answer if "green" in r.path]
    assert green.label == NONE
    assert green.score == pytest.approx(1 - scores[answer.paths.index(green.path)].max(), abs=1e-6)


def test_labels_may_have_thresholds_of_their_own(sigmoid: Library) -> None:
    sigmoid.labels.save("colours", ["red", "blue"])
    change = sigmoid.thresholds.choose("colours", "blue", count=4, multi_label=True)
    answer = sigmoid.classify(label_set="colours", multi_label=True, thresholds=True)
    blue = [r.path for r in answer if "blue" in [p.label for p in r.predictions]]
    assert len(blue) == change.after == 4
    red = [r.path for r in answer if "red" in [p.label for p in r.predictions]]
    assert red == [r.path for r in sigmoid.classify(["red"]) if r.score >= 0.5]


def test_groups_are_asked_one_by_one(library: Library) -> None:
    labels = label_set(["red", "blue", "white", "black"], groups={"hue": ["red", "blue"], "light": ["white", "black"]})
    answer = library.classify(labels, multi_label=True)
    assert answer.labels == ("red", "blue", "white", "black", NONE)
    given = {name: {p.label for p in r.predictions} for name, r in zip(named(answer.paths), answer, strict=True)}
    assert given["red"] == {"red", "black"}
    assert given["dark blue"] == {"blue", "black"}
    assert given["yellow"] == {"red", "white"}


def test_several_labels_and_none_of_these(library: Library) -> None:
    words_ = "mcm:0.25"
    plain, answer = (library.classify(KNOWN, multi_label=True, unknown=rule) for rule in (None, words_))
    assert nones(plain) == []
    assert len(nones(answer)) == 2
    for result in answer:
        if result.label == NONE:
            assert [p.label for p in result.predictions] == [NONE]


# --- the command line -------------------------------------------------------------------------------------------------

Run = Callable[..., Result]


@pytest.fixture
def run(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    library.labels.save("colours", ["red", "green", "blue"])
    monkeypatch.setattr("zsindex.session.model.load_encoder", lambda spec, **options: FakeEncoder())

    def invoke(*arguments: str, code: int = 0) -> Result:
        environment = {"ZSINDEX_LIBRARY": str(tmp_path / "library"), "COLUMNS": "200"}
        result = CliRunner().invoke(cli, list(arguments), env=environment)
        assert result.exit_code == code, result.output
        return result

    return invoke


def test_classify_takes_the_options(run: Run, library: Library, words: str) -> None:
    shown = json.loads(
        run("classify", "-l", "red", "-l", "green", "--unknown", f"neglabel@{words}", "--format", "json").stdout
    )
    expected = library.classify(KNOWN, unknown=f"neglabel@{words}")
    assert shown["results"] == expected.to_dicts()
    assert shown["run"]["key"] == expected.run.key
    assert shown["run"]["options"]["unknown"]["vocabulary"] == "words.txt"
    only = run("classify", "-l", "red", "-l", "green", "--unknown", "mcm:0.25", "--only", NONE, "--format", "paths")
    assert len(only.stdout.splitlines()) == 2
    several = run("classify", "-l", "red", "-l", "green", "--multi-label", "--format", "csv").stdout.splitlines()
    assert len(several) == 1 + len(PHOTOS) + 1
    assert "such as a tenth" in run("classify", "-l", "red", "-l", "blue", "--unknown", "mcm", code=1).stderr
    assert "zsindex thresholds set" in run("classify", "--label-set", "colours", "--thresholds", code=1).stderr


def test_thresholds_from_the_command_line(run: Run) -> None:
    preview = run("thresholds", "preview", "colours", "blue", "--count", "3")
    assert "blue: from 0." in preview.stdout
    assert "3 photos (37.50% of the library)" in preview.stdout
    assert "kept" not in preview.stderr
    assert json.loads(run("thresholds", "show", "colours", "--json").stdout)["labels"][2]["threshold"] is None
    kept = run("thresholds", "set", "colours", "blue", "--count", "3", "--list")
    assert "kept. Apply it: zsindex classify --label-set colours --thresholds\n" in kept.stderr
    gone = [line for line in kept.stdout.splitlines() if line.startswith("- ")]
    assert f"0 added, {len(gone)} removed." in kept.stdout
    shown = run("thresholds", "show", "colours").stdout.splitlines()
    assert shown[0].split()[:5] == ["label", "threshold", "photos", "best", "0.1%"]
    assert shown[4].split()[:1] + shown[4].split()[2:3] == ["blue", "3"]
    assert shown[2].split()[-1][0] == "█"
    applied = run("classify", "--label-set", "colours", "--thresholds", "--format", "json").stdout
    assert sum(r["predictions"][0]["label"] == "blue" for r in json.loads(applied)["results"]) == 3
    assert "above every score" in run("thresholds", "set", "colours", "red", "--rate", "0", "--quiet").stdout
    assert "none reaches it" in run("thresholds", "show", "colours").stdout
    assert (
        json.loads(run("thresholds", "preview", "colours", "red", "--score", "0.5", "--json").stdout)["kept"] is False
    )
    assert "removed 2 thresholds" in run("thresholds", "remove", "colours").stderr


def test_thresholds_are_chosen_in_one_way(run: Run) -> None:
    for options in ([], ["--rate", "0.1", "--count", "3"]):
        assert "use one of" in run("thresholds", "set", "colours", "blue", *options, code=2).stderr
    assert "is not one of its answers" in run("thresholds", "set", "colours", "owl", "--rate", "1", code=1).stderr

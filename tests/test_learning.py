"""Corrections in a library, from Python and from the command line: what they outlive, and what becomes of answers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from zsindex.cli import cli

from tests.fakes import FakeEncoder
from tests.libraries import paint
from zsindex.classification.learned import METHODS
from zsindex.classification.prompts import label_set
from zsindex.errors import BadQuery, BadQuestion, LibraryReadOnly, NotInLibrary, UnknownLabel, UnknownLabelSet
from zsindex.lab import metrics
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.records import NONE, ModelSpec

# Wrong words, which corrections put right.
LABELS = {"warm": ["blue"], "cold": ["red"]}


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Twelve warm and twelve cold colours, each a photo of its own."""
    folder = tmp_path / "album"
    random = np.random.default_rng(0)
    for n in range(12):
        low, high = random.integers(0, 90, 12), random.integers(160, 255, 12)
        paint(folder / f"cold {n:02d}.png", (int(low[n]), int(low[n - 1]), int(high[n])))
        paint(folder / f"warm {n:02d}.png", (int(high[n]), int(low[n]), int(low[n - 1])))
    return folder


def names(album: Path, kind: str, numbers: range) -> list[Path]:
    return [album / f"{kind} {n:02d}.png" for n in numbers]


@pytest.fixture
def library(tmp_path: Path, new_library: Path, album: Path) -> Iterator[Library]:
    shutil.copytree(new_library, tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=FakeEncoder(), workers=2) as opened:
        opened.sync(album)
        opened.labels.save("heat", LABELS)
        yield opened


def teach(library: Library, album: Path, numbers: range) -> None:
    said = [(path, kind, False) for kind in LABELS for path in names(album, kind, numbers)]
    assert library.corrections.add_all("heat", said) == 2 * len(numbers)


# --- the log ----------------------------------------------------------------------------------------------------------


def test_a_correction_belongs_to_the_content(library: Library, album: Path, tmp_path: Path) -> None:
    photo, moved = album / "warm 00.png", album / "elsewhere" / "moved.png"
    library.corrections.add("heat", photo, "warm")
    moved.parent.mkdir()
    photo.rename(moved)
    library.sync(album)
    [found] = library.corrections.list("heat")
    assert (found.paths, found.label, found.not_labels) == ((str(moved),), "warm", ())

    moved.rename(tmp_path / "kept.png")
    library.sync(album)
    library.prune()
    [found] = library.corrections.list("heat")
    assert (found.paths, found.label) == ((), "warm")
    shutil.copy(tmp_path / "kept.png", album / "back.png")
    library.sync(album)
    [found] = library.corrections.list("heat")
    assert found.paths == (str(album / "back.png"),)


def test_a_correction_holds_under_another_model(library: Library, album: Path) -> None:
    teach(library, album, range(6))
    with Library.open(library.path, encoder=FakeEncoder("other")) as other:
        other.sync(max(album.iterdir()))  # none that was corrected
        before = other.classify(label_set="heat", with_corrections="gda", sync=False)
        assert before.learned is not None
        assert (before.learned.used, before.learned.without_vector) == (0, 12)
        other.sync(album)
        after = other.classify(label_set="heat", with_corrections="gda")
        assert after.learned is not None
        assert (after.learned.used, after.learned.without_vector) == (12, 0)


def test_what_is_refused_leaves_nothing_behind(library: Library, album: Path, tmp_path: Path) -> None:
    photo = album / "warm 00.png"
    with pytest.raises(NotInLibrary, match=r"stranger\.png.*zsindex sync") as refused:
        library.corrections.add_all("heat", [(photo, "warm", False), (tmp_path / "stranger.png", "warm", False)])
    assert refused.value.paths == (str(tmp_path / "stranger.png"),)
    with pytest.raises(UnknownLabel, match="'hot'; it has warm, cold") as unknown:
        library.corrections.add_all("heat", [(photo, "warm", False), (photo, "hot", False)])
    assert unknown.value.known == ("warm", "cold", NONE)
    with pytest.raises(UnknownLabelSet):
        library.corrections.add("cold", photo, "warm")
    assert library.corrections.list("heat") == []


def test_undoing_takes_the_last_step_as_a_whole(library: Library, album: Path) -> None:
    teach(library, album, range(2))
    library.corrections.add("heat", album / "warm 05.png", "cold", not_=True)
    assert library.corrections.forget("heat", [album / "warm 00.png", album / "warm 11.png"]) == 1
    held = {Path(photo.paths[0]).name for photo in library.corrections.list("heat")}
    assert held == {"cold 00.png", "cold 01.png", "warm 01.png", "warm 05.png"}
    assert library.corrections.undo("heat") == 1
    assert len(library.corrections.list("heat")) == 5
    assert library.corrections.undo("heat") == 1
    assert library.corrections.undo("heat") == 4
    assert library.corrections.undo("heat") == 0
    assert library.corrections.forget("heat", album / "warm 00.png") == 0


def test_labels_that_a_later_version_lacks_are_kept_and_not_used(library: Library, album: Path) -> None:
    teach(library, album, range(3))
    library.labels.save("heat", {"warm": ["blue"], "mild": ["green"]})
    found = [photo for photo in library.corrections.list("heat") if photo.unknown]
    assert len(found) == 3
    assert {photo.unknown for photo in found} == {("cold",)}
    learned = library.classify(label_set="heat", with_corrections="gda").learned
    assert learned is not None
    assert (learned.used, learned.unknown_labels) == (3, {"cold": 3})
    assert library.corrections.add_all("heat@1", [(album / "cold 09.png", "cold", False)]) == 1
    first = library.classify(label_set="heat@1", with_corrections="gda").learned
    assert first is not None
    assert (first.used, first.unknown_labels) == (7, {})


def test_a_library_that_cannot_be_written_keeps_no_corrections(library: Library, album: Path) -> None:
    teach(library, album, range(3))
    with Library.open(library.path, encoder=FakeEncoder(), read_only=True) as closed:
        with pytest.raises(LibraryReadOnly):
            closed.corrections.add("heat", album / "warm 00.png", "warm")
        with pytest.raises(LibraryReadOnly):
            closed.corrections.forget("heat", album / "warm 00.png")
        with pytest.raises(LibraryReadOnly):
            closed.corrections.undo("heat")
        assert len(closed.corrections.list("heat")) == 6
        learned = closed.classify(label_set="heat", with_corrections="gda").learned
        assert learned is not None
        assert learned.used == 6


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_corrections_put_the_answers_of_other_photos_right(library: Library, album: Path, method: str) -> None:
    plain = library.classify(label_set="heat")
    assert all(result.label not in result.path.rpartition("/")[2] for result in plain)
    teach(library, album, range(6))
    taught = library.classify(label_set="heat", with_corrections=method)
    assert all(result.label in result.path.rpartition("/")[2] for result in taught)
    assert taught.learned is not None
    assert (taught.learned.without, taught.learned.accuracy, taught.learned.gain) == (0.0, 1.0, 1.0)
    # Of this library the words say the opposite throughout, which corrections of mistakes alone cannot tell.
    assert taught.learned.doubts == ("every corrected photo was a mistake: confirm some right answers as well",)
    assert plain.learned is None


def test_corrected_photos_answer_what_was_said(library: Library, album: Path) -> None:
    copy = album / "z copy.png"
    shutil.copy(album / "warm 00.png", copy)
    library.sync(album)
    library.corrections.add("heat", album / "warm 00.png", "cold")  # whatever it looks like
    library.corrections.add("heat", album / "warm 01.png", "cold", not_=True)
    for paths in (None, [copy, album / "warm 01.png", album / "warm 02.png"]):
        found = library.classify(label_set="heat", with_corrections="gda", paths=paths)
        by_path = {result.path: result for result in found}
        assert (by_path[str(copy)].label, by_path[str(copy)].score) == ("cold", 1.0)
        assert by_path[str(album / "warm 01.png")].label == "warm"
        for i, result in enumerate(found):
            assert [p.score for p in result.predictions] == pytest.approx(sorted(found.scores[i])[::-1], abs=1e-6)
            assert result.label == found.labels[int(found.scores[i].argmax())]
    only = found.filtered(min_score=0.99, only=["cold"])
    assert str(copy) in only.paths
    assert only.learned is found.learned


def test_where_one_looks_does_not_change_what_was_learnt(library: Library, album: Path) -> None:
    teach(library, album, range(4))
    everywhere = {r.path: r for r in library.classify(label_set="heat", with_corrections="gda")}
    photo = album / "warm 10.png"
    [here] = library.classify(label_set="heat", with_corrections="gda", paths=[photo])
    assert here.score == pytest.approx(everywhere[str(photo)].score, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_corrections_does_not_matter(library: Library, album: Path, method: str) -> None:
    said = [(path, kind, False) for kind in LABELS for path in names(album, kind, range(5))]
    said.append((album / "warm 07.png", "cold", True))
    scores = []
    for order in (1, -1):
        library.corrections.add_all("heat", said[::order])
        scores.append(library.classify(label_set="heat", with_corrections=method).scores[:])
        library.corrections.undo("heat")
    assert (scores[0] == scores[1]).all()


def test_the_key_of_a_run_names_the_corrections(library: Library, album: Path) -> None:
    plain = library.classify(label_set="heat").run.key
    keys = [library.classify(label_set="heat", with_corrections=method).run.key for method in ("gda", "tip-adapter")]
    teach(library, album, range(1))
    keys.append(library.classify(label_set="heat", with_corrections="gda").run.key)
    assert len({plain, *keys}) == 4
    assert library.classify(label_set="heat").run.key == plain
    assert library.classify(label_set="heat", with_corrections="gda").run.key == keys[-1]
    library.corrections.undo("heat")
    assert library.classify(label_set="heat", with_corrections="gda").run.key == keys[0]


def test_groups_and_negatives_may_be_named(library: Library, album: Path) -> None:
    grouped = label_set(["red", "yellow", "blue"], groups={"warm": ["red", "yellow"]}, negatives=["white"])
    library.labels.save("shades", grouped)
    library.corrections.add("shades", album / "cold 00.png", "warm")
    library.corrections.add("shades", album / "cold 01.png", NONE)
    library.corrections.add("shades", album / "cold 02.png", "white")
    library.corrections.add("shades", album / "cold 03.png", "red")
    library.corrections.add("shades", album / "cold 04.png", "blue", not_=True)
    found = {Path(r.path).name: r.label for r in library.classify(label_set="shades", with_corrections="gda")}
    assert [found[f"cold {n:02d}.png"] for n in range(4)] == ["warm", NONE, NONE, "warm"]
    assert found["cold 04.png"] != "blue"


def test_corrections_come_before_none_of_these_and_outrank_it(library: Library, album: Path) -> None:
    teach(library, album, range(6))
    library.corrections.add("heat", album / "warm 07.png", NONE)
    library.corrections.add("heat", album / "warm 08.png", "cold", not_=True)
    kind = {str(path): label for label in LABELS for path in names(album, label, range(12))}
    found = {r.path: r for r in library.classify(label_set="heat", with_corrections="gda", unknown="mcm:0.5")}
    assert (found[str(album / "warm 07.png")].label, found[str(album / "warm 07.png")].score) == (NONE, 1.0)
    for path in (path for label in LABELS for path in names(album, label, range(6))):
        assert (found[str(path)].label, found[str(path)].score) == (kind[str(path)], 1.0)
    assert "cold" not in {p.label for p in found[str(album / "warm 08.png")].predictions if p.score > 0}
    others = [r for path, r in found.items() if path not in {str(album / "warm 07.png")}]
    assert any(r.label == NONE for r in others)
    assert all(r.label in (kind[r.path], NONE) for r in others)
    # Without that answer, what shows none of the labels is answered like any other photo.
    plain = {r.path: r for r in library.classify(label_set="heat", with_corrections="gda")}
    assert plain[str(album / "warm 07.png")].label == "warm"


@pytest.mark.parametrize("method", ["zscore", "mcm", "margin"])
def test_photos_like_one_that_was_called_none_are_less_known(
    library: Library, album: Path, tmp_path: Path, method: str
) -> None:
    strange = [str(tmp_path / "strange" / f"{n}.png") for n in range(4)]
    for n, path in enumerate(strange):
        paint(Path(path), (160 + 4 * n, 40 + 3 * n, 40 - 3 * n))
    library.sync(tmp_path / "strange")
    before = library.unknown.knownness("heat", method)
    library.corrections.add("heat", strange[0], NONE)
    alone = library.unknown.knownness("heat", method, with_corrections=True)
    assert alone.values.tolist() == before.values.tolist()  # a single one tells nothing about others
    library.corrections.add("heat", strange[1], NONE)
    assert library.unknown.knownness("heat", method).values.tolist() == before.values.tolist()

    rule = f"{method}:0.25"
    after = library.unknown.knownness("heat", rule, with_corrections=True)
    vectors = library.embed_images(before.paths)
    directions = vectors - vectors.mean(axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    said = [before.paths.index(path) for path in strange[:2]]
    affinity = np.exp(5.5 * (directions @ directions[said].T - 1))
    rest, likeness = affinity[said].sum(axis=1) - 1, affinity.sum(axis=1)
    others = np.delete(likeness, said)
    trust = 2 * np.mean(rest[:, None] > others) - 1
    assert trust > 0.5
    expected = before.values - 4 * trust * before.values.std() * likeness
    np.testing.assert_allclose(after.values, expected, atol=1e-5)
    known = np.array([path not in strange for path in before.paths])
    assert metrics.auroc(after.values, known) > metrics.auroc(before.values, known)

    assert after.cut is not None
    called = [path for path, value in zip(after.paths, after.values, strict=True) if value < after.cut]
    assert len(called) == 7
    answer = library.classify(label_set="heat", with_corrections="gda", unknown=rule)
    assert [r.path for r in answer if r.label == NONE] == called
    [one] = library.classify(label_set="heat", with_corrections="gda", unknown=rule, paths=[strange[2]])
    assert (one.label == NONE) == (strange[2] in called)
    some = library.unknown.knownness("heat", rule, paths=strange, with_corrections=True)
    np.testing.assert_allclose(some.values, after.values[~known], atol=1e-6)
    truth = {path: NONE if path in strange else "warm" for path in before.paths}
    [report] = library.lab.evaluate("heat", truth, resamples=0, unknown=rule, with_corrections="gda").reports
    assert report.summary["auroc"].value == pytest.approx(metrics.auroc(after.values, known))
    with pytest.raises(BadQuestion, match="only a saved label set"):
        library.unknown.knownness(["warm", "cold"], method, with_corrections=True)


def test_what_was_said_passes_every_threshold(library: Library, album: Path) -> None:
    library.thresholds.choose("heat", "warm", rate=0.1)
    library.thresholds.choose("heat", "cold", rate=0.1)
    before = {r.path: [p.label for p in r.predictions] for r in library.classify(label_set="heat", thresholds=True)}
    below = next(path for label in LABELS for path in names(album, label, range(12)) if before[str(path)] == [NONE])
    assert len([labels for labels in before.values() if labels == [NONE]]) > 10
    library.corrections.add("heat", below, "warm")
    found = library.classify(label_set="heat", with_corrections="gda", thresholds=True)
    by_path = {r.path: [(p.label, p.score) for p in r.predictions] for r in found}
    assert by_path[str(below)] == [("warm", 1.0)]
    # A single correction teaches nothing: the others are answered as before.
    assert {path: [label for label, _ in said] for path, said in by_path.items()} == {**before, str(below): ["warm"]}
    assert found.scores.shape == (24, 3)
    assert found.scores[found.paths.index(str(below))].tolist() == [1, 0, 0]


def test_a_correction_says_one_label(library: Library) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        library.classify(label_set="heat", with_corrections="gda", multi_label=True)


def test_only_saved_label_sets_have_corrections(library: Library) -> None:
    with pytest.raises(ValueError, match="saved label set"):
        library.classify(["red", "blue"], with_corrections="gda")
    with pytest.raises(ValueError, match="gda or tip-adapter, not 'svm'"):
        library.classify(label_set="heat", with_corrections="svm")


@pytest.mark.parametrize("method", METHODS)
def test_without_corrections_answers_are_the_plain_ones(library: Library, method: str) -> None:
    plain, taught = library.classify(label_set="heat"), library.classify(label_set="heat", with_corrections=method)
    assert plain.to_dicts() == taught.to_dicts()
    assert (plain.scores[:] == taught.scores[:]).all()
    assert taught.learned is not None
    assert taught.learned.doubts == ("there are no corrections to learn from",)


# --- next -------------------------------------------------------------------------------------------------------------


def test_next_names_unsure_photos_that_were_not_corrected(library: Library, album: Path) -> None:
    paint(album / "grey.png", (128, 128, 128))
    shutil.copy(album / "grey.png", album / "grey again.png")
    library.sync(album)
    every = library.corrections.next("heat", 99)
    assert len(every) == 25
    [grey] = [photo for photo in every if "grey" in photo.path]
    assert (Path(grey.path).name, [Path(p).name for p in grey.copies]) == ("grey again.png", ["grey.png"])
    assert grey.margin == pytest.approx(0, abs=1e-4)
    few = library.corrections.next("heat", 3)
    assert len({photo.path for photo in few} & {photo.path for photo in every}) == 3
    scores = {r.path: r for r in library.classify(label_set="heat")}
    for photo in (grey, *few):
        best, second = scores[photo.path].predictions
        assert (photo.label, photo.second) == (best.label, second.label)
        assert (photo.score, photo.second_score) == pytest.approx((best.score, second.score), abs=1e-5)

    library.corrections.add("heat", grey.path, NONE)
    library.corrections.add("heat", album / "warm 00.png", "warm")
    named = {path for photo in library.corrections.next("heat", 99) for path in (photo.path, *photo.copies)}
    assert len(named) == 23
    assert not named & {str(album / name) for name in ("grey.png", "grey again.png", "warm 00.png")}
    [only] = library.corrections.next("heat", paths=[album / "warm 00.png", album / "warm 01.png"])
    assert only.path == str(album / "warm 01.png")


def test_next_needs_two_answers(library: Library) -> None:
    library.labels.save("one", ["red"])
    with pytest.raises(BadQuery, match="one answer"):
        library.corrections.next("one")


# --- the command line -------------------------------------------------------------------------------------------------

Run = Callable[..., Result]


@pytest.fixture
def run(library: Library, monkeypatch: pytest.MonkeyPatch) -> Run:
    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        return FakeEncoder(name=spec.name, decode=spec.decode)

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)

    def invoke(*arguments: str | Path, input: str | None = None, code: int = 0) -> Result:
        environment = {"ZSINDEX_LIBRARY": str(library.path), "COLUMNS": "200"}
        result = CliRunner().invoke(cli, [str(a) for a in arguments], env=environment, input=input)
        assert result.exit_code == code, result.output
        return result

    return invoke


HEAT = ("--label-set", "heat")


def test_correcting_and_listing(run: Run, album: Path) -> None:
    assert "kept 1 correction." in run("correct", album / "warm 00.png", "warm", *HEAT).stderr
    assert "kept 2 corrections" in run("correct", album / "cold 00.png", "--not", "warm", "--not", "cold", *HEAT).stderr
    listed = run("correct", "--list", *HEAT)
    assert [line.split() for line in listed.stdout.splitlines()[2:]] == [
        ["warm,", "cold", *str(album / "cold 00.png").split()],
        ["warm", *str(album / "warm 00.png").split()],
    ]
    table = run("correct", "--list", "--format", "csv", *HEAT).stdout
    assert table.splitlines() == [
        "path,label,not",
        f"{album / 'cold 00.png'},warm,yes",
        f"{album / 'cold 00.png'},cold,yes",
        f"{album / 'warm 00.png'},warm,",
    ]

    def in_effect() -> list[dict[str, object]]:
        """What is said, whenever it was."""
        found = json.loads(run("correct", "--list", "--format", "json", *HEAT).stdout)
        assert all(one["said_at"] for one in found)
        return [{name: one[name] for name in one if name != "said_at"} for one in found]

    before = in_effect()
    assert (
        "withdrew the corrections of 2 photos"
        in run("correct", "--forget", album / "warm 00.png", "--forget", album / "cold 00.png", *HEAT).stderr
    )
    assert run("correct", "--list", *HEAT).stdout == ""
    assert "kept 3 corrections" in run("correct", "--csv", "-", *HEAT, input=table).stderr
    assert in_effect() == before
    assert run("correct", "--list", "--format", "paths", *HEAT).stdout.splitlines() == [p["paths"][0] for p in before]
    assert len(run("correct", "--list", "--format", "ndjson", *HEAT).stdout.splitlines()) == 2
    for said in ("3 corrections", "2 corrections", "2 corrections", "1 correction"):
        assert f"undid {said}\n" in run("correct", "--undo", *HEAT).stderr
    assert "nothing to undo" in run("correct", "--undo", *HEAT).stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "use one of PATH, --csv, --forget, --undo, --list"),
        (("x.png",), "with LABEL, or .* --not LABEL"),
        (("x.png", "warm", "--not", "cold"), "with LABEL, or .* --not LABEL"),
        (("x.png", "warm", "--undo"), "use one of"),
        (("--list", "--not", "cold"), "--not needs a PATH"),
    ],
)
def test_a_command_that_says_too_little_or_too_much(run: Run, arguments: tuple[str, ...], says: str) -> None:
    assert re.search(says, run("correct", *arguments, *HEAT, code=2).stderr)


def test_mistakes_in_corrections_are_named(run: Run, album: Path) -> None:
    assert "'hot'; it has warm, cold" in run("correct", album / "warm 00.png", "hot", *HEAT, code=1).stderr
    assert "zsindex sync" in run("correct", album / "nowhere.png", "warm", *HEAT, code=1).stderr
    assert "line 2" in run("correct", "--csv", "-", *HEAT, input="path,label\n,warm\n", code=1).stderr


def test_classify_says_what_corrections_brought(run: Run, album: Path, library: Library) -> None:
    assert (
        "--with-corrections: corrections belong to a saved label set"
        in run("classify", "-l", "red", "-l", "blue", "--with-corrections", code=2).stderr
    )
    assert "exclude each other" in run("classify", *HEAT, "--with-corrections", "--multi-label", code=2).stderr
    assert "no corrections to learn from" in run("classify", *HEAT, "--with-corrections").stderr
    teach(library, album, range(2))
    doubted = run("classify", *HEAT, "--with-corrections").stderr
    assert "4 corrections by logistic" in doubted
    assert "too little to trust yet" in doubted
    assert "fewer than 4 corrections: warm, cold" in doubted
    assert "nothing is learnt for other photos from fewer than 5 corrections" in doubted
    assert "the answers are the same as without corrections" in doubted
    teach(library, album, range(8))
    trusted = run("classify", *HEAT, "--with-corrections", "tip-adapter", "--format", "csv")
    assert (
        "16 corrections by tip-adapter: 0.0% right with words alone, 100.0% with the other corrections, gain +100.0"
        in trusted.stderr
    )
    assert "yet: every corrected photo was a mistake: confirm some right answers as well. To see what" in trusted.stderr
    assert f"{album / 'warm 09.png'},1,warm," in trusted.stdout
    assert "corrections by" not in run("classify", *HEAT, "--with-corrections", "-q").stderr


def test_classify_says_which_corrections_it_did_not_use(run: Run, album: Path, library: Library) -> None:
    teach(library, album, range(2))
    library.labels.save("heat", {"warm": ["blue"], "mild": ["green"]})
    (album / "warm 00.png").unlink()
    library.sync(album)
    library.prune()
    said = run("classify", *HEAT, "--with-corrections").stderr
    assert "heat has no such label: cold (2)" in said
    assert "1 corrected photo without a vector" in said
    listed = run("correct", "--list", *HEAT)
    assert "(gone: " in listed.stdout
    assert "kept but not used, because heat has no such label: cold" in listed.stderr
    assert "1 corrected photo no longer in the library" in listed.stderr


def test_next_in_every_format(run: Run, library: Library) -> None:
    expected = library.corrections.next("heat", 2)
    shown = run("next", *HEAT, "-n", "2")
    assert [line.endswith(p.path) for line, p in zip(shown.stdout.splitlines()[2:], expected, strict=True)] == [
        True
    ] * 2
    assert "zsindex correct PATH LABEL --label-set heat" in shown.stderr
    assert run("next", *HEAT, "-n", "2", "--format", "paths").stdout.splitlines() == [p.path for p in expected]
    as_json = json.loads(run("next", *HEAT, "-n", "2", "--format", "json").stdout)
    assert [photo["path"] for photo in as_json] == [p.path for p in expected]
    lines = run("next", *HEAT, "-n", "2", "--format", "ndjson").stdout.splitlines()
    assert [json.loads(line) for line in lines] == as_json
    table = run("next", *HEAT, "-n", "2", "--format", "csv").stdout.splitlines()
    assert table[0] == "path,label,score,second,second_score,margin"
    assert len(table) == 3

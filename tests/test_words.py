"""Which words work: lint, diff and suggest, against planted faults and naive computations."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import COLOURS, FakeEncoder
from tests.libraries import unit_vectors
from tests.scenes import photo
from zsindex.classification.prompts import label_set
from zsindex.errors import BadLabelFile, PromptTooLong, UnknownLabelSet, UnknownModel
from zsindex.lab import suggest as suggesting
from zsindex.lab import vocabulary
from zsindex.lab.findings import Finding, LintReport
from zsindex.lab.lint import close_pairs, skewness, usual_distance
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.records import FloatArray, LabelSet, ModelSpec, Progress

CLEAN = ["red", "green", "blue", "yellow", "white", "black"]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Six photos of each of six colours, and one of them twice."""
    for colour, mark in itertools.product(CLEAN, range(6)):
        photo(tmp_path / "album" / colour / f"{mark}.png", COLOURS[colour], mark=mark + 1)
    shutil.copy(tmp_path / "album" / "red" / "0.png", tmp_path / "album" / "red" / "copy.png")
    return tmp_path / "album"


@pytest.fixture
def library(tmp_path: Path, new_library: Path, album: Path) -> Iterator[Library]:
    shutil.copytree(new_library, tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        yield opened


def kinds(report: LintReport) -> set[tuple[str, str]]:
    return {(finding.kind, finding.severity) for finding in report.findings}


def the(report: LintReport, kind: str) -> Finding:
    [finding] = [finding for finding in report.findings if finding.kind == kind]
    return finding


# --- lint -------------------------------------------------------------------------------------------------------------


def test_a_clean_set_has_no_findings(library: Library) -> None:
    report = library.lab.lint(CLEAN)
    assert report.findings == ()
    assert report.warnings == 0
    assert (report.labels, report.images, report.model) == (6, 36, "fake")  # the copy is no further image
    assert report.skewness == 0  # every colour is the best label of six photos
    assert report.to_dict()["findings"] == []


def test_a_collision_is_found_in_the_vectors_and_on_photos(library: Library, album: Path) -> None:
    # For this encoder the colour is all that matters in a text.
    report = library.lab.lint([*CLEAN, "something red"])
    finding = the(report, "collision")
    assert finding.words == ("red", "something red")
    assert finding.severity == "warning"
    assert finding.measures["cosine"] == pytest.approx(1)
    assert finding.measures["relative_distance"] == pytest.approx(0, abs=1e-3)
    assert finding.measures["together"] == 1
    assert finding.measures["won"] == 6
    assert finding.measures["lead"] == pytest.approx(0, abs=1e-5)
    assert len(finding.photos) == 3
    assert all(Path(path).parent == album / "red" for path in finding.photos)
    # The later of two equal labels never wins: a remark, beside the warning.
    assert the(report, "never-wins").words == ("something red",)
    assert report.findings[0] == finding


def test_labels_of_one_group_may_coincide(library: Library) -> None:
    grouped = label_set([*CLEAN, "something red"], groups={"reds": ["red", "something red"]})
    assert library.lab.lint(grouped).findings == ()


def test_labels_that_photos_cannot_tell_apart_collide_without_equal_vectors(tmp_path: Path, new_library: Path) -> None:
    class Askew(FakeEncoder):
        """Tells two words apart along an axis on which no photo lies."""

        @staticmethod
        def _text_vector(words: Sequence[str]) -> FloatArray:
            vector = FakeEncoder._text_vector([word for word in words if word in COLOURS])
            if "couch" in words or "sofa" in words:
                vector = FakeEncoder._text_vector(["blue"]) + np.eye(8, dtype=np.float32)[4 + ("sofa" in words)]
            return vector / np.linalg.norm(vector)

    for colour, mark in itertools.product(CLEAN, range(6)):
        photo(tmp_path / "album" / colour / f"{mark}.png", COLOURS[colour], mark=mark + 1)
    shutil.copytree(new_library, tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=Askew(name="askew")) as library:
        library.sync(tmp_path / "album")
        report = library.lab.lint(["red", "green", "yellow", "white", "black", "couch", "sofa"], template="{}")
    finding = the(report, "collision")
    assert finding.words == ("couch", "sofa")
    assert "relative_distance" not in finding.measures  # their vectors are as far apart as others
    assert finding.measures["together"] == 1
    assert all(Path(path).parent.name == "blue" for path in finding.photos)


def test_a_hub_wins_nearly_everything(library: Library, album: Path) -> None:
    class_names = ["red", "green", "blue"]
    report = library.lab.lint(class_names, paths=album / "red")
    finding = the(report, "hub")
    assert (finding.words, finding.severity) == (("red",), "warning")
    assert finding.measures == {"won": 1.0, "chance": pytest.approx(1 / 3)}
    assert {f.words[0] for f in report.findings if f.kind == "never-wins"} == {"green", "blue"}


def test_a_hub_that_seldom_wins_is_found_by_its_occurrences(library: Library) -> None:
    # Twenty labels, of which two count as the best: the planted one is second for all but a few photos.
    far = [f"word {n}" for n in range(200)]
    texts = library.embed_texts(far)
    photos = library.embed_images(library.photos.paths())
    nowhere = [far[n] for n in np.argsort((photos @ texts.T).max(axis=0))[:14].tolist()]
    colours = {colour: [colour] for colour in CLEAN}
    labels = {**colours, "anything": [*CLEAN], **{word: [word] for word in nowhere}}
    report = library.lab.lint(labels)
    hub = next(f for f in report.findings if f.kind == "hub")
    assert hub.words == ("anything",)
    assert hub.measures["k"] == 2

    # The same by a naive loop.
    chosen = label_set(labels)
    vectors = library.view().text_vectors(chosen)
    distinct = {path: row for path, row in zip(library.photos.paths(), photos, strict=True) if "copy" not in path}
    among = sum(list(labels)[i] == "anything" for x in distinct.values() for i in np.argsort(-(vectors @ x))[:2])
    assert hub.measures["among_best"] == among / len(distinct)
    assert among / len(distinct) > (1 + 2 / 21) / 2
    assert report.skewness > 1


def test_photos_of_which_nearly_all_are_none_of_the_labels(library: Library, album: Path) -> None:
    with_negatives = label_set(["red"], negatives=["green"])
    finding = the(library.lab.lint(with_negatives, paths=album / "green"), "hub")
    assert finding.words == ("(none of these)",)
    assert finding.measures == {"won": 1.0, "chance": 0.5}
    # A negative that wins nothing is none to complain about.
    assert library.lab.lint(with_negatives, paths=album / "red").findings[0].kind == "hub"
    assert len(library.lab.lint(with_negatives, paths=album / "red").findings) == 1


def test_a_label_that_never_wins_says_what_is_ahead(library: Library, album: Path) -> None:
    finding = the(library.lab.lint(["red", "green", "blue"], paths=[album / "red", album / "green"]), "never-wins")
    assert (finding.words, finding.severity) == (("blue",), "info")
    vectors = library.embed_texts([f"This is a photo of {c}." for c in ("red", "green", "blue")])
    cosines = library.embed_images(sorted(str(p) for d in ("red", "green") for p in (album / d).iterdir())) @ vectors.T
    assert finding.measures["behind"] == pytest.approx(
        10 * float((cosines.max(axis=1) - cosines[:, 2]).min()), abs=1e-4
    )


def test_prompts_that_are_cut_are_counted(library: Library) -> None:
    long = "red " + "very " * 20 + "much"
    labels = {**{colour: [colour] for colour in CLEAN[1:]}, "red": [long]}
    for _ in range(2):  # the second time from the cache
        finding = the(library.lab.lint(labels), "too-long")
        assert finding.words == ("red", long)
        assert finding.severity == "warning"
        assert finding.measures == {"context_length": 16, "tokens": 24}
        assert "24 tokens; fake reads 16" in finding.message


def test_prompts_that_are_cut_are_known_without_a_tokenizer(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "red " + "very " * 20 + "much"
    labels = {"red": [long], "blue": ["blue"]}
    library.lab.lint(labels)

    def refuse(spec: ModelSpec, **options: object) -> Encoder:
        raise AssertionError(f"{spec} was to be loaded")

    monkeypatch.setattr("zsindex.session.model.load_encoder", refuse)
    with Library.open(library.path) as again:
        finding = the(again.lab.lint(labels), "too-long")
    assert finding.measures == {"context_length": 16}
    assert "needs torch" in finding.message


def test_a_useless_template_and_one_that_drowns_the_labels(library: Library) -> None:
    templates = ["{}", "a photo of {}", "{} and white", "{} red red red red red red red red"]
    report = library.lab.lint(CLEAN, template=templates)
    same = the(report, "template-adds-nothing")
    assert (same.words, same.severity) == (("{}", "a photo of {}"), "info")
    drowned = the(report, "template-drowns-labels")
    assert (drowned.words, drowned.severity) == ((templates[3],), "warning")
    assert drowned.measures["spread"] < drowned.measures["usual_spread"] / 2
    assert [m.template for m in report.templates] == templates


def test_a_template_that_disagrees_with_all_others(library: Library) -> None:
    class Contrary(FakeEncoder):
        @staticmethod
        def _text_vector(words: Sequence[str]) -> FloatArray:
            turned = {"red": "green", "green": "blue", "blue": "red"}
            return FakeEncoder._text_vector([turned.get(w, w) for w in words] if "not" in words else words)

    templates = ["{}", "{} and white", "{} and black", "not {}"]
    with Library.open(library.path, encoder=Contrary(name="contrary")) as contrary:
        contrary.sync(library.photos.roots())
        report = contrary.lab.lint(["red", "green", "blue", "yellow"], template=templates)
    finding = the(report, "template-disagrees")
    assert (finding.words, finding.severity) == (("not {}",), "warning")
    assert Path(finding.photos[0]).parent.name in ("red", "green", "blue", "white", "black")


def test_measures_of_templates_are_those_of_a_naive_loop(library: Library) -> None:
    templates = ["{}", "{} and white", "{} and black red"]
    report = library.lab.lint(CLEAN, template=templates)
    photos = library.embed_images([path for path in library.photos.paths() if "copy" not in path])
    vectors = {t: library.embed_texts([t.replace("{}", c) for c in CLEAN]) for t in templates}

    def answers(using: Sequence[str]) -> list[int]:
        found = []
        for x in photos:
            means = [np.mean([vectors[t][i] for t in using], axis=0) for i in range(len(CLEAN))]
            found.append(int(np.argmax([x @ mean / np.linalg.norm(mean) for mean in means])))
        return found

    for measures in report.templates:
        rest = [t for t in templates if t != measures.template]
        alone, others, every = answers([measures.template]), answers(rest), answers(templates)
        assert measures.agreement == pytest.approx(np.mean(np.equal(alone, others)))
        assert measures.changed == pytest.approx(np.mean(np.not_equal(others, every)))
        cosines = np.sort(photos @ vectors[measures.template].T, axis=1)
        assert measures.margin == pytest.approx(10 * float((cosines[:, -1] - cosines[:, -2]).mean()), abs=1e-4)
        centre = vectors[measures.template].mean(axis=0)
        spread = math.sqrt(np.mean([float(((v - centre) ** 2).sum()) for v in vectors[measures.template]]))
        assert measures.spread == pytest.approx(spread, abs=1e-5)


def test_lint_needs_no_photos(tmp_path: Path, new_library: Path) -> None:
    shutil.copytree(new_library, tmp_path / "empty")
    with Library.open(tmp_path / "empty", encoder=FakeEncoder()) as library:
        report = library.lab.lint([*CLEAN, "something red"], template=["{}", "a photo of {}"])
    assert kinds(report) == {("collision", "warning"), ("template-adds-nothing", "info")}
    assert report.images == 0


def test_lint_names_saved_sets_with_their_version(library: Library) -> None:
    library.labels.save("colours", ["red", "blue"])
    library.labels.save("colours", CLEAN)
    assert library.lab.lint("colours").label_set == "colours@2"
    assert library.lab.lint("colours@1").label_set == "colours@1"
    with pytest.raises(UnknownLabelSet):
        library.lab.lint("colors")


def test_one_label_is_no_finding(library: Library) -> None:
    assert library.lab.lint(["red"]).findings == ()


@settings(deadline=None, max_examples=25)
@given(n=st.integers(2, 12), seed=st.integers(0, 1000))
def test_close_pairs_are_those_of_a_naive_loop(n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = unit_vectors(n, seed=seed)
    vectors[-1] = vectors[0] + random.normal(scale=0.1, size=vectors.shape[1])
    vectors[-1] /= np.linalg.norm(vectors[-1])
    every = [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(vectors.astype(np.float64), 2)]
    usual = float(np.median(every))
    assert usual_distance(vectors) == pytest.approx(usual, abs=1e-3)  # of float32 vectors
    limit = 0.25 * usual if n >= 3 else 1e-3
    expected = {pair for pair, d in zip(itertools.combinations(range(n), 2), every, strict=True) if d < limit}
    assert set(close_pairs(vectors, range(n))) == expected
    assert close_pairs(vectors, [0] * n) == {}  # all in one group


def test_skewness_of_known_values() -> None:
    assert skewness(np.array([3, 3, 3])) == 0
    assert skewness(np.array([1, 2, 3])) == pytest.approx(0)
    assert skewness(np.array([0, 0, 0, 4])) == pytest.approx(2 / math.sqrt(3))


# --- diff -------------------------------------------------------------------------------------------------------------


def test_a_diff_is_that_of_two_classifications(library: Library) -> None:
    before, after = ["red", "green", "white"], ["green", "yellow", "blue", "white"]
    result = library.lab.diff(before, after)
    one, other = library.classify(before, top=3), library.classify(after, top=4)
    assert result.paths == library.photos.paths()
    assert result.answers == ("red", "green", "white", "yellow", "blue")
    assert (result.only_before, result.only_after) == (("red",), ("yellow", "blue"))
    flips, moved = [], []
    for a, b in zip(one, other, strict=True):
        p = {x.label: x.score for x in a.predictions}
        q = {x.label: x.score for x in b.predictions}
        moved.append(sum(abs(p.get(name, 0) - q.get(name, 0)) for name in {*p, *q}) / 2)
        if a.label != b.label:
            flips.append((-moved[-1], a.path, a.label, b.label, a.score, b.score))
    assert result.moved == pytest.approx(moved, abs=1e-6)
    assert {(f.path, f.before, f.after) for f in result.flips} == {flip[1:4] for flip in flips}
    assert [f.moved for f in result.flips] == sorted((f.moved for f in result.flips), reverse=True)
    scores = {flip[1]: flip[4:] for flip in flips}
    assert all(scores[f.path] == pytest.approx((f.score_before, f.score_after), abs=1e-6) for f in result.flips)
    assert result.share == len(flips) / len(one)
    assert result.run_before == library.classify(before, top=1).run.key
    assert result.run_after == library.classify(after, top=1).run.key


def test_flows_counts_and_the_matrix_agree(library: Library) -> None:
    result = library.lab.diff(["red", "green", "white"], ["green", "yellow", "blue", "white"])
    matrix = {(a, b): int(n) for a, row in zip(result.answers, result.matrix, strict=True)
              for b, n in zip(result.answers, row, strict=True)}  # fmt: skip
    assert sum(matrix.values()) == len(result) == 37
    off = {pair: n for pair, n in matrix.items() if n and pair[0] != pair[1]}
    assert {(flow.before, flow.after): flow.photos for flow in result.flows} == off
    assert [flow.photos for flow in result.flows] == sorted((f.photos for f in result.flows), reverse=True)
    for flow in result.flows:
        moves = [f for f in result.flips if (f.before, f.after) == (flow.before, flow.after)]
        assert flow.example == moves[0].path
    for answer, before, after in result.counts():
        assert before == sum(n for (a, _), n in matrix.items() if a == answer)
        assert after == sum(n for (_, b), n in matrix.items() if b == answer)


def test_the_same_on_both_sides_moves_nothing(library: Library) -> None:
    library.labels.save("colours", CLEAN)
    result = library.lab.diff("colours", "colours@1")
    assert (len(result.flipped), result.share, float(result.moved.max())) == (0, 0.0, 0.0)
    assert result.flips == result.flows == []
    assert result.to_dict()["flipped"] == 0
    assert result.before == "colours@1, fake"


def test_answers_may_have_another_name(library: Library) -> None:
    before = {"rot": ["red"], "blue": ["blue"]}
    after = {"red": ["red"], "blue": ["blue"]}
    red = sum(result.label == "red" for result in library.classify(["red", "blue"]))
    assert len(library.lab.diff(before, after).flipped) == red >= 7
    assert len(library.lab.diff(before, after, renamed={"rot": "red"}).flipped) == 0
    with pytest.raises(ValueError, match="not an answer"):
        library.lab.diff(before, after, renamed={"green": "red"})
    with pytest.raises(ValueError, match="same name"):
        library.lab.diff(before, after, renamed={"rot": "blue"})


def test_templates_and_versions_are_compared(library: Library) -> None:
    library.labels.save("colours", ["red", "blue"], template="{}")
    library.labels.save("colours", ["red", "blue", "green"], template="{}")
    versions = library.lab.diff("colours@1", "colours")
    assert versions.only_after == ("green",)
    assert {flow.after for flow in versions.flows} == {"green"}
    templates = library.lab.diff("colours", template_before="{}", template_after=["{} and white", "{} and black"])
    assert templates.after == "colours, 2 templates, fake"
    assert templates.moved.max() > 0
    expected = library.classify(label_set="colours", template=["{} and white", "{} and black"], top=1)
    assert [templates.answers[n] for n in templates.best_after] == [result.label for result in expected]


def test_sigmoid_scores_move_by_the_largest_difference(library: Library) -> None:
    result = library.lab.diff(["red", "blue"], ["red", "green"], activation="sigmoid")
    one = library.classify(["red", "blue"], activation="sigmoid", top=2).scores
    other = library.classify(["red", "green"], activation="sigmoid", top=2).scores
    moved = np.maximum(np.abs(one[:, 0] - other[:, 0]), np.maximum(one[:, 1], other[:, 1]))
    assert result.moved == pytest.approx(moved, abs=1e-6)


def test_groups_are_answers(library: Library) -> None:
    grouped = label_set(["red", "yellow", "blue"], groups={"warm": ["red", "yellow"]})
    result = library.lab.diff(grouped, ["warm", "blue"])
    assert result.answers == ("warm", "blue")


class Inverted(FakeEncoder):
    """Sees the opposite colours."""

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        return super().encode_images([255 - p for p in pixels])


@pytest.fixture
def two_models(library: Library, album: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """The library, with vectors of two thirds of its photos under another model."""

    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        return Inverted(name=spec.name) if spec.name == "inverted" else FakeEncoder(name=spec.name)

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    with Library.open(library.path, model="inverted") as other:
        other.sync([album / colour for colour in ("red", "green", "blue", "white")])
    return library


def test_models_are_compared_on_the_photos_that_both_know(two_models: Library) -> None:
    result = two_models.lab.diff(CLEAN, model_after="inverted")
    assert len(result) == 25
    assert result.uncompared == 12
    assert (result.before, result.after) == ("6 labels, fake", "6 labels, inverted")
    assert ("white", "black") in {(flow.before, flow.after) for flow in result.flows}
    with two_models.with_model("inverted") as other:
        expected = other.classify(CLEAN, top=1)
    assert [result.answers[n] for n in result.best_after] == [answer.label for answer in expected]
    back = two_models.lab.diff(CLEAN, model_before="inverted")
    assert {(f.path, f.after, f.before) for f in back.flips} == {(f.path, f.before, f.after) for f in result.flips}
    with pytest.raises(UnknownModel):
        two_models.lab.diff(CLEAN, model_after="another")


def test_a_diff_refuses_prompts_that_are_too_long(library: Library) -> None:
    long = {"red": ["red " + "very " * 20]}
    with pytest.raises(PromptTooLong):
        library.lab.diff(long, ["red"])
    assert len(library.lab.diff(long, ["red"], truncate=True)) == 37


# --- suggest ----------------------------------------------------------------------------------------------------------


def test_what_no_label_fits_is_named(library: Library, album: Path) -> None:
    words = ["red", "blue", "yellow", "nothing", "green", "black"]
    found = library.lab.suggest(["red", "green", "black", "white"], words, share=12 / 36, groups=2, names=2)
    assert (found.images, found.unfit, found.vocabulary, found.interrupted) == (36, 12, 6, False)
    assert {group.names[0].word for group in found.groups} == {"blue", "yellow"}
    for group in found.groups:
        assert group.images == 6
        assert group.names[0].fits_better == 1
        assert group.names[0].lift > group.names[1].lift
        assert {Path(path).parent.name for path in group.photos} == {group.names[0].word}
        assert group.cohesion == pytest.approx(1, abs=1e-3)
    assert {group.label for group in found.groups} <= {"red", "green", "black", "white"}
    # What is a label already is not proposed.
    assert not {"red", "green", "black"} & {name.word for group in found.groups for name in group.names}
    assert found.to_dict()["groups"][0]["images"] == 6


def test_the_lift_is_that_of_a_naive_loop(library: Library) -> None:
    found = library.lab.suggest(["red", "green"], ["blue", "yellow", "white"], share=0.5, groups=1, names=3)
    photos = library.embed_images([path for path in library.photos.paths() if "copy" not in path])
    labels = library.embed_texts([f"This is a photo of {c}." for c in ("red", "green")])
    fit = (photos @ labels.T).max(axis=1)
    unfit = photos[np.argsort(fit, kind="stable")[:18]]
    [group] = found.groups
    for name in group.names:
        word = library.embed_texts([f"This is a photo of {name.word}."])[0]
        assert name.lift == pytest.approx(float((unfit @ word).mean() - (photos @ word).mean()), abs=1e-5)
        better = (unfit @ word > np.sort(fit, kind="stable")[:18]).mean()
        assert name.fits_better == pytest.approx(better, abs=1 / 18)
    assert found.bound == pytest.approx(np.sort(fit)[17], abs=1e-5)


def test_the_margin_is_another_measure_of_fit(library: Library) -> None:
    found = library.lab.suggest(["red", "green"], ["yellow", "blue"], share=6 / 36, by="margin", groups=1)
    cosines = np.sort(
        library.embed_images(library.photos.paths()) @ library.embed_texts(["photo of red", "photo of green"]).T, axis=1
    )
    assert found.bound == pytest.approx(float(np.sort(10 * (cosines[:, 1] - cosines[:, 0]))[5]), abs=1e-4)


def test_vocabulary_vectors_are_cached_and_stopping_keeps_them(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggesting, "BATCH", 10)
    words = [f"word {n}" for n in range(35)]
    events: list[Progress] = []
    stopped = library.lab.suggest(["red"], words, progress=events.append, should_stop=lambda: events[-1].done >= 20)
    assert stopped.interrupted
    assert (stopped.left, stopped.groups) == (15, ())
    assert [(e.stage, e.done, e.total) for e in events] == [("vocabulary", n, 35) for n in (0, 10, 20)]
    encoder = FakeEncoder()
    with Library.open(library.path, encoder=encoder) as again:
        assert not again.lab.suggest(["red"], words).interrupted
        assert len(encoder.texts) == 15
        assert again.lab.suggest(["red"], words).groups
        assert len(encoder.texts) == 15


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"share": 0}, "share"),
        ({"by": "colour"}, "cosine or margin"),
        ({"word_template": "photo"}, "place for the word"),
    ],
)
def test_suggest_refuses_what_it_cannot_do(library: Library, options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        library.lab.suggest(["red"], ["blue"], **options)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 60), k=st.integers(1, 8), seed=st.integers(0, 1000))
def test_k_means_is_at_rest(n: int, k: int, seed: int) -> None:
    vectors = unit_vectors(n, seed=seed)
    centres, group_of = suggesting.spherical_k_means(vectors, min(n, k), iterations=500)
    assert np.linalg.norm(centres, axis=1) == pytest.approx(np.ones(len(centres)), abs=1e-5)
    assert set(group_of.tolist()) == set(range(len(centres)))
    for g, centre in enumerate(centres):
        mean = vectors[group_of == g].sum(axis=0)
        assert float(centre @ mean) == pytest.approx(float(np.linalg.norm(mean)), abs=1e-4)
    similarities = vectors @ centres.T
    assert np.take_along_axis(similarities, group_of[:, None], 1)[:, 0] == pytest.approx(
        similarities.max(axis=1), abs=1e-5
    )


def test_k_means_finds_what_is_apart() -> None:
    directions = np.eye(5, dtype=np.float32)
    noise = np.random.default_rng(1).normal(scale=0.05, size=(50, 5))
    vectors = np.repeat(directions, 10, axis=0) + noise.astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    _, group_of = suggesting.spherical_k_means(vectors, 5)
    assert len({tuple(group_of[10 * g : 10 * g + 10]) for g in range(5)}) == 5
    assert all(len(set(group_of[10 * g : 10 * g + 10].tolist())) == 1 for g in range(5))


def test_equal_vectors_make_one_group() -> None:
    centres, group_of = suggesting.spherical_k_means(np.repeat(unit_vectors(1), 6, axis=0), 3)
    assert len(centres) == 1
    assert group_of.tolist() == [0] * 6


# --- vocabularies -----------------------------------------------------------------------------------------------------


def test_wordnet_gives_one_noun_for_each_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "WORDNET_FOLDERS", (tmp_path,))
    with pytest.raises(BadLabelFile, match="wordnet-base"):
        vocabulary.words("wordnet:")
    # offset, file, type, words, pointers: a dog, a sausage that is called so, a friend named Rex, and love.
    (tmp_path / "data.noun").write_text(
        "  1 licence\n"
        "00000001 05 n 02 dog 0 domestic_dog 0 000 | an animal\n"
        "00000002 13 n 02 frank 0 dog 0 000 | a sausage\n"
        "00000003 05 n 01 Rex 0 001 @i 00000001 n 0000 | a dog\n"
        "00000004 12 n 01 love 0 000 | a feeling\n"
        "00000005 05 n 02 German_shepherd 0 alsatian 0 001 @ 00000001 n 0000 | a breed\n"
        "00000006 13 n 01 dog 1 000 | food that is rather called something else\n",
        encoding="utf-8",
    )
    (tmp_path / "index.noun").write_text(
        "  1 licence\n"
        "alsatian n 1 1 @ 1 0 00000005\n"
        "dog n 3 1 @ 3 1 00000001 00000002 00000006\n"
        "domestic_dog n 1 1 @ 1 0 00000001\n"
        "frank n 1 0 1 0 00000002\n"
        "german_shepherd n 1 1 @ 1 0 00000005\n"
        "love n 1 0 1 0 00000004\n"
        "rex n 1 1 @i 1 0 00000003\n",
        encoding="utf-8",
    )
    assert vocabulary.words("wordnet:") == ("dog", "frank", "German shepherd")
    assert vocabulary.words("wordnet:all") == ("dog", "frank", "love", "German shepherd")


def test_a_label_set_is_left_as_it_is(library: Library) -> None:
    """Looking changes nothing that was saved."""
    saved = library.labels.save("colours", CLEAN)
    library.lab.lint("colours"), library.lab.diff("colours", ["red"]), library.lab.suggest("colours", ["pink"])
    assert isinstance(saved, LabelSet)
    assert replace(library.labels.get("colours")) == saved
    assert len(library.labels.history("colours")) == 1

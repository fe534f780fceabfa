"""Smoothing: its equations against a slow and plain version of them, and what it does to photos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zsindex.cli import cmd_classify

from tests.fakes import FakeEncoder
from tests.libraries import unit_vectors
from tests.scenes import photo
from tests.test_cli import Run, encoders, run  # noqa: F401
from zsindex.classification.prompts import label_set
from zsindex.errors import NoVectors, TooManyScores
from zsindex.index.vectors import VectorTable
from zsindex.lab import neighbours, smooth
from zsindex.library import Library
from zsindex.records import NONE, FloatArray

Doubles = npt.NDArray[np.float64]


def in_memory(rows: FloatArray) -> VectorTable:
    return VectorTable(None, np.arange(1, len(rows) + 1), rows, np.empty(0, dtype=np.int64))


def log_density(image: Doubles, mean: Doubles, variances: Doubles) -> float:
    """log N(f; μ, diag Σ), written out."""
    return float(
        -0.5
        * sum(
            (f - m) ** 2 / v + np.log(2 * np.pi * v)
            for f, m, v in zip(image.tolist(), mean.tolist(), variances.tolist(), strict=True)
        )
    )


def plain_stata(images: Doubles, scores: Doubles, texts: Doubles, *, k: int, rounds: int, inner: int) -> Doubles:
    """The equations of docs/methods.md one by one, with alpha = 1, in float64."""
    n, n_classes = scores.shape
    prior = scores / scores.sum(axis=1, keepdims=True)
    cosines = images @ images.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1)[:, :k]
    z = prior.copy()
    anchor = np.mean([sum(z[i, c] * (images[i] - texts[c]) ** 2 for c in range(n_classes)) for i in range(n)], axis=0)
    means, variances = texts.copy(), np.array([anchor] * n_classes)
    for _ in range(rounds):
        density = np.array(
            [[log_density(images[i], means[c], variances[c]) for c in range(n_classes)] for i in range(n)]
        )
        for _ in range(inner):
            before = z.copy()
            drawn = np.zeros_like(z)
            for i in range(n):
                for j in nearest[i]:
                    drawn[i] += max(0.0, cosines[i, j]) * before[j]
            exponents = density + np.log(prior) + drawn
            z = np.exp(exponents - exponents.max(axis=1, keepdims=True))
            z /= z.sum(axis=1, keepdims=True)
        for c in range(n_classes):
            count = z[:, c].sum()
            share = count / (count + 1)
            own = z[:, c] @ images / count
            means[c] = share * own + (1 - share) * texts[c]
            scatter = sum(z[i, c] * (images[i] - means[c]) ** 2 for i in range(n)) / count
            variances[c] = share * scatter + (1 - share) * (anchor + (texts[c] - means[c]) ** 2)
    return z


@settings(deadline=None, max_examples=20)
@given(st.integers(4, 14), st.integers(2, 4), st.integers(0, 3), st.integers(1, 3), st.integers(0, 20))
def test_the_equations_are_those_of_the_page(n: int, n_classes: int, k: int, rounds: int, seed: int) -> None:
    images, texts = unit_vectors(n, seed=seed), unit_vectors(n_classes, seed=seed + 1)
    scores = np.random.default_rng(seed).dirichlet(np.ones(n_classes), n).astype(np.float32)
    vectors = in_memory(images)
    graph = neighbours.build(vectors, np.arange(n), 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smooth, "_STILL", 0.0)
        z, made, converged = smooth.stata(
            vectors, np.arange(n), scores, texts, graph, neighbours=k, max_iterations=rounds, inner_iterations=2
        )
    expected = plain_stata(
        images.astype(np.float64),
        scores.astype(np.float64),
        texts.astype(np.float64),
        k=k,
        rounds=rounds,
        inner=2 if k else 1,
    )
    assert (made, converged) == (rounds, False)
    np.testing.assert_allclose(z, expected, atol=2e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 30), st.integers(1, 5), st.floats(0.1, 20), st.integers(0, 20))
def test_means_and_variances_are_the_best_ones(n: int, n_classes: int, alpha: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, texts = unit_vectors(n, seed=seed).astype(np.float64), unit_vectors(n_classes, seed=99).astype(np.float64)
    z = rng.dirichlet(np.ones(n_classes), n)
    anchor = rng.uniform(0.05, 0.3, texts.shape[1])

    def loss(means: Doubles, variances: Doubles) -> float:
        fit = -sum(z[i, c] * log_density(images[i], means[c], variances[c]) for i in range(n) for c in range(n_classes))
        # KL(N(μ', Σ') ‖ N(μ, Σ)) of two diagonal Gaussians.
        apart = sum(
            0.5
            * float((np.log(variances[c] / anchor) - 1 + (anchor + (texts[c] - means[c]) ** 2) / variances[c]).sum())
            for c in range(n_classes)
        )
        return fit + alpha * apart

    means, variances = smooth._fit(smooth._Moments(z.sum(axis=0), z.T @ images, z.T @ images**2), texts, anchor, alpha)
    best = loss(means, variances)
    for _ in range(10):
        step = rng.choice([1e-3, 1e-2, 0.1])
        assert loss(means + step * rng.standard_normal(means.shape), variances) > best
        assert loss(means, variances * np.exp(step * rng.standard_normal(variances.shape))) > best


def test_classes_that_no_photo_shows_stay_where_they_are_and_get_nothing() -> None:
    rng = np.random.default_rng(0)
    texts = np.eye(8, dtype=np.float32)
    # Photos of two classes only; between classes 0 and 2 many are not sure.
    images = np.concatenate(
        [texts[[0]] + 0.1 * rng.standard_normal((40, 8)), texts[[1]] + 0.1 * rng.standard_normal((40, 8))]
    )
    images = (images / np.linalg.norm(images, axis=1, keepdims=True)).astype(np.float32)
    scores = np.exp(10 * images @ texts.T)
    scores[:40:4, 2] = 1.2 * scores[:40:4, 0]
    vectors = in_memory(images)
    graph = neighbours.build(vectors, np.arange(80), 5)
    z, _, converged = smooth.stata(vectors, np.arange(80), scores, texts, graph)
    assert converged
    assert z.argmax(axis=1).tolist() == [0] * 40 + [1] * 40
    assert z[:, 2:].max() < 0.01
    np.testing.assert_allclose(z.sum(axis=1), 1, rtol=1e-5)


def test_blocks_make_no_difference_to_what_has_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = unit_vectors(60, seed=3), unit_vectors(4, seed=4)
    vectors = in_memory(images)
    graph = neighbours.build(vectors, np.arange(60), 5)
    scores = np.exp(5 * images @ texts.T)
    in_one, _, _ = smooth.stata(vectors, np.arange(60), scores, texts, graph, max_iterations=50)
    monkeypatch.setattr(smooth, "_BLOCK_SCORES", 40)
    monkeypatch.setattr(smooth, "_BLOCK_ROWS", 7)
    in_many, _, _ = smooth.stata(vectors, np.arange(60), scores, texts, graph, max_iterations=50)
    np.testing.assert_allclose(in_many, in_one, atol=1e-3)


def test_what_is_none_of_the_labels_stays_so() -> None:
    images, texts = unit_vectors(30, seed=5), unit_vectors(3, seed=6)
    vectors = in_memory(images)
    graph = neighbours.build(vectors, np.arange(30), 5)
    own = np.random.default_rng(0).dirichlet(np.ones(4), 30).astype(np.float32)

    def scorer(block: FloatArray) -> FloatArray:
        return own[[int(np.flatnonzero((images == row).all(axis=1))[0]) for row in block]]

    anchors = smooth.anchors(texts, [0, 1, 2], 4)
    assert not anchors[3].any()
    done = smooth.smooth(vectors, np.arange(30), scorer, anchors, graph, none=3)
    np.testing.assert_allclose(done.scores[:, 3], own[:, 3])
    np.testing.assert_allclose(done.scores.sum(axis=1), 1, rtol=1e-5)
    alone, _, _ = smooth.stata(vectors, np.arange(30), own[:, :3], texts, graph)
    np.testing.assert_allclose(done.scores[:, :3], alone * (1 - own[:, 3:]), rtol=1e-4, atol=1e-6)


def test_a_group_has_one_place() -> None:
    texts = unit_vectors(3)
    middle = texts[0] + texts[2]
    anchors = smooth.anchors(texts, [0, 1, 0], 2)
    np.testing.assert_allclose(anchors, [middle / np.linalg.norm(middle), texts[1]], atol=1e-6)


# --- the library ------------------------------------------------------------------------------------------------------


def photos_of(folder: Path) -> Path:
    """Blue photos; and red ones that are much alike, but on both sides of the line between red and orange."""
    for n in range(8):
        photo(folder / f"red {n}.png", (250, 44 + 2 * n, 10), mark=n)
        photo(folder / f"blue {n}.png", (10, n, 240), mark=n)
    (folder / "red 0 again.png").write_bytes((folder / "red 0.png").read_bytes())
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Any:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(photos_of(tmp_path / "photos"))
        yield opened


LABELS = {"red": ["red"], "blue": ["blue"], "orange": ["red red yellow"]}


def test_photos_are_answered_together(library: Library) -> None:
    plain, smoothed = library.classify(LABELS), library.classify(LABELS, smooth=True)
    assert plain.smoothing is None
    assert smoothed.smoothing is not None
    assert plain.paths == smoothed.paths
    flips = {flip.path: flip for flip in smoothed.smoothing.flips}
    assert {p.path for p, s in zip(plain, smoothed, strict=True) if p.label != s.label} == set(flips)
    assert sorted(Path(path).name for path in flips) == [
        "red 0 again.png", "red 0.png", "red 1.png", "red 2.png", "red 3.png"
    ]  # fmt: skip
    for before, after in zip(plain, smoothed, strict=True):
        if before.path in flips:
            flip = flips[before.path]
            assert (flip.before, flip.after) == (before.label, after.label) == ("red", "orange")
            assert (flip.before_score, flip.after_score) == pytest.approx((before.score, after.score), abs=1e-5)
    assert smoothed.smoothing.photos == len(plain) == 17
    scores = smoothed.scores
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(scores.max(axis=1), [r.score for r in smoothed], rtol=1e-6)
    kept = smoothed.filtered(only=["blue"])
    assert kept.smoothing == smoothed.smoothing
    np.testing.assert_array_equal(kept.scores, scores[[r.label == "blue" for r in smoothed]])


def test_a_smoothed_run_has_a_key_of_its_own(library: Library) -> None:
    plain, smoothed = library.classify(LABELS), library.classify(LABELS, smooth=True)
    assert plain.run.key == library.classify(LABELS, smooth=False).run.key != smoothed.run.key
    assert dict(smoothed.run.options)["smooth"] is True
    assert "smooth" not in dict(plain.run.options)
    assert library.classify(LABELS, smooth=True).to_dicts() == smoothed.to_dicts()


def test_groups_and_what_is_none_of_them(library: Library) -> None:
    chosen = label_set(["red", "green", "blue"], groups={"cold": ["green", "blue"]}, negatives=["white"])
    plain, smoothed = library.classify(chosen, top=3), library.classify(chosen, smooth=True, top=3)
    assert smoothed.labels == ("red", "cold", NONE)
    np.testing.assert_allclose(smoothed.scores[:, 2], plain.scores[:, 2], rtol=1e-6)
    np.testing.assert_allclose(smoothed.scores.sum(axis=1), 1, rtol=1e-5)


def test_after_unknown_what_is_none_of_the_labels_stays_so(library: Library) -> None:
    plain, smoothed = (library.classify(LABELS, unknown="mcm:0.3", smooth=smooth) for smooth in (False, True))
    none = [result.label == NONE for result in plain]
    assert 0 < sum(none) < len(none)
    assert [result.label == NONE for result in smoothed] == none
    assert set(dict(smoothed.run.options)) >= {"unknown", "smooth"}


@pytest.mark.parametrize("other", ["thresholds", "multi_label"])
def test_smoothing_gives_one_label(library: Library, other: str) -> None:
    options: dict[str, Any] = {other: True}
    with pytest.raises(ValueError, match="one label"):
        library.classify(LABELS, smooth=True, **options)


def test_a_sigmoid_becomes_shares_too(library: Library) -> None:
    result = library.classify(LABELS, smooth=True, activation="sigmoid")
    np.testing.assert_allclose(result.scores.sum(axis=1), 1, rtol=1e-5)


def test_a_part_of_the_library_and_nothing_at_all(library: Library, tmp_path: Path) -> None:
    part = library.classify(["red", "blue"], smooth=True, paths=[tmp_path / "photos" / "blue 1.png"])
    assert [r.label for r in part] == ["blue"]
    assert [r.score for r in library.classify(["red"], smooth=True)] == [1.0] * 17
    with Library.open(tmp_path / "empty", encoder=FakeEncoder()) as empty, pytest.raises(NoVectors):
        empty.classify(["red", "blue"], smooth=True)


def test_more_scores_than_fit_are_refused(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smooth, "MAX_SCORES", 16 * 3 - 1)
    with pytest.raises(TooManyScores, match="16 photos by 3 labels"):
        library.classify(LABELS, smooth=True)


def test_the_command_shows_what_changed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    run("sync", photos_of(tmp_path / "photos"))
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(LABELS), encoding="utf-8")
    result = run("classify", "--labels", labels, "--smooth", "--format", "json")
    document = json.loads(result.stdout)
    assert document["smoothing"]["changed"] == len(document["smoothing"]["flips"]) == 5
    assert "smoothing gave 5 of 17 photos another label" in result.stderr
    assert result.stderr.count(" → ") == 5
    assert len(document["results"]) == 17
    monkeypatch.setattr(cmd_classify, "SHOWN_FLIPS", 2)
    few = run("classify", "--labels", labels, "--smooth").stderr
    assert (few.count(" → "), "and 3 more" in few) == (2, True)
    assert "smoothing" not in json.loads(run("classify", "--labels", labels, "--format", "json").stdout)
    run("classify", "--labels", labels, "--smooth", "--multi-label", code=2)

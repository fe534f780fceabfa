"""Knownness, against loops over its formulas; the cut, against counting; vocabularies, against files made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.libraries import unit_vectors
from zsindex.classification.rules import Method, UnknownRule
from zsindex.errors import BadLabelFile, BadUnknown
from zsindex.lab import metrics, unknown, vocabulary
from zsindex.lab.unknown import Cut, Strangers, Usual
from zsindex.records import FloatArray

IMAGES, TEXTS, WORDS = unit_vectors(9), unit_vectors(5, seed=1), unit_vectors(40, seed=2)
N_LABELS = 3  # the other two are the label set's own negatives


def cosine(a: FloatArray, b: FloatArray) -> float:
    return float(sum(float(x) * float(y) for x, y in zip(a, b, strict=True)))


# --- methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 25.0])
def test_the_greatest_probability_is_that_of_a_label(scale: float) -> None:
    found = unknown.greatest_probability(TEXTS, N_LABELS, scale=scale)(IMAGES)
    for image, value in zip(IMAGES, found, strict=True):
        weights = [np.exp(scale * cosine(image, text)) for text in TEXTS]
        assert value == pytest.approx(max(weights[:N_LABELS]) / sum(weights), rel=1e-5)


def test_far_words_are_those_with_the_least_percentile() -> None:
    texts = unit_vectors(21, seed=3)
    chosen = unknown.far_words(texts, WORDS, n=7, percentile=95.0)
    # Of 21 ascending values the 95th percentile is the one with 19 below it: 0.95 · 20 is a whole number.
    similarity = [sorted(cosine(word, text) for text in texts)[19] for word in WORDS]
    assert chosen.tolist() == sorted(range(len(WORDS)), key=lambda i: similarity[i])[:7]
    assert len(unknown.far_words(texts, WORDS, n=100)) == len(WORDS)


def test_one_label_that_a_word_resembles_does_not_keep_it() -> None:
    texts = np.eye(40, dtype=np.float32)  # forty labels; the first word is one of them, the second is like all of them
    words = np.stack([texts[0], np.full(40, 40**-0.5, dtype=np.float32)])
    assert unknown.far_words(texts, words, n=1).tolist() == [0]
    assert unknown.far_words(texts, words, n=1, percentile=100).tolist() == [1]


@pytest.mark.parametrize(("n_words", "chosen"), [(3, 3), (200, 100), (1000, 150), (70_000, 10_000)])
def test_how_many_words_are_chosen(n_words: int, chosen: int) -> None:
    assert unknown.n_negatives(n_words) == chosen


@pytest.mark.parametrize("group", [3, 7, 100])
def test_the_labels_share_is_a_mean_over_groups(monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(unknown, "GROUP", group)
    scale = 12.0
    found = unknown.labels_share(TEXTS, N_LABELS, WORDS, scale=scale)(IMAGES)
    n_groups = max(1, len(WORDS) // group)
    per_group = len(WORDS) // n_groups
    for image, value in zip(IMAGES, found, strict=True):
        own = [np.exp(scale * cosine(image, text)) for text in TEXTS]
        shares = []
        for g in range(n_groups):
            dealt = [WORDS[g + turn * n_groups] for turn in range(per_group)]
            others = sum(np.exp(scale * cosine(image, word)) for word in dealt)
            shares.append(sum(own[:N_LABELS]) / (sum(own) + others))
        assert value == pytest.approx(np.mean(shares), rel=1e-5)


def test_the_labels_share_bears_any_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown, "GROUP", 10)
    values = unknown.labels_share(TEXTS, N_LABELS, WORDS, scale=1e4)(IMAGES)
    assert ((values >= 0) & (values <= 1)).all()
    label = unknown.labels_share(TEXTS[:1], 1, -TEXTS[:1], scale=1e4)
    assert label(np.stack([TEXTS[0], -TEXTS[0]])).tolist() == [1, 0]


@pytest.mark.parametrize("scale", [1.0, 25.0])
@pytest.mark.parametrize("n_labels", [1, 3, 7])
def test_photos_of_a_label_and_a_word_at_once(n_labels: int, scale: float) -> None:
    texts = unit_vectors(n_labels + 2, seed=1)  # two are the label set's own negatives
    found = unknown.multi_matching(texts, n_labels, WORDS, scale=scale)(IMAGES)
    share = unknown.labels_share(texts, n_labels, WORDS, scale=scale)(IMAGES)
    for image, value, part in zip(IMAGES, found, share, strict=True):
        labels = sorted(texts[:n_labels], key=lambda text: -cosine(image, text))[:5]
        words = sorted([*texts[n_labels:], *WORDS], key=lambda text: -cosine(image, text))[:5]
        matches = 0.0
        for label in labels:
            for word in words:
                both = (label + word) / np.sqrt(cosine(label + word, label + word))
                ours, theirs = np.exp(scale * cosine(image, both)), np.exp(scale * cosine(image, word))
                matches = max(matches, ours / (ours + theirs))
        assert value == pytest.approx((part + 2 * matches) / 3, rel=1e-4)


def test_a_photo_of_a_label_and_a_word_is_better_known_than_one_of_the_word_alone() -> None:
    label, word, other = np.eye(3, dtype=np.float32)
    both, alone = (label + word) / np.sqrt(np.float32(2)), (other + word) / np.sqrt(np.float32(2))
    score = unknown.multi_matching(label[None], 1, word[None], scale=25.0)
    assert score(np.stack([both, alone])).tolist() == pytest.approx([0.833, 0.003], abs=0.001)
    # Opposite texts have nothing that stands for both.
    assert np.isfinite(unknown.multi_matching(label[None], 1, -label[None], scale=25.0)(both[None])).all()


def test_kinds_of_a_label_cost_neglabel_the_photos_of_that_label() -> None:
    """Of 30 labels one has ten kinds, which are among the words because they are far from all other labels.

    Known photos show the kinds, unknown ones other words. At its own cut neglabel calls all of them
    unknown; without the kinds, the unknown ones.
    """
    random = np.random.default_rng(0)
    labels, others = _directions(random.standard_normal((30, 64))), _directions(random.standard_normal((90, 64)))
    kinds = _directions(labels[0] + _directions(random.standard_normal((10, 64))))
    vectors = np.concatenate([kinds, others])
    words = [f"kind {n}" for n in range(10)] + [f"other {n}" for n in range(90)]
    far = unknown.far_words(labels, vectors, n=100)
    images = _directions(np.concatenate([kinds, others]) + 0.5 * _directions(random.standard_normal((100, 64))))
    is_known = np.arange(100) < 10
    before = unknown.labels_share(labels, 30, vectors[far], scale=25.0)(images)
    left = unknown.refined_words(["label 0"], words, set(words[:10]), vectors @ labels.T)
    assert left == list(range(10, 100))
    after = unknown.labels_share(labels, 30, vectors[left], scale=25.0)(images)
    assert (before < 0.5).all()
    assert (after[is_known] > 0.5).all()
    assert (after[~is_known] < 0.5).mean() > 0.95


def test_words_that_name_a_kind_of_a_label_are_no_negatives() -> None:
    words = ["rain coat", "parka", "Paris", "spoon", "raincoat"]
    cosines = np.array([[0.2, 0.1], [0.3, 0.95], [0.1, 0.1], [0.89, 0.2], [0.1, 0.1]], dtype=np.float32)
    labels = ["Coat", "jacket"]
    assert unknown.refined_words(labels, words, {"parka", "Paris"}, cosines) == [3, 4]
    assert unknown.refined_words(labels, words, None, cosines) == [2, 3, 4]
    assert unknown.refined_words(["spoon"], words, {"spoon"}, cosines) == [0, 1, 2, 4]


def test_what_is_usual_is_measured_in_one_pass() -> None:
    blocks = [(slice(0, 4), IMAGES[:4]), (slice(4, 9), IMAGES[4:])]
    usual = Usual.of(iter(blocks), TEXTS)
    cosines = IMAGES.astype(np.float64) @ TEXTS.T.astype(np.float64)
    np.testing.assert_allclose(usual.mean, cosines.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(usual.deviation, cosines.std(axis=0), atol=1e-6)


@pytest.mark.parametrize("answer_of", [(0, 1, 1, 2, 2), (0, 1, 2, 3, 4)])
def test_photos_are_compared_with_what_is_usual(answer_of: tuple[int, ...]) -> None:
    usual = Usual.of([(slice(0, 9), IMAGES)], TEXTS)
    above = unknown.above_usual(TEXTS, N_LABELS, usual)(IMAGES)
    margins = unknown.above_next(TEXTS, N_LABELS, usual, answer_of)(IMAGES)
    cosines = np.array([[cosine(image, text) for text in TEXTS] for image in IMAGES])
    scores = (cosines - cosines.mean(axis=0)) / cosines.std(axis=0)
    for row, values, z, margin in zip(cosines, scores, above, margins, strict=True):
        assert z == pytest.approx(values[int(row[:N_LABELS].argmax())], abs=1e-4)
        best = int(values[:N_LABELS].argmax())
        rivals = [value for value, answer in zip(values, answer_of, strict=True) if answer != answer_of[best]]
        assert margin == pytest.approx(values[best] - max(rivals), abs=1e-4)
    assert (margins < 0).any()  # where a negative stands highest


def test_a_label_that_is_equally_near_to_all_says_nothing() -> None:
    same = np.repeat(IMAGES[:1], 4, axis=0)
    usual = Usual.of([(slice(0, 4), same)], TEXTS)
    assert unknown.above_usual(TEXTS, N_LABELS, usual)(IMAGES).tolist() == [0] * 9


# --- what people called none of these ---------------------------------------------------------------------------------


def test_photos_like_those_called_none_are_less_known() -> None:
    average = np.full(IMAGES.shape[1], 0.1, dtype=np.float32)
    strangers = Strangers.of(IMAGES[:2], average)
    found = unknown.less_known(lambda images: np.ones(len(images), dtype=np.float32), strangers, 0.3)(IMAGES)
    likeness = strangers.likeness(IMAGES)
    for image, value, like in zip(IMAGES, found, likeness, strict=True):
        total = sum(affinity(image - average, stranger - average) for stranger in IMAGES[:2])
        assert like == pytest.approx(total, rel=1e-4)
        assert value == pytest.approx(1 - 0.3 * total, rel=1e-4)
    assert (likeness[:2] > 1).all()
    assert (likeness[2:] < 0.5).all()


def affinity(a: FloatArray, b: FloatArray) -> float:
    return float(np.exp(-unknown.SHARPNESS * (1 - cosine(a, b) / np.sqrt(cosine(a, a) * cosine(b, b)))))


def test_photos_called_none_are_trusted_as_far_as_they_tell_each_other() -> None:
    nowhere = np.zeros(IMAGES.shape[1], dtype=np.float32)
    photos = IMAGES[:4] + 1.5 * IMAGES[8]  # they have something in common, and so have others, to a growing degree
    others = IMAGES[4:8] + 0.3 * IMAGES[8] * np.arange(4, dtype=np.float32)[:, None]
    strangers = Strangers.of(photos, nowhere)
    likeness = strangers.likeness(others)
    rest = [sum(affinity(a, photos[j]) for j in range(4) if j != i) for i, a in enumerate(photos)]
    wins = np.mean([float(one > other) for one in rest for other in likeness.tolist()])
    assert 0.5 < wins < 1
    assert strangers.trust(likeness) == pytest.approx(2 * wins - 1)
    assert strangers.trust(likeness * 0) == 1
    assert strangers.trust(likeness + 9) == 0  # others are more like them than they are like each other
    assert strangers.trust(likeness[:0]) == 0
    assert Strangers.of(IMAGES[:1], nowhere).trust(likeness * 0) == 0


def test_the_average_photo_is_like_no_other() -> None:
    strangers = Strangers.of(IMAGES[:1], IMAGES[1])
    assert strangers.likeness(IMAGES[1:2])[0] == pytest.approx(np.exp(-unknown.SHARPNESS))
    nowhere = Strangers.of(IMAGES[:1], IMAGES[0])
    np.testing.assert_allclose(nowhere.likeness(IMAGES), np.exp(-unknown.SHARPNESS), rtol=1e-5)


def test_near_strangers_pass_far_words_but_not_what_is_usual_nor_corrections() -> None:
    """Eight labels of one family. Known photos show one of them; near strangers show two other things of the family.

    The worlds are seeded: the AUROC of neglabel is 0.53 to 0.82 in the ten of them, that of zscore always 1.00, and
    with 20 of the 60 strangers corrected that of neglabel is 0.86 to 0.95 among the others.
    """
    shown = np.arange(8).repeat(40)
    rest = np.r_[:320, 340:380]
    is_known = rest < 320
    for seed in range(10):
        random = np.random.default_rng(seed)
        family, far, kinds, own = (_directions(random.standard_normal((n, 64))) for n in (1, 100, 10, 380))
        kinds = _directions(3 * family + kinds)
        images = _directions(kinds[[*shown, *([8, 9] * 30)]] + 0.4 * own)
        labels = kinds[:8]
        neglabel = unknown.labels_share(labels, 8, far, scale=25.0)
        values = neglabel(images)
        by_words = metrics.auroc(values[rest], is_known)
        usual = Usual.of([(slice(0, 380), images)], labels)
        by_usual = metrics.auroc(unknown.above_usual(labels, 8, usual)(images)[rest], is_known)
        strangers = Strangers.of(images[320:340], images.mean(axis=0))
        weight = unknown.WEIGHT * strangers.trust(strangers.likeness(images[rest])) * float(values.std())
        taught = metrics.auroc(unknown.less_known(neglabel, strangers, weight)(images)[rest], is_known)
        assert by_words < 0.85
        assert by_usual > 0.99
        assert taught > max(0.84, by_words + 0.1)


def _directions(rows: npt.NDArray[np.floating]) -> FloatArray:
    unit: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("mcm:0.1", UnknownRule(Method.MCM, rate=0.1)),
        ("margin:score=-1.5", UnknownRule(Method.MARGIN, score=-1.5)),
        ("neglabel", UnknownRule(Method.NEGLABEL)),
        ("neglabel:0", UnknownRule(Method.NEGLABEL, rate=0.0)),
        ("neglabel@wordnet", UnknownRule(Method.NEGLABEL, "wordnet")),
        ("neglabel@a:b/words.txt:score=0.3", UnknownRule(Method.NEGLABEL, "a:b/words.txt", score=0.3)),
        ("neglabel@a:b", UnknownRule(Method.NEGLABEL, "a:b")),
        ("negrefine", UnknownRule(Method.NEGREFINE)),
        ("negrefine@wordnet:0.1", UnknownRule(Method.NEGREFINE, "wordnet", rate=0.1)),
    ],
)
def test_rules_are_read(text: str, rule: UnknownRule) -> None:
    assert UnknownRule.parse(text) == rule


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the methods are softmax, mcm"),
        ("mcn:0.1", "the methods are"),
        ("mcm:x", "the methods are"),
        ("mcm:nan", "the methods are"),
        ("mcm", "such as a tenth: mcm:0.1"),
        ("mcm:1.5", "between 0 and 1"),
        ("mcm@basic:0.1", "only neglabel and negrefine take a vocabulary"),
        ("neglabel@", "only neglabel and negrefine take a vocabulary"),
    ],
)
def test_rules_that_cannot_be_followed_say_why(text: str, why: str) -> None:
    with pytest.raises(BadUnknown, match=why):
        UnknownRule.parse(text)


def test_without_a_cut_every_method_will_do() -> None:
    assert UnknownRule.parse("zscore", needs_cut=False) == UnknownRule(Method.ZSCORE)


# --- the cut ----------------------------------------------------------------------------------------------------------

KNOWNNESS = st.lists(st.integers(-5, 5), min_size=1, max_size=30)


@given(KNOWNNESS, st.floats(0, 1))
def test_a_rate_calls_at_most_so_many_unknown(values: list[int], rate: float) -> None:
    cut = Cut.of(np.array(values, dtype=np.float32), UnknownRule(Method.MCM, rate=rate))
    wanted = round(rate * len(values))
    called = [v for v in values if v < cut.at]
    assert len(called) <= wanted
    ordered = sorted(values)
    if wanted in (0, len(values)) or ordered[wanted - 1] < ordered[wanted]:
        assert called == [v for v in values if v in ordered[:wanted]]
    else:
        assert ordered[wanted] not in called


@given(KNOWNNESS, st.floats(0, 1))
def test_the_less_known_the_higher_the_score_of_none(values: list[int], rate: float) -> None:
    knownness = np.array(values, dtype=np.float32)
    cut = Cut.of(knownness, UnknownRule(Method.MCM, rate=rate))
    scores = cut.score(knownness)
    assert ((scores > 0.5) == (knownness < cut.at)).all()
    assert (scores[knownness >= cut.at] == 0).all()
    below = [v for v in values if v < cut.at]
    for value, score in zip(values, scores.tolist(), strict=True):
        if value < cut.at:
            assert score == pytest.approx(1 - sum(v < value for v in below) / len(below) / 2)
    assert cut.score(np.array([-99], dtype=np.float32))[0] == (1 if len(below) or cut.at > -99 else 0)


def test_cuts_by_score_and_by_the_method_itself() -> None:
    knownness = np.array([0.2, 0.45, 0.5, 0.9], dtype=np.float32)
    assert Cut.of(knownness, UnknownRule(Method.NEGLABEL)).at == 0.5
    cut = Cut.of(knownness, UnknownRule(Method.MCM, score=0.4))
    assert (cut.score(knownness) > 0).tolist() == [True, False, False, False]
    empty = Cut.of(np.empty(0, dtype=np.float32), UnknownRule(Method.NEGLABEL))
    assert empty.score(knownness).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("has_none", [False, True])
def test_none_of_these_comes_first_where_a_photo_is_unknown(has_none: bool) -> None:
    before = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [1.0, 0.0, 0.0]], dtype=np.float32)
    knownness = np.array([0.9, 0.1, 0.3], dtype=np.float32)
    cut = Cut.of(knownness, UnknownRule(Method.NEGLABEL))
    scorer = unknown.with_none(lambda images: before.copy(), lambda images: knownness, cut, has_none=has_none)
    after = scorer(IMAGES[:3])
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-6)
    none = after[:, -1]
    np.testing.assert_allclose(after[0, :2], before[0, :2])  # known: as it was
    assert (after.argmax(axis=1) == after.shape[1] - 1).tolist() == [False, True, True]
    assert none[1] > none[2] > 0.5
    u = cut.score(knownness)[1]
    np.testing.assert_allclose(after[1, :2], before[1, :2] * (1 - u), atol=1e-6)
    assert none[1] == pytest.approx(u + (1 - u) * (before[1, 2] if has_none else 0))


# --- vocabularies -----------------------------------------------------------------------------------------------------


def test_the_built_in_words() -> None:
    words = vocabulary.words("basic")
    assert len(words) == len(set(words)) == 200
    assert list(words) == sorted(words)
    assert {"angle", "cat", "worm"} <= set(words)


def test_words_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("# mine\n\nowl\n fox \nowl\n", encoding="utf-8")
    assert vocabulary.words(str(file)) == ("owl", "fox")
    file.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(BadLabelFile, match="no word"):
        vocabulary.words(str(file))
    file.write_bytes("café".encode("latin-1"))
    with pytest.raises(BadLabelFile, match="UTF-8"):
        vocabulary.words(str(file))
    with pytest.raises(BadLabelFile, match="No such file"):
        vocabulary.words(str(tmp_path / "none.txt"))


def test_wordnet_gives_common_nouns_of_things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "WORDNET_FOLDERS", (tmp_path / "not here", tmp_path))
    with pytest.raises(BadLabelFile, match="wordnet-base"):
        vocabulary.words("wordnet")
    # offset topic type words… : an animal of two names, an act, a person's name, an artifact.
    (tmp_path / "data.noun").write_text(
        "  1 licence\n"
        "00000010 05 n 02 tabby_cat 0 tabby 0 000 | a cat\n"
        "00000020 04 n 01 swim 0 000 | an act\n"
        "00000030 05 n 01 Felix 0 000 | a cat\n"
        "00000040 06 n 01 chair 0 000 | a seat\n",
        encoding="utf-8",
    )
    (tmp_path / "index.noun").write_text(
        "  1 licence\n"
        "chair n 2 1 @ 2 1 00000040 00000020\n"
        "felix n 1 1 @ 1 1 00000030\n"
        "swim n 2 1 @ 2 1 00000020 00000040\n"
        "tabby n 1 1 @ 1 0 00000010\n"
        "tabby_cat n 1 1 @ 1 3 00000010\n",
        encoding="utf-8",
    )
    assert vocabulary.words("wordnet") == ("chair", "tabby cat")


def test_wordnet_knows_kinds_and_individuals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "WORDNET_FOLDERS", (tmp_path,))
    assert not vocabulary.has_wordnet()
    with pytest.raises(BadLabelFile, match="wordnet-base"):
        vocabulary.names_or_kinds(["cat"], ["tabby"])
    # An animal with a kind and a kind of that; a second sense of its word, for a whip; a city; a chair.
    (tmp_path / "data.noun").write_text(
        "  1 licence\n"
        "00000010 05 n 02 cat 0 true_cat 0 001 ~ 00000020 n 0000 | a cat\n"
        "00000020 05 n 01 tabby_cat 0 002 @ 00000010 n 0000 ~ 00000030 n 0000 | striped\n"
        "00000030 05 n 01 Felix 0 001 @ 00000020 n 0000 | a kind\n"
        "00000040 06 n 02 cat 1 cat-o'-nine-tails 0 000 | a whip\n"
        "00000050 15 n 01 Paris 0 001 @i 00000070 n 0000 | a city\n"
        "00000060 06 n 01 chair 0 000 | a seat\n"
        "00000070 15 n 01 city 0 001 ~i 00000050 n 0000 | a place\n",
        encoding="utf-8",
    )
    (tmp_path / "index.noun").write_text(
        "  1 licence\n"
        "cat n 2 1 ~ 2 1 00000010 00000040\n"
        "cat-o'-nine-tails n 1 0 1 0 00000040\n"
        "chair n 2 0 2 1 00000060 00000020\n"
        "city n 1 1 ~i 1 1 00000070\n"
        "felix n 1 1 @ 1 0 00000030\n"
        "paris n 1 1 @i 1 1 00000050\n"
        "tabby_cat n 1 1 @ 1 3 00000020\n"
        "true_cat n 1 1 ~ 1 0 00000010\n",
        encoding="utf-8",
    )
    words = ["Felix", "tabby cat", "true cat", "chair", "Paris", "city", "cat-o'-nine-tails", "sofa"]
    assert vocabulary.has_wordnet()
    kinds = vocabulary.names_or_kinds(["Cats"], words)
    assert kinds == {"Felix", "tabby cat", "true cat", "cat-o'-nine-tails", "Paris"}
    assert vocabulary.names_or_kinds(["tabby cat"], words) == {"Felix", "tabby cat", "Paris"}
    assert vocabulary.names_or_kinds(["owl"], words) == {"Paris"}

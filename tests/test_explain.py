"""Why a photo got its answer, against what `classify` and single prompts say; and which photos are there twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fakes import FakeEncoder
from tests.libraries import new_library
from tests.scenes import photo
from zsindex.classification.results import Classification
from zsindex.errors import UnknownImage
from zsindex.library import Library

LABELS = ["red", "green", "blue", "white"]
TEMPLATES = ["{}", "a black {}", "yellow {} on white"]


@pytest.fixture
def library(tmp_path: Path):  # type: ignore[no-untyped-def]
    for n, colour in enumerate(["red", (200, 80, 30), (120, 130, 200), "white"]):
        photo(tmp_path / "album" / f"{n}.png", colour)
    with Library.open(new_library(tmp_path / "library"), encoder=FakeEncoder(), workers=1) as opened:
        opened.sync(tmp_path / "album")
        yield opened


def ids(library: Library) -> list[int]:
    return library.view().image_ids.tolist()


def test_its_scores_are_those_of_classify(library: Library) -> None:
    expected = library.classify(LABELS, template=TEMPLATES, top=4)
    for image_id, result in zip(ids(library), expected, strict=True):
        why = library.lab.explain(image_id, LABELS, template=TEMPLATES)
        scores = [one.score for one in result.predictions]
        assert why.answers[0].label == result.label
        assert [one.score for one in why.answers] == pytest.approx(scores, abs=1e-6)
        assert {one.label: one.score for one in why.answers} == pytest.approx(
            {one.label: one.score for one in result.predictions}, abs=1e-6
        )
        assert why.margin == pytest.approx(scores[0] - scores[1], abs=1e-6)


def test_a_template_alone_answers_as_it_does_alone(library: Library) -> None:
    image_id = ids(library)[1]
    why = library.lab.explain(image_id, LABELS, template=TEMPLATES, most=2)
    assert [one.template for one in why.templates] == TEMPLATES
    for one in why.templates:
        alone = {p.label: p.score for p in library.classify(LABELS, template=one.template, top=4)[1].predictions}
        assert one.label == max(alone, key=alone.__getitem__)
        assert one.scores == pytest.approx([alone[answer.label] for answer in why.answers], abs=1e-6)


def test_the_nearest_prompts(library: Library) -> None:
    image_id = ids(library)[2]
    [image] = library.vectors.of([image_id])
    why = library.lab.explain(image_id, LABELS, template=TEMPLATES, most_prompts=5)
    texts = [(label, template.replace("{}", label)) for label in LABELS for template in TEMPLATES]
    cosines = library.embed_texts([text for _, text in texts]) @ image
    best = sorted(zip(cosines.tolist(), texts, strict=True), key=lambda one: -one[0])[:5]
    assert [one.cosine for one in why.prompts] == pytest.approx([cosine for cosine, _ in best], abs=1e-6)
    assert {(one.label, one.prompt) for one in why.prompts[:1]} <= {t for c, t in best if c >= best[0][0] - 1e-6}


def test_groups_and_negatives_count_as_in_classify(library: Library) -> None:
    library.labels.save("cold", {"red": ["red", "a dark red"], "green": None, "blue": ["blue"]})
    why = library.lab.explain(ids(library)[0], "cold")
    assert why.answers[0].label == "red"
    assert why.templates == ()  # prompts were written out, so that there is no template that stands for all
    assert library.lab.explain(ids(library)[0], ["red"]).margin is None


def test_who_is_not_there_is_named(library: Library) -> None:
    with pytest.raises(UnknownImage, match="999"):
        library.lab.explain(999, LABELS)


def test_copies(library: Library, tmp_path: Path) -> None:
    assert library.neighbours.copies() == []
    album = tmp_path / "album"
    for name in ("b/again.png", "z.png"):
        (album / name).parent.mkdir(exist_ok=True)
        (album / name).write_bytes((album / "1.png").read_bytes())
    (album / "same white.png").write_bytes((album / "3.png").read_bytes())
    library.sync()
    found = [sorted(one.paths) for one in library.neighbours.copies()]
    assert found == [
        [str(album / name) for name in ("1.png", "b/again.png", "z.png")],
        [str(album / name) for name in ("3.png", "same white.png")],
    ]


def test_by_answer(library: Library) -> None:
    found: Classification = library.classify(LABELS)
    ranked = found.by_answer
    for number, label in enumerate(found.labels):
        own = sorted((n for n, one in enumerate(found) if one.label == label), key=lambda n: -found[n].score)
        assert ranked.of(number).tolist() == own
        levels = [0.0, 0.3, found[own[0]].score if own else 0.5, 1.0]
        expected = [sum(found[n].score >= level for n in own) for level in levels]
        assert ranked.at_least(number, levels).tolist() == expected
    assert ranked.by_score.tolist() == sorted(range(len(found)), key=lambda n: -found[n].score)
    bare = found.filtered(only=["red"]).by_answer
    assert np.array_equal(bare.of(0), bare.by_score)

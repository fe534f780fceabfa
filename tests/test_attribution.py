"""What templates do, against averages that are made anew without each of them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.libraries import unit_vectors
from zsindex.classification.scorers import Head
from zsindex.classification.scores import label_vectors
from zsindex.lab import attribution
from zsindex.records import Activation, FloatArray

TEMPLATES = ("a {}", "the {}", "my {}")
SCALE = 5.0


def scores(prompts: FloatArray, images: FloatArray, answer_of: list[int], activation: Activation) -> np.ndarray:
    """Of answers, by the parts that classification is made of."""
    t, c, dim = prompts.shape
    averages = label_vectors(prompts.transpose(1, 0, 2).reshape(t * c, dim), [t] * c)
    head = Head.zero_shot(averages, logit_scale=SCALE, logit_bias=None, activation=activation, answer_of=answer_of)
    return head(images)


@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("answer_of", [[0, 1, 2, 3], [0, 0, 1, 2]])
def test_each_template_is_left_out_in_turn(
    activation: Activation, answer_of: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution, "CELLS", 12 * 7)  # seven photos at a time
    n, answers = 50, ["a", "b", "c", "d"][: max(answer_of) + 1]
    images = unit_vectors(n, seed=1)
    prompts = np.stack([unit_vectors(4, seed=seed) for seed in (2, 3, 4)])
    right = np.eye(len(answers), dtype=bool)[np.random.default_rng(0).integers(0, len(answers), n)]
    found = attribution.attribute(
        n,
        lambda photos: images[photos],
        prompts,
        templates=TEMPLATES,
        answers=answers,
        answer_of=np.array(answer_of),
        activation=activation,
        logit_scale=SCALE,
        right=right,
        truth="folders",
        n_resamples=300,
    )

    def top1(which: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        matrix = scores(prompts[which], images, answer_of, activation).astype(np.float64)
        best = matrix.argmax(axis=1)
        two = np.sort(matrix, axis=1)[:, -2:]
        if activation is Activation.SIGMOID:
            two = np.log(two / (1 - two))
            return best, right[np.arange(n), best], two[:, 1] - two[:, 0]
        return best, right[np.arange(n), best], np.log(two[:, 1] / two[:, 0])

    best, hits, margin = top1([0, 1, 2])
    assert found.photos == n
    assert found.top1 is not None
    assert found.top1.value == pytest.approx(hits.mean())
    for t, effect in enumerate(found.templates):
        without, without_hits, without_margin = top1([i for i in range(3) if i != t])
        assert effect.template == TEMPLATES[t]
        assert effect.top1 is not None
        assert effect.top1.value == pytest.approx(hits.mean() - without_hits.mean())
        assert effect.top1.low <= effect.top1.value <= effect.top1.high
        assert effect.alone == pytest.approx(top1([t])[1].mean())
        assert effect.agreement == pytest.approx((best == without).mean())
        assert effect.margin == pytest.approx((margin - without_margin).mean(), abs=2e-3)
        for label in [label for label in found.labels if label.template == TEMPLATES[t]]:
            number = answers.index(label.label)
            there = right[:, number]
            assert label.photos == there.sum()
            assert label.recall == pytest.approx(hits[there].mean() - without_hits[there].mean())
            f1 = [
                2 * (answered[there] == number).sum() / (there.sum() + (answered == number).sum())
                for answered in (best, without)
            ]
            assert label.f1 == pytest.approx(f1[0] - f1[1])
            assert label.agreement == pytest.approx((best == without)[there].mean())
    assert len(found.labels) == 3 * len(answers)


def test_without_truth_only_answers_are_compared() -> None:
    images, prompts = unit_vectors(30, seed=1), np.stack([unit_vectors(3, seed=s) for s in (2, 3)])
    found = attribution.attribute(
        30,
        lambda photos: images[photos],
        prompts,
        templates=TEMPLATES[:2],
        answers=["a", "b", "c"],
        answer_of=np.arange(3),
        activation=Activation.SOFTMAX,
        logit_scale=SCALE,
    )
    assert (found.top1, found.truth) == (None, None)
    assert all(e.top1 is None and e.alone is None for e in found.templates)
    best = scores(prompts, images, [0, 1, 2], Activation.SOFTMAX).argmax(axis=1)
    first = [e for e in found.labels if e.template == TEMPLATES[0]]
    assert {e.label: e.photos for e in first} == {
        "abc"[n]: int((best == n).sum()) for n in range(3) if (best == n).any()
    }
    assert all(e.recall is None and e.f1 is None for e in found.labels)
    assert found.to_dict()["templates"][0]["top1"] is None


def test_one_answer_has_no_margin() -> None:
    images, prompts = unit_vectors(5), np.stack([unit_vectors(1, seed=s) for s in (2, 3)])
    found = attribution.attribute(
        5,
        lambda photos: images[photos],
        prompts,
        templates=TEMPLATES[:2],
        answers=["a"],
        answer_of=np.zeros(1, dtype=np.int64),
        activation=Activation.SOFTMAX,
        logit_scale=SCALE,
    )
    assert [e.margin for e in found.templates] == [0.0, 0.0]

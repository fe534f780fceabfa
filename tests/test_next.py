"""What to label next: unsure photos first, and not ten of one scene."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.libraries import unit_vectors
from zsindex.index.vectors import VectorTable
from zsindex.lab import next as choosing
from zsindex.lab.next import Suggestion, margins, most_telling
from zsindex.records import FloatArray

NONE_YET = np.empty(0, dtype=np.int64)


def vectors_of(rows: FloatArray) -> VectorTable:
    return VectorTable(None, np.arange(len(rows)), rows, np.empty(0, dtype=np.int64))


def test_margins_are_best_less_second() -> None:
    scores = np.random.default_rng(0).random((3000, 4)).astype(np.float32)
    rows = np.arange(0, 3000, 2)
    index = np.zeros((3000, 4), dtype=np.float32)
    index[:] = scores
    found = margins(vectors_of(index), rows, lambda block: block)
    ordered = np.sort(scores[rows], axis=1)
    assert found == pytest.approx(ordered[:, -1] - ordered[:, -2])


def naive(rows: FloatArray, pool: list[int], labelled: list[int], n: int) -> list[int]:
    """Each time try every photo, and add up how near each of the pool is to what would then be taken or labelled."""
    chosen: list[int] = []

    def value(taken: list[int]) -> float:
        return sum(max([-1.0, *(float(rows[i] @ rows[j]) for j in taken)]) for i in pool)

    while len(chosen) < n:
        chosen.append(max((j for j in pool if j not in chosen), key=lambda j: value([*labelled, *chosen, j])))
    return chosen


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 4), n_labelled=st.integers(0, 5))
def test_choosing_is_greedy_over_the_least_sure(seed: int, n: int, n_labelled: int) -> None:
    rows = unit_vectors(120, seed=seed)
    unsure = np.random.default_rng(seed).random(120).astype(np.float32)
    labelled = np.arange(120 - n_labelled, 120)
    free = np.arange(120 - n_labelled)
    found = most_telling(vectors_of(rows), free, unsure[free], labelled, n)
    pool = np.argsort(unsure[free])[: 20 * n].tolist()
    assert found.tolist() == naive(rows, pool, labelled.tolist(), n)
    assert len(set(found.tolist())) == n


def test_near_copies_come_once() -> None:
    scenes = np.repeat(unit_vectors(5), 20, axis=0)
    scenes += np.random.default_rng(1).normal(scale=1e-3, size=scenes.shape).astype(np.float32)
    scenes /= np.linalg.norm(scenes, axis=1, keepdims=True)
    unsure = np.arange(100, dtype=np.float32)
    found = most_telling(vectors_of(scenes), np.arange(100), unsure, NONE_YET, 5)
    assert sorted((found // 20).tolist()) == [0, 1, 2, 3, 4]


def test_more_than_there_are_gives_all_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, unsure = unit_vectors(4), np.array([0.3, 0.1, 0.2, 0.4], dtype=np.float32)
    assert sorted(most_telling(vectors_of(rows), np.arange(4), unsure, NONE_YET, 9).tolist()) == [0, 1, 2, 3]
    assert most_telling(vectors_of(rows), NONE_YET, unsure[:0], np.arange(4), 3).tolist() == []
    monkeypatch.setattr(choosing, "LARGEST_POOL", 2)
    assert sorted(most_telling(vectors_of(rows), np.arange(4), unsure, NONE_YET, 2).tolist()) == [1, 2]
    assert sorted(most_telling(vectors_of(rows), np.arange(4), unsure, NONE_YET, 3).tolist()) == [0, 1, 2]


def test_a_suggestion_as_plain_data() -> None:
    photo = Suggestion("/a.jpg", "cat", 0.5, "dog", 0.25, ("/b.jpg",))
    assert photo.to_dict() == {
        "path": "/a.jpg",
        "label": "cat",
        "score": 0.5,
        "second": "dog",
        "second_score": 0.25,
        "margin": 0.25,
        "copies": ["/b.jpg"],
    }

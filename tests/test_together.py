"""Questions that are asked at once: answered by one pass, to the same bit as each by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tests.waiting import WAIT_S, until
from zsindex.classification import scores
from zsindex.classification.scores import classify
from zsindex.index import cores, nearest
from zsindex.index import together as together_module
from zsindex.index.snapshots import VectorIndex
from zsindex.index.together import NobodyWaits, Together, nobody_waits
from zsindex.index.vectors import Snapshot, VectorTable, blocks
from zsindex.records import Activation, FloatArray, IdArray

Searches: TypeAlias = Together[nearest._Products, FloatArray]

N, DIM = 20_000, 128


def unit(n: int, seed: int) -> FloatArray:
    rows = np.random.default_rng(seed).standard_normal((n, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


@pytest.fixture(scope="module")
def vectors() -> VectorTable:
    none = np.empty(0, dtype=np.int64)
    return VectorTable(Snapshot(Path("none"), np.arange(N), unit(N, 1)), N + np.arange(50), unit(50, 2), none)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Searches:
    fresh = Together(nearest._made, nearest._fits)
    monkeypatch.setattr(nearest, "_together", fresh)
    return fresh


class Held:
    """Passes of which the first waits until it is let go, and then does what a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: BaseException | None = None) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()
        self.queries: list[int] = []
        really = nearest._one_pass

        def one_pass(vectors: VectorTable, rows: IdArray, queries: FloatArray) -> FloatArray:
            self.queries.append(len(queries))
            if len(self.queries) == 1:
                self.began.set()
                assert self.go_on.wait(WAIT_S)
                if first is not None:
                    raise first
            return really(vectors, rows, queries)

        monkeypatch.setattr(nearest, "_one_pass", one_pass)


def all_wait(together: Together[Any, Any], n: int) -> None:
    """Until so many wait for the pass that is held."""
    until(lambda: len(together._waiting) == n)


def of_rows(vectors: VectorTable, query: FloatArray) -> tuple[IdArray, FloatArray]:
    return nearest.exact_after(vectors, vectors.rows, query, 20)


def of_an_index(vectors: VectorTable, query: FloatArray) -> tuple[IdArray, FloatArray]:
    return VectorIndex(vectors, watermark=1, generation=0).search(query[None], 20)


@pytest.mark.parametrize("ask", [of_rows, of_an_index])
def test_who_asks_meanwhile_is_answered_by_one_pass(
    vectors: VectorTable,
    together: Searches,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[VectorTable, FloatArray], tuple[IdArray, FloatArray]],
) -> None:
    queries = unit(9, 3)
    alone = [ask(vectors, query) for query in queries]
    held = Held(monkeypatch)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(ask, vectors, queries[0])
        assert held.began.wait(WAIT_S)
        others = [pool.submit(ask, vectors, query) for query in queries[1:]]
        all_wait(together, 8)
        held.go_on.set()
        found = [one.result(WAIT_S) for one in (first, *others)]
    assert held.queries == [1, 8]
    for (ids, shown), (expected_ids, expected) in zip(found, alone, strict=True):
        assert ids.tolist() == expected_ids.tolist()
        assert shown.tobytes() == expected.tobytes()


def test_other_rows_are_passes_of_their_own(
    vectors: VectorTable, together: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, some = unit(3, 3), np.arange(0, N, 1)[100:]
    alone = nearest.exact(vectors, some, queries[:1], 5)
    held = Held(monkeypatch)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(nearest.exact, vectors, vectors.rows, queries[:1], 5)
        assert held.began.wait(WAIT_S)
        second = pool.submit(nearest.exact, vectors, some, queries[:1], 5)
        third = pool.submit(nearest.exact, vectors, vectors.rows, queries[1:], 5)
        all_wait(together, 2)
        held.go_on.set()
        found = [one.result(WAIT_S) for one in (first, second, third)]
    assert sorted(held.queries) == [1, 1, 2]
    assert found[1][0].tolist() == alone[0].tolist()


@pytest.mark.parametrize("error", [MemoryError("no room"), KeyboardInterrupt()])
def test_whoever_fails_fails_alone(
    vectors: VectorTable, together: Searches, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    queries, rows = unit(4, 3), vectors.rows
    held = Held(monkeypatch, first=error)
    # The first pass takes one query, so the others are still waiting when it fails.
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(nearest.exact_after, vectors, rows, queries[0], 5)
        assert held.began.wait(WAIT_S)
        others = [pool.submit(nearest.exact_after, vectors, rows, query, 5) for query in queries[1:]]
        all_wait(together, 3)
        held.go_on.set()
        assert isinstance(first.exception(WAIT_S), type(error))
        assert all(len(one.result(WAIT_S)[0]) == 5 for one in others)
    assert len(nearest.exact_after(vectors, rows, queries[0], 5)[0]) == 5  # and the next one finds its turn


def test_a_pass_that_fails_for_several_is_made_for_each_again(
    vectors: VectorTable, together: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, rows = unit(4, 3), vectors.rows
    held = Held(monkeypatch)
    slow = nearest._one_pass

    def one_pass(vectors: VectorTable, rows: IdArray, queries: FloatArray) -> FloatArray:
        if len(queries) > 1:
            held.queries.append(len(queries))
            raise MemoryError("no room for several")
        return slow(vectors, rows, queries)

    monkeypatch.setattr(nearest, "_one_pass", one_pass)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(nearest.exact_after, vectors, rows, queries[0], 5)
        assert held.began.wait(WAIT_S)
        others = [pool.submit(nearest.exact_after, vectors, rows, query, 5) for query in queries[1:]]
        all_wait(together, 3)
        held.go_on.set()
        results = [one.exception(WAIT_S) for one in (first, *others)]
    # Who led a pass for several is told; the last one is alone, and answered.
    assert [type(error) for error in results].count(type(None)) == 2


def test_memory_stays_bounded(vectors: VectorTable, together: Searches, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = vectors.rows
    monkeypatch.setattr(nearest, "_MAX_SCORES", 3 * len(rows))
    held = Held(monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(nearest.exact_after, vectors, rows, unit(1, 9)[0], 5)]
        assert held.began.wait(WAIT_S)
        asked += [pool.submit(nearest.exact_after, vectors, rows, query, 5) for query in unit(7, 3)]
        all_wait(together, 7)
        held.go_on.set()
        for one in asked:
            one.result(WAIT_S)
    assert max(held.queries) == 3
    assert sum(held.queries) == 8


def test_rows_with_gaps_are_copied_a_few_at_a_time(vectors: VectorTable, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    take = VectorTable.take
    monkeypatch.setattr(VectorTable, "take", lambda self, rows: sizes.append(len(rows)) or take(self, rows))  # type: ignore[func-returns-value]
    nearest._one_pass(vectors, np.arange(0, 20_000, 1)[np.arange(20_000) % 7 > 0], unit(2, 1))
    assert 0 < max(sizes) <= nearest._BLOCK_ROWS


def threads() -> set[int]:
    """Of numpy's matrix product. That of FAISS is OpenMP's, which each thread sets for itself."""
    blas = (one for one in threadpool_info() if one["user_api"] == "blas")
    return {one["num_threads"] for one in blas if one["threading_layer"] != "openmp"}


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine with two cores, whatever this one has."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(2, user_api="blas"):
        cores.count.cache_clear()
        yield
        cores.count.cache_clear()


@pytest.mark.usefixtures("two_threads")
def test_one_pass_has_all_cores_and_two_have_one_each(vectors: VectorTable) -> None:
    before = threads()
    first, second = blocks(vectors, vectors.rows), blocks(vectors, vectors.rows)
    next(first)
    assert threads() == before
    next(second)
    assert threads() == {1}
    first.close()
    assert threads() == before
    second.close()
    assert threads() == before


@pytest.mark.usefixtures("two_threads")
def test_whichever_thread_asks_each_core_has_a_product_of_its_own() -> None:
    """The first thread that set BLAS's threads is still there when others do."""
    before, seen = threads(), list[set[int]]()
    end = threading.Event()

    def ask() -> None:
        with cores.one_thread_each():
            seen.append(threads())
        seen.append(threads())
        assert end.wait(WAIT_S)

    with ThreadPoolExecutor(3) as pool:
        for n in range(1, 4):
            pool.submit(ask)
            until(lambda n=n: len(seen) == 2 * n)
        end.set()
    assert seen == [{1}, before] * 3


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("wrong", [ValueError("a bug"), KeyboardInterrupt()])
def test_the_setting_comes_back_whatever_happens(vectors: VectorTable, wrong: BaseException) -> None:
    before = threads()

    def work(item: tuple[slice, FloatArray]) -> None:
        assert threads() == {1}
        if item[0].start:
            raise wrong

    with pytest.raises(type(wrong)):
        cores.on_all(work, blocks(vectors, vectors.rows, 512))
    assert threads() == before


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("n_labels", [2, 20, 200])
def test_scores_do_not_depend_on_who_else_asks(vectors: VectorTable, n_labels: int, busy: Callable[[], None]) -> None:
    def ask() -> tuple[IdArray, FloatArray]:
        return classify(
            vectors,
            vectors.rows,
            unit(n_labels, 4),
            logit_scale=100.0,
            logit_bias=None,
            activation=Activation.SOFTMAX,
            top=2,
        )

    alone = ask()
    busy()
    with ThreadPoolExecutor(4) as pool:
        for best, scores in pool.map(lambda _: ask(), range(8)):
            assert best.tobytes() == alone[0].tobytes()
            assert scores.tobytes() == alone[1].tobytes()


@pytest.mark.parametrize("n_rows", [20_000, 16_390])  # the last block is large; and small, which BLAS does otherwise
@pytest.mark.usefixtures("two_threads")
def test_label_sets_that_wait_are_one_product_and_come_out_as_alone(
    vectors: VectorTable, monkeypatch: pytest.MonkeyPatch, n_rows: int
) -> None:
    rows, passes = vectors.rows[:n_rows], list[list[int]]()
    began, go_on = threading.Event(), threading.Event()

    def one_pass(asked: Sequence[scores._Scores]) -> list[tuple[IdArray, FloatArray]]:
        passes.append([one.scaled.shape[1] for one in asked])
        if len(passes) == 1:
            began.set()
            assert go_on.wait(WAIT_S)
        return scores._one_pass(asked)

    def ask(n_labels: int) -> tuple[IdArray, FloatArray]:
        softmax = n_labels % 2 == 0
        return classify(
            vectors,
            rows,
            unit(n_labels, n_labels),
            logit_scale=100.0,
            logit_bias=None if softmax else -5.0,
            activation=Activation.SOFTMAX if softmax else Activation.SIGMOID,
            top=2 if n_labels > 1 else 1,
        )

    sizes = [300, 20, 33, 1, 2, 128, 64, 150]
    monkeypatch.setattr(scores, "_THREADING_PAYS", 0)
    alone = [ask(n) for n in sizes]
    together = Together(one_pass, scores._fits)
    monkeypatch.setattr(scores, "_together", together)
    with ThreadPoolExecutor(len(sizes)) as pool:
        asked = [pool.submit(ask, sizes[0])]
        assert began.wait(WAIT_S)
        for count, n in enumerate(sizes[1:], start=1):
            asked.append(pool.submit(ask, n))
            all_wait(together, count)
        go_on.set()
        for one, (best, scored) in zip(asked, alone, strict=True):
            assert one.result(WAIT_S)[0].tobytes() == best.tobytes()
            assert one.result()[1].tobytes() == scored.tobytes()
    # What would be too wide, and what is blocked otherwise, is a pass of its own.
    assert passes == [[300], [20, 33, 1, 2, 128, 64], [150]]


def test_whom_nobody_waits_for_is_left_out(
    vectors: VectorTable, together: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, gone = Held(monkeypatch), threading.Event()

    def ask(query: FloatArray, is_left: Callable[[], bool]) -> tuple[IdArray, FloatArray]:
        nobody_waits.set(is_left)
        return nearest.exact_after(vectors, vectors.rows, query, 5)

    queries = unit(4, 3)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(ask, queries[0], lambda: False)
        assert held.began.wait(WAIT_S)
        left = [pool.submit(ask, query, gone.is_set) for query in queries[1:3]]
        stays = pool.submit(ask, queries[3], lambda: False)
        all_wait(together, 3)
        gone.set()
        for one in left:
            assert isinstance(one.exception(WAIT_S), NobodyWaits)  # before the pass has ended
        held.go_on.set()
        assert len(first.result(WAIT_S)[0]) == len(stays.result(WAIT_S)[0]) == 5
    assert held.queries == [1, 1]


def test_who_was_answered_and_who_waited_meanwhile_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(together_module, "_LONGEST_PATIENCE_S", WAIT_S)
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(together_module, "time", clock)

    began = threading.Event()

    def make(asked: Sequence[int]) -> Sequence[int]:
        sizes.append(len(asked))
        if len(sizes) == 1:
            began.set()
            all_wait(waiting, 4)
        elif len(sizes) == 4:
            monkeypatch.setattr(together_module, "_LONGEST_PATIENCE_S", 0.01)
        clock.now += WAIT_S  # a pass that takes long, so that the next one waits for long
        return asked

    waiting = Together[int, int](make, lambda asked, other: True)

    def ask(number: int, times: int = 3) -> list[int]:
        return [waiting.ask(number + 10 * n) for n in range(times)]

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(ask, 4, times=4)
        assert began.wait(WAIT_S)  # who comes before it has begun is answered with it
        assert list(pool.map(ask, range(4))) == [[n, n + 10, n + 20] for n in range(4)]
        assert first.result(WAIT_S) == [4, 14, 24, 34]
    assert sizes == [1, 5, 5, 5]  # the first comes back in time for the pass of the other four
    assert waiting.ask(7) == 7  # and nobody is waited for in vain for long
    assert sizes == [1, 5, 5, 5, 1]


@pytest.mark.usefixtures("two_threads")
def test_passes_get_the_cores_by_turns() -> None:
    """A short pass does not wait for the end of a long one, and no more threads are at work than there are cores.

    Told by the order in which items are taken, both threads being held until both passes are there: what a thread does
    after it has taken one is up to the machine.
    """
    at_work, most, taken = [0], [0], list[str]()
    lock, both_are_there = threading.Lock(), threading.Event()

    def work(kind: str) -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        assert both_are_there.wait(WAIT_S)
        with lock:
            at_work[0] -= 1

    def items(kind: str, n: int) -> Generator[str, None, None]:
        for _ in range(n):
            taken.append(kind)
            yield kind

    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(cores.on_all, work, items("long", 60))
        until(lambda: at_work[0] == 2)
        short = pool.submit(cores.on_all, work, items("short", 10))
        workers = cores._workers
        assert workers is not None
        until(lambda: len(workers._passes) == 2)
        both_are_there.set()
        short.result(WAIT_S)
        long.result(WAIT_S)
    assert most[0] == 2
    assert (taken.count("long"), taken.count("short")) == (60, 10)
    until_last = taken[: len(taken) - taken[::-1].index("short")]
    # Two were taken before, and each of the two threads may be late by one.
    assert until_last.count("long") <= 2 + 10 + 2, "it had its turn at every second item"


@pytest.mark.parametrize("n_rows", [31, 32, 8192, 8200])
@pytest.mark.parametrize("n_queries", [1, 2, 10, 24, 25])
def test_slices_are_the_whole_product(vectors: VectorTable, n_rows: int, n_queries: int) -> None:
    assert vectors.base is not None
    block, queries = vectors.base.vectors[7 : 7 + n_rows], unit(n_queries, 5)
    out = np.empty((n_queries, n_rows + 3), dtype=np.float32)
    nearest._multiply(block, queries, out[:, 1 : 1 + n_rows])
    np.testing.assert_allclose(out[:, 1 : 1 + n_rows], queries.astype(np.float64) @ block.T, atol=1e-6)


@pytest.fixture
def busy(vectors: VectorTable) -> Iterator[Callable[[], None]]:
    """Has another pass go on until the end of the test."""
    others = [blocks(vectors, vectors.rows) for _ in range(2)]
    yield lambda: [next(one) for one in others] and None
    for one in others:
        one.close()

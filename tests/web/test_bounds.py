"""What grows has a bound: answers in memory, prompts and what is derived from them on disk."""

from __future__ import annotations

import gc
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.scenes import photo
from tests.web.conftest import READ, TOKENS, WRITE, Serve
from zsindex.library import Library
from zsindex.session.embedding import PromptsForgotten
from zsindex.storage import labels as lab_store
from zsindex.web.admission import CacheAllowance
from zsindex.web.answers import Answers
from zsindex.web.memory import RecentlyUsed, reachable


def weight(*held: object) -> int:
    return sum(size for _, size in reachable(*held).values())


def test_arrays_count_once_and_as_wholes() -> None:
    whole = np.zeros(100_000, dtype=np.float32)
    assert 400_000 <= weight(whole) < 401_000
    assert weight(whole[:10], whole[5:], [whole, {"a": whole}]) < 402_000  # what a view keeps alive is all of it
    assert weight(lambda: whole) >= 400_000
    texts = [f"/photos/{n:09d}.jpg" for n in range(1000)]
    assert weight(texts) >= 1000 * len(texts[0])


def test_mapped_files_and_the_library_take_nothing(library: Library, tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "mapped", dtype=np.float32, mode="w+", shape=(100_000,))
    assert weight(mapped[5:]) < 10_000
    assert weight(library.view) < 10_000


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"smooth": True},
        {"unknown": "mcm:0.5"},
        {"unknown": "zscore:0.5"},
        {"multi_label": True},
        {"with_corrections": "logistic"},
        {"with_corrections": "gda"},
        {"with_corrections": "tip-adapter"},
    ],
    ids=str,
)
def test_an_answer_weighs_what_it_holds(
    library: Library, album: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    """As the allocator sees it: what is free again once the answer is forgotten."""
    names = [f"label {n}" for n in range(150)]
    for n in range(30):
        photo(album / "more" / f"{n}.png", (n * 8, 255 - n * 8, n), mark=n)
    library.sync()
    library.labels.save("many", names)
    library.corrections.add("many", album / "red.png", "label 1")
    library.classify(label_set="many", **options)  # type: ignore[arg-type]  # whatever is kept elsewhere is kept now
    tracemalloc.start()
    try:
        answer = library.classify(label_set="many", **options)  # type: ignore[arg-type]
        anyway = reachable(library.session.index.last_view)
        own = sum(size for ident, (_, size) in reachable(answer).items() if ident not in anyway)
        del anyway
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        del answer
        gc.collect()
        freed = held - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert own >= 0.8 * freed
    assert own <= 3 * freed + 100_000


def test_kept_answers_stay_within_their_bound(library: Library) -> None:
    smooth = [library.classify(["red", "blue", f"{n}"], smooth=True) for n in range(6)]
    one = weight(smooth[0])
    answers = Answers(3 * one, now=lambda: None)
    for answer in smooth:
        answers.keep(answer)
        assert answers.bytes <= 3 * one
    assert answers.get(smooth[-1].run.key) is smooth[-1]
    assert answers.get(smooth[0].run.key) is None


def test_answers_of_a_former_moment_pay_for_its_photos(library: Library, album: Path) -> None:
    answers = Answers(1 << 30, now=lambda: library.session.index.last_view)
    old = library.classify(["red", "blue"])
    answers.keep(old)
    light = answers.bytes
    photo(album / "new.png", "yellow")
    library.sync()
    answers.keep(library.classify(["red", "blue"]))
    assert answers.bytes > 2 * light  # the former list of photos is held by the answer alone now
    assert answers.get(old.run.key) is old


def test_what_is_used_stays() -> None:
    kept: RecentlyUsed[str, bytes] = RecentlyUsed(3500)
    for name in "abc":
        value = name.encode() * 1000
        kept.keep(name, value, reachable(value))
    assert kept.get("a") is not None
    value = b"d" * 1000
    kept.keep("d", value, reachable(value))
    assert [name for name in "abcd" if kept.get(name) is not None] == ["a", "c", "d"]
    value = b"e" * 9000
    kept.keep("e", value, reachable(value))  # larger than everything
    assert (len(kept), kept.bytes) == (0, 0)


def prompts(library: Library) -> int:
    return library.models()[0].prompts


def test_readers_fill_no_disk(serve: Serve, library: Library) -> None:
    security, limits = {"tokens": TOKENS}, {"readers_bytes": 500}
    reader: TestClient = serve(library, security=security, limits=limits, token=READ)
    before = prompts(library)
    for n in range(40):
        assert reader.get("/v1/search", params={"q": f"never asked {n}"}).status_code == 200
        labels = {"label": [f"new {n}", f"newer {n}"]}
        assert reader.get("/v1/classify", params=labels).status_code == 200
    assert 0 < prompts(library) - before <= 500 // 32  # of 8 numbers each
    full = prompts(library)
    assert reader.get("/v1/classify", params={"label": ["a", "b"], "unknown": "neglabel"}).status_code == 200
    assert prompts(library) == full
    writer: TestClient = serve(library, security=security, limits=limits, token=WRITE)
    assert writer.get("/v1/search", params={"q": "of a writer"}).status_code == 200
    assert prompts(library) == full + 1


def test_an_allowance_comes_back_with_time() -> None:
    now = [0.0]
    allowance = CacheAllowance(3600, clock=lambda: now[0])
    assert allowance.take(3600)
    assert not allowance.take(1)
    now[0] = 10.0
    assert allowance.take(10)
    assert not allowance.take(1)
    now[0] = 1e9
    assert not allowance.take(3601)
    assert allowance.take(3600)


def test_old_prompts_go_and_saved_ones_stay(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSINDEX_PROMPTS_MB", "40000")
    monkeypatch.setattr("zsindex.config.MB", 1)
    library.labels.save("colours", ["red", "blue"])
    library.classify(label_set="colours")
    texts = [f"text number {n:04d}, of some length" for n in range(2000)]

    def ask_for_all() -> None:
        for start in range(0, len(texts), 100):
            library.embed_texts(texts[start : start + 100])

    with pytest.warns(PromptsForgotten, match="cached prompts that were not asked for for the longest"):
        ask_for_all()
    assert library.session.storage.photos.sizes()["prompts"][1] <= 40_000
    held = library.session.storage.reads.prompt_vectors(
        {*texts, "This is a photo of red."}, library.session.model.row(), truncated=True
    )
    assert "This is a photo of red." in held
    assert texts[-1] in held
    assert texts[0] not in held
    encoded = library.usage["prompts_encoded"]
    library.classify(label_set="colours")
    assert library.usage["prompts_encoded"] == encoded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptsForgotten)
        assert np.array_equal(library.embed_texts([texts[0]]), library.embed_texts([texts[0]]))


def test_prune_forgets_prompts_that_nothing_saved_needs(library: Library) -> None:
    library.labels.save("colours", {"red": ["all red"], "blue": ["all blue"]})
    library.classify(label_set="colours")
    library.embed_texts(["one", "two"])
    there = prompts(library)
    assert library.prune().prompts == 0
    plan = library.prune(prompts=True, dry_run=True)
    assert plan.prompts == there - 2
    assert prompts(library) == there
    assert library.prune(prompts=True).prompts == there - 2
    encoded = library.usage["prompts_encoded"]
    library.classify(label_set="colours")
    assert library.usage["prompts_encoded"] == encoded
    assert library.check().ok


def test_what_is_derived_has_a_bound(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_store, "MOST_DERIVED", 5)
    model = library.session.model.row().id
    for n in range(12):
        library.session.storage.labels.save_derived(model, "far words", f"{n:02d}", [str(n)])
    library.session.storage.labels.save_derived(model, "another kind", "1", 1)
    found = [library.session.storage.reads.derived(model, "far words", f"{n:02d}") for n in range(12)]
    assert found == [None] * 7 + [[str(n)] for n in range(7, 12)]
    assert library.session.storage.reads.derived(model, "another kind", "1") == 1

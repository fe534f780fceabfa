"""Whoever asks for what is in the cache does not wait for what others have to wait for."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import zsindex.index.snapshots
import zsindex.session.model
from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.waiting import WAIT_S
from zsindex.errors import ModelUnavailable
from zsindex.library import Library
from zsindex.services.search import Search
from zsindex.upkeep import maintenance

LABELS = ["red", "blue"]


class Hold:
    """Lets a thread go no further than to a call, until it is released. Only the first call is held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.reached, self.released = threading.Event(), threading.Event()
        self.calls = 0
        self._counting = threading.Lock()

    def at(self, owner: Any, name: str) -> Hold:
        really = getattr(owner, name)

        def held(*args: Any, **options: Any) -> Any:
            with self._counting:
                self.calls += 1
                first = self.calls == 1
            if first:
                self.reached.set()
                assert self.released.wait(WAIT_S)
            return really(*args, **options)

        self._monkeypatch.setattr(owner, name, held)
        return self


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    made = Hold(monkeypatch)
    yield made
    made.released.set()


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("red", "blue", "white"):
        photo(tmp_path / "album" / f"{name}.png", name)
    return tmp_path / "album"


@pytest.fixture
def library(tmp_path: Path, new_library: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """A library whose model is not loaded, and in whose cache are the answers of `QUESTIONS`."""
    monkeypatch.setattr("zsindex.session.model.load_encoder", lambda spec, **options: FakeEncoder(name=spec.name))
    monkeypatch.setattr("zsindex.session.model.fastest_precision", lambda spec, **_: "fp32")
    folder = tmp_path / "library"
    shutil.copytree(new_library, folder)
    with Library.open(folder, model="fake", workers=2) as opened:
        opened.sync(album)
        opened.labels.save("colours", LABELS)
        opened.corrections.add("colours", album / "red.png", "red")
        opened.thresholds.choose("colours", "red", rate=0.5)
        opened.classify(label_set="colours", record=True)
        for ask in QUESTIONS.values():
            ask(opened)
        assert opened.session.model.release()
        yield opened


QUESTIONS: dict[str, Callable[[Library], object]] = {
    "classify": lambda library: library.classify(LABELS),
    "classify, corrected": lambda library: library.classify(label_set="colours", with_corrections="gda"),
    "classify, unknown": lambda library: library.classify(LABELS, unknown="mcm:0.5"),
    "classify, thresholds": lambda library: library.classify(label_set="colours", thresholds=True),
    "classify, smooth": lambda library: library.classify(LABELS, smooth=True),
    "classify, a folder": lambda library: library.classify(LABELS, paths=library.photos.roots(), sync=False),
    "knownness": lambda library: library.unknown.knownness(LABELS, "zscore"),
    "search": lambda library: library.search("red"),
    "similar": lambda library: library.similar(library.photos.paths()[0]),
    "page": lambda library: Search(library.session).page(library.embed_texts(["red"])[0], top=2),
    "view": lambda library: library.view(),
    "explain": lambda library: library.lab.explain(1, LABELS),
    "neighbours": lambda library: library.neighbours.graph(),
    "next": lambda library: library.corrections.next("colours", 1),
    "thresholds": lambda library: library.thresholds.curves("colours"),
    "corrections": lambda library: library.corrections.list("colours"),
    "label sets": lambda library: (library.labels.list(), library.labels.get("colours"), library.templates.list()),
    "status": lambda library: library.status(),
    "models": lambda library: (library.model, library.models()),
    "runs": lambda library: library.runs.list(),
    "usage": lambda library: (
        library.usage,
        library.session.model.loaded is not None,
        library.session.model.release(idle_s=1e9),
    ),
    "paths": lambda library: (
        library.photos.paths(),
        library.photos.skipped(),
        library.photos.get(1),
        library.temperature.get(),
    ),
}


def loading(library: Library, hold: Hold) -> Callable[[], object]:
    hold.at(zsindex.session.model, "load_encoder")
    return lambda: library.embed_texts(["never asked before"])


def encoding_texts(library: Library, hold: Hold) -> Callable[[], object]:
    hold.at(FakeEncoder, "encode_texts")
    return lambda: library.embed_texts(["never asked before"])


def encoding_photos(library: Library, hold: Hold) -> Callable[[], object]:
    hold.at(FakeEncoder, "encode_images")
    new = photo(Path(library.photos.roots()[0]) / "new.png", "green")
    return lambda: library.embed_images([new])


def syncing(library: Library, hold: Hold) -> Callable[[], object]:
    hold.at(FakeEncoder, "encode_images")
    photo(Path(library.photos.roots()[0]) / "new.png", "green")
    return library.sync


def _with_more(library: Library) -> None:
    """What another process stores."""
    photo(Path(library.photos.roots()[0]) / "new.png", "green")
    with Library.open(library.path, encoder=FakeEncoder()) as other:
        other.sync()


def writing_a_snapshot(library: Library, hold: Hold) -> Callable[[], object]:
    _with_more(library)
    hold._monkeypatch.setattr(zsindex.index.snapshots, "MAX_TAIL", 0)
    hold.at(zsindex.index.snapshots, "_write")
    return library.view


def writing_the_first_snapshot(library: Library, hold: Hold) -> Callable[[], object]:
    with library.session.storage.database.write("forget the snapshot") as connection:
        connection.exec_driver_sql("DELETE FROM snapshots")
    for file in (library.path / "index").glob("*.faiss"):
        file.unlink()
    library.session.index.forget()
    hold.at(zsindex.index.snapshots, "_write")
    return library.view


def reading_what_is_new(library: Library, hold: Hold) -> Callable[[], object]:
    _with_more(library)
    hold.at(type(library.session.storage.reads), "embeddings_after")
    return library.view


def checking(library: Library, hold: Hold) -> Callable[[], object]:
    hold.at(maintenance, "check")
    return library.check


def fixing(library: Library, hold: Hold) -> Callable[[], object]:
    hold.at(maintenance, "check")
    return lambda: library.check(fix=True)


def pruning(library: Library, hold: Hold) -> Callable[[], object]:
    hold.at(maintenance, "prune")
    return library.prune


def vacuuming(library: Library, hold: Hold) -> Callable[[], object]:
    hold.at(type(library.session.storage), "vacuum")
    return library.prune


def changing_the_model(library: Library, hold: Hold) -> Callable[[], object]:
    hold.at(zsindex.session.model, "load_encoder")
    return lambda: library.use_model("other")


def probing(library: Library, hold: Hold) -> Callable[[], object]:
    hold.at(zsindex.session.model, "fastest_precision")
    return lambda: library.use_model("other", precision="auto")


SLOW = [
    loading,
    encoding_texts,
    encoding_photos,
    syncing,
    writing_a_snapshot,
    writing_the_first_snapshot,
    reading_what_is_new,
    checking,
    fixing,
    pruning,
    vacuuming,
    changing_the_model,
    probing,
]


@pytest.mark.parametrize("slow", SLOW, ids=lambda slow: slow.__name__)
def test_cached_questions_do_not_wait(
    library: Library, hold: Hold, slow: Callable[[Library, Hold], Callable[[], object]]
) -> None:
    begin = slow(library, hold)
    with ThreadPoolExecutor(8) as pool:
        long: Future[object] = pool.submit(begin)
        try:
            assert hold.reached.wait(WAIT_S)
            asked = {name: pool.submit(ask, library) for name, ask in QUESTIONS.items()}
            for name, answer in asked.items():
                assert answer.exception(WAIT_S) is None, name
            assert not long.done()
        finally:
            hold.released.set()
        long.result(WAIT_S)
    if library.spec.name != "fake":
        library.use_model("fake")  # of the other one it has no vectors
    for ask in QUESTIONS.values():
        ask(library)  # and go on afterwards
    assert library.check().ok


def test_threads_that_need_the_same_model_load_it_once(library: Library, hold: Hold) -> None:
    hold.at(zsindex.session.model, "load_encoder")
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(library.embed_texts, [f"never asked before {n}"]) for n in range(6)]
        assert hold.reached.wait(WAIT_S)
        hold.released.set()
        for one in asked:
            one.result(WAIT_S)
    assert hold.calls == 1
    assert library.usage["model_loads"] == 2  # with the one of the sync


def test_a_load_that_fails_holds_nothing(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> FakeEncoder:
        raise ModelUnavailable("fake", "not here")

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(library.embed_texts, ["never asked before"]) for _ in range(4)]:
            assert isinstance(one.exception(WAIT_S), ModelUnavailable)
        assert pool.submit(library.classify, LABELS).exception(WAIT_S) is None


def test_what_was_stored_before_a_question_is_in_its_answer(library: Library, hold: Hold) -> None:
    """Even while another thread is at reading it."""
    reading_what_is_new(library, hold)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(library.view)
        assert hold.reached.wait(WAIT_S)
        assert len(pool.submit(library.classify, LABELS).result(WAIT_S)) == 4
        hold.released.set()
        assert len(slow.result(WAIT_S)) == 4


def test_one_snapshot_is_written_at_a_time(library: Library, hold: Hold) -> None:
    begin = writing_a_snapshot(library, hold)
    with ThreadPoolExecutor(4) as pool:
        long = pool.submit(begin)
        assert hold.reached.wait(WAIT_S)
        for _ in range(3):
            assert len(pool.submit(library.classify, LABELS).result(WAIT_S)) == 4
        assert hold.calls == 1
        hold.released.set()
        long.result(WAIT_S)
    assert hold.calls == 1


def test_the_model_is_changed_as_a_whole(library: Library, hold: Hold) -> None:
    begin = changing_the_model(library, hold)
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(begin)
        assert hold.reached.wait(WAIT_S)
        assert library.spec.name == library.model.spec.name == "fake"
        hold.released.set()
        long.result(WAIT_S)
    assert library.spec.name == library.model.spec.name == library.session.model.encoder().info.spec.name == "other"
    assert len(library.view()) == 0

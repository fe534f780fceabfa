"""New words wait for the model, and nobody else for them."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.fakes import FakeEncoder
from tests.waiting import WAIT_S, until
from tests.web.conftest import Serve
from zsindex.index.together import NobodyWaits, nobody_waits
from zsindex.library import Library
from zsindex.web.admission import Admission, Gate
from zsindex.web.limits import Limits
from zsindex.web.problems import Problem


class Slow(FakeEncoder):
    """Encodes texts once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def encode_texts(self, texts: Any, *, truncate: bool = False) -> Any:
        assert self.go_on.wait(WAIT_S)
        return super().encode_texts(texts, truncate=truncate)


@pytest.fixture
def slow(tmp_path: Path, new_library: Path, album: Path) -> Iterator[tuple[Library, Slow]]:
    shutil.copytree(new_library, tmp_path / "slow")
    with Library.open(tmp_path / "slow", encoder=FakeEncoder()) as library:
        library.sync(album)
        library.classify(["red", "blue"])
        library.embed_texts(["red"])
    encoder = Slow()
    with Library.open(tmp_path / "slow", encoder=encoder) as library:
        yield library, encoder
        encoder.go_on.set()


def test_new_words_do_not_keep_cached_ones_waiting(serve: Serve, slow: tuple[Library, Slow]) -> None:
    library, encoder = slow
    client = serve(library, limits={"running": 2, "waiting": 4, "wait_s": WAIT_S})
    gate = client.app.state.service.gate  # type: ignore[attr-defined]
    with ThreadPoolExecutor(8) as pool:
        new = [pool.submit(client.get, "/v1/search", params={"q": f"never asked {n}"}) for n in range(6)]
        until(lambda: (gate.encoding, gate.running, gate.waiting) == (6, 0, 0))
        cached = [
            pool.submit(client.get, "/v1/search", params={"q": "red"}),
            pool.submit(client.get, "/v1/classify", params={"label": ["red", "blue"]}),
        ]
        assert [one.result(WAIT_S).status_code for one in cached] == [200, 200]
        assert not any(one.done() for one in new)
        encoder.go_on.set()
        assert {one.result(WAIT_S).status_code for one in new} == {200}
    until(lambda: (gate.running, gate.encoding) == (0, 0))


def test_only_so_many_wait_for_the_model(serve: Serve, slow: tuple[Library, Slow]) -> None:
    library, encoder = slow
    client = serve(library, limits={"running": 4, "encoding": 2})
    gate = client.app.state.service.gate  # type: ignore[attr-defined]
    with ThreadPoolExecutor(4) as pool:
        new = [pool.submit(client.get, "/v1/search", params={"q": f"never asked {n}"}) for n in range(2)]
        until(lambda: gate.encoding == 2)
        refused = client.get("/v1/search", params={"q": "one too many"})
        assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)
        assert client.get("/v1/search", params={"q": "red"}).status_code == 200
        encoder.go_on.set()
        assert {one.result(WAIT_S).status_code for one in new} == {200}
    until(lambda: (gate.running, gate.encoding) == (0, 0))


def test_a_model_that_fails_gives_all_places_back(serve: Serve, slow: tuple[Library, Slow]) -> None:
    library, encoder = slow
    encoder.go_on.set()
    client = serve(library, limits={"running": 2})
    gate = client.app.state.service.gate  # type: ignore[attr-defined]
    for _ in range(4):
        assert client.get("/v1/search", params={"q": "word " * 99}).status_code == 422
    until(lambda: (gate.running, gate.encoding) == (0, 0))
    assert client.get("/v1/search", params={"q": "red"}).status_code == 200


def test_places_are_never_lost_nor_made() -> None:
    """Whoever comes back while others have the places is one too many only until somebody leaves."""

    async def run() -> None:
        gate = Gate(running=1, waiting=4, wait_s=WAIT_S, encoding=2)
        loop = asyncio.get_running_loop()
        async with gate.enter():
            outside = gate._outside(loop)
            outside.__enter__()
            await asyncio.sleep(0)
            assert gate.running == 0
            async with gate.enter():
                waiting = asyncio.create_task(_pass_through(gate))
                await asyncio.sleep(0)
                assert (gate.running, gate.waiting) == (1, 1)
                outside.__exit__(None, None, None)
                await asyncio.sleep(0)
                assert gate.running == 2
            assert (gate.running, gate.waiting) == (1, 1)
        await waiting
        assert (gate.running, gate.waiting, gate.encoding) == (0, 0, 0)
        full = Gate(running=1, waiting=4, wait_s=WAIT_S, encoding=0)
        with pytest.raises(Problem), full._outside(loop):
            pass
        assert full.encoding == 0

    async def _pass_through(gate: Gate) -> None:
        async with gate.enter():
            pass

    asyncio.run(run())


def test_who_hangs_up_takes_the_question_along() -> None:
    """What answers is told, in its thread, and nothing is sent to nobody."""
    limits = Limits(requests_per_s=0)
    gate = Gate(running=1, waiting=1, wait_s=WAIT_S, encoding=1)
    hung_up, left = asyncio.Event(), threading.Event()
    sent: list[Message] = []

    def answer() -> None:
        is_left = nobody_waits.get()
        assert not is_left()
        asyncio.run_coroutine_threadsafe(hang_up(), loop).result(WAIT_S)
        until(is_left)
        left.set()
        raise NobodyWaits

    async def hang_up() -> None:
        hung_up.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(answer)

    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        admission = Admission(app, limits=limits, gate=gate, refused=lambda _: None, readers=lambda _: True)
        scope = {"type": "http", "path": "/v1/search", "headers": [], "state": {"right": "write"}}
        await asyncio.wait_for(admission(scope, receive, send), WAIT_S)

    loop: asyncio.AbstractEventLoop
    asyncio.run(ask())
    assert left.is_set()
    assert sent == []
    assert gate.running == 0

"""A sync takes no more than its share of the time while questions are being asked."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.web.conftest import Serve
from zsindex.library import Library
from zsindex.web.admission import Gate
from zsindex.web.giving_way import QUIET_S, SHARE, GivesWay


@dataclass
class Time:
    """Passes where somebody works or sleeps; questions are asked until `asked_until`."""

    now: float = 0.0
    asked_until: float = 0.0
    slept: float = 0.0
    stops_at: float = field(default=float("inf"))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds

    def quiet_for_s(self) -> float:
        return max(0.0, self.now - self.asked_until)

    def should_stop(self) -> bool:
        return self.now >= self.stops_at

    def way(self) -> GivesWay:
        return GivesWay(self.quiet_for_s, clock=lambda: self.now, sleep=self.sleep)


@pytest.mark.parametrize("piece_s", [0.001, 0.1, 3.0])
def test_beside_questions_work_has_its_share(piece_s: float) -> None:
    time = Time(asked_until=1e9)
    way, worked = time.way(), 0.0
    while worked < 30:
        time.now += piece_s
        worked += piece_s
        way.rest(time.should_stop)
    assert worked / time.now == pytest.approx(SHARE, rel=0.5)


def test_without_questions_it_does_not_rest() -> None:
    time = Time(now=100.0)
    way = time.way()
    for _ in range(100):
        time.now += 1.0
        way.rest(time.should_stop)
    assert time.slept == 0


def test_it_goes_on_as_soon_as_nobody_asks() -> None:
    time = Time(asked_until=12.0)
    way = time.way()
    time.now = 10.0  # after which it would rest for forty seconds
    way.rest(time.should_stop)
    assert 12.0 + QUIET_S <= time.now < 12.0 + QUIET_S + 0.1


def test_it_stops_while_it_rests() -> None:
    time = Time(asked_until=1e9, stops_at=11.0)
    way = time.way()
    time.now = 10.0
    way.rest(time.should_stop)
    assert 11.0 <= time.now < 11.1


def test_what_was_before_it_began_is_not_made_up_for() -> None:
    time = Time(asked_until=1e9)
    way = time.way()
    time.now = 1000.0
    way.begin()
    way.rest(time.should_stop)
    assert time.slept == 0


def test_the_gate_knows_for_how_long_nobody_asked() -> None:
    async def asked() -> None:
        gate = Gate(running=1, waiting=1, wait_s=1.0, encoding=1)
        assert gate.quiet_for_s == float("inf")
        async with gate.enter():
            assert gate.quiet_for_s == 0
        assert 0 < gate.quiet_for_s < 60

    asyncio.run(asked())


def test_a_sync_of_the_service_goes_on_beside_questions(
    serve: Serve, library: Library, album: Path, encoder: FakeEncoder
) -> None:
    for number in range(1, 13):
        photo(album / f"more {number}.png", "green", mark=number)
    client = serve(library)
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            assert client.get("/v1/search", params={"q": "sea"}).status_code == 200

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        job = client.post("/v1/sync", json={}).json()
        while job["state"] not in ("done", "failed"):
            job = client.get(f"/v1/jobs/{job['id']}").json()
    finally:
        ended.set()
        asking.join()
    assert (job["state"], job["report"]["encoded"]) == ("done", 12)

"""Several services over one library: what one has answered, any other, and the same one when it was started again,
goes on with.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.waiting import WAIT_S, until
from tests.web.conftest import READ, TOKENS, WRITE, Serve
from zsindex.classification.options import Question
from zsindex.library import Library
from zsindex.services.questions import Plan
from zsindex.web import cursors
from zsindex.web.answers import Answers
from zsindex.web.cursors import AnswerName, Moment, OffsetCursor

LABELS = ["red", "green", "blue", "white"]


@pytest.fixture
def two(serve: Serve, library: Library, album: Path) -> Iterator[tuple[TestClient, TestClient]]:
    """Two services over a library of 45 photos, and nothing else in common."""
    for n in range(40):
        photo(album / "shades" / f"{n:02}.png", (6 * n, 255 - 5 * n, 3 * n * n % 256))
    library.sync()
    with Library.open(library.path, encoder=FakeEncoder()) as again:
        yield serve(library), serve(again)


def new_photo(library: Library, album: Path, name: str) -> None:
    photo(album / name, "red", mark=hash(name) & 0xFFFF)
    library.sync()


def page(client: TestClient, **question: Any) -> dict[str, Any]:
    response = client.post("/v1/classify", json={"labels": LABELS, "limit": 7, **question})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.parametrize(
    "options", [{}, {"order": "label"}, {"unknown": "mcm:0.2"}, {"paths": ["shades"], "unknown": "mcm:0.2"}]
)
def test_pages_come_from_any_service_while_photos_are_added(
    two: tuple[TestClient, TestClient], library: Library, album: Path, options: dict[str, Any]
) -> None:
    if "paths" in options:
        options["paths"] = [str(album / "shades")]
    whole = page(two[0], limit=100, **options)
    client = cycle(two)
    found, cursor, n = [], None, 0
    while True:
        part = page(next(client), **options, **({} if cursor is None else {"cursor": cursor}))
        assert part["run"] == whole["run"]
        assert part["total"] == whole["total"]
        assert part["counts"] == whole["counts"]
        found += part["results"]
        if (cursor := part["next"]) is None:
            break
        n += 1
        new_photo(library, album, f"shades/{n:02}a.png")  # between the others
    assert n == 6 if "paths" not in options else n == 5
    assert found == whole["results"]
    assert page(two[1], limit=100, **options)["total"] == whole["total"] + n


def test_groups_come_from_any_service_while_photos_are_added(
    two: tuple[TestClient, TestClient], library: Library, album: Path
) -> None:
    first, other = (service.post("/v1/groups", json={"labels": LABELS}).json() for service in two)
    assert first == other
    new_photo(library, album, "new.png")
    second = two[0].post("/v1/groups", json={"labels": LABELS[::-1]}).json()
    third = two[0].post("/v1/groups", json={"labels": ["white", "red"]}).json()
    for path in (
        f"{first['key']}/photos?limit=1000",
        f"{first['key']}/photos?answer=1&start=3&limit=2",
        f"{first['key']}/places?image_id=3&image_id=17",
        f"{first['key']}/export",
        f"{first['key']}/tags",
        f"{second['key']}/photos?limit=1000",
        f"{second['key']}/flips/{third['key']}",
        f"{second['key']}/flips/{third['key']}/photos?was=0&becomes=0",
    ):
        here, there = (service.get(f"/v1/groups/{path}") for service in two)
        assert (here.status_code, there.status_code) == (200, 200), (path, there.text)
        assert here.content == there.content, path
        assert here.headers.get("etag") == there.headers.get("etag")


def test_entity_tags_are_those_of_any_service(two: tuple[TestClient, TestClient]) -> None:
    asked = [service.get("/v1/classify", params={"label": LABELS}) for service in two]
    assert asked[0].headers["etag"] == asked[1].headers["etag"]
    assert asked[0].json() == asked[1].json()
    tag = {"If-None-Match": asked[0].headers["etag"]}
    assert two[1].get("/v1/classify", params={"label": LABELS}, headers=tag).status_code == 304


@pytest.mark.parametrize("change", ["a photo moves", "a photo goes", "a photo is pruned"])
def test_what_cannot_be_had_again_is_refused(
    two: tuple[TestClient, TestClient], library: Library, album: Path, change: str
) -> None:
    cursor = page(two[0])["next"]
    name = two[0].post("/v1/groups", json={"labels": LABELS}).json()["key"]
    if change == "a photo moves":
        (album / "shades" / "03.png").rename(album / "03.png")
    else:
        (album / "shades" / "03.png").unlink()
    library.sync()
    if change == "a photo is pruned":
        library.prune()
    refused = two[1].post("/v1/classify", json={"labels": LABELS, "limit": 7, "cursor": cursor})
    assert (refused.status_code, refused.json()["type"]) == (410, "urn:zsindex:problem:cursor-expired")
    assert two[1].get(f"/v1/groups/{name}/photos").status_code == 410
    assert page(two[0], cursor=cursor)["total"] == 45, "who keeps it gives it"


def test_a_saved_label_set_is_asked_in_its_version(two: tuple[TestClient, TestClient], library: Library) -> None:
    library.labels.save("colours", LABELS)
    grouped = two[0].post("/v1/groups", json={"label_set": "colours"}).json()
    library.labels.save("colours", ["black"])
    path = f"/v1/groups/{grouped['key']}/photos?limit=1000"
    assert two[1].get(path).json() == two[0].get(path).json()
    assert two[1].get(path).json()["total"] == 45


def test_a_long_question_does_not_go_along(two: tuple[TestClient, TestClient]) -> None:
    """Its key would not fit into the first line of a request."""
    labels = [f"red {n * 7919:x}{n * 104729:x}" for n in range(600)]
    key = two[0].post("/v1/groups", json={"labels": labels}).json()["key"]
    assert len(key) == 16
    assert two[0].get(f"/v1/groups/{key}/photos").status_code == 200
    assert two[1].get(f"/v1/groups/{key}/photos").status_code == 410


def test_forged_names_and_cursors_change_nothing_for_others(
    two: tuple[TestClient, TestClient], library: Library, album: Path
) -> None:
    grouped = two[0].post("/v1/groups", json={"labels": LABELS}).json()
    name = AnswerName.from_text(grouped["key"])
    assert name.moment is not None
    path = f"/v1/groups/{grouped['key']}/photos?limit=1000"
    right = two[0].get(path).json()
    moved = album / "shades" / "03.png"
    moved.rename(album / "03.png")
    library.sync()
    then = library.session.as_of(name.moment.snapshot).view()
    forged = AnswerName(name.key, name.question, Moment(name.moment.snapshot, then.digest)).to_text()
    assert two[1].get(f"/v1/groups/{forged}/photos").status_code == 200  # to whom it may concern
    assert two[1].get(path).status_code == 410
    assert two[0].get(path).json() == right
    for snapshot in ((10**6, 0, 0), (0, 0, 0), (45, 9, 0)):
        other = AnswerName(name.key, name.question, Moment(snapshot, name.moment.photos)).to_text()
        assert two[1].get(f"/v1/groups/{other}/photos").status_code == 410, snapshot
    for question in ({"labels": ["red"] * 6000}, {"label": "red"}, {"labels": ["red"]}, {}):
        other = AnswerName(name.key, question, name.moment).to_text()
        assert two[1].get(f"/v1/groups/{other}/photos").status_code in (410, 422), question
    for at in ([1, 2, 3], [1, 2, "x", "y"], [1, 2, 3, 4], "x", 5, {}):
        other = f"{name.key}-{cursors._pack({'q': name.question, 'at': at})}"
        assert two[1].get(f"/v1/groups/{other}/photos").status_code == 422, at
    cursor = page(two[0])["next"]
    found = cursors._unpack(cursor)
    wrong = OffsetCursor(name.key, found["q"], 0, Moment((1, 0, 1), "x")).to_text()
    assert two[1].post("/v1/classify", json={"labels": LABELS, "limit": 7, "cursor": wrong}).status_code == 410


def test_pages_of_a_search_come_from_any_service(
    two: tuple[TestClient, TestClient], library: Library, album: Path
) -> None:
    found: list[str] = []
    cursor = None
    for client in cycle(two):
        part = client.get("/v1/search", params={"cursor": cursor} if cursor else {"q": "red", "top": 10}).json()
        found += [hit["path"] for hit in part["hits"]]
        if (cursor := part["next"]) is None:
            break
        new_photo(library, album, f"{len(found)}.png")
    assert len(found) == len(set(found)) == 44, "one of them is there twice"


def test_a_browser_has_one_session_with_all_services(serve: Serve, library: Library) -> None:
    first, second, stranger = (serve(library, security={"tokens": tokens}) for tokens in (TOKENS, TOKENS[::-1], ()))
    for token, right in ((READ, "read"), (WRITE, "write")):
        begun = first.post("/v1/session", json={"token": token})
        assert begun.status_code == 200
        second.cookies = first.cookies
        assert second.get("/v1/session").json() == {"right": right}
        assert second.get("/v1/library").status_code == 200
    del stranger
    value = first.cookies["zsindex_session"]
    until, nonce, signature = value.split(".")
    for wrong in (
        f"{int(until) + 1}.{nonce}.{signature}",
        f"{until}.x{nonce}.{signature}",
        f"{until}.{nonce}.{signature[::-1]}",
        f"{until}.{nonce}",
        f".{signature}",
        "é.é.é",
    ):
        refused = second.get("/v1/library", headers={"Cookie": f"zsindex_session={wrong}".encode()})
        assert refused.status_code == 401, wrong
    changed = serve(library, security={"tokens": TOKENS[:1]})
    assert changed.get("/v1/library", headers={"Cookie": f"zsindex_session={value}"}).status_code == 401
    assert first.delete("/v1/session").status_code == 204
    assert first.get("/v1/library", headers={"Cookie": f"zsindex_session={value}"}).status_code == 401


def test_a_session_ends_in_time(serve: Serve, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(library, security={"tokens": TOKENS})
    monkeypatch.setattr("zsindex.web.security.SESSION_S", -1)
    value = client.post("/v1/session", json={"token": READ}).cookies.get("zsindex_session")
    monkeypatch.undo()
    assert client.get("/v1/library", headers={"Cookie": f"zsindex_session={value}"}).status_code == 401
    assert client.get("/v1/library").status_code == 401


def test_photos_are_listed_once_for_all_who_wait(
    two: tuple[TestClient, TestClient], library: Library, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While others store, every question finds a new state; and each has all that was there when it was asked."""
    page(two[0])
    with Library.open(library.path, encoder=FakeEncoder()) as other:  # as another process does
        new_photo(other, album, "one.png")
        reads, began, go_on = library.session.storage.reads, threading.Event(), threading.Event()
        really, listed = type(reads).files, 0

        def files(self: object, prefixes: Any = None) -> Any:
            nonlocal listed
            found = really(self, prefixes)  # type: ignore[arg-type]
            if self is reads:
                listed += 1
                if listed == 1:
                    began.set()
                    assert go_on.wait(WAIT_S)
            return found

        monkeypatch.setattr(type(reads), "files", files)
        with ThreadPoolExecutor(9) as pool:
            first = pool.submit(library.view)
            assert began.wait(WAIT_S)
            new_photo(other, album, "two.png")
            now = library.session.index._clock
            came: list[float] = []

            def clock() -> float:
                came.append(now())
                return came[-1]

            monkeypatch.setattr(library.session.index, "_clock", clock)
            monkeypatch.setattr("zsindex.session.index.LONGEST_WAIT_FOR_VIEW_S", WAIT_S)
            waiting = [pool.submit(library.view) for _ in range(8)]
            until(lambda: len(came) == 8)  # all have come before the next one lists them
            go_on.set()
            assert len(first.result(WAIT_S)) in (46, 47)
            assert {len(view.result(WAIT_S)) for view in waiting} == {47}
        assert listed == 2


def test_who_waits_for_the_same_question_shares_its_plan(library: Library) -> None:
    answers, question = Answers(0), Question(LABELS)
    planned: list[Plan] = []

    def make() -> Plan:
        planned.append(library.plan(question))
        return planned[-1]

    def ask() -> Plan:
        with answers.turn("the same") as turn:
            return turn(make)

    with ThreadPoolExecutor(8) as pool:
        with answers.turn("the same") as turn:
            first = turn(make)
            waiting = [pool.submit(ask) for _ in range(8)]
            until(lambda: answers._turns["the same"].threads == 9)
        found = [one.result(WAIT_S) for one in waiting]
    assert len(planned) == 2
    assert all(plan is planned[1] for plan in found), "they came after the first one was begun, before the second"
    assert ask() is planned[2]
    assert first is planned[0]
    assert not answers._turns

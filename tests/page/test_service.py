"""The service goes and comes back, a sync runs beside, a library begins empty: pages notice, and say so once."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image

from tests.page.looking import QUERY, SIZES, accessible, cells, expect, shown
from tests.waiting import until
from zsindex.library import Library
from zsindex.web import Limits, Security, create_app
from zsindex.web.app import loopback_hosts
from zsindex.web.serve import listen

# The first photo that can be seen, and where it is; and where one is by its name.
IN_VIEW = """() => {
    const edge = (document.querySelector(".tools") ?? document.querySelector(".bar")).getBoundingClientRect().bottom;
    const seen = [...document.querySelectorAll(".cell")].find((cell) => cell.getBoundingClientRect().bottom > edge);
    return [seen.title, Math.round(seen.getBoundingClientRect().top)];
}"""
WHERE = """(title) => [title, ...[...document.querySelectorAll(".cell")].filter((cell) => cell.title === title)
    .map((cell) => Math.round(cell.getBoundingClientRect().top))]"""


# What a page has said, also what has gone since; and for how long it waits before it asks again whether the service is
# back.
TOLD = """
    globalThis.told = { toasts: [], pauses: [] };
    new MutationObserver((changes) => {
        const added = changes.flatMap((change) => [...change.addedNodes]).filter((node) => node.matches?.(".toast"));
        told.toasts.push(...added.map((node) => node.firstChild.textContent));
    }).observe(document, { childList: true, subtree: true });
    const really = setTimeout;
    globalThis.setTimeout = (work, ms, ...more) => {
        if (`${work}`.includes("document.hidden) done()")) told.pauses.push(Math.round(ms));
        return really(work, ms, ...more);
    };
"""


class Service:
    """A service that can be stopped, and started again at the same address."""

    def __init__(self, thumbnails: Path, photo_folders: tuple[str, ...] = ()) -> None:
        self._thumbnails = thumbnails
        self._photo_folders = photo_folders
        self._port = 0
        self._running: tuple[uvicorn.Server, threading.Thread, socket.socket] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self, library: Library) -> None:
        listening = listen("127.0.0.1", self._port)
        self._port = listening.getsockname()[1]
        guard = Security(loopback_hosts(self._port), photo_folders=self._photo_folders)
        app = create_app(library, security=guard, limits=Limits(requests_per_s=0), thumbnails=self._thumbnails)
        server = uvicorn.Server(uvicorn.Config(app, ws="none", log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        self._running = server, thread, listening
        while not server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        if self._running is not None:
            server, thread, listening = self._running
            server.should_exit = True
            thread.join(20)
            listening.close()
            self._running = None


@pytest.fixture
def service(library: Library, album: Path, tmp_path: Path) -> Iterator[Service]:
    made = Service(album.parent / "thumbnails", (str(tmp_path / "disk"),))
    made.start(library)
    yield made
    made.stop()


def come_back(page: Any) -> None:
    """To the tab, as a browser says it."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def look_now(page: Any) -> None:
    """The same, and what the page then asks is answered."""
    with page.expect_response("**/v1/library/now"):
        come_back(page)
    page.wait_for_timeout(50)


def toasts(page: Any) -> list[str]:
    said: list[str] = page.locator("#toasts .toast > span").all_inner_texts()
    return said


def copy_turned(album: Path, folder: Path, n: int) -> None:
    """Photos that are in no library."""
    folder.mkdir(parents=True, exist_ok=True)
    for turn, file in enumerate(sorted(album.glob("*part*.jpg"))[:n]):
        with Image.open(file) as image:
            image.rotate(180).save(folder / f"turned {turn}.jpg")


def test_a_service_that_goes_is_waited_for_and_said_to_be_gone_once(
    page: Any, service: Service, library: Library
) -> None:
    page.add_init_script(TOLD)
    page.goto(f"{service.url}/lab?{QUERY}")
    page.locator('.tab[data-label="a person"]').click()
    before = shown(page)
    service.stop()
    # What was in view stays there; what is asked meanwhile is answered when it is back.
    page.get_by_label("Labels", exact=True).press_sequentially("a tree,")
    expect(page.locator("#toasts")).to_contain_text("The service cannot be reached")
    cells(page).first.click()
    expect(page.get_by_role("dialog").locator("#toasts")).to_contain_text("cannot be reached")
    accessible(page, "gone")
    until(lambda: page.evaluate("told.pauses.length") >= 3)
    assert page.evaluate("told.pauses")[:3] == [1000, 1600, 2560]  # it asks less and less often
    assert toasts(page) == ["The service cannot be reached. This page goes on when it is back."]
    expect(page.get_by_role("alert")).to_have_count(0)
    service.start(library)
    page.get_by_role("button", name="Try now").click()
    expect(page.get_by_role("dialog").locator("img.large")).to_be_visible()
    expect(page.get_by_role("dialog").get_by_role("heading", name="Why")).to_be_visible()
    assert page.evaluate("told.toasts") == [
        "The service cannot be reached. This page goes on when it is back.",
        "The service is back.",
    ]
    page.keyboard.press("Escape")
    expect(page.locator('.tab[data-label="a tree"]')).to_be_visible()
    assert shown(page)[0] in before


def test_pictures_that_failed_are_asked_for_again(page: Any, service: Service, library: Library) -> None:
    page.route("**/thumbnail*", lambda route: route.abort())
    page.goto(service.url)
    page.locator(".pic.broken").first.wait_for()
    page.unroute("**/thumbnail*")
    service.stop()
    come_back(page)
    expect(page.locator("#toasts")).to_contain_text("cannot be reached")
    # What changes something is not sent again by itself: nobody knows whether it was done.
    said = page.evaluate(
        """async () => {
            const { ask } = await import("/static/api.js");
            return ask("/v1/sync", { body: {} }).catch((error) => error.message);
        }"""
    )
    assert said.startswith("The service cannot be reached, so this may not be kept.")
    service.start(library)
    come_back(page)  # which is waited for no longer
    expect(page.locator(".pic.broken")).to_have_count(0)
    expect(page.locator(".cell.seen").first).to_be_visible()


def test_another_library_and_another_version_offer_to_reload(
    page: Any, service: Service, library: Library, album: Path, tmp_path: Path
) -> None:
    page.goto(service.url)
    expect(cells(page).first).to_be_visible()
    service.stop()
    with Library.open(tmp_path / "another") as another:
        another.sync(album / "coffee.jpg")
        service.start(another)
        look_now(page)
        expect(page.locator("#toasts")).to_contain_text("This is another library now.")
        page.get_by_role("button", name="Reload").click()
        expect(page.locator("#counted")).to_have_text("1 photo")
        service.stop()
    service.start(library)
    another_version = {**page.request.get(f"{service.url}/v1/library/now").json(), "version": "99.0"}
    page.route("**/v1/library/now", lambda route: route.fulfill(json=another_version))
    look_now(page)
    expect(page.locator("#toasts")).to_contain_text("zsindex is another version now.")
    look_now(page)
    assert len([text for text in toasts(page) if "version" in text]) == 1


def test_a_sync_beside_is_noticed_and_moves_nothing_under_the_hands(
    page: Any, service: Service, library: Library, album: Path, tmp_path: Path
) -> None:
    page.set_viewport_size({"width": 700, "height": 500})
    page.goto(f"{service.url}/?order=folder")
    expect(cells(page).first).to_be_visible()
    page.evaluate("scrollTo(0, 600)")
    expect(page.locator(".cell.wait")).to_have_count(0)
    before, scroll = page.evaluate(IN_VIEW), page.evaluate("scrollY")
    photos = library.status().images
    copy_turned(album, album.parent / "a folder before", 9)
    try:
        with Library.open(library.path) as beside:
            beside.sync(album.parent / "a folder before")
        more = library.status().images - photos
        assert more > 5
        look_now(page)
        expect(page.locator("#toasts")).to_contain_text(f"{more} new photos")
        assert (page.evaluate(IN_VIEW), page.evaluate("scrollY")) == (before, scroll)
        look_now(page)
        assert toasts(page) == [f"{more} new photos"]
        page.get_by_role("button", name="Show").click()
        expect(page.locator("#counted")).to_have_text(f"{photos + more} photos")
        expect(page.locator(".cell.wait")).to_have_count(0)
        assert page.evaluate(WHERE, before[0]) == before
        assert page.evaluate("scrollY") > scroll  # they came above
        assert toasts(page) == []
        look_now(page)
        assert toasts(page) == []
        # The lab, too, keeps what is in view.
        page.goto(f"{service.url}/lab?{'&'.join(QUERY.split('&')[:1])}")
        expect(page.locator('.tab[data-label="a person"] .tab-count')).to_have_text(str(library.status().files))
        page.evaluate("scrollTo(0, 900)")
        expect(page.locator(".cell.wait")).to_have_count(0)
        before = page.evaluate(IN_VIEW)
        copy_turned(album, album.parent / "a folder before", 20)
        with Library.open(library.path) as beside:
            beside.sync()
        look_now(page)
        page.get_by_role("button", name="Show").click()
        expect(page.locator('.tab[data-label="a person"] .tab-count')).to_have_text(str(library.status().files))
        expect(page.locator(".cell.wait")).to_have_count(0)
        assert page.evaluate(WHERE, before[0]) == before
        # And a search, in which more photos come before it.
        page.goto(f"{service.url}/search?q=a+person&all=1")
        expect(cells(page).first).to_be_visible()
        page.evaluate("scrollTo(0, 900)")
        expect(page.locator(".cell.wait")).to_have_count(0)
        before = page.evaluate(IN_VIEW)
        copy_turned(album, album.parent / "a folder before", 26)
        with Library.open(library.path) as beside:
            beside.sync()
        look_now(page)
        page.get_by_role("button", name="Show").click()
        expect(page.locator("#found")).to_contain_text(str(library.status().images))
        expect(page.locator(".cell.wait")).to_have_count(0)
        assert page.evaluate(WHERE, before[0]) == before
    finally:
        shutil.rmtree(album.parent / "a folder before")


def test_an_empty_library_offers_folders_and_leads_to_its_photos(
    page: Any, service: Service, library: Library, album: Path, tmp_path: Path
) -> None:
    library.prune(library.photos.roots())
    copy_turned(album, tmp_path / "disk" / "2019" / "summer", 20)
    (tmp_path / "disk" / ".hidden").mkdir()
    page.goto(service.url)
    page.get_by_text("No photos yet").wait_for()
    # The only folder that the service was started with is where one begins.
    expect(page.locator(".adding h3")).to_have_text(str(tmp_path / "disk"))
    expect(page.locator(".folder-list li")).to_have_text(["2019"])
    page.get_by_role("button", name="2019").press("Enter")
    page.get_by_role("button", name="summer").click()
    expect(page.locator(".adding")).to_contain_text("20 photos here.")
    accessible(page, "adding")
    page.get_by_role("button", name="Up").click()
    expect(page.locator(".adding")).to_contain_text("No photos here, 1 folder inside.")
    page.get_by_role("button", name="Add this folder").click()
    expect(page.locator("#counted")).to_have_text("20 photos")
    expect(cells(page)).to_have_count(20)
    assert toasts(page) == []  # they are there to be seen


def test_a_sync_is_shown_on_every_page_with_the_time_that_is_left(page: Any, service: Service) -> None:
    job = {"id": "f" * 16, "state": "running", "progress": {"stage": "encode", "done": 100, "total": 1000}}
    now = "**/v1/library/now"
    at_work = {**page.request.get(f"{service.url}/v1/library/now").json(), "job": job}
    page.route(now, lambda route: route.fulfill(json=at_work))
    page.goto(f"{service.url}/search")
    page.locator(".at-work:not([hidden])").wait_for(state="attached")
    expect(page.locator(".at-work")).to_have_text("Encoding photos: 100 of 1,000")
    expect(page.get_by_role("progressbar", name="Progress of the sync")).to_have_js_property("value", 100)
    page.set_viewport_size(SIZES["phone"])
    accessible(page, "at-work-phone")
    page.unroute(now)
    expect(page.locator(".at-work")).to_be_hidden()
    told = page.evaluate(
        """async (job) => {
            const { Pace } = await import("/static/pace.js");
            const pace = new Pace();
            const at = (seconds, done) => pace.of({ ...job, progress: { ...job.progress, done } }, 1000 * seconds).text;
            return [at(0, 0), at(2, 20), at(10, 100), at(60, 300), at(70, 990), at(71, 1000)];
        }""",
        job,
    )
    assert [text.rpartition("of 1,000")[2] for text in told] == [
        "",
        "",  # too soon to tell
        ", about 2 minutes left",
        ", about 2 minutes left",
        ", a few seconds left",
        "",
    ]

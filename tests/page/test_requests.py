"""What a page asks the service for before anybody sees a photo, and in which order: told by counts, not by clocks."""

from __future__ import annotations

import re
from collections import Counter
from itertools import accumulate
from typing import Any
from urllib.parse import urlsplit

from tests.page.looking import LABELS, QUERY, cells, expect, shown
from tests.page.test_page import Held
from tests.waiting import until
from zsindex.library import Library

# What was loaded, and how many bytes of it came from the service: none of what the browser has kept.
LOADED = "performance.getEntriesByType('resource').map((one) => [new URL(one.name).pathname, one.transferSize])"
LISTED = (
    """[...document.querySelectorAll("head :is(script, link)")].map((one) => new URL(one.src || one.href).pathname)"""
)


def test_scripts_are_asked_for_at_once_and_once(page: Any, url: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    for path in ("/search", "/library", "/map", "/choose", "/search"):
        asked.clear()
        page.goto(url + path)  # until all of them have run
        scripts = [one for one in asked if one.endswith(".js")]
        assert len(scripts) > 8
        assert set(scripts) <= set(page.evaluate(LISTED)), path
        assert len(scripts) == len(set(scripts)), path
    # All that this page takes others have taken before.
    sizes = [size for name, size in page.evaluate(LOADED) if "/static/" in name]
    assert len(sizes) > len(scripts)
    assert set(sizes) == {0}
    # A search is one request, and then its pictures: nothing else is asked for because the address is another one.
    page.evaluate("performance.clearResourceTimings()")
    page.get_by_label("Words for what the photos show").fill("coffee")
    page.keyboard.press("Enter")
    shown(page)
    sent = [name for name, size in page.evaluate(LOADED) if size and not name.endswith("/thumbnail")]
    assert [one for one in sent if one != "/v1/library/now"] == ["/v1/search"]


def test_photos_wait_for_nothing_that_they_do_not_need(page: Any, url: str, library: Library) -> None:
    library.labels.save("things", LABELS)
    others = re.compile(r"/v1/(library|library/now|session|label-sets|template-sets|images/sections\?per=folder)$")
    for path in ("/", "/search?q=coffee", f"/lab?{QUERY}"):
        held = Held(page, others)
        page.goto(url + path)
        assert shown(page), path
        until(lambda held=held: page.wait_for_timeout(10) or len(held.routes) > 1)
        held.let_go()
        page.unroute_all()
    # What a set holds is asked for beside what it says of the photos.
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    held = Held(page, "**/v1/label-sets/things")
    with page.expect_request("**/v1/groups"):
        page.goto(f"{url}/lab?set=things")
    held.let_go()
    expect(cells(page).first).to_be_visible()
    page.goto(f"{url}/library", wait_until="networkidle")
    assert [one for one in asked if one.endswith("openapi.json")] == []


def test_the_list_comes_with_its_first_photos_and_is_divided_here(page: Any, url: str, library: Library) -> None:
    total = library.photos.page(limit=0).total
    days = [
        ("2020-07-02", 2),
        ("2020-07-01", 3),
        ("2020-06-30", 1),
        ("2020-06-03", 6),
        ("2019-12-31", 1),
        (None, total - 13),
    ]
    starts = accumulate((n for _, n in days), initial=0)
    sections = [{"name": name, "start": start, "photos": n} for (name, n), start in zip(days, starts, strict=False)]
    held: list[Any] = []
    page.route("**/v1/images/sections?per=day", lambda route: held.append(route))
    with page.expect_request("**/v1/images?by=date&start=0&limit=100"):
        page.goto(url)
    until(lambda: page.wait_for_timeout(10) or held)
    [route] = held  # whose answer is not needed for that
    route.fulfill(json={"sections": sections})
    shown(page)
    titles = [
        "July 2020 · 5 photos",
        "June 2020 · 7 photos",
        "December 2019 · 1 photo",
        f"No date · {total - 13} photos",
    ]
    expect(page.locator(".row-title")).to_have_text(titles)
    assert len(held) == 1


def test_where_a_disk_is_missing_each_picture_is_asked_for_once(page: Any, url: str) -> None:
    """The first ones twice, since a picture that fails does not say why."""
    asked: Counter[str] = Counter()

    def gone(route: Any) -> None:
        asked[urlsplit(route.request.url).path] += 1
        why = {"type": "x", "title": "Not found", "status": 404, "detail": "it is gone", "reason": "vanished"}
        route.fulfill(status=404, content_type="application/problem+json", json=why)

    page.route("**/thumbnail**", gone)
    page.set_viewport_size({"width": 360, "height": 300})
    page.goto(url)
    broken = page.locator("#grid .cell.broken")
    expect(broken.first).to_contain_text("Not on this disk")
    page.wait_for_load_state("networkidle")
    first = set(asked)
    assert max(asked.values()) == 2
    cells(page).first.focus()
    page.keyboard.press("End")
    expect(cells(page).last).to_contain_text("Not on this disk")
    later = [n for path, n in asked.items() if path not in first]
    assert later
    assert set(later) == {1}

"""The way from photo to photo and back."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from tests.page.looking import cells, expect

LISTS = re.compile(r"/v1/(images\?|images/sections|groups|search)")


def steps(page: Any) -> int:
    n: int = page.evaluate("history.length")
    return n


def scrolled(page: Any) -> float:
    top: float = page.evaluate(
        "(document.querySelector('[data-scroll]:has(#grid)') ?? document.scrollingElement).scrollTop + scrollY"
    )
    return top


# --- the history ------------------------------------------------------------------------------------------------------


def test_back_closes_a_photo_and_keeps_its_place(
    page: Any, url: str, things: tuple[str, list[tuple[int, str]]]
) -> None:
    """However many photos one has gone through: on each page with photos."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if LISTS.search(request.url) else None)
    page.set_viewport_size({"width": 420, "height": 420})
    dialog = page.get_by_role("dialog")
    group = things[0].replace(" ", "+")
    for path in (
        "/",
        f"/lab?set=things&group={group}",
        "/search?q=a+cup+of+coffee&all=1",
        "/compare?alabel=a+cat&blabel=a+dog",
    ):
        page.goto(url + path)
        expect(cells(page).nth(4)).to_be_visible(timeout=15_000)  # the first question loads the model
        page.wait_for_load_state("networkidle")
        cells(page).first.focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        before, was_at = steps(page), scrolled(page)
        page.keyboard.press("Enter")
        expect(dialog.locator("img.large")).to_be_visible()
        first = page.url
        page.keyboard.press("ArrowRight")
        expect(page).not_to_have_url(first)
        expect(dialog.locator("img.large")).to_be_visible()
        assert steps(page) == before + 1, path
        last = page.url
        asked.clear()
        page.go_back()
        expect(dialog).to_be_hidden()
        assert "photo=" not in page.url
        expect(page.locator('#grid .cell[data-i="4"]')).to_be_focused()
        assert scrolled(page) == was_at, path
        page.go_forward()
        expect(dialog.locator("img.large")).to_be_visible()
        assert page.url == last
        page.keyboard.press("ArrowLeft")
        expect(page).to_have_url(first)
        page.keyboard.press("Escape")
        expect(page).not_to_have_url(re.compile("photo="))
        expect(page.locator('#grid .cell[data-i="3"]')).to_be_focused()
        page.keyboard.press("Enter")  # takes the place of the step that closing took back
        expect(page).to_have_url(first)
        assert steps(page) == before + 1, path
        assert [one for one in asked if "/places" not in one] == [], path


def test_how_many_steps_there_are_does_not_depend_on_how_fast_one_types(page: Any, url: str) -> None:
    page.goto(f"{url}/lab")
    field = page.get_by_label("Labels", exact=True)
    camera = page.get_by_role("textbox", name="Camera")

    def typed(pause: Callable[[], None], label: str, filtered: str) -> list[int]:
        made = []
        for box, text in ((field, label), (camera, filtered)):
            before = steps(page)
            box.press_sequentially(text)
            pause()
            made.append(steps(page) - before)
            box.press("Enter")
            made.append(steps(page) - before)
            if box is camera:
                box.fill("")
                box.press("Enter")
        box = field
        box.press_sequentially("x")
        pause()
        box.press("Backspace")
        pause()
        made.append(steps(page) - before)
        return made

    def wait() -> None:
        page.wait_for_timeout(450)  # longer than anything that waits for the end of typing

    page.get_by_text("Filters", exact=True).click()
    assert typed(lambda: None, "a cat", "one") == [0, 1, 0, 1, 2]
    assert typed(wait, "a rocket", "two") == [0, 1, 0, 1, 2]
    page.go_back()  # "two" is there again, which no key has taken back
    expect(camera).to_have_value("two")
    page.go_back()
    page.go_back()
    expect(page.locator(".chip-text")).to_have_text(["a cat"])


@pytest.fixture
def thousands(page: Any) -> list[str]:
    """A made-up list of 5,000 photos, newest first; what is asked of it."""
    n, asked = 5_000, []
    made = io.BytesIO()
    Image.new("RGB", (64, 48), "#367").save(made, "JPEG")

    def photo(i: int) -> dict[str, Any]:
        taken = f"{2000 + (n - i) // 360:04}-{(n - i) % 12 + 1:02}-01T10:00:00"
        return {
            "image_id": i + 1,
            "path": f"/p/{i}.jpg",
            "copies": [],
            "taken": taken,
            "taken_from": "exif",
            "width": 9,
            "height": 9,
        }

    photos = sorted((photo(i) for i in range(n)), key=lambda one: str(one["taken"]), reverse=True)
    by_path = {one["path"]: one for one in photos}

    def listed(route: Any) -> None:
        found = re.search(r"path=([^&]*)", route.request.url)
        start = int((re.search(r"start=(\d+)", route.request.url) or [0, 0])[1])
        if found:
            images = [by_path[found[1].replace("%2F", "/")]]
        else:
            asked.append(route.request.url)
            images = photos[start : start + 100]
        route.fulfill(json={"images": images, "total": n, "next": None})

    def one(route: Any) -> None:
        image_id = int(route.request.url.rsplit("/", 1)[1])
        about = {"image_id": image_id, "digest": str(image_id), "format": "JPEG", "width": 9, "height": 9}
        route.fulfill(json={**about, "paths": [f"/p/{image_id - 1}.jpg"]})

    page.route(re.compile(r"/v1/images\?"), listed)
    page.route(re.compile(r"/v1/images/\d+$"), one)
    page.route(
        "**/v1/images/sections?*",
        lambda route: route.fulfill(json={"sections": [{"name": "2000", "start": 0, "photos": n}]}),
    )
    page.route("**/similar?*", lambda route: route.fulfill(json={"hits": [], "next": None}))
    page.route(re.compile(r"/facts(\?|$)"), lambda route: route.fulfill(json={"image_id": 1, "files": []}))
    page.route("**/thumbnail?*", lambda route: route.fulfill(body=made.getvalue(), content_type="image/jpeg"))
    names = [str(one["path"])[3:] for one in photos]
    return [*names, asked]  # type: ignore[list-item]


def test_the_address_of_a_photo_leads_to_its_neighbours_among_thousands(
    page: Any, url: str, thousands: list[Any]
) -> None:
    *names, asked = thousands
    heading = page.get_by_role("heading", level=2).and_(page.locator("#photo-title"))
    at = 3_210
    page.goto(f"{url}/?photo={int(names[at].split('.')[0]) + 1}")
    expect(heading).to_have_text(names[at])
    page.keyboard.press("ArrowRight")
    expect(heading).to_have_text(names[at + 1])
    assert len(asked) < 20
    asked.clear()
    page.reload()  # where it was is known
    expect(heading).to_have_text(names[at + 1])
    page.keyboard.press("ArrowRight")
    expect(heading).to_have_text(names[at + 2])
    assert len(asked) <= 4
    page.keyboard.press("Escape")
    expect(page.locator(f'.cell[data-i="{at + 2}"]')).to_be_focused()

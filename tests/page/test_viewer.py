"""The large picture: zoom, full screen, slideshow, two side by side; and the way from photo to photo and back."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from tests.page.looking import LABELS, SIZES, accessible, cells, expect, opened, posted, stop_time
from tests.page.test_page import Held
from tests.waiting import until
from zsindex.library import Library

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
        expect(cells(page).nth(4)).to_be_visible()  # the first question loads the model
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
    page.clock.install()
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
        page.clock.run_for(450)  # longer than anything that waits for the end of typing

    page.get_by_text("Filters", exact=True).click()
    stop_time(page)
    assert typed(lambda: None, "a cat", "one") == [0, 1, 0, 1, 2]
    assert typed(wait, "a rocket", "two") == [0, 1, 0, 1, 2]
    page.clock.resume()
    page.go_back()  # "two" is there again, which no key has taken back
    expect(camera).to_have_value("two")
    page.go_back()
    page.go_back()
    expect(page.locator(".chip-text")).to_have_text(["a cat"])


@pytest.fixture
def thousands(page: Any) -> tuple[list[str], list[str]]:
    """The names of a made-up list of 5,000 photos, newest first; and what is asked of it."""
    n = 5_000
    asked: list[str] = []
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
    return names, asked


def test_the_address_of_a_photo_leads_to_its_neighbours_among_thousands(
    page: Any, url: str, thousands: tuple[list[str], list[str]]
) -> None:
    names, asked = thousands
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


# --- after a key ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learn", ["", "&learn=1"])
def test_the_next_photo_comes_after_a_key_and_undo_leads_back(
    page: Any, url: str, library: Library, things: tuple[str, list[tuple[int, str]]], learn: str
) -> None:
    label, photos = things
    said = posted(page)
    dialog = opened(page, url, label, learn, goes_on=True)
    heading = dialog.get_by_role("heading", level=2)
    other = next(n for n, one in enumerate(LABELS, start=1) if one != label)
    for n, (_, name) in enumerate(photos[:4]):
        expect(dialog.locator("img.large")).to_have_attribute("alt", name)
        expect(dialog.get_by_text("Press a number, or choose.")).to_be_visible()
        page.keyboard.press(str(other))
        expect(heading).to_have_text(photos[n + 1][1])
    expect(page.get_by_text(f"Kept: {photos[3][1]} shows")).to_be_visible()
    assert said == [(image_id, LABELS[other - 1]) for image_id, _ in photos[:4]]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("u")
    expect(heading).to_have_text(photos[3][1])
    expect(dialog.get_by_text("Press a number, or choose.")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(heading).to_have_text(photos[2][1])
    expect(dialog.locator(".said-badge")).to_have_text(f"Corrected: {LABELS[other - 1]}")
    page.keyboard.press("u")
    expect(dialog.locator(".said-badge")).to_be_hidden()
    kept = [Path(one.paths[0]).name for one in library.corrections.list("things")]
    assert sorted(kept) == sorted(name for _, name in photos[:2])
    dialog.get_by_label("Go on to the next photo after each answer").uncheck()
    page.keyboard.press(str(other))
    expect(dialog.locator(".said-badge")).to_be_visible()
    expect(heading).to_have_text(photos[2][1])
    if learn:
        return
    page.keyboard.press("Escape")
    mark = f"✓ {LABELS[other - 1]}"
    expect(page.locator("#grid .mark-badge")).to_have_text([mark] * 3)
    expect(page.locator("#grid .cell:focus .mark-badge")).to_have_text(mark)
    accessible(page, "grid-corrected")
    page.reload()  # what was chosen is kept, and badges come with what the library knows
    expect(page.locator("#grid .mark-badge")).to_have_text([mark] * 3)
    cells(page).first.click()
    expect(dialog.get_by_label("Go on to the next photo after each answer")).not_to_be_checked()


def test_undo_takes_back_only_what_was_said_on_its_page(
    page: Any, url: str, library: Library, things: tuple[str, list[tuple[int, str]]]
) -> None:
    label, photos = things
    other = next(n for n, one in enumerate(LABELS, start=1) if one != label)

    def said() -> list[str]:
        return sorted(Path(one.paths[0]).name for one in library.corrections.list("things"))

    dialog = opened(page, url, label)
    second = page.context.new_page()
    try:
        theirs = opened(second, url, label)
        second.keyboard.press("u")  # nothing was said there
        expect(second.get_by_text("There is nothing to take back.")).to_be_visible()
        second.keyboard.press("ArrowRight")
        expect(theirs.get_by_text("Press a number, or choose.")).to_be_visible()
        page.keyboard.press(str(other))
        expect(dialog.locator(".said-badge")).to_be_visible()
        second.keyboard.press(str(other))
        expect(theirs.locator(".said-badge")).to_be_visible()
        dialog.get_by_role("button", name="Undo").click()
        expect(page.get_by_text("Somebody else has corrected since; look at Sets.")).to_be_visible()
        assert said() == sorted([photos[0][1], photos[1][1]])
        theirs.get_by_role("button", name="Undo").click()
        expect(theirs.locator(".said-badge")).to_be_hidden()
        assert said() == [photos[0][1]]
        second.goto(f"{url}/sets?set=things")
        cells(second).first.click()
        expect(theirs.locator(".said-badge")).to_be_visible()
        expect(theirs.get_by_text("Kept: it shows")).to_be_visible()
        second.keyboard.press("u")  # of whom is not known there
        page.keyboard.press("u")
        expect(dialog.locator(".said-badge")).to_be_hidden()
        expect(page.get_by_text("There is nothing to take back.")).to_have_count(0)
        assert said() == []
    finally:
        second.close()


# --- the viewer -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shots(album: Path) -> Path:
    """Four photos: three with more pixels than previews have, one of a camera on its side, one a TIFF."""
    folder = album.parent / "shots"
    folder.mkdir()
    large = Image.radial_gradient("L").convert("RGB").resize((1800, 1200))
    names = ["a.jpg", "b.jpg", "c.tif", "d.jpg"]
    for n, name in enumerate(names):
        told = Image.Exif()
        exif = told.get_ifd(0x8769)
        exif[0x9003] = f"2035:05:0{9 - n} 10:20:30"
        if name == "b.jpg":
            told[0x010F], told[0x0110], told[0x0112] = "Acme", "Acme One", 6
            exif[0x829A], exif[0x829D], exif[0x8827], exif[0x920A] = 0.004, 2.8, 400, 35.0
        image = large if name != "d.jpg" else large.resize((600, 400))
        image.rotate(5 * n).save(folder / name, exif=told)
    return folder


@pytest.fixture(scope="module")
def encoded(encoded: Path, shots: Path) -> Path:
    """The library of the album with these photos."""
    folder = encoded.parent / "library with shots"
    shutil.copytree(encoded, folder)
    with Library.open(folder) as library:
        library.sync(shots)
    return folder


def within(folder: Path) -> str:
    return f"/?order=folder&folder={quote(str(folder))}"


def transform(page: Any) -> list[float]:
    """Where the picture is, and how large: x, y, scale."""
    found: str = page.locator("dialog img.large").first.evaluate("image => image.style.transform")
    return [round(float(one), 6) + 0 for one in re.findall(r"-?[\d.]+(?:e-?\d+)?", found)]


def test_zoom_to_the_original(page: Any, url: str, shots: Path) -> None:
    files: list[str] = []
    page.on("request", lambda request: files.append(request.url) if request.url.endswith("/file") else None)
    page.goto(url + within(shots))
    dialog = page.get_by_role("dialog")
    image = dialog.locator("img.large")
    page.locator('.cell[title="b.jpg"]').click()
    expect(image).to_have_attribute("alt", "b.jpg")
    expect(dialog.locator(".photo-facts")).to_contain_text(
        re.compile("May 8, 2035.*10:20.*Acme One.*35 mm · f/2.8 · 1/250 s · ISO 400", re.DOTALL)
    )
    assert transform(page) == [0, 0, 1]
    box = dialog.locator(".pane").first.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    expect(dialog.locator("img.original")).to_be_visible()
    # Upright, as it was held, and all of it.
    assert image.evaluate("one => [one.naturalWidth, one.naturalHeight]") == [1200, 1800]
    assert transform(page)[2] > 2
    before = transform(page)
    page.mouse.down()
    page.mouse.move(x + 40, y + 30)
    page.mouse.up()
    assert transform(page)[:2] == pytest.approx([before[0] + 40, before[1] + 30])
    accessible(page, "photo-zoomed")
    page.keyboard.press("0")
    assert transform(page) == [0, 0, 1]
    page.mouse.dblclick(x, y)
    expect(dialog.locator(".level")).to_have_text("100 %")  # a pixel of the photo is one of the screen
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("-")
    assert transform(page)[2] > 1
    page.mouse.dblclick(x, y)
    assert transform(page) == [0, 0, 1]
    expect(image).to_have_attribute("alt", "b.jpg")
    # Whose original no browser shows, and who has no more pixels than the preview.
    page.keyboard.press("ArrowRight")
    expect(image).to_have_attribute("alt", "c.tif")
    expect(dialog.get_by_text("TIFF", exact=False).first).to_be_visible()
    page.keyboard.press("+")
    page.keyboard.press("+")
    expect(dialog.get_by_text("This is the preview: browsers do not show TIFF originals.")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(image).to_have_attribute("alt", "d.jpg")
    assert transform(page) == [0, 0, 1]
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(image).to_have_attribute("alt", "b.jpg")
    assert len(files) == 1


def test_an_original_that_is_gone_is_asked_for_once(page: Any, url: str, shots: Path, tmp_path: Path) -> None:
    files: list[str] = []
    page.on("request", lambda request: files.append(request.url) if request.url.endswith("/file") else None)
    page.goto(url + within(shots))
    dialog = page.get_by_role("dialog")
    page.locator('.cell[title="a.jpg"]').click()
    expect(dialog.locator("img.large")).to_have_attribute("alt", "a.jpg")
    (shots / "a.jpg").rename(tmp_path / "away.jpg")
    try:
        for _ in range(2):
            page.keyboard.press("+")
            page.keyboard.press("+")
            expect(dialog.get_by_text("This is the preview. Not on this disk.")).to_be_visible()
            page.keyboard.press("ArrowRight")
            expect(dialog.locator("img.large")).to_have_attribute("alt", "b.jpg")
            page.keyboard.press("ArrowLeft")
            expect(dialog.locator("img.large")).to_have_attribute("alt", "a.jpg")
    finally:
        (tmp_path / "away.jpg").rename(shots / "a.jpg")
    assert len(files) == 1


def test_full_screen_with_the_answers_at_hand(page: Any, url: str, things: tuple[str, list[tuple[int, str]]]) -> None:
    label, photos = things
    dialog = opened(page, url, label, goes_on=True)
    page.keyboard.press("f")
    until(lambda: page.evaluate("document.fullscreenElement?.className.includes('full')"))
    expect(dialog.locator(".panel")).to_be_hidden()
    expect(dialog.locator(".strip").get_by_role("button", name="a rocket", exact=True)).to_be_enabled()
    page.keyboard.press("4")
    expect(dialog.locator("img.large")).to_have_attribute("alt", photos[1][1])
    expect(page.get_by_text(f"Kept: {photos[0][1]} shows a rocket.")).to_be_visible()  # over all
    accessible(page, "photo-full")
    page.keyboard.press("i")
    expect(dialog.locator(".panel .correct")).to_be_visible()
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys.get_by_text("Full screen", exact=True)).to_be_visible()
    accessible(page, "keys")
    page.keyboard.press("ArrowRight")  # is about the keys
    page.keyboard.press("Enter")
    expect(keys).to_have_count(0)
    page.keyboard.press("f")
    until(lambda: page.evaluate("document.fullscreenElement === null"))
    expect(dialog.locator("img.large")).to_have_attribute("alt", photos[1][1])
    # A browser that gives no screen gives the window.
    page.evaluate("() => { Element.prototype.requestFullscreen = () => Promise.reject(new TypeError('no')); }")
    page.keyboard.press("f")
    until(lambda: dialog.locator(".view").bounding_box() == {"x": 0, "y": 0, **SIZES["desk"]})
    page.keyboard.press("Escape")
    until(lambda: dialog.locator(".view").bounding_box()["x"] > 0)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys").get_by_role("heading", level=3).first).to_have_text("Photos")


def test_a_slideshow_waits_for_pictures_and_ends_with_the_list(
    page: Any, url: str, things: tuple[str, list[tuple[int, str]]]
) -> None:
    label, photos = things
    held = Held(page, "**/thumbnail?size=1024", lambda asked: f"/images/{photos[2][0]}/" not in asked)
    page.clock.install()
    dialog = opened(page, url, label)
    image = dialog.locator("img.large")
    dialog.get_by_label("Seconds for each photo").select_option("3")
    page.keyboard.press("Escape")
    cells(page).first.press("Enter")
    expect(image).to_have_attribute("alt", photos[0][1])
    stop_time(page)
    page.keyboard.press("s")
    expect(dialog.get_by_role("button", name="Pause the slideshow")).to_be_visible()
    page.clock.run_for(2_900)
    expect(image).to_have_attribute("alt", photos[0][1])
    page.clock.run_for(200)
    expect(image).to_have_attribute("alt", photos[1][1])
    page.clock.run_for(9_000)
    expect(image).to_have_attribute("alt", photos[1][1])  # the next one is not there yet
    held.let_go()
    expect(image).to_have_attribute("alt", photos[2][1])
    page.keyboard.press("ArrowLeft")
    expect(dialog.get_by_role("button", name="Slideshow")).to_be_visible()
    page.clock.run_for(9_000)
    expect(image).to_have_attribute("alt", photos[1][1])
    for _, name in photos[2:]:
        page.keyboard.press("ArrowRight")
        expect(image).to_have_attribute("alt", name)
    page.keyboard.press("s")
    page.clock.run_for(3_100)
    expect(page.get_by_text("That was the last photo.")).to_be_visible()
    expect(dialog.get_by_role("button", name="Slideshow")).to_be_visible()
    assert page.evaluate("localStorage.getItem('zsindex.slideshow')") == "3"


def test_two_side_by_side(page: Any, url: str, shots: Path) -> None:
    page.goto(url + within(shots))
    dialog = page.get_by_role("dialog")
    names = dialog.locator(".pair-name")
    page.locator('.cell[title="a.jpg"]').click()
    expect(dialog.locator("img.large")).to_have_attribute("alt", "a.jpg")
    page.keyboard.press("c")
    expect(names).to_have_text(["a.jpg", "b.jpg"])
    expect(dialog.locator(".pair-view img.large")).to_have_count(2)
    expect(dialog.locator(".pair-facts")).to_contain_text("1,200 × 1,800")
    accessible(page, "pair")
    page.keyboard.press("+")
    both = dialog.locator(".pair-view img.large").evaluate_all(
        "all => all.map((one) => one.style.transform.split('scale')[1])"
    )
    assert both == ["(1.5)", "(1.5)"]
    page.keyboard.press("0")
    page.keyboard.press("ArrowRight")
    expect(names).to_have_text(["a.jpg", "c.tif"])
    page.keyboard.press("r")  # the right one stays
    expect(names).to_have_text(["c.tif", "d.jpg"])
    expect(dialog.locator(".pair-view img.large")).to_have_count(2)
    page.keyboard.press("ArrowLeft")
    expect(names).to_have_text(["c.tif", "b.jpg"])
    page.keyboard.press("Escape")
    expect(dialog.locator("img.large")).to_have_attribute("alt", "c.tif")
    page.keyboard.press("m")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator("img.large")).to_have_attribute("alt", "a.jpg")
    dialog.get_by_role("button", name="Side by side").click()
    expect(names).to_have_text(["c.tif", "a.jpg"])
    dialog.get_by_role("button", name="The left one stays").click()
    expect(names).to_have_text(["c.tif", "b.jpg"])
    page.keyboard.press("c")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("img.large")).to_have_attribute("alt", "d.jpg")


def test_fingers(chromium: Any, url: str, shots: Path) -> None:
    context = chromium.new_context(viewport=SIZES["phone"], has_touch=True, is_mobile=True)
    try:
        page = context.new_page()
        page.clock.install()
        page.goto(url + within(shots))
        page.locator('.cell[title="b.jpg"]').tap()
        dialog = page.get_by_role("dialog")
        image = dialog.locator("img.large")
        expect(image).to_have_attribute("alt", "b.jpg")
        touch = context.new_cdp_session(page)
        box = dialog.locator(".pane").first.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

        def fingers(*ways: tuple[float, float, float, float]) -> None:
            """Each goes from a point to another, seen from the middle."""
            for kind, part in (("Start", 0.0), *(("Move", n / 5) for n in range(1, 6))):
                points = [
                    {"x": x + a + part * (c - a), "y": y + b + part * (d - b), "id": n}
                    for n, (a, b, c, d) in enumerate(ways)
                ]
                touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
            touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        fingers((60, 0, -60, 5))
        expect(image).to_have_attribute("alt", "c.tif")
        fingers((-60, 0, 60, 5))
        expect(image).to_have_attribute("alt", "b.jpg")
        fingers((-10, 0, -60, 0), (10, 0, 60, 0))
        expect(dialog.locator("img.original")).to_be_visible()
        assert transform(page)[2] > 3
        fingers((60, 0, -60, 5))  # moves what is zoomed
        expect(image).to_have_attribute("alt", "b.jpg")
        fingers((-60, 0, -10, 0), (60, 0, 10, 0))
        assert transform(page) == [0, 0, 1]
        stop_time(page)  # or two taps may be too far from each other for a double one
        for _ in range(2):
            fingers((5, 5, 5, 5))
        assert transform(page)[2] >= 2
        page.clock.run_for(1_000)
        for _ in range(2):
            fingers((5, 5, 5, 5))
        assert transform(page) == [0, 0, 1]
        page.clock.resume()
        dialog.get_by_role("button", name="Details").tap()
        small = dialog.locator("button:visible, select:visible").evaluate_all(
            "all => all.filter((one) => one.offsetWidth < 24 || one.offsetHeight < 24).map((one) => one.ariaLabel)"
        )
        assert small == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        accessible(page, "photo-bare-phone")
        fingers((0, -60, 0, 60))
        expect(dialog).to_be_hidden()
    finally:
        context.close()

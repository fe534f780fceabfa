"""Photos are selected by mouse, keys and touch, and something is done with all of them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from tests.page.conftest import Start
from tests.page.looking import SIZES, TOKEN, accessible, cells, expect, group_of, keep
from tests.waiting import until
from zsindex.library import Library
from zsindex.web import Token


def selected(page: Any) -> list[int]:
    numbers: list[int] = page.eval_on_selector_all(
        '.cell[aria-selected="true"]', "cells => cells.map((cell) => Number(cell.dataset.i)).sort((a, b) => a - b)"
    )
    return numbers


def bar(page: Any) -> Any:
    return page.locator(".selection")


def middle(page: Any, i: int) -> tuple[float, float]:
    box = page.locator(f'.cell[data-i="{i}"]').bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_photos_are_selected_by_mouse_and_keys(page: Any, url: str, library: Library) -> None:
    page.goto(url)
    page.locator(".cell.seen").first.wait_for()
    expect(bar(page)).to_be_hidden()
    expect(page.locator("#grid .sheet")).to_have_attribute("aria-multiselectable", "true")
    cell = lambda i: page.locator(f'.cell[data-i="{i}"]')  # noqa: E731
    cell(1).click(modifiers=["ControlOrMeta"])
    cell(4).click(modifiers=["Shift"])
    assert selected(page) == [1, 2, 3, 4]
    expect(page.locator(".selected-count")).to_have_text("4 selected")
    cell(3).hover()
    cell(3).locator(".pick").click()
    cell(2).click(modifiers=["Shift"])  # from the last one on: what was selected stays
    assert selected(page) == [1, 2, 3, 4]
    cell(2).click(modifiers=["ControlOrMeta"])
    assert selected(page) == [1, 3, 4]
    expect(page.locator("p[role=status].hidden")).to_have_text("3 photos selected")
    accessible(page, "selection-desk")

    # A click opens, and the selection is there afterwards.
    cell(0).click()
    expect(page.get_by_role("dialog").locator("img.large")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert selected(page) == [1, 3, 4]
    page.keyboard.press("Escape")
    assert selected(page) == []
    expect(bar(page)).to_be_hidden()

    # The same by keys, and back again.
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowLeft")
    assert selected(page) == [1, 2]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/images?" in request.url else None)
    page.keyboard.press("ControlOrMeta+a")
    total = library.photos.page(limit=0).total
    expect(page.locator(".selected-count")).to_have_text(f"{total} selected")
    page.keyboard.press("End")
    page.keyboard.press("Home")
    expect(cell(0)).to_have_attribute("aria-selected", "true")
    assert asked == []
    # Another list: what was selected is not what stands there now.
    page.get_by_label("Order").select_option("oldest")
    expect(bar(page)).to_be_hidden()
    expect(page.locator("#toasts")).to_have_text("Nothing is selected any more.")
    assert selected(page) == []


def test_dragging_selects_what_it_touches_and_scrolls(page: Any, url: str) -> None:
    page.goto(url)
    page.locator(".cell.seen").first.wait_for()
    (x, y), (to_x, to_y) = middle(page, 1), middle(page, 2)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(to_x, to_y, steps=4)
    assert selected(page) == [1, 2]
    columns = int(page.locator("#grid .sheet").get_attribute("aria-colcount"))
    below = middle(page, 2)[1] + (page.locator('.cell[data-i="0"]').bounding_box()["height"] + 6)
    page.mouse.move(to_x, below, steps=4)
    assert selected(page) == [1, 2, columns + 1, columns + 2]
    page.mouse.move(to_x, to_y, steps=4)
    assert selected(page) == [1, 2]
    keep(page, "selection-drag")
    # At the edge the list goes on, and so does the selection.
    page.mouse.move(to_x, SIZES["desk"]["height"] - 4, steps=4)
    last = int(page.evaluate("document.querySelectorAll('.cell').length")) - 1
    until(lambda: page.evaluate(f"document.querySelector('.cell[data-i=\"{last - last % columns}\"]') !== null"))
    until(lambda: page.locator('.cell[aria-selected="true"]').count() > 9)
    page.mouse.up()
    assert page.locator(".marquee").count() == 0
    expect(page.get_by_role("dialog")).to_be_hidden()  # letting go is no click
    # From empty space; one more is added with Ctrl.
    page.keyboard.press("Escape")
    page.evaluate("document.getElementById('stage').scrollTop = 0")
    first = page.locator('.cell[data-i="0"]').bounding_box()
    page.mouse.move(first["x"] + 10, first["y"] - 12)
    page.mouse.down()
    page.mouse.move(first["x"] + 30, first["y"] + 20, steps=3)
    page.mouse.up()
    assert selected(page) == [0]


def test_a_long_press_selects_on_touch(chromium: Any, url: str) -> None:
    context = chromium.new_context(viewport=SIZES["phone"], has_touch=True, is_mobile=True, reduced_motion="reduce")
    page = context.new_page()
    page.goto(url)
    page.locator(".cell.seen").first.wait_for()
    raw = context.new_cdp_session(page)

    def touch(kind: str, *at: tuple[float, float]) -> None:
        raw.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in at]})

    touch("touchStart", middle(page, 1))
    page.wait_for_selector('.cell[data-i="1"][aria-selected="true"]')
    before = page.evaluate("scrollY")
    touch("touchMove", middle(page, 2))
    touch("touchMove", middle(page, 3))
    touch("touchEnd")
    assert selected(page) == [1, 2, 3]
    assert page.evaluate("scrollY") == before
    # Now a tap selects one more, rather than to open it.
    page.touchscreen.tap(*middle(page, 0))
    assert selected(page) == [0, 1, 2, 3]
    expect(page.get_by_role("dialog")).to_be_hidden()
    accessible(page, "selection-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["phone"]["width"]
    page.get_by_label("Select nothing").tap()
    page.touchscreen.tap(*middle(page, 0))
    expect(page.get_by_role("dialog")).to_be_visible()
    context.close()


def test_many_are_a_range_and_ids_are_asked_for_when_they_are_needed(page: Any, url: str) -> None:
    total = 30_000
    asked: list[tuple[int, int]] = []
    exported: list[int] = []

    def images(route: Any) -> None:
        query = dict(part.split("=") for part in route.request.url.partition("?")[2].split("&"))
        start, limit = int(query["start"]), int(query["limit"])
        asked.append((start, limit))
        found = [{"image_id": n + 1, "path": f"/p/{n}.jpg"} for n in range(start, min(total, start + limit))]
        route.fulfill(json={"images": found, "total": total, "next": None})

    sections = [{"name": None, "start": 0, "photos": total}]
    page.route("**/v1/images/sections*", lambda route: route.fulfill(json={"sections": sections}))
    page.route("**/v1/images?*", images)
    page.route("**/thumbnail*", lambda route: route.fulfill(status=404, json={"reason": "vanished"}))

    def export(route: Any) -> None:
        exported.extend(json.loads(route.request.post_data)["image_ids"])
        route.fulfill(body="", headers={"Content-Disposition": 'attachment; filename="paths.txt"'})

    page.route("**/v1/images/export", export)
    page.goto(url)
    expect(cells(page).first).to_be_visible()
    before = len(asked)
    page.keyboard.press("ControlOrMeta+a")
    expect(page.locator(".selected-count")).to_have_text("30,000 selected")
    page.locator('.cell[data-i="1"]').click(modifiers=["ControlOrMeta"])
    assert len(asked) == before
    page.get_by_text("Download", exact=True).click()
    with page.expect_download():
        page.get_by_role("button", name="Paths, text").click()
    assert exported == [1, *range(3, total + 1)]
    assert len(asked) - before <= 32
    expect(page.locator(".selected-count")).to_have_text("29,999 selected")


def test_selected_photos_are_corrected_in_one_step(
    page: Any, url: str, library: Library, things: tuple[str, list[tuple[int, str]]]
) -> None:
    label, photos = things
    other = next(name for name in library.labels.get("things").labels if name != label)
    page.goto(f"{url}/lab?set=things&group={label.replace(' ', '+')}")
    page.locator(".cell.seen").nth(2).wait_for()
    for i in range(3):
        page.locator(f'.cell[data-i="{i}"]').click(modifiers=["ControlOrMeta"])
    # Numbers are those of the same photos while only the threshold changes.
    page.locator("#min-number").fill("0.01")
    page.keyboard.press("Tab")
    assert selected(page) == [0, 1, 2]
    page.get_by_role("button", name="Correct…").click()
    dialog = page.get_by_role("dialog", name="What do they show?")
    accessible(page, "selection-correct")
    dialog.get_by_role("button", name=other).click()
    expect(page.get_by_text(f"Kept: 3 photos show {other}.")).to_be_visible()
    expect(bar(page)).to_be_hidden()
    names = [name for _, name in photos[:3]]
    said = {Path(one.paths[0]).name: one.label for one in library.corrections.list("things")}
    assert said == dict.fromkeys(names, other)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#learn-field")).to_be_hidden()
    assert library.corrections.list("things") == []
    # By key, of two; the answer's scores come along in a table.
    page.locator('.cell[data-i="0"]').click(modifiers=["ControlOrMeta"])
    page.locator('.cell[data-i="1"]').click(modifiers=["Shift"])
    page.get_by_text("Download", exact=True).click()
    with page.expect_download() as taken:
        page.get_by_role("button", name="Table, CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(taken.value.path()).read_text(encoding="utf-8"))))
    assert [(int(row["image_id"]), row["label"]) for row in rows] == [(image_id, label) for image_id, _ in photos[:2]]
    page.locator('.cell[data-i="1"]').focus()
    page.keyboard.press("2")
    expect(page.get_by_text("Kept: 2 photos show")).to_be_visible()
    assert len(library.corrections.list("things")) == 2
    assert group_of(library, label)[:1] == [photos[0]]


def test_selected_photos_are_taken_along_tagged_and_put_into_albums(
    page: Any, url: str, library: Library, album: Path
) -> None:
    page.goto(f"{url}/search?q=a+cat&all=1")
    page.locator(".cell.seen").nth(1).wait_for()
    page.locator('.cell[data-i="0"]').click(modifiers=["ControlOrMeta"])
    page.locator('.cell[data-i="1"]').click(modifiers=["ControlOrMeta"])
    names = [page.locator(f'.cell[data-i="{i}"]').get_attribute("title") for i in (0, 1)]
    page.get_by_text("Download", exact=True).click()
    with page.expect_download() as taken:
        page.get_by_role("button", name="Originals, zip").click()
    with zipfile.ZipFile(taken.value.path()) as found:
        assert sorted(found.namelist()) == sorted(names)
        assert found.read(names[0]) == (album / names[0]).read_bytes()

    page.get_by_role("button", name="Album…").click()
    dialog = page.get_by_role("dialog", name="Add 2 photos to an album")
    library.albums.save("a question", "a cat")
    dialog.get_by_label("Album, new or there already").fill("the best")
    keep(page, "selection-album")
    page.keyboard.press("Enter")
    expect(page.get_by_text("“the best” has 2 photos.")).to_be_visible()
    assert sorted(Path(one).name for one in library.albums.photos("the best").paths) == sorted(names)

    page.get_by_role("button", name="Tag…").click()
    dialog = page.get_by_role("dialog", name="Tag 2 photos")
    dialog.get_by_label("Keyword").fill("a favourite")
    try:
        dialog.get_by_role("button", name="Preview").click()
        expect(dialog.get_by_text("2 would be created")).to_be_visible()
        keep(page, "selection-tag")
        assert not list(album.glob("*.xmp"))
        dialog.get_by_role("button", name="Write").click()
        expect(dialog.get_by_text("2 created")).to_be_visible()
        assert sorted(one.name for one in album.glob("*.xmp")) == sorted(f"{name}.xmp" for name in names)
    finally:
        for sidecar in album.glob("*.xmp"):  # other tests look at the same photos
            sidecar.unlink()


def test_who_may_only_read_sees_what_would_be_written(page: Any, start: Start, album: Path) -> None:
    url = start(tokens=(Token.of("read", TOKEN),))
    page.goto(url)
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.locator(".cell.seen").first.wait_for()
    page.locator('.cell[data-i="0"]').click(modifiers=["ControlOrMeta"])
    expect(page.get_by_role("button", name="Album…")).to_be_hidden()
    page.get_by_role("button", name="Tag…").click()
    page.get_by_role("dialog").get_by_label("Keyword").fill("x")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("this needs the right to write")).to_be_visible()
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_hidden()
    assert not list(album.glob("*.xmp"))


def test_label_sets_and_corrections_are_listed_and_taken_back(page: Any, url: str, library: Library) -> None:
    library.labels.save("empty", ["x"])
    library.labels.save("things", ["a cat", "a rocket"])
    library.labels.save("things", ["a cat", "a galaxy"])
    cats = library.photos.paths()[:3]
    library.corrections.add("things", cats[0], "a cat")
    library.corrections.add_all("things", [(path, "a cat", False) for path in cats[1:]])
    page.goto(f"{url}/sets?set=things")
    page.locator(".cell.seen").nth(2).wait_for()
    rows = page.locator("#versions tr")
    expect(rows.first).to_contain_text("a cat, a galaxy")
    expect(rows.first).to_contain_text("+ a galaxy, − a rocket")
    expect(page.get_by_text("3 photos, the last first")).to_be_visible()
    accessible(page, "sets-desk")

    # One is removed, and is there again; then the step before it is undone.
    page.locator('.cell[data-i="0"]').click(modifiers=["ControlOrMeta"])
    page.get_by_role("button", name="Remove corrections").click()
    expect(page.get_by_text("2 photos, the last first")).to_be_visible()
    page.get_by_role("button", name="Undo the last step").click()
    expect(page.get_by_text("3 photos, the last first")).to_be_visible()
    page.get_by_role("button", name="Undo the last step").click()
    expect(page.get_by_text("1 photo, the last first")).to_be_visible()
    assert [one.paths[0] for one in library.corrections.list("things")] == cats[:1]
    page.locator('.cell[data-i="0"]').click()
    expect(page.get_by_role("dialog").locator("img.large")).to_be_visible()
    page.keyboard.press("Escape")

    page.get_by_role("button", name="Restore version 1").click()
    expect(rows.first).to_contain_text("a cat, a rocket")
    assert library.labels.get("things").labels == ("a cat", "a rocket")
    assert [one.version for one in library.labels.history("things")] == [1, 2, 3]
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog", name="Delete the label set")
    expect(dialog).to_contain_text("What was said of 1 photo is kept")
    keep(page, "sets-delete")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Nothing was said with this set yet.")).to_be_visible()
    assert [one.name for one in library.labels.list()] == ["empty"]
    page.set_viewport_size(SIZES["phone"])
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["phone"]["width"]
    accessible(page, "sets-phone-dark")


def test_albums_and_events_open_as_photos(page: Any, url: str, library: Library) -> None:
    paths = library.photos.paths()
    library.albums.add("the best", paths[:3])
    library.albums.save("cats", "a cat", top=2)
    event = {
        "name": None, "start": "2019-07-14T12:00:00", "end": "2019-07-15T09:30:00", "photos": 7, "cover": paths[0],
        "bursts": [{"best": paths[0], "photos": [{"image_id": 1, "path": paths[0], "taken": "2019-07-14T12:00:00"}]}],
    }  # fmt: skip
    known = {"photos": 7, "from_files": 26, "untimed": 0, "unread": 0, "total": 1, "events": [event], "next": None}
    page.route("**/v1/events*", lambda route: route.fulfill(json=known))
    page.goto(f"{url}/albums")
    expect(page.locator("#albums .pic.seen")).to_have_count(2)
    expect(page.locator("#albums a").nth(0)).to_have_text("cats2 photos, follows the library")
    expect(page.locator("#events a")).to_have_text("Jul 14, 2019 – Jul 15, 2019" + "7 photos")
    link = page.locator("#events a").get_attribute("href")
    assert link.endswith("/?since=2019-07-14T12%3A00%3A00&until=2019-07-15T09%3A30%3A00&order=oldest")
    accessible(page, "albums-desk")
    page.get_by_role("link", name="the best").click()
    expect(page.locator(".cell.seen")).to_have_count(3)
    page.locator('.cell[data-i="0"]').click(modifiers=["ControlOrMeta"])
    page.locator('.cell[data-i="1"]').click(modifiers=["ControlOrMeta"])
    # One of the two was taken out by somebody else meanwhile, and stays so.
    second = page.locator('.cell[data-i="1"]').get_attribute("title")
    library.albums.take_out("the best", next(path for path in paths[:3] if Path(path).name == second))
    page.get_by_role("button", name="Take out").click()
    expect(page.locator(".cell.seen")).to_have_count(1)
    expect(page.locator("#toasts")).to_contain_text("1 photo taken out of “the best”.")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".cell.seen")).to_have_count(2)
    assert library.albums.get("the best").chosen == 2
    keep(page, "albums-one")
    page.locator('.cell[data-i="1"]').click()
    expect(page.get_by_role("dialog").locator("img.large")).to_be_visible()
    page.reload()
    expect(page.get_by_role("dialog").locator("img.large")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog", name="Delete the album").get_by_role("button", name="Delete").click()
    expect(page.locator("#albums a")).to_have_count(1)
    assert [one.name for one in library.albums.list()] == ["cats"]
    page.set_viewport_size(SIZES["phone"])
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["phone"]["width"]
    keep(page, "albums-phone")


def test_nothing_is_done_to_photos_that_nobody_sees(page: Any, url: str, library: Library) -> None:
    labels = [
        f"{colour} {thing}"
        for colour in ("red", "blue", "green", "white", "grey")
        for thing in ("cat", "cup", "sky", "sea", "hat")
    ]
    library.labels.save("many", labels)
    page.goto(f"{url}/lab?set=many&view=columns")
    page.locator("#columns .cell.seen").first.click(modifiers=["ControlOrMeta"])
    expect(page.locator(".selected-count")).to_have_text("1 selected")
    page.get_by_role("button", name="One group").click()
    expect(bar(page)).to_be_hidden()
    # Keys of the labels are those that are shown, and Enter says nothing by itself.
    cells(page).first.click(modifiers=["ControlOrMeta"])
    page.get_by_role("button", name="Correct…").click()
    dialog = page.get_by_role("dialog", name="What do they show?")
    dialog.get_by_label("Find a label").press("Enter")
    dialog.get_by_label("Find a label").fill("grey")
    expect(dialog.locator("button.answer:visible .key")).to_have_text(list("12345"))
    page.keyboard.press("Tab")
    page.keyboard.press("2")
    expect(page.get_by_text("Kept: 1 photo shows grey cup.")).to_be_visible()
    assert [one.label for one in library.corrections.list("many")] == ["grey cup"]
    # What asks about a selection goes with it.
    cells(page).first.click(modifiers=["ControlOrMeta"])
    page.get_by_role("button", name="Correct…").click()
    page.go_back()
    expect(dialog).to_have_count(0)
    expect(bar(page)).to_be_hidden()
    library.albums.add("the best", library.photos.paths()[:3])
    page.goto(f"{url}/albums?album=the+best")
    cells(page).first.click(modifiers=["ControlOrMeta"])
    expect(page.locator(".selected-count")).to_have_text("1 selected")
    page.locator("#back").click()
    expect(bar(page)).to_be_hidden()

"""The map on the page: made, coloured, and a lasso that selects."""

from __future__ import annotations

from typing import Any

import pytest

from tests.page.conftest import Start
from tests.page.looking import LABELS, QUERY, SIZES, TOKEN, accessible, cells, expect, keep
from zsindex.library import Library
from zsindex.web import Token

pytest.importorskip("openTSNE", reason="needs openTSNE")


def test_a_map_is_made_coloured_and_selected_from(page: Any, start: Start, library: Library) -> None:
    url = start()
    page.goto(f"{url}/map")
    expect(page.get_by_text("No map yet")).to_be_visible()
    expect(page.get_by_text("seconds, once")).to_be_visible()
    accessible(page, "map-none")
    page.get_by_role("button", name="Make the map").click()
    expect(page.locator("canvas.points")).to_be_visible()
    made = library.map.layout()
    assert made is not None
    expect(page.locator("#counted")).to_have_text(f"{len(made)} photos")

    # Coloured by labels, whose counts are those of the answer, each photo once.
    page.goto(f"{url}/map?{QUERY}")
    found = library.classify(LABELS)
    best = dict(zip(found.image_ids.tolist(), (one.label for one in found), strict=True))
    counts = [list(best.values()).count(label) for label in LABELS]
    shown = [(label, n) for label, n in zip(LABELS, counts, strict=True) if n]
    expect(page.locator("#legend .tab-name")).to_have_text([label for label, _ in shown])
    expect(page.locator("#legend .tab-count")).to_have_text([str(n) for _, n in shown])
    assert page.locator("#legend svg.glyph").evaluate_all(
        "them => new Set(them.map((one) => one.innerHTML)).size"
    ) == len(shown)

    # A lasso with the mouse around all of it; a hidden group is not selected.
    box = page.locator("canvas.points").bounding_box()
    corners = [(2, 2), (box["width"] - 2, 2), (box["width"] - 2, box["height"] - 2), (2, box["height"] - 2)]
    label, n = shown[0]
    page.get_by_role("checkbox", name=f"{label} {n}").uncheck()
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    expect(page.locator("#chosen-title")).to_have_text(f"{len(made) - n} photos in this area")
    expect(cells(page).first).to_be_visible()
    names: dict[int, str] = {}
    for path, image in zip(found.paths, found.image_ids.tolist(), strict=True):
        names.setdefault(image, path.rpartition("/")[2])  # a file of each: the first
    titles = page.eval_on_selector_all("#grid .cell", "them => them.map((one) => one.title).filter(Boolean)")
    assert titles
    assert set(titles) <= {names[image] for image, its in best.items() if its != label}
    accessible(page, "map-lasso")
    # What is let go is said by the bar alone, which covers nothing that is to be read.
    cells(page).first.click(modifiers=["ControlOrMeta"])
    expect(page.locator(".selected-count")).to_have_text(f"{len(made) - n - 1} selected")
    expect(page.locator("#chosen-title")).to_have_text(f"{len(made) - n} photos in this area")
    assert page.locator("#toasts").inner_text() == ""
    over, hint = (page.locator(place).bounding_box() for place in (".selection", "#keys"))
    assert not (hint["y"] < over["y"] + over["height"] and over["y"] < hint["y"] + hint["height"])
    page.reload()  # the address holds all of that
    expect(page.locator("#chosen-title")).to_have_text(f"{len(made) - n} photos in this area")

    # A photo of it opens, and closing leads back to it.
    cells(page).first.click()
    expect(page.get_by_role("dialog").locator("img.large")).to_be_visible()
    page.keyboard.press("Escape")
    expect(cells(page).first).to_be_focused()

    # By keys: everything that is in view; and nothing.
    page.locator("canvas.points").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#stage")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator("#chosen-title")).to_have_text(f"{len(made) - n} photos in this area")
    for _ in range(9):
        page.keyboard.press("+")
    page.keyboard.press("Enter")
    expect(page.locator("#chosen-title")).not_to_have_text(f"{len(made) - n} photos in this area")

    # A group from the list.
    page.get_by_role("button", name=f"Select {shown[1][0]}").click()
    expect(page.locator("#chosen-title")).to_have_text(f"{shown[1][1]} photos of “{shown[1][0]}”")
    expect(page.locator(".selected-count")).to_contain_text(str(shown[1][1]))
    page.get_by_text("Download", exact=True).click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Paths, text").click()
    lines = saved.value.path().read_text(encoding="utf-8").splitlines()
    assert sorted(one.rpartition("/")[2] for one in lines) == sorted(
        names[image] for image, its in best.items() if its == shown[1][0]
    )

    page.set_viewport_size(SIZES["phone"])
    page.goto(f"{url}/map?by=folder")
    expect(page.locator("#legend .tab-name")).to_have_text(["album"])
    accessible(page, "map-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.emulate_media(color_scheme="dark")
    keep(page, "map-phone-dark")


def test_who_may_only_read_is_told_how_a_map_is_made(page: Any, start: Start) -> None:
    url = start(tokens=(Token.of("read", TOKEN),))
    page.goto(f"{url}/map")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("zsindex map build")).to_be_visible()
    expect(page.get_by_role("button", name="Make the map")).to_have_count(0)

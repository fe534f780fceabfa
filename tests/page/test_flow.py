"""From words to an album and back, by keys alone: the focus and the place are never lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.page.looking import SIZES, accessible, expect, shown
from zsindex.library import Library

TWENTY = 20


@pytest.mark.parametrize("size", ["desk", "phone"])
def test_photos_go_into_an_album_and_out_of_it_by_keys(page: Any, url: str, library: Library, size: str) -> None:
    page.set_viewport_size(SIZES[size])
    press = page.keyboard.press
    page.goto(f"{url}/search?all=1")
    press("/")
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.type("a cat")
    press("Enter")
    shown(page)
    while page.evaluate("!document.activeElement.matches('.cell')"):
        press("Tab")
    press("ControlOrMeta+a")
    to_album = page.get_by_role("button", name="Album…")
    while to_album.evaluate("(button) => button !== document.activeElement"):
        press("Tab")
    press("Enter")
    page.keyboard.type("cats")
    press("Enter")
    expect(page.locator("#toasts")).to_contain_text("“cats” has")
    expect(to_album).to_be_focused()  # which was hidden while it was done
    page.get_by_role("button", name="Tag…").press("Enter")
    expect(page.locator("#keyword")).to_be_focused()
    press("Escape")
    expect(page.get_by_role("button", name="Tag…")).to_be_focused()
    total = library.albums.get("cats").chosen or 0
    assert total > TWENTY

    # In another tab somebody takes out others; here the place stays, and the photos that follow come up.
    page.goto(f"{url}/albums?album=cats")
    names = shown(page)
    page.locator(".cell.seen").first.focus()
    for _ in range(5):
        press("ArrowRight")
    press(" ")
    scroll = page.evaluate("scrollY")
    page.get_by_role("button", name="Take out").press("Enter")
    expect(page.locator("#what")).to_contain_text(f"{total - 1} photos")
    expect(page.locator('.cell[data-i="5"]')).to_be_focused()
    expect(page.locator('.cell[data-i="5"]')).to_have_attribute("title", names[6])
    assert page.evaluate("scrollY") == scroll
    accessible(page, f"flow-album-{size}")
    press("ControlOrMeta+a")
    page.get_by_role("button", name="Take out").press("Enter")
    expect(page.get_by_text("No photos", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="All albums")).to_be_focused()
    page.get_by_role("button", name="Undo").last.click()
    expect(page.locator("#what")).to_contain_text(f"{total - 1} photos")
    expect(page.locator(".cell.seen").first).to_be_visible()

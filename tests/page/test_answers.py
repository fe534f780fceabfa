"""What is asked of an answer on the page: how good it is, and what to do next."""

from __future__ import annotations

from typing import Any

from tests.page.looking import SIZES, accessible, expect

# --- the way to it ----------------------------------------------------------------------------------------------------


def test_all_pages_are_reached_on_a_phone(page: Any, url: str) -> None:
    """They are behind one button, and none is cut off."""
    page.goto(f"{url}/search")
    nav = page.get_by_role("navigation", name="Pages")
    names = nav.get_by_role("link").all_inner_texts()
    assert "Count" in names
    assert nav.evaluate("nav => nav.scrollWidth <= nav.clientWidth")
    page.set_viewport_size(SIZES["phone"])
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES["phone"]["width"]
    expect(nav.get_by_role("link")).to_have_count(0)
    fold = nav.get_by_role("button", name="Search")
    fold.focus()
    page.keyboard.press("Enter")
    expect(nav.get_by_role("link")).to_have_count(len(names))
    for link in nav.get_by_role("link").all():
        expect(link).to_be_in_viewport(ratio=1)
    accessible(page, "pages-phone")
    page.keyboard.press("Escape")
    expect(nav.get_by_role("link")).to_have_count(0)
    fold.click()
    nav.get_by_role("link", name="Count").click()
    expect(nav.get_by_role("button", name="Count")).to_be_visible()
    expect(page.get_by_text("How many photos show it?")).to_be_visible()

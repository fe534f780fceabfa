"""Template sets on the page."""

from __future__ import annotations

from typing import Any

from tests.page.looking import SIZES, TOKEN, accessible, expect
from zsindex.library import Library
from zsindex.web import Token


def test_template_sets_are_made_changed_deleted_and_put_back(page: Any, url: str, library: Library) -> None:
    library.labels.save("things", ["a cat", "a rocket"])
    page.goto(f"{url}/sets")
    expect(page.locator("#sets [aria-current]")).to_contain_text("things")
    page.get_by_role("link", name="openai-7 7 templates").click()
    expect(page.locator("#template-list li")).to_have_count(7)
    expect(page.get_by_text("7 templates, built in, averaged.")).to_be_visible()
    expect(page.get_by_role("button", name="Change…")).to_be_hidden()
    expect(page.get_by_role("button", name="Delete…")).to_be_hidden()
    expect(page.locator("#set")).to_be_hidden()

    # A copy under a name that is taken, then under another one.
    page.get_by_role("button", name="Copy…").click()
    dialog = page.get_by_role("dialog", name="A new template set")
    lines = dialog.get_by_label("Templates, one per line")
    lines.fill("no place")
    dialog.get_by_label("Name").fill("plain")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_have_text("There is a template set “plain” already.")
    dialog.get_by_label("Name").fill("mine")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("no place")
    lines.fill("a {} of mine\n\n  my {} <b>  ")
    accessible(page, "sets-template-dialog")
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator("#template-list li")).to_have_text(["a {} of mine", "my {} <b>"])
    assert page.url.endswith("?templates=mine")
    assert library.templates.get("mine") == ("a {} of mine", "my {} <b>")
    accessible(page, "sets-templates-desk")

    page.get_by_role("button", name="Change…").click()
    dialog = page.get_by_role("dialog", name="Change “mine”")
    dialog.get_by_label("Templates, one per line").fill("only {}")
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator("#template-list li")).to_have_text(["only {}"])
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(page.locator("#template-list li")).to_have_text(["a {} of mine", "my {} <b>"])

    # What somebody else has saved meanwhile is not overwritten, nor is it taken back.
    page.get_by_role("button", name="Change…").click()
    library.templates.save("mine", "theirs {}")
    dialog = page.get_by_role("dialog", name="Change “mine”")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_have_text("Somebody else has changed “mine” meanwhile.")
    page.keyboard.press("Escape")
    page.reload()
    expect(page.locator("#template-list li")).to_have_text(["theirs {}"])
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog", name="Delete the template set").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("link", name="mine")).to_have_count(0)
    expect(page.locator("#sets [aria-current]")).to_contain_text("things")
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(page.get_by_role("link", name="mine 1 template")).to_have_attribute("aria-current", "true")
    expect(page.locator("#template-list")).to_be_visible()
    assert library.templates.get("mine") == ("theirs {}",)

    page.get_by_role("link", name="Open in the lab").click()
    page.get_by_label("Labels", exact=True).fill("a cat, a rocket")
    expect(page.locator(".tab").first).to_be_visible()
    assert "template=mine" in page.url
    page.goto(f"{url}/sets?templates=mine")
    page.set_viewport_size(SIZES["phone"])
    page.emulate_media(color_scheme="dark")
    expect(page.locator("#template-list li")).to_have_text(["theirs {}"])
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["phone"]["width"]
    accessible(page, "sets-templates-phone-dark")
    page.goto(f"{url}/sets?templates=gone")
    expect(page.get_by_text("There is no template set “gone”.")).to_be_visible()


def test_who_may_only_read_sees_template_sets(page: Any, start: Any) -> None:
    url = start(tokens=(Token.of("read", TOKEN),))
    page.goto(f"{url}/sets?templates=openai-7")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#template-list li")).to_have_count(7)
    for name in ("New…", "Change…", "Copy…", "Delete…"):
        expect(page.get_by_role("button", name=name)).to_be_hidden()

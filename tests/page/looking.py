"""What tests of the page look at and do, in whatever browser they do it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from zsindex.library import Library

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the package axe-playwright-python")

expect = playwright.expect
LONGEST_MS = 60_000  # what is waited for comes as soon as it can, also where others use the machine
expect.set_options(timeout=LONGEST_MS)
LABELS = ["a person", "a cat", "a cup of coffee", "a rocket", "a galaxy"]
QUERY = "&".join(f"label={label.replace(' ', '+')}" for label in LABELS)
TOKEN = "a-token-of-the-page-0123"
SIZES = {
    "desk": {"width": 1280, "height": 800},
    "phone": {"width": 360, "height": 740},
    "zoomed": {"width": 640, "height": 400},
}


def stop_time(page: Any) -> None:
    """Timers of a page, whose clock was installed, run from now on only where a test lets them."""
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 60)


def cells(page: Any) -> Any:
    return page.locator("#grid .cell:not(.wait)")


def count_of(page: Any, label: str) -> int:
    return int(page.locator(f'.tab[data-label="{label}"] .tab-count').inner_text().replace(",", ""))


def accessible(page: Any, name: str) -> None:
    """No rule of axe-core is broken, best practices included."""
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found] == [], name
    keep(page, name)


def keep(page: Any, name: str) -> None:
    folder = os.environ.get("ZSINDEX_TEST_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def shown(page: Any) -> list[str]:
    """Names of the photos in the grid, in its order."""
    expect(page.locator(".cell.seen").first).to_be_visible()
    names: list[str] = page.eval_on_selector_all(".cell", "cells => cells.map((cell) => cell.title)")
    return [name for name in names if name]


def posted(page: Any) -> list[tuple[int, str]]:
    """What is said of which photos from now on."""
    said: list[tuple[int, str]] = []

    def note(request: Any) -> None:
        if request.method == "POST" and request.url.endswith("/v1/corrections"):
            said.append((request.post_data_json["image_id"], request.post_data_json["label"]))

    page.on("request", note)
    return said


def group_of(library: Library, label: str, **asked: Any) -> list[tuple[int, str]]:
    """Ids and file names of a group of the set "things", the surest first."""
    found = library.classify(label_set="things", sync=False, top=2, **asked)
    photos = found.by_answer.of(found.labels.index(label)).tolist()
    return [(int(found.image_ids[n]), Path(found.paths[n]).name) for n in photos]


def stays(page: Any) -> None:
    """Of a browser in which the next photo does not come by itself after an answer."""
    page.add_init_script("localStorage.setItem('zsindex.goes-on', 'no')")


def opened(page: Any, url: str, label: str, more: str = "", *, goes_on: bool = False) -> Any:
    """Open the first photo of a group of "things"; gives the dialog. Whether the next one comes after an answer."""
    if not goes_on:
        stays(page)
    page.goto(f"{url}/lab?set=things&group={label.replace(' ', '+')}{more}")
    cells(page).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("img.large")).to_be_visible()
    expect(dialog.locator(".correct")).to_be_visible()
    return dialog

"""What people do on the page in a real Chromium, by mouse and by keys."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from tests.page.conftest import Start
from tests.page.looking import (
    LABELS,
    QUERY,
    SIZES,
    TOKEN,
    accessible,
    cells,
    count_of,
    expect,
    group_of,
    keep,
    opened,
    posted,
    shown,
    stays,
)
from tests.scenes import photo
from tests.waiting import until
from zsindex.library import Library
from zsindex.web import Token
from zsindex.web.pages import FOLDER

# --- the lab ----------------------------------------------------------------------------------------------------------


def test_the_library_regroups_as_labels_are_typed(page: Any, url: str, library: Library) -> None:
    page.goto(f"{url}/lab")
    expect(page.get_by_text("Which words work?")).to_be_visible()
    field = page.get_by_label("Labels", exact=True)
    field.press_sequentially("a person,a cat,")
    field.press_sequentially("a cup of coffee")  # not entered yet, and asked already
    expect(page.locator(".tab")).to_have_count(3)
    expected = library.classify(["a person", "a cat", "a cup of coffee"])
    expect(page.locator('.tab[data-label="a cat"] .tab-count')).to_have_text(str(expected.tally()["a cat"]))
    field.press("Enter")
    assert page.url.endswith("?label=a+person&label=a+cat&label=a+cup+of+coffee")
    page.locator('.tab[data-label="a cat"]').click()
    expect(cells(page)).to_have_count(expected.tally()["a cat"])
    best = max((one for one in expected if one.label == "a cat"), key=lambda one: one.score)
    expect(cells(page).first).to_have_attribute("aria-label", re.compile(f"^{re.escape(Path(best.path).name)}, "))
    field.press("Backspace")
    expect(page.locator(".tab")).to_have_count(2)
    page.go_back()
    expect(page.locator(".tab")).to_have_count(3)


def test_many_lines_are_many_labels(page: Any, url: str) -> None:
    page.goto(f"{url}/lab")
    page.get_by_label("Labels", exact=True).focus()
    page.evaluate(
        """() => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", "owl\\nfox\\n\\nfox\\nbear\\n");
            const paste = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
            document.activeElement.dispatchEvent(paste);
        }"""
    )
    expect(page.locator(".chip-text")).to_have_text(["owl", "fox", "bear"])
    expect(page.locator(".tab")).to_have_count(3)


def test_only_the_last_answer_counts(page: Any, url: str) -> None:
    """An answer that comes late must not take the place of a newer one."""
    late: list[Any] = []

    def hold(route: Any) -> None:
        if "slow" in (route.request.post_data or ""):
            late.append(route)
        else:
            route.continue_()

    page.route("**/v1/groups", hold)
    page.goto(f"{url}/lab?label=cat&label=slow")
    until(lambda: page.wait_for_timeout(10) or late)
    page.get_by_label("Remove slow").click()
    expect(page.locator(".tab")).to_have_count(1)
    for route in late:
        route.continue_()
    page.wait_for_timeout(200)
    expect(page.locator(".tab")).to_have_count(1)


def test_the_threshold_moves_photos_to_none_of_these(page: Any, url: str, library: Library) -> None:
    asked: list[str] = []
    page.goto(f"{url}/lab?{QUERY}")
    expect(cells(page).first).to_be_visible()
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/v1/groups") else None)
    scores = [one.score for one in library.classify(LABELS)]
    page.get_by_label("Score at least", exact=True).fill("60")
    none = sum(score < 0.6 for score in scores)
    assert none
    assert count_of(page, "(none of these)") == none
    assert page.locator(".tab").last.get_attribute("data-label") == "(none of these)"
    page.locator(".tab").last.click()
    expect(cells(page)).to_have_count(none)
    assert "min=0.6" in page.url
    page.get_by_label("Score at least, as a number").fill("0")
    page.get_by_label("Score at least, as a number").press("Enter")
    expect(page.locator('.tab[data-label="(none of these)"]')).to_have_count(0)
    assert asked == []  # counted here, from what was there
    page.reload()
    expect(page.locator(".tab")).to_have_count(len(LABELS))


def test_templates_columns_and_files(page: Any, url: str, library: Library) -> None:
    page.goto(f"{url}/lab?{QUERY}")
    page.get_by_label("Templates", exact=True).select_option("openai-7")
    expected = library.classify(LABELS, template="openai-7")
    for label in LABELS:
        expect(page.locator(f'.tab[data-label="{label}"] .tab-count')).to_have_text(str(expected.tally()[label]))
    page.get_by_label("Templates", exact=True).select_option(label="Own…")
    own = page.get_by_label("Own templates")
    own.fill("nothing goes in here")
    expect(page.get_by_text("Each template needs a {}")).to_be_visible()
    own.fill("a drawing of {}\na painting of {}")
    own.blur()
    expect(page).to_have_url(re.compile("template=a\\+drawing\\+of\\+%7B%7D&template=a\\+painting"))
    page.get_by_role("button", name="Columns").click()
    expect(page.locator(".column")).to_have_count(len(LABELS))
    expect(page.locator(".column .cell img").first).to_be_visible()
    page.get_by_text("Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="All photos, JSON").click()
    document = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert len(document["photos"]) == len(library.photos.paths())
    assert document["run"]["templates"] == ["a drawing of {}", "a painting of {}"]


def test_a_photo_says_why_it_won(page: Any, url: str, library: Library) -> None:
    page.goto(f"{url}/lab?{QUERY}&template=openai-7&group=a+cat")
    cells(page).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".why")).to_contain_text("a cat with")
    expect(dialog.locator(".bars li")).to_have_count(len(LABELS))
    expect(dialog.get_by_role("row")).to_have_count(8)
    expect(dialog.locator(".near button").first).to_be_visible()
    assert re.search(r"photo=\d+", page.url)
    first = dialog.get_by_role("heading", level=2).inner_text()
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", level=2)).not_to_have_text(first)
    accessible(page, "photo")
    page.reload()
    expect(dialog.locator(".why")).to_be_visible()
    dialog.get_by_role("link", name="More like this").click()
    expect(page).to_have_url(re.compile(r"/search\?like=\d+"))
    expect(cells(page).first).to_be_visible()


def test_a_set_is_saved_and_photos_are_corrected_with_one_key(page: Any, url: str, library: Library) -> None:
    stays(page)
    page.goto(f"{url}/lab?{QUERY}&group=a+cat")
    page.get_by_role("button", name="Save…").click()
    page.get_by_label("Name").fill("things")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Saved as “things”, version 1.")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?set=things"))
    cells(page).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("What does it show?")).to_be_visible()
    expect(dialog.locator("img.large")).to_be_visible()  # before that a key is about no photo
    page.keyboard.press("4")
    expect(dialog.get_by_role("button", name="a rocket", exact=True)).to_have_attribute("aria-pressed", "true")
    [kept] = library.corrections.list("things")
    assert kept.label == "a rocket"
    expect(dialog.get_by_role("button", name="Undo")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Learn from corrections (1)").check()
    changed = library.classify(label_set="things", with_corrections="logistic")
    expect(page.locator('.tab[data-label="a rocket"] .tab-count')).to_have_text(str(changed.tally()["a rocket"]))
    assert library.labels.get("things").labels == tuple(LABELS)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Learn from corrections (1)")).to_be_hidden()
    assert library.corrections.list("things") == []


def test_only_keys(page: Any, url: str) -> None:
    """From the address bar to a photo and back, without a mouse."""
    page.goto(f"{url}/lab")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the photos")).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("a person,a cat,a rocket,")
    expect(page.locator(".tab")).to_have_count(3)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "tab":
            break
    expect(page.locator(".tab").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator('.tab[data-label="a cat"]')).to_have_attribute("aria-selected", "true")
    expect(page.locator('.tab[data-label="a cat"]')).to_be_focused()
    expect(cells(page).first).to_be_visible()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "gridcell":
            break
    expect(cells(page).first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(cells(page).nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(cells(page).last).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(cells(page).nth(1)).to_be_focused()  # where the dialog had come to


def test_thousands_of_photos_are_a_few_in_the_document(page: Any, url: str) -> None:
    """A made-up answer of 50,000 photos: only rows in view are there, and the end is reached at once."""
    n = 50_000

    def answer(route: Any) -> None:
        group = {"label": "cat", "count": n, "at_least": [n] * 51 + [0] * 50}
        levels = [i / 100 for i in range(101)]
        body = {
            "key": "0" * 16,
            "run": {},
            "total": n,
            "unanswered": 0,
            "levels": levels,
            "none": None,
            "groups": [group],
        }
        route.fulfill(json=body)

    def photos(route: Any) -> None:
        start = int(re.search(r"start=(\d+)", route.request.url)[1])  # type: ignore[index]
        shown = range(start, min(n, start + 100))
        one = {"label": "cat", "score": 0.5, "second": None, "second_score": None}
        route.fulfill(json={"total": n, "photos": [{"image_id": 1, "path": f"/{i}.jpg", **one} for i in shown]})

    asked: list[str] = []
    page.route("**/v1/groups", answer)
    page.route("**/v1/groups/*/photos*", photos)
    page.on("request", lambda request: asked.append(request.url) if "/photos" in request.url else None)
    page.goto(f"{url}/lab?label=cat")
    expect(cells(page).first).to_be_visible()
    cells(page).first.focus()
    page.keyboard.press("End")
    expect(page.locator(f'.cell[data-i="{n - 1}"]')).to_be_focused()
    expect(page.locator(f'.cell[data-i="{n - 1}"]')).to_have_attribute("aria-label", re.compile(f"^{n - 1}.jpg"))
    assert page.locator(".cell").count() < 150
    assert len(asked) < 8
    assert page.locator("#grid .sheet").get_attribute("aria-rowcount") == str(n // 5)


# --- the other pages --------------------------------------------------------------------------------------------------


def test_compare(page: Any, url: str, library: Library) -> None:
    before, after = library.classify(LABELS), library.classify([*LABELS[:3], "a photo of space"])
    moves = [(a.label, b.label) for a, b in zip(before, after, strict=True) if a.label != b.label]
    assert moves
    b = "&".join(f"blabel={label.replace(' ', '+')}" for label in after.labels)
    page.goto(f"{url}/compare?{QUERY.replace('label', 'alabel')}&{b}")
    expect(page.locator("#flips-sum")).to_contain_text(f"{len(moves)} photo")
    expect(page.locator(".flip")).to_have_count(len(set(moves)))
    most = page.locator(".flip").first
    n = int(most.locator(".tab-count").inner_text())
    was, becomes = most.locator(".was").inner_text(), most.locator(".becomes").inner_text()
    assert moves.count((was, becomes)) == n
    expect(cells(page)).to_have_count(n)
    accessible(page, "compare")
    page.locator("#flips").focus()
    page.keyboard.press("End")
    expect(page.locator(".flip").last).to_have_attribute("aria-selected", "true")
    page.get_by_role("button", name="Swap sides").click()
    expect(page.locator("#b-editor .chip-text")).to_have_text(LABELS)
    page.go_back()
    expect(page.locator("#a-editor .chip-text")).to_have_text(LABELS)


def test_search(page: Any, url: str, library: Library, album: Path) -> None:
    page.goto(f"{url}/search")
    accessible(page, "search-empty")
    page.get_by_label("Words for what the photos show").fill("a cup of coffee")
    page.keyboard.press("Enter")
    expected = [Path(hit.path).name for hit in library.search("a cup of coffee", top=3)]
    for n, name in enumerate(expected):
        expect(cells(page).nth(n)).to_have_attribute("title", name)
    page.get_by_label("Words for what the photos show").fill("a person")
    page.get_by_role("button", name="Subtract").first.click()
    expect(page).to_have_url(f"{url}/search?q=a+cup+of+coffee&q-=a+person")
    expect(page.locator(".term")).to_have_count(2)
    page.get_by_label("Remove a person").click()
    expect(page.locator(".term")).to_have_count(1)
    page.get_by_label("Remove a cup of coffee").click()
    page.locator("#file").set_input_files(album / "rocket.jpg")
    expect(page.locator(".term img")).to_be_visible()
    expect(cells(page).first).to_have_attribute("title", "rocket.jpg")
    page.reload()  # the browser has kept the photo
    expect(cells(page).first).to_have_attribute("title", "rocket.jpg")
    accessible(page, "search")


def test_filters_of_a_search(page: Any, url: str, library: Library) -> None:
    page.goto(f"{url}/search?q=a+cup+of+coffee&all=1")
    everything = len(library.search("a cup of coffee", top=100))
    expect(cells(page)).to_have_count(everything)
    page.get_by_text("Filters", exact=True).click()
    page.get_by_role("textbox", name="Camera").fill("one")
    expect(cells(page)).to_have_count(1)
    expect(page.get_by_text("Filters (1)")).to_be_visible()
    camera = page.locator(".field").filter(has=page.get_by_role("textbox", name="Camera"))
    camera.get_by_label("not that").check()
    others = library.search("a cup of coffee", top=100, where={"not": {"camera": "one"}})
    expect(cells(page)).to_have_count(len(others))
    assert len(others) == everything - 1
    assert page.url.endswith("/search?q=a+cup+of+coffee&camera-=one&all=1")
    accessible(page, "search-filters")

    page.get_by_role("textbox", name="Near").fill("48.1")
    expect(page.locator(".filters .wrong")).to_contain_text("expected LAT,LON,KM")
    expect(page.get_by_role("textbox", name="Near")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("These filters cannot be used")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(cells(page)).to_have_count(everything)
    page.get_by_role("textbox", name="From").fill("2999")
    expect(page.get_by_text("No photos fit")).to_be_visible()
    page.go_back()
    page.go_back()
    expect(page.get_by_role("textbox", name="Near")).not_to_have_value("2999")


def test_filters_of_the_lab(page: Any, url: str, library: Library) -> None:
    page.goto(f"{url}/lab?{QUERY}&camera-=one&since=1990")
    where = {"and": [{"not": {"camera": "one"}}, {"since": "1990"}]}
    tally = library.classify(LABELS, where=where).tally()
    assert sum(tally.values()) == len(library.classify(LABELS)) - 2  # a copy has the same camera
    for label, n in tally.items():
        if n:
            expect(page.locator(f'.tab[data-label="{label}"] .tab-count')).to_have_text(str(n))
    accessible(page, "lab-filters")
    cells(page).first.click()
    expect(page.locator("dialog.photo")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Stars").select_option("4 or more")
    expect(page.get_by_text("No photos fit")).to_be_visible()
    assert "rating=4.." in page.url


def test_a_search_in_words_shows_what_fits(page: Any, url: str, library: Library) -> None:
    page.goto(f"{url}/search?q=a+cup+of+coffee")
    hits = library.search("a cup of coffee", cut="auto", top=100)
    assert hits.fitting
    assert hits.fitting < len(library.view().image_ids)
    expect(page.locator("#found")).to_contain_text(f"{hits.fitting} photo")
    expect(page.locator("#found")).to_contain_text("fit")
    expect(cells(page)).to_have_count(len(hits))
    accessible(page, "search-fits")
    page.get_by_role("button", name="Show all, nearest first").click()
    expect(page).to_have_url(f"{url}/search?q=a+cup+of+coffee&all=1")
    expect(page.locator("#found")).to_contain_text("nearest first")
    everything = library.search("a cup of coffee", top=100)
    assert len(everything) > len(hits)
    page.get_by_role("button", name="Only what fits").click()
    expect(cells(page)).to_have_count(len(hits))

    page.get_by_label("Words for what the photos show").fill("a cup of coffee")
    page.get_by_role("button", name="Leave out").click()
    expect(page).to_have_url(f"{url}/search?q=a+cup+of+coffee&not=a+cup+of+coffee")
    expect(page.locator("#found")).to_have_text("Nothing fits; these are the nearest")

    absent = library.search("a submarine", cut="auto", top=100)
    assert absent.fitting == 0
    page.goto(f"{url}/search?q=a+submarine")
    expect(page.locator("#found")).to_have_text("Nothing fits; these are the nearest")
    expect(page.locator("#grid")).to_have_class(re.compile("misfits"))
    expect(cells(page).first).to_have_attribute("title", Path(absent[0].path).name)
    accessible(page, "search-nothing-fits")


def test_library(page: Any, url: str, album: Path) -> None:
    page.goto(f"{url}/library")
    expect(page.locator("#skipped")).to_contain_text("damaged.jpg")
    expect(page.locator("#copies")).to_contain_text("coffee again.jpg")
    expect(page.locator("#models")).to_contain_text("nano")
    page.get_by_role("button", name="Find near-duplicates").click()
    expect(page.locator("#near [role=status]")).to_contain_text("Nothing is deleted here.")
    expect(page.locator("#near .alike")).to_contain_text("Same bytes")
    rows = page.locator("#near .near-row")
    rows.first.get_by_role("button", name="Keep this").last.click()
    expect(page.locator("#toasts")).to_contain_text("will be kept")
    expect(rows.first.get_by_role("button", name="Keep this").first).to_be_disabled()
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(rows.first.get_by_role("button", name="Keep this").first).to_be_enabled()
    accessible(page, "library")
    with Image.open(album / "rocket.jpg") as image:
        image.rotate(90).save(album / "new.jpg")
    try:
        page.get_by_role("button", name="Sync now").click()
        expect(page.locator("#job")).to_contain_text("1 encoded")
        expect(page.locator("#status")).to_contain_text("34")
        expect(page.locator("#jobs li")).to_have_count(1)
        expect(page.get_by_role("button", name="Sync now")).to_be_visible()
    finally:
        (album / "new.jpg").unlink()


def test_who_has_no_token_is_asked_for_it(page: Any, start: Start) -> None:
    url = start(tokens=(Token.of("read", TOKEN),))
    page.goto(f"{url}/lab?{QUERY}")
    page.get_by_label("Token").fill("not the one")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This token is not valid for this service.")).to_be_visible()
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(cells(page).first).to_be_visible()
    expect(page.get_by_role("button", name="Save…")).to_be_hidden()  # it may only read


def test_a_service_that_is_gone_is_said_to_be(page: Any, url: str) -> None:
    page.goto(f"{url}/lab?{QUERY}")
    expect(cells(page).first).to_be_visible()
    page.route("**/v1/groups", lambda route: route.abort())
    page.get_by_label("Labels", exact=True).press_sequentially("a tree,")
    expect(page.get_by_role("alert").get_by_text("No answer")).to_be_visible()
    page.unroute("**/v1/groups")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".tab")).to_have_count(len(LABELS) + 1)


def test_counting_with_two_keys(page: Any, url: str, library: Library) -> None:
    page.goto(f"{url}/lab?{QUERY}")
    page.locator('.tab[data-label="a cup of coffee"]').click()
    expect(page.get_by_role("link", name="Count…")).to_have_attribute("href", "/count?label=a+cup+of+coffee")
    page.goto(f"{url}/count")
    expect(page.get_by_text("How many photos show it?")).to_be_visible()
    page.get_by_label("What to count").fill("a cup of coffee")
    page.get_by_label("What to count").press("Enter")
    asked = page.locator("#name")
    expect(page.locator("#frame img")).to_be_visible()
    assert "label=a+cup+of+coffee" in page.url
    page.get_by_label("What to count").blur()
    shown = []
    for n in range(1, 5):
        expect(page.locator("#frame img")).to_have_attribute("alt", f"Photo {n}")
        shown.append(asked.inner_text())
        page.keyboard.press("y" if "coffee" in shown[-1] else "n")
        expect(page.locator("#details")).to_contain_text(f"{n} looked at")
    [survey] = library.surveys.list("count")
    looks = [one for one in library.surveys.looks(survey.id) if one.answer is not None]
    assert [Path(one.path).name for one in looks] == shown
    assert [one.answer for one in looks] == ["yes" if "coffee" in name else "no" for name in shown]
    # While the next picture is not there, no key says anything about it.
    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 5")
    held = Held(page, "**/thumbnail**")
    page.keyboard.press("s")
    expect(page.locator("#details")).to_contain_text("5 looked at")
    page.keyboard.press("y")
    page.wait_for_timeout(150)
    expect(page.locator("#details")).to_contain_text("5 looked at")
    held.let_go()
    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 6")
    page.keyboard.press("u")
    expect(page.locator("#details")).to_contain_text("4 looked at")
    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 5")
    expect(page.locator("#counted")).to_contain_text("about")
    accessible(page, "counting")
    page.reload()
    expect(page.locator("#details")).to_contain_text("4 looked at")  # it goes on


# --- all photos -------------------------------------------------------------------------------------------------------


def test_it_opens_with_the_photos(page: Any, url: str, library: Library) -> None:
    page.goto(url)
    listed = library.photos.page(limit=6).photos
    assert shown(page)[:6] == [Path(one.path).name for one in listed]
    expect(page.locator("#counted")).to_have_text(f"{library.photos.page(limit=0).total} photos")
    page.keyboard.press("Tab")
    page.locator(".cell").first.click()
    expect(page).to_have_url(f"{url}/?photo={listed[0].image_id}")
    expect(page.locator("#photo-title")).to_have_text(Path(listed[0].path).name)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#photo-title")).to_have_text(Path(listed[1].path).name)
    page.reload()
    expect(page.locator("#photo-title")).to_have_text(Path(listed[1].path).name)
    page.go_back()
    expect(page.locator("#photo-title")).not_to_be_visible()


def test_photos_by_folder_and_within_one(page: Any, url: str, library: Library, album: Path) -> None:
    page.goto(url)
    page.locator("#order").select_option("folder")
    expect(page).to_have_url(f"{url}/?order=folder")
    expect(page.locator(".row-title").first).to_contain_text(str(album))
    names = [Path(one.path).name for one in library.photos.page(by="path", limit=5).photos]
    assert shown(page)[:5] == names
    page.locator("#folders summary").click()
    page.locator(f'[data-path="{album}"]').click()
    expect(page.locator("#inside")).to_have_text(f"in {album}")
    assert "folder=" in page.url
    page.goto(f"{url}/?folder=/nowhere")
    expect(page.locator("#state")).to_contain_text("No such folder")
    page.get_by_role("button", name="All folders").click()
    expect(page).to_have_url(f"{url}/")


def test_filters_narrow_the_photos_and_go_along_to_the_lab(page: Any, url: str) -> None:
    page.goto(f"{url}/?camera=one")
    expect(page.locator("#counted")).to_have_text("1 photo")
    expect(page.locator("#ask")).to_have_attribute("href", "/lab?camera=one")
    page.goto(f"{url}/?since=soon")
    expect(page.locator("#state")).to_contain_text("These filters cannot be used")


def test_times_lead_to_their_photos(page: Any, url: str, library: Library, album: Path) -> None:
    for year in (2015, 2016):
        for n, colour in enumerate(["red", "green", "blue"] * 8):
            photo(album / "dated" / f"IMG_{year}0701_1200{n:02}.png", colour, mark=year * 100 + n)
    library.sync(album)
    try:
        page.goto(url)
        page.locator("#scrubber").get_by_role("button", name="2015", exact=True).click()
        expect(page.locator('#scrubber [aria-current="true"]')).to_have_text(re.compile("2015|Jul"))
        expect(page.locator('.cell[title^="IMG_2015"]').first).to_be_in_viewport()
    finally:
        shutil.rmtree(album / "dated")


def test_an_address_of_the_lab_from_before_still_leads_there(page: Any, url: str) -> None:
    page.goto(f"{url}/?label=cat&label=dog")
    expect(page).to_have_url(f"{url}/lab?label=cat&label=dog")
    page.wait_for_load_state("networkidle")


# Beside the plain pages, which are all that there are templates of.
VIEWS = {
    "photos-by-folder": "/?order=folder",
    "lab": f"/lab?{QUERY}&min=0.5",
    "lab-columns": f"/lab?{QUERY}&view=columns",
    "count-of": "/count?label=a+cup+of+coffee",
    "search-in-words": "/search?q=a+cat",
    "compare-sets": f"/compare?a{QUERY.replace('&', '&a')}&blabel=a+cat&blabel=a+dog",
}


# "zoomed" is the desk at 200 %.
@pytest.mark.parametrize(("size", "scheme"), [("desk", "dark"), ("phone", "light"), ("zoomed", "light")])
def test_all_pages_fit_and_are_accessible(page: Any, url: str, size: str, scheme: str) -> None:
    page.set_viewport_size(SIZES[size])
    page.emulate_media(color_scheme=scheme)
    plain = [file.stem for file in (FOLDER / "templates").glob("*.html") if not file.stem.startswith("_")]
    assert {"index", "lab", "library"} <= set(plain)
    for name, path in {**{stem: "/" if stem == "index" else f"/{stem}" for stem in plain}, **VIEWS}.items():
        page.goto(url + path)
        page.wait_for_load_state("networkidle")
        if size != "zoomed":  # the same rules
            accessible(page, f"{name}-{size}-{scheme}")
        keep(page, f"{name}-{size}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        # What cannot be scrolled to would be lost.
        out = page.evaluate(
            """() => [...document.querySelectorAll("main button, main a, main input, main select")].filter((one) => {
                const scrolls = (box) => box &&
                    (/auto|scroll/.test(getComputedStyle(box).overflowX) || scrolls(box.parentElement));
                const { width, right } = one.getBoundingClientRect();
                return one.checkVisibility() && width > 1 && right > innerWidth + 1 && !scrolls(one.parentElement);
            }).map((one) => one.outerHTML.slice(0, 100))"""
        )
        assert out == [], name


# --- one photo at a time ----------------------------------------------------------------------------------------------


class Held:
    """Answers of the service that wait until they are let go."""

    def __init__(
        self, page: Any, pattern: str | re.Pattern[str], passes: Callable[[str], bool] = lambda url: False
    ) -> None:
        self.routes: list[Any] = []
        self.is_open = False
        self._passes = passes
        page.route(pattern, self._hold)

    def _hold(self, route: Any) -> None:
        if self.is_open or self._passes(route.request.url):
            route.continue_()
        else:
            self.routes.append(route)

    def let_go(self) -> None:
        self.is_open = True
        for route in self.routes:
            route.continue_()
        self.routes.clear()


@pytest.mark.parametrize("steps", [1, 2])
def test_a_photo_that_nobody_sees_is_not_corrected(
    page: Any, url: str, things: tuple[str, list[tuple[int, str]]], steps: int
) -> None:
    label, photos = things
    said = posted(page)
    first = f"/images/{photos[0][0]}/"
    held = Held(page, "**/thumbnail?size=1024", lambda asked: first in asked)
    dialog = opened(page, url, label)
    for _ in range(steps):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("4")
    image_id, name = photos[steps]
    expect(dialog.get_by_role("heading", level=2)).to_have_text(name)
    expect(dialog.locator("img.large")).to_have_count(0)  # nor is the one before there any more
    expect(page).to_have_url(re.compile(f"photo={image_id}$"))
    expect(dialog.get_by_text("Number keys work once the picture is loaded.")).to_be_visible()
    expect(dialog.get_by_role("button", name="a rocket", exact=True)).to_be_disabled()
    page.keyboard.press("4")
    accessible(page, "photo-waits")
    held.let_go()
    expect(dialog.locator("img.large")).to_have_attribute("alt", name)
    page.keyboard.press("5")
    expect(dialog.get_by_role("button", name="a galaxy", exact=True)).to_have_attribute("aria-pressed", "true")
    assert said == [(image_id, "a galaxy")]


def test_the_labels_that_a_photo_may_show_are_listed(
    page: Any, url: str, library: Library, things: tuple[str, list[tuple[int, str]]]
) -> None:
    label, photos = things
    dialog = opened(page, url, label)
    expect(dialog.get_by_role("heading", name="Most like it")).to_be_visible()
    expect(dialog.get_by_role("heading", name="It may show")).to_have_count(0)  # nobody has said what photos show
    answer = library.classify(label_set="things", sync=False)
    first = answer.paths.index(next(path for path in answer.paths if path.endswith(f"/{photos[0][1]}")))
    chosen = np.random.default_rng(0).permutation(np.setdiff1d(np.arange(len(answer)), [first]))[:12].tolist()
    # One in four is another than it was answered as.
    said = [(answer.paths[i], answer[i].predictions[n % 4 == 0].label, False) for n, i in enumerate(chosen)]
    library.corrections.add_all("things", said)
    sets = library.classify(label_set="things", coverage=0.9, sync=False)
    assert sets.coverage is not None
    page.reload()
    expect(dialog.get_by_role("heading", name="It may show")).to_be_visible()
    expect(dialog.locator(".may strong")).to_have_text(", ".join(sets[first].labels))
    expect(dialog.locator(".may")).to_contain_text(f"in 90 % of cases, as {sets.coverage.photos} corrections tell")
    accessible(page, "photo-may-show")


def test_the_photos_next_to_it_are_loaded_ahead(page: Any, url: str, things: tuple[str, list[tuple[int, str]]]) -> None:
    label, photos = things
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "size=1024" in request.url else None)
    dialog = opened(page, url, label)
    page.wait_for_load_state("networkidle")
    assert [int(one.split("/images/")[1].split("/")[0]) for one in asked] == [n for n, _ in photos[:3]]
    page.route("**/thumbnail?size=1024", lambda route: route.abort())
    page.keyboard.press("ArrowRight")  # needs nothing of the service
    expect(dialog.locator("img.large")).to_have_attribute("alt", photos[1][1])


def test_a_key_that_is_held_down_is_about_one_photo(
    page: Any, url: str, things: tuple[str, list[tuple[int, str]]]
) -> None:
    label, photos = things
    said = posted(page)
    dialog = opened(page, url, label)
    page.keyboard.down("4")
    expect(dialog.get_by_role("button", name="a rocket", exact=True)).to_have_attribute("aria-pressed", "true")
    dialog.get_by_role("button", name="Next photo").click()
    expect(dialog.locator("img.large")).to_have_attribute("alt", photos[1][1])
    expect(dialog.get_by_role("button", name="a rocket", exact=True)).to_be_enabled()
    page.keyboard.down("4")
    page.keyboard.up("4")
    page.keyboard.press("5")
    expect(dialog.get_by_role("button", name="a galaxy", exact=True)).to_have_attribute("aria-pressed", "true")
    assert said == [(photos[0][0], "a rocket"), (photos[1][0], "a galaxy")]


def test_an_answer_that_comes_late_is_about_the_photo_it_was_given_for(
    page: Any, url: str, library: Library, things: tuple[str, list[tuple[int, str]]]
) -> None:
    label, photos = things
    dialog = opened(page, url, label)
    held = Held(page, "**/v1/corrections")
    rocket = dialog.get_by_role("button", name="a rocket", exact=True)
    page.keyboard.press("4")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("img.large")).to_have_attribute("alt", photos[1][1])
    expect(rocket).to_be_enabled()
    held.let_go()
    expect(page.get_by_text(f"Kept: {photos[0][1]} shows a rocket.")).to_be_visible()
    expect(rocket).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("5")
    expect(dialog.get_by_role("button", name="a galaxy", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(dialog.get_by_role("button", name="Undo")).to_have_count(1)  # of what was said last
    dialog.get_by_role("button", name="Undo").click()
    expect(dialog.get_by_role("button", name="a galaxy", exact=True)).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("ArrowLeft")
    expect(rocket).to_have_attribute("aria-pressed", "true")
    [kept] = library.corrections.list("things")
    assert (Path(kept.paths[0]).name, kept.label) == (photos[0][1], "a rocket")


def test_a_key_in_the_grid_is_about_a_picture_that_is_there(
    page: Any, url: str, things: tuple[str, list[tuple[int, str]]]
) -> None:
    label, photos = things
    said = posted(page)
    held = Held(page, "**/thumbnail?size=*")
    page.goto(f"{url}/lab?set=things&group={label.replace(' ', '+')}")
    expect(cells(page).first).to_be_visible()
    cells(page).first.focus()
    page.keyboard.press("4")
    held.let_go()
    expect(page.locator("#grid .cell.seen").first).to_be_focused()
    page.keyboard.press("5")
    expect(page.get_by_text(f"Kept: {photos[0][1]} shows a galaxy.")).to_be_visible()
    assert said == [(photos[0][0], "a galaxy")]


def test_correct_and_next_skips_no_photo(
    page: Any, url: str, library: Library, things: tuple[str, list[tuple[int, str]]]
) -> None:
    """With *Learn* on the group shrinks, and is sorted anew, under the photo that is open."""
    label, photos = things
    explained: list[Any] = []

    def note(request: Any) -> None:
        if request.url.endswith("/explain"):
            explained.append(request.post_data_json)

    page.on("request", note)
    dialog = opened(page, url, label, "&learn=1&unknown=mcm:0.2")
    asked = {"with_corrections": "logistic", "unknown": "mcm:0.2"}
    photos = list(dict(group_of(library, label, **asked)).items())
    other = next(n for n, one in enumerate(LABELS, start=1) if one != label)
    heading = dialog.get_by_role("heading", level=2)
    for image_id, name in photos[:4]:
        expect(heading).to_have_text(name)
        expect(dialog.locator("img.large")).to_have_attribute("alt", name)
        expect(dialog.get_by_text("Press a number, or choose.")).to_be_visible()
        # The reasons are those of the group that it is shown in.
        now = library.classify(label_set="things", sync=False, top=1, **asked)
        answer = now[now.image_ids.tolist().index(image_id)]
        expect(dialog.locator(".bars li").first).to_contain_text(answer.label)
        page.keyboard.press(str(other))
        expect(page.get_by_text(re.compile(f"Kept: {re.escape(name)} shows .* changed"))).to_be_visible()
        expect(dialog.get_by_text(f"This photo was corrected to {LABELS[other - 1]}.")).to_be_visible()
        expect(dialog.locator(".bars li").first).to_contain_text(LABELS[other - 1])
        page.keyboard.press("ArrowRight")
    expect(heading).to_have_text(photos[4][1])
    assert explained
    assert all(one == {"label_set": "things", **asked} for one in explained)
    accessible(page, "photo-learns")
    # The focus goes to the photo that was shown last, wherever the group has it now; or to one that is near it.
    after = dict(group_of(library, label, **asked))
    page.keyboard.press("Escape")
    near = next((name for n, name in [*photos[4:], *reversed(photos[:4])] if n in after), None)
    if near is not None:
        expect(page.locator(f'#grid .cell[title="{near}"]').first).to_be_focused()


def test_the_address_of_a_photo_leads_to_its_place_in_the_list(
    page: Any, url: str, library: Library, things: tuple[str, list[tuple[int, str]]]
) -> None:
    label, photos = things
    dialog = opened(page, url, label)
    heading = dialog.get_by_role("heading", level=2)
    page.keyboard.press("ArrowRight")
    expect(heading).to_have_text(photos[1][1])
    page.reload()
    expect(dialog.locator("img.large")).to_have_attribute("alt", photos[1][1])
    page.keyboard.press("ArrowRight")
    expect(heading).to_have_text(photos[2][1])
    names = [Path(hit.path).name for hit in library.search("a cup of coffee", top=4)]
    page.goto(f"{url}/search?q=a+cup+of+coffee")
    cells(page).first.click()
    page.keyboard.press("ArrowRight")
    expect(heading).to_have_text(names[1])
    page.reload()
    expect(heading).to_have_text(names[1])
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("img.large")).to_have_attribute("alt", names[2])


def test_a_photo_that_is_not_on_this_disk_is_named_and_not_asked_for_at_each_scroll(
    page: Any, url: str, library: Library, album: Path, things: tuple[str, list[tuple[int, str]]], tmp_path: Path
) -> None:
    label, photos = things
    image_id, name = photos[0]
    files = [Path(path) for path in library.photos.get(image_id).paths]
    shutil.rmtree(album.parent / "thumbnails", ignore_errors=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if f"/{image_id}/thumbnail" in request.url else None)
    said = posted(page)
    stays(page)
    for n, file in enumerate(files):
        shutil.move(file, tmp_path / str(n))
    try:
        page.set_viewport_size({"width": 360, "height": 300})
        page.goto(f"{url}/lab?set=things&group={label.replace(' ', '+')}")
        tile = page.locator("#grid .cell.broken")
        expect(tile).to_contain_text(name)
        expect(tile).to_contain_text("Not on this disk")
        expect(tile).to_have_attribute("aria-label", re.compile("Not on this disk$"))
        for _ in range(3):  # what is out of view is not in the document
            cells(page).first.focus()
            page.keyboard.press("End")
            expect(tile).to_have_count(0)
            page.keyboard.press("Home")
            expect(tile).to_contain_text(name)
        assert len(asked) == 2  # for the picture, and why there is none
        accessible(page, "gone")
        page.set_viewport_size(SIZES["desk"])
        tile.click()
        dialog = page.get_by_role("dialog")
        expect(dialog.locator(".cannot")).to_contain_text(name)
        expect(dialog.locator(".cannot")).to_contain_text("Not on this disk")
        expect(dialog.get_by_text("number keys are off")).to_be_visible()
        accessible(page, "photo-gone")
        page.keyboard.press("4")
        dialog.get_by_role("button", name="a galaxy", exact=True).click()  # by who knows it from its name
        expect(dialog.get_by_role("button", name="a galaxy", exact=True)).to_have_attribute("aria-pressed", "true")
        assert said == [(image_id, "a galaxy")]
        page.keyboard.press("Escape")
        before = len(asked)
    finally:
        for n, file in enumerate(files):
            shutil.move(tmp_path / str(n), file)
    with Image.open(files[0]) as image:
        image.rotate(90).save(album / "new.jpg")
    try:
        library.sync()
        page.get_by_label("Templates", exact=True).select_option("openai-7")
        page.get_by_label("Templates", exact=True).select_option("default")
        expect(page.locator(f'#grid .cell.seen[title="{name}"]').first).to_be_visible()
        assert len(asked) > before
    finally:
        (album / "new.jpg").unlink()


@pytest.mark.parametrize("n", [1, 5, 50, 500])
def test_rows_of_near_duplicates_can_be_seen(page: Any, url: str, n: int) -> None:
    def group(number: int) -> dict[str, Any]:
        one = {"width": 4000, "height": 3000, "size": 5_000_000, "exact": False, "cosine": 0.97}
        others = [{**one, "image_id": k + 2, "path": f"/a/{number} copy {k}.jpg"} for k in range(1 + number % 14)]
        name = f"/a/{number} {'with a name that is long ' * (number % 3)}.jpg"
        return {"keep": {**one, "image_id": 1, "path": name}, "others": others}

    def answer(route: Any) -> None:
        query = {name: value for name, [value] in parse_qs(urlsplit(route.request.url).query).items()}
        start = int(query.get("cursor", 0))
        end = start + int(query["limit"])
        body = {"total": n, "removable": n, "removable_bytes": 5_000_000 * n, "photos": 2 * n}
        following = str(end) if end < n else None
        route.fulfill(json={**body, "groups": [group(k) for k in range(start, min(end, n))], "next": following})

    page.route("**/v1/duplicates*", answer)
    zoomed = {"width": 640, "height": 400}  # what is left of a desk at 200 %
    for name, size, scheme in [
        ("desk", SIZES["desk"], "light"),
        ("phone", SIZES["phone"], "dark"),
        ("zoomed", zoomed, "light"),
    ]:
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{url}/library", wait_until="networkidle")  # or what comes above would move them out of view
        page.get_by_role("button", name="Find near-duplicates").click()
        rows = page.locator(".near-row")
        expect(rows.first).to_have_attribute("aria-setsize", str(n))
        expect(rows.last.locator("figure").first).to_be_attached()
        page.locator(".alike").evaluate("list => list.scrollIntoView({ block: 'center' })")
        until(lambda rows=rows: rows.count() == n if n <= 5 else 5 < rows.count() < 20)
        boxes = rows.evaluate_all(
            "all => all.map(one => one.getBoundingClientRect())"
            ".map(({ top, bottom, left, right }) => [top, bottom, left, right])"
        )
        assert min(bottom - top for top, bottom, _, _ in boxes) >= 100
        assert all(one[1] <= following[0] for one, following in pairwise(boxes))
        shown = page.locator(".alike").bounding_box()
        assert 100 <= shown["height"] <= 640
        assert all(left >= shown["x"] - 1 and right <= shown["x"] + shown["width"] + 1 for _, _, left, right in boxes)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        inside = rows.evaluate_all(
            "all => all.every(row => [...row.querySelectorAll('figure')].every("
            "one => one.getBoundingClientRect().bottom <= row.getBoundingClientRect().bottom))"
        )
        assert inside
        page.locator(".alike").evaluate("one => { one.scrollTop = one.scrollHeight; }")
        expect(page.locator(f'.near-row[aria-posinset="{n}"] figure').first).to_be_attached()
        page.locator(".alike").evaluate("one => { one.scrollTop = 0; }")
        expect(rows.first.locator("figure").first).to_be_attached()
        page.locator("#near").scroll_into_view_if_needed()
        if n == 5:
            accessible(page, f"near-{name}-{n}")
        else:
            keep(page, f"near-{name}-{n}")

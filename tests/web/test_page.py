"""The page in a real Chromium, over a small library that `nano` encoded: what people do on it, by mouse and by keys.

Debian's ``chromium`` is what it needs beside the packages of the extra ``dev``. Pictures of the pages as they were go
to the folder that ``ZSINDEX_TEST_SCREENSHOTS`` names, where it does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image

from tests.scenes import damaged
from zsindex import samples
from zsindex.library import Library
from zsindex.web import Limits, Security, Token, create_app
from zsindex.web.app import loopback_hosts
from zsindex.web.serve import listen

CHROMIUM = os.environ.get("ZSINDEX_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the package axe-playwright-python")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium, or another in ZSINDEX_TEST_CHROMIUM")

expect = playwright.expect
LABELS = ["a person", "a cat", "a cup of coffee", "a rocket", "a galaxy"]
QUERY = "&".join(f"label={label.replace(' ', '+')}" for label in LABELS)
TOKEN = "a-token-of-the-page-0123"
SIZES = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 360, "height": 740}}


# --- what is looked at ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's photos with parts of them, one of them twice, and one that is damaged."""
    folder = tmp_path_factory.mktemp("page") / "album"
    folder.mkdir()
    for file in samples.photos():
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        image.thumbnail((320, 320))
        image.save(folder / f"{file.stem}.jpg")
        w, h = image.size
        for n, box in enumerate([(0, 0, w * 2 // 3, h * 2 // 3), (w // 3, h // 3, w, h), (w // 4, 0, w, h)]):
            image.crop(box).save(folder / f"{file.stem} part {n}.jpg")
    shutil.copy(folder / "coffee.jpg", folder / "coffee again.jpg")
    damaged(folder / "damaged.jpg")
    return folder


@pytest.fixture(scope="module")
def encoded(album: Path) -> Path:
    folder = album.parent / "library"
    with Library.open(folder) as library:
        library.sync(album)
    return folder


@pytest.fixture
def library(encoded: Path, tmp_path: Path) -> Iterator[Library]:
    shutil.copytree(encoded, tmp_path / "library")
    with Library.open(tmp_path / "library") as opened:
        yield opened


Start = Callable[..., str]


@pytest.fixture
def start(library: Library, album: Path) -> Iterator[Start]:
    """Starts a service in a thread; gives its URL."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def begin(tokens: tuple[Token, ...] = (), **security: Any) -> str:
        listening = listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        guard = Security(loopback_hosts(port), tokens=tokens, photo_folders=(str(album),), **security)
        thumbnails = album.parent / "thumbnails"
        app = create_app(library, security=guard, limits=Limits(requests_per_s=0), thumbnails=thumbnails)
        config = uvicorn.Config(app, ws="none", lifespan="on", log_config=None, timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread))
        for _ in range(500):
            if server.started:
                break
            time.sleep(0.02)
        return f"http://127.0.0.1:{port}"

    yield begin
    for server, thread in running:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def url(start: Start) -> str:
    return start()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page whose scripts must not fail, and which must not break its own content policy."""
    context = chromium.new_context(viewport=SIZES["desk"], reduced_motion="reduce", accept_downloads=True)
    made = context.new_page()
    made.set_default_timeout(15_000)
    wrong: list[str] = []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    yield made
    context.close()
    assert wrong == []


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


# --- the lab ----------------------------------------------------------------------------------------------------------


def test_the_library_regroups_as_labels_are_typed(page: Any, url: str, library: Library) -> None:
    page.goto(url)
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
    page.goto(url)
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
    page.goto(f"{url}/?label=cat&label=slow")
    page.wait_for_timeout(100)
    page.get_by_label("Remove slow").click()
    expect(page.locator(".tab")).to_have_count(1)
    assert late
    for route in late:
        route.continue_()
    page.wait_for_timeout(200)
    expect(page.locator(".tab")).to_have_count(1)


def test_the_threshold_moves_photos_to_none_of_these(page: Any, url: str, library: Library) -> None:
    asked: list[str] = []
    page.goto(f"{url}/?{QUERY}")
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
    page.goto(f"{url}/?{QUERY}")
    page.get_by_label("Templates", exact=True).select_option("openai-7")
    expected = library.classify(LABELS, template="openai-7")
    for label in LABELS:
        expect(page.locator(f'.tab[data-label="{label}"] .tab-count')).to_have_text(str(expected.tally()[label]))
    page.get_by_label("Templates", exact=True).select_option(label="Own…")
    own = page.get_by_label("Own templates")
    own.fill("nothing goes in here")
    expect(page.get_by_text("Each template needs a {}")).to_be_visible()
    own.fill("a drawing of {}\na painting of {}")
    expect(page).to_have_url(re.compile("template=a\\+drawing\\+of\\+%7B%7D&template=a\\+painting"))
    page.get_by_role("button", name="Columns").click()
    expect(page.locator(".column")).to_have_count(len(LABELS))
    expect(page.locator(".column .cell img").first).to_be_visible()
    page.get_by_text("Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="All photos, JSON").click()
    document = json.loads(Path(download.value.path()).read_text())
    assert len(document["photos"]) == len(library.paths())
    assert document["run"]["templates"] == ["a drawing of {}", "a painting of {}"]


def test_a_photo_says_why_it_won(page: Any, url: str, library: Library) -> None:
    page.goto(f"{url}/?{QUERY}&template=openai-7&group=a+cat")
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
    page.goto(f"{url}/?{QUERY}&group=a+cat")
    page.get_by_role("button", name="Save…").click()
    page.get_by_label("Name").fill("things")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Saved as “things”, version 1.")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?set=things"))
    cells(page).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("What does it show?")).to_be_visible()
    page.keyboard.press("4")
    expect(dialog.get_by_role("button", name="a rocket", exact=True)).to_have_attribute("aria-pressed", "true")
    [kept] = library.corrections("things")
    assert kept.label == "a rocket"
    expect(dialog.get_by_role("button", name="Undo")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Learn from corrections (1)").check()
    changed = library.classify(label_set="things", with_corrections="gda")
    expect(page.locator('.tab[data-label="a rocket"] .tab-count')).to_have_text(str(changed.tally()["a rocket"]))
    assert library.label_set("things").labels == tuple(LABELS)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Learn from corrections (1)")).to_be_hidden()
    assert library.corrections("things") == []


def test_only_keys(page: Any, url: str) -> None:
    """From the address bar to a photo and back, without a mouse."""
    page.goto(url)
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
    page.goto(f"{url}/?label=cat")
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


def test_library(page: Any, url: str, album: Path) -> None:
    page.goto(f"{url}/library")
    expect(page.locator("#skipped")).to_contain_text("damaged.jpg")
    expect(page.locator("#copies")).to_contain_text("coffee again.jpg")
    expect(page.locator("#models")).to_contain_text("nano")
    page.get_by_role("button", name="Find near-duplicates").click()
    expect(page.locator("#near [role=status]")).to_contain_text("Nothing is deleted here.")
    expect(page.locator("#near .alike")).to_contain_text("Same bytes")
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
    page.goto(f"{url}/?{QUERY}")
    page.get_by_label("Token").fill("not the one")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This is no token of this service.")).to_be_visible()
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(cells(page).first).to_be_visible()
    expect(page.get_by_role("button", name="Save…")).to_be_hidden()  # it may only read


def test_a_service_that_is_gone_is_said_to_be(page: Any, url: str) -> None:
    page.goto(f"{url}/?{QUERY}")
    expect(cells(page).first).to_be_visible()
    page.route("**/v1/groups", lambda route: route.abort())
    page.get_by_label("Labels", exact=True).press_sequentially("a tree,")
    expect(page.get_by_role("alert").get_by_text("No answer")).to_be_visible()
    page.unroute("**/v1/groups")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".tab")).to_have_count(len(LABELS) + 1)


@pytest.mark.parametrize(("size", "scheme"), [("desk", "dark"), ("phone", "light")])
def test_all_pages_fit_and_are_accessible(page: Any, url: str, size: str, scheme: str) -> None:
    page.set_viewport_size(SIZES[size])
    page.emulate_media(color_scheme=scheme)
    for name, path in {
        "lab-empty": "/",
        "lab": f"/?{QUERY}&min=0.5",
        "lab-columns": f"/?{QUERY}&view=columns",
        "compare-empty": "/compare",
        "library": "/library",
    }.items():
        page.goto(url + path)
        page.wait_for_load_state("networkidle")
        accessible(page, f"{name}-{size}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name

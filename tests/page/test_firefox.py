"""The main flows in a second engine: Debian's Firefox. ``make test-firefox`` runs these alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.page.firefox import Firefox, firefox
from tests.page.looking import LABELS
from zsindex.library import Library

PROGRAM = os.environ.get("ZSINDEX_TEST_FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")
TABS = """Object.fromEntries([...document.querySelectorAll(".tab")].map(
    (tab) => [tab.dataset.label, tab.querySelector(".tab-count").textContent]))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Firefox]:
    if PROGRAM is None:
        pytest.skip("needs Debian's firefox-esr, or another Firefox in ZSINDEX_TEST_FIREFOX")
    with firefox(PROGRAM) as made:
        yield made
        assert made.errors == []


def test_photos_are_opened_and_walked_through(browser: Firefox, url: str, library: Library) -> None:
    browser.goto(f"{url}/?order=folder")
    assert browser.until("document.querySelector('#counted').textContent") == f"{library.status().images} photos"
    browser.until("document.querySelectorAll('.cell.seen').length > 6")
    first = browser.run("document.querySelector('.cell').title")
    browser.click(".cell")
    browser.until("document.querySelector('dialog.photo[open] img.large')?.complete")
    assert browser.run("document.querySelector('#photo-title').textContent") == first
    browser.press("ArrowRight")
    second = browser.until(
        "((title) => title !== 'Loading' && title)(document.querySelector('#photo-title').textContent)"
    )
    browser.until(
        "document.querySelector('dialog.photo img.large')?.alt === document.querySelector('#photo-title').textContent"
    )
    assert second != first
    browser.press("Escape")
    browser.until("!document.querySelector('dialog.photo[open]') && document.activeElement.matches('.cell')")
    browser.press("End")
    last = sorted(Path(path) for path in library.photos.paths())[-1].name
    browser.until(f"document.activeElement.title === {last!r} && document.activeElement.matches('.seen')")
    browser.press("Enter")
    browser.until("document.querySelector('dialog.photo[open] img.large')")
    browser.travel(-1)  # closes it
    browser.until("!document.querySelector('dialog.photo[open]')")
    browser.travel(1)
    browser.until("document.querySelector('dialog.photo[open] img.large')")
    browser.until(f"document.querySelector('#photo-title').textContent === {last!r}")


def test_the_lab_regroups_and_a_key_corrects(browser: Firefox, url: str, library: Library) -> None:
    browser.goto(f"{url}/lab?label=a+cat")
    browser.until("document.querySelector('.tab')")
    browser.click(".chips input")
    for label in LABELS[:1] + LABELS[2:]:
        browser.press(f"{label},")
    labels = [LABELS[1], LABELS[0], *LABELS[2:]]
    browser.until(f"document.querySelectorAll('.tab').length === {len(labels)}")
    tally = library.classify(labels, sync=False).tally()
    browser.until(
        f"document.querySelector('.tab[data-label=\"a rocket\"] .tab-count').textContent === '{tally['a rocket']}'"
    )
    assert browser.run(TABS) == {label: str(tally[label]) for label in labels}
    browser.travel(-1)
    browser.until(f"document.querySelectorAll('.tab').length === {len(labels) - 1}")
    library.labels.save("things", LABELS)
    browser.goto(f"{url}/lab?set=things")
    browser.click(".cell.seen")
    browser.until(
        "document.querySelector('dialog.photo[open] img.large') && document.querySelector('dialog.photo .correct')"
    )
    browser.press("3")
    browser.until("document.querySelector('#toasts').textContent.includes('Kept')")
    assert [one.label for one in library.corrections.list("things")] == [LABELS[2]]
    browser.press("Escape")


def test_a_search_finds_and_goes_on_from_a_photo(browser: Firefox, url: str, library: Library) -> None:
    browser.goto(f"{url}/search")
    browser.until("document.querySelector('#state .ideas')")
    browser.click("#text")
    browser.press("a cup of coffee", "Enter")
    nearest = library.search("a cup of coffee", top=1)[0].path
    assert browser.until("document.querySelector('#grid:not([hidden]) .cell.seen')?.title") == Path(nearest).name
    browser.click(".cell.seen")
    browser.until("document.querySelector('dialog.photo[open] .facts-line')")
    browser.click("dialog.photo .links a")
    browser.until("location.search.startsWith('?like=') && document.querySelector('.cell.seen')")
    browser.travel(-1)
    browser.until("location.search.includes('q=a+cup+of+coffee')")

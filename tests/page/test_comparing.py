"""Label sets, their versions and templates beside one another at /evaluate."""

from __future__ import annotations

from typing import Any

from tests.page.looking import LABELS, SIZES, accessible, expect, stays
from zsindex.library import Library


def percent(share: float) -> str:
    return f"{int(100 * share + 0.5)} %"


def signed(share: float) -> str:
    return f"{share * 100:+.1f}".replace("-", "\N{MINUS SIGN}") if share else "0.0"


def test_ways_of_asking_are_compared_on_the_same_photos(page: Any, url: str, library: Library) -> None:
    """Numbers as in Python, and the photos behind what is gained and lost; all of it in the address."""
    stays(page)
    walls = ["a grey wall", "a blank page", "a white sky"]
    library.labels.save("things", {label: [walls[n] if n < len(walls) else label] for n, label in enumerate(LABELS)})
    library.labels.save("things", LABELS)
    said = [(one.path, one.label) for one in library.classify(LABELS)]
    library.corrections.add_all(
        "things", [(path, LABELS[2] if n % 5 == 0 else label, False) for n, (path, label) in enumerate(said)]
    )
    page.goto(f"{url}/evaluate?set=things")
    expect(page.locator("#confused .matrix")).to_be_visible()
    page.get_by_text("Compare with others").click()
    page.get_by_label("things, as it was before").check()
    expect(page.locator("#compared tbody tr")).to_have_count(2)
    expect(page.locator("#confused")).to_be_hidden()
    page.get_by_label("openai-7 (7)").check()
    expect(page.locator("#compared tbody tr")).to_have_count(4)
    assert "with=things%401&template=openai-7" in page.url

    pairs = [("things", None), ("things", "openai-7"), ("things@1", None), ("things@1", "openai-7")]
    ways = [library.labels.resolve(name, template) for name, template in pairs]
    expected = library.lab.evaluate(ways[0], "corrections:things", against=ways[1:], resamples=200)
    rows = page.locator("#compared tbody tr")
    names = ["things, as saved", "things, openai-7", "things@1, as saved", "things@1, openai-7"]
    assert rows.locator("th").all_inner_texts() == names
    for row, report in zip(rows.all(), expected.reports, strict=True):
        texts = row.locator("td").all_inner_texts()
        assert texts[0].startswith(percent(report.summary["top1"].value))
        if report is not expected.reports[0]:
            assert texts[1].startswith(signed(report.differences["top1"].value))
            assert texts[3:] == [str(report.gained), str(report.lost)]
    worst = expected.reports[2]
    assert worst.lost > 0
    assert worst.differences["top1"].high < 0
    expect(page.locator("#compared > p")).to_contain_text("Less often: “things@1, as saved”")
    labels = page.locator("#compared-labels tbody tr")
    of_first = {one.label: one for one in expected.reports[0].labels}
    for row in labels.all():
        name, n, first, *others = row.locator("th, td").all_inner_texts()
        assert (n, first) == (str(of_first[name].photos), percent(of_first[name].f1.value))
        assert len(others) == 3
    accessible(page, "compared")

    # The photos that the first gets right and an older version does not.
    rows.nth(2).get_by_role("button", name="that only “things, as saved” gets right").click()
    expect(page.locator("#photos-title")).to_contain_text(f"Only “things, as saved” is right {worst.lost} photo")
    lost = {expected.paths[photo] for photo in expected.reports[0].right_unlike(worst).tolist()}
    expect(page.locator("#grid .cell.seen").first).to_be_visible()
    shown = {text for text in page.eval_on_selector_all(".cell", "cells => cells.map((cell) => cell.title)") if text}
    assert shown <= {path.rpartition("/")[2] for path in lost}
    page.locator("#grid .cell").first.click()
    expect(page.get_by_role("dialog").locator("img.large")).to_be_visible()
    page.keyboard.press("Escape")
    page.reload()
    expect(page.locator("#photos-title")).to_contain_text(f"{worst.lost} photo")
    expect(page.get_by_label("openai-7 (7)")).to_be_checked()
    page.go_back()
    expect(page.locator("#photos-card")).to_be_hidden()
    page.set_viewport_size(SIZES["phone"])
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["phone"]["width"]
    accessible(page, "compared-phone-dark")

    # Without others it is about one set again.
    page.get_by_label("openai-7 (7)").uncheck()
    page.get_by_label("things, as it was before").uncheck()
    expect(page.locator("#confused .matrix")).to_be_visible()
    expect(page.locator("#compared-card")).to_be_hidden()

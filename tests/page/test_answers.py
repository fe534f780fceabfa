"""What is asked of an answer on the page: how good it is, and what to do next."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from tests.page.conftest import Start
from tests.page.looking import LABELS, QUERY, SIZES, accessible, expect, keep, stays
from zsindex.library import Library

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


# --- how good it is ---------------------------------------------------------------------------------------------------


def matrix_of(page: Any) -> dict[tuple[str, str], int]:
    said = page.eval_on_selector_all(".matrix .cell-of", "cells => cells.map((cell) => cell.ariaLabel)")
    found = [re.fullmatch(r"(\d+) photos? of (.*) answered (.*)", text) for text in said]
    return {(one[2], one[3]): int(one[1]) for one in found if one is not None}


def test_what_is_confused_with_what(page: Any, url: str, library: Library) -> None:
    """Numbers as in Python; a cell opens its photos, a label its curve; a threshold is moved and kept."""
    words = [*LABELS, "a dog", "a car", "a house", "a flower", "a page of text"]
    library.labels.save("things", words)
    stays(page)
    said = {one.path: words[(n + 1) % 10] if n % 4 == 0 else one.label for n, one in enumerate(library.classify(words))}
    library.corrections.add_all("things", [(path, label, False) for path, label in said.items()])
    expected = library.lab.evaluate("things", "corrections", resamples=200)
    [report] = expected.reports
    page.goto(f"{url}/evaluate")
    page.get_by_label("Label set").select_option("things")
    top1 = report.summary["top1"]
    expect(page.locator("#sum")).to_contain_text(f"{round(100 * top1.value)} % of {report.photos} photos")
    expect(page.locator("#sum")).to_contain_text(
        f"{round(100 * (top1.low or 0))} % to {round(100 * (top1.high or 0))} %"
    )
    expect(page.get_by_text("people correct what is wrong")).to_be_visible()
    cells = {(cell.truth, cell.answer): cell.photos for cell in report.confusions}
    assert matrix_of(page) == cells
    rows = page.locator("#labels tbody tr")
    for row, label in zip(rows.all(), report.labels, strict=True):
        missed, wrongly = label.photos - label.right, label.answered - label.right
        texts = row.locator("td").all_inner_texts()
        assert texts[:3] == [str(label.photos), str(missed), str(wrongly)]
        if not np.isnan(label.recall.value):
            assert texts[4].startswith(f"{math.floor(100 * label.recall.value + 0.5)} %")
    accessible(page, "evaluate")

    # A cell, by keys.
    assert page.locator('.matrix .cell-of[tabindex="0"]').count() == 1
    row = next(row for row in page.locator(".matrix tbody tr").all() if row.locator(".cell-of").count() > 1)
    row.locator(".cell-of").first.focus()
    page.keyboard.press("ArrowRight")
    expect(row.locator(".cell-of").nth(1)).to_be_focused()
    page.locator(".matrix .cell-of:not(.right)").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#photos-title")).to_be_focused()
    shows, answered = (dict(parse_qsl(urlsplit(page.url).query))[name] for name in ("shows", "answered"))
    assert shows != answered
    wanted = [expected.paths[photo] for photo in report.photos_of(shows=shows, answered=answered)]
    expect(page.locator("#photos-title")).to_have_text(f"{shows}, answered {answered} {photos(cells[shows, answered])}")
    assert shown_in(page) == [Path(path).name for path in wanted]
    page.locator("#grid .cell").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".correct")).to_contain_text(f"Kept: it shows {shows}.")
    dialog.get_by_role("button", name=answered, exact=True).click()
    expect(dialog.locator(".correct")).to_contain_text(f"Kept: it shows {answered}.")
    page.keyboard.press("Escape")  # the truth is another one now
    cells[shows, answered] -= 1
    cells[answered, answered] = cells.get((answered, answered), 0) + 1
    left = cells[shows, answered]
    expect(page.locator("#photos-title")).to_contain_text(photos(left))
    assert matrix_of(page) == {cell: n for cell, n in cells.items() if n}

    # A label's curve and its threshold.
    [report] = library.lab.evaluate("things", "corrections", resamples=0).reports
    label = max(report.labels, key=lambda one: one.answered).label
    page.get_by_role("button", name=f"Precision and recall of {label}", exact=True).click()
    points = [*report.tradeoff(label).points][::-1]
    expect(page.locator("#cost")).to_contain_text(
        f"{photos(points[0].answered)} answered so, {points[0].answered_right} rightly"
    )
    middle = points[len(points) // 2]
    page.locator("#cut").fill(str(len(points) // 2))
    expect(page.locator("#cost")).to_contain_text(
        f"{photos(middle.answered)} answered so, {middle.answered_right} rightly"
    )
    change = library.thresholds.choose("things", label, score=middle.score, dry_run=True)
    expect(page.locator("#effect")).to_have_text(
        f"In the whole library {photos(change.after)} would have this answer; now it is {change.before}."
    )
    keep(page, "evaluate-curve")
    page.get_by_role("button", name="Keep as threshold").click()
    expect(page.locator("#kept")).to_contain_text("The set's threshold: from")
    [kept] = [one for one in library.thresholds.curves("things").curves if one.label == label]
    assert (kept.rate, kept.photos) == (change.rate, change.photos)
    page.reload()
    expect(page.locator("#kept")).to_contain_text("The set's threshold: from")
    expect(page.locator("#cost")).to_contain_text(f"{photos(middle.answered)} answered so")
    page.get_by_role("button", name="Remove the threshold").click()
    expect(page.locator("#kept")).to_contain_text("no threshold")

    # Answers that have learnt say so.
    page.get_by_label("Learn from corrections").check()
    expect(page.locator("#learnt")).to_contain_text(f"have learnt from {photos(report.photos)}")
    expect(page.locator("#state")).to_be_hidden()
    page.set_viewport_size(SIZES["phone"])
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES["phone"]["width"]
    accessible(page, "evaluate-phone-dark")


def test_truth_from_a_table_and_with_other_names(
    page: Any, url: str, library: Library, album: Path, tmp_path: Path
) -> None:
    library.labels.save("things", LABELS)
    page.goto(f"{url}/evaluate?set=things")
    expect(page.get_by_text("There is nothing to compare with yet")).to_be_visible()  # nothing is corrected
    page.get_by_label("What photos really show").select_option("csv")
    expect(page.get_by_text("Choose the table")).to_be_visible()
    names = [Path(path).name for path in sorted(library.photos.paths())]
    said = dict(zip(names, ["cat", "a rocket", "a cat", "dog"], strict=False))
    lines = ["Label;PATH", *(f'"{label}";"{name}"' for name, label in said.items()), "a rocket;gone.jpg"]
    file = tmp_path / "truth.csv"
    file.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    page.get_by_label("Table with the columns").set_input_files(file)
    expect(page.locator("#sum")).to_contain_text("2 photos")
    expect(page.locator("#basis")).to_contain_text(
        "Not compared: 2 photos have other names only; 1 photo of the truth are not"
    )
    page.get_by_text("Names that the set does not have (2)").click()
    page.get_by_role("listitem").filter(has_text="cat 1 photo").get_by_role("button").click()
    page.keyboard.type("a cat")
    page.keyboard.press("Tab")
    expect(page.locator("#sum")).to_contain_text("3 photos")
    by_path = {str(album / name): label for name, label in said.items()}
    report = library.lab.evaluate("things", by_path, names={"cat": "a cat"}, resamples=0).reports[0]
    assert matrix_of(page) == {(cell.truth, cell.answer): cell.photos for cell in report.confusions}
    other = tmp_path / "other.csv"
    other.write_text("name,label\nx,y\n", encoding="utf-8")
    page.get_by_label("Table with the columns").set_input_files(other)
    expect(page.get_by_role("alert").filter(has_text="needs the columns path and label")).to_be_visible()
    expect(page.locator("#found")).to_be_hidden()


def test_many_labels_are_a_list_of_what_is_confused(page: Any, start: Start, library: Library) -> None:
    """And with a token that may only read there is nothing to keep."""
    words = [f"thing number {n}" for n in range(60)]
    library.labels.save("many", words)
    found = library.classify(label_set="many")
    by_path = {one.path: words[n % 60] for n, one in enumerate(found)}
    library.corrections.add_all("many", [(path, label, False) for path, label in by_path.items()])
    [report] = library.lab.evaluate("many", "corrections", resamples=0).reports
    service = start(read_only=True)
    page.goto(f"{service}/evaluate?set=many&label={words[0].replace(' ', '+')}")
    expect(page.locator(".pair-of").first).to_be_visible()
    assert page.locator(".matrix").count() == 0
    pairs = [text.split("\n") for text in page.locator(".pair-of").all_inner_texts()]
    wanted = [(cell.truth, cell.answer, str(cell.photos)) for cell in report.mistakes]
    assert [(one[0], one[2], one[3]) for one in pairs] == wanted[: len(pairs)]
    expect(page.locator("#cost")).to_contain_text("answered so")
    page.locator("#cut").focus()
    page.keyboard.press("End")
    expect(page.locator("#effect")).to_contain_text("In the whole library")
    expect(page.get_by_role("button", name="Keep as threshold")).to_be_hidden()
    name = report.mistakes[0].truth
    page.get_by_label("Only").fill(name)
    expect(page.locator("#labels tbody tr")).to_have_count(sum(name in one.label for one in report.labels))
    for path, button in [("review?label=a+cat", "Review"), ("count?label=a+cat", "Count"), ("choose", "Choose")]:
        page.goto(f"{service}/{path}")
        expect(page.get_by_text("This service only reads it.")).to_be_visible()
        expect(page.locator("#asked").get_by_role("button", name=button)).to_be_disabled()


def photos(n: int) -> str:
    return "1 photo" if n == 1 else f"{n} photos"


def shown_in(page: Any) -> list[str]:
    names: list[str] = page.eval_on_selector_all("#grid .cell", "cells => cells.map((cell) => cell.title)")
    return names


# --- what next --------------------------------------------------------------------------------------------------------


def test_reviewing_with_two_keys(page: Any, url: str, library: Library) -> None:
    page.goto(f"{url}/review")
    expect(page.get_by_text("Have you seen them all?")).to_be_visible()
    accessible(page, "review-empty")
    page.get_by_label("How many of them to see").select_option("0.8")
    page.get_by_label("What to find").fill("a cup of coffee")
    page.keyboard.press("Enter")
    expect(page.locator("#frame img")).to_be_visible()
    shown = []
    for n in range(1, 5):
        expect(page.locator("#frame img")).to_have_attribute("alt", f"Photo {n}")
        shown.append(page.locator("#name").inner_text())
        page.keyboard.press("y" if "coffee" in shown[-1] else "n")
        expect(page.locator("#statement")).to_contain_text(f"{n} of 32 photos looked at")
    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 5")
    page.keyboard.press("u")
    expect(page.locator("#statement")).to_contain_text("3 of 32 photos looked at")
    [survey] = library.surveys.list("review")
    looks = [one for one in library.surveys.looks(survey.id) if one.answer is not None]
    assert [Path(one.path).name for one in looks] == shown[:3]
    review = library.reviews.begin("a cup of coffee", recall=0.8)  # the same one
    assert review.survey_id == survey.id
    expect(page.locator("#statement")).to_have_text(review.certificate().statement)
    found = sum("coffee" in name for name in shown[:3])
    assert found
    page.locator("#found-count").click()
    expect(page.locator("#found-list li")).to_have_count(found)
    # Somebody else answers the photo that is in view: that stays, and the next one is shown.
    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 4")
    library.surveys.answer(survey.id, 4, "unsure")
    page.keyboard.press("y")
    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 5")
    assert [one.answer for one in library.surveys.looks(survey.id) if one.number == 4] == ["unsure"]
    page.set_viewport_size(SIZES["phone"])
    accessible(page, "review-phone")


def test_going_back_asks_what_the_address_says(page: Any, url: str, library: Library) -> None:
    """And after a question that is refused there is no photo to answer."""
    library.labels.save("things", LABELS)
    page.goto(f"{url}/search")
    page.goto(f"{url}/review?label=a+cat")
    field = page.get_by_label("What to find")
    expect(page.locator("#look img")).to_be_visible()
    page.keyboard.press("n")
    expect(page.locator("#statement")).to_contain_text("1 of 32 photos looked at")
    field.fill("a dog")
    page.keyboard.press("Enter")
    expect(page.locator("#statement")).to_contain_text("0 of 32 photos looked at")
    page.go_back()
    expect(field).to_have_value("a cat")
    expect(page.locator("#statement")).to_contain_text("1 of 32 photos looked at")
    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 2")
    page.keyboard.press("n")
    expect(page.locator("#statement")).to_contain_text("2 of 32 photos looked at")
    assert sorted(one.n_answered for one in library.surveys.list("review")) == [0, 2]  # none of the dog's

    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 3")
    page.get_by_label("Label set").select_option("things")
    field.fill("no such label")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This cannot be reviewed")).to_be_visible()
    expect(page.locator("#look")).to_be_hidden()
    expect(page.get_by_role("button", name="Yes")).to_be_hidden()
    expect(page.locator("#statement")).to_be_empty()
    with page.expect_request("**/v1/reviews**") as asked:  # what comes first is no answer by a key
        page.keyboard.press("y")
        page.go_back()
    assert not asked.value.url.endswith("/answers")
    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 3")
    for path, name in [("count?label=a+cat", "What to count"), ("review?label=a+cat", "What to find")]:
        page.goto(f"{url}/search")
        page.goto(f"{url}/{path}")
        expect(page.get_by_label(name)).to_have_value("a cat")
        expect(page.locator("#frame img")).to_be_visible()
        page.go_back()
        assert urlsplit(page.url).path == "/search"


def test_what_next_in_the_lab(page: Any, url: str, library: Library) -> None:
    stays(page)
    page.goto(f"{url}/lab?{QUERY}")
    page.get_by_text("What next?").click()
    box = page.locator("#what-next")
    expect(box.get_by_text("Save this set first.").first).to_be_visible()
    box.get_by_role("button", name="Check the words").click()
    findings = library.lab.lint(LABELS).findings
    if findings:
        expect(box.get_by_text(findings[0].message)).to_be_visible()
    else:
        expect(box.get_by_text("Nothing stands out")).to_be_visible()
    box.get_by_role("button", name="Suggest more words").click()
    word = library.lab.suggest(LABELS, "basic").groups[0].names[0].word
    expect(box.locator(".pic.seen").first).to_be_visible()
    accessible(page, "what-next")
    box.get_by_role("button", name=f"+ {word}", exact=True).first.click()
    expect(page.locator(".tab")).to_have_count(len(LABELS) + 1)
    expect(box.locator(".next-result")).to_be_empty()  # it was about other words
    assert f"label={word.replace(' ', '+')}" in page.url

    library.labels.save("things", LABELS)
    page.goto(f"{url}/lab?set=things&group=a+cat&min=0.6")
    page.get_by_text("What next?").click()
    box.get_by_role("button", name="Keep 60 % as threshold of “a cat”").click()
    change = library.thresholds.choose("things", "a cat", score=0.6, dry_run=True)
    expect(box.locator(".next-result")).to_contain_text(f"{photos(change.after)} would have it, now {change.before}.")
    box.get_by_role("button", name="Keep it").click()
    expect(page.get_by_text("Kept: “a cat” from 60 % on.")).to_be_visible()
    [kept] = [one.rate for one in library.thresholds.curves("things").curves if one.rate is not None]
    assert kept == change.rate
    for name, path in [
        ("How often is it right?", "/evaluate?set=things&label=a+cat"),
        ("How many show “a cat”?", "/count?label=a+cat&set=things"),
        ("Have I seen every “a cat”?", "/review?label=a+cat&set=things"),
    ]:
        expect(box.get_by_role("link", name=name)).to_have_attribute("href", path)
    telling = library.corrections.next("things", 24)
    box.get_by_role("button", name="Photos worth a look").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", level=2)).to_have_text(Path(telling[0].path).name)
    expect(dialog.locator("img.large")).to_be_visible()
    page.keyboard.press("2")
    expect(dialog.locator(".correct")).to_contain_text("Kept: it shows a cat.")
    page.keyboard.press("Escape")
    expect(box.locator(".next-result")).to_contain_text("the most telling first")
    page.go_forward()  # also after a reload it is one of them
    expect(dialog.get_by_role("heading", level=2)).to_have_text(Path(telling[0].path).name)
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", level=2)).to_have_text(Path(telling[1].path).name)
    page.reload()
    expect(dialog.get_by_role("heading", level=2)).to_have_text(Path(telling[1].path).name)
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", level=2)).to_have_text(Path(telling[2].path).name)
    page.go_back()
    expect(dialog).to_be_hidden()
    assert [(one.paths[0], one.label) for one in library.corrections.list("things")] == [(telling[0].path, "a cat")]


def test_choosing_with_keys(page: Any, url: str, library: Library) -> None:
    library.labels.save("things", LABELS)
    library.labels.save("others", ["a rocket", "a cat"])
    page.goto(f"{url}/choose?set=things")
    expect(page.get_by_text("Which is best here?")).to_be_visible()
    expect(page.get_by_role("button", name="Choose", exact=True)).to_be_disabled()
    accessible(page, "choose-empty")
    page.get_by_label("others (2)").check()
    page.get_by_role("button", name="Choose among 2").click()
    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 1")
    choice = library.choices.begin("others", against="things", within=0.05)  # the same one
    look = choice.look()
    assert look is not None
    answers = look.drawn["answers"]
    expect(page.locator("#choices button")).to_have_count(len(answers) + 3)
    page.keyboard.press("2")
    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 2")
    expect(page.locator("#details")).to_contain_text(
        f"1 looked at of {choice.standing().differ} photos on which they differ"
    )
    assert library.surveys.looks(choice.survey_id)[0].answer == answers[1]
    page.keyboard.press("u")
    expect(page.locator("#details")).to_contain_text("0 looked at")
    expect(page.locator("#frame img")).to_have_attribute("alt", "Photo 1")
    for n in range(1, 60):
        if page.locator("#look").is_hidden():
            break
        expect(page.locator("#choices button").first).to_be_enabled()
        page.keyboard.press("1")
        expect(page.locator("#details")).to_contain_text(f"{n} looked at")
    choice.refresh()
    standing = choice.standing()
    assert choice.look() is None
    assert standing.named is not None
    expect(page.locator("#standing")).to_contain_text(f"{standing.named}: on these photos none")
    [row] = page.locator("#duels tbody tr").all()
    [duel] = standing.duels
    assert row.locator("td").all_inner_texts()[:4] == [
        str(n) for n in (duel.differ, duel.looked_at, duel.won, duel.lost)
    ]
    page.set_viewport_size(SIZES["phone"])
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES["phone"]["width"]
    accessible(page, "choose-phone")

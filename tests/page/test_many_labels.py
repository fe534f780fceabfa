"""Hundreds of labels on the page: lists that are pasted and dropped, long lists of groups; and near-duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from tests.page.looking import LABELS, SIZES, accessible, cells, expect, keep, posted
from zsindex import parse_labels
from zsindex.library import Library

# What is pasted, and the labels in it.
PASTED: dict[str, list[str]] = {
    "owl": ["owl"],
    "owl\nfox\n\n  bear  \n": ["owl", "fox", "bear"],
    "\ufeffowl\r\nfox\rbear": ["owl", "fox", "bear"],
    "owl, fox,bear": ["owl", "fox", "bear"],
    "owl; fox; bear": ["owl", "fox", "bear"],
    "a red, old car; a boat": ["a red, old car", "a boat"],
    "owl\tfox\nbear\tcat": ["owl", "fox", "bear", "cat"],
    "a red, old car\na boat; at sea\nfox": ["a red, old car", "a boat; at sea", "fox"],
    "owl,\nfox,\nbear": ["owl", "fox", "bear"],
    "owl,\nfox\nred, old": ["owl,", "fox", "red, old"],
    '"a red, old car", fox': ["a red, old car", "fox"],
    '"a ""red"" car",fox\n"bear","owl, at night"': ['a "red" car', "fox", "bear", "owl, at night"],
    '"a red, old car"\nfox': ["a red, old car", "fox"],
    '"owl"; "fox; red"\n"bear"; cat': ["owl", "fox; red", "bear", "cat"],
    'a 5" screen\nfox, the 3" one': ['a 5" screen', 'fox, the 3" one'],
    '1, "owl, great"\n2, "fox"': ["1", "owl, great", "2", "fox"],
    '"owl\nfox\nbear': ['"owl', "fox", "bear"],
    "- owl\n- fox": ["owl", "fox"],
    "* owl\n• fox\n– bear\n  + cat": ["owl", "fox", "bear", "cat"],
    "• owl • fox • bear": ["owl", "fox", "bear"],
    "- [ ] owl\n- [x] fox\n* [X] bear": ["owl", "fox", "bear"],
    "1. owl\n2. fox\n10. bear": ["owl", "fox", "bear"],
    "12) owl\n(13) fox": ["owl", "fox"],
    "1. FC Köln\nFC Bayern": ["1. FC Köln", "FC Bayern"],
    "3-ring binder\n50s car": ["3-ring binder", "50s car"],
    "x-ray\n-owl": ["x-ray", "-owl"],
    '["owl", "a red, old car", "fox"]': ["owl", "a red, old car", "fox"],
    '{"labels": ["owl", "fox"], "templates": ["a {}"]}': ["owl", "fox"],
    '{"owl": ["a bird"], "fox": "an animal"}': ["owl", "fox"],
    '[{"id": 1, "name": "owl"}, {"id": 2, "name": "fox"}]': ["owl", "fox"],
    "['owl', 'a red, old car',\n 'it''s']": ["owl", "a red, old car", "it's"],
    "[owl, fox]": ["owl", "fox"],
    "[draft] owl\nfox": ["[draft] owl", "fox"],
    "label\nowl\nfox": ["owl", "fox"],
    'id,Name,group\n1,owl,birds\n2,"fox, red",mammals': ["owl", "fox, red"],
    "class;n\nowl;3\nfox;4": ["owl", "fox"],
    "n\tcategory\n3\towl": ["owl"],
    "sep=;\nlabel;n\nowl;3": ["owl"],
    'label,prompt\nowl,"a bird,\nat night"\nfox,': ["owl", "fox"],
    "# birds\nowl\n# mammals\nfox": ["owl", "fox"],
    "class, label": ["class", "label"],
    "cafe\u0301\ncaf\u00e9": ["caf\u00e9"],
    "日本\n猫": ["日本", "猫"],
    " \n\t\n": [],
}
# Files that the command line reads as well.
FILES: dict[str, str] = {
    "lines.txt": '# birds\r\nowl\r\n\r\na red, old car\r\n5" screen\r\n',
    "header.txt": "label\nowl\nfox\n",
    "table.csv": 'id,label\n1,owl\n2,"a ""red"", old car"\n',
    "table.tsv": "class\tn\nowl\t1\nfox\t2\n",
    "excel.csv": "\ufeffsep=;\r\nName;n\r\nowl;1\r\nfox, red;2\r\n",
    "column.csv": 'label\nowl\n"a red, old car"\n',
    "no header.csv": "owl\nfox\n",
    "table.txt": "id,label\n1,owl\n2,fox\n",
    "prompts.csv": 'label,prompt\nowl,a bird\nowl,"a bird, at night"\nfox,\n',
    "list.json": '["owl", "a red, old car"]',
    "set.json": '{"labels": {"owl": ["a bird"], "fox": []}, "templates": ["a {}"]}',
    "list.txt": '["owl", "fox"]',
}


def test_lists_are_read_as_they_are_meant(page: Any, url: str) -> None:
    page.goto(f"{url}/lab")
    read = """async ([root, texts]) => {
        const { labelsIn } = await import(`${root}/static/pasted.js`);
        return texts.map(({ text, ...more }) => {
            try { return labelsIn(text, more); } catch (error) { return error.message; }
        });
    }"""

    def asked(*texts: dict[str, Any]) -> list[Any]:
        found: list[Any] = page.evaluate(read, [url, list(texts)])
        return found

    found = asked(*({"text": text} for text in PASTED))
    wrong = {text: one for (text, labels), one in zip(PASTED.items(), found, strict=True) if one["labels"] != labels}
    assert wrong == {}
    [again] = asked({"text": "Owl\nfox\nFOX\nowl\nbear\nÉté\nété", "before": ["bear"]})
    assert again == {"labels": ["Owl", "fox", "Été"], "repeated": 4}
    read_here = asked(*({"text": text, "name": name} for name, text in FILES.items()))
    read_there = {name: list(parse_labels(text, source=name).labels) for name, text in FILES.items()}
    assert {name: one["labels"] for name, one in zip(FILES, read_here, strict=True)} == read_there
    assert asked(
        {"text": "owl,1\nfox,2", "name": "x.csv"},
        {"text": "[owl", "name": "x.json"},
        {"text": "owl:\n- a bird", "name": "x.yaml"},
        {"text": "[[1]]"},
    ) == [
        "The first line of a table must name a column label, name or class.",
        found_json_error(page),
        "YAML files are not read here. zsindex labels save reads them.",
        "This JSON is no list of labels.",
    ]


def found_json_error(page: Any) -> str:
    """As this browser says it."""
    said: str = page.evaluate("() => { try { JSON.parse('[owl'); } catch (error) { return error.message; } }")
    return f"This is no JSON: {said}"


# --- hundreds of them -------------------------------------------------------------------------------------------------

MANY = [*LABELS, *(f"{kind} {n}" for n in range(59) for kind in ("an owl", "a boat", "a tree", "a wall", "a zebra"))]
PASTE = """([text]) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    const paste = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
    document.activeElement.dispatchEvent(paste);
}"""
# How much of the document a step of the slider changes.
STEP = """async () => {
    let changed = 0;
    const seen = new MutationObserver((records) => {
        for (const one of records) changed += 1 + one.addedNodes.length + one.removedNodes.length;
    });
    const slider = document.getElementById("min");
    slider.value = "2";
    slider.dispatchEvent(new Event("input"));
    await new Promise((go) => setTimeout(go, 300));
    seen.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
    slider.value = "3";
    slider.dispatchEvent(new Event("input"));
    await Promise.resolve();
    seen.disconnect();
    return changed;
}"""


def test_hundreds_of_labels(page: Any, url: str) -> None:
    page.goto(f"{url}/lab")
    field = page.get_by_label("Labels", exact=True)
    field.focus()
    page.evaluate(PASTE, ["\r\n".join(f"- {label}" for label in [*MANY, "An Owl 3"])])
    expect(page.get_by_text("300 added; 1 was there already.")).to_be_visible()
    tabs = page.locator("#groups .tab")
    expect(tabs.first).to_have_attribute("aria-setsize", "300")
    assert tabs.count() < 60
    assert page.locator("#editor .chip").count() == 41
    expect(page.get_by_role("button", name="260 more…")).to_be_visible()
    # An address so long is not sent to the service.
    assert "/lab#?" in page.url
    assert page.evaluate(STEP) < 300
    page.reload()
    expect(tabs.first).to_have_attribute("aria-setsize", "300")

    # Each of them can be reached: by typing, by looking for it, by scrolling.
    tabs.first.focus()
    page.keyboard.press("?")  # lists the keys, and is no letter of a label
    page.get_by_role("dialog", name="Keys").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.type("an owl 5")
    chosen = page.locator('#groups .tab[aria-selected="true"]')
    expect(chosen).to_have_attribute("data-label", "an owl 5")
    expect(chosen).to_be_focused()
    expect(page.locator("#group-name")).to_contain_text("an owl 5")
    page.keyboard.press("End")
    expect(chosen).to_have_attribute("data-label", "a zebra 58")
    expect(chosen).to_be_in_viewport()
    find = page.get_by_label("Find a label")
    find.fill("zebra 2")
    expect(page.get_by_text("15 of 300 groups")).to_be_visible()
    expect(tabs).to_have_count(15)
    find.press("Enter")
    expect(chosen).to_have_attribute("data-label", "a zebra 2")
    find.fill("")
    page.get_by_label("Sort the groups").select_option("count")
    page.get_by_label("Hide empty").check()
    counts = [int(text) for text in page.locator("#groups .tab-count").all_inner_texts()]
    assert counts == sorted(counts, reverse=True)
    assert min(counts) > 0
    assert "sort=count&nonempty=1" in page.url
    page.reload()
    expect(page.get_by_label("Hide empty")).to_be_checked()
    expect(tabs.first.locator(".tab-count")).to_have_text(str(counts[0]))
    page.get_by_label("Hide empty").uncheck()
    accessible(page, "many-labels-desk")

    page.get_by_role("button", name="Columns").click()
    expect(page.locator(".column .cell img").first).to_be_visible()
    assert page.locator(".column").count() < 12
    page.locator("#columns").evaluate("one => { one.scrollLeft = one.scrollWidth; }")
    expect(page.locator('.column[data-label="a zebra 58"], .column[data-label="a wall 58"]').first).to_be_visible()
    assert page.locator(".column").count() < 12
    accessible(page, "many-labels-columns")
    page.get_by_role("button", name="One group").click()
    page.set_viewport_size(SIZES["phone"])
    page.emulate_media(color_scheme="dark")
    page.locator("#groups").scroll_into_view_if_needed()
    assert tabs.count() < 60
    assert page.locator("#groups").bounding_box()["height"] < 320
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    accessible(page, "many-labels-phone")


def test_labels_from_files_and_as_text(page: Any, url: str, tmp_path: Path) -> None:
    page.goto(f"{url}/lab")
    (tmp_path / "animals.csv").write_bytes("\ufeffid;label\r\n1;owl, at night\r\n2;fox\r\n".encode("utf-16"))
    page.locator('#editor input[type="file"]').first.set_input_files(tmp_path / "animals.csv")
    names = page.locator("#editor .chip-text")
    expect(names).to_have_text(["owl, at night", "fox"])
    page.get_by_role("button", name="Undo").click()
    expect(names).to_have_count(0)
    page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["1. Owl\\n2. Fox"], "list.txt", { type: "text/plain" }));
            const drop = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
            document.querySelector("#editor .chips input").dispatchEvent(drop);
        }"""
    )
    expect(names).to_have_text(["Owl", "Fox"])
    (tmp_path / "photo.txt").write_bytes(b"\xff\xd8\xff\xe0\x00\x10")
    page.locator('#editor input[type="file"]').first.set_input_files(tmp_path / "photo.txt")
    expect(page.get_by_text("photo.txt is not UTF-8 text.")).to_be_visible()
    field = page.get_by_label("Labels", exact=True)
    field.press_sequentially('"a red, old car",bear,')
    expect(names).to_have_text(["Owl", "Fox", "a red, old car", "bear"])
    page.get_by_role("button", name="Labels as text").click()
    text = page.get_by_label("One per line", exact=True)
    assert text.input_value() == "Owl\nFox\na red, old car\nbear"
    accessible(page, "labels-as-text")
    text.fill("Owl\n\n  a boat, at sea \nOwl")
    page.get_by_role("button", name="Use these").click()
    expect(names).to_have_text(["Owl", "a boat, at sea"])
    expect(page.locator("#groups .tab")).to_have_count(2)


def test_a_photo_shows_one_of_hundreds(page: Any, url: str, library: Library) -> None:
    library.labels.save("many", MANY)
    said = posted(page)
    page.goto(f"{url}/lab?set=many")
    cells(page).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("img.large")).to_be_visible()
    answers = dialog.locator(".answer")
    expect(dialog.get_by_label("Find a label")).to_be_visible()
    assert answers.count() < 24
    expect(answers.first).to_have_text("1a person")
    page.keyboard.press("2")
    expect(answers.nth(1)).to_have_attribute("aria-pressed", "true")
    find = dialog.get_by_label("Find a label")
    find.fill("zebra 4")
    expect(answers).to_have_count(15)
    expect(answers.nth(2)).to_have_text("3a zebra 24")
    accessible(page, "many-labels-photo")
    find.press("Enter")
    expect(answers.first).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("3")  # the third of what is shown now
    expect(answers.nth(2)).to_have_attribute("aria-pressed", "true")
    assert [label for _, label in said] == ["a cat", "a zebra 4", "a zebra 24"]
    page.set_viewport_size(SIZES["phone"])
    page.emulate_media(color_scheme="dark")
    find.scroll_into_view_if_needed()
    keep(page, "many-labels-photo-phone")


def test_comparing_hundreds(page: Any, url: str, library: Library) -> None:
    library.labels.save("many", MANY)
    page.goto(f"{url}/compare?aset=many&blabel=red&blabel=a+face&blabel=green&blabel=a+thing")
    changes = page.locator(".flip")
    expect(changes.first).to_be_visible()
    total = int(changes.first.get_attribute("aria-setsize"))
    assert total > 12
    assert changes.count() < 24
    assert page.locator("#a-counts .tab").count() < 30
    page.locator("#flips").focus()
    page.keyboard.press("End")
    on = page.locator('.flip[aria-selected="true"]')
    expect(on).to_have_attribute("id", f"flip-{total - 1}")
    expect(on).to_be_in_viewport()
    name = on.locator(".becomes").inner_text()
    page.get_by_label("Find a change").fill(name)
    expect(changes.first).to_contain_text(name)
    assert int(changes.first.get_attribute("aria-setsize")) < total
    accessible(page, "many-labels-compare")


# --- near-duplicates --------------------------------------------------------------------------------------------------


def test_near_duplicates_side_by_side(page: Any, url: str, library: Library, album: Path) -> None:
    """What is decided is remembered, listed, and can be undone and withdrawn."""
    near = album / "coffee smaller.jpg"
    with Image.open(album / "coffee.jpg") as image:
        image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(near)
    try:
        library.sync()
        page.goto(f"{url}/library")
        page.get_by_role("button", name="Find near-duplicates").click()
        group = page.locator(".near-row").filter(has_text="smaller")
        group.get_by_role("button", name="Compare coffee smaller.jpg").click()
        dialog = page.get_by_role("dialog", name="Side by side")
        expect(dialog.locator(".beside-picture img")).to_have_count(2)
        size = dialog.get_by_role("row").filter(has=page.get_by_role("rowheader", name="Size"))
        expect(size).to_contain_text("differs")
        expect(dialog.get_by_role("row").filter(has_text="Folder")).to_contain_text("same")
        expect(dialog.get_by_role("row").filter(has_text="SHA-256")).to_contain_text("differs")
        accessible(page, "near-beside")
        dialog.get_by_role("button", name="coffee smaller.jpg is another picture").click()
        expect(dialog.locator(".beside-said")).to_contain_text("will be kept apart")
        assert [one.kind for one in library.decisions.list()] == ["different"]
        page.locator("#toasts").get_by_role("button", name="Undo").click()
        expect(dialog.locator(".beside-said")).to_have_text("")
        assert library.decisions.list() == []
        dialog.get_by_role("button", name="coffee smaller.jpg is another picture").click()
        expect(dialog.locator(".beside-said")).to_contain_text("will be kept apart")
        before = dialog.locator("h2").inner_text()
        page.keyboard.press("ArrowLeft")
        expect(dialog.locator("h2")).not_to_have_text(before)
        page.set_viewport_size(SIZES["phone"])
        page.emulate_media(color_scheme="dark")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        accessible(page, "near-beside-phone")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Look again").click()
        expect(page.locator("#near [role=status]").first).to_contain_text("Nothing is deleted here.")
        expect(page.locator(".near-row").filter(has_text="smaller")).to_have_count(0)
        page.locator("#near summary").click()
        expect(page.locator(".decision")).to_contain_text("are different")
        accessible(page, "near-decisions")
        page.get_by_role("button", name="Withdraw").click()
        expect(page.locator(".decision")).to_have_count(0)
        page.get_by_role("button", name="Look again").click()
        expect(page.locator(".near-row").filter(has_text="smaller")).to_have_count(1)
    finally:
        near.unlink()

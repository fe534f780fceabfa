"""Adding a folder: any of the service's can be reached, however many there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from tests.page.conftest import Start
from tests.page.looking import SIZES, accessible, expect


def test_of_many_folders_any_can_be_reached(page: Any, start: Start, album: Path, tmp_path: Path) -> None:
    for n in range(450):
        (tmp_path / "disk" / f"roll {n:03}").mkdir(parents=True)
    Image.new("RGB", (64, 48), "green").save(tmp_path / "disk" / "roll 431" / "a.jpg")
    url = start(photo_folders=(str(album), str(tmp_path / "disk")))
    page.goto(f"{url}/library")
    page.get_by_text("Add a folder").click()
    rows, adding = page.locator(".folder-list button"), page.locator(".adding")
    page.get_by_role("button", name=str(tmp_path / "disk")).click()
    # By pages, with keys alone.
    expect(rows).to_have_count(200)
    expect(adding).to_contain_text("The first 200 of 450 folders.")
    page.get_by_role("button", name="Show more").press("Enter")
    expect(rows).to_have_count(400)
    expect(rows.nth(200)).to_be_focused()
    # A folder has come meanwhile: they begin anew, rather than leave one out.
    (tmp_path / "disk" / "roll 000a").mkdir()
    page.get_by_role("button", name="Show more").click()
    expect(adding).to_contain_text("The first 200 of 451 folders.")
    # By a part of the name.
    find = page.get_by_role("searchbox", name="Find a folder")
    find.press_sequentially("ROLL 43")
    expect(rows).to_have_count(10)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    page.set_viewport_size(SIZES["phone"])
    accessible(page, "adding-many-phone")
    find.press_sequentially("x")
    expect(adding).to_contain_text("No folder here is called that.")
    find.press("Backspace")
    find.press_sequentially("1")
    expect(rows).to_have_text(["roll 431"])
    find.press("Enter")
    expect(adding.get_by_role("heading")).to_have_text(str(tmp_path / "disk" / "roll 431"))
    expect(adding).to_contain_text("1 photo here.")
    expect(find).to_have_count(0)

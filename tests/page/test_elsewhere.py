"""A sync of another process, such as the command line's: pages show that it goes on, and how far it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.page.conftest import Start
from tests.page.looking import SIZES, accessible, expect
from tests.processes import Process
from zsindex.library import Library

SYNC = """
import sys
from zsindex.library import Library

def progress(told):
    if told.stage == "encode":
        step(f"{told.done} of {told.total}")

with Library.open(sys.argv[1]) as library:
    library.sync(sys.argv[2], progress=progress)
"""


def look_now(page: Any) -> None:
    with page.expect_response("**/v1/library/now"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
def test_a_sync_of_another_process_is_shown_until_it_ends_or_is_killed(
    page: Any, start: Start, library: Library, tmp_path: Path
) -> None:
    url = start()
    for n in range(9):
        (tmp_path / "more").mkdir(exist_ok=True)
        Image.new("RGB", (64, 64), (25 * n, 200 - 20 * n, 90)).save(tmp_path / "more" / f"{n}.jpg")
    page.goto(f"{url}/search")
    at_work = page.locator(".at-work")
    with Process(SYNC, library.path, tmp_path / "more") as beside:
        assert beside.wait_for_step() == "0 of 9"
        look_now(page)
        expect(at_work).to_have_text("Encoding photos: 0 of 9")
        page.goto(f"{url}/library")
        expect(page.get_by_text("Another program is at it: ")).to_contain_text(f"process {beside.pid} on ")
        expect(page.get_by_text("Another program is at it: ")).to_contain_text("Encoding photos: 0 of 9")
        expect(page.locator("#job")).to_be_empty()
        page.set_viewport_size(SIZES["phone"])
        accessible(page, "sync-elsewhere-phone")
        page.set_viewport_size(SIZES["desk"])
        # One that is asked for here waits for it, and its progress is that of the one that it waits for.
        page.get_by_role("button", name="Sync now").click()
        expect(page.locator("#job")).to_have_text("Waiting for another sync.")
        look_now(page)
        expect(at_work).to_have_text("Encoding photos: 0 of 9")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#job")).to_contain_text("Stopped")
        beside.kill()
        look_now(page)
        expect(page.get_by_text("Another program is at it: ")).to_be_hidden()
        expect(at_work).to_be_hidden()

"""The lab of the page with hundreds of labels: how long its scripts run for each step of the slider, in Chromium.

    python benchmarks/page_labels.py --photos 1000 100000 --labels 20 300 1000
    python benchmarks/page_labels.py --folder ~/photos --page ../other-checkout/zsindex/web/page

Photos are made-up vectors, or with `--folder` those of a folder that `nano` encodes. `--page` measures the page of
another checkout over the same service, in turns with this one. For each number of photos and labels it moves the
slider of scores step by step, in the list and in the columns, and waits for two frames after each. Prints a markdown
table: the time of the script that a step runs at once, median and slowest; the time of all scripts and layout from one
step to the next, as Chromium counts it; and the elements of the document.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import Page, sync_playwright
from synthetic import LABEL_SET, label_names, make

from zsindex.library import Library
from zsindex.records import Candidate
from zsindex.web import Limits, Security, create_app
from zsindex.web.app import loopback_hosts
from zsindex.web.pages import FOLDER
from zsindex.web.serve import listen

DIM = 512
BATCH = 8192
STEPS = 40
MOVE = """async (steps) => {
    const slider = document.getElementById("min");
    const frame = () => new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
    const times = [];
    const elements = [];
    for (let n = 0; n < steps; n += 1) {
        slider.value = String(1 + ((7 * n) % 60));
        const from = performance.now();
        slider.dispatchEvent(new Event("input"));
        times.push(performance.now() - from);
        await frame();
        await frame();
        elements.push(document.querySelectorAll("*").length);
    }
    return [times, Math.max(...elements)];
}"""


def made_up(folder: Path, photos: int, labels: int) -> None:
    """A library of so many random vectors, with a label set."""
    numbers = range(photos)
    files = [numbers[start : start + BATCH] for start in range(0, photos, BATCH)]
    batches = ([Candidate("/made-up", f"{n:07}.jpg", 1, 1) for n in part] for part in files)
    make(folder, batches, dim=DIM, n_labels=labels)


def real(folder: Path, photos: Path, labels: int) -> None:
    """A library of the photos of a folder, with a label set."""
    with Library.open(folder) as library:
        library.sync(photos)
        library.labels.save(LABEL_SET, label_names(labels))


@contextmanager
def served(library: Library, page: Path) -> Iterator[str]:
    """A service in a thread; gives its URL."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    app = create_app(
        library, security=Security(loopback_hosts(port)), limits=Limits(requests_per_s=0), page=page.resolve()
    )
    server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="on", log_config=None, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


def measure(page: Page, url: str, view: str) -> tuple[list[float], float, int]:
    """Milliseconds of each step's own script; of all scripts and layout per step; elements of the document."""
    page.goto(f"{url}/lab?set={LABEL_SET}{view}")
    page.wait_for_selector(".tab, .column")
    page.wait_for_load_state("networkidle")
    page.evaluate(MOVE, 5)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def spent() -> float:
        metrics: Any = session.send("Performance.getMetrics")["metrics"]
        found = {one["name"]: one["value"] for one in metrics}
        return 1000 * float(found["ScriptDuration"] + found["LayoutDuration"] + found["RecalcStyleDuration"])

    before = spent()
    times, elements = page.evaluate(MOVE, STEPS)
    return times, (spent() - before) / STEPS, elements


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[1000], help="of made-up libraries")
    parser.add_argument("--labels", type=int, nargs="+", default=[20, 300, 1000])
    parser.add_argument("--folder", type=Path, help="photos to encode, instead of made-up ones")
    parser.add_argument("--page", type=Path, help="folder of another page, to measure beside this one")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    pages = {"this": FOLDER, **({"other": args.page} if args.page else {})}
    chromium = os.environ.get("ZSINDEX_TEST_CHROMIUM") or shutil.which("chromium")
    print("| photos | labels | view | page | step, median ms | slowest | all scripts and layout | elements |")
    print("|---|---|---|---|---|---|---|---|")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for photos in [None] if args.folder else args.photos:
            for labels in args.labels:
                with tempfile.TemporaryDirectory() as temporary:
                    folder = Path(temporary) / "library"
                    if photos is None:
                        real(folder, args.folder, labels)
                    else:
                        made_up(folder, photos, labels)
                    found: dict[tuple[str, str], list[tuple[list[float], float, int]]] = {}
                    with Library.open(folder) as library:
                        n_photos = len(library.photos.paths())
                        for _ in range(args.rounds):
                            for name, files in pages.items():
                                with served(library, files) as url:
                                    for view, more in (("list", ""), ("columns", "&view=columns")):
                                        page = browser.new_page(viewport={"width": 1280, "height": 800})
                                        found.setdefault((view, name), []).append(measure(page, url, more))
                                        page.close()
                    for (view, name), rounds in found.items():
                        times = [one for of_round, _, _ in rounds for one in of_round]
                        spent = statistics.median(one for _, one, _ in rounds)
                        print(
                            f"| {n_photos:,} | {labels:,} | {view} | {name} | {statistics.median(times):.1f} | "
                            f"{max(times):.1f} | {spent:.1f} | {rounds[-1][2]:,} |",
                            flush=True,
                        )
        browser.close()


if __name__ == "__main__":
    main()

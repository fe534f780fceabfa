"""How long the script of the page's map works for a frame, while it is moved and zoomed. Prints a Markdown table.

    python benchmarks/map_frames.py [--photos 1000 100000]

The library is made up, and so are the places of its photos, in two hundred heaps; coloured by its fifty folders. Needs
Chromium, and the package playwright. “ready” is the time from the address to the coloured map.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import synthetic
import uvicorn
from playwright.sync_api import sync_playwright
from tabulate import tabulate

from zsindex.lab import layout
from zsindex.lab.kept_map import KeptMap
from zsindex.library import Library
from zsindex.records import Candidate
from zsindex.web import Limits, Security, create_app
from zsindex.web.app import loopback_hosts
from zsindex.web.serve import listen

# Notes how long each callback of an animation frame takes.
WATCH = """
window.frames_ms = [];
const really = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (work) => really((at) => {
  const begun = performance.now();
  work(at);
  window.frames_ms.push(performance.now() - begun);
});
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, nargs="+", default=[1000, 100_000], help="default: %(default)s")
    args = parser.parse_args()
    rows = []
    for n in args.photos:
        with tempfile.TemporaryDirectory() as folder:
            rows += [(n, *row) for row in measure(make(Path(folder) / "library", n))]
    head = ["photos", "while", "ready s", "frames", "median ms", "95 % ms"]
    print(tabulate(rows, head, tablefmt="github", intfmt=",", floatfmt=".1f"))


def make(folder: Path, n: int) -> Path:
    files = [Candidate(f"/photos/{i % 50:02}", f"{i:06}.jpg", 1000, i) for i in range(n)]
    synthetic.make(folder, (files[at : at + 5000] for at in range(0, n, 5000)), dim=16, n_labels=2)
    rng = np.random.default_rng(0)
    points = rng.normal(0, 60, (200, 2))[rng.integers(0, 200, n)] + rng.normal(0, 4, (n, 2))
    with Library.open(folder, model="made-up") as library:
        view = library.view()
        ids = np.unique(view.image_ids)
        found = layout.Layout(ids, points[: len(ids)].astype(np.float32), len(ids), len(ids))
        KeptMap(library.session.storage, view.model_id, view.info.fingerprint).save(found)
    return folder


def measure(folder: Path) -> list[tuple[Any, ...]]:
    with Library.open(folder, model="made-up") as library, tempfile.TemporaryDirectory() as thumbnails:
        listening = listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        app = create_app(
            library,
            security=Security(loopback_hosts(port)),
            limits=Limits(requests_per_s=0),
            thumbnails=Path(thumbnails),
        )
        server = uvicorn.Server(uvicorn.Config(app, ws="none", log_config=None, timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            return _look(f"http://127.0.0.1:{port}/map")
        finally:
            server.should_exit = True
            thread.join(20)
            listening.close()


def _look(url: str) -> list[tuple[Any, ...]]:
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        page.add_init_script(WATCH)
        begun = time.perf_counter()
        page.goto(url)
        page.locator("#legend li").first.wait_for()
        ready = time.perf_counter() - begun
        box = page.locator("canvas.points").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        rows = []

        def told(what: str) -> None:
            page.wait_for_timeout(300)
            frames = np.array(page.evaluate("window.frames_ms.splice(0)"))
            rows.append((what, ready, len(frames), float(np.median(frames)), float(np.percentile(frames, 95))))

        page.evaluate("window.frames_ms.length = 0")
        page.mouse.move(x, y)
        page.mouse.down()
        for step in range(60):
            page.mouse.move(x + 3 * step, y + step)
        page.mouse.up()
        told("moved")
        for _ in range(20):
            page.mouse.wheel(0, -60)
            page.wait_for_timeout(20)
        told("zoomed")
        page.locator("#lasso").click()
        page.mouse.move(x, y)
        page.mouse.down()
        for dx, dy in ((200, 0), (200, 200), (0, 200)):
            page.mouse.move(x + dx, y + dy, steps=10)
        page.mouse.up()
        told("lasso")
        browser.close()
        return rows


if __name__ == "__main__":
    main()

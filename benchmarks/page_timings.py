"""How long a person waits for each step on the page, and how much of that is script, in Chromium.

    python benchmarks/page_timings.py --photos 1000 100000 --before ../other-checkout

Libraries of made-up photos: random vectors of 512, times over ten years, and for pictures the demo's, which the
service has at hand for whatever is asked. Each version of zsindex makes its own library and serves it; the versions
take turns. A step lasts from what a person does until what was asked for can be seen; its script is what Chromium's
main thread spent on JavaScript meanwhile, and *blocked* the longest time in which the page answered nothing. Prints a
markdown table of medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from service_load import BATCH, DIM, LABELS_ASKED, N_LABELS, Encoder, serve
from synthetic import label_names, make, unit_vectors

from zsindex.records import Candidate, Facts, FloatArray, Taken, TakenFrom

YEARS = 10
LABELS = urlencode([("label", name) for name in label_names(N_LABELS)[:LABELS_ASKED]])
# Done in the page: act, and look at every frame whether it is there.
STEP = """async ([act, done]) => {
    const frame = () => new Promise(requestAnimationFrame);
    const isDone = new Function("before", `return ${done}`);
    const tasks = [];
    const watch = new PerformanceObserver((list) => tasks.push(...list.getEntries()));
    watch.observe({ type: "longtask" });
    const began = performance.now();
    const before = new Function(act)();
    do { await frame(); } while (!isDone(before));
    const took = performance.now() - began;
    await new Promise((resolve) => setTimeout(resolve, 50));
    tasks.push(...watch.takeRecords());
    return [took, Math.max(0, ...tasks.map((task) => task.duration))];
}"""
LOADED = """async (done) => {
    const isDone = new Function(`return ${done}`);
    while (!isDone()) await new Promise(requestAnimationFrame);
    return performance.now();
}"""
SEEN = "document.querySelector('#grid .cell.seen')"
LARGE = "document.querySelector('dialog.photo[open] img.large')"
BOTTOM = "Math.min(innerHeight, document.querySelector('#stage').getBoundingClientRect().bottom)"
# All that is in view is there.
ALL_SEEN = f"""((cells) => cells.length > 3 && cells.every((cell) => cell.matches('.seen')))(
    [...document.querySelectorAll('#grid .cell')].filter((cell) => {{
        const box = cell.getBoundingClientRect();
        return box.bottom > 100 && box.top < {BOTTOM};
    }}))"""


def facts(path: str) -> Facts:
    """A time that follows from the number of a photo."""
    number, photos = int(Path(path).stem), int(Path(path).parent.parent.name)
    moment = datetime(2010, 1, 1) + number * timedelta(days=365 * YEARS) / photos
    return Facts(taken=Taken(moment, None, TakenFrom.EXIF), width=4000, height=3000, format="JPEG")


def make_library(folder: Path, photos: int) -> None:
    files = [Candidate(f"/made-up/{photos}/{n // BATCH:04}", f"{n:07}.jpg", 1, 1) for n in range(photos)]
    batches = (files[n : n + BATCH] for n in range(0, photos, BATCH))
    make(folder, batches, dim=DIM, n_labels=N_LABELS, facts=facts)


def serve_pictures(folder: str) -> None:
    """Be the service, with pictures for all photos; prints its port."""
    import io
    import zlib

    from PIL import Image

    from zsindex.photos import samples
    from zsindex.web import service

    pictures = dict[tuple[int, int], bytes]()
    for number, file in enumerate(samples.photos()):
        for size in (64, 128, 256, 512, 1024):
            with Image.open(file) as image, io.BytesIO() as out:
                image.convert("RGB").resize((size, 3 * size // 4)).save(out, "JPEG", quality=80)
                pictures[number, size] = out.getvalue()
    kinds = len(pictures) // 5

    def get(_: object, name: str) -> bytes:
        digest, _, size = name.removesuffix(".jpg").rpartition("-")
        return pictures[zlib.crc32(digest.encode()) % kinds, int(size)]

    def encode_texts(_: Encoder, texts: list[str], *, truncate: bool = False) -> FloatArray:
        return unit_vectors(len(texts), DIM, seed=2)  # words that a search is held against

    vars(service)["Thumbnails"].get = get  # whose module is another one in other versions
    Encoder.encode_texts = encode_texts  # type: ignore[method-assign]
    serve(folder, folder)


def installed(checkout: Path, at: Path) -> Path:
    """A folder from which the zsindex of a checkout is imported as it would be installed: with its migrations."""
    package = at / "zsindex"
    package.mkdir(parents=True)
    parts = {file.name: file for file in (checkout / "zsindex").iterdir()}
    for name, there in {**parts, "cli": checkout / "cli", "migrations": checkout / "migrations"}.items():
        (package / name).symlink_to(there)
    return at


def run(version: Path, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """This program, with another zsindex."""
    environment = {**os.environ, "PYTHONPATH": str(version)}
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, encoding="utf-8", **options)


@contextmanager
def serving(version: Path, library: Path) -> Iterator[str]:
    """A running service; its address."""
    process = run(version, "--serve", library, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(120)


class Steps:
    """What a person does, one step after the other, and what it takes."""

    def __init__(self, page: Any, url: str, note: Callable[[str, float, float, float], None]) -> None:
        self._page = page
        self._url = url
        self._note = note
        self._devtools = page.context.new_cdp_session(page)
        self._devtools.send("Performance.enable")

    def _script(self) -> float:
        found = self._devtools.send("Performance.getMetrics")["metrics"]
        return 1000 * next(float(one["value"]) for one in found if one["name"] == "ScriptDuration")

    def load(self, name: str, path: str, done: str) -> None:
        self._page.goto("about:blank")
        self._page.goto(self._url + path, wait_until="commit")
        took = self._page.evaluate(LOADED, done)
        self._note(name, took, self._script(), 0.0)

    def do(self, name: str, act: str, done: str) -> None:
        script = self._script()
        took, blocked = self._page.evaluate(STEP, [act, done])
        self._note(name, took, self._script() - script, blocked)

    def idle(self) -> None:
        self._page.wait_for_timeout(400)


def key(name: str, of: str = "document.activeElement") -> str:
    return f"{of}.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{name}', bubbles: true, cancelable: true }}))"


def photos_first(steps: Steps) -> None:
    steps.load("open the photos, the service just started", "/", ALL_SEEN)
    steps.idle()
    steps.load("open the photos", "/", ALL_SEEN)
    steps.idle()
    end = "const box = document.querySelector('#stage'); box.scrollTop = box.scrollHeight"
    steps.do("scroll to the end", end, f"document.querySelector('#stage').scrollTop > 0 && {ALL_SEEN}")
    jump = "const all = [...document.querySelectorAll('#scrubber button')]; all[all.length >> 1].click()"
    steps.do("jump to a date", jump, ALL_SEEN)
    walk(steps)


def walk(steps: Steps) -> None:
    """Open a photo, look at the next one, and go back."""
    steps.idle()
    steps.do("open a photo", f"{SEEN}.click()", LARGE)
    steps.idle()
    following = f"const before = {LARGE}; {key('ArrowRight', LARGE)}; return before"
    steps.do("the next photo", following, f"{LARGE} && {LARGE} !== before")
    steps.do("close it", "document.querySelector('dialog.photo').close()", SEEN)


def lab(steps: Steps, path: str) -> None:
    steps.load(
        "the lab with 20 labels", f"{path}?{LABELS}", f"document.querySelectorAll('.tab').length >= 20 && {ALL_SEEN}"
    )
    steps.idle()
    slider = "const slider = document.querySelector('#min')"
    step = f"{slider}; slider.value = Number(slider.value) + 1; slider.dispatchEvent(new Event('input'))"
    for _ in range(3):
        steps.do("a step of the slider", step, "true")
    other = "document.querySelector('.tab:not([aria-selected=true]):not(.nothing)').click()"
    steps.do("another group", other, ALL_SEEN)


def search(steps: Steps, number: int) -> None:
    words = f"This is a photo of {label_names(N_LABELS)[number % N_LABELS]}."
    steps.load("open the search", "/search", "document.querySelector('#state .ideas')")
    steps.idle()
    typed = f"document.querySelector('#text').value = {words!r}"
    asked = f"{typed}; document.querySelector('#query').requestSubmit()"
    steps.do("a search in words", asked, ALL_SEEN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="a checkout of another version")
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_library(Path(options.make[0]), int(options.make[1]))
        return
    if options.serve:
        serve_pictures(options.serve)
        return
    from playwright.sync_api import sync_playwright

    versions = {"now": Path(__file__).parents[1], **({"before": options.before.absolute()} if options.before else {})}
    seen: dict[tuple[str, int, str], list[tuple[float, float, float]]] = {}
    program = os.environ.get("ZSINDEX_TEST_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory(prefix="zsindex-") as made, sync_playwright() as playwright:
        versions = {whose: installed(checkout, Path(made, whose)) for whose, checkout in versions.items()}
        for photos in options.photos:
            for whose, version in versions.items():
                if run(version, "--make", Path(made, f"{whose}-{photos}"), photos).wait():
                    sys.exit(f"{whose} could not make a library")
        for photos in options.photos:
            for number in range(options.rounds):
                for whose, version in versions.items():
                    browser = playwright.chromium.launch(
                        executable_path=program, args=["--no-sandbox", "--disable-gpu"]
                    )

                    def note(step: str, *found: float, of: tuple[str, int] = (whose, photos)) -> None:
                        seen.setdefault((step, of[1], of[0]), []).append((found[0], found[1], found[2]))
                        print(*of, step, *(f"{value:.1f}" for value in found), file=sys.stderr, flush=True)

                    with serving(version, Path(made, f"{whose}-{photos}")) as url:
                        page = browser.new_page(viewport={"width": 1280, "height": 800}, bypass_csp=True)
                        page.set_default_timeout(120_000)
                        has_photos = (version / "zsindex/web/page/templates/lab.html").is_file()
                        steps = Steps(page, url, note)
                        if has_photos:
                            photos_first(steps)
                        lab(steps, "/lab" if has_photos else "/")
                        if not has_photos:
                            walk(steps)
                        search(steps, number)
                    browser.close()
    tell(seen, options.photos, list(versions))


def tell(
    seen: dict[tuple[str, int, str], list[tuple[float, float, float]]], photos: list[int], versions: list[str]
) -> None:
    cells = [f"{n:,}{', ' + whose if len(versions) > 1 else ''}" for n in photos for whose in versions]
    print("| step | " + " | ".join(cells) + " |")
    print("|---|" + "---:|" * len(cells))
    for step in dict.fromkeys(step for step, _, _ in seen):
        row = []
        for n in photos:
            for whose in versions:
                found = seen.get((step, n, whose))
                took, script, blocked = (
                    map(statistics.median, zip(*found, strict=True)) if found else (None, None, None)
                )
                row.append("" if took is None else f"{took:,.0f} ({script:.0f}{f', {blocked:.0f}' if blocked else ''})")
        print(f"| {step} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

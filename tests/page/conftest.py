"""A small library that `nano` encoded, a service over it, and a browser that looks at its page.

Debian's ``chromium`` is what it needs beside the packages of the extra ``dev``. Pictures of the pages as they were go
to the folder that ``ZSINDEX_TEST_SCREENSHOTS`` names, where it does.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image

from tests.page.looking import LABELS, LONGEST_MS, SIZES, group_of, playwright
from tests.scenes import damaged
from tests.waiting import until
from zsindex.library import Library
from zsindex.photos import samples
from zsindex.web import Limits, Security, Token, create_app
from zsindex.web.app import loopback_hosts
from zsindex.web.serve import listen

CHROMIUM = os.environ.get("ZSINDEX_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's photos with parts of them, one of them twice, and one that is damaged."""
    folder = tmp_path_factory.mktemp("page") / "album"
    folder.mkdir()
    for file in samples.photos():
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        image.thumbnail((320, 320))
        told = Image.Exif()
        if file.stem == "coffee":
            told[0x010F], told[0x0110] = "Us", "One"
        image.save(folder / f"{file.stem}.jpg", exif=told)
        w, h = image.size
        for n, box in enumerate([(0, 0, w * 2 // 3, h * 2 // 3), (w // 3, h // 3, w, h), (w // 4, 0, w, h)]):
            image.crop(box).save(folder / f"{file.stem} part {n}.jpg")
    shutil.copy(folder / "coffee.jpg", folder / "coffee again.jpg")
    damaged(folder / "damaged.jpg")
    return folder


@pytest.fixture(scope="session")
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
    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def begin(tokens: tuple[Token, ...] = (), **security: Any) -> str:
        listening = listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        guard = Security(loopback_hosts(port), tokens=tokens, **{"photo_folders": (str(album),), **security})
        thumbnails = album.parent / "thumbnails"
        app = create_app(library, security=guard, limits=Limits(requests_per_s=0), thumbnails=thumbnails)
        config = uvicorn.Config(app, ws="none", lifespan="on", log_config=None, timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread, listening))
        until(lambda: server.started)
        return f"http://127.0.0.1:{port}"

    yield begin
    for server, thread, listening in running:
        server.should_exit = True
        thread.join(20)
        listening.close()  # which a server that is stopped while it starts leaves open


@pytest.fixture
def url(start: Start) -> str:
    return start()


@pytest.fixture(scope="package")  # as long as it is there its thread has an event loop, which others need
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium, or another in ZSINDEX_TEST_CHROMIUM")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


# Messages go by themselves after a few seconds, before which a busy machine has not come to look at them.
LASTING = """
    const really = setTimeout;
    globalThis.setTimeout = (work, ms, ...more) => really(work, [4500, 8000].includes(ms) ? 10 * ms : ms, ...more);
"""


@pytest.fixture
def page(chromium: Any, start: Start) -> Iterator[Any]:
    """A page whose scripts must not fail, and which must not break its own content policy. It is closed before the
    service: pages ask again and again, and a connection that is cut in an answer is left to the garbage collector.
    """
    context = chromium.new_context(viewport=SIZES["desk"], reduced_motion="reduce", accept_downloads=True)
    made = context.new_page()
    made.set_default_timeout(LONGEST_MS)
    made.add_init_script(LASTING)
    wrong: list[str] = []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    yield made
    context.close()
    assert wrong == []


@pytest.fixture
def things(library: Library) -> tuple[str, list[tuple[int, str]]]:
    """The largest group of a saved label set "things", and its photos; copies are one."""
    library.labels.save("things", LABELS)
    tally = library.classify(label_set="things", sync=False).tally()
    label = max(tally, key=tally.__getitem__)
    photos = list(dict(group_of(library, label)).items())
    assert len(photos) >= 6
    return label, photos

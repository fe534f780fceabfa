"""``zsindex serve --workers``: several processes at one socket, over a folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.scenes import photo
from tests.waiting import WAIT_S, until
from tests.web.serving import Serving
from zsindex.library import Library
from zsindex.storage.sqlite import lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="asks ps, and sends signals")

LABELS = ["red", "green", "blue", "white"]


@pytest.fixture
def library(new_library: Path, tmp_path: Path) -> Path:
    shutil.copytree(new_library, tmp_path / "library")
    return tmp_path / "library"


def fill(folder: Path, n: int) -> Path:
    for mark in range(n):
        photo(folder / f"{mark:03}.png", (mark, 255 - mark, 9 * mark % 256))
    return folder


def test_workers_serve_until_they_are_told_to_end(library: Path, tmp_path: Path) -> None:
    album = fill(tmp_path / "album", 60)
    slow = tmp_path / "slow"
    slow.write_text("10", encoding="ascii")
    options = ("--library", library, "--photos", album, "--workers", 2, "--batch-size", 4)
    with Serving(*options, slow_while=slow) as serving:
        first, second = until(lambda: len(found := serving.workers()) == 2 and found)
        jobs = [serving.post("/v1/sync", paths=[str(album)])["id"]]
        until(lambda: serving.get(f"/v1/jobs/{jobs[0]}")["progress"])
        # Whichever of them runs it is killed: it is replaced, and another one goes on.
        os.kill(first, signal.SIGKILL)
        until(lambda: len(found := serving.workers()) == 2 and first not in found)
        new = next(pid for pid in serving.workers() if pid != second)
        os.kill(second, signal.SIGKILL)
        until(lambda: second not in (found := serving.workers()) and len(found) == 2 and new in found)
        slow.unlink()
        job = serving.ended(jobs[0])
        assert (job["state"], job["report"]["left"]) == ("done", 0)
        assert "interrupted" in [step["state"] for step in job["history"]]
        answers = [serving.client.post("/v1/classify", json={"labels": LABELS, "limit": 99}) for _ in range(8)]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.headers["etag"] for answer in answers}) == 1
        assert answers[0].json()["total"] == 60
        # Counted together, with what those had counted that were killed.
        said = serving.client.get("/metrics").text
        route = 'route="/v1/classify",status="200"'
        assert f'zsindex_requests_total{{method="POST",{route}}} 8.0' in said
        assert 'zsindex_requests_total{method="POST",route="/v1/sync",status="202"} 1.0' in said
        assert re.search(r"^zsindex_model_loaded [12]\.0$", said, re.MULTILINE)
        assert 'zsindex_cache_total{kind="images",result="miss"}' in said
        assert "zsindex_index_vectors 60.0" in said
        began = serving.workers()
        assert serving.end() == 0
        assert not any(os.path.exists(f"/proc/{pid}") for pid in began)
        assert "Traceback" not in "".join(serving.lines)
    with Library.open(library, create=False) as opened:
        assert opened.check().problems == ()
        assert len(list((library / "index").glob("*.faiss"))) == 1


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_workers_end_with_their_parent(library: Path, how: str) -> None:
    with Serving("--library", library, "--workers", 2, "-q") as serving:
        workers = until(lambda: len(found := serving.workers()) == 2 and found)
        serving.process.send_signal(getattr(signal, how))
        serving.process.wait(WAIT_S)
        until(lambda: not any(map(lock._may_run, workers, [os.uname().nodename] * 2)))
        assert "Traceback" not in "".join(serving.lines)


def test_workers_without_a_library_are_not_started_for_ever(library: Path) -> None:
    with Serving("--library", library, "--workers", 1 + 1, "-q") as serving:
        worker = until(lambda: len(found := serving.workers()) == 2 and found[0])
        (library / "library.db").unlink()
        os.kill(worker, signal.SIGKILL)
        # One that dies as it is asked for a sign of life is waited for, for a minute.
        assert serving.process.wait(180) == 1
        serving._reading.join(WAIT_S)
        assert "the library could not be opened; the log says why" in serving.lines[-1]
        assert any("library not opened" in line for line in serving.lines)

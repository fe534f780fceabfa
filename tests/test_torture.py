"""The part of the torture that CI runs; all of it is `python -m tests.torture`, and docs/reliability.md tells of it."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias
from unittest import mock

import pytest

from tests.torture.__main__ import CAMPAIGNS
from tests.torture.apart import apart
from tests.torture.campaign import Campaign, Case, run
from tests.torture.growth import Growth
from tests.torture.pictures import Pictures
from tests.torture.power import Disk, Order
from tests.torture.shim import Logged
from tests.unprivileged import reachable_folder
from zsindex.exchange import run_files
from zsindex.models.openvino import runtime
from zsindex.photos import sandbox
from zsindex.records import DecodeLimits
from zsindex.storage import room
from zsindex.storage.sqlite import fast_reads

# Fixed, so that what CI says of a change depends on the change; campaigns by hand draw another one each time.
SEED = int(os.environ.get("ZSINDEX_TORTURE_SEED", "14"))


Running: TypeAlias = "dict[str, Future[subprocess.CompletedProcess[str]]]"


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """The campaigns that are asked for, two at a time: most keep one core busy."""
    asked = [item for item in request.session.items if isinstance(item, pytest.Function)]
    names = [item.callspec.params["name"] for item in asked if item.function is test_campaign]
    with reachable_folder() as work, ThreadPoolExecutor(2) as pool:  # some cases are somebody else's
        yield {name: pool.submit(in_ci, name, work) for name in names}
        pool.shutdown(cancel_futures=True)


def in_ci(name: str, work: Path) -> subprocess.CompletedProcess[str]:
    asked = [sys.executable, "-m", "tests.torture", "--ci", "--campaign", name, "--seed", str(SEED)]
    environment = {**os.environ, "TMPDIR": str(work)}
    return subprocess.run(asked, env=environment, capture_output=True, encoding="utf-8", timeout=600, check=False)


@pytest.mark.parametrize("name", [one.name for one in CAMPAIGNS])
def test_campaign(name: str, running: Running) -> None:
    done = running[name].result()
    if done.returncode == 0 and " 0      -" in done.stdout:
        pytest.skip(done.stdout.splitlines()[-1])
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


# --- growth ---------------------------------------------------------------------------------------------------------


def _nothing_goes(*args: object, **named: object) -> int:
    return 0


def _no_use(connection: sqlite3.Connection, asked: Sequence[int]) -> tuple[int, int]:
    return record_uses(connection, [])


record_uses = fast_reads._record_uses


@pytest.mark.parametrize(
    ("what", "where", "name", "instead"),
    [
        ("prompts", fast_reads, "_make_room", _nothing_goes),
        ("still asked for", fast_reads, "_record_uses", _no_use),
        ("uploads", room, "forget_uploads", _nothing_goes),
        ("answers of runs", run_files, "make_room", _nothing_goes),
        ("exports", runtime, "make_room", _nothing_goes),
    ],
)
def test_growth_finds_what_does_not_go(what: str, where: object, name: str, instead: object, tmp_path: Path) -> None:
    campaign = Growth(tmp_path, 1, partial(mock.patch.object, where, name, instead))
    found = next(found for case in islice(campaign.cases(), 3) if (found := case.run()))
    assert all(what in one for one in found)


def test_campaigns_find_what_is_planted() -> None:
    asked = [sys.executable, "-m", "tests.torture.planted"]
    with reachable_folder() as work:
        environment = {**os.environ, "TMPDIR": str(work)}
        done = subprocess.run(asked, env=environment, capture_output=True, encoding="utf-8", timeout=600, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


# --- the harness itself -----------------------------------------------------------------------------------------------


class Numbers(Campaign):
    """Cases 0 to 9; multiples of 4 go wrong."""

    name = "numbers"
    about = "counts"
    in_ci = 5

    def cases(self) -> Iterator[Case]:
        for number in self.random.sample(range(10), 10):
            yield Case("even" if number % 2 == 0 else "odd", str(number), partial(self.judge, number))

    def judge(self, number: int) -> list[str]:
        return ["divides by 4"] if number % 4 == 0 else []


def test_all_cases_are_run_counted_and_judged(tmp_path: Path) -> None:
    outcome = run(Numbers(tmp_path, 1), limit=None, until=None)
    assert outcome.kinds == {"even": 5, "odd": 5}
    assert outcome.exhausted
    assert sorted(found.case.name for found in outcome.found) == ["0", "4", "8"]


def test_what_was_found_is_found_again_by_its_number(tmp_path: Path) -> None:
    for found in run(Numbers(tmp_path, 1), limit=None, until=None).found:
        again = run(Numbers(tmp_path, 1), limit=None, until=None, only=found.number)
        assert [one.case.name for one in again.found] == [found.case.name]
        assert again.cases == 1


def test_a_limit_and_an_instant_end_it(tmp_path: Path) -> None:
    assert run(Numbers(tmp_path, 1), limit=3, until=None).cases == 3
    outcome = run(Numbers(tmp_path, 1), limit=None, until=time.monotonic() - 1)
    assert (outcome.cases, outcome.exhausted) == (0, False)


_PLANTED = """
import os, resource, signal, time, zlib
from PIL import ImageOps
from zsindex.photos import decode

real, hits = decode.decode, [0]

def planted(data, **options):
    is_hit = zlib.crc32(data) % 8 == 0 and len(data) != PROBE
    hits[0] += is_hit
    if WHEN:
        FAULT
    return real(data, **options)

decode.decode = planted
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of memory that hold")
@pytest.mark.parametrize(
    ("when", "fault", "says"),
    [
        ("is_hit", "os.kill(os.getpid(), signal.SIGSEGV)", r"its decoder crashed \(SIGSEGV\)"),
        ("is_hit", "time.sleep(1000)", "decoding it takes more than 0.4 s"),
        (
            "is_hit",
            "signal.signal(signal.SIGALRM, signal.SIG_IGN); time.sleep(1000)",
            "decoding it takes more than 0.4 s",
        ),
        (
            "is_hit and hits[0] == 1",
            "resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); bytes(b'x' * (300 << 20))",
            r"has had \d+ MB of memory",
        ),
        (
            "hits[0]",
            "found = real(data, **options); found.image.putpixel((0, 0), 77); return found",
            "a good photo is decoded otherwise",
        ),
        ("is_hit", "raise LookupError('a mistake')", "LookupError: a mistake"),
    ],
)
def test_a_decoder_that_is_made_to_fail_is_found(
    when: str, fault: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 0.4 if "sleep" in fault else 20
    monkeypatch.setattr(Pictures, "limits", DecodeLimits(seconds, memory_bytes=64 << 20))
    campaign = Pictures(tmp_path, 1)
    folder = tmp_path / "planted"
    folder.mkdir()
    planted = _PLANTED.replace("WHEN", when).replace("FAULT", fault).replace("PROBE", str(len(campaign._probe)))
    (folder / "sitecustomize.py").write_text(planted, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sandbox, "_forking", None)
    for name in ("_GRACE_S", "_ENDING_S") if "SIGALRM" in fault else ():
        monkeypatch.setattr(sandbox, name, 0.3)
    try:
        found = run(campaign, limit=60, until=None).found
    finally:
        assert sandbox._forking is not None
        sandbox._forking.close()
    assert any(re.search(says, one.what) for one in found), found


def test_a_process_apart_returns_raises_dies_and_hangs_alone() -> None:
    assert apart(lambda: 3, timeout_s=30).value == 3
    assert isinstance(apart(lambda: 1 // 0, timeout_s=30).error, ZeroDivisionError)
    assert apart(lambda: os.kill(os.getpid(), 9), timeout_s=30).signal == 9
    assert apart(lambda: time.sleep(60), timeout_s=0.2).hung


# Faults in zsindex, each with cases that must find it, and what is said of it. A harness that finds nothing is none.
PLANTED = {
    "texts": (
        """
from zsindex.exchange import xmp
from zsindex.lab import truth
remove = xmp.remove
xmp.remove = lambda data, added, made: (data, remove(data, added, made)[1])
def from_csv(text, **options):
    raise KeyError(text[:10])
truth.from_csv = from_csv
""",
        ("--cases", "90"),
        ("not what it was, with what was added taken away again", "KeyError comes out"),
    ),
    "requests": (
        """
from zsindex.errors import BadText
from zsindex.services.labels import Labels
from zsindex.services.photos import Photos
remove = Labels.remove
def removed(self, name):
    remove(self, name)
    raise BadText("x", "what was removed all the same")
Labels.remove = removed
def get(self, image_id):
    raise KeyError(image_id)
Photos.get = get
from tests.torture.requests import Requests
Requests._makers = lambda self: {"as described": lambda chance, good: good}
""",
        ("--cases", "600"),
        ("and the library has changed", "500"),
    ),
    "environment": (
        """
from zsindex.storage.sqlite import failures, making
failure = making.failure
def forgetting(folder, action, error):
    (folder / "library.db").unlink(missing_ok=True)
    return failure(folder, action, error)
making.failure = failures.failure = forgetting
from tests.torture.environment import Environment
troubles = Environment._troubles
Environment._troubles = lambda self: {"open files": troubles(self)["open files"]}
""",
        ("--cases", "6"),
        ("lost: ",),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    fault, options, said = PLANTED[name]
    program = f"{fault}\nfrom tests.torture.__main__ import main\nmain()"
    asked = [sys.executable, "-c", program, "--campaign", name, "--seed", "14", *options]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(asked, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    assert [one for one in said if one not in done.stdout] == []


# --- the disk after a power cut ---------------------------------------------------------------------------------------


def disk_after(tmp_path: Path, order: Order, *entries: tuple[str, str, bytes], ignores_syncs: bool = False) -> Disk:
    """A disk with a file `old`, after operations: what, on which file, and the data or the other name."""
    (tmp_path / "saved").mkdir(exist_ok=True)
    (tmp_path / "saved" / "old").write_bytes(b"old")
    folder = tmp_path / "folder"
    disk = Disk(folder, tmp_path / "saved", {1: "old"}, ignores_syncs=ignores_syncs)
    if order == Order.ORDERED:
        disk.names_sync_together()
    inodes = {"old": 1}
    sizes = {1: 3}
    for what, name, data in entries:
        if what == "rename":
            inodes[data.decode()] = inodes.pop(name)
        inode = inodes.setdefault(name, len(inodes) + 1)
        at = sizes.get(inode, 0)
        if what == "write":
            sizes[inode] = at + len(data)
        path = str(folder / name) if name else str(folder)
        disk.do(Logged(what, inode if name else 99, path, str(folder / data.decode()), at, data))
    return disk


def cuts_of(disk: Disk, count: int = 200) -> list[dict[str, bytes | None]]:
    return [disk.cut(random.Random(seed)) for seed in range(count)]


@pytest.mark.parametrize("order", Order)
def test_what_was_synced_is_there_after_each_power_cut(tmp_path: Path, order: Order) -> None:
    disk = disk_after(
        tmp_path, order, ("create", "new", b""), ("write", "new", b"x" * 2000), ("sync", "new", b""), ("sync", "", b"")
    )
    assert all(found == {"old": b"old", "new": b"x" * 2000} for found in cuts_of(disk))
    careless = disk_after(tmp_path, order, ("write", "old", b"er"), ("sync", "old", b""), ignores_syncs=True)
    assert {b"old", b"older"} <= {found["old"] for found in cuts_of(careless)}


@pytest.mark.parametrize("order", Order)
def test_what_was_not_synced_may_be_lost_or_torn(tmp_path: Path, order: Order) -> None:
    disk = disk_after(tmp_path, order, ("create", "new", b""), ("write", "new", b"a" * 512 + b"b" * 512))
    found = {one.get("new", b"no file") for one in cuts_of(disk)}
    assert found == {b"no file", b"", b"a" * 512, b"a" * 512 + b"b" * 512}


def test_writes_in_order_are_a_beginning_and_others_are_any(tmp_path: Path) -> None:
    entries = [("write", "old", b"1"), ("write", "old", b"2")]
    ordered = {one["old"] for one in cuts_of(disk_after(tmp_path, Order.ORDERED, *entries))}
    strict = {one["old"] for one in cuts_of(disk_after(tmp_path, Order.STRICT, *entries))}
    assert ordered == {b"old", b"old1", b"old12"}
    assert strict == {b"old", b"old1", b"old\x002", b"old12"}


def test_a_name_is_sure_after_a_sync_of_any_file_or_only_of_its_folder(tmp_path: Path) -> None:
    entries = [("create", "new", b""), ("write", "new", b"new"), ("sync", "new", b""), ("rename", "new", b"old")]
    for order in Order:
        found = {one["old"] for one in cuts_of(disk_after(tmp_path, order, *entries))}
        assert found == {b"old", b"new"}
    entries.append(("sync", "old", b""))
    found = {one["old"] for one in cuts_of(disk_after(tmp_path, Order.ORDERED, *entries))}
    assert found == {b"new"}
    found = {one["old"] for one in cuts_of(disk_after(tmp_path, Order.STRICT, *entries))}
    assert found == {b"old", b"new"}
    entries.append(("sync", "", b""))
    assert all(one == {"old": b"new"} for one in cuts_of(disk_after(tmp_path, Order.STRICT, *entries)))

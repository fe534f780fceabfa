"""What grows: how it is seen, what goes from it, and what never does."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from zsindex.cli import cli

from tests import photos
from tests.fakes import FakeEncoder
from tests.libraries import open_storage, paint, stored
from zsindex import config
from zsindex.errors import LibraryBusy, ZsindexError
from zsindex.library import Library
from zsindex.models.openvino import runtime
from zsindex.photos.thumbnails import Thumbnails
from zsindex.services import neighbours
from zsindex.session import embedding
from zsindex.session.embedding import ImagesForgotten
from zsindex.storage import uses
from zsindex.storage.sealing import reseal
from zsindex.storage.seals import Kind
from zsindex.storage.tables import runs

DAY = 20_000


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    monkeypatch.setenv("ZSINDEX_CACHE", str(tmp_path / "cache"))
    for n, rgb in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        paint(tmp_path / "photos" / f"{n}.png", rgb)
    with Library.open(tmp_path / "library", encoder=FakeEncoder(), workers=1) as library:
        library.sync([tmp_path / "photos"])
        yield library


def run(library: Library, *args: str) -> str:
    result = CliRunner().invoke(cli, [*args, "--library", str(library.path)])
    assert result.exit_code == 0, result.output
    return result.stdout


def on_day(monkeypatch: pytest.MonkeyPatch, day: int) -> None:
    monkeypatch.setattr(uses, "today", lambda: day)


# --- how it is seen ---------------------------------------------------------------------------------------------------


@pytest.mark.folder("it alone has backups")
def test_all_that_grows_is_listed_with_what_it_takes(library: Library) -> None:
    library.classify(["red", "blue"], record=True)
    library.embed_images(photos.solid("white"))
    library.labels.save("x", ["red"])
    (library.path / "library.db.backup-0001-x").write_bytes(b"12345")
    rooms = {room.kind: room for room in library.room()}
    counts = {kind: room.count for kind, room in rooms.items() if room.count}
    assert counts == {"prompts": 2, "uploads": 1, "label sets": 1, "runs": 1, "stored answers": 1, "backups": 1}
    assert rooms["backups"].bytes == 5
    assert rooms["uploads"].bytes == 32
    lines = run(library, "status", "--room").splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == list(rooms)
    assert any("1,000,000, 1,024 MB, 365 days unused" in line and "zsindex prune --prompts" in line for line in lines)


def test_the_documentation_has_all_of_it_and_every_setting(library: Library) -> None:
    page = (Path(__file__).parent.parent / "docs" / "storage.md").read_text(encoding="utf-8")
    table = page.partition("## What grows")[2].partition("\n## ")[0]
    for room in library.room():
        assert f"| {room.kind} |" in table
    limits = [limit for limit in vars(config).values() if isinstance(limit, config.Limit)]
    assert len(limits) == 7
    for limit in limits:
        assert f"`{limit.variable}`" in table
        assert f"{limit.default:,}" in table


@pytest.mark.folder("it alone has backups")
def test_prune_says_what_it_would_free_and_frees_it(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    on_day(monkeypatch, DAY)
    library.embed_texts(["one", "two"])
    on_day(monkeypatch, DAY + 5)
    library.embed_texts(["three", "two"])
    (library.path / "library.db.backup-0001-x").write_bytes(b"12345")
    (library.path / "index" / "left.faiss").write_bytes(b"123")
    prompt = 32 + uses.BESIDE_TEXT + 2 * len("one")
    asked = ["prune", "--prompts-unused", "4", "--backups"]
    said = run(library, *asked, "--dry-run")
    assert f"1 prompt ({prompt} B), 0 models; and remove 1 file (3 B) that no index needs, 1 backup (5 B)" in said
    plan = library.prune(unused_days=4, backups=True, dry_run=True)
    done = library.prune(unused_days=4, backups=True)
    assert {**plan.to_dict(), "dry_run": False} == done.to_dict()
    assert not list(library.path.glob("*backup*"))
    assert not (library.path / "index" / "left.faiss").exists()
    assert library.prune(most_prompts=1, dry_run=True).prompts == 1
    assert run(library, "prune") == "nothing to forget\n"


# --- what goes --------------------------------------------------------------------------------------------------------


def test_a_sync_forgets_old_prompts_and_says_so(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSINDEX_PROMPTS_DAYS", "10")
    on_day(monkeypatch, DAY)
    library.embed_texts(["old", "still asked for"])
    for day in range(1, 13):
        on_day(monkeypatch, DAY + day)
        library.embed_texts(["still asked for"])
        library.session.storage.reads.record_uses()
    report = library.sync()
    assert (report.forgotten_prompts, report.forgotten_images) == (1, 0)
    assert library.sync().forgotten_prompts == 0
    before = library.usage["prompts_encoded"]
    library.embed_texts(["still asked for"])
    assert library.usage["prompts_encoded"] == before


def test_a_setting_that_is_no_number_is_said_before_the_sync(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSINDEX_UPLOADS_MB", "much")
    with pytest.raises(ZsindexError, match="ZSINDEX_UPLOADS_MB must be a positive whole number of MB, not 'much'"):
        library.sync()


def test_uploads_go_without_a_sync_but_not_beside_one(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSINDEX_UPLOADS_MB", "100")
    monkeypatch.setenv("ZSINDEX_PROMPTS_MB", "100000")
    monkeypatch.setattr(config, "MB", 1)
    for colour in ("white", "black", "yellow"):
        library.embed_images(photos.solid(colour))
    with pytest.warns(ImagesForgotten, match="2 images that are in no folder"):
        library.embed_images(photos.solid("orange"))
    another = library.session.storage.again()
    with closing(another), another.sync_lock.hold("sync"):
        for colour in ("gray", "pink", "brown"):
            library.embed_images(photos.solid(colour))
        with pytest.raises(LibraryBusy), library.session.storage.sync_lock.hold("x", wait=False):
            pass
    assert library.sync().forgotten_images == 3
    assert library.status().images == 3
    assert library.check().ok


def test_a_library_that_stays_open_records_uses_now_and_then(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    on_day(monkeypatch, DAY)
    library.embed_texts(["x"])
    on_day(monkeypatch, DAY + 1)

    def day_of_use() -> int:
        (row,) = (line for line in stored(library.path) if "prompt_uses" in line and "CREATE" not in line)
        return int(re.findall(r"\d+", row)[2])

    library.embed_texts(["x"])
    assert day_of_use() == DAY
    later = time.monotonic() + embedding.RECORD_USES_EVERY_S
    monkeypatch.setattr(embedding.time, "monotonic", lambda: later + 1)
    library.embed_texts(["x"])
    assert day_of_use() == DAY + 1


def test_a_new_run_stays_where_all_others_are_of_the_future(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSINDEX_RUNS", "3")
    for n in range(3):
        library.classify(["red"], template=f"{n} {{}}", record=True)
    with open_storage(library.path) as storage, storage.database.write("go ahead in time") as connection:
        connection.execute(sa.update(runs).values(created_at=datetime(2999, 1, 1).isoformat()))
        keys = list(connection.execute(sa.select(runs.c.key)).scalars())
        reseal(connection, storage.database.dialect, Kind.RUN, keys)
    for n in range(3, 6):
        key = library.classify(["red"], template=f"{n} {{}}", record=True).run.key
        assert library.runs.list()[0].key == key
        assert len(library.runs.list()) == 3


def test_exports_go_that_were_not_used_for_the_longest_and_what_killed_ones_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSINDEX_EXPORTS_MB", "250")
    monkeypatch.setattr(config, "MB", 1)

    def made(name: str, hours: float) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file, size in ((runtime.MANIFEST, 0), ("image.bin", 100)):
            (folder / file).write_bytes(bytes(size))
        for place in (*folder.iterdir(), folder):
            os.utime(place, (time.time() - hours * 3600,) * 2)
        return folder

    old, newest, middle = made("0" * 16, 30), made("1" * 16, 1), made("2" * 16, 20)
    left, in_work = made(f"{'0' * 16}-abc", 2), made(f"{'1' * 16}-abc.old", 0.5)
    others = made("other", 1000)
    runtime._note_use(old)
    runtime._remove_abandoned(tmp_path)
    runtime.make_room(tmp_path, keep=newest)
    assert sorted(tmp_path.iterdir()) == sorted([old, newest, in_work, others])
    assert not middle.exists()
    assert not left.exists()
    runtime._note_use(newest)  # once a day
    assert time.time() - (newest / runtime.MANIFEST).stat().st_mtime > 3000


def test_services_that_share_thumbnails_see_each_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsindex.photos.thumbnails._LOOK_AGAIN", 4)
    one, other = (Thumbnails(tmp_path, max_bytes=1000) for _ in range(2))
    for n in range(12):
        one.add(f"a{n:x}.jpg", bytes(100))
        other.add(f"b{n:x}.jpg", bytes(100))
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.jpg")) <= 1000 + 4 * 132


def test_looks_at_photos_are_remembered_of_so_many(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (250, 245):
        paint(library.path.parent / "photos" / f"red {n}.png", (n, 0, 0))
    library.sync()
    monkeypatch.setattr(neighbours, "MOST_APPEARANCES", 1)
    found = library.neighbours.duplicates(threshold=0.9)
    assert len(library.session.appearances) == 1
    assert library.neighbours.duplicates(threshold=0.9) == found

"""Nothing is done twice, and nothing that goes while somebody looks is an error."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeEncoder
from tests.scenes import damaged, photo
from zsindex.errors import LibraryBusy
from zsindex.library import Library
from zsindex.photos import scan
from zsindex.services.unknown import Unknown
from zsindex.storage.sqlite.lock import FolderLock

LABELS = ["red", "blue"]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("red", "blue"):
        photo(tmp_path / "album" / f"{name}.png", name)
    return tmp_path / "album"


@pytest.fixture
def library(tmp_path: Path, new_library: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    monkeypatch.setattr("zsindex.storage.sqlite.database.SYNC_TIMEOUT_S", 0.05)
    shutil.copytree(new_library, tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as opened:
        opened.sync(album)
        yield opened


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was scanned."""
    found: list[Any] = []
    really = scan.scan

    def scanned(paths: Any, **options: Any) -> Any:
        found.append(paths)
        return really(paths, **options)

    monkeypatch.setattr(scan, "scan", scanned)
    return found


def test_a_new_photo_is_looked_for_once(library: Library, album: Path, scans: list[Any]) -> None:
    new = photo(album / "new.png", "green")
    found = library.classify(LABELS, paths=[new])
    assert (found.paths, found.encoded, len(scans)) == ([str(new)], 1, 1)
    assert library.classify(LABELS, paths=[new]).encoded == 0
    assert len(scans) == 2


def test_what_vanished_is_noticed_in_one_look(library: Library, album: Path, scans: list[Any]) -> None:
    (album / "red.png").unlink()
    assert library.classify(LABELS, paths=album).paths == [str(album / "blue.png")]
    assert len(scans) == 1
    assert library.status().missing == 1


@pytest.mark.folder("on a server syncs go on beside each other")
def test_only_what_changes_something_waits_for_another_sync(library: Library, album: Path) -> None:
    with FolderLock(library.path, "sync", timeout_s=0).hold("sync"):
        assert len(library.classify(LABELS, paths=album)) == 2
        photo(album / "new.png", "green")
        with pytest.raises(LibraryBusy):
            library.classify(LABELS, paths=album)
        assert library.status().files == 2
    assert len(library.classify(LABELS, paths=album)) == 3


@pytest.mark.folder("on a server syncs go on beside each other")
def test_what_cannot_be_stored_yet_changes_nothing(library: Library, album: Path) -> None:
    (album / "red.png").unlink()
    damaged(album / "no.png")
    with FolderLock(library.path, "sync", timeout_s=0).hold("sync"), pytest.raises(LibraryBusy):
        library.classify(LABELS, paths=album)
    assert library.status().missing == 0
    library.classify(LABELS, paths=album)
    assert (library.status().missing, len(library.photos.skipped())) == (1, 1)


def test_each_method_of_unknown_runs_once(library: Library, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    really = Unknown.knownness

    def knownness(self: Unknown, labels: Any, method: str = "neglabel", **options: Any) -> Any:
        asked.append(method)
        return really(self, labels, method, **options)

    monkeypatch.setattr(Unknown, "knownness", knownness)
    truth = {str(album / "red.png"): "red", str(album / "blue.png"): "something else"}
    report = library.unknown.evaluate(["red", "green"], truth, methods=("mcm", "softmax"))
    assert asked == ["mcm", "softmax"]
    assert [one.method for one in report.methods] == asked


def test_the_status_does_not_mind_what_goes_meanwhile(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    before = library.status()
    glob = Path.glob

    def with_gone(self: Path, pattern: str) -> Iterator[Path]:
        yield from glob(self, pattern)
        yield self / "library.db-gone"

    monkeypatch.setattr(Path, "glob", with_gone)
    assert library.status() == before

"""Every storage: a library over it, which needs nothing of it but the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeEncoder
from tests.libraries import paint
from tests.storage.implementations import Implementation
from zsindex.errors import LibraryReadOnly
from zsindex.library import Library
from zsindex.session.session import Session

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
LABELS = ["red", "green", "blue"]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name, colour in (("warm/1", RED), ("warm/copy of 1", RED), ("cold/1", BLUE), ("cold/2", GREEN)):
        paint(tmp_path / "album" / f"{name}.png", colour)
    return tmp_path / "album"


@pytest.fixture
def opened(library: Implementation) -> Iterator[Library]:
    with Library(Session(library.open(), encoder=FakeEncoder())) as opened:
        yield opened


def test_photos_are_synced_and_asked_about(library: Implementation, opened: Library, album: Path) -> None:
    report = opened.sync(album)
    assert (report.added, report.encoded) == (4, 3)
    assert [photo.label for photo in opened.classify(LABELS)] == ["blue", "green", "red", "red"]
    assert [Path(hit.path).parent.name for hit in opened.search("red", top=1)] == ["warm"]
    assert opened.similar(album / "cold" / "2.png", top=1)[0].path == str(album / "cold" / "1.png")
    again = opened.sync(album)
    assert (again.unchanged, again.encoded, again.to_read) == (4, 0, 0)

    (album / "warm" / "1.png").rename(album / "moved.png")
    assert opened.sync(album).moved == 1
    (album / "cold" / "2.png").unlink()
    assert opened.sync(album).missing == 1
    assert opened.prune().vectors == 1
    assert opened.check().problems == ()
    assert len(opened.photos.paths()) == 3
    status = opened.status()
    assert (status.files, status.images, status.duplicates, status.missing) == (3, 2, 1, 0)

    with Library(Session(library.open(read_only=True), encoder=FakeEncoder())) as reader:
        assert reader.read_only
        assert {photo.label for photo in reader.classify(LABELS)} == {"red", "blue"}
        assert reader.usage["images_encoded"] == reader.usage["prompts_encoded"] == 0
        with pytest.raises(LibraryReadOnly):
            reader.sync(album)


def test_the_label_lab_is_kept(library: Implementation, opened: Library, album: Path) -> None:
    opened.sync(album)
    opened.labels.save("colours", LABELS)
    opened.corrections.add("colours", album / "cold" / "1.png", "red")
    opened.thresholds.choose("colours", "red", rate=0.5)
    result = opened.classify(label_set="colours", record=True)
    assert opened.classify(label_set="colours", with_corrections="gda").run.key != result.run.key
    with Library(Session(library.open(), encoder=FakeEncoder())) as other:
        assert other.labels.get("colours").labels == tuple(LABELS)
        assert [photo.paths for photo in other.corrections.list("colours")] == [(str(album / "cold" / "1.png"),)]
        assert [run.key for run in other.runs.list()] == [result.run.key]
        assert other.runs.repeat(result.run.key).result.run.key == result.run.key
        assert other.corrections.undo("colours") == 1
        other.labels.remove("colours")
    assert opened.labels.list() == []


def test_vectors_go_out_and_in_beside_another_handle(opened: Library, album: Path, tmp_path: Path) -> None:
    opened.sync(album)
    opened.vectors.export_to(tmp_path / "out")
    with opened.with_model("fake") as same:
        assert len(same.photos.paths()) == 4
    report = opened.vectors.import_from(tmp_path / "out")
    assert (report.stored, report.kept) == (0, 4)

"""Kills in the middle of a sync, and two processes at once: nothing is lost, and nothing is done twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.kill_test import KillTest
from tests.fakes import COLOURS, FakeEncoder
from tests.libraries import paint
from tests.processes import Process
from zsindex.errors import LibraryBusy, NoVectors
from zsindex.library import Library
from zsindex.storage.sqlite import database


def test_kills_in_the_middle_of_a_sync_cost_no_more_than_the_batch_in_flight(tmp_path: Path) -> None:
    outcome = KillTest(tmp_path, batch_size=8, seed=1).run(kills=5, photos_per_round=32)
    assert outcome.kills.total() == 5
    assert outcome.kills["encode"] > 0
    assert outcome.photos >= 190
    assert (outcome.lost, outcome.unfinished, outcome.problems) == (0, 0, [])
    assert outcome.encodes >= outcome.images
    assert outcome.most_repeated <= 8
    assert outcome.repeated <= 5 * 8


# Syncs a folder; before each batch it encodes it tells the test and waits.
SLOW_SYNC = """
import sys
from pathlib import Path
from tests.fakes import FakeEncoder
from zsindex.library import Library

class SlowEncoder(FakeEncoder):
    def encode_images(self, pixels):
        step("encoding")
        return super().encode_images(pixels)

with Library.open(Path(sys.argv[1]), encoder=SlowEncoder(), batch_size=2) as library:
    print(library.sync([Path(sys.argv[2])]).encoded)
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, rgb in COLOURS.items():
        paint(tmp_path / "photos" / f"{name}.png", rgb)
    return tmp_path / "photos"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(database, "SYNC_TIMEOUT_S", 0.1)
    return Library.open(tmp_path / "library", encoder=FakeEncoder())


@pytest.mark.folder("on a server syncs go on beside each other: tests/test_server.py")
def test_a_second_sync_is_refused_and_names_the_first(library: Library, photos: Path) -> None:
    with library, Process(SLOW_SYNC, library.path, photos) as first:
        first.wait_for_step()
        with pytest.raises(
            LibraryBusy, match=f"process {first.pid} on .*: sync, since .*try again when it has finished"
        ):
            library.sync([photos])
        assert library.sync([photos], dry_run=True).to_read == len(COLOURS)  # looking is allowed
        assert first.finish().split()[-1] == str(len(COLOURS))
        report = library.sync([photos])
        assert (report.encoded, report.unchanged) == (0, len(COLOURS))


def test_questions_are_answered_and_prompts_stored_while_others_sync(library: Library, photos: Path) -> None:
    with library, Process(SLOW_SYNC, library.path, photos) as first:
        first.wait_for_step()
        with pytest.raises(NoVectors):
            library.classify(["red", "blue"])
        first.go()
        first.wait_for_step()  # the first batch is stored
        answers = library.classify(["black", "blue", "something new"], template="{}")
        assert [(Path(a.path).stem, a.label) for a in answers] == [("black", "black"), ("blue", "blue")]
        vectors = library.embed_texts(["another text"])
        first.finish()
    with Library.open(library.path, encoder=FakeEncoder()) as reopened:
        assert np.array_equal(reopened.embed_texts(["another text"]), vectors)
        assert len(reopened.classify(["red", "blue"])) == len(COLOURS)
        assert reopened.check().problems == ()


def test_a_sync_can_follow_one_that_was_killed(library: Library, photos: Path) -> None:
    with library, Process(SLOW_SYNC, library.path, photos) as first:
        first.wait_for_step()
        first.go()
        first.wait_for_step()
        first.kill()
        report = library.sync([photos])
        assert (report.encoded, report.unchanged) == (len(COLOURS) - 2, 2)
        assert library.check().problems == ()


def test_pruning_is_refused_during_a_sync(library: Library, photos: Path) -> None:
    """It could otherwise forget an image between the moment it is found known and the moment its file is stored."""
    with library, Process(SLOW_SYNC, library.path, photos) as first:
        first.wait_for_step()
        with pytest.raises(LibraryBusy, match=f"process {first.pid}"):
            library.prune()
        assert set(library.prune(dry_run=True).to_dict().values()) == {0, True}
        first.finish()
        library.prune()
        assert len(library.photos.paths()) == len(COLOURS)

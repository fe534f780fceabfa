"""A library against a simple model of the disk: whatever people do to their photos, the next sync follows."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)
from PIL import Image

from tests.fakes import COLOURS, FakeEncoder
from tests.libraries import new_library
from zsindex.errors import NoVectors
from zsindex.library import Library
from zsindex.records import FloatArray

# Few of each, so that they meet; and such as a database could take for one another.
FOLDERS = ["", "in", "in/deep", "in_", "In"]
NAMES = ["a.bmp", "A.bmp", "_.bmp", "é.bmp", "e\u0301.bmp"]
PATHS = st.sampled_from([os.path.join(folder, name) for folder in FOLDERS for name in NAMES])
SHOWN = ["red", "green", "blue", "white"]
CONTENTS = st.sampled_from([*SHOWN, *SHOWN, "broken", "empty"])


def content_of(kind: str) -> bytes:
    """A photo of one colour, all of the same size so that only time or content tells them apart; or no photo."""
    if kind == "empty":
        return b""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), COLOURS.get(kind)).save(file, "BMP")
    return file.getvalue()[:100] if kind == "broken" else file.getvalue()


ANCHOR = "anchor.bmp"
BYTES = {kind: content_of(kind) for kind in [*SHOWN, "broken", "empty"]}


class RememberingEncoder(FakeEncoder):
    """Also counts how often each picture went through."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: Counter[bytes] = Counter()

    def encode_images(self, pixels: list[FloatArray]) -> FloatArray:  # type: ignore[override]
        self.encoded.update(p.tobytes() for p in pixels)
        return super().encode_images(pixels)


class LibraryFollowsDisk(RuleBasedStateMachine):
    """`disk` is what lies under the root, by relative path; `synced` is what the last sync saw there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.root = self.folder / "photos"
        self.root.mkdir()
        # A root without anything is taken for a disk that is not mounted: leave one photo in it.
        (self.root / ANCHOR).write_bytes(BYTES["white"])
        self.disk = {ANCHOR: "white"}
        self.synced: dict[str, str] = {}
        self.moved_on = False
        self.clock = 1_700_000_000_000_000_000
        self.trash: dict[str, tuple[bytes, int]] = {}
        self.encoder = RememberingEncoder()
        new_library(self.folder / "library")
        self.library = self.open()

    def open(self) -> Library:
        return Library.open(self.folder / "library", encoder=self.encoder, batch_size=2, workers=2)

    def teardown(self) -> None:
        self.library.close()
        shutil.rmtree(self.folder)

    # --- what people do -----------------------------------------------------------------------------------------------

    def put(self, path: str, kind: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(BYTES[kind])
        self.clock += 1_000_000_000  # a coarse clock would hide an edit that keeps the size: not what is tested here
        os.utime(file, ns=(self.clock, self.clock))
        self.disk[path] = kind

    def pick(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.disk)), label="path")

    @rule(photos=st.dictionaries(PATHS, CONTENTS, min_size=1, max_size=6))
    def add(self, photos: dict[str, str]) -> None:
        for path, kind in photos.items():
            self.put(path, kind)

    @rule(data=st.data(), kind=CONTENTS)
    def edit(self, data: st.DataObject, kind: str) -> None:
        self.put(self.pick(data), kind)

    @rule(data=st.data(), new=PATHS)
    def copy(self, data: st.DataObject, new: str) -> None:
        self.put(new, self.disk[self.pick(data)])

    @rule(data=st.data(), new=PATHS)
    def rename(self, data: st.DataObject, new: str) -> None:
        old = self.pick(data)
        if old != ANCHOR:
            (self.root / new).parent.mkdir(parents=True, exist_ok=True)
            (self.root / old).replace(self.root / new)
            self.disk[new] = self.disk.pop(old)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        path = self.pick(data)
        if path != ANCHOR:
            file = self.root / path
            self.trash[path] = (file.read_bytes(), file.stat().st_mtime_ns)
            file.unlink()
            del self.disk[path]

    @precondition(lambda self: self.trash)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.trash)))
        content, mtime_ns = self.trash.pop(path)
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, ns=(mtime_ns, mtime_ns))
        self.disk[path] = next(kind for kind, known in BYTES.items() if known == content)

    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        path = self.pick(data)
        self.put(path, self.disk[path])

    @rule(folder=st.sampled_from(["in", "in/deep", "In"]))
    def delete_folder(self, folder: str) -> None:
        shutil.rmtree(self.root / folder, ignore_errors=True)
        self.disk = {path: kind for path, kind in self.disk.items() if not path.startswith(folder + "/")}

    # --- what the library does ----------------------------------------------------------------------------------------

    def readable(self) -> dict[str, str]:
        return {path: kind for path, kind in self.disk.items() if kind in SHOWN}

    @rule()
    def sync(self) -> None:
        vanished = {path for path in self.synced if path not in self.disk}
        report = self.library.sync([self.root])
        assert report.scanned == len(self.disk)
        assert report.skipped == len(self.disk) - len(self.readable())
        assert report.scanned == report.unchanged + report.added + report.changed + report.moved + report.skipped
        assert report.encoded + report.reused <= report.to_read <= report.scanned
        # A photo that has moved counts as that and not as missing, unless it was missing before already.
        assert len(vanished) - report.moved <= report.missing <= len(vanished)
        self.synced, self.moved_on = dict(self.disk), True
        assert self.files() == set(self.readable())
        assert {Path(s.path).relative_to(self.root).as_posix() for s in self.library.photos.skipped()} == {
            path for path in self.disk if path not in self.readable()
        }

    @rule()
    def sync_again(self) -> None:
        self.sync()
        report = self.library.sync()
        assert (report.to_read, report.encoded, report.missing, report.unchanged) == (0, 0, 0, len(self.readable()))

    @rule()
    def reopen(self) -> None:
        self.library.close()
        self.library = self.open()
        self.moved_on = True

    @rule()
    def prune(self) -> None:
        self.library.prune()
        self.moved_on = True
        # What nothing shows any more is forgotten, and may be encoded once more.
        kept = set(self.synced.values())
        for pixels in [p for p in self.encoder.encoded if self.colour(p) not in kept]:
            del self.encoder.encoded[pixels]

    @staticmethod
    def colour(pixels: bytes) -> str:
        rgb = tuple(np.frombuffer(pixels, dtype=np.float32).reshape(3, -1)[:, 0].astype(int).tolist())
        return next(name for name, value in COLOURS.items() if value == rgb)

    def files(self) -> set[str]:
        return {Path(path).relative_to(self.root).as_posix() for path in self.library.photos.paths()}

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def it_holds(self) -> None:
        if self.moved_on:  # what happens on the disk alone changes nothing
            self.moved_on = False
            self.nothing_is_encoded_twice()
            self.the_library_lists_what_was_there_at_the_last_sync()
            self.every_photo_is_classified_by_what_it_shows()
            self.check_finds_nothing()

    def nothing_is_encoded_twice(self) -> None:
        assert set(self.encoder.encoded.values()) <= {1}

    def the_library_lists_what_was_there_at_the_last_sync(self) -> None:
        assert self.files() == {path for path, kind in self.synced.items() if kind in SHOWN}

    def every_photo_is_classified_by_what_it_shows(self) -> None:
        if self.synced:
            if not any(kind in SHOWN for kind in self.synced.values()):
                with pytest.raises(NoVectors):
                    self.library.classify(SHOWN, template="{}")
                return
            answers = self.library.classify(SHOWN, template="{}")
            assert answers.unanswered == ()
            found = {Path(r.path).relative_to(self.root).as_posix(): r.label for r in answers}
            assert found == {path: kind for path, kind in self.synced.items() if kind in SHOWN}

    def check_finds_nothing(self) -> None:
        assert self.library.check().problems == ()


LibraryFollowsDisk.TestCase.settings = settings(
    max_examples=16, stateful_step_count=25, deadline=None, derandomize=True
)
TestLibraryFollowsDisk = LibraryFollowsDisk.TestCase

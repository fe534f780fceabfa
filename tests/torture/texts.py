"""Label files, tables, vectors, sidecars, cursors and settings as nobody should hand them over."""

from __future__ import annotations

import os
import resource
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from tests import hostile, libraries
from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.torture.apart import Beside
from tests.torture.campaign import Campaign, Case
from zsindex.exchange import xmp
from zsindex.library import Library

# More than it held before, for one input.
MOST_MB = 200
HANGS_S = 60.0  # of which the processor may be at work for others most of the time
# Of a sidecar that goes through a library, two transactions and two renames: ten times what the others take.
SIDECARS = 0.04


class Texts(Campaign):
    """Each input is read twice in a process beside this one.

    It is read, both times to the same, or refused with an error of zsindex's own whose words name the file; within two
    seconds and 200 MB. To a sidecar tags are added and taken away again: it says what it said before, and where that
    goes through a library it is the same to the byte.
    """

    name = "texts"
    about = "label files, tables, vectors, sidecars, cursors, settings: mutated and made up"
    in_ci = 5_000

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self._kinds = hostile.make(work)
        self._beside = Beside(self._judge_there, timeout_s=HANGS_S)
        self._came: Counter[str] = Counter()
        # Of the process beside this one.
        self._library: Library | None = None
        self._held_kb = 0

    def cases(self) -> Iterator[Case]:
        names = list(self._kinds)
        number = 0
        with ExitStack() as stack:
            stack.callback(self._beside.end)
            while True:
                if self.random.random() < SIDECARS:
                    kind, data = "sidecar", hostile.any_of(self._kinds["xmp"], self.random, mutations=0.2)
                else:
                    kind = names[number % len(names)]
                    data = hostile.any_of(self._kinds[kind], self.random)
                number += 1
                yield Case(kind, _shown(data), partial(self._judge, kind, data))

    def missing(self) -> str | None:
        return None if hasattr(os, "fork") else "this system does not fork"

    def notes(self) -> Sequence[str]:
        return [", ".join(f"{n:,} {what}" for what, n in sorted(self._came.items()))]

    def _judge(self, kind: str, data: bytes) -> list[str]:
        ending = self._beside.ask((kind, data))
        if ending.hung:
            return [f"no end within {HANGS_S:g} s"]
        if ending.signal is not None:
            return [f"the process died of signal {ending.signal}"]
        if ending.value is None:
            return [f"{type(ending.error).__name__}: {ending.trace[-600:]}"]
        came, wrong, too_much = ending.value
        self._came[came] += 1
        if too_much:  # what it holds now would hide what others take
            self._beside.end()
        return wrong

    # --- in the process beside ------------------------------------------------------------------------------------

    def _judge_there(self, asked: tuple[str, bytes]) -> tuple[str, list[str], bool]:
        """What came of it, in a word; what is wrong; and whether it took too much memory."""
        kind, data = asked
        if not self._held_kb:
            warnings.simplefilter("error")
            self._held_kb = _most_kb()
        if kind == "sidecar":
            came, wrong = self._sidecar(data)
        else:
            came, wrong = hostile.judged(self._kinds[kind], data)
        more_mb = (_most_kb() - self._held_kb) >> 10
        if more_mb > MOST_MB:
            wrong = [*wrong, f"{more_mb:,} MB more than before"]
        return came, wrong, more_mb > MOST_MB

    def _sidecar(self, data: bytes) -> tuple[str, list[str]]:
        """Tags written beside a photo and retracted: all is as it was, to the byte."""
        if self._library is None:
            photo(self.work / "album" / "red.png", "red")
            libraries.new_library(self.work / "library")
            self._library = Library.open(self.work / "library", encoder=FakeEncoder())
            self._library.sync(self.work / "album")
        file = self.work / "album" / "red.png.xmp"
        file.write_bytes(data)
        tags = self._library.tags
        written = tags.write(self._library.classify(["red", "blue"]), apply=True)
        between = file.read_bytes()
        taken = tags.retract(apply=True)
        wrong = []
        if not file.exists() or file.read_bytes() != data:
            wrong.append("the sidecar is not as it was, with its tags retracted")
        if between != data and hostile.content_of(between) is None:
            wrong.append("the sidecar is no XML with tags in it")
        if written.skipped and between != data:
            wrong.append("what was said to be left alone was changed")
        if not written.skipped:
            with suppress(xmp.BadPacket):
                if "red" not in xmp.texts_in(between)[xmp.SUBJECT]:
                    wrong.append("the tag is not there, and nothing was said")
        if taken.skipped:
            wrong.append(f"what zsindex wrote cannot be retracted: {taken.skipped[0]}")
        return ("sidecars left alone" if written.skipped else "sidecars tagged and restored"), wrong


def _most_kb() -> int:
    """The most that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _shown(data: bytes) -> str:
    return repr(data[:120]) + ("…" if len(data) > 120 else "")

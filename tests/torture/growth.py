"""Weeks of use in simulated time: whether anything passes its limit, whether what is still asked for goes, and whether
the answers stay what they are.

A case is some weeks of one library: questions of old labels and new ones, uploads, photos that change, recorded runs,
jobs, thumbnails, exported models, under a clock that is now and then set back or far ahead. Limits are small, so that
each is reached within days.
"""

from __future__ import annotations

import os
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from tests.fakes import FakeEncoder
from tests.libraries import paint
from tests.torture.campaign import Campaign, Case
from zsindex import config
from zsindex.errors import ZsindexWarning
from zsindex.library import Library
from zsindex.models.openvino import runtime
from zsindex.photos.thumbnails import Thumbnails
from zsindex.records import FloatArray
from zsindex.services import jobs
from zsindex.services.jobs import Jobs
from zsindex.storage import labels, uses
from zsindex.storage.sqlite import connections
from zsindex.storage.sqlite.file import FILE_NAME
from zsindex.web.answers import Answers

KB = 1 << 10
# What is a MB elsewhere is a KB here.
PROMPTS, PROMPTS_KB, PROMPTS_DAYS, UPLOADS_KB, RUNS, RUNS_KB, EXPORTS_KB = 300, 45, 40, 2, 20, 10, 40
LIMITS = {
    "ZSINDEX_PROMPTS": PROMPTS,
    "ZSINDEX_PROMPTS_MB": PROMPTS_KB,
    "ZSINDEX_PROMPTS_DAYS": PROMPTS_DAYS,
    "ZSINDEX_UPLOADS_MB": UPLOADS_KB,
    "ZSINDEX_RUNS": RUNS,
    "ZSINDEX_RUNS_MB": RUNS_KB,
    "ZSINDEX_EXPORTS_MB": EXPORTS_KB,
}
THUMBNAILS_KB, ANSWERS_KB, JOBS, DERIVED = 30, 40, 20, 20
# All that is counted is a few hundred KB; pages of 16 KB, one for each table and index at least, make more of it. The
# log has up to a thousand of them.
DATABASE_KB, FOLDER_KB = 2_000, 20_000
DAYS = 35
REGULARS = 20
# A regular is asked for at least so often, and so many others are new on a day at most: fewer than would drive it out.
EVERY_DAYS, NEW_A_DAY = 5, 20
FIRST_DAY = 20_000


class RememberingEncoder(FakeEncoder):
    """Its texts are those since they were last looked at."""

    def new_texts(self) -> list[str]:
        found, self.texts = self.texts, []
        return found


class Growth(Campaign):
    """See above."""

    name = "growth"
    about = "weeks of use in simulated time: limits, what is still asked for, equal answers"
    in_ci = 2

    def __init__(
        self, work: Path, seed: int, fault: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        """Args:
        fault: one that is planted, such as that nothing goes.
        """
        super().__init__(work, seed)
        self._fault = fault
        self.days = 0
        self.done: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def cases(self) -> Iterator[Case]:
        while True:
            seed = self.random.getrandbits(32)
            clock = ("a clock that is right", "a clock that jumps")[seed % 2]
            yield Case(clock, str(seed), partial(self._run, seed))

    def notes(self) -> Sequence[str]:
        done = ", ".join(f"{what} {n:,}" for what, n in sorted(self.done.items()))
        most = ", ".join(f"{what} {n:,}" for what, n in sorted(self.most.items()))
        return (f"{self.days:,} days; {done}", f"the most there was: {most}")

    def _run(self, seed: int) -> list[str]:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self.work)))
            cache = {config.CACHE_VARIABLE: str(folder / "cache")}
            limits = {name: str(limit) for name, limit in LIMITS.items()}
            stack.enter_context(mock.patch.dict(os.environ, {**cache, **limits}))
            stack.enter_context(mock.patch.object(config, "MB", KB))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", ZsindexWarning)
            stack.enter_context(mock.patch.object(runtime.logger, "disabled", True))  # of exports that go
            stack.enter_context(mock.patch.object(connections, "SYNCHRONOUS", "OFF"))  # there are no power cuts here
            stack.enter_context(mock.patch.object(jobs, "MOST_JOBS", JOBS))
            stack.enter_context(mock.patch.object(labels, "MOST_DERIVED", DERIVED))
            stack.enter_context(self._fault())
            life = Life(folder, random.Random(seed), jumps=seed % 2 == 1)
            stack.enter_context(mock.patch.object(uses, "today", life.today))
            stack.callback(life.close)
            found: list[str] = []
            for _ in range(DAYS):
                found = life.day()
                if found:
                    break
            self.days += life.days
            self.done += life.done
            self.most |= life.most
            return [f"on day {life.days}: {what}" for what in found]


class Life:
    """A library and what is done to it, day by day."""

    def __init__(self, folder: Path, chance: random.Random, *, jumps: bool) -> None:
        self._clock, self.days = FIRST_DAY, 0
        self.done: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._folder, self._chance, self._jumps = folder, chance, jumps
        self._encoder = RememberingEncoder()
        self._library = self._open()
        self._answers = Answers(ANSWERS_KB * KB, now=lambda: self._library.session.index.last_view)
        self._thumbnails = Thumbnails(config.thumbnails_folder(), max_bytes=THUMBNAILS_KB * KB)
        self._regulars = {f"regular {n} {'x' * chance.randint(0, 60)}": -n % EVERY_DAYS for n in range(REGULARS)}
        self._saved: set[str] = set()
        self._known: set[str] = set()  # which must not be encoded again
        self._wrong: list[str] = []
        self._n = 0
        for n in range(6):
            paint(folder / "photos" / f"{n}.png", [chance.randrange(256) for _ in range(3)])

    def today(self) -> int:
        """What the clock says."""
        return self._clock

    def close(self) -> None:
        self._library.close()

    def day(self) -> list[str]:
        """A day passes; what went wrong on it."""
        self.days += 1
        self._clock += self._chance.randint(-3000, 3000) if self._jumps and self._chance.random() < 0.2 else 1
        self._wrong = []
        acts = [
            (self._ask_regulars, 1),
            (self._ask_new, 1),
            (self._sync, 1),
            (self._upload, 0.7),
            (self._record, 0.7),
            (self._save_labels, 0.05),
            (self._work, 0.5),
            (self._look, 0.5),
            (self._export, 0.4),
            (self._open_again, 0.3),
        ]
        self._chance.shuffle(acts)
        for act, how_often in acts:
            if self._chance.random() < how_often:
                act()
                self.done[act.__name__.strip("_").replace("_", " ")] += 1
        self._judge()
        return self._wrong

    # --- what is done -------------------------------------------------------------------------------------------------

    def _ask_regulars(self) -> None:
        due = [text for text, since in self._regulars.items() if self.days - since >= EVERY_DAYS]
        others = [text for text in self._regulars if text not in due and self._chance.random() < 0.1]
        self._ask([*due, *others])
        self._regulars |= dict.fromkeys([*due, *others], self.days)
        self._known.update(due, others)

    def _ask_new(self) -> None:
        n = self._chance.randint(0, NEW_A_DAY)
        self._ask([f"{self._next()} {'y' * self._chance.randint(0, 100)}" for _ in range(n)])

    def _ask(self, texts: Sequence[str]) -> None:
        if texts:
            got = self._library.embed_texts(texts)
            self._compare("the vectors of prompts", got, FakeEncoder().encode_texts(texts))
            self._look_at_encoder()

    def _sync(self) -> None:
        place = self._folder / "photos" / f"{self._chance.randrange(6)}.png"
        paint(place, [self._chance.randrange(256) for _ in range(3)])
        os.utime(place, ns=(self._next(), self._next()))
        self._library.sync([self._folder / "photos"])

    def _upload(self) -> None:
        for _ in range(self._chance.randint(1, 6)):
            rgb = tuple(self._chance.randrange(256) for _ in range(3))
            picture = Image.new("RGB", (4, 3), rgb)
            pixels = FakeEncoder().preprocess(picture)
            got = self._library.embed_images(picture)
            self._compare("the vector of an upload", got, FakeEncoder().encode_images([pixels]))

    def _record(self) -> None:
        if not self._library.models() or not self._library.status().images:
            return
        texts = self._chance.sample(sorted(self._regulars), 3)
        answer = self._library.classify(texts, template=f"{{}} {self._next()}", record=True)
        self._known.update(self._saved)
        self._answers.keep(answer)
        wanted = FakeEncoder().encode_texts([f"{text} {self._n}" for text in texts])
        photos = np.stack([self._library.embed_images(path)[0] for path in answer.paths])
        logits = FakeEncoder().logit_scale * photos @ wanted.T
        best = [texts[n].strip() for n in logits.argmax(axis=1)]
        got = [photo.predictions[0].label for photo in answer]
        if got != best:
            self._wrong.append(f"the answer is {got}, and should be {best}")
        if self._library.runs.list()[0].key != answer.run.key:
            self._wrong.append("a run that was just recorded is not there")
        self._encoder.new_texts()

    def _save_labels(self) -> None:
        texts = [f"saved {self._next()}" for _ in range(4)]
        self._library.labels.save(f"set {self._chance.randrange(3)}", {text: [text] for text in texts})
        self._ask(texts)
        self._saved.update(texts)
        self._known.update(texts)

    def _work(self) -> None:
        storage = self._library.session.storage
        for _ in range(self._chance.randint(1, 4)):
            Jobs(self._library.session).save(f"{self._next():032x}", "sync", "done", {"text": "x" * 500})
        for model in storage.reads.models():
            for _ in range(self._chance.randint(1, 4)):
                storage.labels.save_derived(model.id, "far words", str(self._next()), ["x" * 200])

    def _look(self) -> None:
        for _ in range(self._chance.randint(1, 20)):
            self._thumbnails.add(f"{self._next():02x}.jpg", bytes(self._chance.randint(1, 4000)))

    def _export(self) -> None:
        exports = config.models_folder()
        assert exports is not None
        place = exports / f"{self._next():016x}"
        place.mkdir(parents=True)
        (place / runtime.MANIFEST).write_bytes(b"{}")
        (place / "image.bin").write_bytes(bytes(self._chance.randint(1, 20_000)))
        runtime.make_room(exports, keep=place)
        if not place.exists():
            self._wrong.append("an export that was just made is not there")

    def _open_again(self) -> None:
        self._library.close()
        self._library = self._open()

    # --- what is judged -----------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        rooms = {room.kind: room for room in self._library.room()}
        folder = sum(file.stat().st_size for file in self._library.path.rglob("*") if file.is_file())
        there = {
            "prompts": (rooms["prompts"].count, PROMPTS + len(self._saved)),
            "prompts, KB": (rooms["prompts"].bytes / KB, PROMPTS_KB + len(self._saved) / 5),
            "uploads, KB": (rooms["uploads"].bytes / KB, UPLOADS_KB + 0.5),  # until the next sync or upload
            "runs": (rooms["runs"].count, RUNS),
            "answers of runs, KB": (rooms["stored answers"].bytes / KB, RUNS_KB),
            "jobs": (rooms["jobs"].count, JOBS),
            "derived": (rooms["derived"].count, DERIVED),
            "files of no index": (rooms["files of no index"].count, 0),
            "exports, KB": (rooms["exported models"].bytes / KB, EXPORTS_KB + 20),  # the one that was made last
            "thumbnails, KB": (rooms["thumbnails"].bytes / KB, THUMBNAILS_KB + 4),
            "kept answers, KB": (self._answers.bytes / KB, ANSWERS_KB),
            "database, KB": ((self._library.path / FILE_NAME).stat().st_size / KB, DATABASE_KB),
            "library, KB": (folder / KB, FOLDER_KB),
        }
        for what, (n, most) in there.items():
            self.most[what] = max(self.most[what], round(n))
            if n > most:
                self._wrong.append(f"{what}: {n:,.1f}, and {most:,.1f} is the limit")

    def _look_at_encoder(self) -> None:
        again = self._known.intersection(self._encoder.new_texts())
        if again:
            self._wrong.append(f"{len(again)} prompts went that are still asked for, or belong to a saved label set")

    def _compare(self, what: str, got: FloatArray, wanted: FloatArray) -> None:
        if not np.array_equal(got, wanted):
            self._wrong.append(f"{what} differ from those of the model")

    def _open(self) -> Library:
        return Library.open(self._folder / "library", encoder=self._encoder, workers=1)

    def _next(self) -> int:
        self._n += 1
        return self._n

"""Many at once: processes of several threads and a service use one library, and are killed and stopped meanwhile.

Every thread notes in a file of its own what it is about to do, and that it was told it is done: the file outlives a
kill. What was told is there at the end; what was not may be there, as a whole. While it runs, a thread is answered
as if it were alone wherever it asks for what is its own.
"""

from __future__ import annotations

import faulthandler
import http.client
import json
import mmap
import os
import random
import shutil
import signal
import socket
import struct
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fakes import COLOURS, FakeEncoder, vector_of
from tests.libraries import new_library
from tests.torture.apart import apart
from tests.torture.campaign import Campaign, Case
from zsindex.errors import LibraryBusy, LibraryClosed, UnknownLabelSet
from zsindex.library import Library

PROCESSES, THREADS = 6, 6
LASTS_S = 6.0
# Longer than anybody is stopped, and than SQLite and the service wait for anything but a writer.
HUNG_S = 30.0
EVENTS_EVERY_S, STOPPED_AT_MOST_S = 0.15, 0.8
LABELS = sorted(COLOURS)
STRAYS = "belong to no index"
BASE = 24


class Wrong(Exception):
    """What may not be."""


class Gone(Exception):
    """The service was killed meanwhile: what was asked for may be done, or not."""


def paint(file: Path, number: int, colour: str) -> None:
    """A photo of one colour with bytes of its own, there as a whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".part")
    Image.new("RGB", (1 + number % 100, 1 + number // 100), COLOURS[colour]).save(half, "PNG")
    half.replace(file)


def scores_of(colour: str) -> dict[str, float]:
    """What the model says of a photo of a colour, calculated here."""
    logits = (
        FakeEncoder().logit_scale
        * np.stack([vector_of(COLOURS[label]) for label in LABELS])
        @ vector_of(COLOURS[colour])
    )
    weights = np.exp(logits - logits.max())
    return dict(zip(LABELS, (weights / weights.sum()).tolist(), strict=True))


EXPECTED = {colour: scores_of(colour) for colour in COLOURS}


@dataclass(frozen=True, slots=True)
class Place:
    """What all who take part in a case share.

    Attributes:
        folder: everything lies below it.
        port: of the service.
        shared: a byte that says that it is over; then for each thread when it began what it does now, or 0.
    """

    folder: Path
    port: int
    shared: mmap.mmap

    @property
    def library(self) -> Path:
        return self.folder / "library"

    @property
    def base(self) -> Path:
        return self.folder / "photos" / "base"

    @property
    def over(self) -> bool:
        return self.shared[0] != 0

    def finish(self) -> None:
        self.shared[0] = 1

    def begin(self, slot: int, when: float) -> None:
        struct.pack_into("<d", self.shared, 8 + 8 * slot, when)

    def begun(self, slot: int) -> float:
        return float(struct.unpack_from("<d", self.shared, 8 + 8 * slot)[0])

    def open(self) -> Library:
        return Library.open(self.library, encoder=FakeEncoder(), batch_size=4, workers=2)


def base_colours() -> list[str]:
    return [LABELS[number % len(LABELS)] for number in range(BASE)]


def make(place: Place) -> None:
    new_library(place.library)
    for number, colour in enumerate(base_colours()):
        paint(place.base / f"{number:03} {colour}.png", number, colour)
    with place.open() as library:
        library.sync([place.base])
        library.classify(LABELS, template="{}")


class Journal:
    """What one thread does; written with one call each, so that a kill leaves whole lines."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, *what: object) -> None:
        os.write(self._file, (json.dumps(what) + "\n").encode())


class Shared:
    """The library of a process, which one of its threads closes and opens anew now and then."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = threading.Lock()
        self.library = place.open()

    def reopen(self) -> None:
        with self._lock:
            before, self.library = self.library, self._place.open()
            before.close()


class Actor:
    """One thread, with photos, label sets and prompts of its own."""

    def __init__(self, place: Place, shared: Shared, name: str, slot: int, seed: int) -> None:
        self.place, self.shared, self.name, self.slot = place, shared, name, slot
        self.random = random.Random(seed)
        self.folder = place.folder / "photos" / name
        self.journal = Journal(place.folder / "journals" / name)
        self.synced: dict[str, str] = {}
        self.disk: dict[str, str] = {}
        self.texts: list[str] = []
        self.newest: dict[str, str] = {}
        self.corrected: dict[str, str] = {}
        self.n_runs = 0
        self._tag: str | None = None
        self._n = 0
        self.steps: dict[Callable[[Library], None], int] = {
            self.sync: 3, self.embed: 6, self.save: 3, self.correct: 4, self.record: 1, self.ask_base: 4,
            self.ask_own: 6, self.ask_service: 8, self.save_by_service: 3, self.sync_by_service: 1, self.search: 3,
            self.look: 4, self.graph: 1, self.check: 1, self.prune: 1, self.reopen: 1,
        }  # fmt: skip

    def run(self) -> None:
        steps, weights = [*self.steps], [*self.steps.values()]
        while not self.place.over:
            (step,) = self.random.choices(steps, weights)
            library = self.shared.library
            self.place.begin(self.slot, time.monotonic())
            self._n += 1
            try:
                step(library)
                self.journal.note("done", self._n, step.__name__)
            except Gone:
                self.journal.note("gone", self._n, step.__name__)
            except LibraryBusy as error:
                self.journal.note("refused", self._n, step.__name__)
                # Only a sync or a prune may be refused, by another one.
                if step.__name__ not in ("sync", "prune"):
                    self._wrong(step.__name__, error)
            except LibraryClosed as error:
                self.journal.note("closed", self._n, step.__name__)
                if self.shared.library is library:
                    self._wrong(step.__name__, error)
            except BaseException as error:  # noqa: BLE001
                self._wrong(step.__name__, error)
            self.place.begin(self.slot, 0.0)

    def _wrong(self, step: str, error: BaseException) -> None:
        told = str(error) if isinstance(error, Wrong) else f"{error!r}\n{traceback.format_exc()}"
        self.journal.note("wrong", self._n, f"{self.name}, {step}: {told}")

    def intend(self, kind: str, **what: object) -> None:
        self.journal.note("intend", self._n, kind, what)

    def require(self, holds: bool, what: str) -> None:
        if not holds:
            raise Wrong(what)

    def number(self) -> int:
        """One that nobody else has."""
        self._n += 1
        return (self.slot << 20) + self._n

    # --- what changes something ---------------------------------------------------------------------------------------

    def _change_disk(self) -> None:
        for _ in range(self.random.randint(1, 5)):
            name, colour = f"{self.random.randrange(12):02}.png", self.random.choice(LABELS)
            if self.random.random() < 0.2 and str(self.folder / name) in self.disk:
                (self.folder / name).unlink()
                del self.disk[str(self.folder / name)]
            else:
                paint(self.folder / name, (97 * self.slot + self._n) % 9000, colour)
                self.disk[str(self.folder / name)] = colour
        if not self.disk:  # a folder without any photo is taken for a disk that is not there
            paint(self.folder / "anchor.png", self.slot, "white")
            self.disk[str(self.folder / "anchor.png")] = "white"

    def sync(self, library: Library) -> None:
        self._change_disk()
        self.intend("sync", folder=str(self.folder), disk=self.disk)
        library.sync([self.folder])
        self.synced = dict(self.disk)

    def embed(self, library: Library) -> None:
        texts = [f"{self.random.choice(LABELS)} {self.name} {self.number()}" for _ in range(self.random.randint(1, 4))]
        self.intend("prompts", texts=texts)
        vectors = library.embed_texts(texts)
        self.require(np.array_equal(vectors, FakeEncoder().encode_texts(texts)), "a new prompt has another vector")
        self.texts += texts

    def save(self, library: Library) -> None:
        name, label = f"{self.name} set", f"label {self.number()}"
        self.intend("labels", name=name, label=label)
        library.labels.save(name, [*LABELS, label])
        self.newest[name] = label

    def correct(self, library: Library) -> None:
        name = f"{self.name} set"
        if name not in self.newest:
            return
        number = self.random.randrange(BASE)
        path, label = str(self.place.base / f"{number:03} {base_colours()[number]}.png"), self.random.choice(LABELS)
        self.intend("correction", name=name, path=path, label=label)
        library.corrections.add(name, path, label)
        self.corrected[path] = label

    def record(self, library: Library) -> None:
        if self.n_runs == 2:  # not so many that the oldest ones go
            return
        self.n_runs += 1
        answers = library.classify(
            LABELS, template=f"{{}} {self.number()}", paths=[self.place.base], sync=False, record=True
        )
        self.intend("run", key=answers.run.key)

    # --- over HTTP ----------------------------------------------------------------------------------------------------

    def request(
        self, method: str, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, str | None]:
        """Status, document, entity tag."""
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self.place.port, timeout=HUNG_S)) as connection:
                connection.request(
                    method, path, json.dumps(body), {"Content-Type": "application/json", **(headers or {})}
                )
                answer = connection.getresponse()
                content = answer.read()
        except TimeoutError:
            raise Wrong(f"the service did not answer {path} in {HUNG_S:.0f} s") from None
        except (OSError, http.client.HTTPException):
            raise Gone from None
        return answer.status, json.loads(content) if content else None, answer.getheader("ETag")

    def ask_service(self, library: Library) -> None:
        if not self.synced:
            return
        body = {"labels": LABELS, "templates": ["{}"], "paths": [str(self.folder)], "top": 1, "limit": 1000}
        before = self._tag
        status, document, tag = self.request(
            "POST", "/v1/classify", body, {} if before is None else {"If-None-Match": before}
        )
        if status == 412:  # what a POST says instead of 304
            self.require(self._tagged == self.synced, "the service says that an answer is still true which is not")
            return
        self.require(status == 200, f"the service says {status}: {document}")
        self._judge(
            {
                one["path"]: (one["predictions"][0]["label"], one["predictions"][0]["score"])
                for one in document["results"]
            }
        )
        self._tag, self._tagged = tag, dict(self.synced)

    def save_by_service(self, library: Library) -> None:
        name, label = f"{self.name} of the service", f"label {self.number()}"
        self.intend("labels", name=name, label=label)
        status, document, _ = self.request(
            "PUT", f"/v1/label-sets/{name.replace(' ', '%20')}", {"labels": [*LABELS, label]}
        )
        self.require(status in (200, 201), f"the service says {status}: {document}")
        self.newest[name] = label

    def sync_by_service(self, library: Library) -> None:
        """Of what is there already: it goes on in another process at any time."""
        status, document, _ = self.request("POST", "/v1/sync", {"paths": [str(self.place.base)]})
        self.require(status in (200, 202, 409, 429, 503), f"the service says {status}: {document}")

    # --- questions ----------------------------------------------------------------------------------------------------

    def _judge(self, found: Mapping[str, tuple[str, float]]) -> None:
        """Answers about this thread's own photos, which nobody else changes."""
        self.require(
            set(found) == set(self.synced), f"answers for {sorted(found)}, and there are {sorted(self.synced)}"
        )
        for path, (label, score) in found.items():
            colour = self.synced[path]
            self.require(label == colour, f"{path} is {colour}, and is said to be {label}")
            self.require(abs(score - EXPECTED[colour][colour]) < 1e-5, f"the score of {path} is {score}")

    def ask_own(self, library: Library) -> None:
        if self.synced:
            answers = library.classify(LABELS, template="{}", paths=[self.folder], sync=False)
            self._judge({one.path: (one.label, one.score) for one in answers})

    def ask_base(self, library: Library) -> None:
        template = self.random.choice(["{}", "a {}", "{} here"])
        paths = self.random.choice([None, [self.place.base]])
        answers = library.classify(LABELS, template=template, paths=paths, sync=paths is None)
        found = {one.path: one for one in answers if Path(one.path).parent == self.place.base}
        self.require(len(found) == BASE, f"{len(found)} of {BASE} photos are answered")
        for number, colour in enumerate(base_colours()):
            one = found[str(self.place.base / f"{number:03} {colour}.png")]
            for said in one.predictions:
                expected = EXPECTED[colour][said.label]
                self.require(abs(said.score - expected) < 1e-5, f"{one.path} is {said.label} by {said.score}")

    def search(self, library: Library) -> None:
        colour = self.random.choice(LABELS)
        hits = library.search(colour, top=4, paths=[self.place.base])
        self.require(all(Path(hit.path).stem.endswith(colour) for hit in hits), f"{hits} for {colour}")

    def look(self, library: Library) -> None:
        """At what this thread has stored before."""
        if self.texts:
            texts = self.random.sample(self.texts, min(3, len(self.texts)))
            self.require(
                np.array_equal(library.embed_texts(texts), FakeEncoder().encode_texts(texts)), f"vectors of {texts}"
            )
        for name, label in self.newest.items():
            self.require(label in library.labels.get(name).labels, f"{name} lacks {label}, which was stored last")
        if self.corrected:
            said = {one.paths[0]: one.label for one in library.corrections.list(f"{self.name} set")}
            self.require(said == self.corrected, f"corrections {said}, and these were made: {self.corrected}")

    def graph(self, library: Library) -> None:
        library.neighbours.graph()

    def check(self, library: Library) -> None:
        problems = [one for one in library.check().problems if STRAYS not in one]
        self.require(not problems, f"check says {problems}")

    def prune(self, library: Library) -> None:
        library.prune()

    def reopen(self, library: Library) -> None:
        self.shared.reopen()


def work(place: Place, process: int, generation: int, seed: int) -> None:
    """A process with its threads, until it is over."""
    dump = (place.folder / "stacks" / f"{process}-{generation}").open("w", encoding="utf-8")
    faulthandler.register(signal.SIGUSR1, file=dump, all_threads=True)
    shared = Shared(place)
    actors = [
        Actor(place, shared, f"p{process}t{thread}g{generation}", process * THREADS + thread, hash((seed, thread)))
        for thread in range(THREADS)
    ]
    threads = [threading.Thread(target=actor.run, daemon=True) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared.library.close()


def serve(place: Place, listening: socket.socket) -> None:
    from zsindex.web import Security
    from zsindex.web.limits import Limits
    from zsindex.web.serve import serve as really

    log = os.open(place.folder / "service.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    hosts = frozenset({f"127.0.0.1:{place.port}"})
    with place.open() as library:
        really(
            library,
            listening,
            security=Security(hosts=hosts),
            limits=Limits(requests_per_s=0.0),
            thumbnails=place.folder / "thumbnails",
            log_requests=False,
        )


@dataclass
class Party:
    """The processes of a case, as their parent sees them."""

    place: Place
    listening: socket.socket
    seed: int
    pids: dict[int, int] = field(default_factory=dict)
    generations: Counter[int] = field(default_factory=Counter)

    def start(self, who: int) -> None:
        """Number `PROCESSES` is the service."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                generation = self.generations[who]
                if who == PROCESSES:
                    serve(self.place, self.listening)
                else:
                    work(self.place, who, generation, hash((self.seed, who, generation)))
                status = 0
            except BaseException:  # noqa: BLE001
                (self.place.folder / "journals" / f"died {os.getpid()}").write_text(
                    json.dumps(["wrong", 0, traceback.format_exc()]) + "\n", encoding="utf-8"
                )
            finally:
                os._exit(status)
        self.pids[who] = pid

    def kill(self, who: int) -> None:
        os.kill(self.pids[who], signal.SIGKILL)
        os.waitpid(self.pids[who], 0)
        self.generations[who] += 1
        if who < PROCESSES:  # what it did is over
            for thread in range(THREADS):
                self.place.begin(who * THREADS + thread, 0.0)
        self.start(who)

    def stuck(self) -> list[str]:
        now = time.monotonic()
        found = []
        for slot in range(PROCESSES * THREADS):
            begun = self.place.begun(slot)
            if begun and now - begun > HUNG_S:
                found.append(self._stacks(slot // THREADS, f"thread {slot % THREADS} hangs"))
        return found

    def _stacks(self, who: int, what: str) -> str:
        with suppress(ProcessLookupError):
            os.kill(self.pids[who], signal.SIGUSR1)
        time.sleep(0.5)
        file = self.place.folder / "stacks" / f"{who}-{self.generations[who]}"
        stacks = file.read_text(encoding="utf-8") if file.exists() else ""
        return f"process {who}: {what}\n{stacks}"

    def end(self) -> list[str]:
        """Let all finish; returns who does not."""
        self.place.finish()
        found = []
        deadline = time.monotonic() + HUNG_S
        for who in range(PROCESSES + 1):
            if who == PROCESSES:
                os.kill(self.pids[who], signal.SIGTERM)
            while os.waitpid(self.pids[who], os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    found.append(self._stacks(who, "does not end"))
                    os.kill(self.pids[who], signal.SIGKILL)
                    os.waitpid(self.pids[who], 0)
                    break
                time.sleep(0.01)
        return found


@dataclass
class Told:
    """What one thread told.

    Attributes:
        wrong: what it says went wrong.
        intended: what it was about to do, in order: number, kind, details, and whether it was told that it is done.
        steps: what it was told is done, by kind.
    """

    wrong: list[str] = field(default_factory=list)
    intended: list[tuple[str, dict[str, Any], bool]] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)


def read(journal: Path) -> Told:
    told = Told()
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    waiting: tuple[str, dict[str, Any]] | None = None
    for what, _, *rest in lines:
        if what == "intend":
            if waiting is not None:
                told.intended.append((*waiting, False))
            waiting = rest[0], rest[1]
        elif what == "wrong":
            told.wrong.append(rest[0])
        elif what in ("done", "gone", "refused", "closed"):
            told.steps[rest[0] if what == "done" else what] += 1
            if waiting is not None:
                told.intended.append((*waiting, what == "done"))
                waiting = None
    if waiting is not None:
        told.intended.append((*waiting, False))
    return told


def settle(place: Place, journals: Sequence[Told]) -> list[str]:
    """What is not as it was told, in the library that is left."""
    wrong: list[str] = []
    folders: dict[str, dict[str, str]] = {}
    done_photos: dict[str, str] = {}
    texts: list[str] = []
    with place.open() as library:
        problems = [one for one in library.check(fix=True).problems if STRAYS not in one]
        problems += library.check().problems
        wrong += [f"at the end check says {problems}"] if problems else []
        colours = {one.path: one.label for one in library.classify(LABELS, template="{}")}
        runs = {one.key for one in library.runs.list()}
        for told in journals:
            may_be: dict[str, set[str | None]] = {}
            corrections: dict[str, dict[str, set[str]]] = {}
            for kind, what, done in told.intended:
                if kind == "sync":
                    disk = what["disk"]
                    for path in {*may_be, *disk}:
                        now = disk.get(path)
                        may_be[path] = {now} if done else {*may_be.get(path, {None}), now}
                    folders[what["folder"]] = disk
                    if done:
                        done_photos = {p: c for p, c in done_photos.items() if not p.startswith(what["folder"] + "/")}
                        done_photos |= disk
                elif kind == "prompts" and done:
                    texts += what["texts"]
                elif kind == "labels":
                    wrong += _judge_labels(library, what, done)
                elif kind == "correction":
                    said = corrections.setdefault(what["name"], {})
                    said[what["path"]] = {what["label"]} if done else {*said.get(what["path"], {""}), what["label"]}
                elif kind == "run" and done and what["key"] not in runs:
                    wrong.append(f"a recorded run is gone: {what['key']}")
            for path, allowed in may_be.items():
                if colours.get(path) not in allowed:
                    wrong.append(f"{path} is {colours.get(path)}, and was {allowed} when it was told")
            for name, said in corrections.items():
                found = {one.paths[0]: one.label for one in library.corrections.list(name) if one.paths}
                for path, labels in said.items():
                    if (found.get(path) or "") not in labels:
                        wrong.append(f"the correction of {path} in {name} is {found.get(path)}, and was {labels}")
        # Once more, over all that lies on the disk: the state that one process alone would have come to.
        report = library.sync([place.folder / "photos"])
        on_disk = {str(file) for file in (place.folder / "photos").rglob("*.png")}
        if set(library.photos.paths()) != on_disk:
            wrong.append(f"after a last sync there are {len(library.photos.paths())} photos, and {len(on_disk)} files")
        unknown = len(on_disk) - BASE - sum(path in done_photos for path in on_disk)
        if report.encoded > max(unknown, 0) + sum(1 for path in on_disk if path in done_photos and path not in colours):
            wrong.append(f"{report.encoded} photos were encoded again at the end, and {unknown} could be new")
        last = {one.path: one.label for one in library.classify(LABELS, template="{}")}
        for path in on_disk:
            with Image.open(path) as image:
                shown = next(name for name, rgb in COLOURS.items() if rgb == image.convert("RGB").getpixel((0, 0)))
            if last[path] != shown:
                wrong.append(f"after a last sync {path} is {last[path]}, and shows {shown}")
    encoder = FakeEncoder()
    with Library.open(place.library, encoder=encoder) as library:
        if texts and not np.array_equal(library.embed_texts(texts), FakeEncoder().encode_texts(texts)):
            wrong.append("a prompt has another vector")
        if encoder.texts:
            wrong.append(f"{len(encoder.texts)} of {len(texts)} prompts are gone")
    return wrong


def _judge_labels(library: Library, what: Mapping[str, Any], done: bool) -> list[str]:
    try:
        newest = library.labels.get(what["name"]).version or 0
    except UnknownLabelSet:
        return [f"the label set {what['name']} is gone"] if done else []
    n = sum(what["label"] in library.labels.get(f"{what['name']}@{version}").labels for version in range(1, newest + 1))
    return [] if n == 1 or (n == 0 and not done) else [f"{what['label']} is in {n} versions of {what['name']}"]


class Crowd(Campaign):
    """See the module."""

    name = "crowd"
    about = f"{PROCESSES} processes of {THREADS} threads and a service, killed and stopped at random, on one library"
    in_ci = 1

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self.events: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()
        self.gone = 0

    def missing(self) -> str | None:
        return None if hasattr(os, "fork") else "it forks"

    def cases(self) -> Iterator[Case]:
        for number in range(1 << 62):
            seed = self.random.randrange(1 << 32)
            yield Case(f"{LASTS_S:g} s", str(number), partial(self._judge, self.work / str(number), seed))

    def _judge(self, folder: Path, seed: int) -> Sequence[str]:
        import zsindex.web.serve  # noqa: F401  once, and not in each process

        for name in ("journals", "stacks"):
            (folder / name).mkdir(parents=True)
        listening = socket.create_server(("127.0.0.1", 0))
        place = Place(folder, listening.getsockname()[1], mmap.mmap(-1, 4096))
        try:
            made = apart(partial(make, place), timeout_s=60)
            if made.error is not None or made.hung:
                return [f"it could not be made: {made.trace}"]
            wrong = self._play(Party(place, listening, seed), random.Random(seed))
            journals = [read(file) for file in sorted((folder / "journals").iterdir())]
            for told in journals:
                wrong += told.wrong
                self.steps += told.steps
            service = (folder / "service.log").read_text(encoding="utf-8")
            wrong += [f"the service logs {service[-3000:]}"] if "Traceback" in service else []
            if not any("does not end" in one or "hangs" in one for one in wrong):
                ending = apart(partial(settle, place, journals), timeout_s=120)
                wrong += (
                    ["looking at the end hangs"]
                    if ending.hung
                    else ending.value or ([ending.trace] if ending.trace else [])
                )
            return wrong
        finally:
            listening.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _play(self, party: Party, chance: random.Random) -> list[str]:
        for who in range(PROCESSES + 1):
            party.start(who)
        wrong: list[str] = []
        end = time.monotonic() + LASTS_S
        stopped: dict[int, float] = {}
        time.sleep(0.5)
        while (now := time.monotonic()) < end and not wrong:
            for who in [who for who, until in stopped.items() if until <= now]:
                os.kill(party.pids[who], signal.SIGCONT)
                del stopped[who]
            who = chance.randrange(PROCESSES + 1)
            what = "kill" if chance.random() < 0.4 else "stop"
            kind = f"{what} the service" if who == PROCESSES else what
            if what == "kill":
                party.kill(who)
                stopped.pop(who, None)
            elif who not in stopped:
                os.kill(party.pids[who], signal.SIGSTOP)
                stopped[who] = now + chance.uniform(0.0, STOPPED_AT_MOST_S)
            self.events[kind] += 1
            time.sleep(chance.uniform(0.0, 2 * EVENTS_EVERY_S))
            wrong += party.stuck()
        for who in stopped:
            os.kill(party.pids[who], signal.SIGCONT)
        return wrong + party.end()

    def notes(self) -> Sequence[str]:
        events = ", ".join(f"{what} {n:,}" for what, n in self.events.most_common())
        steps = ", ".join(f"{what} {n:,}" for what, n in self.steps.most_common())
        return [f"{self.events.total():,} kills and stops: {events}", f"{self.steps.total():,} operations: {steps}"]

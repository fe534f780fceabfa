"""Ctrl-C at random instants, and forks, in a process that goes on with its library, as a notebook does."""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
from PIL import Image

from tests.fakes import COLOURS, FakeEncoder
from tests.libraries import new_library
from tests.torture.apart import apart
from tests.torture.campaign import Campaign, Case
from zsindex.errors import LibraryForked, UnknownLabelSet, ZsindexError
from zsindex.library import Library
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.storage.sqlite.lock import FolderLock

# Interrupts that come in time, and forks, of one case.
INTERRUPTS_EACH, FORKS_EACH = 50, 10
# Nothing here takes a second.
HUNG_S = 20.0
CASE_S = 300.0  # on a machine that has much else to do
LABELS = sorted(COLOURS)
# Files that were begun and not recorded yet, in the index and beside photos: one too many, no harm, as after a kill.
STRAYS = ("belong to no index", "left beside photos")
SIGNAL, LOOK = b"s", b"l"


def _is_stray(problem: str) -> bool:
    return any(words in problem for words in STRAYS)


def paint(folder: Path, number: int, colour: str) -> Path:
    """A photo whose bytes are its own and whose colour stands in its name."""
    file = folder / f"{number:05} {colour}.png"
    Image.new("RGB", (1 + number % 40, 1 + number // 40), COLOURS[colour]).save(file)
    return file


def colour_of(path: str) -> str:
    return Path(path).stem.partition(" ")[2]


class Elsewhere:
    """A process beside the one that forks it: interrupts that one, and says whether it gets at what that one uses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._here, there = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._here.close()
                self._work(there)
            finally:
                os._exit(0)
        there.close()

    def interrupt(self, after_s: float) -> None:
        self._here.sendall(SIGNAL + struct.pack("<d", after_s))

    def wait(self) -> None:
        """Until the signal has been sent."""
        self._here.recv(1)

    def look(self) -> str:
        """What it could not do; empty if it could do everything."""
        self._here.sendall(LOOK + struct.pack("<d", 0.0))
        (size,) = struct.unpack("<q", self._here.recv(8, socket.MSG_WAITALL))
        return self._here.recv(size, socket.MSG_WAITALL).decode() if size else ""

    def end(self) -> None:
        self._here.close()
        os.waitpid(self.pid, 0)

    def _work(self, pipe: socket.socket) -> None:
        while asked := pipe.recv(9, socket.MSG_WAITALL):
            if asked[:1] == SIGNAL:
                time.sleep(struct.unpack("<d", asked[1:])[0])
                os.kill(os.getppid(), signal.SIGINT)
                pipe.sendall(SIGNAL)
            else:
                told = self._look().encode()
                pipe.sendall(struct.pack("<q", len(told)) + told)

    def _look(self) -> str:
        try:
            for name in ("sync", "write", "jobs"):
                with FolderLock(self._folder, name, timeout_s=1.0).hold("look"):
                    pass
            with closing(SqliteDatabase.open(self._folder, create=False)) as database:
                database.sync_lock.timeout_s = 1.0
                with database.writing("look") as connection:
                    connection.execute("INSERT OR REPLACE INTO settings (key, value) VALUES ('looked', '1')")
        except Exception as error:  # noqa: BLE001
            return f"another process: {error!r}"
        return ""


def in_a_thread(act: Callable[[], None]) -> str:
    """What went wrong when another thread did it; empty if nothing did."""
    caught: list[str] = []

    def work() -> None:
        try:
            act()
        except BaseException:  # noqa: BLE001
            caught.append(traceback.format_exc())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(HUNG_S)
    if thread.is_alive():
        assert thread.ident is not None
        where = "".join(traceback.format_stack(sys._current_frames()[thread.ident]))
        return f"another thread waits for ever:\n{where}"
    return f"another thread failed:\n{caught[0]}" if caught else ""


@dataclass
class Told:
    """What came of a case.

    Attributes:
        found: what went wrong.
        interrupts: those that came in time, by what they interrupted.
        places: steps of zsindex that they interrupted, by file and line.
        ignored: those that Python itself dropped, as it does in a finalizer.
        late: those that came when the operation had ended.
        strays: times that `check --fix` had files in ``index/`` to remove.
        children: what the children of forks could do.
    """

    found: list[str] = field(default_factory=list)
    interrupts: Counter[str] = field(default_factory=Counter)
    places: set[str] = field(default_factory=set)
    ignored: int = 0
    late: int = 0
    strays: int = 0
    children: Counter[str] = field(default_factory=Counter)


class Notebook:
    """A process that uses a library, step by step, with a note of what has to be in it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.photos = folder / "library", folder / "photos"
        self.random = random.Random(seed)
        self.told = Told()
        self._n = 0
        self._disk: set[str] = set()
        self._stored: set[str] = set()
        self._prompts: list[str] = []
        self._versions: list[list[str]] = []
        self._corrected: dict[str, str] = {}
        self._runs: set[str] = set()
        self._may_come = self._came = False
        self.photos.mkdir(parents=True)
        new_library(self.folder)
        self.library = self._open()
        # Each makes ready what it needs, and returns what to do, and what to look at when that was done or interrupted.
        self.steps: dict[str, Callable[[], tuple[Callable[[], object], Callable[[bool], str]]]] = {
            "sync": self._sync, "new prompts": self._embed, "labels save": self._save, "correct": self._correct,
            "classify --record": self._record, "classify": self._ask, "search": self._search, "export": self._export,
            "tags write": self._tag, "neighbours": self._graph, "check --fix": self._check, "prune": self._prune,
            "reopen": self._reopen,
        }  # fmt: skip

    def _open(self) -> Library:
        return Library.open(self.folder, encoder=FakeEncoder(), batch_size=4, workers=2)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _number(self) -> int:
        self._n += 1
        return self._n

    def _sync(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        for _ in range(self.random.randint(1, 12)):
            self._disk.add(str(paint(self.photos, self._number(), self.random.choice(LABELS))))
        for path in self.random.sample(sorted(self._disk), min(2, len(self._disk) // 8)):
            Path(path).unlink()
            self._disk.remove(path)

        def look(done: bool) -> str:
            before, self._stored = self._stored, set(self.library.photos.paths())
            if done and self._stored != self._disk:
                return f"after a sync the library has {self._stored ^ self._disk} too much or not"
            if lost := (before & self._disk) - self._stored:
                return f"a sync has lost {lost}"
            extra = self._stored - self._disk - before
            return f"a sync has invented {extra}" if extra else ""

        return lambda: self.library.sync([self.photos]), look

    def _embed(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        texts = [f"{self.random.choice(LABELS)} thing {self._number()}" for _ in range(self.random.randint(1, 9))]

        def look(done: bool) -> str:
            session = self.library.session
            (model,) = [one for one in session.storage.reads.models() if one.info.spec.name == "fake"]
            there = session.storage.reads.prompt_vectors(texts, model, truncated=False)
            if there:
                self._prompts += texts
            expected = {len(texts)} if done else {0, len(texts)}
            return "" if len(there) in expected else f"{len(there)} of {len(texts)} prompts are stored"

        return lambda: self.library.embed_texts(texts), look

    def _save(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        labels = [*LABELS, f"label {self._number()}"]

        def look(done: bool) -> str:
            there = self._history()
            allowed = [[*self._versions, labels]] if done else [self._versions, [*self._versions, labels]]
            self._versions, before = there, len(self._versions)
            return "" if there in allowed else f"{before} versions of a label set became {len(there)}"

        return lambda: self.library.labels.save("set", labels), look

    def _history(self) -> list[list[str]]:
        with suppress(UnknownLabelSet):
            newest = self.library.labels.get("set").version or 0
            return [list(self.library.labels.get(f"set@{number}").labels) for number in range(1, newest + 1)]
        return []

    def _correct(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        chosen = self.random.sample(sorted(self._stored), min(5, len(self._stored)))
        new = {path: self.random.choice(LABELS) for path in chosen}

        def look(done: bool) -> str:
            # Of photos that have gone they are kept, too, but not listed by their path.
            before = {path: label for path, label in self._corrected.items() if path in self._stored}
            self._corrected = self._corrections()
            allowed = [{**before, **new}] if done else [before, {**before, **new}]
            return "" if self._corrected in allowed else f"{before} and {new} became {self._corrected}"

        said = [(path, label, False) for path, label in new.items()]
        return lambda: self.library.corrections.add_all("set", said), look

    def _corrections(self) -> dict[str, str]:
        found = self.library.corrections.list("set")
        return {path: one.label for one in found for path in one.paths if one.label is not None}

    def _record(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        answers = []

        def look(done: bool) -> str:
            before, self._runs = self._runs, {one.key for one in self.library.runs.list()}
            if done and answers[0].run.key not in self._runs:
                return "a recorded run is not there"
            if lost := before - self._runs:
                return f"recorded runs are gone: {lost}"
            return "" if len(self._runs - before) <= 1 else "one run became several"

        template = f"{{}} at {self._number()}"
        return lambda: answers.append(self.library.classify(LABELS, template=template, record=True)), look

    def _ask(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        answers = []

        def look(done: bool) -> str:
            if not done:
                return ""
            wrong = [one.path for one in answers[0] if one.label != colour_of(one.path)]
            if wrong or {one.path for one in answers[0]} != self._stored:
                return f"an answer is wrong of {wrong}, or is not of {len(self._stored)} photos"
            return ""

        return lambda: answers.append(self.library.classify(LABELS, template="{}")), look

    def _search(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        hits = []
        colour = self.random.choice(sorted({colour_of(path) for path in self._stored}))

        def look(done: bool) -> str:
            return f"{hits[0]} for {colour}" if done and colour_of(hits[0][0].path) != colour else ""

        return lambda: hits.append(self.library.search(colour, top=3)), look

    def _export(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        target = self.folder.parent / "exports" / str(self._number())

        def look(done: bool) -> str:
            if not target.exists():
                return "an export is not there" if done else ""
            vectors = np.concatenate([np.load(part) for part in sorted(target.rglob("img_emb*.npy"))])
            n = len(vectors)
            return "" if n == len(self._stored) else f"{n} of {len(self._stored)} photos are in an export"

        return lambda: self.library.vectors.export_to(target), look

    def _tag(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        there = sorted(self._stored & self._disk)
        paths = self.random.sample(there, min(6, len(there)))

        def act() -> None:
            answers = self.library.classify(LABELS, template="{}", paths=paths, sync=False)
            self.library.tags.write(answers, top=1, apply=True)

        def look(done: bool) -> str:
            for path in paths:
                sidecar = Path(f"{path}.xmp")
                if (done or sidecar.exists()) and colour_of(path) not in sidecar.read_text(encoding="utf-8"):
                    return f"{sidecar} lacks its tag"
            return ""

        return act, look

    def _graph(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        return lambda: self.library.neighbours.graph(), lambda done: ""

    def _check(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        reports = []

        def look(done: bool) -> str:
            problems = [one for one in reports[0].problems if not _is_stray(one)] if done else []
            return f"check says {problems}" if problems else ""

        return lambda: reports.append(self.library.check(fix=True)), look

    def _prune(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        def look(done: bool) -> str:
            lost = self._stored - set(self.library.photos.paths())
            return f"prune has lost {lost}" if lost else ""

        return lambda: self.library.prune(), look

    def _reopen(self) -> tuple[Callable[[], object], Callable[[bool], str]]:
        def act() -> None:
            self.library.close()
            self.library = self._open()

        return act, lambda done: ""

    # --- interrupts ---------------------------------------------------------------------------------------------------

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._may_come:
            self._may_come, self._came = False, True
            raise KeyboardInterrupt

    def _do(self, act: Callable[[], object]) -> BaseException | None:
        """What came out of it."""
        self._came = False
        try:
            self._may_come = True
            act()
            self._may_come = False
        except BaseException as error:  # noqa: BLE001
            self._may_come = False
            return error
        return None

    def interrupts(self) -> Told:
        """Step by step, most of them interrupted; after each, others get at everything, and nothing is half done."""
        signal.signal(signal.SIGINT, self._handle)
        sys.unraisablehook = self._ignored
        elsewhere = Elsewhere(self.folder)
        kept: list[BaseException] = []  # with what their tracebacks hold, as a notebook keeps the last ones
        seconds = dict.fromkeys(self.steps, 0.0)
        threads = threading.active_count()
        first = [*self.steps]
        while self.told.interrupts.total() < INTERRUPTS_EACH and not self.told.found:
            name = first.pop(0) if first else self.random.choice([*self.steps])
            act, look = self.steps[name]()
            is_first = seconds[name] == 0.0
            if not is_first:
                elsewhere.interrupt(self.random.uniform(0.0, seconds[name]))
            begun = time.perf_counter()
            error = self._do(act)
            took = time.perf_counter() - begun
            if not is_first:
                elsewhere.wait()
            self._judge(name, error, act, look, elsewhere)
            if error is None:
                seconds[name] = took
            kept = [*kept[-2:], *([] if error is None else [error])]
        self._end(elsewhere, threads, kept)
        return self.told

    def _ignored(self, unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            self.told.ignored += 1
            self._came = False
        elif "zsindex" in str(getattr(unraisable.object, "__module__", "zsindex")):
            # Of a ZipFile, say, that was interrupted as it was made, Python says so by itself.
            self.told.found.append(f"Python could not raise {unraisable.exc_value!r} in {unraisable.object!r}")

    def _judge(
        self,
        name: str,
        error: BaseException | None,
        act: Callable[[], object],
        look: Callable[[bool], str],
        elsewhere: Elsewhere,
    ) -> None:
        say = self.told.found.append
        if error is None:
            self.told.late += 1
            if self._came:
                say(f"{name}: Ctrl-C was swallowed")
        elif isinstance(error, KeyboardInterrupt):
            self.told.interrupts[name] += 1
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "/zsindex/" in frame.filename]
            self.told.places |= {f"{frame.filename}:{frame.lineno}" for frame in ours[-1:]}
        else:
            say(f"{name}: {''.join(traceback.format_exception(error))}")
        if error is not None:
            if name == "reopen":
                act()
            where = "".join(traceback.format_exception(error)[-4:])
            for wrong in (in_a_thread(self._use), elsewhere.look()):
                if wrong:
                    say(f"{name}, interrupted: {wrong}\n{where}")
        if not self.told.found and (wrong := look(error is None)):
            say(f"{name}, {'done' if error is None else 'interrupted'}: {wrong}")

    def _use(self) -> None:
        self.library.embed_texts([f"new {self._number()}"])
        if not self.library.session.closed and self._stored:
            self.library.labels.list()
            with suppress(ZsindexError):  # photos whose sync was interrupted may all have gone
                self.library.classify(LABELS, template="{}")

    def _end(self, elsewhere: Elsewhere, threads: int, kept: list[BaseException]) -> None:
        say = self.told.found.append
        if not self.told.found:
            self.library.close()
            kept.clear()
            gc.collect()
            if threading.active_count() > threads:
                say(f"threads are left: {threading.enumerate()}")
            if wrong := elsewhere.look():
                say(f"at the end: {wrong}")
            self.settle()
        elsewhere.end()

    def settle(self) -> None:
        """Look at everything, in a library that is opened anew."""
        say = self.told.found.append
        new = self._disk - self._stored
        with self._open() as self.library:
            problems = self.library.check(fix=True).problems
            self.library.prune()
            self.told.strays += len(problems)
            if not all(map(_is_stray, problems)) or (problems := self.library.check().problems):
                say(f"at the end check says {problems}")
            if (encoded := self.library.sync([self.photos]).encoded) > len(new):
                say(f"{encoded} photos were encoded at the end, and {len(new)} were new")
            self._stored = set(self.library.photos.paths())
            if self._stored != self._disk:
                say("the last sync did not end where a first one would have")
            act, look = self._ask()
            act()
            if wrong := look(True):
                say(f"at the end: {wrong}")
            if self._history() != self._versions:
                say("versions of a label set are gone at the end")
            corrected = {path: said for path, said in self._corrected.items() if path in self._disk}
            if self._corrections() != corrected:
                say(f"corrections are gone at the end: {corrected} became {self._corrections()}")
            if lost := self._runs - {one.key for one in self.library.runs.list()}:
                say(f"recorded runs are gone at the end: {lost}")
        encoder = FakeEncoder()
        with Library.open(self.folder, encoder=encoder) as library:
            vectors = library.embed_texts(self._prompts)
        if encoder.texts:
            say(f"prompts are gone at the end: {encoder.texts}")
        if not np.array_equal(vectors, FakeEncoder().encode_texts(self._prompts)):
            say("a prompt has another vector at the end")

    # --- forks --------------------------------------------------------------------------------------------------------

    def forks(self) -> Told:
        """Fork while another thread uses the library: the child is refused, or what it stores stays."""
        say = self.told.found.append
        for name in ("sync", "labels save", "new prompts"):
            self._once(name)
        stop, saved = threading.Event(), []

        def work() -> None:
            while not stop.is_set() and not self.told.found:
                self._once(self.random.choice(["sync", "new prompts", "labels save", "correct", "classify", "search"]))

        def child(number: int) -> str:
            try:
                self.library.embed_texts(["from a child"])
            except LibraryForked:
                pass
            else:
                return "went on with its parent's library"
            try:
                with Library.open(self.folder, encoder=FakeEncoder()) as library:
                    library.labels.save(f"of child {number}", LABELS)
                    library.embed_texts([f"{LABELS[0]} of child {number}"])
                    return "opened it anew" if library.classify(LABELS, template="{}") else "no answer"
            except LibraryForked:
                return "was refused"

        chance = random.Random(self.random.random())
        working = threading.Thread(target=work)
        working.start()
        for number in range(FORKS_EACH):
            time.sleep(chance.uniform(0.0, 0.03))
            ending = apart(partial(child, number), timeout_s=HUNG_S)
            if ending.hung or ending.value is None:
                say(f"the child of a fork {'hung' if ending.hung else ending.trace or f'died of {ending.signal}'}")
                continue
            self.told.children[ending.value] += 1
            if ending.value == "opened it anew":
                saved.append(f"of child {number}")
            elif ending.value != "was refused":
                say(f"the child of a fork {ending.value}")
        stop.set()
        working.join(HUNG_S)
        if working.is_alive():
            say("a thread of the parent hangs")
            return self.told
        # Who opens and closes it alone removes the log that somebody without locks would write to.
        self.library.close()
        with self._open() as library:
            gone = set(saved) - {one.name for one in library.labels.list()}
            if gone:
                say(f"what children stored is gone: {gone}")
        self.settle()
        return self.told

    def _once(self, name: str) -> None:
        act, look = self.steps[name]()
        try:
            act()
            wrong = look(True)
        except Exception:  # noqa: BLE001
            wrong = traceback.format_exc()
        if wrong:
            self.told.found.append(f"{name} beside forks: {wrong}")


class Interrupts(Campaign):
    """See the module."""

    name = "interrupts"
    about = "Ctrl-C at random instants, and forks, in a process that goes on with its library"
    in_ci = 2

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self.told = Told()

    def missing(self) -> str | None:
        return None if hasattr(os, "fork") else "it forks"

    def cases(self) -> Iterator[Case]:
        for number in range(1 << 62):
            seed = self.random.randrange(1 << 32)
            kind = f"{FORKS_EACH} forks" if number % 4 == 1 else f"{INTERRUPTS_EACH} interrupts"
            yield Case(kind, str(number), partial(self._judge, self.work / str(number), kind, seed))

    def _judge(self, folder: Path, kind: str, seed: int) -> Sequence[str]:
        def act() -> Told:
            notebook = Notebook(folder, seed)
            return notebook.forks() if kind.endswith("forks") else notebook.interrupts()

        ending = apart(act, timeout_s=CASE_S)
        shutil.rmtree(folder, ignore_errors=True)
        if ending.hung:
            return [f"it had not ended after {CASE_S:.0f} s"]
        if ending.value is None:
            return [f"the process died of signal {ending.signal}" if ending.signal else ending.trace]
        told = ending.value
        self.told.interrupts += told.interrupts
        self.told.children += told.children
        self.told.places |= told.places
        self.told.ignored += told.ignored
        self.told.late += told.late
        self.told.strays += told.strays
        return told.found

    def notes(self) -> Sequence[str]:
        told = self.told
        by_step = ", ".join(f"{name} {n}" for name, n in told.interrupts.most_common())
        return [
            f"{told.interrupts.total():,} interrupts at {len(told.places):,} lines of zsindex: {by_step}",
            f"{told.late:,} came after the end, {told.ignored:,} were dropped by Python in a finalizer",
            f"files of no index to remove, by check --fix at the end, in {told.strays:,} cases",
            "children of forks: " + (", ".join(f"{n} {what}" for what, n in told.children.items()) or "none"),
        ]

"""Rot: bits that flip, blocks that are zeroed or change places, files that are cut short, in everything that a library
keeps. What is answered is then right, or something is said about it; `check` tells of it, `check --fix` and a sync
bring back what can be had again, and what cannot is told by its name.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import struct
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, TypeAlias

from tests.fakes import FakeEncoder
from tests.scenes import damaged as no_photo
from tests.scenes import photo
from tests.torture.apart import apart
from tests.torture.campaign import Campaign, Case
from zsindex.errors import ZsindexError, ZsindexWarning
from zsindex.library import Library
from zsindex.photos.thumbnails import Thumbnails
from zsindex.storage import seals, stored
from zsindex.storage.sqlite.file import FILE_NAME, PAGE_SIZE

LABELS = ["red", "green", "blue", "yellow"]
SET, OTHER_SET = "colours", "shades"
TIMEOUT_S = 120.0
# Between two answers that are the same: rows may lie in another order after a repair.
ALIKE = 2e-5
LOG = f"{FILE_NAME}-wal"
SECTOR = 512

# What a question came to: its value, or what was said instead.
Answer: TypeAlias = "tuple[str, Any]"


# --- the library ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sound:
    """What is damaged, as it was written.

    Attributes:
        library: a library that was closed.
        logged: one whose last writer was killed: much of it is in the log only.
        album: the photos of both; the second one has others besides.
        answers: of the closed one.
        states: of the other one, what it answers after each of the commits that its log holds, and before the first.
        pages: of the closed one's database, by the table or index that they belong to.
        modules: what had to be imported to ask.
    """

    library: Path
    logged: Path
    album: Path
    answers: Mapping[str, Answer]
    states: Sequence[Mapping[str, Answer]]
    pages: Mapping[str, Sequence[int]]
    modules: Sequence[str]


def make(library: Path, album: Path) -> None:
    """Fill a library with something of every kind."""
    colours = random.Random(7)
    for n in range(26):
        colour = colours.randrange(256), colours.randrange(256), colours.randrange(256)
        photo(album / f"{n % 3}" / f"{n:02d}.png", colour, mark=n)
    shutil.copy(album / "0" / "00.png", album / "1" / "copy.png")
    photo(album / "2" / "near 1.png", (200, 30, 30), mark=90)
    photo(album / "2" / "near 2.png", (197, 33, 30), mark=91)
    no_photo(album / "1" / "broken.png")
    with Library.open(library, encoder=FakeEncoder()) as opened:
        opened.sync(album)
        opened.labels.save(SET, LABELS)
        opened.labels.save(SET, [*LABELS, "white"])
        opened.labels.save(OTHER_SET, {"dark": ["black"], "light": ["white", "yellow"]})
        opened.templates.save("mine", ["a {} thing", "the {} one"])
        opened.corrections.add_all(
            SET, [(album / str(n % 3) / f"{n:02d}.png", LABELS[n % 4], n % 5 == 0) for n in range(8)]
        )
        opened.corrections.add(SET, album / "2" / "08.png", "white")
        near = [album / "2" / f"near {n}.png" for n in (1, 2)]
        opened.decisions.add(different=[(album / "0" / "00.png", near[0])], keep=near[1])
        opened.albums.save("reds", "something red", top=5)
        opened.albums.photos("reds", look=True)
        survey = opened.surveys.begin("count", {"label": "red"})
        opened.surveys.draw(survey.id, [(album / "2" / "08.png", {"chance": 0.5})])
        opened.surveys.answer(survey.id, 1, "yes")
        opened.thresholds.choose(SET, "red", count=9)
        opened.thresholds.choose(SET, "blue", rate=0.3)
        opened.session.storage.labels.save_temperature(opened.session.model.row().id, 1.7, {"photos": 20})
        opened.neighbours.graph()
        opened.classify(LABELS, record=True)
        opened.classify(label_set=SET, unknown="zscore:0.1", record=True)
        opened.tags.write(opened.classify(label_set=SET, top=1, paths=album / "2", sync=False), apply=True)
        for n in range(3):  # in no index file
            photo(album / "late" / f"{n}.png", (70 * n, 255 - 60 * n, 90), mark=200 + n)
        opened.sync(album)
        ask(opened, album)
    with Library.open(library, encoder=FakeEncoder("other"), model="other") as opened:
        opened.sync(album / "0")


def write_more(library: Path, album: Path) -> None:
    """Commit a few things, each of which a process that is killed next leaves in the log."""
    opened = Library.open(library, encoder=FakeEncoder())
    opened.corrections.add(SET, album / "0" / "09.png", "yellow")
    opened.labels.save("saved late", ["a sunset", "a beach"])
    photo(album.with_name("more") / "later.png", (10, 120, 200), mark=300)
    opened.sync(album.with_name("more"))
    opened.corrections.add(SET, album / "1" / "10.png", "blue")
    opened.thresholds.choose(SET, "green", rate=0.2)


# --- questions --------------------------------------------------------------------------------------------------------


def _scores(found: Any) -> Any:
    return {result.path: [(p.label, p.score) for p in result.predictions] for result in found}


def _hits(found: Any) -> Any:
    return {hit.path: (hit.score, sorted(hit.copies)) for hit in found}


def _record(record: Any) -> Any:
    found = record.to_dict()
    return {name: found[name] for name in ("key", "photos", "answers", "label_set", "run", "recorded_at")}


def _repeated(library: Library) -> Any:
    found = []
    for record in library.runs.list():
        repeat = library.runs.repeat(record.key)
        compared = None if repeat.compared is None else (len(repeat.flips), repeat.added, repeat.gone)
        found.append((record.key, _scores(repeat.result), compared))
    return found


def _status(library: Library) -> Any:
    found = library.status().to_dict()
    return {name: found[name] for name in found if name not in ("path", "read_only", "versions")
            and not name.endswith("_bytes")}  # fmt: skip


def _duplicates(library: Library) -> Any:
    found = library.neighbours.duplicates(look=False)
    return [(g.keep.path, g.keep.width, sorted((o.path, o.cosine, o.exact) for o in g.others)) for g in found.groups]


def _corrected(library: Library) -> Any:
    return [one.to_dict() for one in library.corrections.list(SET)]


def _plain(value: Any) -> Any:
    return sorted((str(key), str(one)) for key, one in value.items()) if isinstance(value, dict) else str(value)


QUESTIONS: Mapping[str, Callable[[Library, Path], Any]] = {
    "classify": lambda library, album: _scores(library.classify(LABELS, top=None, sync=False)),
    "classify, templates": lambda library, album: _scores(library.classify(LABELS, template="mine", top=2)),
    "classify, a label set": lambda library, album: _scores(library.classify(label_set=SET, top=None)),
    "classify, one folder": lambda library, album: _scores(
        library.classify(LABELS, paths=album / "1", top=1, sync=False)
    ),
    "classify, unknown": lambda library, album: _scores(library.classify(label_set=SET, unknown="zscore:0.1", top=2)),
    "classify, thresholds": lambda library, album: _scores(library.classify(label_set=SET, thresholds=True, top=2)),
    "classify, multi-label": lambda library, album: _scores(
        library.classify(label_set=OTHER_SET, multi_label=True, top=2)
    ),
    "classify, corrections": lambda library, album: _scores(
        library.classify(label_set=SET, with_corrections="gda", top=2)
    ),
    "classify, temperature": lambda library, album: _scores(library.classify(LABELS, temperature="fitted", top=2)),
    "classify, smooth": lambda library, album: _scores(library.classify(LABELS, smooth=True, top=2)),
    "search": lambda library, album: _hits(library.search("something blue", top=50)),
    "similar": lambda library, album: _hits(library.similar(album / "0" / "03.png", top=50)),
    "duplicates": lambda library, album: _duplicates(library),
    "copies": lambda library, album: [one.paths for one in library.neighbours.copies()],
    "runs": lambda library, album: [_record(record) for record in library.runs.list()],
    "runs repeat": lambda library, album: _repeated(library),
    "labels": lambda library, album: [(found.name, found.version, found) for found in library.labels.list()],
    "labels history": lambda library, album: [found.body for found in library.labels.history(SET)],
    "templates": lambda library, album: library.templates.list(),
    "corrections": lambda library, album: _corrected(library),
    "albums": lambda library, album: [
        (one.name, library.albums.photos(one.name).to_dict()["went"], one.question) for one in library.albums.list()
    ],
    "surveys": lambda library, album: [
        (one.id, one.question, [(look.path, look.answer) for look in library.surveys.looks(one.id)])
        for one in library.surveys.list()
    ],
    "decisions": lambda library, album: [one.to_dict() for one in library.decisions.list()],
    "thresholds": lambda library, album: [(c.label, c.rate) for c in library.thresholds.curves(SET).curves],
    "temperature": lambda library, album: library.temperature.get(),
    "status": lambda library, album: _status(library),
    "photos": lambda library, album: library.photos.paths(),
    "skipped": lambda library, album: [(s.path, s.reason) for s in library.photos.skipped()],
    "vectors": lambda library, album: library.embed_images(sorted((album / "late").glob("?.png"))).tolist(),
    "sidecars": lambda library, album: _plain(library.tags.retract()),
}


def ask(library: Library, album: Path) -> dict[str, Answer]:
    """Each question once: ``("answer", value)``, with ``"told"`` where something was said besides, ``("error", words)``
    of an error of zsindex's own, or ``("raw", words)`` of any other.
    """
    found: dict[str, Answer] = {}
    for name, question in QUESTIONS.items():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                value = question(library, album)
            except ZsindexError as error:
                found[name] = "error", f"{type(error).__name__}: {error}"
                continue
            except Exception as error:  # noqa: BLE001
                found[name] = "raw", _raw(error)
                continue
        words = [str(one.message) for one in said if issubclass(one.category, ZsindexWarning)]
        found[name] = ("told", (value, words)) if words else ("answer", value)
    return found


def _raw(error: BaseException) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    last = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "zsindex" in frame.filename][-3:]
    return f"{type(error).__module__}.{type(error).__name__}: {str(error)[:200]} at {' > '.join(last)}"


def alike(one: Any, other: Any) -> bool:
    """Whether two answers are the same, but for the last digits of numbers."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= ALIKE
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(alike(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


def value_of(answer: Answer) -> Any:
    kind, value = answer
    return value[0] if kind == "told" else value


# --- damage -----------------------------------------------------------------------------------------------------------


def used(content: bytes, start: int, end: int) -> list[int]:
    """Places of a page at which something stands."""
    return [place for place in range(start, min(end, len(content))) if content[place]]


def harm(content: bytes, rng: random.Random, start: int, end: int, others: Sequence[int]) -> tuple[str, bytes, int]:
    """Damage something between two places of a file.

    Args:
        others: where other pages begin, with one of which it may change places.

    Returns:
        What was done, in words; the content then; and how many bits were flipped.
    """
    hurt = bytearray(content)
    kind = rng.choices(("bit", "bits", "byte", "zeros", "swap", "cut"), (54, 24, 6, 7, 6, 3))[0]
    if kind in ("bit", "bits", "byte"):
        filled = used(content, start, end)
        # Mostly where something stands: much of a page is empty.
        places = [
            rng.choice(filled) if filled and rng.random() < 0.8 else rng.randrange(start, end)
            for _ in range(rng.randint(2, 8) if kind == "bits" else 1)
        ]
        if kind == "byte":
            hurt[places[0]] = rng.randrange(256)
            return (
                f"byte {places[0]} made {hurt[places[0]]}",
                bytes(hurt),
                (hurt[places[0]] ^ content[places[0]]).bit_count(),
            )
        bits = [(place, rng.randrange(8)) for place in places]
        for place, bit in bits:
            hurt[place] ^= 1 << bit
        return f"flipped {', '.join(f'bit {bit} of byte {place}' for place, bit in bits)}", bytes(hurt), len(bits)
    if kind == "zeros":
        length = rng.choice((SECTOR, 4096, end - start))
        first = start + rng.randrange(0, max(1, end - start - length + 1), SECTOR)
        hurt[first : first + length] = bytes(min(length, len(hurt) - first))
        return f"{length} bytes from {first} zeroed", bytes(hurt), 0
    if kind == "swap" and others:
        other = rng.choice(others)
        size = min(end - start, len(content) - other)
        hurt[start : start + size], hurt[other : other + size] = content[other:][:size], content[start : start + size]
        return f"{size} bytes at {start} and {other} changed places", bytes(hurt), 0
    keep = rng.choice((start, rng.randrange(start, end)))
    return f"cut to {keep} bytes", content[:keep], 0


def pages_of(database: Path) -> dict[str, list[int]]:
    """Numbers of the pages of each table and index, from 0, by walking the trees; and those that none has."""
    content = database.read_bytes()
    size = struct.unpack(">H", content[16:18])[0]
    found: dict[str, list[int]] = {}
    with closing(sqlite3.connect(database)) as connection:
        roots = [("sqlite_master", 1), *connection.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage")]
    for name, root in roots:
        todo, mine = [root], found.setdefault(name, [])
        while todo:
            number = todo.pop()
            mine.append(number - 1)
            at = (number - 1) * size + (100 if number == 1 else 0)
            if content[at] in (2, 5):
                n_cells = struct.unpack(">H", content[at + 3 : at + 5])[0]
                todo.append(struct.unpack(">I", content[at + 8 : at + 12])[0])
                for cell in range(n_cells):
                    where = struct.unpack(">H", content[at + 12 + 2 * cell : at + 14 + 2 * cell])[0]
                    base = (number - 1) * size + where
                    todo.append(struct.unpack(">I", content[base : base + 4])[0])
    taken = {page for pages in found.values() for page in pages}
    found["other pages"] = [page for page in range(len(content) // size) if page not in taken]
    return {name: pages for name, pages in found.items() if pages}


# --- the campaign -----------------------------------------------------------------------------------------------------


@dataclass
class Judgement:
    """What a case came to.

    Attributes:
        what: was done to which file.
        wrong: what went wrong, in sentences.
        flips: how many bits were flipped.
        outcome: ``unharmed``, ``refused``, ``told``, ``told by check alone``, ``repaired``, or ``beyond repair``.
    """

    what: str
    flips: int
    wrong: list[str] = field(default_factory=list)
    outcome: str = "unharmed"


class Rot(Campaign):
    """Damages a file of a library, asks, checks, repairs, and asks again."""

    name: ClassVar[str] = "rot"
    about: ClassVar[str] = "flips bits, zeroes, swaps and cuts in what a library keeps"
    in_ci: ClassVar[int] = 40

    def __init__(self, work: Path, seed: int, *, control: bool = False) -> None:
        """Args:
        control: no checksum of a row is compared. Wrong answers have to be found then.
        """
        super().__init__(work, seed)
        self.outcomes: Counter[str] = Counter()
        self.reached: Counter[str] = Counter()
        self.flips = 0
        self.controlled = "the control did not run"
        self._control = control
        self._sound: Sound | None = None

    def cases(self) -> Iterator[Case]:
        sound = self.sound()
        targets = list(sound.pages)
        kinds = ["database"] * 12 + ["log"] * 2 + ["index", "graph", "run", "thumbnail"]
        yield Case("control", "no checksum is compared", partial(self._controlled, self.random.getrandbits(32)))
        while True:
            kind, own = self.random.choice(kinds), self.random.getrandbits(64)
            target = self.random.choice(targets) if kind == "database" else kind
            yield self.case(kind, target, own)

    def case(self, kind: str, target: str, own: int) -> Case:
        """The case of a number of its own.

        Args:
            kind: of file.
            target: the table or index of the database; of another kind the same as this.
        """
        name = f"{kind}, {target}" if kind == "database" else kind
        return Case(name, f"{own:016x}", partial(self.judge, kind, target, own))

    def notes(self) -> Sequence[str]:
        ends = ", ".join(f"{count:,} {what}" for what, count in self.outcomes.most_common())
        reached = ", ".join(f"{name} {n:,}" for name, n in sorted(self.reached.items()))
        return [self.controlled, ends, f"{self.flips:,} bits flipped; reached: {reached}"]

    def sound(self) -> Sound:
        """What is damaged, made once."""
        if self._sound is None:
            ending = apart(partial(_made, self.work, control=self._control), timeout_s=TIMEOUT_S)
            if ending.value is None:
                raise RuntimeError(f"the library could not be made: {ending}")
            self._sound = ending.value
            for module in ending.value.modules:  # once, rather than in each case
                import_module(module)
        return self._sound

    def judge(self, kind: str, target: str, own: int) -> list[str]:
        ending = apart(partial(self.run, kind, target, own), timeout_s=TIMEOUT_S)
        self.reached[target] += 1
        if ending.value is None:
            how = "hung" if ending.hung else ending.trace or f"died by signal {ending.signal}"
            return [how]
        self.outcomes[ending.value.outcome] += 1
        self.flips += ending.value.flips
        return [f"{ending.value.what}: {wrong}" for wrong in ending.value.wrong]

    def _controlled(self, seed: int) -> list[str]:
        """Of a library whose rows have no checksums, wrong answers have to be found."""
        work = self.work / "control"
        work.mkdir()
        campaign = Rot(work, seed, control=True)
        campaign.sound()
        for n in range(1, MOST_CONTROLS + 1):
            case = campaign.case("database", campaign.random.choice(CONTROLLED), campaign.random.getrandbits(64))
            if any("without a word" in wrong for wrong in case.run()):
                self.controlled = f"control: where no checksum is compared, case {n} is answered wrongly without a word"
                return []
        return [f"where no checksum is compared, no wrong answer is found in {MOST_CONTROLS} cases"]

    # --- in a process of its own --------------------------------------------------------------------------------------

    def run(self, kind: str, target: str, own: int) -> Judgement:
        """Do a case from its own number."""
        if self._control:
            compare_nothing()
        rng, sound, folder = random.Random(own), self.sound(), self.work / "case"
        shutil.rmtree(folder, ignore_errors=True)
        if kind == "thumbnail":
            return _thumbnail(folder, rng)
        if kind == "log":
            return _log(folder, sound, rng)
        shutil.copytree(sound.library, folder)
        file, what, flips = _harmed(folder, sound, rng, kind, target)
        return _judged(Judgement(f"{target}, {file.name}, {what}", flips), folder, sound, read_only=rng.random() < 0.5)


# Tables in which much damage makes an answer wrong; in more than a quarter of all cases.
CONTROLLED = ("label_sets", "corrections", "runs", "template_sets")
MOST_CONTROLS = 60


def compare_nothing() -> None:
    """From here on all checksums of rows are 0, in this process."""
    none = SimpleNamespace(crc32=lambda content, begin=0: 0)
    for module in (stored, seals):
        module.zlib = none


def _harmed(folder: Path, sound: Sound, rng: random.Random, kind: str, target: str) -> tuple[Path, str, int]:
    if kind == "database":
        file = folder / FILE_NAME
        content = file.read_bytes()
        start = rng.choice(sound.pages[target]) * PAGE_SIZE
        others = [page * PAGE_SIZE for pages in sound.pages.values() for page in pages if page * PAGE_SIZE != start]
        what, hurt, flips = harm(content, rng, start, start + PAGE_SIZE, others)
    else:
        ending = {"index": "*.faiss", "graph": "*.neighbours", "run": "run-*"}[kind]
        file = rng.choice(sorted((folder / "index").glob(ending)))
        content = file.read_bytes()
        what, hurt, flips = harm(content, rng, 0, len(content), range(0, len(content), SECTOR))
    file.write_bytes(hurt)
    return file, what, flips


def _made(work: Path, *, control: bool) -> Sound:
    if control:
        compare_nothing()
    base, logged, album = work / "sound", work / "logged", work / "album"
    make(base, album)
    shutil.copytree(base, logged)
    ending = apart(partial(write_more, logged, album), timeout_s=TIMEOUT_S)
    if ending.error is not None or not (logged / LOG).stat().st_size:
        raise RuntimeError(f"no log was left: {ending}")
    answers = _answers(base, album)
    states = []
    for keep in [] if control else commits(logged / LOG):
        state = work / "state"
        shutil.copytree(logged, state, ignore=shutil.ignore_patterns("*-shm"))
        os.truncate(state / LOG, keep)
        states.append(_answers(state, album))
        shutil.rmtree(state)
    modules = [name for name, module in sys.modules.items() if name.startswith(("zsindex.", "sqlalchemy", "faiss."))
               and module.__spec__ is not None]  # fmt: skip
    return Sound(base, logged, album, answers, states, pages_of(base / FILE_NAME), modules)


def _answers(library: Path, album: Path) -> dict[str, Answer]:
    with Library.open(library, encoder=FakeEncoder(), read_only=True) as opened:
        answers = ask(opened, album)
    odd = {name: answer for name, answer in answers.items() if answer[0] != "answer"}
    if odd:
        raise RuntimeError(f"already without damage: {odd}")
    return answers


def commits(log: Path) -> list[int]:
    """Sizes of a log behind its head and behind each commit."""
    content = log.read_bytes()
    size = struct.unpack(">I", content[8:12])[0] + 24
    frames = range(32, len(content) - size + 1, size)
    return [32, *(at + size for at in frames if content[at + 4 : at + 8] != bytes(4))]


# --- judgement --------------------------------------------------------------------------------------------------------


def _thumbnail(folder: Path, rng: random.Random) -> Judgement:
    """A kept thumbnail is what was kept, or is made again."""
    kept = rng.randbytes(3000)
    Thumbnails(folder, max_bytes=1 << 20).add("ab12.jpg", kept)
    (file,) = folder.glob("*/*.jpg")
    content = file.read_bytes()
    what, hurt, flips = harm(content, rng, 0, len(content), range(0, len(content), SECTOR))
    file.write_bytes(hurt)
    judgement = Judgement(f"thumbnail, {what}", flips)
    found = Thumbnails(folder, max_bytes=1 << 20).get("ab12.jpg")
    if found is None:
        judgement.outcome = "repaired"
    elif found != kept:
        judgement.wrong.append("another picture came back")
    return judgement


def _log(folder: Path, sound: Sound, rng: random.Random) -> Judgement:
    """Of a damaged log as much counts as is whole: all answers are of one state that was committed."""
    shutil.copytree(sound.logged, folder, ignore=shutil.ignore_patterns("*-shm"))
    content = (folder / LOG).read_bytes()
    start = rng.randrange(0, len(content), SECTOR)
    what, hurt, flips = harm(content, rng, start, min(start + SECTOR, len(content)), range(0, len(content), SECTOR))
    (folder / LOG).write_bytes(hurt)
    judgement = Judgement(f"{LOG}, {what}", flips)
    with Library.open(folder, encoder=FakeEncoder(), read_only=rng.random() < 0.5) as library:
        answers = ask(library, sound.album)
    matching = [n for n, state in enumerate(sound.states) if not _differing(answers, state)]
    if not matching:
        nearest = min((_differing(answers, state) for state in sound.states), key=len)
        told = [name for name in nearest if answers[name][0] in ("told", "error")]
        if told != nearest:
            judgement.wrong.append(f"these answers belong to no state: {nearest}")
    judgement.outcome = "unharmed" if len(sound.states) - 1 in matching else "a state before"
    with Library.open(folder, encoder=FakeEncoder()) as library:
        library.check(fix=True)
        library.sync(sound.album)
        if not (report := library.check()).ok:
            judgement.wrong.append(f"after a sync, check tells: {report.problems}")
    return judgement


def _differing(answers: Mapping[str, Answer], right: Mapping[str, Answer]) -> list[str]:
    """Questions to which the answer is not the right one."""
    return [
        name
        for name, answer in answers.items()
        if answer[0] not in ("answer", "told") or not alike(value_of(answer), value_of(right[name]))
    ]


def _judged(judgement: Judgement, folder: Path, sound: Sound, *, read_only: bool) -> Judgement:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            library = Library.open(folder, encoder=FakeEncoder(), read_only=read_only)
        except ZsindexError:
            judgement.outcome = "refused"
            return judgement
        except Exception as error:  # noqa: BLE001
            judgement.wrong.append(f"opening: {_raw(error)}")
            return judgement
    told = [str(one.message) for one in said if issubclass(one.category, ZsindexWarning)]
    with library:
        answers = ask(library, sound.album)
    differ, silent = _differing(answers, sound.answers), []
    for name, answer in answers.items():
        if answer[0] == "raw":
            judgement.wrong.append(f"{name}: {answer[1]}")
        elif name in differ and answer[0] == "answer" and not told:
            silent.append(name)
        told += answer[1][1] if answer[0] == "told" else []
    judgement.outcome = "told" if differ or told else "unharmed"
    if silent and _is_lost(folder, {name: answers[name] for name in silent}, sound.answers):
        judgement.outcome = "told by check alone"
    else:
        judgement.wrong += [
            f"{name} was answered wrongly, without a word{_difference(answers[name], sound.answers[name])}"
            for name in silent
        ]
    if not judgement.wrong:
        _repair(judgement, folder, sound, noticed=bool(differ), read_only=read_only)
    return judgement


# Questions that find their rows by an index of SQLite's, which has no checksum.
BY_AN_INDEX = ("search", "similar", "duplicates", "copies", "corrections", "status", "skipped")


# What its integrity check says of pages that are not what they were.
OF_SQLITE = (" index ", "Tree ", "*** in database", "malformed", "refers to nothing", " value in ")


def _is_lost(folder: Path, wrong: Mapping[str, Answer], right: Mapping[str, Answer]) -> bool:
    """Whether answers are wrong only because rows cannot be found, and `check` says so: an index of the database leads
    elsewhere, or a page of rows has become another one.

    Args:
        wrong: those that are.
        right: what all should be.
    """
    copy = folder.with_name("looked at")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZsindexWarning)
        with Library.open(copy, encoder=FakeEncoder()) as library:
            problems = library.check().problems
    if not any(words in problem for problem in problems for words in OF_SQLITE):
        return False
    of_photos = [(value_of(wrong[name]), value_of(right[name])) for name in wrong]
    lacks = any(isinstance(one, dict) and one.keys() < other.keys() for one, other in of_photos)
    return lacks or wrong.keys() <= set(BY_AN_INDEX)


def _difference(answer: Answer, right: Answer) -> str:
    one, other = str(value_of(answer)), str(value_of(right))
    at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f": …{one[max(0, at - 40) : at + 60]}… for …{other[max(0, at - 40) : at + 60]}…"


def _repair(judgement: Judgement, folder: Path, sound: Sound, *, noticed: bool, read_only: bool) -> None:
    """Check, fix, sync, ask again."""
    step, fixed = "opening to check", None
    try:
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            with Library.open(folder, encoder=FakeEncoder()) as library:
                step = "check"
                report = library.check()
                if report.ok and not noticed:
                    return
                if report.ok and read_only:
                    judgement.wrong.append("check finds nothing where answers differ")
                step = "check --fix"
                fixed = library.check(fix=True)
                step = "sync"
                library.sync(sound.album)
            with Library.open(folder, encoder=FakeEncoder("other"), model="other") as library:
                step = "sync of the other model"
                library.sync(sound.album / "0")
            with Library.open(folder, encoder=FakeEncoder()) as library:
                step = "the check after the sync"
                last = library.check()
                step = "questions"
                after = ask(library, sound.album)
    except ZsindexError as error:
        judgement.outcome = "beyond repair"
        # A database that is malformed, and was told to be, may not even open.
        if not noticed if step == "opening to check" else fixed is None or not fixed.remaining:
            judgement.wrong.append(f"{step}: {error}")
        return
    except Exception as error:  # noqa: BLE001
        judgement.wrong.append(f"{step}: {_raw(error)}")
        return
    words = " ".join([*report.problems, *fixed.problems, *fixed.fixed, *fixed.remaining, *last.remaining])
    if not last.ok:
        judgement.outcome = "beyond repair"
        if not fixed.remaining:
            judgement.wrong.append(f"--fix left nothing, and still: {last.problems}")
    elif judgement.outcome != "told by check alone" and (report.problems or noticed):
        judgement.outcome = "repaired"
    wrong = _differing(after, sound.answers)
    for name, answer in after.items():
        if answer[0] == "raw":
            judgement.wrong.append(f"after the repair, {name}: {answer[1]}")
        elif last.ok and (name in wrong or answer[0] != "answer") and not _is_named(name, words):
            how = _difference(answer, sound.answers[name]) if answer[0] == "answer" else f": {str(answer[1])[:300]}"
            judgement.wrong.append(f"after the repair {name} is another, and check named nothing ({words!r}){how}")


# What cannot be had again, by the words that tell of it, and the beginnings of the questions that depend on it.
_OF_SET = ("classify, a label set", "classify, unknown", "classify, thresholds", "classify, corrections", "labels",
           "thresholds", "corrections", "status", "runs")  # fmt: skip
NAMED: Mapping[str, Sequence[str]] = {
    "forgot correction": ("corrections", "classify, corrections"),
    "forgot decision": ("decisions", "duplicates"),
    "forgot the album": ("albums",),
    "forgot survey": ("surveys",),
    "forgot look": ("surveys",),
    f"forgot label set {SET}": _OF_SET,
    f"forgot label set {OTHER_SET}": ("labels", "status", "classify, multi-label"),
    "forgot label set": ("labels", "status"),
    "forgot template set": ("templates", "classify, templates"),
    "forgot the threshold": ("thresholds", "classify, thresholds"),
    "forgot the temperature": ("temperature", "classify, temperature"),
    "forgot run": ("runs",),
    "stored answer of run": ("runs repeat",),
    "its question is kept": ("runs repeat",),
    "forgot what zsindex wrote": ("sidecars",),
}


def _is_named(question: str, words: str) -> bool:
    return any(word in words and question.startswith(tuple(begin)) for word, begin in NAMED.items())

"""Power cuts at any instant: what a disk may hold then, computed from the log of all that was written to it.

A scenario is done once, and the shim logs what it asks of the system. A cut at some instant leaves what was synced
before it, and of the rest, which waited in memory, anything:

-   of writes to a file since its last sync, some are there, the others are not, and one may be there in part;
-   of the names that were made, changed or removed, some are there. *Ordered*, as ext4 and others do it, they reach the
    disk in the order in which they were made, and all of them with each sync. *Strict*, as POSIX has it, a name is sure
    only after a sync of its folder, and they come in any order.

What was said to be done before the cut must be there after it, whole, and nothing must be there in part.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TypeAlias

from tests.torture import scenarios, shim
from tests.torture.campaign import Case
from tests.torture.faults import Prepared, Shaken
from tests.torture.scenarios import SCENARIOS, World
from tests.torture.shim import CHANGES, Logged, Mode, Operation, Shim

_SECTOR = 512
# Mapped, and so written past the shim; SQLite makes it anew after a crash, whatever it holds.
_MAPPED = "-shm"


class Order(StrEnum):
    """In which order names reach the disk."""

    ORDERED = "ordered"
    STRICT = "strict"


@dataclass(eq=False, slots=True)
class Folder:
    """A folder, whatever it is called by now."""


@dataclass(eq=False, slots=True)
class File:
    """A file, whatever it is called by now: what is sure of it, and what was written since."""

    synced: bytes = b""
    since: list[Logged] = field(default_factory=list)

    def content(self, chosen: Sequence[Logged]) -> bytes:
        """What it holds if these operations reached the disk."""
        content = bytearray(self.synced)
        for entry in chosen:
            if entry.what == "truncate":
                del content[entry.number :]
                content.extend(bytes(entry.number - len(content)))
            elif entry.data:
                content.extend(bytes(max(0, entry.number - len(content))))
                content[entry.number : entry.number + len(entry.data)] = entry.data
        return bytes(content)


Node: TypeAlias = Folder | File
Names: TypeAlias = dict[tuple[Folder, str], Node]
# What changes as one: names, and what they are of from then on.
Change: TypeAlias = Sequence[tuple[Folder, str, Node | None]]


class Disk:
    """What a disk holds, and what of it is sure, as operations are done."""

    def __init__(self, folder: Path, saved: Path, inodes: Mapping[int, str], *, ignores_syncs: bool = False) -> None:
        """Args:
        folder: what stands in the log for the folder that was saved.
        saved: what is there before, all of it synced.
        inodes: of files in the folder as it was when the log began, by their path in it.
        ignores_syncs: nothing that is written becomes sure. For a control.
        """
        self._folder = folder
        self._ignores_syncs = ignores_syncs
        self._root = Folder()
        self._now: Names = {}
        self._sure: Names = {}
        self._changes: list[Change] = []
        self._order = Order.STRICT
        self._files: dict[int, File] = {}
        for inode, path in sorted(inodes.items(), key=lambda item: item[1]):
            where, name = self._place(str(folder / path))
            node: Node = Folder()
            if (saved / path).is_file():
                node = self._files[inode] = File((saved / path).read_bytes())
            self._now[where, name] = node
        self._sure.update(self._now)

    def names_sync_together(self) -> None:
        """From now on each sync makes all names sure."""
        self._order = Order.ORDERED

    def do(self, entry: Logged) -> None:
        """Do what was logged."""
        if entry.what == "create":
            self._files[entry.inode] = File()
            self._change([(*self._place(entry.path), self._files[entry.inode])])
        elif entry.what == "mkdir":
            self._change([(*self._place(entry.path), Folder())])
        elif entry.what in ("unlink", "rmdir"):
            self._change([(*self._place(entry.path), None)])
        elif entry.what == "rename":
            old, new = self._place(entry.path), self._place(entry.other)
            self._change([(*old, None), (*new, self._now[old])])
        elif entry.what in ("write", "truncate"):
            if (file := self._files.get(entry.inode)) is not None:  # else it is one without a name
                file.since.append(entry)
        elif entry.what == "sync":
            self._sync(entry)

    def _change(self, change: Change) -> None:
        _apply(self._now, change)
        self._changes.append(change)

    def _sync(self, entry: Logged) -> None:
        if self._ignores_syncs:
            return
        file = self._files.get(entry.inode)
        folder = None
        if file is not None:
            file.synced, file.since = file.content(file.since), []
        elif entry.path == str(self._folder):
            folder = self._root
        elif isinstance(found := self._now.get(self._place(entry.path)), Folder):
            folder = found
        waiting = []
        for change in self._changes:
            if self._order == Order.ORDERED or any(where is folder for where, _, _ in change):
                _apply(self._sure, change)
            else:
                waiting.append(change)
        self._changes = waiting

    def _place(self, path: str) -> tuple[Folder, str]:
        *folders, name = Path(path).relative_to(self._folder).parts
        where = self._root
        for one in folders:
            found = self._now[where, one]
            assert isinstance(found, Folder)
            where = found
        return where, name

    def whole(self) -> dict[str, bytes | None]:
        """What there is by path in the folder: a file's content; None for a folder."""
        return self._listed(self._now, lambda file: file.since)

    def cut(self, chance: random.Random) -> dict[str, bytes | None]:
        """What there may be after a power cut."""
        names = dict(self._sure)
        share = chance.choice((0.0, 0.5, 0.9, 1.0))
        if self._order == Order.ORDERED:
            changes = self._changes[: _some(chance, share, len(self._changes))]
        else:
            changes = [change for change in self._changes if chance.random() < share]
        for change in changes:
            _apply(names, change)
        kept = chance.choice((0.0, 0.5, 0.9, 1.0))
        return self._listed(names, lambda file: self._reached(chance, kept, file))

    def _reached(self, chance: random.Random, share: float, file: File) -> list[Logged]:
        """Which of a file's operations reached the disk, one of them perhaps in part."""
        if self._order == Order.ORDERED:
            reached = file.since[: _some(chance, share, len(file.since))]
        else:
            reached = [entry for entry in file.since if chance.random() < share]
        if reached and chance.random() < 0.5:
            n = chance.randrange(len(reached)) if self._order == Order.STRICT else len(reached) - 1
            reached[n] = _torn(chance, reached[n])
        return reached

    def _listed(self, names: Names, of: Callable[[File], Sequence[Logged]]) -> dict[str, bytes | None]:
        inside: dict[Folder, list[tuple[str, Node]]] = {}
        for (where, name), node in names.items():
            inside.setdefault(where, []).append((name, node))
        found: dict[str, bytes | None] = {}
        left = [("", self._root)]
        while left:
            before, folder = left.pop()
            for name, node in inside.get(folder, ()):
                path = f"{before}{name}"
                if isinstance(node, File):
                    found[path] = node.content(of(node))
                else:
                    found[path] = None
                    left.append((f"{path}/", node))
        return found


def _apply(names: Names, change: Change) -> None:
    for where, name, node in change:
        if node is None:
            names.pop((where, name), None)
        else:
            names[where, name] = node


def _some(chance: random.Random, share: float, count: int) -> int:
    """So many from the first on."""
    return count if share == 1 else int(chance.random() * share * (count + 1))


def _torn(chance: random.Random, entry: Logged) -> Logged:
    """A write of which only some sectors reached the disk, from its beginning."""
    if entry.what != "write" or not entry.data:
        return entry
    # Sectors are the disk's: those of the file begin where its offset says.
    first = _SECTOR - entry.number % _SECTOR
    ends = [*range(first, len(entry.data), _SECTOR)]
    return Logged("write", entry.inode, entry.path, "", entry.number, entry.data[: chance.choice([0, *ends])])


# --- in the process with the shim -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a scenario asks of the disk, and what there is before and after it.

    Attributes:
        inodes: paths in the world's folder by inode, before.
        entries: the log; a ``mark`` where a step is done.
        after: by path: a file's content; None for a folder.
    """

    inodes: Mapping[int, str]
    entries: Sequence[Logged]
    after: Mapping[str, bytes | None]


def record(name: str, world: World, saved: Path, log: Path) -> Recorded:
    """Do what a scenario does, and log it."""
    scenarios.restore(world, saved)
    inodes = {path.stat().st_ino: str(path.relative_to(world.folder)) for path in world.folder.rglob("*")}
    logging = Shim()
    logging.log(log)
    logging.arm(Mode.COUNT, world.folder, operations=CHANGES)
    for step in scenarios.named(name).steps(world):
        step()
        logging.mark()
    logging.disarm()
    logging.log(None)
    entries = [entry for entry in shim.read_log(log) if entry.what != "point"]
    log.unlink()
    after = {
        str(path.relative_to(world.folder)): path.read_bytes() if path.is_file() else None
        for path in world.folder.rglob("*")
    }
    return Recorded(inodes, entries, after)


def put(content: Mapping[str, bytes | None], world: World, saved: Path) -> None:
    """Make a world's folder hold that. Files that are as they were saved keep their time stamps."""
    scenarios.restore(world, saved)
    for path in sorted(world.folder.rglob("*"), reverse=True):
        if str(path.relative_to(world.folder)) not in content:
            path.rmdir() if path.is_dir() else path.unlink()
    for name, data in sorted(content.items()):
        path = world.folder / name
        if data is None:
            path.mkdir(exist_ok=True)
        elif not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


# --- the campaign -----------------------------------------------------------------------------------------------------


class PowerCuts(Shaken):
    """The power goes, at instants of scenarios and with losses that chance chooses."""

    name = "power-cuts"
    about = "what was written but not synced is lost, in part or in whole, at any instant"
    in_ci = 40
    # How often a disk that ignores syncs is tried until something is lost.
    controls = 40

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self._recorded: dict[str, Recorded] = {}
        self._cuts: Counter[str] = Counter()
        self._instants: dict[str, set[int]] = {}
        self._control = ""

    def cases(self) -> Iterator[Case]:
        with self.preloaded():
            for name in sorted(SCENARIOS):
                prepared = self.prepare(name, Operation(0))  # the log has them
                self._recorded[name] = self._record(prepared)
                self._instants[name] = set()
            yield Case("control", "syncs are ignored", self._controlled)
            names = sorted(name for name in SCENARIOS if self._recorded[name].entries)
            lengths = [len(self._recorded[name].entries) for name in names]
            while True:
                name = self.random.choices(names, lengths)[0]
                instant = self.random.randrange(len(self._recorded[name].entries) + 1)
                order, seed = self.random.choice(list(Order)), self.random.getrandbits(32)
                case = f"{order}, before operation {instant} of {len(self._recorded[name].entries)}, chance {seed}"
                yield Case(f"{order}, {name}", case, partial(self._judge, name, instant, order, seed))

    def _record(self, prepared: Prepared) -> Recorded:
        recorded = self.result(record, prepared.scenario, self.world, prepared.saved, self.work / "log")
        disk = Disk(self.world.folder, prepared.saved, recorded.inodes)
        for entry in recorded.entries:
            disk.do(entry)
        told, there = disk.whole(), recorded.after
        wrong = sorted(
            path
            for path in {*told, *there}
            if not path.endswith(_MAPPED) and told.get(path, b"") != there.get(path, b"")
        )
        if wrong:
            raise AssertionError(f"{prepared.scenario}: the log does not tell all that was done to {wrong}")
        return recorded

    def _judge(self, name: str, instant: int, order: Order, seed: int, *, ignores_syncs: bool = False) -> Sequence[str]:
        prepared, recorded = self.prepared[name], self._recorded[name]
        disk = Disk(self.world.folder, prepared.saved, recorded.inodes, ignores_syncs=ignores_syncs)
        if order == Order.ORDERED:
            disk.names_sync_together()
        done = 0
        for entry in recorded.entries[:instant]:
            disk.do(entry)
            done += entry.what == "mark"
        put(disk.cut(random.Random(seed)), self.world, prepared.saved)
        if not ignores_syncs:
            self._cuts[order] += 1
            self._instants[name].add(instant)
        begun = min(done + 1, len(prepared.reference.facts) - 1)
        return self.look(prepared, done, begun, (), may_have_left=True)

    def _controlled(self) -> Sequence[str]:
        """Cuts right after something was said to be done, with a disk that kept nothing of it."""
        chance = random.Random(0)
        for tried in range(1, self.controls + 1):
            name = chance.choice(sorted(SCENARIOS))
            instant = len(self._recorded[name].entries)
            found = self._judge(name, instant, Order.STRICT, chance.getrandbits(32), ignores_syncs=True)
            if found:
                self._control = f"the control, whose syncs are ignored, lost something at attempt {tried}: {found[0]}"
                return []
        return [f"a disk that ignores syncs lost nothing in {self.controls} attempts: nothing can be found this way"]

    def notes(self) -> Sequence[str]:
        instants = sum(map(len, self._instants.values()))
        total = sum(len(recorded.entries) + 1 for recorded in self._recorded.values())
        cuts = ", ".join(f"{count:,} {order}" for order, count in sorted(self._cuts.items()))
        return [f"{cuts} cuts, at {instants:,} of {total:,} instants of {len(self._recorded)} scenarios", self._control]

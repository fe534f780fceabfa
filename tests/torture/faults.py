"""Failures and kills at each file operation of everything that a library is used for."""

from __future__ import annotations

import errno
import shutil
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import ClassVar, ParamSpec, TypeVar

from tests.torture import judge, scenarios, shim
from tests.torture.campaign import Campaign, Case
from tests.torture.judge import Afterwards, Reference, Told, told_of
from tests.torture.preloaded import Answer, Preloaded
from tests.torture.scenarios import SCENARIOS, World
from tests.torture.shim import CHANGES, REASONS, Mode, Operation, Point, Shim

T = TypeVar("T")
P = ParamSpec("P")

IMPORTS = "tests.torture.imports"
# What does not pass at once.
_LASTING = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EIO)
# Where one of these fails, what was to be removed may stay, to be told and removed by `check --fix`. A lock is asked
# for whether somebody still makes it.
_OF_REMOVING = ("unlink", "rmdir", "list", "stat", "open", "lock")


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What happens to a scenario: something at its n-th operation below its folder."""

    mode: Mode
    target: int
    error: int
    operations: Operation


@dataclass(frozen=True, slots=True)
class Prepared:
    """A scenario that is set up, and what it comes to where nothing disturbs it.

    Attributes:
        saved: a copy of its world before.
        points: the operations that were asked for, in order.
    """

    scenario: str
    saved: Path
    reference: Reference
    points: Sequence[Point]


# --- in the process with the shim -------------------------------------------------------------------------------------


def set_up(name: str, world: World, saved: Path) -> None:
    """Set a scenario up, and keep its world."""
    shutil.rmtree(world.folder, ignore_errors=True)
    scenarios.named(name).set_up(world)
    shutil.copytree(world.folder, saved)


def reference(name: str, world: World, saved: Path) -> Reference:
    """Do what a scenario does, and note the facts after each step."""
    scenarios.restore(world, saved)
    facts = [judge.facts_of(world)]
    scenario = scenarios.named(name)
    for step in scenario.steps(world):
        step()
        facts.append(judge.facts_of(world))
    found = Afterwards(scenario, world, Reference(facts, ()), len(facts) - 1, len(facts) - 1)
    found.judge(may_have_left=False)
    wrong = [one for one in found.found if not one.startswith("left behind")]
    if wrong:
        raise AssertionError(f"{name} is not as it must be where nothing disturbs it: {wrong}")
    return Reference(facts, judge.names_of(world))


def count(name: str, world: World, saved: Path, operations: Operation, log: Path) -> list[Point]:
    """The operations of a scenario, in order."""
    scenarios.restore(world, saved)
    counting = Shim()
    counting.log(log)
    counting.arm(Mode.COUNT, world.folder, operations=operations)
    for step in scenarios.named(name).steps(world):
        step()
    counting.disarm()
    counting.log(None)
    found = shim.points(shim.read_log(log))
    log.unlink()
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario to which something happened.

    Attributes:
        again: what came of doing it once more in the same process; None if that was not done.
        done: steps before the first of which anything was told.
    """

    told: Told
    again: Told | None
    done: int


def disturb(name: str, world: World, saved: Path, what: Disturbance, *, again: bool) -> Outcome:
    """Do what a scenario does, while something happens to it."""
    scenarios.restore(world, saved)
    preloaded = Shim()
    steps, done, told = scenarios.named(name).steps(world), 0, Told()
    preloaded.arm(what.mode, world.folder, target=what.target, error=what.error, operations=what.operations)
    try:
        for number, step in enumerate(steps, 1):
            told = told.and_then(told_of(step))
            if told.error:
                break
            preloaded.mark()
            if not told.warnings:
                done = number
    finally:
        preloaded.disarm()
    return Outcome(told, told_of(lambda: [step() for step in steps]) if again else None, done)


def afterwards(
    name: str, world: World, known: Reference, done: int, begun: int, told: Sequence[str], *, may_have_left: bool
) -> list[str]:
    """Judge what a disturbed scenario has left."""
    return Afterwards(scenarios.named(name), world, known, done, begun, told).judge(may_have_left=may_have_left)


# --- the campaigns ----------------------------------------------------------------------------------------------------


class Shaken(Campaign):
    """Scenarios are set up in a process with the shim, and looked at after something has happened to them."""

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self.world = World(work / "world")
        self.prepared: dict[str, Prepared] = {}
        self._process: Preloaded | None = None

    def missing(self) -> str | None:
        return shim.missing()

    @contextmanager
    def preloaded(self) -> Iterator[None]:
        """Have that process for a ``with`` block."""
        with Preloaded(self.work, IMPORTS) as self._process:
            yield

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Answer[T]:
        """See `Preloaded.call`."""
        assert self._process is not None
        return self._process.call(function, *args, **kwargs)

    def result(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Preloaded.result`."""
        assert self._process is not None
        return self._process.result(function, *args, **kwargs)

    def prepare(self, name: str, operations: Operation) -> Prepared:
        """Set a scenario up, and learn what it comes to, and which of these operations it is done with."""
        saved = self.work / "saved" / name
        saved.parent.mkdir(exist_ok=True)
        self.result(set_up, name, self.world, saved)
        known = self.result(reference, name, self.world, saved)
        points = self.result(count, name, self.world, saved, operations, self.work / "log") if operations else ()
        self.prepared[name] = Prepared(name, saved, known, points)
        return self.prepared[name]

    def look(self, prepared: Prepared, done: int, begun: int, told: Sequence[str], *, may_have_left: bool) -> list[str]:
        """Judge what has become of a scenario."""
        ending = self.call(
            afterwards,
            prepared.scenario,
            self.world,
            prepared.reference,
            done,
            begun,
            told,
            may_have_left=may_have_left,
        ).ending
        if ending.hung or ending.signal or ending.error:
            return [f"looking at it: {ending}"]
        return ending.value or []


class Faults(Shaken):
    """Something happens at one operation of a scenario, and then everything is looked at.

    Attributes:
        operations: those that are counted.
    """

    operations: ClassVar[Operation]

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self._reached: dict[str, set[int]] = defaultdict(set)
        self._missed = 0
        self._control = ""

    @abstractmethod
    def of(self, prepared: Prepared) -> list[Disturbance]:
        """All that is done to a scenario."""

    def cases(self) -> Iterator[Case]:
        with self.preloaded():
            yield Case("control", "a careless program", self._controlled)
            left: dict[str, list[Disturbance]] = {}
            for name in self.random.sample(sorted(SCENARIOS), len(SCENARIOS)):
                prepared = self.prepare(name, self.operations)
                left[name] = self._mixed(prepared, self.of(prepared))
            while left:
                name = self.random.choices(list(left), [len(some) for some in left.values()])[0]
                what = left[name].pop()
                if not left[name]:
                    del left[name]
                point = self.prepared[name].points[what.target - 1]
                said = what.mode.name.lower() + (f" {errno.errorcode[what.error]}" if what.error else "")
                case = f"{said} at {what.target}: {point}"
                yield Case(f"{said}, {name}", case, partial(self._judge, self.prepared[name], what))

    def _mixed(self, prepared: Prepared, disturbances: Sequence[Disturbance]) -> list[Disturbance]:
        """In any order, but rare operations as soon as frequent ones. The last one is the first."""
        by_kind: dict[Operation, list[Disturbance]] = defaultdict(list)
        for what in self.random.sample(disturbances, len(disturbances)):
            by_kind[prepared.points[what.target - 1].operation].append(what)
        turns = zip_longest(*by_kind.values())
        return [what for turn in turns for what in self.random.sample(turn, len(turn)) if what is not None][::-1]

    def _judge(self, prepared: Prepared, what: Disturbance) -> list[str]:
        again = what.mode in (Mode.FAIL, Mode.SHORT) and what.target % 2 == 0
        answer = self.call(disturb, prepared.scenario, self.world, prepared.saved, what, again=again)
        if not answer.hit:
            self._missed += 1
            return []
        self._reached[prepared.scenario].add(what.target)
        found = self.ended(answer, what)
        outcome, last = answer.ending.value, len(prepared.reference.facts) - 1
        done = answer.marks if outcome is None else outcome.done
        begun = min(answer.marks + 1, last)
        if outcome is not None and outcome.again is not None:
            done, begun = 0 if outcome.again.error else last, last
        told = () if outcome is None else outcome.told.warnings
        # What ended with an error may have been done, but not what was to be removed then.
        has_ended = outcome is not None and not outcome.told.error
        may_have_left = what.mode == Mode.STICKY or not has_ended or answer.hit.split()[0] in _OF_REMOVING
        found += self.look(prepared, done, begun, told, may_have_left=may_have_left)
        return [f"{one}\n       at {answer.hit}" for one in found]

    def _controlled(self) -> Sequence[str]:
        """What happens to a program that is known to be wrong has to be found."""
        prepared = self.prepare(scenarios.CONTROL.name, self.operations)
        found = [one for what in self.of(prepared) for one in self._judge(prepared, what)]
        self._control = f"{len(found)} faults were found in the control, which writes a file in place"
        for counted in (self.prepared, self._reached):
            counted.pop(prepared.scenario, None)
        return [] if found else ["nothing was found in a program that is known to be wrong"]

    @abstractmethod
    def ended(self, answer: Answer[Outcome], what: Disturbance) -> list[str]:
        """What is wrong with how it ended."""

    def notes(self) -> Sequence[str]:
        of = {name: len(prepared.points) for name, prepared in self.prepared.items()}
        lines = [
            f"{len(self._reached[name]):,} of {of[name]:,} operations of {name!r} were reached" for name in sorted(of)
        ]
        kinds, reached = Counter[str](), Counter[str]()
        for name, prepared in self.prepared.items():
            for n, point in enumerate(prepared.points, 1):
                kind = str(point.operation.name).lower()
                kinds[kind] += 1
                reached[kind] += n in self._reached[name]
        by_kind = ", ".join(f"{kind} {reached[kind]:,} of {count:,}" for kind, count in kinds.most_common())
        lines.append(f"{reached.total():,} of {kinds.total():,} operations were reached: {by_kind}")
        if self._missed:
            lines.append(f"{self._missed:,} cases came to another operation, as threads took turns otherwise")
        return [*lines, self._control]


class Failures(Faults):
    """The n-th operation fails, once or from then on, as systems let it fail; or half of it is written."""

    name = "failures"
    about = "file operations fail, one after the other, for each reason that there is"
    in_ci = 30
    operations = shim.EVERYTHING

    def of(self, prepared: Prepared) -> list[Disturbance]:
        found: list[Disturbance] = []
        for n, point in enumerate(prepared.points, 1):
            reasons = REASONS[point.operation]
            found += [Disturbance(Mode.FAIL, n, number, self.operations) for number in reasons]
            found += [Disturbance(Mode.STICKY, n, number, self.operations) for number in reasons if number in _LASTING]
            if point.operation == Operation.WRITE:
                found.append(Disturbance(Mode.SHORT, n, 0, self.operations))
        return found

    def ended(self, answer: Answer[Outcome], what: Disturbance) -> list[str]:
        ending = answer.ending
        if ending.hung or ending.signal or ending.error or ending.value is None:
            return [f"it ended otherwise than with an error: {ending}"]
        told, again = ending.value.told, ending.value.again
        found = []
        if what.mode == Mode.SHORT or what.error == errno.EINTR:
            found += [f"it was to be done again by itself, but: {told.error}\n{told.trace}"] if told.error else []
        else:
            found += judge.words(told, what.error, once=what.mode == Mode.FAIL)
        if again is not None and again.error:
            found.append(f"done again in the same process: {again.error}\n{again.trace}")
        return found


class Kills(Faults):
    """The process is killed right before its n-th operation that changes anything."""

    name = "kills"
    about = "the process is killed at file operations, one after the other"
    in_ci = 90
    operations = CHANGES

    def of(self, prepared: Prepared) -> list[Disturbance]:
        return [Disturbance(Mode.KILL, n, 0, self.operations) for n in range(1, len(prepared.points) + 1)]

    def ended(self, answer: Answer[Outcome], what: Disturbance) -> list[str]:
        return [] if answer.ending.signal == 9 else [f"it was not killed: {answer.ending}"]

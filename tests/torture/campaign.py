"""What a campaign is, and how one is run: cases from a seed, each judged, counted, and told."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that is tried.

    Attributes:
        kind: what cases are counted by, such as ``kill, sync``.
        name: which it is among those of its kind, such as ``17: rename library.db``.
        run: does it, and returns what went wrong, each in a sentence; nothing if all is well. An exception that comes
            out is a fault of the harness.
    """

    kind: str
    name: str
    run: Callable[[], Sequence[str]]


class Campaign(ABC):
    """Cases of one sort.

    Attributes:
        name: by which it is asked for.
        about: what it does, in a line.
        in_ci: how many cases CI runs.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    in_ci: ClassVar[int]

    def __init__(self, work: Path, seed: int) -> None:
        """Args:
        work: an empty folder, for this campaign alone.
        seed: the same one makes the same cases in the same order.
        """
        self.work = work
        self.random = random.Random(seed)

    @abstractmethod
    def cases(self) -> Iterator[Case]:
        """All there are, in an order that the seed decides; or one after the other without end."""

    def notes(self) -> Sequence[str]:
        """What else is to be told at the end, such as how much was reached."""
        return ()

    def missing(self) -> str | None:
        """Why it cannot run on this machine, if it cannot."""
        return None


@dataclass(frozen=True, slots=True)
class Found:
    """What went wrong in a case."""

    case: Case
    number: int
    what: str


@dataclass(slots=True)
class Outcome:
    """What a campaign came to.

    Attributes:
        kinds: how many cases there were of each kind.
        found: what went wrong.
        exhausted: whether no case is left.
        stopped: whether Ctrl-C came.
        seconds: how long it took.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    exhausted: bool = False
    stopped: bool = False
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        return self.kinds.total()


def run(
    campaign: Campaign,
    *,
    limit: int | None,
    until: float | None,
    first: int = 0,
    only: int | None = None,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Run a campaign's cases until one of its ends is reached.

    Args:
        campaign: which.
        limit: so many cases at most.
        until: no case begins after this instant of time.monotonic().
        first: the number of the case to begin with, so that a long run can be done in pieces.
        only: the number of the one case to run, the first being 0.
        progress: is told after each case.
    """
    outcome = Outcome()
    begun = time.monotonic()
    try:
        for number, case in enumerate(campaign.cases()):
            if (limit is not None and outcome.cases >= limit) or (until is not None and time.monotonic() >= until):
                break
            if number < first or (only is not None and number != only):
                continue
            outcome.kinds[case.kind] += 1
            outcome.found += [Found(case, number, what) for what in case.run()]
            outcome.seconds = time.monotonic() - begun
            progress(outcome)
            if only is not None:
                break
        else:
            outcome.exhausted = True
    except KeyboardInterrupt:
        outcome.stopped = True
    return outcome

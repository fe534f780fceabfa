"""`python -m tests.torture`: campaigns, one after the other, and a table of what they came to."""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from tests.torture.campaign import Campaign, Outcome, run
from tests.torture.crowd import Crowd
from tests.torture.environment import Environment
from tests.torture.faults import Failures, Kills
from tests.torture.growth import Growth
from tests.torture.interrupts import Interrupts
from tests.torture.pictures import Pictures
from tests.torture.power import PowerCuts
from tests.torture.readers import Readers
from tests.torture.requests import Requests
from tests.torture.rot import Rot
from tests.torture.texts import Texts

CAMPAIGNS: Sequence[type[Campaign]] = (
    Failures,
    Kills,
    PowerCuts,
    Rot,
    Crowd,
    Readers,
    Interrupts,
    Pictures,
    Texts,
    Requests,
    Environment,
    Growth,
)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


class Progress:
    """What was found, as soon as it is; and one line on a terminal, rewritten."""

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._seed = seed
        self._told = 0.0
        self._found = 0

    def __call__(self, outcome: Outcome) -> None:
        for found in outcome.found[self._found :]:
            print(f"FOUND  {self._name}, {found.case.kind}, {found.case.name}")
            print(f"       {found.what}")
            again = f"--campaign {self._name} --seed {self._seed} --case {found.number}"
            print(f"       again: python -m tests.torture {again}", flush=True)
        self._found = len(outcome.found)
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._told > 0.2:
            self._told = now
            rate = outcome.cases / max(outcome.seconds, 1e-9)
            line = f"\r{self._name}: {outcome.cases:,} cases, {rate:,.1f}/s, {len(outcome.found)} found"
            print(line, end="\x1b[K", file=sys.stderr, flush=True)


def _tell(campaign: Campaign) -> None:
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for note in campaign.notes():
        print(f"{campaign.name}: {note}")
    sys.stdout.flush()


@click.command()
@click.option(
    "--campaign", "names", multiple=True, type=click.Choice([one.name for one in CAMPAIGNS]), help="Only these."
)
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Share so many hours among the campaigns.")
@click.option("--cases", type=click.IntRange(min=1), help="So many cases of each campaign.")
@click.option("--ci", is_flag=True, help="As many cases as CI runs.")
@click.option("--seed", type=int, help="What the cases are made from; a random one otherwise, which is told.")
@click.option("--first", type=click.IntRange(min=0), default=0, help="Begin with the case of this number.")
@click.option("--case", "only", type=click.IntRange(min=0), help="Only the case of this number.")
def main(
    names: tuple[str, ...],
    hours: float | None,
    cases: int | None,
    ci: bool,
    seed: int | None,
    first: int,
    only: int | None,
) -> None:
    """Break what can be broken, and look whether anything was lost, done twice, or answered wrongly.

    Without --hours, --cases or --ci, until Ctrl-C. Exits with 1 if something was found.
    """
    seed = secrets.randbelow(2**31) if seed is None else seed
    chosen = [one for one in CAMPAIGNS if not names or one.name in names]
    print(f"seed {seed}", flush=True)
    rows = [("campaign", "cases", "found", "seconds", "")]
    begun, found, stopped = time.monotonic(), 0, False
    for place, kind in enumerate(chosen):
        until = None
        if hours is not None:  # what a campaign leaves over is shared by those after it
            now = time.monotonic()
            until = now + (begun + hours * 3600 - now) / (len(chosen) - place)
        with tempfile.TemporaryDirectory(prefix="zsindex-torture-") as work:
            campaign = kind(Path(work), seed)
            missing = campaign.missing()
            if missing is not None:
                rows.append((kind.name, "0", "-", "0", missing))
                continue
            limit = kind.in_ci if ci else cases
            outcome = run(
                campaign, limit=limit, until=until, first=first, only=only, progress=Progress(kind.name, seed)
            )
            _tell(campaign)
        end = "stopped" if outcome.stopped else "all there are" if outcome.exhausted else ""
        rows.append((kind.name, f"{outcome.cases:,}", f"{len(outcome.found):,}", f"{outcome.seconds:.1f}", end))
        found += len(outcome.found)
        if outcome.stopped:
            stopped = True
            break
    print(_table(rows))
    sys.exit(1 if found else 130 if stopped else 0)


if __name__ == "__main__":
    main()

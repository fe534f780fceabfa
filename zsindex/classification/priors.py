"""How the photos are divided among the answers, as people write it: shares, or numbers of photos."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zsindex.arguments import text_files
from zsindex.arguments.text_files import UnreadableText
from zsindex.classification.prompts import normalise
from zsindex.errors import BadPrior

# The prior that is estimated from the photos asked about.
ESTIMATED = "estimated"
# Why none is for scores of a sigmoid.
NOT_SIGMOID = "a prior divides the photos among the labels, and under a sigmoid each stands by itself; take softmax"
# Shares that people round need not add up to 1 to the last digit.
_ROUNDING = 0.01


@dataclass(frozen=True)
class UsedPrior:
    """The prior that an answer was given with.

    Attributes:
        shares: of each answer, which add up to 1.
        method: how they were estimated; None if they were given.
        known: number of photos with known content that this was learnt from.
        transport: whether the answers keep the shares exactly.
    """

    shares: Mapping[str, float]
    method: str | None = None
    known: int = 0
    transport: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "shares": dict(self.shares),
            "method": self.method,
            "known": self.known,
            "transport": self.transport,
        }


def checked(given: Mapping[str, float] | str) -> dict[str, float] | str:
    """A prior as a question keeps it: ``estimated``, or numbers by label; of none of these is known yet whether they
    fit the labels.

    Raises:
        BadPrior
    """
    if isinstance(given, str):
        if given != ESTIMATED:
            raise BadPrior(f"it is {ESTIMATED!r}, or a number for each label, not {given!r}")
        return ESTIMATED
    numbers: dict[str, float] = {}
    for label, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise BadPrior(f"{label!r} has {value!r}; a share is a number from 0 on")
        name = normalise(label)
        if name in numbers:
            raise BadPrior(f"{label!r} is given twice")
        numbers[name] = float(value)
    total = sum(numbers.values())
    if not total > 0 or not math.isfinite(total):
        raise BadPrior("there must be a label with a share above 0")
    # Numbers of photos need not add up to anything; fractions that do not are likely a mistake.
    are_shares = all(number <= 1 for number in numbers.values()) and not all(n.is_integer() for n in numbers.values())
    if are_shares and abs(total - 1) > _ROUNDING:
        raise BadPrior(f"the shares add up to {total:g}, not 1")
    return numbers


def shares_of(given: Mapping[str, float], answers: Sequence[str]) -> list[float]:
    """The share of each answer, which add up to 1.

    Raises:
        BadPrior: an answer has none, or there is one of something else.
    """
    strange = [label for label in given if label not in answers]
    if strange:
        raise BadPrior(f"{_some(strange)}: not among the answers, which are {_some(answers)}")
    missing = [answer for answer in answers if answer not in given]
    if missing:
        raise BadPrior(f"no share is given for {_some(missing)}; give 0 for what no photo shows")
    total = sum(given.values())
    return [given[answer] / total for answer in answers]


def parse(text: str, *, source: str = "the text") -> dict[str, float]:
    """Read ``label=share,label=share``; lines of that; a table with the columns ``label`` and ``share`` or ``photos``;
    or JSON: a mapping, or what `zsindex prior estimate --format json` prints.

    Raises:
        BadPrior
    """
    stripped = text.strip()
    if stripped.startswith(("{", "[")):
        return _from_json(stripped, source)
    first = stripped.partition("\n")[0]
    if "=" not in first and "label" in first.casefold():
        try:
            rows = list(
                text_files.table(text, required=("label", "share"), names={"photos": "share", "count": "share"})
            )
        except UnreadableText as error:
            raise BadPrior(f"{source}: {error}") from error
        pairs = [(row["label"], row["share"]) for _, row in rows]
    else:
        given = [part for line in stripped.splitlines() for part in _parts(line)]
        pairs = [(label.strip(), number) for label, _, number in (one.rpartition("=") for one in given)]
        if any(not label for label, _ in pairs) or not pairs:
            raise BadPrior(f"{source}: {first[:80]!r} is not of the form LABEL=SHARE,LABEL=SHARE")
    found: dict[str, float] = {}
    for label, number in pairs:
        if label in found:
            raise BadPrior(f"{source}: {label!r} is given twice")
        try:
            found[label] = float(number)
        except ValueError:
            raise BadPrior(f"{source}: {label!r} has {number!r}, which is no number") from None
    return found


def _parts(line: str) -> list[str]:
    """The ``label=share`` of a line; a label may have commas in it."""
    parts: list[str] = []
    for piece in line.split(","):
        if parts and "=" not in parts[-1]:
            parts[-1] += f",{piece}"
        elif piece.strip():
            parts.append(piece)
    return parts


def _from_json(text: str, source: str) -> dict[str, float]:
    try:
        found = json.loads(text)
        if isinstance(found, dict) and isinstance(found.get("shares"), list):
            found = found["shares"]
        if isinstance(found, list):
            found = {one["label"]: one["share"] for one in found}
        if not all(isinstance(value, (int, float)) for value in found.values()):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadPrior(f"{source} is not JSON that gives a number for each label") from None
    return {str(label): value for label, value in found.items()}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")

"""Checks of numbers that somebody gives. Comparisons alone let ``nan`` pass on one side, and `True` is 1 to Python."""

from __future__ import annotations

import math
import operator
from typing import Any

# By which cosines may be divided. Beyond, scores are 0 and 1, or all the same, whatever the model.
LEAST_TEMPERATURE, MOST_TEMPERATURE = 1e-4, 1e4


def real(
    name: str, value: Any, *, least: float = -math.inf, most: float = math.inf, above: float | None = None
) -> float:
    """A finite number within bounds, as a float.

    Args:
        name: what it is, for the message.
        least, most: the smallest and the largest that it may be.
        above: what it must exceed.

    Raises:
        ValueError: it is none.
    """
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isfinite(number) and least <= number <= most and (above is None or number > above):
        return number
    raise ValueError(f"{name} must be a number{_range(least, most, above)}, not {value!r}")


def whole(name: str, value: Any, *, least: float = -math.inf, most: float = 2**63 - 1) -> int:
    """A whole number within bounds, as an int; NumPy's are, too.

    Raises:
        ValueError: it is none.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is not None and least <= number <= most:
        return number
    raise ValueError(
        f"{name} must be a whole number{_range(least, most if most < 2**63 - 1 else math.inf, None)}, not {value!r}"
    )


def temperature(value: Any) -> float:
    """A temperature that logits can be divided by.

    Raises:
        ValueError: it is out of bounds.
    """
    return real("a temperature", value, least=LEAST_TEMPERATURE, most=MOST_TEMPERATURE)


def _range(least: float, most: float, above: float | None) -> str:
    lower = f" above {above:g}" if above is not None else f" of at least {least:g}" if least > -math.inf else ""
    if most == math.inf:
        return lower
    if above is not None or least == -math.inf:
        return f"{lower} up to {most:g}"
    return f" from {least:g} to {most:g}"

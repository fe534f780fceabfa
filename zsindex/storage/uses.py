"""When prompts were asked for, in days: so coarse that a question from the cache becomes a write once a day at most."""

from __future__ import annotations

import time

_DAY_S = 86_400


def today() -> int:
    """Days since 1970 in UTC, as the clock says, which may be wrong: what must not go, does not depend on it."""
    return int(time.time() // _DAY_S)


def may_tell_age(day: int, newest: int, days: int) -> bool:
    """Whether the clock can be believed when it says that prompts were not asked for in so many days.

    Args:
        day: today.
        newest: the day on which any prompt was asked for last.

    Returns:
        False where nothing was asked in all that time. Then the library was put away, or the clock is wrong, and what
        was asked last is no older than the rest.
    """
    return day - newest <= days

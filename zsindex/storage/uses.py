"""When prompts were asked for, in days: so coarse that a question from the cache becomes a write once a day at most."""

from __future__ import annotations

import time

# Beside its vector a prompt takes its text twice, there and in the index, and about so many bytes.
BESIDE_TEXT = 40
_DAY_S = 86_400


def today() -> int:
    """Days since 1970 in UTC, as the clock says, which may be wrong: what must not go, does not depend on it."""
    return int(time.time() // _DAY_S)


def may_tell_age(day: int, newest: int, days: int) -> bool:
    """Whether prompts may go because nobody asked for them in so many days.

    Not where nobody asked for any in all that time: the library was put away, or the clock is wrong.

    Args:
        day: today.
        newest: the day on which any prompt was asked for last.
    """
    return day - newest <= days

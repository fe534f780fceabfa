"""When prompts were asked for, in days: so coarse that a question from the cache becomes a write once a day at most.

The days are those of a library's use, not the clock's, which may be wrong: they go on with the clock, by a week at most
from one use to the next, and by one where it was set back. So a library that was put away, and one whose clock is a
year ahead for a day, do not take all prompts for old.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from zsindex.storage.stored import number

# Beside its vector a prompt takes its text twice, there and in the index, and about so many bytes.
BESIDE_TEXT = 40
# The setting of a library that holds the day of its last use.
KEY = "use_day"
_DAY_S = 86_400
_LONGEST_GAP = 7


class Day(NamedTuple):
    """The day of a use: as the clock said, in days since 1970, and as the library counts."""

    clock: int
    library: int

    @classmethod
    def from_text(cls, text: str) -> Day:
        """What `text` made.

        Raises:
            Unreadable
        """
        clock, _, library = text.partition(" ")
        return cls(number(clock), number(library))

    @property
    def text(self) -> str:
        """As a setting."""
        return f"{self.clock} {self.library}"

    def until(self, clock: int) -> Day:
        """A later day of use, when the clock says so."""
        passed = 0 if clock == self.clock else min(max(clock - self.clock, 1), _LONGEST_GAP)
        return Day(clock, self.library + passed)


def today() -> int:
    """Days since 1970 in UTC, as the clock says."""
    return int(time.time() // _DAY_S)

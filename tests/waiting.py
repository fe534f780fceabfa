"""Waiting in tests: until something is so, however long a busy machine takes for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

# What does not come within so long does not come. No test waits for it to pass.
WAIT_S = 120.0

T = TypeVar("T")


def until(condition: Callable[[], T]) -> T:
    """Wait for something that is true; returns it."""
    give_up_at = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < give_up_at, "it does not come to that"
        time.sleep(0.01)
    return found

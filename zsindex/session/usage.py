"""What was encoded, and what was found in the cache."""

from __future__ import annotations

import threading
from collections import Counter

NAMES = ("images_encoded", "images_reused", "prompts_encoded", "prompts_reused", "model_loads")


class Usage:
    """Thread-safe counters."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, **how_many: int) -> None:
        """Add to some of `NAMES`."""
        with self._lock:
            self._counts.update(how_many)

    def counts(self) -> dict[str, int]:
        """All of `NAMES`, as they are now."""
        with self._lock:
            return {name: self._counts[name] for name in NAMES}

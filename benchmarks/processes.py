"""The environment in which fresh processes are timed."""

from __future__ import annotations

import os


def as_installed() -> dict[str, str]:
    """This environment, without what build machines set: `pip install` compiles modules, and output is buffered."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")}

"""Which process this is, known without asking the system each time: a cached question would ask it dozens of times."""

from __future__ import annotations

import os

_pid = os.getpid()


def current() -> int:
    """The number of this process, also in a child of `fork`."""
    return _pid


def _renew() -> None:
    global _pid
    _pid = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)

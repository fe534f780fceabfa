"""Ports for servers that have to be told theirs before they start."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port of this machine at which nobody listens.

    It is none that the system gives to connections: one that is made before the server starts would have it.
    """
    chance, first_given = random.SystemRandom(), 32_768
    with suppress(OSError):
        first_given = int(_RANGE.read_text(encoding="ascii").split()[0])
    for _ in range(1000 if first_given > 20_000 else 0):
        port = chance.randrange(10_000, first_given)
        with suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return port
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

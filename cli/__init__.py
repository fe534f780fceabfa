"""The command line. A command parses, makes one `Library` call, and formats; what it needs is imported inside it.

May import `web`, `bench`, `zsindex`, `library`, `upkeep`, `lab`, `exchange`, `classification`, `models`, `photos` and
the ground floor. Start with `group`. What is public is the commands, not their Python.
"""

from __future__ import annotations

import gc

from .group import cli
from .streams import standard_streams

__all__ = ["cli", "main"]


def main() -> None:
    """The entry point of the console script and of ``python -m zsindex``."""
    # Imported modules never become garbage, and looking for it takes a tenth of the start. `open_library` turns it on
    # again.
    gc.disable()
    with standard_streams():
        cli.main(prog_name="zsindex")

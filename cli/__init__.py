"""The command line. A command parses, makes one `Library` call, and formats; what it needs is imported inside it.

May import `web`, `agents`, `bench`, `zsindex`, `library`, `upkeep`, `lab`, `exchange`, `classification`, `models`,
`photos` and the ground floor. Start with `group`. What is public is the commands, not their Python.
"""

from __future__ import annotations

import gc
import os
import sys

from .group import cli
from .streams import standard_streams

__all__ = ["cli", "main"]


def main() -> None:
    """The entry point of the console script and of ``python -m zsindex``."""
    # Imported modules never become garbage, and looking for it takes a tenth of the start. `open_library` turns it on
    # again.
    gc.disable()
    if sys.getfilesystemencoding() != "utf-8" and os.name == "posix":
        _begin_anew_in_utf8()
    try:
        with standard_streams():
            cli.main(prog_name="zsindex")
    except KeyboardInterrupt:
        # The second one, while what the first has ended says so.
        raise SystemExit(130) from None


def _begin_anew_in_utf8() -> None:
    """Start Python once more, to read the command line and the names of files as a library does, whatever the locale.

    What is written to a terminal stays in the locale's encoding.
    """
    begun_so = ["-X", "utf8"]
    if sys.orig_argv[1:3] == begun_so:  # which did not help; opening a library says what does
        return
    if sys.stdout is not None:
        os.environ.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:backslashreplace")
    os.environ["PYTHONUTF8"] = "1"  # for processes of ours
    os.execv(sys.executable, [sys.executable, *begun_so, *sys.orig_argv[1:]])

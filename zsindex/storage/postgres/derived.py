"""Whose derived files are whose. A machine's index files are recorded in the database, as in a folder: a record that is
part of a library's history cannot stand for a file of another one, such as that of a backup that was put back. But each
machine has records of its own, under the name of its folder, or it would overwrite what another one has recorded.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path

from zsindex import atomic

FILE_NAME = "cache-id"


def name_of(folder: Path) -> str | None:
    """The name of a folder with derived files, which is given here the first time; None where nothing can be written,
    and so nothing is derived.
    """
    file = folder / FILE_NAME
    try:
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            # Of two that do so at once the last one wins, and both read what is there then.
            atomic.write_bytes(file, str(uuid.uuid4()).encode())
        found = file.read_bytes().decode("ascii", "replace")
    except OSError:
        return None
    return found if re.fullmatch(r"[0-9a-f-]{36}", found) else None

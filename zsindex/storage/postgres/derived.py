"""Whose derived files are whose. A machine's index files are recorded in the database, as in a folder: a record that is
part of a library's history cannot stand for a file of another one, such as that of a backup that was put back. But each
machine has records of its own, under the name of its folder, or it would overwrite what another one has recorded.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from zsindex import atomic
from zsindex.storage.rows import SnapshotRow

FILE_NAME = "cache-id"
# The parameters are the model's id and the watermark. One pass over the model's rows, on the server.
HISTORY = (
    "SELECT count(*) || ' ' || coalesce(bit_xor(hashint8extended(seq, hashint8extended(image_id, checksum))), 0)"
    " FROM embeddings WHERE model_id = %s AND seq <= %s"
)


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


class Kept(NamedTuple):
    """What is recorded in the folder of an index file, and the history that this was made from."""

    snapshot: SnapshotRow
    history: str


def may_keep(folder: Path) -> bool:
    """Whether anything can be recorded there."""
    return os.access(folder, os.W_OK)


def kept(folder: Path, model_id: int) -> Kept | None:
    """What is recorded in the folder; None where that is nothing, or nothing that can be understood."""
    try:
        said = json.loads(_file(folder, model_id).read_bytes())
        return Kept(SnapshotRow(**said["snapshot"]), str(said["history"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep(folder: Path, model_id: int, record: Kept) -> None:
    """Record an index file, in place of what is recorded.

    Raises:
        OSError
    """
    said = {"snapshot": asdict(record.snapshot), "history": record.history}
    atomic.write_bytes(_file(folder, model_id), json.dumps(said).encode())


def all_kept(folder: Path) -> Iterator[tuple[int, Kept]]:
    """What is recorded in the folder of each model."""
    for file in folder.glob("snapshot-*.json"):
        number = file.stem.rpartition("-")[2]
        if number.isdecimal() and (found := kept(folder, int(number))) is not None:
            yield int(number), found


def _file(folder: Path, model_id: int) -> Path:
    return folder / f"snapshot-{model_id}.json"

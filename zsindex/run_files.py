"""The stored answers of runs: `index/run-KEY.npz`, derived like all in that folder. What was asked is in the database.

A file holds `best`, int32 (n, top), numbers of answers, -1 for none; `scores`, float32 (n, top); and `paths`, the
photos' names as UTF-8 with a zero byte after each, deflated. The database knows its SHA-256: what does not fit is as
good as not there.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zsindex import atomic
from zsindex.index import FOLDER_NAME
from zsindex.lab_store import LabStore
from zsindex.results import Answer

# Records of runs are a few KB; their answers 12 bytes per prediction and the paths.
MAX_RUNS = 200
MAX_BYTES = 2**29


def name_of(key: str) -> str:
    """The file of a run."""
    return f"run-{key}.npz"


def write(folder: Path, key: str, answer: Answer) -> dict[str, Any]:
    """Store an answer; returns what must be recorded to read it again.

    Raises:
        OSError
    """
    packed = zlib.compress("".join(f"{path}\0" for path in answer.paths).encode(), level=1)
    content = io.BytesIO()
    np.savez(
        content,
        best=answer.best.astype("<i4"),
        scores=answer.scores.astype("<f4"),
        paths=np.frombuffer(packed, dtype=np.uint8),
    )
    data = content.getvalue()
    (folder / FOLDER_NAME).mkdir(exist_ok=True)
    atomic.write_bytes(folder / FOLDER_NAME / name_of(key), data)
    return {"file": name_of(key), "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def read(folder: Path, stored: Mapping[str, Any]) -> Answer | None:
    """Read an answer; None where its file is gone, or is not the one that was written."""
    try:
        data = (folder / FOLDER_NAME / stored["file"]).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != stored["sha256"]:
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        paths = zlib.decompress(arrays["paths"].tobytes()).decode().split("\0")[:-1]
        return Answer(paths, arrays["best"].astype(np.int64), arrays["scores"])


def exists(folder: Path, stored: Mapping[str, Any]) -> bool:
    """Whether the file of an answer is there; it may still be damaged."""
    return (folder / FOLDER_NAME / str(stored["file"])).exists()


def remove(folder: Path, key: str) -> None:
    """Delete the answer of a run, if it is there."""
    (folder / FOLDER_NAME / name_of(key)).unlink(missing_ok=True)


def make_room(lab: LabStore, folder: Path) -> None:
    """Delete the answers of the oldest runs, as long as all together take too much room; their records stay."""
    taken = 0
    for stored in lab.run_files().values():
        taken += int(stored["bytes"])
        if taken > MAX_BYTES:
            (folder / FOLDER_NAME / stored["file"]).unlink(missing_ok=True)


def recorded(lab: LabStore) -> set[str]:
    """Names of the files that belong to runs."""
    return {stored["file"] for stored in lab.run_files().values()}


def problems(lab: LabStore, folder: Path) -> dict[Path, str]:
    """Files of runs that are not what was written, with what is wrong in words."""
    return {
        folder / FOLDER_NAME / stored["file"]: f"the stored answer of run {key} is damaged"
        for key, stored in lab.run_files().items()
        if exists(folder, stored) and read(folder, stored) is None
    }

"""The stored answers of runs: `index/run-KEY-….npz`, derived like all in there. What was asked is in the database.

A file holds `best`, int32 (n, top), numbers of answers, -1 for none; `scores`, float32 (n, top); and `paths`, the
photos' names as UTF-8 with a zero byte after each, deflated. The database knows its SHA-256: what does not fit is as
good as not there.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from zsindex import atomic, config
from zsindex.classification.results import Answer
from zsindex.index.files import Making, make_folder
from zsindex.index.snapshots import FOLDER_NAME
from zsindex.storage.failures import failure
from zsindex.storage.protocol import Storage


def write(storage: Storage, making: Making, key: str, answer: Answer) -> dict[str, Any]:
    """Store an answer; returns what must be recorded, before `making` ends, to read it again.

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
    make_folder(storage.folder / FOLDER_NAME)
    # Another name each time: who removes the answer of an older run of that key does not mean this one.
    file = storage.folder / FOLDER_NAME / f"run-{key}-{secrets.token_hex(4)}.npz"
    temporary = file.with_name(f"{file.name}.tmp")
    try:
        with making.create(temporary) as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
        atomic.sync_folder(file.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return {"file": file.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def read(storage: Storage, stored: Mapping[str, Any]) -> Answer | None:
    """Read an answer; None where its file is gone, or is not the one that was written."""
    try:
        data = (storage.folder / FOLDER_NAME / stored["file"]).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != stored["sha256"]:
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        paths = zlib.decompress(arrays["paths"].tobytes()).decode().split("\0")[:-1]
        return Answer(paths, arrays["best"].astype(np.int64), arrays["scores"])


def exists(storage: Storage, stored: Mapping[str, Any]) -> bool:
    """Whether the file of an answer is there; it may still be damaged, or where the disk fails, not readable."""
    try:
        (storage.folder / FOLDER_NAME / str(stored["file"])).stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def remove(storage: Storage, names: Iterable[str]) -> None:
    """Delete the answers of runs that are recorded no more."""
    for name in names:
        with suppress(OSError):  # where it cannot be removed it is a stray, and costs only its room
            (storage.folder / FOLDER_NAME / name).unlink()


def _stored(storage: Storage) -> dict[str, dict[str, Any]]:
    """Of each run, newest first, where its answer is; of those whose records can be read."""
    kinds = {"file": str, "sha256": str, "bytes": int}
    return {
        key: stored
        for key, stored in storage.labels.run_files().items()
        if all(isinstance(stored.get(name), kind) for name, kind in kinds.items())
    }


def make_room(storage: Storage) -> None:
    """Delete the answers of the oldest runs, as long as all together take too much room; their records stay."""
    taken, most = 0, config.RUNS_MB.bytes
    for stored in _stored(storage).values():
        taken += stored["bytes"]
        if taken > most:
            remove(storage, [stored["file"]])


def recorded(storage: Storage) -> set[str]:
    """Names of the files that belong to runs."""
    return {stored["file"] for stored in _stored(storage).values()}


def problems(storage: Storage) -> dict[Path, str]:
    """Files of runs that are not what was written, with what is wrong in words.

    Raises:
        LibraryReadOnly, StorageFailed: one of them cannot be read, so that nothing is known of it.
    """
    return {
        storage.folder / FOLDER_NAME / stored["file"]: f"the stored answer of run {key} is damaged"
        for key, stored in _stored(storage).items()
        if _is_damaged(storage, stored)
    }


def _is_damaged(storage: Storage, stored: Mapping[str, Any]) -> bool:
    try:
        data = (storage.folder / FOLDER_NAME / str(stored["file"])).read_bytes()
    except FileNotFoundError:  # another process has made room
        return False
    except OSError as error:
        raise failure(storage.folder, "read its stored answers", error) from error
    return hashlib.sha256(data).hexdigest() != str(stored["sha256"])

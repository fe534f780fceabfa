"""Copying a library, from a folder onto a server, back, or to another one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsindex.errors import CopyRefused
from zsindex.index.snapshots import FOLDER_NAME
from zsindex.records import Progress
from zsindex.session import storages
from zsindex.storage import copying
from zsindex.storage.patience import Told, patiently

if TYPE_CHECKING:
    from zsindex.session.storages import SqlStorage


@dataclass(frozen=True)
class CopyReport:
    """What was copied.

    Attributes:
        source, target: the libraries, as messages name them.
        vectors: of images.
        resumed: whether an earlier copy was gone on with.
    """

    source: str
    target: str
    vectors: int
    resumed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def copy(source: Path | str, target: Path | str, progress: Callable[[Progress], None]) -> CopyReport:
    """Copy one library to where none is; see `zsindex.library.Library.copy`. What was begun waits for a server that is
    being started anew, and goes on where it was.
    """
    told, resumed = Told(progress), list[bool]()

    def attempt() -> CopyReport:
        return _copy(source, target, told, resumed)

    return patiently(attempt, answered=told.last)


def _copy(
    source: Path | str, target: Path | str, progress: Callable[[Progress], None], resumed: list[bool]
) -> CopyReport:
    """One attempt, which adds to `resumed` whether there was anything of an earlier one."""
    into: Path | str = target
    if isinstance(target, Path):
        _require_free(target)
        into = _unfinished(target)
    with ExitStack() as stack:
        one = stack.enter_context(closing(storages.open_storage(source)))
        storages.create(into)
        other = stack.enter_context(closing(storages.open_storage(into, unfinished=True)))
        is_new = copying.is_empty(other.database)
        if copying.begun_from(other.database) is None and not is_new:
            # Unless an earlier attempt has come as far as that.
            ours = isinstance(target, Path) or resumed
            if not ours or copying.differing(one.database, other.database):
                raise CopyRefused(str(other.place), "there is a library already")
        resumed.append(not is_new)
        stack.enter_context(one.sync_lock.hold("copy") if one.writable else nullcontext())
        stack.enter_context(other.sync_lock.hold("copy"))
        n = copying.copy(one.database, other.database, progress=lambda n, total: progress(Progress("copy", n, total)))
        progress(Progress("compare", 0, n))
        if differing := copying.differing(one.database, other.database):
            raise CopyRefused(
                str(other.place), f"{', '.join(differing)} differ: {one.place} was changed meanwhile; copy it again"
            )
        _copy_files(one, other)
        copying.finish(other.database)
        report = CopyReport(str(one.place), str(target if isinstance(target, Path) else other.place), n, resumed[0])
    if isinstance(target, Path):
        if target.exists():
            target.rmdir()  # it is empty, or this fails
        _unfinished(target).rename(target)
    return report


def _require_free(target: Path) -> None:
    """Raise `CopyRefused` unless nothing is there, or an empty folder."""
    if storages.is_at(target):
        raise CopyRefused(str(target), "there is a library already")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise CopyRefused(str(target), "something else is there; name a new or empty folder")


def _unfinished(target: Path) -> Path:
    """Where a copy is made that is not finished."""
    return target.with_name(f"{target.name}.copying")


def _copy_files(one: SqlStorage, other: SqlStorage) -> None:
    """The stored answers of runs; whoever lacks one asks its question again."""
    for stored in one.labels.run_files().values():
        with suppress(OSError):
            (other.folder / FOLDER_NAME).mkdir(exist_ok=True)
            shutil.copyfile(one.folder / FOLDER_NAME / stored["file"], other.folder / FOLDER_NAME / stored["file"])

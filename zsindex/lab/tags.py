"""Answers as tags in XMP sidecars next to the photos; what zsindex wrote is distinguishable, and can be removed.

For every sidecar that it writes to, the library records

    original         its bytes before; null if there was none
    written_sha256   of what zsindex wrote
    tags.sets        the tags that are wanted, by label set and property
    tags.added       those of them that were new: only these belong to zsindex
    tags.made        properties that zsindex had to create for them
    tags.previous    SHA-256 of the file when this record was made; null if there was none
    tags.before      `added` and `made` of that file; only while the write may not have finished

As long as a file is what zsindex wrote, or what it was just before (`previous`: the write may have been interrupted),
everything in it besides `original` belongs to zsindex, and a new version is made from `original`. If another program
has changed it, what zsindex added is removed, and the rest becomes the `original`. So the record is written first and
the file second, and at every instant one of the two cases holds. `before` is dropped once file and folder are synced;
if a kill has kept it, the file itself tells which of the two it is, see `_known`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

from zsindex import atomic
from zsindex.exchange import sidecar_files, xmp
from zsindex.storage.protocol import LabelStorage
from zsindex.storage.rows import SidecarRow

# Names of the sidecar of photo.jpg.
STYLES = ("photo.jpg.xmp", "photo.xmp")
DEFAULT_ROOT = "zsindex"
BATCH = 64


class _Unusable(Exception):
    """A sidecar must not be touched; says why. It becomes a line of the report."""


Action: TypeAlias = Literal["create", "change", "delete"]


@dataclass(frozen=True, slots=True)
class SkippedSidecar:
    """A sidecar, or a photo without one, that was skipped, and why."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class SidecarChange:
    """A change to a sidecar.

    Attributes:
        action: ``create``, ``change`` or ``delete``.
        added, removed: tags by XMP property.
    """

    path: str
    action: Action
    added: dict[str, list[str]]
    removed: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"path": self.path, "action": self.action, "added": self.added, "removed": self.removed}


@dataclass(frozen=True, slots=True)
class TagReport:
    """What was done to sidecars or, if not `applied`, would be done.

    Attributes:
        changes: in the order of the photos.
        unchanged: number of sidecars that already say what they should.
        skipped: sidecars that should have been changed but were not touched.
        interrupted: it was stopped; the same call continues from there.
    """

    changes: tuple[SidecarChange, ...]
    unchanged: int
    skipped: tuple[SkippedSidecar, ...]
    applied: bool
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "applied": self.applied,
            "interrupted": self.interrupted,
            "unchanged": self.unchanged,
            "changes": [change.to_dict() for change in self.changes],
            "skipped": [{"path": s.path, "why": s.why} for s in self.skipped],
        }


# --- names ------------------------------------------------------------------------------------------------------------


def sidecar_of(photo: str, style: str) -> str:
    """Path of a photo's sidecar in one of the `STYLES`."""
    return f"{photo}.xmp" if style == STYLES[0] else str(Path(photo).with_suffix(".xmp"))


def tags_of(label: str, *, group: str | None = None, root: str = DEFAULT_ROOT) -> dict[str, list[str]]:
    """The tags of a label: itself, and its place below its group and the root.

    Args:
        root: may have several levels, ``A|B``; empty for none.

    Returns:
        By property; empty for a label without a visible character. The separator of levels becomes ``-`` in names.
    """
    name = _clean(label)
    if not name:
        return {}
    levels = [_clean(level) for level in (*root.split("|"), group or "")] + [name]
    levels = [level for level in levels if level]
    return {
        xmp.SUBJECT: [name],
        xmp.HIERARCHY: ["|".join(level.replace("|", "-") for level in levels)],
        xmp.TAGS_LIST: ["/".join(level.replace("/", "-") for level in levels)],
    }


def _clean(name: str) -> str:
    """A name without characters that XML cannot hold, on one line."""
    return " ".join(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", name).split())


def merged(tags: Iterable[Mapping[str, list[str]]]) -> Mapping[str, list[str]]:
    """All tags together, each once."""
    tags = list(tags)
    if len(tags) == 1:
        return tags[0]
    together: dict[str, dict[str, None]] = {}
    for part in tags:
        for name, texts in part.items():
            together.setdefault(name, {}).update(dict.fromkeys(texts))
    return {name: list(texts) for name, texts in together.items() if texts}


# --- writing and taking back ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Target:
    """A sidecar, its photo (None if it does not matter), and how its sets of tags change."""

    sidecar: str
    photo: str | None
    change: Callable[[dict[str, Any]], dict[str, Any]]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """A sidecar with its bytes and its record, before and after; `known` is what the record says of the bytes."""

    sidecar: str
    current: bytes | None
    new: bytes | None
    before: SidecarRow | None
    known: SidecarRow | None
    after: SidecarRow | None


def write(
    lab: LabelStorage,
    wanted: Iterable[tuple[str, Mapping[str, list[str]]]],
    *,
    label_set: str,
    style: str,
    shared: Callable[[str], str | None],
    others: Sequence[str] = (),
    apply: bool,
    progress: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> TagReport:
    """Give photos tags, and remove others of the same label set.

    Args:
        wanted: photos with their tags by property.
        label_set: whose tags they are; "" for labels without a name.
        shared: says why a photo cannot have its own sidecar, if so.
        others: sidecars that lose the tags of that label set.
        apply: False only reports what would be done.
    """

    def without(sets: dict[str, Any]) -> dict[str, Any]:
        return {name: other for name, other in sets.items() if name != label_set}

    def targets() -> Iterator[_Target]:
        for photo, tags in wanted:

            def change(sets: dict[str, Any], tags: Mapping[str, list[str]] = tags) -> dict[str, Any]:
                return {**without(sets), label_set: dict(tags)} if tags else without(sets)

            yield _Target(sidecar_of(photo, style), photo, change, shared(photo) if tags else None)
        for path in others:
            yield _Target(path, None, without)

    return _work(lab, targets(), apply=apply, progress=progress, should_stop=should_stop)


def retract(
    lab: LabelStorage,
    sidecars: Sequence[str],
    *,
    label_set: str | None,
    apply: bool,
    progress: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> TagReport:
    """Remove what was written to sidecars: all tags, or those of one label set."""

    def change(sets: dict[str, Any]) -> dict[str, Any]:
        return {} if label_set is None else {name: other for name, other in sets.items() if name != label_set}

    targets = (_Target(path, None, change) for path in sidecars)
    return _work(lab, targets, apply=apply, progress=progress, should_stop=should_stop)


def _work(
    lab: LabelStorage,
    targets: Iterator[_Target],
    *,
    apply: bool,
    progress: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> TagReport:
    changes: list[SidecarChange] = []
    skipped: list[SkippedSidecar] = []
    done = unchanged = 0
    stopped = False
    while batch := list(islice(targets, BATCH)):
        if stopped := should_stop():
            break
        records = lab.sidecars([target.sidecar for target in batch])
        steps: list[_Step] = []
        planned: dict[str, SidecarChange] = {}
        for target in batch:
            try:
                step = _plan(target, records.get(target.sidecar))
                if step is not None:
                    steps.append(step)
                if step is not None and step.new != step.current:
                    planned[step.sidecar] = _described(step)
                elif step is not None or target.sidecar in records:
                    unchanged += 1
            except (_Unusable, xmp.BadPacket) as error:
                skipped.append(SkippedSidecar(target.sidecar, str(error)))
        failed = _apply(lab, steps) if apply else {}
        skipped += [SkippedSidecar(path, why) for path, why in failed.items()]
        changes += [change for path, change in planned.items() if path not in failed]
        done += len(batch)
        progress(done)
    return TagReport(tuple(changes), unchanged, tuple(skipped), apply, stopped)


def _plan(target: _Target, row: SidecarRow | None) -> _Step | None:
    """What has to be done to a sidecar; None if nothing."""
    sets = target.change({} if row is None else row.tags["sets"])
    if row is None and not sets:
        return None
    if target.problem is not None:
        raise _Unusable(target.problem)
    photo_is_there = target.photo is not None and os.path.exists(target.photo)
    if sets and target.photo is not None and not photo_is_there:
        raise _Unusable("the photo does not exist")
    current = _read(target.sidecar)
    if current is None and row is not None and not photo_is_there:
        _require_folder(target.sidecar)
    known = None if row is None else _known(row, current)
    if sets and current is not None and known is not None and _is_up_to_date(current, known, sets):
        return None if known is row else _Step(target.sidecar, current, current, row, known, known)
    base = _base(current, known)
    wanted = merged(sets.values())
    new, after = base, None
    if wanted:
        added = xmp.add(base, wanted) if base is not None else _new_packet(json.dumps(wanted))
        if added.added:
            new = added.data
            tags = {
                "sets": sets,
                "added": added.added,
                "made": list(added.made),
                "previous": None if current is None else _sha256(current),
            }
            after = SidecarRow(target.sidecar, base, _sha256(new), tags)
    if row is None and after is None:
        return None  # all tags are there already, and none belong to zsindex
    if new != current:
        _require_writable(target.sidecar, exists=current is not None)
    return _Step(target.sidecar, current, new, row, known, after)


def _known(row: SidecarRow, current: bytes | None) -> SidecarRow:
    """What a record says of the file that is there, if it was made for a write of which nobody knows the end.

    If another program has changed the file since, the tags that only one of the two versions has tell which of them it
    started from. All of these must be there, in all their properties: a single one may be the user's own. If that
    tells nothing, only what both versions have belongs to zsindex: better to leave a tag than to remove a user's.
    """
    if "before" not in row.tags:
        return row
    rest = {name: value for name, value in row.tags.items() if name != "before"}
    after = row._replace(tags=rest)
    before = row._replace(tags={**rest, **row.tags["before"]})
    sha256 = None if current is None else _sha256(current)
    if sha256 == row.written_sha256:
        return after
    if current is None or sha256 == row.tags["previous"]:
        return before
    there = xmp.texts_in(current)
    only_after, only_before = (
        _missing(one.tags["added"], other.tags["added"]) for one, other in ((after, before), (before, after))
    )
    if only_after and not _missing(only_after, there):
        return after
    if only_before and not _missing(only_before, there):
        return before
    added = _missing(after.tags["added"], only_after)
    made = [name for name in after.tags["made"] if name in before.tags["made"]]
    return row._replace(tags={**rest, "added": added, "made": made})


@lru_cache(maxsize=4096)
def _new_packet(tags: str) -> xmp.Added:
    """A sidecar with nothing but tags, given as JSON; many photos share one."""
    return xmp.add(None, json.loads(tags))


def _is_up_to_date(current: bytes, row: SidecarRow, sets: Mapping[str, Any]) -> bool:
    if row.tags["sets"] != sets:
        return False
    sha256 = _sha256(current)
    if sha256 == row.written_sha256:
        return True
    if sha256 == row.tags["previous"]:
        return False
    there = xmp.texts_in(current)
    return all(text in there[name] for name, texts in row.tags["added"].items() for text in texts)


def _base(current: bytes | None, row: SidecarRow | None) -> bytes | None:
    """A sidecar as it would be without zsindex; None if it would not exist."""
    if row is None or current is None or current == row.original:
        return current
    if _sha256(current) in (row.written_sha256, row.tags["previous"]):
        return row.original
    rest, is_empty = xmp.remove(current, row.tags["added"], row.tags["made"])
    return None if is_empty and row.original is None else rest


def _apply(lab: LabelStorage, steps: Sequence[_Step]) -> dict[str, str]:
    """Apply steps. Returns the sidecars for which that failed, with the reasons; they are unchanged."""
    for step in steps:
        if step.before is not None:  # what a kill left is named after the record that is about to be replaced
            atomic.remove_leftover(Path(step.sidecar), sidecar_files.mark(step.before.written_sha256))
    # In case of an interruption, the record must cover everything that may be in the file: what was, and what will be.
    lab.save_sidecars([_pending(step) for step in steps if step.new != step.current])
    done: list[_Step] = []
    undone: list[_Step] = []
    failed: dict[str, str] = {}
    try:
        for step in steps:
            try:
                _put(step)
            except (_Unusable, OSError) as error:
                failed[step.sidecar] = str(error.strerror if isinstance(error, OSError) else error)
                if not _is_there(step):
                    undone.append(step)
            else:
                done.append(step)
    finally:
        # Steps that were not reached, and those whose outcome the disk does not confirm, keep the record above, which
        # is right for them as well.
        changed = {os.path.dirname(step.sidecar) for step in done if step.new != step.current}
        unsure = {folder: why for folder in sorted(changed) if (why := _sync(folder)) is not None}
        for step in done:
            if step.new != step.current and (why := unsure.get(os.path.dirname(step.sidecar))) is not None:
                failed[step.sidecar] = f"written, but it may not survive a power cut ({why}); try again"
        settled = [(step.sidecar, step.after) for step in done if step.sidecar not in failed]
        settled += [(step.sidecar, step.before) for step in undone]
        lab.save_sidecars(
            [row for _, row in settled if row is not None], forget=[path for path, row in settled if row is None]
        )
    return failed


def _pending(step: _Step) -> SidecarRow:
    """A record that is right for the file as it is and as it will be."""
    nothing: dict[str, Any] = {"sets": {}, "added": {}, "made": []}
    before = nothing if step.known is None else step.known.tags
    after = (
        {**nothing, "previous": None if step.current is None else _sha256(step.current)}
        if step.after is None
        else step.after.tags
    )
    return SidecarRow(
        step.sidecar,
        step.new if step.after is None else step.after.original,
        "" if step.new is None else _sha256(step.new),
        {**after, "before": {"added": before["added"], "made": before["made"]}},
    )


def _put(step: _Step) -> None:
    if step.new == step.current:
        return
    file = Path(step.sidecar)

    def compare() -> None:
        if _read(step.sidecar) != step.current:
            raise _Unusable("another program is changing it; try again")

    compare()
    if step.new is None:
        file.unlink()
    else:
        atomic.write_bytes(
            file,
            step.new,
            mode=None if step.current is None else stat.S_IMODE(file.stat().st_mode),
            mark=sidecar_files.mark(_sha256(step.new)),
            before_rename=compare,  # writing may have taken long
        )


def _is_there(step: _Step) -> bool:
    """Whether a file is, or may be, what it was meant to become, although an error was raised."""
    if step.new == step.current:
        return False
    try:
        return _read(step.sidecar) == step.new
    except _Unusable:
        return True


def _sync(folder: str) -> str | None:
    """Make the names in a folder durable; returns why that failed."""
    try:
        atomic.sync_folder(folder)
    except OSError as error:
        return None if error.errno == errno.EACCES else error.strerror or str(error)  # not readable is no failure
    return None


def _described(step: _Step) -> SidecarChange:
    if step.current is None and step.after is not None and step.after.original is None:
        return SidecarChange(step.sidecar, "create", step.after.tags["added"], {})  # the usual case: nothing to read
    before, after = ({} if data is None else xmp.texts_in(data) for data in (step.current, step.new))
    action: Action = "create" if step.current is None else "delete" if step.new is None else "change"
    return SidecarChange(step.sidecar, action, _missing(after, before), _missing(before, after))


def _missing(here: Mapping[str, list[str]], there: Mapping[str, list[str]]) -> dict[str, list[str]]:
    found = {name: [text for text in texts if text not in there.get(name, ())] for name, texts in here.items()}
    return {name: texts for name, texts in found.items() if texts}


def _read(path: str) -> bytes | None:
    """The bytes of a sidecar; None if there is none."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            raise _Unusable("it is a symbolic link")
        if not stat.S_ISREG(status.st_mode):
            raise _Unusable("it is not a file")
        if status.st_size > xmp.MAX_BYTES:
            raise _Unusable(f"it is larger than {xmp.MAX_BYTES >> 20} MB")
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _Unusable(f"it cannot be read ({error.strerror})") from error


def _require_folder(path: str) -> None:
    """Refuse an empty or missing folder: a disk that is not plugged in may leave one, and its content is unknown."""
    try:
        with os.scandir(os.path.dirname(path)) as entries:
            if next(entries, None) is not None:
                return
    except OSError as error:
        raise _Unusable(f"its folder cannot be read ({error.strerror})") from error
    raise _Unusable("its folder is empty; is a disk not plugged in?")


def _require_writable(path: str, *, exists: bool) -> None:
    if not os.access(os.path.dirname(path), os.W_OK | os.X_OK):
        raise _Unusable("its folder is read-only")
    if exists and not os.access(path, os.W_OK):
        raise _Unusable("it is read-only")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

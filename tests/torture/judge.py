"""What must hold after something went wrong: nothing lost, invented, stuck or left behind, and the right words.

What a world holds is told by facts: keys with values, without the ids and instants that are others each time. After a
step that was disturbed each fact is as it was before it, or as it is after it. Done again, all are what they are where
nothing was disturbed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import sqlite3
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tests.torture.scenarios import Scenario, World
from zsindex.errors import LibraryNotFound, NoVectors, ZsindexError
from zsindex.index.snapshots import IndexRebuilt
from zsindex.library import Library
from zsindex.models.openvino import checksums
from zsindex.models.openvino.runtime import TowerManifest
from zsindex.storage.sqlite.file import FILE_NAME

TEMPLATE = "This is a photo of {}."

Fact: TypeAlias = tuple[str, ...]
Facts: TypeAlias = Mapping[Fact, Any]

# --- facts ------------------------------------------------------------------------------------------------------------

_QUERIES = {
    "model": "SELECT fingerprint, name, dim FROM models",
    "default": "SELECT 'default', (SELECT fingerprint FROM models WHERE CAST(id AS TEXT) = value)"
    " FROM settings WHERE key = 'default_model'",
    "root": "SELECT path FROM roots",
    "file": "SELECT folders.path || '/' || files.name, size, mtime_ns, hex(digest), skip_reason,"
    " missing_since IS NOT NULL FROM files JOIN folders ON folder_id = folders.id LEFT JOIN images"
    " ON image_id = images.id",
    "image": "SELECT hex(digest), width, height, format FROM images",
    "incomplete": "SELECT hex(digest), detail FROM incomplete_images JOIN images ON image_id = images.id",
    "vector": "SELECT fingerprint || ' ' || hex(digest), hex(vector) FROM embeddings"
    " JOIN images ON image_id = images.id JOIN models ON model_id = models.id",
    "prompt": "SELECT fingerprint || ' ' || text, hex(vector), truncated FROM prompts"
    " JOIN models ON model_id = models.id",
    "label set": "SELECT name || '@' || version, body FROM label_sets",
    "templates": "SELECT name, body FROM template_sets",
    "correction": "SELECT label_set || ' ' || row_number() OVER (PARTITION BY label_set ORDER BY id), hex(digest),"
    " label, is_not FROM corrections",
    "survey": "SELECT id, kind, question, hex(image_ids), result FROM surveys",
    "look": "SELECT survey_id || ' ' || number, hex(digest), drawn, answer FROM looks",
    "album": "SELECT name, body, hex(seen) FROM albums",
    "decision": "SELECT row_number() OVER (ORDER BY id), kind, hex(digest), hex(other), path FROM decisions",
    "threshold": "SELECT label_set || ' ' || label, rate FROM thresholds",
    "temperature": "SELECT fingerprint, temperature FROM temperatures JOIN models ON model_id = models.id",
    "run": "SELECT key FROM runs",
    "sidecar": "SELECT path, hex(original), written_sha256, tags FROM sidecars",
}
# Since which schema there is such a table.
_LATER = {
    *("templates", "correction", "decision", "album", "survey", "look", "threshold", "temperature", "run", "sidecar"),
    "incomplete",
}


def facts_of(world: World) -> dict[Fact, Any]:
    """All that a world holds, by whatever means it can be read without the program."""
    return {**stored(world), **dict(_contents(world)), **_export(world)}


def _export(world: World) -> dict[Fact, Any]:
    """A tower's export: files by name, if it is one that would be used."""
    try:
        manifest = TowerManifest.read(world.towers)
    except (OSError, ValueError):
        return {}
    damaged = checksums.damaged(world.towers, manifest.sha256, verified={})
    return {("export", "model"): [sorted(manifest.sha256.items()), damaged]}


def stored(world: World) -> dict[Fact, Any]:
    """What the database holds; nothing where there is none."""
    file = world.library / FILE_NAME
    found: dict[Fact, Any] = {}
    if not file.exists() or not file.stat().st_size:
        return found
    with closing(sqlite3.connect(file)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "models" not in tables:
            return found
        for kind, query in _QUERIES.items():
            try:
                rows = database.execute(query).fetchall()
            except sqlite3.OperationalError as error:
                if kind in _LATER and "no such table" in str(error):
                    continue
                if kind == "label set" and "no such column" in str(error):
                    rows = database.execute("SELECT name || '@1', body FROM label_sets").fetchall()
                else:
                    raise
            for key, *values in rows:
                found[kind, key] = _settled(values) if kind == "sidecar" else values
    return found


def _settled(values: list[Any]) -> list[Any] | None:
    """A sidecar's record; None while it is that of a write that has not ended. What it says of the file before is
    another thing each time.
    """
    *others, tags = values
    document = json.loads(tags)
    if "before" in document:
        return None
    document.pop("previous", None)
    return [*others, document]


def _contents(world: World) -> Iterator[tuple[Fact, str]]:
    """Files that are people's, or for them: sidecars, and what was exported."""
    found = [*world.photos.rglob("*.xmp"), *(world.others.rglob("*") if world.others.exists() else ())]
    found = [file for file in found if world.towers.parent not in file.parents]
    for file in found:
        place = _recovered(file, world)
        if file.is_file() and not _is_temporary(place, world):
            content = file.read_bytes()
            if file.name == "zsindex.json":
                content = re.sub(rb'"created_at": "[^"]*"', b"", content)
            yield ("content", str(place)), hashlib.sha256(content).hexdigest()


def _recovered(file: Path, world: World) -> Path:
    """Where a file will be when the export that it belongs to has its name again: a kill between two renames leaves
    that to the next export or import.
    """
    if not file.is_relative_to(world.others):
        return file
    folder, *rest = file.relative_to(world.others).parts
    old = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.tmp\.old", folder)
    if old is None or (world.others / old[1]).exists():
        return file
    return world.others.joinpath(old[1], *rest)


def _is_temporary(file: Path, world: World) -> bool:
    return any(part.endswith((".tmp", ".old")) for part in file.relative_to(world.folder).parts)


def names_of(world: World) -> set[str]:
    """All files and folders, what is random in their names aside."""
    found = {str(path.relative_to(world.folder)) for path in world.folder.rglob("*")}
    found = {re.sub(r"[0-9a-f]{8}(?=\.)", "HEX", name) for name in found}
    return {re.sub(r"\d{8}T\d{6}", "WHEN", name) for name in found}


# --- comparing --------------------------------------------------------------------------------------------------------


# Why photos are skipped that another sync reads again, when the disk can.
_PASSING = ("permission-denied", "io-error", "vanished", "out-of-memory")


def between(now: Facts, states: Sequence[Facts], *, told: Sequence[str] = (), may_forget: bool = False) -> list[str]:
    """What is as it is in none of the states.

    Args:
        told: what was said; photos that are named there may be skipped until the next sync.
        may_forget: what was written beside the library may be missing.
    """
    wrong = []
    for key in sorted({*now, *(key for state in states for key in state)}):
        allowed = [state.get(key) for state in states]
        if now.get(key) in allowed or (key[0] == "sidecar" and key in now and now[key] is None):
            continue
        if may_forget and (key[0] == "content" or key not in now):
            continue
        if key[0] == "file" and key in now and now[key][:2] == [-1, -1] and _without_status(now[key], allowed):
            continue  # it could not be examined: the next sync reads it
        if key[0] == "file" and key in now and now[key][3] in _PASSING and any(key[1] in said for said in told):
            continue
        wrong.append(f"{_named(key)} is {_short(now.get(key))}, and not {' or '.join(map(_short, allowed))}")
    return wrong


def _without_status(value: Any, allowed: Sequence[Any]) -> bool:
    return value[2:] in [one[2:] for one in allowed if one is not None]


def equal(now: Facts, expected: Facts) -> list[str]:
    """What is not as it is where nothing was disturbed."""
    return [
        f"done again, {_named(key)} is {_short(now.get(key))}, and not {_short(expected.get(key))}"
        for key in sorted({*now, *expected})
        if now.get(key) != expected.get(key)
    ]


def _named(key: Fact) -> str:
    return f"{key[0]} {_short(key[1])}"


def _short(value: Any) -> str:
    text = "gone" if value is None else str(value)
    return text if len(text) < 120 else f"{text[:60]}…{text[-40:]}"


# --- words ------------------------------------------------------------------------------------------------------------

_FITTING = {
    errno.ENOSPC: "space|full",
    errno.EDQUOT: "[Qq]uota",
    errno.EIO: "Input/output error|the disk reports an error",
    errno.EMFILE: "Too many open files",
    errno.EACCES: "read-only|[Pp]ermission",
    errno.EINTR: "Interrupted",
    errno.ENOMEM: "[Mm]emory",
    errno.ENOLCK: "[Ll]ock|another program has the database open",  # SQLite takes it for that
}
_PASSED = "though it (can be|does not) now"
_WHAT_TO_DO = "again|[Mm]ake the folder writable|free some space|wait|[Nn]ame a |rename|check|see "
_MISLEADING = "damaged|malformed|corrupt|zsindex check|not a zsindex library: it holds"


@dataclass(frozen=True, slots=True)
class Told:
    """What came of doing something.

    Attributes:
        error: what was raised, as text with its type; empty if nothing was.
        is_ours: whether that is one of the errors that zsindex explains.
        trace: how it came to that.
        warnings: all that was said besides.
    """

    error: str = ""
    is_ours: bool = True
    trace: str = ""
    warnings: tuple[str, ...] = ()

    def and_then(self, later: Told) -> Told:
        """This and what came after it."""
        return replace(later, warnings=self.warnings + later.warnings)


def told_of(act: Callable[[], object]) -> Told:
    """Do something, and keep what it tells."""
    error, is_ours, trace = "", True, ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            act()
        except Exception as raised:  # noqa: BLE001
            error, is_ours = f"{type(raised).__name__}: {raised}", isinstance(raised, ZsindexError)
            trace = traceback.format_exc()
    said = tuple(str(one.message) for one in caught if not issubclass(one.category, ResourceWarning))
    return Told(error, is_ours, trace, said)


def words(told: Told, number: int, *, once: bool) -> list[str]:
    """What does not fit an error of the system in what was told of it.

    Args:
        once: whether it came but once. What SQLite keeps to itself is found by asking for the same again; where that is
            granted, nobody can know what the system had said, and that is told.
    """
    fitting = f"{_FITTING[number]}|{_PASSED}" if once else _FITTING[number]
    wrong = []
    if not told.is_ours:
        last = [line.strip() for line in told.trace.splitlines() if line.strip().startswith("File ")][-3:]
        wrong.append(f"a raw error came out: {told.error} ({' < '.join(reversed(last))})")
    elif told.error and not re.search(fitting, told.error):
        wrong.append(f"{errno.errorcode[number]} is told as {told.error!r}")
    elif told.error and not re.search(_WHAT_TO_DO, told.error):
        wrong.append(f"what to do is not said: {told.error!r}")
    wrong += [
        f"{errno.errorcode[number]} is told as damage: {said!r}"
        for said in (told.error, *told.warnings)
        if re.search(_MISLEADING, said)
    ]
    return wrong


# --- afterwards -------------------------------------------------------------------------------------------------------

# What a kill may leave, which `check` tells and `check --fix` and `prune` remove.
_LEFT = "belong to no index|temporary files that a killed zsindex"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a scenario comes to where nothing disturbs it: facts before, after each step, and the files at the end."""

    facts: Sequence[Facts]
    names: Collection[str]


@dataclass(slots=True)
class Afterwards:
    """Looks at a world in which a scenario was disturbed.

    Attributes:
        done: steps that were done before that, so that all of them must be kept.
        begun: steps that may have been done.
        told: what was said meanwhile.
    """

    scenario: Scenario
    world: World
    reference: Reference
    done: int
    begun: int
    told: Sequence[str] = ()
    found: list[str] = field(default_factory=list)

    def judge(self, *, may_have_left: bool) -> list[str]:
        """Everything, in an order in which nothing covers anything up.

        Args:
            may_have_left: files of a process that was killed may be there.
        """
        self._is_there()
        self._opens_and_is_clean(may_have_left=may_have_left)
        self._ends_as_always()
        return self.found

    def _is_there(self) -> None:
        states = self.reference.facts[self.done : self.begun + 1]
        self.found += between(facts_of(self.world), states, told=self.told, may_forget=self.scenario.may_forget)

    def _opens_and_is_clean(self, *, may_have_left: bool) -> None:
        if not Library.exists(self.world.library):
            if any(key[0] != "content" for key in self.reference.facts[self.done]):
                self.found.append("the library is gone")
            return
        expected = self.reference.facts[self.done]
        told = told_of(lambda: self._check(may_have_left=may_have_left))
        is_half_made = told.error.startswith(LibraryNotFound.__name__) and not expected
        if told.error and not is_half_made:
            self.found.append(f"afterwards: {told.error}\n{told.trace}")

    def _check(self, *, may_have_left: bool) -> None:
        with self.world.open() as library:
            for problem in library.check().problems:
                if self.scenario.is_expected(problem):
                    continue
                if not (may_have_left and re.search(_LEFT, problem)):
                    self.found.append(f"check: {problem}")

    def _ends_as_always(self) -> None:
        for step in self.scenario.steps(self.world):
            told = told_of(step)
            if told.error:
                self.found.append(f"done again: {told.error}\n{told.trace}")
            self.found += [f"done again it warns: {said}" for said in told.warnings if not self._may_be_said(said)]
        self.found += equal(facts_of(self.world), self.reference.facts[-1])
        if Library.exists(self.world.library):
            told = told_of(self._answers_are_right)
            if told.error:
                self.found.append(f"answers: {told.error}\n{told.trace}")
            with self.world.open() as library:
                remaining = library.check(fix=True).remaining
                self.found += [f"check --fix leaves: {problem}" for problem in remaining]
        extra = names_of(self.world) - set(self.reference.names)
        extra = {name for name in extra if not re.search(self.scenario.may_leave, name)}
        self.found += [f"left behind for good: {name}" for name in sorted(extra)]

    def _may_be_said(self, said: str) -> bool:
        return "was rebuilt" in said or self.scenario.is_expected(said)

    def _answers_are_right(self) -> None:
        self.found += wrong_answers(self.world)


def wrong_answers(world: World) -> list[str]:
    """Scores that are not what the stored vectors give, computed by hand."""
    labels = ["red", "blue"]
    with world.open() as library, warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexRebuilt)
        try:
            answers = library.classify(labels, template=TEMPLATE, sync=False, top=len(labels))
        except NoVectors:
            return []
        asked = library.model
        told = {(photo.path, one.label): one.score for photo in answers for one in photo.predictions}
    facts = stored(world)
    files = {key[1]: values[2] for key, values in facts.items() if key[0] == "file" and values[2] and not values[4]}
    scale, wrong = asked.logit_scale, []
    texts = [TEMPLATE.format(label) for label in labels]
    prompts = np.stack([_vector(facts["prompt", f"{asked.fingerprint} {text}"][0]) for text in texts])
    for path, digest in files.items():
        vector = facts.get(("vector", f"{asked.fingerprint} {digest}"))
        if vector is None:
            continue
        logits = scale * (prompts.astype(np.float64) @ _vector(vector[0]).astype(np.float64))
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        for label, score in zip(labels, scores, strict=True):
            if abs(told.pop((path, label), -1.0) - score) > 1e-5:
                wrong.append(f"the score of {label!r} for {Path(path).name} is not {score:.6f}")
    return wrong + [f"an answer about {path}, which has no vector" for path, _ in told]


def _vector(text: str) -> Any:
    return np.frombuffer(bytes.fromhex(text), dtype="<f4")

"""Upkeep of a library: counting, checking and pruning."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from typing import Any

import zsindex
from zsindex.errors import UnknownModel
from zsindex.exchange import run_files
from zsindex.index import files as index_files
from zsindex.index import snapshots
from zsindex.index.snapshots import VectorIndex
from zsindex.storage import schema
from zsindex.storage.labels import LabStore
from zsindex.storage.photos import Store
from zsindex.storage.rows import ModelRow
from zsindex.storage.sqlite.database import Database, size_of


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What a library holds of one model; `bytes` counts its vectors."""

    name: str
    fingerprint: str
    precision: str
    decode: str
    icc: str
    transparency: str
    dim: int
    images: int
    prompts: int
    bytes: int
    default: bool


@dataclass(frozen=True, slots=True)
class Status:
    """A library in numbers.

    Attributes:
        files: photos that are there and readable; `images` are those with different bytes, `duplicates` the rest.
        skipped: photos that cannot be used, by reason.
        incomplete: photos that were read although they are cut short.
        missing: files that the last sync of their folders found to be gone, and that are not yet pruned. The disk is
            not asked: what has gone since, or from folders that are not synced, counts as being there.
        roots: folders that are synced.
        label_sets: names of saved ones.
    """

    path: str
    read_only: bool
    files: int
    images: int
    duplicates: int
    skipped: dict[str, int]
    incomplete: int
    missing: int
    roots: list[str]
    models: list[ModelStatus]
    label_sets: list[str]
    database_bytes: int
    index_bytes: int
    schema: str
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found.

    Attributes:
        problems: in words; empty when everything agrees.
        fixed: what was done about them.
        remaining: problems that are still there.
        vectors: how many were compared.
    """

    problems: tuple[str, ...]
    fixed: tuple[str, ...]
    remaining: tuple[str, ...]
    vectors: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, or no longer."""
        return not self.remaining

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True, slots=True)
class PruneReport:
    """How many rows of each kind were forgotten or, in a dry run, would be."""

    files: int
    images: int
    vectors: int
    prompts: int
    models: int
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def models(store: Store) -> list[ModelStatus]:
    """The models that a library holds, oldest first."""
    default = store.default_model()
    return [
        ModelStatus(
            name=str(row.info.spec),
            fingerprint=row.info.fingerprint,
            precision=row.info.spec.precision,
            decode=str(row.info.spec.decode),
            icc=str(row.info.spec.icc),
            transparency=str(row.info.spec.transparency),
            dim=row.info.dim,
            default=default is not None and default.id == row.id,
            **store.model_sizes(row),
        )
        for row in store.models()
    ]


def status(database: Database, store: Store, lab: LabStore) -> Status:
    """Count what a library holds; see `Library.status`."""
    counts = store.counts()
    index_folder = database.folder / snapshots.FOLDER_NAME
    return Status(
        path=str(database.folder),
        read_only=not database.writable,
        files=counts["files"],
        images=counts["images"],
        duplicates=counts["duplicates"],
        skipped=store.skip_counts(),
        incomplete=counts["incomplete"],
        missing=counts["missing"],
        roots=store.roots(),
        models=models(store),
        label_sets=[saved.name for saved in lab.label_sets()],
        database_bytes=database.size_bytes(),
        index_bytes=sum(map(size_of, index_folder.glob("*"))),
        schema=schema.HEAD,
        versions={
            "zsindex": zsindex.__version__,
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            # Asked of the packages' metadata: importing torch to learn its version would take seconds.
            **{name: metadata.version(name) for name in ("torch", "open_clip_torch", "faiss-cpu", "pillow")},
        },
    )


def check(database: Database, store: Store, *, fix: bool) -> CheckReport:
    """Compare database, vectors and index; see `Library.check`."""
    if fix:
        database.require_writable("fix")
    damaged = store.integrity_problems()
    if damaged:
        # Nothing that is read from a malformed file proves anything, and writing to it can make it worse.
        return CheckReport(tuple(damaged), (), tuple(damaged), 0)
    problems: list[str] = []
    fixed: list[str] = []
    compared = 0
    for row in store.models():
        bad = store.bad_vectors(row)
        compared += sum(store.model_sizes(row)[kind] for kind in ("images", "prompts"))
        n_bad = sum(len(ids) for ids in bad.values())
        if n_bad:
            problems.append(f"{n_bad} stored vectors of {row.info.spec} are not unit vectors of {row.info.dim} numbers")
            if fix:
                store.remove_vectors(row.id, bad)
                fixed.append(f"forgot them; the next zsindex sync encodes {len(bad['embeddings'])} photos again")
        # Vectors that are none cannot be compared with; with `fix` they are gone by now.
        index_problems = (
            [] if bad["embeddings"] and not fix else snapshots.snapshot_problems(store, database.folder, row)
        )
        problems += index_problems
        if fix and (index_problems or n_bad):
            VectorIndex.rebuild(store, database.folder, row)
            fixed.append(f"rebuilt the index of {row.info.spec}")
    lab = LabStore(database)
    for file, what in run_files.problems(lab, database.folder).items():
        problems.append(what)
        if fix:
            file.unlink(missing_ok=True)
            fixed.append("removed it; its question is kept, and can be asked again")
    strays = index_files.strays(database.folder / snapshots.FOLDER_NAME, partial(_recorded, store, lab, database))
    if strays:
        problems.append(f"{len(strays)} files in {snapshots.FOLDER_NAME}/ belong to no index")
        if fix:
            for file in strays:
                index_files.remove(file, partial(_recorded, store, lab, database))
            fixed.append("removed them")
    remaining = check(database, store, fix=False).remaining if fixed else tuple(problems)
    return CheckReport(tuple(problems), tuple(fixed), remaining, compared)


def prune(
    database: Database,
    store: Store,
    *,
    models: Sequence[str],
    under: Sequence[str],
    prompts: bool = False,
    dry_run: bool,
) -> PruneReport:
    """Forget what is not needed any more; see `Library.prune`."""
    if not dry_run:
        database.require_writable("prune")
    ids = [row.id for name in models for row in _find(store, name)]
    if dry_run:
        return PruneReport(**store.prunable(ids, under, prompts=prompts), dry_run=True)
    with database.sync_lock.hold("prune"):
        removed = store.prune(ids, under, prompts=prompts)
        for row in store.models():
            VectorIndex.open(store, database.folder, row)  # writes a new snapshot if enough is gone
        recorded = partial(_recorded, store, LabStore(database), database)
        for file in index_files.strays(database.folder / snapshots.FOLDER_NAME, recorded):
            index_files.remove(file, recorded)
        database.vacuum()
    return PruneReport(**removed, dry_run=False)


def _recorded(store: Store, lab: LabStore, database: Database) -> set[str]:
    """Names of the files in the index folder that the database knows."""
    return snapshots.recorded_files(store, database.folder) | run_files.recorded(lab)


def _find(store: Store, name: str) -> list[ModelRow]:
    """Models by name, or by the beginning of a fingerprint; never the default one."""
    default = store.default_model()
    rows = [
        r
        for r in store.models()
        if str(r.info.spec) == name or (len(name) >= 6 and r.info.fingerprint.startswith(name))
    ]
    others = [row for row in rows if default is None or row.id != default.id]
    if not rows:
        raise UnknownModel(
            name, near=[str(row.info.spec) for row in store.models()], why="the library holds no such model"
        )
    if not others:
        raise UnknownModel(name, why="it is the library's default; choose another with zsindex models use first")
    return others

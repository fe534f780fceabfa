"""Upkeep of a library: counting, checking and pruning."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from zsindex._version import __version__
from zsindex.errors import LibraryBusy, StorageFailed, StorageFull, UnknownModel, ZsindexWarning
from zsindex.exchange import run_files, sidecar_files
from zsindex.index import files as index_files
from zsindex.index import snapshots
from zsindex.index.snapshots import VectorIndex
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import NO_PROMPTS, Forgettable, ModelRow
from zsindex.storage.seals import Damaged, Kind

# Photos with a damaged vector that a message names; the report has all of them.
MOST_NAMED = 10


class RoomNotGivenBack(ZsindexWarning):
    """Rows were pruned, but the file is as large as before."""


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
        damaged: paths of the photos with a stored vector that is damaged, in order.
    """

    problems: tuple[str, ...]
    fixed: tuple[str, ...]
    remaining: tuple[str, ...]
    vectors: int
    damaged: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, or no longer."""
        return not self.remaining

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What was forgotten or, in a dry run, would be.

    Attributes:
        files, images, vectors, prompts, models: how many rows of each kind.
        vector_bytes, prompt_bytes: what the vectors took, and the prompts with their vectors.
        temporary_files: removed from beside photos, where a killed `tags.write` had left them.
        strays: files in the index folder that a killed process had left, of `stray_bytes`.
        backups: of the database, from before upgrades, of `backup_bytes`.
    """

    files: int
    images: int
    vectors: int
    prompts: int
    models: int
    dry_run: bool
    temporary_files: int = 0
    vector_bytes: int = 0
    prompt_bytes: int = 0
    strays: int = 0
    stray_bytes: int = 0
    backups: int = 0
    backup_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def models(storage: Storage) -> list[ModelStatus]:
    """The models that a library holds, oldest first."""
    default = storage.reads.default_model()
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
            **storage.photos.model_sizes(row),
        )
        for row in storage.reads.models()
    ]


def status(storage: Storage) -> Status:
    """Count what a library holds; see `Library.status`."""
    counts = storage.photos.counts()
    index_folder = storage.folder / snapshots.FOLDER_NAME
    return Status(
        path=str(storage.place),
        read_only=not storage.writable,
        files=counts["files"],
        images=counts["images"],
        duplicates=counts["duplicates"],
        skipped=storage.photos.skip_counts(),
        incomplete=counts["incomplete"],
        missing=counts["missing"],
        roots=storage.photos.roots(),
        models=models(storage),
        label_sets=[saved.name for saved in storage.reads.label_sets()],
        database_bytes=storage.size_bytes(),
        index_bytes=sum(map(index_files.size_of, index_folder.glob("*"))),
        schema=storage.schema(),
        versions={
            "zsindex": __version__,
            "python": platform.python_version(),
            **storage.versions(),
            # Asked of the packages' metadata: importing torch to learn its version would take seconds.
            **{name: metadata.version(name) for name in ("torch", "open_clip_torch", "faiss-cpu", "pillow")},
        },
    )


def _of_row(row: Damaged) -> str:
    if row.whole:
        return f"the checksum of {row.what} is damaged"
    how = "gone" if row.gone else "damaged"
    return f"{row.what} is {how}{'; a zsindex sync with it records it again' if row.kind is Kind.MODEL else ''}"


def check(storage: Storage, *, fix: bool) -> CheckReport:
    """Compare database, vectors and index; see `Library.check`."""
    if fix:
        storage.require_writable("fix")
    problems = storage.problems()
    fixed: list[str] = []
    if problems and fix and storage.rebuild_indexes():
        fixed.append("rebuilt the indexes of the database")
    if (problems and not fixed) or (fixed and storage.problems()):
        # Nothing that is read from a malformed file proves anything, and writing to it can make it worse.
        return CheckReport(tuple(problems), tuple(fixed), tuple(problems), 0)
    if (taken := index_files.name_taken(storage.folder / snapshots.FOLDER_NAME)) is not None:
        # It may be somebody's. What is wrong with all that should be in there is nothing else.
        return CheckReport((*problems, taken), tuple(fixed), (taken,), 0)
    compared = 0
    damaged_photos: set[str] = set()
    rows = storage.damaged_rows()
    if rows:
        of_photos = [row for row in rows if row.kind is Kind.FILE]
        damaged_photos.update(row.what for row in of_photos)
        named = [row for row in rows if row.kind not in (Kind.FILE, Kind.IMAGE, Kind.DERIVED)]
        problems += [_of_row(row) for row in named]
        if of_photos:
            of = _some(sorted(row.what for row in of_photos))
            problems.append(f"what is known of {len(of_photos)} photos is damaged{of}")
        if len(of_photos) + len(named) < len(rows):
            problems.append(f"{len(rows) - len(of_photos) - len(named)} other rows of the database are damaged")
        if fix:
            fixed += storage.mend(rows)
    recorded = partial(_recorded, storage)
    # Looked for once more at the end: a file that a writer is just replacing is gone by then.
    earlier = index_files.strays(storage.folder / snapshots.FOLDER_NAME, recorded)
    for row in storage.reads.models():
        bad = storage.photos.bad_vectors(row)
        compared += sum(storage.photos.model_sizes(row)[kind] for kind in ("images", "prompts"))
        beside = snapshots.compare(storage, row, damaged=bad["images"])
        paths = _paths(storage, [*bad["images"], *beside.doubtful])
        damaged_photos.update(paths)
        if bad["images"]:
            of = _some(_paths(storage, bad["images"]))
            problems.append(f"{len(bad['images'])} stored vectors of {row.info.spec} are damaged{of}")
        if bad["prompts"]:
            problems.append(f"{len(bad['prompts'])} stored vectors of prompts of {row.info.spec} are damaged")
        if beside.doubtful:
            of = _some(_paths(storage, beside.doubtful))
            problems.append(f"index of {row.info.spec}: {len(beside.doubtful)} vectors differ from the database{of}")
        problems += beside.problems
        if fix and (bad["images"] or bad["prompts"] or beside.doubtful):
            wrong = {"images": [*bad["images"], *beside.doubtful], "prompts": bad["prompts"]}
            storage.photos.remove_vectors(row.id, wrong, instead=beside.intact)
            if beside.intact:
                fixed.append(f"took {len(beside.intact)} of them from the index, which is whole")
            if n_left := len(wrong["images"]) - len(beside.intact):
                fixed.append(f"forgot them; the next zsindex sync encodes {n_left} photos again")
            if bad["prompts"]:
                fixed.append(f"forgot {len(bad['prompts'])} prompts; they are encoded again when they are needed")
        if fix and (bad["images"] or beside.doubtful or beside.problems):
            if _keeps_index(storage, row):
                VectorIndex.rebuild(storage, row)
            fixed.append(f"rebuilt the index of {row.info.spec}")
        for file, problem in snapshots.problems_beside(storage, row).items():
            problems.append(problem)
            if fix:
                file.unlink(missing_ok=True)
                fixed.append("removed it; it is calculated again when it is needed")
    for file, what in run_files.problems(storage).items():
        problems.append(what)
        if fix:
            file.unlink(missing_ok=True)
            fixed.append("removed it; its question is kept and can be repeated")
    later = index_files.strays(storage.folder / snapshots.FOLDER_NAME, recorded) if earlier else []
    strays = [file for file in earlier if file in later]
    if strays:
        problems.append(f"{len(strays)} files in {snapshots.FOLDER_NAME}/ belong to no index")
        if fix:
            for file in strays:
                index_files.remove(file, recorded)
            fixed.append("removed them")
    # What a damaged record says of its files is not believed.
    legible = fix or not any(row.kind is Kind.SIDECAR for row in rows)
    if legible and (left := sidecar_files.leftovers(storage.labels)):
        problems.append(
            f"temporary files that a killed zsindex tags write has left beside photos ({len(left)}): "
            f"{', '.join(map(str, left[:3]))}{' and others' if left[3:] else ''}"
        )
        if fix:
            sidecar_files.remove_leftovers(storage.labels)
            fixed.append("removed them")
    remaining = check(storage, fix=False).remaining if fixed else tuple(problems)
    return CheckReport(tuple(problems), tuple(fixed), remaining, compared, tuple(sorted(damaged_photos)))


def prune(
    storage: Storage,
    *,
    models: Sequence[str],
    under: Sequence[str],
    prompts: Forgettable = NO_PROMPTS,
    backups: bool = False,
    dry_run: bool,
) -> PruneReport:
    """Forget what is not needed any more; see `Library.prune`."""
    if not dry_run:
        storage.require_writable("prune")
    ids = [row.id for name in models for row in _find(storage, name)]
    recorded = partial(_recorded, storage)
    of_index = storage.folder / snapshots.FOLDER_NAME
    if dry_run:
        files = {
            "stray": index_files.strays(of_index, recorded),
            "backup": storage.backups() if backups else [],
        }
        return PruneReport(
            **storage.photos.prunable(ids, under, prompts=prompts),
            temporary_files=len(sidecar_files.leftovers(storage.labels)),
            **_sizes(files),
            dry_run=True,
        )
    with storage.sync_lock.hold("prune"):
        removed = storage.photos.prune(ids, under, prompts=prompts)
        for row in storage.reads.models():
            if _keeps_index(storage, row):
                VectorIndex.open(storage, row)  # writes a new snapshot if enough is gone
        # Only now: a new snapshot leaves none, but what it replaces was not one before.
        files = {"stray": index_files.strays(of_index, recorded), "backup": storage.backups() if backups else []}
        sizes = _sizes(files)
        for file in files["stray"]:
            index_files.remove(file, recorded)
        for file in files["backup"]:
            file.unlink(missing_ok=True)
        left = sidecar_files.remove_leftovers(storage.labels)
        try:
            storage.vacuum()
        except (StorageFull, StorageFailed, LibraryBusy) as error:
            what = "what was to be pruned is gone, but its room was not given back to the disk"
            warnings.warn(f"{what} (new photos use it): {error}", RoomNotGivenBack, stacklevel=4)
    return PruneReport(**removed, temporary_files=left, **sizes, dry_run=False)


def _sizes(files: Mapping[str, Sequence[Path]]) -> dict[str, int]:
    """How many files of each kind there are, and their bytes, by the names of `PruneReport`."""
    counts = {f"{kind}s": len(of_kind) for kind, of_kind in files.items()}
    return counts | {f"{kind}_bytes": sum(map(index_files.size_of, of_kind)) for kind, of_kind in files.items()}


def _paths(storage: Storage, image_ids: Collection[int]) -> list[str]:
    return sorted(file.path for file in storage.photos.details_of(image_ids)) if image_ids else []


def _some(paths: Sequence[str]) -> str:
    """Paths in a message, as many as one reads."""
    more = f" and {len(paths) - MOST_NAMED} more" * (len(paths) > MOST_NAMED)
    return f": {', '.join(paths[:MOST_NAMED])}{more}" if paths else ""


def _recorded(storage: Storage) -> set[str]:
    """Names of the files in the index folder that the database knows."""
    return snapshots.recorded_files(storage) | run_files.recorded(storage)


def _keeps_index(storage: Storage, model: ModelRow) -> bool:
    """Whether this machine has the vectors of a model, or a folder, which is searched here in any case."""
    return storage.nearest is None or storage.reads.snapshot(model.id) is not None


def _find(storage: Storage, name: str) -> list[ModelRow]:
    """Models by name, or by the beginning of a fingerprint; never the default one."""
    default = storage.reads.default_model()
    rows = [
        r
        for r in storage.reads.models()
        if str(r.info.spec) == name or (len(name) >= 6 and r.info.fingerprint.startswith(name))
    ]
    others = [row for row in rows if default is None or row.id != default.id]
    if not rows:
        raise UnknownModel(
            name, near=[str(row.info.spec) for row in storage.reads.models()], why="the library holds no such model"
        )
    if not others:
        raise UnknownModel(name, why="it is the library's default; choose another with zsindex models use first")
    return others

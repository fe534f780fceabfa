"""A storage in memory: the whole of `zsindex.storage.protocol` over a few dictionaries and one lock.

It proves that the protocol says enough to write another storage from, and makes a library for tests that leaves no
database behind. A write works on a copy of the state, which takes the place of the state when it is done: so nothing is
ever half stored, and who reads has one moment's view for as long as it looks.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zsindex import config
from zsindex.arguments.paths import is_under
from zsindex.errors import LibraryBusy, LibraryClosed, LibraryDamaged, LibraryReadOnly, ModelPruned
from zsindex.photos import sidecars
from zsindex.photos.formats import is_encodable
from zsindex.photos.together import together
from zsindex.records import (
    Candidate,
    Facts,
    FloatArray,
    IdArray,
    IncompletePhoto,
    ModelInfo,
    ModelSpec,
    Progress,
    SkippedFile,
    SkipReason,
)
from zsindex.storage import uses
from zsindex.storage.claims import Claims, LoneClaims
from zsindex.storage.facts_table import FactsTable
from zsindex.storage.labels import packed
from zsindex.storage.rows import (
    MOST_DERIVED,
    MOST_QUESTIONS,
    NEVER_SEEN,
    NO_PROMPTS,
    AlbumRow,
    CorrectionEntry,
    DecisionEntry,
    ExportedPhotos,
    FileDetails,
    FileOutcome,
    FileTable,
    Forgettable,
    ImageRecord,
    ImportedPhoto,
    JobRow,
    KnownFile,
    KnownPhoto,
    LookRow,
    ModelRow,
    Receipt,
    SavedLabelSet,
    SidecarRow,
    SnapshotRow,
    SurveyRow,
    ThresholdRow,
    listing_text,
    now,
    path_digest,
    prompts_in,
    selected,
)
from zsindex.storage.seals import Damaged
from zsindex.storage.stored import warn_of_damage

SYNC_TIMEOUT_S = 0.2


class Image(NamedTuple):
    digest: bytes
    width: int
    height: int
    format: str
    incomplete: str | None = None


class File(NamedTuple):
    id: int
    size: int
    mtime_ns: int
    image_id: int | None
    skip_reason: SkipReason | None = None
    skip_detail: str | None = None
    missing_since: str | None = None


class Embedding(NamedTuple):
    seq: int
    vector: bytes
    checksum: int

    @property
    def is_whole(self) -> bool:
        return zlib.crc32(self.vector) == self.checksum


class Prompt(NamedTuple):
    id: int
    vector: bytes
    truncated: bool
    checksum: int
    turn: int
    day: int

    @property
    def is_whole(self) -> bool:
        return zlib.crc32(self.vector) == self.checksum


@dataclass
class State:
    """Everything that is stored. Values are never changed, only replaced, so that a shallow copy is a copy.

    Attributes:
        last: the last id that was given to a row of each kind.
        files: by folder and name.
        embeddings: by model and image, in the order in which they were stored.
        prompts: by model and text, in the order in which they were stored.
        runs, jobs, derived, and bodies elsewhere: as JSON, so that nobody changes what is stored from outside.
    """

    last: dict[str, int] = field(default_factory=dict)
    revision: int = 0
    default_model: int | None = None
    models: dict[int, ModelRow] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    files: dict[tuple[str, str], File] = field(default_factory=dict)
    images: dict[int, Image] = field(default_factory=dict)
    by_digest: dict[bytes, int] = field(default_factory=dict)
    facts_revision: int = 0
    facts: dict[int, Facts] = field(default_factory=dict)
    sidecar_facts: dict[tuple[str, str], tuple[Candidate, Facts]] = field(default_factory=dict)
    embeddings: dict[tuple[int, int], Embedding] = field(default_factory=dict)
    prompts: dict[tuple[int, str], Prompt] = field(default_factory=dict)
    snapshots: dict[int, SnapshotRow] = field(default_factory=dict)
    label_sets: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)
    template_sets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    corrections: dict[str, tuple[tuple[CorrectionEntry, ...], ...]] = field(default_factory=dict)
    # Of the same batches, when they were made.
    correction_times: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # And their numbers, with the last one that was given.
    correction_batches: dict[str, tuple[int, ...]] = field(default_factory=dict)
    last_correction: int = 0
    decisions: tuple[tuple[DecisionEntry, ...], ...] = ()
    albums: dict[str, AlbumRow] = field(default_factory=dict)
    surveys: dict[int, tuple[SurveyRow, tuple[LookRow, ...]]] = field(default_factory=dict)
    thresholds: dict[tuple[str, str], tuple[float, str, str]] = field(default_factory=dict)
    temperatures: dict[int, tuple[float, str]] = field(default_factory=dict)
    derived: dict[tuple[int, str, str], str] = field(default_factory=dict)
    runs: dict[str, tuple[str, str]] = field(default_factory=dict)
    sidecars: dict[str, tuple[SidecarRow, str]] = field(default_factory=dict)
    jobs: dict[str, tuple[str, str, str, str]] = field(default_factory=dict)
    use_day: uses.Day | None = None
    receipts: tuple[tuple[str, Receipt], ...] = ()

    def copied(self) -> State:
        """A state of its own, with the same values."""
        return State(**{f.name: copy(getattr(self, f.name)) for f in fields(self)})

    def day_of_use(self) -> uses.Day:
        return (self.use_day or uses.Day(uses.today(), uses.today())).until(uses.today())

    def next_id(self, kind: str) -> int:
        self.last[kind] = self.last.get(kind, 0) + 1
        return self.last[kind]

    def listed(self, folder: str | None = None) -> Iterator[tuple[str, str, File]]:
        """Files, folder by folder, each by name."""
        for (path, name), file in sorted(self.files.items()):
            if folder in (None, path):
                yield path, name, file

    def present(self, prefixes: Sequence[str] | None = None) -> Iterator[tuple[str, str, File]]:
        """Those that are there."""
        touched = selected(sorted({folder for folder, _ in self.files}), prefixes)
        for folder, name, file in self.listed():
            if folder in touched and file.missing_since is None:
                names = touched[folder]
                if names is None or name in names:
                    yield folder, name, file

    def of_model(self, model_id: int, after: int = 0) -> list[tuple[int, int, Embedding]]:
        """(seq, image id, what is stored) of the embeddings after a sequence number, in order."""
        return [
            (stored.seq, image_id, stored)
            for (of, image_id), stored in self.embeddings.items()
            if of == model_id and stored.seq > after
        ]

    def unsaved_prompts(self) -> set[tuple[int, str]]:
        """Prompts that belong to no saved label set."""
        kept = prompts_in(json.loads(body) for body, _ in self.label_sets.values())
        return {key for key in self.prompts if key[1] not in kept}


class MemoryLibrary:
    """What all handles on one library share.

    Attributes:
        state: as the last writer left it.
        writing: held by who makes the next one.
        locks: by name, those that are held over many writes.
    """

    def __init__(self) -> None:
        self.state = State()
        self.writing = threading.RLock()
        self.locks = {name: threading.Lock() for name in ("sync", "facts", "jobs", "index")}
        self.purposes: dict[str, str] = {}
        self.told: dict[str, Progress] = {}


class MemoryLock:
    """`zsindex.storage.protocol.Lock`: one of a handle, which excludes those of all others."""

    def __init__(self, folder: Path, library: MemoryLibrary, name: str, *, timeout_s: float) -> None:
        self._folder, self._library, self._name, self.timeout_s = folder, library, name, timeout_s
        self._between_threads = threading.RLock()
        self._depth = 0

    @contextmanager
    def hold(self, purpose: str, *, wait: bool = True, shared: bool = False) -> Iterator[None]:
        timeout_s = self.timeout_s if wait else 0
        if not self._between_threads.acquire(timeout=timeout_s):
            raise self._busy()
        try:
            if not self._depth and not self._library.locks[self._name].acquire(timeout=timeout_s):
                raise self._busy()
            if not self._depth:
                self._library.purposes[self._name] = purpose
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    self._library.told.pop(self._name, None)
                    self._library.locks[self._name].release()
        finally:
            self._between_threads.release()

    def is_held(self) -> bool:
        return self._depth > 0

    def tell(self, progress: Progress) -> None:
        if self._depth:
            self._library.told[self._name] = progress

    def told(self) -> list[tuple[str, Progress]]:
        progress = self._library.told.get(self._name)
        return [] if progress is None else [(self._library.purposes[self._name], progress)]

    def _busy(self) -> LibraryBusy:
        holder = self._library.purposes.get(self._name, "another handle")
        return LibraryBusy(self._folder, holder=holder, waited_s=self.timeout_s)


class MemoryStorage:
    """`zsindex.storage.protocol.Storage`: a handle on a `MemoryLibrary`."""

    nearest = None

    def __init__(self, folder: Path, library: MemoryLibrary | None = None, *, read_only: bool = False) -> None:
        """Args:
        folder: for what is derived; there need be nothing in it.
        library: that others have a handle on, too. None: a new one.
        """
        self.folder = self.place = folder
        self.writable = self.keeps_snapshots = not read_only
        self.library = MemoryLibrary() if library is None else library
        self.sync_lock = MemoryLock(folder, self.library, "sync", timeout_s=SYNC_TIMEOUT_S)
        self.facts_lock = MemoryLock(folder, self.library, "facts", timeout_s=0)
        self.jobs_lock = MemoryLock(folder, self.library, "jobs", timeout_s=0)
        self.index_lock = MemoryLock(folder, self.library, "index", timeout_s=0)
        self.reads = MemoryReads(self)
        self.photos = MemoryPhotos(self)
        self.labels = MemoryLabels(self)
        self.jobs = MemoryJobs(self)
        self.bulk = MemoryBulk(self)
        self._closed = False

    def require_open(self) -> None:
        if self._closed:
            raise LibraryClosed(self.folder)

    def require_writable(self, action: str) -> None:
        self.require_open()
        if not self.writable:
            raise LibraryReadOnly(self.folder, action)

    def again(self, *, read_only: bool = False) -> MemoryStorage:
        return type(self)(self.folder, self.library, read_only=read_only)

    def close(self) -> None:
        self._closed = True

    def lags(self) -> bool:
        return False

    def position(self) -> str:
        return ""

    def has_reached(self, position: str) -> bool:
        return True

    def kept_snapshots(self) -> dict[int, str]:
        return {}

    def schema(self) -> str:
        return "memory"

    def versions(self) -> dict[str, str]:
        return {}

    def size_bytes(self) -> int:
        state = self.state()
        embeddings = sum(len(stored.vector) for stored in state.embeddings.values())
        return embeddings + sum(len(stored.vector) for stored in state.prompts.values())

    def backups(self) -> list[Path]:
        self.require_open()
        return []

    def vacuum(self) -> None:
        self.require_writable("vacuum")

    def problems(self) -> list[str]:
        self.require_open()
        return []

    def rebuild_indexes(self) -> bool:
        return False

    def damaged_rows(self) -> list[Damaged]:
        self.require_open()
        return []

    def mend(self, damaged: Sequence[Damaged]) -> list[str]:
        self.require_writable("mend")
        return []

    def state(self) -> State:
        """One moment's view: nobody changes it any more."""
        self.require_open()
        return self.library.state

    @contextmanager
    def write(self, action: str) -> Iterator[State]:
        """The state to be, for one writer at a time; forgotten if anything goes wrong."""
        self.require_writable(action)
        with self.library.writing:
            self.require_open()
            state = self.library.state.copied()
            yield state
            self.library.state = state

    def require_model(self, state: State, model_id: int | None) -> int:
        """The id of a model that something is to be stored under."""
        if model_id not in state.models:
            raise ModelPruned(self.folder)
        return model_id


class _Part:
    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage


class MemoryReads(_Part):
    """`zsindex.storage.protocol.Reads`."""

    def __init__(self, storage: MemoryStorage) -> None:
        super().__init__(storage)
        self._asked: set[tuple[int, str]] = set()

    def models(self) -> list[ModelRow]:
        return list(self._storage.state().models.values())

    def default_model(self) -> ModelRow | None:
        state = self._storage.state()
        return None if state.default_model is None else state.models.get(state.default_model)

    def find_model(self, spec: ModelSpec) -> ModelRow | None:
        found = [row for row in self.models() if row.info.spec == spec]
        return found[-1] if found else None

    def files_revision(self) -> int:
        return self._storage.state().revision

    def facts_state(self) -> tuple[int, int]:
        state = self._storage.state()
        return state.revision, state.facts_revision

    def digest_of(self, path: str) -> bytes | None:
        return _digests(self._storage.state(), [path]).get(path)

    def files(self, prefixes: Sequence[str] | None = None) -> FileTable:
        state = self._storage.state()
        shown = [(f, n, file.image_id) for f, n, file in state.present(prefixes) if file.image_id is not None]
        return _table(shown, state.revision)

    def files_of(self, image_ids: Collection[int]) -> FileTable:
        wanted = set(image_ids)
        shown = self._storage.state().present()
        return _table([(f, n, file.image_id) for f, n, file in shown if file.image_id in wanted], 0)

    def skipped(self, prefixes: Sequence[str] | None = None) -> list[SkippedFile]:
        return [
            SkippedFile(os.path.join(folder, name), file.skip_reason, file.skip_detail or "")
            for folder, name, file in self._storage.state().present(prefixes)
            if file.skip_reason is not None
        ]

    def image_vectors(self, digests: Collection[bytes], model: ModelRow) -> dict[bytes, FloatArray]:
        state = self._storage.state()
        stored = {d: state.embeddings.get((model.id, state.by_digest.get(d, -1))) for d in digests}
        return {d: self._vector(e.vector, model) for d, e in stored.items() if e is not None and e.is_whole}

    def prompt_vectors(self, texts: Collection[str], model: ModelRow, *, truncated: bool) -> dict[str, FloatArray]:
        state = self._storage.state()
        stored = {text: state.prompts.get((model.id, text)) for text in texts}
        self._asked.update(
            (model.id, text)
            for text, found in stored.items()
            if found is not None and found.day != state.day_of_use().library
        )
        return {
            text: self._vector(found.vector, model)
            for text, found in stored.items()
            if found is not None and found.is_whole and (truncated or not found.truncated)
        }

    def record_uses(self) -> int:
        self._storage.require_open()
        if not self._storage.writable or not self._asked:
            return 0
        if not self._storage.library.writing.acquire(blocking=False):
            return 0
        try:
            with self._storage.write("record which prompts were used") as state:
                return self._record_uses(state)
        finally:
            self._storage.library.writing.release()

    def _record_uses(self, state: State) -> int:
        asked = {key for key in self._asked if key in state.prompts}
        self._asked.clear()
        turn, state.use_day = state.next_id("turns"), state.day_of_use()
        for key in asked:
            state.prompts[key] = state.prompts[key]._replace(turn=turn, day=state.use_day.library)
        return len(asked)

    def save_prompts(
        self, texts: Sequence[str], vectors: FloatArray, model_id: int, *, truncated: Sequence[bool]
    ) -> int:
        most_bytes, most = config.PROMPTS_MB.bytes, config.PROMPTS.value
        with self._storage.write("store prompt vectors") as state:
            self._record_uses(state)
            turn, day = state.last["turns"], state.day_of_use().library
            for text, vector, cut in zip(texts, vectors, truncated, strict=True):
                key = (self._storage.require_model(state, model_id), text)
                if key not in state.prompts or not state.prompts[key].is_whole:
                    stored, ident = _bytes(vector), state.next_id("prompts")
                    state.prompts.pop(key, None)
                    state.prompts[key] = Prompt(ident, stored, bool(cut), zlib.crc32(stored), turn, day)
                state.prompts[key] = state.prompts[key]._replace(turn=turn, day=day)
            sizes = {key: _prompt_bytes((key, p)) for key, p in state.prompts.items()}
            n_bytes, n = sum(sizes.values()), len(sizes)
            too_large = n_bytes - 0.9 * most_bytes if n_bytes > most_bytes else 0
            too_many = n - int(0.9 * most) if n > most else 0
            unsaved = state.unsaved_prompts() if too_large or too_many else set()
            for key in sorted(unsaved, key=lambda key: (state.prompts[key].turn, state.prompts[key].id)):
                if too_large <= 0 and too_many <= 0:
                    break
                del state.prompts[key]
                too_large -= sizes[key]
                too_many -= 1
            return n - len(state.prompts)

    def embeddings_after(self, model: ModelRow, seq: int) -> tuple[int, IdArray, FloatArray]:
        rows = self._storage.state().of_model(model.id, seq)
        if n_damaged := sum(not stored.is_whole for _, _, stored in rows):
            warn_of_damage(n_damaged, model)
        return rows[-1][0] if rows else seq, *self._arrays(rows, model)

    @contextmanager
    def embeddings(
        self, model: ModelRow, *, after: int
    ) -> Iterator[tuple[int, Iterator[tuple[int, IdArray, FloatArray]]]]:
        rows = self._storage.state().of_model(model.id, after)
        parts = (rows[start : start + 4096] for start in range(0, len(rows), 4096))
        yield len(rows), ((part[-1][0], *self._arrays(part, model)) for part in parts)

    def has_vectors(self, model_id: int) -> bool:
        return bool(self._storage.state().of_model(model_id))

    def count_after(self, model_id: int, seq: int) -> int:
        return len(self._storage.state().of_model(model_id, seq))

    def generation(self, model_id: int) -> int:
        return self._storage.state().generations.get(model_id, -1)

    def is_unchanged(self, model_id: int, generation: int, seq: int) -> bool:
        state = self._storage.state()
        return state.generations.get(model_id) == generation and not state.of_model(model_id, seq)

    def image_ids_of(self, model_id: int, *, through: int) -> IdArray:
        rows = self._storage.state().of_model(model_id)
        return np.array(sorted(image_id for seq, image_id, _ in rows if seq <= through), dtype=np.int64)

    def snapshot(self, model_id: int) -> SnapshotRow | None:
        return self._storage.state().snapshots.get(model_id)

    def label_sets(self) -> list[SavedLabelSet]:
        newest = {name: (name, version) for name, version in sorted(self._storage.state().label_sets)}
        return [_label_set(self._storage.state(), key) for key in newest.values()]

    def label_set_versions(self, name: str) -> list[SavedLabelSet]:
        state = self._storage.state()
        return [_label_set(state, key) for key in sorted(state.label_sets) if key[0] == name]

    def template_sets(self) -> dict[str, tuple[str, ...]]:
        return dict(sorted(self._storage.state().template_sets.items()))

    def derived(self, model_id: int, kind: str, key: str) -> Any:
        body = self._storage.state().derived.get((model_id, kind, key))
        return None if body is None else json.loads(body)

    def _vector(self, stored: bytes, model: ModelRow) -> FloatArray:
        if len(stored) != 4 * model.info.dim:
            raise LibraryDamaged(self._storage.folder, f"{len(stored)} bytes are no vector")
        return np.frombuffer(stored, dtype=np.float32)

    def _arrays(self, rows: Sequence[tuple[int, int, Embedding]], model: ModelRow) -> tuple[IdArray, FloatArray]:
        rows = [row for row in rows if row[2].is_whole]
        vectors = np.empty((len(rows), model.info.dim), dtype=np.float32)
        for i, (_, _, stored) in enumerate(rows):
            vectors[i] = self._vector(stored.vector, model)
        return np.array([image_id for _, image_id, _ in rows], dtype=np.int64), vectors


class MemoryPhotos(_Part):
    """`zsindex.storage.protocol.PhotoStorage`."""

    def add_model(self, info: ModelInfo, *, make_default: bool) -> ModelRow:
        with self._storage.write("record a model") as state:
            same = [row for row in state.models.values() if row.info.fingerprint == info.fingerprint]
            row = same[0] if same else ModelRow(state.next_id("models"), info, now())
            state.models[row.id] = row
            state.generations.setdefault(row.id, 0)
            if make_default or state.default_model is None:
                state.default_model = row.id
        return row

    def roots(self) -> list[str]:
        return sorted(self._storage.state().roots)

    def add_roots(self, paths: Iterable[str]) -> None:
        with self._storage.write("record the synced folders") as state:
            for path in paths:
                if any(is_under(path, root) and path != root for root in state.roots):
                    continue
                state.roots = {root: when for root, when in state.roots.items() if not is_under(root, path)}
                state.roots[path] = now()

    def known_files(self, folder: str, model_id: int | None) -> dict[str, KnownFile]:
        state = self._storage.state()
        return {
            name: KnownFile(
                f.id,
                f.size,
                f.mtime_ns,
                f.skip_reason,
                f.skip_detail,
                f.missing_since is not None,
                (model_id, f.image_id) in state.embeddings,
            )
            for _, name, f in state.listed(folder)
        }

    def every_image_has_vector(self, model_id: int) -> bool:
        state = self._storage.state()
        return len(state.of_model(model_id)) == len(state.images)

    def last_seen(
        self, folder_paths: Sequence[str], model_id: int | None, *, all_have_vectors: bool = False
    ) -> dict[str, str]:
        state = self._storage.state()
        texts: defaultdict[str, list[str]] = defaultdict(list)
        for folder, name, f in state.present():
            if folder in folder_paths:
                has_vector = f.image_id is not None and (all_have_vectors or (model_id, f.image_id) in state.embeddings)
                texts[folder].append(f"{name}/{f.size}/{f.mtime_ns if has_vector else ''}")
        return {folder: "/".join(files) for folder, files in texts.items()}

    def folders_under(self, path: str) -> list[str]:
        return sorted({folder for folder, _, _ in self._storage.state().present() if is_under(folder, path)})

    @contextmanager
    def claims(self, model_id: int, *, shared: bool = False) -> Iterator[Claims]:
        yield LoneClaims(lambda digest: self.has_vector(digest, model_id))

    def has_vector(self, digest: bytes, model_id: int) -> bool:
        state = self._storage.state()
        return (model_id, state.by_digest.get(digest)) in state.embeddings

    def digests_of(self, paths: Iterable[str]) -> dict[str, bytes]:
        return _digests(self._storage.state(), paths)

    def images_of(self, digests: Collection[bytes]) -> dict[bytes, int]:
        by_digest = self._storage.state().by_digest
        return {digest: by_digest[digest] for digest in digests if digest in by_digest}

    def details_of(self, image_ids: Collection[int]) -> list[FileDetails]:
        state = self._storage.state()
        return [
            FileDetails(os.path.join(folder, name), f.image_id, f.size, f.mtime_ns, *state.images[f.image_id][:3])
            for folder, name, f in state.present()
            if f.image_id is not None and f.image_id in image_ids
        ]

    def image(self, image_id: int) -> ImageRecord | None:
        found = self._storage.state().images.get(image_id)
        return None if found is None else ImageRecord(*found[:4])

    def facts_of(self, image_ids: Collection[int]) -> dict[int, Facts]:
        state = self._storage.state()
        return {
            image_id: replace(
                facts, width=image.width or None, height=image.height or None, format=image.format or None
            )
            for image_id, facts in state.facts.items()
            if image_id in image_ids
            for image in [state.images[image_id]]
        }

    def facts_of_sidecars(self, paths: Collection[str]) -> dict[str, Facts]:
        told = self._storage.state().sidecar_facts
        return {path: told[key][1] for path in paths if (key := os.path.split(path)) in told}

    def facts_of_files(self, image_ids: Collection[int]) -> dict[str, Facts]:
        return {path: facts for (path, ident, _), (_, facts) in self._effective() if ident in image_ids}

    def _effective(self) -> list[tuple[tuple[str, int, int], tuple[bool, Facts]]]:
        """Path, image and time of each file; whether its metadata was read, and its facts."""
        state = self._storage.state()
        shown = [(folder, name, f) for folder, name, f in state.present() if f.image_id is not None]
        read = self.facts_of({f.image_id for _, _, f in shown if f.image_id is not None})
        found = []
        for folder, name, f in shown:
            image = state.images[f.image_id or -1]
            bare = Facts(width=image.width or None, height=image.height or None, format=image.format or None)
            told = {sidecars.key_of(n): facts for (at, n), (_, facts) in state.sidecar_facts.items() if at == folder}
            content = read.get(f.image_id or -1, bare)
            mtime_ns = None if f.mtime_ns == NEVER_SEEN else f.mtime_ns
            facts = together(content, sidecars.that_of(name, told), name, mtime_ns)
            file = (os.path.join(folder, name), f.image_id or -1, f.mtime_ns)
            found.append((file, (f.image_id in read, facts)))
        return found

    def facts_table(self, known: FactsTable | None = None) -> FactsTable:
        state = self._storage.state()
        now = (state.revision, state.facts_revision)
        if known is not None and known.state == now:
            return known
        effective = self._effective()
        return FactsTable.of(now, [file for file, _ in effective], [said for _, said in effective])

    def without_facts(self, *, after: int, limit: int, again: bool = False) -> list[FileDetails]:
        state = self._storage.state()
        known = {ident for ident, facts in state.facts.items() if not (again and facts == Facts())}
        seen = {f.image_id for _, _, f in state.present() if f.image_id is not None and f.size != NEVER_SEEN}
        these = sorted(ident for ident in seen - known if ident > after)[:limit]
        return sorted((f for f in self.details_of(these) if f.size != NEVER_SEEN), key=lambda f: (f.image_id, f.path))

    def count_without_facts(self, *, again: bool = False) -> int:
        return len({file.image_id for file in self.without_facts(after=0, limit=1 << 30, again=again)})

    def save_facts(self, told: Mapping[int, Facts]) -> None:
        with self._storage.write("store facts of photos") as state:
            state.facts |= {ident: facts for ident, facts in told.items() if ident in state.images}
            state.facts_revision += 1

    def has_sidecars(self) -> bool:
        return bool(self._storage.state().sidecar_facts)

    def last_sidecars(self, folder_paths: Sequence[str]) -> dict[str, str]:
        by_folder: defaultdict[str, list[Candidate]] = defaultdict(list)
        for (folder, _), (file, _) in self._storage.state().sidecar_facts.items():
            if folder in folder_paths:
                by_folder[folder].append(file)
        return {folder: listing_text(files) for folder, files in by_folder.items()}

    def save_sidecar_facts(self, told: Sequence[tuple[Candidate, Facts | None]]) -> None:
        with self._storage.write("store what sidecars say") as state:
            state.facts_revision += 1
            for file, facts in told:
                state.sidecar_facts.pop((file.folder, file.name), None)
                if facts is not None:
                    state.sidecar_facts[file.folder, file.name] = (file, facts)

    def save(
        self, outcomes: Sequence[FileOutcome], model_id: int | None, *, since: str = "", receipt: str = ""
    ) -> Counter[str]:
        counts: Counter[str] = Counter()
        with self._storage.write("store photos") as state:
            ids = self._save_records(state, [o.image for o in outcomes if o.image is not None], model_id)
            before = {place: state.files.get(place) for place in ((o.file.folder, o.file.name) for o in outcomes)}
            vanished: defaultdict[int | None, list[tuple[str, tuple[str, str]]]] = defaultdict(list)
            for place, file in state.files.items():
                if file.missing_since is not None and place not in before:
                    vanished[file.image_id].append((file.missing_since, place))
            for outcome in outcomes:
                place = (outcome.file.folder, outcome.file.name)
                known = before[place]
                image_id = None if outcome.image is None else ids[outcome.image.digest]
                if image_id is None:
                    counts["skipped"] += 1
                elif known is not None and known.missing_since is None:
                    counts["unchanged" if known.image_id == image_id else "changed"] += 1
                elif known is None and vanished[image_id]:
                    gone = max(vanished[image_id])
                    vanished[image_id].remove(gone)
                    del state.files[gone[1]]
                    counts["moved"] += 1
                    counts["refound"] += gone[0] >= since
                else:
                    counts["added"] += 1
                state.files[place] = File(
                    state.next_id("files") if known is None else known.id,
                    outcome.file.size,
                    outcome.file.mtime_ns,
                    image_id,
                    outcome.skip_reason,
                    outcome.skip_detail,
                )
                state.revision += 1
            if receipt:
                state.receipts += ((f"{receipt}/", Receipt.of(outcomes, counts)),)
        return counts

    def receipts(self, name: str) -> list[Receipt]:
        return [receipt for of, receipt in self._storage.state().receipts if of.startswith(f"{name}/")]

    def take_receipts(self, name: str) -> list[Receipt]:
        week_ago = (datetime.now(UTC) - timedelta(days=7)).isoformat()
        with self._storage.write("count what was stored") as state:
            found = [receipt for of, receipt in state.receipts if of.startswith(f"{name}/")]
            state.receipts = tuple(
                (of, receipt) for of, receipt in state.receipts if not of.startswith(f"{name}/") and of > week_ago
            )
        return found

    def mark_missing(self, folder: str, names: Collection[str] | None = None) -> int:
        with self._storage.write("record vanished files") as state:
            gone = [
                name
                for _, name, f in state.listed(folder)
                if f.missing_since is None and f.size != NEVER_SEEN and (names is None or name in names)
            ]
            for name in gone:
                state.files[folder, name] = state.files[folder, name]._replace(missing_since=now())
            state.revision += bool(gone)
        return len(gone)

    def seal_folders(self) -> None:
        self._storage.require_writable("seal what folders hold")

    def save_images(self, records: Sequence[ImageRecord], model_id: int) -> None:
        with self._storage.write("store image vectors") as state:
            self._save_records(state, records, model_id)

    def _save_records(self, state: State, records: Sequence[ImageRecord], model_id: int | None) -> dict[bytes, int]:
        ids = {}
        for r in records:
            ids[r.digest] = _image_id(state, Image(r.digest, r.width, r.height, r.format, r.incomplete))
            if r.facts is not None:
                state.facts.setdefault(ids[r.digest], r.facts)
                state.facts_revision += 1
            if r.vector is not None:
                key = (self._storage.require_model(state, model_id), ids[r.digest])
                if key not in state.embeddings:
                    state.embeddings[key] = _embedding(state, r.vector)
        return ids

    def all_prompt_vectors(self, model: ModelRow) -> FloatArray:
        prompts = self._storage.state().prompts.items()
        stored = [p.vector for (of, _), p in prompts if of == model.id and p.is_whole]
        return np.frombuffer(b"".join(stored), dtype=np.float32).reshape(len(stored), model.info.dim)

    def save_snapshot(self, model_id: int, snapshot: SnapshotRow) -> SnapshotRow | None:
        with self._storage.write("record the index") as state:
            replaced = state.snapshots.get(self._storage.require_model(state, model_id))
            state.snapshots[model_id] = snapshot
        return replaced

    def mark_verified(self, file: str, verified: str) -> None:
        with self._storage.write("record that the index was verified") as state:
            for model_id, recorded in state.snapshots.items():
                if recorded.file == file:
                    state.snapshots[model_id] = replace(recorded, verified=verified)

    def counts(self) -> dict[str, int]:
        state = self._storage.state()
        present = [file for _, _, file in state.present()]
        shown = [file.image_id for file in present if file.image_id is not None]
        return {
            "files": len(shown),
            "images": len(set(shown)),
            "duplicates": len(shown) - len(set(shown)),
            "skipped": len(present) - len(shown),
            "missing": len(state.files) - len(present),
            "incomplete": len(self.incomplete()),
        }

    def incomplete(self) -> list[IncompletePhoto]:
        state = self._storage.state()
        details = {image_id: image.incomplete for image_id, image in state.images.items()}
        shown = ((os.path.join(f, name), details.get(file.image_id or -1)) for f, name, file in state.present())
        return [IncompletePhoto(path, detail) for path, detail in shown if detail is not None]

    def skip_counts(self) -> dict[str, int]:
        reasons = Counter(
            str(f.skip_reason) for _, _, f in self._storage.state().present() if f.skip_reason is not None
        )
        return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))

    def model_sizes(self, model: ModelRow) -> dict[str, int]:
        state = self._storage.state()
        n_images = len(state.of_model(model.id))
        n_prompts = sum(of == model.id for of, _ in state.prompts)
        return {"images": n_images, "prompts": n_prompts, "bytes": (n_images + n_prompts) * model.info.dim * 4}

    def bad_vectors(self, model: ModelRow) -> dict[str, list[int]]:
        state = self._storage.state()
        dim = model.info.dim
        images = [
            image_id for _, image_id, e in state.of_model(model.id) if not (e.is_whole and _is_good(e.vector, dim))
        ]
        prompts = [p for (of, _), p in state.prompts.items() if of == model.id]
        return {
            "images": images,
            "prompts": [p.id for p in prompts if not (p.is_whole and _is_good(p.vector, dim))],
        }

    def remove_vectors(
        self, model_id: int, bad: Mapping[str, Sequence[int]], *, instead: Mapping[int, FloatArray] | None = None
    ) -> None:
        with self._storage.write("remove damaged vectors") as state:
            gone = {(model_id, image_id) for image_id in bad["images"]}
            state.embeddings = {k: e for k, e in state.embeddings.items() if k not in gone}
            state.prompts = {k: p for k, p in state.prompts.items() if p.id not in bad["prompts"]}
            state.generations[model_id] += 1
            for image_id, vector in (instead or {}).items():
                state.embeddings[model_id, image_id] = _embedding(state, vector)

    def sizes(self) -> dict[str, tuple[int, int]]:
        state = self._storage.state()
        there = {f.image_id for f in state.files.values() if f.missing_since is None}
        gone = {f.image_id for f in state.files.values()} - there - {None}
        uploads = state.images.keys() - there - gone

        def of_images(ids: Collection[int | None]) -> tuple[int, int]:
            return len(ids), sum(len(e.vector) for (_, image_id), e in state.embeddings.items() if image_id in ids)

        def of_texts(texts: Iterable[str]) -> tuple[int, int]:
            octets = [len(text.encode()) for text in texts]
            return len(octets), sum(octets)

        entries = [entry for batches in state.corrections.values() for batch in batches for entry in batch]
        originals = [len(row.original or b"") for row, _ in state.sidecars.values()]
        return {
            "prompts": (len(state.prompts), sum(map(_prompt_bytes, state.prompts.items()))),
            "uploads": of_images(uploads),
            "vanished": of_images(gone),
            "label sets": of_texts(body for body, _ in state.label_sets.values()),
            "runs": of_texts(document for document, _ in state.runs.values()),
            "jobs": of_texts(document for _, _, document, _ in state.jobs.values()),
            "derived": of_texts(state.derived.values()),
            "corrections": (len(entries), sum(len(entry.digest) for entry in entries)),
            "decisions": of_texts(e.path + (e.other_path or "") for batch in state.decisions for e in batch),
            "albums": (
                len(state.albums),
                sum(
                    len(json.dumps(row.body, ensure_ascii=False).encode())
                    + len(packed(row.seen or {})) * (row.seen is not None)
                    for row in state.albums.values()
                ),
            ),
            "surveys": (
                len(state.surveys),
                sum(
                    len(row.path.encode()) + len(json.dumps(row.drawn, ensure_ascii=False).encode())
                    for _, looks in state.surveys.values()
                    for row in looks
                ),
            ),
            "sidecars": (len(originals), sum(originals)),
        }

    def make_room(self, *, prompt_days: int | None = None, upload_bytes: int) -> dict[str, int]:
        with self._storage.write("make room") as state:
            old: set[tuple[int, str]] = set()
            if prompt_days is not None:
                before = state.day_of_use().library - prompt_days
                old = {key for key in state.unsaved_prompts() if state.prompts[key].day < before}
            state.prompts = {key: p for key, p in state.prompts.items() if key not in old}
            shown = {f.image_id for f in state.files.values()}
            said = {entry.digest for batches in state.corrections.values() for batch in batches for entry in batch}
            loose: Counter[int] = Counter()
            for (_, image_id), stored in state.embeddings.items():
                if image_id not in shown:
                    loose[image_id] += len(stored.vector)
            too_large = loose.total() - 0.9 * upload_bytes if loose.total() > upload_bytes else 0
            gone = set()
            for image_id in sorted(loose):
                if too_large > 0 and state.images[image_id].digest not in said:
                    gone.add(image_id)
                    too_large -= loose[image_id]
            for model_id in {of for of, image_id in state.embeddings if image_id in gone}:
                state.generations[model_id] += 1
            state.embeddings = {key: e for key, e in state.embeddings.items() if key[1] not in gone}
            for image_id in gone:
                del state.by_digest[state.images.pop(image_id).digest]
                state.facts.pop(image_id, None)
            state.revision += bool(gone)
            return {"prompts": len(old), "images": len(gone)}

    def prunable(
        self, model_ids: Sequence[int] = (), under: Sequence[str] = (), *, prompts: Forgettable = NO_PROMPTS
    ) -> dict[str, int]:
        return self._prune(self._storage.state().copied(), model_ids, under, prompts)

    def prune(
        self, model_ids: Sequence[int] = (), under: Sequence[str] = (), *, prompts: Forgettable = NO_PROMPTS
    ) -> dict[str, int]:
        with self._storage.write("prune") as state:
            return self._prune(state, model_ids, under, prompts)

    def _prune(
        self, state: State, model_ids: Sequence[int], under: Sequence[str], which: Forgettable
    ) -> dict[str, int]:
        before = {name: copy(getattr(state, name)) for name in ("files", "images", "embeddings", "prompts", "models")}
        state.files = {
            place: f
            for place, f in state.files.items()
            if f.missing_since is None and not any(is_under(place[0], path) for path in under)
        }
        shown = {f.image_id for f in state.files.values()}
        state.images = {image_id: image for image_id, image in state.images.items() if image_id in shown}
        state.by_digest = {image.digest: image_id for image_id, image in state.images.items()}
        state.facts = {image_id: facts for image_id, facts in state.facts.items() if image_id in shown}
        with_files = {folder for folder, _ in state.files}
        state.sidecar_facts = {key: told for key, told in state.sidecar_facts.items() if key[0] in with_files}
        gone = {key for key in state.embeddings if key[1] not in shown or key[0] in model_ids}
        for model_id in {of for of, _ in gone}:
            state.generations[model_id] += 1
        state.embeddings = {key: e for key, e in state.embeddings.items() if key not in gone}
        state.prompts = {k: p for k, p in state.prompts.items() if k[0] not in model_ids}
        unsaved = sorted(state.unsaved_prompts(), key=lambda key: (state.prompts[key].turn, state.prompts[key].id))
        old = {key for key in unsaved if which.every}
        if which.unused_days is not None:
            old |= {key for key in unsaved if state.prompts[key].day < state.day_of_use().library - which.unused_days}
        if which.most is not None:
            old |= set(unsaved[: max(0, len(state.prompts) - which.most)])
        state.prompts = {k: p for k, p in state.prompts.items() if k not in old}
        for of_model in (state.models, state.generations, state.snapshots, state.temperatures):
            for model_id in model_ids:
                of_model.pop(model_id, None)
        state.derived = {key: body for key, body in state.derived.items() if key[0] not in model_ids}
        state.roots = {r: when for r, when in state.roots.items() if not any(is_under(r, path) for path in under)}
        state.revision += 1
        removed = {name: len(was) - len(getattr(state, name)) for name, was in before.items()}
        removed["vectors"] = removed.pop("embeddings")
        removed["vector_bytes"] = sum(len(before["embeddings"][key].vector) for key in gone)
        forgotten = before["prompts"].keys() - state.prompts.keys()
        removed["prompt_bytes"] = sum(_prompt_bytes((key, before["prompts"][key])) for key in forgotten)
        return removed


class MemoryLabels(_Part):
    """`zsindex.storage.protocol.LabelStorage`."""

    def save_label_set(self, name: str, body: Mapping[str, Any]) -> int:
        with self._storage.write("save a label set") as state:
            last = max((version for of, version in state.label_sets if of == name), default=0)
            if last and state.label_sets[name, last][0] == json.dumps(body):
                return last
            state.label_sets[name, last + 1] = json.dumps(body), now()
            return last + 1

    def remove_label_set(self, name: str) -> bool:
        with self._storage.write("remove a label set") as state:
            gone = [key for key in state.label_sets if key[0] == name]
            for key in gone:
                del state.label_sets[key]
            state.thresholds = {key: row for key, row in state.thresholds.items() if key[0] != name}
            return bool(gone)

    def save_template_set(self, name: str, templates: Sequence[str]) -> None:
        with self._storage.write("save a template set") as state:
            state.template_sets[name] = tuple(templates)

    def remove_template_set(self, name: str) -> bool:
        with self._storage.write("remove a template set") as state:
            return state.template_sets.pop(name, None) is not None

    def corrections(self, label_set: str) -> list[CorrectionEntry]:
        return [entry for batch in self._storage.state().corrections.get(label_set, ()) for entry in batch]

    def add_corrections(self, label_set: str, entries: Sequence[CorrectionEntry]) -> int:
        with self._storage.write("keep corrections") as state:
            if not entries:
                return 0
            state.corrections[label_set] = (*state.corrections.get(label_set, ()), tuple(entries))
            state.correction_times[label_set] = (*state.correction_times.get(label_set, ()), now())
            state.last_correction += len(entries)
            numbers = state.correction_batches.get(label_set, ())
            state.correction_batches[label_set] = (*numbers, state.last_correction)
            return state.last_correction

    def undo_corrections(self, label_set: str, *, only: int | None = None) -> list[CorrectionEntry]:
        with self._storage.write("undo corrections") as state:
            numbers = state.correction_batches.get(label_set, ())
            if only is not None and numbers[-1:] != (only,):
                return []
            state.correction_batches[label_set] = numbers[:-1]
            *kept, last = state.corrections.get(label_set) or ((),)
            state.corrections[label_set] = tuple(kept)
            state.correction_times[label_set] = state.correction_times.get(label_set, ())[: len(kept)]
            return list(last)

    def corrected_at(self, label_set: str) -> dict[bytes, str]:
        state = self._storage.state()
        batches = zip(state.corrections.get(label_set, ()), state.correction_times.get(label_set, ()), strict=True)
        return {entry.digest: at for batch, at in batches for entry in batch}

    def decisions(self) -> list[DecisionEntry]:
        return [entry for batch in self._storage.state().decisions for entry in batch]

    def add_decisions(self, entries: Sequence[DecisionEntry]) -> None:
        with self._storage.write("keep decisions") as state:
            if entries:
                state.decisions = (*state.decisions, tuple(e._replace(decided_at=now()) for e in entries))

    def undo_decisions(self) -> list[DecisionEntry]:
        with self._storage.write("undo decisions") as state:
            *kept, last = state.decisions or ((),)
            state.decisions = tuple(kept)
            return list(last)

    def albums(self) -> list[AlbumRow]:
        found = self._storage.state().albums
        return [deepcopy(found[name]) for name in sorted(found)]

    def save_album(self, name: str, body: Mapping[str, Any]) -> None:
        with self._storage.write("save an album") as state:
            there = state.albums.get(name)
            if there is None or json.dumps(there.body) != json.dumps(body):
                state.albums[name] = AlbumRow(name, json.loads(json.dumps(body)), now())

    def change_album(self, name: str, change: Callable[[dict[str, Any] | None], Mapping[str, Any]]) -> None:
        with self._storage.write("change an album") as state:
            there = state.albums.get(name)
            body = json.loads(json.dumps(change(None if there is None else deepcopy(there.body))))
            if there is None:
                state.albums[name] = AlbumRow(name, body, now())
            elif there.body != body:
                state.albums[name] = there._replace(body=body, saved_at=now())

    def see_album(self, name: str, photos: Mapping[bytes, str]) -> bool:
        with self._storage.write("record what was seen of an album") as state:
            if name in state.albums:
                state.albums[name] = state.albums[name]._replace(seen=dict(photos), seen_at=now())
            return name in state.albums

    def remove_album(self, name: str) -> bool:
        with self._storage.write("remove an album") as state:
            return state.albums.pop(name, None) is not None

    def surveys(self) -> list[SurveyRow]:
        return [deepcopy(row) for row, _ in self._storage.state().surveys.values()]

    def begin_survey(self, kind: str, question: Mapping[str, Any], image_ids: IdArray | None = None) -> int:
        asked = json.dumps(question, sort_keys=True)
        with self._storage.write("begin a survey") as state:
            for row, _ in state.surveys.values():
                if (row.kind, json.dumps(row.question), row.ended_at) == (kind, asked, None):
                    return row.id
            number = state.next_id("survey")
            ids = None if image_ids is None else np.array(image_ids, dtype=np.int64)
            state.surveys[number] = SurveyRow(number, kind, json.loads(asked), ids, now()), ()
            return number

    def end_survey(self, survey_id: int, result: Mapping[str, Any] | None) -> bool:
        with self._storage.write("end a survey") as state:
            if survey_id in state.surveys:
                row, looks = state.surveys[survey_id]
                ended = row._replace(ended_at=now(), result=json.loads(json.dumps(result)))
                state.surveys[survey_id] = ended, looks
            return survey_id in state.surveys

    def forget_survey(self, survey_id: int) -> bool:
        with self._storage.write("forget a survey") as state:
            return state.surveys.pop(survey_id, None) is not None

    def looks(self, survey_id: int) -> list[LookRow]:
        _, looks = self._storage.state().surveys.get(survey_id, (None, ()))
        return [deepcopy(row) for row in sorted(looks, key=lambda row: row.number)]

    def add_looks(self, survey_id: int, added: Sequence[LookRow]) -> bool:
        with self._storage.write("keep looks") as state:
            row, looks = state.surveys.get(survey_id, (None, ()))
            taken = {one.number for one in looks}
            if row is None or row.ended_at is not None or not taken.isdisjoint(one.number for one in added):
                return False
            state.surveys[survey_id] = row, (*looks, *map(deepcopy, added))
            return True

    def answer_look(self, survey_id: int, number: int, answer: str | None, *, waiting: bool = False) -> bool:
        with self._storage.write("keep an answer") as state:
            row, looks = state.surveys.get(survey_id, (None, ()))
            there = {one.number for one in looks if one.answer is None or not waiting}
            if row is None or row.ended_at is not None or number not in there:
                return False
            said = {"answer": answer, "answered_at": None if answer is None else now()}
            state.surveys[survey_id] = (
                row,
                tuple(
                    one._replace(**said) if one.number == number else one
                    for one in looks
                    if answer is not None or one.number <= number or one.answer is not None
                ),
            )
            return True

    def thresholds(self, label_set: str) -> dict[str, ThresholdRow]:
        return {
            label: ThresholdRow(label, rate, json.loads(chosen), when)
            for (of, label), (rate, chosen, when) in self._storage.state().thresholds.items()
            if of == label_set
        }

    def save_thresholds(self, label_set: str, chosen: Iterable[tuple[str, float, Mapping[str, Any]]]) -> None:
        with self._storage.write("keep thresholds") as state:
            for label, rate, how in chosen:
                state.thresholds.pop((label_set, label), None)
                state.thresholds[label_set, label] = rate, json.dumps(how), now()

    def remove_thresholds(self, label_set: str, labels: Sequence[str] | None = None) -> int:
        with self._storage.write("remove thresholds") as state:
            gone = [k for k in state.thresholds if k[0] == label_set and (labels is None or k[1] in labels)]
            for key in gone:
                del state.thresholds[key]
            return len(gone)

    def temperature(self, model_id: int) -> tuple[float, dict[str, Any]] | None:
        found = self._storage.state().temperatures.get(model_id)
        return None if found is None else (found[0], json.loads(found[1]))

    def save_temperature(self, model_id: int, temperature: float, fit: Mapping[str, Any]) -> None:
        with self._storage.write("keep a temperature") as state:
            state.temperatures[self._storage.require_model(state, model_id)] = temperature, json.dumps(fit)

    def remove_temperature(self, model_id: int) -> bool:
        with self._storage.write("remove a temperature") as state:
            return state.temperatures.pop(model_id, None) is not None

    def save_derived(self, model_id: int, kind: str, key: str, body: Any, *, keep: int | None = None) -> None:
        with self._storage.write("remember what was computed") as state:
            state.derived.pop((model_id, kind, key), None)
            state.derived[self._storage.require_model(state, model_id), kind, key] = json.dumps(body)
            same = [k for k in state.derived if k[:2] == (model_id, kind)]
            for old in same[: -(keep or MOST_DERIVED)]:
                del state.derived[old]

    def runs(self) -> list[tuple[str, dict[str, Any], str]]:
        rows = self._storage.state().runs.items()
        return [(key, json.loads(document), when) for key, (document, when) in reversed(rows)]

    def run(self, key: str) -> tuple[str, dict[str, Any], str] | None:
        return next((row for row in self.runs() if row[0] == key), None)

    def run_files(self) -> dict[str, dict[str, Any]]:
        return {key: document["stored"] for key, document, _ in self.runs() if "stored" in document}

    def save_run(
        self, key: str, document: Mapping[str, Any], *, keep: int, max_size: int = MOST_QUESTIONS
    ) -> list[str]:
        with self._storage.write("record a run") as state:
            gone = [state.runs.pop(key)] if key in state.runs else []
            state.runs[key] = json.dumps(document, ensure_ascii=False), now()
            size = 0
            for n, (other, (text, _)) in enumerate([*state.runs.items()][::-1]):
                size += len(text)
                if n and (n >= keep or size > max_size):
                    gone.append(state.runs.pop(other))
        stored = [json.loads(text).get("stored", {}).get("file") for text, _ in gone]
        return sorted(file for file in stored if file is not None)

    def sidecar_paths(self) -> list[str]:
        return sorted(self._storage.state().sidecars)

    def sidecars(self, paths: Sequence[str]) -> dict[str, SidecarRow]:
        rows = self._storage.state().sidecars
        found = {path: rows[path] for path in paths if path in rows}
        return {path: row._replace(tags=json.loads(tags)) for path, (row, tags) in found.items()}

    def save_sidecars(self, rows: Sequence[SidecarRow], *, forget: Sequence[str] = ()) -> None:
        if not rows and not forget:
            return
        with self._storage.write("record what was written into sidecars") as state:
            for path in forget:
                state.sidecars.pop(path, None)
            for row in rows:
                state.sidecars[row.path] = row._replace(tags={}, written_at=now()), json.dumps(row.tags)


class MemoryJobs(_Part):
    """`zsindex.storage.protocol.JobStorage`."""

    def jobs(self, limit: int, *, states: Collection[str] | None = None) -> list[JobRow]:
        rows = [
            JobRow(job_id, kind, state, json.loads(document), when)
            for job_id, (kind, state, document, when) in self._storage.state().jobs.items()
            if states is None or state in states
        ]
        return rows[::-1][:limit]

    def job(self, job_id: str) -> JobRow | None:
        found = self._storage.state().jobs.get(job_id)
        return None if found is None else JobRow(job_id, found[0], found[1], json.loads(found[2]), found[3])

    def save_job(self, job_id: str, kind: str, state: str, document: Mapping[str, Any], *, keep: int) -> None:
        with self._storage.write("keep a job") as stored:
            known = stored.jobs.get(job_id)
            when = now() if known is None else known[3]
            stored.jobs[job_id] = (kind if known is None else known[0], state, json.dumps(document), when)
            for old in list(stored.jobs)[:-keep]:
                del stored.jobs[old]

    def change_job(
        self, job_id: str, change: Callable[[JobRow], tuple[str, Mapping[str, Any]] | None]
    ) -> JobRow | None:
        with self._storage.write("keep a job") as stored:
            known = stored.jobs.get(job_id)
            if known is None:
                return None
            changed = change(JobRow(job_id, known[0], known[1], json.loads(known[2]), known[3]))
            if changed is not None:
                stored.jobs[job_id] = (known[0], changed[0], json.dumps(changed[1]), known[3])
        return self.job(job_id)


class MemoryBulk(_Part):
    """`zsindex.storage.protocol.BulkStorage`."""

    def known_photos(self, photos: Iterable[ImportedPhoto]) -> dict[str, KnownPhoto]:
        return _known(self._storage.state(), photos)

    def save(self, photos: Sequence[ImportedPhoto], vectors: FloatArray, model_id: int) -> Counter[str]:
        counts: Counter[str] = Counter()
        with self._storage.write("import vectors") as state:
            for photo, vector in zip(photos, vectors, strict=True):
                known = _known(state, [photo]).get(photo.path)
                digest = photo.shown(known)
                if digest is None:
                    counts["changed"] += 1
                    continue
                counts["unread" if photo.seen is None else "found"] += 1
                image_id = _image_id(state, Image(digest, photo.width, photo.height, photo.format))
                key = (self._storage.require_model(state, model_id), image_id)
                counts["kept" if key in state.embeddings else "stored"] += 1
                if key not in state.embeddings:
                    state.embeddings[key] = _embedding(state, vector)
                size, mtime_ns = (NEVER_SEEN, NEVER_SEEN) if photo.seen is None else photo.seen[1:]
                if known is not None and not known.missing and known.image_id == image_id and photo.seen is None:
                    size, mtime_ns = known.size, known.mtime_ns
                counts["added"] += known is None
                ident = state.next_id("files") if known is None else known.id
                after = File(ident, size, mtime_ns, image_id)
                state.revision += state.files.get((photo.folder, photo.name)) != after
                state.files[photo.folder, photo.name] = after
        return counts

    @contextmanager
    def exporting(self, model: ModelRow, paths: Sequence[str] | None) -> Iterator[MemoryExport]:
        yield MemoryExport(self._storage.state(), model, paths, self._storage.folder)


class MemoryExport:
    """`zsindex.storage.protocol.ExportView`."""

    def __init__(self, state: State, model: ModelRow, paths: Sequence[str] | None, folder: Path) -> None:
        self._images = state.images
        self._model = model
        self._folder = folder
        shown = [(os.path.join(f, name), file) for f, name, file in state.present(paths) if file.image_id is not None]
        stored = [(path, file, state.embeddings.get((model.id, file.image_id or -1))) for path, file in shown]
        self._rows = [(path, file, found) for path, file, found in stored if found is not None]
        self.n_photos = len(self._rows)
        self.n_without = len(shown) - self.n_photos

    def batches(self, sizes: Iterator[int], *, rows: range | None = None) -> Generator[ExportedPhotos, None, None]:
        chosen = iter(self._rows if rows is None else self._rows[rows.start : rows.stop])
        for size in sizes:
            part = list(islice(chosen, size))
            for path, _, stored in part:
                if not stored.is_whole:
                    raise LibraryDamaged(self._folder, f"the vector of {path} under {self._model.info.spec} is damaged")
            images = [self._images[file.image_id or -1] for _, file, _ in part]
            yield ExportedPhotos(
                paths=[path for path, _, _ in part],
                widths=[image.width or None for image in images],
                heights=[image.height or None for image in images],
                formats=[image.format or None for image in images],
                digests=[
                    None if file.size == NEVER_SEEN and image.digest == path_digest(path) else image.digest
                    for (path, file, _), image in zip(part, images, strict=True)
                ],
                vectors=np.frombuffer(b"".join(e.vector for _, _, e in part), dtype=np.float32).reshape(len(part), -1),
            )


def _table(shown: Sequence[tuple[str, str, int | None]], revision: int) -> FileTable:
    paths = [os.path.join(folder, name) for folder, name, _ in shown]
    return FileTable(paths, np.array([image_id for _, _, image_id in shown], dtype=np.int64), revision)


def _digests(state: State, paths: Iterable[str]) -> dict[str, bytes]:
    files = {path: state.files.get(os.path.split(path)) for path in paths if is_encodable(path)}
    return {p: state.images[f.image_id].digest for p, f in files.items() if f is not None and f.image_id is not None}


def _known(state: State, photos: Iterable[ImportedPhoto]) -> dict[str, KnownPhoto]:
    found = {photo.path: state.files.get((photo.folder, photo.name)) for photo in photos}
    return {
        path: KnownPhoto(
            f.id,
            f.size,
            f.mtime_ns,
            f.missing_since is not None,
            f.image_id,
            None if f.image_id is None else state.images[f.image_id].digest,
        )
        for path, f in found.items()
        if f is not None
    }


def _image_id(state: State, image: Image) -> int:
    """The id of an image, which is made if it is not known."""
    if image.digest not in state.by_digest:
        state.by_digest[image.digest] = state.next_id("images")
        state.images[state.by_digest[image.digest]] = image
    return state.by_digest[image.digest]


def _label_set(state: State, key: tuple[str, int]) -> SavedLabelSet:
    body, saved_at = state.label_sets[key]
    return SavedLabelSet(*key, json.loads(body), saved_at)


def _embedding(state: State, vector: FloatArray) -> Embedding:
    stored = _bytes(vector)
    return Embedding(state.next_id("embeddings"), stored, zlib.crc32(stored))


def _bytes(vector: FloatArray) -> bytes:
    return np.asarray(vector, dtype=np.float32).tobytes()


def _prompt_bytes(stored: tuple[tuple[int, str], Prompt]) -> int:
    (_, text), prompt = stored
    return len(prompt.vector) + uses.BESIDE_TEXT + 2 * len(text.encode())


def _is_good(stored: bytes, dim: int) -> bool:
    if len(stored) != 4 * dim:
        return False
    return bool(abs(np.linalg.norm(np.frombuffer(stored, dtype=np.float32).astype(np.float64)) - 1) < 1e-3)

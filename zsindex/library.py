"""The façade: `Library` is the one object that the command line, a service and notebooks talk to."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from zsindex import config
from zsindex.arguments import bounds
from zsindex.arguments.several import several
from zsindex.classification import prompts
from zsindex.classification import templates as template_sets
from zsindex.classification.prompts import LabelsLike
from zsindex.classification.results import Hit
from zsindex.classification.view import View
from zsindex.errors import (
    BadQuery,
    ImageError,
    LibraryBusy,
    LibraryClosed,
    LibraryReadOnly,
    ModelChanged,
    ModelPruned,
    StorageFailed,
    StorageFull,
    UnknownLabelSet,
    UnknownModel,
    UnknownTemplateSet,
    ZsindexWarning,
)
from zsindex.facade.classifying import Classifying
from zsindex.facade.core import absolute, absolute_all, guessed
from zsindex.facade.evaluating import Evaluating
from zsindex.facade.jobs import Jobs
from zsindex.facade.looking import Looking
from zsindex.facade.migrate import Migrating
from zsindex.facade.photos import Photos
from zsindex.facade.serving import Serving
from zsindex.index.snapshots import VectorIndex
from zsindex.models import names
from zsindex.models.encoder import Encoder, OneAtATime, around_model, may_keep, preprocessed
from zsindex.records import (
    AS_SEEN,
    DecodeMode,
    FloatArray,
    IccMode,
    IncompletePhoto,
    LabelSet,
    ModelInfo,
    ModelSpec,
    Progress,
    Settings,
    SkippedFile,
    SkipReason,
    SyncReport,
    TransparencyMode,
)
from zsindex.storage.rows import FileTable, ImageRecord, ModelRow, SavedLabelSet
from zsindex.storage.sqlite.storage import SqliteStorage

# What decodes, syncs and keeps up is imported where it is used: a question from the cache does not wait for it.
if TYPE_CHECKING:
    from zsindex.exchange.vectors import ExportReport, ImportReport
    from zsindex.ingest.sync import Options
    from zsindex.lab.duplicates import Look
    from zsindex.photos import sources
    from zsindex.photos.sources import ImageLike, PathsLike
    from zsindex.storage.jobs import JobStore
    from zsindex.storage.labels import LabStore
    from zsindex.storage.photos import Store
    from zsindex.storage.protocol import Reads
    from zsindex.upkeep.maintenance import CheckReport, ModelStatus, PruneReport, Status

T = TypeVar("T")

DEFAULT_BATCH_SIZE = 32
# While photos are being stored every batch makes a new state, and listing them anew for each question would cost more
# than the questions.
MAX_AGE_BESIDE_SYNC_S = 1.0
# How long a question waits until another one has read what came since the last. Then it reads that itself.
LONGEST_WAIT_S = 0.25
# What a new library is asked with unless told otherwise.
_NEW = ModelSpec(config.DEFAULT_MODEL, icc=AS_SEEN.icc, transparency=AS_SEEN.transparency)


class Library(Classifying, Evaluating, Looking, Migrating, Photos, Serving, Jobs):
    """A photo library: one folder with a database and an index. Open it with `Library.open`, best in a ``with`` block.

    All methods may be called from several threads. Nothing that is answered from the cache loads a model.
    """

    def __init__(
        self,
        storage: SqliteStorage,
        *,
        spec: ModelSpec,
        model: ModelRow | None,
        encoder: Encoder | None,
        on_load: Callable[[ModelSpec], None] | None,
        device: str,
        batch_size: int | None,
        settings: Settings,
    ) -> None:
        self._storage = storage
        self._database = storage.database
        self._reader = self._lab_reader = storage.reads
        self._spec = spec
        self._model_row = model
        self._loaded = None if encoder is None else OneAtATime(encoder)
        self._can_load_again = encoder is None
        self._on_load = on_load
        self._device = device
        self._batch_size = batch_size
        self._settings = settings
        self._index: VectorIndex | None = None
        self._last_view: View | None = None
        self._viewed_at = 0.0
        self._storing = 0
        self._usage: Counter[str] = Counter()
        # Held to look at or to set the fields above, never while anything is read, calculated or waited for.
        self._lock = threading.RLock()
        # What takes long has locks of its own, so that nobody waits who does not need it. They are taken in this order,
        # and the one above last: `_saving` while snapshots are written, checked or removed; `_loading` while a model is
        # loaded and recorded; `_opening` while vectors are read into memory. Who holds `_opening` only tries `_saving`.
        self._saving = threading.Lock()
        self._opening = threading.Lock()
        self._loading = threading.RLock()
        self._looks: dict[int, Look] = {}

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        model: str | None = None,
        pretrained: str | None = None,
        precision: str | None = None,
        decode: DecodeMode | str | None = None,
        icc: IccMode | str | None = None,
        transparency: TransparencyMode | str | None = None,
        device: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        create: bool = True,
        read_only: bool = False,
        encoder: Encoder | None = None,
        on_load: Callable[[ModelSpec], None] | None = None,
    ) -> Library:
        """Open a library, and make it if it is missing.

        Args:
            path: its folder. Default: the environment's ``ZSINDEX_LIBRARY``, else a folder in the platform's user-data
                folder.
            model: ``nano``, ``ORG/NAME`` of a hub, ``ARCHITECTURE/TAG`` of open_clip, or a folder (docs/models.md).
                Default: the model the library was made with; ``nano`` for a new one. It is loaded when something must
                be encoded, not before.
            pretrained: tag or checkpoint file for a `model` that names only an architecture.
            precision: ``fp32``, ``bf16`` or ``fp16``; or ``auto``: what the library has vectors of already, else what
                this machine is fastest in, which is measured once for each model. Default: as the library was made.
            decode: ``exact`` or ``fast``; see docs/decoding.md. Default: as the library was made.
            icc: ``convert`` photos to sRGB by their profiles, or ``ignore`` these, as open_clip and transformers do.
                Default: as the library was made; ``convert`` for a new one.
            transparency: ``show`` what is transparent on a background, or drop the transparency, as the ``reference``
                does. Default: as the library was made; ``show`` for a new one.
            device: ``auto`` or a torch device.
            batch_size: images that are encoded, and stored, at a time. Default: 32 are stored at a time, and the
                device decides how many go through the model at once.
            workers: threads that read and decode photos. Default: one per processor core.
            create: make the library if there is none.
            read_only: never write, whatever the folder's permissions.
            encoder: an object that implements `zsindex.models.encoder.Encoder`, in place of all of the above about the
                model.
            on_load: called when a model is about to be loaded, which takes seconds; from any thread.

        Raises:
            LibraryNotFound, NotALibrary, LibraryTooNew, LibraryReadOnly, LibraryDamaged, LibraryBusy, StorageFull
        """
        _require_name(model)  # before a library is made for it
        if batch_size is not None:
            batch_size = bounds.whole("batch_size", batch_size, least=1)
        if workers is not None:
            workers = bounds.whole("workers", workers, least=1)
        storage = SqliteStorage.open(config.library_path(path), create=create, read_only=read_only)
        try:
            reader = storage.reads
            remembered = reader.default_model()
            if encoder is not None:
                spec = encoder.info.spec
            else:
                base = _NEW if remembered is None else remembered.info.spec
                spec = _spec(reader, base, model, pretrained, precision, decode, icc, transparency)
            # The default one may be older than another that was loaded under the same name.
            is_default = remembered is not None and remembered.info.spec == spec
            row = remembered if is_default else reader.find_model(spec)
            if encoder is not None and (row is None or row.info.fingerprint != encoder.info.fingerprint):
                row = None
            return cls(
                storage,
                spec=spec,
                model=row,
                encoder=encoder,
                on_load=on_load,
                device=device,
                batch_size=batch_size,
                settings=Settings(
                    batch_size=batch_size or DEFAULT_BATCH_SIZE,
                    workers=workers or os.cpu_count() or 1,
                    max_pixels=config.max_pixels(config.DEFAULT_MAX_PIXELS),
                ),
            )
        except BaseException:
            storage.close()
            raise

    def close(self) -> None:
        """Let go of the database, the index and the model. What was returned stays valid; all that is asked from now on
        raises `LibraryClosed`, in other threads, too, where what they are storing is finished. Closing twice does no
        harm.
        """
        self.__class__ = _Closed
        self._index = self._last_view = None
        self._loaded = None
        self._looks.clear()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Library {self.path} with {self._spec}>"

    # Imported with SQLAlchemy when there is something to store, or to ask that not every question asks.

    @cached_property
    def _store(self) -> Store:
        return self._storage.photos

    @cached_property
    def _lab(self) -> LabStore:
        return self._storage.labels

    @cached_property
    def _jobs(self) -> JobStore:
        return self._storage.jobs

    @property
    def path(self) -> Path:
        """The library's folder."""
        return self._database.folder

    @property
    def device(self) -> str:
        """Where models compute, as it was asked for: ``auto`` or a torch device."""
        return self._device

    @property
    def read_only(self) -> bool:
        """Whether nothing can be stored: asked for at opening, or for want of permission."""
        return not self._database.writable

    # --- the model ----------------------------------------------------------------------------------------------------

    @property
    def spec(self) -> ModelSpec:
        """The model that this object asks with."""
        return self._spec

    @property
    def model(self) -> ModelInfo:
        """What that model is; loads it if the library has never seen it.

        Raises:
            ModelError
        """
        return self._model().info

    def _model(self) -> ModelRow:
        row = self._model_row
        if row is not None:
            return row
        with self._loading:
            row = self._model_row
            if row is None:
                row = self._record(self._encoder().info, make_default=False)
                with self._lock:
                    self._model_row = row
            return row

    def _record(self, info: ModelInfo, *, make_default: bool) -> ModelRow:
        if self.read_only:
            # It has no vectors here and gets none: a row that exists only in memory, with an id that none has.
            return ModelRow(-1, info, "")
        return self._store.add_model(info, make_default=make_default)

    def _forget_pruned(self) -> None:
        """Notice that somebody else has pruned the model: it is recorded anew when it is needed, and where that has
        been done already, this object goes on with that.
        """
        row = self._model_row
        if row is None or row.id < 0:
            return
        rows = self._reader.models()
        if row.id not in [other.id for other in rows]:
            same = [other for other in rows if other.info.fingerprint == row.info.fingerprint]
            with self._lock:
                if self._model_row is row:
                    self._model_row = same[0] if same else None
                    self._index = self._last_view = None

    def _store_under_model(self, store: Callable[[int], T]) -> T:
        """Store something under the model, which is recorded anew where somebody else has pruned it.

        Args:
            store: stores it under a model's id, in one transaction.
        """
        model = self._model()
        try:
            return store(model.id)
        except ModelPruned:
            with self._loading:
                self._forget_pruned()
                renewed = self._model_row
                if renewed is None:
                    renewed = self._record(model.info, make_default=False)
                    with self._lock:
                        self._model_row = renewed
            return store(renewed.id)

    def _encoder(self) -> OneAtATime:
        """The loaded model.

        Raises:
            ModelChanged: it is no longer the one whose vectors the library holds.
        """
        loaded, row, spec = self._asked_with()
        if loaded is None:
            with around_model.get()(), self._loading:
                # Whoever had the lock before may have loaded it, or have chosen another one.
                loaded, row, spec = self._asked_with()
                if loaded is None:
                    loaded = self._load(spec)
                    with self._lock:
                        self._loaded = loaded
        if row is not None:
            expected, got = row.info.fingerprint, loaded.info.fingerprint
            if expected != got:
                raise ModelChanged(str(spec), expected=expected, got=got)
        return loaded

    def _asked_with(self) -> tuple[OneAtATime | None, ModelRow | None, ModelSpec]:
        with self._lock:
            return self._loaded, self._model_row, self._spec

    def _load(self, spec: ModelSpec) -> OneAtATime:
        self._database.require_open()
        if self._on_load is not None:
            self._on_load(spec)
        self._count(model_loads=1)
        return OneAtATime(load_encoder(spec, device=self._device, batch_size=self._batch_size))

    def models(self) -> list[ModelStatus]:
        """The models that the library holds vectors of, with their sizes; the default one is marked."""
        from zsindex.upkeep import maintenance

        return maintenance.models(self._storage)

    def use_model(
        self,
        model: str,
        *,
        pretrained: str | None = None,
        precision: str | None = None,
        decode: DecodeMode | str | None = None,
        icc: IccMode | str | None = None,
        transparency: TransparencyMode | str | None = None,
    ) -> ModelInfo:
        """Load a model and make it the library's default. Vectors of others stay, and can be used by naming them.

        Raises:
            ModelError, LibraryReadOnly
        """
        self._database.require_writable("choose the default model")
        with self._loading:
            spec = _spec(self._reader, self._spec, model, pretrained, precision, decode, icc, transparency)
            # Until it is there, questions are answered with the model before.
            loaded = self._load(spec)
            row = self._record(loaded.info, make_default=True)
            with self._lock:
                self._loaded, self._spec, self._model_row = loaded, spec, row
                self._index = self._last_view = None
        return row.info

    # --- photos -------------------------------------------------------------------------------------------------------

    def sync(
        self,
        paths: PathsLike | None = None,
        *,
        exclude: str | Sequence[str] = (),
        include_hidden: bool = False,
        retry_skipped: bool = False,
        dry_run: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> SyncReport:
        """Bring the library up to date with folders and files; encode what it has never seen.

        Args:
            paths: a folder (with everything below) or file, or several. Default: all folders that were synced before.
            exclude: a pattern, or several, of names and paths to leave out, as `zsindex.photos.scan.scan` describes
                them. What the library knows of excluded photos counts as vanished.
            include_hidden: also names that begin with a dot.
            retry_skipped: read again what could not be read, even if it has not changed.
            dry_run: only look: nothing is read, encoded or stored.
            progress: called now and then with how far it is.
            should_stop: asked between photos; once it says yes, the batch in work is finished, and the report says
                `interrupted`.

        Raises:
            PathNotFound: a path is neither on the disk nor known.
            LibraryBusy: another sync is running.
            LibraryReadOnly, StorageFull, ModelError
        """
        from zsindex.ingest.sync import Options

        if not dry_run:
            self._database.require_writable("sync")
        places = self._store.roots() if paths is None else absolute_all(paths)
        options = Options(several(exclude), include_hidden, retry_skipped, dry_run)
        if dry_run:
            return self._sync(places, options, progress, should_stop)
        with self._syncing():
            report = self._sync(places, options, progress, should_stop)
        return self._synced(report)

    def _sync_if_needed(
        self,
        paths: Sequence[str],
        progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> SyncReport:
        """`sync`, which looks first and waits for its turn only if there is something to do: else another process that
        syncs is no reason to refuse.
        """
        from zsindex.ingest.sync import Options

        report = self._sync(paths, Options(), progress, should_stop, turn=self._syncing)
        return self._synced(report) if report.to_read or report.missing else report

    def _sync(
        self,
        paths: Sequence[str],
        options: Options,
        progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
        *,
        turn: Callable[[], AbstractContextManager[None]] | None = None,
    ) -> SyncReport:
        from zsindex.ingest.sync import Sync

        return Sync(
            self._storage,
            options=options,
            settings=self._settings,
            model=self._model,
            known_model=self._model_row,
            encoder=self._encoder,
            progress=progress or (lambda _: None),
            should_stop=should_stop or (lambda: False),
            turn=turn,
        ).run(paths)

    def _synced(self, report: SyncReport) -> SyncReport:
        self._count(images_encoded=report.encoded, images_reused=report.reused)
        if self._model_row is not None:
            self._open_index()  # writes the snapshot if one is due
        return report

    @contextmanager
    def _syncing(self) -> Iterator[None]:
        with self._database.sync_lock.hold("sync"), self._while_storing():
            self._forget_pruned()  # from here on nobody prunes
            yield

    @contextmanager
    def _while_storing(self) -> Iterator[None]:
        with self._lock:
            self._storing += 1
        try:
            yield
        finally:
            with self._lock:
                self._storing -= 1

    def roots(self) -> list[str]:
        """Folders that were synced, in path order: what a sync without paths goes through."""
        return self._store.roots()

    def paths(self, paths: PathsLike | None = None) -> list[str]:
        """Photos of the library, folder by folder, each by name; `paths` restricts to files and subtrees."""
        return self._files(paths).paths

    def skipped(self, paths: PathsLike | None = None) -> list[SkippedFile]:
        """Photos that cannot be used, with their reasons; order and `paths` as there."""
        return self._reader.skipped(None if paths is None else absolute_all(paths))

    def incomplete(self) -> list[IncompletePhoto]:
        """Photos that were read although they are cut short, with what is missing; by folder and name."""
        return self._store.incomplete()

    def _files(self, paths: PathsLike | None) -> FileTable:
        return self._reader.files(None if paths is None else absolute_all(paths))

    # --- vectors ------------------------------------------------------------------------------------------------------

    def embed_images(self, images: ImageLike | Iterable[ImageLike]) -> FloatArray:
        """Vectors of images, from the cache where their content is known; others are encoded and cached.

        Args:
            images: paths, encoded bytes, or PIL images; or one, which counts as a list of one.

        Returns:
            float32, shape (len(images), dim), L2-normalised rows.

        Raises:
            ImageError: one cannot be read; it is named.
            ModelError
        """
        images = several(images)
        vectors = np.empty((len(images), self.model.dim), dtype=np.float32)
        for start in range(0, len(images), self._settings.batch_size):
            batch = images[start : start + self._settings.batch_size]
            vectors[start : start + len(batch)] = self._embed_batch(batch, start)
        return vectors

    def _embed_batch(self, images: Sequence[ImageLike], start: int) -> FloatArray:
        """`embed_images` of images that are decoded at once; `start` numbers them in messages, from 0."""
        model = self._model()
        read = [self._read(image, position=start + i) for i, image in enumerate(images)]
        found = self._reader.image_vectors({s.digest for s in read}, model)
        new = list({s.digest: s for s in read if s.digest not in found}.values())
        self._count(images_reused=len(read) - len(new), images_encoded=len(new))
        if new:
            records = self._encode(new)
            if not self.read_only:
                with _kept_if_possible("images"):
                    self._store_under_model(partial(self._store.save_images, records))
            found.update((r.digest, r.vector) for r in records if r.vector is not None)
        return np.array([found[s.digest] for s in read], dtype=np.float32).reshape(len(read), model.info.dim)

    def _read(self, image: ImageLike, *, position: int) -> sources.Source:
        from zsindex.photos import sources

        if isinstance(image, (str, os.PathLike)):
            absolute(image)  # refuses what names nothing
        try:
            return sources.read(image, position=position, rendering=self._spec.rendering)
        except ImageError as error:
            # A photo whose disk is not here, or that was imported, is answered from the cache like any other.
            known = self._reader.digest_of(absolute(image)) if isinstance(image, (str, os.PathLike)) else None
            if known is None or error.reason not in sources.OUT_OF_REACH:
                raise
            return sources.Source(known, error, str(image))

    def knows(self, path: str) -> bool:
        """Whether a photo of the library has this name, be it on this disk or not."""
        return self._reader.digest_of(guessed(path)) is not None

    def is_image(self, term: ImageLike) -> bool:
        """Whether `search` takes a term as an image: a string that names a file that exists, or a photo of the library;
        and all that is no string.

        Raises:
            BadQuery: a string that reads like the name of a file, but there is none.
        """
        if not isinstance(term, str):
            return True
        if term.startswith("text:"):
            return False
        from zsindex.photos import sources

        if not term or "\0" in term:
            return False
        if sources.is_image_path(term) or self._reader.digest_of(guessed(term)) is not None:
            return True
        if sources.reads_like_a_path(term):
            is_folder = os.path.isdir(os.path.expanduser(term))
            what = "is a folder" if is_folder else "is no file, nor a photo of the library"
            raise BadQuery(f"{term} {what}. For the words themselves: text:{term}")
        return False

    def _encode(self, new: Sequence[sources.Source]) -> list[ImageRecord]:
        from concurrent.futures import ThreadPoolExecutor

        encoder, settings = self._encoder(), self._settings

        def prepare(source: sources.Source) -> tuple[ImageRecord, FloatArray]:
            decoded = source.decode(
                mode=encoder.info.spec.decode,
                input_size=encoder.info.image_size,
                max_pixels=settings.max_pixels,
                rendering=encoder.info.spec.rendering,
            )
            record = ImageRecord(
                source.digest, decoded.width, decoded.height, decoded.format, incomplete=decoded.incomplete
            )
            try:
                return record, preprocessed(encoder, decoded.image)
            except ImageError as error:
                raise ImageError(error.reason, error.detail, path=source.name) from error

        with ThreadPoolExecutor(settings.workers) as pool:
            prepared = list(pool.map(prepare, new))
        vectors = encoder.encode_images([pixels for _, pixels in prepared])
        for source, vector in zip(new, vectors, strict=True):
            if not np.isfinite(vector).all():
                raise ImageError(SkipReason.ENCODE_FAILED, "the model's answer is not a number", path=source.name)
        return [replace(record, vector=vector) for (record, _), vector in zip(prepared, vectors, strict=True)]

    def embed_texts(self, texts: str | Iterable[str], *, truncate: bool = False) -> FloatArray:
        """Vectors of texts as they are, from the cache where they are known; others are encoded and cached.

        Args:
            texts: prompts, or one, which counts as a list of one; surrounding white space is dropped and Unicode
                composed (NFC).
            truncate: cut texts that the model cannot read in full, rather than refuse them.

        Returns:
            float32, shape (len(texts), dim), L2-normalised rows.

        Raises:
            PromptTooLong: names the text.
            ModelError
        """
        model = self._model()
        normalised = [prompts.normalise(text) for text in several(texts)]
        found = self._reader.prompt_vectors(set(normalised), model, truncated=truncate)
        new = [text for text in dict.fromkeys(normalised) if text not in found]
        self._count(prompts_reused=len(found), prompts_encoded=len(new))
        if new:
            encoder = self._encoder()
            vectors = encoder.encode_texts(new, truncate=truncate)
            # Judged while the tokenizer is at hand; for a question from the cache it would be all the work.
            if not all(map(str.isascii, new)):
                prompts.warn_of_unfamiliar(encoder.unfamiliar(new), str(self._spec))
            found.update(zip(new, vectors, strict=True))
            size = vectors.nbytes + sum(len(text.encode()) for text in new)
            if not self.read_only and may_keep.get()(size):
                limit = model.info.context_length
                cut = [truncate and encoder.count_tokens(text) > limit for text in new]
                with _kept_if_possible("texts"):
                    self._store_under_model(partial(self._reader.save_prompts, new, vectors, truncated=cut))
        rows = [found[text] for text in normalised]
        return np.array(rows, dtype=np.float32).reshape(len(rows), model.info.dim)

    def _open_index(self, model: ModelRow | None = None) -> VectorIndex:
        """The vectors as they are now, of the model that the library is asked with.

        One thread at a time reads what is new, and one at a time writes a snapshot. Who comes meanwhile does not wait
        for a snapshot, nor for long until somebody else has read what came since the last question.

        Args:
            model: of a question that has begun with it; it may not be the one of the library any more.
        """
        model = self._model() if model is None else model
        last = self._index_of(model)
        if last is not None and last.generation >= 0 and last.is_current(self._storage, model):
            return last
        may_read = may_write = False

        def may_save() -> bool:
            nonlocal may_read, may_write
            may_write = self._saving.acquire(blocking=False)
            if may_write and may_read:
                self._opening.release()
                may_read = False
            return may_write

        try:
            # What nobody has read yet everybody needs: reading it twice at once would only take longer.
            may_read = self._opening.acquire(timeout=LONGEST_WAIT_S if self._index_of(model) is not None else -1)
            known = self._index_of(model)
            if known is None:
                index = VectorIndex.open(self._storage, model, may_save=may_save)
            else:
                index = known.refreshed(self._storage, model, may_save=may_save)
            with self._lock:
                if self._is_asked_with(model):
                    self._index = index
        finally:
            if may_read:
                self._opening.release()
            if may_write:
                self._saving.release()
        if index.generation < 0 <= model.id:
            self._forget_pruned()
            if self._model_row is not None:  # others have encoded with it anew
                return self._open_index()
            with self._lock:
                self._model_row = self._model_row or model
        return index

    def _index_of(self, model: ModelRow) -> VectorIndex | None:
        with self._lock:
            return self._index if self._is_asked_with(model) else None

    def _is_asked_with(self, model: ModelRow) -> bool:
        return self._model_row is not None and self._model_row.id == model.id

    # --- vectors of others --------------------------------------------------------------------------------------------

    def export_vectors(
        self,
        folder: str | os.PathLike[str],
        *,
        dtype: str = "float32",
        part_size: int = 1_000_000,
        paths: PathsLike | None = None,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> ExportReport:
        """Write the vectors of photos in clip-retrieval's layout; docs/exchange.md describes it. Loads no model.

        Args:
            folder: a new or empty one. It appears when it is whole.
            dtype: ``float32``, which loses nothing, or ``float16``.
            part_size: rows per file.
            paths: files and folders to restrict to. Default: all.
            overwrite: replace what an earlier export wrote there.
            progress, should_stop: as for `sync`; an export that is stopped leaves nothing behind.

        Raises:
            ExportRefused: the folder holds something else, cannot be written, or there is nothing to write.
            UnknownModel: the library holds nothing of the model.
            ExtraMissing: pyarrow is not installed.
        """
        from zsindex.exchange import parts
        from zsindex.exchange import vectors as exchange

        if dtype not in parts.DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(parts.DTYPES)}, not {dtype!r}")
        part_size = bounds.whole("part_size", part_size, least=1)
        if self._model_row is None:
            held = [row.name for row in self.models()]
            raise UnknownModel(str(self._spec), near=held, why="the library holds nothing of such a model")
        return exchange.export_vectors(
            self._storage,
            self._model_row,
            Path(absolute(folder)),
            dtype=dtype,
            part_size=part_size,
            paths=None if paths is None else absolute_all(paths),
            overwrite=overwrite,
            progress=progress or (lambda _: None),
            should_stop=should_stop or (lambda: False),
        )

    def import_vectors(
        self,
        folder: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        path_column: str = "image_path",
        read: bool = True,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> ImportReport:
        """Take in vectors that this library's model computed elsewhere, in clip-retrieval's layout; encodes nothing.

        All is read and checked before the first vector is stored. What is there already stays, so an import that was
        stopped or killed goes on when it is called again.

        Args:
            folder: what clip-retrieval's inference or `export_vectors` wrote.
            root: what relative paths in it are relative to. Default: they are refused.
            path_column: of the tables, with the names of the photos.
            read: hash photos that are on this disk, so that a sync recognises them. False knows them by their path.
            progress, should_stop: as for `sync`.

        Raises:
            ImportRefused: something in the folder cannot be taken in; file and row are named, and nothing was stored.
            DimensionMismatch: the vectors are of another model.
            ExtraMissing: pyarrow is not installed.
            LibraryReadOnly, LibraryBusy, StorageFull, ModelError
        """
        from zsindex.exchange import vectors as exchange

        self._database.require_writable("import vectors")
        self._forget_pruned()
        # Not recorded before the folder has been found to be good.
        info = self._encoder().info if self._model_row is None else self._model_row.info
        with self._while_storing():
            report = exchange.import_vectors(
                self._storage,
                Path(absolute(folder)),
                info,
                model=self._model,
                root=None if root is None else absolute(root),
                path_column=path_column,
                workers=self._settings.workers if read else 0,
                progress=progress or (lambda _: None),
                should_stop=should_stop or (lambda: False),
            )
        if report.stored:
            self._open_index()  # writes the snapshot if one is due
        return report

    # --- questions ----------------------------------------------------------------------------------------------------

    def view(self, paths: PathsLike | None = None) -> View:
        """The photos with vectors, as they are now: what the label lab works on.

        Args:
            paths: files and folders to restrict to. Default: all; these may be a second old while this object syncs or
                imports.
        """
        model, last = self._model(), self._last_view
        if paths is None and last is not None and last.model_id == model.id:
            if self._storing and time.monotonic() < self._viewed_at + MAX_AGE_BESIDE_SYNC_S:
                return last
            index = self._open_index(model)
            # Listing the files takes longer than most questions.
            snapshot = (index.watermark, index.generation, self._reader.files_revision())
            if last.vectors is index.vectors and last.snapshot == snapshot:
                return last
        files = self._files(paths)
        index = self._open_index(model)  # after the files, or it might lack vectors of some
        now = self._model_row
        if now is not None and now.info.fingerprint == model.info.fingerprint:
            model = now  # somebody else may have pruned it, and others have encoded with it anew
        rows = index.vectors.rows_of(files.image_ids)
        answered = rows >= 0
        whole = bool(answered.all())
        view = View(
            info=model.info,
            model_id=model.id,
            paths=files.paths if whole else [p for p, ok in zip(files.paths, answered.tolist(), strict=True) if ok],
            image_ids=files.image_ids if whole else files.image_ids[answered],
            rows=rows if whole else rows[answered],
            vectors=index.vectors,
            unanswered=()
            if whole
            else tuple(path for path, ok in zip(files.paths, answered.tolist(), strict=True) if not ok),
            embed=self.embed_texts,
            snapshot=(index.watermark, index.generation, files.revision),
        )
        if paths is None:
            with self._lock:
                if self._is_asked_with(model):
                    self._last_view, self._viewed_at = view, time.monotonic()
        return view

    def with_model(
        self,
        model: str,
        *,
        pretrained: str | None = None,
        precision: str | None = None,
        decode: DecodeMode | str | None = None,
        icc: IccMode | str | None = None,
        transparency: TransparencyMode | str | None = None,
    ) -> Library:
        """The same library, asked with another model; this one stays as it is. Close both.

        Raises:
            UnknownModel: the library holds no vectors of it. Encode with it first: ``zsindex sync --model``.
        """
        other = self._beside(
            model, pretrained=pretrained, precision=precision, decode=decode, icc=icc, transparency=transparency
        )
        if other._model_row is None:
            spec, arguments = str(other.spec), other.spec.arguments
            other.close()
            why = f"the library holds nothing of it (zsindex sync {arguments})"
            raise UnknownModel(spec, near=[row.name for row in self.models()], why=why)
        return other

    def _beside(
        self,
        model: str,
        *,
        pretrained: str | None = None,
        precision: str | None = None,
        decode: DecodeMode | str | None = None,
        icc: IccMode | str | None = None,
        transparency: TransparencyMode | str | None = None,
    ) -> Library:
        """The same library with another model, whether or not it holds anything of that."""
        return Library.open(
            self.path,
            model=model,
            pretrained=pretrained,
            precision=precision,
            decode=decode,
            icc=icc,
            transparency=transparency,
            device=self._device,
            batch_size=self._batch_size,
            workers=self._settings.workers,
            create=False,
            read_only=self.read_only,
            on_load=self._on_load,
        )

    def search(
        self,
        query: ImageLike,
        *,
        plus: ImageLike | Sequence[ImageLike] = (),
        minus: ImageLike | Sequence[ImageLike] = (),
        top: int = 20,
        paths: PathsLike | None = None,
        truncate: bool = False,
        exact: bool = False,
    ) -> list[Hit]:
        """Find photos by text, by example, or by a sum of both.

        The query's vector is the sum of the unit vectors of all positive terms minus those of the negative ones.

        Args:
            query: a text as you would say it; or an image: a `Path`, the name of a file that exists or of a photo of
                the library, bytes, or a PIL image. ``text:…`` is always a text.
            plus, minus: a further term of the same kinds, or several, to add and to subtract.
            top: photos to return.
            paths: files and folders to restrict to.
            truncate: cut texts that the model cannot read in full, rather than refuse them.
            exact: look at every photo. Otherwise, in a library of some 200,000 photos and more, one in a hundred of
                those that belong into the result may be missing; see docs/storage.md.

        Raises:
            BadQuery: the query is empty, or its terms cancel out.
            NotInLibrary: something in `paths` is unknown.
            NoVectors: the library holds no photos, or none with a vector of the model.
            ImageError, PromptTooLong, ModelError
        """
        places = self._places(paths)
        added = [self._term(term, truncate=truncate) for term in (query, *several(plus))]
        taken = [self._term(term, truncate=truncate) for term in several(minus)]
        vector: FloatArray = np.sum(added, axis=0) - np.sum(taken, axis=0, dtype=np.float32)
        norm = float(np.linalg.norm(vector))
        if norm < 1e-3:
            raise BadQuery("the terms of the query cancel each other out")
        terms = np.stack(added) if added[1:] or taken else None
        return self._nearest(vector / np.float32(norm), terms=terms, top=top, paths=places, exact=exact)

    def _places(self, paths: PathsLike | None) -> list[str] | None:
        """Where to search; refused before anything is encoded where nothing could be found.

        Raises:
            NotInLibrary, NoVectors
        """
        places = None if paths is None else absolute_all(paths)
        if places is not None:
            self._require_known(places)
        self._require_model(places)
        return places

    def _term(self, term: ImageLike, *, truncate: bool) -> FloatArray:
        if isinstance(term, str) and not self.is_image(term):
            text = prompts.normalise(term.removeprefix("text:"))
            if not text:
                raise BadQuery("the query is empty")
            vector: FloatArray = self.embed_texts([text], truncate=truncate)[0]
        else:
            try:
                vector = self.embed_images([term])[0]
            except ImageError as error:
                if not isinstance(term, str):
                    raise
                raise ImageError(
                    error.reason, f"{error.detail} (for the words: text:{term})", path=error.path
                ) from error
        return vector

    def similar(
        self,
        image: ImageLike,
        *,
        top: int = 20,
        paths: PathsLike | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """Find the photos most like one, which need not be in the library. It is left out itself, its copies are not.

        Args:
            image: a path, encoded bytes, or a PIL image.
            top, paths, exact: as for `search`.

        Raises:
            ImageError: it cannot be read.
            NotInLibrary, NoVectors: as for `search`.
            ModelError
        """
        places = self._places(paths)
        itself = absolute(image) if isinstance(image, (str, os.PathLike)) else None
        return self._nearest(self.embed_images([image])[0], top=top, paths=places, exact=exact, leave_out=itself)

    def _nearest(
        self,
        vector: FloatArray,
        *,
        top: int,
        paths: Sequence[str] | None,
        exact: bool,
        terms: FloatArray | None = None,
        leave_out: str | None = None,
    ) -> list[Hit]:
        top = bounds.whole("top", top, least=0)
        index, k = self._open_index(), top
        files = None if paths is None else self._files(paths)
        selected = None if files is None else files.image_ids
        while True:
            ids, scores = index.search(vector[None, :], k, terms=terms, image_ids=selected, exact=exact)
            by_image: defaultdict[int, list[str]] = defaultdict(list)
            # Without a selection only the files of what was found are asked for: listing all of them takes longer
            # than the search.
            shown = self._reader.files_of(ids[0].tolist()) if files is None else files
            for path, image_id in zip(shown.paths, shown.image_ids.tolist(), strict=True):
                if path != leave_out:
                    by_image[image_id].append(path)
            found = [pair for pair in zip(ids[0].tolist(), scores[0].tolist(), strict=True) if pair[0] in by_image]
            if len(found) >= top or len(ids[0]) < k:
                if not found and paths != []:
                    self._require_vectors(self.view(paths), paths)
                shown_first = ((i, score, _there_first(by_image[i])) for i, score in found[:top])
                return [Hit(paths[0], score, tuple(paths[1:]), i) for i, score, paths in shown_first]
            k *= 2  # some have vanished, were never files, or are the one to leave out

    # --- label sets ---------------------------------------------------------------------------------------------------

    def label_sets(self) -> list[LabelSet]:
        """Saved label sets by name, the newest version of each."""
        return [_saved(found) for found in self._lab_reader.label_sets()]

    def label_set(self, name: str) -> LabelSet:
        """A saved label set.

        Args:
            name: the newest version; or ``NAME@VERSION``.

        Raises:
            UnknownLabelSet: names those there are.
        """
        versions = self._lab_reader.label_set_versions(prompts.checked(name, "the name of a label set"))
        if versions:
            return _saved(versions[-1])
        plain, _, number = name.rpartition("@")
        versions = self._lab_reader.label_set_versions(plain)
        for version in versions:
            if str(version.version) == number:
                return _saved(version)
        known = [f"{plain}@{v.version}" for v in versions] or [saved.name for saved in self._lab_reader.label_sets()]
        raise UnknownLabelSet(name, known=known)

    def label_set_history(self, name: str) -> list[SavedLabelSet]:
        """All versions of a saved label set, oldest first, with their times.

        Raises:
            UnknownLabelSet: names those there are.
        """
        versions = self._lab_reader.label_set_versions(prompts.checked(name, "the name of a label set"))
        if not versions:
            raise UnknownLabelSet(name, known=[saved.name for saved in self._lab_reader.label_sets()])
        return versions

    def save_label_set(self, name: str, labels: LabelsLike, *, template: str | Sequence[str] | None = None) -> LabelSet:
        """Keep a label set in the library. Versions that were saved before under that name stay, see `label_set`.

        Raises:
            NoLabels, EmptyLabel, DuplicateLabels, BadGroups, BadTemplate, LibraryReadOnly
            ValueError: the name is empty, or reads like that of a version (``NAME@2``).
        """
        if not prompts.checked(name, "the name").strip():
            raise ValueError("a label set needs a name")
        if name.rpartition("@")[2].isdigit():
            raise ValueError(f"a label set cannot be named {name!r}: NAME@NUMBER stands for a version")
        templates = None if template is None else self.templates(template)
        chosen = replace(prompts.label_set(labels, templates=templates), name=name)
        if not isinstance(labels, LabelSet):
            prompts.warn_of_alike(chosen)
        return replace(chosen, version=self._lab.save_label_set(name, prompts.to_document(chosen)))

    def remove_label_set(self, name: str) -> None:
        """Forget a saved label set with all its versions and its thresholds. Its prompts stay cached.

        Raises:
            UnknownLabelSet, LibraryReadOnly
        """
        if not self._lab.remove_label_set(prompts.checked(name, "the name of a label set")):
            raise UnknownLabelSet(name, known=[saved.name for saved in self._lab_reader.label_sets()])

    # --- template sets ------------------------------------------------------------------------------------------------

    def template_sets(self) -> dict[str, tuple[str, ...]]:
        """Template sets by name: the built-in ones, then those that were saved."""
        return {**template_sets.BUILT_IN, **self._lab_reader.template_sets()}

    def templates(self, templates: str | Sequence[str]) -> tuple[str, ...]:
        """Templates from templates and names of template sets.

        Raises:
            BadTemplate: neither; it names the sets there are.
        """
        given = several(templates)
        named = any(not template_sets.has_place(text) for text in given)
        return template_sets.resolve(given, self._lab_reader.template_sets() if named else None)

    def save_template_set(self, name: str, templates: str | Sequence[str]) -> tuple[str, ...]:
        """Keep templates under a name, in place of those that were saved under it before.

        Raises:
            BadTemplate, LibraryReadOnly
            ValueError: the name is that of a built-in set, empty, or has a place for a label; or no template is given.
        """
        prompts.checked(name, "the name")
        if name in template_sets.BUILT_IN or not name.strip() or template_sets.has_place(name):
            raise ValueError(f"a template set cannot be named {name!r}")
        found = self.templates(templates)
        if not found:
            raise ValueError("a template set needs at least one template")
        self._lab.save_template_set(name, found)
        return found

    def remove_template_set(self, name: str) -> None:
        """Forget a saved template set. Label sets that were made with it keep their prompts.

        Raises:
            UnknownTemplateSet, LibraryReadOnly
        """
        if not self._lab.remove_template_set(prompts.checked(name, "the name of a template set")):
            raise UnknownTemplateSet(name, known=list(self._lab_reader.template_sets()))

    # --- upkeep -------------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Counts, sizes and versions."""
        from zsindex.upkeep import maintenance

        return maintenance.status(self._storage)

    def check(self, *, fix: bool = False) -> CheckReport:
        """Prove that database, vectors and index agree; with `fix`, rebuild what is derived and forget what is damaged.

        Raises:
            LibraryReadOnly: `fix` on a library that cannot be written.
        """
        from zsindex.upkeep import maintenance

        with self._saving:
            if fix:
                self._forget_index()  # its file may be replaced
            return maintenance.check(self._storage, fix=fix)

    def _forget_index(self) -> None:
        with self._lock:
            self._index = self._last_view = None

    def prune(
        self,
        paths: PathsLike | None = None,
        *,
        models: str | Sequence[str] = (),
        prompts: bool = False,
        dry_run: bool = False,
    ) -> PruneReport:
        """Forget vanished files, and images and vectors that nothing refers to any more.

        Args:
            paths: also forget all that is known at or below these folders, such as a disk that is gone for good.
            models: also forget these models, by name or by the beginning of a fingerprint, with all their vectors.
            prompts: also forget cached prompts that belong to no saved label set.
            dry_run: only say what would go.

        Raises:
            UnknownModel, LibraryReadOnly, LibraryBusy
        """
        if dry_run:
            return self._prune(models=models, under=absolute_all(paths or ()), prompts=prompts, dry_run=True)
        # Questions go on meanwhile, with what they knew and then with what is left.
        with self._saving:
            try:
                report = self._prune(models=models, under=absolute_all(paths or ()), prompts=prompts, dry_run=False)
            finally:
                self._forget_index()
            self._forget_pruned()
            return report

    def _prune(self, *, models: Sequence[str], under: Sequence[str], prompts: bool, dry_run: bool) -> PruneReport:
        from zsindex.upkeep import maintenance

        return maintenance.prune(self._storage, models=several(models), under=under, prompts=prompts, dry_run=dry_run)


class _Closed(Library):
    """A library that was closed. Of another class, so that no method can forget to ask whether it was, and none has to:
    also those that are answered from memory.
    """

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in ("close", "path"):
            raise LibraryClosed(object.__getattribute__(self, "path"))
        return super().__getattribute__(name)

    def __enter__(self) -> Self:
        raise LibraryClosed(self.path)

    def __repr__(self) -> str:
        return f"<Library {self.path}, closed>"


def load_encoder(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
    """Load a model. The only way to torch: everything else works without it."""
    from zsindex.models import loading

    return loading.load(spec, device=device, batch_size=batch_size)


class NotKept(ZsindexWarning):
    """An answer is right, but what was encoded for it could not be stored."""


@contextmanager
def _kept_if_possible(what: str) -> Iterator[None]:
    """A question has its answer also where that cannot be cached: on a full disk, say, or beside a busy writer."""
    try:
        yield
    except (StorageFull, StorageFailed, LibraryReadOnly, LibraryBusy) as error:
        warnings.warn(f"answered, but the vectors of new {what} were not kept: {error}", NotKept, stacklevel=5)


def _saved(found: SavedLabelSet) -> LabelSet:
    return prompts.from_document(found.body, name=found.name, version=found.version)


def _there_first(paths: list[str]) -> list[str]:
    """Names of one image, with one that is there in front: a sync of a part of the library does not see that others
    have gone. The disk is asked only where there is a choice.
    """
    if len(paths) > 1:
        there = next((path for path in paths if os.path.lexists(path)), paths[0])
        return [there, *(path for path in paths if path != there)]
    return paths


def fastest_precision(spec: ModelSpec) -> str:
    """The precision in which this machine encodes images fastest."""
    from zsindex.models import loading

    return loading.fastest_precision(spec)


def _require_name(model: str | None) -> None:
    if model is not None and not model.strip():
        raise UnknownModel(model, why="the name of a model is empty")


def _spec(
    reader: Reads,
    base: ModelSpec,
    model: str | None,
    pretrained: str | None,
    precision: str | None,
    decode: DecodeMode | str | None,
    icc: IccMode | str | None,
    transparency: TransparencyMode | str | None,
) -> ModelSpec:
    """What is asked for, in one spelling: the same model by another way of naming it must not be encoded again."""
    if model is None and pretrained is None:
        name, weights = base.name, base.pretrained
    else:
        name, weights = base.name if model is None else model, pretrained
    _require_name(name)
    if weights is not None:
        file = guessed(weights)
        name, weights = (name, file) if os.path.isfile(file) else (f"{name}/{weights}", None)
    scheme, _, rest = name.partition(":")
    folder = absolute(rest) if scheme == "local-dir" else guessed(name)
    if scheme == "local-dir" or (
        model not in (None, config.DEFAULT_MODEL) and weights is None and os.path.isdir(folder)
    ):
        name = f"local-dir:{folder}"
    elif model is not None and pretrained is None:
        name = names.in_one_spelling(name, held=[row.info.spec.name for row in reader.models()])
    spec = ModelSpec(
        name=name,
        pretrained=weights,
        precision=precision or base.precision,
        decode=base.decode if decode is None else DecodeMode(decode),
        icc=base.icc if icc is None else IccMode(icc),
        transparency=base.transparency if transparency is None else TransparencyMode(transparency),
    )
    if precision != "auto":
        return spec
    # What has been encoded already is faster than anything.
    there = [row.info.spec for row in reader.models()]
    alike = [other for other in there if replace(other, precision="auto") == spec]
    return alike[-1] if alike else replace(spec, precision=fastest_precision(spec))

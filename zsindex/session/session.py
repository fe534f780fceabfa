"""`Session`: an open storage, its current model, and what is derived from both."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from zsindex import config
from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.classification.view import View
from zsindex.errors import LibraryClosed, LibraryForked, NotInLibrary, NoVectors, PlaceExpired, UnknownModel
from zsindex.models.encoder import Encoder
from zsindex.records import ModelInfo, ModelSpec, Settings
from zsindex.session import storages
from zsindex.session.embedding import Embedding
from zsindex.session.facts import CurrentFacts
from zsindex.session.index import CurrentIndex
from zsindex.session.model import AskedModel, ModelOptions, require_name, spec_for
from zsindex.session.usage import Usage
from zsindex.storage import processes
from zsindex.storage.seals import Kind

if TYPE_CHECKING:
    from zsindex.lab.cut import Usual
    from zsindex.lab.duplicates import Appearance
    from zsindex.photos.sandbox import Here, Sandbox
    from zsindex.storage.protocol import Storage


class Session:
    """What the parts of an open library share. Thread-safe.

    Attributes:
        settings: how photos are prepared and encoded.
        workers: threads that read and decode photos, if somebody has said how many.
        usage: counts what was encoded and what was found in the cache.
        clock: seconds, from an arbitrary start.
        appearances: what `Library.neighbours` found out by looking at photos, by image id.
        usual: what is usual among the photos, for searches that stop; of a model, a watermark and a generation.
        path: the library's folder; of one on a server the folder of this machine for what is derived from it.
        place: what stands for it in messages: its folder, or its URL without a password.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        model: str | None = None,
        encoder: Encoder | None = None,
        device: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        on_load: Callable[[ModelSpec], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        search: str | None = None,
        **options: Unpack[ModelOptions],
    ) -> None:
        """Args are those of `Library.open`. The caller closes the storage if something is wrong with them."""
        self.path = storage.folder
        self.place = storage.place
        self.clock = clock
        self.usage = Usage()
        self.settings = Settings(
            batch_size=batch_size or config.DEFAULT_BATCH_SIZE,
            workers=workers or os.cpu_count() or 1,
            max_pixels=config.max_pixels(config.DEFAULT_MAX_PIXELS),
            limits=config.decode_limits(),
            is_chosen=batch_size is not None,
        )
        self.workers = workers
        self._decoder: Sandbox | Here | None = None
        self._making_decoder = threading.Lock()
        self.appearances: dict[int, Appearance] = {}
        self.usual: tuple[tuple[int, int, int], Usual] | None = None
        self._closed = False
        self._as_of: tuple[int, int, int] | None = None
        self._pid = processes.current()
        self._storage = storage
        reads = storage.reads
        remembered = reads.default_model()
        if encoder is not None:
            spec = encoder.info.spec
        else:
            spec = spec_for(reads, None if remembered is None else remembered.info.spec, model, options, device=device)
        # The default model may be older than another one loaded under the same name.
        is_default = remembered is not None and remembered.info.spec == spec
        row = remembered if is_default else reads.find_model(spec)
        if encoder is not None and (row is None or row.info.fingerprint != encoder.info.fingerprint):
            row = None
        on_server = config.searches_on_server(search)
        self._index = CurrentIndex(storage, lambda: self.model, self.clock, on_server=on_server)
        self._facts = CurrentFacts(storage)
        self._model = AskedModel(
            storage,
            spec=spec,
            row=row,
            encoder=encoder,
            device=device,
            batch_size=batch_size,
            on_load=on_load,
            usage=self.usage,
            forget=self._index.forget,
        )
        self._embed = Embedding(storage, lambda: self.model, lambda: self.decoder, self.settings, self.usage)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        create: bool = True,
        read_only: bool = False,
        model: str | None = None,
        encoder: Encoder | None = None,
        device: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        on_load: Callable[[ModelSpec], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        search: str | None = None,
        **options: Unpack[ModelOptions],
    ) -> Self:
        """Open the storage at a path, and a session over it; see `Library.open`."""
        config.require_utf8_names()
        config.searches_on_server(search)
        require_name(model)  # before a library is created for it
        if batch_size is not None:
            batch_size = bounds.whole("batch_size", batch_size, least=1)
        if workers is not None:
            workers = bounds.whole("workers", workers, least=1)
        place = config.library_place(path)
        if create and isinstance(place, Path) and not read_only and not storages.is_at(place):
            _expect_photos()
        storage = storages.open_storage(place, create=create, read_only=read_only)
        try:
            return cls(
                storage,
                model=model,
                encoder=encoder,
                device=device,
                batch_size=batch_size,
                workers=workers,
                on_load=on_load,
                clock=clock,
                search=search,
                **options,
            )
        except BaseException:
            storage.close()
            raise

    @staticmethod
    def exists(path: str | os.PathLike[str] | None = None) -> bool:
        """Whether there is a library at a path; see `Library.exists`."""
        return storages.is_at(config.library_place(path))

    # Once the session is closed, using any of these raises `LibraryClosed`, even for answers from memory.

    @property
    def storage(self) -> Storage:
        """Where everything is stored."""
        self.require_open()
        return self._storage

    @property
    def model(self) -> AskedModel:
        """The model that answers questions."""
        self.require_open()
        return self._model

    @property
    def index(self) -> CurrentIndex:
        """The vectors of that model."""
        self.require_open()
        return self._index

    @property
    def facts(self) -> CurrentFacts:
        """The facts of the photos."""
        self.require_open()
        return self._facts

    @property
    def embed(self) -> Embedding:
        """Vectors of images and texts."""
        self.require_open()
        return self._embed

    @property
    def decoder(self) -> Sandbox | Here:
        """What decodes photos. A sync has one of its own."""
        self.require_open()
        from zsindex.photos.sandbox import decoder_for

        with self._making_decoder:
            if self._decoder is None:
                self._decoder = decoder_for(self.settings)
            return self._decoder

    @property
    def info(self) -> ModelInfo:
        """Details of the model; loads it if the library has never used it."""
        return self.model.info

    @property
    def read_only(self) -> bool:
        """Whether nothing can be stored."""
        return not self.storage.writable

    @property
    def closed(self) -> bool:
        """Whether the session is closed."""
        return self._closed

    def require_open(self) -> None:
        """Raise `LibraryClosed` after `close`, and `LibraryForked` in a child of the process that opened it."""
        if self._closed:
            raise LibraryClosed(self.place)
        if self._pid != processes.current():
            raise LibraryForked(self.place)

    def close(self) -> None:
        """Release storage, index and model. What other threads are storing is finished. Closing twice does no harm."""
        self._closed = True
        if self._pid != processes.current():
            return  # its locks may be held by threads that are not there
        self._index.forget()
        self._facts.forget()
        self.appearances.clear()
        if self._decoder is not None:
            self._decoder.stop()
        self._model.close()
        with suppress(LibraryClosed):  # by another thread
            self._storage.reads.record_uses()
        self._storage.close()

    def __enter__(self) -> Self:
        self.require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- other models -------------------------------------------------------------------------------------------------

    def use_model(self, model: str, **options: Unpack[ModelOptions]) -> ModelInfo:
        """Load a model and make it the library's default; see `Library.use_model`."""
        self.storage.require_writable("choose the default model")
        return self.model.use(
            lambda present: spec_for(self.storage.reads, present, model, options, device=self.model.device)
        )

    def beside(self, model: str, **options: Unpack[ModelOptions]) -> Session:
        """The same library with another model, whether or not it holds vectors of it. Close both."""
        require_name(model)
        storage = self.storage.again(read_only=self.read_only)
        try:
            return Session(
                storage,
                model=model,
                device=self.model.device,
                batch_size=self.model.batch_size,
                workers=self.settings.workers,
                on_load=self.model.on_load,
                clock=self.clock,
                search="server" if self._index.on_server else "here",
                **options,
            )
        except BaseException:
            storage.close()
            raise

    def with_model(self, model: str, **options: Unpack[ModelOptions]) -> Session:
        """The same library with another model that it holds vectors of. Close both.

        Raises:
            UnknownModel
        """
        other = self.beside(model, **options)
        if other.model.known is None:
            spec = other.model.spec
            other.close()
            held = [str(row.info.spec) for row in self.storage.reads.models()]
            why = f"the library holds no vectors of it (zsindex sync {spec.arguments})"
            raise UnknownModel(str(spec), near=held, why=why)
        return other

    def with_fingerprint(self, fingerprint: str, name: str) -> Session:
        """The same library with another model that it holds vectors of. Close both.

        Raises:
            UnknownModel: it holds none of a model with that fingerprint, whose name was `name`.
        """
        rows = self.storage.reads.models()
        specs = [row.info.spec for row in rows if row.info.fingerprint == fingerprint]
        if not specs:
            held = [str(row.info.spec) for row in rows]
            why = "the library holds no vectors from the weights that the run was made with"
            raise UnknownModel(name, near=held, why=why)
        spec = specs[0]
        return self.with_model(
            spec.name,
            pretrained=spec.pretrained,
            precision=spec.precision,
            decode=spec.decode,
            icc=spec.icc,
            transparency=spec.transparency,
        )

    # --- photos with vectors ------------------------------------------------------------------------------------------

    def view(self, paths: Sequence[str] | None = None) -> View:
        """A snapshot of the photos with vectors, at or below absolute paths, or of all."""
        view = self.index.view(paths, self.embed.texts)
        return view if self._as_of is None else self._then(view, self._as_of)

    def as_of(self, snapshot: tuple[int, int, int]) -> Session:
        """This session for questions about the photos as they were at a snapshot that somebody saw, here or elsewhere.
        It is not closed by itself. Its views raise `PlaceExpired` where vectors were removed since.
        """
        then = copy(self)
        then._as_of = snapshot
        return then

    def _then(self, view: View, snapshot: tuple[int, int, int]) -> View:
        watermark, generation, _ = snapshot
        if view.snapshot[1] != generation or view.snapshot[0] < watermark:
            raise PlaceExpired()
        if view.snapshot[0] == watermark:
            return replace(view, snapshot=snapshot)
        return view.as_of(snapshot, self.storage.reads.image_ids_of(view.model_id, through=watermark))

    def view_of(self, paths: PathsLike | None, *, truncate: bool = False, may_be_empty: bool = False) -> View:
        """A view of the photos at or below some paths, or of all, to answer a question from.

        Args:
            truncate: whether its `embed` truncates texts that are too long, instead of refusing them.
            may_be_empty: accept a library without photos.

        Raises:
            NotInLibrary: one of the paths is unknown.
            NoVectors: no photo has a vector of the model.
        """
        places = None if paths is None else absolute_all(paths)
        if places is not None:
            self.require_known(places)
        if not may_be_empty:
            self.require_model(places)
        view = self.view(places)
        if not (may_be_empty and not view.unanswered):
            self.require_vectors(view, places)
        return replace(view, embed=partial(self.embed.texts, truncate=True)) if truncate else view

    def digests_of(self, paths: Sequence[str], why: str) -> dict[str, bytes]:
        """The digests of what known paths show; the files may be gone.

        Args:
            paths: absolute ones.
            why: they have to be known, in words.

        Raises:
            NotInLibrary: names the unknown ones.
        """
        found = self.storage.photos.digests_of(paths)
        unknown = [path for path in dict.fromkeys(paths) if path not in found]
        if unknown:
            raise NotInLibrary(unknown, why)
        return {path: found[path] for path in dict.fromkeys(paths)}

    def require_vectors(self, view: View, paths: Sequence[str] | None) -> None:
        """Refuse a question that no photo of the view can answer: an empty answer would look like a real one.

        Raises:
            NoVectors
        """
        if not len(view):
            raise self.no_vectors(paths, len(view.unanswered))

    def require_model(self, paths: Sequence[str] | None) -> None:
        """Refuse a question to a model without vectors before that model is loaded for it.

        Raises:
            NoVectors
        """
        if self.index.has_vectors:
            return
        reads = self.storage.reads
        row = self.model.known or reads.find_model(self.model.spec)
        if row is None or not reads.has_vectors(row.id):
            raise self.no_vectors(paths, len(reads.files(paths).paths))

    def require_known(
        self, paths: Sequence[str], why: str = "questions can only be about photos in the library"
    ) -> None:
        """Refuse paths that are neither files nor folders of the library.

        Raises:
            NotInLibrary
        """
        reads = self.storage.reads
        held = {*reads.files(paths).paths, *(file.path for file in reads.skipped(paths))}
        folders: set[str] = set()
        for folder in {os.path.dirname(path) for path in held}:
            while folder not in folders:
                folders.add(folder)
                folder = os.path.dirname(folder)
        unknown = [path for path in paths if path not in held and path not in folders]
        if unknown:
            raise NotInLibrary(unknown, why)

    def no_vectors(self, paths: Sequence[str] | None, photos: int) -> NoVectors:
        """What is said where none of some photos, so many, has a vector of the model."""
        if photos:
            return NoVectors(self.model.spec, photos=photos, skipped=0)
        damaged = any(row.kind in (Kind.FOLDER, Kind.FILE, Kind.IMAGE) for row in self.storage.damaged_rows())
        skipped = len(self.storage.reads.skipped(paths))
        return NoVectors(self.model.spec, photos=0, skipped=skipped, damaged=damaged)


def _expect_photos() -> None:
    """Begin to start what decodes: who makes a library has photos for it, and the first one would wait for that."""
    from zsindex.photos import sandbox

    sandbox.expect_photos(config.decode_limits())

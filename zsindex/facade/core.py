"""What the parts of `Library` use of it, and of one another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from zsindex import config
from zsindex.arguments.several import several
from zsindex.classification.prompts import LabelsLike
from zsindex.errors import BadPath, NotInLibrary, NoVectors
from zsindex.records import LabelSet

if TYPE_CHECKING:
    import threading
    from collections import Counter

    from zsindex.classification.results import Classification, Run
    from zsindex.classification.view import View
    from zsindex.index.snapshots import VectorIndex
    from zsindex.lab.unknown import Knownness
    from zsindex.library import Library
    from zsindex.models.encoder import Encoder, OneAtATime
    from zsindex.photos.sources import PathsLike, Source
    from zsindex.records import (
        Activation,
        DecodeMode,
        FloatArray,
        IccMode,
        ModelInfo,
        ModelSpec,
        Progress,
        Settings,
        SyncReport,
        TransparencyMode,
    )
    from zsindex.storage.jobs import JobStore
    from zsindex.storage.labels import LabStore
    from zsindex.storage.photos import Store
    from zsindex.storage.rows import FileTable, ImageRecord, ModelRow
    from zsindex.storage.sqlite.database import Database
    from zsindex.storage.sqlite.fast_reads import FastReads
    from zsindex.storage.sqlite.storage import SqliteStorage

T = TypeVar("T")

# The name of a saved set, ``NAME`` or ``NAME@VERSION``; or labels themselves.
WhichLabels: TypeAlias = "str | LabelsLike"


class Core:
    """Declares what `zsindex.library.Library` provides to its parts, and holds the few methods that all of them use."""

    _storage: SqliteStorage
    _database: Database
    _reader: FastReads
    _lab_reader: FastReads
    _model_row: ModelRow | None
    _index: VectorIndex | None
    _settings: Settings
    _lock: threading.RLock
    _loaded: OneAtATime | None
    _can_load_again: bool
    _usage: Counter[str]
    _last_view: View | None

    if TYPE_CHECKING:

        @cached_property
        def _store(self) -> Store: ...
        @cached_property
        def _lab(self) -> LabStore: ...
        @cached_property
        def _jobs(self) -> JobStore: ...
        def _model(self) -> ModelRow: ...
        def _store_under_model(self, store: Callable[[int], T]) -> T: ...
        def _encode(self, new: Sequence[Source]) -> list[ImageRecord]: ...
        def _open_index(self, model: ModelRow | None = None) -> VectorIndex: ...
        def _run(self, labels: LabelSet, activation: Activation, view: View, **options: Any) -> Run: ...
        def _text_vectors(self, labels: LabelSet, *, truncate: bool) -> FloatArray: ...
        def _temperature(self, given: float | str) -> float: ...
        def _tempered(self, view: View, temperature: float) -> View: ...
        def knownness(
            self,
            labels: WhichLabels,
            method: str = "neglabel",
            *,
            template: str | Sequence[str] | None = None,
            paths: PathsLike | None = None,
            temperature: float | str | None = None,
        ) -> Knownness: ...
        def vectors_of(self, image_ids: Sequence[int]) -> FloatArray: ...

        @property
        def path(self) -> Path: ...
        @property
        def read_only(self) -> bool: ...
        @property
        def spec(self) -> ModelSpec: ...
        @property
        def model(self) -> ModelInfo: ...
        def sync(
            self,
            paths: PathsLike | None = None,
            *,
            dry_run: bool = False,
            progress: Callable[[Progress], None] | None = None,
            should_stop: Callable[[], bool] | None = None,
        ) -> SyncReport: ...
        def _sync_if_needed(
            self,
            paths: Sequence[str],
            progress: Callable[[Progress], None] | None,
            should_stop: Callable[[], bool] | None,
        ) -> SyncReport: ...
        def view(self, paths: PathsLike | None = None) -> View: ...
        def embed_texts(self, texts: str | Iterable[str], *, truncate: bool = False) -> FloatArray: ...
        def _beside(
            self,
            model: str,
            *,
            pretrained: str | None,
            precision: str | None,
            decode: DecodeMode | str | None,
            icc: IccMode | str | None,
            transparency: TransparencyMode | str | None,
        ) -> Library: ...
        def use_model(
            self,
            model: str,
            *,
            pretrained: str | None = None,
            precision: str | None = None,
            decode: DecodeMode | str | None = None,
            icc: IccMode | str | None = None,
            transparency: TransparencyMode | str | None = None,
        ) -> ModelInfo: ...
        def label_set(self, name: str) -> LabelSet: ...
        def label_sets(self) -> list[LabelSet]: ...
        def _files(self, paths: PathsLike | None) -> FileTable: ...
        def with_model(
            self,
            model: str,
            *,
            pretrained: str | None = None,
            precision: str | None = None,
            decode: DecodeMode | str | None = None,
            icc: IccMode | str | None = None,
            transparency: TransparencyMode | str | None = None,
        ) -> Library: ...
        def templates(self, templates: str | Sequence[str]) -> tuple[str, ...]: ...
        def _model(self) -> ModelRow: ...
        def _encoder(self) -> Encoder: ...
        def _run(self, labels: LabelSet, activation: Activation, view: View, **options: Any) -> Run: ...
        def _label_set(
            self, labels: LabelsLike | None, saved: str | None, template: str | Sequence[str] | None
        ) -> LabelSet: ...
        def classify(
            self,
            labels: LabelsLike | None = None,
            *,
            label_set: str | None = None,
            template: str | Sequence[str] | None = None,
            top: int | None = None,
            paths: PathsLike | None = None,
            activation: Activation | str | None = None,
            sync: bool = True,
            temperature: float | str | None = None,
        ) -> Classification: ...

    def _count(self, **how_many: int) -> None:
        """Add to what `Library.usage` tells."""
        with self._lock:
            self._usage.update(how_many)

    def _view_of(self, paths: PathsLike | None, *, truncate: bool = False, may_be_empty: bool = False) -> View:
        """A view of what the library holds at or below some paths, or of all.

        Args:
            truncate: whether its `embed` cuts texts that are too long, rather than refuse them.
            may_be_empty: a library without photos is as good as one with photos.

        Raises:
            NotInLibrary: it knows nothing of one of the paths.
            NoVectors: no photo has a vector of the model.
        """
        places = None if paths is None else absolute_all(paths)
        if places is not None:
            self._require_known(places)
        if not may_be_empty:
            self._require_model(places)
        view = self.view(places)
        if not (may_be_empty and not view.unanswered):
            self._require_vectors(view, places)
        return replace(view, embed=partial(self.embed_texts, truncate=True)) if truncate else view

    def _require_vectors(self, view: View, paths: Sequence[str] | None) -> None:
        """Refuse a question that no photo of the view can answer: an empty answer would look like one.

        Raises:
            NoVectors
        """
        if not len(view):
            raise self._no_vectors(paths, len(view.unanswered))

    def _require_model(self, paths: Sequence[str] | None) -> None:
        """Refuse a first question to a model without vectors before that model is loaded for it.

        Raises:
            NoVectors
        """
        if self._index is not None and self._index.watermark:
            return
        row = self._model_row or self._reader.find_model(self.spec)
        if row is None or not self._reader.has_vectors(row.id):
            raise self._no_vectors(paths, len(self._reader.files(paths).paths))

    def _no_vectors(self, paths: Sequence[str] | None, photos: int) -> NoVectors:
        return NoVectors(self.spec, photos=photos, skipped=0 if photos else len(self._reader.skipped(paths)))

    def _require_known(self, paths: Sequence[str], why: str = "only photos that it holds can be asked about") -> None:
        held = {*self._reader.files(paths).paths, *(file.path for file in self._reader.skipped(paths))}
        folders: set[str] = set()
        for folder in {os.path.dirname(path) for path in held}:
            while folder not in folders:
                folders.add(folder)
                folder = os.path.dirname(folder)
        unknown = [path for path in paths if path not in held and path not in folders]
        if unknown:
            raise NotInLibrary(unknown, why)

    def _labels(self, which: WhichLabels, template: str | Sequence[str] | None = None) -> LabelSet:
        """A label set by its name, or from labels; see `Library._label_set`."""
        if isinstance(which, str):
            return self._label_set(None, which, template)
        return self._label_set(which, None, template)


def absolute(path: str | bytes | os.PathLike[str]) -> str:
    """The path under which the library knows a file or folder.

    Raises:
        BadPath: it is empty, or relative to a working folder that is gone.
    """
    return config.absolute(path)


def guessed(text: str) -> str:
    """`absolute` of what may be a path; itself where it can be none."""
    try:
        return absolute(text)
    except BadPath:
        return text


def absolute_all(paths: PathsLike) -> list[str]:
    """`absolute` of one path, or of several."""
    return [absolute(path) for path in several(paths)]

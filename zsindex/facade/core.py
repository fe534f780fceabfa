"""What the parts of `Library` use of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from zsindex.prompts import LabelsLike
from zsindex.records import LabelSet

if TYPE_CHECKING:
    import threading

    from zsindex.database import Database
    from zsindex.lab_store import LabStore
    from zsindex.library import Library
    from zsindex.records import DecodeMode, ModelInfo, Settings
    from zsindex.results import Classification
    from zsindex.sources import PathsLike
    from zsindex.store import FileTable, Store
    from zsindex.view import View

# The name of a saved set, ``NAME`` or ``NAME@VERSION``; or labels themselves.
WhichLabels: TypeAlias = "str | LabelsLike"


class Core:
    """Declares what `zsindex.library.Library` provides; it has no behaviour but what is said here."""

    _database: Database
    _store: Store
    _lab: LabStore
    _settings: Settings
    _lock: threading.RLock

    if TYPE_CHECKING:

        @property
        def path(self) -> Path: ...
        @property
        def read_only(self) -> bool: ...
        @property
        def model(self) -> ModelInfo: ...
        def view(self, paths: PathsLike | None = None) -> View: ...
        def label_set(self, name: str) -> LabelSet: ...
        def _files(self, paths: PathsLike | None) -> FileTable: ...
        def with_model(
            self,
            model: str,
            *,
            pretrained: str | None = None,
            precision: str | None = None,
            decode: DecodeMode | str | None = None,
        ) -> Library: ...
        def templates(self, templates: str | Sequence[str]) -> tuple[str, ...]: ...
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
        ) -> Classification: ...

    def _labels(self, which: WhichLabels, template: str | Sequence[str] | None = None) -> LabelSet:
        """A label set by its name, or from labels; see `Library._label_set`."""
        if isinstance(which, str):
            return self._label_set(None, which, template)
        return self._label_set(which, None, template)


def absolute(path: str | os.PathLike[str]) -> str:
    """The path under which the library knows a file or folder."""
    # Not Path.expanduser, which raises for "~name" where no user has that name. It may well be a file.
    return os.path.abspath(os.path.expanduser(path))

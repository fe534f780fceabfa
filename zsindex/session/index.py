"""The vectors of the model that a library is asked with, as they are now, and the photos that have them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from zsindex.classification.view import View
from zsindex.index.snapshots import VectorIndex
from zsindex.records import FloatArray
from zsindex.session.model import AskedModel
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import ModelRow

# While photos are being stored every batch makes a new state, and listing them anew for each question would cost more
# than the questions.
MAX_AGE_BESIDE_SYNC_S = 1.0
# How long a question waits until another one has read what came since the last. Then it reads that itself.
LONGEST_WAIT_S = 0.25


class CurrentIndex:
    """Opens the index, keeps it, and refreshes it when something was stored. For any number of threads.

    What takes long has locks of its own, so that nobody waits who does not need it. They are taken in this order:
    `_saving` while snapshots are written, checked or removed; `_opening` while vectors are read into memory; `_lock`,
    the last one, to look at or to set the fields. Who holds `_opening` only tries `_saving`.
    """

    def __init__(self, storage: Storage, model: Callable[[], AskedModel], clock: Callable[[], float]) -> None:
        self._storage = storage
        self._asked = model
        self._clock = clock
        self._index: VectorIndex | None = None
        self._last_view: View | None = None
        self._viewed_at = 0.0
        self._storing = 0
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._opening = threading.Lock()

    @property
    def last_view(self) -> View | None:
        """The photos as the last question found them, which are kept for the next one."""
        return self._last_view

    @property
    def has_vectors(self) -> bool:
        """Whether there is an index in memory, with something in it."""
        return self._index is not None and bool(self._index.watermark)

    def forget(self) -> None:
        """Read it anew for the next question: the model is another one, or files were replaced."""
        with self._lock:
            self._index = self._last_view = None

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Nobody else writes or removes snapshots meanwhile."""
        with self._saving:
            yield

    @contextmanager
    def while_storing(self) -> Iterator[None]:
        """Batches are being stored: views may be a little old."""
        with self._lock:
            self._storing += 1
        try:
            yield
        finally:
            with self._lock:
                self._storing -= 1

    def open(self, model: ModelRow | None = None) -> VectorIndex:
        """The vectors as they are now, of the model that the library is asked with.

        One thread at a time reads what is new, and one at a time writes a snapshot. Who comes meanwhile does not wait
        for a snapshot, nor for long until somebody else has read what came since the last question.

        Args:
            model: of a question that has begun with it; it may not be the one of the library any more.
        """
        asked = self._asked()
        model = asked.row() if model is None else model
        last = self._of(model)
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
            may_read = self._opening.acquire(timeout=LONGEST_WAIT_S if self._of(model) is not None else -1)
            known = self._of(model)
            if known is None:
                index = VectorIndex.open(self._storage, model, may_save=may_save)
            else:
                index = known.refreshed(self._storage, model, may_save=may_save)
            with self._lock:
                if self._is_asked(model):
                    self._index = index
        finally:
            if may_read:
                self._opening.release()
            if may_write:
                self._saving.release()
        if index.generation < 0 <= model.id:
            asked.notice_pruned()
            if asked.known is not None:  # others have encoded with it anew
                return self.open()
            asked.renew(model)
        return index

    def view(self, paths: Sequence[str] | None, embed: Callable[[Sequence[str]], FloatArray]) -> View:
        """The photos with vectors, as they are now.

        Args:
            paths: absolute files and folders to restrict to. None: all; these may be a second old while this object
                syncs or imports.
            embed: of the view.
        """
        model, last = self._asked().row(), self._last_view
        if paths is None and last is not None and last.model_id == model.id:
            if self._storing and self._clock() < self._viewed_at + MAX_AGE_BESIDE_SYNC_S:
                return last
            index = self.open(model)
            # Listing the files takes longer than most questions.
            snapshot = (index.watermark, index.generation, self._storage.reads.files_revision())
            if last.vectors is index.vectors and last.snapshot == snapshot:
                return last
        files = self._storage.reads.files(paths)
        index = self.open(model)  # after the files, or it might lack vectors of some
        now = self._asked().known
        if now is not None and now.info.fingerprint == model.info.fingerprint:
            model = now  # somebody else may have pruned it, and others have encoded with it anew
        view = View.of(
            files,
            index.vectors,
            info=model.info,
            model_id=model.id,
            embed=embed,
            snapshot=(index.watermark, index.generation, files.revision),
        )
        if paths is None:
            with self._lock:
                if self._is_asked(model):
                    self._last_view, self._viewed_at = view, self._clock()
        return view

    def _of(self, model: ModelRow) -> VectorIndex | None:
        with self._lock:
            return self._index if self._is_asked(model) else None

    def _is_asked(self, model: ModelRow) -> bool:
        known = self._asked().known
        return known is not None and known.id == model.id

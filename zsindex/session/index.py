"""The current vectors of a library's current model, and the photos that have them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

from zsindex.classification.view import View
from zsindex.errors import LibraryBusy, LibraryReadOnly, StorageFailed, StorageFull
from zsindex.index.snapshots import VectorIndex
from zsindex.records import FloatArray
from zsindex.session.model import AskedModel
from zsindex.storage.interrupts import PutOff
from zsindex.storage.rows import ModelRow

if TYPE_CHECKING:
    from zsindex.index.on_server import ServerIndex
    from zsindex.storage.protocol import Storage

# While photos are being stored, every batch makes a new state, and listing photos again for each question would cost
# more than the questions. What is asked again and again has to be calculated anew for each state: so one lasts a few
# times as long as an answer takes, up to a limit.
MAX_AGE_BESIDE_SYNC_S = 1.0
MAX_AGE_IN_ANSWERS = 4.0
LONGEST_AGE_BESIDE_SYNC_S = 10.0
# How long a question waits for another one that is reading new vectors. Then it reads them itself.
LONGEST_WAIT_S = 0.25
# The same, of one that lists the photos, which may write a snapshot on its way.
LONGEST_WAIT_FOR_VIEW_S = 2.0


class CurrentIndex:
    """Opens the index, keeps it, and refreshes it when something was stored. Thread-safe.

    Attributes:
        on_server: searches go to the server; this machine need not hold the vectors for them.

    Long operations have locks of their own, so that no thread waits for one it does not need. They are taken in this
    order: `_viewing` while photos are listed; `_saving` while snapshots are written, checked or removed, and with it
    the storage's `index_lock` to write them; `_opening` while vectors are read into memory; `_lock`, the last one, to
    read or set the fields. While holding `_opening`, a thread never waits for one of the others.
    """

    def __init__(
        self,
        storage: Storage,
        model: Callable[[], AskedModel],
        clock: Callable[[], float],
        *,
        on_server: bool = False,
    ) -> None:
        self.on_server = on_server and storage.nearest is not None
        self._storage = storage
        self._asked = model
        self._clock = clock
        self._index: VectorIndex | None = None
        self._server_index: ServerIndex | None = None
        self._last_view: View | None = None
        self._viewed_at = self._viewed_since = 0.0  # when the last view was there, and when reading it began
        self._answer_s = 0.0  # what the longest answer about it, or half the longest about the one before, took
        self._storing = 0
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._opening = threading.Lock()
        self._viewing = threading.Lock()

    @property
    def last_view(self) -> View | None:
        """The photos as of the last question, kept for the next one."""
        return self._last_view

    @property
    def has_vectors(self) -> bool:
        """Whether an index is in memory and not empty."""
        return self._index is not None and bool(self._index.watermark)

    def forget(self) -> None:
        """Reread the index for the next question: the model has changed, or files were replaced."""
        with self._lock:
            self._index = self._last_view = self._server_index = None

    def saving(self) -> AbstractContextManager[object]:
        """No other thread writes or removes snapshots meanwhile."""
        return self._saving  # itself: its ``with`` block has no step at which a Ctrl-C could leave it held

    @contextmanager
    def while_storing(self) -> Iterator[None]:
        """While batches are being stored, views may be slightly out of date."""
        with self._lock:
            self._storing += 1
        try:
            yield
        finally:
            with self._lock:
                self._storing -= 1

    @contextmanager
    def while_answering(self, view: View) -> Iterator[None]:
        """While a question about the photos of a view is being answered."""
        began = self._clock()
        yield
        with self._lock:
            if view is self._last_view:
                self._answer_s = max(self._answer_s, self._clock() - began)

    def open(self, model: ModelRow | None = None) -> VectorIndex:
        """The current vectors of the library's current model.

        One thread at a time reads new vectors, and one at a time writes a snapshot. Other threads never wait for a
        snapshot, and only briefly for a thread that is reading.

        Args:
            model: of a question that started with it; the library may have switched models since.
        """
        asked = self._asked()
        model = asked.row() if model is None else model
        last = self._of(model)
        if last is not None and last.generation >= 0 and last.is_current(self._storage, model):
            return last
        may_read = may_write = False
        of_machine = ExitStack()

        def may_save() -> bool:
            nonlocal may_read, may_write
            with PutOff():
                may_write = self._saving.acquire(blocking=False)
                if may_write and may_read:
                    self._opening.release()
                    may_read = False
            if (
                may_write and self._storage.writable
            ):  # others write no more than their own record of a file of their own
                # Who has nothing yet waits for another process that is at it: what that writes is mapped by all, and
                # what each reads by itself takes its own memory.
                wait = self._of(model) is None
                try:
                    of_machine.enter_context(self._storage.index_lock.hold("write the index", wait=wait))
                except (LibraryBusy, LibraryReadOnly, StorageFull, StorageFailed):
                    return False
            return may_write

        try:
            # Every thread needs what is not read yet; reading it twice at the same time would only take longer.
            while not may_read:
                with PutOff():  # a Ctrl-C between taking the lock and the note of it would leave it held
                    may_read = self._opening.acquire(timeout=LONGEST_WAIT_S)
                if self._of(model) is not None:
                    break
            known = self._of(model)
            if known is None:
                index = VectorIndex.open(self._storage, model, may_save=may_save)
            else:
                index = known.refreshed(self._storage, model, may_save=may_save)
            with self._lock:
                if self._is_asked(model):
                    self._index = index
        finally:
            try:
                if may_read:
                    self._opening.release()
            finally:
                if may_write:
                    self._saving.release()
                of_machine.close()
        if index.generation < 0 <= model.id:
            asked.notice_pruned()
            if asked.known is not None:  # others have encoded with it again
                return self.open()
            asked.renew(model)
        return index

    def for_search(self) -> VectorIndex | ServerIndex:
        """What searches ask: `open`, or where they go to the server what stands for it."""
        return self.server() if self.on_server else self.open()

    def server(self) -> ServerIndex:
        """The current vectors of the library's current model, which stay on the server."""
        from zsindex.index.on_server import ServerIndex

        asked = self._asked()
        model = asked.row()
        with self._lock:
            last = self._server_index if self._is_asked(model) else None
        index = ServerIndex.open(self._storage, model, last)
        if index.generation < 0 <= model.id:
            asked.notice_pruned()
            if asked.known is not None:  # others have encoded with it again
                return self.server()
            asked.renew(model)
        with self._lock:
            if self._is_asked(model):
                self._server_index = index
        return index

    def view(self, paths: Sequence[str] | None, embed: Callable[[Sequence[str]], FloatArray]) -> View:
        """A snapshot of the photos with vectors.

        Args:
            paths: absolute files and folders to restrict to. None: all; while this object syncs or imports it may be a
                second old, or up to ten where answers take long.
            embed: of the view.
        """
        if paths is not None:
            return self._read(paths, embed)
        came = self._clock()
        last = self._last_if_current()
        if last is not None:
            return last
        # While others store, every batch of theirs makes a new state. One thread lists the photos for all that wait
        # for it: what it began to read after they came is new enough for them.
        may_read = False
        try:
            with PutOff():
                may_read = self._viewing.acquire(timeout=LONGEST_WAIT_FOR_VIEW_S)
            with self._lock:
                last, since = self._last_view, self._viewed_since
            if last is not None and since > came and last.model_id == self._asked().row().id:
                return last
            return self._read(None, embed)
        finally:
            if may_read:
                self._viewing.release()

    def _last_if_current(self) -> View | None:
        """The photos as of the last question, if nothing has changed since."""
        model, last = self._asked().row(), self._last_view
        if last is None or last.model_id != model.id:
            return None
        most = min(max(MAX_AGE_BESIDE_SYNC_S, MAX_AGE_IN_ANSWERS * self._answer_s), LONGEST_AGE_BESIDE_SYNC_S)
        if self._storing and self._clock() < self._viewed_at + most:
            return last
        index = self.open(model)
        # Listing the files takes longer than most questions.
        snapshot = (index.watermark, index.generation, self._storage.reads.files_revision())
        return last if last.vectors is index.vectors and last.snapshot == snapshot else None

    def _read(self, paths: Sequence[str] | None, embed: Callable[[Sequence[str]], FloatArray]) -> View:
        model, since = self._asked().row(), self._clock()
        files = self._storage.reads.files(paths)
        index = self.open(model)  # after the files; otherwise it might lack vectors of some
        now = self._asked().known
        if now is not None and now.info.fingerprint == model.info.fingerprint:
            model = now  # another process may have pruned it, and encoded with it again
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
                    self._last_view, self._viewed_at, self._viewed_since = view, self._clock(), since
                    self._answer_s /= 2
        return view

    def _of(self, model: ModelRow) -> VectorIndex | None:
        with self._lock:
            return self._index if self._is_asked(model) else None

    def _is_asked(self, model: ModelRow) -> bool:
        known = self._asked().known
        return known is not None and known.id == model.id

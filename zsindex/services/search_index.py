"""`library.search_index`: the index on the server that machines search which cannot hold all vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zsindex.arguments import bounds
from zsindex.errors import NoSearchIndex
from zsindex.index.on_server import TARGET_RECALL, Build, build
from zsindex.records import Progress
from zsindex.session.session import Session
from zsindex.upkeep.search_index import SearchIndexStatus, status_of

if TYPE_CHECKING:
    from zsindex.storage.protocol import NearestStorage

# What pgvector allows.
MOST_M, MOST_EF_CONSTRUCTION = 100, 1000


class SearchIndex:
    """Builds the search index of the library's current model, looks at it, and drops it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def build(
        self,
        *,
        m: int | None = None,
        ef_construction: int | None = None,
        recall: float | None = None,
        memory_mb: int | None = None,
        anew: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> SearchIndexStatus | None:
        """Build it on the server, go on with one that was begun, or add to it what is new. Searches go on meanwhile.

        Args:
            m, ef_construction: of HNSW: how many neighbours each photo is tied to, and how thoroughly they are looked
                for, which is no less than twice the former. More find more, and take longer and more room. Default:
                those of the index that is there; 16 and 64 for a new one.
            recall: of the true results such a share is to be found. The search is made as thorough as that takes, as
                far as that is possible. Default: that of the index that is there; 0.99 for a new one.
            memory_mb: what the server may take for it; a graph that does not fit is made more slowly. Default: the
                server's ``maintenance_work_mem``.
            anew: even where there is one that could be added to.
            progress: called now and then.
            should_stop: called now and then; once it returns True, the build ends, and what was copied is kept.

        Returns:
            What there is now; None where it was stopped.

        Raises:
            NoSearchIndex: the library is in a folder; the server lacks pgvector; or the role lacks rights.
            NoVectors: there is nothing to be indexed.
            LibraryBusy: somebody else is building one.
            LibraryReadOnly, StorageFull, StorageFailed
            ValueError: a number is out of bounds.
        """
        there, known = self._there(), self._session.model.known
        row = None if known is None else there.row(known.id) or there.row(known.id, being_made=True)
        if row is not None:  # as it was chosen once
            m, ef_construction = m or row.m, ef_construction or row.ef_construction
            recall = recall or row.target or None
        m = bounds.whole("m", 16 if m is None else m, least=2, most=MOST_M)
        thorough = 64 if ef_construction is None else ef_construction
        how = Build(
            m=m,
            ef_construction=max(2 * m, bounds.whole("ef_construction", thorough, least=1, most=MOST_EF_CONSTRUCTION)),
            recall=bounds.real("recall", TARGET_RECALL if recall is None else recall, above=0, most=1),
            memory_mb=None if memory_mb is None else bounds.whole("memory_mb", memory_mb, least=1),
            anew=anew,
        )
        self._session.require_model(None)
        tell = progress or (lambda _: None)
        model = self._session.model.row()
        made = build(
            self._session.storage,
            model,
            how,
            progress=lambda stage, done, total: tell(Progress(stage, done, total)),
            should_stop=should_stop or (lambda: False),
        )
        return None if made is None else status_of(self._session.storage, model)

    def status(self) -> list[SearchIndexStatus]:
        """What there is, for each model of the library; nothing of a library in a folder."""
        storage = self._session.storage
        return [] if storage.nearest is None else [status_of(storage, model) for model in storage.reads.models()]

    def drop(self) -> bool:
        """Remove it, and what was begun of another one; whether there was any. Nothing is lost by it but itself.

        Raises:
            NoSearchIndex: the library is in a folder.
            LibraryBusy: somebody is building one.
            LibraryReadOnly
        """
        there = self._there()
        with there.lock.hold("drop the search index", wait=False):
            model = self._session.model.known
            rows = [there.row(model.id, being_made=being_made) for being_made in (False, True)] if model else []
            for row, being_made in zip(rows, (False, True), strict=False):
                if model is not None and row is not None:
                    there.save(model.id, None, being_made=being_made)
            return there.remove_strays() > 0

    def _there(self) -> NearestStorage:
        there = self._session.storage.nearest
        if there is None:
            raise NoSearchIndex(
                self._session.place, "it is for libraries on a server; one in a folder is searched on this machine"
            )
        return there

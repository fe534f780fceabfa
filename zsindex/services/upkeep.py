"""Status, check and prune of an open library, while questions go on; `zsindex.upkeep` does the work."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from functools import partial

from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.arguments.several import several
from zsindex.session.session import Session
from zsindex.storage.failures import told
from zsindex.storage.rows import Forgettable
from zsindex.upkeep import maintenance, room
from zsindex.upkeep.maintenance import CheckReport, ModelStatus, PruneReport, Status
from zsindex.upkeep.room import Room


class Upkeep:
    """Counts, checks and prunes a library."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def models(self) -> builtins.list[ModelStatus]:
        """See `Library.models`."""
        return maintenance.models(self._session.storage)

    def status(self) -> Status:
        """See `Library.status`."""
        return maintenance.status(self._session.storage)

    def room(self) -> builtins.list[Room]:
        """See `Library.room`."""
        return room.rooms(self._session.storage)

    def check(self, *, fix: bool = False) -> CheckReport:
        """See `Library.check`."""
        storage, index = self._session.storage, self._session.index
        with index.saving(), told(storage.folder, "check it"):
            if fix:
                index.forget()  # its file may be replaced
            return maintenance.check(storage, fix=fix)

    def prune(
        self,
        paths: PathsLike | None = None,
        *,
        models: str | Sequence[str] = (),
        prompts: bool = False,
        unused_days: int | None = None,
        most_prompts: int | None = None,
        backups: bool = False,
        dry_run: bool = False,
    ) -> PruneReport:
        """See `Library.prune`."""
        which = Forgettable(
            every=prompts and unused_days is None and most_prompts is None,
            unused_days=None if unused_days is None else bounds.whole("unused_days", unused_days, least=0),
            most=None if most_prompts is None else bounds.whole("most_prompts", most_prompts, least=0),
        )
        storage, index = self._session.storage, self._session.index
        prune = partial(
            maintenance.prune,
            storage,
            models=several(models),
            under=absolute_all(paths or ()),
            prompts=which,
            backups=backups,
        )
        storage.reads.record_uses()
        if dry_run:
            return prune(dry_run=True)
        # Questions go on meanwhile, first with the old state, then with what is left.
        with index.saving():
            try:
                with told(storage.folder, "prune it"):
                    report = prune(dry_run=False)
            finally:
                index.forget()
            self._session.model.notice_pruned()
            return report

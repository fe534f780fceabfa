"""Status, check and prune of an open library, while questions go on; `zsindex.upkeep` does the work."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.arguments.several import several
from zsindex.session.session import Session
from zsindex.upkeep import maintenance
from zsindex.upkeep.maintenance import CheckReport, ModelStatus, PruneReport, Status


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

    def check(self, *, fix: bool = False) -> CheckReport:
        """See `Library.check`."""
        with self._session.index.saving():
            if fix:
                self._session.index.forget()  # its file may be replaced
            return maintenance.check(self._session.storage, fix=fix)

    def prune(
        self,
        paths: PathsLike | None = None,
        *,
        models: str | Sequence[str] = (),
        prompts: bool = False,
        dry_run: bool = False,
    ) -> PruneReport:
        """See `Library.prune`."""
        under, names = absolute_all(paths or ()), several(models)
        storage, index = self._session.storage, self._session.index
        if dry_run:
            return maintenance.prune(storage, models=names, under=under, prompts=prompts, dry_run=True)
        # Questions go on meanwhile, first with the old state, then with what is left.
        with index.saving():
            try:
                report = maintenance.prune(storage, models=names, under=under, prompts=prompts, dry_run=False)
            finally:
                index.forget()
            self._session.model.notice_pruned()
            return report

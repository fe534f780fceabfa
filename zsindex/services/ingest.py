"""Syncing a library: one process at a time, and then the snapshot that is due. The flow is in `zsindex.ingest`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.arguments.several import several
from zsindex.ingest.sync import Options, Sync
from zsindex.records import Progress, SyncReport
from zsindex.session.session import Session


class Ingest:
    """Brings a library up to date."""

    def __init__(self, session: Session) -> None:
        self._session = session

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
        """See `Library.sync`."""
        if not dry_run:
            self._session.storage.require_writable("sync")
        places = self._session.storage.photos.roots() if paths is None else absolute_all(paths)
        options = Options(several(exclude), include_hidden, retry_skipped, dry_run)
        if dry_run:
            return self._sync(places, options, progress, should_stop)
        with self._turn():
            report = self._sync(places, options, progress, should_stop)
        return self._synced(report)

    def sync_if_needed(
        self,
        paths: Sequence[str],
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> SyncReport:
        """`sync`, but look first, and take the sync lock only if there is something to do: otherwise a sync in another
        process is no reason to refuse.
        """
        report = self._sync(paths, Options(), progress, should_stop, turn=self._turn)
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
        model = self._session.model
        return Sync(
            self._session.storage,
            options=options,
            settings=self._session.settings,
            model=model.row,
            known_model=model.known,
            encoder=model.encoder,
            progress=progress or (lambda _: None),
            should_stop=should_stop or (lambda: False),
            turn=turn,
        ).run(paths)

    def _synced(self, report: SyncReport) -> SyncReport:
        self._session.usage.count(images_encoded=report.encoded, images_reused=report.reused)
        if self._session.model.known is not None:
            self._session.index.open()  # writes the snapshot if one is due
        return report

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._session.storage.sync_lock.hold("sync", shared=True), self._session.index.while_storing():
            self._session.model.notice_pruned()  # from here on no other process prunes
            yield

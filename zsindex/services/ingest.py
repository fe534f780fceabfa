"""Syncing a library: one process at a time, and then the snapshot that is due. The flow is in `zsindex.ingest`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial

from zsindex import config
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.arguments.several import several
from zsindex.errors import ClusterFailed, LibraryBusy, StorageFailed, StorageFull
from zsindex.ingest.sync import Elsewhere, Options, Sync
from zsindex.records import Progress, SyncReport
from zsindex.session.session import Session

# After a sync that stored facts of so many files their table is made; of fewer, when it is asked for.
_FACTS_DUE = 1000
# How often others are told how far a sync is.
_TELL_EVERY_S = 1.0


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
        on: str | None = None,
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
        making_room = self._making_room()
        with self._turn():
            elsewhere = None if on is None else self._elsewhere(on, should_stop or (lambda: False))
            report = self._sync(places, options, progress, should_stop, elsewhere=elsewhere)
            report = _with_what_went(report, making_room)
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
        making_room = self._making_room()
        report = self._sync(paths, Options(), progress, should_stop, turn=self._turn)
        if not report.to_read and not report.missing:
            return report
        with suppress(LibraryBusy), self._turn():  # whoever syncs now makes room afterwards
            report = _with_what_went(report, making_room)
        return self._synced(report)

    def _sync(
        self,
        paths: Sequence[str],
        options: Options,
        progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
        *,
        turn: Callable[[], AbstractContextManager[None]] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> SyncReport:
        model = self._session.model
        return Sync(
            self._session.storage,
            options=options,
            settings=self._session.settings,
            model=model.row,
            known_model=model.known,
            encoder=model.encoder,
            progress=self._told(progress or (lambda _: None)),
            should_stop=should_stop or (lambda: False),
            turn=turn,
            elsewhere=elsewhere,
        ).run(paths)

    def _told(self, progress: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """Has others know, too, how far a sync is: a page shows it whoever syncs."""
        lock, clock = self._session.storage.sync_lock, self._session.clock
        stage, told_at = "", 0.0

        def tell(step: Progress) -> None:
            nonlocal stage, told_at
            moment = clock()
            if step.stage != stage or moment - told_at >= _TELL_EVERY_S:
                stage, told_at = step.stage, moment
                lock.tell(step)
            progress(step)

        return tell

    def _elsewhere(self, on: str, should_stop: Callable[[], bool]) -> Elsewhere:
        """Who encodes on a cluster.

        Raises:
            ClusterFailed: the library was opened with an encoder that has no name to be loaded by.
        """
        from zsindex.distributed.syncing import RaySync

        session = self._session
        if not session.model.has_name:
            raise ClusterFailed("actors load the model by its name, and this library was opened with an encoder object")
        return RaySync(
            on,
            session.storage,
            device=session.model.device,
            batch_size=session.model.batch_size,
            cores=session.workers,
            settings=session.settings,
            should_stop=should_stop,
        )

    def _synced(self, report: SyncReport) -> SyncReport:
        self._session.usage.count(images_encoded=report.encoded, images_reused=report.reused)
        self._session.storage.photos.seal_folders()
        if report.encoded + report.sidecars + report.facts_read >= _FACTS_DUE:
            self._session.facts.table()
        if self._session.model.known is not None and not self._session.index.on_server:
            self._session.index.open()  # writes the snapshot if one is due
        return report

    def _making_room(self) -> Callable[[], dict[str, int]]:
        """What makes room after a sync; settings that cannot be read are told before it.

        Raises:
            ZsindexError
        """
        return partial(
            self._session.storage.photos.make_room,
            prompt_days=config.PROMPTS_DAYS.value,
            upload_bytes=config.UPLOADS_MB.bytes,
        )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._session.storage.sync_lock.hold("sync", shared=True), self._session.index.while_storing():
            self._session.model.notice_pruned()  # from here on no other process prunes
            yield


def _with_what_went(report: SyncReport, make_room: Callable[[], dict[str, int]]) -> SyncReport:
    """Make room, and say in a report what went."""
    try:
        gone = make_room()
    except (StorageFull, StorageFailed, LibraryBusy):
        return report  # what was synced is stored; the next sync makes room
    return replace(report, forgotten_prompts=gone["prompts"], forgotten_images=gone["images"])

"""Brings a library up to date with folders: what is new, moved, changed or gone, and what must be encoded.

Two passes. The scan compares every folder with what is known about it, one folder at a time, and spools the files that
must be read to a temporary file, so that memory stays flat and the second pass knows how much there is to do. The work
pass reads and encodes. A sync that is stopped or killed loses at most the batch in flight; the next one continues from
there.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from zsindex.arguments.paths import is_under
from zsindex.errors import ImageError, LibraryBusy, PathNotFound
from zsindex.ingest.encoding import store_files
from zsindex.ingest.spool import Spool
from zsindex.models.encoder import Encoder
from zsindex.photos import decode, headers, packets, scan, sidecars
from zsindex.photos.formats import PHOTO_EXTENSIONS, extension, is_encodable, printable
from zsindex.photos.sandbox import Here, Sandbox, decoder_for
from zsindex.photos.together import NOTHING
from zsindex.records import (
    Candidate,
    Facts,
    FolderListing,
    Progress,
    Settings,
    SkippedEntry,
    SkippedFile,
    SkipReason,
    SyncReport,
)
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import FileDetails, FileOutcome, KnownFile, ModelRow, Receipt, listing_text, now

# The cause lies, or may lie, outside the file, so that its size and time stamp would not change once it is resolved.
# Memory may have been short because of other programs; a file that needs too much for this machine is tried, and
# skipped, each time.
ALWAYS_RETRIED = frozenset(
    {
        SkipReason.PERMISSION,
        SkipReason.IO_ERROR,
        SkipReason.VANISHED,
        SkipReason.CHANGED,
        SkipReason.MISSING_DECODER,
        SkipReason.OUT_OF_MEMORY,
    }
)
# Of a file whose facts are to be read: it is not there any more, is another one, or memory was short.
_FOR_ANOTHER_TIME = frozenset({SkipReason.VANISHED, SkipReason.CHANGED, SkipReason.OUT_OF_MEMORY})
REPORT_EVERY = 500
# Sidecars, and photos that were stored without their facts, whose facts are stored at a time.
SIDECARS_AT_A_TIME = 512
FACTS_AT_A_TIME = 512
# Number of files compared at a time: one database query for this many, in few or many folders.
COMPARE_EVERY = 5000


# Who reads, encodes and stores files elsewhere: given the model's row, the files, how many these are and when the sync
# began, it yields receipts of what is stored. Closed when the sync is to stop.
Elsewhere: TypeAlias = Callable[[ModelRow, Iterator[Candidate], int, str], Generator[Receipt, None, None]]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `Library.sync`, except paths."""

    exclude: Sequence[str] = ()
    include_hidden: bool = False
    retry_skipped: bool = False
    dry_run: bool = False


@dataclass
class _Scope:
    """What the requested paths turned out to be."""

    present: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    vanished_roots: list[str] = field(default_factory=list)
    vanished_files: list[str] = field(default_factory=list)


@dataclass
class _Findings:
    counts: Counter[str] = field(default_factory=Counter)
    skips: list[SkippedFile] = field(default_factory=list)
    unlisted: dict[str, str] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)
    interrupted: bool = False
    facts_elsewhere: bool = False


class Sync:
    """One sync. Create it, and call `run` once."""

    def __init__(
        self,
        storage: Storage,
        *,
        options: Options,
        settings: Settings,
        model: Callable[[], ModelRow],
        known_model: ModelRow | None,
        encoder: Callable[[], Encoder],
        progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        turn: Callable[[], AbstractContextManager[None]] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Args:
        turn: entered once there is something to store, and not at all if there is nothing. None: this sync already has
            it.
        model: the model's row, recorded (and loaded for that) if necessary; called once there is a file to read.
        known_model: the same, if it is known without loading anything.
        elsewhere: reads and encodes instead of this process.
        """
        self._photos = storage.photos
        self._facts_lock = storage.facts_lock
        self._library_folder = str(storage.folder)
        self._options = options
        self._settings = settings
        self._model = model
        self._known_model = known_model
        self._encoder = encoder
        self._progress = progress
        self._should_stop = should_stop
        self._turn = turn
        self._elsewhere = elsewhere
        # Changes found by the scan that are to be stored later.
        self._put_off: list[Callable[[], object]] = []
        self._found = _Findings()

    def run(self, paths: Sequence[str]) -> SyncReport:
        """Sync absolute paths.

        Raises:
            PathNotFound: a path exists neither on disk nor in the library; nothing was done.
        """
        started = time.perf_counter()
        self._started_at = now()
        scope = self._resolve(paths)
        found = self._found
        with Spool() as spool, Spool() as beside:
            to_read = self._scan(scope, spool, beside)
            is_new = to_read or found.counts["sidecars found"] or self._put_off
            if not self._options.dry_run and not found.interrupted and (not self._turn or is_new):
                with nullcontext() if self._turn is None else self._turn():
                    for change in self._put_off:
                        change()
                    self._photos.add_roots(scope.folders)
                    self._read_sidecars(beside, found.counts["sidecars found"])
                    self._read_and_encode(spool, to_read)
                    if self._turn is None:  # asked for: no question waits for it
                        self._fill_up_facts()
            elif self._options.dry_run:
                found.counts["facts read"] = self._photos.count_without_facts(again=self._options.retry_skipped)
        counts = found.counts
        return SyncReport(
            scanned=counts["scanned"],
            added=counts["added"],
            encoded=counts["encoded"],
            reused=counts["reused"],
            unchanged=counts["unchanged"],
            changed=counts["changed"],
            moved=counts["moved"],
            skipped=counts["skipped"],
            missing=counts["missing"] - counts["refound"],
            to_read=to_read,
            sidecars=found.counts["sidecars found" if self._options.dry_run else "sidecars"],
            facts_read=found.counts["facts read"],
            facts_elsewhere=found.facts_elsewhere,
            seconds=time.perf_counter() - started,
            dry_run=self._options.dry_run,
            left=0 if self._options.dry_run else to_read - counts["read"],
            interrupted=found.interrupted,
            skips=tuple(found.skips),
            vanished_roots=tuple(scope.vanished_roots),
            unlisted=found.unlisted,
        )

    # --- scan ---------------------------------------------------------------------------------------------------------

    def _resolve(self, paths: Sequence[str]) -> _Scope:
        scope = _Scope()
        unknown: list[str] = []
        for path in dict.fromkeys(paths):
            if not is_encodable(path):
                # The scan says what is wrong with it; the library cannot hold such a name.
                (scope.present if os.path.lexists(path) else unknown).append(path)
            elif os.path.isdir(path):
                if _is_empty(path) and self._photos.folders_under(path):
                    # An unmounted disk usually leaves its empty mount point behind.
                    scope.vanished_roots.append(path)
                else:
                    scope.present.append(path)
                    scope.folders.append(path)
            elif os.path.lexists(path):
                scope.present.append(path)
            elif self._photos.folders_under(path) or path in self._photos.roots():
                scope.vanished_roots.append(path)
            elif os.path.basename(path) in self._photos.known_files(os.path.dirname(path), None):
                # A folder that is gone, empty or unreadable says nothing about its files: unmounted disks look like
                # that.
                (scope.vanished_files if _is_empty(os.path.dirname(path)) is False else scope.vanished_roots).append(
                    path
                )
            else:
                unknown.append(path)
        if unknown:
            raise PathNotFound([printable(path) for path in unknown])
        return scope

    def _scan(self, scope: _Scope, spool: Spool, beside: Spool) -> int:
        """Compare the disk with what is known; spool what must be read, photos and sidecars. Returns the number of
        photos spooled.
        """
        found, options = self._found, self._options
        to_read = reported = 0
        listings = scan.scan(
            scope.present,
            exclude=options.exclude,
            include_hidden=options.include_hidden,
            skip_folders=(self._library_folder,),
        )
        model_id = self._known_model_id
        all_have_vectors = model_id is not None and self._photos.every_image_has_vector(model_id)
        has_sidecars = self._photos.has_sidecars()
        for batch in self._together(listings):
            last_seen = self._photos.last_seen(
                [listing.folder for listing in batch], model_id, all_have_vectors=all_have_vectors
            )
            last_sidecars = self._photos.last_sidecars([listing.folder for listing in batch]) if has_sidecars else {}
            for listing in batch:
                found.visited.add(listing.folder)
                if listing.sidecars or listing.folder in last_sidecars:
                    self._compare_sidecars(listing, last_sidecars.get(listing.folder, ""), beside)
                is_as_before = last_seen.get(listing.folder, "") == listing_text(listing.candidates)
                if listing.complete and not listing.skipped and is_as_before:
                    found.counts["unchanged"] += len(listing.candidates)
                elif todo := self._compare(listing):
                    spool.add(todo)
                    to_read += len(todo)
                found.counts["scanned"] += len(listing.candidates) + len(listing.skipped)
                if found.counts["scanned"] >= reported + REPORT_EVERY:
                    reported = found.counts["scanned"]
                    self._progress(Progress("scan", reported))
        if found.interrupted:
            return to_read
        self._progress(Progress("scan", found.counts["scanned"], found.counts["scanned"]))
        self._find_missing(scope)
        return to_read

    def _together(self, listings: Iterator[FolderListing]) -> Iterator[list[FolderListing]]:
        """Listings with a few thousand files at a time, without failed ones; ends early if it should stop."""
        batch: list[FolderListing] = []
        size = 0
        for listing in listings:
            if self._should_stop():
                self._found.interrupted = True
                return
            if listing.error is not None:
                self._found.unlisted[listing.folder] = listing.error
                continue
            batch.append(listing)
            size += 1 + len(listing.candidates) + len(listing.skipped)
            if size >= COMPARE_EVERY:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    @property
    def _known_model_id(self) -> int | None:
        return None if self._known_model is None else self._known_model.id

    def _compare(self, listing: FolderListing) -> list[Candidate]:
        """Decide about each file of a folder from its stat; returns those that must be read."""
        found = self._found
        known = self._photos.known_files(listing.folder, self._known_model_id)
        todo = []
        for file in listing.candidates:
            before = known.pop(file.name, None)
            if before is None or (before.size, before.mtime_ns) != (file.size, file.mtime_ns) or before.missing:
                todo.append(file)
                if self._options.dry_run:
                    found.counts["added" if before is None or before.missing else "changed"] += 1
            elif before.skip_reason is not None:
                retried = self._options.retry_skipped or before.skip_reason in ALWAYS_RETRIED
                if retried:
                    todo.append(file)
                if not retried or self._options.dry_run:
                    self._skip(SkippedFile(file.path, SkipReason(before.skip_reason), before.skip_detail or ""))
            elif not before.has_vector:
                todo.append(file)
                if self._options.dry_run:
                    found.counts["unchanged"] += 1
            else:
                found.counts["unchanged"] += 1
        self._note_skipped_entries(listing.skipped, known)
        if listing.complete:
            gone = [
                name
                for name, before in known.items()
                if before.can_vanish and not _was_named(os.path.join(listing.folder, name))
            ]
            if gone:
                found.counts["missing"] += len(gone)
                if not self._options.dry_run:
                    self._change(partial(self._photos.mark_missing, listing.folder, gone))
        return todo

    def _compare_sidecars(self, listing: FolderListing, before: str, beside: Spool) -> None:
        """Spool the sidecars of a folder that are not as they were; those that are gone say nothing any more."""
        if listing.complete and listing_text(listing.sidecars) == before:
            return
        parts = iter(before.split("/") if before else ())
        known = {name: (size, mtime_ns) for name, size, mtime_ns in zip(parts, parts, parts, strict=True)}
        todo = [file for file in listing.sidecars if known.pop(file.name, None) != (str(file.size), str(file.mtime_ns))]
        if not listing.complete:
            named = sidecars.keys_of_all(file.name for file in listing.candidates)
            known = {name: state for name, state in known.items() if sidecars.key_of(name) in named}
        if todo:
            beside.add(todo)
        self._found.counts["sidecars found"] += len(todo) + len(known)
        if known and not self._options.dry_run:
            gone = [(Candidate(listing.folder, name, 0, 0), None) for name in known]
            self._change(partial(self._photos.save_sidecar_facts, gone))
            self._found.counts["sidecars"] += len(gone)

    def _note_skipped_entries(self, entries: Sequence[SkippedEntry], known: dict[str, KnownFile]) -> None:
        new = []
        for entry in entries:
            before = known.pop(entry.name, None)
            self._skip(SkippedFile(entry.path, entry.reason, entry.detail))
            if before is None or before.missing or before.skip_reason != entry.reason:
                file = Candidate(entry.folder, entry.name, entry.size, entry.mtime_ns)
                new.append(FileOutcome(file, skip_reason=entry.reason, skip_detail=entry.detail))
        if new and not self._options.dry_run:
            self._change(partial(self._photos.save, new, None))

    def _find_missing(self, scope: _Scope) -> None:
        """Known folders that were not visited have vanished, unless they could not be listed."""
        found = self._found
        for root in scope.folders:
            for folder in self._photos.folders_under(root):
                if folder in found.visited or any(is_under(folder, closed) for closed in found.unlisted):
                    continue
                found.visited.add(folder)
                names = [n for n, f in self._photos.known_files(folder, None).items() if f.can_vanish]
                found.counts["missing"] += len(names)
                if not self._options.dry_run:
                    self._change(partial(self._photos.mark_missing, folder))
        for path in scope.vanished_files:
            folder, name = os.path.split(path)
            if any(is_under(folder, root) for root in scope.folders):
                continue  # found above
            if self._photos.known_files(folder, None)[name].can_vanish:
                found.counts["missing"] += 1
                if not self._options.dry_run:
                    self._change(partial(self._photos.mark_missing, folder, [name]))

    def _change(self, change: Callable[[], object]) -> None:
        """Store a change found by the scan, now or later."""
        if self._turn is None:
            change()
        else:
            self._put_off.append(change)

    def _skip(self, skipped: SkippedFile) -> None:
        self._found.skips.append(skipped)
        self._found.counts["skipped"] += 1

    # --- work ---------------------------------------------------------------------------------------------------------

    def _read_sidecars(self, spool: Spool, total: int) -> None:
        """Store what sidecars say. What is not read this time is found changed by the next sync."""
        found = self._found
        told: list[tuple[Candidate, Facts | None]] = []
        done = found.counts["sidecars"]
        for file in spool:
            if self._should_stop():
                found.interrupted = True
                break
            done += 1
            if (said := _said_by(file)) is not None:
                told.append(said)
            if len(told) >= SIDECARS_AT_A_TIME:
                self._photos.save_sidecar_facts(told)
                found.counts["sidecars"] += len(told)
                told = []
            if done % SIDECARS_AT_A_TIME == 0:
                self._progress(Progress("sidecars", done, total))
        if told:
            self._photos.save_sidecar_facts(told)
            found.counts["sidecars"] += len(told)
        if done:
            self._progress(Progress("sidecars", done, total))

    def _fill_up_facts(self) -> None:
        """Read the facts of photos that were stored without them, from their headers; as far as this sync has seen
        their folders.
        """
        again = self._options.retry_skipped
        if self._found.interrupted or not (total := self._photos.count_without_facts(again=again)):
            return
        try:
            with self._facts_lock.hold("read the facts of photos", wait=False), decoder_for(self._settings) as decoder:
                self._read_facts(decoder, total, again)
        except LibraryBusy:  # another sync is at it
            self._found.facts_elsewhere = True

    def _read_facts(self, decoder: Sandbox | Here, total: int, again: bool) -> None:
        found, last, done = self._found, 0, 0
        self._progress(Progress("facts", 0, total))
        with ThreadPoolExecutor(self._settings.workers, thread_name_prefix="zsindex-facts") as pool:
            while files := self._photos.without_facts(after=last, limit=FACTS_AT_A_TIME, again=again):
                last = files[-1].image_id
                by_image: dict[int, list[FileDetails]] = {}
                for file in files:
                    of_image = by_image.setdefault(file.image_id, [])
                    if os.path.dirname(file.path) in found.visited:
                        of_image.append(file)
                told = pool.map(partial(_facts_of, decoder, self._should_stop), by_image.values())
                read = {ident: facts for ident, facts in zip(by_image, told, strict=True) if facts is not None}
                if read:
                    self._photos.save_facts(read)
                found.counts["facts read"] += len(read)
                done += len(by_image)
                self._progress(Progress("facts", min(done, total), total))
                if self._should_stop():
                    found.interrupted = done < total
                    return
        self._progress(Progress("facts", total, total))

    def _read_and_encode(self, spool: Spool, total: int) -> None:
        if not total or self._found.interrupted:
            return
        found = self._found
        if self._elsewhere is None:
            stored = self._here(spool, total)
        else:
            stored = self._elsewhere(self._model(), iter(spool), total, self._started_at)
            self._progress(Progress("encode", 0, total))
        with closing(stored):
            for receipt in stored:
                found.counts.update(receipt.counts)
                found.skips.extend(receipt.skips)
                self._progress(Progress("encode", found.counts["read"], total))
        found.interrupted = found.counts["read"] < total

    def _here(self, spool: Spool, total: int) -> Generator[Receipt, None, None]:
        with decoder_for(self._settings) as decoder:
            decoder.start()  # while the model is loaded
            model = self._model()
            self._progress(Progress("encode", 0, total))
            yield from store_files(
                self._photos,
                iter(spool),
                model.id,
                encoder=self._encoder,
                settings=self._settings,
                decoder=decoder,
                since=self._started_at,
                should_stop=self._should_stop,
            )


def _said_by(file: Candidate) -> tuple[Candidate, Facts] | None:
    """What a sidecar says, and the stat that it was read under; None where it could not be read this time."""
    try:
        content = decode.read_file(file.path, max_bytes=packets.MAX_BYTES)
    except ImageError as error:
        return None if error.reason in ALWAYS_RETRIED else (file, NOTHING)
    return file._replace(size=content.size, mtime_ns=content.mtime_ns), sidecars.said_by(content.data)


def _facts_of(decoder: Sandbox | Here, should_stop: Callable[[], bool], files: Sequence[FileDetails]) -> Facts | None:
    """What the metadata of an image says, by one of its files: nothing where none can be read, nor will be; None where
    it is to be tried another time.
    """
    facts = None
    for file in files:
        if should_stop():
            return None
        try:
            data = headers.read(file.path, size=file.size, mtime_ns=file.mtime_ns)
            return decoder.read_facts(data, os.path.basename(file.path))
        except ImageError as error:
            if error.reason not in _FOR_ANOTHER_TIME:
                facts = NOTHING
    return facts


def _is_empty(folder: str) -> bool | None:
    """Whether a folder is empty; None if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return None


def _was_named(path: str) -> bool:
    """Whether a known file that a listing lacks exists after all: listings hold only what looks like a photo, but a
    file named explicitly counts whatever its extension.
    """
    return extension(path) not in PHOTO_EXTENSIONS and os.path.exists(path)

"""Takes vectors out of a library, and vectors that were computed elsewhere in, without a model or a photo.

The files are those of clip-retrieval (`zsindex.exchange.parts`), the rows those of
`zsindex.storage.protocol.BulkStorage`. An import reads everything twice: whatever is wrong with the files is found
before the first row is stored. Its memory grows by 16 bytes per row, which is what it takes to notice a path that
stands there twice.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from zsindex import atomic
from zsindex._version import __version__
from zsindex.classification import parquet
from zsindex.errors import ExportRefused, ImageError, ImportRefused
from zsindex.exchange import parts
from zsindex.exchange.parts import ExportManifest, Part, PartWriter, Rows
from zsindex.photos import decode
from zsindex.photos.formats import is_encodable, printable, storable
from zsindex.photos.scan import is_folder
from zsindex.records import ModelInfo, Progress
from zsindex.storage.protocol import BulkStorage, ExportView, Storage
from zsindex.storage.rows import ExportedPhotos, ImportedPhoto, ModelRow, SeenFile, now

# Rows in memory at a time, and in one transaction. Digests are scattered over their index, so that each transaction
# rewrites much of it: the larger it is the less is written.
BATCH_ROWS = 16_384
# Fewer where photos must be read to learn their content: a stop waits for a batch.
BATCH_FILES = 256

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported.

    Attributes:
        folder: where to; it is there only if the export was not interrupted.
        rows: photos, each with its vector.
        without: photos that have no vector under the model and are left out.
        bytes: of all files.
    """

    folder: str
    rows: int
    without: int
    parts: int
    dtype: str
    bytes: int
    seconds: float
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was imported: ``rows = stored + kept + changed`` by their vectors, ``= found + unread + changed`` by their
    files.

    Attributes:
        rows: that were worked on; `left` are those that an interrupted import did not come to.
        stored: vectors that are new to the library.
        kept: rows whose image had a vector under the model already; that one stays.
        added: paths that are new to the library.
        found: photos that are on this disk, so that a sync recognises them.
        unread: photos that are not on this disk, or were not to be read: known by their path.
        changed: photos that have other content here than where they were exported. Their vectors are left out; a sync
            encodes what is here.
    """

    rows: int
    stored: int
    kept: int
    added: int
    found: int
    unread: int
    changed: int
    parts: int
    left: int
    seconds: float
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


@dataclass(frozen=True, slots=True)
class Layout:
    """Which parts an export has.

    Attributes:
        folder: that they are written to.
        n_photos: rows of all parts.
        facts: columns of some photos, by their paths; None for none.
    """

    folder: Path
    dim: int
    dtype: str
    part_size: int
    n_photos: int
    facts: Callable[[Sequence[str]], dict[str, list[Any]]] | None = None

    @property
    def n_parts(self) -> int:
        """How many there are."""
        return -(-self.n_photos // self.part_size)

    def rows(self, number: int) -> range:
        """The rows of a part."""
        return range(number * self.part_size, min((number + 1) * self.part_size, self.n_photos))

    def sizes(self, number: int) -> Iterator[int]:
        """How many rows of a part are written at a time: groups of rows in its table."""
        return (min(BATCH_ROWS, rest) for rest in range(len(self.rows(number)), 0, -BATCH_ROWS))


# Who writes parts elsewhere: given what to write, and a dictionary for the digests of files, it yields numbers of rows
# that are written. Closed when the export is to stop.
Elsewhere: TypeAlias = Callable[[Layout, dict[str, str]], Generator[int, None, None]]


# --- export -----------------------------------------------------------------------------------------------------------


def export_vectors(
    storage: Storage,
    model: ModelRow,
    folder: Path,
    *,
    dtype: str,
    part_size: int,
    paths: Sequence[str] | None,
    overwrite: bool,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    elsewhere: Elsewhere | None = None,
    facts: Callable[[Sequence[str]], dict[str, list[Any]]] | None = None,
) -> ExportReport:
    """Write the vectors of one model; see `Library.vectors.export_to`.

    Args:
        facts: further columns of some photos, by their paths.
        elsewhere: writes the parts instead of this process.

    Raises:
        ExportRefused, ExtraMissing, LibraryDamaged
    """
    started = time.perf_counter()
    _recover(folder, remove=True)
    _check_target(folder, overwrite=overwrite)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    with storage.bulk.exporting(model, paths) as export, ExitStack() as stack:
        if not export.n_photos:
            where = "among the requested photos" if paths is not None and export.n_without else "to export"
            raise ExportRefused(folder, f"there are no vectors of {model.info.spec} {where}; run zsindex sync first")
        layout = Layout(temporary, model.info.dim, dtype, part_size, export.n_photos, facts)
        try:
            temporary.mkdir(parents=True)
            stack.enter_context(atomic.held(temporary))
            done, digests = 0, dict[str, str]()
            writing = _write_parts(export, layout, digests) if elsewhere is None else elsewhere(layout, digests)
            with closing(writing):
                for written in writing:
                    done += written
                    progress(Progress("export", done, export.n_photos))
                    if should_stop():
                        break
            report = ExportReport(
                folder=str(folder),
                rows=done,
                without=export.n_without,
                parts=layout.n_parts,
                dtype=dtype,
                bytes=0,
                seconds=0,
            )
            if done < export.n_photos:
                report = replace(report, rows=0, parts=0, interrupted=True)
            else:
                _manifest(model.info, report, digests).write(temporary)
                report = replace(report, bytes=sum(f.stat().st_size for f in temporary.rglob("*") if f.is_file()))
                _put_in_place(temporary, folder, overwrite=overwrite)
        except OSError as error:
            # Arrow has no word for it but a sentence of its own.
            why = os.strerror(error.errno) if error.errno else str(error)
            what_to_do = "When the cause is gone, export again"
            raise ExportRefused(folder, f"{why}; nothing was written. {what_to_do}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return replace(report, seconds=time.perf_counter() - started)


def _check_target(folder: Path, *, overwrite: bool, name: Path | None = None) -> None:
    """Refuse what an export must not replace: all but nothing, an empty folder and, if allowed, another export.

    Args:
        name: what to call it in the error. Default: as it is called.
    """
    name = name or folder
    if not os.path.lexists(folder):
        return
    try:
        if os.path.islink(folder) or not is_folder(str(folder)):
            raise ExportRefused(name, "it is not a folder; name a new one")
        there = set(os.listdir(folder))
        strangers = _strangers(folder)
    except OSError as error:
        raise ExportRefused(name, f"it cannot be read ({error.strerror}); name a new folder") from error
    if strangers:
        raise ExportRefused(name, f"it holds other files ({', '.join(strangers[:3])}); name a new or empty folder")
    if there and parts.MANIFEST_FILE not in there:
        raise ExportRefused(name, "it holds vectors that zsindex did not write; name a new or empty folder")
    if there and not overwrite:
        raise ExportRefused(name, "it already holds vectors; name a new folder, or replace them with --overwrite")


def _write_parts(export: ExportView, layout: Layout, digests: dict[str, str]) -> Generator[int, None, None]:
    """Write all parts; yields the number of rows of each batch that was written, and collects the files' digests."""
    numbers = range(layout.n_parts)
    batches = export.batches(size for number in numbers for size in layout.sizes(number))
    with closing(batches):
        for number in numbers:
            yield from write_part(batches, layout, number, digests)


def write_part(
    batches: Iterator[ExportedPhotos], layout: Layout, number: int, digests: dict[str, str]
) -> Iterator[int]:
    """Write one part, of as many batches as it has `sizes`; as `_write_parts`."""
    n_rows = len(layout.rows(number))
    name = parts.padded(number, layout.n_parts)
    more = [] if layout.facts is None else parquet.facts_fields(layout.facts([]))
    with PartWriter(layout.folder, name, n_rows=n_rows, dim=layout.dim, dtype=layout.dtype, more=more) as writer:
        written = 0
        while written < n_rows:
            batch = next(batches)
            columns: dict[str, Sequence[Any]] = {
                parts.PATH_COLUMN: batch.paths,
                "width": batch.widths,
                "height": batch.heights,
                "format": batch.formats,
                "sha256": [None if digest is None else digest.hex() for digest in batch.digests],
            }
            if layout.facts is not None:
                told = layout.facts(batch.paths)
                columns |= zip(told, parquet.facts_arrays(told, np.arange(len(batch.paths))), strict=True)
            writer.write(batch.vectors, columns)
            written += len(batch.paths)
            yield len(batch.paths)
    digests.update(writer.digests)


def _manifest(info: ModelInfo, report: ExportReport, digests: dict[str, str]) -> ExportManifest:
    return ExportManifest(
        model=str(info.spec),
        precision=info.spec.precision,
        decode=str(info.spec.decode),
        fingerprint=info.fingerprint,
        dim=info.dim,
        dtype=report.dtype,
        rows=report.rows,
        parts=report.parts,
        created_at=now(),
        zsindex=__version__,
        icc=str(info.spec.icc),
        transparency=str(info.spec.transparency),
        files=digests,
    )


def _put_in_place(temporary: Path, folder: Path, *, overwrite: bool) -> None:
    """Give the finished folder its name. What it replaces is removed afterwards, and stays if anything goes wrong.

    Raises:
        ExportRefused: something else has come into the folder since the export began.
    """
    if not folder.exists():
        temporary.rename(folder)
        atomic.sync_folder(folder.parent)
        return
    old = temporary.with_name(f"{temporary.name}.old")
    with atomic.held(folder):  # under any name; see `_recover`
        folder.rename(old)
        try:
            _check_target(old, overwrite=overwrite, name=folder)
            temporary.rename(folder)
        except (OSError, ExportRefused):
            old.rename(folder)
            raise
        atomic.sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)


def _recover(folder: Path, *, remove: bool) -> None:
    """Give an earlier export its name again that a killed one has taken from it.

    Both folders of an export that is going on are locked by it. Whatever else has such a name stays.

    Args:
        remove: also remove what killed exports to this folder have left.
    """
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}\.tmp(?P<old>\.old)?")
    try:
        matches = [match for name in sorted(os.listdir(folder.parent)) if (match := pattern.fullmatch(name))]
    except OSError:
        return  # whatever is wrong with it is said where it is needed
    for match in matches:
        place = folder.with_name(match[0])
        with suppress(OSError), atomic.held(place) as is_left:
            if not is_left or _strangers(place):
                continue
            if match["old"] and not os.path.lexists(folder):
                if (place / parts.MANIFEST_FILE).is_file():
                    place.rename(folder)
            elif remove:
                shutil.rmtree(place, ignore_errors=True)


def _strangers(folder: Path) -> list[str]:
    """What is in a folder and not of an export, up to the temporary file of a manifest.

    Raises:
        OSError
    """
    ours = {parts.VECTOR_FOLDER, parts.METADATA_FOLDER, parts.MANIFEST_FILE}
    return sorted(set(os.listdir(folder)) - ours) + parts.strangers(folder)


# --- import -----------------------------------------------------------------------------------------------------------


def import_vectors(
    storage: Storage,
    folder: Path,
    info: ModelInfo,
    *,
    model: Callable[[], ModelRow],
    root: str | None,
    path_column: str,
    workers: int,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> ImportReport:
    """Take in vectors; see `Library.vectors.import_from`.

    Args:
        info: the model that the vectors are said to be of.
        model: its row, recorded if need be; asked once there is something to store.
        root: absolute; what relative paths are relative to. None: they are refused.
        workers: threads that hash photos which are on this disk; 0 to look for none.

    Raises:
        ImportRefused, DimensionMismatch, ExtraMissing, LibraryBusy, StorageFull
    """
    started = time.perf_counter()
    work = _Import(folder, info, root=root, path_column=path_column, progress=progress, should_stop=should_stop)
    counts: Counter[str] = Counter()
    if work.check():
        with storage.sync_lock.hold("import vectors"):
            counts = work.store(storage.bulk, model(), workers=workers)
    done = counts["stored"] + counts["kept"] + counts["changed"]
    return ImportReport(
        rows=done,
        stored=counts["stored"],
        kept=counts["kept"],
        added=counts["added"],
        found=counts["found"],
        unread=counts["unread"],
        changed=counts["changed"],
        parts=work.n_parts,
        left=work.n_rows - done,
        seconds=time.perf_counter() - started,
        interrupted=done < work.n_rows,
    )


class _Import:
    """One import. Make it, which looks at the headers of all parts; call `check`, then `store`.

    Attributes:
        n_parts, n_rows: what there is.
    """

    def __init__(
        self,
        folder: Path,
        info: ModelInfo,
        *,
        root: str | None,
        path_column: str,
        progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._root = root
        self._path_column = path_column
        self._progress = progress
        self._should_stop = should_stop
        _recover(folder, remove=False)
        try:
            is_there = is_folder(str(folder))
        except OSError as error:
            raise ImportRefused(folder, f"it cannot be read ({error.strerror})") from error
        if not is_there:
            raise ImportRefused(folder, "no such folder")
        if root is not None and not is_encodable(root):
            raise ImportRefused(folder, f"the root {printable(root)} is not valid UTF-8; rename that folder")
        manifest = self._manifest = ExportManifest.read(folder)
        if manifest is not None and manifest.fingerprint != info.fingerprint:
            raise ImportRefused(folder, _other_model(manifest, info))
        # What zsindex says of the content of its photos can be relied on. Others' tables have columns of the same names
        # with other meanings: img2dataset's "sha256" is that of a download before it was made smaller.
        self._extra = () if manifest is None else parts.EXTRA_COLUMNS
        self._parts = parts.open_parts(folder, dim=info.dim, path_column=path_column)
        self.n_parts, self.n_rows = len(self._parts), sum(part.n_rows for part in self._parts)
        if manifest is not None and (manifest.parts, manifest.rows) != (self.n_parts, self.n_rows):
            expected, got = f"{manifest.rows:,} rows in {manifest.parts} parts", f"{self.n_rows:,} in {self.n_parts}"
            raise ImportRefused(
                folder, f"{parts.MANIFEST_FILE} lists {expected}, but there are {got}; copy the whole folder"
            )

    def check(self) -> bool:
        """Read everything once, without storing anything. False if it was stopped.

        Raises:
            ImportRefused: something is wrong with a row, which is named.
        """
        keys: list[bytes] = []
        done = 0
        with ThreadPoolExecutor(1, thread_name_prefix="zsindex-verify") as pool:
            for part in self._parts:
                # At the same time as the rows are read: hashing needs another core, not this thread.
                verified = None if self._manifest is None else pool.submit(self._manifest.verify, part)
                for rows in self._rows(part):
                    paths = self._resolved(rows, part)
                    self._digests(rows, part)
                    keys.append(b"".join(hashlib.blake2b(p.encode(), digest_size=16).digest() for p in paths))
                    done += len(rows)
                    self._progress(Progress("check", done, self.n_rows))
                    if self._should_stop():
                        return False
                if verified is not None:
                    verified.result()
        self._compare_repeated(np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2))
        return True

    def store(self, bulk: BulkStorage, model: ModelRow, *, workers: int) -> Counter[str]:
        """Store everything that is not there yet, a batch in one transaction each.

        Args:
            workers: threads that hash photos which are on this disk; 0 to look for none.

        Returns:
            ``stored``, ``kept``, ``added``, ``found``, ``unread`` and ``changed`` as in `ImportReport`.
        """
        counts: Counter[str] = Counter()
        done = 0
        with ThreadPoolExecutor(workers or 1, thread_name_prefix="zsindex-hash") as pool:
            for part in self._parts:
                for rows in self._rows(part):
                    paths = self._resolved(rows, part)
                    columns = (*_split(paths), self._digests(rows, part), *_details(rows))
                    photos = [ImportedPhoto(*values) for values in zip(paths, *columns, strict=True)]
                    on_disk = _OnDisk(bulk, photos, pool) if workers else None
                    step = BATCH_FILES if on_disk is not None and on_disk.n_to_read else max(1, len(photos))
                    for start in range(0, len(photos), step):
                        batch = photos[start : start + step]
                        vectors = rows.vectors[start : start + step]
                        counts.update(bulk.save(batch if on_disk is None else on_disk.at(batch), vectors, model.id))
                        done += len(batch)
                        self._progress(Progress("import", done, self.n_rows))
                        if self._should_stop():
                            return counts
        return counts

    def _rows(self, part: Part) -> Iterator[Rows]:
        return parts.read_rows(part, batch_rows=BATCH_ROWS, path_column=self._path_column, extra=self._extra)

    def _resolved(self, rows: Rows, part: Part) -> list[str]:
        """Absolute paths of all rows.

        Raises:
            ImportRefused: one cannot be made of what stands there.
        """
        root, resolved = self._root, []
        for i, path in enumerate(rows.paths):
            if not path.startswith("/") and _URL.match(path):
                raise self._bad_path(part, rows, i, "is a URL; choose a column with file names: --path-column")
            if not os.path.isabs(path):
                if root is None:
                    raise self._bad_path(part, rows, i, "is relative; give its base folder: --root")
                path = os.path.join(root, path)
            if "\0" in path or (path := os.path.normpath(path)).endswith(os.sep):  # only a root does
                raise self._bad_path(part, rows, i, "cannot be the name of a file; remove the row")
            resolved.append(path)
        return resolved

    def _bad_path(self, part: Part, rows: Rows, i: int, why: str) -> ImportRefused:
        return ImportRefused(
            part.metadata, f"the {self._path_column} of row {rows.start + i}, {rows.paths[i]!r}, {why}"
        )

    def _digests(self, rows: Rows, part: Part) -> list[bytes | None]:
        """What the rows say of the photos' content; None where they say nothing."""
        digests: list[bytes | None] = []
        for i, text in enumerate(rows.extra.get("sha256") or [None] * len(rows)):
            try:
                digest = None if text is None else bytes.fromhex(text)
            except (TypeError, ValueError):
                digest = b""
            if digest is not None and len(digest) != hashlib.sha256().digest_size:
                why = f"the sha256 of row {rows.start + i}, {text!r}, is not a SHA-256; export the vectors again"
                raise ImportRefused(part.metadata, why)
            digests.append(digest)
        return digests

    def _compare_repeated(self, keys: Any) -> None:
        """Refuse a path that stands there with two vectors.

        Args:
            keys: uint64, (n_rows, 2): what stands for the path of each row.
        """
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        keys = keys[order]
        repeated = np.flatnonzero((keys[1:] == keys[:-1]).all(axis=1))
        ends = np.cumsum([part.n_rows for part in self._parts])
        for start in range(0, len(repeated), BATCH_ROWS):
            chosen = repeated[start : start + BATCH_ROWS]
            first, second = order[chosen], order[chosen + 1]
            differing = np.flatnonzero((self._stored(first, ends) != self._stored(second, ends)).any(axis=1))
            if len(differing):
                (one, in_one), (two, in_two) = (self._place(int(rows[differing[0]]), ends) for rows in (first, second))
                raise ImportRefused(
                    two.metadata,
                    f"row {in_two} has the path of row {in_one} of {one.metadata.name}, but a different vector",
                )

    def _place(self, row: int, ends: Any) -> tuple[Part, int]:
        number = int(np.searchsorted(ends, row, side="right"))
        return self._parts[number], row - int(ends[number]) + self._parts[number].n_rows

    def _stored(self, rows: Any, ends: Any) -> Any:
        """The vectors of rows that are counted over all parts."""
        numbers = np.searchsorted(ends, rows, side="right")
        vectors = np.empty((len(rows), self._parts[0].dim), dtype=np.float32)
        for number in np.unique(numbers):
            here = numbers == number
            part = self._parts[number]
            vectors[here] = parts.read_vectors(part, rows[here] - (ends[number] - part.n_rows))
        return vectors


def _other_model(manifest: ExportManifest, info: ModelInfo) -> str:
    spec = info.spec
    return (
        f"its vectors are from {manifest.model} (--precision {manifest.precision} --decode {manifest.decode} --icc "
        f"{manifest.icc} --transparency {manifest.transparency}, fingerprint {manifest.fingerprint[:12]}), not from "
        f"{spec} (--precision {spec.precision} {spec.seen_as}, fingerprint {info.fingerprint[:12]}). Name that model, "
        "with the options that differ"
    )


def _split(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Folders and names of absolute paths."""
    folders: dict[str, str] = {}  # os.path.split of each path would take as long as storing it
    heads = [path[: path.rindex(os.sep) + 1] for path in paths]
    for path, head in zip(paths, heads, strict=True):
        if head not in folders:
            folders[head] = os.path.dirname(path)
    return [folders[head] for head in heads], [path[len(head) :] for path, head in zip(paths, heads, strict=True)]


def _details(rows: Rows) -> tuple[list[int], list[int], list[str]]:
    """Widths, heights and formats; 0 and empty where nothing is said of them."""
    nothing = [None] * len(rows)
    widths, heights, formats = (rows.extra.get(name) or nothing for name in ("width", "height", "format"))
    return [w or 0 for w in widths], [h or 0 for h in heights], [f or "" for f in formats]


class _OnDisk:
    """Which photos of a batch are on this disk, and with which content. Only what has changed since it was stored is
    read.

    Attributes:
        n_to_read: files that must be hashed.
    """

    def __init__(self, bulk: BulkStorage, photos: Sequence[ImportedPhoto], pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        there = {}
        is_here: dict[str, bool] = {}
        for photo in photos:
            if photo.folder not in is_here:
                is_here[photo.folder] = os.path.isdir(photo.folder)
            if is_here[photo.folder]:
                with suppress(OSError):
                    status = os.stat(photo.path)
                    if stat.S_ISREG(status.st_mode):
                        there[photo.path] = photo, status
        known = bulk.known_photos((photo for photo, _ in there.values())) if there else {}
        self._to_read: set[str] = set()
        self._seen: dict[str, SeenFile] = {}
        for path, (_, status) in there.items():
            before, stamp = known.get(path), (status.st_size, storable(status.st_mtime_ns))
            if before is not None and before.digest is not None and (before.size, before.mtime_ns) == stamp:
                self._seen[path] = SeenFile(before.digest, *stamp)
            else:
                self._to_read.add(path)
        self.n_to_read = len(self._to_read)

    def at(self, photos: Sequence[ImportedPhoto]) -> list[ImportedPhoto]:
        """The photos with what was learned of their files."""
        if not self._to_read and not self._seen:
            return list(photos)
        to_read = list(dict.fromkeys(photo.path for photo in photos if photo.path in self._to_read))
        for path, seen in zip(to_read, self._pool.map(_hash, to_read), strict=True):
            if seen is not None:
                self._seen[path] = seen
        return [photo._replace(seen=self._seen[photo.path]) if photo.path in self._seen else photo for photo in photos]


def _hash(path: str) -> SeenFile | None:
    """What a file is; None where it cannot be read."""
    try:
        content = decode.read_file(path)
    except ImageError:
        return None
    return SeenFile(content.digest, content.size, content.mtime_ns)

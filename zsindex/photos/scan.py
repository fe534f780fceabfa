"""From roots to listings: which files may be photos, as the file system sees them. No file is opened."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter

from zsindex.photos import sidecars
from zsindex.photos.formats import MOST_STORED, PHOTO_EXTENSIONS, is_encodable, printable, storable
from zsindex.records import Candidate, FolderListing, SkippedEntry, SkipReason

# Folders that hold no photos of the user's own: version control, packages, thumbnails and bins of NAS and desktop
# systems. Lower-case; names are compared without regard to case, because the file systems they come from do so too.
EXCLUDED_FOLDERS = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "__macosx",
        "lost+found",
        "node_modules",
        "recycler",
        "system volume information",
        ".documentrevisions-v100",
        ".fseventsd",
        ".git",
        ".hg",
        ".snapshot",
        ".snapshots",
        ".spotlight-v100",
        ".svn",
        ".temporaryitems",
        ".thumbnails",
        ".zfs",
    }
)
_TRASH_PREFIX = ".trash"  # .Trash, .Trashes, .Trash-1000

_SIDECARS = frozenset({"xmp", "XMP", "Xmp"})  # of a file system that minds

_Identity = tuple[int, int]

# What `Candidate(*values)` comes to, without its Python function in between: one is made per file on every scan.
_candidate: Callable[[tuple[str, str, int, int]], Candidate] = partial(tuple.__new__, Candidate)


def scan(
    paths: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    include_hidden: bool = False,
    skip_folders: Collection[str] = (),
) -> Iterator[FolderListing]:
    """Walk folders and files, and yield what may be a photo, one listing per folder.

    The order is the same every time: roots as given, each depth first and by name, then the folders that only symbolic
    links lead to, then the files that were named one by one. No folder is visited twice, however many roots and links
    lead to it; links come last so that a photo is known by its real path wherever it has one under the roots. What was
    named in `paths` is taken whatever it is called; names and patterns only decide about what is found below.

    File names stay exactly as the operating system gives them: a name in decomposed Unicode is not composed, because
    on Linux the two are different files.

    Args:
        paths: absolute paths of folders and files.
        exclude: shell patterns (``*``, ``?``, ``[...]``; case matters). A pattern without a slash is matched against
            the name of every file and folder. One with a slash is matched against the path relative to the root that
            was named, written with forward slashes; a leading slash does nothing else, so that ``/2019`` is the one at
            the top. ``*`` also crosses slashes: ``2019/*.tif`` reaches all depths below ``2019``. A trailing slash
            limits a pattern to folders. An excluded folder is not entered.
        include_hidden: also take files and enter folders whose name starts with a dot. `EXCLUDED_FOLDERS`, bins
            (``.Trash*``) and macOS's ``._*`` companions, which hold no picture, stay out.
        skip_folders: absolute paths of folders that are never entered, by whatever name one comes to them.

    Yields:
        Listings. One whose `error` is set stands for a folder, or a path of `paths`, that could not be read. Folders
        that were left out have no listing.
    """
    yield from _Scan(_Rules(exclude, include_hidden), skip_folders).run(paths)


class _Rules:
    """Which names are left out."""

    def __init__(self, exclude: Sequence[str], include_hidden: bool) -> None:
        self._include_hidden = include_hidden
        self.has_patterns = bool(exclude)
        # One regular expression per question, not one per pattern: this runs for every photo.
        any_entry = [p for p in exclude if not p.endswith("/")]
        self._file_names = _any_of(p for p in any_entry if "/" not in p)
        self._file_paths = _any_of(p.lstrip("/") for p in any_entry if "/" in p)
        folders = [p.removesuffix("/") for p in exclude]
        self._folder_names = _any_of(p for p in folders if "/" not in p)
        self._folder_paths = _any_of(p.lstrip("/") for p in folders if "/" in p)

    def leaves_out_file(self, name: str, parent: str) -> bool:
        if name[0] == "." and (not self._include_hidden or name.startswith("._")):
            return True
        return self.has_patterns and (_matches(self._file_names, name) or _matches(self._file_paths, parent + name))

    def leaves_out_folder(self, name: str, parent: str) -> bool:
        if name[0] == "." and not self._include_hidden:
            return True
        lower = name.lower()
        if lower in EXCLUDED_FOLDERS or lower.startswith(_TRASH_PREFIX):
            return True
        return _matches(self._folder_names, name) or _matches(self._folder_paths, parent + name)


def _any_of(patterns: Iterator[str]) -> re.Pattern[str] | None:
    expressions = [fnmatch.translate(pattern) for pattern in patterns]
    return re.compile("|".join(expressions)) if expressions else None


def _matches(pattern: re.Pattern[str] | None, text: str) -> bool:
    return pattern is not None and pattern.match(text) is not None


class _Scan:
    """One scan: what has been visited, and what is still to come."""

    def __init__(self, rules: _Rules, skip_folders: Collection[str]) -> None:
        self._rules = rules
        # A folder to skip is one that counts as visited: that holds through links and other spellings, too.
        self._visited = {identity for folder in skip_folders if (identity := _identity_or_none(folder)) is not None}
        self._linked: list[tuple[str, str]] = []
        self._named: dict[str, set[str]] = {}

    def run(self, paths: Sequence[str]) -> Iterator[FolderListing]:
        roots = []
        for path in paths:
            try:
                if is_folder(path):
                    roots.append(path)
                elif os.path.lexists(path):
                    folder, name = os.path.split(path)
                    self._named.setdefault(folder, set()).add(name)
                else:
                    yield FolderListing(printable(path), complete=False, error="it is not there, or not accessible")
            except OSError as error:
                yield FolderListing(printable(path), complete=False, error=_words(error))
        for root in roots:
            yield from self._walk(root, "")
        for folder, relative in self._linked:  # grows while it runs: a linked folder may hold further links
            yield from self._walk(folder, relative)
        for folder in sorted(self._named):
            yield self._list_named(folder)

    def _walk(self, folder: str, relative: str) -> Iterator[FolderListing]:
        """Visit a folder and what is below it; `relative` is its path below the root, empty or ending in a slash."""
        pending = [(folder, relative)]
        while pending:
            folder, relative = pending.pop()
            if not is_encodable(folder):
                # Only a root can come here; below it such folders are never entered.
                yield FolderListing(printable(folder), complete=False, error=_UNDECODABLE)
                continue
            try:
                identity = _identity(folder)
                if identity in self._visited:
                    continue
                with os.scandir(folder) as iterator:
                    entries = sorted(iterator, key=attrgetter("name"))
            except OSError as error:
                yield FolderListing(folder, complete=False, error=_words(error))
                continue
            self._visited.add(identity)
            listing, below = self._list(folder, relative, entries)
            yield listing
            pending.extend(reversed(below))

    def _list(
        self, folder: str, relative: str, entries: list[os.DirEntry[str]]
    ) -> tuple[FolderListing, list[tuple[str, str]]]:
        candidates: list[Candidate] = []
        skipped: list[SkippedEntry] = []
        below: list[tuple[str, str]] = []
        beside: list[os.DirEntry[str]] = []
        # Files named one by one join the listing of their folder where it is visited anyway; a second, partial listing
        # after this complete one would contradict it.
        named = self._named.pop(folder, ())
        has_patterns = self._rules.has_patterns
        for entry in entries:
            name = entry.name
            stem, _, extension = name.rpartition(".")
            is_photo = (stem != "" and extension.lower() in PHOTO_EXTENSIONS) or name in named
            try:
                is_folder = entry.is_dir()
            except OSError:  # a link whose target cannot be examined; stat says below what is wrong with it
                is_folder = not is_photo  # if that was a folder, nothing is known of the photos in it
            if is_folder:
                if self._rules.leaves_out_folder(name, relative):
                    continue
                if not is_encodable(name):
                    skipped.append(_undecodable(folder, name, "a folder that is not read: "))
                    continue
                (self._linked if entry.is_symlink() else below).append((entry.path, f"{relative}{name}/"))
                if is_photo:
                    skipped.append(SkippedEntry(folder, name, SkipReason.NOT_A_FILE, "a folder; its photos are read"))
            elif is_photo:
                # Asked only where the answer can be yes: this runs for every photo.
                if (
                    (has_patterns or name[0] == ".")
                    and name not in named
                    and self._rules.leaves_out_file(name, relative)
                ):
                    continue
                found = _examine(folder, name, entry.stat)
                if isinstance(found, Candidate):
                    candidates.append(found)
                elif found is not None:
                    skipped.append(found)
            elif extension in _SIDECARS:
                beside.append(entry)
        of_photos = tuple(self._sidecars(folder, relative, beside, candidates)) if beside else ()
        return FolderListing(folder, tuple(candidates), tuple(skipped), of_photos), below

    def _sidecars(
        self, folder: str, relative: str, entries: Iterable[os.DirEntry[str]], candidates: Iterable[Candidate]
    ) -> Iterator[Candidate]:
        """Those of the photos of a folder."""
        wanted = sidecars.keys_of_all(candidate.name for candidate in candidates)
        for entry in entries:
            if sidecars.key_of(entry.name) in wanted and not self._rules.leaves_out_file(entry.name, relative):
                found = _examine(folder, entry.name, entry.stat)
                if isinstance(found, Candidate):
                    yield found

    def _list_named(self, folder: str) -> FolderListing:
        if not is_encodable(folder):
            return FolderListing(printable(folder), complete=False, error=_UNDECODABLE)
        found = []
        for name in sorted(self._named[folder]):
            path = os.path.join(folder, name)
            found.append(_examine(folder, name, partial(os.stat, path)))
        candidates = tuple(f for f in found if isinstance(f, Candidate))
        beside = []
        for name in sorted({key + sidecars.EXTENSION for key in sidecars.keys_of_all(c.name for c in candidates)}):
            with suppress(OSError):
                if isinstance(
                    sidecar := _examine(folder, name, partial(os.stat, os.path.join(folder, name))), Candidate
                ):
                    beside.append(sidecar)
        return FolderListing(
            folder,
            candidates,
            tuple(f for f in found if isinstance(f, SkippedEntry)),
            tuple(beside),
            complete=False,
        )


def _examine(folder: str, name: str, read_stat: Callable[[], os.stat_result]) -> Candidate | SkippedEntry | None:
    """Say what a file is, links followed; None where it has vanished since it was listed."""
    if not (name.isascii() or is_encodable(name)):  # nearly every name is ASCII: spare those the call
        return _undecodable(folder, name)
    try:
        status = read_stat()
    except OSError as error:
        path = os.path.join(folder, name)
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            if os.path.islink(path):
                return SkippedEntry(folder, name, SkipReason.BROKEN_LINK, f"a link that leads nowhere: {_words(error)}")
            return None
        reason = SkipReason.PERMISSION if isinstance(error, PermissionError) else SkipReason.IO_ERROR
        return SkippedEntry(folder, name, reason, _words(error))
    if stat.S_ISREG(status.st_mode):
        mtime_ns = status.st_mtime_ns
        if not -MOST_STORED <= mtime_ns <= MOST_STORED:
            mtime_ns = storable(mtime_ns)
        return _candidate((folder, name, status.st_size, mtime_ns))
    return SkippedEntry(folder, name, SkipReason.NOT_A_FILE, "a pipe, socket or device")


def is_folder(path: str) -> bool:
    """Whether a path leads to a folder.

    Raises:
        OSError: that cannot be told. `os.path.isdir` would say no, and all the folder's photos would seem to be gone.
    """
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        with suppress(OSError):
            if error.errno == errno.ELOOP or stat.S_ISREG(os.lstat(path).st_mode):
                return False  # what is wrong with it is said where it is listed
        raise


def _identity(folder: str) -> _Identity:
    # os.stat, not DirEntry.stat: on Windows the latter leaves device and inode at 0.
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _identity_or_none(folder: str) -> _Identity | None:
    try:
        return _identity(folder)
    except OSError:
        return None


_UNDECODABLE = "its name is not valid UTF-8; rename it, and it will be read"


def _undecodable(folder: str, name: str, what: str = "") -> SkippedEntry:
    return SkippedEntry(folder, printable(name), SkipReason.UNDECODABLE_NAME, what + _UNDECODABLE)


def _words(error: OSError) -> str:
    return error.strerror or str(error)

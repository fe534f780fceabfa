"""`library.photos`: the photos of the library, all and single ones by the id of their content."""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all, guessed
from zsindex.classification.by import By, Counts, count
from zsindex.classification.results import Classification, Hit
from zsindex.config import absolute
from zsindex.errors import BadQuery, ImageError, UnknownImage
from zsindex.exchange.facts_columns import columns
from zsindex.photos import dates
from zsindex.photos.formats import storable
from zsindex.records import DecodeMode, Facts, FileContent, IdArray, IncompletePhoto, SkippedFile, SkipReason
from zsindex.session.session import Session
from zsindex.storage.facts_table import NO_TIME, TAKEN_FROM, FactsTable
from zsindex.storage.protocol import Storage
from zsindex.where import Where, WhereLike

if TYPE_CHECKING:
    from zsindex.photos.sources import ImageLike

# Of the pixels that facts are read along with: decoded as small as can be.
_LEAST_SIDE = 8
# What `Photos.in_order` goes by.
SORTS = ("date", "score", "path")
# Parts of times that lists are divided by, as numpy names them.
_PER = {"day": "D", "month": "M", "year": "Y"}


@dataclass(frozen=True, slots=True)
class Photo:
    """An image of the library.

    Attributes:
        image_id: of its content. Ids are never reused.
        digest: hex SHA-256 of its bytes.
        width, height: upright, in pixels; 0 if it was never decoded.
        format: Pillow's name of the container, such as "JPEG"; empty if it was never decoded.
        paths: existing files that show it.
    """

    image_id: int
    digest: str
    width: int
    height: int
    format: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListedPhoto:
    """An image of the library in a list.

    Attributes:
        image_id: of its content.
        path: of the first file that shows it, of those that were asked for.
        copies: the others.
        taken: when, by the clock where it was taken, ISO 8601; None if nothing says so.
        taken_from: what says so: ``exif``, ``xmp``, ``name`` or ``file``.
        width, height: upright, in pixels; 0 if that was never read.
    """

    image_id: int
    path: str
    copies: tuple[str, ...]
    taken: str | None
    taken_from: str | None
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a page of a list ended: at a photo, and what it was sorted by. Photos that come or go do not move it."""

    taken_us: int
    path: str


@dataclass(frozen=True, slots=True)
class PhotoPage:
    """A part of a list of photos.

    Attributes:
        total: photos in the whole list.
        next: where the next page begins; None after the last.
    """

    photos: tuple[ListedPhoto, ...]
    total: int
    next: Mark | None


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a list of photos.

    Attributes:
        name: ``2019-07-14``, ``2019-07``, ``2019``, or a folder; None for photos of which nothing says when they were
            taken.
        start: its first photo in the list.
        photos: how many it has.
    """

    name: str | None
    start: int
    photos: int


class Photos:
    """The photos of a library, by path and by content."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def roots(self) -> list[str]:
        """Synced folders, in path order: what a sync without paths goes through."""
        return self._session.storage.photos.roots()

    def paths(self, paths: PathsLike | None = None) -> list[str]:
        """Photos of the library, folder by folder, each by name; `paths` restricts to files and subtrees."""
        return self._session.storage.reads.files(None if paths is None else absolute_all(paths)).paths

    def skipped(self, paths: PathsLike | None = None) -> list[SkippedFile]:
        """Photos that cannot be used, with their reasons; order and `paths` as for `paths`."""
        return self._session.storage.reads.skipped(None if paths is None else absolute_all(paths))

    def incomplete(self) -> list[IncompletePhoto]:
        """Photos that were read although their files are cut short, with what is missing; by folder and name."""
        return self._session.storage.photos.incomplete()

    def get(self, image_id: int) -> Photo:
        """What is known about an image.

        Raises:
            UnknownImage
        """
        found = self._session.storage.photos.image(image_id)
        if found is None:
            raise UnknownImage(image_id)
        paths = tuple(self._session.storage.reads.files_of([image_id]).paths)
        return Photo(image_id, found.digest.hex(), found.width, found.height, found.format, paths)

    def read(self, image_id: int, *, max_bytes: int = 1 << 30) -> tuple[str, FileContent]:
        """The path of a file that shows an image, and its bytes, verified to be the ones the library knows.

        The content of a file that was changed or replaced since is never returned.

        Raises:
            UnknownImage
            ImageError: no file with these bytes can be read.
        """
        from zsindex.photos import decode

        photo = self.get(image_id)
        for path in photo.paths:
            try:
                content = decode.read_file(path, max_bytes=max_bytes)
            except ImageError:
                continue
            if content.digest.hex() == photo.digest:
                return path, content
        raise ImageError(SkipReason.VANISHED, "no file on this machine has the bytes of this photo anymore")

    def digests(self, paths: Sequence[str]) -> dict[str, str]:
        """Hex SHA-256 of the bytes of photos of the library, by path."""
        return {path: digest.hex() for path, digest in self._session.storage.photos.digests_of(paths).items()}

    def paths_of(self, image_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """Existing files that show images, by id; those of which there are none are left out."""
        files = self._session.storage.reads.files_of(list(dict.fromkeys(image_ids)))
        found: dict[int, list[str]] = {}
        for path, image_id in zip(files.paths, files.image_ids.tolist(), strict=True):
            found.setdefault(image_id, []).append(path)
        return {image_id: tuple(paths) for image_id, paths in found.items()}

    def knows(self, path: str) -> bool:
        """Whether the library has a photo at this path, on this disk or not."""
        return self._session.storage.reads.digest_of(guessed(path)) is not None

    def is_image(self, term: ImageLike) -> bool:
        """Whether `Library.search` takes a term as an image: a string that names an existing file or a photo of the
        library; and anything that is not a string.

        Raises:
            BadQuery: a string that looks like a file name, but there is no such file.
        """
        if not isinstance(term, str):
            return True
        if term.startswith("text:"):
            return False
        from zsindex.photos import sources

        if not term or "\0" in term:
            return False
        if sources.is_image_path(term) or self.knows(term):
            return True
        if sources.reads_like_a_path(term):
            is_folder = os.path.isdir(os.path.expanduser(term))
            what = "is a folder" if is_folder else "is neither a file nor a photo of the library"
            raise BadQuery(f"{term} {what}. To search for it as text: text:{term}")
        return False

    def facts_of(self, image_id: int) -> dict[str, Facts]:
        """When, where and with what an image was taken, its rating, keywords and caption, as the last sync has read
        them; by the path of each existing file that shows it, as their sidecars, names and times may differ.

        `Library.facts` tells them of a file, whether or not it is in the library.

        Raises:
            UnknownImage
        """
        storage = self._session.storage
        if storage.photos.image(image_id) is None:
            raise UnknownImage(image_id)
        return storage.photos.facts_of_files([image_id])

    @overload
    def in_order(self, found: Classification, by: str) -> Classification: ...
    @overload
    def in_order(self, found: list[Hit], by: str) -> list[Hit]: ...
    def in_order(self, found: Classification | list[Hit], by: str) -> Classification | list[Hit]:
        """Photos of an answer in another order, in which equal ones stay as they were.

        Args:
            found: what `Library.classify`, `Library.search` or `Library.similar` returned.
            by: ``date``, newest first, by the clock where they were taken, those without one last; ``score``, highest
                first; or ``path``.

        Raises:
            ValueError: it is none of these.
        """
        order = self._order(found, by)
        return [found[number] for number in order] if isinstance(found, list) else found.reordered(order)

    def _order(self, found: Classification | list[Hit], by: str) -> list[int]:
        if isinstance(found, list):
            paths, scores = [hit.path for hit in found], np.array([hit.score for hit in found], dtype=np.float32)
        else:
            paths, scores = found.paths, found.best_scores
        if by == "path":
            return sorted(range(len(paths)), key=paths.__getitem__)
        if by == "score":
            by_score: list[int] = np.argsort(-scores, kind="stable").tolist()
            return by_score
        if by != "date":
            raise ValueError(f"photos are sorted by {', '.join(SORTS)}, not by {by!r}")
        table = self._session.facts.table()
        taken = np.append(table.taken_us, NO_TIME)[table.rows_of_paths(paths)]  # -1: what is not in the table
        # The least of all numbers stands for no time. Its complement is the greatest, where its opposite is itself.
        by_date: list[int] = np.argsort(~taken, kind="stable").tolist()
        return by_date

    def page(
        self,
        *,
        by: str = "date",
        oldest_first: bool = False,
        paths: PathsLike | None = None,
        where: WhereLike | None = None,
        limit: int = 100,
        after: Mark | None = None,
        start: int = 0,
    ) -> PhotoPage:
        """Images of the library, a page at a time, whether or not they were encoded yet: nothing is asked of a model.

        Args:
            by: ``date``, newest first, by the clock where they were taken, those without one last; or ``path``, by
                folder and name.
            oldest_first: of dates; those without one are last all the same.
            paths: files and folders to restrict to.
            where: only photos that fit, of those; see `zsindex.where`.
            limit: photos of a page.
            after: `PhotoPage.next` of the page before.
            start: begin there instead, counted in the list as it is now.

        Raises:
            NotInLibrary, BadFilter, NoFacts, UnknownLabelSet, UnknownLabel
            ValueError: `by` is neither, or a number is out of bounds.
        """
        limit, start = bounds.whole("limit", limit, least=0), bounds.whole("start", start, least=0)
        table, every, rows, keys = self._ordered(by, oldest_first, paths, where)
        if after is not None:
            first, end = 0, len(rows)
            if by == "date":
                key = _date_keys(np.array([after.taken_us], dtype=np.int64), oldest_first)[0]
                first, end = (int(np.searchsorted(keys, key, side)) for side in ("left", "right"))
            start = bisect.bisect_right(
                range(len(rows)),
                os.path.split(after.path),
                first,
                end,
                key=lambda number: os.path.split(table.paths[int(rows[number])]),
            )
        chosen = rows[start : start + limit]
        following = None
        if len(chosen) and start + limit < len(rows):
            following = Mark(int(table.taken_us[chosen[-1]]), table.paths[int(chosen[-1])])
        return PhotoPage(tuple(_listed(table, chosen, every)), len(rows), following)

    def sections(
        self,
        per: str,
        *,
        oldest_first: bool = False,
        paths: PathsLike | None = None,
        where: WhereLike | None = None,
    ) -> list[Section]:
        """The parts of the list of `page`, in its order: where each day, month or year begins in the list by date, or
        each folder in that by path.

        Args:
            per: ``day``, ``month``, ``year`` or ``folder``.
            oldest_first, paths, where: as for `page`.

        Raises:
            NotInLibrary, BadFilter, NoFacts, UnknownLabelSet, UnknownLabel
            ValueError: `per` is none of these.
        """
        if per not in _PER and per != "folder":
            raise ValueError(f"a list is divided by {', '.join(_PER)} or folder, not by {per!r}")
        table, _, rows, _ = self._ordered("path" if per == "folder" else "date", oldest_first, paths, where)
        if per == "folder":
            names: list[str | None] = [os.path.dirname(table.paths[row]) for row in rows.tolist()]
        else:
            taken = table.taken_us[rows]
            times = taken.astype("datetime64[us]").astype(f"datetime64[{_PER[per]}]").astype(str)
            names = [None if at == NO_TIME else name for at, name in zip(taken.tolist(), times.tolist(), strict=True)]
        found, start = [], 0
        for name, same in groupby(names):
            photos = sum(1 for _ in same)
            found.append(Section(name, start, photos))
            start += photos
        return found

    def grouped(self, by: str) -> tuple[list[str], IdArray, IdArray]:
        """What each image of the library belongs to.

        Args:
            by: ``folder``, that of the file whose path is first; or ``year``, in which it was taken.

        Returns:
            Names of the groups, in order; ids of images, int64 (n,); and the group of each, int64 (n,), -1 for none.

        Raises:
            ValueError: `by` is neither.
        """
        if by not in ("folder", "year"):
            raise ValueError(f"images are grouped by folder or year, not by {by!r}")
        if by == "folder":  # which is known without reading facts
            files = self._session.storage.reads.files(None)
            image_ids, first = np.unique(files.image_ids, return_index=True)
            folders = [os.path.dirname(files.paths[number]) for number in first.tolist()]
            number_of = {name: number for number, name in enumerate(sorted(set(folders)))}
            of = np.array([number_of[name] for name in folders], dtype=np.int64)
            return list(number_of), image_ids, of
        table, _, rows, _ = self._ordered("path", False, None, None)
        taken = table.taken_us[rows]
        dated = taken != NO_TIME
        years, number = np.unique(taken[dated].astype("datetime64[us]").astype("datetime64[Y]"), return_inverse=True)
        of = np.full(len(rows), -1, dtype=np.int64)
        of[dated] = number
        return years.astype(str).tolist(), table.image_ids[rows], of

    def _ordered(
        self, by: str, oldest_first: bool, paths: PathsLike | None, where: WhereLike | None
    ) -> tuple[FactsTable, IdArray, IdArray, IdArray]:
        """The facts of all files; the rows of those that were asked for; of these one for each image, in order; and
        what they are ordered by, ascending, where that is dates.
        """
        if by not in ("date", "path"):
            raise ValueError(f"photos are listed by date or path, not by {by!r}")
        table, every = self._rows(paths, where)
        rows = every[np.sort(np.unique(table.image_ids[every], return_index=True)[1])]
        if by == "path":
            return table, every, rows, rows
        keys = _date_keys(table.taken_us[rows], oldest_first)
        order = np.argsort(keys, kind="stable")  # those of one time by path
        return table, every, rows[order], keys[order]

    def counts(self, by: By | str, *, paths: PathsLike | None = None, where: WhereLike | None = None) -> Counts:
        """How many photos there are by year, month, day, hour, camera, folder or keyword, as counts of one label,
        ``photos``.

        Args:
            by: of `zsindex.classification.by.By`.
            paths, where: as for `page`.

        Raises:
            NotInLibrary, BadFilter, NoFacts, UnknownLabelSet, UnknownLabel
            ValueError: photos are not counted by that.
        """
        table, rows = self._rows(paths, where)
        chosen = [table.paths[row] for row in rows.tolist()]
        return count(chosen, ("photos",), np.zeros((len(chosen), 1), dtype=np.int64), None, By(by), table)

    def _rows(self, paths: PathsLike | None, where: WhereLike | None) -> tuple[FactsTable, IdArray]:
        from zsindex.services.filters import Filters

        places = None if paths is None else absolute_all(paths)
        if places is not None:
            self._session.require_known(places)
        return Filters(self._session).rows(Where.of(where), places)

    def facts_columns(self, paths: Sequence[str], *, place: bool = False) -> dict[str, list[Any]]:
        """The facts of many photos as columns, as the last sync has read them: ``pandas.DataFrame`` takes them.

        Args:
            paths: of photos of the library, n of them.
            place: also ``latitude``, ``longitude`` and ``altitude_m``.

        Returns:
            By name n values, None where nothing is known: ``taken`` (local time, ISO 8601), ``taken_from``,
            ``offset_s``, ``make``, ``camera``, ``lens``, ``focal_length_mm``, ``aperture``, ``exposure_s``, ``iso``,
            ``width``, ``height``, ``orientation``, ``rating`` and ``keywords``, of which there may be several.
        """
        table = self._session.facts.table()
        return columns(table, table.rows_of_paths(paths), place=place)


def _date_keys(taken_us: IdArray, oldest_first: bool) -> IdArray:
    """Numbers that ascend from the newest to the oldest, or the other way round; no time comes last in both."""
    keys: IdArray = taken_us if oldest_first else ~taken_us
    return np.where(taken_us == NO_TIME, np.iinfo(np.int64).max, keys)


def _listed(table: FactsTable, chosen: IdArray, every: IdArray) -> Iterator[ListedPhoto]:
    """Photos by their rows, with copies among the rows of all that were asked for."""
    files: dict[int, list[str]] = {}
    for row in every[np.isin(table.image_ids[every], table.image_ids[chosen])].tolist():
        files.setdefault(int(table.image_ids[row]), []).append(table.paths[row])
    for row in chosen.tolist():
        image_id, taken = int(table.image_ids[row]), int(table.taken_us[row])
        path, *copies = files[image_id]
        yield ListedPhoto(
            image_id,
            path,
            tuple(copies),
            None if taken == NO_TIME else dates.from_microseconds(taken).isoformat(),
            TAKEN_FROM[int(table.taken_from[row])],
            int(table.width[row]),
            int(table.height[row]),
        )


def read_facts(session: Session, path: str | os.PathLike[str]) -> Facts:
    """See `Library.facts`."""
    from zsindex.photos import decode, sidecars
    from zsindex.photos.together import together

    file = absolute(path)
    content = _stored_facts(session.storage, file)
    if content is None:
        data = decode.read_file(file).data
        try:
            content = session.decoder.decode(data, DecodeMode.FAST, (_LEAST_SIDE, _LEAST_SIDE), name=file).facts
        except ImageError as error:
            raise ImageError(error.reason, error.detail, path=file) from error
    mtime_ns = os.stat(file).st_mtime_ns
    return together(content or Facts(), sidecars.read_of(file), os.path.basename(file), mtime_ns)


def _stored_facts(storage: Storage, path: str) -> Facts | None:
    """Of its metadata; None where they are not known, or of another content than lies there now."""
    digest = storage.reads.digest_of(path)
    ids = [] if digest is None else list(storage.photos.images_of([digest]).values())
    seen = {(row.size, row.mtime_ns) for row in storage.photos.details_of(ids) if row.path == path}
    status = os.stat(path) if os.path.isfile(path) else None
    if status is None or (status.st_size, storable(status.st_mtime_ns)) not in seen:
        return None
    return storage.photos.facts_of(ids).get(ids[0])

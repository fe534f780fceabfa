"""`library.albums`: questions with their filters, saved under a name, which follow the library; and chosen photos."""

from __future__ import annotations

import builtins
import os
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from zsindex.arguments.paths import PathsLike, absolute_all, is_under
from zsindex.classification import prompts
from zsindex.classification.options import Query, QueryOptions
from zsindex.config import absolute
from zsindex.errors import AlbumFolderTaken, BadAlbum, UnknownAlbum
from zsindex.records import IdArray
from zsindex.services.filters import Filters
from zsindex.services.photos import Photos
from zsindex.session.session import Session
from zsindex.storage.rows import AlbumRow
from zsindex.where import Where

if TYPE_CHECKING:
    from zsindex.lab.albums import Album, AlbumPhoto, AlbumPhotos
    from zsindex.lab.tags import TagReport
    from zsindex.records import Progress
    from zsindex.storage.facts_table import FactsTable

_SEEN = "record what was seen of an album"
_LONGEST_NAME = 200
_WHY = "an album holds photos of the library"
# Of a search that does not say where it ends.
_MOST = 100


class Albums:
    """Albums: what fits a search, filters, or both, whenever somebody looks; or photos that were put in one by one."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def save(self, name: str, query: str | None = None, **options: Unpack[QueryOptions]) -> Album:
        """Save a question under a name, in place of an album of that name.

            library.albums.save("beaches 2019", "a beach", cut="auto", where=year == 2019)
            library.albums.save("owls", where=answered("birds", "owl", min_score=0.8))

        Args:
            query: what to search for, in words, or the path of a photo. None: no search, only `where`.
            options: as for `Library.search`; `top` is 100 unless it is given, or there is a `cut`.

        Raises:
            BadAlbum: its name cannot be used, there is neither a query nor a filter, or an option cannot be kept.
            BadFilter, BadPath, UnknownLabelSet, UnknownLabel, LibraryReadOnly
        """
        self._session.storage.require_writable("save an album")
        name = _usable(name)
        body = self._body(name, query, options)
        self._session.storage.labels.save_album(name, body)
        return self.get(name)

    def add(self, name: str, paths: PathsLike) -> Album:
        """Put photos into an album of chosen ones, which begins with the first of them.

        They are known by their content: one that is moved stays in it, and one that is gone for now is there again
        when its file is.

        Raises:
            BadAlbum: its name cannot be used, or it is a question, which holds what fits and nothing else.
            NotInLibrary, LibraryReadOnly
        """
        self._session.storage.require_writable("put photos into an album")
        name = _usable(name)
        digests = self._session.digests_of(absolute_all(paths), _WHY)
        more = {digest.hex(): path for path, digest in digests.items()}

        def change(body: dict[str, Any] | None) -> dict[str, Any]:
            return _of_chosen({**({} if body is None else _chosen(name, body)), **more})

        self._session.storage.labels.change_album(name, change)
        return self.get(name)

    def take_out(self, name: str, paths: PathsLike) -> Album:
        """Take photos out of an album of chosen ones; those that are not in it are passed over. The album that comes
        back says in `taken_out` which were.

        Raises:
            UnknownAlbum
            BadAlbum: it is a question.
            NotInLibrary, LibraryReadOnly
        """
        self._session.storage.require_writable("take photos out of an album")
        name = _named(name)
        out = {path: digest.hex() for path, digest in self._session.digests_of(absolute_all(paths), _WHY).items()}
        taken: list[str] = []

        def change(body: dict[str, Any] | None) -> dict[str, Any]:
            if body is None:
                raise self._unknown(name)
            there = _chosen(name, body)
            taken[:] = [path for path, digest in out.items() if digest in there]  # anew where it is tried again
            gone = set(out.values())
            return _of_chosen({digest: path for digest, path in there.items() if digest not in gone})

        self._session.storage.labels.change_album(name, change)
        return replace(self.get(name), taken_out=tuple(taken))

    def list(self) -> builtins.list[Album]:
        """All albums, by name."""
        return [_album(row) for row in self._session.storage.labels.albums()]

    def get(self, name: str) -> Album:
        """An album.

        Raises:
            UnknownAlbum
        """
        return _album(self._row(name))

    def remove(self, name: str) -> None:
        """Forget an album; its photos stay where they are.

        Raises:
            UnknownAlbum, LibraryReadOnly
        """
        self._session.storage.require_writable("remove an album")
        if not self._session.storage.labels.remove_album(_named(name)):
            raise self._unknown(name)

    def photos(self, name: str, *, look: bool = False) -> AlbumPhotos:
        """What an album holds now, and what came and went since somebody looked last.

        Args:
            look: this is such a look, as `seen` says afterwards.

        Raises:
            UnknownAlbum, LibraryReadOnly
            NoVectors, NoFacts, UnknownLabelSet, UnknownLabel: it cannot be answered.
        """
        from zsindex.lab.albums import AlbumPhotos

        if look:
            self._session.storage.require_writable(_SEEN)
        row = self._row(name)
        album = _album(row)
        terms = row.body["terms"]
        if "chosen" in row.body:
            ids = self._session.storage.photos.images_of([bytes.fromhex(digest) for digest in row.body["chosen"]])
            files = self._session.storage.reads.files_of(sorted(ids.values()))
            photos = self._by_date(files.paths, files.image_ids)
        elif terms is None:
            assert album.where is not None
            fitting = Filters(self._session).files(album.where, None)
            photos = self._by_date(fitting.all(), fitting.image_ids)
        else:
            photos = self._ranked(album, terms)
        digests = self._session.digests_of([photo.path for photo in photos], _WHY)
        photos = [
            replace(
                photo,
                digest=digests[photo.path],
                is_new=row.seen is not None and digests[photo.path] not in row.seen,
            )
            for photo in photos
        ]
        there = set(digests.values())
        went = tuple(path for digest, path in (row.seen or {}).items() if digest not in there)
        contents = AlbumPhotos(album, tuple(photos), went)
        if look:
            self.seen(contents)
        return contents

    def seen(self, contents: AlbumPhotos) -> None:
        """Say that somebody has looked at what `photos` returned: the next one says what came and went since then.

        Raises:
            UnknownAlbum, LibraryReadOnly
        """
        self._session.storage.require_writable(_SEEN)
        name = contents.album.name
        photos = {photo.digest: photo.path for photo in contents.photos}
        if not self._session.storage.labels.see_album(name, photos):
            raise self._unknown(name)

    def link(self, name: str, folder: str | os.PathLike[str]) -> tuple[int, int]:
        """Make a folder hold links to the photos of an album, and no more to those that left it.

        Args:
            folder: a new or empty one, or one that an earlier call has filled; whatever else was put there stays.

        Returns:
            How many links were made, and how many were removed.

        Raises:
            AlbumFolderTaken: it holds other things, or lies in a folder that is synced, which would find the links.
            OSError: it cannot be written to.
            ZsindexError: as `photos`.
        """
        from zsindex.lab import albums

        place = absolute(folder)
        if any(is_under(place, root) for root in self._session.storage.photos.roots()):
            raise AlbumFolderTaken(
                Path(place), "lies in a folder that is synced, which would take the links for photos"
            )
        return albums.link(Path(place), _named(name), self.photos(name).paths)

    def tag(
        self,
        name: str,
        *,
        keyword: str | None = None,
        style: str = "photo.jpg.xmp",
        apply: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> TagReport:
        """Have the photos of an album, and no others, carry a keyword in their XMP sidecars; see `Tags.write`.

        Args:
            keyword: Default: the album's name.
            style, apply, progress, should_stop: as for `Tags.write`.

        Raises:
            LibraryBusy, StorageFull: with `apply`.
            ZsindexError: as `photos`.
        """
        from zsindex.services.tags import Tags

        name = _named(name)
        paths = [path for photo in self.photos(name).photos for path in (photo.path, *photo.copies)]
        return Tags(self._session).put(
            f"album:{name}",
            keyword or name,
            paths,
            style=style,
            apply=apply,
            progress=progress,
            should_stop=should_stop,
        )

    # --- what it holds ------------------------------------------------------------------------------------------------

    def _ranked(self, album: Album, terms: Mapping[str, Any]) -> builtins.list[AlbumPhoto]:
        from zsindex.lab.albums import AlbumPhoto
        from zsindex.services.search import Search

        options = dict(album.options)
        if options.get("cut") is not None and "top" not in options:
            options["top"] = max(1, len(self._session.view(None).unique[0]))
        options.setdefault("top", _MOST)
        options.pop("plus", None)
        options.pop("minus", None)
        first, *plus = (_asked(term) for term in terms["plus"])
        minus = [_asked(term) for term in terms["minus"]]
        found = Search(self._session).search(Query(first, plus=plus, minus=minus, where=album.where, **options))
        hits = [hit for hit in found if hit.fits is not False]
        table = self._session.facts.table()
        places = table.rows_of([hit.path for hit in hits], np.array([hit.image_id for hit in hits], dtype=np.int64))
        return [
            AlbumPhoto(hit.path, hit.score, _taken(table, place), hit.copies, image_id=hit.image_id)
            for hit, place in zip(hits, places.tolist(), strict=True)
        ]

    def _by_date(self, paths: builtins.list[str], image_ids: IdArray) -> builtins.list[AlbumPhoto]:
        from zsindex.lab.albums import AlbumPhoto

        table = self._session.facts.table()
        rows: IdArray = table.rows_of(paths, image_ids)
        by_image: dict[int, builtins.list[tuple[str, int]]] = {}
        for path, image_id, row in zip(paths, image_ids.tolist(), rows.tolist(), strict=True):
            by_image.setdefault(image_id, []).append((path, row))
        photos = [
            AlbumPhoto(
                files[0][0],
                None,
                _taken(table, files[0][1]),
                tuple(path for path, _ in files[1:]),
                image_id=image_id,
            )
            for image_id, files in by_image.items()
        ]
        # Newest first; those of which it is not known last. Sorting is stable: else by path.
        return sorted(photos, key=lambda photo: photo.taken_at or "", reverse=True)

    def _body(self, name: str, query: str | None, options: QueryOptions) -> dict[str, Any]:
        """A question as it is stored. What are words and what are photos is settled now.

        Raises:
            BadAlbum
        """
        where = Where.of(options.get("where"))
        if query is None and where is None:
            raise BadAlbum(name, "it needs something to search for, or a filter")
        if where is not None:
            Filters(self._session).require_sets(where)
        given = {key: value for key, value in options.items() if key != "where" and value not in (None, (), [])}
        if query is None and given:
            raise BadAlbum(name, f"{', '.join(sorted(given))}: of a search, and there is none")
        if query is None:
            return {"query": None, "terms": None, "options": {}, "where": None if where is None else where.to_json()}
        checked = Query(query, **options)
        if not checked.top:
            raise BadAlbum(name, "with top=0 it would hold nothing")
        given = {key: value for key, value in given.items() if key not in ("plus", "minus")}
        for key in ("without", "paths"):
            if key in given:
                given[key] = list(checked.without if key == "without" else checked.paths or ())
        terms = {
            "plus": [self._term(name, term) for term in checked.plus],
            "minus": [self._term(name, term) for term in checked.minus],
        }
        shown = [next(iter(term.values())) for term in terms["plus"]]
        return {
            "query": shown[0],
            "terms": terms,
            "options": {
                **({"plus": shown[1:]} if shown[1:] else {}),
                **({"minus": [next(iter(term.values())) for term in terms["minus"]]} if terms["minus"] else {}),
                **given,
            },
            "where": None if where is None else where.to_json(),
        }

    def _term(self, name: str, term: object) -> dict[str, str]:
        """What is searched for: words, or the absolute path of a photo."""
        if isinstance(term, os.PathLike) or (isinstance(term, str) and Photos(self._session).is_image(term)):
            return {"image": absolute(term)}
        if not isinstance(term, str):
            raise BadAlbum(name, "only words and the paths of photos can be kept")
        words = prompts.normalise(term.removeprefix("text:"))
        if not words:
            raise BadAlbum(name, "the query is empty")
        return {"text": words}

    def _row(self, name: str) -> AlbumRow:
        name = _named(name)
        for row in self._session.storage.labels.albums():
            if row.name == name:
                return row
        raise self._unknown(name)

    def _unknown(self, name: str) -> UnknownAlbum:
        return UnknownAlbum(name, known=[row.name for row in self._session.storage.labels.albums()])


def _named(name: str) -> str:
    """A name in its one spelling."""
    return unicodedata.normalize("NFC", name).strip()


def _usable(name: str) -> str:
    """A name that an album may get.

    Raises:
        BadAlbum
    """
    name = _named(name)
    if not name or not name.isprintable() or len(name) > _LONGEST_NAME or name in (".", "..") or "/" in name:
        raise BadAlbum(name, f"an album's name has at most {_LONGEST_NAME} printable characters, and no slash")
    return name


def _chosen(name: str, body: Mapping[str, Any]) -> dict[str, str]:
    """Paths by digest of an album of chosen photos.

    Raises:
        BadAlbum
    """
    if "chosen" not in body:
        raise BadAlbum(name, "an album of that name is a question, which holds what fits it and nothing else")
    found: dict[str, str] = body["chosen"]
    return found


def _of_chosen(chosen: Mapping[str, str]) -> dict[str, Any]:
    return {"query": None, "terms": None, "options": {}, "where": None, "chosen": dict(chosen)}


def _asked(term: Mapping[str, str]) -> str | Path:
    return Path(term["image"]) if "image" in term else f"text:{term['text']}"


def _taken(table: FactsTable, row: int) -> str | None:
    from zsindex.storage.facts_table import NO_TIME

    taken = int(table.taken_us[row]) if row >= 0 else NO_TIME
    return None if taken == NO_TIME else str(np.datetime_as_string(np.datetime64(taken, "us"), unit="s"))


def _album(row: AlbumRow) -> Album:
    from zsindex.lab.albums import Album

    body: Mapping[str, Any] = row.body
    where = body["where"]
    return Album(
        row.name,
        body["query"],
        body["options"],
        None if where is None else Where.from_json(where),
        row.saved_at,
        row.seen_at,
        len(row.seen or ()),
        len(body["chosen"]) if "chosen" in body else None,
    )

"""`Library.search` and `Library.similar`: photos by text, by example, or by a combination of both; also in pages."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.classification import prompts
from zsindex.classification.options import Query
from zsindex.classification.results import Hit, Hits
from zsindex.config import absolute
from zsindex.errors import BadQuery, ImageError, PlaceExpired
from zsindex.index import nearest
from zsindex.records import FloatArray, IdArray
from zsindex.services.filters import Filters, FittingFiles
from zsindex.services.photos import Photos
from zsindex.session.session import Session
from zsindex.storage.rows import FileTable
from zsindex.where import Where

if TYPE_CHECKING:
    from zsindex.photos.sources import ImageLike

# A shorter sum means that the terms of a query cancel each other out.
SHORTEST_QUERY = 1e-3


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the ranking of photos around a vector, as of a certain moment.

    Attributes:
        watermark, generation: of the vectors at that moment.
        score, image_id: of the last photo before it.
    """

    watermark: int
    generation: int
    score: float
    image_id: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some photos around a vector, best first. `next` is where the next page begins; None after the last. `snapshot` is
    what it is of: a watermark and a generation.
    """

    hits: tuple[Hit, ...]
    next: Place | None
    snapshot: tuple[int, int]


class Search:
    """Finds photos by their vectors."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._photos = Photos(session)

    def search(self, query: Query) -> Hits:
        """See `Library.search`."""
        self._require_some(query)
        added = [self._term(term, truncate=query.truncate) for term in query.plus]
        taken = [self._term(term, truncate=query.truncate) for term in query.minus]
        terms = np.stack(added) if added[1:] or taken else None
        vector = self.sum_of(added, taken)
        if query.cut is None and not query.without:
            return Hits(self._nearest(vector, query, terms=terms))
        return self._fitting(vector, query, terms)

    def similar(self, query: Query) -> list[Hit]:
        """See `Library.similar`; the query is one image."""
        self._require_some(query)
        [image] = query.plus
        itself = absolute(image) if isinstance(image, (str, os.PathLike)) else None
        vector: FloatArray = self._session.embed.images([image])[0]
        return self._nearest(vector, query, leave_out=itself)

    def sum_of(
        self, plus: FloatArray | Sequence[FloatArray], minus: FloatArray | Sequence[FloatArray] = ()
    ) -> FloatArray:
        """The vector of a query: the sum of the unit vectors of its terms.

        Args:
            plus, minus: float32 (dim,) each, to add and to subtract; or one.

        Returns:
            float32 (dim,), L2-normalised.

        Raises:
            BadQuery: there are no terms, or they cancel each other out.
        """
        plus, minus = _vectors(plus), _vectors(minus)
        if not plus and not minus:
            raise BadQuery("the query is empty")
        dim = self._session.info.dim
        vector: FloatArray = _sum(plus, dim) - _sum(minus, dim)
        norm = float(np.linalg.norm(vector))
        if norm < SHORTEST_QUERY:
            raise BadQuery("the terms of the query cancel each other out")
        return vector / np.float32(norm)

    def page(
        self,
        vector: FloatArray,
        *,
        top: int,
        after: Place | None = None,
        paths: PathsLike | None = None,
        where: Where | None = None,
        leave_out: int | None = None,
        exact: bool = False,
    ) -> Page:
        """The photos most similar to a vector, a page at a time. Every photo is compared; but where searches go to the
        server, a photo may be missing on the first page, and then comes on no other.

        All pages show the ranking as of the first page: photos added meanwhile appear on none of them, and no other
        photo is lost or repeated. Photos whose files vanish meanwhile are left out.

        Args:
            vector: float32 (dim,), L2-normalised.
            top: photos per page.
            after: `Page.next` of the previous page.
            paths: files and folders to restrict to.
            where: only photos that fit, as of now.
            leave_out: an image to leave out.
            exact: compare every photo in any case.

        Raises:
            NotInLibrary: something in `paths` is unknown.
            NoFacts, UnknownLabelSet, UnknownLabel: of `where`.
            PlaceExpired: vectors were removed from the library since the first page, so its ranking is gone.
        """
        places = None if paths is None else absolute_all(paths)
        if places is not None:
            self._session.require_known(places)
        if self._session.index.on_server:
            return self._page_from_server(vector, top, after, self._files(places, where), leave_out, exact)
        view = self._session.view(places)
        if where is not None:
            view, _ = Filters(self._session).those(view, where)
        watermark, generation, _ = view.snapshot
        rows = view.unique[0]
        if after is not None:
            if after.generation != generation:
                raise PlaceExpired()
            if after.watermark < watermark:
                then = self._session.storage.reads.image_ids_of(view.model_id, through=after.watermark)
                rows = rows[np.isin(view.vectors.ids[rows], then)]
                watermark = after.watermark
        # One more shows whether there is a next page. Another makes up for the one to leave out; taking it out of the
        # rows would leave a gap, and blocks of them would have to be copied.
        k = top + 1 + (leave_out is not None)
        found, scores = nearest.exact_after(
            view.vectors, rows, vector, k, after=None if after is None else (after.score, after.image_id)
        )
        if leave_out is not None:
            wanted = view.vectors.ids[found] != leave_out
            found, scores = found[wanted], scores[wanted]
        ids = view.vectors.ids[found].tolist()
        files = self._session.storage.reads.files_of(ids[:top])
        by_image = _by_image(
            files if where is None and places is None else FileTable(view.paths, view.image_ids), ids[:top]
        )
        hits = tuple(
            Hit(by_image[image_id][0], score, tuple(by_image[image_id][1:]), image_id)
            for image_id, score in zip(ids[:top], scores[:top].tolist(), strict=True)
            if image_id in by_image
        )
        more = len(ids) > top > 0
        following = Place(watermark, generation, float(scores[top - 1]), ids[top - 1]) if more else None
        return Page(hits, following, (watermark, generation))

    def _page_from_server(
        self,
        vector: FloatArray,
        top: int,
        after: Place | None,
        files: FileTable | FittingFiles | None,
        leave_out: int | None,
        exact: bool,
    ) -> Page:
        """Args:
        files: to restrict to; None for all.
        """
        index = self._session.index.server()
        watermark = index.watermark if after is None else min(after.watermark, index.watermark)
        if after is not None and after.generation != index.generation:
            raise PlaceExpired()
        selected = None if files is None else np.unique(files.image_ids)
        k = top + 2
        while True:
            if after is None:
                found, scores = index.search(vector[None, :], k, image_ids=selected, exact=exact)
                ids, found_scores = found[0].tolist(), scores[0].tolist()
            else:
                place = (after.score, after.image_id)
                found, scores = index.after(vector, k, place, through=watermark, image_ids=selected)
                ids, found_scores = found.tolist(), scores.tolist()
            by_image = _by_image(self._shown(files, ids), ids)
            hits = [
                Hit(by_image[image_id][0], score, tuple(by_image[image_id][1:]), image_id)
                for image_id, score in zip(ids, found_scores, strict=True)
                if image_id in by_image and image_id != leave_out
            ]
            # One more shows whether there is a next page.
            if len(hits) > top or len(ids) < k:
                break
            k *= 2  # some have vanished, or have no file
        more = len(hits) > top > 0
        last = hits[top - 1] if more else None
        following = None if last is None else Place(watermark, index.generation, last.score, last.image_id)
        return Page(tuple(hits[:top]), following, (watermark, index.generation))

    def _require_some(self, query: Query) -> None:
        """Refuse a query that cannot find anything, before anything is encoded.

        Raises:
            NotInLibrary, NoVectors
        """
        if query.paths is not None:
            self._session.require_known(query.paths)
        self._session.require_model(query.paths)

    def _term(self, term: ImageLike, *, truncate: bool) -> FloatArray:
        if isinstance(term, str) and not self._photos.is_image(term):
            return self._text(term, truncate=truncate)
        try:
            vector: FloatArray = self._session.embed.images([term])[0]
        except ImageError as error:
            if not isinstance(term, str):
                raise
            raise ImageError(
                error.reason, f"{error.detail} (to search for it as text: text:{term})", path=error.path
            ) from error
        return vector

    def _text(self, text: str, *, truncate: bool) -> FloatArray:
        text = prompts.normalise(text.removeprefix("text:"))
        if not text:
            raise BadQuery("the query is empty")
        vector: FloatArray = self._session.embed.texts([text], truncate=truncate)[0]
        return vector

    def _nearest(
        self,
        vector: FloatArray,
        query: Query,
        *,
        top: int | None = None,
        terms: FloatArray | None = None,
        leave_out: str | None = None,
    ) -> list[Hit]:
        top, paths = query.top if top is None else top, query.paths
        files = self._files(paths, query.where)
        index, k = self._session.index.for_search(), top
        selected = None if files is None else files.image_ids
        groups = self._groups(query)
        while True:
            ids, scores = index.search(vector[None, :], k, terms=terms, image_ids=selected, exact=query.exact)
            # Without a selection, only the files of what was found are looked up: listing all of them takes longer than
            # the search.
            by_image = _by_image(self._shown(files, ids[0].tolist()), ids[0], leave_out)
            found = [pair for pair in zip(ids[0].tolist(), scores[0].tolist(), strict=True) if pair[0] in by_image]
            if groups:
                found = _first_of_each(found, groups)
            if len(found) >= top or len(ids[0]) < k:
                if not found and paths != () and query.where is None:
                    self._require_found(paths, top)
                shown_first = ((i, score, _existing_first(by_image[i])) for i, score in found[:top])
                return [Hit(first, score, tuple(others), i) for i, score, (first, *others) in shown_first]
            k *= 2  # some have vanished, have no file, or are the one to leave out

    def _shown(self, files: FileTable | FittingFiles | None, image_ids: Sequence[int]) -> FileTable:
        """Of some files, or all, at least those that show some images."""
        if files is None:
            return self._session.storage.reads.files_of(image_ids)
        return files.of(image_ids) if isinstance(files, FittingFiles) else files

    def _files(self, paths: Sequence[str] | None, where: Where | None) -> FileTable | FittingFiles | None:
        """The files that a search is restricted to; None for all."""
        if where is not None:
            return Filters(self._session).files(where, paths)
        return None if paths is None else self._session.storage.reads.files(paths)

    def _fitting(self, vector: FloatArray, query: Query, terms: FloatArray | None) -> Hits:
        from zsindex.services.stopping import Stopping, require_words

        if any(self._photos.is_image(term) for term in (*query.plus, *query.minus)):
            require_words(query.cut)
        without = [self._text(text, truncate=query.truncate) for text in query.without]

        def nearest_to(one: FloatArray, k: int) -> list[Hit]:
            return self._nearest(one, query, top=k, terms=terms if one is vector else None)

        stopping = Stopping(self._session)
        return stopping.first(vector, nearest_to, cut=query.cut, without=without, top=query.top)[0]

    def _groups(self, query: Query) -> dict[int, int]:
        """The burst or event of each image, if a search shows only the best photo of each."""
        if query.one_per is None:
            return {}
        view = self._session.view(query.paths)
        if query.where is not None:
            view, _ = Filters(self._session).those(view, query.where)
        from zsindex.services.timeline import Timeline

        return Timeline(self._session).groups_of(view, query.one_per)

    def _require_found(self, paths: Sequence[str] | None, top: int) -> None:
        """Refuse a search that can find nothing; one that found nothing may have been for no photos.

        Raises:
            NoVectors
        """
        if not self._session.index.on_server:
            self._session.require_vectors(self._session.view(paths), paths)
        elif top:
            raise self._session.no_vectors(paths, len(self._session.storage.reads.files(paths).paths))


def _vectors(given: FloatArray | Sequence[FloatArray]) -> list[FloatArray]:
    return [given] if isinstance(given, np.ndarray) and given.ndim == 1 else list(given)


def _sum(terms: Iterable[FloatArray], dim: int) -> FloatArray:
    total = np.zeros(dim, dtype=np.float32)
    for term in terms:
        total += term
    return total


def _first_of_each(found: Iterable[tuple[int, float]], groups: Mapping[int, int]) -> list[tuple[int, float]]:
    """The first image of each group, and all that are in none."""
    kept, seen = [], set()
    for image_id, score in found:
        group = groups.get(image_id)
        if group is None or group not in seen:
            kept.append((image_id, score))
            seen.add(group)
    return kept


def _by_image(
    files: FileTable, image_ids: Sequence[int] | IdArray, leave_out: str | None = None
) -> dict[int, list[str]]:
    """Paths of some images, by their ids."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for number in np.flatnonzero(np.isin(files.image_ids, image_ids)).tolist():
        if files.paths[number] != leave_out:
            found[int(files.image_ids[number])].append(files.paths[number])
    return dict(found)


def _existing_first(paths: list[str]) -> list[str]:
    """Paths of one image, with an existing one in front: a partial sync does not notice that others are gone. The disk
    is checked only if there is a choice.
    """
    if len(paths) > 1:
        there = next((path for path in paths if os.path.lexists(path)), paths[0])
        return [there, *(path for path in paths if path != there)]
    return paths

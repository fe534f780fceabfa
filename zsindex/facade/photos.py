"""Photos by the id of their content, and their order around a vector, page by page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zsindex.arguments.several import several
from zsindex.classification.results import Hit
from zsindex.errors import BadQuery, ImageError, PlaceExpired, UnknownImage
from zsindex.facade.core import Core, absolute_all
from zsindex.records import FloatArray, SkipReason

if TYPE_CHECKING:
    from zsindex.photos.sources import PathsLike
    from zsindex.records import FileContent

# Beyond this the terms of a query cancel each other out.
SHORTEST_QUERY = 1e-3


def _vectors(given: FloatArray | Sequence[FloatArray]) -> list[FloatArray]:
    return [given] if isinstance(given, np.ndarray) and given.ndim == 1 else list(given)


@dataclass(frozen=True, slots=True)
class Photo:
    """An image of the library.

    Attributes:
        image_id: of its content. Ids are never given again.
        digest: hex SHA-256 of its bytes.
        width, height: upright, in pixels; 0 where it was never decoded.
        format: Pillow's name of the container, such as "JPEG"; empty where it was never decoded.
        paths: files that show it and are there.
    """

    image_id: int
    digest: str
    width: int
    height: int
    format: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of photos around a vector, and the moment whose order it is.

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
    """Some photos around a vector, best first. `next` is where the next page begins; None after the last."""

    hits: tuple[Hit, ...]
    next: Place | None


class Photos(Core):
    """Looking at single photos, and at all of them page by page."""

    def photo(self, image_id: int) -> Photo:
        """What is known of an image.

        Raises:
            UnknownImage
        """
        found = self._store.image(image_id)
        if found is None:
            raise UnknownImage(image_id)
        paths = tuple(self._reader.files_of([image_id]).paths)
        return Photo(image_id, found.digest.hex(), found.width, found.height, found.format, paths)

    def read_photo(self, image_id: int, *, max_bytes: int = 1 << 30) -> tuple[str, FileContent]:
        """The path of a file that shows an image, and its bytes, which are those that the library knows.

        A file that was changed or exchanged since is not read out, whatever it is now.

        Raises:
            UnknownImage
            ImageError: no file with these bytes can be read.
        """
        from zsindex.photos import decode

        photo = self.photo(image_id)
        for path in photo.paths:
            try:
                content = decode.read_file(path, max_bytes=max_bytes)
            except ImageError:
                continue
            if content.digest.hex() == photo.digest:
                return path, content
        raise ImageError(SkipReason.VANISHED, "no file on this machine has the bytes of this photo any more")

    def vectors_of(self, image_ids: int | Sequence[int]) -> FloatArray:
        """Vectors of images under the model: float32 (len(image_ids), dim).

        Raises:
            UnknownImage: one is unknown, or has no vector yet.
        """
        image_ids = several(image_ids)
        vectors = self._open_index().vectors
        rows = vectors.rows_of(np.asarray(image_ids, dtype=np.int64))
        for image_id, row in zip(image_ids, rows.tolist(), strict=True):
            if row < 0:
                raise UnknownImage(image_id)
        return vectors.take(rows)

    def sum_of(
        self, plus: FloatArray | Sequence[FloatArray], minus: FloatArray | Sequence[FloatArray] = ()
    ) -> FloatArray:
        """The vector of a query: the sum of the unit vectors of its terms, as `Library.search` builds it.

        Args:
            plus, minus: float32 (dim,) each; or one.

        Returns:
            float32 (dim,), L2-normalised.

        Raises:
            BadQuery: there are no terms, or they cancel each other out.
        """
        plus, minus = _vectors(plus), _vectors(minus)
        if not plus and not minus:
            raise BadQuery("the query is empty")
        vector = np.zeros(self.model.dim, dtype=np.float32)
        for sign, terms in ((1.0, plus), (-1.0, minus)):
            for term in terms:
                vector += np.float32(sign) * term
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
        leave_out: int | None = None,
    ) -> Page:
        """The photos most similar to a vector, a page at a time. Every photo is looked at.

        All pages show the order of one moment, that of the first: photos that come into the library meanwhile are in
        none, and no other is lost or comes twice. Those whose files vanish meanwhile are left out.

        Args:
            vector: float32 (dim,), L2-normalised.
            top: photos of a page.
            after: `Page.next` of the page before.
            paths: files and folders to restrict to.
            leave_out: an image that is not wanted.

        Raises:
            NotInLibrary: something in `paths` is unknown.
            PlaceExpired: vectors were removed from the library since the first page: its order is gone.
        """
        from zsindex.index import nearest

        places = None if paths is None else absolute_all(paths)
        if places is not None:
            self._require_known(places)
        view = self.view(places)
        watermark, generation, _ = view.snapshot
        rows = view.unique[0]
        if after is not None:
            if after.generation != generation:
                raise PlaceExpired()
            if after.watermark < watermark:
                then = self._reader.image_ids_of(view.model_id, through=after.watermark)
                rows = rows[np.isin(view.vectors.ids[rows], then)]
                watermark = after.watermark
        # One more shows whether there is a next page. Another makes up for the one to leave out: without it, the rows
        # would have a gap, and blocks of them would have to be copied.
        k = top + 1 + (leave_out is not None)
        found, scores = nearest.exact_after(
            view.vectors, rows, vector, k, after=None if after is None else (after.score, after.image_id)
        )
        if leave_out is not None:
            wanted = view.vectors.ids[found] != leave_out
            found, scores = found[wanted], scores[wanted]
        ids = view.vectors.ids[found].tolist()
        by_image: defaultdict[int, list[str]] = defaultdict(list)
        shown = self._reader.files_of(ids[:top])
        for path, image_id in zip(shown.paths, shown.image_ids.tolist(), strict=True):
            by_image[image_id].append(path)
        hits = tuple(
            Hit(by_image[image_id][0], score, tuple(by_image[image_id][1:]), image_id)
            for image_id, score in zip(ids[:top], scores[:top].tolist(), strict=True)
            if image_id in by_image
        )
        more = len(ids) > top > 0
        return Page(hits, Place(watermark, generation, float(scores[top - 1]), ids[top - 1]) if more else None)

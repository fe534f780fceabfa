"""Searches that stop: of the photos nearest to a query those that fit it, and without those that show something else.

`zsindex.lab.cut` has what decides. What is usual in the library is measured once for each of its states.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from zsindex.classification.options import AUTO
from zsindex.classification.results import Hit, Hits
from zsindex.errors import BadQuery, LibraryBusy, LibraryReadOnly, StorageFailed, StorageFull
from zsindex.lab import cut as rule
from zsindex.lab.cut import Usual
from zsindex.lab.vocabulary import BASIC
from zsindex.models.encoder import may_keep
from zsindex.records import FloatArray, IdArray
from zsindex.session.session import Session

_KIND = "usual"


@dataclass(frozen=True, eq=False)
class Bound:
    """From where on photos fit.

    Attributes:
        vector: float32 (dim,), of what they may show.
        at: a cosine similarity; or what `Usual.of_text` says of the vector.
        usual: None for a cosine similarity.
    """

    vector: FloatArray
    at: float
    usual: Usual | None

    @property
    def lowest(self) -> float:
        """A cosine similarity below which nothing fits."""
        return self.at if self.usual is None else self.usual.lowest(self.at)


@dataclass(frozen=True, eq=False)
class Stop:
    """What is left of the photos nearest to a query.

    Attributes:
        bound: of the query; None shows everything.
        nothing: no photo fits; the nearest ones are shown as such.
        without: of what is left out.
    """

    bound: Bound | None = None
    nothing: bool = False
    without: tuple[Bound, ...] = ()


class Stopping:
    """Judges the photos that a search finds."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def first(
        self,
        vector: FloatArray,
        nearest: Callable[[FloatArray, int], Sequence[Hit]],
        *,
        cut: float | str | None,
        without: Sequence[FloatArray],
        top: int,
    ) -> tuple[Hits, Stop]:
        """The best photos that fit a query.

        Args:
            vector: float32 (dim,), of the query.
            nearest: so many photos nearest to a vector, best first; fewer where there are no more.
            cut, without, top: of `zsindex.classification.options.Query`; of `without` the vectors.
        """
        needs_usual = cut == AUTO or (cut is None and bool(without))
        usual = self.usual() if needs_usual else None
        tells = usual is None or usual.tells
        stop = Stop() if not tells else Stop(without=self._shown(without, nearest, cut, usual))
        k = max(top, rule.LOOKED_AT)
        while True:
            found = nearest(vector, k)
            if cut is not None and tells and stop.bound is None:
                bound = self._bound(vector, cut, usual)
                stop = replace(stop, bound=bound, nothing=not self._opens(bound, found))
            left = self.left(found, stop)
            ended = len(found) < k or (stop.bound is not None and found[-1].score < stop.bound.lowest)
            if len(left) >= top or ended:
                break
            k *= 2
        if stop.bound is None:
            return Hits(left[:top], cut=cut, more=len(left) > top or not ended, tells=tells), stop
        if not left or stop.nothing:
            stop = replace(stop, nothing=True)
            return Hits(self.left(found, stop)[:top], cut=cut, fitting=0), stop
        return Hits(left[:top], cut=cut, fitting=len(left), more=not ended), stop

    def left(self, hits: Sequence[Hit], stop: Stop) -> list[Hit]:
        """What is left of some hits, in their order: those that fit; or where nothing does all of them, marked."""
        if not hits or (stop.bound is None and not stop.without):
            return list(hits)
        vectors = self._vectors_of(np.array([hit.image_id for hit in hits], dtype=np.int64))
        scores = np.array([hit.score for hit in hits], dtype=np.float32)
        stays = np.ones(len(hits), dtype=bool)
        for bound in stop.without:
            stays &= ~self._fits(bound, vectors, vectors @ bound.vector)
        fits = None
        if stop.bound is not None:
            fits = not stop.nothing
            if fits:
                stays &= self._fits(stop.bound, vectors, scores)
        return [replace(hit, fits=fits) for hit, stay in zip(hits, stays.tolist(), strict=True) if stay]

    def bound_again(self, vector: FloatArray, at: float, *, auto: bool) -> Bound:
        """A bound of which somebody kept the numbers."""
        return Bound(vector, at, self.usual() if auto else None)

    # --- what fits ----------------------------------------------------------------------------------------------------

    def _bound(self, vector: FloatArray, cut: float | str, usual: Usual | None) -> Bound:
        if usual is None:
            assert not isinstance(cut, str)
            return Bound(vector, cut, None)
        return Bound(vector, usual.of_text(vector), usual)

    def _shown(
        self,
        texts: Sequence[FloatArray],
        nearest: Callable[[FloatArray, int], Sequence[Hit]],
        cut: float | str | None,
        usual: Usual | None,
    ) -> tuple[Bound, ...]:
        """Bounds of those texts that some photo fits."""
        bounds = [self._bound(text, AUTO if cut is None else cut, usual) for text in texts]
        if usual is None:
            return tuple(bounds)
        return tuple(one for one in bounds if self._opens(one, nearest(one.vector, rule.LOOKED_AT)))

    def _opens(self, bound: Bound, nearest: Sequence[Hit]) -> bool:
        """Whether anything fits, given the photos nearest to the bound's vector."""
        first = nearest[: rule.LOOKED_AT]
        if not first:
            return False
        if bound.usual is None:
            return first[0].score >= bound.at
        vectors = self._vectors_of(np.array([hit.image_id for hit in first], dtype=np.int64))
        cosines = np.array([hit.score for hit in first], dtype=np.float32)
        return bool(bound.usual.exceeds(bound.at, vectors, cosines).max() >= rule.OPEN)

    def _fits(self, bound: Bound, vectors: FloatArray, cosines: FloatArray) -> npt.NDArray[np.bool_]:
        if bound.usual is None:
            return cosines >= np.float32(bound.at)
        return bound.usual.exceeds(bound.at, vectors, cosines) >= rule.FITS

    def _vectors_of(self, image_ids: IdArray) -> FloatArray:
        """float32 (len(image_ids), dim); of what has gone meanwhile zeros, which fit nothing."""
        found = np.zeros((len(image_ids), self._session.info.dim), dtype=np.float32)
        if self._session.index.on_server:
            by_id = self._session.index.server().vectors_of(image_ids)
            for i, image_id in enumerate(image_ids.tolist()):
                if image_id in by_id:
                    found[i] = by_id[image_id]
            return found
        table = self._session.index.open().vectors
        rows = table.rows_of(image_ids)
        found[rows >= 0] = table.take(rows[rows >= 0])
        return found

    # --- what is usual ------------------------------------------------------------------------------------------------

    def usual(self) -> Usual:
        """What is usual in the library as it is now: kept in memory and in the library until that changes."""
        model, index = self._session.model.row(), self._session.index.for_search()
        state = (model.id, index.watermark, index.generation)
        if self._session.usual is not None and self._session.usual[0] == state:
            return self._session.usual[1]
        words = self._session.embed.texts(BASIC)
        settings = [BASIC, rule.COMMON, rule.LEAST, rule.SAMPLE]
        key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
        kept = self._session.storage.reads.derived(model.id, _KIND, key)
        if kept is not None and kept["state"] == [index.watermark, index.generation]:
            usual = Usual.from_json(kept["usual"], words, model.info.logit_scale)
        else:
            ids = self._session.storage.reads.image_ids_of(model.id, through=index.watermark)
            usual = Usual.of(self._vectors_of(rule.sample(ids)), words, model.info.logit_scale)
            body = {"state": [index.watermark, index.generation], "usual": usual.to_json()}
            if not self._session.read_only and may_keep.get()(len(json.dumps(body))):
                # Where others write, it is measured again next time.
                with suppress(LibraryBusy, LibraryReadOnly, StorageFull, StorageFailed):
                    self._session.model.store(
                        lambda model_id: self._session.storage.labels.save_derived(model_id, _KIND, key, body)
                    )
        self._session.usual = (state, usual)
        return usual


def require_words(cut: float | str | None) -> None:
    """Refuse to find a cut for a query that is not of words alone.

    Raises:
        BadQuery
    """
    if cut == AUTO:
        raise BadQuery(
            "where photos like another photo stop is not known: a cut is found for words only; give a similarity, such"
            " as 0.8, or none"
        )

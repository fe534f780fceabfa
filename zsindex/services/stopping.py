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

    @property
    def opens(self) -> float:
        """What the best photo must exceed for anything to fit."""
        return 0.0 if self.usual is None else rule.OPEN

    @property
    def fits(self) -> float:
        """What a photo must exceed to fit."""
        return 0.0 if self.usual is None else rule.FITS

    def exceeds(self, own: npt.NDArray[np.float64], cosines: FloatArray) -> npt.NDArray[np.float64]:
        """By how much photos exceed it: float64 (n,), from what `Usual.own` says of them, and their cosines."""
        if self.usual is None:
            return (cosines - np.float32(self.at)).astype(np.float64)
        return self.usual.exceeds(self.at, own, cosines)


@dataclass(frozen=True, eq=False)
class Stop:
    """What is left of the photos nearest to a query.

    Attributes:
        bound: of the query; None shows everything.
        without: of what is left out.
    """

    bound: Bound | None = None
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
        """The best photos that fit a query; if none does, the nearest.

        Args:
            vector: float32 (dim,), of the query.
            nearest: so many photos nearest to a vector, best first; fewer where there are no more.
            cut, without, top: of `zsindex.classification.options.Query`; of `without` the vectors.
        """
        by_words = cut == AUTO or (cut is None and bool(without))
        usual = self.usual() if by_words else None
        tells = usual is None or usual.tells
        stop = Stop()
        if tells:
            left_out = [self._bound(text, cut, usual) for text in without]
            shown = [one for one in left_out if self._any_fits(one, nearest(one.vector, rule.LOOKED_AT))]
            stop = Stop(None if cut is None else self._bound(vector, cut, usual), tuple(shown))
        k = max(top, rule.LOOKED_AT)
        while True:
            found = nearest(vector, k)
            stays, exceeds = self._judged(found, stop)
            opens, fits = True, stays
            if stop.bound is not None:
                opens = _opens(stop.bound, exceeds)
                fits = stays & (exceeds >= stop.bound.fits) & opens
            fitting = int(fits.sum())
            wanted = fits if fitting else stays
            ended = len(found) < k or (stop.bound is not None and opens and found[-1].score < stop.bound.lowest)
            # All that was looked at may be left out, and something further away still fit.
            if ended or (int(wanted.sum()) >= top and (fitting or not opens)):
                break
            k *= 2
        marked = None if stop.bound is None else fitting > 0
        chosen = [replace(found[i], fits=marked) for i in np.flatnonzero(wanted)[:top].tolist()]
        more = bool(fitting) and not ended
        if stop.bound is None:
            return Hits(chosen, cut=cut, more=more or fitting > top, tells=tells), stop
        return Hits(chosen, cut=cut, fitting=fitting, more=more), stop

    def left(self, hits: Sequence[Hit], stop: Stop) -> list[Hit]:
        """What is left of some hits, in their order, if something fits."""
        stays, exceeds = self._judged(hits, stop)
        if stop.bound is None:
            return [hits[i] for i in np.flatnonzero(stays).tolist()]
        return [replace(hits[i], fits=True) for i in np.flatnonzero(stays & (exceeds >= stop.bound.fits)).tolist()]

    def bound_again(self, vector: FloatArray, at: float, *, auto: bool) -> Bound:
        """A bound of which somebody kept the numbers."""
        return Bound(vector, at, self.usual() if auto else None)

    # --- what fits ----------------------------------------------------------------------------------------------------

    def _bound(self, vector: FloatArray, cut: float | str | None, usual: Usual | None) -> Bound:
        if usual is not None:
            return Bound(vector, usual.of_text(vector), usual)
        assert isinstance(cut, float)
        return Bound(vector, cut, None)

    def _any_fits(self, bound: Bound, nearest: Sequence[Hit]) -> bool:
        return _opens(bound, self._judged(nearest, Stop(bound))[1])

    def _judged(self, hits: Sequence[Hit], stop: Stop) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Which hits are not left out, and by how much each exceeds the query's bound, if there is one."""
        stays, exceeds = np.ones(len(hits), dtype=bool), np.zeros(len(hits))
        if not hits or (stop.bound is None and not stop.without):
            return stays, exceeds
        vectors = self._vectors_of(np.array([hit.image_id for hit in hits], dtype=np.int64))
        usual = next((one.usual for one in (stop.bound, *stop.without) if one is not None), None)
        own = np.zeros(len(hits)) if usual is None else usual.own(vectors)
        for bound in stop.without:
            stays &= bound.exceeds(own, vectors @ bound.vector) < bound.fits
        if stop.bound is not None:
            exceeds = stop.bound.exceeds(own, np.array([hit.score for hit in hits], dtype=np.float32))
        return stays, exceeds

    def _vectors_of(self, image_ids: IdArray) -> FloatArray:
        """float32 (len(image_ids), dim); zeros for what has gone meanwhile."""
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
            if not len(ids):
                return Usual.of_none(words, model.info.logit_scale)
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


def _opens(bound: Bound, exceeds: npt.NDArray[np.float64]) -> bool:
    """Whether anything fits, judged from the nearest photos, best first."""
    return bool(exceeds[: rule.LOOKED_AT].max(initial=-np.inf) >= bound.opens)


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

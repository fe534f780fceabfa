"""`library.map`: all images as points of a plane, so that those lie together that are alike."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from zsindex.arguments import bounds
from zsindex.errors import ExtraMissing, StorageFailed
from zsindex.session.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsindex.classification.results import Classification
    from zsindex.classification.view import View
    from zsindex.lab.kept_map import KeptMap
    from zsindex.lab.layout import Layout
    from zsindex.records import Progress


class Map:
    """The map of the library's images, by the vectors of its current model."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def seconds(self) -> float:
        """About how long `build` takes, on two cores.

        Raises:
            NoVectors
        """
        from zsindex.lab import layout

        view = self._session.view_of(None)
        return layout.seconds(len(view.unique[0]), view.info.dim)

    def require_possible(self) -> View:
        """Raise what `build` would before it begins.

        Raises:
            ExtraMissing, NoVectors
        """
        from zsindex.lab import layout

        if not layout.is_installed():
            raise ExtraMissing("openTSNE", extra="map", why="a map is laid out by t-SNE")
        return self._session.view_of(None)

    def build(
        self,
        *,
        seed: int = 0,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Layout:
        """Lay out all images anew, by t-SNE over the graph of their neighbours, and keep that.

        Of more than 100,000 images so many, drawn by chance, are laid out together, and the others placed among them.
        Until it is done, and where it is stopped, the map that was there before stays. docs/methods.md has the method,
        docs/lab.md how long it takes.

        Args:
            seed: the same photos, seed and version of openTSNE give the same map.
            progress: called with the photos whose neighbours are known (``neighbours``), the iterations that are done
                (``layout``), and the photos that were placed (``place``).
            should_stop: whether to end it.

        Raises:
            ExtraMissing: openTSNE is not installed.
            NoVectors: no photo has a vector of the model.
            Stopped: by `should_stop`.
            LibraryReadOnly
            StorageFailed: it could not be kept.
        """
        from zsindex.lab import layout, neighbours
        from zsindex.services.neighbours import NEIGHBOURS, graph_of

        seed = bounds.whole("seed", seed, least=0)
        session = self._session
        session.storage.require_writable("make a map")
        view = self.require_possible()
        rows = view.unique[0]
        watch = layout.Watch(progress, should_stop)
        drawn = layout.chosen(len(rows), seed)
        together = rows[drawn]
        step = watch.share_of("neighbours", len(together))
        if len(together) == len(rows):
            graph = graph_of(session, view, whole=True, step=step)
        else:
            graph = neighbours.build(view.vectors, together, NEIGHBOURS, step=step)
        points = layout.lay_out(view.vectors, together, graph, seed=seed, watch=watch)
        ids = view.vectors.ids[together]
        rest = np.delete(rows, drawn)
        if len(rest):
            points = np.concatenate(
                [points, layout.place(view.vectors, rest, together, points, watch=watch, seed=seed)]
            )
            ids = np.concatenate([ids, view.vectors.ids[rest]])
        made = layout.Layout(ids, points.astype(np.float32), len(together), len(ids))
        try:
            self._kept(view).save(made)
        except OSError as error:
            detail = error.strerror or str(error)
            raise StorageFailed(session.place, "keep the map", detail) from error
        return made

    def layout(self) -> Layout | None:
        """The map as it was laid out last, with the images that are in the library now; None if there is none.

        Images that came since are placed among the others, up to 5,000 at a time, and kept so; as long as `is_outdated`
        does not say that a new map is due, and openTSNE is installed. Where that is not so, `new` counts them.

        Raises:
            NoVectors: no photo has a vector of the model.
        """
        from zsindex.lab import layout

        session = self._session
        view = session.view_of(None)
        place = self._kept(view)
        before = place.current()
        kept = place.load()
        if kept is None:
            return None
        rows = view.unique[0]
        ids = view.vectors.ids[rows]
        found = kept.among(ids)
        if not found.new or not len(found) or found.is_outdated or not layout.is_installed():
            return found
        fresh = ~np.isin(ids, found.ids)
        new = rows[fresh][: layout.MOST_PLACED]
        known = view.vectors.rows_of(found.ids)
        watch = layout.Watch(None, None)
        placed = layout.place(view.vectors, new, known, found.points.astype(np.float64), watch=watch)
        found = layout.joined(found, view.vectors.ids[new], placed)
        if not session.read_only and view.snapshot[1] >= 0:
            place.could_replace(before, found)
        return found

    def plot(self, kind: str = "png", *, by: str | None = None, answer: Classification | None = None) -> bytes | None:
        """A picture of the map as `layout` gives it; None if there is none.

        Args:
            kind: ``png``, ``svg`` or ``pdf``.
            by: colour it by ``folder`` or ``year``.
            answer: colour it by the best answers of this, instead.

        Raises:
            ExtraMissing: matplotlib is not installed.
            NoVectors: no photo has a vector of the model.
            ValueError: `by` is neither, or given with `answer`.
        """
        from zsindex.lab import plots
        from zsindex.services.photos import Photos

        if by is not None and answer is not None:
            raise ValueError("a map is coloured by one thing: leave out by or answer")
        found = self.layout()
        if found is None:
            return None
        title, names, of = f"{len(found):,} photos", list[str](), np.full(len(found), -1)
        if by is not None or answer is not None:
            if answer is None:
                names, ids, group = Photos(self._session).grouped(str(by))
                names = _without_common(names) if by == "folder" else names
            else:
                names = list(answer.labels)
                ids, first = np.unique(answer.image_ids, return_index=True)
                group = answer.by_answer.labels[first]
            group_of = dict(zip(ids.tolist(), group.tolist(), strict=True))
            of = np.array([group_of.get(image, -1) for image in found.ids.tolist()], dtype=np.int64)
            title += f" by {by or 'answer'}"
        return plots.scatter(found.points, names, of, title, kind)

    def _kept(self, view: View) -> KeptMap:
        from zsindex.lab.kept_map import KeptMap

        return KeptMap(self._session.storage, view.model_id, view.info.fingerprint)


def _without_common(folders: list[str]) -> list[str]:
    """Folders from where they part."""
    try:
        above = os.path.commonpath(folders) if len(folders) > 1 else ""
    except ValueError:  # on several drives
        above = ""
    if not above:
        return folders
    return [os.path.relpath(one, above) for one in folders]

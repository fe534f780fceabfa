"""`library.neighbours`: photos with the photos most like them, and files that show the same picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from zsindex.arguments import bounds
from zsindex.records import NONE
from zsindex.services.decisions import Decisions
from zsindex.services.filters import Filters
from zsindex.session.session import Session
from zsindex.where import Where, WhereLike

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zsindex.arguments.paths import PathsLike
    from zsindex.classification.results import Smoothing
    from zsindex.classification.scorers import Scorer
    from zsindex.classification.view import View
    from zsindex.lab.duplicates import Duplicates, Level
    from zsindex.lab.neighbours import Graph
    from zsindex.records import FloatArray, Progress

# Neighbours per image in the stored graph.
NEIGHBOURS = 10
# Minimum cosine of near-duplicates: suits nano, see docs/lab.md.
NEAR = 0.95
# What was found out by looking at so many photos is remembered, 1 KB of each.
MOST_APPEARANCES = 100_000


@dataclass(frozen=True, slots=True)
class Copies:
    """Files with the same bytes.

    Attributes:
        image_id: of their content.
        paths: two or more.
    """

    image_id: int
    paths: tuple[str, ...]


class Neighbours:
    """Neighbours, smoothing, copies and near-duplicates."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def graph(self, *, paths: PathsLike | None = None) -> Graph:
        """The nearest neighbours of every image among the photos, by cosine, exactly.

        The graph of the whole library is kept in its folder, and extended when photos have been added.

        Args:
            paths: files and folders to restrict to. Default: all.

        Returns:
            ten neighbours per image, or fewer if there are not as many. Files with the same bytes are one image.

        Raises:
            ModelError
        """
        return graph_of(self._session, self._session.view_of(paths), whole=paths is None)

    def duplicates(
        self,
        *,
        threshold: float = NEAR,
        paths: PathsLike | None = None,
        where: WhereLike | None = None,
        look: bool = True,
        progress: Callable[[Progress], None] | None = None,
    ) -> Duplicates:
        """Find identical and near-identical photos, and suggest which ones to keep. Nothing is deleted.

        Near-duplicates have vectors with a cosine of at least the threshold and, if both can be read, show the same
        picture: their pixels correlate. Each group is a photo to keep and its near-duplicates; in a long series, whose
        first and last are no longer alike, no photo is dropped that does not resemble the one kept. The photo to keep
        is the one with the most pixels; among equals the sharpest (variance of the Laplacian: Pech-Pacheco et al.
        2000), then the largest file. What people decided about photos comes first: see `library.decisions`.
        docs/methods.md has more.

        Args:
            threshold: minimum cosine of near-duplicates, up to 1. The right value depends on the model; see
                `duplicate_examples`.
            paths: files and folders to restrict to. Default: all.
            where: only photos that fit, see `zsindex.where`. Only these are compared.
            look: False reads no photos, and goes by vectors, pixel counts and file sizes alone. This also finds cropped
                and retouched copies, and other pictures of the same kind of thing.
            progress: called now and then with how many photos have been read.

        Raises:
            ValueError: the threshold is not in (0, 1].
            TooManyPairs: it is far too low.
            BadFilter, NoFacts, UnknownLabelSet, UnknownLabel: of `where`.
        """
        from zsindex.lab import duplicates, neighbours

        threshold = bounds.real("threshold", threshold, above=0, most=1)
        where = Where.of(where)
        view = Filters(self._session).view_of(paths, where)
        graph = graph_of(self._session, view, whole=paths is None and where is None)
        pairs = neighbours.pairs_above(view.vectors, view.unique[0], graph, threshold)
        known = self._session.appearances
        found = duplicates.find(
            view,
            pairs,
            threshold=threshold,
            decided=Decisions(self._session).in_effect(),
            details=self._session.storage.photos.details_of,
            known=known if look else None,
            settings=self._session.settings,
            decoder=self._session.decoder,
            progress=progress or (lambda _: None),
        )
        for image_id in list(known)[:-MOST_APPEARANCES]:  # those first that came first
            known.pop(image_id, None)
        return found

    def duplicate_examples(
        self, *, each: int = 2, paths: PathsLike | None = None, where: WhereLike | None = None
    ) -> list[Level]:
        """Example pairs of photos at several cosines, to help choose the threshold of `duplicates`.

        Args:
            each: pairs per level.
            paths, where: as for `duplicates`.
        """
        from zsindex.lab import duplicates

        where = Where.of(where)
        view = Filters(self._session).view_of(paths, where)
        return duplicates.examples(
            view, graph_of(self._session, view, whole=paths is None and where is None), each=each
        )

    def copies(self) -> list[Copies]:
        """Files that are byte-for-byte copies, grouped, in the order of their first files."""
        view = self._session.view()
        images, first, back, counts = np.unique(
            view.image_ids, return_index=True, return_inverse=True, return_counts=True
        )
        paths: dict[int, list[str]] = {int(n): [] for n in np.flatnonzero(counts > 1).tolist()}
        for photo in np.flatnonzero(counts[back] > 1).tolist():
            paths[int(back[photo])].append(view.paths[photo])
        return [
            Copies(int(images[n]), tuple(found)) for n, found in sorted(paths.items(), key=lambda one: first[one[0]])
        ]

    def smooth(
        self,
        view: View,
        scorer: Scorer,
        answers: tuple[str, ...],
        text_vectors: FloatArray,
        answer_of: Sequence[int],
        *,
        whole: bool,
    ) -> tuple[FloatArray, Smoothing]:
        """Score all photos together; see `zsindex.lab.smooth`.

        Args:
            scorer: scores each photo on its own.
            answers: the columns of its scores.
            text_vectors, answer_of: of the concepts, and the answer that each belongs to.
            whole: whether the view covers the whole library.

        Returns:
            Scores float32 (u, n_answers) of the images of ``view.unique``, and what has changed.

        Raises:
            TooManyScores
        """
        from zsindex.lab import smooth

        anchors = smooth.anchors(text_vectors, answer_of, len(answers))
        none = answers.index(NONE) if NONE in answers else None
        graph = graph_of(self._session, view, whole=whole)
        done = smooth.smooth(view.vectors, view.unique[0], scorer, anchors, graph, none=none)
        return done.scores, smooth.report(done, view, answers)


def graph_of(session: Session, view: View, *, whole: bool, step: Callable[[float], None] = lambda _: None) -> Graph:
    """The nearest neighbours of every image of a view; see `Neighbours.graph`.

    Args:
        whole: the view is of the whole library, whose graph is kept.
        step: called now and then with the share that is done; may raise to end it.
    """
    from zsindex.index import snapshots
    from zsindex.lab import neighbours

    # The graph of a model that another process has pruned would never be removed.
    keep = whole and not session.read_only and view.snapshot[1] >= 0
    return neighbours.graph(
        view.vectors,
        view.unique[0],
        NEIGHBOURS,
        file=snapshots.neighbours_file(session.path, view.info.fingerprint),
        is_recorded=partial(snapshots.is_recorded_graph, session.storage, view.model_id),
        generation=view.snapshot[1],
        record=partial(snapshots.record_graph, session.storage, view.model_id) if keep else None,
        step=step,
    )

"""What `Library` answers from the graph of neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsindex.facade.core import Core
from zsindex.records import NONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zsindex.lab.neighbours import Graph
    from zsindex.records import FloatArray
    from zsindex.results import Smoothing
    from zsindex.scoring import Scorer
    from zsindex.sources import PathsLike
    from zsindex.view import View

# Neighbours per image in the graph that is kept.
NEIGHBOURS = 10


class Graphs(Core):
    """Neighbours, smoothing and near-duplicates."""

    def neighbours(self, *, paths: PathsLike | None = None) -> Graph:
        """The nearest neighbours of every image among the photos, by cosine, exactly.

        Of the whole library they are kept in its folder and extended when photos were added.

        Args:
            paths: files and folders to restrict to. Default: all.

        Returns:
            ten neighbours per image, or as many as there are. Images that are the same bytes are one.

        Raises:
            ModelError
        """
        return self._neighbours(self.view(paths), whole=paths is None)

    def _neighbours(self, view: View, *, whole: bool) -> Graph:
        from zsindex.index import neighbours_file
        from zsindex.lab import neighbours

        return neighbours.graph(
            view.vectors,
            view.unique[0],
            NEIGHBOURS,
            file=neighbours_file(self.path, view.info.fingerprint),
            generation=view.snapshot[1],
            keep=whole and not self.read_only,
        )

    def _smooth(
        self,
        view: View,
        scorer: Scorer,
        answers: tuple[str, ...],
        text_vectors: FloatArray,
        answer_of: Sequence[int],
        *,
        whole: bool,
    ) -> tuple[FloatArray, Smoothing]:
        """Answer all photos together; see `zsindex.lab.smooth`.

        Args:
            scorer: what each photo is by itself.
            answers: the columns of its scores.
            text_vectors, answer_of: of the concepts, and the answer that each belongs to.
            whole: whether the view is of the whole library.

        Returns:
            Scores float32 (u, n_answers) of the images of ``view.unique``, and what has changed.

        Raises:
            TooManyScores
        """
        from zsindex.lab import smooth

        anchors = smooth.anchors(text_vectors, answer_of, len(answers))
        none = answers.index(NONE) if NONE in answers else None
        graph = self._neighbours(view, whole=whole)
        done = smooth.smooth(view.vectors, view.unique[0], scorer, anchors, graph, none=none)
        return done.scores, smooth.report(done, view, answers)

"""What `Library` answers from the graph of neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsindex.facade.core import Core

if TYPE_CHECKING:
    from zsindex.lab.neighbours import Graph
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

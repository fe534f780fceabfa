"""`library.decisions`: what people decide about duplicates, which `library.neighbours.duplicates` respects."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.config import absolute
from zsindex.errors import SamePhoto
from zsindex.session.session import Session
from zsindex.storage.rows import DecisionEntry

if TYPE_CHECKING:
    from zsindex.lab.decisions import Decided, Decision, Folded

# Paths, or groups of paths.
GroupsLike: TypeAlias = "Iterable[str | os.PathLike[str]] | Iterable[Iterable[str | os.PathLike[str]]]"

_WHY = "only photos that it holds can be decided about"


class Decisions:
    """Decisions about duplicates. They belong to the content of photos, not to their paths or vectors: they outlive
    moves, other models, and photos that go and come back. They delete nothing.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self,
        *,
        different: GroupsLike = (),
        keep: PathsLike = (),
    ) -> int:
        """Record decisions, in one step that `undo` takes back as one. If one is refused, none is kept.

        Args:
            different: two or more photos, or several such groups, of which no two show the same picture: they will not
                be in a group again, not even by way of a third photo that is like both.
            keep: photos that will not be suggested for removal; the other photos of their group will. Of files with
                the same bytes this one is kept.

        Returns:
            How many decisions there were: pairs of photos that are different, and photos to keep.

        Raises:
            NotInLibrary, LibraryReadOnly
            SamePhoto: two photos called different have the same bytes, or there is only one.
        """
        from zsindex.lab.decisions import all_different

        self._session.storage.require_writable("keep decisions")
        groups, kept = _groups(different), absolute_all(keep)
        digests = self._session.digests_of([*(path for paths in groups for path in paths), *kept], _WHY)
        entries = []
        for paths in groups:
            if len({digests[path] for path in paths}) < max(2, len(paths)):
                raise SamePhoto(paths)
            entries += all_different((path, digests[path]) for path in paths)
        entries += [DecisionEntry("keep", digests[path], path) for path in dict.fromkeys(kept)]
        self._session.storage.labels.add_decisions(entries)
        return len(entries)

    def forget(self, paths: PathsLike) -> int:
        """Withdraw all decisions about photos; returns how many that were. This can be undone as well.

        Raises:
            NotInLibrary, LibraryReadOnly
        """
        self._session.storage.require_writable("withdraw decisions")
        digests = self._session.digests_of(absolute_all(paths), _WHY)
        held = self._folded()
        of = {digest: path for path, digest in digests.items() if digest in held.digests}
        self._session.storage.labels.add_decisions([DecisionEntry("forget", digest, of[digest]) for digest in of])
        return sum(digest in of for digest in held.keep) + sum(
            not of.keys().isdisjoint(pair) for pair in held.different
        )

    def undo(self) -> int:
        """Take back the last step: an `add` or a `forget`; returns how many decisions that were, 0 if no step is left.

        Raises:
            LibraryReadOnly
        """
        self._session.storage.require_writable("undo decisions")
        return len(self._session.storage.labels.undo_decisions())

    def list(self) -> builtins.list[Decision]:
        """The decisions in effect, oldest first."""
        from zsindex.lab.decisions import decisions

        folded = self._folded()
        ids = self._session.storage.photos.images_of(folded.digests)
        files = self._session.storage.reads.files_of(builtins.list(ids.values()))
        paths: dict[int, builtins.list[str]] = {}
        for path, image_id in zip(files.paths, files.image_ids.tolist(), strict=True):
            paths.setdefault(image_id, []).append(path)
        return decisions(folded, {digest: paths.get(ids[digest], []) for digest in ids})

    def in_effect(self) -> Decided:
        """The decisions in effect about photos that the library holds, by image id."""
        from zsindex.lab.decisions import decided

        folded = self._folded()
        return decided(folded, self._session.storage.photos.images_of(folded.digests))

    def _folded(self) -> Folded:
        from zsindex.lab.decisions import fold

        return fold(self._session.storage.labels.decisions())


def _groups(different: GroupsLike) -> list[list[str]]:
    """Absolute paths by groups, of which there may be one alone."""
    if isinstance(different, str):
        return [[absolute(different)]]
    given = list(different)
    alone = [one for one in given if isinstance(one, (str, os.PathLike))]
    return [absolute_all(alone)] if alone else [absolute_all(paths) for paths in given]

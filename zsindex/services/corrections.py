"""`library.corrections`: what people say about photos, and what the answers for all other photos learn from it."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.arguments.several import several
from zsindex.classification.learned import DEFAULT_METHOD
from zsindex.classification.prompts import normalise
from zsindex.classification.scorers import Head, Scorer, largest
from zsindex.classification.view import View
from zsindex.config import absolute
from zsindex.errors import BadQuery, UnknownLabel
from zsindex.records import Activation, FloatArray, IdArray, LabelSet
from zsindex.services.labels import Labels, saved_name
from zsindex.session.session import Session
from zsindex.storage.rows import CorrectionEntry

if TYPE_CHECKING:
    from zsindex.classification.learned import Learned
    from zsindex.lab import corrections as lab
    from zsindex.lab.next import Suggestion

# (path, label, True if the photo does not show it)
Statement: TypeAlias = "tuple[str | os.PathLike[str], str, bool]"

_WHY = "only photos that it holds can be corrected"


class Corrections:
    """Corrections of saved label sets, and what is learned from them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = Labels(session)

    # --- corrections --------------------------------------------------------------------------------------------------

    def add(self, label_set: str, path: str | os.PathLike[str], label: str, *, not_: bool = False) -> None:
        """Record what a photo shows. The correction belongs to the photo's content, not to its path or vector.

        Args:
            label_set: the name of a saved label set; its corrections apply to all its versions and to every model.
            path: of a photo that the library knows; the file may be gone.
            label: a label, a group or a negative of the label set's newest version; or `zsindex.records.NONE`.
            not_: the photo does not show it.

        Raises:
            UnknownLabelSet, UnknownLabel, NotInLibrary, LibraryReadOnly
        """
        self.add_all(label_set, [(path, label, not_)])

    def add_all(self, label_set: str, statements: Statement | Iterable[Statement]) -> int:
        """Record what many photos show, in one step that `undo` takes back as one. If one is refused, none is kept.

        Args:
            label_set: the name of a saved label set.
            statements: (path, label, True if the photo does not show it), one or several; if two contradict each other,
                the later one wins.

        Returns:
            How many there were.

        Raises:
            UnknownLabelSet, UnknownLabel, NotInLibrary, LibraryReadOnly
        """
        said = _several(statements)
        self.add_step(label_set, said)
        return len(said)

    def add_step(self, label_set: str, statements: Statement | Iterable[Statement]) -> int:
        """Like `add_all`, but returns the number of the step, for `undo`; 0 if nothing was said.

        Raises:
            UnknownLabelSet, UnknownLabel, NotInLibrary, LibraryReadOnly
        """
        from zsindex.lab.corrections import concepts_named

        self._session.storage.require_writable("keep corrections")
        chosen = self._labels.get(label_set)
        named = concepts_named(chosen)
        said = [(absolute(path), normalise(label), not_) for path, label, not_ in _several(statements)]
        for _, label, _ in said:
            if label not in named:
                raise UnknownLabel(
                    label, known=[*chosen.labels, *(name for name in named if name not in chosen.labels)]
                )
        digests = self._session.digests_of([path for path, _, _ in said], _WHY)
        return self._session.storage.labels.add_corrections(
            saved_name(chosen), [CorrectionEntry(digests[path], label, n) for path, label, n in said]
        )

    def forget(self, label_set: str, paths: PathsLike) -> int:
        """Withdraw all corrections of photos; returns how many photos had any. This can be undone as well.

        Raises:
            UnknownLabelSet, NotInLibrary, LibraryReadOnly
        """
        self._session.storage.require_writable("withdraw corrections")
        name = saved_name(self._labels.get(label_set))
        return self._forget(name, self._session.digests_of(absolute_all(paths), _WHY).values())

    def forget_digests(self, label_set: str, digests: str | Iterable[str]) -> int:
        """The same by the hex SHA-256 of photos, as `list` says it: also of those that are gone.

        Raises:
            UnknownLabelSet, LibraryReadOnly
            ValueError: one is no such digest.
        """
        self._session.storage.require_writable("withdraw corrections")
        name = saved_name(self._labels.get(label_set))
        return self._forget(name, [bytes.fromhex(digest) for digest in several(digests)])

    def _forget(self, name: str, digests: Iterable[bytes]) -> int:
        held = self._folded(name).by_digest
        entries = [CorrectionEntry(digest, None) for digest in dict.fromkeys(digests) if digest in held]
        if entries:
            self._session.storage.labels.add_corrections(name, entries)
        return len(entries)

    def undo(self, label_set: str, *, step: int | None = None) -> int:
        """Take back the last step: an `add`, an `add_all` or a `forget`; returns how many corrections that were, 0 if
        no step is left.

        Args:
            label_set: the name of a saved label set.
            step: only this one, as `add_step` says it: 0 is returned if it is not the last one by now.

        Raises:
            UnknownLabelSet, LibraryReadOnly
        """
        self._session.storage.require_writable("undo corrections")
        name = saved_name(self._labels.get(label_set))
        return len(self._session.storage.labels.undo_corrections(name, only=step))

    def list(self, label_set: str) -> builtins.list[lab.CorrectedPhoto]:
        """The corrections in effect for every corrected photo, by path; photos that are gone come last.

        Raises:
            UnknownLabelSet
        """
        from zsindex.lab.corrections import corrected_photos

        chosen = self._labels.get(label_set)
        found = self._folded(saved_name(chosen))
        ids = self._session.storage.photos.images_of(found.by_digest)
        at = self._session.storage.labels.corrected_at(saved_name(chosen))
        return corrected_photos(found, ids, self._paths_of(list(ids.values())), chosen, at)

    def _paths_of(self, image_ids: Sequence[int]) -> dict[int, builtins.list[str]]:
        files = self._session.storage.reads.files_of(image_ids)
        found: dict[int, builtins.list[str]] = {}
        for path, image_id in zip(files.paths, files.image_ids.tolist(), strict=True):
            found.setdefault(image_id, []).append(path)
        return found

    def _folded(self, name: str) -> lab.FoldedCorrections:
        from zsindex.lab.corrections import fold

        return fold(self._session.storage.labels.corrections(name))

    # --- learning -----------------------------------------------------------------------------------------------------

    def next(
        self,
        label_set: str,
        n: int = 10,
        *,
        template: str | Sequence[str] | None = None,
        paths: PathsLike | None = None,
        truncate: bool = False,
    ) -> builtins.list[Suggestion]:
        """The photos whose correction would teach most: unsure ones that stand for other unsure ones.

        The answers take existing corrections into account (``logistic``). From the photos with the smallest margin
        between the two best answers, it picks those that cover them best (Wei, Iyer and Bilmes 2015); see
        `zsindex.lab.next.most_telling`. Corrected photos are not suggested again.

        Args:
            label_set: the name of a saved label set.
            n: how many, at most.
            template: used instead of the label set's own.
            paths: files and folders to restrict to. Default: all.
            truncate: truncate prompts that are too long for the model, instead of refusing them.

        Raises:
            UnknownLabelSet, BadTemplate, PromptTooLong, NotInLibrary
            BadQuery: the label set has one answer only.
        """
        from zsindex.lab.next import Suggestion, margins, most_telling

        n = bounds.whole("n", n, least=0)
        chosen = self._labels.resolve(label_set, template)
        if len(chosen.answers) < 2:
            raise BadQuery("with only one answer, no photo is unsure; add labels or negatives to the label set")
        view = self._session.view_of(paths, truncate=truncate)
        head = Head.of(chosen, view.text_vectors(chosen), view.info)
        scorer, taught = self.taught(view, chosen, head, DEFAULT_METHOD, self.of(chosen))
        labelled = view.vectors.rows_of(taught.corrected)
        rows = np.setdiff1d(view.unique[0], labelled)
        telling = most_telling(view.vectors, rows, margins(view.vectors, rows, scorer), labelled, n)
        best, scores = largest(scorer(view.vectors.take(rows[telling])), 2)
        ids = view.vectors.ids[rows[telling]].tolist()
        paths_of = self._paths_of(ids)
        return [
            Suggestion(
                paths_of[image_id][0],
                chosen.answers[first],
                score,
                chosen.answers[second],
                second_score,
                tuple(paths_of[image_id][1:]),
            )
            for image_id, (first, second), (score, second_score) in zip(
                ids, best.tolist(), scores.tolist(), strict=True
            )
        ]

    def of(self, labels: LabelSet) -> lab.FoldedCorrections:
        """The corrections of a saved label set."""
        return self._folded(saved_name(labels))

    def taught(
        self, view: View, labels: LabelSet, head: Head, method: str, found: lab.FoldedCorrections
    ) -> tuple[Scorer, Taught]:
        """The classifier that corrections turn the zero-shot one into, and the answers that they give themselves.

        It learns from all photos of the library, whatever `view` is restricted to.

        Raises:
            ValueError: there is no such method.
        """
        from zsindex.lab import few_shot

        lessons, corrected = self._lessons(view, labels, found)
        examples = view.vectors.take(view.vectors.rows_of(lessons.image_ids))
        scorer, learned = few_shot.learn(head, lessons, examples, few_shot.background(view.vectors), method=method)
        return scorer, Taught(learned, lessons, corrected, head.activation)

    def shows_none(self, view: View, labels: LabelSet) -> IdArray:
        """Images with a vector that are said to show none of the labels of a saved label set: int64, ascending."""
        return self._lessons(view, labels, self.of(labels))[0].shows_none

    def _lessons(self, view: View, labels: LabelSet, found: lab.FoldedCorrections) -> tuple[lab.Lessons, IdArray]:
        """What can be learnt; and the ids of all corrected images that have a vector, ascending."""
        from zsindex.lab import corrections

        ids = self._session.storage.photos.images_of(found.by_digest)
        numbers = np.array(list(ids.values()), dtype=np.int64)
        there = view.vectors.rows_of(numbers) >= 0
        with_vector = {digest: i for (digest, i), ok in zip(ids.items(), there.tolist(), strict=True) if ok}
        return corrections.lessons(found, with_vector, labels), np.sort(numbers[there])


@dataclass(frozen=True)
class Taught:
    """What corrections say about the photos they belong to.

    Attributes:
        learned: what was learnt from them for other photos.
        lessons: the corrections as numbers.
        corrected: int64, ids of all corrected images that have a vector, ascending.
        activation: of the classifier.
    """

    learned: Learned
    lessons: lab.Lessons
    corrected: IdArray
    activation: Activation

    def settle(
        self, view: View, answers: Sequence[str], scorer: Scorer, best: IdArray, scores: FloatArray, *, top: int
    ) -> tuple[IdArray, FloatArray]:
        """Replace the answers of corrected photos by what the corrections say.

        Args:
            answers: of the scorer: those of the label set, and perhaps `zsindex.records.NONE`.
            best, scores: (u, top) or narrower, of the images of `view`, in the order of `View.unique`.
        """
        rows = view.unique[0]
        settled = self.lessons.among(answers)
        which, said = settled.find(view.vectors.ids[rows])
        if not len(which):
            return best, scores
        sure = settled.scores(said, scorer(view.vectors.take(rows[which])), self.activation)
        their_best, their_scores = largest(sure, top)
        # If only some answers are given, the rest have the number -1 and a score of 0.
        partly = best.shape[1] < top or bool((best < 0).any())
        if partly:
            their_best = np.where(their_scores > 0, their_best, -1)
        more = ((0, 0), (0, top - best.shape[1]))
        best, scores = np.pad(best, more, constant_values=-1), np.pad(scores, more)
        best[which], scores[which] = their_best, their_scores
        return best, scores

    def settle_scores(self, view: View, answers: Sequence[str], scores: FloatArray) -> None:
        """Replace the scores of corrected photos by what the corrections say.

        Args:
            scores: float32 (u, n_answers), of the images of `view`, in the order of `View.unique`; they are changed.
        """
        settled = self.lessons.among(answers)
        which, said = settled.find(view.vectors.ids[view.unique[0]])
        if len(which):
            scores[which] = settled.scores(said, scores[which], self.activation)

    def all_scores(
        self, view: View, answers: Sequence[str], found_scores: Callable[[Sequence[int]], FloatArray]
    ) -> Callable[[Sequence[int]], FloatArray]:
        """Scores of every answer, for some photos of `view`, with corrected photos as the corrections say."""
        settled = self.lessons.among(answers)

        def score(photos: Sequence[int]) -> FloatArray:
            found = found_scores(photos)
            which, said = settled.find(view.image_ids[np.asarray(photos, dtype=np.int64)])
            if len(which):
                found[which] = settled.scores(said, found[which], self.activation)
            return found

        return score


def _several(given: Statement | Iterable[Statement]) -> list[Any]:
    is_one = isinstance(given, tuple) and bool(given) and isinstance(given[0], (str, os.PathLike))
    return [given] if is_one else list(given)

"""`library.labels`: saved label sets, and label sets from whatever describes them."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from zsindex.arguments import bounds
from zsindex.arguments.several import several
from zsindex.classification import prompts
from zsindex.classification.options import Question, WhichLabels
from zsindex.classification.prompts import LabelsLike
from zsindex.errors import UnknownLabelSet
from zsindex.records import LabelSet
from zsindex.services.templates import Templates
from zsindex.session.session import Session
from zsindex.storage.rows import SavedLabelSet

if TYPE_CHECKING:
    from zsindex.lab.keywords import Keyword


class Labels:
    """Label sets by name, all versions of each."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._templates = Templates(session)

    def list(self) -> builtins.list[LabelSet]:
        """Saved label sets by name, the newest version of each."""
        return [_saved(found) for found in self._session.storage.reads.label_sets()]

    def get(self, name: str) -> LabelSet:
        """A saved label set.

        Args:
            name: the newest version; or ``NAME@VERSION``.

        Raises:
            UnknownLabelSet: names the existing ones.
        """
        versions = self._versions(name)
        if versions:
            return _saved(versions[-1])
        plain, _, number = name.rpartition("@")
        versions = self._versions(plain)
        for version in versions:
            if str(version.version) == number:
                return _saved(version)
        raise UnknownLabelSet(name, known=[f"{plain}@{v.version}" for v in versions] or self._names())

    def history(self, name: str) -> builtins.list[SavedLabelSet]:
        """All versions of a saved label set, oldest first, with their times.

        Raises:
            UnknownLabelSet: names the existing ones.
        """
        versions = self._versions(name)
        if not versions:
            raise UnknownLabelSet(name, known=self._names())
        return versions

    def save(self, name: str, labels: LabelsLike, *, template: str | Sequence[str] | None = None) -> LabelSet:
        """Save a label set in the library. Versions saved earlier under the same name are kept; see `get`.

        Raises:
            NoLabels, EmptyLabel, DuplicateLabels, BadGroups, BadTemplate, LibraryReadOnly
            ValueError: the name is empty, or looks like a version (``NAME@2``).
        """
        if not prompts.checked(name, "the name").strip():
            raise ValueError("a label set needs a name")
        if name.rpartition("@")[2].isdigit():
            raise ValueError(f"a label set cannot be named {name!r}: NAME@NUMBER stands for a version")
        chosen = replace(self._made(labels, template), name=name)
        version = self._session.storage.labels.save_label_set(name, prompts.to_document(chosen))
        return replace(chosen, version=version)

    def restore(self, name: str, version: int) -> LabelSet:
        """Save an older version once more, as the newest one; nothing is saved where it is that already.

        Raises:
            UnknownLabelSet, LibraryReadOnly
        """
        self._session.storage.require_writable("save a label set")
        older = self.get(f"{name}@{bounds.whole('version', version, least=1)}")
        found = self._session.storage.labels.save_label_set(saved_name(older), prompts.to_document(older))
        return replace(older, version=found)

    def from_keywords(
        self,
        *,
        min_photos: int = 3,
        most: int | None = 200,
        whole: bool = False,
        exclude: str | Sequence[str] = (),
    ) -> builtins.list[Keyword]:
        """What labels the keywords would make that people gave the photos, those of the most photos first. To save
        them: ``library.labels.save(name, [one.label for one in found])``.

        Spellings that differ only in case are one label, the leaf of a hierarchy stands for it. What zsindex wrote
        into sidecars does not count.

        Args:
            min_photos: labels of fewer are left out: names of people, trips and years.
            most: so many labels at most; None for all.
            whole: hierarchies as labels with all their levels, ``owl, Birds``, rather than their leaves.
            exclude: patterns (``*``, ``?``, ``[…]``) of keywords, hierarchies or levels, without regard to case.
        """
        from zsindex.lab.keywords import as_labels
        from zsindex.services.keywords import people_gave

        min_photos = bounds.whole("min_photos", min_photos, least=1)
        most = None if most is None else bounds.whole("most", most, least=1)
        found = as_labels(people_gave(self._session), min_photos=min_photos, whole=whole, exclude=several(exclude))
        return found[:most]

    def remove(self, name: str) -> None:
        """Remove a saved label set with all its versions and thresholds. Its prompts stay cached.

        Raises:
            UnknownLabelSet, LibraryReadOnly
        """
        if not self._session.storage.labels.remove_label_set(prompts.checked(name, "the name of a label set")):
            raise UnknownLabelSet(name, known=self._names())

    def resolve(self, which: WhichLabels, template: str | Sequence[str] | None = None) -> LabelSet:
        """A label set by its name, or from labels.

        Args:
            template: one or several, or names of template sets; they replace the set's own prompts.

        Raises:
            NoLabels, EmptyLabel, DuplicateLabels, BadGroups, BadTemplate, UnknownLabelSet
        """
        if not isinstance(which, str):
            return self._made(which, template)
        found = self.get(which)
        if template is None:
            return found
        return prompts.label_set(found, templates=self._templates.resolve(template), name=found.name)

    def of(self, question: Question) -> LabelSet:
        """The label set that a question is about; see `resolve`."""
        if question.label_set is not None:
            return self.resolve(question.label_set, question.template)
        return self._made(() if question.labels is None else question.labels, question.template)

    def _made(self, labels: LabelsLike, template: str | Sequence[str] | None) -> LabelSet:
        templates = None if template is None else self._templates.resolve(template)
        made = prompts.label_set(labels, templates=templates)
        if not isinstance(labels, LabelSet):
            prompts.warn_of_alike(made)
        return made

    def _versions(self, name: str) -> builtins.list[SavedLabelSet]:
        name = prompts.checked(name, "the name of a label set")
        return self._session.storage.reads.label_set_versions(name)

    def _names(self) -> builtins.list[str]:
        return [saved.name for saved in self._session.storage.reads.label_sets()]


def saved_name(labels: LabelSet) -> str:
    """The name that a saved label set has in all its versions."""
    assert labels.name is not None
    return labels.name


def _saved(found: SavedLabelSet) -> LabelSet:
    return prompts.from_document(found.body, name=found.name, version=found.version)

"""`library.templates`: template sets, built-in and saved."""

from __future__ import annotations

from collections.abc import Sequence

from zsindex.arguments.several import several
from zsindex.classification import prompts, templates
from zsindex.errors import UnknownTemplateSet
from zsindex.session.session import Session


class Templates:
    """Template sets by name."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> dict[str, tuple[str, ...]]:
        """Template sets by name: the built-in ones, then the saved ones."""
        return {**templates.BUILT_IN, **self._session.storage.reads.template_sets()}

    def get(self, name: str) -> tuple[str, ...]:
        """The templates of a set, built-in or saved.

        Raises:
            UnknownTemplateSet: names the saved ones.
        """
        found = self.list()
        if name not in found:
            raise UnknownTemplateSet(name, known=[one for one in found if one not in templates.BUILT_IN])
        return found[name]

    def resolve(self, given: str | Sequence[str]) -> tuple[str, ...]:
        """Templates from templates and names of template sets.

        Raises:
            BadTemplate: neither a template nor the name of a set; names the existing sets.
        """
        texts = several(given)
        named = any(not templates.has_place(text) for text in texts)
        return templates.resolve(texts, self._session.storage.reads.template_sets() if named else None)

    def save(self, name: str, given: str | Sequence[str]) -> tuple[str, ...]:
        """Save templates under a name, replacing any saved under it before.

        Raises:
            BadTemplate, LibraryReadOnly
            ValueError: the name is that of a built-in set, is empty, or has a place for a label; or no template is
                given.
        """
        prompts.checked(name, "the name")
        if name in templates.BUILT_IN or not name.strip() or templates.has_place(name):
            raise ValueError(f"a template set cannot be named {name!r}")
        found = self.resolve(given)
        if not found:
            raise ValueError("a template set needs at least one template")
        self._session.storage.labels.save_template_set(name, found)
        return found

    def remove(self, name: str) -> None:
        """Remove a saved template set. Label sets made with it keep their prompts.

        Raises:
            UnknownTemplateSet, LibraryReadOnly
        """
        if not self._session.storage.labels.remove_template_set(prompts.checked(name, "the name of a template set")):
            raise UnknownTemplateSet(name, known=[*self._session.storage.reads.template_sets()])

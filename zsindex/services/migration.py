"""`library.migration`: moving from one model to another."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Unpack

from zsindex.arguments.several import several
from zsindex.classification.options import Question
from zsindex.lab.migration import Migration
from zsindex.records import ModelSpec, Progress
from zsindex.services.comparing import Asking, diff
from zsindex.services.ingest import Ingest
from zsindex.services.labels import Labels, saved_name
from zsindex.session.model import ModelOptions
from zsindex.session.session import Session


class Migrations:
    """Moves a library to another model; at no moment is it without one."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = Labels(session)

    def run(
        self,
        model: str,
        *,
        label_sets: str | Sequence[str] | None = None,
        switch: bool = False,
        truncate: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        **options: Unpack[ModelOptions],
    ) -> Migration:
        """Encode the library's photos with another model, alongside the present one, and compare their answers.

        Until the switch, every question is answered by the present model, also in other processes. If stopped or
        killed, the same call continues from there. No vectors are deleted, so that `use_model` switches back.

        Only photos that are in the library are encoded; for new ones, use `sync`.

        Args:
            model, options: as for `Library.use_model`.
            label_sets: names of saved label sets to compare answers for. Default: all, each in its newest version.
            switch: make the new model the default at the end.
            truncate: truncate prompts that are too long for the new model, instead of refusing them.
            progress, should_stop: as for `sync`.

        Raises:
            UnknownLabelSet, PromptTooLong, ModelError, LibraryBusy, LibraryReadOnly, StorageFull
            ValueError: `model` is the present model.
        """
        self._session.storage.require_writable("encode with another model")
        chosen = [saved_name(saved) for saved in self._labels.list()] if label_sets is None else several(label_sets)
        for name in chosen:
            self._labels.get(name)  # refuse an unknown one before the long work
        before = self._session.info.spec
        with self._session.beside(model, **options) as other:
            if other.info.fingerprint == self._session.info.fingerprint:
                raise ValueError(f"{other.model.spec} is already the library's model")
            todo = [path for path in other.view().unanswered if os.path.isfile(path)]
            report = Ingest(other).sync(todo, progress=progress, should_stop=should_stop) if todo else None
            view = other.view()
            away = tuple(path for path in view.unanswered if not os.path.isfile(path))
            interrupted = report is not None and report.interrupted
            diffs = {}
            if not interrupted:
                questions = {name: Question(label_set=name, truncate=truncate, sync=False) for name in chosen}
                diffs = {
                    name: diff(Asking(self._session, question), Asking(other, question))
                    for name, question in questions.items()
                }
            result = Migration(
                before=_name(before, other.model.spec),
                after=_name(other.model.spec, before),
                photos=len(view) + len(view.unanswered),
                ready=len(view),
                encoded=0 if report is None else report.encoded,
                away=away,
                skipped=() if report is None else report.skips,
                interrupted=interrupted,
                diffs=diffs,
                switched=switch and not interrupted,
            )
        if result.switched:
            self._session.use_model(model, **options)
        return result


def _name(spec: ModelSpec, other: ModelSpec) -> str:
    """A model's name, with what distinguishes it from another model of the same name."""
    return f"{spec} (--precision {spec.precision} {spec.seen_as})" if str(spec) == str(other) else str(spec)

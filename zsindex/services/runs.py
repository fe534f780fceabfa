"""`library.runs`: recorded questions with their answers, and asking them again."""

from __future__ import annotations

import builtins
from dataclasses import replace

from zsindex.classification.options import Question
from zsindex.classification.results import Classification
from zsindex.lab import runs as lab
from zsindex.lab.runs import Repeat, RunRecord
from zsindex.services.questions import Questions
from zsindex.services.run_store import RunStore, label_set_of
from zsindex.session.session import Session


class Runs:
    """Recorded runs. ``classify(record=True)`` and `record` record."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._store = RunStore(session)

    def list(self) -> builtins.list[RunRecord]:
        """Recorded runs, newest first."""
        return self._store.records()

    def get(self, key: str) -> RunRecord:
        """A recorded run.

        Args:
            key: a key, or its beginning if no other key begins with it.

        Raises:
            UnknownRun
        """
        return self._store.record_of(*self._store.find(key))

    def record(self, result: Classification) -> RunRecord:
        """Record a run: the question and the answer. See docs/methods.md.

        Raises:
            LibraryReadOnly, LibraryBusy, StorageFull, StorageFailed
        """
        return self._store.record(result)

    def repeat(self, key: str, *, record: bool = False) -> Repeat:
        """Repeat a recorded run, with the same model, labels and options, on the library's current photos.

        Args:
            key: see `get`.
            record: also record the new run.

        Returns:
            The new answer, and what has changed. Equal keys mean the same run, in which nothing can have changed.

        Raises:
            UnknownRun
            UnknownModel: the library no longer holds vectors of the run's model.
            NotInLibrary: it was about photos that are no longer in the library.
        """
        found, document, recorded_at = self._store.find(key)
        before, asked = self._store.record_of(found, document, recorded_at), document["run"]
        labels = replace(label_set_of(before.label_set), name=asked["label_set"], version=asked["label_set_version"])
        question = Question(labels, sync=False, record=record, **document["arguments"])
        if asked["fingerprint"] == self._session.info.fingerprint:
            result = Questions(self._session).classify(question)
        else:
            with self._session.with_fingerprint(asked["fingerprint"], asked["model"]) as other:
                result = Questions(other).classify(question)
        if "min_score" in asked["options"]:  # of what `Classification.filtered` left
            result = result.filtered(min_score=asked["options"]["min_score"], only=asked["options"]["only"])
            if record:
                self.record(result)
        return lab.compare(before, self._store.answer(document), result)

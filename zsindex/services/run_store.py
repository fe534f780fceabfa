"""Where recorded runs are kept: the question in storage, the answer in a file next to the index."""

from __future__ import annotations

import warnings
from typing import Any

from zsindex import config
from zsindex.classification.prompts import digest, from_document, label_set, to_document
from zsindex.classification.results import Answer, Classification, Run
from zsindex.errors import (
    LibraryBusy,
    LibraryReadOnly,
    StorageFailed,
    StorageFull,
    UnknownRun,
    ZsindexError,
    ZsindexWarning,
)
from zsindex.exchange import run_files
from zsindex.index.files import Making
from zsindex.lab.runs import RunRecord
from zsindex.records import LabelSet
from zsindex.session.session import Session
from zsindex.storage.failures import failure


class RunNotRecorded(ZsindexWarning):
    """The answer is right, but could not be stored: there was no room, or another process was writing."""


class StoredAnswerDamaged(ZsindexWarning):
    """The file of a recorded answer is not what was written. Its question is kept, and can be asked again."""


class RunStore:
    """Runs of one library, by their keys."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def records(self) -> list[RunRecord]:
        """All of them, newest first."""
        return [self.record_of(*row) for row in self._session.storage.labels.runs()]

    def find(self, key: str) -> tuple[str, dict[str, Any], str]:
        """A run's key, its document and when it was recorded.

        Args:
            key: a key, or its beginning if no other key begins with it.

        Raises:
            UnknownRun
        """
        row = self._session.storage.labels.run(key)
        if row is None:
            there = self._session.storage.labels.runs()
            found = [run for run in there if key and run[0].startswith(key)]
            if len(found) != 1:
                raise UnknownRun(key, known=[run[0] for run in found or there])
            row = found[0]
        return row

    def record_of(self, key: str, document: dict[str, Any], recorded_at: str) -> RunRecord:
        """What `find` returned, for people."""
        return RunRecord(
            key=key,
            recorded_at=recorded_at,
            run=document["run"],
            label_set=document["label_set"],
            answers=tuple(document["answers"]),
            photos=document["photos"],
            stored=run_files.exists(self._session.storage, document["stored"]),
            prior=document.get("prior"),
        )

    def answer(self, document: dict[str, Any]) -> Answer | None:
        """The stored answer of a run; None if its file is gone or damaged.

        Warns:
            StoredAnswerDamaged
        """
        storage, stored = self._session.storage, document["stored"]
        found = run_files.read(storage, stored)
        if found is None and run_files.exists(storage, stored):
            run = document["run"]["key"]
            what = f"the stored answer of run {run} is damaged, and counts as gone. Run zsindex check --fix"
            warnings.warn(what, StoredAnswerDamaged, stacklevel=3)
        return found

    def answer_of(self, run: Run, n: int) -> Answer | None:
        """The stored answer of a run to a question about n photos; None if it must be computed."""
        row = self._session.storage.labels.run(run.key)
        # Another version may score differently.
        if row is None or row[1]["run"]["zsindex"] != run.version or row[1]["photos"] != n:
            return None
        return self.answer(row[1])

    def record(self, result: Classification) -> RunRecord:
        """Record a run: the question and the answer.

        Raises:
            LibraryReadOnly, LibraryBusy, StorageFull, StorageFailed
        """
        storage = self._session.storage
        storage.require_writable("record a run")
        keep = config.RUNS.value
        run, asked = result.run, result.run.asked
        if asked is None:
            raise ValueError("only what `classify` returned can be recorded")
        with Making() as making:
            # First the file, then the record, so that a recorded answer always exists.
            try:
                stored = run_files.write(storage, making, run.key, result.answer)
            except OSError as error:
                raise failure(storage.folder, "record a run", error) from error
            document = {
                "run": run.to_dict(),
                "label_set": short_document(asked.labels),
                "arguments": asked.arguments,
                "answers": list(result.labels),
                "prior": None if result.prior is None else result.prior.to_dict(),
                "photos": len(result),
                "stored": stored,
            }
            try:
                replaced = storage.labels.save_run(run.key, document, keep=keep)
            except ZsindexError:
                run_files.remove(storage, [stored["file"]])
                raise
        run_files.remove(storage, replaced)
        run_files.make_room(storage)
        return self.record_of(*self.find(run.key))

    def record_if_possible(self, result: Classification) -> None:
        """`record`, but warn instead of failing."""
        if self._session.read_only:
            return
        try:
            self.record(result)
        except (StorageFull, StorageFailed, LibraryBusy, LibraryReadOnly) as error:
            warnings.warn(f"the run was not recorded: {error}", RunNotRecorded, stacklevel=4)


def short_document(labels: LabelSet) -> dict[str, Any]:
    """A label set as a document; without prompts if its templates yield exactly those: 1,000 labels by 80 templates are
    several MB.
    """
    short = {
        "labels": list(labels.labels),
        "templates": list(labels.templates),
        "groups": {group: list(members) for group, members in labels.groups},
        "negatives": list(labels.negatives),
    }
    return short if digest(label_set_of(short)) == digest(labels) else to_document(labels)


def label_set_of(document: dict[str, Any]) -> LabelSet:
    """The label set of such a document, without its name."""
    if not isinstance(document["labels"], list):
        return from_document(document, name="")
    return label_set(
        document["labels"],
        templates=document["templates"],
        groups=document["groups"],
        negatives=document["negatives"],
    )

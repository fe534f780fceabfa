"""What a library gives away, and remembers to have given: recorded runs, and tags in sidecars."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zsindex.errors import LibraryBusy, StorageFull, UnknownModel, UnknownRun, ZsindexWarning
from zsindex.facade.core import Core

if TYPE_CHECKING:
    from zsindex.lab.runs import Repeat, RunRecord
    from zsindex.results import Answer, Classification, Run


class RunNotRecorded(ZsindexWarning):
    """The answer is right, but there was no room for it, or no turn to write."""


class Giving(Core):
    """The part of `Library` that gives answers away."""

    # --- runs ---------------------------------------------------------------------------------------------------------

    def runs(self) -> list[RunRecord]:
        """Recorded runs, newest first. ``classify(record=True)`` and `record_run` record."""
        return [self._run_record(*row) for row in self._lab.runs()]

    def run(self, key: str) -> RunRecord:
        """A recorded run.

        Args:
            key: or its beginning, if no other key begins so.

        Raises:
            UnknownRun
        """
        return self._run_record(*self._find_run(key))

    def record_run(self, result: Classification) -> RunRecord:
        """Keep a run: what was asked, and the answer. See docs/methods.md.

        Raises:
            LibraryReadOnly, LibraryBusy, StorageFull
        """
        from zsindex import prompts, run_files

        self._database.require_writable("record a run")
        run, asked = result.run, result.run.asked
        if asked is None:
            raise ValueError("only what `classify` returned can be recorded")
        try:
            # First the file, then the record: what is recorded is there.
            stored = run_files.write(self.path, run.key, result.answer)
        except OSError as error:
            raise StorageFull(self.path) from error
        document = {
            "run": run.to_dict(),
            "label_set": prompts.to_document(asked),
            "answers": list(result.labels),
            "photos": len(result),
            "stored": stored,
        }
        for old in self._lab.save_run(run.key, document, keep=run_files.MAX_RUNS):
            run_files.remove(self.path, old)
        run_files.make_room(self._lab, self.path)
        return self.run(run.key)

    def repeat_run(self, key: str, *, record: bool = False) -> Repeat:
        """Ask the question of a recorded run again, with the same model, labels and options, on the photos of today.

        Args:
            key: see `run`.
            record: also record the new run.

        Returns:
            The new answer, and what has changed. Equal keys mean the same run: then nothing can have.

        Raises:
            UnknownRun
            UnknownModel: the library holds nothing of the run's model any more.
            NotInLibrary: it was about photos that the library does not hold any more.
        """
        from zsindex import prompts, run_files
        from zsindex.lab import runs

        row = self._find_run(key)
        before, asked = self._run_record(*row), row[1]["run"]
        labels = prompts.from_document(before.label_set, name=asked["label_set"], version=asked["label_set_version"])
        options = dict(asked["options"])
        min_score, only = options.pop("min_score", 0.0), options.pop("only", None)
        library = self._with_fingerprint(asked["fingerprint"], asked["model"])
        try:
            ask: Callable[..., Classification] = library.classify
            # What a run depends on is not always an option: it may also be, say, the state of something that one uses.
            options = {name: value for name, value in options.items() if name in inspect.signature(ask).parameters}
            result = ask(labels, activation=asked["activation"], sync=False, record=record, **options)
        finally:
            if library is not self:
                library.close()
        if "min_score" in asked["options"]:
            result = result.filtered(min_score=min_score, only=only)
            if record:
                self.record_run(result)
        return runs.compare(before, run_files.read(self.path, row[1]["stored"]), result)

    def _find_run(self, key: str) -> tuple[str, dict[str, Any], str]:
        row = self._lab.run(key)
        if row is None:
            there = self._lab.runs()
            found = [run for run in there if key and run[0].startswith(key)]
            if len(found) != 1:
                raise UnknownRun(key, known=[run[0] for run in found or there])
            row = found[0]
        return row

    def _run_record(self, key: str, document: dict[str, Any], recorded_at: str) -> RunRecord:
        from zsindex import run_files
        from zsindex.lab.runs import RunRecord

        return RunRecord(
            key=key,
            recorded_at=recorded_at,
            run=document["run"],
            label_set=document["label_set"],
            answers=tuple(document["answers"]),
            photos=document["photos"],
            stored=run_files.exists(self.path, document["stored"]),
        )

    def _with_fingerprint(self, fingerprint: str, name: str) -> Any:
        """This library, or with another model that it holds vectors of; which is to be closed."""
        if self.model.fingerprint == fingerprint:
            return self
        rows = self._store.models()
        for row in rows:
            if row.info.fingerprint == fingerprint:
                spec = row.info.spec
                return self.with_model(
                    spec.name, pretrained=spec.pretrained, precision=spec.precision, decode=spec.decode
                )
        held = [str(row.info.spec) for row in rows]
        raise UnknownModel(name, near=held, why="the library holds nothing of the weights that the run was made with")

    def _recorded_answer(self, run: Run, n: int) -> Answer | None:
        """The stored answer of a run to a question about n photos; None where it must be computed."""
        from zsindex import run_files

        row = self._lab.run(run.key)
        # Another version may score otherwise.
        if row is None or row[1]["run"]["zsindex"] != run.version or row[1]["photos"] != n:
            return None
        return run_files.read(self.path, row[1]["stored"])

    def _record_if_possible(self, result: Classification) -> None:
        if self.read_only:
            return
        try:
            self.record_run(result)
        except (StorageFull, LibraryBusy) as error:
            warnings.warn(f"the run was not recorded: {error}", RunNotRecorded, stacklevel=3)

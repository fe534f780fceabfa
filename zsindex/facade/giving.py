"""What a library gives away, and remembers to have given: recorded runs, and tags in sidecars."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zsindex.arguments import bounds
from zsindex.arguments.several import several
from zsindex.classification.prompts import digest, from_document, label_set, to_document
from zsindex.errors import (
    LibraryBusy,
    LibraryReadOnly,
    StorageFailed,
    StorageFull,
    UnknownModel,
    UnknownRun,
    ZsindexError,
    ZsindexWarning,
)
from zsindex.facade.core import Core, absolute_all
from zsindex.index.files import Making
from zsindex.records import NONE, LabelSet, Progress
from zsindex.storage.failures import failure

if TYPE_CHECKING:
    from zsindex.classification.results import Answer, Classification, Run
    from zsindex.lab.runs import Repeat, RunRecord
    from zsindex.lab.tags import TagReport
    from zsindex.photos.sources import PathsLike


class RunNotRecorded(ZsindexWarning):
    """The answer is right, but there was no room for it, or no turn to write."""


class Giving(Core):
    """The part of `Library` that gives answers away."""

    # --- tags ---------------------------------------------------------------------------------------------------------

    def write_tags(
        self,
        answers: Classification,
        *,
        min_score: float = 0.0,
        top: int | None = None,
        groups: Mapping[str, str | Sequence[str]] | None = None,
        root: str = "zsindex",
        style: str = "photo.jpg.xmp",
        apply: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> TagReport:
        """Write answers as tags into XMP sidecars beside the photos, which stay untouched; see docs/methods.md.

        Every prediction becomes a tag: with ``top=1`` the best answer alone. What a former call wrote for the
        same label set into these photos' sidecars, and is no answer now, is taken out again; what others wrote never.

        Args:
            answers: what `classify` returned; of the same label set: those with the same name, or all without a name.
            min_score: no tags for predictions below it. Photos that `Classification.filtered` has dropped keep theirs.
            top: predictions of each photo that become tags, at most. Default: all.
            groups: names with the labels that stand below them in the hierarchies.
            root: what all of it stands below in the hierarchies; several levels as ``A|B``; empty for none.
            style: where the sidecar of photo.jpg is, ``photo.jpg.xmp`` or ``photo.xmp``.
            apply: write. Otherwise the report says what would be written.
            progress, should_stop: as for `sync`; asked between sidecars.

        Raises:
            LibraryReadOnly, LibraryBusy, StorageFull: with `apply`.
        """
        from zsindex.lab import tags

        if style not in tags.STYLES:
            raise ValueError(f"style must be one of {', '.join(tags.STYLES)}, not {style!r}")
        min_score = bounds.real("min_score", min_score)
        if top is not None:
            top = bounds.whole("top", top, least=0)
        group_of = {label: group for group, labels in (groups or {}).items() for label in several(labels)}
        of_label = [
            {} if label == NONE else tags.tags_of(label, group=group_of.get(label), root=root)
            for label in answers.labels
        ]

        def wanted() -> Iterator[tuple[str, Mapping[str, list[str]]]]:
            for block in answers.blocks():
                for photo, (path, count) in enumerate(zip(block.paths, block.counts, strict=True)):
                    good = [
                        of_label[block.labels[rank][photo]]
                        for rank in range(count if top is None else min(count, top))
                        if block.scores[rank][photo] >= min_score
                    ]
                    yield path, tags.merged(good)

        owners = Counter(tags.sidecar_of(path, style) for path in {*self._files(None).paths, *answers.paths})

        def shared(path: str) -> str | None:
            others = owners[tags.sidecar_of(path, style)] - 1
            if not others:
                return None
            have = "other photo has" if others == 1 else "other photos have"
            return f"{others} {have} the same sidecar; use the style photo.jpg.xmp"

        with self._writing_tags(apply=apply):
            return tags.write(
                self._lab,
                wanted(),
                label_set=answers.run.label_set or "",
                style=style,
                shared=shared,
                apply=apply,
                progress=_told(progress, len(answers)),
                should_stop=should_stop or (lambda: False),
            )

    def retract_tags(
        self,
        paths: PathsLike | None = None,
        *,
        label_set: str | None = None,
        apply: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> TagReport:
        """Take back what `write_tags` wrote, and nothing else; see docs/methods.md.

        A sidecar that nobody else has changed since is again what it was, byte for byte; one that was made for the tags
        goes.

        Args:
            paths: only sidecars at or below these files and folders. Default: all.
            label_set: only tags of this label set; "" for those of labels without a name. Default: all.
            apply: do it. Otherwise the report says what would be done.
            progress, should_stop: as for `write_tags`.

        Raises:
            LibraryReadOnly, LibraryBusy, StorageFull: with `apply`.
        """
        from zsindex.lab import tags

        found = self._lab.sidecar_paths()
        if paths is not None:
            below = absolute_all(paths)
            found = [
                path
                for path in found
                if any(path == place or path.startswith(os.path.join(place, "")) for place in below)
            ]
        with self._writing_tags(apply=apply):
            return tags.retract(
                self._lab,
                found,
                label_set=label_set,
                apply=apply,
                progress=_told(progress, len(found)),
                should_stop=should_stop or (lambda: False),
            )

    @contextmanager
    def _writing_tags(self, *, apply: bool) -> Iterator[None]:
        """One process at a time: each takes a sidecar for what it was when it was looked at."""
        if not apply:
            yield
            return
        self._database.require_writable("write tags")
        with self._database.sync_lock.hold("write tags"):
            yield

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
            LibraryReadOnly, LibraryBusy, StorageFull, StorageFailed
        """
        from zsindex.exchange import run_files

        self._database.require_writable("record a run")
        run, asked = result.run, result.run.asked
        if asked is None:
            raise ValueError("only what `classify` returned can be recorded")
        with Making() as making:
            # First the file, then the record: what is recorded is there.
            try:
                stored = run_files.write(self._storage, making, run.key, result.answer)
            except OSError as error:
                raise failure(self.path, "record a run", error) from error
            document = {
                "run": run.to_dict(),
                "label_set": _short(asked.labels),
                "arguments": asked.arguments,
                "answers": list(result.labels),
                "photos": len(result),
                "stored": stored,
            }
            try:
                replaced = self._lab.save_run(run.key, document, keep=run_files.MAX_RUNS)
            except ZsindexError:
                run_files.remove(self._storage, [stored["file"]])
                raise
        run_files.remove(self._storage, replaced)
        run_files.make_room(self._storage)
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
        from zsindex.exchange import run_files
        from zsindex.lab import runs

        row = self._find_run(key)
        before, asked = self._run_record(*row), row[1]["run"]
        labels = replace(_whole(before.label_set), name=asked["label_set"], version=asked["label_set_version"])
        library = self._with_fingerprint(asked["fingerprint"], asked["model"])
        try:
            ask: Callable[..., Classification] = library.classify
            result = ask(labels, sync=False, record=record, **row[1]["arguments"])
        finally:
            if library is not self:
                library.close()
        if "min_score" in asked["options"]:  # of what `Classification.filtered` left
            result = result.filtered(min_score=asked["options"]["min_score"], only=asked["options"]["only"])
            if record:
                self.record_run(result)
        return runs.compare(before, run_files.read(self._storage, row[1]["stored"]), result)

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
        from zsindex.exchange import run_files
        from zsindex.lab.runs import RunRecord

        return RunRecord(
            key=key,
            recorded_at=recorded_at,
            run=document["run"],
            label_set=document["label_set"],
            answers=tuple(document["answers"]),
            photos=document["photos"],
            stored=run_files.exists(self._storage, document["stored"]),
        )

    def _with_fingerprint(self, fingerprint: str, name: str) -> Any:
        """This library, or with another model that it holds vectors of; which is to be closed."""
        if self.model.fingerprint == fingerprint:
            return self
        rows = self._reader.models()
        for row in rows:
            if row.info.fingerprint == fingerprint:
                spec = row.info.spec
                return self.with_model(
                    spec.name,
                    pretrained=spec.pretrained,
                    precision=spec.precision,
                    decode=spec.decode,
                    icc=spec.icc,
                    transparency=spec.transparency,
                )
        held = [str(row.info.spec) for row in rows]
        raise UnknownModel(name, near=held, why="the library holds nothing of the weights that the run was made with")

    def _recorded_answer(self, run: Run, n: int) -> Answer | None:
        """The stored answer of a run to a question about n photos; None where it must be computed."""
        from zsindex.exchange import run_files

        row = self._lab.run(run.key)
        # Another version may score otherwise.
        if row is None or row[1]["run"]["zsindex"] != run.version or row[1]["photos"] != n:
            return None
        return run_files.read(self._storage, row[1]["stored"])

    def _record_if_possible(self, result: Classification) -> None:
        if self.read_only:
            return
        try:
            self.record_run(result)
        except (StorageFull, StorageFailed, LibraryBusy, LibraryReadOnly) as error:
            warnings.warn(f"the run was not recorded: {error}", RunNotRecorded, stacklevel=3)


def _told(progress: Callable[[Progress], None] | None, total: int) -> Callable[[int], None]:
    return (lambda done: None) if progress is None else (lambda done: progress(Progress("tag", done, total)))


def _short(labels: LabelSet) -> dict[str, Any]:
    """A label set as a document; without prompts where its templates make just these. 1,000 labels by 80 templates are
    some MB.
    """
    short = {
        "labels": list(labels.labels),
        "templates": list(labels.templates),
        "groups": {group: list(members) for group, members in labels.groups},
        "negatives": list(labels.negatives),
    }
    return short if digest(_whole(short)) == digest(labels) else to_document(labels)


def _whole(document: dict[str, Any]) -> LabelSet:
    """The label set of such a document, without its name."""
    if not isinstance(document["labels"], list):
        return from_document(document, name="")
    return label_set(
        document["labels"],
        templates=document["templates"],
        groups=document["groups"],
        negatives=document["negatives"],
    )

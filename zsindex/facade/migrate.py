"""Moving a library from one model to another."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from zsindex.arguments.several import several
from zsindex.facade.words import Words

if TYPE_CHECKING:
    from zsindex.lab.migration import Migration
    from zsindex.records import DecodeMode, IccMode, ModelSpec, Progress, TransparencyMode


class Migrating(Words):
    """From one model to another."""

    def migrate_model(
        self,
        model: str,
        *,
        pretrained: str | None = None,
        precision: str | None = None,
        decode: DecodeMode | str | None = None,
        icc: IccMode | str | None = None,
        transparency: TransparencyMode | str | None = None,
        label_sets: str | Sequence[str] | None = None,
        switch: bool = False,
        truncate: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Migration:
        """Encode what the library knows with another model, beside the present one, and compare their answers.

        Until it is switched, every question is answered by the present model, also in other processes. Stopped or
        killed, the same call goes on from there. No vector is deleted, so that `use_model` leads back.

        Only photos that the library knows are encoded. New ones are a matter of `sync`.

        Args:
            model, pretrained, precision, decode, icc, transparency: as for `use_model`.
            label_sets: names of saved ones to compare the answers for. Default: all, each in its newest version.
            switch: make the new model the default at the end.
            truncate: cut prompts that the new model cannot read in full, rather than refuse them.
            progress, should_stop: as for `sync`.

        Raises:
            UnknownLabelSet, PromptTooLong, ModelError, LibraryBusy, LibraryReadOnly, StorageFull
            ValueError: it is the present model.
        """
        from zsindex.lab.migration import Migration

        self._database.require_writable("encode with another model")
        chosen = [str(saved.name) for saved in self.label_sets()] if label_sets is None else several(label_sets)
        for name in chosen:
            self.label_set(name)  # an unknown one is refused before the long work
        before = self.model.spec
        with self._beside(
            model, pretrained=pretrained, precision=precision, decode=decode, icc=icc, transparency=transparency
        ) as other:
            if other.model.fingerprint == self.model.fingerprint:
                raise ValueError(f"{other.spec} is the model already")
            todo = [path for path in other.view().unanswered if os.path.isfile(path)]
            report = other.sync(todo, progress=progress, should_stop=should_stop) if todo else None
            view = other.view()
            away = tuple(path for path in view.unanswered if not os.path.isfile(path))
            interrupted = report is not None and report.interrupted
            diffs = {}
            if not interrupted:
                diffs = {name: self._diff_with(other, (name, None), (name, None), truncate=truncate) for name in chosen}
            result = Migration(
                before=_name(before, other.spec),
                after=_name(other.spec, before),
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
            self.use_model(
                model, pretrained=pretrained, precision=precision, decode=decode, icc=icc, transparency=transparency
            )
        return result


def _name(spec: ModelSpec, other: ModelSpec) -> str:
    """A model's name, with what else tells it from another one of the same name."""
    return f"{spec} (--precision {spec.precision} {spec.seen_as})" if str(spec) == str(other) else str(spec)

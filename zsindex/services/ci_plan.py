"""What a CI file asks: label sets with models and what they are compared with, once all its files are read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from zsindex.arguments import text_files
from zsindex.classification import prompts
from zsindex.config import absolute
from zsindex.errors import BadCiFile, BadPath, LabelError
from zsindex.lab import ci_file
from zsindex.lab.ci_file import Baseline, CheckedSet, CiFile
from zsindex.records import LabelSet
from zsindex.services import ci_files
from zsindex.services.ci_files import Reader
from zsindex.services.labels import Labels
from zsindex.services.templates import Templates
from zsindex.services.truths import CORRECTIONS, FOLDERS, KEYWORDS
from zsindex.session.session import Session


@dataclass(frozen=True)
class Before:
    """What answers are compared with: labels with a model; or a table of answers, by absolute path."""

    name: str
    model: str | None = None
    labels: LabelSet | None = None
    answers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Planned:
    """A label set with a model, and what it is compared with; `before` is None if there is nothing."""

    checked: CheckedSet
    name: str
    labels: LabelSet
    model: str | None
    truth: str | None
    before: Before | None


class Planning:
    """Reads what a CI file names."""

    def __init__(self, session: Session) -> None:
        self._labels = Labels(session)
        self._templates = Templates(session)

    def photos(self, asked: CiFile, folder: str) -> list[str]:
        """The files and folders of a CI file's photos, absolute.

        Raises:
            BadCiFile: one is not there.
        """
        places = [absolute(os.path.join(folder, one)) for one in asked.photos]
        for place, written in zip(places, asked.photos, strict=True):
            if not os.path.exists(place):
                raise asked.problem(("photos",), f"{written} is neither a file nor a folder")
        return places

    def planned(
        self, asked: CiFile, checked: CheckedSet, file: str, read: Reader, *, git: str | None, may_lack: bool
    ) -> Iterator[Planned]:
        """A label set with each of its models; whatever the file names is read here.

        Args:
            may_lack: whether a table of answers may be missing, as it is about to be written.
        """
        labels = self._label_set(asked, checked, read)
        if strangers := [name for name in checked.bounds.min_recall_of if name not in labels.answers]:
            why = f"{strangers[0]!r} is not a label of {checked.name}; it has {', '.join(labels.answers[:10])}"
            raise asked.problem((*checked.place, ci_file.BOUNDS, "min-recall", strangers[0]), why)
        truth = checked.truth
        if truth is not None and truth not in (FOLDERS, KEYWORDS) and truth.partition(":")[0] != CORRECTIONS:
            truth = absolute(os.path.join(os.path.dirname(file), truth))
            if not os.path.exists(truth):
                why = f"{checked.truth} is neither a file nor a folder, nor folders, keywords or corrections"
                raise asked.problem((*checked.place, "truth"), why)
        baseline = checked.baseline
        for model in checked.models:
            before = None
            if baseline is not None:
                before = self._before(asked, checked, baseline, model, labels, file, read, git=git, may_lack=may_lack)
            name = checked.name if len(checked.models) == 1 else f"{checked.name}, {model}"
            yield Planned(checked, name, labels, model, truth, before)

    def _label_set(
        self, asked: CiFile, checked: CheckedSet, read: Reader, templates: Sequence[str] | None = None
    ) -> LabelSet:
        """A label set, with its templates or others.

        Raises:
            BadCiFile
        """
        key = "labels" if checked.saved is None else "saved"
        try:
            if checked.saved is not None:
                found = self._labels.get(checked.saved)
            else:
                found = ci_files.labels_of(checked.labels or "", read)
        except (LabelError, BadPath, text_files.UnreadableText) as error:
            raise asked.problem((*checked.place, key), str(error)) from error
        chosen = checked.templates if templates is None else templates
        if not chosen:
            return replace(found, name=found.name or checked.name) if checked.saved is None else found
        try:
            texts = [text for one in chosen for text in ci_files.templates_of(one, read)]
            return prompts.label_set(found, templates=self._templates.resolve(texts), name=found.name or checked.name)
        except (LabelError, text_files.UnreadableText) as error:
            raise asked.problem((*checked.place, "templates"), str(error)) from error

    def _before(
        self,
        asked: CiFile,
        checked: CheckedSet,
        baseline: Baseline,
        model: str | None,
        labels: LabelSet,
        file: str,
        read: Reader,
        *,
        git: str | None,
        may_lack: bool,
    ) -> Before | None:
        place: ci_file.Place = (*checked.place, ci_file.BASELINE)
        if place not in asked.lines:
            place = (ci_file.BASELINE,)
        if baseline.kind == "git":
            return self._at(asked, checked, git or baseline.value, model, file, place)
        if baseline.kind == "answers":
            text = read(baseline.value)
            if text is None:
                if may_lack:
                    return None
                why = f"there is no {baseline.value}; write it with: zsindex ci --accept"
                raise asked.problem((*place, "answers"), why)
            return Before(
                baseline.value, answers=ci_files.answers_of(asked, (*place, "answers"), text, file, baseline.value)
            )
        is_file = baseline.kind == "labels"
        other = replace(
            checked,
            labels=baseline.value if is_file else None,
            saved=None if is_file else baseline.value,
            templates=baseline.templates or checked.templates,
        )
        try:
            found = self._label_set(asked, other, read)
        except BadCiFile as error:
            raise asked.problem((*place, baseline.kind), error.why) from error
        strangers = [name for name in baseline.rename if name not in found.answers]
        if strangers:
            raise asked.problem((*place, "rename"), f"{strangers[0]!r} is not a label of {baseline.value}")
        return Before(baseline.value, baseline.model or model, found)

    def _at(
        self, asked: CiFile, checked: CheckedSet, revision: str, model: str | None, file: str, place: ci_file.Place
    ) -> Before | None:
        """The label set of the same name as the file had it at a revision; as the file has it now, if there was none.

        None if there was no such label set.
        """
        folder, name = os.path.split(file)
        try:
            then = ci_files.at_revision(folder, revision)
        except ci_files.NoRevision as error:
            raise asked.problem((*place, "git"), str(error)) from error
        old, text = asked, then(name)
        if text is not None:
            try:
                old = ci_file.parse(text, source=f"{asked.source} at {revision}")
            except BadCiFile as error:
                raise asked.problem((*place, "git"), f"the file could not be used at that revision: {error}") from error
        same = [one for one in old.sets if one.name == checked.name]
        if not same or (same[0].labels is not None and then(same[0].labels.partition("#")[0]) is None):
            return None
        try:
            labels = self._label_set(old, same[0], then)
        except BadCiFile as error:
            raise asked.problem((*place, "git"), f"a file could not be used at that revision: {error}") from error
        return Before(revision, model if model in same[0].models else same[0].models[0], labels)

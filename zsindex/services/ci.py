"""`library.ci`: whether label sets keep the bounds of a committed file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zsindex.arguments import text_files
from zsindex.classification import prompts
from zsindex.classification.options import Question
from zsindex.config import absolute
from zsindex.errors import BadCiFile, BadPath, BadQuestion, BadTruth, LabelError, UnknownModel
from zsindex.lab import ci_file
from zsindex.lab.ci_file import Baseline, CheckedSet, CiFile
from zsindex.records import LabelSet, Progress
from zsindex.services import comparing
from zsindex.services.comparing import Asking
from zsindex.services.ingest import Ingest
from zsindex.services.lab import Lab
from zsindex.services.labels import Labels
from zsindex.services.questions import Questions
from zsindex.services.templates import Templates
from zsindex.services.truths import CORRECTIONS, FOLDERS, KEYWORDS, Truths
from zsindex.session.session import Session

if TYPE_CHECKING:
    from zsindex.classification.results import Classification
    from zsindex.lab.ci import Judge
    from zsindex.lab.ci_report import CiCheck, CiReport, Flips, SetsOfLabels
    from zsindex.lab.evaluate import Evaluation
    from zsindex.lab.truth import Truth

# The text of a file by the name that the CI file has for it; None if there is none.
Reader = Callable[[str], str | None]


@dataclass(frozen=True)
class _Before:
    """What answers are compared with: labels with a model; or a table of answers, by absolute path."""

    name: str
    model: str | None = None
    labels: LabelSet | None = None
    answers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class _Planned:
    """A label set with a model, and what it is compared with; `before` is None if there is nothing."""

    checked: CheckedSet
    name: str
    labels: LabelSet
    model: str | None
    truth: str | None
    before: _Before | None


class Ci:
    """Holds label sets to bounds, as `zsindex ci` does."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = Labels(session)
        self._templates = Templates(session)

    def run(
        self,
        file: str | os.PathLike[str] = ci_file.NAME,
        *,
        git: str | None = None,
        accept: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> CiReport:
        """Bring the library up to date with the photos that a file names, and check the label sets that it names.

        Nothing but the photos and their vectors is taken from the library, unless the file names label sets that are
        saved there: a new one gives the same report. docs/ci.md describes the file.

        Args:
            file: the file; paths in it are relative to its folder.
            git: a revision, used instead of the one of each baseline of kind ``git``.
            accept: write the tables of answers that the file has as baselines, from the answers now.
            progress, should_stop: as for `Library.sync`.

        Raises:
            BadCiFile: the file, or one that it names, cannot be used; nothing was encoded.
            ModelError, PromptTooLong, LibraryBusy, LibraryReadOnly, NoVectors, StorageFull
        """
        from zsindex.lab import ci
        from zsindex.lab.ci_report import CiReport

        place, source = absolute(file), os.fspath(file)
        folder = os.path.dirname(place)
        read = _reader(folder)
        try:
            text = read(place)
        except text_files.UnreadableText as error:
            raise BadCiFile(source, "", None, str(error)) from error
        if text is None:
            raise BadCiFile(source, "", None, "there is no such file; docs/ci.md shows how to write one")
        asked = ci_file.parse(text, source=source)
        photos = self._photos(asked, folder)
        planned = [
            one
            for checked in asked.sets
            for one in self._planned(asked, checked, place, read, git=git, may_lack=accept)
        ]
        with self._models(asked, planned) as sessions:
            for session in sessions.values():
                report = Ingest(session).sync_if_needed(photos, progress, should_stop)
                if report.interrupted:
                    return CiReport(source, 0, (), (), (), interrupted=True)
            skipped = tuple(
                (_shown(skip.path, folder), skip.detail or str(skip.reason))
                for skip in self._session.storage.reads.skipped(photos)
            )
            checks, accepted = [], []
            for one in planned:
                check, answer = self._check(asked, one, sessions, photos, folder)
                if accept and (baseline := one.checked.baseline) is not None and baseline.kind == "answers":
                    _accept(answer, absolute(os.path.join(folder, baseline.value)))
                    accepted.append(baseline.value)
                    check = ci.with_accepted(check)
                checks.append(check)
        return CiReport(
            source=source,
            photos=max((check.photos for check in checks), default=0),
            skipped=skipped,
            bounds=ci.skipped_kept(asked.max_skipped, skipped),
            checks=tuple(checks),
            accepted=tuple(accepted),
        )

    # --- what is asked ------------------------------------------------------------------------------------------------

    def _photos(self, asked: CiFile, folder: str) -> list[str]:
        places = [absolute(os.path.join(folder, one)) for one in asked.photos]
        for place, written in zip(places, asked.photos, strict=True):
            if not os.path.exists(place):
                raise asked.problem(("photos",), f"{written} is neither a file nor a folder")
        return places

    def _planned(
        self, asked: CiFile, checked: CheckedSet, file: str, read: Reader, *, git: str | None, may_lack: bool
    ) -> Iterator[_Planned]:
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
            yield _Planned(checked, name, labels, model, truth, before)

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
                found = _parsed(checked.labels or "", read)
        except (LabelError, BadPath, text_files.UnreadableText) as error:
            raise asked.problem((*checked.place, key), str(error)) from error
        chosen = checked.templates if templates is None else templates
        if not chosen:
            return replace(found, name=found.name or checked.name) if checked.saved is None else found
        try:
            texts = [text for one in chosen for text in _templates(one, read)]
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
    ) -> _Before | None:
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
            return _Before(baseline.value, answers=_answers(asked, (*place, "answers"), text, file, baseline.value))
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
        return _Before(baseline.value, baseline.model or model, found)

    def _at(
        self, asked: CiFile, checked: CheckedSet, revision: str, model: str | None, file: str, place: ci_file.Place
    ) -> _Before | None:
        """The label set of the same name as the file had it at a revision; as the file has it now, if there was none.

        None if there was no such label set.
        """
        folder, name = os.path.split(file)
        try:
            then = _at_revision(folder, revision)
        except _NoRevision as error:
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
        return _Before(revision, model if model in same[0].models else same[0].models[0], labels)

    @contextmanager
    def _models(self, asked: CiFile, planned: Sequence[_Planned]) -> Iterator[dict[str | None, Session]]:
        """A session for each model."""
        names = dict.fromkeys(one.model for one in planned)
        names |= dict.fromkeys(one.before.model for one in planned if one.before is not None and one.before.labels)
        with ExitStack() as opened:
            sessions = {}
            for name in names:
                try:
                    is_own = name is None
                    sessions[name] = self._session if is_own else opened.enter_context(self._session.beside(name or ""))
                except UnknownModel as error:
                    place = next((one.checked.place for one in planned if one.model == name), ())
                    raise asked.problem((*place, "models"), str(error)) from error
            yield sessions

    # --- what is measured ---------------------------------------------------------------------------------------------

    def _check(
        self,
        asked: CiFile,
        planned: _Planned,
        sessions: Mapping[str | None, Session],
        photos: Sequence[str],
        folder: str,
    ) -> tuple[CiCheck, Classification]:
        from zsindex.lab import ci
        from zsindex.lab.ci_report import CiCheck

        checked, session = planned.checked, sessions[planned.model]
        question = Question(
            planned.labels,
            paths=photos,
            activation=checked.activation,
            temperature=checked.temperature,
            sync=False,
        )
        answer = Questions(session).classify(question)
        truth, evaluation = None, None
        if planned.truth is not None:
            try:
                truth = Truths(session).of(planned.truth, planned.labels, photos)
                evaluation = Lab(session).evaluate(
                    planned.labels,
                    truth,
                    names={name: list(others) for name, others in checked.names.items()},
                    others_are_none=checked.others_are_none,
                    resamples=0,
                    paths=photos,
                    activation=checked.activation,
                    temperature=checked.temperature,
                )
            except (BadTruth, LabelError) as error:
                raise asked.problem((*checked.place, "truth"), str(error)) from error
        lint = Lab(session).lint(planned.labels, paths=photos)
        flips = self._flips(planned, answer, sessions, question, truth, folder)
        compared = 0 if evaluation is None else evaluation.reports[0].photos
        summary = {} if evaluation is None else evaluation.reports[0].summary
        top1, top5 = (
            ci.proportion(round(summary[key].value * compared), compared) if key in summary else None
            for key in ("top1", "top5")
        )
        ece = summary["ece"].value if "ece" in summary else None
        recalls = ci.recalls_of(evaluation)
        sets = None
        if checked.coverage is not None and truth is not None:
            sets = self._sets(asked, planned, session, question, truth)
        bounds = ci.bounds_kept(
            checked.bounds,
            compared=compared,
            top1=top1,
            top5=top5,
            ece=ece,
            sets=sets,
            recalls=recalls,
            flips=flips,
            lint=lint,
        )
        mistakes = () if evaluation is None else evaluation.reports[0].mistakes
        check = CiCheck(
            name=planned.name,
            model=answer.run.model,
            run=answer.run.key,
            labels=len(planned.labels),
            photos=len(answer.paths),
            compared=compared,
            top1=top1,
            top5=top5,
            ece=ece,
            sets=sets,
            recalls=recalls,
            mistakes=tuple((cell.truth, cell.answer, cell.photos) for cell in mistakes),
            baseline=_baseline_name(planned),
            flips=flips,
            lint=lint,
            bounds=tuple(bounds),
            notes=tuple(_notes(evaluation, answer, flips, folder)),
        )
        return check, answer

    def _sets(
        self, asked: CiFile, planned: _Planned, session: Session, question: Question, truth: Truth
    ) -> SetsOfLabels:
        """How often sets of labels hold what photos show. The photos with truth are divided in two by the digest of
        their bytes, so that copies stay together; the sets of each half are calibrated with the other.
        """
        from zsindex.lab import ci
        from zsindex.lab import truth as truths

        checked, answers = planned.checked, planned.labels.answers
        names = {name: list(others) for name, others in checked.names.items()}
        known = truths.stands_for(truth, planned.labels, answers, names, others=False).number
        shows = {
            path: [answers[known[name]] for name in said if known.get(name, -1) >= 0]
            for path, said in truth.labels.items()
        }
        there = session.storage.photos.digests_of([path for path, labels in shows.items() if labels])
        halves: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
        for path, digest in there.items():
            halves[digest[0] % 2][path] = shows[path]
        hits: list[tuple[bool, int]] = []
        for measured, calibrated in (halves, halves[::-1]):
            if not measured:
                continue
            try:
                found = Questions(session).classify(
                    Question(
                        planned.labels,
                        paths=question.paths,
                        activation=question.activation,
                        temperature=question.temperature,
                        coverage=checked.coverage,
                        calibrate=calibrated,
                        sync=False,
                    )
                )
            except (BadTruth, BadQuestion) as error:
                raise asked.problem((*checked.place, "coverage"), str(error)) from error
            rows = {path: row for row, path in enumerate(found.paths)}
            best = found.ranked[0]
            for path, labels in measured.items():
                if path in rows:
                    given = {found.labels[label] for label in best[rows[path]].tolist() if label >= 0}
                    hits.append((given >= set(labels), len(given)))
        return ci.sets_of(checked.coverage or 0.0, hits)

    def _flips(
        self,
        planned: _Planned,
        answer: Classification,
        sessions: Mapping[str | None, Session],
        question: Question,
        truth: Truth | None,
        folder: str,
    ) -> Flips | None:
        from zsindex.classification.results import Answer
        from zsindex.lab import ci

        before, checked = planned.before, planned.checked
        if before is None:
            return None
        rename = {} if checked.baseline is None else checked.baseline.rename

        def shown(path: str) -> str:
            return _shown(path, folder)

        judge = _judge(truth, planned.labels, checked, {})
        if before.answers is not None:
            numbers = {label: n for n, label in enumerate(answer.labels)}

            def score_of(photo: int, label: str) -> float:
                return float(answer.scores_of([photo])[0, numbers[label]]) if label in numbers else 0.0

            now = Answer(answer.paths, *answer.ranked)
            return ci.flips_against(before.answers, now, answer.labels, score_of, judge, shown, rename)
        assert before.labels is not None
        found = comparing.diff(
            Asking(sessions[before.model], _about(question, before.labels)),
            Asking(sessions[planned.model], question),
            renamed=rename,
        )
        return ci.flips_of(found, judge, _judge(truth, before.labels, checked, rename), shown)


def _about(question: Question, labels: LabelSet) -> Question:
    """The same question about other labels."""
    return Question(
        labels, paths=question.paths, activation=question.activation, temperature=question.temperature, sync=False
    )


def _judge(truth: Truth | None, labels: LabelSet, checked: CheckedSet, rename: Mapping[str, str]) -> Judge:
    """Whether an answer of a label set is right; `rename` has the names that answers are given by, by their own."""
    from zsindex.lab import truth as truths

    if truth is None:
        return lambda path, answer: None
    names = {name: list(others) for name, others in checked.names.items()}
    known = truths.stands_for(truth, labels, labels.answers, names, others=checked.others_are_none)
    number = {rename.get(label, label): n for n, label in enumerate(labels.answers)}

    def judge(path: str, answer: str) -> bool | None:
        shows = {known.number[name] for name in truth.labels.get(path, ()) if name in known.number}
        # What a label set has no word for, it can be neither right nor wrong about.
        return None if not shows else number.get(answer) in shows

    return judge


def _notes(evaluation: Evaluation | None, answer: Classification, flips: Flips | None, folder: str) -> Iterator[str]:
    """What was left out of the numbers."""

    def some(paths: Sequence[str]) -> str:
        return ", ".join(_shown(path, folder) for path in paths[:5]) + (" …" if len(paths) > 5 else "")

    if answer.unanswered:
        yield f"{len(answer.unanswered):,} photos have no vector: {some(answer.unanswered)}"
    if evaluation is not None:
        if evaluation.unknown_labels:
            names = [f"{name} ({n:,})" for name, n in list(evaluation.unknown_labels.items())[:5]]
            yield f"names in the truth that are no labels: {', '.join(names)}; map gives them one"
        for paths, what in (
            (evaluation.left_out, "show nothing that a label stands for, and were left out"),
            (evaluation.not_held, "of the truth are not among the photos"),
            (evaluation.without_truth, "have no truth"),
        ):
            if paths:
                yield f"{len(paths):,} photos {what}: {some(paths)}"
    if flips is not None and (flips.only_before or flips.only_after):
        yield f"{flips.only_before:,} photos of the baseline are gone, {flips.only_after:,} are new"


def _baseline_name(planned: _Planned) -> str | None:
    if planned.before is not None:
        return planned.before.name
    return None if planned.checked.baseline is None else planned.checked.baseline.value


def _shown(path: str, folder: str) -> str:
    """A path as reports have it: relative to the folder of the CI file, the same on every machine."""
    relative = os.path.relpath(path, folder)
    return path if relative.startswith(os.pardir) else Path(relative).as_posix()


# --- files ------------------------------------------------------------------------------------------------------------


def _reader(folder: str) -> Reader:
    def read(name: str) -> str | None:
        path = absolute(os.path.join(folder, name))
        return text_files.read(Path(path)) if os.path.exists(path) else None

    return read


def _parsed(name: str, read: Reader) -> LabelSet:
    """The labels of a file, or of one set in it: ``FILE#KEY``."""
    file, key = name, ""
    if "#" in name and read(name) is None:
        file, _, key = name.rpartition("#")
    text = read(file)
    if text is None:
        raise text_files.UnreadableText(f"there is no {file}")
    return prompts.parse_labels(text, source=file, key=key or None)


def _templates(text: str, read: Reader) -> Sequence[str]:
    if not text.startswith("@"):
        return [text]
    found = read(text[1:])
    if found is None:
        raise text_files.UnreadableText(f"there is no {text[1:]}")
    return prompts.parse_templates(found, source=text[1:])


def _answers(asked: CiFile, place: ci_file.Place, text: str, file: str, name: str) -> dict[str, str]:
    """A table of answers, by absolute path."""
    from zsindex.lab import ci

    folder = os.path.dirname(os.path.join(os.path.dirname(file), name))
    try:
        return {absolute(os.path.join(folder, path)): label for path, label in ci.answers_table(text).items()}
    except text_files.UnreadableText as error:
        raise asked.problem(place, f"{name}: {error}") from error


def _accept(answer: Classification, file: str) -> None:
    """Write a table of answers: by path, relative to the table, with ``/`` on every system."""
    import csv

    from zsindex import atomic

    folder = os.path.dirname(file)
    Path(folder).mkdir(parents=True, exist_ok=True)
    best, scores = answer.ranked
    rows = sorted(
        (Path(os.path.relpath(path, folder)).as_posix(), answer.labels[int(label)], f"{score:.4f}")
        for path, label, score in zip(answer.paths, best[:, 0], scores[:, 0], strict=True)
    )
    with atomic.writing(Path(file), encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["path", "label", "score"])
        writer.writerows(rows)


class _NoRevision(Exception):
    """git cannot say what was at a revision; the message says why."""


def _at_revision(folder: str, revision: str) -> Reader:
    """Reads files as they were at a revision, by their names relative to a folder of the repository.

    Raises:
        _NoRevision: git does not know it.
    """
    if revision.startswith("-") or any(character in revision for character in ":\0\n"):
        raise _NoRevision(f"{revision!r} is no revision")
    try:
        found = _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except OSError as error:
        raise _NoRevision(f"git cannot be run: {error.strerror or error}") from error
    if found.returncode:
        said = found.stderr.decode(errors="replace").strip()
        raise _NoRevision(
            said
            or f"git does not know {revision}. A shallow clone has only the newest commit: fetch the revision first"
        )
    commit = found.stdout.decode().strip()

    def read(name: str) -> str | None:
        path = Path(os.path.relpath(os.path.join(folder, name), folder)).as_posix()
        blob = _git(folder, "cat-file", "blob", f"{commit}:./{path}")
        return None if blob.returncode else text_files.decode(blob.stdout)

    return read


def _git(folder: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, check=False, stdin=subprocess.DEVNULL)

"""Files that a CI file names, as they are now or were at a revision; and the tables of answers that it keeps."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from zsindex.arguments import text_files
from zsindex.classification import prompts
from zsindex.config import absolute
from zsindex.lab import ci_file
from zsindex.lab.ci_file import CiFile
from zsindex.records import LabelSet

if TYPE_CHECKING:
    from zsindex.classification.results import Classification

# The text of a file by the name that the CI file has for it; None if there is none.
Reader: TypeAlias = Callable[[str], str | None]


def reader(folder: str) -> Reader:
    """Reads files as they are now, by their names relative to a folder."""

    def read(name: str) -> str | None:
        path = absolute(os.path.join(folder, name))
        return text_files.read(Path(path)) if os.path.exists(path) else None

    return read


def shown(path: str, folder: str) -> str:
    """A path as reports have it: relative to the folder of the CI file, the same on every machine."""
    relative = os.path.relpath(path, folder)
    return path if relative.startswith(os.pardir) else Path(relative).as_posix()


def labels_of(name: str, read: Reader) -> LabelSet:
    """The labels of a file, or of one set in it: ``FILE#KEY``."""
    file, key = name, ""
    if "#" in name and read(name) is None:
        file, _, key = name.rpartition("#")
    text = read(file)
    if text is None:
        raise text_files.UnreadableText(f"there is no {file}")
    return prompts.parse_labels(text, source=file, key=key or None)


def templates_of(text: str, read: Reader) -> Sequence[str]:
    """A template or the name of a set as it is; of ``@FILE``, the templates in it."""
    if not text.startswith("@"):
        return [text]
    found = read(text[1:])
    if found is None:
        raise text_files.UnreadableText(f"there is no {text[1:]}")
    return prompts.parse_templates(found, source=text[1:])


def answers_of(asked: CiFile, place: ci_file.Place, text: str, file: str, name: str) -> dict[str, str]:
    """A table of answers, by absolute path."""
    from zsindex.lab import ci

    folder = os.path.dirname(os.path.join(os.path.dirname(file), name))
    try:
        return {absolute(os.path.join(folder, path)): label for path, label in ci.answers_table(text).items()}
    except text_files.UnreadableText as error:
        raise asked.problem(place, f"{name}: {error}") from error


def keep_answers(answer: Classification, file: str) -> None:
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


class NoRevision(Exception):
    """git cannot say what was at a revision; the message says why."""


def at_revision(folder: str, revision: str) -> Reader:
    """Reads files as they were at a revision, by their names relative to a folder of the repository.

    Raises:
        NoRevision: git does not know it.
    """
    if revision.startswith("-") or any(character in revision for character in ":\0\n"):
        raise NoRevision(f"{revision!r} is no revision")
    try:
        found = _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except OSError as error:
        raise NoRevision(f"git cannot be run: {error.strerror or error}") from error
    if found.returncode:
        said = found.stderr.decode(errors="replace").strip()
        raise NoRevision(
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

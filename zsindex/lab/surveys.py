"""Surveys: series of looks that a person takes at photos, each with its answer; and the loop that asks for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from zsindex.arguments import text_files
from zsindex.arguments.text_files import UnreadableText
from zsindex.config import absolute
from zsindex.errors import BadAnswer, BadLabelFile
from zsindex.storage.rows import SurveyRow

YES, NO = "yes", "no"
# The person cannot tell.
UNSURE = "unsure"
# What a callback answers to take the last answer back; it is no answer.
UNDO = "undo"

_SPELLINGS = {
    **dict.fromkeys(("y", "yes", "true", "1"), YES),
    **dict.fromkeys(("n", "no", "false", "0"), NO),
    **dict.fromkeys(("?", "s", "skip", "unsure"), UNSURE),
}


@dataclass(frozen=True)
class Survey:
    """A series of looks for one purpose.

    Attributes:
        id: never given again.
        kind: what for, such as ``count``.
        question: what is asked, plain data for JSON; it is found again by it.
        n_looks, n_answered: photos that were drawn, and those of them with an answer.
        begun_at, ended_at: ISO dates and times; `ended_at` is None while it goes on.
        result: what came out of it; None if nothing was said.
    """

    id: int
    kind: str
    question: Mapping[str, Any]
    n_looks: int
    n_answered: int
    begun_at: str
    ended_at: str | None
    result: Mapping[str, Any] | None

    @classmethod
    def of(cls, row: SurveyRow, *, n_looks: int, n_answered: int) -> Survey:
        """A survey as it is stored."""
        return cls(
            row.id, row.kind, row.question, n_looks, n_answered, row.begun_at, row.ended_at, row.result
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "question": dict(self.question),
            "n_looks": self.n_looks,
            "n_answered": self.n_answered,
            "begun_at": self.begun_at,
            "ended_at": self.ended_at,
            "result": None if self.result is None else dict(self.result),
        }


@dataclass(frozen=True)
class Look:
    """A photo that a person is shown.

    Attributes:
        number: counted from 1 for each survey, in the order in which photos were drawn.
        path: of a file that shows it; where it lay when it was drawn, if the library has none now.
        copies: of other files with its bytes.
        digest: hex SHA-256 of its bytes.
        image_id: of its content; None if the library has it no more.
        drawn: how it was drawn: a probability or a rank, and whatever else the answer is worth by.
        answer: ``yes``, ``no``, a label, or ``unsure``; None while it waits for one.
        answered_at: ISO date and time.
    """

    number: int
    path: str
    copies: tuple[str, ...]
    digest: str
    image_id: int | None
    drawn: Mapping[str, Any]
    answer: str | None = None
    answered_at: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "number": self.number,
            "path": self.path,
            "copies": list(self.copies),
            "digest": self.digest,
            "image_id": self.image_id,
            "drawn": dict(self.drawn),
            "answer": self.answer,
            "answered_at": self.answered_at,
        }


class Asking(Protocol):
    """What asks a person about photos, one after another: a count, a review, a choice."""

    def look(self) -> Look | None:
        """The photo that waits for an answer, the same one until it has one; None when no more is asked."""
        ...

    def answer(self, answer: str) -> None:
        """The answer to the photo that waits.

        Raises:
            BadAnswer
        """
        ...

    def undo(self) -> bool:
        """Take the last answer back, so that its photo waits again; False if there is none."""
        ...


def ask(asking: Asking, answer: Callable[[Look], str | None]) -> bool:
    """Ask about photo after photo. Every answer is kept at once, so that whatever ends this loses none.

    Args:
        answer: given a photo, says what it shows; `UNDO` takes the last answer back, None stops.

    Returns:
        Whether it ended because no more is asked; False if it was stopped.
    """
    while (look := asking.look()) is not None:
        said = answer(look)
        if said is None:
            return False
        if said == UNDO:
            asking.undo()
        else:
            asking.answer(said)
    return True


def read_answer(text: str, labels: Collection[str] | None = None) -> str:
    """An answer as people write it: y, No, true, 0, ?, or one of some labels, in their spelling.

    Args:
        labels: instead of yes and no.

    Raises:
        BadAnswer
    """
    said = text.strip()
    short = _SPELLINGS.get(said.lower())
    if labels is not None:
        if said in labels:
            return said
        if short != UNSURE:
            raise BadAnswer(said, [*labels, UNSURE])
    if short is None:
        raise BadAnswer(said, [YES, NO, UNSURE])
    return short


def parse_answers(text: str, *, source: str, labels: Collection[str] | None = None) -> dict[str, str]:
    """Answers by absolute path, from a table with the columns ``path`` and ``answer`` (or ``label``).

    See `zsindex.arguments.text_files.table`. A later line about a path comes in place of an earlier one.

    Args:
        labels: as for `read_answer`.

    Raises:
        BadLabelFile: names the line.
    """
    found: dict[str, str] = {}
    try:
        for line, row in text_files.table(text, required=("path", "answer"), names={"label": "answer"}):
            if not row["path"]:
                raise BadLabelFile(source, f"line {line}: path is empty")
            try:
                found[absolute(row["path"])] = read_answer(row["answer"], labels)
            except BadAnswer as error:
                raise BadLabelFile(source, f"line {line}: {error}") from error
    except UnreadableText as error:
        raise BadLabelFile(source, str(error)) from error
    return found


def answers_from(answers: Mapping[str, str]) -> Callable[[Look], str | None]:
    """Answers for `ask` from a table: by any of a photo's files. A photo that is not in it stops."""

    def answer(look: Look) -> str | None:
        return next((answers[path] for path in (look.path, *look.copies) if path in answers), None)

    return answer

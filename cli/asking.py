"""Asking a person about photos, one after another: on a terminal, through a pipe, or from a file of answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import options
from .output import note, plural
from .streams import shown

if TYPE_CHECKING:
    from zsindex.lab.surveys import Asking, Look

F = TypeVar("F", bound=Callable[..., Any])

# By key, with more than this many labels a line is typed instead.
_MOST_KEYS = 9


def ways_to_answer(function: F) -> F:
    """--answers and --open: how somebody is asked."""
    answers = click.option(
        "--answers",
        "answers_file",
        metavar="FILE|-",
        help="Ask nobody: read answers from a CSV table with the columns path and answer (yes, no, or ?). Stops at a "
        "photo that is not in it.",
    )
    opened = click.option(
        "--open", "open_photos", is_flag=True, help="Open each photo in the program that the desktop opens photos with."
    )
    return answers(opened(function))


def ask(
    asking: Asking,
    *,
    question: str,
    state: Callable[[], str],
    labels: Sequence[str] | None = None,
    answers_file: str | None = None,
    open_photos: bool = False,
    quiet: bool = False,
) -> bool:
    """Ask about photo after photo until no more is asked, or the person stops: with q, at the end of a pipe, or with
    Ctrl-C. Every answer is kept when it is given.

    Args:
        question: what is asked of each photo, in words.
        state: what is known so far, in a line, shown after each answer.
        labels: what may be answered instead of yes and no.
        answers_file: answers are read from this table, and nobody is asked.
        open_photos: each is opened in the desktop's viewer.

    Returns:
        Whether it ended because no more is asked; False if it was stopped.

    Raises:
        BadLabelFile: the table cannot be read.
    """
    from zsindex.lab import surveys

    if answers_file is not None:
        text, name, _ = options.read_text(answers_file)
        answer = surveys.answers_from(surveys.parse_answers(text, source=name, labels=labels))
        missing: list[str] = []

        def from_file(look: Look) -> str | None:
            said = answer(look)
            if said is None:
                missing.append(look.path)
            return said

        ended = surveys.ask(asking, from_file)
        if missing:
            note(f"stopped: {name} has no answer for {missing[0]}", quiet=quiet)
        return ended
    asked = _Person(question, state, labels, open_photos=open_photos)
    try:
        return surveys.ask(asking, asked.answer)
    except KeyboardInterrupt:
        click.echo(err=True)
        return False
    finally:
        note(f"{plural(asked.n, 'answer')} kept; the same command goes on from here", quiet=quiet or not asked.n)


class _Person:
    """Somebody at a terminal, or behind a pipe with an answer a line."""

    def __init__(
        self, question: str, state: Callable[[], str], labels: Sequence[str] | None, *, open_photos: bool
    ) -> None:
        self.n = 0
        self._question = question
        self._state = state
        self._labels = labels
        self._open = open_photos
        self._by_key = sys.stdin.isatty() and (labels is None or len(labels) <= _MOST_KEYS)
        self._keys = _keys(labels)

    def answer(self, look: Look) -> str | None:
        """An answer, `UNDO`, or None to stop."""
        if self.n:
            click.echo(f"  {shown(self._state())}", err=True)
        click.echo(f"{look.number}. {shown(look.path)}", err=True)
        if self._open:
            click.launch(look.path)
        while True:
            said = self._key() if self._by_key else self._line()
            if said == "o":
                click.launch(look.path)
            elif said is None or said == "q":
                return None
            elif (answer := self._meaning(said)) is not None:
                self.n += 1 if answer != "undo" else -1 if self.n else 0
                return answer
            else:
                click.echo(f"   {self._help()}", err=True)

    def _key(self) -> str | None:
        click.echo(f"   {self._question} {self._help()} ", nl=False, err=True)
        try:
            key = click.getchar()
        except EOFError:
            return None
        click.echo(shown(key), err=True)
        return key if key in ("?", *self._keys) else key.lower()

    def _line(self) -> str | None:
        click.echo(f"   {self._question} {self._help()} ", nl=False, err=True)
        line = sys.stdin.readline()
        if not sys.stdin.isatty():
            click.echo(err=True)
        return line.strip() or " " if line else None

    def _meaning(self, said: str) -> str | None:
        """The answer that was meant; None if that cannot be told."""
        if said == "u":
            return "undo"
        if said in self._keys:
            return self._keys[said]
        from zsindex.errors import BadAnswer
        from zsindex.lab.surveys import read_answer

        try:
            return read_answer(said, self._labels)
        except BadAnswer:
            beginning = [one for one in self._labels or () if one.lower().startswith(said.lower())]
            return beginning[0] if len(beginning) == 1 and said.strip() else None

    def _help(self) -> str:
        if self._labels is None:
            return "[y]es, [n]o, [s]kip, [u]ndo, [o]pen, [q]uit:"
        if self._keys:
            named = ", ".join(f"[{key}] {shown(label)}" for key, label in self._keys.items())
            return f"{named}, [s]kip, [u]ndo, [o]pen, [q]uit:"
        return "a label or its beginning, [s]kip, [u]ndo, [o]pen, [q]uit:"


def _keys(labels: Sequence[str] | None) -> Mapping[str, str]:
    if labels is None or len(labels) > _MOST_KEYS:
        return {}
    return {str(n): label for n, label in enumerate(labels, 1)}

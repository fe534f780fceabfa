"""zsindex surveys list|show|end|forget"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .output import (
    CSV,
    PATHS,
    destination,
    format_option,
    note,
    table,
    write_csv,
    write_json,
    write_names,
    write_ndjson,
)

if TYPE_CHECKING:
    from zsindex.lab.surveys import Look


@click.group()
@options.library_before
def surveys() -> None:
    """Surveys: what was asked about photos, one after another, and what was answered."""


@surveys.command("list")
@options.library
@options.json_flag
def list_(library: options.Place | None, as_json: bool) -> None:
    """List the surveys, oldest first: those of counts, reviews and choices."""
    with options.open_library(library) as opened:
        found = opened.surveys.list()
    if as_json:
        write_json([one.to_dict() for one in found], sys.stdout)
    elif found:
        rows = [
            (
                one.id,
                one.kind,
                f"{one.n_answered} of {one.n_looks}",
                one.begun_at[:16].replace("T", " "),
                "ended" if one.ended_at else "goes on",
                _asked(one.question),
            )
            for one in found
        ]
        align = ["right", "left", "right", "left", "left", "left"]
        click.echo(table(["survey", "kind", "answered", "begun (UTC)", "", "question"], rows, align=align))


@surveys.command()
@click.argument("survey", type=options.Whole(min=1))
@format_option
@options.output
@options.library
def show(survey: int, fmt: str, output: Path | None, library: options.Place | None) -> None:
    """Print the photos of a survey in the order in which they were drawn, with their answers.

    With --format csv it can be read as --answers of the same question.
    """
    with options.open_library(library) as opened:
        found = opened.surveys.looks(survey)
    with destination(output) as out:
        if fmt == "json":
            write_json([look.to_dict() for look in found], out)
        elif fmt == "ndjson":
            write_ndjson((look.to_dict() for look in found), out)
        elif fmt in CSV:
            write_csv(["path", "answer", "answered_at", "drawn"], _rows(found), out, fmt=fmt)
        elif fmt in PATHS:
            write_names((look.path for look in found), out, fmt=fmt)
        elif found:
            rows = [(look.number, look.answer or "", look.path) for look in found]
            out.write(table(["look", "answer", "photo"], rows, align=["right", "left", "left"]) + "\n")


def _asked(question: Mapping[str, Any]) -> str:
    """What is asked, for people; --json has all of it."""
    what = question.get("label") or " or ".join(map(str, question.get("candidates", ())))
    parts = [str(what)]
    if question.get("label_set"):
        parts.append(f"of {question['label_set']}")
    if question.get("paths"):
        parts.append(f"in {', '.join(question['paths'])}")
    if question.get("where"):
        parts.append(f"where {json.dumps(question['where'], ensure_ascii=False)}")
    return " ".join(parts)


def _rows(found: Sequence[Look]) -> Iterator[tuple[str, str, str, str]]:
    for look in found:
        if look.answer is not None:
            drawn = json.dumps(dict(look.drawn), ensure_ascii=False)
            yield look.path, look.answer, look.answered_at or "", drawn


@surveys.command()
@click.argument("survey", type=options.Whole(min=1))
@options.library
@options.quiet
def end(survey: int, library: options.Place | None, quiet: bool) -> None:
    """End a survey: the same question then begins a new one. What was answered stays."""
    with options.open_library(library) as opened:
        opened.surveys.end(survey)
    note(f"ended survey {survey}", quiet=quiet)


@surveys.command()
@click.argument("survey", type=options.Whole(min=1))
@options.library
@options.quiet
def forget(survey: int, library: options.Place | None, quiet: bool) -> None:
    """Forget a survey with its answers, except those that were kept as corrections."""
    with options.open_library(library) as opened:
        opened.surveys.forget(survey)
    note(f"forgot survey {survey}", quiet=quiet)

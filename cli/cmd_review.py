"""zsindex review"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .asking import ask, ways_to_answer
from .output import (
    CSV,
    PATHS,
    destination,
    format_option,
    note,
    plural,
    write_csv,
    write_json,
    write_names,
    write_ndjson,
)

if TYPE_CHECKING:
    from zsindex.lab.review import Certificate, ReviewState
    from zsindex.where import Where

_STOPPED = 3


@click.command(cls=options.Filtered)
@click.argument("label")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--recall",
    type=options.Share(0.5, 0.999),
    default="95%",
    show_default=True,
    help="The share of the photos that show it that must have been seen.",
)
@click.option(
    "--confidence", type=options.Share(0.5, 0.999), default="95%", show_default=True, help="How sure that must be."
)
@click.option(
    "--label-set",
    metavar="NAME",
    help="A saved label set that has LABEL: photos that fit it better than the other labels come first, and answers "
    "are kept as corrections of the set.",
)
@options.template
@options.filters_beside_paths
@click.option("--seed", type=options.Whole(min=0), default=0, show_default=True, help="Another one draws other photos.")
@ways_to_answer
@options.truncate
@click.option(
    "--certificate", type=options.FilePath(path_type=Path), metavar="FILE", help="Write what may be said as JSON."
)
@click.option("--end", is_flag=True, help="End the review afterwards: the same question then begins a new one.")
@format_option
@options.output
@options.library
@options.which_model
@options.quiet
def review(
    label: str,
    paths: tuple[str, ...],
    recall: float,
    confidence: float,
    label_set: str | None,
    template: tuple[str, ...],
    where: Where | None,
    seed: int,
    answers_file: str | None,
    open_photos: bool,
    truncate: bool,
    certificate: Path | None,
    end: bool,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Find all photos that show LABEL: look at those that most likely do, until it can be promised how many were seen.

    Photos come in the order of a ranking that learns from the answers; between them come photos drawn by chance, which
    tell how many the ranking leaves out. Every answer is kept, and the same command goes on where it stopped. Exits
    with 3 if it stopped before the promise could be given. A promise about a label that few photos show takes a look
    at nearly all of them: docs/guarantees.md says what to expect.

    \b
    zsindex review owl ~/Pictures
    zsindex review owl --label-set birds --recall 0.9 --certificate owls.json
    zsindex review owl --format paths | xargs -d '\\n' cp -t ~/owls
    """
    with options.open_library(library, quiet=quiet, **model) as opened:
        opened_review = opened.reviews.begin(
            label,
            recall=recall,
            confidence=confidence,
            label_set=label_set,
            template=template or None,
            paths=paths or None,
            where=where,
            truncate=truncate,
            seed=seed,
        )
        ended = ask(
            opened_review,
            question=f"Does it show {label!r}?",
            state=lambda: _state(opened_review.standing()),
            answers_file=answers_file,
            open_photos=open_photos,
            quiet=quiet,
        )
        said = opened_review.end() if end else opened_review.certificate()
        found = opened_review.found()
    if certificate is not None:
        with destination(certificate) as out:
            write_json(said.to_dict(), out)
    with destination(output) as out:
        if fmt == "json":
            write_json({**said.to_dict(), "found_photos": found}, out)
        elif fmt == "ndjson":
            write_ndjson(({"path": path} for path in found), out)
        elif fmt in CSV:
            write_csv(["path"], ([path] for path in found), out, fmt=fmt)
        elif fmt in PATHS:
            write_names(found, out, fmt=fmt)
        else:
            out.write(f"{said.statement}\n")
    if fmt != "table":
        note(said.statement, quiet=quiet)
    if not ended and not said.reached:
        note(_to_go(said), quiet=quiet)
        raise click.exceptions.Exit(_STOPPED)


def _state(now: ReviewState) -> str:
    """In a line, after each answer."""
    promised = "" if now.promise is None else f"; at least {100 * now.promise:.4g} % of all seen"
    return f"{plural(now.looks, 'photo')} looked at, {now.found:,} found{promised}; at least {now.looks_left:,} to go"


def _to_go(said: Certificate) -> str:
    now = said.standing
    return (
        f"for {100 * now.recall:.4g} % at least {plural(now.looks_left, 'look')} more; the survey has number "
        f"{said.survey}: zsindex surveys show {shlex.quote(str(said.survey))}"
    )

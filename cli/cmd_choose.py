"""zsindex choose"""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from . import options
from .asking import ask, ways_to_answer
from .cmd_words import named, renames
from .output import destination, formats, note, plural, table, write_json

if TYPE_CHECKING:
    from zsindex.lab.choose import Standing
    from zsindex.where import Where


@click.command(cls=options.Filtered)
@click.argument("candidates", nargs=-1, required=True, metavar="NAME NAME [NAME]...")
@click.option("--models", "kind", flag_value="models", help="NAMEs are models that the library holds vectors of.")
@click.option(
    "--label-sets", "kind", flag_value="label-sets", help="NAMEs are saved label sets (NAME@VERSION), or @FILE."
)
@click.option("--template-sets", "kind", flag_value="template-sets", help="NAMEs are templates or template sets.")
@options.which_labels
@options.label_set
@options.template
@options.which_model
@options.filters
@click.option(
    "--confidence",
    type=options.Share(),
    default="95%",
    show_default=True,
    help="How sure it shall be that none is better.",
)
@click.option(
    "--within",
    type=options.Share(),
    default="1%",
    show_default=True,
    help="Candidates whose shares of right answers are no further apart than this are equally good.",
)
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="The answers OLD and NEW are one. Repeatable.")
@click.option("--seed", type=options.Whole(min=0), default=0, show_default=True, help="Random seed.")
@ways_to_answer
@options.truncate
@formats("table", "json", help="table for people; json for programs.")
@options.output
@options.library
@options.quiet
@click.pass_context
def choose(
    ctx: click.Context,
    /,
    candidates: tuple[str, ...],
    kind: str | None,
    label: tuple[str, ...],
    label_file: str | None,
    label_set: str | None,
    template: tuple[str, ...],
    paths: tuple[str, ...],
    where: Where | None,
    confidence: float,
    within: float,
    rename: tuple[str, ...],
    seed: int,
    answers_file: str | None,
    open_photos: bool,
    truncate: bool,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Find out which of several models, label sets or template sets is right most often here, in few looks.

    Shows photos on which the candidates differ, drawn by chance among those that still matter, and asks which of their
    answers are right, until it is known that none is better by more than --within. Every answer is kept, and the same
    command goes on; of one saved label set it is kept as a correction, too.

    \b
    zsindex choose --models nano ViT-B-32/laion2b_s34b_b79k --label-set pets
    zsindex choose --label-sets pets@1 pets@2 @better.json
    zsindex choose --template-sets default openai-7 -l cat -l dog --answers truth.csv

    Exit codes: 0 if the best is known; 3 if it is not known yet.

    The table of --answers may also say what photos show, with "|" between several names: answers of such a name are
    right.
    """
    if kind is None:
        raise click.UsageError("say what the names are: --models, --label-sets or --template-sets")
    if len(candidates) < 2:
        raise click.UsageError("name two or more to choose between")
    renamed = renames(rename)
    if kind == "models" and model.get("model"):
        raise click.UsageError(
            "--model is for --label-sets and --template-sets; with --models the names are the models"
        )
    with options.open_library(library, quiet=quiet, **model) as opened:
        if kind == "label-sets":
            if label or label_file or label_set:
                raise click.UsageError(
                    "with --label-sets the names are the labels: leave out -l, --labels, --label-set"
                )
            sets = [named(name) for name in candidates]
        else:
            sets = [options.label_set_from(opened, label, label_file, template, saved=label_set)]
        choice = opened.choices.begin(
            sets[0],
            against=sets[1:],
            models=candidates if kind == "models" else (),
            templates=candidates if kind == "template-sets" else (),
            template=template or None,
            names=renamed,
            confidence=confidence,
            within=within,
            seed=seed,
            paths=paths or None,
            where=where,
            truncate=truncate,
        )
        begun = choice.standing()
        note(
            f"{plural(begun.photos, 'photo')}; {' and '.join(choice.candidates)} differ on {begun.differ:,}",
            quiet=quiet,
        )
        ask(
            choice,
            question="which is right?",
            state=lambda: _line(choice.standing()),
            choices=lambda look: look.drawn["answers"],
            answers_file=answers_file,
            open_photos=open_photos,
            quiet=quiet,
        )
        found = choice.standing()
    with destination(output) as out:
        _write(found, fmt, out)
    note(_outcome(found), quiet=quiet)
    if found.named is None:
        ctx.exit(3)


def _line(found: Standing) -> str:
    """What is known so far, in a line."""
    duel = min(found.duels, key=lambda duel: duel.low)
    return (
        f"{found.leader} leads {duel.other} by {_points(duel.difference)} points "
        f"({_points(duel.low)} … {_points(duel.high)}); {plural(found.looked_at, 'look')}"
    )


def _outcome(found: Standing) -> str:
    looks = f"{plural(found.looked_at, 'look')} at {found.differ:,} photos on which they differ"
    if found.named is None and found.exhausted:
        return f"{looks}: which is best cannot be known, as for {plural(found.unsure, 'photo')} nobody could tell"
    if found.named is None:
        return f"{looks}: not known yet; the same command goes on"
    none = "none is better" if found.within == 0 else f"none is better by more than {100 * found.within:g} points"
    return f"{found.named}: {none}, with {100 * found.confidence:g} % confidence; {looks}"


def _write(found: Standing, fmt: str, out: IO[str]) -> None:
    if fmt == "json":
        write_json(found.to_dict(), out)
        return
    rows = [
        (
            duel.candidate,
            duel.other,
            f"{duel.differ:,}",
            f"{duel.looked_at:,}",
            f"{duel.won:,}",
            f"{duel.lost:,}",
            f"{_points(duel.difference)} ({_points(duel.low)} … {_points(duel.high)})",
        )
        for duel in found.duels
    ]
    header = ["best" if found.named else "leads", "other", "differ on", "looks", "won", "lost", "difference, points"]
    out.write(table(header, rows, align=["left", "left", *["right"] * 5]) + "\n")


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"

"""zsindex migrate-model"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from . import options
from .cmd_words import summary, write_flows
from .output import note, plural, write_json, write_lines
from .progress import Reporter, stop_on_interrupt

if TYPE_CHECKING:
    from zsindex.lab.migration import Migration


@click.command("migrate-model")
@click.argument("model", metavar="NEW")
@click.option("--pretrained", metavar="TAG|FILE", help="Weights, if NEW names only an architecture.")
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="Precision that NEW computes in."
)
@click.option("--decode", type=click.Choice(["fast", "exact"]), help="How photos are decoded to pixels.")
@options.icc
@options.transparency
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@options.how_fast
@click.option(
    "--label-set",
    "label_sets",
    multiple=True,
    metavar="NAME",
    help="Compare the answers for this saved set. Repeatable.  [default: all saved sets]",
)
@options.truncate
@click.option("--yes", is_flag=True, help="Switch without asking.")
@options.json_flag
@options.library
@options.quiet
@click.pass_context
def migrate_model(
    ctx: click.Context,
    /,
    model: str,
    pretrained: str | None,
    precision: str | None,
    decode: str | None,
    icc: str | None,
    transparency: str | None,
    device: str,
    batch_size: int | None,
    workers: int | None,
    label_sets: tuple[str, ...],
    truncate: bool,
    yes: bool,
    as_json: bool,
    library: options.Place | None,
    quiet: bool,
) -> None:
    """Move the library to the model NEW: encode alongside the old one, show which answers change, then switch.

    Until then the old model keeps answering, also in other terminals. If stopped or killed, run the same command again
    to continue. No vectors are deleted: zsindex models use switches back.
    """
    with options.open_library(library, quiet=quiet, device=device, batch_size=batch_size, workers=workers) as opened:
        old = opened.spec
        with Reporter(quiet=quiet) as progress, stop_on_interrupt() as should_stop:
            try:
                found = opened.migration.run(
                    model,
                    pretrained=pretrained,
                    precision=precision,
                    decode=decode,
                    icc=icc,
                    transparency=transparency,
                    label_sets=label_sets or None,
                    switch=yes,
                    truncate=truncate,
                    progress=progress,
                    should_stop=should_stop,
                )
            except ValueError as error:
                raise click.UsageError(str(error)) from error
        if as_json:
            write_json(found.to_dict(), sys.stdout)
        else:
            _show(found)
        if found.interrupted:
            note(
                f"stopped with {found.photos - found.ready:,} photos left; run the same command again to continue",
                quiet=quiet,
            )
            ctx.exit(130)
        if not found.switched:
            if not can_ask():
                raise click.ClickException("not switched: there is no terminal to ask on; add --yes to switch")
            if not click.confirm(f"Make {found.after} the default?", err=True):
                note(f"not switched. To switch later: zsindex migrate-model {model} --yes", quiet=quiet)
                return
            opened.use_model(
                model, pretrained=pretrained, precision=precision, decode=decode, icc=icc, transparency=transparency
            )
    back = f"zsindex models use {old}"
    if any(option is not None for option in (precision, decode, icc, transparency)):
        back += f" --precision {old.precision} {old.seen_as}"
    note(f"{found.after} is now the default. To go back: {back}", quiet=quiet)


def can_ask() -> bool:
    """Whether someone is there to answer a question."""
    return sys.stdin.isatty()


def _show(found: Migration) -> None:
    click.echo(
        f"{found.before} → {found.after}: {found.ready:,} of {plural(found.photos, 'photo')} ready, "
        f"{found.encoded:,} encoded now"
    )
    if found.away:
        click.echo(
            f"{plural(len(found.away), 'photo')} cannot be encoded here, because the file is not on this disk; "
            f"{found.before} still answers for them. First: {found.away[0]}"
        )
    write_lines((f"skipped {one.path}: {one.detail or one.reason}" for one in found.skipped[:10]), sys.stdout)
    for name, diff in found.diffs.items():
        click.echo(f"\n{name}: {summary(diff)}")
        write_flows(diff, sys.stdout)

"""zsindex models list|show|use"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from zsindex.errors import LibraryNotFound

from . import options
from .output import note, print_pairs, size, table, write_json

if TYPE_CHECKING:
    from zsindex.upkeep.maintenance import ModelStatus


@click.group()
@options.library_before
def models() -> None:
    """Models: those in the library, and those available."""


@models.command("list")
@click.argument("pattern", default="")
@click.option("--held", is_flag=True, help="Only models in the library; fast, because no model code is loaded.")
@options.library
@options.json_flag
def list_(pattern: str, held: bool, library: options.Place | None, as_json: bool) -> None:
    """List the library's models and those available for download, with PATTERN in their names.

    An open_clip model is followed by the transformers checkpoint with the same weights, if there is one. Any other
    ORG/NAME on a hub works as well.
    """
    rows = [row for row in _held(library) if pattern.lower() in row.name.lower()]
    twins = _twins()
    offered = [] if held else [n for n in _offered() if pattern.lower() in " ".join([n, *twins.get(n, ())]).lower()]
    if as_json:
        document: dict[str, Any] = {"held": [_to_dict(row) for row in rows]}
        also = {name: twins[name] for name in offered if name in twins}
        write_json(document if held else {**document, "available": offered, "transformers": also}, sys.stdout)
        return
    if rows:
        header = [
            "in the library",
            "images",
            "prompts",
            "bytes",
            "decode",
            "icc",
            "transparency",
            "precision",
            "fingerprint",
        ]
        lines = [
            (
                f"{row.name} (default)" if row.default else row.name,
                f"{row.images:,}",
                f"{row.prompts:,}",
                size(row.bytes),
                row.decode,
                row.icc,
                row.transparency,
                row.precision,
                row.fingerprint[:12],
            )
            for row in rows
        ]
        click.echo(table(header, lines, align=["left", *["right"] * 3, *["left"] * 5]))
    if offered:
        click.echo(("\n" if rows else "") + "available:")
        for name in offered:
            click.echo("  ".join([f"  {name}", *twins.get(name, ())]))


@models.command()
@click.argument("name")
@options.library
@options.json_flag
def show(name: str, library: options.Place | None, as_json: bool) -> None:
    """Describe a model: one in the library, by name or the beginning of its fingerprint, or an available one."""
    rows = [row for row in _held(library) if name and (row.name == name or row.fingerprint.startswith(name))]
    if rows:
        found = [_to_dict(row) for row in rows]
    else:
        from zsindex.models import loading

        found = [loading.describe(name)]
    if as_json:
        write_json(found, sys.stdout)
        return
    for position, facts in enumerate(found):
        if position:
            click.echo()
        print_pairs(facts)


@models.command()
@click.argument("name")
@click.option("--pretrained", metavar="TAG|FILE", help="Weights, if NAME is only an architecture.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="Precision that the model computes in.")
@click.option("--decode", type=click.Choice(["fast", "exact"]), help="How photos are decoded to pixels.")
@options.icc
@options.transparency
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@options.library
@options.quiet
def use(
    name: str,
    pretrained: str | None,
    precision: str | None,
    decode: str | None,
    icc: str | None,
    transparency: str | None,
    device: str,
    library: options.Place | None,
    quiet: bool,
) -> None:
    """Make a model the library's default. Vectors of other models are kept."""
    with options.open_library(library, create=True, device=device) as opened:
        opened.use_model(
            name, pretrained=pretrained, precision=precision, decode=decode, icc=icc, transparency=transparency
        )
        status = next(row for row in opened.models() if row.default)
        files = opened.status().images
    note(f"{status.name} is now the default (fingerprint {status.fingerprint[:12]})", quiet=quiet)
    if status.images < files:
        note(f"{files - status.images:,} photos are not yet encoded by it: zsindex sync", quiet=quiet)


def _held(library: options.Place | None) -> list[ModelStatus]:
    try:
        with options.open_library(library) as opened:
            return opened.models()
    except LibraryNotFound:
        return []


def _offered() -> list[str]:
    from zsindex.models import loading

    with loading.importing_torch():
        from zsindex.models.openclip_files import available_models

    return ["nano", *(f"{architecture}/{tag}" for architecture, tag in available_models())]


def _twins() -> dict[str, list[str]]:
    """Names of the same weights as checkpoints of transformers, by open_clip's name."""
    from zsindex.models.names import TWINS

    found: dict[str, list[str]] = {}
    for repository, pair in TWINS.items():
        found.setdefault(pair, []).append(repository)
    return found


def _to_dict(row: ModelStatus) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(row)

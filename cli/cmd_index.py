"""zsindex index build|status|drop"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from . import options
from .output import note, plural, print_pairs, size, write_json
from .progress import Reporter, stop_on_interrupt
from .streams import shown

if TYPE_CHECKING:
    from zsindex.upkeep.search_index import SearchIndexStatus

search_flag = click.option(
    "--search",
    is_flag=True,
    required=True,
    help="The search index on the server. What a machine keeps for itself is made when a question needs it.",
)


@click.group()
@options.library_before
def index() -> None:
    """The search index of a library on a server, for machines that cannot hold all vectors.

    Such a machine sets ZSINDEX_SEARCH=server. Its search and similar ask the server, and their scores are true; of the
    true results a few may be missing, as many as index status says, unless --exact is given.
    """


@index.command()
@search_flag
@click.option(
    "--m",
    type=options.Whole(2, 100),
    help="Neighbours tied to each photo. Default: as in the index that is there; 16 for a new one.",
)
@click.option(
    "--ef-construction",
    type=options.Whole(4, 1000),
    help="How thoroughly these are looked for; twice --m where this is less. Default: as in the index that is there; "
    "64 for a new one.",
)
@click.option(
    "--recall",
    type=options.Real(0, 1, min_open=True),
    help="Share of the true results that searches are to find, as far as that is possible. Default: as for the index "
    "that is there; 0.99 for a new one.",
)
@click.option(
    "--memory",
    "memory_mb",
    type=options.Whole(min=1),
    metavar="MB",
    help="What the server may take for it; best so much that all of it fits. Default: its maintenance_work_mem.",
)
@click.option("--anew", is_flag=True, help="Even where there is one that could be added to.")
@options.library
@options.which_model
@options.json_flag
@options.quiet
@click.pass_context
def build(
    ctx: click.Context,
    /,
    search: bool,
    m: int | None,
    ef_construction: int | None,
    recall: float | None,
    memory_mb: int | None,
    anew: bool,
    library: options.Place | None,
    as_json: bool,
    quiet: bool,
    **model: Any,
) -> None:
    """Build the search index, go on with one that was begun, or add to it what is new.

    Needs pgvector on the server. Searches go on meanwhile; photos that are newer than the index are compared beside it.
    """
    with (
        options.open_library(library, **model) as opened,
        Reporter(quiet=quiet) as progress,
        stop_on_interrupt() as should_stop,
    ):
        built = opened.search_index.build(
            m=m,
            ef_construction=ef_construction,
            recall=recall,
            memory_mb=memory_mb,
            anew=anew,
            progress=progress,
            should_stop=should_stop,
        )
    if built is None:
        note("stopped; what was copied is kept. Run the same command again to go on", quiet=quiet)
        ctx.exit(130)
    if as_json:
        write_json(built.to_dict(), sys.stdout)
    else:
        click.echo(f"{plural(built.vectors, 'vector')}, {size(built.bytes)} on the server; {recall_of(built)}")
    if any(found < built.target for found in built.recall.values()):
        note(f"that is less than {built.target:g}: a larger --m or --ef-construction finds more", quiet=quiet)


@index.command()
@options.library
@options.json_flag
def status(library: options.Place | None, as_json: bool) -> None:
    """Show for each model whether there is a search index, how far it reaches, and how well it finds."""
    with options.open_library(library) as opened:
        found = opened.search_index.status()
        place = str(opened.place)
    if as_json:
        write_json([one.to_dict() for one in found], sys.stdout)
        return
    if not found:
        click.echo(f"none: {shown(place)} holds no vectors on a server")
    for one in found:
        print_pairs({"model": one.model, **_pairs(one)})


@index.command()
@search_flag
@options.library
@options.which_model
def drop(search: bool, library: options.Place | None, **model: Any) -> None:
    """Drop the search index. Searches then compare all vectors, until it is built again."""
    with options.open_library(library, **model) as opened:
        click.echo("dropped" if opened.search_index.drop() else "there is none")


def _pairs(one: SearchIndexStatus) -> dict[str, str]:
    pairs = {"search index": "none: zsindex index build --search"}
    if one.there:
        pairs = {
            "search index": f"{plural(one.vectors, 'vector')}, {size(one.bytes)}, m {one.m}, ef_construction "
            f"{one.ef_construction}, begun {one.created_at}",
            "finds": recall_of(one),
        }
    pairs["newer"] = f"{plural(one.after, 'vector')}, compared beside it"
    if one.building is not None:
        pairs["building"] = f"{plural(one.building, 'vector')} copied; zsindex index build --search goes on"
    return pairs


def recall_of(one: SearchIndexStatus) -> str:
    """What was measured, in words."""
    each = ", ".join(f"@{depth} {found:.3f} (ef_search {one.ef_search[depth]})" for depth, found in one.recall.items())
    return f"recall {each} of {plural(one.questions, 'question')}"

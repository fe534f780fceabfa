"""zsindex mcp"""

from __future__ import annotations

from typing import Any

import click

from . import options


@click.command()
@options.library
@click.option("--write", is_flag=True, help="Also let it save label sets, corrections and albums, and sync.")
@click.option("--places", is_flag=True, help="Also tell where photos were taken.")
@options.which_model
def mcp(library: options.Place | None, write: bool, places: bool, **model: Any) -> None:
    """Let an agent ask the library: a server of the Model Context Protocol over standard input and output.

    A program that runs agents starts it; docs/agents.md says what to write into its settings. The agent can search and
    classify, look at small pictures, read facts and label sets, and change nothing unless --write is given.
    """
    from zsindex.errors import ExtraMissing

    try:
        from zsindex.agents.server import serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "mcp":
            raise
        raise ExtraMissing("mcp", extra="mcp", why="answering agents") from error
    with options.open_library(library, quiet=True, read_only=not write, **model) as opened:
        serve(opened, places=places)

"""The `zsindex` command: its subcommands, and the one place where failures become messages and exit codes."""

from __future__ import annotations

import warnings
from typing import Any, TextIO

import click

import zsindex
from zsindex.errors import ZsindexError, ZsindexWarning

from . import cmd_classify, cmd_demo, cmd_embed, cmd_labels, cmd_models, cmd_search, cmd_sync, cmd_upkeep, cmd_vectors

EPILOG = """
Exit codes: 0 done; 1 it failed, and the message says what to do; 2 the command line is wrong; 3 done, but --strict was
given and some photos were skipped; 130 stopped with Ctrl-C, what was done is kept.
"""


class Commands(click.Group):
    """Turns an expected failure into ``Error: …`` and exit code 1. Anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                warnings.simplefilter("always", ZsindexWarning)
                # Odd metadata in a photo that can be read all the same.
                warnings.filterwarnings("ignore", module="PIL")
                return super().invoke(ctx)
        except ZsindexError as error:
            raise click.ClickException(str(error)) from error


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    click.echo(f"Warning: {message}", err=True)


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(zsindex.__version__, prog_name="zsindex")
def cli() -> None:
    """Encode a photo library once, then ask it anything.

    \b
    zsindex demo                                  see it work on a few photos
    zsindex sync ~/Pictures                       encode a folder
    zsindex classify -l cat -l dog                which photo shows what
    zsindex search "a red car"                    find photos by words
    zsindex similar photo.jpg                     find photos by example
    """


for command in (
    cmd_sync.sync,
    cmd_classify.classify,
    cmd_search.search,
    cmd_search.similar,
    cmd_embed.embed,
    cmd_labels.labels,
    cmd_models.models,
    cmd_vectors.vectors,
    cmd_upkeep.status,
    cmd_upkeep.check,
    cmd_upkeep.prune,
    cmd_demo.demo,
):
    cli.add_command(command)

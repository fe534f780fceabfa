"""The `zsindex` command: its subcommands, and the one place where failures become messages and exit codes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, TextIO

import click

import zsindex
from zsindex.errors import ZsindexError, ZsindexWarning

# Where each subcommand lives: `cmd_sync.sync`.
HOMES = {
    "sync": "cmd_sync",
    "classify": "cmd_classify",
    "search": "cmd_search",
    "similar": "cmd_search",
    "duplicates": "cmd_duplicates",
    "embed": "cmd_embed",
    "labels": "cmd_labels",
    "templates": "cmd_labels",
    "thresholds": "cmd_thresholds",
    "models": "cmd_models",
    "vectors": "cmd_vectors",
    "status": "cmd_upkeep",
    "check": "cmd_upkeep",
    "prune": "cmd_upkeep",
    "demo": "cmd_demo",
    "bench": "cmd_bench",
}

EPILOG = """
Exit codes: 0 done; 1 it failed, and the message says what to do; 2 the command line is wrong; 3 done, but --strict was
given and some photos were skipped; 130 stopped with Ctrl-C, what was done is kept.
"""


class _OnDemand(MutableMapping[str, click.Command]):
    """Subcommands by name, each imported when it is asked for: one of them need not wait for all the others."""

    def __init__(self) -> None:
        self._imported: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._imported:
            command: click.Command = getattr(import_module(f".{HOMES[name]}", __package__), name)
            self._imported[name] = command
        return self._imported[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**HOMES, **self._imported})

    def __len__(self) -> int:
        return len({**HOMES, **self._imported})

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._imported[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("a subcommand cannot be taken away")


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


cli.commands = _OnDemand()

"""Subcommands that are imported on first use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

import click


class OnDemand(MutableMapping[str, click.Command]):
    """Subcommands by name, each imported on first use, so that none waits for the others."""

    def __init__(self, homes: Mapping[str, str]) -> None:
        """Args:
        homes: the module of each subcommand, which has its name there, with `_` for `-`: `cmd_sync.sync`.
        """
        self._homes = homes
        self._imported: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._imported:
            command: click.Command = getattr(
                import_module(f".{self._homes[name]}", __package__), name.replace("-", "_")
            )
            self._imported[name] = command
        return self._imported[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._homes, **self._imported})

    def __len__(self) -> int:
        return len({**self._homes, **self._imported})

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._imported[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("a subcommand cannot be removed")

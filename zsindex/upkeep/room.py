"""What grows in a library and beside it, how far it may, and what lets it go; docs/storage.md has it as a table."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zsindex import config
from zsindex.exchange import run_files
from zsindex.index import files as index_files
from zsindex.index import snapshots
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import MOST_DERIVED, MOST_JOBS, MOST_QUESTIONS


@dataclass(frozen=True, slots=True)
class Room:
    """What one kind of thing takes.

    Attributes:
        kind: what it is.
        count, bytes: how many there are, and what they take.
        limit: how far it may grow, in words; empty where that is for whoever keeps it to say.
        forgets: the command that lets it go; empty where nothing but its limit does.
    """

    kind: str
    count: int
    bytes: int
    limit: str
    forgets: str = ""


def rooms(storage: Storage) -> list[Room]:
    """What grows, in a library and in the user's cache folder, which all libraries share."""
    held = storage.photos.sizes()
    index = storage.folder / snapshots.FOLDER_NAME
    answers = [index / name for name in run_files.recorded(storage)]
    prompts = f"{config.PROMPTS.value:,}, {config.PROMPTS_MB.value:,} MB, {config.PROMPTS_DAYS.value:,} days unused"
    limits = {
        "prompts": (prompts, "zsindex prune --prompts"),
        "uploads": (f"{config.UPLOADS_MB.value:,} MB", "zsindex prune"),
        "vanished": ("", "zsindex prune"),
        "label sets": ("", "zsindex labels remove"),
        "runs": (f"{config.RUNS.value:,}, {MOST_QUESTIONS >> 20} MB", ""),
        "jobs": (f"{MOST_JOBS}", ""),
        "derived": (f"{MOST_DERIVED} of a kind and model", ""),
        "corrections": ("", "zsindex correct --undo"),
        "decisions": ("", "zsindex duplicates --undo"),
        "albums": ("", "zsindex albums remove"),
        "surveys": ("", "zsindex surveys forget"),
        "sidecars": ("", "zsindex tags retract"),
    }
    return [
        *(Room(kind, *held[kind], *of_kind) for kind, of_kind in limits.items()),
        _room("stored answers", filter(Path.exists, answers), f"{config.RUNS_MB.value:,} MB"),
        _room("backups", storage.backups(), "", "zsindex prune --backups"),
        _room("files of no index", index_files.strays(index, lambda: _recorded(storage)), "", "zsindex prune"),
        *_beside(config.models_folder(), config.thumbnails_folder()),
    ]


def _beside(models: Path | None, thumbnails: Path) -> list[Room]:
    exports = [] if models is None else list(_files(models))
    n_exports = len({file.relative_to(models).parts[0] for file in exports}) if models is not None else 0
    return [
        Room("exported models", n_exports, sum(map(index_files.size_of, exports)), f"{config.EXPORTS_MB.value:,} MB"),
        _room("thumbnails", _files(thumbnails), "zsindex serve --thumbnail-cache"),
    ]


def _recorded(storage: Storage) -> set[str]:
    return snapshots.recorded_files(storage) | run_files.recorded(storage)


def _room(kind: str, files: Iterable[Path], limit: str, forgets: str = "") -> Room:
    sizes = [index_files.size_of(file) for file in files]
    return Room(kind, len(sizes), sum(sizes), limit, forgets)


def _files(folder: Path) -> Iterable[Path]:
    return (Path(place, name) for place, _, names in os.walk(folder) for name in names)

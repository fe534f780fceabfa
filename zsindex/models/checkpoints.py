"""What the files of a checkpoint of transformers say of it, read without transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zsindex.errors import CheckpointError

CODE_IN = ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json")


def read(model: str, file: Path) -> dict[str, Any]:
    """One of its files of settings.

    Args:
        model: the name for an error.

    Raises:
        CheckpointError: it is unreadable, or no JSON object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(model, f"{file.name} cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise CheckpointError(model, f"{file.name} is not a JSON object")
    return found


def refuse_code(model: str, folder: Path) -> None:
    """Refuse a checkpoint that brings code to be run.

    Raises:
        CheckpointError: it does.
    """
    for name in CODE_IN:
        if (folder / name).is_file() and read(model, folder / name).get("auto_map"):
            detail = f"{name} asks to run code that comes with the checkpoint (trust_remote_code), which is never done"
            raise CheckpointError(model, detail)


def describe(name: str, folder: Path) -> dict[str, Any]:
    """What its configuration says: ``name``, ``format``, ``family``, and what is there of ``dim`` and ``image_size``.

    Raises:
        CheckpointError: it is unreadable.
    """
    found = read(name, folder / "config.json")
    vision = found.get("vision_config") or {}
    facts = {"dim": found.get("projection_dim"), "image_size": vision.get("image_size")}
    return {
        "name": name,
        "format": "transformers",
        "family": found.get("model_type"),
        **{key: value for key, value in facts.items() if value is not None},
        "folder": str(folder),
    }

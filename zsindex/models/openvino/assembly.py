"""The embedded model's export, put together from graphs that come with it and from its weights; torch is not needed.

An export takes torch and half a minute. For the model that everybody begins with that work is done beforehand: its
package holds the graphs, which are small, and says where in them each tensor of the weights belongs. They were compared
with torch when they were made (`python -m training.nano.towers`), and are again by the tests.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from zsindex.models import nano
from zsindex.models.openvino import checksums, runtime
from zsindex.models.openvino.runtime import Export, TowerManifest

logger = logging.getLogger(__name__)

FOLDER = nano.FOLDER / "towers"
LAYOUT = "layout.json"


def assemble(folder: Path) -> Export | None:
    """Put the embedded model's export into a folder; replaces it as a whole.

    Returns:
        The export; None where the weights are not the ones that the graphs were made for, or OpenVINO is not installed.

    Raises:
        OSError: the folder cannot be written.
    """
    versions = runtime.versions()
    if not versions:
        return None
    try:
        layout = checksums.unsealed((FOLDER / LAYOUT).read_bytes())
        files = sorted(str(file) for file in nano.FOLDER.iterdir() if file.is_file())
        manifest = TowerManifest.from_fields(
            {
                **layout["manifest"],
                "versions": versions,
                "sources": [runtime.identity_of(file) for file in files],
                "auto_device": _likely_device(),
            }
        )
        if hashlib.sha256(nano.WEIGHTS.read_bytes()).hexdigest() != layout["weights_sha256"]:
            return None
        weights = load_file(nano.WEIGHTS)

        def write(temporary: Path) -> TowerManifest:
            for name in (runtime.TOKENIZER, runtime.TEXT, runtime.IMAGE):
                shutil.copyfile(FOLDER / name, temporary / name)
            for name, constants in layout["constants"].items():
                (temporary / name).write_bytes(_constants(constants, weights))
            made = {name: checksums.sha256_of(temporary / name) for name in layout["sha256"]}
            if made != layout["sha256"]:
                raise ValueError(f"not what it was: {', '.join(n for n in made if made[n] != layout['sha256'][n])}")
            return manifest

        return runtime.make(folder, write)
    except ValueError as error:
        logger.warning("nano runs without its graphs: in %s, %s. Install zsindex anew", FOLDER, error)
        return None


def _constants(layout: dict[str, Any], weights: dict[str, Any]) -> bytes:
    """A graph's constants: tensors of the weights as float32, and small ones that come with the layout."""
    content = np.zeros(layout["size"], dtype=np.uint8)
    pieces = [(at, weights[name].astype("<f4").tobytes()) for at, name in layout["weights"]]
    pieces += [(at, base64.b64decode(text)) for at, text in layout["others"]]
    for at, piece in pieces:
        content[at : at + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
    return content.tobytes()


def _likely_device() -> str:
    """Where torch would compute, told without importing it: ``gpu`` if it might be one."""
    if platform.system() == "Darwin":
        return "gpu" if platform.machine() == "arm64" else "cpu"
    if platform.system() == "Windows":
        return "gpu" if shutil.which("nvidia-smi") else "cpu"
    return "gpu" if any(map(os.path.exists, ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))) else "cpu"

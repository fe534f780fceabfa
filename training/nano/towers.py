"""Write the embedded model's graphs for `zsindex.models.openvino.assembly`: `python -m training.nano.towers`, from the
project's root.

To be run after every change of the weights. It exports the model as any other one is exported, and then replaces the
constants by where they are found in the weights.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from safetensors.numpy import load_file

from zsindex.models import nano, openclip
from zsindex.models.openvino import assembly, checksums, export, runtime
from zsindex.records import ModelSpec

_SMALL = 100_000


def main() -> None:
    """Export, and write `zsindex/nano/towers/`."""
    encoder = openclip.load(ModelSpec("nano"), device="cpu")
    weights = load_file(nano.WEIGHTS)
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "nano"
        made = export.export(encoder, folder)
        if made is None or not (made.manifest.text and made.manifest.image):
            raise SystemExit("nano could not be exported")
        assembly.FOLDER.mkdir(exist_ok=True)
        for name in (runtime.TOKENIZER, runtime.TEXT, runtime.IMAGE):
            shutil.copyfile(folder / name, assembly.FOLDER / name)
        layout = {
            "weights_sha256": hashlib.sha256(nano.WEIGHTS.read_bytes()).hexdigest(),
            "constants": {
                Path(name).with_suffix(".bin").name: constants(folder / name, weights)
                for name in (runtime.TEXT, runtime.IMAGE)
            },
            "manifest": {
                key: value
                for key, value in asdict(made.manifest).items()
                # What belongs to this machine.
                if key not in ("sources", "sizes", "sha256", "versions", "auto_device", "speeds", "cosines")
            },
        }
        layout["sha256"] = made.manifest.sha256
        (assembly.FOLDER / assembly.LAYOUT).write_bytes(checksums.sealed(json.loads(json.dumps(layout))) + b"\n")


def constants(graph: Path, weights: dict[str, Any]) -> dict[str, Any]:
    """Where each tensor of the weights lies in a graph's file of constants, and what else there is."""
    content = graph.with_suffix(".bin").read_bytes()
    names = {np.ascontiguousarray(value, dtype="<f4").tobytes(): name for name, value in weights.items()}
    found: dict[int, str] = {}
    others: dict[int, bytes] = {}
    for layer in ElementTree.parse(graph).getroot().iter("layer"):
        if layer.get("type") == "Const":
            data = layer.find("data")
            assert data is not None
            at, size = int(data.attrib["offset"]), int(data.attrib["size"])
            piece = content[at : at + size]
            if size > 64 and piece in names:
                found[at] = names[piece]
            elif size < _SMALL:
                others[at] = piece
            else:
                raise SystemExit(f"{graph.name}: {layer.get('name')} is large, and not one of the weights")
    return {
        "size": len(content),
        "weights": sorted(found.items()),
        "others": [[at, base64.b64encode(piece).decode("ascii")] for at, piece in sorted(others.items())],
    }


if __name__ == "__main__":
    main()

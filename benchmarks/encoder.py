"""What encoding costs on this machine's CPU, by runtime and precision, and how far the vectors move.

    python benchmarks/encoder.py [--rounds 3] [--json FILE]

For nano and for a ViT-B-32 with random weights (its checkpoint of 600 MB and its export go to a temporary folder):
images per second through the image tower, against torch as open_clip gives it, and the least cosine to that over a few
photos; prompts per second, against open_clip's, which pads each prompt to the context length. Rounds go over all ways
in turn, so that a neighbour's load on the machine hits all of them; the best round of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from tabulate import tabulate

from zsindex.config import CACHE_VARIABLE
from zsindex.models import loading, openclip
from zsindex.models.openvino import runtime
from zsindex.models.openvino.runtime import IMAGE, TEXT, Tower
from zsindex.photos import samples
from zsindex.records import FloatArray, ModelSpec

BATCH = 8
# The ImageNet templates' usual length, and labels of one to three words.
PROMPTS = [f"a photo of a {kind} thing number {number}." for number in range(32) for kind in ("small", "large", "old")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = str(Path(folder) / "cache")
        for name, spec in (("nano", ModelSpec("nano")), ("ViT-B-32", random_vit(Path(folder) / "vit"))):
            print(f"\n{name}, {torch.get_num_threads()} threads, batches of {BATCH}, best of {arguments.rounds} rounds")
            for measured in (images(spec, arguments.rounds), texts(spec, arguments.rounds)):
                print(tabulate(measured, headers="keys"), "\n")
                rows += [{"model": name, **row} for row in measured]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def random_vit(folder: Path) -> ModelSpec:
    folder.mkdir()
    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    save_file(open_clip.create_model("ViT-B-32").state_dict(), folder / "open_clip_model.safetensors")
    return ModelSpec(f"local-dir:{folder}")


def images(spec: ModelSpec, rounds: int) -> list[dict[str, Any]]:
    encoder = openclip.load(spec, device="cpu")
    pixels = [encoder.preprocess(Image.open(file).convert("RGB")) for file in samples.photos()][:BATCH]
    batch = np.stack(pixels)
    contiguous = torch.from_numpy(batch)
    plain = open_clip.create_model(
        f"local-dir:{folder_of(spec)}", precision="fp32", require_pretrained=True, weights_only=True
    ).eval()
    low = openclip.load(replace(spec, precision="bf16"), device="cpu")
    exported = loading.load(spec)
    assert isinstance(exported, runtime.TowerEncoder)
    found = runtime.find(spec)
    assert found is not None
    ways: dict[str, Callable[[], Any]] = {
        "torch fp32, as open_clip gives it": lambda: plain.encode_image(contiguous).numpy(),
        "torch fp32, channels last": lambda: encoder.encode_images(pixels),
        "torch fp32, autocast to bf16": lambda: autocast(plain, contiguous),
        "torch bf16 weights": lambda: low.encode_images(pixels),
        "OpenVINO fp32": tower(found.folder / IMAGE, "f32", batch),
        "OpenVINO bf16": tower(found.folder / IMAGE, "bf16", batch),
    }
    speeds, results = race(ways, rounds, BATCH)
    reference = "torch fp32, as open_clip gives it"
    return [
        {
            "image tower": way,
            "images/s": round(speed, 1),
            "ratio": round(speed / speeds[reference], 1),
            "least cosine": f"{least_cosine(results[way], results[reference]):.7f}",
        }
        for way, speed in speeds.items()
    ]


def texts(spec: ModelSpec, rounds: int) -> list[dict[str, Any]]:
    encoder = openclip.load(spec, device="cpu")
    exported = loading.load(spec)
    found = runtime.find(spec)
    assert found is not None
    assert (found.folder / TEXT).exists()
    ways: dict[str, Callable[[], Any]] = {
        f"open_clip, padded to {encoder.info.context_length}": lambda: encoder.model.encode_text(
            encoder.tokenizer(PROMPTS), normalize=True
        ).numpy(),
        "torch, trimmed": lambda: encoder.encode_texts(PROMPTS),
        "exported": lambda: exported.encode_texts(PROMPTS),
    }
    speeds, results = race(ways, rounds, len(PROMPTS))
    reference = next(iter(ways))
    return [
        {
            "text tower": way,
            "prompts/s": round(speed),
            "ratio": round(speed / speeds[reference], 1),
            "largest difference": f"{np.abs(results[way] - results[reference]).max():.1e}",
        }
        for way, speed in speeds.items()
    ]


def folder_of(spec: ModelSpec) -> str:
    return str(openclip.nano.FOLDER) if spec.name == "nano" else spec.name.removeprefix("local-dir:")


def tower(file: Path, hint: str, batch: FloatArray) -> Callable[[], FloatArray]:
    compiled = Tower(file, hint)
    return lambda: compiled(batch)


def autocast(model: Any, batch: torch.Tensor) -> FloatArray:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features: FloatArray = model.encode_image(batch).float().numpy()
    return features


def race(ways: dict[str, Callable[[], Any]], rounds: int, count: int) -> tuple[dict[str, float], dict[str, FloatArray]]:
    """Items per second, and the result, of each way."""
    speeds = dict.fromkeys(ways, 0.0)
    with torch.inference_mode():
        results = {way: run() for way, run in ways.items()}  # and everything is warm
        for _ in range(rounds):
            for way, run in ways.items():
                started = time.perf_counter()
                run()
                speeds[way] = max(speeds[way], count / (time.perf_counter() - started))
    return speeds, results


def least_cosine(vectors: FloatArray, exact: FloatArray) -> float:
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors.astype(np.float64), exact))
    return float((a * b).sum(axis=1).min())


if __name__ == "__main__":
    main()

"""What loading, hashing and encoding cost, on this machine's CPU.

    python benchmarks/encoder.py

The ViT-B-32 has random weights; its checkpoint (600 MB) goes to a temporary folder.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from zsindex.openclip import _weights_sha256, load
from zsindex.records import ModelSpec

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
ROUNDS = 3


def main() -> None:
    measure(ModelSpec("nano"))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "random.pt"
        torch.save(open_clip.create_model("ViT-B-32").state_dict(), checkpoint)
        measure(ModelSpec("ViT-B-32", str(checkpoint)))


def measure(spec: ModelSpec) -> None:
    seconds, encoder = timed(lambda: load(spec, device="cpu"))
    hashing, _ = timed(lambda: _weights_sha256(spec, encoder.model))
    print(f"{spec.name}: loaded in {seconds:.2f} s, {hashing:.2f} s of them for the hash of the weights")

    rng = np.random.default_rng(0)
    pixels = [rng.standard_normal((3, *encoder.info.image_size), dtype=np.float32) for _ in range(32)]
    # Rounds go over all sizes in turn, so that a neighbour's load on the machine hits all of them.
    rates: dict[int, list[float]] = {size: [] for size in BATCH_SIZES}
    for _ in range(ROUNDS):
        for size in BATCH_SIZES:
            encoder.batch_size = size
            rates[size].append(len(pixels) / timed(lambda: encoder.encode_images(pixels))[0])
    print("  images/s by batch size:", {size: round(max(rate), 1) for size, rate in rates.items()})

    encoder.batch_size = 8
    prompts = [f"a photo of thing number {number}." for number in range(128)]
    trimmed, _ = timed(lambda: encoder.encode_texts(prompts))
    tokens = encoder.tokenizer(prompts)
    with torch.inference_mode():
        padded, _ = timed(lambda: [encoder.model.encode_text(part) for part in tokens.split(64)])
    print(f"  prompts/s: {len(prompts) / trimmed:.0f}, padded to {tokens.shape[1]} tokens: {len(prompts) / padded:.0f}")


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()

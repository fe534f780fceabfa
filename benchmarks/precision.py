"""What bf16 does to the embedded model's answers on real photos, against fp32.

    python benchmarks/precision.py [FOLDER]

FOLDER holds ImageNet photos, named by WordNet id and class; it defaults to ZSINDEX_TEST_PHOTOS or
../shared/photos/imagenet-sample. Each photo is classified among the classes of all of them. On a processor without bf16
both compute in float32, and nothing differs.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate

from zsindex import ModelSpec
from zsindex.models import loading
from zsindex.models.openvino import runtime
from zsindex.models.openvino.runtime import IMAGE, Tower

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    default = os.environ.get("ZSINDEX_TEST_PHOTOS", PROJECT.parent / "shared" / "photos" / "imagenet-sample")
    files = sorted(Path(sys.argv[1] if len(sys.argv) > 1 else default).iterdir())
    encoder = loading.load(ModelSpec("nano"))
    found = runtime.find(ModelSpec("nano"))
    assert found is not None
    pixels = [encoder.preprocess(Image.open(file).convert("RGB")) for file in files]
    names = [re.sub(r"^n\d+_", "", file.stem).replace("_", " ") for file in files]
    prompts = encoder.encode_texts([f"a photo of a {name}." for name in names])
    vectors = {}
    for hint in ("f32", "bf16"):
        tower = Tower(found.folder / IMAGE, hint)
        vectors[hint] = np.concatenate([tower(np.stack(pixels[i : i + 8])) for i in range(0, len(pixels), 8)])
    cosines = (vectors["f32"].astype(np.float64) * vectors["bf16"]).sum(axis=1)
    first = {hint: (v @ prompts.T).argmax(axis=1) for hint, v in vectors.items()}
    truth = np.arange(len(files))
    rows = [
        ("photos, and classes", len(files)),
        ("cosine, mean", f"{cosines.mean():.5f}"),
        ("cosine, 1st percentile", f"{np.percentile(cosines, 1):.5f}"),
        ("cosine, least", f"{cosines.min():.5f}"),
        ("same first choice", f"{(first['f32'] == first['bf16']).mean():.2%}"),
        ("right in fp32 / bf16", " / ".join(f"{(first[hint] == truth).mean():.2%}" for hint in ("f32", "bf16"))),
    ]
    print(tabulate(rows))


if __name__ == "__main__":
    main()

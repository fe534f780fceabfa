"""The pipeline of transformers beside zsindex's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from skimage import data

from zsindex.zero_shot.pipeline import pipeline

TASK = "zero-shot-image-classification"
LABELS = ["fox", "bear", "seagull", "owl"]


@dataclass(frozen=True)
class Both:
    """The real pipeline, ours over a library that stays, and the photos that they are asked about."""

    theirs: Any
    ours: Any
    folder: str
    library: Path
    photos: list[Path]
    transformers: Any


@contextmanager
def both_pipelines(base: Path) -> Iterator[Both]:
    """Both over the same small CLIP of random weights, written into a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its imports warn of changes with every version, and is not ours
        import transformers

        from tests import test_reference as reference

        model = reference.transformers_clip(transformers)
        model.save_pretrained(base / "transformers")
        reference.transformers_tokenizer(transformers).save_pretrained(base / "transformers")
        size = {"height": 64, "width": 64}
        transformers.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=size).save_pretrained(
            base / "transformers"
        )
        theirs = transformers.pipeline(TASK, model=str(base / "transformers"), device="cpu")
    photos = []
    for n, array in enumerate((data.astronaut(), data.coffee(), data.chelsea())):
        photos.append(base / f"{n}.png")
        Image.fromarray(array).save(photos[-1])
    folder = str(base / "transformers")
    ours = pipeline(TASK, model=folder, library=base / "library", device="cpu")
    yield Both(theirs, ours, folder, base / "library", photos, transformers)
    ours.library.close()

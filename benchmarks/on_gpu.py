"""What a GPU brings: the model alone, whole syncs, and questions.

    python benchmarks/on_gpu.py [PHOTOS] [--count 4000] [--models nano ViT-B-32 ViT-L-14] [--json FILE]

PHOTOS are files or folders of JPEGs; without them the samples that come along are used. As many photos as `--count`
says are made of them, each with other pixels, at half to full size, in a temporary folder. Models other than nano get
random weights: they take the same time as trained ones.

The model alone: images per second through `encode_images`, on pixels in memory, against the tower alone on pixels that
are on the device already. Syncs: against the model alone, and against a sync whose model takes no time, which is what
reading, decoding, preprocessing and storing allow. Questions: a first set of labels, and the same from the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from tabulate import tabulate

from zsindex import Library, ModelInfo, ModelSpec
from zsindex.models import loading, openclip
from zsindex.models.encoder import Encoder
from zsindex.photos import samples
from zsindex.photos.scaling import Fitting
from zsindex.photos.scan import scan
from zsindex.records import FloatArray

PRECISIONS = ("fp32", "bf16", "fp16")
BATCHES = (8, 32, 64, 128, 256, 512)
LABELS = [f"kind number {number}" for number in range(100)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--models", nargs="+", default=["nano", "ViT-B-32", "ViT-L-14"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--sync-batches", nargs="+", type=int, default=[0], help="0: what it is if nobody says")
    parser.add_argument("--sync-precisions", nargs="+", default=PRECISIONS[:2])
    parser.add_argument("--seconds", type=float, default=1.5, help="for each rate of the model alone")
    parser.add_argument("--rounds", type=int, default=2, help="of syncs; the best of each counts")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # as zsindex computes; torch's default is not float32
    print(machine(arguments.device))
    found: dict[str, Any] = {"machine": machine(arguments.device)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photos = make_photos(arguments.photos or samples.photos(), arguments.count, folder / "photos")
        specs = {name: with_weights(name, folder / name) for name in arguments.models}
        found["alone"] = alone(specs, arguments, photos)
        print(tabulate(found["alone"], headers="keys"), "\n")
        found["syncs"] = syncs(specs, arguments, photos)
        print(tabulate(found["syncs"], headers="keys"), "\n")
        found["questions"] = questions(specs, arguments, photos)
        print(tabulate(found["questions"], headers="keys"))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def machine(device: str) -> str:
    """The device as its driver names it, and what computes on it."""
    name = device
    if device.startswith("cuda"):
        ask = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        name = subprocess.run(ask, capture_output=True, encoding="utf-8", check=True).stdout.splitlines()[0]
    return f"{name}, torch {torch.__version__}, {os.cpu_count()} cores"


# --- what is measured with --------------------------------------------------------------------------------------------


def make_photos(given: Sequence[Path], count: int, folder: Path) -> list[str]:
    """As many photos, no two with the same pixels."""
    folder.mkdir()
    originals = [file.path for listing in scan([str(path.resolve()) for path in given]) for file in listing.candidates]
    jobs = [
        (number, path, str(folder / f"{number}.jpg")) for number, path in enumerate(islice(cycle(originals), count))
    ]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_make_photo, jobs, chunksize=16))
    return [target for _, _, target in jobs]


def _make_photo(job: tuple[int, str, str]) -> None:
    number, path, target = job
    chance = np.random.default_rng(number)
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = chance.uniform(0.5, 1.0) if max(image.size) > 1000 else chance.uniform(0.9, 1.0)
    image = image.resize([max(1, round(side * scale)) for side in image.size])
    if number % 2:
        image = ImageOps.mirror(image)
    noisy = np.asarray(image, dtype=np.int16) + chance.integers(-3, 4, (*image.size[::-1], 1))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(target, quality=88)


def with_weights(name: str, folder: Path) -> ModelSpec:
    """A model by its name; an architecture of open_clip's gets random weights."""
    if name == "nano":
        return ModelSpec(name)
    folder.mkdir()
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    save_file(open_clip.create_model(name).state_dict(), folder / "open_clip_model.safetensors")
    return ModelSpec(f"local-dir:{folder}")


def load(spec: ModelSpec, precision: str, device: str, batch_size: int | None = None) -> Encoder:
    return loading.load(ModelSpec(spec.name, precision=precision), device=device, batch_size=batch_size)


class Watched:
    """An encoder that notes how long it is at work; or one that answers at once, with nothing."""

    def __init__(self, encoder: Encoder, *, idle: bool = False) -> None:
        self.encoder = encoder
        self.idle = idle
        self.seconds = 0.0
        self.sizes: list[int] = []

    @property
    def info(self) -> ModelInfo:
        return self.encoder.info

    @property
    def fitting(self) -> Fitting | None:
        fitting: Fitting | None = getattr(self.encoder, "fitting", None)
        return fitting

    @property
    def images_at_once(self) -> int:
        return self.encoder.images_at_once  # type: ignore[attr-defined,no-any-return]

    def preprocess(self, image: Image.Image) -> FloatArray:
        return self.encoder.preprocess(image)

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        self.sizes.append(len(pixels))
        if self.idle:
            return np.full((len(pixels), self.info.dim), self.info.dim**-0.5, dtype=np.float32)
        started = time.perf_counter()
        vectors = self.encoder.encode_images(pixels)
        self.seconds += time.perf_counter() - started
        return vectors

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        return self.encoder.encode_texts(texts, truncate=truncate)

    def count_tokens(self, text: str) -> int:
        return self.encoder.count_tokens(text)


# --- what is measured -------------------------------------------------------------------------------------------------


def alone(specs: dict[str, ModelSpec], arguments: Any, photos: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for name, spec in specs.items():
        on_cpu = openclip.load(spec, device="cpu")
        some = [on_cpu.preprocess(Image.open(path)) for path in photos[:64]]
        for precision in arguments.precisions:
            asked = ModelSpec(spec.name, precision=precision)
            encoder = openclip.load(asked, device=arguments.device)
            for batch in arguments.batches:
                encoder.batch_size = batch
                pixels = list(islice(cycle(some), batch))
                fed = rate(partial(encoder.encode_images, pixels), batch, arguments.seconds)
                dtype = open_clip.get_input_dtype(precision) or torch.float32
                there = torch.from_numpy(np.stack(pixels)).to(arguments.device, dtype=dtype)
                tower = rate(partial(on_device, encoder.model, there), batch, arguments.seconds)
                rows.append(
                    {
                        "model": name,
                        "precision": precision,
                        "batch": batch,
                        "images/s": round(fed),
                        "tower alone, images/s": round(tower),
                        "ratio": round(fed / tower, 2),
                    }
                )
                del there
            del encoder
            torch.cuda.empty_cache()
    return rows


def on_device(model: Any, pixels: torch.Tensor) -> None:
    with torch.inference_mode():
        model.encode_image(pixels)
    if pixels.is_cuda:
        torch.cuda.synchronize()


def rate(action: Callable[[], object], count: int, seconds: float) -> float:
    """Images per second, the median."""
    for _ in range(3):
        action()
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < ends:
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return count / statistics.median(times)


@contextmanager
def synced(encoder: Encoder, photos: Sequence[str], **options: Any) -> Iterator[tuple[Library, float]]:
    """A library of the photos, and how many a second were synced."""
    with tempfile.TemporaryDirectory() as folder, Library.open(folder, encoder=encoder, **options) as library:
        started = time.perf_counter()
        report = library.sync(list(photos))
        took = time.perf_counter() - started
        if report.encoded != len(photos):
            sys.exit(f"{report.encoded} of {len(photos)} photos were encoded")
        yield library, len(photos) / took


def syncs(specs: dict[str, ModelSpec], arguments: Any, photos: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for name, spec in specs.items():
        for precision in arguments.sync_precisions:
            encoder = load(spec, precision, arguments.device)
            pixels = [encoder.preprocess(Image.open(path)) for path in photos[:256]]
            bare = rate(partial(encoder.encode_images, pixels), len(pixels), arguments.seconds)
            for batch in arguments.sync_batches:
                best = {"ready": 0.0, "sync": 0.0, "share": 0.0, "size": 0}
                for _ in range(arguments.rounds):
                    with synced(Watched(encoder, idle=True), photos, batch_size=batch or None) as (_, ready):
                        best["ready"] = max(best["ready"], ready)
                    watched = Watched(encoder)
                    with synced(watched, photos, batch_size=batch or None) as (_, sync):
                        if sync > best["sync"]:
                            best.update(sync=sync, share=watched.seconds * sync / len(photos), size=max(watched.sizes))
                rows.append(
                    {
                        "model": name,
                        "precision": precision,
                        "images at once": best["size"],
                        "model alone, images/s": round(bare),
                        "all but the model, images/s": round(best["ready"]),
                        "sync, images/s": round(best["sync"]),
                        "sync / slower of the two": round(best["sync"] / min(bare, best["ready"]), 2),
                        "time in the model": f"{best['share']:.0%}",
                    }
                )
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def questions(specs: dict[str, ModelSpec], arguments: Any, photos: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for name, spec in specs.items():
        with synced(load(spec, "fp32", arguments.device), photos[:500]) as (library, _):
            library.classify(["warm up"])
            times = []
            for _ in range(2):
                started = time.perf_counter()
                library.classify(LABELS)
                times.append(time.perf_counter() - started)
        rows.append(
            {
                "model": name,
                "100 new labels, ms": round(1000 * times[0], 1),
                "from the cache, ms": round(1000 * times[1], 1),
            }
        )
    return rows


if __name__ == "__main__":
    main()

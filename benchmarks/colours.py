"""What colour profiles and transparency do to vectors, and what it costs to look for them.

    python benchmarks/colours.py [FOLDER] [--every 4] [--rounds 5]

Vectors: each photo is converted to other colours, as a photo editor saves it, and encoded by the embedded model, its
profile ignored and followed; the cosine is that to the photo itself. Time: the photos are decoded both ways in
turns, by one thread: as they are, and with the profile of sRGB that most cameras embed. FOLDER defaults to
ZSINDEX_TEST_PHOTOS or ../shared/photos/imagenet-sample. docs/decoding.md holds a result.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from zsindex.models import loading
from zsindex.models.encoder import Encoder
from zsindex.photos.colour import matrix_profile
from zsindex.photos.decode import decode
from zsindex.photos.scan import scan
from zsindex.records import AS_REFERENCE, AS_SEEN, DecodeMode, FloatArray, ModelSpec, Rendering

D65 = (0.3127, 0.3290)
COLOURS = {
    "ProPhoto": matrix_profile(((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), (0.3457, 0.3585), 1.8),
    "Adobe RGB": matrix_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), D65, 563 / 256),
    "Display P3": matrix_profile(((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), D65, None),
    "linear": matrix_profile(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), D65, 1.0),
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LABELS = ("a dog", "a cat", "a bird", "a fish", "a flower", "a car", "a building", "food", "a person", "a machine")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=os.environ.get("ZSINDEX_TEST_PHOTOS"), type=Path)
    parser.add_argument("--every", type=int, default=4, help="of the photos, for the vectors")
    parser.add_argument("--rounds", type=int, default=5, help="of decoding all photos")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(__file__).resolve().parents[2] / "shared" / "photos" / "imagenet-sample"
    paths = [Path(c.path) for listing in scan([str(folder)]) for c in listing.candidates]
    if arguments.every:
        compare(loading.load(ModelSpec("nano")), paths[:: arguments.every])
    if arguments.rounds:
        for name, photos in (("as they are", [p.read_bytes() for p in paths]), ("sRGB named", tagged(paths, SRGB))):
            measure(name, photos, arguments.rounds)


def compare(encoder: Encoder, paths: Sequence[Path]) -> None:
    pictures = [Image.open(path).convert("RGB") for path in paths]
    plain = vectors(encoder, [to_png(picture) for picture in pictures], AS_REFERENCE)
    texts = encoder.encode_texts([f"a photo of {label}." for label in LABELS])
    print(f"{len(paths)} photos\n")
    print("| colours | profile | cosine, mean | least | other first answer |\n|---|---|---|---|---|")
    for name, profile in COLOURS.items():
        to = ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile)), "RGB", "RGB"
        )
        files = [to_png(to.apply(picture), icc_profile=profile) for picture in pictures]
        for how, rendering in (("ignored", AS_REFERENCE), ("converted", AS_SEEN)):
            found = vectors(encoder, files, rendering)
            cosines = (plain * found).sum(axis=1)
            other = ((plain @ texts.T).argmax(axis=1) != (found @ texts.T).argmax(axis=1)).sum()
            print(f"| {name} | {how} | {cosines.mean():.4f} | {cosines.min():.4f} | {other} |")


def vectors(encoder: Encoder, files: Sequence[bytes], rendering: Rendering) -> FloatArray:
    found = []
    for start in range(0, len(files), 32):
        size = encoder.info.image_size
        decoded = [
            decode(data, mode=DecodeMode.EXACT, input_size=size, rendering=rendering)
            for data in files[start : start + 32]
        ]
        found.append(encoder.encode_images([encoder.preprocess(one.image) for one in decoded]))
    return np.concatenate(found)


def to_png(image: Image.Image, **options: bytes) -> bytes:
    out = io.BytesIO()
    image.info = {}
    image.save(out, "PNG", compress_level=1, **options)
    return out.getvalue()


def tagged(paths: Sequence[Path], profile: bytes) -> list[bytes]:
    """The JPEGs among them, each with a profile: a segment behind the first two bytes."""
    payload = b"ICC_PROFILE\0\1\1" + profile
    segment = b"\xff\xe2" + (len(payload) + 2).to_bytes(2, "big") + payload
    files = (path.read_bytes() for path in paths)
    return [data[:2] + segment + data[2:] for data in files if data[:2] == b"\xff\xd8"]


def measure(name: str, photos: Sequence[bytes], rounds: int) -> None:
    """Processor time of decoding each photo both ways, one after the other: the least of some rounds, summed up."""
    least = {AS_REFERENCE: [float("inf")] * len(photos), AS_SEEN: [float("inf")] * len(photos)}
    for _ in range(rounds):
        for number, data in enumerate(photos):
            for rendering, times in least.items():
                started = time.thread_time()
                decode(data, mode=DecodeMode.EXACT, input_size=(256, 256), rendering=rendering)
                times[number] = min(times[number], time.thread_time() - started)
    before, after = (sum(times) for times in least.values())
    ratios = [a / b for a, b in zip(least[AS_SEEN], least[AS_REFERENCE], strict=True)]
    print(
        f"\n{name}: {len(photos)} photos in {before:.3f} s, profiles and transparency looked for: {after:.3f} s "
        f"(ratio {after / before:.4f}; of single photos, median {statistics.median(ratios):.4f})"
    )


if __name__ == "__main__":
    main()

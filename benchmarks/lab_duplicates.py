"""Which copies `Library.neighbours.duplicates` finds, by threshold, and what else it takes for one. Prints Markdown
tables.

    python benchmarks/lab_duplicates.py [CLOTHING] [--photos 100] [--model MODEL] [--start-from LIBRARY]

CLOTHING is clothing-dataset-small, one folder per kind below train/ and validation/; without it, it is looked for
beside the photos that ZSINDEX_TEST_PHOTOS names. Of some of its photos, chosen by a fixed seed, copies are made: half
the size, encoded again at JPEG quality 50, and cropped by a tenth on each side. Pairs of a photo and its copies, and of
two copies of the same photo, are right. All others are wrong, also those that the dataset came with.

LIBRARY holds vectors of CLOTHING's photos under the model already; it is copied.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from pathlib import Path

from PIL import Image, ImageOps
from tabulate import tabulate

from zsindex import Library
from zsindex.lab import neighbours

BESIDE_PROJECT = Path(__file__).resolve().parents[2] / "shared/photos/imagenet-sample"
KINDS = ("half the size", "quality 50", "cropped")
THRESHOLDS = (0.999, 0.998, 0.995, 0.99, 0.985, 0.98, 0.97, 0.96, 0.95, 0.93, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside = Path(os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT)).parent / "clothing"
    parser.add_argument("clothing", nargs="?", default=beside, type=Path, help="default: %(default)s")
    parser.add_argument("--photos", type=int, default=100, help="photos to copy (default: %(default)s)")
    parser.add_argument("--model", help="default: the library's")
    parser.add_argument("--start-from", type=Path, metavar="LIBRARY", help="copied, to save encoding")
    args = parser.parse_args()
    if not args.clothing.is_dir():
        parser.error(f"there is no folder {args.clothing}; name one")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if args.start_from is not None:
            shutil.copytree(args.start_from, folder / "library")
        source_of = plant(args.clothing, folder / "copies", args.photos)
        with Library.open(folder / "library", model=args.model) as library:
            library.sync([args.clothing, folder / "copies"])
            measure(library, [args.clothing, folder / "copies"], source_of)


def plant(clothing: Path, folder: Path, n: int) -> dict[str, str]:
    """Write copies; returns the source of each by its path, and of each source itself."""
    folder.mkdir()
    every = sorted(clothing.glob("*/*/*.jpg"))
    source_of: dict[str, str] = {}
    for number, source in enumerate(random.Random(0).sample(every, n)):
        with Image.open(source) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        width, height = image.size
        copies = (
            (image.resize((width // 2, height // 2), Image.Resampling.LANCZOS), 90),
            (image, 50),
            (image.crop((width // 10, height // 10, width - width // 10, height - height // 10)), 90),
        )
        source_of[str(source)] = str(source)
        for kind, (copy, quality) in zip(KINDS, copies, strict=True):
            path = folder / f"{number:04d} {kind}.jpg"
            copy.save(path, quality=quality)
            source_of[str(path)] = str(source)
    return source_of


def measure(library: Library, paths: list[Path], source_of: dict[str, str]) -> None:
    """Print what was found at each threshold."""
    view = library.view(paths)
    # One image each: the photos that were read have different bytes.
    by_image = dict(zip(view.image_ids.tolist(), view.paths, strict=True))
    names = [by_image[i] for i in view.vectors.ids[view.unique[0]].tolist()]
    graph = library.neighbours.graph(paths=paths)
    pairs = neighbours.pairs_above(view.vectors, view.unique[0], graph, min(THRESHOLDS))
    found = [
        (cosine, names[one], names[other])
        for one, other, cosine in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.cosines.tolist(), strict=True)
    ]
    sources = sorted(set(source_of.values()))
    n_right = len(sources) * 6  # of four pictures
    rows, grouped = [], []
    for threshold in THRESHOLDS:
        above = [(one, other) for cosine, one, other in found if cosine >= threshold]
        right = [p for p in above if source_of.get(p[0], "") == source_of.get(p[1], "-")]
        # Of a source and its copy, what kind of copy.
        kinds = [Path(p[0] if p[1] in sources else p[1]).stem[5:] for p in right if p[0] in sources or p[1] in sources]
        rows.append(
            (
                f"{threshold:g}",
                len(above),
                len(right),
                f"{len(right) / max(1, len(above)):.3f}",
                f"{len(right) / n_right:.3f}",
                *(f"{kinds.count(kind) / len(sources):.2f}" for kind in KINDS),
            )
        )
        for look in (False, True):
            groups = library.neighbours.duplicates(threshold=threshold, paths=paths, look=look).groups
            gone = [(group.keep.path, other.path) for group in groups for other in group.others]
            same = [o for k, o in gone if source_of.get(k, "") == source_of.get(o, "-")]
            copies = [Path(path).stem[5:] for path in same]
            kept = [group.keep.path for group in groups if group.keep.path in source_of]
            grouped.append(
                (
                    f"{threshold:g}",
                    "yes" if look else "no",
                    len(groups),
                    *(copies.count(kind) for kind in KINDS),
                    len(gone) - len(same),
                    f"{sum(path in sources for path in kept)} of {len(kept)}",
                )
            )
    print(f"{len(view)} photos, {len(sources)} of them with three copies, {view.info.spec}\n")
    headers = ["cosine", "pairs", "right", "precision", "recall", *KINDS]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    print()
    headers = ["cosine", "looked at", "groups", *KINDS, "others to go", "the original is kept"]
    print(tabulate(grouped, headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()

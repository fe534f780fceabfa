"""Compare scores and preprocessed pixels with the reference programs, on real photos. docs/reference.md has the result.

    python benchmarks/reference_scores.py FOLDER

FOLDER holds photos named <id>_<class_name>.JPEG; the class names make the prompts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import open_clip
import torch
import transformers
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, ImageOps

from zsindex.models import nano
from zsindex.models.openclip import load
from zsindex.records import ModelSpec

SIZE = 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    paths = sorted(parser.parse_args().folder.glob("*.JPEG"))
    compare_scores(paths)
    compare_precisions(paths[::8])
    compare_pixels(paths)


def upright(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image)


def prompts_of(paths: list[Path]) -> list[str]:
    return [f"This is a photo of {path.stem.partition('_')[2].replace('_', ' ')}." for path in paths]


def compare_scores(paths: list[Path]) -> None:
    prompts = prompts_of(paths)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{nano.FOLDER}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{nano.FOLDER}")
    model.eval()
    encoder = load(ModelSpec("nano"), device="cpu")

    mine = torch.from_numpy(encoder.encode_images([encoder.preprocess(upright(path)) for path in paths]))
    my_logits = encoder.info.logit_scale * mine @ torch.from_numpy(encoder.encode_texts(prompts)).T
    with torch.inference_mode():
        theirs = torch.cat([model.encode_image(transform(upright(path))[None], normalize=True) for path in paths])
        their_logits = model.logit_scale.exp() * theirs @ model.encode_text(tokenizer(prompts), normalize=True).T
    difference = (my_logits.softmax(-1) - their_logits.softmax(-1)).abs()
    print(f"nano, {len(paths)} photos × {len(prompts)} prompts, against open_clip by hand:")
    print(
        f"  largest difference of a softmax score {difference.max():.1e}, of a vector {(mine - theirs).abs().max():.1e}"
    )
    print(f"  same best label {(my_logits.argmax(-1) == their_logits.argmax(-1)).double().mean():.2%}")


def compare_precisions(paths: list[Path]) -> None:
    def encode(precision: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        encoder = load(ModelSpec("nano", precision=precision), device="cpu")
        images = torch.from_numpy(encoder.encode_images([encoder.preprocess(upright(path)) for path in paths]))
        texts = torch.from_numpy(encoder.encode_texts(prompts_of(paths)))
        return images, texts, (encoder.info.logit_scale * images @ texts.T).softmax(-1)

    images, texts, scores = encode("fp32")
    for precision in ("bf16", "fp16"):
        other_images, other_texts, other_scores = encode(precision)
        print(f"nano in {precision} against fp32, {len(paths)} photos and prompts:")
        print(
            f"  least cosine of images {(images * other_images).sum(-1).min():.5f}, "
            f"of prompts {(texts * other_texts).sum(-1).min():.6f}"
        )
        print(
            f"  largest difference of a score {(scores - other_scores).abs().max():.1e}, "
            f"same best label {(scores.argmax(-1) == other_scores.argmax(-1)).double().mean():.0%}"
        )


def compare_pixels(paths: list[Path]) -> None:
    mine = image_transform_v2(PreprocessCfg(size=SIZE), is_train=False)
    sizes = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}}
    std = np.array(open_clip.OPENAI_DATASET_STD).reshape(3, 1, 1)
    for processor in (transformers.CLIPImageProcessorPil(**sizes), transformers.CLIPImageProcessor(**sizes)):
        even, odd = [], []
        for path in paths:
            image = upright(path).convert("RGB")
            theirs = processor(images=[image], return_tensors="np")["pixel_values"][0]
            levels = np.abs(mine(image).numpy() - theirs) * std * 255
            margin = int(SIZE * max(image.size) / min(image.size)) - SIZE
            (odd if margin % 2 else even).append((levels.max(), levels.mean()))
        print(f"{type(processor).__name__}, {SIZE} × {SIZE} pixels against open_clip's, in grey levels of 255:")
        for name, results in (("even", even), ("odd", odd)):
            worst, mean = np.array(results).T
            print(f"  {len(results)} photos with an {name} margin: worst {worst.max():.1f}, mean {mean.mean():.3f}")


if __name__ == "__main__":
    main()

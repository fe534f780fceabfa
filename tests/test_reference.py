"""Scores against the two programs that zsindex is measured by: open_clip by hand, and the transformers pipeline.

docs/reference.md has the figures, benchmarks/reference_scores.py makes them again on all the photos.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from skimage import data

from tests import tiny_models
from zsindex.errors import PromptTooLong
from zsindex.models import nano
from zsindex.models.openclip import OpenClipEncoder, load
from zsindex.records import FloatArray, ModelSpec

PHOTOS = Path(
    os.environ.get("ZSINDEX_TEST_PHOTOS") or Path(__file__).parents[2] / "shared" / "photos" / "imagenet-sample"
)
TEMPLATE = "This is a photo of {}."
LABELS = ["an astronaut", "a cup of coffee", "a cat", "a rocket", "a page of text", "柴犬", "a café in the rain"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scores(encoder: OpenClipEncoder, images: list[Image.Image], prompts: list[str]) -> FloatArray:
    """softmax(s · I Tᵀ) in float64 over the encoder's vectors, shape (images, prompts)."""
    image_vectors = encoder.encode_images([encoder.preprocess(image) for image in images])
    logits = encoder.info.logit_scale * image_vectors.astype(np.float64) @ encoder.encode_texts(prompts).T
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


# --- open_clip by hand ------------------------------------------------------------------------------------------------


@pytest.mark.photos
@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no photos at {PHOTOS}; name a folder with ZSINDEX_TEST_PHOTOS")
def test_scores_equal_open_clips_on_photos() -> None:
    paths = sorted(PHOTOS.glob("*.JPEG"))[::6][:64]
    images = [ImageOps.exif_transpose(Image.open(path)) for path in paths]
    prompts = [TEMPLATE.format(path.stem.partition("_")[2].replace("_", " ")) for path in paths]

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{nano.FOLDER}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{nano.FOLDER}")
    model.eval()
    with torch.inference_mode():
        texts = model.encode_text(tokenizer(prompts), normalize=True)
        expected = [
            (model.logit_scale.exp() * model.encode_image(transform(image)[None], normalize=True) @ texts.T).softmax(-1)
            for image in images
        ]
    mine = scores(load(ModelSpec("nano"), device="cpu"), images, prompts)
    assert np.abs(mine - torch.cat(expected).numpy()).max() <= 1e-5
    assert (mine.argmax(axis=1) == np.arange(len(paths))).mean() > 0.5  # the comparison is about something


# --- the transformers pipeline ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """The same random weights as an open_clip folder and in a transformers pipeline."""

    encoder: OpenClipEncoder
    classify: Any
    transformers: Any


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its imports warn of changes with every version, and is not ours
        import transformers

        folder = tmp_path_factory.mktemp("reference")
        model = transformers_clip(transformers)
        model.save_pretrained(folder / "transformers")
        transformers_tokenizer(transformers).save_pretrained(folder / "transformers")
        size = model.config.vision_config.image_size
        transformers.CLIPImageProcessor(
            size={"shortest_edge": size}, crop_size={"height": size, "width": size}
        ).save_pretrained(folder / "transformers")
        write_open_clip(model, folder / "open_clip")
        classify = transformers.pipeline("zero-shot-image-classification", model=str(folder / "transformers"))
    return Pair(load(ModelSpec(str(folder / "open_clip")), device="cpu"), classify, transformers)


def transformers_clip(transformers: Any) -> Any:
    tower = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1}
    special = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    config = transformers.CLIPConfig(
        text_config={**tower, **special, "vocab_size": 49408, "max_position_embeddings": 32},
        vision_config={**tower, "image_size": 64, "patch_size": 16},
        projection_dim=32,
        logit_scale_init_value=float(np.log(100)),
    )
    torch.manual_seed(3)
    model = transformers.CLIPModel(config).eval()
    for name, parameter in model.named_parameters():
        if name != "logit_scale":
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def transformers_tokenizer(transformers: Any) -> Any:
    """CLIP's tokenizer, out of the vocabulary that open_clip ships."""
    simple = open_clip.SimpleTokenizer()
    renamed = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    return transformers.CLIPTokenizer(
        vocab={renamed.get(token, token): number for token, number in simple.encoder.items()},
        merges=[pair for pair in simple.bpe_ranks if len(pair) == 2],
        model_max_length=32,
    )


def write_open_clip(model: Any, folder: Path) -> None:
    """Write a transformers CLIPModel in open_clip's names: both stem from OpenAI's release."""
    theirs = model.state_dict()
    state = {
        "logit_scale": theirs["logit_scale"],
        "visual.class_embedding": theirs["vision_model.embeddings.class_embedding"],
        "visual.conv1.weight": theirs["vision_model.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": theirs["vision_model.embeddings.position_embedding.weight"],
        "visual.proj": theirs["visual_projection.weight"].T,
        "token_embedding.weight": theirs["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": theirs["text_model.embeddings.position_embedding.weight"],
        "text_projection": theirs["text_projection.weight"].T,
    }
    norms = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    for mine, their in (("visual.transformer", "vision_model.encoder"), ("transformer", "text_model.encoder")):
        for layer in range(2):
            block, source = f"{mine}.resblocks.{layer}", f"{their}.layers.{layer}"
            for kind in ("weight", "bias"):
                parts = [theirs[f"{source}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
                state[f"{block}.attn.in_proj_{kind}"] = torch.cat(parts)
            norms |= {
                f"{block}.ln_1": f"{source}.layer_norm1",
                f"{block}.ln_2": f"{source}.layer_norm2",
                f"{block}.attn.out_proj": f"{source}.self_attn.out_proj",
                f"{block}.mlp.c_fc": f"{source}.mlp.fc1",
                f"{block}.mlp.c_proj": f"{source}.mlp.fc2",
            }
    for mine, their in norms.items():
        state |= {f"{mine}.{kind}": theirs[f"{their}.{kind}"] for kind in ("weight", "bias")}
    config = {
        "embed_dim": 32,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
    }
    tiny_models.write_config(folder, config, {"interpolation": "bicubic", "resize_mode": "shortest"})
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")


def pipeline_scores(classify: Any, images: list[Image.Image]) -> FloatArray:
    results = classify(images, candidate_labels=LABELS)
    by_label = [{entry["label"]: entry["score"] for entry in result} for result in results]
    return np.array([[row[label] for label in LABELS] for row in by_label])


def photographs() -> list[Image.Image]:
    return [Image.fromarray(array) for array in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())]


def test_scores_equal_the_pipelines_at_the_models_size(pair: Pair) -> None:
    images = [image.resize((64, 64), Image.Resampling.LANCZOS) for image in photographs()]
    mine = scores(pair.encoder, images, [TEMPLATE.format(label) for label in LABELS])
    assert (
        type(pair.classify.image_processor).__name__ == "CLIPImageProcessor"
    )  # torchvision's, which does not matter here
    assert np.abs(mine - pipeline_scores(pair.classify, images)).max() <= 1e-5
    assert mine.std(axis=0).max() > 0.01  # the images are told apart
    assert mine.std(axis=1).max() > 0.01  # and so are the labels


@pytest.mark.parametrize(
    ("backend", "levels", "at_most"),
    [
        ("CLIPImageProcessorPil", 0.01, 1e-5),  # resizes with Pillow, as open_clip does
        ("CLIPImageProcessor", 1.01, 1e-4),  # the pipeline's default resizes with torchvision
    ],
)
def test_scores_differ_by_the_resizing_on_other_sizes(pair: Pair, backend: str, levels: float, at_most: float) -> None:
    images = [image for image in photographs() if crop_is_even(image)]
    assert len(images) == 3
    processor = processor_of(pair.transformers, backend)
    classify = pair.transformers.pipeline(
        "zero-shot-image-classification",
        model=pair.classify.model,
        tokenizer=pair.classify.tokenizer,
        image_processor=processor,
    )
    theirs = np.stack([processor(images=[image], return_tensors="np")["pixel_values"][0] for image in images])
    mine = np.stack([pair.encoder.preprocess(image) for image in images])
    assert grey_levels(mine, theirs).max() <= levels
    prompts = [TEMPLATE.format(label) for label in LABELS]
    assert np.abs(scores(pair.encoder, images, prompts) - pipeline_scores(classify, images)).max() <= at_most


def test_an_odd_margin_is_cropped_one_pixel_apart(pair: Pair) -> None:
    image = Image.fromarray(data.rocket())
    assert not crop_is_even(image)
    theirs = processor_of(pair.transformers, "CLIPImageProcessorPil")(images=[image], return_tensors="np")
    mine = pair.encoder.preprocess(image)
    assert grey_levels(mine[:, :, :-1], theirs["pixel_values"][0][:, :, 1:]).max() <= 0.01


def crop_is_even(image: Image.Image) -> bool:
    """Whether the shortest edge at 64 pixels leaves an even number of pixels over on the longest."""
    return int(64 * max(image.size) / min(image.size)) % 2 == 0


def processor_of(transformers: Any, backend: str) -> Any:
    return getattr(transformers, backend)(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})


def grey_levels(a: FloatArray, b: FloatArray) -> FloatArray:
    """Differences of preprocessed pixels in steps of 1/255."""
    std = np.array(open_clip.OPENAI_DATASET_STD).reshape(3, 1, 1)
    result: FloatArray = np.abs(a - b) * std * 255
    return result


# --- text towers of transformers --------------------------------------------------------------------------------------


def test_a_text_tower_of_transformers_is_not_trimmed(pair: Pair, tmp_path: Path) -> None:
    bert = pair.transformers.BertConfig(
        vocab_size=49408,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        pad_token_id=49407,
    )
    bert.save_pretrained(tmp_path)
    transformers_tokenizer(pair.transformers).save_pretrained(tmp_path)
    config = tiny_models.config(
        text_cfg={
            "context_length": 16,
            "hf_model_name": str(tmp_path),
            "hf_tokenizer_name": "beside-the-configuration",
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": "linear",
        }
    )
    folder = tiny_models.write_config(tmp_path, config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False).eval()
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")

    encoder = load(ModelSpec(str(folder)), device="cpu")
    texts = ["a dog", "柴犬", "a photo of a red fire engine"]
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.inference_mode():
        expected = model.encode_text(tokenizer(texts), normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_texts(texts), expected, atol=1e-6)
    assert encoder.info.context_length == 16
    unpadded = (tokenizer(texts) != 49407).sum(dim=1) + 1  # it pads with its end token
    assert [encoder.count_tokens(text) for text in texts] == unpadded.tolist()
    with pytest.raises(PromptTooLong, match="has 22 tokens"):
        encoder.encode_texts(["dog " * 20])
    assert encoder.encode_texts(["dog " * 20], truncate=True).shape == (1, 32)
